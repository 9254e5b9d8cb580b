"""What one process at a time may do."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..contract.errors import JobError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


PATIENCE_S = 15.0
"""So long it is waited for a process that is about to let go, as one that was cancelled is."""
_AGAIN_S = 0.1


@contextlib.contextmanager
def alone(path: Path, refusal: str) -> Iterator[None]:
    """
    Hold a lock while the block runs; the system lets go of it when the process ends, however that ends.

    Parameters
    ----------
    path : Path
        The file that is locked, which is made with its folder, and deleted when the block is left.
    refusal : str
        What is told when another process holds it.

    Raises
    ------
    JobError
        With the refusal, after a while, or when the file cannot be made.
    """
    began = time.monotonic()
    while (file := _held(path)) is None:
        if time.monotonic() - began > PATIENCE_S:
            raise JobError(refusal)
        time.sleep(_AGAIN_S)
    with file:
        try:
            yield
        finally:
            if sys.platform == "win32":  # which deletes no open file
                file.close()
            with contextlib.suppress(OSError):
                path.unlink()


def _held(path: Path) -> BinaryIO | None:
    """Return the file, locked; None where another process has it, or has just deleted it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError as error:
        raise JobError(
            f"The file {path} cannot be written: {error.strerror or error}. Choose a folder in which you may write."
        ) from error
    with contextlib.suppress(OSError):
        if _lock(file) and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
    file.close()
    return None


def _lock(file: BinaryIO) -> bool:
    """Lock a file; return False when another process has, as far as the file system can tell."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks
        pass
    return True
