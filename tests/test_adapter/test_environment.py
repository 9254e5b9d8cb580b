"""Which Python the engine gets, what it inherits, how its private environment is made: real interpreters, real pip."""

from __future__ import annotations

import os
import re
import sys
import time
import zipfile
from pathlib import Path

import pytest
from qgis.core import QgsSettings

from oadg.core.contract.errors import Cancelled, EngineError
from oadg.oadg_qgis import engine_setup, environment
from oadg.oadg_qgis.engine_client import EngineClient, close_idle_engines
from oadg.oadg_qgis.engine_setup import BUILDS, find_base_python, pip_arguments, set_up_engine
from oadg.oadg_qgis.environment import engine_command, engine_environment, engine_folder, find_interpreter
from oadg.oadg_qgis.programs import Feedback, essence, watch_program

BUILD = os.environ.get("OADG_TEST_BUILD", "cpu")
"""What the really installing test installs; 'default' where PyTorch's own index is out of reach."""
SILENT = Feedback(lambda fraction, text: None, lambda line: None, lambda: False)
posix_only = pytest.mark.skipif(os.name != "posix", reason="the stand-ins for interpreters are shell scripts")


@pytest.fixture(autouse=True)
def private(monkeypatch, tmp_path, qgis_app):
    """A user without any engine, whose data folder has spaces and umlauts; returns where the engine belongs."""
    data = tmp_path / "dätä of mine"
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(data))
    monkeypatch.delenv("OADG_ENGINE_PYTHON", raising=False)
    settings = QgsSettings()
    before = {key: settings.value(key) for key in settings.allKeys() if key.startswith(("oadg/", "proxy/"))}
    for key in before:
        settings.remove(key)
    yield engine_folder()
    close_idle_engines()
    for key in settings.allKeys():
        if key.startswith(("oadg/", "proxy/")):
            settings.remove(key)
    for key, value in before.items():
        settings.setValue(key, value)


