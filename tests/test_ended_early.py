"""Runs that a signal, a disk or a terminal ends: no traceback, one line with a path and a count, nothing lost."""

from __future__ import annotations

import csv
import json
import os
import pty
import shlex
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from sctir_kaggle.journal import read_journal
from tests.support.command import (
    COMMAND,
    Counting,
    Process,
    environment,
    lines_of,
    needs_httpx,
    no_traceback,
    problems_csv,
)

pytestmark = pytest.mark.slow

SOLVED = 2
"""Problems that the server answers before it holds the next one."""


@dataclass(frozen=True)
class Ending:
    """A run in its middle, and the signals that end it."""

    command: str
    signals: Sequence[signal.Signals]
    code: int
    group: bool = False
    file: str | None = "submission.csv"


ENDINGS = {
    "Ctrl-C": Ending("solve problems.csv", [signal.SIGINT], 130),
    "Ctrl-C of a terminal, which reaches the sandbox too": Ending(
        "solve problems.csv", [signal.SIGINT], 130, group=True
    ),
    "Ctrl-C twice": Ending("solve problems.csv", [signal.SIGINT, signal.SIGINT], 130, group=True),
    "a service manager": Ending("solve problems.csv", [signal.SIGTERM], 143),
    "a service manager, then Ctrl-C": Ending("solve problems.csv", [signal.SIGTERM, signal.SIGINT], 143),
    "a terminal that is closed": Ending("solve problems.csv", [signal.SIGHUP], 129, group=True),
    "Ctrl-C in a dry run": Ending("dry-run --problems problems.csv", [signal.SIGINT], 130, group=True),
    "the end of a dry run over gRPC": Ending(
        "dry-run --competition aimo3 --problems problems.csv", [signal.SIGTERM], 143, file="submission.parquet"
    ),
    "Ctrl-C in a replay": Ending("replay problems.csv --parallel 1", [signal.SIGINT], 130, group=True, file=None),
    "a terminal closed in a replay": Ending("replay problems.csv --parallel 1", [signal.SIGHUP], 129, file=None),
}


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_a_signal_ends_a_run_with_a_count_and_a_command_that_goes_on(tmp_path: Path, ending: Ending) -> None:
    needs_httpx()
    if "aimo3" in ending.command:
        pytest.importorskip("polars", reason="the stand-in needs the extra `competition`")
        pytest.importorskip("grpc", reason="the stand-in needs the extra `competition`")
    problems_csv(tmp_path / "problems.csv", 5)
    journal = tmp_path / "my run" / "journal.jsonl"
    with Counting(held=0) as server:
        server.held = None if "dry-run" in ending.command else SOLVED
        # The stand-in asks in an order of its own: there every third question waits.
        typed = [*shlex.split(ending.command), *server.options, "--output", "my run"]
        if "dry-run" in ending.command:
            _hold_third(server)
        with Process(typed, tmp_path) as process:
            process.wait_for(lambda: lines_of(journal) == 1 + SOLVED and server.running == 1)
            first, *later = ending.signals
            process.send(first, group=ending.group)
            for number in later:  # only once the first has been handled: at once, nobody could tell their order
                process.wait_for(lambda: "interrupted" in process.errors or server.running == 0, ended=True)
                process.send(number, group=ending.group)
            assert process.end() == ending.code
        no_traceback(process.errors)
        _, results = read_journal(journal)
        assert len(results) == SOLVED
        assert (
            f"{SOLVED} of 5 {'tasks' if 'replay' in typed else 'problems'} are in my run/journal.jsonl"
            in process.errors
        )
        if ending.file == "submission.csv":
            assert _answers(tmp_path / "my run" / ending.file) == {
                each.problem.id: str(each.answer) for each in results
            }
        elif ending.file:
            assert f"their answers in my run/{ending.file}" in process.errors
        assert list((tmp_path / "my run").glob("*.new")) == []
        _goes_on(process.errors.partition("to go on: ")[2], tmp_path, server)
    assert len(read_journal(journal)[1]) == 5
    if ending.file:
        assert (tmp_path / "my run" / ending.file).exists()


