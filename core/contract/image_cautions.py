"""Why a model of a training image may be poor, in words."""

from __future__ import annotations

from typing import List, Tuple

import numpy as np

from .training_image import FEWEST_NODES, TrainingImage, mean_thickness
from .words import percent

_MOST_LISTED = 10
_BLOCKS, _TREND, _TREND_SHARE = 6, 0.5, 0.25
"""Blocks along the shorter side, and what is a trend of a facies' shares in them: so much of their variance, and so
large a difference."""


def image_cautions(image: TrainingImage, receptive_radius: int) -> List[str]:
    """
    Return, in sentences, why a model of an image may be poor.

    Parameters
    ----------
    image : TrainingImage
        The image.
    receptive_radius : int
        How many nodes the network sees to each side.
    """
    told = []
    if image.stray:
        listed = [f"{code} ({n:,} cells)" for code, n in image.stray.items()]
        more = f" and {len(listed) - _MOST_LISTED:,} more" if len(listed) > _MOST_LISTED else ""
        codes = ", ".join(listed[:_MOST_LISTED]) + more
        told.append(f"These codes are so rare that they are taken for errors, and their cells for unknown: {codes}.")
    unseen = [image.facies.names[k] for k in image.unlearnt]
    if unseen:
        if image.IS_WHOLE:
            where, remedy = "images that are", "Add images that show them, or take another seed, which holds out others"
        else:
            where = f"the {image.held_out_corner} corner of the training image, which is"
            remedy = "Turn the image, or clip it"
        told.append(
            f"These facies occur only in {where} held out to judge the model, so that it never sees them: "
            f"{', '.join(unseen)}. {remedy}."
        )
    spacing = 2**image.coarsest_level
    independent = image.class_index.size / (spacing * FEWEST_NODES) ** 2
    if independent < 4:
        told.append(
            f"The training image of {image.shape[0]} x {image.shape[1]} cells shows its largest structures few times "
            "over, so that little can be learnt of how they vary. Realizations may repeat the image."
        )
    seen = spacing * receptive_radius
    for k, facies in enumerate(image.facies.facies):
        across = mean_thickness(image.class_index, k)
        if across > seen:
            told.append(
                f"The facies {facies.name} is {across:,.0f} cells thick on average, and the model sees {seen:,} cells "
                "to each side: its largest bodies may fall apart. Use an image of coarser cells."
            )
    for k, facies in enumerate(() if image.IS_WHOLE else image.facies.facies):  # of sets places have a meaning
        explained, least, most = trend_of(image.class_index, k)
        if explained > _TREND and most - least > _TREND_SHARE:
            told.append(
                f"The share of the facies {facies.name} goes from {percent(least)} on one side of the training image "
                f"to {percent(most)} on the other. A model does not know where a cell lies, and draws the mean of them "
                "everywhere. Clip the image to a part without the trend."
            )
    rare = [f.name for f, share in zip(image.facies.facies, image.proportions) if share < 0.01]
    if rare:
        told.append(
            f"These facies cover less than 1 % of the training image, and are learnt poorly: {', '.join(rare)}."
        )
    return told


def trend_of(class_index: np.ndarray, facies: int) -> Tuple[float, float, float]:
    """
    Return how a facies' share changes across an image, (n_rows, n_cols), -1 where nothing is known.

    Returns
    -------
    (float, float, float)
        Of its shares in blocks, a sixth of the shorter side each way, the part of the variance that goes along rows and
        columns linearly; and the shares that this leads to in the corners where they are least and most.
    """
    side = min(class_index.shape) // _BLOCKS
    n_rows, n_cols = (n // side for n in class_index.shape)
    blocks = class_index[: n_rows * side, : n_cols * side].reshape(n_rows, side, n_cols, side)
    known = (blocks >= 0).sum(axis=(1, 3)).ravel()
    at = np.indices((n_rows, n_cols)).reshape(2, -1).T
    at, share = at[known > 0], ((blocks == facies).sum(axis=(1, 3)).ravel() / np.maximum(known, 1))[known > 0]
    design = np.column_stack([at, np.ones(len(at))])
    fitted = design @ np.linalg.lstsq(design, share, rcond=None)[0]
    variance = share.var()
    explained = float(fitted.var() / variance) if variance > 0 else 0.0
    return explained, max(0.0, float(fitted.min())), min(1.0, float(fitted.max()))
