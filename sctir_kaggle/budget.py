"""The wall clock: how long the next problem may take, so that the last answer is given before the limit."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]

UNPLANNED_SHARE = 0.1
"""What a problem beyond the planned number may take of the time that is left: it never runs out, whatever comes."""


class Budget:
    """Equal shares of what is left, for problems that come one at a time with no look-ahead.

    A problem that ends early leaves its time to all that follow. `seconds` count from `started` (a reading of `clock`),
    so that loading the model is paid from them; the last `reserve` seconds are never given out.
    """

    def __init__(
        self,
        seconds: float,
        problems: int,
        *,
        reserve: float = 0.0,
        started: float | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._clock = clock
        self._end = (clock() if started is None else started) + seconds - reserve
        self._planned = problems
        self._given = 0

    @property
    def left(self) -> float:
        """Seconds that can still be given out; 0 after the end."""
        return max(0.0, self._end - self._clock())

    def next_deadline(self) -> float:
        """The absolute time, on `clock`, by which the problem that starts now must be answered. Call once a problem."""
        planned_left = self._planned - self._given
        self._given += 1
        share = 1 / planned_left if planned_left > 0 else UNPLANNED_SHARE
        return self._clock() + self.left * share

    def skip(self) -> None:
        """One planned problem needs no time (it was answered in an earlier run)."""
        self._given += 1
