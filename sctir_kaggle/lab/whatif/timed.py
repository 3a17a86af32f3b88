"""A record as engine and executor on a simulated clock: every turn takes the seconds that it took when it was recorded.

Covered: the order in which candidates ended, ties included, and the turn in which each was cancelled. Not covered: fewer
candidates at a time would each have been faster. A request that the record cannot answer fails for that candidate alone and
is noted: under `cut` if the candidate was cancelled when it was recorded, else under `unrecorded`.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TypeVar

from sctir_kaggle.dialects.dialect import Dialect
from sctir_kaggle.dialects.rows import NUMINA
from sctir_kaggle.engines.recorded import Recorded
from sctir_kaggle.types import (
    Completion,
    EngineError,
    ExecutionResult,
    ExecutorError,
    Prompt,
    SamplingParams,
    SolveResult,
    Trace,
    TraceStatus,
)

T = TypeVar("T")

TICK = 1e-6
"""Seconds put between two ends that the record's clock does not distinguish: their order in the record is kept."""

RAISED = (TraceStatus.FAILED, TraceStatus.OUT_OF_CONTEXT)
"""Statuses of candidates that an error ended, so that the record may hold no turn for it."""


@dataclass(frozen=True, slots=True)
class Pace:
    """One candidate's schedule in seconds since its start: when each turn was `written`, when its code had `ran`, its `end`."""

    written: tuple[float, ...]
    ran: tuple[float, ...]
    end: float

    def begun(self, turn: int) -> float:
        """When this turn began: when the code of the one before had run."""
        return self.ran[turn - 1] if turn else 0.0


class Timed(Recorded):
    """The record of one result; `first` candidates start at once, extra ones when those have ended.

    `limit` is the moment, in seconds from the problem's start, at which its deadline struck; infinite where none did. Meant
    for a `SimulatedLoop`; on a real one it takes as long as the record.
    """

    def __init__(self, result: SolveResult, *, first: int, dialect: Dialect = NUMINA) -> None:
        super().__init__([result], dialect=dialect)
        self.cut: set[int] = set()
        self.unrecorded: set[int] = set()
        self.limit = _limit(result, first)
        self.paces = _paces(result, first, self.limit)
        self._starts: dict[int, float] = {}

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        """The recorded completion, at the moment when it was complete. Raises `EngineError` where the record has none."""
        candidate, turn = _place(request_id)
        trace, pace = self._known(request_id, candidate), self.paces[candidate]
        if turn == 0:
            self._starts[candidate] = asyncio.get_running_loop().time()
        beyond = turn >= len(trace.turns)
        if not beyond or trace.status in (*RAISED, TraceStatus.CANCELLED):
            await self._until(candidate, pace.end if beyond else pace.written[turn])
        if beyond and trace.status is TraceStatus.CANCELLED:
            self.cut.add(candidate)
            raise EngineError(f"the record of candidate {candidate} is cut after turn {turn}")
        try:
            return await super().generate(prompt, params, request_id=request_id)
        except EngineError:
            if not (beyond and trace.status in RAISED):
                self.unrecorded.add(candidate)
            raise

    async def execute(self, code: str, *, request_id: str, deadline: float) -> ExecutionResult:
        """The recorded output, at the moment when it was there. Raises `ExecutorError` where the record has none."""
        candidate, turn = _place(request_id)
        try:
            result = await super().execute(code, request_id=request_id, deadline=deadline)
        except ExecutorError:
            self.unrecorded.add(candidate)
            raise
        await self._until(candidate, self.paces[candidate].ran[turn])
        return result

    def _known(self, request_id: str, candidate: int) -> Trace:
        try:
            return self._trace(request_id.rsplit("/", 1)[0])
        except EngineError:
            self.cut.add(candidate)
            raise

    async def _my_turn(self, candidate_id: str) -> None:
        """Do not wait: here the clock, not the order of the record, decides whose turn it is."""

    async def _until(self, candidate: int, moment: float) -> None:
        wait = self._starts[candidate] + moment - asyncio.get_running_loop().time()
        if wait > 0:
            await asyncio.sleep(wait)


def _place(request_id: str) -> tuple[int, int]:
    _, candidate, turn = request_id.rsplit("/", 2)
    return int(candidate), int(turn)


