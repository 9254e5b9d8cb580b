"""Layers to arrays: what is read, what is skipped, where it lands."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import numpy as np
import pytest
from osgeo import ogr, osr
from qgis.core import (
    NULL,
    QgsCategorizedSymbolRenderer,
    QgsCoordinateReferenceSystem,
    QgsEditorWidgetSetup,
    QgsProcessingContext,
    QgsProcessingFeatureSourceDefinition,
    QgsProcessingUtils,
    QgsProject,
    QgsRectangle,
    QgsRendererCategory,
    QgsSymbol,
    QgsVectorFileWriter,
    QgsVectorLayer,
)
from qgis.PyQt.QtGui import QColor

from oadg.core.contract.errors import ConditioningError, FaciesError, GridError
from oadg.core.contract.facies import Facies, FaciesTable
from oadg.core.contract.grid import Grid
from oadg.oadg_qgis.algorithms.facies_algorithm import facies_of
from oadg.oadg_qgis.crs import check_projected
from oadg.oadg_qgis.grids import make_grid
from oadg.oadg_qgis.layers import (
    Observations,
    layer_styles,
    observations_reader,
)
from oadg.oadg_qgis.mask import extent_of, rasterise, read_polygons

UTM32 = QgsCoordinateReferenceSystem("EPSG:32632")


def source_of(layer):
    context = QgsProcessingContext()
    QgsProject.instance().addMapLayer(layer)
    context.setProject(QgsProject.instance())
    source = QgsProcessingUtils.variantToSource(layer.id(), context)
    return source, context


def read(layer, field="facies", crs=UTM32):
    source, context = source_of(layer)
    return observations_reader(source, layer, field, crs, context.transformContext())()


@pytest.fixture(autouse=True)
def _clean_project(processing):
    yield
    QgsProject.instance().clear()


def test_reads_places_and_codes(world):
    observations = read(world.make_layer([(1.5, 2.5), (3.0, 4.0)], [311, -1]))
    assert observations.easting.tolist() == [1.5, 3.0]
    assert observations.northing.tolist() == [2.5, 4.0]
    assert observations.values == [311, -1]


def test_codes_of_text_are_numbered_by_name(world):
    observations = read(world.make_layer([(0, 0), (1, 1), (2, 2)], ["silt", "clay", "silt"], kind="string"))
    facies, class_index = observations.facies_table()
    assert [(f.code, f.name) for f in facies.facies] == [(1, "clay"), (2, "silt")]
    assert class_index.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    "values",
    [
        ["sand", "sand\x00", "Sand", "sand"],  # numpy takes the first two for one
        ["10", "2", "2", "-3"],  # whose table is in the order of the numbers
    ],
)
def test_class_indices_belong_to_the_table_whatever_the_text(values):
    facies, class_index = Observations(np.arange(4.0), np.arange(4.0), values).facies_table()
    assert [facies.facies[k].name for k in class_index] == values


def test_empty_facies_are_skipped_and_counted(world):
    places = [(0, 0), (1, 1), (2, 2), (3, 3), None]
    observations = read(world.make_layer(places, ["sand", NULL, "", "  ", "clay"], kind="string"))
    assert observations.values == ["sand"]
    assert (observations.n_empty, observations.n_nowhere, observations.n_points) == (3, 1, 5)


def test_blanks_around_a_name_make_no_other_facies(world):
    observations = read(world.make_layer([(0, 0), (1, 1), (2, 2)], ["sand", " sand ", "clay"], kind="string"))
    assert observations.facies_table()[0].names == ["clay", "sand"]


def test_null_is_no_integer_facies(world):
    observations = read(world.make_layer([(0, 0), (1, 1)], [NULL, 0]))
    assert observations.values == [0]
    assert observations.n_empty == 1


def test_each_part_of_a_multipoint_is_an_observation(world):
    layer = world.make_layer([[(0, 0), (5, 5)], [(9, 9)], [(1, 2), (3, 4)]], [1, 2, NULL], geometry="MultiPoint")
    observations = read(layer)
    assert observations.values == [1, 1, 2]
    assert observations.easting.tolist() == [0, 5, 9]
    assert observations.n_empty == 2


@pytest.mark.parametrize("code", [2**31, -(2**31) - 1])
def test_codes_that_no_raster_holds(world, code):
    with pytest.raises(FaciesError, match=f"holds the code {code}; codes from -2147483648 to 2147483647 fit"):
        read(world.make_layer([(0, 0), (1, 1)], [5, code], kind="int8"))


def read_all(layer):
    source, context = source_of(layer)
    how = {"with_attributes": True}
    return observations_reader(source, layer, "facies", UTM32, context.transformContext(), **how)()


def test_each_part_of_a_multipoint_has_the_attributes_of_its_feature(world):
    layer = world.make_layer([[(0, 0), (5, 5)], [(9, 9)], [(1, 2), (3, 4)]], [1, 2, NULL], geometry="MultiPoint")
    at = layer.fields().lookupField("facies")
    assert [attributes[at] for attributes in read_all(layer).attributes] == [1, 1, 2]


def test_points_at_no_place_are_counted_and_all_others_keep_what_is_theirs(world):
    layer = world.make_layer([(0, 0), (np.inf, 1), (2, 2), (3, -np.inf), (4, 4)], [1, 2, 3, 4, 5])
    at, observations = layer.fields().lookupField("facies"), read_all(layer)
    assert observations.easting.tolist() == [0, 2, 4]
    assert observations.values == [attributes[at] for attributes in observations.attributes] == [1, 3, 5]
    assert (observations.n_nowhere, observations.n_points) == (2, 5)


def test_a_file_of_points_may_hold_multipoints(world, tmp_path):
    """OGR writes them with no more than a warning."""
    path = str(tmp_path / "mixed.gpkg")
    file = ogr.GetDriverByName("GPKG").CreateDataSource(path)
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(32632)
    table = file.CreateLayer("mixed", reference, ogr.wkbPoint)
    table.CreateField(ogr.FieldDefn("facies", ogr.OFTString))
    for text, place in (("sand", "POINT (1 2)"), ("clay", "MULTIPOINT (3 4, 5 6)")):
        feature = ogr.Feature(table.GetLayerDefn())
        feature.SetField("facies", text)
        feature.SetGeometry(ogr.CreateGeometryFromWkt(place))
        table.CreateFeature(feature)
    del feature, table, file
    observations = read(QgsVectorLayer(path, "mixed", "ogr"))
    assert observations.values == ["sand", "clay", "clay"]
    assert observations.northing.tolist() == [2, 4, 6]


def test_accents_are_the_same_however_they_are_written(world):
    both = [unicodedata.normalize(form, "Grès") for form in ("NFC", "NFD")]
    observations = read(world.make_layer([(0, 0), (1, 1), (2, 2)], [*both, "clay"], kind="string"))
    assert observations.facies_table()[0].names == ["clay", "Grès"]


def test_facies_of_a_model_keep_names_of_their_own(world):
    """Whatever the layer's style calls them."""
    known = FaciesTable((Facies(0, "mud", "#112233"), Facies(1, "sand", "#445566"), Facies(2, "silt", "#778899")))
    values, nowhere = [0, 1, 2], np.zeros(3)
    alike = Observations(nowhere, nowhere, values, styles={0: ("Rock", None), 1: ("Rock", None)})
    assert alike.facies_table(known)[0].names == ["Rock", "Rock (sand)", "silt"]
    swapped = Observations(nowhere, nowhere, values, styles={0: ("sand", None), 1: ("mud", None)})
    with pytest.raises(FaciesError, match=r"code [01] is called '(sand|mud)' in the layer or raster, .* recode them"):
        swapped.facies_table(known)


