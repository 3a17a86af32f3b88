"""Answers -> a vote: ballots are added up exactly, and equal scores are ordered by a rule of their own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from sctir_kaggle.types import ExecutionStatus, Problem, Trace, UserError, Vote

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


GRAIN = 4096
"""Weights are multiples of one part in so many: less than one part, all candidates together, is below a single vote."""

SMALL = range(6)
"""The answers that `small` trusts less."""

_INTEGER = re.compile(r"(?<![\d.])\d{1,3}(?:(?:,|\{,\}|\\,)\d{3})+(?!\d|\.\d)|(?<![\d.])\d+(?!\.?\d)")
_PRINTED = re.compile(r"(?<![\w.])-?\d+(?:\.0+)?(?![\w]|\.\d)")

Weigh = Callable[[Problem, Trace], float]
"""What the vote of a candidate that has answered counts, from 0 to 1; it may not depend on other candidates."""

Doubt = Callable[[Problem, Trace, "int | None"], bool]
"""(problem, candidate, modulus of answers) -> whether its answer is trusted less."""


def is_small(problem: Problem, trace: Trace, modulus: int | None) -> bool:
    """The answer is one of 0 to 5: what a model says that has lost its way (a fourth place of AIMO-1 weighed them 0.25)."""
    return trace.answer in SMALL


def is_of_statement(problem: Problem, trace: Trace, modulus: int | None) -> bool:
    """The answer stands in the problem's text: it may be copied (the third place of AIMO-1 took some per cent off)."""
    numbers = {int(re.sub(r"\D", "", found)) for found in _INTEGER.findall(problem.text)}
    return trace.answer in numbers | {_reduced(number, modulus) for number in numbers}


def is_unconfirmed(problem: Problem, trace: Trace, modulus: int | None) -> bool:
    """No code of the candidate printed its answer (the second place of AIMO-1 let results of code vote alone)."""
    printed = {
        int(found.partition(".")[0])
        for turn in trace.turns
        if turn.execution is not None and turn.execution.status is ExecutionStatus.OK
        for found in _PRINTED.findall(turn.execution.output)
    }
    return trace.answer not in {_reduced(number, modulus) for number in printed}


def _reduced(number: int, modulus: int | None) -> int:
    return number if modulus is None else number % modulus


DOUBTS: Mapping[str, tuple[Doubt, float]] = {
    "small": (is_small, 0.25),
    "statement": (is_of_statement, 0.5),
    "confirmed": (is_unconfirmed, 1 / GRAIN),
}
"""By the vote's name: whom it doubts, and what a doubted vote counts.

A vote that no code confirmed counts so little that it decides only where no vote was confirmed.
"""


@dataclass(frozen=True, slots=True)
class VoteRule:
    """A vote by name: `plain` counts every vote 1; the others count one that is in doubt `weight`, a multiple of 1/4096."""

    name: str = "plain"
    weight: float = 1.0

    @classmethod
    def parse(cls, text: str) -> VoteRule:
        """`plain`, or one of `DOUBTS` as it is or with a weight of one's own: `small=0.1`. Raises `UserError`."""
        name, given, number = text.partition("=")
        if text == "plain":
            return cls()
        weight = _weight(number) if given else DOUBTS[name][1] if name in DOUBTS else None
        if name not in DOUBTS or weight is None or not 0 <= weight <= 1:
            *some, last = ("plain", *DOUBTS)
            raise UserError(
                f"vote is {text}; it must be {', '.join(some)} or {last}; all but plain may have a weight from 0 to 1, "
                "within which the exact stop is exact: small=0.1"
            )
        return cls(name, round(weight * GRAIN) / GRAIN)

    @property
    def label(self) -> str:
        """As it is typed, with as few digits as tell the weight."""
        if self.name == "plain" or self.weight == DOUBTS[self.name][1]:
            return self.name
        texts = (f"{self.name}={self.weight:.{digits}g}" for digits in range(1, 8))
        return next(text for text in texts if VoteRule.parse(text) == self)

    def weigher(self, modulus: int | None) -> Weigh | None:
        """For answers that are reduced modulo that; None is plain majority."""
        if self.name == "plain":
            return None
        doubts = DOUBTS[self.name][0]
        return lambda problem, trace: self.weight if doubts(problem, trace, modulus) else 1.0


PLAIN = VoteRule()
"""Majority: every vote counts 1."""


def _weight(number: str) -> float | None:
    try:
        return float(number)
    except ValueError:
        return None
