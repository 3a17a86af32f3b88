"""A journal in place of a model and a sandbox: the loop runs again, and must come to the same trace, vote and answer.

Covered: every turn, status and the order in which candidates ended, hence the point at which the stop rule struck. Not
covered: times, and a rule that needs more than was recorded, which raises `EngineError` in the candidate concerned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from sctir_kaggle.types import (
    Completion,
    EngineError,
    ExecutionResult,
    ExecutorError,
    Prompt,
    PromptTooLong,
    SamplingParams,
    SolveResult,
    Trace,
    TraceStatus,
    Turn,
)


class Recorded:
    """Engine and executor at once. One candidate at a time plays its record, in the order of the recorded ends.

    Those that were cancelled go first: whoever cancelled them ended after their last turn. `candidates` are the ones that
    the replay runs, all that were recorded by default; an instance serves each problem once.
    """

    def __init__(self, results: Iterable[SolveResult], *, candidates: int | None = None) -> None:
        self._traces: dict[str, Trace] = {}
        self._before: dict[str, str] = {}
        self._ended: dict[str, asyncio.Event] = {}
        for result in results:
            self._queue(result, candidates)

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        """The recorded completion, or the recorded end where the record has no more turns."""
        candidate_id, turn = _split(request_id)
        await self._my_turn(candidate_id)
        trace = self._traces[candidate_id]
        if turn >= len(trace.turns):
            raise _end_of(trace)
        return trace.turns[turn].completion

    async def execute(self, code: str, *, request_id: str, deadline: float) -> ExecutionResult:
        """The recorded output of exactly this code."""
        turn = self._turn(request_id)
        if turn.execution is None or turn.code != code:
            raise ExecutorError(f"{request_id} did not run this code when it was recorded")
        return turn.execution

    def release(self, candidate_id: str) -> None:
        """The candidate has ended: the next one may start."""
        if candidate_id in self._ended:
            self._ended[candidate_id].set()

    def describe(self) -> dict[str, str | int]:
        """What a journal's header says of this engine."""
        return {"engine": "recorded", "candidates": len(self._traces)}

    def close(self) -> None:
        """Nothing to close."""

    def _queue(self, result: SolveResult, candidates: int | None) -> None:
        played = [trace for trace in result.traces if candidates is None or trace.candidate < candidates]
        played.sort(key=lambda trace: trace.status is not TraceStatus.CANCELLED)
        ids = [f"{result.problem.id}/{trace.candidate}" for trace in played]
        self._traces.update(zip(ids, played, strict=True))
        self._before.update(zip(ids[1:], ids, strict=False))

    async def _my_turn(self, candidate_id: str) -> None:
        if candidate_id not in self._traces:
            raise EngineError(f"candidate {candidate_id} is not in the record; replay with at most what was recorded")
        before = self._before.get(candidate_id)
        self._event(candidate_id)
        if before is not None:
            await self._event(before).wait()

    def _event(self, candidate_id: str) -> asyncio.Event:
        return self._ended.setdefault(candidate_id, asyncio.Event())

    def _turn(self, request_id: str) -> Turn:
        candidate_id, turn = _split(request_id)
        return self._traces[candidate_id].turns[turn]


def _split(request_id: str) -> tuple[str, int]:
    candidate_id, turn = request_id.rsplit("/", 1)
    return candidate_id, int(turn)


def _end_of(trace: Trace) -> BaseException:
    """What ended this candidate when it was recorded."""
    if trace.status is TraceStatus.CANCELLED:
        return asyncio.CancelledError()
    if trace.status is TraceStatus.OUT_OF_CONTEXT:
        return PromptTooLong(trace.detail)
    if trace.status is TraceStatus.FAILED:
        return _failure(trace.detail)
    return EngineError(
        f"the record of candidate {trace.candidate} ends after turn {len(trace.turns)}: {trace.status.value}"
    )


def _failure(detail: str) -> Exception:
    name, _, message = detail.partition(": ")
    return ExecutorError(message) if name == ExecutorError.__name__ else EngineError(message)
