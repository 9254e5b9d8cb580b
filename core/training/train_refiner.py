"""
The refiner that trainings on images start from: what it learns from, and the recipe of the one that ships.

`make train-refiner` trains it; run again, it resumes. It sees windows of the fields that the universal model learns
from, in each of which the facies have other numbers, and learns how edges, contacts and thin bodies go on; what is left
to learn from a training image is what makes that one special.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
from dataclasses import asdict, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ..contract.facies import build_facies_table
from ..machine.device import prepare_process
from ..model.facies_model import FaciesModel
from .image_examples import level_shares, refined_examples
from .image_training import NETWORKS
from .loop import Examples, TrainingConfig, train, validation_nats
from .train_universal import ROOT, draw_windows, shortest_range

SHIPPED = ROOT / "resources" / "starts" / "refiner.safetensors"
N_FACIES = 6
"""Whose weights it has; a training with more facies begins with some of them twice."""
N_LEVELS = 4
RECIPE = TrainingConfig(steps=6_000, seed=20_261_209, learning_rate=4e-3, warmup_steps=200)
NETWORK = replace(
    NETWORKS["base"],
    trunk=(8, 8),
    stream=(8, 8),
    n_bottom=1,
    n_levels=N_LEVELS - 1,
    n_classes=N_FACIES,
    refined_above=1,
)
"""Beside the refiner there is next to nothing."""
VALIDATION_STEPS = range(10**9, 10**9 + 60)
"""Batches that training never reaches."""


def draw_examples(step: int, *, seed: int) -> Examples:
    """
    Draw a batch; the same number and seed give the same batch.

    Parameters
    ----------
    step, seed : int
        Which batch.

    Returns
    -------
    Batch of `Examples`
        Maps all of one shape, on a lattice that is refined.
    """
    rng = np.random.default_rng([seed, step])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    n_facies, level = (
        int(rng.integers(2, N_FACIES + 1)),
        int(rng.choice(N_LEVELS, p=level_shares(N_LEVELS, refines=True))),
    )
    windows = draw_windows(n_facies, 2**level, shortest_range(2**level), rng, generator)
    number = torch.stack([torch.randperm(N_FACIES, generator=generator)[:n_facies] for _ in windows])
    windows = number.gather(1, windows.flatten(1)).view_as(windows)
    return refined_examples(windows, level, N_FACIES, NETWORK.total_stride, rng)


def main() -> None:
    """Train, or go on training, and write the model file when the recipe's last step is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=SHIPPED)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "train-refiner", help="checkpoint and log")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--workers", type=int, default=0, help="processes that draw examples ahead")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after, to be resumed by the next run")
    parser.add_argument("--steps", type=int, default=RECIPE.steps, help="instead of the recipe's")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    prepare_process()

    recipe = replace(RECIPE, steps=arguments.steps)
    draw = partial(draw_examples, seed=recipe.seed)
    network, state = train(
        NETWORK,
        recipe,
        draw,
        arguments.folder,
        device=arguments.device,
        n_workers=arguments.workers,
        stop_after_seconds=60 * arguments.minutes,
        on_log=lambda line: logging.info(json.dumps(line)),
    )
    if state["step"] < recipe.steps:
        logging.info("Stopped at step %d of %d; run again to go on.", state["step"], recipe.steps)
        return
    scores = {"validation_nats": validation_nats(network.float(), map(draw, VALIDATION_STEPS))}
    provenance = {
        "recipe": asdict(recipe),
        "learnt_from": "categorical random fields drawn by core/training/random_fields.py; no observed data",
        "steps_done": state["step"],
        "seconds": round(state["seconds"]),
        "precision": state["precision"],
        "scores": scores,
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    model = FaciesModel("refiner", network.cpu(), build_facies_table(range(N_FACIES)), N_FACIES, provenance=provenance)
    model.save(arguments.output, half_precision=True)
    logging.info("Wrote %s: %s", arguments.output, json.dumps(scores))


if __name__ == "__main__":
    main()
