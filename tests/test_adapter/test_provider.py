"""OADG in the toolbox, in models, in batches and on the command line."""

from __future__ import annotations

import configparser
import json
import math
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from osgeo import gdal
from qgis.core import (
    QgsApplication,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingModelAlgorithm,
    QgsProcessingModelChildAlgorithm,
    QgsProcessingModelChildParameterSource,
    QgsProcessingParameterDefinition,
    QgsProject,
    QgsVectorFileWriter,
    QgsVectorLayer,
)

import oadg
from oadg.oadg_qgis import engine_client, models
from oadg.oadg_qgis.engine_client import close_idle_engines, engine_status
from oadg.oadg_qgis.plugin import OadgPlugin

PLUGIN_FOLDER = Path(__file__).resolve().parents[2]
ZONES = "oadg:Find zones of uncertain facies"


@pytest.fixture
def provider(processing):
    return QgsApplication.processingRegistry().providerById("oadg")


def test_the_toolbox_lists_the_algorithms_and_the_model(provider):
    names = {algorithm.id() for algorithm in provider.algorithms()}
    own = {"simulatefacies", "sequentialindicatorsimulation", "crossvalidate", "scoremap", "trainmodel"}
    own |= {"comparesimulations"}
    own |= {"evaluatemodel", "installmodel", "listmodels", "removemodel", "setupengine", "enginestatus"}
    assert names == {*(f"oadg:{name}" for name in own), ZONES}
    assert provider.name() == "OADG"
    assert not provider.icon().isNull()
    assert Path(provider.svgIconPath()).is_file()


def test_every_algorithm_explains_itself(provider):
    for algorithm in provider.algorithms():
        assert algorithm.shortHelpString(), algorithm.id()
        told_before = algorithm.shortDescription() or "nothing"
        assert told_before not in algorithm.shortHelpString(), "qgis_process prints one after the other"
        assert algorithm.displayName()[0].isupper()
        if algorithm.shortDescription():
            verb = algorithm.shortDescription().split()[0]
            assert verb.endswith("s"), verb
            assert algorithm.shortDescription().endswith(".")
        for parameter in algorithm.parameterDefinitions():
            # A model keeps the help of its parameters in its own.
            described = parameter.help() or parameter.description() in algorithm.shortHelpString()
            assert described, f"{algorithm.id()} {parameter.name()}"


def test_parameters_and_outputs_of_simulatefacies(provider):
    algorithm = provider.algorithm("simulatefacies")
    types = {parameter.name(): parameter.type() for parameter in algorithm.parameterDefinitions()}
    assert types == {
        "OBSERVATIONS": "source",
        "FACIES_FIELD": "field",
        "EXTENT": "extent",
        "MASK": "source",
        "CELL_SIZE": "number",
        "CRS": "crs",
        "MODEL": "enum",
        "N_REALIZATIONS": "number",
        "QUALITY": "enum",
        "MODEL_FILE": "file",
        "ON_CONFLICT": "enum",
        "SEED": "number",
        "DEVICE": "enum",
        "REALIZATIONS": "rasterDestination",
        "ENTROPY": "rasterDestination",
        "PROBABILITIES": "rasterDestination",
        "MOST_PROBABLE": "rasterDestination",
    }
    outputs = {output.name(): output.type() for output in algorithm.outputDefinitions()}
    assert outputs == {
        **dict.fromkeys(("REALIZATIONS", "ENTROPY", "PROBABILITIES", "MOST_PROBABLE"), "outputRaster"),
        **dict.fromkeys(("N_USED", "N_SKIPPED", "N_FACIES", "MEAN_ENTROPY", "SEED", "SECONDS"), "outputNumber"),
        "DEVICE": "outputString",
    }
    needed = {
        p.name()
        for p in algorithm.parameterDefinitions()
        if p.defaultValue() is None and not p.flags() & p.Flag.FlagOptional
    }
    assert needed == set(), "a model of a training image needs no observations"
    flags = algorithm.flags()
    assert flags & QgsProcessingAlgorithm.Flag.FlagSupportsBatch
    assert flags & QgsProcessingAlgorithm.Flag.FlagCanCancel


