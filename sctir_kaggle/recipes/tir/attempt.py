"""One attempt at an exercise: what came of it, and what it took."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from fractions import Fraction

from sctir_kaggle.answers import parse
from sctir_kaggle.types import SolveResult, Trace, TraceStatus, Turn

UNSTABLE = "its code printed something else when it was run again"
"""The detail of a trace whose answer is right and that is not kept for this reason."""


class Outcome(str, Enum):
    """How an attempt ended."""

    KEPT = "kept"  # its answer is the reference, exactly
    WRONG = "wrong"
    NO_ANSWER = "no answer"  # none that was boxed, or none that is a number
    UNSTABLE = "unstable"  # right, but its code does not print the same again
    FAILED = "failed"  # by the server or the sandbox, or it took too long: no attempt of the model


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the server counted. `cached` are some of `prompt`."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.prompt + other.prompt, self.cached + other.cached, self.completion + other.completion)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is remembered of an attempt: its trace without its texts, and its tokens. The seed says the round."""

    problem_id: str
    seed: int
    trace: Trace
    tokens: Tokens

    @classmethod
    def of(cls, result: SolveResult) -> Attempt:
        """The attempt that a result with one candidate is."""
        [trace] = result.traces
        begun = [trace.cut.turn] if trace.cut and trace.cut.turn else []
        tokens = tokens_of([*trace.turns, *begun])
        return cls(result.problem.id, result.seed, replace(trace, turns=(), cut=None), tokens)


def outcome_of(trace: Trace, reference: Fraction) -> Outcome:
    """Integers and fractions alike are compared exactly; the turns of `trace` are not looked at."""
    if trace.status in (TraceStatus.FAILED, TraceStatus.CANCELLED):
        return Outcome.FAILED
    answer = None if trace.boxed is None else parse(trace.boxed)
    if answer is None:
        return Outcome.NO_ANSWER
    if answer != reference:
        return Outcome.WRONG
    return Outcome.UNSTABLE if trace.detail == UNSTABLE else Outcome.KEPT


def tokens_of(turns: Iterable[Turn]) -> Tokens:
    """Of every request that was answered in full; what one that broke off took is not known, and not counted."""
    said = [turn.completion for turn in turns]
    return Tokens(
        sum(one.prompt_tokens for one in said), sum(one.cached_tokens for one in said), sum(one.tokens for one in said)
    )
