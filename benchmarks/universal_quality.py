"""
How good the probabilities of the universal model are: `python -m benchmarks.universal_quality`.

Log loss (nats, every method floored at .01 per facies) at cells that were not seen, on synthetic surveys drawn with
seeds that training never used, and (reported only, never tuned to) at the Jura survey's 100 validation points. Beside
the model: the nearest observation, softened to the accuracy that it has on the observations themselves, the
proportions of the observations, and simple indicator kriging with covariances fitted class by class and with the one
covariance that leave-one-out chooses. The better kriging is the yardstick.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace

import numpy as np
import torch

from benchmarks.jura import MODEL, jura_job, read_points
from oadg.core.ensemble import facies_probability, proportions
from oadg.core.kriging import choose_by_leave_one_out, fit_class_by_class, indicator_kriging
from oadg.core.model import FaciesModel
from oadg.core.random_fields import categorical_fields, draw_surveys
from oadg.core.sampler import coarsest_level, marginal
from oadg.core.scores import FLOOR, log_loss_nats
from oadg.core.simulation import run_simulation

N_SURVEYS = 60
METHODS = ("model", "nearest", "proportions", "fitted", "one cov.")


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


def losses_of_all(
    ours: np.ndarray, places: np.ndarray, class_index: np.ndarray, targets: np.ndarray, truth: np.ndarray
) -> list[float]:
    """Return the log losses of METHODS at the targets; ours (n_facies, n_targets) are the model's probabilities."""
    n_facies = len(ours)
    fitted = fit_class_by_class(places, class_index, n_facies)
    one = choose_by_leave_one_out(places, class_index, n_facies, floor=FLOOR)
    probabilities = (
        ours,
        nearest(places, class_index, targets, n_facies),
        constant(class_index, len(targets), n_facies),
        indicator_kriging(places, class_index, targets, fitted, n_facies),
        indicator_kriging(places, class_index, targets, one, n_facies),
    )
    return [float(log_loss_nats(probability, truth, FLOOR).mean()) for probability in probabilities]


def synthetic() -> tuple[np.ndarray, np.ndarray]:
    """
    Simulate surveys on 96 x 96 cells.

    Returns
    -------
    losses : array, shape (n_surveys, n_methods)
        Log losses of METHODS.
    predictions : array, shape (n, 2)
        The model's probability of a facies at a cell, and whether it is there.
    """
    model, losses, predictions = FaciesModel.load(MODEL), [], []
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
        ours = marginal(
            model.network, torch.as_tensor(known), n_facies=len(seen), level=level, positions_at_once=8
        ).numpy()
        places = np.argwhere(surveyed)
        at_targets = ours[:, targets[:, 0], targets[:, 1]]
        is_there = truth == np.arange(len(seen))[:, None]
        predictions.append(np.stack([at_targets.ravel(), is_there.ravel()], axis=1))
        losses.append(losses_of_all(at_targets, places, field_index, targets, truth))
    return np.array(losses), np.concatenate(predictions)


def ensemble_against_first_pass(n_realizations: int) -> tuple[float, float]:
    """Return how far an ensemble of the Jura lies from the first pass: largest bias of a proportion, and of a cell."""
    with tempfile.TemporaryDirectory() as folder:
        job, facies = jura_job(folder, n_realizations=n_realizations)
        result = run_simulation(job, lambda fraction, text: None)
        first, maps = np.load(result.probability_path), np.load(result.realizations_path)
    frequency = facies_probability(maps, len(facies))
    bias = np.abs(proportions(maps, len(facies)).mean(axis=0) - first.mean(axis=(1, 2))).max()
    # What is left of the squared differences when the counting noise of n realizations is taken off.
    noise = first * (1 - first) / n_realizations
    return float(bias), float(np.sqrt(max(0.0, ((frequency - first) ** 2 - noise).mean())))


def jura(cell_size: float) -> list[float]:
    """Return the log losses of METHODS at the validation points, and the model's mean entropy in bits."""
    with tempfile.TemporaryDirectory() as folder:
        job, facies = jura_job(folder, cell_size)
        result = run_simulation(replace(job, n_realizations=0), lambda fraction, text: None)
        probability = np.load(result.probability_path)
    seen, hidden = read_points("observations"), read_points("validation")
    truth = np.array([facies.names.index(rock) for rock in hidden.rock])
    row, col, _ = job.grid.cell_of(hidden.easting, hidden.northing)
    class_index = np.array([facies.names.index(rock) for rock in seen.rock])
    places, targets = (np.stack([p.easting, p.northing], axis=1) for p in (seen, hidden))
    losses = losses_of_all(probability[:, row, col], places, class_index, targets, truth)
    return [*losses, result.mean_entropy_bits]


def main() -> None:
    """Print the table."""
    losses, predictions = synthetic()
    error = losses.std(axis=0, ddof=1) / np.sqrt(len(losses))
    kriging = losses[:, 3:].min(axis=1)
    print(f"{'log loss, nats':<44}" + "".join(f"{name:>13}" for name in METHODS) + f"{'entropy, bits':>15}")
    print(f"{f'{len(losses)} synthetic surveys':<44}" + "".join(f"{v:>13.3f}" for v in losses.mean(axis=0)))
    print(f"{'  standard error':<44}" + "".join(f"{v:>13.3f}" for v in error))
    print(f"  surveys where the model is ahead of the nearest: {(losses[:, 0] < losses[:, 1]).sum()}")
    behind = losses[:, 0] - kriging
    print(
        f"  and of the better kriging of each survey: {(behind < 0).sum()}; the model's loss less that of it "
        f"{behind.mean():+.3f} (standard error {behind.std(ddof=1) / np.sqrt(len(behind)):.3f})"
    )
    for cell_size in (50.0, 25.0):
        *scores, entropy = jura(cell_size)
        row = "".join(f"{v:>13.3f}" for v in scores)
        print(f"{f'Jura, 100 validation points, {cell_size:g} m cells':<44}{row}{entropy:>15.3f}")

    print("reliability on the synthetic surveys: predicted, observed, number of facies at cells")
    bins = np.minimum((predictions[:, 0] * 10).astype(int), 9)
    for number in range(10):
        predicted, observed = predictions[bins == number].T
        print(f"  {predicted.mean():.3f}  {observed.mean():.3f}  {predicted.size:>8,}")

    n_realizations = 100
    bias, rms = ensemble_against_first_pass(n_realizations)
    print(f"Jura, {n_realizations} standard realizations against the first pass, over all cells and facies:")
    print(
        f"  largest bias of a facies' proportion {bias:.3f}; difference at a cell beyond counting noise {rms:.3f} (rms)"
    )


if __name__ == "__main__":
    main()
