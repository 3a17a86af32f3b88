"""How good N candidates are, and how sure that is: pass@k, maj@k, spread over seeds, bootstrap, a paired test.

Covered: chance of sampling (candidates, seeds) and of which problems are in the set. Not covered: candidates that were
never sampled; `electorate` says which of a stopped run's may be counted.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[Any]

DRAWS = 250_000
"""Subsets in all for a curve of maj@k: its Monte-Carlo error is then at most 0.5 / sqrt(DRAWS), 0.1 percentage points."""

CELLS = 1 << 22
"""Votes that are resampled at a time: some 100 MB with what is counted of them."""

LONGEST = 1 << 22
"""Above this many possible sums the paired test takes the normal distribution: it is then as good."""


def pass_at_k(correct: Ints, n: int, k: int) -> Floats:
    """The chance that one of `k` candidates drawn from `n` is right, for problems with `correct` right ones: [R].

    1 - C(n - c, k) / C(n, k), the unbiased estimator of Chen et al., 2021, arXiv:2107.03374. ValueError unless 1 <= k <= n.
    """
    if not 1 <= k <= n:
        raise ValueError(f"k is {k}; it must be 1 to {n}")
    return pass_curve(correct, n)[:, k - 1]


def pass_curve(correct: Ints, n: int) -> Floats:
    """`pass_at_k` for k = 1..n: [R, n]. C(n - c, k) / C(n, k) is a product of k factors, which no number overflows."""
    drawn = np.arange(n)
    wrong = np.maximum(n - np.asarray(correct)[:, None] - drawn, 0)
    return 1.0 - np.cumprod(wrong / (n - drawn), axis=1, dtype=np.float64)


def maj_at_k(votes: Ints, right: Ints, k: int, **options: Any) -> Floats:
    """The chance that `k` candidates drawn without replacement elect the right answer: [R]. As `maj_curve`."""
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
    """The chance that k candidates drawn without replacement elect the right answer, for k = 1..n: [R, n].

    `votes` [R, n] are indices into the row's answers, -1 a candidate without one; `right` [R] is the right answer's index,
    -1 where nobody gave it. `precedence` [R, answers], distinct in a row, ranks equal scores, the higher first. Without it
    ties are shared out evenly: that is the mean of the rule `first`, since candidates' numbers are arbitrary. Where none
    of the k votes, the default is elected: `default_right` [R], nowhere by default.

    Estimated from max(1, draws / R) random orders a row, whose first k candidates are the draw for each k. Exact for k = n.
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
    """Rows and how many orders of each: all of them, `CELLS` votes at a time."""
    at_once = max(1, CELLS // max(1, n))
    if each > at_once:  # one row is more than a block
        counts = [at_once] * (each // at_once) + [each % at_once] * (each % at_once > 0)
        return [(slice(row, row + 1), count) for row in range(rows) for count in counts]
    step = at_once // each
    return [(slice(start, min(start + step, rows)), each) for start in range(0, rows, step)]


def _elected(orders: Ints, right: Ints, ranks: Ints, default_right: npt.NDArray[np.bool_]) -> Floats:
    """Which part of the election the right answer wins after each vote of `orders` [B, n]: [B, n]."""
    ballots, n = orders.shape
    here, unit = np.arange(ballots), int(ranks.max(initial=0)) + 1
    scores = np.concatenate([ranks, np.zeros((ballots, 1), np.int64)], axis=1)  # the last column takes what is no vote
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


def spread(right: Ints, seeds: Ints) -> tuple[float, float | None]:
    """Mean over seeds of the share that is right, and their standard deviation (n - 1); None with a single seed."""
    shares = [float(np.mean(right[seeds == seed])) for seed in np.unique(seeds)]
    return float(np.mean(shares)), float(np.std(shares, ddof=1)) if len(shares) > 1 else None


def bootstrap(
    values: Floats, problems: Ints, *, level: float = 0.95, draws: int = 1000, seed: int = 0
) -> tuple[Floats, Floats]:
    """Between which bounds the mean of the rows of `values` [R, ...] lies for other problems and seeds like these.

    Whole problems are drawn with replacement, all seeds of one together (`problems` [R] says whose a row is): seeds of a
    problem are alike, and drawn singly they would feign more problems than there are. Percentiles of the mean.
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
    """`bootstrap` of chances. Where all are 0, or all 1, nothing varies; then Clopper and Pearson's for so many problems."""
    low, high = bootstrap(values, problems, level=level)
    margin = ((1 - level) / 2) ** (1 / len(np.unique(problems)))
    low = np.where((values == 1).all(axis=0), margin, low)
    return low, np.where((values == 0).all(axis=0), 1 - margin, high)


def _resampled(sums: Floats, count: Ints, draws: int, rng: np.random.Generator) -> Floats:
    """Means of `draws` resamples of the problems, [draws, columns], a hundred at a time."""
    problems, means = len(count), []
    for start in range(0, draws, 100):
        drawn = [rng.integers(0, problems, problems) for _ in range(min(100, draws - start))]
        weights = np.array([np.bincount(draw, minlength=problems) for draw in drawn], np.float64)
        means.append(weights @ sums / (weights @ count.astype(np.float64))[:, None])
    return np.concatenate(means)


def sign_flip(differences: Ints) -> float:
    """The two-sided p-value of whole-number paired `differences`, if each was as likely to have the other sign.

    Exact: the sum's distribution is the inverse Fourier transform of its characteristic function, the product of
    cos(d t), over all sums. With differences of -1, 0 and 1 it is McNemar's exact test. Rounding: 1e-12.
    """
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    observed, largest = abs(int(differences.sum())), int((sizes * counts).sum())
    if largest > LONGEST:
        variance = float((sizes.astype(float) ** 2 * counts).sum())
        return math.erfc(max(0, observed - 1) / math.sqrt(2 * variance))  # sums are 2 apart: from halfway on
    places = 2 * largest + 1
    angles = 2 * np.pi * np.arange(largest + 1) / places
    transform = np.ones(largest + 1)
    for size, count in zip(sizes, counts, strict=True):
        transform *= np.cos(size * angles) ** count
    chances = np.fft.irfft(transform, places)  # of the sums 0, 1, .., largest, -largest, .., -1
    sums = np.abs(np.concatenate([np.arange(largest + 1), np.arange(-largest, 0)]))
    return float(np.clip(chances[sums >= observed].sum(), 0, 1))
