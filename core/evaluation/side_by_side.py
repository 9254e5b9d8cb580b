"""The model and sequential indicator simulation (SIS) on the same data: who is right, and whose maps are like them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..contract.conditioning import place_on_grid
from ..contract.ensemble import OUTSIDE
from ..contract.errors import JobError
from ..contract.indicator_job import IndicatorJob
from ..contract.job import MODEL, SimulationJob, SimulationResult
from ..contract.job_arrays import read_mask
from ..contract.side_by_side_job import (
    COUNTED_MODEL,
    COUNTED_SIS,
    KRIGING_OF_SIS,
    METHODS,
    PROPORTIONS,
    REFERENCE,
    SIS,
    SimulationComparisonJob,
    check_reference_size,
)
from ..kriging.yardsticks import observed_proportions
from ..measures.reproduction import (
    DataPairs,
    Reproduction,
    connected_lags,
    crops_like,
    known_like,
    mean_of_known,
    measure_maps,
    variogram_misfit,
)
from ..measures.scores import PairedInterval
from ..sampling.indicator_run import run_indicator_simulation
from ..sampling.simulation import run_simulation
from .comparison import Comparison

Progress = Callable[[float, str], None]
_MEASURING = 0.05  # of the progress
_KNOWS_NO_PLACES = (
    "Neither is shown to be better than the facies' shares among the observations, the same everywhere: as far apart "
    "as the hidden regions are, observations tell little of one another."
)
_KNOWN_SHARE = 0.95
"""Of a reference's cells: what is told to the reader when fewer are known."""


@dataclass(frozen=True)
class Simulated:
    """
    What a method makes of hard data.

    Parameters
    ----------
    probability : array, shape (n_facies, n_rows, n_cols)
        Facies probabilities given the data, before anything is simulated; NaN outside the mask.
    realizations : int16 array, shape (n_realizations, n_rows, n_cols)
        Class index, -1 outside the mask.
    seconds : float
        Wall time.
    device, model_id : str
        On and with what.
    """

    probability: np.ndarray
    realizations: np.ndarray
    seconds: float
    device: str = "cpu"
    model_id: str = ""


Simulator = Callable[[np.ndarray, Progress], Simulated]
"""Simulates from hard data (n_rows, n_cols), -1 where nothing is known."""


