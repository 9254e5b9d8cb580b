"""What algorithms share that run a model on the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Tuple

from ...core.errors import EngineError
from ..environment import find_interpreter
from ..models import installed_models, model_path, unknown_model
from .base import OadgAlgorithm


class EngineAlgorithm(OadgAlgorithm):
    """Base of the algorithms that need the engine; `MODEL` and `MODEL_FILE`, if any, are those of `parameters.py`."""

    def why_not(self) -> str:
        """Return why the engine cannot be started; empty when it can."""
        try:
            find_interpreter()
        except EngineError as error:
            return str(error)
        return ""

    def checkParameterValues(self, parameters, context) -> Tuple[bool, str]:
        """Check as Processing does; name the installed models when another one is asked for."""
        valid, message = super().checkParameterValues(parameters, context)
        name = parameters.get("MODEL")
        if not valid and isinstance(name, str) and name not in installed_models():
            return False, unknown_model(name)
        return valid, message

    def model_of(self, parameters, context) -> Path:
        """Return the model file to use."""
        return model_path(
            self.parameterAsEnumString(parameters, "MODEL", context),
            self.parameterAsString(parameters, "MODEL_FILE", context),
        )
