"""Summarise one configuration: accuracy and its noise, maj@k and pass@k, levels and subjects, ends, costs.

A new figure is a field of one of these classes, computed from `lab.records.Records`; `tables` shows it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from sctir_kaggle.lab.censoring import missing, uncensored
from sctir_kaggle.lab.records import STATUSES, Array, Group, Json, Records
from sctir_kaggle.lab.statistics import Floats, share_bounds, spread


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The accuracy of elected answers and of candidates, as fractions of 1."""

    problems: int
    mean: float
    """Over seeds, of each seed's share of right answers."""
    sd: float | None
    """Sample standard deviation over seeds; None with a single one."""
    low: float
    high: float
    """95 % bounds of the mean, from a bootstrap over problems."""
    seeds: dict[int, float]
    """The share of each seed."""
    one: float | None
    """pass@1 of the candidates that may be counted (see `censoring`); None where none may."""
    passed: float
    """pass@N: the share of rows with a right candidate. A lower bound where candidates are `missing`."""
    missing: int
    """Candidates cancelled because the vote was decided."""

    @property
    def loss(self) -> float:
        """Selection loss: the share of rows in which a candidate had the right answer and it was not elected."""
        return self.passed - self.mean


@dataclass(frozen=True, slots=True)
class Curve:
    """maj@k and pass@k for k = 1..K, each with the 95 % bounds of its mean over problems."""

    maj: list[float]
    maj_low: list[float]
    maj_high: list[float]
    passed: list[float]
    passed_low: list[float]
    passed_high: list[float]


@dataclass(frozen=True, slots=True)
class Cost:
    """Mean cost of a row (a problem under a seed), and totals: wall-clock seconds, tokens and executions of whole turns."""

    seconds: float
    median_seconds: float
    longest: float
    tokens: float
    executions: float
    total_seconds: float
    total_tokens: int
    total_executions: int


@dataclass(frozen=True, slots=True)
class Summary:
    """One configuration. Rows without a reference count only for `stopped`, `ended` and `cost`."""

    name: str
    runs: tuple[str, ...]
    seeds: dict[int, int]
    """Number of rows of each seed."""
    rows: int
    planned: int
    """Rows of the finished runs, as far as their headers say; else 0."""
    graded: int
    candidates: int
    accuracy: Accuracy | None
    curve: Curve | None
    levels: dict[str, Accuracy]
    subjects: dict[str, Accuracy]
    stopped: dict[str, int]
    defaults: int
    ended: dict[str, int]
    missing: int
    """Candidates cancelled because the vote was decided."""
    cost: Cost


def summarise(records: Records, group: Group) -> Summary:
    """Summarise the rows of `group`; an empty run has zeros."""
    rows = group.rows
    graded = np.array([row for row in rows if records.reference[row] is not None], np.intp)
    seeds, counts = np.unique(records.seed[rows], return_counts=True)
    return Summary(
        name=group.name,
        runs=group.runs,
        seeds=dict(zip(seeds.tolist(), counts.tolist(), strict=True)),
        rows=len(rows),
        planned=sum(_planned(header) for header in _headers(records, group)),
        graded=len(graded),
        candidates=int((records.status[rows] != 0).sum(axis=1).max(initial=0)),
        accuracy=_accuracy(records, graded) if len(graded) else None,
        curve=_curve(records, graded),
        levels=_parts(records, graded, records.levels),
        subjects=_parts(records, graded, records.subjects),
        stopped=dict(Counter(records.stopped[row] for row in rows).most_common()),
        defaults=int(records.fallback[rows].sum()),
        ended=_ended(records, rows),
        missing=int(missing(records, rows).sum()),
        cost=_cost(records, rows),
    )


def _headers(records: Records, group: Group) -> list[Json]:
    return [header for name, header in zip(records.runs, records.headers, strict=True) if name in group.runs]


def _planned(header: Json) -> int:
    return int(header.get("problem_count", 0)) * len(header.get("seeds", (0,)))


def _accuracy(records: Records, rows: Array) -> Accuracy:
    right, seeds = _right(records, rows), records.seed[rows]
    mean, sd = spread(right, seeds)
    low, high = share_bounds(right, _problems(records, rows))
    counted = uncensored(records, rows)
    return Accuracy(
        problems=len({records.problem_ids[row] for row in rows}),
        mean=mean,
        sd=sd,
        low=float(low),
        high=float(high),
        seeds={int(seed): float(right[seeds == seed].mean()) for seed in np.unique(seeds)},
        one=float(counted.passed()[:, 0].mean()) if counted.size else None,
        passed=float(records.right[rows].any(axis=1).mean()),
        missing=int(missing(records, rows).sum()),
    )


def _right(records: Records, rows: Array) -> Floats:
    return np.array([records.answer[row] == records.reference[row] for row in rows], np.float64)


def _problems(records: Records, rows: Array) -> Array:
    return np.array([records.problem_ids[row] for row in rows], str)


def _curve(records: Records, rows: Array) -> Curve | None:
    """None where some problem has no candidate that may be counted."""
    counted = uncensored(records, rows)
    if not counted.size:
        return None
    problems = _problems(records, rows)
    maj, passed = counted.maj(), counted.passed()
    bounds = (*share_bounds(maj, problems), *share_bounds(passed, problems))
    maj_low, maj_high, passed_low, passed_high = (bound.tolist() for bound in bounds)
    means = (maj.mean(axis=0).tolist(), passed.mean(axis=0).tolist())
    return Curve(means[0], maj_low, maj_high, means[1], passed_low, passed_high)


def _parts(records: Records, rows: Array, labels: list[str | None]) -> dict[str, Accuracy]:
    """Accuracy by level or subject, sorted by name; empty where the set does not say."""
    of = np.array([labels[row] or "" for row in rows], str)
    named = [label for label in np.unique(of).tolist() if label] if len(rows) else []
    return {label: _accuracy(records, rows[of == label]) for label in named}


def _ended(records: Records, rows: Array) -> dict[str, int]:
    counts = np.bincount(records.status[rows].ravel(), minlength=len(STATUSES))
    return {status: int(count) for status, count in zip(STATUSES[1:], counts[1:], strict=True)}


def _cost(records: Records, rows: Array) -> Cost:
    seconds, tokens, executions = records.seconds[rows], records.tokens[rows], records.executions[rows]
    each = max(1, len(rows))
    return Cost(
        seconds=float(seconds.sum()) / each,
        median_seconds=float(np.median(seconds)) if len(rows) else 0.0,
        longest=float(seconds.max(initial=0)),
        tokens=int(tokens.sum()) / each,
        executions=int(executions.sum()) / each,
        total_seconds=float(seconds.sum()),
        total_tokens=int(tokens.sum()),
        total_executions=int(executions.sum()),
    )
