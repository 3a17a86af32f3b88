"""One problem, many candidates: votes, the stop rules, the deadlines, cancellation."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any

import pytest

from sctir_kaggle import (
    Completion,
    ExecutionResult,
    Problem,
    Prompt,
    SamplingParams,
    SolverConfig,
    SolveResult,
    TraceStatus,
)
from sctir_kaggle.engines.recorded import Recorded
from sctir_kaggle.engines.scripted import Scripted
from sctir_kaggle.journal import result_from_json, result_to_json
from sctir_kaggle.lab.whatif.timed import SimulatedLoop, run_simulated
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.session import summary
from sctir_kaggle.solver import Overtime, Solver
from sctir_kaggle.stopping import leader_risk
from sctir_kaggle.types import Answer
from sctir_kaggle.voting import Ballot

PROBLEM = Problem("p", "Add.", answer=42)


def boxed(answer: object) -> str:
    return f"It is $\\boxed{{{answer}}}$."


def solve(
    engine: Any, sandbox: Any, *, deadline: float = math.inf, hard: float | None = None, **fields: Any
) -> SolveResult:
    """`deadline` and `hard` in seconds from now, on a clock that only the waits of the engine move."""
    if math.isfinite(deadline):
        loop = SimulatedLoop()
        simulated = Solver(engine, sandbox, SolverConfig(**fields), clock=loop.time)
        return run_simulated(loop, simulated.solve(PROBLEM, deadline=deadline, hard_deadline=hard))
    solver, now = Solver(engine, sandbox, SolverConfig(**fields)), time.monotonic()
    latest = None if hard is None else now + hard
    return asyncio.run(asyncio.wait_for(solver.solve(PROBLEM, deadline=now + deadline, hard_deadline=latest), 600))


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


def test_a_result_without_votes_is_the_default_and_says_so(sandbox: Sandbox) -> None:
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


def observed(make: Callable[[], Scripted], sandbox: Sandbox) -> list[tuple[Answer | None, int]]:
    seen: list[tuple[Answer | None, int]] = []
    solver = Solver(make(), sandbox, SolverConfig(candidates=3, stop="none"))
    asyncio.run(solver.solve(PROBLEM, on_trace=lambda trace, vote: seen.append((vote.winner, len(vote.ranking)))))
    return seen


def test_an_observer_sees_the_vote_grow(sandbox: Sandbox) -> None:
    assert observed(lambda: answers(1, 1, 2), sandbox)[-1] == (1, 2)


class Late(Waiting):
    """Like Waiting, but the candidates of `late` answer, one after the other, once `after` seconds are over."""

    def __init__(self, table: dict[int, int], late: dict[int, int], *, after: float) -> None:
        super().__init__(table)
        self.late, self.after = late, after

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        candidate = int(request_id.split("/")[1])
        if candidate in self.late:
            await asyncio.sleep(self.after + 0.01 * candidate)
            return Completion(boxed(self.late[candidate]), tokens=5)
        return await super().generate(prompt, params, request_id=request_id)


def test_a_contested_vote_goes_on_after_its_deadline_until_it_is_decided(sandbox: Sandbox) -> None:
    engine = Late({0: 7, 1: 42}, {2: 42}, after=1.0)
    assert solve(engine, sandbox, candidates=3, deadline=0.1).answer == 7  # a tie, cut short
    result = solve(engine, sandbox, candidates=3, deadline=0.1, hard=3600)
    assert (result.answer, result.stopped) == (42, "all")


def test_a_vote_without_a_ballot_is_contested(sandbox: Sandbox) -> None:
    assert solve(Late({}, {0: 42}, after=0.3), sandbox, candidates=1, deadline=0.1, hard=3600).answer == 42


def test_an_uncontested_vote_ends_at_its_deadline_although_it_could_go_on(sandbox: Sandbox) -> None:
    engine = Waiting(dict.fromkeys(range(10), 42))
    result = solve(engine, sandbox, candidates=20, stop="exact", deadline=0.1, hard=3600)
    assert (result.answer, result.stopped, engine.cancelled) == (42, "deadline", 10)


def test_overtime_ends_as_soon_as_the_vote_is_not_contested_any_more(sandbox: Sandbox) -> None:
    engine = Late({0: 7, 1: 42}, dict.fromkeys(range(2, 14), 42), after=0.3)
    result = solve(engine, sandbox, candidates=26, deadline=0.1, hard=3600)
    assert (result.answer, result.stopped) == (42, "deadline")
    votes = len([trace for trace in result.traces if trace.status is TraceStatus.ANSWERED])
    assert 2 < votes < 14


def test_the_hard_deadline_ends_a_contested_vote(sandbox: Sandbox) -> None:
    result = solve(Waiting({0: 7, 1: 42}), sandbox, candidates=4, deadline=0.1, hard=0.3)
    assert (result.answer, result.stopped) == (7, "deadline")


def test_in_overtime_the_exact_stop_still_says_exact(sandbox: Sandbox) -> None:
    engine = Late({0: 7, 1: 42}, {2: 42, 3: 42}, after=0.3)
    result = solve(engine, sandbox, candidates=5, deadline=0.1, hard=3600, contested_risk=0.0)
    assert (result.answer, result.stopped) == (42, "exact")


def test_after_the_deadline_no_candidate_is_started(sandbox: Sandbox) -> None:
    engine = answers(42, 42)
    result = solve(engine, sandbox, candidates=2, deadline=-1)
    assert engine.prompts == {}
    assert [trace.status for trace in result.traces] == [TraceStatus.CANCELLED] * 2


def test_a_vote_that_all_leave_contested_is_settled_by_extra_candidates(sandbox: Sandbox) -> None:
    engine = answers(7, 42, 42, 42)
    assert solve(engine, sandbox, candidates=2).answer == 7  # a tie
    result = solve(engine, sandbox, candidates=2, extra_candidates=2)
    assert (result.answer, result.stopped) == (42, "all")
    assert [trace.candidate for trace in result.traces] == [0, 1, 2, 3]


def test_a_clear_vote_gets_no_extra_candidates(sandbox: Sandbox) -> None:
    engine = answers(*[42] * 12)
    result = solve(engine, sandbox, candidates=10, extra_candidates=2, stop="none")
    assert len(result.traces) == len(engine.prompts) == 10


def test_extra_candidates_are_cancelled_once_the_vote_is_not_contested_any_more(sandbox: Sandbox) -> None:
    engine = Waiting({0: 7, 1: 42, **dict.fromkeys(range(2, 12), 42)})
    result = solve(engine, sandbox, candidates=2, extra_candidates=20)
    assert (result.answer, result.stopped) == (42, "uncontested")
    assert [trace.status for trace in result.traces[-10:]] == [TraceStatus.CANCELLED] * 10
    assert result.risk is not None
    assert 0 < result.risk <= SolverConfig().contested_risk
    replayed = Recorded([result_from_json(result_to_json(result))])
    assert solve(replayed, replayed, candidates=2, extra_candidates=20) == result


def test_no_extra_candidate_outlives_the_deadlines(sandbox: Sandbox) -> None:
    started = time.monotonic()
    result = solve(Waiting({0: 7, 1: 42}), sandbox, candidates=2, extra_candidates=4, deadline=0.1, hard=0.4)
    assert (result.answer, result.stopped) == (7, "deadline")
    assert time.monotonic() - started < 10, "the engine waits for ever"
    assert solve(Waiting({0: 7}), sandbox, candidates=2, extra_candidates=4, deadline=0.1).traces[-1].candidate == 1


def test_the_beta_rule_stops_early_and_says_at_which_risk(sandbox: Sandbox) -> None:
    engine = Waiting(dict.fromkeys(range(8), 42))
    result = solve(engine, sandbox, candidates=48, stop="beta", stop_delta=0.05, stop_ballots=8)
    assert (result.answer, result.stopped) == (42, "beta")
    assert [trace.status for trace in result.traces] == [TraceStatus.ANSWERED] * 8 + [TraceStatus.CANCELLED] * 40
    risk = leader_risk([Ballot(candidate, 42) for candidate in range(8)], unfinished=40)
    assert result.risk == float(risk) < 0.05
    assert f"stopped by beta at a risk of {100 * float(risk):.2g} % |" in summary(result, 0)


def test_where_the_vote_is_decided_the_beta_rule_calls_it_exact(sandbox: Sandbox) -> None:
    result = solve(Waiting({0: 42, 1: 42}), sandbox, candidates=3, stop="beta")
    assert (result.answer, result.stopped, result.risk) == (42, "exact", None)


def test_the_beta_rule_waits_for_its_ballots(sandbox: Sandbox) -> None:
    engine = Waiting(dict.fromkeys(range(7), 42))
    assert solve(engine, sandbox, candidates=48, stop="beta", deadline=0.1).stopped == "deadline"


@pytest.mark.parametrize(("stop", "votes"), [("k=4", (42, 7, 42, 42, 42)), ("margin=2", (7, 42, 7, 7))])
def test_a_counted_stop_fires_with_the_vote_that_makes_it_true_and_bounds_its_risk(
    sandbox: Sandbox, stop: str, votes: tuple[int, ...]
) -> None:
    result = solve(Waiting(dict(enumerate(votes))), sandbox, candidates=16, stop=stop)
    assert (result.answer, result.stopped) == (votes[-1], stop.partition("=")[0])
    assert sum(trace.status is TraceStatus.CANCELLED for trace in result.traces) == 16 - len(votes)
    cast = [Ballot(candidate, answer) for candidate, answer in enumerate(votes)]
    assert result.risk == float(leader_risk(cast, unfinished=16 - len(votes))) > 0


def test_the_public_rule_4_of_8_may_end_a_vote_that_would_have_been_a_tie(sandbox: Sandbox) -> None:
    votes = (7, 7, 7, 42, 42, 42, 7, 42)
    assert solve(answers(*votes), sandbox, candidates=8, stop="none").vote.ranking == ((7, 4.0), (42, 4.0))
    result = solve(Waiting(dict(enumerate(votes[:7]))), sandbox, candidates=8, stop="k=4")
    assert (result.stopped, result.vote.ranking) == ("k", ((7, 4.0), (42, 3.0)))


def test_a_counted_stop_of_a_weighted_vote_adds_weights_and_knows_no_risk(sandbox: Sandbox) -> None:
    engine = Waiting({0: 1, 1: 1, 2: 1, 3: 42, 4: 42})
    result = solve(engine, sandbox, candidates=16, stop="k=2", vote="small=0.5")
    assert (result.stopped, result.vote.ranking, result.risk) == ("k", ((42, 2.0), (1, 1.5)), None)


def test_a_stop_that_is_reached_by_a_decided_vote_is_called_exact(sandbox: Sandbox) -> None:
    result = solve(Waiting(dict.fromkeys(range(5), 42)), sandbox, candidates=8, stop="k=5")
    assert (result.stopped, result.risk) == ("exact", None)


@pytest.mark.parametrize("stop", ["beta", "k=8", "margin=8"])
def test_a_run_stopped_at_a_risk_replays_equally(sandbox: Sandbox, stop: str) -> None:
    fields: dict[str, Any] = {"candidates": 48, "stop": stop}
    live = solve(Late(dict.fromkeys(range(5), 42), dict.fromkeys(range(5, 30), 42), after=0), sandbox, **fields)
    engine = Recorded([result_from_json(result_to_json(live))])
    assert live.stopped == stop.partition("=")[0]
    assert solve(engine, engine, **fields) == live


class EndlessSecondBlock:
    """Executor and engine: candidate 0's second block never ends; once it runs, 1, 2 and 4 answer; 3 writes for ever."""

    def __init__(self) -> None:
        self.running = asyncio.Event()

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        candidate, turn = map(int, request_id.split("/")[1:])
        if candidate == 0:
            return Completion(f"```python\n{turn}\n```\n```output\n", tokens=5)
        await self.running.wait()
        await asyncio.sleep(3600 if candidate == 3 else 0)
        return Completion(boxed(42), tokens=5)

    async def execute(self, code: str, *, request_id: str, deadline: float) -> ExecutionResult:
        if request_id == "p/0/1":
            self.running.set()
            await asyncio.sleep(3600)
        return ExecutionResult("1\n")

    def release(self, candidate_id: str) -> None:
        """Nothing to release."""


