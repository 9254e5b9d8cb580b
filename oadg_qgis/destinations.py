"""Where results may go: never onto another result, onto what a run reads, or onto a file of vector layers."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import Any, Collection, Dict, List, Mapping, Optional, Tuple

from osgeo import gdal
from qgis.core import (
    QgsDataSourceUri,
    QgsMapLayer,
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingOutputLayerDefinition,
    QgsProviderRegistry,
    QgsVectorFileWriter,
    QgsVectorLayer,
)

from ..core.contract.errors import JobError
from ..core.contract.words import counted
from .quiet import quiet_gdal

_STYLELESS = (".html", ".htm", ".safetensors")
"""Extensions of pages and models, which have no style file."""
_DATABASES = ("postgis:", "postgres:", "spatialite:", "mssql:")
_UNDESCRIBED = ("LIBKML",)
"""Formats of vector layers that QGIS writes to files of any extension of theirs, and tells nothing of."""
_NO_FILE = ("memory:", *_DATABASES)


def file_of(layer: Optional[QgsMapLayer]) -> Optional[Path]:
    """Return the file that a layer is read from; None for a layer without one (in memory, in a database)."""
    if layer is None:
        return None
    path = QgsProviderRegistry.instance().decodeUri(layer.providerType(), layer.source()).get("path")
    return Path(path) if path and os.path.exists(path) else None


def files_of(name: str, layer: Optional[QgsMapLayer], context: QgsProcessingContext) -> Dict[str, Path]:
    """Return the files that a parameter's layer is read from: its own, those joined to it, and those it is made of."""
    files = {name: file_of(layer)}
    for number, other in enumerate(_layers_behind(layer, context), 1):
        called = f"{name}, {other.name()}"
        files[f"{called}, {number}" if called in files else called] = file_of(other)  # several may have one name
    return {what: path for what, path in files.items() if path is not None}


def _layers_behind(layer: Optional[QgsMapLayer], context: QgsProcessingContext) -> List[QgsMapLayer]:
    """Return the layers that are joined to a vector layer, and those that a virtual one is a query of."""
    if not isinstance(layer, QgsVectorLayer):
        return []
    queried = [context.getMapLayer(dependency.layerId()) for dependency in layer.dataProvider().dependencies()]
    joined = [join.joinLayer() for join in layer.vectorJoins()]
    return [behind for behind in (*queried, *joined) if behind is not None]


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
    """Raise `JobError` unless a file's extension is that which QGIS gives to files of a format of vector layers."""
    extension = path.suffix.lstrip(".").lower()
    driver, format_ = QgsVectorFileWriter.driverForExtension(extension), QgsVectorFileWriter.MetaData()
    if driver in _UNDESCRIBED:
        return
    known = QgsVectorFileWriter.driverMetadata(driver, format_)
    if not known or format_.ext != extension:
        is_own = known and format_.ext and QgsVectorFileWriter.driverForExtension(format_.ext) == driver
        instead = f"{format_.longName} (.{format_.ext}) or GeoPackage" if is_own else "GeoPackage"
        raise JobError(
            f"{name} is to be written to {path}, but {path.suffix or 'no extension'} is no extension of vector layers "
            f"that QGIS writes. Choose {instead} (.gpkg)."
        )


def check_table(name: str, sink: str, layer: QgsVectorLayer) -> None:
    """Raise `JobError` when a sink, by its text, is the very table that a layer is read from."""
    provider, _, uri = sink.partition(":")
    if provider not in ("ogr", *(kind.rstrip(":") for kind in _DATABASES)):
        return
    target = QgsDataSourceUri(uri)
    source = QgsProviderRegistry.instance().decodeUri(layer.providerType(), layer.source())
    database = source.get("path") or source.get("dbname")
    same_database = database and os.path.realpath(target.database()) == os.path.realpath(database)
    same_place = all(source.get(part) in (None, "", where) for part, where in _places_of(target).items())
    if same_database and same_place:
        raise JobError(
            f"{name} is to be written to the table {target.table()!r} of {target.database()}, which may be the one "
            "that the observations are read from. Choose another name for the table."
        )


def _places_of(target: QgsDataSourceUri) -> Mapping[str, str]:
    """Return what else tells tables of one database apart, by QGIS's names of it in a decoded source."""
    table = target.table()
    return {"layerName": table, "table": table, "schema": target.schema(), "host": target.host(), "port": target.port()}


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


def remedy_of(error: OSError, otherwise: str) -> str:
    """Return what helps when a file cannot be moved to its place: a shorter name where that is it, else other words."""
    return "Choose a shorter name." if error.errno == errno.ENAMETOOLONG else otherwise


def put_in_place(source: str, target: Path) -> None:
    """Copy a file to its place, whole or not at all, in place of an older one."""
    staged = target.with_name(f".oadg-{uuid.uuid4().hex[:8]}")  # a longer name may be too long
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
        try:
            path.is_symlink()
        except OSError as error:
            raise JobError(
                f"{name} cannot be written to {path}: {error.strerror}. "
                f"{remedy_of(error, 'Choose another name or folder.')}"
            ) from error
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
        n_vector, n_raster = _count_layers(path)
        may_replace = (1, 0) if name in layers else (0, 1)  # its own result of an earlier run
        if n_vector > may_replace[0] or n_raster > may_replace[1]:
            found = {"vector layer": n_vector, "raster": n_raster}
            told = " and ".join(counted(number, what) for what, number in found.items() if number)
            raise JobError(
                f"{name} is to be written to {path}, a file with {told}, which would be lost. "
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


def _count_layers(path: Path) -> Tuple[int, int]:
    """Return how many vector layers and rasters a file holds."""
    if not path.is_file():
        return 0, 0
    with quiet_gdal():
        vector, raster = (_opened(path, kind) for kind in (gdal.OF_VECTOR, gdal.OF_RASTER))
        tables = raster.GetSubDatasets() if raster else []
        return (vector.GetLayerCount() if vector else 0), len(tables) or int(raster is not None)


def _opened(path: Path, kind: int) -> Optional[gdal.Dataset]:
    try:
        return gdal.OpenEx(str(path), kind)
    except RuntimeError:  # where another plugin has switched GDAL's exceptions on
        return None
