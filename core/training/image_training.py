"""Training from a training image, from job to model file: what the engine runs."""

from __future__ import annotations

import math
import platform
import shutil
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import asdict, replace
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any, Callable, Mapping, NamedTuple, Sequence

import numpy as np
import torch

from ..contract.errors import Cancelled, JobError
from ..contract.training_image import TrainingImage
from ..contract.training_job import SIZES, TrainingJob, TrainingResult, checkpoint_folder
from ..machine.device import choose_device
from ..machine.lock import alone
from ..model.facies_model import FaciesModel
from ..model.network import FaciesNetwork
from ..model.network_config import NetworkConfig
from ..model.schedule import Schedule
from .asking import measure_expected_share, measure_marginal_level
from .balance import measure_balance
from .corrections import measure_corrections
from .image_examples import ImageExamples
from .image_set import image_or_set
from .loop import Examples, TrainingConfig, train, validation_nats
from .schedules import COSTS, choose_schedule, loss_table, measured_schedules
from .training_note import read_note, write_note

_READING = NetworkConfig(reads_kriging=True)
NETWORKS = {
    "small": replace(_READING, trunk=(32, 48, 96), stream=(16, 16, 24), n_bottom=2, refiner=16, n_refiner_blocks=5),
    "base": replace(_READING, trunk=(64, 96, 160), stream=(32, 32, 48), n_bottom=3, refiner=32, n_refiner_blocks=8),
    "large": replace(_READING, trunk=(96, 144, 224), stream=(48, 48, 64), n_bottom=4, refiner=48, n_refiner_blocks=10),
}
"""By size; 'base' has the shape of the universal model but for what it is told, and starts from its weights."""
BASE = "base"
"""The size of networks where the time for training allows it, and none is asked for."""
_FEWEST_OF_BASE = 2500
"""
Steps that 'base' needs to be worth its time; where fewer fit into it, 'small' learns more in their stead.

In 17 minutes of one core, 'base' took 1,672 steps on an image of fractures (500 x 500 cells) to .0823 held-out bits per
cell, in 30 minutes 2,321 to .0802; 'small' 3,812 in 17 minutes to .0793, with straighter fractures (pattern divergence
.0102 for .0108). On one of levees it was 1,805 to .0834 and 5,216 to .0831 (.0153 for .0168).
"""
CHECKPOINTS = 40
"""Of a training, at most; at each of them the held-out loss is measured."""
_LEAST_BETWEEN = 80
"""Steps between two of them, for the held-out loss costs as much as eight."""
PATIENCE = 10
_HELD_OUT_BATCHES = 4
"""Of each part of the path."""
_TABLE_BATCHES = 6
_LEARNT = 0.95
"""Of the progress that users see, when learning is done; what is measured then has the rest."""
_TIMED_STEPS = 16
_FEWEST_STEPS = 40
"""However short the time is."""
_LONE = 2
"""How many times as many passes images may take that are one lattice only: as small as the coarsest one of others."""

OnLog = Callable[[dict[str, Any]], None]
"""Told each line of the log of `train`."""


def run_training(
    job: TrainingJob,
    progress: Callable[[float, str], None],
    *,
    track: Callable[[str, dict[str, Any]], OnLog] = lambda run, settings: lambda line: None,
) -> TrainingResult:
    """
    Train a model of an image or of a set of images, and write its file.

    The best model so far is in place from the first checkpoint on, and stays there when the training is cancelled;
    what is needed to go on lies in a folder beside it, and the same job goes on from there.

    Parameters
    ----------
    job : TrainingJob
        What is asked.
    progress : callable
        Told the fraction done and what is being done, after each step; what it raises (`Cancelled`) ends the run.
    track : callable
        Told, before the first step, the name of the run (which it keeps when it is resumed) and its settings; what it
        returns is told each line of the log.

    Returns
    -------
    TrainingResult
        Where the model lies, and how good it is.

    Raises
    ------
    OadgError
        For an image, a device, or a checkpoint that does not fit.
    """
    folder = checkpoint_folder(Path(job.model_path))
    refusal = (
        f"The model {job.name} is being trained already, in another window or by another program: two trainings would "
        f"share the folder {folder}. Wait until that one has ended, cancel it, or choose another name."
    )
    with alone(folder.with_name(f"{folder.name}.lock"), refusal):
        plan = _plan(job, folder, progress)
        settings = {"name": job.name, "size": plan.size, **asdict(plan.config), "started_from": plan.start.model_id}
        on_log = track(plan.run, settings)
        write_note(folder, plan.image, job, size=plan.size, steps=plan.config.steps, run=plan.run)
        network, state = _learn(plan, progress, on_log)
        model = _with_schedules(_model(plan, network, state), plan.examples, plan.device, progress)
        model.save(Path(job.model_path))
        shutil.rmtree(folder, ignore_errors=True)
    return TrainingResult(
        model_path=job.model_path,
        model_id=model.model_id,
        device=str(plan.device),
        held_out_bits=state["best_nats"] / math.log(2),
        steps=state["step"],
        best_step=state["best_step"],
        lowest_step=state["lowest_step"],
        stopped_early=state["step"] < state["steps"],
        seconds=state["seconds"],
    )


