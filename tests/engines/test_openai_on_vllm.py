"""The engine over vLLM's own server, in its CPU build: what is said there, cancelled there, and lost when it is killed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle import Solver, SolverConfig
from sctir_kaggle.dialects.rendering import render
from sctir_kaggle.dialects.rows import NUMINA, OUTPUT_FENCE
from sctir_kaggle.engines.openai import OpenAIEngine
from sctir_kaggle.engines.openai_chat import ChatEngine
from sctir_kaggle.problems import HELD_OUT, read_problems
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.types import Completion, EngineError, ExecutionResult, PromptTooLong, SamplingParams, Turn
from tests.support.fake_server import free_port
from tests.support.vllm_support import GREEDY, MODEL, SLOTS, ask, ask_all, needs_vllm, prompts, run

pytest.importorskip("httpx", reason="the engine needs the extra `openai`: pip install 'sctir-kaggle[openai]'")

FLAGS = (
    *("--model", str(MODEL), "--served-model-name", "embedded", "--dtype", "float32", "--enforce-eager"),
    *("--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
    *("--block-size", "32", "--max-num-seqs", str(SLOTS), "--enable-prompt-tokens-details", "--host", "127.0.0.1"),
)

ENDLESS: dict[str, Any] = {"tokenizer": MODEL, "options": {"ignore_eos": True}}
LONG = SamplingParams(temperature=1.0, max_tokens=1500)
"""With `ENDLESS`, a request that takes seconds: time enough to cancel it or to kill its server."""


class Server:
    """vLLM's server with the embedded model, in a process group of its own; its output goes to `log`."""

    def __init__(self, log: Path) -> None:
        self.port, self._log = free_port(), log
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *FLAGS, "--port", str(self.port)]
        # A thread each: two servers share this machine, and threads that spin would starve the other's.
        environment = {"VLLM_CPU_KVCACHE_SPACE": "1", **os.environ, "OMP_NUM_THREADS": "1"}
        with log.open("w") as file:
            self._process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_until_ready(self, seconds: float = 240) -> None:
        end = time.monotonic() + seconds
        while not self._answers():
            assert self._process.poll() is None, self._log.read_text()[-2000:]
            assert time.monotonic() < end, self._log.read_text()[-2000:]
            time.sleep(0.2)

    def requests(self) -> int:
        """Running and waiting ones."""
        return self.count("num_requests_running") + self.count("num_requests_waiting")

    def count(self, name: str) -> int:
        """The value of vLLM's metric `name`."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=60) as response:
            text = response.read().decode()
        found = re.findall(rf"^vllm:{name}\{{.*\}} ([\d.e+]+)$", text, flags=re.MULTILINE)
        assert found, "vLLM has other metrics now"
        return int(sum(map(float, found)))

    def kill(self) -> None:
        """The server and the engine process that it has started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("vllm") / "server.log")
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def engine(server: Server) -> Iterator[OpenAIEngine]:
    with closing(OpenAIEngine.open(server.url, tokenizer=MODEL)) as engine:
        yield engine


@pytest.fixture(scope="module")
def text_engine(server: Server) -> Iterator[OpenAIEngine]:
    with closing(OpenAIEngine.open(server.url)) as engine:
        yield engine


@pytest.fixture(scope="module")
def chat(server: Server) -> Iterator[ChatEngine]:
    """Its server puts the BOS in front of messages, too, and the template takes no system message."""
    with closing(ChatEngine.open(server.url, options={"add_special_tokens": True})) as engine:
        yield engine


@pytest.fixture(scope="module")
def expected() -> list[Completion]:
    """The transformers engine's greedy completions of ten prompts, in float32."""
    from sctir_kaggle.engines.transformers import TransformersEngine

    with closing(TransformersEngine.load(MODEL, slots=10, device="cpu")) as engine:
        return ask_all(engine, [(prompt, GREEDY) for prompt in prompts(10)])


