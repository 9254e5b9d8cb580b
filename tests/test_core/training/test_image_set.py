"""A set of images is learnt image by image, some of which training never sees."""

import dataclasses

import numpy as np
import pytest
import torch

from oadg.core.contract.errors import TrainingImageError
from oadg.core.contract.facies import build_facies_table
from oadg.core.contract.image_cautions import image_cautions
from oadg.core.contract.training_image import TrainingImage
from oadg.core.model.network_config import NetworkConfig
from oadg.core.training import image_examples
from oadg.core.training.image_examples import ImageExamples
from oadg.core.training.image_set import HELD_OUT_IMAGES, MIN_IMAGES, ImageSet, image_or_set

N_IMAGES = 30
SHAPE = NetworkConfig(n_classes=N_IMAGES, refiner=8)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(image_examples, "_BATCH_CELLS", 100_000)


def numbered(shape=(32, 20), **options):
    """Return a set in which each image has a facies of its own."""
    images = np.broadcast_to(np.arange(N_IMAGES)[:, None, None], (N_IMAGES, *shape)).astype(np.int16)
    return ImageSet(images, build_facies_table(list(range(N_IMAGES))), **options)


def images_in(batch):
    """Return which images of a numbered set the maps of a batch show; each shows one only."""
    found = [truth[inside].unique().tolist() for truth, inside in zip(batch.truth, batch.inside)]
    assert all(len(one) == 1 for one in found), "a window never reaches over two images"
    return {one[0] for one in found}


@pytest.mark.parametrize("seed", [0, 1])
def test_training_sees_all_images_but_those_held_out(seed):
    images = numbered(seed=seed)
    draw = ImageExamples(images, SHAPE, seed=seed)
    learnt = set.union(*(images_in(draw(step)) for step in range(40)))
    asked = [*map(draw.held_out, range(20)), *(draw.unknown(step, 0) for step in range(20))]
    held_out = set.union(*map(images_in, asked))
    assert learnt | held_out == set(range(N_IMAGES))
    assert not learnt & held_out
    assert len(held_out) == round(HELD_OUT_IMAGES * N_IMAGES)
    assert held_out == set(np.unique(images.held_out))
    assert held_out != set(np.unique(numbered(seed=seed + 1).held_out)), "the seed chooses"


def test_windows_are_whole_images():
    draw = ImageExamples(numbered(), SHAPE, seed=2)
    for batch in (*map(draw, range(10)), *map(draw.held_out, range(10))):
        assert batch.level == 0
        assert (batch.inside.sum(dim=(1, 2)) == 32 * 20).all()


def test_of_images_larger_than_a_window_any_part_is_shown():
    draw = ImageExamples(numbered((90, 100)), SHAPE, seed=3)
    for batch in map(draw, range(5)):
        assert images_in(batch)
        assert (batch.inside.sum(dim=(1, 2)) == 64 * 64).all()


def test_a_window_is_cut_where_it_was_placed():
    """Its cells tell rows and columns, and which image it is of."""
    number, row, col = np.indices((25, 20, 18))
    images = ImageSet(
        (number % 2 + 2 * (row % 3) + 6 * (col % 3)).astype(np.int16), build_facies_table(list(range(18)))
    )
    rng = np.random.default_rng(4)
    for place in (images.draw_window, images.draw_held_out_window):
        for _ in range(20):
            window = place((7, 5), rng)
            image, top, left = window[0] // 20, window[0] % 20, window[1]
            assert np.array_equal(images.cut(window), images.class_index[image, top : top + 7, left : left + 5])


def test_symmetries_turn_images():
    first_row = np.zeros((N_IMAGES, 24, 24), dtype=np.int16)
    first_row[:, 0] = 1
    sides = {"none": 1, "half turn": 2, "flips": 2, "rotations": 4}
    for symmetry, n_sides in sides.items():
        images = ImageSet(first_row, build_facies_table([0, 1]), symmetry)
        draw = ImageExamples(images, SHAPE, seed=5)
        found = set()
        for batch in map(draw, range(5)):
            for truth, inside in zip(batch.truth, batch.inside):
                found.add(tuple(torch.argwhere(truth[inside].view(24, 24) == 1).float().mean(dim=0).tolist()))
        assert len(found) == n_sides, symmetry


@pytest.mark.parametrize(
    ("side", "thickness", "level"), [(32, 8, 0), (64, 8, 1), (100, 8, 2), (100, 3, 2), (400, 8, 3)]
)
def test_levels_follow_from_the_images(side, thickness, level):
    stripes = np.arange(side)[:, None] // thickness % 2
    images = ImageSet(np.tile(stripes, (MIN_IMAGES, 1, side)).astype(np.int16), build_facies_table([0, 1]))
    assert images.coarsest_level == level


def test_batches_are_a_function_of_their_step():
    first, again = (ImageExamples(numbered(seed=7), SHAPE, seed=6)(3) for _ in range(2))
    assert torch.equal(first.truth, again.truth)
    assert torch.equal(first.class_index, again.class_index)


def test_an_array_with_three_axes_is_a_set():
    images = numbered(symmetry="flips", cell_size=2.0, origin="here", seed=9)
    rebuilt = image_or_set(images.class_index, images.facies, "flips", 2.0, "here", seed=9)
    assert isinstance(rebuilt, ImageSet)
    assert dataclasses.replace(rebuilt, class_index=images.class_index) == images
    single = image_or_set(np.tile(np.arange(64) // 8 % 2, (64, 1)).astype(np.int16), build_facies_table([0, 1]))
    assert type(single) is TrainingImage


def test_facies_of_held_out_images_alone_need_a_caution_that_speaks_of_images():
    images = numbered()
    told = image_cautions(images, 20)[0]
    assert told.startswith("These facies occur only in images that are held out")
    assert f"never sees them: {', '.join(images.facies.names[k] for k in images.unlearnt)}. Add images" in told
    assert len(images.unlearnt) == HELD_OUT_IMAGES * N_IMAGES


def test_sets_that_nothing_can_be_learnt_from():
    images = numbered()
    with pytest.raises(TrainingImageError, match="The set holds 19 images; it needs at least 20"):
        dataclasses.replace(images, class_index=images.class_index[:19])
    with pytest.raises(TrainingImageError, match="images of the set have 32 x 15 cells; they need at least 16 x 16"):
        dataclasses.replace(images, class_index=images.class_index[:, :, :15])
    with pytest.raises(TrainingImageError, match="holds the class index 29; its facies table has 2 facies"):
        dataclasses.replace(images, facies=build_facies_table([0, 1]))
    with pytest.raises(TrainingImageError, match="The symmetry 'some' is unknown"):
        dataclasses.replace(images, symmetry="some")
    with pytest.raises(TrainingImageError, match="Only 0 % of the training image's cells hold a facies"):
        dataclasses.replace(images, class_index=np.full_like(images.class_index, -1))
