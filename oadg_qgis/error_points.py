"""Observations and what the model said of them while they were hidden, as point features."""

from __future__ import annotations

import contextlib
import os
import shutil
import traceback
import uuid
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional, Sequence

import numpy as np
from osgeo import gdal, ogr
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransformContext,
    QgsFeature,
    QgsFeatureRequest,
    QgsFields,
    QgsGeometry,
    QgsPointXY,
    QgsProcessingUtils,
    QgsVectorFileWriter,
    QgsVectorLayer,
)

from ..core.contract.errors import JobError
from ..core.contract.validation_job import CrossValidationJob, CrossValidationResult
from .crs import to_crs
from .layers import Observations
from .quiet import quiet_gdal
from .styles import surprise_style

PROBABILITY_FIELD = "p_observed"
STYLE = surprise_style(PROBABILITY_FIELD)
_OWN = f"observed:string(0),predicted:string(0),{PROBABILITY_FIELD}:double,log_loss:double,fold:integer"
"""Texts of length 0 may be of any length; without one they end at 255 characters."""
_OF_GEOMETRY = ("geom", "geometry")
"""What formats call their column of geometries, so that no field may have this name."""
_SUFFIXES = (".qml", ".cpg", ".qpj", ".sbn", ".sbx", ".idm", ".ind", ".xsd", ".gfs")
"""Of a style, and of those files of a shapefile or a GML file that GDAL does not count among its own."""
_OFF = 0.1
"""By what share of a cell a format may place a point off."""
_JOURNALS = ("-wal", "-shm", "-journal")
"""What a database that is open in a program has beside it."""


def error_fields(of_observations: QgsFields) -> QgsFields:
    """Return our fields, then those of the observations, which are renamed where a name is taken."""
    uri = "&".join(f"field={name}" for name in (*_OWN.split(","), *_OF_GEOMETRY))
    taken = QgsVectorLayer(f"Point?{uri}", "", "memory").fields()  # the same in Qt 5 and Qt 6, whose types differ
    others = QgsFields()
    for position in _kept(of_observations):
        others.append(of_observations.at(position))
    fields = QgsProcessingUtils.combineFields(taken, others)
    for name in _OF_GEOMETRY:
        fields.remove(fields.indexOf(name))
    return fields


def _kept(of_observations: QgsFields) -> List[int]:
    """Return the positions of the fields that are kept: all but a file's own count of its rows, which is not theirs."""
    return [i for i, name in enumerate(of_observations.names()) if name.lower() != "fid"]


def error_features(
    observations: Observations,
    of_observations: QgsFields,
    job: CrossValidationJob,
    result: CrossValidationResult,
) -> Iterator[QgsFeature]:
    """
    Yield a feature for each observation.

    Parameters
    ----------
    observations : Observations
        With their attributes.
    of_observations : QgsFields
        The fields of these.
    job, result : CrossValidationJob, CrossValidationResult
        What was asked, and what came of it; its files are still there.
    """
    probability = np.load(result.probability_path).astype(float)
    log_loss = np.load(result.log_loss_path).astype(float)
    predicted, names = probability.argmax(axis=0), job.facies.names
    feature_of = _feature_maker(observations, of_observations)
    for i, (k, fold) in enumerate(zip(job.class_index, job.fold)):
        yield feature_of(i, [names[k], names[predicted[i]], float(probability[k, i]), float(log_loss[i]), fold + 1])


def trial_features(observations: Observations, of_observations: QgsFields, names: Sequence[str]) -> List[QgsFeature]:
    """Return features such as `error_features` yields, with the longest of the facies' names, before all is known."""
    feature_of, longest = _feature_maker(observations, of_observations), max(names, key=len)
    return [feature_of(i, [longest, longest, 0.0, 0.0, 0]) for i in range(len(observations.values))]


