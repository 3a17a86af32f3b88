"""Solve the tasks of a replay, several at once, and journal each as it ends.

A task in which the engine or the sandbox failed every candidate says nothing about the model: it is noted as a fault and not
journalled as solved, so that a resumed run tries it again; several in a row end the run (`sctir_kaggle.scheduling`), and so do
the first ones if nothing has been served before (`sctir_kaggle.first_requests`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from sctir_kaggle.config import SolverConfig
from sctir_kaggle.dialects.dialect import Dialect
from sctir_kaggle.dialects.rows import NUMINA
from sctir_kaggle.first_requests import FirstRequests
from sctir_kaggle.lab.replay.results import ReplayJournal
from sctir_kaggle.scheduling import Ended, TaskPool
from sctir_kaggle.scheduling import Lane as PoolLane
from sctir_kaggle.solver import Solver
from sctir_kaggle.types import (
    Completion,
    Engine,
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
    """Solve each task with `config` under the task's seed, in at most `seconds`.

    A candidate's samples depend on its task and its number in it alone, so neither the order of tasks nor what runs beside
    them changes a text, as far as the engine's arithmetic does not depend on what else is in its batch.
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
    """Engine and executor under one seed: a problem may run under two seeds at once, and request ids must not clash."""

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
"""Solves one task at a time, on one worker. Raises `WorkerLost` where that is gone."""

FAILURES = 3
"""Failed tasks in a row that end the run: the engine that serves them is gone."""


class Watcher(Protocol):
    """Notified as each task begins and ends; a lost one begins again later."""

    def begun(self, task: Task) -> None: ...

    def ended(self, result: SolveResult) -> None: ...

    def failed(self, task: Task, why: str) -> None: ...

    def lost(self, task: Task) -> None: ...


class Scheduler:
    """One run over tasks. `failures` holds those that could not be solved, with the reason."""

    def __init__(self, journal: ReplayJournal, watcher: Watcher) -> None:
        self.failures: dict[Task, str] = {}
        self._journal, self._watcher = journal, watcher

    async def run(self, tasks: Sequence[Task], lanes: Sequence[Lane]) -> None:
        """Solve every task, in order as lanes become free.

        Raises `EngineError` where no lane is left or tasks fail in a row, `EngineDown` where nothing is served. A bug in one
        task ends the run; tasks that had ended before are in the journal.
        """
        first = FirstRequests(len(tasks))
        pool = TaskPool[Task](
            max_failures=FAILURES,
            advice="--resume goes on once that is fixed",
            on_failed=self._failed,
            on_lost=self._watcher.lost,
        )
        await pool.run(tasks, [self._journalled(lane, first) for lane in lanes])

    def _journalled(self, lane: Lane, first: FirstRequests) -> PoolLane[Task]:
        async def solve(task: Task) -> Ended[Task]:
            self._watcher.begun(task)
            result = await lane(task)
            first.check(result)
            if (why := failure_of(result)) is not None:
                return Ended(why)
            self._journal.append(result)
            self._watcher.ended(result)
            return Ended()

        return solve

    def _failed(self, task: Task, why: str) -> None:
        self.failures[task] = why
        self._journal.note(f"not solved with seed {task.seed}: {why}", task.problem.id)
        self._watcher.failed(task, why)


def failure_of(result: SolveResult) -> str | None:
    """Why a task failed: the first candidate's error, where the engine or the sandbox failed every candidate; else None."""
    failed = [trace for trace in result.traces if trace.status is TraceStatus.FAILED]
    return failed[0].detail if failed and len(failed) == len(result.traces) else None
