"""Answers -> a vote: ballots are added up exactly, and equal scores are ordered by a rule of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from sctir_kaggle.types import Vote

TieBreak = Literal["first", "smallest", "largest"]
"""How equal scores are ordered: the answer that has the lowest candidate number, the smallest or the largest answer.

None of them depends on the order in which candidates finish.
"""


@dataclass(frozen=True, slots=True)
class Ballot:
    """One candidate's vote. `weight` lies between 0 and 1; plain majority is weight 1."""

    candidate: int
    answer: int
    weight: float = 1.0


def tally(ballots: Iterable[Ballot], *, tie_break: TieBreak = "first") -> Vote:
    """The vote over `ballots`, whatever their order. A candidate that ballots twice raises ValueError."""
    ballots = list(ballots)
    if len({ballot.candidate for ballot in ballots}) != len(ballots):
        raise ValueError("a candidate has at most one vote")
    scores = scores_of(ballots)
    order = _tie_order(ballots, tie_break)
    ranking = sorted(scores, key=lambda answer: (-scores[answer], order(answer)))
    return Vote(tuple((answer, float(scores[answer])) for answer in ranking))


def scores_of(ballots: Iterable[Ballot]) -> dict[int, Fraction]:
    """What each answer got, exactly."""
    scores: dict[int, Fraction] = {}
    for ballot in ballots:
        scores[ballot.answer] = scores.get(ballot.answer, Fraction(0)) + Fraction(ballot.weight)
    return scores


def _tie_order(ballots: list[Ballot], tie_break: TieBreak) -> Callable[[int], int]:
    if tie_break == "smallest":
        return lambda answer: answer
    if tie_break == "largest":
        return lambda answer: -answer
    first: dict[int, int] = {}
    for ballot in ballots:
        first[ballot.answer] = min(ballot.candidate, first.get(ballot.answer, ballot.candidate))
    return lambda answer: first[answer]
