"""The fault table: whatever breaks, a rerun ends in time with a complete, valid submission and the fault in its journal."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle import Completion, EngineError, Problem, Prompt, PromptTooLong, SamplingParams, TraceStatus, UserError
from sctir_kaggle.competition.profile import PROFILES
from sctir_kaggle.engines.scripted import Scripted
from sctir_kaggle.journal import Journal, read_faults, read_journal
from sctir_kaggle.kaggle.install import attach
from sctir_kaggle.lab.score.report import report_of
from sctir_kaggle.lab.whatif.resimulate import results_of
from sctir_kaggle.runtime import Load
from sctir_kaggle.settings import RunConfig
from tests.support import real_rerun
from tests.support.competitions import ANSWERS, CONFIG, PROBLEMS, Outcome, number_in, rerun, right, run_of, scripted
from tests.support.real_rerun import half, none
from tests.support.wheel_support import wheel

pytestmark = pytest.mark.slow

Run = Callable[..., Outcome]

DEFAULTS = dict.fromkeys(ANSWERS, 0)

CLOSING = 200.0
"""Seconds that a run may take beyond its budget in which no answer is given any more: processes start and end, on a busy
machine too. What hangs, hangs for longer."""

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


def typed_answers(file: Path) -> dict[Any, int]:
    """The answers in the file of a push competition."""
    return dict(pytest.importorskip("polars").read_parquet(file).rows())


def counted(*engines: Callable[[], Scripted]) -> tuple[Load, list[Scripted]]:
    """Loads one after the other, the last again and again; and what was loaded."""
    loaded: list[Scripted] = []

    def load(run: RunConfig, slots: int) -> Scripted:
        loaded.append(engines[min(len(loaded), len(engines) - 1)]())
        return loaded[-1]

    return load, loaded


def failing_loads(failures: int) -> tuple[Load, list[float]]:
    """Loads that raise so many times, and when each began."""
    began: list[float] = []

    def load(run: RunConfig, slots: int) -> Scripted:
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

    def load(run: RunConfig, slots: int) -> Scripted:
        raise ModuleNotFoundError("No module named 'vllm'")

    outcome = run(load=load, faults=attached.faults)
    assert outcome.answers == DEFAULTS
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"the wheels are for Python 3.9, and this is Python {python}" in outcome.submission.faults[0]


def test_a_load_that_never_ends_leaves_the_defaults_in_time(run: Run, gate: threading.Event) -> None:
    def hanging(run: RunConfig, slots: int) -> Scripted:
        gate.wait(600)
        return Scripted(right)

    outcome = run(load=hanging, budget=6)
    assert (outcome.answers, len(outcome.journal)) == (DEFAULTS, 4)
    assert "still loading" in outcome.journal[0]
    assert outcome.seconds < 6 + CLOSING


def test_an_engine_that_fails_at_the_third_problem_costs_that_problem(run: Run) -> None:
    outcome = run(load=lambda run, slots: Broken(dead, range(5, 6)))
    assert outcome.answers == {**ANSWERS, "c": 0}
    assert outcome.journal == ["c: 3 of 3 candidates failed: EngineError: the model is gone"]


def test_a_bug_at_the_third_problem_costs_that_problem(run: Run) -> None:
    outcome = run(load=lambda run, slots: Broken(bug, range(5, 6)))
    assert outcome.answers == {**ANSWERS, "c": 0}
    assert outcome.journal == ["c: ZeroDivisionError: division by zero; the answer is 0"]


@pytest.mark.parametrize("failure", [dead, bug])
def test_an_engine_that_is_dead_is_loaded_again(run: Run, failure: Callable[[], None]) -> None:
    load, loaded = counted(lambda: Broken(failure), lambda: Scripted(right))
    outcome = run(load=load)
    assert outcome.answers == {**ANSWERS, "007": 0, "424e18": 0}
    assert len(loaded) == 2
    assert "2 problems in a row failed: engine and sandbox are loaded again" in outcome.journal


def test_an_engine_that_keeps_dying_is_loaded_again_once(run: Run) -> None:
    load, loaded = counted(lambda: Broken(dead))
    outcome = run(load=load)
    assert (outcome.answers, len(loaded), len(outcome.journal)) == (DEFAULTS, 2, 5)


def test_where_all_candidates_fail_every_problem_has_its_default_and_its_fault(run: Run) -> None:
    outcome = run(load=scripted(none))
    assert outcome.answers == DEFAULTS
    faults = [fault for fault in outcome.journal if "3 of 3 candidates failed: EngineError: the model is gone" in fault]
    assert [fault.partition(":")[0] for fault in faults] == list(ANSWERS)


def test_where_every_second_candidate_fails_the_others_vote(run: Run, tmp_path: Path) -> None:
    four = run_of(config=replace(CONFIG, candidates=4, stop="none"))
    outcome = run(run=four, load=scripted(half))
    assert (outcome.answers, outcome.journal) == (ANSWERS, [])
    ends = [Counter(trace.status for trace in result.traces) for result in read_journal(outcome.submission.journal)[1]]
    assert ends == [{TraceStatus.FAILED: 2, TraceStatus.ANSWERED: 2}] * 4


def test_where_every_second_problem_fails_the_others_are_answered(run: Run) -> None:
    outcome = run(load=lambda run, slots: Broken(dead, range(3, 7, 2)))
    assert outcome.answers == {**ANSWERS, "007": 0, "c": 0}
    assert [fault.partition(":")[0] for fault in outcome.journal] == ["007", "c"]


@pytest.mark.parametrize("kind", ["right", "half", "none"])
@pytest.mark.parametrize("name", ["aimo2", "aimo3"])
def test_so_it_is_under_the_competitions_own_gateway(name: str, kind: str, tmp_path: Path) -> None:
    real_rerun.skip_without(name)
    file = real_rerun.rerun(name, tmp_path, PROBLEMS, engine=kind)
    assert typed_answers(file) == (DEFAULTS if kind == "none" else ANSWERS)
    assert bool(read_faults(tmp_path / "journal.jsonl")) == (kind == "none")


@pytest.fixture(params=["aimo2", "aimo3"])
def run_twice(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A rerun whose gateway asks every problem in two passes, of each competition that may have one."""
    return lambda **options: rerun(PROFILES[request.param], tmp_path, monkeypatch, **{"passes": 2, **options})


