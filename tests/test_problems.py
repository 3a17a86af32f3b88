"""CSV in, submission out, and what is said of a CSV that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from sctir_kaggle import Problem, UserError
from sctir_kaggle.problems import HELD_OUT, fingerprint, read_problems, write_submission


def csv(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "p.csv"
    path.write_bytes(text.encode("utf-8"))
    return path


def test_rows_become_problems_with_their_line_breaks_and_latex(tmp_path: Path) -> None:
    path = csv(tmp_path, 'id,problem,answer,level\na,"Let $x_1$,\n$x_2$ ""be""",-7,5\n')
    assert read_problems(path) == [Problem("a", 'Let $x_1$,\n$x_2$ "be"', -7)]


def test_level_and_subject_are_kept_where_a_csv_has_them(tmp_path: Path) -> None:
    [problem, other] = read_problems(csv(tmp_path, "id,problem,level,subject\na,P,5,Algebra\nb,Q,,\n"))
    assert (problem.level, problem.subject, other.level, other.subject) == ("5", "Algebra", None, None)


def test_ids_are_text(tmp_path: Path) -> None:
    path = csv(tmp_path, "id,problem\n424e18,P\n007,Q\nnan,R\n")
    assert [problem.id for problem in read_problems(path)] == ["424e18", "007", "nan"]


def test_an_answer_may_be_unknown(tmp_path: Path) -> None:
    assert read_problems(csv(tmp_path, "id,problem\na,P\n"))[0].answer is None
    assert read_problems(csv(tmp_path, "id,problem,answer\na,P,\n"))[0].answer is None


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    assert read_problems(csv(tmp_path, "\ufeffid,problem,answer\r\na,P,3\r\n")) == [Problem("a", "P", 3)]


def test_a_limit_takes_the_first_rows(tmp_path: Path) -> None:
    path = csv(tmp_path, "id,problem\na,P\nb,Q\nc,R\n")
    assert [problem.id for problem in read_problems(path, limit=2)] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; it needs a header `id,problem,answer`"),
        ("id,problem\n", "has no rows"),
        ("id,question\na,P\n", "has no column problem; it has: id, question"),
        ("name,question\na,P\n", "has no column id and no column problem"),
        ("id,problem\na,P\na,Q\n", "row 2: the id 'a' occurs twice"),
        ("id,problem\n,P\n", "row 1: the id is empty"),
        ("id,problem\na,  \n", "row 1: the problem is empty"),
        ("id,problem,answer\na,P,4.5\n", "row 1: the answer '4.5' is not an integer"),
        ("id,problem,answer\na,P,2112_6\n", "row 1: the answer '2112_6' is not an integer"),
        ('id,problem\na,"P\n', "is not a CSV"),
        ("id,problem,answer\n1,What is 1,000?,5\n2,What is 2,000?,6\n", "row 1: 4 fields for 3 columns; put a text"),
        ("id,problem,answer\na,P,1\nb,Q\n", "row 2: 2 fields for 3 columns"),
        ("id,problem,problem\na,P,Q\n", "has the column problem twice"),
    ],
)
def test_an_unusable_csv_is_refused_with_the_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_problems(csv(tmp_path, text))


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        read_problems(tmp_path / "none.csv")
    with pytest.raises(UserError, match="cannot read"):
        read_problems(tmp_path)
    (tmp_path / "b.csv").write_bytes(b"id,problem\n\xff\xfe,\x00\n")
    with pytest.raises(UserError, match="is not a CSV in UTF-8"):
        read_problems(tmp_path / "b.csv")


def test_the_fingerprint_is_of_the_problems_and_not_of_their_order() -> None:
    a, b = Problem("a", "P"), Problem("b", "Q")
    assert fingerprint([a, b]) == fingerprint([b, a]) != fingerprint([a])


def test_a_submission_holds_ids_and_integers(tmp_path: Path) -> None:
    write_submission(tmp_path / "s.csv", {"007": 42, "424e18": 0})
    assert (tmp_path / "s.csv").read_text() == "id,answer\n007,42\n424e18,0\n"


def test_the_embedded_problems_are_fifty_and_have_answers() -> None:
    problems = read_problems(HELD_OUT)
    assert len(problems) == 50
    assert all(problem.answer is not None and 0 <= problem.answer <= 999 for problem in problems)


@pytest.mark.parametrize(("name", "rows"), [("amc", 83), ("aime", 90), ("math_level4", 754), ("math_level5", 721)])
def test_the_validation_sets_are_read_whole(shared_data: Path, name: str, rows: int) -> None:
    path = shared_data / "validation" / f"{name}.csv"
    problems = read_problems(path)
    assert len(problems) == rows == len(pd.read_csv(path))
    assert all(problem.answer is not None for problem in problems)
