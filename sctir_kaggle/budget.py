"""The wall clock: how long the next problem may take, so that the last answer is given before the limit."""

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
"""What a problem beyond the planned number may take of the time that is left: it never runs out, whatever comes."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Absolute times on the budget's clock: `soft` for every problem, `hard` for one whose vote is then still contested."""

    soft: float
    hard: float


class Budget:
    """Shares of the time that is left, for problems that come one at a time with no look-ahead.

    The base share is what the first problem would get if all got the same. A problem that ends early leaves its time to
    all that follow, in equal parts: their soft deadlines. What is saved beyond a base share for every problem to come is
    the bank. A contested problem may take the part `draw` of it, and not more than `cap` base shares in all: its hard
    deadline. So whatever contested problems take, each that follows gets at least its base share.

    `high` is what no deadline exceeds, in seconds from the problem's start, also beyond the plan; what it leaves goes to
    later problems, or to none. `floor` is what a planned problem gets at least, to its soft deadline, as long as the clock
    has it: the smaller of `floor` and all that is left. A floor up to the base share changes nothing. A larger one is lent
    by the problems at the end, in the hope that others end early. Where none does, the first `left // floor` of them get
    it, the next one what remains, and those after it no time at all: there the base share is not guaranteed any more. The
    end is never passed, whatever `cap`, `draw`, `floor` and `high` are.

    `seconds` count from `started` (a reading of `clock`; `process_started` gives one), so that loading the model is paid
    from them; the last `reserve` seconds are never given out. `grace` is how long a problem may go on after its deadline:
    it is kept back once for every problem planned, so that no sequence of durations, each up to its hard deadline plus
    the grace, passes the end. After that a problem's deadline is the moment it starts, and it has to be answered at once.
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
        """The soft deadline of `next_deadlines`, for a caller that grants no more. Call one of the two, once a problem."""
        return self.next_deadlines().soft

    def next_deadlines(self) -> Deadlines:
        """By when the problem that starts now must be answered, and by when if its vote is contested."""
        now = self._clock()
        left, problems = self._left(now), self.problems_left
        self._given += 1
        share = left / problems if problems else left * UNPLANNED_SHARE
        if self._base is None:
            self._base = share
        bank = max(0.0, left - self._base * problems) if problems else 0.0
        longest = max(share, min(self._cap * self._base, self._base + self._draw * bank))
        soft = min(max(share, self._floor if problems else 0.0), self._high, left)
        return Deadlines(now + soft, now + max(soft, min(longest, self._high, left)))

    def skip(self) -> None:
        """One planned problem needs no time (it was answered in an earlier run)."""
        self._given += 1

    def replan(self, problems: int) -> None:
        """From here on so many problems are planned, as in a second pass over them: what is left is theirs, in equal parts."""
        self._planned = self._given + problems
        self._base = None

    @property
    def problems_left(self) -> int:
        """How many of the planned problems are still to come."""
        return max(0, self._planned - self._given)

    def _left(self, now: float) -> float:
        """Without the graces: that of every problem to come, or of the one beyond the plan."""
        return max(0.0, self._end - now - self._grace * max(1, self.problems_left))


def check_clamps(*, cap: float, draw: float, floor: float, high: float | None) -> None:
    """Raises `UserError` on what no `Budget` can do."""
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
    """When this process began, as a reading of `clock`; now, where the system does not tell.

    A limit like Kaggle's counts from before the first import. Linux gives the start in ticks since boot, field 22 of
    /proc/self/stat (proc(5)); the name in field 2 may hold blanks and brackets. A start that is 0 or lies in the future
    is no answer: some sandboxed kernels do not count it.
    """
    try:
        ticks = int(stat.read_text().rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return clock()
    return clock() - age if ticks > 0 and age > 0 else clock()
