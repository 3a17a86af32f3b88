"""Whether a run is worth submitting."""

from __future__ import annotations

from typing import Any

import pytest

from sctir_kaggle import Completion, Problem, SolveResult, Trace, TraceStatus, Turn, Vote
from sctir_kaggle.competition.health import health_of
from sctir_kaggle.types import PartialTurn

ANSWERED = Trace(0, (), TraceStatus.ANSWERED, 3)
FAILED = Trace(1, (), TraceStatus.FAILED, detail="ExecutorError: the sandbox is gone")


def solved(*traces: Trace, answer: int = 3, stopped: Any = "all", id_: str = "a") -> SolveResult:
    votes = [trace for trace in traces if trace.answer is not None]
    vote = Vote(((answer, float(len(votes))),)) if votes else Vote()
    return SolveResult(Problem(id_, "?"), answer if votes else 0, vote, traces, stopped, fallback=not votes)


def run(bad: SolveResult, count: int, total: int = 20) -> list[SolveResult]:
    return [bad] * count + [solved(ANSWERED, answer=number) for number in range(total - count)]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (solved(FAILED), "1 of 1 candidates failed: ExecutorError: the sandbox is gone"),
        (solved(ANSWERED, FAILED), "1 of 2 candidates failed: ExecutorError: the sandbox is gone"),
        (solved(stopped="error"), "it was not solved, its answer is the default"),
    ],
)
def test_a_fault_on_more_than_a_tenth_of_the_problems_is_one_of_the_run(bad: SolveResult, words: str) -> None:
    assert health_of(run(bad, 2)).fault == ""
    assert health_of(run(bad, 3)).fault == f"candidates failed on 3 of 20 problems, the first fault: a: {words}"


def test_an_engine_that_finishes_no_turn_in_all_of_the_run_is_a_fault_and_a_short_clock_is_none() -> None:
    hanging = Trace(0, (), TraceStatus.CANCELLED, cut=PartialTurn("a/0/0", "generating"))
    late = solved(hanging, stopped="deadline")
    written = Trace(0, (Turn(Completion("I do not know.", tokens=4)),), TraceStatus.PRUNED)
    assert "no candidate finished a turn before the deadline" in health_of([late, late]).fault
    assert health_of([late, late, solved(written)]).fault == ""


def test_a_problem_without_a_vote_is_counted_and_no_fault() -> None:
    silent = solved(Trace(0, (), TraceStatus.PRUNED))
    health = health_of(run(silent, 10))
    assert (health.fault, health.doubt, health.unvoted) == ("", "", 10)


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ([solved(Trace(0, (), TraceStatus.PRUNED))] * 3, "not one of 3 problems has a vote"),
        ([solved(ANSWERED)] * 3, "all 3 answers are the same"),
    ],
)
def test_answers_that_cannot_all_be_right_are_doubted(results: list[SolveResult], words: str) -> None:
    assert words in health_of(results).doubt


@pytest.mark.parametrize("results", [[], [solved(ANSWERED)], [solved(ANSWERED), solved(ANSWERED, answer=4)]])
def test_a_run_that_went_well_is_neither(results: list[SolveResult]) -> None:
    assert (health_of(results).fault, health_of(results).doubt) == ("", "")
