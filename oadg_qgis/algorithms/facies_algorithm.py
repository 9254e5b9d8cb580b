"""What algorithms share that let the engine work on observed facies: reading, the grid, and what the user is told."""

from __future__ import annotations

from typing import Dict, List, Mapping, Optional, Tuple

import numpy as np
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsRectangle,
)

from ...core.contract.cautions import cautions, stray_caution
from ...core.contract.conditioning import DEPTH_REMEDY, STACKED_SHARE, ConditioningData, place_on_grid
from ...core.contract.errors import JobError
from ...core.contract.facies import Facies, FaciesTable, Value
from ...core.contract.folds import check_facies_of_folds, check_observations, fold_cautions, folds_by_location
from ...core.contract.grid import Grid
from ...core.contract.model_header import ModelHeader, read_header
from ...core.contract.validation_job import CrossValidationJob
from ...core.contract.words import counted
from ..crs import check_projected, known_crs, metres_in_unit, unit_of
from ..destinations import files_of
from ..grids import make_grid
from ..layers import Observations
from ..mask import crop, extent_of, rasterise, read_polygons
from .base import is_given, tr
from .engine_algorithm import EngineAlgorithm, extent_of_source, tell_without_crs

CELL_SIZE_RATIO = 1.5
"""Between the cells of a grid and those of a model's training image: what is told to the user from here on."""


