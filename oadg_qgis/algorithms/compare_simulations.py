"""Whether the model's simulations are better than those of SIS on one's own observations: a page and numbers."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Tuple

import numpy as np
from qgis.core import (
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
    QgsProcessingParameterBand,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterRasterLayer,
)

from ...core.contract.errors import FaciesError, JobError
from ...core.contract.facies import FaciesTable, Value
from ...core.contract.folds import MAX_FOLDS, MIN_FOLDS
from ...core.contract.grid import Grid
from ...core.contract.job import MODEL, QUALITIES
from ...core.contract.side_by_side_job import (
    COUNTED_MODEL,
    COUNTED_SIS,
    KRIGING_OF_SIS,
    MAX_COMPARED,
    MIN_COMPARED,
    REFERENCE,
    SIS,
    SimulationComparisonJob,
    SimulationComparisonResult,
    check_reference_size,
)
from ..categorical_rasters import CategoricalRaster, read_codes
from ..crs import known_crs
from ..destinations import files_of
from ..engine_jobs import run_job
from . import parameters as shared
from . import simulate_parameters as simulation
from .base import errors_for_qgis, is_given, report_to, tr
from .facies_algorithm import FaciesAlgorithm, tell_names
from .image_algorithm import check_file, is_paletted, nodata_of, styles_of, tell_colors
from .parameters import Helped, choice, helped, whole_number

_ALIKE = 0.01
"""By what share the cells of a reference may differ from those of the grid."""
_MOST_OTHER = 0.2
"""Share of the observations that a reference may contradict without a word: some lie near a boundary."""
_SAME = 0.1
"""By what share of a cell they may lie off each other, anywhere, and count as the same ones."""
_HELP = """
<p>Which is better on your data, the model or sequential indicator simulation (SIS), and how sure is that? Both run on
the same observations, with the same grid, seed and number of realizations.</p>
<p><b>Hidden observations</b>: those of one region after another are hidden from both, as in 'Cross-validate facies
maps', and predicted from all others. Log loss, Brier score and accuracy compare the probabilities of the model with
those of the kriging from which SIS draws, and how often each facies occurs in the realizations of either. Compare like
with like: counting maps is coarser than a probability, so that its log loss is higher.</p>
<p><b>Realizations</b> with all observations are shown side by side, and measured with the same rulers: variograms
against those of the observations, connectivity, number of bodies, shares of the facies, and whether all observations
are honoured. With a <b>reference</b>, a map that is known to be true or a training image, they are held against that,
too.</p>
<p>The <b>report</b> begins with the answer in plain words. The gain is by how many percent the model's log loss is
lower; when its 95 % interval (<b>GAIN_LOW</b> to <b>GAIN_HIGH</b>) holds 0, no difference is shown.</p>
<p>It takes as long as both simulations, once for each fold and once more. The covariances of SIS are fitted to the
observations, as in 'Sequential indicator simulation (SIS)'.</p>
"""
_TAGS = (
    "sis,sisim,comparison,benchmark,indicator,kriging,variogram,connectivity,bodies,cross-validation,validation,log "
    "loss,brier,reliability,calibration,facies,simulation,geostatistics,quality"
)
_SCORES = (
    ("LOG_LOSS", "log_loss", "Log loss (nats) of"),
    ("BRIER", "brier", "Brier score of"),
    ("ACCURACY", "accuracy", "Accuracy (share) of"),
)
_METHODS = (
    ("", MODEL, "the model's probabilities"),
    ("_KRIGING", KRIGING_OF_SIS, "the kriging of SIS"),
    ("_REALIZATIONS", COUNTED_MODEL, "the model's realizations, counted"),
    ("_SIS", COUNTED_SIS, "SIS's realizations, counted"),
)
_GAINS = (
    ("GAIN", MODEL, "Gain over the kriging of SIS (%)"),
    ("GAIN_REALIZATIONS", COUNTED_MODEL, "Gain of realizations over those of SIS (%)"),
)
_BOUNDS = (("", "mean", ""), ("_LOW", "low", ", lower bound"), ("_HIGH", "high", ", upper bound"))
_RULERS = (
    ("VARIOGRAM_MISFIT", "variogram_misfit", "Variogram misfit to the observations (share of the sill)"),
    ("REFERENCE_MISFIT", "reference_misfit", "Variogram misfit to the reference (share of the sill)"),
    ("CONNECTIVITY", "connectivity", "Connected pairs (share)"),
    ("CONNECTIVITY_MISFIT", "connectivity_misfit", "Connectivity misfit to the reference (share of pairs)"),
    ("BODIES", "bodies", "Bodies in a map"),
    ("SHARE_DIFFERENCE", "share_difference", "Largest difference of a facies' share from the observed one"),
    ("SECONDS", "seconds", "Seconds for all realizations"),
)
_MAPS = (("_MODEL", MODEL, "the model"), ("_SIS", SIS, "SIS"), ("_REFERENCE", REFERENCE, "the reference"))
_NOT_OF_A_REFERENCE = ("reference_misfit", "connectivity_misfit", "seconds")


class CompareSimulations(FaciesAlgorithm):
    """Scores and reproduction of the model and of SIS on the same data."""

    ID = "comparesimulations"
    NAME = "Compare simulations with SIS"
    SUMMARY = "Compares the model's probabilities and realizations with those of sequential indicator simulation."
    HELP = _HELP
    GROUP_ID = "validation"
    GROUP = "Validation"
    TAGS = tuple(_TAGS.split(","))

    def initAlgorithm(self, configuration=None) -> None:
        """Declare parameters and outputs."""
        for parameter in _parameters():
            self.addParameter(parameter)
        for name, description in _numbers():
            self.addOutput(QgsProcessingOutputNumber(name, tr(description)))
        self.addOutput(QgsProcessingOutputNumber("N_USED", tr("Observations used")))
        self.addOutput(QgsProcessingOutputString("VERDICT", tr("Verdict")))

    def read(self, parameters, context, feedback) -> None:
        """Take hold of observations, mask, extent and reference, and look where the page is to go."""
        super().read(parameters, context, feedback)
        self.read_area(parameters, context, feedback)
        self._read_reference_layer(parameters, context)
        self.take_page(parameters, context)

    def _read_reference_layer(self, parameters, context) -> None:
        """Take hold of the reference's file, if one is given."""
        self._read_codes: Optional[Callable[[], CategoricalRaster]] = None
        if not is_given(parameters, "REFERENCE"):
            return
        layer = self.parameterAsRasterLayer(parameters, "REFERENCE", context)
        if layer is None:
            raise JobError(self.invalidRasterError(parameters, "REFERENCE"))
        check_file(layer)
        band = int(self.number_of(parameters, "BAND", context, default=1))
        self._reference_name, self._reference_crs = layer.name(), known_crs(layer.crs())
        self._reference_styles = styles_of(layer, band)
        how = {"take_colors": not is_paletted(layer, band), "crs": self._reference_crs.toWkt()}
        self._read_codes = functools.partial(read_codes, layer.source(), band, nodata_of(layer, band), **how)
        self._inputs.update(files_of("REFERENCE", layer, context))

    def processAlgorithm(self, parameters, context, feedback) -> Dict[str, Any]:
        """Run the job and write the page; every declared key is returned, None for a number that there is not."""
        with errors_for_qgis():
            self.raise_problem()
            job, inside, reference = self._make_job(parameters, context, feedback)
            arrays, progress = {"mask_path": inside, "reference_path": reference}, report_to(feedback)
            with run_job(job, arrays=arrays, on_progress=progress, is_cancelled=feedback.isCanceled) as result:
                page = self.leave_page(result.page_path)
        feedback.pushInfo(result.verdict)
        return {
            "REPORT": page,
            **_values(result),
            "N_USED": len(job.class_index),
            "VERDICT": result.verdict,
        }

    def _make_job(
        self, parameters, context, feedback
    ) -> Tuple[SimulationComparisonJob, Optional[np.ndarray], Optional[np.ndarray]]:
        """Return job, mask and reference; tell all that was decided."""
        common, inside = self.divide(parameters, context, feedback, self._read(), tr("both methods"))
        job = SimulationComparisonJob(
            **vars(common),
            n_realizations=self.parameterAsInt(parameters, "N_REALIZATIONS", context),
            quality=self.parameterAsEnumString(parameters, "QUALITY", context),
            seed=self.parameterAsInt(parameters, "SEED", context),
        )
        return job, inside, self._read_reference(job, inside, feedback)

    def _read_reference(
        self, job: SimulationComparisonJob, inside: Optional[np.ndarray], feedback
    ) -> Optional[np.ndarray]:
        """Return the reference's class indices: those of the grid's own cells where it covers them, else all."""
        if self._read_codes is None:
            return None
        grid, facies = job.grid, job.facies
        raster = self._read_codes()
        tell_colors(raster, self._reference_name, feedback)
        raster, metres, is_same_crs = self._in_one_crs(raster, feedback)
        _check_reference(raster, grid, metres)
        class_index, found = raster.among(facies, self._reference_styles)
        _check_facies(found, facies)
        tell_names(found, facies, self._reference_name, feedback)
        if raster.cell_size is not None and is_same_crs:
            south, east = (raster.north - grid.north) / grid.cell_size, (grid.west - raster.west) / grid.cell_size
            row, col = round(south), round(east)
            part = class_index[max(row, 0) : row + grid.n_rows, max(col, 0) : col + grid.n_cols]
            drift = raster.drift + abs(raster.cell_size / grid.cell_size - 1) * max(class_index.shape)
            is_same = max(abs(south - row), abs(east - col)) + drift <= _SAME
            if is_same and min(row, col) >= 0 and part.shape == grid.shape and (part >= 0).any():
                feedback.pushInfo(tr("The reference covers the grid: the same cells of it are compared."))
                known = (part if inside is None else part[inside]) >= 0
                feedback.pushInfo(tr("It is known in {:.3g} % of the simulated cells.").format(100 * known.mean()))
                _tell_disagreement(part, job, feedback)
                return part
        feedback.pushInfo(
            tr("The reference has none of the grid's cells, or not all: pieces of its size are cut at random.")
        )
        feedback.pushInfo(tr("It is known in {:.3g} % of its cells.").format(100 * (class_index >= 0).mean()))
        return class_index

    def _in_one_crs(self, raster: CategoricalRaster, feedback) -> Tuple[CategoricalRaster, float, bool]:
        """
        Take the coordinates of a reference, or of the grid, for the other's where only one of them has a CRS.

        Returns
        -------
        raster, metres : CategoricalRaster, float
            The reference, and how many metres a unit of the grid has.
        is_same : bool
            Whether both have one CRS.
        """
        theirs, ours = self._reference_crs.isValid(), self._crs.isValid()
        if raster.cell_size is None or theirs == ours:
            return raster, self._metres, self._reference_crs == self._crs
        if ours:
            feedback.pushWarning(tr("The reference has no CRS; its coordinates are taken for the grid's."))
            return replace(raster, metres=self._metres), self._metres, True
        feedback.pushWarning(tr("The grid has no CRS; its coordinates are taken for the reference's."))
        return raster, raster.metres or self._metres, True


