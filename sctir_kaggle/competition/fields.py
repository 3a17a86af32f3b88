"""Read id and problem from what a competition passes: a polars or pandas Series, a frame, or a plain value.

A gateway reads its CSV with polars, which infers types: an id arrives as text, integer, float or null. It is returned with
the value and type that it had; results are kept under its text. Not covered: how a number was written in the CSV (001).
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from sctir_kaggle.types import SolveResult

if TYPE_CHECKING:
    from polars import Series


class Unreadable(ValueError):
    """There is no text where one is needed, or no cell at all."""


def text_of(value: object, column: str) -> str:
    """The first cell of `value` as text; in a frame, of its column `column`. Raises `Unreadable` where there is no text."""
    cell = _cell(value, column)
    if _is_missing(cell):
        raise Unreadable(f"the {column} is missing ({cell})")
    text = _text(cell)
    if not text.strip():
        raise Unreadable(f"the {column} is empty")
    return text


def id_text(value: object) -> str | None:
    """The id in `value` as text; None where it is null or empty. Raises `Unreadable` where there is no cell."""
    cell = _cell(value, "id")
    return None if _is_missing(cell) else _text(cell).strip() or None


def name_of(id_: str | None, text: str, known: Mapping[str, SolveResult]) -> str:
    """The name under which a problem's result is kept: its id, or `null-` and a digest of its text where it has none.

    Where the id is already in `known` with another text (001 and 1 arrive as the same number), the digest is appended.
    """
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=4).hexdigest()
    if id_ is None:
        return f"null-{digest}"
    other = known[id_].problem.text if id_ in known else ""
    return id_ if other in ("", text) else f"{id_}-{digest}"


def id_column(value: object) -> Series:
    """The id in `value` as a polars column `id` of one row, with its original value and type."""
    import polars as pl

    cells = _column(value, "id")
    if isinstance(cells, pl.Series):
        return (cells.head(1) if len(cells) else pl.Series([None], dtype=cells.dtype)).alias("id")
    return pl.Series("id", [_first(cells, "id")])


def inferred_ids(ids: Sequence[str]) -> Series:
    """The column that a gateway makes of ids as they are written in a CSV."""
    import polars as pl

    file = io.StringIO()
    csv.writer(file).writerows([("id", "row"), *((id_, 0) for id_ in ids)])
    return pl.read_csv(file.getvalue().encode())["id"]


def _cell(value: object, column: str) -> object:
    return _first(_column(value, column), column)


def _is_missing(cell: object) -> bool:
    return cell is None or bool(cell != cell)  # NaN is what pandas makes of a missing text


def _text(cell: object) -> str:
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)


def _column(value: object, column: str) -> object:
    """The column of a frame or of a dictionary; anything else as it is."""
    names = value if isinstance(value, dict) else getattr(value, "columns", None)
    if names is None:
        return value
    if column not in names:
        raise Unreadable(f"there is no column {column}, only {', '.join(map(str, names))}")
    return value[column]  # type: ignore[index]


def _first(value: object, column: str) -> object:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        return value
    for cell in value:
        return cell
    raise Unreadable(f"the {column} is an empty {type(value).__name__}")
