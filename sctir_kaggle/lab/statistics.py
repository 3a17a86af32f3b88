"""Statistics of sampled answers: pass@k, maj@k, mean ± sd over seeds, bootstrap intervals and a paired test.

Covered: the randomness of sampling (candidates, seeds) and of which problems are in the set. Not covered: candidates that
were never sampled; `censoring` says which candidates of an early-stopped run may be counted. R is the number of rows (one
row is one problem under one seed), n the number of candidates per row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[Any]

DRAWS = 250_000
"""Random orders in all for a curve of maj@k: its Monte-Carlo error is at most 0.5 / sqrt(DRAWS), 0.1 percentage points."""

CELLS = 1 << 22
"""Votes resampled at a time, which bounds memory: about 100 MB with the intermediate arrays."""

LONGEST = 1 << 22
"""Above this many possible sums `sign_flip` uses the normal approximation, which is then as good as the exact test."""


def pass_at_k(correct: Ints, n: int, k: int) -> Floats:
    """Probability that at least one of `k` candidates, drawn from `n` without replacement, is right: (R,).

    `correct` (R,) counts the right candidates of each row. The unbiased estimator 1 - C(n - c, k) / C(n, k) of Chen et al.,
    2021, arXiv:2107.03374. Raises `ValueError` unless 1 <= k <= n.

    >>> pass_at_k(np.array([0, 1, 2]), n=4, k=2).round(3).tolist()
    [0.0, 0.5, 0.833]
    """
    if not 1 <= k <= n:
        raise ValueError(f"k is {k}; it must be 1 to {n}")
    return pass_curve(correct, n)[:, k - 1]


def pass_curve(correct: Ints, n: int) -> Floats:
    """`pass_at_k` for every k = 1..n: (R, n).

    >>> pass_curve(np.array([1, 3]), n=4).tolist()
    [[0.25, 0.5, 0.75, 1.0], [0.75, 1.0, 1.0, 1.0]]
    """
    # C(n - c, k) / C(n, k) as a running product of k factors: binomials of a thousand candidates would overflow.
    drawn = np.arange(n)
    wrong = np.maximum(n - np.asarray(correct)[:, None] - drawn, 0)
    return 1.0 - np.cumprod(wrong / (n - drawn), axis=1, dtype=np.float64)


def maj_at_k(votes: Ints, right: Ints, k: int, **options: Any) -> Floats:
    """Probability that `k` candidates drawn without replacement elect the right answer: (R,). Options as in `maj_curve`.

    >>> maj_at_k(np.array([[0, 0, 0, 1, 2]]), right=np.array([0]), k=5).tolist()
    [1.0]
    """
    return maj_curve(votes, right, **options)[:, k - 1]


def maj_curve(
    votes: Ints,
    right: Ints,
    *,
    precedence: Ints | None = None,
    default_right: npt.NDArray[np.bool_] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Floats:
    """Probability that k candidates drawn without replacement elect the right answer, for every k = 1..n: (R, n).

    `votes` (R, n) are indices into the row's distinct answers, -1 for a candidate without one. `right` (R,) is the index of
    the right answer, -1 where no candidate gave it. `precedence` (R, answers), distinct within a row, breaks ties: the
    higher wins. Without it tied answers share the win equally; that is the expectation of the tie-break `first`, because
    candidate numbers are arbitrary. Where none of the k candidates votes, the default answer is elected: `default_right`
    (R,) says whether it is right (default: nowhere).

    A Monte-Carlo estimate over max(1, draws / R) random orders per row; the first k candidates of an order are the draw for
    k. Exact for k = n.
    """
    rows, n = votes.shape
    default_right = np.zeros(rows, np.bool_) if default_right is None else default_right
    answers = int(votes.max(initial=-1)) + 1
    ranks = np.zeros((rows, answers), np.int64) if precedence is None else np.asarray(precedence, np.int64)
    each = max(1, math.ceil(draws / max(1, rows)))
    rng = np.random.default_rng(seed)
    total = np.zeros((rows, n))
    for row, count in _blocks(rows, each, n):
        orders = rng.permuted(np.repeat(votes[row], count, axis=0), axis=1)
        chosen = np.repeat(np.arange(rows)[row], count)
        won = _elected(orders, right[chosen], ranks[chosen], default_right[chosen])
        total[row] += won.reshape(-1, count, n).sum(axis=1)
    shares: Floats = total / each
    return shares


def _blocks(rows: int, each: int, n: int) -> list[tuple[slice, int]]:
    """Split the work into (rows, orders per row), at most `CELLS` votes each."""
    at_once = max(1, CELLS // max(1, n))
    if each > at_once:  # one row is more than a block
        counts = [at_once] * (each // at_once) + [each % at_once] * (each % at_once > 0)
        return [(slice(row, row + 1), count) for row in range(rows) for count in counts]
    step = at_once // each
    return [(slice(start, min(start + step, rows)), each) for start in range(0, rows, step)]


def _elected(orders: Ints, right: Ints, ranks: Ints, default_right: npt.NDArray[np.bool_]) -> Floats:
    """Share of the election that the right answer wins after each vote of `orders` (B, n): (B, n)."""
    ballots, n = orders.shape
    # One vote outweighs all ranks, so a score is (votes, rank) in one integer and equal scores are true ties.
    here, unit = np.arange(ballots), int(ranks.max(initial=0)) + 1
    scores = np.concatenate([ranks, np.zeros((ballots, 1), np.int64)], axis=1)  # the last column takes the index -1
    best, leaders = np.zeros(ballots, np.int64), np.ones(ballots, np.int64)
    won = np.empty((ballots, n))
    for place in range(n):
        vote = orders[:, place]
        scores[here, vote] += unit
        score = np.where(vote >= 0, scores[here, vote], -1)
        leaders = np.where(score > best, 1, leaders + (score == best))
        best = np.maximum(best, score)
        ahead = (scores[here, right] == best) & (right >= 0)
        won[:, place] = np.where(best > 0, ahead / leaders, default_right)
    return won


def mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n - 1) of `values`; the deviation of a single value is None.

    >>> mean_sd([0.5, 0.7])[0]
    0.6
    >>> mean_sd([0.5])
    (0.5, None)
    """
    return fmean(values), stdev(values) if len(values) > 1 else None


