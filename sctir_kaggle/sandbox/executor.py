"""The `Executor` that runs untrusted, model-generated Python: a bounded number of blocks at a time, each with a deadline.

Covered: code that never ends, exhausts memory, floods its output, crashes, exits or prints anything; state that is kept
for one candidate and shared with no other; random numbers that differ between turns and repeat between runs. See
`confinement` for what code is kept from doing, and for what it is NOT.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from types import TracebackType
from typing import Any

from sctir_kaggle.sandbox.child import Capture, Child, Reply
from sctir_kaggle.sandbox.folder import FILES, TOTAL_MB
from sctir_kaggle.sandbox.launcher import Zygote
from sctir_kaggle.sandbox.protocol import LAYERS, Layer
from sctir_kaggle.types import ExecutionResult, ExecutionStatus, ExecutorError, UserError

log = logging.getLogger(__name__)

FLOOD_BYTES = 8 << 20
"""Bytes of output after which a block is killed. Only `output_bytes` are kept; this bounds the work of reading them."""

SOFT_SECONDS = 0.25
"""Between the TimeoutError raised inside a block, for a traceback that shows where it was, and the kill."""

READY_SECONDS = 5.0
"""How long a fresh child may take to confine itself before its zygote counts as hung."""

VARIABLES_GONE = "Note: Python was restarted, earlier variables are gone.\n"
NO_TIME_LEFT = "TimeoutError: no time was left and the code was stopped"
OUTPUT_FLOOD = f"Error: the code printed more than {FLOOD_BYTES >> 20} MB and was stopped"
FOLDER_FULL = f"Error: the code filled its working folder, {FILES} files or {TOTAL_MB} MB at most, and was stopped"
BROKEN = "Error: the code broke the Python that it ran in and was stopped"
_TOO_LATE = ExecutionResult(NO_TIME_LEFT, ExecutionStatus.TIMEOUT)
_SURVIVED = ("ok", "error", "timeout")


class Sandbox:
    """Run blocks of Python, one confined interpreter per candidate. Thread-safe, and usable from several event loops.

    - `workers`: blocks that run at the same time (default: the number of CPUs); others wait.
    - `code_seconds`: limit of one block, from when it starts to run.
    - `memory_mb`: MiB that an interpreter may use beyond the warm imports.
    - `output_bytes`: bytes kept of the beginning of a block's output, and as many of its end.
    - `stateful`: keep a candidate's interpreter until `release`; otherwise each block has a fresh one.
    - `strict`: raise `ExecutorError` where this machine lacks a layer of the confinement; otherwise warn.
    - `without`: names of layers to switch off, for comparisons.
    - `python`: the interpreter that runs the code.

    Raises `UserError` where `without` names an unknown layer.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        code_seconds: float = 5.0,
        memory_mb: int = 1024,
        output_bytes: int = 16_384,
        stateful: bool = True,
        strict: bool = False,
        without: Collection[str] = (),
        python: str = sys.executable,
    ) -> None:
        if unknown := set(without) - set(LAYERS):
            raise UserError(f"no such layer: {', '.join(sorted(unknown))}; there are {', '.join(LAYERS)}")
        self.code_seconds, self.memory_mb, self.output_bytes = code_seconds, memory_mb, output_bytes
        self.stateful, self.strict, self.without, self.python = stateful, strict, tuple(without), python
        self.workers = workers or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="sandbox")
        self._zygote_lock = threading.Lock()  # held for seconds while a zygote starts: never take it on an event loop
        self._zygote: Zygote | None = None
        self._candidates_lock = threading.Lock()
        self._candidates: dict[str, _Candidate] = {}
        self._closed = False

    def start(self) -> None:
        """Start the zygote, which takes about two seconds. `with` calls this; otherwise the first block waits for it.

        Best called before a GPU is initialised. Raises `ExecutorError` where Python cannot be started, where a layer
        fails its self-test, and, if `strict`, where one is missing.
        """
        self._living_zygote()

    def layers(self) -> tuple[Layer, ...]:
        """The layers of confinement on this machine. Starts the zygote if necessary; raises as `start` does."""
        return self._living_zygote().layers

    def describe(self) -> dict[str, Any]:
        """Limits and layers, for the header of a journal. Starts the zygote if necessary; raises as `start` does."""
        limits = {name: getattr(self, name) for name in ("workers", "code_seconds", "memory_mb", "output_bytes")}
        return {**limits, "stateful": self.stateful, "layers": [layer._asdict() for layer in self.layers()]}

    async def execute(self, code: str, *, request_id: str, deadline: float) -> ExecutionResult:
        """Run a block in its candidate's interpreter, until `deadline` (monotonic seconds) at most.

        `request_id` is "candidate/turn", where the candidate's part may hold slashes. Whatever the code does is a result;
        cancelling the call kills the code. Raises `ExecutorError` where the sandbox is closed or cannot start.
        """
        if self._closed:
            raise ExecutorError("the sandbox is closed")
        left = deadline - time.monotonic()
        if left <= 0:
            return _TOO_LATE
        block = _Block(code, request_id, deadline, self._candidate(request_id))
        job = asyncio.wrap_future(self._pool.submit(self._run, block))
        try:
            await asyncio.wait({job}, timeout=left)
            if not job.done() and block.child is None:  # still in the queue
                return _TOO_LATE
            await asyncio.wait({job})
        finally:
            if not job.done():
                block.cancel()
                job.cancel()
        if job.cancelled():
            raise ExecutorError("the sandbox was closed while a block was waiting")
        return job.result()

    def release(self, candidate_id: str) -> None:
        """Kill a candidate's code and free its interpreter. Nothing happens for an id that is not known."""
        with self._candidates_lock:
            candidate = self._candidates.pop(candidate_id, None)
        if candidate:
            candidate.release()

    def close(self) -> None:
        """End everything: no process, descriptor or folder is left behind."""
        self._closed = True
        with self._candidates_lock:
            ids = list(self._candidates)
        for candidate_id in ids:
            self.release(candidate_id)
        with self._zygote_lock:
            if self._zygote:
                self._zygote.close()
                self._zygote = None
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Sandbox:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Sandbox:
        await asyncio.get_running_loop().run_in_executor(None, self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.close)

    def _run(self, block: _Block) -> ExecutionResult:
        """Take a block from the queue to its result, in a worker thread."""
        if block.cancelled:
            return _TOO_LATE
        candidate = block.candidate
        patience = min(max(0.0, block.deadline - time.monotonic()), threading.TIMEOUT_MAX)
        if not candidate.lock.acquire(timeout=patience):
            return _TOO_LATE
        try:
            lost = candidate.lost or candidate.died()
            block.child = candidate.child = self._living_child(candidate, block.deadline)
            # `cancel` may have come before there was a child to end, so look once more now that there is one.
            if block.cancelled or block.child is None:
                candidate.drop()
                return _TOO_LATE
            return self._run_in(candidate, block, note=VARIABLES_GONE if lost else "")
        finally:
            candidate.lock.release()
            candidate.settle()

    def _run_in(self, candidate: _Candidate, block: _Block, *, note: str) -> ExecutionResult:
        """Run a block in the candidate's child, and then stop, keep or drop the child."""
        assert candidate.child
        started = time.monotonic()
        until = min(block.deadline, started + self.code_seconds + SOFT_SECONDS)
        seconds = max(min(self.code_seconds, until - started - SOFT_SECONDS), 0.001)
        request: dict[str, object] = {"code": block.code, "request_id": block.request_id, "seconds": seconds}
        capture = Capture(self.output_bytes)
        reply = candidate.child.run(request, until=until, capture=capture, flood=FLOOD_BYTES)
        taken = time.monotonic() - started
        candidate.lost = False
        if reply.status not in _SURVIVED:
            candidate.drop()
        elif self.stateful:
            candidate.child.stop()  # until the next turn
        status, line = self._verdict(reply, cut_short=block.deadline < started + self.code_seconds)
        return ExecutionResult(_join(note + capture.text(), reply.text, line), status, taken)

    def _verdict(self, reply: Reply, *, cut_short: bool) -> tuple[ExecutionStatus, str]:
        """The status, and the line that tells the model which limit it met ("" where there was none)."""
        if reply.status in ("ok", "error"):
            return ExecutionStatus(reply.status), ""
        if reply.status == "memory":
            return ExecutionStatus.MEMORY, f"MemoryError: the code needed more than {self.memory_mb} MB and was stopped"
        if reply.status == "flood":
            return ExecutionStatus.OUTPUT_LIMIT, OUTPUT_FLOOD
        if reply.status == "files":
            return ExecutionStatus.OUTPUT_LIMIT, FOLDER_FULL
        if reply.status == "broken":
            return ExecutionStatus.CRASH, BROKEN
        if reply.exit_code == -signal.SIGXCPU:
            line = f"TimeoutError: the code used more than {self.code_seconds:g} seconds of CPU time and was stopped"
            return ExecutionStatus.TIMEOUT, line
        if reply.status == "died":
            return ExecutionStatus.CRASH, f"Error: the code ended Python ({_cause(reply.exit_code)})"
        if cut_short:
            return ExecutionStatus.TIMEOUT, NO_TIME_LEFT
        line = f"TimeoutError: the code ran for more than {self.code_seconds:g} seconds and was stopped"
        return ExecutionStatus.TIMEOUT, line

    def _candidate(self, request_id: str) -> _Candidate:
        """The candidate of a request, a new one if need be.

        Looked up when `execute` is called, not when the block runs: by then the candidate may have been released, and a
        new entry would never be freed.
        """
        if not self.stateful:
            return _Candidate(released=True)
        with self._candidates_lock:
            return self._candidates.setdefault(request_id.rpartition("/")[0], _Candidate())

    def _living_child(self, candidate: _Candidate, deadline: float) -> Child | None:
        """The candidate's child, or a new one; None where none is ready before the deadline.

        Raises `ExecutorError` after three failures of the zygote or of a fresh child.
        """
        if candidate.child:
            return candidate.child
        failures = 0
        while failures < 3:
            zygote = self._living_zygote()
            patience = min(READY_SECONDS, deadline - time.monotonic())
            if patience <= 0:
                return None
            try:
                child = zygote.spawn()
            except BlockingIOError:  # out of memory, processes or descriptors: another child may end meanwhile
                time.sleep(min(0.1, patience))
                continue
            except OSError:  # the zygote has died
                zygote.kill()
                failures += 1
                continue
            if child.ready(patience):
                return child
            if child.alive and patience == READY_SECONDS:  # neither ready nor dead after the full time: it hangs
                zygote.kill()
            child.close()
            failures += 1
        raise ExecutorError("the sandbox cannot start a child: see the error output of its Python")

    def _living_zygote(self) -> Zygote:
        """The zygote, started again if it has died. Raises `ExecutorError`."""
        with self._zygote_lock:
            if self._closed:
                raise ExecutorError("the sandbox is closed")
            if self._zygote and not self._zygote.alive:
                dead, self._zygote = self._zygote, None
                dead.close()
            if self._zygote is None:
                zygote = Zygote(self.python, memory_mb=self.memory_mb, without=self.without, spares=self.workers)
                self._check_layers(zygote)
                self._zygote = zygote
            return self._zygote

    def _check_layers(self, zygote: Zygote) -> None:
        """Warn once of layers that are missing and were not switched off; if `strict`, raise `ExecutorError`."""
        missing = [layer for layer in zygote.layers if layer.active is False]
        if self.strict and missing:
            zygote.close()
            raise ExecutorError(f"the sandbox is strict, and {_names(missing)}")
        if unasked := [layer for layer in missing if layer.name not in self.without]:
            _warn_once(f"the sandbox does what it can without all of its layers: {_names(unasked)}")


