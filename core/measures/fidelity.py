"""
Do realizations look like the training image? Statistics of maps, at one point, at two, and of patterns.

Every statistic is taken of a set of maps, so that realizations can be told apart from other crops of the image by the
same ruler. Sources: Tan, Tahmasebi and Caers 2014, *Mathematical Geosciences* 46 (analysis of distances, ANODI);
Renard and Allard 2013, *Advances in Water Resources* 51 (connectivity).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Callable, Mapping, Sequence

import numpy as np

from .bodies import label_bodies

PATTERN_SIDE = 4
PATTERN_STEPS = (1, 2, 4)
"""Cells from one cell of a pattern to the next: patterns at several scales."""
LAGS = (1, 2, 4, 8, 12, 16, 24, 32, 40, 48, 64, 80)
"""Cells apart, of two-point statistics."""

Histogram = Mapping[int, float]


def pattern_histogram(maps: np.ndarray, n_facies: int, *, side: int = PATTERN_SIDE, step: int = 1) -> Histogram:
    """
    Return how often each pattern of side x side cells occurs.

    Parameters
    ----------
    maps : int array, shape (n_maps, n_rows, n_cols)
        Class index; patterns with negative ones do not count.
    n_facies : int
        Number of facies; n_facies^(side²) must fit into 63 bits.
    side, step : int
        Cells along a side of the pattern, and from one of them to the next.

    Returns
    -------
    mapping of int to float
        Share of each pattern that occurs.
    """
    reach = (side - 1) * step
    n_maps, n_rows, n_cols = maps.shape
    code = np.zeros((n_maps, n_rows - reach, n_cols - reach), dtype=np.int64)
    known = np.ones(code.shape, dtype=bool)
    for row in range(0, reach + 1, step):
        for col in range(0, reach + 1, step):
            cell = maps[:, row : row + code.shape[1], col : col + code.shape[2]]
            known &= cell >= 0
            code = code * n_facies + cell
    patterns, counts = np.unique(code[known], return_counts=True)  # none where nodata lies in every pattern
    return dict(zip(patterns.tolist(), (counts / counts.sum()).tolist()))


def divergence_bits(first: Histogram, second: Histogram) -> float:
    """
    Return the Jensen-Shannon divergence of two histograms, in bits: 0 when they are equal, 1 when they are apart.

    NaN when one of them holds nothing.
    """
    if not first or not second:
        return float("nan")
    patterns = sorted(set(first) | set(second))
    p, q = (np.array([histogram.get(pattern, 0.0) for pattern in patterns]) for histogram in (first, second))
    middle = (p + q) / 2

    def relative(part: np.ndarray) -> float:
        occurs = part > 0
        return float((part[occurs] * np.log2(part[occurs] / middle[occurs])).sum())

    return (relative(p) + relative(q)) / 2


def variogram(maps: np.ndarray, facies: int, lag: int, axis: int) -> float:
    """
    Return the indicator variogram of a facies over maps (n_maps, n_rows, n_cols), along axis 0 or 1 of a map.

    NaN where no two known cells are so far apart.
    """
    near, far = _apart(maps, lag, axis)
    valid = (near >= 0) & (far >= 0)
    return float(0.5 * ((near == facies) != (far == facies))[valid].mean()) if valid.any() else float("nan")


def connectivity(maps: np.ndarray, bodies: np.ndarray, facies: int, lag: int, axis: int) -> float:
    """
    Return how often two cells of a facies a lag apart lie in one body; NaN where no two are so far apart.

    Parameters are those of `connected_pairs`.
    """
    n_connected, n_pairs = connected_pairs(maps, bodies, facies, lag, axis)
    return n_connected / n_pairs if n_pairs else float("nan")


def connected_pairs(maps: np.ndarray, bodies: np.ndarray, facies: int, lag: int, axis: int) -> tuple[int, int]:
    """
    Count the pairs of cells of a facies a lag apart.

    Parameters
    ----------
    maps, bodies : int array, shape (n_maps, n_rows, n_cols)
        Class index, and number of each cell's body.
    facies, lag, axis
        As `variogram` takes them.

    Returns
    -------
    n_connected, n_pairs : int
        How many of them lie in one body, and how many there are.
    """
    near, far = _apart(maps, lag, axis)
    both = (near == facies) & (far == facies)
    near, far = _apart(bodies, lag, axis)
    return int((near == far)[both].sum()), int(both.sum())


def agreement_of_pairs(maps: np.ndarray, n_facies: int) -> np.ndarray:
    """
    Return how much more often two maps agree than maps of their shares do by chance, by Cohen's kappa.

    Parameters
    ----------
    maps : int array, shape (n_maps, n_rows, n_cols)
        Class index, -1 where unknown.
    n_facies : int
        Number of facies.

    Returns
    -------
    array, shape (n_pairs,)
        Of each pair of maps that know a cell in common: 0 by chance, 1 where they are the same.
    """

    def together(cells: np.ndarray) -> np.ndarray:
        flat = cells.reshape(len(cells), -1).astype(np.float32)
        return np.asarray((flat @ flat.T).astype(float))

    shares = np.array([[(m == k).sum() / max(1, (m >= 0).sum()) for k in range(n_facies)] for m in maps])
    both_known = together(maps >= 0)
    pairs = np.nonzero(np.triu(both_known, 1))
    alike = np.sum([together(maps == k) for k in range(n_facies)], axis=0)[pairs] / both_known[pairs]
    by_chance = (shares @ shares.T)[pairs]
    return (alike - by_chance) / max(1e-9, 1 - by_chance.mean()) if alike.size else alike


def euler_number(class_index: np.ndarray, facies: int) -> int:
    """Return the number of bodies of a facies on a map (n_rows, n_cols), touching at corners, less that of holes."""
    cell = np.pad(class_index == facies, 1)
    quad = cell[:-1, :-1].astype(int) + cell[:-1, 1:] + cell[1:, :-1] + cell[1:, 1:]
    diagonal = (quad == 2) & (cell[:-1, :-1] == cell[1:, 1:])
    return int(((quad == 1).sum() - (quad == 3).sum() - 2 * diagonal.sum()) // 4)


def boundary_length(class_index: np.ndarray) -> float:
    """
    Return the length of the boundaries between facies on a map, in sides of cells per cell.

    Parameters
    ----------
    class_index : int array, shape (n_rows, n_cols)
        -1 where unknown: neighbours count where both are known, and where there are none, the length is 0.
    """
    length = 0.0
    for axis in (0, 1):
        near, far = _apart(class_index[None], 1, axis)
        known = (near >= 0) & (far >= 0)
        length += (near != far)[known].sum() / max(1, known.sum())
    return float(length)


def contact_shares(maps: np.ndarray, n_facies: int) -> np.ndarray:
    """
    Return between which facies the boundaries of maps lie.

    Parameters
    ----------
    maps : int array, shape (n_maps, n_rows, n_cols)
        Class index, -1 where unknown.
    n_facies : int
        Number of facies.

    Returns
    -------
    array, shape (n_facies, n_facies)
        Share of the sides of cells where two facies meet, above the diagonal, where it sums to 1; all 0 without any.
    """
    counts = np.zeros((n_facies, n_facies))
    for axis in (0, 1):
        near, far = _apart(maps, 1, axis)
        met = (near >= 0) & (far >= 0) & (near != far)
        pair = np.minimum(near, far)[met].astype(np.int64) * n_facies + np.maximum(near, far)[met]
        counts += np.bincount(pair, minlength=n_facies**2).reshape(n_facies, n_facies)
    return counts / max(1.0, counts.sum())


def isolated_share(maps: np.ndarray, cells: np.ndarray) -> float:
    """
    Return the share of cells whose facies none of their 8 neighbours has.

    Parameters
    ----------
    maps : int array, shape (n_maps, n_rows, n_cols)
        Class index.
    cells : int array, shape (n_cells, 2)
        Row and column; cells on the border have fewer neighbours.
    """
    padded = np.pad(maps.astype(np.int64), ((0, 0), (1, 1), (1, 1)), constant_values=-1)
    row, col = cells.T + 1
    shifts = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if r or c]
    alike = [padded[:, row + r, col + c] == padded[:, row, col] for r, c in shifts]
    return float(1 - np.any(alike, axis=0).mean())


def _apart(maps: np.ndarray, lag: int, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the views of maps (n_maps, n_rows, n_cols) whose cells are a lag apart along an axis; empty beyond it."""
    near, far = [slice(None)] * 3, [slice(None)] * 3
    near[axis + 1], far[axis + 1] = slice(None, max(0, maps.shape[axis + 1] - lag)), slice(lag, None)
    return maps[tuple(near)], maps[tuple(far)]


