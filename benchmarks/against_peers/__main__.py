"""Compare a model of a training image with other programs and with kriging; `make bench-peers` runs this."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.jura import ROOT
from benchmarks.peers.contract import PeerResult
from oadg.core.evaluation.crops import draw_crops
from oadg.core.machine.device import prepare_process
from oadg.core.measures.fidelity import isolated_share, measure
from oadg.core.measures.scores import FLOOR
from oadg.core.model.facies_model import FaciesModel

from .draws import Draw, Setting, draw, read_image, setting_of
from .measures import Conditional, score_hidden, summarise_conditional, summarise_likeness
from .methods import (
    PEERS,
    REFERENCE_PROJECT,
    PeerError,
    call_model,
    call_peer,
    frequencies,
    kriging_probability,
    model_probability,
)
from .tables import conditional_table, reference_project_line, unconditional_table

CONDITIONAL_QUALITY = "standard"
OURS, COUNTED, KRIGING = "ours", "ours, realizations counted", "simple indicator kriging"
MOST_COUNTED = {"SIS (geone)": 40, "truncated Gaussian (gstlearn)": 100, "SNESIM (scikit-mps)": 40}
"""Realizations whose frequencies are a peer's probabilities, where the budget allows so many."""
_SIDE_OF_REFERENCE_PROJECT = 64


def main() -> None:
    """Compare, print the tables and write the figures."""
    options = read_options()
    torch.set_num_threads(options.threads)
    prepare_process()
    began, model, image = time.monotonic(), FaciesModel.load(options.model), read_image(options.image)
    setting = setting_of(image, split_of(options, model, image), seed=options.seed, threads=options.threads)
    check(options, model, setting)
    figures: dict[str, Any] = {
        "model_id": model.model_id,
        "model_provenance": model.provenance,
        "conditional_quality": CONDITIONAL_QUALITY,
        "seed": options.seed,
        "threads": options.threads,
        "side": options.side,
        "n_data": options.data,
        "n_draws": options.draws,
        "floor": FLOOR,
        "covariance": describe_fit(setting),
        "settings": {},
        "left_out": dict.fromkeys([*PEERS, "the reference project's way"], "not asked for") if options.alone else {},
    }
    if options.draws:
        conditional(options, model, setting, figures)
        print("\n" + conditional_table(figures))
    if options.maps:
        unconditional(options, model, setting, figures)
        print("\n" + unconditional_table(figures))
    if options.passes and not options.alone:
        reference_project(options, model, setting, figures)
    for name, reason in figures["left_out"].items():
        print(f"\nLeft out: {name}. {reason}")
    figures["minutes"] = (time.monotonic() - began) / 60
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(without_nan(figures), indent=1, allow_nan=False), encoding="utf-8")
    print(f"\nAll figures: {options.output}, after {figures['minutes']:.0f} minutes, {options.threads} threads each.")


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against_peers", description=__doc__)
    parser.add_argument("--image", type=Path, required=True, help="training image: a raster of facies, or .npy")
    parser.add_argument("--model", type=Path, required=True, help="model file, trained on the image's first part")
    parser.add_argument(
        "--split", type=int, nargs=2, metavar=("ROW", "COL"), help="where the held-out part begins (from the model)"
    )
    parser.add_argument("--peers-python", type=Path, default=ROOT / ".venv-peers" / "bin" / "python")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "against_peers.json")
    parser.add_argument("--quick", action="store_true", help="few draws, to see that all works; they prove nothing")
    parser.add_argument("--alone", action="store_true", help="without the peers: the model beside crops and kriging")
    parser.add_argument("--side", type=int, default=250, help="rows and columns of blocks and realizations")
    parser.add_argument("--data", type=int, default=50, help="hard data in a block")
    parser.add_argument("--draws", type=int, help="blocks with hard data, 20 by default")
    parser.add_argument("--maps", type=int, help="realizations without data of each method, 20 by default")
    parser.add_argument("--conditional-maps", type=int, help="our realizations of each draw, 20 by default")
    parser.add_argument("--budget", type=float, help="seconds that a peer may take for a draw, 180 by default")
    parser.add_argument("--passes", type=int, help="passes of the reference project's network timed, 64 by default")
    parser.add_argument("--threads", type=int, default=1, help="of each method")
    parser.add_argument("--seed", type=int, default=20_261_125)
    options = parser.parse_args()
    usual = {"draws": 20, "maps": 20, "conditional_maps": 20, "budget": 180.0, "passes": 64}
    quick = {"draws": 2, "maps": 2, "conditional_maps": 2, "budget": 8.0, "passes": 8}
    for name, value in (quick if options.quick else usual).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def split_of(options: argparse.Namespace, model: FaciesModel, image: np.ndarray) -> tuple[int, int]:
    """Return where the held-out part begins: as asked, or where the image that the model has learnt ends."""
    learnt = model.provenance.get("image", {})
    split = options.split or (learnt.get("n_rows", 0), learnt.get("n_cols", 0))
    if not all(0 < at <= n - options.side for at, n in zip(split, image.shape)):
        raise SystemExit(
            f"The held-out part would begin at row {split[0]} and column {split[1]} of an image of {image.shape[0]} x "
            f"{image.shape[1]} cells, which leaves no block of {options.side} x {options.side}. Give --split or --side."
        )
    return split[0], split[1]


