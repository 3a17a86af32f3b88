"""The command `sctir view`: its arguments, and the function that runs it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_view(commands: Commands) -> None:
    """Add the command's parser to `commands`."""
    parser = commands.add_parser("view", help="show a run: one HTML page with every candidate, without network")
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="a run's folder, or its journal")
    add("--output", type=Path, metavar="FILE", help="the page; default: view.html beside the journal")
    add("--open", action="store_true", help="open it in the browser")
    parser.set_defaults(command=view, name="view")


def view(args: argparse.Namespace, _: float) -> int:
    """Write the page of a run and print its path; with `--open`, open it in the browser."""
    from sctir_kaggle.journal import journal_of, read_faults, read_journal
    from sctir_kaggle.lab.view.page import write_page
    from sctir_kaggle.outputs import check_outputs, is_stdout

    journal = journal_of(args.run)
    output = args.output or journal.parent / "view.html"
    if is_stdout(output):
        raise UserError("--output - would print the page among other lines; give it a file")
    check_outputs({"output": output})
    header, results = read_journal(journal)
    write_page(results, [header], output, title=journal.resolve().parent.name, faults=read_faults(journal))
    print(f"{output}: {len(results)} results, {output.stat().st_size / 1e6:.1f} MB")
    if args.open:
        _show(output)
    return 0


def _show(page: Path) -> None:
    """Open the page in the browser; without one, say so."""
    import webbrowser

    if not webbrowser.open(page.resolve().as_uri()):
        print(f"no browser can be opened from here: open {page} yourself")
