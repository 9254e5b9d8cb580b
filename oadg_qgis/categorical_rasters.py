"""Rasters and pictures of facies to arrays. Needs GDAL, but no QGIS, so that the command line reads them too."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np
from osgeo import gdal, osr

from ..core.contract.errors import TrainingImageError
from ..core.contract.facies import MAX_FACIES, FaciesTable, Value, match_facies
from ..core.contract.training_image import TrainingImage, image_of_codes
from ..core.contract.words import counted
from .ground import ground_size, metres_of_unit, nominal_metres
from .quiet import quiet_gdal

MOST_READ = 100_000_000
"""Largest number of cells that a raster may have to be read; a grid has fewer."""
FACIES_KEY = "OADG_FACIES"
"""Of a raster's metadata: the facies of the simulation that made it, as JSON."""
_SQUARE = 0.01
"""By what share a cell's sides may differ."""

_VALUE, _NAME = ("value",), ("class_name", "class_names", "classname", "class", "name")
"""What columns of an attribute table are called, in small letters, where nothing else tells what they hold."""
_COLORS = ((gdal.GFU_Red, "red"), (gdal.GFU_Green, "green"), (gdal.GFU_Blue, "blue"))

Styles = Mapping[int, Tuple[Optional[str], Optional[str]]]
"""Code to (name, colour)."""


class Nodata(NamedTuple):
    """
    Which values of a band count as none, beside those that are no numbers.

    Parameters
    ----------
    ranges : tuple of (float, float)
        The first and the last value of each range.
    as_stored : bool
        Whether what the raster itself declares counts as well.
    """

    ranges: Tuple[Tuple[float, float], ...] = ()
    as_stored: bool = True


STORED_NODATA = Nodata()
"""What the raster itself declares."""


@dataclass(frozen=True)
class CategoricalRaster:
    """
    A raster of facies codes.

    Parameters
    ----------
    codes : array, shape (n_rows, n_cols)
        Of any type of numbers.
    known : bool array, shape (n_rows, n_cols)
        False at nodata.
    styles : dict
        Code to (name, colour), as far as the raster has them: of its categories and colour table, else of its
        attribute table.
    cell_size : float or None
        None for a picture without a geotransform.
    west, north : float
        Its upper left corner; 0 without a geotransform.
    metres : float or None
        How many metres a unit of the cell size has in the raster's middle, on the ground where that is not about what
        the unit's name says; 1 where nothing is known, None for degrees.
    on_ground : (float, float) or None
        How many metres a cell's sides have there on the ground, eastwards and northwards, if that is known.
    drift : float
        By how many cells its far corner lies off where square cells would put it.
    n_colors : int
        How many colours of a picture the codes number; 0 where they are a band's own.
    declared : tuple of int
        Codes of the facies of the simulation that made it, whether they occur or not.
    """

    codes: np.ndarray
    known: np.ndarray
    styles: Dict[int, Tuple[Optional[str], Optional[str]]]
    cell_size: Optional[float]
    west: float
    north: float
    metres: Optional[float] = 1.0
    on_ground: Optional[Tuple[float, float]] = None
    drift: float = 0.0
    n_colors: int = 0
    declared: Tuple[int, ...] = ()

    def among(
        self, facies: FaciesTable, styles: Optional[Styles] = None
    ) -> Tuple[np.ndarray, Dict[Value, Optional[int]]]:
        """
        Find the raster's facies among known ones.

        Parameters
        ----------
        facies : FaciesTable
            The known ones.
        styles : mapping, optional
            Code to (name, colour), before the raster's own.

        Returns
        -------
        class_index : int16 array, shape (n_rows, n_cols)
            Among the known facies; -1 at nodata, and where it is none of these.
        found : dict of int or float to int or None
            Class index of each code that occurs; None for one that is no known facies.

        Raises
        ------
        FaciesError
            What `match_facies` refuses.
        """
        codes, number = np.unique(self.codes[self.known], return_inverse=True)
        values = [int(code) if code == int(code) else code for code in codes.tolist()]
        labels = {code: name for code, (name, _) in {**self.styles, **(styles or {})}.items()}
        found = match_facies([value for value in values if isinstance(value, int)], labels, facies)
        index = np.array([-1 if found.get(value) is None else found[value] for value in values], dtype=np.int16)
        class_index = np.full(self.codes.shape, -1, dtype=np.int16)
        class_index[self.known] = index[number.reshape(-1)]
        return class_index, {value: found.get(value) for value in values}


