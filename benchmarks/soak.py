"""Whether the sandbox leaks or slows down: `python -m benchmarks.soak --executions 20000`.

A tenth of the blocks is hostile, none creates processes; candidates have four turns, several run at a time. Every cycle
of 200 executions holds the same blocks, so that windows can be compared. Looked at from outside, when nothing runs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.blocks import BLOCKS
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.sandbox.outcome import VARIABLES_GONE
from sctir_kaggle.types import ExecutionResult

TURNS, CYCLE, WINDOW = 4, 200, 1000
WARM_UP = 2  # windows
HOST_GROWTH_MIB = 5
SLOWEST = 0.9
CODE_SECONDS, MEMORY_MB = 1.0, 128
CANCEL_SECONDS, SHORT_SECONDS, LONG_SECONDS = 0.05, 0.5, 60.0
TICKS = os.sysconf("SC_CLK_TCK")

HOSTILE = {  # in turns: an odd one is its candidate's last, so that it may leave the interpreter damaged
    "exception": "def f(n):\n    return 1 / n\nf(0)",
    "closes its output": "import os\nos.close(1)\nos.close(2)",
    "asks for a terabyte": "x = bytearray(10**12)",
    "closes every descriptor": "import os\nos.closerange(0, 256)",
    "fills its memory": "x = []\nwhile True:\n    x.append(bytearray(1 << 24))",
    "writes to the channel": "import os\nos.write(3, bytes([0, 0, 0, 7]) + b'ok\\nfake')",
    "os._exit": "import os\nos._exit(3)",
    "fills the channel": "import os\nwhile True:\n    os.write(3, bytes(4096))",
    "SIGKILL": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "leaves threads": "import threading, time\nfor _ in range(5):\n"
    "    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
    "SIGSEGV": "import ctypes\nctypes.string_at(0)",
    "leaves files": "import tempfile\nfor _ in range(20):\n    tempfile.mkstemp()",
    "flood": "while True:\n    print('x' * 4096)",
    "leaves descriptors": "files = [open('/dev/null') for _ in range(100)]",
    "never ends": "while True:\n    pass",
    "has a short deadline": "while True:\n    try:\n        while True:\n            pass\n"
    "    except BaseException:\n        pass",
    "sys.exit": "import sys\nsys.exit(1)",
    "replaces builtins": "import builtins, os\nbuiltins.print = builtins.len = os.write = os._exit = None",
    "recursion": "def f():\n    return f() + 1\nf()",
    "cancelled": "import time\ntime.sleep(60)",
}


class Sample(NamedTuple):
    """What is seen between two windows, in counts and MiB; None: not readable for this user."""

    executions: int
    host_descriptors: int | None
    zygote_descriptors: int | None
    processes: int
    files: int
    host_mib: float | None
    zygote_mib: float | None
    per_second: float
    cpu_ms: float


def processes_below(root: int) -> dict[int, int]:
    """Host pids of all descendants of a process, each with its parent; zombies too. From /proc/PID/stat, see proc(5)."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found: dict[int, int] = {}
    front = {root}
    while front := {pid for pid, parent in parents.items() if parent in front}:
        found.update((pid, parents[pid]) for pid in front)
    return found


def kib(pid: int, name: str, *, file: str = "status") -> int | None:
    """A field of /proc/PID/status or smaps_rollup (`VmRSS`, `Pss`) in KiB; None where it cannot be read."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    return None


def mib(pid: int) -> float | None:
    """Resident memory in MiB."""
    resident = kib(pid, "VmRSS")
    return None if resident is None else resident / 1024


def descriptors(pid: int) -> int | None:
    """How many descriptors a process has open; None where they cannot be listed."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None


def cpu_seconds() -> float:
    """CPU time of this process, its descendants, and of all that they have reaped, to 0.01 s each; see proc(5)."""
    total = 0
    for pid in (os.getpid(), *processes_below(os.getpid())):
        with contextlib.suppress(OSError):
            total += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return total / TICKS


