"""Read problems from a CSV file; write answers as a submission."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from sctir_kaggle.types import Problem, UserError

ASSETS = Path(__file__).parent / "assets"

HELD_OUT = ASSETS / "problems.csv"
"""Fifty problems that the embedded model was not trained on."""

COLUMNS = ("id", "problem", "answer", "level", "subject")
"""The columns that are read; others are ignored."""


def read_problems(path: Path, *, limit: int | None = None) -> list[Problem]:
    """Read a CSV with columns `id`, `problem` and, if known, `answer`, `level`, `subject`; `limit` rows at most.

    All are text except the answer. Raises `UserError`, with the row, where a column is missing, an id is empty or occurs
    twice, a text is empty or an answer is not an integer.
    """
    header, *rows = _read_rows(path)
    columns = _columns(path, header)
    if not rows:
        raise UserError(f"{path} has no rows; it needs one row for each problem")
    problems = [_problem(path, number, header, row, columns) for number, row in enumerate(rows[:limit], 1)]
    _check_unique(path, problems)
    return problems


def fingerprint(problems: Sequence[Problem]) -> str:
    """Twelve hex digits that identify the problems, in any order: a journal is resumed with the same problems only."""
    texts = sorted(f"{problem.id}\0{problem.text}" for problem in problems)
    return hashlib.blake2b("\0\0".join(texts).encode("utf-8", "replace"), digest_size=6).hexdigest()


def write_submission(path: Path, answers: Mapping[str, int]) -> None:
    """Write a CSV with columns `id` and `answer`, in the order of `answers`."""
    import pandas as pd

    pd.DataFrame({"id": list(answers), "answer": list(answers.values())}).to_csv(path, index=False)


def _read_rows(path: Path) -> list[list[str]]:
    """All rows as text. Not by pandas: it reads a row with one comma too many as one with an index."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file, strict=True) if row]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a CSV in UTF-8: {error}") from None
    if not rows:
        raise UserError(f"{path} is empty; it needs a header `id,problem,answer` and one row for each problem")
    return rows


def _columns(path: Path, header: list[str]) -> dict[str, int]:
    """The position of each column that is read. Raises `UserError` where one is missing or occurs twice."""
    missing = [name for name in ("id", "problem") if name not in header]
    if missing:
        raise UserError(f"{path} has no column {' and no column '.join(missing)}; it has: {', '.join(header)}")
    repeated = [name for name in COLUMNS if header.count(name) > 1]
    if repeated:
        raise UserError(f"{path} has the column {repeated[0]} twice")
    return {name: header.index(name) for name in COLUMNS if name in header}


def _problem(path: Path, number: int, header: list[str], row: list[str], columns: dict[str, int]) -> Problem:
    if len(row) != len(header):
        raise UserError(
            f"{path}, row {number}: {len(row)} fields for {len(header)} columns; put a text with commas in quotes"
        )
    fields = {name: row[place].strip() for name, place in columns.items()}
    if not fields["id"] or not fields["problem"]:
        raise UserError(f"{path}, row {number}: the {'problem' if fields['id'] else 'id'} is empty")
    answer = fields.get("answer", "")
    if answer and not re.fullmatch("[-+]?[0-9]+", answer):
        raise UserError(f"{path}, row {number}: the answer {answer!r} is not an integer")
    labels = {name: fields[name] for name in ("level", "subject") if fields.get(name)}
    # The text as it is written, blanks included: so the competition shows it, and so a journal is found again.
    return Problem(fields["id"], row[columns["problem"]], int(answer) if answer else None, **labels)


def _check_unique(path: Path, problems: Sequence[Problem]) -> None:
    seen: set[str] = set()
    for number, problem in enumerate(problems, 1):
        if problem.id in seen:
            raise UserError(f"{path}, row {number}: the id {problem.id!r} occurs twice; ids must be unique")
        seen.add(problem.id)
