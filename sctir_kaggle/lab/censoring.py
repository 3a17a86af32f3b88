"""Which candidates of a run may be counted for maj@k and pass@k, when the rest was cancelled.

A candidate that was cancelled because the vote was decided is missing: nobody knows what it would have answered. And when
that happened depends on the answers, so that of the candidates that ended too many are the leader's. The first K that
ended of each problem, K the same for all, are free of that; what is left is that quick candidates may be better than slow
ones, and that nothing is known beyond K. One that the deadline cut had no answer in time and counts as one without.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sctir_kaggle.lab.records import STATUSES, Array, Records
from sctir_kaggle.lab.statistics import Floats, maj_curve, pass_curve
from sctir_kaggle.stopping import AT_A_RISK

BY_VOTE = ("exact", *AT_A_RISK)
"""Why a problem stopped, where the candidates' answers were the reason."""

_CANCELLED = STATUSES.index("cancelled")


@dataclass(frozen=True, slots=True, eq=False)
class Uncensored:
    """K candidates of each of some rows, in the order in which they ended. `votes` [R, K] as in `Records`, -1 is none."""

    votes: npt.NDArray[np.int32]
    right: Array
    """[R]: the index of the right answer, -1 where nobody gave it."""
    precedence: Array | None
    """[R, answers]: the higher wins a tie; None where the lowest candidate number does."""
    default_right: npt.NDArray[np.bool_]
    """[R]: whether the default, elected where nobody votes, is right."""

    @property
    def size(self) -> int:
        return int(self.votes.shape[1])

    def maj(self) -> Floats:
        """maj@k for k = 1..K: [R, K]."""
        return maj_curve(self.votes, self.right, precedence=self.precedence, default_right=self.default_right)

    def passed(self) -> Floats:
        """pass@k for k = 1..K: [R, K]."""
        correct = (self.votes == self.right[:, None]) & (self.right >= 0)[:, None]
        return pass_curve(correct.sum(axis=1), self.size)


def uncensored(records: Records, rows: Array) -> Uncensored:
    """The first K candidates that ended of each of `rows`, which have a reference and one configuration."""
    size = int(_ended(records, rows).min(initial=records.votes.shape[1])) if len(rows) else 0
    order = records.order[rows, :size]
    votes = np.where(order < 0, np.int32(-1), np.take_along_axis(records.votes[rows], order.astype(np.intp), axis=1))
    config = records.headers[records.run[rows[0]]].get("config", {}) if len(rows) else {}
    return Uncensored(
        votes,
        np.array([_place(records.choices[row], records.reference[row]) for row in rows], np.intp),
        _precedence([records.choices[row] for row in rows], config.get("tie_break", "first")),
        np.array([records.reference[row] == config.get("default_answer", 0) for row in rows], np.bool_),
    )


def missing(records: Records, rows: Array) -> npt.NDArray[np.bool_]:
    """Which candidates were cancelled because of what others had answered: [R, N]."""
    stopped = np.array([records.stopped[row] in BY_VOTE for row in rows], np.bool_)
    lost: npt.NDArray[np.bool_] = (records.status[rows] == _CANCELLED) & stopped[:, None]
    return lost


def _ended(records: Records, rows: Array) -> Array:
    """How many candidates of each row count. One that an error ended before it began has all, without an answer."""
    there = records.status[rows] != 0
    ended = (there & ~missing(records, rows)).sum(axis=1)
    return np.array(np.where(there.any(axis=1), ended, records.votes.shape[1]))


def _place(choices: list[int], reference: int) -> int:
    return choices.index(reference) if reference in choices else -1


def _precedence(choices: list[list[int]], tie_break: str) -> Array | None:
    if tie_break == "first":
        return None
    ranks = np.zeros((len(choices), max(map(len, choices), default=0)), np.int64)
    for row, answers in zip(ranks, choices, strict=True):
        order = sorted(range(len(answers)), key=answers.__getitem__, reverse=tie_break == "smallest")
        row[order] = np.arange(len(answers))
    return ranks
