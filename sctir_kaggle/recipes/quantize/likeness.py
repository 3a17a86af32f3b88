"""Figures of how alike a quantized checkpoint and its original are: KL divergence, top-1 agreement, ratio of perplexities.

At each token that a model learns to write, p is the original's distribution of it and q the quantized one's, in the same
context (teacher-forced). n_i tokens of trace i give a sum y_i of one of these:

| figure | of a token | estimate |
|---|---|---|
| KL divergence, nats a token | sum over the vocabulary of p (ln p - ln q): 0 where q = p, else above | sum y / sum n |
| top-1 agreement | 1 where p and q have the same argmax | sum y / sum n |
| ratio of perplexities | ln p - ln q of the token in the trace | exp(sum y / sum n) |

The ratio can be 1 while the distributions differ, where errors cancel: that is what the divergence is for.

Tokens of one trace depend on each other, so that standard errors are over the traces: those of a ratio estimator (Cochran,
Sampling Techniques, 3rd ed., 1977, section 6.3), and by the delta method for the exponential. An error of 0 means that
the traces did not differ, not that others will not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its standard error, which is None of a single trace."""

    value: float
    error: float | None


@dataclass(frozen=True, slots=True)
class Trace:
    """Sums over the learned tokens of one trace; at least one token."""

    tokens: int
    original: float
    """Loss of the original, -ln p of the trace's tokens, nats."""
    quantized: float
    """Loss of the quantized one."""
    divergence: float
    """KL divergence of q from p, nats."""
    same: int
    """Tokens at which both have the same argmax."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """The figures over all traces; at least one."""

    traces: tuple[Trace, ...]

    @property
    def tokens(self) -> int:
        """Learned tokens of all traces."""
        return sum(trace.tokens for trace in self.traces)

    @property
    def perplexities(self) -> tuple[float, float]:
        """exp of the mean loss a token: the original's, the quantized one's."""
        return (
            math.exp(sum(trace.original for trace in self.traces) / self.tokens),
            math.exp(sum(trace.quantized for trace in self.traces) / self.tokens),
        )

    @property
    def divergence(self) -> Estimate:
        """Mean KL divergence, nats a token."""
        return self._mean(trace.divergence for trace in self.traces)

    @property
    def agreement(self) -> Estimate:
        """Share of the tokens with the same argmax."""
        return self._mean(trace.same for trace in self.traces)

    @property
    def ratio(self) -> Estimate:
        """Perplexity of the quantized one over the original's."""
        mean = self._mean(trace.quantized - trace.original for trace in self.traces)
        ratio = math.exp(mean.value)
        return Estimate(ratio, None if mean.error is None else ratio * mean.error)

    def _mean(self, sums: Iterable[float]) -> Estimate:
        return mean_of([(trace.tokens, total) for trace, total in zip(self.traces, sums, strict=True)])


def mean_of(traces: list[tuple[int, float]]) -> Estimate:
    """The mean of (n_i tokens, their sum y_i) and its standard error over the traces.

    >>> mean_of([(2, 2.0), (2, 6.0)])
    Estimate(value=2.0, error=1.0)
    """
    tokens, count = sum(n for n, _ in traces), len(traces)
    mean = sum(y for _, y in traces) / tokens
    if count < 2:
        return Estimate(mean, None)
    squares = math.fsum((y - mean * n) ** 2 for n, y in traces)
    return Estimate(mean, math.sqrt(count / (count - 1) * squares) / tokens)