@dataclass(frozen=True)
class Statistics:
    """
    What is measured of a set of maps.

    Parameters
    ----------
    proportions : array, shape (n_maps, n_facies)
        Share of each facies.
    n_bodies, euler : int array, shape (n_maps, n_facies)
        Number of bodies, whose cells may touch at corners, and the same less the number of holes.
    boundary : array, shape (n_maps,)
        Length of the boundaries between facies, in sides of cells per cell.
    lags : int array, shape (n_lags,)
        Cells apart.
    variogram, connectivity : array, shape (n_facies, 2, n_lags)
        Along axes 0 and 1 of a map, as far as half of it; NaN beyond, and where no pair is.
    agreement : array, shape (n_pairs,)
        Beyond chance, of each pair of maps.
    patterns : mapping of int to Histogram
        By step, over all maps.
    pattern_side : int
        Cells along a side of these patterns.
    patterns_of_maps : sequence of Histogram
        Of each map, up to 3 x 3 cells that are two cells apart.
    """

    proportions: np.ndarray
    n_bodies: np.ndarray
    euler: np.ndarray
    boundary: np.ndarray
    lags: np.ndarray
    variogram: np.ndarray
    connectivity: np.ndarray
    agreement: np.ndarray
    patterns: Mapping[int, Histogram]
    pattern_side: int
    patterns_of_maps: tuple[Histogram, ...]


