"""Fractions as votes: only where a run asks for them, by exact value, and written as `1/2` wherever an answer is."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sctir_kaggle import Problem, SolverConfig, UserError, Vote
from sctir_kaggle.answers import read_answer, to_vote
from sctir_kaggle.competition.profile import profile_of
from sctir_kaggle.competition.submission import fitted
from sctir_kaggle.config import AIMO1, MATH, RATIONAL
from sctir_kaggle.journal import Journal, read_journal, result_from_json, result_to_json
from sctir_kaggle.lab.records import read_records
from sctir_kaggle.lab.whatif.rules import Rules
from sctir_kaggle.problems.electable import not_electable
from sctir_kaggle.settings import Layer, resolve
from sctir_kaggle.types import Answer, SolveResult, Trace, TraceStatus
from sctir_kaggle.voting import Ballot, tally

HALF = Fraction(1, 2)

RANGES = {
    "aimo1": (AIMO1, None, 7, 1),
    "any": (MATH, None, 1007, 1),
    "rational": (RATIONAL, HALF, 1007, 1),
    "from 0 to 1": (replace(RATIONAL, lowest=0, highest=1), HALF, None, 1),
}


def vote_of(value: Fraction, config: SolverConfig) -> Any:
    limits = {"modulus": config.modulus, "lowest": config.lowest, "highest": config.highest}
    return to_vote(value, fractions=config.fractions, **limits)


@pytest.mark.parametrize(("config", "half", "large", "whole"), RANGES.values(), ids=RANGES)
def test_a_fraction_is_a_vote_only_where_it_is_asked_for(
    config: SolverConfig, half: Any, large: Any, whole: Any
) -> None:
    assert vote_of(HALF, config) == half
    assert vote_of(Fraction(1007), config) == large
    assert vote_of(Fraction(3, 3), config) == whole
    assert isinstance(vote_of(Fraction(3, 3), config), int)


@pytest.mark.parametrize(
    "text", [r"\boxed{\frac12}", r"\boxed{0.5}", r"\boxed{\frac{2}{4}}", r"\boxed{1/2}", "The answer is 1/2."]
)
def test_every_spelling_of_a_fraction_is_one_vote(text: str) -> None:
    assert read_answer(text, modulus=None, lowest=None, highest=None, fractions=True).answer == HALF
    assert read_answer(text, modulus=None, lowest=None, highest=None).answer is None


def test_a_fraction_and_a_modulus_do_not_go_together() -> None:
    with pytest.raises(UserError, match="modulus is 1000; it must be None with fractions"):
        SolverConfig(fractions=True)


def test_the_ranges_by_name_set_and_unset_it() -> None:
    def config(*names: str, **typed: Any) -> SolverConfig:
        layers = [Layer("a file", {"answers": name}) for name in names]
        return resolve([*layers, Layer("command line", typed)]).solver

    assert config("rational").fractions
    assert config("rational").modulus is None
    assert not config("rational", "any").fractions
    assert not config("rational", fractions=False).fractions
    assert config("any", fractions=True).fractions


def test_a_competition_takes_integers_alone() -> None:
    assert not fitted(RATIONAL, profile_of("aimo3")).fractions


@pytest.mark.parametrize(("tie_break", "winner"), [("first", 1), ("smallest", HALF), ("largest", Fraction(3, 2))])
def test_fractions_and_integers_are_ordered_together_at_a_tie(tie_break: Any, winner: Any) -> None:
    answers: list[Answer] = [1, Fraction(3, 2), HALF]
    ballots = [Ballot(number, answer) for number, answer in enumerate(answers)]
    assert tally(ballots, tie_break=tie_break).winner == winner


ANSWERS = st.one_of(st.integers(), st.fractions().filter(lambda value: value.denominator != 1))


def result_of(reference: Any, answer: Any) -> SolveResult:
    trace = Trace(0, (), TraceStatus.ANSWERED, answer)
    return SolveResult(Problem("p", "P", reference), answer, Vote(((answer, 1.0),)), (trace,))


@given(ANSWERS, ANSWERS)
def test_a_journal_gives_answers_back_exactly(reference: Any, answer: Any) -> None:
    result = result_of(reference, answer)
    line = json.loads(json.dumps(result_to_json(result)))
    assert isinstance(line["answer"], int if isinstance(answer, int) else str)
    back = result_from_json(line)
    assert back == result
    assert [type(each) for each in (back.answer, back.problem.answer, back.traces[0].answer)] == [
        type(each) for each in (answer, reference, answer)
    ]


def test_what_reads_columns_of_a_journal_reads_them_too(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "journal.jsonl", {"config": {}}) as journal:
        journal.append(result_of(HALF, HALF))
    records = read_records([tmp_path])
    assert (records.reference[0], records.answer[0], records.choices[0]) == (HALF, HALF, [HALF])
    assert records.right[0].tolist() == [True]


def test_a_text_that_is_no_fraction_is_refused_in_one_line(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "journal.jsonl", {"config": {}}) as journal:
        journal.write({**result_to_json(result_of(1, 1)), "answer": "a half"})
    for read in (lambda: read_journal(tmp_path / "journal.jsonl"), lambda: read_records([tmp_path])):
        with pytest.raises(UserError) as error:
            read()
        assert "\n" not in str(error.value)


def test_a_modulus_does_not_reduce_a_fraction() -> None:
    rules = Rules(config=replace(AIMO1, modulus=7), references=7)
    assert (rules.reference(HALF), rules.reference(10), rules.reference(None)) == (HALF, 3, None)


@pytest.mark.parametrize(
    ("answers", "config", "said"),
    [
        ([3, None], AIMO1, ""),
        (
            [3, 1007, -1],
            AIMO1,
            "; 2 answers (1007, ...) {} and count as wrong: --answers any",
        ),
        (
            [HALF],
            MATH,
            "; 1 answer (1/2) {} and counts as wrong: --answers rational",
        ),
        ([HALF, -1, 10**20], RATIONAL, ""),
    ],
)
def test_references_that_no_vote_can_elect_are_counted(answers: list[Any], config: SolverConfig, said: str) -> None:
    problems = [Problem(str(number), "P", answer) for number, answer in enumerate(answers)]
    assert not_electable(problems, config) == said.format("can get no vote in the range of this run")
