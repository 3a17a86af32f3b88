"""What a push gateway does, scenario by scenario: the same ones for the competition's own gateway and for the stand-in.

A process holds one version of `kaggle_evaluation`, so the real one is played in a process of its own:
`python -m tests.support.gateway_scenarios all VERSION FILE`, with the folder in the variable `push_server.VARIABLE`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sctir_kaggle import Problem, SolveResult, Vote
from sctir_kaggle.competition.profile import PROFILES
from sctir_kaggle.competition.push_server import predict_of, real_server
from sctir_kaggle.competition.verdict import GatewayError, PredictTimedOut

pl = pytest.importorskip("polars", reason='needs polars: pip install "sctir-kaggle[competition]"')
pytest.importorskip("grpc", reason='needs gRPC: pip install "sctir-kaggle[competition]"')

from sctir_kaggle.competition.gateway import Session  # noqa: E402
from sctir_kaggle.competition.stand_in import GatewayProcess, InferenceServer  # noqa: E402

PROFILE = {"0.3.0": PROFILES["aimo2"], "0.9.0": PROFILES["aimo3"]}
GATEWAY = {"0.3.0": ("aimo_2_gateway", "AIMO2Gateway"), "0.9.0": ("aimo_3_gateway", "AIMO3Gateway")}

Answer = Callable[[Any, int], Any]
"""(the id as it came, the number of the call) -> what `predict` returns."""

RELEASED = threading.Event()
"""Ends what is slow, once its scenario is over."""

ours = predict_of(lambda id_, text: SolveResult(Problem("x", str(text)), 5, Vote(((5, 1.0),)), ()))


@dataclass(frozen=True)
class Scenario:
    """The CSV's ids and what `predict` returns for them."""

    answer: Answer = lambda id_, call: ours(id_, "")
    ids: tuple[str, ...] = ("a1", "b2", "c3")
    runs: int = 1
    answer_seconds: float | None = None
    with_answer: bool = False
    separate: str = ""
    """Whether gateway and notebook are two processes: the notebook `killed`, or `absent`."""


@dataclass
class Seen:
    """What came to `predict`, and what the gateway made of it."""

    types: list[str] = field(default_factory=list)
    columns: set[int] = field(default_factory=set)
    end: str = ""

    @property
    def text(self) -> str:
        """A cell of the table."""
        kinds = "/".join(sorted(set(self.types)))
        return f"{kinds} -> {self.end}" if self.end.startswith("id ") else self.end

    def ended(self, error: str) -> None:
        self.end = f"{error}, call {len(self.types)}" if self.types else error


def frame(id_: Any, answer: Any = 5, **others: Any) -> Any:
    return pl.DataFrame({"id": id_, "answer": [answer], **others})


def raising(text: str) -> Answer:
    def raises(*_: Any) -> Any:
        raise ValueError(text)

    return raises


def slow(id_: Any, call: int) -> Any:
    if call > 1:
        RELEASED.wait(30)
    return frame(id_)


SCENARIOS: Mapping[str, Scenario] = {
    "ids 1, 2, 3": Scenario(ids=("1", "2", "3")),
    "ids 001, 002, 010": Scenario(ids=("001", "002", "010")),
    "ids 424e18, 1e3, 2.5": Scenario(ids=("424e18", "1e3", "2.5")),
    "ids a1, b2, c3": Scenario(),
    "ids 1, null, 3": Scenario(ids=("1", "", "3")),
    "ids a, null, c": Scenario(ids=("a", "", "c")),
    "ids 7, x, 424e18": Scenario(ids=("7", "x", "424e18")),
    "ids 1, 2, 3; they go back as text": Scenario(answer=lambda id_, call: frame([str(id_[0])]), ids=("1", "2", "3")),
    "a CSV with answers": Scenario(with_answer=True),
    "a frame without id": Scenario(answer=lambda id_, call: pl.DataFrame({"answer": [5]})),
    "a frame without answer": Scenario(answer=lambda id_, call: pl.DataFrame({"id": id_})),
    "a frame with a third column": Scenario(answer=lambda id_, call: frame(id_, sure=[1.0])),
    "a frame of pandas": Scenario(answer=lambda id_, call: pd.DataFrame({"id": id_.to_list(), "answer": [5]})),
    "another id": Scenario(answer=lambda id_, call: frame(["x"])),
    "two rows": Scenario(answer=lambda id_, call: pl.DataFrame({"id": ["a1", "b2"], "answer": [5, 5]})),
    "None": Scenario(answer=lambda id_, call: None),
    "an int": Scenario(answer=lambda id_, call: 5),
    "a numpy int": Scenario(answer=lambda id_, call: np.int64(5)),
    "a text of one character": Scenario(answer=lambda id_, call: "5"),
    "a longer text": Scenario(answer=lambda id_, call: "five"),
    "a text among the answers": Scenario(answer=lambda id_, call: frame(id_, "5" if call == 2 else 5)),
    "a float among the answers": Scenario(answer=lambda id_, call: frame(id_, 5.0 if call == 2 else 5)),
    "an integer beyond 64 bits in a frame": Scenario(answer=lambda id_, call: frame(id_, 10**30)),
    "an integer beyond 64 bits": Scenario(answer=lambda id_, call: 10**30),
    "an error": Scenario(answer=raising("no weights")),
    "an error with a text of 20,000 characters": Scenario(answer=raising("x" * 20_000)),
    "two passes": Scenario(runs=2),
    "slower than the limit": Scenario(answer=slow, answer_seconds=2.0),
    "the notebook is killed": Scenario(separate="killed"),
    "no server": Scenario(separate="absent"),
}