def test_what_the_legend_calls_facies_tells_before_their_codes(log):
    """The layer's own legend names the facies of a map of it, and a model may number them in another order."""
    facies = [Facies(1, "Dolomite (Trias)", "#112233"), Facies(2, "Marl", "#445566"), Facies(3, "Lime", "#778899")]
    known, nowhere = FaciesTable(tuple(facies)), np.zeros(3)
    styles = {"Dolomit": ("Dolomite (Trias)", "#aa0000"), "Mergel": ("Marl", None), "lime": ("Limestone", None)}
    table, class_index = Observations(nowhere, nowhere, list(styles), styles=styles).facies_table(known)
    assert class_index.tolist() == [0, 1, 2]
    assert (table.names, table.colors[0]) == (["Dolomite (Trias)", "Marl", "Limestone"], "#aa0000")
    numbers = {3: ("Dolomite (Trias)", None), 1: ("marl", None), 2: ("Lime", None)}
    renumbered = Observations(nowhere, nowhere, [1, 2, 3], styles=numbers)
    assert facies_of(renumbered, known, log.feedback)[1].tolist() == [1, 2, 0]
    told = "are told by their names, for its codes are others: 1 = marl (2), 2 = Lime (3), 3 = Dolomite (Trias) (1)."
    assert log.infos == [f"The facies of 'observations' {told}"]


