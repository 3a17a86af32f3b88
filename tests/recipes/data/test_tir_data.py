"""Traces from a chat server that misbehaves: each problem ends once, kills lose nothing, kept code prints the same again."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from benchmarks.tir_data import check_each_resolved_once
from sctir_kaggle.dialects.rows import CLOSE_FENCE, HEADER
from sctir_kaggle.journal import JOURNAL, read_faults, read_journal, whole_lines
from sctir_kaggle.problems import HELD_OUT
from sctir_kaggle.recipes.data.tir.exercise import read_exercises
from sctir_kaggle.recipes.data.tir.outcomes import UNSTABLE
from sctir_kaggle.recipes.data.tir.settings import TirSettings
from sctir_kaggle.recipes.data.tir_data import ROWS, STATISTICS, main, make
from sctir_kaggle.recipes.rendering import segments_of
from sctir_kaggle.recipes.rows import Row, read_rows
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.types import EngineError, UserError
from tests.support.fake_server import Answer, FakeServer, free_port, says
from tests.support.unruly_server import UnrulyServer, write_problems

pytestmark = pytest.mark.slow

pytest.importorskip("httpx", reason="the recipe's server is asked by httpx: pip install 'sctir-kaggle[openai]'")

PROBLEMS = 200


def settings(folder: Path, server: UnrulyServer, *, problems: int = PROBLEMS, **changes: Any) -> TirSettings:
    source = write_problems(folder / "problems.jsonl", problems)
    # Only a server that falls silent on purpose is given up soon: others may be slow on a busy machine.
    stall = 1.0 if server.unruly else 60.0
    fast = {"pause": 0.01, "stall": stall, "tries": 20, "in_flight": 100, "price_prompt": 1.0, "price_completion": 10.0}
    return TirSettings(problems=str(source), output=folder / "run", base_url=(server.url,), **{**fast, **changes})


def rows_of(folder: Path) -> dict[str, Row]:
    rows = list(read_rows(folder / "run" / ROWS))
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row for row in rows}


@pytest.fixture(scope="module", autouse=True)
def one_sandbox(sandbox: Sandbox) -> Iterator[None]:
    """Runs in this process share the session's: it takes seconds to start. A run that is killed has its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sctir_kaggle.sandbox.Sandbox", lambda **_: nullcontext(sandbox))
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder and the statistics of a run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    with UnrulyServer() as server:
        return folder, make(settings(folder, server))


def assert_each_resolved_once(folder: Path, problems: int = PROBLEMS) -> None:
    counted = check_each_resolved_once(folder / "problems.jsonl", folder / "run")
    assert counted["kept"] + counted["dropped"] == problems


def test_under_a_server_that_misbehaves_each_problem_is_resolved_once_and_to_the_same(
    tmp_path: Path, whole: tuple[Path, dict[str, Any]]
) -> None:
    with UnrulyServer(0.2) as server:
        statistics = make(settings(tmp_path, server))
    assert set(server.treated) == {"200", "429", "500", "503", "dropped", "half", "silent", "garbage"}
    assert_each_resolved_once(tmp_path)
    assert rows_of(tmp_path) == rows_of(whole[0])
    assert statistics == whole[1]
    assert statistics["kept"] + statistics["dropped"] == PROBLEMS


def test_killed_and_resumed_nothing_is_lost_or_made_twice(tmp_path: Path, whole: tuple[Path, dict[str, Any]]) -> None:
    with UnrulyServer(0.1, delay=0.05) as server:
        config = tmp_path / "tir.yaml"
        told = settings(tmp_path, server, in_flight=20)
        names = ("problems", "output", "pause", "stall", "tries", "in_flight", "price_prompt", "price_completion")
        config.write_text(
            json.dumps({"base_url": [server.url], **{name: _plain(getattr(told, name)) for name in names}})
        )
        before = 0
        for more in (60, 100):
            before = _kill_after(config, tmp_path / "run" / JOURNAL, before + more)
        again = _start(config)
        _, said = again.communicate(timeout=600)
        assert again.returncode == 0, said
    assert_each_resolved_once(tmp_path)
    assert rows_of(tmp_path) == rows_of(whole[0])
    assert json.loads((tmp_path / "run" / STATISTICS).read_text())["rounds"] == whole[1]["rounds"]


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _start(config: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sctir_kaggle.recipes.data.tir_data", "--config", str(config)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _kill_after(config: Path, journal: Path, lines: int) -> int:
    """Start a run and kill it once the journal has so many lines; -> how many it has then."""
    run, end = _start(config), time.monotonic() + 600
    while not journal.exists() or journal.read_bytes().count(b"\n") < lines:
        assert run.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.005)
    os.kill(run.pid, signal.SIGKILL)
    run.communicate()
    return journal.read_bytes().count(b"\n")


