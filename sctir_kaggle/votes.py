"""Votes that trust some answers less: each is a weight from 0 to 1 for one candidate, so that the exact stop stays exact.

All are what competitors used in the first two AI Math Olympiads, on the word of their write-ups; whether one of them helps
is a question to a record. Weights are multiples of 1/4096, so that their sums are exact as floats.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sctir_kaggle.types import ExecutionStatus, Problem, Trace, UserError

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
