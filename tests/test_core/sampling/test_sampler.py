"""Laws of the sampler, on distributions that can be enumerated and on random networks."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from oadg.core.model import prediction
from oadg.core.model.network_config import NetworkConfig
from oadg.core.model.schedule import SCHEDULES, Schedule
from oadg.core.sampling import marginal as marginal_module
from oadg.core.sampling.marginal import marginal
from oadg.core.sampling.sampler import draw_facies, sample
from oadg.core.sampling.start import Start, coarsest_level, level_of, read_survey
from oadg.core.sampling.visits import draw_stream

ALL = Schedule.even((1,), 1)
"""Everything at once."""
ONE_BY_ONE = Schedule.even((64,), 64)
"""More passes than cells: on tiny grids, one cell after another (empty passes are left out)."""


@dataclass(frozen=True)
class GivenPasses:
    """A schedule that simulates given groups of ranks together, for laws about which cells may be."""

    groups: list

    def n_corrections(self, leg):
        return 0

    def balance_of(self, leg):
        return ()

    def split(self, rank, leg):
        position = {int(r): i for i, r in enumerate(rank)}
        found = [np.array([position[r] for r in group if r in position]) for group in self.groups]
        return [part for part in found if part.size]


def unknown(shape):
    return torch.full(shape, -1), torch.ones(shape, dtype=torch.bool)


def streams_of(seed, n, shape):
    return [draw_stream(seed, i, shape) for i in range(n)]


def frequencies(maps, predictor):
    """Return how often each enumerated map occurred."""
    weight = 2 ** np.arange(maps[0].numel())[::-1]
    code = (maps.flatten(1).numpy() * weight).sum(axis=1)
    return np.bincount(code, minlength=len(predictor.maps)) / len(maps)


def chi_square_is_fine(found, expected, n):
    """Pearson's test at about one in 10,000 (Wilson and Hilferty's normal approximation)."""
    possible = expected > 0
    assert found[~possible].sum() == 0
    statistic = (n * (found - expected)[possible] ** 2 / expected[possible]).sum()
    freedom = possible.sum() - 1
    z = ((statistic / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / np.sqrt(2 / (9 * freedom))
    return z < 3.7


def test_one_by_one_the_sampler_draws_from_the_joint(two_by_two):
    n, (known, inside) = 3000, unknown((2, 2))
    streams = [replace(s, offset=(0, 0)) for s in streams_of(1, n, (2, 2))]
    maps = sample(two_by_two, Start(known, inside, 2, 0), streams, GivenPasses([[0], [1], [2], [3]]))
    assert chi_square_is_fine(frequencies(maps, two_by_two), two_by_two.joint, n)


def test_all_at_once_it_does_not(two_by_two):
    """The test above can fail: cells drawn together are independent, which this joint is not."""
    n, (known, inside) = 3000, unknown((2, 2))
    streams = [replace(s, offset=(0, 0)) for s in streams_of(1, n, (2, 2))]
    maps = sample(two_by_two, Start(known, inside, 2, 0), streams, ALL)
    assert not chi_square_is_fine(frequencies(maps, two_by_two), two_by_two.joint, n)


def test_coarse_to_fine_with_a_datum_beside_the_lattice_is_exact(three_by_three):
    """Level 1 has its nodes at even cells; the datum at (1, 1) lies beside all of them."""
    n, (known, inside) = 3000, unknown((3, 3))
    known[1, 1] = 1
    rank = [r for s in range(9) for r in [s]]
    streams = [replace(s, offset=(0, 0)) for s in streams_of(2, n, (3, 3))]
    schedule = GivenPasses([[r] for r in rank])
    maps = sample(three_by_three, Start(known, inside, 2, 1), streams, schedule)
    expected = three_by_three.conditional([4], [1])
    assert chi_square_is_fine(frequencies(maps, three_by_three), expected, n)


def test_the_first_pass_is_the_expectation_of_the_sampler(three_by_three):
    known, inside = unknown((3, 3))
    known[0, 1] = 0
    found = marginal(three_by_three, Start(known, inside, 2, 0), positions_at_once=3)
    posterior = three_by_three.conditional([1], [0])
    exact = [[posterior[three_by_three.maps[:, c] == k].sum() for c in range(9)] for k in range(2)]
    assert found.flatten(1).numpy() == pytest.approx(np.array(exact), abs=1e-5)


class IndependentCells:
    """Every cell is facies 1 with probability 0.3, whatever is known: perfect conditionals of an i.i.d. field."""

    config = NetworkConfig()

    def __call__(self, class_index, inside, data, n_facies, *, level, features=None, context=None):
        logits = torch.tensor([0.7, 0.3]).log()[None, :, None, None]
        return logits.expand(len(class_index), 2, *class_index.shape[1:])


@pytest.mark.parametrize("quality", SCHEDULES)
def test_proportions_of_independent_cells_are_kept(quality):
    """Choosing cells by confidence gave 0.058 instead of 0.30: values are drawn at temperature 1."""
    known, inside = unknown((64, 64))
    start, streams = Start(known, inside, 2, 2), streams_of(3, 8, (64, 64))
    maps = sample(IndependentCells(), start, streams, SCHEDULES[quality])
    assert float((maps == 1).float().mean()) == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / maps.numel()))


@pytest.fixture
def conditioned():
    generator = torch.Generator().manual_seed(5)
    known, inside = unknown((40, 33))
    cells = torch.randperm(known.numel(), generator=generator)[:60]
    known.view(-1)[cells] = torch.randint(3, (60,), generator=generator)
    inside[30:, 20:] = False
    known[~inside] = -1
    return known, inside


def test_hard_data_are_honoured_and_cells_outside_stay_empty(deep_network, conditioned):
    known, inside = conditioned
    start, streams = Start(known, inside, 3, 1), streams_of(0, 4, (40, 33))
    maps = sample(deep_network, start, streams, SCHEDULES["preview"])
    assert (maps[:, known >= 0] == known[known >= 0]).all()
    assert (maps[:, ~inside] == -1).all()
    assert (maps[:, inside] >= 0).all()
    assert (maps[0] != maps[1]).any()


def test_a_realization_depends_on_seed_and_number_only(deep_network, conditioned):
    """The stream of realization 2 is the same alone and among others (and so, in batches of one shape, is its map)."""
    known, inside = conditioned
    start, schedule = Start(known, inside, 3, 1), SCHEDULES["preview"]
    together = sample(deep_network, start, streams_of(9, 4, (40, 33)), schedule)
    others = [draw_stream(9, i, (40, 33)) for i in (7, 2, 5, 6)]
    assert torch.equal(sample(deep_network, start, others, schedule)[1], together[2])
    assert not torch.equal(sample(deep_network, start, streams_of(10, 4, (40, 33)), schedule), together)


def test_cells_further_apart_than_the_radius_may_be_simulated_together(tiny_network):
    """The exact rung equals a sequential run in the same order."""
    shape, radius = (25, 25), tiny_network.config.receptive_radius
    known, inside = unknown(shape)
    stream = draw_stream(4, 0, shape)
    step = radius + 1
    row, col = np.indices(shape)
    group = (row % step) * step + col % step  # cells of a group are multiples of `step` apart
    order = np.lexsort((stream.rank.ravel(), group.ravel()))
    together = [stream.rank.ravel()[group.ravel() == g].tolist() for g in range(step * step)]
    one_by_one = [[int(r)] for r in stream.rank.ravel()[order]]
    start = Start(known, inside, 2, 0)
    exact = sample(tiny_network, start, [stream], GivenPasses(together))
    sequential = sample(tiny_network, start, [stream], GivenPasses(one_by_one))
    assert torch.equal(exact, sequential)
    at_once = sample(tiny_network, start, [stream], ALL)
    assert not torch.equal(at_once, sequential), "the law is not empty"


def test_tiled_equals_untiled(tiny_network, monkeypatch):
    shape = (70, 90)
    known, inside = unknown(shape)
    known[::7, ::5] = 1
    known[3::9, 2::8] = 0
    start, schedule = Start(known, inside, 2, 1), SCHEDULES["preview"]
    whole = sample(tiny_network, start, streams_of(1, 2, shape), schedule)
    probability = marginal(tiny_network, start, positions_at_once=4)
    monkeypatch.setattr(prediction, "_TILE_NODES_TIMES_STREAMS", 8 * 44**2)
    tiled_probability = marginal(tiny_network, start, positions_at_once=4)
    assert torch.allclose(probability, tiled_probability, atol=1e-5)
    assert torch.equal(sample(tiny_network, start, streams_of(1, 2, shape), schedule), whole)


def test_far_from_data_the_marginal_is_smooth_and_near_them_as_it_is():
    known = torch.full((60, 80), -1)
    known[20, 20] = 1
    checks = ((torch.arange(60)[:, None] + torch.arange(80)) % 4 < 2).float()
    probability = torch.stack([0.3 + 0.2 * checks, 0.7 - 0.2 * checks])
    has_datum = (known >= 0).float()
    smoothed = marginal_module._smooth_far_from_data(probability, has_datum, 4)
    assert torch.allclose(smoothed.sum(dim=0), torch.ones(60, 80), atol=1e-5)
    assert torch.equal(smoothed[:, 17:24, 17:24], probability[:, 17:24, 17:24])
    assert smoothed[0, 35:, 35:].std() < 0.1 * probability[0].std()
    assert torch.equal(marginal_module._smooth_far_from_data(probability, has_datum, 1), probability)


def test_the_marginal_itself_is_smooth_far_from_data(deep_network, monkeypatch):
    known, inside = unknown((60, 80))
    known[3, 3] = 1
    start = Start(known, inside, 3, 2)

    def roughness():
        """Return how far cells far from the datum are from the means of their neighbours in the row."""
        far = marginal(deep_network, start, positions_at_once=8)[:, 40:, 40:]
        return float((far[:, :, 1:-1] - (far[:, :, :-2] + far[:, :, 2:]) / 2).std())

    smoothed = roughness()
    monkeypatch.setattr(marginal_module, "_smooth_far_from_data", lambda probability, *_: probability)
    assert smoothed < 0.2 * roughness()


def test_the_marginal_covers_every_cell_once(deep_network, conditioned):
    known, inside = conditioned
    for level in (0, 1, 2):
        probability = marginal(deep_network, Start(known, inside, 3, level), positions_at_once=5)
        assert torch.allclose(probability.sum(dim=0), torch.ones(known.shape), atol=1e-5)
        row, col = (known >= 0).nonzero(as_tuple=True)
        assert (probability[known[row, col], row, col] == 1).all()


def test_far_apart_nodes_are_asked_at_some_places_and_interpolated_between(kriging_network, monkeypatch):
    """At the places that are asked nothing changes; between them probabilities are means of their neighbours'."""
    known, inside = unknown((40, 33))
    known[::9, ::7] = torch.arange(25).view(5, 5) % 3
    start = Start(known, inside, 3, 2, read_survey(kriging_network, known, 3))
    full = marginal(kriging_network, start, positions_at_once=5)
    monkeypatch.setattr(marginal_module, "_PLACES_PER_SPACING", 2)
    assert len(marginal_module.marginal_offsets(2)) == 16
    coarse = marginal(kriging_network, start, positions_at_once=5)
    asked = torch.zeros(known.shape, dtype=torch.bool)
    asked[1::2, 1::2] = True
    assert torch.allclose(coarse[:, asked], full[:, asked], atol=1e-5)
    assert torch.allclose(coarse.sum(dim=0), torch.ones(known.shape), atol=1e-5)
    free = known < 0
    between = torch.zeros_like(asked)
    between[2:-2:2, 1::2] = True
    between[1:] &= free[1:] & free[:-1]
    between[:-1] &= free[1:]
    mean = (coarse.roll(1, dims=1) + coarse.roll(-1, dims=1)) / 2
    assert torch.allclose(coarse[:, between], mean[:, between], atol=1e-5)