def read_codes(
    path: str, band: int = 1, nodata: Nodata = STORED_NODATA, *, take_colors: bool = True, crs: str = ""
) -> CategoricalRaster:
    """
    Read facies codes from a raster, or from a picture whose colours are the facies.

    Parameters
    ----------
    path : str
        Anything that GDAL opens, with open options as QGIS appends them: `file.tif|option:NUM_THREADS=1`.
    band : int
        The band that holds the codes; of a coloured picture, when it is the first, all are read.
    nodata : Nodata
        Which values of a band count as none; a coloured picture has its own.
    take_colors : bool
        Whether bytes of red, green and blue are a coloured picture; where it is known that they are not, the band is
        read as any other.
    crs : str
        Coordinate reference system as well-known text, before the raster's own.

    Raises
    ------
    TrainingImageError
        When the file cannot be read as a whole, is rotated or placed by control points, or has cells that are not
        square.
    """
    with quiet_gdal():
        try:
            name, *options = path.split("|option:")
            dataset = gdal.OpenEx(name, gdal.OF_RASTER, open_options=options)
        except RuntimeError:  # where another plugin has switched GDAL's exceptions on
            dataset = None
        if dataset is None:
            raise TrainingImageError(f"The file {path} cannot be read as a raster. Choose another file.")
        if not 1 <= band <= dataset.RasterCount:
            raise TrainingImageError(
                f"The raster {path} has {counted(dataset.RasterCount, 'band')}, and no band {band}. Choose one that "
                "is there."
            )
        if dataset.RasterXSize * dataset.RasterYSize > MOST_READ:
            raise TrainingImageError(
                f"The raster {path} has {dataset.RasterYSize:,} x {dataset.RasterXSize:,} cells; at most "
                f"{MOST_READ:,} cells are read. Clip it, or resample it to coarser cells."
            )
        cell_size = _cell_size(dataset, path)
        west, width, _, north, _, height = dataset.GetGeoTransform()
        is_picture = take_colors and band == 1 and _is_coloured(dataset)
        if is_picture:
            codes, known, styles = _read_colours(dataset, path)
        else:
            codes, known, styles = _read_band(dataset.GetRasterBand(band), path, nodata)
        declared = _declared(dataset)
    styles = {**declared, **{code: style for code, style in styles.items() if style[0] or code not in declared}}
    n_colors = np.count_nonzero(np.bincount(codes[known])) if is_picture else 0
    if cell_size is not None and height > 0:  # stored from south to north
        codes, known, north = codes[::-1], known[::-1], north + height * len(codes)
    drift = abs(abs(height) - width) * max(codes.shape) / width
    sizes = _sizes(crs or dataset.GetProjection(), cell_size, west, north, codes.shape)
    of_grid = cell_size, west, north, *sizes
    return CategoricalRaster(codes, known, styles, *of_grid, drift=drift, n_colors=n_colors, declared=tuple(declared))


def read_training_image(path: str, *, symmetry: str = "none") -> TrainingImage:
    """
    Read a training image from a file of its own, after whose name it is called.

    Parameters
    ----------
    path : str
        As `read_codes` takes it.
    symmetry : {'none', 'half turn', 'flips', 'rotations'}
        What leaves the image as likely as it was.

    Raises
    ------
    TrainingImageError
        What `read_codes` and `image_of_codes` refuse.
    """
    return image_of_raster(read_codes(path), symmetry=symmetry, origin=Path(path).name)


def image_of_raster(
    raster: CategoricalRaster, *, symmetry: str = "none", styles: Optional[Styles] = None, origin: str = ""
) -> TrainingImage:
    """
    Make a training image of a raster, whose cells are then in metres.

    Cells in degrees count as cells without a size, which no map in metres can compare with.

    Parameters
    ----------
    raster : CategoricalRaster
        What was read.
    symmetry : {'none', 'half turn', 'flips', 'rotations'}
        What leaves the image as likely as it was.
    styles : mapping, optional
        Code to (name, colour), before the raster's own category names and colours.
    origin : str
        Where the image comes from.

    Raises
    ------
    TrainingImageError
        What `image_of_codes` refuses.
    """
    return image_of_codes(
        raster.codes,
        raster.known,
        styles={**raster.styles, **(styles or {})},
        symmetry=symmetry,
        cell_size=None if None in (raster.cell_size, raster.metres) else raster.cell_size * raster.metres,
        origin=origin,
    )


