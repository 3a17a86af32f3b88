"""AIMO Progress Prize 1's pull API (module `aimo`): take a problem, answer it, take the next, until there are none."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    from pandas import DataFrame

REPEATS = 10
"""How often an answer that the API did not take is given again."""


class Environment(Protocol):
    """What `aimo.make_env()` returns, as far as it is known."""

    def iter_test(self) -> Iterator[tuple[DataFrame, DataFrame] | None]: ...

    def predict(self, sample_submission: DataFrame) -> None: ...


def serve(env: Environment, answer: Callable[[object, object], int]) -> int:
    """Answer every problem that `env` yields; returns how many.

    The loop always runs to its end: the submission is written only then. `answer` gets the frame twice and reads id and
    problem in it, whatever its index; a column `answer`, if there is one, is not read.
    """
    served = refused = 0
    answered: DataFrame | None = None
    for pair in env.iter_test():
        if pair is not None:
            test, answered = pair
            answered["answer"] = answer(test, test)
            served, refused = served + 1, 0
        elif answered is None or refused == REPEATS:
            raise RuntimeError("the API wants a prediction for the last problem before it gives the next")
        else:
            refused += 1
        env.predict(answered)
    return served


def real_environment(folder: Path | None) -> Environment:
    """`aimo.make_env()` from the competition's `folder`; in a rerun only, since it works once and for old Pythons.

    Raises `UserError` where it cannot be imported: then there is nothing to answer.
    """
    if folder is not None and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        env: Environment = importlib.import_module("aimo").make_env()
    except ImportError as error:
        place = folder or "the path"
        raise UserError(f"cannot import aimo from {place}: {error}; attach the competition, on its Python") from None
    return env
