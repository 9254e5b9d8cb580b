"""
A graphics card beside the processor: the same answers, in half precision too, with little memory, and how fast.

    python -m benchmarks.graphics_card [--cpu-only]

How long realizations take by the size of the grid: `python -m benchmarks.time_by_grid --device cuda`.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from torch import Tensor

from oadg.core.machine.device import batch_size, fast_precision
from oadg.core.model.facies_model import FaciesModel
from oadg.core.model.precision import drawing_predictor
from oadg.core.model.prediction import Predictor
from oadg.core.sampling.probability import facies_probability_from_data
from oadg.core.sampling.realizations import simulate_freely
from oadg.core.sampling.sampler import sample
from oadg.core.sampling.start import Start
from oadg.core.sampling.visits import draw_stream
from oadg.core.training.random_fields import categorical_fields
from oadg.core.training.train_universal import SHIPPED

_SHAPE, _N_FACIES, _N_DATA, _N_REALIZATIONS = (120, 160), 5, 250, 16


def survey() -> tuple[Tensor, Tensor]:
    """Return a field of the prior, and what a survey at random places sees of it, -1 elsewhere."""
    generator = torch.Generator().manual_seed(1)
    field = categorical_fields(1, _N_FACIES, 256, 20.0, 100.0, generator)[0, : _SHAPE[0], : _SHAPE[1]]
    seen = torch.randperm(field.numel(), generator=generator)[:_N_DATA]
    known = torch.full_like(field, -1)
    known.view(-1)[seen] = field.reshape(-1)[seen]
    return field, known


def draw(model: FaciesModel, predictor: Predictor, known: Tensor) -> np.ndarray:
    """Draw realizations (n, n_rows, n_cols) given data, in batches of one size on all devices."""
    start, at_once = Start.of(model, known, _N_FACIES), batch_size(known.numel(), _N_FACIES)
    parts = []
    for first in range(0, _N_REALIZATIONS, at_once):
        streams = [draw_stream(0, first + i, start.shape, turns=model.turns) for i in range(at_once)]
        drawn = sample(predictor, start, streams, model.schedules["standard"])
        parts.append(drawn.cpu().numpy())
    return np.concatenate(parts)[:_N_REALIZATIONS]


def log_loss(maps: np.ndarray, field: Tensor, known: Tensor) -> float:
    """Return the log loss, nats, of the frequencies of facies in realizations where nothing was seen."""
    hidden = (known < 0).numpy()
    frequency = (maps == field.numpy()).mean(axis=0)[hidden]
    return float(-np.log(frequency.clip(0.01)).mean())


def compare(devices: list[str]) -> None:
    """Print how far devices and precisions differ from the processor in full precision."""
    field, known = survey()
    layer: dict[str, np.ndarray] = {}
    rows: list[tuple[str, np.ndarray, float]] = []
    for name in devices:
        device = torch.device(name)
        model = FaciesModel.load(SHIPPED, device)
        layer[name] = facies_probability_from_data(model, known.to(device), _N_FACIES)
        precisions = {torch.float32, fast_precision(device)} if name == devices[-1] else {torch.float32}
        for precision in sorted(precisions, key=str, reverse=True):
            predictor = model.network if precision == torch.float32 else drawing_predictor(model.network, device)
            if name != "cpu":
                draw(model, predictor, known.to(device))  # its first run plans the convolutions
            began = time.monotonic()
            maps = draw(model, predictor, known.to(device))
            rows.append((f"{name}, {str(precision)[6:]}", maps, time.monotonic() - began))
            seen = known >= 0
            assert (maps[:, seen.numpy()] == known[seen].numpy()).all(), "a datum is not honoured"
    for name in devices[1:]:
        print(f"probability layer, {name}: differs by at most {np.abs(layer[name] - layer['cpu']).max():.1e}\n")
    first = rows[0][1]
    print("| realizations | cells that differ | largest difference of a share | its error | log loss | s |")
    print("|---|---|---|---|---|---|")
    for name, maps, seconds in rows:
        shares = np.array([[(m == k).mean(axis=(1, 2)) for k in range(_N_FACIES)] for m in (maps, first)])
        difference = (shares[0] - shares[1]).mean(axis=1)
        worst = np.abs(difference).argmax()
        error = (shares[0] - shares[1])[worst].std() / _N_REALIZATIONS**0.5
        print(
            f"| {name} | {(maps != first).mean():.4f} | {difference[worst]:+.4f} | {error:.4f} | "
            f"{log_loss(maps, field, known):.4f} | {seconds:.2f} |"
        )


def starve() -> None:
    """Print what becomes of a realization of 2000 x 2000 cells when the card has ever less memory for it."""
    model = FaciesModel.load(SHIPPED.with_name("channels.safetensors"), "cuda")
    total = torch.cuda.get_device_properties(0).total_memory
    print("\n| memory, GiB | realization of 2000 x 2000 cells |\n|---|---|")
    whole = None
    for gib in (16.0, 3.0, 1.5, 0.2):
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(gib * 2**30 / total)
        try:
            drawn = simulate_freely(model, (2000, 2000), 1, quality="preview")[0]
            whole = drawn if whole is None else whole
            print(f"| {gib} | drawn; differs in {(drawn != whole).mean():.4f} of the cells |")
        except torch.cuda.OutOfMemoryError as error:
            print(f"| {gib} | {str(error).split('.')[0]} |")
    torch.cuda.set_per_process_memory_fraction(1.0)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu-only", action="store_true", help="compare the precisions of the processor")
    arguments = parser.parse_args()
    has_card = torch.cuda.is_available() and not arguments.cpu_only
    if has_card:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        print(torch.cuda.get_device_name(), "\n")
    compare(["cpu", "cuda"] if has_card else ["cpu"])
    if has_card:
        starve()


if __name__ == "__main__":
    main()
