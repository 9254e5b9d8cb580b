"""
Models on a Hugging Face hub: installing them, and publishing one's own.

    python -m oadg.core.hub install USER/NAME [--revision main] [--file FILE] [--sha256 …] [--folder models]
    python -m oadg.core.hub publish MODEL.safetensors USER/NAME [--private]
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable

from . import hub_client
from .errors import HubError, JobError, ModelError, OadgError
from .hub_client import HubFile, Unreachable
from .hub_job import (
    CHECKPOINT_SUFFIXES,
    SUFFIX,
    InstallJob,
    InstallResult,
    check_name,
    check_repository,
    mark_of,
    origin_note,
)
from .model import FaciesModel
from .model_card import PICTURE, draw_example, model_card
from .reference_checkpoint import find_name_and_side, import_checkpoint
from .training_job import checkpoint_folder

PATIENCE_S = 60.0
"""How long a download may stand still."""
COMMIT_S = 1800.0
"""How long an upload may take."""
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
    hub = hub_client.address(endpoint)
    try:
        question = f"Asking {hub} for {job.repository}"
        file = hub_client.find_file(job, endpoint=endpoint, look=lambda: progress(0.0, question))
        text = f"Downloading {file.path}" + (f", {file.size / 1e6:.1f} MB" if file.size else "")

        def tell(done: int) -> None:
            progress(_SHARE_OF_DOWNLOAD * min(1.0, done / file.size) if file.size else 0.0, text)

        path = hub_client.download(job, file, scratch, endpoint=endpoint, tell=tell, patience_s=patience_s)
        return _Fetched(path, file, f"{job.repository} on {hub}, commit {file.commit[:12]}")
    except Unreachable as error:
        cached = hub_client.find_in_cache(job)
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
        source = source / hub_client.choose_file(files, job.file, f"The folder {source}")
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
    found = hub_client.git_object_name(fetched.path) if len(said) == 40 else sha256
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


def publish_model(
    path: Path, repository: str, *, private: bool = False, seed: int = 0, endpoint: str | None = None
) -> str:
    """
    Upload a model with its card and a picture to a repository, which is made when it is not there.

    Parameters
    ----------
    path : Path
        A model file.
    repository : str
        USER/NAME.
    private : bool
        Whether a new repository is seen by its owner only.
    seed : int
        Of the picture.
    endpoint : str, optional
        The hub's address; the client's (HF_ENDPOINT) by default.

    Returns
    -------
    str
        The commit's address.

    Raises
    ------
    OadgError
        For a file that is no model of ours, a repository that may not be written, and a hub that does not answer.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    check_repository(repository)
    model = FaciesModel.load(path)
    picture = draw_example(model, seed=seed)
    card = model_card(
        model, repository=repository, file=path.name, sha256=file_sha256(path), has_picture=picture is not None
    )
    contents: dict[str, str | bytes] = {path.name: str(path), "README.md": card.encode()}
    if picture is not None:
        contents[PICTURE] = picture
    operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=what) for name, what in contents.items()]
    api = HfApi(endpoint=endpoint)

    def upload() -> str:
        api.create_repo(repository, private=private, exist_ok=True)
        message = f"Model {model.model_id} with its card"
        return str(api.create_commit(repository, operations, commit_message=message).commit_url)

    return hub_client.upload(upload, repository, endpoint=endpoint, patience_s=COMMIT_S)


def main(arguments: list[str] | None = None) -> int:
    """Install or publish from the command line; errors are told in a sentence."""
    parser = argparse.ArgumentParser(
        prog="python -m oadg.core.hub", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    install = commands.add_parser("install", help="fetch a model, and check it")
    install.add_argument("repository", help="USER/NAME; or a file or folder of this computer")
    install.add_argument("--revision", default="main", help="commit, tag or branch")
    install.add_argument("--file", default="", help="which file, where there are several models")
    install.add_argument("--name", default="", help="by which it will be listed; its own by default")
    install.add_argument("--sha256", default="", help="what its checksum must be")
    install.add_argument("--folder", default="models", help="where models are")
    install.add_argument("--replace", action="store_true", help="replace a model of that name")
    publish = commands.add_parser("publish", help="upload a model with its card; HF_TOKEN says who you are")
    publish.add_argument("model", type=Path, help="model file")
    publish.add_argument("repository", help="USER/NAME")
    publish.add_argument("--private", action="store_true", help="a new repository is seen by its owner only")
    asked = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    try:
        if asked.command == "publish":
            logging.info("Making the card and a picture, then uploading")
            logging.info("Published: %s", publish_model(asked.model, asked.repository, private=asked.private))
        else:
            logging.info("Installed: %s", _install(asked))
    except OadgError as error:
        logging.error("%s", error)
        return 1
    return 0


def _install(asked: argparse.Namespace) -> str:
    """Install what the command line asks for, and return what came of it."""
    where = "source" if Path(asked.repository).exists() else "repository"
    job = InstallJob(
        model_folder=asked.folder,
        work_folder="",
        revision=asked.revision,
        file=asked.file,
        name=asked.name,
        sha256=asked.sha256,
        replace=asked.replace,
        **{where: asked.repository},
    )
    told = ""

    def tell(fraction: float, text: str) -> None:
        nonlocal told
        if text != told:
            logging.info("%s", text)
        told = text

    result = install_model(job, tell)
    return f"{result.model_id} from {result.origin}: {result.model_path}, SHA-256 {result.sha256}"


if __name__ == "__main__":
    sys.exit(main())
