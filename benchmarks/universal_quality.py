"""
How good the probabilities of the universal model are: `python -m benchmarks.universal_quality`.

Log loss (nats, every method floored at .01 per facies) at cells that were not seen, on synthetic surveys drawn with
seeds that training never used, and (reported only, never tuned to) at the Jura survey's 100 validation points. Beside
the model: the nearest observation, softened to the accuracy that it has on the observations themselves, and the
proportions of the observations. Kriging joins them with the evaluation harness.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace

import numpy as np
import torch

from benchmarks.jura import MODEL, jura_job, read_points
from oadg.core.model import FaciesModel
from oadg.core.random_fields import categorical_fields, draw_surveys
from oadg.core.sampler import coarsest_level, marginal
from oadg.core.simulation import run_simulation

FLOOR = 0.01
N_SURVEYS = 60


def log_loss(probability: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean log loss, nats; probability (n_facies, n), truth (n,)."""
    floored = np.maximum(probability, FLOOR)
    floored = floored / floored.sum(axis=0)
    return float(-np.log(floored[truth, np.arange(truth.size)]).mean())


def nearest(places: np.ndarray, class_index: np.ndarray, targets: np.ndarray, n_facies: int) -> np.ndarray:
    """Return facies probabilities (n_facies, n_targets) from the nearest observation alone."""
    among = ((places[:, None] - places[None]) ** 2).sum(axis=2).astype(float)
    np.fill_diagonal(among, np.inf)
    accuracy = np.clip((class_index[among.argmin(axis=1)] == class_index).mean(), 1 / n_facies, 0.99)
    closest = class_index[((targets[:, None] - places[None]) ** 2).sum(axis=2).argmin(axis=1)]
    probability = np.full((n_facies, len(targets)), (1 - accuracy) / (n_facies - 1))
    probability[closest, np.arange(len(targets))] = accuracy
    return probability


def constant(class_index: np.ndarray, n_targets: int, n_facies: int) -> np.ndarray:
    """Return the observed proportions everywhere."""
    share = np.bincount(class_index, minlength=n_facies) / class_index.size
    return np.repeat(share[:, None], n_targets, axis=1)


def synthetic() -> np.ndarray:
    """Return log losses (n_surveys, 3) of model, nearest observation and proportions on 96 x 96 cells."""
    model, losses = FaciesModel.load(MODEL), []
    for number in range(N_SURVEYS):
        generator = torch.Generator().manual_seed(10**12 + number)
        rng = np.random.default_rng(number)
        n_facies = int(rng.integers(2, 9))
        field = categorical_fields(1, n_facies, 192, 4.0, 150.0, generator)[:, :96, :96]
        n_data = torch.tensor([int(20 * 20 ** rng.random())])
        surveyed = draw_surveys(field, n_data, n_facies, generator)[0].numpy()
        seen, field_index = np.unique(field[0].numpy()[surveyed], return_inverse=True)
        if len(seen) < 2:
            continue
        known = np.full(surveyed.shape, -1)
        known[surveyed] = field_index
        targets = np.argwhere(~surveyed & np.isin(field[0].numpy(), seen))[::11]
        truth = np.searchsorted(seen, field[0].numpy()[targets[:, 0], targets[:, 1]])
        level = coarsest_level(known.shape, int(surveyed.sum()))
        ours = marginal(model.network, torch.as_tensor(known), n_facies=len(seen), level=level, maps_at_once=8).numpy()
        places = np.argwhere(surveyed)
        losses.append(
            [
                log_loss(ours[:, targets[:, 0], targets[:, 1]], truth),
                log_loss(nearest(places, field_index, targets, len(seen)), truth),
                log_loss(constant(field_index, len(targets), len(seen)), truth),
            ]
        )
    return np.array(losses)


def jura(cell_size: float) -> list[float]:
    """Return log losses at the validation points, and the mean entropy in bits."""
    with tempfile.TemporaryDirectory() as folder:
        job, facies = jura_job(folder, cell_size)
        result = run_simulation(replace(job, n_realizations=0), lambda fraction, text: None)
        probability = np.load(result.probability_path)
    seen, hidden = read_points("observations"), read_points("validation")
    truth = np.array([facies.names.index(rock) for rock in hidden.rock])
    row, col, _ = job.grid.cell_of(hidden.easting, hidden.northing)
    class_index = np.array([facies.names.index(rock) for rock in seen.rock])
    places, targets = (np.stack([p.easting, p.northing], axis=1) for p in (seen, hidden))
    return [
        log_loss(probability[:, row, col], truth),
        log_loss(nearest(places, class_index, targets, len(facies)), truth),
        log_loss(constant(class_index, truth.size, len(facies)), truth),
        result.mean_entropy_bits,
    ]


def main() -> None:
    """Print the table."""
    losses = synthetic()
    error = losses.std(axis=0, ddof=1) / np.sqrt(len(losses))
    print(f"{'log loss, nats':<40}{'model':>10}{'nearest':>10}{'proportions':>13}{'entropy, bits':>15}")
    print(f"{f'{len(losses)} synthetic surveys':<40}" + "".join(f"{v:>11.3f}" for v in losses.mean(axis=0)))
    print(f"{'  standard error':<40}" + "".join(f"{v:>11.3f}" for v in error))
    print(f"  surveys where the model is ahead of the nearest: {(losses[:, 0] < losses[:, 1]).sum()}")
    for cell_size in (50.0, 25.0):
        *scores, entropy = jura(cell_size)
        row = "".join(f"{v:>11.3f}" for v in scores)
        print(f"{f'Jura, 100 validation points, {cell_size:g} m cells':<40}{row}{entropy:>13.3f}")


if __name__ == "__main__":
    main()
