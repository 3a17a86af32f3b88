"""Problems from a CSV file, answers into a submission."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sctir_kaggle.types import Problem, UserError

if TYPE_CHECKING:
    from pandas import DataFrame

ASSETS = Path(__file__).parent / "assets"

HELD_OUT = ASSETS / "problems.csv"
"""Fifty problems that the embedded model has not seen."""


def read_problems(path: Path, *, limit: int | None = None) -> list[Problem]:
    """The rows of a CSV with columns `id`, `problem` and, if known, `answer`; others are ignored. Ids are text.

    Raises `UserError`, with the row, where a column is missing, an id is empty or double, a text is empty or an answer is
    not an integer.
    """
    table = _read_table(path)
    _check_columns(path, list(table.columns))
    if table.empty:
        raise UserError(f"{path} has no rows; a problem a row is needed")
    answers = table["answer"] if "answer" in table.columns else [""] * len(table)
    rows = list(zip(table["id"], table["problem"], answers, strict=True))[:limit]
    problems = [_problem(path, number, *row) for number, row in enumerate(rows, 1)]
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


def _read_table(path: Path) -> DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except pd.errors.EmptyDataError:
        raise UserError(f"{path} is empty; a header `id,problem,answer` and a row a problem are needed") from None
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a CSV in UTF-8: {error}") from None


def _check_columns(path: Path, columns: list[str]) -> None:
    missing = [name for name in ("id", "problem") if name not in columns]
    if missing:
        raise UserError(f"{path} has no column {' and no column '.join(missing)}; it has: {', '.join(columns)}")


def _problem(path: Path, number: int, id_: str, text: str, answer: str) -> Problem:
    if not id_.strip() or not text.strip():
        raise UserError(f"{path}, row {number}: the {'problem' if id_.strip() else 'id'} is empty")
    try:
        return Problem(id_.strip(), text, int(answer.replace("_", "?")) if answer.strip() else None)
    except ValueError:
        raise UserError(f"{path}, row {number}: the answer {answer!r} is not an integer") from None


def _check_unique(path: Path, problems: Sequence[Problem]) -> None:
    seen: set[str] = set()
    for number, problem in enumerate(problems, 1):
        if problem.id in seen:
            raise UserError(f"{path}, row {number}: the id {problem.id!r} is there twice; ids must be unique")
        seen.add(problem.id)
