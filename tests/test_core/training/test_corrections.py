"""How often nodes are drawn anew is measured: as often as does least harm."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from oadg.core.contract.errors import Cancelled
from oadg.core.contract.facies import build_facies_table
from oadg.core.contract.training_image import image_of_codes
from oadg.core.model.facies_model import FaciesModel
from oadg.core.model.network import FaciesNetwork
from oadg.core.model.network_config import NetworkConfig
from oadg.core.sampling.realizations import simulate_anew, simulate_lattices
from oadg.core.sampling.sampler import sample
from oadg.core.sampling.start import Start
from oadg.core.sampling.visits import draw_stream
from oadg.core.training import corrections
from oadg.core.training.corrections import measure_corrections
from oadg.core.training.schedules import N_PARTS, measured_schedules

CONFIG = NetworkConfig(trunk=(8, 8), stream=(8, 8), n_levels=3, n_classes=2, refiner=8, refined_above=1)
IMAGE = (np.add.outer(np.arange(300), 2 * np.arange(320)) // 48 % 2).astype(np.int16)


@pytest.fixture
def model():
    torch.manual_seed(0)
    network = FaciesNetwork(CONFIG).eval().requires_grad_(False)
    table = np.triu(np.ones((N_PARTS, N_PARTS)))
    schedules, _ = measured_schedules([table] * 4, table, 2)
    return FaciesModel("stripes", network, facies=build_facies_table([0, 1]), max_facies=2, schedules=schedules)


def image_of(class_index):
    return image_of_codes(class_index.astype(int), class_index >= 0)


def piece_of_image(asked):
    n_rows, n_cols = (span.stop - span.start for span in asked)
    return np.pad(IMAGE, ((0, 512), (0, 512)), mode="reflect")[:n_rows, :n_cols]


def simulate_nothing(predictor, start, streams, schedule, after, **_):
    return torch.zeros(len(after), len(streams), *start.known[start.wanted].shape)


def simulate_harm(best, asked_for):
    """Return a `simulate_anew` of pieces of the image: the farther passes are from the best, the more is wrong."""

    def simulate(predictor, start, streams, schedule, after, *, until, on_pass):
        on_pass()
        asked_for.append((until, schedule.corrections))
        assert schedule.corrections[: until + 1] == (*([0] * until), max(after))
        rng, maps, tried = np.random.default_rng(len(asked_for)), piece_of_image(start.wanted), list(after)

        def draw(off):
            return np.stack([np.where(rng.random(maps.shape) < 0.05 * off, 1, maps) for _ in streams])

        return torch.from_numpy(np.stack([draw(abs(tried.index(n) - tried.index(best[until]))) for n in tried]))

    return simulate


@pytest.mark.parametrize("best", [{2: 12, 3: 36}, {2: 3, 3: 120}, {2: 36, 3: 3}, {2: 3, 3: 3}])
def test_nodes_are_drawn_anew_as_often_as_does_least_harm(model, monkeypatch, best):
    asked_for = []
    monkeypatch.setattr(corrections, "simulate_anew", simulate_harm(best, asked_for))
    chosen = measure_corrections(model, image_of(IMAGE), seed=1)
    of = {quality: schedule.corrections for quality, schedule in chosen.items()}
    assert of == {
        "standard": (24, 24, best[2], best[3]),
        "fine": (36, 36, best[2], best[3]),
        "preview": (4, 8, best[2] // 3, best[3] // 3),
    }
    levels = [level for level, _ in asked_for]
    assert levels == [3] * len(levels[: levels.index(2)]) + [2] * len(levels[levels.index(2) :]), "coarse to fine"
    assert {of_level[3:] for level, of_level in asked_for if level == 2} == {(best[3],)}, "after those chosen before"
    for quality, schedule in chosen.items():
        before = model.schedules[quality]
        assert (schedule.refined, schedule.started) == (before.refined, before.started)


@pytest.mark.parametrize(
    ("harm", "loss", "chosen"),
    [
        ({0: 1.0, 3: 0.7, 12: 0.9}, {}, 3),
        ({0: 1.0, 3: 0.85, 12: 0.9}, {}, 0),  # about as good
        ({0: 2.0, 3: 1.2, 12: 1.1, 36: 0.95}, {}, 12),
        ({0: 1.0, 3: 0.7, 12: 0.9}, {0: 0.95}, 0),  # data are honoured by far better
        ({0: 1.0, 3: 0.2, 12: 0.9}, {0: 0.98}, 3),
        ({0: 1.0, 3: 0.7}, {0: 0.0, 3: 0.0}, 3),  # where nothing is hidden
    ],
)
def test_the_fewest_passes_are_taken_that_do_about_as_little_harm_as_can_be(harm, loss, chosen):
    tried = {n: corrections._Found(of_n, np.full(4000, loss.get(n, 1.0))) for n, of_n in harm.items()}
    assert corrections._fewest_that_are_harmless(tried) == chosen


@pytest.mark.parametrize("scale", [1.0, 0.05])
def test_the_loss_at_few_nodes_counts_less(scale):
    """And as a share of itself, whether much is lost or little."""
    for n_nodes, chosen in ((4000, 0), (100, 3)):
        losses = scale * np.full(n_nodes, 0.96), scale * np.ones(n_nodes)
        tried = {n: corrections._Found(harm, loss) for n, harm, loss in zip((0, 3), (1.0, 0.3), losses)}
        assert corrections._fewest_that_are_harmless(tried) == chosen


@pytest.mark.parametrize("level", [1, 2, 3])
def test_nodes_are_taken_where_they_were_simulated(model, level):
    """All of them, of each map at its own places: but for those beyond the grid nothing is missing."""
    lattices = corrections._Lattices(model, image_of(IMAGE), 0, lambda: None)
    known = np.full((90, 110), -1)
    known[5, 7] = 1
    start = lattices._start(known)
    streams = [lattices._stream(number, start) for number in range(3)]
    (nodes,) = lattices._simulate(start, streams, level, [3], (0,) * (3 - level))
    assert nodes.shape == (3, -(-90 // 2**level), -(-110 // 2**level))
    assert (nodes[:, :-1, :-1] >= 0).all()


def test_what_data_tell_is_the_log_loss_at_nodes_of_the_held_out_block(model, monkeypatch):
    """Maps that are the block itself lose next to nothing, wherever the nodes lie; others as much as they are off."""
    image, n = image_of(IMAGE), corrections._N_MAPS_GIVEN_DATA

    def simulate(predictor, start, streams, *_, flips=False, **__):
        is_block = start.known[start.wanted].shape == image.held_out.shape
        maps = image.held_out if is_block else piece_of_image(start.wanted)
        return torch.from_numpy(np.stack([1 - maps if flips else maps] * len(streams))[None])

    for flips, n_right in ((False, n), (True, 0)):
        monkeypatch.setattr(corrections, "simulate_anew", partial(simulate, flips=flips))
        found = corrections._Lattices(model, image, 0, lambda: None).measure(2, [3], (0,))[3]
        assert found.loss_nats == pytest.approx(-np.log((n_right + 0.5) / (n + 1)))
        assert len(found.loss_nats) > 6 * 18 * 19


def test_what_data_tell_is_asked_where_none_are(model, monkeypatch):
    """Of a block whose western third was surveyed, and whose eastern one has no facies, at nodes of the middle one."""
    lattices = corrections._Lattices(model, image_of(IMAGE), 0, lambda: None)
    third = lattices.block.shape[1] // 3
    col = np.arange(3 * third)
    lattices.block = np.where(col < 2 * third, lattices.block[:, : 3 * third], -1)

    monkeypatch.setattr(corrections, "simulate_anew", simulate_nothing)
    lattices.surveys = [lattices._start(np.where(col < third, lattices.block, -1))]
    (losses,) = lattices._losses_given_data(2, [3], (0,))
    assert len(losses) == pytest.approx(lattices.block.size / 16 / 3, rel=0.1)
    lattices.surveys = [lattices._start(lattices.block)]
    (losses,) = lattices._losses_given_data(2, [3], (0,))
    assert losses.tolist() == [0], "of nothing nothing is lost"


def test_surveys_are_of_the_held_out_block_which_training_did_not_see(model):
    """A datum for every five, fifteen and forty nodes of the coarsest lattice, every fourth row and column."""
    image = image_of(IMAGE)
    lattices = corrections._Lattices(model, image, 0, lambda: None)
    surveys = [start.known[start.wanted].numpy() for start in lattices.surveys]
    for known in surveys:
        assert known.shape == image.held_out.shape
        assert (known == image.held_out)[known >= 0].all()
    n_nodes = image.held_out.size // 16
    assert [(known >= 0).sum() for known in surveys] == [n_nodes // share for share in (5, 15, 40, 5, 15, 40)]
    assert (surveys[0] != surveys[3]).any()


def test_unlike_pairs_are_off_by_the_root_mean_square_of_logarithms_of_what_is_known():
    """Of all facies together: twice as many at one lag, half of them at another, and nothing known at a third."""
    wanted = np.array([[[0.1, 0.2, np.nan], [0.3, np.nan, 0.2]], [[0.1, 0.2, 0.2], [0.1, np.nan, 0.2]]])
    found = np.stack([wanted[0], wanted.sum(axis=0) * np.array([[2, 1, 1], [1, 1, 0.5]]) - wanted[0]])
    off = corrections._unlike(SimpleNamespace(variogram=found), SimpleNamespace(variogram=wanted))
    assert off == pytest.approx(np.log(2) / np.sqrt(2))
    unknown = SimpleNamespace(variogram=np.full((2, 2, 3), np.nan))
    assert corrections._unlike(unknown, SimpleNamespace(variogram=wanted)) == 0


@pytest.mark.parametrize(("share", "unlike", "connected"), [(0.0, 0.0, np.nan), (0.1, 0.05, 0.06)])
def test_harm_is_counted_in_what_matters(model, monkeypatch, share, unlike, connected):
    """A twentieth of a facies' share, a tenth of the unlike pairs and a fiftieth of the connected ones are as bad."""
    image = image_of(IMAGE)
    proportions = np.tile(image.proportions + np.array([share / 2, -share]), (4, 1))
    monkeypatch.setattr(corrections, "simulate_anew", simulate_nothing)
    monkeypatch.setattr(corrections, "measure", lambda *_, **__: SimpleNamespace(proportions=proportions))
    monkeypatch.setattr(corrections, "_unlike", lambda *_: unlike)
    monkeypatch.setattr(corrections, "connectivity_misfit", lambda *_: connected)
    found = corrections._Lattices(model, image, 0, lambda: None).measure(2, [3], (0,))[3]
    assert found.harm == pytest.approx(share / 0.05 + unlike / 0.1 + np.nan_to_num(connected) / 0.02)


