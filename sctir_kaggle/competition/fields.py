"""What a competition hands over (a polars or pandas Series, a frame, a plain value): its text, and its id as it came.

A gateway reads its CSV with polars, which infers types: an id arrives as text, as an integer, as a float or as null. It
goes back with the value and the type it had; results are kept under its text. Not covered: the digits that a number was
written with before it was inferred.
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
    """There is no text where one is needed."""


def text_of(value: object, column: str) -> str:
    """The first cell of `value`, as text; of a frame, that of `column`. Raises `Unreadable` where there is none."""
    cell = _cell(value, column)
    if _is_missing(cell):
        raise Unreadable(f"the {column} is missing ({cell})")
    text = _text(cell)
    if not text.strip():
        raise Unreadable(f"the {column} is empty")
    return text


def id_text(value: object) -> str | None:
    """The id in `value` as text, None where the cell is null or empty. Raises `Unreadable` where there is no cell."""
    cell = _cell(value, "id")
    return None if _is_missing(cell) else _text(cell).strip() or None


def name_of(id_: str | None, text: str, known: Mapping[str, SolveResult]) -> str:
    """What a problem is kept as: its id; a digest of its text, after `null-`, where it has none.

    Where the id is known with another text (001 and 1 arrive as the same number) the digest tells the two apart.
    """
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=4).hexdigest()
    if id_ is None:
        return f"null-{digest}"
    other = known[id_].problem.text if id_ in known else ""
    return id_ if other in ("", text) else f"{id_}-{digest}"


def id_column(value: object) -> Series:
    """The id in `value` as a polars column `id` of one row, with the value and the type that it came with."""
    import polars as pl

    cells = _column(value, "id")
    if isinstance(cells, pl.Series):
        return (cells.head(1) if len(cells) else pl.Series([None], dtype=cells.dtype)).alias("id")
    return pl.Series("id", [_first(cells, "id")])


def inferred_ids(ids: Sequence[str]) -> Series:
    """Ids as they stand in a CSV -> the column that a gateway makes of them."""
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
