"""
Multiple-point simulation: SNESIM with a search tree, the compiled program of MPSlib that scikit-mps brings along.

The program is given its parameter file and its grids (GSLIB text) in a folder of their own. The package's Python side
is not imported: it asks numpy for a name that numpy 2 has dropped, and pauses between realizations.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from .contract import PeerJob, PeerResult, answer

_PROGRAM = "mps_snesim_tree"
_IMAGE_SIDE = 600
"""Rows and columns of the training image that the tree is built from: it is built anew for each job."""
_TEMPLATE_SIDE = 8
_COARSEST_GRID = 4
"""Of the multiple grids, counted from 0."""
_FEWEST_REPLICATES = 10
_MOST_CONDITIONING = 36
"""Cells that an event of the tree is made of, at most."""


def simulate(job: PeerJob) -> PeerResult:
    """Simulate the job; the time holds that of building the tree, which the program does in each run."""
    program = Path(*find_spec("mpslib").submodule_search_locations, "bin", _PROGRAM)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = job.image[:_IMAGE_SIDE, :_IMAGE_SIDE]
        _write_grid(folder / "image.dat", image)
        _write_points(folder / "hard.dat", job)
        (folder / "parameters.txt").write_text(_parameters(job), encoding="ascii")
        began = time.perf_counter()
        subprocess.run([program, "parameters.txt"], cwd=folder, stdout=subprocess.DEVNULL, check=True)
        seconds = time.perf_counter() - began
        realizations = np.stack(
            [np.loadtxt(folder / f"image.dat_sg_{i}.gslib", skiprows=3) for i in range(job.n_realizations)]
        )
    told = (
        f"scikit-mps {version('scikit-mps')}, {_PROGRAM}, {image.shape[0]} x {image.shape[1]} cells of the training "
        f"image, template {_TEMPLATE_SIDE} x {_TEMPLATE_SIDE}, {_COARSEST_GRID + 1} grids, at least "
        f"{_FEWEST_REPLICATES} replicates, up to {_MOST_CONDITIONING} conditioning cells, tree included in the time"
    )
    return PeerResult(realizations.reshape(-1, *job.shape).astype(np.uint8), seconds, told)


def _parameters(job: PeerJob) -> str:
    """Return the parameter file: the program reads what follows each '#', in this order."""
    template = f"{_TEMPLATE_SIDE} {_TEMPLATE_SIDE}"
    lines = [
        ("realizations", job.n_realizations),
        ("seed", job.seed),
        ("coarsest grid", _COARSEST_GRID),
        ("fewest replicates", _FEWEST_REPLICATES),
        ("most conditioning cells", _MOST_CONDITIONING),
        ("template x", template),
        ("template y", template),
        ("template z", "1 1"),
        ("columns", job.shape[1]),
        ("rows", job.shape[0]),
        ("layers", 1),
        *((f"origin {axis}", 0) for axis in "xyz"),
        *((f"cell size {axis}", 1) for axis in "xyz"),
        ("training image", "image.dat"),
        ("output folder", "."),
        ("random path, entropy factor", "1 4"),
        ("shuffle the training image", 1),
        ("hard data", "hard.dat" if len(job.row) else "none.dat"),
        ("search radius of hard data", 1),
        ("categories", ";".join(str(k) for k in range(len(job.proportions)))),
        ("soft data", "none.dat"),
        ("threads", job.threads),
        ("debug", -1),
        ("mask", "none.dat"),
        ("entropy", 0),
        ("estimation", 0),
    ]
    return "".join(f"{what} # {value}\n" for what, value in lines)


def _write_grid(path: Path, values: np.ndarray) -> None:
    """Write a grid, x fastest, as the program reads it."""
    with path.open("w", encoding="ascii") as file:
        file.write(f"{values.shape[1]} {values.shape[0]} 1\n1\nfacies\n")
        np.savetxt(file, values.ravel(), fmt="%d")


def _write_points(path: Path, job: PeerJob) -> None:
    """Write the hard data."""
    with path.open("w", encoding="ascii") as file:
        file.write("hard data\n4\nx\ny\nz\nfacies\n")
        np.savetxt(file, np.column_stack([job.col, job.row, np.zeros_like(job.row), job.class_index]), fmt="%d")


if __name__ == "__main__":
    answer(simulate)
