"""Read problems from a file of any usual shape, from standard input or from the Hub; write answers as a submission.

`read_file` reads CSV with any separator, JSON, JSON lines, Parquet and XLSX, also compressed, by its content rather than by its
name. To read another format, turn it into a `Table` and call that in `_table`.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from sctir_kaggle.problems.binary import PARQUET, read_parquet, read_workbook
from sctir_kaggle.problems.columns import PROBLEM, ProblemsConfig, fit, found
from sctir_kaggle.problems.content import STDIN, bytes_of, is_workbook, text_of
from sctir_kaggle.problems.delimited import read_delimited
from sctir_kaggle.problems.foreign import described, likely
from sctir_kaggle.problems.hub import hub_name, read_hub_table
from sctir_kaggle.problems.json_table import read_json
from sctir_kaggle.problems.rows import ProblemFile, problems_of
from sctir_kaggle.problems.table import Table
from sctir_kaggle.types import Answer, Problem, UserError

__all__ = ["ASSETS", "HELD_OUT", "ProblemFile", "ProblemsConfig", "fingerprint", "read_file", "read_problems"]
__all__ += ["write_submission"]

ASSETS = Path(__file__).parents[1] / "assets"

HELD_OUT = ASSETS / "problems.csv"
"""Fifty problems that the embedded model was not trained on."""

_DEFAULT = ProblemsConfig()

_NAMES = {"cp1252": "Windows-1252", "latin-1": "Latin-1"}

log = logging.getLogger("sctir_kaggle.start")


def read_problems(source: Path | str, *, limit: int | None = None, how: ProblemsConfig = _DEFAULT) -> list[Problem]:
    """As `read_file`, with its summary in the log."""
    read = read_file(source, limit=limit, how=how)
    log.info("%s", read.summary)
    return read.problems


def read_file(source: Path | str, *, limit: int | None = None, how: ProblemsConfig = _DEFAULT) -> ProblemFile:
    """Read the first `limit` problems of a file, of standard input (`-`), or of a data set on the Hub (`org/name:split`).

    Columns are found by their usual names or named in `how`; ids are text. An answer is read exactly: an integer, a fraction,
    or None where it is no rational number. Raises `UserError`, with the place, for what holds no problems.
    """
    name = "standard input" if str(source) == STDIN else str(source)
    return problems_of(_table(str(source), name, how), how, limit=limit)


def _table(source: str, name: str, how: ProblemsConfig) -> Table:
    if source != STDIN and not Path(source).is_file():
        if (Path(source) / "journal.jsonl").is_file():  # the folder of a run
            return _table(str(Path(source) / "journal.jsonl"), name, how)
        if Path(source).is_dir():
            return read_hub_table(name, Path(source))
        if not Path(source).exists() and (on_hub := hub_name(source)):
            return read_hub_table(name, on_hub)
    data = bytes_of(source)
    if data.startswith(PARQUET):
        return read_parquet(name, data)
    if is_workbook(data):
        return read_workbook(name, data, score=lambda header: fit(header, how))
    text, encoding = text_of(name, data)
    if not text.strip():
        raise UserError(f"{name} is empty; it needs a header `id,problem,answer` and one row for each problem")
    text = text.rstrip("\x1a")  # the end of a file of DOS
    if what := described(text):
        raise UserError(f"{name} is {what}")
    notes = (f"in {_NAMES.get(encoding, encoding.upper())}",) if encoding else ()

    def is_row(keys: Mapping[str, object]) -> bool:
        return found(list(keys), (how.problem_column,) if how.problem_column else PROBLEM) is not None

    if text.lstrip()[0] in "[{":
        return read_json(name, text, is_row=is_row, notes=notes)
    try:
        table = read_delimited(name, text, score=lambda header: fit(header, how), notes=notes)
    except UserError:
        header = text.strip().splitlines()[0].split(",")
        if not fit(header, how)[0] and (what := likely(text, header)):
            raise UserError(f"{name} {what}") from None
        raise
    if not fit(table.columns, how)[0] and not how.problem_column and (what := likely(text, table.columns)):
        raise UserError(f"{name} {what}")
    return table


def fingerprint(problems: Sequence[Problem]) -> str:
    """Twelve hex digits that identify the problems, in any order: a journal is resumed with the same problems only."""
    texts = sorted(f"{problem.id}\0{problem.text}" for problem in problems)
    return hashlib.blake2b("\0\0".join(texts).encode("utf-8", "replace"), digest_size=6).hexdigest()


def write_submission(path: Path, answers: Mapping[str, Answer]) -> None:
    """Write a CSV with columns `id` and `answer`, in the order of `answers`, a fraction as `1/2`: whole, or as it was before.

    On a full disk the file that is there is overwritten, which takes no room but for rows beyond its last block.
    """
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([("id", "answer"), *answers.items()])
    rows = text.getvalue().encode("utf-8", "backslashreplace")
    new = path.with_name(f"{path.name}.new")
    try:
        new.write_bytes(rows)
        os.replace(new, path)
    except OSError:
        new.unlink(missing_ok=True)
        if not path.is_file():
            raise
        _overwrite(path, rows)


def _overwrite(path: Path, rows: bytes) -> None:
    """Put `rows` into the blocks that the file has; where they do not fit, its old content again."""
    old = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        try:
            if file.write(rows) < len(rows):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except OSError:
            os.pwrite(file.fileno(), old, 0)
            file.truncate(len(old))
            raise
        file.truncate(len(rows))
