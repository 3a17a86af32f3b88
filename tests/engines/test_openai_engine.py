"""The engine over OpenAI-compatible servers: one on loopback that answers as a test scripts it, then vLLM's own on a CPU."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import pytest

from sctir_kaggle.dialects.tokenizer import Tokenizer
from sctir_kaggle.engines.openai import OpenAIEngine
from sctir_kaggle.engines.openai_refusals import room_said
from sctir_kaggle.engines.openai_server import seconds_to_wait, server_at
from sctir_kaggle.engines.plain_text import plain_text
from sctir_kaggle.problems import ASSETS
from sctir_kaggle.types import Control, EngineError, PromptTooLong, SamplingParams
from tests.support.fake_server import DONE, Answer, FakeServer, data, event, free_port, refuses, says, usage

pytest.importorskip("httpx", reason="the engine needs the extra `openai`: pip install 'sctir-kaggle[openai]'")

MODEL = ASSETS / "model"
STOP = "```output\n"
PARAMS = SamplingParams(max_tokens=50, stop=(STOP,), seed=11)
PLAIN = "somebody"


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@contextmanager
def served(*script: Answer, engine: dict[str, Any] | None = None, **server: Any) -> Iterator[tuple[Any, FakeServer]]:
    """An engine on one fake server."""
    with FakeServer(*script, **server) as fake, closing(opened(fake, **(engine or {}))) as opened_engine:
        yield opened_engine, fake


def opened(*fakes: FakeServer, **options: Any) -> OpenAIEngine:
    return OpenAIEngine.open([fake.url for fake in fakes], **{"pause": 0.01, **options})


def ask(engine: OpenAIEngine, prompt: Any = ("Hi.",), params: SamplingParams = PARAMS, name: str = "p/0/0") -> Any:
    return run(engine.generate(prompt, params, request_id=name))


def ask_all(engine: OpenAIEngine, names: list[str]) -> list[Any]:
    async def every() -> list[Any]:
        return await asyncio.gather(*(engine.generate(("Hi.",), PARAMS, request_id=name) for name in names))

    said: list[Any] = run(every())
    return said


def run(work: Any, seconds: float = 30) -> Any:
    return asyncio.run(asyncio.wait_for(work, seconds))


def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.002)


def test_a_stream_becomes_a_completion() -> None:
    answer = Answer([event("So 1"), event("2."), event(finish_reason="stop", stop_reason=None), usage(9, 3, 8), DONE])
    with served(answer) as (engine, _):
        said = ask(engine)
    assert (said.text, said.token_ids, said.finish_reason, said.stop_reason) == ("So 12.", (), "stop", None)
    assert (said.tokens, said.prompt_tokens, said.cached_tokens) == (3, 9, 8)


def test_a_stream_may_be_cut_anywhere() -> None:
    text = "π is 3, \u2028 \x85 \r\n or \U0001d6d1"
    whole = b": a comment\r\n\r\nevent: x\n" + event(text, finish_reason="length") + usage(1, 2) + DONE.rstrip()
    with served(Answer([whole[place : place + 1] for place in range(len(whole))])) as (engine, _):
        said = ask(engine)
    assert (said.text, said.finish_reason, said.tokens) == (text, "length", 2)


def test_a_server_that_does_not_stream_is_understood() -> None:
    body = (
        b'{"choices": [{"text": "12", "finish_reason": "stop"}], "usage": {"prompt_tokens": 4, "completion_tokens": 2}}'
    )
    with served(Answer([body], headers={"Content-Type": "application/json"})) as (engine, _):
        said = ask(engine)
    assert (said.text, said.tokens, said.prompt_tokens) == ("12", 2, 4)


def test_without_usage_and_end_mark_the_pieces_are_counted() -> None:
    with served(Answer([event("a"), event("b"), event("c", finish_reason="length")])) as (engine, _):
        said = ask(engine)
    assert (said.text, said.tokens, said.prompt_tokens, said.cached_tokens) == ("abc", 3, 0, 0)


def test_the_end_may_break_off_once_the_completion_is_whole() -> None:
    with served(Answer([event("a", finish_reason="stop")], end="drop")) as (engine, _):
        assert ask(engine).text == "a"
        assert list(engine.counters.values()) == [{"requests": 1, "retries": 0, "dropped": 0}]


@pytest.mark.parametrize("text", ["code" + STOP, "code", "code" + STOP + "7\n"], ids=["kept", "left off", "overrun"])
@pytest.mark.parametrize("field", ["stop_reason", "matched_stop"])
def test_the_stop_string_that_a_server_names_ends_the_text(text: str, field: str) -> None:
    with served(says(text, **{field: STOP})) as (engine, fake):
        said = ask(engine)
    assert (said.text, said.finish_reason, said.stop_reason) == ("code" + STOP, "stop", STOP)
    assert fake.bodies[0]["stop"] == [STOP]


def test_the_end_of_the_sequence_is_no_stop_string() -> None:
    for field in ({"stop_reason": None}, {"matched_stop": 2}, {}):
        with served(says("7.", **field)) as (engine, _):
            said = ask(engine)
        assert (said.text, said.finish_reason, said.stop_reason) == ("7.", "stop", None)


def test_where_a_server_does_not_name_the_stop_string_it_is_found_here_and_the_stream_closed() -> None:
    for pieces in (["code``", "`out", "put", "\n7", "7"], ["code" + STOP + "7"], [*"code" + STOP]):
        answer = Answer([event(piece) for piece in pieces], end="hang")
        with served(answer, owned_by=PLAIN) as (engine, fake):
            said = ask(engine)
            assert (said.text, said.finish_reason, said.stop_reason) == ("code" + STOP, "stop", STOP)
            until(lambda: fake.left == 1)
            assert "stop" not in fake.bodies[0]
            assert engine.counters[fake.url]["dropped"] == 0


def test_a_plain_server_is_sent_openai_fields_only() -> None:
    with served(owned_by=PLAIN) as (engine, fake):
        ask(engine)
    fields = {"model", "prompt", "max_tokens", "temperature", "top_p", "seed", "stream", "stream_options"}
    assert fake.bodies[0].keys() == fields
    assert fake.bodies[0]["seed"] == 11
    assert fake.bodies[0]["prompt"] == "Hi."


def test_a_server_that_is_known_is_told_to_sample_like_the_others() -> None:
    bodies = {}
    for owner in ("vllm", "sglang", "llamacpp"):
        with served(owned_by=owner) as (engine, fake):
            ask(engine, params=replace(PARAMS, seed=2**62 + 5))
            assert engine.describe()["server"] == owner
        bodies[owner] = fake.bodies[0]
    assert all((body["top_k"], body["min_p"]) == (-1, 0) for body in bodies.values())
    assert [bodies[owner]["repetition_penalty"] for owner in ("vllm", "sglang")] == [1, 1]
    assert bodies["llamacpp"]["repeat_penalty"] == 1
    for owner in ("vllm", "sglang"):
        assert bodies[owner]["skip_special_tokens"] is bodies[owner]["spaces_between_special_tokens"] is False
        assert "stop_token_ids" not in bodies[owner]
    assert [body["seed"] for body in bodies.values()] == [2**62 + 5, 5, 5]


SAMPLERS = replace(PARAMS, top_k=20, min_p=0.05, repetition_penalty=1.1, stop_token_ids=(5, 6))


@pytest.mark.parametrize(
    ("owner", "sent"),
    [
        ("vllm", {"top_k": 20, "min_p": 0.05, "repetition_penalty": 1.1, "stop_token_ids": [5, 6]}),
        ("sglang", {"top_k": 20, "min_p": 0.05, "repetition_penalty": 1.1, "stop_token_ids": [5, 6]}),
        ("llamacpp", {"top_k": 20, "min_p": 0.05, "repeat_penalty": 1.1, "repeat_last_n": -1}),
        (PLAIN, {}),
    ],
)
def test_samplers_go_out_under_the_servers_names_or_are_warned_of_once(
    owner: str, sent: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with served(owned_by=owner) as (engine, fake):
        for _ in range(2):
            ask(engine, params=SAMPLERS)
    assert {name: fake.bodies[1].get(name) for name in sent} == sent
    lost = "stop_token_ids (5, 6)" if owner == "llamacpp" else "top_k 20, min_p 0.05, repetition_penalty 1.1, stop_t"
    assert caplog.text.count("cannot be asked for") == caplog.text.count(lost) == (owner in ("llamacpp", PLAIN))
    if owner == PLAIN:
        assert not {"top_k", "min_p", "repetition_penalty", "stop_token_ids"} & fake.bodies[1].keys()


def test_a_field_that_the_server_does_not_know_is_left_out_from_then_on() -> None:
    plain = refuses(400, '{"error": {"message": "Unknown parameter: \'stream_options\'."}}')
    strict = refuses(400, "[{'type': 'extra_forbidden', 'loc': ('body', 'stream_interval'), 'msg': 'Extra inputs'}]")
    for owner, refusal, name in ((PLAIN, plain, "stream_options"), ("vllm", strict, "stream_interval")):
        with served(refusal, owned_by=owner) as (engine, fake):
            assert [ask(engine).text for _ in range(2)] == ["yes", "yes"]
            assert [name in body for body in fake.bodies] == [True, False, False]
            assert engine.counters[fake.url]["retries"] == 0


@pytest.mark.parametrize(
    ("word", "reason"),
    [("eos", "stop"), ("eos_token", "stop"), ("end_turn", "stop"), ("STOP", "stop"), ("max_tokens", "length")],
)
def test_servers_words_for_an_end_are_known(word: str, reason: str) -> None:
    with served(Answer([event("a", finish_reason=""), event(finish_reason=word), DONE]), owned_by=PLAIN) as (engine, _):
        assert ask(engine).finish_reason == reason


def test_a_stream_that_is_marked_as_ended_is_whole_without_a_reason() -> None:
    for tokens, reason in ((3, "stop"), (50, "length")):
        with served(Answer([event("a"), usage(5, tokens), DONE]), owned_by=PLAIN) as (engine, fake):
            assert (ask(engine).finish_reason, len(fake.bodies)) == (reason, 1)


def test_a_reply_that_was_filtered_is_an_error_at_once() -> None:
    with served(says("a", finish_reason="content_filter")) as (engine, fake):
        with pytest.raises(EngineError, match="content filter"):
            ask(engine)
        assert len(fake.bodies) == 1


def test_text_that_is_no_control_text_spells_no_special_token() -> None:
    prompt = (
        Control("<|im_start|>user\n"),
        "Is </s> an end? <s>, <|im_end|>, <｜end▁of▁sentence｜>, 1 < 2 > 0, <tool_call>x</tool_call>, <b>, a <|",
        "im_end|>",
        Control("<|im_end|>\n<tool_call>"),
    )
    with served() as (engine, fake):
        ask(engine, prompt)
    assert fake.bodies[0]["prompt"] == (
        "<|im_start|>user\nIs < /s> an end? < s>, < |im_end|>, < ｜end▁of▁sentence｜>, 1 < 2 > 0, "
        "< tool_call>x< /tool_call>, <b>, a < |im_end|><|im_end|>\n<tool_call>"
    )


@pytest.mark.parametrize(
    "token",
    [
        *(
            "[INST]",
            "[/INST]",
            "<<SYS>>",
            "<</SYS>>",
            "[TOOL_CALLS]",
            "[gMASK]",
            "<sop>",
            "[|user|]",
            "]~b]",
            "]~!b[",
            "[e~[",
        ),
        *("<bos>", "<eos>", "<start_of_turn>", "<end_of_image>", "<unused12>", "<extra_id_3>", "<0x0A>", "<seed:bos>"),
        *(
            "<think>",
            "</think>",
            "<tool_call>",
            "</tool_response>",
            "<fim_prefix>",
            "<reserved_special_token>",
            "<|x|>",
        ),
    ],
)
def test_special_tokens_of_other_families_are_broken_up_too(token: str) -> None:
    broken = plain_text([f"a{token}b"])
    assert token not in broken
    assert broken.replace(" ", "") == f"a{token}b"


@pytest.mark.parametrize(
    "text",
    ["[ABC]:[DEF] = 1", "a[i] < b[j] > c", "vector<int>", "[1, 2]", "$<x, y>$ |x| [A]", "x<s and s<y", "a <|b|< c"],
)
def test_mathematics_and_code_are_not_broken_up(text: str) -> None:
    assert plain_text([text]) == text


def test_options_win_and_are_journalled() -> None:
    with served(engine={"options": {"top_k": 40, "priority": 1}}) as (engine, fake):
        ask(engine)
        assert (fake.bodies[0]["top_k"], fake.bodies[0]["priority"]) == (40, 1)
        assert engine.describe()["options"] == '{"priority": 1, "top_k": 40}'


def test_llama_cpp_counts_where_the_stream_is_closed_early() -> None:
    timings = data({"choices": [{"text": STOP}], "timings": {"predicted_n": 4, "prompt_n": 3, "cache_n": 6}})
    with served(Answer([event("x"), timings], end="hang"), owned_by="llamacpp") as (engine, _):
        said = ask(engine)
    assert (said.text, said.tokens, said.prompt_tokens, said.cached_tokens) == ("x" + STOP, 4, 9, 6)


def test_a_request_that_is_refused_for_now_is_sent_again_when_the_server_says() -> None:
    with served(refuses(429, "busy", Retry_After="1")) as (engine, fake):
        began = time.monotonic()
        assert ask(engine).text == "yes"
        assert 1.0 <= time.monotonic() - began < 8
        assert engine.counters == {fake.url: {"requests": 2, "retries": 1, "dropped": 0}}


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_statuses_that_may_pass_are_tried_again(status: int) -> None:
    with served(refuses(status), refuses(status)) as (engine, fake):
        assert ask(engine).text == "yes"
        assert len(fake.bodies) == 3


def test_pauses_grow_and_shrink_again() -> None:
    server = server_at("http://h")
    ends = []
    for now in (0.0, 100.0, 200.0, 300.0):
        assert server.failed(now, 1.0, asked_for=None, jitter=lambda: 0.5)
        ends.append(server.until - now)
    assert ends == [1, 2, 4, 8]
    assert not server.failed(301.0, 1.0, asked_for=None, jitter=lambda: 0.5), "it was sent before the pause"
    assert server.failed(10_000.0, 1.0, asked_for=1e9, jitter=lambda: 0.5)
    assert server.until == 10_060
    server.failures = 0
    server.failed(20_000.0, 1.0, asked_for=None, jitter=lambda: 0.0)
    assert server.until == 20_000.75


@pytest.mark.parametrize(
    "broken",
    [
        Answer([event("half a")], end="drop"),
        Answer([event("half a")]),
        Answer([event("half a"), b"data: {garb\n\n"]),
        Answer([event("half a"), b'data: "text"\n\n']),
        Answer([event("half a"), data({"error": {"code": 500, "message": "the engine died"}})]),
        Answer([event("half a", finish_reason="abort"), DONE]),
        Answer([b"<html>a page</html>"], headers={"Content-Type": "text/html"}),
        Answer([], end="drop"),
    ],
    ids=["dropped", "ended", "garbage", "no object", "error", "aborted", "a page", "nothing"],
)
def test_a_stream_that_breaks_is_sent_again_with_its_seed_and_counted(broken: Answer) -> None:
    with served(broken, broken) as (engine, fake):
        assert ask(engine).text == "yes"
        assert fake.bodies[0] == fake.bodies[1] == fake.bodies[2]
        assert engine.counters[fake.url] == {"requests": 3, "retries": 2, "dropped": 2}


def test_a_silent_stream_counts_as_dropped() -> None:
    with served(Answer([event("half a")], end="hang"), engine={"stall": 1.0}) as (engine, fake):
        assert ask(engine).text == "yes"
        assert engine.counters[fake.url]["dropped"] == 1
        until(lambda: fake.left == 1)


def test_after_five_tries_the_error_says_who_and_what_but_no_secret() -> None:
    body = "key sk-secret is over quota\n" + "x" * 1000
    with FakeServer(otherwise=refuses(503, body)) as fake:
        url = fake.url.replace("http://", "http://user:word@")
        with closing(OpenAIEngine.open(url, api_key="sk-secret", pause=0.01)) as engine:
            with pytest.raises(EngineError) as raised:
                ask(engine)
            assert len(fake.bodies) == 5
    message = str(raised.value)
    assert message.startswith(f"p/0/0: gave up after 5 tries: {fake.url}: status 503: key *** is over quota xxx")
    assert len(message) < 400
    assert "word" not in message + repr(raised.value.__cause__)


@pytest.mark.parametrize("status", [302, 400, 401, 404, 422])
def test_a_request_that_is_refused_for_good_fails_at_once(status: int) -> None:
    with served(refuses(status, "no such temperature")) as (engine, fake):
        with pytest.raises(EngineError, match=f"p/0/0: {fake.url}: status {status}: no such temperature") as raised:
            ask(engine)
        assert not isinstance(raised.value, PromptTooLong)
        assert len(fake.bodies) == 1


def test_a_refusal_that_comes_as_an_event_is_none_that_may_pass() -> None:
    for error, kind in (("Token id 1024 is out of vocabulary", EngineError), ("Prompt is too long", PromptTooLong)):
        with served(Answer([data({"error": {"message": error, "code": 400}}), DONE])) as (engine, fake):
            with pytest.raises(kind, match=f"p/0/0: {fake.url}: status 400: .*{error}"):
                ask(engine)
            assert list(engine.counters.values()) == [{"requests": 1, "retries": 0, "dropped": 0}]
            assert ask(engine).text == "yes"


@pytest.mark.parametrize(
    "words",
    [
        "This model's maximum context length is 2048 tokens. However, your prompt contains 2048 input tokens",
        "request (900 tokens) exceeds the available context size (512 tokens), try increasing it",
        '{"error": {"code": "context_length_exceeded"}}',
        "Prompt is too long",
    ],
)
def test_a_prompt_that_the_server_finds_too_long_is_told_apart(words: str) -> None:
    with served(refuses(400, words)) as (engine, fake):
        with pytest.raises(PromptTooLong, match="p/0/0"):
            ask(engine)
        assert len(fake.bodies) == 1


def test_a_server_that_does_not_cut_max_tokens_is_asked_for_what_there_is_room_for() -> None:
    refusal = "maximum context length is 60 tokens, you requested 75 tokens (25 in your prompt; 50 for the completion)"
    with served(refuses(400, refusal)) as (engine, fake):
        assert ask(engine).text == "yes"
        assert [body["max_tokens"] for body in fake.bodies] == [50, 35]
    assert room_said("maximum context length is 50 tokens; 75 tokens: 25 and 50", 50) == 25
    assert room_said("maximum context length is 50 tokens; 110 tokens: 60 and 50", 50) == 0
    assert room_said("too long", 50) == 0


def test_cancelling_closes_the_stream() -> None:
    with served(otherwise=Answer([event("a")], end="hang")) as (engine, fake):

        async def cancel() -> None:
            task = asyncio.ensure_future(engine.generate(("Hi.",), PARAMS, request_id="p/0/0"))
            while not fake.running:
                await asyncio.sleep(0.002)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        for _ in range(20):
            run(cancel())
            until(lambda: fake.running == 0)
        assert fake.left == 20
        fake.otherwise = says("yes")
        assert ask(engine).text == "yes"
        assert engine.counters[fake.url] == {"requests": 21, "retries": 0, "dropped": 0}


def test_no_more_requests_run_at_once_than_there_are_slots() -> None:
    with served(otherwise=Answer([0.02, *says("yes").pieces]), engine={"slots": 3}) as (engine, fake):
        assert len(ask_all(engine, [f"p/{n}/0" for n in range(12)])) == 12
        assert (fake.most, fake.connections) == (3, 3)


def test_a_connection_is_used_again() -> None:
    with served() as (engine, fake):
        for _ in range(20):
            ask(engine)
        assert fake.connections == 1


def test_several_servers_share_the_load_and_candidates_stay() -> None:
    slow = Answer([0.02, *says("yes").pieces])
    with FakeServer(otherwise=slow) as a, FakeServer(otherwise=slow) as b, closing(opened(a, b)) as engine:
        for turn in range(3):
            ask_all(engine, [f"p/{candidate}/{turn}" for candidate in range(8)])
            assert len(a.bodies) == len(b.bodies) == 4 * (turn + 1)
        asked_a = len(a.bodies)
        for turn in range(4):
            ask(engine, name=f"p/0/{turn}")
        assert len(a.bodies) - asked_a in (0, 4)


def test_what_a_server_fails_another_does_and_it_is_left_alone_for_a_while() -> None:
    with FakeServer(otherwise=refuses(500)) as a, FakeServer() as b, closing(opened(a, b, pause=60)) as engine:
        assert {said.text for said in ask_all(engine, [f"p/{n}/0" for n in range(10)])} == {"yes"}
        failed = len(a.bodies)
        assert 1 <= failed <= 5
        ask_all(engine, [f"q/{n}/0" for n in range(10)])
        assert len(a.bodies) == failed
        assert engine.counters[b.url] == {"requests": 20, "retries": failed, "dropped": 0}


def test_a_server_that_dies_hands_its_requests_to_the_other_and_may_come_back() -> None:
    hanging = Answer([event("a")], end="hang")
    with FakeServer(otherwise=hanging) as a, FakeServer() as b, closing(opened(a, b)) as engine:
        said: list[Any] = []
        thread = threading.Thread(target=lambda: said.extend(ask_all(engine, [f"p/{n}/0" for n in range(6)])))
        thread.start()
        until(lambda: a.running == 3)
        a.stop()
        thread.join(10)
        assert [completion.text for completion in said] == ["yes"] * 6
        assert engine.counters[a.url]["dropped"] == 3
        with FakeServer(port=a.port) as again:
            until(lambda: (ask_all(engine, [f"q/{len(b.bodies)}-{n}/0" for n in range(2)]), len(again.bodies) > 0)[1])


def test_one_request_finds_out_whether_a_server_serves_again() -> None:
    with FakeServer(refuses(500)) as a, FakeServer() as b, closing(opened(a, b, pause=0.3)) as engine:
        ask_all(engine, ["p/0/0", "p/1/0"])
        a.otherwise = Answer([0.15, *says("yes").pieces])
        asked = len(b.bodies)
        until(lambda: (ask_all(engine, [f"q/{len(b.bodies)}-{n}/0" for n in range(8)]), len(a.bodies) > 1)[1])
        assert len(a.bodies) == 2
        assert len(b.bodies) >= asked + 7
        ask_all(engine, [f"r/{n}/0" for n in range(8)])
        assert len(a.bodies) == 6


def test_a_proxy_that_cannot_be_used_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "gopher://h")
    with pytest.raises(EngineError, match="check HTTP_PROXY"):
        OpenAIEngine.open("http://h")


def test_it_serves_several_event_loops_at_once() -> None:
    with served(otherwise=lambda body: Answer([0.01, *says(body["prompt"]).pieces])) as (engine, _):
        said: dict[int, Any] = {}

        def serve(thread: int) -> None:
            said[thread] = [ask(engine, (f"{thread}.{turn}",)).text for turn in range(5)]

        threads = [threading.Thread(target=serve, args=(thread,)) for thread in range(4)]
        for started in threads:
            started.start()
        for started in threads:
            started.join()
        assert said == {thread: [f"{thread}.{turn}" for turn in range(5)] for thread in range(4)}


def test_close_fails_who_is_on_the_way_and_leaves_no_socket() -> None:
    before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    with FakeServer(otherwise=Answer([event("a")], end="hang")) as fake:
        engine = opened(fake)

        async def close_under_it() -> list[Any]:
            calls = [engine.generate(("Hi.",), PARAMS, request_id=f"p/{n}/0") for n in range(5)]
            tasks = [asyncio.ensure_future(call) for call in calls]
            while fake.running < 5:
                await asyncio.sleep(0.002)
            await asyncio.to_thread(engine.close)
            return await asyncio.gather(*tasks, return_exceptions=True)

        for outcome in run(close_under_it()):
            assert isinstance(outcome, EngineError)
            assert "closed" in str(outcome)
        until(lambda: fake.running == 0)
        with pytest.raises(EngineError, match="closed"):
            ask(engine)
        engine.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "sctir-loop"]
    if before is not None:
        until(lambda: set(os.listdir("/proc/self/fd")) <= before)


def test_the_key_is_sent_and_userinfo_wins_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1\n")
    with FakeServer() as fake:
        for url in (fake.url, fake.url.replace("//", "//me:pass@")):
            with closing(OpenAIEngine.open(url)) as engine:
                ask(engine)
    assert [headers["authorization"] for headers in fake.headers] == ["Bearer sk-1", "Basic bWU6cGFzcw=="]


def test_nothing_that_is_logged_holds_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="sctir_kaggle")
    caplog.set_level(logging.INFO, logger="httpx")
    with FakeServer(refuses(500, "sk-1")) as fake:
        url = fake.url.replace("//", "//me:word@")
        with closing(OpenAIEngine.open(url, api_key="sk-1", pause=0.01)) as engine:
            ask(engine)
    ours = caplog.text
    assert "HTTP/1.1 500" in ours, "httpx logs nothing any more: is this test still right?"
    assert "status 500: ***" in ours
    assert "sk-1" not in ours
    assert "word" not in ours


def test_a_proxy_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    with served() as (engine, _):
        assert ask(engine).text == "yes"


@pytest.mark.parametrize(
    "url", ["localhost:8000", "127.0.0.1", "", "ftp://h", "http://", "http://h:port", "http://h?a=1"]
)
def test_what_is_no_base_url_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(EngineError, match=r"is no base URL.*write http://HOST:PORT"):
        OpenAIEngine.open(url)


def test_base_urls_are_taken_with_and_without_v1() -> None:
    for url in ("http://h:8/a", "http://h:8/a/", "http://h:8/a/v1", "http://me:word@h:8/a/v1/"):
        assert server_at(url).url == "http://h:8/a"
    assert server_at("http://[::1]:8/v1").url == "http://[::1]:8"


def test_a_server_that_cannot_be_reached_is_an_error_with_its_url() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with FakeServer() as fake, pytest.raises(EngineError, match=f"{url} cannot be reached.*fix the URL"):
        OpenAIEngine.open([fake.url, url])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "other"}, "serves m, not other"),
        ({"slots": 0}, "slots is 0"),
        ({"tries": 0}, "tries is 0"),
        ({"api_key": "sk-\n1"}, "API key holds characters"),
        ({"tokenizer": "nowhere/at/all"}, "is not a folder"),
    ],
)
def test_what_cannot_be_opened_is_named(options: dict[str, Any], message: str) -> None:
    with FakeServer() as fake, pytest.raises(EngineError, match=message) as raised:
        opened(fake, **options)
    assert "sk-" not in str(raised.value)


def test_no_url_and_one_given_twice_are_refused() -> None:
    for urls, message in (([], "no base URL"), (["http://h", "http://h/v1"], "twice")):
        with pytest.raises(EngineError, match=message):
            OpenAIEngine.open(urls)


def test_the_model_is_the_only_one_that_is_no_adapter() -> None:
    with FakeServer() as fake:
        fake.cards.append({"id": "adapter", "parent": "m"})
        with closing(opened(fake)) as engine:
            ask(engine)
        with closing(opened(fake, model="adapter")) as engine:
            ask(engine)
        assert [body["model"] for body in fake.bodies] == ["m", "adapter"]
        with FakeServer(model="n") as other, pytest.raises(EngineError, match="different models, m, n"):
            opened(fake, other)
        fake.cards.append({"id": "n"})
        with pytest.raises(EngineError, match="serves m, n: say which"):
            opened(fake)


def test_a_server_without_a_list_of_models_needs_a_name() -> None:
    with FakeServer() as fake:
        fake.other_paths["/v1/models"] = refuses(404, "{}")
        with pytest.raises(EngineError, match="no model that it names: say which"):
            opened(fake)
        with closing(opened(fake, model="x")) as engine:
            assert ask(engine).text == "yes"
        assert fake.bodies[0]["model"] == "x"
        fake.other_paths["/v1/models"] = refuses(503, "Loading model")
        with pytest.raises(EngineError, match="is not ready: Loading model: wait"):
            opened(fake, model="x")
        fake.other_paths["/v1/models"] = refuses(401, "who are you?")
        with pytest.raises(EngineError, match=r"status 401: who are you\?: set OPENAI_API_KEY"):
            opened(fake, model="x")
        fake.other_paths["/v1/models"] = refuses(200, "<html>")
        with pytest.raises(EngineError, match="not JSON"):
            opened(fake, model="x")


def test_the_smallest_context_counts_and_llama_cpp_says_its_own_elsewhere() -> None:
    with FakeServer(max_model_len=100) as a, FakeServer(max_model_len=80) as b, closing(opened(a, b)) as engine:
        assert engine.context_length == 80
        ask(engine, params=replace(PARAMS, max_tokens=500))
        assert (a.bodies + b.bodies)[0]["max_tokens"] == 80
    with FakeServer(owned_by="llamacpp", meta={"n_ctx_train": 9}) as fake:
        fake.other_paths["/props"] = refuses(200, '{"default_generation_settings": {"n_ctx": 70}}')
        for given, found in ((None, 70), (60, 60), (99, 70)):
            with closing(opened(fake, context_length=given)) as engine:
                assert engine.context_length == found
    with served() as (engine, _):
        assert engine.context_length is None


def test_what_a_journal_says_does_not_change_with_the_port() -> None:
    facts = []
    for _ in range(2):
        with served(max_model_len=64) as (engine, fake):
            ask(engine)
            facts.append(engine.describe())
            assert fake.url not in str(facts)
    assert facts[0] == facts[1]
    assert facts[0] == {
        **{"engine": "openai", "model": "m", "server": "vllm", "version": "unknown"},
        **{"prompts": "text", "context_length": 64},
    }


def test_token_ids_without_a_tokenizer_and_empty_prompts_are_refused() -> None:
    with served() as (engine, fake):
        with pytest.raises(EngineError, match="p/0/0: the prompt holds token ids"):
            ask(engine, ("Hi.", (1, 2)))
        for empty in ((), ("",)):
            with pytest.raises(EngineError, match="empty"):
                ask(engine, empty)
        with pytest.raises(EngineError, match="p/0/0: max_tokens is 0"):
            ask(engine, params=replace(PARAMS, max_tokens=0))
        assert fake.bodies == []


@pytest.fixture(scope="module")
def text() -> Tokenizer:
    pytest.importorskip("transformers", reason="token ids need a tokenizer: pip install 'sctir-kaggle[openai]'")
    return Tokenizer.load(MODEL)


def test_with_a_tokenizer_token_ids_go_out_and_come_back(text: Tokenizer) -> None:
    first, second = text.encode(("Hi.",)), text.encode_text("So 12.")
    halves = [event("So ", token_ids=second[:2]), event("12.", token_ids=second[2:], finish_reason="length")]
    with served(Answer([*halves, DONE]), engine={"tokenizer": MODEL}, max_model_len=64) as (engine, fake):
        said = ask(engine, ("Hi.", second))
        assert fake.bodies[0]["prompt"] == [*first, *second]
        assert fake.bodies[0]["return_token_ids"] is True
        assert (said.text, said.token_ids, said.tokens) == ("So 12.", second, len(second))
        assert said.prompt_tokens == len(first + second)
        ask(engine, ((*text.bos, *(5,) * 59),))
        assert fake.bodies[1]["max_tokens"] == 4
        with pytest.raises(PromptTooLong, match=r"p/0/0: the prompt has 64 tokens, the context 64"):
            ask(engine, ((5,) * 63,))
        assert len(fake.bodies) == 2


def test_a_token_that_ends_the_sequence_is_kept_and_no_part_of_the_text(text: Tokenizer) -> None:
    ids, [eos] = text.encode_text("12."), text.end_ids
    for last in (text.encode_text("x")[-1], eos):
        answer = says("12.", token_ids=[*ids, last], stop_reason=last)
        with served(answer, engine={"tokenizer": MODEL}) as (engine, _):
            said = ask(engine)
        assert (said.text, said.token_ids, said.stop_reason) == ("12.", (*ids, last), None)
        assert said.tokens == len(ids) + 1


@pytest.mark.parametrize("field", ["stop_reason", "matched_stop"])
def test_a_token_that_was_asked_to_end_it_is_the_reason(text: Tokenizer, field: str) -> None:
    ids = text.encode_text("12.")
    params = replace(PARAMS, stop_token_ids=(7,))
    for given in ([*ids, 7], [*ids]):
        answer = says("12.", token_ids=given, **{field: 7})
        with served(answer, engine={"tokenizer": MODEL}) as (engine, fake):
            said = ask(engine, params=params)
        assert fake.bodies[0]["stop_token_ids"] == [7]
        assert (said.text, said.token_ids, said.stop_reason) == ("12.", (*ids, 7), 7)
    with served(says("12.", **{field: 7})) as (engine, _):
        assert ask(engine, params=params).stop_reason == 7


def test_an_end_that_the_server_leaves_off_is_put_back_where_there_is_one_only(text: Tokenizer) -> None:
    ids = text.encode_text("12.")
    with served(says("12.", token_ids=ids), engine={"tokenizer": MODEL}) as (engine, _):
        assert ask(engine).token_ids == (*ids, *text.end_ids)
    with served(says("12.", token_ids=ids), engine={"tokenizer": MODEL}) as (engine, _):
        engine.tokenizer.end_ids |= {5}
        said = ask(engine)
        assert (said.text, said.token_ids) == ("12.", ()), "it may have been either"
    with served(says("12.", token_ids=ids, finish_reason="length"), engine={"tokenizer": MODEL}) as (engine, _):
        assert ask(engine).token_ids == ids


def test_ids_that_run_past_the_stop_string_are_cut(text: Tokenizer) -> None:
    answer = says(f"code{STOP}7", token_ids=text.encode_text(f"code{STOP}7"), stop_reason=STOP)
    with served(answer, engine={"tokenizer": MODEL}) as (engine, _):
        said = ask(engine)
    assert said.text == "code" + STOP == text.decode(said.token_ids)


def test_ids_of_another_tokenizer_are_not_used_and_warned_of_once(
    text: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = says("So 12.", token_ids=text.encode_text("something else"))
    with served(otherwise=wrong, engine={"tokenizer": MODEL}) as (engine, _):
        for _ in range(2):
            said = ask(engine)
            assert (said.text, said.token_ids, said.tokens) == ("So 12.", (), 2)
    assert caplog.text.count("whose tokenizer is this?") == 1


def test_half_a_character_in_a_prompt_is_the_servers_to_judge() -> None:
    with served() as (engine, fake):
        assert ask(engine, ("half \ud835",)).text == "yes"
        assert fake.bodies[0]["prompt"] == "half \ud835"


def test_a_missing_httpx_is_an_error_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(EngineError, match=r"httpx is not installed: pip install 'sctir-kaggle\[openai\]'"):
        OpenAIEngine.open("http://127.0.0.1:1")


def test_a_wait_is_read_from_either_kind_of_header() -> None:
    assert [seconds_to_wait(text) for text in (None, "7", " 0 ", "soon", "nan", "-3")] == [None, 7, 0, None, None, None]
    later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 30))
    assert 27 < (seconds_to_wait(later) or 0) <= 30
    assert seconds_to_wait("Wed, 21 Oct 2015 07:28:00 GMT") == 0
