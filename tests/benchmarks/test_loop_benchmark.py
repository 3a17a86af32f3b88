"""What `benchmarks.loop` measures with: meters that count right, on engines and event loops whose figures are known."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.executors import AtHand, Slowed
from benchmarks.loop_report import Run, figure, table
from benchmarks.meters import BEAT, Listened, StepMeter, timed
from sctir_kaggle import Problem, Solver, SolverConfig, SolveResult
from sctir_kaggle.engines.scripted import Scripted
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.types import Completion, ExecutionResult, ExecutorError, Prompt, SamplingParams, TraceStatus

PROBLEM = Problem("p", "?", 42)
CODE = "```python\nx = {}\nprint(x)\n```\n```output\n"
SCRIPT = {0: [CODE.format(1), "$\\boxed{42}$"], 1: [CODE.format(2), "$\\boxed{42}$"]}


class Counting:
    """An engine whose completions say 10 tokens a turn, for prompts of 40, 60, 80, ... of which it had 32 a turn."""

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        turn = int(request_id.rpartition("/")[2])
        return Completion("", tokens=10, prompt_tokens=40 + 20 * turn, cached_tokens=32 * turn)


def listened(turns: int) -> Listened:
    engine = Listened(Counting())

    async def ask() -> None:
        for turn in range(turns):
            await engine.generate((), SamplingParams(), request_id=f"p/0/{turn}")

    asyncio.run(ask())
    return engine


def test_what_a_first_turn_sends_is_not_sent_again() -> None:
    assert listened(1).resent() == (0, 0)


def test_a_turn_sends_the_last_prompt_and_completion_again() -> None:
    assert listened(2).resent() == (50, 32)
    assert listened(3).resent() == (50 + 70, 32 + 64)


def test_of_what_is_sent_again_only_full_blocks_may_be_asked_for() -> None:
    assert listened(3).resent(block=32) == (32 + 64, 32 + 64)


def test_a_shorter_prompt_than_before_is_sent_again_as_a_whole() -> None:
    engine = listened(1)
    engine.completions["p/0/1"] = Completion("", tokens=1, prompt_tokens=20, cached_tokens=16)
    assert engine.resent() == (20, 16)


def test_the_lag_of_an_event_loop_that_hangs_counts_at_every_beat() -> None:
    async def hang() -> None:
        await asyncio.sleep(3 * BEAT)
        time.sleep(20 * BEAT)
        await asyncio.sleep(3 * BEAT)

    took = asyncio.run(timed(hang()))[1]
    assert sum(lag > 5 * BEAT for lag in took.lags) >= 10
    assert max(took.lags) >= 15 * BEAT


def test_cpu_time_is_the_event_loop_threads_own() -> None:
    async def compute(seconds: float) -> None:
        until = time.thread_time() + seconds
        while time.thread_time() < until:
            pass

    async def wait_for_a_thread() -> None:
        await asyncio.to_thread(asyncio.run, compute(0.2))

    assert asyncio.run(timed(compute(0.2)))[1].cpu >= 0.2
    assert asyncio.run(timed(wait_for_a_thread()))[1].cpu < 0.1


class Played:
    """vLLM's engine and its core at once: two requests, a token each a step, and ids with vLLM's own ending."""

    def __init__(self) -> None:
        self.engine_core = self
        self.vllm_config = SimpleNamespace(cache_config=SimpleNamespace(block_size=32))
        self.resets = 0

    def step(self) -> Any:
        return self.engine_core.get_output()

    def get_output(self) -> Any:
        ids = ("p/0/0#1-1f2e", "p/1/0#2")
        return SimpleNamespace(outputs=[SimpleNamespace(request_id=name, new_token_ids=[5]) for name in ids])

    def has_unfinished_requests(self) -> bool:
        return False

    def reset_prefix_cache(self) -> bool:
        self.resets += 1
        return self.resets > 1


def test_steps_and_tokens_are_counted_by_request_from_the_restart_on() -> None:
    played = Played()
    meter = StepMeter(SimpleNamespace(_loop=SimpleNamespace(engine=played)))  # type: ignore[arg-type]
    played.step()
    steps = asyncio.run(meter.restart())
    for _ in range(3):
        played.step()
    assert steps.count == 3
    assert steps.tokens == {"p/0/0": 3, "p/1/0": 3}
    assert steps.seconds > 0


def test_a_restart_waits_until_the_prefix_cache_is_empty() -> None:
    played = Played()
    asyncio.run(StepMeter(SimpleNamespace(_loop=SimpleNamespace(engine=played))).restart())  # type: ignore[arg-type]
    assert played.resets == 2


def solved(sandbox: Sandbox) -> SolveResult:
    config = SolverConfig(candidates=2, stop="none")
    return asyncio.run(Solver(Scripted(SCRIPT), sandbox, config).solve(PROBLEM))


def test_outputs_at_hand_give_the_same_traces_as_the_code_that_ran(sandbox: Sandbox) -> None:
    result = solved(sandbox)
    config = SolverConfig(candidates=2, stop="none")
    again = asyncio.run(Solver(Scripted(SCRIPT), AtHand([result]), config).solve(PROBLEM))
    # Which of two candidates ends first is the machine's to say.
    assert sorted(again.traces, key=lambda trace: trace.candidate) == sorted(
        result.traces, key=lambda trace: trace.candidate
    )
    assert again.vote == result.vote
    assert {trace.status for trace in again.traces} == {TraceStatus.ANSWERED}


def test_a_turn_that_has_no_output_at_hand_takes_another_of_its_problem(sandbox: Sandbox) -> None:
    at_hand = AtHand([solved(sandbox)])
    found = asyncio.run(at_hand.execute("", request_id="p/7/3", deadline=0))
    assert found.output.strip() in {"1", "2"}
    with pytest.raises(ExecutorError):
        asyncio.run(at_hand.execute("", request_id="q/0/0", deadline=0))


def test_slowed_code_computes_first_and_prints_the_same(sandbox: Sandbox) -> None:
    slowed = Slowed(sandbox, 0.2)
    call = slowed.execute("print(6 * 7)", request_id="slow/0/0", deadline=time.monotonic() + 30)
    result: ExecutionResult = asyncio.run(call)
    slowed.release("slow/0")
    assert result.output.strip() == "42"
    assert slowed.busy == result.seconds >= 0.2


def runs() -> dict[str, list[Run]]:
    def run(seconds: float, tokens: int, right: float | None) -> Run:
        return Run(seconds, tokens, 10, 0.9, 0.02, [0.001] * 99 + [0.5], (200, 150), (150, 150), right)

    return {
        "a": [run(80, 400, 80.0), run(90, 400, 82.0)],
        "b": [run(21, 300, 90.0), run(23, 300, 90.0)],
        "c": [run(20, 100, 90.0), run(30, 200, 90.0)],
        "d": [run(20, 300, None), run(20, 300, None)],
    }


def test_ratios_are_taken_round_by_round() -> None:
    text = table("2 problems", runs())
    assert "(c) is 3.50 (3.00-4.00) x as fast as (a), and samples 3.00 (2.00-4.00) x fewer tokens." in text
    assert "(b) takes 1.10 (1.05-1.15) x as long as (d)." in text


def test_a_row_gives_medians_and_a_way_without_answers_none() -> None:
    text = table("2 problems", runs())
    assert (
        "| (a) published algorithm | 85.0 (80.0-90.0) | 400 | 75 % (100 %) | 90 % | 2.0 % | 1.0 / 1.0 | 81.0 % |"
        in text
    )
    assert text.count("| - |\n") == 1


def test_only_the_ways_that_ran_are_compared() -> None:
    text = table("2 problems", {name: runs()[name] for name in "bc"})
    assert "as fast as" not in text
    assert "as long as" not in text


def test_a_figure_is_drawn_of_what_ran(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the figure needs the extra `plots`")
    figure(runs(), tmp_path / "loop.svg")
    assert (tmp_path / "loop.svg").read_text().count("published algorithm") >= 1
