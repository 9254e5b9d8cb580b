"""`oadg:trainmodel` from a raster to a model that simulates, on the real engine; and images that cannot be learnt."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal, osr
from qgis.core import QgsCoordinateReferenceSystem, QgsProcessingException, QgsRasterLayer, QgsRasterRange

from oadg.core.contract.errors import TrainingImageError
from oadg.core.contract.facies import Facies, FaciesTable
from oadg.core.contract.hub_job import mark_of
from oadg.core.contract.model_header import read_header
from oadg.core.contract.training_image import TrainingImage, image_of_codes
from oadg.oadg_qgis import categorical_rasters
from oadg.oadg_qgis.algorithms import train_model as module
from oadg.oadg_qgis.algorithms.image_algorithm import nodata_of, styles_of
from oadg.oadg_qgis.categorical_rasters import Nodata, read_codes, read_training_image
from oadg.oadg_qgis.engine_client import close_idle_engines

CODES = (3, 311, -1)
SIDE = 96


def stripes() -> np.ndarray:
    """Return codes of an image of bent stripes."""
    row, col = np.mgrid[:SIDE, : SIDE + 8]
    return np.array(CODES)[((row + 4 * np.sin(col / 9)) // 8).astype(int) % 3]


def write(
    path: Path,
    codes: np.ndarray,
    *,
    nodata=None,
    transform=(0, 10.0, 0, 0, 0, -10.0),
    names=None,
    kind=None,
    metadata=None,
    epsg=32632,
):
    """Write a raster of one or more bands."""
    bands = codes[None] if codes.ndim == 2 else codes
    kind = kind or (gdal.GDT_Float32 if bands.dtype.kind == "f" else gdal.GDT_Int32)
    options = ["PHOTOMETRIC=RGB"] if len(bands) == 3 else []
    dataset = gdal.GetDriverByName("GTiff").Create(
        str(path), bands.shape[2], bands.shape[1], len(bands), kind, options=options
    )
    if transform:
        dataset.SetGeoTransform(transform)
    if transform and epsg:
        reference = osr.SpatialReference()
        reference.ImportFromEPSG(epsg)
        dataset.SetProjection(reference.ExportToWkt())
    dataset.SetMetadata(metadata or {})
    for number, values in enumerate(bands, start=1):
        band = dataset.GetRasterBand(number)
        band.WriteArray(values)
        if nodata is not None:
            band.SetNoDataValue(nodata)
        if names:
            band.SetCategoryNames(names)
    dataset.FlushCache()
    del dataset
    return str(path)


@pytest.fixture
def train_model(processing, log, tmp_path):
    """Run `oadg:trainmodel` for a few steps of a small network."""

    def run(image, **parameters):
        return processing.run(
            "oadg:trainmodel",
            {
                "IMAGE": image,
                "NAME": "stripes",
                "STEPS": 3,
                "SIZE": "small",
                "DEVICE": "cpu",
                "FOLDER": str(tmp_path),
                **parameters,
            },
            feedback=log.feedback,
        )

    yield run
    close_idle_engines()


def test_a_model_of_a_raster_is_listed_and_simulates(train_model, processing, log, world, tmp_path, monkeypatch):
    image = write(tmp_path / "image.tif", stripes())
    monkeypatch.setattr(module, "user_folder", lambda: tmp_path)
    monkeypatch.setattr("oadg.oadg_qgis.models.user_folder", lambda: tmp_path)
    result = train_model(image, FOLDER=None)
    assert result["MODEL"] == "stripes"
    assert Path(result["MODEL_FILE"]) == tmp_path / "stripes.safetensors"
    assert (result["N_FACIES"], result["STEPS"]) == (3, 3)
    assert result["HELD_OUT_BITS"] > 0
    assert [file.name for file in tmp_path.glob("stripes*")] == ["stripes.safetensors"], "no checkpoint is left"
    header = read_header(Path(result["MODEL_FILE"]))
    assert (header.facies.codes.tolist(), header.cell_size) == ([-1, 3, 311], 10.0)

    row, col, index = world.survey_cells()
    layer = world.make_layer(world.centres(row, col), [(3, 311)[k % 2] for k in index])
    output = str(tmp_path / "realizations.tif")
    simulated = processing.run(
        "oadg:simulatefacies",
        {
            "OBSERVATIONS": layer,
            "FACIES_FIELD": "facies",
            "EXTENT": world.EXTENT,
            "MODEL": "stripes",
            "N_REALIZATIONS": 2,
            "DEVICE": "cpu",
            "REALIZATIONS": output,
        },
        feedback=log.feedback,
    )
    assert simulated["N_FACIES"] == 3, "the facies are the model's, observed or not"
    maps = gdal.Open(output).ReadAsArray()
    assert maps.shape == (2, world.N_ROWS, world.N_COLS), "cells are as large as the image's"
    assert set(np.unique(maps)) <= {-1, 3, 311}
    assert (maps[:, row, col] == np.array([(3, 311)[k % 2] for k in index])).all()
    assert "as in the model's training image" in log.text


def test_observations_that_the_model_does_not_know(processing, refused_simulation, world, tmp_path):
    facies = image_of_codes(stripes(), np.ones((SIDE, SIDE + 8), bool), styles={3: ("Sand", None)}).facies
    world.write_header(tmp_path / "m.safetensors", facies)
    row, col, index = world.survey_cells()
    places = world.centres(row, col)
    refused_simulation(
        world.make_layer(places, [7 * k for k in index.tolist()]), r"does not have the facies 0, 14, 7 of"
    )
    texts = [("sand", "mud", "silt")[k] for k in index]
    refused_simulation(
        world.make_layer(places, texts, kind="string"), r"does not have the facies mud, silt .*Sand \(code 3\)"
    )


@pytest.fixture
def refused_simulation(processing, tmp_path):
    def run(layer, message):
        parameters = {"OBSERVATIONS": layer, "FACIES_FIELD": "facies", "MODEL_FILE": str(tmp_path / "m.safetensors")}
        with pytest.raises(QgsProcessingException, match=message):
            processing.run("oadg:simulatefacies", {**parameters, "ENTROPY": str(tmp_path / "e.tif")})
        assert not (tmp_path / "e.tif").exists()

    return run


def test_texts_are_the_names_of_the_models_facies(processing, fake_engine, world, tmp_path):
    facies = image_of_codes(stripes(), np.ones((SIDE, SIDE + 8), bool), styles={3: ("Sand", None)}).facies
    world.write_header(tmp_path / "m.safetensors", facies, cell_size=25.0)
    row, col, index = world.survey_cells()
    layer = world.make_layer(world.centres(row, col), [("sand", "311")[k % 2] for k in index], kind="string")
    processing.run(
        "oadg:simulatefacies",
        {
            "OBSERVATIONS": layer,
            "FACIES_FIELD": "facies",
            "MODEL_FILE": str(tmp_path / "m.safetensors"),
            "ENTROPY": str(tmp_path / "e.tif"),
        },
    )
    job = fake_engine[0][0]
    assert job.facies.codes.tolist() == [-1, 3, 311]
    assert set(job.class_index) == {1, 2}
    assert job.grid.cell_size == 25.0


def test_a_paletted_style_gives_names_and_colours(open_raster, tmp_path):
    layer = open_raster(write(tmp_path / "image.tif", stripes()), {3: ("#112233", "Sand")})
    assert styles_of(layer, 1) == {3: ("Sand", "#112233")}
    assert styles_of(layer, 2) == {}


def test_category_names_and_nodata_of_the_raster(tmp_path):
    codes = np.where(stripes() == 3, 1, 2)
    codes[:10] = 99
    image = read_training_image(write(tmp_path / "image.tif", codes, nodata=99, names=["none", "sand", "clay"]))
    assert image.facies.names == ["sand", "clay"]
    assert (image.class_index[:10] == -1).all()
    assert image.cell_size == 10.0


def add_table(path, columns, rows):
    """Give a raster an attribute table of columns (title, type, usage)."""
    table = gdal.RasterAttributeTable()
    for column in columns:
        table.CreateColumn(*column)
    setters = {gdal.GFT_String: table.SetValueAsString, gdal.GFT_Real: table.SetValueAsDouble}
    for number, row in enumerate(rows):
        for column, value in enumerate(row):
            setters.get(columns[column][1], table.SetValueAsInt)(number, column, value)
    dataset = gdal.Open(path, gdal.GA_Update)
    dataset.GetRasterBand(1).SetDefaultRAT(table)
    del dataset
    return path


INTEGER, REAL, TEXT = gdal.GFT_Integer, gdal.GFT_Real, gdal.GFT_String
SHADES = [("", INTEGER, usage) for usage in (gdal.GFU_Red, gdal.GFU_Green, gdal.GFU_Blue)]
NAME = ("facies", TEXT, gdal.GFU_Name)
BY_USAGE = [("code", INTEGER, gdal.GFU_MinMax), NAME, *SHADES]
OF_RANGES = [("from", INTEGER, gdal.GFU_Min), ("to", INTEGER, gdal.GFU_Max), NAME, *SHADES]
BY_TITLE = [("Value", REAL, gdal.GFU_Generic), ("Class_Name", TEXT, gdal.GFU_Generic)]
BY_TITLE += [(title, REAL, gdal.GFU_Generic) for title in ("RED", "GREEN", "BLUE")]


@pytest.mark.parametrize(
    ("columns", "values", "other"),
    [
        (BY_USAGE, [(code,) for code in CODES], (7, "absent", 1, 2, 3)),
        (OF_RANGES, [(code, code) for code in CODES], (3, 311, "a range", 1, 2, 3)),
        (BY_TITLE, [(float(code),) for code in CODES], (3.5, "half", 0.0, 0.0, 0.0)),
    ],
    ids=["by usage", "from and to", "by title, colours as parts of 1"],
)
def test_an_attribute_table_gives_names_and_colours(tmp_path, columns, values, other):
    unit = 1 / 255 if columns is BY_TITLE else 1
    looks = {-1: ("mud", 17, 34, 51), 3: ("Sand, grün", 250, 220, 90), 311: ("", 0, 0, 255)}
    rows = [(*value, looks[value[0]][0], *(unit * shade for shade in looks[value[0]][1:])) for value in values]
    rows.append(other)
    facies = read_training_image(add_table(write(tmp_path / "image.tif", stripes()), columns, rows)).facies
    assert facies.names == ["mud", "Sand, grün", "311"]
    assert facies.colors == ["#112233", "#fadc5a", "#0000ff"]


def test_category_names_come_before_an_attribute_table(tmp_path):
    path = write(tmp_path / "image.tif", np.where(stripes() == 3, 1, 2), names=["none", "sand", ""])
    columns = [("Value", INTEGER, gdal.GFU_MinMax), ("Class", TEXT, gdal.GFU_Name)]
    facies = read_training_image(add_table(path, columns, [(1, "Sand of the table"), (2, "clay")])).facies
    assert facies.names == ["sand", "clay"]


def test_an_attribute_table_without_values_tells_nothing(tmp_path):
    """Statistics of a picture, for example."""
    path = add_table(write(tmp_path / "image.tif", stripes()), [("Histogram", INTEGER, gdal.GFU_PixelCount)], [(5,)])
    assert read_codes(path).styles == {}


def test_cells_in_degrees_have_no_size(tmp_path):
    """No map in metres could be compared with them."""
    path = write(tmp_path / "image.tif", stripes())
    dataset = gdal.Open(path, gdal.GA_Update)
    crs = osr.SpatialReference()
    crs.ImportFromEPSG(4326)
    dataset.SetProjection(crs.ExportToWkt())
    del dataset
    assert read_training_image(path).cell_size is None


@pytest.mark.parametrize(("epsg", "metres"), [(32632, 82.0), (2264, 24.9936), (None, 82.0)])
def test_cells_are_stored_in_metres(tmp_path, epsg, metres):
    """Whatever a unit of the image's CRS is: feet of the United States, for example."""
    path = write(tmp_path / "image.tif", stripes(), transform=(0, 82.0, 0, 0, 0, -82.0), epsg=epsg)
    assert read_training_image(path).cell_size == pytest.approx(metres, rel=1e-5)
    feet = QgsCoordinateReferenceSystem("EPSG:2264").toWkt()
    assert read_codes(path, crs=feet).metres == pytest.approx(0.3048, rel=1e-4), "which a layer knows better"


