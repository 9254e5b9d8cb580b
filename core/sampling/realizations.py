"""
The realizations of a model, in batches that fill a device.

A graphics card is filled by one batch. The cores of a processor work better on a batch each than together on one.
"""

from __future__ import annotations

from typing import Callable, Iterator

from torch import Tensor

from ..machine.device import batch_size, batches_at_once, side_by_side
from ..model.facies_model import FaciesModel
from ..model.precision import drawing_predictor
from .sampler import sample
from .start import Start
from .visits import draw_stream


def simulate_in_batches(
    model: FaciesModel,
    start: Start,
    n_realizations: int,
    *,
    quality: str,
    seed: int,
    at_once: int | None = None,
    on_pass: Callable[[], None] = lambda: None,
) -> Iterator[Tensor]:
    """
    Yield realizations, a batch of them at a time.

    Parameters
    ----------
    model : FaciesModel
        On the device of the maps.
    start : Start
        Grid, hard data, and what the model starts from, by `Start.of`.
    n_realizations : int
        How many.
    quality : str
        One of the model's schedules.
    seed : int
        Of all randomness: realization `i` is a function of seed, shape and `i`.
    at_once : int, optional
        Maps of a batch; by default as many as fill the device or one of its cores.
    on_pass : callable
        Called before each pass of each batch, in any thread; what it raises ends the simulation.

    Yields
    ------
    int64 Tensor, shape (batch, n_rows, n_cols)
        Class index, -1 outside; the last batch may be smaller.
    """
    device = start.known.device
    n_maps = at_once or batch_size(start.n_fine_cells, start.n_facies, device)
    predictor = drawing_predictor(model.network, device)

    def simulate(first: int) -> Tensor:
        """Simulate a batch: the last one in full, too, for a realization must not depend on how many there are."""
        streams = [draw_stream(seed, first + i, start.shape, turns=model.turns) for i in range(n_maps)]
        how = {"schedule": model.schedules[quality], "asked": start.asked, "on_pass": on_pass, **start.how}
        return sample(predictor, start.known, start.inside, streams, **how)

    firsts = range(0, n_realizations, n_maps)
    n_workers = batches_at_once(n_maps * start.n_fine_cells, start.n_facies, device)
    for first, batch in zip(firsts, side_by_side(simulate, firsts, n_workers)):
        yield batch[: n_realizations - first]
