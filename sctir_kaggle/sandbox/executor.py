"""The `Executor` that runs untrusted, model-generated Python: a bounded number of blocks at a time, each with a deadline.

Covered: code that never ends, exhausts memory, floods its output, crashes, exits or prints anything; state that is kept
for one candidate and shared with no other; random numbers that differ between turns and repeat between runs. See
`confinement` for what code is kept from doing, and for what it is NOT.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from types import TracebackType
from typing import Any, get_args

from sctir_kaggle.sandbox.child import Capture, Child, Reply
from sctir_kaggle.sandbox.cores import usable_cores
from sctir_kaggle.sandbox.descriptors import Shortage
from sctir_kaggle.sandbox.folder import FILES, TOTAL_MB
from sctir_kaggle.sandbox.launcher import Zygote
from sctir_kaggle.sandbox.limits import THREADS
from sctir_kaggle.sandbox.memory import SharedMemory, default_total_mb
from sctir_kaggle.sandbox.protocol import LAYERS, RUINED, Layer
from sctir_kaggle.types import ExecutionResult, ExecutionStatus, ExecutorError, LastExpression, UserError

log = logging.getLogger(__name__)

FLOOD_BYTES = 8 << 20
"""Bytes of output after which a block is killed. Only `output_bytes` are kept; this bounds the work of reading them."""

SOFT_SECONDS = 0.25
"""Between the TimeoutError raised inside a block, for a traceback that shows where it was, and the kill."""

READY_SECONDS = 5.0
"""How long a fresh child may take to confine itself before another one is taken."""

ANSWER_SECONDS = 3.0
"""How long the zygote may take to hand over a child before another zygote is started beside it."""

MOST_RETIRED = 2
"""Zygotes at a time that are kept for the children that they still have."""

SHORT_SECONDS = 0.05
"""Between two attempts to start a child where something that it takes is missing."""

LEAST_MEMORY_MB = 16
"""MiB that an interpreter needs for a block that does nothing."""

VARIABLES_GONE = "Note: Python was restarted, earlier variables are gone.\n"
NO_TIME_LEFT = "TimeoutError: no time was left and the code was stopped"
OUTPUT_FLOOD = f"Error: the code printed more than {FLOOD_BYTES >> 20} MB and was stopped"
FOLDER_FULL = f"Error: the code filled its working folder, {FILES} files or {TOTAL_MB} MB at most, and was stopped"
DISK_FULL = "Error: the disk is nearly full, and the code wrote to it and was stopped"
TOO_MANY_THREADS = f"Error: the code started more than {THREADS} threads and was stopped"
BROKEN = "Error: the code broke the Python that it ran in and was stopped"
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
        self._memory = SharedMemory(self.total_memory_mb, each_mb=memory_mb)
        self.workers = workers or usable_cores()
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="sandbox")
        # Starts children, in one thread: no worker waits for a zygote, or for something that this machine is out of.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="sandbox-starter")
        self._running: set[ThreadPoolExecutor] = set()  # those that have at least one thread
        self._ahead = threading.Semaphore(self.workers)  # children started that no worker has taken yet
        self._shortage = ""  # while no child can be started: why
        self._zygote_lock = threading.Lock()  # held for seconds while a zygote starts: never take it on an event loop
        self._zygote: Zygote | None = None
        self._retired: list[Zygote] = []
        self._removals: list[threading.Thread] = []
        self._candidates_lock = threading.Lock()
        self._candidates: dict[str, _Candidate] = {}
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
        block = _Block(code, request_id, deadline, self._candidate(request_id))
        if block.candidate.take(block):
            self._dispatch(block)
        job = asyncio.wrap_future(block.future)
        try:
            await asyncio.wait({job}, timeout=left)
            if not job.done() and not block.started:  # still in a queue
                if self._shortage and not block.candidate.child:
                    raise ExecutorError(f"the sandbox {self._shortage}")
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
        with self._zygote_lock:
            for zygote in filter(None, (self._zygote, *self._retired)):
                zygote.close()
            self._zygote, self._retired = None, []
        self._pool.shutdown(wait=True, cancel_futures=True)
        for removal in self._removals:
            removal.join()

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

    def _dispatch(self, block: _Block) -> None:
        """Queue a block whose candidate is free: for a worker, or for a child first."""
        candidate = block.candidate
        if candidate.child and not candidate.died():
            self._queue(self._pool, self._run, block)
        else:
            self._queue(self._starter, self._start_child, block)

    def _queue(self, pool: ThreadPoolExecutor, step: Callable[[_Block], None], block: _Block) -> None:
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

    def _start_child(self, block: _Block) -> None:
        """Start a child for a block, in the starter's thread, and queue the block for a worker."""
        if block.failed:
            return
        try:
            child = self._new_child(block)
        except BaseException as error:
            self._finish(block, error=error)
        else:
            block.candidate.child, block.holds_ahead = child, child is not None
            self._queue(self._pool, self._run, block) if child else self._finish(block, _TOO_LATE)

    def _new_child(self, block: _Block) -> Child | None:
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
                    self._retire(zygote)
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

    def _run(self, block: _Block) -> None:
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

    def _result(self, block: _Block) -> ExecutionResult | None:
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

    def _finish(
        self, block: _Block, result: ExecutionResult = _TOO_LATE, *, error: BaseException | None = None
    ) -> None:
        """Hand over a block's result or error, and go on with its candidate's next block."""
        block.resolve(result, error)
        while following := block.candidate.leave():
            if not following.cancelled:
                self._dispatch(following)
                return
            following.resolve(_TOO_LATE)

    def _run_in(self, candidate: _Candidate, block: _Block, *, note: str) -> ExecutionResult:
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
        status, line = self._verdict(reply, cut_short=block.deadline < started + self.code_seconds)
        return ExecutionResult(_join(note + capture.text(), reply.text, line), status, taken)

    def _verdict(self, reply: Reply, *, cut_short: bool) -> tuple[ExecutionStatus, str]:
        """The status, and the line that tells the model which limit it met ("" where there was none)."""
        if reply.status in ("ok", "error"):
            return ExecutionStatus(reply.status), ""
        if reply.status == "memory":
            return ExecutionStatus.MEMORY, f"MemoryError: the code needed more than {self.memory_mb} MB and was stopped"
        if reply.status == "shared memory":
            total = f"all programs together needed more than {self.total_memory_mb} MB"
            return ExecutionStatus.MEMORY, f"MemoryError: {total}, and the code, the largest that ran, was stopped"
        if reply.status == "flood":
            return ExecutionStatus.OUTPUT_LIMIT, OUTPUT_FLOOD
        if reply.status == "files":
            return ExecutionStatus.OUTPUT_LIMIT, FOLDER_FULL
        if reply.status == "disk":
            return ExecutionStatus.OUTPUT_LIMIT, DISK_FULL
        if reply.status == "threads":
            return ExecutionStatus.CRASH, TOO_MANY_THREADS
        if reply.status == "broken" or (reply.status == "died" and reply.exit_code == RUINED):
            return ExecutionStatus.CRASH, BROKEN
        if reply.status == "cpu" or reply.exit_code == -signal.SIGXCPU:
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

    def _living_zygote(self) -> Zygote:
        """The zygote, a new one where there is none or it has died. Raises `ExecutorError` where none starts."""
        self._check_usable()
        with self._zygote_lock:
            self._check_usable()
            for retired in [zygote for zygote in self._retired if not zygote.children]:
                self._retired.remove(retired)
                self._bury(retired)
            if self._zygote and not self._zygote.alive:
                self._bury(self._zygote)
                self._zygote = None
            if self._zygote is None:
                zygote = Zygote(
                    self.python,
                    memory_mb=self.memory_mb,
                    memory=self._memory,
                    without=self.without,
                    spares=self.workers,
                )
                self._check_layers(zygote)
                self._zygote = zygote
            return self._zygote

    def _retire(self, zygote: Zygote) -> None:
        """Keep a zygote that does not answer for the children that it has, and start the next child in a new one."""
        with self._zygote_lock:
            if self._zygote is zygote and len(self._retired) < MOST_RETIRED:
                self._retired.append(zygote)
                self._zygote = None

    def _bury(self, zygote: Zygote) -> None:
        """Kill a zygote that is of no use any more, and remove what it leaves: the disk may take its time for that."""
        zygote.kill()
        removal = threading.Thread(target=zygote.close, name="sandbox-removal", daemon=True)
        removal.start()
        self._removals = [other for other in self._removals if other.is_alive()] + [removal]

    def _is_fork(self) -> bool:
        return os.getpid() != self._process

    def _check_usable(self) -> None:
        if self._is_fork():
            raise ExecutorError(f"this sandbox is that of process {self._process}: make one in each fork")
        if self._closed:
            raise ExecutorError("the sandbox is closed")

    def _check_layers(self, zygote: Zygote) -> None:
        """Warn once of layers that are missing and were not switched off; if `strict`, raise `ExecutorError`."""
        missing = [layer for layer in zygote.layers if layer.active is False]
        if self.strict and missing:
            zygote.close()
            raise ExecutorError(f"the sandbox is strict, and {_names(missing)}")
        if unasked := [layer for layer in missing if layer.name not in self.without]:
            _warn_once(f"the sandbox does what it can without all of its layers: {_names(unasked)}")