def test_the_crs_of_the_layer_tells_what_a_unit_is(train_model, open_raster, tmp_path):
    layer = open_raster(write(tmp_path / "image.tif", stripes(), transform=(0, 82.0, 0, 0, 0, -82.0), epsg=None))
    layer.setCrs(QgsCoordinateReferenceSystem("EPSG:2264"))
    assert read_header(Path(train_model(layer.id())["MODEL_FILE"])).cell_size == pytest.approx(24.9936, rel=1e-5)


def test_cells_that_are_not_square_on_the_ground_are_told(train_model, log, tmp_path):
    """At 60 degrees north a degree of the parallel is half as long as one of the meridian."""
    train_model(write(tmp_path / "image.tif", stripes(), transform=(9, 3e-4, 0, 60, 0, -3e-4), epsg=4326))
    assert "16.7 x 33.4 metres on the ground" in str(log.warnings)
    log.start_again()
    train_model(write(tmp_path / "other.tif", stripes(), transform=(9, 3e-4, 0, 0, 0, -3e-4), epsg=4326), NAME="other")
    assert not any("on the ground" in text for text in log.warnings)


def test_a_picture_has_a_facies_for_each_colour(tmp_path):
    colors = np.array([(230, 159, 0), (0, 0, 255), (255, 255, 255)])
    index = np.searchsorted(sorted(CODES), stripes())
    picture = np.moveaxis(colors[index], 2, 0).astype(np.uint8)
    path = write(tmp_path / "picture.tif", picture, transform=None, kind=gdal.GDT_Byte)
    image = read_training_image(path)
    assert image.facies.colors == ["#0000ff", "#e69f00", "#ffffff"]
    assert image.cell_size is None
    assert [image.facies.colors[k] for k in (image.class_index[0, 0], image.class_index[8, 0])] == [
        "#0000ff",
        "#ffffff",
    ]


