"""
Figures, side by side in one run. Absolute times depend on the machine and on what else it does.

`make bench` runs the modules of this folder that are commands; none needs to be told anything. The packages have
commands of their own: `make evaluate-universal`, and for a model of a training image `make bench-peers` and more.
"""
