"""The clock over shuffled orders: 10,000 simulated 9-hour runs of 50 problems, with the real `Budget` on a simulated clock.

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
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine
from sctir_kaggle.budget import Budget, Deadlines
from sctir_kaggle.config import SolverConfig
from sctir_kaggle.opening import RESERVE
from sctir_kaggle.voting import worst_overtaking

LIMIT = 9 * 3600.0
START_UP = 300.0
PROBLEMS, CANDIDATES = 50, 48
GRACE, CONTESTED = SolverConfig().grace_seconds, SolverConfig().contested_risk
RECORDED = Path(__file__).resolve().parents[2] / "shared" / "data" / "traces" / "zeroeval_math_l5_votes.jsonl.gz"

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Hardness:
    """Of each problem: the shares of its answers (place 0 is right, the last is no answer) and its time per candidate."""

    shares: Floats
    seconds: Floats


@dataclass(frozen=True)
class Draws:
    """Every draw's every problem as its candidates end: k = 0..48 of them ended, in the order of their times.

    `decided` is the first k at which the vote is exactly decided (48 at the latest).
    """

    times: Floats
    right: Flags
    contested: Flags
    decided: Ints


@dataclass(frozen=True)
class Clock:
    """A way to spend nine hours. `deadlines` is asked at the start of every problem; None is to work until all have ended."""

    name: str
    start: Callable[[Callable[[], float]], Callable[[], Deadlines]] | None


@dataclass(frozen=True)
class Outcome:
    """Right answers and the end of each run (draws x orders), and how many problems were at best left unanswered."""

    scores: Floats
    ends: Floats
    unanswered: int


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


def draw(hardness: Hardness, draws: int, load: float, rng: np.random.Generator) -> Draws:
    """Answers and times of all candidates, the times scaled to `load`."""
    times = np.sort(rng.lognormal(0.0, 0.5, (draws, PROBLEMS, CANDIDATES)) * hardness.seconds[:, None], axis=2)
    times *= load * LIMIT / times[:, :, -1].sum(axis=1).mean()
    edges = hardness.shares.cumsum(axis=1)[:, None, :-1]
    answers = (rng.random((draws, PROBLEMS, CANDIDATES, 1)) >= edges).sum(axis=3)
    return _vote(times, answers, answers_known=hardness.shares.shape[1] - 1)


def _vote(times: Floats, answers: Ints, *, answers_known: int) -> Draws:
    """The vote after every candidate: who leads, whether it is decided, whether it is contested."""
    rows = np.arange(answers[..., 0].size)
    stream = answers.reshape(len(rows), CANDIDATES)
    counts = np.zeros((len(rows), answers_known + 1), np.int64)
    leader = np.full(len(rows), -1)
    right = np.zeros((len(rows), CANDIDATES + 1), bool)
    contested = np.ones_like(right)
    decided = np.full(len(rows), CANDIDATES)
    for k in range(1, CANDIDATES + 1):
        answer = stream[:, k - 1]
        counts[rows, answer] += 1
        leader = _leader(counts, leader, answer, answers_known)
        rivals = counts[:, :answers_known].copy()
        top = np.where(leader >= 0, rivals[rows, leader], 0)
        rivals[rows[leader >= 0], leader[leader >= 0]] = -1
        decided[(top - np.maximum(0, rivals.max(axis=1)) > CANDIDATES - k) & (decided == CANDIDATES)] = k
        right[:, k] = leader == 0
        contested[:, k] = _risk(top, rivals, CANDIDATES - k) > CONTESTED
    shape = times.shape[:2]
    return Draws(times, right.reshape(*shape, -1), contested.reshape(*shape, -1), decided.reshape(shape))


def _leader(counts: Ints, leader: Ints, answer: Ints, answers_known: int) -> Ints:
    """The new leader: `answer` where it has more votes than the old one; no answer never leads."""
    rows = np.arange(len(counts))
    old = np.where(leader >= 0, counts[rows, leader], 0)
    return np.where((answer < answers_known) & (counts[rows, answer] > old), answer, leader)


def _risk(top: Ints, rivals: Ints, unfinished: int) -> Floats:
    """`voting.leader_risk` from counts: the rivals' risks (-1 is the leader itself), and that of an answer not seen yet."""
    table = _risks(unfinished)
    return np.where(top > 0, table[top[:, None], rivals].sum(axis=1) + table[top, 0], 1.0)


@cache
def _risks(unfinished: int) -> Floats:
    """By the leader's and a rival's votes; a rival of 0 votes is counted once, by the caller, and -1 not at all."""
    size = CANDIDATES + 2
    table = np.zeros((2, size, size))
    for leader in range(1, CANDIDATES + 1):
        for rival in range(min(leader, CANDIDATES - leader) + 1):
            table[int(rival == 0), leader, rival] = float(worst_overtaking(leader, rival, unfinished))
    return np.asarray(table.sum(axis=0))


