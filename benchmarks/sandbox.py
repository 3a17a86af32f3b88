"""What running a block costs, against what others do: `python -m benchmarks.sandbox`.

Four ways, two blocks at a time, interleaved round by round in changing order: a fresh `python3` with the imports that the
published notebook prepends; a pool of processes with warm imports that `exec`s in the worker (no isolation, no time limit,
every block sees what the last one left); the sandbox with a fresh child for each block; the sandbox with live
children, with and without their start. Ratios are between runs of the same blocks in the same round. Then: latency one
at a time, the cost of each layer of the confinement, and the memory of 48 live children.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import inspect
import io
import itertools
import math
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from rich.console import Console
from rich.table import Table

from benchmarks.blocks import BLOCKS
from benchmarks.machine import machine
from benchmarks.soak import cpu_seconds, kib, largest, processes_below
from benchmarks.spread import spread
from benchmarks.traces import FOLDER, LEAST, completions
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.types import ExecutionResult, ExecutionStatus

WORKERS = 2
TURNS = 4
SECONDS = 30.0
"""The limit of every way but the pool: the usual 5 s would cut blocks short where others use the machine, too."""
REPEATS = 5
"""The sandbox runs a round's blocks so often: a moment is no measurement, and the few children that it has in advance
are no help then."""

PREPENDED = "import math\nimport numpy as np\nimport sympy as sp\n"
LAYERS = ("limits", "seccomp", "landlock", "view", "namespaces", "user")
SOLVE = "x = sp.symbols('x')\nprint(sp.solve(x**3 - 7*x + 6, x))"
LIVE_CHILDREN = 48
FAST_ENOUGH = 2.0


class Way(Protocol):
    """A way to run blocks, `WORKERS` at a time. `prepare` is not timed."""

    repeats: int

    def prepare(self, count: int) -> None: ...
    def run(self, codes: list[str]) -> list[str]: ...
    def close(self) -> None: ...


class FreshInterpreters:
    """The published notebook's: a file, a process, and the last line printed if it is an expression."""

    repeats = 1

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(WORKERS)

    def prepare(self, count: int) -> None:
        """Nothing can be."""

    def run(self, codes: list[str]) -> list[str]:
        return list(self._threads.map(self._run, codes))

    def close(self) -> None:
        self._threads.shutdown()

    def _run(self, code: str) -> str:
        with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
            file.write(PREPENDED + last_line_printed(code))
            file.flush()
            with contextlib.suppress(subprocess.TimeoutExpired):
                command = [sys.executable, file.name]
                return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False).stdout
        return ""


class ProcessPool:
    """Workers with warm imports, new ones for each run: sympy's caches would still hold the last run of every block."""

    repeats = 1

    def __init__(self) -> None:
        self._pool = self._new()

    def prepare(self, count: int) -> None:
        self.close()
        self._pool = self._new()

    def run(self, codes: list[str]) -> list[str]:
        return list(self._pool.map(exec_here, codes))

    def close(self) -> None:
        self._pool.shutdown()

    def _new(self) -> ProcessPoolExecutor:
        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(WORKERS, mp_context=spawn, initializer=exec, initargs=(PREPENDED, {}))
        list(pool.map(time.sleep, [0.5] * WORKERS))
        return pool


class FreshChildren:
    """The sandbox, a child for each block."""

    repeats = REPEATS

    def __init__(self) -> None:
        self._sandbox = Sandbox(workers=WORKERS, code_seconds=SECONDS, stateful=False)
        self._sandbox.start()

    def prepare(self, count: int) -> None:
        """Nothing: children that it starts in advance are its own affair."""

    def run(self, codes: list[str]) -> list[str]:
        results = at_a_time(WORKERS, (execute(self._sandbox, code) for code in codes))
        return [result.output for result in results]

    def close(self) -> None:
        self._sandbox.close()


class LiveChildren:
    """The sandbox, four blocks in each child; new children for each run, started before it or in it."""

    repeats = REPEATS

    def __init__(self, *, started: bool) -> None:
        self._sandbox = Sandbox(workers=WORKERS, code_seconds=SECONDS)
        self._sandbox.start()
        self._started, self._runs = started, itertools.count()
        self._candidates: list[str] = []

    def prepare(self, count: int) -> None:
        run = next(self._runs)
        self._candidates = [f"{run}-{number}" for number in range(math.ceil(count / TURNS))]
        if self._started:
            at_a_time(WORKERS, (execute(self._sandbox, "1", candidate) for candidate in self._candidates))

    def run(self, codes: list[str]) -> list[str]:
        turns = [codes[start : start + TURNS] for start in range(0, len(codes), TURNS)]
        lives = (self._live(candidate, blocks) for candidate, blocks in zip(self._candidates, turns, strict=True))
        return [output for outputs in at_a_time(WORKERS, lives) for output in outputs]

    def close(self) -> None:
        self._sandbox.close()

    async def _live(self, candidate: str, codes: list[str]) -> list[str]:
        outputs = [(await execute(self._sandbox, code, candidate)).output for code in codes]
        self._sandbox.release(candidate)
        return outputs


