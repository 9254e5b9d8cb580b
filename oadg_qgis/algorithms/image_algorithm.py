"""What the algorithms share that read a training image."""

from __future__ import annotations

import math
from typing import Iterator, Mapping, Optional, Tuple

from qgis.core import (
    QgsPalettedRasterRenderer,
    QgsProcessingFeedback,
    QgsProcessingParameterBand,
    QgsProcessingParameterRasterLayer,
    QgsRasterLayer,
)

from ...core.contract.errors import JobError
from ...core.contract.model_header import ModelHeader
from ...core.contract.training_image import TrainingImage
from ..categorical_rasters import CategoricalRaster, Nodata, image_of_raster, read_codes
from ..crs import known_crs, unit_of
from ..destinations import files_of
from .base import tr
from .engine_algorithm import EngineAlgorithm
from .facies_algorithm import tell_cell_size
from .parameters import Helped

_STRETCHED = 1.05
"""How many times as long as the other a side of a cell may be on the ground, without a word."""


class ImageAlgorithm(EngineAlgorithm):
    """
    Base of the algorithms that read a raster of facies.

    Attributes
    ----------
    RASTER : str
        Name of its parameter; `BAND` belongs to it.
    CALLED : str
        What it is called in sentences.
    STRETCHED : str
        What comes of cells that are not square on the ground.
    """

    RASTER = "IMAGE"
    CALLED = "training image"
    STRETCHED = "all that is learnt is stretched alike"
    GROUP_ID = "models"
    GROUP = "Models"

    def read(self, parameters, context, feedback) -> None:
        """Take hold of the raster's file, and of the layer's own names, colours and nodata."""
        layer = self.parameterAsRasterLayer(parameters, self.RASTER, context)
        if layer is None:
            raise JobError(self.invalidRasterError(parameters, self.RASTER))
        check_file(layer)
        self._source, self._layer_name, self._crs = layer.source(), layer.name(), known_crs(layer.crs())
        self._band = int(self.number_of(parameters, "BAND", context, default=1))
        self._styles, self._nodata = styles_of(layer, self._band), nodata_of(layer, self._band)
        self._is_paletted = is_paletted(layer, self._band)
        self._inputs = {**self.model_files(parameters, context), **files_of(self.RASTER, layer, context)}
        self._feedback = feedback

    def read_raster(self) -> CategoricalRaster:
        """Read the raster, in the layer's own CRS if it has one; warn when its colours are the facies."""
        how = {"take_colors": not self._is_paletted, "crs": self._crs.toWkt()}
        raster = read_codes(self._source, self._band, self._nodata, **how)
        tell_colors(raster, self._layer_name, self._feedback)
        return raster

    def read_image(self, symmetry: str = "none", header: Optional[ModelHeader] = None) -> TrainingImage:
        """Read the training image; warn when its cells are not those of a model."""
        raster = self.read_raster()
        self.tell_cells(raster, header)
        return image_of_raster(raster, symmetry=symmetry, styles=self._styles, origin=self._layer_name)

    def tell_cells(self, raster: CategoricalRaster, header: Optional[ModelHeader] = None) -> None:
        """Warn when cells are not square on the ground, or not as large as those of a model's training image."""
        if raster.on_ground and not 1 / _STRETCHED < raster.on_ground[0] / raster.on_ground[1] < _STRETCHED:
            self._feedback.pushWarning(
                tr(
                    "The cells of the {} {!r} are {:.3g} x {:.3g} metres on the ground: {}. Bring it into a projected "
                    "coordinate system made for its area first, with 'Warp (reproject)' and resampling by nearest "
                    "neighbour."
                ).format(tr(self.CALLED), self._layer_name, *raster.on_ground, tr(self.STRETCHED))
            )
        metres, unit = raster.metres, unit_of(self._crs)
        if metres is None and raster.on_ground:  # of a degree
            metres = math.sqrt(math.prod(raster.on_ground)) / raster.cell_size
        if None in (header, raster.cell_size, metres):
            return
        if not self._crs.isValid():
            unit = tr("{} (taken for metres, for the {} has no CRS)").format(unit, tr(self.CALLED))
        words = tr(
            "so it expects those of the {0} to be {{:.2g}} times as large as there. Resample the {0} to cells of "
            "{{:g}}, or choose a model of such cells."
        ).format(tr(self.CALLED))
        tell_cell_size(header, raster.cell_size, metres, unit, words, self._feedback)


def check_file(layer: QgsRasterLayer) -> None:
    """Raise `JobError` for a raster that comes from a service."""
    if layer.providerType() != "gdal":
        raise JobError(
            f"The layer {layer.name()!r} comes from a service ({layer.providerType()}), and a file is needed. "
            "Export it first, for example as GeoTIFF."
        )


def tell_colors(raster: CategoricalRaster, name: str, feedback: QgsProcessingFeedback) -> None:
    """Warn when a raster, by the name of its layer, is read as a coloured picture: it may be a stack of maps."""
    if raster.n_colors:
        feedback.pushWarning(
            tr(
                "The raster {!r} is read as a coloured picture: bands 1 to 3 together give {:,} colours, each of which "
                "is a facies. If band 1 holds facies codes, give the layer a style of the kind 'Paletted/Unique "
                "values' for this band, or write the band to a file of its own with 'Rearrange bands'."
            ).format(name, raster.n_colors)
        )


def is_paletted(layer: QgsRasterLayer, band: int) -> bool:
    """Return whether a layer's style is a paletted one for this band, which then holds codes."""
    return isinstance(layer.renderer(), QgsPalettedRasterRenderer) and layer.renderer().band() == band


def styles_of(layer: QgsRasterLayer, band: int) -> Mapping[int, Tuple[Optional[str], Optional[str]]]:
    """Return code to (name, colour) of a layer's paletted style; empty when it has none for this band."""
    if not is_paletted(layer, band):
        return {}
    classes = layer.renderer().classes()
    return {int(c.value): (c.label.strip() or None, c.color.name()) for c in classes if c.value % 1 == 0}


def nodata_of(layer: QgsRasterLayer, band: int) -> Nodata:
    """Return what counts as nodata of a band by the layer's own properties."""
    provider = layer.dataProvider()
    ranges = tuple((values.min(), values.max()) for values in provider.userNoDataValues(band))
    return Nodata(ranges, provider.useSourceNoDataValue(band))


def image_parameters(name: str = ImageAlgorithm.RASTER, description: str = "Training image") -> Iterator[Helped]:
    """Yield the raster and its band."""
    yield (
        QgsProcessingParameterRasterLayer(name, tr(description)),
        tr("A raster with facies codes, or a picture in which every colour is a facies. Nodata does not count."),
    )
    yield (
        QgsProcessingParameterBand("BAND", tr("Band"), 1, name, optional=True),
        tr(
            "The band that holds the codes. Leave it at 1 for a coloured picture, which is read as a whole, unless its "
            "layer has a paletted style for this band."
        ),
    )