def test_kriging_is_told_on_the_coarsest_lattice_only(kriging_network, monkeypatch):
    known, inside = unknown((32, 32))
    known[::5, ::6] = torch.arange(42).view(7, 6) % 2
    told = []

    def predictor(class_index, inside, data, n_facies, *, level, features=None, context=None):
        told.append((level, features is not None))
        return kriging_network(class_index, inside, data, n_facies, level=level, features=features)

    predictor.config = kriging_network.config
    start = Start(known, inside, 2, 2, read_survey(kriging_network, known, 2))
    maps = sample(predictor, start, streams_of(0, 2, (32, 32)), SCHEDULES["preview"])
    assert set(told) == {(2, True), (1, False), (0, False)}
    assert (maps[:, known >= 0] == known[known >= 0]).all()


def test_kriging_tells_the_marginal_of_a_survey_what_it_tells_realizations(kriging_network):
    """Lengths are in distances from node to node."""
    known, inside = unknown((32, 32))
    known[::5, ::6] = torch.arange(42).view(7, 6) % 2
    told = []

    def predictor(class_index, inside, data, n_facies, *, level, features=None, context=None):
        if features is not None:
            told.append(features.of_place.movedim(1, -1)[inside][:, 2:])  # not where a node lies
        return kriging_network(class_index, inside, data, n_facies, level=level, features=features)

    predictor.config = kriging_network.config
    start = Start(known, inside, 2, 2, read_survey(kriging_network, known, 2))
    sample(predictor, start, streams_of(0, 1, (32, 32)), SCHEDULES["preview"])
    (of_survey,) = torch.cat(told).unique(dim=0)
    told.clear()
    marginal(predictor, start, positions_at_once=4)
    assert torch.equal(torch.cat(told).unique(dim=0), of_survey[None])


