"""The time limit of a block beside the alarms of the block itself. Runs in the child.

A process has one SIGALRM and one timer for it. Code of models often sets an alarm around a call and switches it off with
`signal.alarm(0)`, which would switch off the block's own limit: a later endless loop would be killed, and its variables
lost. So the functions of `signal` for this timer are replaced by those of a `Clock`, which arms it for whatever is due
first. Code that goes around them is killed by the host, a moment after its limit.
"""

from __future__ import annotations

import math
import operator
import signal
import time
import types
from collections.abc import Callable
from typing import Any

_signal, _getsignal = signal.signal, signal.getsignal
_setitimer, _getitimer, _now = signal.setitimer, signal.getitimer, time.monotonic

SHORTEST_SECONDS = 0.001
"""Between two alarms of a block, at least: one that is always due would leave no time for anything else."""

TRIES, TRY_SECONDS = 20, 0.002
"""How often, and for how long, an alarm is put off that strikes where an exception would do harm."""


class OutOfTime(BaseException):
    """Raised inside a block at its time limit, so that the traceback shows where it was. No `Exception`, or code would
    catch it. For code that catches even this one, it bears the name that the model knows."""


OutOfTime.__name__ = OutOfTime.__qualname__ = "TimeoutError"
OutOfTime.__module__ = "builtins"


class Clock:
    """The timer of this process, shared by the block's limit and by the block's alarms.

    `is_critical` says whether an alarm must not strike in a frame, and is put off a little.
    """

    def __init__(self, is_critical: Callable[[types.FrameType], bool]) -> None:
        self._is_critical = is_critical
        self._limit, self._due, self._interval = math.inf, math.inf, 0.0
        self._handler: Any = signal.SIG_DFL
        self._tries = 0
        replaced = (self.signal, self.getsignal, self.alarm, self.setitimer, self.getitimer)
        vars(signal).update({function.__name__: function for function in replaced})

    def start(self, seconds: float) -> None:
        """Have OutOfTime raised after `seconds`."""
        self._limit, self._due, self._tries = _now() + seconds, math.inf, 0
        _signal(signal.SIGALRM, self._ring)
        self._arm()

    def stop(self) -> None:
        """End the limit and the block's alarms; the block's handler stays for the next one."""
        self._limit = self._due = math.inf
        _signal(signal.SIGALRM, signal.SIG_IGN)
        _setitimer(signal.ITIMER_REAL, 0)

    def signal(self, signalnum: int, handler: Any) -> Any:
        """`signal.signal`."""
        if signalnum != signal.SIGALRM:
            return _signal(signalnum, handler)
        if not callable(handler) and handler not in (signal.SIG_DFL, signal.SIG_IGN):
            return _signal(signalnum, handler)  # raises
        _signal(signalnum, self._ring)  # raises outside of the main thread
        before, self._handler = self._handler, handler
        return before

    def getsignal(self, signalnum: int) -> Any:
        """`signal.getsignal`."""
        return self._handler if signalnum == signal.SIGALRM else _getsignal(signalnum)

    def alarm(self, seconds: int) -> int:
        """`signal.alarm`."""
        return math.ceil(self.setitimer(signal.ITIMER_REAL, operator.index(seconds))[0])

    def setitimer(self, which: int, seconds: float, interval: float = 0.0) -> tuple[float, float]:
        """`signal.setitimer`."""
        if which != signal.ITIMER_REAL or seconds < 0 or interval < 0:
            return _setitimer(which, seconds, interval)
        before = self.getitimer(which)
        self._due = _now() + seconds if seconds else math.inf
        self._interval = max(interval, SHORTEST_SECONDS) if interval else 0.0
        self._arm()
        return before

    def getitimer(self, which: int) -> tuple[float, float]:
        """`signal.getitimer`."""
        if which != signal.ITIMER_REAL:
            return _getitimer(which)
        if self._due == math.inf:
            return 0.0, 0.0
        return max(self._due - _now(), 1e-6), self._interval

    def _arm(self) -> None:
        """Set the timer for what is due first."""
        due = min(self._limit, self._due)
        _setitimer(signal.ITIMER_REAL, 0 if due == math.inf else max(due - _now(), SHORTEST_SECONDS))

    def _ring(self, signum: int, frame: types.FrameType | None) -> None:
        """Raise OutOfTime, or call the block's handler."""
        if frame and self._is_critical(frame) and self._tries < TRIES:
            self._tries += 1
            _setitimer(signal.ITIMER_REAL, TRY_SECONDS)
            return
        now = _now() + SHORTEST_SECONDS  # the kernel's clock is another one, and may be ahead
        if now >= self._limit:
            self._limit = math.inf
            raise OutOfTime("the code ran out of time")
        if now >= self._due:
            self._due = now + self._interval if self._interval else math.inf
        if self._handler == signal.SIG_DFL:  # would end Python
            raise OutOfTime("the alarm that the code has set went off")
        try:
            # Only the limit is due meanwhile: a handler is not interrupted by its own alarm.
            _setitimer(signal.ITIMER_REAL, max(self._limit - _now(), SHORTEST_SECONDS))
            if callable(self._handler):
                self._handler(signum, frame)
        finally:
            self._arm()
