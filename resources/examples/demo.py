"""
The demo: install the plugin's zip into a private QGIS profile and simulate the rock types of the Swiss Jura, headless.

    .venv/bin/python resources/examples/demo.py --plugin dist/oadg.zip --output build/demo

Everything goes the way of a user of the command line: `qgis_process` runs `oadg:simulatefacies` on `jura.gpkg`. Then
the realizations are read back and compared with every observation, indicator kriging maps the same cells, and the maps
of both are composed into `map.png`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Tuple

import demo_map
import numpy as np
from osgeo import gdal
from qgis.core import Qgis, QgsApplication, QgsVectorLayer

from oadg.core.contract.ensemble import entropy_bits
from oadg.core.kriging.indicators import choose_by_leave_one_out, indicator_kriging

HERE = Path(__file__).resolve().parent
PACKAGE = HERE / "jura.gpkg"
OUTPUTS = ("REALIZATIONS", "ENTROPY", "PROBABILITIES", "MOST_PROBABLE")
log = logging.getLogger("demo")

Run = Dict[str, Any]


def main() -> None:
    """Install, simulate, check, draw; leave files and a summary in the output folder."""
    parser = argparse.ArgumentParser(description="Run OADG's main job headless in a private QGIS profile.")
    parser.add_argument("--plugin", type=Path, required=True, help="the plugin's zip")
    parser.add_argument("--output", type=Path, required=True, help="folder for the results; it is emptied first")
    parser.add_argument("--realizations", type=int, default=20)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    gdal.UseExceptions()

    shutil.rmtree(arguments.output, ignore_errors=True)
    arguments.output.mkdir(parents=True)
    output = arguments.output.resolve()
    program = find_qgis_process()
    profile = output.parent / "profile"
    os.environ.update(private_profile(profile))  # for QGIS in this process, and for the one that it starts
    application = QgsApplication([], False)
    application.initQgis()
    install(arguments.plugin, profile, program)
    run, seconds = simulate(program, output, arguments.realizations)
    summary = summarize(run, seconds, output)
    (output / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    krige(output)
    demo_map.compose(PACKAGE, output)
    observed = summary["observations"]
    log.info(
        "%d of %d observations honoured in each of %d realizations; %.0f s in all.",
        observed["honoured"], observed["on_grid"], summary["realizations"], seconds,
    )  # fmt: skip
    log.info("==> %s: %s", arguments.output, ", ".join(sorted(path.name for path in output.iterdir())))
    if observed["honoured"] + observed["lost_to_a_conflict"] != observed["on_grid"]:
        raise SystemExit("Some observations are not honoured: see summary.json.")


def find_qgis_process() -> str:
    """Return QGIS's command line program; Debian's wrapper of it does not work, so the program itself comes first."""
    for name in ("qgis_process.bin", "qgis_process"):
        program = shutil.which(name)
        if program:
            return program
    raise SystemExit("qgis_process was not found: install QGIS, for example with `make system`.")


def private_profile(profile: Path) -> Dict[str, str]:
    """Make a fresh QGIS profile, and return the environment in which QGIS uses it, without a screen."""
    shutil.rmtree(profile, ignore_errors=True)
    runtime = profile / "runtime"
    runtime.mkdir(parents=True)
    runtime.chmod(0o700)
    return {
        "QT_QPA_PLATFORM": "offscreen",
        "QGIS_CUSTOM_CONFIG_PATH": str(profile),
        "XDG_RUNTIME_DIR": str(runtime),
        "OADG_ENGINE_PYTHON": sys.executable,
    }


def install(plugin: Path, profile: Path, program: str) -> None:
    """Unpack the plugin into the profile and enable it."""
    log.info("Installing %s into a private QGIS profile.", plugin)
    with zipfile.ZipFile(plugin) as archive:
        archive.extractall(profile / "profiles/default/python/plugins")
    call([program, "plugins", "enable", "oadg"])


def simulate(program: str, output: Path, n_realizations: int) -> Tuple[Run, float]:
    """Run the algorithm; return what `qgis_process` reports and how long it took, its start included."""
    area = QgsVectorLayer(f"{PACKAGE}|layername=survey_area", "survey_area", "ogr")
    extent = area.extent()
    parameters = {
        "OBSERVATIONS": f"{PACKAGE}|layername=observations",
        "FACIES_FIELD": "rock",
        "MASK": f"{PACKAGE}|layername=survey_area",
        "EXTENT": f"{extent.xMinimum()},{extent.xMaximum()},{extent.yMinimum()},{extent.yMaximum()} [EPSG:2056]",
        "CELL_SIZE": 50,
        "QUALITY": "standard",
        "N_REALIZATIONS": n_realizations,
        "SEED": 1,
        **{name: output / f"{name.lower()}.tif" for name in OUTPUTS},
    }
    log.info("Running oadg:simulatefacies on %s: %d realizations.", PACKAGE.name, n_realizations)
    started = time.monotonic()
    command = [program, "--json", "run", "oadg:simulatefacies", "--"]
    text = call(command + [f"{name}={value}" for name, value in parameters.items()])
    seconds = time.monotonic() - started
    return json.loads(text[text.index("{") :]), seconds


def call(command: List[str]) -> str:
    """Run a program and return its standard output; stop with its last words when it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stdout + done.stderr)[-4000:]
        raise SystemExit(f"{' '.join(command[:4])} failed ({done.returncode}):\n{words}")
    return done.stdout


