"""Covariances fade as they should, and the ones that are tried cover what surveys hold."""

import numpy as np
import pytest
import torch

from oadg.core.kriging.covariances import (
    EXPONENTIAL,
    GAUSSIAN,
    MATERN,
    Covariances,
    distances,
    drawn_order,
    isotropic,
    parts_to_test,
    spacing_of,
)


def covariance_of(shape=EXPONENTIAL, nugget=0.0, ratio=1.0, azimuth=0.0):
    return Covariances(*(torch.tensor([float(value)]) for value in (10.0, ratio, azimuth, shape, nugget)))


def test_covariances_fade():
    origin, places = torch.zeros(1, 2), torch.tensor([[0.0, 0.0], [6.0, 8.0]])
    exponential = covariance_of().between(origin, places)[0, 0]
    gaussian = covariance_of(GAUSSIAN, nugget=0.2).between(origin, places)[0, 0]
    matern = covariance_of(MATERN).between(origin, places)[0, 0]
    assert exponential == pytest.approx(torch.tensor([1, np.exp(-3)]), abs=1e-6)
    assert matern == pytest.approx(torch.tensor([1, 0.05]), abs=1e-3)
    assert gaussian == pytest.approx(torch.tensor([0.8, 0.8 * np.exp(-3)]), abs=1e-6)


def test_covariances_of_several_shapes_are_those_of_each_alone():
    places = 7 * torch.rand(20, 2, generator=torch.Generator().manual_seed(0))
    alone = [covariance_of(shape, nugget=0.2, ratio=2.0, azimuth=0.7) for shape in (GAUSSIAN, MATERN, EXPONENTIAL)]
    together = alone[0].followed_by(alone[1]).followed_by(alone[2])
    expected = torch.cat([one.between(places, places) for one in alone])
    assert torch.allclose(together.between(places, places), expected, atol=1e-5)
    assert expected.diagonal(dim1=1, dim2=2) == pytest.approx(torch.full((3, 20), 0.8), abs=1e-6)


def test_distances_of_places_far_from_the_origin_are_exact():
    place = 5000 + torch.cartesian_prod(torch.arange(8.0), torch.arange(8.0))
    found = distances(place, place)
    assert found[0, :3].tolist() == [0, 1, 2]
    assert found[0, 63] == pytest.approx(7 * np.sqrt(2))


@pytest.mark.parametrize("azimuth", [0.0, np.pi / 6, np.pi / 2])
def test_covariances_fade_fastest_across_their_azimuth(azimuth):
    """With a ratio of 4 the range of 10 cells is 20 along the azimuth and 5 across."""
    along = torch.tensor([[np.cos(azimuth), np.sin(azimuth)]], dtype=torch.float32)  # south, east
    across = torch.tensor([[-np.sin(azimuth), np.cos(azimuth)]], dtype=torch.float32)
    covariance = covariance_of(ratio=4.0, azimuth=azimuth)
    value = covariance.between(torch.zeros(1, 2), torch.cat([20 * along, 5 * across]))[0, 0]
    assert value == pytest.approx(torch.full((2,), np.exp(-3)), abs=1e-6)


def test_each_is_stretched_along_every_azimuth():
    covariances = covariance_of(MATERN, nugget=0.1)
    stretched = covariances.followed_by(covariances).stretched()
    assert len(stretched.nugget) == 2 * 12
    assert len({(float(r), float(a)) for r, a in zip(stretched.ratio[:12], stretched.azimuth[:12])}) == 12
    assert (stretched.shape == MATERN).all()


def test_ranges_run_from_the_spacing_to_beyond_the_data():
    place = torch.cartesian_prod(torch.arange(0.0, 90, 10), torch.arange(0.0, 90, 10))
    tried = isotropic(place, spacing_of(place), (EXPONENTIAL, GAUSSIAN), (0.0, 0.2))
    assert tried.range_cells.min() == pytest.approx(10)
    assert tried.range_cells.max() == pytest.approx(1.5 * 80 * np.sqrt(2), rel=1e-4)
    assert len(tried.nugget) == 7 * 2 * 2


def test_a_datum_far_from_all_others_does_not_change_their_spacing():
    place = torch.cartesian_prod(torch.arange(0.0, 90, 10), torch.arange(0.0, 90, 10))
    assert spacing_of(torch.cat([place, torch.tensor([[5000.0, 5000.0]])])) == 10


def test_of_two_data_ranges_beyond_their_distance_are_tried():
    place = torch.tensor([[0.0, 0.0], [0.0, 8.0]])
    assert isotropic(place, spacing_of(place), (MATERN,), (0.1,)).range_cells.max() == pytest.approx(24, rel=1e-4)


def test_data_are_tested_all_together_or_in_parts_far_and_near():
    place = torch.cartesian_prod(torch.arange(20.0), torch.arange(10.0))
    assert [len(part) for part in parts_to_test(place, 200, 50)] == [200]
    parts = parts_to_test(place, 199, 50)
    assert [len(part) for part in parts] == [50, 50, 50]
    for part in parts[1:]:
        from_each = distances(place[part], place)
        within = from_each[:, part].amax(dim=1)
        outside = from_each.index_fill(1, part, torch.inf).amin(dim=1)
        assert (within <= outside).any(), "those nearest to one of them"


def test_each_is_tried_with_every_nugget():
    both = covariance_of(MATERN, nugget=0.02).followed_by(covariance_of(MATERN, ratio=2.0, nugget=0.02))
    tried = both.with_nuggets((0.1, 0.3))
    assert tried.nugget.tolist() == pytest.approx([0.1, 0.3, 0.1, 0.3])
    assert tried.ratio.tolist() == [1, 1, 2, 2]


def test_which_data_are_drawn_does_not_hang_on_their_order_or_on_one_more():
    """Otherwise one datum that says nothing new would change what is read from all others."""
    place = torch.cartesian_prod(torch.arange(30.0), torch.arange(40.0))
    drawn = place[drawn_order(place)[:300]]
    shuffled = place[torch.randperm(1200, generator=torch.Generator().manual_seed(1))]
    assert torch.equal(shuffled[drawn_order(shuffled)[:300]], drawn)
    more = torch.cat([place, torch.tensor([[31.0, 7.0]])])
    both = {tuple(p) for p in more[drawn_order(more)[:300]].tolist()} & {tuple(p) for p in drawn.tolist()}
    assert len(both) >= 299
    in_tiles = torch.bincount((drawn[:, 0] // 10 * 4 + drawn[:, 1] // 10).long(), minlength=12)
    assert ((in_tiles - 25).abs() < 15).all(), "spread over the area"
    assert (torch.bincount((drawn[:, 0] % 4).long()) > 50).all()
