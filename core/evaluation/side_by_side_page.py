"""The page of the model beside SIS: which is better and how sure that is, then maps, plots and numbers."""

from __future__ import annotations

from typing import Iterator

import numpy as np

from ..contract.cautions import cautions
from ..contract.conditioning import place_on_grid
from ..contract.folds import fold_cautions
from ..contract.job import MODEL
from ..contract.side_by_side_job import (
    COUNTED_MODEL,
    COUNTED_SIS,
    KRIGING_OF_SIS,
    PROPORTIONS,
    REFERENCE,
    SIS,
    SimulationComparisonJob,
)
from ..measures.reproduction import DIRECTIONS, mean_of_known
from ..measures.scores import reliability
from ..reports.report import Section, bar_chart, folded, line_plot, page, paragraph, reliability_plot, table
from ..reports.report_maps import observed_maps
from .side_by_side import SideBySide
from .validation_page import hidden_distance, map_distance

_SHOWN = 3
_PLOT = (440, 270)
_AXES = ("north to south", "west to east")
_NAMES = {MODEL: "model", SIS: "SIS", REFERENCE: "reference"}


def side_by_side_page(job: SimulationComparisonJob, found: SideBySide) -> str:
    """
    Return a comparison as one self-contained HTML document.

    Parameters
    ----------
    job : SimulationComparisonJob
        What was asked.
    found : SideBySide
        What came of it.
    """
    sections = [
        Section("Hidden observations: whose probabilities are better", _hidden(job, found)),
        Section("Can the probabilities be believed?", _reliability(job, found)),
        Section("Realizations with all observations", _maps(job, found)),
        Section("Variograms and connectivity", _plots(job, found)),
        Section("All numbers", _numbers(job, found)),
        Section("What the words mean", "".join(map(paragraph, _words(job, found)))),
        Section("How it was compared", _method(job, found)),
    ]
    told = _cautions(job, found)
    if told:
        sections.insert(1, Section("What to be careful about", told))
    title = f"Model or SIS: which is better on these data, and how sure is that? {job.subject}".strip()
    return page(title, sections, lead="\n".join(found.findings))


def _labels(job: SimulationComparisonJob) -> dict[str, str]:
    """Return what each of `METHODS` is called in tables."""
    n = job.n_realizations
    return {
        MODEL: "model: its probabilities",
        KRIGING_OF_SIS: "SIS: its kriging",
        COUNTED_MODEL: f"model: {n} maps counted",
        COUNTED_SIS: f"SIS: {n} maps counted",
    }


def _hidden(job: SimulationComparisonJob, found: SideBySide) -> str:
    """Return the scores in two pairs, and the gain of the model in each."""
    labels, rows = {**_labels(job), PROPORTIONS: "the observations' shares"}, []
    for name, label in labels.items():
        scores, gain = found.hidden.scores[name], found.gains.get(name)
        interval = f"{gain.mean:+.1f} ({gain.low:+.1f} to {gain.high:+.1f})" if gain else ""
        rows.append([label, scores["log_loss"], scores["brier"], f"{100 * scores['accuracy']:.0f} %", interval])
    gains = list(found.gains.values())
    return (
        paragraph(
            f"The observations of one region after another were hidden ({job.n_folds} regions), and predicted from all "
            "others. Compare within a pair of rows only: to count "
            f"{job.n_realizations} maps is a coarser answer than a probability, which costs either method log loss, "
            "for a facies that none of them shows may be there all the same. Kriging's probabilities are what SIS "
            "draws from, and what the counts of very many of its maps come near to: they are the fair counterpart of "
            "the model's. The last row knows nothing of places, and says everywhere what the observations have of each "
            "facies: what is no better has not learnt where."
        )
        + table(
            ["", "log loss", "Brier score", "accuracy", "gain of the model, %"],
            rows,
            caption="At hidden observations. Log loss and Brier score: lower is better; accuracy: higher is better.",
            strong=[0, 2],
        )
        + bar_chart(
            ["probabilities", "maps counted"],
            [gain.mean for gain in gains],
            low=[gain.low for gain in gains],
            high=[gain.high for gain in gains],
            x_label="gain of the model over SIS, %",
            caption="By how many percent the model's log loss is lower than SIS's. An interval that holds 0 shows no "
            "difference.",
        )
    )


