"""The version, in one place: `pyproject.toml` and the journal read it."""

__version__ = "0.1.0"