def test_kept_traces_print_the_same_when_their_text_is_run_again_in_fresh_children(
    whole: tuple[Path, dict[str, Any]], sandbox: Sandbox
) -> None:
    rows = rows_of(whole[0])
    blocks = {name: _blocks(row["messages"][1]["content"]) for name, row in rows.items()}
    assert max(map(len, blocks.values())) == 2  # some mended an error, with the variables of the first block
    assert asyncio.run(_outputs(blocks, sandbox)) == {name: [out for _, out in found] for name, found in blocks.items()}


def _blocks(text: str) -> list[tuple[str, str]]:
    """Code and output, as they stand in a row."""
    return re.findall(r"```python\n(.*?)\n```\n```output\n(.*?)\n```", text, re.DOTALL)


async def _outputs(blocks: dict[str, list[tuple[str, str]]], sandbox: Sandbox) -> dict[str, list[str]]:
    printed = defaultdict(list)
    for name, found in blocks.items():
        for number, (code, _) in enumerate(found):
            request_id, deadline = f"fresh-{name}/0/{number}", time.monotonic() + 30
            printed[name].append((await sandbox.execute(code, request_id=request_id, deadline=deadline)).output.strip())
        sandbox.release(f"fresh-{name}/0")
    return dict(printed)


def test_a_row_is_learned_but_for_the_problem_and_what_the_code_printed(whole: tuple[Path, dict[str, Any]]) -> None:
    for row in rows_of(whole[0]).values():
        header, *segments = segments_of(row)
        assert header.text == HEADER.format(problem=row["problem"])
        assert "".join(segment.text for segment in segments).startswith(row["messages"][1]["content"])
        read = [segment.text for segment in segments if not segment.learned]
        assert read == [output + CLOSE_FENCE for _, output in _blocks(row["messages"][1]["content"])]


def test_a_right_answer_whose_output_hangs_on_chance_is_sampled_again(whole: tuple[Path, dict[str, Any]]) -> None:
    results = read_journal(whole[0] / "run" / JOURNAL)[1]
    unstable = [result for result in results if result.traces[0].detail == UNSTABLE]
    assert len(unstable) == sum(one["unstable"] for one in whole[1]["rounds"]) > 0
    assert all("random.random()" in result.traces[0].turns[0].completion.text for result in unstable)
    assert not any("random.random()" in row["messages"][1]["content"] for row in rows_of(whole[0]).values())


def test_every_kept_answer_is_the_reference_exactly_fractions_too(whole: tuple[Path, dict[str, Any]]) -> None:
    exercises, _ = read_exercises(str(whole[0] / "problems.jsonl"))
    references = {exercise.problem.id: exercise.reference for exercise in exercises}
    rows = rows_of(whole[0])
    assert all(Fraction(row["answer"]) == references[name] for name, row in rows.items())
    assert {type(row["answer"]) for row in rows.values()} == {int, str}
    assert not {name for name in rows if int(name[1:]) % 20 == 7}  # the ones that nobody finds


def test_the_rounds_add_up(whole: tuple[Path, dict[str, Any]]) -> None:
    statistics = whole[1]
    outcomes = ("kept", "wrong", "no_answer", "unstable", "failed")
    asked = [one["asked"] for one in statistics["rounds"]]
    assert asked[0] == PROBLEMS
    for one, following in zip(statistics["rounds"], [*asked[1:], statistics["dropped"]], strict=True):
        assert sum(one[name] for name in outcomes) == one["asked"]
        assert one["asked"] - one["kept"] == following
    prompt, completion = (
        sum(one[f"{name}_tokens"] for one in statistics["rounds"]) for name in ("prompt", "completion")
    )
    turns = [turn for result in read_journal(whole[0] / "run" / JOURNAL)[1] for turn in result.traces[0].turns]
    assert prompt == 100 * len(turns)  # what the server said of each request
    assert completion == sum(turn.completion.tokens for turn in turns)
    assert statistics["cost"] == pytest.approx((prompt + 10 * completion) / 1e6)


