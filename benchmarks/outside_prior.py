"""
Maps and surveys that the universal model was not trained on: none of these mechanisms is part of its prior.

The prior of `core/training/random_fields.py` is made of Gaussian fields and Voronoi mosaics. Here maps come from
objects, channels, Markov random fields, drainage, folds and faults, zonation, polynomials, ridges and parcels, and
surveys from explicit designs of fieldwork. A mechanism takes a generator, a shape and a number of facies.
Sources: Lantuéjoul 2002, *Geostatistical Simulation* (Boolean models); Besag 1974, *JRSS B* 36 (Markov random fields);
Scheidegger 1967, *Hydrological Sciences* 12 (drainage); Webster and Oliver 2007, *Geostatistics for Environmental
Scientists* (nested surveys).
"""

from __future__ import annotations

import itertools
from typing import Callable, Mapping

import numpy as np

Shape = tuple[int, int]
Mechanism = Callable[[np.random.Generator, Shape, int], np.ndarray]
Design = Callable[[np.random.Generator, np.ndarray], np.ndarray]

_MOST_FACIES = 17


def draw_map(rng: np.random.Generator, kind: str, shape: Shape, n_facies: int) -> np.ndarray:
    """
    Draw a categorical map of a kind that shows two facies at least.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all randomness.
    kind : str
        One of `MECHANISMS`.
    shape : (int, int)
        Rows and columns.
    n_facies : int
        Most facies on the map, at least 2.

    Returns
    -------
    int64 array, shape (n_rows, n_cols)
        Class index, 0 … n_facies - 1.
    """
    while True:
        facies = MECHANISMS[kind](rng, shape, n_facies)
        if facies.min() < facies.max():
            return facies.astype(np.int64)


def draw_n_facies(rng: np.random.Generator) -> int:
    """Return a number of facies from 2 to 17, in proportion to its inverse: maps of few facies are more common."""
    numbers = np.arange(2, _MOST_FACIES + 1)
    return int(rng.choice(numbers, p=(1 / numbers) / (1 / numbers).sum()))


def draw_cells(rng: np.random.Generator, design: str, facies: np.ndarray, n_data: int) -> np.ndarray:
    """
    Visit cells of a map by a design of fieldwork.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all randomness.
    design : str
        One of `DESIGNS`.
    facies : int array, shape (n_rows, n_cols)
        The map.
    n_data : int
        Number of different cells to visit, at most as many as there are.

    Returns
    -------
    bool array, shape (n_rows, n_cols)
        True at `n_data` visited cells.
    """
    visited = np.zeros(facies.size, dtype=bool)
    for attempt in itertools.count():
        # A design whose places are used up, such as clusters that are full, is completed at random.
        places = DESIGNS[design](rng, facies) if attempt < 1000 else _uniform(rng, facies)
        cells = np.floor(places).astype(int)
        cells = cells[((cells >= 0) & (cells < facies.shape)).all(axis=1)]
        numbers = np.ravel_multi_index(tuple(cells.T), facies.shape)
        first = np.sort(np.unique(numbers, return_index=True)[1])
        new = numbers[first][~visited[numbers[first]]]
        visited[new[: n_data - visited.sum()]] = True
        if visited.sum() >= n_data:
            break
    return visited.reshape(facies.shape)


