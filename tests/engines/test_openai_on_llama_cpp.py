"""The engines over llama.cpp's servers, on the embedded model as GGUF: llama-cpp-python's, and llama.cpp's own if installed."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.cli import main
from sctir_kaggle.dialects.rendering import render
from sctir_kaggle.dialects.rows import NUMINA, OUTPUT_FENCE
from sctir_kaggle.engines.openai import OpenAIEngine
from sctir_kaggle.engines.openai_chat import ChatEngine
from sctir_kaggle.journal import read_journal
from sctir_kaggle.problems import HELD_OUT, read_problems
from sctir_kaggle.types import Completion, PromptTooLong, SamplingParams
from tests.support.embedded_gguf import MODEL, write_gguf
from tests.support.fake_server import free_port

pytest.importorskip("httpx", reason="the engine needs the extra `openai`: pip install 'sctir-kaggle[openai]'")

OWN = os.environ.get("SCTIR_LLAMA_SERVER") or shutil.which("llama-server")
"""llama.cpp's own server."""

pytestmark = [
    pytest.mark.llama_cpp,
    pytest.mark.slow,
    pytest.mark.skipif(not find_spec("gguf"), reason="the model is written with gguf: pip install gguf"),
]

GREEDY = SamplingParams(temperature=0.0, max_tokens=200, stop=(OUTPUT_FENCE,))


def commands(kind: str, gguf: Path, port: int) -> list[str]:
    """The command that serves the file on the port."""
    if kind == "llamacpp":
        assert OWN is not None
        where = ["--host", "127.0.0.1", "--port", str(port), "--alias", "embedded"]
        return [OWN, "-m", str(gguf), *where, "-c", "8192", "-np", "4", "-t", "1", "--special"]
    where = ["--host", "127.0.0.1", "--port", str(port), "--model_alias", "embedded"]
    return [
        sys.executable,
        "-m",
        "llama_cpp.server",
        "--model",
        str(gguf),
        *where,
        "--n_ctx",
        "2048",
        "--n_threads",
        "1",
    ]


@pytest.fixture(scope="module", params=["llama-cpp-python", "llamacpp"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The kind of a server that has just been started, and its URL: engines wait for it."""
    if request.param == "llamacpp" and not OWN:
        pytest.skip("llama.cpp's own server is not installed: set SCTIR_LLAMA_SERVER to its path")
    if request.param == "llama-cpp-python" and not find_spec("llama_cpp"):
        pytest.skip("needs its server: pip install 'llama-cpp-python[server]'")
    folder, port = tmp_path_factory.mktemp("llama"), free_port()
    write_gguf(folder / "embedded.gguf")
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            commands(request.param, folder / "embedded.gguf", port),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield request.param, f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


def opened(kind: type[OpenAIEngine], url: str, **options: Any) -> Any:
    return closing(kind.open(url, wait=120, reach=120, **options))


def ask(engine: OpenAIEngine, prompt: Any, params: SamplingParams, number: int = 0) -> Completion:
    return asyncio.run(asyncio.wait_for(engine.generate(prompt, params, request_id=f"p/{number}/0"), 300))


def test_it_says_what_it_is(server: tuple[str, str]) -> None:
    kind, url = server
    with opened(OpenAIEngine, url) as engine:
        facts = engine.describe()
    assert (facts["server"], facts["model"]) == (kind, "embedded")


def test_greedy_completions_are_those_of_the_transformers_engine(server: tuple[str, str]) -> None:
    """With token ids, which llama-cpp-python's server does not take."""
    pytest.importorskip("torch", reason="compares with the extra `cpu`")
    from sctir_kaggle.engines.transformers import TransformersEngine

    kind, url = server
    if kind == "llama-cpp-python":
        pytest.skip("it takes text alone")
    prompts = [render(NUMINA, problem) for problem in read_problems(HELD_OUT)[:4]]
    with closing(TransformersEngine.load(MODEL, slots=4, device="cpu")) as ours:
        expected = [ask(ours, prompt, GREEDY) for prompt in prompts]  # type: ignore[arg-type]
    with opened(OpenAIEngine, url, tokenizer=MODEL) as engine:
        said = [ask(engine, prompt, GREEDY) for prompt in prompts]
    assert [(one.text, one.stop_reason) for one in said] == [(one.text, one.stop_reason) for one in expected]


def test_the_stop_string_the_limit_and_the_end_are_told_apart(server: tuple[str, str]) -> None:
    prompt = render(NUMINA, read_problems(HELD_OUT)[0])
    with opened(OpenAIEngine, server[1]) as engine:
        code = ask(engine, prompt, GREEDY)
        assert (code.finish_reason, code.stop_reason) == ("stop", OUTPUT_FENCE)
        assert code.text.endswith(OUTPUT_FENCE)
        short = ask(engine, prompt, SamplingParams(temperature=0.0, max_tokens=5))
        assert (short.finish_reason, short.stop_reason, short.tokens) == ("length", None, 5)
        ends = ask(engine, (*prompt, "The answer is $\\boxed{7}$."), SamplingParams(temperature=0.0, max_tokens=300))
        assert (ends.finish_reason, ends.stop_reason) == ("stop", None)


def test_a_chat_is_answered(server: tuple[str, str]) -> None:
    with opened(ChatEngine, server[1]) as engine:
        said = ask(engine, ("How much is 6 times 7?",), SamplingParams(temperature=0.0, max_tokens=20))
    assert said.text
    assert said.finish_reason in ("stop", "length")


def test_a_prompt_that_is_too_long_is_told_apart(server: tuple[str, str]) -> None:
    with opened(OpenAIEngine, server[1]) as engine, pytest.raises(PromptTooLong):
        ask(engine, ("x 1 " * 3000,), GREEDY)


def test_more_requests_at_once_than_it_serves_are_all_answered(server: tuple[str, str]) -> None:
    async def every(engine: OpenAIEngine) -> list[Completion]:
        params = SamplingParams(temperature=1.0, max_tokens=20)
        asked = (engine.generate(("1, 2, 3",), params, request_id=f"p/{number}/0") for number in range(12))
        return await asyncio.gather(*asked)

    with opened(OpenAIEngine, server[1]) as engine:
        said = asyncio.run(asyncio.wait_for(every(engine), 300))
        assert len(said) == 12
        assert [counts["dropped"] for counts in engine.counters.values()] == [0]


def test_the_command_solves_with_it(server: tuple[str, str], tmp_path: Path) -> None:
    kind, url = server
    ids = kind == "llamacpp" and find_spec("tokenizers")
    model = ("--model", str(MODEL)) if ids else ("--dialect", "numina")
    typed = ["solve", str(HELD_OUT), "--limit", "2", "-n", "4", "--engine", "openai", "--base-url", url, *model]
    assert main([*typed, "--server-wait", "2m", "--output", str(tmp_path / "run")]) == 0
    results = read_journal(tmp_path / "run" / "journal.jsonl")[1]
    assert len(results) == 2
    assert any(result.correct for result in results)
