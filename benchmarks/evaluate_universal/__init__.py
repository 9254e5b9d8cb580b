"""
The measuring stick of the universal model: `make evaluate-universal`, or `python -m benchmarks.evaluate_universal`.

`surveys` draws what is asked, `measures` asks, `tasks` spreads the work, `figures` sums up and holds the answers
against the targets, `pages` shows them. What the krigings answered is `remembered` from one model to the next.
"""