def _check_reference(raster: CategoricalRaster, grid: Grid, metres: float) -> None:
    """
    Raise `JobError` for a reference that holds nothing, has cells of another size, or is smaller than the grid.

    A unit of the grid has so many `metres`.
    """
    if not raster.known.any():
        raise JobError("The reference holds nodata only. Check its nodata value, and the band.")
    if raster.cell_size is not None and raster.metres is None:
        raise JobError(
            "The reference counts in degrees, so its cells have no size to be compared with those of the grid. Bring "
            "it into the CRS of the grid first, with 'Warp (reproject)' by nearest neighbour."
        )
    if raster.cell_size is not None and abs(raster.cell_size * raster.metres / (grid.cell_size * metres) - 1) > _ALIKE:
        raise JobError(
            f"The cells of the reference are {raster.cell_size * raster.metres:.6g} m wide, those of the grid "
            f"{grid.cell_size * metres:.6g} m: bodies and connectivity are counted in cells, so they must be equal. "
            f"Set CELL_SIZE to {raster.cell_size * raster.metres / metres:.6g}, or resample the reference with 'Warp "
            "(reproject)' by nearest neighbour."
        )
    check_reference_size(raster.codes.shape, grid)


def _check_facies(found: Mapping[Value, Optional[int]], facies: FaciesTable) -> None:
    """Raise `FaciesError` when some codes of the reference were found to be no facies of the observations."""
    unknown = [code for code, k in found.items() if k is None]
    if unknown:
        raise FaciesError(
            f"The reference holds {', '.join(f'{code:g}' for code in unknown[:5])}, which no facies of the "
            f"observations has as its code; these are {', '.join(f'{f.code} ({f.name})' for f in facies.facies)}. "
            "Reclassify the reference, for example with 'Reclassify by table', give it category names, or choose its "
            "band."
        )


