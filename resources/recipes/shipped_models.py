"""
The recipes of the models of training images that come with OADG; `make train-shipped` runs them.

    python resources/recipes/shipped_models.py channels channels_2500.png
    python resources/recipes/shipped_models.py delta lena_delta_3facies.npy

An interrupted run goes on when it is started again. Where the images are from: docs/models/.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy as np
import torch
from osgeo import gdal

from oadg.core.image_training import run_training
from oadg.core.memory import keep_freed_memory
from oadg.core.model import FaciesModel
from oadg.core.training_image import TrainingImage, image_of_codes
from oadg.core.training_job import TrainingJob

MODELS = Path(__file__).resolve().parents[1] / "models"


@dataclass(frozen=True)
class Recipe:
    """What a shipped model is trained on, and how long."""

    read: Callable[[Path], np.ndarray]
    styles: dict[int, tuple[str, str]]
    symmetry: str
    origin: str
    licence: str
    steps: int
    seed: int = 20_261_125

    def image(self, path: Path) -> TrainingImage:
        """Read the training image."""
        codes = self.read(path)
        known = np.ones(codes.shape, dtype=bool)
        return image_of_codes(codes, known, styles=self.styles, symmetry=self.symmetry, origin=self.origin)


def _channels(path: Path) -> np.ndarray:
    """Return the part of the picture that is learnt; what has row and column from 1550 on is for judging models."""
    return gdal.Open(str(path)).ReadAsArray()[:1550, :1550] // 255


RECIPES = {
    "channels": Recipe(
        read=_channels,
        styles={0: ("background", "#f0e2b6"), 1: ("channel", "#2f6690")},
        symmetry="half turn",
        origin=(
            "Sinuous channels, 2500 x 2500 cells (elaloy/gan_for_gradient_based_inv, training/ti/ti.png, MIT), rows "
            "and columns 0 to 1549"
        ),
        licence="MIT",
        steps=10_000,
    ),
    "delta": Recipe(
        read=np.load,
        styles={0: ("channel", "#2f6690"), 1: ("plain", "#c9d6a3"), 2: ("lake", "#e0a458")},
        symmetry="none",
        origin="Lena delta, 600 x 598 cells of a classified satellite picture (GAIA-UNIL/trainingimages, GPL-3)",
        licence="GPL-3.0-only",
        steps=6_000,
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
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--learning-rate", type=float, default=4e-3, help="highest learning rate")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    recipe = RECIPES[arguments.name]
    image = recipe.image(arguments.image)
    told = ""

    def tell(fraction: float, text: str) -> None:
        nonlocal told
        if text != told:
            logging.info("%3.0f %% %s", 100 * fraction, text)
        told = text

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.npy"
        np.save(path, image.class_index)
        job = TrainingJob(
            image_path=str(path),
            facies=image.facies,
            model_path=str(arguments.output or MODELS / f"{arguments.name}.safetensors"),
            start_path=str(arguments.start),
            work_folder=folder,
            name=arguments.name,
            symmetry=recipe.symmetry,
            origin=recipe.origin,
            licence=recipe.licence,
            steps=arguments.steps or recipe.steps,
            learning_rate=arguments.learning_rate,
            seed=recipe.seed,
            device=arguments.device,
        )
        logging.info("%s", run_training(job, tell))
    path = Path(job.model_path)
    FaciesModel.load(path).save(path, half_precision=True)  # what is shipped has to be small


if __name__ == "__main__":
    main()