def test_facies_whose_names_differ_in_case_are_told_apart():
    """A name in another case stands for a facies only where no other one could be meant."""
    facies = [Facies(1, "Sand", "#112233"), Facies(2, "sand", "#445566"), Facies(3, "Grès", "#778899")]
    known, nowhere = FaciesTable(tuple(facies)), np.zeros(4)
    decomposed = unicodedata.normalize("NFD", "Grès")
    told_apart = Observations(nowhere, nowhere, ["sand", "Sand", "grès", "GRÈS"])
    assert told_apart.facies_table(known)[1].tolist() == [1, 0, 2, 2]
    both = FaciesTable((*facies[:2], Facies(3, decomposed, "#778899")))
    assert told_apart.facies_table(both)[1].tolist() == [1, 0, 2, 2]
    with pytest.raises(FaciesError, match=r"does not have the facies SAND of .* Sand \(code 1\), sand \(code 2\)"):
        Observations(nowhere, nowhere, ["SAND", "sand", "Sand", "sand"]).facies_table(known)


def test_a_table_is_no_layer_of_observations(world):
    layer = QgsVectorLayer("NoGeometry?field=facies:integer", "table", "memory")
    with pytest.raises(ConditioningError, match="Create points layer from table"):
        read(layer)


def test_a_stray_observation_is_named_when_the_grid_gets_too_large():
    east, north = np.append(np.arange(40.0), 5e6), np.zeros(41)
    with pytest.raises(GridError, match=r"at most 16,000,000 .* 1 of 41 observations lies far .* easting 5000000"):
        make_grid(Observations(east, north, [1] * 41), None, 0.5)


def test_selected_features_only(world):
    layer = world.make_layer([(0, 0), (1, 1), (2, 2)], [1, 2, 3])
    layer.selectByExpression('"facies" > 1')
    QgsProject.instance().addMapLayer(layer)
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    definition = QgsProcessingFeatureSourceDefinition(layer.id(), True)
    source = QgsProcessingUtils.variantToSource(definition, context)
    observations = observations_reader(source, layer, "facies", UTM32, context.transformContext(), restricted=True)()
    assert sorted(observations.values) == [2, 3]


def test_points_are_reprojected(world):
    observations = read(world.make_layer([(9.0, 45.0)], [1], crs="EPSG:4326"))
    assert observations.easting[0] == pytest.approx(500_000, abs=0.01)
    assert observations.northing[0] == pytest.approx(4_982_950.4, abs=0.1)


def test_points_that_cannot_be_reprojected_are_counted(world):
    observations = read(world.make_layer([(9.0, 45.0), (9.0, 1e6)], [1, 2], crs="EPSG:4326"))
    assert observations.values == [1]
    assert observations.n_nowhere == 1


