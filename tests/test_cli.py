"""The command `sctir` as it is typed: with the embedded model, and with everything a tired person gets wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from sctir_kaggle import DIALECTS, Problem, SolverConfig, SolveResult, Vote
from sctir_kaggle.cli import main
from sctir_kaggle.dialects.recognition import bind
from sctir_kaggle.display import risk_line
from sctir_kaggle.engines.transformers import TransformersEngine
from sctir_kaggle.header import journal_header
from sctir_kaggle.journal import Journal, read_journal
from sctir_kaggle.runtime import bind_dialect
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.settings import RunConfig
from sctir_kaggle.types import EngineError, ExecutorError
from tests.support.command import heed_hang_ups
from tests.support.fake_server import FakeServer, says

pytest.importorskip("torch", reason="the embedded model needs the extra `cpu`: pip install 'sctir-kaggle[cpu]'")

PROBLEMS = "id,problem,answer\na,What is the sum of the digits of 1234?,10\nb,What is $3^2$?,9\n"


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "problems.csv"
    path.write_text(PROBLEMS)
    return path


def sctir(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_a_dry_run_answers_every_problem_and_says_where_it_lies(
    tmp_path: Path, csv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    assert sctir("dry-run", "--problems", csv, "-n", 4, "--output", output) == 0
    submission = pd.read_csv(output / "submission.csv")
    assert sorted(submission["id"]) == ["a", "b"]
    assert submission["answer"].between(0, 999).all()
    _, results = read_journal(output / "journal.jsonl")
    assert len(results) == 2
    shown = capsys.readouterr().out
    assert "2 right" in shown or "/2 right" in shown
    assert str(output / "submission.csv") in shown


@pytest.mark.slow
def test_without_a_terminal_there_is_one_log_line_a_problem(
    tmp_path: Path, csv: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="sctir_kaggle"):
        sctir("solve", csv, "-n", 2, "-m", 1, "--output", tmp_path / "run")
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [str(csv), "dialect", "a", "b"]


@pytest.mark.slow
def test_a_recorded_run_can_be_run_again_without_a_model(tmp_path: Path, csv: Path) -> None:
    live, again, stopped = (tmp_path / name for name in ("live", "again", "stopped"))
    options = ("-n", 6, "--stop", "none", "--output")
    assert sctir("dry-run", "--problems", csv, *options, live) == 0
    recorded = ("--engine", "recorded", "--model", live / "journal.jsonl")
    assert sctir("dry-run", "--problems", csv, *recorded, *options, again) == 0
    assert sctir("dry-run", "--problems", csv, *recorded, "-n", 6, "--output", stopped) == 0
    first, second, third = (read_journal(folder / "journal.jsonl")[1] for folder in (live, again, stopped))
    assert first == second
    assert [result.answer for result in third] == [result.answer for result in first]


@pytest.mark.slow
def test_a_record_can_be_stopped_by_beta_which_says_what_it_risked(
    tmp_path: Path, csv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live, again = tmp_path / "live", tmp_path / "again"
    assert sctir("solve", csv, "-n", 12, "--stop", "none", "--output", live) == 0
    assert "beta stopped" not in capsys.readouterr().out
    recorded = ("--engine", "recorded", "--model", live, "-n", 12, "--stop", "beta", "--delta", 0.4)
    assert sctir("solve", csv, *recorded, "--output", again) == 0
    header, results = read_journal(again / "journal.jsonl")
    assert (header["config"]["stop"], header["config"]["stop_delta"]) == ("beta", 0.4)
    shown = capsys.readouterr().out
    for result in results:
        assert (result.risk is not None) == (result.stopped == "beta")
    assert ("beta stopped" in shown) == any(result.risk is not None for result in results)


def test_the_risk_line_gives_the_largest_risk_and_the_sum() -> None:
    def stopped(risk: float | None) -> SolveResult:
        return SolveResult(Problem("p", "Add."), 1, Vote(((1, 9.0),)), (), "beta" if risk else "all", risk=risk)

    line = risk_line([stopped(0.01), stopped(0.04), stopped(None)])
    assert line.startswith("beta stopped 2 of 3 problems")
    assert "at most 4 %" in line
    assert "at most 0.05 of them" in line
    assert risk_line([stopped(None)]) == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-n", 3), "holds 2 candidates a problem; replay at most as many with -n"),
        (("-n", 2, "-m", 1), "was recorded with turns 4, not 1: replay it with the same"),
        (("-n", 2, "--answers", "any"), "was recorded with modulus 1000, not None"),
    ],
)
def test_a_record_is_not_played_under_settings_that_it_cannot_answer(
    tmp_path: Path, csv: Path, options: tuple[object, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sctir("solve", csv, "-n", 2, "--output", tmp_path / "live") == 0
    recorded = ("--engine", "recorded", "--model", tmp_path / "live")  # the run's folder will do
    assert sctir("solve", csv, *recorded, "-n", 1, "--output", tmp_path / "fewer") == 0
    assert sctir("solve", csv, *recorded, *options, "--output", tmp_path / "again") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "again").exists()


@pytest.mark.slow
def test_a_budget_that_loading_uses_up_is_said_and_every_problem_is_answered(
    tmp_path: Path, csv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sctir("solve", csv, "-n", 2, "--budget", "0.01", "--output", tmp_path / "run") == 0
    assert list(pd.read_csv(tmp_path / "run" / "submission.csv")["answer"]) == [0, 0]
    assert (
        "2 of 2 problems had no vote and got the default answer, 2 of them ran out of time" in capsys.readouterr().out
    )


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_the_run_without_a_traceback(tmp_path: Path, csv: Path) -> None:
    command = f"{sys.executable} -m sctir_kaggle solve {csv} -n 2 --output {tmp_path / 'run'} | head -1"
    shown = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert shown.stdout.startswith(f"{csv}: 2 rows, 2 problems; ")
    assert shown.stdout.count("\n") == 1
    assert "Traceback" not in shown.stderr
    assert "Logging error" not in shown.stderr


@pytest.mark.slow
def test_resuming_a_finished_run_does_nothing_twice(tmp_path: Path, csv: Path) -> None:
    options = ("dry-run", "--problems", csv, "-n", 2, "--output", tmp_path / "run")
    assert sctir(*options) == 0
    before = (tmp_path / "run" / "journal.jsonl").read_bytes()
    assert sctir(*options, "--resume") == 0
    assert (tmp_path / "run" / "journal.jsonl").read_bytes() == before


@pytest.mark.slow
def test_an_interrupted_run_keeps_its_journal_and_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "sctir_kaggle", "dry-run", "-n", "4", "--limit", "20", "--output", str(run)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_hang_ups
    )
    _wait_for_lines(run / "journal.jsonl", 3, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert errors.strip().splitlines() == [errors.strip()]  # one line
    assert "--resume" in errors
    done = [result.problem.id for result in read_journal(run / "journal.jsonl")[1]]
    assert 2 <= len(done) < 20
    assert [str(id_) for id_ in pd.read_csv(run / "submission.csv")["id"]] != [], "the answers so far"
    assert subprocess.run([*command, "--resume"], capture_output=True, check=False).returncode == 0
    finished = [result.problem.id for result in read_journal(run / "journal.jsonl")[1]]
    assert finished[: len(done)] == done
    assert len(set(finished)) == len(finished) == 20 == len(pd.read_csv(run / "submission.csv"))


def _wait_for_lines(path: Path, lines: int, process: subprocess.Popen[str]) -> None:
    for _ in range(6000):
        if path.exists() and path.read_bytes().count(b"\n") >= lines:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.kill()
    pytest.fail("the run wrote no journal within five minutes")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dry-run", "--problems", "none.csv"), "cannot read none.csv: No such file or directory"),
        (("solve", "empty.csv"), "empty.csv is empty"),
        (("solve", "torn.csv"), "torn.csv, row 2: 1 field for 2 columns"),
        (
            ("solve", "wrong.csv"),
            "has no column with the problems' texts; it has: id, topic; name it: --problem-column",
        ),
        (("solve", "good.csv", "-n", "0"), "candidates is 0; it must be 1 to 1024"),
        (("solve", "good.csv", "-n", "many"), "--candidates is 'many'; it must be a whole number"),
        (("solve", "good.csv", "--budget", "soon"), "--budget is 'soon'; it must be a time: 9h, 1h30m"),
        (("solve", "good.csv", "--budget", "-5"), "budget is -5.0; it must be more than 0 seconds"),
        (("solve", "good.csv", "--engine", "warp"), "there is no engine 'warp'; choose one of transformers, vllm"),
        (("solve", "good.csv", "--engine", "vlm"), "there is no engine 'vlm'; did you mean vllm?"),
        (("solve", "good.csv", "--preset", "numena"), "there is no preset 'numena'; did you mean numina?"),
        (("solve", "good.csv", "--blocks", "al"), "--blocks is 'al'; it must be one of all, last; did you mean all?"),
        (("solve", "good.csv", "--set", "top_q=1"), "--set top_q: there is no such setting; did you mean top_p?"),
        (("solve", "good.csv", "--set", "top_p"), "--set top_p sets nothing: write --set NAME=VALUE"),
        (("solve", "good.csv", "--config", "none.toml"), "cannot read none.toml: No such file or directory"),
        (("solve", "good.csv", "--config", "good.csv"), "good.csv is not TOML: "),
        (
            ("solve", "good.csv", "--config", "typo.toml"),
            "candidate: there is no such setting; did you mean candidates?",
        ),
        (("solve", "good.csv", "--config", "type.toml"), "type.toml: turns is 2.5; it must be a whole number"),
        (
            ("solve", "good.csv", "--config", "range.toml"),
            "top_p is 2.0; it must be above 0 and at most 1 (file range.toml)",
        ),
        (
            ("solve", "good.csv", "--engine-options", "a=1"),
            "--engine-options is for --engine vllm or --engine openai or ",
        ),
        (("solve", "good.csv", "--memory", "2"), "memory is 2.0; it must be above 0 and at most 1"),
        (("solve", "good.csv", "--competition", "aimo4"), "there is no competition 'aimo4'; take one of aimo1"),
        (("solve", "good.csv", "-m", "-1"), "turns is -1; it must be 0 (no code) or more"),
        (("solve", "good.csv", "--temperature", "-1"), "temperature is -1.0"),
        (("solve", "good.csv", "--delta", "0.7"), "stop_delta is 0.7; it must be 0 (exact) or more and below 0.5"),
        (
            ("solve", "good.csv", "--model", "nowhere"),
            "nowhere is not a folder; pass a checkpoint's folder, or owner/name",
        ),
        (("solve", "good.csv", "--model", "odl"), "odl is not a folder; did you mean old?"),
        (("solve", "good.csv", "--model", "."), "config.json"),
        (("solve", "good.csv", "--engine", "recorded", "--model", "good.csv"), "is not JSON"),
        (("solve", "good.csv", "--engine", "recorded"), "say which with --model JOURNAL"),
        (
            ("solve", "good.csv", "--engine", "recorded", "--model", "old"),
            "holds no record of 2 of 2 problems, the first is a",
        ),
        (("solve", "good.csv", "--engine", "openai"), "--base-url http://HOST:PORT go together"),
        (("solve", "good.csv", "--base-url", "http://h"), "--engine openai or chat and --base-url"),
        (
            ("solve", "good.csv", "--engine", "openai", "--base-url", "localhost:8000"),
            "'localhost:8000' is no base URL",
        ),
        (("solve", "good.csv", "--engine", "openai", "--base-url", "http://127.0.0.1:9"), "cannot be reached"),
        (
            ("solve", "good.csv", "--engine", "openai", "--base-url", "http://127.0.0.1:9", "--model", "nowhere"),
            "nowhere is not a folder",
        ),
        (("solve", "good.csv", "--output", "old"), "exists; add --resume to go on"),
        (("solve", "good.csv", "--resume"), "say where with --output DIR"),
        (("solve", "good.csv", "--resume", "--output", "new"), "there is no run to resume in new"),
        (("solve", "good.csv", "--output", "good.csv"), "good.csv"),
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
    Path("empty.csv").write_text("")
    Path("torn.csv").write_text("id,problem\na,P\nb\n")
    Path("wrong.csv").write_text("id,topic\na,P\n")
    Path("typo.toml").write_text("candidate = 3")
    Path("type.toml").write_text("turns = 2.5")
    Path("range.toml").write_text("top_p = 2")
    Path("old").mkdir()
    Path("old/journal.jsonl").write_text('{"schema": 1}\n')
    before = _files(tmp_path)
    assert main(list(arguments)) == 2
    error = capsys.readouterr().err
    assert error.startswith("sctir: ")
    assert message in error
    assert error.count("\n") == 1
    assert _files(tmp_path) == before  # nothing lost, nothing left


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "say which command: dry-run, solve"),
        (("solve",), "the following arguments are required: FILE"),
        (("dry-run", "--limit", "0"), "'0' must be a whole number of at least 1"),
        (("dry-run", "--temprature", "1"), "unrecognized arguments: --temprature 1; did you mean --temperature"),
    ],
)
def test_what_cannot_be_parsed_is_named(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    usage, line = error.splitlines()
    assert usage.startswith("usage: sctir")
    assert message in line


@pytest.mark.slow
def test_a_run_may_be_written_by_a_server_and_go_on_at_another(tmp_path: Path, csv: Path) -> None:
    pytest.importorskip("httpx", reason="the engine needs the extra `openai`: pip install 'sctir-kaggle[openai]'")
    output = tmp_path / "run"
    with FakeServer(otherwise=says("The answer is $\\boxed{9}$."), model="served") as fake:
        options = (
            "solve",
            csv,
            "-n",
            4,
            "--dialect",
            "numina",
            "--engine",
            "openai",
            "--base-url",
            fake.url,
            "--output",
            output,
        )
        assert sctir(*options, "--limit", 1) == 0
        assert len(fake.bodies) >= 3, "a majority of 4 has to be asked for"
    header, results = read_journal(output / "journal.jsonl")
    assert header["engine"]["model"] == "served"
    assert [result.answer for result in results] == [9]
    with FakeServer(otherwise=says("The answer is $\\boxed{9}$."), model="served") as fake:
        assert sctir(*options[:-3], fake.url, "--output", output, "--limit", 1, "--resume") == 0
        assert fake.bodies == []


@pytest.mark.slow
def test_a_run_of_other_settings_is_not_resumed(tmp_path: Path, csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("solve", csv, "-m", 1, "--output", tmp_path / "run")
    assert sctir(*options, "-n", 2) == 0
    assert sctir(*options, "-n", 3, "--resume") == 2
    assert "config candidates is 2, now 3" in capsys.readouterr().err


@pytest.mark.slow
def test_real_competition_latex_breaks_nothing(shared_data: Path, tmp_path: Path) -> None:
    aime = shared_data / "validation" / "aime.csv"
    for command in (("solve", aime), ("dry-run", "--problems", aime)):
        output = tmp_path / command[0]
        assert sctir(*command, "--limit", 10, "-n", 4, "--output", output) == 0
        _, results = read_journal(output / "journal.jsonl")
        assert len(results) == 10
        assert all(0 <= result.answer <= 999 for result in results)


def test_the_module_is_the_command() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "sctir_kaggle", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    assert "dry-run" in shown
    assert "solve" in shown


@pytest.mark.slow
def test_the_sandbox_starts_while_the_engine_loads(tmp_path: Path, csv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together, load, start = threading.Barrier(2, timeout=60), TransformersEngine.load, Sandbox.start

    def load_then(*arguments: Any, **choices: Any) -> TransformersEngine:
        together.wait()
        return load(*arguments, **choices)

    def start_then(sandbox: Sandbox) -> None:
        together.wait()
        start(sandbox)

    monkeypatch.setattr(TransformersEngine, "load", load_then)
    monkeypatch.setattr(Sandbox, "start", start_then)
    assert sctir("solve", csv, "-n", 1, "-m", 0, "--limit", 1, "--output", tmp_path / "run") == 0


def test_an_engine_that_was_loaded_is_closed_where_the_sandbox_does_not_start(
    tmp_path: Path, csv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = threading.Event()

    def refuse(sandbox: Sandbox) -> None:
        raise ExecutorError("no Python")

    monkeypatch.setattr(TransformersEngine, "close", lambda engine: closed.set())
    monkeypatch.setattr(Sandbox, "start", refuse)
    assert sctir("solve", csv, "-n", 1, "--output", tmp_path / "run") == 2
    assert closed.wait(60)


def test_what_the_engine_says_is_passed_on(
    tmp_path: Path, csv: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise EngineError("no memory for the weights")

    monkeypatch.setattr(TransformersEngine, "load", fail)
    assert sctir("solve", csv, "--output", tmp_path / "run") == 2
    assert "no memory for the weights" in capsys.readouterr().err


def test_the_layout_reaches_vllm(tmp_path: Path, csv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sctir_kaggle.engines import vllm_layout

    asked: dict[str, Any] = {}

    def load(model: Path, **choices: Any) -> None:
        asked.update(choices)
        raise EngineError("enough")

    monkeypatch.setattr(vllm_layout, "load_vllm", load)
    options = ("--engine", "vllm", "--layout", "tensor", "--gpus", 2, "-n", 12)
    assert sctir("solve", csv, *options, "--output", tmp_path / "run") == 2
    assert asked == {"slots": 12, "layout": "tensor", "gpus": 2}


@pytest.mark.parametrize("option", [("--layout", "replicas"), ("--gpus", "2")])
def test_a_layout_for_another_engine_is_refused(
    tmp_path: Path, csv: Path, option: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert sctir("solve", csv, *option, "--output", tmp_path / "run") == 2
    assert "--engine vllm" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_record_that_its_stop_ended_is_not_played_under_another(
    tmp_path: Path, csv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "run"
    assert sctir("solve", csv, "-n", 6, "--stop", "k=1", "--output", record) == 0
    again = ("solve", csv, "-n", 6, "--engine", "recorded", "--model", record, "--output", tmp_path / "again")
    assert sctir(*again) == 2
    assert "ends where its stop, k=1, ended its problems" in capsys.readouterr().err
    assert sctir(*again, "--stop", "k=1") == 0


def test_a_run_is_resumed_on_another_day_with_the_date_that_it_began_with(tmp_path: Path) -> None:
    journal, run = tmp_path / "journal.jsonl", RunConfig(solver=SolverConfig(), dialect="gpt-oss")
    prompt = DIALECTS["gpt-oss"].prompt.replace("{date}", "2026-01-01")
    began = bind(replace(DIALECTS["gpt-oss"], prompt=prompt), None, model="m")
    Journal.create(journal, journal_header(run, [], dialect=began, engine={}, executor={})).close()
    text_engine = SimpleNamespace(tokenizer=None)
    resumed, dialect = bind_dialect(text_engine, run, resumed=journal)
    assert dialect == began
    Journal.resume(journal, journal_header(resumed, [], dialect=dialect, engine={}, executor={})).close()
