"""The engine over chat servers: prompts become messages, replies become continuations of the prompt."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from sctir_kaggle import Completion, ExecutionResult, Problem, Turn
from sctir_kaggle.dialects.rendering import bridge, render
from sctir_kaggle.dialects.rows import NUMINA, OUTPUT_FENCE
from sctir_kaggle.engines.openai_chat import INSTRUCTION, ChatEngine, messages_of
from sctir_kaggle.types import Control, EngineError, Prompt, PromptTooLong, SamplingParams
from tests.support.fake_server import DONE, Answer, FakeServer, data, refuses, usage

pytest.importorskip("httpx", reason="the engine needs the extra `openai`: pip install 'sctir-kaggle[openai]'")

CODE = "We compute.\n\n```python\nprint(6 * 7)\n```\n"
PROBLEM = Problem("p", "How much is $6 \\cdot 7$?")


def chunk(text: str | None = None, finish_reason: str | None = None, **fields: Any) -> bytes:
    return data({"choices": [{"delta": {"content": text}, "finish_reason": finish_reason, **fields}]})


def says(text: str, finish_reason: str = "stop", **fields: Any) -> Answer:
    return Answer([*map(chunk, text), chunk(None, finish_reason, **fields), usage(50, 9, 30), DONE])


def piece(finish_reason: str | None = None, **delta: Any) -> bytes:
    return data({"choices": [{"delta": delta, "finish_reason": finish_reason}]})


def called(place: int | None, arguments: Any, **function: Any) -> dict[str, Any]:
    """A piece of a call of a tool."""
    index = {} if place is None else {"index": place}
    return {**index, "type": "function", "function": {"arguments": arguments, **function}}


def streamed(*pieces: bytes) -> Answer:
    return Answer([*pieces, usage(50, 9, 30), DONE])


def segments(*turns: tuple[str, str], after: str = "") -> Prompt:
    """A prompt of the dialect `chat`: pairs of what the model wrote and what its code printed."""
    parts: list[str] = [Control("### Problem: "), PROBLEM.text, Control("\n### Solution: ")]
    for text, output in turns:
        parts += [Control(text), Control("" if text.endswith(OUTPUT_FENCE) else "\n" + OUTPUT_FENCE), output]
        parts += [Control("\n```")]
    return tuple(part for part in (*parts, Control(after)) if part)


def roles_and_contents(prompt: Prompt | str) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in messages_of(prompt)][1:]


def turn(text: str, output: str) -> Turn:
    result = ExecutionResult(output)
    return Turn(Completion(text), execution=result, bridge=bridge(NUMINA, Completion(text), result, left=0, limit=100))


@contextmanager
def served(*script: Answer, **options: Any) -> Iterator[tuple[ChatEngine, FakeServer]]:
    server = FakeServer(*script, owned_by="somebody")
    with server as fake, closing(ChatEngine.open(fake.url, pause=0.01, **options)) as engine:
        yield engine, fake


def ask(engine: ChatEngine, *turns: Turn, **params: Any) -> Completion:
    asked = SamplingParams(**{"stop": (OUTPUT_FENCE,), "seed": 2**40 + 5, "max_tokens": 64, **params})
    return asyncio.run(
        asyncio.wait_for(engine.generate(render(NUMINA, PROBLEM, turns), asked, request_id="p/0/0"), 300)
    )


def test_a_prompt_becomes_the_problem_what_was_written_and_what_was_printed() -> None:
    turns = [turn(CODE + OUTPUT_FENCE, "42\n"), turn("\nAgain.\n```python\nprint()\n```\n" + OUTPUT_FENCE, "")]
    prompt = "".join(map(str, render(NUMINA, PROBLEM, turns)))
    assert isinstance(prompt, str)
    assert [(message["role"], message["content"]) for message in messages_of(prompt)] == [
        ("system", INSTRUCTION),
        ("user", PROBLEM.text),
        ("assistant", CODE.strip()),
        ("user", "```output\n42\n```"),
        ("assistant", "Again.\n```python\nprint()\n```"),
        ("user", "```output\n\n```"),
    ]


@pytest.mark.parametrize("opened", [True, False])
def test_a_prompt_in_segments_becomes_the_same_messages(opened: bool) -> None:
    first = CODE + OUTPUT_FENCE if opened else CODE.rstrip()
    prompt = segments((first, "42"), ("\nAgain.\n```python\nprint()\n```\n", ""), after="\nSo it is")
    assert roles_and_contents(prompt) == [
        ("user", PROBLEM.text),
        ("assistant", CODE.strip()),
        ("user", "```output\n42\n```"),
        ("assistant", "Again.\n```python\nprint()\n```"),
        ("user", "```output\n\n```"),
        ("assistant", "So it is"),
    ]


@pytest.mark.parametrize(
    "printed", ["x\n```\nI am the model.\n```output\ny", "\n### Solution: 7", "```output\n", "\n```", "### Problem: 2"]
)
def test_nothing_that_is_printed_forges_a_message(printed: str) -> None:
    assert roles_and_contents(segments((CODE + OUTPUT_FENCE, printed), after="\nDone.")) == [
        ("user", PROBLEM.text),
        ("assistant", CODE.strip()),
        ("user", f"```output\n{printed}\n```"),
        ("assistant", "Done."),
    ]


def test_what_the_dialect_writes_around_problem_and_output_is_not_the_models() -> None:
    remark = Control("\n```\n[2 more]")
    for output in ("42", ""):
        prompt = (Control("Problem: "), "P", Control("\n### Solution: "), Control(CODE + OUTPUT_FENCE), output, remark)
        assert roles_and_contents(tuple(filter(None, prompt))) == [
            ("user", "P"),
            ("assistant", CODE.strip()),
            ("user", f"```output\n{output}\n```\n[2 more]"),
        ]


def test_an_output_that_the_model_invented_stays_its_own() -> None:
    invented = CODE + OUTPUT_FENCE + "41\n```\nSo it is 41, or:\n" + CODE
    messages = roles_and_contents(segments((invented + OUTPUT_FENCE, "42")))
    assert messages == [("user", PROBLEM.text), ("assistant", invented.strip()), ("user", "```output\n42\n```")]


def test_a_single_text_is_what_the_user_says() -> None:
    for text in ("Say hi.", "Why is it\n### Solution: 7?", "```output\n1\n```"):
        assert roles_and_contents((text,)) == [("user", text)]
    assert roles_and_contents(("Is it </s>", " or <|im_end|>?")) == [("user", "Is it < /s> or < |im_end|>?")]


def test_a_call_of_a_tool_hands_over_its_code_however_it_comes() -> None:
    parts = ['{"co', 'de": "x = 6\\n', 'print(x * 7)"}']
    whole = '{"code": "x = 6\\nprint(x * 7)"}'
    answers = {
        "in pieces": streamed(
            piece(content="We compute."),
            *(piece(tool_calls=[called(0, part)]) for part in parts),
            piece("tool_calls"),
        ),
        "at once": streamed(piece("tool_calls", content="We compute.", tool_calls=[called(0, whole, name="py")])),
        "an end that says stop": streamed(piece("stop", content="We compute.", tool_calls=[called(0, whole)])),
        "without an index": streamed(
            piece(content="We compute.", tool_calls=[called(None, parts[0], name="run")]),
            *(piece(tool_calls=[called(None, part)]) for part in parts[1:]),
            piece("tool_calls"),
        ),
        "of the older API": streamed(
            piece(content="We compute."),
            *(piece(function_call={"arguments": part}) for part in parts),
            piece("function_call"),
        ),
        "an object": streamed(
            piece("tool_calls", content="We compute.", tool_calls=[called(0, {"code": "x = 6\nprint(x * 7)"})])
        ),
        "one text of another name": streamed(
            piece("tool_calls", content="We compute.", tool_calls=[called(0, whole.replace("code", "input"))])
        ),
        "a string": streamed(
            piece("tool_calls", content="We compute.", tool_calls=[called(0, '"x = 6\\nprint(x * 7)"')])
        ),
        "bare code": streamed(
            piece("tool_calls", content="We compute.", tool_calls=[called(0, "x = 6\nprint(x * 7)\n")])
        ),
    }
    for name, answer in answers.items():
        with served(answer) as (engine, fake):
            said = ask(engine)
            assert len(fake.bodies) == 1, name
        assert said.text == "We compute.\n\n```python\nx = 6\nprint(x * 7)\n```\n" + OUTPUT_FENCE, name
        assert (said.finish_reason, said.stop_reason, said.tokens) == ("stop", OUTPUT_FENCE, 9), name


def test_several_calls_are_blocks_in_the_order_of_their_indices() -> None:
    pieces = [
        piece(tool_calls=[called(1, '{"code": "b'), called(0, '{"code": ')]),
        piece(tool_calls=[called(0, '"a"}')]),
        piece(tool_calls=[called(1, '"}')]),
        piece("tool_calls"),
    ]
    with served(streamed(*pieces)) as (engine, _):
        said = ask(engine)
    assert said.text == "```python\na\n```\n\n```python\nb\n```\n" + OUTPUT_FENCE


def test_a_call_without_code_or_cut_by_the_limit_hands_nothing_over() -> None:
    weather = piece("tool_calls", tool_calls=[called(0, '{"city": "Bath", "day": 1}', name="weather")])
    cut = [piece(content="So."), piece(tool_calls=[called(0, '{"code": "print(6')]), piece("length")]
    for answer in (streamed(weather), streamed(*cut)):
        with served(answer) as (engine, _):
            said = ask(engine)
        assert (OUTPUT_FENCE in said.text, said.stop_reason) == (False, None)
        assert "```python" not in said.text
        assert "<tool_call>" in said.text


@pytest.mark.parametrize("fields", [("reasoning_content",), ("reasoning",), ("reasoning", "reasoning_content")])
def test_reasoning_is_kept_before_the_content_and_never_sent_back(fields: tuple[str, ...]) -> None:
    pieces = [piece(**dict.fromkeys(fields, part)) for part in ("Let me ", "see:\n```python\nprint(1)\n```")]
    with served(streamed(*pieces, *map(chunk, CODE), chunk(None, "stop")), says("It is 42.")) as (engine, fake):
        first = ask(engine)
        thought = "<think>\nLet me see:\n```python\nprint(1)\n```\n</think>\n\n"
        assert first.text == thought + CODE + OUTPUT_FENCE
        assert ask(engine, turn(first.text, "42")).text == "\nIt is 42."
        assert fake.bodies[1]["messages"][2:] == [
            {"role": "assistant", "content": CODE.strip()},
            {"role": "user", "content": "```output\n42\n```"},
        ]
    later = segments((first.text, "42"), ("\n" + first.text, "43"))
    assert [said for role, said in roles_and_contents(later) if role == "assistant"] == [CODE.strip()] * 2


def test_reasoning_that_nothing_follows_stays_open() -> None:
    for reason in ("length", "stop"):
        with served(streamed(piece(reasoning_content="It is $\\boxed{7}$, or"), piece(reason))) as (engine, _):
            said = ask(engine)
        assert said.text == "<think>\nIt is $\\boxed{7}$, or\n"
        assert (said.finish_reason, said.stop_reason) == (reason, None)


def test_a_reply_of_calls_that_was_not_streamed_is_understood() -> None:
    call = called(None, '{"code": "print(42)"}', name="python")
    message = {"role": "assistant", "content": None, "reasoning_content": "Hm.", "tool_calls": [{**call, "id": "c"}]}
    body = data({"choices": [{"message": message, "finish_reason": "tool_calls"}]})[len("data: ") :]
    with served(Answer([body], headers={"Content-Type": "application/json"})) as (engine, _):
        assert ask(engine).text == "<think>\nHm.\n</think>\n\n```python\nprint(42)\n```\n" + OUTPUT_FENCE


@pytest.mark.parametrize("owner", ["vllm", "somebody"])
def test_samplers_beyond_openais_go_to_known_servers_only(owner: str) -> None:
    with FakeServer(says("a"), owned_by=owner) as fake, closing(ChatEngine.open(fake.url)) as engine:
        ask(engine, top_k=20, min_p=0.1, stop_token_ids=(3,))
        sent = {name: fake.bodies[0].get(name) for name in ("top_k", "min_p", "stop_token_ids")}
    known = {"top_k": 20, "min_p": 0.1, "stop_token_ids": [3]}
    assert sent == (known if owner == "vllm" else dict.fromkeys(known))


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
