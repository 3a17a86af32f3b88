"""A rerun: gateway and notebook are started apart, find each other at a port, and end together."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle import UserError
from sctir_kaggle.competition import verdict
from sctir_kaggle.competition.dry_run import score
from sctir_kaggle.competition.gateway import Session
from sctir_kaggle.competition.stand_in import GatewayProcess, InferenceServer
from tests.support.push_support import IDS, Competition, nothing_left


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    with nothing_left():
        yield


@pytest.fixture
def competition(tmp_path: Path) -> Competition:
    return Competition(tmp_path)


NOTEBOOK = """
import os, polars, time
from pathlib import Path
from sctir_kaggle.competition.stand_in import InferenceServer
def predict(id_, problem, answer=None):
    {body}
    return polars.DataFrame({{"id": id_, "answer": 5}})
InferenceServer(predict, version="0.9.0", submission=Path("unused")).serve()
Path("after").touch()
"""


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """A free one, for `serve()` and for the gateway."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = int(free.getsockname()[1])
    monkeypatch.setenv("SCTIR_GATEWAY_PORT", str(number))
    return number


def rerun(competition: Competition, port: int, **options: Any) -> GatewayProcess:
    return GatewayProcess(Session("0.9.0", str(competition.csv()), str(competition.submission), port, **options))


@contextmanager
def notebook(competition: Competition, body: str = "pass") -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", NOTEBOOK.format(body=body)]
    with subprocess.Popen(command, cwd=competition.folder, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def test_in_a_rerun_the_gateway_finds_the_server_and_nothing_after_serve_runs(
    competition: Competition, port: int
) -> None:
    with rerun(competition, port) as gateway, notebook(competition) as process:
        gateway.wait()
        assert process.wait(300) == 0
    assert score([competition.submission], dict.fromkeys(IDS, 5)) == 3
    assert not (competition.folder / "after").exists()


def test_a_notebook_that_dies_in_predict_ends_the_run(competition: Competition, port: int) -> None:
    with rerun(competition, port) as gateway, notebook(competition, "os._exit(3)"), pytest.raises(verdict.ServerLost):
        gateway.wait()
    assert not competition.submission.exists()


def test_serve_ends_when_the_gateway_is_killed(competition: Competition, port: int) -> None:
    with (
        rerun(competition, port) as gateway,
        notebook(competition, "Path('asked').touch(); time.sleep(0.5)") as process,
    ):
        while not (competition.folder / "asked").exists():
            time.sleep(0.01)
        gateway.close()
        assert process.wait(300) == 0
    assert not competition.submission.exists()


def test_a_server_that_is_not_up_in_time_is_given_up(competition: Competition, port: int) -> None:
    with (
        rerun(competition, port, start_seconds=0.3) as gateway,
        pytest.raises(verdict.ServerNeverStarted, match=r"0\.3 s"),
    ):
        gateway.wait()


def test_a_port_that_is_taken_is_named(competition: Competition, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):

        def predict(*_: Any) -> Any: ...

        with pytest.raises(UserError, match=f"port {port} is taken"):
            InferenceServer(predict, version="0.9.0", submission=competition.submission).serve()
