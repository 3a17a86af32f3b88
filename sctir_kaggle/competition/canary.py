"""Solve a problem with a known answer before the first real one, so that a dead engine costs no problem.

Covered: an engine or a sandbox that fails, and a solver that does not return. Not covered: an engine that is merely slow or
wrong; the journal records that, and nothing else happens.
"""

from __future__ import annotations

import time
from concurrent.futures import wait
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sctir_kaggle.background import in_thread
from sctir_kaggle.competition.health import trouble
from sctir_kaggle.session import Session
from sctir_kaggle.types import Answer, Problem, SolveResult, TraceStatus, one_line

PROBLEM = Problem("canary", "What is 17 + 25?", 42)

PART = 0.01
"""The share of the remaining budget that the canary may take."""

LONGEST = 60.0
"""Seconds that it may take at most; the first compilation of kernels falls into them."""

SHORTEST = 5.0
"""Where its share is fewer seconds than this, there is no canary: a failure would say more about the clock."""


@dataclass(frozen=True, slots=True)
class Canary:
    """The result. `fault` says what prevented an answer; `dead` is whether engine or sandbox were to blame.

    `answer` is the vote's winner, `seconds` the time that it took.
    """

    outcome: Literal["right", "wrong", "no vote", "failed"]
    answer: Answer | None
    fault: str | None
    seconds: float
    dead: bool

    def line(self) -> dict[str, Any]:
        """The canary as the journal's line has it."""
        return {"problem": PROBLEM.text, "reference": PROBLEM.answer, **asdict(self)}


def seconds_for(left: float) -> float | None:
    """Seconds for the canary out of a budget of `left` seconds; None where that is too little.

    >>> seconds_for(3600.0), seconds_for(100_000.0), seconds_for(60.0)
    (36.0, 60.0, None)
    """
    seconds = min(LONGEST, PART * left)
    return seconds if seconds >= SHORTEST else None


def try_canary(session: Session, seconds: float, patience: float) -> Canary:
    """Solve the canary. Returns within `seconds` plus `patience`, whatever the session does; raises nothing."""
    began = time.monotonic()
    work = in_thread(lambda: session.try_out(PROBLEM, began + seconds), "sctir-canary")
    done = bool(wait({work}, timeout=seconds + patience).done)
    took = round(time.monotonic() - began, 3)
    if not done:
        return Canary("failed", None, f"the solver did not come back within {seconds + patience:g} s", took, True)
    if (error := work.exception()) is not None:
        return Canary("failed", None, one_line(error, named=True), took, True)
    return _judged(work.result(), took)


def _judged(result: SolveResult, seconds: float) -> Canary:
    if result.vote.winner is not None:
        return Canary("right" if result.correct else "wrong", result.vote.winner, None, seconds, False)
    failed = any(trace.status is TraceStatus.FAILED for trace in result.traces)
    return Canary("failed" if failed else "no vote", None, trouble(result)[0] or None, seconds, failed)
