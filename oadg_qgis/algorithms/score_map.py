"""How plausible a map is to a model: a raster to its likelihood, and to the surprise at each cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from qgis.core import (
    QgsProcessingOutputNumber,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterRasterDestination,
)

from ...core.contract.conditioning import place_on_grid
from ...core.contract.errors import FaciesError, JobError
from ...core.contract.facies import (
    MAX_CODE,
    MAX_FACIES,
    FaciesTable,
    Value,
    are_codes,
    build_facies_table,
    match_facies,
)
from ...core.contract.grid import Grid
from ...core.contract.job import QUALITIES
from ...core.contract.model_header import read_header
from ...core.contract.score_job import MAX_PATHS, ScoreJob, ScoreResult
from ...core.contract.words import counted
from ..categorical_rasters import CategoricalRaster, Styles
from ..crs import unit_of
from ..destinations import check_destinations
from ..engine_jobs import run_job
from ..layers import NO_OBSERVATIONS, Observations
from ..models import universal_remedy
from ..rasters import FLOAT_NODATA, RasterPlan, RasterWriter, bands_of, describe, fill_gaps
from ..styles import ApplyStyle, surprise_map_style
from . import parameters as shared
from .base import errors_for_qgis, is_given, plugin_version, report_to, tr
from .facies_algorithm import facies_of, lost, tell_names, tell_observations
from .image_algorithm import ImageAlgorithm, image_parameters
from .parameters import Helped, choice, helped, whole_number

_ENGINE_SHARE = 0.95  # of the progress; the rest is for writing
_MOST_DRIFT = 0.5
"""Cells by which the map's cells may add up to another place than square ones."""
_HELP = """
<p>Takes a map of facies (drawn by a geologist, made by another program, or one of the realizations) and tells how
plausible it is to a model: its <b>log-likelihood</b> in bits, given the observations if there are any. Of two maps of
the same cells the one with the higher log-likelihood is the more plausible one.</p>
<p><b>Surprise</b> shows where: at each cell, how many bits the map's facies costs the model there: 0 where it expected
nothing else, 1 where the odds were even, 6 and more where it found this facies hardly possible.</p>
<p>Whether a map is less plausible than it should be is told by realizations of the model itself, which are scored with
it, in total and on each of the nested lattices on which cells are visited: a map of more bits than any of these is
likely to have, or fewer, is not what the model has learnt.</p>
<p>The map is visited along several random paths. Each gives a slightly different number; their spread is told, too.</p>
"""
_TAGS = (
    "likelihood,log-likelihood,plausibility,interpretation,anomaly,surprise,rival,section,compare,score,bits,entropy,"
    "facies,map"
)