def test_what_the_dialogs_begin_with(provider):
    def beginning(algorithm, name):
        return provider.algorithm(algorithm).parameterDefinition(name)

    assert beginning("simulatefacies", "MODEL").defaultValue() == "universal"
    model = beginning("evaluatemodel", "MODEL")
    assert model.defaultValue() == "channels", "the universal model was trained on no image"
    assert model.options()[-1] == "universal"
    assert "training image" in beginning("simulatefacies", "CELL_SIZE").help()
    assert "training image" not in beginning("sequentialindicatorsimulation", "CELL_SIZE").help()
    for algorithm, name, least, decimals in (
        ("trainmodel", "MINUTES", 0.1, 1),
        ("sequentialindicatorsimulation", "NUGGET", 0.0, 2),
    ):
        number = beginning(algorithm, name)
        assert number.minimum() == least
        assert number.metadata()["widget_wrapper"]["decimals"] == decimals
    assert beginning("sequentialindicatorsimulation", "NUGGET").maximum() == 1.0


def test_installed_models_are_those_shipped_and_the_users(processing, monkeypatch, tmp_path):
    monkeypatch.setattr(models, "user_folder", lambda: tmp_path)
    (tmp_path / "Meanders.safetensors").touch()
    (tmp_path / "alluvial.safetensors").touch()
    names = list(models.installed_models())
    assert names[0] == "universal"
    assert names[1:] == ["alluvial", "channels", "delta", "Meanders"]
    algorithm = QgsApplication.processingRegistry().createAlgorithmById("oadg:simulatefacies")
    assert algorithm.parameterDefinition("MODEL").options() == names
    assert models.model_path("Meanders") == tmp_path / "Meanders.safetensors"


def test_shipped_model_chains_oadg_with_other_algorithms(provider):
    for path in sorted((PLUGIN_FOLDER / "resources" / "workflows").glob("*.model3")):
        model = QgsProcessingModelAlgorithm()
        assert model.fromFile(str(path))
        assert model.validate() == (True, [])
        used = {child.algorithmId() for child in model.childAlgorithms().values()}
        assert "oadg:simulatefacies" in used
        assert any(name.startswith("native:") for name in used)
    assert provider.algorithm(ZONES.split(":")[1]).canExecute()[0]


@pytest.mark.parametrize(
    ("n_facies", "limit"),
    [(2, {}), (3, {}), (3, {"limit": 0.3}), (3, {"limit": 1}), (3, {"limit": 0})],
    ids=["two facies", "three facies", "limit", "never reached", "everywhere"],
)
def test_shipped_model_outlines_uncertain_zones(processing, n_facies, limit, world, log, capfd):
    row, col, index = world.survey_cells()
    layer = world.make_layer(world.centres(row, col), [world.CODES[k % n_facies] for k in index])
    result = processing.run(
        ZONES,
        {
            "observations": layer,
            "facies_field": "facies",
            "cell_size": 10,
            **limit,
            "simulate:Entropy": "TEMPORARY_OUTPUT",
            "simulate:Most probable facies": "TEMPORARY_OUTPUT",
            "statistics:Uncertain zones": "TEMPORARY_OUTPUT",
        },
        feedback=log.feedback,
    )
    zones = result["statistics:Uncertain zones"]
    assert (zones.featureCount() > 0) == (limit != {"limit": 1})
    assert "overlaps" not in log.text, "classes of the table"
    assert "ERROR" not in capfd.readouterr().err, "GDAL's, of a raster without any cell"
    assert {"area", "entropy_mean"} <= set(zones.fields().names())
    entropy = gdal.Open(result["simulate:Entropy"]).ReadAsArray()
    least = limit.get("limit", 0.7) * math.log2(n_facies)
    uncertain = (entropy.astype(float) >= least).sum() * 100.0
    assert limit or uncertain < 50.0 * entropy.size, "most of this survey is known better"
    assert sum(feature["area"] for feature in zones.getFeatures()) == pytest.approx(uncertain)
    assert all(least <= feature["entropy_mean"] <= math.log2(n_facies) for feature in zones.getFeatures())


