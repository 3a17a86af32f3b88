"""The competition's score of a push submission: how many answers are right, exactly, with no modulo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sctir_kaggle.competition.fields import inferred_ids
from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    import polars as pl


def score(submissions: Sequence[Path], references: Mapping[str, int]) -> float:
    """Points for the `submission.parquet` of each run: a problem gives 1, with two runs 1, 0.5 or 0.

    A column of anything but integers is worth 0 in silence, as on Kaggle: one text among the answers is enough for that.
    Whether Kaggle is kinder to floats is not known. The ids of `references` are as in the CSV, and are compared as polars
    infers them. Raises `UserError` where those of a submission are others.
    """
    return sum(_right(path, references) for path in submissions) / len(submissions)


def _right(path: Path, references: Mapping[str, int]) -> int:
    import polars as pl

    frame: pl.DataFrame = pl.read_parquet(path)
    wanted = dict(zip(inferred_ids(list(references)), references.values(), strict=True))
    answers = dict(zip(frame["id"], frame["answer"], strict=True))
    if answers.keys() != wanted.keys() or frame.height != len(wanted):
        raise UserError(
            f"{path} has {frame.height} rows for {len(wanted)} different ids, or others: give the references of its run"
        )
    if not frame["answer"].dtype.is_integer():
        return 0
    return sum(answers[id_] == reference for id_, reference in wanted.items())
