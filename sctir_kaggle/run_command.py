"""The one command behind `sctir dry-run`, `sctir solve` and `sctir replay`: read settings and problems, solve, report.

`run_command` is what the three have in common; a `Mode` is what differs: where the problems come from, who asks them, and
how the results are shown.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sctir_kaggle import problems as problem_sets
from sctir_kaggle.effects import check_effects
from sctir_kaggle.interrupts import saving
from sctir_kaggle.journal import JOURNAL, read_journal, stream_results
from sctir_kaggle.kinds import beside
from sctir_kaggle.options import check_folder, check_settings, folder_of, layers_of, parse_settings
from sctir_kaggle.problems.content import STDIN
from sctir_kaggle.problems.electable import not_electable
from sctir_kaggle.problems.hub import hub_name
from sctir_kaggle.resume import check_command, check_resumable, command_line, earlier_settings, header_of
from sctir_kaggle.settings import RunConfig
from sctir_kaggle.types import Answer, EngineError, ExecutorError, Problem, SolveResult, UserError

if TYPE_CHECKING:
    from sctir_kaggle.session import Session


log = logging.getLogger("sctir_kaggle.start")


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
    def from_stdin(self) -> bool:
        """Whether the problems came from standard input."""
        return STDIN in (self.run.problems, getattr(self.args, "set", None))

    def earlier(self) -> Iterator[SolveResult]:
        """The results of the run that goes on; none without --resume. Raises `UserError` where its journal is damaged."""
        if self.args.resume and header_of(self.folder) is not None:
            yield from stream_results(self.journal)[1]

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
    folder = folder_of(args, layers_of(args))
    if args.resume:
        check_command(folder, args.name)
    earlier = [earlier_settings(folder)] if args.resume else []
    run = parse_settings(args, command=mode.defaults, earlier=earlier)
    check_effects(run)
    mode.check(args, run)
    run = check_settings(run)
    problems = mode.read_problems(args, run)
    check_folder(folder, run)
    if args.resume:
        check_resumable(folder, run, problems)
    return mode.solve(Request(args=args, run=run, problems=problems, folder=folder, started=started))


def read_problems(source: str, args: argparse.Namespace, run: RunConfig) -> list[Problem]:
    """The problems of a file, of standard input or of a data set on the Hub; what was read is said in one line."""
    if source != STDIN and not Path(source).exists() and hub_name(source) is None and (meant := beside(source)):
        raise UserError(f"cannot read {source}: No such file or directory{meant}")
    read = problem_sets.read_file(source, limit=args.limit, how=run.reading)
    log.info("%s%s", read.summary, not_electable(read.problems, run.solver))
    return read.problems


@dataclass
class Kept:
    """What a run that ends early leaves behind, in a few words with the command that goes on."""

    request: Request
    total: int
    done: Callable[[], int]

    opened: Callable[[], bool]
    """Whether this run has opened its journal: before that, an error says nothing of what is kept."""

    what: str = "tasks"

    submission: Path | None = None
    """The file of answers, which is written again after every problem."""

    def save(self) -> str:
        """Say what is where, and how the run goes on."""
        request = self.request
        if not request.journal.exists():
            head = f"0 of {self.total} {self.what} are done and nothing was written to {request.folder}; again"
            return head + self._command(None)
        place = f"{self.done()} of {self.total} {self.what} are in {request.journal}"
        if self.submission is not None and self.submission.exists():
            place += f", their answers in {self.submission}"
        return f"{place}; to go on{self._command(request.folder)}"

    def _command(self, folder: Path | None) -> str:
        """The command after a colon. Problems from standard input are gone: it must not wait for them at a terminal."""
        line = command_line(self.request.args.typed, folder)
        return f", with the same problems in FILE: {line} < FILE" if self.request.from_stdin else f": {line}"


@contextmanager
def resumable(kept: Kept) -> Iterator[None]:
    """Say with a signal, and with an error that came in the middle of the run, what is kept and how the run goes on."""
    try:
        with saving(kept.save):
            yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if not kept.opened():
            raise
        where = error.filename or kept.request.folder
        raise UserError(f"{where}: {error.strerror or error}; {kept.save()}") from None
    except (EngineError, ExecutorError) as error:
        if not kept.opened():
            raise
        raise type(error)(f"{error}; {kept.save()}") from None


class _CSVMode:
    """Problems of a file in one session with a clock; the results as a table with a score."""

    defaults: Mapping[str, Any] = {}

    def check(self, args: argparse.Namespace, run: RunConfig) -> None:
        """Nothing more to refuse."""

    def read_problems(self, args: argparse.Namespace, run: RunConfig) -> list[Problem]:
        """The file's problems, by default the embedded fifty."""
        if run.problems is None:
            if run.reading != problem_sets.ProblemsConfig():
                raise UserError("named columns and --integers-only are for a file of problems: add --problems FILE")
            return problem_sets.read_file(problem_sets.HELD_OUT, limit=args.limit).problems
        return read_problems(run.problems, args, run)

    def solve(self, request: Request) -> int:
        """Open a session, let `ask` pose the problems, show the results."""
        from sctir_kaggle.display import LiveLine, live
        from sctir_kaggle.runtime import open_session

        run, problems = request.run, request.problems
        earlier = {result.problem.id: result for result in request.earlier()}
        submission = self.submission(request)
        if problems and all(problem.id in earlier for problem in problems):
            log.info("all %d problems are in %s already", len(problems), request.journal)
            self.write(submission, {problem.id: earlier[problem.id].answer for problem in problems})
            return _show(request, [earlier[problem.id] for problem in problems], submission)
        results: Mapping[str, SolveResult] | None = None

        def done() -> Mapping[str, SolveResult]:
            return _results_in(request.journal) if results is None else results

        kept = Kept(request, len(problems), lambda: len(done()), lambda: results is not None, "problems", submission)
        with (
            resumable(kept),
            live(LiveLine(problems=len(problems), candidates=run.solver.candidates)) as observer,
            open_session(
                run,
                request.folder,
                planned=len(problems),
                started=request.started,
                resume=request.args.resume,
                problems=problems,
                observer=observer,
                fail_fast=True,
            ) as session,
        ):
            results = session.journal.results
            self._keep(request, results)
            self.ask(request, session, lambda problem: self._solved(request, session, problem))
        return _show(request, [results[problem.id] for problem in problems], submission)

    def _solved(self, request: Request, session: Session, problem: Problem) -> SolveResult:
        """Solve a problem and write the answers so far, so that even a kill or a full disk leaves a file of them."""
        known = problem.id in session.journal.results
        result = session.solve(problem)
        if not known:
            self._keep(request, session.journal.results)
        return result

    def _keep(self, request: Request, results: Mapping[str, SolveResult]) -> None:
        """Write the answers that are there, in the CSV's order."""
        answers = {problem.id: results[problem.id].answer for problem in request.problems if problem.id in results}
        if answers:
            with suppress(OSError):  # the journal has them, and will say what is wrong with the disk
                self.write(self.submission(request), answers)

    def submission(self, request: Request) -> Path:
        """The file with the answers."""
        return request.folder / "submission.csv"

    def write(self, submission: Path, answers: Mapping[str, Answer]) -> None:
        """Write the answers, whole or not at all."""
        problem_sets.write_submission(submission, answers)

    def ask(self, request: Request, session: Session, solve: Callable[[Problem], SolveResult]) -> None:
        """Have `solve` called with every problem, and the answers written."""
        raise NotImplementedError


