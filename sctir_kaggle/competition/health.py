"""Decide whether a run is worth submitting: faults of engine and sandbox, problems without a vote, identical answers.

A run has failed where engine or sandbox failed candidates on more than a tenth of the problems, whatever the answers look
like, or where the engine finished no turn at all. A weak model on hard problems is no fault, and neither is a clock that is
too short for some of them: problems without a vote are counted and reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sctir_kaggle.types import SolveResult, TraceStatus

TOLERATED = 0.1
"""The share of problems that may be hit by a fault before the run counts as failed."""


@dataclass(frozen=True, slots=True)
class Health:
    """Counts over a run's problems."""

    problems: int
    failed: int
    """Problems on which engine or sandbox failed at least one candidate, or the whole problem."""

    first: str
    """The first fault in words; empty where there was none."""

    unvoted: int
    """Problems without a vote, whose answer is the default."""

    distinct: int
    """The number of different answers."""

    mute: bool = False
    """Whether no candidate of any problem finished a turn: then a single fault explains it, however many had no time."""

    @property
    def fault(self) -> str:
        """One line on why the run counts as failed; empty where it does not."""
        if self.failed <= (0 if self.mute else TOLERATED * self.problems):
            return ""
        return f"candidates failed on {self.failed} of {self.problems} problems, the first fault: {self.first}"

    @property
    def doubt(self) -> str:
        """One line on why the run should not be submitted although nothing failed; empty where it may be."""
        if self.problems and self.unvoted == self.problems:
            return f"not one of {self.problems} problems has a vote: every answer is the default"
        if self.problems > 1 and self.distinct == 1:
            return f"all {self.problems} answers are the same"
        return ""


def health_of(results: Sequence[SolveResult]) -> Health:
    """Judge a run by its results."""
    mute = not any(trace.turns for result in results for trace in result.traces)
    faults = [fault for result in results if (fault := fault_of(result) or (hang_of(result) if mute else ""))]
    return Health(
        problems=len(results),
        failed=len(faults),
        first=faults[0] if faults else "",
        unvoted=sum(result.fallback for result in results),
        distinct=len({result.answer for result in results}),
        mute=mute and all(result.fallback for result in results),
    )


def fault_of(result: SolveResult) -> str:
    """The first fault of engine or sandbox in a result, after the problem's id; empty where there was none."""
    failed = [trace for trace in result.traces if trace.status is TraceStatus.FAILED]
    if failed:
        return f"{result.problem.id}: {len(failed)} of {len(result.traces)} candidates failed: {failed[0].detail}"
    return f"{result.problem.id}: it was not solved, its answer is the default" if result.stopped == "error" else ""


def hang_of(result: SolveResult) -> str:
    """A fault, after the problem's id, where no candidate finished a turn before the deadline; else empty."""
    reason, lasting = trouble(result)
    return f"{result.problem.id}: {reason}" if lasting else ""


def trouble(result: SolveResult) -> tuple[str, bool]:
    """Why a result has no vote, and whether engine or sandbox may be dead.

    The reason is empty where there is a vote, and where the candidates merely found no answer.
    """
    if not result.fallback or result.stopped == "error":
        return "", False
    of = {status: [trace for trace in result.traces if trace.status is status] for status in TraceStatus}
    if failed := of[TraceStatus.FAILED]:
        return f"{len(failed)} of {len(result.traces)} candidates failed: {failed[0].detail}", True
    if long := [trace for trace in of[TraceStatus.OUT_OF_CONTEXT] if not trace.turns]:
        return f"the prompt is too long: {long[0].detail}", False
    if any(trace.turns for trace in result.traces) or result.stopped != "deadline":
        return "", False
    begun = any(trace.cut for trace in result.traces)
    return ("no candidate finished a turn before the deadline", True) if begun else ("no time was left", False)
