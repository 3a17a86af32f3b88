"""A kept trace as a training row: the problem and the solution as two chat messages, in NuminaMath-TIR's form."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path

from sctir_kaggle.dialects.rows import CHAT_SERVER, OUTPUT_FENCE
from sctir_kaggle.journal import stream_results
from sctir_kaggle.recipes.rows import Row
from sctir_kaggle.recipes.tir.attempt import Outcome, outcome_of
from sctir_kaggle.recipes.tir.exercise import Exercise
from sctir_kaggle.types import Problem, Trace

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
