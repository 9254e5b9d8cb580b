"""Parameters that several algorithms have, each with its help."""

from __future__ import annotations

from typing import Iterable, Iterator, Optional, Tuple

from qgis.core import (
    QgsProcessing,
    QgsProcessingParameterCrs,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterNumber,
)

from ..models import SUFFIX, installed_models, user_folder
from .base import tr

DEVICES = ("auto", "cpu", "cuda", *(f"cuda:{number}" for number in range(8)))
MAX_SEED = 2**31 - 1

Helped = Tuple[QgsProcessingParameterDefinition, str]


def helped(pairs: Iterable[Helped], *, advanced: bool = False) -> Iterator[QgsProcessingParameterDefinition]:
    """Yield each parameter with its help in it; advanced ones are folded away in the dialog."""
    for parameter, text in pairs:
        parameter.setHelp(text)
        if advanced:
            parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.Flag.FlagAdvanced)
        yield parameter


def choice(name: str, description: str, options: Iterable[str]) -> QgsProcessingParameterEnum:
    """Return a choice among texts, which scripts and the command line name as they are; the first is the default."""
    texts = list(options)
    return QgsProcessingParameterEnum(name, description, texts, defaultValue=texts[0], usesStaticStrings=True)


def whole_number(name: str, description: str, default: int, least: int, most: int) -> QgsProcessingParameterNumber:
    """Return a whole number within bounds."""
    kind = QgsProcessingParameterNumber.Type.Integer
    return QgsProcessingParameterNumber(name, description, kind, default, minValue=least, maxValue=most)


def number(
    name: str, description: str, default: float, least: float, most: Optional[float] = None, *, decimals: int
) -> QgsProcessingParameterNumber:
    """Return a number within bounds, with so many decimals in the dialog."""
    kind = QgsProcessingParameterNumber.Type.Double
    parameter = QgsProcessingParameterNumber(name, description, kind, default, minValue=least)
    if most is not None:
        parameter.setMaximum(most)
    parameter.setMetadata({"widget_wrapper": {"decimals": decimals}})
    return parameter


def length(name: str, description: str) -> QgsProcessingParameterNumber:
    """
    Return an optional length in units of the results' CRS.

    No distance of QGIS's: that counts in units of a layer, or of a CRS that is given, and the results' may be neither.
    """
    kind = QgsProcessingParameterNumber.Type.Double
    parameter = QgsProcessingParameterNumber(name, description, kind, None, optional=True)
    parameter.setMetadata({"widget_wrapper": {"decimals": 4}})
    return parameter


def observations(without: str = "") -> Iterator[Helped]:
    """Yield the layer of observations and its field of facies, optional when it is told what is done without them."""
    points = [QgsProcessing.SourceType.TypeVectorPoint]
    optional = bool(without)
    yield (
        QgsProcessingParameterFeatureSource("OBSERVATIONS", tr("Observations"), points, optional=optional),
        " ".join([tr("Points with an observed facies: boreholes at one depth, outcrops, soil pits."), without]).strip(),
    )
    yield (
        QgsProcessingParameterField("FACIES_FIELD", tr("Facies field"), None, "OBSERVATIONS", optional=optional),
        tr("The field with the facies: text or whole numbers. Observations where it is empty are skipped."),
    )


def cells(of_model: bool = True) -> Iterator[Helped]:
    """Yield the size of a cell, which may be that of a model's image, and the coordinate reference system."""
    default = tr("By default it follows from the distance between observations.")
    if of_model:
        default = tr(
            "By default that of the model's training image, where the model tells one; otherwise it follows from the "
            "distance between observations."
        )
    yield (
        length("CELL_SIZE", tr("Cell size (units of the CRS)")),
        " ".join([tr("Side of a cell, in units of the CRS."), default]),
    )
    yield (
        QgsProcessingParameterCrs("CRS", tr("CRS of the results"), optional=True),
        tr(
            "A projected coordinate reference system. By default that of the observations; where they have none, that "
            "of the extent or the mask."
        ),
    )


def model() -> Helped:
    """Return the choice of an installed model."""
    text = tr(
        "The model that has learnt how facies lie together. The universal one fits itself to the observations. "
        "Other models are found in {}."
    )
    return choice("MODEL", tr("Model"), installed_models()), text.format(user_folder())


def model_of_image() -> Helped:
    """Return the choice of an installed model of an image; the universal one, which is none, comes last."""
    universal, *others = installed_models()
    text = tr("The model that was trained on the image. Yours are found in {}.")
    return choice("MODEL", tr("Model"), [*others, universal]), text.format(user_folder())


def model_file() -> Helped:
    """Return the file of a model that is not installed."""
    return (
        QgsProcessingParameterFile("MODEL_FILE", tr("Model file"), extension=SUFFIX.lstrip("."), optional=True),
        tr("A model file that is used instead of the installed model."),
    )


def seed(text: str) -> Helped:
    """Return the seed; the text tells what depends on it."""
    return whole_number("SEED", tr("Seed"), 0, 0, MAX_SEED), text


def device() -> Helped:
    """Return the choice of a device."""
    return choice("DEVICE", tr("Device"), DEVICES), tr(
        "What computes: 'auto' takes an NVIDIA graphics processor (CUDA) when there is one, else the processor "
        "('cpu'). With several of them, 'cuda:0' is the first."
    )


def report(text: str, title: str = "") -> Helped:
    """Return where a page goes; the text tells what it shows."""
    page = QgsProcessingParameterFileDestination(
        "REPORT", title or tr("Report"), tr("HTML files") + " (*.html)", optional=True, createByDefault=True
    )
    return page, text