class ScoreMap(ImageAlgorithm):
    """Log-likelihood of a map, and surprise at its cells."""

    ID = "scoremap"
    NAME = "Score a facies map"
    SUMMARY = "Computes how likely a facies map is under a model, and which of its cells are surprising."
    HELP = _HELP
    GROUP_ID = "validation"
    GROUP = "Validation"
    TAGS = tuple(_TAGS.split(","))
    RASTER = "MAP"
    CALLED = "map"
    STRETCHED = "the model takes them for square"

    def initAlgorithm(self, configuration=None) -> None:
        """Declare parameters and outputs."""
        for parameter in _parameters():
            self.addParameter(parameter)
        for name, description in (
            ("LOG_LIKELIHOOD", tr("Log-likelihood (bits)")),
            ("SPREAD", tr("Its standard deviation over paths (bits)")),
            ("BITS_PER_CELL", tr("Bits per cell")),
            ("TYPICAL_BITS_PER_CELL", tr("Bits per cell of realizations of the model")),
            ("TYPICAL_SPREAD", tr("Their standard deviation")),
            ("N_CELLS", tr("Cells scored")),
        ):
            self.addOutput(QgsProcessingOutputNumber(name, description))

    def read(self, parameters, context, feedback) -> None:
        """Take hold of the raster, and of the observations if there are any."""
        super().read(parameters, context, feedback)
        self._read_observations: Optional[Callable[[], Observations]] = None
        if not is_given(parameters, "OBSERVATIONS"):
            if is_given(parameters, "FACIES_FIELD"):
                raise JobError(
                    f"FACIES_FIELD is {parameters['FACIES_FIELD']!r}, but the layer with this field is not given. Give "
                    "it as OBSERVATIONS, or leave both empty."
                )
            return
        given = self.observed(parameters, context)
        words = tr("The observations have no CRS; their coordinates are taken for the map's.")
        self._read_observations = self.take_observations(parameters, context, feedback, *given, words)

    def processAlgorithm(self, parameters, context, feedback) -> Dict[str, Any]:
        """Run the job and write the raster; every declared key is returned."""
        with errors_for_qgis():
            self.raise_problem()
            job, class_index = self._make_job(parameters, context, feedback)
            plan = self._plan(parameters, context)
            has_gaps = bool((class_index < 0).any())
            with RasterWriter(job.grid, self._crs, feedback.isCanceled, has_gaps=has_gaps) as writer:
                if plan is not None:
                    writer.check(plan)
                arrays, progress = {"map_path": class_index}, report_to(feedback, _ENGINE_SHARE)
                with run_job(job, arrays=arrays, on_progress=progress, is_cancelled=feedback.isCanceled) as result:
                    if plan is not None:
                        _write(writer, plan, job, result)
                writer.commit()
        feedback.pushInfo(_verdict(result))
        return {
            "SURPRISE": str(plan.path) if plan is not None else None,
            "LOG_LIKELIHOOD": result.log_likelihood_bits,
            "SPREAD": result.spread_bits,
            "BITS_PER_CELL": result.bits_per_cell,
            "TYPICAL_BITS_PER_CELL": result.typical_bits_per_cell,
            "TYPICAL_SPREAD": result.typical_spread,
            "N_CELLS": result.n_cells,
        }

    def _make_job(self, parameters, context, feedback) -> Tuple[ScoreJob, np.ndarray]:
        """Return the job and the map's class indices (n_rows, n_cols), -1 where it holds nothing."""
        path = self.model_of(parameters, context)
        header = read_header(path)
        raster = self.read_raster()
        if raster.drift > _MOST_DRIFT:
            raise JobError(
                "The cells of the map are not quite square: taken for square, its far border would lie "
                f"{raster.drift:.1f} cells off, and so would observations there and the surprise. Resample it with "
                "'Warp (reproject)' and resampling by nearest neighbour."
            )
        observations = self._read_observations() if self._read_observations else NO_OBSERVATIONS
        self.tell_cells(raster, header)
        codes = _codes_of(raster)
        if header.facies is None:
            facies = _facies_of_map(raster, codes, self._styles, observations)
            class_index = facies.class_map(raster.codes, raster.known)
        else:
            facies = header.facies
            class_index, found = raster.among(facies, self._styles)
            _check_facies(found, facies, header.name)
            tell_names(found, facies, self._layer_name, feedback)
        grid = Grid(raster.west, raster.north, raster.cell_size or 1.0, *raster.codes.shape)
        row, col, index = self._place(observations, grid, class_index >= 0, facies, feedback)
        job = ScoreJob(
            grid=grid,
            facies=facies,
            map_path="",
            row=row,
            col=col,
            class_index=index,
            model_path=str(path),
            work_folder="",
            n_paths=self.parameterAsInt(parameters, "N_PATHS", context),
            quality=self.parameterAsEnumString(parameters, "QUALITY", context),
            seed=self.parameterAsInt(parameters, "SEED", context),
            device=self.parameterAsEnumString(parameters, "DEVICE", context),
        )
        feedback.pushInfo(
            tr("The map has {} x {} and {} facies; {} observations.").format(
                counted(grid.n_rows, tr("row"), tr("rows")),
                counted(grid.n_cols, tr("column"), tr("columns")),
                len(facies),
                counted(len(row), tr("of its cells holds"), tr("of its cells hold")),
            )
        )
        return job, class_index

    def _place(
        self, observations: Observations, grid: Grid, inside: np.ndarray, facies: FaciesTable, feedback
    ) -> Tuple[Tuple[int, ...], Tuple[int, ...], Tuple[int, ...]]:
        """Return row, column and class index of the hard data."""
        if self._read_observations is None:
            return (), (), ()
        _, class_index = facies_of(observations, facies, feedback, "map")
        places = observations.easting, observations.northing
        data = place_on_grid(*places, class_index, grid, facies, inside=inside)
        others = {
            (
                tr("observation lies where the map holds nothing"),
                tr("observations lie where the map holds nothing"),
            ): data.n_outside,
            lost(): data.n_conflicts,
        }
        unit, n_used = unit_of(self._crs), data.n_points
        tell_observations(observations, data, facies, feedback, unit=unit, n_used=n_used, others=others)
        n_around = int(grid.cell_of(*places, reach=grid.reach)[2].sum()) - (len(observations.values) - data.n_outside)
        if n_around:
            feedback.pushWarning(
                tr(
                    "Of these {} around the map, or in gaps of it, and not used here. A simulation follows them, too, "
                    "so that maps simulated with them may well differ from the realizations that they are compared "
                    "with here. To compare, simulate with the observations on the map alone."
                ).format(counted(n_around, tr("is"), tr("are")))
            )
        return tuple(data.row.tolist()), tuple(data.col.tolist()), tuple(data.class_index.tolist())

    def _plan(self, parameters, context) -> Optional[RasterPlan]:
        """Return how the surprise is stored; None when it is not asked for."""
        path = self.parameterAsOutputLayer(parameters, "SURPRISE", context)
        if not path:
            return None
        check_destinations({"SURPRISE": Path(path)}, self._inputs)
        if context.willLoadLayerOnCompletion(path):
            ApplyStyle.attach(context.layerToLoadOnCompletionDetails(path))
        style = surprise_map_style()
        return RasterPlan(Path(path), np.float32, FLOAT_NODATA, ["Surprise (bits)"], [0, 1 / 3, 20], style)