def test_missing_field_is_named_with_those_that_are_there(world):
    with pytest.raises(FaciesError, match=r"no field 'rock'; it has number, facies"):
        read(world.make_layer([(0, 0)], [1]), field="rock")


def test_measured_values_are_refused_with_a_remedy(world):
    with pytest.raises(
        FaciesError, match=r"'number' holds 0\.5; facies are .*: CASE WHEN \"number\" < 0\.5 THEN 1 ELSE 2"
    ):
        read(world.make_layer([(0, 0)], [1]), field="number")
    with pytest.raises(FaciesError, match="'facies' holds inf"):
        read(world.make_layer([(0, 0)], [np.inf], kind="double"))


def test_codes_that_are_written_as_decimal_numbers_are_codes(world):
    """As spreadsheets and tables of text have them; what is no number is empty, and the legend's names count."""
    values = [2.0, -0.0, None, 31.0, np.nan]
    layer = world.make_layer([(k, 0) for k in range(len(values))], values, kind="double")
    categorise(layer, [(2.0, "#112233", "till"), (31.0, "#332211", "clay"), (0.5, "#111111", "half")])
    observations = read(layer)
    assert observations.values == [2, 0, 31]
    assert all(isinstance(value, int) for value in observations.values)
    assert observations.n_empty == 2
    assert observations.styles == {2: ("till", "#112233"), 31: ("clay", "#332211")}
    with pytest.raises(FaciesError, match="code 3000000000; codes from"):
        read(world.make_layer([(0, 0)], [3e9], kind="double"))


@pytest.mark.parametrize(
    ("kind", "maker"), [("date", "to_string"), ("datetime", "to_string"), ("string[]", "array_to_string")]
)
def test_dates_and_lists_are_refused_with_a_remedy_that_makes_texts_of_them(world, kind, maker):
    with pytest.raises(FaciesError, match=rf"'facies' is of type .*: {maker}\(\"facies\"\)\."):
        read(world.make_layer([(0, 0)], [None], kind=kind))


def test_json_is_refused_with_a_remedy_that_makes_texts_of_it(world, processing, tmp_path):
    path = str(tmp_path / "json.gpkg")
    file = ogr.GetDriverByName("GPKG").CreateDataSource(path)
    table = file.CreateLayer("json", None, ogr.wkbPoint)
    definition = ogr.FieldDefn("facies", ogr.OFTString)
    definition.SetSubType(ogr.OFSTJSON)
    table.CreateField(definition)
    for rock in ("sand", "clay"):
        feature = ogr.Feature(table.GetLayerDefn())
        feature.SetField("facies", f'{{"KEY": "{rock}"}}')
        feature.SetGeometry(ogr.CreateGeometryFromWkt("POINT (1 2)"))
        table.CreateFeature(feature)
    del feature, table, file
    layer = QgsVectorLayer(path, "json", "ogr")
    with pytest.raises(FaciesError, match=r"'facies' is of type JSON; .*'Refactor fields': (map_get.*)\.$") as told:
        read(layer)
    mapping = {"name": "facies", "type": 10, "length": 0, "precision": 0}
    mapping["expression"] = str(told.value).split("'Refactor fields': ")[1][:-1]
    asked = {"INPUT": layer, "FIELDS_MAPPING": [mapping], "OUTPUT": "TEMPORARY_OUTPUT"}
    assert read(processing.run("native:refactorfields", asked)["OUTPUT"]).values == ["sand", "clay"]


def test_codes_as_texts_are_refused_with_a_remedy(world):
    """Texts are names, and a facies may be called as the code of another."""
    known = FaciesTable((Facies(0, "mud", "#112233"), Facies(1, "sand", "#445566")))
    observations = read(world.make_layer([(0, 0), (1, 1)], ["0", "1"], kind="string"))
    with pytest.raises(FaciesError, match=r"facies 0, 1 .* are codes of the map .* calculator: to_int\(\"facies\"\)"):
        observations.facies_table(known, "map")
    with pytest.raises(FaciesError, match="does not have the facies 0, 7 of the observations"):
        replace(observations, values=["0", "7"]).facies_table(known)


