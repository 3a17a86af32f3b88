"""Recorded runs under other rules: what they would have answered, and when, without a model."""
