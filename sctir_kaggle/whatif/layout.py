"""Columns -> a table that a terminal can hold: figures whole, names wrapped between their parts, the least needed left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

NARROWEST = 20
"""Columns of the terminal that names keep at least: less would not tell rows apart."""

GAP = 2
"""Between two columns."""


@dataclass(frozen=True, slots=True)
class Column:
    """A head of one or two lines, and a cell a row. Of several, the one with the smallest `spare` is left out first; 0 never.

    `words` are names, whose parts have commas between them; they may take several lines.
    """

    head: str
    cells: Sequence[str]
    words: bool = False
    left: bool = False
    spare: int = 0

    @property
    def width(self) -> int:
        """Of its longest line."""
        return max(map(len, [*self.head.split("\n"), *self.cells]))

    @property
    def least(self) -> int:
        """The width that it needs."""
        return min(self.width, NARROWEST) if self.words else self.width

    @property
    def title(self) -> str:
        """Its head in one line."""
        return self.head.replace("\n", " ")


def fitted(columns: Sequence[Column], width: int) -> tuple[Table, list[str]]:
    """A table of at most so many columns of a terminal, if figures let it, and the titles of what was left out."""
    kept, left_out = list(columns), list[str]()
    while _needed(kept) > width and any(column.spare for column in kept):
        next_ = min((column for column in kept if column.spare), key=lambda column: column.spare)
        kept.remove(next_)
        left_out.append(next_.title)
    return _table(kept, width - _needed(kept)), left_out


def wrapped(name: str, width: int) -> str:
    """In lines of so many columns, broken behind commas; lines but the first are indented."""
    *parts, last = name.split(", ")
    lines = [""]
    for part in [*(f"{part}," for part in parts), last]:
        longer = f"{lines[-1]} {part}" if lines[-1] else part
        if lines[-1] and len(longer) > width:
            lines.append(f"  {part}")
        else:
            lines[-1] = longer
    return "\n".join(lines)


def _needed(columns: Sequence[Column]) -> int:
    return sum(column.least for column in columns) + GAP * (len(columns) - 1)


def _table(columns: Sequence[Column], spare: int) -> Table:
    """Names get what is `spare`."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
    for column in columns:
        left = column.words or column.left
        table.add_column(column.head, justify="left" if left else "right", no_wrap=not column.words, vertical="top")
    for row in zip(*(_cells(column, column.least + max(0, spare)) for column in columns), strict=True):
        table.add_row(*row)
    return table


def _cells(column: Column, width: int) -> Sequence[str]:
    return [wrapped(cell, width) for cell in column.cells] if column.words else column.cells