class _Plan(NamedTuple):
    """What a training does: the job, and all that follows from it and from what was done before."""

    job: TrainingJob
    device: torch.device
    image: TrainingImage
    start: FaciesModel
    size: str
    shape: NetworkConfig
    examples: ImageExamples
    config: TrainingConfig
    held_out_nats: Callable[[FaciesNetwork], Mapping[str, float]]
    folder: Path
    run: str


def _plan(job: TrainingJob, folder: Path, progress: Callable[[float, str], None]) -> _Plan:
    """Return what a job comes to, how many steps fit into its time included; raise `OadgError` as `run_training`."""
    device = choose_device(job.device)
    class_index = np.load(job.image_path, allow_pickle=False)
    image = image_or_set(class_index, job.facies, job.symmetry, job.cell_size, job.origin, seed=job.seed)
    start = FaciesModel.load(Path(job.start_path))
    note = read_note(folder, image, job)
    begun = note.get("steps")
    if begun and job.steps and job.steps != begun:
        raise JobError(
            f"The training that was begun in {folder} has {begun:,} steps, and {job.steps:,} are asked for now. Ask "
            f"for {begun:,}, choose another name, or delete that folder."
        )
    size = note.get("size", BASE) if job.size == SIZES[0] else job.size
    shape, examples = _network_for(job, image, size)
    _check_start(job, start, shape, size)
    held_out_nats = _judge_by(examples)
    steps = begun or job.steps or _steps_in(job, shape, examples, held_out_nats, device, progress)
    may_be_small = job.size == SIZES[0] and not (begun or job.steps or job.refiner_only)
    if may_be_small and steps < _FEWEST_OF_BASE:
        size = "small"
        shape, examples = _network_for(job, image, size)
        held_out_nats = _judge_by(examples)
        steps = _steps_in(job, shape, examples, held_out_nats, device, progress)
    config = TrainingConfig(
        steps=steps,
        seed=job.seed,
        learning_rate=job.learning_rate,
        warmup_steps=max(1, min(200, steps // 10)),
        ema_decay=min(0.999, 1 - 20 / (steps + 20)),
        precision=job.precision,
        checkpoint_steps=max(_LEAST_BETWEEN, steps // CHECKPOINTS),
        patience=PATIENCE,
    )
    run = note.get("run") or f"{job.name}-{datetime.now():%Y%m%d-%H%M%S}"
    return _Plan(job, device, image, start, size, shape, examples, config, held_out_nats, folder, run)


def _network_for(job: TrainingJob, image: TrainingImage, size: str) -> tuple[NetworkConfig, ImageExamples]:
    """Return the shape of a network of a size for an image, and what it learns from."""
    shape = replace(NETWORKS[size], n_levels=image.coarsest_level + 1, refined_above=image.refined_above)
    shape = replace(shape, n_classes=len(job.facies))
    examples = ImageExamples(image, shape, job.seed, job.refiner_only)
    if job.levels_apart:  # those that the held-out block is too small to judge share the last one
        shape = replace(shape, n_refiners=sum(refines for _, refines, _ in examples.parts_of_path))
    return shape, examples


def _learn(plan: _Plan, progress: Callable[[float, str], None], on_log: OnLog) -> tuple[FaciesNetwork, dict[str, Any]]:
    """Train, with the best model so far in its place; raise `Cancelled` when progress does, after a checkpoint."""
    cancelled: list[Cancelled] = []

    def save(network: FaciesNetwork, state: dict[str, Any]) -> None:
        _model(plan, network, state).save(Path(plan.job.model_path))

    def should_stop(state: dict[str, Any]) -> bool:
        try:
            progress(_LEARNT * state["step"] / state["steps"], _describe(state, plan.config.checkpoint_steps))
        except Cancelled as error:
            cancelled.append(error)
        return bool(cancelled)

    network, state = train(
        plan.shape,
        plan.config,
        plan.examples,
        plan.folder,
        device=plan.device,
        start=plan.start.network,
        n_workers=plan.job.workers,
        due_seconds=math.inf if plan.job.steps else 60 * plan.job.minutes,
        held_out_nats=plan.held_out_nats,
        should_stop=should_stop,
        on_log=on_log,
        on_best=save,
    )
    if cancelled:
        raise cancelled[0]
    return network, state


def _judge_by(examples: ImageExamples) -> Callable[[FaciesNetwork], Mapping[str, float]]:
    """Return what measures the held-out losses of a network; what is held out is drawn once."""

    @cache
    def held_out(number: int, level: int, refines: bool) -> Examples:
        return examples.held_out(number, level, refines=refines)

    return lambda network: path_nats(network, examples.parts_of_path, held_out)


def path_nats(
    network: FaciesNetwork,
    parts_of_path: Sequence[tuple[int, bool, float]],
    held_out: Callable[[int, int, bool], Examples],
) -> dict[str, float]:
    """
    Return the bound on the held-out block's negative log-likelihood along the sampler's path, nats per cell.

    The order-agnostic bound (Hoogeboom et al. 2021) of orders that go coarse to fine: the mean loss of each part of the
    path, over any share of it that is done, weighted by the part's share of the cells. It comes in terms that add
    up, by the prefix of the names of the weights that answer for it: each refiner's, and the others'.

    Parameters
    ----------
    network : FaciesNetwork
        What is judged.
    parts_of_path : sequence of (int, bool, float)
        As `ImageExamples` has them.
    held_out : callable
        Given the number of a batch, the level and whether a coarser lattice is known, returns held-out examples.
    """
    total = sum(share for _, _, share in parts_of_path)
    nats: dict[str, float] = defaultdict(float)
    for level, refines, share in parts_of_path:
        batches = [held_out(number, level, refines) for number in range(_HELD_OUT_BATCHES)]
        prefix = f"{network.refiner_of(level)}." if refines else ""
        nats[prefix] += share / total * validation_nats(network, batches)
    return dict(nats)


def measure_schedules(
    network: FaciesNetwork, examples: ImageExamples
) -> tuple[dict[str, Schedule], Mapping[str, float]]:
    """Return the pass schedule of each quality, and what it costs in bits per cell, from losses on the image."""

    def table(level: int, refines: bool) -> np.ndarray:
        batches = (examples.unknown(step, level) for step in range(_TABLE_BATCHES))
        tables = [loss_table(network, maps, refines=refines, seed=step) for step, maps in enumerate(batches)]
        return np.asarray(np.mean(tables, axis=0))

    n_levels = network.config.n_levels
    refined, started = [table(level, True) for level in range(examples.n_refined)], table(n_levels - 1, False)
    schedules, excess_bits = measured_schedules(refined, started, n_levels - 1)
    if not (examples.image.IS_WHOLE and n_levels == 1):
        return schedules, excess_bits
    # More corrections would not pay: of drawn digits 32 took 13 % of the ink away, 3 took 5 %, none 3 %.
    chosen = {quality: choose_schedule(refined, started, 0, _LONE * budget) for quality, budget in COSTS.items()}
    for quality, (schedule, _) in chosen.items():
        schedules[quality] = replace(schedule, corrections=schedules[quality].corrections)
    return schedules, {**excess_bits, **{quality: bits for quality, (_, bits) in chosen.items()}}


def _with_schedules(
    model: FaciesModel, examples: ImageExamples, device: torch.device, progress: Callable[[float, str], None]
) -> FaciesModel:
    """Return a model with the passes that its image asks for: of losses on it, and of lattices like it."""
    n_measured = 1 if examples.image.IS_WHOLE else 5
    progress(_LEARNT, f"Measuring, 1 of {n_measured}: what can be simulated together")
    network = model.network.to(device)
    assert isinstance(network, FaciesNetwork)
    schedules, excess_bits = measure_schedules(network, examples)
    model = replace(model, schedules=schedules)
    model.provenance["scores"]["excess_bits"] = excess_bits
    if examples.image.IS_WHOLE:
        return model
    telling = threading.Lock()  # passes are taken in several threads

    def measure(measured: Callable[..., Any], number: int, text: str) -> Any:
        fraction = _LEARNT + (1 - _LEARNT) * (number - 1) / n_measured

        def on_pass() -> None:
            with telling:
                progress(fraction, f"Measuring, {number} of {n_measured}: {text}")

        return measured(model, examples.image, seed=examples.seed, on_pass=on_pass)

    model = replace(model, schedules=measure(measure_corrections, 2, "how often to draw anew"))
    model = replace(model, schedules=measure(measure_balance, 3, "how much of each facies is drawn"))
    level = measure(measure_marginal_level, 4, "on which lattice probabilities are best")
    model = replace(model, marginal_level=level)
    return replace(model, expected_share=measure(measure_expected_share, 5, "how probabilities are best asked"))


def _check_start(job: TrainingJob, start: FaciesModel, shape: NetworkConfig, size: str) -> None:
    """Raise `JobError` when the refiner is to learn alone beside a network that the model to start from has not."""
    codes = start.facies.codes.tolist() if start.facies else None
    is_of_shape = start.network.config in (shape, replace(shape, n_refiners=1))
    if job.refiner_only and not (is_of_shape and codes == job.facies.codes.tolist()):
        raise JobError(
            f"Only the refiner is to learn, but the model to start from, {start.name}, is not a model of these facies "
            f"with a network of the size {size}. Start from one that was trained on this image, keep "
            "its levels apart if they are, or train both networks."
        )


def _describe(state: dict[str, Any], checkpoint_steps: int) -> str:
    """Say how far the training is; the text changes at checkpoints only."""
    steps = state["steps"]
    if "held_out_nats" not in state:
        return f"Learning, {steps:,} steps"
    logged = (state["step"] - 1) // checkpoint_steps * checkpoint_steps
    left = (steps - logged) * state["seconds"] / max(1, logged)
    bits = state["held_out_nats"] / math.log(2)
    told = f"{left:.0f} seconds" if left < 90 else f"{left / 60:.0f} minutes"
    return f"Learning, {steps:,} steps: {bits:.4f} held-out bits per cell, about {told} left to learn"


def _steps_in(
    job: TrainingJob,
    shape: NetworkConfig,
    examples: ImageExamples,
    held_out_nats: Callable[[FaciesNetwork], Mapping[str, float]],
    device: torch.device,
    progress: Callable[[float, str], None],
) -> int:
    """Return how many steps fit into the job's minutes, judgements included, as a few show, which are thrown away."""
    text = "Measuring how long a step takes"
    progress(0.0, text)

    def should_stop(state: dict[str, Any]) -> bool:
        progress(0.0, text)
        return False

    with tempfile.TemporaryDirectory(dir=job.work_folder or None) as folder:
        config = TrainingConfig(steps=_TIMED_STEPS + 1, seed=job.seed, precision=job.precision)
        how: dict[str, Any] = {"device": device, "n_workers": job.workers, "should_stop": should_stop}
        _, first = train(shape, replace(config, steps=1), examples, Path(folder) / "first", **how)
        network, all_of_them = train(shape, config, examples, Path(folder) / "all", **how)
    of_step = max(1e-3, (all_of_them["seconds"] - first["seconds"]) / _TIMED_STEPS)
    held_out_nats(network)  # which draws what is held out
    began = time.monotonic()
    held_out_nats(network)
    of_judgement, seconds = time.monotonic() - began, 60 * job.minutes
    with_few = seconds / (of_step + of_judgement / _LEAST_BETWEEN)
    return max(_FEWEST_STEPS, int(max(with_few, (seconds - CHECKPOINTS * of_judgement) / of_step)))


def _model(plan: _Plan, network: FaciesNetwork, state: dict[str, Any]) -> FaciesModel:
    """Return the model with everything that users ask about it."""
    job, image = plan.job, plan.image
    provenance = {
        "recipe": {
            "size": plan.size,
            "refiner_only": job.refiner_only,
            "levels_apart": job.levels_apart,
            **asdict(plan.config),
        },
        "started_from": plan.start.model_id,
        "learnt_from": job.origin,
        "image": {
            **({"n_images": len(image.class_index)} if image.IS_WHOLE else {}),
            "n_rows": image.shape[0],
            "n_cols": image.shape[1],
            "symmetry": image.symmetry,
            **({} if image.IS_WHOLE else {"held_out_corner": image.held_out_corner}),
            "proportions": [round(float(p), 5) for p in image.proportions],
        },
        "steps_done": state["step"],
        "seconds": round(state["seconds"]),
        "precision": state["precision"],
        "scores": {"held_out_bits": state["best_nats"] / math.log(2), "best_step": state["best_step"]},
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }
    return FaciesModel(
        job.name,
        network.float().cpu(),
        facies=job.facies,
        max_facies=len(job.facies),
        cell_size=job.cell_size,
        provenance=provenance,
        licence=job.licence,
    )
