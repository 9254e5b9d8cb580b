"""Arrays to rasters: files that are written beside their final place and moved there together, styles included."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import traceback
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Sequence, Tuple

import numpy as np
from osgeo import gdal, gdal_array
from qgis.core import QgsCoordinateReferenceSystem, QgsRasterFileWriter, QgsRasterLayer

from ..core.contract.errors import Cancelled, EngineError, JobError
from ..core.contract.grid import Grid
from ..core.contract.words import counted
from .destinations import remedy_of
from .quiet import quiet_gdal
from .styles import save_style

FLOAT_NODATA = -9999.0
"""Nodata of entropy and probabilities; NaN is unknown to some formats."""

_GTIFF_OPTIONS = (
    # MINISBLACK and ALPHA=NO: otherwise bands of bytes open as red, green, blue and transparency.
    "PHOTOMETRIC=MINISBLACK", "ALPHA=NO", "INTERLEAVE=BAND", "TILED=YES", "COMPRESS=DEFLATE", "BIGTIFF=IF_SAFER",
)  # fmt: skip
_OTHER_FORMAT = "Choose GeoTIFF (.tif), which holds such data, in a folder with space left."
_INTEGER_TYPES = (np.uint8, np.int16, np.uint16, np.int32)
_PROBE_CELLS = 16
_OFF = 0.01
"""By what share of a cell a format may place a raster off."""


@dataclass(frozen=True)
class RasterPlan:
    """
    A raster to be written.

    Parameters
    ----------
    path : Path
        Where it goes; the extension chooses the format.
    data_type : numpy type
        Type of the cells.
    nodata : float
        Value of the cells that hold nothing.
    band_names : sequence of str
        One per band.
    values : sequence of float
        Values that it will hold, to try whether the format can.
    styler : callable
        Gives an open layer its style.
    category_names : mapping of int to str
        Names of values, where the raster holds classes.
    """

    path: Path
    data_type: Any
    nodata: float
    band_names: Sequence[str]
    values: Sequence[float]
    styler: Callable[[QgsRasterLayer], None]
    category_names: Mapping[int, str] = field(default_factory=dict)


def storage_of(codes: Sequence[int]) -> Tuple[Any, int]:
    """
    Return the smallest integer type that holds the codes and a nodata value, and that value.

    Parameters
    ----------
    codes : sequence of int
        Facies codes, all within 32 bits.
    """
    taken = {int(code) for code in codes}
    for data_type in _INTEGER_TYPES:
        limits = np.iinfo(data_type)
        if limits.min <= min(taken) and max(taken) <= limits.max:
            candidates = range(limits.max, -1, -1) if limits.min == 0 else range(limits.min, limits.max)
            return data_type, next(value for value in candidates if value not in taken)
    raise JobError(f"The facies codes {min(taken)} to {max(taken)} do not fit into a raster of 32-bit numbers.")


class RasterWriter:
    """
    Writes rasters in folders beside their final places and moves them there together; on any failure nothing stays.

    They have their final names there, which some formats write into their files. Used as a context manager: what was
    not committed when it ends is removed.

    Parameters
    ----------
    grid : Grid
        The cells of every raster.
    crs : QgsCoordinateReferenceSystem
        Its coordinate reference system.
    is_canceled : callable
        Asked between bands.
    has_gaps : bool
        Whether some cells hold nothing, so that formats have to keep the value that says so.
    """

    def __init__(
        self,
        grid: Grid,
        crs: QgsCoordinateReferenceSystem,
        is_canceled: Callable[[], bool],
        *,
        has_gaps: bool = False,
    ) -> None:
        self._grid, self._has_gaps = grid, has_gaps
        self._wkt = crs.toWkt(QgsCoordinateReferenceSystem.WktVariant.WKT_PREFERRED_GDAL)
        self._is_canceled = is_canceled
        self._mark = f".oadg-{uuid.uuid4().hex[:8]}"
        self._staged: List[Tuple[Path, Path]] = []  # (temporary, final)

    def __enter__(self) -> RasterWriter:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        # The failure's frames hold datasets open, which would write their sidecars after we have cleaned up.
        traceback.clear_frames(trace)
        for staged, _ in self._staged:
            shutil.rmtree(staged.parent, ignore_errors=True)

    def check(self, plan: RasterPlan) -> None:
        """
        Try a tiny raster of the same kind in the same folder, read it back, and try to replace older files.

        Raises
        ------
        JobError
            When the folder cannot be written to, the format cannot hold such data, or an older file is held by a
            program.
        """
        if plan.path.is_dir():
            raise _cannot_write(plan, "it is a folder")
        try:
            for old in _files_at(plan.path):
                aside = self._aside(old)
                os.replace(old, aside)
                os.replace(aside, old)
        except OSError as error:
            raise _cannot_replace(plan.path, error) from error
        values = np.array([*plan.values, plan.nodata], dtype=plan.data_type)
        # Neighbours differ, so that a format that loses detail shows it.
        tile = np.resize(values, (_PROBE_CELLS, _PROBE_CELLS))
        bands = [np.roll(tile, shift) for shift in range(len(plan.band_names))]
        grid = Grid(self._grid.west, self._grid.north, self._grid.cell_size, _PROBE_CELLS, _PROBE_CELLS)
        staged = self._stage(plan)
        self._create(plan, staged, grid, bands, {})
        if not self._holds(staged, grid, np.stack(bands), plan.nodata):
            raise _cannot_hold(plan)
        shutil.rmtree(staged.parent)
        self._staged.pop()

    def write(self, plan: RasterPlan, bands: Iterable[np.ndarray], metadata: Mapping[str, str]) -> None:
        """
        Write a raster and its style to a temporary place.

        Parameters
        ----------
        plan : RasterPlan
            What it is.
        bands : iterable of array, shape (n_rows, n_cols)
            The values of each band, nodata filled in.
        metadata : mapping of str to str
            Kept with the raster, so that it can be made again.

        Raises
        ------
        JobError
            When it cannot be written.
        Cancelled
            When the user cancels meanwhile.
        """
        staged = self._stage(plan)
        self._create(plan, staged, self._grid, bands, metadata)
        save_style(staged, plan.styler)

    def commit(self) -> None:
        """
        Move everything that was written to its final place, in place of older files.

        Raises
        ------
        JobError
            When an older file cannot be replaced; then all are as they were before.
        """
        moved: List[Tuple[Path, Path]] = []  # (from, to)
        try:
            for staged, final in self._staged:
                files = {file: final.with_name(file.name) for file in _files_of(staged)}
                old = {*_files_at(final), *(file for file in files.values() if file.exists())}
                for source, target in [*((file, self._aside(file)) for file in sorted(old)), *files.items()]:
                    os.replace(source, target)
                    moved.append((source, target))
        except OSError as error:
            for source, target in reversed(moved):
                with contextlib.suppress(OSError):
                    os.replace(target, source)
            raise _cannot_replace(final, error) from error
        for _, target in moved:
            if target.name.endswith(self._mark):
                with contextlib.suppress(OSError):
                    target.unlink()

    def _aside(self, file: Path) -> Path:
        """Return where an older file waits until the new one is in its place."""
        return file.with_name(f"{file.name}{self._mark}")

    def _stage(self, plan: RasterPlan) -> Path:
        folder = plan.path.with_name(f"{self._mark}-{len(self._staged)}")
        staged = folder / plan.path.name
        self._staged.append((staged, plan.path))
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise _cannot_write(plan, error.strerror or str(error)) from error
        return staged

    def _holds(self, path: Path, grid: Grid, bands: np.ndarray, nodata: float) -> bool:
        """
        Return whether a file has kept bands (n_bands, n_rows, n_cols), where they lie, and in which CRS, if any.

        And, where there will be such, which cells hold nothing.
        """
        with quiet_gdal():
            try:
                kept = gdal.OpenEx(str(path), gdal.OF_RASTER)
                back = kept.ReadAsArray() if kept else None
            except RuntimeError:  # where another plugin has switched GDAL's exceptions on
                back = None
            if back is None or back.size != bands.size:
                return False
            declared = [kept.GetRasterBand(number).GetNoDataValue() for number in range(1, kept.RasterCount + 1)]
            off = np.subtract(kept.GetGeoTransform(), grid_transform(grid))
            return bool(
                np.allclose(back.reshape(bands.shape), bands, rtol=1e-5, atol=1e-6)
                and np.abs(off).max() <= _OFF * grid.cell_size
                and (kept.GetProjection() or not self._wkt)
                and (not self._has_gaps or all(value is not None and np.isclose(value, nodata) for value in declared))
            )

    def _create(
        self,
        plan: RasterPlan,
        path: Path,
        grid: Grid,
        bands: Iterable[np.ndarray],
        metadata: Mapping[str, str],
    ) -> None:
        """Write one raster file with GDAL."""
        driver_name = QgsRasterFileWriter.driverForExtension(plan.path.suffix.lstrip("."))
        driver = gdal.GetDriverByName(driver_name) if driver_name else None
        if driver is None:
            raise _cannot_hold(plan)
        direct = driver_name == "GTiff"

        def failed(reason: str) -> JobError:
            told = reason.replace(f"{path}: ", "").replace(str(path), str(plan.path))  # not where it is staged
            return _cannot_write(plan, told, "" if direct else _OTHER_FORMAT)

        with quiet_gdal():
            gdal.ErrorReset()
            try:
                data_type = gdal_array.NumericTypeCodeToGDALTypeCode(plan.data_type)
                shape = (grid.n_cols, grid.n_rows, len(plan.band_names), data_type)
                if direct:
                    dataset = driver.Create(str(path), *shape, options=list(_GTIFF_OPTIONS))
                else:
                    dataset = gdal.GetDriverByName("MEM").Create("", *shape)
                if dataset is None:
                    raise failed(gdal.GetLastErrorMsg())
                self._fill(dataset, plan, grid, bands, metadata)
                if not direct:
                    dataset = driver.CreateCopy(str(path), dataset, 0)
                    if dataset is None:
                        raise failed(gdal.GetLastErrorMsg())
                dataset.FlushCache()
                dataset = None  # closes the file
                if gdal.GetLastErrorType() >= gdal.CE_Failure:
                    raise failed(gdal.GetLastErrorMsg())
            except RuntimeError as error:  # where another plugin has switched GDAL's exceptions on
                raise failed(str(error)) from error

    def _fill(self, dataset, plan: RasterPlan, grid: Grid, bands: Iterable[np.ndarray], metadata) -> None:
        """Give a new dataset its place, names, metadata and values."""
        dataset.SetGeoTransform(grid_transform(grid))
        dataset.SetProjection(self._wkt)
        dataset.SetMetadata(dict(metadata))
        categories = _category_list(plan.category_names)
        for number, (name, values) in enumerate(zip(plan.band_names, bands), start=1):
            if self._is_canceled():
                raise Cancelled("The run was cancelled; no file was kept.")
            band = dataset.GetRasterBand(number)
            band.SetDescription(name)
            band.SetNoDataValue(plan.nodata)
            if categories:
                band.SetCategoryNames(categories)
            band.WriteArray(values)


def grid_transform(grid: Grid) -> Tuple[float, float, float, float, float, float]:
    """Return the geotransform of a grid, as GDAL has it."""
    return grid.west, grid.cell_size, 0.0, grid.north, 0.0, -grid.cell_size


def fill_gaps(band: np.ndarray) -> np.ndarray:
    """Return a band with nodata for NaN."""
    return np.where(np.isnan(band), np.float32(FLOAT_NODATA), band)


def bands_of(path: Path) -> Iterator[np.ndarray]:
    """
    Read an array file of the engine band by band, so that it need not fit into memory.

    Parameters
    ----------
    path : Path
        A `.npy` file, shape (n_bands, n_rows, n_cols) or (n_rows, n_cols).

    Yields
    ------
    array, shape (n_rows, n_cols)
    """
    with open(path, "rb") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise _unexpected(path)
        shape, fortran_order, data_type = np.lib.format.read_array_header_1_0(file)
        if fortran_order:
            raise _unexpected(path)
        n_bands, n_rows, n_cols = (1, *shape)[-3:]
        for _ in range(n_bands):
            band = np.fromfile(file, data_type, n_rows * n_cols)
            if band.size < n_rows * n_cols:
                raise _unexpected(path)
            yield band.reshape(n_rows, n_cols)


def describe(**properties: Any) -> Dict[str, str]:
    """Return metadata for a raster: every property but None, in capitals, prefixed with `OADG_`, as text or JSON."""
    return {
        f"OADG_{name.upper()}": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in properties.items()
        if value is not None
    }


def _files_of(staged: Path) -> List[Path]:
    """Return a temporary raster and then all that lies beside it (style, auxiliary metadata …)."""
    return sorted(staged.parent.iterdir(), key=lambda file: (file != staged, file))


def _files_at(final: Path) -> List[Path]:
    """Return what is there of an older raster: the file, its style, auxiliary metadata, overviews and mask."""
    files = [final, final.with_suffix(".qml"), *(Path(f"{final}{suffix}") for suffix in (".aux.xml", ".ovr", ".msk"))]
    return [file for file in files if file.exists()]


def _category_list(names: Mapping[int, str]) -> List[str]:
    """Return names by value from 0 on; empty when a value is negative or beyond a byte, where rasters have no names."""
    if not names or min(names) < 0 or max(names) > 255:
        return []
    return [names.get(value, "") for value in range(max(names) + 1)]


def _cannot_write(plan: RasterPlan, reason: str, remedy: str = "") -> JobError:
    reason = " ".join(reason.split()).rstrip(".") or "no reason is known"
    remedy = remedy or "Choose a folder in which you may write, with space left."
    return JobError(f"The raster {plan.path} cannot be written: {reason}. {remedy}")


def _cannot_replace(final: Path, error: OSError) -> JobError:
    remedy = remedy_of(error, "Is it open in a program? Close it (in QGIS, remove its layer), or choose another name.")
    return JobError(
        f"The file {final} cannot be replaced: {error.strerror}. {remedy} All files are as they were before."
    )


def _unexpected(path: Path) -> EngineError:
    return EngineError(f"The engine wrote {path} in an unexpected form. Are engine and plugin of one version?")


def _cannot_hold(plan: RasterPlan) -> JobError:
    return JobError(
        f"The format {plan.path.suffix or '(no extension)'} of {plan.path} cannot hold "
        f"{counted(len(plan.band_names), 'band')} of type {np.dtype(plan.data_type).name} with their place, their "
        "coordinate system and cells that hold nothing. Choose GeoTIFF (.tif)."
    )
