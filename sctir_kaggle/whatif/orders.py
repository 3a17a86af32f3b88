"""Thousands of orders of the problems under a clock: what the order alone does to a score.

NuminaMath's authors held that random order makes early stopping a gamble: hard problems at the start leave too little time
for the others. Every order meets the same record here, so that clocks can be told apart. Candidates take the time that they
took when they were recorded; those that a deadline cancels are gone after `overrun`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sctir_kaggle.whatif.clocks import Clock
from sctir_kaggle.whatif.courses import Courses

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
    courses: Courses,
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


def solve(courses: Courses, rows: Ints, soft: Floats, hard: Floats) -> tuple[Floats, Ints, Flags]:
    """Seconds, how many candidates had ended, whether a deadline cut it: the solver's rules, for one problem a run."""
    ended = courses.last[rows]
    spent = courses.seconds[rows, ended]
    cut = (spent > soft) | (hard <= 0)
    if not cut.any():
        return spent, ended, cut
    late = np.flatnonzero(cut)
    spent[late], ended[late], cut[late] = _cut(courses, rows[late], soft[late], hard[late])
    return spent, ended, cut


def _cut(courses: Courses, rows: Ints, soft: Floats, hard: Floats) -> tuple[Floats, Ints, Flags]:
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
