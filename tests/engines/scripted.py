"""
The real engine with a simulation that does as the job's seed says; started in the plugin's folder.

A seed below 1,000 is the number of passes of 20 ms each; the seeds in `DEEDS` fail in their own way.
"""

import errno
import importlib
import os
import sys
import time

import numpy as np

sys.path.insert(0, os.getcwd())
engine = importlib.import_module("core.engine")
errors = importlib.import_module("core.contract.errors")
SimulationResult = importlib.import_module("core.contract.job").SimulationResult


def object_to():
    raise errors.ModelError("The model file is truncated.")


def exhaust():
    raise MemoryError


def exhaust_torch():
    raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: 8000000 bytes")


def blunder():
    return {}["no such key"]


def fill_the_disk():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "entropy.npy")


def leave():
    sys.stderr.write("the disk is on fire\n")
    sys.stderr.flush()
    os._exit(3)


def get_stuck():
    time.sleep(600)


DEEDS = {
    1001: object_to,
    1002: exhaust,
    1003: exhaust_torch,
    1004: blunder,
    1005: leave,
    1006: get_stuck,
    1007: fill_the_disk,
}


def run_simulation(job, progress):
    sys.stdout.write("a library prints\n")
    os.system("echo a child prints")
    if job.seed in DEEDS:
        progress(0.0, "Misbehaving")
        DEEDS[job.seed]()
    for done in range(job.seed):
        progress(done / job.seed, f"Pass {done + 1} of {job.seed}")
        time.sleep(0.02)
    paths = {}
    for name, array in {
        "probability": np.full((len(job.facies), *job.grid.shape), 0.5, np.float32),
        "entropy": np.ones(job.grid.shape, np.float32),
        "most_probable": np.zeros(job.grid.shape, np.uint8) if job.mask_path is None else ~np.load(job.mask_path) * 255,
    }.items():
        paths[f"{name}_path"] = os.path.join(job.work_folder, f"{name}.npy")
        np.save(paths[f"{name}_path"], array)
    return SimulationResult(
        **paths,
        realizations_path=None,
        mean_entropy_bits=1.0,
        device="cpu",
        model_id=str(os.getpid()),
        seed=job.seed,
        batch_size=1,
        seconds=0.0,
    )


def load():
    time.sleep(float(os.environ.get("OADG_TEST_START_S", "0")))
    if os.environ.get("OADG_TEST_NO_TORCH"):
        sys.modules["torch"] = None
        return engine.load_runners()
    return {"simulate": run_simulation}


if __name__ == "__main__":
    sys.exit(engine.main(load))
