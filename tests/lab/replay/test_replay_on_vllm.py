"""A replay over a real vLLM server, in its CPU build: several problems at once under several seeds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sctir_kaggle.cli import main
from sctir_kaggle.journal import read_journal
from sctir_kaggle.problems import HELD_OUT
from tests.engines.test_openai_on_vllm import Server
from tests.support.vllm_support import MODEL, needs_vllm

pytest.importorskip("httpx", reason="the engine needs the extra `openai`: pip install 'sctir-kaggle[openai]'")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "server.log")
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.kill()


@needs_vllm
def test_a_server_solves_a_set_under_several_seeds_and_an_interrupted_run_goes_on(
    server: Server, tmp_path: Path
) -> None:
    common = ("replay", str(HELD_OUT), "--limit", "5", "-n", "8", "--parallel", "3", "--output", str(tmp_path / "run"))
    served = ("--engine", "openai", "--base-url", server.url, "--model", str(MODEL))
    assert main([*common, *served, "--seeds", "1"]) == 0
    assert main([*common, *served, "--seeds", "2", "--resume"]) == 0
    header, results = read_journal(tmp_path / "run" / "journal.jsonl")
    assert (header["engine"]["server"], header["seeds"]) == ("vllm", [0, 1])
    assert sorted({(result.problem.id, result.seed) for result in results}) == sorted(
        (result.problem.id, result.seed) for result in results
    )
    assert len(results) == 10
    assert sum(result.correct is True for result in results) >= 7, "the embedded model solves nearly all of these"
    texts = {turn.completion.text for result in results for trace in result.traces for turn in trace.turns}
    assert len(texts) > 40, "seeds and candidates draw differently"
    assert server.requests() == 0
