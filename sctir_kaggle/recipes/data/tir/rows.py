"""Training rows of the traces that are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path

from sctir_kaggle.journal import stream_results
from sctir_kaggle.recipes.data.tir.exercise import Exercise
from sctir_kaggle.recipes.data.tir.outcomes import Chosen, Outcome
from sctir_kaggle.recipes.data.tir.solution import solution_of
from sctir_kaggle.recipes.rows import Row
from sctir_kaggle.types import Trace


def kept_rows(
    journal: Path, exercises: Mapping[str, Exercise], chosen: Mapping[str, Chosen], *, seed: int
) -> Iterator[Row]:
    """A row for each kept trace in the journal, in order of completion; the first round has `seed`."""
    _, results = stream_results(journal)
    for result in results:
        name = result.problem.id
        if chosen[name].outcomes[result.seed] is Outcome.KEPT:
            number = result.seed - seed + 1
            yield row_of(exercises[name], chosen[name], result.traces[0], number=number)


def row_of(exercise: Exercise, chosen: Chosen, trace: Trace, *, number: int) -> Row:
    """A training row of round `number`, from 1. Where several are kept of a problem, each id ends with its round.

    `attempts` counts those made that did not fail, `pass_rate` is the share of right ones among them (None before the last),
    `label` is "given" or, for the attempts' own answer, "majority".
    """
    problem = exercise.problem
    messages = [{"role": "user", "content": problem.text}, {"role": "assistant", "content": solution_of(trace)}]
    return {
        "id": problem.id if chosen.kept == 1 else f"{problem.id}#{number}",
        "problem": problem.text,
        "answer": _plain(chosen.label),
        "messages": messages,
        "round": number,
        "attempts": len(chosen.outcomes),
        "pass_rate": chosen.pass_rate,
        "label": "majority" if exercise.reference is None else "given",
    }


def _plain(label: Fraction | str | None) -> int | str | None:
    if isinstance(label, Fraction):
        return label.numerator if label.denominator == 1 else str(label)
    return label
