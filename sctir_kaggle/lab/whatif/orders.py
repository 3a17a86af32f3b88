"""Thousands of random orders of the problems under a clock: what the order alone does to a score.

NuminaMath's authors held that a random order makes early stopping a gamble: hard problems at the start leave too little
time for the others. Here every order meets the same recorded candidates, so that clocks can be compared. Candidates take the
seconds that they took when they were recorded; those that a deadline cancels are gone after a random overrun.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from sctir_kaggle.lab.whatif.clocks import Clock, ClockRule
from sctir_kaggle.lab.whatif.resimulate import Replicate, rerun
from sctir_kaggle.lab.whatif.rules import Rules
from sctir_kaggle.lab.whatif.trajectories import CompletionOrder, VoteTrajectories, completion_order_of, trajectories_of
from sctir_kaggle.types import SolveResult, UserError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

AT_ONCE = 20_000_000
"""Places (problems x orders) held in memory together: 80 MB of 32-bit indices."""

CLOCKS = tuple(map(ClockRule, ("none", "equal", "bank")))
"""The clocks that are compared by default."""


@dataclass(frozen=True, slots=True)
class OrdersRow:
    """One set of rules under one clock. A run that ends after the limit is an overrun, and its score is 0.

    `right` is the mean number of right answers. `order_sd` is the effect of the order alone: the root of the mean variance
    within a replicate. `sd` adds the variance between replicates; both are sample deviations (n - 1), so that `sd` equals
    the `right_sd` of `summary.Row` where the order does nothing. `unanswered` is the mean number of problems that had no
    vote when their time was up, or were never reached.
    """

    name: str
    clock: str
    orders: int
    right: float
    sd: float
    order_sd: float
    overruns: int
    unanswered: float


def shuffle(
    results: Iterable[tuple[int, SolveResult]],
    first: int,
    rules: Sequence[tuple[str, Rules]],
    orders: int,
    seed: int = 0,
    clocks: Sequence[ClockRule] = CLOCKS,
) -> list[OrdersRow]:
    """Run each of `rules` (name, rules with a budget) under each clock in `orders` random orders of the problems.

    `results` come with the number of their run; each (run, seed) is a replicate, and replicates take turns. `first` is the
    number of candidates that a problem started with. Raises `UserError` where the record does not say enough.
    """
    sets, trajectories = _trajectories(results, first, [one for _, one in rules])
    if orders < 2 * len(sets):
        raise UserError(
            f"--orders {orders}: {len(sets)} runs or seeds need two each at least; give {2 * len(sets)} or more"
        )
    rows = []
    for (name, one), trajectory in zip(rules, trajectories, strict=True):
        for clock in clocks:
            rng = np.random.default_rng(seed)  # every clock and every set of rules meets the same orders
            rows.append(row_of(name, clock, one, trajectory, sets, orders, rng))
    return rows


def _trajectories(
    results: Iterable[tuple[int, SolveResult]], first: int, rules: Sequence[Rules]
) -> tuple[list[Ints], list[VoteTrajectories]]:
    """The row numbers of each replicate, and the trajectories of all rows under each set of rules."""
    places: dict[Replicate, list[int]] = {}
    orders: list[list[CompletionOrder]] = [[] for _ in rules]
    for row, (run, result) in enumerate(results):
        places.setdefault((run, result.seed), []).append(row)
        for one, found in zip(rules, orders, strict=True):
            found.append(_completion_order(result, first, one))
    if len({len(rows) for rows in places.values()}) != 1:
        raise UserError("the runs or seeds hold different numbers of problems; shuffle whole ones, or one at a time")
    sets = [np.array(rows) for rows in places.values()]
    return sets, [trajectories_of(_joined(found), one.config) for one, found in zip(rules, orders, strict=True)]


def _completion_order(result: SolveResult, first: int, rules: Rules) -> CompletionOrder:
    """One result under `rules` without a deadline. Raises `UserError` where its record ends before the rules would."""
    again = rerun(result, rules, first=first, soft=np.inf)
    if rules.config.extra_candidates:
        raise UserError("--orders does not know extra candidates; leave it out, or take a run without them")
    if again.cut:
        raise UserError(
            f"--orders needs to know how {result.problem.id} goes on: its record was cut ({result.stopped}); "
            "record with --stop none and a longer --budget, or keep the recorded stop and vote"
        )
    return completion_order_of([again.result], rules.config)


def _joined(orders: Sequence[CompletionOrder]) -> CompletionOrder:
    return CompletionOrder(
        *(np.concatenate([getattr(one, field.name) for one in orders]) for field in fields(CompletionOrder))
    )


def row_of(
    name: str,
    clock: ClockRule,
    rules: Rules,
    trajectories: VoteTrajectories,
    sets: list[Ints],
    orders: int,
    rng: np.random.Generator,
) -> OrdersRow:
    """One set of rules, which has a budget, under one clock.

    `sets` holds the rows of `trajectories` of each replicate; `orders` is how many orders are drawn from `rng` in all.
    """
    limit, grace = rules.budget or np.inf, rules.config.grace_seconds
    drawn, parts = [], []
    for which, rows in shuffled(sets, orders, rng):
        pace = clock.clock(limit, len(rows), grace, recorded=dict(rules.clamps))
        drawn.append(which)
        parts.append(simulate(trajectories, rows, pace, limit=limit, overrun=lambda runs: rng.random(runs) * grace))
    runs = SimulatedRuns(*(np.concatenate([getattr(one, field.name) for one in parts]) for field in fields(parts[0])))
    which = np.concatenate(drawn)
    replicates = [runs.scores[which == one] for one in np.unique(which)]
    within = float(np.mean([scores.var(ddof=1) for scores in replicates]))
    return OrdersRow(
        name,
        clock.label,
        orders,
        right=float(runs.scores.mean()),
        sd=math.sqrt(within + _between(replicates, within)),
        order_sd=math.sqrt(within),
        overruns=int((runs.finished > limit).sum()),
        unanswered=float(runs.unanswered.mean()),
    )


def _between(replicates: Sequence[Ints], within: float) -> float:
    """Variance of the replicates' true means (one-way random effects): that of their means less what the orders add to it."""
    if len(replicates) < 2:
        return 0.0
    means = [scores.mean() for scores in replicates]
    noise = within * float(np.mean([1 / len(scores) for scores in replicates]))
    return max(0.0, float(np.var(means, ddof=1)) - noise)


