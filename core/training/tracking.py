"""
Following a training from elsewhere: TensorBoard, or Weights & Biases. Neither is needed; each is imported when asked.

A run that is resumed goes on under its name, at its step.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import re
from pathlib import Path
from typing import Any

from ..contract.errors import JobError
from .image_training import OnLog

TRACKERS = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb"}
"""By name, which is that of its package: the module to import."""
_PROJECT = "oadg"


class Tracker:
    """
    Where a run is followed.

    Parameters
    ----------
    name : str
        One of `TRACKERS`, or empty for none.
    folder : Path
        Where it leaves its files; TensorBoard's `--logdir`.

    Raises
    ------
    JobError
        When there is no such tracker, or its package is not installed.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self._module: Any = _module(name) if name else None
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def follow(self, run: str, settings: dict[str, Any]) -> OnLog:
        """
        Begin to follow a run, or go on.

        Parameters
        ----------
        run : str
            Its name, the same when it is resumed.
        settings : dict
            What it was started with.

        Returns
        -------
        callable
            To be told each line of the log of `train`.

        Raises
        ------
        JobError
            When Weights & Biases does not know who asks.
        """
        if self._module is None:
            return lambda line: None
        self.folder.mkdir(parents=True, exist_ok=True)
        return self._tensorboard(run, settings) if self.name == "tensorboard" else self._wandb(run, settings)

    def _tensorboard(self, run: str, settings: dict[str, Any]) -> OnLog:
        writer = self._module.SummaryWriter(str(self.folder / run))
        self._open.callback(writer.close)
        writer.add_text("settings", f"```\n{json.dumps(settings, indent=1)}\n```")

        def log(line: dict[str, Any]) -> None:
            for name, value in scalars(line).items():
                writer.add_scalar(name, value, line["step"])
            writer.flush()

        return log

    def _wandb(self, run: str, settings: dict[str, Any]) -> OnLog:
        place = {"project": _PROJECT, "dir": str(self.folder), "id": re.sub(r"[^\w.-]+", "-", run), "resume": "allow"}
        try:
            started = self._module.init(**place, name=run, config=settings)
        except self._module.Error as error:
            raise JobError(
                f"Weights & Biases cannot be reached, or does not know you: {error}. Log in with 'wandb login', set "
                "WANDB_MODE=offline to keep the run on this computer, or train without tracking."
            ) from error
        self._open.callback(started.finish)
        return lambda line: started.log(scalars(line), step=line["step"])


def _module(name: str) -> Any:
    """Import what a tracker needs; say which package is missing."""
    if name not in TRACKERS:
        raise JobError(f"The tracker {name!r} is unknown; choose one of {', '.join(TRACKERS)}.")
    try:
        return importlib.import_module(TRACKERS[name])
    except ImportError as error:
        raise JobError(
            f"Tracking with {name} needs the package {name}, which cannot be imported: {error}. Install it with 'pip "
            f"install {name}', or train without tracking."
        ) from error


def scalars(line: dict[str, Any]) -> dict[str, float]:
    """Return what is worth following of a line of the log of `train`; losses in bits per cell."""
    bits = {name: line[f"{name}_nats"] / math.log(2) for name in ("train", "held_out") if f"{name}_nats" in line}
    return {
        **{f"{name}_bits": value for name, value in bits.items()},
        "learning_rate": line["learning_rate"],
        "minutes": line["seconds"] / 60,
    }
