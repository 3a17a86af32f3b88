"""Summaries in a terminal: tables of 80 to 100 columns, a row a run."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctir_kaggle.lab.records import STATUSES, Records
from sctir_kaggle.lab.score.comparison import Comparison
from sctir_kaggle.lab.score.report import Report
from sctir_kaggle.lab.score.summary import Accuracy, Summary

if TYPE_CHECKING:
    from rich.table import Table


NAME = "run"

NAMES = (NAME, "level", "subject")
"""Columns that give way where a terminal is narrow."""

NARROWEST = 8
"""Characters that they keep."""

COLUMNS_OF_CURVE = 7
"""How many k a table shows; files and pictures have all."""

ENDS = {"answered": "answered", "pruned": "pruned", "exhausted": "exhausted", "out_of_context": "context"}
ENDS |= {"cancelled": "cancelled", "failed": "failed"}


def tables(summaries: Sequence[Summary], comparisons: Sequence[Comparison]) -> list[Table]:
    """All that have something to say, in the order in which they are read."""
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
    """Accuracy, its noise, and how much of it a perfect choice among the candidates would add."""
    table = _table("Right answers, %", NAME, "problems", "seeds", "right ± sd", "95 %", "pass@1", "N", "pass@N", "loss")
    for one in summaries:
        if accuracy := one.accuracy:
            problems, *figures, passed, loss = _cells(accuracy)
            seeds = str(len(accuracy.seeds))
            table.add_row(_name(one.name), problems, seeds, *figures, str(one.candidates), passed, loss)
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
    """Each run against the first: problems with a higher and a lower share of right answers, and how likely by chance."""
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
    table = _table(f"By {part}, %", part, *several, "problems", "right ± sd", "95 %", "pass@1", "pass@N", "loss")
    for label in sorted({label for _, parts in runs for label in parts}):
        there = [(name, parts[label]) for name, parts in runs if label in parts]
        for number, (name, accuracy) in enumerate(there):
            names = ("" if number else _name(label), _name(name))[: 1 + len(several)]
            table.add_row(*names, *_cells(accuracy))
    return table


def ends_table(summaries: Sequence[Summary]) -> Table:
    """Why candidates ended, in per cent of them."""
    table = _table("Why candidates ended, %", NAME, "candidates", *ENDS.values())
    for one in summaries:
        total = sum(one.ended.values())
        if total:
            table.add_row(_name(one.name), f"{total:,}", *(percent(one.ended[end] / total) for end in ENDS))
    return table


def stops_table(summaries: Sequence[Summary]) -> Table:
    """What ended the work on a problem, in per cent of the results."""
    reasons = list(dict.fromkeys(reason for one in summaries for reason in one.stopped))
    table = _table("What ended a problem, %", NAME, "results", *reasons, "default answer")
    for one in summaries:
        if one.rows:
            shares = [one.stopped.get(reason, 0) / one.rows for reason in reasons] + [one.defaults / one.rows]
            table.add_row(_name(one.name), f"{one.rows:,}", *map(percent, shares))
    return table


def cost_table(summaries: Sequence[Summary]) -> Table:
    """Seconds, tokens and executions of a problem, and of all together."""
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
    """Powers of two up to `longest`, and `longest`; of many every second, so that `COLUMNS_OF_CURVE` do."""
    powers = [2**power for power in range(longest.bit_length()) if 2**power < longest] + [longest] * (longest > 0)
    while len(powers) > COLUMNS_OF_CURVE:
        powers = powers[:-1][::2] + powers[-1:]
    return powers


def percent(share: float | None) -> str:
    """`94.0`; nothing where nothing is known."""
    return "" if share is None else f"{100 * share:.1f}"


def _cells(accuracy: Accuracy) -> tuple[str, ...]:
    """Problems, accuracy, its bounds, pass@1, pass@N, loss; the last two are a least where candidates were cancelled."""
    least = "≥ " if accuracy.missing else ""
    return (
        str(accuracy.problems),
        percent(accuracy.mean) + ("" if accuracy.sd is None else f" ± {100 * accuracy.sd:.1f}"),
        f"{percent(accuracy.low)}-{percent(accuracy.high)}",
        percent(accuracy.one),
        least + percent(accuracy.passed),
        least + percent(accuracy.loss),
    )


def p_value(value: float) -> str:
    """`0.021`; what is smaller than a thousandth is not told apart."""
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _name(name: str) -> str:
    from rich.markup import escape

    return escape(name)


def _table(title: str, *columns: str) -> Table:
    """Names give way where the terminal is narrow; figures stay whole."""
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
"""`votes` are those for the answer given; `right` is empty where there is no reference."""


def write_csv(report: Report, path: Path) -> None:
    """Every row of the records, for a spreadsheet or a data frame."""
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.DictWriter(file, FIELDS, lineterminator="\n")
        lines.writeheader()
        lines.writerows(_lines(report.records))


def write_json(report: Report, path: Path) -> None:
    """`{"summaries": [...], "comparisons": [...], "notes": [...]}`; shares are of 1, bounds are of 95 %."""
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
