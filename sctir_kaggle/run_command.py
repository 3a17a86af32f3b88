"""The one command behind `sctir dry-run`, `sctir solve` and `sctir replay`: read settings and problems, solve, report.

`run_command` is what the three have in common; a `Mode` is what differs: where the problems come from, who asks them, and
how the results are shown.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sctir_kaggle import problems as problem_sets
from sctir_kaggle.journal import JOURNAL
from sctir_kaggle.options import check_settings, folder_of, parse_settings
from sctir_kaggle.settings import RunConfig
from sctir_kaggle.types import Problem, SolveResult

if TYPE_CHECKING:
    from sctir_kaggle.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A run as it was asked for, ready to start."""

    args: argparse.Namespace
    run: RunConfig
    problems: list[Problem]

    folder: Path
    """Where the run is kept."""

    started: float
    """When the budget began, a reading of `time.monotonic`."""

    @property
    def journal(self) -> Path:
        """The file that takes the results."""
        return self.folder / JOURNAL

    @property
    def seconds(self) -> float:
        """How long the command has been running."""
        return time.monotonic() - self.started


class Mode(Protocol):
    """One way of running. `check` and `read_problems` raise `UserError` on what cannot be done."""

    defaults: Mapping[str, Any]
    """Settings whose defaults are others under this command."""

    def check(self, args: argparse.Namespace, run: RunConfig) -> None:
        """Refuse what only this mode refuses."""

    def read_problems(self, args: argparse.Namespace, run: RunConfig) -> list[Problem]:
        """Return the problems, `args.limit` of them at most."""

    def solve(self, request: Request) -> int:
        """Solve the problems, show the results, and return the exit code."""


def run_command(args: argparse.Namespace, started: float, mode: Mode) -> int:
    """Run `mode` as it was typed; return the exit code: 0 if all is well, 1 if engine or sandbox failed.

    Everything that can be refused is refused before the model is loaded and before anything is written.
    """
    from sctir_kaggle.display import setup_logging

    setup_logging(results=False)
    run = parse_settings(args, command=mode.defaults)
    mode.check(args, run)
    folder = folder_of(args, run)
    run = check_settings(run)
    problems = mode.read_problems(args, run)
    return mode.solve(Request(args=args, run=run, problems=problems, folder=folder, started=started))


@contextmanager
def resumable(request: Request, done: Callable[[], int], total: int, what: str = "") -> Iterator[None]:
    """Add to a Ctrl-C how many results are in the journal, and how the run goes on."""
    try:
        yield
    except KeyboardInterrupt:
        kept = f"{done()} of {total}{what} are in {request.journal}"
        raise KeyboardInterrupt(f"; {kept}: --resume --output {request.folder} goes on") from None


class _CSVMode:
    """Problems of a CSV in one session with a clock; the results as a table with a score."""

    defaults: Mapping[str, Any] = {}

    def check(self, args: argparse.Namespace, run: RunConfig) -> None:
        """Nothing more to refuse."""

    def read_problems(self, args: argparse.Namespace, run: RunConfig) -> list[Problem]:
        """The CSV's problems, by default the embedded fifty."""
        return problem_sets.read_problems(Path(run.problems or problem_sets.HELD_OUT), limit=args.limit)

    def solve(self, request: Request) -> int:
        """Open a session, let `ask` pose the problems, show the results."""
        from sctir_kaggle.display import LiveLine, live
        from sctir_kaggle.runtime import open_session

        run, problems = request.run, request.problems
        with (
            live(LiveLine(problems=len(problems), candidates=run.solver.candidates)) as observer,
            open_session(
                run,
                request.folder,
                planned=len(problems),
                started=request.started,
                resume=request.args.resume,
                problems=problems,
                observer=observer,
            ) as session,
            resumable(request, lambda: len(session.journal.results), len(problems), " problems"),
        ):
            submission = self.ask(request, session)
        return _show(request, [session.journal.results[problem.id] for problem in problems], submission)

    def ask(self, request: Request, session: Session) -> Path:
        """Have the session solve every problem; return the file with the answers."""
        raise NotImplementedError


class Solve(_CSVMode):
    """`sctir solve`: problems straight from the CSV, in its order."""

    def ask(self, request: Request, session: Session) -> Path:
        """Solve them in order, then write all answers at once."""
        answers = {problem.id: session.solve(problem).answer for problem in request.problems}
        submission = request.folder / "submission.csv"
        problem_sets.write_submission(submission, answers)
        return submission


class DryRun(_CSVMode):
    """`sctir dry-run`: problems through a stand-in of the competition's API, in random order: a submission's code path."""

    def check(self, args: argparse.Namespace, run: RunConfig) -> None:
        """Raises `UserError` where the stand-in lacks a library."""
        from sctir_kaggle.competition.dry_run import check_ready

        check_ready(run.profile)

    def ask(self, request: Request, session: Session) -> Path:
        """Let the stand-in ask; it writes the competition's file."""
        from sctir_kaggle.competition.dry_run import serve

        run = request.run
        submission = request.folder / run.profile.submission_file
        serve(run.profile, request.problems, session.solve, submission=submission, seed=run.solver.seed)
        return submission


def _show(request: Request, results: list[SolveResult], submission: Path) -> int:
    """Print table, score, warnings and files; return 1 where engine or sandbox failed on too many problems."""
    from sctir_kaggle.competition.health import health_of
    from sctir_kaggle.display import console, print_failure, results_table, risk_line, score_line, warnings_of

    terminal = console()
    terminal.print(results_table(results))
    terminal.print(score_line(results, seconds=request.seconds), highlight=False)
    for warning in warnings_of(results):
        terminal.print(f"[yellow]{warning}", highlight=False)
    if risk := risk_line(results):
        terminal.print(risk, highlight=False)
    terminal.print(f"submission: {submission}\njournal:    {request.journal}", highlight=False)
    if fault := health_of(results).fault:
        print_failure(f"sctir: the run failed: {fault}")
        return 1
    return 0
