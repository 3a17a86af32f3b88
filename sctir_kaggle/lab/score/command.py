"""The command `sctir score`: its arguments, and the function that scores runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sctir_kaggle.lab.score.report import Report

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

FILES = ("csv", "json", "png", "html")

WIDTH = 100
"""Characters per line where the output is no terminal."""


def add_score(commands: Commands) -> None:
    """Add the command's parser to `commands`."""
    parser = commands.add_parser("score", help="what runs reached, how sure that is, and whether they differ")
    add = parser.add_argument
    add(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="a folder or its journal; the others are compared to the first",
    )
    add("--csv", type=Path, metavar="FILE", help="also a line a problem and seed; - prints it alone")
    add("--json", type=Path, metavar="FILE", help="also all figures, with every k of the curves; - prints them alone")
    add("--png", type=Path, metavar="FILE", help="also the curves of maj@k and pass@k; needs matplotlib")
    add("--html", type=Path, metavar="FILE", help="also a page with every candidate")
    parser.set_defaults(command=score, name="score")


def score(args: argparse.Namespace, _: float) -> int:
    """Print the tables and notes, and write the requested files; one that goes to standard output stands there alone."""
    from sctir_kaggle.display import console
    from sctir_kaggle.lab.score.report import report_of, show
    from sctir_kaggle.outputs import check_outputs, write_output

    outputs = {kind: path for kind in FILES if (path := getattr(args, kind))}
    alone = check_outputs(outputs)
    report = report_of(args.runs)
    if not alone:
        show(report, console(WIDTH))
    for kind, path in outputs.items():
        write_output(path, _writer(kind, report, args.runs))
        if not alone:
            print(path)
    return 0


def _writer(kind: str, report: Report, runs: Sequence[Path]) -> Callable[[Path], None]:
    """The function that writes one of `FILES`; what it needs is imported for that one alone."""
    if kind == "png":
        from sctir_kaggle.lab.score.curves import write_png

        return lambda path: write_png(report.summaries, path)
    if kind == "html":
        return lambda path: _write_html(runs, path)
    from sctir_kaggle.lab.score.tables import write_csv, write_json

    return lambda path: (write_csv if kind == "csv" else write_json)(report, path)


def _write_html(runs: Sequence[Path], path: Path) -> None:
    """Write the page of all runs together. Unlike the tables it needs whole results, for their texts."""
    from sctir_kaggle.journal import journal_of, read_faults, read_journal
    from sctir_kaggle.lab.view.page import write_page

    journals = [journal_of(run) for run in runs]
    read = [read_journal(journal) for journal in journals]
    write_page(
        [result for _, results in read for result in results],
        [header for header, _ in read],
        path,
        title=", ".join(journal.resolve().parent.name for journal in journals),
        faults=[fault for journal in journals for fault in read_faults(journal)],
    )
