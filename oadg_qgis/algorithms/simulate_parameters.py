"""The parameters of `oadg:simulatefacies`, each with its help."""

from __future__ import annotations

from typing import Iterator

from qgis.core import (
    QgsProcessing,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterRasterDestination,
)

from ...core.contract.conditioning import ON_CONFLICT
from ...core.contract.job import MAX_REALIZATIONS, QUALITIES
from . import parameters as shared
from .base import tr
from .parameters import Helped, choice, helped, whole_number

AROUND = tr(
    "Observations outside the mapped area (with a mask, outside that) are used, too, up to a quarter of its side away; "
    "less far from a narrow area."
)


def parameters() -> Iterator[QgsProcessingParameterDefinition]:
    """Yield the parameters in the dialog's order, each with its help."""
    without = tr(
        "Without them a model of a training image simulates by itself; an extent (or a mask) is needed then, and a "
        "cell size where the model tells none."
    )
    yield from helped(shared.observations(without))
    yield from helped(area(AROUND))
    yield from helped(shared.cells())
    yield from helped(_settings())
    yield from helped(_advanced(), advanced=True)
    yield from helped(rasters())


def area(elsewhere: str) -> Iterator[Helped]:
    """Yield extent and mask, with a sentence about the observations outside."""
    polygons = [QgsProcessing.SourceType.TypeVectorPolygon]
    yield (
        QgsProcessingParameterExtent("EXTENT", tr("Extent"), optional=True),
        tr(
            "The area to simulate; with a mask, results cover only its part around the mask. By default the area "
            "of the mask; without one that of the observations, padded by 5 % of its longer side. "
        )
        + elsewhere,
    )
    yield (
        QgsProcessingParameterFeatureSource("MASK", tr("Mask"), polygons, optional=True),
        tr(
            "Polygons of the area of interest: cells whose centre lies outside hold nothing in the results, which are "
            "cropped to it; their cells are those that the whole extent would have."
        ),
    )


def _settings() -> Iterator[Helped]:
    yield shared.model()
    yield n_realizations()
    yield (
        choice("QUALITY", tr("Quality"), QUALITIES),
        tr(
            "'standard' for results; 'preview' is faster and rougher; 'fine' simulates few cells together, takes "
            "several times as long, and shows what 'standard' leaves out. What a quality costs a model of a training "
            "image, in bits per cell, is told when it runs."
        ),
    )


def _advanced() -> Iterator[Helped]:
    yield shared.model_file()
    yield on_conflict()
    yield shared.seed(tr("The same seed and parameters give the same maps; another seed gives others."))
    yield shared.device()


def n_realizations() -> Helped:
    """Return the number of realizations."""
    return (
        whole_number("N_REALIZATIONS", tr("Number of realizations"), 20, 0, MAX_REALIZATIONS),
        tr("How many equally likely maps. With 0 only entropy, probabilities and most probable facies are made."),
    )


def on_conflict() -> Helped:
    """Return what to do about different facies in a cell."""
    return (
        choice("ON_CONFLICT", tr("Different facies in a cell"), ON_CONFLICT),
        tr(
            "'majority' keeps the most frequent facies of a cell (in a tie, that of the point nearest to its centre) "
            "and counts the others; 'error' stops."
        ),
    )


def rasters(method: str = "") -> Iterator[Helped]:
    """Yield the results, with the method that makes them in their names, if it is to be told."""
    for name, description, text in (
        ("REALIZATIONS", tr("Realizations"), tr("A band for each realization, with facies codes.")),
        ("ENTROPY", tr("Entropy"), tr("How uncertain the facies is, in bits.")),
        ("PROBABILITIES", tr("Probabilities"), tr("A band for each facies, named after it.")),
        ("MOST_PROBABLE", tr("Most probable facies"), tr("The facies code of highest probability.")),
    ):
        yield QgsProcessingParameterRasterDestination(name, description + method, None, True, True), text