def _axes(rng: np.random.Generator, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates along and across a random direction, in units of the shorter side, centred on the map."""
    row, col = ((np.arange(n) - n / 2) / min(shape) for n in shape)
    angle = np.pi * rng.random()
    along = row[:, None] * np.sin(angle) + col[None, :] * np.cos(angle)
    across = row[:, None] * np.cos(angle) - col[None, :] * np.sin(angle)
    return along, across


def _boolean(rng: np.random.Generator, shape: Shape, n_facies: int) -> np.ndarray:
    """Scatter ellipses of each facies over a background; later facies lie on top, or all are shuffled."""
    facies = np.zeros(shape, dtype=int)
    along, across = _axes(rng, shape)
    size = 0.04 * 6 ** rng.random()
    flatness = 5 ** rng.random()
    n_each = max(1, int(rng.uniform(0.6, 1.6) / (np.pi * size**2 * (n_facies - 1)) * along.size / min(shape) ** 2))
    order = np.repeat(np.arange(1, n_facies), min(n_each, 400))
    if rng.random() < 0.5:
        rng.shuffle(order)
    for k in order:
        u, v = (rng.uniform(axis.min(), axis.max()) for axis in (along, across))
        turn, half = 0.3 * rng.standard_normal(), size * np.exp(0.3 * rng.standard_normal())
        du, dv = along - u, across - v
        first, second = du * np.cos(turn) + dv * np.sin(turn), dv * np.cos(turn) - du * np.sin(turn)
        facies[first**2 / flatness + second**2 * flatness < half**2] = k
    return facies


def _potts(rng: np.random.Generator, shape: Shape, n_facies: int) -> np.ndarray:
    """Sample a Potts field by Gibbs sweeps over a chequerboard, on cells of one to four grid cells a side."""
    coarse = int(rng.integers(1, 5))
    small = tuple(-(-n // coarse) + 2 for n in shape)
    facies = rng.integers(0, n_facies, small)
    strength = np.log(1 + np.sqrt(n_facies)) * rng.uniform(0.95, 1.3) * np.array([1, rng.uniform(0.7, 1.0)])
    rng.shuffle(strength)
    even = np.indices(small).sum(axis=0) % 2 == 0
    number = np.arange(n_facies)[:, None, None]
    for sweep in range(2 * int(rng.integers(30, 120))):
        like = facies == number
        energy = strength[0] * (np.roll(like, 1, 1) + 1.0 * np.roll(like, -1, 1))
        energy += strength[1] * (np.roll(like, 1, 2) + 1.0 * np.roll(like, -1, 2))
        drawn = (energy + rng.gumbel(size=energy.shape)).argmax(axis=0)
        facies = np.where(even == (sweep % 2 == 0), drawn, facies)
    return np.kron(facies, np.ones((coarse, coarse), dtype=int))[: shape[0], : shape[1]]


def _channels(rng: np.random.Generator, shape: Shape, n_facies: int) -> np.ndarray:
    """Lay meandering channels with levees on a flood plain; younger ones cut older ones and differ in their fill."""
    along, across = _axes(rng, shape)
    facies = np.zeros(shape, dtype=int)
    width = 0.015 * 4 ** rng.random()
    for _ in range(int(rng.integers(3, 10))):
        length, size = rng.uniform(0.3, 0.9), rng.uniform(0.02, 0.15)
        wave = 2 * np.pi * (along / length + rng.random())
        centre = rng.uniform(across.min(), across.max()) + 0.15 * rng.standard_normal() * along
        centre = centre + size * (np.sin(wave) + 0.35 * np.sin(2.1 * wave + 6 * rng.random()))
        slope = size * 2 * np.pi / length * np.cos(wave)
        distance = np.abs(across - centre) / np.sqrt(1 + slope**2)
        if n_facies > 2:
            facies[distance < width * rng.uniform(1.6, 2.6)] = 1
        facies[distance < width] = rng.integers(2, n_facies) if n_facies > 2 else 1
    return facies


def _folds(rng: np.random.Generator, shape: Shape, n_facies: int) -> np.ndarray:
    """Fold a sequence of beds, round or in chevrons, and offset it along faults."""
    along, across = _axes(rng, shape)
    depth = across.copy()
    for _ in range(int(rng.integers(1, 4))):
        phase = 2 * np.pi * (along / rng.uniform(0.3, 1.5) + 0.3 * across * rng.standard_normal() + rng.random())
        wave = np.arcsin(np.sin(phase)) * 2 / np.pi if rng.random() < 0.3 else np.sin(phase)
        depth += rng.uniform(0.02, 0.15) * wave
    for _ in range(int(rng.integers(0, 4))):
        one, other = _axes(rng, shape)
        depth += rng.uniform(-0.25, 0.25) * (one + 0.1 * np.sin(6 * other) > rng.uniform(-0.4, 0.4))
    n_beds = int(rng.integers(max(4, n_facies), max(6, n_facies) * 2))
    top = np.cumsum(rng.gamma(2.0, size=n_beds))
    steps = rng.integers(1, n_facies, n_beds + 1)  # neighbouring beds differ
    bed = np.searchsorted(top / top[-1], (depth - depth.min()) / np.ptp(depth))
    return (np.cumsum(steps) % n_facies)[np.minimum(bed, n_beds)]


def _halos(rng: np.random.Generator, shape: Shape, n_facies: int) -> np.ndarray:
    """Surround a few irregular intrusions with zones that follow each other outwards."""
    along, across = _axes(rng, shape)
    nearest = np.full(shape, np.inf)
    for _ in range(int(rng.integers(1, 6))):
        u, v = along - rng.uniform(-0.5, 0.5), across - rng.uniform(-0.5, 0.5)
        angle, lobes = np.arctan2(v, u), np.zeros(shape)
        for harmonic in (2, 3, 5):
            lobes += 0.25 / harmonic * rng.standard_normal() * np.cos(harmonic * angle + 6 * rng.random())
        nearest = np.minimum(nearest, np.hypot(u, v * rng.uniform(1, 2)) * np.exp(lobes) / rng.uniform(0.6, 1.6))
    cuts = np.sort(rng.random(n_facies - 1)) ** rng.uniform(0.6, 1.2)
    return np.searchsorted(np.quantile(nearest, cuts), nearest)


def _rivers(rng: np.random.Generator, shape: Shape, n_facies: int) -> np.ndarray:
    """Let cells drain downhill at random until streams join; valleys, terraces and slopes follow by distance."""
    n_rows, n_cols = shape
    flow = np.ones(n_cols)
    stream = np.zeros(shape, dtype=bool)
    least = 150 * 10 ** rng.random()
    for row in range(-n_rows, n_rows):  # the first half, north of the map, brings streams to its border
        to = (np.arange(n_cols) + rng.integers(-1, 2, n_cols)).clip(0, n_cols - 1)
        flow = 1 + np.bincount(to, flow, n_cols)
        if row >= 0:
            stream[row] = flow > least
    distance, reached = np.zeros(shape), stream
    for _ in range(max(shape)):
        distance += ~reached
        grown = reached.copy()
        grown[1:] |= reached[:-1]
        grown[:-1] |= reached[1:]
        grown[:, 1:] |= reached[:, :-1]
        grown[:, :-1] |= reached[:, 1:]
        reached = grown
    facies = np.searchsorted(np.quantile(distance, np.sort(rng.uniform(0.15, 0.95, n_facies - 1))), distance)
    return facies if rng.random() < 0.5 else facies[::-1]


def _polynomials(rng: np.random.Generator, shape: Shape, n_facies: int) -> np.ndarray:
    """Let the largest of K random cubics and sigmoids win: smooth boundaries without noise."""
    along, across = _axes(rng, shape)
    scores = []
    for _ in range(n_facies):
        score = 0.5 * rng.standard_normal() + sum(
            rng.standard_normal() * (2 * along) ** p * (2 * across) ** q
            for p in range(4)
            for q in range(4 - p)
            if p + q
        )
        for _ in range(3):
            direction = 2 * np.pi * rng.random()
            position = along * np.cos(direction) + across * np.sin(direction) - rng.uniform(-0.5, 0.5)
            score = score + 2 * rng.standard_normal() * np.tanh(position / rng.uniform(0.03, 0.4))
        scores.append(score)
    return np.argmax(scores, axis=0)


def _ridges(rng: np.random.Generator, shape: Shape, n_facies: int) -> np.ndarray:
    """Cut the phase of curved ridges, or of a spiral, into bands: stoss, crest, lee, hollow."""
    along, across = _axes(rng, shape)
    if rng.random() < 0.35:
        u, v = along - rng.uniform(-0.3, 0.3), across - rng.uniform(-0.3, 0.3)
        phase = rng.integers(1, 4) * np.arctan2(v, u) / (2 * np.pi) + rng.uniform(2, 5) * np.log(np.hypot(u, v) + 0.15)
    else:
        phase = across / rng.uniform(0.12, 0.5) + rng.uniform(0, 0.4) * np.sin(
            2 * np.pi * (along / rng.uniform(0.2, 0.8) + 0.4 * across)
        )
        phase = phase + rng.uniform(0, 0.5) * np.abs(np.sin(2 * np.pi * along / rng.uniform(0.5, 1.2)))
    share = rng.gamma(2.0, size=n_facies)
    return np.searchsorted(np.cumsum(share / share.sum())[:-1], phase % 1)


def _parcels(rng: np.random.Generator, shape: Shape, n_facies: int) -> np.ndarray:
    """Divide the map into rectangles again and again, and give each a facies."""
    facies = np.zeros(shape, dtype=int)
    smallest = rng.uniform(0.04, 0.2) * min(shape)
    share = rng.dirichlet(np.full(n_facies, 2.0))
    waiting = [(0, shape[0], 0, shape[1])]
    while waiting:
        top, bottom, left, right = waiting.pop()
        height, width = bottom - top, right - left
        if max(height, width) < 2 * smallest or (height * width < 0.1 * facies.size and rng.random() < 0.15):
            facies[top:bottom, left:right] = rng.choice(n_facies, p=share)
            continue
        cut = rng.uniform(0.3, 0.7)
        if height > width:
            middle = top + int(cut * height)
            waiting += [(top, middle, left, right), (middle, bottom, left, right)]
        else:
            middle = left + int(cut * width)
            waiting += [(top, bottom, left, middle), (top, bottom, middle, right)]
    return facies


MECHANISMS: Mapping[str, Mechanism] = {
    "Boolean objects": _boolean,
    "Potts field": _potts,
    "meandering channels": _channels,
    "folds and faults": _folds,
    "halos": _halos,
    "river network": _rivers,
    "polynomials": _polynomials,
    "ridges and spirals": _ridges,
    "parcels": _parcels,
}
"""Kinds of maps."""


def _uniform(rng: np.random.Generator, facies: np.ndarray) -> np.ndarray:
    """Anywhere."""
    return rng.random((facies.size, 2)) * facies.shape


def _stratified(rng: np.random.Generator, facies: np.ndarray) -> np.ndarray:
    """On a grid of squares, once in each: as many squares as it takes, in random order."""
    side = rng.uniform(2.5, 9)
    corner = np.stack(np.meshgrid(*(np.arange(0, n, side) for n in facies.shape), indexing="ij"), axis=-1).reshape(
        -1, 2
    )
    return rng.permutation(corner + side * rng.uniform(0.1, 0.9, corner.shape))


def _clustered(rng: np.random.Generator, facies: np.ndarray) -> np.ndarray:
    """Around parents (Neyman and Scott): outcrops, towns."""
    spread = rng.uniform(0.01, 0.06) * min(facies.shape)
    parent = rng.random(2) * facies.shape
    return parent + spread * rng.standard_normal((1 + rng.poisson(12), 2))


def _roads(rng: np.random.Generator, facies: np.ndarray) -> np.ndarray:
    """Along winding roads, at regular stops."""
    heading = 2 * np.pi * rng.random() + np.cumsum(0.15 * rng.standard_normal(200))
    stops = np.stack([np.cos(heading), np.sin(heading)], axis=1).cumsum(axis=0)
    return (rng.random(2) * facies.shape + stops - stops[100])[:: int(rng.integers(1, 5))]


def _boreholes(rng: np.random.Generator, facies: np.ndarray) -> np.ndarray:
    """Down one straight column, every cell or every few: a section between boreholes."""
    rows = np.arange(0, facies.shape[0] * rng.uniform(0.4, 1.0), rng.integers(1, 4))
    return np.stack([rows, np.full(len(rows), rng.integers(facies.shape[1]))], axis=1)


def _preferential(rng: np.random.Generator, facies: np.ndarray) -> np.ndarray:
    """Ten times more often on the facies that are sought, which are the rarer half of them."""
    number = np.bincount(facies.ravel())
    sought = number <= np.median(number[number > 0])
    places = _uniform(rng, facies)
    row, col = np.floor(places).astype(int).T
    return places[sought[facies[row, col]] | (rng.random(len(places)) < 0.1)]


def _nested(rng: np.random.Generator, facies: np.ndarray) -> np.ndarray:
    """Around a main station, in pairs at distances that shrink threefold from stage to stage."""
    places, reach = rng.random((1, 2)) * facies.shape, 0.2 * min(facies.shape)
    while reach > 1:
        angle = 2 * np.pi * rng.random(len(places))
        places = np.concatenate([places, places + reach * np.stack([np.cos(angle), np.sin(angle)], axis=1)])
        reach /= 3
    return places


DESIGNS: Mapping[str, Design] = {
    "uniform": _uniform,
    "stratified": _stratified,
    "clustered": _clustered,
    "roads": _roads,
    "boreholes": _boreholes,
    "preferential": _preferential,
    "nested": _nested,
}
"""Designs of fieldwork: each gives places (row, col) to visit, some more with every call, a few perhaps off the map."""
