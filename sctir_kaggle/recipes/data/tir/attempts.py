"""Attempts at exercises: their outcome, their tokens, their journal, and the rows made of those that are kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any

from sctir_kaggle.answers import parse
from sctir_kaggle.dialects.rows import CHAT_SERVER, OUTPUT_FENCE
from sctir_kaggle.journal import Journal, stream_results, whole_lines
from sctir_kaggle.jsonlines import LineWriter
from sctir_kaggle.recipes.data.tir.exercise import Exercise
from sctir_kaggle.recipes.rows import Row
from sctir_kaggle.types import Problem, SolveResult, Trace, TraceStatus, Turn

UNSTABLE = "its code printed something else when it was run again"
"""The detail of a trace that is right and not kept, because its code is not deterministic."""


class Outcome(str, Enum):
    """How an attempt ended."""

    KEPT = "kept"  # its answer is the reference, exactly
    WRONG = "wrong"
    NO_ANSWER = "no answer"  # none that was boxed, or none that is a number
    UNSTABLE = "unstable"  # right, but its code does not print the same again
    FAILED = "failed"  # by the server or the sandbox, or it took too long: no attempt of the model


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token counts as the server reported them; `cached` is part of `prompt`."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.prompt + other.prompt, self.cached + other.cached, self.completion + other.completion)


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt in memory: its trace without texts, and its tokens. The seed identifies the round."""

    problem_id: str
    seed: int
    trace: Trace
    tokens: Tokens

    @classmethod
    def of(cls, result: SolveResult) -> Attempt:
        """The attempt of a result with one candidate."""
        [trace] = result.traces
        begun = [trace.cut.turn] if trace.cut and trace.cut.turn else []
        tokens = tokens_of([*trace.turns, *begun])
        return cls(result.problem.id, result.seed, replace(trace, turns=(), cut=None), tokens)


def outcome_of(trace: Trace, reference: Fraction) -> Outcome:
    """Classify a trace; integers and fractions are compared exactly. Its turns are not read."""
    if trace.status in (TraceStatus.FAILED, TraceStatus.CANCELLED):
        return Outcome.FAILED
    answer = None if trace.boxed is None else parse(trace.boxed)
    if answer is None:
        return Outcome.NO_ANSWER
    if answer != reference:
        return Outcome.WRONG
    return Outcome.UNSTABLE if trace.detail == UNSTABLE else Outcome.KEPT


def tokens_of(turns: Iterable[Turn]) -> Tokens:
    """Sum over requests that were answered in full; the usage of one that broke off is unknown and not counted."""
    said = [turn.completion for turn in turns]
    return Tokens(
        sum(one.prompt_tokens for one in said), sum(one.cached_tokens for one in said), sum(one.tokens for one in said)
    )


class Attempts(Journal):
    """The journal of a run. `made` holds the attempts of this run and of earlier ones, `failed` those that failed.

    Texts stay on disk. `tokens` is the sum over both.
    """

    def __init__(self, lines: LineWriter, results: Iterable[SolveResult] = ()) -> None:
        self.made: dict[tuple[str, int], Attempt] = {}
        self.failed: list[Attempt] = []
        self.tokens = Tokens()
        super().__init__(lines, results)

    @classmethod
    def opened(cls, path: Path, header: dict[str, Any]) -> Attempts:
        """Create the journal or resume it. Raises `UserError` where it has other problems or settings."""
        if not path.exists():
            return cls.create(path, header)
        attempts = cls.resume(path, header)
        for attempt in _failures(path):
            attempts._note_failure(attempt)
        return attempts

    def fail(self, result: SolveResult) -> None:
        """Record a failed attempt with its reason and its tokens."""
        attempt = Attempt.of(result)
        why = attempt.trace.detail or "it took too long"
        tokens = asdict(attempt.tokens)
        self.note(why, attempt.problem_id, seed=attempt.seed, tokens=tokens)
        self._note_failure(attempt)

    def _note_failure(self, attempt: Attempt) -> None:
        self.failed.append(attempt)
        self.tokens += attempt.tokens

    def remember(self, result: SolveResult) -> None:
        """Keep the attempt without its texts."""
        attempt = Attempt.of(result)
        self.made[attempt.problem_id, attempt.seed] = attempt
        self.tokens += attempt.tokens


def _failures(path: Path) -> list[Attempt]:
    lines = [line for line in whole_lines(path) if "fault" in line and "tokens" in line]
    return [
        Attempt(line["problem"], line["seed"], Trace(0, (), TraceStatus.FAILED), Tokens(**line["tokens"]))
        for line in lines
    ]


_THINKING = re.compile(f"{CHAT_SERVER.think_begin}.*?{CHAT_SERVER.think_end}\\s*", re.DOTALL)


def kept_rows(journal: Path, exercises: Mapping[str, Exercise], *, seed: int) -> Iterator[Row]:
    """A row for each kept trace in the journal, in order of completion; the first round has `seed`."""
    _, results = stream_results(journal)
    for result in results:
        [trace], exercise = result.traces, exercises[result.problem.id]
        if outcome_of(trace, exercise.reference) is Outcome.KEPT:
            yield row_of(exercise.problem, exercise.reference, trace, round=result.seed - seed + 1)


def row_of(problem: Problem, reference: Fraction, trace: Trace, *, round: int) -> Row:
    """A training row; `round` counts from 1."""
    answer = reference.numerator if reference.denominator == 1 else str(reference)
    messages = [{"role": "user", "content": problem.text}, {"role": "assistant", "content": solution_of(trace)}]
    return {"id": problem.id, "problem": problem.text, "answer": answer, "messages": messages, "round": round}


def solution_of(trace: Trace) -> str:
    """Everything the model wrote and its code printed, without thinking and without a trailing output fence."""
    text = "".join(turn.prefix + turn.completion.text + turn.output_block for turn in trace.turns)
    text = _THINKING.sub("", text)
    return text.removesuffix(OUTPUT_FENCE).strip()
