"""Whether a model looks like its training image: a raster and a model to one page and numbers."""

from __future__ import annotations

from typing import Any, Dict, Iterator, Mapping, Optional, Tuple

import numpy as np
from qgis.core import (
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
    QgsProcessingParameterDefinition,
)

from ...core.contract.errors import FaciesError, ModelError
from ...core.contract.facies import Value, match_facies
from ...core.contract.job import QUALITIES
from ...core.contract.model_header import ModelHeader, read_header
from ...core.contract.training_image import TrainingImage
from ...core.contract.training_job import (
    MAX_EVALUATED,
    MAX_EVALUATED_SIDE,
    MIN_EVALUATED,
    MIN_EVALUATED_SIDE,
    EvaluationJob,
    piece_shape,
)
from ..engine_jobs import run_job
from . import parameters as shared
from .base import errors_for_qgis, report_to, tr
from .facies_algorithm import tell_names
from .image_algorithm import ImageAlgorithm, image_parameters
from .parameters import Helped, choice, helped, whole_number

_HELP = """
<p>Before you trust a model, look at what it draws. Realizations without any observations are put beside pieces of the
training image, and measured with the same rulers: the shares of the facies, how many bodies they form and how these
are connected, how long their boundaries are and which facies touch, variograms, the frequencies of all small patterns,
and how far realizations differ from one another. What chance makes of each number is shown by other pieces of the
image, and by its halves.</p>
<p>Then cells of the corner of the image that training did not see are hidden and predicted from few others, by the
model and by kriging; and realizations are drawn from these few, to see whether data lie in them as cells that nothing
around agrees with.</p>
<p>The <b>report</b> is a page that begins with the answer in plain words.</p>
"""
_TAGS = (
    "training image,evaluation,validation,quality,pattern,variogram,connectivity,anodi,multiple-point,mps,fidelity,"
    "reliability,facies,model"
)
_NUMBERS = (
    ("PATTERN_DIVERGENCE", "Pattern divergence from the image (bits)"),
    ("REFERENCE_DIVERGENCE", "Pattern divergence by chance (bits)"),
    ("VARIOGRAM_DIFFERENCE", "Largest difference of variograms"),
    ("CONNECTIVITY_MISFIT", "Misfit of what hangs together (share of pairs of cells of one facies)"),
    ("PROPORTION_DIFFERENCE", "Largest difference of a facies' share"),
    ("BODIES_RATIO", "Number of bodies over that of the image, where it is farthest from 1"),
    ("BOUNDARY_RATIO", "Length of boundaries between facies over that of the image"),
    ("FORBIDDEN_CONTACTS", "Share of the boundaries between facies that never touch in the image"),
    ("VARIETY", "Variety over that of the image"),
    ("AGREEMENT", "Agreement of two realizations at the same cells, beyond chance"),
    ("LOG_LOSS", "Log loss of the model at hidden cells (nats)"),
    ("LOG_LOSS_KRIGING", "Log loss of the better kriging there (nats)"),
    ("ISOLATED_DATA", "Share of the data that no neighbour agrees with, in realizations"),
    ("ISOLATED_IN_IMAGE", "Share of the image's cells that no neighbour agrees with"),
    ("LARGEST_MISCALIBRATION", "Largest difference of a probability from the observed frequency"),
    ("SECONDS_PER_REALIZATION", "Seconds for each realization"),
)


