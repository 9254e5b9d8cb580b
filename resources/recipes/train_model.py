"""
Train a model on a training image, or on a set of images of digits; `make train` runs this.

    python resources/recipes/train_model.py channels meanders
    python resources/recipes/train_model.py analogue.tif analogue --symmetry "half turn" --minutes 45
    python resources/recipes/train_model.py train-images-idx3-ubyte.gz digits --steps 3000 --track tensorboard

IMAGE is `channels` (the picture of 2500 x 2500 cells, downloaded when it is not there yet), `digits` (drawn ones, for
trying out), an idx file of images such as those of MNIST, a .npy file with facies codes, or a raster or picture.

An interrupted run (Ctrl-C) goes on when it is started again. TensorBoard and Weights & Biases are optional: pip install
tensorboard, or wandb.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from oadg.core.contract.errors import Cancelled, JobError, OadgError, TrainingImageError
from oadg.core.contract.hub_job import SUFFIX, check_name, check_repository
from oadg.core.contract.image_cautions import image_cautions
from oadg.core.contract.training_image import SYMMETRIES, TrainingImage, image_of_codes
from oadg.core.contract.training_job import PRECISIONS, SIZES, checkpoint_folder
from oadg.core.hub.publish import publish_model
from oadg.core.machine.device import prepare_process
from oadg.core.training.digits import digit_set, draw_digits, read_idx
from oadg.core.training.image_training import BASE, NETWORKS
from oadg.core.training.public_images import PUBLIC_IMAGES, PublicImage, fetch, public_image_in
from oadg.core.training.terminal_training import train_on
from oadg.core.training.tracking import TRACKERS, Tracker

START = Path(__file__).resolve().parents[1] / "models" / "universal.safetensors"
DIGITS = "digits"
N_DRAWN = 5000
_UNKNOWN_LICENCE = "LicenseRef-unknown"


def read_image(name: str, *, symmetry: str | None = None, seed: int = 0, folder: Path) -> tuple[TrainingImage, str]:
    """
    Return what IMAGE names, and the licence of a model of it, as far as it is known.

    Parameters
    ----------
    name : str
        A path, or one of the names that the module's docstring tells.
    symmetry : str, optional
        What leaves it as likely as it was; by default 'none', or what is known of a public image.
    seed : int
        Chooses the images of a set that are held out.
    folder : Path
        Where downloaded images are.

    Raises
    ------
    OadgError
        When there is no such image, or it is none to learn from.
    """
    if name == DIGITS:
        digits = digit_set(draw_digits(N_DRAWN), origin=f"{N_DRAWN:,} digits, drawn", seed=seed)
        return replace(digits, symmetry=symmetry or "none"), "CC0-1.0"
    path = Path(name)
    if name in PUBLIC_IMAGES:
        path = folder / f"{name}.png"
        if not path.is_file():
            logging.info("Downloading %s", PUBLIC_IMAGES[name].url)
            fetch(PUBLIC_IMAGES[name], path)
    if not path.is_file():
        raise TrainingImageError(
            f"There is no file {path}. Give a raster, a picture, a .npy or an idx file; or {DIGITS}, or "
            f"{', '.join(PUBLIC_IMAGES)}."
        )
    known = public_image_in(path)
    if known:
        return read_public_image(path, known, symmetry=symmetry), known.licence
    if path.suffix == ".gz" or "ubyte" in path.name or path.suffix == ".idx":
        return digit_set(read_idx(path), origin=path.name, symmetry=symmetry or "none", seed=seed), _UNKNOWN_LICENCE
    if path.suffix == ".npy":
        image = image_of_codes(*_read_array(path), symmetry=symmetry or "none", origin=path.name)
    else:
        image = _rasters().read_training_image(str(path), symmetry=symmetry or "none")
    return image, _UNKNOWN_LICENCE


def read_public_image(path: Path, known: PublicImage, symmetry: str | None = None) -> TrainingImage:
    """Return a public image, from its file."""
    codes = _rasters().read_codes(str(path)).codes // known.unit
    every = np.ones(codes.shape, dtype=bool)
    return image_of_codes(codes, every, styles=known.styles, symmetry=symmetry or known.symmetry, origin=known.origin)


def _read_array(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the codes in a file, and where there are any: not where they are negative, which means nothing known."""
    try:
        codes = np.load(path, allow_pickle=False)
        return codes, np.isfinite(codes) & (codes >= 0)
    except (OSError, TypeError, ValueError, EOFError) as error:
        raise TrainingImageError(
            f"The file {path} cannot be read as an array of codes: {error}. Choose another file."
        ) from error


