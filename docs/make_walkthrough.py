"""
Build and run the walkthrough: `.venv/bin/python docs/make_walkthrough.py`.

`docs/walkthrough.py` is the source, in the percent format; its cells are run with `exec`, and source and outputs are
written to `docs/walkthrough.ipynb`. Neither Jupyter nor nbconvert is needed.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any, Callable

SOURCE = Path(__file__).resolve().with_name("walkthrough.py")
NOTEBOOK = SOURCE.with_suffix(".ipynb")
MARKER = "# %%"
_FORMATS = (("image/png", "_repr_png_"), ("image/svg+xml", "_repr_svg_"))


def read_cells(text: str) -> list[tuple[str, str]]:
    """
    Split a source in the percent format.

    Parameters
    ----------
    text : str
        What stands before the first marker is left out; markdown cells are comments.

    Returns
    -------
    list of (str, str)
        'code' or 'markdown', and the text of the cell.
    """
    cells = []
    for part in ("\n" + text).split("\n" + MARKER)[1:]:
        title, _, body = part.partition("\n")
        is_markdown = title.strip() == "[markdown]"
        if is_markdown:
            body = "\n".join(line.removeprefix("#").removeprefix(" ") for line in body.strip().split("\n"))
        cells.append(("markdown" if is_markdown else "code", body.strip()))
    return cells


class _Screen(io.TextIOBase):
    """Keeps what a cell prints and displays, in the order of its doing so, as outputs of a notebook."""

    def __init__(self) -> None:
        self.outputs: list[dict[str, Any]] = []

    def write(self, text: str) -> int:
        """Keep printed text."""
        if not (self.outputs and self.outputs[-1]["output_type"] == "stream"):
            self.outputs.append({"name": "stdout", "output_type": "stream", "text": ""})
        self.outputs[-1]["text"] += text
        return len(text)

    def display(self, shown: Any) -> None:
        """Keep a picture."""
        content: dict[str, Any] = {"text/plain": repr(shown)}
        for kind, method in _FORMATS:
            drawn = getattr(shown, method, lambda: None)()
            if drawn is not None:
                content[kind] = base64.b64encode(drawn).decode() if isinstance(drawn, bytes) else drawn
        self.outputs.append({"data": content, "metadata": {}, "output_type": "display_data"})


def run_cells(sources: list[str], on_cell: Callable[[int], None] = lambda number: None) -> list[list[dict[str, Any]]]:
    """
    Run code cells top to bottom, in a namespace and a folder of their own.

    Parameters
    ----------
    sources : list of str
        The cells.
    on_cell : callable
        Told the number of each cell before it runs.

    Returns
    -------
    list of list of dict
        The outputs of each cell, as notebooks store them.
    """
    outputs: list[list[dict[str, Any]]] = []
    namespace = {"__name__": "__main__", "display": lambda shown: screen.display(shown)}  # of the cell that runs
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            for number, source in enumerate(sources):
                on_cell(number)
                screen = _Screen()
                with contextlib.redirect_stdout(screen):
                    exec(compile(source, f"cell {number}", "exec"), namespace)
                outputs.append(screen.outputs)
        finally:
            os.chdir(before)
    return outputs


def build_notebook(cells: list[tuple[str, str]], outputs: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """Return a notebook (format 4.5) of cells, and of the outputs of its code cells."""
    built: list[dict[str, Any]] = []
    of_code = iter(enumerate(outputs, start=1))
    for number, (kind, text) in enumerate(cells):
        cell = {
            "cell_type": kind,
            "id": f"cell-{number:02d}",
            "metadata": {},
            "source": text.splitlines(keepends=True),
        }
        if kind == "code":
            cell["execution_count"], cell["outputs"] = next(of_code)
        built.append(cell)
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
    }
    return {"cells": built, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def main() -> None:
    """Build, run and write the notebook."""
    cells = read_cells(SOURCE.read_text(encoding="utf-8"))
    outputs = run_cells([text for kind, text in cells if kind == "code"])
    text = json.dumps(build_notebook(cells, outputs), indent=1, ensure_ascii=False, sort_keys=True)
    NOTEBOOK.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
