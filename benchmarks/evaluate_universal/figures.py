"""Every figure of an evaluation, as plain data that JSON takes, and the verdicts on the targets."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Callable, Iterable, Mapping, Sequence

import numpy as np

from oadg.core.measures.scores import Reliability, paired_interval, pooled_reliability, ratio_interval

from .calibration import uniformity
from .measures import BETTER_KRIGING, N_RANKED, OURS, Compared, Ensemble, Refined

LEAST_PAIRS = 200
"""Pairs of a facies and a cell that a reliability bin holds before it is judged."""
_N_BINS = 10
_N_BINS_OF_PART = 5

FIRST_PASS_PARTS = {
    "first_pass_small": "calibration surveys",
    "first_pass": "surveys of full size",
    "jura_first_pass": "Jura",
}
"""Parts of the figures that hold realizations against the first pass, with their names."""

Figures = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """
    What was wanted and what was measured: met when the measured value is not above the limit.

    Parameters
    ----------
    text : str
        The target in words.
    limit, measured : float
        In units of the text.
    detail : str
        What else is to be known, such as the interval.
    """

    text: str
    limit: float
    measured: float
    detail: str = ""

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return self.measured <= self.limit

    @property
    def verdict(self) -> str:
        """'met', or by how much it is missed."""
        return "met" if self.met else f"missed by {self.measured - self.limit:.3g}"

    def to_dict(self) -> Figures:
        """Return a JSON-ready description."""
        return {**asdict(self), "met": bool(self.met), "verdict": self.verdict}


def class_of(value: float, edges: Sequence[float], names: Sequence[str]) -> str:
    """Return the name of the class of a value; each edge is the lowest value of the next class."""
    return names[int(np.searchsorted(edges, value, side="right"))]


def facies_class(found: Compared | Ensemble) -> str:
    """Return the class of a survey's number of facies."""
    return class_of(found.n_facies, (3, 6), ("2 facies", "3 to 5 facies", "6 facies and more"))


def data_class(found: Compared) -> str:
    """Return the class of a survey's number of data."""
    return class_of(found.n_data, (150, 400), ("50 to 149 data", "150 to 399 data", "400 data and more"))


_STRATA: dict[str, Callable[[Ensemble], str]] = {
    "number of facies": facies_class,
    "number of data": lambda e: class_of(e.n_data, (40, 120), ("12 to 39 data", "40 to 119 data", "120 data and more")),
    "range": lambda e: class_of(
        e.range_share, (0.25, 1), ("range to a quarter of the grid", "range to its side", "range beyond its side")
    ),
}
"""Strata of the calibration: of what the data tell, since ranks are uniform given the data, not given the truth."""


def figures_of(found: Mapping[str, Sequence[Any]]) -> Figures:
    """Return the figures of what was found, by part, and the verdicts on the targets."""
    figures: Figures = {}
    for part, of in (("outside", of_compared), ("inside", of_compared), ("calibration", of_calibrated)):
        if part in found:
            figures[part] = of(found[part])
    for part, source in (("first_pass_small", "calibration"), ("first_pass", "first_pass"), ("jura_first_pass",) * 2):
        if source in found:
            figures[part] = of_ensembles(found[source])
    for part in ("cell_size", "jura_cell_size"):
        if part in found:
            figures[part] = of_refined(found[part])
    if "jura" in found:
        figures["jura"] = {compared.design: of_compared([compared]) for compared in found["jura"]}
    return {**figures, "targets": [target.to_dict() for target in targets(figures)]}


def of_compared(found: Sequence[Compared]) -> Figures:
    """Return the figures of a group of surveys on which methods were compared."""
    by = {"kind": lambda c: c.kind, "design": lambda c: c.design, "facies": facies_class, "data": data_class}
    return {
        **_compared_part(found),
        "methods": {
            name: {score: float(np.mean([c.scores[name][score] for c in found])) for score in found[0].scores[name]}
            for name in found[0].scores
        },
        "gain_on_methods": {name: _ratio(found, name) for name in found[0].scores if name != OURS},
        "reliability": {
            name: _reliability(pooled_reliability([c.reliability[name] for c in found]))
            for name in found[0].reliability
        },
        "by": {key: {value: _compared_part(part) for value, part in _groups(found, of)} for key, of in by.items()},
        "surveys": [{k: v for k, v in asdict(c).items() if k != "reliability"} for c in found],
    }


