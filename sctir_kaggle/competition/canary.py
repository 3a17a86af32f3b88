"""A problem with a known answer, solved before the first real one: a dead engine is noticed while nothing is lost yet.

Covered: an engine or a sandbox that fails, and a solver that does not come back. Not covered: an engine that is merely slow
or wrong, which costs the canary alone; the journal says so.
"""

from __future__ import annotations

import time
from concurrent.futures import wait
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sctir_kaggle.background import in_thread
from sctir_kaggle.competition.health import trouble
from sctir_kaggle.session import Session
from sctir_kaggle.types import Problem, SolveResult, TraceStatus

PROBLEM = Problem("canary", "What is 17 + 25?", 42)

PART = 0.01
"""The share of the time left that it may take."""

LONGEST = 60.0
"""Seconds that it may take at most, a first compilation of kernels included."""

SHORTEST = 5.0
"""Where its share is less than so many seconds there is none: it would say more of the clock than of the engine."""


@dataclass(frozen=True, slots=True)
class Canary:
    """What came of it. `fault` is what kept it from an answer, in words; `dead` whether that was engine or sandbox."""

    outcome: Literal["right", "wrong", "no vote", "failed"]
    answer: int | None
    fault: str | None
    seconds: float
    dead: bool

    def line(self) -> dict[str, Any]:
        """For the journal."""
        return {"problem": PROBLEM.text, "reference": PROBLEM.answer, **asdict(self)}


def seconds_for(left: float) -> float | None:
    """How long the canary may take of the time that is left; None where there is too little of it."""
    seconds = min(LONGEST, PART * left)
    return seconds if seconds >= SHORTEST else None


def try_canary(session: Session, seconds: float, patience: float) -> Canary:
    """Solve it, and come back after `seconds` and `patience` at the latest. Nothing is raised."""
    began = time.monotonic()
    work = in_thread(lambda: session.try_out(PROBLEM, began + seconds), "sctir-canary")
    done = bool(wait({work}, timeout=seconds + patience).done)
    took = round(time.monotonic() - began, 3)
    if not done:
        return Canary("failed", None, f"the solver did not come back within {seconds + patience:g} s", took, True)
    if (error := work.exception()) is not None:
        return Canary("failed", None, " ".join(f"{type(error).__name__}: {error}".split())[:500], took, True)
    return _judged(work.result(), took)


def _judged(result: SolveResult, seconds: float) -> Canary:
    if result.vote.winner is not None:
        return Canary("right" if result.correct else "wrong", result.vote.winner, None, seconds, False)
    failed = any(trace.status is TraceStatus.FAILED for trace in result.traces)
    return Canary("failed" if failed else "no vote", None, trouble(result)[0] or None, seconds, failed)
