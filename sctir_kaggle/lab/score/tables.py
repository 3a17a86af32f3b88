"""A report in a terminal and in files: tables of 80 to 100 characters with one row per run, a CSV, a JSON.

A new column of the table of accuracies is one entry of `COLUMNS`; its figure, if it is new too, one field of
`summary.Accuracy`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctir_kaggle.lab.records import STATUSES, Records
from sctir_kaggle.lab.score.comparison import Comparison
from sctir_kaggle.lab.score.report import Report
from sctir_kaggle.lab.score.summary import Accuracy, Summary
from sctir_kaggle.lab.statistics import plus_minus

if TYPE_CHECKING:
    from rich.table import Table

Figure = Callable[[Accuracy, int], str]
"""The text of a cell, from a run's accuracy and its number of candidates per problem."""

COLUMNS: dict[str, Figure] = {
    "problems": lambda accuracy, _: str(accuracy.problems),
    "seeds": lambda accuracy, _: str(len(accuracy.seeds)),
    "right ± sd": lambda accuracy, _: percent(accuracy.mean) + _deviation(accuracy),
    "95 %": lambda accuracy, _: f"{percent(accuracy.low)}-{percent(accuracy.high)}",
    "pass@1": lambda accuracy, _: percent(accuracy.one),
    "N": lambda _, candidates: str(candidates),
    "pass@N": lambda accuracy, _: _at_least(accuracy) + percent(accuracy.passed),
    "loss": lambda accuracy, _: _at_least(accuracy) + percent(accuracy.loss),
}
"""The table of accuracies, a column an entry, from left to right."""

OF_RUNS = ("seeds", "N")
"""Columns that levels and subjects have in common with their run: their tables leave them out."""

NAME = "run"

NAMES = (NAME, "level", "subject")
"""Columns that are folded in a narrow terminal; figures never are."""

NARROWEST = 8
"""Characters that a folded name keeps per line."""

COLUMNS_OF_CURVE = 7
"""Number of k that a table shows; files and pictures have all."""

ENDS = {
    "answered": "answered",
    "pruned": "pruned",
    "exhausted": "exhausted",
    "out_of_context": "context",
    "cancelled": "cancelled",
    "failed": "failed",
}
"""Why a candidate ended, and the head of its column."""


def tables(summaries: Sequence[Summary], comparisons: Sequence[Comparison]) -> list[Table]:
    """The tables that have rows, in the order in which they are read."""
    graded = [one for one in summaries if one.accuracy]
    found = [
        accuracy_table(graded),
        curve_table(graded),
        comparison_table(comparisons),
        parts_table("level", [(one.name, one.levels) for one in graded]),
        parts_table("subject", [(one.name, one.subjects) for one in graded]),
        ends_table(summaries),
        stops_table(summaries),
        cost_table(summaries),
    ]
    return [table for table in found if table.row_count]


def accuracy_table(summaries: Sequence[Summary]) -> Table:
    """Accuracy, its noise, and what a perfect choice among the same candidates would add."""
    table = _table("Right answers, %", NAME, *COLUMNS)
    for one in summaries:
        if accuracy := one.accuracy:
            table.add_row(_name(one.name), *(figure(accuracy, one.candidates) for figure in COLUMNS.values()))
    return table


def curve_table(summaries: Sequence[Summary]) -> Table:
    """maj@k and pass@k with their bounds, at powers of two."""
    shown = ticks(max((len(one.curve.maj) for one in summaries if one.curve), default=0))
    table = _table("By number of candidates, % (95 %)", NAME, "k", *map(str, shown))
    for one in summaries:
        if curve := one.curve:
            there = [k - 1 for k in shown if k <= len(curve.maj)]
            for name, means, low, high in (
                ("maj@k", curve.maj, curve.maj_low, curve.maj_high),
                ("pass@k", curve.passed, curve.passed_low, curve.passed_high),
            ):
                label = _name(one.name) if name == "maj@k" else ""
                table.add_row(label, name, *(percent(means[k]) for k in there))
                table.add_row("", "", *(f"{100 * low[k]:.0f}-{100 * high[k]:.0f}" for k in there), style="dim")
    return table


def comparison_table(comparisons: Sequence[Comparison]) -> Table:
    """Each run against the first: problems with a higher and a lower share of right answers, and the p-value."""
    title = f"Against {comparisons[0].baseline}, points" if comparisons else ""
    table = _table(title, NAME, "problems", "difference", "95 %", "better", "worse", "p", "")
    for one in comparisons:
        bounds = f"{100 * one.low:+.1f} to {100 * one.high:+.1f}"
        figures = (f"{100 * one.difference:+.1f}", bounds, str(one.better), str(one.worse), p_value(one.p))
        style, verdict = ("yellow", "noise") if one.noise else (None, "")
        table.add_row(_name(one.name), str(one.problems), *figures, verdict, style=style)
    return table


def parts_table(part: str, runs: Sequence[tuple[str, Mapping[str, Accuracy]]]) -> Table:
    """Accuracy of each level or subject, for each run."""
    several = (NAME,) if len(runs) > 1 else ()
    columns = {head: figure for head, figure in COLUMNS.items() if head not in OF_RUNS}
    table = _table(f"By {part}, %", part, *several, *columns)
    for label in sorted({label for _, parts in runs for label in parts}):
        there = [(name, parts[label]) for name, parts in runs if label in parts]
        for number, (name, accuracy) in enumerate(there):
            names = ("" if number else _name(label), _name(name))[: 1 + len(several)]
            # `N` is no column here, so the number of candidates is not needed.
            table.add_row(*names, *(figure(accuracy, 0) for figure in columns.values()))
    return table


