"""The answer to `sctir what-if` in a terminal: a row a set of rules, the record first, in 100 columns; then what to know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sctir_kaggle.whatif.rules import Rules
from sctir_kaggle.whatif.summary import Row

if TYPE_CHECKING:
    from rich.table import Table

    from sctir_kaggle.whatif.shuffles import OrdersRow

UNITS = ((3600.0, "h"), (60.0, "m"), (1.0, "s"))


def name_of(rules: Rules, recorded: Rules) -> str:
    """`48 x 4, exact, small, 9h`: what is always of interest, and what differs from the record."""
    config, before = rules.config, recorded.config
    parts = [f"{config.candidates} x {config.turns}", config.stop]
    if config.stop == "beta":
        parts[-1] += f" {config.stop_delta:g}"
    if rules.vote.name != "plain":
        parts.append(rules.vote.label)
    if config.modulus != before.modulus:
        parts.append("no modulus" if config.modulus is None else f"mod {config.modulus}")
    if (config.lowest, config.highest) != (before.lowest, before.highest):
        parts.append(_range(config.lowest, config.highest))
    if rules.budget is not None:
        parts.append(f"in {duration(rules.budget)}")
    if rules.problem_seconds is not None:
        parts.append(f"{duration(rules.problem_seconds)} each")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """As it is typed: `9h`, `30m`, `90s`; the largest unit that leaves a whole number."""
    size, unit = next(((size, unit) for size, unit in UNITS if seconds % size == 0), UNITS[-1])
    return f"{seconds / size:g}{unit}"


def rules_table(rows: Sequence[Row]) -> Table:
    """A row a set of rules."""
    table = _table("rules", "right", "seconds", "tokens", "saved: s", "tokens", "changed", "unsure")
    for row in rows:
        least = "≥ " if row.cut else ""
        table.add_row(
            row.name,
            _score(row),
            least + (f"{row.seconds:,.0f}" if row.seconds >= 100 else f"{row.seconds:.1f}"),
            f"{least}{row.tokens:,.0f}",
            _share(row.saved_seconds),
            _share(row.saved_tokens),
            f"{row.changed} + {row.unknown_full} ?" if row.unknown_full else str(row.changed),
            str(row.unsure),
        )
    return table


def orders_table(rows: Sequence[OrdersRow]) -> Table:
    """A row a set of rules and clock."""
    table = _table("rules", "clock", "right", "sd", "sd of order", "overruns", "unanswered")
    for row in rows:
        figures = (
            f"{row.right:.2f}",
            f"{row.sd:.2f}",
            f"{row.order_sd:.2f}",
            f"{row.overruns:,}",
            f"{row.unanswered:.2f}",
        )
        table.add_row(row.name, row.clock, *figures)
    return table


def notes(rows: Sequence[Row], *, differing: Sequence[str], total: int) -> list[str]:
    """What the record cannot say, and what to do about it."""
    found = []
    if differing:
        found.append(
            f"{len(differing)} of {total} problems do not come out as recorded (the first: {differing[0]}): another "
            "version solved them; record them anew"
        )
    if any(row.cut or row.saved_tokens is None for row in rows):
        found.append(
            "a stop rule or a deadline cut the record: what the cancelled candidates would have said and taken is not "
            "known (≥, ?, unsure); record with --stop none and time for all"
        )
    if unrecorded := max(row.unrecorded for row in rows):
        found.append(
            f"up to {unrecorded} candidates a row were asked for what the record does not hold, a forced answer after "
            "fewer turns, say; they are silent here, and `unsure` counts the answers that hang on them; record with those "
            "rules"
        )
    return found


def _score(row: Row) -> str:
    if not row.graded:
        return "-"
    spread = "" if row.right_sd is None else f" ± {row.right_sd:.1f}"
    most = f"-{row.right_most:g}" if row.right_most != row.right else ""
    return f"{row.right:.4g}{most}{spread} of {row.graded:g}"


def _share(share: float | None) -> str:
    return "?" if share is None else f"{round(100 * share)} %"


def _range(lowest: int | None, highest: int | None) -> str:
    if lowest is None and highest is None:
        return "any integer"
    return f"{'' if lowest is None else lowest}..{'' if highest is None else highest}"


def _table(*columns: str) -> Table:
    """Rules give way where the terminal is narrow; figures stay whole."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for column in columns:
        words = column in ("rules", "clock")
        table.add_column(column, justify="left" if words else "right", no_wrap=column != "rules", overflow="fold")
    return table
