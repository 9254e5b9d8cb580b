"""Bad input: each case a sentence that says what, where, value, rule and remedy, or a counted warning."""

from __future__ import annotations

import os
import struct

import numpy as np
import pytest
from qgis.core import (
    NULL,
    QgsCoordinateReferenceSystem,
    QgsGeometry,
    QgsPointXY,
    QgsProcessingException,
    QgsProcessingFeatureSourceDefinition,
    QgsProject,
    QgsProperty,
    QgsVectorFileWriter,
    QgsVectorLayer,
)


@pytest.fixture
def refused(simulate_facies, tmp_path):
    """Run the algorithm, expect that it refuses with a message, and that no file is left."""

    def run(layer, message, **parameters):
        with pytest.raises(QgsProcessingException, match=message):
            simulate_facies(layer, **parameters)
        assert not [file.name for file in tmp_path.rglob("*") if file.suffix in (".tif", ".qml", ".xml")]

    return run


@pytest.fixture
def layer_of(world):
    """Return a layer with the survey's places and other values."""

    def make(values=None, **options):
        row, col, index = world.survey_cells()
        return world.make_layer(
            world.centres(row, col), [world.CODES[k] for k in index] if values is None else values, **options
        )

    return make


def test_no_points(refused, world, fake_engine):
    refused(world.make_layer([], []), r"no observations with a facies: of 0 points")
    assert not fake_engine


def test_all_points_outside_the_extent(refused, survey, fake_engine):
    told = r"None of the 60 observations lies on or near the simulated area.*Check the extent"
    refused(survey, told, EXTENT="0,100,0,100")
    assert not fake_engine


def test_all_points_far_outside_the_mask(refused, survey, fake_engine, world):
    west, north = world.WEST + 2000, world.NORTH
    wkt = f"MultiPolygon((({west} {north}, {west + 90} {north}, {west + 90} {north - 90}, {west} {north - 90})))"
    mask = world.make_polygon(wkt)
    refused(survey, r"None of the 60 observations lies on or near the simulated area.*the mask", MASK=mask, EXTENT=None)


def test_mask_elsewhere(refused, survey, fake_engine, world):
    mask = world.make_polygon("MultiPolygon(((0 0, 1 0, 1 1, 0 0)))")
    refused(survey, r"The mask covers no cell of the grid", MASK=mask)


def test_mask_without_polygons(refused, survey, fake_engine, world):
    refused(survey, r"The mask 'outline' holds no polygon", MASK=world.make_polygon("MultiPolygon EMPTY"))


def test_empty_facies_are_skipped_and_counted(simulate_facies, layer_of, fake_engine, log):
    values = ["sand", "clay"] * 28 + [NULL, "", "   ", NULL]
    result = simulate_facies(layer_of(values, kind="string"))
    assert (result["N_USED"], result["N_SKIPPED"], result["N_FACIES"]) == (56, 4, 2)
    assert "4 observations have no facies (NULL or blank)." in log.warnings


def test_all_facies_empty(refused, layer_of, fake_engine):
    refused(layer_of([NULL] * 60), r"no observations with a facies: of 60 points.*60 have an empty facies field")


def test_missing_field(refused, survey, fake_engine):
    refused(survey, r"has no field 'lithology'; it has number, facies\. Choose the field", FACIES_FIELD="lithology")


def test_no_field(refused, survey, fake_engine):
    refused(survey, r"'survey' is given without FACIES_FIELD; it has number, facies\. Choose", FACIES_FIELD=None)


def test_decimal_field(refused, survey, fake_engine):
    refused(survey, r"The field 'number' holds 0\.5; facies are texts or whole numbers", FACIES_FIELD="number")


def test_only_one_facies(refused, layer_of, fake_engine):
    refused(layer_of(["sand"] * 60, kind="string"), r"hold 1 facies \(only 'sand'\); at least 2 are needed")


def test_more_than_32_facies(refused, layer_of, fake_engine):
    refused(layer_of(list(range(60))), r"hold 60 facies; at most 32 are possible.*right field")


def test_code_beyond_32_bits(refused, layer_of, fake_engine):
    refused(layer_of([1, 2**40] * 30, kind="int8"), r"the code 1099511627776; codes from -2147483648 to 2147483647 fit")


