"""The clock of a recorded run, simulated on its recorded seconds: the deadlines that its `Budget` gave each problem."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sctir_kaggle.budget import Budget
from sctir_kaggle.header import clamps_of
from sctir_kaggle.runtime import RESERVE
from sctir_kaggle.types import SolveResult

Share = tuple[float, float]
"""Seconds from a problem's start to its soft deadline, and to its hard one."""


def simulated_budget(
    seconds: float, problems: int, *, grace: float, clamps: Mapping[str, float], clock: Callable[[], float]
) -> Budget:
    """The budget of a run of `seconds` for `problems`, on a simulated clock that starts at 0.

    It keeps back what a run keeps back (`RESERVE`) and counts no time to load the model. `grace` is the seconds that
    cancelled candidates may take after a deadline, `clamps` the run's `cap`, `draw`, `floor` and `high`.
    """
    return Budget(seconds, problems, reserve=RESERVE * seconds, grace=grace, started=0.0, clock=clock, **clamps)


def recorded_shares(results: Sequence[SolveResult], headers: Sequence[Mapping[str, Any]]) -> list[Share] | None:
    """The share of each of `results`, in the order in which they were solved; None where the run had no clock of its own.

    A replay of several seeds has none (its header lists `seeds`), and neither have several runs together.
    """
    if len(headers) != 1 or "seeds" in headers[0]:
        return None
    seconds = headers[0].get("budget")
    if not (isinstance(seconds, (int, float)) and math.isfinite(seconds) and seconds):
        return None
    now = 0.0
    grace = headers[0].get("config", {}).get("grace_seconds", 0.0)
    budget = simulated_budget(
        float(seconds), len(results), grace=grace, clamps=clamps_of(headers[0]), clock=lambda: now
    )
    shares = []
    for result in results:
        limits = budget.next_deadlines()
        shares.append((limits.soft - now, limits.hard - now))
        now += result.seconds
    return shares
