"""The four validation sets by name: from a folder of CSVs, or from the Hugging Face Hub.

AMC 12 (2022, 2023), AIME (2022-2024), and the MATH test problems of levels 4 and 5 with integer answers. How many rows a
set has is checked; rows whose label is wrong (`labels`) are left out unless all are asked for, and then have the label that
was meant where there is one. A path to any other CSV is read as `sctir solve` reads it.
"""

from __future__ import annotations

import csv
import logging
import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from sctir_kaggle.problems import read_problems
from sctir_kaggle.replay.hub import read_hub
from sctir_kaggle.replay.labels import Row, repaired
from sctir_kaggle.types import Problem, UserError

log = logging.getLogger("sctir_kaggle")

DATA = "SCTIR_DATA"
"""The environment variable with the folder of the sets."""


@dataclass(frozen=True, slots=True)
class ValidationSet:
    """Where a set is and how many rows it has; `level` is that of MATH."""

    name: str
    file: str
    hub: str
    rows: int
    level: str | None = None


SETS = {
    set_.name: set_
    for set_ in (
        ValidationSet("amc", "amc.csv", "AI-MO/aimo-validation-amc", 83),
        ValidationSet("aime", "aime.csv", "AI-MO/aimo-validation-aime", 90),
        ValidationSet("math4", "math_level4.csv", "AI-MO/aimo-validation-math-level-4", 754, "4"),
        ValidationSet("math5", "math_level5.csv", "AI-MO/aimo-validation-math-level-5", 721, "5"),
    )
}


def read_set(
    which: str, *, data: Path | None = None, all_rows: bool = False, limit: int | None = None
) -> list[Problem]:
    """The problems of the set with this name, or of the CSV at this path; the first `limit` of them.

    `data` is the folder of the sets; None takes that of SCTIR_DATA, and without that the Hub. Raises `UserError` where
    there is no such set or it is not whole.
    """
    if which not in SETS:
        return read_problems(_path(which), limit=limit)
    set_ = SETS[which]
    rows = _read(set_, data or _folder_of_environment())
    if len(rows) != set_.rows:
        raise UserError(f"the set {set_.name} has {len(rows)} rows, not {set_.rows}; get it anew from {set_.hub}")
    return _kept(set_, rows, all_rows=all_rows)[:limit]


def _path(which: str) -> Path:
    path = Path(which)
    if not path.exists():
        raise UserError(f"{which!r} is neither a file nor a validation set; the sets are {', '.join(SETS)}")
    return path


def _folder_of_environment() -> Path | None:
    return Path(os.environ[DATA]) if os.environ.get(DATA) else None


def _read(set_: ValidationSet, folder: Path | None) -> list[Row]:
    if folder is None:
        return read_hub(set_.name, set_.hub)
    if (folder / set_.file).is_file():
        return _read_csv(folder / set_.file)
    for copy in (folder / Path(set_.hub).name, folder / set_.hub):
        if copy.is_dir():
            return read_hub(set_.name, copy)
    raise UserError(
        f"{folder} holds neither {set_.file} nor a copy of the data set {Path(set_.hub).name}; without --data and {DATA} "
        "it comes from the Hub"
    )


def _read_csv(path: Path) -> list[Row]:
    """A CSV may say itself which rows are not `clean`, and why in a `note`; its answers are then put right already."""
    problems = read_problems(path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        notes = {
            row["id"].strip(): row.get("note") or "flagged" for row in csv.DictReader(file) if row.get("clean") == "0"
        }
    return [
        Row(problem, notes[problem.id]) if problem.id in notes else _repaired_row(path, problem) for problem in problems
    ]


def _repaired_row(path: Path, problem: Problem) -> Row:
    if problem.answer is None:
        raise UserError(f"{path}: {problem.id} has no answer; a validation set has one for every problem")
    answer, flaw = repaired(problem.text, problem.answer)
    return Row(replace(problem, answer=answer), flaw)


def _kept(set_: ValidationSet, rows: list[Row], *, all_rows: bool) -> list[Problem]:
    flaws = Counter(row.flaw for row in rows if row.flaw)
    if flaws:
        reasons = ", ".join(f"{count} x {flaw}" for flaw, count in flaws.most_common())
        kept = (
            "are kept, their labels put right where that can be" if all_rows else "are left out (--all-rows keeps them)"
        )
        log.warning("%s: %d of %d rows %s: %s", set_.name, flaws.total(), len(rows), kept, reasons)
    problems = [row.problem for row in rows if all_rows or not row.flaw]
    return [replace(problem, level=problem.level or set_.level) for problem in problems]
