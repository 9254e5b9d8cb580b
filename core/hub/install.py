"""Installing a model from a Hugging Face hub, or from a file of this computer."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable

from ..contract.errors import HubError, JobError, ModelError
from ..contract.hub_job import (
    CHECKPOINT_SUFFIXES,
    SUFFIX,
    UNIVERSAL,
    InstallJob,
    InstallResult,
    check_name,
    mark_of,
    origin_note,
)
from ..contract.training_job import checkpoint_folder
from ..model.facies_model import FaciesModel
from . import client
from .client import HubFile, Unreachable
from .reference_checkpoint import find_name_and_side, import_checkpoint

PATIENCE_S = 60.0
"""How long a download may stand still."""
_SHARE_OF_DOWNLOAD = 0.9  # of the progress

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class _Fetched:
    """A file that lies in the temporary place, and what is known of it."""

    path: Path
    file: HubFile
    origin: str
    from_cache: bool = False


def install_model(
    job: InstallJob, progress: Progress, *, endpoint: str | None = None, patience_s: float = PATIENCE_S
) -> InstallResult:
    """
    Fetch a model, check it, and only then put it among the user's, in one step.

    Parameters
    ----------
    job : InstallJob
        What is asked.
    progress : callable
        Told the fraction done and what is being done, often; what it raises (`Cancelled`) ends the installation.
    endpoint : str, optional
        The hub's address; the client's (HF_ENDPOINT) by default.
    patience_s : float
        How long a download may stand still, seconds.

    Returns
    -------
    InstallResult
        Where the model lies, and what it is.

    Raises
    ------
    HubError
        For an unknown repository, revision or file, a hub that does not answer, and a wrong checksum.
    ModelError
        For a file that is none of our models.
    JobError
        For a name that is taken, and a folder that cannot be written.
    """
    began = time.monotonic()
    if job.name:
        _check_free(job, job.name)
    with _scratch(job.work_folder) as scratch:
        if job.source:
            fetched = _fetch_local(job, scratch, progress)
        else:
            fetched = _fetch_remote(job, scratch, progress, endpoint, patience_s)
        progress(_SHARE_OF_DOWNLOAD, "Checking the model")
        sha256, checked_against = _check_content(job, fetched)
        model, path = _load(job, fetched)
        name = job.name or model.name
        check_name(name)
        _check_free(job, name)
        _check_universal(name, model)
        progress(0.97, "Installing")
        note = {
            "origin": fetched.origin,
            "repository": job.repository,
            "revision": job.revision if job.repository else "",
            "commit": fetched.file.commit,
            "file": fetched.file.path,
            "sha256": sha256,
            "installed": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        target = _move_in(path, Path(job.model_folder), name, note)
    return InstallResult(
        model_path=str(target),
        name=name,
        model_id=model.model_id,
        sha256=sha256,
        origin=fetched.origin,
        commit=fetched.file.commit,
        checked_against=checked_against,
        from_cache=fetched.from_cache,
        seconds=time.monotonic() - began,
    )


@contextlib.contextmanager
def _scratch(work_folder: str) -> Iterator[Path]:
    """Make a temporary folder inside the work folder, and delete it with all that is in it."""
    with tempfile.TemporaryDirectory(prefix="install-", dir=work_folder or None, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _fetch_remote(
    job: InstallJob, scratch: Path, progress: Progress, endpoint: str | None, patience_s: float
) -> _Fetched:
    """Download from the hub; take what its client has cached when it cannot be reached."""
    try:
        import huggingface_hub  # noqa: F401 - its absence is told in a sentence
    except ImportError as error:
        raise HubError(
            f"The engine's Python lacks the package huggingface_hub, which fetches models: {error}. Run 'Set up "
            "engine' (oadg:setupengine), or install the model from a file, as SOURCE."
        ) from error
    hub = client.address(endpoint)
    try:
        question = f"Asking {hub} for {job.repository}"
        file = client.find_file(job, endpoint=endpoint, look=lambda: progress(0.0, question))
        text = f"Downloading {file.path}" + (f", {file.size / 1e6:.1f} MB" if file.size else "")

        def tell(done: int) -> None:
            progress(_SHARE_OF_DOWNLOAD * min(1.0, done / file.size) if file.size else 0.0, text)

        path = client.download(job, file, scratch, endpoint=endpoint, tell=tell, patience_s=patience_s)
        return _Fetched(path, file, f"{job.repository} on {hub}, commit {file.commit[:12]}")
    except Unreachable as error:
        cached = client.find_in_cache(job)
        if cached is None:
            raise HubError(str(error)) from error
    path, file = cached
    progress(0.5, "The hub cannot be reached: taking the file from its client's cache")
    origin = f"{job.repository} on {hub}, commit {file.commit[:12]}, from the client's cache"
    return _Fetched(_copy(path, scratch / path.name, progress), file, origin, from_cache=True)


def _fetch_local(job: InstallJob, scratch: Path, progress: Progress) -> _Fetched:
    """Copy a file of this computer, so that what is checked is what is installed."""
    source = Path(job.source)
    if source.is_dir():
        files = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
        source = source / client.choose_file(files, job.file, f"The folder {source}")
    elif not source.is_file():
        raise JobError(f"There is no file or folder {source}. Give a file *{SUFFIX}, or a folder that holds one.")
    path = _copy(source, scratch / "model.safetensors", progress)
    return _Fetched(path, HubFile(source.name, ""), f"the file {source}")


def _copy(source: Path, target: Path, progress: Progress) -> Path:
    """Copy a file in pieces, between which progress is told."""
    with open(source, "rb") as reader, open(target, "wb") as writer:
        for chunk in iter(lambda: reader.read(1 << 22), b""):
            progress(_SHARE_OF_DOWNLOAD / 2, f"Copying {source.name}")
            writer.write(chunk)
    return target


def _check_content(job: InstallJob, fetched: _Fetched) -> tuple[str, str]:
    """Return the SHA-256 of a file, and whose checksum it agrees with; raise `HubError` when it does not."""
    sha256 = file_sha256(fetched.path)
    wanted = job.sha256.lower()
    if wanted and sha256 != wanted:
        raise HubError(
            f"The checksum of {fetched.file.path} from {fetched.origin} is {sha256}, and not {wanted}, as you say: "
            "it is not the file that you mean. Nothing was installed. Check the revision and the checksum."
        )
    said = fetched.file.checksum
    found = client.git_object_name(fetched.path) if len(said) == 40 else sha256
    if said and found != said:
        raise HubError(
            f"The checksum of {fetched.file.path} from {fetched.origin} is {found}, and not {said}, as the hub says: "
            "it was changed or damaged on its way. Nothing was installed. Try again; if it stays so, ask its author."
        )
    return sha256, "user" if wanted else "hub" if said else ""


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 characters."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def _load(job: InstallJob, fetched: _Fetched) -> tuple[FaciesModel, Path]:
    """
    Return the model in a file, and the file to install; raise `ModelError` when it is none of ours.

    A checkpoint of the reference is written as a model file beside it, in the temporary place.
    """
    try:
        if not fetched.file.path.endswith(CHECKPOINT_SUFFIXES):
            return FaciesModel.load(fetched.path), fetched.path
        places = (job.repository, job.name) if job.repository else (job.name, job.source)
        name, side = find_name_and_side(places, fetched.file.path)
        model = import_checkpoint(fetched.path, name=name, side=side, origin=fetched.origin)
        path = fetched.path.with_name(f"imported{SUFFIX}")
        model.save(path)
        return model, path
    except ModelError as error:
        reason = str(error).replace(str(fetched.path), fetched.file.path)
        raise ModelError(f"{fetched.file.path} from {fetched.origin} was not installed. {reason}") from error


def _check_free(job: InstallJob, name: str) -> None:
    """Raise `JobError` when a name is taken and may not be replaced; capitals make no other name."""
    if job.replace:
        return
    folder = Path(job.model_folder)
    there = {path.stem.lower(): str(path) for path in folder.glob(f"*{SUFFIX}")} if folder.is_dir() else {}
    there.update({name.lower(): "among those that come with OADG" for name in job.taken if name.lower() not in there})
    begun = checkpoint_folder(folder / f"{name}{SUFFIX}")
    if begun.is_dir():
        raise JobError(
            f"A training of a model named {name} is not done, and would go on in its place ({begun}). Choose another "
            "NAME, or delete that folder."
        )
    if name.lower() in there:
        raise JobError(
            f"There is a model named {name} already ({there[name.lower()]}). Choose another NAME, or say REPLACE."
        )


def _check_universal(name: str, model: FaciesModel) -> None:
    """Raise `JobError` when a model with facies of its own is to stand for the one that takes any."""
    if name.lower() == UNIVERSAL and model.facies is not None:
        raise JobError(
            f"The model has the facies {', '.join(model.facies.names)}, and would hide the universal model, which "
            "takes any facies and is chosen by default. Choose another NAME. Nothing was installed."
        )


def _move_in(path: Path, folder: Path, name: str, note: dict[str, Any]) -> Path:
    """
    Put a checked file among the models under a name.

    The file is there at once and whole, for it is written beside its place first. The note about its origin follows;
    that of a model which is replaced goes before, so that no note ever speaks of another model.
    """
    target = folder / f"{name}{SUFFIX}"
    part, note_part = (folder / f".{name}.{what}.part" for what in ("model", "note"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            _copy(path, part, lambda fraction, text: None)
            note_part.write_text(json.dumps({**note, "mark": mark_of(part)}, indent=1), encoding="utf-8")
            origin_note(target).unlink(missing_ok=True)
            os.replace(part, target)
            os.replace(note_part, origin_note(target))
        finally:
            part.unlink(missing_ok=True)
            note_part.unlink(missing_ok=True)
    except OSError as error:
        raise JobError(
            f"The model cannot be written into {folder}: {error.strerror or error}. See that there is room, that you "
            "may write there, and that no other program uses a model of this name."
        ) from error
    return target
