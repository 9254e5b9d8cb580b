"""Sequential indicator simulation: what users know, beside the models, with the same inputs and results."""

from __future__ import annotations

from typing import Any, Iterator

from qgis.core import QgsProcessingParameterDefinition

from ...core.contract.indicator_job import COVARIANCE_KINDS, KRIGING_KINDS, MAX_NEIGHBOURS, IndicatorJob
from ...core.contract.job import SimulationResult
from ...core.contract.model_header import ModelHeader
from . import parameters as shared
from . import simulate_parameters as simulation
from .base import tr
from .parameters import Helped, choice, helped, number, whole_number
from .simulate_facies import SimulateFacies

_FITTED = "fitted"
_HELP = """
<p>Sequential indicator simulation (SIS), as it is known from GSLIB and its successors: cells are visited one after
another, and each facies is drawn from its indicator kriging estimate, given the nearest observations and the nearest
cells before it. Observations are honoured exactly.</p>
<p>It is here for comparison: use it beside 'Simulate facies from observations', on the same layer with the same
parameters, or where a method that everybody knows is asked for. 'Cross-validate facies maps' tells which probabilities
are better on your data.</p>
<p>Covariances are fitted to the observations: one for all facies, chosen by leave-one-out, or one for each facies,
whichever predicts the observations better. Or give one yourself. All realizations share the path of their cells.</p>
<p>The results are those of 'Simulate facies from observations'.</p>
"""
_NO_MODEL = ModelHeader("SIS", None, None, (), {})


class SimulateIndicators(SimulateFacies):
    """Realizations by sequential indicator simulation."""

    ID = "sequentialindicatorsimulation"
    NAME = "Sequential indicator simulation (SIS)"
    SUMMARY = "Simulates facies maps by sequential indicator simulation, for comparison."
    HELP = _HELP
    TAGS = ("sis", "indicator", "kriging", "variogram", "gslib", "sisim", "geostatistics", "facies", "simulation")
    PARAMETERS = staticmethod(lambda: _parameters())

    def header_of(self, parameters, context) -> ModelHeader:
        """Return the header of no model: any facies, any cells."""
        return _NO_MODEL

    def job_of(self, parameters, context, **common: Any) -> IndicatorJob:
        """Return the job."""
        kind = self.parameterAsEnumString(parameters, "COVARIANCE", context)
        return IndicatorJob(
            **common,
            kriging=self.parameterAsEnumString(parameters, "KRIGING", context),
            n_neighbours=self.parameterAsInt(parameters, "N_NEIGHBOURS", context),
            covariance=None if kind == _FITTED else kind,
            range=self.number_of(parameters, "RANGE", context),
            nugget=self.parameterAsDouble(parameters, "NUGGET", context),
        )

    def tell_method(self, job: IndicatorJob, header: ModelHeader, feedback) -> None:
        """Tell what simulates."""
        given = tr("given") if job.covariance else tr("fitted to the observations")
        feedback.pushInfo(tr("The covariances are {}; {} kriging.").format(given, job.kriging))

    def tell_fitted(self, result: SimulationResult, feedback) -> None:
        """Tell the covariances, which are fitted by default."""
        unit = tr(" (ranges in {})").format(self.unit) if " range " in result.model_id else ""
        feedback.pushInfo(tr("The method was {}{}.").format(result.model_id, unit))


def _parameters() -> Iterator[QgsProcessingParameterDefinition]:
    """Yield the parameters in the dialog's order, each with its help."""
    yield from helped(shared.observations())
    yield from helped(simulation.area(simulation.AROUND))
    yield from helped(shared.cells(of_model=False))
    yield from helped([simulation.n_realizations()])
    yield from helped(_advanced(), advanced=True)
    yield from helped(simulation.rasters(" (SIS)"))


def _advanced() -> Iterator[Helped]:
    yield (
        choice("KRIGING", tr("Kriging"), KRIGING_KINDS),
        tr("'simple' keeps the facies' shares among the observations, 'ordinary' those of each neighbourhood."),
    )
    yield (
        whole_number("N_NEIGHBOURS", tr("Neighbours"), 16, 1, MAX_NEIGHBOURS),
        tr("Nearest observations, and nearest cells that are simulated already, of each estimate: so many of each."),
    )
    yield (
        choice("COVARIANCE", tr("Covariance"), (_FITTED, *COVARIANCE_KINDS)),
        tr("'fitted' chooses kind, range and nugget by the observations; the others need a range."),
    )
    yield (
        shared.length("RANGE", tr("Range (units of the CRS)")),
        tr("Distance at which 5 % of the correlation is left (spherical: none), when the covariance is given."),
    )
    yield (
        number("NUGGET", tr("Nugget (share of the variance)"), 0.0, 0.0, 1.0, decimals=2),
        tr(
            "Share of the variance that has no correlation in space, when the covariance is given; at least 0.01 for a "
            "Gaussian one, whose weights go wild without any."
        ),
    )
    yield simulation.on_conflict()
    yield shared.seed(tr("The same seed and parameters give the same maps; another seed gives others."))
