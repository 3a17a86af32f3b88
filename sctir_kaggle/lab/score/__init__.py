"""Scores of recorded runs: accuracy and its noise, maj@k and pass@k, paired comparisons, costs."""
