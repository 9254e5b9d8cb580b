"""What maps and probabilities are worth, in numbers: scores, shares, patterns, bodies."""
