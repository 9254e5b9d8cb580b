"""
A model of a training image at the same job as others: what needs an image and a model of it.

`make bench-peers` compares it with other programs in one run, `make bench-sizes` (`by_size`) with crops of its image on
grids of every size; `expectation` and `small_grids` weigh ways to ask it.
"""
