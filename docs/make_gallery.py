"""
Draw the gallery of the prior: `.venv/bin/python docs/make_gallery.py`.

Each column shows fields of one family of `core/training/random_fields.py`, drawn as training draws them; the last row
shows what a survey of the field above sees.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from qgis.PyQt.QtCore import QRectF, Qt
from qgis.PyQt.QtGui import QColor, QFont, QGuiApplication, QImage, QPainter

from oadg.core.contract.facies import PALETTE
from oadg.core.training import random_fields
from oadg.core.training.random_fields import draw_field_laws, draw_surveys

IMAGE = Path(__file__).resolve().parent / "images" / "prior.png"
SEED = 5
SIDE, GAP, TITLE = 150, 10, 26
N_ROWS = 3
FAMILIES = {
    "Facies that compete": random_fields._argmax_fields,
    "Graded (truncated)": random_fields._truncated_fields,
    "Units, channels, intrusions": random_fields._tree_fields,
    "Forbidden contacts": random_fields._plurigaussian_fields,
    "Parcels": random_fields._mosaic_fields,
    "Layers": random_fields._layered_fields,
}
_FACIES = (3, 4, 5, 8)


def draw_column(draw_family, generator: torch.Generator) -> np.ndarray:
    """Return fields of a family and a survey of the last, int (N_ROWS + 1, SIDE, SIDE); -1 where nothing is seen."""
    maps = []
    for _ in range(N_ROWS):
        n_facies = _FACIES[int(torch.randint(len(_FACIES), (), generator=generator))]
        law = draw_field_laws(1, 15.0, 90.0, generator)
        maps.append(draw_family(law, n_facies, 256, generator)[:, :SIDE, :SIDE])
    maps[-1] = random_fields._add_inclusions(maps[-1], 5.0, generator)
    n_data = torch.tensor([int(60 * 5 ** float(torch.rand((), generator=generator)))])
    surveyed = draw_surveys(maps[-1], n_data, max(_FACIES), generator)
    return torch.cat([*maps, torch.where(surveyed, maps[-1], -1)]).numpy()


def paint(painter: QPainter, facies: np.ndarray, left: int, top: int) -> None:
    """Paint a map, cell by pixel, or a survey, datum by dot."""
    colours = [QColor(colour) for colour in PALETTE]
    if (facies < 0).any():
        painter.setPen(QColor("#999999"))
        painter.drawRect(left, top, SIDE - 1, SIDE - 1)
        painter.setPen(Qt.PenStyle.NoPen)
        for row, col in np.argwhere(facies >= 0).tolist():
            painter.setBrush(colours[facies[row, col]])
            painter.drawEllipse(QRectF(left + col - 2.5, top + row - 2.5, 5, 5))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        return
    rgb = np.array([[c.red(), c.green(), c.blue()] for c in colours], dtype=np.uint8)
    pixels = np.ascontiguousarray(rgb[facies])
    painter.drawImage(left, top, QImage(pixels.tobytes(), SIDE, SIDE, 3 * SIDE, QImage.Format.Format_RGB888))


def main() -> None:
    """Draw and save the picture."""
    application = QGuiApplication(["gallery", "-platform", "offscreen"])
    width = len(FAMILIES) * (SIDE + GAP) + GAP
    image = QImage(width, (N_ROWS + 1) * (SIDE + GAP) + TITLE, QImage.Format.Format_RGB32)
    image.fill(QColor("white"))
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setFont(QFont("DejaVu Sans", 8))
    generator = torch.Generator().manual_seed(SEED)
    for number, (title, draw_family) in enumerate(FAMILIES.items()):
        left = GAP + number * (SIDE + GAP)
        painter.setPen(QColor("#222222"))
        painter.drawText(QRectF(left, 4, SIDE, TITLE - 6), Qt.AlignmentFlag.AlignCenter, title)
        for row, facies in enumerate(draw_column(draw_family, generator)):
            paint(painter, facies, left, TITLE + row * (SIDE + GAP))
    painter.end()
    image.convertToFormat(QImage.Format.Format_Indexed8, Qt.ImageConversionFlag.ThresholdDither).save(str(IMAGE))
    application.quit()


if __name__ == "__main__":
    main()
