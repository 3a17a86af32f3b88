"""What a run with thousands in flight needs of its process: open files, a word from time to time, and no flood of warnings."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sctir_kaggle.types import UserError

FILES = 8
"""Open files that an attempt may take: its connection, and its child's pipes."""


def raise_nofile_limit(in_flight: int) -> None:
    """Raise this process's limit of open files as far as `in_flight` attempts need; `UserError` where it may not be."""
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
    """Call `tell` every so many seconds while the body runs."""

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
    """Lets a record of the module `openai`, which warns of every pause of a server, pass once in so many seconds."""

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._seconds, self._clock = seconds, clock
        self._until, self._left_out = float("-inf"), 0

    def filter(self, record: logging.LogRecord) -> bool:
        """The next one that passes says how many did not."""
        if record.module != "openai":
            return True
        if self._clock() < self._until:
            self._left_out += 1
            return False
        if self._left_out:
            record.msg, record.args = f"{record.getMessage()} (and {self._left_out} more since the last)", ()
        self._until, self._left_out = self._clock() + self._seconds, 0
        return True