@pytest.mark.parametrize("hidden", [0, 255])
def test_what_lies_under_transparent_pixels_of_a_picture_is_no_facies(tmp_path, hidden):
    rng = np.random.default_rng(hidden)
    seen = np.where(stripes() == 3, 200, 90).astype(np.uint8)
    picture = np.stack([seen, seen, seen, np.full_like(seen, 255)])
    picture[:3, :, :20] = rng.integers(0, 255, (3, SIDE, 20)) if hidden else 0
    picture[3, :, :20] = 0
    dataset = gdal.GetDriverByName("MEM").Create("", SIDE + 8, SIDE, 4)
    for number, values in enumerate(picture, start=1):
        dataset.GetRasterBand(number).WriteArray(values)
        dataset.GetRasterBand(number).SetColorInterpretation(gdal.GCI_RedBand + number - 1)
    path = str(tmp_path / "picture.png")
    gdal.GetDriverByName("PNG").CreateCopy(path, dataset)
    image = read_training_image(path)
    assert image.facies.codes.tolist() == [1, 2]
    assert image.facies.names == ["#5a5a5a", "#c8c8c8"]
    assert (image.class_index[:, :20] == -1).all()


def test_facies_of_a_raster_are_found_by_name_among_those_of_a_model(tmp_path):
    """Whatever its codes are; without names these tell."""
    known = FaciesTable((Facies(1, "Kalk", "#112233"), Facies(2, "Mergel", "#445566"), Facies(3, "Ton", "#778899")))
    codes = np.searchsorted(sorted(CODES), stripes())
    named = read_codes(write(tmp_path / "named.tif", codes, names=["Mergel", "ton", "Kalk"], nodata=9))
    class_index, found = named.among(known)
    assert found == {0: 1, 1: 2, 2: 0}
    np.testing.assert_array_equal(class_index, np.array([1, 2, 0])[codes])
    class_index, found = read_codes(write(tmp_path / "bare.tif", codes + 1)).among(known)
    assert found == {1: 0, 2: 1, 3: 2}
    class_index, found = read_codes(write(tmp_path / "bare.tif", codes)).among(known)
    assert found == {0: None, 1: 0, 2: 1}
    np.testing.assert_array_equal(class_index, codes - 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda codes: codes * 0.37, r"which is no facies code: .*'Reclassify by table'"),
        (lambda codes: np.arange(codes.size).reshape(codes.shape), r"9,984 different values; at most 32 facies"),
        (np.zeros_like, r"one facies only \(0\)"),
        (lambda codes: codes[:40], r"40 x 104 cells; it needs at least 64 x 64"),
    ],
    ids=["continuous", "too many", "one", "small"],
)
def test_images_that_nothing_can_be_learnt_from(train_model, tmp_path, change, message):
    with pytest.raises(QgsProcessingException, match=message):
        train_model(write(tmp_path / "image.tif", change(stripes())))
    assert not list(tmp_path.glob("stripes*"))


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ((0, 10.0, 2.0, 0, 2.0, -10.0), r"is rotated against its coordinate system"),
        ((0, -10.0, 0, 0, 0, -10.0), r"is rotated against its coordinate system"),
        ((0, 10.0, 0, 0, 0, -20.0), r"has cells of 10 x 20; they must be square"),
    ],
    ids=["rotated", "mirrored", "not square"],
)
def test_geotransforms_that_no_realization_could_have(train_model, tmp_path, transform, message):
    with pytest.raises(QgsProcessingException, match=message):
        train_model(write(tmp_path / "image.tif", stripes(), transform=transform))


