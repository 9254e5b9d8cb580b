"""The figures of an evaluation as one page of tables and plots."""

from __future__ import annotations

from typing import Any, Mapping

import numpy as np

from oadg.core.reports.report import Section, bar_chart, histogram, page, paragraph, reliability_plot, table

from .figures import FIRST_PASS_PARTS, LEAST_PAIRS, Figures
from .measures import BETTER_KRIGING, N_RANKED, OURS

_N_WORST = 12
_HEADINGS = {
    "outside": "Surveys of kinds outside the prior",
    "inside": "Surveys of the prior",
}
_NO_MAP = "The map of the Jura was not given (--map FILE), so only the validation points were asked."
_HOW = """
All methods see the same data, are asked at the same points, up to 400 a survey, and are scored alike; no probability
of a facies counts as less than .01. Log loss is in nats: minus the logarithm of the probability that the facies found
was given. The better kriging is, on each survey, the one of the two with the lower log loss: chosen with hindsight, so
the harder one to beat.

A ratio is the mean log loss of the model over that of another method: below 1 the model is ahead. Its interval counts
surveys. A survey is significantly better or worse when the 95 % interval of the paired difference, which counts 25
blocks of the grid and not points, does not hold 0.

Maps outside the prior come from objects, channels, Markov random fields, drainage, folds and faults, zonation,
polynomials, ridges and parcels; the model learnt from Gaussian fields and mosaics, and was tuned neither to these
surveys nor to the Jura.

Calibration: when truth and realizations are alike given the data, the rank of any statistic of the truth among those
of 19 realizations is uniform. Strata are of what the data tell; the range is the one that leave-one-out reads from
them. Surveys that left a facies of their map unobserved take no part.
"""


def evaluation_page(figures: Figures) -> str:
    """Return the figures as a self-contained HTML document."""
    sections = [Section("Targets", _targets(figures))]
    sections += [Section(text, _compared(figures[group])) for group, text in _HEADINGS.items() if group in figures]
    if "jura" in figures:
        sections.append(Section("The Swiss Jura, reported only", _jura(figures)))
    if "calibration" in figures:
        sections.append(Section("Are realizations right about what they were not shown?", _calibration(figures)))
    if any(part in figures for part in FIRST_PASS_PARTS):
        sections.append(Section("The first pass and the ensemble", _first_pass(figures)))
    if "cell_size" in figures:
        sections.append(Section("Cells of half the size", _cell_size(figures)))
    sections.append(Section("How it was measured", "".join(map(paragraph, _HOW.split("\n\n")))))
    return page(f"How good is the model {figures['model_id']}?", sections, lead=lead(figures))


def lead(figures: Figures) -> str:
    """Return the evaluation in a sentence."""
    n_met, left = sum(target["met"] for target in figures["targets"]), figures["n_tasks"] - figures["n_done"]
    interrupted = f" It was interrupted: {left} of {figures['n_tasks']} tasks were left." if left else ""
    return (
        f"{n_met} of {len(figures['targets'])} targets are met. Seed {figures['seed']}, "
        f"{figures['minutes']:.0f} minutes on {figures['processes']} processes.{interrupted}"
    )


def _targets(figures: Figures) -> str:
    rows = [[t["text"], t["limit"], t["measured"], t["verdict"], t["detail"]] for t in figures["targets"]]
    return table(["target", "at most", "measured", "verdict", "beside it"], rows)


def _compared(of: Figures) -> str:
    """Return a group of surveys: methods, reliability, and the comparison with the better kriging by its parts."""
    pieces = [_methods(of)]
    for name in (OURS, BETTER_KRIGING):
        bins = of["reliability"][name]
        columns = (np.array([b[key] for b in bins]) for key in ("predicted", "observed", "number"))
        caption = f"Reliability, {name}: all pairs of a facies and a point, of all surveys"
        pieces.append(reliability_plot(*columns, caption=caption))
    pieces.append(
        table(
            ["predicted", "observed", "distance", "pairs", "judged"],
            [
                [b["predicted"], b["observed"], b["observed"] - b["predicted"], b["number"], _yes(b["number"])]
                for b in of["reliability"][OURS]
            ],
            caption=f"Reliability of the model; a bin is judged where it holds {LEAST_PAIRS} pairs or more",
        )
    )
    for key, parts in of["by"].items():
        if len(parts) > 1:
            pieces.append(_by_part(key, parts))
    pieces.append(_worst(of))
    return "\n".join(pieces)


def _yes(number: int) -> str:
    return "yes" if number >= LEAST_PAIRS else "no"


