"""The sandbox with many live candidates, and with hostile ones: `python -m benchmarks.pressure`.

`live`: turns and fresh children beside no other and beside many live children, and the first fresh child after all of these
were released at once. `storm`: candidates that fill their folders as fast as they can; how many of their siblings lose
their variables, and how long a fresh candidate waits. `limit`: turns beside live candidates where this process may open
few descriptors, with others waiting for a child.

`--against FOLDER` measures another checkout by turns with this one, a process for each round, and prints ratios by round.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

# A round runs this file with the other checkout first on the path, and that may lack whatever else is imported here.
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.types import ExecutionResult, ExecutorError

WORKERS = 2
SIBLINGS = 10
STORM = """
import os, threading
def fill(thread):
    for number in range(10**9):
        os.mkdir(f'{thread}_{number}')
threads = [threading.Thread(target=fill, args=(thread,)) for thread in range(8)]
for thread in threads: thread.start()
"""


class Lab:
    """A sandbox, and candidates by name; each call is a turn of one."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._turns = itertools.count()

    async def turn(self, candidate: str, code: str = "print(1)", *, seconds: float = 60.0) -> ExecutionResult:
        request_id = f"{candidate}/{next(self._turns)}"
        return await self.sandbox.execute(code, request_id=request_id, deadline=time.monotonic() + seconds)

    async def fresh(self, candidate: str) -> None:
        await self.turn(candidate)
        self.sandbox.release(candidate)

    async def at_a_time(self, count: int, tasks: int, call: Callable[[str], Coroutine[Any, Any, Any]]) -> float:
        """Calls a second: `count` calls, `tasks` at a time, with a name of its own each."""
        names = iter([f"many-{next(self._turns)}" for _ in range(count)])

        async def lane() -> None:
            for name in names:
                await call(name)

        started = time.perf_counter()
        await asyncio.gather(*(lane() for _ in range(tasks)))
        return count / (time.perf_counter() - started)


async def timed(count: int, call: Callable[[], Coroutine[Any, Any, Any]]) -> list[float]:
    """Milliseconds of each of `count` calls, one after the other."""
    taken = []
    for _ in range(count):
        started = time.perf_counter()
        await call()
        taken.append(1000 * (time.perf_counter() - started))
    return taken


