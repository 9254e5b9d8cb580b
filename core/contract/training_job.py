"""The part of the contract about training and judging models of images. Importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Mapping, Optional, Tuple

from .errors import JobError
from .facies import FaciesTable
from .job import QUALITIES, Job, Result, check_quality, check_seed

SIZES = ("auto", "small", "base", "large")
"""Of a network; the first is the default: base, or small where too few steps of base fit into the time."""
PRECISIONS = ("auto", "bfloat16", "float16", "float32")
"""Of a network's arithmetic while it is trained; the first is the default: whichever is fast on the device."""
MAX_STEPS = 1_000_000
MAX_WORKERS = 64
MIN_EVALUATED_SIDE, MAX_EVALUATED_SIDE = 32, 2000
MIN_EVALUATED, MAX_EVALUATED = 2, 200


@dataclass(frozen=True)
class TrainingJob(Job):
    """
    Everything that one training needs.

    Parameters
    ----------
    image_path : str
        A `.npy` file with an int16 array: class index, -1 where nothing is known. (n_rows, n_cols) is a training
        image, (n_images, n_rows, n_cols) a set of images.
    facies : FaciesTable
        The facies of the image.
    model_path : str
        The model file to be written; a checkpoint lies beside it until training is done.
    start_path : str
        The model file whose weights training starts from.
    work_folder : str
        Where a few steps are timed, as a job in minutes asks; the client makes and deletes it.
    name : str
        What users will call the model.
    symmetry : {'none', 'half turn', 'flips', 'rotations'}
        What leaves the image as likely as it was.
    cell_size : float, optional
        Side of the image's cells in metres; in units of its own where the image does not tell any.
    origin : str
        Where the image comes from, in words.
    licence : str
        Of the model, an SPDX identifier.
    size : {'auto', 'small', 'base', 'large'}
        Of the network; 'auto': 'base', but 'small' where fewer steps of that fit into the minutes than it needs.
    steps : int, optional
        Length of the training; by default what fits into `minutes`.
    minutes : float
        How long to train, where `steps` is not given.
    learning_rate : float
        Highest learning rate.
    refiner_only : bool
        Only the network that refines learns; the one that a simulation starts with stays as it is in `start_path`.
    levels_apart : bool
        Each level of lattices is refined by a network of its own.
    precision : {'auto', 'bfloat16', 'float16', 'float32'}
        Of the network's arithmetic while training; 'auto': bfloat16 on devices that have units for it, else float32.
    workers : int
        Processes that draw what is learnt from ahead; 0 draws it in the training's own. A fast graphics processor needs
        some. The model does not depend on it.
    seed : int
        The one number from which all randomness descends.
    device : str
        'auto', 'cpu', 'cuda', 'cuda:1' …

    Raises
    ------
    JobError
        For a size, length, precision, number of processes or seed that cannot be.
    """

    REMEDY = "use a smaller network or a smaller image"

    image_path: str
    facies: FaciesTable
    model_path: str
    start_path: str
    name: str
    symmetry: str = "none"
    cell_size: Optional[float] = None
    origin: str = ""
    licence: str = "LicenseRef-unknown"
    size: str = SIZES[0]
    steps: Optional[int] = None
    minutes: float = 45.0
    learning_rate: float = 4e-3
    refiner_only: bool = False
    levels_apart: bool = False
    precision: str = PRECISIONS[0]
    workers: int = 0
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise JobError(f"The size {self.size!r} is unknown; choose one of {', '.join(SIZES)}.")
        if self.steps is not None and not 1 <= self.steps <= MAX_STEPS:
            raise JobError(f"{self.steps} steps are asked for; between 1 and {MAX_STEPS:,} are possible.")
        if not 0 < self.minutes < float("inf"):
            raise JobError(f"The training is to take {self.minutes:g} minutes; it must be some time above 0.")
        if not 0 < self.learning_rate < 1:
            raise JobError(f"The learning rate is {self.learning_rate:g}; it must be above 0 and below 1.")
        if self.precision not in PRECISIONS:
            raise JobError(f"The precision {self.precision!r} is unknown; choose one of {', '.join(PRECISIONS)}.")
        if not 0 <= self.workers <= MAX_WORKERS:
            raise JobError(f"{self.workers} processes are to draw ahead; between 0 and {MAX_WORKERS} are possible.")
        check_seed(self.seed)
        if not self.name.strip():
            raise JobError("The model has no name. Give one that says what was learnt.")


