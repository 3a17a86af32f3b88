"""Recorded runs in thousands of orders of their problems, under several clocks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from sctir_kaggle.types import SolveResult, UserError
from sctir_kaggle.whatif.clock_rules import ClockRule
from sctir_kaggle.whatif.courses import Courses, Ends, courses_of, ends_of
from sctir_kaggle.whatif.orders import Outcome, shuffled, simulate
from sctir_kaggle.whatif.played import Replicate
from sctir_kaggle.whatif.rerun import rerun
from sctir_kaggle.whatif.rules import Rules

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
) -> tuple[list[npt.NDArray[np.int64]], list[Courses]]:
    """The rows of each replicate, and the courses under each set of rules."""
    places: dict[Replicate, list[int]] = {}
    ends: list[list[Ends]] = [[] for _ in rules]
    for row, (run, result) in enumerate(results):
        places.setdefault((run, result.seed), []).append(row)
        for one, found in zip(rules, ends, strict=True):
            found.append(_ends(result, first, one))
    if len({len(rows) for rows in places.values()}) != 1:
        raise UserError("the runs or seeds hold different numbers of problems; shuffle whole ones, or one at a time")
    sets = [np.array(rows) for rows in places.values()]
    return sets, [courses_of(_joined(found), one.config) for one, found in zip(rules, ends, strict=True)]


def _ends(result: SolveResult, first: int, rules: Rules) -> Ends:
    again = rerun(result, rules, first=first, soft=np.inf)
    if rules.config.extra_candidates:
        raise UserError("--orders does not know extra candidates; leave it out, or take a run without them")
    if again.cut:
        raise UserError(
            f"--orders needs to know how {result.problem.id} goes on: its record was cut ({result.stopped}); "
            "record with --stop none and a longer --budget, or keep the recorded stop and vote"
        )
    return ends_of([again.result], rules.config)


def _joined(ends: Sequence[Ends]) -> Ends:
    return Ends(*(np.concatenate([getattr(one, field.name) for one in ends]) for field in fields(Ends)))


def row_of(
    name: str,
    clock: ClockRule,
    rules: Rules,
    courses: Courses,
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