def percentiles(name: str, taken: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(taken, n=100)
    return {f"{name}, p50 ms": statistics.median(taken), f"{name}, p99 ms": cuts[98], f"{name}, longest ms": max(taken)}


async def live(lab: Lab, *, count: int) -> dict[str, float]:
    """What turns and fresh children cost beside no and beside `count` live children."""
    figures: dict[str, float] = {}
    lanes = itertools.cycle(("one", "two"))
    for _ in range(2):
        await lab.turn(next(lanes))
    for beside in (0, count):
        await asyncio.gather(*(lab.turn(f"live-{number}") for number in range(beside)))
        await asyncio.sleep(0.5)
        where = f"beside {beside}"
        figures |= percentiles(f"a turn {where}", await timed(400, lambda: lab.turn("one")))
        figures |= percentiles(f"a fresh child {where}", await timed(100, lambda: lab.fresh("fresh")))
        figures[f"fresh children a second, 2 at a time, {where}"] = await lab.at_a_time(200, 2, lab.fresh)
        figures[f"turns a second, 2 at a time, {where}"] = await lab.at_a_time(400, 2, lambda _: lab.turn(next(lanes)))
    figures["fresh children a second, 48 at a time"] = await lab.at_a_time(192, 48, lab.fresh)
    for number in range(count):
        lab.sandbox.release(f"live-{number}")
    (figures[f"the first fresh child after {count} releases, ms"],) = await timed(1, lambda: lab.fresh("first"))
    return figures


async def storm(lab: Lab, *, count: int) -> dict[str, float]:
    """`count` candidates that fill their folders at once, beside ten that hold a variable."""
    await asyncio.gather(*(lab.turn(f"sibling-{number}", f"x = {number}") for number in range(SIBLINGS)))
    attackers = [asyncio.ensure_future(lab.turn(f"attacker-{number}", STORM)) for number in range(count)]
    await asyncio.sleep(0.05)
    during = await timed(1, lambda: lab.turn("during"))
    results = await asyncio.gather(*attackers)
    after = await timed(1, lambda: lab.turn("after"))
    shown = [await lab.turn(f"sibling-{number}", "print(x)") for number in range(SIBLINGS)]
    lost = sum(result.output != f"{number}\n" for number, result in enumerate(shown))
    stopped = sum(result.status.value == "output_limit" for result in results)
    return {
        f"siblings that lost their variables, of {SIBLINGS}": lost,
        f"attackers stopped, of {count}": stopped,
        "a fresh child during the storm, ms": during[0],
        "a fresh child after it, ms": after[0],
    }


async def limit(lab: Lab, *, count: int) -> dict[str, float]:
    """Turns of a candidate beside `count` others, while ten more wait for a child that may not come."""

    async def first(name: str) -> bool:
        try:
            return (await lab.turn(name, seconds=20)).output == "1\n"
        except ExecutorError:
            return False

    ran = await asyncio.gather(*(first(f"live-{number}") for number in range(count)))
    waiting = [asyncio.ensure_future(first(f"more-{number}")) for number in range(10)]
    await asyncio.sleep(0.3)
    figures = percentiles("a turn meanwhile", await timed(400, lambda: lab.turn("live-0")))
    return {
        f"first turns that ran, of {count}": sum(ran),
        **figures,
        "and of 10 more": sum(await asyncio.gather(*waiting)),
    }


PARTS = {"live": (live, 480, 2), "storm": (storm, 8, 9), "limit": (limit, 300, 2)}
"""The measurement, its usual count, and its workers."""


async def measure(part: str, count: int) -> dict[str, float]:
    """The figures of one part, by this process's checkout."""
    function, _, workers = PARTS[part]
    async with Sandbox(workers=workers) as sandbox:
        return await function(Lab(sandbox), count=count)


def run_once(checkout: Path, part: str, count: int, descriptors: int) -> dict[str, float] | None:
    """The figures of one part, by the given checkout, in a process that may open `descriptors`; None where it failed."""
    command = [sys.executable, __file__, "--measure", part, "--count", str(count)]

    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
        preexec_fn=lower if descriptors else None,
    )
    if done.returncode:
        print(done.stderr[-500:], file=sys.stderr)
        return None
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, action="append", help="only this one; may be given again")
    parser.add_argument("--count", type=int, help="live children, attackers or candidates")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--descriptors", type=int, default=1024, help="hard limit of the part `limit`")
    parser.add_argument(
        "--against", type=Path, metavar="FOLDER", help="another checkout, measured by turns with this one"
    )
    parser.add_argument("--measure", choices=PARTS, help=argparse.SUPPRESS)
    return parser.parse_args()


def report(part: str, args: argparse.Namespace) -> None:
    """Measure a part by turns, and print its table."""
    from rich.console import Console
    from rich.table import Table

    from benchmarks.spread import spread

    here = Path(__file__).resolve().parents[1]
    checkouts = [path for path in (here, args.against) if path]
    count = args.count or PARTS[part][1]
    rounds: list[list[dict[str, float]]] = [[] for _ in checkouts]
    for number in range(args.rounds):
        order = [*enumerate(checkouts)]
        for index, checkout in order if number % 2 else order[::-1]:
            figures = run_once(checkout, part, count, args.descriptors if part == "limit" else 0)
            rounds[index].append(figures or {})
    heads = ["this commit"] + (["the other", "this / the other, by round"] if args.against else [])
    table = Table("", *heads, title=f"{part}, {count}: medians of {args.rounds} rounds (range)")
    for name in rounds[0][0]:
        columns = [[figures[name] for figures in own if name in figures] for own in rounds]
        cells = [spread(column, ".1f") if column else "failed" for column in columns]
        if args.against:
            pairs = [(a[name], b[name]) for a, b in zip(*rounds, strict=True) if name in a and b.get(name)]
            cells.append(spread([a / b for a, b in pairs], ".2f") if pairs else "-")
        table.add_row(name, *cells)
    Console(width=None if sys.stdout.isatty() else 132).print(table)


def main() -> None:
    """Print the tables, or the figures of one measurement as JSON."""
    args = arguments()
    if args.measure:
        print(json.dumps(asyncio.run(measure(args.measure, args.count))))
        return
    from benchmarks.machine import machine

    print(machine("pressure", f"Linux {platform.release()}", f"load {os.getloadavg()[0]:.1f}"))
    for part in args.part or PARTS:
        report(part, args)


if __name__ == "__main__":
    main()
