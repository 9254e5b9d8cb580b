"""
What OADG asks a Hugging Face hub, and what is said when it does not answer.

The official client does the work, with its own settings: HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_OFFLINE, its time
limits and its cache; proxies and certificates come from the usual variables. It is imported when it is needed.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, TypeVar

from ..contract.errors import HubError
from ..contract.hub_job import CHECKPOINT, SUFFIX, InstallJob

ANSWER_S = 10.0
"""How long the hub may take to answer a question."""
POLL_S = 0.1
_CHUNK = 1 << 18  # bytes between two looks at a download
_NETWORK = {"httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3", "ssl"}

Result = TypeVar("Result")


class Unreachable(HubError):
    """The hub does not answer; what is cached may do instead."""


@dataclass(frozen=True)
class HubFile:
    """
    A file of a repository.

    Parameters
    ----------
    path : str
        In the repository.
    commit : str
        Of which commit.
    size : int or None
        Bytes.
    checksum : str
        What the hub says of the content: a SHA-256 (64 characters), or a git object name (40); empty for nothing.
    """

    path: str
    commit: str
    size: int | None = None
    checksum: str = ""


def find_file(job: InstallJob, *, endpoint: str | None, look: Callable[[], None]) -> HubFile:
    """
    Ask the hub which file a job means.

    Parameters
    ----------
    job : InstallJob
        What is asked.
    endpoint : str, optional
        The hub; the client's by default.
    look : callable
        Called ten times a second; what it raises ends the waiting.

    Raises
    ------
    Unreachable
        When it does not answer.
    HubError
        For an unknown repository, revision or file, and when it is not clear which file is meant.
    """
    from huggingface_hub import HfApi

    def ask() -> Any:
        api = HfApi(endpoint=endpoint)
        return api.model_info(job.repository, revision=job.revision, files_metadata=True, timeout=ANSWER_S)

    with explained(job, endpoint):
        info = watched(ask, look, _Meter(), 2 * ANSWER_S)  # twice, for the client counts from byte to byte
    files = {sibling.rfilename: sibling for sibling in info.siblings or () if ".." not in sibling.rfilename}
    path = choose_file(list(files), job.file, f"The repository {job.repository} at revision {job.revision}")
    chosen = files[path]
    checksum = chosen.lfs.sha256 if chosen.lfs else chosen.blob_id
    return HubFile(path, str(info.sha), chosen.size, str(checksum or "").lower())


def choose_file(files: list[str], wanted: str, where: str) -> str:
    """Return the one model file among files, or the wanted one; raise `HubError` when there is none, or several."""
    models = sorted(file for file in files if file.endswith(SUFFIX))
    models = models or sorted(file for file in files if file.split("/")[-1] == CHECKPOINT)
    if wanted:
        if wanted in files:
            return wanted
        held = f"it holds {_listed(models)}" if models else "it holds no such file at all"
        raise HubError(f"{where} has no file {wanted!r}. Models are files *{SUFFIX}; {held}.")
    if not models:
        held = f"it holds {_listed(sorted(files))}" if files else "it is empty"
        raise HubError(
            f"{where} holds no model: there is no file *{SUFFIX} in it, nor a checkpoint of the reference "
            f"({CHECKPOINT}); {held}. Check the name and the revision; other kinds of files (pickles, *.bin) are never "
            "loaded, for they can run programs."
        )
    if len(models) > 1:
        raise HubError(f"{where} holds {len(models)} models: {_listed(models)}. Say which one as FILE.")
    return models[0]


def download(
    job: InstallJob,
    file: HubFile,
    folder: Path,
    *,
    endpoint: str | None,
    tell: Callable[[int], None],
    patience_s: float,
) -> Path:
    """
    Download a file into a folder, which gets nothing else that matters.

    Parameters
    ----------
    job : InstallJob
        What is asked.
    file : HubFile
        Which file.
    folder : Path
        A temporary one.
    endpoint : str, optional
        The hub; the client's by default.
    tell : callable
        Told the bytes that are there, ten times a second; what it raises ends the download.
    patience_s : float
        How long nothing may come.

    Raises
    ------
    HubError
        When it is cut, stalls, or is refused.
    """
    from huggingface_hub import constants, hf_hub_download

    meter = _Meter()
    options: dict[str, Any] = {}
    if "tqdm_class" in inspect.signature(hf_hub_download).parameters:  # older clients do not tell how far they are
        options["tqdm_class"] = _bar_class(meter)

    def fetch() -> Path:
        path = hf_hub_download(
            job.repository,
            file.path,
            revision=file.commit,
            local_dir=folder,
            cache_dir=folder / ".cache",  # of its own: nothing that may be spoilt is taken from the user's
            endpoint=endpoint,
            etag_timeout=ANSWER_S,
            **options,
        )
        return Path(path)

    def look() -> None:
        meter.see(_bytes_in(folder))
        tell(meter.done)

    usual = constants.DOWNLOAD_CHUNK_SIZE  # 10 MB: most models are smaller, and would show no progress
    constants.DOWNLOAD_CHUNK_SIZE = _CHUNK
    try:
        with explained(job, endpoint):
            return watched(fetch, look, meter, patience_s)
    finally:
        constants.DOWNLOAD_CHUNK_SIZE = usual


def find_in_cache(job: InstallJob) -> tuple[Path, HubFile] | None:
    """Return a file of the client's cache, and what the hub said of it then; None when it is not there."""
    from huggingface_hub import constants, snapshot_download

    try:
        snapshot = Path(
            snapshot_download(
                job.repository,
                revision=job.revision,
                cache_dir=constants.HF_HUB_CACHE,
                allow_patterns=[job.file] if job.file else [f"*{SUFFIX}", f"*{CHECKPOINT}"],
                local_files_only=True,
            )
        )
    except (_utils().EntryNotFoundError, OSError, ValueError):
        return None
    files = [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()]
    where = f"The cached snapshot {snapshot.name[:12]} of the repository {job.repository}"
    path = snapshot / choose_file(files, job.file, where)
    blob = path.resolve().name if path.is_symlink() else ""  # the client names content by its checksum
    return path, HubFile(path.relative_to(snapshot).as_posix(), snapshot.name, None, blob if _is_hex(blob) else "")


