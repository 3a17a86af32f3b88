"""Votes that trust some answers less: whom they doubt, what such a vote counts, and that it cannot break the exact stop."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sctir_kaggle import (
    AIMO1,
    MATH,
    Completion,
    ExecutionResult,
    ExecutionStatus,
    Problem,
    SolverConfig,
    Trace,
    TraceStatus,
    Turn,
    UserError,
)
from sctir_kaggle.whatif.rules import Rules
from sctir_kaggle.whatif.votes import GRAIN, PLAIN, VoteRule


def candidate(answer: int, *outputs: str, status: ExecutionStatus = ExecutionStatus.OK) -> Trace:
    turns = tuple(Turn(Completion(""), code="x", execution=ExecutionResult(output, status)) for output in outputs)
    return Trace(0, turns, TraceStatus.ANSWERED, answer)


def weight(vote: str, trace: Trace, text: str = "Add.", config: SolverConfig = AIMO1) -> float:
    weigh = VoteRule.parse(vote).weigh(config)
    assert weigh is not None
    return weigh(Problem("p", text), trace)


def test_plain_majority_is_the_solvers_own_vote() -> None:
    assert VoteRule.parse("plain") == PLAIN
    assert PLAIN.weigh(AIMO1) is None


@pytest.mark.parametrize(("answer", "counts"), [(0, 0.25), (5, 0.25), (6, 1.0), (42, 1.0), (-1, 1.0)])
def test_a_small_answer_counts_a_quarter(answer: int, counts: float) -> None:
    assert weight("small", candidate(answer)) == counts


@pytest.mark.parametrize(
    ("text", "answer", "config", "doubted"),
    [
        ("Let $x=12$ and $y$.", 12, AIMO1, True),
        ("Let $x=12$ and $y$.", 2, AIMO1, False),
        ("In the year 2024.", 24, AIMO1, True),
        ("In the year 2024.", 24, MATH, False),
        ("In the year 2024.", 2024, MATH, True),
        (r"There are $1{,}000$ and 2,345 balls.", 1000, MATH, True),
        (r"There are $1{,}000$ and 2,345 balls.", 2345, MATH, True),
        ("It weighs 3.5 kg.", 3, AIMO1, False),
        ("It weighs 3.5 kg.", 5, AIMO1, False),
        ("Find f(1,2) and 7.", 7, AIMO1, True),
        ("Find f(1,2) and 7.", 1, AIMO1, True),
    ],
)
def test_a_number_of_the_statement_counts_half(text: str, answer: int, config: SolverConfig, doubted: bool) -> None:
    assert weight("statement", candidate(answer), text, config) == (0.5 if doubted else 1.0)


@pytest.mark.parametrize(
    ("outputs", "answer", "confirmed"),
    [
        (("41\n42\n",), 42, True),
        (("42.0\n",), 42, True),
        (("[42, 7]\n",), 42, True),
        (("1042\n",), 42, True),
        (("42.5\n",), 42, False),
        (("x42\n",), 42, False),
        (("142\n",), 42, False),
        (("-42\n",), 42, False),
        (("7\n", "42\n"), 42, True),
        ((), 42, False),
    ],
)
def test_a_vote_is_confirmed_by_what_its_own_code_printed(
    outputs: tuple[str, ...], answer: int, confirmed: bool
) -> None:
    assert weight("confirmed", candidate(answer, *outputs)) == (1.0 if confirmed else 1 / GRAIN)


def test_a_traceback_confirms_nothing() -> None:
    assert weight("confirmed", candidate(42, "line 42\n", status=ExecutionStatus.ERROR)) < 1


def test_all_unconfirmed_votes_together_are_less_than_a_confirmed_one() -> None:
    most = SolverConfig(candidates=1024, extra_candidates=1024)
    assert (most.candidates + most.extra_candidates) * weight("confirmed", candidate(42)) < 1


@given(st.sampled_from(["small", "statement", "confirmed"]), st.floats(0, 1))
def test_a_weight_of_ones_own_is_between_0_and_1_and_sums_exactly(name: str, given: float) -> None:
    rule = VoteRule.parse(f"{name}={given!r}")
    assert 0 <= rule.weight <= 1
    assert (rule.weight * GRAIN).is_integer()
    assert rule.weight == pytest.approx(given, abs=1 / GRAIN)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("big", "is no vote; choose plain, small"),
        ("plain=0.5", "is no vote"),
        ("small=1.5", "a weight is from 0 to 1"),
        ("small=nan", "a weight is from 0 to 1"),
        ("small=x", "is no weight; write small=0.5"),
    ],
)
def test_a_vote_that_is_none_is_refused(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        VoteRule.parse(text)


@pytest.mark.parametrize("name", ["plain", "small", "small=0.1", "confirmed=0.5"])
def test_a_vote_is_named_as_it_is_typed(name: str) -> None:
    assert VoteRule.parse(name).label == name


def test_the_beta_stop_is_refused_where_its_probabilities_are_not_known() -> None:
    with pytest.raises(UserError, match="choose exact"):
        Rules(config=SolverConfig(stop="beta"), vote=VoteRule.parse("small"))