@pytest.fixture(scope="module")
def decode() -> Callable[[Completion], str]:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(MODEL)

    def decode(completion: Completion) -> str:
        ids = completion.token_ids[:-1] if completion.ended_by_token else completion.token_ids
        return str(tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    return decode


@needs_vllm
def test_greedy_completions_are_those_of_the_transformers_engine(
    expected: list[Completion], engine: OpenAIEngine
) -> None:
    said = ask_all(engine, [(prompt, GREEDY) for prompt in prompts(10)])
    assert said == [
        replace(theirs, cached_tokens=ours.cached_tokens) for ours, theirs in zip(said, expected, strict=True)
    ]
    assert [completion.token_ids for completion in said] == [completion.token_ids for completion in expected]


@needs_vllm
def test_as_text_the_same_is_said(expected: list[Completion], text_engine: OpenAIEngine) -> None:
    said = ask_all(text_engine, [(prompt, GREEDY) for prompt in prompts(10)])
    for ours, theirs in zip(said, expected, strict=True):
        assert (ours.text, ours.stop_reason, ours.prompt_tokens) == (
            theirs.text,
            theirs.stop_reason,
            theirs.prompt_tokens,
        )
        assert ours.token_ids == ()
        assert ours.tokens == theirs.tokens


@needs_vllm
def test_without_help_from_the_server_the_stop_string_is_found_and_the_request_ended(
    expected: list[Completion], server: Server
) -> None:
    with closing(OpenAIEngine.open(server.url)) as engine:
        engine._servers[0].kind = "unknown"
        said = ask_all(engine, [(prompt, replace(GREEDY, max_tokens=2000)) for prompt in prompts(10)])
        assert [completion.text for completion in said] == [completion.text for completion in expected]
        assert [completion.stop_reason for completion in said] == [completion.stop_reason for completion in expected]
        run(_until(lambda: server.requests() == 0, 20))


@needs_vllm
def test_a_completion_is_cut_after_a_stop_string_that_ends_inside_a_token(
    engine: OpenAIEngine, text_engine: OpenAIEngine, decode: Callable[[Completion], str]
) -> None:
    prompt = prompts(1)[0]
    whole = ask(engine, prompt, replace(GREEDY, stop=(), max_tokens=60))
    stops = [whole.text[start : start + 3] for start in range(0, len(whole.text) - 3, 4)]
    requests = [(prompt, replace(GREEDY, max_tokens=60, stop=("@never@", stop))) for stop in stops]
    for stop, exact, text in zip(stops, ask_all(engine, requests), ask_all(text_engine, requests), strict=True):
        assert exact.text == text.text == whole.text[: whole.text.index(stop) + len(stop)]
        assert exact.stop_reason == text.stop_reason == stop
        assert decode(exact) == exact.text
        assert exact.tokens == len(exact.token_ids)


@needs_vllm
def test_the_end_of_the_sequence_and_the_limit_are_told_apart(
    engine: OpenAIEngine, text_engine: OpenAIEngine, decode: Callable[[Completion], str]
) -> None:
    asked = render(NUMINA, read_problems(HELD_OUT)[0])
    for one in (engine, text_engine):
        short = ask(one, asked, replace(GREEDY, stop=(), max_tokens=5))
        assert (short.finish_reason, short.stop_reason, short.tokens) == ("length", None, 5)
        ends = ask(one, (*asked, "The answer is $\\boxed{7}$."), replace(GREEDY, max_tokens=1000))
        assert (ends.finish_reason, ends.stop_reason) == ("stop", None)
        assert decode(ends) == (ends.text if one is engine else "")
        assert "</s>" not in ends.text
    last = ask(engine, (*asked, "The answer is $\\boxed{7}$."), GREEDY).token_ids[-1]
    assert engine.tokenizer is not None
    assert last in engine.tokenizer.end_ids


@needs_vllm
def test_a_token_that_was_asked_to_end_it_is_the_reason(engine: OpenAIEngine, text_engine: OpenAIEngine) -> None:
    whole = ask(engine, prompts(1)[0], replace(GREEDY, stop=(), max_tokens=30))
    token = whole.token_ids[12]
    cut = whole.token_ids[: whole.token_ids.index(token) + 1]
    asked = replace(GREEDY, max_tokens=30, stop_token_ids=(token,))
    exact, text = ask(engine, prompts(1)[0], asked), ask(text_engine, prompts(1)[0], asked)
    assert (exact.token_ids, exact.stop_reason, exact.ended_by_token) == (cut, token, True)
    assert (text.text, text.stop_reason, text.tokens) == (exact.text, token, len(cut))


@needs_vllm
@pytest.mark.parametrize("narrowed", [{"top_k": 1}, {"min_p": 1.0}], ids=str)
def test_samplers_beyond_openais_are_minded(
    narrowed: dict[str, Any], expected: list[Completion], engine: OpenAIEngine, chat: ChatEngine
) -> None:
    params = replace(GREEDY, temperature=1.0, seed=3, **narrowed)
    assert ask(engine, prompts(1)[0], params).text == expected[0].text
    assert ask(chat, prompts(1)[0], params).text == expected[0].text


@needs_vllm
def test_as_messages_the_same_is_said(expected: list[Completion], chat: ChatEngine) -> None:
    """The model's chat template is the format that it was trained in."""
    said = ask_all(chat, [(prompt, GREEDY) for prompt in prompts(10)])
    for ours, theirs in zip(said, expected, strict=True):
        assert (ours.text, ours.finish_reason, ours.stop_reason) == (
            theirs.text.lstrip(),
            theirs.finish_reason,
            theirs.stop_reason,
        )
        assert (ours.tokens, ours.prompt_tokens, ours.token_ids) == (theirs.tokens, theirs.prompt_tokens, ())
    assert sum(completion.stop_reason == OUTPUT_FENCE for completion in said) >= 8


@needs_vllm
def test_a_message_that_was_begun_for_the_model_is_gone_on_with(engine: OpenAIEngine, chat: ChatEngine) -> None:
    asked = render(NUMINA, read_problems(HELD_OUT)[0], prefix="The answer is $\\boxed{")
    one, other = (ask(each, asked, replace(GREEDY, stop=("$",))) for each in (engine, chat))
    assert (other.text, other.stop_reason, other.prompt_tokens) == (one.text, "$", one.prompt_tokens)


@needs_vllm
def test_a_call_of_a_tool_that_the_server_parses_is_a_turn_with_code(server: Server) -> None:
    """The model is made to write it; vLLM's own parser takes it out of the content and streams it."""
    code = "x = 6\nprint(x * 7)"
    call = json.dumps({"name": "python", "arguments": {"code": code}})
    parameters = {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]}
    options = {
        "tools": [{"type": "function", "function": {"name": "python", "parameters": parameters}}],
        "structured_outputs": {"choice": [f"Let us see. <tool_call>\n{call}\n</tool_call>"]},
    }
    with closing(ChatEngine.open(server.url, options=options)) as engine:
        said = ask(engine, prompts(1)[0], replace(GREEDY, max_tokens=200))
    assert said.text == f"Let us see.\n\n```python\n{code}\n```\n{OUTPUT_FENCE}"
    assert (said.finish_reason, said.stop_reason) == ("stop", OUTPUT_FENCE)


