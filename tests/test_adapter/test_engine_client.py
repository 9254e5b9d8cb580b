"""The engine from QGIS's side: warm and cold, cancelled, killed, stuck and babbling, in real processes."""

from __future__ import annotations

import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from oadg.core.contract.errors import Cancelled, DeviceError, EngineError, ModelError
from oadg.core.contract.facies import build_facies_table
from oadg.core.contract.grid import Grid
from oadg.core.contract.job import PROTOCOL_VERSION, WORK_FOLDER_PREFIX, SimulationJob
from oadg.oadg_qgis import engine_client, engine_process
from oadg.oadg_qgis.engine_client import EngineClient, close_idle_engines, engine_status, shut_down, start_up
from oadg.oadg_qgis.engine_jobs import run_job
from oadg.oadg_qgis.engine_process import Engine, describe_exit
from oadg.oadg_qgis.environment import PLUGIN_FOLDER

ENGINES = Path(__file__).resolve().parents[1] / "engines"
FLAGS = ("-s", "-B", "-X", "utf8")
SCRIPTED = (sys.executable, *FLAGS, str(ENGINES / "scripted.py"))
OBJECTING, EXHAUSTED, BLUNDERING, LEAVING, STUCK = 1001, 1002, 1004, 1005, 1006
PATIENCE_S = 30.0
PROMPT_S = 1.0
"""What must happen within 0.2 s, with allowance for a busy machine."""

posix_only = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")


@pytest.fixture(autouse=True)
def tidy(monkeypatch, tmp_path):
    """Work folders go to a folder with spaces and umlauts, and none is left; nor is an engine."""
    folder = tmp_path / "tëmp folder"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    close_idle_engines()
    yield folder
    start_up()
    close_idle_engines()
    eventually(lambda: not list(folder.glob(f"{WORK_FOLDER_PREFIX}*")), "a work folder was left")


def rogue(how):
    return EngineClient((sys.executable, *FLAGS, str(ENGINES / "rogue.py"), how, str(PROTOCOL_VERSION)))


def job(seed=2, **changes):
    table = build_facies_table(["sand", "clay"])
    return SimulationJob("", Grid(0, 30, 10, 3, 4), table, (0,), (0,), (1,), "model", seed=seed, **changes)


def run(seed=2, client=None, **options):
    """Run a job and return the number of the process that ran it."""
    with run_job(job(seed), client=client or EngineClient(SCRIPTED), **options) as result:
        return int(result.model_id)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z" if Path("/proc/self").exists() else True


def eventually(condition, complaint):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.02)


class Watched:
    """An `EngineClient` whose run can be looked at from outside: it tells when the first pass has come."""

    def __init__(self, seed, client=None):
        self.working, self.cancelled = threading.Event(), threading.Event()
        self.answer = queue.Queue()
        self.client = client or EngineClient(SCRIPTED)
        threading.Thread(target=self._run, args=(seed,), daemon=True).start()

    def _run(self, seed):
        try:
            pid = run(seed, self.client, on_progress=self._hear, is_cancelled=self.cancelled.is_set)
            self.answer.put((pid, time.monotonic()))
        except Exception as error:
            self.answer.put((error, time.monotonic()))

    def _hear(self, fraction, text):
        if text.startswith("Pass"):
            self.working.set()

    def cancel(self):
        """Cancel, and return what came of it and after how many seconds."""
        started = time.monotonic()
        self.cancelled.set()
        outcome, ended = self.answer.get(timeout=PATIENCE_S)
        return outcome, ended - started


@pytest.fixture
def started(monkeypatch):
    """The engines that are started, in order."""
    engines = []

    class Noted(Engine):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            engines.append(self)

    monkeypatch.setattr(engine_client, "Engine", Noted)
    return engines


def test_a_result_comes_with_its_arrays_and_the_folder_goes(tidy):
    mask = np.zeros((3, 4), bool)
    mask[1, 1:3] = True
    heard = []
    with run_job(
        job(), arrays={"mask_path": mask}, client=EngineClient(SCRIPTED), on_progress=lambda *p: heard.append(p)
    ) as result:
        folder = Path(result.entropy_path).parent
        assert folder.parent == tidy
        np.testing.assert_array_equal(np.load(result.most_probable_path), ~mask * 255)
        assert np.load(result.probability_path).shape == (2, 3, 4)
    assert not folder.exists()
    assert heard[0] == (0.0, "Starting the engine")
    assert heard[-1][0] == 1.0
    assert ("Pass 2 of 2") in [text for _, text in heard]


