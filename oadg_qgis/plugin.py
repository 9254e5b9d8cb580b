"""Registers OADG with QGIS, and takes it out again."""

from __future__ import annotations

from typing import Any, Optional

from qgis.core import QgsApplication

from .engine_client import shut_down, start_up
from .provider import OadgProvider


class OadgPlugin:
    """
    The plugin object that QGIS holds.

    Parameters
    ----------
    iface : QgisInterface or None
        QGIS's interface; None in `qgis_process`. OADG adds nothing to it but its algorithms.
    """

    def __init__(self, iface: Any = None) -> None:
        self.iface = iface
        self.provider: Optional[OadgProvider] = None

    def initProcessing(self) -> None:
        """Register the algorithms; all that `qgis_process` calls."""
        start_up()
        self.provider = OadgProvider()
        QgsApplication.processingRegistry().addProvider(self.provider)
        self.provider.refreshAlgorithms()  # now the shipped model finds our algorithms, and their outputs

    def initGui(self) -> None:
        """Register the algorithms in the desktop."""
        self.initProcessing()

    def unload(self) -> None:
        """Take the algorithms out and end the engines: the one that waits now, those at work with their run."""
        if self.provider is not None:
            QgsApplication.processingRegistry().removeProvider(self.provider)
            self.provider = None
        shut_down()
