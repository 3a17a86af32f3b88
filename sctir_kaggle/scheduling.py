"""Run tasks with bounded concurrency; hand on what a lost worker had; stop once too many tasks in a row fail.

A lane does one task at a time, so the number of lanes bounds the concurrency. Covered: lazily read tasks, lanes whose worker
dies, tasks that lead to another task (a retry). Not covered: priorities, time limits, writing results down: a lane does that
itself, before it returns, so that a result is on disk when the next task starts.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sctir_kaggle.types import EngineError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ended(Generic[T]):
    """How a task ended. The default is a success with nothing to follow."""

    failure: str | None = None
    """Why nothing came of it, on one line; such tasks in a row end the run."""

    then: T | None = None
    """The task that the same lane does next, before it takes a new one."""


Lane = Callable[[T], Awaitable["Ended[T]"]]
"""Does one task. Raises `WorkerLost` where what does the work is gone; any other exception is a bug and ends the run."""

MAX_LOSSES = 3
"""A task lost with this many workers is not handed on again, since it may be what kills them."""


class WorkerLost(Exception):
    """Raised by a lane whose worker is gone: the lane is closed, and its task goes to another lane."""


class TaskPool(Generic[T]):
    """Tasks shared out to lanes; one pool is one run.

    >>> done = []
    >>> async def lane(task):
    ...     done.append(task)
    ...     return Ended(then=task * 10 if task < 10 else None)
    >>> asyncio.run(TaskPool(max_failures=3).run([1, 2, 3], [lane]))
    >>> done
    [1, 10, 2, 20, 3, 30]
    """

    def __init__(
        self,
        *,
        max_failures: int,
        noun: str = "tasks",
        advice: str = "start the same command again",
        on_failed: Callable[[T, str], None] = lambda task, why: None,
        on_lost: Callable[[T], None] = lambda task: None,
    ) -> None:
        """`max_failures` in a row end the run; the message calls the tasks `noun` and ends with `advice`.

        `on_failed` is called for every failed task with the reason, before the run may end; `on_lost` for a task that goes
        back to the queue with its worker.
        """
        self._max_failures, self._noun, self._advice = max_failures, noun, advice
        self._on_failed, self._on_lost = on_failed, on_lost
        self._done = self._failed_in_a_row = 0

    async def run(self, tasks: Iterable[T], lanes: Sequence[Lane[T]]) -> None:
        """Do every task; they start in order as lanes become free, tasks handed on last.

        Raises `EngineError` where too many fail in a row or no lane is left, and whatever a lane raises; either way the
        other lanes are cancelled before it is raised.
        """
        self._tasks, self._handed_on = iter(tasks), deque[tuple[T, int]]()
        self._in_flight, self._changed = 0, asyncio.Event()
        serving = [asyncio.ensure_future(self._serve(lane)) for lane in lanes]
        try:
            await asyncio.gather(*serving)
        finally:
            for lane in serving:
                lane.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
        if left := len(self._handed_on) + sum(1 for _ in self._tasks):
            raise EngineError(f"no worker is left for {left} of {self._done + left} {self._noun}; {self._advice}")

    async def _serve(self, lane: Lane[T]) -> None:
        """Do one task after the other in `lane`, until none is left or its worker is lost."""
        given = await self._next()
        while given is not None:
            task, losses = given
            try:
                ended = await lane(task)
            except WorkerLost as loss:
                self._hand_on(task, losses + 1, str(loss))
                return
            self._settle(task, ended)
            given = await self._next() if ended.then is None else (ended.then, 0)

    async def _next(self) -> tuple[T, int] | None:
        """The next task and how many workers it was lost with; None once all tasks have ended.

        A lane with nothing to do waits while others work: one of them may yet lose its worker and hand its task on.
        """
        while True:
            task = next(self._tasks, None)
            if task is not None or self._handed_on:
                self._in_flight += 1
                return (task, 0) if task is not None else self._handed_on.popleft()
            if not self._in_flight:
                return None
            self._changed.clear()
            await self._changed.wait()

    def _settle(self, task: T, ended: Ended[T]) -> None:
        self._done += 1
        if ended.then is None:
            self._leave()
        if ended.failure is None:
            self._failed_in_a_row = 0
        else:
            self._fail(task, ended.failure)

    def _hand_on(self, task: T, losses: int, why: str) -> None:
        if losses < MAX_LOSSES:
            self._on_lost(task)
            self._handed_on.append((task, losses))
            self._leave()
        else:
            self._settle(task, Ended(f"lost with {MAX_LOSSES} workers: {why}"))

    def _leave(self) -> None:
        """A lane is without a task: wake the waiting ones if there is one for them, or nothing left to wait for."""
        self._in_flight -= 1
        if self._handed_on or not self._in_flight:
            self._changed.set()

    def _fail(self, task: T, why: str) -> None:
        self._on_failed(task, why)
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= self._max_failures:
            raise EngineError(
                f"{self._failed_in_a_row} {self._noun} in a row failed, the last with: {why}; {self._advice}"
            )
