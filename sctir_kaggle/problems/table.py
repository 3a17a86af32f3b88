"""A file of problems as a table, whatever its format: column names, and rows of cells as the format has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sctir_kaggle.problems.literals import literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row. `number` counts from 1, without the header and without blank rows.

    Where a column has no cell, `fault` says why; empty where that is usual, as for a key that a JSON object lacks.
    """

    number: int
    cells: Mapping[str, Any]
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A file's columns in order, its rows, and what had to be assumed to read it, for the line that says what was read.

    `name` is how messages call the file. With `decimal_comma` answers may have decimal commas, as in a spreadsheet's CSV in
    which semicolons separate the fields; whether they do, all cells of the column tell. `blank` counts the rows without any
    cell, which are left out.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    decimal_comma: bool = False
    blank: int = 0


HEADER_WITHIN = 10
"""Rows from the top in which a header is looked for: titles and remarks may stand above it."""

Score = Callable[[Sequence[str]], tuple[bool, int, int]]
"""How well a header fits, larger is better: whether it has a problem's column, how many known columns, how many at all."""


def header_place(records: Sequence[Sequence[Any]], score: Score) -> int:
    """The place of the header among the first rows: the first one, or one below titles that has a problem's column.

    A title fills one cell; below other rows a header must have another known column, too.
    """

    def scored(place: int) -> tuple[bool, int, int]:
        return score(["" if is_empty(cell) else str(cell).strip() for cell in records[place]])

    filled = [place for place, record in enumerate(records) if not all(map(is_empty, record))]
    titles = True
    for place in filled:
        has_problem, known, _ = scored(place)
        if has_problem and (titles or known >= 2):
            return place
        titles = titles and sum(not is_empty(cell) for cell in records[place]) == 1
    return filled[0] if filled else 0


def table_of(name: str, rows: Iterable[Mapping[str, Any]], *, notes: tuple[str, ...] = ()) -> Table:
    """A table of mappings, those in them flattened: `{"doc": {"problem": ...}}` has the columns `doc` and `doc.problem`.

    The columns are in the order in which rows bring them.
    """
    flat = [flattened(row) for row in rows]
    kept = [row for row in flat if not all(is_empty(cell) for cell in row.values())]
    columns = tuple(dict.fromkeys(column for row in kept for column in row))
    numbered = tuple(Row(number=number, cells=row) for number, row in enumerate(kept, 1))
    return Table(name=name, columns=columns, rows=numbered, notes=notes, blank=len(flat) - len(kept))


def flattened(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with a cell for each key of its objects, also of those that stand in it as text."""
    flat: dict[str, Any] = {}
    for name, cell in row.items():
        flat[str(name)] = cell
        inner = literal(cell) if isinstance(cell, str) and cell.startswith("{") else cell
        if isinstance(inner, Mapping):
            flat.update({f"{name}.{key}": value for key, value in inner.items()})
    return flat


def is_empty(cell: Any) -> bool:
    """True for None, a text of blanks, and what pandas puts where a cell is missing (NaN, NaT, NA)."""
    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or type(cell).__name__ in ("NAType", "NaTType") or (isinstance(cell, float) and cell != cell)
