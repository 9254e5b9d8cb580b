"""
Truncated Gaussian simulation by gstlearn: the plurigaussian model of one field.

The field's covariance is the one whose truncation has the variogram of the training image; facies follow each other
along the field in the order of their class indices. Facies data condition it by gstlearn's Gibbs sampler.
"""

from __future__ import annotations

import time
from importlib.metadata import version

import numpy as np

from .contract import PeerJob, PeerResult, answer
from .variograms import fit_gaussian_field

_N_BANDS = 1000
_N_BURN_IN, _N_SWEEPS = 100, 200
"""Of the Gibbs sampler."""


def simulate(job: PeerJob) -> PeerResult:
    """Simulate the job."""
    import gstlearn as gl

    fitted = fit_gaussian_field(job.lags, job.variogram, job.proportions)
    kind = {"exponential": gl.ECov.EXPONENTIAL, "spherical": gl.ECov.SPHERICAL, "gaussian": gl.ECov.GAUSSIAN}
    field = gl.Model.createFromParam(kind[fitted.kind], sill=1.0, ranges=list(fitted.ranges[::-1]))
    # Each threshold parts a facies from all that follow it: S F1 S F2 F3.
    names = [name for k in range(1, len(job.proportions)) for name in ("S", f"F{k}")] + [f"F{len(job.proportions)}"]
    rule = gl.RuleProp.createFromRule(gl.Rule.createFromNames(names), job.proportions.tolist())
    grid = gl.DbGrid.create(nx=[job.shape[1], job.shape[0]], dx=[1.0, 1.0], x0=[0.5, 0.5])
    began = time.perf_counter()
    failed = gl.simpgs(
        dbin=_data(gl, job),
        dbout=grid,
        ruleprop=rule,
        model1=field,
        model2=None,
        neigh=gl.NeighUnique.create() if len(job.row) else None,
        nbsimu=job.n_realizations,
        seed=job.seed,
        nbtuba=_N_BANDS,
        percent=0.0,  # of nugget that gstlearn would add: it frays every edge
        gibbs_nburn=_N_BURN_IN,
        gibbs_niter=_N_SWEEPS,
    )
    seconds = time.perf_counter() - began
    if failed:
        raise RuntimeError(f"gstlearn's simpgs returned {failed}; what it printed says why.")
    simulated = [np.asarray(grid[name]) for name in grid.getAllNames() if name.startswith("Facies")]
    realizations = np.stack(simulated).reshape(-1, *job.shape).astype(np.uint8) - 1
    told = (
        f"gstlearn {version('gstlearn')}, simpgs, one field, {fitted.kind} covariance, ranges {fitted.ranges[0]:.1f} "
        f"and {fitted.ranges[1]:.1f}, {_N_BANDS} bands, Gibbs sampler of {_N_BURN_IN} + {_N_SWEEPS} sweeps"
    )
    return PeerResult(realizations, seconds, told)


def _data(gl, job: PeerJob):
    """Return the hard data as gstlearn takes them, or None; its facies are counted from 1."""
    if not len(job.row):
        return None
    data = gl.Db.createFromSamples(len(job.row), gl.ELoadBy.SAMPLE)
    data["x"] = job.col + 0.5
    data["y"] = job.row + 0.5
    data["facies"] = job.class_index + 1.0
    data.setLocators(["x", "y"], gl.ELoc.X)
    data.setLocator("facies", gl.ELoc.Z)
    return data


if __name__ == "__main__":
    answer(simulate)
