"""Tiles: they cover a lattice once, fit the memory, and ask about as few nodes as they can."""

import itertools

import numpy as np
import pytest
import torch

from oadg.core.model import prediction
from oadg.core.model.hard_data import HardData
from oadg.core.model.network_config import NetworkConfig
from oadg.core.model.prediction import look_around, predict
from oadg.core.model.refiner import refiner_radius

NO_DATA = HardData(*[torch.zeros(0, dtype=torch.int64)] * 4, torch.zeros(0), torch.zeros(0))
CONFIG = NetworkConfig(refiner=8, n_classes=2, n_refiner_blocks=6, n_pass_blocks=1)


class Echo:
    """Answers with what it is shown, and keeps how large that was."""

    config = CONFIG

    def __init__(self):
        self.shapes = []

    def __call__(self, class_index, inside, data, n_facies, **options):
        self.shapes.append(tuple(class_index.shape[1:]))
        return class_index[:, None].expand(-1, n_facies, -1, -1).float()

    def context(self, class_index, inside, data, n_facies, *, level):
        return self(class_index, inside, data, 1)


@pytest.mark.parametrize("shape", [(504, 504), (1000, 96), (64, 2000), (8, 8)])
@pytest.mark.parametrize("n_nodes", [300**2, 500 * 400])
def test_tiles_cover_a_lattice_once_and_fit(shape, n_nodes):
    halo, stride = 40, 8
    rows, cols = prediction._tiles(*shape, halo, stride, n_nodes)
    covered = np.zeros(shape, dtype=int)
    for (inner_rows, wide_rows), (inner_cols, wide_cols) in itertools.product(rows, cols):
        covered[inner_rows, inner_cols] += 1
        assert covered[wide_rows, wide_cols].size <= n_nodes
        for inner, wide, length in ((inner_rows, wide_rows, shape[0]), (inner_cols, wide_cols, shape[1])):
            assert wide.start % stride == 0
            assert wide.stop % stride == 0 or wide.stop == length
            assert wide.start == max(0, inner.start - halo)
            assert wide.stop == min(length, inner.stop + halo)
    assert (covered == 1).all()


def test_tiles_are_as_few_nodes_as_can_be():
    """A strip across has a halo on two sides only; squares have one on four."""
    rows, cols = prediction._tiles(1000, 400, 40, 8, 400 * 560)
    assert (len(rows), len(cols)) == (2, 1)
    rows, cols = prediction._tiles(1000, 1000, 120, 8, 700**2)
    assert (len(rows), len(cols)) == (2, 2), "strips of 490 rows would be four"


def test_a_long_lattice_is_not_cut_into_slivers():
    """To try all would take minutes and gigabytes."""
    assert len(prediction._ways_to_cut(160_000, halo=120, stride=8)) < 160_000 / 120 + 1
    assert len(prediction._ways_to_cut(16, halo=120, stride=8)) == 1


def test_where_no_tile_fits_the_smallest_are_taken():
    rows, cols = prediction._tiles(160, 160, 40, 8, 50**2)
    assert max(wide.stop - wide.start for _, wide in rows + cols) == 40 + 40 + 40


def test_a_tile_of_the_refiner_has_a_halo_as_wide_as_that_part_of_it_sees(monkeypatch):
    monkeypatch.setattr(prediction, "_TILE_NODES_OF_REFINER", 100 * 64)
    class_index = torch.arange(160 * 64).view(1, 160, 64) % 5
    inside, echo = torch.ones(1, 160, 64, dtype=torch.bool), Echo()
    context = look_around(echo, class_index, inside, NO_DATA, 2, level=0)
    assert torch.equal(context[:, 0], class_index.float())
    far = -(-refiner_radius(CONFIG.n_refiner_blocks, 0) // CONFIG.total_stride) * CONFIG.total_stride
    assert echo.shapes == [(80 + far, 64)] * 2
    echo.shapes.clear()
    answer = predict(echo, class_index, inside, NO_DATA, 2, level=0, context=context)
    assert torch.equal(answer[:, 1], class_index.float())
    near = -(-refiner_radius(0, CONFIG.n_pass_blocks) // CONFIG.total_stride) * CONFIG.total_stride
    assert echo.shapes == [(80 + near, 64)] * 2
    assert near < far < CONFIG.receptive_radius


AS_SHIPPED, HALO = NetworkConfig(n_bottom=3), 120


class SmallMemory(Echo):
    """An echo on a device whose memory holds so many nodes of a batch."""

    def __init__(self, most_nodes, config):
        super().__init__()
        self.most_nodes, self.config = most_nodes, config

    def __call__(self, class_index, inside, data, n_facies, **options):
        self.shapes.append(tuple(class_index.shape))
        if class_index.numel() > self.most_nodes:
            raise torch.OutOfMemoryError("out of memory")
        answer = class_index[:, None].expand(-1, n_facies, -1, -1).float().clone()
        answer[data.batch, data.class_index, data.row, data.col] += 10
        return answer


def ask_small_memory(most_nodes, shape, *, turns=()):
    """Return what a network as deep as the shipped ones was asked of maps with data, when it is right in the end."""
    echo, rng = SmallMemory(most_nodes, AS_SHIPPED), np.random.default_rng(3)
    assert -(-AS_SHIPPED.receptive_radius // 8) * 8 == HALO
    class_index = torch.from_numpy(rng.integers(-1, 2, shape))
    batch, row, col = (torch.from_numpy(rng.permutation(n)[np.arange(30) % n]) for n in shape)
    facies = torch.arange(30) % 2
    data = HardData(batch.sort().values, facies, row, col, torch.zeros(30), torch.zeros(30))
    expected = class_index[:, None].expand(-1, 2, -1, -1).float().clone()
    expected[data.batch, facies, row, col] += 10
    answer = predict(echo, class_index, class_index > -2, data, 2, level=0, turns=turns)
    assert torch.equal(answer, expected)
    return echo.shapes


def test_where_memory_is_short_fewer_maps_are_asked_about_at_a_time():
    assert ask_small_memory(50_000, (5, 200, 200)) == [(5, 200, 200), (2, 200, 200), *[(1, 200, 200)] * 5]
    turned = ask_small_memory(50_000, (5, 200, 200), turns=(0, 1, 1, 2, 3))
    assert turned == [(1, 200, 200), (2, 200, 200), *[(1, 200, 200)] * 4], "what was too much is not tried again"


@pytest.mark.parametrize("most_nodes", [500_000, 250_000, 140_000])
def test_where_one_map_does_not_fit_tiles_are_halved_until_they_do(most_nodes):
    shapes = ask_small_memory(most_nodes, (2, 900, 900))
    too_large = [n * rows * cols for n, rows, cols in shapes if n * rows * cols > most_nodes]
    assert too_large[:2] == [2 * 900**2, 900**2]
    assert all(larger > smaller for larger, smaller in zip(too_large, too_large[1:]))
    assert len(too_large) <= 4
    assert min(rows * cols for _, rows, cols in shapes) >= HALO**2


def test_where_tiles_would_be_halo_for_the_most_part_the_shortage_is_told():
    echo = SmallMemory(300**2, AS_SHIPPED)
    with pytest.raises(torch.OutOfMemoryError):
        predict(echo, torch.zeros(1, 900, 900).long(), torch.ones(1, 900, 900).bool(), NO_DATA, 2, level=0)
    assert 4 <= len(echo.shapes) <= 5
    assert min(rows * cols for _, rows, cols in echo.shapes) <= (3 * HALO) ** 2
