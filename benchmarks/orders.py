"""How long `sctir what-if --orders` shuffles: 10,000 orders of 50 problems x 48 candidates under its three clocks.

Synthetic problems (`benchmarks.clock`, wrong answers scattered) with candidates enough for three times the nine
hours, so that deadlines cut most problems, the slow case; timed from votes to figures, without reading a journal.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from benchmarks import clock
from benchmarks.machine import machine
from sctir_kaggle.lab.whatif.orders import CLOCKS, Ints, OrdersRow, row_of
from sctir_kaggle.lab.whatif.rules import Rules
from sctir_kaggle.lab.whatif.trajectories import VoteTrajectories

LOAD = 3.0
"""What all candidates of all problems would need, over the time that there is."""


def measure(trajectories: VoteTrajectories, orders: int) -> list[tuple[OrdersRow, float]]:
    """Each clock's row and its seconds."""
    rules, measured = Rules(config=clock.CONFIG, budget=clock.LIMIT * len(trajectories.last) / clock.PROBLEMS), []
    sets: list[Ints] = [np.arange(len(trajectories.last))]
    for rule in CLOCKS:
        started = time.perf_counter()
        row = row_of("synthetic", rule, rules, trajectories, sets, orders, np.random.default_rng(0))
        measured.append((row, time.perf_counter() - started))
    return measured


def main() -> None:
    """Print a line a clock."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=10_000)
    parser.add_argument("--draws", type=int, default=1, help="sets of 50 problems, each order takes all (%(default)s)")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    hardness = clock.scattered(rng)
    started = time.perf_counter()
    trajectories = clock.draw(hardness, args.draws, LOAD, rng)
    print(f"{len(trajectories.last):,} problems drawn and voted on in {time.perf_counter() - started:.2f} s")
    for row, seconds in measure(trajectories, args.orders):
        spread = f"{row.right:.2f} right, sd {row.sd:.2f}, {row.overruns:,} overruns, {row.unanswered:.2f} unanswered"
        print(f"{row.orders:,} orders, {row.clock}: {seconds:.2f} s ({spread})")
    print(machine("orders", options=f"--orders {args.orders} --draws {args.draws}"))


if __name__ == "__main__":
    main()
