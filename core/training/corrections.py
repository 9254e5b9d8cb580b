"""
How often nodes are drawn anew on each level: as often as does least harm.

To draw nodes anew repairs what was drawn too early, or together. But a network that is not quite right, asked again and
again, draws maps nearer and nearer to what it believes by itself, and what the passes before knew is lost: thin bodies
and rare facies fade, or spread, bodies grow longer, and what data far away tell is forgotten. How soon that shows
depends on image and training. So it is measured, level by level from the coarsest on, on lattices that are simulated no
further than that level: by the facies' shares, by how alike nodes are at some lags, and by what hangs together.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Callable, Mapping

import numpy as np
import torch

from ..contract.training_image import TrainingImage
from ..measures.fidelity import connectivity_misfit, measure
from ..model.facies_model import FaciesModel
from ..model.precision import drawing_predictor
from ..model.schedule import Schedule
from ..sampling.sampler import sample
from ..sampling.start import Start
from ..sampling.visits import draw_stream

_FINEST = 2
"""The finest level that is measured: on finer ones nodes drawn anew change specks and edges, hardly shares."""
_TRIED = (0, 3, 12, 36), (0, 3, 12, 36, 120)
"""Passes that are tried on that level, and on all coarser ones, where they cost little."""
_SIDE_NODES, _SIDE_CELLS = 64, 512
"""Of the lattices that are simulated: sides in nodes, and at most in cells."""
_N_MAPS = 16
_LATTICES_OF_IMAGE = 16
"""That these are compared with, at most."""
_SHARE_THAT_MATTERS, _UNLIKE_THAT_MATTERS, _CONNECTED_THAT_MATTERS = 0.05, 0.1, 0.02
"""As bad as each other are so much of a facies' share too few or too many, such a part of the unlike pairs of nodes,
and of the pairs of a facies that lie in one body."""
_AS_GOOD = 0.2
"""So much more of such harm is as good: the fewest passes are taken then, for each forgets something of the data."""
_LEAST_UNLIKE = 1e-3


def measure_corrections(
    model: FaciesModel, image: TrainingImage, *, seed: int, on_pass: Callable[[], None] = lambda: None
) -> dict[str, Schedule]:
    """
    Choose how many passes draw the nodes of each level anew.

    Parameters
    ----------
    model : FaciesModel
        Of a training image; its schedules are those of `measured_schedules`.
    image : TrainingImage
        The image.
    seed : int
        Of the lattices that are simulated.
    on_pass : callable
        Called before each pass; what it raises ends the measuring.

    Returns
    -------
    dict of str to Schedule
        The model's schedules with these corrections: those of 'standard' were measured, 'fine' has the same and
        'preview' a third.
    """
    config, lattices = model.network.config, _Lattices(model, image, seed, on_pass)
    coarse: tuple[int, ...] = ()  # of the levels from the one that was measured last on
    for level in range(config.n_levels - 2 + config.n_started, _FINEST - 1, -1):
        harm = {n: lattices.harm(level, (*([0] * level), n, *coarse)) for n in _TRIED[level > _FINEST]}
        coarse = (_fewest_that_are_harmless(harm), *coarse)
    schedules = {}
    for quality, schedule in model.schedules.items():
        share = 3 if quality == "preview" else 1
        corrections = (*schedule.corrections[:_FINEST], *(n_passes // share for n_passes in coarse))
        schedules[quality] = replace(schedule, corrections=corrections) if coarse else schedule
    return schedules


class _Lattices:
    """Simulates lattices, and tells how far from the image they are."""

    def __init__(self, model: FaciesModel, image: TrainingImage, seed: int, on_pass: Callable[[], None]):
        self.model, self.image, self.seed, self.on_pass = model, image, seed, on_pass
        self.device = next(model.network.parameters()).device
        self.predictor = drawing_predictor(model.network, self.device)

    def harm(self, level: int, corrections: tuple[int, ...]) -> float:
        """Return what is wrong with lattices of a level, with so many passes that draw those of each level anew."""
        maps, of_image = self._simulate(level, corrections), self._of_image(2**level)
        n_rows, n_cols = np.minimum(maps.shape[1:], of_image.shape[1:])
        found, wanted = (measure(m[:, :n_rows, :n_cols], len(self.image.facies), most_side=1) for m in (maps, of_image))
        unlike, wanted_unlike = (np.maximum(of.variogram.sum(axis=0), _LEAST_UNLIKE) for of in (found, wanted))
        return float(
            np.abs(found.proportions.mean(axis=0) - self.image.proportions).max() / _SHARE_THAT_MATTERS
            + np.sqrt(np.mean(np.log(unlike / wanted_unlike) ** 2)) / _UNLIKE_THAT_MATTERS
            + np.nan_to_num(connectivity_misfit(found, wanted)) / _CONNECTED_THAT_MATTERS
        )

    def _simulate(self, level: int, corrections: tuple[int, ...]) -> np.ndarray:
        """Return the nodes of some lattices of a level, shape (n_maps, n_rows, n_cols)."""
        side, spacing = min(_SIDE_NODES * 2**level, _SIDE_CELLS), 2**level
        start = Start.of(self.model, torch.full((side, side), -1, device=self.device), len(self.image.facies))
        streams = [draw_stream(self.seed, index, start.shape, turns=self.model.turns) for index in range(_N_MAPS)]
        schedule = replace(self.model.schedules["standard"], corrections=corrections)
        cells = self.predictor, start.known, start.inside, streams
        how = {"schedule": schedule, "until": level, "asked": start.asked, "on_pass": self.on_pass, **start.how}
        maps = sample(*cells, **how).cpu().numpy()
        first = [[-(at + span.start) % spacing for at, span in zip(s.offset, start.asked)] for s in streams]
        return np.stack([of_map[row::spacing, col::spacing] for of_map, (row, col) in zip(maps, first)])

    def _of_image(self, spacing: int) -> np.ndarray:
        """Return lattices of the image, shape (n_lattices, n_rows, n_cols)."""
        rng = np.random.default_rng([self.seed, 2])
        offsets = rng.permutation(np.argwhere(np.ones((spacing, spacing))))[:_LATTICES_OF_IMAGE]
        n_rows, n_cols = (side // spacing for side in self.image.shape)
        cells = self.image.class_index
        return np.stack([cells[row::spacing, col::spacing][:n_rows, :n_cols] for row, col in offsets])


def _fewest_that_are_harmless(harm: Mapping[int, float]) -> int:
    """Return the fewest passes that do about as little harm as can be, given that of each number of passes."""
    return min(n for n, found in harm.items() if found <= min(harm.values()) + _AS_GOOD)