@needs_vllm
def test_a_seed_repeats_and_seeds_differ(engine: OpenAIEngine) -> None:
    prompt, params = prompts(1)[0], SamplingParams(temperature=1.5, max_tokens=60)
    twice = [[ask(engine, prompt, replace(params, seed=2**62 + seed)).text for seed in range(4)] for _ in range(2)]
    assert twice[0] == twice[1]
    assert len(set(twice[0])) == 4
    assert len({completion.text for completion in ask_all(engine, [(prompt, params)] * 4)}) == 4


@needs_vllm
def test_a_continued_turn_is_found_in_the_prefix_cache(engine: OpenAIEngine) -> None:
    problem = read_problems(HELD_OUT)[3]
    first = ask(engine, render(NUMINA, problem), GREEDY)
    turn = Turn(first, code="1", execution=ExecutionResult("12"), bridge=("12\n```",))
    second = ask(engine, render(NUMINA, problem, [turn]), GREEDY)
    sent = first.prompt_tokens + first.tokens
    assert second.prompt_tokens > sent
    assert second.cached_tokens >= sent - 2 * 32, "less than all but two blocks was cached"


@needs_vllm
def test_cancelled_requests_end_at_the_server(server: Server) -> None:
    """Far fewer tokens are generated than the cancelled requests would have taken; a busy server may say so late."""
    before = server.count("generation_tokens_total")

    async def start_and_cancel(engine: OpenAIEngine) -> int:
        calls = [engine.generate(p, LONG, request_id=f"p/{n}/0") for n, p in enumerate(prompts(40) * 5)]
        tasks = [asyncio.ensure_future(call) for call in calls]
        await _until(lambda: server.requests() > 0)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        await _until(lambda: server.requests() == 0)
        assert all(isinstance(outcome, asyncio.CancelledError | Completion) for outcome in ended), ended
        return sum(isinstance(outcome, asyncio.CancelledError) for outcome in ended)

    with closing(OpenAIEngine.open(server.url, **ENDLESS)) as engine:
        cancelled = run(start_and_cancel(engine))
        assert cancelled > 100
        assert server.count("generation_tokens_total") - before < 200 * LONG.max_tokens / 2
        assert ask(engine, prompts(1)[0], GREEDY).text


