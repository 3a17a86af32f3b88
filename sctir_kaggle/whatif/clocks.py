"""`Budget` over many runs at once, as numpy arrays, and the clocks that it is compared with, two of them as published.

Tests hold `Shares` against `sctir_kaggle.budget.Budget`, whose arithmetic it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from sctir_kaggle.budget import check_clamps

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
    """`Budget(seconds, problems, reserve=..., grace=..., ..., started=0)` in every run, all its arguments alike."""

    def __init__(
        self,
        seconds: float,
        problems: int,
        *,
        reserve: float,
        grace: float,
        cap: float = 3.0,
        draw: float = 0.5,
        floor: float = 0.0,
        high: float | None = None,
    ) -> None:
        check_clamps(cap=cap, draw=draw, floor=floor, high=high)
        self._end = seconds - reserve
        self._problems = problems
        self._grace = grace
        self._cap = cap
        self._draw = draw
        self._floor = floor
        self._high = np.inf if high is None else high
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
        soft = np.minimum(np.minimum(np.maximum(share, self._floor), self._high), left)
        return Limits(now + soft, now + np.maximum(soft, np.minimum(np.minimum(longest, self._high), left)))


class Clamped:
    """The clock of public AIMO-3 notebooks: what is left without `base` for each problem to come, from `base` to `high`.

    As in github.com/AndreasBis/AIMO3-Solution (code/inference/gpt-oss-120b-with-tools-mk-iv/RELEASES.md, version 1, 42 of
    50): base 240 s, high 960 s, and a limit of 17,400 of 18,000 s. Others there and elsewhere have 300 s and 900 s. It gives
    `base` even where no time is left.
    """

    def __init__(self, limit: float, problems: int, *, base: float, high: float) -> None:
        self._limit = limit
        self._problems = problems
        self._base = base
        self._high = high

    def next_deadlines(self, now: Floats) -> Limits:
        """One deadline for all problems, contested or not."""
        self._problems -= 1
        spare = self._limit - now - self._base * max(0, self._problems)
        end = now + np.maximum(np.minimum(spare, self._high), self._base)
        return Limits(end, end)


class Banked:
    """The clock of NemoSkills in AIMO-2: `base` seconds, and up to `draw` more of what earlier problems left of theirs.

    arXiv:2504.16891, "Time Management": 350 s a question, unused time into a shared buffer, and up to 210 s from it.
    """

    def __init__(self, *, base: float, draw: float) -> None:
        self._base = base
        self._draw = draw
        self._given = 0
        self._start: Floats | None = None

    def next_deadlines(self, now: Floats) -> Limits:
        """One deadline for all problems, contested or not. The buffer is what the bases so far exceed the time they took."""
        start = self._start = now if self._start is None else self._start
        bank = np.maximum(0.0, start + self._base * self._given - now)
        self._given += 1
        end = now + self._base + np.minimum(self._draw, bank)
        return Limits(end, end)
