"""What a person sees of a run."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from sctir_kaggle import Completion, ExecutionResult, Problem, SolveResult, Trace, TraceStatus, Turn, Vote
from sctir_kaggle.display import LiveLine, clock_face, results_table, score_line, warnings_of

TURN = Turn(Completion("x", tokens=30), execution=ExecutionResult("1"))


def result(id_: str, answer: int, reference: int | None, **fields: Any) -> SolveResult:
    traces = (Trace(0, (TURN, TURN), TraceStatus.ANSWERED, answer), Trace(1, (TURN,), TraceStatus.CANCELLED))
    vote = Vote(((answer, 9.0), (7, 2.0), (8, 1.0), (9, 1.0)))
    return SolveResult(Problem(id_, "?", reference), answer, vote, traces, seconds=1.25, **fields)


def shown(what: Any, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(what)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_row_holds_answer_reference_votes_and_how_many_answered() -> None:
    lines = shown(results_table([result("a", 42, 42), result("[b]", 41, 42), result("c", 5, None)])).splitlines()
    assert lines[0].split() == ["id", "answer", "ref", "votes", "answered", "seconds"]
    assert " ".join(lines[1].split()) == "a 42 42 right 42 x 9 7 x 2 +2 1/2, 1 cut 1.2"
    assert lines[2].split()[:4] == ["[b]", "41", "42", "wrong"]
    assert lines[3].split()[:3] == ["c", "5", "5"]


def test_a_default_answer_is_marked_as_one() -> None:
    assert "0 (default)" in shown(results_table([result("a", 0, None, fallback=True)]))


def test_the_table_of_fifty_fits_a_terminal_of_ninety_columns() -> None:
    results = [result(f"quadratic_inequality-{number}", 999, 999) for number in range(50)]
    traces = [Trace(number, (), TraceStatus.CANCELLED if number > 30 else TraceStatus.ANSWERED) for number in range(48)]
    results = [replace(item, vote=Vote(((999, 19.0), (998, 12.0), *((n, 1.0) for n in range(9))))) for item in results]
    results = [replace(item, traces=tuple(traces), seconds=648.5) for item in results]
    assert len(shown(results_table(results), width=90).splitlines()) == 51


@pytest.mark.parametrize(
    ("results", "line"),
    [
        ([result("a", 1, 1), result("b", 2, 3)], "1/2 right (50.0 %) in 1:01: 180 tokens, 6 executions"),
        ([result("a", 1, None)], "1 answered in 1:01: 90 tokens, 3 executions"),
    ],
)
def test_the_score_says_what_it_cost(results: list[SolveResult], line: str) -> None:
    assert score_line(results, seconds=61.2) == line


@pytest.mark.parametrize(("seconds", "face"), [(0, "0:00"), (-3, "0:00"), (247, "4:07"), (32343, "8:59:03")])
def test_a_time_is_read_like_a_clock(seconds: float, face: str) -> None:
    assert clock_face(seconds) == face


def test_what_makes_a_score_worth_less_is_said() -> None:
    failed = Trace(0, (), TraceStatus.FAILED, detail="EngineError: gone")
    results = [
        result("a", 1, 1),
        result("b", 0, 1, fallback=True, stopped="deadline"),
        SolveResult(Problem("c", "?"), 0, Vote(), (failed, failed), fallback=True),
    ]
    defaults, failures = warnings_of(results)
    assert defaults.startswith("2 of 3 problems had no vote and got the default answer, 1 of them ran out of time")
    assert failures == "2 candidates failed, the first with: EngineError: gone"
    assert warnings_of(results[:1]) == []


def test_the_live_line_follows_the_problem() -> None:
    line = LiveLine(problems=2, candidates=16)
    assert shown(line).startswith("loading | ")
    line.problem_started(Problem("a", "?"), 300.0)
    assert shown(line).startswith("problem 1 of 2 | candidates 0/16 | leading none yet | ")
    line.candidate_ended(Trace(3, (), TraceStatus.ANSWERED, 42), Vote(((42, 1.0),)))
    assert "candidates 1/16 | leading 42 x 1 |" in shown(line)
    line.problem_ended(result("a", 42, 42), 290.0)
    assert shown(line).startswith("problem 2 of 2 | right 1/1 | 4:50 left on the clock")
