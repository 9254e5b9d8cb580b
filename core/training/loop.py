"""
Training: resumable, seeded, logged. What is learnt from comes from a function of the step.

Source: Micikevicius et al. 2018, arXiv 1710.03740 (the scaled loss of half precision).
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Mapping, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ..contract.errors import JobError
from ..contract.training_job import MAX_STEPS
from ..kriging.kriging_features import KrigingFeatures
from ..machine.device import fast_precision
from ..model.hard_data import HardData
from ..model.network import FaciesNetwork
from ..model.network_config import NetworkConfig
from ..model.turning import Shown
from .muon import MuonAndAdamW
from .objective import nll_nats
from .warm_start import start_from

_NOISE = 1.1
"""By this factor a held-out loss may be above its lowest without being worse. Of a small image little is held out, and
its loss wavers: the weights of the lowest one, when learning was still fast, drew maps twice as far from an image as
the last ones, whose loss was 4 % higher."""
_LATE = 1.25
"""By this factor a training may last longer or less long than it should, at the pace so far, before its length is set
anew: the first steps are slower than others."""
_TURNS = 0, 2, 1, 3
"""Quarter turns of a batch in each of its uses; half a turn leaves the shape, for which a graphics card has plans."""


class Examples(NamedTuple):
    """
    A batch to learn from: what is known, and the truth where it is not.

    Maps have the shape (batch, n_rows, n_cols): `class_index`, -1 where unknown; `inside`, whether a node lies on the
    grid; `truth`, which counts where `unknown`. `data` are the hard data, and `features` what kriging reads from them.
    `present` (batch, n_facies) tells which facies each map has. `level` is that of the lattice, 0 the finest. `coarser`
    is what the refiner reads once, where the next coarser lattice is known: class index (n_windows, n_rows, n_cols) of
    its nodes and of data, else -1; each of these windows is shown in as many states, one after the other.
    """

    class_index: Tensor
    inside: Tensor
    data: HardData
    n_facies: int
    present: Tensor
    truth: Tensor
    unknown: Tensor
    level: int = 0
    features: KrigingFeatures | None = None
    coarser: Tensor | None = None

    @property
    def refines(self) -> bool:
        """Whether the next coarser lattice is known, all of it."""
        return self.coarser is not None

    def to(self, device: torch.device | str) -> Examples:
        """Return the batch on a device."""
        return Examples(
            class_index=self.class_index.to(device),
            inside=self.inside.to(device),
            data=HardData(*(value.to(device) for value in self.data)),
            n_facies=self.n_facies,
            present=self.present.to(device),
            truth=self.truth.to(device),
            unknown=self.unknown.to(device),
            level=self.level,
            features=self.features and KrigingFeatures(*(value.to(device) for value in self.features)),
            coarser=None if self.coarser is None else self.coarser.to(device),
        )

    def turned(self, turn: int) -> Examples:
        """Return the batch after so many quarter turns counterclockwise."""
        if not turn:
            return self
        shown = Shown(self.class_index, self.inside, self.data, self.features).turned(range(len(self.inside)), turn)
        return self._replace(
            class_index=shown.class_index,
            inside=shown.inside,
            data=shown.data,
            features=shown.features,
            truth=torch.rot90(self.truth, turn, (1, 2)),
            unknown=torch.rot90(self.unknown, turn, (1, 2)),
            coarser=None if self.coarser is None else torch.rot90(self.coarser, turn, (1, 2)),
        )


@dataclass(frozen=True)
class TrainingConfig:
    """
    How to train.

    Parameters
    ----------
    steps : int
        Length of the whole run.
    seed : int
        Of the initial weights and of every batch.
    learning_rate : float
        Highest learning rate; it warms up linearly and falls along a cosine to zero.
    warmup_steps : int
        Length of the warm-up.
    weight_decay : float
        How fast weights shrink, relative to the learning rate.
    ema_decay : float
        Of the running mean of the weights, which is what is saved.
    clip_norm : float
        Gradients are scaled down to this norm.
    precision : {'auto', 'float32', 'bfloat16', 'float16'}
        Of the network's arithmetic while training; 'auto': as `fast_precision` says. With 'float16' the loss is
        scaled, lest small gradients vanish, and a step whose gradients are not finite is left out.
    checkpoint_steps : int
        A checkpoint and a line in the log every so many steps.
    patience : int
        After so many checkpoints whose held-out loss is worse than the lowest training stops early, in its second half,
        when the learning rate falls; 0: it never does.
    n_uses : int
        Steps that learn from each batch, 1 to 4, each from another quarter turn of it: for maps that have no direction,
        where to draw them takes longer than to learn from them.
    """

    steps: int
    seed: int = 0
    learning_rate: float = 2e-3
    warmup_steps: int = 500
    weight_decay: float = 0.01
    ema_decay: float = 0.999
    clip_norm: float = 1.0
    precision: str = "auto"
    checkpoint_steps: int = 250
    patience: int = 0
    n_uses: int = 1

    def learning_rate_at(self, step: int, steps: int | None = None) -> float:
        """Return the learning rate of a step, 0 … steps - 1, of a run that has perhaps become shorter."""
        warmup = min(1.0, (step + 1) / self.warmup_steps)
        return self.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * step / (steps or self.steps)))


def train(
    network_config: NetworkConfig,
    config: TrainingConfig,
    draw_examples: Callable[[int], Examples],
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    start: nn.Module | None = None,
    n_workers: int = 0,
    stop_after_seconds: float = math.inf,
    due_seconds: float = math.inf,
    held_out_nats: Callable[[FaciesNetwork], Mapping[str, float]] | None = None,
    should_stop: Callable[[dict[str, Any]], bool] = lambda state: False,
    on_log: Callable[[dict[str, Any]], None] = lambda line: None,
    on_best: Callable[[FaciesNetwork, dict[str, Any]], None] = lambda network, state: None,
) -> tuple[FaciesNetwork, dict[str, Any]]:
    """
    Train a network, from the last checkpoint in the folder if there is one.

    A run that is interrupted and resumed gives the same weights as one that was not: every batch is a function of its
    step, and the checkpoint holds everything else.

    Parameters
    ----------
    network_config, config : NetworkConfig, TrainingConfig
        What to train, and how.
    draw_examples : callable
        Number of a batch to `Examples`, on any device.
    folder : Path
        Where `checkpoint.pt` and `log.jsonl` live.
    device : torch.device or str
        Where to train.
    start : nn.Module, optional
        Whose weights the first step starts from, as far as they fit.
    n_workers : int
        Processes that draw examples ahead; 0 draws them in this one. The weights do not depend on it.
    stop_after_seconds : float
        Write a checkpoint and return after this time, to be resumed by the next call.
    due_seconds : float
        About how long the run is to take altogether: at checkpoints it is shortened if it would take longer, and
        prolonged, in its first half, if it would take less; the learning rate falls accordingly.
    held_out_nats : callable, optional
        The loss of a network on what training never sees, asked at every checkpoint, in parts that add up: by the
        prefix of the names of the weights that answer for it, '' for all others. The last weights of each whose loss
        was about the lowest are kept beside the last ones.
    should_stop : callable
        Asked after each step, with the state: whether to write a checkpoint and return, to be resumed by the next call.
    on_log : callable
        Told each line of the log.
    on_best : callable
        Given the network of the kept weights, and the state, whenever there are new ones.

    Returns
    -------
    network : FaciesNetwork
        With the running mean of the weights: the one kept by held-out loss if that is asked, else the last one.
    state : dict
        'step', of so many 'steps', 'seconds' of training altogether, 'precision' of the arithmetic, 'train_nats' over
        the last logged steps, 'learning_rate'; if held-out losses are asked 'held_out_nats', the last one, 'best_nats'
        and 'best_step', of the kept weights, and 'lowest_step'; 'is_done'.

    Raises
    ------
    JobError
        When the folder's checkpoint belongs to another configuration.
    """
    recipe = {"network": network_config.to_dict(), "training": asdict(config)}
    torch.manual_seed(config.seed)
    network = FaciesNetwork(network_config).to(device)
    if start is not None:
        start_from(network, start)
    run = _Run(network, config, torch.device(device))
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        run.load(checkpoint, recipe, device)
    state = run.state
    state["precision"] = run.precision
    began, before, losses = time.monotonic(), state["seconds"], []
    patience = config.patience * config.checkpoint_steps or math.inf
    end = state["steps"] if math.isinf(due_seconds) else MAX_STEPS  # which may become later
    to_do = range(state["step"], 0 if state["is_done"] else end)
    for examples in _draw_ahead(draw_examples, to_do, n_workers, config.n_uses, torch.device(device)):
        losses.append(run.take_step(examples))
        run.average_in(min(config.ema_decay, (state["step"] + 1) / (state["step"] + 10)))
        state["step"] += 1
        is_last = state["step"] == state["steps"]
        is_due = state["step"] % config.checkpoint_steps == 0 or is_last
        is_stopped = time.monotonic() - began > stop_after_seconds or should_stop(state)
        if is_due or is_stopped:
            state.update(seconds=before + time.monotonic() - began, train_nats=float(torch.stack(losses).mean()))
            state["learning_rate"] = config.learning_rate_at(state["step"] - 1, state["steps"])
        if is_due:
            losses = []
            if held_out_nats is not None and run.judge(held_out_nats):
                on_best(run.with_weights(run.best), state)
            since_best = state["step"] - max(state.get("best_step", state["step"]), state["steps"] // 2)
            state["is_done"] = is_last or since_best >= patience
            run.fit_into(due_seconds)
            with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(state) + "\n")
            on_log(dict(state))
        if is_due or is_stopped:
            run.save(checkpoint, recipe)
        if is_stopped or state["is_done"]:
            break
    network.load_state_dict(run.best or run.average)
    return network.eval(), state


class _Run:
    """What a training has come to: all that a checkpoint holds."""

    def __init__(self, network: FaciesNetwork, config: TrainingConfig, device: torch.device):
        self.network, self.config = network, config
        self.optimizer = MuonAndAdamW(network, config.weight_decay)
        is_open = config.precision == "auto"
        self.precision = str(fast_precision(device)).removeprefix("torch.") if is_open else config.precision
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == "float16")
        self.average = {key: value.detach().clone() for key, value in network.state_dict().items()}
        self.best: dict[str, Tensor] = {}
        self.state: dict[str, Any] = {"step": 0, "steps": config.steps, "seconds": 0.0, "train_nats": math.nan}
        self.state["is_done"] = False

    def take_step(self, examples: Examples) -> Tensor:
        """Take a step against the gradient of a batch's loss, and return that, nats per unknown cell, a scalar."""
        loss = examples_nats(self.network, examples, self.precision).mean()
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self.optimizer.set_learning_rate(self.config.learning_rate_at(self.state["step"], self.state["steps"]))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach()

    def average_in(self, decay: float) -> None:
        """Move the running mean towards the weights as they are."""
        torch._foreach_lerp_(list(self.average.values()), list(self.network.state_dict().values()), 1 - decay)

    def with_weights(self, weights: dict[str, Tensor]) -> FaciesNetwork:
        """Return a network with these weights."""
        network = copy.deepcopy(self.network)
        network.load_state_dict(weights)
        return network.eval()

    def judge(self, held_out_nats: Callable[[FaciesNetwork], Mapping[str, float]]) -> bool:
        """Measure the held-out losses of the running mean; keep what is about the best, and say whether any is."""
        nats = held_out_nats(self.with_weights(self.average))
        lowest, kept = (self.state.setdefault(name, {}) for name in ("lowest_parts", "kept_parts"))
        if any(nats[part] < lowest.get(part, math.inf) for part in nats):
            self.state["lowest_step"] = self.state["step"]
        lowest.update({part: min(loss, lowest.get(part, loss)) for part, loss in nats.items()})
        good = {part for part, loss in nats.items() if loss <= _NOISE * lowest[part]}
        for key, value in self.average.items():
            if max((part for part in nats if key.startswith(part)), key=len) in good:
                self.best[key] = value.clone()
        kept.update({part: nats[part] for part in good})
        self.state["held_out_nats"] = sum(nats.values())
        if good:
            self.state.update(best_nats=sum(kept.values()), best_step=self.state["step"])
        return bool(good)

    def fit_into(self, seconds: float) -> None:
        """Set the number of steps to what there is time for at the pace so far, but not before the next checkpoint."""
        step, steps, pace = self.state["step"], self.state["steps"], self.state["seconds"] / self.state["step"]
        is_early = step <= steps / 2 and _LATE * pace * steps < seconds < math.inf
        if pace * steps > _LATE * seconds or is_early:
            left = max(self.config.checkpoint_steps, int((seconds - self.state["seconds"]) / pace))
            self.state["steps"] = min(step + left, MAX_STEPS if is_early else steps)

    def save(self, path: Path, recipe: dict[str, Any]) -> None:
        """Write a checkpoint in one step, so that an interruption leaves the one before."""
        temporary = path.with_name(path.name + ".part")
        weights = {"network": self.network.state_dict(), "average": self.average, "best": self.best}
        steppers = {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}
        try:
            torch.save({**weights, **steppers, "state": self.state, "recipe": recipe}, temporary)
            os.replace(temporary, path)
        except (OSError, RuntimeError) as error:  # torch's own for a full disk
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise JobError(
                f"The checkpoint {path} cannot be written: {error}. Is the disk full? The one before is as it was: "
                "make room, and the training goes on from there."
            ) from error

    def load(self, path: Path, recipe: dict[str, Any], device: torch.device | str) -> None:
        """Go on from a checkpoint; raise `JobError` when it belongs to another recipe."""
        try:
            saved = torch.load(path, map_location=device, weights_only=True)
        except Exception as error:  # of many kinds: cut files, other formats
            raise JobError(
                f"The checkpoint {path} cannot be read: it was damaged. Delete its folder to begin anew."
            ) from error
        if saved["recipe"] != recipe:
            raise JobError(
                f"The checkpoint {path} belongs to another recipe: {saved['recipe']}, not {recipe}. "
                "Go on with that one, or train in another folder."
            )
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved.get("scaler", {}))  # older checkpoints have none, and need none
        self.average, self.best = saved["average"], saved["best"]
        self.state.update(saved["state"])  # of older checkpoints it tells less


