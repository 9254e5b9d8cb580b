"""
Folds by location: which observations are hidden together, so that a map is judged where it has to reach.

Observations hidden one by one at random have neighbours that stay, and any method looks good then. Here the
observations of a whole region are hidden together (Roberts et al. 2017, *Ecography* 40).
"""

from __future__ import annotations

from typing import List

import numpy as np

from .errors import ConditioningError
from .facies import FaciesTable
from .grid import Grid
from .words import counted

MIN_OBSERVATIONS = 10
MAX_OBSERVATIONS = 2000
"""Kriging uses all at once, whose cost grows with the third power of their number: minutes, with these."""
MIN_FOLDS, MAX_FOLDS = 2, 20
_TELLING = 5
"""Fewer observations of a fold may well be of one facies."""


def check_observations(easting: np.ndarray, northing: np.ndarray) -> None:
    """
    Refuse observations that cannot be cross-validated, whatever the grid and the folds.

    Parameters
    ----------
    easting, northing : array, shape (n_points,)
        World coordinates.

    Raises
    ------
    ConditioningError
        When there are fewer than `MIN_OBSERVATIONS` or more than `MAX_OBSERVATIONS`, or all lie at one place.
    """
    n_points = len(easting)
    if n_points < MIN_OBSERVATIONS:
        raise ConditioningError(
            f"There {'is' if n_points == 1 else 'are'} {counted(n_points, 'observation')} with a facies; "
            f"cross-validation hides some and predicts them from the rest, which needs at least {MIN_OBSERVATIONS} to "
            "tell anything. Take more observations, or a larger selection."
        )
    if n_points > MAX_OBSERVATIONS:
        raise ConditioningError(
            f"There are {n_points:,} observations; at most {MAX_OBSERVATIONS:,} can be cross-validated, for kriging, "
            "with which the model is compared, would take too long. Select some of them, for example with 'Random "
            "selection', or a part of the area."
        )
    if np.ptp(easting) == 0 and np.ptp(northing) == 0:
        raise ConditioningError(
            f"All {n_points} observations lie at one place (easting {easting[0]:g}, northing {northing[0]:g}); "
            "cross-validation hides some places and predicts them from the others. Check the coordinates, and choose "
            "observations at different places."
        )


def folds_by_location(
    easting: np.ndarray, northing: np.ndarray, grid: Grid, n_folds: int, *, seed: int = 0
) -> np.ndarray:
    """
    Divide observations into compact regions with as many occupied cells each, give or take one.

    The plane is cut in two across its longer side, in a coordinate system turned by an angle that the seed draws, and
    each part again, until there are as many parts as folds. The observations of a cell stay together: one that stayed
    would give away the one that is hidden. The result does not depend on the order of the observations.

    Parameters
    ----------
    easting, northing : array, shape (n_points,)
        World coordinates, on the grid.
    grid : Grid
        The simulation grid.
    n_folds : int
        Number of folds, `MIN_FOLDS` to `MAX_FOLDS`.
    seed : int
        From which the angle descends.

    Returns
    -------
    int array, shape (n_points,)
        The fold of each observation, 0 … n_folds - 1.

    Raises
    ------
    ConditioningError
        When the number of folds is out of bounds, or there are fewer cells with observations than folds.
    """
    if not MIN_FOLDS <= n_folds <= MAX_FOLDS:
        raise ConditioningError(f"The number of folds is {n_folds}; it must be from {MIN_FOLDS} to {MAX_FOLDS}.")
    row, col, _ = grid.cell_of(easting, northing)
    cells, cell_of_point = np.unique(row * grid.n_cols + col, return_inverse=True)
    if len(cells) < n_folds:
        raise ConditioningError(
            f"The {len(easting)} observations lie in {len(cells)} cells of {grid.cell_size:g}; {n_folds} folds need at "
            "least as many, for the observations of a cell are hidden together. Use fewer folds, or smaller cells."
        )
    angle = np.random.default_rng(seed).uniform(0, np.pi / 2)
    turned = np.stack(np.divmod(cells, grid.n_cols), axis=1) @ [
        [np.cos(angle), -np.sin(angle)],
        [np.sin(angle), np.cos(angle)],
    ]
    fold = np.empty(len(cells), dtype=np.int64)
    _divide(turned, np.arange(len(cells)), fold, first=0, n_folds=n_folds)
    return fold[cell_of_point.reshape(-1)]


def _divide(places: np.ndarray, members: np.ndarray, fold: np.ndarray, *, first: int, n_folds: int) -> None:
    """Write the folds `first` … `first + n_folds - 1` of the members' places (n, 2) into `fold`."""
    if n_folds == 1:
        fold[members] = first
        return
    longer = int(np.argmax(np.ptp(places[members], axis=0)))
    in_order = members[np.lexsort((places[members, 1 - longer], places[members, longer]))]
    n_near = n_folds // 2
    cut = round(len(members) * n_near / n_folds)
    _divide(places, in_order[:cut], fold, first=first, n_folds=n_near)
    _divide(places, in_order[cut:], fold, first=first + n_near, n_folds=n_folds - n_near)


def check_facies_of_folds(fold: np.ndarray, class_index: np.ndarray, facies: FaciesTable) -> None:
    """
    Refuse folds without which one facies is left: what remains would be evidence that there is no other.

    Parameters
    ----------
    fold, class_index : int array, shape (n_points,)
        Fold and observed facies of each point.
    facies : FaciesTable
        For names.

    Raises
    ------
    ConditioningError
        When all observations outside a fold are of one facies.
    """
    for number in np.unique(fold):
        kept = np.unique(class_index[fold != number])
        if len(kept) < 2:
            raise ConditioningError(
                f"Without fold {number + 1}, all observations that are left are of one facies, "
                f"{facies.names[kept[0]]!r}: every other facies occurs in that one region only, so nothing can be "
                "learnt about it elsewhere. Use more folds, which are smaller, or more observations."
            )


def fold_cautions(fold: np.ndarray, class_index: np.ndarray, facies: FaciesTable) -> List[str]:
    """
    Return, as sentences, what these folds cannot tell; empty when all seems well.

    Parameters
    ----------
    fold, class_index : int array, shape (n_points,)
        Fold and observed facies of each point.
    facies : FaciesTable
        For names.
    """
    told = []
    in_one = [name for k, name in enumerate(facies.names) if len(np.unique(fold[class_index == k])) == 1]
    if in_one:
        told.append(
            f"Facies that were observed in one fold only: {', '.join(in_one)}. While it is hidden, methods that know "
            "observations only have not seen them, so these must fail there. More folds are smaller, and may part such "
            "observations."
        )
    observed = {int(number): class_index[fold == number] for number in np.unique(fold)}
    alike = {number: of for number, of in observed.items() if len(of) >= _TELLING and np.ptp(of) == 0}
    of_one = [f"fold {number + 1} ({facies.names[of[0]]})" for number, of in alike.items()]
    if of_one:
        told.append(
            f"In {len(of_one)} of {len(observed)} folds all observations are of one facies: {', '.join(of_one)}. "
            "Such a fold tells whether a method knows the facies, but nothing about its boundaries. Fewer folds are "
            "larger."
        )
    return told