@dataclass(frozen=True)
class TrainingResult(Result):
    """
    What the engine hands back; the model lies where the job said.

    Parameters
    ----------
    model_path : str
        The model file.
    model_id, device : str
        What was made, and on what.
    held_out_bits : float
        Bound on the code length of held-out cells, bits per cell: the lower, the better.
    steps, best_step, lowest_step : int
        Steps that were done, the one whose weights were kept, and the one of the lowest held-out loss.
    stopped_early : bool
        Whether training stopped because the held-out bits rose.
    seconds : float
        Wall time of the learning altogether, in seconds, without what is measured before and after it.
    """

    model_path: str
    model_id: str
    device: str
    held_out_bits: float
    steps: int
    best_step: int
    lowest_step: int
    stopped_early: bool
    seconds: float


def checkpoint_folder(model_path: Path) -> Path:
    """Return where the checkpoint of a training lies, beside its model, until it is done."""
    return model_path.with_name(f"{model_path.stem}.training")


def piece_shape(image_shape: Tuple[int, int], side: int) -> Tuple[int, int]:
    """
    Return rows and columns of the pieces of an image that tell of a model of it.

    They are as many as are asked for, but a third of the image's at most, along each axis by itself: larger pieces are
    much the same, and a flat section has long ones.
    """
    n_rows, n_cols = (min(side, max(MIN_EVALUATED_SIDE, n // 3)) for n in image_shape)
    return n_rows, n_cols


@dataclass(frozen=True)
class EvaluationJob(Job):
    """
    Everything that one evaluation of a model against a training image needs.

    Parameters
    ----------
    image_path : str
        A `.npy` file with an int16 array (n_rows, n_cols): class index, -1 where nothing is known.
    facies : FaciesTable
        The facies of the image, which are the model's.
    model_path : str
        The model file.
    work_folder : str
        Where the engine writes its page; the client makes and deletes it.
    side : int
        Rows and columns of realizations, and of the crops of the image that they are compared with, at most: see
        `piece_shape`.
    n_realizations : int
        How many of each.
    quality : str
        How many passes.
    seed : int
        The one number from which all randomness descends.
    device : str
        'auto', 'cpu', 'cuda', 'cuda:1' …
    subject : str
        What the image is, for the page's reader.

    Raises
    ------
    JobError
        For a side, number, quality or seed that cannot be.
    """

    REMEDY = "use fewer cells per side or fewer realizations"

    image_path: str
    facies: FaciesTable
    model_path: str
    side: int = 250
    n_realizations: int = 20
    quality: str = QUALITIES[0]
    seed: int = 0
    device: str = "auto"
    subject: str = ""

    def __post_init__(self) -> None:
        if not MIN_EVALUATED_SIDE <= self.side <= MAX_EVALUATED_SIDE:
            raise JobError(
                f"Realizations of {self.side} x {self.side} cells are asked for; {MIN_EVALUATED_SIDE} to "
                f"{MAX_EVALUATED_SIDE} cells a side are possible."
            )
        if not MIN_EVALUATED <= self.n_realizations <= MAX_EVALUATED:
            raise JobError(
                f"{self.n_realizations} realizations are asked for; {MIN_EVALUATED} to {MAX_EVALUATED} are possible."
            )
        check_quality(self.quality)
        check_seed(self.seed)


@dataclass(frozen=True)
class EvaluationResult(Result):
    """
    What the engine hands back; the page lies in the job's work folder.

    Parameters
    ----------
    page_path : str
        A self-contained HTML page.
    scores : dict
        By name: 'pattern_divergence' and 'reference_divergence' (bits, by chance), 'variogram_difference',
        'connectivity_misfit' (share of pairs of cells), 'proportion_difference' (largest over facies), 'bodies_ratio'
        (of the facies where it is worst), 'boundary_ratio' (length of boundaries over that of the image), 'variety'
        (spread among realizations over that among crops), 'agreement' (of two realizations, beyond chance),
        'forbidden_contacts' (share of the boundaries between facies that never touch in the image), 'log_loss',
        'log_loss_kriging' (nats), 'log_loss_ratio', 'log_loss_ratio_low', 'log_loss_ratio_high' (with its interval),
        'isolated_data', 'isolated_in_image' (shares), 'largest_miscalibration', 'seconds_per_realization'.
    verdict : str
        What they come to, in plain words.
    device, model_id : str
        What it was computed on, and with.
    seconds : float
        Wall time in the engine, in seconds.
    """

    page_path: str
    scores: Mapping[str, float]
    verdict: str
    device: str
    model_id: str
    seconds: float