def check(options: argparse.Namespace, model: FaciesModel, setting: Setting) -> None:
    """End when model and image do not fit each other."""
    if model.facies is None or len(model.facies) != setting.n_facies:
        n_facies = "any" if model.facies is None else len(model.facies)
        raise SystemExit(
            f"{options.model} takes {n_facies} facies and {options.image} shows {setting.n_facies}: give a model of "
            "this image."
        )


def conditional(options: argparse.Namespace, model: FaciesModel, setting: Setting, figures: dict[str, Any]) -> None:
    """Predict hidden cells by all methods, draw after draw."""
    draws = [draw(setting, number, options.side, options.data) for number in range(options.draws)]
    found: dict[str, list[Conditional]] = defaultdict(list)
    seconds_of_map, counted = [], affordable(options, setting, draws[0], figures)
    for number, data in enumerate(draws):
        probability, seconds = model_probability(model, data)
        seconds_of_map.append(seconds)
        n_ours, seed = options.conditional_maps, options.seed + number
        ours = call_model(model, data.truth.shape, n_ours, quality=CONDITIONAL_QUALITY, seed=seed, data=data)
        found[COUNTED].append(scored_realizations(ours, setting, data))
        found[OURS].append(replace(found[COUNTED][-1], scores=score_hidden(probability, data), n_realizations=0))
        probability, seconds = kriging_probability(setting, data)
        found[KRIGING].append(Conditional(score_hidden(probability, data), 0, seconds, math.nan))
        for name, n_realizations in list(counted.items()):
            job = setting.peer_job(data.truth.shape, n_realizations, number, data)
            try:
                answered = call_peer(options.peers_python, PEERS[name], job)
            except PeerError as error:
                figures["left_out"][name] = str(error)
                del counted[name]
                found.pop(name, None)
                continue
            found[name].append(scored_realizations(answered, setting, data))
        told = ", ".join(f"{name} {of[-1].scores.mean_loss:.3f}" for name, of in found.items())
        print(f"draw {number + 1} of {options.draws}: {told}", flush=True)
    in_order = {name: found[name] for name in (OURS, COUNTED, KRIGING, *counted)}
    figures["conditional"] = summarise_conditional(in_order, OURS)
    figures["isolated_in_truth"] = float(np.mean([isolated_share(d.truth[None], d.cells) for d in draws]))
    figures["seconds_of_map"] = min(seconds_of_map)


