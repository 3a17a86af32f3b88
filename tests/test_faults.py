"""The fault table: whatever breaks, a rerun ends in time with a complete, valid submission and the fault in its journal."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle import Completion, EngineError, Problem, Prompt, PromptTooLong, SamplingParams
from sctir_kaggle.competition.profile import PROFILES
from sctir_kaggle.engines.scripted import Scripted
from sctir_kaggle.journal import read_journal
from sctir_kaggle.kaggle.attached import attach
from sctir_kaggle.opening import Load, Setup
from tests.competitions import ANSWERS, CONFIG, PROBLEMS, Outcome, number_in, rerun, right, scripted, setup_of
from tests.wheel_support import wheel

Run = Callable[..., Outcome]

DEFAULTS = dict.fromkeys(ANSWERS, 0)

CLOSING = 12.0
"""Seconds that a run may take beyond its budget in which no answer is given any more: processes start and end."""

ALWAYS = range(100)


@pytest.fixture(params=PROFILES)
def run(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A rerun of each competition in turn."""
    return lambda **options: rerun(PROFILES[request.param], tmp_path, monkeypatch, **options)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What hangs, hangs here, and is freed when the test is over."""
    gate = threading.Event()
    yield gate
    gate.set()


class Broken(Scripted):
    """Calls `failure` before it generates for the problems that ask for `numbers`, and awaits what that returns."""

    def __init__(self, failure: Callable[[], Coroutine[Any, Any, None] | None], numbers: range = ALWAYS) -> None:
        super().__init__(right)
        self._failure, self._numbers = failure, numbers

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        if number_in("".join(map(str, prompt))) in self._numbers:
            waiting = self._failure()
            if waiting is not None:
                await waiting
        return await super().generate(prompt, params, request_id=request_id)


def dead() -> None:
    raise EngineError("the model is gone")


def bug() -> None:
    raise ZeroDivisionError("division by zero")


def counted(*engines: Callable[[], Scripted]) -> tuple[Load, list[Scripted]]:
    """Loads one after the other, the last again and again; and what was loaded."""
    loaded: list[Scripted] = []

    def load(setup: Setup, slots: int) -> Scripted:
        loaded.append(engines[min(len(loaded), len(engines) - 1)]())
        return loaded[-1]

    return load, loaded


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
    assert (outcome.answers, len(began), len(outcome.journal)) == (DEFAULTS, 2, 5)
    assert outcome.journal[4] == "0d: RuntimeError: CUDA error: out of memory; the answer is 0"
    assert outcome.seconds < 20 + CLOSING


def test_an_image_that_moved_to_another_python_leaves_the_defaults_and_says_both(run: Run, tmp_path: Path) -> None:
    """The attached wheels are of the image before: nothing is installed, and no engine can be loaded."""
    house = tmp_path / "input" / "sctir-wheels"
    wheel(house, "vllm")
    (house / "requirements.lock").write_text("# python: 3.9\n# image: none\n# ship: \n# of: 0\n")
    if find_spec("vllm") is not None:
        pytest.skip("vLLM is installed here: nothing is missing")
    attached = attach("vllm", rerun=True, roots=[tmp_path / "input"])

    def load(setup: Setup, slots: int) -> Scripted:
        raise ModuleNotFoundError("No module named 'vllm'")

    outcome = run(load=load, faults=attached.faults)
    assert outcome.answers == DEFAULTS
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"the wheels are for Python 3.9, and this is Python {python}" in outcome.submission.faults[0]


def test_a_load_that_never_ends_leaves_the_defaults_in_time(run: Run, gate: threading.Event) -> None:
    def hanging(setup: Setup, slots: int) -> Scripted:
        gate.wait(120)
        return Scripted(right)

    outcome = run(load=hanging, budget=6)
    assert (outcome.answers, len(outcome.journal)) == (DEFAULTS, 4)
    assert "still loading" in outcome.journal[0]
    assert outcome.seconds < 6 + CLOSING


def test_an_engine_that_fails_at_the_third_problem_costs_that_problem(run: Run) -> None:
    outcome = run(load=lambda setup, slots: Broken(dead, range(5, 6)))
    assert outcome.answers == {**ANSWERS, "c": 0}
    assert outcome.journal == ["c: 3 of 3 candidates failed: EngineError: the model is gone"]


def test_a_bug_at_the_third_problem_costs_that_problem(run: Run) -> None:
    outcome = run(load=lambda setup, slots: Broken(bug, range(5, 6)))
    assert outcome.answers == {**ANSWERS, "c": 0}
    assert outcome.journal == ["c: ZeroDivisionError: division by zero; the answer is 0"]


@pytest.mark.parametrize("failure", [dead, bug])
def test_an_engine_that_is_dead_is_loaded_anew(run: Run, failure: Callable[[], None]) -> None:
    load, loaded = counted(lambda: Broken(failure), lambda: Scripted(right))
    outcome = run(load=load)
    assert outcome.answers == {**ANSWERS, "007": 0, "424e18": 0}
    assert len(loaded) == 2
    assert "2 problems in a row failed: engine and sandbox are loaded anew" in outcome.journal


def test_an_engine_that_dies_for_ever_is_loaded_anew_once(run: Run) -> None:
    load, loaded = counted(lambda: Broken(dead))
    outcome = run(load=load)
    assert (outcome.answers, len(loaded), len(outcome.journal)) == (DEFAULTS, 2, 5)


def test_an_engine_that_hangs_costs_the_share_of_its_problem(run: Run) -> None:
    outcome = run(load=lambda setup, slots: Broken(lambda: asyncio.sleep(3600), range(4, 5)), budget=14)
    assert outcome.answers == {**ANSWERS, "424e18": 0}
    assert outcome.journal == ["424e18: no candidate finished a turn before the deadline"]
    assert outcome.seconds < 14 + CLOSING


def test_an_engine_that_hangs_for_ever_leaves_the_defaults_in_time(run: Run) -> None:
    outcome = run(load=lambda setup, slots: Broken(lambda: asyncio.sleep(3600)), budget=14)
    assert outcome.answers == DEFAULTS
    # the solver says it, or on a machine that is busy whoever waits for the solver
    assert re.match("007: .*(no candidate finished a turn before the deadline|did not come back)", outcome.journal[0])
    assert outcome.seconds < 14 + CLOSING


def test_a_solver_whose_loop_is_blocked_does_not_hold_the_answers(run: Run, gate: threading.Event) -> None:
    def block() -> None:
        gate.wait(120)

    outcome = run(load=lambda setup, slots: Broken(block, range(4, 100)), budget=14)
    assert outcome.answers == {**DEFAULTS, "007": 3}
    assert "did not come back within 1 s of its deadline" in outcome.journal[0]
    assert outcome.seconds < 14 + CLOSING


def zygotes() -> list[int]:
    """The sandboxes' processes, children of this one."""
    children = "".join(path.read_text() for path in Path("/proc/self/task").glob("*/children")).split()
    return [int(pid) for pid in children if b"sctir_kaggle.sandbox" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_zygote_that_is_killed_costs_the_variables_of_the_candidates(run: Run, tmp_path: Path) -> None:
    others = set(zygotes())  # of other tests in this process
    killed: list[int] = []

    def script(prompt: str, candidate: int, turn: int) -> str:
        number = number_in(prompt)
        if turn == 1 and number == 4 and not killed:
            killed.extend(set(zygotes()) - others)
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.3)  # its children die with it, but not in the same instant
        return f"```python\nx = {number}\nprint(x)\n```output\n" if turn < 2 else f"{number}}}$"

    to_the_end = Setup(config=replace(CONFIG, stop="none"), folder=tmp_path, budget=60)  # nobody hit is cancelled
    outcome = run(setup=to_the_end, load=scripted(script))
    assert (outcome.answers, bool(killed)) == (ANSWERS, True)  # one of an earlier test may end just now, too
    hit = next(result for result in read_journal(outcome.submission.journal)[1] if result.problem.id == "424e18")
    outputs = [turn.execution.output for trace in hit.traces for turn in trace.turns if turn.execution]
    assert any("earlier variables are gone" in output for output in outputs)


