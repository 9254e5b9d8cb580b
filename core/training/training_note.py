"""What is noted of a training that was begun, beside its checkpoints: the same job goes on, and no other."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from ..contract.errors import JobError
from ..contract.training_image import TrainingImage
from ..contract.training_job import SIZES, TrainingJob

_KEPT = ("seed", "learning_rate", "precision", "refiner_only", "levels_apart")
"""What a training that goes on is asked for as it was when it began; its size, too, unless that is left open."""


def read_note(folder: Path, image: TrainingImage, job: TrainingJob) -> dict[str, Any]:
    """Return 'steps', 'run' and 'size' of the training whose checkpoint a folder holds, if it holds one."""
    if not (folder / "checkpoint.pt").exists():
        return {}
    try:
        note = dict(json.loads((folder / "training.json").read_text(encoding="utf-8")))
        begun_of = note["image"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise JobError(
            f"What is noted in {folder} of the training that was begun there cannot be read. Delete that folder to "
            "begin anew."
        ) from error
    for name in _KEPT if job.size == SIZES[0] else ("size", *_KEPT):
        if note.get(name, getattr(job, name)) != getattr(job, name):
            what = name.replace("_", " ")
            raise JobError(
                f"The training that was begun in {folder} has the {what} {note[name]}, and {getattr(job, name)} is "
                f"asked for now. Ask for {note[name]}, choose another name, or delete that folder."
            )
    if begun_of != _fingerprint(image):
        raise JobError(
            f"The training that was begun in {folder} is of another image, or of another symmetry. Choose another name "
            "for this one, or delete that folder."
        )
    return note


def write_note(folder: Path, image: TrainingImage, job: TrainingJob, *, size: str, steps: int, run: str) -> None:
    """Note how large and long a training is, its name, and of what it is; raise `JobError` where that cannot be."""
    asked = {name: getattr(job, name) for name in _KEPT}
    note = {"size": size, "steps": steps, "run": run, "image": _fingerprint(image), **asked}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "training.json").write_text(json.dumps(note), encoding="utf-8")
    except OSError as error:
        raise JobError(
            f"The folder {folder} cannot be written: {error.strerror or error}. Choose a folder in which you may "
            "write, with 100 MB left."
        ) from error


def _fingerprint(image: TrainingImage) -> str:
    """Return a text that differs between images."""
    cells = np.ascontiguousarray(image.class_index)
    return hashlib.sha256(f"{cells.shape} {image.symmetry}".encode() + cells.tobytes()).hexdigest()
