"""
What it is worth to simulate a small grid as the middle of a wider one.

    python -m benchmarks.against_peers.small_grids --image IMAGE --model resources/models/delta.safetensors

Of grids of several sizes, alone and as the middle of a wider one: realizations without data beside crops of the
image, and from data in crops, the log loss of the probability layer and of the frequencies of facies in realizations.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from oadg.core.evaluation.crops import draw_crops
from oadg.core.machine.device import prepare_process
from oadg.core.measures.fidelity import Statistics, compare, measure
from oadg.core.measures.scores import log_loss_nats
from oadg.core.model.facies_model import FaciesModel
from oadg.core.sampling.probability import Question
from oadg.core.sampling.realizations import simulate_in_batches
from oadg.core.sampling.start import Start

from .draws import read_image

_N_MAPS, _N_CROPS, _N_COUNTED = 40, 200, 12
_CELLS_PER_DATUM = 500


class Losses(NamedTuple):
    """Log loss, nats, of the layer and of frequencies, in one crop."""

    layer: float
    counted: float


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a model of the image")
    parser.add_argument("--image", type=Path, required=True, help="training image: a raster of facies, or .npy")
    parser.add_argument("--sides", type=int, nargs="+", default=[48, 64])
    parser.add_argument("--crops", type=int, default=20, help="that are simulated from data")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    prepare_process()
    model, image = FaciesModel.load(options.model), read_image(options.image)
    held_out = image[-(image.shape[0] // 4) :, -(image.shape[1] // 4) :]
    print("| cells | grid | boundary (crops) | variograms off | share spread (crops) | layer | counted | s per map |")
    print("|---|---|---|---|---|---|---|---|")
    for side in options.sides:
        crops = draw_crops(image, (side, side), _N_CROPS, np.random.default_rng(options.seed))
        asked = draw_crops(held_out, (side, side), options.crops, np.random.default_rng(options.seed))
        wanted = measure(crops, len(model.facies), most_side=3)
        for widens, name in ((False, "alone"), (True, "in a wider one")):
            began = time.perf_counter()
            maps = simulate(model, np.full((side, side), -1), _N_MAPS, widens=widens, seed=options.seed)
            seconds = (time.perf_counter() - began) / _N_MAPS
            found = [losses(model, crop, number, widens=widens) for number, crop in enumerate(asked)]
            print(row(side, name, measure(maps, len(model.facies), most_side=3), wanted, found, seconds), flush=True)


def simulate(model: FaciesModel, known: np.ndarray, n: int, *, widens: bool, seed: int) -> np.ndarray:
    """Return realizations (n, n_rows, n_cols) given data (n_rows, n_cols), -1 elsewhere."""
    start = Start.of(model, torch.as_tensor(known), len(model.facies), widens=widens)
    return torch.cat(list(simulate_in_batches(model, start, n, quality="standard", seed=seed))).numpy()


def losses(model: FaciesModel, crop: np.ndarray, number: int, *, widens: bool) -> Losses:
    """Return what is lost at the cells of a crop (n_rows, n_cols) that were not surveyed."""
    n_facies, known = len(model.facies), np.full(crop.shape, -1, dtype=np.int64)
    cells = np.random.default_rng(number).permutation(crop.size)[: crop.size // _CELLS_PER_DATUM]
    known.flat[cells] = crop.flat[cells]
    hidden = known < 0
    start = Start.of(model, torch.as_tensor(known), n_facies, for_marginal=True, widens=widens)
    maps = simulate(model, known, _N_COUNTED, widens=widens, seed=number)
    counts = np.stack([(maps == facies).sum(axis=0) for facies in range(n_facies)])
    frequency = (counts + 0.5) / (_N_COUNTED + 0.5 * n_facies)
    both = Question(model, start, None).answer(), frequency
    return Losses(*(float(log_loss_nats(of[:, hidden], crop[hidden]).mean()) for of in both))


def row(side: int, name: str, found: Statistics, wanted: Statistics, of_crops: list[Losses], seconds: float) -> str:
    """Return a row of the table."""
    layer, counted = np.mean(of_crops, axis=0)
    spreads = (float(of.proportions.std(axis=0).mean()) for of in (found, wanted))
    return (
        f"| {side} x {side} | {name} | {found.boundary.mean():.3f} ({wanted.boundary.mean():.3f}) | "
        f"{compare(found, wanted).variogram_difference:.3f} | {next(spreads):.3f} ({next(spreads):.3f}) | "
        f"{layer:.3f} | {counted:.3f} | {seconds:.2f} |"
    )


if __name__ == "__main__":
    main()
