"""Freed memory is kept while work goes on, and handed back afterwards."""

import subprocess
import sys

import pytest

SCRIPT = """
import numpy as np
from oadg.core.machine.memory import keep_freed_memory, return_freed_memory

def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6

keep_freed_memory()
before = resident_mb()
array = np.ones(30_000_000)
del array
kept = resident_mb()
return_freed_memory()
print(kept - before, resident_mb() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="freed memory is the system's own affair elsewhere")
def test_freed_memory_is_kept_until_it_is_returned():
    answer = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    kept_mb, left_mb = map(float, answer.stdout.split())
    assert kept_mb > 200
    assert left_mb < 50
