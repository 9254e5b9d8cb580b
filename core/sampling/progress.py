"""How far the passes of a job have come."""

from __future__ import annotations

import threading
from typing import Callable


class PassCounter:
    """
    Tells a progress callback how far the passes have come, those of all threads; it is called before each.

    Parameters
    ----------
    progress : callable
        Told the fraction done, 0 … 1, and what is being done; what it raises ends the job.
    n_passes : int
        Of the whole job.

    Attributes
    ----------
    text : str
        What is being done.
    """

    def __init__(self, progress: Callable[[float, str], None], n_passes: int):
        self.progress, self.n_passes, self.done, self.text = progress, n_passes, 0, ""
        self.telling = threading.Lock()

    def __call__(self) -> None:
        """Count a pass."""
        with self.telling:
            self.progress(min(1.0, self.done / self.n_passes), self.text)
            self.done += 1