def format_mean_sd(values: Sequence[float], *, digits: int = 1) -> str:
    """`mean_sd` as text; a single value stands without a deviation.

    >>> format_mean_sd([92.0, 96.0]), format_mean_sd([94.0])
    ('94.0 ± 2.8', '94.0')
    """
    mean, sd = mean_sd(values)
    return f"{mean:.{digits}f}{plus_minus(sd, digits=digits)}"


def plus_minus(sd: float | None, *, digits: int = 1) -> str:
    """The deviation as it is appended to a mean; empty where a single seed has none.

    >>> plus_minus(2.0), plus_minus(None)
    (' ± 2.0', '')
    """
    return "" if sd is None else f" ± {sd:.{digits}f}"


def spread(right: Ints, seeds: Ints) -> tuple[float, float | None]:
    """Mean over seeds of each seed's share of right rows, and the standard deviation of these shares (None: one seed).

    `right` (R,) is 0 or 1, `seeds` (R,) the seed of each row.

    >>> spread(np.array([1, 1, 1, 0]), np.array([0, 0, 1, 1]))[0]
    0.75
    """
    return mean_sd([float(np.mean(right[seeds == seed])) for seed in np.unique(seeds)])


def bootstrap(
    values: Floats, problems: Ints, *, level: float = 0.95, draws: int = 1000, seed: int = 0
) -> tuple[Floats, Floats]:
    """Percentile bootstrap interval for the mean of the rows of `values` (R, ...): two arrays of shape (...).

    A cluster bootstrap (Davison and Hinkley, 1997): problems are drawn with replacement, each with all of its seeds, and
    `problems` (R,) says which problem a row belongs to. Seeds of one problem are alike; drawn singly they would pass for
    more problems than there are.
    """
    _, place = np.unique(problems, return_inverse=True)
    count = np.bincount(place)
    sums = np.zeros((len(count), *values.shape[1:]))
    np.add.at(sums, place, values)
    means = _resampled(sums.reshape(len(count), -1), count, draws, np.random.default_rng(seed))
    tails = (1 - level) / 2
    low, high = (np.quantile(means, part, axis=0).reshape(values.shape[1:]) for part in (tails, 1 - tails))
    return low, high