def _require(fulfilled: bool, name: str, value: object, wanted: str) -> None:
    if not fulfilled:
        raise UserError(f"the sandbox's {name} is {value!r}, and must be {wanted}")


def layers(*, python: str = sys.executable) -> tuple[Layer, ...]:
    """The layers of confinement on this machine, each tried out, in a fraction of a second.

    Raises `ExecutorError` where Python does not start, or where a layer fails its self-test.
    """
    zygote = Zygote(python, memory_mb=1024, memory=SharedMemory(1, each_mb=1), without=(), spares=0, warm=False)
    zygote.close()
    return zygote.layers


@dataclass
class _Candidate:
    """What is kept between a candidate's turns.

    One block at a time has the candidate, from `take` to `leave`, and whoever runs that block may use or replace `child`;
    others may only end it. `lost` is set where variables of earlier turns are gone, which the next output tells the model.
    """

    released: bool = False
    child: Child | None = None
    lost: bool = False
    taken: bool = False
    waiting: deque[_Block] = field(default_factory=deque)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, block: _Block) -> bool:
        """Whether the block has the candidate now; otherwise it waits until those before it are done."""
        with self.lock:
            if self.taken:
                self.waiting.append(block)
                return False
            self.taken = True
            return True

    def leave(self) -> _Block | None:
        """The block that has the candidate next. If there is none, the child of a released candidate is dropped."""
        with self.lock:
            if self.waiting:
                return self.waiting.popleft()
            self.taken = False
            self._settle()
            return None

    def drop(self) -> None:
        """Kill the child, if any, and note that its variables are lost."""
        if self.child:
            self.discard()
            self.lost = True

    def discard(self) -> None:
        """Kill the child, if any, which has run nothing yet."""
        if self.child:
            self.child.close()
            self.child = None

    def died(self) -> bool:
        """Whether the child ended since the last block (out of memory, say); if so it is dropped."""
        if self.child and self.child.confined and not self.child.alive:
            self.drop()
            return True
        return False

    def release(self) -> None:
        """Kill the code that is running, if any; free the child now, or when the block that uses it ends."""
        self.released = True
        if child := self.child:
            child.end()
        with self.lock:
            self._settle()

    def _settle(self) -> None:
        if self.released and not self.taken:
            self.drop()


@dataclass
class _Block:
    """One call of `execute`, on its way from the event loop to a worker's thread."""

    code: str
    request_id: str
    deadline: float
    candidate: _Candidate
    future: Future[ExecutionResult] = field(default_factory=Future)
    child: Child | None = None
    started: bool = False
    cancelled: bool = False
    holds_ahead: bool = False
    failures: int = 0
    failed: bool = False

    def cancel(self) -> None:
        self.cancelled = True
        if self.child:
            self.child.end()

    def resolve(self, result: ExecutionResult, error: BaseException | None = None) -> None:
        """Set the outcome, unless the caller has cancelled it."""
        with contextlib.suppress(InvalidStateError):
            self.future.set_exception(error) if error else self.future.set_result(result)


def _closed_early() -> ExecutorError:
    return ExecutorError("the sandbox was closed while a block was waiting")


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
