"""CSV in, submission out, and what is said of a file that cannot be used."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pandas as pd
import pytest

from sctir_kaggle import Problem, UserError
from sctir_kaggle.problems import HELD_OUT, ProblemsConfig, fingerprint, read_file, read_problems, write_submission

Written = Callable[[str], Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def write(text: str) -> Path:
        path = tmp_path / "p.csv"
        path.write_bytes(text.encode("utf-8"))
        return path

    return write


def test_rows_become_problems_with_their_line_breaks_and_latex(written: Written) -> None:
    path = written('id,problem,answer,level\na,"Let $x_1$,\n$x_2$ ""be""",-7,5\n')
    assert read_problems(path) == [Problem("a", 'Let $x_1$,\n$x_2$ "be"', -7)]


def test_level_and_subject_are_kept_where_a_csv_has_them(written: Written) -> None:
    [problem, other] = read_problems(written("id,problem,level,subject\na,P,5,Algebra\nb,Q,,\n"))
    assert (problem.level, problem.subject, other.level, other.subject) == ("5", "Algebra", None, None)


def test_ids_are_text(written: Written) -> None:
    path = written("id,problem\n424e18,P\n007,Q\nnan,R\n1.0,S\n")
    assert [problem.id for problem in read_problems(path)] == ["424e18", "007", "nan", "1.0"]


def test_the_text_is_kept_as_it_is_written(written: Written) -> None:
    assert read_problems(written("id,problem\na,  P \n"))[0].text == "  P "


def test_a_limit_takes_the_first_problems_and_says_so(written: Written) -> None:
    read = read_file(written("id,problem\na,P\nb, \nc,R\nd,S\n"), limit=2)
    assert [problem.id for problem in read.problems] == ["a", "c"]
    assert "4 rows, the first 2 problems" in read.summary
    assert "1 row without a problem left out (row 2)" in read.summary


def test_what_was_read_is_one_line(written: Written) -> None:
    rows = [r"1,P,3", r"2,Q,\frac12", r"3,R,\text{east}", r"4,S,", r"5,,7", r",U,8", r"1,V,9", ",,"]
    read = read_file(written("\n".join(["ID,Question,Answer", *rows]) + "\n"))
    assert read.summary.partition("p.csv: ")[2] == (
        "8 rows, 6 problems; columns id = ID, problem = Question, answer = Answer; 1 row without any cell left out; "
        "1 row without a problem left out (row 5); 1 answer is a fraction; "
        r"1 answer is no number (row 3: \text{east}): kept, not graded; 1 without an answer: kept, not graded; "
        "1 without an id: numbered; 1 repeated id: told apart as ID#2"
    )
    assert [(problem.id, problem.answer) for problem in read.problems] == [
        ("1", 3),
        ("2", Fraction(1, 2)),
        ("3", None),
        ("4", None),
        ("6", 8),
        ("1#2", 9),
    ]


def test_rows_without_an_integer_may_be_left_out_and_are_counted(written: Written) -> None:
    text = "id,problem,answer\n" + r"a,P,3.0" + "\n" + r"b,Q,\frac12" + "\nc,R,east\nd,S,\n"
    read = read_file(written(text), how=ProblemsConfig(integers_only=True))
    assert [(problem.id, problem.answer) for problem in read.problems] == [("a", 3)]
    assert (
        "2 rows without an integer answer left out (row 2, ...); 1 row without an answer left out (row 4)"
        in read.summary
    )


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (ProblemsConfig(), Problem("1", "P", 4)),
        (ProblemsConfig(id_column="Name"), Problem("x", "P", 4)),
        (ProblemsConfig(problem_column="Aufgabe"), Problem("1", "Q", 4)),
        (ProblemsConfig(problem_column="aufgabe", answer_column="solution"), Problem("1", "Q", 33)),
    ],
)
def test_columns_may_be_named(written: Written, how: ProblemsConfig, expected: Problem) -> None:
    text = "Name,problem,Aufgabe,answer,solution\n" + r"x,P,Q,4,So it is $\boxed{33}$." + "\n"
    assert read_problems(written(text), how=how) == [expected]


