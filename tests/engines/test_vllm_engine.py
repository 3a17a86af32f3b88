"""The engine over vLLM, on vLLM's CPU build."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle import Solver, SolverConfig
from sctir_kaggle.dialects.rendering import render
from sctir_kaggle.dialects.rows import NUMINA, OUTPUT_FENCE
from sctir_kaggle.engines.vllm import VLLMEngine
from sctir_kaggle.engines.vllm_options import engine_arguments, version_of
from sctir_kaggle.problems import HELD_OUT, read_problems
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.types import Completion, EngineError, ExecutionResult, PromptTooLong, SamplingParams, Turn
from tests.support.vllm_support import (
    GREEDY,
    MODEL,
    SLOTS,
    Engines,
    ask,
    ask_all,
    free_blocks,
    inner,
    needs_vllm,
    prompts,
    run,
    twin,
)


@pytest.fixture
def engine(engines: Engines) -> VLLMEngine:
    return engines.load()


@pytest.fixture(scope="session")
def expected() -> list[Completion]:
    """The transformers engine's greedy completions of ten prompts, in float32."""
    from sctir_kaggle.engines.transformers import TransformersEngine

    engine = TransformersEngine.load(MODEL, slots=10, device="cpu")
    try:
        return ask_all(engine, [(prompt, GREEDY) for prompt in prompts(10)])
    finally:
        engine.close()


