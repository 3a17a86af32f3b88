"""The command `sctir score`: its arguments, and the function that scores runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sctir_kaggle.journal import refuse_journal
from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    from rich.console import Console

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
    add("--csv", type=Path, metavar="FILE", help="also a line a problem and seed")
    add("--json", type=Path, metavar="FILE", help="also all figures, with every k of the curves")
    add("--png", type=Path, metavar="FILE", help="also the curves of maj@k and pass@k; needs matplotlib")
    add("--html", type=Path, metavar="FILE", help="also a page with every candidate")
    parser.set_defaults(command=score, name="score")


def score(args: argparse.Namespace, _: float) -> int:
    """Print the tables and notes, and write the requested files."""
    from sctir_kaggle.lab.score.report import report_of, show

    outputs = {kind: path for kind in FILES if (path := getattr(args, kind))}
    _refuse(outputs)
    report = report_of(args.runs)
    show(report, _console())
    if args.csv or args.json:
        from sctir_kaggle.lab.score.tables import write_csv, write_json

        if args.csv:
            write_csv(report, args.csv)
        if args.json:
            write_json(report, args.json)
    if args.png:
        from sctir_kaggle.lab.score.curves import write_png

        write_png(report.summaries, args.png)
    if args.html:
        _write_html(args.runs, args.html)
    for path in outputs.values():
        print(path)
    return 0


def _refuse(outputs: dict[str, Path]) -> None:
    """Refuse files that cannot be written before gigabytes are read; a journal is never overwritten."""
    for kind, path in outputs.items():
        refuse_journal(path, f"--{kind}")
        if path.is_dir() or not path.parent.is_dir():
            raise UserError(f"--{kind} {path} must be a file in a folder that exists; choose another")


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


def _console() -> Console:
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=WIDTH)