def test_a_named_column_that_is_missing_is_refused(written: Written) -> None:
    with pytest.raises(UserError, match=r"no column 'answr' \(--answer-column\); it has: id, problem, answer; did you"):
        read_file(written("id,problem,answer\na,P,3\n"), how=ProblemsConfig(answer_column="answr"))


def test_a_solution_is_never_the_answer_but_is_named(written: Written) -> None:
    read = read_file(written("problem,Solution\nP,It is 33\n"))
    assert read.problems == [Problem("1", "P")]
    assert "answer = none (--answer-column Solution reads its boxes)" in read.summary


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; it needs a header `id,problem,answer`"),
        (" \n\n", "is empty; it needs a header `id,problem,answer`"),
        ("id,problem\n", "has no rows"),
        (
            "name,foo\na,P\n",
            "has no column with the problems' texts; it has: name, foo; name it: --problem-column NAME",
        ),
        ("id,problem\na,  \n", "leaves no problem to solve: 1 row without a problem left out (row 1)"),
        ('id,problem\na,"P\n', "is not a CSV"),
        ("id,problem,answer\n1,What is 1,000?,5\n2,What is 2,000?,6\n", "row 1: 4 fields for 3 columns; put a text"),
        ("id;problem\n1;a; b\n", "row 1: 3 fields for 2 columns; put a text with semicolons"),
        ("id,problem,answer\na,P,1\nb,Q\n", "row 2: 2 fields for 3 columns"),
        ("id,problem,problem\na,P,Q\n", "has the column problem twice"),
    ],
)
def test_an_unusable_csv_is_refused_with_the_place(written: Written, text: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as error:
        read_problems(written(text))
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        read_problems(tmp_path / "none.csv")
    for content in (b"id,problem\n\xff\xfe,\x00\n", b"\x89PNG\r\n\x1a\n\0\0\0", b"\xff\xfea"):
        (tmp_path / "b.csv").write_bytes(content)
        with pytest.raises(UserError, match="is not a text in UTF-8, UTF-16 or Windows-1252"):
            read_problems(tmp_path / "b.csv")


def test_a_very_long_text_is_read_and_the_process_keeps_its_limit(written: Written) -> None:
    limit = csv.field_size_limit()
    [problem] = read_problems(written(f"id,problem\na,{'x' * 400_000}\n"))
    assert len(problem.text) == 400_000
    assert csv.field_size_limit() == limit


def test_the_fingerprint_is_of_the_problems_and_not_of_their_order() -> None:
    a, b = Problem("a", "P"), Problem("b", "Q")
    assert fingerprint([a, b]) == fingerprint([b, a]) != fingerprint([a])


def test_a_submission_holds_ids_and_exact_answers(tmp_path: Path) -> None:
    write_submission(tmp_path / "s.csv", {"007": 42, "424e18": 0, "c": 10**30, "d": Fraction(1, 2)})
    assert (tmp_path / "s.csv").read_text() == f"id,answer\n007,42\n424e18,0\nc,{10**30}\nd,1/2\n"


def test_the_embedded_problems_are_fifty_and_have_answers() -> None:
    problems = read_problems(HELD_OUT)
    assert len(problems) == 50
    assert all(isinstance(problem.answer, int) and 0 <= problem.answer <= 999 for problem in problems)


@pytest.mark.parametrize(("name", "rows"), [("amc", 83), ("aime", 90), ("math_level4", 754), ("math_level5", 721)])
def test_the_validation_sets_are_read_whole(shared_data: Path, name: str, rows: int) -> None:
    path = shared_data / "validation" / f"{name}.csv"
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert [(problem.id, problem.text, str(problem.answer)) for problem in read_problems(path)] == [
        (row["id"], row["problem"], str(int(row["answer"]))) for _, row in frame.iterrows()
    ]
    assert len(frame) == rows