def _facies_of_map(
    raster: CategoricalRaster, codes: Sequence[int], styles: Styles, observations: Observations
) -> FaciesTable:
    """Return the facies whose codes occur in a map, that it declares, or that it has a name for and were observed."""
    styles = {**raster.styles, **styles}
    shown = {*codes, *raster.declared}
    named = {*shown, *(code for code, (name, _) in styles.items() if name)}
    if observations.values and len(named) <= MAX_FACIES:
        table = build_facies_table(named, styles)
        found = match_facies(set(observations.values), observations.labels, table)
        shown.update(table.facies[k].code for k in found.values() if k is not None)
    return build_facies_table(shown, styles)


def _codes_of(raster: CategoricalRaster) -> List[int]:
    """Return the codes that occur in a map; raise when a value is none."""
    values = raster.codes[raster.known]
    strange = values[~are_codes(values)]
    if strange.size:
        raise FaciesError(
            f"The map holds {strange[0]:g}, which is no facies code: codes are whole numbers up to {MAX_CODE:,}. "
            "Choose the band that holds the facies. If the value stands for nodata, declare it as the raster's nodata "
            "value, for example in the layer's properties."
        )
    return [int(code) for code in np.unique(values)]


def _check_facies(found: Mapping[Value, Optional[int]], facies: FaciesTable, name: str) -> None:
    """Raise when some codes of the map were found to be no facies of a model, by its name."""
    unknown = [code for code, k in found.items() if k is None]
    if unknown:
        raise FaciesError(
            f"The map holds the codes {', '.join(map(str, unknown[:5]))}, which the model {name} does not know; it was "
            f"trained on {', '.join(f'{f.code} ({f.name})' for f in facies.facies)}. Reclassify the map, give it "
            f"category names, or {universal_remedy()}."
        )


def _write(writer: RasterWriter, plan: RasterPlan, job: ScoreJob, result: ScoreResult) -> None:
    """Write the surprise."""
    metadata = describe(
        seed=job.seed,
        model=result.model_id,
        quality=job.quality,
        device=result.device,
        facies=job.facies.to_list(),
        version=plugin_version(),
    )
    writer.write(plan, (fill_gaps(band) for band in bands_of(Path(result.surprise_path))), metadata)


def _verdict(result: ScoreResult) -> str:
    """Return in plain words what the numbers say."""
    excess = (result.bits_per_cell - result.typical_bits_per_cell) / result.typical_reach
    level, odd = max(enumerate(result.excess_of_levels), key=lambda level: abs(level[1]))
    if excess > 1:
        words = tr("less plausible to the model than its own realizations")
    elif excess < -1:
        words = tr("simpler than the model's own realizations")
    elif abs(odd) > 1:
        words = tr("unlike the model's own realizations: cells that are {} apart surprise the model {} there").format(
            2**level, tr("more") if odd > 0 else tr("less")
        )
    else:
        words = tr("not shown to be less plausible to the model than its own realizations")
    return tr(
        "The log-likelihood of the map is {:,.1f} bits (standard deviation over paths {:,.1f}), {:.4f} bits per cell. "
        "Realizations of the model have {:.4f} (standard deviation {:.4f}), and hardly any is more than {:.4f} off: "
        "the map is {}."
    ).format(
        result.log_likelihood_bits,
        result.spread_bits,
        result.bits_per_cell,
        result.typical_bits_per_cell,
        result.typical_spread,
        result.typical_reach,
        words,
    )


def _parameters() -> Iterator[QgsProcessingParameterDefinition]:
    """Yield the parameters in the dialog's order, each with its help."""
    yield from helped(image_parameters("MAP", "Facies map"))
    without = tr(
        "The map has to honour them; without them it is judged by itself. Texts, or what the legend calls them, are "
        "the map's names; whole numbers without such a name are its codes."
    )
    yield from helped(shared.observations(without))
    yield from helped([shared.model()])
    yield from helped(_advanced(), advanced=True)
    surprise = QgsProcessingParameterRasterDestination("SURPRISE", tr("Surprise"), None, True, True)
    yield from helped([(surprise, tr("How many bits the map's facies costs the model at each cell."))])


def _advanced() -> Iterator[Helped]:
    yield shared.model_file()
    yield (
        whole_number("N_PATHS", tr("Number of paths"), 8, 2, MAX_PATHS),
        tr(
            "Along how many paths the map is visited. It is compared with as many realizations, but with 20 at least, "
            "for few tell little of how far others may be off."
        ),
    )
    yield choice("QUALITY", tr("Quality"), QUALITIES), tr("'fine' is nearest to the model's own law, and slowest.")
    yield shared.seed(tr("Another seed takes other paths."))
    yield shared.device()
