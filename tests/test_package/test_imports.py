"""The direction of imports: oadg_qgis -> the contract in core, and inside core downward only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A module of core imports modules of the layers above its own line only. A new module gets its place here first.
LAYERS = (
    {"errors"},
    {
        "grid",
        "facies",
        "memory",
        "bodies",
        "public_images",
        "hard_data",
        "texture",
        "covariances",
        "expectation_propagation",
    },
    {"truncated_gaussian", "device"},
    {
        "conditioning",
        "training_image",
        "model_header",
        "fidelity",
        "ensemble",
        "path",
        "random_fields",
        "kriging_features",
        "calibration",
        "job",
        "drawing",
        "refiner",
        "muon",
    },
    {
        "network",
        "scores",
        "report",
        "folds",
        "cautions",
        "training_job",
        "score_job",
        "indicator_job",
        "comparison_job",
        "hub_job",
        "job_arrays",
        "reproduction",
        "image_set",
    },
    {"objective", "lattice", "turning", "reference", "report_maps", "digits"},
    {"prediction", "visits"},
    {"training", "sampler", "hub_client", "kriging", "model"},
    {"reference_checkpoint", "precision", "marginal"},
    {"examples", "schedules", "likelihood", "indicator_simulation"},
    {"corrections", "realizations"},
    {"simulation", "scoring", "indicator_run", "yardsticks", "train_universal", "image_examples"},
    {"image_training"},
    {"tracking", "terminal_training"},
    {"evaluation", "comparison"},
    {"validation_page", "likeness", "side_by_side"},
    {"model_page", "model_card", "side_by_side_page", "verdict"},
    {"model_evaluation", "hub", "side_by_side_run"},
    {"crossvalidation"},
    {"engine"},
)
CONTRACT = {
    "job",
    "training_job",
    "score_job",
    "indicator_job",
    "comparison_job",
    "hub_job",
    "training_image",
    "model_header",
    "grid",
    "facies",
    "conditioning",
    "folds",
    "cautions",
    "errors",
}
ENGINE_PACKAGES = {"torch", "safetensors", "huggingface_hub", "diffusers"}
GUI_PACKAGES = {"qgis", "osgeo", "PyQt5", "PyQt6", "processing"}

CORE = sorted((ROOT / "core").glob("*.py"))
ADAPTER = sorted((ROOT / "oadg_qgis").rglob("*.py"))
PYTHON_39 = [*ADAPTER, ROOT / "__init__.py", *(ROOT / "core" / f"{name}.py" for name in sorted(CONTRACT))]


def imports(path: Path):
    """Yield (line, level, dotted module) of every import in a file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, 0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module in (None, "core"):  # modules are imported from a package: from ..core import job
                prefix = f"{node.module}." if node.module else ""
                yield from ((node.lineno, node.level, prefix + alias.name) for alias in node.names)
            else:
                yield node.lineno, node.level, node.module


def absolute(path: Path):
    """Return the top packages that a file imports absolutely."""
    return {name.split(".")[0] for _, level, name in imports(path) if level == 0}


def ident(path: Path) -> str:
    return str(path.relative_to(ROOT))


def layer_of(module: str) -> int:
    places = [place for place, layer in enumerate(LAYERS) if module in layer]
    assert len(places) == 1, (
        f"core/{module}.py has {len(places)} places in LAYERS of {Path(__file__).name}; it needs one"
    )
    return places[0]


def test_there_is_something_to_check():
    assert {"job", "engine"} <= {path.stem for path in CORE}
    assert "plugin" in {path.stem for path in ADAPTER}


@pytest.mark.parametrize("path", CORE, ids=ident)
def test_core_knows_neither_qgis_nor_the_adapter(path):
    assert not absolute(path) & (GUI_PACKAGES | {"oadg", "oadg_qgis", "core"})


@pytest.mark.parametrize("path", CORE, ids=ident)
def test_core_never_reaches_above_itself(path):
    assert [line for line, level, _ in imports(path) if level > 1] == []


@pytest.mark.parametrize("path", [path for path in CORE if path.stem != "__init__"], ids=ident)
def test_core_imports_downward_only(path):
    own = layer_of(path.stem)
    upward = [
        f"line {line}: {name}" for line, level, name in imports(path) if level and layer_of(name.split(".")[0]) >= own
    ]
    assert upward == [], f"{path.name} is in layer {own}; what it imports must be in a lower one"


@pytest.mark.parametrize("name", sorted(CONTRACT))
def test_the_contract_needs_numpy_only(name):
    heavy = absolute(ROOT / "core" / f"{name}.py") & (ENGINE_PACKAGES | {"scipy"})
    local = {module for _, level, module in imports(ROOT / "core" / f"{name}.py") if level}
    assert not heavy
    assert local <= CONTRACT


@pytest.mark.parametrize("path", ADAPTER, ids=ident)
def test_the_adapter_never_imports_what_belongs_to_the_engine(path):
    assert not absolute(path) & (ENGINE_PACKAGES | {"PyQt5", "PyQt6", "oadg", "oadg_qgis", "core"})


@pytest.mark.parametrize("path", ADAPTER, ids=ident)
def test_the_adapter_imports_the_contract_and_nothing_else_of_core(path):
    depth = len(path.relative_to(ROOT).parts)  # as many dots lead to the root package
    above = [(line, name) for line, level, name in imports(path) if level >= depth]
    allowed = {f"core.{module}" for module in CONTRACT}
    assert [f"line {line}: {name}" for line, name in above if name not in allowed] == []


@pytest.mark.parametrize("path", PYTHON_39, ids=ident)
def test_what_runs_inside_qgis_is_python_3_9(path):
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))


def test_the_root_imports_nothing_when_it_is_imported():
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    assert not [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
