"""Lists the algorithms and the models that come with OADG."""

from __future__ import annotations

from pathlib import Path

from qgis.core import QgsProcessingModelAlgorithm, QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from .algorithms.base import ICON_PATH, PLUGIN_FOLDER, tr
from .algorithms.compare_simulations import CompareSimulations
from .algorithms.cross_validate import CrossValidate
from .algorithms.engine_status import EngineStatus
from .algorithms.evaluate_model import EvaluateModel
from .algorithms.install_model import InstallModel
from .algorithms.list_models import ListModels
from .algorithms.remove_model import RemoveModel
from .algorithms.score_map import ScoreMap
from .algorithms.setup_engine import SetupEngine
from .algorithms.simulate_facies import SimulateFacies
from .algorithms.simulate_indicators import SimulateIndicators
from .algorithms.train_model import TrainModel

ALGORITHMS = (
    SimulateFacies,
    SimulateIndicators,
    CrossValidate,
    CompareSimulations,
    ScoreMap,
    TrainModel,
    EvaluateModel,
    InstallModel,
    ListModels,
    RemoveModel,
    SetupEngine,
    EngineStatus,
)
MODEL_FOLDER: Path = PLUGIN_FOLDER / "resources" / "workflows"
"""Models of QGIS's model designer that chain OADG with other algorithms."""


class OadgProvider(QgsProcessingProvider):
    """The toolbox entry `OADG`."""

    def id(self) -> str:
        """Return the prefix of the algorithms' identifiers."""
        return "oadg"

    def name(self) -> str:
        """Return the name in the toolbox."""
        return "OADG"

    def longName(self) -> str:
        """Return the name with an explanation."""
        return tr("OADG: facies maps from boreholes")

    def icon(self) -> QIcon:
        """Return OADG's icon."""
        return QIcon(str(ICON_PATH))

    def svgIconPath(self) -> str:
        """Return the path of OADG's icon."""
        return str(ICON_PATH)

    def loadAlgorithms(self) -> None:
        """Add a fresh instance of every algorithm, and the shipped models."""
        for algorithm in ALGORITHMS:
            self.addAlgorithm(algorithm())
        for path in sorted(MODEL_FOLDER.glob("*.model3")):
            model = QgsProcessingModelAlgorithm()
            if model.fromFile(str(path)):
                self.addAlgorithm(model)
