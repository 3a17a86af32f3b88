"""How each version of the push API treats what `predict` returns: `checked` after each call, `table` at the end.

0.3.0 is AIMO-2's version, 0.9.0 AIMO-3's. A frame without `answer` or with a third column passes their gateways, but how
Kaggle scores it is not known, so it is refused here: what passes here passes there. A later version is treated as the
newest known one, with a warning.
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

log = logging.getLogger("sctir_kaggle")


class GatewayError(RuntimeError):
    """The gateway ended the run without a submission. `kaggle` is the name of the error in `kaggle_evaluation`."""

    kaggle = "UNSPECIFIED"


class ServerNeverStarted(GatewayError):
    """The notebook's server was not up in time: something slow runs before `serve()`."""

    kaggle = "SERVER_NEVER_STARTED"


class ServerLost(GatewayError):
    """The connection broke: the notebook's process ended, or did not answer keep-alive pings."""

    kaggle = "SERVER_CONNECTION_FAILED"


class PredictRaised(GatewayError):
    """`predict` raised, or returned what cannot be sent (an integer beyond 64 bits, say). The text is the exception's."""

    kaggle = "SERVER_RAISED_EXCEPTION"


class PredictTimedOut(GatewayError):
    """`predict` did not return within the limit of one answer. Before 0.9.0 this was SERVER_CONNECTION_FAILED."""

    kaggle = "GRPC_DEADLINE_EXCEEDED"


class ErrorHidden(GatewayError):
    """`predict` raised with a text of over 8192 bytes, which gRPC refuses as metadata: the author never sees it.

    The limit is on bytes on the wire, where each byte of UTF-8 that is not ASCII takes three.
    """

    kaggle = "SERVER_CONNECTION_FAILED"


class InvalidSubmission(GatewayError):
    """`predict` returned something that is not an answer to this problem."""

    kaggle = "INVALID_SUBMISSION"


class GatewayFailed(GatewayError):
    """The gateway itself failed: it could not read the problems, or not make a column of the answers."""

    kaggle = "GATEWAY_RAISED_EXCEPTION"


ERRORS: dict[str, type[GatewayError]] = {error.__name__: error for error in GatewayError.__subclasses__()}
"""The errors by name, as the gateway's process reports them."""

Version = str
"""A version of `kaggle_evaluation`: numbers with dots."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The behaviour of one version, from its published code."""

    version: Version

    answer_seconds: float
    """Seconds that a call of `predict` may take, the first one excepted."""

    columns: tuple[frozenset[str], ...]
    """The sets of columns that a returned frame may have."""

    own_id: bool
    """Whether the frame's id must be the one that was asked; otherwise it is overwritten."""

    bare_fails_late: bool
    """Whether a bare value ends the run only after all problems are answered; otherwise it does so at once."""

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
"""Oldest first. A new version is one more row."""


@cache
def rules_of(version: Version) -> Rules:
    """The rules of `version`; for one later than all known, those of the newest, with a warning.

    Raises `UserError` for an unknown version that is older than the newest.
    """
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
    """The numbers of a version; empty where it is written in another way."""
    parts = version.split(".")
    return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else ()


def checked(version: Version, id_: pl.Series, returned: Any) -> Any:
    """What the gateway keeps of one call: a frame (id, answer) of one row.

    In 0.9.0 also a bare value, which fails only in `table`. `id_` is the column of one row that was sent. Raises
    `InvalidSubmission` or `GatewayFailed` where the run ends here.
    """
    import polars as pl

    rules = rules_of(version)
    if isinstance(returned, pl.DataFrame):
        return _row(rules, id_, returned)
    if returned is None or not rules.bare_fails_late:
        raise _bare_error(id_[0], returned)
    return returned


def table(ids: Sequence[pl.Series], kept: Sequence[Any]) -> pl.DataFrame:
    """The submission, in the order of the calls. Raises `GatewayFailed` on a bare value.

    As on Kaggle, one text among the answers makes the whole column text, without an error.
    """
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
    """The error for a bare value in 0.3.0, which calls len() on it.

    None, or a text of another length than 1, is an invalid submission; anything else makes the gateway itself fail.
    """
    text = f"problem {id_}: {_bare(value)}"
    own = value is not None and (not isinstance(value, str) or len(value) == 1)
    return GatewayFailed(text) if own else InvalidSubmission(text)


def _bare(value: object) -> str:
    return (
        f"predict() returned a {type(value).__name__} ({str(value)[:50]!r}); a polars DataFrame (id, answer) is wanted"
    )