def lost_of_places(
    path: str,
    first: QgsFeature,
    crs: QgsCoordinateReferenceSystem,
    cell_size: float,
    transform_context: QgsCoordinateTransformContext,
) -> str:
    """
    Return in words what a file has lost of where its points are; empty when nothing, or it cannot be read at all.

    Parameters
    ----------
    path : str
        The file.
    first : QgsFeature
        What was written to it first.
    crs : QgsCoordinateReferenceSystem
        In which it was written; the file may have another one.
    cell_size : float
        Of the grid, in units of that; by a tenth of it a point may be off.
    transform_context : QgsCoordinateTransformContext
        How to transform.
    """
    layer = QgsVectorLayer(path, "", "ogr")
    if not layer.isValid():
        return ""
    if not layer.isSpatial():
        return "holds a table without the positions of the points"
    if crs.isValid() and not layer.crs().isValid():
        return "does not keep the coordinate reference system"
    request = to_crs(QgsFeatureRequest(), layer, crs, transform_context) if crs.isValid() else QgsFeatureRequest()
    point = next((feature.geometry() for feature in layer.getFeatures(request)), QgsGeometry())
    is_kept = not point.isEmpty() and point.distance(first.geometry()) <= _OFF * cell_size
    return "" if is_kept else "moves the points"


def _feature_maker(observations: Observations, of_observations: QgsFields) -> Callable[[int, List[Any]], QgsFeature]:
    """Return what makes a feature of an observation, by its number, and of the values of our fields."""
    fields, kept = error_fields(of_observations), _kept(of_observations)

    def make(i: int, own: List[Any]) -> QgsFeature:
        feature = QgsFeature(fields)
        feature.setAttributes(own + [observations.attributes[i][position] for position in kept])
        place = QgsPointXY(float(observations.easting[i]), float(observations.northing[i]))
        feature.setGeometry(QgsGeometry.fromPointXY(place))
        return feature

    return make


@contextlib.contextmanager
def in_place_of_older(path: Optional[Path]) -> Iterator[None]:
    """
    Have a file of points written in place of an older one; when that fails, all is as it was before.

    Parameters
    ----------
    path : Path or None
        The file; None for points that go elsewhere.

    Raises
    ------
    JobError
        When an older file cannot be replaced.
    """
    if path is None:
        yield
        return
    aside = path.with_name(f".oadg-{uuid.uuid4().hex[:8]}")
    _put_aside(path, aside)
    try:
        yield
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)  # they hold the file open
        _remove(path)
        _put_back(aside)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _put_aside(path: Path, aside: Path) -> None:
    """Move an older file of points, with all that belongs to it, into a folder beside it."""
    try:
        aside.mkdir()
        for file in _files_at(path):
            os.replace(file, aside / file.name)
    except OSError as error:
        _put_back(aside)
        raise JobError(
            f"The file {path} cannot be replaced: {error.strerror}. Is it open in a program? Close it (in QGIS, remove "
            "its layer), or choose another name. All files are as they were before."
        ) from error


def _put_back(aside: Path) -> None:
    """Move what was put aside to where it was."""
    with contextlib.suppress(OSError):  # what cannot be moved stays in the folder
        for file in aside.iterdir():
            os.replace(file, aside.with_name(file.name))
        aside.rmdir()


def _files_at(path: Path) -> List[Path]:
    """Return what is there of a file of points: all files that its format has, its style, and its journals."""
    parts: List[str] = []
    if path.is_file():
        with quiet_gdal(), contextlib.suppress(RuntimeError):  # where another plugin has switched GDAL's exceptions on
            dataset = gdal.OpenEx(str(path), gdal.OF_VECTOR)
            parts = (dataset.GetFileList() or []) if dataset else []
            del dataset  # closes it
    beside = [*(path.with_suffix(suffix) for suffix in _SUFFIXES), *(Path(f"{path}{end}") for end in _JOURNALS)]
    files = {path, *beside, *map(Path, parts)}
    return [file for file in files if file.exists() and file.parent == path.parent]


def _remove(path: Path) -> None:
    """Remove a file of points, with all that lies beside it."""
    if path.is_file():
        driver = ogr.GetDriverByName(QgsVectorFileWriter.driverForExtension(path.suffix.lstrip(".")))
        with quiet_gdal():
            driver.DeleteDataSource(str(path))
    for file in _files_at(path):
        with contextlib.suppress(OSError):  # what a program has open
            file.unlink()
