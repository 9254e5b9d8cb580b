"""`oadg:installmodel`, `oadg:listmodels` and `oadg:removemodel`, with the real engine and a hub on this computer."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from qgis.core import QgsApplication, QgsProcessingException

from oadg.core.contract.errors import FaciesError
from oadg.core.contract.facies import Facies, FaciesTable
from oadg.oadg_qgis import models
from oadg.oadg_qgis.algorithms.score_map import _check_facies
from oadg.oadg_qgis.engine_client import close_idle_engines
from oadg.oadg_qgis.layers import Observations
from oadg.oadg_qgis.models import user_folder

FACIES = FaciesTable((Facies(3, "mud <b>", "#112233"), Facies(4, "sand", "#445566")))


@pytest.fixture(scope="module")
def lasting_hub(loopback, tmp_path_factory):
    """A hub that the engine knows from its start on, so that one engine does for all tests."""
    started = loopback.Hub()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", started.address)
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
        patch.setenv("NO_PROXY", "127.0.0.1")
        for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
            patch.delenv(name, raising=False)
        close_idle_engines()  # a warm one has the variables of before
        yield started
        close_idle_engines()
    started.close()


@pytest.fixture
def hub(lasting_hub):
    """The hub, empty and well-behaved."""
    lasting_hub.clear()
    return lasting_hub


@pytest.fixture(autouse=True)
def user(hub, monkeypatch, tmp_path):
    """A user without models, whose data folder has spaces and umlauts."""
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "dätä of mine"))


@pytest.fixture
def run(processing, log):
    def run(name, **parameters):
        return processing.run(f"oadg:{name}", parameters, feedback=log.feedback)

    return run


def leftovers():
    """Return what lies in the user's folder of models."""
    return sorted(path.name for path in user_folder().iterdir()) if user_folder().exists() else []


def test_install_list_remove(run, hub, tiny_model, log):
    content = Path(tiny_model).read_bytes()
    commit = hub.add("geo/tiny", {"tiny.safetensors": content}, tag="v1")
    result = run("installmodel", REPOSITORY="geo/tiny", REVISION="v1", NAME="Kleines Modell")
    assert Path(result["MODEL_FILE"]) == user_folder() / "Kleines Modell.safetensors"
    assert Path(result["MODEL_FILE"]).read_bytes() == content
    assert result["INSTALLED"] == "Kleines Modell"
    assert result["COMMIT"] == commit
    assert result["SHA256_FOUND"] == hashlib.sha256(content).hexdigest()
    assert result["MODEL_ID"].startswith("tiny-")
    assert "(as the hub says)" in log.text
    assert any(text.startswith("Downloading tiny.safetensors") for text in log.texts)
    simulate = QgsApplication.processingRegistry().createAlgorithmById("oadg:simulatefacies")
    assert "Kleines Modell" in simulate.parameterDefinition("MODEL").options()
    listed = run("listmodels", REPORT="TEMPORARY_OUTPUT")
    entry = {model["name"]: model for model in json.loads(listed["MODELS"])}["Kleines Modell"]
    assert f"geo/tiny on {hub.address}, commit {commit[:12]}" in entry["origin"]
    assert "Kleines Modell" in Path(listed["REPORT"]).read_text(encoding="utf-8")
    assert run("removemodel", NAME="Kleines Modell")["REMOVED"] == result["MODEL_FILE"]
    assert leftovers() == []


def test_what_the_engine_objects_to_reaches_the_user(run, hub, tiny_model):
    with pytest.raises(QgsProcessingException, match="There is no repository geo/none on http://127.0.0.1"):
        run("installmodel", REPOSITORY="geo/none")
    hub.add("geo/tiny", {"tiny.safetensors": Path(tiny_model).read_bytes()})
    with pytest.raises(QgsProcessingException, match="There is a model named universal already .among those that come"):
        run("installmodel", REPOSITORY="geo/tiny", NAME="universal")
    hub.tampers = True
    with pytest.raises(QgsProcessingException, match="changed or damaged on its way. Nothing was installed"):
        run("installmodel", REPOSITORY="geo/tiny")
    assert leftovers() == []


def test_what_makes_no_sense_is_said_before_the_engine_starts(run):
    with pytest.raises(QgsProcessingException, match="neither is given. Give one of them"):
        run("installmodel")
    with pytest.raises(QgsProcessingException, match="It is written USER/NAME"):
        run("installmodel", REPOSITORY="https://example.org/geo/tiny")