def test_an_image_that_is_nodata_but_for_a_few_cells(tmp_path):
    codes = stripes()
    codes[8:] = 99
    with pytest.raises(Exception, match=r"Only 8 % of the training image's cells hold a facies"):
        read_training_image(write(tmp_path / "image.tif", codes, nodata=99))


def test_names_that_cannot_be_or_are_taken(train_model, tmp_path):
    image = write(tmp_path / "image.tif", stripes())
    with pytest.raises(QgsProcessingException, match=r"The name 'a/b' cannot be that of a file"):
        train_model(image, NAME="a/b")
    for name, message in (
        ("..", "cannot be that of a file"),
        ("x" * 200, "is 200 bytes long, and a file's name can"),
    ):
        with pytest.raises(QgsProcessingException, match=message):
            train_model(image, NAME=name)
    (tmp_path / "stripes.safetensors").write_bytes(b"another one")
    with pytest.raises(QgsProcessingException, match=r"There is a model named stripes already"):
        train_model(image)
    assert (tmp_path / "stripes.safetensors").read_bytes() == b"another one"
    with pytest.raises(QgsProcessingException, match=r"There is a model named stripes already"):
        train_model(image, NAME="Stripes")
    (tmp_path / "stripes.training").mkdir()
    note = {"mark": mark_of(tmp_path / "stripes.safetensors")}
    (tmp_path / "stripes.origin.json").write_text(json.dumps(note))  # it was installed since
    with pytest.raises(QgsProcessingException, match=r"There is a model named stripes already"):
        train_model(image)


