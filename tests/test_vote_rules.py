"""Weighted votes: which answers they trust less, the weight of such a vote, and that the exact stop stays exact."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
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
from sctir_kaggle.stopping import StopRule
from sctir_kaggle.types import Answer
from sctir_kaggle.voting import GRAIN, PLAIN, WEIGHTINGS, Ballot, VoteRule, tally


def candidate(answer: Answer, *outputs: str, status: ExecutionStatus = ExecutionStatus.OK) -> Trace:
    turns = tuple(Turn(Completion(""), code="x", execution=ExecutionResult(output, status)) for output in outputs)
    return Trace(0, turns, TraceStatus.ANSWERED, answer)


def weight(vote: str, trace: Trace, text: str = "Add.", config: SolverConfig = AIMO1) -> float:
    return VoteRule.parse(vote).weigh(Problem("p", text), trace, config.modulus)


def test_plain_majority_is_the_solvers_own_vote() -> None:
    assert VoteRule.parse("plain") == PLAIN
    assert PLAIN.weigh(Problem("p", "Add."), candidate(0), 1000) == 1


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
        (("1/2\n",), Fraction(1, 2), True),
        (("x = -2/4, y\n",), Fraction(-1, 2), True),
        (("[0.5, 1]\n",), Fraction(1, 2), True),
        (("1/3 11/2 1/20 1/0\n",), Fraction(1, 2), False),
        (("1\n",), Fraction(1, 2), False),
    ],
)
def test_a_vote_is_confirmed_by_what_its_own_code_printed(
    outputs: tuple[str, ...], answer: Answer, confirmed: bool
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
        ("big", f"vote is big; it must be plain, {', '.join([*WEIGHTINGS][:-1])} or {[*WEIGHTINGS][-1]}"),
        ("plain=0.5", "vote is plain=0.5; it must be plain, "),
        ("small=1.5", "a weight from 0 to 1"),
        ("small=nan", "a weight from 0 to 1"),
        ("small=", "a weight from 0 to 1"),
        ("small=x", "small=x; .* small=0.1"),
    ],
)
def test_a_vote_that_is_none_is_refused(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        VoteRule.parse(text)


@pytest.mark.parametrize("name", ["plain", "small", "small=0.1", "small=0", "small=1", "confirmed=0.5"])
def test_a_vote_is_named_as_it_is_typed(name: str) -> None:
    assert VoteRule.parse(name).label == name


def test_a_label_is_read_as_the_same_vote_whatever_its_weight() -> None:
    for part in range(GRAIN + 1):
        rule = VoteRule("statement", part / GRAIN)
        assert VoteRule.parse(rule.label) == rule


def test_a_config_says_its_vote_in_the_shortest_way() -> None:
    assert SolverConfig(vote="small=0.25").vote == "small"
    assert SolverConfig(vote="small=0.1000").vote == "small=0.1"


@pytest.mark.parametrize("fields", [{"stop": "beta"}, {"extra_candidates": 4}])
def test_what_needs_probabilities_is_refused_where_they_are_not_known(fields: dict[str, Any]) -> None:
    [name] = fields
    with pytest.raises(UserError, match=f"{name} is .*; it must be .* with vote small: .* plain votes only"):
        SolverConfig(vote="small", **fields)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.booleans()) | st.none(), min_size=1, max_size=48),
    st.sampled_from(["plain", "small", "small=0", "statement", "statement=0.9", "confirmed"]),
)
def test_under_every_vote_the_exact_stop_gives_the_full_votes_winner(
    stream: list[tuple[int, bool] | None], vote: str
) -> None:
    rule, problem = VoteRule.parse(vote), Problem("p", "Add $2$ and $7$.")
    ends = [one and candidate(one[0], *[f"{one[0]}\n"] * one[1]) for one in stream]
    cast = [Ballot(c, stream[c][0], rule.weigh(problem, end, 1000)) for c, end in enumerate(ends) if end]  # type: ignore[index]
    full = tally(cast).winner
    for done in range(len(stream) + 1):
        so_far = [ballot for ballot in cast if ballot.candidate < done]
        if StopRule.parse("exact").reason(so_far, unfinished=len(stream) - done):
            assert tally(so_far).winner == full


def test_a_weighting_is_a_function_and_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def half(problem: Problem, trace: Trace, modulus: int | None) -> float:
        return 0.5

    monkeypatch.setattr("sctir_kaggle.voting.WEIGHTINGS", {"half": (half, 0.0)})
    assert SolverConfig(vote="half").vote_rule.weigh(Problem("p", "Add."), candidate(9), None) == 0.5
    assert SolverConfig(vote="half=0.5").vote_rule.weigh(Problem("p", "Add."), candidate(9), None) == 0.75
