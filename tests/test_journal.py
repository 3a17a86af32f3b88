"""A run on disk survives kills, refuses to be overwritten, and comes back equal."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sctir_kaggle import (
    Completion,
    ExecutionResult,
    ExecutionStatus,
    Problem,
    SolveResult,
    Trace,
    TraceStatus,
    Turn,
    UserError,
    Vote,
)
from sctir_kaggle._version import __version__
from sctir_kaggle.journal import (
    Journal,
    read_canaries,
    read_faults,
    read_journal,
    result_from_json,
    result_to_json,
    stream_results,
)
from sctir_kaggle.lab.records import read_records
from sctir_kaggle.types import Control, PartialTurn

HEADER = {"config": {"candidates": 2, "stop": "exact"}, "prompt": "ab", "problems": "cd", "engine": {"model": "m"}}


def result(id_: str, text: str = "x") -> SolveResult:
    completion = Completion(text, (5, 6), "stop", "```output\n", tokens=2, prompt_tokens=9, cached_tokens=4)
    execution = ExecutionResult("42\n", ExecutionStatus.ERROR, 0.25)
    turn = Turn(completion, "<", "print(42)", execution, ("42\n", Control("```")), generate_seconds=1.5)
    trace = Trace(1, (turn, Turn(Completion("y"))), TraceStatus.ANSWERED, 42, "42", "note", 2.0)
    cut = Trace(0, (), TraceStatus.CANCELLED)
    return SolveResult(Problem(id_, "Add.", 42), 42, Vote(((42, 1.0),)), (trace, cut), "exact", False, 3.0)


texts = st.text(st.characters(codec="utf-8"))


@given(texts, texts)
def test_a_result_comes_back_equal(id_: str, text: str) -> None:
    line = json.loads(json.dumps(result_to_json(result(id_, text))))
    assert result_from_json(line) == result(id_, text)


def test_a_problem_may_be_there_once_for_each_seed(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "j", HEADER) as journal:
        for seed in (0, 1):
            journal.append(replace(result("p"), seed=seed))
    assert [found.seed for found in read_journal(tmp_path / "j")[1]] == [0, 1]
    with Journal.resume(tmp_path / "j", HEADER) as journal:
        journal.append(replace(result("p"), seed=1))
    with pytest.raises(UserError, match="a problem twice"):
        read_journal(tmp_path / "j")


def test_a_line_without_a_seed_has_that_of_the_header(tmp_path: Path) -> None:
    line = result_to_json(result("p"))
    del line["seed"]
    path = tmp_path / "j"
    path.write_text(json.dumps({"schema": 1, "config": {"seed": 7}}) + "\n" + json.dumps(line) + "\n")
    assert read_journal(path)[1][0].seed == 7


def test_token_ids_stay_out_but_their_number_is_kept() -> None:
    line = result_to_json(result("p"))
    assert "token_ids" not in json.dumps(line)
    assert line["traces"][0]["turns"][0]["completion"]["tokens"] == 2


RUNNING = Turn(Completion("```python\n1\n```", (5, 6), tokens=2), code="1", generate_seconds=0.5)


@pytest.mark.parametrize(
    "cut", [PartialTurn("p/0/0", "generating", None, 1.5), PartialTurn("p/0/0", "executing", RUNNING, 2.5)]
)
def test_what_a_cancelled_candidate_was_doing_comes_back(cut: PartialTurn) -> None:
    cancelled = Trace(0, (), TraceStatus.CANCELLED, cut=cut)
    line = json.dumps(result_to_json(replace(result("p"), traces=(cancelled,))))
    assert "token_ids" not in line
    [trace] = result_from_json(json.loads(line)).traces
    assert trace.cut == cut


def test_the_risk_of_a_stop_comes_back() -> None:
    stopped = replace(result("p"), stopped="beta", risk=0.1 / 3)
    assert result_from_json(json.loads(json.dumps(result_to_json(stopped)))) == stopped


def test_a_line_of_a_version_that_knew_neither_cuts_nor_risks_is_read() -> None:
    line = result_to_json(result("p"))
    del line["risk"]
    for trace in line["traces"]:
        del trace["cut"]
    old = result_from_json(line)
    assert old == result("p")
    assert (old.risk, [trace.cut for trace in old.traces]) == (None, [None, None])


def test_a_lone_surrogate_is_written_as_a_question_mark(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "j.jsonl", HEADER) as journal:
        journal.append(result("p", "a\ud800b"))
    assert read_journal(tmp_path / "j.jsonl")[1][0].traces[0].turns[0].completion.text == "a?b"


def test_every_result_is_on_disk_before_append_returns(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "new" / "j.jsonl", HEADER)
    for number in range(3):
        journal.append(result(str(number)))
        assert len(read_journal(journal.path)[1]) == number + 1
    journal.close()


def test_a_run_is_never_overwritten(tmp_path: Path) -> None:
    Journal.create(tmp_path / "j.jsonl", HEADER).close()
    with pytest.raises(UserError, match=r"j\.jsonl exists; add --resume"):
        Journal.create(tmp_path / "j.jsonl", HEADER)


def test_a_line_torn_by_a_kill_is_cut_off_and_the_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal.create(path, HEADER) as journal:
        journal.append(result("a"))
        journal.append(result("b"))
    path.write_bytes(path.read_bytes()[:-40])
    with Journal.resume(path, HEADER) as journal:
        assert list(journal.results) == ["a"]
        journal.append(result("c"))
    assert [r.problem.id for r in read_journal(path)[1]] == ["a", "c"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"config": {"candidates": 3, "stop": "exact"}}, "config candidates is 2, now 3"),
        ({"problems": "ef"}, "its problems are others"),
        ({"engine": {"model": "n"}}, "engine model is m, now n"),
    ],
)
def test_another_run_is_not_resumed(tmp_path: Path, changed: dict[str, object], message: str) -> None:
    Journal.create(tmp_path / "j.jsonl", HEADER).close()
    with pytest.raises(UserError, match=message):
        Journal.resume(tmp_path / "j.jsonl", {**HEADER, **changed})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a journal"),
        (b'{"id": 1}\n', "is not a journal"),
        (b'{"schema": 99}\n', "has schema 99; this version reads 1"),
        (b"5\n", "is not a journal"),
        (b'{"schema": 1}\nnonsense\n', "line 2, is not JSON"),
        (b'{"schema": 1}\n{}\n', "line 2, is not a result"),
        (b'{"schema": 1}\n[1]\n', "line 2, is not a result"),
    ],
)
def test_what_is_no_journal_is_refused_with_the_reason(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_journal(path)


def test_two_runs_cannot_write_to_one_journal(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal.create(path, HEADER) as journal:
        journal.append(result("a"))
        with pytest.raises(UserError, match="another run is writing"):
            Journal.resume(path, HEADER)
    with Journal.resume(path, HEADER) as journal:
        assert list(journal.results) == ["a"]


def test_a_problem_that_is_there_twice_is_refused_and_an_empty_line_is_not(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal.create(path, HEADER) as journal:
        journal.append(result("a"))
    text = path.read_text()
    path.write_text(text + "\n")
    assert len(read_journal(path)[1]) == 1
    path.write_text(text + text.splitlines()[1] + "\n")
    with pytest.raises(UserError, match="a problem twice"):
        read_journal(path)


def test_a_line_that_replaces_an_earlier_one_is_read_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal.create(path, HEADER) as journal:
        journal.append(result("a"))
        journal.append(result("b"))
        for text in ("y", "z"):
            journal.replace(result("a", text))
    assert read_journal(path)[1] == [result("b"), result("a", "z")]
    with Journal.resume(path, HEADER) as journal:
        assert journal.results == {"a": result("a", "z"), "b": result("b")}


def test_a_line_replaces_that_of_its_own_seed_alone(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "j", HEADER) as journal:
        for seed in (0, 1):
            journal.append(replace(result("p"), seed=seed))
        journal.replace(replace(result("p", "z"), seed=1))
    assert [(found.seed, found) for found in read_journal(tmp_path / "j")[1]] == [
        (0, result("p")),
        (1, result("p", "z")),
    ]


def test_a_replacing_line_that_a_kill_has_torn_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal.create(path, HEADER) as journal:
        journal.append(result("a"))
        journal.replace(result("a", "z"))
    path.write_bytes(path.read_bytes()[:-40])
    assert read_journal(path)[1] == [result("a")]
    with Journal.resume(path, HEADER) as journal:
        journal.replace(result("a", "y"))
    assert read_journal(path)[1] == [result("a", "y")]


def test_a_canary_is_no_result_and_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal.create(path, HEADER) as journal:
        journal.tried({"outcome": "right", "seconds": 1.5})
        journal.append(result("a"))
    assert (read_journal(path)[1], read_faults(path)) == ([result("a")], [])
    assert read_canaries(path) == [{"outcome": "right", "seconds": 1.5}]


def test_a_missing_journal_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no journal .*none\.jsonl"):
        read_journal(tmp_path / "none.jsonl")


def test_a_run_can_be_read_one_result_at_a_time(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "j", HEADER) as journal:
        for id_ in "pq":
            journal.append(result(id_))
    with (tmp_path / "j").open("a") as file:
        file.write("neither JSON nor a result\n")
    header, results = stream_results(tmp_path / "j")
    assert header["prompt"] == "ab"
    assert [next(results).problem.id for _ in range(2)] == ["p", "q"]
    with pytest.raises(UserError, match="line 4, is not JSON"):
        next(results)


@pytest.mark.parametrize("left", ["", '{"schema":1,"config":{"cand'])
def test_a_run_that_was_killed_before_its_header_was_whole_starts_over(tmp_path: Path, left: str) -> None:
    (tmp_path / "j").write_text(left)
    with Journal.resume(tmp_path / "j", HEADER) as journal:
        journal.append(result("p"))
    header, results = read_journal(tmp_path / "j")
    assert header["config"] == HEADER["config"]
    assert results == [result("p")]


def test_a_line_torn_far_from_the_end_of_the_file_is_cut_off(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "j", HEADER) as journal:
        journal.append(result("p"))
    whole = (tmp_path / "j").read_bytes()
    (tmp_path / "j").write_bytes(whole + b'{"problem":"' + b"x" * 200_000)
    Journal.resume(tmp_path / "j", HEADER).close()
    assert (tmp_path / "j").read_bytes() == whole


def _lines(*changes: tuple[list[str | int], object]) -> list[object]:
    """A journal as JSON, header first, then results a and b, with values replaced at paths into the list of lines."""
    lines: list[object] = [{"schema": 1, "version": "0.1.0", **HEADER}, *(result_to_json(result(id_)) for id_ in "ab")]
    lines = json.loads(json.dumps(lines))
    for path, value in changes:
        place: Any = lines
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
    return lines


def _written(path: Path, lines: Iterable[object], *, end: str = "\n") -> Path:
    path.write_text("\n".join(map(json.dumps, lines)) + end, encoding="utf-8")
    return path


TURN = [2, "traces", 0, "turns", 0]
NEWER = "it was written by a newer version"

DAMAGED = [
    ([[1], None], "line 2, is not a result: it is null, not an object; delete that line"),
    ([[2], [1]], "line 3, is not a result: it is a list, not an object"),
    ([[2], True], "line 3, is not a result: it is true, not an object"),
    ([[2, "traces"], None], "line 3, is not a result: traces is null, not a list"),
    ([[2, "answer"], 3.5], "line 3, is not a result: answer is 3.5, not an integer"),
    ([[2, "answer"], True], "answer is true, not an integer"),
    ([[2, "fallback"], 0], "fallback is 0, not true or false"),
    ([[2, "seconds"], float("nan")], "seconds is nan, not a number"),
    ([[2, "vote", "ranking"], [[42, float("inf")]]], r"vote\.ranking\[0\]\[1\] is inf, not a number"),
    ([[2, "vote", "ranking"], [[42]]], r"vote\.ranking\[0\] has 1 values, not 2"),
    ([[2, "problem", "text"], 7], "problem.text is 7, not a text"),
    ([[2, "problem"], {"id": "b"}], "problem.text is missing"),
    ([[2, "traces", 0, "candidate"], "1"], r"traces\[0\]\.candidate is '1', not an integer"),
    ([[2, "traces", 0, "candidate"], -1], "candidates are numbered"),
    ([[2, "traces", 0, "candidate"], 10**12], "candidates are numbered"),
    ([[2, "traces", 0, "candidate"], 0], "candidates are numbered '0, 0'"),
    ([[*TURN, "completion", "tokens"], "9"], r"turns\[0\]\.completion\.tokens is '9', not an integer"),
    ([[*TURN, "bridge"], [{"other": "x"}]], r"bridge\[0\] is an object, not a text"),
    ([[2], {"fault": 3}], "line 3, is not a result: fault is 3, not a text"),
    ([[0, "config", "candidates"], "4"], "line 1, is not a header: config.candidates is '4', not an integer"),
    ([[0, "config", "candidates"], 0], "line 1, is not a header: candidates is 0; it must be 1 to 1024"),
    ([[0, "config"], None], "line 1, is not a header: config is null, not an object"),
    ([[0, "budget"], "9h"], "budget is '9h', not a number"),
    ([[0, "engine"], "vllm"], "engine is 'vllm', not an object"),
    ([[0, "dialect"], "numina"], "dialect is 'numina', not an object"),
    ([[0, "schema"], "1"], "has schema '1'; this version reads 1; it is no journal of this program"),
    ([[0, "schema"], 2], f"has schema 2; this version reads 1; {NEWER}"),
    ([[0, "config", "patience"], 1], f"line 1: config.patience is a field that this version does not know; {NEWER}"),
    ([[0, "dialect"], {"name": "n", "scroll": 1}], f"line 1: dialect.scroll is a field .*; {NEWER}"),
    ([[2, "quorum"], 1], f"line 3: quorum is a field that this version does not know; {NEWER}"),
    ([[*TURN, "logprobs"], []], rf"line 3: traces\[0\]\.turns\[0\]\.logprobs is a field .*; {NEWER}"),
    ([[2, "traces", 0, "status"], "paused"], rf"line 3: traces\[0\]\.status is 'paused', which .*; {NEWER}"),
    ([[2, "stopped"], "quorum"], f"stopped is 'quorum', which this version does not know; {NEWER}"),
]


@pytest.mark.parametrize(("change", "message"), DAMAGED, ids=[message[:60] for _, message in DAMAGED])
def test_every_reader_refuses_a_damaged_journal_with_the_same_sentence(
    tmp_path: Path, change: tuple[list[str | int], object], message: str
) -> None:
    path = _written(tmp_path / "journal.jsonl", _lines((change[0], change[1])))
    content, said = path.read_bytes(), set()
    for read in (read_journal, lambda path: read_records([path]), lambda path: Journal.resume(path, HEADER)):
        with pytest.raises(UserError, match=message) as refused:
            read(path)
        said.add(str(refused.value))
    assert len(said) == 1
    assert "\n" not in said.pop()
    assert path.read_bytes() == content  # a run that was refused stays as it is


def test_the_version_that_wrote_a_newer_journal_is_named(tmp_path: Path) -> None:
    path = _written(tmp_path / "j", _lines(([0, "version"], "9.1"), ([2, "quorum"], 1)))
    with pytest.raises(UserError, match=rf"newer version \(9\.1; this is {re.escape(__version__)}\): install that one"):
        read_journal(path)


def test_a_whole_last_line_counts_without_its_line_end(tmp_path: Path) -> None:
    path = _written(tmp_path / "j", _lines(), end="")
    assert [each.problem.id for each in read_journal(path)[1]] == ["a", "b"]
    with Journal.resume(path, HEADER) as journal:
        assert list(journal.results) == ["a", "b"]
        journal.append(result("c"))
    assert [each.problem.id for each in read_journal(path)[1]] == ["a", "b", "c"]


def test_a_header_without_its_line_end_is_a_run_without_results(tmp_path: Path) -> None:
    path = _written(tmp_path / "j", _lines()[:1], end="")
    with Journal.resume(path, HEADER) as journal:
        journal.append(result("a"))
    assert len(path.read_text().splitlines()) == 2
    assert [each.problem.id for each in read_journal(path)[1]] == ["a"]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.replace(b"\n", b"\n\n"),
        lambda data: data + b"\0" * 4096,  # as after a power cut, on some file systems
        lambda data: data + b'{"problem":{"id":"c',
    ],
    ids=["byte order mark", "carriage returns", "empty lines", "zeros at the end", "a torn line"],
)
def test_what_editors_and_crashes_add_does_not_matter(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    path = _written(tmp_path / "journal.jsonl", _lines())
    path.write_bytes(change(path.read_bytes()))
    assert [each.problem.id for each in read_journal(path)[1]] == ["a", "b"]
    assert read_records([path]).problem_ids == ["a", "b"]


def test_a_line_number_is_that_of_the_file_empty_lines_included(tmp_path: Path) -> None:
    path = _written(tmp_path / "j", _lines())
    path.write_text(path.read_text().replace("\n", "\n\n") + "null\n")
    with pytest.raises(UserError, match="line 7, is not a result: it is null"):
        read_journal(path)
