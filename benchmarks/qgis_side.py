"""
What a user of QGIS waits for: `python -m benchmarks.qgis_side`.

Jura, 117 x 97 cells, 5 facies, in a fresh QGIS profile that holds this checkout: a cold `qgis_process` run; the
engine's start, warm runs through the engine client, the engine's memory, how soon a cancelled caller is free, and how
long QGIS's main thread is held up by `prepareAlgorithm`, its part of a run before the results are loaded.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from benchmarks.jura import EXAMPLE, ROOT, jura_job

PROFILE = Path(tempfile.mkdtemp(prefix="oadg-benchmark-"))
(PROFILE / "plugins").mkdir()
(PROFILE / "plugins" / "oadg").symlink_to(ROOT, target_is_directory=True)
os.environ.update(
    QT_QPA_PLATFORM="offscreen",
    QGIS_CUSTOM_CONFIG_PATH=str(PROFILE),
    QGIS_PLUGINPATH=str(PROFILE / "plugins"),
    XDG_RUNTIME_DIR=str(PROFILE),
    OADG_ENGINE_PYTHON=sys.executable,
)

PROGRAM = shutil.which("qgis_process.bin") or shutil.which("qgis_process") or "qgis_process"

import numpy as np  # noqa: E402
from qgis.core import (  # noqa: E402
    QgsApplication,
    QgsFeature,
    QgsGeometry,
    QgsPointXY,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsVectorLayer,
)

from oadg.core.contract.errors import Cancelled  # noqa: E402 - QGIS reads the environment when it is imported
from oadg.oadg_qgis.algorithms.simulate_facies import SimulateFacies  # noqa: E402
from oadg.oadg_qgis.engine_client import close_idle_engines, engine_status  # noqa: E402
from oadg.oadg_qgis.engine_jobs import run_job  # noqa: E402


def row(what: str, seconds: float) -> None:
    """Print a line of the table."""
    print(f"{what:<56}{seconds:>9.3f} s")


def cold_run(n_realizations: int) -> float:
    """Return the wall time of a `qgis_process` run, from nothing."""
    parameters = {
        "OBSERVATIONS": f"{EXAMPLE}|layername=observations",
        "FACIES_FIELD": "rock",
        "MASK": f"{EXAMPLE}|layername=survey_area",
        "CELL_SIZE": 50,
        "N_REALIZATIONS": n_realizations,
        **{name: PROFILE / f"{name}.tif" for name in ("REALIZATIONS", "ENTROPY", "PROBABILITIES", "MOST_PROBABLE")},
    }
    command = [PROGRAM, "run", "oadg:simulatefacies", "--", *(f"{name}={value}" for name, value in parameters.items())]
    began = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - began


def engine_run(n_realizations: int) -> float:
    """Return the wall time of a job through the engine client, a warm engine's if there is one."""
    job, _ = jura_job("", n_realizations=n_realizations)
    began = time.perf_counter()
    with run_job(job):
        pass
    return time.perf_counter() - began


def cancel_latency() -> float:
    """Return how long a caller waits after it has cancelled in mid-run."""
    job, _ = jura_job("", n_realizations=20)
    cancelled_at = time.perf_counter() + 1.5  # a moment between two looks of the client
    with suppress(Cancelled), run_job(replace(job, seed=3), is_cancelled=lambda: time.perf_counter() > cancelled_at):
        pass
    return time.perf_counter() - cancelled_at


def many_points(n_points: int) -> QgsVectorLayer:
    """Return a layer in memory of random points and facies, 10 km wide."""
    layer = QgsVectorLayer("Point?crs=EPSG:2056&field=rock:string", "many", "memory")
    features, places = [], np.random.default_rng(0).random((n_points, 2)) * 10_000
    for number, (east, north) in enumerate(places):
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromPointXY(QgsPointXY(2_550_000 + east, 1_210_000 + north)))
        feature.setAttribute("rock", "ABCDE"[number % 5])
        features.append(feature)
    layer.dataProvider().addFeatures(features)
    return layer


def prepare(layer: QgsVectorLayer) -> float:
    """Return how long the main thread prepares a run."""
    context, feedback, algorithm = QgsProcessingContext(), QgsProcessingFeedback(), SimulateFacies().create()
    parameters = {"OBSERVATIONS": layer, "FACIES_FIELD": "rock", "CELL_SIZE": 50, "ENTROPY": "TEMPORARY_OUTPUT"}
    began = time.perf_counter()
    algorithm.prepare(parameters, context, feedback)
    taken = time.perf_counter() - began
    algorithm.raise_problem()  # what it objects to waits there
    return taken


def main() -> None:
    """Print the table."""
    subprocess.run([PROGRAM, "plugins", "enable", "oadg"], capture_output=True, check=True)
    application = QgsApplication([], False)
    application.initQgis()
    try:
        row("main thread: prepare, Jura", prepare(QgsVectorLayer(f"{EXAMPLE}|layername=observations", "jura", "ogr")))
        row("main thread: prepare, 100,000 points", prepare(many_points(100_000)))
        row("cold qgis_process run, 20 standard realizations", cold_run(20))
        row("cold qgis_process run, probabilities only", cold_run(0))
        row("engine: cold start and status", _timed(engine_status))
        row("engine: warm status", _timed(engine_status))
        row("engine: probabilities only, first job", engine_run(0))
        row("engine: probabilities only, warm", min(engine_run(0) for _ in range(3)))
        row("engine: 20 standard realizations, warm", engine_run(20))
        print(f"{'engine: memory afterwards':<56}{engine_status()['memory_mb']:>9.0f} MB")
        row("cancel in mid-run until the caller is free", cancel_latency())
    finally:
        close_idle_engines()
        shutil.rmtree(PROFILE, ignore_errors=True)


def _timed(call) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
