"""One recorded result under other rules, by the real `Solver` on a simulated clock. Nothing is sampled, nothing made up."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from sctir_kaggle.config import SolverConfig
from sctir_kaggle.solver import Solver
from sctir_kaggle.stopping import decided
from sctir_kaggle.types import SolveResult, Trace, TraceStatus
from sctir_kaggle.voting import Ballot
from sctir_kaggle.whatif.rules import Rules
from sctir_kaggle.whatif.simulated import SimulatedLoop, run
from sctir_kaggle.whatif.timed import Timed


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
    result = run(loop, solver.solve(problem, deadline=soft, hard_deadline=hard))
    tokens = sum(_tokens(trace, record, engine) for trace in result.traces)
    unsure = _unsure(result, engine.cut | engine.unrecorded, config)
    return Rerun(result, tokens, len(engine.cut), len(engine.unrecorded), unsure)


def _tokens(trace: Trace, record: SolveResult, engine: Timed) -> int:
    """Of a trace: whole turns, what was written of a turn that was cut, and all of one whose code was running then."""
    tokens = sum(turn.completion.tokens for turn in trace.turns)
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
    stops, weigh = config.stop != "none", config.vote_rule.weigher(config.modulus)
    open_ = sum(trace.status is TraceStatus.CANCELLED for trace in result.traces) if stops else 0
    ballots = [
        Ballot(trace.candidate, trace.answer, 1.0 if weigh is None else weigh(result.problem, trace))
        for trace in result.traces
        if trace.answer is not None
    ]
    return not decided(ballots, unfinished=len(missing) + open_)
