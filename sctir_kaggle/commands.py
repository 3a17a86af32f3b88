"""The commands of `sctir`: a table, and the functions of those that have no module of their own."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctir_kaggle._version import __version__
from sctir_kaggle.budget import process_started
from sctir_kaggle.engines.registry import ENGINES
from sctir_kaggle.kaggle.commands import add_commands
from sctir_kaggle.options import FILES, add_run_options, add_settings, parse_settings
from sctir_kaggle.outputs import check_outputs, print_or_write
from sctir_kaggle.parser import Parser
from sctir_kaggle.run_command import DryRun, Solve, run_command

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command, by default the one that was typed; return its exit code."""
    typed = sys.argv[1:] if argv is None else list(argv)
    parser = _parser()
    asked = [*typed[1:2], "--help"] if typed[:1] == ["help"] else typed
    args, unknown = parser.parse_known_args(asked)
    if unknown:
        getattr(args, "parser", parser).unknown(unknown, args.others)
    if "command" not in args:
        parser.error(f"say which command: {', '.join(args.known)}")
    args.typed = typed
    # With `argv` it is called by a program, whose process is older than the command.
    started = process_started() if argv is None else time.monotonic()
    return int(args.command(args, started))


def _parser() -> Parser:
    parser = Parser(prog="sctir", description="Self-consistency with tool-integrated reasoning.")
    parser.add_argument("--version", action="version", version=f"sctir {__version__}")
    commands: Any = parser.add_subparsers(metavar="COMMAND")
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
        command.set_defaults(parser=command)  # `run` refuses unknown arguments in the command's name
    parser.set_defaults(known=list(commands.choices), others=dict(commands.choices))
    return parser


def _add_dry_run(commands: Commands) -> None:
    parser = commands.add_parser("dry-run", help="answer problems through a stand-in of the competition's API")
    add_run_options(parser)
    add_settings(parser)
    parser.set_defaults(command=lambda args, started: run_command(args, started, DryRun()), name="dry-run")


def _add_solve(commands: Commands) -> None:
    parser = commands.add_parser("solve", help="answer the problems of a file in its order")
    parser.add_argument("problems", metavar="FILE", help=FILES)
    add_run_options(parser)
    add_settings(parser, "FILE", without=("problems",))
    parser.set_defaults(elsewhere={"--problems": "the file stands alone: sctir solve FILE"})
    parser.set_defaults(command=lambda args, started: run_command(args, started, Solve()), name="solve")


def _add_settings(commands: Commands) -> None:
    parser = commands.add_parser("settings", help="every setting: its value, where it comes from, what it is")
    _add_json(parser, "the same as JSON")
    add_run_options(parser)
    add_settings(parser)
    parser.set_defaults(command=settings, name="settings")


def settings(args: argparse.Namespace, _: float) -> int:
    """Print every setting with its value and its source."""
    from sctir_kaggle.options import as_json, as_text

    check_outputs({"json": args.json} if args.json else {})
    run = parse_settings(args)
    if args.json:
        print_or_write(as_json(run), args.json)
    else:
        print(as_text(run))
    return 0


def _add_json(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--json", nargs="?", const=Path("-"), type=Path, metavar="FILE", help=f"{what}, in FILE or (-) printed"
    )


def _add_doctor(commands: Commands) -> None:
    parser = commands.add_parser("doctor", help="say whether this machine can run it, and what to do if not")
    add = parser.add_argument
    add("--competition", metavar="NAME", help="a name such as aimo3, or a slug: also checks its files and its clock")
    add(
        "--model",
        metavar="DIR",
        help="a checkpoint, of openai the tokenizer, of recorded the run; default: the checkpoint that is attached",
    )
    add("--wheels", type=Path, metavar="DIR", help="offline wheels; default: those that are attached")
    add("--engine", choices=tuple(ENGINES), default="vllm", help="the engine that will serve the model (%(default)s)")
    add(
        "--dialect", default="auto", metavar="NAME", help="a dialect's name or its TOML file; default: the checkpoint's"
    )
    _add_json(parser, "the findings as JSON")
    parser.set_defaults(command=doctor, name="doctor")


def doctor(args: argparse.Namespace, started: float) -> int:
    """Examine this machine; return 1 if anything is fatal."""
    from sctir_kaggle.kaggle.doctor import examine, report, worst

    check_outputs({"json": args.json} if args.json else {})
    findings = examine(
        args.competition,
        args.model,
        engine=args.engine,
        wheels=args.wheels,
        dialect=args.dialect,
        started=started,
    )
    if args.json:
        print_or_write(json.dumps([asdict(finding) for finding in findings], indent=2), args.json)
    elif sys.stdout.isatty():
        from sctir_kaggle.display import console
        from sctir_kaggle.kaggle.doctor import findings_table

        console().print(findings_table(findings))
    else:
        print(report(findings))
    return int(worst(findings) == "fatal")