def _tell_disagreement(truth: np.ndarray, job: SimulationComparisonJob, feedback) -> None:
    """Warn when many observations are of other facies than a map (n_rows, n_cols) that is said to be true."""
    row, col, _ = job.grid.cell_of(np.array(job.easting), np.array(job.northing))
    is_known = truth[row, col] >= 0
    other = int((truth[row, col] != job.class_index)[is_known].sum())
    if other > _MOST_OTHER * is_known.sum():
        feedback.pushWarning(
            tr(
                "The reference shows another facies at {:,} of {:,} observations. Are its codes those of their facies, "
                "and is it a map of the same place? If not, what is said of it tells nothing."
            ).format(other, int(is_known.sum()))
        )


def _numbers() -> Iterator[Tuple[str, str]]:
    """Yield name and description of the outputs that `_values` returns."""
    for name, _, words in _SCORES:
        yield from ((name + suffix, f"{words} {of_what}") for suffix, _, of_what in _METHODS)
    for name, _, words in _GAINS:
        yield from ((name + suffix, words + bound) for suffix, _, bound in _BOUNDS)
    for name, what, words in _RULERS:
        for suffix, of_maps, of_what in _MAPS:
            if of_maps != REFERENCE or what not in _NOT_OF_A_REFERENCE:
                yield name + suffix, f"{words}: {of_what}"


