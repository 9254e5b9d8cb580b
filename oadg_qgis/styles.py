"""Styles of the results: the same facies has the same colour everywhere, the same entropy too."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Callable, ClassVar, List, Sequence

from qgis.core import (
    QgsBasicNumericFormat,
    QgsColorRampLegendNodeSettings,
    QgsColorRampShader,
    QgsFeatureRequest,
    QgsGradientColorRamp,
    QgsGradientStop,
    QgsGraduatedSymbolRenderer,
    QgsMapLayer,
    QgsMarkerSymbol,
    QgsPalettedRasterRenderer,
    QgsProcessingContext,
    QgsProcessingLayerPostProcessorInterface,
    QgsRasterLayer,
    QgsRasterShader,
    QgsRendererRange,
    QgsSingleBandPseudoColorRenderer,
    QgsVectorLayer,
)
from qgis.PyQt import sip
from qgis.PyQt.QtGui import QColor

from ..core.contract.errors import JobError
from ..core.contract.facies import FaciesTable
from ..core.contract.surprise import SURPRISE_CLASSES
from .quiet import quiet_gdal

Styler = Callable[[Any], None]
"""Gives an open layer its style."""

# Even in lightness and safe for colour-blind eyes: magma and viridis, by Smith and van der Walt (CC0).
MAGMA = ("#000004", "#51127c", "#b73779", "#fc8961", "#fcfdbf")
VIRIDIS = ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725")


def facies_style(facies: FaciesTable, legend: Sequence[str] = ()) -> Styler:
    """
    Return a styler that shows the first band's facies codes in their colours and under their names.

    Parameters
    ----------
    facies : FaciesTable
        Codes, names and colours.
    legend : sequence of str
        Names in the order in which they are to be listed; those of others come last, in the order of the table.
    """
    place = {name: index for index, name in enumerate(legend)}
    listed = sorted(facies.facies, key=lambda f: place.get(f.name, len(place)))

    def style(layer: QgsRasterLayer) -> None:
        classes = [QgsPalettedRasterRenderer.Class(f.code, QColor(f.color), f.name) for f in listed]
        layer.setRenderer(QgsPalettedRasterRenderer(layer.dataProvider(), 1, classes))

    return style


def entropy_style(n_facies: int) -> Styler:
    """Return a styler for entropy in bits, from 0 to log2 of the number of facies whatever the map holds."""
    return _ramp_style(math.log2(n_facies), MAGMA, suffix=" bits")


def surprise_map_style() -> Styler:
    """Return a styler for surprise in bits, from 0 to 6, which a facies of less than 2 % has."""
    return _ramp_style(6.0, MAGMA, suffix=" bits")


def probability_style() -> Styler:
    """Return a styler for the first band's probability, from 0 to 1 whatever the map holds."""
    return _ramp_style(1.0, VIRIDIS)


def surprise_style(field: str) -> Styler:
    """Return a styler for points by the probability in a field: the more surprising a point, the farther in front."""

    def style(layer: QgsVectorLayer) -> None:
        ranges, lower = [], 0.0
        for upper, color, label in SURPRISE_CLASSES:
            symbol = QgsMarkerSymbol.createSimple(
                {"name": "circle", "color": color, "size": "2.8", "outline_color": "#ffffff", "outline_width": "0.2"}
            )
            ranges.append(QgsRendererRange(lower, upper, symbol, f"probability {label}"))
            lower = upper
        renderer = QgsGraduatedSymbolRenderer(field, ranges)
        renderer.setOrderBy(QgsFeatureRequest.OrderBy([QgsFeatureRequest.OrderByClause(f'"{field}"', False)]))
        renderer.setOrderByEnabled(True)
        layer.setRenderer(renderer)

    return style


def _ramp_style(maximum: float, colors: Sequence[str], suffix: str = "") -> Styler:
    """Return a styler with a continuous ramp from 0 to `maximum`."""

    def style(layer: QgsRasterLayer) -> None:
        stops = [QgsGradientStop(i / (len(colors) - 1), QColor(c)) for i, c in enumerate(colors)][1:-1]
        ramp = QgsGradientColorRamp(QColor(colors[0]), QColor(colors[-1]), False, stops)
        shader = QgsColorRampShader(0.0, maximum, ramp)
        legend = QgsColorRampLegendNodeSettings()
        legend.setSuffix(suffix)
        numbers = QgsBasicNumericFormat()
        numbers.setNumberDecimalPlaces(2)
        legend.setNumericFormat(numbers)
        shader.setLegendSettings(legend)
        shader.classifyColorRamp(band=1, input=layer.dataProvider())
        raster_shader = QgsRasterShader(0.0, maximum)
        raster_shader.setRasterShaderFunction(shader)
        renderer = QgsSingleBandPseudoColorRenderer(layer.dataProvider(), 1, raster_shader)
        renderer.setClassificationMin(0.0)
        renderer.setClassificationMax(maximum)
        layer.setRenderer(renderer)

    return style


def saved_style(layer: QgsMapLayer) -> None:
    """Give a layer the style that is saved beside it."""
    layer.loadNamedStyle(layer.styleURI())


def save_style(path: Path, styler: Styler) -> None:
    """
    Write a style beside a raster, where every later opening finds it.

    Parameters
    ----------
    path : Path
        The raster; its style goes to the same name with the extension `.qml`.
    styler : callable
        Gives the open layer its style.

    Raises
    ------
    JobError
        When the raster cannot be read back or the style cannot be written.
    """
    options = QgsRasterLayer.LayerOptions()
    options.loadDefaultStyle = False
    with quiet_gdal():  # it tries a histogram of every band, and of a constant one there is none
        layer = QgsRasterLayer(str(path), path.stem, "gdal", options)
    _save_style_of(layer, path, styler)


def save_point_style(path: Path, styler: Styler) -> None:
    """Write a style beside a file of points; parameters and errors are those of `save_style`."""
    options = QgsVectorLayer.LayerOptions()
    options.loadDefaultStyle = False
    _save_style_of(QgsVectorLayer(str(path), path.stem, "ogr", options), path, styler)


def _save_style_of(layer: QgsMapLayer, path: Path, styler: Styler) -> None:
    if not layer.isValid():
        raise JobError(f"The file {path} cannot be read back after writing. Is the disk full? Choose another folder.")
    styler(layer)
    message, saved = layer.saveNamedStyle(layer.styleURI())
    if not saved:
        raise JobError(f"The style of {path} cannot be written: {message}. Choose another folder.")


class ApplyStyle(QgsProcessingLayerPostProcessorInterface):
    """
    Gives a result its style when Processing loads it (which skips saved styles).

    Parameters
    ----------
    styler : callable
        Gives the layer its style; by default the one saved beside it.
    """

    _waiting: ClassVar[List[ApplyStyle]] = []

    def __init__(self, styler: Styler = saved_style) -> None:
        super().__init__()
        self._styler = styler

    @classmethod
    def attach(cls, details: QgsProcessingContext.LayerDetails, styler: Styler = saved_style) -> None:
        """Let a layer that will be loaded have its style; each needs its own, for QGIS deletes it with the context."""
        processor = cls(styler)
        details.setPostProcessor(processor)
        sip.transferto(processor, None)  # Python is not to delete it, but must not forget it before it has run
        cls._waiting = [p for p in cls._waiting if not sip.isdeleted(p)] + [processor]

    def postProcessLayer(self, layer, context, feedback) -> None:
        """Give the layer its style (called by Processing, on the main thread)."""
        if layer is not None:
            self._styler(layer)
