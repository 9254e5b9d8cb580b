"""What a model learns a training image from: windows of it, on lattices of several spacings, known here and there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .examples import make_examples, oriented, shares_refined, shares_started
from .kriging_features import SurveyKriging
from .lattice import Lattice
from .path import COARSER_SHARE
from .random_fields import draw_surveys
from .training import Examples
from .training_image import TrainingImage

_FEWEST_NODES, _MOST_NODES = 16, 64
"""Nodes along a side of a window, where the image has as many."""
_BATCH_CELLS = 16_000 * 9
"""Nodes of a batch times (4 + number of facies), about what a step costs."""
_STARTED_SHARE = 0.3
"""Of the batches: nothing coarser is known. The others are for the refiner."""
_STARTED_COARSEST_SHARE = 0.6
"""Of these that are on the coarsest lattice; finer ones are for grids too small, or data too many, to start there."""
_CORRECTED_SHARE = 0.25
"""Of the maps for the refiner: all nodes are known but those of a correction."""
_DATA_ONLY_SHARE = 0.3
"""Of the maps on lattices that the sampler starts from whose nodes are all unknown."""
_SURVEYED_SHARE = 0.6
"""Of the maps that have data."""
_TOLD_SHARE = 0.9
"""Of the maps with data on these lattices to which kriging is told; to the others it is not, as when data are many."""
_MOST_DATA_SHARE, _MOST_DATA = 0.05, 1000
"""Of a window's cells that are data, at most; and how many at most."""


@dataclass(frozen=True)
class ImageExamples:
    """
    Draws the batches that a model of one training image learns from; a batch is a function of its step.

    Parameters
    ----------
    image : TrainingImage
        What is learnt, or a set of images.
    n_levels : int
        Levels of lattices, 0 the finest; the sampler starts from the last one where the grid allows it.
    multiple : int
        Rows and columns of a lattice are multiples of this.
    seed : int
        Of all batches.
    """

    image: TrainingImage
    n_levels: int
    multiple: int
    seed: int

    def __call__(self, step: int) -> Examples:
        """Return the batch of a step of training, none of whose cells is held out."""
        rng = np.random.default_rng([self.seed, step])
        refines = rng.random() >= _STARTED_SHARE
        level = int(rng.choice(self.n_levels, p=_level_shares(self.n_levels, refines=refines)))
        largest = self.image.largest_window()
        windows = self._draw_windows(rng, 2**level, largest, held_out=False)
        if refines:
            share = shares_refined(len(windows), rng)
            return self._examples(windows, level, share, rng, refines=True, corrected_share=_CORRECTED_SHARE)
        return self._examples(windows, level, COARSER_SHARE * shares_started(len(windows), _DATA_ONLY_SHARE, rng), rng)

    @property
    def parts_of_path(self) -> list[tuple[int, bool, float]]:
        """
        The parts of the sampler's path, coarse to fine: level, whether a coarser lattice is known, share of the cells.

        Levels on which the held-out block has too few nodes are left out: the path starts on the next finer one then.
        """
        nodes = min(self.image.held_out.shape[-2:])
        levels = [level for level in range(self.n_levels) if nodes >= _FEWEST_NODES * 2**level] or [0]
        refined = [(level, True, (1 - COARSER_SHARE) * COARSER_SHARE**level) for level in reversed(levels)]
        return [(levels[-1], False, COARSER_SHARE ** len(levels)), *refined]

    def held_out(self, step: int, level: int = 0, *, refines: bool = True) -> Examples:
        """Return a batch of held-out windows without data in a part of the path; any share of it is done."""
        rng = np.random.default_rng([self.seed, 1 << 40, step, level])
        windows = self._draw_windows(rng, 2**level, self.image.held_out.shape[-2:], held_out=True)
        share = shares_refined(len(windows), rng) if refines else COARSER_SHARE * rng.random(len(windows))
        return self._examples(windows, level, share, rng, refines=refines, surveyed_share=0.0)

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
            windows.append(oriented(cells, rng, self.image.symmetry, transposed=transposed))
        return torch.stack(windows)

    def _examples(
        self,
        windows: Tensor,
        level: int,
        share: np.ndarray,
        rng: np.random.Generator,
        *,
        refines: bool = False,
        corrected_share: float = 0.0,
        surveyed_share: float = _SURVEYED_SHARE,
    ) -> Examples:
        """Return windows as they are known on a lattice of a level, which is laid anywhere, and at surveyed cells."""
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        n_maps, n_rows, n_cols = windows.shape
        n_facies, spacing = len(self.image.facies), 2**level
        most = max(1.0, min(_MOST_DATA, _MOST_DATA_SHARE * n_rows * n_cols))
        n_data = (most ** rng.random(n_maps)).astype(int) * (rng.random(n_maps) < surveyed_share)
        surveyed = draw_surveys(windows.clamp_min(0), torch.from_numpy(n_data), n_facies, generator) & (windows >= 0)
        position = torch.from_numpy(rng.integers(2 * spacing, size=(n_maps, 2)))
        lattice = Lattice.at((n_rows, n_cols), spacing, position, self.multiple)
        told = rng.random(n_maps) < (0 if refines else _TOLD_SHARE)
        surveys = [
            SurveyKriging.of_map(torch.where(of_map, window, -1), n_facies) if is_told else None
            for window, of_map, is_told in zip(windows, surveyed, told)
        ]
        return make_examples(
            windows,
            surveyed,
            lattice,
            n_facies,
            share,
            rng,
            generator,
            refines=refines,
            corrected_share=corrected_share,
            surveys=() if refines else surveys,
        )


def _level_shares(n_levels: int, *, refines: bool) -> np.ndarray:
    """Return the share of batches on each level (n_levels,): the finest decides on sharpness, the coarsest on shape."""
    if refines:
        weight = 0.6 ** np.arange(n_levels)
        return weight / weight.sum()
    finer = n_levels - 1
    return (
        np.array([(1 - _STARTED_COARSEST_SHARE) / finer] * finer + [_STARTED_COARSEST_SHARE]) if finer else np.ones(1)
    )
