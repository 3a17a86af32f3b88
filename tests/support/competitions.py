"""A competition for tests: four problems, a scripted engine, the real sandbox, the API that asks, and its file read back."""

from __future__ import annotations

import csv
import socket
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sctir_kaggle import Problem, SolverConfig
from sctir_kaggle.competition.aimo1_mock import Aimo1
from sctir_kaggle.competition.profile import PROFILES, Profile
from sctir_kaggle.competition.push_server import VARIABLE
from sctir_kaggle.competition.submission import Submission
from sctir_kaggle.engines.registry import EngineConfig
from sctir_kaggle.engines.scripted import Script, Scripted
from sctir_kaggle.journal import read_faults
from sctir_kaggle.runtime import Load
from sctir_kaggle.settings import ClockConfig, RunConfig

PROBLEMS = [Problem(id_, f"What is {number}?", number) for number, id_ in enumerate(["007", "424e18", "c", "0d"], 3)]

ANSWERS = {problem.id: problem.answer for problem in PROBLEMS}

CONFIG = SolverConfig(candidates=3, turns=2, grace_seconds=0.5)


def number_in(prompt: str) -> int:
    """The number that the problem asks for, perhaps as a sum."""
    return sum(map(int, prompt.rsplit("What is ", 1)[1].split("?")[0].split("+")))


def right(prompt: str, candidate: int, turn: int) -> str:
    """Runs code in the first turn and answers in the second."""
    number = number_in(prompt)
    return f"```python\nprint({number})\n```output\n" if turn == 0 else f"It is $\\boxed{{{number}}}$."


def scripted(script: Script = right) -> Load:
    """A seam for `Submission`: this script in place of the model."""
    return lambda run, slots: Scripted(script)


def csv_of(folder: Path, problems: list[Problem] = PROBLEMS) -> Path:
    """The problems as a file, without their answers."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "problems.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("id", "problem"), *((problem.id, problem.text) for problem in problems)])
    return path


def run_of(budget: float = 60.0, *, config: SolverConfig = CONFIG, **engine: Any) -> RunConfig:
    """A run in `CONFIG`, with `budget` seconds and the engine's settings."""
    return RunConfig(solver=config, engine=EngineConfig(**engine), clock=ClockConfig(budget=budget))


def answers_in(submission: Submission, path: Path | None = None) -> dict[Any, int]:
    """The file that the competition would score: its answers by id. Fails where it is not valid."""
    path = path or submission.submission_file
    if path.suffix == ".csv":
        frame = pd.read_csv(path, dtype={"id": str})
    else:
        frame = pd.DataFrame(pytest.importorskip("polars").read_parquet(path).to_dict(as_series=False))
    assert list(frame.columns) == ["id", "answer"]
    assert frame["answer"].dtype.kind == "i"
    assert frame["id"].is_unique
    ids = [None if id_ != id_ else id_ for id_ in frame["id"].tolist()]
    answers = dict(zip(ids, map(int, frame["answer"]), strict=True))
    assert all(submission.profile.in_range(answer) for answer in answers.values())
    return answers


@dataclass
class Outcome:
    """A run that has ended: the answers in its file, the faults in its journal, how long it took."""

    submission: Submission
    answers: dict[Any, int]
    seconds: float

    def answers_of_pass(self, number: int) -> dict[Any, int]:
        """Of one pass from the second on."""
        first = self.submission.submission_file
        return answers_in(self.submission, first.with_suffix(f".{number}{first.suffix}"))

    @property
    def journal(self) -> list[str]:
        return read_faults(self.submission.journal)


def rerun(profile: Profile, home: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Outcome:
    """A rerun, as Kaggle has it: the hidden problems come from the module `aimo`, or from a gateway in another process."""
    problems, budget, passes = options.pop("asked", PROBLEMS), options.pop("budget", 60.0), options.pop("passes", 1)
    folder = options.setdefault("folder", home)
    options = {"run": run_of(budget), "load": scripted(), "started": time.monotonic(), **options}
    began = time.monotonic()
    profile = replace(profile, problems=len(problems))
    monkeypatch.delenv(VARIABLE, raising=False)  # the competition's own gateway is played in other processes
    submission = Submission(profile, rerun=True, **options)
    if profile.api == "pull":
        assert passes == 1, "its iter_test works once"
        module = Aimo1(problems, submission=submission.submission_file, seed=None)
        monkeypatch.setitem(sys.modules, "aimo", module)
        submission.run()
    else:
        _asked_by_a_gateway(submission, folder, problems, monkeypatch, passes)
    return Outcome(submission, answers_in(submission), time.monotonic() - began)


def _asked_by_a_gateway(
    submission: Submission, folder: Path, problems: list[Problem], monkeypatch: pytest.MonkeyPatch, passes: int
) -> None:
    pytest.importorskip("grpc", reason='needs gRPC: pip install "sctir-kaggle[competition]"')
    from sctir_kaggle.competition.gateway import Session
    from sctir_kaggle.competition.stand_in import GatewayProcess

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("SCTIR_GATEWAY_PORT", str(port))
    assert submission.profile.evaluation
    asked, file = str(csv_of(folder, problems)), str(submission.submission_file)
    session = Session(submission.profile.evaluation, asked, file, port, seed=None, runs=passes)
    with GatewayProcess(session) as gateway:
        with pytest.raises(SystemExit):
            submission.run()
        gateway.wait()


EVERY = pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
