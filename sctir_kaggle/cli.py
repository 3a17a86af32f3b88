"""The command `sctir`: a table of commands, and one place that turns their errors into a line and an exit code."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sctir_kaggle._version import __version__
from sctir_kaggle.budget import process_started
from sctir_kaggle.engines.registry import ENGINES
from sctir_kaggle.kaggle.commands import add_commands
from sctir_kaggle.options import Parser, add_run_options, add_settings, parse_settings
from sctir_kaggle.run_command import DryRun, Solve, run_command
from sctir_kaggle.types import EngineError, ExecutorError, UserError

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0 when all is done, 1 where a run failed, 2 on what the user can fix, 130 after Ctrl-C."""
    args, unknown = _parser().parse_known_args(argv)
    if unknown:
        args.parser.unknown(unknown)
    # With `argv` it is called by a program, whose process is older than the command.
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


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = Parser(
        prog="sctir", description="Self-consistency with tool-integrated reasoning."
    )
    parser.add_argument("--version", action="version", version=f"sctir {__version__}")
    commands: Commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in (_add_dry_run, _add_solve, _add_settings, _add_doctor, add_commands):
        add(commands)
    if find_spec("sctir_kaggle.lab.replay"):  # a notebook's wheel has no lab
        from sctir_kaggle.lab.replay.command import add_replay
        from sctir_kaggle.lab.score.command import add_score
        from sctir_kaggle.lab.view.command import add_view
        from sctir_kaggle.lab.whatif.command import add_what_if

        for add in (add_replay, add_score, add_what_if, add_view):
            add(commands)
    for command in commands.choices.values():
        command.set_defaults(parser=command)  # `main` refuses unknown arguments in the command's name
    return parser


def _add_dry_run(commands: Commands) -> None:
    parser = commands.add_parser("dry-run", help="answer problems through a stand-in of the competition's API")
    add_run_options(parser)
    add_settings(parser)
    parser.set_defaults(command=lambda args, started: run_command(args, started, DryRun()), name="dry-run")


def _add_solve(commands: Commands) -> None:
    parser = commands.add_parser("solve", help="answer the problems of a CSV in its order")
    parser.add_argument("problems", metavar="CSV", help="columns id, problem and, if known, answer")
    add_run_options(parser)
    add_settings(parser, "CSV", without=("problems",))
    parser.set_defaults(command=lambda args, started: run_command(args, started, Solve()), name="solve")


def _add_settings(commands: Commands) -> None:
    parser = commands.add_parser("settings", help="every setting: its value, where it comes from, what it is")
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    add_run_options(parser)
    add_settings(parser)
    parser.set_defaults(command=settings, name="settings")


def settings(args: argparse.Namespace, _: float) -> int:
    """Print every setting with its value and its source."""
    from sctir_kaggle.options import as_json, as_text

    run = parse_settings(args)
    print(as_json(run) if args.json else as_text(run))
    return 0


def _add_doctor(commands: Commands) -> None:
    parser = commands.add_parser("doctor", help="say whether this machine can run it, and what to do if not")
    add = parser.add_argument
    add("--competition", metavar="NAME", help="a name such as aimo3, or a slug: also checks its files and its clock")
    add("--model", metavar="DIR", help="a checkpoint; default: the one that is attached")
    add("--wheels", type=Path, metavar="DIR", help="offline wheels; default: those that are attached")
    add("--engine", choices=tuple(ENGINES), default="vllm", help="the engine that will serve the model (%(default)s)")
    add(
        "--dialect", default="auto", metavar="NAME", help="a dialect's name or its TOML file; default: the checkpoint's"
    )
    add("--json", action="store_true", help="the findings as JSON")
    parser.set_defaults(command=doctor, name="doctor")


def doctor(args: argparse.Namespace, started: float) -> int:
    """Examine this machine; return 1 if anything is fatal."""
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