async def _until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < end, "it did not come to that"
        await asyncio.sleep(0.02)


@needs_vllm
def test_the_context_ends_the_same_way_with_ids_and_with_text(engine: OpenAIEngine, text_engine: OpenAIEngine) -> None:
    assert engine.context_length == text_engine.context_length == 2048
    fits = ask(engine, ((5,) * 2045,), replace(GREEDY, stop=()))
    assert (fits.prompt_tokens, fits.finish_reason in ("length", "stop"), fits.tokens <= 2) == (2046, True, True)
    for one, prompt in ((engine, ((5,) * 2048,)), (text_engine, ("x " * 3000,))):
        with pytest.raises(PromptTooLong, match="p/0/0"):
            ask(one, prompt, GREEDY)
        assert ask(one, prompts(1)[0], replace(GREEDY, max_tokens=10**6)).stop_reason == OUTPUT_FENCE


@needs_vllm
def test_what_the_server_refuses_is_an_error_at_once(engine: OpenAIEngine) -> None:
    before = sum(counts["requests"] for counts in engine.counters.values())
    refused = [
        (prompts(1)[0], replace(GREEDY, temperature=-1)),
        (prompts(1)[0], replace(GREEDY, top_p=2)),
        (((5, 1024),), GREEDY),
        (((5, -1),), GREEDY),
    ]
    for prompt, params in refused:
        with pytest.raises(EngineError, match=r"p/0/0: .*status 4"):
            ask(engine, prompt, params)
    assert sum(counts["requests"] for counts in engine.counters.values()) == before + len(refused)


@needs_vllm
def test_it_says_what_it_is(engine: OpenAIEngine) -> None:
    facts = engine.describe()
    assert re.match(r"\d+\.\d+", str(facts.pop("version")))
    assert facts == {
        **{"engine": "openai", "model": "embedded", "server": "vllm"},
        **{"prompts": "token ids", "context_length": 2048},
    }


@needs_vllm
def test_the_solver_solves_a_problem_with_it(engine: OpenAIEngine, server: Server, sandbox: Sandbox) -> None:
    config = SolverConfig(candidates=16, stop="none")
    result = run(Solver(engine, sandbox, config).solve(read_problems(HELD_OUT)[0]))
    assert result.correct is True
    later = [turn.completion for trace in result.traces for turn in trace.turns[1:]]
    assert sum(c.cached_tokens for c in later) >= 0.7 * sum(c.prompt_tokens for c in later)
    run(_until(lambda: server.requests() == 0))
    assert all((counts["retries"], counts["dropped"]) == (0, 0) for counts in engine.counters.values())


@needs_vllm
def test_two_servers_share_the_load_and_one_takes_over_when_the_other_is_killed(
    server: Server, tmp_path: Path, expected: list[Completion]
) -> None:
    second = Server(tmp_path / "second.log")
    try:
        second.wait_until_ready()
        with closing(OpenAIEngine.open([server.url, second.url], tokenizer=MODEL)) as engine:
            asked = [(prompt, GREEDY) for prompt in prompts(10)]
            assert [completion.text for completion in ask_all(engine, asked)] == [c.text for c in expected]
            assert [counts["requests"] for counts in engine.counters.values()] == [5, 5]
        with closing(OpenAIEngine.open([server.url, second.url], **ENDLESS)) as engine:
            run(_kill_it_midway(engine, second))
            left, killed = engine.counters[server.url], engine.counters[second.url]
            assert 1 <= left["retries"] <= 12  # what the other had ended before it was killed is not asked again
            assert left == {"requests": 12 + left["retries"], "retries": left["retries"], "dropped": 0}
            assert 1 <= killed["dropped"] <= left["retries"]  # the others had no first token yet
            run(_until(lambda: server.requests() == 0))
    finally:
        second.kill()


async def _kill_it_midway(engine: OpenAIEngine, victim: Server) -> None:
    """All of 24 requests are answered, though half of them ran where nothing runs any more."""
    asked = [(prompt, replace(LONG, max_tokens=400, seed=n)) for n, prompt in enumerate(prompts(24))]
    calls = [engine.generate(*request, request_id=f"q/{n}/0") for n, request in enumerate(asked)]
    tasks = [asyncio.ensure_future(call) for call in calls]
    await _until(lambda: victim.requests() >= 11)
    await asyncio.to_thread(victim.kill)
    said = await asyncio.gather(*tasks)
    assert {completion.finish_reason for completion in said} == {"length"}
