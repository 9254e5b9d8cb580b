"""
The realizations of a model, in batches that fill a device.

A graphics card is filled by one batch. The cores of a processor work better on a batch each than together on one.
"""

from __future__ import annotations

from typing import Callable, Iterator

from torch import Tensor

from ..kriging.kriging_features import SurveyKriging
from ..machine.device import batch_size, batches_at_once, side_by_side
from ..model.facies_model import FaciesModel
from ..model.precision import drawing_predictor
from .sampler import sample
from .start import level_of, read_survey
from .visits import draw_stream


def simulate_in_batches(
    model: FaciesModel,
    known: Tensor,
    inside: Tensor,
    n_realizations: int,
    *,
    n_facies: int,
    quality: str,
    seed: int,
    survey: SurveyKriging | None = None,
    at_once: int | None = None,
    on_pass: Callable[[], None] = lambda: None,
) -> Iterator[Tensor]:
    """
    Yield realizations, a batch of them at a time.

    Parameters
    ----------
    model : FaciesModel
        On the device of the maps.
    known : int64 Tensor, shape (n_rows, n_cols)
        Hard data: class index, -1 elsewhere.
    inside : bool Tensor, shape (n_rows, n_cols)
        Cells to simulate.
    n_realizations : int
        How many.
    n_facies : int
        Number of facies.
    quality : str
        One of the model's schedules.
    seed : int
        Of all randomness: realization `i` is a function of seed, shape and `i`.
    survey : SurveyKriging, optional
        What kriging reads from the hard data; it is read where none is given.
    at_once : int, optional
        Maps of a batch; by default as many as fill the device or one of its cores.
    on_pass : callable
        Called before each pass of each batch, in any thread; what it raises ends the simulation.

    Yields
    ------
    int64 Tensor, shape (batch, n_rows, n_cols)
        Class index, -1 outside; the last batch may be smaller.
    """
    shape = known.shape[0], known.shape[1]
    n_maps = at_once or batch_size(known.numel(), n_facies, known.device)
    predictor = drawing_predictor(model.network, known.device)
    survey = survey or read_survey(model.network, known, n_facies)

    def simulate(start: int) -> Tensor:
        """Simulate a batch: the last one in full, too, for a realization must not depend on how many there are."""
        return sample(
            predictor,
            known,
            inside,
            [draw_stream(seed, start + i, shape, turns=model.turns) for i in range(n_maps)],
            n_facies=n_facies,
            schedule=model.schedules[quality],
            level=level_of(model.network.config, known),
            survey=survey,
            on_pass=on_pass,
        )

    starts = range(0, n_realizations, n_maps)
    n_workers = batches_at_once(n_maps * known.numel(), n_facies, known.device)
    for start, batch in zip(starts, side_by_side(simulate, starts, n_workers)):
        yield batch[: n_realizations - start]