def git_object_name(path: Path) -> str:
    """Return the name that git gives a file's content: how the hub checks files that are not large."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


@dataclass
class _Meter:
    """How far a transfer is, and when it last went on."""

    done: int = 0
    moved: float = field(default_factory=time.monotonic)
    is_stopped: bool = False

    def see(self, done: int) -> None:
        """Note how many bytes there are."""
        if done > self.done:
            self.done, self.moved = done, time.monotonic()


class _Stop(Exception):
    """Ends the thread of a transfer that nobody waits for any more."""


def _bar_class(meter: _Meter) -> Any:
    """Return a progress bar for the client that shows nothing, and moves a meter."""

    class Bar(_utils().tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})
            self._count = 0

        def update(self, n: float | None = 1) -> None:
            if meter.is_stopped:
                raise _Stop
            self._count += int(n or 0)
            meter.see(self._count)

    return Bar


def watched(work: Callable[[], Result], look: Callable[[], None], meter: _Meter, patience_s: float) -> Result:
    """
    Do something that may hang, in a thread, and wait for it as long as it goes on.

    Parameters
    ----------
    work : callable
        What is done.
    look : callable
        Called every `POLL_S`; what it raises ends the waiting.
    meter : _Meter
        Moves as long as the work goes on.
    patience_s : float
        How long the meter may stand still.
    """
    outcome: list[tuple[Result | None, BaseException | None]] = []

    def run() -> None:
        try:
            outcome.append((work(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, name="oadg-hub", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(POLL_S)
            look()
            if time.monotonic() - meter.moved > patience_s and thread.is_alive():
                raise TimeoutError(f"nothing came for {patience_s:g} seconds")
    finally:
        meter.is_stopped = True
        thread.join(POLL_S)  # one that still runs ends with its next bytes, or with the client's own time limits
    result, error = outcome[0]
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


def upload(work: Callable[[], Result], repository: str, *, endpoint: str | None, patience_s: float) -> Result:
    """Do what uploads into a repository within a time limit; what goes wrong is said in sentences."""
    try:
        return watched(work, lambda: None, _Meter(), patience_s)
    except Exception as error:
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ is not None else error
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if status in (401, 403, 404):
            raise HubError(
                f"The hub {address(endpoint)} does not let you write into the repository {repository} ({status}). Set "
                "the variable HF_TOKEN to a token with the right to write, or log in with the command 'hf auth login'; "
                "USER is you, or an organisation that you belong to."
            ) from error
        told = explain(error, repository, endpoint=endpoint)
        if told is None:
            raise
        raise HubError(str(told)) from error


@contextlib.contextmanager
def explained(job: InstallJob, endpoint: str | None) -> Iterator[None]:
    """Turn what the client raises into sentences."""
    try:
        yield
    except Exception as error:
        told = explain(error, job.repository, revision=job.revision, file=job.file, endpoint=endpoint)
        if told is None:
            raise
        raise told from error


def explain(
    error: BaseException, repository: str, *, revision: str = "", file: str = "", endpoint: str | None = None
) -> HubError | None:
    """Return in sentences what an error of the client means; None when it is not about the hub."""
    utils = _utils()
    hub = address(endpoint)
    access = "For private ones set the variable HF_TOKEN, or log in once with the command 'hf auth login'."
    if isinstance(error, RuntimeError) and error.__cause__ is not None:  # so the client wraps errors of its threads
        return explain(error.__cause__, repository, revision=revision, file=file, endpoint=endpoint)
    if isinstance(error, utils.HFValidationError):
        return HubError(f"{repository!r} cannot be a repository of the hub: {error}. It is written USER/NAME.")
    if isinstance(error, utils.GatedRepoError):
        return HubError(
            f"The repository {repository} on {hub} is given only to those who have accepted its conditions. Accept "
            "them on its page, and set the variable HF_TOKEN to a token of your account."
        )
    if isinstance(error, utils.RepositoryNotFoundError):
        return HubError(f"There is no repository {repository} on {hub}, or it is private. Check the spelling. {access}")
    if isinstance(error, utils.RevisionNotFoundError):
        return HubError(
            f"The repository {repository} on {hub} has no revision {revision!r}. Give a commit, tag or branch that its "
            "page lists; the usual branch is 'main'."
        )
    if isinstance(error, utils.EntryNotFoundError) and not isinstance(error, utils.LocalEntryNotFoundError):
        return HubError(f"The repository {repository} on {hub} has no file {file!r} at revision {revision!r}.")
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, utils.HfHubHTTPError) and status is not None and (status < 500 and status not in (408, 429)):
        refused = f"The hub {hub} refuses what is asked of the repository {repository} ({status}: {_essence(error)})."
        return HubError(f"{refused} {access}" if status in (401, 403) else refused)
    if isinstance(error, OSError) and "Consistency check failed" in str(error):
        return HubError(
            f"The download from the repository {repository} on {hub} was cut before its end. Nothing was installed; "
            "try again."
        )
    if _is_network(error):
        return Unreachable(
            f"The hub {hub} cannot be reached, or does not answer in time ({_essence(error)}). Check the network, the "
            "proxy (HTTPS_PROXY) and HF_ENDPOINT; or install from a file that you have fetched elsewhere, as SOURCE."
        )
    return None


def _utils() -> Any:
    """Return the client's module with its errors, which every version has under this name."""
    return importlib.import_module("huggingface_hub.utils")


def address(endpoint: str | None = None) -> str:
    """Return the hub's address."""
    from huggingface_hub import constants

    return str(endpoint or constants.ENDPOINT)


def _is_network(error: BaseException) -> bool:
    """Tell whether an error comes from the network, whichever library of it the client uses."""
    utils = _utils()
    packages = {cls.__module__.split(".")[0] for cls in type(error).__mro__}
    kinds = (utils.LocalEntryNotFoundError, utils.HfHubHTTPError, ConnectionError, TimeoutError)
    return isinstance(error, kinds) or bool(packages & _NETWORK)


def _essence(error: BaseException) -> str:
    """Return an error's first line; that of its cause where the client only says that something happened."""
    utils = _utils()
    if isinstance(error, utils.LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".")[:200] if lines else type(error).__name__


def _bytes_in(folder: Path) -> int:
    """Return how many bytes the files of a folder have."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def _listed(names: list[str]) -> str:
    """Return some names in a row."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _is_hex(text: str) -> bool:
    """Tell whether a text is a checksum."""
    return len(text) in (40, 64) and all(character in "0123456789abcdef" for character in text)