@dataclass(frozen=True)
class SideBySide:
    """
    What a comparison found.

    Parameters
    ----------
    hidden : Comparison
        What each of `METHODS`, and `PROPORTIONS`, said of hidden observations.
    known : int array, shape (n_rows, n_cols)
        The observations on the grid.
    inside : bool array, shape (n_rows, n_cols)
        Cells that are simulated.
    maps : mapping of str to Simulated
        `MODEL` and `SIS`, with all observations.
    crops : int array, shape (n_crops, n_rows, n_cols), optional
        Of the reference.
    pairs : DataPairs
        Where variograms are taken.
    lags : int array, shape (n_connected_lags,)
        Cells apart, of connectivity.
    measured : mapping of str to Reproduction
        `MODEL`, `SIS` and, with a reference, `REFERENCE`.
    beside : mapping of str to Reproduction
        The same where the reference is known, which is what can be held against it.
    """

    hidden: Comparison
    known: np.ndarray
    inside: np.ndarray
    maps: Mapping[str, Simulated]
    crops: np.ndarray | None
    pairs: DataPairs
    lags: np.ndarray
    measured: Mapping[str, Reproduction]
    beside: Mapping[str, Reproduction]

    @property
    def n_facies(self) -> int:
        """Number of facies."""
        return len(self.hidden.probabilities[MODEL])

    @cached_property
    def gains(self) -> dict[str, PairedInterval]:
        """By how many percent the model's log loss is lower than that of its counterpart, for each of two pairs."""
        pairs = ((MODEL, KRIGING_OF_SIS), (COUNTED_MODEL, COUNTED_SIS))
        return {ours: self.hidden.gain(ours, theirs) for ours, theirs in pairs}

    @property
    def known_share(self) -> float:
        """Share of the simulated cells where the reference is known; 1 without a reference."""
        return 1.0 if self.crops is None else float((self.crops[:, self.inside] >= 0).mean())

    @cached_property
    def observed_shares(self) -> np.ndarray:
        """Share of each facies among the cells with observations, (n_facies,)."""
        counts = np.bincount(self.known[self.known >= 0], minlength=self.n_facies)
        return counts / counts.sum()

    @cached_property
    def observed_variogram(self) -> np.ndarray:
        """The experimental indicator variograms, (n_facies, n_directions, n_lags)."""
        return self.pairs.variograms(self.known, self.n_facies)

    def n_honoured(self, name: str) -> int:
        """Return how many cells with observations have the observed facies in each realization of a method."""
        observed = self.known >= 0
        agrees = self.maps[name].realizations[:, observed] == self.known[observed]
        return int(agrees.all(axis=0).sum())

    @cached_property
    def numbers(self) -> dict[str, dict[str, float]]:
        """The numbers of `SimulationComparisonResult.reproduction`; NaN where there is none."""
        sill = self.observed_shares * (1 - self.observed_shares)
        reference, nothing = self.beside.get(REFERENCE), float("nan")
        told = {}
        for name, found in self.measured.items():
            beside = self.beside[name]
            mean, shares = found.variogram.mean(axis=0), found.shares.mean(axis=0)
            told[name] = {
                "variogram_misfit": variogram_misfit(mean, self.observed_variogram, self.pairs, sill),
                "reference_misfit": nothing,
                "connectivity": float(mean_of_known(beside.mean_connectivity.ravel(), axis=0)),
                "connectivity_misfit": nothing,
                "bodies": float(beside.bodies.sum(axis=1).mean()),
                "share_difference": float(np.abs(shares - self.observed_shares).max()),
                "seconds": self.maps[name].seconds if name in self.maps else nothing,
            }
            if reference is not None:
                mean, expected = (mean_of_known(maps.variogram, axis=0) for maps in (beside, reference))
                told[name]["reference_misfit"] = variogram_misfit(mean, expected, self.pairs, sill)
                told[name]["connectivity_misfit"] = beside.connectivity_misfit(reference)
        return told

    @property
    def verdict(self) -> str:
        """The findings in one text."""
        return " ".join(self.findings)

    @property
    def findings(self) -> list[str]:
        """Which of the two is better on these data, and how sure that is, in plain words, a finding each."""
        n_realizations = len(self.maps[MODEL].realizations)
        counted = {
            1: f"The {n_realizations} maps of the model, counted, are better than as many of SIS",
            0: f"Of {n_realizations} maps of each, counted, neither's are shown to be better",
            -1: f"The {n_realizations} maps of the model, counted, are worse than as many of SIS",
        }
        told = [
            {
                1: "At hidden observations the model is better than SIS",
                0: "At hidden observations neither the model nor SIS is shown to be better",
                -1: "At hidden observations the model is worse than SIS",
            }[self.gains[MODEL].verdict]
            + f": the log loss of the model's probabilities is {_difference(self.gains[MODEL])} than that of the "
            f"kriging from which SIS draws ({_interval(self.gains[MODEL])}).",
            (
                f"{counted[self.gains[COUNTED_MODEL].verdict]}: the log loss of the model's is "
                f"{_difference(self.gains[COUNTED_MODEL])} ({_interval(self.gains[COUNTED_MODEL])})."
            ),
            *self._findings_on_maps(),
        ]
        if all(self.hidden.gain(name, PROPORTIONS).verdict <= 0 for name in (MODEL, KRIGING_OF_SIS)):
            told.insert(1, _KNOWS_NO_PLACES)
        n_data = int((self.known >= 0).sum())
        for name in (MODEL, SIS):
            if self.n_honoured(name) < n_data:
                told.append(f"Realizations of {name} miss {n_data - self.n_honoured(name)} of {n_data} observed cells!")
        return told

    def _findings_on_maps(self) -> list[str]:
        """Say how far realizations are from the data and from the reference; of that there is no interval."""
        ours, theirs, reference = self.numbers[MODEL], self.numbers[SIS], self.numbers.get(REFERENCE)

        def tell(words: str, what: str, unit: str, more: str = "") -> None:
            if np.isfinite([ours[what], theirs[what]]).all():  # a reference that is hardly known tells nothing
                told.append(
                    f"{words} {100 * ours[what]:.0f} % of {unit} for the model's maps, {100 * theirs[what]:.0f} % for "
                    f"those of SIS{more}."
                )

        bodies = f"A map of the model has {ours['bodies']:.0f} bodies (patches of one facies) on average, one of SIS "
        bodies += f"{theirs['bodies']:.0f}" + (f", one of the reference {reference['bodies']:.0f}" if reference else "")
        told = [f"{bodies}."]
        if self.known_share < _KNOWN_SHARE:
            known = f"Of the reference {100 * self.known_share:.0f} % of the cells are known: bodies, connectivity and "
            told.insert(0, f"{known}what is held against it are those of the maps there, where bodies are cut off.")
        of_reference = reference["variogram_misfit"] if reference else np.nan
        own = "" if np.isnan(of_reference) else f" ({100 * of_reference:.0f} % for the reference itself)"
        tell("Variograms are off those of the observations by", "variogram_misfit", "the sill", own)
        tell("Against the reference, variograms are off by", "reference_misfit", "the sill")
        cells = "Against the reference, how often two cells of a facies lie in one body is off by"
        tell(cells, "connectivity_misfit", "pairs")
        return told