def test_a_run_takes_the_warm_engine(started):
    assert run() == run() == run()
    assert len(started) == 1


def test_a_warm_engine_of_another_interpreter_is_not_taken(started):
    first = run()
    other = EngineClient((sys.executable, "-s", "-B", *SCRIPTED[1:]))
    assert other.command != SCRIPTED
    second = run(client=other)
    assert second != first
    eventually(lambda: not is_alive(first), "the first engine was left running")


@posix_only
def test_a_dead_warm_engine_is_replaced(started):
    first = run()
    os.kill(first, signal.SIGKILL)
    assert run() != first
    assert len(started) == 2


@posix_only
def test_a_warm_engine_that_dies_before_its_first_word_is_replaced_once(started):
    first = run()
    os.kill(first, signal.SIGSTOP)  # looks alive, but will not speak again
    threading.Timer(0.3, os.kill, (first, signal.SIGKILL)).start()
    assert run() != first
    assert len(started) == 2


def test_three_runs_at_once_have_three_engines_and_leave_one(started):
    runs = [Watched(60) for _ in range(3)]
    pids = {watched.answer.get(timeout=PATIENCE_S)[0] for watched in runs}
    assert len(pids) == 3
    assert all(isinstance(pid, int) for pid in pids)
    eventually(lambda: sum(is_alive(pid) for pid in pids) == 1, "one engine and no more should be kept")
    assert run() in pids


def test_an_idle_engine_ends_after_a_while(monkeypatch):
    monkeypatch.setattr(engine_client, "IDLE_LIMIT_S", 0.1)
    pid = run()
    eventually(lambda: not is_alive(pid), "the idle engine was not ended")


def test_closing_ends_the_idle_engine_quickly():
    pid = run()
    began = time.monotonic()
    close_idle_engines()
    assert time.monotonic() - began < PROMPT_S
    assert not is_alive(pid)


def test_an_engine_at_work_ends_with_its_run_when_the_plugin_is_unloaded_meanwhile(started):
    watched = Watched(50)
    watched.working.wait(PATIENCE_S)
    shut_down()
    pid, _ = watched.answer.get(timeout=PATIENCE_S)
    assert pid == started[0].pid
    assert not is_alive(pid)
    start_up()
    assert run() == run()


def test_cancel_releases_the_caller_and_the_engine_stays_warm(started, tidy):
    watched = Watched(900)
    watched.working.wait(PATIENCE_S)
    outcome, seconds = watched.cancel()
    assert isinstance(outcome, Cancelled)
    assert seconds < PROMPT_S
    eventually(lambda: engine_client._IDLE._engine is started[0], "the engine did not return to its place")
    assert run() == started[0].pid


def test_cancel_before_the_engine_is_ready_kills_it(started, monkeypatch):
    monkeypatch.setenv("OADG_TEST_START_S", "600")
    watched = Watched(2)
    eventually(lambda: started, "no engine was started")
    outcome, seconds = watched.cancel()
    assert isinstance(outcome, Cancelled)
    assert seconds < PROMPT_S
    eventually(lambda: not started[0].is_alive, "the engine was not ended")


def test_cancel_before_the_run_begins(started):
    with pytest.raises(Cancelled, match="nothing is kept"):
        run(is_cancelled=lambda: True)
    eventually(lambda: not started[0].is_alive, "the engine was not ended")


@pytest.mark.parametrize("client", [None, "deaf"])
def test_a_stuck_engine_releases_the_caller_at_once_and_is_killed_after_two_seconds(started, client):
    watched = Watched(STUCK, rogue(client) if client else None)
    eventually(lambda: started and started[0]._is_ready, "the engine did not get ready")
    outcome, seconds = watched.cancel()
    assert isinstance(outcome, Cancelled)
    assert seconds < PROMPT_S
    assert started[0].is_alive
    eventually(lambda: not started[0].is_alive, "the stuck engine was not ended")
    assert run() != started[0].pid