def test_code_beyond_32_bits_is_refused(world):
    with pytest.raises(FaciesError, match=r"code 3000000000; codes from -2147483648"):
        read(world.make_layer([(0, 0)], [3_000_000_000], kind="int8"))


def test_polygons_are_no_observations(world):
    layer = world.make_polygon("MultiPolygon(((0 0, 1 0, 1 1, 0 0)))")
    with pytest.raises(ConditioningError, match=r"geometries of type Polygon; observations are points"):
        read(layer)


def test_no_observations_is_said_with_the_counts(world):
    observations = read(world.make_layer([(0, 0), None], [NULL, 1]))
    with pytest.raises(ConditioningError, match=r"of 2 points .* 1 has an empty facies field and 1 no position"):
        observations.facies_table()


def categorise(layer, categories):
    renderer = QgsCategorizedSymbolRenderer("facies")
    for value, color, label in categories:
        symbol = QgsSymbol.defaultSymbol(layer.geometryType())
        symbol.setColor(QColor(color))
        renderer.addCategory(QgsRendererCategory(value, symbol, label))
    layer.setRenderer(renderer)


def test_names_and_colours_come_from_the_categorised_style(world):
    layer = world.make_layer([(0, 0), (1, 1), (2, 2)], [1, 2, 3])
    categorise(layer, [(1, "#112233", "Sand"), (2, "#445566", "Clay"), ("", "#000000", "all others")])
    facies, _ = read(layer).facies_table()
    assert [(f.code, f.name, f.color) for f in facies.facies[:2]] == [(1, "Sand", "#112233"), (2, "Clay", "#445566")]
    assert facies.facies[2].name == "3"


@pytest.mark.parametrize("where", ["no project", "a project of its own"])
def test_a_layer_of_a_script_tells_its_own_names(world, tmp_path, where):
    """Be it in no project, or in another one than that which is open: a copy from its file does not know them."""
    path, project = str(tmp_path / "survey.gpkg"), QgsProject()
    options = QgsVectorFileWriter.SaveVectorOptions()
    made = world.make_layer([(0, 0), (1, 1)], [1, 4])
    QgsVectorFileWriter.writeAsVectorFormatV3(made, path, project.transformContext(), options)
    layer = QgsVectorLayer(path, "survey", "ogr")
    position = layer.fields().lookupField("facies")
    if where != "no project":
        project.addMapLayer(layer)
    layer.setEditorWidgetSetup(position, QgsEditorWidgetSetup("ValueMap", {"map": [{"Sand": "1"}, {"Clay": "4"}]}))
    assert layer_styles(layer, "facies") == {1: ("Sand", None), 4: ("Clay", None)}
    categorise(layer, [(1, "#112233", "gravel")])
    assert layer_styles(layer, "facies") == {1: ("gravel", "#112233")}


@pytest.mark.parametrize("shown", [[{"Sand": "1"}, {" Clay ": "4"}, {"none": "{2839923C}"}], {"Sand": 1, "Clay": 4}])
def test_names_come_from_the_value_map_of_the_field_where_no_style_tells(world, shown):
    layer = world.make_layer([(0, 0), (1, 1)], [1, 4])
    layer.setEditorWidgetSetup(1, QgsEditorWidgetSetup("ValueMap", {"map": shown}))
    QgsProject.instance().addMapLayer(layer)
    assert layer_styles(layer, "facies") == {1: ("Sand", None), 4: ("Clay", None)}
    categorise(layer, [(1, "#112233", "gravel")])
    layer.setFieldAlias(1, "Rock type")
    for name in ("facies", "Rock type"):
        assert layer_styles(layer, name) == {1: ("gravel", "#112233")}
    QgsProject.instance().removeMapLayer(layer.id())


