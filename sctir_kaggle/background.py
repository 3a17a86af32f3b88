"""An event loop in a daemon thread, for callers that cannot be asynchronous.

A notebook cell already has a running loop, and a competition's `predict` is called in a worker thread: neither can run the
solver itself, both can wait for it here.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future, TimeoutError
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")

CLOSE_SECONDS = 10.0
"""Seconds that a closing loop may take to cancel its tasks."""


class BackgroundLoop:
    """A context manager. `run` may be called from any thread but the loop's own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sctir-loop", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` and return its result. An interrupt of the caller cancels `work` first, then propagates."""
        future = self.submit(work)
        try:
            return future.result()
        except (KeyboardInterrupt, SystemExit):
            self.drain()
            raise

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start `work` without waiting. Cancelling the future cancels it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        """Cancel all tasks and end the thread; a loop that a bug has blocked is left behind, its thread being a daemon."""
        if self._loop.is_closed():
            return
        self.drain()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()

    def drain(self, seconds: float = CLOSE_SECONDS) -> None:
        """Cancel every task and wait until all have cleaned up, for `seconds` at most."""
        try:
            asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).result(seconds)
        except (TimeoutError, CancelledError):
            pass

    def __enter__(self) -> BackgroundLoop:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def in_thread(work: Callable[[], T], name: str) -> Future[T]:
    """Run `work` in a daemon thread of its own, which neither Ctrl-C nor the end of the process waits for."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # a waiting thread must see it, whatever it is
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
