"""Journals -> a report: what each configuration reached, how they differ, and what to know before believing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sctir_kaggle.report.comparison import Comparison, compare_all
from sctir_kaggle.report.groups import Group, groups_of
from sctir_kaggle.report.notes import notes_of
from sctir_kaggle.report.records import Records, read_records
from sctir_kaggle.report.summary import Summary, summarise

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """Everything that `sctir score` says; `comparisons` are against the first of `summaries`."""

    records: Records
    groups: list[Group]
    summaries: list[Summary]
    comparisons: list[Comparison]
    notes: list[str]


def report_of(runs: Sequence[Path]) -> Report:
    """The report of `runs`, each a folder or a journal. Raises `UserError` on what is no journal, or another set."""
    records = read_records(runs)
    groups = groups_of(records)
    comparisons = compare_all(records, groups)
    summaries = [summarise(records, group) for group in groups]
    return Report(records, groups, summaries, comparisons, notes_of(summaries, comparisons))


def show(report: Report, console: Console) -> None:
    """The tables, then the notes."""
    from sctir_kaggle.report.tables import tables

    for table in tables(report.summaries, report.comparisons):
        console.print(table)
        console.print()
    for note in report.notes:
        console.print(f"- {note}", style="yellow", markup=False, highlight=False, soft_wrap=False)
