"""Memory that a process has freed: kept while it works, for asking again is slow, and handed back when it rests."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # of glibc's mallopt


def keep_freed_memory() -> None:
    """
    Let this process keep memory that it frees, where its C library is glibc (Linux); elsewhere nothing changes.

    Arrays of many megabytes would otherwise be handed back and asked for again at every layer of a network, page by
    page: large lattices took twice as long. `return_freed_memory` hands it back when the work is done.
    """
    for option, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 2**26)):
        _call_glibc("mallopt", option, value)


def return_freed_memory() -> None:
    """Hand memory that is kept but not used back to the system, where `keep_freed_memory` keeps it."""
    _call_glibc("malloc_trim", 0)


def _call_glibc(name: str, *arguments: int) -> None:
    """Call a function of the C library, if it is glibc."""
    function = getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
    if function is not None:
        function(*arguments)
