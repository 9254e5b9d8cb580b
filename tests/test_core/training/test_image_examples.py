"""What a model of an image learns from is the image's, turned as declared, and never what is held out."""

import itertools

import numpy as np
import pytest
import torch

from oadg.core.contract.facies import build_facies_table
from oadg.core.contract.training_image import SYMMETRIES, TrainingImage
from oadg.core.model.lattice import Lattice
from oadg.core.model.network_config import NetworkConfig
from oadg.core.training import examples as examples_module
from oadg.core.training import image_examples
from oadg.core.training.examples import make_examples, oriented, shares_refined, shares_started
from oadg.core.training.image_examples import ImageExamples, survey_windows

ORIENTATIONS = {"none": 1, "half turn": 2, "flips": 4, "rotations": 8}


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(image_examples, "_BATCH_CELLS", 4000)


def image_of(class_index, symmetry="none"):
    n_facies = max(2, int(class_index.max()) + 1)
    return TrainingImage(class_index.astype(np.int16), build_facies_table(list(range(n_facies))), symmetry)


def examples_of(image, n_levels, *, seed, refined_above=0):
    """Return the batches of a network with a refiner; its lattices have multiples of four rows and columns."""
    shape = {"trunk": (8, 8), "stream": (8, 8), "n_classes": len(image.facies), "refiner": 8}
    return ImageExamples(image, NetworkConfig(**shape, n_levels=n_levels, refined_above=refined_above), seed)


def compass(shape=(120, 150)):
    """Return an image of nine facies that tells directions: one digit counts rows, the other columns."""
    row, col = np.indices(shape)
    return row % 3 * 3 + col % 3