def layers(*, python: str = sys.executable) -> tuple[Layer, ...]:
    """The layers of confinement on this machine, each tried out, in a fraction of a second.

    Raises `ExecutorError` where Python does not start, or where a layer fails its self-test.
    """
    zygote = Zygote(python, memory_mb=1024, without=(), spares=0, warm=False)
    zygote.close()
    return zygote.layers


@dataclass
class _Candidate:
    """What is kept between a candidate's turns.

    Only the holder of `lock` may use or replace `child`, except to end it. `lost` is set where variables of earlier turns
    are gone, which the next output tells the model.
    """

    released: bool = False
    child: Child | None = None
    lost: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def drop(self) -> None:
        """Kill the child, if any, and note that its variables are lost."""
        if self.child:
            self.child.close()
            self.child, self.lost = None, True

    def died(self) -> bool:
        """Whether the child ended since the last block (out of memory, say); if so it is dropped."""
        if self.child and not self.child.alive:
            self.drop()
            return True
        return False

    def release(self) -> None:
        """Kill the code that is running, if any; free the child now, or when the block that uses it ends."""
        self.released = True
        if child := self.child:
            child.end()
        self.settle()

    def settle(self) -> None:
        """Drop the child of a released candidate, unless a block still uses it.

        Both `release` and the end of a block call this, so that the later of the two frees the child.
        """
        if self.released and self.lock.acquire(blocking=False):
            try:
                self.drop()
            finally:
                self.lock.release()


@dataclass
class _Block:
    """One call of `execute`, on its way from the event loop to a worker thread."""

    code: str
    request_id: str
    deadline: float
    candidate: _Candidate
    child: Child | None = None
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True
        if self.child:
            self.child.end()


@cache
def _warn_once(text: str) -> None:
    log.warning(text)


def _join(*parts: str) -> str:
    """The parts that are not empty, each beginning on a line of its own."""
    text = ""
    for part in filter(None, parts):
        text += part if not text or text.endswith("\n") else "\n" + part
    return text


def _names(layers: Iterable[Layer]) -> str:
    return ", ".join(f"{layer.name} is missing ({layer.detail})" for layer in layers)


def _cause(exit_code: int | None) -> str:
    """An exit code in words; a negative one is a signal's number."""
    if exit_code is None:
        return "killed"
    if exit_code >= 0:
        return f"exit code {exit_code}"
    return next((known.name for known in signal.Signals if known == -exit_code), f"signal {-exit_code}")
