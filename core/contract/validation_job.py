"""The part of the contract about cross-validation. Importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Mapping, Tuple

import numpy as np

from .errors import JobError
from .facies import FaciesTable
from .grid import Grid
from .job import Job, Result, check_class_index, check_lengths


@dataclass(frozen=True)
class CrossValidationJob(Job):
    """
    Everything that one cross-validation needs.

    Parameters
    ----------
    grid : Grid
        The grid on which the model predicts; it holds all observations and is the same for every fold.
    facies : FaciesTable
        The facies of all observations; those that a fold's training data lack exist there all the same.
    easting, northing : tuple of float
        Where the observations are, in the grid's CRS.
    class_index : tuple of int
        What was observed.
    fold : tuple of int
        Which observations are hidden together, numbered from 0; those of a cell share a fold.
    model_path : str
        The model file.
    work_folder : str
        Where the engine writes its arrays and its page; the client makes and deletes it.
    subject : str
        What is cross-validated, for the page's reader: the layer and the field.
    unit : str
        What distances are counted in, for the page's reader.
    device : str
        'auto', 'cpu', 'cuda', 'cuda:1' …

    Raises
    ------
    JobError
        For observations that do not fit the grid or the facies, fewer than two folds, folds without observations, and
        a cell whose observations are in different folds.
    """

    REMEDY = "use larger cells or fewer observations"

    grid: Grid
    facies: FaciesTable
    easting: Tuple[float, ...]
    northing: Tuple[float, ...]
    class_index: Tuple[int, ...]
    fold: Tuple[int, ...]
    model_path: str
    subject: str = ""
    unit: str = "units of the CRS"
    device: str = "auto"

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return max(self.fold, default=-1) + 1

    @property
    def places(self) -> np.ndarray:
        """Easting and northing of the observations, shape (n_points, 2)."""
        return np.stack([self.easting, self.northing], axis=1)

    def __post_init__(self) -> None:
        check_lengths(
            "observations",
            eastings=self.easting,
            northings=self.northing,
            facies=self.class_index,
            folds=self.fold,
        )
        missing = sorted(set(range(self.n_folds)) - set(self.fold))
        if self.n_folds < 2 or missing or min(self.fold) < 0:
            raise JobError(
                f"The observations have the folds {', '.join(map(str, sorted(set(self.fold))[:5])) or 'none'} …; at "
                "least two are needed, numbered from 0 without a gap."
            )
        fold_of_cell: Dict[Tuple[int, int], int] = {}
        row, col, inside = self.grid.cell_of(np.array(self.easting), np.array(self.northing))
        for i, class_index in enumerate(self.class_index):
            where = f"The observation at easting {self.easting[i]:g}, northing {self.northing[i]:g}"
            if not inside[i]:
                raise JobError(f"{where} is not on the grid of {self.grid.n_rows} x {self.grid.n_cols} cells.")
            check_class_index(where, class_index, self.facies)
            if fold_of_cell.setdefault((int(row[i]), int(col[i])), self.fold[i]) != self.fold[i]:
                raise JobError(f"{where} shares a cell with one of another fold, which would give it away.")


@dataclass(frozen=True)
class CrossValidationResult(Result):
    """
    What the engine hands back; arrays and page lie in the job's work folder.

    Parameters
    ----------
    probability_path : str
        float32 array (n_facies, n_points): the model's probabilities at each observation while it was hidden.
    log_loss_path : str
        float32 array (n_points,): the model's log loss there, nats.
    page_path : str
        A self-contained HTML page.
    scores : dict
        Method to its scores: 'log_loss' (nats), 'brier', 'accuracy' (share). `MODEL` is the model.
    better_kriging : str
        Which of the krigings has the lower log loss: the one that the gain refers to.
    gain, gain_low, gain_high : float
        By how many percent the model's log loss is lower than the better kriging's, and its 95 % interval.
    verdict : str
        The same in plain words.
    device, model_id : str
        What it was computed on, and with.
    seconds : float
        Wall time in the engine, in seconds.
    """

    probability_path: str
    log_loss_path: str
    page_path: str
    scores: Mapping[str, Mapping[str, float]]
    better_kriging: str
    gain: float
    gain_low: float
    gain_high: float
    verdict: str
    device: str
    model_id: str
    seconds: float
