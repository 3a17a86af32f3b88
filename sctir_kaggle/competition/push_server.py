"""AIMO-2's and AIMO-3's push API: `predict`, and the competition's server that calls it, or the stand-in for it."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sctir_kaggle.competition.fields import Unreadable, id_column
from sctir_kaggle.competition.profile import Profile
from sctir_kaggle.types import SolveResult, UserError

if TYPE_CHECKING:
    from polars import DataFrame, Series


VARIABLE = "SCTIR_KAGGLE_EVALUATION"
"""The environment variable that names the folder in which `kaggle_evaluation` lies, or several, divided as in PATH."""


class Served(Protocol):
    """A competition's profile, as far as it is needed here."""

    @property
    def server(self) -> str | None:
        """`module:Class`, None for a competition without a push API."""


def evaluation_folder(profile: Served) -> Path | None:
    """The folder with the competition's server, of those that the environment variable names; None where it is not set.

    Where none of them has it, the first: whoever imports from it says what is missing.
    """
    folders = [Path(folder) for folder in os.environ.get(VARIABLE, "").split(os.pathsep) if folder]
    module = (profile.server or "").partition(":")[0].replace(".", "/") + ".py"
    return next((folder for folder in folders if (folder / module).is_file()), folders[0] if folders else None)


def real_server(profile: Served, predict: Callable[..., Any], *, folder: Path | None = None) -> Any:
    """The competition's own inference server for `predict`; `folder` (default: the variable's) goes on the path.

    Raises `UserError` where it cannot be imported.
    """
    folder = folder or evaluation_folder(profile)
    if folder is not None and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    module, _, name = (profile.server or "").partition(":")
    try:
        server = getattr(importlib.import_module(module), name)
    except (ImportError, ValueError, AttributeError) as error:
        raise UserError(f"cannot import {profile.server}: {error}; {VARIABLE} names the folder that holds it") from None
    return server(predict)


log = logging.getLogger("sctir_kaggle")

Solve = Callable[[object, object], SolveResult]
"""(id, problem), each as it was handed over -> the result, whose answer is in range."""


class Predict(Protocol):
    """What a competition's server wants: a plain function of this name."""

    def __call__(self, id_: object, problem: object, *others: object) -> DataFrame: ...


class Server(Protocol):
    """The competition's own inference server, as far as it is known, or the stand-in."""

    def serve(self) -> None: ...

    def run_local_gateway(self, data_paths: tuple[str, ...]) -> None: ...


def predict_of(solve: Solve) -> Predict:
    """A plain function named `predict`, as 0.9.0 wants it, that may be called in any thread."""

    def predict(id_: object, problem: object, *others: object) -> DataFrame:
        """One problem (polars Series of length 1) -> one row (id as it came, answer: Int64).

        The CSV's other columns are not looked at; one of them may be the answer.
        """
        import polars as pl

        result = solve(id_, problem)
        return pl.DataFrame([_returned_id(id_, result), pl.Series("answer", [result.answer], dtype=pl.Int64)])

    return predict


def _returned_id(id_: object, result: SolveResult) -> Series:
    """The id that came; the one that the result is kept under where what came holds none."""
    import polars as pl

    try:
        return id_column(id_)
    except Unreadable:
        return pl.Series("id", [result.problem.id])


def server_of(profile: Profile, predict: Predict, *, folder: Path | None, submission: Path) -> Server:
    """The competition's server where its `kaggle_evaluation` is at hand, else the stand-in, which writes `submission`.

    It is looked for where the environment variable SCTIR_KAGGLE_EVALUATION says, then in the competition's `folder`.
    """
    holder = evaluation_folder(profile) or (folder if folder and (folder / "kaggle_evaluation").is_dir() else None)
    if holder is not None:
        server: Server = real_server(profile, predict, folder=holder)
        return server
    from sctir_kaggle.competition.stand_in import InferenceServer

    if profile.evaluation is None:
        raise UserError(f"{profile.name} has no server that calls; its API is {profile.api}")
    log.info("no kaggle_evaluation is at hand: a stand-in for %s asks in its place", profile.evaluation)
    return InferenceServer(predict, version=profile.evaluation, submission=submission)
