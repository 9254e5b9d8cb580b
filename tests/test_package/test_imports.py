"""The direction of imports: oadg_qgis -> the contract in core, and inside core downward only."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PACKAGES = (
    "contract",
    "machine",
    "measures",
    "kriging",
    "model",
    "sampling",
    "training",
    "reports",
    "evaluation",
    "hub",
    "engine",
)
"""Parts of core, from the bottom up: each imports itself and those before it. A new part gets its place here first."""
ENGINE_PACKAGES = {"torch", "safetensors", "huggingface_hub", "diffusers"}
GUI_PACKAGES = {"qgis", "osgeo", "PyQt5", "PyQt6", "processing"}

CORE = sorted((ROOT / "core").rglob("*.py"))
CONTRACT = [path for path in CORE if path.parent.name == "contract"]
ADAPTER = sorted((ROOT / "oadg_qgis").rglob("*.py"))
UNTIL_TOLD = [ROOT / "core" / place for place in ("engine.py", "machine/__init__.py", "machine/memory.py")]
"""What an engine runs, beside the contract, before it tells that its Python is too old."""
PYTHON_39 = [*ADAPTER, *CONTRACT, ROOT / "__init__.py", ROOT / "core" / "__init__.py"]


def imports(path: Path):
    """Yield (line, level, dotted module) of every import in a file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, 0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]  # from . import scores
            yield from ((node.lineno, node.level, name) for name in names)


def absolute(path: Path):
    """Return the top packages that a file imports absolutely."""
    return {name.split(".")[0] for _, level, name in imports(path) if level == 0}


def local(path: Path):
    """Yield (line, folders and module below the root) of what a file imports of this project."""
    here = path.relative_to(ROOT).parts
    for line, level, name in imports(path):
        if level:
            assert level <= len(here), f"{ident(path)}, line {line}: above the root"
            yield line, (*here[: len(here) - level], *name.split("."))


def ident(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_is_something_to_check():
    assert {"job", "engine", "sampler"} <= {path.stem for path in CORE}
    assert "plugin" in {path.stem for path in ADAPTER}
    assert any(place == ("core", "model", "network") for path in CORE for _, place in local(path))


def test_every_part_of_core_has_its_place():
    parts = {path.relative_to(ROOT / "core").parts[0].removesuffix(".py") for path in CORE}
    assert parts - {"__init__"} == set(PACKAGES)


@pytest.mark.parametrize("path", CORE, ids=ident)
def test_core_knows_neither_qgis_nor_the_adapter(path):
    assert not absolute(path) & (GUI_PACKAGES | {"oadg", "oadg_qgis", "core"})


@pytest.mark.parametrize("path", CORE, ids=ident)
def test_core_never_reaches_above_itself(path):
    assert [line for line, place in local(path) if place[0] != "core"] == []


@pytest.mark.parametrize("path", [path for path in CORE if path.stem != "__init__"], ids=ident)
def test_core_imports_downward_only(path):
    part = path.relative_to(ROOT / "core").parts[0].removesuffix(".py")
    below = PACKAGES[: PACKAGES.index(part) + 1]
    upward = [f"line {line}: {'.'.join(place)}" for line, place in local(path) if place[1] not in below]
    assert upward == [], f"{ident(path)} may import of {', '.join(below)}"


@pytest.mark.parametrize("package", PACKAGES[:-1])
def test_modules_of_a_package_do_not_import_each_other_in_circles(package):
    graph = {
        path.stem: {place[2] for _, place in local(path) if place[:2] == ("core", package) and len(place) > 2}
        for path in (ROOT / "core" / package).glob("*.py")
    }
    assert len(tuple(TopologicalSorter(graph).static_order())) >= len(graph)


@pytest.mark.parametrize("path", CONTRACT, ids=ident)
def test_the_contract_needs_numpy_only(path):
    assert not absolute(path) & (ENGINE_PACKAGES | {"scipy"})


@pytest.mark.parametrize("path", ADAPTER, ids=ident)
def test_the_adapter_never_imports_what_belongs_to_the_engine(path):
    assert not absolute(path) & (ENGINE_PACKAGES | {"PyQt5", "PyQt6", "oadg", "oadg_qgis", "core"})


@pytest.mark.parametrize("path", ADAPTER, ids=ident)
def test_the_adapter_imports_the_contract_and_nothing_else_of_core(path):
    of_core = [(line, place) for line, place in local(path) if place[:1] == ("core",)]
    assert [f"line {line}: {'.'.join(place)}" for line, place in of_core if place[:2] != ("core", "contract")] == []


@pytest.mark.parametrize("path", PYTHON_39, ids=ident)
def test_what_runs_inside_qgis_is_python_3_9(path):
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))


@pytest.mark.parametrize("path", UNTIL_TOLD, ids=ident)
def test_an_engine_of_python_3_9_gets_as_far_as_telling_that_it_is_too_old(path):
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))


def test_the_root_imports_nothing_when_it_is_imported():
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    assert not [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