class Solve(_CSVMode):
    """`sctir solve`: problems straight from the file, in its order."""

    def ask(self, request: Request, session: Session, solve: Callable[[Problem], SolveResult]) -> None:
        """Solve them in order, then write all answers at once."""
        self.write(self.submission(request), {problem.id: solve(problem).answer for problem in request.problems})


class DryRun(_CSVMode):
    """`sctir dry-run`: problems through a stand-in of the competition's API, in random order: a submission's code path."""

    def check(self, args: argparse.Namespace, run: RunConfig) -> None:
        """Raises `UserError` where the stand-in lacks a library, or where answers need not be integers."""
        from sctir_kaggle.competition.dry_run import check_ready

        check_ready(run.profile)
        if run.solver.fractions:
            raise UserError("fractions votes for answers that no competition takes; use sctir solve, or --no-fractions")

    def submission(self, request: Request) -> Path:
        """The competition's file."""
        return request.folder / request.run.profile.submission_file

    def write(self, submission: Path, answers: Mapping[str, Answer]) -> None:
        """In the competition's format."""
        from sctir_kaggle.competition.dry_run import write_answers

        write_answers(submission, answers)

    def ask(self, request: Request, session: Session, solve: Callable[[Problem], SolveResult]) -> None:
        """Let the stand-in ask; it writes the competition's file."""
        from sctir_kaggle.competition.dry_run import serve

        run = request.run
        serve(run.profile, request.problems, solve, submission=self.submission(request), seed=run.solver.seed)


@contextmanager
def printed(request: Request) -> Iterator[None]:
    """Say where the run is where its results cannot be printed, on a full disk, say."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"the run is done and all is in {request.folder}; standard output: {error.strerror}") from None


def _results_in(journal: Path) -> dict[str, SolveResult]:
    """The results of an earlier run by problem; none where it cannot be read."""
    try:
        return {result.problem.id: result for result in read_journal(journal)[1]}
    except UserError:
        return {}


def _show(request: Request, results: list[SolveResult], submission: Path) -> int:
    """Print table, score, warnings and files; return 1 where engine or sandbox failed on too many problems."""
    from sctir_kaggle.competition.health import health_of
    from sctir_kaggle.display import console, print_failure, results_table, risk_line, score_line, warnings_of

    terminal = console()
    with printed(request):
        terminal.print(results_table(results))
        terminal.print(score_line(results, seconds=request.seconds), highlight=False)
        for warning in warnings_of(results):
            terminal.print(warning, style="yellow", markup=False, highlight=False)
        if risk := risk_line(results):
            terminal.print(risk, highlight=False)
        # A path is not folded: it is there to be copied.
        terminal.print(
            f"submission: {submission}\njournal:    {request.journal}", markup=False, highlight=False, soft_wrap=True
        )
    if fault := health_of(results).fault:
        print_failure(f"sctir: the run failed: {fault}")
        return 1
    return 0