def _methods(of: Figures) -> str:
    rows = []
    for name, scores in sorted(of["methods"].items(), key=lambda item: item[1]["log_loss"]):
        ratio = of["gain_on_methods"].get(name)
        columns = [scores[key] for key in ("log_loss", "brier", "accuracy", "sharpness_bits")]
        rows.append([name, *columns, _interval(ratio) if ratio else ""])
    strong = [number for number, row in enumerate(rows) if row[0] in (OURS, BETTER_KRIGING)]
    header = ["method", "log loss, nats", "Brier score", "accuracy", "entropy, bits", "ratio, ours to it"]
    caption = f"Means over {of['n_surveys']} surveys. Ours is significantly better than the better kriging on "
    caption += f"{of['n_better']}, significantly worse on {of['n_worse']}."
    return table(header, rows, caption=caption, strong=strong)


def _by_part(key: str, parts: Mapping[str, Any]) -> str:
    header = [key, "surveys", "ours", "better kriging", "ratio", "better", "worse"]
    rows = [
        [name, p["n_surveys"], p["ours"], p["better_kriging"], _interval(p["ratio"]), p["n_better"], p["n_worse"]]
        for name, p in parts.items()
    ]
    shown = table(header, rows, caption=f"By {key}: mean log loss, and surveys significantly better and worse")
    drawn = {name: p["ratio"] for name, p in parts.items() if "low" in p["ratio"]}
    if not drawn:
        return shown
    means, low, high = ([ratio[bound] for ratio in drawn.values()] for bound in ("mean", "low", "high"))
    caption = f"Ratio of mean log losses, ours to the better kriging, by {key}"
    return shown + bar_chart(list(drawn), means, low=low, high=high, reference=1.0, caption=caption)


def _worst(of: Figures) -> str:
    worst = sorted(of["surveys"], key=lambda s: -s["difference"]["low"])[:_N_WORST]
    rows = [
        [
            s["kind"],
            s["design"],
            s["n_facies"],
            s["n_data"],
            s["scores"][OURS]["log_loss"],
            s["scores"][BETTER_KRIGING]["log_loss"],
            _interval(s["difference"]),
        ]
        for s in worst
    ]
    header = ["kind", "design", "facies", "data", "ours", "better kriging", "difference, nats"]
    return table(header, rows, caption=f"The {len(rows)} surveys on which the model is behind most surely")


def _jura(figures: Figures) -> str:
    pieces = [
        paragraph(f"At the {name}: {of['surveys'][0]['n_targets']:,} points.") + _methods(of)
        for name, of in figures["jura"].items()
    ]
    return "\n".join(pieces if "map" in figures["jura"] else [*pieces, paragraph(_NO_MAP)])


def _calibration(figures: Figures) -> str:
    of = figures["calibration"]
    pieces = []
    for name, tested in of["all"].items():
        n_bins = len(tested["counts"])
        labels = [str(k * (N_RANKED + 1) // n_bins) for k in range(n_bins)]
        caption = f"{name[0].upper()}{name[1:]}: ranks of {tested['n_surveys']} truths, p = {tested['p_value']:.3f}"
        expected = tested["n_surveys"] / n_bins
        pieces.append(histogram(np.array(tested["counts"]), labels, expected=expected, caption=caption))
    rows = [
        [stratum, tested["n_surveys"], name, tested["p_value"], tested["extreme"]]
        for strata in of["strata"].values()
        for stratum, statistics in strata.items()
        for name, tested in statistics.items()
    ]
    header = ["stratum", "surveys", "statistic", "p", "in the outer of five bins"]
    caption = (
        "Ranks in strata; .40 of them should lie in the two outer bins. Of so many tests some p are small by chance."
    )
    return "\n".join(pieces) + table(header, rows, caption=caption)


def _first_pass(figures: Figures) -> str:
    rows = []
    for part, text in FIRST_PASS_PARTS.items():
        if part in figures:
            of = figures[part]
            hold = of["intervals_that_hold"]
            rows.append([text, of["n_surveys"], _interval(hold), of["mean_absolute_bias"], of["rms_bias_at_a_cell"]])
    header = ["surveys", "number", "intervals that hold the first pass", "mean bias of a share", "bias at a cell, rms"]
    return table(
        header,
        rows,
        caption="The mean of realizations against the probabilities of the first pass: 95 % intervals of each facies' "
        "share of the unknown cells, of which .95 should hold it, and what is left of the difference at a cell without "
        "counting noise.",
    )


def _cell_size(figures: Figures) -> str:
    parts = [part for part in ("jura_cell_size", "cell_size") if part in figures]
    rows = [
        [r["kind"], r["n_data"], r["coarse_bits"], r["fine_bits"], r["change"], r["change_elsewhere"]]
        for part in parts
        for r in figures[part]["surveys"]
    ]
    header = ["survey", "data", "mean entropy, bits", "at half the size", "change", "without cells of data"]
    return table(header, rows, caption="Change as a share; a datum makes its cell certain, however large the cell is")


def _interval(values: Figures) -> str:
    """Return an estimate with its interval, where there is one."""
    bounds = f" ({values['low']:.3f} to {values['high']:.3f})" if "low" in values else ""
    return f"{values['mean']:.3f}{bounds}"