def test_kriging_is_read_from_as_many_data_as_it_can_take(kriging_network, tiny_network):
    known, _ = unknown((60, 60))
    assert read_survey(kriging_network, known, 2) is None
    known[0, 0] = 1
    assert read_survey(kriging_network, known, 2) is None
    known[3, 4] = 0
    assert read_survey(kriging_network, known, 2) is not None
    assert read_survey(tiny_network, known, 2) is None
    known[:51] = 1
    assert read_survey(kriging_network, known, 2) is None


def test_drawing_inverts_the_cumulative_distribution():
    probability = torch.tensor([[0.2, 0.5, 0.3], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]])
    uniform = torch.tensor([[0.1], [0.0], [0.5]]).expand(-1, 1)
    assert draw_facies(probability, uniform[:, 0]).tolist() == [0, 1, 2]
    almost_one = torch.full((3,), 1 - 2**-24)
    assert draw_facies(probability, almost_one).tolist() == [2, 1, 2]


def test_streams_do_not_depend_on_how_many_there_are():
    first = draw_stream(5, 3, (10, 12))
    again = draw_stream(5, 3, (10, 12))
    assert (first.uniform == again.uniform).all()
    assert (first.rank == again.rank).all()
    assert (draw_stream(5, 4, (10, 12)).uniform != first.uniform).any()