@pytest.fixture
def plain_pip(monkeypatch):
    """A pip that this computer's configuration gives nothing beside the test's own wheels."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)


def program(path: Path, script: str) -> str:
    """Write a shell script that stands in for an interpreter; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def wheel(folder: Path, name: str, version: str, code: str) -> None:
    """Write a wheel of one module."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    contents = {
        f"{name}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in (*contents, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in {**contents, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)


def test_without_any_interpreter_it_says_where_it_looked_and_what_to_do(private):
    with pytest.raises(EngineError) as caught:
        find_interpreter()
    for words in ("not set up", "oadg/engine_python", "OADG_ENGINE_PYTHON", str(private), "oadg:setupengine"):
        assert words in str(caught.value)


@posix_only
def test_the_setting_goes_before_the_variable_and_the_variable_before_the_own_environment(
    private, monkeypatch, tmp_path
):
    own = program(private / "bin" / "python", "true")
    assert find_interpreter() == (own, "OADG's own environment")
    monkeypatch.setenv("OADG_ENGINE_PYTHON", sys.executable)
    assert find_interpreter() == (sys.executable, "the environment variable OADG_ENGINE_PYTHON")
    named = program(tmp_path / "some where" / "python", "true")
    QgsSettings().setValue("oadg/engine_python", named)
    assert find_interpreter() == (named, "the setting oadg/engine_python")
    assert engine_command()[0] == named


def test_a_named_interpreter_that_is_not_there_is_never_silently_replaced(private, monkeypatch, tmp_path):
    program(private / "bin" / "python", "true")
    monkeypatch.setenv("OADG_ENGINE_PYTHON", str(tmp_path / "gone"))
    with pytest.raises(EngineError, match=r"gone, named by the environment variable .* does not exist.*Correct"):
        find_interpreter()


def test_the_engine_inherits_what_is_harmless_and_nothing_else(tmp_path):
    driver, other = tmp_path / "driver", tmp_path / "qgis"
    driver.mkdir(), other.mkdir()
    (driver / "libcuda.so.1").touch()
    passed = {"HOME": "h", "LC_ALL": "C.UTF-8", "https_proxy": "p", "CUDA_VISIBLE_DEVICES": "0", "OMP_NUM_THREADS": "2"}
    passed.update(XDG_CACHE_HOME="c", NVIDIA_TF32_OVERRIDE="0", OADG_X="x", SSL_CERT_FILE="s", TMPDIR="t")
    passed.update(HF_TOKEN="t", HF_ENDPOINT="e", HF_HOME="h", HTTPS_PROXY="p", REQUESTS_CA_BUNDLE="b", NO_PROXY="n")
    poison = {"PYTHONHOME": "a", "PYTHONPATH": "b", "PYTHONEXECUTABLE": "c", "LD_PRELOAD": "d", "QT_PLUGIN_PATH": "e"}
    poison.update(
        GDAL_DATA="f", DYLD_LIBRARY_PATH="g", VIRTUAL_ENV="h", PIP_INDEX_URL="https://user:secret@example.org"
    )
    inherited = {**passed, **poison, "LD_LIBRARY_PATH": f"{other}:{driver}:"}
    own = {"OPENBLAS_NUM_THREADS": "1"}
    assert engine_environment("python", inherited) == {**passed, **own, "LD_LIBRARY_PATH": str(driver)}
    assert "LD_LIBRARY_PATH" not in engine_environment("python", {"LD_LIBRARY_PATH": str(other)})


def test_windows_gets_its_own_folders_instead_of_qgis(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    chosen = engine_environment("C:/env/python.exe", {"PATH": "C:\\OSGeo4W\\bin", "SystemRoot": "C:\\Windows"})
    assert "OSGeo4W" not in chosen["PATH"]
    assert "C:\\Windows\\System32" in chosen["PATH"]
    assert chosen["SystemRoot"] == "C:\\Windows"


@pytest.mark.parametrize(
    ("platform", "variable", "end"),
    [
        ("linux", "XDG_DATA_HOME", ("oadg", "engine")),
        ("win32", "LOCALAPPDATA", ("oadg", "engine")),
        ("darwin", "HOME", ("Library", "Application Support", "oadg", "engine")),
    ],
)
def test_each_platform_has_its_place_for_data(monkeypatch, tmp_path, platform, variable, end):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv(variable, str(tmp_path))
    assert engine_folder() == tmp_path.joinpath(*end)


def test_a_poisoned_environment_does_not_reach_the_engine(monkeypatch):
    for name in ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONEXECUTABLE"):
        monkeypatch.setenv(name, "/nowhere")
    status = EngineClient(engine_command(sys.executable)).run({"type": "status"})
    assert status["interpreter"] == sys.executable


def test_qgis_itself_is_never_taken_for_an_interpreter(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/usr/bin/qgis.bin")
    candidates = engine_setup.base_candidates()
    assert candidates
    assert all(Path(candidate).name.startswith("python") for candidate in candidates)
    assert find_base_python(None, SILENT) in candidates


@posix_only
@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo '[3, 9, true]'", "is Python 3.9, which is too old for the engine"),
        ("echo '[3, 12, false]'", "is a 32-bit Python"),
        ("echo 'ModuleNotFoundError: no ensurepip' >&2; exit 1", "sudo apt install python3-venv"),
        ("echo 'no ssl' >&2; exit 1", "cannot make environments (no ssl)"),
        ("echo QGIS 3.22", "does not answer as a Python interpreter does"),
    ],
)
def test_an_unfit_interpreter_is_refused_with_the_reason_and_the_cure(tmp_path, script, words):
    path = program(tmp_path / "the python", script)
    with pytest.raises(EngineError, match=re.escape(f"{path}")) as caught:
        find_base_python(path, SILENT)
    assert words in str(caught.value)
    assert "as PYTHON" in str(caught.value)


def test_an_interpreter_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(EngineError, match=r"cannot be started \(No such file"):
        find_base_python(str(tmp_path / "none"), SILENT)


def test_each_build_asks_for_exactly_the_pinned_torch(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    torch = "torch==2.13.0"
    others = pip_arguments("cpu", None)[1]
    assert [re.match(r"[a-z_]+", text).group() for text in others] == ["numpy", "safetensors", "huggingface_hub"]
    for build, label in (("cpu", "cpu"), ("cuda", "cu130"), ("cuda-legacy", "cu126")):
        index = f"https://download.pytorch.org/whl/{label}"
        assert pip_arguments(build, None) == [["--index-url", index, f"{torch}+{label}"], others]
    assert pip_arguments("default", None) == [[torch, *others]]
    assert pip_arguments("cpu", "/a b/wheels") == [["--no-index", "--find-links", "/a b/wheels", torch, *others]]
    monkeypatch.setattr(sys, "platform", "darwin")
    assert pip_arguments("cpu", None)[0][-1] == torch
    assert set(BUILDS) == set(engine_setup.DISK_GB)
    with pytest.raises(EngineError, match="'rocm' is unknown; choose one of cpu, cuda, cuda-legacy, default"):
        pip_arguments("rocm", None)


def test_a_build_that_does_not_exist_is_said_before_anything_is_made(private):
    with pytest.raises(EngineError, match="The build 'foo' is unknown"):
        set_up_engine("foo")
    assert not private.parent.exists()


def test_too_little_disk_space_is_said_in_numbers_before_anything_is_made(private, monkeypatch):
    monkeypatch.setitem(engine_setup.DISK_GB, "cpu", 1e9)
    with pytest.raises(EngineError, match=r"takes up to 1000000000\.0 GB while it is made; [0-9.]+ GB are free"):
        set_up_engine("cpu")
    assert not private.parent.exists()


def test_a_folder_without_wheels_is_said(private, tmp_path):
    with pytest.raises(EngineError, match="holds no wheels.*pip download"):
        set_up_engine(wheels=str(tmp_path))
    assert not private.parent.exists()


def test_when_pip_fails_its_own_words_are_told_and_nothing_changes(private, plain_pip, tmp_path):
    old = private / "bin" / "python"
    program(old, "true")
    wheel(tmp_path / "wheels", "unrelated", "1.0", "")
    with pytest.raises(EngineError) as caught:
        set_up_engine(wheels=str(tmp_path / "wheels"))
    assert "Installing torch==2.13.0" in str(caught.value)
    assert "nothing was changed" in str(caught.value)
    assert "No matching distribution found for torch==2.13.0" in str(caught.value)
    assert old.read_text() == "#!/bin/sh\ntrue\n"
    assert os.listdir(private.parent) == [private.name]


def test_an_environment_that_does_not_compute_never_takes_the_place_of_the_old_one(private, plain_pip, tmp_path):
    old = private / "bin" / "python"
    program(old, "true")
    wheels = tmp_path / "whëels of mine"
    wheel(wheels, "torch", "2.13.0", "raise ImportError('this torch is for another processor')")
    for name in ("numpy", "safetensors", "huggingface_hub"):
        wheel(wheels, name, "9.0", "__path__ = []")
    lines = []
    with pytest.raises(EngineError, match=r"first forward pass of the new engine failed (?s:.*)another processor"):
        set_up_engine(wheels=str(wheels), on_line=lines.append)
    assert any(line.startswith("Successfully installed") for line in lines)
    assert old.exists()
    assert os.listdir(private.parent) == [private.name]


def test_cancel_ends_pip_and_removes_the_half_made_environment(private, plain_pip, tmp_path):
    wheel(tmp_path / "wheels", "unrelated", "1.0", "")
    lines = []
    with pytest.raises(Cancelled, match="as it was before"):
        set_up_engine(
            wheels=str(tmp_path / "wheels"), on_line=lines.append, is_cancelled=lambda: any("pip" in x for x in lines)
        )
    assert os.listdir(private.parent) == []


@posix_only
def test_cancel_ends_a_program_with_its_children(tmp_path):
    path = program(tmp_path / "parent", "sleep 300 & echo $!; wait")
    lines = []
    heard = Feedback(lambda fraction, text: None, lines.append, lambda: bool(lines))
    began = time.monotonic()
    with pytest.raises(Cancelled):
        watch_program([path], heard)
    assert time.monotonic() - began < 5
    child = Path(f"/proc/{int(lines[0])}/stat")
    deadline = time.monotonic() + 10
    while child.exists() and child.read_text().split()[2] != "Z":
        assert time.monotonic() < deadline, "the child still runs"
        time.sleep(0.05)


def test_the_essence_of_a_failure_is_why_the_network_failed_and_the_errors():
    network = "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(…)'"
    error = "ERROR: No matching distribution found for torch==2.13.0"
    assert essence(["Looking in indexes", network, "WARNING: other", error, "tail"]) == [network, error]
    assert essence([str(number) for number in range(9)]) == ["4", "5", "6", "7", "8"]


def test_qgis_proxy_is_used_where_no_other_is_set(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_TEST", "passed on")
    settings = QgsSettings()
    for key, value in (("Enabled", True), ("Type", "HttpProxy"), ("Host", "proxy.example"), ("Port", "3128")):
        settings.setValue(f"proxy/proxy{key}", value)
    assert engine_setup.pip_environment("python")["HTTPS_PROXY"] == "http://proxy.example:3128"
    settings.setValue("proxy/proxyUser", "me@work")
    settings.setValue("proxy/proxyPassword", "a:b")
    monkeypatch.setenv("https_proxy", "http://mine")
    variables = engine_setup.pip_environment("python")
    assert variables["HTTP_PROXY"] == "http://me%40work:a%3Ab@proxy.example:3128"
    assert "HTTPS_PROXY" not in variables
    assert variables["PIP_TEST"] == "passed on"


def test_leftovers_of_long_ago_are_cleared_away_and_those_of_now_are_not(private):
    private.parent.mkdir(parents=True)
    stale, recent = (private.with_name(f"engine-new-{name}") for name in ("stale", "recent"))
    for folder in (stale, recent):
        (folder / "lib").mkdir(parents=True)
    os.utime(stale, (0, 0))
    engine_setup._new_sibling(private)
    assert not stale.exists()
    assert recent.exists()


def test_when_the_new_environment_cannot_take_its_place_the_old_one_returns(private):
    old = program(private / "bin" / "python", "true")
    with pytest.raises(EngineError, match="could not be replaced.*Close other QGIS windows"):
        engine_setup._replace(private.with_name("engine-new-that-vanished"), private)
    assert Path(old).exists()
    assert os.listdir(private.parent) == [private.name]


@pytest.mark.slow
def test_the_environment_is_really_made_and_computes(private):
    status = set_up_engine(BUILD)
    assert status["interpreter"] == find_interpreter().path == str(environment.interpreter_in(private))
    assert status["torch_version"].startswith("2.13.0")
    answer = EngineClient().run({"type": "status"})
    assert answer["interpreter"] == status["interpreter"]
    assert os.listdir(private.parent) == [private.name]
