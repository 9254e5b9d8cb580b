"""The part of the contract about sequential indicator simulation. Importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

from .errors import JobError
from .facies import FaciesTable
from .grid import Grid
from .job import Job, SimulationJob, check_hard_data, check_realizations, check_seed

KRIGING_KINDS = ("simple", "ordinary")
COVARIANCE_KINDS = ("exponential", "spherical", "gaussian")
MAX_NEIGHBOURS = 64


@dataclass(frozen=True)
class IndicatorJob(Job):
    """
    Everything that one sequential indicator simulation needs; its result is a `SimulationResult`.

    Parameters
    ----------
    grid, facies, row, col, class_index, work_folder, mask_path, n_realizations, seed
        As `SimulationJob` has them.
    kriging : {'simple', 'ordinary'}
        Around the facies' proportions, or around the means of each neighbourhood.
    n_neighbours : int
        Nearest observations, and nearest cells that are simulated already, of each estimate: so many of each at most.
    covariance : {'exponential', 'spherical', 'gaussian'}, optional
        One for all facies; by default it is fitted, and so are range and nugget.
    range : float, optional
        Of that covariance, in units of the CRS.
    nugget : float
        Of that covariance, a share of its sill.

    Raises
    ------
    JobError
        For numbers that cannot be, a covariance without a range, and hard data that do not fit the grid.
    """

    REMEDY = SimulationJob.REMEDY

    grid: Grid
    facies: FaciesTable
    row: Tuple[int, ...]
    col: Tuple[int, ...]
    class_index: Tuple[int, ...]
    mask_path: Optional[str] = None
    n_realizations: int = 20
    kriging: str = KRIGING_KINDS[0]
    n_neighbours: int = 16
    covariance: Optional[str] = None
    range: Optional[float] = None
    nugget: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_realizations(self.n_realizations)
        if self.kriging not in KRIGING_KINDS:
            raise JobError(f"The kriging {self.kriging!r} is unknown; choose one of {', '.join(KRIGING_KINDS)}.")
        if not 1 <= self.n_neighbours <= MAX_NEIGHBOURS:
            raise JobError(f"{self.n_neighbours} neighbours are asked for; 1 to {MAX_NEIGHBOURS} are possible.")
        if self.covariance is not None and self.covariance not in COVARIANCE_KINDS:
            known = ", ".join(COVARIANCE_KINDS)
            raise JobError(f"The covariance {self.covariance!r} is unknown; choose one of {known}.")
        if (self.covariance is None) != (self.range is None):
            raise JobError(
                "A covariance needs a kind and a range, or neither, to be fitted to the observations: give both."
            )
        if self.range is not None and not 0 < self.range < float("inf"):
            raise JobError(f"The covariance's range is {self.range:g}; it must be a positive distance in CRS units.")
        if self.covariance is None and self.nugget:
            raise JobError(
                f"A nugget of {self.nugget:g} is given, but the covariance is to be fitted, and its nugget with it. "
                "Choose a covariance and its range as well, or leave the nugget at 0."
            )
        check_seed(self.seed)
        check_hard_data(self.row, self.col, self.class_index, self.grid, self.facies, reach=self.grid.reach)
