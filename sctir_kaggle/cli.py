"""The command `sctir`: parse what was typed, build the objects, hand them to a session, show the result."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sctir_kaggle import problems as problem_sets
from sctir_kaggle._version import __version__
from sctir_kaggle.budget import process_started
from sctir_kaggle.config import SolverConfig
from sctir_kaggle.engines.registry import ENGINES
from sctir_kaggle.kaggle.commands import add_commands
from sctir_kaggle.options import Parser, add_run_options, add_settings, run_of, setup_of
from sctir_kaggle.runtime import open_session
from sctir_kaggle.settings import RunConfig
from sctir_kaggle.types import EngineError, ExecutorError, Problem, SolveResult, UserError

if TYPE_CHECKING:
    from sctir_kaggle.display import LiveLine
    from sctir_kaggle.session import Session

log = logging.getLogger("sctir_kaggle")


@dataclass(frozen=True, slots=True)
class Run:
    """What a command works on, once everything is open."""

    session: Session
    problems: list[Problem]
    folder: Path
    asked: RunConfig

    @property
    def submission(self) -> Path:
        """The file that the competition would score."""
        return self.folder / self.asked.profile.submission_file


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 when all is done, 1 where a run failed, 2 on what the user can mend, 130 after Ctrl-C."""
    args, unknown = _parser().parse_known_args(argv)
    if unknown:
        args.parser.unknown(unknown)
    # Called with arguments, it shares its process with whatever ran before.
    started = process_started() if argv is None else time.monotonic()
    try:
        return int(args.command(args, started))
    except (UserError, EngineError, ExecutorError) as error:
        print(f"sctir: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        print(f"sctir: {error.filename or 'the system'}: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(f"sctir: interrupted{interrupt}", file=sys.stderr)
        return 130


def dry_run(args: argparse.Namespace, started: float) -> int:
    """Problems through what plays the competition's API, in random order: the path of a submission."""
    from sctir_kaggle.competition.dry_run import check_ready, serve

    asked = run_of(args)
    check_ready(asked.profile)
    with _open(args, asked, started) as run:
        seed = asked.solver.seed
        serve(asked.profile, run.problems, run.session.solve, submission=run.submission, seed=seed)
    return _show(run, started)


def solve(args: argparse.Namespace, started: float) -> int:
    """Problems straight from the CSV, in its order."""
    with _open(args, run_of(args), started) as run:
        answers = {problem.id: run.session.solve(problem).answer for problem in run.problems}
        problem_sets.write_submission(run.folder / "submission.csv", answers)
    return _show(run, started)


def settings(args: argparse.Namespace, _: float) -> int:
    """What would be used, and where each value comes from."""
    from sctir_kaggle.options import as_json, as_text

    run = run_of(args)
    print(as_json(run) if args.json else as_text(run))
    return 0


def doctor(args: argparse.Namespace, started: float) -> int:
    """Whether this machine can run it: exit code 1 if anything is fatal."""
    from sctir_kaggle.kaggle.doctor import examine, report, worst

    findings = examine(
        args.competition,
        args.model,
        engine=args.engine,
        wheels=args.wheels,
        dialect=args.dialect,
        started=started,
    )
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    elif sys.stdout.isatty():
        from sctir_kaggle.display import console
        from sctir_kaggle.kaggle.doctor import findings_table

        console().print(findings_table(findings))
    else:
        print(report(findings))
    return int(worst(findings) == "fatal")


@contextmanager
def _open(args: argparse.Namespace, asked: RunConfig, started: float) -> Iterator[Run]:
    """Everything that can be refused is refused before the model is loaded and before anything is written."""
    setup = setup_of(args, asked)
    csv = Path(asked.problems) if asked.problems else problem_sets.HELD_OUT
    problems = problem_sets.read_problems(csv, limit=args.limit)
    with (
        _watch(len(problems), setup.config) as observer,
        open_session(setup, planned=len(problems), started=started, problems=problems, observer=observer) as session,
    ):
        try:
            yield Run(session, problems, setup.folder, asked)
        except KeyboardInterrupt:
            kept = f"{len(session.journal.results)} of {len(problems)} problems are in {session.journal.path}"
            raise KeyboardInterrupt(f"; {kept}: --resume --output {setup.folder} goes on") from None


@contextmanager
def _watch(problems: int, config: SolverConfig) -> Iterator[LiveLine | None]:
    """A live line in a terminal, a log line a problem elsewhere."""
    from sctir_kaggle.display import LiveLine, console

    terminal = console()
    logging.raiseExceptions = False  # a closed pipe is no reason for a traceback per line
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    logging.getLogger("sctir_kaggle.start").setLevel(logging.INFO)
    if not terminal.is_terminal:
        log.setLevel(logging.INFO)
        yield None
        return
    with LiveLine(terminal, problems=problems, candidates=config.candidates) as line:
        yield line


def _show(run: Run, started: float) -> int:
    """The table and what there is to say of it; 1 where engine or sandbox failed on too many problems."""
    from sctir_kaggle.competition.health import health_of
    from sctir_kaggle.display import console, print_failure, results_table, score_line, warnings_of

    results: list[SolveResult] = [run.session.journal.results[problem.id] for problem in run.problems]
    terminal = console()
    terminal.print(results_table(results))
    terminal.print(score_line(results, seconds=time.monotonic() - started), highlight=False)
    for warning in warnings_of(results):
        terminal.print(f"[yellow]{warning}", highlight=False)
    if risk := risk_line(results):
        terminal.print(risk, highlight=False)
    submission = next(path for path in (run.submission, run.folder / "submission.csv") if path.exists())
    terminal.print(f"submission: {submission}\njournal:    {run.session.journal.path}", highlight=False)
    if fault := health_of(results).fault:
        print_failure(f"sctir: the run failed: {fault}")
        return 1
    return 0


def risk_line(results: Sequence[SolveResult]) -> str:
    """What each stop that is not exact risked, a line a stop; empty where none of them stopped anything."""
    stops = ("beta", "k", "margin")
    stopped = {name: [result.risk for result in results if result.stopped == name] for name in stops}
    return "\n".join(_risk_of(name, risks, len(results)) for name, risks in stopped.items() if risks)


def _risk_of(name: str, risks: Sequence[float | None], total: int) -> str:
    """Of the problems that one of them stopped; a risk that is not known is that of a vote that is not plain."""
    known = [risk for risk in risks if risk is not None]
    head = f"{name} stopped {len(risks)} of {total} problems; "
    if not known:
        return (
            head
            + "its risk is known for plain votes only: sctir what-if on a run with stop none counts what it changes"
        )
    return head + (
        f"under beta's model each answer differs from the full vote's with probability at most {100 * max(known):.2g} %, "
        f"and at most {sum(known):.2g} of them are expected to (not where quick candidates vote otherwise than slow ones)"
    )


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = Parser(
        prog="sctir", description="Self-consistency with tool-integrated reasoning."
    )
    parser.add_argument("--version", action="version", version=f"sctir {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    dry = commands.add_parser("dry-run", help="answer problems through what plays the competition's API")
    plain = commands.add_parser("solve", help="answer the problems of a CSV in its order")
    plain.add_argument("problems", metavar="CSV", help="columns id, problem and, if known, answer")
    listed = commands.add_parser("settings", help="every setting: its value, where it comes from, what it is")
    listed.add_argument("--json", action="store_true", help="the same as JSON")
    for name, command, run in (("dry-run", dry, dry_run), ("settings", listed, settings)):
        add_run_options(command)
        add_settings(command)
        command.set_defaults(command=run, name=name)
    add_run_options(plain)
    add_settings(plain, "CSV", without=("problems",))
    plain.set_defaults(command=solve, name="solve")
    _add_doctor(commands.add_parser("doctor", help="say whether this machine can run it, and what to do if not"))
    add_commands(commands)
    if find_spec("sctir_kaggle.lab.replay"):
        _add_studies(commands)
    for command in commands.choices.values():
        command.set_defaults(parser=command)
    return parser


def _add_studies(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """What is done with runs at home: a notebook's wheel leaves these commands out."""
    from sctir_kaggle.lab.replay.command import add_replay
    from sctir_kaggle.lab.score.command import add_score
    from sctir_kaggle.lab.view.command import add_view
    from sctir_kaggle.lab.whatif.command import add_what_if

    for add in (add_replay, add_score, add_what_if, add_view):
        add(commands)


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--competition", metavar="NAME", help="aimo1, aimo2, aimo3 or a slug: also checks its files and its clock")
    add("--model", metavar="DIR", help="a checkpoint; default: the one that is attached")
    add("--wheels", type=Path, metavar="DIR", help="offline wheels; default: those that are attached")
    add("--engine", choices=tuple(ENGINES), default="vllm", help="what is to serve the model (%(default)s)")
    add(
        "--dialect", default="auto", metavar="NAME", help="a dialect's name or its TOML file; default: the checkpoint's"
    )
    add("--json", action="store_true", help="the findings as JSON")
    parser.set_defaults(command=doctor, name="doctor")