class FaciesAlgorithm(EngineAlgorithm):
    """Base of the algorithms that have the parameters of `parameters.py`."""

    _extent: Optional[QgsRectangle] = None
    _polygons: Optional[List[bytes]] = None

    def read(self, parameters, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> None:
        """Take hold of the observations and the CRS, and note from which files the run reads."""
        source, layer = self.observed(parameters, context)
        crs = known_crs(source.sourceCrs())
        if not crs.isValid() and is_given(parameters, "EXTENT"):
            crs = self.parameterAsExtentCrs(parameters, "EXTENT", context)
        mask = self.parameterAsSource(parameters, "MASK", context)
        if not crs.isValid() and mask is not None:
            crs = known_crs(mask.sourceCrs())
        extent = extent_of_source(source)
        self.choose_crs(parameters, context, extent, crs)
        self._inputs = self.model_files(parameters, context)
        words = tr("The observations have no CRS; their coordinates are taken for the grid's.")
        self._read = self.take_observations(parameters, context, feedback, source, layer, words)
        self._source_name = source.sourceName()

    def read_area(self, parameters, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> None:
        """Read the mask, and the extent, which is the mask's where none is given; the CRS is known by then."""
        mask = self.parameterAsSource(parameters, "MASK", context)
        if mask is not None and self._crs.isValid():
            tell_without_crs(mask, tr("The mask has no CRS; its coordinates are taken for the grid's."), feedback)
        self._polygons = None if mask is None else read_polygons(mask, self._crs, context.transformContext())
        self._inputs.update(files_of("MASK", self.layer_of_source(parameters, "MASK", context), context))
        self._extent = None
        if is_given(parameters, "EXTENT"):
            self._extent = self.parameterAsExtent(parameters, "EXTENT", context, self._crs)
        elif self._polygons is not None:
            self._extent = extent_of(self._polygons)

    def choose_crs(self, parameters, context, extent: QgsRectangle, crs: QgsCoordinateReferenceSystem) -> None:
        """Take the CRS of the grid: by default that of an extent; raise unless it is known and projected."""
        self._crs = crs
        if is_given(parameters, "CRS"):
            self._crs = self.parameterAsCrs(parameters, "CRS", context)
            if not self._crs.isValid():
                raise JobError(
                    f"The parameter CRS is {parameters['CRS']!r}, which QGIS does not know. Give a projected one, for "
                    "example EPSG:32632, or leave it empty for that of the observations or the extent."
                )
        where = (self._crs, extent, crs, context.transformContext())
        check_projected(*where)
        self._metres, self._caution = metres_in_unit(*where)

    def cell_size_of(self, parameters, context, header: ModelHeader) -> Optional[float]:
        """Return the cell size, that of the model's training image by default; None when it is to be chosen."""
        cell_size = self.number_of(parameters, "CELL_SIZE", context)
        return self._cell_size_of_image(header) if cell_size is None else cell_size

    def _cell_size_of_image(self, header: ModelHeader) -> Optional[float]:
        """Return the cell size of the model's training image in the grid's units; None when it is not told."""
        return None if header.cell_size is None else header.cell_size / self._metres

    def grid_of(
        self, parameters, context, header: ModelHeader, observations: Observations
    ) -> Tuple[Grid, Optional[np.ndarray]]:
        """Return the grid, and its cells inside the mask if there is one, to which it is cropped."""
        grid = make_grid(observations, self._extent, self.cell_size_of(parameters, context, header))
        return (grid, None) if self._polygons is None else crop(grid, rasterise(self._polygons, grid))

    def divide(
        self, parameters, context, feedback, observations: Observations, hidden_from: str
    ) -> Tuple[CrossValidationJob, Optional[np.ndarray]]:
        """
        Divide the observations into folds on a grid; tell all that was decided.

        Parameters
        ----------
        parameters, context, feedback
            As algorithms get them.
        observations : Observations
            All of them.
        hidden_from : str
            From whom those are hidden, beside their fold's, that lost their cell to another facies.

        Returns
        -------
        job : CrossValidationJob
            A cross-validation with these folds.
        inside : bool array, shape (n_rows, n_cols), or None
            The mask.
        """
        model = self.model_of(parameters, context)
        header = read_header(model)
        facies, class_index = facies_of(observations, header.facies, feedback)
        easting, northing = observations.easting, observations.northing
        if self._extent is None:
            check_observations(easting, northing)  # before a grid is made of them
        grid, inside = self.grid_of(parameters, context, header, observations)
        data = place_on_grid(easting, northing, class_index, grid, facies, inside=inside)
        row, col, is_used = grid.cell_of(easting, northing)
        if inside is not None:
            is_used &= inside[row, col]
        easting, northing, class_index = easting[is_used], northing[is_used], class_index[is_used]
        check_observations(easting, northing)
        n_folds, seed = (self.parameterAsInt(parameters, name, context) for name in ("N_FOLDS", "SEED"))
        fold = folds_by_location(easting, northing, grid, n_folds, seed=seed)
        check_facies_of_folds(fold, class_index, facies)
        self.tell_grid(grid, parameters, context, header, feedback)
        outside = (
            tr("observation lies outside the extent, or in a cell whose centre is outside the mask"),
            tr("observations lie outside the extent, or in cells whose centre is outside the mask"),
        )
        lost = (
            tr("observation is predicted, but hidden from {} by another facies in its cell").format(hidden_from),
            tr("observations are predicted, but hidden from {} by another facies in their cell").format(hidden_from),
        )
        others = {outside: data.n_outside, lost: data.n_conflicts}
        tell_observations(observations, data, facies, feedback, unit=self.unit, n_used=len(fold), others=others)
        for caution in fold_cautions(fold, class_index, facies):
            feedback.pushWarning(caution)
        self.tell_cautions(data, grid, feedback, inside)
        self.tell_cell_size(header, grid, feedback)
        feedback.pushInfo(tr("The model is {}.").format(model))
        job = CrossValidationJob(
            grid=grid,
            facies=facies,
            easting=tuple(easting.tolist()),
            northing=tuple(northing.tolist()),
            class_index=tuple(class_index.tolist()),
            fold=tuple(fold.tolist()),
            model_path=str(model),
            work_folder="",
            subject=f"{self._source_name}, {self.parameterAsString(parameters, 'FACIES_FIELD', context)}",
            unit=self.unit,
            device=self.parameterAsEnumString(parameters, "DEVICE", context),
        )
        return job, inside

    @property
    def unit(self) -> str:
        """What the grid's CRS counts in."""
        return unit_of(self._crs)

    def tell_grid(self, grid: Grid, parameters, context, header: ModelHeader, feedback) -> None:
        """Tell the grid, and where the size of its cells comes from."""
        reason = ""
        if self.number_of(parameters, "CELL_SIZE", context) is None:
            reason = tr(" (chosen from the distance between observations)")
            if header.cell_size is not None:
                reason = tr(" (as in the model's training image)")
            elif header.facies is not None:
                feedback.pushWarning(
                    tr(
                        "The model {} does not tell how large the cells of its training image are, and its structures "
                        "are counted in cells: in cells of {:g} {}, chosen from the distance between observations, "
                        "they may be too large or too small. Give CELL_SIZE so that they have their size."
                    ).format(header.name, grid.cell_size, self.unit)
                )
        if self._caution:
            feedback.pushWarning(self._caution)
        feedback.pushInfo(
            tr("The grid has {} x {} of {:g} x {:g} {}{}, in {}.").format(
                counted(grid.n_rows, tr("row"), tr("rows")),
                counted(grid.n_cols, tr("column"), tr("columns")),
                grid.cell_size,
                grid.cell_size,
                self.unit,
                reason,
                self._crs.userFriendlyIdentifier() or tr("an unknown CRS"),
            )
        )

    def tell_cautions(self, data: ConditioningData, grid: Grid, feedback, inside: Optional[np.ndarray] = None) -> None:
        """Warn where and why a map of these observations would say little."""
        for caution in cautions(data, grid, inside=inside, unit=self.unit):
            feedback.pushWarning(caution)

    def tell_cell_size(self, header: ModelHeader, grid: Grid, feedback) -> None:
        """Warn when the cells are much larger or smaller than those of the model's training image."""
        words = tr("so they will be {:.2g} times as large as there. Use cells of {:g} to have them as they are.")
        tell_cell_size(header, grid.cell_size, self._metres, self.unit, words, feedback)


def tell_cell_size(header: ModelHeader, cell_size: float, metres: float, unit: str, words: str, feedback) -> None:
    """
    Warn when cells are much larger or smaller than those of a model's training image.

    Parameters
    ----------
    header : ModelHeader
        What the model says of itself.
    cell_size : float
        In a unit that has so many `metres`.
    metres, unit : float, str
        The unit.
    words : str
        What comes of it, with places for how many times as large they are, and for the cell size of the image.
    feedback : QgsProcessingFeedback
        Whom it is told to.
    """
    if header.cell_size is None:
        return
    of_image = header.cell_size / metres
    if 1 / CELL_SIZE_RATIO < cell_size / of_image < CELL_SIZE_RATIO:
        return
    feedback.pushWarning(
        tr(
            "Cells of {:g} {} are not those of the model's training image, {:g}: its structures are counted in cells, "
            "{}"
        ).format(cell_size, unit, of_image, words.format(cell_size / of_image, of_image))
    )


def tell_observations(
    observations: Observations,
    data: ConditioningData,
    facies: FaciesTable,
    feedback,
    *,
    unit: str,
    n_used: int,
    others: Mapping[Tuple[str, str], int],
) -> None:
    """
    Tell how many observations are used, what became of the others, and what looks suspicious.

    Parameters
    ----------
    observations : Observations
        All of them.
    data : ConditioningData
        The same on the grid.
    facies : FaciesTable
        Their facies.
    feedback : QgsProcessingFeedback
        Whom it is told to.
    unit : str
        What distances are counted in.
    n_used : int
        How many are used.
    others : mapping of (str, str) to int
        What is to be said of one and of several of them, beside those without facies or position, and how many there
        are.
    """
    feedback.pushInfo(
        tr("{:,} of {:,} observations are used, in {}, with {} facies: {}.").format(
            n_used,
            observations.n_points,
            counted(len(data), tr("cell"), tr("cells")),
            len(facies),
            ", ".join(label(f) for f in facies.facies),
        )
    )
    numbers = {
        **others,
        (tr("observation has no facies (NULL or blank)"), tr("observations have no facies (NULL or blank)")): (
            observations.n_empty
        ),
        (tr("observation has no usable position"), tr("observations have no usable position")): (
            observations.n_nowhere
        ),
    }
    for words, number in numbers.items():
        if number:
            feedback.pushWarning(f"{counted(number, *words)}.")
    stray = stray_caution(observations.easting, observations.northing, unit)
    if stray:
        feedback.pushWarning(stray)
    if data.n_conflict_cells > STACKED_SHARE * len(data):
        feedback.pushWarning(
            tr("Of {} with observations, {} different facies. Are they intervals of boreholes?").format(
                counted(len(data), tr("cell"), tr("cells")), counted(data.n_conflict_cells, tr("holds"), tr("hold"))
            )
            + f" {DEPTH_REMEDY} "
            + tr("Otherwise use smaller cells.")
        )
    alike = _alike_names(facies)
    if alike:
        feedback.pushWarning(
            tr("These facies differ in upper and lower case only, and count as different ones: {}.").format(
                "; ".join(alike)
            )
        )


def lost() -> Tuple[str, str]:
    """Return what is told of an observation, and of several, whose facies is not that of their cell."""
    return tr("observation lost against another facies in its cell"), tr(
        "observations lost against another facies in their cell"
    )


def facies_of(
    observations: Observations, known: Optional[FaciesTable], feedback, whose: str = "model"
) -> Tuple[FaciesTable, np.ndarray]:
    """Return the facies of observations, as their `facies_table` does, and tell which numbers are told by names."""
    facies, class_index = observations.facies_table(known, whose)
    tell_names(dict(zip(observations.values, class_index.tolist())), facies, tr("observations"), feedback)
    return facies, class_index


def tell_names(found: Mapping[Value, Optional[int]], facies: FaciesTable, name: str, feedback) -> None:
    """Tell what facies the numbers of a layer or raster, by its name, were found to be whose codes are others."""
    renumbered = {v: k for v, k in found.items() if not (k is None or isinstance(v, str) or facies.codes[k] == v)}
    if renumbered:
        feedback.pushInfo(
            tr("The facies of {!r} are told by their names, for its codes are others: {}.").format(
                name, ", ".join(f"{v} = {label(facies.facies[k])}" for v, k in renumbered.items())
            )
        )


def label(facies: Facies) -> str:
    """Return name and code of a facies, once when they are the same."""
    return facies.name if facies.name == str(facies.code) else f"{facies.name} ({facies.code})"


def _alike_names(facies: FaciesTable) -> List[str]:
    """Return the names that differ in case only, those of each kind in one text."""
    kinds: Dict[str, List[str]] = {}
    for name in facies.names:
        kinds.setdefault(name.casefold(), []).append(name)
    return [", ".join(names) for names in kinds.values() if len(names) > 1]