@pytest.fixture(scope="session")
def decode() -> Callable[[Completion], str]:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(MODEL)

    def decode(completion: Completion) -> str:
        ids = completion.token_ids[:-1] if completion.ended_by_token else completion.token_ids
        return str(tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    return decode


@needs_vllm
def test_greedy_completions_are_those_of_the_transformers_engine(
    expected: list[Completion], engine: VLLMEngine
) -> None:
    said = ask_all(engine, [(prompt, GREEDY) for prompt in prompts(10)])
    assert said == [
        replace(theirs, cached_tokens=ours.cached_tokens) for ours, theirs in zip(said, expected, strict=True)
    ]
    assert [completion.token_ids for completion in said] == [completion.token_ids for completion in expected]


@needs_vllm
def test_the_stop_string_stays_and_the_ids_are_exact(engine: VLLMEngine, decode: Callable[[Completion], str]) -> None:
    said = ask_all(engine, [(prompt, GREEDY) for prompt in prompts(12)])
    stopped = [completion for completion in said if completion.stop_reason == OUTPUT_FENCE]
    assert len(stopped) >= 8, "the model hardly writes code"
    assert all(completion.text.endswith(OUTPUT_FENCE) for completion in stopped)
    for completion in said:
        assert decode(completion) == completion.text
        assert completion.tokens == len(completion.token_ids)


@needs_vllm
def test_a_completion_is_cut_after_a_stop_string_that_ends_inside_a_token(
    engine: VLLMEngine, decode: Callable[[Completion], str]
) -> None:
    prompt = prompts(1)[0]
    whole = ask(engine, prompt, replace(GREEDY, stop=(), max_tokens=60))
    stops = [whole.text[start : start + 3] for start in range(0, len(whole.text) - 3, 4)]
    cut = ask_all(engine, [(prompt, replace(GREEDY, max_tokens=60, stop=("@never@", stop))) for stop in stops])
    for stop, completion in zip(stops, cut, strict=True):
        assert completion.text == whole.text[: whole.text.index(stop) + len(stop)]
        assert completion.stop_reason == stop
        assert decode(completion) == completion.text
    inside = [c for c in cut if c.token_ids != whole.token_ids[: len(c.token_ids)]]
    assert len(inside) > 5, "no stop string ended inside a token"


@needs_vllm
def test_the_end_of_the_sequence_and_the_limit_are_told_apart(
    engine: VLLMEngine, decode: Callable[[Completion], str]
) -> None:
    asked = render(NUMINA, read_problems(HELD_OUT)[0])
    short = ask(engine, asked, replace(GREEDY, stop=(), max_tokens=5))
    assert (short.finish_reason, short.stop_reason, short.tokens) == ("length", None, 5)
    ends = ask(engine, (*asked, "The answer is $\\boxed{7}$."), replace(GREEDY, max_tokens=1000))
    assert (ends.finish_reason, ends.stop_reason) == ("stop", None)
    assert decode(ends) == ends.text
    assert set(ends.token_ids[-1:]) == engine.tokenizer.end_ids
    assert ends.tokens == len(ends.token_ids)


@needs_vllm
def test_a_continued_turn_is_found_in_the_prefix_cache(engine: VLLMEngine) -> None:
    problem = read_problems(HELD_OUT)[3]
    first = ask(engine, render(NUMINA, problem), GREEDY)
    turn = Turn(first, code="1", execution=ExecutionResult("12"), bridge=("12\n```",))
    second = ask(engine, render(NUMINA, problem, [turn]), GREEDY)
    sent = first.prompt_tokens + first.tokens
    assert second.prompt_tokens > sent
    assert second.cached_tokens >= sent - 2 * 32, "less than all but two blocks was cached"


@needs_vllm
def test_a_seed_repeats_and_seeds_differ(engine: VLLMEngine) -> None:
    prompt, params = prompts(1)[0], SamplingParams(temperature=1.5, max_tokens=60)
    twice = [[ask(engine, prompt, replace(params, seed=seed)).text for seed in range(4)] for _ in range(2)]
    assert twice[0] == twice[1]
    assert len(set(twice[0])) == 4
    unseeded = ask_all(engine, [(prompt, params)] * 4)
    assert len({completion.text for completion in unseeded}) == 4


@needs_vllm
def test_48_concurrent_requests_share_steps(engine: VLLMEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, step = itertools.count(), inner(engine).step
    monkeypatch.setattr(inner(engine), "step", lambda: (next(steps), step())[1])
    requests = [(prompt, SamplingParams(max_tokens=100, seed=n)) for n, prompt in enumerate(prompts(48))]
    said = ask_all(engine, requests)
    assert len({completion.text for completion in said}) == 48
    assert next(steps) < sum(completion.tokens for completion in said) / 20


@needs_vllm
def test_prompts_that_do_not_fit_into_one_step_together_are_no_harm(engine: VLLMEngine) -> None:
    long = [("Add 1 and 2. " * 100 + str(number),) for number in range(SLOTS)]
    assert (
        SLOTS * len(engine.tokenizer.encode(long[0]))
        > inner(engine).vllm_config.scheduler_config.max_num_batched_tokens
    )
    requests = [(prompt, replace(GREEDY, temperature=0.8, max_tokens=2, seed=seed)) for seed, prompt in enumerate(long)]
    assert all(completion.tokens for completion in ask_all(engine, requests))
    assert engine.describe()["restarts"] == 0


@needs_vllm
def test_200_cancelled_requests_leave_nothing_behind(engine: VLLMEngine) -> None:
    ask(engine, prompts(1)[0], replace(GREEDY, max_tokens=1))
    free = free_blocks(engine)

    async def start_and_cancel() -> int:
        params = SamplingParams(temperature=1.0, max_tokens=1500)
        calls = [engine.generate(p, params, request_id=f"p/{n}/0") for n, p in enumerate(prompts(50) * 4)]
        tasks = [asyncio.ensure_future(call) for call in calls]
        while free_blocks(engine) > free - 48 or inner(engine).get_num_unfinished_requests() < 150:
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        return sum(isinstance(outcome, asyncio.CancelledError) for outcome in ended)

    assert run(start_and_cancel()) > 150
    ask(engine, prompts(1)[0], replace(GREEDY, max_tokens=1))  # when this is answered, the aborts have been seen
    assert inner(engine).get_num_unfinished_requests() == 0
    assert free_blocks(engine) == free
    assert inner(engine).engine_core.engine_core.scheduler.get_request_counts() == (0, 0)


@needs_vllm
def test_a_prompt_that_leaves_no_room_never_reaches_vllm(engine: VLLMEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    context = engine.context_length
    fits = ask(engine, ((5,) * (context - 3),), replace(GREEDY, stop=()))
    assert (fits.prompt_tokens, fits.finish_reason in ("length", "stop"), fits.tokens <= 2) == (context - 2, True, True)
    monkeypatch.setattr(inner(engine), "add_request", lambda *_: pytest.fail("it reached vLLM"))
    with pytest.raises(PromptTooLong, match=f"p/0/0.*{context}"):
        ask(engine, ((5,) * context,), GREEDY)
    for foreign in (-1, 1024):
        with pytest.raises(EngineError, match=r"0\.\.1023"):
            ask(engine, ((5, foreign),), GREEDY)


@needs_vllm
def test_sampling_parameters_that_vllm_refuses_are_an_engine_error(engine: VLLMEngine) -> None:
    for params in (replace(GREEDY, temperature=-1), replace(GREEDY, max_tokens=0), replace(GREEDY, top_p=2)):
        with pytest.raises(EngineError, match="p/0/0"):
            ask(engine, prompts(1)[0], params)
    assert ask(engine, prompts(1)[0], GREEDY).text


@needs_vllm
def test_it_serves_two_event_loops_at_once(engine: VLLMEngine, expected: list[Completion]) -> None:
    said: dict[int, list[Completion]] = {}

    def serve(half: int) -> None:
        said[half] = ask_all(engine, [(prompt, GREEDY) for prompt in prompts(10)[half::2]])

    threads = [threading.Thread(target=serve, args=(half,)) for half in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [said[n % 2][n // 2].text for n in range(10)] == [completion.text for completion in expected]


@needs_vllm
def test_it_says_what_it_is(engine: VLLMEngine) -> None:
    facts = engine.describe()
    assert {
        name: facts[name]
        for name in ("engine", "model", "dtype", "quantization", "context_length", "memory", "restarts")
    } == {
        "engine": "vllm",
        "model": "model",
        "dtype": "float32",
        "quantization": "none",
        "context_length": 2048,
        "memory": "0.9",
        "restarts": 0,
    }
    assert len(str(facts["weights"])) == 12


@needs_vllm
def test_a_second_engine_in_the_process_is_refused(engine: VLLMEngine) -> None:
    with pytest.raises(EngineError, match="close it"):
        VLLMEngine.load(MODEL)
    assert ask(engine, prompts(1)[0], GREEDY).text


@needs_vllm
def test_an_engine_argument_that_vllm_does_not_know_is_refused() -> None:
    choices: dict[str, Any] = {"slots": 1, "dtype": None, "context_length": None, "memory": 0.5}
    for typo, known in (("max_model_length", "max_model_len"), ("kv-cache-dtyp", "kv_cache_dtype")):
        with pytest.raises(EngineError, match=f"has no engine argument .*; did you mean {known}"):
            engine_arguments(str(MODEL), **choices, options={typo: 4})
    with pytest.raises(EngineError, match="qqqq, nor one of a similar name"):
        engine_arguments(str(MODEL), **choices, options={"qqqq": 4})
    with pytest.raises(EngineError, match="is the engine's model"):
        engine_arguments(str(MODEL), **choices, options={"model": "another"})
    assert engine_arguments(str(MODEL), **choices, options={"block-size": 64}).block_size == 64
    assert engine_arguments(str(MODEL), **choices).block_size == 32


@needs_vllm
def test_every_kind_of_engine_argument_is_handed_on() -> None:
    choices: dict[str, Any] = {"slots": 1, "dtype": None, "context_length": 512, "memory": 0.5}
    chosen = {
        "max-model-len": 1024,
        "kv_cache_dtype": "fp8",
        "speculative_config": {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 4},
        "max_num_batched_tokens": 4096,
        "enable_prefix_caching": False,
    }
    arguments = engine_arguments(str(MODEL), **choices, options=chosen)
    assert {name: getattr(arguments, name.replace("-", "_")) for name in chosen} == chosen


@needs_vllm
def test_activation_order_with_groups_is_refused_with_the_way_out(tmp_path: Path) -> None:
    quantization = {"quant_method": "gptq", "bits": 8, "group_size": 128, "desc_act": True, "sym": True}
    config = json.loads((MODEL / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "quantization_config": quantization}))
    import vllm  # type: ignore[import-not-found,unused-ignore]

    if version_of(vllm.__version__) < (0, 30):
        pytest.skip(f"vLLM {vllm.__version__} serves it")
    with pytest.raises(EngineError, match=r"desc_act=False"):
        engine_arguments(str(tmp_path), slots=1, dtype=None, context_length=None, memory=0.5)


@needs_vllm
def test_the_solver_solves_a_problem_with_it(engine: VLLMEngine, sandbox: Sandbox) -> None:
    config = SolverConfig(candidates=16, stop="none")
    result = run(Solver(engine, sandbox, config).solve(read_problems(HELD_OUT)[0]))
    assert result.correct is True
    later = [turn.completion for trace in result.traces for turn in trace.turns[1:]]
    assert sum(c.cached_tokens for c in later) >= 0.7 * sum(c.prompt_tokens for c in later)
    assert inner(engine).get_num_unfinished_requests() == 0


@needs_vllm
def test_vllm_is_restarted_once_after_a_death(engines: Engines) -> None:
    engine = engines.load(fresh=True, slots=8)

    def die() -> None:
        raise RuntimeError("CUDA error: an illegal memory access")

    inner(engine).step = die
    assert "illegal memory" in run(_failure(engine))
    assert ask(engine, prompts(1)[0], GREEDY).text.endswith(OUTPUT_FENCE)
    assert engine.describe()["restarts"] == 1
    inner(engine).step = die
    assert "illegal memory" in run(_failure(engine))
    with pytest.raises(EngineError, match="illegal memory"):
        ask(engine, prompts(1)[0], GREEDY)
    engines.close()


async def _failure(engine: VLLMEngine) -> str:
    """The error of a request that is in flight when the engine dies."""
    with pytest.raises(EngineError) as raised:
        await engine.generate(prompts(1)[0], GREEDY, request_id="p/0/0")
    return str(raised.value)


@needs_vllm
def test_the_8_bit_gptq_twin_agrees_with_the_model(engines: Engines, expected: list[Completion]) -> None:
    from tests.support.vllm_cpu import gptq_kernel

    folder = twin()
    gptq_kernel.register()
    engine = engines.load(folder)
    assert "gptq" in str(engine.describe()["quantization"])
    said = ask_all(engine, [(prompt, GREEDY) for prompt in prompts(10)])
    agreeing = sum(ours.text == theirs.text for ours, theirs in zip(said, expected, strict=True))
    assert agreeing >= 8, f"{agreeing} of 10 greedy completions are the float model's"
