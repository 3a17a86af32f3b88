"""A run over many problems, one at a time: the budget sets the deadlines, the solver answers, the journal keeps it."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from sctir_kaggle.background import BackgroundLoop
from sctir_kaggle.budget import Budget, Deadlines
from sctir_kaggle.first_requests import FirstRequests
from sctir_kaggle.solver import Solver
from sctir_kaggle.types import Problem, SolveResult, Trace, TraceStatus, Vote, status_counts

log = logging.getLogger("sctir_kaggle")


class ResultStore(Protocol):
    """Store of results by problem id: a `Journal`, or a competition's record, which outlives a full disk."""

    path: Path
    results: dict[str, SolveResult]

    def append(self, result: SolveResult) -> None: ...


class Observer:
    """Watches a run: override the hooks of interest, the others do nothing. `seconds_left` are those of the budget.

    `candidate_ended` is called in the solver's thread, the other two in the caller's.
    """

    def problem_started(self, problem: Problem, seconds_left: float) -> None:
        """A problem begins that has no result yet."""

    def candidate_ended(self, trace: Trace, vote: Vote) -> None:
        """A candidate ended; `vote` is the vote after it."""

    def problem_ended(self, result: SolveResult, seconds_left: float) -> None:
        """A problem has its result, a new one or that of an earlier run."""


class Session:
    """Solves problem after problem. Synchronous, from any thread, one caller at a time: the evaluation APIs call it so."""

    def __init__(
        self,
        solver: Solver,
        budget: Budget,
        journal: ResultStore,
        loop: BackgroundLoop,
        observer: Observer | None = None,
        first: FirstRequests | None = None,
    ) -> None:
        """`first` ends a run in which nothing is served, by raising `EngineDown` from `solve` before the journal is written."""
        self._first = first
        self.journal = journal
        self.default_answer = solver.config.default_answer
        self._solver = solver
        self._budget = budget
        self._loop = loop
        self._observer = observer or Observer()

    def solve(self, problem: Problem, limits: Deadlines | None = None, *, again: bool = False) -> SolveResult:
        """Return the journal's result of this problem, or solve it and journal the result before returning it.

        A caller that enforces the deadlines itself takes `limits` from the budget and passes them on. With `again` a known
        result without a vote is solved again, and the new result holds the traces of both times.
        """
        known = self.journal.results.get(problem.id)  # from an earlier run, or the problem is asked again
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
            first=0 if known is None else _beyond(known),  # new numbers, so new seeds: the old ones led nowhere
        )
        result = self._loop.run(work)
        if known is not None:
            result = joined(known, result)
        if self._first is not None:
            self._first.check(result)
        self.journal.append(result)
        log.info(summary(result, self._budget.left))
        self._observer.problem_ended(result, self._budget.left)
        return result

    def try_out(self, problem: Problem, deadline: float) -> SolveResult:
        """Solve a problem outside the run, unknown to budget, journal and observer: the canary before the first one."""
        return self._loop.run(self._solver.solve(problem, deadline=deadline))


def joined(earlier: SolveResult, later: SolveResult) -> SolveResult:
    """Join two results of a problem that was solved again because nothing had voted: the later one, with all traces.

    The later candidates, which decided, are numbered from 0 as in a run with one pass; the earlier ones follow.
    """
    new = [replace(trace, candidate=trace.candidate - _beyond(earlier)) for trace in later.traces]
    after = max((trace.candidate for trace in new), default=-1) + 1
    old = [replace(trace, candidate=trace.candidate + after) for trace in earlier.traces]
    traces = sorted((*old, *new), key=lambda trace: trace.status is TraceStatus.CANCELLED)  # those stand last
    return replace(later, traces=tuple(traces), seconds=earlier.seconds + later.seconds)


def _beyond(result: SolveResult) -> int:
    """The first candidate number above those in `result`."""
    return max((trace.candidate for trace in result.traces), default=-1) + 1


def refusal_of(result: SolveResult) -> str:
    """The reason why every candidate was refused, in the server's words; empty where one was not, or reasons differ.

    Two reasons are the same that differ in the request's name and in numbers, such as a prompt's length.
    """
    named = re.compile(rf"(\d+:)?{re.escape(result.problem.id)}/\d+/\d+: ")
    refused = [
        named.sub("", trace.detail, count=1)
        for trace in result.traces
        if trace.status in (TraceStatus.FAILED, TraceStatus.OUT_OF_CONTEXT)
    ]
    same = len(refused) == len(result.traces) and len({re.sub(r"\d+", "0", reason) for reason in refused}) == 1
    return refused[0] if same else ""


def summary(result: SolveResult, seconds_left: float) -> str:
    """One line on a result: id, answer, votes, why candidates ended, what stopped it, risk, seconds, budget left."""
    ends = ", ".join(f"{count} {status.value}" for status, count in status_counts(result.traces).items())
    votes = " ".join(f"{answer}x{score:g}" for answer, score in result.vote.ranking[:4]) or "none"
    if refused := refusal_of(result):
        ends += f": {refused}"
    marks = {True: " right", False: f" wrong ({result.problem.answer})", None: ""}[result.correct]
    risk = "" if result.risk is None else f" at a risk of {100 * result.risk:.2g} %"
    return (
        f"{result.problem.id}: {result.answer}{' (default)' if result.fallback else ''}{marks} | votes {votes} | {ends} | "
        f"stopped by {result.stopped}{risk} | {result.seconds:.1f} s | {seconds_left:.0f} s left"
    )
