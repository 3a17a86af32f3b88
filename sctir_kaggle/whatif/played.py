"""Recorded runs, played under sets of rules: for every problem what came of it, and what the full vote would have been.

A line of the journals at a time; no text is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sctir_kaggle.budget import Budget
from sctir_kaggle.journal import stream_results
from sctir_kaggle.opening import RESERVE
from sctir_kaggle.report.records import journal_of
from sctir_kaggle.types import SolveResult, UserError
from sctir_kaggle.whatif.rerun import Rerun, rerun
from sctir_kaggle.whatif.rules import Rules

Replicate = tuple[int, int]
"""(number of the run, seed): what was solved once, with a clock of its own."""


class Full(NamedTuple):
    """The vote of all candidates, stopped by nothing but what stopped the record."""

    answer: int
    seconds: float
    tokens: int
    cut: int
    unsure: bool


class Outcome(NamedTuple):
    """One problem under one set of rules. Seconds and tokens are of all its candidates together."""

    replicate: Replicate
    problem: str
    reference: int | None
    answer: int
    stopped: str
    seconds: float
    tokens: int
    unsure: bool
    cut: int
    unrecorded: int
    full: Full


@dataclass(frozen=True, slots=True)
class Played:
    """`record` as it was, `outcomes` under each set of rules, and the problems that the recorded rules did not repeat."""

    record: list[Outcome] = field(default_factory=list)
    outcomes: list[list[Outcome]] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)


def results_of(paths: Sequence[Path]) -> Iterator[tuple[int, SolveResult]]:
    """All results in the order of the record, each with the number of its run."""
    for run, path in enumerate(paths):
        for result in stream_results(journal_of(path))[1]:
            yield run, result


def play(
    results: Iterable[tuple[int, SolveResult]], recorded: Rules, rules: Sequence[Rules], planned: dict[Replicate, int]
) -> Played:
    """Every result under all `rules`. `planned` says how many problems each replicate has, for its budget."""
    first = recorded.config.candidates
    played = Played(outcomes=[[] for _ in rules])
    pacers = [_Pacer(one, planned) for one in rules]
    for run, result in results:
        replicate = (run, result.seed)
        again, fulls = rerun(result, recorded, first=first), _Fulls(result, first)
        if again.result != result:
            played.differing.append(result.problem.id)
        played.record.append(_recorded(replicate, result, fulls.of(recorded)))
        for one, pacer, outcomes in zip(rules, pacers, played.outcomes, strict=True):
            soft, hard = pacer.limits(replicate)
            new = rerun(result, one, first=first, soft=soft, hard=hard)
            pacer.spend(replicate, new.result.seconds)
            outcomes.append(_outcome(replicate, new, fulls.of(one)))
    if not played.record:
        raise UserError("the runs hold no results; wait for the first problem, or choose others")
    return played


class _Fulls:
    """The full vote of one result under any rules, each held once."""

    def __init__(self, result: SolveResult, first: int) -> None:
        self._result = result
        self._first = first
        self._known: dict[Rules, Full] = {}

    def of(self, rules: Rules) -> Full:
        if rules.full not in self._known:
            new = rerun(self._result, rules.full, first=self._first)
            full = Full(new.result.answer, new.result.seconds, new.tokens, new.cut, new.unsure)
            self._known[rules.full] = full
        return self._known[rules.full]


class _Pacer:
    """The deadlines that a set of rules gives to problem after problem of every replicate; its clock is simulated."""

    def __init__(self, rules: Rules, planned: dict[Replicate, int]) -> None:
        self._each = rules.problem_seconds
        self._now = dict.fromkeys(planned, 0.0)
        self._budgets = {}
        if rules.budget is not None:
            self._budgets = {replicate: self._budget(rules, replicate, planned[replicate]) for replicate in planned}

    def limits(self, replicate: Replicate) -> tuple[float | None, float | None]:
        """Soft and hard deadline in seconds from the problem's start; None is the record's own."""
        if replicate not in self._budgets:
            return self._each, self._each
        limits, now = self._budgets[replicate].next_deadlines(), self._now[replicate]
        return limits.soft - now, limits.hard - now

    def spend(self, replicate: Replicate, seconds: float) -> None:
        """A problem has ended."""
        self._now[replicate] += seconds

    def _budget(self, rules: Rules, replicate: Replicate, problems: int) -> Budget:
        seconds, grace = rules.budget or 0.0, rules.config.grace_seconds
        if seconds * (1 - RESERVE) <= problems * grace:
            raise UserError(
                f"--budget {seconds:g} leaves no time: {problems} problems keep {grace:g} s each for cancelled candidates, "
                f"and {100 * RESERVE:g} % are held in reserve; give more than {problems * grace / (1 - RESERVE):.0f}"
            )
        clock = partial(self._now.__getitem__, replicate)
        return Budget(
            seconds, problems, reserve=RESERVE * seconds, grace=grace, started=0.0, clock=clock, **dict(rules.clamps)
        )


def _recorded(replicate: Replicate, result: SolveResult, full: Full) -> Outcome:
    tokens = sum(turn.completion.tokens for trace in result.traces for turn in trace.turns)
    problem = result.problem
    figures = (result.answer, result.stopped, result.seconds, tokens, False, 0, 0)
    return Outcome(replicate, problem.id, problem.answer, *figures, full)


def _outcome(replicate: Replicate, new: Rerun, full: Full) -> Outcome:
    result = new.result
    figures = (result.answer, result.stopped, result.seconds, new.tokens, new.unsure, new.cut, new.unrecorded)
    return Outcome(replicate, result.problem.id, result.problem.answer, *figures, full)
