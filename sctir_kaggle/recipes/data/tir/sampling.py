"""Every exercise sampled until an attempt is kept or the rounds are over, any number of exercises at once.

There is no barrier between rounds: an exercise's next attempt begins when its last one has ended. A failed attempt takes
its round from the exercise in this run only; a resumed run makes it again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import replace
from typing import Protocol

from sctir_kaggle.dialects.rendering import bridge
from sctir_kaggle.dialects.rows import NUMINA
from sctir_kaggle.lab.replay.scheduler import Task
from sctir_kaggle.recipes.data.tir.attempts import UNSTABLE, Attempt, Outcome, outcome_of
from sctir_kaggle.recipes.data.tir.exercise import Exercise
from sctir_kaggle.types import EngineError, Executor, SolveResult, Trace

Solve = Callable[[Task], Awaitable[SolveResult]]

Same = Callable[[Trace, str], Awaitable[bool]]
"""Whether a trace's code prints the same again, as a candidate of the name given."""


class Kept(Protocol):
    """Where attempts are kept: `recipes.data.tir.attempts`."""

    made: dict[tuple[str, int], Attempt]

    def append(self, result: SolveResult) -> None: ...

    def fail(self, result: SolveResult) -> None: ...


class Sampling:
    """One run. `seeds` are those of the rounds; `failures` so many failed attempts in a row end it.

    `spent` is asked after each attempt: once it is true no other attempt begins.
    """

    def __init__(
        self,
        attempts: Kept,
        solve: Solve,
        *,
        seeds: range,
        failures: int,
        same: Same | None = None,
        spent: Callable[[], bool] = lambda: False,
    ) -> None:
        self._attempts, self._solve, self._same, self._spent = attempts, solve, same, spent
        self._seeds, self._failures, self._in_a_row = seeds, failures, 0

    async def run(self, exercises: Iterable[Exercise], *, in_flight: int) -> None:
        """Raises `EngineError` where attempts fail in a row. A bug in one ends all; what had ended before is kept."""
        waiting = iter(exercises)
        workers = [asyncio.ensure_future(self._work(waiting)) for _ in range(in_flight)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, waiting: Iterator[Exercise]) -> None:
        for exercise in waiting:
            await self._resolve(exercise)
            if self._spent():
                return

    async def _resolve(self, exercise: Exercise) -> None:
        """The rounds that are left to an exercise; none if it has been kept."""
        made = self._attempts.made
        earlier = {seed: made[key] for seed in self._seeds if (key := (exercise.problem.id, seed)) in made}
        if any(outcome_of(one.trace, exercise.reference) is Outcome.KEPT for one in earlier.values()):
            return
        for seed in self._seeds:
            if seed not in earlier and not self._spent() and await self._attempt(exercise, seed) is Outcome.KEPT:
                return

    async def _attempt(self, exercise: Exercise, seed: int) -> Outcome:
        result = await self._solve(Task(exercise.problem, seed))
        outcome = outcome_of(result.traces[0], exercise.reference)
        if outcome is Outcome.KEPT and not await self._stable(result):
            result = replace(result, traces=(replace(result.traces[0], detail=UNSTABLE),))
            outcome = Outcome.UNSTABLE
        if outcome is Outcome.FAILED:
            self._fail(result)
        else:
            self._in_a_row = 0
            self._attempts.append(result)
        return outcome

    async def _stable(self, result: SolveResult) -> bool:
        return self._same is None or await self._same(result.traces[0], f"again:{result.seed}:{result.problem.id}/0")

    def _fail(self, result: SolveResult) -> None:
        self._attempts.fail(result)
        self._in_a_row += 1
        if self._in_a_row >= self._failures:
            why = result.traces[0].detail or "it took too long"
            raise EngineError(
                f"{self._in_a_row} attempts in a row failed, the last with: {why}; mend that and start the same command "
                "again: it goes on where it ended"
            )


PATIENCE = 600.0
"""Seconds that a block may wait for its turn; how long it may run is the executor's to say."""


async def prints_the_same(executor: Executor, output_chars: int, trace: Trace, candidate_id: str) -> bool:
    """Run the blocks of `trace` again as the candidate `candidate_id`, a new one to the executor."""
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
