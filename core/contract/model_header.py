"""What a model file says of itself, read without torch: its first bytes are a header in JSON (safetensors)."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

from .errors import FaciesError, ModelError
from .facies import FaciesTable

FORMAT = "oadg-model-1"
HEADER_KEY = "oadg"
_LONGEST_HEADER = 100_000_000  # bytes, as safetensors has it


@dataclass(frozen=True)
class ModelHeader:
    """
    What users are told of a model, and what a job has to fit.

    Parameters
    ----------
    name : str
        What users call it.
    facies : FaciesTable or None
        The facies that it was trained on; None for one that takes any.
    cell_size : float or None
        Side of the cells of its training image in metres; in units of its own where the image did not tell any.
    qualities : tuple of str
        For which it has a schedule.
    provenance : dict
        How it was made.
    takes_any_grid : bool
        Whether it simulates on grids of any size and shape; a checkpoint of the reference has one size.
    """

    name: str
    facies: Optional[FaciesTable]
    cell_size: Optional[float]
    qualities: Tuple[str, ...]
    provenance: Dict[str, Any]
    takes_any_grid: bool = True

    @property
    def bits_per_cell(self) -> Optional[float]:
        """What cells cost the model that its training did not see, in bits; None when that is not told."""
        return bits_per_cell(self.provenance)

    @property
    def excess_bits(self) -> Dict[str, float]:
        """What simulating cells together costs, in bits per cell, by quality; empty when that is not told."""
        return excess_bits(self.provenance)


def bits_per_cell(provenance: Mapping[str, Any]) -> Optional[float]:
    """Return what a provenance says of cells that training did not see, in bits per cell; None when nothing."""
    scores = provenance.get("scores")
    if not isinstance(scores, dict):
        return None
    try:
        if "held_out_bits" in scores:
            return float(scores["held_out_bits"])
        return float(scores["validation_nats"]) / math.log(2) if "validation_nats" in scores else None
    except (TypeError, ValueError):
        return None


def excess_bits(provenance: Mapping[str, Any]) -> Dict[str, float]:
    """Return what a provenance says of the cost of simulating cells together, in bits per cell by quality."""
    try:
        return {str(quality): float(bits) for quality, bits in provenance["scores"]["excess_bits"].items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def read_header(path: Path) -> ModelHeader:
    """
    Read what a model file says of itself.

    Raises
    ------
    ModelError
        When the file is missing, truncated, or not one of ours.
    """
    header = parse_header(path, _metadata(path).get(HEADER_KEY))
    try:
        return ModelHeader(
            name=str(header["name"]),
            facies=FaciesTable.from_list(header["facies"]) if header["facies"] else None,
            cell_size=None if header.get("cell_size") is None else float(header["cell_size"]),
            qualities=tuple(header["schedules"]),
            provenance=dict(header["provenance"]),
            takes_any_grid="side" not in header["network"],
        )
    except (KeyError, TypeError, ValueError, OverflowError, FaciesError) as error:
        raise ModelError(incoherent(path, error)) from error


def parse_header(path: Path, text: Optional[str]) -> Dict[str, Any]:
    """Return the header of a file from its text; raise `ModelError` when it is none of ours."""
    try:
        header = json.loads(text or "null")
    except (ValueError, TypeError, RecursionError):
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ModelError(
            f"The file {path} is a safetensors file, but not an OADG model of format {FORMAT!r}: its header does not "
            "say so. Choose a model that was trained or installed with this plugin."
        )
    return header


def _metadata(path: Path) -> Dict[str, str]:
    """Return the metadata of a safetensors file."""
    check_is_there(path)
    try:
        with open(path, "rb") as file:
            beginning = file.read(8)
            if len(beginning) < 8:
                raise ValueError("it is too short")
            length = int.from_bytes(beginning, "little")
            if length > _LONGEST_HEADER:
                raise ValueError("its header has no end")
            return dict(json.loads(file.read(length)).get("__metadata__") or {})
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(unreadable(path, error)) from error


def check_is_there(path: Path) -> None:
    """Raise `ModelError` when there is no file."""
    if not path.is_file():
        raise ModelError(f"There is no model file {path}. Choose an installed model, or another file.")


def unreadable(path: Path, error: Exception) -> str:
    """Say that a file is no safetensors file."""
    return (
        f"The file {path} ({path.stat().st_size:,} bytes) cannot be read as a model: {error}. OADG models are "
        "safetensors files; this one is truncated, damaged or of another kind. Install an undamaged file of it, or "
        "choose another one."
    )


def incoherent(path: Path, error: Exception) -> str:
    """Say that the parts of a model file do not fit each other."""
    return (
        f"The model file {path} does not hold together: {str(error)[:300]}. It was damaged, or written by another "
        "version: install the model again."
    )