def summarize(run: Run, seconds: float, output: Path) -> Dict[str, Any]:
    """Return the run's declared outputs, the check of the observations, the grid and the versions."""
    raster = gdal.Open(str(output / "realizations.tif"))
    west, cell_size, _, north, _, _ = raster.GetGeoTransform()
    codes = raster.ReadAsArray().reshape(raster.RasterCount, raster.RasterYSize, raster.RasterXSize)
    results = {name: Path(value).name if name in OUTPUTS else value for name, value in sorted(run["results"].items())}
    return {
        "results": results,
        "realizations": len(codes),
        "observations": check_observations(codes, west, north, cell_size),
        "grid": {
            "crs": "EPSG:2056", "west": west, "north": north, "cell_size": cell_size,
            "n_rows": raster.RasterYSize, "n_cols": raster.RasterXSize,
        },
        "seconds": {"qgis_process": round(seconds, 2)},
        "versions": {
            "oadg": installed_version(), "qgis": Qgis.QGIS_VERSION, "gdal": gdal.__version__,
            "python": sys.version.split()[0], "torch": engine_version("torch"), "numpy": np.__version__,
        },
    }  # fmt: skip


def krige(output: Path) -> None:
    """Map the same cells by indicator kriging, with the covariance that leave-one-out chooses, in the same styles."""
    layer = QgsVectorLayer(f"{PACKAGE}|layername=observations", "observations", "ogr")
    points = [(f["rock"], f.geometry().asPoint()) for f in layer.getFeatures()]
    rocks = sorted({rock for rock, _ in points})
    places = np.array([[p.x(), p.y()] for _, p in points])
    class_index = np.array([rocks.index(rock) for rock, _ in points])
    template = gdal.Open(str(output / "most_probable.tif"))
    west, cell_size, _, north, _, _ = template.GetGeoTransform()
    mapped = template.ReadAsArray() != template.GetRasterBand(1).GetNoDataValue()
    row, col = np.nonzero(mapped)
    targets = np.stack([west + (col + 0.5) * cell_size, north - (row + 0.5) * cell_size], axis=1)
    covariances = choose_by_leave_one_out(places, class_index, len(rocks))
    probability = indicator_kriging(places, class_index, targets, covariances, len(rocks))
    entropy = entropy_bits(probability[:, :, None])[:, 0]
    for name, values in (("most_probable", probability.argmax(axis=0) + 1), ("entropy", entropy)):
        copy = gdal.GetDriverByName("GTiff").CreateCopy(
            str(output / f"kriging_{name}.tif"), gdal.Open(str(output / f"{name}.tif"))
        )
        band = copy.GetRasterBand(1)
        cells = band.ReadAsArray()
        cells[mapped] = values
        band.WriteArray(cells)
        shutil.copy(output / f"{name}.qml", output / f"kriging_{name}.qml")


def check_observations(codes: np.ndarray, west: float, north: float, cell_size: float) -> Dict[str, int]:
    """
    Compare every observation with its cell in every realization.

    Text facies get the codes 1, 2 … in the order of their names. Where a cell holds observations of different facies,
    the realizations can honour one of the most frequent only; the others count as lost to a conflict.
    """
    layer = QgsVectorLayer(f"{PACKAGE}|layername=observations", "observations", "ogr")
    observed = [(f["rock"], f.geometry().asPoint()) for f in layer.getFeatures()]
    code = {name: position for position, name in enumerate(sorted({rock for rock, _ in observed}), start=1)}
    held: Dict[Tuple[int, int], List[int]] = {}
    for rock, point in observed:
        cell = int((north - point.y()) // cell_size), int((point.x() - west) // cell_size)
        held.setdefault(cell, []).append(code[rock])
    honoured = lost = 0
    for (row, col), present in held.items():
        simulated = np.unique(codes[:, row, col])
        counts = Counter(present)
        if simulated.size == 1 and counts[int(simulated[0])] == max(counts.values()):
            honoured += counts[int(simulated[0])]
            lost += len(present) - counts[int(simulated[0])]
    return {"on_grid": len(observed), "cells": len(held), "honoured": honoured, "lost_to_a_conflict": lost}


def installed_version() -> str:
    """Return the version in the plugin's metadata."""
    lines = (HERE.parents[1] / "metadata.txt").read_text(encoding="utf-8").splitlines()
    return next(line.split("=", 1)[1].strip() for line in lines if line.startswith("version="))


def engine_version(package: str) -> str:
    """Return the version of a package of the engine's Python, which is the one that runs this demo."""
    from importlib.metadata import version

    return version(package)


if __name__ == "__main__":
    main()
