"""Validation sets solved under several seeds into one journal, on one machine or on a Ray cluster."""
