"""The methods: the model, simple indicator kriging, and the peers as commands of their own environment."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Mapping

import numpy as np
import torch

from benchmarks.jura import ROOT
from benchmarks.peers.contract import PeerJob, PeerResult
from oadg.core.kriging.indicators import Covariance, indicator_kriging
from oadg.core.machine.device import batch_size
from oadg.core.model.facies_model import FaciesModel
from oadg.core.sampling.probability import facies_probability_from_data
from oadg.core.sampling.realizations import simulate_in_batches
from oadg.core.sampling.start import Start

from .draws import Draw, Setting

PEERS: Mapping[str, str] = {
    "SIS (geone)": "geone_sis",
    "truncated Gaussian (gstlearn)": "gstlearn_pgs",
    "SNESIM (scikit-mps)": "mps_snesim",
}
"""Name in tables to module of `benchmarks.peers`."""
REFERENCE_PROJECT = "diffusers_unet"


class PeerError(Exception):
    """A peer did not answer; the message says what it printed last."""


def call_peer(python: Path, module: str, job: PeerJob) -> PeerResult:
    """
    Run a peer in its environment.

    Parameters
    ----------
    python : Path
        Interpreter of the peers' environment.
    module : str
        Of `benchmarks.peers`.
    job : PeerJob
        What is asked.

    Raises
    ------
    PeerError
        When it fails, or answers something else than was asked.
    """
    threads = {name: str(job.threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    with tempfile.TemporaryDirectory(prefix="oadg-peer-") as name:
        asked, answered = Path(name) / "job.npz", Path(name) / "result.npz"
        job.save(asked)
        command = [str(python), "-m", f"benchmarks.peers.{module}", str(asked), str(answered)]
        try:
            ran = subprocess.run(command, cwd=ROOT, env={**os.environ, **threads}, capture_output=True, text=True)
        except OSError as error:
            raise PeerError(
                f"{python} cannot be run: {error.strerror}. `make peers` makes that environment."
            ) from error
        if ran.returncode or not answered.exists():
            last = (ran.stderr.strip() or ran.stdout.strip() or "it printed nothing").splitlines()[-1]
            raise PeerError(f"{module} ended with {ran.returncode}: {last}")
        result = PeerResult.load(answered)
    if result.realizations.shape[1:] != job.shape:
        raise PeerError(f"{module} answered realizations of shape {result.realizations.shape[1:]}, not {job.shape}.")
    if (result.realizations[:, job.row, job.col] != job.class_index).any():
        raise PeerError(f"{module} did not honour all hard data.")
    return result


def call_model(
    model: FaciesModel,
    shape: tuple[int, int],
    n_realizations: int,
    *,
    quality: str,
    seed: int,
    data: Draw | None = None,
) -> PeerResult:
    """
    Simulate with the model, as a job does: in full batches.

    The time is that of the whole batches, divided among all realizations that these held.
    """
    known = torch.full(shape, -1, dtype=torch.int64) if data is None else torch.as_tensor(data.known)
    began = time.perf_counter()
    start = Start.of(model, known, len(model.facies))
    at_once = min(batch_size(start.n_fine_cells, start.n_facies), n_realizations)
    batches = simulate_in_batches(model, start, n_realizations, quality=quality, seed=seed, at_once=at_once)
    realizations = torch.cat(list(batches)).numpy().astype(np.uint8)
    n_simulated = -(-n_realizations // at_once) * at_once
    seconds = (time.perf_counter() - began) * n_realizations / n_simulated
    return PeerResult(realizations, seconds, f"{model.model_id}, quality {quality}")


def model_probability(model: FaciesModel, data: Draw) -> tuple[np.ndarray, float]:
    """Return the model's facies probabilities (n_facies, n_rows, n_cols) given the data, in one pass, and its time."""
    began = time.perf_counter()
    probability = facies_probability_from_data(model, torch.as_tensor(data.known), len(model.facies))
    return probability, time.perf_counter() - began


def kriging_probability(setting: Setting, data: Draw) -> tuple[np.ndarray, float]:
    """Return simple indicator kriging's probabilities (n_facies, n_rows, n_cols), and its time."""
    began = time.perf_counter()
    # In units of the ranges the covariance is isotropic.
    ranges, covariance = np.array(setting.covariance.ranges), setting.covariance
    cells = np.stack(np.indices(data.truth.shape), axis=-1).reshape(-1, 2)
    estimate = indicator_kriging(
        data.cells / ranges,
        data.class_index,
        cells / ranges,
        [Covariance(covariance.kind, 1.0, covariance.nugget)] * setting.n_facies,
        setting.n_facies,
        proportions=setting.proportions,
    )
    return estimate.reshape(setting.n_facies, *data.truth.shape), time.perf_counter() - began


def frequencies(realizations: np.ndarray, n_facies: int) -> np.ndarray:
    """Return how often each facies occurs in each cell, (n_facies, n_rows, n_cols), over realizations."""
    return np.stack([(realizations == k).mean(axis=0) for k in range(n_facies)])
