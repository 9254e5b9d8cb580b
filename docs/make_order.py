"""
Make the picture of facies that follow each other: `python -m docs.make_order`, from the folder above.

A map of halos, of a kind that the universal model did not learn from, is seen at 150 places. From left to right: the
truth with these places, what the model takes for most probable, and what kriging does.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.evaluate_universal.surveys import survey_of_map
from benchmarks.outside_prior import draw_cells, draw_map
from oadg.core.evaluation.surveys import probability_map
from oadg.core.kriging.yardsticks import kriging_one_covariance
from oadg.core.model.facies_model import FaciesModel
from oadg.core.reports.drawing import paletted_png

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "resources" / "models" / "universal.safetensors"
COLORS = ("#2c3563", "#4a8fb9", "#93cfdb", "#e9d98f", "#b4482a", "#000000")
SIDE, N_FACIES, N_DATA, SEED = 120, 5, 150, 11
PIXELS, GAP = 2, 6


def main() -> None:
    """Draw the three maps beside each other."""
    rng = np.random.default_rng(SEED)
    truth = draw_map(rng, "halos", (SIDE, SIDE), N_FACIES)
    survey = survey_of_map(truth, draw_cells(rng, "uniform", truth, N_DATA))
    ours = probability_map(FaciesModel.load(MODEL), survey).argmax(axis=0)
    cells = np.stack(np.indices(truth.shape), axis=-1).reshape(-1, 2) + 0.5
    kriging = kriging_one_covariance(survey.places, survey.class_index, cells, survey.n_facies).argmax(axis=0)
    seen = np.where(survey.known >= 0, len(COLORS) - 1, truth)
    maps = [np.kron(each, np.ones((PIXELS, PIXELS), int)) for each in (seen, ours, kriging.reshape(truth.shape))]
    beside = np.concatenate([np.pad(each, ((0, 0), (0, GAP)), constant_values=-1) for each in maps], axis=1)
    (ROOT / "docs" / "images" / "order.png").write_bytes(paletted_png(beside, COLORS))


if __name__ == "__main__":
    main()
