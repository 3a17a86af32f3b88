"""Unbiased maj@k and pass@k under early stopping: which candidates of a run may be counted (right-censored samples).

A candidate that was cancelled because the vote was decided is censored: its answer is unknown. When that happens depends on
the answers, so among the candidates that did end the leader's are over-represented; counting all of them is biased. The
first K to end, with the same K for every problem, are free of that bias. What remains: fast candidates may be better than
slow ones, and nothing is known beyond K. A candidate cut by the deadline is not censored: it had no answer in time and
counts as one without.

Counted are either the columns of `Records` (`uncensored`) or whole results (`uncensored_results`); both say the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sctir_kaggle.lab.records import STATUSES, Array, Records
from sctir_kaggle.lab.statistics import Floats, maj_curve, pass_curve
from sctir_kaggle.stopping import AT_A_RISK
from sctir_kaggle.types import Answer, SolveResult, TraceStatus

BY_VOTE = ("exact", *AT_A_RISK)
"""Reasons to stop a problem that depend on the candidates' answers."""

_CANCELLED = STATUSES.index("cancelled")


@dataclass(frozen=True, slots=True, eq=False)
class Uncensored:
    """The first K candidates to end of each of R rows, in the order in which they ended."""

    votes: npt.NDArray[np.int32]
    """(R, K): index into the row's distinct answers, -1 for no vote."""
    right: Array
    """(R,): index of the right answer, -1 where no candidate gave it."""
    precedence: Array | None
    """(R, answers): the higher wins a tie; None where the lowest candidate number does."""
    default_right: npt.NDArray[np.bool_]
    """(R,): whether the default answer, elected where no candidate votes, is right."""

    @property
    def size(self) -> int:
        """K."""
        return int(self.votes.shape[1])

    def maj(self) -> Floats:
        """maj@k for k = 1..K: (R, K)."""
        return maj_curve(self.votes, self.right, precedence=self.precedence, default_right=self.default_right)

    def passed(self) -> Floats:
        """pass@k for k = 1..K: (R, K)."""
        correct = (self.votes == self.right[:, None]) & (self.right >= 0)[:, None]
        return pass_curve(correct.sum(axis=1), self.size)


def uncensored(records: Records, rows: Array) -> Uncensored:
    """The candidates of `rows` (R,) that may be counted; the rows have a reference and one configuration."""
    size = int(_ended(records, rows).min(initial=records.votes.shape[1])) if len(rows) else 0
    order = records.order[rows, :size]
    votes = np.where(order < 0, np.int32(-1), np.take_along_axis(records.votes[rows], order.astype(np.intp), axis=1))
    return _under_rules(
        votes,
        [records.choices[row] for row in rows],
        [records.reference[row] for row in rows],
        records.headers[records.run[rows[0]]].get("config", {}) if len(rows) else {},
    )


def uncensored_results(results: Sequence[SolveResult], config: Mapping[str, Any]) -> Uncensored:
    """The candidates of `results` that may be counted; the results have a reference, `config` is their journal header's."""
    counted = [
        [trace for trace in result.traces if not (result.stopped in BY_VOTE and trace.status is TraceStatus.CANCELLED)]
        for result in results
    ]
    # A problem without a single trace (an error before it began) is wrong for every k, and does not shorten the others.
    size = min((len(traces) for traces, result in zip(counted, results, strict=True) if result.traces), default=0)
    choices = [list(dict.fromkeys(trace.answer for trace in traces if trace.answer is not None)) for traces in counted]
    votes = np.full((len(results), size), -1, np.int32)
    for row, answers, traces in zip(votes, choices, counted, strict=True):
        voted = [-1 if trace.answer is None else answers.index(trace.answer) for trace in traces[:size]]
        row[: len(voted)] = voted
    return _under_rules(votes, choices, [result.problem.answer for result in results], config)


def missing(records: Records, rows: Array) -> npt.NDArray[np.bool_]:
    """Which candidates of `rows` (R,) were cancelled because of what others had answered: (R, N)."""
    stopped = np.array([records.stopped[row] in BY_VOTE for row in rows], np.bool_)
    lost: npt.NDArray[np.bool_] = (records.status[rows] == _CANCELLED) & stopped[:, None]
    return lost


def _ended(records: Records, rows: Array) -> Array:
    """How many candidates of each row may be counted: (R,)."""
    there = records.status[rows] != 0
    ended = (there & ~missing(records, rows)).sum(axis=1)
    # A problem without a single candidate (an error before it began) is wrong for every k, and does not shorten the others.
    return np.array(np.where(there.any(axis=1), ended, records.votes.shape[1]))


def _under_rules(
    votes: npt.NDArray[np.int32],
    choices: Sequence[list[Answer]],
    references: Sequence[Answer | None],
    config: Mapping[str, Any],
) -> Uncensored:
    """With the default answer and the tie-break of the run's configuration."""
    right = [
        answers.index(reference) if reference in answers else -1
        for answers, reference in zip(choices, references, strict=True)
    ]
    default = config.get("default_answer", 0)
    return Uncensored(
        votes,
        np.array(right, np.intp),
        _precedence(choices, config.get("tie_break", "first")),
        np.array([reference == default for reference in references], np.bool_),
    )


def _precedence(choices: Sequence[list[Answer]], tie_break: str) -> Array | None:
    """Ranks of each row's answers, the higher wins a tie: (R, answers). None where candidate numbers decide."""
    if tie_break == "first":
        return None
    ranks = np.zeros((len(choices), max(map(len, choices), default=0)), np.int64)
    for row, answers in zip(ranks, choices, strict=True):
        order = sorted(range(len(answers)), key=answers.__getitem__, reverse=tie_break == "smallest")
        row[order] = np.arange(len(answers))
    return ranks
