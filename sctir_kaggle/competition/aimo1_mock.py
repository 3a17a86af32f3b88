"""A mock of AIMO Progress Prize 1's module `aimo`: `Aimo1(problems, ...).make_env()` in place of `aimo.make_env()`.

Covered: one environment and one pass, one problem at a time in random order and no way back, ids as text, frames whose
index does not start at 0, None where a prediction is missing, refused second predictions, and a submission file that is
written only when the loop has run to its end. Not covered: the memory of the real, compiled module and its time limit.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sctir_kaggle.problems import write_submission
from sctir_kaggle.types import Problem

if TYPE_CHECKING:
    from pandas import DataFrame


class Aimo1:
    """A stand-in for the module. `make_env` works once. `seed` shuffles the problems; None keeps their order.

    `submission` is the CSV that is written when all problems are answered.
    """

    def __init__(self, problems: Sequence[Problem], *, submission: Path, seed: int | None = 0) -> None:
        self._problems = list(problems)
        self._submission = submission
        self._made = False
        if seed is not None:
            random.Random(seed).shuffle(self._problems)

    def make_env(self) -> Environment:
        """The environment. A second call raises RuntimeError, as on Kaggle."""
        if self._made:
            raise RuntimeError("make_env() works once in a session")
        self._made = True
        return Environment(self._problems, self._submission)


class Environment:
    """Yield problems and take answers, as the real environment does."""

    def __init__(self, problems: Sequence[Problem], submission: Path) -> None:
        self.answers: dict[str, int] = {}
        self._problems = problems
        self._submission = submission
        self._iterated = False
        self._open: Problem | None = None

    def iter_test(self) -> Iterator[tuple[DataFrame, DataFrame] | None]:
        """Pairs (test, sample_submission) of one row each; None as long as the open problem has no prediction."""
        if self._iterated:
            raise RuntimeError("iter_test() works once in a session")
        self._iterated = True
        return self._pairs()

    def predict(self, sample_submission: DataFrame) -> None:
        """Take the answer to the open problem, once. Raises as the module does on anything else."""
        import pandas as pd

        if self._open is None:
            raise RuntimeError("there is no open problem: it has its prediction, or iter_test() was not asked for one")
        if not isinstance(sample_submission, pd.DataFrame):
            raise TypeError(f"predict() takes a DataFrame, not {type(sample_submission).__name__}")
        self.answers[self._open.id] = _only_answer(sample_submission, self._open)
        self._open = None

    def _pairs(self) -> Iterator[tuple[DataFrame, DataFrame] | None]:
        for number, problem in enumerate(self._problems):
            self._open = problem
            yield _frames(number, problem)
            while self._open is not None:
                print("You must call `predict()` successfully before you can continue with `iter_test()`", flush=True)
                yield None
        write_submission(self._submission, self.answers)


def _frames(number: int, problem: Problem) -> tuple[DataFrame, DataFrame]:
    import pandas as pd

    test = pd.DataFrame({"id": [problem.id], "problem": [problem.text]}, index=[number])
    return test, pd.DataFrame({"id": [problem.id], "answer": [0]}, index=[number])


def _only_answer(frame: DataFrame, problem: Problem) -> int:
    """The answer in a frame (id, answer) of the open problem. Stricter than Kaggle, where a wrong frame fails at scoring.

    Raises ValueError.
    """
    if list(frame.columns) != ["id", "answer"] or list(frame["id"]) != [problem.id]:
        raise ValueError(f"predict() takes one row (id, answer) for problem {problem.id}, not {frame.to_dict('list')}")
    answer = frame["answer"].iloc[0]
    if int(answer) != answer:
        raise ValueError(f"the answer of {problem.id} must be an integer, not {answer!r}")
    return int(answer)
