"""Majority vote: each candidate that answered casts one ballot, ballots are added up exactly, ties have a fixed order.

    >>> vote = tally([Ballot(0, 42), Ballot(1, 7), Ballot(2, 42)])
    >>> vote.winner, vote.ranking
    (42, ((42, 2.0), (7, 1.0)))

A vote may be weighted (`VoteRule`). To add a weighting, write one function like `unless_small` and give it a name in
`WEIGHTINGS`: the setting `vote`, the command line, what-if and the journal know it by that name, and a test of its own
says what it weighs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from sctir_kaggle.kinds import nearest
from sctir_kaggle.types import Answer, ExecutionStatus, Problem, Trace, UserError, Vote

TieBreak = Literal["first", "smallest", "largest"]
"""Order of equal scores: first the answer of the candidate with the lowest number, the smallest or the largest answer.

None of them depends on the order in which candidates finish, or a busy machine could change an answer.
"""


@dataclass(frozen=True, slots=True)
class Ballot:
    """One candidate's vote. `weight` is from 0 to 1; in a plain majority it is 1."""

    candidate: int
    answer: Answer
    weight: float = 1.0


def tally(ballots: Iterable[Ballot], *, tie_break: TieBreak = "first") -> Vote:
    """Count `ballots`, whatever their order. Raises ValueError where a candidate votes twice.

    >>> tally([Ballot(0, 9), Ballot(1, 5)], tie_break="smallest").winner
    5
    """
    ballots = list(ballots)
    if len({ballot.candidate for ballot in ballots}) != len(ballots):
        raise ValueError("a candidate has at most one vote")
    scores = scores_of(ballots)
    order = _tie_order(ballots, tie_break)
    ranking = sorted(scores, key=lambda answer: (-scores[answer], order(answer)))
    return Vote(tuple((answer, float(scores[answer])) for answer in ranking))


def scores_of(ballots: Iterable[Ballot]) -> dict[Answer, Fraction]:
    """Sum of weights by answer. Exact, so it does not depend on the order of the ballots as a sum of floats would.

    >>> scores_of([Ballot(0, 42), Ballot(1, 42, 0.25)])
    {42: Fraction(5, 4)}
    """
    scores: dict[Answer, Fraction] = {}
    for ballot in ballots:
        scores[ballot.answer] = scores.get(ballot.answer, Fraction(0)) + Fraction(ballot.weight)
    return scores


def _tie_order(ballots: list[Ballot], tie_break: TieBreak) -> Callable[[Answer], Answer]:
    if tie_break == "smallest":
        return lambda answer: answer
    if tie_break == "largest":
        return lambda answer: -answer
    first: dict[Answer, int] = {}
    for ballot in ballots:
        first[ballot.answer] = min(ballot.candidate, first.get(ballot.answer, ballot.candidate))
    return lambda answer: first[answer]


# --- Weightings: how far each candidate's vote is trusted ---

Trust = Callable[[Problem, Trace, "int | None"], float]
"""(problem, candidate that has answered, modulus of answers) -> from 0 (not trusted) to 1 (a full vote).

It looks at this one candidate alone: were a weight to change with later candidates, no stop could be exact.
"""

SMALL = range(6)
"""The answers that `small` trusts less."""

_INTEGER = re.compile(r"(?<![\d.])\d{1,3}(?:(?:,|\{,\}|\\,)\d{3})+(?!\d|\.\d)|(?<![\d.])\d+(?!\.?\d)")
_PRINTED_FRACTION = re.compile(r"(?<![\w./])-?\d+(?:/\d+|\.\d+)(?![\w/]|\.\d)")
_PRINTED = re.compile(r"(?<![\w.])-?\d+(?:\.0+)?(?![\w]|\.\d)")


def unless_small(problem: Problem, trace: Trace, modulus: int | None) -> bool:
    """Distrust 0 to 5, the guesses of a model that has lost its way (a fourth place of AIMO-1 weighed them 0.25)."""
    return trace.answer not in SMALL


def unless_in_statement(problem: Problem, trace: Trace, modulus: int | None) -> bool:
    """Distrust a number of the problem's text: it may be copied (the third place of AIMO-1 took some per cent off)."""
    numbers = {int(re.sub(r"\D", "", found)) for found in _INTEGER.findall(problem.text)}
    return trace.answer not in numbers | {_reduced(number, modulus) for number in numbers}


