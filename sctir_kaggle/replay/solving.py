"""Tasks, each a problem under a seed, solved with one engine and one executor, any number of them at once."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

from sctir_kaggle.config import SolverConfig
from sctir_kaggle.dialects.dialect import Dialect
from sctir_kaggle.dialects.rows import NUMINA
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