def _cell_size(dataset: gdal.Dataset, path: str) -> Optional[float]:
    """Return the side of a cell, None for a picture without a geotransform."""
    transform = dataset.GetGeoTransform(can_return_null=True)
    if transform is None and dataset.GetGCPCount():
        raise TrainingImageError(
            f"The raster {path} is placed by ground control points, so its cells have no size yet. Bring it into its "
            "coordinate system first, with 'Warp (reproject)' and resampling by nearest neighbour."
        )
    if transform is None:
        return None
    _, width, skew_east, _, skew_north, height = transform
    if width < 0 or abs(skew_east) > 1e-9 * abs(width) or abs(skew_north) > 1e-9 * abs(height):
        raise TrainingImageError(
            f"The raster {path} is rotated against its coordinate system, so its directions are not those of "
            "a map. Bring it north up first, with 'Warp (reproject)' and resampling by nearest neighbour."
        )
    if abs(abs(width) - abs(height)) > _SQUARE * abs(width):
        raise TrainingImageError(
            f"The raster {path} has cells of {abs(width):g} x {abs(height):g}; they must be square, as those "
            "of realizations are. Resample it with 'Warp (reproject)' and resampling by nearest neighbour."
        )
    return abs(width)


def _sizes(
    wkt: str, cell_size: Optional[float], west: float, north: float, shape: Tuple[int, int]
) -> Tuple[Optional[float], Optional[Tuple[float, float]]]:
    """Return metres and sides on the ground, as `CategoricalRaster` has them."""
    if cell_size is None or not wkt or osr.SpatialReference().ImportFromWkt(wkt):
        return 1.0, None
    place = west + cell_size * shape[1] / 2, north - cell_size * shape[0] / 2
    on_ground, nominal = ground_size(wkt, *place, cell_size), nominal_metres(wkt)
    return None if nominal is None else metres_of_unit(wkt, nominal, *place, cell_size), on_ground


def _declared(dataset: gdal.Dataset) -> Dict[int, Tuple[Optional[str], Optional[str]]]:
    """Return the styles of the facies of the simulation that made a raster, as its metadata tell."""
    try:
        facies = json.loads(dataset.GetMetadata().get(FACIES_KEY, "[]"))
        return {int(one["code"]): (str(one["name"]), str(one["color"])) for one in facies}
    except (ValueError, TypeError, KeyError):  # of another program
        return {}


def _is_coloured(dataset: gdal.Dataset) -> bool:
    """Return whether a dataset is a picture of red, green and blue, which those with names of classes are not."""
    wanted = [gdal.GCI_RedBand, gdal.GCI_GreenBand, gdal.GCI_BlueBand]
    return (
        dataset.RasterCount >= 3
        and FACIES_KEY not in dataset.GetMetadata()
        and not dataset.GetRasterBand(1).GetRasterCategoryNames()
        and [dataset.GetRasterBand(n).GetColorInterpretation() for n in (1, 2, 3)] == wanted
        and all(dataset.GetRasterBand(n).DataType == gdal.GDT_Byte for n in (1, 2, 3))
    )


def _cells_of(band: gdal.Band, path: str) -> np.ndarray:
    """Return all values of a band (n_rows, n_cols); raise when GDAL opens the file, but does not get at its cells."""
    gdal.ErrorReset()
    try:
        cells, reason = band.ReadAsArray(), gdal.GetLastErrorMsg()
    except RuntimeError as error:  # where another plugin has switched GDAL's exceptions on
        cells, reason = None, str(error)
    if cells is None:
        raise TrainingImageError(
            f"The cells of the raster {path} cannot be read: {reason.strip('. ') or 'no reason is known'}. Is the file "
            "complete and undamaged? Copy or download it again, or choose another one."
        )
    return cells


