"""Measure a universal model beside kriging on surveys that it never saw; `make evaluate-universal` runs this."""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

from benchmarks.jura import ROOT
from oadg.core.training.train_universal import SHIPPED

from .figures import Figures, figures_of
from .pages import evaluation_page, lead
from .tasks import PARTS, Context, Found, Task, perform_all

_MEMORY = ROOT / "build" / "yardsticks"
_SEED = 20_261_125
_NUMBERS = {"outside": 210, "inside": 105, "calibration": 100, "first_pass": 12, "cell_size": 16}
_QUICK = {"outside": 9, "inside": 4, "calibration": 6, "first_pass": 2, "cell_size": 2}


def main() -> None:
    """Evaluate, tell how far it is, and write the page and the figures; an interruption sums up what is there."""
    options = read_options()
    tasks, began = plan(options), time.monotonic()
    context = Context(options.seed, str(options.model), _MEMORY, options.map)
    for folder in (options.output, context.memory):
        folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[int, Found]] = defaultdict(dict)
    try:
        for done, (task, result) in enumerate(perform_all(context, tasks, options.processes), 1):
            found[task.part][task.number] = result
            minutes = (time.monotonic() - began) / 60
            print(f"{minutes:5.1f} min {done:4}/{len(tasks)} {task.part} {task.number}: {result.headline}", flush=True)
    except KeyboardInterrupt:
        print("Interrupted.")
    figures: Figures = {
        "model_id": context.model.model_id,
        "model_provenance": context.model.provenance,
        "seed": options.seed,
        "processes": options.processes,
        "minutes": (time.monotonic() - began) / 60,
        "n_tasks": len(tasks),
        "n_done": sum(map(len, found.values())),
        **figures_of({part: [of for _, of in sorted(results.items())] for part, results in found.items()}),
    }
    (options.output / "figures.json").write_text(json.dumps(figures, indent=1, allow_nan=False), encoding="utf-8")
    (options.output / "evaluation.html").write_text(evaluation_page(figures), encoding="utf-8")
    tell(figures, options.output)


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluate_universal", description=__doc__)
    parser.add_argument("--model", type=Path, default=SHIPPED, help="model file")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "evaluation", help="folder of page and figures")
    parser.add_argument("--map", type=Path, help="the map of the Jura: a table with the columns long, lat and rock")
    parser.add_argument("--seed", type=int, default=_SEED)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="few surveys, to see that all works; they prove nothing")
    for part, number in _NUMBERS.items():
        name = f"--{part.replace('_', '-')}"
        parser.add_argument(name, type=int, metavar="N", help=f"surveys of this part, {number} by default")
    return parser.parse_args()


def plan(options: argparse.Namespace) -> list[Task]:
    """Return the tasks that the command line asks for."""
    numbers = dict(_QUICK if options.quick else _NUMBERS)
    numbers.update({part: asked for part in numbers if (asked := getattr(options, part)) is not None})
    numbers.update(jura=2 if options.map else 1, jura_cell_size=1, jura_first_pass=1)
    tasks = [Task(part, number) for part in PARTS for number in range(numbers[part])]
    return sorted(tasks, key=lambda task: task.number / numbers[task.part])  # all parts advance together


def tell(figures: Figures, folder: Path) -> None:
    """Print the verdicts."""
    for target in figures["targets"]:
        print(f"{target['verdict']:<18} {target['measured']:7.3f} (at most {target['limit']:.3f})  {target['text']}")
        if target["detail"]:
            print(f"{'':<19}{target['detail']}")
    print(f"{lead(figures)} The page: {folder / 'evaluation.html'}")


if __name__ == "__main__":
    main()