WAYS: dict[str, Callable[[], Way]] = {
    "fresh python3 a block": FreshInterpreters,
    "process pool, warm imports": ProcessPool,
    "sandbox, a fresh child a block": FreshChildren,
    "sandbox, live children": lambda: LiveChildren(started=True),
    "sandbox, start and 4 turns of a child": lambda: LiveChildren(started=False),
}


def last_line_printed(code: str) -> str:
    """The last line in `print(...)` where it is an expression that does not print by itself."""
    *lines, last = code.splitlines()
    with contextlib.suppress(SyntaxError):
        compile(last, "", "eval")
        if not last.startswith("print"):
            last = f"print({last})"
    return "\n".join([*lines, last])


def exec_here(code: str) -> str:
    """What the block prints, in this process."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.suppress(Exception):
        exec(PREPENDED + last_line_printed(code), namespace)
    return output.getvalue()


_numbers = itertools.count()


async def execute(sandbox: Sandbox, code: str, candidate: str = "benchmark") -> ExecutionResult:
    """A block in the sandbox, under a request id of its own."""
    return await sandbox.execute(
        code, request_id=f"{candidate}/{next(_numbers)}", deadline=time.monotonic() + 2 * SECONDS
    )


def at_a_time(count: int, jobs: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Run the jobs, `count` of them at a time; results in order."""
    results: dict[int, Any] = {}

    async def worker(waiting: Iterator[tuple[int, Coroutine[Any, Any, Any]]]) -> None:
        for number, job in waiting:
            results[number] = await job

    async def work() -> None:
        waiting = iter(enumerate(jobs))
        await asyncio.gather(*(worker(waiting) for _ in range(count)))

    asyncio.run(work())
    return [results[number] for number in sorted(results)]


class Cost(NamedTuple):
    """Of one block, in milliseconds: wall clock of the whole divided by the blocks, and CPU."""

    wall: float
    cpu: float


def measure(way: Way, codes: list[str], shown: list[str] | None) -> Cost:
    """Run and check the blocks. The CPU time includes the children's end, the wall clock does not wait for it."""
    way.prepare(len(codes))
    time.sleep(0.2)
    cpu, started = cpu_seconds(), time.perf_counter()
    outputs = way.run(codes)
    wall = time.perf_counter() - started
    time.sleep(0.2)
    if shown is not None:
        check(codes, outputs, shown, by=type(way).__name__)
    return Cost(1000 * wall / len(codes), 1000 * (cpu_seconds() - cpu) / len(codes))


def check(codes: list[str], outputs: list[str], shown: list[str], *, by: str) -> None:
    """A way that does not do the work is not to be timed."""
    wrong = [code for code, output, wanted in zip(codes, outputs, shown, strict=True) if output.strip() != wanted]
    if wrong:
        raise SystemExit(f"{by} did not show what it should:\n{wrong[0]}")


def rotated(items: Iterable[str], by: int) -> list[str]:
    """The same items, another one first."""
    listed = list(items)
    return listed[by % len(listed) :] + listed[: by % len(listed)]


def compare(codes: list[str], shown: list[str] | None, *, rounds: int, subset: int) -> dict[str, list[Cost]]:
    """Costs by way, a value for each round: all ways run the same blocks of the round, some of them repeatedly."""
    ways = {name: make() for name, make in WAYS.items()}
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    for number in range(-1, rounds):  # one round to warm up
        chosen = [index % len(codes) for index in range(number * subset, (number + 1) * subset)]
        for name in rotated(ways, number):
            which = chosen * ways[name].repeats
            wanted = None if shown is None else [shown[index] for index in which]
            cost = measure(ways[name], [codes[index] for index in which], wanted)
            if number >= 0:
                costs[name].append(cost)
    for way in ways.values():
        way.close()
    return costs


