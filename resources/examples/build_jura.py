"""
Build the Jura example (jura.gpkg and jura.qgz) from the two tables of the survey.

    .venv/bin/python resources/examples/build_jura.py OBSERVATIONS.csv MAP.csv

OBSERVATIONS.csv has the columns x_km, y_km, long, lat, rock and set ('observation' or 'validation'), MAP.csv at least
x_km and y_km: `jura.pred`, `jura.val` and `jura.grid` of the R package gstat. Of the map only the nodes' places are
used, for the outline of the survey; its rock types are the truth to score against and stay out of the example.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Dict, List

import numpy as np
from qgis.core import (
    QgsApplication,
    QgsCategorizedSymbolRenderer,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsFeature,
    QgsFillSymbol,
    QgsGeometry,
    QgsMarkerSymbol,
    QgsPointXY,
    QgsProject,
    QgsRectangle,
    QgsReferencedRectangle,
    QgsRendererCategory,
    QgsSettings,
    QgsSingleSymbolRenderer,
    QgsVectorFileWriter,
    QgsVectorLayer,
)
from qgis.PyQt.QtGui import QTransform

CRS = "EPSG:2056"
NODE_SPACING_M = 50

ROCKS = {
    # Youngest first. Light to dark in five even steps, and apart with every common kind of colour blindness.
    "Quaternary": "#f5e8a3",
    "Portlandian": "#b2492b",
    "Kimmeridgian": "#94cfda",
    "Sequanian": "#4a8fb5",
    "Argovian": "#2f3567",
}

Row = Dict[str, str]


def main() -> None:
    """Read the tables, write the layers with their styles, then the project."""
    parser = argparse.ArgumentParser(description="Build jura.gpkg and jura.qgz from the tables of the survey.")
    parser.add_argument("observations", type=Path)
    parser.add_argument("map", type=Path)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent, help="where the two files are written")
    arguments = parser.parse_args()

    application = QgsApplication([], False)
    application.initQgis()
    package = arguments.folder / "jura.gpkg"
    package.unlink(missing_ok=True)
    observations, nodes = _read(arguments.observations), _read(arguments.map)
    layers = [
        _write(package, _point_layer("observations", [r for r in observations if r["set"] == "observation"])),
        _write(package, _point_layer("validation", [r for r in observations if r["set"] == "validation"])),
        _write(package, _outline_layer("survey_area", nodes, observations)),
    ]
    _write_project(arguments.folder / "jura.qgz", layers)
    application.exitQgis()


def _read(path: Path) -> List[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _to_lv95() -> QgsCoordinateTransform:
    wgs84, lv95 = QgsCoordinateReferenceSystem("EPSG:4326"), QgsCoordinateReferenceSystem(CRS)
    return QgsCoordinateTransform(wgs84, lv95, QgsProject.instance().transformContext())


def _places(rows: List[Row]) -> np.ndarray:
    """Return easting and northing of each row, shape (n_rows, 2)."""
    transform = _to_lv95()
    return np.array([[*transform.transform(float(row["long"]), float(row["lat"]))] for row in rows])


def _local_places(rows: List[Row]) -> np.ndarray:
    """Return the survey's own coordinates of each row, in metres, shape (n_rows, 2)."""
    return np.array([[float(row["x_km"]), float(row["y_km"])] for row in rows]) * 1000


def _point_layer(name: str, rows: List[Row]) -> QgsVectorLayer:
    """Return a layer of points with the field `rock`, drawn by rock type."""
    layer = QgsVectorLayer(f"Point?crs={CRS}&field=rock:string(20)", name, "memory")
    for row, (easting, northing) in zip(rows, _places(rows).round(2)):
        feature = QgsFeature(layer.fields())
        feature.setAttributes([row["rock"]])
        feature.setGeometry(QgsGeometry.fromPointXY(QgsPointXY(easting, northing)))
        layer.dataProvider().addFeature(feature)
    marker = {"outline_color": "#1a1a1a", "outline_width": "0.2"}
    marker.update({"name": "circle", "size": "2.2"} if name == "observations" else {"name": "triangle", "size": "2.0"})
    categories = [
        QgsRendererCategory(rock, QgsMarkerSymbol.createSimple({**marker, "color": color}), rock)
        for rock, color in ROCKS.items()
    ]
    layer.setRenderer(QgsCategorizedSymbolRenderer("rock", categories))
    return layer


def _outline_layer(name: str, nodes: List[Row], observations: List[Row]) -> QgsVectorLayer:
    """
    Return the outline of the mapped nodes: every node's square, dissolved.

    The squares are dissolved in the survey's own coordinates, where their corners coincide, and then moved to the
    Swiss system by the affine map that the observations, known in both, determine.
    """
    half = NODE_SPACING_M / 2
    squares = [
        QgsGeometry.fromRect(QgsRectangle(x - half, y - half, x + half, y + half)) for x, y in _local_places(nodes)
    ]
    outline = QgsGeometry.unaryUnion(squares).simplify(0.0)
    local = np.column_stack([_local_places(observations), np.ones(len(observations))])
    affine = np.linalg.lstsq(local, _places(observations), rcond=None)[0]
    outline.transform(QTransform(*affine.ravel()))
    layer = QgsVectorLayer(f"MultiPolygon?crs={CRS}", name, "memory")
    feature = QgsFeature()
    outline.convertToMultiType()
    feature.setGeometry(outline)
    layer.dataProvider().addFeature(feature)
    line = {"color": "0,0,0,0", "outline_color": "#4d4d4d", "outline_width": "0.4", "outline_style": "dash"}
    layer.setRenderer(QgsSingleSymbolRenderer(QgsFillSymbol.createSimple(line)))
    return layer


def _write(package: Path, layer: QgsVectorLayer) -> QgsVectorLayer:
    """Add a layer and its style to the GeoPackage; return it as read from there."""
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName, options.layerName = "GPKG", layer.name()
    if package.exists():
        options.actionOnExistingFile = QgsVectorFileWriter.CreateOrOverwriteLayer
    context = QgsProject.instance().transformContext()
    error, message, *_ = QgsVectorFileWriter.writeAsVectorFormatV3(layer, str(package), context, options)
    if error != QgsVectorFileWriter.NoError:
        raise SystemExit(f"{package} could not be written: {message}")
    written = QgsVectorLayer(f"{package}|layername={layer.name()}", layer.name(), "ogr")
    written.setRenderer(layer.renderer().clone())
    written.saveStyleToDatabase(layer.name(), "Swiss Jura rock types", True, "")
    return written


def _write_project(path: Path, layers: List[QgsVectorLayer]) -> None:
    """Write the project with paths relative to it; the layers that come first lie on top."""
    QgsSettings().setValue("projects/anonymize_saved_projects", True, QgsSettings.Core)
    project = QgsProject.instance()
    project.setTitle("Swiss Jura: rock types")
    project.setCrs(QgsCoordinateReferenceSystem(CRS))
    root = project.layerTreeRoot()
    for layer in layers:
        project.addMapLayer(layer, False)
        root.addLayer(layer)
    root.findLayer(layers[1]).setItemVisibilityChecked(False)  # for checking the result, not for making it
    extent = layers[2].extent().buffered(200)
    project.viewSettings().setDefaultViewExtent(QgsReferencedRectangle(extent, project.crs()))
    if not project.write(str(path)):
        raise SystemExit(f"{path} could not be written: {project.error()}")


if __name__ == "__main__":
    main()