def test_a_server_that_is_gone_ends_the_run_and_costs_no_problem_its_round(tmp_path: Path) -> None:
    with UnrulyServer(1.0) as server:
        told = settings(tmp_path, server, problems=30, tries=2, failures=5, in_flight=3, pause=0.001, stall=0.1)
        with pytest.raises(EngineError, match=r"5 attempts in a row failed, .* again: it goes on where it ended"):
            make(told)
        assert len(read_faults(tmp_path / "run" / JOURNAL)) >= 5
        server.unruly = 0.0
        statistics = make(replace(told, stall=60.0, tries=20))
    assert_each_resolved_once(tmp_path, 30)
    assert sum(one["failed"] for one in statistics["rounds"]) >= 5
    assert statistics["open"] == 0


def test_a_limit_of_requests_at_once_is_kept_to_and_fails_nothing(tmp_path: Path) -> None:
    with UnrulyServer(most_at_once=20, delay=0.1) as server:
        statistics = make(settings(tmp_path, server, problems=60, in_flight=60, tries=1))
    assert_each_resolved_once(tmp_path, 60)
    assert sum(one["failed"] for one in statistics["rounds"]) == 0
    assert 0 < server.treated["429"] <= server.treated["200"]


def test_the_run_ends_at_its_budget_and_goes_on_with_a_larger_one(tmp_path: Path) -> None:
    with UnrulyServer() as server:
        poor = settings(tmp_path, server, problems=40, in_flight=2, budget=0.002)
        statistics = make(poor)
        assert 0.002 <= statistics["cost"] < 0.004
        assert statistics["open"] > 20
        make(settings(tmp_path, server, problems=40, in_flight=20))
    assert_each_resolved_once(tmp_path, 40)


def test_a_finished_run_asks_nothing_more(tmp_path: Path) -> None:
    with UnrulyServer() as server:
        told = settings(tmp_path, server, problems=10)
        first = make(told)
        asked = Counter(server.treated)
        assert make(told) == first
        assert Counter(server.treated) == asked


def test_other_references_are_another_run(tmp_path: Path) -> None:
    with UnrulyServer() as server:
        told = settings(tmp_path, server, problems=10)
        make(told)
        source = Path(told.problems)
        source.write_text(source.read_text().replace('"answer": 84', '"answer": 85'))
        with pytest.raises(UserError, match="its problems are others"):
            make(told)


def test_each_attempt_is_a_whole_line_of_the_journal_with_its_texts(whole: tuple[Path, dict[str, Any]]) -> None:
    header, *lines = whole_lines(whole[0] / "run" / JOURNAL)
    assert header["seeds"] == [42, 43, 44]
    assert len(lines) == sum(one["asked"] for one in whole[1]["rounds"])
    assert all(line["traces"][0]["turns"] for line in lines)


def test_a_checkpoint_here_writes_traces_too(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the embedded model runs in torch: pip install 'sctir-kaggle[cpu]'")
    told = TirSettings(
        problems=str(HELD_OUT), limit=6, output=tmp_path, engine="transformers", in_flight=6, code_seconds=5.0
    )
    statistics = make(told)
    rows = list(read_rows(tmp_path / ROWS))
    assert statistics["kept"] == len(rows) > 0
    assert statistics["open"] == 0
    assert all(f"{row['answer']}" in row["messages"][1]["content"] for row in rows)
    assert any("```output\n" in row["messages"][1]["content"] for row in rows)


def test_a_completions_server_writes_traces_too(tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> Answer:
        printed = re.search(r"```output\n(\d+)\n```$", body["prompt"])
        if printed:
            return says(f"\nThe answer is $\\boxed{{{printed[1]}}}$.")
        return says("```python\nprint(6 * 7)\n```\n```output\n", stop_reason="```output\n")

    source = tmp_path / "problems.csv"
    source.write_text("id,problem,answer\na,How much is 6 times 7?,42\n")
    with FakeServer(otherwise=answer) as server:
        make(TirSettings(problems=str(source), output=tmp_path / "run", engine="openai", base_url=(server.url,)))
    assert rows_of(tmp_path)["a"]["messages"][1]["content"] == (
        "```python\nprint(6 * 7)\n```\n```output\n42\n```\nThe answer is $\\boxed{42}$."
    )


def test_a_server_that_is_not_there_is_waited_for_as_long_as_is_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The advice names the recipe's own setting, not the option of `sctir`."""
    (tmp_path / "p.csv").write_text("id,problem,answer\na,What is 1 plus 1?,2\n")
    given = (f"base_url=http://127.0.0.1:{free_port()}", f"problems={tmp_path / 'p.csv'}", f"output={tmp_path / 'run'}")
    with pytest.raises(EngineError, match=r"cannot be reached .*; --set server_wait=600 waits longer than 0.1 s$"):
        main(["--set", *given, "server_wait=0.1"])
