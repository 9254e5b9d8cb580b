"""The part of the contract about the model beside sequential indicator simulation. Importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Optional, Tuple

from .errors import JobError
from .grid import Grid
from .job import MODEL, QUALITIES, Result, SimulationJob, check_quality, check_seed
from .validation_job import CrossValidationJob

KRIGING_OF_SIS = "kriging of SIS"
"""The probabilities that SIS draws from, given the observations alone."""
COUNTED_MODEL, COUNTED_SIS = "model, maps counted", "SIS, maps counted"
"""How often each facies occurs at a place, in the realizations of either."""
METHODS = (MODEL, KRIGING_OF_SIS, COUNTED_MODEL, COUNTED_SIS)
"""Two pairs, each of the model and of what is fairly compared with it."""
PROPORTIONS = "proportions"
"""The facies' shares among the observations, the same everywhere: what knows nothing of places."""
SIS = "SIS"
"""The simulation, beside `MODEL`."""
REFERENCE = "reference"
MIN_COMPARED, MAX_COMPARED = 2, 200


@dataclass(frozen=True)
class SimulationComparisonJob(CrossValidationJob):
    """
    Everything that a comparison of the model with SIS needs: what a cross-validation needs, and more.

    Parameters
    ----------
    grid, facies, easting, northing, class_index, fold, model_path, work_folder, subject, unit, device
        As `CrossValidationJob` has them; maps are simulated on the whole grid.
    mask_path : str, optional
        A `.npy` file with a bool array (n_rows, n_cols): True where cells are simulated.
    reference_path : str, optional
        A `.npy` file with an int16 array: class index, -1 where nothing is known. At least as many rows and columns as
        the grid has.
    n_realizations : int
        Of either method, for each fold and with all observations.
    quality : str
        How many passes the model gets.
    seed : int
        The one number from which all randomness descends.

    Raises
    ------
    JobError
        As `CrossValidationJob` does, and for a number of realizations, quality or seed that cannot be.
    """

    REMEDY = SimulationJob.REMEDY

    mask_path: Optional[str] = None
    reference_path: Optional[str] = None
    n_realizations: int = 20
    quality: str = QUALITIES[0]
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not MIN_COMPARED <= self.n_realizations <= MAX_COMPARED:
            raise JobError(
                f"{self.n_realizations} realizations are asked for; between {MIN_COMPARED} and {MAX_COMPARED} can be "
                "compared."
            )
        check_quality(self.quality)
        check_seed(self.seed)


@dataclass(frozen=True)
class SimulationComparisonResult(Result):
    """
    What the engine hands back; the page lies in the job's work folder.

    Parameters
    ----------
    page_path : str
        A self-contained HTML page.
    scores : dict
        Each of `METHODS`, and `PROPORTIONS`, to its scores at hidden observations: 'log_loss' (nats), 'brier',
        'accuracy' (share).
    gains : dict
        `MODEL` and `COUNTED_MODEL` to the percentage by which its log loss is lower than that of its counterpart
        (`KRIGING_OF_SIS`, `COUNTED_SIS`): 'mean', 'low' and 'high', the 95 % interval.
    reproduction : dict
        `MODEL`, `SIS` and, with a reference, `REFERENCE` to what its maps are like: 'variogram_misfit' and
        'reference_misfit' (share of the sill), 'connectivity' and 'connectivity_misfit' from the reference (share of
        pairs), 'bodies' (in a map), 'share_difference' (the largest of a facies' share from the observed one) and
        'seconds'. None where there is no such number.
    verdict : str
        Which is better here, in plain words.
    device, model_id : str
        What the model was run on, and which it was.
    seconds : float
        Wall time in the engine, in seconds.
    """

    page_path: str
    scores: Mapping[str, Mapping[str, float]]
    gains: Mapping[str, Mapping[str, float]]
    reproduction: Mapping[str, Mapping[str, Optional[float]]]
    verdict: str
    device: str
    model_id: str
    seconds: float


def check_reference_size(shape: Tuple[int, ...], grid: Grid) -> None:
    """Raise `JobError` when a reference of some rows and columns is smaller than the grid."""
    if shape[0] < grid.n_rows or shape[1] < grid.n_cols:
        raise JobError(
            f"The reference has {shape[0]:,} rows x {shape[1]:,} columns, the grid {grid.n_rows:,} x {grid.n_cols:,}: "
            "pieces of the grid's size are cut from it. Use a larger reference, a smaller extent, or do without one."
        )
