"""Input and output of a CoT data step: a JSON object a line, written as each is done, so that a kill loses at most one.

Covered: a step that is started again skips the ids that its output has; half a line at the end is cut away; a second
process is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from sctir_kaggle.answers import boxed, parse
from sctir_kaggle.jsonlines import LineWriter
from sctir_kaggle.types import UserError

Record = dict[str, Any]


class Rejected(Exception):
    """A record that a step cannot process; the message is the reason on one line. It is data, not a crash."""


def read_records(path: Path, needs: Sequence[str]) -> Iterator[Record]:
    """The records of a file. Raises `UserError` with the line where one lacks an id or a text that the step `needs`."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _checked(line, needs, f"{path}, line {number}")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; run the step before, or --set input=FILE") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error.reason}); convert it") from None


def _checked(line: str, needs: Sequence[str], place: str) -> Record:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise UserError(f"{place}: not JSON ({error}); one object a line is needed") from None
    missing = [name for name in ("id", *needs) if not isinstance(record, dict) or not isinstance(record.get(name), str)]
    if missing:
        raise UserError(f"{place}: no text in `{'`, `'.join(missing)}`; is it the output of the step before?")
    return dict(record)


class Output:
    """A step's output, a context manager; `done` holds the ids in the file, `written` and `failed` count this run.

    Rejected records go to "NAME.failed.jsonl" beside it, which each run starts afresh: the next run tries them again.
    """

    def __init__(self, path: Path) -> None:
        if not path.name.endswith(".jsonl"):
            raise UserError(f"cannot write records to {path}; its name must end with .jsonl")
        self.path, self.failures = path, path.with_name(path.name.removesuffix(".jsonl") + ".failed.jsonl")
        self.written = self.failed = 0
        self.notes: list[str] = []  # what a step adds to its summary
        path.parent.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Output:
        # A kill of the process loses nothing without `sync`; a crash of the machine costs a page's tokens, not a run.
        self._lines = LineWriter.resume(self.path, encode=lambda record: json.dumps(record) + "\n", sync=False)
        self.done = _ids(self.path)
        self.before = len(self.done)
        self._lines.repair_end()
        self._failures = self.failures.open("w", encoding="utf-8")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._lines.close()
        self._failures.close()
        if not self.failed:
            self.failures.unlink(missing_ok=True)

    def records(self) -> Iterator[Record]:
        """The records that the file held when it was opened, and those written since."""
        yield from _whole(self.path)

    def add(self, *records: Record) -> None:
        """Through to the system in one piece: a killed process loses nothing that was added, and never a part of it."""
        self._lines.write(*records)
        self.done |= {record["id"] for record in records}
        self.written += len(records)

    def reject(self, record: Record, reason: str) -> None:
        """Record why this one is not in the output."""
        self._failures.write(json.dumps({"id": record["id"], "reason": reason}) + "\n")
        self._failures.flush()
        self.failed += 1

    def summary(self) -> str:
        """Counts of this output, on one line."""
        failed = f", {self.failed} failed (reasons: {self.failures})" if self.failed else ""
        return "; ".join([f"{self.path}: {self.before} were there, {self.written} written{failed}", *self.notes])


def _ids(path: Path) -> set[str]:
    return {record["id"] for record in _whole(path)}


def _whole(path: Path) -> Iterator[Record]:
    """The records of the file's whole lines."""
    with path.open("rb") as file:
        yield from (_checked(line.decode("utf-8", "replace"), (), str(path)) for line in file if line.endswith(b"\n"))


Answers = Literal["any", "number", "integer"]


def uniform(records: Iterable[Record], output: Output, *, answers: Answers = "any") -> None:
    """Make a row of each record; one without a box, or whose answer is not of the kind `answers`, is rejected."""
    for record in records:
        if record["id"] not in output.done:
            try:
                output.add(row_of(record, answers))
            except Rejected as error:
                output.reject(record, str(error))


def row_of(record: Record, answers: Answers) -> Record:
    """The row of a record; `answer` is an integer where the box holds one, else its text. Raises `Rejected`."""
    written = boxed(record["solution"])
    if written is None:
        raise Rejected("no boxed answer in the solution; the step realign puts one there")
    value = parse(written)
    whole = value is not None and value.denominator == 1
    if answers != "any" and (value is None or (answers == "integer" and not whole)):
        raise Rejected(f"the boxed answer {written!r} is no {answers}")
    problem, solution = record["problem"].strip(), record["solution"].strip()
    return {
        "id": record["id"],
        "problem": problem,
        "answer": value.numerator if value is not None and whole else written,
        "messages": [{"role": "user", "content": problem}, {"role": "assistant", "content": solution}],
        **{name: record[name] for name in ("document", "number") if record.get(name)},
    }
