"""
The recipes of the models of training images that come with OADG; `make train-shipped` runs them.

    python resources/recipes/shipped_models.py channels channels_2500.png
    python resources/recipes/shipped_models.py delta lena_delta_3facies.npy

An interrupted run goes on when it is started again. Where the images are from: docs/models/. The models that ship were
trained by commit a259021 and before, in half as many steps with batches twice as large.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Mapping

import numpy as np
import torch
from osgeo import gdal

from oadg.core.contract.training_image import TrainingImage, image_of_codes
from oadg.core.contract.training_job import checkpoint_folder
from oadg.core.machine.device import prepare_process
from oadg.core.model.facies_model import FaciesModel
from oadg.core.training.public_images import PUBLIC_IMAGES
from oadg.core.training.terminal_training import train_on

CHANNELS = PUBLIC_IMAGES["channels"]
MODELS = Path(__file__).resolve().parents[1] / "models"


@dataclass(frozen=True)
class Stage:
    """A part of a training, which starts from the one before."""

    steps: int
    learning_rate: float = 4e-3
    refiner_only: bool = False
    levels_apart: bool = False
    seed: int = 20_261_126


@dataclass(frozen=True)
class Recipe:
    """What a shipped model is trained on, and how."""

    read: Callable[[Path], np.ndarray]
    styles: Mapping[int, tuple[str, str]]
    symmetry: str
    origin: str
    licence: str
    stages: tuple[Stage, ...]

    def image(self, path: Path) -> TrainingImage:
        """Read the training image."""
        codes = self.read(path)
        known = np.ones(codes.shape, dtype=bool)
        return image_of_codes(codes, known, styles=self.styles, symmetry=self.symmetry, origin=self.origin)


def _channels(path: Path) -> np.ndarray:
    """Return the part of the picture that is learnt; what has row and column from 1550 on is for judging models."""
    return gdal.Open(str(path)).ReadAsArray()[:1550, :1550] // CHANNELS.unit


RECIPES = {
    "channels": Recipe(
        read=_channels,
        styles=CHANNELS.styles,
        symmetry=CHANNELS.symmetry,
        origin=f"{CHANNELS.origin}, rows and columns 0 to 1549",
        licence=CHANNELS.licence,
        stages=(Stage(32_000),),
    ),
    "delta": Recipe(
        read=np.load,
        styles={0: ("channel", "#2f6690"), 1: ("plain", "#c9d6a3"), 2: ("lake", "#e0a458")},
        symmetry="none",
        origin="Lena delta, 600 x 598 cells of a classified satellite picture (GAIA-UNIL/trainingimages, GPL-3)",
        licence="GPL-3.0-only",
        stages=(
            Stage(6_000),
            Stage(6_000, learning_rate=2e-3, refiner_only=True, seed=20_261_128),
            Stage(6_000, learning_rate=2e-3, refiner_only=True, levels_apart=True, seed=20_261_130),
        ),
    ),
}


def main() -> None:
    """Train a shipped model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("image", type=Path)
    parser.add_argument("--output", type=Path, help="model file; by default that which is shipped")
    parser.add_argument(
        "--start", type=Path, default=MODELS / "universal.safetensors", help="whose weights it starts from"
    )
    parser.add_argument("--steps", type=int, help="of each stage, instead of the recipe's")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    prepare_process()
    recipe = RECIPES[arguments.name]
    output = arguments.output or MODELS / f"{arguments.name}.safetensors"
    paths = [output.with_name(f"{output.stem}-{number}.safetensors") for number in range(1, len(recipe.stages))]
    start = arguments.start
    for stage, path in zip(recipe.stages, [*paths, output]):
        if path == output or checkpoint_folder(path).exists() or not path.exists():
            result = train_on(
                recipe.image(arguments.image),
                model_path=str(path),
                start_path=str(start),
                name=arguments.name,
                licence=recipe.licence,
                steps=arguments.steps or stage.steps,
                learning_rate=stage.learning_rate,
                refiner_only=stage.refiner_only,
                levels_apart=stage.levels_apart,
                seed=stage.seed,
                device=arguments.device,
            )
            logging.info("%s", result)
            FaciesModel.load(path).save(path, half_precision=True)  # what is shipped has to be small
        start = path
    for path in paths:
        path.unlink()


if __name__ == "__main__":
    main()
