"""The engine process, spoken to as QGIS speaks to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from oadg.core import engine
from oadg.core.contract.errors import EngineError
from oadg.core.contract.facies import build_facies_table
from oadg.core.contract.grid import Grid
from oadg.core.contract.job import PROTOCOL_VERSION, WORK_FOLDER_PREFIX, SimulationJob

ROOT = Path(__file__).resolve().parents[2]
REAL = ["-s", "-B", "-X", "utf8", "-m", "core.engine"]
SCRIPTED = ["-s", "-B", "-X", "utf8", str(ROOT / "tests" / "engines" / "scripted.py")]
PATIENCE_S = 60


class Conversation:
    """An engine process and its pipes."""

    def __init__(self, arguments=SCRIPTED, **variables):
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def say(self, **message):
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self):
        """Return the next message that is not progress."""
        while True:
            message = self.hear_any()
            if message["type"] != "progress":
                return message

    def hear_any(self):
        line = self.process.stdout.readline()
        assert line, "the engine has ended"
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / f"{WORK_FOLDER_PREFIX}ä b"
    path.mkdir()
    return path


def job(folder, seed=2, **changes):
    table = build_facies_table(["sand", "clay"])
    return SimulationJob(
        str(folder), Grid(0, 30, 10, 3, 4), table, (0,), (0,), (1,), "", seed=seed, **changes
    ).to_dict()


def test_it_is_ready_first_then_simulates_and_prints_do_not_disturb(folder):
    with Conversation() as talk:
        ready = talk.hear_any()
        assert ready["type"] == "ready"
        assert ready["protocol"] == PROTOCOL_VERSION
        assert ready["pid"] == talk.process.pid
        talk.say(type="simulate", job_id="a", job=job(folder))
        heard = [talk.hear_any() for _ in range(5)]
    assert [m["type"] for m in heard] == ["progress"] * 4 + ["result"]
    assert {m["job_id"] for m in heard} == {"a"}
    assert [m["fraction"] for m in heard[:4]] == [0.0, 0.0, 0.5, 1.0]
    np.testing.assert_array_equal(np.load(heard[-1]["result"]["entropy_path"]), np.ones((3, 4)))


def test_a_cancel_before_the_job_starts_is_not_lost_and_the_next_job_runs(folder):
    with Conversation() as talk:
        talk.say(type="cancel", job_id="a")
        talk.say(type="simulate", job_id="a", job=job(folder, 900))
        talk.say(type="simulate", job_id="b", job=job(folder))
        assert talk.hear()["type"] == "ready"
        assert talk.hear_any() == {"type": "cancelled", "job_id": "a"}
        assert talk.hear()["type"] == "result"


def test_a_cancel_ends_a_running_job_and_no_other(folder):
    with Conversation() as talk:
        talk.say(type="simulate", job_id="a", job=job(folder, 900))
        talk.hear_any(), talk.hear_any()
        talk.say(type="cancel", job_id="another")
        assert talk.hear_any()["type"] == "progress"
        talk.say(type="cancel", job_id="a")
        assert talk.hear() == {"type": "cancelled", "job_id": "a"}


@pytest.mark.parametrize(
    ("seed", "kind", "words"),
    [
        (1001, "ModelError", "The model file is truncated."),
        (
            1002,
            "DeviceError",
            "does not suffice for 7 realizations of 3 x 4 cells. Use fewer realizations, larger cells or a smaller e",
        ),
        (1003, "DeviceError", "can't allocate memory: 8000000 bytes"),
        (1007, "JobError", "could not read or write a file: [Errno 28] No space left on device: 'entropy.npy'."),
        (1004, "unexpected", "KeyError: 'no such key'"),
    ],
)
def test_errors_come_as_messages_and_the_engine_goes_on(folder, seed, kind, words):
    with Conversation() as talk:
        talk.hear()
        talk.say(type="simulate", job_id="a", job=job(folder, seed, n_realizations=7))
        message = talk.hear()
        assert (message["type"], message["job_id"], message["kind"]) == ("error", "a", kind)
        assert words in message["message"]
        talk.say(type="simulate", job_id="b", job=job(folder))
        assert talk.hear()["type"] == "result"


def test_what_cannot_be_understood_is_refused(folder):
    with Conversation() as talk:
        talk.hear()
        talk.process.stdin.write(b"hello\n")
        talk.process.stdin.flush()
        assert "cannot read the message b'hello" in talk.hear()["message"]
        talk.say(type="dance", job_id="a")
        assert talk.hear() == {
            "type": "error",
            "job_id": "a",
            "kind": "JobError",
            "message": "The engine does not know requests of the type 'dance'.",
        }
        talk.say(type="simulate", job_id="b", job={"seed": 1, "colour": "red"})
        assert "parts that this engine does not know: colour" in talk.hear()["message"]


@pytest.mark.parametrize("seed", [900, 1006])
def test_the_end_of_input_ends_the_process_and_its_work_folder(folder, seed):
    (folder / "half.npy").write_bytes(b"0")
    with Conversation() as talk:
        talk.hear()
        talk.say(type="simulate", job_id="a", job=job(folder, seed))
        talk.hear_any(), talk.hear_any()
        talk.process.stdin.close()
        assert talk.process.wait(PATIENCE_S) == 0
        talk.process.stdin = None
    assert not folder.exists()


def test_the_end_of_input_ends_an_engine_that_is_not_ready():
    with Conversation(OADG_TEST_START_S="600") as talk:
        talk.process.stdin.close()
        assert talk.process.wait(PATIENCE_S) == 0
        talk.process.stdin = None


def test_a_folder_that_is_not_a_work_folder_is_never_deleted(tmp_path):
    precious = tmp_path / "maps"
    precious.mkdir()
    with Conversation() as talk:
        talk.hear()
        talk.say(type="simulate", job_id="a", job=job(precious, 900))
        talk.hear_any(), talk.hear_any()
        talk.process.stdin.close()
        talk.process.wait(PATIENCE_S)
        talk.process.stdin = None
    assert precious.exists()


def test_it_leaves_the_plugin_folder():
    with Conversation() as talk:
        talk.hear()
        if sys.platform.startswith("linux"):
            assert Path(os.readlink(f"/proc/{talk.process.pid}/cwd")) != ROOT


def test_without_torch_it_says_so_and_what_to_do():
    with Conversation(OADG_TEST_NO_TORCH="1") as talk:
        message = talk.hear()
        assert (message["type"], message["kind"], message["job_id"]) == ("error", "EngineError", None)
        assert f"interpreter {sys.executable} lacks what it needs" in message["message"]
        assert "Run 'Set up engine'" in message["message"]
        assert talk.process.wait(PATIENCE_S) == 1


def test_an_interpreter_that_is_too_old_is_told_with_both_versions_and_a_remedy(monkeypatch):
    monkeypatch.setattr(engine.sys, "version_info", (3, 9, 25))
    monkeypatch.setattr(engine.platform, "python_version", lambda: "3.9.25")
    told = r"is Python 3\.9\.25; it must be 3\.10 or newer\. Run 'Set up engine'"
    with pytest.raises(EngineError, match=told):
        engine.load_runners()


def test_the_real_engine_describes_itself():
    import torch

    with Conversation(REAL) as talk:
        talk.say(type="status", job_id="s")
        assert talk.hear()["type"] == "ready"
        answer = talk.hear()
    status = answer["status"]
    assert (answer["type"], answer["job_id"]) == ("status", "s")
    assert status["interpreter"] == sys.executable
    assert status["torch_version"] == torch.__version__
    assert status["numpy_version"] == np.__version__
    assert status["pid"] == talk.process.pid
    assert any(device["kind"] == "cpu" for device in status["devices"])
    assert 20 < status["memory_mb"] < 4000


@pytest.mark.parametrize(
    ("request_", "job", "words"),
    [
        ("train", {"device": "cuda"}, "The memory of the device 'cuda' does not suffice. Use a smaller network or a"),
        ("evaluate", {"device": "cpu"}, "suffice. Use fewer cells per side or fewer realizations, or another device."),
        ("score", {"grid": {"n_rows": 3, "n_cols": 4}}, "for 3 x 4 cells. Use fewer paths or a smaller map."),
        ("install", {}, "The memory of the computer does not suffice. Close other programs."),
        ("status", {}, "The memory of the computer does not suffice. Close other programs."),
    ],
)
def test_what_to_do_about_a_shortage_fits_what_was_asked(request_, job, words):
    message = {"type": request_, "job_id": "a", "job": job}
    assert words in engine.describe_shortage(message, MemoryError("Unable to allocate 8 TiB"))


def test_torchs_own_shortage_is_recognised():
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert engine.is_out_of_memory(caught.value)
    assert not engine.is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_a_process_that_nobody_listens_to_ends(folder):
    with Conversation() as talk:
        talk.hear()
        talk.process.stdout.close()
        talk.say(type="simulate", job_id="a", job=job(folder, 900))
        assert talk.process.wait(PATIENCE_S) == 0
        talk.process.stdout = None
    assert not folder.exists()


def test_progress_is_told_while_it_happens(folder):
    with Conversation() as talk:
        talk.hear()
        talk.say(type="simulate", job_id="a", job=job(folder, 20))
        talk.hear_any()
        first = time.monotonic()
        assert talk.hear()["type"] == "result"
        assert time.monotonic() - first > 0.2