def test_an_engine_that_fails_in_the_first_pass_only_answers_in_the_second(run_twice: Run) -> None:
    load, loaded = counted(lambda: Broken(dead), lambda: Broken(dead), lambda: Scripted(right))
    outcome = run_twice(load=load)
    assert (outcome.answers, outcome.answers_of_pass(2), len(loaded)) == (DEFAULTS, ANSWERS, 3)
    assert outcome.journal[-1].startswith(
        "the last 2 problems of the pass before failed: engine and sandbox are loaded"
    )


def test_the_traces_of_both_passes_are_one_result_that_every_reader_counts_once(run_twice: Run) -> None:
    load, _ = counted(lambda: Broken(dead), lambda: Broken(dead), lambda: Scripted(right))
    journal = run_twice(load=load).submission.journal
    results = read_journal(journal)[1]
    assert {result.problem.id: result.answer for result in results} == ANSWERS
    for result in results:
        assert sum(trace.status is TraceStatus.FAILED for trace in result.traces) == 3
        assert sorted(trace.candidate for trace in result.traces) == list(range(6))
    assert sorted(report_of([journal]).records.problem_ids) == sorted(ANSWERS)
    assert sorted(result.problem.id for _, result in results_of([journal])) == sorted(ANSWERS)
    assert len(read_faults(journal)) == 6


