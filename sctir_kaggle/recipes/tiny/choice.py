"""Whether one model's candidates are better than another's on the same problems, beyond what chance would do."""

from __future__ import annotations

import statistics
from collections import defaultdict
from pathlib import Path

from sctir_kaggle.journal import stream_results
from sctir_kaggle.report.records import journal_of


def shares(run: Path) -> dict[str, float]:
    """By problem, the share of the candidates that are right, all seeds together."""
    right: dict[str, list[bool]] = defaultdict(list)
    for result in stream_results(journal_of(run))[1]:
        right[result.problem.id] += [trace.answer == result.problem.answer for trace in result.traces]
    return {problem: statistics.fmean(votes) for problem, votes in right.items()}


def gain(before: dict[str, float], after: dict[str, float]) -> tuple[float, float]:
    """The mean of the paired differences, and its standard error."""
    differences = [after[problem] - share for problem, share in before.items()]
    return statistics.fmean(differences), statistics.stdev(differences) / len(differences) ** 0.5


def helps(before: dict[str, float], after: dict[str, float]) -> tuple[bool, str]:
    """Whether the mean gain is more than two standard errors; and a line that says so."""
    mean, error = gain(before, after)
    line = (
        f"single candidates right {100 * mean:+.1f} ± {100 * error:.1f} points (standard error, {len(before)} problems)"
    )
    return mean > 2 * error, line
