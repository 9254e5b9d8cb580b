"""
Probabilities given data: what a model of an image answers at once, beside its expectation over coarse lattices.

    python -m benchmarks.against_peers.expectation --image unseen.npy --model models/analogue.safetensors

The image is one that its training did not see: a part that was cut off before, or another draw of the same kind.
Windows of it are surveyed at random cells; all ways are asked the same, and scored at all other cells, beside indicator
kriging that is fitted to these data.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Callable

import numpy as np
import torch

from oadg.core.kriging.yardsticks import YARDSTICKS, better_kriging
from oadg.core.machine.device import prepare_process
from oadg.core.measures.scores import log_loss_nats
from oadg.core.model.facies_model import FaciesModel
from oadg.core.sampling.probability import facies_probability_from_data
from oadg.core.training.image_examples import seen_at_random

from .draws import read_image

SHARES = (0.5, 0.75, 1.0)


def main() -> None:
    """Print a row for each way: mean log loss, by how much it is less than at once, and the time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, required=True, help="a raster of facies, or .npy, which was not learnt")
    parser.add_argument("--model", type=Path, required=True, help="model file")
    parser.add_argument("--windows", type=int, default=10)
    parser.add_argument("--side", type=int, default=96, help="cells along a side of a window")
    parser.add_argument("--data", type=int, default=40, help="of each window")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    prepare_process()
    model, image = FaciesModel.load(options.model), read_image(options.image)
    rng, side = np.random.default_rng(options.seed), options.side
    windows = []
    for _ in range(options.windows):
        row, col = (int(rng.integers(n - side + 1)) for n in image.shape)
        window = image[row : row + side, col : col + side]
        windows.append((window, seen_at_random(window, options.data, rng)))
    at_once = asked(replace(model, expected_share=0.0), windows)
    expected = asked(replace(model, expected_share=1.0), windows)
    losses = {"at once": losses_of(at_once[0], windows)}
    for share in SHARES:
        mixed = [(1 - share) * first + share * second for first, second in zip(at_once[0], expected[0])]
        losses[f"{share:.0%} expectation"] = losses_of(mixed, windows)
    losses["the better kriging"] = kriging_losses(windows, int(image.max()) + 1)
    print(f"{model.model_id}, whose training chose a share of {model.expected_share:.0%}\n")
    print("| | log loss (nats) | less than at once | s per window |\n|---|---|---|---|")
    for name, found in losses.items():
        gain = losses["at once"] - found
        error = gain.std(ddof=1) / np.sqrt(len(gain))
        seconds = {"at once": at_once[1], "100% expectation": expected[1]}.get(name)
        told = "" if seconds is None else f"{seconds:.1f}"
        print(f"| {name} | {found.mean():.3f} | {gain.mean():.3f} ± {error:.3f} | {told} |")


def asked(model: FaciesModel, windows: list[tuple[np.ndarray, np.ndarray]]) -> tuple[list[np.ndarray], float]:
    """Return the probabilities (n_facies, n_rows, n_cols) of a model in each window, and the seconds that one took."""
    began, n_facies = time.perf_counter(), model.network.config.n_classes
    found = [facies_probability_from_data(model, torch.as_tensor(known), n_facies) for _, known in windows]
    return found, (time.perf_counter() - began) / len(windows)


def losses_of(probabilities: list[np.ndarray], windows: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the mean log loss of cells that were not surveyed, nats, of each window."""
    of_windows = zip(probabilities, windows)
    return np.array([log_loss_nats(p[:, known < 0], window[known < 0]).mean() for p, (window, known) in of_windows])


def kriging_losses(windows: list[tuple[np.ndarray, np.ndarray]], n_facies: int) -> np.ndarray:
    """Return the same of the kriging, of the two that are yardsticks, that is better in all windows together."""
    losses = {name: np.array([_kriged(method, *of, n_facies) for of in windows]) for name, method in YARDSTICKS.items()}
    return losses[better_kriging({name: float(found.mean()) for name, found in losses.items()})]


def _kriged(method: Callable[..., np.ndarray], window: np.ndarray, known: np.ndarray, n_facies: int) -> float:
    observed, class_index = np.unique(known[known >= 0], return_inverse=True)
    probability = np.zeros((n_facies, int((known < 0).sum())))
    places, targets = np.argwhere(known >= 0) + 0.5, np.argwhere(known < 0) + 0.5
    probability[observed] = method(places, class_index, targets, len(observed))
    return float(log_loss_nats(probability, window[known < 0]).mean())


if __name__ == "__main__":
    main()