def test_a_replay_goes_on_with_its_seeds_and_its_time_limit(tmp_path: Path) -> None:
    needs_httpx()
    problems_csv(tmp_path / "problems.csv", 3)
    journal = tmp_path / "run" / "journal.jsonl"
    with Counting(held=SOLVED) as server:
        kept = ["--output", "run", *server.options]
        typed = ["replay", "problems.csv", "--parallel", "1", "--seeds", "2", "--problem-seconds", "1h", *kept]
        with Process(typed, tmp_path) as process:
            process.wait_for(lambda: lines_of(journal) == 1 + SOLVED and server.running == 1)
            process.send(signal.SIGKILL)
            process.end()
        server.held = None
        again = shlex.join([*COMMAND, "replay", "problems.csv", "--resume", *kept])
        done = _shell(again, tmp_path)
        assert (done.returncode, "sd of 2 seeds" in done.stdout) == (0, True), done
        header, results = read_journal(journal)
        assert sorted((result.problem.id, result.seed) for result in results) == [
            (f"p{k}", seed) for k in range(3) for seed in (0, 1)
        ]
        assert (header["seeds"], header["problem_seconds"]) == ([0, 1], 3600)
    # It is complete: the server, which has gone, is not needed.
    shown = _shell(again, tmp_path)
    assert (shown.returncode, "sd of 2 seeds" in shown.stdout, shown.stderr) == (0, True, "")


@pytest.mark.parametrize("command", ["solve -", "replay - --parallel 1"])
def test_a_run_on_standard_input_says_that_its_problems_are_needed_again(tmp_path: Path, command: str) -> None:
    needs_httpx()
    source = problems_csv(tmp_path / "problems.csv", 3)
    journal = tmp_path / "run" / "journal.jsonl"
    with Counting(held=SOLVED) as server:
        typed = [*command.split(), *server.options, "--output", "run"]
        with source.open() as file, Process(typed, tmp_path, stdin=file) as process:
            process.wait_for(lambda: lines_of(journal) == 1 + SOLVED and server.running == 1)
            process.send(signal.SIGINT)
            assert process.end() == 130
        no_traceback(process.errors)
        hint = process.errors.partition("to go on, with the same problems in FILE: ")[2]
        assert hint.endswith(" < FILE")
        server.held = None
        source.rename(tmp_path / "FILE")
        done = _shell(hint, tmp_path)
        assert done.returncode == 0, done
    assert len(read_journal(journal)[1]) == 3


def _hold_third(server: Counting) -> None:
    """Let every request after the first two wait, whichever problem it is of."""
    answer = server._number

    def ask(body: dict[str, object]) -> object:
        server.held = None if len(server.asked) < SOLVED else 0
        return answer(body)

    server.otherwise = ask  # type: ignore[assignment]


def _goes_on(hint: str, folder: Path, server: Counting) -> None:
    """The command, as a shell reads it, solves the rest and asks for nothing twice."""
    before, server.held = set(server.asked), None
    server.asked.clear()
    server.otherwise = server._number
    done = subprocess.run(hint, shell=True, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300)
    assert (done.returncode, "5 right" in done.stdout or "/5" in done.stdout or "100.0" in done.stdout) == (0, True), (
        done
    )
    assert len(before) == SOLVED
    assert not before & server.asked


