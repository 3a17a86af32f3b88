"""Tasks handed out to lanes, each of which solves one at a time; what ends is journalled at once, what is lost handed on.

A task all of whose candidates the engine or the sandbox failed says nothing about the model: it is noted as a fault and not
journalled as solved, so that a resumed run tries it again; several in a row end the run.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from sctir_kaggle.config import SolverConfig
from sctir_kaggle.dialects.dialect import Dialect
from sctir_kaggle.dialects.rows import NUMINA
from sctir_kaggle.lab.replay.results import ReplayJournal
from sctir_kaggle.solver import Solver
from sctir_kaggle.types import (
    Completion,
    Engine,
    EngineError,
    ExecutionResult,
    Executor,
    Problem,
    Prompt,
    SamplingParams,
    SolveResult,
    TraceStatus,
)


@dataclass(frozen=True, slots=True)
class Task:
    """One problem under one seed."""

    problem: Problem
    seed: int


class TaskSolver:
    """`config` for every task but for the seed, which is the task's; at most `seconds` a task.

    What a candidate draws depends on its task and its place in it alone, so neither order nor neighbours change a text, as
    far as the engine's arithmetic does not depend on what else is in its batch.
    """

    def __init__(
        self,
        engine: Engine,
        executor: Executor,
        config: SolverConfig,
        *,
        seconds: float = math.inf,
        dialect: Dialect | None = None,
    ) -> None:
        self._dialect = dialect or NUMINA
        self._engine, self._executor, self._config, self._seconds = engine, executor, config, seconds

    async def solve(self, task: Task) -> SolveResult:
        """See `Solver.solve`."""
        named = _OfSeed(self._engine, self._executor, task.seed)
        solver = Solver(named, named, replace(self._config, seed=task.seed), dialect=self._dialect)
        return await solver.solve(task.problem, deadline=time.monotonic() + self._seconds)


class _OfSeed:
    """Engine and executor as one seed sees them: a problem may be there under two seeds at once, and ids must not clash."""

    def __init__(self, engine: Engine, executor: Executor, seed: int) -> None:
        self._engine, self._executor, self._seed = engine, executor, seed

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        return await self._engine.generate(prompt, params, request_id=self._named(request_id))

    async def execute(self, code: str, *, request_id: str, deadline: float) -> ExecutionResult:
        return await self._executor.execute(code, request_id=self._named(request_id), deadline=deadline)

    def release(self, candidate_id: str) -> None:
        self._executor.release(self._named(candidate_id))

    def _named(self, id_: str) -> str:
        return f"{self._seed}:{id_}"


Lane = Callable[[Task], Awaitable[SolveResult]]

FAILURES = 3
"""So many failed tasks in a row end the run: whatever serves it is gone."""

LOSSES = 3
"""A task that was lost with so many workers is not handed on again: it may be what ends them."""


class WorkerLost(Exception):
    """Raised by a lane whose worker is gone: the lane is closed, its task goes to another."""


class Watcher(Protocol):
    """Is told of every task that begins, and how it ends; one that is lost will begin again."""

    def begun(self, task: Task) -> None: ...

    def ended(self, result: SolveResult) -> None: ...

    def failed(self, task: Task, why: str) -> None: ...

    def lost(self, task: Task) -> None: ...


class Scheduler:
    """One run over tasks. `failures` says of those that could not be solved why."""

    def __init__(self, journal: ReplayJournal, watcher: Watcher) -> None:
        self.failures: dict[Task, str] = {}
        self._journal, self._watcher = journal, watcher
        self._losses: Counter[Task] = Counter()
        self._in_a_row = 0

    async def run(self, tasks: Sequence[Task], lanes: Sequence[Lane]) -> None:
        """Every task, in order as far as lanes are free. Raises `EngineError` where no lane is left or tasks fail in a row.

        A bug in one task ends them all; those that had ended before are in the journal.
        """
        self._queue: asyncio.Queue[Task] = asyncio.Queue()
        for task in tasks:
            self._queue.put_nowait(task)
        self._open = len(tasks)
        running = {asyncio.ensure_future(self._serve(lane)) for lane in lanes}
        try:
            while running and self._open:
                ended, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for lane in ended:
                    lane.result()  # a bug is raised here
        finally:
            for lane in running:
                lane.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        if self._open:
            raise EngineError(
                f"no worker is left for {self._open} of {len(tasks)} tasks; --resume goes on with new ones"
            )

    async def _serve(self, lane: Lane) -> None:
        """Tasks, as long as any is open: one that another lane has may yet be lost and come here."""
        while self._open:
            task = await self._queue.get()
            self._watcher.begun(task)
            try:
                result = await lane(task)
            except WorkerLost as loss:
                self._hand_on(task, str(loss))
                return
            self._settle(task, result)

    def _hand_on(self, task: Task, why: str) -> None:
        self._losses[task] += 1
        if self._losses[task] < LOSSES:
            self._watcher.lost(task)
            self._queue.put_nowait(task)
        else:
            self._fail(task, f"lost with {LOSSES} workers: {why}")

    def _settle(self, task: Task, result: SolveResult) -> None:
        why = failure_of(result)
        if why is not None:
            self._fail(task, why)
            return
        self._journal.append(result)
        self._in_a_row, self._open = 0, self._open - 1
        self._watcher.ended(result)

    def _fail(self, task: Task, why: str) -> None:
        self.failures[task] = why
        self._journal.note(f"not solved with seed {task.seed}: {why}", task.problem.id)
        self._in_a_row, self._open = self._in_a_row + 1, self._open - 1
        self._watcher.failed(task, why)
        if self._in_a_row == FAILURES:
            raise EngineError(
                f"{FAILURES} tasks in a row failed, the last with: {why}; --resume goes on once that is mended"
            )


def failure_of(result: SolveResult) -> str | None:
    """Why nothing came of a task, where the engine or the sandbox failed every one of its candidates."""
    failed = [trace for trace in result.traces if trace.status is TraceStatus.FAILED]
    return failed[0].detail if failed and len(failed) == len(result.traces) else None
