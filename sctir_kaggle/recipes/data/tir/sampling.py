"""Sample each exercise until an attempt is kept or its rounds are used up, many exercises at once.

There is no barrier between rounds: an exercise's next attempt begins as soon as the previous one has ended. A failed attempt
uses up its round in this run only; a resumed run makes it again.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple, Protocol

from sctir_kaggle.dialects.rendering import bridge
from sctir_kaggle.dialects.rows import NUMINA
from sctir_kaggle.lab.replay.scheduler import Task
from sctir_kaggle.recipes.data.tir.attempts import UNSTABLE, Attempt, Outcome, outcome_of
from sctir_kaggle.recipes.data.tir.exercise import Exercise
from sctir_kaggle.scheduling import Ended, TaskPool
from sctir_kaggle.types import Executor, SolveResult, Trace

Solve = Callable[[Task], Awaitable[SolveResult]]

Reproduces = Callable[[Trace, str], Awaitable[bool]]
"""Whether a trace's code prints the same again, run as a candidate of the given name."""


class AttemptStore(Protocol):
    """Where attempts are kept; see `recipes.data.tir.attempts.Attempts`."""

    made: dict[tuple[str, int], Attempt]

    def append(self, result: SolveResult) -> None: ...

    def fail(self, result: SolveResult) -> None: ...


class Round(NamedTuple):
    """An exercise and the seed of its next attempt."""

    exercise: Exercise
    seed: int


class Sampling:
    """One run. `seeds` are those of the rounds; `failures` failed attempts in a row end the run.

    `spent` is checked before each attempt: once it returns True, no further attempt begins.
    """

    def __init__(
        self,
        attempts: AttemptStore,
        solve: Solve,
        *,
        seeds: range,
        failures: int,
        same: Reproduces | None = None,
        spent: Callable[[], bool] = lambda: False,
    ) -> None:
        self._attempts, self._solve, self._same, self._spent = attempts, solve, same, spent
        self._seeds, self._failures = seeds, failures

    async def run(self, exercises: Iterable[Exercise], *, in_flight: int) -> None:
        """Sample every exercise, `in_flight` attempts at a time.

        Raises `EngineError` where attempts fail in a row. A bug in one ends the run; what had ended before is kept.
        """
        pool = TaskPool[Round](
            max_failures=self._failures,
            noun="attempts",
            advice="fix that and start the same command again: it goes on where it ended",
        )
        await pool.run(self._first_rounds(exercises), [self._attempt] * in_flight)

    def _first_rounds(self, exercises: Iterable[Exercise]) -> Iterator[Round]:
        """The first open round of each exercise of which no attempt was kept by an earlier run."""
        for exercise in exercises:
            if self._spent():
                return
            earlier = [made for seed in self._seeds if (made := self._made(exercise, seed))]
            if any(outcome_of(attempt.trace, exercise.reference) is Outcome.KEPT for attempt in earlier):
                continue
            if (first := self._next_round(exercise, self._seeds)) is not None:
                yield first

    def _next_round(self, exercise: Exercise, seeds: range) -> Round | None:
        """The first of `seeds` under which no attempt at the exercise has been made; None once the budget is spent."""
        left = (seed for seed in seeds if not self._made(exercise, seed))
        seed = None if self._spent() else next(left, None)
        return None if seed is None else Round(exercise, seed)

    def _made(self, exercise: Exercise, seed: int) -> Attempt | None:
        return self._attempts.made.get((exercise.problem.id, seed))

    async def _attempt(self, round_: Round) -> Ended[Round]:
        """Make an attempt and write it down; unless it is kept, the exercise's next round follows."""
        exercise, seed = round_
        result = await self._solve(Task(exercise.problem, seed))
        outcome = outcome_of(result.traces[0], exercise.reference)
        if outcome is Outcome.KEPT and not await self._stable(result):
            result = replace(result, traces=(replace(result.traces[0], detail=UNSTABLE),))
            outcome = Outcome.UNSTABLE
        failure = None
        if outcome is Outcome.FAILED:
            self._attempts.fail(result)
            failure = result.traces[0].detail or "it took too long"
        else:
            self._attempts.append(result)
        if outcome is Outcome.KEPT:
            return Ended()
        return Ended(failure, then=self._next_round(exercise, range(seed + 1, self._seeds.stop)))

    async def _stable(self, result: SolveResult) -> bool:
        return self._same is None or await self._same(result.traces[0], f"again:{result.seed}:{result.problem.id}/0")


PATIENCE = 600.0
"""Seconds that a block may wait for a free slot; the executor itself limits how long it runs."""


async def prints_the_same(executor: Executor, output_chars: int, trace: Trace, candidate_id: str) -> bool:
    """Whether the code blocks of `trace`, run again in a fresh process as `candidate_id`, print what they printed before."""
    try:
        for number, turn in enumerate(trace.turns):
            if turn.code is None:
                continue
            request_id, deadline = f"{candidate_id}/{number}", time.monotonic() + PATIENCE
            result = await executor.execute(turn.code, request_id=request_id, deadline=deadline)
            if "".join(bridge(NUMINA, turn.completion, result, left=0, limit=output_chars)) != turn.output_block:
                return False
        return True
    finally:
        executor.release(candidate_id)
