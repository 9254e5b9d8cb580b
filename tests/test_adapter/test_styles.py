"""Rasters and their styles: what is written can be read, looks the same later, and leaves nothing behind."""

from __future__ import annotations

import errno
import math
import os
from dataclasses import replace

import numpy as np
import pytest
from osgeo import gdal
from qgis.core import QgsCoordinateReferenceSystem, QgsRasterLayer, QgsVectorLayer

from oadg.core.contract.errors import Cancelled, EngineError, JobError
from oadg.core.contract.facies import Facies, FaciesTable
from oadg.core.contract.grid import Grid
from oadg.core.contract.surprise import SURPRISE_CLASSES
from oadg.oadg_qgis import rasters
from oadg.oadg_qgis.rasters import FLOAT_NODATA, RasterPlan, RasterWriter, bands_of, describe, fill_gaps, storage_of
from oadg.oadg_qgis.styles import (
    MAGMA,
    VIRIDIS,
    ApplyStyle,
    entropy_style,
    facies_style,
    probability_style,
    save_point_style,
    save_style,
    surprise_map_style,
    surprise_style,
)

GRID = Grid(west=100.0, north=50.0, cell_size=5.0, n_rows=3, n_cols=4)
FACIES = FaciesTable((Facies(1, "Ton", "#e69f00"), Facies(4, "Sand, grün", "#56b4e9")))
CLASSES = np.array([[1, 1, 4, 4], [1, 4, 4, 255], [1, 1, 1, 255]], dtype=np.uint8)


def class_plan(path, n_bands=1, data_type=np.uint8, nodata=255, values=(1, 4)):
    names = [f"Realization {n}" for n in range(1, n_bands + 1)]
    return RasterPlan(path, data_type, nodata, names, values, facies_style(FACIES), {1: "Ton", 4: "Sand, grün"})


def float_plan(path, styler=None):
    return RasterPlan(path, np.float32, FLOAT_NODATA, ["Entropy (bits)"], [0, 1 / 3, 1], styler or entropy_style(2))


def writer(is_canceled=lambda: False):
    return RasterWriter(GRID, QgsCoordinateReferenceSystem("EPSG:32632"), is_canceled)


def write(plan, bands, metadata=None):
    with writer() as raster_writer:
        raster_writer.check(plan)
        raster_writer.write(plan, bands, metadata or {})
        raster_writer.commit()
    return plan.path


def write_and_fail(plan):
    with writer() as raster_writer:
        raster_writer.check(plan)
        n_before = len(list(plan.path.parent.rglob("*")))
        raster_writer.write(plan, [CLASSES], {})
        assert len(list(plan.path.parent.rglob("*"))) >= n_before + 3  # in a folder of their own
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([1, 2, 3], (np.uint8, 255)),
        ([0, 255], (np.uint8, 254)),
        ([3, 311, -1], (np.int16, -32768)),
        ([-32768, 5], (np.int16, -32767)),
        ([1, 40_000], (np.uint16, 65535)),
        ([-1, 40_000], (np.int32, -(2**31))),
        ([2**31 - 1, -(2**31)], (np.int32, -(2**31) + 1)),
    ],
)
def test_smallest_type_that_holds_codes_and_nodata(codes, expected):
    assert storage_of(codes) == expected


def test_codes_beyond_32_bits_have_no_type():
    with pytest.raises(JobError, match="codes 1 to 2147483648 do not fit"):
        storage_of([1, 2**31])


