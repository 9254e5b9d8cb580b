"""
The universal model: what it learns from, and the recipe of the one that ships.

`make train-universal` trains it; run again, it resumes. Examples are windows of random categorical fields on lattices
of several spacings, known at surveyed cells, and at a prefix of a dispersed order as in the sampler. What kriging reads
from the survey is told where the sampler tells it: on the lattice that it starts from.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
from dataclasses import asdict, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..contract.facies import MAX_FACIES
from ..kriging.kriging_features import FEWEST_DATA, SurveyKriging
from ..machine.device import prepare_process
from ..model.facies_model import FaciesModel
from ..model.lattice import Lattice
from ..model.network_config import NetworkConfig
from .examples import make_examples, oriented, shares_refined, shares_started
from .loop import Examples, TrainingConfig, train, validation_nats
from .random_fields import categorical_fields, draw_surveys

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "resources" / "models" / "universal.safetensors"
RECIPE = TrainingConfig(steps=10_000, seed=20_261_208, learning_rate=5e-4, warmup_steps=200, n_uses=4)
"""Of the run that made the shipped model, which started from the one before: docs/models/universal.md tells how."""
NETWORK = NetworkConfig(
    trunk=(64, 96, 160),
    stream=(32, 32, 48),
    n_bottom=3,
    reads_kriging=True,
    reads_order=True,
    n_levels=3,
    reads_texture=True,
)
VALIDATION_STEPS = range(10**9, 10**9 + 60)
"""Batches that training never reaches."""

_FACIES = np.arange(2, 21)
_FACIES_SHARES = 1 / _FACIES / (1 / _FACIES).sum()
_SPACINGS, _SPACING_SHARES = (1, 2, 4, 8), (0.3, 0.3, 0.25, 0.15)
_FEWEST_NODES, _MOST_NODES = 12, 48
"""Nodes along a side of a window."""
_FEWEST_DATA, _FEW_DATA_SHARE = (5, 30), 0.25
"""Of a survey, where its window holds as many: of a quarter of the maps, and of the others, as most surveys have."""
_BATCH_CELLS = 16_000 * 9
"""Nodes of a batch times (4 + number of facies), about what a step costs."""
_WINDOWS_PER_FIELD = 4
_REFINING_SHARE = 0.4
"""Of the batches on lattices that the sampler refines: a coarser one is known, and kriging tells nothing."""
_SHORTEST_CELLS, _SHORTEST_NODES = 4.0, 0.7
"""No range is shorter than this: users choose cells that resolve what they map, and what lies between nodes is noise
to the network."""
_ROUGH_SHARE = 0.15
"""Of the batches on lattices that the sampler starts from: ranges may be shorter than these cells."""
_DATA_ONLY_SHARE = 0.35
"""Of the maps on these whose nodes are all unknown: the task of the first pass, which the probability layer shows."""
_TOLD_SHARE = 0.9
"""Of the maps on these to which kriging is told; to the others it is not, as when data are too many for it."""


def draw_examples(
    step: int, *, seed: int, device: torch.device | str = "cpu", data_only: bool = False, n_maps_times: int = 1
) -> Examples:
    """
    Draw a batch; the same number and seed give the same batch.

    Parameters
    ----------
    step, seed : int
        Which batch.
    device : torch.device or str
        Where to draw it.
    data_only : bool
        Nothing is known but the data: the task of the first pass.
    n_maps_times : int
        How many times as many maps as fit into a step's time on a core of a processor.

    Returns
    -------
    Batch of `Examples`
        Maps all of one shape and one number of facies.
    """
    rng = np.random.default_rng([seed, step])
    generator = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
    n_facies = int(rng.choice(_FACIES, p=_FACIES_SHARES))
    spacing = int(rng.choice(_SPACINGS, p=_SPACING_SHARES))
    refining = rng.random() < _REFINING_SHARE and not data_only
    is_rough = not refining and rng.random() < _ROUGH_SHARE
    shortest = max(_SHORTEST_NODES * spacing, 0 if is_rough else _SHORTEST_CELLS)
    windows = _draw_windows(n_facies, spacing, shortest, rng, generator, n_maps_times)
    n_maps, *grid_shape = windows.shape
    n_nodes = grid_shape[0] * grid_shape[1] // spacing**2

    # Surveys, from five data to nearly one per node; some maps have none.
    most = min(1000, int(0.8 * n_nodes))
    fewest = np.minimum(np.where(rng.random(n_maps) < _FEW_DATA_SHARE, *_FEWEST_DATA), most)
    n_data = (fewest * (most / fewest) ** rng.random(n_maps)).astype(int) * (rng.random(n_maps) > 0.03)
    surveyed = draw_surveys(windows, torch.as_tensor(n_data, device=device), n_facies, generator)
    batch, row, col = surveyed.nonzero(as_tuple=True)
    facies = windows[batch, row, col]
    position = torch.as_tensor(rng.integers(2 * spacing, size=(n_maps, 2)), device=device)
    lattice = Lattice.at((grid_shape[0], grid_shape[1]), spacing, position, NETWORK.total_stride)

    # Most maps have exactly the facies that were observed; in some, others may exist.
    present = torch.zeros(n_maps, n_facies, dtype=torch.bool, device=device)
    present[batch, facies] = True
    present[torch.as_tensor((rng.random(n_maps) < 0.3) | (n_data == 0), device=device)] = True

    if data_only:
        share = np.zeros(n_maps)
    else:
        share = shares_refined(n_maps, rng) if refining else shares_started(n_maps, _DATA_ONLY_SHARE, rng)
    told = (n_data >= FEWEST_DATA) & (rng.random(n_maps) < (0 if refining else _TOLD_SHARE))
    place = torch.stack([row, col], dim=1).float()
    surveys = [
        SurveyKriging.fit(place[batch == index], facies[batch == index], n_facies, reads_order=True)
        if told[index]
        else None
        for index in range(0 if refining else n_maps)
    ]
    return make_examples(windows, surveyed, lattice, n_facies, share, rng, generator, present=present, surveys=surveys)


def _draw_windows(
    n_facies: int,
    spacing: int,
    shortest: float,
    rng: np.random.Generator,
    generator: torch.Generator,
    n_maps_times: int,
) -> Tensor:
    """Draw the windows of a batch (n_maps, n_rows, n_cols), cut from fields of all families."""
    field_size = 128 if spacing <= 2 else 256
    most_nodes = min(_MOST_NODES, field_size // spacing)
    shape = tuple(int(n) for n in rng.integers(_FEWEST_NODES, most_nodes + 1, size=2))
    n_maps = n_maps_times * int(np.clip(_BATCH_CELLS / (shape[0] * shape[1] * (4 + n_facies)), 4, 64))
    n_fields = -(-n_maps // _WINDOWS_PER_FIELD)
    fields = categorical_fields(n_fields, n_facies, field_size, shortest, 3.0 * max(shape) * spacing, generator)
    return torch.stack([_cut_window(fields[i % n_fields], shape, spacing, rng) for i in range(n_maps)])


def _cut_window(field: Tensor, shape: tuple[int, ...], spacing: int, rng: np.random.Generator) -> Tensor:
    """Cut a window of shape * spacing cells from a field, in one of its eight orientations."""
    transposed = bool(rng.integers(2))
    height, width = (n * spacing for n in (reversed(shape) if transposed else shape))
    top, left = int(rng.integers(len(field) - height + 1)), int(rng.integers(len(field) - width + 1))
    return oriented(field[top : top + height, left : left + width], rng, transposed=transposed)


def main() -> None:
    """Train, or go on training, and write the model file when the recipe's last step is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=SHIPPED)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "train-universal", help="checkpoint and log")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw examples ahead; 0: the device does")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after, to be resumed by the next run")
    parser.add_argument("--steps", type=int, default=RECIPE.steps, help="instead of the recipe's")
    parser.add_argument("--maps-times", type=int, default=1, help="so many times as many maps in a batch: 20 for a GPU")
    parser.add_argument("--uses", type=int, default=RECIPE.n_uses, help="steps that learn from each batch, 1 to 4")
    parser.add_argument("--seed", type=int, default=RECIPE.seed, help="of what is drawn, instead of the recipe's")
    parser.add_argument("--start", type=Path, help="a model file, whose weights the first step starts from")
    parser.add_argument("--snapshot", action="store_true", help="write the model file even when steps remain")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    prepare_process()

    start = FaciesModel.load(arguments.start) if arguments.start else None
    recipe = replace(RECIPE, steps=arguments.steps, n_uses=arguments.uses, seed=arguments.seed)
    device = "cpu" if arguments.workers else arguments.device
    network, state = train(
        NETWORK,
        recipe,
        partial(draw_examples, seed=recipe.seed, device=device, n_maps_times=arguments.maps_times),
        arguments.folder,
        device=arguments.device,
        start=start.network if start else None,
        n_workers=arguments.workers,
        stop_after_seconds=60 * arguments.minutes,
        on_log=lambda line: logging.info(json.dumps(line)),
    )
    if state["step"] < recipe.steps and not arguments.snapshot:
        logging.info("Stopped at step %d of %d; run again to go on.", state["step"], recipe.steps)
        return
    network = network.float()
    scores = {
        name: validation_nats(network, map(partial(draw_examples, seed=recipe.seed, data_only=only), VALIDATION_STEPS))
        for name, only in (("validation_nats", False), ("validation_nats_data_only", True))
    }
    provenance = {
        "recipe": {**asdict(recipe), "maps_times": arguments.maps_times},
        "started_from": {"model": start.model_id, **start.provenance} if start else None,
        "learnt_from": "categorical random fields drawn by core/training/random_fields.py; no observed data",
        "steps_done": state["step"],
        "seconds": round(state["seconds"]),
        "precision": state["precision"],
        "scores": scores,
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    FaciesModel("universal", network.cpu(), max_facies=MAX_FACIES, provenance=provenance).save(arguments.output)
    logging.info("Wrote %s: %s", arguments.output, json.dumps(scores))


if __name__ == "__main__":
    main()
