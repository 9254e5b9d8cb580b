"""A small synthetic survey, Processing with OADG in it, and an engine that answers at once."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("OADG_ENGINE_PYTHON", sys.executable)

import numpy as np
import pytest

from oadg.core.contract.errors import Cancelled
from oadg.core.contract.job import SimulationResult
from oadg.core.contract.model_header import FORMAT, HEADER_KEY

CELL = 10.0
N_ROWS, N_COLS = 30, 40
WEST, NORTH = 500_000.0, 4_600_300.0
EXTENT = f"{WEST},{WEST + N_COLS * CELL},{NORTH - N_ROWS * CELL},{NORTH} [EPSG:32632]"
CODES = (3, 311, -1)


def truth() -> np.ndarray:
    """Return the class index of every cell of the survey: two bent bands and the rest."""
    row, col = np.mgrid[:N_ROWS, :N_COLS]
    height = row + 5 * np.sin(col / 6)
    return np.where(height < 10, 0, np.where(height < 20, 1, 2))


def survey_cells(n_points: int = 60, seed: int = 1):
    """Return rows, columns and class indices of observed cells, each once."""
    cells = np.random.default_rng(seed).choice(N_ROWS * N_COLS, n_points, replace=False)
    row, col = np.divmod(cells, N_COLS)
    return row, col, truth()[row, col]


def make_layer(places, values, *, kind: str = "integer", crs: str = "EPSG:32632", geometry: str = "Point"):
    """
    Return a memory layer of observations.

    A place is (easting, northing), a list of those for a multipoint, or None for a feature without geometry.
    """
    from qgis.core import QgsFeature, QgsGeometry, QgsPointXY, QgsVectorLayer

    layer = QgsVectorLayer(f"{geometry}?crs={crs}&field=number:double&field=facies:{kind}", "survey", "memory")
    features = []
    for place, value in zip(places, values):
        feature = QgsFeature(layer.fields())
        feature.setAttributes([0.5, value])
        if isinstance(place, list):
            feature.setGeometry(QgsGeometry.fromMultiPointXY([QgsPointXY(*p) for p in place]))
        elif place is not None:
            feature.setGeometry(QgsGeometry.fromPointXY(QgsPointXY(*place)))
        features.append(feature)
    layer.dataProvider().addFeatures(features)
    layer.updateExtents()
    return layer


def make_polygon(wkt: str, crs: str = "EPSG:32632"):
    """Return a memory layer with one polygon."""
    from qgis.core import QgsFeature, QgsGeometry, QgsVectorLayer

    layer = QgsVectorLayer(f"MultiPolygon?crs={crs}", "outline", "memory")
    feature = QgsFeature()
    feature.setGeometry(QgsGeometry.fromWkt(wkt))
    layer.dataProvider().addFeatures([feature])
    layer.updateExtents()
    return layer


def centres(row, col):
    """Return (easting, northing) of cells."""
    return [(WEST + (c + 0.5) * CELL, NORTH - (r + 0.5) * CELL) for r, c in zip(row.tolist(), col.tolist())]


def write_header(path: Path, facies=None, cell_size=None, network=None, **provenance) -> None:
    """Write a model file without weights: what the adapter reads of one."""
    header = {
        "format": FORMAT,
        "name": path.stem,
        "network": network or {},
        "facies": facies.to_list() if facies else None,
        "cell_size": cell_size,
        "schedules": {"standard": {}, "preview": {}},
        "provenance": provenance,
    }
    text = json.dumps({"__metadata__": {HEADER_KEY: json.dumps(header)}}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)


@pytest.fixture(scope="session")
def world():
    """The functions and numbers above, which tests cannot import from here."""
    names = "CELL N_ROWS N_COLS WEST NORTH EXTENT CODES truth survey_cells make_layer make_polygon centres write_header"
    return SimpleNamespace(**{name: globals()[name] for name in names.split()})


@pytest.fixture(scope="session")
def plugin(qgis_processing):
    """OADG, loaded into QGIS once per session."""
    from oadg.oadg_qgis.plugin import OadgPlugin

    plugin = OadgPlugin()
    plugin.initProcessing()
    yield plugin
    plugin.unload()


@pytest.fixture(scope="session")
def processing(plugin):
    """The `processing` module of a QGIS in which OADG is registered."""
    import processing

    return processing


@pytest.fixture
def survey(processing):
    """Sixty observations of three facies with the codes 3, 311 and -1."""
    row, col, index = survey_cells()
    return make_layer(centres(row, col), [CODES[k] for k in index])


@pytest.fixture
def open_raster(processing):
    """Open rasters as layers of the project, with a paletted style of value to (colour, label) if one is given."""
    from qgis.core import QgsPalettedRasterRenderer, QgsProject, QgsRasterLayer
    from qgis.PyQt.QtGui import QColor

    opened = []

    def open_layer(source, palette=None):
        layer = QgsProject.instance().addMapLayer(QgsRasterLayer(source, Path(source).stem))
        opened.append(layer.id())
        if palette is not None:
            classes = [
                QgsPalettedRasterRenderer.Class(value, QColor(color), text) for value, (color, text) in palette.items()
            ]
            layer.setRenderer(QgsPalettedRasterRenderer(layer.dataProvider(), 1, classes))
        return layer

    yield open_layer
    QgsProject.instance().removeMapLayers(opened)  # a layer that outlives GDAL takes the process down


class Log:
    """What an algorithm told, for tests to look at."""

    def __init__(self) -> None:
        self.start_again()

    def start_again(self) -> None:
        """Forget, and take a feedback that nobody has cancelled."""
        from qgis.core import QgsProcessingFeedback

        log = self

        class Feedback(QgsProcessingFeedback):
            def pushInfo(self, text):
                log.infos.append(text)

            def pushWarning(self, text):
                log.warnings.append(text)

            def reportError(self, text, fatalError=False):
                log.errors.append(text)

            def setProgressText(self, text):
                log.texts.append(text)

        self.infos, self.warnings, self.errors, self.texts = [], [], [], []
        self.feedback = Feedback()

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join(self.infos + self.warnings + self.errors)


@pytest.fixture
def log(processing):
    """A feedback that remembers."""
    return Log()


_MAKE_TINY_MODEL = """
import sys, torch
from pathlib import Path
from core.model.facies_model import FaciesModel
from core.model.network import FaciesNetwork
from core.model.network_config import NetworkConfig
torch.manual_seed(0)
network = FaciesNetwork(NetworkConfig(trunk=(8, 8), stream=(8, 8), n_pooled=4, n_evidence=4, n_bottom=1))
FaciesModel("tiny", network.eval()).save(Path(sys.argv[1]))
"""


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """
    A model file of a tiny untrained network, for the real engine: the laws of simulation hold for any weights.

    It is made in a process of its own, for torch has no place in QGIS's.
    """
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    plugin_folder = Path(__file__).resolve().parents[2]
    command = [os.environ["OADG_ENGINE_PYTHON"], "-c", _MAKE_TINY_MODEL, str(path)]
    subprocess.run(command, cwd=plugin_folder, check=True)
    return str(path)


@pytest.fixture
def simulate_facies(processing, log, tmp_path):
    """Run `oadg:simulatefacies` on the survey's grid with the fixture `log`; rasters go to the test's folder."""

    def run(layer, **parameters):
        names = {"REALIZATIONS", "ENTROPY", "PROBABILITIES", "MOST_PROBABLE"}
        outputs = {name: str(tmp_path / f"{name.lower()}.tif") for name in names}
        return processing.run(
            "oadg:simulatefacies",
            {
                "OBSERVATIONS": layer,
                "FACIES_FIELD": "facies",
                "EXTENT": EXTENT,
                "CELL_SIZE": CELL,
                "N_REALIZATIONS": 2,
                "QUALITY": "preview",
                **outputs,
                **parameters,
            },
            feedback=log.feedback,
        )

    return run


@pytest.fixture
def fake_engine(monkeypatch, tmp_path_factory):
    """
    An engine that answers at once with maps of the nearest observation (of the first facies, when there is none), and
    keeps the jobs that it was given.

    For what does not depend on the science: parameters, formats, messages, clean-up.
    """
    from oadg.oadg_qgis import models
    from oadg.oadg_qgis.algorithms import simulate_facies as module

    folder = tmp_path_factory.mktemp("engine")
    write_header(folder / "universal.safetensors")
    monkeypatch.setattr(models, "SHIPPED_FOLDER", folder)
    jobs = []

    @contextlib.contextmanager
    def simulate(job, *, arrays, on_progress=None, is_cancelled=lambda: False):
        mask = arrays["mask_path"]
        jobs.append((job, mask))
        on_progress(0.5, "Pass 1 of 2")
        if is_cancelled():
            raise Cancelled("The run was cancelled.")
        yield _fake_result(job, mask, Path(tempfile.mkdtemp(dir=folder)))  # its own, for there may be runs at once

    monkeypatch.setattr(module, "run_job", simulate)
    return jobs


def _fake_result(job, mask, folder: Path) -> SimulationResult:
    started = time.monotonic()
    row, col = np.mgrid[: job.grid.n_rows, : job.grid.n_cols]
    squared = (row[..., None] - np.array(job.row)) ** 2 + (col[..., None] - np.array(job.col)) ** 2
    index = np.zeros(job.grid.shape, dtype=np.uint8)
    if job.class_index:
        index = np.array(job.class_index, dtype=np.uint8)[squared.argmin(axis=-1)]
    n_facies = len(job.facies)
    probability = np.where(index == np.arange(n_facies)[:, None, None], 0.75, 0.25 / (n_facies - 1)).astype(np.float32)
    entropy = -(probability * np.log2(probability)).sum(axis=0)
    outside = np.zeros(job.grid.shape, bool) if mask is None else ~mask
    index[outside], entropy[outside], probability[:, outside] = 255, np.nan, np.nan
    arrays = {"probability": probability, "entropy": entropy, "most_probable": index}
    if job.n_realizations:
        arrays["realizations"] = np.repeat(index[None], job.n_realizations, axis=0)
    paths = {}
    for name, array in arrays.items():
        paths[f"{name}_path"] = str(folder / f"{name}.npy")
        np.save(paths[f"{name}_path"], array)
    return SimulationResult(
        **{"realizations_path": None, **paths},
        mean_entropy_bits=float(np.nanmean(entropy)),
        device="cpu",
        model_id="fake",
        seed=job.seed,
        batch_size=1,
        seconds=time.monotonic() - started,
    )
