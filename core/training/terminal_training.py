"""Training from a terminal: a progress bar, an interruption that can be taken up again, any image at hand."""

from __future__ import annotations

import contextlib
import logging
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import numpy as np

from ..contract.errors import Cancelled
from ..contract.training_image import TrainingImage
from ..contract.training_job import TrainingJob, TrainingResult
from .image_training import OnLog, run_training

_BAR = "{percentage:3.0f} % |{bar}| {elapsed} {desc}"


def train_on(
    image: TrainingImage,
    *,
    track: Callable[[str, dict[str, Any]], OnLog] = lambda run, settings: lambda line: None,
    **settings: Any,
) -> TrainingResult:
    """
    Train a model on an image at hand, and show how far it is.

    Parameters
    ----------
    image : TrainingImage
        The image, or a set of images.
    track : callable
        As `run_training` takes it.
    **settings
        The other parts of a `TrainingJob`.

    Raises
    ------
    Cancelled
        When it is interrupted; the same call goes on.
    OadgError
        What `TrainingJob` and `run_training` refuse.
    """
    with tempfile.TemporaryDirectory(prefix="oadg-train-") as folder:
        path = Path(folder) / "image.npy"
        np.save(path, image.class_index)
        job = TrainingJob(
            image_path=str(path),
            facies=image.facies,
            work_folder=folder,
            symmetry=image.symmetry,
            cell_size=image.cell_size,
            origin=image.origin,
            **settings,
        )
        with shown_progress() as progress:
            return run_training(job, progress, track=track)


@contextlib.contextmanager
def shown_progress() -> Iterator[Callable[[float, str], None]]:
    """
    Give a progress that is shown as a bar on a terminal, and as lines of the log elsewhere.

    An interrupt (Ctrl-C), or being told to end, makes it raise `Cancelled` when it is told the next time.
    """
    from tqdm import tqdm  # comes with huggingface_hub

    with (
        tqdm(total=1.0, bar_format=_BAR, dynamic_ncols=True, mininterval=0, miniters=0, disable=None) as bar,
        _interruptible() as check,
    ):
        told = ""

        def progress(fraction: float, text: str) -> None:
            nonlocal told
            check()
            if bar.disable and text != told:
                logging.info("%3.0f %% %s", 100 * fraction, text)
            bar.set_description_str(text, refresh=False)
            bar.update(fraction - bar.n)
            told = text

        yield progress
        bar.update(1 - bar.n)


@contextlib.contextmanager
def _interruptible() -> Iterator[Callable[[], None]]:
    """Note the first signal to end, so that the work ends where it can be taken up again; a second one ends it."""
    asked: list[int] = []

    def ask(number: int, frame: Any) -> None:
        asked.append(number)
        signal.signal(number, before[signal.Signals(number)])

    def check() -> None:
        if asked:
            raise Cancelled("The training was interrupted; the same command goes on.")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
