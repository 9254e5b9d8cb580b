"""Examples to learn from: maps whose nodes are known as they are while the sampler works."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np
import torch
from torch import Tensor

from ..kriging.kriging_features import SurveyKriging
from ..model.hard_data import HardData
from ..model.lattice import Lattice
from ..sampling.path import COARSER_SHARE, dispersed_rank
from .loop import Examples
from .objective import uniform_rank_known

_RANDOM_PREFIX_SHARE = 0.1
"""Of the maps of which some nodes are simulated already: these nodes lie at random, not dispersed."""
_MISLED_REACH = 0.5, 3.0
"""How far, in spacings of the lattice, nodes are wrong around an observation."""
_MISLED_DRAWS = 8
"""Nodes that are looked at for another facies, as some lie beyond the image."""


def make_examples(
    windows: Tensor,
    surveyed: Tensor,
    lattice: Lattice,
    n_facies: int,
    share: np.ndarray,
    rng: np.random.Generator,
    generator: torch.Generator,
    *,
    present: Tensor | None = None,
    surveys: Sequence[SurveyKriging | None] = (),
) -> Examples:
    """
    Return windows as they are known on a lattice: at surveyed cells, and at nodes that are simulated already.

    Parameters
    ----------
    windows : int64 Tensor, shape (batch, n_rows, n_cols)
        Class index of every cell, -1 where there is none.
    surveyed : bool Tensor, shape (batch, n_rows, n_cols)
        Cells whose facies is observed.
    lattice : Lattice
        Which cells are nodes.
    n_facies : int
        Number of facies.
    share : array, shape (batch,)
        Share of the nodes of each map that are simulated already.
    rng, generator : numpy and torch generators
        Sources of randomness.
    present : bool Tensor, shape (batch, n_facies), optional
        Which facies each map has; nodes of others are not asked. All of them by default.
    surveys : sequence of SurveyKriging or None
        What kriging reads from the observations of each map; empty for a network that does not take it.
    """
    told = _without_simulated(windows, surveyed, lattice, n_facies)
    possible = told.inside
    if present is None:
        present = told.present
    else:
        possible = possible & present.gather(1, told.truth.clamp_min(0).flatten(1)).view_as(possible)
    simulated = _simulated_nodes(lattice.shape, possible, share, rng, generator)
    class_index = torch.where(simulated, told.truth, told.class_index)
    return told._replace(
        class_index=class_index,
        present=present,
        unknown=possible & (class_index < 0),
        features=lattice.kriging_features(surveys, n_facies) if surveys else None,
    )


def make_refined_examples(
    windows: Tensor,
    surveyed: Tensor,
    lattice: Lattice,
    n_facies: int,
    rng: np.random.Generator,
    *,
    n_states: int,
    corrected_share: float = 0.0,
    misled_share: float = 0.0,
) -> Examples:
    """
    Return windows as they are known on a lattice that is refined, whose next coarser one, any of four, is known.

    Known are surveyed cells, all nodes of that one, and any share of the others. What is known around an observation
    may be wrong, as it is when a simulation went wrong before: then the observation is what to go by. Cascades of
    networks are trained on spoilt inputs for the same reason (Ho et al. 2021, arXiv 2106.15282, section 4).

    Parameters
    ----------
    windows, surveyed, lattice, n_facies, rng
        As `make_examples` takes them.
    n_states : int
        How often each window is shown, with other nodes known; shares are stratified.
    corrected_share : float
        Of the maps: of the other nodes all are known but those of a correction.
    misled_share : float
        Of the observations: known nodes around them have another facies than they should.
    """
    told = _without_simulated(windows, surveyed, lattice, n_facies)
    shown = torch.where(told.class_index < 0, _mislead(told, misled_share, rng), told.class_index)
    coarser = torch.zeros_like(told.inside)
    of_states = []
    share = (
        COARSER_SHARE + (1 - COARSER_SHARE) * (np.arange(n_states) + rng.random((len(windows), n_states))) / n_states
    )
    for index, first in enumerate(rng.integers(2, size=(len(windows), 2))):
        coarser[index, first[0] :: 2, first[1] :: 2] = True
        for state in range(n_states):
            offset = tuple(int(n) for n in -first % 2 + 2 * rng.integers(2**16, size=2))
            rank = dispersed_rank(lattice.shape, rng, offset=(offset[0], offset[1]))
            simulated = torch.as_tensor(rank < share[index, state] * rank.size, device=windows.device)
            if rng.random() < corrected_share:
                row, col = (first + (int(rng.integers(1, 4)) >> np.array([1, 0]))) % 2
                simulated = torch.ones_like(simulated)
                simulated[row::2, col::2] = False
            of_states.append(simulated | coarser[index])
    known_before = torch.where(coarser & told.inside, shown, told.class_index)
    told, shown = Examples(*(_repeated(value, n_states) for value in told)), _repeated(shown, n_states)
    class_index = torch.where(torch.stack(of_states) & told.inside, shown, told.class_index)
    unknown = told.inside & (class_index < 0)
    return told._replace(class_index=class_index, unknown=unknown, coarser=known_before)


def _without_simulated(windows: Tensor, surveyed: Tensor, lattice: Lattice, n_facies: int) -> Examples:
    """Return windows as they are known on a lattice at surveyed cells alone."""
    batch, row, col = surveyed.nonzero(as_tuple=True)
    truth, inside = lattice.gather(windows)
    inside = inside & (truth >= 0)
    class_index, _ = lattice.gather(torch.where(surveyed, windows, -1))
    return Examples(
        class_index=class_index,
        inside=inside,
        data=lattice.attach(batch, row, col, windows[batch, row, col]),
        n_facies=n_facies,
        present=torch.ones(len(windows), n_facies, dtype=torch.bool, device=windows.device),
        truth=truth,
        unknown=inside & (class_index < 0),
        level=lattice.spacing.bit_length() - 1,
    )


def _mislead(told: Examples, share: float, rng: np.random.Generator) -> Tensor:
    """Return the truth of maps, where a share of the data have no node of their own facies around them any more."""
    shown = told.truth.clone()
    n_rows, n_cols = shown.shape[1:]
    data = told.data
    reach = torch.from_numpy(rng.uniform(*_MISLED_REACH, size=len(data.batch)).astype(np.float32))
    place = torch.from_numpy(rng.integers(n_rows * n_cols, size=(len(data.batch), _MISLED_DRAWS)))
    of_places = told.truth.flatten(1)[data.batch[:, None], place]
    first = (of_places >= 0).int().argmax(dim=1, keepdim=True)
    instead = of_places.gather(1, first)[:, 0]  # of any node: facies are as frequent as in the map
    chosen = torch.from_numpy(rng.random(len(data.batch)) < share) & (instead != data.class_index) & (instead >= 0)
    farthest = int(_MISLED_REACH[1] + 0.5)
    for down in range(-farthest, farthest + 1):
        for right in range(-farthest, farthest + 1):
            row, col = data.row + down, data.col + right
            near = (data.south - down) ** 2 + (data.east - right) ** 2 < reach**2
            near &= chosen & (row >= 0) & (row < n_rows) & (col >= 0) & (col < n_cols)
            node = data.batch[near], row[near], col[near]
            shown[node] = torch.where(told.truth[node] == data.class_index[near], instead[near], shown[node])
    return shown


def _repeated(value: Any, n: int) -> Any:
    """Return what an `Examples` holds with each map n times, one after the other."""
    if isinstance(value, Tensor):
        return value.repeat_interleave(n, dim=0)
    if isinstance(value, HardData):
        batch, *others = (field.repeat_interleave(n) for field in value)
        within = torch.arange(n, device=batch.device).repeat(len(value.batch))
        return HardData(batch * n + within, *others)
    return value


def oriented(window: Tensor, rng: np.random.Generator, symmetry: str = "rotations", *, transposed: bool) -> Tensor:
    """
    Return a window in one of the orientations that a symmetry allows.

    Parameters
    ----------
    window : Tensor, shape (n_rows, n_cols)
        A window of a map; of n_cols rows when it is to be transposed.
    rng : numpy Generator
        Chooses among the orientations.
    symmetry : {'none', 'half turn', 'flips', 'rotations'}
        As a `TrainingImage` has it.
    transposed : bool
        Whether rows and columns change places, which 'rotations' alone allows.
    """
    if transposed:
        window = window.T
    if symmetry == "none":
        return window
    if symmetry == "half turn":
        return window.flip((0, 1)) if rng.integers(2) else window
    return window.flip([axis for axis in (0, 1) if rng.integers(2)])


def shares_refined(n_maps: int, rng: np.random.Generator) -> np.ndarray:
    """Return the share of known nodes (n_maps,) on lattices that are refined: the next coarser lattice, and more."""
    return COARSER_SHARE + (1 - COARSER_SHARE) * rng.random(n_maps)


def shares_started(n_maps: int, data_only_share: float, rng: np.random.Generator) -> np.ndarray:
    """
    Return the share of known nodes (n_maps,) on the lattice that the sampler starts from.

    Parameters
    ----------
    n_maps : int
        Number of maps.
    data_only_share : float
        Of the maps: none of their nodes is simulated yet. Of the others, three in ten have few.
    rng : numpy Generator
        Source of randomness.
    """
    share = np.where(rng.random(n_maps) < 0.3, 0.002 * 100 ** rng.random(n_maps), rng.random(n_maps))
    return np.where(rng.random(n_maps) < data_only_share, 0.0, share)


def _simulated_nodes(
    shape: tuple[int, int],
    possible: Tensor,
    share: np.ndarray,
    rng: np.random.Generator,
    generator: torch.Generator,
) -> Tensor:
    """Choose the nodes simulated so far: a prefix of a dispersed order, or, in some maps, random ones."""
    n_maps = len(possible)
    rank = np.stack([dispersed_rank(shape, rng) for _ in range(n_maps)])
    prefix = torch.as_tensor(rank < share[:, None, None] * rank[0].size, device=possible.device)
    at_random = (rng.random(n_maps) < _RANDOM_PREFIX_SHARE) & (share > 0)
    random = torch.as_tensor(at_random, device=possible.device)
    return torch.where(random[:, None, None], uniform_rank_known(possible, generator), prefix) & possible