def _difference(gain: PairedInterval) -> str:
    return f"{abs(gain.mean):.1f} % {'lower' if gain.mean >= 0 else 'higher'}"


def _interval(gain: PairedInterval) -> str:
    return f"95 % interval of the gain: {gain.low:+.1f} to {gain.high:+.1f} %"


def simulators(job: SimulationComparisonJob) -> dict[str, Simulator]:
    """Return the two methods as their own algorithms run them, `MODEL` and `SIS`."""
    return {
        MODEL: _simulator(
            job,
            run_simulation,
            SimulationJob,
            model_path=job.model_path,
            quality=job.quality,
            device=job.device,
        ),
        SIS: _simulator(job, run_indicator_simulation, IndicatorJob),
    }


def _simulator(
    job: SimulationComparisonJob,
    run: Callable[..., SimulationResult],
    job_of: Callable[..., SimulationJob | IndicatorJob],
    **options: str,
) -> Simulator:
    """Return what runs a kind of job and takes its arrays; the next run replaces them in the work folder."""

    def simulate(known: np.ndarray, progress: Progress) -> Simulated:
        row, col = np.nonzero(known >= 0)
        asked = job_of(
            grid=job.grid,
            facies=job.facies,
            row=tuple(row.tolist()),
            col=tuple(col.tolist()),
            class_index=tuple(known[row, col].tolist()),
            work_folder=job.work_folder,
            mask_path=job.mask_path,
            n_realizations=job.n_realizations,
            seed=job.seed,
            **options,
        )
        result = run(asked, progress)
        realizations = np.load(str(result.realizations_path)).astype(np.int16)
        realizations[realizations == OUTSIDE] = -1
        probability = np.load(result.probability_path)
        return Simulated(probability, realizations, result.seconds, result.device, result.model_id)

    return simulate


