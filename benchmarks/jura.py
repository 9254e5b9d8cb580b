"""The Jura survey, as a job and as a survey with hidden points: what the benchmarks share."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from osgeo import ogr, osr

from benchmarks.evaluate_universal.surveys import NamedSurvey
from oadg.core.contract.conditioning import place_on_grid
from oadg.core.contract.facies import FaciesTable, build_facies_table
from oadg.core.contract.grid import Grid
from oadg.core.contract.job import SimulationJob
from oadg.core.training.train_universal import SHIPPED

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "resources" / "examples" / "jura.gpkg"


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


def read_map(path: Path) -> Points:
    """Read the nodes of the survey's map from a table with the columns long, lat and rock."""
    osr.UseExceptions()
    wgs84, lv95 = osr.SpatialReference(), osr.SpatialReference()
    for reference, code in ((wgs84, 4326), (lv95, 2056)):
        reference.ImportFromEPSG(code)
        reference.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    places = [(float(row["long"]), float(row["lat"])) for row in rows]
    easting, northing, _ = np.array(osr.CoordinateTransformation(wgs84, lv95).TransformPoints(places)).T
    return Points(easting, northing, [row["rock"] for row in rows])


def jura_survey(hidden: Points, name: str) -> NamedSurvey:
    """Return the observations on 50 m cells, with hidden points, all on the grid, as targets."""
    job, facies = jura_job("")
    grid, observed = job.grid, read_points("observations")
    known = np.full(grid.shape, -1)
    known[job.row, job.col] = job.class_index

    def in_cells(points: Points) -> np.ndarray:
        return np.stack([grid.north - points.northing, points.easting - grid.west], axis=1) / grid.cell_size

    def class_index(points: Points) -> np.ndarray:
        return np.array([facies.names.index(rock) for rock in points.rock])

    return NamedSurvey(
        places=in_cells(observed),
        class_index=class_index(observed),
        targets=in_cells(hidden),
        truth=class_index(hidden),
        known=known,
        n_facies=len(facies),
        kind="Jura",
        design=name,
    )


def jura_job(work_folder: str, cell_size: float = 50.0, **options) -> tuple[SimulationJob, FaciesTable]:
    """Return the job of the demo: 5 facies, 117 x 97 cells at 50 m (no mask: all cells are simulated)."""
    points = read_points("observations")
    facies = build_facies_table(points.rock)
    code = {f.name: f.code for f in facies.facies}
    ogr.UseExceptions()
    source = ogr.Open(str(EXAMPLE))
    west, east, south, north = source.GetLayerByName("survey_area").GetExtent()
    grid = Grid.from_extent(west, south, east, north, cell_size)
    class_index = facies.class_index(np.array([code[r] for r in points.rock]))
    data = place_on_grid(points.easting, points.northing, class_index, grid, facies)
    job = SimulationJob(
        grid=grid,
        facies=facies,
        row=tuple(data.row.tolist()),
        col=tuple(data.col.tolist()),
        class_index=tuple(data.class_index.tolist()),
        model_path=str(SHIPPED),
        work_folder=work_folder,
        **options,
    )
    return job, facies