def with_a_conflict(world):
    """Return the survey with two more points in its first cell, of another facies."""
    row, col, index = world.survey_cells()
    places, values = world.centres(row, col), [world.CODES[k] for k in index]
    (east, north), other = places[0], next(code for code in world.CODES if code != values[0])
    return world.make_layer([*places, (east + 3, north), (east - 3, north)], [*values, other, other]), other


def test_majority_wins_a_cell_and_the_rest_is_counted(simulate_facies, world, fake_engine, log):
    layer, other = with_a_conflict(world)
    result = simulate_facies(layer)
    assert (result["N_USED"], result["N_SKIPPED"]) == (61, 1)
    assert "1 observation lost against another facies in its cell." in log.warnings
    job, _ = fake_engine[0]
    row, col, _ = world.survey_cells()
    cell = next(k for k in range(60) if (job.row[k], job.col[k]) == (row[0], col[0]))
    assert job.facies.codes[job.class_index[cell]] == other


def test_conflicts_are_an_error_when_asked_for(refused, world, fake_engine):
    layer, _ = with_a_conflict(world)
    refused(
        layer,
        r"The cell around easting \d+, northing \d+ holds observations of different facies: .*than 10",
        ON_CONFLICT="error",
    )


def test_borehole_intervals(refused, world, fake_engine):
    row, col, _ = world.survey_cells(20)
    places = [place for place in world.centres(row, col) for _ in range(3)]
    refused(
        world.make_layer(places, list(world.CODES) * 20),
        r"20 of 20 places hold several different facies.*intervals of boreholes.*Choose a depth first.*Extract by",
    )


def test_the_intervals_of_one_borehole(refused, world, fake_engine):
    place = world.centres(*world.survey_cells(1)[:2])[0]
    layer = world.make_layer([place] * 6, [3, 311, -1, 3, 311, -1])
    refused(layer, r"1 of 1 places hold several different facies.*Choose a depth first")


def test_the_intervals_of_deviated_boreholes_are_warned_about(simulate_facies, world, fake_engine, log):
    row, col, _ = world.survey_cells(20)
    places = [(e + 0.001 * depth, n) for e, n in world.centres(row, col) for depth in range(3)]
    simulate_facies(world.make_layer(places, list(world.CODES) * 20))
    assert any(
        text.startswith("Of 20 cells with observations, 20 hold different facies. Are they intervals of boreholes?")
        and "Choose a depth first" in text
        for text in log.warnings
    )


def test_few_conflicts_are_not_taken_for_boreholes(simulate_facies, world, fake_engine, log):
    simulate_facies(with_a_conflict(world)[0])
    assert not any("boreholes" in text for text in log.warnings)


def test_facies_that_differ_in_case_only_are_named(simulate_facies, layer_of, fake_engine, log):
    result = simulate_facies(layer_of(["Sand", "sand", "clay"] * 20, kind="string"))
    assert result["N_FACIES"] == 3
    told = "These facies differ in upper and lower case only, and count as different ones: Sand, sand."
    assert told in log.warnings
    log.start_again()
    simulate_facies(layer_of(["sand", "clay"] * 30, kind="string"))
    assert not any("case only" in text for text in log.warnings)


def test_multipoints_count_each_part(simulate_facies, world, fake_engine):
    row, col, index = world.survey_cells()
    places = np.array(world.centres(row, col))
    parts = [[tuple(p) for p in places[index == k]] for k in range(3)]
    layer = world.make_layer(parts, world.CODES, geometry="MultiPoint")
    assert simulate_facies(layer)["N_USED"] == 60


def test_geographic_crs(refused, world, fake_engine):
    layer = world.make_layer([(9.0, 41.5), (9.1, 41.6)], [1, 2], crs="EPSG:4326")
    refused(
        layer,
        r"EPSG:4326.*counts in degrees.*parameter CRS, for example EPSG:32632 \(WGS 84 / UTM zone 32N\)",
        EXTENT=None,
    )


def test_layer_without_crs_is_warned_about(simulate_facies, layer_of, fake_engine, log):
    layer = layer_of()
    layer.setCrs(type(layer.crs())())
    simulate_facies(layer, EXTENT=None)
    assert any("observations have no CRS" in warning for warning in log.warnings)


