"""What several rounds measured, as the tables say it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable


def spread(values: Iterable[float], form: str = ".1f") -> str:
    """Median (smallest-largest), each in `form`."""
    listed = list(values)
    return f"{statistics.median(listed):{form}} ({min(listed):{form}}-{max(listed):{form}})"