def _cautions(job: SimulationComparisonJob, found: SideBySide) -> str:
    """Say what these observations, and these folds, cannot tell."""
    (easting, northing), class_index = job.places.T, np.array(job.class_index)
    data = place_on_grid(easting, northing, class_index, job.grid, job.facies)
    told = fold_cautions(np.array(job.fold), class_index, job.facies)
    told += cautions(data, job.grid, inside=found.inside, unit=job.unit)
    return "".join(map(paragraph, told))


def _reliability(job: SimulationComparisonJob, found: SideBySide) -> str:
    """Return the four reliability diagrams."""
    plots = []
    for name, label in _labels(job).items():
        of_method = reliability(found.hidden.probabilities[name], found.hidden.class_index)
        caption = f"{label[0].upper()}{label[1:]} ({of_method.error:.3f} off the diagonal)."
        plots.append(reliability_plot(of_method.predicted, of_method.observed, of_method.number, caption=caption))
    return paragraph(
        "Of all facies that were given a probability of 70 %, about 70 % should have been found: points on the dashed "
        "line. A flatter curve tells that a method is too sure, a steeper one that it is too timid. Bars tell how "
        "often a probability was given; points over short bars rest on few cases."
    ) + "\n".join(plots)


def _maps(job: SimulationComparisonJob, found: SideBySide) -> str:
    """Show some realizations of either method, and the reference."""
    row, col = np.nonzero(found.known >= 0)
    nowhere = np.empty(0, dtype=int)
    legend = dict(zip(job.facies.names, job.facies.colors))
    n_shown = min(_SHOWN, job.n_realizations)
    drawn = [
        observed_maps(
            found.maps[name].realizations[:n_shown],
            job.facies.colors,
            row,
            col,
            found.known[row, col],
            legend=legend if name == MODEL else None,
            caption=f"{words}, realizations 1 to {n_shown} of {job.n_realizations}, with the observations.",
        )
        for name, words in ((MODEL, "Model"), (SIS, "SIS"))
    ]
    if found.crops is not None:
        caption = "Reference" if len(found.crops) == 1 else "Reference, pieces of the grid's size."
        crops = found.crops[:_SHOWN]
        drawn.append(observed_maps(crops, job.facies.colors, nowhere, nowhere, nowhere, caption=caption))
    n_points, n_data = len(job.class_index), len(row)
    return paragraph(
        f"{n_points:,} observations lie in {n_data:,} cells, each of which holds the most frequent facies of its "
        f"own. Each realization of the model honours {found.n_honoured(MODEL):,} of {n_data:,} observed cells, each "
        f"of SIS {found.n_honoured(SIS):,}."
    ) + "\n".join(drawn)


def _plots(job: SimulationComparisonJob, found: SideBySide) -> str:
    """Draw variograms and connectivity of each facies, all directions first and either axis behind a click."""
    parts = [
        paragraph(
            "Lines are means over realizations, shades their standard deviation. Dots are the experimental variogram "
            "of the observations, which realizations should follow; all are taken at the distances and directions "
            "between observations, and dots of few pairs scatter. Connectivity tells how often two cells of a facies "
            "so far apart lie in one body; observations cannot tell it, a reference can."
        )
    ]
    for k, name in enumerate(job.facies.names):
        parts.append(_variogram_plot(job, found, k, 0, f"{name}, variogram {DIRECTIONS[0]}."))
        parts.append(_connectivity_plot(job, found, k, (0, 1), f"{name}, connectivity along both axes."))
        axes = [
            draw
            for axis, along in enumerate(_AXES)
            for draw in (
                _variogram_plot(job, found, k, axis + 1, f"{name}, variogram {along}."),
                _connectivity_plot(job, found, k, (axis,), f"{name}, connectivity {along}."),
            )
        ]
        parts.append(folded(f"{name}, by direction", "".join(axes)))
    return "".join(parts)