def if_confirmed(problem: Problem, trace: Trace, modulus: int | None) -> bool:
    """Trust an answer that the candidate's own code printed (the second place of AIMO-1 let only those vote)."""
    outputs = [
        turn.execution.output
        for turn in trace.turns
        if turn.execution is not None and turn.execution.status is ExecutionStatus.OK
    ]
    if isinstance(trace.answer, Fraction):
        return any(trace.answer == number for output in outputs for number in _fractions_in(output))
    printed = {int(found.partition(".")[0]) for output in outputs for found in _PRINTED.findall(output)}
    return trace.answer in {_reduced(number, modulus) for number in printed}


def _fractions_in(output: str) -> Iterator[Fraction]:
    """The fractions that a program printed: `1/2`, as Python's and SymPy's are, or `0.5`."""
    for found in _PRINTED_FRACTION.findall(output):
        try:
            yield Fraction(found)
        except (ValueError, ZeroDivisionError):  # more digits than Python reads; 1/0
            continue


def _reduced(number: int, modulus: int | None) -> int:
    return number if modulus is None else number % modulus


GRAIN = 4096
"""Weights are multiples of 1/4096: exact as floats, and more than the at most 2048 candidates of a problem, so that all
their votes of the smallest weight together stay below one full vote."""

WEIGHTINGS: Mapping[str, tuple[Trust, float]] = {
    "small": (unless_small, 0.25),
    "statement": (unless_in_statement, 0.5),
    "confirmed": (if_confirmed, 1 / GRAIN),  # decides only where no vote is confirmed
}
"""By the name of the vote: its trust, and the default weight of a ballot that is not trusted at all."""


@dataclass(frozen=True, slots=True)
class VoteRule:
    """A vote by name: `plain`, where every ballot weighs 1, or one of `WEIGHTINGS`.

    `weight` is that of a ballot with trust 0, a multiple of 1/4096; one with trust 1 weighs 1.
    """

    name: str = "plain"
    weight: float = 1.0

    @classmethod
    def parse(cls, text: str) -> VoteRule:
        """Read `plain`, or a name in `WEIGHTINGS`, alone or with a weight. Raises `UserError`.

        >>> VoteRule.parse("small=0.5")
        VoteRule(name='small', weight=0.5)
        """
        name, given, number = text.partition("=")
        if text == "plain":
            return cls()
        weight = _number(number) if given else WEIGHTINGS[name][1] if name in WEIGHTINGS else None
        if name not in WEIGHTINGS or weight is None or not 0 <= weight <= 1:
            *some, last = ("plain", *WEIGHTINGS)
            meant = "" if name in WEIGHTINGS else nearest(name, ("plain", *WEIGHTINGS))
            raise UserError(
                f"vote is {text}; it must be {', '.join(some)} or {last}; all but plain may have a weight from 0 to 1, "
                f"within which the exact stop is exact: small=0.1{meant}"
            )
        return cls(name, _to_grain(weight))

    @property
    def label(self) -> str:
        """The text that `parse` reads as this rule, with as few digits of the weight as identify it."""
        if self.name == "plain" or self.weight == WEIGHTINGS[self.name][1]:
            return self.name
        texts = (f"{self.name}={self.weight:.{digits}g}" for digits in range(1, 8))
        return next(text for text in texts if VoteRule.parse(text) == self)

    def weigh(self, problem: Problem, trace: Trace, modulus: int | None) -> float:
        """Weight of the vote of a candidate that has answered, from 0 to 1; `modulus` is that of the answers."""
        if self.name == "plain":
            return 1.0
        trust = WEIGHTINGS[self.name][0](problem, trace, modulus)
        return _to_grain(self.weight + (1 - self.weight) * trust)

    def ballot(self, problem: Problem, trace: Trace, modulus: int | None) -> Ballot | None:
        """The candidate's ballot; None where it has no answer."""
        if trace.answer is None:
            return None
        return Ballot(trace.candidate, trace.answer, self.weigh(problem, trace, modulus))


PLAIN = VoteRule()
"""Plain majority: every ballot weighs 1."""


def _to_grain(weight: float) -> float:
    return round(weight * GRAIN) / GRAIN


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
