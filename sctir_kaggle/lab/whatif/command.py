"""The command `sctir what-if`: its arguments, and the function that resimulates recorded runs under other rules."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sctir_kaggle.options import seconds
from sctir_kaggle.outputs import check_outputs, write_output
from sctir_kaggle.settings import ANSWERS
from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from sctir_kaggle.dialects.dialect import Dialect
    from sctir_kaggle.lab.records import Records
    from sctir_kaggle.lab.whatif.clocks import ClockRule
    from sctir_kaggle.lab.whatif.orders import OrdersRow
    from sctir_kaggle.lab.whatif.rules import Choices, Rules
    from sctir_kaggle.lab.whatif.summary import Row

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

T = TypeVar("T")

WIDTH = 120
"""Characters of a line at most."""

MOST_ORDERS = 1_000_000
"""Limit of `--orders`: all outcomes are held in memory, and more would not change a mean."""


def add_what_if(commands: Commands) -> None:
    """Add the command's parser to `commands`."""
    parser = commands.add_parser("what-if", help="what recorded runs would have answered under other rules, and when")
    add = parser.add_argument
    add("runs", nargs="+", type=Path, metavar="RUN", help="a folder or its journal; several of one kind are averaged")
    add("-n", "--candidates", type=_list(_whole(1)), default=[], metavar="N,...", help="the first N candidates")
    add("-m", "--turns", type=_list(_whole(0)), default=[], metavar="M,...", help="at most M executions a candidate")
    add("--stop", type=_list(str), default=[], metavar="RULE,...", help="exact, beta, k=4, margin=3, none")
    add("--delta", type=_list(_share), default=[], metavar="RISK,...", help="the risk at which beta stops")
    add(
        "--vote",
        type=_list(str),
        default=[],
        metavar="VOTE,...",
        help="plain; or what counts less: small (answers 0 to 5), statement (numbers in it), confirmed (not printed by "
        "its code); small=0.1 sets how much it counts",
    )
    add("--modulus", type=_list(_modulus), default=[], metavar="K,...", help="reduce answers modulo K, or none")
    add(
        "--answers",
        type=_list(_one_of(*ANSWERS)),
        default=[],
        metavar="KIND,...",
        help=", ".join(ANSWERS),
    )
    add(
        "--budget", type=_list(seconds), default=[], metavar="TIME,...", help="for all problems: 9h, 1h30m, 9:00:00, 90"
    )
    add("--problem-seconds", type=_list(seconds), default=[], metavar="TIME,...", help="for each problem")
    add(
        "--orders",
        type=_whole(2),
        metavar="K",
        help="K random orders of the problems under each --budget (default: the run's)",
    )
    add(
        "--clock",
        type=_list(str),
        default=[],
        metavar="CLOCK,...",
        help="of --orders: none; equal shares; bank, ours, or bank:cap=2:draw=1:floor=60:high=15m; as published: aimo3, nemo "
        "(none,equal,bank)",
    )
    add("--csv", type=Path, metavar="FILE", help="also a line a set of rules and problem; - prints it alone")
    add("--json", type=Path, metavar="FILE", help="also the tables, as figures; - prints them alone")
    parser.set_defaults(command=what_if, name="what-if")


def what_if(args: argparse.Namespace, _: float) -> int:
    """Print the tables and write the requested files."""
    from sctir_kaggle.lab.records import read_records
    from sctir_kaggle.lab.whatif.resimulate import resimulate, results_of
    from sctir_kaggle.lab.whatif.rules import Rules, rule_sets
    from sctir_kaggle.lab.whatif.summary import left_out, notes, of_parallel, of_references, summarise
    from sctir_kaggle.lab.whatif.tables import name_of, write_csv, write_json

    choices, clocks = _choices(args), _clocks(args)
    alone = _refuse(args)
    records = read_records(args.runs)
    if args.orders and not args.budget:
        choices = replace(choices, budgets=[_budget(records)])
    recorded = Rules(config=_config(records), dialect=_dialect(records), clamps=_clamps(records))
    sets, impossible = rule_sets(recorded.config, choices, dialect=recorded.dialect, clamps=recorded.clamps)
    planned = Counter(zip(records.run.tolist(), records.seed.tolist(), strict=True))
    found = resimulate(results_of(args.runs), recorded, sets, dict(planned))
    names = [name_of(one, recorded) for one in sets]
    outcomes = dict(
        zip([f"record: {name_of(recorded, recorded)}", *names], [found.record, *found.outcomes], strict=True)
    )
    rows = [summarise(name, each) for name, each in outcomes.items()]
    orders = _orders(args, clocks, recorded, list(zip(names, sets, strict=True)))
    said = notes(rows, differing=found.differing, total=len(found.record))
    said += left_out(impossible) + (of_references(recorded, sets) if rows[0].graded else [])
    said += of_parallel(records.headers, _held(records))
    if not alone:
        _show(rows, orders, said)
    if args.csv:
        write_output(args.csv, lambda path: write_csv(path, records.runs, outcomes))
    if args.json:
        write_output(args.json, lambda path: write_json(path, rows, orders, said))
    return 0