class EvaluateModel(ImageAlgorithm):
    """Likeness and calibration of a model of a training image."""

    ID = "evaluatemodel"
    NAME = "Evaluate model against its training image"
    SUMMARY = "Compares realizations of a model with its training image, and predicts hidden cells of it."
    HELP = _HELP
    TAGS = tuple(_TAGS.split(","))

    def initAlgorithm(self, configuration=None) -> None:
        """Declare parameters and outputs."""
        for parameter in _parameters():
            self.addParameter(parameter)
        for name, description in _NUMBERS:
            self.addOutput(QgsProcessingOutputNumber(name, tr(description)))
        self.addOutput(QgsProcessingOutputString("VERDICT", tr("Verdict")))

    def read(self, parameters, context, feedback) -> None:
        """Take hold of the raster, and look where the page is to go."""
        super().read(parameters, context, feedback)
        self.take_page(parameters, context)

    def processAlgorithm(self, parameters, context, feedback) -> Dict[str, Any]:
        """Run the job and write the page; every declared key is returned."""
        with errors_for_qgis():
            self.raise_problem()
            path = self.model_of(parameters, context)
            header = read_header(path)
            image, found = _as_the_model_has_it(self.read_image(header=header), header)
            tell_names(found, image.facies, self._layer_name, feedback)
            side = self.parameterAsInt(parameters, "SIDE", context)
            _tell_shape(image, side, feedback)
            job = EvaluationJob(
                image_path="",
                facies=image.facies,
                model_path=str(path),
                work_folder="",
                side=side,
                n_realizations=self.parameterAsInt(parameters, "N_REALIZATIONS", context),
                quality=self.parameterAsEnumString(parameters, "QUALITY", context),
                seed=self.parameterAsInt(parameters, "SEED", context),
                device=self.parameterAsEnumString(parameters, "DEVICE", context),
                subject=f"{header.name}, {self._layer_name}",
            )
            arrays, progress = {"image_path": image.class_index}, report_to(feedback)
            with run_job(job, arrays=arrays, on_progress=progress, is_cancelled=feedback.isCanceled) as result:
                page = self.leave_page(result.page_path)
        feedback.pushInfo(result.verdict)
        return {
            "REPORT": page,
            **{name: result.scores[name.lower()] for name, _ in _NUMBERS},
            "VERDICT": result.verdict,
        }


def _tell_shape(image: TrainingImage, side: int, feedback) -> None:
    """Tell when realizations and pieces of the image have fewer cells than is asked."""
    shape = piece_shape(image.shape, side)
    if shape != (side, side):
        feedback.pushWarning(
            tr("Pieces of {} x {} cells of this image would be much alike: pieces of {} x {} are compared.").format(
                side, side, *shape
            )
        )


def _as_the_model_has_it(
    image: TrainingImage, header: ModelHeader
) -> Tuple[TrainingImage, Mapping[Value, Optional[int]]]:
    """Return the image with the facies of the model, and which these its codes are; raise when they are others."""
    if header.facies is None:
        raise ModelError(
            f"The model {header.name} was not trained on an image: it fits itself to observations. Choose a model of "
            "the image, or judge this one with 'Cross-validate facies maps'."
        )
    codes, names = image.facies.codes.tolist(), image.facies.names
    found = match_facies(codes, dict(zip(codes, names)), header.facies)
    places = [found[code] for code in codes]
    if set(places) != set(range(len(header.facies))) or len(places) != len(header.facies):
        held, learnt = (", ".join(f"{f.code} ({f.name})" for f in of.facies) for of in (image.facies, header.facies))
        raise FaciesError(
            f"The image holds the facies {held}, the model {header.name} was trained on {learnt}. Choose the image of "
            "that model."
        )
    class_index = np.array([*places, -1], dtype=np.int16)[image.class_index]  # the last one where nothing is known
    image = TrainingImage(class_index, header.facies, image.symmetry, image.cell_size, image.origin)
    return image, found


def _parameters() -> Iterator[QgsProcessingParameterDefinition]:
    """Yield the parameters in the dialog's order, each with its help."""
    yield from helped(image_parameters())
    yield from helped([shared.model_of_image()])
    yield from helped(_settings())
    yield from helped(_advanced(), advanced=True)
    yield from helped(_results())


def _settings() -> Iterator[Helped]:
    yield (
        whole_number("N_REALIZATIONS", tr("Number of realizations"), 20, MIN_EVALUATED, MAX_EVALUATED),
        tr("How many are compared with as many pieces of the image; 40 give steadier numbers."),
    )
    yield (
        whole_number("SIDE", tr("Cells per side"), 250, MIN_EVALUATED_SIDE, MAX_EVALUATED_SIDE),
        tr(
            "Rows and columns of realizations and pieces; of each at most a third of the image's, for larger pieces "
            "of it are much alike."
        ),
    )


def _advanced() -> Iterator[Helped]:
    yield shared.model_file()
    yield choice("QUALITY", tr("Quality"), QUALITIES), tr("How many passes the realizations get.")
    yield shared.seed(tr("Another seed draws other realizations and other pieces."))
    yield shared.device()


def _results() -> Iterator[Helped]:
    yield shared.report(tr("A page with the answer in plain words, pictures and plots; it needs no other file."))