def _answers(path: Path) -> dict[str, str]:
    with path.open(newline="") as file:
        return {row["id"]: row["answer"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("module", ["sctir_kaggle.streams", "argparse", "sctir_kaggle.settings"])
def test_ctrl_c_while_the_command_imports_leaves_one_line(tmp_path: Path, module: str) -> None:
    problems_csv(tmp_path / "problems.csv", 1)
    with Process(["solve", "problems.csv"], tmp_path, python=["-X", "importtime"]) as process:
        process.wait_for(lambda: f" {module}\n" in process.imports())
        process.send(signal.SIGINT)
        assert process.end() == 130
    no_traceback(process.errors)


def test_ctrl_c_while_the_engine_loads_says_that_nothing_was_written(tmp_path: Path) -> None:
    needs_httpx()
    problems_csv(tmp_path / "problems.csv", 3)
    with Counting() as server:
        from tests.support.fake_server import Answer

        server.other_paths["/v1/models"] = Answer(end="hang")
        with Process(["solve", "problems.csv", *server.options, "--output", "run"], tmp_path) as process:
            process.wait_for(lambda: server.connections > 0)
            process.send(signal.SIGINT, group=True)
            assert process.end() == 130
        no_traceback(process.errors)
        assert "0 of 3 problems are done and nothing was written to run; again: " in process.errors
        assert not (tmp_path / "run").exists()
        server.other_paths.clear()
        again = process.errors.partition("again: ")[2]
        done = subprocess.run(again, shell=True, cwd=tmp_path, env=environment(), capture_output=True, timeout=300)
        assert done.returncode == 0


def test_nohup_is_kept(tmp_path: Path) -> None:
    needs_httpx()
    problems_csv(tmp_path / "problems.csv", 3)
    journal = tmp_path / "run" / "journal.jsonl"

    def nohup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with (
        Counting(held=SOLVED) as server,
        Process(["solve", "problems.csv", *server.options, "--output", "run"], tmp_path, before=nohup) as process,
    ):
        process.wait_for(lambda: lines_of(journal) == 1 + SOLVED and server.running == 1)
        process.send(signal.SIGHUP)
        process.send(signal.SIGTERM)
        assert process.end() == 143


def _solve(server: Counting, output: str = "run") -> str:
    return shlex.join([*COMMAND, "solve", "problems.csv", *server.options, "--output", output])


def _shell(line: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        encoding="latin-1",
        timeout=300,
    )


@pytest.mark.parametrize("disk", ["a full disk", "a limit of file sizes"])
def test_a_disk_that_fills_up_keeps_every_whole_line(tmp_path: Path, disk: str) -> None:
    needs_httpx()
    problems_csv(tmp_path / "problems.csv", 40, pad=1000)
    with Counting() as server:
        if disk == "a full disk":
            if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
                pytest.skip("a small disk needs a mount namespace, which this user may not make")
            line = "mkdir small && mount -t tmpfs -o size=48k none small && "
            line += f"{_solve(server, 'small/run')}; code=$?; cp -r small/run .; exit $code"
            done = _shell(shlex.join(["unshare", "-m", "bash", "-c", line]), tmp_path)
        else:
            done = _shell(f"ulimit -f 40; {_solve(server)}", tmp_path)
        no_traceback(done.stderr)
        assert done.returncode == 2
        assert ("No space left on device" if disk == "a full disk" else "File too large") in done.stderr
        journal = tmp_path / "run" / "journal.jsonl"
        lines = journal.read_text().splitlines()
        assert journal.read_bytes().endswith(b"\n"), "the line that did not fit is gone"
        assert all(json.loads(line) for line in lines)
        assert f"{len(lines) - 1} of 40 problems are in " in done.stderr
        assert len(_answers(tmp_path / "run" / "submission.csv")) == len(lines) - 1
        again = _shell(f"{_solve(server)} --resume", tmp_path)
        assert again.returncode == 0, again.stderr
    assert len(read_journal(journal)[1]) == 40


@pytest.mark.parametrize(
    ("mount", "why"),
    [("size=4k", "No space left on device"), ("ro", "Read-only file system")],
    ids=["full", "read-only"],
)
def test_a_disk_that_takes_nothing_is_refused_before_the_engine_is_asked(tmp_path: Path, mount: str, why: str) -> None:
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("another disk needs a mount namespace, which this user may not make")
    problems_csv(tmp_path / "problems.csv", 1)
    with Counting() as server:
        line = f"mkdir disk && mount -t tmpfs -o {mount} none disk && {_solve(server, 'disk/run')}"
        done = _shell(shlex.join(["unshare", "-m", "bash", "-c", line]), tmp_path)
        assert server.connections == 0
    no_traceback(done.stderr)
    assert (done.returncode, done.stderr) == (2, f"sctir: cannot write to disk/run: {why}; choose another --output\n")


def test_an_output_on_a_full_disk_is_said_and_the_run_is_whole(tmp_path: Path) -> None:
    needs_httpx()
    problems_csv(tmp_path / "problems.csv", 2)
    with Counting() as server:
        done = _shell(f"{_solve(server)} > /dev/full", tmp_path)
    assert done.returncode == 2
    assert done.stderr == "sctir: the run is done and all is in run; standard output: No space left on device\n"
    assert len(_answers(tmp_path / "run" / "submission.csv")) == 2


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_no_harm_to_the_journal(tmp_path: Path, closed: str) -> None:
    needs_httpx()
    problems_csv(tmp_path / "problems.csv", 2)
    with Counting() as server:
        done = _shell(f"{_solve(server)} {closed}", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [json.loads(line) for line in (tmp_path / "run" / "journal.jsonl").read_text().splitlines()]
    assert len(read_journal(tmp_path / "run" / "journal.jsonl")[1]) == 2


@pytest.mark.parametrize("command", ["settings", "solve --help", "doctor --engine recorded"])
def test_a_reader_that_goes_away_is_no_error(tmp_path: Path, command: str) -> None:
    done = _shell(f"{shlex.join(COMMAND)} {command} | head -1; exit ${{PIPESTATUS[0]}}", tmp_path)
    assert done.returncode in (0, 1, 141)  # all may have been written before `head` went; 1 is the doctor's verdict
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1


TERMINALS: dict[str, dict[str, str]] = {
    "ASCII": {"PYTHONIOENCODING": "ascii"},
    "Latin-1": {"PYTHONIOENCODING": "latin-1"},
    "the C locale": {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"},
    "ten columns": {"COLUMNS": "10"},
}


@pytest.mark.parametrize("variables", TERMINALS.values(), ids=TERMINALS)
def test_a_terminal_that_lacks_letters_gets_others(tmp_path: Path, variables: dict[str, str]) -> None:
    needs_httpx()
    (tmp_path / "problems.csv").write_text("id,problem\né–中,What is the number 7?\n", encoding="utf-8")
    with Counting() as server:
        done = _shell(_solve(server, "été"), tmp_path, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    letters = {"Latin-1": "é-\\u4e2d: 7", "ten columns": "é–中: 7".encode().decode("latin-1")}
    name = next(name for name, each in TERMINALS.items() if each is variables)
    assert letters.get(name, "\\xe9-\\u4e2d: 7") in done.stdout
    assert read_journal(tmp_path / "été" / "journal.jsonl")[1][0].problem.id == "é–中"
    seen = _shell(f"{shlex.join(COMMAND)} score été", tmp_path, **variables)
    assert (seen.returncode, seen.stderr) == (0, "")


def test_a_terminal_that_cannot_go_back_gets_lines(tmp_path: Path) -> None:
    needs_httpx()
    problems_csv(tmp_path / "problems.csv", 2)
    ours, theirs = pty.openpty()
    with Counting() as server:
        typed = ["solve", "problems.csv", *server.options, "--output", "run"]
        with Process(typed, tmp_path, variables={"TERM": "dumb"}, stdout=theirs) as process:
            os.close(theirs)
            shown = _all_of(ours)
            assert process.end() == 0
    os.close(ours)
    assert "p0: 0 right" in shown
    assert "p1: 1 right" in shown
    assert "\x1b" not in shown.replace("\x1b[", "", 0)


def _all_of(descriptor: int) -> str:
    """What a terminal shows until its program ends."""
    found = b""
    read: Callable[[], bytes] = lambda: os.read(descriptor, 4096)  # noqa: E731
    while True:
        try:
            found += read()
        except OSError:  # so Linux says that nobody writes any more
            return found.decode()
