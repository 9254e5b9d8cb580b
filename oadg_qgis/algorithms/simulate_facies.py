"""Facies realizations and an entropy map from point observations: layers to one job, arrays to four rasters."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Sequence, Tuple, Union

import numpy as np
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
    QgsRectangle,
)

from ...core.contract.conditioning import NO_DATA, ConditioningData, place_on_grid
from ...core.contract.errors import EngineError, GridError, JobError
from ...core.contract.facies import FaciesTable
from ...core.contract.grid import Grid
from ...core.contract.indicator_job import IndicatorJob
from ...core.contract.job import SimulationJob, SimulationResult
from ...core.contract.model_header import ModelHeader, read_header
from ...core.contract.words import counted
from ..crs import known_crs
from ..destinations import check_destinations, file_of_sink, sink_of
from ..engine_jobs import run_job
from ..layers import NO_OBSERVATIONS
from ..rasters import FLOAT_NODATA, RasterPlan, RasterWriter, bands_of, describe, fill_gaps, storage_of
from ..styles import ApplyStyle, entropy_style, facies_style, probability_style
from .base import errors_for_qgis, is_given, plugin_version, report_to, tr
from .facies_algorithm import FaciesAlgorithm, facies_of, label, lost, tell_observations
from .simulate_parameters import parameters as declared_parameters

Job = Union[SimulationJob, IndicatorJob]
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
<p>Integer facies keep their codes. Facies given as text are numbered 1, 2, 3 … alphabetically, or by value if all
texts are numbers. Names and colours come from the layer's own categorised style, when it has one, else names from the
value map of the field's form. Observations with an empty facies are skipped and counted.</p>
<p>Of boreholes with several intervals choose a depth first: select the intervals at one level.</p>
<p><b>Without observations</b> a model of a training image simulates by itself: leave observations and field empty, and
give an extent or a mask, and the cell size, where the model tells none. Facies, names and colours are the model's. The
universal model has no facies of its own, and needs observations.</p>
"""
_TAGS = (
    "facies,lithology,rock,soil,geology,borehole,drillhole,well,outcrop,simulation,geostatistics,kriging,interpolation,"
    "categorical,uncertainty,entropy,probability,realization,conditional,unconditional,training image,multiple-point,"
    "mps,sis"
)