def test_cancel_during_the_download_leaves_nothing(run, hub, tiny_model, log):
    hub.add("geo/tiny", {"tiny.safetensors": Path(tiny_model).read_bytes()})
    hub.stall_after = 1000

    def cancel():
        while not any(text.startswith("Downloading") for text in log.texts):
            time.sleep(0.02)
        log.feedback.cancel()

    threading.Thread(target=cancel, daemon=True).start()
    with pytest.raises(QgsProcessingException, match="cancelled"):
        run("installmodel", REPOSITORY="geo/tiny")
    assert leftovers() == []
    log.start_again()
    hub.stall_after = None
    run("installmodel", REPOSITORY="geo/tiny")
    assert leftovers() == ["tiny.origin.json", "tiny.safetensors"]


def test_a_file_or_folder_of_this_computer(run, tiny_model, hub, log):
    result = run("installmodel", SOURCE=tiny_model)
    assert result["INSTALLED"] == "tiny"
    assert result["ORIGIN"] == f"the file {tiny_model}"
    assert "compared with none" in log.text
    with pytest.raises(QgsProcessingException, match="There is a model named tiny already"):
        run("installmodel", SOURCE=str(Path(tiny_model).parent), FILE="tiny.safetensors")
    run("installmodel", SOURCE=str(Path(tiny_model).parent), FILE="tiny.safetensors", REPLACE=True)
    assert not hub.requests


def test_the_list_tells_what_headers_say_and_which_models_are_damaged(run, world, log, monkeypatch, tmp_path):
    monkeypatch.setattr(models, "SHIPPED_FOLDER", tmp_path / "shipped")
    (tmp_path / "shipped").mkdir()
    world.write_header(tmp_path / "shipped" / "universal.safetensors")
    user_folder().mkdir(parents=True)
    world.write_header(user_folder() / "image.safetensors", FACIES, 25.0)
    (user_folder() / "broken.safetensors").write_bytes(b"x")
    (user_folder() / "folder.safetensors").mkdir()
    world.write_header(user_folder() / "odd.safetensors", FACIES, scores={"held_out_bits": None})
    result = run("listmodels", REPORT=str(tmp_path / "models.html"))
    assert (result["N_MODELS"], result["NAMES"]) == (4, "universal\nbroken\nimage\nodd")
    universal, broken, image, odd = json.loads(result["MODELS"])
    assert odd["bits_per_cell"] == ""
    assert (universal["facies"], universal["cell_size"], universal["origin"]) == ("any", "any", "comes with OADG")
    assert broken["facies"].startswith("cannot be used: The file")
    assert (image["facies"], image["cell_size"]) == ("mud <b> (3), sand (4)", "25")
    assert image["file"] == str(user_folder() / "image.safetensors")
    with pytest.raises(QgsProcessingException, match=r"which would replace image \(.*image\.safetensors\)"):
        run("listmodels", REPORT=image["file"])
    page = (tmp_path / "models.html").read_text(encoding="utf-8")
    assert "mud &lt;b&gt; (3)" in page
    assert "<b>" not in page
    assert "mud" in log.text


def test_a_model_that_hides_the_universal_one_is_named_with_the_way_back(world):
    strangers = Observations(np.zeros(2), np.zeros(2), ["sand", "peat"])
    with pytest.raises(FaciesError, match=r"rename them, or choose the universal model, which takes any facies\.$"):
        strangers.facies_table(FACIES)
    user_folder().mkdir(parents=True)
    own = user_folder() / "universal.safetensors"
    world.write_header(own, FACIES)
    with pytest.raises(FaciesError, match=r"'Remove model' \(NAME universal\) brings back the one that comes"):
        strangers.facies_table(FACIES)
    with pytest.raises(FaciesError, match=r"give it category names, or choose .* 'Remove model' \(NAME universal\)"):
        _check_facies({7: None}, FACIES, "universal")
    world.write_header(own)
    with pytest.raises(FaciesError, match=r"which takes any facies\.$"):
        strangers.facies_table(FACIES)


def test_only_models_of_ones_own_are_removed(run, world):
    with pytest.raises(
        QgsProcessingException, match="'universal' comes with OADG and is not removed; there are none of"
    ):
        run("removemodel", NAME="universal")
    user_folder().mkdir(parents=True)
    world.write_header(user_folder() / "image.safetensors", FACIES)
    world.write_header(user_folder().parent / "outside.safetensors", FACIES)
    for name in ("nothing", "../outside", "image.safetensors"):
        with pytest.raises(QgsProcessingException, match="There is no model .* yours are: image. Choose one of them"):
            run("removemodel", NAME=name)
    assert leftovers() == ["image.safetensors"]
    (user_folder() / "image.training").mkdir()
    run("removemodel", NAME="image")
    assert leftovers() == []


def test_a_training_that_is_not_done_keeps_its_name(run, tiny_model):
    """Otherwise it would go on, and replace what was installed."""
    (user_folder() / "mine.training").mkdir(parents=True)
    with pytest.raises(QgsProcessingException, match="A training of a model named mine is not done"):
        run("installmodel", SOURCE=tiny_model, NAME="mine")
    assert leftovers() == ["mine.training"]
