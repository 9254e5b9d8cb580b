"""The prior: fields have the laws that were asked for, surveys the numbers."""

import math

import pytest
import torch

from oadg.core.training import random_fields
from oadg.core.training.random_fields import FieldLaw, categorical_fields, draw_surveys, gaussian_fields


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def law(range_cells, ratio=1.0, azimuth=0.0, roughness=4.0, nested=0.0, n=4):
    values = (range_cells, ratio, azimuth, roughness, nested, 0.1)
    return FieldLaw(*(torch.full((n,), float(v)) for v in values))


def correlation(fields, south, east):
    """Return the correlation at a lag, on the torus."""
    return float((fields * fields.roll((-south, -east), (-2, -1))).mean())


def test_gaussian_fields_are_standard():
    fields = gaussian_fields(law(10), 2, 128, generator())
    assert fields.shape == (4, 2, 128, 128)
    assert fields.mean(dim=(2, 3)).abs().max() < 1e-4
    assert fields.std(dim=(2, 3)) == pytest.approx(1, abs=1e-3)


def test_correlation_fades_with_the_range():
    at_lag = [correlation(gaussian_fields(law(r), 2, 128, generator()), 0, 8) for r in (2, 8, 24)]
    assert at_lag[0] < 0.05 < at_lag[1] < 0.5 < at_lag[2]


def test_azimuth_is_the_long_axis():
    """Azimuth 0 runs along columns, pi / 2 along rows."""
    east = gaussian_fields(law(20, ratio=5), 2, 128, generator())
    south = gaussian_fields(law(20, ratio=5, azimuth=math.pi / 2), 2, 128, generator())
    assert correlation(east, 0, 8) > correlation(east, 8, 0) + 0.3
    assert correlation(south, 8, 0) > correlation(south, 0, 8) + 0.3


def test_nested_structures_keep_the_long_range_and_add_a_short_one():
    """Half of the variance at a tenth of the range: a drop near the origin, then the long structure's fall."""
    smooth, nested = (gaussian_fields(law(40, nested=share, n=8), 2, 128, generator()) for share in (0.0, 0.5))
    assert correlation(nested, 0, 8) < correlation(smooth, 0, 8) - 0.2
    assert correlation(nested, 0, 8) > 0.2


def test_no_detail_is_shorter_than_asked():
    law = random_fields.draw_field_laws(2000, 4.0, 100.0, generator())
    assert (law.range_cells / law.ratio).min() >= 4.0 * 0.999
    nested = law.range_cells * law.nested_range / law.ratio
    assert nested.min() >= 4.0 * 0.999
    assert nested.max() > 20


def test_layers_follow_each_other_along_a_direction():
    """Across the layers facies change more often than along them, which azimuth 0 puts along columns."""
    layered = random_fields._layered_fields(law(30, ratio=5, n=30), 4, 128, generator())
    down, along = ((layered.diff(dim=axis) != 0).float().mean() for axis in (1, 2))
    assert down > 2 * along > 0


@pytest.mark.parametrize("n_facies", [2, 5, 20])
def test_categorical_fields(n_facies):
    fields = categorical_fields(12, n_facies, 128, 3, 60, generator())
    assert fields.shape == (12, 128, 128)
    assert 0 <= fields.min()
    assert fields.max() < n_facies
    assert len(fields.unique()) == n_facies
    again = categorical_fields(12, n_facies, 128, 3, 60, generator())
    assert torch.equal(fields, again)


def test_no_facies_is_special():
    """Over many fields each class index is equally frequent: numbers carry no meaning."""
    fields = torch.cat([categorical_fields(40, 4, 64, 3, 30, generator(s)) for s in range(5)])
    share = torch.stack([(fields == k).float().mean() for k in range(4)])
    assert share == pytest.approx(0.25, abs=0.07)


def test_truncated_fields_have_ordered_contacts():
    """Neighbours differ by one class, for nothing can be skipped in a smooth field."""
    fields = random_fields._truncated_fields(law(60, n=6), 4, 128, generator())
    jump = (fields[:, 1:] - fields[:, :-1]).abs()
    assert (jump > 1).float().mean() < 0.01 * (jump > 0).float().mean() + 1e-3


def test_surveys_visit_as_many_cells_as_asked():
    fields = categorical_fields(40, 3, 64, 3, 30, generator())
    n_data = torch.arange(0, 400, 10)
    surveyed = draw_surveys(fields, n_data, 3, generator(1))
    assert torch.equal(surveyed.sum(dim=(1, 2)), n_data)


def test_surveys_differ_in_design():
    """Some surveys are even, some clustered: the spread of counts over blocks tells."""
    fields = categorical_fields(200, 3, 64, 3, 30, generator())
    surveyed = draw_surveys(fields, torch.full((200,), 128), 3, generator(1)).float()
    counts = torch.nn.functional.avg_pool2d(surveyed[:, None], 16).flatten(1) * 256
    dispersion = counts.var(dim=1) / counts.mean(dim=1)
    assert (dispersion < 0.7).float().mean() > 0.08  # jittered grids
    assert (dispersion > 3).float().mean() > 0.15  # clusters, lines, blocks
