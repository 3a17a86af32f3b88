"""Validation sets, solved under several seeds into one journal, by one machine or by a Ray cluster."""
