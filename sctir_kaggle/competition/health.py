"""Whether a run is worth submitting: faults of engine and sandbox, problems without a vote, answers that are all the same.

A weak model on hard problems is no fault: it leaves problems without a vote, which are counted and told; nor is a clock that
is too short for some of them. Candidates that the engine or the sandbox failed on more than a tenth of the problems are one,
whatever the answers look like, and so is an engine that finished no turn in all of the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sctir_kaggle.types import SolveResult, TraceStatus

TOLERATED = 0.1
"""The share of problems on which candidates may fail by a fault before a run counts as failed."""


@dataclass(frozen=True, slots=True)
class Health:
    """Counts over a run's problems. `first` is the first fault in words, empty where there was none."""

    problems: int
    failed: int
    """On which the engine or the sandbox failed at least one candidate, or all of the problem."""

    first: str
    unvoted: int
    """Without a vote: their answer is the default."""

    distinct: int
    """How many different answers there are."""

    @property
    def fault(self) -> str:
        """Why the run counts as failed, in a line; empty where it does not."""
        if self.failed <= TOLERATED * self.problems:
            return ""
        return f"candidates failed on {self.failed} of {self.problems} problems, the first fault: {self.first}"

    @property
    def doubt(self) -> str:
        """Why the run should not be submitted although nothing failed, in a line; empty where there is no reason."""
        if self.problems and self.unvoted == self.problems:
            return f"not one of {self.problems} problems has a vote: every answer is the default"
        if self.problems > 1 and self.distinct == 1:
            return f"all {self.problems} answers are the same"
        return ""


def health_of(results: Sequence[SolveResult]) -> Health:
    """What the results of a run say of it."""
    mute = not any(trace.turns for result in results for trace in result.traces)
    faults = [fault for result in results if (fault := fault_of(result) or (hang_of(result) if mute else ""))]
    return Health(
        problems=len(results),
        failed=len(faults),
        first=faults[0] if faults else "",
        unvoted=sum(result.fallback for result in results),
        distinct=len({result.answer for result in results}),
    )


def fault_of(result: SolveResult) -> str:
    """The first fault of engine or sandbox in a result, with the problem's id; empty where the model alone is to blame."""
    failed = [trace for trace in result.traces if trace.status is TraceStatus.FAILED]
    if failed:
        return f"{result.problem.id}: {len(failed)} of {len(result.traces)} candidates failed: {failed[0].detail}"
    return f"{result.problem.id}: it was not solved, its answer is the default" if result.stopped == "error" else ""


def hang_of(result: SolveResult) -> str:
    """With the problem's id, where the deadline came before any candidate had finished a turn; else empty."""
    reason, lasting = trouble(result)
    return f"{result.problem.id}: {reason}" if lasting else ""


def trouble(result: SolveResult) -> tuple[str, bool]:
    """What kept a result from having a vote, empty where the candidates merely found nothing; and whether it may last."""
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