class _Jump(selectors.SelectSelector):
    """A selector that, where the loop would wait, moves the clock on instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("deadlock: every task waits and no timer is set")
        self.now += max(0.0, timeout)
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock starts at 0 and jumps to the next timer: hours of waiting take no time."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        """Simulated seconds since the loop was made."""
        return self._jump.now


def run_simulated(loop: SimulatedLoop, work: Coroutine[Any, Any, T]) -> T:
    """Run `work` on `loop`, close the loop and return the result."""
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


def _limit(result: SolveResult, first: int) -> float:
    """The moment at which the deadline ended the problem, later than everything that the record holds; infinite without one.

    The recorded seconds include the time that cancelling took, so the deadline itself may have been that much earlier.
    """
    if result.stopped != "deadline":
        return math.inf
    cut = [trace for trace in result.traces if trace.status is TraceStatus.CANCELLED]
    if not any(trace.turns or trace.cut for trace in cut) and len(cut) == len(result.traces):
        return 0.0  # no time was left: no candidate started
    ends, called = _ends(result.traces, first), _called(result, first)
    known = [(trace.candidate, sum(_seconds_of_turns(trace))) for trace in cut] + list(ends.items())
    latest = max(seconds + (called if candidate >= first else 0.0) for candidate, seconds in known)
    return max(latest + TICK, result.seconds)


def _called(result: SolveResult, first: int) -> float:
    """When the extra candidates started, if any: once all others had ended."""
    ends = _ends(result.traces, first)
    return max((end for candidate, end in ends.items() if candidate < first), default=0.0)


def _ends(traces: Iterable[Trace], first: int) -> dict[int, float]:
    """End of each candidate that was not cancelled, in the recorded order, no two at the same moment.

    Extra candidates count from their own start.
    """
    ends: dict[int, float] = {}
    latest = [0.0, 0.0]
    for trace in traces:
        if trace.status is not TraceStatus.CANCELLED:
            extra = trace.candidate >= first
            latest[extra] = ends[trace.candidate] = max(trace.seconds, latest[extra] + TICK)
    return ends


def _paces(result: SolveResult, first: int, limit: float) -> dict[int, Pace]:
    """The schedule of every candidate, by its number."""
    ends, called = _ends(result.traces, first), _called(result, first)
    paces = {
        trace.candidate: _whole(trace, ends[trace.candidate]) for trace in result.traces if trace.candidate in ends
    }
    for trace in result.traces:
        if trace.candidate not in ends:
            extra = trace.candidate >= first
            over = max((end for candidate, end in ends.items() if (candidate >= first) == extra), default=0.0)
            paces[trace.candidate] = _cut(trace, over if math.isinf(limit) else limit - called * extra)
    return paces


def _whole(trace: Trace, end: float) -> Pace:
    """A candidate that ended by itself: its last turn ends at its end.

    Seconds that its turns do not account for were spent waiting and are spread over them in proportion. Where the engine or
    the sandbox failed, or the context was full, the end came after the last whole turn.
    """
    moments = list(accumulate(_seconds_of_turns(trace)))
    last = moments[-1] if moments else 0.0
    raised = trace.status is TraceStatus.FAILED or (trace.status is TraceStatus.OUT_OF_CONTEXT and bool(trace.detail))
    scale = (min(1.0, end / last) if raised else end / last) if last else 1.0
    moments = [moment * scale for moment in moments]
    if moments and not raised:
        moments[-1] = end
        if trace.turns[-1].execution is None:
            moments[-2:] = [end, end]
    return Pace(tuple(moments[0::2]), tuple(moments[1::2]), end)


def _cut(trace: Trace, over: float) -> Pace:
    """A cancelled candidate: its whole turns were done before the vote was `over`; what came then is unknown."""
    moments = list(accumulate(_seconds_of_turns(trace)))
    last = moments[-1] if moments else 0.0
    scale = min(1.0, (over - TICK / 2) / last) if last else 1.0
    moments = [moment * scale for moment in moments]
    return Pace(tuple(moments[0::2]), tuple(moments[1::2]), max(trace.seconds, over + TICK))


def _seconds_of_turns(trace: Trace) -> list[float]:
    """For every turn two numbers: seconds to write it, seconds to run its code."""
    return [
        seconds
        for turn in trace.turns
        for seconds in (turn.generate_seconds, turn.execution.seconds if turn.execution else 0.0)
    ]
