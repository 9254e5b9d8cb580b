"""Whether the model's map of one's own observations is better than simpler ones: a page, points and numbers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

from qgis.core import (
    QgsFeature,
    QgsFeatureSink,
    QgsMemoryProviderUtils,
    QgsProcessing,
    QgsProcessingException,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterFeatureSink,
    QgsWkbTypes,
)

from ...core.contract.errors import JobError
from ...core.contract.folds import MAX_FOLDS, MIN_FOLDS
from ...core.contract.job import MODEL, NEAREST
from ...core.contract.validation_job import CrossValidationJob, CrossValidationResult
from ..destinations import check_format, check_table, file_of_sink, sink_of
from ..engine_jobs import run_job
from ..error_points import STYLE, error_features, error_fields, in_place_of_older, lost_of_places, trial_features
from ..layers import Observations
from ..styles import ApplyStyle, save_point_style
from . import parameters as shared
from .base import errors_for_qgis, report_to, tr
from .facies_algorithm import FaciesAlgorithm
from .parameters import Helped, helped, whole_number

_HELP = """
<p>Is the map that OADG makes of your observations better than a simpler one? The observations of one region after
another are hidden and predicted from all others: by the model, by indicator kriging in two kinds, and by simpler
methods. What was hidden tells who was right, and how sure one may be of the difference.</p>
<p>Observations are hidden by region, not one by one: one whose neighbours stay would be an easy task for every
method.</p>
<p>The <b>report</b> begins with the answer in plain words and shows what it rests on: scores, a map of where the model
errs, whether its probabilities can be believed, and which facies it mistakes for which. The layer <b>errors</b> holds
each observation with what the model said of it while it was hidden; red points surprised the model. Look at them: they
may be errors of the model, or of the data.</p>
<p><b>Log loss</b> is minus the logarithm of the probability that the observed facies was given: 0 is perfect, and being
sure and wrong costs most. <b>Gain</b> is by how many percent the model's is lower than that of the better kriging; when
its 95 % interval (<b>GAIN_LOW</b> to <b>GAIN_HIGH</b>) holds 0, no difference is shown.</p>
<p>Some hundred observations take less than a minute; two thousand may take ten minutes, for kriging uses all
of them at once.</p>
"""
_TAGS = (
    "cross-validation,validation,accuracy,confusion matrix,reliability,calibration,kriging,facies,lithology,borehole,"
    "geostatistics,uncertainty,quality,log loss,brier"
)
_NUMBERS = (
    ("LOG_LOSS", "Log loss of the model (nats)"),
    ("LOG_LOSS_KRIGING", "Log loss of the better kriging (nats)"),
    ("LOG_LOSS_NEAREST", "Log loss of the nearest observation (nats)"),
    ("BRIER", "Brier score of the model"),
    ("ACCURACY", "Accuracy of the model (share)"),
    ("GAIN", "Gain over the better kriging (%)"),
    ("GAIN_LOW", "Lower bound of the gain (%)"),
    ("GAIN_HIGH", "Upper bound of the gain (%)"),
    ("N_USED", "Observations used"),
)
_UNTOLD = "for a reason that is not told"


class CrossValidate(FaciesAlgorithm):
    """Scores of the model and of simpler methods at observations that were hidden from them."""

    ID = "crossvalidate"
    NAME = "Cross-validate facies maps"
    SUMMARY = "Compares the model's map with kriging and simpler maps at observations that were hidden from them."
    HELP = _HELP
    GROUP_ID = "validation"
    GROUP = "Validation"
    TAGS = tuple(_TAGS.split(","))
    KEEPS_ATTRIBUTES = True

    def initAlgorithm(self, configuration=None) -> None:
        """Declare parameters and outputs."""
        for parameter in _parameters():
            self.addParameter(parameter)
        for name, description in _NUMBERS:
            self.addOutput(QgsProcessingOutputNumber(name, tr(description)))
        self.addOutput(QgsProcessingOutputString("VERDICT", tr("Verdict")))

    def read(self, parameters, context, feedback) -> None:
        """Take hold of the observations, and look where the results are to go."""
        super().read(parameters, context, feedback)
        self._fields = self.parameterAsSource(parameters, "OBSERVATIONS", context).fields()
        sink = sink_of(parameters.get("ERRORS"), context)
        self._points = file_of_sink(sink)
        self._is_temporary = sink == QgsProcessing.TEMPORARY_OUTPUT or sink.startswith("memory:")
        if self._points is not None:
            check_format("ERRORS", self._points)
        check_table("ERRORS", sink, self.layer_of_source(parameters, "OBSERVATIONS", context))
        self.take_page(parameters, context, {} if self._points is None else {"ERRORS": self._points})

    def processAlgorithm(self, parameters, context, feedback) -> Dict[str, Any]:
        """Run the job and write page and points; every declared key is returned, None for what is not asked for."""
        with errors_for_qgis():
            self.raise_problem()
            observations = self._read()
            job, _ = self.divide(parameters, context, feedback, observations, tr("the model"))
            self._try_points(parameters, context, observations, job)
            progress = report_to(feedback)
            with run_job(job, on_progress=progress, is_cancelled=feedback.isCanceled) as result:
                page = self.leave_page(result.page_path)
                with in_place_of_older(self._points):
                    errors = self._write_points(parameters, context, observations, job, result)
        feedback.pushInfo(result.verdict)
        model = result.scores[MODEL]
        return {
            "REPORT": page,
            "ERRORS": errors,
            "LOG_LOSS": model["log_loss"],
            "LOG_LOSS_KRIGING": result.scores[result.better_kriging]["log_loss"],
            "LOG_LOSS_NEAREST": result.scores[NEAREST]["log_loss"],
            "BRIER": model["brier"],
            "ACCURACY": model["accuracy"],
            "GAIN": result.gain,
            "GAIN_LOW": result.gain_low,
            "GAIN_HIGH": result.gain_high,
            "N_USED": len(job.class_index),
            "VERDICT": result.verdict,
        }

    def _try_points(self, parameters, context, observations: Observations, job: CrossValidationJob) -> None:
        """Raise `JobError` when the format of the points cannot hold them: better before an hour's work."""
        if self._points is None and not self._is_temporary:
            return
        features, lost = trial_features(observations, self._fields, job.facies.names), ""
        if self._points is None:
            reason = self._reason_against_layer(features)
        else:
            with tempfile.TemporaryDirectory() as folder:
                path = str(Path(folder) / self._points.name)
                reason = self._reason_against_file({**parameters, "ERRORS": path}, context, features)
                if not reason:
                    lost = lost_of_places(path, features[0], self._crs, job.grid.cell_size, context.transformContext())
        if reason:
            raise JobError(
                f"ERRORS is to be written to {self._points or 'a temporary layer'}, whose format cannot hold the "
                f"points with the attributes of the observations ({reason.strip('. ')}). Choose GeoPackage (.gpkg), or "
                "rename, shorten or remove the attribute."
            )
        if lost:
            raise JobError(
                f"ERRORS is to be written to {self._points}, whose format {lost}. Choose GeoPackage (.gpkg) or GeoJSON "
                "(.geojson); 'Export' makes a file of another format of it."
            )

    def _reason_against_layer(self, features: List[QgsFeature]) -> str:
        """Return why a layer in memory cannot hold points; empty when it can."""
        layer = QgsMemoryProviderUtils.createMemoryLayer("", features[0].fields(), QgsWkbTypes.Type.Point, self._crs)
        is_written, _ = layer.dataProvider().addFeatures(features, QgsFeatureSink.Flag.FastInsert)
        return "" if is_written else layer.dataProvider().lastError() or _UNTOLD

    def _reason_against_file(self, parameters, context, features: List[QgsFeature]) -> str:
        """Return why a file of points cannot hold them; empty when it can."""
        fields, kind = features[0].fields(), QgsWkbTypes.Type.Point
        try:
            sink, _ = self.parameterAsSink(parameters, "ERRORS", context, fields, kind, self._crs)
        except QgsProcessingException as error:
            return str(error)
        is_written = sink.addFeatures(features, QgsFeatureSink.Flag.FastInsert) and sink.flushBuffer()
        return "" if is_written else sink.lastError() or _UNTOLD

    def _write_points(
        self, parameters, context, observations: Observations, job: CrossValidationJob, result: CrossValidationResult
    ) -> Optional[str]:
        """Write the points and their style; return where QGIS finds them, None when they are not asked for."""
        fields, kind = error_fields(self._fields), QgsWkbTypes.Type.Point
        sink, identifier = self.parameterAsSink(parameters, "ERRORS", context, fields, kind, self._crs)
        if sink is None:
            return None
        features = list(error_features(observations, self._fields, job, result))
        if not (sink.addFeatures(features, QgsFeatureSink.Flag.FastInsert) and sink.flushBuffer()):
            raise JobError(f"The points cannot be written: {sink.lastError()}. Choose GeoPackage (.gpkg).")
        del sink  # closes it
        if self._points is not None:
            save_point_style(self._points, STYLE)
        if context.willLoadLayerOnCompletion(identifier):
            ApplyStyle.attach(context.layerToLoadOnCompletionDetails(identifier), STYLE)
        return identifier