def comparison_table(title: str, costs: dict[str, list[Cost]]) -> Table:
    """A row for each way; ratios by round, then their median."""
    table = Table("", "ms a block", "blocks/s", "times as fast", "CPU ms a block", "CPU ratio", title=title)
    base = next(iter(costs.values()))
    for name, own in costs.items():
        table.add_row(
            name,
            spread(cost.wall for cost in own),
            f"{1000 / statistics.median(cost.wall for cost in own):.1f}",
            spread(first.wall / cost.wall for first, cost in zip(base, own, strict=True)),
            spread(cost.cpu for cost in own),
            f"{statistics.median(first.cpu / max(cost.cpu, 0.01) for first, cost in zip(base, own, strict=True)):.1f}",
        )
    return table


def recorded_blocks(folder: Path) -> tuple[list[str], int]:
    """Fifty blocks spread over the records, first blocks only, and how many were left out as too slow for a pool.

    A pool has no time limit, so what takes longer than two seconds cannot be compared.
    """
    firsts = [
        run[0].code for name in LEAST for run in completions(folder / f"{name}.jsonl.gz") if run and run[0].code.strip()
    ]
    chosen = firsts[:: len(firsts) // 50][:50]
    with Sandbox(workers=WORKERS, code_seconds=FAST_ENOUGH, stateful=False) as sandbox:
        results = at_a_time(WORKERS, (execute(sandbox, code) for code in chosen))
    fast = [code for code, result in zip(chosen, results, strict=True) if result.status is not ExecutionStatus.TIMEOUT]
    return fast, len(chosen) - len(fast)


async def latencies(sandbox: Sandbox, code: str, count: int) -> list[float]:
    """Milliseconds from `execute` to its result, one at a time."""
    taken = []
    for _ in range(count):
        started = time.perf_counter()
        await execute(sandbox, code)
        taken.append(1000 * (time.perf_counter() - started))
    return taken


def latency_table(count: int) -> Table:
    """Percentiles of trivial blocks, alternating in tens between a live child and fresh ones."""
    table = Table(
        "one at a time, ms", "p50", "p90", "p99", title=f"Latency of print(1), {count} each, in tens by turns"
    )
    taken: dict[str, list[float]] = {"a turn in a live child": [], "a fresh child": []}
    with Sandbox(workers=WORKERS) as live, Sandbox(workers=WORKERS, stateful=False) as fresh:
        for _ in range(-1, count // 10):
            for name, sandbox in zip(taken, (live, fresh), strict=True):
                taken[name] += asyncio.run(latencies(sandbox, "print(1)", 10))
    for name, values in taken.items():
        percentiles = statistics.quantiles(values[10:], n=100)
        table.add_row(name, *(f"{percentiles[percent - 1]:.2f}" for percent in (50, 90, 99)))
    return table


def configurations() -> dict[str, tuple[str, ...]]:
    """Which layers each sandbox of the comparison does without. The view takes the place of Landlock."""
    single: dict[str, tuple[str, ...]] = {f"without {layer}": (layer,) for layer in LAYERS}
    del single["without landlock"], single["without view"]
    single |= {"a view instead of landlock": ("landlock",), "without landlock and view": ("landlock", "view")}
    return {"all layers": (), **single, "no layer": LAYERS}


def layers_table(rounds: int) -> Table | str:
    """Fresh children with each layer in turn left out: latency one at a time, wall clock and CPU of two at a time."""
    if "without" not in inspect.signature(Sandbox).parameters:
        return "The cost of each layer: not available, this sandbox cannot do without one."
    costs = layer_costs(rounds)
    table = Table(
        "a fresh child, print(1)", "p50 ms", "saves ms", "two at a time, ms", "saves ms", "CPU ms", "saves ms"
    )
    table.title = f"Layers, left out one at a time: medians of {rounds} rounds (range)"
    full = next(iter(costs.values()))
    for name, own in costs.items():
        cells = []
        for kind in range(3):
            cells.append(f"{statistics.median(cost[kind] for cost in own):.2f}")
            cells.append(spread((a[kind] - b[kind] for a, b in zip(full, own, strict=True)), ".2f"))
        table.add_row(name, *cells)
    return table


def layer_costs(rounds: int, count: int = 40) -> dict[str, list[tuple[float, float, float]]]:
    """By configuration and round: median latency, then wall clock and CPU a block with two at a time."""
    costs: dict[str, list[tuple[float, float, float]]] = {}
    with contextlib.ExitStack() as stack:
        opened = {name: stack.enter_context(sandbox_without(layers)) for name, layers in configurations().items()}
        sandboxes = {name + also_missing(sandbox): sandbox for name, sandbox in opened.items()}
        for number in range(-1, rounds):
            for name in rotated(sandboxes, number):
                latency = statistics.median(asyncio.run(latencies(sandboxes[name], "print(1)", count)))
                wall, cpu = pair_cost(sandboxes[name], count)
                if number >= 0:
                    costs.setdefault(name, []).append((latency, wall, cpu))
    return {name: costs[name] for name in sandboxes}


def also_missing(sandbox: Sandbox) -> str:
    """Layers that are not there though nobody left them out: one may need another, or the machine lacks it."""
    missing = [layer.name for layer in sandbox.layers() if layer.active is False and layer.name not in sandbox.without]
    return f" (and {', '.join(missing)})" if missing else ""


def sandbox_without(layers: tuple[str, ...]) -> Sandbox:
    """A sandbox of fresh children that does without some layers."""
    options: dict[str, Any] = {"without": layers}
    return Sandbox(workers=WORKERS, stateful=False, **options)


def pair_cost(sandbox: Sandbox, count: int) -> Cost:
    """Of trivial blocks in fresh children, two at a time."""
    time.sleep(0.1)
    cpu, started = cpu_seconds(), time.perf_counter()
    at_a_time(WORKERS, (execute(sandbox, "print(1)") for _ in range(count)))
    wall = time.perf_counter() - started
    time.sleep(0.1)
    return Cost(1000 * wall / count, 1000 * (cpu_seconds() - cpu) / count)


def memory_table() -> Table:
    """Proportional set size, which shares out what processes share, of everything below this process."""
    with Sandbox(workers=WORKERS) as sandbox:
        zygote = largest(processes_below(os.getpid()))
        at_a_time(WORKERS, (execute(sandbox, SOLVE, f"memory-{number}") for number in range(LIVE_CHILDREN)))
        sizes = {pid: kib(pid, "Pss", file="smaps_rollup") for pid in processes_below(os.getpid())}
    if None in sizes.values():
        return Table(title="Memory: this user may not read it")
    mib = {pid: (size or 0) / 1024 for pid, size in sizes.items()}
    children = sorted(size for pid, size in mib.items() if pid != zygote)[-LIVE_CHILDREN:]
    table = Table("PSS", "MiB", title=f"Memory of {LIVE_CHILDREN} live children after a solve each")
    table.add_row("these children together", f"{sum(children):.0f}")
    table.add_row("one of them", spread(children))
    table.add_row("the zygote itself", f"{mib[zygote]:.0f}")
    table.add_row("all processes together", f"{sum(mib.values()):.0f}")
    return table


def throughput(console: Console, *, folder: Path, rounds: int, subset: int) -> None:
    """The comparison of the ways, on both kinds of blocks."""
    note = f"{rounds} rounds of {subset} blocks (the sandbox: {REPEATS} times), {WORKERS} at a time: median (range)"
    console.print(
        comparison_table(
            f"Typical blocks, {note}", compare([*BLOCKS], [*BLOCKS.values()], rounds=rounds, subset=subset)
        )
    )
    if not folder.is_dir():
        console.print(f"Recorded blocks: left out, there is no {folder.name} folder beside the project.")
        return
    codes, slow = recorded_blocks(folder)
    title = f"{len(codes)} recorded blocks ({slow} left out: slower than {FAST_ENOUGH:g} s), {note}"
    console.print(comparison_table(title, compare(codes, None, rounds=rounds, subset=subset)))


PARTS = ("throughput", "latency", "layers", "memory")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--subset", type=int, default=10, help="blocks a round: a python3 for each takes half a second")
    parser.add_argument("--traces", type=Path, default=FOLDER, metavar="FOLDER")
    parser.add_argument("--latencies", type=int, default=500)
    parser.add_argument("--part", choices=PARTS, action="append", help="only this one; may be given again")
    return parser.parse_args()


def main() -> None:
    """Print the tables."""
    args = arguments()
    parts, console = args.part or PARTS, Console(width=None if sys.stdout.isatty() else 132)
    console.print(machine("sandbox", f"Linux {platform.release()}", f"load {os.getloadavg()[0]:.1f}"))
    if "throughput" in parts:
        throughput(console, folder=args.traces, rounds=args.rounds, subset=args.subset)
    if "latency" in parts:
        console.print(latency_table(args.latencies))
    if "layers" in parts:
        console.print(layers_table(args.rounds))
    if "memory" in parts:
        console.print(memory_table())


if __name__ == "__main__":
    main()