@pytest.mark.parametrize(
    ("shape", "n_data", "level"),
    [((20, 20), 10, 0), ((97, 117), 100, 2), ((97, 117), 1000, 1), ((1000, 1000), 50, 5), ((3, 2000), 5, 0)],
)
def test_coarsest_level(shape, n_data, level):
    assert coarsest_level(NetworkConfig(), shape, n_data) == level


def test_a_network_of_one_image_starts_no_coarser_than_it_has_learnt():
    assert coarsest_level(NetworkConfig(n_levels=3, n_classes=2), (1000, 1000), 50) == 2
    assert coarsest_level(NetworkConfig(n_levels=9, n_classes=2), (1000, 1000), 50) == 5


def test_an_empty_margin_around_the_data_coarsens_the_lattice_once_less():
    known = torch.full((100, 100), -1)
    known[::6, ::6] = 0
    wide = torch.nn.functional.pad(known, (50, 50, 50, 50), value=-1)
    wider = torch.nn.functional.pad(known, (150, 150, 150, 150), value=-1)
    line = torch.full((200, 200), -1)
    line[100, ::5] = 1
    levels = [level_of(NetworkConfig(), maps) for maps in (known, wide, wider, line, torch.full((200, 200), -1))]
    assert levels == [2, 2, 3, 3, 3]
    assert [coarsest_level(NetworkConfig(), (n, n), 289) for n in (100, 200, 400)] == [2, 3, 4]
    assert level_of(NetworkConfig(n_levels=4, n_classes=2), wide) == 3, "an image's structures want the coarse start"


