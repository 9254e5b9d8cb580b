"""
Images of digits as a set of two facies: read from idx files, such as those of MNIST, or drawn.

Sources: LeCun, Cortes and Burges, *The MNIST database of handwritten digits*, which describes the idx format; Mosser
2022, who learns them on 32 x 32 cells: 28 x 28, and two cells of background around, a cell being ink above half of the
range.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from ..contract.errors import TrainingImageError
from ..contract.facies import Facies, FaciesTable
from .image_set import ImageSet

FACIES = FaciesTable((Facies(0, "background", "#f0e2b6"), Facies(1, "digit", "#2f6690")))
MARGIN = 2
"""Cells of background that are laid around each image."""
DRAWN_SIDE = 28
"""Rows and columns of a drawn digit."""
_BYTES, _IMAGES = 8, 3  # what the format calls unsigned bytes; axes of a file of images
_GZIP = b"\x1f\x8b"


def digit_set(grey: np.ndarray, *, origin: str, symmetry: str = "none", seed: int = 0) -> ImageSet:
    """
    Return grey images as a set of two facies.

    Parameters
    ----------
    grey : uint8 array, shape (n_images, n_rows, n_cols)
        0 is background, 255 ink.
    origin, symmetry, seed
        As `ImageSet` has them.

    Raises
    ------
    TrainingImageError
        What `ImageSet` refuses.
    """
    ink = np.pad(grey > 127, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)))
    return ImageSet(ink.astype(np.int16), FACIES, symmetry, origin=origin, seed=seed)


def read_idx(path: Path) -> np.ndarray:
    """
    Read an idx file of images.

    Parameters
    ----------
    path : Path
        Such as `train-images-idx3-ubyte`, compressed by gzip or not.

    Returns
    -------
    uint8 array, shape (n_images, n_rows, n_cols)

    Raises
    ------
    TrainingImageError
        When it cannot be read, is of another format, holds something else than images, or has not the length that it
        promises.
    """
    content = _read(path)
    if len(content) < 4 or content[:2] != b"\0\0":
        raise TrainingImageError(
            f"The file {path} is no idx file: such a file begins with two zero bytes, this one with "
            f"{content[:4].hex(' ') or 'nothing'}. Choose another file."
        )
    kind, n_axes = content[2], content[3]
    if kind != _BYTES or n_axes != _IMAGES:
        raise TrainingImageError(
            f"The idx file {path} holds numbers of the type {kind:#04x} with {n_axes} axes; images are unsigned bytes "
            f"({_BYTES:#04x}) with {_IMAGES}. Choose the file of the images, whose name has 'images-idx3', not that of "
            "the labels."
        )
    first = 4 + 4 * n_axes
    shape = tuple(int.from_bytes(content[place : place + 4], "big") for place in range(4, first, 4))
    if len(content) != first + math.prod(shape):
        promised = " x ".join(f"{n:,}" for n in shape)
        raise TrainingImageError(
            f"The idx file {path} promises {promised} bytes of images, and holds {max(0, len(content) - first):,}. It "
            "was cut or damaged: fetch it again."
        )
    return np.frombuffer(content, dtype=np.uint8, offset=first).reshape(shape)


def _read(path: Path) -> bytes:
    """Return the content of a file, decompressed."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TrainingImageError(
            f"The file {path} cannot be read: {error.strerror or error}. Choose another file."
        ) from error
    if not content.startswith(_GZIP):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise TrainingImageError(
            f"The file {path} cannot be decompressed: {error}. It was cut or damaged: fetch it again."
        ) from error


def draw_digits(n_images: int, seed: int = 0) -> np.ndarray:
    """
    Draw digits with a pen: 0 to 9 in turn, each a little otherwise.

    Parameters
    ----------
    n_images : int
        How many.
    seed : int
        Of their slant, size, place, pen and wobble.

    Returns
    -------
    uint8 array, shape (n_images, DRAWN_SIDE, DRAWN_SIDE)
        0 is background, 255 ink.
    """
    rng = np.random.default_rng(seed)
    return np.stack([_draw(number % 10, rng) for number in range(n_images)])


