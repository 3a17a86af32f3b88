"""Training rows on disk: one JSON object a line, gzipped or not; problems may also come as a CSV.

A row is `{"id": str, "problem": str, "answer": int | str | null, "messages": [user, assistant]}` and any other
fields. Checked here: one whole row a line, with a problem. Messages are checked by `rendering`.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sctir_kaggle.types import UserError

Row = dict[str, Any]

KINDS = (".jsonl", ".jsonl.gz", ".csv")
"""Known endings of a file's name."""


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a `.jsonl`, `.jsonl.gz` or `.csv` file in order, one in memory at a time; blank lines are skipped.

    A row without an id gets "FILE:LINE". Raises `UserError` with file and line where one is not a row.
    """
    if not path.name.endswith(KINDS):
        raise UserError(f"{path} is no file of rows; its name must end with {', '.join(KINDS)}")
    read = _read_csv if path.name.endswith(".csv") else _read_json
    with _named(path), _open(path, "r") as file:
        for line, row in read(path, file):
            yield _checked(path, line, row)


def write_rows(path: Path, rows: Iterable[Row]) -> int:
    """Write `.jsonl` or `.jsonl.gz` atomically, replacing a file of that name; return the number of rows."""
    if not path.name.endswith(KINDS[:2]):
        raise UserError(f"cannot write rows to {path}; its name must end with {' or '.join(KINDS[:2])}")
    path.parent.mkdir(parents=True, exist_ok=True)
    part, count = path.with_name(f".{os.getpid()}.{path.name}"), 0
    try:
        with _named(path), _open(part, "w") as file:
            for count, row in enumerate(rows, 1):  # noqa: B007
                file.write(json.dumps(row) + "\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return count


def _open(path: Path, mode: str) -> IO[Any]:
    if path.name.endswith(".gz"):
        return io.TextIOWrapper(gzip.GzipFile(path, mode + "b"), encoding="utf-8")
    return path.open(mode, encoding="utf-8" if mode == "w" else "utf-8-sig", newline="" if mode == "r" else None)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn the errors of reading or writing a file into a `UserError` with its name."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is cut off or no gzip: {error}; make it again") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error.reason}); convert it") from None
    except OSError as error:
        raise UserError(f"cannot open {path}: {error.strerror or error}") from None


def _read_json(path: Path, file: IO[str]) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(file, 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise UserError(f"{path}, line {number}: not JSON ({error}); one object a line is needed") from None


def _read_csv(path: Path, file: IO[str]) -> Iterator[tuple[int, object]]:
    """Rows by the header's columns; an integer answer becomes an int, an empty one None."""
    csv.field_size_limit(2**31 - 1)
    reader = csv.DictReader(file, strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise UserError(f"{path}, line {reader.line_num}: not as many fields as the header has columns")
            yield reader.line_num, {**row, "answer": _answer(row.get("answer") or "")}
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not a CSV ({error})") from None


def _answer(text: str) -> int | str | None:
    text = text.strip()
    digits = text[1:] if text[:1] in ("-", "+") else text
    return int(text) if digits.isascii() and digits.isdigit() else text or None


def _checked(path: Path, line: int, row: object) -> Row:
    if not isinstance(row, Mapping):
        raise UserError(f"{path}, line {line}: a {type(row).__name__}; an object with `problem` is needed")
    problem = row.get("problem")
    if not isinstance(problem, str) or not problem.strip():
        raise UserError(f"{path}, line {line}: `problem` is {problem!r}; a text is needed")
    return {**row, "id": str(row.get("id") or f"{path.name}:{line}")}
