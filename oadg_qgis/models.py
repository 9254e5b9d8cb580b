"""The models that are installed: those shipped with the plugin and those in the user's data folder."""

from __future__ import annotations

from pathlib import Path
from typing import Dict

from ..core.errors import ModelError
from .environment import PLUGIN_FOLDER, engine_folder

UNIVERSAL = "universal"
SUFFIX = ".safetensors"
SHIPPED_FOLDER = PLUGIN_FOLDER / "resources" / "models"


def user_folder() -> Path:
    """Return the folder in the user's data folder where own models are found, whether it is there or not."""
    return engine_folder().parent / "models"


def installed_models() -> Dict[str, Path]:
    """Return the files of installed models by name, the universal one first; the user's go before shipped ones."""
    found = {path.stem: path for folder in (SHIPPED_FOLDER, user_folder()) for path in folder.glob(f"*{SUFFIX}")}
    names = sorted(set(found) - {UNIVERSAL}, key=str.lower)
    return {name: found.get(name, SHIPPED_FOLDER / f"{name}{SUFFIX}") for name in (UNIVERSAL, *names)}


def unknown_model(name: str) -> str:
    """Return a sentence for a model name that is not installed."""
    return (
        f"The model {name!r} is not installed; installed are: {', '.join(installed_models())}. Put its file "
        f"({name}{SUFFIX}) into {user_folder()}, or give the file as MODEL_FILE."
    )


def model_path(name: str, file: str = "") -> Path:
    """
    Return the model file to use.

    Parameters
    ----------
    name : str
        Name of an installed model.
    file : str
        A model file that is used instead, if not empty.

    Raises
    ------
    ModelError
        When there is no such model or file.
    """
    if file:
        if not Path(file).is_file():
            raise ModelError(f"The model file {file} does not exist. Choose a {SUFFIX} file, or an installed model.")
        return Path(file)
    path = installed_models().get(name)
    if path is None or not path.is_file():
        raise ModelError(unknown_model(name))
    return path
