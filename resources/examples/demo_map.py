"""Compose the demo's maps into one picture: observations, realizations, most probable facies and entropy, kriging."""

from __future__ import annotations

from pathlib import Path
from typing import List

from qgis.core import (
    QgsColorRampLegendNodeSettings,
    QgsCoordinateReferenceSystem,
    QgsFillSymbol,
    QgsLayoutExporter,
    QgsLayoutItemLabel,
    QgsLayoutItemLegend,
    QgsLayoutItemMap,
    QgsLayoutItemScaleBar,
    QgsLayoutPoint,
    QgsLayoutSize,
    QgsLegendStyle,
    QgsMapLayer,
    QgsMapLayerLegendUtils,
    QgsMarkerSymbol,
    QgsPalettedRasterRenderer,
    QgsPrintLayout,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsSingleSymbolRenderer,
    QgsTextFormat,
    QgsUnitTypes,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSizeF, Qt
from qgis.PyQt.QtGui import QColor, QFont

N_COLUMNS = 4
PANEL_WIDTH, PANEL_HEIGHT, TITLE_HEIGHT, GAP = 80.0, 97.0, 8.0, 6.0
INK = "#222222"


def compose(package: Path, folder: Path) -> None:
    """
    Draw `map.png` from the observations and the rasters in a folder; QGIS is running already.

    Parameters
    ----------
    package : Path
        GeoPackage with the layers `observations` and `survey_area`.
    folder : Path
        Where the rasters lie and the picture goes.
    """
    project = QgsProject.instance()
    project.setCrs(QgsCoordinateReferenceSystem("EPSG:2056"))
    observations = _vector(package, "observations")
    outline = _vector(package, "survey_area")
    outline.setRenderer(_outline_renderer())
    dots = _vector(package, "observations")
    dots.setRenderer(_dot_renderer())
    most_probable, entropy = _raster(folder, "most_probable"), _raster(folder, "entropy")
    kriged, kriged_entropy = _raster(folder, "kriging_most_probable"), _raster(folder, "kriging_entropy")
    panels = [
        (f"Observations ({observations.featureCount()})", [observations, outline]),
        ("Realization 1", [outline, _realization(folder, 1)]),
        ("Realization 2", [outline, _realization(folder, 2)]),
        None,  # the legend
        ("Most probable facies", [outline, most_probable]),
        ("Entropy: how uncertain", [dots, outline, entropy]),
        ("Kriging: most probable", [outline, kriged]),
        ("Kriging: entropy", [dots, outline, kriged_entropy]),
    ]
    layout = QgsPrintLayout(project)
    layout.initializeDefaults()
    width, height = N_COLUMNS * (PANEL_WIDTH + GAP) + GAP, 2 * (PANEL_HEIGHT + TITLE_HEIGHT) + 3 * GAP
    layout.pageCollection().page(0).setPageSize(QgsLayoutSize(width, height))
    for position, panel in enumerate(panels):
        if panel is not None:
            main_map = _panel(layout, position, *panel, outline.extent())
    _legend_panel(layout, panels.index(None), observations, entropy, main_map)
    if not QgsLayoutExporter(layout).renderPageToImage(0, dpi=180).save(str(folder / "map.png")):
        raise SystemExit(f"{folder / 'map.png'} could not be written.")


def _vector(package: Path, name: str) -> QgsVectorLayer:
    return _added(QgsVectorLayer(f"{package}|layername={name}", name, "ogr"))


def _raster(folder: Path, name: str) -> QgsRasterLayer:
    return _added(QgsRasterLayer(str(folder / f"{name}.tif"), name))


def _added(layer: QgsMapLayer) -> QgsMapLayer:
    """Return a layer that the project owns; the style beside its file has been applied."""
    if not layer.isValid():
        raise SystemExit(f"{layer.source()} could not be read.")
    QgsProject.instance().addMapLayer(layer, False)
    return layer


def _realization(folder: Path, band: int) -> QgsRasterLayer:
    """Return one band of the realizations, in the colours that the plugin gave them."""
    layer = _raster(folder, "realizations")
    layer.setRenderer(QgsPalettedRasterRenderer(layer.dataProvider(), band, layer.renderer().classes()))
    return layer


def _outline_renderer() -> QgsSingleSymbolRenderer:
    line = {"color": "0,0,0,0", "outline_color": "#4d4d4d", "outline_width": "0.25"}
    return QgsSingleSymbolRenderer(QgsFillSymbol.createSimple(line))


def _dot_renderer() -> QgsSingleSymbolRenderer:
    dot = {"name": "circle", "size": "0.9", "color": "#ffffff", "outline_color": "#000000", "outline_width": "0.15"}
    return QgsSingleSymbolRenderer(QgsMarkerSymbol.createSimple(dot))


def _font(size: float, bold: bool = False) -> QFont:
    font = QFont("DejaVu Sans")
    font.setPointSizeF(size)
    font.setBold(bold)
    return font


def _place(item, x: float, y: float, width: float, height: float) -> None:
    item.attemptMove(QgsLayoutPoint(x, y))
    item.attemptResize(QgsLayoutSize(width, height))


def _label(layout: QgsPrintLayout, text: str, font: QFont, x: float, y: float, width: float, height: float) -> None:
    label = QgsLayoutItemLabel(layout)
    label.setText(text)
    label.setFont(font)
    label.setFontColor(QColor(INK))
    layout.addLayoutItem(label)
    _place(label, x, y, width, height)


def _corner(position: int) -> List[float]:
    """Return the upper left corner of a panel: four columns, two rows."""
    row, col = divmod(position, N_COLUMNS)
    return [GAP + col * (PANEL_WIDTH + GAP), GAP + row * (PANEL_HEIGHT + TITLE_HEIGHT + GAP)]


def _panel(
    layout: QgsPrintLayout, position: int, title: str, layers: List[QgsMapLayer], extent: QgsRectangle
) -> QgsLayoutItemMap:
    """Add a titled map of some layers, the first on top."""
    x, y = _corner(position)
    _label(layout, title, _font(12, bold=True), x, y, PANEL_WIDTH, TITLE_HEIGHT)
    panel = QgsLayoutItemMap(layout)
    panel.setRect(0, 0, PANEL_WIDTH, PANEL_HEIGHT)  # a map without a size cannot take an extent
    panel.setExtent(extent)
    panel.setLayers(layers)
    layout.addLayoutItem(panel)
    _place(panel, x, y + TITLE_HEIGHT, PANEL_WIDTH, PANEL_HEIGHT)
    panel.zoomToExtent(extent.buffered(60))
    return panel


def _ramp_settings(entropy: QgsRasterLayer) -> QgsColorRampLegendNodeSettings:
    """Return a lying colour bar whose ends say what they mean."""
    settings = QgsColorRampLegendNodeSettings()
    settings.setOrientation(Qt.Orientation.Horizontal)
    settings.setUseContinuousLegend(True)
    settings.setMinimumLabel("0: certain")
    settings.setMaximumLabel(f"{entropy.renderer().classificationMax():.2f}: any rock")
    return settings


def _legend_panel(
    layout: QgsPrintLayout,
    position: int,
    observations: QgsVectorLayer,
    entropy: QgsRasterLayer,
    main_map: QgsLayoutItemMap,
) -> None:
    """Add the legends of facies and entropy, the scale bar and the origin of the data."""
    x, y = _corner(position)
    legend = QgsLayoutItemLegend(layout)
    legend.setAutoUpdateModel(False)
    tree = legend.model().rootGroup()
    tree.addLayer(observations).setName("Rock type, youngest first")
    ramp = tree.addLayer(entropy)
    ramp.setName("Entropy (bits)")
    QgsMapLayerLegendUtils.setLegendNodeOrder(ramp, [1])  # without the band's name
    QgsMapLayerLegendUtils.setLegendNodeSymbolSize(ramp, 1, QSizeF(50, 5))
    QgsMapLayerLegendUtils.setLegendNodeColorRampSettings(ramp, 1, _ramp_settings(entropy))
    legend.model().refreshLayerLegend(ramp)
    legend.setStyleFont(QgsLegendStyle.Style.Subgroup, _font(11, bold=True))
    legend.setStyleFont(QgsLegendStyle.Style.SymbolLabel, _font(10))
    legend.setSymbolWidth(8)
    legend.setSymbolHeight(5)
    layout.addLayoutItem(legend)
    _place(legend, x, y + TITLE_HEIGHT, PANEL_WIDTH, 60)
    scale = QgsLayoutItemScaleBar(layout)
    scale.setLinkedMap(main_map)
    scale.setStyle("Single Box")
    scale.setUnits(QgsUnitTypes.DistanceUnit.DistanceKilometers)
    scale.setUnitLabel("km")
    scale.setNumberOfSegments(2)
    scale.setNumberOfSegmentsLeft(0)
    scale.setUnitsPerSegment(1)
    scale.setTextFormat(QgsTextFormat.fromQFont(_font(9)))
    layout.addLayoutItem(scale)
    _place(scale, x, y + 78, PANEL_WIDTH, 12)
    source = "Swiss Jura, cells of 50 m, LV95, north up.\nData: Goovaerts (1997), gstat.\nSimulated with OADG."
    _label(layout, source, _font(8), x + 2, y + 93, PANEL_WIDTH, 14)
