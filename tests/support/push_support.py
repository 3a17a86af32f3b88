"""What the tests of the push API share: three problems, the local gateway over them, and what may not be left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.competition.stand_in import InferenceServer
from sctir_kaggle.competition.verdict import GatewayError, Version

pl = pytest.importorskip("polars", reason='needs polars: pip install "sctir-kaggle[competition]"')
pytest.importorskip("grpc", reason='needs gRPC: pip install "sctir-kaggle[competition]"')

IDS = ["007", "424e18", "c"]
Predict = Callable[..., Any]


def row(id_: Any, *_: Any, answer: Any = 5) -> Any:
    return pl.DataFrame({"id": id_, "answer": answer})


def children() -> set[str]:
    """The pids of this process's children, whichever thread started them."""
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended meanwhile
            found |= set((task / "children").read_text().split())
    return found


def workers() -> set[str]:
    return {thread.name for thread in threading.enumerate() if "sctir" in thread.name or "grpc" in thread.name.lower()}


@contextmanager
def nothing_left() -> Iterator[None]:
    """Afterwards there is no process and no thread that was not there before."""
    before = children(), workers()
    yield
    until = time.monotonic() + 60
    while (left := (children() - before[0], workers() - before[1])) != (set(), set()) and time.monotonic() < until:
        time.sleep(0.01)
    assert left == (set(), set())


@dataclass
class Competition:
    """Three problems in a folder, and what came of them. `asked` holds the ids in the order of the calls."""

    folder: Path
    asked: list[str] = field(default_factory=list)

    @property
    def submission(self) -> Path:
        return self.folder / "submission.parquet"

    def csv(self, *, answer: bool = False) -> Path:
        path = self.folder / "test.csv"
        rows = [f"{id_},What is {number}?{f',{number}' if answer else ''}" for number, id_ in enumerate(IDS)]
        path.write_text("\n".join(["id,problem" + ",answer" * answer, *rows]) + "\n")
        return path

    def run(self, version: Version, answer: Predict, *, with_answer: bool = False, **options: Any) -> None:
        """Runs the local gateway; `answer` gets what `predict` gets."""

        def predict(id_: Any, *rest: Any) -> Any:
            self.asked.append(id_[0])
            return answer(id_, *rest)

        server = InferenceServer(predict, version=version, submission=self.submission, **options)
        server.run_local_gateway((self.csv(answer=with_answer),))

    def fails(self, version: Version, answer: Predict, error: type[GatewayError], text: str, **options: Any) -> None:
        """The run ends with `error` and leaves no submission, not even that of an earlier run."""
        self.submission.write_text("of an earlier run")
        with pytest.raises(error, match=text):
            self.run(version, answer, **options)
        assert not self.submission.exists()
