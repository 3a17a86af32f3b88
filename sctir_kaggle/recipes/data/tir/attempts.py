"""One attempt at an exercise: what came of it, and what it took."""

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


class Attempts(Journal):
    """An open run. `made` are the attempts of this run and of earlier ones, `failed` those that failed; texts stay on disk.

    `tokens` are those of all of them.
    """

    def __init__(self, lines: LineWriter, results: Iterable[SolveResult] = ()) -> None:
        self.made: dict[tuple[str, int], Attempt] = {}
        self.failed: list[Attempt] = []
        self.tokens = Tokens()
        super().__init__(lines, results)

    @classmethod
    def opened(cls, path: Path, header: dict[str, Any]) -> Attempts:
        """A new run, or one to go on with. Raises `UserError` where that one has other problems or settings."""
        if not path.exists():
            return cls.create(path, header)
        attempts = cls.resume(path, header)
        for attempt in _failures(path):
            attempts._note_failure(attempt)
        return attempts

    def fail(self, result: SolveResult) -> None:
        """Write down that an attempt failed, why and what it took."""
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
    """A row for each kept trace of a run whose first round has `seed`, in the order in which they ended."""
    _, results = stream_results(journal)
    for result in results:
        [trace], exercise = result.traces, exercises[result.problem.id]
        if outcome_of(trace, exercise.reference) is Outcome.KEPT:
            yield row_of(exercise.problem, exercise.reference, trace, round=result.seed - seed + 1)


def row_of(problem: Problem, reference: Fraction, trace: Trace, *, round: int) -> Row:
    """`round` counts from 1."""
    answer = reference.numerator if reference.denominator == 1 else str(reference)
    messages = [{"role": "user", "content": problem.text}, {"role": "assistant", "content": solution_of(trace)}]
    return {"id": problem.id, "problem": problem.text, "answer": answer, "messages": messages, "round": round}


def solution_of(trace: Trace) -> str:
    """All that the model wrote and its code printed, but for its thinking and a fence that it no longer needed."""
    text = "".join(turn.prefix + turn.completion.text + turn.output_block for turn in trace.turns)
    text = _THINKING.sub("", text)
    return text.removesuffix(OUTPUT_FENCE).strip()
