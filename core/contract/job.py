"""
The contract between QGIS and the engine process: what is asked, what is told while it runs, what comes back.

Everything is plain data with JSON in and out, and importable without torch. One message is one line of JSON.

QGIS to engine
    {"type": "status", "job_id": …}
    {"type": "simulate", "job_id": …, "job": SimulationJob.to_dict()}
    {"type": "crossvalidate", "job_id": …, "job": CrossValidationJob.to_dict()}
    {"type": "train", "job_id": …, "job": TrainingJob.to_dict()}
    {"type": "evaluate", "job_id": …, "job": EvaluationJob.to_dict()}
    {"type": "score", "job_id": …, "job": ScoreJob.to_dict()}
    {"type": "simulate_indicators", "job_id": …, "job": IndicatorJob.to_dict()}
    {"type": "compare", "job_id": …, "job": SimulationComparisonJob.to_dict()}
    {"type": "install", "job_id": …, "job": InstallJob.to_dict()}
    {"type": "cancel", "job_id": …}
Engine to QGIS, each with the `job_id` it answers
    {"type": "ready", "pid": …, "protocol": PROTOCOL_VERSION}     once, when the engine has started; without job_id
    {"type": "status", "status": {…}}                             interpreter, versions, devices, memory
    {"type": "progress", "fraction": 0…1, "text": …}
    {"type": "result", "result": …}                               the to_dict() of the job's result
    {"type": "error", "kind": "OadgError's class name" or "unexpected", "message": …}
    {"type": "cancelled"}
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Dict, Mapping, Optional, Tuple, Type, TypeVar

from .errors import JobError
from .facies import FaciesTable
from .grid import Grid

PROTOCOL_VERSION = 3
QUALITIES = ("standard", "preview", "fine")
MAX_REALIZATIONS = 1000
MODEL, NEAREST = "model", "nearest observation"
"""What the model, and the simplest method that it is compared with, are called among all methods."""
WORK_FOLDER_PREFIX = "oadg-job-"
"""How the names of work folders begin; the engine deletes no folder that is called otherwise."""


_Self = TypeVar("_Self", bound="Job")
_Answer = TypeVar("_Answer", bound="Result")
_COLUMNS: Dict[str, Type[Any]] = {
    **dict.fromkeys(("row", "col", "class_index", "fold"), int),
    **dict.fromkeys(("easting", "northing"), float),
    "taken": str,
}
"""What the fields that hold several values hold."""


@dataclass(frozen=True)
class Job:
    """
    What is asked: plain data that survives a line of JSON.

    Parameters
    ----------
    work_folder : str
        Where the engine leaves what belongs to the job; the client makes and deletes it.

    Attributes
    ----------
    REMEDY : str
        What users can do, a phrase that begins with a verb, when memory does not suffice for jobs of this kind.
    """

    REMEDY: ClassVar[str] = "close other programs"

    work_folder: str

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        plain.update({name: [kind(v) for v in plain[name]] for name, kind in _COLUMNS.items() if name in plain})
        if "grid" in plain:
            plain["grid"] = plain["grid"].to_dict()
        if "facies" in plain:
            plain["facies"] = plain["facies"].to_list()
        return plain

    @classmethod
    def from_dict(cls: Type[_Self], description: Mapping[str, Any]) -> _Self:
        """Rebuild the job from `to_dict`; raise `JobError` when a part is missing, wrong or unknown."""
        names = {f.name for f in fields(cls)}
        if not isinstance(description, Mapping):
            raise JobError(f"The job is no table of its parts but {type(description).__name__}.")
        unknown = sorted(set(description) - names)
        if unknown:
            raise JobError(f"The job has parts that this engine does not know: {', '.join(unknown)}.")
        try:
            plain = dict(description)
            if "grid" in names:
                plain["grid"] = Grid.from_dict(plain["grid"])
            if "facies" in names:
                plain["facies"] = FaciesTable.from_list(plain["facies"])
            for name in set(_COLUMNS) & names:
                plain[name] = tuple(_COLUMNS[name](v) for v in plain[name])
            return cls(**plain)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise JobError(f"The job is incomplete or wrong: {error}.") from error


@dataclass(frozen=True)
class Result:
    """What comes back: plain data likewise."""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description."""
        return asdict(self)

    @classmethod
    def from_dict(cls: Type[_Answer], description: Mapping[str, Any]) -> _Answer:
        """Rebuild the result from `to_dict`."""
        return cls(**description)