def _read_colours(dataset: gdal.Dataset, path: str) -> Tuple[np.ndarray, np.ndarray, Dict[int, Tuple[str, str]]]:
    """Return codes, known cells and styles of a picture: each colour is a facies, numbered from 1."""
    red, green, blue = (_cells_of(dataset.GetRasterBand(n), path).astype(np.int64) for n in (1, 2, 3))
    known = _cells_of(dataset.GetRasterBand(1).GetMaskBand(), path) > 0
    colors, number = np.unique(((red << 16) | (green << 8) | blue)[known], return_inverse=True)
    codes = np.zeros(red.shape, dtype=np.int64)
    codes[known] = number.reshape(-1) + 1
    names = [f"#{color:06x}" for color in colors.tolist()[: 4 * MAX_FACIES]]
    return codes, known, {number: (name, name) for number, name in enumerate(names, start=1)}


def _read_band(
    band: gdal.Band, path: str, nodata: Nodata
) -> Tuple[np.ndarray, np.ndarray, Dict[int, Tuple[Optional[str], Optional[str]]]]:
    """Return codes, known cells and styles of a band."""
    codes = _cells_of(band, path)
    known = np.ones(codes.shape, dtype=bool)
    if nodata.as_stored or band.GetMaskFlags() != gdal.GMF_NODATA:
        known = _cells_of(band.GetMaskBand(), path) > 0
    for first, last in nodata.ranges:
        known &= ~((codes >= first) & (codes <= last))
    if np.issubdtype(codes.dtype, np.floating):
        known &= np.isfinite(codes)
    names: List[str] = band.GetRasterCategoryNames() or []
    table = band.GetRasterColorTable()
    styles = _read_attributes(band)
    for code in range(max(len(names), table.GetCount() if table else 0)):
        name, color = styles.get(code, (None, None))
        if code < len(names) and names[code]:
            name = names[code]
        if table is not None and code < table.GetCount():
            color = "#{:02x}{:02x}{:02x}".format(*table.GetColorEntry(code)[:3])
        styles[code] = (name, color)
    return codes, known, styles


def _read_attributes(band: gdal.Band) -> Dict[int, Tuple[Optional[str], Optional[str]]]:
    """Return the styles that a band's attribute table tells; its rows for ranges of values tell none."""
    table = band.GetDefaultRAT()
    if table is None:
        return {}
    low = _column(table, (gdal.GFU_MinMax, gdal.GFU_Min), _VALUE)
    high = _column(table, (gdal.GFU_MinMax, gdal.GFU_Max), _VALUE)
    name = _column(table, (gdal.GFU_Name,), _NAME)
    styles: Dict[int, Tuple[Optional[str], Optional[str]]] = {}
    if low is None or high is None:
        return styles
    for row, color in enumerate(_colors_of(table)):
        value = table.GetValueAsDouble(row, low)
        if value.is_integer() and value == table.GetValueAsDouble(row, high):
            styles[int(value)] = (None if name is None else table.GetValueAsString(row, name) or None, color)
    return styles


def _colors_of(table: gdal.RasterAttributeTable) -> List[Optional[str]]:
    """Return the colour in each row of an attribute table."""
    n_rows = table.GetRowCount()
    columns = [_column(table, (usage,), (title,)) for usage, title in _COLORS]
    if None in columns or not n_rows:
        return [None] * n_rows
    shades = np.array([[table.GetValueAsDouble(row, column) for column in columns] for row in range(n_rows)])
    if shades.max() <= 1 and all(table.GetTypeOfCol(column) == gdal.GFT_Real for column in columns):
        shades *= 255  # Esri's programs write parts of 1
    return ["#{:02x}{:02x}{:02x}".format(*shade) for shade in shades.round().clip(0, 255).astype(int).tolist()]


def _column(table: gdal.RasterAttributeTable, usages: Tuple[int, ...], titles: Tuple[str, ...]) -> Optional[int]:
    """Return the column of an attribute table that has one of the usages, else one of no usage with such a title."""
    columns = range(table.GetColumnCount())
    used = [column for column in columns if table.GetUsageOfCol(column) in usages]
    generic = [column for column in columns if table.GetUsageOfCol(column) == gdal.GFU_Generic]
    titled = [column for column in generic if table.GetNameOfCol(column).lower() in titles]
    return next(iter(used + titled), None)
