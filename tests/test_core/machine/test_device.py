"""A process that computes counts the smallest floats as 0, in every thread, and nobody hears of it."""

import subprocess
import sys

import pytest
import torch

from oadg.core.machine.device import describe_devices

SCRIPT = """
import threading
import numpy as np
import torch
from oadg.core.machine.device import prepare_process

counts = []

def count_left():
    counts.append(int((torch.full((2**20,), 1e-30) * torch.full((2**20,), 1e-10)).count_nonzero()))

prepare_process()
torch.set_num_threads(2)
count_left()
thread = threading.Thread(target=count_left)
thread.start()
thread.join()
np.finfo(np.float32), np.finfo(np.float64)
print(*counts)
"""


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="a processor that cannot leave such floats out")
def test_all_threads_of_a_prepared_process_count_the_smallest_floats_as_0():
    command = [sys.executable, "-W", "error", "-c", SCRIPT]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["0", "0"]
    assert answer.stderr == ""


@pytest.mark.parametrize(("n_threads", "told"), [(1, "1 thread"), (3, "3 threads")])
def test_threads_are_counted(n_threads, told, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: n_threads)
    assert describe_devices()[0]["name"].endswith(f", {told}")
