"""One candidate, with a scripted engine and the real sandbox."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from sctir_kaggle import (
    Completion,
    EngineError,
    ExecutionStatus,
    ExecutorError,
    Problem,
    Prompt,
    PromptTooLong,
    Rollout,
    SamplingParams,
    SolverConfig,
    Trace,
    TraceStatus,
)
from sctir_kaggle.dialects.rows import FORCED_BOX
from sctir_kaggle.engines.scripted import Scripted
from sctir_kaggle.rollout import seed_for
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.types import Engine, ExecutionResult, PartialTurn

PROBLEM = Problem("p", "Add.")


def code(source: str, before: str = "Compute.\n") -> str:
    return f"{before}```python\n{source}\n```\n```output\n"


def run(sandbox: Sandbox, engine: Engine, config: SolverConfig | None = None, *, seconds: float = 60) -> Trace:
    rollout = Rollout(
        PROBLEM,
        3,
        engine=engine,
        executor=sandbox,
        config=config or SolverConfig(),
        deadline=time.monotonic() + seconds,
    )
    return asyncio.run(rollout.run())


def script(*texts: str) -> Scripted:
    return Scripted({3: texts})


def test_the_output_goes_back_and_the_answer_is_read(sandbox: Sandbox) -> None:
    engine = script(code("print(6 * 7)"), "\nThe answer is $\\boxed{42}$.")
    trace = run(sandbox, engine)
    assert (trace.status, trace.answer, trace.boxed) == (TraceStatus.ANSWERED, 42, "42")
    assert engine.prompts["p/3/1"].endswith("```output\n42\n```")


def test_what_is_saved_is_what_was_sent(sandbox: Sandbox) -> None:
    engine = script(code("print(1)"), code("print(2)"), "\n$\\boxed{2}$")
    trace = run(sandbox, engine)
    first, second, last = trace.turns
    saved = engine.prompts["p/3/0"] + first.completion.text + first.output_block + second.completion.text
    assert engine.prompts["p/3/2"] == saved + second.output_block
    assert last.output_block == ""


def test_a_traceback_goes_back_and_the_repair_counts(sandbox: Sandbox) -> None:
    engine = script(code("print(undefined)"), code("print(5)"), "\n$\\boxed{5}$")
    trace = run(sandbox, engine)
    assert "NameError: name 'undefined' is not defined" in engine.prompts["p/3/1"]
    assert [turn.execution.status for turn in trace.turns if turn.execution] == [
        ExecutionStatus.ERROR,
        ExecutionStatus.OK,
    ]
    assert trace.answer == 5


def test_variables_live_over_turns(sandbox: Sandbox) -> None:
    engine = script(code("a = 41"), code("print(a + 1)"), "\n$\\boxed{42}$")
    run(sandbox, engine)
    assert engine.prompts["p/3/2"].endswith("42\n```")


def test_the_last_turns_code_runs_and_the_box_is_then_forced(sandbox: Sandbox) -> None:
    engine = script(code("print(1)"), code("print(8)"), "8}$. And more.")
    trace = run(sandbox, engine, SolverConfig(turns=2))
    assert sum(turn.execution is not None for turn in trace.turns) == 2
    assert (trace.status, trace.answer) == (TraceStatus.ANSWERED, 8)
    assert trace.turns[-1].prefix == FORCED_BOX
    assert engine.prompts["p/3/2"].endswith("8\n```" + FORCED_BOX)
    assert trace.turns[-1].completion.text == "8}$"


def test_the_box_is_not_forced_where_the_field_says_no(sandbox: Sandbox) -> None:
    trace = run(sandbox, script(code("print(1)")), SolverConfig(turns=1, force_answer=False))
    assert (trace.status, trace.answer, len(trace.turns)) == (TraceStatus.EXHAUSTED, None, 1)


def test_a_forced_box_that_holds_no_integer_is_no_vote(sandbox: Sandbox) -> None:
    trace = run(sandbox, script(code("print(1)"), "\\frac{1}{2}}$"), SolverConfig(turns=1))
    assert (trace.status, trace.answer, trace.boxed) == (TraceStatus.EXHAUSTED, None, "\\frac{1}{2}")


def test_a_candidate_that_stops_without_a_box_after_its_code_is_asked_once(sandbox: Sandbox) -> None:
    trace = run(sandbox, script(code("print(9)"), "\nDone.", "9}$"))
    assert (trace.status, trace.answer, len(trace.turns)) == (TraceStatus.ANSWERED, 9, 3)


UNREADABLE = ["\\text{no solution}", "x", "3 \\text{ or } 4", "(1, 2)", "\\text{between } 3 \\text{ and } 5", "A"]


@pytest.mark.parametrize("box", UNREADABLE)
def test_a_box_after_code_that_cannot_be_read_is_asked_for_again(sandbox: Sandbox, box: str) -> None:
    engine = script(code("print(9)"), f"\nSo it is $\\boxed{{{box}}}$.", "9}$")
    trace = run(sandbox, engine)
    assert (trace.status, trace.answer, trace.boxed, len(trace.turns)) == (TraceStatus.ANSWERED, 9, "9", 3)
    assert engine.prompts["p/3/2"].endswith(f"\\boxed{{{box}}}$." + FORCED_BOX)


def test_two_different_boxes_after_code_are_asked_for_again(sandbox: Sandbox) -> None:
    trace = run(sandbox, script(code("print(9)"), "\nIt is $\\boxed{8}$ or $\\boxed{9}$.", "9}$"))
    assert (trace.answer, len(trace.turns)) == (9, 3)


def test_a_box_that_cannot_be_read_is_asked_for_once_only_and_kept(sandbox: Sandbox) -> None:
    trace = run(sandbox, script(code("print(9)"), "\n$\\boxed{x}$", "\\text{no number}}$"))
    assert (trace.status, trace.answer, trace.boxed) == (TraceStatus.EXHAUSTED, None, "\\text{no number}")
    trace = run(sandbox, script(code("print(9)"), "\n$\\boxed{x}$", "}$"))
    assert (trace.status, trace.answer, trace.boxed, len(trace.turns)) == (TraceStatus.EXHAUSTED, None, "x", 3)


@pytest.mark.parametrize("box", ["\\frac{5}{2}", "2.5"])
def test_a_fraction_in_a_box_after_code_is_an_answer_and_not_asked_for_again(sandbox: Sandbox, box: str) -> None:
    trace = run(sandbox, script(code("print(9)"), f"\n$\\boxed{{{box}}}$", "9}$"))
    assert (trace.answer, trace.boxed, len(trace.turns)) == (None, box, 2)


def test_a_number_out_of_range_in_a_box_is_not_asked_for_again(sandbox: Sandbox) -> None:
    config = SolverConfig(modulus=None, lowest=0, highest=99_999)
    trace = run(sandbox, script(code("print(9)"), "\n$\\boxed{-5}$", "9}$"), config)
    assert (trace.answer, trace.boxed, len(trace.turns)) == (None, "-5", 2)


def test_a_box_that_cannot_be_read_without_code_is_not_asked_for_again(sandbox: Sandbox) -> None:
    trace = run(sandbox, script("By symmetry $\\boxed{x}$.", "9}$"))
    assert (trace.status, trace.answer, trace.boxed, len(trace.turns)) == (TraceStatus.PRUNED, None, "x", 1)


def test_a_claim_after_code_ends_the_candidate_as_a_box_does(sandbox: Sandbox) -> None:
    claim = "\nFinal Answer: The final answer is $9$. I hope it is correct."
    trace = run(sandbox, script(code("print(9)"), claim, "8}$"))
    assert (trace.status, trace.answer, trace.boxed, len(trace.turns)) == (TraceStatus.ANSWERED, 9, "9", 2)


def test_an_answer_without_code_counts(sandbox: Sandbox) -> None:
    trace = run(sandbox, script("Two and two are $\\boxed{4}$."))
    assert (trace.status, trace.answer) == (TraceStatus.ANSWERED, 4)


def test_a_remark_after_the_box_does_not_lose_it(sandbox: Sandbox) -> None:
    trace = run(sandbox, script("So $\\boxed{4}$." + " This can be checked by hand." * 20))
    assert trace.answer == 4


def test_code_runs_before_a_box_of_the_same_turn_may_end_the_candidate(sandbox: Sandbox) -> None:
    guess = code("print(1)", before="It is $\\boxed{4}$. Check:\n")
    trace = run(sandbox, script(guess, "No, $\\boxed{1}$."))
    assert (trace.answer, trace.turns[0].execution is not None) == (1, True)


@pytest.mark.parametrize("text", ["I do not know.", "```python\nprint(1", "```output\n"])
def test_nothing_to_run_and_nothing_to_vote_with_is_pruned(sandbox: Sandbox, text: str) -> None:
    trace = run(sandbox, script(text))
    assert (trace.status, trace.answer) == (TraceStatus.PRUNED, None)


def test_a_complete_block_runs_although_the_model_did_not_ask_for_its_output(sandbox: Sandbox) -> None:
    engine = script("```python\nprint(3)\n```", "\n$\\boxed{3}$")
    assert run(sandbox, engine).answer == 3
    assert engine.prompts["p/3/1"].endswith("```python\nprint(3)\n```\n```output\n3\n```")


def test_without_turns_no_code_is_run_and_nothing_stops_the_text(sandbox: Sandbox) -> None:
    engine = script(code("print(1)") + "7\n```\nThe answer is $\\boxed{7}$.")
    trace = run(sandbox, engine, SolverConfig(turns=0))
    assert (trace.answer, len(trace.turns), trace.turns[0].execution) == (7, 1, None)
    assert engine.params["p/3/0"].stop == ()


def test_code_that_runs_into_the_deadline_is_a_time_out_in_the_trace(sandbox: Sandbox) -> None:
    trace = run(sandbox, script(code("while True: pass"), "\n$\\boxed{1}$"), seconds=0.5)
    assert trace.turns[0].execution is not None
    assert trace.turns[0].execution.status is ExecutionStatus.TIMEOUT
    assert trace.answer == 1


class Refusing:
    def __init__(self, error: EngineError) -> None:
        self.error = error

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        raise self.error


def test_a_prompt_too_long_is_a_status_and_not_an_error(sandbox: Sandbox) -> None:
    trace = run(sandbox, Refusing(PromptTooLong("5000 tokens, the context has 4096")))
    assert (trace.status, trace.detail) == (TraceStatus.OUT_OF_CONTEXT, "5000 tokens, the context has 4096")


def test_a_failing_engine_fails_the_candidate_only(sandbox: Sandbox) -> None:
    trace = run(sandbox, Refusing(EngineError("gone")))
    assert (trace.status, trace.detail) == (TraceStatus.FAILED, "EngineError: gone")


def test_a_completion_cut_by_the_context_is_out_of_context(sandbox: Sandbox) -> None:
    class Short(Scripted):
        async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
            return Completion("so far", finish_reason="length", tokens=6)

    assert run(sandbox, Short({})).status is TraceStatus.OUT_OF_CONTEXT


def test_every_turn_of_every_candidate_draws_its_own_seed() -> None:
    ids = [f"p/{candidate}/{turn}" for candidate in range(48) for turn in range(5)]
    assert len({seed_for(0, request_id) for request_id in ids}) == len(ids)
    assert seed_for(0, "p/0/0") == seed_for(0, "p/0/0") != seed_for(1, "p/0/0")
    assert all(0 <= seed_for(s, "p/0/0") < 2**63 for s in range(100))


def test_the_sampling_is_the_configs_and_the_forced_box_is_short(sandbox: Sandbox) -> None:
    engine = script(code("print(1)"), "1}$")
    run(sandbox, engine, SolverConfig(turns=1, temperature=0.5, top_p=0.9, max_tokens=100, force_tokens=8))
    first, forced = engine.params["p/3/0"], engine.params["p/3/1"]
    assert (first.temperature, first.top_p, first.max_tokens) == (0.5, 0.9, 100)
    assert (forced.temperature, forced.max_tokens, forced.stop) == (0.5, 8, ("$",))
    assert first.seed != forced.seed


class Stuck:
    """An engine and an executor whose first call of one kind never ends; `reached` says when it is there."""

    def __init__(self, kind: str, engine: Engine) -> None:
        self.kind, self.engine, self.reached = kind, engine, asyncio.Event()

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        if self.kind == "generate":
            await self._never()
        return await self.engine.generate(prompt, params, request_id=request_id)

    async def execute(self, code: str, *, request_id: str, deadline: float) -> ExecutionResult:
        if self.kind == "execute":
            await self._never()
        if self.kind == "fail":
            raise ExecutorError("no processes")
        return ExecutionResult("1\n")

    def release(self, candidate_id: str) -> None:
        """Nothing to release."""

    async def _never(self) -> None:
        self.reached.set()
        await asyncio.sleep(3600)


def rollout_of(stuck: Stuck, clock: Callable[[], float] = time.monotonic) -> Rollout:
    return Rollout(PROBLEM, 3, engine=stuck, executor=stuck, config=SolverConfig(), deadline=float("inf"), clock=clock)


def cancelled(kind: str, *texts: str) -> Trace:
    """The trace of a candidate that is cancelled ten seconds after it has begun what it never ends."""
    now = 100.0

    async def main() -> Trace:
        nonlocal now
        stuck = Stuck(kind, script(*texts))
        rollout = rollout_of(stuck, lambda: now)
        task = asyncio.ensure_future(rollout.run())
        await asyncio.wait_for(stuck.reached.wait(), 300)
        now += 10
        task.cancel()
        await asyncio.wait([task])
        return rollout.trace(TraceStatus.CANCELLED)

    return asyncio.run(main())


def test_a_candidate_cancelled_while_it_writes_says_so() -> None:
    trace = cancelled("generate")
    assert (trace.turns, trace.seconds) == ((), 10)
    assert trace.cut == PartialTurn("p/3/0", "generating", None, 10)


def test_a_candidate_cancelled_while_its_code_runs_keeps_what_it_wrote() -> None:
    trace = cancelled("execute", code("while True: pass"))
    assert trace.turns == ()
    assert trace.cut is not None
    assert (trace.cut.request_id, trace.cut.doing, trace.cut.seconds) == ("p/3/0", "executing", 10)
    assert trace.cut.turn is not None
    assert trace.cut.turn.completion.text == code("while True: pass")
    assert (trace.cut.turn.code, trace.cut.turn.execution) == ("while True: pass", None)


def test_a_candidate_that_the_sandbox_failed_keeps_what_it_wrote() -> None:
    async def main() -> Trace:
        return await rollout_of(Stuck("fail", script(code("print(1)")))).run()

    trace = asyncio.run(main())
    assert trace.status is TraceStatus.FAILED
    assert trace.cut is not None
    assert trace.cut.turn is not None
    assert trace.cut.turn.code == "print(1)"


def test_a_candidate_that_ended_by_itself_was_cut_nowhere(sandbox: Sandbox) -> None:
    assert run(sandbox, script(code("print(1)"), "$\\boxed{1}$")).cut is None
    assert run(sandbox, script("I do not know.")).cut is None
