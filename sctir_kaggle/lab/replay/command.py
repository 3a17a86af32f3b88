"""The command `sctir replay`, as it is typed."""

from __future__ import annotations

import argparse
import logging
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sctir_kaggle.journal import JOURNAL
from sctir_kaggle.options import add_run_options, add_settings, positive, run_of, seconds, setup_of

if TYPE_CHECKING:
    from sctir_kaggle.lab.replay.results import Outcome
    from sctir_kaggle.lab.replay.run import Plan

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

log = logging.getLogger("sctir_kaggle")

DEFAULTS = {"modulus": None, "lowest": None, "highest": None}
"""Of this command: any integer is an answer."""

CLOCK = ("budget", "cap", "draw", "floor", "high")
"""Settings that are no options here: a replay has no clock for all problems."""


def add_replay(commands: Commands) -> None:
    """Gives the command its arguments, and the function that runs it."""
    parser = commands.add_parser("replay", help="solve a validation set under several seeds, into one journal")
    add = parser.add_argument
    add("set", metavar="SET", help="amc, aime, math4, math5, or a CSV with columns id, problem, answer")
    add("--data", type=Path, metavar="DIR", help="where the sets are; default: $SCTIR_DATA, else the Hugging Face Hub")
    add("--all-rows", action="store_true", help="keep the rows of MATH whose labels are known to be wrong")
    add("--seeds", type=positive, default=1, metavar="K", help="solve each problem under K seeds (%(default)s)")
    add("--parallel", type=positive, metavar="P", help="problems at once; default: as many as the engine has room for")
    add("--problem-seconds", type=seconds, metavar="TIME", help="the longest time for a problem: 90, 10m (no limit)")
    add(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="share the work out on a Ray cluster (give it after SET; without an address: one on this machine)",
    )
    add("--workers", type=positive, metavar="W", help="of Ray, each with its own engine; default: one a GPU, or a node")
    add_run_options(parser)
    add_settings(parser, "SET", without=("problems", *CLOCK))
    parser.set_defaults(command=replay, name="replay")


def replay(args: argparse.Namespace, started: float) -> int:
    """Everything that can be refused is refused before the model is loaded and before anything is written."""
    from sctir_kaggle.lab.replay.progress import watched

    with watched() as progress:
        plan = _plan(args)
        try:
            if args.ray:
                from sctir_kaggle.lab.replay.cluster import replay_on_ray

                outcomes = replay_on_ray(plan, progress, address=args.ray, workers=args.workers)
            else:
                from sctir_kaggle.lab.replay.run import replay as replay_here

                outcomes = replay_here(plan, progress)
        except KeyboardInterrupt:
            kept = f"{progress.done} of {len(plan.tasks)} are in {plan.setup.folder / JOURNAL}"
            raise KeyboardInterrupt(f"; {kept}: --resume --output {plan.setup.folder} goes on") from None
    _show(plan, outcomes, seconds=time.monotonic() - started)
    return 0


def _plan(args: argparse.Namespace) -> Plan:
    from sctir_kaggle.lab.replay.run import Plan
    from sctir_kaggle.lab.replay.sets import read_set
    from sctir_kaggle.types import UserError

    if args.workers and not args.ray:
        raise UserError("--workers are those of a Ray cluster: add --ray [ADDRESS]")
    run = run_of(args, command=DEFAULTS)
    config, setup = run.solver, setup_of(args, run, budget=math.inf)
    problems = read_set(args.set, data=args.data, all_rows=args.all_rows, limit=args.limit)
    if config.temperature == 0 and args.seeds > 1:
        log.warning("at temperature 0 every seed samples the same texts: --seeds %d tells nothing more", args.seeds)
    return Plan(
        setup=setup,
        problems=problems,
        seeds=range(config.seed, config.seed + args.seeds),
        parallel=args.parallel,
        **({"seconds": args.problem_seconds} if args.problem_seconds else {}),
    )


def _show(plan: Plan, outcomes: list[Outcome], *, seconds: float) -> None:
    from sctir_kaggle.display import clock_face, console
    from sctir_kaggle.lab.replay.results import mean_line, seeds_table, warnings_of

    terminal = console()
    terminal.print(seeds_table(outcomes))
    terminal.print(f"{mean_line(outcomes)} in {clock_face(seconds)}", highlight=False)
    for warning in warnings_of(outcomes):
        terminal.print(f"[yellow]{warning}", highlight=False)
    terminal.print(f"journal: {plan.setup.folder / JOURNAL}", highlight=False, soft_wrap=True)
