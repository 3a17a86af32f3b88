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
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sctir_kaggle import config as configs
from sctir_kaggle import problems as problem_sets
from sctir_kaggle._version import __version__
from sctir_kaggle.budget import process_started
from sctir_kaggle.config import SolverConfig
from sctir_kaggle.kaggle.commands import add_commands
from sctir_kaggle.opening import Setup, opened
from sctir_kaggle.report.command import add_score
from sctir_kaggle.types import EngineError, ExecutorError, Problem, SolveResult, UserError
from sctir_kaggle.viewer.command import add_view

if TYPE_CHECKING:
    from rich.console import Console

    from sctir_kaggle.display import LiveLine
    from sctir_kaggle.session import Session

ANSWERS = {"aimo1": configs.AIMO1, "aimo3": configs.AIMO3, "any": configs.MATH}

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


log = logging.getLogger("sctir_kaggle")


@dataclass(frozen=True, slots=True)
class Run:
    """What a command works on, once everything is open."""

    session: Session
    problems: list[Problem]
    folder: Path


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 when all is done, 2 on what the user can mend, 130 after Ctrl-C."""
    args = _parser().parse_args(argv)
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
    """Problems through the mock of the competition's API, in random order: the path of a submission."""
    from sctir_kaggle.competition import aimo1, mock
    from sctir_kaggle.competition.fields import text_of

    with _open(args, started) as run:
        references = {problem.id: problem.answer for problem in run.problems}

        def answer(id_: object, text: object) -> int:
            problem = Problem(text_of(id_, "id"), text_of(text, "problem"))
            return run.session.solve(replace(problem, answer=references[problem.id])).answer

        env = mock.Aimo1(run.problems, submission=run.folder / "submission.csv", seed=args.seed).make_env()
        aimo1.serve(env, answer)
    return _show(run, started)


def solve(args: argparse.Namespace, started: float) -> int:
    """Problems straight from the CSV, in its order."""
    with _open(args, started) as run:
        answers = {problem.id: run.session.solve(problem).answer for problem in run.problems}
        problem_sets.write_submission(run.folder / "submission.csv", answers)
    return _show(run, started)


def doctor(args: argparse.Namespace, started: float) -> int:
    """Whether this machine can run it: exit code 1 if anything is fatal."""
    from sctir_kaggle.kaggle.doctor import examine, report, worst

    findings = examine(args.competition, args.model, engine=args.engine, wheels=args.wheels, started=started)
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    elif sys.stdout.isatty():
        from sctir_kaggle.display import findings_table

        _console().print(findings_table(findings))
    else:
        print(report(findings))
    return int(worst(findings) == "fatal")


@contextmanager
def _open(args: argparse.Namespace, started: float) -> Iterator[Run]:
    """Everything that can be refused is refused before the model is loaded and before anything is written."""
    setup = _setup(args)
    problems = problem_sets.read_problems(args.problems, limit=args.limit)
    with (
        _watch(len(problems), setup.config) as observer,
        opened(setup, planned=len(problems), started=started, problems=problems, observer=observer) as session,
    ):
        try:
            yield Run(session, problems, setup.folder)
        except KeyboardInterrupt:
            kept = f"{len(session.journal.results)} of {len(problems)} problems are in {session.journal.path}"
            raise KeyboardInterrupt(f"; {kept}: --resume --output {setup.folder} goes on") from None


def _setup(args: argparse.Namespace) -> Setup:
    return Setup(
        config=_config(args),
        folder=_folder(args),
        budget=args.budget,
        engine=args.engine,
        model=args.model,
        layout=args.layout,
        gpus=args.gpus,
        base_url=args.base_url or (),
        served_model=args.served_model,
        resume=args.resume,
    )


def _config(args: argparse.Namespace) -> SolverConfig:
    chosen = ("candidates", "extra_candidates", "turns", "temperature", "seed", "stop", "stop_delta")
    return replace(ANSWERS[args.answers], **{name: getattr(args, name) for name in chosen})


def _folder(args: argparse.Namespace) -> Path:
    """Where the run is kept. An existing journal is refused here, before a minute is spent on loading the model."""
    if args.output is None and args.resume:
        raise UserError("--resume goes on with a run that is kept somewhere: say where with --output DIR")
    folder: Path = args.output or Path("runs") / f"{args.name}-{datetime.now():%Y%m%d-%H%M%S}"
    journal = folder / "journal.jsonl"
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; --output wants a folder, new or old")
    if (folder / "submission.csv").is_dir():
        raise UserError(f"{folder / 'submission.csv'} is a folder; choose another --output")
    if journal.exists() and not args.resume:
        raise UserError(f"{journal} exists; add --resume to go on with that run, or choose another --output")
    if args.resume and not journal.exists():
        raise UserError(f"there is no run to resume in {folder}: {journal} does not exist")
    return folder


@contextmanager
def _watch(problems: int, config: SolverConfig) -> Iterator[LiveLine | None]:
    """A live line in a terminal, a log line a problem elsewhere."""
    console = _console()
    logging.raiseExceptions = False  # a closed pipe is no reason for a traceback per line
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    if not console.is_terminal:
        log.setLevel(logging.INFO)
        yield None
        return
    from sctir_kaggle.display import LiveLine

    with LiveLine(console, problems=problems, candidates=config.candidates) as line:
        yield line


