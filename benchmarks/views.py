"""What it costs to confine the files of a child: rules of Landlock, a view by mounts or by links, or nothing.

`python -m benchmarks.views` compares what this machine has, in turns. The view by links is made where mounts are refused:
`python -m tests.sandbox.setting --container --no-landlock $(which python) -m benchmarks.views`, as root.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time

from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine
from benchmarks.sandbox import latencies, rotated
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.types import UserError

WITHOUT = ((), ("landlock",), ("landlock", "view"))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="starts of each kind")
    parser.add_argument("--count", type=int, default=40, help="fresh children a round")
    args = parser.parse_args()
    costs: dict[str, list[list[float]]] = {}
    for number in range(args.rounds):
        for without in rotated(map(",".join, WITHOUT), number):
            try:
                name, *cost = measured(tuple(filter(None, without.split(","))), args.count)
            except UserError:  # an older commit knows no view
                continue
            costs.setdefault(name, []).append(cost)
    table = Table(
        "files confined by", "start s", "a fresh child ms", "close s", title=f"Medians of {args.rounds} (range)"
    )
    for kind, own in costs.items():
        cells = (f"{statistics.median(part):.2f} ({min(part):.2f}-{max(part):.2f})" for part in zip(*own, strict=True))
        table.add_row(kind, *cells)
    Console().print(table)
    print(machine("views", options=f"--rounds {args.rounds} --count {args.count}"))


def measured(without: tuple[str, ...], count: int) -> tuple[str, float, float, float]:
    """What confines the files; seconds to start, median milliseconds of print(1) in a fresh child, seconds to close."""
    started = time.perf_counter()
    sandbox = Sandbox(workers=2, stateful=False, without=without)
    sandbox.start()
    start = time.perf_counter() - started
    layers = {layer.name: layer for layer in sandbox.layers()}
    active = [name for name in ("landlock", "view") if name in layers and layers[name].active]
    kind = layers["view"].detail.partition(":")[0] if active == ["view"] else "".join(active) or "nothing"
    latency = statistics.median(asyncio.run(latencies(sandbox, "print(1)", count)))
    started = time.perf_counter()
    sandbox.close()
    return kind, start, latency, time.perf_counter() - started


if __name__ == "__main__":
    main()
