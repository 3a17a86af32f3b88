"""Problems from a CSV file, answers into a submission."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from sctir_kaggle.types import Problem, UserError

ASSETS = Path(__file__).parent / "assets"

HELD_OUT = ASSETS / "problems.csv"
"""Fifty problems that the embedded model has not seen."""

COLUMNS = ("id", "problem", "answer", "level", "subject")
"""Those that are read."""


def read_problems(path: Path, *, limit: int | None = None) -> list[Problem]:
    """The rows of a CSV with columns `id`, `problem` and, if known, `answer`, `level`, `subject`; others are ignored.

    All are text but the answer.

    Raises `UserError`, with the row, where a column is missing, an id is empty or double, a text is empty or an answer is
    not an integer.
    """
    header, *rows = _read_rows(path)
    columns = _columns(path, header)
    if not rows:
        raise UserError(f"{path} has no rows; a problem a row is needed")
    problems = [_problem(path, number, header, row, columns) for number, row in enumerate(rows[:limit], 1)]
    _check_unique(path, problems)
    return problems


def fingerprint(problems: Sequence[Problem]) -> str:
    """Twelve hex digits for these problems in any order: a journal is resumed with the same ones only."""
    texts = sorted(f"{problem.id}\0{problem.text}" for problem in problems)
    return hashlib.blake2b("\0\0".join(texts).encode("utf-8", "replace"), digest_size=6).hexdigest()


def write_submission(path: Path, answers: Mapping[str, int]) -> None:
    """A `submission.csv`: columns `id` and `answer`, in the order of `answers`."""
    import pandas as pd

    pd.DataFrame({"id": list(answers), "answer": list(answers.values())}).to_csv(path, index=False)


def _read_rows(path: Path) -> list[list[str]]:
    """All rows as they are written. Not by pandas, which takes a row with one comma too many for one with an index."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file, strict=True) if row]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a CSV in UTF-8: {error}") from None
    if not rows:
        raise UserError(f"{path} is empty; a header `id,problem,answer` and a row a problem are needed")
    return rows


def _columns(path: Path, header: list[str]) -> dict[str, int]:
    """Where the columns that are read stand."""
    missing = [name for name in ("id", "problem") if name not in header]
    if missing:
        raise UserError(f"{path} has no column {' and no column '.join(missing)}; it has: {', '.join(header)}")
    double = [name for name in COLUMNS if header.count(name) > 1]
    if double:
        raise UserError(f"{path} has the column {double[0]} twice")
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
    known = {name: fields[name] for name in ("level", "subject") if fields.get(name)}
    return Problem(fields["id"], row[columns["problem"]], int(answer) if answer else None, **known)


def _check_unique(path: Path, problems: Sequence[Problem]) -> None:
    seen: set[str] = set()
    for number, problem in enumerate(problems, 1):
        if problem.id in seen:
            raise UserError(f"{path}, row {number}: the id {problem.id!r} is there twice; ids must be unique")
        seen.add(problem.id)
