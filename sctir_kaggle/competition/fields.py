"""The text in what a competition hands over: a polars or pandas Series, a frame, a plain value.

Covered: whatever has one cell to read. Not covered: which dtype an id had before it got here; a number is no longer the
text that it was.
"""

from __future__ import annotations

from collections.abc import Iterable


class Unreadable(ValueError):
    """There is no text where one is needed."""


def text_of(value: object, column: str) -> str:
    """The first cell of `value`, as text; of a frame, that of `column`. Raises `Unreadable` where there is none."""
    cell = _first(_column(value, column), column)
    if cell is None or cell != cell:  # NaN is what pandas makes of a missing text
        raise Unreadable(f"the {column} is missing ({cell})")
    text = cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)
    if not text.strip():
        raise Unreadable(f"the {column} is empty")
    return text


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
