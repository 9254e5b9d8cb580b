"""
The measuring stick of the universal model: `make evaluate-universal`, or `python -m benchmarks.evaluate_universal`.

`surveys` draws what is asked, `measures` asks, `figures` sums up and holds the answers against the targets, `pages`
shows them.
"""