def simulate(clock: Clock, draws: Draws, orders: NDArray[np.int64], rng: np.random.Generator) -> Outcome:
    """Every draw in every one of its orders."""
    shape = orders.shape[:2]
    scores, ends = np.zeros(shape), np.zeros(shape)
    unanswered = 0
    for run in np.ndindex(*shape):
        grace = rng.random(PROBLEMS) * GRACE
        scores[run], ends[run], missing = _run(clock, draws, run[0], orders[run], grace)
        unanswered = max(unanswered, missing)
    return Outcome(scores, ends, unanswered)


def _run(clock: Clock, draws: Draws, number: int, order: Ints, grace: Floats) -> tuple[float, float, int]:
    """Right answers, the end, and problems never answered: past the limit there is no submission at all."""
    now, score = START_UP, 0
    deadlines = clock.start(lambda: now) if clock.start else None
    for place, problem in enumerate(order):
        limits = deadlines() if deadlines else Deadlines(float("inf"), float("inf"))
        stop = deadlines is not None
        spent, ended, cut = _solve(draws, (number, problem), limits.soft - now, limits.hard - now, stop)
        now += spent + (grace[place] if cut and spent > 0 else 0.0)
        if now > LIMIT:
            return 0.0, now, PROBLEMS - place
        score += bool(draws.right[number, problem, ended])
    return score, now, 0


def _solve(draws: Draws, at: tuple[int, int], soft: float, hard: float, stop: bool) -> tuple[float, int, bool]:
    """Seconds, how many candidates had ended, whether a deadline cut it: the solver's rules."""
    times, last = draws.times[at], int(draws.decided[at]) if stop else CANDIDATES
    if times[last - 1] <= soft:
        return float(times[last - 1]), last, False
    ended = bisect_right(times, soft)
    contested = draws.contested[at]
    if not contested[ended]:
        return soft, ended, True
    while ended < last and contested[ended]:
        if times[ended] > hard:
            return hard, ended, True
        ended += 1
    return float(times[ended - 1]), ended, ended < last


def _equal(now: Callable[[], float]) -> Callable[[], Deadlines]:
    """A fiftieth of the time each, whatever the others leave."""
    share = (LIMIT * (1 - RESERVE) - START_UP) / PROBLEMS - GRACE

    def deadlines() -> Deadlines:
        return Deadlines(now() + share, now() + share)

    return deadlines


def _passed_on(now: Callable[[], float]) -> Callable[[], Deadlines]:
    budget = _budget(now, 1.0)

    def deadlines() -> Deadlines:
        soft = budget.next_deadline()
        return Deadlines(soft, soft)

    return deadlines


def _bank(cap: float) -> Callable[[Callable[[], float]], Callable[[], Deadlines]]:
    return lambda now: _budget(now, cap).next_deadlines


def _budget(now: Callable[[], float], cap: float) -> Budget:
    return Budget(LIMIT, PROBLEMS, reserve=RESERVE * LIMIT, grace=GRACE, cap=cap, started=0.0, clock=now)


CLOCKS = (
    Clock("none, fixed work (as published)", None),
    Clock("equal shares", _equal),
    Clock("equal shares of what is left", _passed_on),
    *(Clock(f"soft and hard deadline, cap {cap:g}", _bank(cap)) for cap in (2, 3, 5)),
)


SOURCES = {"synthetic, wrong answers pile up": piled_up, "synthetic, they scatter": scattered, "recorded": recorded}


def row(name: str, outcome: Outcome) -> str:
    """A line of the table."""
    alone = float(np.sqrt(outcome.scores.var(axis=1, ddof=1).mean()))
    spread = f"{outcome.scores.mean():.2f} | {outcome.scores.std(ddof=1):.2f} | {alone:.2f}"
    return f"| {name} | {spread} | {int((outcome.ends > LIMIT).sum())} | {outcome.unanswered} |"


def table(hardness: Hardness, title: str, load: float, draws: int, orders: int, seed: int) -> list[str]:
    """All clocks on the same runs."""
    rng = np.random.default_rng(seed)
    drawn = draw(hardness, draws, load, rng)
    shuffled = rng.permuted(np.tile(np.arange(PROBLEMS), (draws, orders, 1)), axis=2)
    heading = f"{title}, load {load:g}; with all candidates {drawn.right[:, :, -1].sum(axis=1).mean():.2f}"
    lines = [f"| {heading} | mean right of {PROBLEMS} | sd | sd of order alone | overruns | unanswered, worst run |"]
    lines.append("|---|---|---|---|---|---|")
    return [*lines, *(row(clock.name, simulate(clock, drawn, shuffled, rng)) for clock in CLOCKS), ""]


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
