"""Is a model of a training image good? Realizations against crops of it, and hidden cells against their truth."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Callable

import numpy as np

from ..contract.job import MODEL
from ..contract.training_image import TrainingImage
from ..kriging.yardsticks import better_kriging
from ..measures.fidelity import (
    Fidelity,
    Statistics,
    averaged,
    compare,
    contact_shares,
    isolated_share,
    measure,
)
from ..model.facies_model import FaciesModel
from ..sampling.realizations import simulate_freely
from .crops import check_known, compare_halves, draw_crops, pattern_side_of
from .hidden_cells import HiddenCells, ask_hidden_cells

FEWEST_PAIRS = 200
"""Of a facies and a point in a bin of the reliability diagram, for the bin to count."""
_N_OTHERS = 3  # draws of other crops, whose mean is told
_N_MEASURED = 2 + _N_OTHERS + 4  # sets of maps: realizations and crops, other crops, and halves both ways
_SHARE_OF_REALIZATIONS, _SHARE_OF_COMPARISON = 0.8, 0.1  # of the progress
_OF_HIDDEN_CELLS = (
    "log_loss",
    "log_loss_kriging",
    "log_loss_ratio",
    "log_loss_ratio_low",
    "log_loss_ratio_high",
    "isolated_data",
    "largest_miscalibration",
)


@dataclass(frozen=True)
class ModelEvaluation:
    """
    What an evaluation found.

    Parameters
    ----------
    realizations, crops : int array, shape (n, n_rows, n_cols)
        Class index; -1 in a crop where the image has no facies.
    measured, reference : Statistics
        Of realizations, and of crops.
    fidelity, among_crops : Fidelity
        Of realizations to crops, and of other crops to these, on average.
    among_halves : Fidelity or None
        Of crops of one half of the image to those of the other, on average over both ways to halve it; None when the
        halves are too narrow, or mostly unknown.
    image_shares : array, shape (n_facies,)
        Of the facies in all of the image.
    contacts, image_contacts : array, shape (n_facies, n_facies)
        Share of the boundaries between two facies, above the diagonal: of realizations, and of the image.
    crops_in_image : float
        How many crops hold as many known cells as the image.
    hidden : HiddenCells or None
        What was found at hidden cells; None where there is nothing to predict.
    isolated_in_image : float
        Share of the image's cells whose facies none of the 8 cells around has.
    seconds_per_realization : float
        Wall time.
    """

    realizations: np.ndarray
    crops: np.ndarray
    measured: Statistics
    reference: Statistics
    fidelity: Fidelity
    among_crops: Fidelity
    among_halves: Fidelity | None
    image_shares: np.ndarray
    contacts: np.ndarray
    image_contacts: np.ndarray
    crops_in_image: float
    hidden: HiddenCells | None
    isolated_in_image: float
    seconds_per_realization: float

    @property
    def boundary_ratio(self) -> float:
        """Length of boundaries in realizations over that in crops."""
        ours, of_crops = (float(s.boundary.mean()) for s in (self.measured, self.reference))
        return ours / max(1e-9, of_crops)

    @property
    def by_chance(self) -> Fidelity:
        """
        What chance makes of it: `among_crops`, or what the halves tell if that is more.

        Crops overlap, so that many of them are as alike as the image is to itself. But it is one draw of what it stands
        for: from that it is half as far as its halves are from one another, for each of them is half as large and errs
        by itself; and divergences go with the square.
        """
        crops, halves = self.among_crops, self.among_halves
        if halves is None:
            return crops
        patterns = {
            step: _larger(bits, halves.pattern_divergence[step] / 4) for step, bits in crops.pattern_divergence.items()
        }
        return replace(
            crops,
            pattern_divergence=patterns,
            variogram_difference=_larger(crops.variogram_difference, halves.variogram_difference / 2),
            connectivity_misfit=_larger(crops.connectivity_misfit, halves.connectivity_misfit / 2),
        )


def _larger(first: float, second: float) -> float:
    """Return the larger one of two numbers, or the one that is not NaN."""
    return float(np.fmax(first, second))


def evaluate_model(
    model: FaciesModel,
    image: TrainingImage,
    *,
    shape: tuple[int, int],
    n_realizations: int,
    quality: str = "standard",
    seed: int = 0,
    progress: Callable[[float, str], None] = lambda fraction, text: None,
) -> ModelEvaluation:
    """
    Compare realizations with crops of an image, and predict hidden cells of its held-out block.

    Parameters
    ----------
    model : FaciesModel
        What is judged.
    image : TrainingImage
        What it should look like.
    shape : (int, int)
        Rows and columns of realizations and of crops.
    n_realizations : int
        How many of each.
    quality : str
        One of the model's.
    seed : int
        Of realizations, crops and surveys.
    progress : callable
        Told the fraction done and what is being done.

    Raises
    ------
    JobError
        For a model that has no facies of its own.
    TrainingImageError
        When too little of the image is known.
    """
    rng, n_facies = np.random.default_rng([seed, 1]), len(image.facies)
    crops, *others = (draw_crops(image.class_index, shape, n_realizations, rng) for _ in range(1 + _N_OTHERS))
    check_known(crops, *others)
    began = time.monotonic()

    def tell(done: int) -> None:
        progress(_SHARE_OF_REALIZATIONS * (done / n_realizations), f"{done} of {n_realizations} realizations")

    realizations = simulate_freely(model, shape, n_realizations, quality=quality, seed=seed, on_batch=tell)
    seconds = (time.monotonic() - began) / n_realizations
    pattern_side, n_measured = pattern_side_of(crops, others[0], n_facies), 0

    def statistics(maps: np.ndarray) -> Statistics:
        nonlocal n_measured
        share = _SHARE_OF_REALIZATIONS + _SHARE_OF_COMPARISON * n_measured / _N_MEASURED
        progress(share, "Comparing them with the image")
        n_measured += 1
        return measure(maps, n_facies, most_side=pattern_side)

    reference = statistics(crops)
    measured = statistics(np.where(crops < 0, -1, realizations))  # where crops know nothing, nor do these
    among_crops = averaged([compare(statistics(pieces), reference) for pieces in others])
    among_halves = compare_halves(image.class_index, shape, statistics, rng)

    def tell_survey(fraction: float, text: str) -> None:
        before = _SHARE_OF_REALIZATIONS + _SHARE_OF_COMPARISON
        progress(before + (1 - before) * fraction, text)

    hidden = ask_hidden_cells(model, image, quality=quality, seed=seed, progress=tell_survey)
    return ModelEvaluation(
        realizations=realizations,
        crops=crops,
        measured=measured,
        reference=reference,
        fidelity=compare(measured, reference),
        among_crops=among_crops,
        among_halves=among_halves,
        image_shares=image.proportions,
        contacts=contact_shares(realizations.astype(np.int64), n_facies),
        image_contacts=contact_shares(image.class_index[None], n_facies),
        crops_in_image=float((image.class_index >= 0).sum() / (crops >= 0).sum(axis=(1, 2)).mean()),
        hidden=hidden,
        isolated_in_image=isolated_share(image.class_index[None], np.argwhere(image.class_index >= 0)),
        seconds_per_realization=seconds,
    )


def summarise(found: ModelEvaluation) -> dict[str, float]:
    """Return the scores by the names that `EvaluationResult` has; NaN where nothing tells of one."""
    bodies = (found.fidelity.bodies + 0.5) / (found.reference.n_bodies.mean(axis=0) + 0.5)
    return {
        "pattern_divergence": found.fidelity.pattern_divergence[1],
        "reference_divergence": found.by_chance.pattern_divergence[1],
        "variogram_difference": found.fidelity.variogram_difference,
        "connectivity_misfit": found.fidelity.connectivity_misfit,
        "proportion_difference": float(np.abs(found.measured.proportions.mean(axis=0) - found.image_shares).max()),
        "bodies_ratio": float(bodies[np.abs(np.log(bodies)).argmax()]),
        "boundary_ratio": found.boundary_ratio,
        "agreement": found.fidelity.agreement,
        "forbidden_contacts": float(found.contacts[found.image_contacts == 0].sum()),
        "variety": found.fidelity.within / max(1e-12, found.among_crops.within),
        **dict.fromkeys(_OF_HIDDEN_CELLS, math.nan),
        **(_summarise_hidden(found.hidden) if found.hidden else {}),
        "isolated_in_image": found.isolated_in_image,
        "seconds_per_realization": found.seconds_per_realization,
    }


def _summarise_hidden(hidden: HiddenCells) -> dict[str, float]:
    losses = {name: float(hidden.losses(name).mean()) for name in hidden.scores}
    kriging = better_kriging(losses)
    ratio = hidden.loss_ratio(kriging)
    counted = hidden.reliability.number >= FEWEST_PAIRS
    misses = np.abs(hidden.reliability.observed - hidden.reliability.predicted)[counted]
    largest = float(misses.max()) if misses.size else math.nan
    values = (losses[MODEL], losses[kriging], ratio.mean, ratio.low, ratio.high, hidden.isolated, largest)
    return dict(zip(_OF_HIDDEN_CELLS, values))
