"""A model of one's own training image: a raster to one job, and a model that is listed by name at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Dict, Iterator, Optional

from qgis.core import (
    QgsProcessingOutputFile,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterFile,
    QgsProcessingParameterNumber,
    QgsProcessingParameterString,
)

from ...core.contract.errors import Cancelled, JobError
from ...core.contract.hub_job import check_name, read_origin
from ...core.contract.image_cautions import image_cautions
from ...core.contract.training_image import SYMMETRIES, TrainingImage
from ...core.contract.training_job import MAX_STEPS, SIZES, TrainingJob, TrainingResult, checkpoint_folder
from ...core.contract.words import counted, percent
from ..engine_jobs import run_job
from ..models import SHIPPED_FOLDER, SUFFIX, UNIVERSAL, installed_models, user_folder
from . import parameters as shared
from .base import errors_for_qgis, report_to, tr
from .image_algorithm import ImageAlgorithm, image_parameters
from .parameters import Helped, choice, helped, number

RECEPTIVE_RADIUS = 100
"""About how many nodes a network of any size sees to each side, for warnings."""
DEFAULT_MINUTES = 45.0
_EARLY = 0.25
"""Of the steps: a model that is best before learnt little."""
_HELP = """
<p>From a map that shows what the subsurface looks like elsewhere (a satellite picture, a mapped analogue, a section
through an object model: the <b>training image</b>) it makes a model that 'Simulate facies from observations' offers by
name. Realizations of that model honour your observations and look like the image.</p>
<p>The image is a raster with facies codes, with its category names and colours (or those of its attribute table), or a
picture in which every colour is a facies. Several hundred cells a side are a good size; each structure should occur
many times.</p>
<p>While it learns, progress shows the <b>held-out bits per cell</b>: how well the model predicts a corner of the image
that it is not shown, the lower the better. The training stops when its time is over, or, in its second half, when that
number falls no more. When it is cancelled the best model so far is kept, and running it again with the same name goes
on.</p>
<p>The model of channels that comes with the plugin took an hour and a half on one core of a processor.</p>
"""
_TAGS = (
    "training image,train,learn,multiple-point,mps,snesim,direct sampling,pattern,channel,analogue,facies,model,neural "
    "network,deep learning"
)


class TrainModel(ImageAlgorithm):
    """A model file, learnt from a training image."""

    ID = "trainmodel"
    NAME = "Train model on a training image"
    SUMMARY = "Trains a model on a training image, for simulating facies that look like it."
    HELP = _HELP
    TAGS = tuple(_TAGS.split(","))

    def initAlgorithm(self, configuration=None) -> None:
        """Declare parameters and outputs."""
        for parameter in _parameters():
            self.addParameter(parameter)
        self.addOutput(QgsProcessingOutputString("MODEL", tr("Name of the model")))
        self.addOutput(QgsProcessingOutputFile("MODEL_FILE", tr("Model file")))
        for name, description in (
            ("HELD_OUT_BITS", tr("Held-out bits per cell")),
            ("N_FACIES", tr("Number of facies")),
            ("STEPS", tr("Steps")),
            ("SECONDS", tr("Seconds of learning")),
        ):
            self.addOutput(QgsProcessingOutputNumber(name, description))

    def processAlgorithm(self, parameters, context, feedback) -> Dict[str, Any]:
        """Read the image, train, and tell where the model is."""
        with errors_for_qgis():
            self.raise_problem()
            symmetry = self.parameterAsEnumString(parameters, "SYMMETRY", context)
            image = self.read_image(symmetry)
            job = self._make_job(parameters, context, image)
            _tell_image(image, feedback)
            result = _train(job, image, feedback)
        feedback.pushInfo(
            tr("The model {} needs {:.4f} bits per held-out cell, after {:,} steps. It is in {}.").format(
                job.name, result.held_out_bits, result.best_step, result.model_path
            )
        )
        if result.stopped_early:
            feedback.pushInfo(
                tr("Training stopped early, after {}, for the held-out bits had begun to rise.").format(
                    counted(result.steps, tr("step"), tr("steps"))
                )
            )
        if result.best_step < _EARLY * result.steps:
            feedback.pushWarning(
                tr(
                    "The model was best after {:,} of {:,} steps, and learning on made it worse: the image is too "
                    "small to learn more from. Take a larger one, or declare its symmetry."
                ).format(result.best_step, result.steps)
            )
        elif result.lowest_step == result.steps:
            feedback.pushInfo(
                tr("The held-out bits were still falling in the end: a longer training makes a better model.")
            )
        return {
            "MODEL": job.name,
            "MODEL_FILE": result.model_path,
            "HELD_OUT_BITS": result.held_out_bits,
            "N_FACIES": len(job.facies),
            "STEPS": result.steps,
            "SECONDS": round(result.seconds, 3),
        }

    def _make_job(self, parameters, context, image: TrainingImage) -> TrainingJob:
        """Return the job; raise `JobError` when its model would replace one that is there."""
        name = self.parameterAsString(parameters, "NAME", context).strip()
        folder = self.parameterAsString(parameters, "FOLDER", context)
        path = place_of_model(name, Path(folder) if folder else None)
        steps = self.number_of(parameters, "STEPS", context)
        return TrainingJob(
            image_path="",
            facies=image.facies,
            model_path=str(path),
            start_path=str(SHIPPED_FOLDER / f"{UNIVERSAL}{SUFFIX}"),
            work_folder="",
            name=name,
            symmetry=image.symmetry,
            cell_size=image.cell_size,
            origin=image.origin,
            size=self.parameterAsEnumString(parameters, "SIZE", context),
            steps=None if steps is None else int(steps),
            minutes=self.parameterAsDouble(parameters, "MINUTES", context),
            seed=self.parameterAsInt(parameters, "SEED", context),
            device=self.parameterAsEnumString(parameters, "DEVICE", context),
        )


def place_of_model(name: str, folder: Optional[Path] = None) -> Path:
    """
    Return where a new model goes.

    Parameters
    ----------
    name : str
        Its name, which is that of its file.
    folder : Path, optional
        By default that of the user's own models, which is made.

    Raises
    ------
    JobError
        When the name cannot be that of a file, is taken, or the folder is none.
    """
    check_name(name)
    try:
        if folder is None:
            folder = user_folder()
            folder.mkdir(parents=True, exist_ok=True)
        is_writable = folder.is_dir() and os.access(folder, os.W_OK)
    except OSError:
        is_writable = False
    if not is_writable:
        raise JobError(f"The model cannot be written into {folder}. Choose a folder in which you may write.")
    path = folder / f"{name}{SUFFIX}"
    alike = {file for file in folder.glob(f"*{SUFFIX}") if file.stem.lower() == name.lower()}
    if folder == user_folder():
        alike |= {file for other, file in installed_models().items() if other.lower() == name.lower()}
    is_begun = checkpoint_folder(path).exists() and read_origin(path) is None  # it was not installed
    if alike and not (is_begun and alike == {path}):
        other = "" if path not in alike else f", or delete the file {path} first"
        raise JobError(
            f"There is a model named {min(file.stem for file in alike)} already. Choose another name{other}."
        )
    return path


def _train(job: TrainingJob, image: TrainingImage, feedback) -> TrainingResult:
    """Train on the engine; a cancelled training tells what is left of it."""
    try:
        arrays = {"image_path": image.class_index}
        with run_job(job, arrays=arrays, on_progress=report_to(feedback), is_cancelled=feedback.isCanceled) as result:
            return result
    except Cancelled as error:
        kept = tr("The best model so far is {}.").format(job.model_path) if Path(job.model_path).exists() else ""
        feedback.pushInfo(
            " ".join([tr("The training was cancelled; running it again with the same parameters goes on."), kept])
        )
        raise Cancelled("The training was cancelled.") from error


def _tell_image(image: TrainingImage, feedback) -> None:
    """Tell what the image holds, and why a model of it may be poor."""
    shares = ", ".join(f"{f.name} {percent(share, 1)}" for f, share in zip(image.facies.facies, image.proportions))
    feedback.pushInfo(
        tr("The training image has {:,} rows x {:,} columns and {} facies: {}.").format(
            *image.shape, len(image.facies), shares
        )
    )
    feedback.pushInfo(
        tr("It is learnt on lattices of 1 to {} cells from node to node; {} x {} cells, {}, are held out.").format(
            2**image.coarsest_level, *image.held_out.shape, image.held_out_corner
        )
    )
    for caution in image_cautions(image, RECEPTIVE_RADIUS):
        feedback.pushWarning(caution)


def _parameters() -> Iterator[QgsProcessingParameterDefinition]:
    """Yield the parameters in the dialog's order, each with its help."""
    yield from helped(_image())
    yield from helped(_settings())
    yield from helped(_advanced(), advanced=True)


