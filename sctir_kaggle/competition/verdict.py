"""What the two versions of the push API make of what `predict` returns: `checked` after each call, `table` at the end.

0.3.0 is AIMO-2's, 0.9.0 AIMO-3's. Where it is not known what Kaggle does (a frame without `answer`, a third column),
this refuses: what passes here passes there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from sctir_kaggle.competition.errors import InvalidSubmission

if TYPE_CHECKING:
    import polars as pl

Version = Literal["0.3.0", "0.9.0"]

ANSWER_SECONDS: dict[Version, float] = {"0.3.0": 30 * 60.0, "0.9.0": 9 * 3600.0}
"""How long a call of `predict` may take, the first one excepted."""

COLUMNS: dict[Version, tuple[set[str], ...]] = {"0.3.0": ({"id", "answer"},), "0.9.0": ({"id", "answer"}, {"answer"})}


def checked(version: Version, id_: str, returned: Any) -> Any:
    """What is kept of one call: a frame (id, answer) of one row or, in 0.9.0, a bare value that fails in the end only.

    Raises `InvalidSubmission` where the run ends here.
    """
    import polars as pl

    if isinstance(returned, pl.DataFrame):
        return _row(version, id_, returned)
    if returned is None or version == "0.3.0":
        raise InvalidSubmission(f"problem {id_}: {_bare(returned)}")
    return returned


def table(ids: Sequence[str], kept: Sequence[Any]) -> pl.DataFrame:
    """The submission, in the order of the calls. One text among the answers makes the whole column text, in silence."""
    import polars as pl

    for id_, value in zip(ids, kept, strict=True):
        if not isinstance(value, pl.DataFrame):
            raise InvalidSubmission(f"problem {id_}, found after all problems: {_bare(value)}")
    answers: pl.DataFrame = pl.concat(kept, how="vertical_relaxed")
    return answers


def _row(version: Version, id_: str, frame: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    if frame.height != 1:
        raise InvalidSubmission(f"problem {id_}: predict() returned {frame.height} rows; one is wanted")
    if set(frame.columns) not in COLUMNS[version]:
        raise InvalidSubmission(f"problem {id_}: predict() returned columns {frame.columns}; id and answer are wanted")
    if version == "0.3.0" and frame["id"][0] != id_:
        raise InvalidSubmission(f"problem {id_}: predict() returned the id {frame['id'][0]!r}")
    return pl.DataFrame({"id": [id_], "answer": frame["answer"]})


def _bare(value: object) -> str:
    return (
        f"predict() returned a {type(value).__name__} ({str(value)[:50]!r}); a polars DataFrame (id, answer) is wanted"
    )
