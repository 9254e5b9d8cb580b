"""The comparison of the model with SIS from job to page: what the engine runs."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Callable

import numpy as np

from ..contract.job import MODEL
from ..contract.side_by_side_job import SimulationComparisonJob, SimulationComparisonResult
from .side_by_side import compare_simulations
from .side_by_side_page import side_by_side_page


def run_simulation_comparison(
    job: SimulationComparisonJob, progress: Callable[[float, str], None]
) -> SimulationComparisonResult:
    """
    Compare, and write the page into the job's work folder.

    Parameters
    ----------
    job : SimulationComparisonJob
        What is asked.
    progress : callable
        Told the fraction done and what is being done; what it raises (`Cancelled`) ends the run.

    Raises
    ------
    OadgError
        For a model, device, mask or reference that does not fit.
    """
    began = time.monotonic()
    progress(0.0, "Reading the model")
    found = compare_simulations(job, progress=progress)
    progress(1.0, "Writing the page")
    page_path = Path(job.work_folder) / "comparison.html"
    page_path.write_text(side_by_side_page(job, found), encoding="utf-8")
    return SimulationComparisonResult(
        page_path=str(page_path),
        scores=found.hidden.scores,
        gains={name: asdict(gain) for name, gain in found.gains.items()},
        reproduction={
            name: {what: value if np.isfinite(value) else None for what, value in numbers.items()}
            for name, numbers in found.numbers.items()
        },
        verdict=found.verdict,
        device=found.maps[MODEL].device,
        model_id=found.maps[MODEL].model_id,
        seconds=time.monotonic() - began,
    )