def of_calibrated(found: Sequence[Ensemble]) -> Figures:
    """Return how uniform the ranks of the truth are: of each statistic, over all surveys and in each stratum."""

    def tested(part: Sequence[Ensemble], name: str, n_bins: int) -> Figures:
        ranks = uniformity(np.array([e.ranks[name] for e in part]), N_RANKED + 1, n_bins)
        return {**asdict(ranks), "counts": ranks.counts.tolist(), "extreme": ranks.extreme, "n_surveys": len(part)}

    names = list(found[0].ranks)
    return {
        "n_surveys": len(found),
        "all": {name: tested(found, name, _N_BINS) for name in names},
        "strata": {
            key: {
                value: {name: tested(part, name, _N_BINS_OF_PART) for name in names}
                for value, part in _groups(found, of)
            }
            for key, of in _STRATA.items()
        },
        "surveys": [asdict(e) for e in found],
    }


def of_ensembles(found: Sequence[Ensemble]) -> Figures:
    """Return how far the mean of realizations lies from the first pass."""
    hold = np.array([b.verdict == 0 for e in found for b in e.bias], dtype=float)
    survey = np.repeat(np.arange(len(found)), [len(e.bias) for e in found])
    squared = np.array([e.squared_bias for e in found])
    several = len(found) > 1
    return {
        "n_surveys": len(found),
        "n_intervals": len(hold),
        "intervals_that_hold": asdict(paired_interval(hold, groups=survey)) if several else {"mean": hold.mean()},
        "mean_absolute_bias": float(np.mean([abs(b.mean) for e in found for b in e.bias])),
        "squared_bias": asdict(paired_interval(squared)) if several else {"mean": float(squared[0])},
        "rms_bias_at_a_cell": float(np.sqrt(max(0.0, squared.mean()))),
        "surveys": [asdict(e) for e in found],
    }


def of_refined(found: Sequence[Refined]) -> Figures:
    """Return how cells of half the size change the mean entropy."""
    change = np.array([r.change for r in found])
    return {
        "n_surveys": len(found),
        "change": asdict(paired_interval(change)) if len(found) > 1 else {"mean": float(change[0])},
        "change_elsewhere": float(np.mean([r.change_elsewhere for r in found])),
        "largest_change": float(np.abs(change).max()),
        "within_5_percent": int((np.abs(change) < 0.05).sum()),
        "surveys": [asdict(r) for r in found],
    }


def targets(figures: Figures) -> list[Target]:
    """Return the targets of the universal model with what was measured, of all parts that were evaluated."""
    found: list[Target] = []
    for group, limit in (("outside", 0.95), ("inside", 0.90)):
        if group in figures:
            found += _compared_targets(figures[group], group, limit)
    for name, limit in (("validation points", 0.80), ("map", 0.90)):
        if name in figures.get("jura", {}):
            methods = figures["jura"][name]["methods"]
            found.append(
                Target(
                    f"Jura, {name} (reported only): log loss, nats",
                    limit,
                    methods[OURS]["log_loss"],
                    f"better kriging {methods[BETTER_KRIGING]['log_loss']:.3f}",
                )
            )
    for part, text in FIRST_PASS_PARTS.items():
        if part in figures:
            found.append(_first_pass_target(figures[part], text))
    if "jura_cell_size" in figures:
        of_jura = figures["jura_cell_size"]["largest_change"]
        found.append(Target("Jura, 25 m cells instead of 50 m: change of the mean entropy", 0.05, of_jura))
    if "cell_size" in figures:
        of = figures["cell_size"]
        detail = f"{of['within_5_percent']} of {of['n_surveys']} surveys within 5 %, largest {of['largest_change']:.3f}"
        text = "cells of half the size: mean change of the mean entropy over surveys"
        found.append(Target(text, 0.05, abs(of["change"]["mean"]), detail))
    if "calibration" in figures:
        found.append(_calibration_target(figures["calibration"]))
    return found