def test_geotiff_keeps_values_place_names_and_metadata(qgis_app, tmp_path):
    plan = class_plan(tmp_path / "Fazies Ä 1.tif", n_bands=5)
    write(plan, [np.roll(CLASSES, k) for k in range(5)], describe(seed=7, facies=FACIES.to_list(), model="universal"))
    dataset = gdal.Open(str(plan.path))
    assert np.array_equal(dataset.ReadAsArray(), np.stack([np.roll(CLASSES, k) for k in range(5)]))
    assert dataset.GetGeoTransform() == (100.0, 5.0, 0.0, 50.0, 0.0, -5.0)
    assert dataset.GetSpatialRef().GetAuthorityCode(None) == "32632"
    assert dataset.GetRasterBand(5).GetDescription() == "Realization 5"
    assert dataset.GetRasterBand(5).GetNoDataValue() == 255
    assert dataset.GetRasterBand(1).GetCategoryNames() == ["", "Ton", "", "", "Sand, grün"]
    assert dataset.GetRasterBand(4).GetColorInterpretation() != gdal.GCI_AlphaBand
    assert dataset.GetMetadataItem("OADG_SEED") == "7"
    assert dataset.GetMetadataItem("OADG_MODEL") == "universal"
    assert '"name": "Sand, grün"' in dataset.GetMetadataItem("OADG_FACIES")
    assert dataset.GetMetadataItem("INTERLEAVE", "IMAGE_STRUCTURE") == "BAND"
    assert dataset.GetMetadataItem("COMPRESSION", "IMAGE_STRUCTURE") == "DEFLATE"


def test_names_of_codes_are_listed_from_nought_within_a_byte():
    assert rasters._category_list({1: "Ton", 3: "Sand"}) == ["", "Ton", "", "Sand"]
    assert len(rasters._category_list({255: "Ton"})) == 256
    for codes in ((-1, 4), (1, 256), ()):
        assert rasters._category_list(dict.fromkeys(codes, "Ton")) == []


def test_gaps_hold_nodata():
    assert fill_gaps(np.array([[np.nan, 0.5]], dtype=np.float32)).tolist() == [[FLOAT_NODATA, 0.5]]


def test_what_a_file_has_kept_is_told_by_values_place_and_crs(qgis_app, tmp_path):
    values = np.linspace(0, 1, GRID.n_cells, dtype=np.float32).reshape(1, *GRID.shape)
    path = write(float_plan(tmp_path / "a.tif"), values)
    assert writer()._holds(path, GRID, values, -1)
    assert not writer()._holds(path, GRID, values + 1e-3, -1)
    for elsewhere in ({"west": 100.2}, {"north": 49.8}, {"cell_size": 5.2}):
        assert not writer()._holds(path, replace(GRID, **elsewhere), values, -1)
    gdal.GetDriverByName("GTiff").CreateCopy(str(tmp_path / "b.tif"), gdal.Open(str(path))).SetProjection("")
    assert not writer()._holds(tmp_path / "b.tif", GRID, values, -1)
    assert RasterWriter(GRID, QgsCoordinateReferenceSystem(), lambda: False)._holds(
        tmp_path / "b.tif", GRID, values, -1
    )


def test_what_gdal_tells_as_late_as_it_can_is_no_success(qgis_app, tmp_path, monkeypatch):
    """A disk that is full shows when a file is closed."""
    monkeypatch.setattr(rasters.gdal, "GetLastErrorType", lambda: gdal.CE_Failure)
    monkeypatch.setattr(rasters.gdal, "GetLastErrorMsg", lambda: "No space left on device")
    with pytest.raises(JobError, match=r"a\.tif cannot be written: No space left on device\. Choose a folder"):
        write(class_plan(tmp_path / "a.tif"), [CLASSES])
    assert list(tmp_path.iterdir()) == []


def test_facies_style_is_found_when_the_file_is_opened_later(qgis_app, tmp_path):
    path = write(class_plan(tmp_path / "realizations.tif", n_bands=4), [CLASSES] * 4)
    layer = QgsRasterLayer(str(path), "later")
    renderer = layer.renderer()
    assert renderer.type() == "paletted"
    assert [(c.value, c.label, c.color.name()) for c in renderer.classes()] == [
        (1, "Ton", "#e69f00"),
        (4, "Sand, grün", "#56b4e9"),
    ]


