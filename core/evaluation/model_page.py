"""The page that the evaluation of a model leaves: the verdict and pictures first, then what it rests on."""

from __future__ import annotations

import math
from typing import Iterable, Sequence

import numpy as np

from ..contract.training_job import EvaluationJob
from ..contract.words import percent
from ..measures.fidelity import PATTERN_STEPS
from ..reports.report import Section, line_plot, maps_in_a_row, page, paragraph, reliability_plot, table
from .hidden_cells import SurveyedWindow
from .likeness import ModelEvaluation

_SHOWN = 4
_MOST_CONTACTS = 12
_HELD_OUT = "the part of the image that its training held out"
_PERHAPS_SEEN = "one corner of the image, which its training may have seen"
_ONE_FACIES = "No part of the image that a training holds out shows several facies: there is nothing to predict."
_CALIBRATED = (
    "Probabilities that are exactly right leave the diagonal, too, for all surveys lie in one block: where it is most, "
    "by 0.06 in a block of 62 cells a side, by 0.04 in one of 125 (median, of Gaussian fields)."
)
_AXES = ("along columns (north to south)", "along rows (west to east)")


def evaluation_page(job: EvaluationJob, found: ModelEvaluation, verdict: str, model_id: str) -> str:
    """
    Return an evaluation as one self-contained HTML document.

    Parameters
    ----------
    job : EvaluationJob
        What was asked.
    found : ModelEvaluation
        What came of it.
    verdict : str
        What it comes to, in plain words.
    model_id : str
        The model's name and fingerprint.
    """
    n_rows, n_cols = found.realizations.shape[1:]
    sections = [
        Section("What it draws", _pictures(job, found)),
        Section("How it compares with the image", _table(job, found)),
        Section("At two points: variograms and connectivity", _plots(job, found)),
        Section("With data", _with_data(job, found)),
        Section("What the words mean", "".join(map(paragraph, _words(found.reference.pattern_side)))),
        Section(
            "How it was tested",
            paragraph(
                f"Model {model_id}, {job.n_realizations} realizations of {n_rows} x {n_cols} cells without data, "
                f"quality {job.quality}, seed {job.seed}; as many crops of the image. With data: windows of "
                f"{_HELD_OUT if found.hidden is None or found.hidden.is_held_out else _PERHAPS_SEEN}, with data at "
                "random cells; predicted are other cells of them."
            ),
        ),
    ]
    return page(f"Does the model look like its image? {job.subject}".strip(), sections, lead=verdict)


def _words(side: int) -> Sequence[str]:
    """Return what the words of the page mean, patterns of so many cells a side among them."""
    return (
        (
            f"Pattern divergence: how far the frequencies of all patterns of {side} x {side} cells are from those of "
            "the image (Jensen-Shannon, bits): 0 when they are the same, 1 when they share none."
        ),
        (
            "Other crops, and halves of the image (crops of one against crops of the other), tell what chance makes of "
            "a number. The image is half as far from what it stands for as its halves are from one another, in "
            "patterns a quarter as far; that or the distance of other crops, if larger, is called chance above. What "
            "chance makes of shares, bodies and boundaries follows from how much maps of this size differ, and how "
            "many of them make the image."
        ),
        (
            "Between a map and a crop, and between two maps: the same for patterns of one map only, on average. "
            "Realizations that are much closer to one another than crops are have too little variety. Agreement: how "
            "much more often two maps have the same facies at the same place than their shares make it by chance "
            "(Cohen's kappa); 0 by chance, 1 where they are the same, above 0 where bodies come back at one place."
        ),
        (
            "Bodies: cells of one facies that are connected, by their corners too. Connected: how often two cells of a "
            "facies, so far apart, lie in one body; of all pairs: the mean difference over facies, axes and lags, each "
            "as heavy as it has pairs in the image."
        ),
        "Variogram: half the share of pairs of cells, so far apart, of which one is of the facies and one is not.",
        "Boundaries: the sides of cells where two facies meet, per cell; fewer where bodies are thick or smooth.",
        (
            "Log loss: minus the logarithm of the probability that the true facies was given, in nats; lower is better."
            " The interval of its ratio counts parts of the block of hidden cells, or surveys, if these tell less."
        ),
    )


def _pictures(job: EvaluationJob, found: ModelEvaluation) -> str:
    facies = job.facies
    legend = dict(zip(facies.names, facies.colors))
    return maps_in_a_row(
        found.realizations[:_SHOWN].astype(int), facies.colors, legend=legend, caption="Realizations"
    ) + maps_in_a_row(found.crops[:_SHOWN], facies.colors, legend=legend, caption="Crops of the image")


