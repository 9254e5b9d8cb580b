"""What one process at a time may do is refused to others, and to nobody once that process is gone."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from oadg.core.contract.errors import JobError
from oadg.core.machine import lock
from oadg.core.machine.lock import alone

REFUSAL = "The model is being trained already."
HOLDER = """
import sys, time
from pathlib import Path
from oadg.core.machine.lock import alone
with alone(Path(sys.argv[1]), ""):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ein Mödell.lock"


@pytest.fixture
def other(path):
    """Another process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_another_process_is_refused_until_the_first_has_ended_however(path, other, monkeypatch):
    monkeypatch.setattr(lock, "PATIENCE_S", 0.0)
    with pytest.raises(JobError, match=REFUSAL), alone(path, REFUSAL):
        pytest.fail("two at once")
    assert path.exists(), "it is the other's"
    other.kill()
    other.wait()
    with alone(path, REFUSAL):
        pass
    assert not path.exists()


def test_a_process_that_is_about_to_end_is_waited_for(path, other):
    threading.Timer(0.5, other.kill).start()
    with alone(path, REFUSAL):
        pass


def test_an_error_lets_go(path):
    with pytest.raises(KeyError), alone(path, REFUSAL):
        raise KeyError("work")
    assert not path.exists()
    with alone(path, REFUSAL):
        pass


def test_a_folder_is_made_or_it_is_told_that_it_cannot_be(tmp_path):
    with alone(tmp_path / "new" / "lock", REFUSAL):
        assert (tmp_path / "new" / "lock").exists()
    (tmp_path / "file").touch()
    with (
        pytest.raises(JobError, match=r"lock cannot be written: .* Choose a folder"),
        alone(tmp_path / "file" / "lock", ""),
    ):
        pass
