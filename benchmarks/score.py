"""How long `sctir score` takes for a large run, and how much memory: `python -m benchmarks.score`.

A synthetic journal is written, then the command runs in a process of its own: whole wall clock, processor time (what it
would be without other processes), peak resident memory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.machine import machine
from benchmarks.synthetic import write_run


class Cost(NamedTuple):
    """Of one process: seconds of wall clock and of the processor, MiB of resident memory at the most."""

    seconds: float
    processor: float
    mebibytes: float


def cost(arguments: list[str]) -> Cost:
    """Run `sctir` with `arguments`; what it prints is thrown away, an error is not."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "sctir_kaggle", *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"sctir {' '.join(arguments)} ended with {process.returncode}")
    return Cost(time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def main() -> None:
    """Print the journal's size, then seconds and memory of each round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=10_000)
    parser.add_argument("--candidates", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal.jsonl"
        write_run(journal, problems=args.problems, candidates=args.candidates)
        print(f"{args.problems} problems x {args.candidates} candidates: {journal.stat().st_size / 1e6:,.0f} MB")
        costs = [cost(["score", folder]) for _ in range(args.rounds)]
    for one in costs:
        print(f"{one.seconds:6.1f} s, {one.processor:6.1f} s of processor, {one.mebibytes:6.0f} MiB")
    seconds = statistics.median(one.seconds for one in costs)
    print(f"median {seconds:.1f} s, at most {max(one.mebibytes for one in costs):.0f} MiB. {machine('score')}")


if __name__ == "__main__":
    main()
