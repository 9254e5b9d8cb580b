"""The parameters of `oadg:simulatefacies`, each with its help."""

from __future__ import annotations

from typing import Iterator, Tuple

from qgis.core import (
    QgsProcessing,
    QgsProcessingParameterCrs,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterDistance,
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterFile,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
)

from ...core.conditioning import ON_CONFLICT
from ...core.job import MAX_REALIZATIONS, QUALITIES
from ..models import SUFFIX, installed_models, user_folder
from .base import tr

DEVICES = ("auto", "cpu", "cuda", *(f"cuda:{number}" for number in range(8)), "mps")
MAX_SEED = 2**31 - 1

Helped = Tuple[QgsProcessingParameterDefinition, str]


def parameters() -> Iterator[QgsProcessingParameterDefinition]:
    """Yield the parameters in the dialog's order, each with its help."""
    for parameter, text in _inputs():
        yield _with_help(parameter, text)
    for parameter, text in _settings():
        yield _with_help(parameter, text)
    for parameter, text in _advanced():
        parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.Flag.FlagAdvanced)
        yield _with_help(parameter, text)
    for parameter, text in _rasters():
        yield _with_help(parameter, text)


def _with_help(parameter: QgsProcessingParameterDefinition, text: str) -> QgsProcessingParameterDefinition:
    parameter.setHelp(text)
    return parameter


def _inputs() -> Iterator[Helped]:
    points = [QgsProcessing.SourceType.TypeVectorPoint]
    polygons = [QgsProcessing.SourceType.TypeVectorPolygon]
    yield (
        QgsProcessingParameterFeatureSource("OBSERVATIONS", tr("Observations"), points),
        tr("Points with an observed facies: boreholes at one depth, outcrops, soil pits."),
    )
    yield (
        QgsProcessingParameterField("FACIES_FIELD", tr("Facies field"), None, "OBSERVATIONS"),
        tr("The field with the facies: text or whole numbers. Observations where it is empty are skipped."),
    )
    yield (
        QgsProcessingParameterExtent("EXTENT", tr("Extent"), optional=True),
        tr(
            "The area to simulate; with a mask, results cover only its part around the mask. By default the area "
            "of the mask; without one that of the observations, padded by 5 %."
        ),
    )
    yield (
        QgsProcessingParameterFeatureSource("MASK", tr("Mask"), polygons, optional=True),
        tr(
            "Polygons of the area of interest: cells whose centre lies outside hold nothing in the results and are not "
            "computed. Results are cropped to the mask; their cells are those that the whole extent would have."
        ),
    )
    yield (
        QgsProcessingParameterDistance("CELL_SIZE", tr("Cell size"), None, "OBSERVATIONS", optional=True),
        tr("Side of a cell, in units of the CRS. By default it follows from the distance between observations."),
    )
    yield (
        QgsProcessingParameterCrs("CRS", tr("CRS of the results"), optional=True),
        tr("A projected coordinate reference system. By default that of the observations."),
    )


def _settings() -> Iterator[Helped]:
    models = list(installed_models())
    yield (
        _choice("MODEL", tr("Model"), models),
        tr(
            "The model that has learnt how facies lie together. The universal one fits itself to the observations. "
            "Other models are found in {}."
        ).format(user_folder()),
    )
    yield (
        QgsProcessingParameterNumber(
            "N_REALIZATIONS",
            tr("Number of realizations"),
            QgsProcessingParameterNumber.Type.Integer,
            20,
            minValue=0,
            maxValue=MAX_REALIZATIONS,
        ),
        tr("How many equally likely maps. With 0 only entropy, probabilities and most probable facies are made."),
    )
    yield (
        _choice("QUALITY", tr("Quality"), QUALITIES),
        tr("'standard' for results; 'preview' is faster and rougher."),
    )


def _advanced() -> Iterator[Helped]:
    yield (
        QgsProcessingParameterFile("MODEL_FILE", tr("Model file"), extension=SUFFIX.lstrip("."), optional=True),
        tr("A model file that is used instead of the installed model."),
    )
    yield (
        _choice("ON_CONFLICT", tr("Different facies in a cell"), ON_CONFLICT),
        tr(
            "'majority' keeps the most frequent facies of a cell (in a tie, that of the point nearest to its centre) "
            "and counts the others; 'error' stops."
        ),
    )
    yield (
        QgsProcessingParameterNumber(
            "SEED", tr("Seed"), QgsProcessingParameterNumber.Type.Integer, 0, minValue=0, maxValue=MAX_SEED
        ),
        tr("The same seed and parameters give the same maps; another seed gives others."),
    )
    yield (
        _choice("DEVICE", tr("Device"), DEVICES),
        tr(
            "What computes: 'auto' takes an NVIDIA graphics processor (CUDA) when there is one, else the processor "
            "('cpu'). With several of them, 'cuda:0' is the first. 'mps' is Apple's."
        ),
    )


def _rasters() -> Iterator[Helped]:
    for name, description, text in (
        ("REALIZATIONS", tr("Realizations"), tr("A band for each realization, with facies codes.")),
        ("ENTROPY", tr("Entropy"), tr("How uncertain the facies is, in bits.")),
        ("PROBABILITIES", tr("Probabilities"), tr("A band for each facies, named after it.")),
        ("MOST_PROBABLE", tr("Most probable facies"), tr("The facies code of highest probability.")),
    ):
        yield QgsProcessingParameterRasterDestination(name, description, None, True, True), text


def _choice(name: str, description: str, options) -> QgsProcessingParameterEnum:
    """Return a choice among texts, which scripts and the command line name as they are; the first is the default."""
    return QgsProcessingParameterEnum(
        name, description, list(options), defaultValue=next(iter(options)), usesStaticStrings=True
    )
