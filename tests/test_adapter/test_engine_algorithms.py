"""`oadg:setupengine` and `oadg:enginestatus` as Processing runs them."""

from __future__ import annotations

import os
import sys

import pytest
from qgis.core import (
    QgsApplication,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingParameterDefinition,
)

from oadg.core.contract.errors import DeviceError
from oadg.oadg_qgis.engine_client import close_idle_engines
from oadg.oadg_qgis.environment import engine_folder, interpreter_in

STATUS_KEYS = {
    *("STATE", "MESSAGE", "INTERPRETER", "ORIGIN", "PYTHON_VERSION", "TORCH_VERSION", "NUMPY_VERSION", "PLATFORM"),
    *("DEVICES", "MEMORY_MB"),
}


@pytest.fixture(autouse=True)
def private(monkeypatch, tmp_path):
    """A user with nothing but the variable that names the engine's interpreter."""
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "data of mine"))
    monkeypatch.setenv("OADG_ENGINE_PYTHON", sys.executable)
    yield engine_folder()
    close_idle_engines()


def algorithm(name):
    return QgsApplication.processingRegistry().createAlgorithmById(f"oadg:{name}")


def test_the_status_of_a_working_engine(processing, log):
    import numpy
    import torch

    answer = processing.run("oadg:enginestatus", {}, feedback=log.feedback)
    assert set(answer) == STATUS_KEYS
    assert answer["STATE"] == "ready"
    assert answer["MESSAGE"] == ""
    assert answer["INTERPRETER"] == sys.executable
    assert answer["ORIGIN"] == "the environment variable OADG_ENGINE_PYTHON"
    assert answer["TORCH_VERSION"] == torch.__version__
    assert answer["NUMPY_VERSION"] == numpy.__version__
    assert answer["DEVICES"].startswith("cpu (")
    assert answer["MEMORY_MB"] > 20
    assert f"TORCH_VERSION: {torch.__version__}" in log.infos


def test_the_status_when_no_engine_is_set_up_says_so_and_what_to_do(processing, log, monkeypatch):
    monkeypatch.delenv("OADG_ENGINE_PYTHON")
    answer = processing.run("oadg:enginestatus", {}, feedback=log.feedback)
    assert set(answer) == STATUS_KEYS
    assert (answer["STATE"], answer["INTERPRETER"], answer["MEMORY_MB"]) == ("missing", "", 0.0)
    assert "not set up" in answer["MESSAGE"]
    assert "oadg:setupengine" in answer["MESSAGE"]
    assert log.errors == [answer["MESSAGE"]]


@pytest.mark.skipif(os.name != "posix", reason="the stand-in for an interpreter is a shell script")
def test_the_status_of_an_engine_that_does_not_start(processing, log, monkeypatch, tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'libpython is missing' >&2\nexit 127\n")
    broken.chmod(0o755)
    monkeypatch.setenv("OADG_ENGINE_PYTHON", str(broken))
    answer = processing.run("oadg:enginestatus", {}, feedback=log.feedback)
    assert (answer["STATE"], answer["INTERPRETER"]) == ("broken", str(broken))
    assert "ended with exit code 127" in answer["MESSAGE"]
    assert "libpython is missing" in answer["MESSAGE"]


def test_the_status_of_an_engine_that_objects(processing, log, monkeypatch):
    from oadg.oadg_qgis.algorithms import engine_status as module

    def object_(is_cancelled):
        raise DeviceError("The memory of the device does not suffice.")

    monkeypatch.setattr(module, "engine_status", object_)
    answer = processing.run("oadg:enginestatus", {}, feedback=log.feedback)
    assert (answer["STATE"], answer["MESSAGE"]) == ("broken", "The memory of the device does not suffice.")
    assert set(answer) == STATUS_KEYS


def test_a_cancelled_status_is_no_answer(processing, log):
    log.feedback.cancel()
    with pytest.raises(QgsProcessingException, match="cancelled"):
        processing.run("oadg:enginestatus", {}, feedback=log.feedback)


@pytest.mark.parametrize("name", ["setupengine", "enginestatus"])
def test_they_can_be_run_before_any_engine_is_there_and_explain_themselves(processing, monkeypatch, name):
    monkeypatch.delenv("OADG_ENGINE_PYTHON")
    made = algorithm(name)
    assert made.canExecute()[0]
    assert made.group() == "Engine"
    assert made.shortDescription().endswith(".")
    assert made.tags()
    assert all(parameter.help() for parameter in made.parameterDefinitions())


def test_the_setup_declares_what_the_manual_says(processing):
    made = algorithm("setupengine")
    build = made.parameterDefinition("BUILD")
    assert build.usesStaticStrings()
    assert build.options() == ["cpu", "cuda", "cuda-legacy", "default"]
    assert build.defaultValue() == "cpu"
    for name in ("WHEELS", "PYTHON"):
        assert made.parameterDefinition(name).flags() & QgsProcessingParameterDefinition.Flag.FlagOptional
    assert {output.name() for output in made.outputDefinitions()} == {"PYTHON", "TORCH_VERSION", "DEVICES"}


def test_a_setup_that_cannot_be_says_why_and_leaves_nothing(processing, log, private, tmp_path):
    with pytest.raises(QgsProcessingException, match=r"holds no wheels"):
        processing.run("oadg:setupengine", {"WHEELS": str(tmp_path)}, feedback=log.feedback)
    no_python = tmp_path / "python"
    no_python.touch()
    with pytest.raises(QgsProcessingException, match=r"No Python was found .* as PYTHON"):
        processing.run("oadg:setupengine", {"PYTHON": str(no_python)}, feedback=log.feedback)
    log.feedback.cancel()
    with pytest.raises(QgsProcessingException, match=r"cancelled; the engine is as it was before"):
        processing.run("oadg:setupengine", {}, feedback=log.feedback)
    assert not private.exists()


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("setupengine", {"BUILD": "rocm"}, r"BUILD is 'rocm'; it must be one of cpu, cuda, cuda-legacy, default"),
        ("removemodel", {}, "Incorrect parameter value for NAME"),
    ],
)
def test_a_step_of_a_model_with_a_value_that_nobody_has_checked(processing, log, name, parameters, message):
    """Models prepare and run their steps, and leave it to these to look at what they are given."""
    step, context = algorithm(name), QgsProcessingContext()
    assert step.prepare(parameters, context, log.feedback)
    with pytest.raises(QgsProcessingException, match=message):
        step.runPrepared(parameters, context, log.feedback)


@pytest.mark.slow
def test_the_setup_makes_an_engine_that_the_status_then_finds(processing, log, private, monkeypatch):
    answer = processing.run(
        "oadg:setupengine", {"BUILD": os.environ.get("OADG_TEST_BUILD", "cpu")}, feedback=log.feedback
    )
    assert answer["PYTHON"] == str(interpreter_in(private))
    assert answer["TORCH_VERSION"].startswith("2.13.0")
    assert answer["DEVICES"].startswith("cpu (")
    assert "The engine keeps running with" in "\n".join(log.warnings)
    monkeypatch.delenv("OADG_ENGINE_PYTHON")
    status = processing.run("oadg:enginestatus", {}, feedback=log.feedback)
    assert (status["STATE"], status["INTERPRETER"]) == ("ready", answer["PYTHON"])
