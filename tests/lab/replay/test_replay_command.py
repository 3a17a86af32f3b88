"""`sctir replay` as it is typed: with the embedded model, over servers, under presets, and what is refused."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sctir_kaggle.cli import main
from sctir_kaggle.commands import _parser
from sctir_kaggle.engines.openai import OpenAIEngine
from sctir_kaggle.journal import read_journal
from sctir_kaggle.lab.replay.command import DEFAULTS
from sctir_kaggle.options import parse_settings
from sctir_kaggle.problems import HELD_OUT
from tests.support.command import heed_hang_ups
from tests.support.fake_server import Answer, FakeServer, refuses, says

PROBLEMS = "id,problem,answer\na,What is the sum of the digits of 1234?,10\nb,What is $3-12$?,-9\n"


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "problems.csv"
    path.write_text(PROBLEMS)
    return path


def sctir(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.mark.slow
def test_a_set_is_solved_under_several_seeds_and_their_mean_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("torch", reason="the embedded model needs the extra `cpu`: pip install 'sctir-kaggle[cpu]'")
    output = tmp_path / "run"
    with caplog.at_level("INFO", logger="sctir_kaggle"):
        assert sctir("replay", HELD_OUT, "--limit", 4, "--seeds", 2, "-n", 4, "--output", output) == 0
    header, results = read_journal(output / "journal.jsonl")
    assert header["seeds"] == [0, 1]
    assert len({(result.problem.id, result.seed) for result in results}) == 8
    shown = capsys.readouterr().out
    assert "% right (mean ± sd of 2 seeds)" in shown
    assert str(output / "journal.jsonl") in shown
    lines = [message for record in caplog.records if (message := record.getMessage())[:1].isdigit()]
    assert [line.split(",")[0] for line in lines] == [f"{number}/8" for number in range(1, 9)]
    assert lines[-1].endswith(" | about 0 s to go")


@pytest.mark.slow
def test_an_interrupted_replay_says_how_to_go_on(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the embedded model needs the extra `cpu`: pip install 'sctir-kaggle[cpu]'")
    output = tmp_path / "run"
    command = [sys.executable, "-m", "sctir_kaggle", "replay", str(HELD_OUT), "-n", "4", "--output", str(output)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_hang_ups
    )
    for _ in range(6000):
        if (output / "journal.jsonl").exists() and (output / "journal.jsonl").read_bytes().count(b"\n") > 2:
            break
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    [line] = errors.strip().splitlines()
    assert "of 50 tasks are in" in line
    assert f"sctir_kaggle replay --resume {HELD_OUT} -n 4 --output {output}" in line
    assert 2 <= len(read_journal(output / "journal.jsonl")[1]) < 50


@pytest.mark.slow
def test_servers_may_solve_it_and_any_integer_counts(
    tmp_path: Path, csv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("httpx", reason="the engine needs the extra `openai`: pip install 'sctir-kaggle[openai]'")
    says_it = says("The answer is $\\boxed{-9}$.")
    says_it = Answer([0.5, *says_it.pieces])  # time for others to come
    with FakeServer(otherwise=says_it, model="m") as one, FakeServer(otherwise=says_it, model="m") as other:
        servers = ("--dialect", "numina", "--engine", "openai", "--base-url", one.url, other.url)
        assert (
            sctir("replay", csv, *servers, "-n", 4, "--stop", "none", "--seeds", 3, "--output", tmp_path / "run") == 0
        )
        assert len(one.bodies) + len(other.bodies) == 2 * 3 * 4
        assert min(len(one.bodies), len(other.bodies)) > 0
        assert max(one.most, other.most) > 4, "more than one problem at once"
        assert len({body["seed"] for body in one.bodies + other.bodies}) == 24
    _, results = read_journal(tmp_path / "run" / "journal.jsonl")
    assert {(result.problem.id, result.answer, result.correct) for result in results} == {
        ("a", -9, False),
        ("b", -9, True),
    }
    assert "50.0 ± 0.0 % right" in capsys.readouterr().out


@pytest.mark.slow
def test_servers_that_are_gone_end_it_and_others_go_on(
    tmp_path: Path, csv: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("httpx", reason="the engine needs the extra `openai`: pip install 'sctir-kaggle[openai]'")
    patient = OpenAIEngine.open
    monkeypatch.setattr(OpenAIEngine, "open", lambda *urls, **choices: patient(*urls, **{**choices, "tries": 1}))
    kept = ("--output", tmp_path / "run")
    options = ("replay", csv, "-n", 1, "-m", 0, "--seeds", 2, *kept, "--dialect", "numina", "--engine", "openai")
    with FakeServer(says("$\\boxed{10}$"), otherwise=refuses(500)) as fake:
        assert sctir(*options, "--base-url", fake.url, "--parallel", 1) == 1
    error = capsys.readouterr().err
    assert "nothing is served any more" in error
    assert error.count("\n") == 1
    assert len(read_journal(tmp_path / "run" / "journal.jsonl")[1]) == 1
    with FakeServer(otherwise=says("$\\boxed{10}$")) as fake:
        assert sctir(*options, "--base-url", fake.url, "--resume") == 0
        assert len(fake.bodies) == 3
    assert "50.0 ± 0.0 % right" in capsys.readouterr().out


def test_options_change_a_preset_which_changes_the_defaults() -> None:
    def config(*options: str) -> tuple[int, int, float]:
        args = _parser().parse_args(["replay", "amc", *options])
        made = parse_settings(args, command=DEFAULTS).solver
        assert (made.modulus, made.lowest, made.highest) == (None, None, None)
        return made.candidates, made.turns, made.temperature

    assert config() == (48, 4, 0.8)
    assert config("--preset", "greedy-cot") == (1, 0, 0.0)
    assert config("--preset", "cot-majority", "-n", "16") == (16, 0, 0.8)
    assert config("--preset", "single-tir", "--temperature", "0", "-n", "1") == (1, 1, 0.0)
    assert config("--preset", "greedy-cot", "-m", "4") == (1, 4, 0.0)


@pytest.mark.slow
def test_a_greedy_run_over_seeds_is_warned_of(
    tmp_path: Path, csv: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="the embedded model needs the extra `cpu`: pip install 'sctir-kaggle[cpu]'")
    assert sctir("replay", csv, "--preset", "greedy-cot", "--seeds", 2, "--output", tmp_path / "run") == 0
    assert "at temperature 0 every seed samples the same texts" in caplog.text
    assert "± 0.0 % right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing",), "'nothing' is neither a file nor a validation set; the sets are amc, aime, math4, math5"),
        (("amc", "--data", "nowhere"), "nowhere holds neither amc.csv nor a copy of the data set aimo-validation-amc"),
        (("good.csv", "-n", "0"), "candidates is 0"),
        (("good.csv", "--workers", "2"), "--workers are those of a Ray cluster: add --ray"),
        (("good.csv", "--engine", "recorded"), "a recorded run is played again by `sctir what-if RUN`"),
        (("good.csv", "--engine", "openai"), "--base-url http://HOST:PORT go together"),
        (("good.csv", "--resume"), "say where with --output DIR"),
        (("good.csv", "--output", "old"), "exists; add --resume to go on"),
    ],
)
def test_what_cannot_be_used_gets_one_line_and_exit_code_2(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good.csv").write_text(PROBLEMS)
    Path("old").mkdir()
    Path("old/journal.jsonl").write_text('{"schema": 1}\n')
    before = sorted(tmp_path.rglob("*"))
    assert sctir("replay", *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("sctir: ")
    assert message in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
