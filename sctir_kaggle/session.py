"""A run over many problems, one at a time: the clock gives a deadline, the solver an answer, the journal keeps it."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from sctir_kaggle.background import BackgroundLoop
from sctir_kaggle.budget import Budget, Deadlines
from sctir_kaggle.solver import Solver
from sctir_kaggle.types import Problem, SolveResult, Trace, TraceStatus, Vote, status_counts

log = logging.getLogger("sctir_kaggle")


class ResultStore(Protocol):
    """Keeps results, by problem id, and where: a `Journal`, or what a competition has in its place."""

    path: Path
    results: dict[str, SolveResult]

    def append(self, result: SolveResult) -> None: ...


class Observer(Protocol):
    """Watches a session. Called in the solver's thread (`candidate_ended`) or the caller's (the other two)."""

    def problem_started(self, problem: Problem, seconds_left: float) -> None: ...

    def candidate_ended(self, trace: Trace, vote: Vote) -> None: ...

    def problem_ended(self, result: SolveResult, seconds_left: float) -> None: ...


class NullObserver:
    """The observer that does nothing."""

    def problem_started(self, problem: Problem, seconds_left: float) -> None: ...

    def candidate_ended(self, trace: Trace, vote: Vote) -> None: ...

    def problem_ended(self, result: SolveResult, seconds_left: float) -> None: ...


class Session:
    """Synchronous and thread-safe for one caller at a time, as both kinds of competition API want it."""

    def __init__(
        self,
        solver: Solver,
        budget: Budget,
        journal: ResultStore,
        loop: BackgroundLoop,
        observer: Observer | None = None,
    ) -> None:
        self.journal = journal
        self.default_answer = solver.config.default_answer
        self._solver = solver
        self._budget = budget
        self._loop = loop
        self._observer = observer or NullObserver()

    def solve(self, problem: Problem, limits: Deadlines | None = None, *, again: bool = False) -> SolveResult:
        """The journalled result if an earlier run solved this problem, else a new one, journalled before it is returned.

        A caller that has taken `limits` from the budget itself, in order to watch over them, hands them on. With `again` a
        known result without a vote is solved again: its traces and the new ones are one result.
        """
        known = self.journal.results.get(problem.id)
        if known is not None and not (again and known.fallback):
            if limits is None:
                self._budget.skip()
            self._observer.problem_ended(known, self._budget.left)
            return known
        self._observer.problem_started(problem, self._budget.left)
        limits = limits or self._budget.next_deadlines()
        work = self._solver.solve(
            problem,
            deadline=limits.soft,
            hard_deadline=limits.hard,
            on_trace=self._observer.candidate_ended,
            first=0 if known is None else _beyond(known),
        )
        result = self._loop.run(work)
        if known is not None:
            result = joined(known, result)
        self.journal.append(result)
        log.info(summary(result, self._budget.left))
        self._observer.problem_ended(result, self._budget.left)
        return result

    def try_out(self, problem: Problem, deadline: float) -> SolveResult:
        """What comes of a problem that is none of the run's: neither budget nor journal nor observer know of it."""
        return self._loop.run(self._solver.solve(problem, deadline=deadline))


def joined(earlier: SolveResult, later: SolveResult) -> SolveResult:
    """The result of a problem that was solved again since nothing had voted, with the traces of both times.

    The later candidates, which decided, get the numbers from 0 on, as in a run with one pass; the earlier follow.
    """
    new = [replace(trace, candidate=trace.candidate - _beyond(earlier)) for trace in later.traces]
    after = max((trace.candidate for trace in new), default=-1) + 1
    old = [replace(trace, candidate=trace.candidate + after) for trace in earlier.traces]
    traces = sorted((*old, *new), key=lambda trace: trace.status is TraceStatus.CANCELLED)  # those stand last
    return replace(later, traces=tuple(traces), seconds=earlier.seconds + later.seconds)


def _beyond(result: SolveResult) -> int:
    """The first candidate's number that a result does not hold."""
    return max((trace.candidate for trace in result.traces), default=-1) + 1


def summary(result: SolveResult, seconds_left: float) -> str:
    """One line: id, answer, votes, why candidates ended, what stopped it and at which risk, seconds, budget left."""
    ends = ", ".join(f"{count} {status.value}" for status, count in status_counts(result.traces).items())
    votes = " ".join(f"{answer}x{score:g}" for answer, score in result.vote.ranking[:4]) or "none"
    marks = {True: " right", False: f" wrong ({result.problem.answer})", None: ""}[result.correct]
    risk = "" if result.risk is None else f" at a risk of {100 * result.risk:.2g} %"
    return (
        f"{result.problem.id}: {result.answer}{' (default)' if result.fallback else ''}{marks} | votes {votes} | {ends} | "
        f"stopped by {result.stopped}{risk} | {result.seconds:.1f} s | {seconds_left:.0f} s left"
    )
