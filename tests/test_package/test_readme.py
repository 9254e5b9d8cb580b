"""The README shows what is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "resources/examples/README.md"]


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
    names = ("oadg:simulatefacies", "oadg:crossvalidate", "Set up engine", "Engine status")
    for words in (*names, "Find zones of uncertain facies"):
        assert words in readme
