"""Digits: idx files are read or refused in words, drawn ones look like digits, and ink is what is darker than half."""

import gzip
import struct

import numpy as np
import pytest

from oadg.core.contract.errors import TrainingImageError
from oadg.core.training.digits import DRAWN_SIDE, MARGIN, digit_set, draw_digits, read_idx


def idx(images, kind=8):
    return struct.pack(f">BBBB{images.ndim}I", 0, 0, kind, images.ndim, *images.shape) + images.tobytes()


@pytest.fixture
def grey():
    return np.random.default_rng(0).integers(0, 256, (25, 28, 26), dtype=np.uint8)


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_an_idx_file_gives_its_images(tmp_path, grey, compress):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(compress(idx(grey)))
    assert np.array_equal(read_idx(path), grey)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda whole: whole[:-1], "promises 25 x 28 x 26 bytes of images, and holds 18,199. It was cut or damaged"),
        (lambda whole: whole + b"x", "promises 25 x 28 x 26 bytes of images, and holds 18,201"),
        (lambda whole: whole[:7], "promises .* bytes of images, and holds 0"),
        (lambda whole: b"", "is no idx file: .* this one with nothing"),
        (lambda whole: b"\x89PNG" + whole, "is no idx file: .* two zero bytes, this one with 89 50 4e 47"),
        (lambda whole: b"\0\0\x0d\x03" + whole[4:], r"numbers of the type 0x0d with 3 axes; images are unsigned bytes"),
        (lambda whole: idx(np.zeros(9, np.uint8)), "with 1 axes; .* has 'images-idx3', not that of the labels"),
        (lambda whole: gzip.compress(whole)[:-9], "cannot be decompressed: .* It was cut or damaged: fetch it again"),
        (lambda whole: b"\x1f\x8b" + whole, "cannot be decompressed"),
    ],
)
def test_what_is_no_idx_file_of_images_is_refused(tmp_path, grey, spoil, message):
    path = tmp_path / "images"
    path.write_bytes(spoil(idx(grey)))
    with pytest.raises(TrainingImageError, match=message):
        read_idx(path)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(TrainingImageError, match=r"The file .*none cannot be read: No such file"):
        read_idx(tmp_path / "none")


def test_ink_is_darker_than_half_and_has_background_around():
    grey = np.tile(np.array([[0, 127], [128, 255]], dtype=np.uint8), (30, 14, 14))
    digits = digit_set(grey, origin="here", seed=3)
    assert digits.class_index.shape == (30, 28 + 2 * MARGIN, 28 + 2 * MARGIN)
    assert (digits.origin, digits.seed, digits.facies.names) == ("here", 3, ["background", "digit"])
    inside = digits.class_index[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
    assert np.array_equal(inside, np.tile([[0, 0], [1, 1]], (30, 14, 14)))
    assert inside.sum() == digits.class_index.sum()


def test_drawn_digits_differ_and_descend_from_their_seed():
    first, same, other = draw_digits(30, 1), draw_digits(30, 1), draw_digits(30, 2)
    assert first.shape == (30, DRAWN_SIDE, DRAWN_SIDE)
    assert first.dtype == np.uint8
    assert np.array_equal(first, same)
    assert len({image.tobytes() for image in (*first, *other)}) == 60
    assert np.array_equal(draw_digits(10, 1), first[:10])


def test_drawn_digits_can_be_told_apart():
    """The nearest of 500 others is most often the same digit."""
    known, asked = (draw_digits(n, seed).reshape(n, -1) / 255.0 for n, seed in ((500, 1), (100, 2)))
    nearest = ((asked[:, None] - known) ** 2).sum(axis=-1).argmin(axis=1)
    assert (nearest % 10 == np.arange(100) % 10).mean() > 0.8
    edges = np.ones((DRAWN_SIDE, DRAWN_SIDE), dtype=bool)
    edges[1:-1, 1:-1] = False
    assert (draw_digits(300, 3)[:, edges] > 127).any(axis=1).mean() < 0.05, "they lie inside"
