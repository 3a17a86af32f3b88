"""How attempts ended, and which of them become rows: the rules, applied to all attempts at an exercise together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from sctir_kaggle import answers
from sctir_kaggle.recipes.data.tir.attempts import Attempt
from sctir_kaggle.recipes.data.tir.exercise import Exercise
from sctir_kaggle.recipes.data.tir.expressions import same
from sctir_kaggle.types import TraceStatus

UNSTABLE = "its code printed something else when it was run again"
"""The detail of a trace that is right and not kept, because its code is not deterministic."""


class Outcome(str, Enum):
    """How an attempt ended. Each has one; the first that applies, in the order of `Rules.outcome`."""

    KEPT = "kept"  # a row
    WRONG = "wrong"
    NO_ANSWER = "no answer"  # none that was boxed, or none that is a number where the reference is one
    NO_LABEL = (
        "no label"  # of a problem without a reference, on whose answer too few attempts agree, or not all are made
    )
    NO_CODE = "no code"  # right, but no code ran
    CRASHED = "crashed"  # right, but the last block ended in an error
    CONTRADICTED = "contradicted"  # right, but the last block printed something else
    UNSTABLE = "unstable"  # right, but its code does not print the same again
    DUPLICATE = "duplicate"  # right, and the same as an earlier one of the problem
    SURPLUS = "surplus"  # right, and more than are kept of a problem
    FAILED = "failed"  # by a server or the sandbox, or it took too long: no attempt of the model


RIGHT = frozenset(Outcome) - {Outcome.WRONG, Outcome.NO_ANSWER, Outcome.NO_LABEL, Outcome.FAILED}
"""The outcomes of attempts whose answer is the reference."""

parse = lru_cache(1 << 17)(answers.parse)
"""Progress is counted anew every few seconds, over all attempts."""

Equal = Callable[[Exercise, str, str], bool]
"""Whether an answer (the last argument) is the exercise's reference, where that is a text."""


def same_text(exercise: Exercise, reference: str, written: str) -> bool:
    """Equality without a judge: `expressions.same`."""
    return same(reference, written)


@dataclass(frozen=True, slots=True)
class Rules:
    """What is kept; see the fields of the same name in `TirSettings`."""

    code: Literal["required", "optional"] = "required"
    last_block: Literal["ok", "any"] = "ok"
    last_output: Literal["agrees", "any"] = "agrees"
    duplicates: Literal["kept", "text", "code"] = "code"
    keep: int = 1
    all_rounds: bool = False
    majority: float = 0.5

    def outcome(self, attempt: Attempt, reference: Fraction | str | None, is_equal: Callable[[str], bool]) -> Outcome:
        """The outcome of an attempt by itself; `is_equal` decides on answers where the reference is a text."""
        trace = attempt.trace
        if trace.status in (TraceStatus.FAILED, TraceStatus.CANCELLED):
            return Outcome.FAILED
        answer = None if trace.boxed is None else parse(trace.boxed)
        if trace.boxed is None or (answer is None and not isinstance(reference, str)):
            return Outcome.NO_ANSWER
        if reference is None:
            return Outcome.NO_LABEL
        if not (is_equal(trace.boxed) if isinstance(reference, str) else answer == reference):
            return Outcome.WRONG
        return self._of_right(attempt)

    def _of_right(self, attempt: Attempt) -> Outcome:
        checks = attempt.checks
        if self.code == "required" and not checks.code:
            return Outcome.NO_CODE
        if self.last_block == "ok" and not checks.last_ok:
            return Outcome.CRASHED
        if self.last_output == "agrees" and not checks.agrees:
            return Outcome.CONTRADICTED
        return Outcome.UNSTABLE if attempt.trace.detail == UNSTABLE else Outcome.KEPT


@dataclass(frozen=True, slots=True)
class Chosen:
    """What became of an exercise: its label, each attempt's outcome by seed, and whether another attempt is wanted."""

    label: Fraction | str | None
    outcomes: Mapping[int, Outcome]
    wants_more: bool

    @property
    def kept(self) -> int:
        """Attempts that become rows."""
        return sum(outcome is Outcome.KEPT for outcome in self.outcomes.values())

    @property
    def right(self) -> int:
        """Attempts whose answer is the label, kept or not."""
        return sum(outcome in RIGHT for outcome in self.outcomes.values())

    @property
    def pass_rate(self) -> float | None:
        """The share of right attempts; None as long as more are wanted, or without a label."""
        if self.wants_more or self.label is None or not self.outcomes:
            return None
        return round(self.right / len(self.outcomes), 4)


@dataclass(frozen=True, slots=True)
class Choice:
    """Applies `rules` to exercises with `rounds` rounds. Attempts are taken in the order of their seeds."""

    rules: Rules
    rounds: int
    equal: Equal = same_text

    def of(self, exercise: Exercise, attempts: Mapping[int, Attempt]) -> Chosen:
        """Classify all attempts at an exercise that did not fail."""
        in_order = dict(sorted(attempts.items()))
        label = exercise.reference if exercise.reference is not None else self._majority(in_order)
        outcomes: dict[int, Outcome] = {}
        seen: set[bytes] = set()
        kept = 0
        for seed, attempt in in_order.items():
            outcome = self.rules.outcome(attempt, label, lambda written: self.equal(exercise, str(label), written))
            if outcome is Outcome.KEPT:
                outcome = self._among(attempt, seen, kept)
                kept += outcome is Outcome.KEPT
            outcomes[seed] = outcome
        waits = self.rules.all_rounds or exercise.reference is None
        wanted = len(in_order) < self.rounds and (waits or kept < self.rules.keep)
        return Chosen(label, outcomes, wanted)

    def _among(self, attempt: Attempt, seen: set[bytes], kept: int) -> Outcome:
        """The outcome of an attempt that passes by itself, after `kept` others with the hashes `seen`."""
        if self.rules.duplicates != "kept":
            key = attempt.code if self.rules.duplicates == "code" else attempt.text
            if key in seen:
                return Outcome.DUPLICATE
            seen.add(key)
        return Outcome.KEPT if kept < self.rules.keep else Outcome.SURPLUS

    def _majority(self, attempts: Mapping[int, Attempt]) -> Fraction | None:
        """The number on which the share `majority` of all attempts agrees, and no other as many; at least two do."""
        if len(attempts) < self.rounds:
            return None
        read = (None if one.trace.boxed is None else parse(one.trace.boxed) for one in attempts.values())
        ranking = Counter(answer for answer in read if answer is not None).most_common(2)
        if not ranking or (len(ranking) > 1 and ranking[0][1] == ranking[1][1]):
            return None
        answer, votes = ranking[0]
        return answer if votes >= 2 and votes >= self.rules.majority * len(attempts) else None