def _draw(digit: int, rng: np.random.Generator) -> np.ndarray:
    """Draw one digit, shape (DRAWN_SIDE, DRAWN_SIDE)."""
    slant, turn = rng.normal(0, (0.15, 0.1))
    size = 18 * rng.uniform((0.7, 0.85), (1.0, 1.1))  # of an upright box, in pixels: across, and down
    middle = (DRAWN_SIDE - 1) / 2 + rng.normal(0, 0.8, 2)
    phase, wobble = rng.uniform(0, 2 * math.pi, 2), rng.uniform(0, 0.06, 2)
    pen = rng.uniform(0.8, 1.7)  # radius
    shear = np.array([[1, -slant], [0, 1]])
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    starts, ends = [], []
    for stroke in _STROKES[digit]:
        points = stroke + wobble * np.sin(5 * stroke[:, ::-1] + phase) - 0.5
        points = points @ (rotation @ shear).T * size + middle
        starts.append(points[:-1])
        ends.append(points[1:])
    start, end = np.concatenate(starts), np.concatenate(ends)
    pixel = np.stack(np.meshgrid(np.arange(DRAWN_SIDE), np.arange(DRAWN_SIDE)), axis=-1)[:, :, None]
    along = end - start  # (n_segments, 2)
    share = ((pixel - start) * along).sum(axis=-1) / np.maximum((along**2).sum(axis=-1), 1e-9)
    distance = np.linalg.norm(pixel - start - share.clip(0, 1)[..., None] * along, axis=-1).min(axis=-1)
    return (255 * (pen + 0.5 - distance).clip(0, 1)).astype(np.uint8)


def _line(*points: tuple[float, float]) -> np.ndarray:
    """Return points (n, 2) of a stroke, across and down in a box of side 1, close enough together to be bent."""
    corners = np.array(points)
    place = np.linspace(0, len(corners) - 1, 6 * (len(corners) - 1) + 1)
    return np.stack([np.interp(place, np.arange(len(corners)), axis) for axis in corners.T], axis=1)


def _arc(across: float, down: float, width: float, height: float, first: float, last: float) -> np.ndarray:
    """Return points (n, 2) of an arc about a middle, between two angles in quarters of a turn, clockwise from east."""
    angle = np.linspace(first, last, 5 + int(5 * abs(last - first))) * math.pi / 2
    return np.stack([across + width * np.cos(angle), down + height * np.sin(angle)], axis=1)


_STROKES = (
    (_arc(0.5, 0.5, 0.42, 0.5, 0, 4),),
    (_line((0.3, 0.2), (0.55, 0), (0.55, 1)),),
    (_arc(0.5, 0.28, 0.38, 0.28, 1.9, 4.4), _line((0.81, 0.45), (0.1, 1), (0.95, 1))),
    (_arc(0.45, 0.25, 0.38, 0.25, 2.2, 5), _arc(0.45, 0.74, 0.45, 0.26, 3, 5.8)),
    (_line((0.68, 1), (0.68, 0), (0.05, 0.66), (0.98, 0.66)),),
    (_line((0.9, 0), (0.22, 0), (0.17, 0.45)), _arc(0.45, 0.68, 0.42, 0.32, 2.8, 5.7)),
    (_arc(0.5, 0.7, 0.4, 0.3, 0, 4), _line((0.1, 0.7), (0.25, 0.3), (0.7, 0))),
    (_line((0.05, 0), (0.92, 0), (0.4, 1)),),
    (_arc(0.5, 0.25, 0.34, 0.25, 0, 4), _arc(0.5, 0.75, 0.42, 0.25, 0, 4)),
    (_arc(0.5, 0.3, 0.38, 0.3, 0, 4), _line((0.88, 0.3), (0.75, 0.75), (0.5, 1))),
)
"""Of each digit, points (n, 2) of its strokes."""
