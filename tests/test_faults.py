"""The fault table: whatever breaks, a rerun ends in time with a complete, valid submission and the fault in its journal."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle import Completion, EngineError, Problem, Prompt, PromptTooLong, SamplingParams
from sctir_kaggle.competition.profile import Profile
from sctir_kaggle.competition.submission import Submission
from sctir_kaggle.engines.scripted import Scripted
from sctir_kaggle.journal import read_journal
from sctir_kaggle.opening import Load, Setup
from sctir_kaggle.types import ExecutionStatus
from tests.competitions import ANSWERS, EVERY, PROBLEMS, Outcome, rerun, right, scripted, setup_of

Run = Callable[..., Outcome]

DEFAULTS = dict.fromkeys(ANSWERS, 0)


@pytest.fixture(params=["aimo1", "aimo2", "aimo3"])
def run(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A rerun of each competition in turn."""
    from sctir_kaggle.competition.profile import PROFILES

    return lambda **options: rerun(PROFILES[request.param], tmp_path, monkeypatch, **options)


class Broken(Scripted):
    """Fails as told: `failure` is raised, or awaited, for the problems whose numbers are in `numbers`, at most `times`."""

    def __init__(self, failure: Callable[[], Any], numbers: range = range(100), times: float = float("inf")) -> None:
        super().__init__(right)
        self.failure, self.numbers, self.times = failure, numbers, times

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        asked = str(prompt[0]).rsplit("What is ", 1)[1]
        if int(asked.split("?")[0]) in self.numbers and self.times > 0:
            self.times -= 1
            waits = self.failure()
            if waits is not None:
                await waits
        return await super().generate(prompt, params, request_id=request_id)


def dead() -> None:
    raise EngineError("the model is gone")


def bug() -> None:
    raise ZeroDivisionError("division by zero")


def failing_loads(failures: int) -> tuple[Load, list[float]]:
    """Loads that raise so many times, and when each began."""
    began: list[float] = []

    def load(setup: Setup, slots: int) -> Scripted:
        began.append(time.monotonic())
        if len(began) <= failures:
            raise RuntimeError("CUDA error: out of memory")
        return Scripted(right)

    return load, began


def test_an_engine_that_cannot_be_loaded_once_is_loaded_again(run: Run) -> None:
    load, began = failing_loads(1)
    outcome = run(load=load)
    assert (outcome.answers, len(began)) == (ANSWERS, 2)
    assert outcome.journal == ["loading failed: RuntimeError: CUDA error: out of memory; trying again"]


def test_an_engine_that_can_never_be_loaded_leaves_the_defaults(run: Run) -> None:
    load, began = failing_loads(99)
    outcome = run(load=load)
    assert (outcome.answers, len(began)) == (DEFAULTS, 2)
    assert len(outcome.journal) == 5
    assert outcome.journal[4] == "0d: RuntimeError: CUDA error: out of memory; the answer is 0"
    assert outcome.seconds < 20


def test_a_load_that_never_ends_leaves_the_defaults_in_time(run: Run) -> None:
    outcome = run(load=lambda setup, slots: time.sleep(3600), setup=setup_of_seconds(6))
    assert outcome.answers == DEFAULTS
    assert outcome.seconds < 6 + CLOSING
    assert len(outcome.journal) == 4
    assert "still loading" in outcome.journal[0]
