"""The options of a run as they are typed: what `sctir dry-run`, `solve` and `replay` share, and what is built from them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sctir_kaggle import config as configs
from sctir_kaggle.config import SolverConfig
from sctir_kaggle.opening import Setup
from sctir_kaggle.types import UserError

ANSWERS = {"aimo1": configs.AIMO1, "aimo3": configs.AIMO3, "any": configs.MATH}

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}

CHOSEN = ("candidates", "extra_candidates", "turns", "temperature", "stop", "stop_delta")
"""Options that are None where they were not given: then a preset's value holds, or the default."""


def setup_of(args: argparse.Namespace, config: SolverConfig, *, budget: float = math.inf) -> Setup:
    """What the run is made of; raises `UserError` where options do not go together."""
    return Setup(
        config=config,
        folder=folder_of(args),
        budget=budget,
        engine=args.engine,
        model=args.model,
        layout=args.layout,
        gpus=args.gpus,
        base_url=args.base_url or (),
        served_model=args.served_model,
        resume=args.resume,
    )


def config_of(args: argparse.Namespace, preset: Mapping[str, Any] | None = None) -> SolverConfig:
    """The defaults, changed by the preset, changed by what was typed."""
    typed = {name: value for name in CHOSEN if (value := getattr(args, name)) is not None}
    return replace(ANSWERS[args.answers], **{**(preset or {}), **typed, "seed": args.seed})


def folder_of(args: argparse.Namespace) -> Path:
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


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Which model writes, and where it runs."""
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
    add("--gpus", type=positive, metavar="G", help="vLLM: the first G GPUs (all)")


def add_solver_options(parser: argparse.ArgumentParser) -> None:
    """How a problem is solved."""
    d = SolverConfig()
    add = parser.add_argument
    add("-n", "--candidates", type=int, metavar="N", help=f"candidates a problem ({d.candidates})")
    add("-m", "--turns", type=int, metavar="M", help=f"executions a candidate; 0 runs no code ({d.turns})")
    add(
        "--extra-candidates",
        type=int,
        metavar="E",
        help=f"more candidates where all N leave the vote contested and time is left ({d.extra_candidates})",
    )
    add("--temperature", type=float, metavar="T", help=f"0 is greedy ({d.temperature})")
    add(
        "--stop",
        choices=("exact", "beta", "none"),
        help=f"end a problem once its vote is decided, or very probably so: beta ({d.stop})",
    )
    add(
        "--delta",
        type=float,
        dest="stop_delta",
        metavar="RISK",
        help=f"the risk of another answer at which beta stops ({d.stop_delta})",
    )
    add(
        "--answers",
        choices=tuple(ANSWERS),
        default="aimo1",
        help="0..999 mod 1000, 0..99999, any integer (%(default)s)",
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Which problems, with which seed, kept where."""
    add = parser.add_argument
    add("--limit", type=positive, metavar="K", help="the first K problems only")
    add(
        "--seed", type=int, default=SolverConfig().seed, help="of the sampling and of the problems' order (%(default)s)"
    )
    add("--output", type=Path, metavar="DIR", help="where the run is kept; default: runs/, with the time in the name")
    add("--resume", action="store_true", help="go on with the run in --output")


def seconds(text: str) -> float:
    """`9h`, `30m`, `90` in seconds; an argparse type."""
    number, unit = (text[:-1], text[-1:]) if text[-1:] in ("s", "m", "h") else (text, "")
    try:
        value = float(number) * UNITS[unit]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 9h, 30m or 90") from None
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} must be more than 0 seconds")
    return value


def positive(text: str) -> int:
    """A whole number of at least 1; an argparse type."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 1")
    return int(text)
