"""What the wall clock gave each problem: the budget's rule run again on recorded times.

Covered: one run at a time, one problem after the other. Not covered: the time to load the model, which no journal holds
(the shares are too large by its part), a run that was resumed (its clock began anew). A replay, which names its seeds,
has no clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sctir_kaggle.budget import Budget
from sctir_kaggle.opening import RESERVE, clamps_of
from sctir_kaggle.types import SolveResult

Share = tuple[float, float]
"""Seconds that a problem might take, and how many if its vote was then contested."""


def shares(results: Sequence[SolveResult], headers: Sequence[Mapping[str, Any]]) -> list[Share] | None:
    """For each of `results`, in the order in which they were solved; None where the run had no clock of its own."""
    if len(headers) != 1 or "seeds" in headers[0] or not _seconds(headers[0]):
        return None
    now = 0.0
    budget = _budget(headers[0], len(results), lambda: now)
    given = []
    for result in results:
        limits = budget.next_deadlines()
        given.append((limits.soft - now, limits.hard - now))
        now += result.seconds
    return given


def _budget(header: Mapping[str, Any], problems: int, clock: Callable[[], float]) -> Budget:
    seconds = _seconds(header)
    grace = header.get("config", {}).get("grace_seconds", 0.0)
    return Budget(
        seconds, problems, reserve=RESERVE * seconds, grace=grace, started=0.0, clock=clock, **clamps_of(header)
    )


def _seconds(header: Mapping[str, Any]) -> float:
    """The run's wall clock; 0 where the journal does not say."""
    value = header.get("budget")
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else 0.0