def _compared_targets(of: Figures, group: str, limit: float) -> list[Target]:
    """Return the targets on log loss, significantly worse surveys and reliability of a group."""
    ratio, n_surveys = of["ratio"], of["n_surveys"]
    judged = [b for b in of["reliability"][OURS] if b["number"] >= LEAST_PAIRS]
    beside = f"{0.025 * n_surveys:.0f} would be by chance if the methods were equal and parts of a map independent; "
    beside += f"{of['n_surely_worse']} are worse by more than twice the reach of the interval; {of['n_better']} are "
    beside += "significantly better"
    return [
        Target(
            f"{n_surveys} surveys {group} the prior: log loss over that of the better kriging",
            limit,
            ratio["mean"],
            between(ratio),
        ),
        Target(f"{group} the prior: surveys significantly worse than the better kriging", 0, of["n_worse"], beside),
        Target(
            f"{group} the prior: largest distance from the diagonal of a reliability bin",
            0.05,
            max((abs(b["predicted"] - b["observed"]) for b in judged), default=0.0),
            f"{len(judged)} bins hold {LEAST_PAIRS} pairs or more",
        ),
    ]


def _first_pass_target(of: Figures, text: str) -> Target:
    """Return the target that the first pass lies within the interval of the ensemble's mean, as often as it should."""
    hold = of["intervals_that_hold"]
    by_chance = hold.get("high", 1.0) - hold["mean"]
    return Target(
        f"first pass beyond the 95 % interval of the ensemble's mean, {text}: share of the facies' shares",
        0.05 + by_chance,
        1 - hold["mean"],
        f"{of['n_intervals']} intervals, of which .05 and {by_chance:.3f} by chance may miss it; bias at a cell "
        f"{of['rms_bias_at_a_cell']:.3f} (rms, counting noise taken off)",
    )


def _calibration_target(of: Figures) -> Target:
    """Return the target that the ranks of the truth are uniform, allowing for the number of statistics."""
    p_values = {name: tested["p_value"] for name, tested in of["all"].items()}
    least = min(p_values, key=lambda name: p_values[name])
    n_statistics = len(p_values)
    outer = f"{of['all'][least]['extreme']:.2f} of its ranks in the outer bins, {2 / _N_BINS:.2f} wanted"
    return Target(
        f"ranks of the truth among realizations: statistics that are not uniform (p below .05 / {n_statistics})",
        0,
        sum(p < 0.05 / n_statistics for p in p_values.values()),
        f"least p {p_values[least]:.3f}, {least}: {outer}",
    )


def _compared_part(found: Sequence[Compared]) -> Figures:
    """Return the comparison with the better kriging on some surveys."""
    verdicts = Counter(c.difference.verdict for c in found)
    return {
        "n_surveys": len(found),
        "ours": float(_losses(found, OURS).mean()),
        "better_kriging": float(_losses(found, BETTER_KRIGING).mean()),
        "ratio": _ratio(found, BETTER_KRIGING),
        "n_better": verdicts[-1],
        "n_worse": verdicts[1],
        # Some four standard errors: what chance does not do on one of two hundred surveys.
        "n_surely_worse": sum(c.difference.mean > 2 * (c.difference.high - c.difference.mean) for c in found),
    }


def _losses(found: Sequence[Compared], name: str) -> np.ndarray:
    """Return a method's log loss on each survey."""
    return np.array([c.scores[name]["log_loss"] for c in found])


def _ratio(found: Sequence[Compared], name: str) -> Figures:
    """Return the model's mean log loss over another method's, with the interval where there are several surveys."""
    ours, other = _losses(found, OURS), _losses(found, name)
    return asdict(ratio_interval(ours, other)) if len(found) > 1 else {"mean": float(ours[0] / other[0])}


def _reliability(found: Reliability) -> list[Figures]:
    """Return the bins that hold something."""
    return [
        {"predicted": float(p), "observed": float(o), "number": int(n)}
        for p, o, n in zip(found.predicted, found.observed, found.number)
        if n
    ]


def _groups(found: Sequence[Any], of: Callable[[Any], str]) -> Iterable[tuple[str, list[Any]]]:
    """Yield values in order, numbers by size, with what has them."""
    for value in sorted({of(f) for f in found}, key=lambda v: (int(v.split()[0]) if v[0].isdigit() else 0, v)):
        yield value, [f for f in found if of(f) == value]


def between(interval: Figures) -> str:
    """Return the bounds of an interval in words; nothing where there is none."""
    return f"95 % interval {interval['low']:.3f} to {interval['high']:.3f}" if "low" in interval else ""
