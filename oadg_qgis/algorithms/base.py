"""What the algorithms of OADG share: names, icon, help, and how errors meet QGIS."""

from __future__ import annotations

import configparser
import contextlib
import functools
from typing import Any, Callable, Iterator, List, Mapping, Optional, Sequence, Tuple

from qgis.core import (
    NULL,
    QgsExpression,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeatureSourceDefinition,
    QgsProcessingFeedback,
    QgsProcessingParameterEnum,
    QgsProperty,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QCoreApplication, QUrl
from qgis.PyQt.QtGui import QIcon

from ...core.contract.errors import EngineError, JobError, OadgError
from ..environment import PLUGIN_FOLDER

ICON_PATH = PLUGIN_FOLDER / "resources" / "icon.svg"


def tr(text: str) -> str:
    """Return the text in the user's language."""
    return QCoreApplication.translate("OADG", text)


def is_given(parameters: Mapping[str, Any], name: str) -> bool:
    """Return whether an optional parameter has a value; models hand over NULL for one that has not."""
    value = parameters.get(name)
    return not (value is None or value == NULL or value == "")


@functools.cache
def plugin_version() -> str:
    """Return the plugin's version, from its metadata."""
    metadata = configparser.ConfigParser(interpolation=None)
    metadata.read(PLUGIN_FOLDER / "metadata.txt", encoding="utf-8")
    return metadata["general"]["version"]


@contextlib.contextmanager
def errors_for_qgis() -> Iterator[None]:
    """Turn `OadgError` into QGIS's own exception, word for word; anything else keeps its traceback."""
    try:
        yield
    except OadgError as error:
        raise QgsProcessingException(str(error)) from error


def report_to(feedback: QgsProcessingFeedback, share: float = 1.0) -> Callable[[float, str], None]:
    """
    Return what tells progress, a fraction and a text, to QGIS; a text that stays the same is told once.

    Parameters
    ----------
    feedback : QgsProcessingFeedback
        Whom it is told to.
    share : float
        How much of the algorithm is done when the fraction is 1.
    """
    told = ""

    def report(fraction: float, text: str) -> None:
        nonlocal told
        feedback.setProgress(100 * share * fraction)
        if text != told:
            feedback.setProgressText(text)
        told = text

    return report


class OadgAlgorithm(QgsProcessingAlgorithm):
    """
    Base of the algorithms; a subclass fills the class attributes and the usual methods of Processing.

    Attributes
    ----------
    ID, NAME, SUMMARY, HELP : str
        Identifier for scripts, name in the toolbox, one sentence (a verb in -s, a full stop), and the help as HTML.
    GROUP_ID, GROUP : str
        The toolbox group.
    TAGS : sequence of str
        Words by which a geologist may look for it.
    """

    ID = ""
    NAME = ""
    SUMMARY = ""
    HELP = ""
    GROUP_ID = "simulation"
    GROUP = "Simulation"
    TAGS: Sequence[str] = ()
    _problem: Optional[OadgError] = None

    def why_not(self) -> str:
        """Return in a sentence why the algorithm cannot run on this computer now; empty when it can."""
        return ""

    def canExecute(self) -> Tuple[bool, str]:
        """Tell the toolbox whether the algorithm can run, and the reason when it cannot."""
        reason = self.why_not()
        return not reason, reason

    def checkParameterValues(self, parameters, context) -> Tuple[bool, str]:
        """Check as Processing does; name the choices where none of them is asked for."""
        for definition in self.parameterDefinitions():
            name = definition.name()
            if isinstance(definition, QgsProcessingParameterEnum) and is_given(parameters, name):
                value = parameters[name]
                if not isinstance(value, QgsProperty) and value not in definition.options():
                    return False, self.unknown_choice(name, value, definition.options())
        return super().checkParameterValues(parameters, context)

    def unknown_choice(self, name: str, value: Any, options: Sequence[str]) -> str:
        """Return in a sentence that a parameter has to be one of some texts."""
        return tr("{} is {!r}; it must be one of {}.").format(name, value, ", ".join(options))

    def prepareAlgorithm(self, parameters, context, feedback) -> bool:
        """
        Check again what QGIS checks, then read the layers.

        For `qgis_process` runs without asking `canExecute`, and models hand over values that nobody has checked: an
        unknown choice would become the first one, a mask that cannot be read none. A problem waits for
        `raise_problem`: of what is raised here, `processing.run` keeps no word.
        """
        reason = self.why_not()
        self._problem = EngineError(reason) if reason else None
        if not reason:
            valid, message = self.checkParameterValues(parameters, context)
            self._problem = None if valid else JobError(message)
        if self._problem is None:
            try:
                self.read(parameters, context, feedback)
            except OadgError as error:
                self._problem = error
        return True

    def raise_problem(self) -> None:
        """Raise what `prepareAlgorithm` objected to, if anything; to be called first in `processAlgorithm`."""
        if self._problem is not None:
            raise self._problem

    def number_of(self, parameters, name: str, context: QgsProcessingContext, default: Any = None) -> Any:
        """Return an optional number of any type, a default where it is not given; raise `JobError` for no number."""
        if not is_given(parameters, name):
            return default
        value = parameters[name]
        if isinstance(value, QgsProperty):
            expression = QgsExpression(value.asExpression())
            value = expression.evaluate(context.expressionContext())
            if expression.hasParserError() or expression.hasEvalError():
                value = expression.expression()
            if not is_given({name: value}, name):
                return default
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            raise JobError(f"{name} is {value!r}, which is no number. Give one, with a point for decimals.") from error

    def layer_of_source(self, parameters, name: str, context: QgsProcessingContext) -> Optional[QgsVectorLayer]:
        """Return the layer behind a feature source, also behind one of its selected features only."""
        value = parameters.get(name)
        if isinstance(value, QgsProcessingFeatureSourceDefinition):
            source, _ = value.source.valueAsString(context.expressionContext())
            parameters = {**parameters, name: source}
        return self.parameterAsVectorLayer(parameters, name, context)

    def read(self, parameters, context, feedback) -> None:
        """Read every layer and extent, or take a snapshot: the only step that may touch them, on the main thread."""

    def createInstance(self):
        """Return a new algorithm of the same kind."""
        return type(self)()

    def name(self) -> str:
        """Return the identifier for scripts."""
        return self.ID

    def displayName(self) -> str:
        """Return the name in the toolbox."""
        return tr(self.NAME)

    def group(self) -> str:
        """Return the toolbox group."""
        return tr(self.GROUP)

    def groupId(self) -> str:
        """Return the identifier of the toolbox group."""
        return self.GROUP_ID

    def tags(self) -> List[str]:
        """Return search words."""
        return [tr(tag) for tag in self.TAGS]

    def shortDescription(self) -> str:
        """Return one sentence for the tooltip."""
        return tr(self.SUMMARY)

    def shortHelpString(self) -> str:
        """Return the help at the dialog's side: the text, and that of each parameter; the summary goes before it."""
        parts = [tr(self.HELP)]
        parts += [f"<h3>{p.description()}</h3><p>{p.help()}</p>" for p in self.parameterDefinitions() if p.help()]
        return " ".join(" ".join(parts).split())  # in one line, for QGIS shows line breaks of HTML

    def helpUrl(self) -> str:
        """Return where the manual lies: the README that comes with the plugin."""
        return QUrl.fromLocalFile(str(PLUGIN_FOLDER / "README.md")).toString()

    def icon(self) -> QIcon:
        """Return OADG's icon."""
        return QIcon(str(ICON_PATH))

    def svgIconPath(self) -> str:
        """Return the path of OADG's icon."""
        return str(ICON_PATH)