def share_bounds(values: Floats, problems: Ints, *, level: float = 0.95) -> tuple[Floats, Floats]:
    """`bootstrap` of probabilities, with an honest bound where all of them are 0 or all are 1.

    There nothing varies and the bootstrap would claim certainty; the exact interval of Clopper and Pearson (1934) for as
    many problems takes its place.

    >>> low, high = share_bounds(np.ones(10), np.arange(10))
    >>> round(float(low), 3), float(high)
    (0.692, 1.0)
    """
    low, high = bootstrap(values, problems, level=level)
    margin = ((1 - level) / 2) ** (1 / len(np.unique(problems)))
    low = np.where((values == 1).all(axis=0), margin, low)
    return low, np.where((values == 0).all(axis=0), 1 - margin, high)


def _resampled(sums: Floats, count: Ints, draws: int, rng: np.random.Generator) -> Floats:
    """Means of `draws` resamples of the problems: (draws, columns). `sums` (problems, columns), `count` (problems,)."""
    problems, means = len(count), []
    for start in range(0, draws, 100):  # a hundred at a time: the weights are (draws, problems)
        drawn = [rng.integers(0, problems, problems) for _ in range(min(100, draws - start))]
        weights = np.array([np.bincount(draw, minlength=problems) for draw in drawn], np.float64)
        means.append(weights @ sums / (weights @ count.astype(np.float64))[:, None])
    return np.concatenate(means)


def sign_flip(differences: Ints) -> float:
    """Two-sided p-value of the paired sign-flip (Fisher randomisation) test of integer `differences` (problems,).

    Under the null hypothesis each difference is as likely to have the other sign. Exact: the distribution of the sum is the
    inverse Fourier transform of its characteristic function, the product of cos(d t). With differences of -1, 0 and 1 it
    is McNemar's exact test. Rounding error: 1e-12.

    >>> round(sign_flip(np.array([1, 1, 1, 1, 1, 1, 0, 0])), 6)
    0.03125
    """
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    observed, largest = abs(int(differences.sum())), int((sizes * counts).sum())
    if largest > LONGEST:
        variance = float((sizes.astype(float) ** 2 * counts).sum())
        # Possible sums are 2 apart, so the continuity correction starts half-way, at observed - 1.
        return math.erfc(max(0, observed - 1) / math.sqrt(2 * variance))
    places = 2 * largest + 1
    angles = 2 * np.pi * np.arange(largest + 1) / places
    transform = np.ones(largest + 1)
    for size, count in zip(sizes, counts, strict=True):
        transform *= np.cos(size * angles) ** count
    chances = np.fft.irfft(transform, places)  # of the sums 0, 1, .., largest, -largest, .., -1
    sums = np.abs(np.concatenate([np.arange(largest + 1), np.arange(-largest, 0)]))
    return float(np.clip(chances[sums >= observed].sum(), 0, 1))


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm, 1979), in the given order.

    Rejecting those at most `a` then has a chance of at most `a` of a single false alarm among all.

    >>> holm([0.04, 0.01, 0.5])
    [0.08, 0.03, 0.5]
    """
    adjusted, floor = [0.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        floor = max(floor, min(1.0, values[place] * (len(values) - rank)))
        adjusted[place] = floor
    return adjusted
