"""
The part of the contract about installing models, and the note of where a model comes from. Importable without torch.

A model from a hub is a file `NAME.safetensors`, as any model; beside it lies `NAME.origin.json`, which says where it
was got from. The note knows its model by the file's first bytes, so that it never speaks of another one.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Optional, Tuple

from .errors import JobError
from .job import Job, Result

SUFFIX = ".safetensors"
UNIVERSAL = "universal"
"""The name of the model that takes any facies, which is chosen by default."""
CHECKPOINT = "model.pt"
"""What the reference calls its checkpoints, which become models when they are installed."""
CHECKPOINT_SUFFIXES = (".pt", ".pth")
DEFAULT_REVISION = "main"
_REPOSITORY = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_FORBIDDEN = '<>:"/\\|?*'
_DEVICE = re.compile(r"(con|prn|aux|nul|(com|lpt)[1-9¹²³]) *(\..*)?", re.IGNORECASE)
"""Names that mean a device on Windows, whatever follows their first dot."""
_LONGEST_NAME = 160
"""Bytes of a model's name: files take 255, and those beside it have longer names."""
_MARKED = 1 << 16
"""How many bytes at the beginning of a model file tell it from others: its header is there."""


@dataclass(frozen=True)
class InstallJob(Job):
    """
    Everything that installing a model needs.

    Parameters
    ----------
    model_folder : str
        Where the user's models are; made when it is not there.
    work_folder : str
        Where the download goes before it is checked; the client makes and deletes it.
    repository : str
        USER/NAME of a repository on the hub; empty when there is a `source`.
    revision : str
        Commit, tag or branch.
    file : str
        Which file of the repository or of the folder; needed when it holds several models.
    source : str
        A model file, a checkpoint of the reference, or a folder that holds one of them (such as a downloaded
        snapshot), instead of a repository.
    name : str
        By which the model will be listed; by default the name that it bears.
    sha256 : str
        What the file's checksum must be; by default that which the hub says.
    replace : bool
        Whether an installed model of that name is replaced.
    taken : tuple of str
        Names of models that are installed elsewhere, which are as good as installed here.

    Raises
    ------
    JobError
        When it is not said what to install, or not unmistakably, and for a name or checksum that cannot be one.
    """

    model_folder: str
    repository: str = ""
    revision: str = DEFAULT_REVISION
    file: str = ""
    source: str = ""
    name: str = ""
    sha256: str = ""
    replace: bool = False
    taken: Tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.repository) == bool(self.source):
            raise JobError(
                "A model comes from a repository of the hub (REPOSITORY), or from a file or folder of this computer "
                f"(SOURCE); {'both are' if self.source else 'neither is'} given. Give one of them."
            )
        if self.repository:
            check_repository(self.repository)
        if not self.revision:
            raise JobError("The revision is empty. Give a commit, tag or branch; the usual branch is 'main'.")
        if self.file and (".." in re.split(r"[/\\]", self.file) or "\\" in self.file or self.file.startswith("/")):
            raise JobError(f"The file {self.file!r} lies outside the repository. Give its path there, as the hub does.")
        if self.sha256 and not _SHA256.fullmatch(self.sha256):
            raise JobError(
                f"The checksum {self.sha256!r} is no SHA-256: that has 64 characters, 0 to 9 and a to f. Copy it once "
                "more, or leave it empty to go by what the hub says."
            )
        if self.name:
            check_name(self.name)


@dataclass(frozen=True)
class InstallResult(Result):
    """
    What the engine hands back.

    Parameters
    ----------
    model_path : str
        The installed file.
    name, model_id : str
        By which the model is listed, and its own name with a fingerprint of its weights.
    sha256 : str
        Checksum of the file that was got.
    origin : str
        Where it was got from, in words.
    commit : str
        The commit of the repository that the revision meant; empty for a local file.
    checked_against : str
        Whose checksum it was compared with: 'user', 'hub', or '' for nobody's.
    from_cache : bool
        Whether the hub could not be reached, and the file was found in its client's cache.
    seconds : float
        Wall time in the engine, in seconds.
    """

    model_path: str
    name: str
    model_id: str
    sha256: str
    origin: str
    commit: str
    checked_against: str
    from_cache: bool
    seconds: float


def check_repository(repository: str) -> None:
    """Raise `JobError` unless a text can be the name of a repository."""
    if not _REPOSITORY.fullmatch(repository):
        raise JobError(
            f"{repository!r} cannot be a repository of the hub. It is written USER/NAME, as at the top of its page: "
            "letters, figures, '-', '_' and '.' only, without the hub's address."
        )


def check_name(name: str) -> None:
    """Raise `JobError` unless a model's name can be that of a file, on every system."""
    if len(name.encode()) > _LONGEST_NAME:
        raise JobError(
            f"The name {name[:20]!r} … is {len(name.encode()):,} bytes long, and a file's name can be {_LONGEST_NAME}. "
            "Use a shorter one: letters beyond a to z take two bytes and more."
        )
    if not name or name != name.strip(" .") or any(c in _FORBIDDEN or not c.isprintable() for c in name):
        raise JobError(f"The name {name!r} cannot be that of a file. Use letters, figures, spaces and '-'.")
    device = _DEVICE.fullmatch(name)
    if device:
        raise JobError(
            f"The name {name!r} cannot be that of a file on Windows, where {device[1].upper()} is a device. Use "
            f"another one, such as {f'model {name}'!r}."
        )


def origin_note(model_path: Path) -> Path:
    """Return the file that says where a model comes from, whether it is there or not."""
    return model_path.with_name(f"{model_path.stem}.origin.json")


def mark_of(model_path: Path) -> str:
    """Return what tells a model file from others, cheaply: a checksum of its first bytes."""
    with open(model_path, "rb") as file:
        return hashlib.sha256(file.read(_MARKED)).hexdigest()


def read_origin(model_path: Path) -> Optional[Mapping[str, Any]]:
    """
    Return the note of where a model comes from.

    Returns
    -------
    dict or None
        `origin` (in words), `repository`, `revision`, `commit`, `file`, `sha256`, `installed` (when); None when there
        is no note, or it is about a file that was replaced since.
    """
    try:
        note = json.loads(origin_note(model_path).read_text(encoding="utf-8"))
        return note if note.get("mark") == mark_of(model_path) else None
    except (OSError, ValueError, AttributeError):
        return None
