"""What has to be asked about an attempt before it is written down: is its answer right, does its code print the same again?"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from sctir_kaggle.answers import parse
from sctir_kaggle.dialects.rendering import bridge
from sctir_kaggle.dialects.rows import NUMINA
from sctir_kaggle.recipes.data.tir.attempts import Attempt
from sctir_kaggle.recipes.data.tir.exercise import Exercise
from sctir_kaggle.recipes.data.tir.judge import Judge
from sctir_kaggle.recipes.data.tir.outcomes import UNSTABLE, Outcome, Rules
from sctir_kaggle.types import EngineError, Executor, SolveResult, Trace, TraceStatus, one_line

Reproduces = Callable[[Trace, str], Awaitable[bool]]
"""Whether a trace's code prints the same again, run as a candidate of the given name."""


@dataclass(frozen=True, slots=True)
class Review:
    """Asks the judge where an answer is no number, and runs the code of what would be kept again (`same`)."""

    rules: Rules
    judge: Judge | None = None
    same: Reproduces | None = None

    async def __call__(self, exercise: Exercise, result: SolveResult) -> SolveResult:
        """The result, marked where its code is not stable; failed where the judge could not be asked."""
        [trace] = result.traces
        equal = False
        if isinstance(exercise.reference, str) and trace.boxed is not None and self.judge is not None:
            try:
                equal = await self.judge.decide(exercise, exercise.reference, trace.boxed)
            except EngineError as error:
                failed = replace(trace, status=TraceStatus.FAILED, detail=f"the judge: {one_line(error)}")
                return replace(result, traces=(failed,))
        # A problem without a reference may get this answer as its label.
        own = None if trace.boxed is None else parse(trace.boxed)
        label = own if exercise.reference is None else exercise.reference
        outcome = self.rules.outcome(Attempt.of(result), label, lambda written: equal)
        if outcome is not Outcome.KEPT or self.same is None:
            return result
        if await self.same(trace, f"again:{result.seed}:{result.problem.id}/0"):
            return result
        return replace(result, traces=(replace(trace, detail=UNSTABLE),))


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
