"""Sample each exercise until enough attempts are kept or its rounds are used up, many exercises at once.

There is no barrier between rounds: an exercise's next attempt begins as soon as the previous one has ended. A failed attempt
uses up its round in this run only; a resumed run makes it again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from sctir_kaggle.lab.replay.scheduler import Task
from sctir_kaggle.recipes.data.tir.attempts import Attempt
from sctir_kaggle.recipes.data.tir.exercise import Exercise
from sctir_kaggle.recipes.data.tir.outcomes import Choice
from sctir_kaggle.scheduling import Ended, TaskPool
from sctir_kaggle.types import SolveResult, TraceStatus

Solve = Callable[[Task], Awaitable[SolveResult]]

Reviews = Callable[[Exercise, SolveResult], Awaitable[SolveResult]]
"""Completes a result with what has to be asked about it before it is written down; see `recipes.data.tir.review`."""


class AttemptStore(Protocol):
    """Where attempts are kept; see `recipes.data.tir.attempts.Attempts`."""

    def of(self, problem_id: str) -> Mapping[int, Attempt]: ...

    def append(self, result: SolveResult) -> None: ...

    def fail(self, result: SolveResult) -> None: ...


class Round(NamedTuple):
    """An exercise and the seed of its next attempt."""

    exercise: Exercise
    seed: int


class Sampling:
    """One run. `seeds` are those of the rounds, `choice` says when an exercise has enough of them.

    `failures` failed attempts in a row end the run. `spent` is checked before each attempt: once it returns True, no further
    attempt begins.
    """

    def __init__(
        self,
        attempts: AttemptStore,
        solve: Solve,
        review: Reviews,
        choice: Choice,
        *,
        seeds: range,
        failures: int,
        spent: Callable[[], bool] = lambda: False,
    ) -> None:
        self._attempts, self._solve, self._review, self._choice, self._spent = attempts, solve, review, choice, spent
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
        """The first open round of each exercise that wants another attempt."""
        for exercise in exercises:
            if self._spent():
                return
            if (first := self._next_round(exercise, self._seeds)) is not None:
                yield first

    def _next_round(self, exercise: Exercise, seeds: range) -> Round | None:
        """The first of `seeds` under which no attempt has been made; None where no more are wanted, or the budget is spent."""
        made = self._attempts.of(exercise.problem.id)
        if self._spent() or not self._choice.of(exercise, made).wants_more:
            return None
        seed = next((seed for seed in seeds if seed not in made), None)
        return None if seed is None else Round(exercise, seed)

    async def _attempt(self, round_: Round) -> Ended[Round]:
        """Make an attempt and write it down; the exercise's next round follows, if one is wanted."""
        exercise, seed = round_
        result = await self._review(exercise, await self._solve(Task(exercise.problem, seed)))
        [trace] = result.traces
        failure = None
        if trace.status in (TraceStatus.FAILED, TraceStatus.CANCELLED):
            self._attempts.fail(result)
            failure = trace.detail or "it took too long"
        else:
            self._attempts.append(result)
        return Ended(failure, then=self._next_round(exercise, range(seed + 1, self._seeds.stop)))