def _variogram_plot(job: SimulationComparisonJob, found: SideBySide, facies: int, direction: int, caption: str) -> str:
    curves = {_NAMES[name]: of_maps.variogram[:, facies, direction] for name, of_maps in found.beside.items()}
    series = {name: curve.mean(axis=0) for name, curve in curves.items()}
    series["observations"] = found.observed_variogram[facies, direction]
    distance = found.pairs.distance[direction] * job.grid.cell_size
    spread = {name: _around(series[name], curve.std(axis=0), 0.5) for name, curve in curves.items()}
    return line_plot(
        distance,
        series,
        spread=spread,
        dots_only=["observations"],
        x_label=f"distance, {job.unit}",
        y_label="indicator variogram",
        caption=caption,
        size=_PLOT,
        from_zero=True,
    )


def _connectivity_plot(
    job: SimulationComparisonJob, found: SideBySide, facies: int, axes: tuple[int, ...], caption: str
) -> str:
    series, spread = {}, {}
    for name, of_maps in found.beside.items():
        curve = mean_of_known(of_maps.connectivity[:, facies, list(axes)], axis=1)  # (n_maps, n_lags)
        mean = mean_of_known(curve, axis=0)
        deviation = np.sqrt(mean_of_known((curve - mean) ** 2, axis=0))
        series[_NAMES[name]], spread[_NAMES[name]] = mean, _around(mean, deviation, 1.0)
    return line_plot(
        found.lags * job.grid.cell_size,
        series,
        spread=spread,
        x_label=f"distance, {job.unit}",
        y_label="connected (share)",
        caption=caption,
        size=_PLOT,
        from_zero=True,
    )


def _around(mean: np.ndarray, deviation: np.ndarray, most: float) -> tuple[np.ndarray, np.ndarray]:
    """Return mean less and plus deviation, between 0 and the most that there can be."""
    return np.maximum(mean - deviation, 0.0), np.minimum(mean + deviation, most)


def _numbers(job: SimulationComparisonJob, found: SideBySide) -> str:
    """Return all that was measured in one table."""
    names, n_data = list(found.measured), int((found.known >= 0).sum())

    def row_of(words: str, cells: dict[str, str], observed: str = "") -> list[object]:
        return [words, *(cells.get(name, "") for name in names), observed]

    def spread_of(values: dict[str, np.ndarray], digits: int) -> dict[str, str]:
        spread = {name: f" ± {v.std():.{digits}f}" if len(v) > 1 else "" for name, v in values.items()}
        return {name: f"{v.mean():.{digits}f}{spread[name]}" for name, v in values.items()}

    def percent_of(what: str, names: list[str]) -> dict[str, str]:
        return {
            name: f"{100 * found.numbers[name][what]:.1f} %" for name in names if np.isfinite(found.numbers[name][what])
        }

    measured, pair = found.beside, [MODEL, SIS]
    rows = [row_of(words, cells) for words, cells in _score_rows(found)]
    rows += [row_of("variogram misfit to the observations, of the sill", percent_of("variogram_misfit", names))]
    if found.crops is not None:
        rows.append(row_of("variogram misfit to the reference, of the sill", percent_of("reference_misfit", pair)))
        rows.append(row_of("connectivity misfit to the reference, of pairs", percent_of("connectivity_misfit", pair)))
    for k, facies in enumerate(job.facies.names):
        mean = {name: float(mean_of_known(m.mean_connectivity[k].ravel(), axis=0)) for name, m in measured.items()}
        connected = {name: f"{100 * share:.1f} %" for name, share in mean.items() if np.isfinite(share)}
        rows.append(row_of(f"connected pairs of {facies}", connected))
    rows += [
        row_of("bodies in a map", spread_of({name: m.bodies.sum(axis=1) for name, m in measured.items()}, 1)),
    ]
    for k, facies in enumerate(job.facies.names):
        shares = spread_of({name: m.shares[:, k] for name, m in measured.items()}, 3)
        rows.append(row_of(f"share of {facies}", shares, f"{found.observed_shares[k]:.3f}"))
    for k, facies in enumerate(job.facies.names):
        rows.append(row_of(f"bodies of {facies}", spread_of({name: m.bodies[:, k] for name, m in measured.items()}, 1)))
    rows += [
        row_of("observed cells honoured", {name: f"{found.n_honoured(name):,}" for name in pair}, f"{n_data:,}"),
        row_of(
            f"seconds for probabilities and {job.n_realizations} maps",
            {name: f"{found.maps[name].seconds:.1f}" for name in pair},
        ),
    ]
    caption = (
        "Scores at hidden observations, of probabilities (SIS: its kriging) and of maps counted; then realizations "
        "with all observations: mean, and standard deviation over maps after the ±. Each ruler is explained below."
    )
    return table(["", *(_NAMES[name] for name in names), "observations"], rows, caption=caption)


