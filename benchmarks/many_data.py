"""
Of many data, what is it worth that kriging reads a part? `python -m benchmarks.many_data [--data 2400 2800 4000 9000]`.

Log loss of the probability layer at all hidden cells of synthetic maps outside the prior: without what kriging reads,
and with what it reads from `MOST_DATA` of the data. The network sees all of them in both.
"""

from __future__ import annotations

import argparse
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.outside_prior import MECHANISMS, draw_map, draw_n_facies
from oadg.core.kriging import kriging_features
from oadg.core.machine.device import prepare_process
from oadg.core.measures.scores import log_loss_nats
from oadg.core.model.facies_model import FaciesModel
from oadg.core.sampling.probability import facies_probability_from_data
from oadg.core.training.train_universal import SHIPPED

_SIDE = 180


def main() -> None:
    """Print a row for each number of data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=int, nargs="+", default=[2400, 2800, 4000, 9000])
    parser.add_argument("--surveys", type=int, default=len(MECHANISMS))
    options = parser.parse_args()
    prepare_process()
    model = FaciesModel.load(SHIPPED)
    print("| data | surveys | log loss with kriging of a part, over that without (geometric mean) |\n|---|---|---|")
    for n_data in options.data:
        ratios = [ratio for number in range(options.surveys) for ratio in _ratio(model, n_data, number)]
        print(f"| {n_data:,} | {len(ratios)} | {np.exp(np.mean(np.log(ratios))):.3f} |", flush=True)


def _ratio(model: FaciesModel, n_data: int, number: int) -> list[float]:
    """Return the ratio of the two losses on a survey; nothing where a facies was not observed."""
    rng = np.random.default_rng([5, number])
    facies = draw_map(rng, list(MECHANISMS)[number % len(MECHANISMS)], (_SIDE, _SIDE), draw_n_facies(rng))
    known = np.full(facies.shape, -1)
    cells = rng.choice(facies.size, n_data, replace=False)
    known.ravel()[cells] = facies.ravel()[cells]
    n_facies = int(facies.max()) + 1
    if np.unique(facies.ravel()[cells]).size < n_facies:
        return []
    losses = []
    for most_seen in (n_data, 0):
        with patch.object(kriging_features, "MOST_SEEN", most_seen):
            probability = facies_probability_from_data(model, torch.as_tensor(known), n_facies)
        losses.append(log_loss_nats(probability[:, known < 0], facies[known < 0]).mean())
    return [float(losses[0] / losses[1])]


if __name__ == "__main__":
    main()
