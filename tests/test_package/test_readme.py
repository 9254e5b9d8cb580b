"""The README shows what is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "resources/examples/README.md",
    *(f"docs/models/{name}.md" for name in ("universal", "channels", "delta")),
]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_and_picture_exists(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    targets = [t for t in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in t]
    missing = [target for target in targets if not ((ROOT / name).parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_placeholder_is_left(name):
    assert not re.findall(r"@[A-Z]+@|TODO|FIXME|TBD", (ROOT / name).read_text(encoding="utf-8"))


def test_the_readme_names_every_algorithm():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "oadg_qgis" / "algorithms").glob("*.py"))
    algorithms = re.findall(r'^    ID = "(\w+)"\n    NAME = "([^"]+)"', source, flags=re.MULTILINE)
    assert len(algorithms) >= 8
    unnamed = [name for identifier, name in algorithms if f"oadg:{identifier}" not in readme and name not in readme]
    assert not unnamed
    assert "Find zones of uncertain facies" in readme
