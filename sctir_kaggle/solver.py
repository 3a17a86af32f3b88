"""One problem: N candidates at once, a vote after each, and an end as soon as the vote is decided or time is up.

Three decisions, each in its own place: what the ballots elect (`voting.tally`), whether the missing ones can still change
it (`stopping.StopRule`), and whether a close vote is worth more time or more candidates (`Overtime`).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sctir_kaggle.config import SolverConfig
from sctir_kaggle.dialects.dialect import Dialect
from sctir_kaggle.dialects.rows import NUMINA
from sctir_kaggle.rollout import Rollout
from sctir_kaggle.stopping import AT_A_RISK, decided, leader_risk
from sctir_kaggle.types import Engine, Executor, Problem, SolveResult, StopReason, Trace, TraceStatus, Vote
from sctir_kaggle.voting import Ballot, tally

OnTrace = Callable[[Trace, Vote], None]
"""Called with every candidate that ends and the vote after it."""


@dataclass(frozen=True, slots=True)
class Overtime:
    """Which problems get more than their share: those whose vote is still contested, and only while it is.

    Time first: at the soft deadline a contested vote goes on towards the hard one. Then candidates: where all N have ended
    and `extra_candidates` more would leave the vote contested, they are started. A vote is contested while its leader
    would lose with a probability above `risk`. Without `plain` votes that probability is unknown, so a vote counts as
    contested until it is decided.

    >>> close, clear = [Ballot(0, 42), Ballot(1, 7)], [Ballot(c, 42) for c in range(9)]
    >>> Overtime(risk=0.05).is_contested(close, unfinished=4), Overtime(risk=0.05).is_contested(clear, unfinished=4)
    (True, False)
    """

    risk: float
    extra_candidates: int = 0
    plain: bool = True

    def is_contested(self, ballots: Sequence[Ballot], *, unfinished: int) -> bool:
        """True while the missing candidates may overturn the vote with a probability above `risk`."""
        if self.plain:
            return float(leader_risk(ballots, unfinished=unfinished)) > self.risk
        return float(not decided(ballots, unfinished=unfinished)) > self.risk

    def extra(self, ballots: Sequence[Ballot]) -> int:
        """Number of candidates to start after all others have ended."""
        return self.extra_candidates if self.is_contested(ballots, unfinished=self.extra_candidates) else 0


class Solver:
    """Solves one problem at a time or several at once; keeps no state between problems."""

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
        """Sample N candidates and return their vote, at the latest `config.grace_seconds` after the last deadline.

        Deadlines are absolute, in seconds on the clock. At `deadline` the work ends, unless the vote is contested
        (`config.contested_risk`): then it goes on while it is, until `hard_deadline` at the longest. A vote that is
        contested when all candidates have ended goes on with `config.extra_candidates`, by the same two deadlines. Where
        no time is left at the start no candidate is started, and the answer is the default. `first` is the number of the
        first candidate: where a problem is solved again, numbers beyond the earlier ones draw new seeds.
        """
        started = self._clock()
        hard = deadline if hard_deadline is None else max(deadline, hard_deadline)
        count = _Count(problem, self.config, on_trace)
        rollouts = [self._rollout(problem, first + number, hard) for number in range(self.config.candidates)]
        if started < hard:
            await self._run(rollouts, count, deadline, hard)
        if more := count.extra():
            extra = [self._rollout(problem, first + len(rollouts) + number, hard) for number in range(more)]
            rollouts += extra
            await self._run(extra, count, deadline, hard)
        return count.result(rollouts, seconds=self._clock() - started)

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

    async def _run(self, rollouts: list[Rollout], count: _Count, soft: float, hard: float) -> None:
        """Run all at once, until all have ended, the count ends the work, time is up, or a bug ends one of them."""
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def follow(rollout: Rollout) -> None:
            # Decide in the very step in which a trace arrives, before another candidate can run: a replay repeats it.
            if count.add(await rollout.run()):
                _cancel(tasks)
                if not over.done():
                    over.set_result(None)

        tasks = {asyncio.ensure_future(follow(rollout)) for rollout in rollouts}
        ended = asyncio.ensure_future(asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION))
        try:
            await self._until(soft, {ended, over})
            if soft < hard and not (ended.done() or over.done()) and count.goes_on():
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
        """Wait for cancelled tasks, but only for the grace: an engine that ignores cancellation must not hang the solver."""
        try:
            if pending := {task for task in tasks if not task.done()}:
                await asyncio.wait(pending, timeout=self.config.grace_seconds)
        finally:
            _cancel(tasks)


def _cancel(tasks: set[asyncio.Task[None]]) -> None:
    current = asyncio.current_task()
    for task in tasks:
        if task is not current:  # the candidate that decides the vote has itself ended
            task.cancel()


class _Count:
    """One problem's candidates as they end: their traces, their ballots, and what ended the work."""

    def __init__(self, problem: Problem, config: SolverConfig, on_trace: OnTrace | None) -> None:
        self._problem = problem
        self._config = config
        self._on_trace = on_trace
        self._vote_rule = config.vote_rule
        self._stop_rule = config.stop_rule
        self._overtime = Overtime(config.contested_risk, config.extra_candidates, plain=config.vote == "plain")
        self._expected = config.candidates
        self._traces: list[Trace] = []
        self._ballots: list[Ballot] = []
        self._stopped: StopReason | None = None
        self._once_calm: StopReason | None = None  # in overtime: the reason to end as soon as the vote is not contested

    @property
    def unfinished(self) -> int:
        """Candidates that run, wait or are not started."""
        return self._expected - len(self._traces)

    @property
    def vote(self) -> Vote:
        """The vote so far."""
        return tally(self._ballots, tie_break=self._config.tie_break)

    def add(self, trace: Trace) -> bool:
        """Count a candidate that has ended; return whether the work is over."""
        if self._stopped is not None:
            return True  # it ended in the step in which it was cancelled: the vote is closed
        self._traces.append(trace)
        if (ballot := self._vote_rule.ballot(self._problem, trace, self._config.modulus)) is not None:
            self._ballots.append(ballot)
        if self._on_trace is not None:
            self._on_trace(trace, self.vote)
        self._stopped = self._stop_rule.reason(self._ballots, unfinished=self.unfinished)
        if self._stopped is None and self._once_calm is not None and not self._is_contested():
            self._stopped = self._once_calm
        return self._stopped is not None

    def goes_on(self) -> bool:
        """At the soft deadline: whether the vote is contested. From then on it is checked after every candidate."""
        self._once_calm = self._once_calm or "deadline"
        return self._is_contested()

    def extra(self) -> int:
        """Number of candidates to start beyond the first N: none unless all have ended and left the vote contested."""
        if self._stopped is not None or self.unfinished:
            return 0
        more = self._overtime.extra(self._ballots)
        self._expected, self._once_calm = self._expected + more, "uncontested"
        return more

    def _is_contested(self) -> bool:
        return self._overtime.is_contested(self._ballots, unfinished=self.unfinished)

    def result(self, rollouts: Sequence[Rollout], *, seconds: float) -> SolveResult:
        """The result of all `rollouts`; those that have not ended are cancelled candidates."""
        ended = {trace.candidate for trace in self._traces}
        cut = [rollout.trace(TraceStatus.CANCELLED) for rollout in rollouts if rollout.candidate not in ended]
        vote = self.vote
        stopped: StopReason = (self._stopped or "deadline") if cut else "all"
        risk = None
        if self._overtime.plain and stopped in AT_A_RISK:
            risk = float(leader_risk(self._ballots, unfinished=self.unfinished))
        return SolveResult(
            problem=self._problem,
            answer=self._config.default_answer if vote.winner is None else vote.winner,
            vote=vote,
            traces=(*self._traces, *cut),
            stopped=stopped,
            fallback=vote.winner is None,
            seconds=seconds,
            risk=risk,
            seed=self._config.seed,
        )
