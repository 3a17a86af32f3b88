"""The wall clock: how long the next problem may take, so that the last answer is given before the limit.

All times are in seconds, deadlines absolute on the budget's clock. Five problems in 100 seconds get 20 each. The first takes
8: the other four share the 12 it leaves and get 23, or 26 where their vote is contested.

    >>> now = [0.0]
    >>> budget = Budget(100, problems=5, clock=lambda: now[0])
    >>> budget.next_deadlines().soft
    20.0
    >>> now[0] = 8.0
    >>> budget.next_deadlines()
    Deadlines(soft=31.0, hard=34.0)
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sctir_kaggle.types import UserError

Clock = Callable[[], float]

UNPLANNED_SHARE = 0.1
"""Share of the time left for a problem beyond the planned number; a geometric series, so it never runs out."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Absolute times on the budget's clock: `soft` for every problem, `hard` for one whose vote is still contested then."""

    soft: float
    hard: float


class Budget:
    """Divides the time left among problems that come one at a time, without look-ahead.

    Soft deadlines: the base share is the first problem's equal share. A problem that ends early leaves its time to all that
    follow, in equal parts. Hard deadlines: what is saved beyond a base share for every problem to come is the bank. A
    contested problem may draw the fraction `draw` of it, and take at most `cap` base shares in all. So whatever contested
    problems take, each that follows gets at least its base share.

    `high` caps every deadline, in seconds from the problem's start; the rest goes to later problems. `floor` is the least
    that a planned problem gets to its soft deadline, as far as the clock has it. Up to the base share it changes nothing. A
    larger floor is lent by the problems at the end, in the hope that others end early: where none does, the first
    `left // floor` problems get it, the next one the remainder and the others no time at all.

    `seconds` count from `started` (a reading of `clock`, see `process_started`), so loading the model is paid from them;
    the last `reserve` seconds are never given out. `grace` is how long a problem may overrun its deadline. It is kept back
    once for every problem planned, so that no sequence of durations, each up to its hard deadline plus the grace, passes
    the end, whatever `cap`, `draw`, `floor` and `high` are. After the end a problem's deadline is the moment it starts.
    """

    def __init__(
        self,
        seconds: float,
        problems: int,
        *,
        reserve: float = 0.0,
        grace: float = 0.0,
        cap: float = 3.0,
        draw: float = 0.5,
        floor: float = 0.0,
        high: float | None = None,
        started: float | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        check_clamps(cap=cap, draw=draw, floor=floor, high=high)
        self._clock = clock
        self._end = (clock() if started is None else started) + seconds - reserve
        self._planned = problems
        self._grace = grace
        self._cap = cap
        self._draw = draw
        self._floor = floor
        self._high = math.inf if high is None else high
        self._given = 0
        self._base: float | None = None

    @property
    def left(self) -> float:
        """Seconds that can still be given out; 0 after the end."""
        return self._left(self._clock())

    def next_deadline(self) -> float:
        """The soft one of `next_deadlines`, for a caller that grants no more. Call one of the two, once a problem."""
        return self.next_deadlines().soft

    def next_deadlines(self) -> Deadlines:
        """Deadlines of the problem that starts now, which counts as one of those planned."""
        now = self._clock()
        left, problems = self._left(now), self.problems_left
        self._given += 1
        share = left / problems if problems else left * UNPLANNED_SHARE
        if self._base is None:
            self._base = share
        # The bank is what exceeds a base share for each problem to come, this one included.
        bank = max(0.0, left - self._base * problems) if problems else 0.0
        longest = max(share, min(self._cap * self._base, self._base + self._draw * bank))
        soft = min(max(share, self._floor if problems else 0.0), self._high, left)
        return Deadlines(now + soft, now + max(soft, min(longest, self._high, left)))

    def skip(self) -> None:
        """Count a planned problem that needs no time: an earlier run answered it."""
        self._given += 1

    def replan(self, problems: int) -> None:
        """Plan `problems` from here on, as in a second pass over them: they share what is left in equal parts."""
        self._planned = self._given + problems
        self._base = None

    @property
    def problems_left(self) -> int:
        """Number of planned problems still to come."""
        return max(0, self._planned - self._given)

    def _left(self, now: float) -> float:
        # One grace is kept back for every problem to come, or for the one beyond the plan.
        return max(0.0, self._end - now - self._grace * max(1, self.problems_left))


def check_clamps(*, cap: float, draw: float, floor: float, high: float | None) -> None:
    """Raise `UserError` where no `Budget` can keep these limits; see `Budget` for what they mean."""
    if not cap >= 1:
        raise UserError(f"cap is {cap}; a problem may take at least 1 base share")
    if not 0 <= draw <= 1:
        raise UserError(f"draw is {draw}; it is a part of the bank, from 0 to 1")
    if not 0 <= floor < math.inf:
        raise UserError(f"floor is {floor}; it must be 0 seconds (none) or more")
    if high is not None and not high > 0:
        raise UserError(f"high is {high}; it must be more than 0 seconds, or None for no limit")
    if high is not None and floor > high:
        raise UserError(f"floor is {floor} and high is {high}; a problem cannot get more at least than at most")


def process_started(clock: Clock = time.monotonic, *, stat: Path = Path("/proc/self/stat")) -> float:
    """Start of this process as a reading of `clock`, or now where the system does not know it.

    A limit like Kaggle's counts from before the first import. Linux gives the start in ticks since boot, field 22 of
    /proc/self/stat (proc(5)); the name in field 2 may hold blanks and brackets, so fields count from behind its last
    bracket. Some sandboxed kernels report 0 or a time in the future: then it is now.
    """
    try:
        ticks = int(stat.read_text().rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return clock()
    return clock() - age if ticks > 0 and age > 0 else clock()