def test_a_cancelled_training_goes_on(train_model, log, tmp_path):
    image = write(tmp_path / "image.tif", stripes())
    log.feedback.progressChanged.connect(lambda percent: log.feedback.cancel() if percent > 20 else None)
    with pytest.raises(QgsProcessingException, match="The training was cancelled"):
        train_model(image, STEPS=8)
    assert "running it again with the same parameters goes on" in log.text
    log.start_again()
    result = train_model(image, STEPS=8)
    assert result["STEPS"] == 8
    assert isinstance(read_training_image(image), TrainingImage)


def test_what_is_no_data_by_the_layers_properties(tmp_path):
    path = write(tmp_path / "image.tif", np.where(stripes() == 3, 1, 2), nodata=1)
    layer = QgsRasterLayer(path, "image")
    layer.dataProvider().setUserNoDataValue(1, [QgsRasterRange(2, 2)])
    assert not read_codes(path, 1, nodata_of(layer, 1)).known.any()
    layer.dataProvider().setUseSourceNoDataValue(1, False)
    raster = read_codes(path, 1, nodata_of(layer, 1))
    assert (raster.known == (raster.codes == 1)).all()
    assert (read_codes(path).known == (raster.codes == 2)).all()


def test_a_raster_stored_from_south_to_north_is_the_same_map(tmp_path):
    codes = stripes()
    codes[:5, 7] = 99
    up = read_codes(write(tmp_path / "up.tif", codes, nodata=99, transform=(70, 10.0, 0, 500, 0, -10.0)))
    south = 500 - 10.0 * SIDE
    down = read_codes(write(tmp_path / "down.tif", codes[::-1], nodata=99, transform=(70, 10.0, 0, south, 0, 10.0)))
    for raster in (up, down):
        np.testing.assert_array_equal(raster.codes, codes)
        np.testing.assert_array_equal(raster.known, codes != 99)
        assert (raster.west, raster.north, raster.cell_size) == (70, 500, 10)


