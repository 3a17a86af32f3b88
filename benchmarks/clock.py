"""The clock over shuffled orders: 10,000 simulated 9-hour runs of 50 problems.

A run is a draw of every candidate's answer and time, and an order of the problems; every draw is run in several orders, so
that what the order alone does to the score can be told from what the sampling does. All clocks see the same runs.

What it assumes: 48 candidates a problem, each with an answer (or none) drawn independently from the problem's shares, and
an own lognormal time that depends on the problem's hardness but not on the answer; those that have ended do not make the
others faster; ties go to the answer that came first; a deadline is overrun by up to the grace. The shares are synthetic
(wrong answers pile up on few integers, or scatter over many), or recorded: the answers of 41 models to MATH level-5 problems
beside the project, as if they were one model's samples. `load` is what all candidates of all problems would need, on
average, over the 9 hours. More time only helps where more votes do. No figure is a forecast of a real score.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine
from sctir_kaggle.config import SolverConfig
from sctir_kaggle.lab.whatif.clocks import Clock, Equal, Limits, Shares, Unlimited
from sctir_kaggle.lab.whatif.orders import SimulatedRuns, simulate
from sctir_kaggle.lab.whatif.trajectories import CompletionOrder, Floats, Ints, VoteTrajectories, trajectories_of
from sctir_kaggle.runtime import RESERVE

LIMIT = 9 * 3600.0
START_UP = 300.0
PROBLEMS, CANDIDATES = 50, 48
CONFIG = SolverConfig(candidates=CANDIDATES)
GRACE = CONFIG.grace_seconds
RECORDED = Path(__file__).resolve().parents[2] / "shared" / "data" / "traces" / "zeroeval_math_l5_votes.jsonl.gz"


@dataclass(frozen=True)
class Hardness:
    """Of each problem: the shares of its answers (place 0 is right, the last is no answer) and its time per candidate."""

    shares: Floats
    seconds: Floats


@dataclass(frozen=True)
class Way:
    """A way to spend nine hours. `fixed` work takes no stop rule."""

    name: str
    clock: Callable[[], Clock]
    fixed: bool = False


def synthetic(rng: np.random.Generator, wrong_answers: Floats) -> Hardness:
    """Right shares from all to none; the wrong ones drawn with these Dirichlet parameters; some do not answer."""
    right = rng.beta(0.6, 1.0, PROBLEMS)
    wrong = rng.dirichlet(wrong_answers, PROBLEMS)
    silent = 0.1 + 0.3 * (1 - right)
    shares = np.column_stack([right, (1 - right)[:, None] * wrong]) * (1 - silent)[:, None]
    return Hardness(np.column_stack([shares, silent]), _seconds(right, rng))


def piled_up(rng: np.random.Generator) -> Hardness:
    """Wrong answers over a dozen integers, one of them often strong: more votes do not elect more right answers."""
    return synthetic(rng, 1 / np.arange(1.0, 13.0))


def scattered(rng: np.random.Generator) -> Hardness:
    """Wrong answers over forty integers: more votes find the right one among them."""
    return synthetic(rng, np.ones(40))


def recorded(rng: np.random.Generator) -> Hardness:
    """50 of the recorded problems, one draw of them for all runs."""
    with gzip.open(RECORDED, "rt", encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    rows = [_recorded_shares(lines[place]) for place in rng.choice(len(lines), PROBLEMS, replace=False)]
    width = max(map(len, rows)) - 1
    shares = np.array([[*row[:-1], *[0.0] * (width + 1 - len(row)), row[-1]] for row in rows])
    return Hardness(shares, _seconds(shares[:, 0], rng))


def _recorded_shares(line: dict[str, Any]) -> list[float]:
    given = [candidate["answer"] for candidate in line["candidates"]]
    wrong = {answer for answer in given if answer is not None} - {line["gt"]}
    return [given.count(answer) / len(given) for answer in (line["gt"], *sorted(wrong), None)]


def _seconds(right: Floats, rng: np.random.Generator) -> Floats:
    """Mean seconds of a candidate, in units of their own: four times as long where nobody is right, and by luck."""
    return (0.4 + 1.2 * (1 - right)) * rng.lognormal(0.0, 0.3, len(right))


def draw(hardness: Hardness, draws: int, load: float, rng: np.random.Generator) -> VoteTrajectories:
    """Answers and times of all candidates, the times scaled to `load`: a row a draw and problem."""
    times = np.sort(rng.lognormal(0.0, 0.5, (draws, PROBLEMS, CANDIDATES)) * hardness.seconds[:, None], axis=2)
    times *= load * LIMIT / times[:, :, -1].sum(axis=1).mean()
    edges = hardness.shares.cumsum(axis=1)[:, None, :-1]
    answers = (rng.random((draws, PROBLEMS, CANDIDATES, 1)) >= edges).sum(axis=3)
    return trajectories_of(
        _completion_order(times.reshape(-1, CANDIDATES), answers.reshape(-1, CANDIDATES), edges.shape[2]), CONFIG
    )


def _completion_order(times: Floats, answers: Ints, answers_known: int) -> CompletionOrder:
    """Answer 0 is right, and the last one is none. Candidates are numbered as they end, so that the first one wins a tie."""
    rows = len(times)
    return CompletionOrder(
        seconds=times,
        choices=np.where(answers < answers_known, answers, -1),
        weights=np.ones_like(times),
        numbers=np.broadcast_to(np.arange(CANDIDATES), times.shape),
        values=np.zeros((rows, CANDIDATES), np.int64),
        truth=np.zeros(rows, np.int64),
        default=np.zeros(rows, bool),
    )


def run(way: Way, trajectories: VoteTrajectories, orders: Ints, rng: np.random.Generator) -> SimulatedRuns:
    """Every draw in every one of its orders (draws x orders x places)."""
    if way.fixed:
        trajectories = replace(trajectories, last=np.full_like(trajectories.last, CANDIDATES))
    first = PROBLEMS * np.arange(len(orders))[:, None, None]
    rows = (orders + first).reshape(-1, PROBLEMS).T
    return simulate(
        trajectories, rows, way.clock(), limit=LIMIT, start_up=START_UP, overrun=lambda runs: rng.random(runs) * GRACE
    )


class PassedOn(Shares):
    """Equal shares of what is left: the budget's soft deadlines alone."""

    def next_deadlines(self, now: Floats) -> Limits:
        """No problem goes on beyond its soft deadline."""
        soft = super().next_deadlines(now).soft
        return Limits(soft, soft)


