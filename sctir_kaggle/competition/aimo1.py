"""AIMO Progress Prize 1's pull API (module `aimo`): take a problem, answer it, take the next, until there are none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from sctir_kaggle.types import Problem

if TYPE_CHECKING:
    from pandas import DataFrame

log = logging.getLogger("sctir_kaggle")


class Environment(Protocol):
    """What `aimo.make_env()` returns, as far as it is known."""

    def iter_test(self) -> Iterator[tuple[DataFrame, DataFrame] | None]: ...

    def predict(self, sample_submission: DataFrame) -> None: ...


def serve(env: Environment, answer: Callable[[Problem], int], *, default: int = 0, rerun: bool = False) -> int:
    """Answer every problem that `env` yields; returns how many.

    The loop always runs to its end: the submission is written only then. In a `rerun` an error in `answer` costs that
    problem alone, which gets `default`; elsewhere it is raised, since a dry run is there to find it.
    """
    served = 0
    for pair in env.iter_test():
        if pair is None:
            raise RuntimeError("the API wants a prediction for the last problem before it gives the next")
        test, sample_submission = pair
        sample_submission["answer"] = [_answer(problem, answer, default, rerun) for problem in _problems(test)]
        env.predict(sample_submission)
        served += 1
    return served


def _problems(test: DataFrame) -> list[Problem]:
    """The rows, whatever their index. A column `answer`, if there is one, is not read."""
    return [Problem(str(id_), str(text)) for id_, text in zip(test["id"], test["problem"], strict=True)]


def _answer(problem: Problem, answer: Callable[[Problem], int], default: int, rerun: bool) -> int:
    try:
        return answer(problem)
    except Exception:  # the one broad except of the package: one bad problem must not cost the submission
        if not rerun:
            raise
        log.exception("problem %s failed; answering %d", problem.id, default)
        return default
