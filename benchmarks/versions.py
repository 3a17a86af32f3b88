"""The sandbox of this checkout beside that of another one: `python -m benchmarks.versions FOLDER`.

One process for each checkout holds a sandbox; they take turns in small batches, in changing order, so that what else the
machine does falls on both alike. Of each kind of batch: the ratio of wall clock and of this process's CPU time, by round.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, NamedTuple

# The other checkout may lack whatever else is imported here.
from sctir_kaggle.sandbox import Sandbox

SOLVE = "x = sp.symbols('x')\nprint(sp.solve(x**3 - 7*x + 6, x))"
KINDS = {
    "a turn": ("print(1)", 40, 1, False),
    "a turn, 2 at a time": ("print(1)", 40, 2, False),
    "a turn, 16 at a time": ("print(1)", 64, 16, False),
    "a turn that solves": (SOLVE, 8, 2, False),
    "a fresh child": ("print(1)", 16, 1, True),
    "a fresh child, 2 at a time": ("print(1)", 16, 2, True),
    "a fresh child, 16 at a time": ("print(1)", 32, 16, True),
}
"""The block, how often a batch runs it, how many at a time, and whether in a fresh child each."""


class Cost(NamedTuple):
    """Milliseconds of one block: wall clock of the batch by the blocks, CPU time of this process, and median latency."""

    wall: float
    cpu: float
    latency: float


async def batch(sandbox: Sandbox, kind: str, numbers: itertools.count[int]) -> Cost:
    """Run one batch."""
    code, count, tasks, fresh = KINDS[kind]
    left, taken = iter(range(count)), []

    async def lane(number: int) -> None:
        for _ in left:
            turn = next(numbers)
            candidate = f"{turn}" if fresh else f"lane-{number}"
            started = time.perf_counter()
            await sandbox.execute(code, request_id=f"{candidate}/{turn}", deadline=time.monotonic() + 60)
            taken.append(time.perf_counter() - started)
            if fresh:
                sandbox.release(candidate)

    cpu, started = time.process_time(), time.perf_counter()
    await asyncio.gather(*map(lane, range(tasks)))
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    return Cost(1000 * wall / count, 1000 * cpu / count, 1000 * sorted(taken)[count // 2])


def serve() -> None:
    """Answer the kinds of batches on standard input with their costs."""
    with Sandbox(workers=2) as sandbox:
        numbers = itertools.count()
        loop = asyncio.new_event_loop()
        for line in sys.stdin:
            print(json.dumps(loop.run_until_complete(batch(sandbox, line.strip(), numbers))), flush=True)


class Checkout:
    """A process with the sandbox of a checkout."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve", "."],
            env={**os.environ, "PYTHONPATH": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def cost(self, kind: str) -> Cost:
        """The cost of one batch."""
        stdin, stdout = self._pipes()
        print(kind, file=stdin, flush=True)
        return Cost(*json.loads(stdout.readline()))

    def close(self) -> None:
        self._pipes()[0].close()
        self._process.wait()

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin
        assert self._process.stdout
        return self._process.stdin, self._process.stdout


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve()
        return
    from rich.console import Console
    from rich.table import Table

    from benchmarks.machine import machine

    checkouts = [Checkout(Path(__file__).resolve().parents[1]), Checkout(args.folder)]
    print(machine("versions", f"Linux {platform.release()}", f"load {os.getloadavg()[0]:.1f}"))
    title = f"this checkout against the other, {args.rounds} rounds: medians of ratios (quartiles)"
    table = Table("ms", "latency", "the other's", "ratio", "wall, ratio", "CPU of the host, ratio", title=title)
    for kind in KINDS:
        rounds: list[tuple[Cost, Cost]] = []
        for number in range(-2, args.rounds):
            order = (0, 1) if number % 2 else (1, 0)
            costs = {index: checkouts[index].cost(kind) for index in order}
            if number >= 0:
                rounds.append((costs[0], costs[1]))
        latencies = [f"{_middle([pair[side].latency for pair in rounds])[1]:.2f}" for side in (0, 1)]
        ratios = [[mine[field] / other[field] for mine, other in rounds] for field in (2, 0, 1)]
        cells = ("{1:.2f} ({0:.2f}-{2:.2f})".format(*_middle(values)) for values in ratios)
        table.add_row(kind, *latencies, *cells)
    for checkout in checkouts:
        checkout.close()
    Console(width=None if sys.stdout.isatty() else 132).print(table)


def _middle(values: list[float]) -> tuple[float, float, float]:
    """The quartiles."""
    ranked = sorted(values)
    return ranked[len(ranked) // 4], ranked[len(ranked) // 2], ranked[3 * len(ranked) // 4]


if __name__ == "__main__":
    main()
