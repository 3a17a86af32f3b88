"""Validation sets by name, from a folder of CSVs or from the Hugging Face Hub; any other file by its path.

AMC 12 (2022, 2023), AIME (2022-2024), and the MATH test problems of levels 4 and 5 with integer answers: NuminaMath's sets.
The number of rows is checked. Rows with a wrong label are left out unless all are requested; then they have the corrected
label where there is one. Any other file is read as `sctir solve` reads it.
"""

from __future__ import annotations

import csv
import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sctir_kaggle.answers import read_answer
from sctir_kaggle.kinds import beside, nearest
from sctir_kaggle.problems import read_file, read_problems
from sctir_kaggle.problems.content import STDIN
from sctir_kaggle.problems.hub import hub_name, load
from sctir_kaggle.types import Problem, UserError

log = logging.getLogger("sctir_kaggle")

DATA = "SCTIR_DATA"
"""The environment variable that names the folder of the sets."""


@dataclass(frozen=True, slots=True)
class ValidationSet:
    """Where a set is found and how many rows it has; `level` is MATH's.

    Without `hub` it is read from a folder only; without `rows` their number is not checked.
    """

    name: str
    file: str
    hub: str | None = None
    rows: int | None = None
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


@dataclass(frozen=True, slots=True)
class Row:
    """A problem of a set with its corrected label, and what was wrong with the label ("" for nothing)."""

    problem: Problem
    flaw: str


def read_set(
    which: str, *, data: Path | None = None, all_rows: bool = False, limit: int | None = None
) -> list[Problem]:
    """The first `limit` problems of the set with this name, or of another source that `read_problems` knows.

    `data` is the folder of the sets; by default that of SCTIR_DATA, and without that the Hub. `all_rows` keeps those with a
    wrong label. Raises `UserError` where there is no such set or it is incomplete.
    """
    if which not in SETS:
        if not is_file(which):
            meant = (beside(which) if Path(which).suffix else "") or nearest(which, SETS) or beside(which)
            raise UserError(
                f"{which!r} is neither a file nor a validation set; the sets are {', '.join(SETS)}; one of the Hub is "
                f"org/name:split{meant}"
            )
        return read_problems(which, limit=limit)
    set_ = SETS[which]
    folder = data or (Path(os.environ[DATA]) if os.environ.get(DATA) else None)
    rows = _read(set_, folder)
    if set_.rows is not None and len(rows) != set_.rows:
        raise UserError(f"the set {set_.name} has {len(rows)} rows, not {set_.rows}; download it again from {set_.hub}")
    return _kept(set_, rows, all_rows=all_rows)[:limit]


def is_file(which: str) -> bool:
    """Whether `which` is a file or a folder, standard input, or rather the name of a data set on the Hub."""
    return which == STDIN or Path(which).exists() or hub_name(which) is not None


def _read(set_: ValidationSet, folder: Path | None) -> list[Row]:
    if folder is not None and (folder / set_.file).is_file():
        return _read_csv(folder / set_.file)
    if set_.hub is None:
        where = f"{folder} holds no {set_.file}" if folder else f"the set {set_.name} is not on the Hub"
        raise UserError(f"{where}; give the folder that holds {set_.file} with --data or {DATA}")
    if folder is None:
        return read_hub(set_.name, set_.hub)
    for copy in (folder / Path(set_.hub).name, folder / set_.hub):
        if copy.is_dir():
            return read_hub(set_.name, copy)
    raise UserError(
        f"{folder} holds neither {set_.file} nor a copy of the data set {Path(set_.hub).name}; without --data and {DATA} "
        "it comes from the Hub"
    )


def _read_csv(path: Path) -> list[Row]:
    """Rows of a CSV. A column `clean` may mark flawed rows, with a `note` why; their answers are then corrected already."""
    problems = read_file(path).problems  # `_kept` says what was read
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
    if not isinstance(problem.answer, int):
        raise UserError(f"{path}: {problem.id} has the answer {problem.answer}; a validation set has integers")
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


