"""GDAL without its messages on the console, where its answer is looked at anyway."""

from __future__ import annotations

import contextlib
from typing import Iterator

from osgeo import gdal


@contextlib.contextmanager
def quiet_gdal() -> Iterator[None]:
    """Keep GDAL from printing warnings and errors; `gdal.GetLastErrorMsg` still tells them."""
    gdal.PushErrorHandler("CPLQuietErrorHandler")
    try:
        yield
    finally:
        gdal.PopErrorHandler()
