"""The walkthrough is what its source builds, shows what it talks about, and runs."""

from __future__ import annotations

import base64
import importlib.util
import json
import struct
from pathlib import Path

import pytest
import torch

DOCS = Path(__file__).resolve().parents[2] / "docs"
MAX_BYTES = 500_000
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def builder():
    spec = importlib.util.spec_from_file_location("make_walkthrough", DOCS / "make_walkthrough.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def notebook():
    return json.loads((DOCS / "walkthrough.ipynb").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def code(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pictures(outputs):
    """Return the pictures among the outputs of cells, decoded."""
    shown = [output["data"] for of_cell in outputs for output in of_cell if "data" in output]
    return [base64.b64decode(data["image/png"]) for data in shown if "image/png" in data], [
        data["image/svg+xml"] for data in shown if "image/svg+xml" in data
    ]


def test_the_notebook_is_what_the_source_builds(builder, notebook):
    cells = builder.read_cells(builder.SOURCE.read_text(encoding="utf-8"))
    stored = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    assert stored == cells, "docs/walkthrough.py has changed: run docs/make_walkthrough.py"


def test_the_notebook_is_one(builder, notebook, code):
    outputs = [cell["outputs"] for cell in code]
    cells = builder.read_cells(builder.SOURCE.read_text(encoding="utf-8"))
    assert notebook == builder.build_notebook(cells, outputs)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))


def test_the_stored_outputs_hold_pictures_and_are_small(code):
    png, svg = pictures([cell["outputs"] for cell in code])
    assert len(png) >= 10
    assert len(svg) == 1
    assert svg[0].startswith("<svg")
    for picture in png:
        assert picture.startswith(PNG)
        width, height = struct.unpack(">II", picture[16:24])
        assert 200 <= width <= 1400
        assert 50 <= height <= 600
    assert (DOCS / "walkthrough.ipynb").stat().st_size < MAX_BYTES


def test_no_machine_is_named_and_no_error_stored(notebook, code):
    text = json.dumps(notebook)
    assert "/home/" not in text
    assert "/tmp/" not in text
    assert str(DOCS.parent) not in text
    kinds = {output["output_type"] for cell in code for output in cell["outputs"]}
    assert kinds == {"stream", "display_data"}


def test_cells_are_read_in_the_percent_format(builder):
    text = (
        '"""Left out."""\n\n# %% [markdown]\n# # Title\n#\n# - text\n\n# %%\na = 1  # %% no cell\n\n\n# %%\nprint(a)\n'
    )
    cells = [("markdown", "# Title\n\n- text"), ("code", "a = 1  # %% no cell"), ("code", "print(a)")]
    assert builder.read_cells(text) == cells


def test_outputs_are_kept_with_the_cell_that_made_them_in_their_order(builder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = "from pathlib import Path\nPath('left').write_text('')\ndraw = display\nprint('one')\nprint('two')"
    second = f"class P:\n    def _repr_png_(self):\n        return {PNG!r}\n    def __repr__(self):\n        return 'P'"
    outputs = builder.run_cells([first, second, "print('three')\ndraw(P())\nprint('four')"])
    assert outputs == [
        [{"name": "stdout", "output_type": "stream", "text": "one\ntwo\n"}],
        [],
        [
            {"name": "stdout", "output_type": "stream", "text": "three\n"},
            {
                "data": {"text/plain": "P", "image/png": base64.b64encode(PNG).decode()},
                "metadata": {},
                "output_type": "display_data",
            },
            {"name": "stdout", "output_type": "stream", "text": "four\n"},
        ],
    ]
    assert Path.cwd() == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_the_notebook_runs_top_to_bottom(builder, code, one_thread):
    outputs = builder.run_cells(["".join(cell["source"]) for cell in code])
    stored = [cell["outputs"] for cell in code]
    assert [[o["output_type"] for o in of_cell] for of_cell in outputs] == [
        [o["output_type"] for o in s] for s in stored
    ]
    png, svg = pictures(outputs)
    assert len(png) >= 10
    assert len(svg) == 1