def _values(result: SimulationComparisonResult) -> Dict[str, Optional[float]]:
    """Return the outputs of `_numbers` by name."""
    values: Dict[str, Optional[float]] = {}
    for name, score, _ in _SCORES:
        values.update({name + suffix: result.scores[method][score] for suffix, method, _ in _METHODS})
    for name, method, _ in _GAINS:
        values.update({name + suffix: result.gains[method][bound] for suffix, bound, _ in _BOUNDS})
    for name, what, _ in _RULERS:
        for suffix, of_maps, _ in _MAPS:
            if of_maps != REFERENCE or what not in _NOT_OF_A_REFERENCE:
                values[name + suffix] = result.reproduction.get(of_maps, {}).get(what)
    return values


def _parameters() -> Iterator[QgsProcessingParameterDefinition]:
    """Yield the parameters in the dialog's order, each with its help."""
    yield from helped(shared.observations())
    yield from helped(simulation.area(tr("Observations elsewhere are not used.")))
    yield from helped(shared.cells())
    yield from helped(_settings())
    yield from helped(_advanced(), advanced=True)
    yield from helped(_results())


def _settings() -> Iterator[Helped]:
    yield shared.model()
    yield (
        whole_number("N_REALIZATIONS", tr("Number of realizations"), 20, MIN_COMPARED, MAX_COMPARED),
        tr(
            "Of either method, with each fold hidden and with all observations. Scores of other numbers do not compare."
        ),
    )
    yield (
        whole_number("N_FOLDS", tr("Number of folds"), 10, MIN_FOLDS, MAX_FOLDS),
        tr(
            "Into how many regions the observations are divided, one of which is hidden at a time; each takes a "
            "simulation by either method. More folds make the interval of the gain more certain."
        ),
    )
    yield (
        QgsProcessingParameterRasterLayer("REFERENCE", tr("Reference"), optional=True),
        tr(
            "A raster of facies that is known to be true, or a training image: what variograms, connectivity and "
            "bodies should be. Its facies have the names of the observations' (as category names, say), "
            "or their codes, as results of OADG have them; it is at least as large as the grid, and its cells are as "
            "large. For the same cells to be compared give it as EXTENT, too."
        ),
    )


def _advanced() -> Iterator[Helped]:
    yield (
        QgsProcessingParameterBand("BAND", tr("Band of the reference"), None, "REFERENCE", optional=True),
        tr(
            "The band that holds the codes, by default 1. Leave it so for a coloured picture, which is read as a "
            "whole, unless its layer has a paletted style for this band."
        ),
    )
    yield shared.model_file()
    yield choice("QUALITY", tr("Quality"), QUALITIES), tr("How many passes the model's realizations get.")
    yield shared.seed(tr("Of the folds and of both simulations; another seed gives others."))
    yield shared.device()


def _results() -> Iterator[Helped]:
    yield shared.report(tr("A page with the answer in plain words, maps, plots and numbers; it needs no other file."))
