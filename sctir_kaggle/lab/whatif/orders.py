"""Thousands of orders of the problems under a clock: what the order alone does to a score.

NuminaMath's authors held that random order makes early stopping a gamble: hard problems at the start leave too little time
for the others. Every order meets the same record here, so that clocks can be told apart. Candidates take the time that they
took when they were recorded; those that a deadline cancels are gone after `overrun`.
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
"""Places of all orders that are held in memory together."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """For every run: right answers (none where it ended after the limit: then there is no submission), the end in seconds,
    and how many problems had no vote when their time was up or were not reached."""

    scores: Ints
    ends: Floats
    unanswered: Ints


def shuffled(sets: list[Ints], orders: int, rng: np.random.Generator) -> Iterator[tuple[Ints, Ints]]:
    """Orders of one of `sets` (rows of the courses; all of one length) each, in turn: which set, and [places, orders].

    In pieces that fit in memory.
    """
    problems = np.stack(sets).astype(np.int32)
    size = max(1, AT_ONCE // problems.shape[1])
    for start in range(0, orders, size):
        which = np.arange(start, min(orders, start + size)) % len(sets)
        yield which, np.ascontiguousarray(rng.permuted(problems[which], axis=1).T)


def simulate(
    courses: VoteTrajectories,
    rows: Ints,
    clock: Clock,
    *,
    limit: float = np.inf,
    start_up: float = 0.0,
    overrun: Callable[[int], Floats] | None = None,
) -> Outcome:
    """Every run (a column of `rows`, places by runs) under a clock of its own. `overrun` draws seconds for so many runs."""
    runs = rows.shape[1]
    now, scores, unanswered = np.full(runs, start_up), np.zeros(runs, np.int64), np.zeros(runs, np.int64)
    for problems in rows:
        limits = clock.next_deadlines(now)
        spent, ended, cut = solve(courses, problems, limits.soft - now, limits.hard - now)
        late = overrun(runs) if overrun else 0.0
        now = now + spent + np.where(cut & (spent > 0), late, 0.0)
        scores += courses.right[problems, ended]
        unanswered += ~courses.voted[problems, ended] | (now > limit)
    return Outcome(np.where(now > limit, 0, scores), now, unanswered)


def solve(courses: VoteTrajectories, rows: Ints, soft: Floats, hard: Floats) -> tuple[Floats, Ints, Flags]:
    """Seconds, how many candidates had ended, whether a deadline cut it: the solver's rules, for one problem a run."""
    ended = courses.last[rows]
    spent = courses.seconds[rows, ended]
    cut = (spent > soft) | (hard <= 0)
    if not cut.any():
        return spent, ended, cut
    late = np.flatnonzero(cut)
    spent[late], ended[late], cut[late] = _cut(courses, rows[late], soft[late], hard[late])
    return spent, ended, cut


def _cut(courses: VoteTrajectories, rows: Ints, soft: Floats, hard: Floats) -> tuple[Floats, Ints, Flags]:
    """Those that were not ready by the soft deadline: at an end, or while contested on to the hard one."""
    last = courses.last[rows]
    ended = _ended_by(courses.seconds, rows, soft)
    goes_on = courses.contested[rows, ended] & (soft < hard)
    calm = np.minimum(courses.calm[rows, ended], last)
    settled = courses.seconds[rows, calm]
    in_time = goes_on & (settled <= hard)
    out_of_time = goes_on & ~in_time
    spent = np.maximum(0.0, np.where(in_time, settled, np.where(out_of_time, hard, soft)))
    ended = np.where(in_time, calm, np.where(out_of_time, _ended_by(courses.seconds, rows, hard), ended))
    return spent, ended, ~in_time | (ended < last)


def _ended_by(seconds: Floats, rows: Ints, moment: Floats) -> Ints:
    """How many candidates had ended by then, where not all had: a binary search in each row at once."""
    most = seconds.shape[1] - 1
    flat, start = seconds.reshape(-1), rows * seconds.shape[1]
    ended = np.zeros(len(rows), np.int64)
    for power in reversed(range(most.bit_length())):
        further = np.minimum(ended + (1 << power), most)
        ended = np.where(flat.take(start + further) <= moment, further, ended)
    return ended


CLOCKS = tuple(map(ClockRule, ("none", "equal", "bank")))
"""Those that are compared where none was asked for."""


