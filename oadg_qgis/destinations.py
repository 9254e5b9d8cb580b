"""Where results may go: never onto another result, onto what a run reads, or onto a file of vector layers."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import Any, Collection, Mapping, Optional

from osgeo import gdal
from qgis.core import (
    QgsDataSourceUri,
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingOutputLayerDefinition,
    QgsProviderRegistry,
    QgsVectorFileWriter,
    QgsVectorLayer,
)

from ..core.errors import JobError
from .quiet import quiet_gdal

_STYLELESS = (".html", ".htm")
_NO_FILE = ("memory:", "postgis:", "postgres:", "spatialite:", "mssql:")


def file_of(layer: Optional[QgsVectorLayer]) -> Optional[Path]:
    """Return the file that a layer is read from; None for a layer without one (in memory, in a database)."""
    if layer is None:
        return None
    path = QgsProviderRegistry.instance().decodeUri(layer.providerType(), layer.source()).get("path")
    return Path(path) if path else None


def sink_of(value: Any, context: QgsProcessingContext) -> str:
    """Return what is asked of a feature sink, as text: a file, `ogr:…` for a table of a file, `memory:` …, or ''."""
    if isinstance(value, QgsProcessingOutputLayerDefinition):
        value, _ = value.sink.valueAsString(context.expressionContext())
    return str(value or "")


def file_of_sink(sink: str) -> Optional[Path]:
    """Return the file that a feature sink makes as a whole, by its text; None for a table or a layer in memory."""
    is_file = sink and sink != QgsProcessing.TEMPORARY_OUTPUT and not sink.startswith(("ogr:", *_NO_FILE))
    return Path(sink) if is_file else None


def check_format(name: str, path: Path) -> None:
    """Raise `JobError` when no format of vector layers belongs to a file's extension."""
    if not QgsVectorFileWriter.driverForExtension(path.suffix.lstrip(".")):
        raise JobError(
            f"{name} is to be written to {path}, but {path.suffix or 'no extension'} is no format of vector layers "
            "that can be written. Choose GeoPackage (.gpkg)."
        )


def check_table(name: str, sink: str, layer: QgsVectorLayer) -> None:
    """Raise `JobError` when a sink, by its text, is the very table that a layer is read from."""
    if not sink.startswith("ogr:"):
        return
    target = QgsDataSourceUri(sink[len("ogr:") :])
    source = QgsProviderRegistry.instance().decodeUri(layer.providerType(), layer.source())
    same_file = "path" in source and os.path.realpath(target.database()) == os.path.realpath(source["path"])
    if same_file and source.get("layerName") in (None, "", target.table()):
        raise JobError(
            f"{name} is to be written to the table {target.table()!r} of {target.database()}, which may be the one "
            "that the observations are read from. Choose another name for the table."
        )


def check_writable(outputs: Mapping[str, Path]) -> None:
    """Raise `JobError` when the place of a result is a folder, or its folder cannot be written to."""
    for name, path in outputs.items():
        reason = "it is a folder" if path.is_dir() else ""
        try:
            with tempfile.TemporaryFile(dir=path.parent):
                pass
        except OSError as error:
            reason = error.strerror or str(error)
        if reason:
            raise JobError(f"{name} cannot be written to {path}: {reason}. Choose a folder in which you may write.")


def put_in_place(source: str, target: Path) -> None:
    """Copy a file to its place, whole or not at all, in place of an older one."""
    staged = target.with_name(f"{target.name}.oadg-{uuid.uuid4().hex[:8]}")
    try:
        shutil.copyfile(source, staged)
        os.replace(staged, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            staged.unlink()
        raise JobError(
            f"The file {target} cannot be written: {error.strerror}. Is it open in a program, or the disk full? "
            "Choose another name or folder."
        ) from error


def check_destinations(
    outputs: Mapping[str, Path], inputs: Mapping[str, Path], *, layers: Collection[str] = ()
) -> None:
    """
    Refuse files for results that would destroy something.

    Parameters
    ----------
    outputs : mapping of str to Path
        The file of each result, by the name of its parameter.
    inputs : mapping of str to Path
        The files that the run reads, likewise.
    layers : collection of str
        Names of the results that are vector layers: they may replace a file with one.

    Raises
    ------
    JobError
        When a result bears the name of another result or of an input (its extension aside, for a style file has the
        name without it), when other vector layers or the style of one would be lost, or for a place of GDAL's own.
    """
    read = {_identity(path): (name, path) for name, path in inputs.items()}
    written = {}
    for name, path in outputs.items():
        if path.as_posix().startswith("/vsi"):
            raise JobError(f"{name} is to be written to {path}, which is no file on a disk. Choose a file in a folder.")
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
        owner = _owner_of_style(path)
        if owner:
            raise JobError(
                f"{name} is to be written to {path}, whose style file would replace the style of {owner}. "
                "Choose another name."
            )
        n_layers = _count_vector_layers(path)
        if n_layers > (name in layers):
            raise JobError(
                f"{name} is to be written to {path}, a file with {n_layers} vector layer(s), which would be lost. "
                "Choose another name, or delete the file first."
            )
        written[same] = name


def _identity(path: Path) -> str:
    """Return what is equal for two spellings of one file, and for files that share a style file."""
    is_styleless = path.suffix.lower() in _STYLELESS
    return os.path.normcase(os.path.realpath(path if is_styleless else path.with_suffix("")))


def _owner_of_style(path: Path) -> Optional[Path]:
    """Return the file of another layer that has the style file of a new raster; None if there is no such."""
    if path.suffix.lower() in _STYLELESS or path.exists() or not path.with_suffix(".qml").exists():
        return None
    beside = (file for file in path.parent.iterdir() if file.stem == path.stem and file.suffix.lower() != ".qml")
    return min(beside, default=None)


def _count_vector_layers(path: Path) -> int:
    if not path.is_file():
        return 0
    with quiet_gdal():
        try:
            dataset = gdal.OpenEx(str(path), gdal.OF_VECTOR)
        except RuntimeError:  # where another plugin has switched GDAL's exceptions on
            return 0
        return dataset.GetLayerCount() if dataset else 0
