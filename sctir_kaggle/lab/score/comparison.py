"""Paired comparison of configurations on the problems that they share: difference, 95 % interval, p-value."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sctir_kaggle.lab.records import Array, Group, Records
from sctir_kaggle.lab.statistics import bootstrap, holm, sign_flip
from sctir_kaggle.types import UserError

NOISE = 0.05
"""Differences with a larger p-value are called noise."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """`name` against `baseline` on their common problems; accuracies and `difference` are fractions of 1.

    `before` is the baseline's mean accuracy there, `low` and `high` bound the difference (95 %, bootstrap over problems),
    `better` and `worse` count problems. `p` is the two-sided p-value of a sign-flip test over problems (McNemar's exact test
    where both have one seed); several comparisons with one baseline are adjusted after Holm.
    """

    baseline: str
    name: str
    problems: int
    before: float
    difference: float
    low: float
    high: float
    better: int
    worse: int
    p: float

    @property
    def noise(self) -> bool:
        return self.p > NOISE


def compare_all(records: Records, groups: list[Group]) -> list[Comparison]:
    """Compare every group with the first; those without a common graded problem are left out.

    Raises `UserError` where two groups disagree on a problem's reference.
    """
    pairs = [_compare(records, groups[0], group) for group in groups[1:]]
    found = [pair for pair in pairs if pair is not None]
    return [replace(pair, p=p) for pair, p in zip(found, holm([pair.p for pair in found]), strict=True)]


def _compare(records: Records, baseline: Group, other: Group) -> Comparison | None:
    a, b = _tally(records, baseline.rows), _tally(records, other.rows)
    common = [id_ for id_ in a if id_ in b]
    if not common:
        return None
    for id_ in common:
        if a[id_][0] != b[id_][0]:
            raise UserError(
                f"{baseline.name} and {other.name} are no runs of one set: the reference of {id_} is {a[id_][0]} and "
                f"{b[id_][0]}; score them one at a time"
            )
    of_a, of_b = (np.array([tally[id_][1:] for id_ in common], np.int64) for tally in (a, b))
    shares = of_b[:, 0] / of_b[:, 1] - of_a[:, 0] / of_a[:, 1]
    low, high = bootstrap(shares, np.arange(len(common)))
    return Comparison(
        baseline=baseline.name,
        name=other.name,
        problems=len(common),
        before=float((of_a[:, 0] / of_a[:, 1]).mean()),
        difference=float(shares.mean()),
        low=float(low),
        high=float(high),
        better=int((shares > 0).sum()),
        worse=int((shares < 0).sum()),
        p=sign_flip(_whole(of_b, of_a)),
    )


def _tally(records: Records, rows: Array) -> dict[str, tuple[int, int, int]]:
    """For each graded problem (reference, seeds that were right, seeds)."""
    found: dict[str, tuple[int, int, int]] = {}
    for row in rows:
        if (reference := records.reference[row]) is not None:
            _, right, seeds = found.get(records.problem_ids[row], (reference, 0, 0))
            found[records.problem_ids[row]] = (reference, right + int(records.answer[row] == reference), seeds + 1)
    return found


def _whole(of_b: Array, of_a: Array) -> Array:
    """The differences of the shares as integer multiples of a common unit, which the exact test needs: (problems,).

    `of_b` and `of_a` are (problems, 2): seeds that were right, seeds.
    """
    unit = int(np.lcm.reduce(np.concatenate([of_a[:, 1], of_b[:, 1]])))
    differences = of_b[:, 0] * (unit // of_b[:, 1]) - of_a[:, 0] * (unit // of_a[:, 1])
    return np.array(differences // max(1, int(np.gcd.reduce(differences))))
