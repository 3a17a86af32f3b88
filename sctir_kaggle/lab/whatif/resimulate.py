"""Resimulate recorded results under other rules, by the real `Solver` on a simulated clock. Nothing is sampled or made up."""

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
from sctir_kaggle.lab.clock import simulated_budget
from sctir_kaggle.lab.whatif.rules import Rules
from sctir_kaggle.lab.whatif.timed import SimulatedLoop, Timed, run_simulated
from sctir_kaggle.runtime import RESERVE
from sctir_kaggle.solver import Solver
from sctir_kaggle.stopping import decided
from sctir_kaggle.types import Answer, SolveResult, Trace, TraceStatus, UserError


@dataclass(frozen=True, slots=True)
class Rerun:
    """One result under other rules. `result.seconds` are simulated, and so are its traces'.

    `tokens` counts what was sampled; a turn that was cut short counts a share by time. `cut` candidates would have gone on
    where their record ends, `unrecorded` ones needed a completion that the record does not hold (a forced answer after
    fewer turns, say); neither votes. `unsure`: their votes could change the answer.
    """

    result: SolveResult
    tokens: int
    cut: int
    unrecorded: int
    unsure: bool


def rerun(
    record: SolveResult, rules: Rules, *, first: int, soft: float | None = None, hard: float | None = None
) -> Rerun:
    """Run the solver again on `record`; `first` is the number of candidates that it started with.

    `soft` and `hard` are deadlines in seconds from the problem's start, by default the record's own, if it had one. Under
    the recorded rules the result equals the record except for times. Its reference is that of the rules.
    """
    loop, engine = SimulatedLoop(), Timed(record, first=first, dialect=rules.dialect)
    config = replace(rules.config, seed=record.seed)
    if record.stopped == "all" and len(record.traces) == first:
        # All had ended and no extra candidate was called: the run's clock, which is not in the record, may have forbidden it.
        config = replace(config, extra_candidates=0)
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
    """Whether some continuation of the `missing` candidates would have elected another answer.

    A stop rule counts them as ended; had they gone on, those that it cancelled might have been needed too.
    """
    if not missing:
        return False
    stops, rule = config.stop != "none", config.vote_rule
    open_ = sum(trace.status is TraceStatus.CANCELLED for trace in result.traces) if stops else 0
    ballots = [rule.ballot(result.problem, trace, config.modulus) for trace in result.traces]
    return not decided(filter(None, ballots), unfinished=len(missing) + open_)


Replicate = tuple[int, int]
"""(number of the run, seed): one pass over the problems, with a clock of its own."""


class FullVote(NamedTuple):
    """The vote over all candidates of the record, without a stop rule."""

    answer: Answer
    seconds: float
    tokens: int
    cut: int
    unsure: bool


class ProblemOutcome(NamedTuple):
    """One problem under one set of rules. `seconds` are wall clock, `tokens` of all its candidates together."""

    replicate: Replicate
    problem: str
    reference: Answer | None
    answer: Answer
    stopped: str
    seconds: float
    tokens: int
    unsure: bool
    cut: int
    unrecorded: int
    full: FullVote


@dataclass(frozen=True, slots=True)
class Resimulated:
    """`record` as it was, `outcomes` under each set of rules, and ids of problems that the recorded rules did not reproduce."""

    record: list[ProblemOutcome] = field(default_factory=list)
    outcomes: list[list[ProblemOutcome]] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)


def results_of(paths: Sequence[Path]) -> Iterator[tuple[int, SolveResult]]:
    """Stream the results of `paths` (folders or journals) in the recorded order, each with the number of its run."""
    for run, path in enumerate(paths):
        for result in stream_results(journal_of(path))[1]:
            yield run, result


def resimulate(
    results: Iterable[tuple[int, SolveResult]], recorded: Rules, rules: Sequence[Rules], planned: dict[Replicate, int]
) -> Resimulated:
    """Rerun every result under `recorded`, as a check, and under each of `rules`.

    `planned` is the number of problems of each replicate, for its budget. Raises `UserError` where there are no results or a
    budget leaves no time.
    """
    first = recorded.config.candidates
    found = Resimulated(outcomes=[[] for _ in rules])
    schedules = [_DeadlineSchedule(one, planned) for one in rules]
    for run, result in results:
        replicate = (run, result.seed)
        again, full_votes = rerun(result, recorded, first=first), _FullVotes(result, first)
        if again.result != result:
            found.differing.append(result.problem.id)
        found.record.append(_recorded(replicate, result, full_votes.of(recorded)))
        for one, schedule, outcomes in zip(rules, schedules, found.outcomes, strict=True):
            soft, hard = schedule.limits(replicate)
            new = rerun(result, one, first=first, soft=soft, hard=hard)
            schedule.spend(replicate, new.result.seconds)
            outcomes.append(_outcome(replicate, new, full_votes.of(one)))
    if not found.record:
        raise UserError("the runs hold no results; wait for the first problem, or choose others")
    return found


class _FullVotes:
    """The full vote of one result; sets of rules that differ in their stop or clock only share one."""

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
    """The deadlines that a set of rules gives to the problems of every replicate in turn, on a simulated clock."""

    def __init__(self, rules: Rules, planned: dict[Replicate, int]) -> None:
        self._each = rules.problem_seconds
        self._now = dict.fromkeys(planned, 0.0)
        self._budgets = {}
        if rules.budget is not None:
            self._budgets = {replicate: self._budget(rules, replicate, planned[replicate]) for replicate in planned}

    def limits(self, replicate: Replicate) -> tuple[float | None, float | None]:
        """Soft and hard deadline of the next problem, in seconds from its start; None is the record's own."""
        if replicate not in self._budgets:
            return self._each, self._each
        limits, now = self._budgets[replicate].next_deadlines(), self._now[replicate]
        return limits.soft - now, limits.hard - now

    def spend(self, replicate: Replicate, seconds: float) -> None:
        """Move the replicate's clock on by the seconds that a problem took."""
        self._now[replicate] += seconds

    def _budget(self, rules: Rules, replicate: Replicate, problems: int) -> Budget:
        seconds, grace = rules.budget or 0.0, rules.config.grace_seconds
        if seconds * (1 - RESERVE) <= problems * grace:
            raise UserError(
                f"--budget {seconds:g} leaves no time: {problems} problems keep {grace:g} s each for cancelled candidates, "
                f"and {100 * RESERVE:g} % are held in reserve; give more than {problems * grace / (1 - RESERVE):.0f}"
            )
        clock = partial(self._now.__getitem__, replicate)
        return simulated_budget(seconds, problems, grace=grace, clamps=dict(rules.clamps), clock=clock)


def _recorded(replicate: Replicate, result: SolveResult, full: FullVote) -> ProblemOutcome:
    tokens = sum(turn.completion.tokens for trace in result.traces for turn in trace.turns)
    problem = result.problem
    figures = (result.answer, result.stopped, result.seconds, tokens, False, 0, 0)
    return ProblemOutcome(replicate, problem.id, problem.answer, *figures, full)


def _outcome(replicate: Replicate, new: Rerun, full: FullVote) -> ProblemOutcome:
    result = new.result
    figures = (result.answer, result.stopped, result.seconds, new.tokens, new.unsure, new.cut, new.unrecorded)
    return ProblemOutcome(replicate, result.problem.id, result.problem.answer, *figures, full)
