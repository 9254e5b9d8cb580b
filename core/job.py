"""
The contract between QGIS and the engine process: what is asked, what is told while it runs, what comes back.

Everything is plain data with JSON in and out, and importable without torch. One message is one line of JSON.

QGIS to engine
    {"type": "status", "job_id": …}
    {"type": "simulate", "job_id": …, "job": SimulationJob.to_dict()}
    {"type": "cancel", "job_id": …}
Engine to QGIS, each with the `job_id` it answers
    {"type": "ready", "pid": …, "protocol": PROTOCOL_VERSION}     once, when the engine has started; without job_id
    {"type": "status", "status": {…}}                             interpreter, versions, devices, memory
    {"type": "progress", "fraction": 0…1, "text": …}
    {"type": "result", "result": SimulationResult.to_dict()}
    {"type": "error", "kind": "OadgError's class name" or "unexpected", "message": …}
    {"type": "cancelled"}
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Mapping, Optional, Tuple

from .errors import JobError
from .facies import FaciesTable
from .grid import Grid

PROTOCOL_VERSION = 1
QUALITIES = ("standard", "preview")
MAX_REALIZATIONS = 1000
WORK_FOLDER_PREFIX = "oadg-job-"
"""How the names of work folders begin; the engine deletes no folder that is called otherwise."""


@dataclass(frozen=True)
class SimulationJob:
    """
    Everything that one simulation needs.

    Parameters
    ----------
    grid : Grid
        The simulation grid.
    facies : FaciesTable
        The user's facies.
    row, col, class_index : tuple of int
        The hard data, at most one per cell.
    model_path : str
        The model file.
    work_folder : str
        Where the engine writes its arrays; the client makes and deletes it.
    mask_path : str, optional
        A `.npy` file with a bool array (n_rows, n_cols): True where cells are simulated.
    n_realizations : int
        0 asks for the probabilities and the entropy only.
    quality : {'standard', 'preview'}
        How many passes.
    seed : int
        The one number from which all randomness descends.
    device : str
        'auto', 'cpu', 'cuda', 'cuda:1', 'mps' …

    Raises
    ------
    JobError
        For a number of realizations, quality or seed that cannot be, and for hard data that do not fit the grid.
    """

    grid: Grid
    facies: FaciesTable
    row: Tuple[int, ...]
    col: Tuple[int, ...]
    class_index: Tuple[int, ...]
    model_path: str
    work_folder: str
    mask_path: Optional[str] = None
    n_realizations: int = 20
    quality: str = "standard"
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if not 0 <= self.n_realizations <= MAX_REALIZATIONS:
            raise JobError(
                f"{self.n_realizations} realizations are asked for; between 0 and {MAX_REALIZATIONS} are possible."
            )
        if self.quality not in QUALITIES:
            raise JobError(f"The quality {self.quality!r} is unknown; choose one of {', '.join(QUALITIES)}.")
        if not 0 <= self.seed < 2**63:
            raise JobError(f"The seed is {self.seed}; it must be a whole number from 0 to 2^63 - 1.")
        self._check_hard_data()

    def _check_hard_data(self) -> None:
        """Raise `JobError` unless every datum has a cell of its own on the grid and a class index of the table."""
        n_data = len(self.row), len(self.col), len(self.class_index)
        if len(set(n_data)) > 1:
            raise JobError(
                "The hard data have {} rows, {} columns and {} facies; there must be as many of each.".format(*n_data)
            )
        seen = set()
        for row, col, class_index in zip(self.row, self.col, self.class_index):
            where = f"The hard datum at row {row}, col {col}"
            if not (0 <= row < self.grid.n_rows and 0 <= col < self.grid.n_cols):
                raise JobError(f"{where} is not on the grid of {self.grid.n_rows} x {self.grid.n_cols} cells.")
            if not 0 <= class_index < len(self.facies):
                last = len(self.facies) - 1
                raise JobError(f"{where} has the class index {class_index}; it must be between 0 and {last}.")
            if (row, col) in seen:
                raise JobError(f"{where} is given more than once; a cell can hold one facies.")
            seen.add((row, col))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in ("row", "col", "class_index"):
            plain[name] = [int(v) for v in plain[name]]
        return {**plain, "grid": self.grid.to_dict(), "facies": self.facies.to_list()}

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> SimulationJob:
        """Rebuild the job from `to_dict`; raise `JobError` when a part is missing, wrong or unknown."""
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(description) - known)
        if unknown:
            raise JobError(f"The job has parts that this engine does not know: {', '.join(unknown)}.")
        try:
            plain = dict(description)
            plain["grid"] = Grid.from_dict(plain["grid"])
            plain["facies"] = FaciesTable.from_list(plain["facies"])
            for name in ("row", "col", "class_index"):
                plain[name] = tuple(int(v) for v in plain[name])
            return cls(**plain)
        except (KeyError, TypeError, ValueError) as error:
            raise JobError(f"The job is incomplete or wrong: {error}.") from error


@dataclass(frozen=True)
class SimulationResult:
    """
    What the engine hands back; the arrays lie in the job's work folder.

    Parameters
    ----------
    probability_path : str
        float32 array (n_facies, n_rows, n_cols): the facies probabilities of the first pass; NaN outside the mask.
    entropy_path : str
        float32 array (n_rows, n_cols), bits; NaN outside the mask.
    most_probable_path : str
        uint8 array (n_rows, n_cols), class index, 255 outside the mask.
    realizations_path : str or None
        uint8 array (n_realizations, n_rows, n_cols), class index, 255 outside the mask.
    mean_entropy_bits : float
        Mean of the entropy inside the mask, in bits.
    device, model_id : str
        What it was computed on, and with.
    seed, batch_size : int
        What is needed, beside the job, to reproduce the pixels.
    seconds : float
        Wall time in the engine, in seconds.
    """

    probability_path: str
    entropy_path: str
    most_probable_path: str
    realizations_path: Optional[str]
    mean_entropy_bits: float
    device: str
    model_id: str
    seed: int
    batch_size: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description."""
        return asdict(self)

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> SimulationResult:
        """Rebuild the result from `to_dict`."""
        return cls(**description)