@pytest.mark.parametrize(
    ("styler", "top", "suffix", "colors"),
    [
        (entropy_style(5), math.log2(5), " bits", MAGMA),
        (entropy_style(2), 1.0, " bits", MAGMA),
        (surprise_map_style(), 6.0, " bits", MAGMA),
        (probability_style(), 1.0, "", VIRIDIS),
    ],
)
def test_ramps_do_not_depend_on_the_values(qgis_app, tmp_path, styler, top, suffix, colors):
    path = write(float_plan(tmp_path / "entropy.tif", styler), [np.full(GRID.shape, 0.2, dtype=np.float32)])
    layer = QgsRasterLayer(str(path), "later")
    renderer = layer.renderer()
    assert renderer.type() == "singlebandpseudocolor"
    assert (renderer.classificationMin(), renderer.classificationMax()) == (0.0, pytest.approx(top))
    shader = renderer.shader().rasterShaderFunction()
    values = [item.value for item in shader.colorRampItemList()]
    assert (min(values), max(values)) == (0.0, pytest.approx(top))
    assert [item.color.name() for item in shader.colorRampItemList()] == list(colors)
    assert np.diff(values) == pytest.approx(top / 4), "evenly"
    assert shader.legendSettings().suffix() == suffix
    assert shader.legendSettings().numericFormat().numberDecimalPlaces() == 2


def test_every_probability_has_a_class_and_the_most_surprising_points_lie_in_front(qgis_app):
    layer = QgsVectorLayer("Point?field=probability:double", "errors", "memory")
    surprise_style("probability")(layer)
    renderer = layer.renderer()
    ranges = renderer.ranges()
    assert ranges[0].lowerValue() == 0
    assert ranges[-1].upperValue() >= 1
    for one, following in zip(ranges, ranges[1:]):
        assert one.upperValue() == following.lowerValue() > one.lowerValue()
    for found, (upper, color, label) in zip(ranges, SURPRISE_CLASSES):
        assert (found.upperValue(), found.symbol().color().name()) == (upper, color)
        assert found.label() == f"probability {label}"
    assert renderer.orderByEnabled()
    (clause,) = renderer.orderBy().list()
    assert (clause.expression().expression(), clause.ascending()) == ('"probability"', False), "drawn last"


def test_entropy_ramp_has_a_colour_for_every_value(qgis_app, tmp_path):
    path = write(float_plan(tmp_path / "entropy.tif"), [np.zeros(GRID.shape, dtype=np.float32)])
    layer = QgsRasterLayer(str(path), "later")
    shader = layer.renderer().shader()
    lightness = []
    for value in np.linspace(0, 1, 21):
        shown, red, green, blue, alpha = shader.shade(float(value))
        assert shown
        assert alpha == 255
        lightness.append(0.3 * red + 0.59 * green + 0.11 * blue)
    assert np.all(np.diff(lightness) > 0)


def test_constant_bands_are_no_error_on_the_console(qgis_app, tmp_path, capfd):
    names = ["clay", "sand", "gravel"]
    plan = RasterPlan(tmp_path / "p.tif", np.float32, FLOAT_NODATA, names, [0, 1 / 3, 1], probability_style())
    write(plan, [np.where(CLASSES == 255, FLOAT_NODATA, 0).astype(np.float32)] * 3)
    assert "ERROR" not in capfd.readouterr().err


def test_post_processor_gives_a_loaded_layer_its_style(qgis_app, tmp_path):
    path = write(class_plan(tmp_path / "most_probable.tif"), [CLASSES])
    options = QgsRasterLayer.LayerOptions()
    options.loadDefaultStyle = False  # as Processing opens results
    layer = QgsRasterLayer(str(path), "loaded", "gdal", options)
    assert layer.renderer().type() != "paletted"
    ApplyStyle().postProcessLayer(None, None, None)
    ApplyStyle().postProcessLayer(layer, None, None)
    assert layer.renderer().type() == "paletted"


@pytest.mark.parametrize("save", [save_style, save_point_style])
def test_a_style_of_what_cannot_be_read_or_beside_what_cannot_be_written_is_told(qgis_app, tmp_path, save):
    path = tmp_path / "a.tif"
    with pytest.raises(JobError, match=r"a\.tif cannot be read back after writing\. Is the disk full\?"):
        save(path, lambda layer: None)
    if save is save_style:
        write(class_plan(path), [CLASSES])
        (tmp_path / "a.qml").unlink()
        (tmp_path / "a.qml").mkdir()
        with pytest.raises(JobError, match=r"The style of .*a\.tif cannot be written: .*Choose another folder"):
            save(path, facies_style(FACIES))


def test_nothing_stays_when_a_run_fails_after_writing(qgis_app, tmp_path):
    with pytest.raises(ZeroDivisionError):
        write_and_fail(class_plan(tmp_path / "a.tif"))
    assert list(tmp_path.iterdir()) == []


