"""A set under several seeds: each (problem, seed) once, whatever kills the run, in whatever order, however many at once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle import Completion, EngineError, Prompt, SamplingParams, Solver, SolverConfig, UserError
from sctir_kaggle.background import BackgroundLoop
from sctir_kaggle.engines.registry import EngineConfig
from sctir_kaggle.engines.scripted import Scripted
from sctir_kaggle.journal import read_faults, read_journal
from sctir_kaggle.lab.replay.progress import Progress
from sctir_kaggle.lab.replay.run import Plan
from sctir_kaggle.runtime import open_engine
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.settings import RunConfig
from sctir_kaggle.types import TraceStatus
from tests.support.replay_support import PROBLEMS, SEEDS, Drawn, plan, run, told

KILLS = 20


def journalled(folder: Path) -> dict[tuple[str, int], object]:
    return told(read_journal(folder / "journal.jsonl")[1])


@pytest.fixture(scope="module", autouse=True)
def one_sandbox(sandbox: Sandbox) -> Iterator[None]:
    """Runs in this process share the session's: it takes seconds to start. A run that is killed has its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sctir_kaggle.sandbox.Sandbox", lambda **_: nullcontext(sandbox))
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], object]:
    """What an uninterrupted run leaves."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder)
    return journalled(folder)


@pytest.mark.slow
def test_runs_killed_twenty_times_leave_what_an_uninterrupted_one_leaves(
    tmp_path: Path, whole: dict[tuple[str, int], object]
) -> None:
    with ThreadPoolExecutor(2) as pool:
        left, right = pool.map(_killed, [tmp_path / "left", tmp_path / "right"])
    for folder, sizes in (left, right):
        assert sizes == sorted(sizes), "a resumed run lost what was there"
        assert 10 < sizes[-1] < 101, "the kills came too early or too late to show anything"
        run(folder, resume=True)
        assert journalled(folder) == whole
    assert len(whole) == len(PROBLEMS) * len(SEEDS)


def _killed(folder: Path) -> tuple[Path, list[int]]:
    """A run that is started and killed ten times, and how many lines it had each time."""
    rng = random.Random(folder.name)
    return folder, [_start_and_kill(folder, rng, early=number % 4 == 0) for number in range(KILLS // 2)]


def _start_and_kill(folder: Path, rng: random.Random, *, early: bool) -> int:
    """Kill -9 at a moment while it starts (`early`) or after it began to write. How many whole lines there are then."""
    journal = folder / "journal.jsonl"
    before = _lines(journal)
    wanted = before + (1 if early else rng.randint(2, 6))
    command = [
        sys.executable,
        "-m",
        "tests.support.replay_support",
        str(folder),
        *(["--resume"] if journal.exists() else []),
    ]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[3], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + (rng.random() * 2 if early else 300)
    while _lines(journal) < wanted and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.002)
    assert early or _lines(journal) >= wanted, "the run wrote no lines within five minutes"
    time.sleep(rng.random() * 0.05)  # at any place of a line, too
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return _lines(journal)


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.slow
def test_neither_the_order_nor_how_many_there_are_at_once_changes_a_text(
    tmp_path: Path, whole: dict[tuple[str, int], object]
) -> None:
    run(tmp_path, problems=PROBLEMS[::-1], parallel=16)
    assert journalled(tmp_path) == whole


def test_a_task_draws_as_the_same_problem_draws_when_it_is_solved_alone(
    sandbox: Sandbox, whole: dict[tuple[str, int], object]
) -> None:
    config = plan(Path("unused")).run.solver
    with BackgroundLoop() as loop:
        alone = [loop.run(Solver(Drawn(), sandbox, replace(config, seed=seed)).solve(PROBLEMS[7])) for seed in (0, 1)]
    assert told(alone) == {key: whole[key] for key in ((PROBLEMS[7].id, 0), (PROBLEMS[7].id, 1))}


def test_the_first_seed_is_done_before_the_second_begins(tmp_path: Path) -> None:
    run(tmp_path, seeds=(3, 4), parallel=1)
    header, results = read_journal(tmp_path / "journal.jsonl")
    assert header["seeds"] == [3, 4]
    assert [(result.seed, result.problem.id) for result in results] == [
        (seed, problem.id) for seed in (3, 4) for problem in PROBLEMS
    ]


@pytest.mark.slow
def test_a_resumed_run_may_have_more_seeds_and_does_not_repeat_the_first(
    tmp_path: Path, whole: dict[tuple[str, int], object]
) -> None:
    run(tmp_path, seeds=range(2))
    before = (tmp_path / "journal.jsonl").read_bytes().splitlines()
    run(tmp_path, resume=True)
    after = (tmp_path / "journal.jsonl").read_bytes().splitlines()
    assert after[1 : len(before)] == before[1:]
    assert json.loads(after[0])["seeds"] == list(SEEDS)
    assert journalled(tmp_path) == whole
    assert os.listdir(tmp_path) == ["journal.jsonl"]
    run(tmp_path, seeds=range(1), resume=True)  # fewer is less work, and forgets nothing
    assert (tmp_path / "journal.jsonl").read_bytes().splitlines() == after


def test_a_run_that_was_killed_while_its_header_was_rewritten_is_as_before(tmp_path: Path) -> None:
    run(tmp_path, seeds=range(1))
    (tmp_path / "journal.new").write_text('{"schema": 1, "see')
    run(tmp_path, seeds=range(2), resume=True)
    assert len(journalled(tmp_path)) == 40
    assert os.listdir(tmp_path) == ["journal.jsonl"]


def test_a_run_of_other_settings_or_problems_is_not_gone_on_with(tmp_path: Path) -> None:
    run(tmp_path, seeds=range(1))
    with pytest.raises(UserError, match="config seed is 0, now 1"):
        run(tmp_path, seeds=(1, 2), resume=True)
    with pytest.raises(UserError, match="problems are others"):
        run(tmp_path, problems=PROBLEMS[:3], resume=True)
    with pytest.raises(UserError, match="add --resume to go on"):
        run(tmp_path)


def test_a_run_may_go_on_with_more_at_once(tmp_path: Path) -> None:
    class Sized(Drawn):
        def __init__(self, slots: int) -> None:
            super().__init__()
            self.slots = slots

        def describe(self) -> dict[str, str | int]:
            return {"engine": "sized", "slots": self.slots}

    for parallel, seeds, resume in ((2, range(1), False), (5, range(2), True)):
        run(tmp_path, load=lambda _, slots: Sized(slots), parallel=parallel, seeds=seeds, resume=resume)
    assert len(journalled(tmp_path)) == 40


class Counting(Drawn):
    """Counts the problems that it has at once. From request number `dies_at` on it fails everything."""

    def __init__(self, dies_at: float = float("inf"), fails: str = "nothing") -> None:
        super().__init__(0.01)
        self.now: Counter[str] = Counter()
        self.most = self.requests = 0
        self._dies_at, self._fails = dies_at, fails

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        self.requests += 1
        task = request_id.rsplit("/", 2)[0]
        if self.requests >= self._dies_at or task == self._fails:
            raise EngineError("the model is gone")
        self.now[task] += 1
        self.most = max(self.most, len(+self.now))
        try:
            return await super().generate(prompt, params, request_id=request_id)
        finally:
            self.now[task] -= 1


def test_as_many_problems_are_solved_at_once_as_asked_for(tmp_path: Path) -> None:
    engine = Counting()
    run(tmp_path, load=lambda *_: engine, parallel=3, seeds=range(2))
    assert engine.most == 3


@pytest.mark.parametrize(
    ("engine", "candidates", "parallel", "expected"),
    [
        ("transformers", 48, None, (1, 48)),
        ("transformers", 16, None, (3, 48)),
        ("transformers", 1, None, (48, 48)),
        ("transformers", 48, 4, (4, 48)),  # more wait for a slot: each costs memory
        ("vllm", 48, None, (5, 240)),
        ("vllm", 48, 8, (8, 384)),
        ("vllm", 512, None, (1, 512)),
    ],
)
def test_by_default_as_many_at_once_as_the_engine_has_room_for(
    engine: Any, candidates: int, parallel: int | None, expected: tuple[int, int]
) -> None:
    chosen = RunConfig(solver=SolverConfig(candidates=candidates), engine=EngineConfig(engine=engine))
    made = Plan(run=chosen, folder=Path(), problems=PROBLEMS, seeds=[0], parallel=parallel)
    assert (made.at_once, made.slots) == expected


@pytest.mark.slow
def test_an_engine_that_dies_ends_the_run_and_costs_no_problem(
    tmp_path: Path, whole: dict[tuple[str, int], object]
) -> None:
    with pytest.raises(EngineError, match="3 tasks in a row failed, the last with: EngineError: the model is gone"):
        run(tmp_path, load=lambda *_: Counting(dies_at=90))
    faults = read_faults(tmp_path / "journal.jsonl")
    assert len(faults) >= 3
    assert all(fault.endswith("not solved with seed 1: EngineError: the model is gone") for fault in faults)
    assert 10 < len(journalled(tmp_path)) < 40
    run(tmp_path, resume=True)
    results = read_journal(tmp_path / "journal.jsonl")[1]
    hit = [result for result in results if any(trace.status is TraceStatus.FAILED for trace in result.traces)]
    assert len(hit) <= 4, "only what ran at that moment may have lost a candidate"
    unhit = [result for result in results if result not in hit]
    assert told(unhit) == {key: whole[key] for key in told(unhit)}
    assert set(told(results)) == set(whole)


@pytest.mark.slow
def test_a_task_that_fails_alone_is_told_and_tried_again(tmp_path: Path, whole: dict[tuple[str, int], object]) -> None:
    with pytest.raises(
        EngineError, match=r"1 of 100 tasks could not be solved, the first, p/4 with seed 2: .* tries them"
    ):
        run(tmp_path, load=lambda *_: Counting(fails="2:p/4"))
    assert read_faults(tmp_path / "journal.jsonl") == ["p/4: not solved with seed 2: EngineError: the model is gone"]
    assert len(journalled(tmp_path)) == 99
    run(tmp_path, resume=True)
    assert journalled(tmp_path) == whole


def test_a_bug_ends_the_run_and_what_had_ended_is_kept(tmp_path: Path) -> None:
    class Broken(Counting):
        async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
            if self.requests == 100:
                raise ZeroDivisionError("a bug")
            return await super().generate(prompt, params, request_id=request_id)

    with pytest.raises(ZeroDivisionError):
        run(tmp_path, load=lambda *_: Broken())
    assert 10 < len(journalled(tmp_path)) < 30


def test_one_seed_of_the_record_can_be_run_again_without_a_model(
    tmp_path: Path, whole: dict[tuple[str, int], object]
) -> None:
    run(tmp_path / "run", seeds=range(3), problems=PROBLEMS[:2])
    config = plan(tmp_path).run.solver
    for seed in (1, 2):
        engine = EngineConfig(engine="recorded", model=tmp_path / "run")
        recorded = RunConfig(solver=replace(config, seed=seed), engine=engine)
        with open_engine(recorded, problems=PROBLEMS[:2]) as (record, player), BackgroundLoop() as loop:
            again = loop.run(Solver(record, player, recorded.solver).solve(PROBLEMS[1]))
        assert told([again]) == {(PROBLEMS[1].id, seed): whole[PROBLEMS[1].id, seed]}
    other = replace(recorded, solver=replace(config, seed=7))
    with pytest.raises(UserError, match="has the seeds 0, 1, 2, not 7: choose one with --seed"), open_engine(other):
        pass


def test_a_problem_may_have_a_limit_of_time(tmp_path: Path) -> None:
    class Slow(Scripted):
        def __init__(self) -> None:
            super().__init__(lambda prompt, candidate, turn: "$\\boxed{1}$", delay=3600)

    outcomes = run(tmp_path, load=lambda *_: Slow(), seconds=0.2, problems=PROBLEMS[:8], seeds=range(1))
    assert [(outcome.fallback, outcome.late) for outcome in outcomes] == [(True, True)] * 8
    [*results] = read_journal(tmp_path / "journal.jsonl")[1]
    assert all(0.2 <= result.seconds < 600 for result in results)


def test_the_time_left_is_that_of_the_pace_so_far() -> None:
    times: Iterator[float] = iter([0.0, 100.0, *[130.0] * 9])
    progress = Progress(clock=lambda: next(times))
    progress.begin(10, [])
    task = plan(Path()).tasks[0]
    for _ in range(3):
        progress.begun(task)
    assert progress.seconds_left is None
    progress.failed(task, "x")
    progress.lost(task)
    progress.failed(task, "x")
    assert progress.line() == "2/10 | 0 running | 0:30 | about 2:00 to go"
