"""What a model learns a training image from: windows of it, on lattices of several spacings, known here and there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

import numpy as np
import torch
from torch import Tensor

from ..contract.training_image import TrainingImage
from ..kriging.kriging_features import SurveyKriging
from ..measures.places import cut, draw_places
from ..model.lattice import Lattice
from ..model.network_config import NetworkConfig
from ..sampling.path import COARSER_SHARE
from .examples import make_examples, make_refined_examples, oriented, shares_started
from .loop import Examples
from .random_fields import draw_surveys

_FEWEST_NODES, _MOST_NODES = 16, 64
"""Nodes along a side of a window, where the image has as many."""
_BATCH_CELLS = 8_000 * 9
"""Nodes of a batch times (4 + number of facies), about what a step costs. Half as many steps with twice as many nodes
took as long, and left realizations 1.5 to 2 times as far from two images after four minutes, no farther after ten."""
_STARTED_SHARE, _STARTED_SHARE_WHOLE = 0.2, 0.5
"""Of the batches: nothing coarser is known. The others are for the refiner, which does less in images seen whole."""
_STARTED_COARSEST_SHARE = 0.6
"""Of these that are on the coarsest lattice; finer ones are for grids too small, or data too many, to start there."""
_CORRECTED_SHARE = 0.25
"""Of the maps for the refiner: all nodes are known but those of a correction."""
_MISLED_SHARE = 0.2
"""Of the observations in these maps: what is known around them is wrong."""
_STATES = 3
"""In which each window for the refiner is shown, which reads most of it once."""
_DATA_ONLY_SHARE = 0.3
"""Of the maps on lattices that the sampler starts from whose nodes are all unknown."""
_SURVEYED_SHARE, _SURVEYED_SHARE_REFINED = 0.6, 0.9
"""Of the maps that have data. Beside a node a datum tells the refiner little on coarse lattices, but all the same it
must not end as a cell on its own: that is learnt from many."""
_TOLD_SHARE = 0.9
"""Of the maps with data on these lattices to which kriging is told; to the others it is not, as when data are many."""
_MOST_DATA_SHARE, _MOST_DATA = 0.05, 1000
"""Of a window's cells that are data, at most; and how many at most."""
_FINEST_SURVEYED = 8
"""Where nodes are farther apart, surveys choose among squares of so many to a side of those between nodes."""
_SURVEY_SIDE, _SURVEY_SHARES, _SURVEY_FEWEST = 128, (0.001, 0.02), 8
"""Of windows that models are judged by: cells a side, at most; share of their cells that are data, from and to, on a
logarithmic scale; and how many at least."""