WAYS = (
    Way("none, fixed work (as published)", Unlimited, fixed=True),
    Way("equal shares", lambda: Equal((LIMIT * (1 - RESERVE) - START_UP) / PROBLEMS - GRACE)),
    Way("equal shares of what is left", lambda: PassedOn(LIMIT, PROBLEMS, reserve=RESERVE * LIMIT, grace=GRACE)),
    *(
        Way(
            f"soft and hard deadline, cap {cap:g}",
            partial(Shares, LIMIT, PROBLEMS, reserve=RESERVE * LIMIT, grace=GRACE, cap=cap),
        )
        for cap in (2, 3, 5)
    ),
)


SOURCES = {"synthetic, wrong answers pile up": piled_up, "synthetic, they scatter": scattered, "recorded": recorded}


def row(name: str, runs: SimulatedRuns, draws: int) -> str:
    """A line of the table."""
    scores = runs.scores.reshape(draws, -1)
    alone = float(np.sqrt(scores.var(axis=1, ddof=1).mean()))
    spread = f"{scores.mean():.2f} | {scores.std(ddof=1):.2f} | {alone:.2f}"
    return f"| {name} | {spread} | {int((runs.finished > LIMIT).sum())} | {runs.unanswered.max()} |"


def table(hardness: Hardness, title: str, load: float, draws: int, orders: int, seed: int) -> list[str]:
    """All clocks on the same runs."""
    rng = np.random.default_rng(seed)
    drawn = draw(hardness, draws, load, rng)
    shuffled = rng.permuted(np.tile(np.arange(PROBLEMS), (draws, orders, 1)), axis=2)
    heading = f"{title}, load {load:g}; with all candidates {drawn.right[:, -1].sum() / draws:.2f}"
    lines = [f"| {heading} | mean right of {PROBLEMS} | sd | sd of order alone | overruns | unanswered, worst run |"]
    lines.append("|---|---|---|---|---|---|")
    return [*lines, *(row(way.name, run(way, drawn, shuffled, rng), draws) for way in WAYS), ""]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--orders", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--loads", type=float, nargs="+", default=[0.9, 1.5, 3.0])
    args = parser.parse_args()
    started = time.monotonic()
    for title, source in SOURCES.items():
        if source is recorded and not RECORDED.exists():
            print(f"no recorded hardness: {RECORDED.name} is not beside the project\n")
            continue
        hardness = source(np.random.default_rng(args.seed))
        for load in args.loads:
            print("\n".join(table(hardness, title, load, args.draws, args.orders, args.seed)), flush=True)
    runs, seconds = args.draws * args.orders, time.monotonic() - started
    print(f"{runs:,} simulated runs a line, {seconds:.0f} s. {machine('clock')}")


if __name__ == "__main__":
    main()