def test_a_run_in_two_passes_is_replayed_and_resumed_from_its_votes(
    run_twice: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, _ = counted(lambda: Broken(dead), lambda: Broken(dead), lambda: Scripted(right))
    outcome = run_twice(load=load)
    again = run_of(engine="recorded", model=outcome.submission.journal)
    assert run_twice(run=again, folder=tmp_path / "again", load=None).answers == ANSWERS
    resumed = run_twice(resume=True, load=scripted(none))
    assert (resumed.answers, resumed.answers_of_pass(2), resumed.journal[6:]) == (ANSWERS, ANSWERS, [])


def test_a_problem_with_a_vote_is_not_solved_again(run_twice: Run) -> None:
    load, loaded = counted(lambda: Broken(dead, range(5, 6)))
    outcome = run_twice(load=load)
    asked = Counter(request.partition("/")[0] for request in loaded[0].prompts)
    assert outcome.answers == outcome.answers_of_pass(2) == {**ANSWERS, "c": 0}
    assert set(asked) == set(ANSWERS) - {"c"}
    assert {request.split("/")[1] for request in loaded[0].prompts} <= {"0", "1", "2"}
    assert outcome.journal[-1] == "c: 3 of 3 candidates failed: EngineError: the model is gone"


def test_what_found_nothing_is_solved_again_by_candidates_of_their_own(run_twice: Run) -> None:
    def late(prompt: str, candidate: int, turn: int) -> str:
        return right(prompt, candidate, turn) if candidate >= 3 or number_in(prompt) != 4 else "I do not know."

    outcome = run_twice(load=scripted(late))
    assert (outcome.answers, outcome.journal) == ({**ANSWERS, "424e18": 0}, [])
    assert outcome.answers_of_pass(2) == ANSWERS


def test_an_engine_that_cannot_be_loaded_in_the_first_pass_is_loaded_in_the_second(run_twice: Run) -> None:
    load, began = failing_loads(2)
    outcome = run_twice(load=load)
    assert (outcome.answers, outcome.answers_of_pass(2), len(began)) == (DEFAULTS, ANSWERS, 3)


def test_what_hung_in_the_first_pass_has_the_time_that_is_left_in_the_second(run_twice: Run) -> None:
    hung: list[str] = []

    def hang() -> Coroutine[Any, Any, None] | None:
        hung.append("x")
        return asyncio.sleep(3600) if len(hung) <= 3 else None

    outcome = run_twice(load=lambda run, slots: Broken(hang, range(4, 5)), budget=30)
    assert (outcome.answers, outcome.answers_of_pass(2)) == ({**ANSWERS, "424e18": 0}, ANSWERS)


@pytest.mark.parametrize("name", ["aimo2", "aimo3"])
def test_so_it_is_under_the_competitions_own_gateway_that_is_run_twice(name: str, tmp_path: Path) -> None:
    real_rerun.skip_without(name)
    file = real_rerun.rerun(name, tmp_path, PROBLEMS, engine="second pass", passes=2)
    assert typed_answers(file) == ANSWERS
    assert [result.answer for result in read_journal(tmp_path / "journal.jsonl")[1]] != []


def test_an_engine_that_hangs_costs_the_share_of_its_problem(run: Run) -> None:
    outcome = run(load=lambda run, slots: Broken(lambda: asyncio.sleep(3600), range(4, 5)), budget=30)
    assert outcome.answers == {**ANSWERS, "424e18": 0}
    assert outcome.journal == ["424e18: no candidate finished a turn before the deadline"]
    assert outcome.seconds < 30 + CLOSING


def test_an_engine_that_hangs_for_ever_leaves_the_defaults_in_time(run: Run) -> None:
    outcome = run(load=lambda run, slots: Broken(lambda: asyncio.sleep(3600)), budget=25)
    assert outcome.answers == DEFAULTS
    # the solver says it, or on a machine that is busy whoever waits for the solver
    assert re.match("007: .*(no candidate finished a turn before the deadline|did not come back)", outcome.journal[0])
    assert outcome.seconds < 25 + CLOSING


def test_a_solver_whose_loop_is_blocked_does_not_hold_the_answers(run: Run, gate: threading.Event) -> None:
    def block() -> None:
        gate.wait(600)

    outcome = run(load=lambda run, slots: Broken(block, range(4, 100)), budget=25)
    assert outcome.answers == {**DEFAULTS, "007": 3}
    assert "did not come back within 1 s of its deadline" in outcome.journal[0]
    assert outcome.seconds < 25 + CLOSING


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

    to_the_end = run_of(600, config=replace(CONFIG, stop="none"))  # nobody hit is cancelled, or out of time
    outcome = run(run=to_the_end, load=scripted(script))
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

    outcome = run(load=lambda run, slots: Broken(fill, range(4, 5)))
    assert outcome.answers == ANSWERS
    assert len(outcome.submission.faults) == 1
    assert outcome.submission.faults[0].startswith("no journal from here on, ")
    assert "No space left on device" in outcome.submission.faults[0]
    assert outcome.submission.faults[0] in caplog.text
    assert len(outcome.submission.results) == 4
    assert [result.answer for result in read_journal(tmp_path / "journal.jsonl")[1]] == [3]


def test_a_journal_that_cannot_be_begun_costs_no_answer(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, header: dict[str, Any]) -> Journal:
        raise UserError(f"cannot write {path}: No space left on device")

    monkeypatch.setattr(Journal, "create", refuse)
    outcome = run()
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
    outcome = run(load=lambda run, slots: Short(right), asked=[PROBLEMS[0], long, *PROBLEMS[2:]])
    assert outcome.answers == {"007": 3, "long": 0, "c": 5, "0d": 6}
    assert outcome.journal[0].startswith("long: the prompt is too long: the prompt has 10")


def test_a_problem_of_100_kb_ends_at_the_context_of_a_real_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason='needs torch: pip install "sctir-kaggle[cpu]"')
    long = Problem("long", "How many of these are even? " + ", ".join(map(str, range(20_000))))
    outcome = rerun(PROFILES["aimo1"], tmp_path, monkeypatch, load=None, asked=[long], budget=490)
    assert outcome.answers == {"long": 0}
    assert outcome.journal[0].startswith("long: the prompt is too long: ")
    assert outcome.seconds < 400


def test_an_answer_of_ten_to_the_thirty_stays_in_range(run: Run) -> None:
    outcome = run(load=scripted(lambda prompt, candidate, turn: f"It is $\\boxed{{{10**30 + 7}}}$."))
    modulus = outcome.submission.profile.modulus
    assert set(outcome.answers.values()) == {(10**30 + 7) % modulus if modulus else 0}
