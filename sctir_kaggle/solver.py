"""One problem: N candidates at once, a vote after every answer, an end as soon as the vote is decided or time is up."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any

from sctir_kaggle.config import SolverConfig
from sctir_kaggle.rollout import Rollout
from sctir_kaggle.types import (
    Engine,
    Executor,
    Problem,
    SolveResult,
    StopReason,
    Trace,
    TraceStatus,
    Vote,
)
from sctir_kaggle.voting import Ballot, decided, tally

OnTrace = Callable[[Trace, Vote], None]
"""Called with every candidate that ends and the vote after it."""


class Solver:
    """Solves one problem at a time or several at once; holds no state between problems."""

    def __init__(
        self, engine: Engine, executor: Executor, config: SolverConfig, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.config = config
        self._engine = engine
        self._executor = executor
        self._clock = clock

    async def solve(
        self, problem: Problem, *, deadline: float = math.inf, on_trace: OnTrace | None = None
    ) -> SolveResult:
        """The vote of N candidates, at the latest `config.grace_seconds` after `deadline` (absolute, on the clock)."""
        started = self._clock()
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        election = _Election(self.config, on_trace)
        rollouts = [self._rollout(problem, candidate, deadline) for candidate in range(self.config.candidates)]
        tasks = {asyncio.ensure_future(election.follow(rollout)): rollout for rollout in rollouts}
        election.on_decided = lambda: _end(tasks, over)
        try:
            await self._wait(set(tasks), over, deadline)
        finally:
            _cancel(tasks)
        for task in tasks:
            if task.done() and not task.cancelled():
                task.result()  # a bug in a rollout is raised here
        return election.result(problem, rollouts, seconds=self._clock() - started)

    def _rollout(self, problem: Problem, candidate: int, deadline: float) -> Rollout:
        return Rollout(
            problem,
            candidate,
            engine=self._engine,
            executor=self._executor,
            config=self.config,
            deadline=deadline,
            clock=self._clock,
        )

    async def _wait(self, tasks: set[asyncio.Task[None]], over: asyncio.Future[None], deadline: float) -> None:
        """Until all have ended, one has failed with a bug, the vote is over, or the deadline; then for the grace only."""
        left = None if math.isinf(deadline) else max(0.0, deadline - self._clock())
        ended = asyncio.ensure_future(asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION))
        ends: set[asyncio.Future[Any]] = {ended, over}
        try:
            await asyncio.wait(ends, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
        _cancel(tasks)
        pending = {task for task in tasks if not task.done()}
        if pending:  # an engine that ignores its cancellation must not hang the solver
            await asyncio.wait(pending, timeout=self.config.grace_seconds)


class _Election:
    """The candidates' traces as they end. It decides in the very step in which a trace arrives, so a replay can repeat it."""

    def __init__(self, config: SolverConfig, on_trace: OnTrace | None) -> None:
        self.on_decided: Callable[[], None] = lambda: None
        self._config = config
        self._on_trace = on_trace
        self._traces: list[Trace] = []
        self._ballots: list[Ballot] = []
        self._decided = False

    async def follow(self, rollout: Rollout) -> None:
        self._add(await rollout.run())

    def result(self, problem: Problem, rollouts: list[Rollout], *, seconds: float) -> SolveResult:
        ended = {trace.candidate for trace in self._traces}
        cut = [rollout.trace(TraceStatus.CANCELLED) for i, rollout in enumerate(rollouts) if i not in ended]
        vote = self._vote()
        answer = self._config.default_answer if vote.winner is None else vote.winner
        stopped: StopReason = "exact" if self._decided and cut else "deadline" if cut else "all"
        return SolveResult(problem, answer, vote, (*self._traces, *cut), stopped, vote.winner is None, seconds)

    def _add(self, trace: Trace) -> None:
        if self._decided:
            return  # it ended in the step in which it was cancelled: the vote is closed
        self._traces.append(trace)
        if trace.answer is not None:
            self._ballots.append(Ballot(trace.candidate, trace.answer))
        if self._on_trace is not None:
            self._on_trace(trace, self._vote())
        if self._config.stop == "exact" and decided(self._ballots, unfinished=self._unfinished()):
            self._decided = True
            self.on_decided()

    def _unfinished(self) -> int:
        return self._config.candidates - len(self._traces)

    def _vote(self) -> Vote:
        return tally(self._ballots, tie_break=self._config.tie_break)


def _end(tasks: dict[asyncio.Task[None], Rollout], over: asyncio.Future[None]) -> None:
    """The vote is decided: cancel in this very step, and wake the solver."""
    _cancel(tasks)
    if not over.done():
        over.set_result(None)


def _cancel(tasks: dict[asyncio.Task[None], Rollout] | set[asyncio.Task[None]]) -> None:
    current = asyncio.current_task()
    for task in tasks:
        if task is not current:  # the candidate that decides the vote has itself ended
            task.cancel()
