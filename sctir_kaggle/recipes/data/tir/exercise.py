"""Problems with a reference: rows of a file or of the Hub whose answer can be checked, exactly or by a judge.

The answer stands in a column `answer` or, where there is none, in the box of a `solution`. Left out and counted: proofs,
texts that contain the prompt's own marks, repeated texts, and, unless they are asked for, answers in words, with variables or
irrational, and problems without any answer.
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
    """A problem with its `reference`: a number, the text of an answer that is none, or None where there is no answer.

    `problem.answer` equals it where it is an integer, else it is None.
    """

    problem: Problem
    reference: Fraction | str | None


def read_exercises(
    source: str,
    *,
    split: str = "train",
    integers: bool = False,
    expressions: bool = False,
    unanswered: bool = False,
    repeated: bool = True,
    limit: int | None = None,
) -> tuple[list[Exercise], Counter[str]]:
    """The first `limit` usable rows of `source`, a file or a data set on the Hub; and counts of those left out, by reason.

    `expressions` takes answers that are no numbers too, `unanswered` problems without an answer; without `repeated` a text
    is taken once. Raises `UserError` where no row is usable, or an id occurs twice.
    """
    exercises: dict[str, Exercise] = {}
    left_out: Counter[str] = Counter()
    texts: set[str] = set()
    for row in _rows(source, split):
        if limit is not None and len(exercises) == limit:
            break
        found = exercise_of(row, integers=integers, expressions=expressions, unanswered=unanswered)
        text = " ".join(row["problem"].split())
        if isinstance(found, str):
            left_out[found] += 1
        elif found.problem.id in exercises:
            raise UserError(f"{source}: the id {found.problem.id!r} is there twice; ids must be unique")
        elif not repeated and text in texts:
            left_out["the same text as an earlier one"] += 1
        else:
            exercises[found.problem.id] = found
            texts.add(text)
    if not exercises:
        counts = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "it is empty"
        hints = [] if expressions else ["judge=true takes answers that are no numbers"]
        hints += [] if unanswered else ["reference=majority takes problems without an answer"]
        raise UserError(f"{source} has no problem that can be checked ({counts}); {'; '.join(hints) or 'give others'}")
    return list(exercises.values()), left_out


def exercise_of(
    row: Row, *, integers: bool = False, expressions: bool = False, unanswered: bool = False
) -> Exercise | str:
    """The exercise of a row, or the reason why it is left out."""
    if any(mark in row["problem"] for mark in _MARKS):
        return "a mark of the prompt in its text"
    reference = reference_of(row)
    if reference is None:
        return _without_number(row, expressions=expressions, unanswered=unanswered)
    if reference.denominator != 1:
        return "not an integer" if integers else Exercise(Problem(row["id"], row["problem"]), reference)
    return Exercise(Problem(row["id"], row["problem"], reference.numerator), reference)


def _without_number(row: Row, *, expressions: bool, unanswered: bool) -> Exercise | str:
    written = written_answer(row)
    problem = Problem(row["id"], row["problem"])
    if not written and unanswered:
        return Exercise(problem, None)
    if not written or not expressions:
        return "no numerical answer"
    return "a proof" if written.lower() == "proof" else Exercise(problem, written)


def written_answer(row: Row) -> str:
    """The row's answer as a text without its box; empty where it has none."""
    written = str(row.get("answer") or "").strip() or boxed(str(row.get("solution") or "")) or ""
    return (boxed(written) or written).strip("$ ")


def reference_of(row: Row) -> Fraction | None:
    """The row's answer as an exact number, None where it has none; text is parsed as a model's answer is."""
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
    """Rows of a data set on the Hub; one without an id gets "NAME:NUMBER"."""
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
