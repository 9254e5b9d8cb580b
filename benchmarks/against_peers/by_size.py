"""
Does a model look like its training image on grids of every size? Realizations beside crops of the image.

    make bench-sizes IMAGE=ti.png MODEL=resources/models/channels.safetensors

Sizes are given as SIDE:MAPS. The reference is the whole image, in tiles of that size; as many crops of it as there are
maps tell what chance alone makes of each figure. Last, data on maps of the smallest size: how many of them end as
single cells of their facies.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from oadg.core.evaluation.crops import draw_crops
from oadg.core.machine.device import prepare_process
from oadg.core.measures.fidelity import compare, isolated_share, measure
from oadg.core.model.facies_model import FaciesModel
from oadg.core.sampling.realizations import simulate_freely

from .draws import Draw, read_image
from .methods import call_model

SIZES = ("250:40", "500:12", "1000:4")
_BLOCKS, _DATA, _MAPS = 12, 50, 8
"""For isolated data: blocks of the image, data in each, and realizations given these."""


def main() -> None:
    """Print the table, a row for realizations and one for crops of each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, required=True, help="training image: a raster of facies, or .npy")
    parser.add_argument("--model", type=Path, required=True, help="model file of this image")
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="SIDE:MAPS")
    parser.add_argument("--quality", default="standard")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=20_261_128)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    prepare_process()
    model, image = FaciesModel.load(options.model), read_image(options.image)
    sizes = [(int(side), int(n_maps)) for side, n_maps in (size.split(":") for size in options.sizes)]
    print(f"{model.model_id}, {options.quality}\n")
    print("| maps | divergence, steps 1, 2, 4 | bodies of each facies | shares | variograms | connectivity | within |")
    print("|---|---|---|---|---|---|---|")
    for side, n_maps in sizes:
        for line in rows(model, image, side, n_maps, options.quality, options.seed):
            print(line, flush=True)
    isolated, in_truth = isolated_data(model, image, min(side for side, _ in sizes), options.quality, options.seed)
    print(f"\nIsolated data: {isolated:.2%} of {_BLOCKS * _DATA * _MAPS}; in the truth {in_truth:.2%}.")


def rows(model: FaciesModel, image: np.ndarray, side: int, n_maps: int, quality: str, seed: int) -> list[str]:
    """Return the rows of a size: realizations, crops, and the whole image that both are compared with."""
    shape, rng, n_facies = (side, side), np.random.default_rng([seed, side]), int(image.max()) + 1
    reference = measure(tiles(image, side), n_facies)
    sets = {
        "realizations": simulate_freely(model, shape, n_maps, quality=quality, seed=seed),
        "crops": draw_crops(image, shape, n_maps, rng),
        "tiles, the whole image,": tiles(image, side),
    }
    lines = []
    for name, maps in sets.items():
        measured = measure(maps, n_facies)
        found = compare(measured, reference)
        shares = zip(measured.proportions.mean(axis=0), measured.proportions.std(axis=0))
        cells = (
            f"{len(maps)} {name} of {side} x {side}",
            ", ".join(f"{value:.4f}" for value in found.pattern_divergence.values()),
            ", ".join(f"{number:.1f}" for number in found.bodies),
            ", ".join(f"{share:.3f} ± {spread:.3f}" for share, spread in shares),
            f"{found.variogram_difference:.4f}",
            f"{found.connectivity_difference:.3f}",
            f"{found.within:.4f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def tiles(image: np.ndarray, side: int) -> np.ndarray:
    """Return tiles (n_tiles, side, side) that cover an image, and overlap where they have to."""
    places = [np.linspace(0, n - side, -(-n // side)).round().astype(int) for n in image.shape]
    return np.stack([image[row : row + side, col : col + side] for row in places[0] for col in places[1]])


def isolated_data(model: FaciesModel, image: np.ndarray, side: int, quality: str, seed: int) -> tuple[float, float]:
    """Return the share of data whose facies none of their neighbours has: in realizations, and in the image."""
    rng, shares = np.random.default_rng([seed, 0]), []
    for number, truth in enumerate(draw_crops(image, (side, side), _BLOCKS, rng)):
        cells = np.stack(np.divmod(rng.choice(truth.size, _DATA, replace=False), side), axis=1)
        how = {"quality": quality, "seed": seed + number}
        simulated = call_model(model, truth.shape, _MAPS, data=Draw(truth, cells), **how).realizations
        shares.append((isolated_share(simulated, cells), isolated_share(truth[None], cells)))
    in_maps, in_truth = np.mean(shares, axis=0)
    return float(in_maps), float(in_truth)


if __name__ == "__main__":
    main()
