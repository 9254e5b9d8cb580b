"""The part of the contract about scoring maps. Importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Tuple

from .errors import JobError
from .facies import FaciesTable
from .grid import Grid
from .job import QUALITIES, Job, Result, check_hard_data, check_quality, check_seed

MAX_PATHS = 200


@dataclass(frozen=True)
class ScoreJob(Job):
    """
    Everything that scoring a map needs.

    Parameters
    ----------
    grid : Grid
        The cells of the map.
    facies : FaciesTable
        Its facies.
    map_path : str
        A `.npy` file with an int16 array (n_rows, n_cols): class index, -1 where nothing is known.
    row, col, class_index : tuple of int
        The hard data, at most one per cell; they agree with the map.
    model_path : str
        The model file.
    work_folder : str
        Where the engine writes its array; the client makes and deletes it.
    n_paths : int
        Along how many paths the map is scored. It is compared with as many realizations of the model, but with 20 at
        least.
    quality : str
        How many passes.
    seed : int
        The one number from which all randomness descends.
    device : str
        'auto', 'cpu', 'cuda', 'cuda:1' …

    Raises
    ------
    JobError
        For a number of paths, quality or seed that cannot be, and for hard data that do not fit the grid.
    """

    REMEDY = "use fewer paths or a smaller map"

    grid: Grid
    facies: FaciesTable
    map_path: str
    row: Tuple[int, ...]
    col: Tuple[int, ...]
    class_index: Tuple[int, ...]
    model_path: str
    n_paths: int = 8
    quality: str = QUALITIES[0]
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if not 2 <= self.n_paths <= MAX_PATHS:
            raise JobError(f"{self.n_paths} paths are asked for; between 2 and {MAX_PATHS} are possible.")
        check_quality(self.quality)
        check_seed(self.seed)
        check_hard_data(self.row, self.col, self.class_index, self.grid, self.facies)


@dataclass(frozen=True)
class ScoreResult(Result):
    """
    What the engine hands back; the array lies in the job's work folder.

    Parameters
    ----------
    surprise_path : str
        float32 array (n_rows, n_cols), bits: how surprising the map's facies is at each cell, mean over paths; 0 at
        hard data, NaN where the map holds nothing.
    log_likelihood_bits : float
        Of the whole map, mean over paths: at most the logarithm of its probability under the model.
    spread_bits : float
        Standard deviation over paths.
    bits_per_cell : float
        Minus the log-likelihood over the number of scored cells.
    typical_bits_per_cell, typical_spread : float
        The same of realizations of the model given the same data: their mean and standard deviation.
    typical_reach : float
        How far from their mean another realization lies at most, but in one case of a hundred on any level or in total.
    excess_of_levels : list of float
        On each level of the path, the finest first (cells that are 2^level apart), by how much the map is more
        surprising than realizations on average, as a multiple of how far another one lies at most.
    n_cells : int
        Scored cells: those of the map without the hard data.
    device, model_id : str
        What it was computed on, and with.
    seconds : float
        Wall time in the engine, in seconds.
    """

    surprise_path: str
    log_likelihood_bits: float
    spread_bits: float
    bits_per_cell: float
    typical_bits_per_cell: float
    typical_spread: float
    typical_reach: float
    excess_of_levels: List[float]
    n_cells: int
    device: str
    model_id: str
    seconds: float
