"""The votes of 41 models over MATH level 5: the known figure of naive strings, and why our reader's is higher."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.votes import Question, integer, leaders, questions, right, shared, spelling
from sctir_kaggle.types import UserError


@pytest.mark.shared
def test_raw_strings_elect_512_of_721_and_our_reader_520(shared_data: Path) -> None:
    asked = questions(shared_data / "traces" / "zeroeval_math_l5_votes.jsonl.gz")
    assert len(asked) == 721
    assert [sum(right(one, read) for one in asked) for read in (str, spelling, integer)] == [512, 514, 520]


def test_a_tie_falls_to_the_first_or_is_shared_out() -> None:
    question = Question("p", "7", ["5", "7", "7.0", "5", None, "x"])
    assert leaders(question, integer) == [5, 7]
    assert not right(question, integer)
    assert shared(question, integer) == 0.5
    assert right(Question("p", "7", ["7", "5"]), str)


def test_spellings_of_an_integer_are_one_vote_and_the_rest_as_it_is_written() -> None:
    assert [spelling(answer) for answer in ("7", "7.0", "\\frac{14}{2}", "\\sqrt{2}")] == [7, 7, 7, "\\sqrt{2}"]


def test_without_any_vote_nothing_is_elected() -> None:
    assert not right(Question("p", "7", [None, "x"]), integer)
    assert shared(Question("p", "7", [None]), integer) == 0


def test_without_the_file_the_reason_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not part of the project"):
        questions(tmp_path / "none.gz")
