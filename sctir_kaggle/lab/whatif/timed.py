"""A record as engine and executor, at its own pace: every turn takes the seconds that it took when it was recorded.

Covered: the order in which candidates ended, ties too, and where each was when it was cancelled. Not covered: that fewer
candidates at a time would each have been faster. What the record does not hold is refused in the candidate concerned, and
noted: `cut` are those that were cancelled when they were recorded, `unrecorded` those that were asked for something else.
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

TICK = 1e-6
"""Seconds between two ends that the record's clock does not tell apart."""

RAISED = (TraceStatus.FAILED, TraceStatus.OUT_OF_CONTEXT)
"""Ends for which a record may hold no turn."""


@dataclass(frozen=True, slots=True)
class Pace:
    """When each of a candidate's recorded turns was written and had run, and its end: seconds since its start."""

    written: tuple[float, ...]
    ran: tuple[float, ...]
    end: float

    def begun(self, turn: int) -> float:
        """When this turn began."""
        return self.ran[turn - 1] if turn else 0.0


class Timed(Recorded):
    """One result's record; `first` candidates started at once, any others once those had ended.

    `limit` is the moment at which its deadline struck, infinite where none did. For a `SimulatedLoop`, or a long wait.
    """

    def __init__(self, result: SolveResult, *, first: int, dialect: Dialect = NUMINA) -> None:
        super().__init__([result], dialect=dialect)
        self.cut: set[int] = set()
        self.unrecorded: set[int] = set()
        self.limit = _limit(result, first)
        self.paces = _paces(result, first, self.limit)
        self._starts: dict[int, float] = {}

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        """The recorded completion, when it was complete."""
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
        """The recorded output, when it was there."""
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
        """The clock says whose turn it is."""

    async def _until(self, candidate: int, moment: float) -> None:
        wait = self._starts[candidate] + moment - asyncio.get_running_loop().time()
        if wait > 0:
            await asyncio.sleep(wait)


def _place(request_id: str) -> tuple[int, int]:
    _, candidate, turn = request_id.rsplit("/", 2)
    return int(candidate), int(turn)


def _limit(result: SolveResult, first: int) -> float:
    """When all was over, and after all that the record holds, where the deadline ended it. The deadline itself may have been
    as much earlier as cancelling took."""
    if result.stopped != "deadline":
        return math.inf
    cut = [trace for trace in result.traces if trace.status is TraceStatus.CANCELLED]
    if not any(trace.turns or trace.cut for trace in cut) and len(cut) == len(result.traces):
        return 0.0  # no time was left, and nobody started
    ends, called = _ends(result.traces, first), _called(result, first)
    known = [(trace.candidate, sum(_seconds_of_turns(trace))) for trace in cut] + list(ends.items())
    latest = max(seconds + (called if candidate >= first else 0.0) for candidate, seconds in known)
    return max(latest + TICK, result.seconds)


def _called(result: SolveResult, first: int) -> float:
    """When the extra candidates started, if there were any: once all others had ended."""
    ends = _ends(result.traces, first)
    return max((end for candidate, end in ends.items() if candidate < first), default=0.0)


def _ends(traces: Iterable[Trace], first: int) -> dict[int, float]:
    """When the candidates that were not cancelled ended, in their order, no two at the same time."""
    ends: dict[int, float] = {}
    latest = [0.0, 0.0]
    for trace in traces:
        if trace.status is not TraceStatus.CANCELLED:
            extra = trace.candidate >= first
            latest[extra] = ends[trace.candidate] = max(trace.seconds, latest[extra] + TICK)
    return ends


def _paces(result: SolveResult, first: int, limit: float) -> dict[int, Pace]:
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
    """The last thing in the record happens at its end; what its turns do not account for was waiting, spread over them.

    Where the engine or the sandbox failed it, or the context was full, the end came after the last whole turn.
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
    """A cancelled candidate: its whole turns were done before the vote was `over`, and nothing is known from then on."""
    moments = list(accumulate(_seconds_of_turns(trace)))
    last = moments[-1] if moments else 0.0
    scale = min(1.0, (over - TICK / 2) / last) if last else 1.0
    moments = [moment * scale for moment in moments]
    return Pace(tuple(moments[0::2]), tuple(moments[1::2]), max(trace.seconds, over + TICK))


def _seconds_of_turns(trace: Trace) -> list[float]:
    """For every turn, how long it was written and how long its code ran."""
    return [
        seconds
        for turn in trace.turns
        for seconds in (turn.generate_seconds, turn.execution.seconds if turn.execution else 0.0)
    ]


T = TypeVar("T")


class _Jump(selectors.SelectSelector):
    """Lets the time pass that the loop would have waited."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everything waits, and nothing will happen any more")
        self.now += max(0.0, timeout)
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Its `time()` starts at 0 and is the clock of whatever runs on it."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        """Simulated seconds."""
        return self._jump.now


def run_simulated(loop: SimulatedLoop, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns; the loop is closed then."""
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()