def outcome(name: str, version: str, *, real: bool) -> str:
    """Plays a scenario; a cell of the table. The real gateway's folder is on the path of this process already."""
    scenario, seen = SCENARIOS[name], Seen()
    play = _real if real else _stand_in
    RELEASED.clear()
    with tempfile.TemporaryDirectory(prefix="sctir-gateway-") as folder, _inside(Path(folder)):
        csv = _csv(scenario)
        try:
            play(scenario, version, csv, _predict(scenario, seen))
        except GatewayError as error:
            late = isinstance(error, PredictTimedOut) and version == "0.3.0"
            seen.ended("SERVER_CONNECTION_FAILED" if late else error.kaggle)
        except Exception as error:  # the real one's own class
            if not hasattr(error, "error_type"):
                raise
            seen.ended(error.error_type.name)
        else:
            seen.end = _file()
        finally:
            RELEASED.set()
    return seen.text


def _predict(scenario: Scenario, seen: Seen) -> Callable[..., Any]:
    def predict(id_: Any, problem: Any, *others: Any) -> Any:
        seen.types.append(str(id_.dtype) + " null" * id_.has_nulls() + ", answer" * bool(others))
        return scenario.answer(id_, len(seen.types))

    return predict


def _file() -> str:
    found = pl.read_parquet(max(Path().glob("submission*.parquet")))
    return ", ".join(f"{name} {kind}" for name, kind in found.schema.items()) + f", {found.height} rows"


def _csv(scenario: Scenario) -> Path:
    path = Path("test.csv").absolute()
    rows = [f"{id_},What is {number}?{',7' * scenario.with_answer}" for number, id_ in enumerate(scenario.ids)]
    path.write_text("\n".join(["id,problem" + ",answer" * scenario.with_answer, *rows]) + "\n")
    return path


def _stand_in(scenario: Scenario, version: str, csv: Path, predict: Callable[..., Any]) -> None:
    submission, seconds = Path("submission.parquet").absolute(), scenario.answer_seconds
    if scenario.separate:
        with _notebook(scenario, version, real=False) as port:
            start = 0.5 if scenario.separate == "absent" else 60.0
            with GatewayProcess(Session(version, str(csv), str(submission), port, start_seconds=start)) as gateway:
                gateway.wait()
        return
    server = InferenceServer(
        predict, version=version, submission=submission, answer_seconds=seconds, runs=scenario.runs
    )
    server.run_local_gateway((csv,))


def _real(scenario: Scenario, version: str, csv: Path, predict: Callable[..., Any]) -> None:
    import importlib

    server = real_server(PROFILE[version], predict)
    relay: Any = importlib.import_module("kaggle_evaluation.core.relay")
    module, name = GATEWAY[version]
    gateway = getattr(importlib.import_module(module), name)

    def made(*_: Any, **__: Any) -> Any:
        new = gateway((str(csv),))
        new.client.endpoint_deadline_seconds = scenario.answer_seconds or new.client.endpoint_deadline_seconds
        return new

    if scenario.separate:
        relay.STARTUP_LIMIT_SECONDS = 2 if scenario.separate == "absent" else 60
        server.server.stop(0).wait()
        with _notebook(scenario, version, real=True):
            made().run()
        return
    server._get_gateway_for_test = made
    server.server.start()
    try:
        for _ in range(scenario.runs):
            made().run()
    finally:
        server.server.stop(0).wait()


@contextmanager
def _notebook(scenario: Scenario, version: str, *, real: bool) -> Iterator[int]:
    """A notebook's process that ends in its second answer, and the port at which it serves; or none."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if scenario.separate == "absent":
        yield port
        return
    environment = {**os.environ, "SCTIR_GATEWAY_PORT": str(port), "KAGGLE_IS_COMPETITION_RERUN": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
    command = [sys.executable, "-m", __name__ if __name__ != "__main__" else "tests.support.gateway_scenarios", "serve"]
    process = subprocess.Popen([*command, version, "real" if real else "stand-in"], env=environment)
    try:
        yield port
    finally:
        process.kill()
        process.wait()


def _serve(version: str, kind: str) -> None:
    calls: list[Any] = []

    def predict(id_: Any, problem: Any, *_: Any) -> Any:
        calls.append(id_)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return frame(id_)

    if kind == "real":
        real_server(PROFILE[version], predict).serve()
    else:
        InferenceServer(predict, version=version, submission=Path("unused")).serve()


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """The real gateway writes where it runs."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def main(arguments: list[str]) -> None:
    """All scenarios on the real gateway, into a file of JSON; or the notebook's process of one."""
    if arguments[0] == "serve":
        _serve(*arguments[1:])
        return
    version, file = arguments[1:]
    cells = {}
    for name in SCENARIOS:
        try:
            cells[name] = outcome(name, version, real=True)
        except Exception:
            traceback.print_exc()
            raise SystemExit(f"{name} could not be played on the real gateway") from None
    played = sys.modules["kaggle_evaluation"].__version__
    Path(file).write_text(json.dumps({"version": played, "cells": cells}))


if __name__ == "__main__":
    main(sys.argv[1:])