def test_one_category_of_several_values_colours_each(world):
    layer = world.make_layer([(0, 0), (1, 1)], ["a", "b"], kind="string")
    categorise(layer, [(["a", "b"], "#112233", "both")])
    assert layer_styles(layer, "facies") == {"a": ("both", "#112233"), "b": ("both", "#112233")}


def test_style_by_another_field_tells_nothing(world):
    layer = world.make_layer([(0, 0)], [1])
    categorise(layer, [(1, "#112233", "Sand")])
    assert layer_styles(layer, "number") == {}


def test_style_saved_with_a_file_is_found_though_processing_skips_it(world, tmp_path):
    layer = world.make_layer([(0, 0), (1, 1)], [1, 2])
    path = str(tmp_path / "survey.gpkg")
    QgsVectorFileWriter.writeAsVectorFormatV3(
        layer, path, QgsProject.instance().transformContext(), QgsVectorFileWriter.SaveVectorOptions()
    )
    styled = QgsVectorLayer(path, "styled", "ogr")
    categorise(styled, [(1, "#112233", "Sand")])
    styled.saveNamedStyle(str(tmp_path / "survey.qml"))
    options = QgsVectorLayer.LayerOptions()
    options.loadDefaultStyle = False
    bare = QgsVectorLayer(path, "bare", "ogr", options)
    assert layer_styles(bare, "facies") == {1: ("Sand", "#112233")}


@pytest.mark.parametrize(
    ("longitude", "latitude", "expected"),
    [(7.1, 46.9, "EPSG:32632 .WGS 84 / UTM zone 32N."), (-70.5, -33.4, "EPSG:32719 .WGS 84 / UTM zone 19S.")],
)
def test_geographic_crs_is_refused_with_the_fitting_zone(processing, longitude, latitude, expected):
    wgs84 = QgsCoordinateReferenceSystem("EPSG:4326")
    extent = QgsRectangle(longitude - 0.1, latitude - 0.1, longitude + 0.1, latitude + 0.1)
    with pytest.raises(GridError, match=f"EPSG:4326.*counts in degrees.*parameter CRS, for example {expected}"):
        check_projected(wgs84, extent, wgs84, QgsProject.instance().transformContext())


