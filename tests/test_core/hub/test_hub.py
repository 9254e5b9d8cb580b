"""Models from a hub: the official client against a hub on this computer, which fails in every way that hubs do."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import threading
import time
from dataclasses import replace

import huggingface_hub
import pytest
from huggingface_hub import constants

from oadg.core.contract.errors import Cancelled, HubError, JobError, ModelError
from oadg.core.contract.facies import Facies, FaciesTable
from oadg.core.contract.hub_job import InstallJob, check_name, read_origin
from oadg.core.hub import client as hub_client
from oadg.core.hub import model_card
from oadg.core.hub.__main__ import main
from oadg.core.hub.install import install_model
from oadg.core.hub.publish import publish_model
from oadg.core.model.facies_model import FaciesModel
from oadg.core.model.schedule import SCHEDULES

FACIES = FaciesTable((Facies(3, "mud | silt", "#112233"), Facies(311, "sand", "#ccbb44")))
FILE = "delta.safetensors"


@pytest.fixture
def model(deep_network):
    provenance = {
        "learnt_from": "Lena delta",
        "image_licence": "CC-BY-4.0",
        "image": {"n_rows": 600, "n_cols": 598, "symmetry": "flips"},
        "scores": {"held_out_bits": 0.12345, "excess_bits": {"standard": 0.0034, "preview": 0.02}},
        "steps_done": 900,
    }
    return FaciesModel("delta", deep_network, FACIES, 2, 30.0, provenance=provenance, licence="GPL-3.0-only")


@pytest.fixture
def content(model, tmp_path):
    path = tmp_path / FILE
    model.save(path)
    return path.read_bytes()


@pytest.fixture
def client(hub, monkeypatch, tmp_path):
    """The client as one finds it whose user has never used it; returns its cache."""
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    monkeypatch.setattr(model_card, "_SIDE", 32)  # of the picture, which takes its time
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    forget_connections()
    return tmp_path / "cache"


def forget_connections():
    """Let the client begin anew: it keeps connections, and remembers proxies."""
    getattr(huggingface_hub, "close_session", lambda: None)()


@pytest.fixture
def install(hub, client, tmp_path):
    """Install into a folder; see to it that nothing is left in the place of work, nor of a failure among the models."""
    folder, work = tmp_path / "models of mine", tmp_path / "oadg-work"
    work.mkdir()

    def run(repository="geo/delta", progress=lambda fraction, text: None, patience_s=20.0, **asked):
        before = contents(folder)
        job = InstallJob(str(work), str(folder), "" if "source" in asked else repository, **asked)
        try:
            return install_model(job, progress, endpoint=hub.address, patience_s=patience_s)
        except Exception:
            assert contents(folder) == before
            raise
        finally:
            assert not list(work.iterdir())

    run.folder = folder
    yield run
    hub.stall_after = hub.cut_after = None
    hub.released.set()
    for thread in threading.enumerate():
        if thread.name == "oadg-hub":
            thread.join(5)
            assert not thread.is_alive(), "a download that nobody waits for ends with its next bytes"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def test_a_model_is_fetched_checked_and_put_in_its_place(hub, install, content, model):
    old = hub.add("geo/delta", {FILE: content, "README.md": b"card"}, tag="v1")
    hub.add("geo/delta", {FILE: content, "README.md": b"newer"})
    told = []
    result = install(revision="v1", progress=lambda *what: told.append(what))
    path = install.folder / FILE
    assert result.model_path == str(path)
    assert path.read_bytes() == content
    assert result.model_id == model.model_id
    assert result.sha256 == hashlib.sha256(content).hexdigest()
    assert (result.name, result.commit, result.checked_against, result.from_cache) == ("delta", old, "hub", False)
    assert sorted(contents(install.folder)) == ["delta.origin.json", FILE]
    note = read_origin(path)
    assert (note["repository"], note["revision"], note["commit"]) == ("geo/delta", "v1", old)
    assert old[:12] in note["origin"]
    assert [fraction for fraction, _ in told] == sorted(fraction for fraction, _ in told)
    assert f"/geo/delta/resolve/{old}/{FILE}" in hub.paths("HEAD"), "the commit is fetched, not what it is called"
    path.write_bytes(content[:-1] + b"x")
    assert read_origin(path) is not None
    path.write_bytes(b"x" + content)
    assert read_origin(path) is None, "a note never speaks of another file"


def test_a_commit_and_a_name_of_ones_own(hub, install, content):
    commit = hub.add("geo/delta", {FILE: content})
    result = install(revision=commit, name="My delta", sha256=hashlib.sha256(content).hexdigest().upper())
    assert (result.name, result.checked_against) == ("My delta", "user")
    assert sorted(contents(install.folder)) == ["My delta.origin.json", "My delta.safetensors"]


def test_an_installed_model_is_replaced_only_when_asked(hub, install, content):
    hub.add("geo/delta", {FILE: content})
    install(name="Mine")
    asked = len(hub.requests)
    with pytest.raises(JobError, match=r"There is a model named mine already .*Mine\.safetensors\)\. Choose another"):
        install(name="mine")
    assert len(hub.requests) == asked, "said before anything is fetched"
    with pytest.raises(JobError, match="named delta already .among those that come with OADG"):
        install(taken=("universal", "Delta"))
    commit = hub.add("geo/delta", {FILE: content, "more": b""})
    assert install(name="Mine", replace=True).commit == commit
    assert read_origin(install.folder / "Mine.safetensors")["commit"] == commit


def test_only_a_model_of_any_facies_may_be_called_universal(hub, install, content, deep_network, tmp_path):
    """For it is what is chosen by default."""
    hub.add("geo/delta", {FILE: content})
    for name in ("universal", "Universal"):
        with pytest.raises(JobError, match=r"has the facies mud \| silt, sand, and would hide .* Choose another NAME"):
            install(name=name, replace=True)
    FaciesModel("any", deep_network).save(tmp_path / "any.safetensors")
    assert install(source=str(tmp_path / "any.safetensors"), name="universal", replace=True).name == "universal"


def test_unknown_repository_revision_and_file(hub, install, content):
    with pytest.raises(
        HubError, match=f"There is no repository geo/delta on {hub.address}, or it is private.*HF_TOKEN"
    ):
        install()
    hub.add("geo/delta", {FILE: content, "b/other.safetensors": content})
    with pytest.raises(HubError, match=r"geo/delta on .* has no revision 'v9'\. Give a commit, tag or branch"):
        install(revision="v9")
    with pytest.raises(
        HubError, match=r"has no file 'x.safetensors'\..*it holds b/other.safetensors, delta.safetensors"
    ):
        install(file="x.safetensors")
    with pytest.raises(HubError, match="holds 2 models: b/other.safetensors, delta.safetensors. Say which one as FILE"):
        install()
    assert install(file="b/other.safetensors").name == "delta"


def test_a_repository_without_models(hub, install):
    hub.add("geo/delta", {"model.bin": pickle.dumps({}), "README.md": b""})
    with pytest.raises(HubError, match=r"no file \*.safetensors in it, nor.*; it holds README.md, model.bin.*never"):
        install()


def test_a_private_repository_needs_the_token_which_only_the_hub_gets(hub, install, content, monkeypatch):
    hub.add("geo/delta", {FILE: content}, token="hf_secret")
    with pytest.raises(HubError, match="or it is private"):
        install()
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    install()
    assert all(token is None for _, path, token in hub.requests if "/" not in path.strip("/"))


def test_a_pickle_is_not_loaded(hub, install, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    hub.add("geo/delta", {FILE: pickle.dumps(Trap())})
    with pytest.raises(ModelError, match=r"delta.safetensors from geo/delta .* was not installed.*cannot be read as a"):
        install()
    assert not (tmp_path / "sprung").exists()


def test_a_foreign_model_is_refused(hub, install, tmp_path):
    import torch
    from safetensors.torch import save

    hub.add("geo/delta", {"model.safetensors": save({"weight": torch.zeros(2)})})
    with pytest.raises(
        ModelError, match=r"was not installed\. The file model.safetensors is a safetensors file, but not"
    ):
        install()


def test_a_connection_that_is_cut_leaves_nothing(hub, install, content, monkeypatch):
    hub.add("geo/delta", {FILE: content})
    hub.cut_after = len(content) // 2
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(HubError, match="cannot be reached, or does not answer in time|was cut before its end"):
        install()
    hub.cut_after = None
    install()


def test_a_hub_that_stalls_is_given_up(hub, install, content):
    hub.add("geo/delta", {FILE: content})
    hub.stall_after = 1000
    began = time.monotonic()
    with pytest.raises(HubError, match=r"nothing came for 0.5 seconds.*as SOURCE"):
        install(patience_s=0.5)
    assert time.monotonic() - began < 3


def test_a_hub_that_is_down_or_not_there(hub, install, content):
    hub.is_down = True
    with pytest.raises(HubError, match=r"cannot be reached, or does not answer in time .*503.*HTTPS_PROXY.*as SOURCE"):
        install()
    hub.close()
    forget_connections()
    with pytest.raises(HubError, match=r"cannot be reached, or does not answer in time .*refused"):
        install()


def test_a_hub_that_does_not_answer(hub, install, monkeypatch):
    hub.is_mute = True
    monkeypatch.setattr(hub_client, "ANSWER_S", 0.3)
    began = time.monotonic()
    with pytest.raises(HubError, match="cannot be reached, or does not answer in time .*(timed out|nothing came)"):
        install()
    assert time.monotonic() - began < 3

    def progress(fraction, text):
        if time.monotonic() - began > 0.2:
            raise Cancelled("The run was cancelled; nothing is kept.")

    monkeypatch.setattr(hub_client, "ANSWER_S", 10.0)
    with pytest.raises(Cancelled):
        install(progress=progress)
    assert time.monotonic() - began < 5


def test_a_wrong_checksum(hub, install, content):
    hub.add("geo/delta", {FILE: content})
    with pytest.raises(HubError, match=rf"is {hashlib.sha256(content).hexdigest()}, and not {'0' * 64}, as you say"):
        install(sha256="0" * 64)
    hub.tampers = True
    with pytest.raises(HubError, match=rf"and not {hashlib.sha256(content).hexdigest()}, as the hub says.*on its way"):
        install()


def test_cancel_during_the_download(hub, install, content):
    hub.add("geo/delta", {FILE: content})
    hub.stall_after = 1000

    def progress(fraction, text):
        if text.startswith("Downloading"):
            raise Cancelled("The run was cancelled; nothing is kept.")

    began = time.monotonic()
    with pytest.raises(Cancelled):
        install(progress=progress)
    assert time.monotonic() - began < 2


def test_without_the_hub_the_clients_cache_does(hub, install, content, client, monkeypatch):
    commit = hub.add("geo/delta", {FILE: content})
    huggingface_hub.hf_hub_download("geo/delta", FILE, endpoint=hub.address, cache_dir=client)
    hub.is_down = True
    told = []
    result = install(progress=lambda fraction, text: told.append(text))
    assert (result.from_cache, result.commit, result.checked_against) == (True, commit, "hub")
    assert "The hub cannot be reached: taking the file from its client's cache" in told
    assert contents(install.folder)[FILE] == content
    with pytest.raises(HubError, match="cannot be reached"):
        install(revision="v1", name="other")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(hub.requests)
    assert install(revision=commit, name="offline").from_cache
    assert len(hub.requests) == asked
    (blob,) = (client / "models--geo--delta" / "blobs").iterdir()
    blob.write_bytes(content[:-1] + b"x")
    with pytest.raises(HubError, match="as the hub says"):
        install(name="spoilt")


def test_from_a_file_or_a_folder(install, content, tmp_path, hub):
    folder = tmp_path / "snapshot"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / FILE).write_bytes(content)
    result = install(source=str(folder))
    assert (result.name, result.commit, result.checked_against) == ("delta", "", "")
    assert read_origin(install.folder / FILE)["origin"] == f"the file {folder / 'sub' / FILE}"
    install(source=str(folder / "sub" / FILE), name="again", sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(HubError, match="as you say"):
        install(source=str(folder), name="wrong", sha256="0" * 64)
    with pytest.raises(JobError, match="There is no file or folder"):
        install(source=str(tmp_path / "none"))
    shutil.copy(folder / "sub" / FILE, folder / "two.safetensors")
    with pytest.raises(HubError, match="holds 2 models"):
        install(source=str(folder), name="two")
    (tmp_path / "pickle.safetensors").write_bytes(pickle.dumps({}))
    with pytest.raises(ModelError, match=r"pickle.safetensors from the file .* was not installed"):
        install(source=str(tmp_path / "pickle.safetensors"), name="bad")
    assert not hub.requests


def test_a_model_whose_own_name_leads_elsewhere(hub, install, model, tmp_path):
    path = tmp_path / "evil.safetensors"
    FaciesModel("../../evil", model.network, FACIES, 2).save(path)
    with pytest.raises(JobError, match=r"The name '../../evil' cannot be that of a file"):
        install(source=str(path))
    assert install(source=str(path), name="tame").name == "tame"


def test_a_folder_that_cannot_be_written(install, content, tmp_path):
    (tmp_path / FILE).write_bytes(content)
    install.folder.write_text("a file, no folder")
    job = InstallJob("", str(install.folder), source=str(tmp_path / FILE))
    with pytest.raises(JobError, match="The model cannot be written into .*models of mine"):
        install_model(job, lambda fraction, text: None)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "neither is given"),
        ({"repository": "a/b", "source": "c"}, "both are given"),
        ({"repository": "https://huggingface.co/a/b"}, "cannot be a repository of the hub. It is written USER/NAME"),
        ({"repository": "a/b", "revision": ""}, "The revision is empty"),
        ({"repository": "a/b", "file": "../x.safetensors"}, "lies outside the repository"),
        ({"repository": "a/b", "sha256": "abc"}, "is no SHA-256"),
        ({"repository": "a/b", "name": "x/y"}, "cannot be that of a file"),
        ({"repository": "a/b", "name": ".hidden"}, "cannot be that of a file"),
    ],
)
def test_what_cannot_be_asked(asked, words):
    with pytest.raises(JobError, match=words):
        InstallJob("work", "models", **asked)


@pytest.mark.parametrize("name", ["CON", "prn", "Aux.delta", "nul .1", "COM1", "lpt9.a.b", "com¹"])
def test_names_of_devices_of_windows_are_no_names_of_models(name):
    with pytest.raises(JobError, match=r"of a file on Windows, where [A-Z]{3}.? is a device\. Use another one"):
        check_name(name)
    for other in (f"model {name}", f"{name}a".replace(".", ""), f"{name[:3]}0"):
        check_name(other)


def test_a_job_survives_the_way_to_the_engine():
    job = InstallJob("work", "models", "a/b", taken=("universal",), replace=True)
    assert InstallJob.from_dict(json.loads(json.dumps(job.to_dict()))) == job
    with pytest.raises(JobError, match="parts that this engine does not know: colour"):
        InstallJob.from_dict({"colour": "red"})


def test_published_it_can_be_installed_again(hub, client, install, model, tmp_path, monkeypatch):
    monkeypatch.setattr(hub_client, "ANSWER_S", 5.0)
    path = tmp_path / FILE
    model.save(path)
    with pytest.raises(HubError, match=r"does not let you write into the repository geo/new .401.*HF_TOKEN"):
        publish_model(path, "geo/new", endpoint=hub.address)
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    url = publish_model(path, "geo/new", private=True, endpoint=hub.address)
    assert url.startswith(f"{hub.address}/geo/new/commit/")
    files = hub.main("geo/new")
    assert set(files) == {".gitattributes", FILE, "README.md", "example.png"}
    assert files[FILE] == path.read_bytes()
    assert files["example.png"].startswith(b"\x89PNG")
    card = files["README.md"].decode()
    for words in (
        "license: gpl-3.0\n",
        "| 3 | mud \\| silt | #112233 |",
        "Lena delta",
        "CC-BY-4.0",
        "0.1235",
        " | 0.0034 |",
        "30 m |",
        hashlib.sha256(path.read_bytes()).hexdigest(),
        "REPOSITORY=geo/new",
    ):
        assert words in card, words
    assert hub.private["geo/new"] == "hf_mine"
    assert install("geo/new").model_id == model.model_id
    publish_model(path, "geo/new", endpoint=hub.address)  # once more, into what is there


@pytest.mark.parametrize(
    ("share", "told"),
    [
        (0.0, "given data are asked at once."),
        (0.75, "given data are 75% the mean over coarse lattices that are drawn, the rest asked at once."),
        (1.0, "given data are the mean over coarse lattices that are drawn."),
    ],
)
def test_a_card_tells_how_probabilities_are_asked_and_what_is_added_to_logits(model, share, told):
    schedules = {"preview": SCHEDULES["preview"], "fine": replace(SCHEDULES["fine"], balance=((), (0.25, -0.125)))}
    asked = replace(model, expected_share=share, schedules=schedules)
    card = model_card.model_card(asked, repository="a/b", file=FILE, sha256="0" * 64, has_picture=False)
    assert told in card
    assert " | nothing |" in card
    assert " | +0.250, -0.125 |" in card


def test_the_universal_model_has_a_card_without_a_picture(hub, client, deep_network, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    path = tmp_path / "universal.safetensors"
    FaciesModel("universal", deep_network, licence="LicenseRef-House Rules").save(path)
    publish_model(path, "geo/universal", endpoint=hub.address)
    files = hub.main("geo/universal")
    assert "example.png" not in files
    assert "license: other\nlicense_name: licenseref-house-rules\n" in files["README.md"].decode()


def test_the_command_line(hub, client, content, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    (tmp_path / FILE).write_bytes(content)
    assert main(["install", str(tmp_path / FILE), "--folder", str(tmp_path / "models")]) == 0
    assert (tmp_path / "models" / FILE).read_bytes() == content
    assert main(["install", str(tmp_path / FILE), "--folder", str(tmp_path / "models")]) == 1
    assert "There is a model named delta already" in caplog.text
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    assert main(["publish", str(tmp_path / FILE), "geo/delta"]) == 0
    assert f"Published: {hub.address}/geo/delta/commit/" in caplog.text
    assert main(["publish", str(tmp_path / "none"), "geo/delta"]) == 1