@dataclass(frozen=True, slots=True)
class OrdersRow:
    """One set of rules under one clock. A run that ends after the limit is an overrun, and its score is 0.

    `order_sd` is what the order alone does: the root of the mean variance within a replicate. `sd` adds the variance between
    replicates, both as samples (n - 1), so that it is the `right_sd` of `Row` where the order does nothing. `unanswered` is
    the mean number of problems without a vote when their time was up, and those never reached.
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
    """Each of `rules` (with its name), which has a budget, in so many orders, the replicates taken in turn."""
    sets, courses = _courses(results, first, [one for _, one in rules])
    if orders < 2 * len(sets):
        raise UserError(
            f"--orders {orders}: {len(sets)} runs or seeds need two each at least; give {2 * len(sets)} or more"
        )
    rows = []
    for (name, one), course in zip(rules, courses, strict=True):
        for clock in clocks:
            rng = np.random.default_rng(seed)  # every clock and every set of rules meets the same orders
            rows.append(row_of(name, clock, one, course, sets, orders, rng))
    return rows


def _courses(
    results: Iterable[tuple[int, SolveResult]], first: int, rules: Sequence[Rules]
) -> tuple[list[npt.NDArray[np.int64]], list[VoteTrajectories]]:
    """The rows of each replicate, and the courses under each set of rules."""
    places: dict[Replicate, list[int]] = {}
    ends: list[list[CompletionOrder]] = [[] for _ in rules]
    for row, (run, result) in enumerate(results):
        places.setdefault((run, result.seed), []).append(row)
        for one, found in zip(rules, ends, strict=True):
            found.append(_ends(result, first, one))
    if len({len(rows) for rows in places.values()}) != 1:
        raise UserError("the runs or seeds hold different numbers of problems; shuffle whole ones, or one at a time")
    sets = [np.array(rows) for rows in places.values()]
    return sets, [trajectories_of(_joined(found), one.config) for one, found in zip(rules, ends, strict=True)]


def _ends(result: SolveResult, first: int, rules: Rules) -> CompletionOrder:
    again = rerun(result, rules, first=first, soft=np.inf)
    if rules.config.extra_candidates:
        raise UserError("--orders does not know extra candidates; leave it out, or take a run without them")
    if again.cut:
        raise UserError(
            f"--orders needs to know how {result.problem.id} goes on: its record was cut ({result.stopped}); "
            "record with --stop none and a longer --budget, or keep the recorded stop and vote"
        )
    return completion_order_of([again.result], rules.config)


def _joined(ends: Sequence[CompletionOrder]) -> CompletionOrder:
    return CompletionOrder(
        *(np.concatenate([getattr(one, field.name) for one in ends]) for field in fields(CompletionOrder))
    )


def row_of(
    name: str,
    clock: ClockRule,
    rules: Rules,
    courses: VoteTrajectories,
    sets: list[npt.NDArray[np.int64]],
    orders: int,
    rng: np.random.Generator,
) -> OrdersRow:
    """One set of rules, which has a budget, under one clock."""
    limit, grace = rules.budget or np.inf, rules.config.grace_seconds
    which, outcomes = [], []
    for replicates, rows in shuffled(sets, orders, rng):
        pace = clock.clock(limit, len(rows), grace, recorded=dict(rules.clamps))
        which.append(replicates)
        outcomes.append(simulate(courses, rows, pace, limit=limit, overrun=lambda runs: rng.random(runs) * grace))
    outcome = Outcome(*(np.concatenate([getattr(one, field.name) for one in outcomes]) for field in fields(Outcome)))
    return OrdersRow(name, clock.label, orders, *_figures(outcome, np.concatenate(which), limit))


def _figures(outcome: Outcome, which: npt.NDArray[np.int64], limit: float) -> tuple[float, float, float, int, float]:
    """Mean, sd, sd of the order alone, overruns, unanswered."""
    replicates = [outcome.scores[which == one] for one in np.unique(which)]
    within = float(np.mean([scores.var(ddof=1) for scores in replicates]))
    spread = math.sqrt(within + _between(replicates, within)), math.sqrt(within)
    overruns = int((outcome.ends > limit).sum())
    return float(outcome.scores.mean()), *spread, overruns, float(outcome.unanswered.mean())


def _between(replicates: Sequence[npt.NDArray[np.int64]], within: float) -> float:
    """The variance of the replicates' true means, one-way random effects: that of their means less what orders make of it."""
    if len(replicates) < 2:
        return 0.0
    means = [scores.mean() for scores in replicates]
    noise = within * float(np.mean([1 / len(scores) for scores in replicates]))
    return max(0.0, float(np.var(means, ddof=1)) - noise)