def test_shipped_model_takes_observations_in_degrees(processing, world, tiny_model, log, monkeypatch):
    monkeypatch.setattr(models, "SHIPPED_FOLDER", shipped_as_universal(tiny_model))
    row, col, index = world.survey_cells()
    places = [(7 + c * 1e-3, 47 + r * 1e-3) for r, c in zip(row, col)]
    layer = world.make_layer(places, [world.CODES[k] for k in index], crs="EPSG:4326")
    outputs = dict.fromkeys(
        ("simulate:Entropy", "simulate:Most probable facies", "statistics:Uncertain zones"), "TEMPORARY_OUTPUT"
    )
    asked = {"observations": layer, "facies_field": "facies", "cell_size": 100, **outputs}
    with pytest.raises(QgsProcessingException):
        processing.run(ZONES, asked, feedback=log.feedback)
    assert any("counts in degrees" in text for text in log.errors)
    result = processing.run(ZONES, {**asked, "crs": "EPSG:32632"}, feedback=log.feedback)
    assert gdal.Open(result["simulate:Entropy"]).GetGeoTransform()[1] == 100


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MODEL", "analogue", "The model 'analogue' is not installed; installed are: universal"),
        ("MODEL", 0, "MODEL is 0; models are chosen by their names, not by numbers: universal"),
        ("MODEL", 1, "The model '1' is not installed"),
        ("QUALITY", "Preview", "QUALITY is 'Preview'; it must be one of standard, preview, fine"),
        ("QUALITY", 1, "QUALITY is 1; it must be one of"),
        ("ON_CONFLICT", 1, "ON_CONFLICT is 1; it must be one of"),
        ("DEVICE", "gpu", "DEVICE is 'gpu'; it must be one of"),
        ("MASK", "/nope/mask.gpkg", "MASK"),
    ],
)
def test_what_a_step_of_a_model_is_given_is_checked(processing, survey, fake_engine, log, name, value, message):
    """QGIS checks what a model is given, not what its steps are."""
    model = QgsProcessingModelAlgorithm("one step", "test")
    model.initAlgorithm()
    step = QgsProcessingModelChildAlgorithm("oadg:simulatefacies")
    step.setChildId("simulate")
    project = QgsProject.instance()
    project.addMapLayer(survey)
    given = {"OBSERVATIONS": survey.id(), "FACIES_FIELD": "facies", name: value}
    for parameter, static in given.items():
        step.addParameterSources(parameter, [QgsProcessingModelChildParameterSource.fromStaticValue(static)])
    model.addChildAlgorithm(step)
    context = QgsProcessingContext()
    context.setProject(project)
    try:
        _, successful = model.run({}, context, log.feedback)
    finally:
        project.takeMapLayer(survey)
    assert not successful
    assert any(message in text for text in log.errors)
    assert not fake_engine


def test_shipped_model_asks_for_its_outputs(processing):
    """As scripts and `qgis_process` see it: QGIS makes no temporary file for what they leave out."""
    asked = QgsApplication.processingRegistry().algorithmById(ZONES).parameterDefinitions()
    outputs = {definition.name(): definition for definition in asked if definition.isDestination()}
    assert set(outputs) == {"simulate:Entropy", "simulate:Most probable facies", "statistics:Uncertain zones"}
    assert not any(d.flags() & QgsProcessingParameterDefinition.FlagOptional for d in outputs.values())


def shipped_as_universal(path):
    """Return a folder in which the model file is the universal model."""
    folder = Path(path).parent / "shipped"
    folder.mkdir(exist_ok=True)
    shutil.copy(path, folder / "universal.safetensors")
    return folder


def test_rows_of_a_batch_do_not_disturb_each_other(processing, survey, fake_engine, log, world, tmp_path):
    """The batch dialog runs one instance of the algorithm row by row."""
    algorithm = QgsApplication.processingRegistry().createAlgorithmById("oadg:simulatefacies")
    for number, cell_size in enumerate((10.0, 20.0), start=1):
        row = {
            "OBSERVATIONS": survey,
            "FACIES_FIELD": "facies",
            "EXTENT": world.EXTENT,
            "CELL_SIZE": cell_size,
            "ENTROPY": str(tmp_path / f"entropy {number}.tif"),
        }
        result, successful = algorithm.run(row, QgsProcessingContext(), log.feedback, {}, False)
        assert successful
        assert gdal.Open(result["ENTROPY"]).GetGeoTransform()[1] == cell_size


def test_unload_takes_the_algorithms_out_and_ends_the_engine(plugin):
    registry = QgsApplication.processingRegistry()
    engine_status()
    engine = engine_client._IDLE._engine
    assert engine.is_alive
    assert registry.providerById("oadg") is plugin.provider
    plugin.unload()
    try:
        assert registry.providerById("oadg") is None
        assert not engine.is_alive
    finally:
        plugin.initProcessing()
    assert registry.algorithmById("oadg:simulatefacies") is not None
    assert engine_status()["pid"] == engine_status()["pid"], "engines are kept warm again"
    close_idle_engines()


def test_class_factory_makes_the_plugin(processing):
    assert isinstance(oadg.classFactory(None), OadgPlugin)


def test_metadata_says_what_qgis_needs():
    metadata = configparser.ConfigParser(interpolation=None)
    metadata.read(PLUGIN_FOLDER / "metadata.txt", encoding="utf-8")
    general = metadata["general"]
    assert general["hasProcessingProvider"] == "yes"
    assert (general["qgisMinimumVersion"], general["qgisMaximumVersion"]) == ("3.22", "4.99")
    assert "plugin" not in general["name"].lower()
    assert "PyTorch" in general["about"]
    assert (PLUGIN_FOLDER / general["icon"]).is_file()


