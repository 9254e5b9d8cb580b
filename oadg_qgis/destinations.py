"""Where results may go: never onto another result, onto what a run reads, or onto a file of vector layers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Mapping, Optional

from osgeo import gdal
from qgis.core import QgsProviderRegistry, QgsVectorLayer

from ..core.errors import JobError
from .quiet import quiet_gdal


def file_of(layer: Optional[QgsVectorLayer]) -> Optional[Path]:
    """Return the file that a layer is read from; None for a layer without one (in memory, in a database)."""
    if layer is None:
        return None
    path = QgsProviderRegistry.instance().decodeUri(layer.providerType(), layer.source()).get("path")
    return Path(path) if path else None


def check_destinations(outputs: Mapping[str, Path], inputs: Mapping[str, Path]) -> None:
    """
    Refuse files for results that would destroy something.

    Parameters
    ----------
    outputs : mapping of str to Path
        The file of each result, by the name of its parameter.
    inputs : mapping of str to Path
        The files that the run reads, likewise.

    Raises
    ------
    JobError
        When a result bears the name of another result or of an input (its extension aside, for a style file has the
        name without it), or when vector layers would be lost.
    """
    read = {_identity(path): (name, path) for name, path in inputs.items()}
    written = {}
    for name, path in outputs.items():
        same = _identity(path)
        if same in written:
            raise JobError(
                f"{written[same]} and {name} are both to be written to {path}, or would share a style file. "
                "Give each a name of its own."
            )
        if same in read:
            other, file = read[same]
            raise JobError(
                f"{name} is to be written to {path}, which would replace {other} ({file}) or its style file. "
                "Choose another name."
            )
        n_layers = _count_vector_layers(path)
        if n_layers:
            raise JobError(
                f"{name} is to be written to {path}, a file with {n_layers} vector layer(s), which would be lost. "
                "Choose another name, or delete the file first."
            )
        written[same] = name


def _identity(path: Path) -> str:
    """Return what is equal for two spellings of one file, and for files that share a style file."""
    return os.path.normcase(os.path.realpath(path.with_suffix("")))


def _count_vector_layers(path: Path) -> int:
    if not path.is_file():
        return 0
    with quiet_gdal():
        try:
            dataset = gdal.OpenEx(str(path), gdal.OF_VECTOR)
        except RuntimeError:  # where another plugin has switched GDAL's exceptions on
            return 0
        return dataset.GetLayerCount() if dataset else 0
