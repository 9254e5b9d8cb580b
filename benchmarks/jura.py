"""The Jura survey as a job: what the benchmarks share."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from osgeo import ogr

from oadg.core.conditioning import place_on_grid
from oadg.core.facies import FaciesTable, build_facies_table
from oadg.core.grid import Grid
from oadg.core.job import SimulationJob

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "resources" / "examples" / "jura.gpkg"
MODEL = ROOT / "resources" / "models" / "universal.safetensors"


class Points(NamedTuple):
    """Easting, northing (m) and rock type of points."""

    easting: np.ndarray
    northing: np.ndarray
    rock: list


def read_points(layer_name: str) -> Points:
    """Read a point layer of the example."""
    ogr.UseExceptions()
    source = ogr.Open(str(EXAMPLE))
    rows = [(f.geometry().GetX(), f.geometry().GetY(), f["rock"]) for f in source.GetLayerByName(layer_name)]
    easting, northing, rock = zip(*rows)
    return Points(np.array(easting), np.array(northing), list(rock))


def jura_job(work_folder: str, cell_size: float = 50.0, **options) -> tuple[SimulationJob, FaciesTable]:
    """Return the job of the demo: 5 facies, 117 x 97 cells at 50 m (no mask: all cells are simulated)."""
    points = read_points("observations")
    facies = build_facies_table(points.rock)
    code = {f.name: f.code for f in facies.facies}
    west, north = points.easting.min() - 300, points.northing.max() + 250
    grid = Grid.from_extent(west, north - 5850, west + 4850, north, cell_size)
    class_index = facies.class_index(np.array([code[r] for r in points.rock]))
    data = place_on_grid(points.easting, points.northing, class_index, grid, facies)
    job = SimulationJob(
        grid=grid,
        facies=facies,
        row=tuple(data.row.tolist()),
        col=tuple(data.col.tolist()),
        class_index=tuple(data.class_index.tolist()),
        model_path=str(MODEL),
        work_folder=work_folder,
        **options,
    )
    return job, facies
