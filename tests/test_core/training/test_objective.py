"""The bound is what the literature says it is, on maps that can be enumerated."""

import itertools

import numpy as np
import pytest
import torch

from oadg.core.training.objective import nll_nats, uniform_rank_known


def test_the_bound_of_a_perfect_predictor_is_the_entropy_of_the_map(two_by_two):
    """Averaged over all numbers and sets of known cells, the loss of exact conditionals is -log p(x) / D."""
    n_cells = 4
    for facies, probability in zip(two_by_two.maps, two_by_two.joint):
        loss = 0.0
        for n_known in range(n_cells):
            sets = list(itertools.combinations(range(n_cells), n_known))
            for known in sets:
                posterior = two_by_two.conditional(list(known), facies[list(known)])
                p = [[posterior[two_by_two.maps[:, c] == k].sum() for c in range(n_cells)] for k in range(2)]
                logits = torch.as_tensor(np.log(np.maximum(p, 1e-300))).view(1, 2, 2, 2)
                unknown = torch.ones(n_cells, dtype=torch.bool)
                unknown[list(known)] = False
                truth = torch.as_tensor(facies).view(1, 2, 2)
                loss += float(nll_nats(logits, truth, unknown.view(1, 2, 2))) / len(sets) / n_cells
        assert loss == pytest.approx(-np.log(probability) / n_cells, rel=1e-5)


def test_known_cells_do_not_count():
    truth = torch.randint(3, (2, 4, 5))
    unknown = torch.rand(2, 4, 5) < 0.5
    logits = torch.randn(2, 3, 4, 5)
    spoilt = torch.where(unknown[:, None], logits, torch.randn(2, 3, 4, 5))
    assert torch.equal(nll_nats(logits, truth, unknown), nll_nats(spoilt, truth, unknown))


def test_each_map_has_its_own_mask():
    """The reference multiplied (B,1,H,W) by (B,H,W): every mask then met every map."""
    truth, logits = torch.zeros(2, 1, 2, dtype=torch.int64), torch.zeros(2, 2, 1, 2)
    logits[0, 0, 0, 0] = 5.0
    unknown = torch.tensor([[[True, False]], [[False, True]]])
    alone = nll_nats(logits[:1], truth[:1], unknown[:1])
    assert torch.equal(nll_nats(logits, truth, unknown)[:1], alone)
    assert float(nll_nats(logits, truth, unknown)[1]) == pytest.approx(np.log(2))


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(ValueError, match="Shapes do not fit"):
        nll_nats(
            torch.zeros(2, 3, 4, 5), torch.zeros(2, 4, 5, dtype=torch.int64), torch.ones(2, 1, 5, dtype=torch.bool)
        )


def test_number_of_known_cells_is_uniform_and_stratified():
    valid = torch.ones(64, 4, 4, dtype=torch.bool)
    valid[:, 0, 0] = False  # D = 15
    known = uniform_rank_known(valid, torch.Generator().manual_seed(0))
    assert not (known & ~valid).any()
    counts = known.sum(dim=(1, 2))
    # 64 strata over 15 values: each value 0 … 14 occurs four or five times.
    frequency = torch.bincount(counts, minlength=15)
    assert len(frequency) == 15
    assert frequency.min() >= 3
    assert frequency.max() <= 6
