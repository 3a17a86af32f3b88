"""Validation by a server that a command starts on the checkpoint: what it serves, how it ends, and what goes wrong."""

from __future__ import annotations

import json
import shlex
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from sctir_kaggle.recipes.train.validation_server import LAUNCHED, check_server, serving
from sctir_kaggle.types import EngineError, UserError
from tests.support.fake_server import FakeServer, free_port
from tests.support.sft_support import MODEL, changes, data

ROOT = Path(__file__).resolve().parents[3]
WAIT = 60.0  # for a process to start on a busy machine


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for the processes that a command starts


def command(port: int, *others: str) -> str:
    return f"{shlex.quote(sys.executable)} -m tests.support.served_checkpoint {{checkpoint}} {port} {' '.join(others)}"


def checkpoint(folder: Path, step: int = 4) -> Path:
    made = folder / "run" / f"checkpoint-{step}"
    made.mkdir(parents=True)
    (made / "config.json").write_text("{}")
    return made


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5):
            return True
    except urllib.error.URLError:
        return False


def test_a_server_is_started_on_the_checkpoint_and_ended_after_it(tmp_path: Path) -> None:
    port, log, made = free_port(), tmp_path / "log", checkpoint(tmp_path)
    with serving(made, f"http://127.0.0.1:{port}", command(port), wait=WAIT, log=log) as name:
        assert name == "m"  # whose `root` is the checkpoint
        assert answers(port)
    printed = log.read_text().splitlines()
    assert [printed[0], printed[-1]] == [f"serves {made.absolute()}", "ended"]
    assert not answers(port)


def test_a_server_that_serves_an_older_checkpoint_is_not_asked(tmp_path: Path) -> None:
    older, newer = checkpoint(tmp_path, 2), checkpoint(tmp_path, 4)
    with (
        FakeServer(model=str(older)) as server,
        pytest.raises(EngineError, match=r"serves .*checkpoint-2, and not .*checkpoint-4, after 1 s"),
        serving(newer, server.url, f"{sys.executable} -c pass {{checkpoint}}", wait=1, log=tmp_path / "log"),
    ):
        pytest.fail("it must not get here")


def test_a_command_that_restarts_a_server_elsewhere_may_end_before_it_answers(tmp_path: Path) -> None:
    """It ends with status 0; the folder may lie elsewhere on the server's machine, but for its last two names."""
    made = checkpoint(tmp_path)
    short = f"{sys.executable} -c pass {{checkpoint}}"
    with FakeServer(model="/mnt/run/checkpoint-4") as server:
        with serving(made, server.url, short, wait=WAIT, log=tmp_path / "log") as name:
            assert name == "/mnt/run/checkpoint-4"
        assert answers(server.port)  # it is not this process's to end


def test_a_command_that_fails_is_reported_at_once(tmp_path: Path) -> None:
    failing = f"{sys.executable} -c 'import sys; sys.exit(3)' {{checkpoint}}"
    with (
        pytest.raises(EngineError, match=r"validate_command ended with status 3; .*log has what it printed"),
        serving(checkpoint(tmp_path), f"http://127.0.0.1:{free_port()}", failing, wait=WAIT, log=tmp_path / "log"),
    ):
        pytest.fail("it must not get here")


def test_the_command_does_not_take_over_the_place_of_a_process_of_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch would wait for the launcher's store (TORCHELASTIC_USE_AGENT_STORE), or for seven processes more."""
    for name in (*LAUNCHED, "TORCHELASTIC_USE_AGENT_STORE", "ACCELERATE_USE_DEEPSPEED"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    printing = f"{sys.executable} -c 'import os; print(*os.environ); print(os.getenv(\"CUDA_VISIBLE_DEVICES\"))' {{checkpoint}}"
    log = tmp_path / "log"
    with (
        FakeServer(model="/mnt/run/checkpoint-4") as server,
        serving(checkpoint(tmp_path), server.url, printing, wait=WAIT, log=log),
    ):
        end = time.monotonic() + WAIT
        while log.read_text().count("\n") < 2 and time.monotonic() < end:
            time.sleep(0.05)
    names, gpus = log.read_text().splitlines()
    assert {*names.split()} >= {"PATH", "PYTHONPATH"}
    assert not {name for name in names.split() if name in LAUNCHED or name.startswith(("TORCHELASTIC", "ACCELERATE"))}
    assert gpus == "7"


@pytest.mark.parametrize(
    ("url", "started", "said"),
    [
        (
            "localhost:8000",
            "vllm {checkpoint}",
            r"validate_url: 'localhost:8000' is no base URL: write http://HOST:PORT",
        ),
        (
            "http://h:1",
            None,
            r"validate_url and validate_command go together: .* vllm serve \{checkpoint\} --port 8000",
        ),
        (None, "vllm {checkpoint}", r"validate_url and validate_command go together"),
        ("http://h:1", "sh -c x", r"validate_command has no \{checkpoint\}, the folder that is to be served: sh -c x"),
        ("http://h:1", "no-such-program {checkpoint}", r"there is no program no-such-program; install it"),
        ("http://h:1", "sh 'a {checkpoint}", r"validate_command cannot be split into words \(No closing quotation\)"),
        ("http://h:1", "", r"validate_command is empty"),
    ],
    ids=range(7),
)
def test_what_cannot_be_used_is_one_line(url: str | None, started: str | None, said: str) -> None:
    with pytest.raises(UserError, match=said) as raised:
        check_server(url, started)
    assert "\n" not in str(raised.value)


@pytest.mark.recipes
@pytest.mark.slow
def test_a_training_is_validated_by_the_server_and_goes_on_where_it_fails(tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="training needs the extra `recipes`: pip install 'sctir-kaggle[recipes]'")
    from sctir_kaggle.recipes.settings import CONFIGS, read_settings
    from sctir_kaggle.recipes.train.sft import SFT, train

    problems = tmp_path / "problems.csv"
    problems.write_text("id,problem,answer\na,What is 40 plus 2?,42\nb,What is 1 plus 1?,2\n")
    port, output = free_port(), tmp_path / "out"
    # The command fails for the first checkpoint, and serves the second.
    script = tmp_path / "serve.py"
    script.write_text(
        "import sys, runpy\n"
        "if sys.argv[1].endswith('-2'): sys.exit('no')\n"
        "runpy.run_module('tests.support.served_checkpoint', run_name='__main__')\n"
    )
    server = {
        "validate_url": f"http://127.0.0.1:{port}",
        "validate_command": f"{sys.executable} {script} {{checkpoint}} {port}",
        "validate_wait": WAIT,
        "validate": problems,
        "validate_every": 2,
        "validate_candidates": 2,
        "validate_turns": 0,
    }
    given = changes(MODEL, data(tmp_path), output, steps=4, learning_rate=1e-6)
    quoted = [f"{name}={json.dumps(value) if isinstance(value, str) else value}" for name, value in server.items()]
    train(read_settings(SFT, CONFIGS / "stage2_tir.yaml", [*given, *quoted]))
    [line] = [json.loads(line) for line in (output / "validation.jsonl").read_text().splitlines()]
    assert (line["step"], line["problems"], line["single"], line["majority"]) == (4, 2, 0.5, 0.5)
    printed = (output / "validation-server.log").read_text().splitlines()
    expected = ["no", f"serves {output / 'checkpoint-4'}", "ended"]
    assert [line for line in printed if line in expected] == expected