@pytest.fixture(scope="module")
def command_line(tmp_path_factory):
    """Return a function that runs `qgis_process` in a profile of its own in which OADG is enabled."""
    program = shutil.which("qgis_process.bin") or shutil.which("qgis_process")
    if program is None:
        pytest.skip("qgis_process is not installed")
    folder = tmp_path_factory.mktemp("profile with spaces and ü")
    (folder / "plugins").mkdir()
    (folder / "runtime").mkdir(mode=0o700)
    (folder / "plugins" / "oadg").symlink_to(PLUGIN_FOLDER, target_is_directory=True)
    environment = {
        **os.environ,
        "QGIS_CUSTOM_CONFIG_PATH": str(folder),
        "QGIS_PLUGINPATH": str(folder / "plugins"),
        "QT_QPA_PLATFORM": "offscreen",
        "XDG_RUNTIME_DIR": str(folder / "runtime"),
    }

    def run(*arguments):
        done = subprocess.run(
            [program, *arguments], env=environment, capture_output=True, text=True, timeout=180, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("plugins", "enable", "oadg")
    return run


def test_command_line_runs_the_same_in_text_and_json(command_line, processing, survey, tiny_model, world, tmp_path):
    points = tmp_path / "Bohrungen über Tage.gpkg"
    QgsVectorFileWriter.writeAsVectorFormatV3(
        survey, str(points), QgsProject.instance().transformContext(), QgsVectorFileWriter.SaveVectorOptions()
    )
    assert QgsVectorLayer(str(points)).featureCount() == 60
    arguments = [
        f"OBSERVATIONS={points}",
        "FACIES_FIELD=facies",
        f"EXTENT={world.EXTENT}",
        "CELL_SIZE=10",
        f"MODEL_FILE={tiny_model}",
        "QUALITY=preview",
        "N_REALIZATIONS=1",
        "DEVICE=cpu",
    ]
    text = command_line("run", "oadg:simulatefacies", "--", *arguments, f"REALIZATIONS={tmp_path / 'text.tif'}")
    assert "60 of 60 observations are used" in text
    assert "N_USED:\t60" in text
    answer = json.loads(
        command_line("--json", "run", "oadg:simulatefacies", "--", *arguments, f"REALIZATIONS={tmp_path / 'json.tif'}")
    )
    assert answer["results"]["N_FACIES"] == 3
    assert answer["results"]["ENTROPY"] is None
    pixels = [gdal.Open(str(tmp_path / name)).ReadAsArray() for name in ("text.tif", "json.tif")]
    assert (pixels[0] == pixels[1]).all()
    assert (tmp_path / "text.qml").is_file()


def test_command_line_simulates_without_observations(command_line, tmp_path):
    arguments = ["MODEL=channels", "EXTENT=0,3200,0,3200 [EPSG:25832]", "CELL_SIZE=50", "N_REALIZATIONS=1"]
    arguments += ["QUALITY=preview", f"REALIZATIONS={tmp_path / 'maps.tif'}"]
    answer = json.loads(command_line("--json", "run", "oadg:simulatefacies", "--", *arguments))
    assert (answer["results"]["N_USED"], answer["results"]["N_FACIES"]) == (0, 2)
    assert set(gdal.Open(str(tmp_path / "maps.tif")).ReadAsArray().ravel()) == {0, 1}


def test_command_line_cross_validates_and_says_the_verdict(command_line, processing, survey, tiny_model, tmp_path):
    points = tmp_path / "Bohrungen.gpkg"
    QgsVectorFileWriter.writeAsVectorFormatV3(
        survey, str(points), QgsProject.instance().transformContext(), QgsVectorFileWriter.SaveVectorOptions()
    )
    arguments = [f"OBSERVATIONS={points}", "FACIES_FIELD=facies", "N_FOLDS=2", f"MODEL_FILE={tiny_model}"]
    arguments += [f"REPORT={tmp_path / 'report.html'}", f"ERRORS={tmp_path / 'errors.gpkg'}"]
    answer = json.loads(command_line("--json", "run", "oadg:crossvalidate", "--", *arguments))
    assert answer["results"]["N_USED"] == 60
    assert answer["results"]["VERDICT"] in answer["log"]["info"]
    assert QgsVectorLayer(answer["results"]["ERRORS"]).featureCount() == 60
    assert (tmp_path / "report.html").is_file()
