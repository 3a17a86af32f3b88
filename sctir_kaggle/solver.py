"""One problem: N candidates at once, a vote after every answer, an end as soon as the vote is decided or time is up.

Time is up at the soft deadline, or later where the vote is contested then: the hard one is the last.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from sctir_kaggle.config import SolverConfig
from sctir_kaggle.dialects.dialect import Dialect
from sctir_kaggle.dialects.rows import NUMINA
from sctir_kaggle.rollout import Rollout
from sctir_kaggle.stopping import AT_A_RISK, decided, leader_risk
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
from sctir_kaggle.voting import Ballot, Weigh, tally

OnTrace = Callable[[Trace, Vote], None]
"""Called with every candidate that ends and the vote after it."""


class Solver:
    """Solves one problem at a time or several at once; holds no state between problems."""

    def __init__(
        self,
        engine: Engine,
        executor: Executor,
        config: SolverConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
        dialect: Dialect = NUMINA,
    ) -> None:
        self._dialect = dialect
        self.config = config
        self._engine = engine
        self._executor = executor
        self._clock = clock

    async def solve(
        self,
        problem: Problem,
        *,
        deadline: float = math.inf,
        hard_deadline: float | None = None,
        on_trace: OnTrace | None = None,
        first: int = 0,
    ) -> SolveResult:
        """The vote of N candidates, at the latest `config.grace_seconds` after `deadline` (absolute, on the clock).

        A vote that is then contested (`config.contested_risk`) goes on while it is, at the longest until `hard_deadline`.
        One that is contested when all have ended goes on with `config.extra_candidates`, by the same two deadlines.
        Where no time is left at the start, no candidate is started: the default is the answer, at once. `first` is the
        number of the first candidate: of a problem that is solved again, one after the last, for texts of their own.
        """
        started = self._clock()
        hard = deadline if hard_deadline is None else max(deadline, hard_deadline)
        election = _Election(problem, self.config, on_trace)
        rollouts = [
            self._rollout(problem, candidate, hard) for candidate in range(first, first + self.config.candidates)
        ]
        if started < hard:
            await self._run(rollouts, election, deadline, hard)
        if more := election.call_extra():
            extra = [self._rollout(problem, first + len(rollouts) + number, hard) for number in range(more)]
            rollouts += extra
            await self._run(extra, election, deadline, hard)
        return election.result(dict(enumerate(rollouts, first)), seconds=self._clock() - started)

    def _rollout(self, problem: Problem, candidate: int, deadline: float) -> Rollout:
        return Rollout(
            problem,
            candidate,
            engine=self._engine,
            executor=self._executor,
            config=self.config,
            deadline=deadline,
            dialect=self._dialect,
            clock=self._clock,
        )

    async def _run(self, rollouts: list[Rollout], election: _Election, soft: float, hard: float) -> None:
        """All at once, until all have ended, one has failed with a bug, or the election is over; then the grace."""
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        tasks = {asyncio.ensure_future(election.follow(rollout)) for rollout in rollouts}
        election.on_over = lambda: _end(tasks, over)
        ended = asyncio.ensure_future(asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION))
        try:
            await self._until(soft, {ended, over})
            if soft < hard and not (ended.done() or over.done()) and election.goes_on():
                await self._until(hard, {ended, over})
        finally:
            ended.cancel()
            _cancel(tasks)
        await self._drain(tasks)
        for task in tasks:
            if task.done() and not task.cancelled():
                task.result()  # a bug in a rollout is raised here

    async def _until(self, deadline: float, ends: set[asyncio.Future[Any]]) -> None:
        left = None if math.isinf(deadline) else max(0.0, deadline - self._clock())
        await asyncio.wait(ends, timeout=left, return_when=asyncio.FIRST_COMPLETED)

    async def _drain(self, tasks: set[asyncio.Task[None]]) -> None:
        """Wait for the cancelled for the grace only: an engine that ignores its cancellation must not hang the solver."""
        try:
            if pending := {task for task in tasks if not task.done()}:
                await asyncio.wait(pending, timeout=self.config.grace_seconds)
        finally:
            _cancel(tasks)


class _Election:
    """The candidates' traces as they end. It decides in the very step in which a trace arrives, so a replay can repeat it."""

    def __init__(self, problem: Problem, config: SolverConfig, on_trace: OnTrace | None) -> None:
        self.on_over: Callable[[], None] = lambda: None
        self._problem = problem
        self._config = config
        self._on_trace = on_trace
        self._weigh: Weigh | None = config.vote_rule.weigher(config.modulus)
        self._stop = config.stop_rule
        self._traces: list[Trace] = []
        self._ballots: list[Ballot] = []
        self._stopped: StopReason | None = None
        self._electorate = config.candidates
        self._overtime = False

    async def follow(self, rollout: Rollout) -> None:
        self._add(await rollout.run())

    def result(self, rollouts: Mapping[int, Rollout], *, seconds: float) -> SolveResult:
        """`rollouts` are all candidates that were started, by number."""
        ended = {trace.candidate for trace in self._traces}
        cut = [rollout.trace(TraceStatus.CANCELLED) for i, rollout in rollouts.items() if i not in ended]
        vote = self._vote()
        answer = self._config.default_answer if vote.winner is None else vote.winner
        stopped: StopReason = (self._stopped or "deadline") if cut else "all"
        risk = self._risk() if self._weigh is None and stopped in AT_A_RISK else None
        traces, seed = (*self._traces, *cut), self._config.seed
        return SolveResult(self._problem, answer, vote, traces, stopped, vote.winner is None, seconds, risk, seed)

    def goes_on(self) -> bool:
        """At the soft deadline: whether there is a vote left to win. From then on it is asked after every answer."""
        self._overtime = True
        return self._contested()

    def call_extra(self) -> int:
        """How many candidates are to be started beyond the first N: none unless all have ended and left it contested."""
        if self._stopped is not None or self._unfinished():
            return 0
        self._electorate += self._config.extra_candidates
        return self._unfinished() if self._contested() else 0

    def _add(self, trace: Trace) -> None:
        if self._stopped is not None:
            return  # it ended in the step in which it was cancelled: the vote is closed
        self._traces.append(trace)
        if trace.answer is not None:
            weight = 1.0 if self._weigh is None else self._weigh(self._problem, trace)
            self._ballots.append(Ballot(trace.candidate, trace.answer, weight))
        if self._on_trace is not None:
            self._on_trace(trace, self._vote())
        self._stopped = self._why_over()
        if self._stopped is not None:
            self.on_over()

    def _why_over(self) -> StopReason | None:
        """What ends the work now; None while it goes on."""
        if reason := self._stop.reason(self._ballots, unfinished=self._unfinished()):
            return reason
        extra = self._electorate > self._config.candidates
        if (extra or self._overtime) and not self._contested():
            return "uncontested" if extra else "deadline"
        return None

    def _contested(self) -> bool:
        return self._risk() > self._config.contested_risk

    def _risk(self) -> float:
        if self._weigh is None:
            return float(leader_risk(self._ballots, unfinished=self._unfinished()))
        return float(not decided(self._ballots, unfinished=self._unfinished()))

    def _unfinished(self) -> int:
        return self._electorate - len(self._traces)

    def _vote(self) -> Vote:
        return tally(self._ballots, tie_break=self._config.tie_break)


def _end(tasks: set[asyncio.Task[None]], over: asyncio.Future[None]) -> None:
    """The election is over: cancel in this very step, and wake the solver."""
    _cancel(tasks)
    if not over.done():
        over.set_result(None)


def _cancel(tasks: set[asyncio.Task[None]]) -> None:
    current = asyncio.current_task()
    for task in tasks:
        if task is not current:  # the candidate that decides the vote has itself ended
            task.cancel()
