"""What the versions of the push API make of what `predict` returns: `checked` after each call, `table` at the end.

0.3.0 is AIMO-2's, 0.9.0 AIMO-3's. A frame without `answer` or with a third column passes their gateways; what Kaggle's
scoring makes of it is not known, so this refuses it: what passes here passes there. A later version is taken to be as the
newest known one, and that is said.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    import polars as pl


class GatewayError(RuntimeError):
    """The gateway ended the run without a submission. `kaggle` is what `kaggle_evaluation` calls it."""

    kaggle = "UNSPECIFIED"


class ServerNeverStarted(GatewayError):
    """The notebook's server was not up in time: something slow stands before `serve()`."""

    kaggle = "SERVER_NEVER_STARTED"


class ServerLost(GatewayError):
    """The connection broke: the notebook's process ended, or did not answer the keep-alive."""

    kaggle = "SERVER_CONNECTION_FAILED"


class PredictRaised(GatewayError):
    """`predict` raised, or returned what cannot be sent (an integer beyond 64 bits, say). The text is its own."""

    kaggle = "SERVER_RAISED_EXCEPTION"


class PredictTimedOut(GatewayError):
    """`predict` did not return within the time that one answer has. Until 0.9.0 it is SERVER_CONNECTION_FAILED."""

    kaggle = "GRPC_DEADLINE_EXCEEDED"


class ErrorHidden(GatewayError):
    """`predict` raised with a text that gRPC refuses as metadata, over 8192 bytes: the author never reads it.

    The bytes are those on the wire, where each byte of UTF-8 that is not plain ASCII takes three.
    """

    kaggle = "SERVER_CONNECTION_FAILED"


class InvalidSubmission(GatewayError):
    """`predict` returned something that is not the answer of this one problem."""

    kaggle = "INVALID_SUBMISSION"


class GatewayFailed(GatewayError):
    """The gateway itself failed: the problems cannot be read, or a column cannot be made of the answers."""

    kaggle = "GATEWAY_RAISED_EXCEPTION"


ERRORS: dict[str, type[GatewayError]] = {error.__name__: error for error in GatewayError.__subclasses__()}
"""By name, as the gateway's process reports them."""


log = logging.getLogger("sctir_kaggle")

Version = str
"""As `kaggle_evaluation` calls itself: numbers with dots."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a version does, known from its published code."""

    version: Version

    answer_seconds: float
    """How long a call of `predict` may take, the first one excepted."""

    columns: tuple[frozenset[str], ...]
    """Which a returned frame may have."""

    own_id: bool
    """Whether the frame's id must be the one that was asked; else it is overwritten."""

    bare_fails_late: bool
    """Whether a bare value ends the run only when all problems are answered; else at once."""

    plain_function: bool
    """Whether `predict` must be a plain function of that name."""


_ROWS = (
    Rules(
        version="0.3.0",
        answer_seconds=30 * 60.0,
        columns=(frozenset({"id", "answer"}),),
        own_id=True,
        bare_fails_late=False,
        plain_function=False,
    ),
    Rules(
        version="0.9.0",
        answer_seconds=9 * 3600.0,
        columns=(frozenset({"id", "answer"}), frozenset({"answer"})),
        own_id=False,
        bare_fails_late=True,
        plain_function=True,
    ),
)
"""Oldest first. A further version is one more row."""


@cache
def rules_of(version: Version) -> Rules:
    """Those of `version`; of a later one than all that are known, the newest, with a warning. Raises `UserError`."""
    known = {rules.version: rules for rules in _ROWS}
    if version in known:
        return known[version]
    newest = _ROWS[-1]
    if _number(version) < _number(newest.version):
        raise UserError(
            f"kaggle_evaluation {version} is not known, only {', '.join(known)}: add a row to competition/verdict.py that "
            "says how long an answer may take and which columns it may have"
        )
    log.warning("kaggle_evaluation %s is not known: it is taken to do what %s does", version, newest.version)
    return newest


def _number(version: Version) -> tuple[int, ...]:
    """Its numbers; none where it is written otherwise."""
    parts = version.split(".")
    return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else ()


def checked(version: Version, id_: pl.Series, returned: Any) -> Any:
    """What is kept of one call: a frame (id, answer) of one row or, in 0.9.0, a bare value that fails in the end only.

    `id_` is the column of one row that was sent. Raises `InvalidSubmission` or `GatewayFailed` where the run ends here.
    """
    import polars as pl

    rules = rules_of(version)
    if isinstance(returned, pl.DataFrame):
        return _row(rules, id_, returned)
    if returned is None or not rules.bare_fails_late:
        raise _bare_error(id_[0], returned)
    return returned


def table(ids: Sequence[pl.Series], kept: Sequence[Any]) -> pl.DataFrame:
    """The submission, in the order of the calls. One text among the answers makes the whole column text, in silence."""
    import polars as pl

    for id_, value in zip(ids, kept, strict=True):
        if not isinstance(value, pl.DataFrame):
            raise GatewayFailed(f"problem {id_[0]}, found after all problems: {_bare(value)}")
    answers: pl.DataFrame = pl.concat(kept, how="vertical_relaxed")
    return answers


def _row(rules: Rules, id_: pl.Series, frame: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    if frame.height != 1:
        raise InvalidSubmission(f"problem {id_[0]}: predict() returned {frame.height} rows; one is wanted")
    if set(frame.columns) not in rules.columns:
        raise InvalidSubmission(
            f"problem {id_[0]}: predict() returned columns {frame.columns}; id and answer are wanted"
        )
    if rules.own_id and not frame["id"].equals(id_):
        raise InvalidSubmission(f"problem {id_[0]}: predict() returned the id {_typed(frame['id'])}, not {_typed(id_)}")
    return pl.DataFrame([frame["id"] if rules.own_id else id_, frame["answer"]])


def _typed(id_: pl.Series) -> str:
    return f"{id_[0]!r} ({id_.dtype})"


def _bare_error(id_: object, value: object) -> GatewayError:
    """0.3.0 takes the length of what comes: only where that is not 1 is it the submission's fault and not its own."""
    text = f"problem {id_}: {_bare(value)}"
    own = value is not None and (not isinstance(value, str) or len(value) == 1)
    return GatewayFailed(text) if own else InvalidSubmission(text)


def _bare(value: object) -> str:
    return (
        f"predict() returned a {type(value).__name__} ({str(value)[:50]!r}); a polars DataFrame (id, answer) is wanted"
    )