def test_an_engine_that_does_not_start_is_told_with_a_remedy():
    with pytest.raises(EngineError, match=r"No module named .nothing.*is its Python damaged\? Run 'Set up engine'"):
        run(client=EngineClient((sys.executable, *FLAGS, "-c", "import nothing")))


def test_a_full_disk_is_told_with_the_folder(monkeypatch):
    def full(path, array):
        raise OSError("125258 requested and 12160 written")

    monkeypatch.setattr(np, "save", full)
    with (
        pytest.raises(EngineError, match=r"temporary folder .*oadg-job-.* cannot be written: 125258 .*TMPDIR"),
        run_job(job(), arrays={"mask_path": np.ones((3, 4), dtype=bool)}, client=EngineClient(SCRIPTED)),
    ):
        pass


def test_a_callback_that_fails_does_not_leave_an_engine_at_work(started):
    def fail(fraction, text):
        if fraction > 0:
            raise KeyError("callback")

    with pytest.raises(KeyError, match="callback"):
        run(900, on_progress=fail)
    eventually(lambda: engine_client._IDLE._engine is started[0], "the engine still works for nobody")


@posix_only
def test_cancel_of_an_engine_that_has_just_died_leaves_nothing_of_it(started):
    def die_and_cancel():
        started[0]._process.kill()
        started[0]._process.wait()
        return True

    with pytest.raises(Cancelled):
        run(is_cancelled=die_and_cancel)
    assert started[0]._errors.closed
    eventually(
        lambda: not [t for t in threading.enumerate() if t.name.startswith("oadg-engine-_")],
        "a thread of the engine was left",
    )


@posix_only
def test_kill_9_is_reported_with_the_last_words(started):
    watched = Watched(900)
    watched.working.wait(PATIENCE_S)
    os.kill(started[0].pid, signal.SIGKILL)
    began = time.monotonic()
    error, ended = watched.answer.get(timeout=PATIENCE_S)
    assert isinstance(error, EngineError)
    assert "the computer ran out of memory; use fewer realizations, larger cells or a smaller extent." in str(error)
    assert "Its last words: a library prints" in str(error)
    assert ended - began < PROMPT_S


@posix_only
def test_what_to_do_after_a_kill_fits_what_was_asked(started):
    def kill():
        started[0]._process.kill()
        return False

    with pytest.raises(EngineError, match=r"was killed \(signal 9\), .* ran out of memory; use a smaller network"):
        EngineClient(SCRIPTED).run({"type": "train"}, is_cancelled=kill)


def test_an_exit_is_reported_with_the_last_words():
    with pytest.raises(EngineError, match=r"ended with exit code 3 before it had a result.*the disk is on fire"):
        run(LEAVING)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("babbling", "broke the protocol with 'hello, world.*last words: Segmentation of the fault is normal"),
        ("foreign", f"speaks protocol 99, this plugin {PROTOCOL_VERSION}; restart QGIS"),
        ("mute", "closed its output, so it was ended"),
    ],
)
def test_a_broken_protocol_is_one_clear_sentence_and_the_end_of_the_engine(started, how, words):
    with pytest.raises(EngineError, match=words):
        run(client=rogue(how))
    assert not started[0].is_alive
    assert len(started) == 1


def test_the_engines_objections_keep_their_kind_and_the_engine_stays(started):
    with pytest.raises(ModelError, match=r"^The model file is truncated\.$"):
        run(OBJECTING)
    assert run() == started[0].pid


@pytest.mark.parametrize(
    ("seed", "kind", "words"),
    [(EXHAUSTED, DeviceError, "does not suffice"), (BLUNDERING, EngineError, "bug in OADG.*(?s:.*)KeyError")],
)
def test_after_a_shortage_or_a_bug_the_next_run_has_a_fresh_engine(started, seed, kind, words):
    with pytest.raises(kind, match=words):
        run(seed)
    assert not started[0].is_alive, "the memory that it holds is what the next run may lack"
    assert run() != started[0].pid


