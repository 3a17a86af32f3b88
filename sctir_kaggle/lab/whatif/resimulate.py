"""One recorded result under other rules, by the real `Solver` on a simulated clock. Nothing is sampled, nothing made up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sctir_kaggle.budget import Budget
from sctir_kaggle.config import SolverConfig
from sctir_kaggle.journal import journal_of, stream_results
from sctir_kaggle.lab.whatif.rules import Rules
from sctir_kaggle.lab.whatif.timed import SimulatedLoop, Timed, run_simulated
from sctir_kaggle.runtime import RESERVE
from sctir_kaggle.solver import Solver
from sctir_kaggle.stopping import decided
from sctir_kaggle.types import SolveResult, Trace, TraceStatus, UserError


@dataclass(frozen=True, slots=True)
class Rerun:
    """What came of it. `result.seconds` are simulated, and so are its traces'.

    `tokens` counts what was sampled, of a turn that was cut short its share by time. `cut` candidates would have gone on
    where their record ends, `unrecorded` ones were asked for what the record does not hold (a forced answer after fewer
    turns, say); both are silent in the vote. `unsure`: what they would have said could change the answer.
    """

    result: SolveResult
    tokens: int
    cut: int
    unrecorded: int
    unsure: bool


def rerun(
    record: SolveResult, rules: Rules, *, first: int, soft: float | None = None, hard: float | None = None
) -> Rerun:
    """`record` again; `first` is the number of candidates that it started with.

    `soft` and `hard` are deadlines in seconds from the problem's start; without them it is the record's own, if it had one.
    With the recorded rules the result equals the record, but for times. Its reference is that of the rules.
    """
    loop, engine = SimulatedLoop(), Timed(record, first=first, dialect=rules.dialect)
    config = replace(rules.config, seed=record.seed)
    if record.stopped == "all" and len(record.traces) == first:
        config = replace(
            config, extra_candidates=0
        )  # all had ended and nobody more was called: its clock may have forbidden it
    solver = Solver(engine, engine, config, clock=loop.time, dialect=rules.dialect)
    soft = engine.limit if soft is None else soft
    problem = replace(record.problem, answer=rules.reference(record.problem.answer))
    result = run_simulated(loop, solver.solve(problem, deadline=soft, hard_deadline=hard))
    tokens = sum(_tokens(trace, record, engine) for trace in result.traces)
    unsure = _unsure(result, engine.cut | engine.unrecorded, config)
    return Rerun(result, tokens, len(engine.cut), len(engine.unrecorded), unsure)


def _tokens(trace: Trace, record: SolveResult, engine: Timed) -> int:
    """Of a trace: whole turns, what was written of a turn that was cut, and all of one whose code was running then."""
    tokens = trace.tokens
    if trace.status is not TraceStatus.CANCELLED or trace.cut is None:
        return tokens
    if trace.cut.turn is not None:
        return tokens + trace.cut.turn.completion.tokens
    recorded = next((known for known in record.traces if known.candidate == trace.candidate), None)
    turn = len(trace.turns)
    if recorded is None or turn >= len(recorded.turns):
        return tokens
    pace = engine.paces[trace.candidate]
    whole = pace.written[turn] - pace.begun(turn)
    share = min(1.0, trace.cut.seconds / whole) if whole > 0 else 1.0
    return tokens + math.floor(share * recorded.turns[turn].completion.tokens)


def _unsure(result: SolveResult, missing: set[int], config: SolverConfig) -> bool:
    """Whether some continuation of the missing candidates would have elected another answer.

    A stop rule takes them for ended; had they gone on, those that it cancelled might have been needed too.
    """
    if not missing:
        return False
    stops, rule = config.stop != "none", config.vote_rule
    open_ = sum(trace.status is TraceStatus.CANCELLED for trace in result.traces) if stops else 0
    ballots = [rule.ballot(result.problem, trace, config.modulus) for trace in result.traces]
    return not decided(filter(None, ballots), unfinished=len(missing) + open_)


Replicate = tuple[int, int]
"""(number of the run, seed): what was solved once, with a clock of its own."""


class FullVote(NamedTuple):
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
    full: FullVote


@dataclass(frozen=True, slots=True)
class Resimulated:
    """`record` as it was, `outcomes` under each set of rules, and the problems that the recorded rules did not repeat."""

    record: list[Outcome] = field(default_factory=list)
    outcomes: list[list[Outcome]] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)


def results_of(paths: Sequence[Path]) -> Iterator[tuple[int, SolveResult]]:
    """All results in the order of the record, each with the number of its run."""
    for run, path in enumerate(paths):
        for result in stream_results(journal_of(path))[1]:
            yield run, result


def resimulate(
    results: Iterable[tuple[int, SolveResult]], recorded: Rules, rules: Sequence[Rules], planned: dict[Replicate, int]
) -> Resimulated:
    """Every result under all `rules`. `planned` says how many problems each replicate has, for its budget."""
    first = recorded.config.candidates
    played = Resimulated(outcomes=[[] for _ in rules])
    pacers = [_DeadlineSchedule(one, planned) for one in rules]
    for run, result in results:
        replicate = (run, result.seed)
        again, fulls = rerun(result, recorded, first=first), _FullVotes(result, first)
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


class _FullVotes:
    """The full vote of one result under any rules, each held once."""

    def __init__(self, result: SolveResult, first: int) -> None:
        self._result = result
        self._first = first
        self._known: dict[Rules, FullVote] = {}

    def of(self, rules: Rules) -> FullVote:
        if rules.full not in self._known:
            new = rerun(self._result, rules.full, first=self._first)
            full = FullVote(new.result.answer, new.result.seconds, new.tokens, new.cut, new.unsure)
            self._known[rules.full] = full
        return self._known[rules.full]


class _DeadlineSchedule:
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


def _recorded(replicate: Replicate, result: SolveResult, full: FullVote) -> Outcome:
    tokens = sum(trace.tokens for trace in result.traces)
    problem = result.problem
    figures = (result.answer, result.stopped, result.seconds, tokens, False, 0, 0)
    return Outcome(replicate, problem.id, problem.answer, *figures, full)


def _outcome(replicate: Replicate, new: Rerun, full: FullVote) -> Outcome:
    result = new.result
    figures = (result.answer, result.stopped, result.seconds, new.tokens, new.unsure, new.cut, new.unrecorded)
    return Outcome(replicate, result.problem.id, result.problem.answer, *figures, full)
