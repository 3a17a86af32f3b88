"""One problem, many candidates: votes, the exact stop, the deadline, cancellation."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any

import pytest

from sctir_kaggle import Completion, Problem, Prompt, SamplingParams, SolverConfig, SolveResult, TraceStatus
from sctir_kaggle.engines.scripted import Scripted
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.solver import Solver

PROBLEM = Problem("p", "Add.", answer=42)


def boxed(answer: object) -> str:
    return f"It is $\\boxed{{{answer}}}$."


def solve(engine: Any, sandbox: Sandbox, *, deadline: float | None = None, **fields: Any) -> SolveResult:
    solver = Solver(engine, sandbox, SolverConfig(**fields))
    limit = math.inf if deadline is None else time.monotonic() + deadline
    return asyncio.run(solver.solve(PROBLEM, deadline=limit))


def answers(*given: object) -> Scripted:
    return Scripted({candidate: [boxed(answer)] for candidate, answer in enumerate(given)})


class Waiting:
    """Answers at once what the table has; the other candidates wait until they are cancelled."""

    def __init__(self, table: dict[int, int], *, obeys: bool = True) -> None:
        self.table, self.obeys, self.cancelled = table, obeys, 0

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        candidate = int(request_id.split("/")[1])
        if candidate in self.table:
            return Completion(boxed(self.table[candidate]), tokens=5)
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                self.cancelled += 1
                if self.obeys:
                    raise


def test_the_majority_of_the_candidates_is_the_answer(sandbox: Sandbox) -> None:
    result = solve(answers(42, 7, 42, "x"), sandbox, candidates=4, stop="none")
    assert (result.answer, result.correct, result.stopped) == (42, True, "all")
    assert result.vote.ranking == ((42, 2.0), (7, 1.0))
    assert not result.fallback


def test_nobody_voting_gives_the_default_and_says_so(sandbox: Sandbox) -> None:
    result = solve(answers("x", "y"), sandbox, candidates=2, default_answer=13)
    assert (result.answer, result.fallback, result.vote.winner) == (13, True, None)


def test_a_decided_vote_cancels_the_rest(sandbox: Sandbox) -> None:
    engine = Waiting({2: 42, 3: 42, 4: 42})
    result = solve(engine, sandbox, candidates=5)
    assert (result.answer, result.stopped) == (42, "exact")
    assert [trace.status for trace in result.traces] == [TraceStatus.ANSWERED] * 3 + [TraceStatus.CANCELLED] * 2
    assert engine.cancelled == 2


def test_without_the_stop_rule_all_are_waited_for(sandbox: Sandbox) -> None:
    result = solve(answers(42, 42, 42, 42, 7), sandbox, candidates=5, stop="none")
    assert len(result.traces) == 5
    assert all(trace.status is TraceStatus.ANSWERED for trace in result.traces)


def test_at_the_deadline_the_vote_so_far_counts(sandbox: Sandbox) -> None:
    result = solve(Waiting({0: 7}), sandbox, candidates=4, deadline=0.2)
    assert (result.answer, result.stopped) == (7, "deadline")


def test_after_the_deadline_the_answer_comes_at_once(sandbox: Sandbox) -> None:
    result = solve(Waiting({}), sandbox, candidates=4, deadline=-1)
    assert (result.answer, result.fallback, result.stopped) == (0, True, "deadline")


@pytest.mark.parametrize(("voters", "stopped"), [(0, "deadline"), (3, "exact")])
def test_an_engine_that_ignores_its_cancellation_does_not_hang_the_solver(
    sandbox: Sandbox, voters: int, stopped: str
) -> None:
    async def main() -> SolveResult:
        engine = Waiting(dict.fromkeys(range(2, 2 + voters), 42), obeys=False)
        solver = Solver(engine, sandbox, SolverConfig(candidates=2 + voters, grace_seconds=0.1))
        seconds = math.inf if voters else 0.1
        result = await asyncio.wait_for(solver.solve(PROBLEM, deadline=time.monotonic() + seconds), 30)
        engine_tasks = asyncio.all_tasks() - {asyncio.current_task()}
        assert len(engine_tasks) == 2  # still there, and abandoned
        for task in engine_tasks:
            task.get_coro().close()  # type: ignore[union-attr, unused-ignore]
        return result

    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(main()).stopped == stopped


def test_candidates_run_their_code_while_others_write(sandbox: Sandbox) -> None:
    """No rounds: the quick candidates have ended before the slow one's first turn is written."""
    order: list[int] = []

    class Uneven(Scripted):
        async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
            if request_id == "p/0/0":
                await asyncio.wait_for(others_ended.wait(), 30)
            return await super().generate(prompt, params, request_id=request_id)

    others_ended = asyncio.Event()
    texts = ["```python\nprint(1)\n```\n```output\n", boxed(1)]
    engine = Uneven(dict.fromkeys(range(4), texts))

    def on_trace(trace: Any, vote: Any) -> None:
        order.append(trace.candidate)
        if len(order) == 3:
            others_ended.set()

    solver = Solver(engine, sandbox, SolverConfig(candidates=4, stop="none"))
    asyncio.run(solver.solve(PROBLEM, on_trace=on_trace))
    assert order[-1] == 0


def test_a_bug_is_raised_and_not_voted_away(sandbox: Sandbox) -> None:
    def broken(prompt: str, candidate: int, turn: int) -> str:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        solve(Scripted(broken), sandbox, candidates=3)


def test_cancelling_a_solve_cancels_its_candidates(sandbox: Sandbox) -> None:
    engine = Waiting({})

    async def main() -> None:
        task = asyncio.ensure_future(Solver(engine, sandbox, SolverConfig(candidates=6)).solve(PROBLEM))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.05)

    asyncio.run(main())
    assert engine.cancelled == 6


def test_48_candidates_with_real_code_come_to_one_vote(sandbox: Sandbox) -> None:
    def script(prompt: str, candidate: int, turn: int) -> str:
        if turn == 0:
            return f"```python\nx = {candidate % 5}\nprint(x * x)\n```\n```output\n"
        return boxed(prompt.rsplit("```output\n", 1)[1].split("\n")[0])

    result = solve(Scripted(script), sandbox, candidates=48, stop="none")
    assert dict(result.vote.ranking) == {0: 10, 1: 10, 4: 10, 9: 9, 16: 9}
    assert result.answer == 0  # three have ten: the tie goes to the lowest candidate


def observed(make: Callable[[], Scripted], sandbox: Sandbox) -> list[tuple[int | None, int]]:
    seen: list[tuple[int | None, int]] = []
    solver = Solver(make(), sandbox, SolverConfig(candidates=3, stop="none"))
    asyncio.run(solver.solve(PROBLEM, on_trace=lambda trace, vote: seen.append((vote.winner, len(vote.ranking)))))
    return seen


def test_an_observer_sees_the_vote_grow(sandbox: Sandbox) -> None:
    assert observed(lambda: answers(1, 1, 2), sandbox)[-1] == (1, 2)
