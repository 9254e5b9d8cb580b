"""What probabilities say at each cell."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from oadg.core.contract.ensemble import OUTSIDE, entropy_bits, most_probable_facies


@given(hnp.arrays(float, st.tuples(st.integers(2, 8), st.just(3), st.just(4)), elements=st.floats(0.001, 1)))
def test_entropy_lies_between_certainty_and_ignorance(weight):
    probability = weight / weight.sum(axis=0)
    entropy = entropy_bits(probability)
    assert (entropy >= 0).all()
    assert (entropy <= np.log2(len(weight)) + 1e-12).all()


def test_entropy_of_known_cases():
    probability = np.array([[[1.0, 0.5, 0.25]], [[0.0, 0.5, 0.25]], [[0.0, 0.0, 0.25]], [[0.0, 0.0, 0.25]]])
    assert entropy_bits(probability)[0] == pytest.approx([0, 1, 2])


def test_cells_outside_stay_outside():
    probability = np.full((3, 2, 2), np.nan, dtype=np.float32)
    probability[:, 0, 0] = [0.2, 0.5, 0.3]
    assert np.isnan(entropy_bits(probability)).sum() == 3
    assert most_probable_facies(probability).tolist() == [[1, OUTSIDE], [OUTSIDE, OUTSIDE]]
