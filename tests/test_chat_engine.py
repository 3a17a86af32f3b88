"""The engine over chat servers: prompts become messages, replies become continuations of the prompt."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from sctir_kaggle import Completion, ExecutionResult, Problem, Turn
from sctir_kaggle.engines.openai_chat import INSTRUCTION, ChatEngine, messages_of
from sctir_kaggle.prompt import OUTPUT_FENCE, output_block, render
from sctir_kaggle.types import EngineError, PromptTooLong, SamplingParams
from tests.fake_server import DONE, Answer, FakeServer, data, refuses, usage

pytest.importorskip("httpx", reason="the engine needs the extra `openai`: pip install 'sctir-kaggle[openai]'")

CODE = "We compute.\n\n```python\nprint(6 * 7)\n```\n"
PROBLEM = Problem("p", "How much is $6 \\cdot 7$?")


def chunk(text: str | None = None, finish_reason: str | None = None, **fields: Any) -> bytes:
    return data({"choices": [{"delta": {"content": text}, "finish_reason": finish_reason, **fields}]})


def says(text: str, finish_reason: str = "stop", **fields: Any) -> Answer:
    return Answer([*map(chunk, text), chunk(None, finish_reason, **fields), usage(50, 9, 30), DONE])


def turn(text: str, output: str) -> Turn:
    result = ExecutionResult(output)
    return Turn(Completion(text), execution=result, bridge=(output_block(text, result, limit=100),))


@contextmanager
def served(*script: Answer, **options: Any) -> Iterator[tuple[ChatEngine, FakeServer]]:
    server = FakeServer(*script, owned_by="somebody")
    with server as fake, closing(ChatEngine.open(fake.url, pause=0.01, **options)) as engine:
        yield engine, fake


def ask(engine: ChatEngine, *turns: Turn, **params: Any) -> Completion:
    asked = SamplingParams(**{"stop": (OUTPUT_FENCE,), "seed": 2**40 + 5, "max_tokens": 64, **params})
    return asyncio.run(asyncio.wait_for(engine.generate(render(PROBLEM, turns), asked, request_id="p/0/0"), 30))


def test_a_prompt_becomes_the_problem_what_was_written_and_what_was_printed() -> None:
    turns = [turn(CODE + OUTPUT_FENCE, "42\n"), turn("\nAgain.\n```python\nprint()\n```\n" + OUTPUT_FENCE, "")]
    [prompt] = render(PROBLEM, turns)
    assert isinstance(prompt, str)
    assert [(message["role"], message["content"]) for message in messages_of(prompt)] == [
        ("system", INSTRUCTION),
        ("user", PROBLEM.text),
        ("assistant", CODE.strip()),
        ("user", "```output\n42\n```"),
        ("assistant", "Again.\n```python\nprint()\n```"),
        ("user", "```output\n\n```"),
    ]


@pytest.mark.parametrize("end", ["", "\n", "```output", "```output\n", "```output\n41\n```\nSo"])
def test_a_reply_that_ends_in_code_hands_over_however_its_end_was_cut(end: str) -> None:
    with served(says(CODE + end)) as (engine, _):
        said = ask(engine)
    assert (said.text, said.finish_reason, said.stop_reason) == (CODE + OUTPUT_FENCE, "stop", OUTPUT_FENCE)


def test_a_reply_without_code_ends_by_itself() -> None:
    with served(says("It is $\\boxed{42}$.")) as (engine, _):
        said = ask(engine)
    assert (said.text, said.stop_reason) == ("It is $\\boxed{42}$.", None)


def test_code_that_the_token_limit_cut_does_not_hand_over() -> None:
    with served(says("```python\nprint(6 *", "length")) as (engine, _):
        said = ask(engine)
    assert (said.text, said.finish_reason, said.stop_reason) == ("```python\nprint(6 *", "length", None)


def test_what_follows_an_output_begins_on_a_line_of_its_own() -> None:
    with served(says("It is 42.")) as (engine, _):
        assert ask(engine, turn(CODE + OUTPUT_FENCE, "42")).text == "\nIt is 42."


def test_tokens_are_the_servers_counts() -> None:
    with served(says(CODE)) as (engine, _):
        said = ask(engine)
    assert (said.tokens, said.prompt_tokens, said.cached_tokens) == (9, 50, 30)


def test_a_reply_that_was_not_streamed_is_understood() -> None:
    body = b'{"choices": [{"message": {"content": "It is 42."}, "finish_reason": "stop"}]}'
    with served(Answer([body], headers={"Content-Type": "application/json"})) as (engine, _):
        assert ask(engine).text == "It is 42."


def test_a_request_holds_what_was_asked_for_and_options_win_or_take_a_field_out() -> None:
    options = {"max_tokens": None, "max_completion_tokens": 64, "seed": None}
    with served(says("a"), says("b")) as (engine, fake):
        ask(engine, temperature=0.5)
        body = fake.bodies[0]
    assert body | {"messages": 0} == {
        **{"model": "m", "messages": 0, "max_tokens": 64, "temperature": 0.5, "top_p": 1.0, "stop": [OUTPUT_FENCE]},
        **{"seed": (2**40 + 5) % 2**31, "stream": True, "stream_options": {"include_usage": True}},
    }
    with served(says("a"), options=options) as (engine, fake):
        ask(engine)
        assert not {"max_tokens", "seed"} & fake.bodies[0].keys()
        assert fake.bodies[0]["max_completion_tokens"] == 64


def test_a_prompt_that_is_too_long_for_the_server_is_said_to_be() -> None:
    with served(refuses(400, "maximum context length is 10 tokens")) as (engine, _), pytest.raises(PromptTooLong):
        ask(engine)


def test_429_is_no_failed_try_while_there_is_patience() -> None:
    limited = [refuses(429, "slow down")] * 5
    with served(*limited, says("a"), tries=1, patience=30.0) as (engine, fake):
        assert ask(engine).text == "a"
        assert len(fake.bodies) == 6
    with served(*limited, tries=2) as (engine, fake), pytest.raises(EngineError, match="gave up after 2 tries"):
        ask(engine)


def test_a_pause_that_the_server_asks_for_is_kept_by_requests_that_wait_too() -> None:
    async def ask_all(engine: ChatEngine) -> None:
        asked = SamplingParams(max_tokens=8)
        names = [f"p{number}/0/0" for number in range(6)]
        await asyncio.gather(*(engine.generate(("Hi.",), asked, request_id=name) for name in names))

    first = refuses(429, "slow down", retry_after="1")
    with served(first, slots=1, tries=2) as (engine, fake):
        fake.otherwise = says("a")
        loop = asyncio.new_event_loop()
        started = loop.time()
        loop.run_until_complete(ask_all(engine))
        assert loop.time() - started >= 1.0
        loop.close()
        assert len(fake.bodies) == 7
