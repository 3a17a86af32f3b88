"""JSON and JSON lines: a list of objects, an object of columns, an object around either, or objects one after another."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sctir_kaggle.problems.journals import EMPTY, NOTE, is_journal_start, journal_rows
from sctir_kaggle.problems.table import Table, table_of
from sctir_kaggle.types import UserError

AROUND = ("data", "rows", "problems", "questions", "examples", "instances", "items", "samples", "test", "train")
"""Keys under which an object holds the rows, the first of several."""

Rows = list[Mapping[str, Any]]

IsRow = Callable[[Mapping[str, Any]], bool]
"""Whether an object is a row: whether one of its keys names the problem's text."""


def read_json(name: str, text: str, *, is_row: IsRow, notes: tuple[str, ...] = ()) -> Table:
    """Read the rows of a JSON file or of JSON lines. Raises `UserError`, with the line, where it holds no rows."""
    if is_journal_start(text):
        text = _without_torn_end(text)
    values = list(_values(name, text))
    recorded = journal_rows(
        values[0][1] if len(values) == 1 and isinstance(values[0][1], list) else [v for _, v in values]
    )
    if recorded is not None:
        if not recorded:
            raise UserError(
                f"{name} is a run's journal without any result: it is empty; give the file that the run solved"
            )
        return table_of(name, recorded, notes=(*notes, NOTE))
    rows = _rows(values[0][1], is_row) if len(values) == 1 else _lines(name, values)
    if rows is None:
        if what := _no_rows(values[0][1]):
            raise UserError(f"{name} {what}")
        raise UserError(
            f"{name} holds no rows: it must be a list of objects, an object of columns, or an object on every line, "
            "with a key such as problem"
        )
    return table_of(name, rows, notes=notes)


def _without_torn_end(text: str) -> str:
    """A journal without its last line where a kill has torn that; at least the shortest header."""
    whole, _, last = text.rstrip("\r\n").rpartition("\n")
    try:
        json.loads(last)
    except (ValueError, RecursionError):
        return whole or EMPTY
    return text


def _no_rows(value: Any) -> str:
    """What a JSON value is that holds no rows, where it can be told."""
    if not value or (isinstance(value, Mapping) and any(value.get(key) == [] for key in AROUND)):
        return "is empty; it needs an object with a key such as problem for each problem"
    if isinstance(value, Mapping) and isinstance(value.get("cells"), list) and "nbformat" in value:
        return "is a notebook, not a file of problems"
    if isinstance(value, Mapping) and len(value) <= 4:
        said = next((value[key] for key in ("error", "message", "detail") if isinstance(value.get(key), str)), None)
        if said:
            return f"holds an error ({' '.join(said.split())[:60]}), not problems: the download failed; repeat it"
    return ""


def _values(name: str, text: str) -> Iterator[tuple[int, Any]]:
    """Every value of the text with the number of its first line: one in JSON, one a line in JSON lines."""
    decoder, place, line, counted = json.JSONDecoder(), 0, 1, 0
    while True:
        # \x1e begins each record of RFC 7464; commas are what is left of a list without its brackets.
        while place < len(text) and text[place] in (" \t\r\n\x1e\ufeff," if place else " \t\r\n\x1e\ufeff"):
            place += 1
        if place >= len(text):
            return
        line, counted = line + text.count("\n", counted, place), place
        try:
            value, place = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            # Of JSON lines the line on which the value begins: it may go wrong only on the next one.
            raise UserError(f"{name}, line {line if counted else error.lineno}, is not JSON: {error.msg}") from None
        except (ValueError, RecursionError):  # an integer of more digits than Python reads; brackets without end
            raise UserError(f"{name}, line {line}, holds a number or a nesting that is too large") from None
        yield line, value


def _lines(name: str, values: Sequence[tuple[int, Any]]) -> Rows:
    for line, value in values:
        if not isinstance(value, Mapping):
            raise UserError(f"{name}, line {line}, is no object: each line must be one, with a key such as problem")
    return [value for _, value in values]


def _rows(value: Any, is_row: IsRow) -> Rows | None:
    """The rows of the only value of a file; None where there are none to be found."""
    if isinstance(value, list):
        return _listed(value)
    if not isinstance(value, Mapping):
        return None
    if isinstance(value.get("columns"), list) and isinstance(value.get("data"), list):  # pandas, orient="split"
        named = tuple(map(str, value["columns"]))
        return [dict(zip(named, row, strict=False)) for row in value["data"] if isinstance(row, list)]
    if is_row({key: cell for key, cell in value.items() if not _holds_rows(cell)}):
        return [dict(value)] if _is_one(value) else _transposed(value)
    if rows := _indexed(value, is_row):
        return rows
    inner = (value[key] for key in (*AROUND, *value) if isinstance(value.get(key), (list, Mapping)))
    return next((rows for each in inner if (rows := _rows(each, is_row))), None)


def _is_one(value: Mapping[str, Any]) -> bool:
    """Whether an object is one row, not an object of columns."""
    return any(_column(cell) is None for cell in value.values())


def _holds_rows(cell: Any) -> bool:
    """Whether a cell is a list of objects that are no messages: of {"problems": [{...}]} the rows, not a column."""
    return isinstance(cell, list) and any(isinstance(each, Mapping) and "role" not in each for each in cell)


def _listed(value: list[Any]) -> Rows | None:
    """A list of objects; one of texts is a list of problems, one of lists begins with the header."""
    if value and all(isinstance(each, str) for each in value):
        return [{"problem": each} for each in value]
    if value and all(isinstance(each, list) for each in value) and all(isinstance(name, str) for name in value[0]):
        return [dict(zip(value[0], each, strict=False)) for each in value[1:]]
    if not all(isinstance(each, Mapping) for each in value):
        return None
    # The Hub's viewer puts each row into an object of its own: {"row_idx": 0, "row": {...}}.
    return [each["row"] if isinstance(each.get("row"), Mapping) else each for each in value]


def _column(cell: Any) -> list[Any] | None:
    """The cells of a column: a list, or, as pandas writes it, an object by row label; None for a single value."""
    if isinstance(cell, list) and not (cell and all(isinstance(each, Mapping) and "role" in each for each in cell)):
        return cell
    return list(cell.values()) if isinstance(cell, Mapping) else None


def _transposed(value: Mapping[str, Any]) -> Rows:
    columns = {name: _column(cell) or [] for name, cell in value.items()}
    length = max(map(len, columns.values()), default=0)
    labels = next((list(cell) for cell in value.values() if isinstance(cell, Mapping)), [])
    if labels and labels != [str(number) for number in range(length)]:  # pandas' index, if it is more than numbers
        columns = {"id": labels, **columns}
    return [{name: cells[n] if n < len(cells) else None for name, cells in columns.items()} for n in range(length)]


def _indexed(value: Mapping[str, Any], is_row: IsRow) -> Rows | None:
    """Rows by id: {"a1": {"problem": ...}}."""
    if value and all(isinstance(each, Mapping) and is_row(each) and _is_one(each) for each in value.values()):
        return [{"id": key, **each} for key, each in value.items()]
    return None
