"""When a run ends because its first requests all failed, and when it goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sctir_kaggle.cli import main
from sctir_kaggle.engines import openai
from sctir_kaggle.first_requests import FirstRequests
from sctir_kaggle.journal import read_journal
from sctir_kaggle.problems import HELD_OUT
from sctir_kaggle.types import Completion, EngineDown, Problem, SolveResult, Trace, TraceStatus, Turn, Vote
from tests.support.fake_server import FakeServer, refuses, says

PROBLEM = Problem("p", "How much is 6 times 7?")


def result(*details: str, turns: int = 0) -> SolveResult:
    """A problem whose candidates failed for these reasons, empty for one that the deadline cut, after `turns` turns each."""
    traces = [
        Trace(
            candidate=number,
            turns=(Turn(Completion("text")),) * turns,
            status=TraceStatus.FAILED if detail else TraceStatus.CANCELLED,
            answer=None,
            detail=detail,
        )
        for number, detail in enumerate(details)
    ]
    return SolveResult(PROBLEM, 0, Vote(()), tuple(traces), "all", fallback=True, seconds=1.0)


def test_an_engine_that_is_down_ends_the_run_with_its_first_problem() -> None:
    with pytest.raises(EngineDown, match=r"^nothing was served, all 2 candidates so far failed, the first: no key$"):
        FirstRequests(50).check(result("EngineDown: no key", "EngineDown: no key"))


def test_a_failure_that_may_be_of_one_problem_ends_it_with_the_second() -> None:
    first = FirstRequests(50)
    first.check(result("EngineError: refused", ""))
    with pytest.raises(EngineDown, match=r"EngineError: refused$"):
        first.check(result("EngineError: refused", "EngineError: refused"))
    with pytest.raises(EngineDown, match="the only candidate"):
        FirstRequests(1).check(result("EngineError: refused"))


def test_once_a_turn_was_served_or_where_only_time_ran_out_it_goes_on() -> None:
    first = FirstRequests(50)
    first.check(result("", ""))
    first.check(result("", "EngineDown: gone", turns=1))
    for _ in range(5):
        first.check(result("EngineError: refused", "EngineError: refused"))
        first.check(result("EngineDown: gone", ""))


def test_an_engine_that_is_gone_for_a_whole_problem_ends_the_run_after_others_were_served() -> None:
    first = FirstRequests(50)
    first.check(result("", turns=1))
    with pytest.raises(
        EngineDown, match=r"^nothing is served any more, all 2 candidates of p failed, the first: gone$"
    ):
        first.check(result("EngineDown: gone", "EngineDown: gone"))


@pytest.mark.slow
@pytest.mark.parametrize("command", ["solve", "dry-run", "replay"])
def test_a_server_that_dies_in_the_middle_ends_the_run_which_can_go_on(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("httpx", reason="the engine needs the extra `openai`")
    monkeypatch.setattr(openai, "DOWN_SECONDS", 0.5)
    csv = tmp_path / "three.csv"
    csv.write_text(
        "id,problem,answer\n" + "".join(f"p{number},How much is {number}?,{number}\n" for number in range(3))
    )
    folder = tmp_path / "run"
    with FakeServer(says("It is $\\boxed{1}$."), otherwise=refuses(500, "boom"), owned_by="x") as fake:
        typed = [command, *(["--problems"] if command == "dry-run" else []), str(csv), "-n", "1"]
        typed += ["--parallel", "1"] if command == "replay" else []
        assert main([*typed, "--engine", "chat", "--base-url", fake.url, "--output", str(folder)]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("sctir: the run failed: nothing is served any more, the only candidate of p")
    assert f"{fake.url}: status 500: boom" in last
    assert "; 1 of 3 " in last
    assert "--resume" in last
    assert len(read_journal(folder / "journal.jsonl")[1]) == 1, "the problem that met no server is not journalled"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["solve", "replay"])
def test_a_context_that_is_too_short_for_every_prompt_is_told_in_the_words_of_the_server(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("httpx", reason="the engine needs the extra `openai`")
    said = "This model's maximum context length is 16 tokens"
    csv = tmp_path / "two.csv"
    csv.write_text("id,problem,answer\np0,How much is 0?,0\np1,How much is 1?,1\n")
    with FakeServer(otherwise=refuses(400, said), owned_by="x") as fake:
        typed = [command, str(csv), "-n", "2", "--engine", "chat", "--base-url", fake.url]
        assert main([*typed, "--output", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr()
    warning = next(line for line in printed.out.splitlines() if line.startswith("every candidate of 2 "))
    assert f"was refused, the first with: {fake.url}: status 400: {said}" in " ".join(printed.out.split())
    assert "p0/0/0" not in warning


@pytest.mark.parametrize("model", ["m", "other"])
def test_what_is_wrong_with_key_model_or_url_is_the_users_to_fix(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("httpx", reason="the engine needs the extra `openai`")
    with FakeServer() as fake:
        if model == "m":
            fake.other_paths["/v1/models"] = refuses(401, "who?")
        typed = ["solve", str(HELD_OUT), "-n", "1", "--engine", "chat", "--base-url", fake.url, "--served-model", model]
        assert main([*typed, "--output", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith(f"sctir: {fake.url}")


@pytest.mark.slow
@pytest.mark.parametrize("status", [500, 401, 404])
@pytest.mark.parametrize("command", ["solve", "replay"])
def test_a_server_that_fails_every_request_ends_the_command_with_the_reason(
    command: str, status: int, tmp_path: Path
) -> None:
    pytest.importorskip("httpx", reason="the engine needs the extra `openai`")
    with FakeServer(otherwise=refuses(status, "boom"), owned_by="x") as fake:
        budget = ["--budget", "1h"] if command == "solve" else []
        typed = [command, str(HELD_OUT), "-n", "48", *budget, "--engine", "chat", "--base-url", fake.url]
        ended = subprocess.run(
            [sys.executable, "-m", "sctir_kaggle", *typed, "--output", str(tmp_path / "run")],
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert ended.returncode == 1, ended.stderr
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("sctir: the run failed: nothing was served")
    assert f"{fake.url}: status {status}: boom" in last
    assert "Traceback" not in ended.stderr
