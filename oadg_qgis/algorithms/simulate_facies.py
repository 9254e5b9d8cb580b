"""Facies realizations and an entropy map from point observations: layers to one job, arrays to four rasters."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
    QgsUnitTypes,
    QgsVectorLayer,
)

from ...core.conditioning import DEPTH_REMEDY, STACKED_SHARE, ConditioningData, place_on_grid
from ...core.errors import EngineError, JobError
from ...core.facies import Facies, FaciesTable
from ...core.grid import Grid
from ...core.job import SimulationJob, SimulationResult
from ..destinations import check_destinations, file_of
from ..engine_client import simulate
from ..environment import find_interpreter
from ..layers import check_projected, make_grid, observations_reader
from ..mask import crop, extent_of, rasterise, read_polygons
from ..models import installed_models, model_path, unknown_model
from ..rasters import FLOAT_NODATA, RasterPlan, RasterWriter, bands_of, describe, storage_of
from ..styles import ApplySavedStyle, entropy_style, facies_style, probability_style
from .base import OadgAlgorithm, errors_for_qgis, is_given, plugin_version, report_to, tr
from .simulate_parameters import parameters as declared_parameters

FEW_OBSERVATIONS = 10
RASTERS = ("REALIZATIONS", "ENTROPY", "PROBABILITIES", "MOST_PROBABLE")
_ENGINE_SHARE = 0.95  # of the progress; the rest is for writing
_HELP = """
<p>From points with an observed facies (boreholes, outcrops, soil pits) it makes equally likely maps of the facies
between them, and a map of how uncertain the facies is. There is no training image, no variogram and no parameter to
tune: the universal model reads the observations.</p>
<p><b>Realizations</b> honour every observation; where they differ, the facies is not known. <b>Entropy</b> tells that
at a glance, in bits: 0 where the facies is certain, log2 of the number of facies where all are equally likely.
<b>Probabilities</b> and <b>most probable facies</b> come from the same computation as the entropy.</p>
<p>Integer facies keep their codes. Facies given as text get the codes 1, 2, 3 … in the order of their names. Names and
colours come from the layer's own categorised style, when it has one. Observations with an empty facies are skipped
and counted.</p>
<p>Of boreholes with several intervals choose a depth first: select the intervals at one level.</p>
"""
_TAGS = (
    "facies,lithology,rock,soil,geology,borehole,drillhole,well,outcrop,simulation,geostatistics,kriging,interpolation,"
    "categorical,uncertainty,entropy,probability,realization,conditional,multiple-point,mps,sis"
)


class SimulateFacies(OadgAlgorithm):
    """Realizations, probabilities, most probable facies and entropy of an area with observed facies."""

    ID = "simulatefacies"
    NAME = "Simulate facies from observations"
    SUMMARY = "Simulates facies maps and their uncertainty from point observations."
    HELP = _HELP
    TAGS = tuple(_TAGS.split(","))

    def why_not(self) -> str:
        """Return why the engine cannot be started; empty when it can."""
        try:
            find_interpreter()
        except EngineError as error:
            return str(error)
        return ""

    def initAlgorithm(self, configuration=None) -> None:
        """Declare parameters and outputs."""
        for parameter in declared_parameters():
            self.addParameter(parameter)
        for name, description in (
            ("N_USED", tr("Observations used")),
            ("N_SKIPPED", tr("Observations not used")),
            ("N_FACIES", tr("Number of facies")),
            ("MEAN_ENTROPY", tr("Mean entropy (bits)")),
            ("SEED", tr("Seed")),
            ("SECONDS", tr("Seconds")),
        ):
            self.addOutput(QgsProcessingOutputNumber(name, description))
        self.addOutput(QgsProcessingOutputString("DEVICE", tr("Device")))

    def checkParameterValues(self, parameters, context) -> Tuple[bool, str]:
        """Check as Processing does; name the installed models when another one is asked for."""
        valid, message = super().checkParameterValues(parameters, context)
        name = parameters.get("MODEL")
        if not valid and isinstance(name, str) and name not in installed_models():
            return False, unknown_model(name)
        return valid, message

    def read(self, parameters, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> None:
        """Take hold of the observations, read the mask and the extent, and from which files they come."""
        source = self.parameterAsSource(parameters, "OBSERVATIONS", context)
        layer = self.layer_of_source(parameters, "OBSERVATIONS", context)
        if source is None or layer is None:
            raise JobError(self.invalidSourceError(parameters, "OBSERVATIONS"))
        transforms = context.transformContext()
        crs = source.sourceCrs()
        if is_given(parameters, "CRS"):
            crs = self.parameterAsCrs(parameters, "CRS", context)
            if not crs.isValid():
                raise JobError(
                    f"The parameter CRS is {parameters['CRS']!r}, which QGIS does not know. Give a projected one, for "
                    "example EPSG:32632, or leave it away for that of the observations."
                )
        check_projected(crs, source.sourceExtent(), source.sourceCrs(), transforms)
        if not source.sourceCrs().isValid():
            feedback.pushWarning(tr("The observations have no CRS; their coordinates are taken for the grid's."))
        field = self.parameterAsString(parameters, "FACIES_FIELD", context)
        self._crs = crs
        restricted = not isinstance(parameters["OBSERVATIONS"], (str, QgsVectorLayer))
        self._read = observations_reader(source, layer, field, crs, transforms, restricted=restricted)
        mask = self.parameterAsSource(parameters, "MASK", context)
        self._polygons = None if mask is None else read_polygons(mask, crs, transforms)
        model_file = self.parameterAsString(parameters, "MODEL_FILE", context)
        files = {
            "OBSERVATIONS": file_of(layer),
            "MASK": file_of(self.layer_of_source(parameters, "MASK", context)),
            "MODEL_FILE": Path(model_file) if model_file else None,
        }
        self._inputs = {name: path for name, path in files.items() if path is not None}
        self._extent = None
        if is_given(parameters, "EXTENT"):
            self._extent = self.parameterAsExtent(parameters, "EXTENT", context, crs)
        elif self._polygons is not None:
            self._extent = extent_of(self._polygons)

    def processAlgorithm(self, parameters, context, feedback) -> Dict[str, Any]:
        """Run the job and write the rasters; every declared key is returned, None for a raster that is not made."""
        with errors_for_qgis():
            self.raise_problem()
            return self._simulate(parameters, context, feedback)

    def _simulate(self, parameters, context, feedback) -> Dict[str, Any]:
        started = time.monotonic()
        job, inside, n_used = self._make_job(parameters, context, feedback)
        plans = self._plan_rasters(parameters, context, job)
        with RasterWriter(job.grid, self._crs, feedback.isCanceled) as writer:
            for plan in plans.values():
                writer.check(plan)
            progress = report_to(feedback, _ENGINE_SHARE)
            with simulate(job, mask=inside, on_progress=progress, is_cancelled=feedback.isCanceled) as result:
                _write_rasters(writer, plans, job, result)
            writer.commit()
        seconds = round(time.monotonic() - started, 3)
        feedback.setProgress(100)
        feedback.pushInfo(
            tr("The mean entropy is {:.3f} of at most {:.3f} bits. The run took {:.1f} s on {}, with seed {}.").format(
                result.mean_entropy_bits, math.log2(len(job.facies)), seconds, result.device, result.seed
            )
        )
        return {
            **{name: str(plans[name].path) if name in plans else None for name in RASTERS},
            "N_USED": n_used,
            "N_SKIPPED": self._observations.n_points - n_used,
            "N_FACIES": len(job.facies),
            "MEAN_ENTROPY": result.mean_entropy_bits,
            "SEED": result.seed,
            "SECONDS": seconds,
            "DEVICE": result.device,
        }

    def _make_job(self, parameters, context, feedback) -> Tuple[SimulationJob, Optional[np.ndarray], int]:
        """Place the observations on a grid; return job, mask and number of points used; report all that was decided."""
        model = model_path(
            self.parameterAsEnumString(parameters, "MODEL", context),
            self.parameterAsString(parameters, "MODEL_FILE", context),
        )
        observations = self._observations = self._read()
        facies, class_index = observations.facies_table()
        cell_size = None
        if is_given(parameters, "CELL_SIZE"):
            cell_size = self.parameterAsDouble(parameters, "CELL_SIZE", context)
        grid = make_grid(observations, self._extent, cell_size)
        inside = None
        if self._polygons is not None:
            grid, inside = crop(grid, rasterise(self._polygons, grid))
        data = place_on_grid(
            observations.easting,
            observations.northing,
            class_index,
            grid,
            facies,
            on_conflict=self.parameterAsEnumString(parameters, "ON_CONFLICT", context),
            inside=inside,
        )
        job = SimulationJob(
            grid=grid,
            facies=facies,
            row=tuple(data.row.tolist()),
            col=tuple(data.col.tolist()),
            class_index=tuple(data.class_index.tolist()),
            model_path=str(model),
            work_folder="",
            n_realizations=self.parameterAsInt(parameters, "N_REALIZATIONS", context),
            quality=self.parameterAsEnumString(parameters, "QUALITY", context),
            seed=self.parameterAsInt(parameters, "SEED", context),
            device=self.parameterAsEnumString(parameters, "DEVICE", context),
        )
        self._report_grid(grid, inside, cell_size is None, feedback)
        self._report_data(data, facies, feedback)
        feedback.pushInfo(tr("The model is {}, the quality {}.").format(model, job.quality))
        return job, inside, data.n_points

    def _report_grid(self, grid: Grid, inside: Optional[np.ndarray], by_default: bool, feedback) -> None:
        feedback.pushInfo(
            tr("The grid has {:,} rows x {:,} columns of {:g} x {:g} {}{}, in {}.").format(
                *grid.shape,
                grid.cell_size,
                grid.cell_size,
                _unit(self._crs),
                tr(" (chosen from the distance between observations)") if by_default else "",
                self._crs.userFriendlyIdentifier() or tr("an unknown CRS"),
            )
        )
        if inside is not None:
            feedback.pushInfo(tr("The mask leaves {:,} of {:,} cells.").format(int(inside.sum()), grid.n_cells))

    def _report_data(self, data: ConditioningData, facies: FaciesTable, feedback) -> None:
        """Tell what of the observations is used, what is not and why, and what to be careful about."""
        observations = self._observations
        feedback.pushInfo(
            tr("{:,} of {:,} observations are used, in {:,} cells, with {} facies: {}.").format(
                data.n_points,
                observations.n_points,
                len(data),
                len(facies),
                ", ".join(_label(f) for f in facies.facies),
            )
        )
        for number, reason in (
            (data.n_outside, tr("lie outside the extent or the mask")),
            (data.n_conflicts, tr("lost against another facies in their cell")),
            (observations.n_empty, tr("have no facies (NULL or blank)")),
            (observations.n_nowhere, tr("have no usable position")),
        ):
            if number:
                feedback.pushWarning(f"{number:,} {reason}.")
        if data.n_conflict_cells > STACKED_SHARE * len(data):
            feedback.pushWarning(
                tr(
                    "Of {:,} cells with observations, {:,} hold different facies. Are they intervals of boreholes?"
                ).format(len(data), data.n_conflict_cells)
                + f" {DEPTH_REMEDY} "
                + tr("Otherwise use smaller cells.")
            )
        alike = _alike_names(facies)
        if alike:
            feedback.pushWarning(
                tr("These facies differ in upper and lower case only, and are simulated as different ones: {}.").format(
                    "; ".join(alike)
                )
            )
        unseen = [f.name for k, f in enumerate(facies.facies) if not (data.class_index == k).any()]
        if unseen:
            feedback.pushWarning(
                tr("These facies were observed only elsewhere, and are possible here all the same: {}.").format(
                    ", ".join(unseen)
                )
            )
        if len(data) < FEW_OBSERVATIONS:
            feedback.pushWarning(
                tr("With {} observations the result rests on the model more than on the data.").format(len(data))
            )

    def _plan_rasters(self, parameters, context, job: SimulationJob) -> Dict[str, RasterPlan]:
        """Return the rasters that are asked for, by name."""
        plans = {}
        for name in RASTERS:
            if name == "REALIZATIONS" and not job.n_realizations:
                continue
            path = self.parameterAsOutputLayer(parameters, name, context)
            if not path:
                continue
            plans[name] = _plan(name, Path(path), job)
            if context.willLoadLayerOnCompletion(path):
                ApplySavedStyle.attach(context.layerToLoadOnCompletionDetails(path))
        if not plans:
            raise JobError(
                f"No result is asked for. Name a file (or TEMPORARY_OUTPUT) for at least one of {', '.join(RASTERS)}; "
                "without realizations the first of them is not made."
            )
        check_destinations({name: plan.path for name, plan in plans.items()}, self._inputs)
        return plans


def _plan(name: str, path: Path, job: SimulationJob) -> RasterPlan:
    """Return how one of the results is stored and styled."""
    facies = job.facies
    if name == "ENTROPY":
        style = entropy_style(len(facies))
        return RasterPlan(path, np.float32, FLOAT_NODATA, ["Entropy (bits)"], [0, 1 / 3, math.log2(len(facies))], style)
    if name == "PROBABILITIES":
        return RasterPlan(path, np.float32, FLOAT_NODATA, facies.names, [0, 1 / 3, 1], probability_style())
    data_type, nodata = storage_of(facies.codes)
    bands = ["Most probable facies"]
    if name == "REALIZATIONS":
        bands = [f"Realization {number}" for number in range(1, job.n_realizations + 1)]
    names = {f.code: f.name for f in facies.facies}
    return RasterPlan(path, data_type, nodata, bands, facies.codes.tolist(), facies_style(facies), names)


def _write_rasters(
    writer: RasterWriter, plans: Dict[str, RasterPlan], job: SimulationJob, result: SimulationResult
) -> None:
    """Write what is planned from the engine's arrays."""
    paths = {
        "REALIZATIONS": result.realizations_path,
        "ENTROPY": result.entropy_path,
        "PROBABILITIES": result.probability_path,
        "MOST_PROBABLE": result.most_probable_path,
    }
    metadata = describe(
        seed=result.seed,
        model=result.model_id,
        quality=job.quality,
        device=result.device,
        batch_size=result.batch_size,
        facies=job.facies.to_list(),
        version=plugin_version(),
    )
    for name, plan in plans.items():
        if paths[name] is None:
            raise EngineError(f"The engine returned no {name.lower()}, although they were asked for. Report this.")
        to_values = _fill_gaps if plan.data_type is np.float32 else _to_codes(job.facies, plan)
        writer.write(plan, (to_values(band) for band in bands_of(Path(paths[name]))), metadata)


def _fill_gaps(band: np.ndarray) -> np.ndarray:
    """Return the band with nodata for NaN."""
    return np.where(np.isnan(band), np.float32(FLOAT_NODATA), band)


def _to_codes(facies: FaciesTable, plan: RasterPlan) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from class indices (255 outside the mask) to the user's codes."""
    codes = np.full(256, plan.nodata, dtype=plan.data_type)
    codes[: len(facies)] = facies.codes
    return lambda band: codes[band]


def _label(facies: Facies) -> str:
    """Return name and code of a facies, once when they are the same."""
    return facies.name if facies.name == str(facies.code) else f"{facies.name} ({facies.code})"


def _alike_names(facies: FaciesTable) -> List[str]:
    """Return the names that differ in case only, those of each kind in one text."""
    kinds: Dict[str, List[str]] = {}
    for name in facies.names:
        kinds.setdefault(name.casefold(), []).append(name)
    return [", ".join(names) for names in kinds.values() if len(names) > 1]


def _unit(crs: QgsCoordinateReferenceSystem) -> str:
    return QgsUnitTypes.toString(crs.mapUnits())