@pytest.mark.parametrize(("seed", "is_kept"), [(OBJECTING, True), (EXHAUSTED, False)])
def test_an_error_that_meets_a_cancel_is_the_end_of_the_job(started, monkeypatch, seed, is_kept):
    monkeypatch.setattr(engine_process, "CANCEL_GRACE_S", 10 * PATIENCE_S)
    begun = threading.Event()
    with pytest.raises(Cancelled):
        run(seed, on_progress=lambda _, text: text == "Misbehaving" and begun.set(), is_cancelled=begun.is_set)
    if is_kept:
        eventually(lambda: engine_client._IDLE._engine is started[0], "an error of the job cost the engine")
    else:
        eventually(lambda: not started[0].is_alive, "an engine without memory was left")


def test_an_interpreter_that_is_no_program_is_a_sentence():
    with pytest.raises(EngineError, match=r"could not be started with the interpreter /nowhere/python.*Set up engine"):
        run(client=EngineClient(("/nowhere/python", "-m", "core.engine")))


def test_an_interpreter_without_torch_is_a_sentence(monkeypatch, started):
    monkeypatch.setenv("OADG_TEST_NO_TORCH", "1")
    with pytest.raises(EngineError, match=r"lacks what it needs.*Run 'Set up engine'"):
        run()
    eventually(lambda: not started[0].is_alive, "the engine was left")


def test_a_large_job_does_not_block_a_cancel(started, monkeypatch):
    monkeypatch.setenv("OADG_TEST_START_S", "600")
    watched = Watched(2)
    many = tuple(range(500_000))
    watched.client.run = lambda request, *rest: EngineClient.run(watched.client, {**request, "ballast": many}, *rest)
    eventually(lambda: started, "no engine was started")
    outcome, seconds = watched.cancel()
    assert isinstance(outcome, Cancelled)
    assert seconds < PROMPT_S


@posix_only
def test_no_engine_and_no_folder_outlives_a_killed_qgis(tidy):
    code = (
        f"import sys, tempfile; sys.path[:0] = {sys.path!r}; tempfile.tempdir = {str(tidy)!r}\n"
        "import oadg, importlib.util\n"
        f"spec = importlib.util.spec_from_file_location('these_tests', {__file__!r})\n"
        "tests = importlib.util.module_from_spec(spec); spec.loader.exec_module(tests)\n"
        "tests.run(900, on_progress=lambda f, t: print(tests.engine_client_pid(), flush=True) if f else None)\n"
    )
    qgis = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(qgis.stdout.readline())
    assert is_alive(pid)
    assert list(tidy.glob(f"{WORK_FOLDER_PREFIX}*"))
    qgis.kill()
    qgis.communicate()
    eventually(lambda: not is_alive(pid), "the engine outlived its QGIS")
    eventually(lambda: not list(tidy.glob("*")), "the work folder outlived its QGIS")


def engine_client_pid():
    """Return the number of this process's only child (for the test above)."""
    return int(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()[0])


def test_a_process_that_kept_an_engine_warm_ends_by_itself(tidy):
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "from oadg.oadg_qgis.engine_client import EngineClient\n"
        f"print(EngineClient({(sys.executable, *FLAGS, '-m', 'core.engine')!r}).run({{'type': 'status'}})['pid'])\n"
    )
    qgis = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert not is_alive(int(qgis.stdout))
    assert qgis.stderr == ""


def test_the_real_engine_tells_its_status_from_a_plugin_folder_with_spaces_and_umlauts(tmp_path, monkeypatch):
    folder = tmp_path / "Plügins of mine" / "oadg"
    shutil.copytree(PLUGIN_FOLDER / "core", folder / "core")
    engine = Engine((sys.executable, *FLAGS, "-m", "core.engine"), folder)
    monkeypatch.setattr(engine_client, "Engine", lambda command: engine)
    status = engine_status(client=EngineClient(engine.command))
    assert status["pid"] == engine.pid
    assert status["interpreter"] == sys.executable
    assert status["devices"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (None, "closed its output"),
        (0, "ended with exit code 0 before"),
        (-11, r"crashed \(SIGSEGV\)"),
        (-250, r"crashed \(signal 250\)"),
        (0xC0000005, "crashed \\(code 0xC0000005\\)"),
    ],
)
def test_how_an_engine_ended_is_said_in_words(code, words):
    assert re.match(words, describe_exit(code, ""))
