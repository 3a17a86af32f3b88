"""The command `sctir replay`: a validation set under several seeds, into one journal."""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctir_kaggle.options import FILES, add_run_options, add_settings, positive, seconds
from sctir_kaggle.resume import header_of
from sctir_kaggle.run_command import Kept, Request, printed, read_problems, resumable, run_command
from sctir_kaggle.settings import RunConfig
from sctir_kaggle.types import Problem, UserError

if TYPE_CHECKING:
    from sctir_kaggle.lab.replay.results import Outcome
    from sctir_kaggle.lab.replay.run import Plan

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

log = logging.getLogger("sctir_kaggle")

start = logging.getLogger("sctir_kaggle.start")

DEFAULTS = {"modulus": None, "lowest": None, "highest": None}
"""Defaults of this command: any integer is an answer."""

CLOCK = ("budget", "cap", "draw", "floor", "high")
"""Settings that are no options here: a replay has no clock for all problems."""


def add_replay(commands: Commands) -> None:
    """Add the command with its arguments."""
    parser = commands.add_parser("replay", help="solve a validation set under several seeds, into one journal")
    add = parser.add_argument
    add("set", metavar="SET", help=f"amc, aime, math4, math5; or {FILES}")
    add("--data", type=Path, metavar="DIR", help="where the sets are; default: $SCTIR_DATA, else the Hugging Face Hub")
    add("--all-rows", action="store_true", help="keep the rows of MATH whose labels are known to be wrong")
    add("--seeds", type=positive, metavar="K", help="solve each problem under K seeds (1)")
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
    clock = dict.fromkeys(
        (f"--{name}" for name in CLOCK), "a replay has no clock for all problems: --problem-seconds limits each"
    )
    parser.set_defaults(elsewhere={**clock, "--problems": "the set or the file stands alone: sctir replay SET"})
    parser.set_defaults(command=lambda args, started: run_command(args, started, Replay()), name="replay")


class Replay:
    """The mode of `run_command`: tasks of one problem and one seed each, several at once, here or on a Ray cluster."""

    defaults: Mapping[str, Any] = DEFAULTS

    def check(self, args: argparse.Namespace, run: RunConfig) -> None:
        """Raises `UserError` for options that have no effect."""
        from sctir_kaggle.lab.replay.sets import SETS

        if args.workers and not args.ray:
            raise UserError("--workers are those of a Ray cluster: add --ray [ADDRESS]")
        for option, given in (("--data", args.data), ("--all-rows", args.all_rows)):
            if given and args.set not in SETS:
                raise UserError(
                    f"{option} is for the sets {', '.join(SETS)}, and {args.set} is none of them: leave it out"
                )
        if run.solver.temperature == 0 and (args.seeds or 1) > 1:
            log.warning("at temperature 0 every seed samples the same texts: --seeds %d tells nothing more", args.seeds)

    def read_problems(self, args: argparse.Namespace, run: RunConfig) -> list[Problem]:
        """The rows of a named set, of a file, or of a data set on the Hub."""
        from sctir_kaggle.lab.replay.sets import SETS, is_file, read_set

        if args.set not in SETS and is_file(args.set):
            return read_problems(args.set, args, run)
        return read_set(args.set, data=args.data, all_rows=args.all_rows, limit=args.limit)

    def solve(self, request: Request) -> int:
        """Solve the tasks, then print a row a seed and their mean."""
        from sctir_kaggle.display import live
        from sctir_kaggle.lab.replay.cluster import replay_on_ray
        from sctir_kaggle.lab.replay.progress import Progress
        from sctir_kaggle.lab.replay.results import Outcome
        from sctir_kaggle.lab.replay.run import replay

        args, plan = request.args, _plan(request)
        known = {(outcome.problem_id, outcome.seed): outcome for outcome in map(Outcome.of, request.earlier())}
        keys = [(task.problem.id, task.seed) for task in plan.tasks]
        if all(key in known for key in keys):
            start.info("all %d tasks are in %s already", len(keys), request.journal)
            _show(request, [known[key] for key in keys])
            return 0
        progress = Progress()
        kept = Kept(request, len(plan.tasks), lambda: progress.done, lambda: progress.has_begun)
        with resumable(kept), live(progress):
            if args.ray:
                outcomes = replay_on_ray(plan, progress, address=args.ray, workers=args.workers)
            else:
                outcomes = replay(plan, progress)
        _show(request, outcomes)
        return 0


def _plan(request: Request) -> Plan:
    from sctir_kaggle.lab.replay.run import Plan

    args, run = request.args, request.run
    header = (header_of(request.folder) if args.resume else None) or {}
    first = run.solver.seed
    seeds = range(first, first + args.seeds) if args.seeds else header.get("seeds") or [first]
    return Plan(
        run=replace(run, clock=replace(run.clock, budget=math.inf)),
        folder=request.folder,
        resume=args.resume,
        problems=request.problems,
        seeds=seeds,
        parallel=args.parallel,
        seconds=args.problem_seconds or header.get("problem_seconds") or math.inf,
    )


def _show(request: Request, outcomes: list[Outcome]) -> None:
    from sctir_kaggle.display import clock_face, console
    from sctir_kaggle.lab.replay.results import mean_line, seeds_table, warnings_of

    terminal = console()
    with printed(request):
        terminal.print(seeds_table(outcomes))
        terminal.print(f"{mean_line(outcomes)} in {clock_face(request.seconds)}", highlight=False)
        for warning in warnings_of(outcomes):
            terminal.print(warning, style="yellow", markup=False, highlight=False)
        terminal.print(f"journal: {request.journal}", markup=False, highlight=False, soft_wrap=True)
