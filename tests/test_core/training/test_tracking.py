"""Runs are followed by the real trackers, which are asked what they have got; what is missing is named."""

import builtins
import importlib
import json
import math
import struct

import pytest

from oadg.core.contract.errors import JobError
from oadg.core.training.tracking import TRACKERS, Tracker

SETTINGS = {"steps": 6, "learning_rate": 4e-3}


def line(step, **more):
    return {"step": step, "seconds": 60.0 * step, "train_nats": math.log(2), "learning_rate": 0.001, **more}


def test_no_tracker_leaves_nothing(tmp_path):
    with Tracker("", tmp_path / "tracking") as tracker:
        tracker.follow("run", SETTINGS)(line(1))
    assert not list(tmp_path.iterdir())


def test_an_unknown_tracker_is_refused(tmp_path):
    with pytest.raises(JobError, match="The tracker 'clay tablet' is unknown; choose one of tensorboard, wandb"):
        Tracker("clay tablet", tmp_path)


@pytest.mark.parametrize("name", TRACKERS)
def test_a_package_that_is_missing_is_named(name, tmp_path, monkeypatch):
    def import_module(module):
        raise ModuleNotFoundError(f"No module named {module!r}")

    monkeypatch.setattr(importlib, "import_module", import_module)
    with pytest.raises(
        JobError, match=f"needs the package {name}, which cannot .*Install it with 'pip install {name}'"
    ):
        Tracker(name, tmp_path)
    with Tracker("", tmp_path):
        pass


def test_tensorboard_reads_what_was_logged_also_when_the_run_goes_on(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for steps in ((2, 4), (6,)):
        with Tracker("tensorboard", tmp_path) as tracker:
            log = tracker.follow("stripes-1", SETTINGS)
            for step in steps:
                log(line(step, held_out_nats=step * math.log(2)))
    events = accumulator.EventAccumulator(str(tmp_path / "stripes-1"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"train_bits", "held_out_bits", "learning_rate", "minutes"}
    found = {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}
    assert found["held_out_bits"] == [(step, pytest.approx(step)) for step in (2, 4, 6)]
    assert found["train_bits"] == [(step, pytest.approx(1)) for step in (2, 4, 6)]
    assert found["minutes"] == [(step, pytest.approx(step)) for step in (2, 4, 6)]
    told = b"".join(event.tensor_proto.string_val[0] for event in events.Tensors("settings/text_summary"))
    assert json.loads(told.split(b"```")[1]) == SETTINGS


@pytest.fixture
def wandb(monkeypatch, tmp_path):
    """The client as one finds it whose user has never used it."""
    client = pytest.importorskip("wandb")
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    client.teardown()  # it reads its settings once
    yield client
    client.teardown()


def records_in(path):
    """Yield the records of a run's file, which lie in blocks of 32 KiB as those of a log of LevelDB do."""
    messages = importlib.import_module("wandb.proto.wandb_internal_pb2")
    content, place, whole = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if (left := -place % (1 << 15)) < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # the whole record, or its last part
            yield messages.Record.FromString(whole)
            whole = b""


def test_weights_and_biases_keeps_a_run_on_this_computer_when_it_is_told_so(wandb, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    with Tracker("wandb", tmp_path) as tracker:
        log = tracker.follow("stripes of mine-1", SETTINGS)
        for step in (2, 4):
            log(line(step, held_out_nats=step * math.log(2)))
    (path,) = tmp_path.glob("wandb/offline-run-*/run-stripes-of-mine-1.wandb")
    found, settings = [], {}
    for record in records_in(path):
        if record.HasField("history"):
            found.append({(i.key or "/".join(i.nested_key)): json.loads(i.value_json) for i in record.history.item})
        if record.HasField("run"):
            settings = {i.key: json.loads(i.value_json) for i in record.run.config.update}
    assert [(row["_step"], row["held_out_bits"]) for row in found] == [(2, pytest.approx(2)), (4, pytest.approx(4))]
    assert settings.items() >= SETTINGS.items()


def test_weights_and_biases_without_a_login_is_told_in_words(wandb, tmp_path, monkeypatch):
    monkeypatch.setattr(builtins, "input", lambda *_: pytest.fail("nobody is there to answer"))
    with (
        pytest.raises(
            JobError, match=r"Weights & Biases cannot be reached.* Log in with 'wandb login', set WANDB_MODE"
        ),
        Tracker("wandb", tmp_path) as tracker,
    ):
        tracker.follow("run", SETTINGS)