def _parameters() -> Iterator[QgsProcessingParameterDefinition]:
    """Yield the parameters in the dialog's order, each with its help."""
    yield from helped(shared.observations())
    yield from helped(shared.cells())
    yield from helped(_settings())
    yield from helped(_advanced(), advanced=True)
    yield from helped(_results())


def _settings() -> Iterator[Helped]:
    yield (
        whole_number("N_FOLDS", tr("Number of folds"), 10, MIN_FOLDS, MAX_FOLDS),
        tr(
            "Into how many regions the observations are divided, one of which is hidden at a time. More folds are "
            "smaller, and hide observations less far from the others; each takes a run of every method."
        ),
    )
    yield shared.model()


def _advanced() -> Iterator[Helped]:
    yield shared.model_file()
    yield shared.seed(tr("Another seed turns the borders between the folds."))
    yield shared.device()


def _results() -> Iterator[Helped]:
    yield shared.report(tr("A page with the answer in plain words, and with tables and plots; it needs no other file."))
    yield (
        QgsProcessingParameterFeatureSink(
            "ERRORS", tr("Errors"), QgsProcessing.SourceType.TypeVectorPoint, optional=True, createByDefault=True
        ),
        tr(
            "The observations, each with the facies that was observed and the one that was predicted while it was "
            "hidden, the probability of the observed one, its log loss, and its fold."
        ),
    )