class SimulateFacies(FaciesAlgorithm):
    """
    Realizations, probabilities, most probable facies and entropy of an area with observed facies.

    Attributes
    ----------
    PARAMETERS : callable
        Yields the parameters.
    """

    ID = "simulatefacies"
    NAME = "Simulate facies from observations"
    SUMMARY = "Simulates facies maps and their uncertainty from point observations."
    HELP = _HELP
    TAGS = tuple(_TAGS.split(","))
    PARAMETERS = staticmethod(declared_parameters)

    def initAlgorithm(self, configuration=None) -> None:
        """Declare parameters and outputs."""
        for parameter in self.PARAMETERS():
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

    def read(self, parameters, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> None:
        """Take hold of the observations, if there are any, and read the mask and the extent."""
        if is_given(parameters, "OBSERVATIONS"):
            super().read(parameters, context, feedback)
        else:
            self._do_without_observations(parameters, context, feedback)
        self.read_area(parameters, context, feedback)

    def _do_without_observations(self, parameters, context, feedback) -> None:
        """Take the CRS of the area; raise unless the model and what is given suffice for maps without observations."""
        if is_given(parameters, "FACIES_FIELD"):
            raise JobError(
                f"FACIES_FIELD is {parameters['FACIES_FIELD']!r}, but the layer with this field is not given. Give it "
                "as OBSERVATIONS, or leave both empty to simulate without observations."
            )
        header = self.header_of(parameters, context)
        if header.facies is None:
            raise JobError(
                f"There are no observations, and the model {header.name} has no facies of its own: it needs some to "
                "fit itself to. Give OBSERVATIONS and FACIES_FIELD, or choose a model of a training image ('List "
                "models' tells which have facies)."
            )
        extent, crs = self._area(parameters, context)
        self.choose_crs(parameters, context, extent, crs)
        if self.cell_size_of(parameters, context, header) is None:
            raise GridError(
                f"There are no observations, and the model {header.name} does not tell how large the cells of its "
                "training image are, so the cell size is unknown. Give CELL_SIZE, in units of the CRS; structures are "
                "counted in cells."
            )
        if not crs.isValid():
            feedback.pushWarning(tr("The area has no CRS; its coordinates are taken for the grid's."))
        self._read = None
        self._inputs = self.model_files(parameters, context)

    def _area(self, parameters, context) -> Tuple[QgsRectangle, QgsCoordinateReferenceSystem]:
        """Return the area that is given, by the extent or else the mask, and its CRS, by whichever has one."""
        mask = self.parameterAsSource(parameters, "MASK", context)
        if is_given(parameters, "EXTENT"):
            extent = self.parameterAsExtent(parameters, "EXTENT", context)
            crs = self.parameterAsExtentCrs(parameters, "EXTENT", context)
            return extent, crs if crs.isValid() or mask is None else known_crs(mask.sourceCrs())
        if mask is None:
            raise GridError(
                "There are no observations, so the area to simulate is unknown. Give EXTENT or MASK (or observations)."
            )
        return mask.sourceExtent(), known_crs(mask.sourceCrs())

    def processAlgorithm(self, parameters, context, feedback) -> Dict[str, Any]:
        """Run the job and write the rasters; every declared key is returned, None for a raster that is not made."""
        with errors_for_qgis():
            self.raise_problem()
            return self._simulate(parameters, context, feedback)

    def _simulate(self, parameters, context, feedback) -> Dict[str, Any]:
        started = time.monotonic()
        job, inside, n_used = self._make_job(parameters, context, feedback)
        plans = self._plan_rasters(parameters, context, job)
        if not plans:
            asked = [name for name in RASTERS if not is_given(parameters, name)]
            feedback.pushWarning(
                tr("No raster is asked for ({}), so numbers are all that comes back.").format(", ".join(asked))
            )
        has_gaps = inside is not None and not inside.all()
        with RasterWriter(job.grid, self._crs, feedback.isCanceled, has_gaps=has_gaps) as writer:
            for plan in plans.values():
                writer.check(plan)
            arrays, progress = {"mask_path": inside}, report_to(feedback, _ENGINE_SHARE)
            with run_job(job, arrays=arrays, on_progress=progress, is_cancelled=feedback.isCanceled) as result:
                _write_rasters(writer, plans, job, result)
            writer.commit()
        seconds = round(time.monotonic() - started, 3)
        feedback.setProgress(100)
        self.tell_fitted(result, feedback)
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

    def _make_job(self, parameters, context, feedback) -> Tuple[Job, Optional[np.ndarray], int]:
        """Place the observations on a grid; return job, mask and number of points used; report all that was decided."""
        header = self.header_of(parameters, context)
        observations = self._observations = self._read() if self._read else NO_OBSERVATIONS
        facies, class_index = header.facies, ()
        if self._read:
            facies, class_index = facies_of(observations, header.facies, feedback)
        grid, inside = self.grid_of(parameters, context, header, observations)
        data = NO_DATA
        if self._read:
            data = place_on_grid(
                observations.easting,
                observations.northing,
                class_index,
                grid,
                facies,
                on_conflict=self.parameterAsEnumString(parameters, "ON_CONFLICT", context),
                reach=grid.reach if header.takes_any_grid else 0,
            )
        job = self.job_of(
            parameters,
            context,
            grid=grid,
            facies=facies,
            row=tuple(data.row.tolist()),
            col=tuple(data.col.tolist()),
            class_index=tuple(data.class_index.tolist()),
            work_folder="",
            n_realizations=self._n_realizations(parameters, context, feedback),
            seed=self.parameterAsInt(parameters, "SEED", context),
        )
        self.tell_grid(grid, parameters, context, header, feedback)
        if inside is not None:
            feedback.pushInfo(tr("The mask leaves {:,} of {:,} cells.").format(int(inside.sum()), grid.n_cells))
        if self._read:
            self._tell_data(data, grid, inside, facies, feedback)
            self.tell_cautions(data, grid, feedback, inside)
        else:
            self._tell_facies(facies, feedback)
        self.tell_cell_size(header, grid, feedback)
        self.tell_method(job, header, feedback)
        return job, inside, data.n_points

    def _n_realizations(self, parameters, context, feedback) -> int:
        """Return how many realizations are drawn: none where nothing would become of them."""
        n_realizations = self.parameterAsInt(parameters, "N_REALIZATIONS", context)
        if n_realizations and not is_given(parameters, "REALIZATIONS"):
            feedback.pushInfo(tr("REALIZATIONS is not asked for: none are drawn."))
            return 0
        if not n_realizations and is_given(parameters, "REALIZATIONS"):
            older = file_of_sink(sink_of(parameters["REALIZATIONS"], context))
            if older is not None and older.exists():
                raise JobError(
                    f"N_REALIZATIONS is 0, so that none are drawn, but REALIZATIONS is {older}, an older file, which "
                    "would pass for a new one. Leave REALIZATIONS empty, or draw some."
                )
            feedback.pushWarning(tr("N_REALIZATIONS is 0: none are drawn, and REALIZATIONS is not written."))
        return n_realizations

    def header_of(self, parameters, context) -> ModelHeader:
        """Return what the model says of itself."""
        return read_header(self.model_of(parameters, context))

    def job_of(self, parameters, context, **common: Any) -> Job:
        """Return the job, of what all simulations have in common and what this one has besides."""
        return SimulationJob(
            **common,
            model_path=str(self.model_of(parameters, context)),
            quality=self.parameterAsEnumString(parameters, "QUALITY", context),
            device=self.parameterAsEnumString(parameters, "DEVICE", context),
        )

    def tell_method(self, job: Job, header: ModelHeader, feedback) -> None:
        """Tell what simulates."""
        feedback.pushInfo(tr("The model is {}, the quality {}.").format(job.model_path, job.quality))
        costs = header.excess_bits
        if job.quality in costs:
            feedback.pushInfo(
                tr("Simulating cells together costs {:.4f} bits per cell at this quality ({}).").format(
                    max(0.0, costs[job.quality]),  # less than 'fine' itself is no cost
                    ", ".join(f"{name}: {max(0.0, bits):.4f}" for name, bits in costs.items()),
                )
            )

    def tell_fitted(self, result: SimulationResult, feedback) -> None:
        """Tell what was fitted to the observations: here nothing that has a name."""

    def _tell_facies(self, facies: FaciesTable, feedback) -> None:
        """Tell what maps without observations show."""
        feedback.pushInfo(
            tr(
                "There are no observations: realizations are what the model draws by itself, with its {} facies: {}. "
                "Probabilities and entropy are the same nearly everywhere, for nothing is known of any cell."
            ).format(len(facies), ", ".join(label(f) for f in facies.facies))
        )

    def _tell_data(
        self, data: ConditioningData, grid: Grid, inside: Optional[np.ndarray], facies: FaciesTable, feedback
    ) -> None:
        """Tell what of the observations is used, what is not and why, and what to be careful about."""
        others = {
            (
                tr("observation lies too far from the mapped area to be used"),
                tr("observations lie too far from the mapped area to be used"),
            ): data.n_outside,
            lost(): data.n_conflicts,
        }
        tell_observations(
            self._observations, data, facies, feedback, unit=self.unit, n_used=data.n_points, others=others
        )
        n_around = len(data) - int(data.is_inside(grid.shape, inside).sum())
        if n_around:
            feedback.pushInfo(
                tr("Of these cells {} around the area; the maps follow them, too.").format(
                    counted(n_around, tr("lies"), tr("lie"))
                )
            )
        unseen = [f.name for k, f in enumerate(facies.facies) if not (data.class_index == k).any()]
        if unseen:
            feedback.pushWarning(
                tr(
                    "No cell holds an observation of these facies, which are possible all the same: {}. They were "
                    "observed elsewhere, or lost their cell to another facies; smaller cells keep these."
                ).format(", ".join(unseen))
            )
        if len(data) < FEW_OBSERVATIONS:
            feedback.pushWarning(
                tr("With observations in {} the result rests on the model more than on the data.").format(
                    counted(len(data), tr("cell"), tr("cells"))
                )
            )

    def _plan_rasters(self, parameters, context, job: Job) -> Dict[str, RasterPlan]:
        """Return the rasters that are asked for, by name."""
        plans = {}
        for name in RASTERS:
            if name == "REALIZATIONS" and not job.n_realizations:
                continue
            path = self.parameterAsOutputLayer(parameters, name, context)
            if not path:
                continue
            plans[name] = _plan(name, Path(path), job, self._observations.legend)
            if context.willLoadLayerOnCompletion(path):
                ApplyStyle.attach(context.layerToLoadOnCompletionDetails(path))
        check_destinations({name: plan.path for name, plan in plans.items()}, self._inputs)
        return plans


def _plan(name: str, path: Path, job: Job, legend: Sequence[str]) -> RasterPlan:
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
    return RasterPlan(path, data_type, nodata, bands, facies.codes.tolist(), facies_style(facies, legend), names)


def _write_rasters(writer: RasterWriter, plans: Dict[str, RasterPlan], job: Job, result: SimulationResult) -> None:
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
        quality=getattr(job, "quality", None),
        device=result.device,
        batch_size=result.batch_size,
        precision=result.precision,
        facies=job.facies.to_list(),
        version=plugin_version(),
    )
    for name, plan in plans.items():
        if paths[name] is None:
            raise EngineError(f"The engine returned no {name.lower()}, although they were asked for. Report this.")
        to_values = fill_gaps if plan.data_type is np.float32 else _to_codes(job.facies, plan)
        writer.write(plan, (to_values(band) for band in bands_of(Path(paths[name]))), metadata)


def _to_codes(facies: FaciesTable, plan: RasterPlan) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from class indices (255 outside the mask) to the user's codes."""
    codes = np.full(256, plan.nodata, dtype=plan.data_type)
    codes[: len(facies)] = facies.codes
    return lambda band: codes[band]
