"""
Figures, side by side in one run. Absolute times depend on the machine and on what else it does.

`make bench` runs the modules that are commands: speed and memory. `make evaluate-universal` runs `evaluate_universal`.
"""