def ends_table(summaries: Sequence[Summary]) -> Table:
    """Why candidates ended, in percent of them."""
    table = _table("Why candidates ended, %", NAME, "candidates", *ENDS.values())
    for one in summaries:
        total = sum(one.ended.values())
        if total:
            table.add_row(_name(one.name), f"{total:,}", *(percent(one.ended[end] / total) for end in ENDS))
    return table


def stops_table(summaries: Sequence[Summary]) -> Table:
    """Why the work on a problem stopped, in percent of the results."""
    reasons = list(dict.fromkeys(reason for one in summaries for reason in one.stopped))
    table = _table("What ended a problem, %", NAME, "results", *reasons, "default answer")
    for one in summaries:
        if one.rows:
            shares = [one.stopped.get(reason, 0) / one.rows for reason in reasons] + [one.defaults / one.rows]
            table.add_row(_name(one.name), f"{one.rows:,}", *map(percent, shares))
    return table


def cost_table(summaries: Sequence[Summary]) -> Table:
    """Seconds, tokens and executed blocks of a problem, and of all together."""
    columns = ("seconds", "median", "longest", "tokens", "blocks", "Σ hours", "Σ tokens", "Σ blocks")
    table = _table("What a problem took (blocks of code run), and all together", NAME, *columns)
    for one in summaries:
        if one.rows:
            cost = one.cost
            seconds = (f"{value:,.1f}" for value in (cost.seconds, cost.median_seconds, cost.longest))
            each = (f"{cost.tokens:,.0f}", f"{cost.executions:,.1f}", f"{cost.total_seconds / 3600:,.2f}")
            table.add_row(_name(one.name), *seconds, *each, f"{cost.total_tokens:,}", f"{cost.total_executions:,}")
    return table


def ticks(longest: int) -> list[int]:
    """Powers of two up to `longest`, and `longest` itself; thinned out to at most `COLUMNS_OF_CURVE`.

    >>> ticks(48)
    [1, 2, 4, 8, 16, 32, 48]
    """
    powers = [2**power for power in range(longest.bit_length()) if 2**power < longest] + [longest] * (longest > 0)
    while len(powers) > COLUMNS_OF_CURVE:
        powers = powers[:-1][::2] + powers[-1:]
    return powers


def percent(share: float | None) -> str:
    """`94.0`; empty where the share is unknown."""
    return "" if share is None else f"{100 * share:.1f}"


def p_value(value: float) -> str:
    """`0.021`, or `< 0.001`."""
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _deviation(accuracy: Accuracy) -> str:
    return plus_minus(None if accuracy.sd is None else 100 * accuracy.sd)


def _at_least(accuracy: Accuracy) -> str:
    """A cancelled candidate might have been right: pass@N, and with it the loss, is then a lower bound."""
    return "≥ " if accuracy.missing else ""


def _name(name: str) -> str:
    from rich.markup import escape

    return escape(name)


def _table(title: str, *columns: str) -> Table:
    """An empty table in which names fold where the terminal is narrow, and figures stay whole."""
    from rich.table import Table

    table = Table(
        title=_name(title), title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 1)
    )
    for column in columns:
        if column in NAMES:
            table.add_column(column, min_width=NARROWEST, overflow="fold")
        else:
            table.add_column(column, justify="right", no_wrap=True)
    return table


FIELDS = (
    *("run", "id", "seed", "level", "subject", "reference", "answer", "right", "default", "stopped", "seconds"),
    *("candidates", "answered", "cancelled", "right_candidates", "votes", "tokens", "executions"),
)
"""The CSV's columns. `votes` are those for the elected answer; `right` is empty where there is no reference."""


def write_csv(report: Report, path: Path) -> None:
    """One line per (run, problem, seed), for a spreadsheet or a data frame."""
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.DictWriter(file, FIELDS, lineterminator="\n")
        lines.writeheader()
        lines.writerows(_lines(report.records))


def write_json(report: Report, path: Path) -> None:
    """`{"summaries": [...], "comparisons": [...], "notes": [...]}`; shares are fractions of 1, bounds are 95 % intervals."""
    figures = {
        "summaries": [asdict(summary) for summary in report.summaries],
        "comparisons": [asdict(one) | {"noise": one.noise} for one in report.comparisons],
        "notes": report.notes,
    }
    path.write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _lines(records: Records) -> Iterator[dict[str, Any]]:
    for row, id_ in enumerate(records.problem_ids):
        reference, answer = records.reference[row], records.answer[row]
        choices, status = records.choices[row], records.status[row]
        yield {
            "run": records.runs[records.run[row]],
            "id": id_,
            "seed": records.seed[row],
            "level": records.levels[row],
            "subject": records.subjects[row],
            "reference": reference,
            "answer": answer,
            "right": None if reference is None else int(answer == reference),
            "default": int(records.fallback[row]),
            "stopped": records.stopped[row],
            "seconds": round(float(records.seconds[row]), 3),
            "candidates": int((status != 0).sum()),
            "answered": int((status == STATUSES.index("answered")).sum()),
            "cancelled": int((status == STATUSES.index("cancelled")).sum()),
            "right_candidates": int(records.right[row].sum()),
            "votes": int((records.votes[row] == choices.index(answer)).sum()) if answer in choices else 0,
            "tokens": int(records.tokens[row].sum()),
            "executions": int(records.executions[row].sum()),
        }
