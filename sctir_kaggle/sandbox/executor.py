"""The `Executor` that runs untrusted, model-generated Python: a bounded number of blocks at a time, each with a deadline.

Covered: code that never ends, exhausts memory, floods its output, crashes, exits or prints anything; state that is kept
for one candidate and shared with no other; random numbers that differ between turns and repeat between runs. See
`confinement` for what code is kept from doing, and for what it is NOT.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, get_args

from sctir_kaggle.sandbox.candidates import Block, Candidate
from sctir_kaggle.sandbox.child import Capture, Child
from sctir_kaggle.sandbox.cores import usable_cores
from sctir_kaggle.sandbox.descriptors import Shortage
from sctir_kaggle.sandbox.launcher import Zygote
from sctir_kaggle.sandbox.memory import SharedMemory, default_total_mb
from sctir_kaggle.sandbox.outcome import FLOOD_BYTES, NO_TIME_LEFT, VARIABLES_GONE, joined, outcome
from sctir_kaggle.sandbox.protocol import LAYERS, Layer
from sctir_kaggle.sandbox.zygotes import Zygotes
from sctir_kaggle.types import ExecutionResult, ExecutionStatus, ExecutorError, LastExpression, UserError

log = logging.getLogger(__name__)

SOFT_SECONDS = 0.25
"""Between the TimeoutError raised inside a block, for a traceback that shows where it was, and the kill."""

READY_SECONDS = 5.0
"""How long a fresh child may take to confine itself before another one is taken."""

ANSWER_SECONDS = 3.0
"""How long the zygote may take to hand over a child before another zygote is started beside it."""

SHORT_SECONDS = 0.05
"""Between two attempts to start a child where something that it takes is missing."""

LEAST_MEMORY_MB = 16
"""MiB that an interpreter needs for a block that does nothing."""

_TOO_LATE = ExecutionResult(NO_TIME_LEFT, ExecutionStatus.TIMEOUT)
_SURVIVED = ("ok", "error", "timeout")


class Sandbox:
    """Run blocks of Python, one confined interpreter per candidate. Thread-safe, and usable from several event loops.

    - `workers`: blocks that run at the same time (default: the cores that this process may use); others wait.
    - `code_seconds`: limit of one block, from when it starts to run.
    - `memory_mb`: MiB that an interpreter may use beyond the warm imports.
    - `total_memory_mb`: MiB that all interpreters together may use; by default the machine's memory without a reserve.
    - `output_bytes`: bytes kept of the beginning of a block's output, and as many of its end.
    - `stateful`: keep a candidate's interpreter until `release`; otherwise each block has a fresh one.
    - `last_expression`: when the value of a block's last expression is shown; see `types.LastExpression`.
    - `strict`: raise `ExecutorError` where this machine lacks a layer of the confinement; otherwise warn.
    - `without`: names of layers to switch off, for comparisons.
    - `python`: the interpreter that runs the code.

    Raises `UserError` where an argument is none of these, or `without` names an unknown layer.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        code_seconds: float = 5.0,
        memory_mb: int = 1024,
        total_memory_mb: int | None = None,
        output_bytes: int = 16_384,
        stateful: bool = True,
        last_expression: LastExpression = "always",
        strict: bool = False,
        without: Collection[str] = (),
        python: str = sys.executable,
    ) -> None:
        if unknown := set(without) - set(LAYERS):
            raise UserError(f"no such layer: {', '.join(sorted(unknown))}; there are {', '.join(LAYERS)}")
        _require(workers is None or workers >= 1, "workers", workers, "at least 1, or None for the usable cores")
        _require(code_seconds > 0, "code_seconds", code_seconds, "above 0 seconds")
        _require(memory_mb >= LEAST_MEMORY_MB, "memory_mb", memory_mb, f"at least {LEAST_MEMORY_MB} MiB")
        _require(output_bytes >= 1, "output_bytes", output_bytes, "at least 1 byte")
        rules = get_args(LastExpression)
        _require(last_expression in rules, "last_expression", last_expression, " or ".join(rules))
        self.code_seconds, self.memory_mb, self.output_bytes = code_seconds, memory_mb, output_bytes
        self.stateful, self.strict, self.without, self.python = stateful, strict, tuple(without), python
        self.last_expression: LastExpression = last_expression
        self.total_memory_mb = total_memory_mb or default_total_mb()
        memory = SharedMemory(self.total_memory_mb, each_mb=memory_mb)
        self.workers = workers or usable_cores()
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="sandbox")
        # Starts children, in one thread: no worker waits for a zygote, or for something that this machine is out of.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="sandbox-starter")
        self._running: set[ThreadPoolExecutor] = set()  # those that have at least one thread
        self._ahead = threading.Semaphore(self.workers)  # children started that no worker has taken yet
        self._shortage = ""  # while no child can be started: why
        self._zygotes = Zygotes(
            python, memory_mb=memory_mb, memory=memory, without=without, spares=self.workers, strict=strict
        )
        self._candidates_lock = threading.Lock()
        self._candidates: dict[str, Candidate] = {}
        self._closed, self._process = False, os.getpid()

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
        names = (
            "workers",
            "code_seconds",
            "memory_mb",
            "total_memory_mb",
            "output_bytes",
            "stateful",
            "last_expression",
        )
        return {name: getattr(self, name) for name in names} | {"layers": [layer._asdict() for layer in self.layers()]}

    async def execute(self, code: str, *, request_id: str, deadline: float) -> ExecutionResult:
        """Run a block in its candidate's interpreter, until `deadline` (monotonic seconds) at most.

        `request_id` is "candidate/turn", where the candidate's part may hold slashes. Whatever the code does is a result;
        cancelling the call kills the code. Raises `ExecutorError` where the sandbox is closed or cannot start, or is out of
        something that a child takes until the deadline, and in a fork of the process that made it.
        """
        self._check_usable()
        left = deadline - time.monotonic()
        if left <= 0:
            return _TOO_LATE
        block = Block(code, request_id, deadline, self._candidate(request_id))
        if block.candidate.take(block):
            self._dispatch(block)
        job = asyncio.wrap_future(block.future)
        try:
            await asyncio.wait({job}, timeout=left)
            if not job.done() and not block.started:  # still in a queue
                if self._shortage and not block.candidate.child:
                    raise self._short()
                return _TOO_LATE
            await asyncio.wait({job})
        finally:
            if not job.done():
                block.cancel()
                job.cancel()
        return job.result()

    def release(self, candidate_id: str) -> None:
        """Kill a candidate's code and free its interpreter. Nothing happens for an id that is not known."""
        if self._is_fork():
            return
        with self._candidates_lock:
            candidate = self._candidates.pop(candidate_id, None)
        if candidate:
            candidate.release()

    def close(self) -> None:
        """End everything: no process, descriptor or folder is left behind.

        In a fork of the process that made the sandbox nothing happens: all of that is the other one's.
        """
        if self._is_fork():
            return
        self._closed = True
        with self._candidates_lock:
            ids = list(self._candidates)
        for candidate_id in ids:
            self.release(candidate_id)
        self._starter.shutdown(wait=True, cancel_futures=True)
        self._zygotes.close()
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

    def _dispatch(self, block: Block) -> None:
        """Queue a block whose candidate is free: for a worker, or for a child first."""
        candidate = block.candidate
        if candidate.child and not candidate.died():
            self._queue(self._pool, self._run, block)
        else:
            self._queue(self._starter, self._start_child, block)

    def _queue(self, pool: ThreadPoolExecutor, step: Callable[[Block], None], block: Block) -> None:
        """Have a thread of the pool take the step; where that is impossible, or the pool is closed, the block fails."""
        try:
            job = pool.submit(step, block)
        except RuntimeError as error:  # closed, or the machine has no more threads
            if self._closed:
                self._finish(block, error=_closed_early())
            elif pool not in self._running:  # otherwise a thread that it has takes the step later
                block.failed = True
                self._finish(block, error=ExecutorError(f"the sandbox cannot run code, {error}: see ulimit -u"))
        else:
            self._running.add(pool)
            job.add_done_callback(lambda job: self._finish(block, error=_closed_early()) if job.cancelled() else None)

    def _start_child(self, block: Block) -> None:
        """Start a child for a block, in the starter's thread, and queue the block for a worker."""
        if block.failed:
            return
        try:
            child = self._new_child(block)
        except BaseException as error:
            self._finish(block, error=error)
        else:
            block.candidate.child, block.holds_ahead = child, child is not None
            if child:
                self._queue(self._pool, self._run, block)
            else:
                self._finish(block, error=self._short() if self._shortage else None)

    def _new_child(self, block: Block) -> Child | None:
        """A child, or None where there is none before the block's deadline.

        Raises `ExecutorError` where the zygote has died three times.
        """
        deaths = 0
        while not (block.cancelled or self._closed) and time.monotonic() < block.deadline:
            if not self._ahead.acquire(timeout=SHORT_SECONDS):
                continue
            try:
                zygote = self._living_zygote()
                child = zygote.spawn(max(0.0, min(ANSWER_SECONDS, block.deadline - time.monotonic())))
            except Shortage as shortage:  # another child may end meanwhile
                self._ahead.release()
                self._shortage = str(shortage)
                time.sleep(SHORT_SECONDS)
            except TimeoutError:
                self._ahead.release()
                if time.monotonic() < block.deadline:
                    self._shortage = f"has had no answer from its Python for {ANSWER_SECONDS:g} s"
                    self._zygotes.retire(zygote)
            except OSError:  # the zygote has died
                self._ahead.release()
                zygote.kill()
                deaths += 1
                if deaths == 3:
                    raise ExecutorError("the sandbox's Python ended three times: see its error output") from None
            except BaseException:
                self._ahead.release()
                raise
            else:
                self._shortage = ""
                return child
        if self._closed:
            raise _closed_early()
        return None

    def _short(self) -> ExecutorError:
        return ExecutorError(f"the sandbox {self._shortage}")

    def _run(self, block: Block) -> None:
        """Run a block, in a worker's thread, or queue it once more where its child is of no use."""
        if block.failed:
            return
        if block.holds_ahead:
            self._ahead.release()
            block.holds_ahead = False
        try:
            result = _TOO_LATE if block.cancelled else self._result(block)
        except BaseException as error:
            self._finish(block, error=error)
        else:
            if result:
                self._finish(block, result)
            else:
                block.child, block.started = None, False
                self._dispatch(block)

    def _result(self, block: Block) -> ExecutionResult | None:
        """The block's result; None where the child is not ready for it. `ExecutorError` after three of these."""
        candidate = block.candidate
        if candidate.died() or not candidate.child:
            return None
        block.started, block.child = True, candidate.child
        if block.cancelled:  # `cancel` may have come before there was a child to end
            candidate.drop()
            return _TOO_LATE
        patience = min(READY_SECONDS, block.deadline - time.monotonic())
        if not block.child.ready(patience):
            candidate.discard()
            if block.cancelled or time.monotonic() >= block.deadline:
                return _TOO_LATE
            block.failures += 1
            if block.failures == 3:
                reason = block.child.trouble or "see the error output of its Python"
                raise ExecutorError(f"the sandbox cannot start a child: {reason}")
            return None
        return self._run_in(candidate, block, note=VARIABLES_GONE if candidate.lost else "")

    def _finish(self, block: Block, result: ExecutionResult = _TOO_LATE, *, error: BaseException | None = None) -> None:
        """Hand over a block's result or error, and go on with its candidate's next block."""
        block.resolve(result, error)
        while following := block.candidate.leave():
            if not following.cancelled:
                self._dispatch(following)
                return
            following.resolve(_TOO_LATE)

    def _run_in(self, candidate: Candidate, block: Block, *, note: str) -> ExecutionResult:
        """Run a block in the candidate's child, and then stop, keep or drop the child."""
        assert candidate.child
        started = time.monotonic()
        until = min(block.deadline, started + self.code_seconds + SOFT_SECONDS)
        seconds = max(min(self.code_seconds, until - started - SOFT_SECONDS), 0.001)
        request: dict[str, object] = {"code": block.code, "request_id": block.request_id, "seconds": seconds}
        request["last_expression"] = self.last_expression
        capture = Capture(self.output_bytes)
        reply = candidate.child.run(request, seconds=seconds, until=until, capture=capture, flood=FLOOD_BYTES)
        taken = time.monotonic() - started
        candidate.lost = False
        if reply.status not in _SURVIVED:
            candidate.drop()
        elif self.stateful:
            candidate.child.stop()  # until the next turn
        status, line = outcome(
            reply,
            cut_short=block.deadline < started + self.code_seconds,
            code_seconds=self.code_seconds,
            memory_mb=self.memory_mb,
            total_memory_mb=self.total_memory_mb,
        )
        return ExecutionResult(joined(note + capture.text(), reply.text, line), status, taken)

    def _candidate(self, request_id: str) -> Candidate:
        """The candidate of a request, a new one if need be.

        Looked up when `execute` is called, not when the block runs: by then the candidate may have been released, and a
        new entry would never be freed.
        """
        if not self.stateful:
            return Candidate(released=True)
        with self._candidates_lock:
            return self._candidates.setdefault(request_id.rpartition("/")[0], Candidate())

    @property
    def _zygote(self) -> Zygote | None:
        """The latest, for whoever looks at the sandbox from outside; it may have died."""
        return self._zygotes.current

    def _living_zygote(self) -> Zygote:
        self._check_usable()
        return self._zygotes.living()

    def _is_fork(self) -> bool:
        return os.getpid() != self._process

    def _check_usable(self) -> None:
        if self._is_fork():
            raise ExecutorError(f"this sandbox is that of process {self._process}: make one in each fork")
        if self._closed:
            raise ExecutorError("the sandbox is closed")


def _require(fulfilled: bool, name: str, value: object, wanted: str) -> None:
    if not fulfilled:
        raise UserError(f"the sandbox's {name} is {value!r}, and must be {wanted}")


def _closed_early() -> ExecutorError:
    return ExecutorError("the sandbox was closed while a block was waiting")
