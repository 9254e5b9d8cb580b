"""Figures, side by side in one run: `make bench`. Absolute times depend on the machine and on what else it does."""