def scored_realizations(simulated: PeerResult, setting: Setting, data: Draw) -> Conditional:
    """Return what realizations are worth whose frequencies are taken for probabilities."""
    maps = simulated.realizations
    scores = score_hidden(frequencies(maps, setting.n_facies), data)
    return Conditional(scores, len(maps), simulated.seconds / len(maps), isolated_share(maps, data.cells))


def affordable(options: argparse.Namespace, setting: Setting, first: Draw, figures: dict[str, Any]) -> dict[str, int]:
    """Return how many realizations of each peer the budget allows for a draw; those that do not run are left out."""
    counted = {}
    for name, module in PEERS.items():
        if name in figures["left_out"]:
            continue
        try:
            tried = call_peer(options.peers_python, module, setting.peer_job(first.truth.shape, 2, 0, first))
        except PeerError as error:
            figures["left_out"][name] = str(error)
            continue
        figures["settings"][name] = tried.settings
        counted[name] = int(np.clip(options.budget * 2 / tried.seconds, 2, MOST_COUNTED[name]))
    return counted


def unconditional(options: argparse.Namespace, model: FaciesModel, setting: Setting, figures: dict[str, Any]) -> None:
    """Simulate without data by all methods, and compare with crops of the image."""
    shape, rng = (options.side, options.side), np.random.default_rng([options.seed, 3])
    figures["facies"] = facies = int(setting.proportions.argmin())
    figures["n_reference"] = 2 * options.maps
    reference = measure(draw_crops(setting.image, shape, figures["n_reference"], rng), setting.n_facies)
    others = draw_crops(setting.image, shape, options.maps, rng)
    summary = {"other crops of the image": {**summarise_likeness(others, reference, facies), "seconds": None}}
    results = {
        f"ours, {quality}": lambda quality=quality: call_model(
            model, shape, options.maps, quality=quality, seed=options.seed
        )
        for quality in model.schedules
    }
    for name, module in PEERS.items():
        if name not in figures["left_out"]:
            job = setting.peer_job(shape, options.maps, options.draws)
            results[name] = lambda module=module, job=job: call_peer(options.peers_python, module, job)
    for name, simulate in results.items():
        try:
            found = simulate()
        except PeerError as error:
            figures["left_out"][name] = str(error)
            continue
        figures["settings"][name] = found.settings
        summary[name] = summarise_likeness(found.realizations, reference, facies)
        summary[name]["seconds"] = found.seconds / options.maps
        print(f"without data: {name}, {summary[name]['seconds']:.2f} s per realization", flush=True)
    figures["unconditional"] = summary


def reference_project(
    options: argparse.Namespace, model: FaciesModel, setting: Setting, figures: dict[str, Any]
) -> None:
    """Time some passes of the reference project's network, and our realizations of the same size."""
    side = _SIDE_OF_REFERENCE_PROJECT
    try:
        timed = call_peer(options.peers_python, REFERENCE_PROJECT, setting.peer_job((side, side), options.passes, 0))
    except PeerError as error:
        figures["left_out"]["the reference project's way"] = str(error)
        return
    ours = call_model(model, (side, side), 16, quality=CONDITIONAL_QUALITY, seed=options.seed)
    figures["reference_project"] = {
        "settings": timed.settings,
        "side": side,
        "n_timed": options.passes,
        "n_passes": side**2,
        "seconds_per_pass": timed.seconds / options.passes,
        "seconds": side**2 * timed.seconds / options.passes,
        "seconds_of_ours": ours.seconds / 16,
    }
    print("\n" + reference_project_line(figures))


def describe_fit(setting: Setting) -> dict[str, Any]:
    """Return what was fitted to the learnt part."""
    fitted = {**setting.covariance._asdict(), "ranges": list(setting.covariance.ranges)}
    return {**fitted, "lags": setting.lags.tolist(), "variogram": setting.variogram.tolist()}


def without_nan(value: Any) -> Any:
    """Return figures with None for each NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {key: without_nan(of) for key, of in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(of) for of in value]
    return None if isinstance(value, float) and math.isnan(value) else value


if __name__ == "__main__":
    main()
