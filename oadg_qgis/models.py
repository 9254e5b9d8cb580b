"""The models that are installed: those shipped with the plugin and those in the user's data folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Dict, List, NamedTuple

from ..core.contract.errors import ModelError
from ..core.contract.hub_job import SUFFIX, UNIVERSAL, origin_note, read_origin
from ..core.contract.model_header import read_header
from ..core.contract.training_job import checkpoint_folder
from .environment import PLUGIN_FOLDER, engine_folder

_ANY = "any"
"""What a list of models says of the facies of one that takes any."""
SHIPPED_FOLDER = PLUGIN_FOLDER / "resources" / "models"


def user_folder() -> Path:
    """Return the folder in the user's data folder where own models are found, whether it is there or not."""
    return engine_folder().parent / "models"


def installed_models() -> Dict[str, Path]:
    """Return the files of installed models by name, the universal one first; the user's go before shipped ones."""
    files = (path for folder in (SHIPPED_FOLDER, user_folder()) for path in folder.glob(f"*{SUFFIX}"))
    found = {path.stem: path for path in files if path.is_file()}
    names = sorted(set(found) - {UNIVERSAL}, key=str.lower)
    return {name: found.get(name, SHIPPED_FOLDER / f"{name}{SUFFIX}") for name in (UNIVERSAL, *names)}


def unknown_model(name: str) -> str:
    """Return a sentence for a model name that is not installed, which may be a number, as QGIS's own help has them."""
    names = list(installed_models())
    if name.isdecimal() and int(name) < len(names):
        return f"MODEL is {name}; models are chosen by their names, not by numbers: {', '.join(names)}."
    return (
        f"The model {name!r} is not installed; installed are: {', '.join(names)}. Put its file "
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


def universal_remedy() -> str:
    """Return in words how to come by the universal model, also where one of the user's own hides it."""
    own = user_folder() / f"{UNIVERSAL}{SUFFIX}"
    if own.is_file() and describe_model(UNIVERSAL, own).facies != _ANY:
        return (
            "choose the universal model, which takes any facies: one of your own has its name now, and 'Remove model' "
            f"(NAME {UNIVERSAL}) brings back the one that comes with OADG"
        )
    return "choose the universal model, which takes any facies"


class ModelEntry(NamedTuple):
    """What a list of models tells of one; texts, empty where nothing is known."""

    name: str
    facies: str
    cell_size: str
    bits_per_cell: str
    origin: str
    file: str


def list_models() -> List[ModelEntry]:
    """Return what the headers of the installed models say; of a damaged one, what is wrong with it."""
    return [describe_model(name, path) for name, path in installed_models().items() if path.is_file()]


def describe_model(name: str, path: Path) -> ModelEntry:
    """Return what a model file says of itself, read from its header."""
    try:
        header = read_header(path)
    except ModelError as error:
        return ModelEntry(name, f"cannot be used: {error}", "", "", "", str(path))
    note = read_origin(path)
    if path.parent == SHIPPED_FOLDER:
        origin = "comes with OADG"
    elif note is not None:
        origin = str(note.get("origin", ""))
    elif header.facies is not None:
        origin = f"trained on {header.provenance['learnt_from']}" if header.provenance.get("learnt_from") else ""
    else:
        origin = ""
    facies = header.facies.facies if header.facies is not None else ()
    return ModelEntry(
        name,
        ", ".join(f"{one.name} ({one.code})" for one in facies) or _ANY,
        ("" if facies else _ANY) if header.cell_size is None else f"{header.cell_size:g}",
        "" if header.bits_per_cell is None else f"{header.bits_per_cell:.4f}",
        origin,
        str(path),
    )


def remove_model(name: str) -> Path:
    """
    Delete a model of the user's own folder, with the note about its origin and what a training of it has left.

    Returns
    -------
    Path
        The file that was deleted.

    Raises
    ------
    ModelError
        When there is no such model, it comes with OADG, or its file cannot be deleted.
    """
    own = sorted(path.stem for path in user_folder().glob(f"*{SUFFIX}"))
    if name not in own:
        there = f"yours are: {', '.join(own)}" if own else "there are none of your own"
        if (SHIPPED_FOLDER / f"{name}{SUFFIX}").is_file():
            raise ModelError(f"The model {name!r} comes with OADG and is not removed; {there}.")
        raise ModelError(f"There is no model {name!r} in {user_folder()}; {there}. Choose one of them.")
    path = user_folder() / f"{name}{SUFFIX}"
    try:
        path.unlink()
        if origin_note(path).is_file():
            origin_note(path).unlink()
        if checkpoint_folder(path).is_dir():
            shutil.rmtree(checkpoint_folder(path))
    except OSError as error:
        raise ModelError(
            f"The model file {path} cannot be deleted: {error.strerror or error}. Is it in use? Close other QGIS "
            "windows and try again."
        ) from error
    return path
