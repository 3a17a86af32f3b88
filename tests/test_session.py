"""A run over problems, from a thread of its own: journalled, resumed, interrupted."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from sctir_kaggle import Completion, Problem, Prompt, SamplingParams, SolverConfig
from sctir_kaggle.background import BackgroundLoop
from sctir_kaggle.budget import Budget
from sctir_kaggle.engines.scripted import Scripted
from sctir_kaggle.journal import Journal, read_journal
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.session import Session, summary
from sctir_kaggle.solver import Solver
from sctir_kaggle.types import Answer

PROBLEMS = [Problem(str(number), f"What is {number}?", number) for number in range(4)]


def echo(prompt: str, candidate: int, turn: int) -> str:
    number = prompt.split("What is ")[1].split("?")[0]
    return f"It is $\\boxed{{{number}}}$."


def session(tmp_path: Path, sandbox: Sandbox, loop: BackgroundLoop, *, resume: bool = False) -> Session:
    journal = (Journal.resume if resume else Journal.create)(tmp_path / "j.jsonl", {})
    return Session(Solver(Scripted(echo), sandbox, SolverConfig(candidates=3)), Budget(3600, 4), journal, loop)


def test_every_answer_is_journalled_before_it_is_returned(tmp_path: Path, sandbox: Sandbox) -> None:
    with BackgroundLoop() as loop:
        run = session(tmp_path, sandbox, loop)
        for problem in PROBLEMS:
            assert run.solve(problem).correct
            assert read_journal(tmp_path / "j.jsonl")[1][-1].problem == problem


def test_a_resumed_run_solves_only_what_is_left(tmp_path: Path, sandbox: Sandbox) -> None:
    with BackgroundLoop() as loop:
        first = session(tmp_path, sandbox, loop)
        first.solve(PROBLEMS[0])
        assert isinstance(first.journal, Journal)
        first.journal.close()
        second = session(tmp_path, sandbox, loop, resume=True)
        for problem in PROBLEMS:
            assert second.solve(problem).correct
        assert [result.problem.id for result in read_journal(tmp_path / "j.jsonl")[1]] == ["0", "1", "2", "3"]


def test_with_no_time_left_every_problem_still_gets_its_default(tmp_path: Path, sandbox: Sandbox) -> None:
    with BackgroundLoop() as loop:
        slow = Solver(Scripted(echo, delay=60), sandbox, SolverConfig(candidates=3))
        run = Session(slow, Budget(1e-9, 4), Journal.create(tmp_path / "j.jsonl", {}), loop)
        results = [run.solve(problem) for problem in PROBLEMS]
        assert [(result.answer, result.fallback) for result in results] == [(0, True)] * 4


def test_it_may_be_called_where_a_loop_is_running_already(tmp_path: Path, sandbox: Sandbox) -> None:
    async def cell(run: Session) -> Answer:
        return run.solve(PROBLEMS[3]).answer

    with BackgroundLoop() as loop:
        assert asyncio.run(cell(session(tmp_path, sandbox, loop))) == 3


def test_it_may_be_called_in_a_worker_thread(tmp_path: Path, sandbox: Sandbox) -> None:
    with BackgroundLoop() as loop:
        run = session(tmp_path, sandbox, loop)
        answers: list[Answer] = []
        thread = threading.Thread(target=lambda: answers.append(run.solve(PROBLEMS[2]).answer))
        thread.start()
        thread.join()
        assert answers == [2]


def test_closing_the_loop_cancels_what_runs_and_waits_for_it() -> None:
    began, ended = threading.Event(), threading.Event()

    async def work() -> None:
        try:
            began.set()
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.05)
            ended.set()

    loop = BackgroundLoop()
    threading.Thread(target=lambda: _swallow(loop, work), daemon=True).start()
    assert began.wait(60)
    loop.close()
    assert ended.is_set()
    loop.close()  # a second time does no harm


def _swallow(loop: BackgroundLoop, work: object) -> None:
    with pytest.raises(BaseException):  # noqa: B017, PT011
        loop.run(work())  # type: ignore[operator]


def test_the_summary_is_one_line_with_everything(tmp_path: Path, sandbox: Sandbox) -> None:
    with BackgroundLoop() as loop:
        line = summary(session(tmp_path, sandbox, loop).solve(PROBLEMS[1]), 99.4)
    assert line.startswith("1: 1 right | votes 1x2 | 2 answered, 1 cancelled | stopped by exact | ")
    assert line.endswith(" s | 99 s left")
    assert "\n" not in line


class Unused(Scripted):
    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        raise AssertionError("nothing is generated for a problem that is in the journal")


def test_a_journalled_problem_is_not_generated_again(tmp_path: Path, sandbox: Sandbox) -> None:
    with BackgroundLoop() as loop:
        first = session(tmp_path, sandbox, loop)
        first.solve(PROBLEMS[0])
        solver = Solver(Unused({}), sandbox, SolverConfig(candidates=3))
        assert Session(solver, Budget(3600, 4), first.journal, loop).solve(PROBLEMS[0]).answer == 0
