"""A run on disk survives kills, refuses to be overwritten, and comes back equal."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

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
from sctir_kaggle.journal import (
    Journal,
    read_canaries,
    read_faults,
    read_journal,
    result_from_json,
    result_to_json,
    stream_results,
)
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