@dataclass(frozen=True)
class SimulationJob(Job):
    """
    Everything that one simulation needs.

    Parameters
    ----------
    grid : Grid
        The simulation grid.
    facies : FaciesTable
        The user's facies.
    row, col, class_index : tuple of int
        The hard data, at most one per cell, also of cells within the grid's reach: they lie before its first or beyond
        its last row or column.
    model_path : str
        The model file.
    work_folder : str
        Where the engine writes its arrays; the client makes and deletes it.
    mask_path : str, optional
        A `.npy` file with a bool array (n_rows, n_cols): True where cells are simulated.
    n_realizations : int
        0 asks for the probabilities and the entropy only.
    quality : {'standard', 'preview', 'fine'}
        How many passes.
    seed : int
        The one number from which all randomness descends.
    device : str
        'auto', 'cpu', 'cuda', 'cuda:1' …

    Raises
    ------
    JobError
        For a number of realizations, quality or seed that cannot be, and for hard data that do not fit the grid.
    """

    REMEDY = "use fewer realizations, larger cells or a smaller extent"

    grid: Grid
    facies: FaciesTable
    row: Tuple[int, ...]
    col: Tuple[int, ...]
    class_index: Tuple[int, ...]
    model_path: str
    mask_path: Optional[str] = None
    n_realizations: int = 20
    quality: str = "standard"
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        check_realizations(self.n_realizations)
        check_quality(self.quality)
        check_seed(self.seed)
        check_hard_data(self.row, self.col, self.class_index, self.grid, self.facies, reach=self.grid.reach)


@dataclass(frozen=True)
class SimulationResult(Result):
    """
    What the engine hands back; the arrays lie in the job's work folder.

    Parameters
    ----------
    probability_path : str
        float32 array (n_facies, n_rows, n_cols): the facies probabilities given the data; NaN outside the mask.
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
    precision : str
        Of the arithmetic that the realizations were drawn with, which the pixels depend on, too.
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
    precision: str = "float32"


def check_realizations(n_realizations: int) -> None:
    """Raise `JobError` for a number of realizations that is too large, or none."""
    if not 0 <= n_realizations <= MAX_REALIZATIONS:
        raise JobError(f"{n_realizations} realizations are asked for; between 0 and {MAX_REALIZATIONS} are possible.")


def check_quality(quality: str) -> None:
    """Raise `JobError` for a quality that is none."""
    if quality not in QUALITIES:
        raise JobError(f"The quality {quality!r} is unknown; choose one of {', '.join(QUALITIES)}.")


def check_seed(seed: int) -> None:
    """Raise `JobError` for a number that cannot be a seed."""
    if not 0 <= seed < 2**63:
        raise JobError(f"The seed is {seed}; it must be a whole number from 0 to 2^63 - 1.")


def check_hard_data(
    row: Tuple[int, ...],
    col: Tuple[int, ...],
    class_index: Tuple[int, ...],
    grid: Grid,
    facies: FaciesTable,
    *,
    reach: int = 0,
) -> None:
    """Raise `JobError` unless every datum has a cell of its own within reach and a class index of the table."""
    check_lengths("hard data", rows=row, columns=col, facies=class_index)
    seen = set()
    for cell_row, cell_col, index in zip(row, col, class_index):
        where = f"The hard datum at row {cell_row}, col {cell_col}"
        if not (-reach <= cell_row < grid.n_rows + reach and -reach <= cell_col < grid.n_cols + reach):
            around = f" or the {reach} cells around it" if reach else ""
            raise JobError(f"{where} is not on the grid of {grid.n_rows} x {grid.n_cols} cells{around}.")
        check_class_index(where, index, facies)
        if (cell_row, cell_col) in seen:
            raise JobError(f"{where} is given more than once; a cell can hold one facies.")
        seen.add((cell_row, cell_col))


def check_lengths(what: str, **columns: Tuple[Any, ...]) -> None:
    """Raise `JobError` unless each datum has all its parts."""
    if len({len(column) for column in columns.values()}) > 1:
        told = [f"{len(column)} {name}" for name, column in columns.items()]
        raise JobError(f"The {what} have {', '.join(told[:-1])} and {told[-1]}; there must be as many of each.")


def check_class_index(where: str, class_index: int, facies: FaciesTable) -> None:
    """Raise `JobError` unless what is said to be somewhere, in words, is a facies of the table."""
    if not 0 <= class_index < len(facies):
        raise JobError(f"{where} has the class index {class_index}; it must be between 0 and {len(facies) - 1}.")
