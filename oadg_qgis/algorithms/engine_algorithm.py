"""What algorithms share that run a model on the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence

from ...core.contract.errors import EngineError
from ..destinations import check_destinations, check_writable, put_in_place
from ..environment import find_interpreter
from ..models import model_path, unknown_model
from .base import OadgAlgorithm, is_given


class EngineAlgorithm(OadgAlgorithm):
    """Base of the algorithms that need the engine; `MODEL` and `MODEL_FILE`, if any, are those of `parameters.py`."""

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
