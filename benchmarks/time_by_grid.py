"""
Time and memory against the size of the grid: realizations of the model `channels` without data.

    python -m benchmarks.time_by_grid [--sides 64 100 250 500 1000] [--quality standard] [--threads 2] [--device cuda]
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import torch

from oadg.core.machine.device import batch_size, batches_at_once, prepare_process
from oadg.core.model.facies_model import FaciesModel
from oadg.core.sampling.realizations import simulate_freely
from oadg.core.sampling.start import Start
from oadg.core.training.train_universal import SHIPPED


def main() -> None:
    """Print a table, and the exponent of time against cells from 250 cells a side on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 100, 250, 500, 1000])
    parser.add_argument("--quality", default="standard")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", help="cpu or cuda, whose memory is shown then")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    prepare_process()
    model = FaciesModel.load(SHIPPED.with_name("channels.safetensors"), arguments.device)
    simulate_freely(model, (64, 64), 1, quality=arguments.quality)
    print(f"channels, {arguments.quality}, {arguments.device}, {arguments.threads} threads\n")
    print("| grid | s per realization | peak memory, GiB |")
    print("|---|---|---|")
    seconds = []
    for side in arguments.sides:
        n_cells = Start.of(model, torch.full((side, side), -1, device=arguments.device), 2).n_fine_cells
        together = batch_size(n_cells, 2, arguments.device)
        together *= batches_at_once(together * n_cells, 2, arguments.device)
        began = time.monotonic()
        simulate_freely(model, (side, side), together, quality=arguments.quality)
        seconds.append((time.monotonic() - began) / together)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        if arguments.device == "cuda":
            peak = torch.cuda.max_memory_allocated() / 2**30
        print(f"| {side} x {side} | {seconds[-1]:.2f} | {peak:.1f} |", flush=True)
    large = [(np.log(side**2), np.log(s)) for side, s in zip(arguments.sides, seconds) if side >= 250]
    if len(large) > 1:
        slope = np.polyfit(*np.array(large).T, 1)[0]
        print(f"\nFrom 250 cells a side on, time grows with cells to the power of {slope:.2f}.")


if __name__ == "__main__":
    main()