def test_nothing_stays_when_a_run_is_cancelled_between_bands(qgis_app, tmp_path):
    asked = iter([False, True])
    with pytest.raises(Cancelled, match="no file was kept"), writer(lambda: next(asked)) as raster_writer:
        raster_writer.write(class_plan(tmp_path / "a.tif", n_bands=3), [CLASSES] * 3, {})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_run_leaves_the_older_result_as_it_was(qgis_app, tmp_path):
    path = write(class_plan(tmp_path / "a.tif"), [CLASSES])
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(ZeroDivisionError):
        write_and_fail(class_plan(path))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_new_result_takes_the_place_of_an_older_one_with_its_sidecars(qgis_app, tmp_path):
    path = write(class_plan(tmp_path / "a.tif"), [CLASSES])
    write(float_plan(path), [np.zeros(GRID.shape, dtype=np.float32)])
    layer = QgsRasterLayer(str(path), "later")
    assert layer.renderer().type() == "singlebandpseudocolor"
    dataset = gdal.Open(str(path))
    assert dataset.GetRasterBand(1).GetCategoryNames() is None
    assert not [file for file in tmp_path.iterdir() if ".oadg-" in file.name]


@pytest.fixture
def held(monkeypatch):
    """Let no file of these names be replaced or moved, as Windows does while a program holds them."""
    names = set()
    replace = os.replace

    def refuse(source, target):
        if {os.path.basename(source), os.path.basename(target)} & names:
            raise PermissionError(errno.EACCES, "Permission denied", str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    return names


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def write_two(folder, held, name, first="k1.tif"):
    """Replace two results by others, with a file that is held from after the check on."""
    with writer() as raster_writer:
        plans = [float_plan(folder / first), float_plan(folder / "k2.tif")]
        for plan in plans:
            raster_writer.check(plan)
        for plan in plans:
            raster_writer.write(plan, [np.zeros(GRID.shape, dtype=np.float32)], {})
        held.add(name)
        raster_writer.commit()


@pytest.mark.parametrize("name", ["k1.tif", "k1.qml", "k2.tif", "k2.qml", "k2.tif.aux.xml"])
def test_when_one_file_cannot_be_replaced_all_older_results_stay_whole(qgis_app, tmp_path, held, name):
    for stem in ("k1", "k2"):
        write(class_plan(tmp_path / f"{stem}.tif"), [CLASSES])
    before = contents(tmp_path)
    with pytest.raises(JobError, match=r"The file .*k\d\.tif cannot be replaced: Permission denied\..*as they were"):
        write_two(tmp_path, held, name)
    assert contents(tmp_path) == before


def test_a_first_result_is_taken_back_when_the_second_cannot_be_put_in_its_place(qgis_app, tmp_path, held):
    write(class_plan(tmp_path / "k2.tif"), [CLASSES])
    before = contents(tmp_path)
    with pytest.raises(JobError, match="cannot be replaced"):
        write_two(tmp_path, held, "k2.tif")
    assert contents(tmp_path) == before


def test_a_file_that_is_held_is_told_before_the_work(qgis_app, tmp_path, held):
    path = write(class_plan(tmp_path / "a.tif"), [CLASSES])
    before = contents(tmp_path)
    held.add("a.tif")
    with pytest.raises(JobError, match="a.tif cannot be replaced: .*choose another name"), writer() as raster_writer:
        raster_writer.check(class_plan(path))
    assert contents(tmp_path) == before


def test_a_folder_of_that_name_stays(qgis_app, tmp_path):
    (tmp_path / "a.tif").mkdir()
    with pytest.raises(JobError, match=r"a\.tif cannot be written: it is a folder"), writer() as raster_writer:
        raster_writer.check(class_plan(tmp_path / "a.tif"))
    assert (tmp_path / "a.tif").is_dir()


@pytest.mark.parametrize("suffix", [".ovr", ".msk"])
def test_overviews_and_mask_of_an_older_result_go_with_it(qgis_app, tmp_path, suffix):
    path = write(class_plan(tmp_path / "a.tif"), [CLASSES])
    (tmp_path / f"a.tif{suffix}").write_bytes(b"of the older result")
    write(class_plan(path), [CLASSES])
    assert not (tmp_path / f"a.tif{suffix}").exists()


def test_files_that_a_format_has_beside_its_own_come_back_with_an_older_result(qgis_app, tmp_path, held):
    write(float_plan(tmp_path / "k1.asc"), [np.ones(GRID.shape, dtype=np.float32)])
    (tmp_path / "k1.prj").write_text("of the older result")
    before = contents(tmp_path)
    with pytest.raises(JobError, match="cannot be replaced"):
        write_two(tmp_path, held, "k2.tif", first="k1.asc")
    assert contents(tmp_path) == before


def test_other_formats_are_written_when_they_hold_it(qgis_app, tmp_path):
    path = write(class_plan(tmp_path / "map.png"), [CLASSES])
    assert np.array_equal(gdal.Open(str(path)).ReadAsArray(), CLASSES)
    layer = QgsRasterLayer(str(path), "later")
    assert layer.renderer().type() == "paletted"
    path = write(float_plan(tmp_path / "entropy.asc"), [np.full(GRID.shape, 0.25, dtype=np.float32)])
    assert gdal.Open(str(path)).ReadAsArray() == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("name", "n_bands", "data_type", "values"),
    [
        ("map.png", 20, np.uint8, (1, 4)),
        ("map.png", 1, np.int16, (-1, 311)),
        ("map.jpg", 1, np.uint8, (1, 4)),
        ("map.asc", 2, np.uint8, (1, 4)),
        ("map.nonsense", 1, np.uint8, (1, 4)),
        ("map", 1, np.uint8, (1, 4)),
    ],
)
def test_a_format_that_cannot_hold_it_is_refused_before_the_work(qgis_app, tmp_path, name, n_bands, data_type, values):
    nodata = -32768 if data_type is np.int16 else 255
    with pytest.raises(JobError, match=r"cannot (hold|be written).*GeoTIFF \(\.tif\)"), writer() as raster_writer:
        raster_writer.check(class_plan(tmp_path / name, n_bands, data_type, nodata, values))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".asc", ".rst", ".sdat", ".jpg"])