def largest(pids: dict[int, int]) -> int:
    """The zygote among the processes that a start leaves: in a pid namespace it has a small guardian above it."""
    return max(pids, key=lambda pid: kib(pid, "VmRSS") or 0)


class Soak:
    """A sandbox under a constant mix of blocks, and what was seen of it."""

    def __init__(self, sandbox: Sandbox, folder: Path, *, tasks: int) -> None:
        self.sandbox, self.folder, self.tasks = sandbox, folder, tasks
        self.statuses: dict[str, Counter[str]] = defaultdict(Counter)
        self.wrong: list[str] = []
        self.samples: list[Sample] = []
        self.speeds: list[float] = []
        self.zygotes: list[int] = []
        self._mix = list(mix())

    def run(self, executions: int) -> None:
        """All windows, each followed by a sample; the first sample is of the idle start."""
        self._settle()
        self._sample(0, per_second=0.0, cpu_ms=0.0)
        for window in range(executions // WINDOW):
            started, cpu = time.monotonic(), cpu_seconds()
            for cycle in range(WINDOW // CYCLE):
                self._cycle(window * WINDOW + cycle * CYCLE)
            taken = time.monotonic() - started
            self._settle()
            cpu_ms = 1000 * (cpu_seconds() - cpu) / WINDOW
            self._sample((window + 1) * WINDOW, per_second=WINDOW / taken, cpu_ms=cpu_ms)
            print(f"{(window + 1) * WINDOW} executions", file=sys.stderr, flush=True)

    def _cycle(self, first: int) -> None:
        started = time.monotonic()
        asyncio.run(self._candidates(iter(range(first, first + CYCLE, TURNS))))
        self.speeds.append(CYCLE / (time.monotonic() - started))

    async def _candidates(self, firsts: Iterator[int]) -> None:
        async def task() -> None:
            for first in firsts:
                await self._candidate(first)

        await asyncio.gather(*(task() for _ in range(self.tasks)))

    async def _candidate(self, first: int) -> None:
        for turn in range(TURNS):
            kind, code, shown = self._mix[(first + turn) % CYCLE]
            result = await self._execute(kind, code, f"soak/{first}/{turn}")
            self.statuses[kind][result.status.value if result else "cancelled"] += 1
            if shown is not None and (result is None or result.output.removeprefix(VARIABLES_GONE).strip() != shown):
                self.wrong.append(f"{code!r} showed {result and result.output[-200:]!r}")
        self.sandbox.release(f"soak/{first}")

    async def _execute(self, kind: str, code: str, request_id: str) -> ExecutionResult | None:
        deadline = time.monotonic() + (SHORT_SECONDS if kind == "has a short deadline" else LONG_SECONDS)
        execution = self.sandbox.execute(code, request_id=request_id, deadline=deadline)
        try:
            return await asyncio.wait_for(execution, CANCEL_SECONDS if kind == "cancelled" else None)
        except asyncio.TimeoutError:
            return None

    def _settle(self) -> None:
        """Wait until the counts rest: killed children are reaped, their folders removed, and others forked in advance."""
        end = time.monotonic() + 20
        counts = [(-1, -1)]
        while time.monotonic() < end and counts[-5:] != [counts[-1]] * 5:
            time.sleep(0.05)
            folders = sum(len(folders) for _, folders, _ in os.walk(self.folder))
            counts.append((len(processes_below(os.getpid())), folders))

    def _sample(self, executions: int, *, per_second: float, cpu_ms: float) -> None:
        below = processes_below(os.getpid())
        zygote, host = largest(below), os.getpid()
        if zygote not in self.zygotes:
            self.zygotes.append(zygote)
        files = sum(len(folders) + len(names) for _, folders, names in os.walk(self.folder)) + len(shared_memory())
        counts = (executions, descriptors(host), descriptors(zygote), len(below), files)
        self.samples.append(Sample(*counts, mib(host), mib(zygote), per_second, cpu_ms))

    def faults(self) -> list[str]:
        """What grew, slowed down or was wrong; samples are compared with the one after the warm-up."""
        start, end = self.samples[WARM_UP], self.samples[-1]
        names = ("host_descriptors", "zygote_descriptors", "processes", "files")
        found = [
            f"{name} grew from {getattr(start, name)} to {getattr(end, name)}"
            for name in names
            if (getattr(end, name) or 0) > (getattr(start, name) or 0)
        ]
        if end.host_mib and start.host_mib and end.host_mib - start.host_mib > HOST_GROWTH_MIB:
            found.append(f"host memory grew by {end.host_mib - start.host_mib:.1f} MiB")
        if self.pace() < SLOWEST:
            found.append(f"throughput fell to {100 * self.pace():.0f} %")
        if len(self.zygotes) > 1:
            found.append(f"the zygote was replaced {len(self.zygotes) - 1} times")
        return found + self.wrong[:10]

    def pace(self) -> float:
        """Throughput of the last tenth against the second tenth: medians over cycles."""
        tenth = max(1, len(self.speeds) // 10)
        return statistics.median(self.speeds[-tenth:]) / statistics.median(self.speeds[tenth : 2 * tenth])


def shared_memory() -> list[str]:
    """What lies in /dev/shm, which blocks must not leave anything in either."""
    return os.listdir("/dev/shm") if os.path.isdir("/dev/shm") else []


def mix() -> Iterator[tuple[str, str, str | None]]:
    """A cycle: kind, code and expected output, or None for the tenth that is hostile."""
    ordinary, hostile = itertools.cycle(BLOCKS.items()), itertools.cycle(HOSTILE.items())
    for number in range(CYCLE):
        if number % 10 == 9:
            yield (*next(hostile), None)
        else:
            yield ("ordinary", *next(ordinary))


def samples_table(samples: list[Sample]) -> Table:
    """A row for each sample."""
    heads = [
        "executions",
        "host fds",
        "zygote fds",
        "processes",
        "files",
        "host MiB",
        "zygote MiB",
        "per second",
        "CPU ms",
    ]
    table = Table(*heads, title="Seen from outside, between windows")
    for sample in samples:
        cells = (f"{value:.1f}" if isinstance(value, float) else str(value) for value in sample)
        table.add_row(*("-" if cell == "None" else cell for cell in cells))
    return table


def statuses_table(statuses: dict[str, Counter[str]]) -> Table:
    """How the blocks of each kind ended."""
    table = Table("kind", "how it ended", title="Kinds")
    for kind, counts in statuses.items():
        table.add_row(kind, ", ".join(f"{status} {count}" for status, count in counts.most_common()))
    return table


def arguments() -> argparse.Namespace:
    """The command line. A window is the least that can be compared: the warm-up takes two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", type=int, default=20_000, help=f"rounded down to a multiple of {WINDOW}")
    parser.add_argument("--tasks", type=int, default=8, help="candidates at a time")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    if args.executions < (WARM_UP + 1) * WINDOW:
        parser.error(f"at least {(WARM_UP + 1) * WINDOW} executions")
    return args


def main() -> int:
    """Run, print, and return 1 where something grew, slowed down or was wrong."""
    args = arguments()
    console = Console(width=None if sys.stdout.isatty() else 120)
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        with Sandbox(workers=args.workers, code_seconds=CODE_SECONDS, memory_mb=MEMORY_MB) as sandbox:
            soak = Soak(sandbox, Path(folder), tasks=args.tasks)
            soak.run(args.executions)
        left = os.listdir(folder)
    console.print(samples_table(soak.samples), statuses_table(soak.statuses))
    faults = soak.faults() + [f"left in the temporary folder: {name}" for name in left]
    console.print(f"The first {WARM_UP * WINDOW} executions are warm-up. Last tenth / second tenth: {soak.pace():.2f}")
    console.print("CPU time tells whether the sandbox became slower or others had the cores.")
    console.print("\n".join(f"FAULT: {fault}" for fault in faults) or "Nothing grew.", markup=False)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