def _rasters():
    """Return the module that reads rasters, which needs GDAL; arrays, idx files and drawn digits do without."""
    try:
        from oadg.oadg_qgis import categorical_rasters
    except ImportError as error:
        raise JobError(
            f"Rasters and pictures are read by GDAL, whose Python module cannot be imported: {error}. Run this in the "
            "environment of 'make env', or save the image as .npy file with facies codes."
        ) from error
    return categorical_rasters


def main(arguments: list[str] | None = None) -> int:
    """Train as the command line says; return 0 when the model is there, 1 for an error, 130 when interrupted."""
    asked = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    if asked.threads:
        torch.set_num_threads(asked.threads)
    prepare_process()
    try:
        _train(asked)
    except Cancelled as error:
        logging.error("%s", error)
        return 130
    except OadgError as error:
        logging.error("%s", error)
        return 1
    return 0


def _train(asked: argparse.Namespace) -> None:
    """Train, and publish if that is asked; what cannot be is told before training begins."""
    check_name(asked.name)
    if asked.publish:
        check_repository(asked.publish)
    path = asked.output / f"{asked.name}{SUFFIX}"
    if path.exists() and not checkpoint_folder(path).exists():
        raise JobError(f"There is a model {path} already. Choose another name, or delete that file first.")
    with Tracker(asked.track, asked.output / "tracking") as tracker:
        image, licence = read_image(asked.image, symmetry=asked.symmetry, seed=asked.seed, folder=asked.images)
        image = replace(image, origin=asked.origin or image.origin)
        _tell(image, NETWORKS[BASE if asked.size == SIZES[0] else asked.size].receptive_radius)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise JobError(f"The folder {path.parent} cannot be made: {error.strerror}. Choose another one.") from error
        result = train_on(
            image,
            track=tracker.follow,
            model_path=str(path),
            start_path=str(asked.start),
            name=asked.name,
            licence=asked.licence or licence,
            **{name: getattr(asked, name) for name in _OF_THE_JOB},
        )
    logging.info(
        "%s: %.4f bits per held-out cell at step %s of %s, %.0f minutes on %s",
        *(result.model_path, result.held_out_bits, f"{result.best_step:,}", f"{result.steps:,}"),
        *(result.seconds / 60, result.device),
    )
    if result.lowest_step == result.steps:
        logging.info("The held-out bits were still falling: a longer training makes a better model.")
    if asked.publish:
        logging.info("Published: %s", publish_model(path, asked.publish, private=asked.private))


_OF_THE_JOB = (
    *("size", "steps", "minutes", "learning_rate", "refiner_only", "levels_apart"),
    *("precision", "workers", "seed", "device"),
)


def _tell(image: TrainingImage, receptive_radius: int) -> None:
    """Tell what is learnt, and why a model of it may be poor."""
    shares = ", ".join(f"{f.name} {share:.1%}" for f, share in zip(image.facies.facies, image.proportions))
    logging.info("%s: %s cells; %s", image.origin, " x ".join(f"{n:,}" for n in image.class_index.shape), shares)
    for caution in image_cautions(image, receptive_radius):
        logging.warning("%s", caution)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", help="channels, digits, or a file")
    parser.add_argument("name", help="of the model")
    parser.add_argument("--output", type=Path, default=Path("models"), help="folder of the model (models)")
    parser.add_argument("--symmetry", choices=SYMMETRIES, help="what leaves the image as it is")
    parser.add_argument("--size", choices=SIZES, default=SIZES[0], help="of the network (auto: by the time)")
    parser.add_argument("--minutes", type=float, default=45.0, help="how long to train (45)")
    parser.add_argument("--steps", type=int, help="length in steps, instead of minutes")
    parser.add_argument("--learning-rate", type=float, default=4e-3, help="the highest one (0.004)")
    parser.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[0], help="while training (auto)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    parser.add_argument("--threads", type=int, default=0, help="of the CPU; by default all")
    parser.add_argument("--workers", type=int, default=0, help="processes that draw ahead, for a fast GPU (0)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed and steps give the same model (0)")
    parser.add_argument("--start", type=Path, default=START, help="model that training starts from (universal)")
    parser.add_argument(
        "--refiner-only", action="store_true", help="train a model's refiner on, alone: with --start and half the rate"
    )
    parser.add_argument("--levels-apart", action="store_true", help="train a refiner for each level of lattices")
    parser.add_argument("--origin", default="", help="where the image comes from, in words")
    parser.add_argument("--licence", default="", help="of the model, an SPDX identifier")
    parser.add_argument("--images", type=Path, default=Path("build/images"), help="folder of downloaded images")
    parser.add_argument("--track", choices=TRACKERS, default="", help="follow the run there, from OUTPUT/tracking")
    parser.add_argument(
        "--publish", metavar="USER/NAME", default="", help="upload it to the Hugging Face hub at the end"
    )
    parser.add_argument("--private", action="store_true", help="a new repository is seen by its owner only")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
