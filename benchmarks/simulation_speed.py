"""
Time and memory of the main job, Jura, 117 x 97 cells, 5 facies: `python -m benchmarks.simulation_speed`.

Each line is the minimum of several runs of `run_simulation` in this process (what a warm engine does), and the peak
memory of the process so far.
"""

from __future__ import annotations

import resource
import tempfile
import time
from dataclasses import replace

import torch

from benchmarks.jura import jura_job
from oadg.core.facies import Facies, FaciesTable
from oadg.core.job import SimulationJob
from oadg.core.simulation import run_simulation


def seconds(job: SimulationJob, runs: int) -> float:
    """Return the shortest wall time of several runs."""
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        run_simulation(job, lambda fraction, text: None)
        times.append(time.perf_counter() - began)
    return min(times)


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        job, facies = jura_job(folder, n_realizations=20)
        fifteen = FaciesTable(facies.facies + tuple(Facies(100 + k, f"more {k}", "#000000") for k in range(10)))
        jobs = {
            "probabilities only": (replace(job, n_realizations=0), 3),
            "20 realizations, preview": (replace(job, quality="preview"), 2),
            "20 realizations, standard": (job, 2),
            "20 realizations, standard, 15 facies": (replace(job, facies=fifteen), 1),
        }
        print(
            f"torch {torch.__version__}, {torch.get_num_threads()} threads, {job.grid.n_rows} x {job.grid.n_cols} cells"
        )
        print(f"{'job':<40}{'seconds':>9}{'relative':>10}{'peak MiB':>10}")
        reference = None
        for name, (one, runs) in jobs.items():
            taken = seconds(one, runs)
            reference = reference or taken
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            print(f"{name:<40}{taken:>9.2f}{taken / reference:>10.1f}{peak:>10}")


if __name__ == "__main__":
    main()
