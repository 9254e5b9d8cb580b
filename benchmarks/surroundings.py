"""
What observations around an area are worth to its map: `python -m benchmarks.surroundings`.

Of surveys outside the prior the inner part is mapped, half as high and as wide: from the observations in it, and from
those within its grid's reach as well, as *Simulate facies from observations* does. One line a survey, and the ratio.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np

from benchmarks.evaluate_universal.surveys import outside_survey
from oadg.core.contract.grid import Grid
from oadg.core.evaluation.surveys import Survey, model_method, score
from oadg.core.machine.device import prepare_process
from oadg.core.measures.scores import ratio_interval
from oadg.core.model.facies_model import FaciesModel
from oadg.core.training.train_universal import SHIPPED

_FEWEST_DATA, _FEWEST_TARGETS = 5, 50
"""Of a survey's inner part, for it to count."""


def main() -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument("--surveys", type=int, default=40, help="how many are drawn")
    parser.add_argument("--seed", type=int, default=778)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    prepare_process()
    model = FaciesModel.load(arguments.model)
    losses = []
    for number in range(arguments.surveys):
        survey = outside_survey(arguments.seed, number)
        parts = inner_parts(survey)
        if parts is not None:
            losses.append([score(model_method(model)(part), part.truth).mean_loss for part in parts])
            name = f"{survey.kind}, {survey.design}"
            logging.info("%s: log loss %.3f, with observations around %.3f", name, *losses[-1])
    ratio = ratio_interval(*np.array(losses).T[::-1])
    logging.info("Ratio %.3f (%.3f to %.3f) on %d surveys", ratio.mean, ratio.low, ratio.high, len(losses))


def inner_parts(survey: Survey) -> tuple[Survey, Survey] | None:
    """Return the inner part of a survey by itself, and with the observations around; None when it holds too few."""
    n_rows, n_cols = survey.known.shape
    top, left, height, width = n_rows // 4, n_cols // 4, n_rows // 2, n_cols // 2
    reach = Grid(0.0, 0.0, 1.0, height, width).reach
    row, col = np.floor(survey.targets).astype(int).T
    asked = (row >= top) & (row < top + height) & (col >= left) & (col < left + width)
    if (survey.known[top : top + height, left : left + width] >= 0).sum() < _FEWEST_DATA:
        return None
    if asked.sum() < _FEWEST_TARGETS:
        return None
    alone, with_others = (
        _part(survey, asked, (max(top - r, 0), top + height + r), (max(left - r, 0), left + width + r))
        for r in (0, reach)
    )
    return alone, with_others


def _part(survey: Survey, asked: np.ndarray, rows: tuple[int, int], cols: tuple[int, int]) -> Survey:
    """Return a survey of the observations in some rows and columns, asked at some of its targets."""
    known = survey.known[slice(*rows), slice(*cols)]
    return Survey(
        places=np.argwhere(known >= 0) + 0.5,
        class_index=known[known >= 0],
        targets=survey.targets[asked] - (rows[0], cols[0]),
        truth=survey.truth[asked],
        known=known,
        n_facies=survey.n_facies,
    )


if __name__ == "__main__":
    main()