@pytest.mark.parametrize(("side", "level"), [(70, 1), (71, 2)])
def test_a_square_of_data_that_is_half_of_the_grid_has_no_margin(side, level):
    known = torch.full((100, 100), -1)
    known[0, 0] = known[side - 1, side - 1] = 1
    assert level_of(NetworkConfig(), known) == level


class SmallMemory:
    """A network on a device whose memory holds so many nodes of a lattice at a time."""

    def __init__(self, network, most_nodes):
        self.network, self.most_nodes, self.config, self.shapes = network, most_nodes, network.config, []

    def __call__(self, class_index, *arguments, **options):
        self.shapes.append(tuple(class_index.shape[1:]))
        if class_index[0].numel() > self.most_nodes:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return self.network(class_index, *arguments, **options)


def test_where_memory_does_not_suffice_tiles_get_smaller(tiny_network, monkeypatch):
    monkeypatch.setattr(prediction, "_TILE_NODES_TIMES_STREAMS", 8 * 400**2)
    shape = (150, 180)
    known, inside = unknown(shape)
    known[::7, ::5] = 1
    told = Start(known, inside, 2, 0), streams_of(1, 1, shape), Schedule.even((1,), 2)
    whole = sample(tiny_network, *told)
    small = SmallMemory(tiny_network, 110**2)
    assert torch.equal(sample(small, *told), whole)
    assert max(a * b for a, b in small.shapes) > 110**2, "it tried"


def test_where_no_tile_fits_the_shortage_is_told(tiny_network):
    start = Start(*unknown((60, 60)), 2, 0)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        sample(SmallMemory(tiny_network, 10), start, streams_of(1, 1, (60, 60)), SCHEDULES["preview"])


def test_corrections_leave_a_law_that_is_right_as_it_is(three_by_three):
    """Nodes that are drawn anew together do not touch, so that given all others they are independent."""
    n, (known, inside) = 3000, unknown((3, 3))
    known[1, 1] = 1
    streams = [replace(s, offset=(0, 0)) for s in streams_of(2, n, (3, 3))]
    schedule = replace(ONE_BY_ONE, corrections=(4,))
    maps = sample(three_by_three, Start(known, inside, 2, 0), streams, schedule)
    assert chi_square_is_fine(frequencies(maps, three_by_three), three_by_three.conditional([4], [1]), n)


def test_corrections_repair_what_was_drawn_all_at_once(two_by_two):
    n, start = 3000, Start(*unknown((2, 2)), 2, 0)
    streams = [replace(s, offset=(0, 0)) for s in streams_of(1, n, (2, 2))]
    at_once = sample(two_by_two, start, streams, ALL)
    repaired = sample(two_by_two, start, streams, replace(ALL, corrections=(40,)))
    assert not chi_square_is_fine(frequencies(at_once, two_by_two), two_by_two.joint, n)
    assert chi_square_is_fine(frequencies(repaired, two_by_two), two_by_two.joint, n)


def test_corrections_keep_data_and_depend_on_seed_and_number_only(deep_network, conditioned):
    known, inside = conditioned
    start, schedule = Start(known, inside, 3, 1), replace(SCHEDULES["preview"], corrections=(3, 5))
    together = sample(deep_network, start, streams_of(9, 4, (40, 33)), schedule)
    assert (together[:, known >= 0] == known[known >= 0]).all()
    assert (together[:, ~inside] == -1).all()
    others = [draw_stream(9, i, (40, 33)) for i in (7, 2, 5, 6)]
    assert torch.equal(sample(deep_network, start, others, schedule)[1], together[2])
    without = sample(deep_network, start, streams_of(9, 4, (40, 33)), SCHEDULES["preview"])
    assert not torch.equal(without, together)
