"""Fetches a model from a hub, or takes one of this computer, checks it, and puts it among the user's."""

from __future__ import annotations

from typing import Any, Dict, Iterator

from qgis.core import (
    QgsProcessingOutputFile,
    QgsProcessingOutputString,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterFile,
    QgsProcessingParameterString,
)

from ...core.contract.hub_job import DEFAULT_REVISION, InstallJob
from ..engine_jobs import run_job
from ..models import SHIPPED_FOLDER, SUFFIX, user_folder
from .base import errors_for_qgis, report_to, tr
from .engine_algorithm import EngineAlgorithm
from .parameters import Helped, helped

_HELP = """
<p>Models for other settings than yours are shared on the Hugging Face hub. Name the <b>repository</b>, as at the top of
its page (USER/NAME): the model is fetched, checked, and from then on listed among the models. Models are safetensors
files, which unlike other kinds of files cannot run programs; of a checkpoint of the reference (model.pt) only the
numbers are read.</p>
<p>When the download is cut or cancelled, or the checksum is wrong, nothing is installed.</p>
<p><b>Without a network</b>: fetch the file on another computer, and give it as the file on this computer.</p>
<p>A proxy, another hub and a token for private repositories are taken from the environment variables HTTPS_PROXY,
HF_ENDPOINT and HF_TOKEN, which can be set in QGIS's settings, System, Environment.</p>
"""
_TAGS = "hub,hugging face,download,fetch,share,model,install,pretrained,offline,checksum"
_OUTPUTS = (
    ("INSTALLED", "Name by which the model is listed"),
    ("MODEL_ID", "The model's own name and fingerprint"),
    ("SHA256_FOUND", "Checksum of the file"),
    ("ORIGIN", "Where it comes from"),
    ("COMMIT", "Commit of the repository"),
)


class InstallModel(EngineAlgorithm):
    """A model of a hub among the user's own."""

    ID = "installmodel"
    NAME = "Install model"
    SUMMARY = "Fetches a model from a hub or a file, checks it, and lists it among the models."
    HELP = _HELP
    GROUP_ID = "models"
    GROUP = "Models"
    TAGS = tuple(_TAGS.split(","))

    def initAlgorithm(self, configuration=None) -> None:
        """Declare parameters and outputs."""
        for parameter in _parameters():
            self.addParameter(parameter)
        self.addOutput(QgsProcessingOutputFile("MODEL_FILE", tr("Model file")))
        for name, description in _OUTPUTS:
            self.addOutput(QgsProcessingOutputString(name, tr(description)))

    def processAlgorithm(self, parameters, context, feedback) -> Dict[str, Any]:
        """Install the model; every declared key is returned."""
        with errors_for_qgis():
            self.raise_problem()
            job = self._make_job(parameters, context)
            with run_job(job, on_progress=report_to(feedback), is_cancelled=feedback.isCanceled) as result:
                pass
        if result.from_cache:
            feedback.pushWarning(
                tr("The hub cannot be reached; the model comes from the cache of its client, and may be an older one.")
            )
        checked = {
            "user": tr("as you gave it"),
            "hub": tr("as the hub says"),
            "": tr("which was compared with none: give SHA256 to be sure"),
        }[result.checked_against]
        feedback.pushInfo(tr("Checksum (SHA-256): {} ({}).").format(result.sha256, checked))
        feedback.pushInfo(tr("Installed as '{}', from {}.").format(result.name, result.origin))
        return {
            "MODEL_FILE": result.model_path,
            "INSTALLED": result.name,
            "MODEL_ID": result.model_id,
            "SHA256_FOUND": result.sha256,
            "ORIGIN": result.origin,
            "COMMIT": result.commit,
        }

    def _make_job(self, parameters, context) -> InstallJob:
        """Return the job."""

        def text(name: str) -> str:
            return self.parameterAsString(parameters, name, context).strip()

        return InstallJob(
            model_folder=str(user_folder()),
            work_folder="",
            repository=text("REPOSITORY"),
            revision=text("REVISION") or DEFAULT_REVISION,
            file=text("FILE"),
            source=text("SOURCE"),
            name=text("NAME"),
            sha256=text("SHA256"),
            replace=self.parameterAsBoolean(parameters, "REPLACE", context),
            taken=tuple(sorted(path.stem for path in SHIPPED_FOLDER.glob(f"*{SUFFIX}"))),
        )


def _parameters() -> Iterator[QgsProcessingParameterDefinition]:
    """Yield the parameters in the dialog's order, each with its help."""
    yield from helped(_places())
    yield from helped(_advanced(), advanced=True)


def _text(name: str, description: str, default: str = "") -> QgsProcessingParameterString:
    return QgsProcessingParameterString(name, description, default or None, optional=True)


def _places() -> Iterator[Helped]:
    yield _text("REPOSITORY", tr("Repository on the hub")), tr("USER/NAME, as at the top of its page.")
    yield (
        QgsProcessingParameterFile(
            "SOURCE", tr("File on this computer (offline)"), optional=True, fileFilter=tr("All files") + " (*)"
        ),
        tr("A model file, or a folder that holds one, instead of a repository."),
    )
    yield _text("NAME", tr("Name of the model")), tr("By which it will be listed; by default the name that it bears.")


def _advanced() -> Iterator[Helped]:
    yield (
        _text("REVISION", tr("Revision"), DEFAULT_REVISION),
        tr("A commit, tag or branch. A commit always means the same file; a branch, its newest one."),
    )
    yield (
        _text("FILE", tr("File in the repository")),
        tr("Needed where there are several models: the file's name, as the hub lists it."),
    )
    yield (
        _text("SHA256", tr("Checksum (SHA-256)")),
        tr("What the file's checksum must be, if you know it from elsewhere. By default what the hub says is checked."),
    )
    yield (
        QgsProcessingParameterBoolean("REPLACE", tr("Replace a model of this name"), False),
        tr("Otherwise an installed model stays as it is. Models that come with OADG are hidden, not deleted."),
    )
