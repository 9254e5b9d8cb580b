"""The model beside simpler methods at hidden observations: scores, gains with their intervals, a verdict in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..contract.job import MODEL
from ..kriging.yardsticks import KRIGING, better_kriging
from ..measures.scores import FLOOR, PairedInterval, accuracy, brier, log_loss_nats, ratio_interval

_EASY_NATS = 0.05
"""Log loss, beyond the least one that the floor leaves, below which hidden observations were easy: the true facies got
95 %."""


@dataclass(frozen=True)
class Comparison:
    """
    What each method said of observations that were hidden from it.

    Parameters
    ----------
    probabilities : mapping
        Method to float array (n_facies, n_points); `MODEL` is the model, the others are yardsticks.
    class_index : int array, shape (n_points,)
        What was observed.
    fold : int array, shape (n_points,)
        Which observations were hidden together.
    """

    probabilities: Mapping[str, np.ndarray]
    class_index: np.ndarray
    fold: np.ndarray

    @cached_property
    def losses(self) -> dict[str, np.ndarray]:
        """Method to the log loss of each observation, floored, nats, shape (n_points,)."""
        return {name: log_loss_nats(p, self.class_index) for name, p in self.probabilities.items()}

    @cached_property
    def scores(self) -> dict[str, dict[str, float]]:
        """Method to its mean 'log_loss' (nats), its mean 'brier' (0 to 2) and its 'accuracy' (share of points)."""
        return {
            name: {
                "log_loss": float(self.losses[name].mean()),
                "brier": float(brier(probability, self.class_index).mean()),
                "accuracy": accuracy(probability, self.class_index),
            }
            for name, probability in self.probabilities.items()
        }

    @cached_property
    def kriging(self) -> str:
        """The kriging with the lower log loss: chosen with hindsight, so the harder one to beat."""
        return better_kriging({name: float(loss.mean()) for name, loss in self.losses.items()})

    @cached_property
    def gains(self) -> dict[str, PairedInterval]:
        """Yardstick to the percentage by which the model's log loss is lower, with its 95 % interval."""
        return {name: self.gain(MODEL, name) for name in self.losses if name != MODEL}

    def gain(self, method: str, other: str) -> PairedInterval:
        """
        Return the percentage by which a method's log loss is lower than another's, with its 95 % interval.

        The observations of a fold resemble each other, so the interval counts folds, not observations. It ends at
        100 %, for no loss is below 0.
        """
        ratio = ratio_interval(self.losses[method], self.losses[other], groups=self.fold)
        gain, low, high = (100 * (1 - value) for value in (ratio.mean, ratio.high, ratio.low))
        return PairedInterval(gain, low, min(high, 100.0))

    @property
    def verdict(self) -> str:
        """Whether the model is better than simpler maps, in plain words; never more than the intervals say."""
        gain = self.gains[self.kriging]
        numbers = (
            f"its log loss is {abs(gain.mean):.1f} % {'lower' if gain.mean >= 0 else 'higher'} than that of the better "
            f"kriging (95 % interval of the gain: {gain.low:+.1f} to {gain.high:+.1f} %)"
        )
        first = {
            1: f"Here the model is better than kriging: {numbers}.",
            0: f"Here the model is not shown to differ from kriging: {numbers}.",
            -1: f"Here the model is worse than kriging: {numbers}. Prefer kriging here.",
        }[gain.verdict]
        simpler = [name for name in self.gains if name not in KRIGING]
        parts = [
            f"{words} {_listed([name for name in simpler if self.gains[name].verdict == sign])}"
            for sign, words in ((1, "better than"), (0, "not shown to differ from"), (-1, "worse than"))
            if any(self.gains[name].verdict == sign for name in simpler)
        ]
        easy = ""
        least = np.log(1 + FLOOR * (len(self.probabilities[MODEL]) - 1))  # of what is certain, and right
        if max(self.scores[name]["log_loss"] for name in (MODEL, self.kriging)) < least + _EASY_NATS:
            easy = " Both are nearly sure and right at the hidden observations, which says little of harder places."
        return f"{first} It is {', '.join(parts)}.{easy}"


def _listed(names: list[str]) -> str:
    """Return names as a list in a sentence."""
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]