def _table(job: EvaluationJob, found: ModelEvaluation) -> str:
    other = found.among_crops
    compared = [found.fidelity, other, *filter(None, [found.among_halves])]

    def row(name: str, values: Iterable[float], *, is_fine: bool = False) -> list[object]:
        ours, *others = map(_fine, values) if is_fine else values
        return [name, ours, None, *others]

    rows: list[list[object]] = [
        *(
            row(f"Pattern divergence, cells {n} apart", [f.pattern_divergence[n] for f in compared], is_fine=True)
            for n in PATTERN_STEPS
        ),
        row("Divergence between a map and a crop", [f.between for f in compared], is_fine=True),
        row("Divergence between two maps", [f.within for f in compared], is_fine=True),
        row("Agreement of two maps beyond chance", [f.agreement for f in compared]),
        ["Boundaries between facies", *(_with_spread(s.boundary) for s in (found.measured, found.reference))],
        row("Variogram, largest difference", [f.variogram_difference for f in compared]),
        row("Connectivity, largest difference", [f.connectivity_difference for f in compared]),
        row("Connectivity, of all pairs", [f.connectivity_misfit for f in compared]),
    ]
    for k, name in enumerate(job.facies.names):
        shares = [s.proportions[:, k] for s in (found.measured, found.reference)]
        of_both = map(_with_spread, shares)
        rows.append([f"Share of {name}", *of_both, f"{shares[1].mean() + other.proportion_difference[k]:.3f}"])
        bodies = [float(s.n_bodies[:, k].mean()) for s in (found.measured, found.reference)]
        rows.append([f"Bodies of {name}", *bodies, float(other.bodies[k])])
        euler = [float(s.euler[:, k].mean()) for s in (found.measured, found.reference)]
        rows.append([f"Bodies less holes of {name}", *euler, None])
    names = ["", "realizations", "crops", "other crops", "halves of the image"]
    return table(names, [row + [None] * (len(names) - len(row)) for row in rows]) + _contacts(job, found)


def _contacts(job: EvaluationJob, found: ModelEvaluation) -> str:
    """Show between which facies boundaries lie, where there are several kinds; the most frequent ones."""
    either = np.maximum(found.contacts, found.image_contacts)
    pairs = np.argwhere(either > 0)
    if len(pairs) < 2:
        return ""
    names = job.facies.names
    frequent = sorted(pairs.tolist(), key=lambda pair: -either[tuple(pair)])[:_MOST_CONTACTS]
    rows: list[list[object]] = [
        [f"{names[k]} and {names[m]}", percent(found.contacts[k, m], 2), percent(found.image_contacts[k, m], 2)]
        for k, m in frequent
    ]
    return table(["share of the boundaries between", "realizations", "the image"], rows)


def _with_spread(values: np.ndarray) -> str:
    """Return the mean of some values, and how much they differ."""
    return f"{values.mean():.3f} ± {values.std():.3f}"


def _fine(value: float) -> str:
    """Return a number with as many decimals as divergences need."""
    return "–" if math.isnan(value) else f"{value:.5f}"


def _plots(job: EvaluationJob, found: ModelEvaluation) -> str:
    parts = []
    lags = found.measured.lags
    for k, name in enumerate(job.facies.names):
        for axis, along in enumerate(_AXES):
            for what, label in (("variogram", "variogram"), ("connectivity", "connected (share)")):
                series = {
                    "realizations": getattr(found.measured, what)[k, axis],
                    "crops": getattr(found.reference, what)[k, axis],
                }
                caption = f"{name}, {what} {along}"
                parts.append(
                    line_plot(lags, series, from_zero=True, x_label="cells apart", y_label=label, caption=caption)
                )
    return "".join(parts)


def _with_data(job: EvaluationJob, found: ModelEvaluation) -> str:
    hidden = found.hidden
    if hidden is None:
        return paragraph(_ONE_FACIES)
    rows: list[list[object]] = []
    for name, scores in hidden.scores.items():
        means = [float(np.mean([getattr(s, what) for s in scores])) for what in ("mean_loss", "brier", "accuracy")]
        rows.append([name, *means])
    isolated = paragraph(
        f"Of the data {percent(hidden.isolated, 1)} lie in realizations as single cells of their facies, none of the 8 "
        f"cells around agreeing with them; of the image's cells {percent(found.isolated_in_image, 1)}."
    )
    scored = table(["", "log loss (nats)", "Brier", "accuracy"], sorted(rows, key=lambda row: float(str(row[1]))))
    of_bins = hidden.reliability
    plot = reliability_plot(of_bins.predicted, of_bins.observed, of_bins.number)
    return _window(job, hidden.shown) + isolated + scored + plot + paragraph(_CALIBRATED)


def _window(job: EvaluationJob, shown: SurveyedWindow) -> str:
    """Show a window of the image, its data, large enough to be seen, and realizations given these."""
    maps = np.stack([shown.truth, _enlarged(shown.known), *shown.realizations.astype(int)])
    n_data = int((shown.known >= 0).sum())
    caption = f"A window of the image, {n_data} data of it (drawn larger than they are), realizations given these"
    return maps_in_a_row(maps, job.facies.colors, caption=caption)


def _enlarged(known: np.ndarray) -> np.ndarray:
    """Return data (n_rows, n_cols), -1 elsewhere, as squares of 3 x 3 cells."""
    around = np.lib.stride_tricks.sliding_window_view(np.pad(known, 1, constant_values=-1), (3, 3))
    return np.where(known >= 0, known, around.max(axis=(2, 3)))
