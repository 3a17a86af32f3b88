"""From journals to a report: accuracy of each configuration, paired differences, and the caveats that a reader needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sctir_kaggle.lab.records import Group, Records, groups_of, read_records
from sctir_kaggle.lab.score.comparison import Comparison, compare_all
from sctir_kaggle.lab.score.summary import Summary, summarise

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """The content of `sctir score`; `comparisons` are against the first of `summaries`."""

    records: Records
    groups: list[Group]
    summaries: list[Summary]
    comparisons: list[Comparison]
    notes: list[str]


def report_of(runs: Sequence[Path]) -> Report:
    """Read and summarise `runs`, each a folder or a journal.

    Raises `UserError` on a file that is no journal, and where two runs disagree on a problem's reference.
    """
    records = read_records(runs)
    groups = groups_of(records)
    comparisons = compare_all(records, groups)
    summaries = [summarise(records, group) for group in groups]
    return Report(records, groups, summaries, comparisons, notes_of(summaries, comparisons))


def show(report: Report, console: Console) -> None:
    """Print the tables, then the notes."""
    from sctir_kaggle.lab.score.tables import tables

    for table in tables(report.summaries, report.comparisons):
        console.print(table)
        console.print()
    for note in report.notes:
        console.print(f"- {note}", style="yellow", markup=False, highlight=False, soft_wrap=False)


def notes_of(summaries: Sequence[Summary], comparisons: Sequence[Comparison]) -> list[str]:
    """Caveats about each run in order, then about the differences between runs."""
    notes = [f"{one.name}: {note}" for one in summaries for note in _of_run(one)]
    return notes + list(_of_differences(summaries, comparisons))


def _of_run(one: Summary) -> Iterator[str]:
    if len(one.runs) > 1:
        yield f"runs that differ in their seeds only are counted together: {', '.join(one.runs)}"
    if not one.rows:
        yield "no problem has ended yet"
        return
    yield from _of_coverage(one)
    yield from _of_candidates(one)


def _of_coverage(one: Summary) -> Iterator[str]:
    if one.rows < one.planned:
        yield (
            f"{one.rows} of {one.planned} results are there: the run has not ended, and what ends first is not like the "
            "rest; --resume goes on with it"
        )
    most = max(one.seeds.values())
    if short := {seed: rows for seed, rows in one.seeds.items() if rows < most}:
        seeds = ", ".join(f"seed {seed} has {rows} of {most} problems" for seed, rows in short.items())
        yield f"{seeds}; means are over what is there, --resume goes on with the run"
    if one.graded < one.rows:
        yield f"{one.rows - one.graded} of {one.rows} results have no reference: they count for ends and costs only"
    if len(one.seeds) == 1 and one.graded:
        yield "one seed does not show how far another would fall from it; sctir replay --seeds 5 does"
    if one.defaults:
        yield f"{one.defaults} of {one.rows} results had no vote and are the default answer"


def _of_candidates(one: Summary) -> Iterator[str]:
    total, late = sum(one.ended.values()), one.ended["cancelled"] - one.missing
    if one.missing:
        used = f"use the first {len(one.curve.maj)} that ended of each problem" if one.curve else "cannot be drawn"
        yield (
            f"the vote was decided before {one.missing:,} of {total:,} candidates had ended: curves {used}, and the quick "
            "ones may be better than the rest; runs with --stop none have whole curves"
        )
    if late:
        yield f"{late:,} of {total:,} candidates were cut by the deadline and count as candidates without an answer"
    if one.ended["failed"]:
        yield f"{one.ended['failed']:,} of {total:,} candidates were failed by the engine or the sandbox"


def _of_differences(summaries: Sequence[Summary], comparisons: Sequence[Comparison]) -> Iterator[str]:
    compared = {comparison.name for comparison in comparisons}
    for other in summaries[1:]:
        if other.name not in compared:
            yield f"{other.name} and {summaries[0].name} have no graded problem in common: they are not compared"
    sizes = {one.name: one.accuracy.problems for one in summaries if one.accuracy}
    for one in comparisons:
        if one.problems < max(sizes[one.name], sizes[one.baseline]):
            yield (
                f"{one.name} and {one.baseline} are compared on the {one.problems} problems that they share: there "
                f"{one.baseline} has {100 * one.before:.1f} %"
            )
        if one.noise:
            yield (
                f"{one.name} and {one.baseline} differ by {100 * one.difference:+.1f} points on {one.problems} problems: "
                f"inside the noise (p = {one.p:.3f}), no reason to prefer either; more problems or seeds may tell"
            )