def _show(run: Run, started: float) -> int:
    from sctir_kaggle.display import results_table, score_line, warnings_of

    results: list[SolveResult] = [run.session.journal.results[problem.id] for problem in run.problems]
    console = _console()
    console.print(results_table(results))
    console.print(score_line(results, seconds=time.monotonic() - started), highlight=False)
    for warning in warnings_of(results):
        console.print(f"[yellow]{warning}", highlight=False)
    if risk := risk_line(results):
        console.print(risk, highlight=False)
    console.print(
        f"submission: {run.folder / 'submission.csv'}\njournal:    {run.session.journal.path}", highlight=False
    )
    return 0


def risk_line(results: Sequence[SolveResult]) -> str:
    """What the beta rule risked; empty where it stopped nothing."""
    risks = [result.risk for result in results if result.stopped == "beta" and result.risk is not None]
    if not risks:
        return ""
    return (
        f"beta stopped {len(risks)} of {len(results)} problems; under its model each answer differs from the full vote's "
        f"with probability at most {100 * max(risks):.2g} %, and at most {sum(risks):.2g} of them are expected to"
    )


def _console() -> Console:
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=160)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sctir", description="Self-consistency with tool-integrated reasoning.")
    parser.add_argument("--version", action="version", version=f"sctir {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    dry = commands.add_parser("dry-run", help="answer problems through a mock of the competition's API")
    dry.add_argument(
        "--problems", type=Path, default=problem_sets.HELD_OUT, metavar="CSV", help="default: the embedded 50"
    )
    plain = commands.add_parser("solve", help="answer the problems of a CSV in its order")
    plain.add_argument("problems", type=Path, metavar="CSV", help="columns id, problem and, if known, answer")
    for name, command, run in (("dry-run", dry, dry_run), ("solve", plain, solve)):
        _add_options(command)
        command.set_defaults(command=run, name=name)
    _add_doctor(commands.add_parser("doctor", help="say whether this machine can run it, and what to do if not"))
    add_commands(commands)
    add_score(commands)
    add_view(commands)
    return parser


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--competition", metavar="NAME", help="aimo1, aimo2, aimo3 or a slug: also checks its files and its clock")
    add("--model", type=Path, metavar="DIR", help="a checkpoint; default: the one that is attached")
    add("--wheels", type=Path, metavar="DIR", help="offline wheels; default: those that are attached")
    add("--engine", choices=("vllm", "transformers"), default="vllm", help="what is to serve the model (%(default)s)")
    add("--json", action="store_true", help="the findings as JSON")
    parser.set_defaults(command=doctor, name="doctor")


def _add_options(parser: argparse.ArgumentParser) -> None:
    d = SolverConfig()
    add = parser.add_argument
    add("--model", type=Path, metavar="DIR", help="a checkpoint; openai: its tokenizer; default: the embedded model")
    add(
        "--engine",
        choices=("transformers", "vllm", "openai", "recorded"),
        default="transformers",
        help="openai: servers; recorded: a journal (%(default)s)",
    )
    add("--base-url", nargs="+", metavar="URL", help="completions servers of one model, http://HOST:PORT")
    add("--served-model", metavar="NAME", help="the model's name at the servers; default: the only one there")
    add(
        "--layout",
        choices=("auto", "replicas", "tensor"),
        default="auto",
        help="vLLM on several GPUs: an engine on each, or one over all; auto estimates and says why (%(default)s)",
    )
    add("--gpus", type=_positive, metavar="G", help="vLLM: the first G GPUs (all)")
    add("-n", "--candidates", type=int, default=d.candidates, metavar="N", help="candidates a problem (%(default)s)")
    add(
        "-m",
        "--turns",
        type=int,
        default=d.turns,
        metavar="M",
        help="executions a candidate; 0 runs no code (%(default)s)",
    )
    add(
        "--extra-candidates",
        type=int,
        default=d.extra_candidates,
        metavar="E",
        help="more candidates where all N leave the vote contested and time is left (%(default)s)",
    )
    add("--temperature", type=float, default=d.temperature, metavar="T", help="0 is greedy (%(default)s)")
    add(
        "--stop",
        choices=("exact", "beta", "none"),
        default=d.stop,
        help="end a problem once its vote is decided, or very probably so: beta (%(default)s)",
    )
    add(
        "--delta",
        type=float,
        default=d.stop_delta,
        dest="stop_delta",
        metavar="RISK",
        help="the risk of another answer at which beta stops (%(default)s)",
    )
    add(
        "--answers",
        choices=tuple(ANSWERS),
        default="aimo1",
        help="0..999 mod 1000, 0..99999, any integer (%(default)s)",
    )
    add(
        "--budget",
        type=_seconds,
        default="9h",
        metavar="TIME",
        help="wall clock for the run: 9h, 30m, 90 (%(default)s)",
    )
    add("--limit", type=_positive, metavar="K", help="the first K problems only")
    add("--seed", type=int, default=d.seed, help="of the sampling and of the problems' order (%(default)s)")
    add("--output", type=Path, metavar="DIR", help="where the run is kept; default: runs/, with the time in the name")
    add("--resume", action="store_true", help="go on with the run in --output")


def _seconds(text: str) -> float:
    number, unit = (text[:-1], text[-1:]) if text[-1:] in ("s", "m", "h") else (text, "")
    try:
        seconds = float(number) * UNITS[unit]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 9h, 30m or 90") from None
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} must be more than 0 seconds")
    return seconds


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 1")
    return int(text)
