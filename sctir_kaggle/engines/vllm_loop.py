"""The thread that owns vLLM's engine: it builds it, then loops over `add_request`, `step` and `abort_request`.

These calls did not change between vLLM 0.17 and 0.32. One thread makes them all because the engine is not thread-safe, and
because CUDA's current device, torch's inference mode and OpenMP's threads belong to the thread that set them. It never
waits while a request runs, and never polls while none does.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from sctir_kaggle.types import EngineError, TokenIds, one_line

RESTARTS = 1
"""Times that a dead engine is built again: what kills it twice would do so a third time."""

T = TypeVar("T")

log = logging.getLogger("sctir_kaggle")


@dataclass(slots=True, eq=False)
class Request:
    """One request in flight. `params` are vLLM's `SamplingParams`; the future receives vLLM's `RequestOutput`."""

    request_id: str
    prompt: TokenIds
    params: Any
    future: asyncio.Future[Any]


@dataclass(slots=True, eq=False)
class Call:
    """Work on the engine itself, to be done between two of its steps."""

    work: Callable[[Any], Any]
    future: Future[Any]

    def do(self, engine: Any) -> None:
        """Pass what the work returns or raises to the future."""
        try:
            self.future.set_result(self.work(engine))
        except BaseException as error:  # whatever it is: `EngineLoop.call` must not wait for ever
            self.future.set_exception(error)


class EngineLoop:
    """Serves requests on the `LLMEngine` that `build` returns. All calls to the engine, `build` too, are made in one thread.

    `discard` is called with an engine before its last reference is dropped. An engine that died is built again
    `most_restarts` times. `engine` is None while there is none; read from it only what does not change.
    """

    def __init__(
        self, build: Callable[[], Any], discard: Callable[[Any], None], *, most_restarts: int = RESTARTS
    ) -> None:
        self.engine: Any = None
        self.restarts = 0
        self._build, self._discard, self._most_restarts = build, discard, most_restarts
        self._inbox: queue.SimpleQueue[Request | Call | None] = queue.SimpleQueue()
        self._running: dict[str, Request] = {}
        self._number = itertools.count()
        self._lock = threading.Lock()
        self._over: str | None = None
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._serve, name="vllm-engine", daemon=True)
        self._thread.start()

    @property
    def serving(self) -> bool:
        """False before the first start, while the engine is being restarted, and after its end."""
        return self.engine is not None

    def wait_until_started(self) -> None:
        """Block until the engine serves. Raises `EngineError` where it cannot be built."""
        self._started.result()

    def call(self, work: Callable[[Any], T]) -> T:
        """Do `work` on the engine between two of its steps, and return what it returns or raise what it raises.

        Blocks until then; call it from any thread but the engine's. What cancelled callers requested is aborted before.
        Raises `EngineError` once the loop has ended.
        """
        future: Future[T] = Future()
        self.submit(Call(work, future))
        return future.result()

    def submit(self, request: Request | Call) -> None:
        """Queue a request, from any thread. Raises `EngineError` once the loop has ended."""
        with self._lock:
            if self._over is not None:
                raise EngineError(self._over)
            self._inbox.put(request)

    def close(self) -> None:
        """End the thread and the engine. Requests in flight raise `EngineError`, and so do later ones."""
        self._inbox.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _serve(self) -> None:
        """The thread's body: runs until `close`, or until the engine cannot be built or has died once too often."""
        over = self._start()
        if over is None:
            self._started.set_result(None)
        while over is None:
            over = self._run()
            self._drop()
            if over is not None and self.restarts < self._most_restarts:
                self._fail_running(f"{over}; it is being restarted")
                self.restarts += 1
                over = self._start()
            elif over is None:
                over = "the engine is closed: load the model again"
        self._end(over)

    def _start(self) -> str | None:
        """Build the engine; return the fault, or None."""
        try:
            self.engine = self._build()
        except BaseException as error:  # whatever it is: `wait_until_started` must not wait for ever
            log.debug("vLLM did not start", exc_info=True)
            return f"vLLM did not start: {one_line(error, named=True)}"
        return None

    def _run(self) -> str | None:
        """Work until `close` (returns None) or until the engine dies (returns the reason)."""
        try:
            while self._receive():
                self._abort_cancelled()
                if self._running:
                    self._step()
        except BaseException as error:  # a request must never wait for an engine that is gone
            # Only text survives: a kept traceback would hold the dead engine, and its GPU memory, beside the new one.
            log.exception("vLLM died")
            return f"vLLM died: {one_line(error, named=True)}"
        return None

    def _receive(self) -> bool:
        """Admit all queued requests, blocking only while none runs; False once `close` was called."""
        try:
            while True:
                request = self._inbox.get(block=not self._running)
                if request is None:
                    return False
                if isinstance(request, Call):
                    self._abort_cancelled()
                    request.do(self.engine)
                elif not request.future.cancelled():
                    self._admit(request)
        except queue.Empty:
            return True

    def _admit(self, request: Request) -> None:
        """Add the request to the engine under a unique id (the caller's need not be); a refusal fails this request alone."""
        unique = f"{request.request_id}#{next(self._number)}"
        try:
            self.engine.add_request(unique, {"prompt_token_ids": list(request.prompt)}, request.params)
        except Exception as error:  # vLLM's classes for a bad request differ between its versions
            settle(
                request.future,
                EngineError(f"{request.request_id}: vLLM refused the request: {one_line(error, named=True)}"),
            )
            return
        self._running[unique] = request

    def _abort_cancelled(self) -> None:
        """Abort the requests whose caller was cancelled, which frees their KV blocks at once."""
        cancelled = [unique for unique, request in self._running.items() if request.future.cancelled()]
        if cancelled:
            self.engine.abort_request(cancelled)
            for unique in cancelled:
                del self._running[unique]

    def _step(self) -> None:
        """Run one step of the engine, and settle the requests that end with it."""
        if not self.engine.has_unfinished_requests():
            raise RuntimeError(f"vLLM lost {len(self._running)} requests")
        for output in self.engine.step():
            request = self._running.pop(output.request_id, None) if output.finished else None
            if request is not None:
                settle(request.future, output)

    def _drop(self) -> None:
        """Discard the engine; a dead one may fail at that, too."""
        engine, self.engine = self.engine, None
        try:
            self._discard(engine)
        except Exception:
            log.debug("vLLM did not shut down cleanly", exc_info=True)

    def _fail_running(self, message: str) -> None:
        log.error(message)
        for request in self._running.values():
            settle(request.future, EngineError(f"{request.request_id}: {message}"))
        self._running.clear()

    def _end(self, message: str) -> None:
        """End the loop: every request, in flight or later, raises `EngineError`."""
        with self._lock:
            self._over = message
            while not self._inbox.empty():
                request = self._inbox.get()
                if isinstance(request, Call):
                    request.future.set_exception(EngineError(message))
                elif request is not None:
                    self._running[f"#{next(self._number)}"] = request
        for request in self._running.values():
            settle(request.future, EngineError(message))
        self._running.clear()
        if not self._started.done():
            self._started.set_exception(EngineError(message))


def settle(future: asyncio.Future[Any], outcome: object) -> None:
    """Pass `outcome`, a result or an `EngineError`, to the future's event loop, from any thread."""

    def hand_over() -> None:
        if future.cancelled():
            return
        if isinstance(outcome, EngineError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    try:
        future.get_loop().call_soon_threadsafe(hand_over)
    except RuntimeError:  # that loop is closed: no caller waits any more
        pass
