"""Batches of realizations, one after the other and at once."""

from pathlib import Path

import numpy as np
import pytest
import torch

import oadg
from oadg.core.contract.errors import Cancelled
from oadg.core.machine.device import batches_at_once, one_thread
from oadg.core.model.facies_model import FaciesModel
from oadg.core.sampling.probability import facies_probability_from_data
from oadg.core.sampling.realizations import simulate_in_batches
from oadg.core.sampling.start import Start

MODELS = Path(oadg.__file__).parent / "resources" / "models"


@pytest.fixture(scope="module")
def model():
    return FaciesModel.load(MODELS / "universal.safetensors")


@pytest.fixture
def threads():
    """Let torch have so many threads until the test is over."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def simulate(model, n_realizations, **options):
    generator = torch.Generator().manual_seed(3)
    known = torch.full((33, 40), -1)
    known.view(-1)[torch.randperm(known.numel(), generator=generator)[:40]] = torch.arange(40) % 3
    options = {"quality": "preview", "seed": 5, "at_once": 2, **options}
    return list(simulate_in_batches(model, Start.of(model, known, 3), n_realizations, **options))


def test_batches_at_once_are_those_of_one_after_the_other(model, threads):
    """Cell for cell, in their order, the last batch cut; and torch has its threads again."""
    threads(1)
    alone = simulate(model, 7)
    threads(3)
    together = simulate(model, 7)
    assert torch.get_num_threads() == 3
    assert [len(batch) for batch in together] == [2, 2, 2, 1]
    assert all(torch.equal(a, b) for a, b in zip(alone, together))


def test_an_error_in_one_thread_ends_all(model, threads):
    threads(2)
    n_passes = 0

    def cancel():
        nonlocal n_passes
        n_passes += 1
        if n_passes > 5:
            raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        simulate(model, 40, on_pass=cancel)
    assert n_passes < 10  # of 40 realizations: those that waited never began
    assert torch.get_num_threads() == 2


def test_as_many_batches_as_threads_and_memory_allow(threads):
    threads(16)
    assert batches_at_once(100, 2) == 16
    assert 1 < batches_at_once(250 * 250, 4) < 16
    assert batches_at_once(2000 * 2000, 2) == 1
    assert batches_at_once(100, 2, "cuda") == 1


def test_the_marginal_in_several_threads_is_that_of_one(model, threads):
    """Batches and what kriging tells in a thread each; torch has its threads again, also after an error."""
    generator = torch.Generator().manual_seed(3)
    known = torch.full((60, 50), -1)
    known.view(-1)[torch.randperm(known.numel(), generator=generator)[:40]] = torch.arange(40) % 3
    threads(1)
    alone = facies_probability_from_data(model, known, 3)
    threads(3)
    assert np.allclose(facies_probability_from_data(model, known, 3), alone, atol=1e-5)
    assert torch.get_num_threads() == 3

    def cancel():
        raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        facies_probability_from_data(model, known, 3, on_pass=cancel)
    assert torch.get_num_threads() == 3


def test_one_thread_lends_the_others_back(threads):
    threads(3)
    with pytest.raises(ZeroDivisionError), one_thread():
        1 / (torch.get_num_threads() - 1)
    assert torch.get_num_threads() == 3