class _Steps(Dataset[Examples]):
    """The batches as a data set of torch's: an item is the batch of a step."""

    def __init__(self, draw_examples: Callable[[int], Examples]):
        self.draw_examples = draw_examples

    def __getitem__(self, step: int) -> Examples:
        return self.draw_examples(step)


def _draw_ahead(
    draw_examples: Callable[[int], Examples], steps: range, n_workers: int, n_uses: int, device: torch.device
) -> Iterator[Examples]:
    """Yield the batches of some steps in their order, on a device, drawn by other processes if there are to be any."""
    if not steps:
        return
    batches = range(steps.start // n_uses, (steps.stop - 1) // n_uses + 1)
    drawn: Iterable[Examples] = map(draw_examples, batches)
    if n_workers:
        ahead = 8  # batches differ in size, and a few at hand even that out
        how: dict[str, Any] = {"num_workers": n_workers, "prefetch_factor": ahead, "pin_memory": device.type == "cuda"}
        drawn = DataLoader(_Steps(draw_examples), batch_size=None, sampler=batches, **how)
    for batch, examples in zip(batches, drawn):
        examples = examples.to(device)
        for step in range(batch * n_uses, (batch + 1) * n_uses):
            if step in steps:
                yield examples.turned(_TURNS[step % n_uses])


def examples_nats(network: FaciesNetwork, examples: Examples, precision: str = "float32") -> Tensor:
    """Return the loss of each map of a batch, nats per unknown cell, shape (batch,)."""
    device_type = examples.class_index.device.type
    half = torch.float16 if precision == "float16" else torch.bfloat16
    with torch.autocast(device_type, dtype=half, enabled=precision != "float32"):
        logits = network(
            examples.class_index,
            examples.inside,
            examples.data,
            examples.n_facies,
            level=examples.level,
            features=examples.features,
            context=_context_of(network, examples),
            present=examples.present,
        )
    return nll_nats(logits, examples.truth, examples.unknown)


def _context_of(network: FaciesNetwork, examples: Examples) -> Tensor | None:
    """Return what the refiner reads once of each window, for each of its states."""
    if examples.coarser is None:
        return None
    n_states = len(examples.class_index) // len(examples.coarser)
    first = examples.data.batch % n_states == 0
    data = HardData(*(value[first] for value in examples.data))
    data = data._replace(batch=data.batch // n_states)
    asked = (examples.coarser, examples.inside[::n_states], data, examples.n_facies)
    return network.context(*asked, level=examples.level).repeat_interleave(n_states, dim=0)


def validation_nats(network: FaciesNetwork, batches: Iterable[Examples]) -> float:
    """Return the mean loss over batches, nats per unknown cell; maps without unknown cells do not count."""
    losses = []
    device = next(network.parameters()).device
    with torch.inference_mode():
        for examples in (batch.to(device) for batch in batches):
            losses.append(examples_nats(network, examples)[examples.unknown.any(dim=(1, 2))])
    return float(torch.cat(losses).mean())
