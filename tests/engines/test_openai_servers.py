"""What OpenAI-compatible servers answer, emulated: one table of replies and refusals by server and version.

`source` says where a row's shapes were read: a file of the server's source, or a public report of what it answered. A row
without a source is a shape that a server may have, and is named after the shape. The texts are our own.
docs/servers.md has the same list for the user.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import ssl
import subprocess
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.engines import openai
from sctir_kaggle.engines.openai import OpenAIEngine
from sctir_kaggle.engines.openai_chat import ChatEngine
from sctir_kaggle.engines.openai_refusals import refused_fields
from sctir_kaggle.engines.openai_reply import finish_of
from sctir_kaggle.engines.openai_server import server_at
from sctir_kaggle.types import EngineDown, EngineError, SamplingParams
from tests.support.fake_server import DONE, Answer, FakeServer, data, event, refuses, says, usage

pytest.importorskip("httpx", reason="the engine needs the extra `openai`: pip install 'sctir-kaggle[openai]'")

STOP = "```output\n"
PARAMS = SamplingParams(max_tokens=50, stop=(STOP,), seed=11, min_p=0.05)


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def ask(engine: OpenAIEngine, params: SamplingParams = PARAMS) -> Any:
    return asyncio.run(asyncio.wait_for(engine.generate(("Hi.",), params, request_id="p/0/0"), 300))


def chat(text: str | None = None, finish_reason: str | None = None, **delta: Any) -> bytes:
    return data({"choices": [{"index": 0, "delta": {"content": text, **delta}, "finish_reason": finish_reason}]})


def ends_with_counts(text: str = "", finish_reason: str | None = "stop") -> bytes:
    """The last event of a server that gives the counts together with the last choice."""
    choice = {"index": 0, "text": text, "finish_reason": finish_reason}
    return data({"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}})


@dataclass(frozen=True, kw_only=True)
class Emulated:
    """How a server answers: its card in /v1/models, its stream, and the fields that it refuses with its words for that."""

    name: str
    source: str = ""
    card: dict[str, Any] = field(default_factory=dict)
    stream: tuple[bytes, ...] = ()
    chat_stream: tuple[bytes, ...] = ()
    refusal: str = ""
    status: int = 400
    fields: frozenset[str] = frozenset()
    finish: str = "stop"


ONE = (event("So "), event("7."))
CHAT = (chat("So "), chat("7."))
NO_COUNTS = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}

SERVERS = [
    Emulated(
        name="vLLM 0.6.3 and 0.6.4, before extra fields were allowed",
        source="vllm/entrypoints/openai: protocol.py, api_server.py, serving_completion.py of 0.6.3 and 0.6.4.post1",
        card={"owned_by": "vllm", "max_model_len": 4096},
        stream=(*ONE, event(finish_reason="stop", stop_reason=None), usage(3, 2), DONE),
        refusal="{\"object\":\"error\",\"message\":\"[{'type': 'extra_forbidden', 'loc': ('body', 'stream_interval'), "
        "'msg': 'Extra inputs are not permitted', 'input': 16}]\",\"type\":\"BadRequestError\","
        '"param":null,"code":400}',
        fields=frozenset({"stream_interval"}),
    ),
    Emulated(
        name="SGLang 0.4.0, whose finish_reason is empty until the end",
        source="sglang/srt/openai_api: adapter.py, protocol.py of 0.4.0",
        card={"owned_by": "sglang"},
        stream=(
            event("So ", finish_reason="", matched_stop=None),
            event("7.", finish_reason="", matched_stop=None),
            event(finish_reason="stop", matched_stop=2),
            usage(3, 2),
            DONE,
        ),
        chat_stream=(chat("So ", ""), chat("7.", ""), chat("", "stop"), usage(3, 2), DONE),
    ),
    Emulated(
        name="SGLang 0.4.6 to 0.5.6",
        source="sglang/srt: openai_api/adapter.py of 0.4.6.post5, entrypoints/openai/serving_completions.py of 0.5.6",
        card={"owned_by": "sglang", "max_model_len": 4096},
        stream=(*ONE, event(finish_reason="stop", matched_stop=2), usage(3, 2), DONE),
    ),
    Emulated(
        name="text-generation-inference: the end of the sequence, in its own word for completions",
        source="router/src: server.rs, lib.rs (commits 003eaec and 959add5)",
        card={"created": 0, "owned_by": "org/model"},
        stream=(event("So ", finish_reason=""), ends_with_counts("7.", "eos_token"), DONE),
        chat_stream=(chat("So "), chat("7.", "stop"), DONE),
    ),
    Emulated(
        name="text-generation-inference: a stop sequence, and its limit",
        source="router/src: server.rs, lib.rs (commits 003eaec and 959add5)",
        card={"created": 0, "owned_by": "org/model"},
        stream=(event("So ", finish_reason=""), ends_with_counts("7.", "stop_sequence"), DONE),
        chat_stream=(chat("So "), chat("7.", "length"), DONE),
    ),
    Emulated(
        name="llama.cpp 0.5.0: counts in the last choice of a completion, behind the last one of a chat",
        source="tools/server: server-task.cpp, server-context.cpp (commit 0c1e570)",
        card={"owned_by": "llamacpp", "meta": {"n_ctx_train": 2048}},
        stream=(*ONE, ends_with_counts(), DONE),
        chat_stream=(
            chat(None, role="assistant"),
            *CHAT,
            data({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
            usage(3, 2),
            DONE,
        ),
    ),
    Emulated(
        name="Ollama: counts of zero until the end",
        source="middleware/openai.go (commit 077a50b), openai/openai.go (commit 0098875)",
        card={"owned_by": "library"},
        stream=(
            data({"choices": [{"text": "So ", "index": 0, "finish_reason": None}], "usage": NO_COUNTS}),
            data({"choices": [{"text": "7.", "index": 0, "finish_reason": None}], "usage": NO_COUNTS}),
            data({"choices": [{"text": "", "index": 0, "finish_reason": "stop"}], "usage": NO_COUNTS}),
            usage(3, 2),
            DONE,
        ),
        chat_stream=(*CHAT, chat("", "stop"), usage(3, 2), DONE),
    ),
    Emulated(
        name="LM Studio: its list of models; its stream is assumed to be OpenAI's",
        source="the list: reports in JetBrains/koog#139 and eyalrot/ollama_openai#34; its source is closed",
        card={"owned_by": "organization_owner"},
        stream=(event("So "), event("7.", finish_reason="stop"), DONE),
        chat_stream=(*CHAT, chat(None, "stop"), DONE),
    ),
    Emulated(
        name="vllm-mlx 0.4.0: no reason where the model ends by itself, only the mark of the end",
        source="vllm_mlx: server.py, api/models.py of 0.4.0; report waybarrios/vllm-mlx#628",
        card={"owned_by": "vllm-mlx"},
        stream=(*ONE, DONE),
        chat_stream=(*CHAT, DONE),
    ),
    Emulated(
        name="Azure's OpenAI service in 2024, without stream_options",
        source="reports langchain-ai/langchain#23552 and Pythagora-io/gpt-pilot#1022",
        stream=(*ONE, event(finish_reason="stop"), DONE),
        refusal='{"error":{"message":"Unrecognized request argument supplied: stream_options","type":'
        '"invalid_request_error","param":null,"code":null}}',
        fields=frozenset({"stream_options"}),
    ),
    Emulated(
        name="Mistral's API, pydantic's errors in an answer of its own shape",
        source="report nomtek/mistralai_client_dart#44, there of a field of a message",
        stream=(*ONE, event(finish_reason="stop"), DONE),
        refusal='{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"],"msg":'
        '"Extra inputs are not permitted","input":null}]},"type":"invalid_request_error","param":null,"code":null}',
        status=422,
        fields=frozenset({"stream_options"}),
    ),
    Emulated(
        name="mlx_lm.server 0.20.1 and 0.32.2: no owner",
        source="mlx_lm/server.py of 0.20.1 and 0.32.2",
        stream=(*ONE, event(finish_reason="stop"), usage(3, 2), DONE),
        chat_stream=(*CHAT, chat("", "stop"), usage(3, 2), DONE),
    ),
    Emulated(
        name="any server on FastAPI and pydantic 1 that forbids extra fields",
        stream=(*ONE, event(finish_reason="length"), DONE),
        refusal='{"detail":[{"loc":["body","stream_options"],"msg":"extra fields not permitted",'
        '"type":"value_error.extra"}]}',
        status=422,
        fields=frozenset({"stream_options"}),
        finish="length",
    ),
    Emulated(
        name="any server that fails with 500 on a field that it does not know",
        source="the words: tools/server/server-common.cpp of llama.cpp, which has them for best_of and suffix only",
        stream=(*ONE, event(finish_reason="stop"), DONE),
        refusal='{"error":{"code":500,"message":"Unsupported param: stream_options","type":"server_error"}}',
        status=500,
        fields=frozenset({"stream_options"}),
    ),
    Emulated(
        name="any server that ends with its counts: no reason, no [DONE]",
        stream=(*ONE, usage(3, 2)),
        chat_stream=(*CHAT, usage(3, 2)),
    ),
]


def emulate(server: Emulated, stream: tuple[bytes, ...]) -> FakeServer:
    """Refuses a request as long as it has a field that the server does not take."""

    def answer(body: dict[str, Any]) -> Answer:
        return refuses(server.status, server.refusal) if server.fields & body.keys() else Answer(stream)

    fake = FakeServer(otherwise=answer)
    fake.cards = [{"id": "m", **server.card}]
    return fake


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
def test_what_a_server_answers_is_read_and_what_it_refuses_is_left_out_once(
    server: Emulated, caplog: pytest.LogCaptureFixture
) -> None:
    with emulate(server, server.stream) as fake, closing(OpenAIEngine.open(fake.url, pause=0.01)) as engine:
        said = [ask(engine) for _ in range(2)]
        assert {(reply.text, reply.finish_reason, reply.stop_reason) for reply in said} == {
            ("So 7.", server.finish, None)
        }
        assert engine.counters[fake.url]["retries"] == 0
        assert not server.fields & fake.bodies[-1].keys()
        assert len(fake.bodies) == (3 if server.fields else 2)
    assert caplog.text.count("left out from now on") == bool(server.fields)


@pytest.mark.parametrize("server", [s for s in SERVERS if s.chat_stream], ids=lambda server: server.name)
def test_the_same_servers_answer_chats(server: Emulated) -> None:
    with emulate(server, server.chat_stream) as fake, closing(ChatEngine.open(fake.url, pause=0.01)) as engine:
        assert ask(engine).text == "So 7."
        assert engine.counters[fake.url]["retries"] == 0


BODY = {
    **{"model": "m", "prompt": "p", "max_tokens": 5, "temperature": 0.8, "top_p": 1.0, "stop": ["x"], "seed": 1},
    **{"stream": True, "stream_options": {}, "min_p": 0.0, "top_k": -1, "repetition_penalty": 1.0, "logprobs": 1},
    **{"stream_interval": 16, "return_token_ids": True, "include_stop_str_in_output": True},
}


@pytest.mark.parametrize(
    ("said", "fields"),
    [
        ("Unrecognized request argument supplied: min_p", {"min_p"}),
        ("Unrecognized request arguments supplied: seed, stream_options", {"seed", "stream_options"}),
        ('{"error":"Unrecognized key(s) in object: \'seed\'"}', {"seed"}),
        ("Unknown parameter: 'stream_options.include_usage'.", {"stream_options"}),
        ("Unsupported parameter: 'seed' is not supported with this model.", {"seed"}),
        ('json: cannot unmarshal: unknown field "top_k"', {"top_k"}),
        ("unknown field `logprobs`, expected one of `model`, `prompt`, `stop`, `seed`", {"logprobs"}),
        ("unexpected keyword argument 'repetition_penalty'", {"repetition_penalty"}),
        ('{"error":{"message":"Invalid","param":"return_token_ids","type":"unknown_parameter"}}', {"return_token_ids"}),
        (
            "Additional properties are not allowed ('include_stop_str_in_output' was unexpected)",
            {"include_stop_str_in_output"},
        ),
        ("min_p and top_k are not supported by this backend", {"min_p", "top_k"}),
        ("[{'type': 'extra_forbidden', 'loc': ('body', 'top_k'), 'input': {'min_p': 0}}]", {"top_k"}),
        ("stream_options can only be set when stream is true", {"stream_options"}),
        ("logprobs is not implemented", {"logprobs"}),
        ("'seed' isn't allowed here", {"seed"}),
        (
            '{"detail": "Extra inputs are not permitted"}',
            {
                *("min_p", "top_k", "repetition_penalty", "logprobs", "stream_interval", "return_token_ids"),
                "include_stop_str_in_output",
            },
        ),
        ("temperature must be non-negative, got -1", set()),
        ("top_p must be in (0, 1], got 2", set()),
        ("This model's maximum context length is 10 tokens", set()),
        ("Unknown model: m", set()),
        ("'messages' is not supported, and neither is 'prompt'", set()),
    ],
)
def test_the_refused_fields_are_found_in_the_words_of_any_server(said: str, fields: set[str]) -> None:
    assert refused_fields(400, said, BODY) == refused_fields(422, said, BODY) == fields


def test_a_refusal_of_extra_fields_that_names_none_ends_with_the_plainest_request() -> None:
    plain = {name: BODY[name] for name in ("model", "prompt", "max_tokens", "seed", "stream_options")}
    assert refused_fields(400, "extra fields not permitted", plain) == {"seed", "stream_options"}
    assert refused_fields(400, "extra fields not permitted", {"model": "m", "prompt": "p"}) == set()


def test_a_field_that_the_user_chose_and_one_that_is_needed_are_not_given_up() -> None:
    refusal = refuses(400, "Unrecognized request argument supplied: best_of")
    with FakeServer(otherwise=refusal) as fake, closing(OpenAIEngine.open(fake.url, options={"best_of": 2})) as engine:
        with pytest.raises(EngineError, match="supplied: best_of"):
            ask(engine)
        assert len(fake.bodies) == 1
    with (
        FakeServer(otherwise=refuses(400, "unknown field `prompt`")) as fake,
        closing(OpenAIEngine.open(fake.url)) as engine,
    ):
        with pytest.raises(EngineError, match="unknown field `prompt`"):
            ask(engine)
        assert len(fake.bodies) == 1


def test_newer_models_are_given_their_limit_under_its_new_name() -> None:
    words = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    with FakeServer(refuses(400, words), owned_by="openai") as fake, closing(ChatEngine.open(fake.url)) as engine:
        fake.otherwise = Answer([chat("7."), chat(None, "stop"), DONE])
        ask(engine)
        ask(engine)
        assert ["max_completion_tokens" in body for body in fake.bodies] == [False, True, True]
        assert ["max_tokens" in body for body in fake.bodies] == [True, False, False]


def test_where_the_stop_string_is_refused_it_is_found_here() -> None:
    answer = Answer([event("code" + STOP + "7")], end="hang")
    refusal = refuses(400, "Unknown parameter: 'stop'")
    with FakeServer(refusal, answer, owned_by="vllm") as fake, closing(OpenAIEngine.open(fake.url)) as engine:
        said = ask(engine)
        assert (said.text, said.stop_reason) == ("code" + STOP, STOP)
        assert ["stop" in body for body in fake.bodies] == [True, False]


def test_four_stop_strings_at_most_go_to_a_chat_server_and_all_are_found() -> None:
    params = replace(PARAMS, stop=("a1", "b2", "c3", "d4", "e5"))
    with (
        FakeServer(Answer([chat("xx e5 y")], end="hang"), owned_by="x") as fake,
        closing(ChatEngine.open(fake.url)) as engine,
    ):
        assert ask(engine, params).text == "xx e5"
        assert fake.bodies[0]["stop"] == ["a1", "b2", "c3", "d4"]


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        *(
            (word, "stop")
            for word in ("stop", "eos", "eos_token", "EOS", "stop_sequence", "stop_str", "end_turn", "COMPLETE")
        ),
        *(
            (word, "stop")
            for word in ("tool_calls", "function_call", "eosFound", "stopStringFound", "eot", "whatever next")
        ),
        *(
            (word, "length")
            for word in ("length", "max_tokens", "MAX_TOKENS", "model_length", "maxPredictedTokensReached")
        ),
        *((word, "filtered") for word in ("content_filter", "SAFETY", "RECITATION", "sensitive")),
        *((word, "incomplete") for word in ("abort", "error", "cancelled", "load", "insufficient_system_resource")),
    ],
)
def test_a_word_for_the_end_is_sorted_and_an_unknown_one_is_an_end(word: str, meaning: str) -> None:
    assert finish_of(word) == meaning


def test_a_server_that_marks_no_end_at_all_is_believed_at_the_third_stream(caplog: pytest.LogCaptureFixture) -> None:
    with (
        FakeServer(otherwise=Answer([*ONE]), owned_by="x") as fake,
        closing(OpenAIEngine.open(fake.url, pause=0.01)) as engine,
    ):
        assert [ask(engine).text for _ in range(2)] == ["So 7."] * 2
        assert len(fake.bodies) == 4
    assert caplog.text.count("never marks the end") == 1


def test_a_server_that_marks_ends_is_not_believed_when_a_stream_breaks_off() -> None:
    half = Answer([event("half")])
    script = (says("a"), half, half, half, says("b"))
    with FakeServer(*script, owned_by="x") as fake, closing(OpenAIEngine.open(fake.url, pause=0.01)) as engine:
        assert [ask(engine).text for _ in range(2)] == ["a", "b"]


def test_events_are_read_whatever_the_server_calls_them() -> None:
    stream = b"".join((*ONE, event(finish_reason="stop"), DONE))
    with (
        FakeServer(Answer([stream], headers={"Content-Type": "text/plain"})) as fake,
        closing(OpenAIEngine.open(fake.url)) as engine,
    ):
        assert ask(engine).text == "So 7."


def test_what_was_refused_behind_a_status_of_200_is_learnt_without_a_stream() -> None:
    """llama-cpp-python sends the status of a stream before it looks at the request."""

    def answer(body: dict[str, Any]) -> Answer:
        return Answer([]) if body.get("stream") else refuses(400, '{"error":{"message":"no logit bias here"}}')

    with FakeServer(otherwise=answer) as fake, closing(OpenAIEngine.open(fake.url, pause=0.01)) as engine:
        with pytest.raises(EngineError, match="no logit bias here"):
            ask(engine)
        assert ["stream" in body for body in fake.bodies] == [True, False]


def test_content_in_parts_and_reasoning_by_any_name_are_text() -> None:
    parts = [{"type": "text", "text": "So "}, {"type": "other", "value": 1}, {"type": "text", "text": "7."}]
    stream = Answer(
        [chat(None, thinking="Hm."), data({"choices": [{"delta": {"content": parts}}]}), chat(None, "stop"), DONE]
    )
    with FakeServer(stream, owned_by="x") as fake, closing(ChatEngine.open(fake.url)) as engine:
        assert ask(engine).text == "<think>\nHm.\n</think>\n\nSo 7."


@pytest.mark.parametrize(
    "error", [{"object": "error", "message": "no", "code": 400}, {"error": {"message": "no", "code": "400"}}]
)
def test_an_error_inside_a_stream_is_known_in_both_shapes(error: dict[str, Any]) -> None:
    with FakeServer(Answer([data(error), DONE])) as fake, closing(OpenAIEngine.open(fake.url)) as engine:
        with pytest.raises(EngineError, match="status 400"):
            ask(engine)
        assert len(fake.bodies) == 1


def test_a_server_that_loads_is_waited_for_and_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="sctir_kaggle.start")
    with FakeServer() as fake:
        for path, answer in (
            (  # llama.cpp, at every path: tools/server/server-http.cpp
                "/health",
                refuses(503, '{"error":{"message":"Loading model","type":"unavailable_error","code":503}}'),
            ),
            ("/health", refuses(503)),  # SGLang 0.5.6: entrypoints/http_server.py
            ("/health", refuses(503, '{"status": "unavailable"}')),  # mlx_lm.server 0.32.2: server.py
            (  # text-generation-inference: router/src/server.rs
                "/health",
                refuses(503, '{"error":"unhealthy","error_type":"healthcheck"}'),
            ),
            ("/v1/models", refuses(502, "Bad Gateway")),
            ("/v1/models", refuses(200, '{"object":"list","data":null}')),
        ):
            caplog.clear()
            fake.other_paths = {path: answer}
            fake.looks[path] = 2  # the third look finds it ready
            with closing(OpenAIEngine.open(fake.url, wait=60)) as engine:
                assert ask(engine).text == "yes"
            assert "is not ready: " in caplog.text
            assert "is ready after" in caplog.text


def test_a_server_that_loads_for_longer_than_is_waited_is_one_line() -> None:
    with FakeServer() as fake:
        fake.other_paths["/health"] = refuses(503, "Loading model")
        with pytest.raises(EngineDown, match=r"is not ready: Loading model.*--server-wait"):
            OpenAIEngine.open(fake.url, wait=0)


def test_a_model_that_is_loaded_at_the_first_request_costs_no_tries() -> None:
    loading = [refuses(503, '{"error":{"message":"Loading model","type":"unavailable_error","code":503}}')] * 8
    with FakeServer(*loading) as fake, closing(OpenAIEngine.open(fake.url, pause=0.001, tries=2, wait=600)) as engine:
        assert ask(engine).text == "yes"


def test_requests_that_wait_while_nothing_is_served_give_up_with_the_first() -> None:
    async def every(engine: OpenAIEngine) -> list[Any]:
        asked = (engine.generate(("Hi.",), PARAMS, request_id=f"p/{number}/0") for number in range(40))
        return await asyncio.gather(*asked, return_exceptions=True)

    failing = FakeServer(otherwise=refuses(500, "boom"))
    with failing as fake, closing(OpenAIEngine.open(fake.url, pause=0.001, slots=4)) as engine:
        ended = asyncio.run(asyncio.wait_for(every(engine), 300))
        assert all(isinstance(error, EngineDown) and "status 500: boom" in str(error) for error in ended)
        assert len(fake.bodies) < 40, "each would have had five tries"
        fake.otherwise = says("yes")
        assert ask(engine).text == "yes", "a server that comes back serves"


@pytest.mark.slow
def test_requests_in_a_long_pause_end_as_soon_as_one_gives_up() -> None:
    async def every(engine: OpenAIEngine) -> list[Any]:
        asked = (engine.generate(("Hi.",), PARAMS, request_id=f"p/{number}/0") for number in range(40))
        return await asyncio.gather(*asked, return_exceptions=True)

    failing = FakeServer(otherwise=refuses(500, "boom"))
    with failing as fake, closing(OpenAIEngine.open(fake.url, pause=0.2)) as engine:
        ended = asyncio.run(asyncio.wait_for(every(engine), 300))  # one by one, with doubled pauses, they took 40 min
        assert all(isinstance(error, EngineDown) and "status 500: boom" in str(error) for error in ended)


@pytest.mark.slow
def test_a_server_that_served_and_is_down_for_long_ends_all_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    async def every(engine: OpenAIEngine) -> list[Any]:
        asked = (engine.generate(("Hi.",), PARAMS, request_id=f"p/{number}/0") for number in range(40))
        return await asyncio.gather(*asked, return_exceptions=True)

    monkeypatch.setattr(openai, "DOWN_SECONDS", 1.0)
    with FakeServer() as fake, closing(OpenAIEngine.open(fake.url, pause=0.2, tries=3)) as engine:
        assert ask(engine).text == "yes"
        fake.stop()
        ended = asyncio.run(asyncio.wait_for(every(engine), 300))
        assert all(isinstance(error, EngineDown) and "gave up" in str(error) for error in ended)
        with FakeServer(port=fake.port):
            assert ask(engine).text == "yes", "a server that comes back serves"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://h:1/v1/chat/completions", "http://h:1/v1/x"),
        ("http://h:1/v1/completions/", "http://h:1/v1/x"),
        ("http://h:1/v1/models", "http://h:1/v1/x"),
        (" 'http://h:1' ", "http://h:1/v1/x"),
        ("https://h/api/paas/v4/chat/completions", "https://h/api/paas/v4/x"),
        ("https://h/chat/completions", "https://h/x"),
        ("https://h/openrouter/api/v1/", "https://h/openrouter/api/v1/x"),
    ],
)
def test_a_base_url_may_be_pasted_with_its_endpoint(url: str, address: str) -> None:
    assert server_at(url).address("/x") == address


def test_an_api_that_does_not_begin_at_v1_is_found() -> None:
    with FakeServer() as fake:
        fake.other_paths["/v1/models"] = refuses(404, "{}")
        fake.other_paths["/models"] = refuses(200, json.dumps({"data": fake.cards}))
        with closing(OpenAIEngine.open(fake.url)) as engine:
            assert ask(engine).text == "yes"
            assert fake.paths[-1] == "/completions"


@pytest.mark.parametrize(
    ("models", "asked", "hint"),
    [
        (["llama3:latest", "qwen3:8b"], "lama3", "; did you mean llama3:latest?"),
        (["Qwen/Qwen3-8B", "other"], "qwen3-8b", "; did you mean Qwen/Qwen3-8B?"),
        (["a", "b"], "zzzzzz", ": ask for one of these"),
    ],
)
def test_a_model_that_is_not_served_is_told_with_the_list_and_the_nearest(
    models: list[str], asked: str, hint: str
) -> None:
    with FakeServer() as fake:
        fake.cards = [{"id": model} for model in models]
        with pytest.raises(EngineError) as raised:
            OpenAIEngine.open(fake.url, asked)
    assert not isinstance(raised.value, EngineDown), "it is the user's to fix"
    assert str(raised.value) == f"{fake.url} serves {', '.join(models)}, not {asked}{hint}"


def test_a_tag_that_is_left_out_is_the_latest() -> None:
    with FakeServer(model="llama3:latest") as fake, closing(OpenAIEngine.open(fake.url, "llama3")) as engine:
        ask(engine)
        assert fake.bodies[0]["model"] == "llama3:latest"


@pytest.mark.parametrize(
    ("status", "words", "line"),
    [
        (404, "404 page not found", "it has no /v1/completions: fix the URL, or try --engine chat"),
        (404, 'model "m" not found, try pulling it first', "asked for m; the server lists m"),
        (401, "no key", "set OPENAI_API_KEY"),
        (403, "no key", "set OPENAI_API_KEY"),
        (405, "Method Not Allowed", "try --engine chat"),
        (
            501,
            "<html><body><p>Unsupported method</p></body></html>",
            "status 501: Unsupported method: it has no /v1/completions",
        ),
        (429, '{"error": {"code": "insufficient_quota"}}', "the account has no credit: add some"),
        (402, "Insufficient Balance", "the account has no credit: add some"),
        (400, "The plain HTTP request was sent to HTTPS port", "if it speaks TLS, write https://"),
    ],
)
def test_what_every_request_would_meet_says_so(status: int, words: str, line: str) -> None:
    with FakeServer(otherwise=refuses(status, words)) as fake, closing(OpenAIEngine.open(fake.url)) as engine:
        with pytest.raises(EngineDown) as raised:
            ask(engine)
        assert line in str(raised.value)
        assert len(fake.bodies) == 1


def test_a_key_that_is_refused_and_one_that_is_missing_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeServer() as fake:
        fake.other_paths["/v1/models"] = refuses(401, "who?")
        with pytest.raises(EngineError, match=r"who\?: set OPENAI_API_KEY") as raised:
            OpenAIEngine.open(fake.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
        with pytest.raises(EngineError, match="the key in OPENAI_API_KEY is refused"):
            OpenAIEngine.open(fake.url)
        assert not isinstance(raised.value, EngineDown), "it is the user's to fix"


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (refuses(500, "boom"), "status 500: boom: the server failed, see its log"),
        (refuses(301, "", Location="https://h/v1/models"), "redirects to https://h/v1/models: write that URL"),
        (refuses(200, "<html>"), "not JSON: fix the URL"),
        (refuses(404, "nothing"), "say which, --served-model NAME"),
        (refuses(404, "<!DOCTYPE html><html><body><h1>No</h1></body></html>"), "status 404: No: it serves no model"),
        (refuses(501, "Unsupported method"), "is this the URL of an OpenAI-compatible API?"),
        (refuses(400, "Client sent an HTTP request to an HTTPS server."), "if it speaks TLS, write https://"),
    ],
)
def test_an_answer_about_models_that_is_no_list_is_told_as_it_is(answer: Answer, line: str) -> None:
    with FakeServer() as fake:
        fake.other_paths["/v1/models"] = answer
        with pytest.raises(EngineError) as raised:
            OpenAIEngine.open(fake.url)
    assert line in str(raised.value)
    assert isinstance(raised.value, EngineDown) == (answer.status == 500)


def test_a_certificate_of_ones_own_is_one_line_and_can_be_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (openssl := shutil.which("openssl")):
        pytest.skip("a certificate is made with openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([openssl, *made, *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with FakeServer(tls=context) as fake:
        url = fake.url.replace("http:", "https:")
        with pytest.raises(EngineError, match=r"something listens there: if it speaks TLS, write https://"):
            OpenAIEngine.open(fake.url, wait=0)
        with pytest.raises(EngineError, match=r"its certificate is not trusted .*set SSL_CERT_FILE"):
            OpenAIEngine.open(url, wait=0)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with closing(OpenAIEngine.open(url, wait=0)) as engine:
            assert ask(engine).text == "yes"
