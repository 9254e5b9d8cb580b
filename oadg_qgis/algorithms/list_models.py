"""Tells which models are installed, and what they are."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any, Dict, Sequence

from qgis.core import QgsProcessingOutputNumber, QgsProcessingOutputString

from ...core.contract.errors import JobError
from ..destinations import check_destinations, check_writable
from ..models import ModelEntry, list_models, user_folder
from . import parameters as shared
from .base import OadgAlgorithm, errors_for_qgis, tr

_HELP = """
<p>Lists the models that come with OADG and those that you have installed or trained: their facies with the codes, the
side of the cells that they have learnt from, how many bits per cell they need for parts of their training image that
they never saw (the fewer, the better they know it), where they come from, and their files.</p>
"""
_HEAD = ("Name", "Facies (codes)", "Cell size (m)", "Bits per cell", "Origin", "File")


class ListModels(OadgAlgorithm):
    """The installed models in a table."""

    ID = "listmodels"
    NAME = "List models"
    SUMMARY = "Lists the installed models with their facies, cell size, quality and origin."
    HELP = _HELP
    GROUP_ID = "models"
    GROUP = "Models"
    TAGS = ("model", "list", "installed", "facies", "overview", "version", "origin")

    def initAlgorithm(self, configuration=None) -> None:
        """Declare the page and the outputs."""
        for page in shared.helped([shared.report(tr("A page with the table."), tr("Table"))]):
            self.addParameter(page)
        self.addOutput(QgsProcessingOutputNumber("N_MODELS", tr("Number of models")))
        self.addOutput(QgsProcessingOutputString("NAMES", tr("Names, one a line")))
        self.addOutput(QgsProcessingOutputString("MODELS", tr("The table as JSON, for scripts")))

    def processAlgorithm(self, parameters, context, feedback) -> Dict[str, Any]:
        """Read the headers and tell what they say."""
        with errors_for_qgis():
            self.raise_problem()
            models = list_models()
            table = html_table(models)
            page = self.parameterAsFileOutput(parameters, "REPORT", context)
            if page:
                check_destinations({"REPORT": Path(page)}, {m.name: Path(m.file) for m in models})
                _write(Path(page), table)
        text = "\n\n".join(_in_words(model) for model in models)
        if hasattr(feedback, "pushFormattedMessage"):  # QGIS 3.36
            feedback.pushFormattedMessage(table, text)
        else:
            feedback.pushInfo(text)
        return {
            "REPORT": page or None,
            "N_MODELS": len(models),
            "NAMES": "\n".join(model.name for model in models),
            "MODELS": json.dumps([model._asdict() for model in models], ensure_ascii=False),
        }


def html_table(models: Sequence[ModelEntry]) -> str:
    """Return the models as a table in HTML."""
    head = "".join(f"<th align='left'>{escape(tr(text))}</th>" for text in _HEAD)
    rows = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in model) + "</tr>" for model in models)
    return f"<table border='1' cellspacing='0' cellpadding='4'><tr>{head}</tr>{rows}</table>"


def _in_words(model: ModelEntry) -> str:
    """Return a model in lines, for logs that show no tables."""
    return "\n    ".join(
        [model.name, *(f"{tr(name)}: {text}" for name, text in zip(_HEAD[1:], model[1:]) if text != "")]
    )


def _write(path: Path, table: str) -> None:
    """Write the page."""
    check_writable({"REPORT": path})
    title = escape(tr("Models of OADG"))
    own = escape(tr("Your own models are in {}.").format(user_folder()))
    body = f"<!DOCTYPE html><html><head><meta charset='utf-8'><title>{title}</title></head><body style='font-family:"
    try:
        path.write_text(
            f"{body}sans-serif'><h1>{title}</h1>{table}<p>{own}</p></body></html>\n", encoding="utf-8", errors="replace"
        )
    except OSError as error:
        raise JobError(f"The page {path} cannot be written: {error.strerror or error}. Choose another file.") from error
