"""Process-wide helpers for thousands of attempts in flight: file limit, periodic progress line, rate-limited warnings."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sctir_kaggle.types import UserError

FILES = 8
"""Open files per attempt: its connection, and its child's pipes."""


def raise_nofile_limit(in_flight: int) -> None:
    """Raise this process's soft limit of open files for `in_flight` attempts; `UserError` where the hard limit is too low."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 256 + FILES * in_flight
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            most = (hard - 256) // FILES
            raise UserError(
                f"in_flight is {in_flight}, which takes {needed} open files of {hard}: raise `ulimit -Hn`, or set it to {most}"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


@asynccontextmanager
async def run_periodically(seconds: float, tell: Callable[[], None]) -> AsyncIterator[None]:
    """Call `tell` every `seconds` while the body runs."""

    async def telling() -> None:
        while True:
            await asyncio.sleep(seconds)
            tell()

    teller = asyncio.ensure_future(telling())
    try:
        yield
    finally:
        teller.cancel()


class RateLimitFilter(logging.Filter):
    """Pass one record of the module `openai`, which warns of every pause of a server, per `seconds`."""

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._seconds, self._clock = seconds, clock
        self._until, self._left_out = float("-inf"), 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log the record; the next one that passes states how many were suppressed."""
        if record.module != "openai":
            return True
        if self._clock() < self._until:
            self._left_out += 1
            return False
        if self._left_out:
            record.msg, record.args = f"{record.getMessage()} (and {self._left_out} more since the last)", ()
        self._until, self._left_out = self._clock() + self._seconds, 0
        return True