def points(places):
    easting, northing = np.array(places, dtype=float).T
    return Observations(easting, northing, [0, 1] * (len(places) // 2))


def test_default_extent_is_padded_by_5_percent_of_the_longer_side():
    grid = make_grid(points([(0, 0), (1000, 500), (333, 44), (1, 8)]), None, 10)
    assert (grid.west, grid.north) == (-50, 550)
    assert (grid.n_cols, grid.n_rows) == (110, 60)


def test_default_extent_of_a_corridor_is_padded_by_the_spacing_at_most():
    corridor = [(20.5 * k, 7 * (k % 2)) for k in range(300)]
    grid = make_grid(points(corridor), None, 5)
    assert 6000 * 1.09 < grid.n_cols * 5 < 6200 * 1.11
    assert 7 + 2 * 20.5 < grid.n_rows * 5 < 7 + 2 * 20.5 + 15


@pytest.mark.parametrize(("spacing", "west", "decimals"), [(30.48, 402117.35, 2), (33.3, 402117.1, 1), (0.1, 0, 3)])
@pytest.mark.parametrize("cells_apart", [1, 3])
@pytest.mark.parametrize("n", [11, 16, 21, 26, 41])
def test_observations_of_a_regular_survey_lie_in_the_middle_of_cells_of_their_own(
    spacing, west, decimals, cells_apart, n
):
    """Coordinates are rounded, so that on borders they would be in the cell on either side by chance."""
    i, j = (index.ravel() for index in np.indices((n, n)))
    east, north = np.round(west + spacing * i, decimals), np.round(5650000 + spacing * j, decimals)
    grid = make_grid(Observations(east, north, [0] * n * n), None, spacing / cells_apart)
    row, col, is_held = grid.cell_of(east, north)
    assert is_held.all()
    assert len(set(zip(row.tolist(), col.tolist()))) == n * n
    centre = grid.centre_of(row, col)
    assert max(np.abs(centre[0] - east).max(), np.abs(centre[1] - north).max()) < 0.01 * grid.cell_size


def test_default_extent_is_padded_by_a_cell_at_least():
    grid = make_grid(points([(0, 0), (101, 51)]), None, 20)
    assert (grid.west, grid.north, grid.n_cols) == (-20, 71, 8)


def test_points_in_a_line_have_an_area_too():
    grid = make_grid(points([(0, 7), (100, 7)]), None, None)
    assert grid.n_rows > 1
    assert grid.n_cols > 10


def test_one_place_needs_an_extent():
    with pytest.raises(GridError, match=r"at one place \(easting 5, northing 6\).*EXTENT"):
        make_grid(points([(5, 6), (5, 6)]), None, None)


@pytest.mark.parametrize("cell_size", [0.0, -5.0, float("nan"), float("inf")])
def test_cell_size_must_be_positive(cell_size):
    with pytest.raises(GridError, match=r"cell size is .*; it must be a positive number"):
        make_grid(points([(0, 0), (100, 100)]), None, cell_size)


def test_cell_larger_than_the_area_is_refused():
    with pytest.raises(GridError, match=r"5000 x 5000 leave one of the area of 100 x 100.*smaller ones"):
        make_grid(points([(0, 0), (90, 90)]), QgsRectangle(0, 0, 100, 100), 5000)


def test_fifty_million_cells_are_refused_with_the_numbers():
    with pytest.raises(GridError, match=r"50,000,000 cells; at most 16,000,000 .* at least 1.79"):
        make_grid(points([(0, 0), (90, 90)]), QgsRectangle(0, 0, 10_000, 5_000), 1.0)


@pytest.mark.parametrize("extent", [QgsRectangle(), QgsRectangle(0, 0, 0, 100)])
def test_empty_extent_is_refused(extent):
    with pytest.raises(GridError, match=r"The extent .* is empty"):
        make_grid(points([(0, 0), (90, 90)]), extent, None)


def polygons_of(layer, crs=UTM32):
    source, context = source_of(layer)
    return read_polygons(source, crs, context.transformContext())


def test_mask_holds_the_cells_whose_centre_is_inside(world):
    outline = world.make_polygon("MultiPolygon(((0 0, 26 0, 26 30, 0 30, 0 0), (4 4, 16 4, 16 16, 4 16, 4 4)))")
    inside = rasterise(polygons_of(outline), Grid(west=0, north=40, cell_size=10, n_rows=4, n_cols=4))
    assert inside.astype(int).tolist() == [[0, 0, 0, 0], [1, 1, 1, 0], [0, 0, 1, 0], [0, 0, 1, 0]]


def test_extent_of_a_mask(world):
    outline = world.make_polygon("MultiPolygon(((0 0, 26 0, 26 30, 0 0)), ((50 5, 60 5, 60 10, 50 5)))")
    assert extent_of(polygons_of(outline)) == QgsRectangle(0, 0, 60, 30)


def test_mask_that_covers_nothing_is_refused(world):
    outline = world.make_polygon("MultiPolygon(((1000 0, 1001 0, 1001 1, 1000 0)))")
    with pytest.raises(GridError, match=r"mask covers no cell of the grid .easting 0 to 40, northing 0 to 40"):
        rasterise(polygons_of(outline), Grid(west=0, north=40, cell_size=10, n_rows=4, n_cols=4))


def test_mask_without_polygon_is_refused(world):
    with pytest.raises(GridError, match=r"mask 'outline' holds no polygon"):
        polygons_of(world.make_polygon("MultiPolygon EMPTY"))
