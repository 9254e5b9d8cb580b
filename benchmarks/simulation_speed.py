"""
Time and memory of the universal model: `python -m benchmarks.simulation_speed [--side 440 --facies 30]`.

The main job, Jura, 117 x 97 cells, 5 facies; and a field of 5 facies on a larger grid, seen at 300 observations. Each
line is the minimum of several runs of `run_simulation` in this process (what a warm engine does), and the peak memory
of the process so far. With --side only the field is simulated, once.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from dataclasses import replace

import numpy as np
import torch

from benchmarks.jura import jura_job
from oadg.core.contract.facies import Facies, FaciesTable, build_facies_table
from oadg.core.contract.grid import Grid
from oadg.core.contract.job import SimulationJob
from oadg.core.machine.device import prepare_process
from oadg.core.sampling.simulation import run_simulation
from oadg.core.training.random_fields import categorical_fields
from oadg.core.training.train_universal import SHIPPED

_N_OBSERVATIONS = 300


def field_job(work_folder: str, side: int, n_realizations: int, quality: str, n_facies: int = 5) -> SimulationJob:
    """Return a job of a field of the prior, side x side cells, seen at random places."""
    generator, rng = torch.Generator().manual_seed(1), np.random.default_rng(1)
    field = categorical_fields(1, n_facies, side, 20.0, side / 2, generator)[0].numpy()
    row, col = np.divmod(rng.choice(side * side, _N_OBSERVATIONS, replace=False), side)
    return SimulationJob(
        grid=Grid(0.0, float(side), 1.0, side, side),
        facies=build_facies_table(range(n_facies)),
        row=tuple(row.tolist()),
        col=tuple(col.tolist()),
        class_index=tuple(field[row, col].tolist()),
        model_path=str(SHIPPED),
        work_folder=work_folder,
        n_realizations=n_realizations,
        quality=quality,
    )


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, help="of the field, in cells")
    parser.add_argument("--quality", default="standard", help="of the field's realization")
    parser.add_argument("--facies", type=int, default=5, help="of the field")
    options = parser.parse_args()
    prepare_process()
    with tempfile.TemporaryDirectory() as folder:
        job, facies = jura_job(folder, n_realizations=20)
        fifteen = FaciesTable(facies.facies + tuple(Facies(100 + k, f"more {k}", "#000000") for k in range(10)))
        jobs = {
            "probabilities only": (replace(job, n_realizations=0), 3),
            "20 realizations, preview": (replace(job, quality="preview"), 2),
            "20 realizations, standard": (job, 2),
            "20 realizations, standard, 15 facies": (replace(job, facies=fifteen), 1),
            "500 x 500 cells, 10 realizations": (field_job(folder, 500, 10, "standard"), 1),
        }
        if options.side:
            name = f"{options.side}², {options.facies} facies, 1 realization, {options.quality}"
            jobs = {name: (field_job(folder, options.side, 1, options.quality, options.facies), 1)}
        print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
        print(f"{'job':<40}{'seconds':>9}{'relative':>10}{'peak MiB':>10}")
        reference = None
        for name, (one, runs) in jobs.items():
            taken = seconds(one, runs)
            reference = reference or taken
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            print(f"{name:<40}{taken:>9.2f}{taken / reference:>10.1f}{peak:>10}")


if __name__ == "__main__":
    main()
