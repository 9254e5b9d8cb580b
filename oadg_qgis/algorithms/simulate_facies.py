"""Facies realizations and an entropy map from point observations."""

from __future__ import annotations

from .base import OadgAlgorithm


class SimulateFacies(OadgAlgorithm):
    """Simulate facies between point observations."""

    ID = "simulatefacies"
    NAME = "Simulate facies from observations"

    def initAlgorithm(self, configuration=None) -> None:
        """Declare parameters and outputs."""

    def processAlgorithm(self, parameters, context, feedback):
        """Run."""
        return {}