def compare_simulations(
    job: SimulationComparisonJob,
    methods: Mapping[str, Simulator] | None = None,
    progress: Progress = lambda fraction, text: None,
) -> SideBySide:
    """
    Run the model and SIS on the same data: with each fold hidden, and with all observations.

    Parameters
    ----------
    job : SimulationComparisonJob
        What is asked; its work folder must exist.
    methods : mapping of str to Simulator, optional
        What is run as `MODEL` and as `SIS`; by default these two, as `simulators` returns them.
    progress : callable
        Told the fraction done and what is being done; what it raises (`Cancelled`) ends the run.

    Raises
    ------
    OadgError
        For a model, device, mask or reference that does not fit, and for observations outside the mask.
    """
    methods = methods or simulators(job)
    inside, reference = read_mask(job.mask_path, job.grid.shape), _read_reference(job)
    row, col, _ = job.grid.cell_of(*job.places.T)
    n_outside = int((~inside[row, col]).sum())
    if n_outside:
        raise JobError(
            f"{n_outside} of {len(row)} observations lie where the mask simulates nothing, so that nothing could be "
            "said of them. Leave them out, or use a larger mask."
        )
    crops = None if reference is None else crops_like(reference, inside, job.n_realizations, seed=job.seed)
    n_facies, class_index = len(job.facies), np.array(job.class_index)
    easting, northing = job.places.T
    data = place_on_grid(easting, northing, class_index, job.grid, job.facies)
    known = data.on_grid(job.grid.shape).astype(np.int64)
    share = (1 - _MEASURING) / (job.n_folds + 1)
    probabilities = _predict_hidden(job, methods, known, _part(progress, 0, share * job.n_folds))
    everything = _part(progress, share * job.n_folds, 1 - _MEASURING)
    maps = _run_both(methods, known, everything, "All observations")
    sets = {name: simulated.realizations for name, simulated in maps.items()}
    masked = {}
    if crops is not None:
        if (crops[:, inside] < 0).any():
            masked = {name: known_like(of_method, crops) for name, of_method in sets.items()}
        sets[REFERENCE] = crops
    pairs = DataPairs.of(known)
    lags = connected_lags(pairs, job.grid.shape)
    all_sets, found = [*sets.values(), *masked.values()], []
    n_maps, n_done = sum(map(len, all_sets)), 0
    for of_set in all_sets:
        first, last = (1 - _MEASURING * (1 - n / n_maps) for n in (n_done, n_done + len(of_set)))
        found.append(measure_maps(of_set, n_facies, pairs, lags, _part(progress, first, last)))
        n_done += len(of_set)
    measured = dict(zip(sets, found))
    beside = {**measured, **dict(zip(masked, found[len(sets) :]))}
    hidden = Comparison(probabilities, class_index, np.array(job.fold))
    return SideBySide(hidden, known, inside, maps, crops, pairs, lags, measured, beside)


def _predict_hidden(
    job: SimulationComparisonJob, methods: Mapping[str, Simulator], known: np.ndarray, progress: Progress
) -> dict[str, np.ndarray]:
    """Return what each method, and `PROPORTIONS`, says of observations while their fold is hidden, by facies."""
    row, col, _ = job.grid.cell_of(*job.places.T)
    fold, n_facies = np.array(job.fold), len(job.facies)
    class_index = np.array(job.class_index)
    probabilities = {name: np.empty((n_facies, len(fold))) for name in (*METHODS, PROPORTIONS)}
    for number in range(job.n_folds):
        hidden = fold == number
        cells = row[hidden], col[hidden]
        seen = known.copy()
        seen[cells] = -1
        part = _part(progress, number / job.n_folds, (number + 1) / job.n_folds)
        both = _run_both(methods, seen, part, f"Fold {number + 1} of {job.n_folds}")
        for name, given, counted in ((MODEL, MODEL, COUNTED_MODEL), (SIS, KRIGING_OF_SIS, COUNTED_SIS)):
            drawn = both[name].realizations[:, cells[0], cells[1]]
            probabilities[given][:, hidden] = both[name].probability[:, cells[0], cells[1]]
            probabilities[counted][:, hidden] = [(drawn == k).mean(axis=0) for k in range(n_facies)]
        probabilities[PROPORTIONS][:, hidden] = observed_proportions(
            job.places[~hidden], class_index[~hidden], job.places[hidden], n_facies
        )
    return probabilities


def _run_both(
    methods: Mapping[str, Simulator], hard_data: np.ndarray, progress: Progress, when: str
) -> dict[str, Simulated]:
    """Simulate by both methods from the same hard data."""
    return {
        name: methods[name](hard_data, _part(progress, number / 2, (number + 1) / 2, f"{when}, {name}: "))
        for number, name in enumerate((MODEL, SIS))
    }


def _part(progress: Progress, first: float, last: float, words: str = "") -> Progress:
    """Return what tells a part of the work: its fractions lie between two of the whole, and words go before its own."""
    return lambda fraction, text: progress(first + (last - first) * fraction, words + text)


def _read_reference(job: SimulationComparisonJob) -> np.ndarray | None:
    """Return the reference's class indices, if there is one."""
    if job.reference_path is None:
        return None
    reference = np.load(job.reference_path, allow_pickle=False)
    check_reference_size(reference.shape, job.grid)
    return reference