def _image() -> Iterator[Helped]:
    yield from image_parameters()
    yield (
        choice("SYMMETRY", tr("Symmetry of the image"), SYMMETRIES),
        tr(
            "If the image could as well be seen turned by 180 degrees ('half turn'), mirrored along either axis "
            "('flips'), or also turned by 90 degrees ('rotations'), the model has more to learn from. If in doubt: "
            "'none'."
        ),
    )


def _settings() -> Iterator[Helped]:
    yield QgsProcessingParameterString("NAME", tr("Name of the model")), tr("By which it will be listed.")
    yield (
        number("MINUTES", tr("Training time (minutes)"), DEFAULT_MINUTES, 0.1, decimals=1),
        tr(
            "About how long to learn. A few more minutes are needed before (to time a step) and afterwards (to choose "
            "the passes of simulations). At least 40 steps are taken. A training that goes on where it was cancelled "
            "counts the time that it took before."
        ),
    )


def _advanced() -> Iterator[Helped]:
    steps = QgsProcessingParameterNumber.Type.Integer
    yield (
        QgsProcessingParameterNumber("STEPS", tr("Steps"), steps, None, True, 1, MAX_STEPS),
        tr("Length of the training in steps, instead of minutes: the same seed and steps give the same model."),
    )
    yield (
        choice("SIZE", tr("Size of the network"), SIZES),
        tr(
            "By default 'base', and 'small' where the time is too short for it: a small network learns sooner and "
            "computes faster, and in the end it knows less. 'large' needs a graphics processor."
        ),
    )
    yield (
        QgsProcessingParameterFile(
            "FOLDER", tr("Folder of the model"), behavior=QgsProcessingParameterFile.Behavior.Folder, optional=True
        ),
        tr("By default {}, where the model is found by its name.").format(user_folder()),
    )
    yield shared.seed(tr("The same seed, image and number of steps give the same model."))
    yield shared.device()
