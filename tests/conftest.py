"""What all tests share: their Python is the engine's too, and properties are tested without a stopwatch."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("OADG_ENGINE_PYTHON", sys.executable)
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in the engine: on a busy machine threads that spin starve

settings.register_profile("oadg", deadline=None, print_blob=True)
settings.load_profile("oadg")


@pytest.fixture(scope="session")
def loopback():
    """The module of the hub on this computer."""
    place = Path(__file__).with_name("hubs") / "loopback.py"
    spec = importlib.util.spec_from_file_location("loopback", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def hub(loopback):
    """A hub on this computer, empty and well-behaved."""
    started = loopback.Hub()
    yield started
    started.close()