def test_what_is_no_number_and_what_a_mask_hides_is_unknown_whatever_the_nodata_value(tmp_path):
    codes = stripes().astype(float)
    codes[0, :3] = np.nan, np.inf, -np.inf
    path = write(tmp_path / "image.tif", codes)
    assert np.array_equal(read_codes(path).known, np.isfinite(codes))
    dataset = gdal.Open(path, gdal.GA_Update)
    dataset.CreateMaskBand(gdal.GMF_PER_DATASET)
    dataset.GetRasterBand(1).GetMaskBand().WriteArray(np.where(np.arange(SIDE)[:, None] < 9, 0, 255) * (codes != 3))
    del dataset
    hidden = (np.arange(SIDE)[:, None] < 9) | (codes == 3)
    assert np.array_equal(read_codes(path, 1, Nodata(as_stored=False)).known, ~hidden)


@pytest.mark.parametrize("band", [0, 2])
def test_a_band_that_is_not_there(tmp_path, band):
    with pytest.raises(
        TrainingImageError, match=rf"image\.tif has 1 band, and no band {band}\. Choose one that is there"
    ):
        read_codes(write(tmp_path / "image.tif", stripes()), band)


def test_cells_that_are_nearly_square_drift_along_the_longer_side(tmp_path):
    raster = read_codes(write(tmp_path / "image.tif", stripes(), transform=(0, 10.0, 0, 0, 0, -10.05)))
    assert raster.cell_size == 10
    assert raster.drift == pytest.approx(0.005 * (SIDE + 8))


def test_lengths_are_those_in_the_middle_of_a_raster(tmp_path):
    """On a map of the whole earth, half way down from the equator: a metre is as long as the cosine of the latitude."""
    transform = (-15e6, 1e5, 0, 0, 0, -1e5)
    raster = read_codes(
        write(tmp_path / "image.tif", stripes()[:64].repeat(3, axis=1)[:, :300], transform=transform, epsg=3857)
    )
    assert raster.metres == pytest.approx(1 / np.cosh(32e5 / 6378137), rel=0.01)


def test_names_of_a_raster_come_before_those_of_the_simulation_that_made_it_and_a_style_before_both(tmp_path):
    made = [{"code": code, "name": name, "color": "#112233"} for code, name in ((0, "Mergel"), (1, "Ton"), (2, "Kalk"))]
    codes, metadata = np.searchsorted(sorted(CODES), stripes()), {"OADG_FACIES": json.dumps(made)}
    path = write(tmp_path / "image.tif", codes, kind=gdal.GDT_Byte, metadata=metadata, names=["", "Kies"])
    dataset = gdal.Open(path, gdal.GA_Update)
    colors = gdal.ColorTable()
    for code in range(3):
        colors.SetColorEntry(code, (7, 8, 9))
    dataset.GetRasterBand(1).SetColorTable(colors)
    del dataset
    raster = read_codes(path)
    assert [raster.styles[code] for code in range(3)] == [
        ("Mergel", "#112233"),
        ("Kies", "#070809"),
        ("Kalk", "#112233"),
    ]
    known = FaciesTable(tuple(Facies(10 + k, name, "#445566") for k, name in enumerate(("Kalk", "Kies", "Mergel"))))
    assert raster.among(known)[1] == {0: 2, 1: 1, 2: 0}
    assert raster.among(known, {0: ("Kalk", None), 2: ("Mergel", None)})[1] == {0: 0, 1: 1, 2: 2}