def test_a_format_of_one_band_is_told_as_the_cause(qgis_app, tmp_path, suffix):
    """Not the folder; and not the place where files are tried, which nobody knows."""
    plan = class_plan(tmp_path / f"map{suffix}", 2)
    words = r"bands?\b.*\. Choose GeoTIFF \(\.tif\), which holds such data"
    with pytest.raises(JobError, match=words) as told, writer() as raster_writer:
        raster_writer.check(plan)
    assert ".oadg-" not in str(told.value)
    assert "you may write" not in str(told.value)


def test_a_folder_that_cannot_be_written_to_is_refused_before_the_work(qgis_app, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with (
        pytest.raises(JobError, match=r"file.map\.tif cannot be written: .*Choose a folder"),
        writer() as raster_writer,
    ):
        raster_writer.check(class_plan(tmp_path / "file" / "map.tif"))


def test_check_leaves_no_trace(qgis_app, tmp_path):
    with writer() as raster_writer:
        raster_writer.check(class_plan(tmp_path / "a.tif"))
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(3, 4, 5), (4, 5)])
def test_bands_of_reads_what_numpy_wrote(tmp_path, shape):
    array = np.random.default_rng(0).random(shape, dtype=np.float32)
    np.save(tmp_path / "a.npy", array)
    assert np.array_equal(np.stack(list(bands_of(tmp_path / "a.npy"))), array.reshape(-1, 4, 5))


def test_a_truncated_array_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 3, 4)))
    with open(tmp_path / "a.npy", "r+b") as file:
        file.truncate(file.seek(0, 2) - 8)
    with pytest.raises(EngineError, match=r"a\.npy in an unexpected form"):
        list(bands_of(tmp_path / "a.npy"))


def test_bands_in_columns_are_refused_and_not_mixed_up(tmp_path):
    np.save(tmp_path / "a.npy", np.asfortranarray(np.arange(12.0).reshape(3, 4)))
    with pytest.raises(EngineError, match=r"a\.npy in an unexpected form"):
        next(bands_of(tmp_path / "a.npy"))
