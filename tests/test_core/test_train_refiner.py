"""The refiner that trainings start from: what it learns from, and the file that ships."""

import dataclasses
import math

import numpy as np
import torch

from oadg.core.contract.facies import build_facies_table
from oadg.core.contract.training_image import TrainingImage
from oadg.core.model.facies_model import FaciesModel
from oadg.core.model.network import FaciesNetwork
from oadg.core.training.image_examples import ImageExamples
from oadg.core.training.image_training import NETWORKS
from oadg.core.training.loop import validation_nats
from oadg.core.training.train_refiner import N_FACIES, NETWORK, RECIPE, SHIPPED, draw_examples


def test_a_batch_follows_from_step_and_seed_and_refines():
    first, again, other = draw_examples(3, seed=4), draw_examples(3, seed=4), draw_examples(3, seed=5)
    assert torch.equal(first.class_index, again.class_index)
    assert torch.equal(first.truth, again.truth)
    assert first.truth.shape != other.truth.shape or not torch.equal(first.truth, other.truth)
    assert first.refines
    assert first.n_facies == N_FACIES


def test_facies_have_other_numbers_in_each_map():
    seen = [set(np.unique(of_map[of_map >= 0])) for step in range(12) for of_map in draw_examples(step, seed=1).truth]
    assert set.union(*seen) == set(range(N_FACIES))
    assert len(set(map(frozenset, seen))) > 12
    assert min(map(len, seen)) < 4


def test_it_fits_the_networks_that_start_from_it_and_was_trained_by_its_recipe():
    model, base = FaciesModel.load(SHIPPED), NETWORKS["base"]
    assert model.network.config == NETWORK
    same = ("refiner", "n_refiner_blocks", "n_pass_blocks")
    assert [getattr(NETWORK, name) for name in same] == [getattr(base, name) for name in same]
    assert model.provenance["recipe"] == dataclasses.asdict(RECIPE)
    assert model.provenance["steps_done"] == RECIPE.steps
    assert SHIPPED.stat().st_size < 1_000_000


def test_it_foretells_much_of_an_image_that_it_never_saw():
    """Discs of seven facies, one more than it knows: a network that starts at nothing gives each of them a seventh."""
    rng = np.random.default_rng(0)
    cells = np.zeros((120, 120), dtype=np.int16)
    row, col = np.mgrid[:120, :120]
    for number in range(90):
        a, b = rng.integers(120, size=2)
        cells[np.hypot(row - a, col - b) < rng.uniform(6, 14)] = number % 7
    image = TrainingImage(cells, build_facies_table(range(7)), "rotations")
    config = dataclasses.replace(NETWORKS["base"], n_levels=2, n_classes=7, refined_above=1)
    examples, network = ImageExamples(image, config, seed=0), FaciesNetwork(config).eval()
    batches = [examples.held_out(number, level) for number in range(2) for level in (0, 1)]
    assert math.isclose(validation_nats(network, batches), math.log(7), rel_tol=1e-3)
    network.start_from(FaciesModel.load(SHIPPED).network)
    assert validation_nats(network, batches) < 0.3 * math.log(7)