def test_a_run_with_a_turn_that_was_cut_short_says_what_was_lost_and_replays_equally() -> None:
    both = EndlessSecondBlock()
    live = solve(both, both, candidates=5)
    cuts = {trace.candidate: trace.cut for trace in live.traces if trace.cut}
    assert {candidate: (cut.request_id, cut.doing) for candidate, cut in cuts.items()} == {
        0: ("p/0/1", "executing"),
        3: ("p/3/0", "generating"),
    }
    assert cuts[0].turn is not None
    assert (cuts[0].turn.code, cuts[0].turn.execution) == ("1", None)
    engine = Recorded([result_from_json(result_to_json(live))])
    assert solve(engine, engine, candidates=5) == live
    assert live.stopped == "exact"


@pytest.mark.parametrize(
    ("votes", "unfinished", "contested"), [((3, 0), 0, False), ((1, 1), 4, True), ((9, 0), 4, False)]
)
def test_a_vote_is_contested_while_its_leader_may_still_lose(
    votes: tuple[int, int], unfinished: int, contested: bool
) -> None:
    cast = [Ballot(c, answer) for c, answer in enumerate([42] * votes[0] + [7] * votes[1])]
    assert Overtime(risk=0.05).is_contested(cast, unfinished=unfinished) is contested


def test_extra_candidates_are_started_only_where_they_may_overturn_the_vote() -> None:
    close, clear = [Ballot(0, 42), Ballot(1, 7)], [Ballot(c, 42) for c in range(20)]
    overtime = Overtime(risk=0.05, extra_candidates=8)
    assert (overtime.extra(close), overtime.extra(clear), Overtime(risk=0.05).extra(close)) == (8, 0, 0)


def test_without_a_known_risk_a_vote_is_contested_until_it_is_decided() -> None:
    cast = [Ballot(c, 42, 0.5) for c in range(8)]
    weighted = Overtime(risk=0.05, plain=False)
    assert weighted.is_contested(cast, unfinished=4)
    assert not weighted.is_contested(cast, unfinished=3)