def _score_rows(found: SideBySide) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the words and the cells of either method's scores at hidden observations."""
    for kind, pair in (("probabilities", (MODEL, KRIGING_OF_SIS)), ("maps counted", (COUNTED_MODEL, COUNTED_SIS))):
        for score, words in (("log_loss", "log loss"), ("brier", "Brier score"), ("accuracy", "accuracy")):
            cells = (f"{found.hidden.scores[method][score]:.3f}" for method in pair)
            yield f"{words}, {kind}", dict(zip((MODEL, SIS), cells))
        errors = (reliability(found.hidden.probabilities[name], found.hidden.class_index).error for name in pair)
        yield f"distance from the diagonal, {kind}", dict(zip((MODEL, SIS), (f"{error:.3f}" for error in errors)))


def _words(job: SimulationComparisonJob, found: SideBySide) -> list[str]:
    """Explain every ruler in a sentence or two."""
    farthest = found.lags[-1] * job.grid.cell_size
    return [
        (
            "Log loss: minus the logarithm of the probability that the observed facies was given. No probability "
            "counts as less than 1 %, for either method, so that being sure and right costs about .01 for each other "
            "facies."
        ),
        "Brier score: squared distance between the probabilities and what was found, from 0 (perfect) to 2.",
        "Accuracy: how often the most probable facies was the observed one.",
        (
            "Distance from the diagonal: of observed frequencies from predicted probabilities, mean over all "
            "predictions; 0 is perfect, but of few observations chance makes some of it."
        ),
        (
            "Gain: by how many percent the model's log loss is lower than SIS's. Its 95 % interval counts regions, not "
            "observations, for neighbours resemble each other."
        ),
        (
            "Variogram: half the share of pairs of places, so far apart, of which one is of the facies and one is not. "
            "Its sill is p(1 - p), p being the share of the facies among the observations."
        ),
        (
            "Variogram misfit: how far the mean variogram of the maps is from the one it should follow, over all "
            "distances and facies (root mean square, weighted with the pairs of observations), in percent of the sill."
        ),
        (
            f"Connected pairs: of two cells of one facies up to {farthest:,.4g} {job.unit} apart along an axis, how "
            "often they lie in one body; mean over distances, axes and maps."
        ),
        (
            "Connectivity misfit: how far the share of connected pairs is from that of the reference, mean over all "
            "these, each as heavy as it has pairs."
        ),
        (
            "Body: cells of one facies that are connected, by their corners too. Bodies are cut off by the border of "
            "the map and of the mask, so pieces of the reference are as large as the grid, and masked alike; where "
            "nothing is known of them, the realizations beside them do not count either."
        ),
        "Share: of the cells of a map. Observations made where a facies is rich have another share than the area.",
        (
            "For bodies, connectivity and variograms there is no interval: there is one set of observations. What "
            "differs by less than the standard deviation over maps is no difference to rely on."
        ),
    ]


def _method(job: SimulationComparisonJob, found: SideBySide) -> str:
    """Say what was run."""
    n_rows, n_cols = job.grid.shape
    return paragraph(
        f"{len(job.class_index)} observations of {len(job.facies)} facies, {n_rows:,} x {n_cols:,} cells of "
        f"{job.grid.cell_size:g} {job.unit}, {job.n_realizations} realizations of either method for each of "
        f"{job.n_folds} regions and with all observations, seed {job.seed}. Model: {found.maps[MODEL].model_id}, "
        f"quality {job.quality}. {found.maps[SIS].model_id} (ranges, if any, in {job.unit}); its covariances were "
        "fitted anew to the observations that stayed. Both saw and missed the same observations."
    ) + paragraph(
        f"A hidden observation lies {hidden_distance(job):.3g} {job.unit} (median) from the nearest one that stayed; a "
        f"place within the rectangle around the observations lies {map_distance(job):.3g} {job.unit} from the nearest "
        "of all."
    )
