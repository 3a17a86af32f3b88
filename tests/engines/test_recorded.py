"""A recorded run, run again: every trace, vote and answer must come out the same."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle import (
    Completion,
    EngineError,
    Problem,
    Prompt,
    PromptTooLong,
    SamplingParams,
    SolverConfig,
    SolveResult,
)
from sctir_kaggle.engines.recorded import Recorded
from sctir_kaggle.engines.scripted import Scripted
from sctir_kaggle.journal import Journal, read_journal
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.solver import Solver

PROBLEM = Problem("p/with/slashes", "Add.")


class Chaotic(Scripted):
    """Candidates of every fate, in random order: answers, code, errors, silence, failures, a full context."""

    def __init__(self, seed: int) -> None:
        super().__init__(self.say)
        self.seed = seed

    def say(self, prompt: str, candidate: int, turn: int) -> str:
        rng = random.Random(f"{self.seed}/{candidate}/{turn}")
        fate = rng.random()
        if fate < 0.45:
            return f"```python\nprint({rng.randint(1, 3)})\nassert {rng.random() < 0.8}\n```\n```output\n"
        if fate < 0.85:
            return f"So $\\boxed{{{rng.choice([1, 1, 1, 2, 'x'])}}}$."
        if fate < 0.92:
            raise EngineError("dropped")
        if fate < 0.96:
            raise PromptTooLong("too long")
        return "Hm."

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        await asyncio.sleep(random.Random(f"{self.seed}{request_id}").random() * 0.05)
        return await super().generate(prompt, params, request_id=request_id)


def solve(engine: Any, executor: Any, config: SolverConfig, seconds: float = 60) -> SolveResult:
    return asyncio.run(Solver(engine, executor, config).solve(PROBLEM, deadline=time.monotonic() + seconds))


@pytest.mark.parametrize("stop", ["exact", "none"])
@pytest.mark.parametrize("seed", range(8))
def test_a_replay_equals_its_record(sandbox: Sandbox, seed: int, stop: Any, tmp_path: Path) -> None:
    config = SolverConfig(candidates=10, stop=stop)
    live = solve(Chaotic(seed), sandbox, config)
    with Journal.create(tmp_path / "j.jsonl", {}) as journal:
        journal.append(live)
    _, recorded = read_journal(tmp_path / "j.jsonl")
    engine = Recorded(recorded)
    assert solve(engine, engine, config) == live == recorded[0]


@pytest.mark.slow
def test_a_run_that_the_deadline_ended_replays_without_waiting(sandbox: Sandbox) -> None:
    class Slow(Chaotic):
        async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
            if int(request_id.rsplit("/", 2)[1]) % 2:
                await asyncio.sleep(3600)
            return await super().generate(prompt, params, request_id=request_id)

    config = SolverConfig(candidates=6)
    live = solve(Slow(1), sandbox, config, seconds=1.5)
    assert live.stopped == "deadline"
    engine = Recorded([live])
    assert solve(engine, engine, config) == live


@pytest.mark.slow
def test_a_full_record_gives_the_same_answer_with_the_stop_rule(sandbox: Sandbox) -> None:
    for seed in range(20):
        full = solve(Chaotic(seed), sandbox, SolverConfig(candidates=9, stop="none"))
        engine = Recorded([full])
        stopped = solve(engine, engine, SolverConfig(candidates=9, stop="exact"))
        assert stopped.answer == full.answer


def test_fewer_candidates_can_be_replayed_and_more_cannot(sandbox: Sandbox) -> None:
    full = solve(Chaotic(3), sandbox, SolverConfig(candidates=8, stop="none"))
    few = Recorded([full])
    assert {t.candidate for t in solve(few, few, SolverConfig(candidates=4, stop="none")).traces} == {0, 1, 2, 3}
    many = Recorded([full])
    traces = solve(many, many, SolverConfig(candidates=9, stop="none")).traces
    assert "not in the record" in next(trace for trace in traces if trace.candidate == 8).detail


def test_the_same_instance_replays_a_second_time(sandbox: Sandbox) -> None:
    config = SolverConfig(candidates=7)
    live = solve(Chaotic(5), sandbox, config)
    engine = Recorded([live])
    assert solve(engine, engine, config) == solve(engine, engine, config) == live


def test_other_settings_that_lead_to_another_prompt_are_refused_and_not_made_up(sandbox: Sandbox) -> None:
    texts = ["```python\nprint(1)\n```\n```output\n", "\nSo $\\boxed{1}$."]
    engine = Recorded([solve(Scripted({0: texts}), sandbox, SolverConfig(candidates=1, turns=4))])
    [trace] = solve(engine, engine, SolverConfig(candidates=1, turns=1)).traces
    assert (trace.status.value, trace.answer) == ("failed", None)
    assert "was recorded with another prompt" in trace.detail


def test_code_that_was_not_recorded_is_refused(sandbox: Sandbox) -> None:
    full = solve(
        Scripted({0: ["```python\nprint(1)\n```\n```output\n", "$\\boxed{1}$"]}), sandbox, SolverConfig(candidates=1)
    )
    recorded = Recorded([full])
    with pytest.raises(RuntimeError, match="did not run this code"):
        asyncio.run(recorded.execute("print(2)", request_id=f"{PROBLEM.id}/0/0", deadline=0))
