"""Figures, side by side in one run: `make bench`. Absolute times depend on the machine and on what else it does."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the engine does, before torch is imported