@dataclass(frozen=True)
class ImageExamples:
    """
    Draws the batches that a model of one training image learns from; a batch is a function of its step.

    Parameters
    ----------
    image : TrainingImage
        What is learnt, or a set of images.
    config : NetworkConfig
        Of the network: on which levels of lattices it is asked, and what it asks of their shape.
    seed : int
        Of all batches.
    refiner_only : bool
        All batches of the training are for the refiner.
    """

    image: TrainingImage
    config: NetworkConfig
    seed: int
    refiner_only: bool = False

    def __call__(self, step: int) -> Examples:
        """Return the batch of a step of training, none of whose cells is held out."""
        rng = np.random.default_rng([self.seed, step])
        started_share = _STARTED_SHARE_WHOLE if self.image.IS_WHOLE else _STARTED_SHARE
        refines = rng.random() >= (0.0 if self.refiner_only else started_share)
        shares = _level_shares(self.n_refined if refines else self.config.n_levels, refines=refines)
        level = int(rng.choice(len(shares), p=shares))
        largest = self.image.largest_window()
        windows = self._draw_windows(rng, 2**level, largest, held_out=False)
        if refines:
            how = {"corrected_share": _CORRECTED_SHARE, "misled_share": _MISLED_SHARE}
            return self._refined_examples(windows, level, rng, n_states=_STATES, **how)
        share = self._started_share * shares_started(len(windows), _DATA_ONLY_SHARE, rng)
        return self._examples(windows, level, share, rng)

    @property
    def n_refined(self) -> int:
        """Levels of lattices that are refined, 0 the finest."""
        return self.config.n_levels - 1 + self.config.n_started

    @property
    def _started_share(self) -> float:
        """Of the nodes of the lattice that the sampler starts on, those drawn before the first lattice is refined."""
        return float(COARSER_SHARE**self.config.n_started)

    @property
    def parts_of_path(self) -> list[tuple[int, bool, float]]:
        """
        The parts of the sampler's path, coarse to fine: level, whether a coarser lattice is known, share of the cells.

        Levels on which the held-out block has too few nodes are left out: the path starts on the next finer one then.
        """
        nodes, n_started = min(self.image.held_out.shape[-2:]), self.config.n_started
        levels = [k for k in range(self.n_refined) if nodes >= _FEWEST_NODES * 2**k or k < n_started]
        refined = [(level, True, (1 - COARSER_SHARE) * COARSER_SHARE**level) for level in reversed(levels)]
        return [(len(levels) - n_started, False, COARSER_SHARE ** len(levels)), *refined]

    def held_out(self, step: int, level: int = 0, *, refines: bool = True) -> Examples:
        """Return a batch of held-out windows without data in a part of the path; any share of it is done."""
        rng = np.random.default_rng([self.seed, 1 << 40, step, level])
        windows = self._draw_windows(rng, 2**level, self.image.held_out.shape[-2:], held_out=True)
        if refines:
            return self._refined_examples(windows, level, rng, n_states=1, surveyed_share=0.0)
        return self._examples(windows, level, self._started_share * rng.random(len(windows)), rng, surveyed_share=0.0)

    def unknown(self, step: int, level: int) -> Examples:
        """Return a batch on the lattice of a level of which nothing is known; held out where that is large enough."""
        rng = np.random.default_rng([self.seed, 1 << 41, step, level])
        held_out = min(self.image.held_out.shape[-2:]) >= _FEWEST_NODES * 2**level
        largest = self.image.held_out.shape[-2:] if held_out else self.image.largest_window()
        windows = self._draw_windows(rng, 2**level, largest, held_out=held_out)
        return self._examples(windows, level, np.zeros(len(windows)), rng, surveyed_share=0.0)

    def _draw_windows(
        self, rng: np.random.Generator, spacing: int, largest: tuple[int, ...], *, held_out: bool
    ) -> Tensor:
        """Draw windows (n_maps, n_rows, n_cols) of the image, each in one of the orientations that it may have."""
        transposes = self.image.symmetry == "rotations"
        limit = [min(largest)] * 2 if transposes else list(largest)
        most = [min(_MOST_NODES, side // spacing) for side in limit]
        fewest = _MOST_NODES if self.image.IS_WHOLE else _FEWEST_NODES
        shape = tuple(int(rng.integers(min(fewest, n), n + 1)) * spacing for n in most)
        n_nodes = shape[0] * shape[1] // spacing**2
        n_maps = int(np.clip(_BATCH_CELLS / (n_nodes * (4 + len(self.image.facies))), 4, 64))
        place = self.image.draw_held_out_window if held_out else self.image.draw_window
        windows = []
        for _ in range(n_maps):
            transposed = transposes and bool(rng.integers(2))
            window = place((shape[1], shape[0]) if transposed else (shape[0], shape[1]), rng)
            cells = torch.from_numpy(self.image.cut(window).astype(np.int64))
            if held_out and not self.image.IS_WHOLE:  # nobody can foretell a facies that is never seen
                cells[np.isin(cells, self.image.unlearnt)] = -1
            windows.append(oriented(cells, rng, self.image.symmetry, transposed=transposed))
        return torch.stack(windows)

    def _examples(
        self,
        windows: Tensor,
        level: int,
        share: np.ndarray,
        rng: np.random.Generator,
        *,
        surveyed_share: float = _SURVEYED_SHARE,
    ) -> Examples:
        """Return windows as they are known on a lattice that the sampler starts on, and at surveyed cells."""
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        surveyed, lattice = self._survey(windows, level, rng, generator, rng.random(len(windows)), surveyed_share)
        n_facies, told = len(self.image.facies), rng.random(len(windows)) < _TOLD_SHARE
        surveys = [
            SurveyKriging.of_map(torch.where(of_map, window, -1), n_facies) if is_told else None
            for window, of_map, is_told in zip(windows, surveyed, told)
        ]
        return make_examples(windows, surveyed, lattice, n_facies, share, rng, generator, surveys=surveys)

    def _refined_examples(
        self,
        windows: Tensor,
        level: int,
        rng: np.random.Generator,
        *,
        n_states: int,
        corrected_share: float = 0.0,
        misled_share: float = 0.0,
        surveyed_share: float = _SURVEYED_SHARE_REFINED,
    ) -> Examples:
        """Return windows as they are known on a lattice that is refined, and at surveyed cells."""
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        amount = np.sqrt(rng.random(len(windows)))
        surveyed, lattice = self._survey(windows, level, rng, generator, amount, surveyed_share)
        return make_refined_examples(
            windows,
            surveyed,
            lattice,
            len(self.image.facies),
            rng,
            n_states=n_states,
            corrected_share=corrected_share,
            misled_share=misled_share,
        )

    def _survey(
        self,
        windows: Tensor,
        level: int,
        rng: np.random.Generator,
        generator: torch.Generator,
        amount: np.ndarray,
        surveyed_share: float,
    ) -> tuple[Tensor, Lattice]:
        """Return the surveyed cells of windows, by amount (0 … 1, a logarithmic scale), and a lattice laid anywhere."""
        n_maps, n_rows, n_cols = windows.shape
        n_facies, spacing = len(self.image.facies), 2**level
        most = max(1.0, min(_MOST_DATA, _MOST_DATA_SHARE * n_rows * n_cols))
        n_data = (most**amount).astype(int) * (rng.random(n_maps) < surveyed_share)
        # Of large windows a survey chooses squares, and visits a cell in each.
        side = max(1, spacing // _FINEST_SURVEYED)
        seen = windows[:, ::side, ::side].clamp_min(0)
        of_map, *square = draw_surveys(seen, torch.from_numpy(n_data), n_facies, generator).nonzero(as_tuple=True)
        row, col = (side * at + torch.from_numpy(rng.integers(side, size=len(at))) for at in square)
        surveyed = torch.zeros(windows.shape, dtype=torch.bool)
        surveyed[of_map, row, col] = windows[of_map, row, col] >= 0
        position = torch.from_numpy(rng.integers(2 * spacing, size=(n_maps, 2)))
        lattice = Lattice.at((n_rows, n_cols), spacing, position, self.config.total_stride)
        return surveyed, lattice


def _level_shares(n_levels: int, *, refines: bool) -> np.ndarray:
    """Return the share of batches on each level (n_levels,): the finest decides on sharpness, the coarsest on shape."""
    if refines:
        weight = 0.8 ** np.arange(n_levels)
        return weight / weight.sum()
    finer = n_levels - 1
    return (
        np.array([(1 - _STARTED_COARSEST_SHARE) / finer] * finer + [_STARTED_COARSEST_SHARE]) if finer else np.ones(1)
    )


def seen_at_random(cells: np.ndarray, n_data: int, rng: np.random.Generator) -> np.ndarray:
    """
    Return what is known after some cells of a part of an image were seen, at random.

    Parameters
    ----------
    cells : int array, shape (n_rows, n_cols)
        Class index, -1 where the image has no facies.
    n_data : int
        How many are seen; one at least, and no more than have a facies.
    rng : numpy Generator
        Source of the places.

    Returns
    -------
    int64 array, shape (n_rows, n_cols)
        Class index where it was seen, -1 elsewhere.
    """
    known = np.full(cells.shape, -1, dtype=np.int64)
    seen = tuple(rng.permutation(np.argwhere(cells >= 0))[: max(1, n_data)].T)
    known[seen] = cells[seen]
    return known


def survey_windows(
    cells: np.ndarray, n_windows: int, rng: np.random.Generator
) -> Iterator[tuple[tuple[int, int], np.ndarray, np.ndarray]]:
    """
    Survey windows of a part of an image, as models are judged by: so many cells of each as users have data.

    Parameters
    ----------
    cells : int array, shape (n_rows, n_cols)
        Class index, -1 where the image has no facies.
    n_windows : int
        How many.
    rng : numpy Generator
        Source of places and numbers of data.

    Yields
    ------
    corner : (int, int)
        Row and column of the window's first cell.
    window : int64 array, shape (n_window_rows, n_window_cols)
        Class index in the window.
    known : int64 array, shape (n_window_rows, n_window_cols)
        Class index where it was seen, -1 elsewhere.
    """
    shape = min(_SURVEY_SIDE, cells.shape[0]), min(_SURVEY_SIDE, cells.shape[1])
    low, high = np.log(_SURVEY_SHARES)
    for place in draw_places(cells, shape, n_windows, rng):
        window = cut(cells, place, shape).astype(np.int64)
        n_data = max(_SURVEY_FEWEST, int(np.exp(rng.uniform(low, high)) * window.size))
        yield (int(place[0]), int(place[1])), window, seen_at_random(window, n_data, rng)
