"""A journal as engine and executor: the loop runs again without a model, and must give the same traces, vote and answer.

Covered: every turn, every status and the order in which candidates ended, hence the point at which the stop rule ended the
problem; replays with fewer candidates or another stop rule. Not covered: times, and settings that lead to a prompt or code
that was not recorded, which raise `EngineError` or `ExecutorError` in the candidate concerned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from sctir_kaggle.dialects.dialect import Dialect
from sctir_kaggle.dialects.rendering import render
from sctir_kaggle.dialects.rows import NUMINA
from sctir_kaggle.types import (
    Completion,
    EngineError,
    ExecutionResult,
    ExecutorError,
    Problem,
    Prompt,
    PromptTooLong,
    SamplingParams,
    SolveResult,
    Trace,
    TraceStatus,
    Turn,
)


class Recorded:
    """An `Engine` and `Executor` in one. The candidates of a problem are replayed one at a time, in the order they ended.

    Cancelled candidates go first, because the candidate that decided the vote ended after their last turn. `dialect` is
    the record's.
    """

    tokenizer = None
    """None: the record has the texts."""

    def __init__(self, results: Iterable[SolveResult], *, dialect: Dialect = NUMINA) -> None:
        self.dialect = dialect
        self._problems: dict[str, Problem] = {}
        self._traces: dict[str, Trace] = {}
        self._earlier: dict[str, list[str]] = {}
        self._playing: dict[str, asyncio.Event] = {}
        for result in results:
            self._add(result)

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        """Return the recorded completion, or raise what ended the candidate where the record has no more turns."""
        candidate_id, turn = _split(request_id)
        trace = self._trace(candidate_id)
        if turn == 0:
            await self._my_turn(candidate_id)
        if turn >= len(trace.turns):
            raise _end_of(trace)
        recorded = trace.turns[turn]
        if not self._led_to(prompt, self._problems[candidate_id], trace.turns[:turn], recorded.prefix):
            raise EngineError(f"{request_id} was recorded with another prompt: replay it with the settings of its run")
        return recorded.completion

    async def execute(self, code: str, *, request_id: str, deadline: float) -> ExecutionResult:
        """Return the recorded output of exactly this code. Raises `ExecutorError` where other code was recorded."""
        candidate_id, turn = _split(request_id)
        recorded = self._trace(candidate_id).turns[turn]
        if recorded.execution is None or recorded.code != code:
            raise ExecutorError(f"{request_id} did not run this code when it was recorded")
        return recorded.execution

    def release(self, candidate_id: str) -> None:
        """End the candidate's turn: the next one may start."""
        if candidate_id in self._playing:
            self._playing.pop(candidate_id).set()

    def describe(self) -> dict[str, str | int]:
        """Return the facts for a journal's header."""
        return {"engine": "recorded", "candidates": len(self._traces)}

    def close(self) -> None:
        """Nothing to close."""

    def _add(self, result: SolveResult) -> None:
        order = sorted(result.traces, key=lambda trace: trace.status is not TraceStatus.CANCELLED)
        ids = [f"{result.problem.id}/{trace.candidate}" for trace in order]
        self._problems.update(dict.fromkeys(ids, result.problem))
        self._traces.update(zip(ids, order, strict=True))
        self._earlier.update({candidate_id: ids[:place] for place, candidate_id in enumerate(ids)})

    def _led_to(self, prompt: Prompt, problem: Problem, turns: tuple[Turn, ...], prefix: str) -> bool:
        """Whether the recorded turn continued this prompt. Only the text counts, not how it is split into segments."""
        recorded = render(self.dialect, problem, turns, prefix=prefix)
        return "".join(map(str, prompt)) == "".join(map(str, recorded))

    def _trace(self, candidate_id: str) -> Trace:
        try:
            return self._traces[candidate_id]
        except KeyError:
            raise EngineError(
                f"candidate {candidate_id} is not in the record: replay at most what was recorded"
            ) from None

    async def _my_turn(self, candidate_id: str) -> None:
        """Wait for all candidates that ended earlier, of those that this replay starts."""
        self._playing[candidate_id] = asyncio.Event()
        await asyncio.sleep(0)  # a solver starts all candidates in one step: after it, all of them are in `_playing`
        for earlier in self._earlier[candidate_id]:
            if earlier in self._playing:
                await self._playing[earlier].wait()


def _split(request_id: str) -> tuple[str, int]:
    candidate_id, turn = request_id.rsplit("/", 1)
    return candidate_id, int(turn)


def _end_of(trace: Trace) -> BaseException:
    """The exception that ended this candidate when it was recorded."""
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
