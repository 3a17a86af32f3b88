"""`Budget` over many runs at once, as numpy arrays, and the clocks that it is compared with.

Tests hold `Shares` against `sctir_kaggle.budget.Budget`, whose arithmetic it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Limits(NamedTuple):
    """Absolute times, one a run."""

    soft: Floats
    hard: Floats


class Clock(Protocol):
    """Asked once at the start of every problem, with the time that it is in every run."""

    def next_deadlines(self, now: Floats) -> Limits: ...


class Unlimited:
    """Works until all candidates have ended or the vote is decided, as the published notebook does."""

    def next_deadlines(self, now: Floats) -> Limits:
        """Never."""
        never = np.full_like(now, np.inf)
        return Limits(never, never)


@dataclass(frozen=True, slots=True)
class Equal:
    """The same for every problem, whatever the others leave: `share` seconds."""

    share: float

    def next_deadlines(self, now: Floats) -> Limits:
        """The share from now on."""
        return Limits(now + self.share, now + self.share)


class Shares:
    """`Budget(seconds, problems, reserve=..., grace=..., cap=..., draw=..., started=0)` in every run."""

    def __init__(
        self, seconds: float, problems: int, *, reserve: float, grace: float, cap: float = 3.0, draw: float = 0.5
    ) -> None:
        self._end = seconds - reserve
        self._problems = problems
        self._grace = grace
        self._cap = cap
        self._draw = draw
        self._base: Floats | None = None

    def next_deadlines(self, now: Floats) -> Limits:
        """A share of what is left; of the bank, a part."""
        if self._problems < 1:
            raise ValueError("every planned problem has had its deadline")
        left = np.maximum(0.0, self._end - now - self._grace * self._problems)
        share = left / self._problems
        base = self._base = share if self._base is None else self._base
        bank = np.maximum(0.0, left - base * self._problems)
        longest = np.maximum(share, np.minimum(self._cap * base, base + self._draw * bank))
        self._problems -= 1
        return Limits(now + share, now + np.minimum(longest, left))