@pytest.mark.parametrize(
    ("cell_size", "message"),
    [
        (0, r"The cell size is 0; it must be a positive number"),
        (-5, r"The cell size is -5; it must be a positive number"),
        (0.0489, r"cells; at most 16,000,000 are possible\. Use cells of at least 0\.08"),
        (1e-9, r"cells; at most 16,000,000 are possible"),
        (5000, r"Cells of 5000 x 5000 leave one of the area of 400 x 300.*Use smaller ones"),
    ],
)
def test_absurd_cell_sizes(refused, survey, fake_engine, cell_size, message):
    refused(survey, message, CELL_SIZE=cell_size)
    assert not fake_engine


def test_cells_larger_than_the_area_of_the_observations(refused, survey, fake_engine):
    refused(survey, r"Cells of 5000 x 5000 leave one of the area of", CELL_SIZE=5000, EXTENT=None)


def test_a_stray_observation_is_told(simulate_facies, world, fake_engine, log):
    row, col, index = world.survey_cells()
    places = [*world.centres(row, col), (0.0, 0.0)]
    simulate_facies(world.make_layer(places, [world.CODES[k] for k in [*index, 0]]))
    assert any(text.startswith("1 of 61 observations lies far from all others") for text in log.warnings)


def test_a_geocentric_crs(refused, world, fake_engine):
    layer = world.make_layer([(4e6, 7e5), (4.1e6, 7.1e5)], [1, 2], crs="EPSG:4978")
    refused(layer, r"EPSG:4978.*counts from the centre of the earth", EXTENT=None)


def test_empty_extent(refused, survey, fake_engine):
    refused(survey, r"The extent \(west 5, south 0, east 5, north 100\) is empty", EXTENT="5,5,0,100")


def test_facies_seen_only_elsewhere_are_told(simulate_facies, world, fake_engine, log):
    row, col, index = world.survey_cells()
    places = [*world.centres(row, col), (world.WEST - 500, world.NORTH)]
    result = simulate_facies(world.make_layer(places, [*(world.CODES[k] for k in index), 77]))
    assert result["N_FACIES"] == 4
    told = "these facies, which are possible all the same: 77. They were observed elsewhere"
    assert any(told in text for text in log.warnings)


def test_few_observations_are_told(simulate_facies, world, fake_engine, log):
    row, col, _ = world.survey_cells(4)
    simulate_facies(world.make_layer(world.centres(row, col), [1, 2, 1, 2]))
    assert any(text.startswith("With observations in 4 cells the result rests on the model") for text in log.warnings)


def test_an_extent_far_larger_than_the_data_is_said_to_be_prior(simulate_facies, survey, fake_engine, world, log):
    west, north = world.WEST, world.NORTH
    simulate_facies(survey, EXTENT=f"{west - 2000},{west + 2000},{north - 2000},{north + 2000}", CELL_SIZE=20)
    (told,) = [text for text in log.warnings if "lie far from all observations" in text]
    assert told.startswith("97 % of the cells")
    assert "its prior" in told


def test_facies_that_their_neighbours_tell_nothing_about(simulate_facies, world, fake_engine, log):
    row, col, _ = world.survey_cells(300)
    simulate_facies(world.make_layer(world.centres(row, col), np.random.default_rng(0).integers(1, 3, 300).tolist()))
    (told,) = [text for text in log.warnings if "neighbours agree hardly more often than chance" in text]
    assert "meters; cells are 10)" in told


def test_a_good_survey_is_not_warned_of(simulate_facies, survey, fake_engine, log):
    simulate_facies(survey)
    assert log.warnings == []


