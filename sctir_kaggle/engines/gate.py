"""How many requests may be on their way at once: fewer after a server has said that these are too many, then more again.

Additive increase, multiplicative decrease, as in TCP (Chiu and Jain, 1989), with gentler steps: a server limits requests a
minute more often than requests at once, and then its pauses do most. Belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Gate:
    """An asynchronous context manager that lets at most `limit` in, in the order in which they came.

    `limit` is from 1 to `slots`: a fiftieth of these more each time that `limit` have come out without an error.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._limit = float(slots)
        self._step = max(1.0, slots / 50)
        self._inside = 0
        self._settling = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        """How many may be inside now."""
        return int(self._limit)

    def narrow(self) -> None:
        """A fifth fewer from now on. Whoever is inside went in before: that they fail too is no further reason."""
        if self._settling <= 0:
            self._limit = max(1.0, 0.8 * self._limit)
            self._settling = self._inside

    async def __aenter__(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._let_in()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it had been let in, in the very step in which it was cancelled
                self._leave()
            raise

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._limit = min(float(self._slots), self._limit + self._step / self._limit)
        self._leave()

    def _leave(self) -> None:
        self._inside, self._settling = self._inside - 1, self._settling - 1
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._inside < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():  # else it was cancelled while it waited
                self._inside += 1
                turn.set_result(None)
