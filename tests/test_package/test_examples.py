"""The example: layers, coordinates, styles and project, as a user opens them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from qgis.core import QgsProject, QgsVectorLayer

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "resources" / "examples"
ROCKS = {"Argovian", "Kimmeridgian", "Portlandian", "Quaternary", "Sequanian"}


@pytest.fixture
def folder(tmp_path):
    """A copy: reading a GeoPackage may write files beside it."""
    for name in ("jura.gpkg", "jura.qgz"):
        shutil.copy(EXAMPLES / name, tmp_path)
    return tmp_path


@pytest.fixture
def layer(folder):
    return lambda name: QgsVectorLayer(f"{folder / 'jura.gpkg'}|layername={name}", name, "ogr")


@pytest.mark.parametrize(("name", "count"), [("observations", 259), ("validation", 100)])
def test_points_have_a_rock_each_and_lie_in_the_survey_area(layer, name, count):
    points, area = layer(name), next(layer("survey_area").getFeatures()).geometry()
    features = list(points.getFeatures())
    assert len(features) == count
    assert {feature["rock"] for feature in features} == ROCKS
    assert all(area.contains(feature.geometry()) for feature in features)
    assert points.crs().authid() == "EPSG:2056"


def test_the_survey_area_is_one_valid_outline_of_the_map(layer):
    area = layer("survey_area")
    geometry = next(area.getFeatures()).geometry()
    assert area.featureCount() == 1
    assert geometry.isGeosValid()
    # 5,957 nodes, each the centre of a square of nearly 50 m in Swiss coordinates.
    assert geometry.area() == pytest.approx(5957 * 50 * 50, rel=0.01)


@pytest.mark.parametrize("name", ["observations", "validation"])
def test_the_style_comes_with_the_layer_one_colour_each(layer, name):
    points = layer(name)
    renderer = points.renderer()
    assert renderer.type() == "categorizedSymbol"
    assert renderer.classAttribute() == "rock"
    colors = {category.value(): category.symbol().color() for category in renderer.categories()}
    assert set(colors) == ROCKS
    lightness = sorted(color.lightnessF() for color in colors.values())
    assert min(b - a for a, b in zip(lightness, lightness[1:])) > 0.02


def test_the_project_opens_with_its_layers_wherever_it_lies(folder):
    project = QgsProject()
    assert project.read(str(folder / "jura.qgz"))
    layers = {layer.name(): layer for layer in project.mapLayers().values()}
    assert set(layers) == {"observations", "validation", "survey_area"}
    assert all(layer.isValid() for layer in layers.values())
    assert all(Path(layer.source().split("|")[0]) == folder / "jura.gpkg" for layer in layers.values())
    assert project.crs().authid() == "EPSG:2056"


def test_the_origin_is_quoted():
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert "Goovaerts" in text
    assert "GPL-2" in text