def test_folder_that_is_none(refused, survey, fake_engine, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    refused(
        survey, r"cannot be written|does not exist|Could not create", ENTROPY=str(tmp_path / "file" / "entropy.tif")
    )
    assert not fake_engine


def test_folder_that_cannot_be_written_to(refused, survey, fake_engine):
    """No permissions are needed for this test: nobody may write there, not even root."""
    refused(
        survey,
        r"raster /proc/self/entropy.tif cannot be written: .*Choose",
        ENTROPY="/proc/self/entropy.tif",
    )
    assert not fake_engine


def test_format_that_cannot_hold_it(refused, survey, fake_engine, tmp_path):
    refused(survey, r"cannot (hold|be written).*GeoTIFF", REALIZATIONS=str(tmp_path / "realizations.png"))
    assert not fake_engine


def test_numbers_are_all_that_comes_back_when_nothing_else_is_asked_for(simulate_facies, survey, fake_engine, log):
    none = dict.fromkeys(("REALIZATIONS", "ENTROPY", "PROBABILITIES", "MOST_PROBABLE"))
    assert simulate_facies(survey, **none)["MEAN_ENTROPY"] >= 0
    assert any(text.startswith("No raster is asked for (REALIZATIONS, ENTROPY") for text in log.warnings)


def test_a_number_of_realizations_that_is_0(simulate_facies, refused, survey, fake_engine, log, tmp_path):
    """An older file may not pass for a new one."""
    assert simulate_facies(survey, N_REALIZATIONS=0)["REALIZATIONS"] is None
    assert "N_REALIZATIONS is 0: none are drawn, and REALIZATIONS is not written." in log.warnings
    assert not any("No raster" in text for text in log.warnings)
    log.start_again()
    simulate_facies(survey, N_REALIZATIONS=0, ENTROPY=None, PROBABILITIES=None, MOST_PROBABLE=None)
    told = "No raster is asked for (ENTROPY, PROBABILITIES, MOST_PROBABLE), so numbers are all that comes back."
    assert told in log.warnings
    older = tmp_path / "realizations.tif"
    older.write_bytes(b"older")
    n_asked = len(fake_engine)
    with pytest.raises(QgsProcessingException, match=r"N_REALIZATIONS is 0, .* REALIZATIONS is .*tions\.tif, an o"):
        simulate_facies(survey, N_REALIZATIONS=0)
    assert len(fake_engine) == n_asked
    assert older.read_bytes() == b"older"
    assert simulate_facies(survey, N_REALIZATIONS=0, REALIZATIONS="TEMPORARY_OUTPUT")["REALIZATIONS"] is None


def test_no_realizations_are_drawn_that_are_not_asked_for(simulate_facies, survey, fake_engine, log):
    result = simulate_facies(survey, REALIZATIONS=None)
    assert (fake_engine[0][0].n_realizations, result["REALIZATIONS"]) == (0, None)
    assert os.path.isfile(result["ENTROPY"])
    assert "REALIZATIONS is not asked for: none are drawn." in log.infos


@pytest.mark.parametrize("cell_size", [np.float64(20), np.int64(20), np.float32(20), "20"])
def test_numbers_of_every_kind_are_numbers(simulate_facies, survey, fake_engine, cell_size):
    simulate_facies(survey, CELL_SIZE=cell_size)
    assert fake_engine[-1][0].grid.cell_size == 20


@pytest.mark.parametrize("cell_size", ["12,5", "10 m"])
def test_what_is_no_number_is_told(refused, survey, fake_engine, cell_size):
    refused(survey, f"CELL_SIZE is '{cell_size}', which is no number", CELL_SIZE=cell_size)


@pytest.mark.parametrize(("expression", "is_told"), [("10 + 10", False), ("NULL", True), ("''", True)])
def test_a_number_by_an_expression(simulate_facies, survey, fake_engine, log, expression, is_told):
    """NULL counts as not given, and the log says where the size comes from."""
    simulate_facies(survey, CELL_SIZE=QgsProperty.fromExpression(expression))
    cell_size = fake_engine[-1][0].grid.cell_size
    assert (cell_size == 20) != is_told
    assert ("(chosen from the distance between observations)" in log.text) == is_told


@pytest.mark.parametrize(
    ("expression", "words"), [("'abc'", "'abc'"), ("no_field + (", r"'no_field \+ \('"), ("to_int('x')", '"to_int')]
)
def test_an_expression_that_gives_no_number(refused, survey, fake_engine, expression, words):
    refused(survey, f"CELL_SIZE is {words}.*, which is no number", CELL_SIZE=QgsProperty.fromExpression(expression))


def test_a_layer_without_crs_that_looks_like_degrees_is_told(simulate_facies, world, fake_engine, log):
    row, col, index = world.survey_cells()
    places = [(7 + c * 1e-3, 47 + r * 1e-3) for r, c in zip(row, col)]
    layer = world.make_layer(places, [world.CODES[k] for k in index], crs="")
    simulate_facies(layer, EXTENT=None, CELL_SIZE=None, CRS="EPSG:32632")
    assert any("They look like degrees" in text for text in log.warnings)


def test_an_infinite_coordinate_in_a_layer_in_memory_is_counted(simulate_facies, layer_of, world, fake_engine, log):
    layer = layer_of()
    feature = next(layer.getFeatures())
    layer.dataProvider().changeGeometryValues(
        {feature.id(): QgsGeometry.fromPointXY(QgsPointXY(float("inf"), float("inf")))}
    )
    layer.updateExtents()
    simulate_facies(layer)
    assert "1 observation has no usable position." in log.warnings


def test_two_results_in_one_file(refused, survey, fake_engine, tmp_path):
    path = str(tmp_path / "result.tif")
    refused(
        survey, r"ENTROPY and MOST_PROBABLE are both to be written to .*result\.tif", ENTROPY=path, MOST_PROBABLE=path
    )


def save(layer, path, **settings):
    """Write a layer to a file, with more layers if it holds some, and return its source."""
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.layerName = settings.get("name", path.stem)
    options.driverName = QgsVectorFileWriter.driverForExtension(path.suffix[1:])
    if path.exists():
        options.actionOnExistingFile = QgsVectorFileWriter.ActionOnExistingFile.CreateOrOverwriteLayer
    transforms = QgsProject.instance().transformContext()
    assert QgsVectorFileWriter.writeAsVectorFormatV3(layer, str(path), transforms, options)[0] == 0
    return f"{path}|layername={options.layerName}"


def test_a_result_in_the_file_of_the_observations(refused, survey, fake_engine, tmp_path):
    path = tmp_path / "mine.gpkg"
    source = save(survey, path, name="observations")
    save(survey, path, name="others")
    before = path.read_bytes()
    refused(source, r"ENTROPY is to be written to .*mine\.gpkg, which would replace OBSERVATIONS", ENTROPY=str(path))
    assert path.read_bytes() == before
    assert not fake_engine


def test_a_result_in_the_file_of_selected_observations(refused, survey, fake_engine, tmp_path):
    source = save(survey, tmp_path / "mine.gpkg")
    layer = QgsProject.instance().addMapLayer(QgsVectorLayer(source, "mine", "ogr"))
    layer.selectAll()
    selected = QgsProcessingFeatureSourceDefinition(layer.id(), selectedFeaturesOnly=True)
    refused(selected, r"which would replace OBSERVATIONS", ENTROPY=str(tmp_path / "mine.tif"))
    QgsProject.instance().clear()


def test_a_result_that_would_take_the_style_of_the_observations(refused, survey, fake_engine, tmp_path):
    """Both `mine.shp` and `mine.tif` keep their style in `mine.qml`."""
    source = save(survey, tmp_path / "mine.shp").split("|")[0]
    refused(source, r"would replace OBSERVATIONS .*or its style file", ENTROPY=str(tmp_path / "mine.tif"))


def test_a_result_that_would_take_the_style_of_a_layer_that_it_does_not_read(
    simulate_facies, survey, fake_engine, tmp_path
):
    (tmp_path / "wells.gpkg").touch()
    (tmp_path / "wells.qml").write_text("a style", encoding="utf-8")
    message = r"whose style file would replace the style of .*wells\.gpkg"
    with pytest.raises(QgsProcessingException, match=message):
        simulate_facies(survey, ENTROPY=str(tmp_path / "wells.tif"))
    assert not (tmp_path / "wells.tif").exists()
    assert (tmp_path / "wells.qml").read_text(encoding="utf-8") == "a style"


def test_a_result_in_the_memory_of_gdal(refused, survey, fake_engine):
    refused(survey, r"ENTROPY is to be written to /vsimem/e\.tif, which is no file on a disk", ENTROPY="/vsimem/e.tif")


def test_a_result_in_the_file_of_the_mask(refused, survey, fake_engine, world, tmp_path):
    mask = world.make_polygon(
        f"MultiPolygon((({world.WEST} 4600000, 500400 4600000, 500400 4600300, {world.WEST} 4600000)))"
    )
    path = tmp_path / "area.gpkg"
    refused(survey, r"which would replace MASK", MASK=save(mask, path), ENTROPY=str(path))
    assert not fake_engine


def test_a_result_beside_the_model_of_the_same_name(simulate_facies, survey, fake_engine, world, tmp_path):
    """A model has no style file that the result's could replace."""
    model = tmp_path / "model.safetensors"
    world.write_header(model)
    before = model.read_bytes()
    simulate_facies(survey, MODEL_FILE=str(model), ENTROPY=str(tmp_path / "model.tif"))
    assert model.read_bytes() == before
    assert (tmp_path / "model.tif").exists()


def test_a_result_in_the_place_of_other_vector_layers(refused, survey, fake_engine, tmp_path):
    path = tmp_path / "others.gpkg"
    save(survey, path)
    before = path.read_bytes()
    refused(survey, r"others\.gpkg, a file with 1 vector layer, which would be lost", MOST_PROBABLE=str(path))
    assert path.read_bytes() == before


@pytest.mark.parametrize(("one", "other"), [("s.tif", "s.img"), ("q.tif", "b/../q.tif"), ("q.tif", "link/q.tif")])
def test_two_results_that_share_a_file_or_a_style(refused, survey, fake_engine, tmp_path, one, other):
    (tmp_path / "b").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    refused(
        survey,
        r"ENTROPY and MOST_PROBABLE are both to be written to .*share a style file\. Give each",
        ENTROPY=str(tmp_path / one),
        MOST_PROBABLE=str(tmp_path / other),
    )


@pytest.mark.parametrize("crs", ["EPSG:999999", "nonsense", QgsCoordinateReferenceSystem("EPSG:999999")])
def test_a_crs_that_does_not_exist(refused, survey, fake_engine, crs):
    refused(survey, r"The parameter CRS is .*, which QGIS does not know\. Give a projected one", CRS=crs)
    assert not fake_engine


def test_unknown_model(refused, survey, fake_engine):
    refused(survey, r"The model 'dunes' is not installed; installed are: universal.*MODEL_FILE", MODEL="dunes")


def test_model_file_that_does_not_exist(refused, survey, fake_engine):
    refused(survey, r"The model file /nowhere/a.safetensors does not exist", MODEL_FILE="/nowhere/a.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("empty", r"file .*damaged\.safetensors \(0 bytes\) cannot be read as a model: .*Install an undamaged file"),
        ("text", r"damaged\.safetensors \(16 bytes\) cannot be read as a model: .*of another kind"),
        ("truncated", r"damaged\.safetensors \([\d,]+ bytes\) cannot be read as a model: .*this one is truncated"),
        ("foreign", r"damaged\.safetensors is a safetensors file, but not an OADG model of format .*Choose a model"),
    ],
)
def test_damaged_and_foreign_model_files(refused, survey, tiny_model, tmp_path, damage, message):
    """On the real engine: it reads the model."""
    with open(tiny_model, "rb") as file:
        whole = file.read()
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    content = {
        "empty": b"",
        "text": b"I am not a model",
        "truncated": whole[: len(whole) // 2],
        "foreign": struct.pack("<Q", len(header)) + header + b"\0\0\0\0",
    }[damage]
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(content)
    refused(survey, message, MODEL_FILE=str(path))


def test_device_that_is_not_there(refused, survey, tiny_model):
    message = r"The device 'cuda:7' is not there; found: .+\. PyTorch .+ is for CUDA .+\. Choose 'auto' or 'cpu', or"
    refused(survey, message, MODEL_FILE=tiny_model, DEVICE="cuda:7")


def test_engine_missing(refused, survey, monkeypatch):
    monkeypatch.setenv("OADG_ENGINE_PYTHON", "/nowhere/python")
    refused(survey, r"/nowhere/python.*does not exist.*oadg:setupengine")


def test_engine_missing_is_told_by_the_toolbox_too(processing, monkeypatch):
    from qgis.core import QgsApplication

    monkeypatch.setenv("OADG_ENGINE_PYTHON", "/nowhere/python")
    registry = QgsApplication.processingRegistry()
    for name in ("simulatefacies", "installmodel"):
        possible, reason = registry.createAlgorithmById(f"oadg:{name}").canExecute()
        assert not possible
        assert "oadg:setupengine" in reason
    assert registry.createAlgorithmById("oadg:setupengine").canExecute()[0]


def test_engine_killed_in_mid_run(refused, survey, tiny_model, log, tmp_path):
    """The user's message names the end of the process; QGIS goes on, and the next run starts another engine."""
    import signal

    def kill(progress):
        if progress > 20:
            for pid in engine_processes():
                os.kill(pid, signal.SIGKILL)

    log.feedback.progressChanged.connect(kill)
    refused(survey, r"engine.*(killed|ended|signal)", MODEL_FILE=tiny_model, N_REALIZATIONS=50)


def engine_processes():
    """Return the engines that this process has started."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as stat, open(f"/proc/{pid}/cmdline") as command:
                parent = int(stat.read().rsplit(")", 1)[1].split()[1])
                if parent == os.getpid() and "core.engine" in command.read():
                    found.append(int(pid))
        except OSError:
            continue
    return found
