"""Hostile, faulty and ordinary blocks, by class, and the jail in which they are run. See `jail` and `attack`."""