def _show(rows: Sequence[Row], orders: Sequence[OrdersRow], said: Sequence[str]) -> None:
    """Print the tables, then the lines that explain their columns, then the caveats."""
    from sctir_kaggle.display import console
    from sctir_kaggle.lab.whatif.summary import captions
    from sctir_kaggle.lab.whatif.tables import fitted, orders_columns, rules_columns

    terminal = console()
    width = _width(terminal)
    narrow: list[str] = []
    for columns in (rules_columns(rows), *([orders_columns(orders)] if orders else [])):
        table, lost = fitted(columns, width)
        narrow += lost
        terminal.print(table, "", width=width)
    for line in captions(rows, orders):
        terminal.print(line, highlight=False, markup=False, width=width)
    if narrow:
        said = [
            *said,
            f"no room in {width} columns for {', '.join(narrow)}; a wider terminal or --json FILE shows them",
        ]
    for line in said:
        terminal.print(line, style="yellow", highlight=False, markup=False, width=width)


def _width(terminal: Console) -> int:
    """Width of the output: the terminal's, or in a pipe the one in COLUMNS."""
    given = os.environ.get("COLUMNS", "")
    piped = int(given) if given.isdecimal() and int(given) else WIDTH
    return min(WIDTH, terminal.width if sys.stdout.isatty() else piped)


def _held(records: Records) -> list[int]:
    """The number of results in each run."""
    found = Counter(records.run.tolist())
    return [found[run] for run in range(len(records.runs))]


def _orders(
    args: argparse.Namespace, clocks: Sequence[ClockRule], recorded: Rules, named: Sequence[tuple[str, Rules]]
) -> list[OrdersRow]:
    """The rows of the second table, none without `--orders`."""
    if not args.orders:
        return []
    from sctir_kaggle.lab.whatif.orders import shuffle
    from sctir_kaggle.lab.whatif.resimulate import results_of

    timed = [(name, one) for name, one in named if one.budget is not None]
    return shuffle(results_of(args.runs), recorded.config.candidates, timed, args.orders, clocks=clocks)


def _config(records: Records) -> Any:
    """The config that all runs share apart from the seed. Raises `UserError` where they differ."""
    from sctir_kaggle.lab.whatif.rules import config_of

    configs = [config_of(header) for header in records.headers]
    first = asdict(configs[0])
    for path, config in zip(records.runs[1:], configs[1:], strict=True):
        for name, value in asdict(config).items():
            if name != "seed" and value != first[name]:
                raise UserError(
                    f"{path} was recorded with {name} {value}, {records.runs[0]} with {first[name]}: give one at a time"
                )
    return configs[0]


def _dialect(records: Records) -> Dialect:
    """The dialect that all runs share. Raises `UserError` where they differ."""
    from sctir_kaggle.header import dialect_of

    found = [dialect_of(header, path) for header, path in zip(records.headers, records.runs, strict=True)]
    other = next((place for place, dialect in enumerate(found) if dialect != found[0]), None)
    if other is not None:
        raise UserError(
            f"{records.runs[other]} was recorded in the dialect {found[other].name}, {records.runs[0]} in {found[0].name}, or "
            "with another prompt: give one at a time"
        )
    return found[0]


def _clamps(records: Records) -> tuple[tuple[str, float], ...]:
    """The clock's settings that all runs share; none, that is the defaults, where they differ."""
    from sctir_kaggle.header import clamps_of

    found = {tuple(clamps_of(header).items()) for header in records.headers}
    return found.pop() if len(found) == 1 else ()


def _budget(records: Records) -> float:
    """The budget in seconds that all runs share. Raises `UserError` without one."""
    budgets = {header.get("budget") for header in records.headers}
    recorded = budgets.pop() if len(budgets) == 1 else None
    if recorded is None:
        raise UserError("--orders shuffles problems under a clock, and the record has none: say which with --budget 9h")
    return float(recorded)


def _clocks(args: argparse.Namespace) -> Sequence[ClockRule]:
    """The clocks of the second table."""
    from sctir_kaggle.lab.whatif.clocks import ClockRule
    from sctir_kaggle.lab.whatif.orders import CLOCKS

    if args.clock and not args.orders:
        raise UserError("--clock compares clocks over --orders of the problems; add --orders 10000")
    return list(dict.fromkeys(map(ClockRule.parse, args.clock))) or CLOCKS


def _choices(args: argparse.Namespace) -> Choices:
    from sctir_kaggle.lab.whatif.rules import Choices
    from sctir_kaggle.stopping import StopRule
    from sctir_kaggle.voting import VoteRule

    return Choices(
        candidates=args.candidates,
        turns=args.turns,
        stops=[StopRule.parse(text).label for text in args.stop],
        deltas=args.delta,
        votes=[VoteRule.parse(text).label for text in args.vote],
        answers=args.answers,
        moduli=args.modulus,
        budgets=args.budget,
        problem_seconds=args.problem_seconds,
    )


def _refuse(args: argparse.Namespace) -> bool:
    """Refuse what cannot be done before gigabytes are read; return whether a file goes to standard output, alone."""
    if args.orders and args.orders > MOST_ORDERS:
        raise UserError(f"--orders {args.orders}: at most {MOST_ORDERS:,}, which is more than a mean needs; give fewer")
    return check_outputs({kind: path for kind in ("csv", "json") if (path := getattr(args, kind))})


def _list(read: Callable[[str], T]) -> Callable[[str], list[T]]:
    """A type for argparse: values with commas between them, each of which makes a row."""
    return lambda text: [read(part.strip()) for part in text.split(",")]


def _one_of(*known: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in known:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(known)}")
        return text

    return read


def _whole(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least {least}")
        return int(text)

    return read


def _modulus(text: str) -> int | None:
    return None if text == "none" else _whole(1)(text)


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number; write 0.05, say") from None
