"""AIMO-2's and AIMO-3's push API: make `predict`, and find the competition's server that calls it, or the stand-in."""

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

log = logging.getLogger("sctir_kaggle")

VARIABLE = "SCTIR_KAGGLE_EVALUATION"
"""The environment variable that names the folder that holds `kaggle_evaluation`, or several, separated as in PATH."""

Solve = Callable[[object, object], SolveResult]
"""(id, problem), each as the competition passes it, to a result with an answer in range."""


class Predict(Protocol):
    """The function that a competition's server calls: a plain function of this name."""

    def __call__(self, id_: object, problem: object, *others: object) -> DataFrame: ...


class Server(Protocol):
    """The methods of the competition's inference server, and of the stand-in, that are used."""

    def serve(self) -> None: ...

    def run_local_gateway(self, data_paths: tuple[str, ...]) -> None: ...


class HasServer(Protocol):
    """The part of a competition's profile that finds its server."""

    @property
    def server(self) -> str | None:
        """`module:Class`, None for a competition without a push API."""


def predict_of(solve: Solve) -> Predict:
    """`solve` as a plain function named `predict`, which version 0.9.0 requires. It may be called in any thread."""

    def predict(id_: object, problem: object, *others: object) -> DataFrame:
        """Answer one problem (polars Series of length 1) with one row (id as it came, answer: Int64).

        The CSV's other columns are ignored; one of them may be the answer.
        """
        import polars as pl

        result = solve(id_, problem)
        return pl.DataFrame([_returned_id(id_, result), pl.Series("answer", [result.answer], dtype=pl.Int64)])

    return predict


def server_of(profile: Profile, predict: Predict, *, folder: Path | None, submission: Path) -> Server:
    """The competition's own server if its `kaggle_evaluation` is found, else the stand-in, which writes `submission`.

    It is looked for in the folders of SCTIR_KAGGLE_EVALUATION, then in the competition's `folder`. Raises `UserError` for
    a competition without a push API.
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


def real_server(profile: HasServer, predict: Callable[..., Any], *, folder: Path | None = None) -> Any:
    """The competition's own inference server for `predict`, imported from `folder` (default: `evaluation_folder`).

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


def evaluation_folder(profile: HasServer) -> Path | None:
    """The folder that holds the competition's server, among those that the environment variable names.

    None where the variable is not set; the first folder where none holds it, so that the failing import names it.
    """
    folders = [Path(folder) for folder in os.environ.get(VARIABLE, "").split(os.pathsep) if folder]
    module = (profile.server or "").partition(":")[0].replace(".", "/") + ".py"
    return next((folder for folder in folders if (folder / module).is_file()), folders[0] if folders else None)


def _returned_id(id_: object, result: SolveResult) -> Series:
    """The id as it came, or that under which the result is kept where none came."""
    import polars as pl

    try:
        return id_column(id_)
    except Unreadable:
        return pl.Series("id", [result.problem.id])
