"""What algorithms share that run a model on the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Sequence, Tuple

from qgis.core import QgsProcessingFeatureSource, QgsRectangle, QgsVectorLayer

from ...core.contract.errors import EngineError, JobError
from ..crs import known_crs
from ..destinations import check_destinations, check_writable, files_of, put_in_place
from ..environment import find_interpreter
from ..layers import Observations, observations_reader
from ..models import model_path, unknown_model
from .base import OadgAlgorithm, is_given, tr

_DEGREES = QgsRectangle(-180, -90, 180, 90)


class EngineAlgorithm(OadgAlgorithm):
    """
    Base of the algorithms that need the engine; `MODEL` and `MODEL_FILE`, if any, are those of `parameters.py`.

    Attributes
    ----------
    KEEPS_ATTRIBUTES : bool
        Whether observations keep the attributes of their features.
    """

    KEEPS_ATTRIBUTES = False

    def why_not(self) -> str:
        """Return why the engine cannot be started; empty when it can."""
        try:
            find_interpreter()
        except EngineError as error:
            return str(error)
        return ""

    def unknown_choice(self, name: str, value: Any, options: Sequence[str]) -> str:
        """Name the installed models when another one is asked for."""
        return unknown_model(str(value)) if name == "MODEL" else super().unknown_choice(name, value, options)

    def model_of(self, parameters, context) -> Path:
        """Return the model file to use."""
        return model_path(
            self.parameterAsEnumString(parameters, "MODEL", context),
            self.parameterAsString(parameters, "MODEL_FILE", context),
        )

    def model_files(self, parameters, context) -> Dict[str, Path]:
        """Return the model file that the run reads, by the parameter that chooses it; empty where none does."""
        if self.parameterDefinition("MODEL") is None:
            return {}
        name = "MODEL_FILE" if is_given(parameters, "MODEL_FILE") else "MODEL"
        return {name: self.model_of(parameters, context)}

    def observed(self, parameters, context) -> Tuple[QgsProcessingFeatureSource, QgsVectorLayer]:
        """Return the features of `OBSERVATIONS`, and their layer; raise `JobError` when it is none."""
        source = self.parameterAsSource(parameters, "OBSERVATIONS", context)
        layer = self.layer_of_source(parameters, "OBSERVATIONS", context)
        if source is None or layer is None:
            raise JobError(self.invalidSourceError(parameters, "OBSERVATIONS"))
        return source, layer

    def take_observations(
        self, parameters, context, feedback, source: QgsProcessingFeatureSource, layer: QgsVectorLayer, words: str
    ) -> Callable[[], Observations]:
        """
        Return what reads observations later, in the CRS that was chosen, and note which files they come from.

        Parameters
        ----------
        parameters, context, feedback
            As algorithms get them.
        source, layer
            What `observed` returns.
        words : str
            What is told when they have no CRS.
        """
        tell_without_crs(source, words, feedback)
        self._inputs.update(files_of("OBSERVATIONS", layer, context))
        return observations_reader(
            source,
            layer,
            self.parameterAsString(parameters, "FACIES_FIELD", context),
            self._crs,
            context.transformContext(),
            restricted=not isinstance(parameters["OBSERVATIONS"], (str, QgsVectorLayer)),
            with_attributes=self.KEEPS_ATTRIBUTES,
        )

    def take_page(self, parameters, context, layers: Mapping[str, Path] = {}) -> None:
        """Take the place of the report, if there is one; raise unless it and vector layers, by name, may go there."""
        page = self.parameterAsFileOutput(parameters, "REPORT", context)
        self._page = Path(page) if page else None
        outputs = {**({} if self._page is None else {"REPORT": self._page}), **layers}
        check_destinations(outputs, self._inputs, layers=layers)
        check_writable(outputs)

    def leave_page(self, source: str) -> Optional[str]:
        """Put the engine's page in its place, and return that; None when it is not asked for."""
        if self._page is None:
            return None
        put_in_place(source, self._page)
        return str(self._page)


def extent_of_source(source: QgsProcessingFeatureSource) -> QgsRectangle:
    """Return the extent of a feature source; an empty one where a point of it has no finite coordinates."""
    try:
        return source.sourceExtent()
    except Exception:  # QGIS's own, of no class, for an infinite coordinate of a layer in memory
        return QgsRectangle()


def tell_without_crs(source: QgsProcessingFeatureSource, words: str, feedback) -> None:
    """Warn with some words of a layer that has no CRS, and when its coordinates look like degrees."""
    extent = extent_of_source(source)
    if known_crs(source.sourceCrs()).isValid() or extent.isNull():
        return
    feedback.pushWarning(words)
    if _DEGREES.contains(extent):
        feedback.pushWarning(tr("They look like degrees. If they are, give the layer its CRS (EPSG:4326?) first."))
