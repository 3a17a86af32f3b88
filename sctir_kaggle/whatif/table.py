"""The answer to `sctir what-if` in a terminal: the columns of its tables, a row a set of rules, the record first.

`layout` fits them to the terminal; what there is to know about them is in `notes`.
"""

from __future__ import annotations

from collections.abc import Sequence

from sctir_kaggle.whatif.layout import Column
from sctir_kaggle.whatif.rules import Rules
from sctir_kaggle.whatif.shuffles import OrdersRow
from sctir_kaggle.whatif.summary import Row

UNITS = ((3600.0, "h"), (60.0, "m"), (1.0, "s"))


def name_of(rules: Rules, recorded: Rules) -> str:
    """`48 x 4, exact, small, 9h`: what is always of interest, and what differs from the record."""
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
    if rules.budget is not None:
        parts.append(f"in {duration(rules.budget)}")
    if rules.problem_seconds is not None:
        parts.append(f"{duration(rules.problem_seconds)} each")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """As it is typed: `9h`, `30m`, `90s`; the largest unit that leaves a whole number."""
    size, unit = next(((size, unit) for size, unit in UNITS if seconds % size == 0), UNITS[-1])
    return f"{seconds / size:g}{unit}"


def rules_columns(rows: Sequence[Row]) -> list[Column]:
    """A row a set of rules. What rows have in common, of how many, stands in the heads."""
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
    """A row a set of rules and clock."""
    return [
        Column("rules", [row.name for row in rows], words=True),
        Column("clock", [row.clock for row in rows], left=True),
        Column("right", [f"{row.right:.2f}" for row in rows]),
        Column("sd", [f"{row.sd:.2f}" for row in rows], spare=3),
        Column("sd of\norder", [f"{row.order_sd:.2f}" for row in rows], spare=2),
        Column("overruns", [f"{row.overruns:,}" for row in rows], spare=4),
        Column("no vote", [f"{row.unanswered:.2f}" for row in rows], spare=1),
    ]


def _least(row: Row) -> str:
    return "≥ " if row.cut else ""


def _seconds(seconds: float) -> str:
    return f"{seconds:,.0f}" if seconds >= 100 else f"{seconds:.1f}"


def _count(number: float) -> str:
    return f"{number / 1e6:,.1f} M" if number >= 1e6 else f"{number:,.0f}"


def _score(row: Row) -> str:
    """`7`, or the mean of several seeds with as many digits as their deviation: `6.50 ± 0.71`; a range where it is unsure."""
    if not row.graded:
        return "-"
    digits = 0 if row.right_sd is None else 2
    most = f"-{row.right_most:.{digits}f}" if row.right_most != row.right else ""
    spread = "" if row.right_sd is None else f" ± {row.right_sd:.2f}"
    return f"{row.right:.{digits}f}{most}{spread}"


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