def measure(maps: np.ndarray, n_facies: int, *, most_side: int = PATTERN_SIDE) -> Statistics:
    """
    Measure a set of maps.

    Parameters
    ----------
    maps : int array, shape (n_maps, n_rows, n_cols)
        Class index, -1 where unknown.
    n_facies : int
        Number of facies.
    most_side : int
        Cells along a side of the patterns, at most; fewer where facies are many.
    """
    maps = np.asarray(maps).astype(np.int64)
    bodies = np.stack([label_bodies(m, diagonal=True) for m in maps])
    facies = range(n_facies)
    lags = np.array([lag for lag in LAGS if lag < max(maps.shape[1:]) // 2])
    side = min(most_side, pattern_side(n_facies))

    def by_lag(statistic: Callable[..., float], *arrays: np.ndarray) -> np.ndarray:
        """Return a statistic by facies, axis and lag; NaN beyond half the map along an axis."""
        asked = np.full((n_facies, 2, len(lags)), np.nan)
        for k, axis, n in np.ndindex(asked.shape):
            if lags[n] < maps.shape[axis + 1] // 2:
                asked[k, axis, n] = statistic(*arrays, k, lags[n], axis)
        return asked

    return Statistics(
        proportions=np.array([[(m == k).sum() / max(1, (m >= 0).sum()) for k in facies] for m in maps]),
        n_bodies=np.array([[np.unique(b[m == k]).size for k in facies] for m, b in zip(maps, bodies)]),
        euler=np.array([[euler_number(m, k) for k in facies] for m in maps]),
        boundary=np.array([boundary_length(m) for m in maps]),
        lags=lags,
        variogram=by_lag(variogram, maps),
        connectivity=by_lag(connectivity, maps, bodies),
        agreement=agreement_of_pairs(maps, n_facies),
        patterns={step: pattern_histogram(maps, n_facies, side=side, step=step) for step in PATTERN_STEPS},
        pattern_side=side,
        patterns_of_maps=tuple(pattern_histogram(m[None], n_facies, side=min(3, side), step=2) for m in maps),
    )


def pattern_side(n_facies: int) -> int:
    """Return the side of the largest patterns, up to `PATTERN_SIDE`, whose number fits into 63 bits."""
    return next(side for side in range(PATTERN_SIDE, 0, -1) if n_facies ** (side * side) < 2**63)


@dataclass(frozen=True)
class Fidelity:
    """
    How far a set of maps is from a reference set.

    Parameters
    ----------
    pattern_divergence : mapping of int to float
        Jensen-Shannon divergence of the pattern histograms, in bits, by step.
    proportion_difference : array, shape (n_facies,)
        Mean share less that of the reference.
    bodies : array, shape (n_facies,)
        Mean number of bodies.
    variogram_difference, connectivity_difference : float
        Largest absolute difference over facies, axes and lags; where there is no pair at a lag, none.
    connectivity_misfit : float
        Of the pairs of cells of one facies, at all lags, the share by which those in one body are too few or too many.
    between, within : float
        Mean divergence of one map's patterns from those of the reference set, and from one another's.
    agreement, agreement_error : float
        Mean over pairs of maps, beyond chance, and its standard error by chance; NaN of a single map.
    """

    pattern_divergence: Mapping[int, float]
    proportion_difference: np.ndarray
    bodies: np.ndarray
    variogram_difference: float
    connectivity_difference: float
    connectivity_misfit: float
    between: float
    within: float
    agreement: float
    agreement_error: float


def _largest(differences: np.ndarray) -> float:
    """Return the largest absolute difference; NaN when there is none."""
    return float(np.nanmax(np.abs(differences))) if np.isfinite(differences).any() else float("nan")


def connectivity_misfit(measured: Statistics, reference: Statistics) -> float:
    """
    Return the mean difference of connectivity, each lag as heavy as it has pairs in the reference.

    NaN when there are none. Maps of both are of the same size.
    """
    difference = np.abs(measured.connectivity - reference.connectivity)
    known = np.isfinite(difference)
    # Of all cells those of a facies that have another one a lag apart: its share less what the variogram says.
    pairs = (reference.proportions.mean(axis=0)[:, None, None] - reference.variogram)[known].clip(0)
    return float((pairs * difference[known]).sum() / pairs.sum()) if pairs.sum() else float("nan")


def averaged(found: Sequence[Fidelity]) -> Fidelity:
    """Return the mean of several comparisons."""

    def mean(name: str) -> Any:
        return np.mean([getattr(fidelity, name) for fidelity in found], axis=0)

    numbers = {f.name: mean(f.name) for f in fields(Fidelity) if f.name != "pattern_divergence"}
    steps = found[0].pattern_divergence
    return Fidelity(
        pattern_divergence={step: float(np.mean([f.pattern_divergence[step] for f in found])) for step in steps},
        **numbers,
    )


def compare(measured: Statistics, reference: Statistics) -> Fidelity:
    """Return how far measured maps are from reference maps of the same size."""
    ours, theirs = measured.patterns_of_maps, reference.patterns_of_maps
    pairs = [(i, j) for i in range(len(ours)) for j in range(i)]
    kappa = measured.agreement
    return Fidelity(
        pattern_divergence={
            step: divergence_bits(measured.patterns[step], reference.patterns[step]) for step in measured.patterns
        },
        proportion_difference=measured.proportions.mean(axis=0) - reference.proportions.mean(axis=0),
        bodies=measured.n_bodies.mean(axis=0),
        variogram_difference=_largest(measured.variogram - reference.variogram),
        connectivity_difference=_largest(measured.connectivity - reference.connectivity),
        connectivity_misfit=connectivity_misfit(measured, reference),
        between=float(np.mean([divergence_bits(mine, other) for mine in ours for other in theirs])),
        within=float(np.mean([divergence_bits(ours[i], ours[j]) for i, j in pairs])) if pairs else float("nan"),
        agreement=float(kappa.mean()) if kappa.size else float("nan"),
        agreement_error=float(np.sqrt((kappa**2).mean() / kappa.size)) if kappa.size else float("nan"),
    )
