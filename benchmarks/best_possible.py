"""
How far from the best possible probabilities the universal model is, on fields whose best ones can be computed.

    python -m benchmarks.best_possible [--surveys 60] [--model FILE] [--seed 1]

The fields are truncated Gaussian ones of the model's prior, without a trend and inclusions. Whoever knows their
covariance, and the cuts between their facies, knows all that can be known but the observations: the loss of these
probabilities, found by expectation propagation, is a bound that no method reaches that has to learn both from the data.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.special import ndtr

from benchmarks.evaluate_universal.measures import OURS
from benchmarks.evaluate_universal.surveys import first_possible, survey_of_map, yardstick_methods
from benchmarks.outside_prior import draw_n_facies
from oadg.core.evaluation.surveys import Survey, model_method, score
from oadg.core.kriging.expectation_propagation import observe
from oadg.core.kriging.yardsticks import KRIGING, better_kriging
from oadg.core.machine.device import prepare_process
from oadg.core.measures.scores import ratio_interval
from oadg.core.model.facies_model import FaciesModel
from oadg.core.training.random_fields import FieldLaw, draw_field_laws, draw_surveys, gaussian_fields, power_spectrum
from oadg.core.training.train_universal import SHIPPED

_SIDE = 256
_NUGGET = 1e-3  # smooth covariances of many data are hardly invertible without
_ROUNDS = 10
_FACIES = ((2, 2), (3, 4), (5, 8), (9, 20))
_LEAST_SURVEYS = 2


def main() -> None:
    """Print losses over that of the better kriging, by number of facies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--surveys", type=int, default=60)
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    prepare_process()
    ours = model_method(FaciesModel.load(arguments.model))
    losses, n_facies = [], []
    for number in range(arguments.surveys):
        survey, best = truncated_survey(arguments.seed, number)
        methods = {OURS: ours, **{name: m for name, m in yardstick_methods().items() if name in KRIGING}}
        found = {name: score(method(survey), survey.truth).mean_loss for name, method in methods.items()}
        losses.append((found[better_kriging(found)], found[OURS], score(best, survey.truth).mean_loss))
        n_facies.append(survey.n_facies)
    kriging, model, bound = np.array(losses).T
    print("| facies | surveys | the model over the better kriging | the best possible over it |")
    print("|---|---|---|---|")
    for low, high in (*_FACIES, (_FACIES[0][0], _FACIES[-1][1])):
        of_these = (np.array(n_facies) >= low) & (np.array(n_facies) <= high)
        if of_these.sum() < _LEAST_SURVEYS:
            continue
        ratios = (ratio_interval(values[of_these], kriging[of_these]) for values in (model, bound))
        cells = " | ".join(f"{r.mean:.3f} ({r.low:.3f} to {r.high:.3f})" for r in ratios)
        print(f"| {low} to {high} | {of_these.sum()} | {cells} |")


def truncated_survey(seed: int, number: int) -> tuple[Survey, np.ndarray]:
    """Return a survey of a truncated Gaussian field, 50 to 400 data, and the best possible answers (n_facies, m)."""
    rng = np.random.default_rng([seed, number])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))

    def draw() -> tuple[Survey, np.ndarray]:
        n_facies, shape = draw_n_facies(rng), tuple(int(n) for n in rng.integers(100, 141, 2))
        law = draw_field_laws(1, 4.0, 3.0 * max(shape), generator)
        field = gaussian_fields(law, 1, _SIDE, generator)[0, 0]
        share = torch.as_tensor(rng.random(n_facies) + 0.1).cumsum(dim=0)
        cuts = torch.quantile(field.double(), (share / share[-1])[:-1])
        facies = torch.bucketize(field.double(), cuts)[: shape[0], : shape[1]]
        n_data = torch.tensor([int(50 * 8 ** rng.random())])
        visited = draw_surveys(facies[None], n_data, n_facies, generator)[0]
        survey = survey_of_map(facies.numpy(), visited.numpy(), kind="truncated", design="prior")
        probability = best_probability(facies, visited, cuts, covariance_of(law), torch.as_tensor(survey.targets))
        observed = torch.unique(facies[visited])
        # Methods are told which facies occur.
        return survey, (probability[observed] / probability[observed].sum(dim=0)).numpy()

    return first_possible(draw)


def covariance_of(law: FieldLaw) -> Tensor:
    """Return the covariance of a field less its mean, by how many rows and columns of the torus cells are apart."""
    power = power_spectrum(law, _SIDE).double()
    power[:, 0, 0] = 0
    covariance = torch.fft.irfft2(power, s=(_SIDE, _SIDE))[0]
    return covariance / covariance[0, 0]


def best_probability(facies: Tensor, visited: Tensor, cuts: Tensor, covariance: Tensor, targets: Tensor) -> Tensor:
    """Return the facies probabilities (n_facies, n_targets) of whoever knows cuts and covariance."""
    place, asked = visited.nonzero(), targets.floor().long()

    def between(a: Tensor, b: Tensor) -> Tensor:
        row, col = ((a[:, None, axis] - b[None, :, axis]) % _SIDE for axis in (0, 1))
        return (1 - _NUGGET) * covariance[row, col]

    among = between(place, place)
    among.diagonal().fill_(1)
    position, pseudo_data = facies[visited][None, None], torch.zeros(len(cuts) + 1)
    sites = observe(among[None], position, _ROUNDS, pseudo_data=pseudo_data, cuts=cuts[None, None])
    towards = between(asked, place)
    mean, variance = towards @ sites.dual[0, 0], 1 - ((towards @ sites.inverse[0, 0]) * towards).sum(dim=1)
    below = ndtr((cuts[:, None] - mean) / variance.clamp_min(_NUGGET).sqrt())
    edges = torch.cat([torch.zeros_like(mean)[None], below, torch.ones_like(mean)[None]])
    return edges.diff(dim=0)


if __name__ == "__main__":
    main()
