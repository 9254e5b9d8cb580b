"""From hard data and a model to realizations and probabilities."""
