"""Which device computes, in which precision, how much fits on it at a time, and what its threads do."""

from __future__ import annotations

import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Callable, Iterator, Sequence, TypeVar

import numpy as np
import torch

from ..contract.errors import DeviceError
from ..contract.words import counted
from .memory import keep_freed_memory

_Piece = TypeVar("_Piece")
_Result = TypeVar("_Result")

_NODES_TIMES_STREAMS = 400_000
"""Nodes times (facies + 2) per network pass: some 0.1 GiB of activations, and enough to keep two cores busy."""
_GRAPHICS_SHARE, _BYTES = 0.25, 2**29
"""On a graphics card, which is idle for the most part when it is asked about few, as many as take this share of its
memory, at so many bytes for the above."""
_CPU_UNIT, _CPU_UNIT_OF_AMD = "amx_bf16", "avx512_bf16"
"""What a processor needs to compute in half precision. With the instructions of AVX-512 alone a realization took a Xeon
1.3 to 1.7 times as long as in float32, but an AMD EPYC .65 to .75 times as long, and a step of training .6 to .9."""
_MOST_MAPS = 8
"""Of a batch."""
_MOST_AT_ONCE = 12
"""Times the nodes and streams of a pass that the batches on the cores of a processor may come to: some 1.5 GiB."""


def prepare_process() -> None:
    """
    Let this process compute fast, with all threads and processes that it starts afterwards.

    Memory that it frees is kept, see `keep_freed_memory`. And floats below 1e-38 count as 0: a processor takes many
    times as long for one of these, and gradients and covariances have many (a training took five times as long).
    Threads wait for each other's Python no longer than half a millisecond, which saves batches side by side 3 to 5 %.
    """
    sys.setswitchinterval(5e-4)
    keep_freed_memory()
    for kind in (np.float32, np.float64):
        np.finfo(kind)  # if it is first asked afterwards, numpy warns that they are 0
    torch.set_flush_denormal(True)


def choose_device(name: str) -> torch.device:
    """
    Return the device of a name.

    Parameters
    ----------
    name : str
        'auto' (CUDA when there is one, else the CPU), 'cpu', 'cuda', 'cuda:1'.

    Raises
    ------
    DeviceError
        When the device is unknown or not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"The device {name!r} is unknown. Choose 'auto', 'cpu', 'cuda' or 'cuda:1'.") from error
    if device.type == "cuda" and not (torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()):
        build = torch.version.cuda or "none (a CPU build)"
        raise DeviceError(
            f"The device {name!r} is not there; found: {_found()}. PyTorch {torch.__version__} is for CUDA {build}. "
            "Choose 'auto' or 'cpu', or set up the engine with a CUDA build and a current graphics driver."
        )
    if device.type not in ("cpu", "cuda"):  # Apple's lacks the double precision that truncated Gaussian fields take
        raise DeviceError(f"The device {name!r} is not supported. Choose 'auto', 'cpu' or 'cuda'.")
    return device


def fast_precision(device: torch.device) -> torch.dtype:
    """Return bfloat16 on devices that have units for it, else float32."""
    if device.type == "cuda":
        has_units = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        ask = getattr(torch.cpu, "get_capabilities", dict)  # older versions of PyTorch lack it
        found: dict[str, Any] = ask() if device.type == "cpu" else {}
        is_amd = str(found.get("cpu_name", "")).startswith("AMD")
        has_units = bool(found.get(_CPU_UNIT) or (is_amd and found.get(_CPU_UNIT_OF_AMD)))
    return torch.bfloat16 if has_units else torch.float32


def _found() -> str:
    """Name the devices that are there."""
    return ", ".join(device["name"] for device in describe_devices())


def describe_devices() -> list[dict[str, Any]]:
    """Return each usable device: 'device', 'name', 'kind', 'memory_total_mb', 'memory_free_mb' or None."""
    processor = platform.processor() or platform.machine()
    devices: list[dict[str, Any]] = [
        {
            "device": "cpu",
            "name": f"CPU {processor}, {counted(torch.get_num_threads(), 'thread')}",
            "kind": "cpu",
            "memory_total_mb": None,
            "memory_free_mb": None,
        }
    ]
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(index)
        devices.append(
            {
                "device": f"cuda:{index}",
                "name": torch.cuda.get_device_name(index),
                "kind": "cuda",
                "memory_total_mb": total // 2**20,
                "memory_free_mb": free // 2**20,
            }
        )
    return devices


def batch_size(n_nodes: int, n_facies: int, device: torch.device | str = "cpu") -> int:
    """
    Return how many maps go through the network together.

    It depends on the job's shape and the device only, never on the number of realizations: sums of floats
    differ between batch shapes, and a realization must not depend on how many there are.

    Parameters
    ----------
    n_nodes, n_facies : int
        Nodes of one map; number of facies.
    device : torch.device or str
        Which computes.
    """
    device, most = torch.device(device), _NODES_TIMES_STREAMS
    if device.type == "cuda":
        most *= max(1, int(_GRAPHICS_SHARE * torch.cuda.get_device_properties(device).total_memory / _BYTES))
    return max(1, min(_MOST_MAPS, most // (n_nodes * (n_facies + 2))))


def batches_at_once(n_nodes: int, n_facies: int, device: torch.device | str = "cpu") -> int:
    """
    Return how many batches are simulated at once: on a processor one on each thread, as far as memory allows.

    Parameters
    ----------
    n_nodes, n_facies : int
        Nodes of the maps of a batch together; number of facies.
    device : torch.device or str
        Which computes.
    """
    if torch.device(device).type != "cpu":
        return 1
    return max(1, min(torch.get_num_threads(), _MOST_AT_ONCE * _NODES_TIMES_STREAMS // (n_nodes * (n_facies + 2))))


def side_by_side(work: Callable[[_Piece], _Result], pieces: Sequence[_Piece], n_workers: int) -> Iterator[_Result]:
    """
    Do pieces of work in so many threads, among which torch's are divided, and yield the results in their order.

    They are divided alike for a single piece: sums of floats differ with the number of threads, and results would.

    Parameters
    ----------
    work : callable
        Of a piece; what it raises ends all. Modes such as `torch.inference_mode` are each thread's own.
    pieces : sequence
        What to work on.
    n_workers : int
        Threads, as of `batches_at_once`; with 1 the caller's own works.

    Yields
    ------
    object
        What `work` returns.
    """
    if n_workers == 1:
        yield from map(work, pieces)
        return
    n_threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(n_workers, initializer=torch.set_num_threads, initargs=(-(-n_threads // n_workers),))
    try:
        yield from pool.map(work, pieces)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(n_threads)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch work in the caller's thread alone: faster for small matrices, above all where threads sleep."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
