"""A set of images: many categorical maps of one size, such as digits, that a model learns as a whole each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from ..contract.errors import TrainingImageError
from ..contract.facies import FaciesTable
from ..contract.training_image import TrainingImage, Window

MIN_IMAGES = 20
"""Fewest images of a set."""
MIN_IMAGE_SIDE = 16
"""Fewest rows and columns of an image of a set."""
HELD_OUT_IMAGES = 0.1
"""Share of the images that training does not see."""


@dataclass(frozen=True)
class ImageSet(TrainingImage):
    """
    A validated set of categorical images, which is learnt as a training image is.

    Windows are whole images, as far as training shows so many cells at once. Instead of a block of one image some of
    the images are held out. The rows of a `Window` are counted through the set, from its first image to its last.

    Parameters
    ----------
    class_index : int16 array, shape (n_images, n_rows, n_cols)
        Class index of each cell, -1 where nothing is known.
    facies, symmetry, cell_size, origin, stray
        As `TrainingImage` has them.
    seed : int
        Chooses the images that are held out.

    Raises
    ------
    TrainingImageError
        When there are too few images, when they are too small, or too little of them is known.
    """

    seed: int = 0

    IS_WHOLE: ClassVar[bool] = True

    def _check_shape(self) -> None:
        n_images, (n_rows, n_cols) = len(self.class_index), self.shape
        if n_images < MIN_IMAGES:
            raise TrainingImageError(
                f"The set holds {n_images} images; it needs at least {MIN_IMAGES} for patterns to be learnt from it, "
                "and thousands for good ones. Use a larger set."
            )
        if min(n_rows, n_cols) < MIN_IMAGE_SIDE:
            raise TrainingImageError(
                f"The images of the set have {n_rows} x {n_cols} cells; they need at least {MIN_IMAGE_SIDE} x "
                f"{MIN_IMAGE_SIDE}. Use larger images."
            )

    @property
    def held_out(self) -> np.ndarray:
        """The images that training does not see, shape (n_held_out, n_rows, n_cols)."""
        return self.class_index[self._images[0]]

    @property
    def learnt(self) -> tuple[np.ndarray, ...]:
        """The images that training sees, shape (n_learnt, n_rows, n_cols), alone in a tuple."""
        return (self.class_index[self._images[1]],)

    @cached_property
    def _images(self) -> tuple[np.ndarray, np.ndarray]:
        """Which images are held out, and which are learnt."""
        order = np.random.default_rng(self.seed).permutation(len(self.class_index))
        n_held_out = round(HELD_OUT_IMAGES * len(order))
        return order[:n_held_out], order[n_held_out:]

    @property
    def refined_above(self) -> int:
        """As `TrainingImage` has it: none, for images that are small enough to be seen whole."""
        return 0

    def largest_window(self) -> tuple[int, int]:
        """Return rows and columns of the largest window that training can be shown: an image."""
        return self.shape

    def draw_window(self, shape: tuple[int, int], rng: np.random.Generator) -> Window:
        """Place a window (rows, columns) at random in an image that is learnt."""
        return self._place(self._images[1], shape, rng)

    def draw_held_out_window(self, shape: tuple[int, int], rng: np.random.Generator) -> Window:
        """Place a window (rows, columns) at random in an image that is held out."""
        return self._place(self._images[0], shape, rng)

    def _place(self, images: np.ndarray, shape: tuple[int, int], rng: np.random.Generator) -> Window:
        image = int(rng.choice(images))
        top, left = (int(rng.integers(n - side + 1)) for n, side in zip(self.shape, shape))
        return image * self.shape[0] + top, left, shape[0], shape[1]

    def cut(self, window: Window) -> np.ndarray:
        """Return a window's class indices, int16, shape (n_rows, n_cols)."""
        top, left, n_rows, n_cols = window
        return self.class_index.reshape(-1, self.shape[1])[top : top + n_rows, left : left + n_cols]


def image_or_set(
    class_index: np.ndarray,
    facies: FaciesTable,
    symmetry: str = "none",
    cell_size: float | None = None,
    origin: str = "",
    *,
    seed: int = 0,
) -> TrainingImage:
    """
    Return a training image, or the set of images that an array with three axes holds.

    Parameters
    ----------
    class_index, facies, symmetry, cell_size, origin
        As `TrainingImage` and `ImageSet` have them.
    seed : int
        Of a set.

    Raises
    ------
    TrainingImageError
        What these refuse.
    """
    if class_index.ndim == 3:
        return ImageSet(class_index, facies, symmetry, cell_size, origin, seed=seed)
    return TrainingImage(class_index, facies, symmetry, cell_size, origin)