def test_a_full_disk_costs_the_journal_alone(run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fill() -> None:
        """From here on the kernel has no space left for the journal."""
        full = os.open("/dev/full", os.O_WRONLY)
        for link in Path("/proc/self/fd").iterdir():
            if link.is_symlink() and os.readlink(link) == str(tmp_path / "journal.jsonl"):
                os.dup2(full, int(link.name))
        os.close(full)

    outcome = run(load=lambda setup, slots: Broken(fill, range(4, 5)))
    assert outcome.answers == ANSWERS
    assert len(outcome.submission.faults) == 1
    assert outcome.submission.faults[0].startswith("no journal from here on, ")
    assert "No space left on device" in outcome.submission.faults[0]
    assert outcome.submission.faults[0] in caplog.text
    assert len(outcome.submission.results) == 4
    assert [result.answer for result in read_journal(tmp_path / "journal.jsonl")[1]] == [3]


def test_a_journal_that_cannot_be_begun_costs_no_answer(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outcome = run(setup=setup_of(tmp_path / "file"), folder=tmp_path)
    assert outcome.answers == ANSWERS
    assert "no journal from here on" in outcome.submission.faults[0]


@pytest.mark.parametrize("left", [-5.0, 0.01, 2.0])
def test_a_budget_that_is_almost_gone_leaves_the_defaults_at_once(run: Run, left: float) -> None:
    outcome = run(budget=9 * 3600.0, started=time.monotonic() - 9 * 3600 + left)
    assert outcome.answers == DEFAULTS
    assert len(outcome.journal) == 4
    assert outcome.seconds < CLOSING


def test_a_problem_of_100_kb_gets_the_default_at_once(run: Run) -> None:
    class Short(Scripted):
        async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
            if sum(map(len, prompt)) > 4096:
                raise PromptTooLong(f"the prompt has {sum(map(len, prompt))} tokens; the context holds 4096")
            return await super().generate(prompt, params, request_id=request_id)

    long = Problem("long", "What is 4? " + "x" * 100_000)
    outcome = run(load=lambda setup, slots: Short(right), asked=[PROBLEMS[0], long, *PROBLEMS[2:]])
    assert outcome.answers == {"007": 3, "long": 0, "c": 5, "0d": 6}
    assert outcome.journal[0].startswith("long: the prompt is too long: the prompt has 10")


def test_a_problem_of_100_kb_ends_at_the_context_of_a_real_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason='needs torch: pip install "sctir-kaggle[cpu]"')
    long = Problem("long", "How many of these are even? " + ", ".join(map(str, range(20_000))))
    outcome = rerun(PROFILES["aimo1"], tmp_path, monkeypatch, load=None, asked=[long], budget=120)
    assert outcome.answers == {"long": 0}
    assert outcome.journal[0].startswith("long: the prompt is too long: ")
    assert outcome.seconds < 60


def test_an_answer_of_ten_to_the_thirty_stays_in_range(run: Run) -> None:
    outcome = run(load=scripted(lambda prompt, candidate, turn: f"It is $\\boxed{{{10**30 + 7}}}$."))
    modulus = outcome.submission.profile.modulus
    assert set(outcome.answers.values()) == {(10**30 + 7) % modulus if modulus else 0}
