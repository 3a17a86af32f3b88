"""The rules by themselves: what a trace's code shows, which answers are the same, which attempts are kept of a problem."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.answers import boxed, parse
from sctir_kaggle.answers.sentences import value_in
from sctir_kaggle.recipes.data.tir.attempts import Attempt
from sctir_kaggle.recipes.data.tir.checks import Checks, prints
from sctir_kaggle.recipes.data.tir.exercise import Exercise
from sctir_kaggle.recipes.data.tir.expressions import same
from sctir_kaggle.recipes.data.tir.judge import verdict_of
from sctir_kaggle.recipes.data.tir.outcomes import UNSTABLE, Choice, Chosen, Outcome, Rules, same_text
from sctir_kaggle.recipes.data.tir.solution import normalized
from sctir_kaggle.types import (
    Completion,
    ExecutionResult,
    ExecutionStatus,
    Problem,
    SolveResult,
    Trace,
    TraceStatus,
    Turn,
    Vote,
)


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        ("42", "42"),
        ("0.5", r"\frac{1}{2}"),
        ("1/2", "0.5"),
        ("3.0", "3"),
        ("1.20000000000000", "1.2"),
        ("5.000000000000002", "5"),
        ("0.3333333333333333", r"\frac{1}{3}"),
        ("Fraction(5, 8)", r"\frac{5}{8}"),
        ("np.int64(25)", "25"),
        ("[4, 9]", "9"),
        ("(y**2 - 5*y + 7, 9)", "9"),
        ("x = 3\ny = 4", "3"),
        ("The total is 1,234 dollars.", "1234"),
        ("'4254'", "4254"),
        ("-3", "-3"),
        ("2*sqrt(3)", r"2\sqrt{3}"),
        ("[-2*sqrt(10), 2*sqrt(10)]", r"2\sqrt{10}"),
        ("[3, 5, 7]", "3, 5, 7"),
        ("1.7320508075688772", r"\sqrt{3}"),
        ("Evelyn 12", r"\text{Evelyn}"),
        ("Interval(-2, 7)", "[-2,7]"),
        ("Interval.open(5, oo)", r"(5,\infty)"),
        ("Interval.Lopen(-3, 1/2)", r"(-3, \frac{1}{2}]"),
    ],
)
def test_an_output_that_shows_the_answer_agrees_with_it(output: str, answer: str) -> None:
    assert prints(output, answer)


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        ("", "42"),
        ("43", "42"),
        ("-16", "16"),
        ("3.25", "3"),
        ("0.33", r"\frac{1}{3}"),
        ("15.999741273220362", "16"),
        ("Interval(-2, 7)", "(-2,7)"),
        ("1600 - x", "1600"),
        ("x**2 - 9", "9"),
        ("sqrt(2)", "2"),
        ("123", "12"),
        ("\n".join(map(str, range(100))), "42"),
        ("-2*sqrt(3)", r"2\sqrt{3}"),
        ("Eve 12", r"\text{Evelyn}"),
    ],
)
def test_an_output_that_does_not_contradicts_it(output: str, answer: str) -> None:
    assert not prints(output, answer)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\dfrac{\sqrt{3}}{2}", r"\frac{\sqrt 3}{2}"),
        (r"2\sqrt{3}", "sqrt(12)"),
        (r"\frac{640}{3}\pi", r"\frac{640\pi}{3}"),
        ("(x+1)(x-1)", "x^2 - 1"),
        (r"10p^3 \sqrt{3p}", "10*p**3*sqrt(3*p)"),
        (r"\left( \frac{7}{20}, \pi \right)", "(7/20, pi)"),
        ("3,-3", "-3, 3"),
        (r"[4,\infty)", "[4, oo)"),
        ("y=10x-4", "10x - 4"),
        ("-7 - 9i", "-(7+9i)"),
        (r"\text{October}", "october"),
        (r"\left\{1, 2\right\}", r"\{2, 1\}"),
    ],
)
def test_two_ways_to_write_an_answer_are_the_same(one: str, other: str) -> None:
    assert same(one, other)
    assert same(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"2\sqrt{3}", r"3\sqrt{2}"),
        ("(1, 2)", "(2, 1)"),
        ("(0, 25)", "[0, 25]"),
        ("x + 1", "y + 1"),
        (r"\pi", r"\frac{22}{7}"),
        (r"\text{even}", r"\text{odd}"),
        (r"\text{A}", r"\text{B}"),
        ("3, 3", "3"),
        ("", "3"),
        ("9**9**9**9**9", "1"),
        ("(" * 250, ")" * 250),
        ("__import__('os')", "1"),
    ],
)
def test_two_different_answers_are_not(one: str, other: str) -> None:
    assert not same(one, other)
    assert not same(other, one)


@pytest.mark.shared
@pytest.mark.parametrize(("name", "lost"), [("rho_tir_math_gsm8k", 2.3), ("tora_gsm8k", 1.8), ("mathcoder_math", 6.0)])
def test_few_recorded_right_answers_are_lost_to_the_output(shared_data: Path, name: str, lost: float) -> None:
    right = refused = 0
    with gzip.open(shared_data / "traces" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            for completion in record["completions"]:
                value = value_in(boxed(completion["text"]) or "")
                if value is not None and value.number == parse(record["gt"]) and completion["code_blocks"]:
                    right += 1
                    refused += not prints(completion["code_blocks"][-1]["output"] or "", value.text)
    assert right > 900
    assert 0 < 100 * refused / right <= lost  # as many contradict their answer or crash, counted by hand


def test_comments_and_spacing_make_no_difference_to_code() -> None:
    assert normalized("x=1  # one\nprint( x )") == normalized("x = 1\n\nprint(x)")
    assert normalized("x = 1") != normalized("x = 2")
    assert normalized("!pip install  x") == normalized("!pip  install x")  # no Python: its text, but for the spacing


NUMBER = Exercise(Problem("p", "How much?", 7), Fraction(7))
RIGHT = Checks(code=True)


def attempt(seed: int, written: str | None = "7", checks: Checks = RIGHT, **fields: Any) -> Attempt:
    trace = Trace(0, (), fields.pop("status", TraceStatus.PRUNED), None, written, fields.pop("detail", ""))
    made = Attempt("p", seed, trace, Attempt.of(result()).tokens, checks, f"{seed}".encode(), f"{seed}".encode())
    return replace(made, **fields)


def result(*turns: Turn) -> SolveResult:
    return SolveResult(Problem("p", "How much?"), 0, Vote(), (Trace(0, turns, TraceStatus.PRUNED, None, "7"),))


def chosen(*attempts: Attempt, exercise: Exercise = NUMBER, rounds: int = 3, **rules: Any) -> Chosen:
    return Choice(Rules(**rules), rounds).of(exercise, {one.seed: one for one in attempts})


def outcomes(*attempts: Attempt, **changes: Any) -> Sequence[Outcome]:
    return list(chosen(*attempts, **changes).outcomes.values())


@pytest.mark.parametrize(
    ("written", "outcome"),
    [
        ("1/2", Outcome.KEPT),
        (r"\frac{2}{4}", Outcome.KEPT),
        ("0.5", Outcome.KEPT),
        ("0.50001", Outcome.WRONG),
        ("2", Outcome.WRONG),
        ("x", Outcome.NO_ANSWER),
        (None, Outcome.NO_ANSWER),
    ],
)
def test_an_answer_is_right_where_it_equals_the_reference_exactly(written: str | None, outcome: Outcome) -> None:
    half = Exercise(Problem("p", "How much?"), Fraction(1, 2))
    assert outcomes(attempt(0, written), exercise=half) == [outcome]


def test_how_a_trace_ended_counts_besides_its_answer() -> None:
    for status in (TraceStatus.FAILED, TraceStatus.CANCELLED):
        assert outcomes(attempt(0, status=status)) == [Outcome.FAILED]
    assert outcomes(attempt(0, detail=UNSTABLE)) == [Outcome.UNSTABLE]
    assert outcomes(attempt(0, "8", detail=UNSTABLE)) == [Outcome.WRONG]


@pytest.mark.parametrize(
    ("checks", "outcome", "rule"),
    [
        (Checks(), Outcome.NO_CODE, {"code": "optional"}),
        (Checks(code=True, last_ok=False), Outcome.CRASHED, {"last_block": "any"}),
        (Checks(code=True, agrees=False), Outcome.CONTRADICTED, {"last_output": "any"}),
    ],
)
def test_each_filter_drops_one_kind_of_right_answer_and_keeps_it_where_it_is_off(
    checks: Checks, outcome: Outcome, rule: dict[str, Any]
) -> None:
    assert outcomes(attempt(0, checks=checks)) == [outcome]
    assert outcomes(attempt(0, checks=checks), **rule) == [Outcome.KEPT]
    assert outcomes(attempt(0, "8", checks)) == [Outcome.WRONG]


def test_an_attempt_knows_what_its_last_block_did() -> None:
    def turn(output: str, status: ExecutionStatus = ExecutionStatus.OK, code: str = "print(7)") -> Turn:
        return Turn(Completion("text"), code=code, execution=ExecutionResult(output, status))

    bad = turn("Error", ExecutionStatus.ERROR)
    assert Attempt.of(result()).checks == Checks(code=False)
    assert Attempt.of(result(turn("7"))).checks == Checks(code=True)
    assert Attempt.of(result(turn("7"), bad)).checks == Checks(code=True, last_ok=False, agrees=False)
    assert Attempt.of(result(bad, turn("7"))).checks == Checks(code=True)
    assert Attempt.of(result(turn("8"))).checks == Checks(code=True, agrees=False)
    assert Attempt.of(result(turn("7"))).code == Attempt.of(result(turn("7", code="print( 7 )  # seven"))).code
    assert Attempt.of(result(turn("7"))).code != Attempt.of(result(turn("7", code="print(8 - 1)"))).code


def test_so_many_are_kept_of_a_problem_and_the_rest_is_surplus() -> None:
    three = [attempt(seed) for seed in range(3)]
    assert outcomes(*three, keep=2) == [Outcome.KEPT, Outcome.KEPT, Outcome.SURPLUS]
    assert outcomes(*reversed(three), keep=3) == 3 * [Outcome.KEPT]
    assert not chosen(three[0]).wants_more
    assert chosen(three[0], keep=2).wants_more
    assert chosen(three[0], all_rounds=True).wants_more
    assert not chosen(*three[:2], rounds=2, keep=2, all_rounds=True).wants_more


def test_a_pass_rate_is_of_all_attempts_that_are_right_kept_or_not() -> None:
    made = [attempt(0), attempt(1, "8"), attempt(2, checks=Checks())]
    found = chosen(*made, all_rounds=True)
    assert (found.kept, found.right, found.pass_rate) == (1, 2, 0.6667)
    assert chosen(*made[:2], all_rounds=True).pass_rate is None


def test_the_second_of_two_equal_ones_is_a_duplicate_by_text_or_by_code() -> None:
    one, by_code, by_text = attempt(0), attempt(1, code=b"0"), attempt(2, code=b"0", text=b"0")
    kept, duplicate = Outcome.KEPT, Outcome.DUPLICATE
    assert outcomes(one, by_code, by_text, keep=3) == [kept, duplicate, duplicate]
    assert outcomes(one, by_code, by_text, keep=3, duplicates="text") == [kept, kept, duplicate]
    assert outcomes(one, by_code, by_text, keep=3, duplicates="kept") == 3 * [kept]
    assert outcomes(attempt(0, checks=Checks()), by_code, keep=2) == [Outcome.NO_CODE, kept]


UNANSWERED = Exercise(Problem("p", "How much?"), None)


@pytest.mark.parametrize(
    ("written", "label", "share"),
    [
        (("7", "7", "8"), 7, 0.5),
        (("7", "14/2", None), 7, 0.5),
        (("7", "7", "8"), None, 0.7),
        (("7", "8", "9"), None, 0.1),
        (("7", None, None), None, 0.1),
        (("x", "x", "x"), None, 0.5),
        (("7", "7", "8", "8"), None, 0.5),
    ],
)
def test_a_problem_without_an_answer_gets_that_of_the_majority_if_its_share_is_large_enough(
    written: Sequence[str | None], label: int | None, share: float
) -> None:
    made = [attempt(seed, one) for seed, one in enumerate(written)]
    found = chosen(*made, exercise=UNANSWERED, rounds=len(made), majority=share)
    assert found.label == label
    assert (found.kept > 0) == (label is not None)
    if label is None:
        assert set(found.outcomes.values()) <= {Outcome.NO_LABEL, Outcome.NO_ANSWER}


def test_no_label_is_given_before_all_attempts_are_made() -> None:
    found = chosen(attempt(0), attempt(1), exercise=UNANSWERED)
    assert (found.label, found.wants_more, found.kept) == (None, True, 0)


def test_an_answer_in_words_is_right_by_its_text_or_by_whoever_judges() -> None:
    root = Exercise(Problem("p", "How much?"), r"2\sqrt{3}")
    assert outcomes(attempt(0, r"\sqrt{12}"), exercise=root) == [Outcome.KEPT]
    assert outcomes(attempt(0, "the root of twelve"), exercise=root) == [Outcome.WRONG]
    assert not same_text(root, str(root.reference), "the root of twelve")
    judged = Choice(Rules(), 1, equal=lambda exercise, reference, written: written == "the root of twelve")
    assert judged.of(root, {0: attempt(0, "the root of twelve")}).kept == 1


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ("EQUAL", "equal"),
        ("Both are 12.\n**EQUAL**", "equal"),
        ("DIFFERENT.", "different"),
        ("They are EQUAL, I think", "garbled"),
        ("EQUAL or DIFFERENT", "garbled"),
        ("EQUAL\nBut I cannot help with that.", "garbled"),
        ("NOT EQUAL", "garbled"),
        ("", "garbled"),
    ],
)
def test_only_a_reply_that_ends_with_the_one_word_is_a_verdict(said: str, verdict: str) -> None:
    assert verdict_of(Completion(said)) == verdict
    assert verdict_of(Completion(said, finish_reason="length")) == "garbled"
