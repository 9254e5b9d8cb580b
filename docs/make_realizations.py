"""
Make the pictures of the shipped models of training images: `python docs/make_realizations.py`.

    python docs/make_realizations.py --channels channels_2500.png --delta lena_delta_3facies.npy

Crops of each image are above, realizations without data below. Where the images are from: docs/models/.
"""

from __future__ import annotations

import argparse
import runpy
from pathlib import Path

import numpy as np

from oadg.core.evaluation.crops import draw_crops
from oadg.core.model.facies_model import FaciesModel
from oadg.core.reports.drawing import paletted_png
from oadg.core.sampling.realizations import simulate_freely

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
GAP = 6  # pixels
SEED = 1


def montage(rows: list[np.ndarray]) -> np.ndarray:
    """Return maps in rows, each (n_maps, n_rows, n_cols), as one map with gaps of -1."""
    lines = []
    for maps in rows:
        padded = [np.pad(m.astype(int), GAP // 2, constant_values=-1) for m in maps]
        lines.append(np.concatenate(padded, axis=1))
    return np.concatenate(lines)


def main() -> None:
    """Draw every model whose image is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=Path)
    parser.add_argument("--delta", type=Path)
    arguments = parser.parse_args()
    recipes = runpy.run_path(str(ROOT / "resources" / "recipes" / "shipped_models.py"))["RECIPES"]
    for name in ("channels", "delta"):
        path = getattr(arguments, name)
        if path is None:
            continue
        image = recipes[name].image(path)
        model = FaciesModel.load(ROOT / "resources" / "models" / f"{name}.safetensors")
        colors = image.facies.colors
        crops = draw_crops(image.class_index, (250, 250), 3, np.random.default_rng(SEED))
        maps = simulate_freely(model, (250, 250), 3, seed=SEED)
        (IMAGES / f"{name}.png").write_bytes(paletted_png(montage([crops, maps]), colors))
        if name == "channels":
            large = simulate_freely(model, (1000, 1000), 1, seed=SEED)[0]
            (IMAGES / "channels_1000.png").write_bytes(paletted_png(large.astype(int), colors))


if __name__ == "__main__":
    main()