def directions(drawn, index):
    """Return by how much each digit of the compass grows (mod 3) from node to node, southwards and eastwards."""
    truth, inside = drawn.truth[index], drawn.inside[index]
    found = []
    for axis in (0, 1):
        n = truth.shape[axis]
        near, far = (torch.arange(n - 1), torch.arange(1, n))
        both = inside.index_select(axis, near) & inside.index_select(axis, far)
        for digit in (truth // 3, truth % 3):
            growth = (digit.index_select(axis, far) - digit.index_select(axis, near)) % 3
            (one,) = growth[both].unique().tolist()
            found.append(one)
    return tuple(found)


def tensors(drawn):
    return [*drawn.data, drawn.class_index, drawn.inside, drawn.present, drawn.truth, drawn.unknown]


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_a_window_has_the_orientations_that_its_symmetry_allows(symmetry):
    window = torch.arange(6).view(2, 3)
    rng = np.random.default_rng(0)
    found = set()
    for _ in range(200):
        turned = oriented(window, rng, symmetry, transposed=symmetry == "rotations" and bool(rng.integers(2)))
        found.add((tuple(turned.shape), tuple(turned.flatten().tolist())))
    assert len(found) == ORIENTATIONS[symmetry]
    assert ((2, 3), tuple(range(6))) in found
    assert (((2, 3), tuple(range(5, -1, -1))) in found) == (symmetry != "none")


@pytest.mark.parametrize("symmetry", SYMMETRIES)
@pytest.mark.parametrize("what", ["learnt", "held out"])
def test_batches_show_the_image_as_its_symmetry_allows(symmetry, what):
    drawn = examples_of(image_of(compass(), symmetry), 1, seed=1)
    draw = drawn if what == "learnt" else drawn.held_out
    found = {directions(batch, index) for batch in map(draw, range(25)) for index in range(len(batch.truth))}
    assert len(found) == ORIENTATIONS[symmetry]
    assert (1, 0, 0, 1) in found
    assert ((2, 0, 0, 2) in found) == (symmetry != "none")


def test_nodes_of_a_level_are_its_spacing_apart_and_every_level_is_drawn():
    draw = examples_of(image_of(compass()), 3, seed=2)
    levels = set()
    for batch in map(draw, range(25)):
        levels.add(batch.level)
        growth = 2**batch.level % 3
        assert all(directions(batch, index) == (growth, 0, 0, growth) for index in range(len(batch.truth)))
    assert levels == {0, 1, 2}


@pytest.mark.parametrize("symmetry", ["none", "rotations"])
def test_no_batch_shows_what_is_held_out_or_its_gap(symmetry):
    """Facies 1 is the gap, facies 2 what is held out."""
    place = np.zeros((100, 130))
    image = image_of(place)
    row, col = (n - held for n, held in zip(image.shape, image.held_out.shape))
    place[row - image.gap :, col - image.gap :] = 1
    place[row:, col:] = 2
    draw = examples_of(image_of(place, symmetry), 3, seed=3)
    n_data = 0
    for step in range(40):
        batch, held_out = draw(step), draw.held_out(step)
        assert (batch.truth[batch.inside] == 0).all()
        assert (batch.data.class_index == 0).all()
        assert (held_out.truth[held_out.inside] == 2).all()
        n_data += len(batch.data.row)
    assert n_data > 100


def test_a_batch_is_a_function_of_its_step():
    image = image_of(compass(), "rotations")
    for draw in (examples_of(image, 3, seed=4), examples_of(image, 3, seed=4).held_out):
        later = draw(6)
        first, again = draw(5), draw(5)
        assert first.level == again.level
        assert all(torch.equal(a, b) for a, b in zip(tensors(first), tensors(again)))
        assert not all(torch.equal(a, b) for a, b in zip(tensors(first), tensors(later)))
    other = examples_of(image, 3, seed=5)(5)
    assert not all(torch.equal(a, b) for a, b in zip(tensors(examples_of(image, 3, seed=4)(5)), tensors(other)))


def with_nodata():
    facies = compass() // 3
    facies[np.random.default_rng(0).random(facies.shape) < 0.3] = -1
    return image_of(facies, "flips")


def test_of_large_windows_squares_are_surveyed_and_a_cell_in_each(monkeypatch):
    monkeypatch.setattr(image_examples, "_FINEST_SURVEYED", 1)
    windows = torch.zeros(6, 64, 96, dtype=torch.int64)
    draw, rng, generator = examples_of(image_of(compass()), 3, seed=0), np.random.default_rng(1), torch.Generator()
    surveyed, _ = draw._survey(windows, 2, rng, generator.manual_seed(2), np.full(6, 0.9), 1.0)
    in_squares = surveyed.view(6, 16, 4, 24, 4).sum(dim=(2, 4))
    most = min(image_examples._MOST_DATA, image_examples._MOST_DATA_SHARE * 64 * 96)
    assert in_squares.max() == 1
    assert (in_squares.sum(dim=(1, 2)) == int(most**0.9)).all()
    _, row, col = surveyed.nonzero(as_tuple=True)
    assert len(set((row % 4).tolist())) == len(set((col % 4).tolist())) == 4


@pytest.mark.parametrize("finest_surveyed", [8, 1])
def test_nodata_is_never_asked_and_never_a_datum(finest_surveyed, monkeypatch):
    monkeypatch.setattr(image_examples, "_FINEST_SURVEYED", finest_surveyed)
    draw = examples_of(with_nodata(), 3, seed=6)
    for step in range(30):
        for batch in (draw(step), draw.held_out(step)):
            nodata = ~batch.inside  # and what lies beyond the window
            assert (batch.truth[batch.inside] >= 0).all()
            assert (batch.truth[nodata] == -1).all()
            assert (batch.class_index[nodata] == -1).all()
            assert not (batch.unknown & nodata).any()
            data = batch.data
            assert (data.class_index >= 0).all()
            on_node = (data.south == 0) & (data.east == 0)
            assert batch.inside[data.batch[on_node], data.row[on_node], data.col[on_node]].all()
            rows, cols = batch.inside.any(dim=2).sum(dim=1), batch.inside.any(dim=1).sum(dim=1)
            assert 0.6 < batch.inside.sum() / (rows * cols).sum() < 0.8, "windows do hold nodata"


def test_every_node_is_known_or_asked_and_what_is_known_is_true(monkeypatch):
    monkeypatch.setattr(image_examples, "_MISLED_SHARE", 0.0)
    draw = examples_of(with_nodata(), 3, seed=7)
    for step in range(20):
        for batch in (draw(step), draw.held_out(step)):
            known = batch.class_index >= 0
            assert torch.equal(known | batch.unknown, batch.inside)
            assert not (known & batch.unknown).any()
            assert torch.equal(batch.class_index[known], batch.truth[known])
            assert batch.present.all()
            assert batch.n_facies == 3


def test_around_some_data_the_refiner_learns_to_go_by_them(monkeypatch):
    """There known nodes have another facies than the datum's; data and what lies farther away are true."""
    monkeypatch.setattr(image_examples, "_MISLED_SHARE", 0.5)
    monkeypatch.setattr(image_examples, "_MOST_DATA_SHARE", 0.002)
    facies = np.kron(np.random.default_rng(1).integers(3, size=(40, 50)), np.ones((6, 6), dtype=int))
    draw = examples_of(image_of(facies), 2, seed=7)
    alone, wrong = [], 0
    for batch in filter(lambda batch: batch.refines, map(draw, range(60))):
        known, n_states = batch.class_index >= 0, len(batch.truth) // len(batch.coarser)
        assert torch.equal(known | batch.unknown, batch.inside)
        before = batch.coarser.repeat_interleave(n_states, dim=0)
        assert torch.equal(before[before >= 0], batch.class_index[before >= 0]), "what is read once is known as it is"
        spoilt = known & (batch.class_index != batch.truth)
        rows, cols = (torch.arange(n) for n in batch.truth.shape[1:])
        nearest = torch.full(batch.truth.shape, torch.inf)
        for of_map, class_index, row, col, south, east in zip(*batch.data):
            away = torch.hypot((rows - row - south)[:, None], (cols - col - east)[None])
            nearest[of_map] = torch.minimum(nearest[of_map], away)
            beside = known[of_map] & (away > 0) & (away <= 0.5) & (batch.truth[of_map] == class_index)
            alone += (batch.class_index[of_map][beside] != class_index).tolist()
        assert not spoilt[(nearest == 0) | (nearest > 3)].any()
        wrong += int(spoilt.sum())
    assert wrong > 100
    assert 0.2 < np.mean(alone) < 0.5, "half of them, less those that a facies of their own was drawn for"


def lattices(n_maps, shape):
    generator = torch.Generator().manual_seed(0)
    for spacing in (1, 2, 4):
        yield Lattice.at(shape, spacing, torch.randint(2 * spacing, (n_maps, 2), generator=generator), 4)


def test_data_are_where_the_truth_says():
    """Each datum is a surveyed cell of its window, each surveyed cell is a datum."""
    generator = torch.Generator().manual_seed(8)
    windows = torch.randint(-1, 3, (5, 17, 22), generator=generator)
    surveyed = (torch.rand(windows.shape, generator=generator) < 0.1) & (windows >= 0)
    for lattice in lattices(5, (17, 22)):
        batch = make_examples(windows, surveyed, lattice, 3, np.zeros(5), np.random.default_rng(0), generator)
        data, found = batch.data, torch.full_like(windows, -1)
        cell = [
            lattice.offset[data.batch, axis]
            + ((node - lattice.margin[data.batch, axis] + beside) * lattice.spacing).long()
            for axis, (node, beside) in enumerate([(data.row, data.south), (data.col, data.east)])
        ]
        found[data.batch, cell[0], cell[1]] = data.class_index
        assert torch.equal(found, torch.where(surveyed, windows, -1))
        # A surveyed node is known, and nothing else is where nothing is simulated yet.
        assert torch.equal(batch.class_index, lattice.gather(found)[0])


def test_nodes_of_a_facies_that_a_map_does_not_have_are_not_asked():
    windows = torch.arange(3).repeat(2, 12, 4)
    present = torch.tensor([[True, True, False], [False, True, True]])
    for lattice in lattices(2, (12, 12)):
        batch = make_examples(
            windows,
            torch.zeros_like(windows, dtype=torch.bool),
            lattice,
            3,
            np.array([0.0, 0.5]),
            np.random.default_rng(0),
            torch.Generator().manual_seed(0),
            present=present,
        )
        assert set(batch.truth[0][batch.unknown[0]].tolist()) == {0, 1}
        assert set(batch.truth[1][batch.unknown[1] | (batch.class_index[1] >= 0)].tolist()) == {1, 2}


@pytest.mark.parametrize("share", [0.25, 0.4, 1.0])
def test_a_quarter_of_the_nodes_is_the_coarser_lattice(share, monkeypatch):
    monkeypatch.setattr(examples_module, "_RANDOM_PREFIX_SHARE", 0.0)
    windows = torch.randint(0, 2, (6, 30, 41), generator=torch.Generator().manual_seed(9))
    for lattice in lattices(6, (30, 41)):
        batch = make_examples(
            windows,
            torch.zeros_like(windows, dtype=torch.bool),
            lattice,
            2,
            np.full(6, share),
            np.random.default_rng(1),
            torch.Generator().manual_seed(1),
        )
        assert knows_coarser_lattice(batch).all()
        assert batch.unknown.any() == (share < 1)


def knows_coarser_lattice(batch):
    """Return of each map whether nothing is asked on one of the four lattices of twice the spacing."""
    on_coarser = [batch.unknown[:, row::2, col::2].flatten(1).any(dim=1) for row in (0, 1) for col in (0, 1)]
    return ~torch.stack(on_coarser).all(dim=0)


def test_refined_batches_know_the_whole_coarser_lattice(monkeypatch):
    monkeypatch.setattr(image_examples, "_CORRECTED_SHARE", 0.0)
    draw = examples_of(image_of(compass((240, 300))), 3, seed=10)
    refined = [batch for batch in map(draw, range(60)) if batch.refines]
    assert {batch.level for batch in refined} == {0, 1, 2}
    assert 20 < len(refined) < 60
    for batch in (*refined, *(draw.held_out(5, level) for level in (0, 1))):
        assert knows_coarser_lattice(batch).all()
        assert batch.unknown.any(), "and something is left to be learnt"


def test_some_maps_stand_as_a_correction_finds_them(monkeypatch):
    """One of the four lattices of twice the spacing is asked, each as often as the others, and nothing else."""
    monkeypatch.setattr(image_examples, "_CORRECTED_SHARE", 1.0)
    draw = examples_of(image_of(compass((240, 300))), 3, seed=10)
    cosets = []
    for batch in map(draw, range(80)):
        if batch.refines:
            asked = [batch.unknown[:, r::2, c::2].flatten(1).sum(dim=1) for r in (0, 1) for c in (0, 1)]
            asked = torch.stack(asked)  # (4, batch)
            assert ((asked > 0).sum(dim=0) == 1).all()
            of_coset = [batch.inside[:, r::2, c::2].flatten(1).sum(dim=1) for r in (0, 1) for c in (0, 1)]
            data = (batch.class_index >= 0).sum(dim=(1, 2)) + asked.sum(dim=0)
            assert torch.equal(data, batch.inside.sum(dim=(1, 2))), "all else is known"
            assert (asked.amax(dim=0) <= torch.stack(of_coset).gather(0, asked.argmax(dim=0)[None])[0]).all()
            cosets += asked.argmax(dim=0).tolist()
    assert np.bincount(cosets, minlength=4).min() > 0.15 * len(cosets)


def test_the_coarsest_lattice_starts_from_the_data_alone_too():
    draw = examples_of(image_of(compass((240, 300))), 3, seed=11)
    coarsest = [batch for batch in map(draw, range(80)) if batch.level == 2 and not batch.refines]
    n_known = torch.cat([(batch.class_index >= 0).sum(dim=(1, 2)) for batch in coarsest])
    n_nodes = torch.cat([batch.inside.sum(dim=(1, 2)) for batch in coarsest])
    n_data = torch.cat([torch.bincount(batch.data.batch, minlength=len(batch.truth)) for batch in coarsest])
    without = (n_known == 0) & (n_data == 0)
    assert 0.03 < without.float().mean() < 0.3, "nothing at all is known of some maps"
    assert 0.3 < (n_known <= n_data).float().mean() < 0.7, "and nothing but data of about half"
    assert (n_known > 0.1 * n_nodes).float().mean() > 0.2
    assert (n_known < 0.4 * n_nodes).float().mean() > 0.85, "where more is known, the refiner answers"


def test_kriging_tells_of_the_data_where_the_sampler_starts_and_of_most_maps():
    """Told are maps of two data or more, nine of ten; where a coarser lattice is known, and without data, none is."""
    draw = examples_of(image_of(compass((240, 300))), 3, seed=13)
    told, n_data = [], []
    for batch in map(draw, range(120)):
        if batch.refines:
            assert batch.features is None
        else:
            told.append(batch.features.of_place.flatten(1).any(dim=1))
            n_data.append(torch.bincount(batch.data.batch, minlength=len(batch.truth)))
    told, n_data = torch.cat(told), torch.cat(n_data)
    assert not told[n_data < 2].any()
    assert 0.75 < told[n_data >= 2].float().mean() < 1
    assert 0.2 < told.float().mean() < 0.8


def test_data_are_few_and_some_maps_have_none():
    draw = examples_of(image_of(compass((240, 300))), 1, seed=12)
    batches = [draw(step) for step in range(40)]
    n_data = torch.cat([torch.bincount(batch.data.batch, minlength=len(batch.truth)) for batch in batches])
    n_cells = torch.cat([batch.inside.sum(dim=(1, 2)) for batch in batches])
    assert (n_data <= 0.05 * n_cells).all()
    assert (n_data > 10).any()
    assert 0.1 < (n_data == 0).float().mean() < 0.4


@pytest.mark.parametrize(
    ("refined_above", "refines", "least", "most"), [(0, False, 0, 1 / 4), (1, False, 0, 1 / 16), (1, True, 1 / 4, 1)]
)
def test_held_out_batches_have_any_share_of_a_part_of_the_path_done(refined_above, refines, least, most):
    """Known nodes as the bound asks for them: their share is uniform over the part; and there are no data."""
    draw = examples_of(image_of(compass((480, 600)), "rotations"), 3, seed=13, refined_above=refined_above)
    shares = []
    for step in range(30):
        batch = draw.held_out(step, 1, refines=refines)
        assert (batch.level, batch.refines) == (1, refines)
        assert len(batch.data.row) == 0
        known, inside = ((m.sum(dim=(1, 2))).float() for m in (batch.class_index >= 0, batch.inside))
        shares += (known / inside).tolist()
    if not refines:  # of these a tenth is known at random, whatever the share
        shares = np.sort(shares)[: int(0.9 * len(shares))]
    assert least <= np.min(shares)
    assert np.quantile(shares, 0.95) <= most
    assert abs(np.mean(shares) - (least + most) / 2) < 0.1 * most


@pytest.mark.parametrize("refined_above", [0, 1])
@pytest.mark.parametrize("shape", [(480, 600), (64, 70)])
def test_the_parts_of_the_path_hold_all_cells(shape, refined_above):
    """On the levels that the held-out block has nodes for; the network sees the lattice of what is started."""
    image = image_of(compass(shape))
    parts = examples_of(image, 3, seed=13, refined_above=refined_above).parts_of_path
    fewest = range(1 + refined_above)
    levels = [k for k in range(3 + refined_above) if min(image.held_out.shape) >= 16 * 2**k or k in fewest]
    assert [part[:2] for part in parts if part[1]] == [(level, True) for level in reversed(levels)]
    assert parts[0][:2] == (levels[-1] - refined_above, False)
    assert sum(share for _, _, share in parts) == pytest.approx(1)


def test_the_refiner_reads_once_what_all_states_of_a_window_know():
    """That is one of the four lattices of twice the spacing, and the data on nodes; and states differ beyond it."""
    draw = examples_of(image_of(compass((480, 600))), 2, seed=17)
    cosets, differ, n_data = [], [], 0
    for batch in filter(lambda batch: batch.refines, map(draw, range(60))):
        n_states = len(batch.truth) // len(batch.coarser)
        assert n_states == image_examples._STATES
        states = batch.class_index.view(-1, n_states, *batch.class_index.shape[1:])
        once = batch.coarser[:, None].expand_as(states)
        assert (states[once >= 0] == once[once >= 0]).all()
        differ += (states[:, 0] != states[:, 1]).flatten(1).any(dim=1).tolist()
        assert torch.equal(batch.truth[::n_states], batch.truth[n_states - 1 :: n_states])
        per_map = torch.bincount(batch.data.batch, minlength=len(batch.truth)).view(-1, n_states)
        assert (per_map == per_map[:, :1]).all(), "every state has the data of its window"
        n_data += int(per_map.sum())
        for read, inside in zip(batch.coarser, batch.inside[::n_states]):
            whole = [not ((read < 0) & inside)[row::2, col::2].any() for row in (0, 1) for col in (0, 1)]
            assert sum(whole) == 1
            cosets.append(whole.index(True))
            assert (read >= 0).sum() < 0.4 * inside.sum()
    assert n_data > 100
    assert np.mean(differ) > 0.9, "two may be the same correction"
    assert np.bincount(cosets, minlength=4).min() > 0.1 * len(cosets)


def test_the_refiner_learns_one_lattice_more_and_the_start_fewer_nodes():
    draw = examples_of(image_of(compass((480, 600))), 2, seed=16, refined_above=1)
    batches = list(map(draw, range(80)))
    assert {batch.level for batch in batches if batch.refines} == {0, 1, 2}
    started = [batch for batch in batches if not batch.refines]
    assert {batch.level for batch in started} == {0, 1}
    known, n_data, nodes = (
        torch.cat([of_batch(batch) for batch in started]).float()
        for of_batch in (
            lambda batch: (batch.class_index >= 0).sum(dim=(1, 2)),
            lambda batch: torch.bincount(batch.data.batch, minlength=len(batch.truth)),
            lambda batch: batch.inside.sum(dim=(1, 2)),
        )
    )
    share = (known[n_data == 0] / nodes[n_data == 0]).sort().values
    assert 1 / 32 < share[int(0.8 * len(share))] < 1 / 12, "the others are known at random, whatever the share"


def test_windows_fit_the_smallest_image_and_the_network():
    image = image_of(compass((64, 70)), "rotations")
    draw = examples_of(image, image.coarsest_level + 1, seed=14)
    for batch in [*map(draw, range(20)), *map(draw.held_out, range(20))]:
        assert all(side % 4 == 0 for side in batch.truth.shape[1:])
        assert batch.unknown.any()


def test_shares_of_known_nodes():
    rng = np.random.default_rng(15)
    refined = shares_refined(1000, rng)
    assert 0.25 <= refined.min() < 0.27
    assert 0.98 < refined.max() <= 1
    assert (shares_started(1000, 1.0, rng) == 0).all()
    started = shares_started(1000, 0.0, rng)
    assert ((started > 0) & (started <= 1)).all()
    assert (started < 0.01).mean() > 0.05, "of some maps few nodes are known"
    assert 0.4 < (shares_started(1000, 0.5, rng) == 0).mean() < 0.6


def test_a_facies_that_is_never_learnt_is_not_asked_of_what_is_held_out():
    """Nobody could foretell it: the best weights would be those that have not yet learnt that it does not occur."""
    codes = np.repeat(np.arange(400)[:, None] // 8 % 2, 400, axis=1)
    for number, (rows, cols) in enumerate(itertools.product((slice(60), slice(-60, None)), repeat=2)):
        codes[rows, cols][::8] = 2 + number
    image = image_of(codes)
    (unlearnt,) = image.unlearnt
    assert (image.held_out == unlearnt).any()
    draw = examples_of(image, 2, seed=14)
    shown = torch.cat([draw.held_out(step, refines=refines).truth.flatten() for step in range(4) for refines in (0, 1)])
    assert not (shown == unlearnt).any()
    assert (shown >= 0).any()


def test_surveys_show_what_windows_of_a_block_show_and_hide_the_rest():
    block = np.random.default_rng(4).integers(2, size=(100, 150))
    surveys = list(survey_windows(block, 12, np.random.default_rng(0)))
    assert len(surveys) == 12
    n_data = [int((known >= 0).sum()) for _, _, known in surveys]
    assert min(n_data) >= 8
    assert max(n_data) <= 0.02 * surveys[0][1].size + 1
    assert len(set(n_data)) > 6
    for (row, col), window, known in surveys:
        assert window.shape == (100, 128)
        assert (window == block[row : row + 100, col : col + 128]).all()
        assert (known[known >= 0] == window[known >= 0]).all()


def test_surveys_are_as_often_sparse_as_dense_by_their_orders_of_magnitude():
    """From a thousandth of the cells to two hundredths, about their geometric mean; eight data are the fewest."""
    block = np.random.default_rng(4).integers(2, size=(128, 140))
    shares = [(known >= 0).mean() for _, _, known in survey_windows(block, 60, np.random.default_rng(0))]
    assert np.median(shares) == pytest.approx(np.sqrt(0.001 * 0.02), rel=0.4)
    ((_, _, known),) = survey_windows(block[:20, :20], 1, np.random.default_rng(0))
    assert (known >= 0).sum() == 8
