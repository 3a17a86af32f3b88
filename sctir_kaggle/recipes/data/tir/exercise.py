"""Problems with a numerical reference: which rows of a file or of the Hub can be sampled for and checked exactly.

Covered: an answer in a column `answer` or, where there is none, in the box of a `solution`. Not covered: proofs, answers in
words, with variables or irrational: these rows are left out and counted. So are texts that hold the prompt's own marks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from sctir_kaggle.answers import boxed, parse
from sctir_kaggle.dialects.rows import HEADER, OUTPUT_FENCE
from sctir_kaggle.recipes.rows import KINDS, Row, read_rows
from sctir_kaggle.types import Problem, UserError, one_line

_MARKS = (HEADER.split("{problem}")[1].strip(), OUTPUT_FENCE.strip())


@dataclass(frozen=True, slots=True)
class Exercise:
    """A problem to be sampled for. `reference` is exact; `problem.answer` is it where it is an integer, else None."""

    problem: Problem
    reference: Fraction


def read_exercises(
    source: str, *, split: str = "train", integers: bool = False, limit: int | None = None
) -> tuple[list[Exercise], Counter[str]]:
    """The first `limit` usable rows of `source`, a file or the Hub, and how many were left out for which reason.

    Raises `UserError` where there is none, or where an id is there twice.
    """
    exercises: dict[str, Exercise] = {}
    left_out: Counter[str] = Counter()
    for row in _rows(source, split):
        if limit is not None and len(exercises) == limit:
            break
        found = exercise_of(row, integers=integers)
        if isinstance(found, str):
            left_out[found] += 1
        elif found.problem.id in exercises:
            raise UserError(f"{source}: the id {found.problem.id!r} is there twice; ids must be unique")
        else:
            exercises[found.problem.id] = found
    if not exercises:
        raise UserError(f"{source} has no problem with a numerical answer ({dict(left_out)}); give others")
    return list(exercises.values()), left_out


def exercise_of(row: Row, *, integers: bool = False) -> Exercise | str:
    """The exercise of a row, or why it is none."""
    if any(mark in row["problem"] for mark in _MARKS):
        return "a mark of the prompt in its text"
    reference = reference_of(row)
    if reference is None:
        return "no numerical answer"
    if reference.denominator != 1:
        return "not an integer" if integers else Exercise(Problem(row["id"], row["problem"]), reference)
    return Exercise(Problem(row["id"], row["problem"], reference.numerator), reference)


def reference_of(row: Row) -> Fraction | None:
    """The answer as an exact number: integers and floats as they are, text as an answer is read."""
    answer = row.get("answer")
    if isinstance(answer, bool):
        return None
    if isinstance(answer, int):
        return Fraction(answer)
    if isinstance(answer, float):
        return Fraction(str(answer)) if math.isfinite(answer) else None
    written = str(answer or "") or boxed(str(row.get("solution") or "")) or ""
    return parse(boxed(written) or written) if written else None


def _rows(source: str, split: str) -> Iterable[Row]:
    return read_rows(Path(source)) if source.endswith(KINDS) else _hub_rows(source, split)


def _hub_rows(source: str, split: str) -> Iterator[Row]:
    """By the library `datasets`; a row without an id is called by its number."""
    rows: Any = _loaded(source, split)
    if "problem" not in rows.column_names:
        raise UserError(f"{source} has no column problem; it has {', '.join(rows.column_names)}")
    for number, row in enumerate(rows):
        yield {**row, "id": str(row.get("id") or f"{Path(source).name}:{number}")}


def _loaded(source: str, split: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise UserError(f"{source} is no file of rows; the Hub's sets need: pip install 'sctir-kaggle[hub]'") from None
    try:
        if any(Path(source, name).exists() for name in ("state.json", "dataset_dict.json")):
            saved = datasets.load_from_disk(source)
            return saved[split] if isinstance(saved, dict) else saved
        return datasets.load_dataset(source, split=split)
    except (OSError, ValueError, KeyError) as error:  # ConnectionError and "not found" are OSErrors
        reason = one_line(error, first=True)
        raise UserError(f"cannot load {source}: {reason}; give a file, or a folder that holds the set") from None
