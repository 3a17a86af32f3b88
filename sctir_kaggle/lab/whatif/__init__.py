"""Recorded runs resimulated under other rules, without a model: what they would have answered, and when."""
