"""Runs on disk -> numbers that can be trusted: accuracy with its noise, maj@k, pass@k, comparisons, where time went."""
