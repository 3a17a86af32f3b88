"""The tables and files of `sctir what-if`: one row per set of rules, the record first.

Columns that do not fit the terminal are left out, the least important first; what has to be known to read the figures is in
`summary.captions` and `summary.notes`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sctir_kaggle.lab.statistics import plus_minus
from sctir_kaggle.lab.whatif.orders import OrdersRow
from sctir_kaggle.lab.whatif.resimulate import ProblemOutcome
from sctir_kaggle.lab.whatif.rules import Rules
from sctir_kaggle.lab.whatif.summary import Row, is_right

if TYPE_CHECKING:
    from rich.table import Table

NARROWEST = 20
"""Characters that names keep at least: with fewer, rows could not be told apart."""

GAP = 2
"""Blanks between two columns."""

UNITS = ((3600.0, "h"), (60.0, "m"), (1.0, "s"))
"""Seconds in a unit of time, and its sign."""


@dataclass(frozen=True, slots=True)
class Column:
    """A head of one or two lines and one cell per row.

    Where the terminal is too narrow, the column with the smallest `spare` is left out first; one with 0 never is. `words`
    are names, lists with commas, which may be wrapped over several lines.
    """

    head: str
    cells: Sequence[str]
    words: bool = False
    left: bool = False
    spare: int = 0

    @property
    def width(self) -> int:
        """Characters of its longest line."""
        return max(map(len, [*self.head.split("\n"), *self.cells]))

    @property
    def least(self) -> int:
        """The smallest width that it can have."""
        return min(self.width, NARROWEST) if self.words else self.width

    @property
    def title(self) -> str:
        """Its head on one line."""
        return self.head.replace("\n", " ")


def rules_columns(rows: Sequence[Row]) -> list[Column]:
    """The first table, one row per set of rules. Totals that all rows share stand in the heads."""
    of = f"\nof {rows[0].problems * rows[0].replicates:,.0f}"
    doubtful = any(row.unsure for row in rows)
    return [
        Column("rules", [row.name for row in rows], words=True),
        Column(f"right\nof {rows[0].graded:g}", [_score(row) for row in rows]),
        Column("seconds", [_least(row) + _seconds(row.seconds) for row in rows], spare=4),
        Column("tokens", [_least(row) + _count(row.tokens) for row in rows], spare=3),
        Column("saved s\n/ tokens", [_saved(row) for row in rows], spare=5),
        Column("changed" + of, [_changed(row) for row in rows], spare=6),
        Column("unsure" + of, [str(row.unsure) for row in rows], spare=7 if doubtful else 1),
    ]


def orders_columns(rows: Sequence[OrdersRow]) -> list[Column]:
    """The second table, one row per set of rules and clock."""
    return [
        Column("rules", [row.name for row in rows], words=True),
        Column("clock", [row.clock for row in rows], left=True),
        Column("right", [f"{row.right:.2f}" for row in rows]),
        Column("sd", [f"{row.sd:.2f}" for row in rows], spare=3),
        Column("sd of\norder", [f"{row.order_sd:.2f}" for row in rows], spare=2),
        Column("overruns", [f"{row.overruns:,}" for row in rows], spare=4),
        Column("no vote", [f"{row.unanswered:.2f}" for row in rows], spare=1),
    ]


def name_of(rules: Rules, recorded: Rules) -> str:
    """`48 x 4, exact, small, in 9h`: candidates, turns and stop always, everything else where it differs from the record."""
    config, before = rules.config, recorded.config
    parts = [f"{config.candidates} x {config.turns}", config.stop]
    if config.stop == "beta":
        parts[-1] += f" {config.stop_delta:g}"
    if config.vote != "plain":
        parts.append(config.vote)
    if config.modulus != before.modulus:
        parts.append("no modulus" if config.modulus is None else f"mod {config.modulus}")
    if (config.lowest, config.highest) != (before.lowest, before.highest):
        parts.append(_range(config.lowest, config.highest))
    if config.fractions != before.fractions:
        parts.append("fractions" if config.fractions else "no fractions")
    if rules.budget is not None:
        parts.append(f"in {duration(rules.budget)}")
    if rules.problem_seconds is not None:
        parts.append(f"{duration(rules.problem_seconds)} each")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """As it is typed, in the largest unit that leaves a whole number.

    >>> duration(32400), duration(5400), duration(90)
    ('9h', '90m', '90s')
    """
    size, unit = next(((size, unit) for size, unit in UNITS if seconds % size == 0), UNITS[-1])
    return f"{seconds / size:g}{unit}"


def _least(row: Row) -> str:
    return "≥ " if row.cut else ""


def _seconds(seconds: float) -> str:
    return f"{seconds:,.0f}" if seconds >= 100 else f"{seconds:.1f}"


def _count(number: float) -> str:
    return f"{number / 1e6:,.1f} M" if number >= 1e6 else f"{number:,.0f}"


def _score(row: Row) -> str:
    """`7`, or of several seeds `6.50 ± 0.71`; a range where answers are unsure, `-` without references."""
    if not row.graded:
        return "-"
    digits = 0 if row.right_sd is None else 2
    most = f"-{row.right_most:.{digits}f}" if row.right_most != row.right else ""
    return f"{row.right:.{digits}f}{most}{plus_minus(row.right_sd, digits=2)}"


def _saved(row: Row) -> str:
    if row.saved_seconds is None and row.saved_tokens is None:
        return "? / ?"
    return f"{_share(row.saved_seconds)} / {_share(row.saved_tokens)} %"


def _changed(row: Row) -> str:
    return f"{row.changed} + {row.unknown_full} ?" if row.unknown_full else str(row.changed)


def _share(share: float | None) -> str:
    return "?" if share is None else f"{round(100 * share)}"


def _range(lowest: int | None, highest: int | None) -> str:
    if lowest is None and highest is None:
        return "any integer"
    return f"{'' if lowest is None else lowest}..{'' if highest is None else highest}"


def fitted(columns: Sequence[Column], width: int) -> tuple[Table, list[str]]:
    """A table of at most `width` characters, as far as columns can be left out, and the titles of those that were."""
    kept, left_out = list(columns), list[str]()
    while _needed(kept) > width and any(column.spare for column in kept):
        next_ = min((column for column in kept if column.spare), key=lambda column: column.spare)
        kept.remove(next_)
        left_out.append(next_.title)
    return _table(kept, width - _needed(kept)), left_out


def wrapped(name: str, width: int) -> str:
    """Break `name` behind commas into lines of `width` characters; all but the first are indented.

    >>> wrapped("48 x 4, exact, in 9h", 14)
    '48 x 4, exact,\\n  in 9h'
    """
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
    """The table of `columns`; names get the `spare` characters of the terminal."""
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


FIELDS = (
    *("rules", "run", "seed", "id", "reference", "answer", "right", "unsure", "stopped", "seconds", "tokens"),
    *("full_answer", "full_seconds", "full_tokens", "full_unsure"),
)
"""The CSV's columns. `full_...` are of the vote over all candidates; `unsure` and `full_unsure` say that the record ends too
early to be certain of the answer."""


def write_csv(path: Path, runs: Sequence[str], outcomes: Mapping[str, Sequence[ProblemOutcome]]) -> None:
    """One line per set of rules, run, seed and problem; `runs` are the runs' names, `outcomes` by the names of the rules."""
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(FIELDS)
        for name, each in outcomes.items():
            lines.writerows([name, *_line(runs, one)] for one in each)


def write_json(path: Path, rows: Sequence[Row], orders: Sequence[OrdersRow], notes: Sequence[str]) -> None:
    """`{"rules": [...], "orders": [...], "notes": [...]}`."""
    figures = {"rules": [asdict(row) for row in rows], "orders": [asdict(row) for row in orders], "notes": list(notes)}
    path.write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _line(runs: Sequence[str], one: ProblemOutcome) -> list[object]:
    run, seed = one.replicate
    right = None if one.reference is None else int(is_right(one))
    head = [runs[run], seed, one.problem, one.reference, one.answer, right, int(one.unsure), one.stopped]
    full = one.full
    return [
        *head,
        round(one.seconds, 3),
        one.tokens,
        full.answer,
        round(full.seconds, 3),
        full.tokens,
        int(full.unsure),
    ]
