"""Deletes a model of the user's own."""

from __future__ import annotations

from typing import Any, Dict

from qgis.core import QgsProcessingOutputFile, QgsProcessingParameterString

from ..models import SUFFIX, remove_model, user_folder
from .base import OadgAlgorithm, errors_for_qgis, tr

_HELP = """
<p>Deletes the file of a model that you have installed or trained. It cannot be brought back, other than by installing
or training it again. Models that come with OADG are never deleted.</p>
"""


class RemoveModel(OadgAlgorithm):
    """One model fewer."""

    ID = "removemodel"
    NAME = "Remove model"
    SUMMARY = "Deletes one of your own models."
    HELP = _HELP
    GROUP_ID = "models"
    GROUP = "Models"
    TAGS = ("model", "delete", "remove", "uninstall", "clean")

    def initAlgorithm(self, configuration=None) -> None:
        """Declare the parameter and the output."""
        own = sorted(path.stem for path in user_folder().glob(f"*{SUFFIX}"))
        name = QgsProcessingParameterString("NAME", tr("Name of the model"))
        name.setHelp(
            tr("One of: {}.").format(", ".join(own))
            if own
            else tr("There is none of your own in {}.").format(user_folder())
        )
        if own:
            name.setMetadata({"widget_wrapper": {"value_hints": own}})  # a choice, where QGIS is new enough
        self.addParameter(name)
        self.addOutput(QgsProcessingOutputFile("REMOVED", tr("The file that was deleted")))

    def processAlgorithm(self, parameters, context, feedback) -> Dict[str, Any]:
        """Delete the file."""
        with errors_for_qgis():
            self.raise_problem()
            path = remove_model(self.parameterAsString(parameters, "NAME", context).strip())
        feedback.pushInfo(tr("Deleted: {}").format(path))
        return {"REMOVED": str(path)}
