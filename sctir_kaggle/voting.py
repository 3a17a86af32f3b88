"""Answers -> a vote, and the exact stop rule: when no continuation can change the winner any more."""

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
    """One candidate's vote. `weight` lies between 0 and the rule's `max_weight`; plain majority is weight 1."""

    candidate: int
    answer: int
    weight: float = 1.0


def tally(ballots: Iterable[Ballot], *, tie_break: TieBreak = "first") -> Vote:
    """The vote over `ballots`, whatever their order. A candidate that ballots twice raises ValueError."""
    ballots = list(ballots)
    if len({ballot.candidate for ballot in ballots}) != len(ballots):
        raise ValueError("a candidate has at most one vote")
    scores = _scores(ballots)
    order = _tie_order(ballots, tie_break)
    ranking = sorted(scores, key=lambda answer: (-scores[answer], order(answer)))
    return Vote(tuple((answer, float(scores[answer])) for answer in ranking))


def decided(ballots: Iterable[Ballot], *, unfinished: int, max_weight: float = 1.0) -> bool:
    """Whether the leader wins for every possible continuation: the exact stop rule.

    With R = `unfinished` candidates (running, queued or not started), each good for at most one vote of `max_weight`, the
    leader a is safe iff S(a) - S(b) > R * max_weight for every rival b; an answer that nobody gave yet has S = 0. The
    inequality is strict, so it holds under any tie-break. Sums are exact: no rounding, whatever the order.
    """
    ballots = list(ballots)
    if any(not 0 <= ballot.weight <= max_weight for ballot in ballots):
        raise ValueError(f"a weight lies outside 0..{max_weight}: the stop rule would not be exact")
    scores = sorted(_scores(ballots).values(), reverse=True)
    if not scores:
        return False
    runner_up = scores[1] if len(scores) > 1 else Fraction(0)
    return scores[0] - runner_up > unfinished * Fraction(max_weight)


def _scores(ballots: Iterable[Ballot]) -> dict[int, Fraction]:
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