def read_hub(name: str, source: str | Path) -> list[Row]:
    """All rows of the set `name`; `source` is its id on the Hub, or a folder with a copy (also one by `save_to_disk`).

    Raises `UserError` where it cannot be loaded or a label is no integer.
    """
    rows = _load(source)
    missing = {"problem", "answer"} - set(rows.column_names)
    if missing:
        raise UserError(f"{source} has no column {', '.join(sorted(missing))}; it has {rows.column_names}")
    return [_row(f"{name}-{number:03}", source, row) for number, row in enumerate(rows)]


def _row(id_: str, source: str | Path, row: Mapping[str, Any]) -> Row:
    try:
        answer, flaw = repaired(row["problem"], row["answer"], row.get("solution") or "")
    except UserError as error:
        raise UserError(f"{source}, row {id_}: {error}") from None
    subject = row.get("subject") or row.get("type")
    return Row(Problem(id_, row["problem"], answer, subject=subject), flaw)


def _load(source: str | Path) -> Any:
    """Load the only split of these sets, `train`."""
    return load(source, split="train", otherwise="give a folder that holds the set with --data")


BASE_N = "its label runs a number and its base together"
SEVERAL = "it has several right answers"

_SEVERAL = {"0a5be6b9495e", "bb08bc2ec212", "7b0810b288b3"}
"""Digests of the texts of problems with several right answers."""

_WORDS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "binary": 2}


def repaired(text: str, label: int | float | str, solution: str = "") -> tuple[int, str]:
    """The corrected integer label of the problem `text`, and what was wrong with `label` ("" for nothing).

    `solution` may box the label in a clearer form. Raises `UserError` for a label that is no integer.
    """
    answer = _integer(label)
    digits = _digits_in_base(label, solution)
    if digits is None:
        digits = _without_base(text, answer)
    if digits is not None:
        return digits, BASE_N
    return answer, SEVERAL if digest(text) in _SEVERAL else ""


def digest(text: str) -> str:
    """Twelve hex digits of a problem's text, independent of its whitespace."""
    return hashlib.blake2b("".join(text.split()).encode("utf-8", "replace"), digest_size=6).hexdigest()


def _integer(label: int | float | str) -> int:
    """The label as an integer: 142.0 is 142, and "2112_6" the 21126 that `int()` makes of it (corrected by the caller)."""
    try:
        number = int(label)
        if number == label or isinstance(label, str):
            return number
    except (ValueError, OverflowError):
        pass
    if isinstance(label, str) and re.fullmatch(r"[-+]?\d+\.0+", label.strip()):
        return int(float(label))
    raise UserError(f"the label {label!r} is no integer; use a copy of the set with integer labels")


def _digits_in_base(label: object, solution: str) -> int | None:
    """2112 from `2112_6`, where the label is still text or the solution boxes it."""
    boxed = read_answer(solution, modulus=None, lowest=None, highest=None).boxed if solution else None
    for written in (label, boxed):
        if isinstance(written, str) and (found := re.fullmatch(r"([-+]?\d+)_\{?\d+\}?", written.strip())):
            return int(found[1])
    return None


def _without_base(text: str, answer: int) -> int | None:
    """2112 from 21126, where the text names the base 6 and the digits before it are digits of that base."""
    written = str(abs(answer))
    for base in _bases(text.lower()):
        digits = written.removesuffix(str(base))
        if digits and digits != written and all(int(digit) < base for digit in digits):
            return int(digits) if answer > 0 else -int(digits)
    return None


def _bases(text: str) -> Iterator[int]:
    """The bases that the text names, as numbers or as words."""
    for word in re.findall(r"\bbase[-\s]*\$?\{?(\w+)|\b(binary)\b", text):
        name = "".join(word)
        if name.isdecimal() or name in _WORDS:
            yield int(_WORDS.get(name, name))