ROWS, COLS = np.mgrid[:700, :760]
PATCHES = np.random.default_rng(3).integers(3, size=(44, 48))[ROWS // 16, COLS // 16]
UNEVEN = (((ROWS + COLS) // 16 + PATCHES) % 2).astype(np.int16)
UNEVEN[:256, :256] = (ROWS + COLS)[:256, :256] // 48 % 2
"""Patches, but for stripes in one corner."""


def harm_of(model, monkeypatch, change=lambda maps: maps, image=UNEVEN):
    """Return the harm of lattices of random pieces of the image without its holes, changed."""
    rng = np.random.default_rng(7)

    def piece(n_rows, n_cols):
        row, col = (int(rng.integers(side - n + 1)) for side, n in zip(UNEVEN.shape, (n_rows, n_cols)))
        return UNEVEN[row : row + n_rows, col : col + n_cols]

    def simulate(predictor, start, streams, *_, **__):
        return torch.from_numpy(np.stack([change(piece(*start.known[start.wanted].shape)) for _ in streams])[None])

    monkeypatch.setattr(corrections, "simulate_anew", simulate)
    return corrections._Lattices(model, image_of(image), 0, lambda: None).measure(2, [3], (0,))[3].harm


def test_what_is_like_the_image_does_no_harm_and_what_is_not_does(model, monkeypatch):
    """One facies too much of, bodies that are too long, and specks."""
    assert harm_of(model, monkeypatch) < 2.5
    for wrong in (
        lambda maps: np.where(np.arange(maps.shape[1]) % 40 < 8, 1, maps),
        lambda maps: np.repeat(maps[:1], len(maps), axis=0),
        lambda maps: np.where(np.random.default_rng(0).random(maps.shape) < 0.1, 1 - maps, maps),
    ):
        assert harm_of(model, monkeypatch, wrong) > 6


@pytest.mark.parametrize("turn", range(4))
def test_no_corner_of_the_image_stands_for_it(model, monkeypatch, turn):
    image = np.flip(UNEVEN, axis=[axis for axis in (0, 1) if turn >> axis & 1])
    assert harm_of(model, monkeypatch, image=np.ascontiguousarray(image)) < 2.5


@pytest.mark.parametrize(
    "hole",
    [
        (ROWS < 300) & (COLS < 300),
        COLS % 60 < 6,
        ROWS - COLS > 0,
        np.random.default_rng(0).random(UNEVEN.shape) < 0.4,
    ],
    ids=["corner", "stripes", "half", "scattered"],
)
def test_holes_in_the_image_are_no_harm_of_what_is_simulated(model, monkeypatch, hole):
    assert harm_of(model, monkeypatch, image=np.where(hole, -1, UNEVEN)) < 2.5
    broken = harm_of(model, monkeypatch, lambda maps: np.where(np.arange(len(maps))[:, None] % 24 < 4, 0, maps))
    assert broken > 6


def test_lattices_of_a_small_image_are_compared_with_as_large_parts_of_those_simulated(model, monkeypatch):
    small = UNEVEN[300:370, 300:396]
    assert harm_of(model, monkeypatch, image=small) < 5
    assert harm_of(model, monkeypatch, lambda maps: np.ones_like(maps), image=small) > 20


def test_a_network_and_holes_in_the_image_go_through_it_and_the_seed_decides(model, monkeypatch):
    monkeypatch.setattr(corrections, "_SIDE_CELLS", 128)
    monkeypatch.setattr(corrections, "_N_MAPS", 4)
    monkeypatch.setattr(corrections, "_NODES_PER_DATUM", (5, 40))
    image = np.where(np.arange(300)[:, None] < 20, -1, IMAGE).astype(np.int16)
    first, again = (measure_corrections(model, image_of(image), seed=3) for _ in range(2))
    assert first == again
    assert len(first["standard"].corrections) == 4
    assert set(first["standard"].corrections[2:]) <= {0, 3, 12, 36, 120}


def test_measuring_can_be_cancelled(model):
    def cancel():
        raise Cancelled("The training was cancelled.")

    with pytest.raises(Cancelled):
        measure_corrections(model, image_of(IMAGE), seed=1, on_pass=cancel)


@pytest.mark.parametrize("until", [1, 2, 3])
def test_a_simulation_that_ends_early_has_the_nodes_that_the_whole_one_starts_with(model, until):
    shape = (100, 120)
    known, inside = torch.full(shape, -1), torch.ones(shape, dtype=torch.bool)
    known[5, 7] = 1
    streams = [draw_stream(4, index, shape) for index in range(2)]
    told = Start(known, inside, 2, 2), streams, replace(model.schedules["preview"], corrections=())
    whole, part = (sample(model.network, *told, until=end) for end in (0, until))
    for stream, of_whole, of_part in zip(streams, whole, part):
        row, col = (np.arange(n) + offset for n, offset in zip(shape, stream.offset))
        is_node = torch.from_numpy(np.add.outer(row % 2**until, col % 2**until) == 0)
        is_node[5, 7] = True
        assert torch.equal(of_part >= 0, is_node)
        assert torch.equal(of_part[is_node], of_whole[is_node])


def test_lattices_are_the_same_after_as_many_passes_that_draw_anew_whether_more_follow_or_not(model):
    """Hard data stay; of the last level alone the passes count, and only a quarter of its nodes changes in one."""
    shape = (90, 110)
    known, inside = torch.full(shape, -1), torch.ones(shape, dtype=torch.bool)
    known[5, 7] = 1
    start, streams = Start(known, inside, 2, 2), [draw_stream(4, index, shape) for index in range(9)]
    told = model.network, start, streams

    def schedule_of(n_passes):
        return replace(model.schedules["preview"], corrections=(0, 0, n_passes, 7))

    few, many = (simulate_anew(*told, schedule_of(after[-1]), after, until=2) for after in ([6, 7, 12], [6, 7, 18]))
    assert few.shape == (3, len(streams), *shape)
    assert torch.equal(few[:2], many[:2])
    assert (many[:, :, 5, 7] == 1).all()
    assert torch.equal(many[-1], simulate_lattices(*told, schedule_of(18), until=2))
    changed = ((few[0] != few[1]).sum() / (few[0] >= 0).sum()).item()
    assert 0.01 < changed <= 0.3
