"""AIMO Progress Prize 1's pull API (module `aimo`): take a problem, answer it, take the next, until there are none.

The module is compiled for CPython 3.10. Under any other version it runs in a child process, see `aimo1_process`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sctir_kaggle.competition.aimo1_process import ChildEnvironment
from sctir_kaggle.competition.aimo1_python import unpacked
from sctir_kaggle.competition.inputs import NotFound, Roots, find_python
from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    from pandas import DataFrame

REPEATS = 10
"""How many times in a row an answer that the API did not accept is given again."""


class Environment(Protocol):
    """What `aimo.make_env()` returns, as far as it is documented."""

    def iter_test(self) -> Iterator[tuple[DataFrame, DataFrame] | None]: ...

    def predict(self, sample_submission: DataFrame) -> None: ...


def serve(env: Environment, answer: Callable[[object, object], int]) -> int:
    """Answer every problem that `env` yields; returns their number.

    The loop has to run to its end, since the submission is written only then. `answer` gets the one-row frame twice, as id
    and as problem, and finds the columns whatever the index is. Raises RuntimeError where the API refuses an answer
    `REPEATS` times.
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


@contextmanager
def real_environment(folder: Path | None, roots: Roots | None = None) -> Iterator[Environment]:
    """`aimo.make_env()` from the competition's `folder`; in a rerun only, since it works once per session.

    Where the module is compiled for another CPython, it runs in a child process under an attached interpreter, searched
    for below `roots` (default: Kaggle's). Raises `UserError` where neither works: then there is nothing to answer.
    """
    compiled = foreign(folder) if folder is not None and "aimo" not in sys.modules else None
    fault = f"{compiled} is not for Python {sys.version_info.major}.{sys.version_info.minor}"
    if compiled is None:
        try:
            env = _imported(folder)
        except ImportError as error:
            fault = str(error)
        else:
            yield env
            return
    if folder is None:
        raise UserError(f"cannot import aimo from the path: {fault}; attach the competition (competition_sources)")
    try:
        found = find_python(roots=roots)
    except NotFound as error:
        raise UserError(f"cannot import aimo from {folder}: {fault}, and {error}") from None
    with unpacked(found) as python, ChildEnvironment(python, folder) as child:
        yield child


def foreign(folder: Path, module: str = "aimo") -> str | None:
    """The file name of the competition's extension module, if it is compiled for other CPythons only; else None."""
    found = sorted(path.name for path in [*folder.glob(f"{module}.*.so"), *(folder / module).glob("*.so")])
    tagged = [name for name in found if ".cpython-" in name]
    return tagged[0] if tagged and not any(name.endswith(EXTENSION_SUFFIXES[0]) for name in tagged) else None


def _imported(folder: Path | None) -> Environment:
    if folder is not None and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    env: Environment = importlib.import_module("aimo").make_env()
    return env
