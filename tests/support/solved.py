"""Solved problems made by hand, for tests of what is shown of a run."""

from __future__ import annotations

from typing import Any

from sctir_kaggle.types import Completion, Problem, SolveResult, Trace, TraceStatus, Turn
from sctir_kaggle.voting import Ballot, tally


def turn(text: str, **fields: Any) -> Turn:
    """A turn in which the model wrote `text`."""
    return Turn(Completion(text, tokens=len(text)), **fields)


def trace(candidate: int, answer: int | None, *turns: Turn, **fields: Any) -> Trace:
    """A candidate that answered, or for None had no answer after its last turn."""
    status = TraceStatus.EXHAUSTED if answer is None else TraceStatus.ANSWERED
    boxed = None if answer is None else str(answer)
    return Trace(candidate, turns, **{"status": status, "answer": answer, "boxed": boxed, **fields})


def solved(
    id_: str, *answers: int | None, reference: int | None = None, traces: tuple[Trace, ...] = (), **fields: Any
) -> SolveResult:
    """A problem with a candidate for each answer, in the order in which they ended, or with the given traces."""
    traces = traces or tuple(trace(number, answer, turn("text")) for number, answer in enumerate(answers))
    vote = tally(Ballot(one.candidate, one.answer) for one in traces if one.answer is not None)
    problem = fields.pop("problem", Problem(id_, f"statement of {id_}", reference))
    answer = 0 if vote.winner is None else vote.winner
    return SolveResult(problem, answer, vote, traces, **{"fallback": vote.winner is None, "seconds": 1.0, **fields})
