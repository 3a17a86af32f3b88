"""maj@k and pass@k of a run with their bands, counted as `sctir score` counts them: from the first K that ended.

Of problems whose vote was decided early the rest is not known, so K is the number that ended for every problem.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sctir_kaggle.lab.censoring import BY_VOTE, Uncensored
from sctir_kaggle.lab.statistics import Floats, share_bounds
from sctir_kaggle.lab.view.problems import runs
from sctir_kaggle.types import SolveResult, Trace, TraceStatus

Json = dict[str, Any]


def curves(results: Sequence[SolveResult], headers: Sequence[Mapping[str, Any]]) -> Json | None:
    """For `maj` and `pass` a triple for k = 1..K: the mean over problems and seeds, and its 95 % interval.

    None where no problem has a reference, where a problem has not a single candidate that counts, or where there are
    several runs, which a common curve would blur.
    """
    graded = [result for result in results if result.problem.answer is not None]
    size = min((len(_counted(result)) for result in graded if result.traces), default=0)
    if not size or max(runs(results)) > 1:
        return None
    voters = _electorate(graded, size, headers[0].get("config", {}) if headers else {})
    problems = np.array([result.problem.id for result in graded])
    return {
        "maj": _banded(voters.maj(), problems),
        "pass": _banded(voters.passed(), problems),
        "note": f"95 % intervals over problems{_cut_at(size, graded)}",
    }


def _electorate(results: Sequence[SolveResult], size: int, config: Mapping[str, Any]) -> Uncensored:
    choices = [sorted({trace.answer for trace in result.traces if trace.answer is not None}) for result in results]
    places = [{answer: place for place, answer in enumerate(answers)} for answers in choices]
    votes = np.full((len(results), size), -1, np.int32)
    for row, result in enumerate(results):
        for column, trace in enumerate(_counted(result)[:size]):
            votes[row, column] = -1 if trace.answer is None else places[row][trace.answer]
    references = [result.problem.answer for result in results]
    return Uncensored(
        votes,
        np.array([place.get(answer, -1) for place, answer in zip(places, references, strict=True)], np.intp),  # type: ignore[arg-type]
        _precedence(choices, config.get("tie_break", "first")),
        np.array([answer == config.get("default_answer", 0) for answer in references], np.bool_),
    )


def _counted(result: SolveResult) -> list[Trace]:
    """All but those that were cancelled because of what others had answered."""
    decided = result.stopped in BY_VOTE
    return [trace for trace in result.traces if not (decided and trace.status is TraceStatus.CANCELLED)]


def _precedence(choices: Sequence[Sequence[int]], tie_break: str) -> np.typing.NDArray[np.int64] | None:
    """The answers' order as ranks; None where candidates' numbers decide."""
    if tie_break == "first":
        return None
    ranks = np.arange(max(map(len, choices), default=0))
    return np.tile(ranks if tie_break == "largest" else -ranks + len(ranks), (len(choices), 1))


def _banded(values: Floats, problems: np.typing.NDArray[np.str_]) -> list[list[float]]:
    low, high = share_bounds(values, problems)
    return np.stack([values.mean(axis=0), low, high], axis=1).round(4).tolist()  # type: ignore[no-any-return]


def _cut_at(size: int, results: Sequence[SolveResult]) -> str:
    """Why the curves end before N."""
    most = max(len(result.traces) for result in results)
    return "" if size == most else f"; {size} of {most} ended for every problem"