def shuffled(sets: list[Ints], orders: int, rng: np.random.Generator) -> Iterator[tuple[Ints, Ints]]:
    """Draw `orders` random orders, from each of `sets` in turn; -> pieces of (set of each order (K,), rows (places, K)).

    `sets` are row numbers of the trajectories, all of one length; a piece fits in memory.
    """
    problems = np.stack(sets).astype(np.int32)
    size = max(1, AT_ONCE // problems.shape[1])
    for start in range(0, orders, size):
        which = np.arange(start, min(orders, start + size)) % len(sets)
        yield which, np.ascontiguousarray(rng.permuted(problems[which], axis=1).T)


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedRuns:
    """K simulated runs, an array of (K,) each.

    `scores` are right answers, 0 where the run ended after the limit: then there is no submission. `finished` is the time
    of the end in seconds. `unanswered` counts problems that had no vote when their time was up, or were not reached.
    """

    scores: Ints
    finished: Floats
    unanswered: Ints


def simulate(
    trajectories: VoteTrajectories,
    rows: Ints,
    clock: Clock,
    *,
    limit: float = np.inf,
    start_up: float = 0.0,
    overrun: Callable[[int], Floats] | None = None,
) -> SimulatedRuns:
    """Simulate K runs, one per column of `rows` (places, K), whose entries are rows of `trajectories`.

    `clock` keeps the time of all runs at once, from `start_up` seconds on. `overrun` draws the seconds, one per run, that
    cancelled candidates take after a deadline. A run that ends after `limit` seconds scores 0.
    """
    runs = rows.shape[1]
    now, scores, unanswered = np.full(runs, start_up), np.zeros(runs, np.int64), np.zeros(runs, np.int64)
    for problems in rows:
        limits = clock.next_deadlines(now)
        spent, ended, cut = apply_deadlines(trajectories, problems, limits.soft - now, limits.hard - now)
        late = overrun(runs) if overrun else 0.0
        # Candidates cancelled at a deadline hold the machine a little longer; where none started, none is cancelled.
        now = now + spent + np.where(cut & (spent > 0), late, 0.0)
        scores += trajectories.right[problems, ended]
        unanswered += ~trajectories.voted[problems, ended] | (now > limit)
    return SimulatedRuns(np.where(now > limit, 0, scores), now, unanswered)


def apply_deadlines(
    trajectories: VoteTrajectories, rows: Ints, soft: Floats, hard: Floats
) -> tuple[Floats, Ints, Flags]:
    """Solve one problem in each of K runs, by the solver's rules; all arrays are (K,).

    `rows` are the problems' rows in `trajectories`, `soft` and `hard` the deadlines in seconds from the problem's start.
    Returns the seconds spent, how many candidates had ended, and whether a deadline cancelled the others.
    """
    ended = trajectories.last[rows]
    spent = trajectories.seconds[rows, ended]
    # Without time no candidate starts: such a problem is cut even where its candidates took no time.
    cut = (spent > soft) | (hard <= 0)
    if not cut.any():
        return spent, ended, cut
    late = np.flatnonzero(cut)
    spent[late], ended[late], cut[late] = _past_soft(trajectories, rows[late], soft[late], hard[late])
    return spent, ended, cut


def _past_soft(trajectories: VoteTrajectories, rows: Ints, soft: Floats, hard: Floats) -> tuple[Floats, Ints, Flags]:
    """Problems not done by the soft deadline: they stop there, or while contested go on, to the hard deadline at most."""
    last = trajectories.last[rows]
    ended = _ended_by(trajectories.seconds, rows, soft)
    goes_on = trajectories.contested[rows, ended] & (soft < hard)
    calm = np.minimum(trajectories.calm[rows, ended], last)
    settled = trajectories.seconds[rows, calm]
    in_time = goes_on & (settled <= hard)
    out_of_time = goes_on & ~in_time
    spent = np.maximum(0.0, np.where(in_time, settled, np.where(out_of_time, hard, soft)))
    ended = np.where(in_time, calm, np.where(out_of_time, _ended_by(trajectories.seconds, rows, hard), ended))
    return spent, ended, ~in_time | (ended < last)


def _ended_by(seconds: Floats, rows: Ints, moment: Floats) -> Ints:
    """How many candidates had ended by `moment`, where not all had: (K,). A binary search in all rows at once."""
    most = seconds.shape[1] - 1
    # `np.searchsorted` takes one row; here each run looks into a row of its own, one bit of the answer at a time.
    flat, start = seconds.reshape(-1), rows * seconds.shape[1]
    ended = np.zeros(len(rows), np.int64)
    for power in reversed(range(most.bit_length())):
        further = np.minimum(ended + (1 << power), most)
        ended = np.where(flat.take(start + further) <= moment, further, ended)
    return ended
