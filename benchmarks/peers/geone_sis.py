"""Sequential indicator simulation by geone: simple kriging of the indicators with the covariance of the job."""

from __future__ import annotations

import time
from importlib.metadata import version

import numpy as np

from .contract import PeerJob, PeerResult, answer

_N_NEIGHBOURS = 16
_SEARCH = 1.2
"""Radius of the search neighbourhood, in ranges."""


def simulate(job: PeerJob) -> PeerResult:
    """Simulate the job."""
    from geone import covModel, geosclassicinterface

    n_facies = len(job.proportions)
    covariances = [
        covModel.CovModel2D(elem=_structures(job, sill=float(share * (1 - share)))) for share in job.proportions
    ]
    has_data = len(job.row) > 0
    began = time.perf_counter()
    answered = geosclassicinterface.simulateIndicator2D(
        np.arange(n_facies, dtype=float),
        covariances,
        (job.shape[1], job.shape[0]),
        method="simple_kriging",
        nreal=job.n_realizations,
        probability=job.proportions,
        x=np.column_stack([job.col, job.row]) + 0.5 if has_data else None,
        v=job.class_index.astype(float) if has_data else None,
        searchRadiusRelative=_SEARCH,
        nneighborMax=_N_NEIGHBOURS,
        seed=job.seed,
        nthreads=job.threads,
        verbose=0,
    )
    seconds = time.perf_counter() - began
    realizations = np.rint(answered["image"].val[:, 0]).astype(np.uint8)
    told = (
        f"geone {version('geone')}, simulateIndicator2D, simple kriging, {_N_NEIGHBOURS} neighbours, "
        f"{job.covariance_kind} covariance, ranges {job.covariance_ranges[0]:.1f} and {job.covariance_ranges[1]:.1f}, "
        f"nugget {job.covariance_nugget:.3f}"
    )
    return PeerResult(realizations, seconds, told)


def _structures(job: PeerJob, sill: float) -> list[tuple[str, dict]]:
    """Return the covariance as geone takes it: x, along a row, comes first."""
    ranges = [float(r) for r in job.covariance_ranges[::-1]]
    structures = [(job.covariance_kind, {"w": sill * (1 - job.covariance_nugget), "r": ranges})]
    if job.covariance_nugget > 0:
        structures.append(("nugget", {"w": sill * job.covariance_nugget}))
    return structures


if __name__ == "__main__":
    answer(simulate)
