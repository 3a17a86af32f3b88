"""An event loop whose clock jumps to the next event: hours of recorded waiting run in milliseconds, in the same order.

Covered: timers, sleeps, time-outs. Not covered: threads, sockets and processes, for which it does not wait.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jump(selectors.SelectSelector):
    """Lets the time pass that the loop would have waited."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everything waits, and nothing will happen any more")
        self.now += max(0.0, timeout)
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Its `time()` starts at 0 and is the clock of whatever runs on it."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        """Simulated seconds."""
        return self._jump.now


def run(loop: SimulatedLoop, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns; the loop is closed then."""
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()
