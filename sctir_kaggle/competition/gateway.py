"""A stand-in for Kaggle's AIMO-2/3 gateway, in a process of its own: `python -m sctir_kaggle.competition.gateway SESSION`.

It shuffles the problems, waits until the notebook's server is up, calls `predict` there over gRPC for one row at a time,
and writes the submission when all rows have an answer. Covered: types of ids and of all other columns, as polars infers
them; how versions 0.3.0 and 0.9.0 of the API treat what `predict` returns; deadlines, a lost server, gRPC's limit on error
texts, several passes. Not covered: Kaggle's bytes on the wire, its limits on the size of a message, and whether it starts
the notebook a second time between AIMO-3's two private runs. docs/gateways.md compares it with the real ones, row by row.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctir_kaggle.competition import verdict
from sctir_kaggle.competition.verdict import Version, checked, rules_of, table
from sctir_kaggle.competition.wire import pack, unpack

if TYPE_CHECKING:
    import grpc
    import polars as pl

    Method = grpc.UnaryUnaryMultiCallable[bytes, bytes]

SERVICE = "sctir.Notebook"

METADATA_BYTES = 8192
"""Bytes of trailing metadata that gRPC accepts; an error's text travels there."""

ANY_LENGTH = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
"""gRPC's own limit is 4 MB; Kaggle's is not known."""

OPTIONS = [
    *ANY_LENGTH,
    ("grpc.max_metadata_size", METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", METADATA_BYTES),  # without it, sizes up to twice as much are refused at random
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


@dataclass(frozen=True)
class Session:
    """The options of a gateway.

    - `problems`: a CSV (id, problem, perhaps answer).
    - `submission`: the file that is written; from the second of `runs` on with a number before its suffix.
    - `seed`: shuffles the problems; None keeps the CSV's order.
    - `start_seconds`: how long the notebook's server may take to come up.
    - `answer_seconds`: limit of one answer; None is the version's own.
    """

    version: Version
    problems: str
    submission: str
    port: int
    seed: int | None = 0
    start_seconds: float = 900.0
    answer_seconds: float | None = None
    runs: int = 1

    @property
    def submissions(self) -> tuple[Path, ...]:
        """The file that each run writes."""
        first = Path(self.submission)
        return (first, *(first.with_suffix(f".{run}{first.suffix}") for run in range(2, self.runs + 1)))


class Notebook:
    """The notebook's server, as the gateway sees it."""

    def __init__(self, channel: grpc.Channel, answer_seconds: float) -> None:
        self._predict: Method = channel.unary_unary(f"/{SERVICE}/predict")
        attend: Method = channel.unary_unary(f"/{SERVICE}/attend")
        # A call that stays open as long as this process lives, so that the server notices when it ends.
        self._attended = attend.future(b"")
        self._answer_seconds = answer_seconds
        self._deadline: float | None = None  # the first call has none

    def predict(self, *row: object) -> Any:
        """Call the notebook's `predict` with the cells of a row. Raises a `GatewayError`."""
        import grpc

        try:
            reply = self._predict(pack(row), timeout=self._deadline)
        except grpc.RpcError as error:
            raise _error_of(error, self._deadline) from None
        self._deadline = self._answer_seconds
        return unpack(reply)[0]


@contextmanager
def connected(session: Session) -> Iterator[Notebook]:
    """Wait for the notebook's server. Raises `ServerNeverStarted` after `start_seconds`."""
    import grpc

    with grpc.insecure_channel(f"127.0.0.1:{session.port}", options=OPTIONS) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=session.start_seconds)
        except grpc.FutureTimeoutError:
            limit = f"within {session.start_seconds:g} s"
            raise verdict.ServerNeverStarted(
                f"no server at port {session.port} {limit}; load the model later"
            ) from None
        yield Notebook(channel, session.answer_seconds or rules_of(session.version).answer_seconds)


def run(session: Session) -> None:
    """Do all runs, then write all files: a run that fails leaves no file, not even an old one. Raises a `GatewayError`."""
    for path in session.submissions:
        path.unlink(missing_ok=True)
    problems = read_rows(Path(session.problems))
    order = random.Random(session.seed)
    with connected(session) as notebook:
        tables = [_one_run(session, notebook, problems, order) for _ in session.submissions]
    for path, answers in zip(session.submissions, tables, strict=True):
        answers.write_parquet(path)


def read_rows(path: Path) -> list[pl.DataFrame]:
    """The rows of a CSV as one frame each, with the types that polars infers from the first hundred. Raises `GatewayFailed`."""
    import polars as pl

    try:
        frame = pl.read_csv(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise verdict.GatewayFailed(f"cannot read {path}: {error}") from None
    if "id" not in frame.columns or frame.is_empty():
        raise verdict.GatewayFailed(
            f"{path} has {frame.height} rows and columns {frame.columns}; id is needed in a row"
        )
    return list(frame.iter_slices(1))


def _one_run(
    session: Session, notebook: Notebook, problems: Sequence[pl.DataFrame], order: random.Random
) -> pl.DataFrame:
    """Ask all problems once. Every column goes to `predict`, a column of answers too: the notebook must not look at it."""
    rows = list(problems)
    if session.seed is not None:
        order.shuffle(rows)
    ids = [row["id"] for row in rows]
    kept = [checked(session.version, id_, notebook.predict(*row)) for id_, row in zip(ids, rows, strict=True)]
    return table(ids, kept)


def _error_of(error: grpc.RpcError, seconds: float | None) -> verdict.GatewayError:
    import grpc

    code, text = error.code(), str(error.details())
    if code is grpc.StatusCode.UNKNOWN:
        return verdict.PredictRaised(text)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return verdict.PredictTimedOut(f"predict() did not return within {seconds:g} s")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return verdict.ErrorHidden(text)
    return verdict.ServerLost(f"{code.name}: {text}")


def main(arguments: Sequence[str]) -> int:
    """Run the session given as JSON. Returns exit status 0, or 1 after printing one line of JSON that names the error."""
    try:
        run(Session(**json.loads(arguments[0])))
    except verdict.GatewayError as error:
        print(json.dumps({"error": type(error).__name__, "text": str(error)}), flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
