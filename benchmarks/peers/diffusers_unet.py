"""
The reference project's way: one pass of its network, a diffusers UNet2DModel, for every cell of a realization.

The weights are random, for a pass takes as long with any: only its time is measured. The job's `n_realizations` is the
number of passes that are timed; the result's realization is empty.
"""

from __future__ import annotations

import time
from importlib.metadata import version

import numpy as np

from .contract import PeerJob, PeerResult, answer


def simulate(job: PeerJob) -> PeerResult:
    """Time as many passes at the grid's size as realizations are asked."""
    import torch
    from diffusers import UNet2DModel

    torch.set_num_threads(job.threads)
    torch.manual_seed(job.seed)
    network = UNet2DModel(
        sample_size=job.shape[0],
        in_channels=2,
        out_channels=2,
        layers_per_block=2,
        block_out_channels=(64, 64, 128, 128),
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    ).eval()
    known = torch.randn(1, 2, *job.shape)
    with torch.inference_mode():
        network(known, 0)  # the first pass allocates
        began = time.perf_counter()
        for step in range(job.n_realizations):
            network(known, step)
        seconds = time.perf_counter() - began
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    told = f"diffusers {version('diffusers')}, UNet2DModel, {n_parameters / 1e6:.1f} million parameters, random weights"
    return PeerResult(np.zeros((0, *job.shape), dtype=np.uint8), seconds, told)


if __name__ == "__main__":
    answer(simulate)