def test_bands_of_codes_are_no_colours(tmp_path):
    """Three bands of bytes look like red, green and blue; our realizations are not, nor is a second band alone."""
    bands = np.stack([stripes() == 3, stripes() != 3, np.ones((SIDE, SIDE + 8))]).astype(np.uint8)
    path = write(tmp_path / "bands.tif", bands, kind=gdal.GDT_Byte, metadata={"OADG_FACIES": "[]"})
    for band in (1, 2, 3):
        assert np.array_equal(read_codes(path, band).codes, bands[band - 1])
    for other in ({"names": ["mud", "sand"], "kind": gdal.GDT_Byte}, {"kind": gdal.GDT_UInt16}):
        assert np.array_equal(read_codes(write(tmp_path / "other.tif", bands, **other)).codes, bands[0])
    plain = write(tmp_path / "plain.tif", bands, kind=gdal.GDT_Byte)
    assert "#010001" in str(read_codes(plain).styles), "a picture, as far as anybody can tell"
    assert np.array_equal(read_codes(plain, 2).codes, bands[1])


@pytest.fixture
def stack(tmp_path):
    """Three maps of three facies in one file, as QGIS exports them: bytes that look like red, green and blue."""
    index = np.searchsorted(sorted(CODES), stripes())
    bands = np.stack([index, np.roll(index, 5, axis=0), np.roll(index, 9, axis=1)]).astype(np.uint8)
    return write(tmp_path / "stack.tif", bands, kind=gdal.GDT_Byte)


def test_colours_that_are_read_are_told(train_model, stack, log, tmp_path):
    result = train_model(stack)
    assert result["N_FACIES"] > 3
    (warning,) = (text for text in log.warnings if "is read as a coloured picture" in text)
    assert f"'stack' is read as a coloured picture: bands 1 to 3 together give {result['N_FACIES']} colours" in warning
    assert "'Paletted/Unique values'" in warning


def test_a_band_with_a_paletted_style_holds_codes(train_model, stack, open_raster, log):
    """Whose names are those of the codes, and not of as many colours."""
    palette = {0: ("#112233", "mud"), 1: ("#445566", "sand"), 2: ("#778899", "silt")}
    result = train_model(open_raster(stack, palette).id())
    facies = read_header(Path(result["MODEL_FILE"])).facies
    assert [(f.code, f.name) for f in facies.facies] == [(0, "mud"), (1, "sand"), (2, "silt")]
    assert "coloured picture" not in log.text


@pytest.mark.parametrize("is_picture", [False, True])
@pytest.mark.parametrize("raises", [False, True], ids=["GDAL", "GDAL with exceptions"])
def test_a_file_that_was_cut_off_is_told_with_the_reason_and_a_remedy(train_model, tmp_path, is_picture, raises):
    codes = np.stack([stripes() % 256] * 3) if is_picture else stripes()
    path = Path(write(tmp_path / "image.tif", codes, kind=gdal.GDT_Byte if is_picture else None))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    told = r"The cells of the raster .*image\.tif cannot be read: .*[Rr]ead.*\. Is the file complete .* again, or"
    (gdal.UseExceptions if raises else gdal.DontUseExceptions)()
    try:
        with pytest.raises(TrainingImageError, match=told):
            read_codes(str(path))
        with pytest.raises(QgsProcessingException, match=told):
            train_model(str(path))
    finally:
        gdal.DontUseExceptions()


def test_a_raster_with_too_many_cells_is_told_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(categorical_rasters, "MOST_READ", SIDE * SIDE)
    with pytest.raises(TrainingImageError, match=r"has 96 x 104 cells; at most 9,216 cells are read\. Clip it, or"):
        read_codes(write(tmp_path / "image.tif", stripes()))


def test_rasters_placed_by_control_points_are_refused(tmp_path):
    path = write(tmp_path / "image.tif", stripes(), transform=None)
    dataset = gdal.Open(path, gdal.GA_Update)
    corners = [(0, 0), (SIDE, 0), (0, SIDE)]
    dataset.SetGCPs([gdal.GCP(5e5 + 10 * x, 4.6e6 - 10 * y, 0, x, y) for x, y in corners], dataset.GetProjection())
    del dataset
    with pytest.raises(TrainingImageError, match="placed by ground control points.*'Warp"):
        read_codes(path)
