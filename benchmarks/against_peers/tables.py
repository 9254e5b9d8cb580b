"""The two tables, in Markdown, from the figures that the JSON file holds as well."""

from __future__ import annotations

import math
from typing import Any, Mapping, Sequence

from .measures import best_other

Figures = Mapping[str, Any]


def conditional_table(figures: Figures) -> str:
    """Return what methods are worth where they are shown hard data."""
    summary = figures["conditional"]
    rows = [
        (
            name,
            f"{of['n_realizations']}" if of["n_realizations"] else "one pass",
            f"{of['log_loss']:.3f}",
            f"{of['brier']:.3f}",
            f"{of['reliability_error']:.3f}",
            _interval(of["ours_to_it"]),
            _number(of["seconds"], ".2f"),
            _percent(of["isolated"]),
        )
        for name, of in summary.items()
    ]
    heads = (
        "method",
        "realizations counted",
        "log loss",
        "Brier",
        "reliability error",
        "our log loss / its (95 %)",
        "s per realization",
        "isolated data",
    )
    best = best_other(summary)
    note = (
        f"\n{figures['n_draws']} draws of {figures['side']} x {figures['side']} cells with {figures['n_data']} data; "
        f"isolated in the truth: {_percent(figures['isolated_in_truth'])}. Log loss in nats, floor "
        f"{figures['floor']:g}. Counting few realizations costs log loss by itself: compare equal numbers only. "
        f"Blocks overlap where the held-out part is small, so that intervals are rather too narrow. Times "
        f"are the shortest of draws; kriging's is that of its map, our map takes {figures['seconds_of_map']:.2f} s, "
        f"and our realizations are of quality {figures['conditional_quality']}.\n"
        f"The best of the others is {best}; our log loss is {_interval(summary[best]['ours_to_it'])} times its."
    )
    return f"{_table(heads, rows)}\n{note}"


def unconditional_table(figures: Figures) -> str:
    """Return whether realizations without data look like the image."""
    summary = figures["unconditional"]
    lag = next(iter(summary.values()))["connectivity_lag"]
    rows = [
        (
            name,
            str(of["n_maps"]),
            *(f"{value:.4f}" for value in of["pattern_divergence"].values()),
            f"{of['bodies']:.1f}",
            _number(of["connectivity"], ".3f"),
            f"{of['proportion']:.3f} ± {of['proportion_spread']:.3f}",
            _number(of["seconds"], ".2f"),
        )
        for name, of in summary.items()
    ]
    steps = next(iter(summary.values()))["pattern_divergence"]
    heads = (
        "maps",
        "number",
        *(f"pattern divergence, step {step}" for step in steps),
        "bodies",
        f"connected at {lag} along a row",
        "proportion",
        "s per realization",
    )
    note = (
        f"\n{figures['side']} x {figures['side']} cells; bodies, connectivity and proportion are of facies "
        f"{figures['facies']}. Divergences (bits) are from {figures['n_reference']} crops of the image."
    )
    return f"{_table(heads, rows)}\n{note}"


def reference_project_line(figures: Figures) -> str:
    """Return what a realization of the reference project's way takes, beside ours."""
    of = figures["reference_project"]
    return (
        f"A pass of the reference project's network at {of['side']} x {of['side']} took {of['seconds_per_pass']:.4f} s "
        f"(mean of {of['n_timed']}), so that its {of['n_passes']:,} passes, one for each cell, take "
        f"{of['seconds']:.0f} s per realization; ours (standard) takes {of['seconds_of_ours']:.3f} s there, "
        f"{of['seconds'] / of['seconds_of_ours']:,.0f} times less."
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns, but the first, are right-aligned."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: float | None, form: str) -> str:
    """Return a number, or a dash where there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:{form}}"


def _percent(share: float | None) -> str:
    """Return a share in percent, or a dash where there is none."""
    return "–" if share is None or math.isnan(share) else f"{share:.1%}"


def _interval(found: Mapping[str, float] | None) -> str:
    """Return an interval, or a dash where there is none."""
    return "–" if found is None else f"{found['mean']:.3f} ({found['low']:.3f} to {found['high']:.3f})"
