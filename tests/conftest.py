"""What all tests share: their Python is the engine's too, and properties are tested without a stopwatch."""

from __future__ import annotations

import os
import sys

from hypothesis import settings

os.environ.setdefault("OADG_ENGINE_PYTHON", sys.executable)

settings.register_profile("oadg", deadline=None, print_blob=True)
settings.load_profile("oadg")
