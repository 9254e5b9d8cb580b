"""Observations and what the model said of them while they were hidden, as point features."""

from __future__ import annotations

import contextlib
import traceback
from pathlib import Path
from typing import Iterator, List, Optional

import numpy as np
from osgeo import ogr
from qgis.core import (
    QgsFeature,
    QgsFields,
    QgsGeometry,
    QgsPointXY,
    QgsProcessingUtils,
    QgsVectorFileWriter,
    QgsVectorLayer,
)

from ..core.contract.job import CrossValidationJob, CrossValidationResult
from .layers import Observations
from .quiet import quiet_gdal
from .styles import surprise_style

PROBABILITY_FIELD = "p_observed"
STYLE = surprise_style(PROBABILITY_FIELD)
_OWN = f"observed:string,predicted:string,{PROBABILITY_FIELD}:double,log_loss:double,fold:integer"


def error_fields(of_observations: QgsFields) -> QgsFields:
    """Return our fields, then those of the observations, which are renamed where a name is taken."""
    uri = "&".join(f"field={name}" for name in _OWN.split(","))
    own = QgsVectorLayer(f"Point?{uri}", "", "memory").fields()  # the same in Qt 5 and Qt 6, whose types differ
    others = QgsFields()
    for position in _kept(of_observations):
        others.append(of_observations.at(position))
    return QgsProcessingUtils.combineFields(own, others)


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
    fields, kept = error_fields(of_observations), _kept(of_observations)
    for i, (k, fold) in enumerate(zip(job.class_index, job.fold)):
        own = [names[k], names[predicted[i]], float(probability[k, i]), float(log_loss[i]), fold + 1]
        feature = QgsFeature(fields)
        feature.setAttributes(own + [observations.attributes[i][position] for position in kept])
        feature.setGeometry(QgsGeometry.fromPointXY(QgsPointXY(job.easting[i], job.northing[i])))
        yield feature


@contextlib.contextmanager
def removed_on_failure(path: Optional[Path]) -> Iterator[None]:
    """Remove a file of points, with all that lies beside it, when what is done meanwhile fails."""
    try:
        yield
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)  # they hold the file open
        if path is not None and path.is_file():
            driver = ogr.GetDriverByName(QgsVectorFileWriter.driverForExtension(path.suffix.lstrip(".")))
            with quiet_gdal():
                driver.DeleteDataSource(str(path))
            with contextlib.suppress(FileNotFoundError):
                path.with_suffix(".qml").unlink()
        raise
