"""The demo's own check of the observations, and the commands that the Makefile explains."""

from __future__ import annotations

import importlib
import subprocess
from pathlib import Path

import numpy as np
import pytest
from qgis.core import QgsVectorLayer

ROOT = Path(__file__).resolve().parents[2]
SHAPE, CELL_SIZE = (117, 97), 50.0


@pytest.fixture
def demo(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "resources" / "examples"))
    return importlib.import_module("demo")


@pytest.fixture
def honest(demo):
    """Two realizations that honour the observations, and the corner of their grid."""
    observations = QgsVectorLayer(f"{demo.PACKAGE}|layername=observations", "observations", "ogr")
    extent = QgsVectorLayer(f"{demo.PACKAGE}|layername=survey_area", "survey_area", "ogr").extent()
    west, north = extent.xMinimum(), extent.yMaximum()
    rocks = sorted(observations.uniqueValues(observations.fields().indexFromName("rock")))
    codes = np.ones((2, *SHAPE), dtype=np.uint8)
    for feature in observations.getFeatures():
        point = feature.geometry().asPoint()
        row, col = int((north - point.y()) // CELL_SIZE), int((point.x() - west) // CELL_SIZE)
        codes[:, row, col] = rocks.index(feature["rock"]) + 1
    return codes, west, north, CELL_SIZE


def test_every_observation_is_found_honoured(demo, honest):
    found = demo.check_observations(*honest)
    assert found["honoured"] + found["lost_to_a_conflict"] == found["on_grid"] == 259
    assert found["lost_to_a_conflict"] == 0


def test_one_wrong_cell_in_one_realization_is_found(demo, honest):
    codes, west, north, cell_size = honest
    observed = np.argwhere(codes[0] != 1)[0]
    codes[1][tuple(observed)] = 1
    found = demo.check_observations(codes, west, north, cell_size)
    assert found["honoured"] + found["lost_to_a_conflict"] < found["on_grid"]


def test_help_explains_every_command():
    text = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("help", "env", "demo", "test", "check", "bench", "package", "train-universal", "evaluate-universal"):
        line = next((line for line in text.splitlines() if line.split()[:2] == ["make", target]), "")
        assert len(line.split()) > 3, f"make help says nothing about {target}"
