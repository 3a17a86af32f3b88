"""AIMO-2's and AIMO-3's push API: `predict`, and the competition's server that calls it, or the stand-in for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sctir_kaggle.competition.fields import Unreadable, id_column
from sctir_kaggle.competition.official import evaluation_folder, real_server
from sctir_kaggle.competition.profile import Profile
from sctir_kaggle.types import SolveResult, UserError

if TYPE_CHECKING:
    from polars import DataFrame, Series

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
