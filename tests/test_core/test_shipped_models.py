"""Models of training images that come with OADG: their maps go by the data, wherever the data lie."""

from pathlib import Path

import numpy as np
import pytest

from oadg.core.contract.grid import Grid
from oadg.core.contract.score_job import ScoreJob
from oadg.core.model.facies_model import FaciesModel
from oadg.core.sampling.realizations import simulate_freely, simulate_given
from oadg.core.sampling.scoring import run_scoring

MODELS = Path(__file__).resolve().parents[2] / "resources" / "models"
SHAPE = (160, 160)


def isolated(maps, row, col):
    """Return of each datum of each map (n_maps, n_data) whether none of its eight neighbours has its facies."""
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1)), constant_values=-1)
    shifts = [(r, c) for r in range(3) for c in range(3) if (r, c) != (1, 1)]
    return ~np.any([padded[:, row + r, col + c] == maps[:, row, col] for r, c in shifts], axis=0)


@pytest.mark.parametrize("name", ["channels", "delta"])
def test_a_datum_is_part_of_a_body_and_not_a_cell_on_its_own(name):
    """The data are of a realization without data: what the model takes for possible."""
    model = FaciesModel.load(MODELS / f"{name}.safetensors")
    truth = simulate_freely(model, SHAPE, 1, seed=1)
    cells = np.random.default_rng(1).choice(truth.size, 80, replace=False)
    row, col = np.unravel_index(cells, SHAPE)
    known = np.full(SHAPE, -1, dtype=np.int64)
    known[row, col] = truth[0, row, col]
    maps = simulate_given(model, known, 6, seed=2)
    assert (maps[:, row, col] == truth[0, row, col]).all()
    assert isolated(maps, row, col).mean() < isolated(truth, row, col).mean() + 0.03


def test_a_map_of_one_facies_is_unlike_the_models_own_though_as_likely_in_all(tmp_path):
    """A channel everywhere: where the first cells lie it surprises the model, and the more it is told the less."""
    model = FaciesModel.load(MODELS / "channels.safetensors")
    own = simulate_freely(model, (64, 64), 1, quality="preview", seed=3)[0].astype(np.int16)
    scores = []
    for number, class_index in enumerate((own, np.ones_like(own))):
        np.save(tmp_path / f"{number}.npy", class_index)
        job = ScoreJob(
            grid=Grid(0.0, 0.0, 1.0, 64, 64),
            facies=model.facies,
            map_path=str(tmp_path / f"{number}.npy"),
            row=(),
            col=(),
            class_index=(),
            model_path=str(MODELS / "channels.safetensors"),
            work_folder=str(tmp_path),
            n_paths=2,
            quality="preview",
        )
        scores.append(run_scoring(job, lambda fraction, text: None))
    assert all(abs(of.bits_per_cell - of.typical_bits_per_cell) < of.typical_reach for of in scores)
    assert np.abs(scores[0].excess_of_levels).max() < 0.9 < 1.2 < max(scores[1].excess_of_levels)
