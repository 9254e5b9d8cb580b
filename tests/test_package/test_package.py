"""The package: what the zip holds, and that names and versions agree wherever they are written."""

from __future__ import annotations

import configparser
import importlib.metadata
import re
import subprocess
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from oadg.core import engine
from oadg.oadg_qgis import engine_setup

ROOT = Path(__file__).resolve().parents[2]
MAX_ZIP_BYTES = 25_000_000

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="the zip is made from a git repository")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """The zip as `make package` builds it, with the attributes that are in the working tree."""
    path = tmp_path_factory.mktemp("package") / "oadg.zip"
    command = ["git", "archive", "--format=zip", "--prefix=oadg/", "--worktree-attributes", f"--output={path}", "HEAD"]
    subprocess.run(command, cwd=ROOT, check=True)
    with zipfile.ZipFile(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def names(archive):
    return [PurePosixPath(entry.filename) for entry in archive.infolist() if not entry.is_dir()]


@pytest.fixture(scope="module")
def metadata():
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read(ROOT / "metadata.txt", encoding="utf-8")
    return parser["general"]


def pyproject_value(pattern: str) -> str:
    """Return a value of pyproject.toml; Python 3.9 and 3.10 have no reader for it."""
    return re.search(pattern, (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL).group(1)


def test_the_zip_has_one_folder_with_what_qgis_wants(names):
    assert {name.parts[0] for name in names} == {"oadg"}
    assert "oadg".isidentifier()
    inside = {str(name) for name in names}
    assert {"oadg/metadata.txt", "oadg/__init__.py", "oadg/LICENSE"} <= inside
    assert {"oadg/core/engine.py", "oadg/oadg_qgis/plugin.py", "oadg/resources/engine-requirements.txt"} <= inside


def test_the_zip_holds_the_example_and_the_model(names):
    inside = {str(name) for name in names}
    assert {"oadg/resources/examples/jura.gpkg", "oadg/resources/examples/jura.qgz"} <= inside
    assert "oadg/resources/models/universal.safetensors" in inside


def test_the_zip_holds_nothing_that_the_plugin_repository_refuses(names):
    refused = {".pyc", ".pyo", ".sh", ".bat", ".exe", ".so", ".dll", ".dylib"}
    assert [str(name) for name in names if name.suffix in refused] == []
    assert [str(name) for name in names if any(part.startswith((".", "__pycache__")) for part in name.parts)] == []


def test_the_zip_leaves_the_developers_part_out(names):
    developers = {"tests", "docs", "benchmarks", "Makefile", "pyproject.toml"}
    assert {name.parts[1] for name in names} & developers == set()


def test_the_zip_is_small_enough(archive):
    assert Path(archive.filename).stat().st_size < MAX_ZIP_BYTES


def test_every_file_unpacks(archive):
    assert archive.testzip() is None


def test_the_metadata_has_what_the_plugin_repository_wants(metadata):
    required = (
        "name",
        "qgisMinimumVersion",
        "description",
        "about",
        "version",
        "author",
        "email",
        "repository",
        "tracker",
    )
    assert [key for key in required if not metadata.get(key, "").strip()] == []
    assert "plugin" not in metadata["name"].lower()
    assert metadata["hasProcessingProvider"] == "yes"
    assert (ROOT / metadata["icon"]).is_file()


def test_the_version_is_the_same_everywhere(metadata):
    version = metadata["version"]
    assert pyproject_value(r'^version = "(.*?)"') == version
    assert (
        re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE).group(1)
        == version
    )
    assert importlib.metadata.version("oadg") == version


def test_the_oldest_python_is_the_same_everywhere():
    oldest = pyproject_value(r'^requires-python = ">=(.*?)"')
    for module in (engine, engine_setup):
        assert ".".join(map(str, module.OLDEST_PYTHON)) == oldest


def test_the_list_of_packages_is_the_tree():
    # The first list of this name, [tool.setuptools]'s.
    listed = re.findall(r'"(.*?)"', pyproject_value(r"^packages = \[(.*?)\]"))
    folders = {path.parent for top in ("core", "oadg_qgis") for path in (ROOT / top).rglob("__init__.py")} | {ROOT}
    assert sorted(listed) == sorted(".".join(("oadg", *folder.relative_to(ROOT).parts)) for folder in folders)


def test_every_folder_with_code_is_a_package():
    code = {path.parent for top in ("core", "oadg_qgis") for path in (ROOT / top).rglob("*.py")}
    assert [str(folder) for folder in code if not (folder / "__init__.py").is_file()] == []


def test_the_licence_is_the_gpl():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "GNU GENERAL PUBLIC LICENSE" in text
    assert "Version 3, 29 June 2007" in text


def test_what_make_bench_runs_needs_to_be_told_nothing():
    programs = [path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").glob("*.py")]
    programs = [text for text in programs if "\nif __name__" in text]
    assert len(programs) >= 5
    arguments = [line for text in programs for line in text.splitlines() if "add_argument(" in line]
    assert [line for line in arguments if 'add_argument("--' not in line or "required=True" in line] == []
