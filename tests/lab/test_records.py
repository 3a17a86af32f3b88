"""Journals as columns: every number of a record is where it belongs, and nothing that is not a journal is read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sctir_kaggle import Completion, ExecutionResult, Problem, SolveResult, Trace, TraceStatus, Turn, UserError, Vote
from sctir_kaggle.journal import Journal, read_journal
from sctir_kaggle.lab.records import STATUSES, read_records

HEADER = {"config": {"candidates": 3, "seed": 7}, "prompt": "ab", "problems": "cd", "engine": {"model": "m"}}

HUGE = 10**40


def turn(tokens: int, *, runs: bool = False) -> Turn:
    return Turn(Completion("x", tokens=tokens), execution=ExecutionResult("1\n") if runs else None)


def result(id_: str, *, seed: int = 0, candidates: int = 3) -> SolveResult:
    """Candidate 2 ended first, with the right answer; 0 ran code and gave another one; 1 was cancelled."""
    traces = (
        Trace(2, (turn(5),), TraceStatus.ANSWERED, HUGE, seconds=1.0),
        Trace(0, (turn(10, runs=True), turn(3)), TraceStatus.ANSWERED, 4, seconds=2.0),
        Trace(1, (), TraceStatus.CANCELLED, seconds=2.5),
    )
    problem = Problem(id_, "text", HUGE, level="5", subject="algebra")
    return SolveResult(problem, HUGE, Vote(((HUGE, 1.0),)), traces[:candidates], "exact", seconds=2.5, seed=seed)


def journal(folder: Path, *results: SolveResult) -> Path:
    with Journal.create(folder / "journal.jsonl", HEADER) as run:
        for one in results:
            run.append(one)
    return folder


def test_a_candidate_is_a_column_and_the_order_is_that_in_which_they_ended(tmp_path: Path) -> None:
    records = read_records([journal(tmp_path / "run", result("p"))])
    assert records.order.tolist() == [[2, 0, 1]]
    assert [[STATUSES[number] for number in row] for row in records.status] == [["answered", "cancelled", "answered"]]
    assert records.choices == [[4, HUGE]]
    assert records.votes.tolist() == [[0, -1, 1]]
    assert records.right.tolist() == [[False, False, True]]
    assert records.tokens.tolist() == [[13, 0, 5]]
    assert records.executions.tolist() == [[1, 0, 0]]
    assert records.candidate_seconds.tolist() == [[2.0, 2.5, 1.0]]


def test_a_row_says_what_the_result_says(tmp_path: Path) -> None:
    records = read_records([journal(tmp_path / "run", result("p"), result("q", seed=3))])
    assert (records.runs, records.problem_ids, records.seed.tolist()) == (["run"], ["p", "q"], [0, 3])
    assert (records.levels, records.subjects, records.stopped) == (["5"] * 2, ["algebra"] * 2, ["exact"] * 2)
    assert records.reference.tolist() == records.answer.tolist() == [HUGE, HUGE]
    assert records.seconds.tolist() == [2.5, 2.5]
    assert not records.fallback.any()
    assert records.headers[0]["config"] == HEADER["config"]


def test_a_row_with_fewer_candidates_is_padded(tmp_path: Path) -> None:
    paths = [journal(tmp_path / "a", result("p")), journal(tmp_path / "b", result("p", candidates=0))]
    records = read_records(paths)
    assert records.run.tolist() == [0, 1]
    assert records.status[1].tolist() == [STATUSES.index("")] * 3
    assert records.votes[1].tolist() == records.order[1].tolist() == [-1] * 3
    assert not records.right[1].any()
    assert records.votes.dtype == np.int32


def test_the_columns_count_what_the_results_hold(tmp_path: Path) -> None:
    path = journal(tmp_path / "run", *(result(f"p{number}") for number in range(20)))
    records, (_, results) = read_records([path]), read_journal(path / "journal.jsonl")
    turns = [turn for one in results for trace in one.traces for turn in trace.turns]
    assert records.tokens.sum() == sum(turn.completion.tokens for turn in turns)
    assert records.executions.sum() == sum(turn.execution is not None for turn in turns)


def test_a_line_without_seed_has_that_of_the_header_and_a_fault_is_no_row(tmp_path: Path) -> None:
    path = journal(tmp_path, result("p")) / "journal.jsonl"
    header, line = path.read_text().splitlines()
    old = {name: value for name, value in json.loads(line).items() if name != "seed"}
    fault = json.dumps({"fault": "died", "problem": "q"})
    path.write_text("\n".join([header, fault, json.dumps(old), '{"torn": ']))
    assert read_records([path]).seed.tolist() == [7]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "first line is no header"),
        (['{"schema":99}'], "has schema 99"),
        (['{"schema":1}', "{"], "line 2, is not JSON"),
        (['{"schema":1}', '{"problem":{"id":"p"}}'], "line 2, is not a result"),
    ],
)
def test_what_is_no_journal_is_refused(tmp_path: Path, lines: list[str], message: str) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(UserError, match=message):
        read_records([path])


def test_a_problem_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = journal(tmp_path, result("p"), result("p"))
    with pytest.raises(UserError, match="a problem twice"):
        read_records([path])


def test_a_run_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no journal"):
        read_records([tmp_path / "none"])


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [journal(tmp_path / name / "run", result("p")) for name in ("a", "b")]
    assert read_records(paths).runs == [str(path) for path in paths]
