"""How long `sctir score` takes for a large run, and how much memory: `python -m benchmarks.score`.

A synthetic journal is written, then the command runs in a process of its own: whole wall clock, processor time (what it
would be without other processes), peak resident memory.
"""

from __future__ import annotations

import argparse
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.machine import machine
from benchmarks.synthetic import write_run
from sctir_kaggle.journal import JOURNAL


class Cost(NamedTuple):
    """Of one process: seconds of wall clock and of the processor, MiB of resident memory at the most."""

    seconds: float
    processor: float
    mebibytes: float


REPORTS = """
import sys
from pathlib import Path
from sctir_kaggle.cli import main
code = main(sys.argv[1:])
sys.stderr.write(Path("/proc/self/status").read_text())
sys.exit(code)
"""
"""The command, which says itself how much memory it took: `wait4` counts what the process held before its exec too, which
is all of its parent's."""


def cost(arguments: list[str]) -> Cost:
    """Of `sctir` with `arguments`."""
    return cost_of(REPORTS, arguments)


def cost_of(program: str, arguments: list[str]) -> Cost:
    """Run a program that writes its status to standard error; what it prints is thrown away, an error is not."""
    started = time.perf_counter()
    before = _processor_seconds()
    process = subprocess.run(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    seconds, processor = time.perf_counter() - started, _processor_seconds() - before
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode}: {process.stderr}")
    peak = re.search(r"^VmHWM:\s+(\d+) kB$", process.stderr, re.MULTILINE)
    if peak is None:
        raise RuntimeError(f"this system does not say how much memory a process took: {process.stderr}")
    return Cost(seconds, processor, int(peak[1]) / 1024)


def _processor_seconds() -> float:
    """Of all processes that this one has waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print the journal's size, then seconds and memory of each round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=10_000)
    parser.add_argument("--candidates", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / JOURNAL
        write_run(journal, problems=args.problems, candidates=args.candidates)
        print(f"{args.problems} problems x {args.candidates} candidates: {journal.stat().st_size / 1e6:,.0f} MB")
        costs = [cost(["score", folder]) for _ in range(args.rounds)]
    for one in costs:
        print(f"{one.seconds:6.1f} s, {one.processor:6.1f} s of processor, {one.mebibytes:6.0f} MiB")
    seconds = statistics.median(one.seconds for one in costs)
    print(f"median {seconds:.1f} s, at most {max(one.mebibytes for one in costs):.0f} MiB. {machine('score')}")


if __name__ == "__main__":
    main()
