"""Files that are easily taken for something else: a model's answers, the number of a choice, a web page, a title row."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle import SolverConfig, UserError
from sctir_kaggle.journal import Journal
from sctir_kaggle.problems import ProblemsConfig, read_file
from sctir_kaggle.types import Problem, SolveResult, Vote


def answers(path: Path, **how: Any) -> list[Any]:
    return [problem.answer for problem in read_file(path, how=ProblemsConfig(**how)).problems]


def lines(*values: Any) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


# --- A run's own journal and other results ---


PROBLEMS = [
    Problem("a", "What is 1 + 2?", 3, "5"),
    Problem("b", "Half of one?", Fraction(1, 2)),
    Problem("c", "Prove it."),
]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The journal of a run under two seeds that voted for 7 throughout."""
    path = tmp_path / "run" / "journal.jsonl"
    with Journal.create(path, {"config": {"candidates": SolverConfig().candidates}}) as opened:
        opened.note("the sandbox fell over", "a")
        for seed in (0, 1):
            for problem in PROBLEMS:
                opened.append(SolveResult(problem, 7, Vote(((7, 1.0),)), (), "all", False, 1.0, seed=seed))
    return path


RESHAPED: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "torn by a kill": lambda text: text + text.splitlines()[-1][:60],
    "without its header": lambda text: text.partition("\n")[2],
    "of two runs": lambda text: text + text,
    "as a list": lambda text: json.dumps([json.loads(line) for line in text.splitlines()]),
}


@pytest.mark.parametrize("shape", RESHAPED)
def test_of_a_journal_the_problems_are_read_and_not_the_votes(shape: str, journal: Path) -> None:
    journal.write_text(RESHAPED[shape](journal.read_text()))
    read = read_file(journal)
    assert read.problems == PROBLEMS
    assert "a run's journal: its problems are read, not its votes" in read.summary


def test_the_folder_of_a_run_is_its_journal(journal: Path) -> None:
    assert read_file(journal.parent).problems == PROBLEMS


def test_a_journal_without_a_result_is_called_empty(journal: Path) -> None:
    journal.write_text(journal.read_text().partition("\n")[0] + "\n")
    for kept in (None, 60):
        journal.write_text(journal.read_text()[:kept])
        with pytest.raises(UserError, match="is a run's journal without any result: it is empty"):
            read_file(journal)


RESULTS: dict[str, tuple[dict[str, Any], str]] = {
    "gold": ({"question": "P", "prediction": 8, "answer": 8, "gold": 7}, "answer = gold"),
    "ground truth": ({"question": "P", "response": "8", "answer": 8, "ground_truth": 7}, "answer = ground_truth"),
    "target": ({"question": "P", "model_answer": 8, "answer": 8, "target": "7"}, "answer = target"),
    "final answer": ({"question": "P", "completion": "8", "final_answer": 8, "reference": 7}, "answer = reference"),
    "extracted": ({"question": "P", "generation": "8", "extracted_answer": 8, "expected": 7}, "answer = expected"),
    "nested": ({"prompt": "P", "response": "8", "answer": 8, "reward_model": {"ground_truth": 7}}, "ground_truth"),
    "no results": ({"question": "P", "answer": 8, "gold": 7}, "answer = gold"),
    "only one": ({"question": "P", "answer": 7, "prediction": 8}, "with prediction these are results: is answer the"),
    "inside": ({"problem": {"text": "P", "answer": 7}, "answer": 8}, "answer = problem.answer"),
}


@pytest.mark.parametrize("name", RESULTS)
def test_the_reference_is_taken_before_the_models_answer(name: str, tmp_path: Path) -> None:
    row, said = RESULTS[name]
    (tmp_path / "p.jsonl").write_text(lines(row, row))
    read = read_file(tmp_path / "p.jsonl")
    assert [problem.answer for problem in read.problems] == [7, 7]
    assert said in read.summary


# --- Multiple choice ---


CHOICES: dict[str, tuple[dict[str, Any], Any]] = {
    "an index": ({"question": "P", "choices": ["12", "15", "18"], "answer": 2}, None),
    "an index as text": ({"question": "P", "options": "['12', '15', '18']", "answer": "3"}, None),
    "a letter": ({"question": "P", "choices": {"text": ["12", "15"], "label": ["A", "B"]}, "answerKey": "B"}, None),
    "a number as key": (
        {"question": "P", "choices": {"text": ["12", "15"], "label": ["1", "2"]}, "answerKey": "2"},
        None,
    ),
    "labels alone": ({"question": "P", "choices": {"text": ["12"] * 2, "label": ["1", "1"]}}, None),
    "columns": ({"question": "P", "A": 12, "B": 15, "C": 18, "D": 21, "answer": 3}, None),
    "numbered columns": ({"question": "P", "option1": 12, "option2": 15, "answer": 1}, None),
    "lines of text": ({"question": "P", "choices": "A) 12 B) 15", "answer": 1}, None),
    "a value": ({"question": "P", "choices": ["12", "15", "18"], "answer": 15}, 15),
    "no choices": ({"question": "P", "options": [], "answer": 1}, 1),
    "numbers of a template": ({"question": "P", "a": 1, "b": 2, "answer": 1}, 1),
}


@pytest.mark.parametrize("name", CHOICES)
def test_the_number_of_a_choice_is_no_reference(name: str, tmp_path: Path) -> None:
    row, answer = CHOICES[name]
    (tmp_path / "p.jsonl").write_text(lines(row, row))
    assert answers(tmp_path / "p.jsonl") == [answer] * 2
    summary = read_file(tmp_path / "p.jsonl").summary
    assert ("not graded" in summary) == (answer is None and name != "labels alone")
    assert "choices.label" not in summary
    if row.get("answer") in (1, 2, 3, "3") and answer is None:
        assert "2 answers may be numbers of choices: kept, not graded" in summary
        with pytest.raises(UserError, match="2 rows without an integer answer left out"):
            answers(tmp_path / "p.jsonl", integers_only=True)


# --- Columns of numbers, rows of several origins ---


@pytest.mark.parametrize("cell", ["1024", "0.5", "1,024", "12 %", "$3", "1e3", "2024-11-28", "True"])
def test_a_column_of_numbers_is_no_column_of_problems(cell: str, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(f'model,task,answer_rate,input\nm,t,0.5,"{cell}"\nm,u,0.5,512\n')
    with pytest.raises(UserError) as error:
        read_file(tmp_path / "p.csv")
    assert f"only numbers in its column input (row 1: {cell}), which are no problems; it has: model, task" in str(
        error.value
    )
    assert answers(tmp_path / "p.csv", problem_column="input") == [None, None]


def test_beside_a_column_of_numbers_another_one_is_read(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("contest,problem,statement,answer\nI,1,What is it?,3\nI,2,And 2?,4\n")
    assert [problem.text for problem in read_file(tmp_path / "p.csv").problems] == ["What is it?", "And 2?"]


def test_short_problems_are_problems(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("problem,answer\n1+1,2\n2*3,6\n")
    assert answers(tmp_path / "p.csv") == [2, 6]


def test_each_row_is_read_by_its_own_columns(tmp_path: Path) -> None:
    rows = [{"problem": "P", "answer": 3}, {"question": "Q", "final_answer": 4}, {"prompt": "R", "answer": 5}, {"x": 1}]
    (tmp_path / "p.json").write_text(json.dumps(rows))
    read = read_file(tmp_path / "p.json")
    assert [(problem.text, problem.answer) for problem in read.problems] == [("P", 3), ("Q", 4), ("R", 5)]
    assert (
        "1 row without a problem left out (row 4); 1 row has question instead; 1 row has prompt instead" in read.summary
    )


def test_a_row_without_its_problem_is_not_read_by_a_column_of_all_rows(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("problem,text,answer\nP,about it,3\n,more about it,4\n")
    assert [problem.text for problem in read_file(tmp_path / "p.csv").problems] == ["P"]


# --- Decimal commas ---


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["2,5", "0,125", "12,000", "1.234"], [Fraction(5, 2), Fraction(1, 8), 12, 1234]),
        (["0,125", "3", "1.234,5"], [Fraction(1, 8), 3, Fraction(2469, 2)]),
        (["-0,5", "1.000.000", "7,0"], [Fraction(-1, 2), 1000000, 7]),
        (["12,000", "1.234", "5"], [12000, Fraction(617, 500), 5]),
        (["1,234,567", "2.5"], [1234567, Fraction(5, 2)]),
    ],
)
def test_one_rule_of_commas_holds_for_a_column(cells: list[str], expected: list[Any], tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("problem;answer\n" + "".join(f"What?;{cell}\n" for cell in cells))
    assert answers(tmp_path / "p.csv") == expected
    assert ("answers with decimal commas" in read_file(tmp_path / "p.csv").summary) == (
        cells[0] not in ("12,000", "1,234,567")
    )


def test_an_answer_in_brackets_is_a_number_in_brackets(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("problem;answer\nWhat?;(3)\n")
    assert answers(tmp_path / "p.csv") == [3]


# --- What is no table ---


NO_TABLE: dict[str, tuple[str, str]] = {
    "HTML": ("<!DOCTYPE html>\n<html><body>problem, answer</body></html>\n", "is an HTML page, not a file of problems"),
    "HTML in lower case": ("\n<html>\n<head>\n", "is an HTML page"),
    "XML": ('<?xml version="1.0"?>\n<problems/>\n', "is XML or HTML, which is not read"),
    "LaTeX": ("% exam\n\\documentclass{article}\n\\begin{document}\nFind $x, y$.\n", "is LaTeX, which is not read"),
    "YAML": (
        "- problem: What, is it?\n  answer: 3\n- problem: And?\n  answer: 4\n",
        "is YAML, which is not read",
    ),
    "YAML of keys": ("problems:\n  - text: What, is it?\n    answer: 3\n", "is YAML"),
    "a card": ("---\nlicense: mit\n---\n# A set\n", "is YAML"),
    "YAML of one": ("problem: What is it?\nanswer: 3\n", "looks like YAML"),
    "git-lfs": ("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n", "is a git-lfs pointer"),
    "404": ("404: Not Found", "is the reply to a failed download"),
    "a login": ("Invalid username or password.", "is the reply to a failed download"),
    "an error as JSON": ('{"error": "Repository not found"}', r"holds an error \(Repository not found\), not problems"),
    "a notebook": ('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}', "is a notebook"),
    "a PDF": ("%PDF-1.7\n1 0 obj\n", "is a PDF, which is not read"),
    "no header": ("1,What is 2 + 2?,4\n2,What is 3 + 3?,6\n", "has no header: its first row is '1,What is 2 . 2.,4'"),
    "no header, no id": ('"What is 2 + 2?";4\n"And 3 + 3?";6\n', "has no header: .* such as `problem,answer`"),
    "a list of problems": ("How many primes are below 10?\nAnd below 20?\n", "has no header: .* such as `problem`"),
    "an empty list": ("[]", "is empty"),
    "an empty object": ("{}", "is empty"),
    "no rows": ('{"data": []}', "is empty"),
    "unknown columns": ("name,text of it\na,b\n", "name it: --problem-column NAME"),
}


@pytest.mark.parametrize("name", NO_TABLE)
def test_it_is_said_what_a_file_is_that_is_no_table(name: str, tmp_path: Path) -> None:
    text, message = NO_TABLE[name]
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        read_file(tmp_path / "p.csv")
    assert "\n" not in str(error.value)
    assert ("--problem-column" in str(error.value)) == (name == "unknown columns")


TITLED = {
    "commas": 'Exam of 2024,,\n"Class 3, group b",,\n\nid,problem,answer\na,"What, is it?",3\n',
    "title alone": "Exam of 2024\nid,problem,answer\na,What is it?,3\n",
    "semicolons": "Exam, of 2024;;\nid;problem;answer\na;What is it?;3\n",
    "no other column": "Exam of 2024,,,\nid,problem,answer,url\na,What is it?,3,u\n",
    "remarks": "# source: x\n# licence: y\nid,problem,answer\na,What is it?,3\n",
    "a number": "Points,12,\n,,\nid,problem,answer\na,What is it?,3\n",
}


@pytest.mark.parametrize("name", TITLED)
def test_a_header_below_a_title_is_found(name: str, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(TITLED[name])
    read = read_file(tmp_path / "p.csv")
    assert [(problem.id, problem.answer) for problem in read.problems] == [("a", 3)]
    above = next(place for place, line in enumerate(TITLED[name].split("\n")) if line.startswith(("id,", "id;")))
    assert f"header in row {above + 1}" in read.summary


def test_a_header_of_one_known_column_is_found_below_a_title(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("Exam of 2024\nproblem\nWhat is 1 + 1?\nAnd 1 + 2?\n")
    assert [problem.text for problem in read_file(tmp_path / "p.csv").problems] == ["What is 1 + 1?", "And 1 + 2?"]


def test_a_header_that_comes_again_is_no_problem(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("id,problem,answer\na,P?,3\nid,problem,answer\nb,Q?,4\n")
    read = read_file(tmp_path / "p.csv")
    assert [problem.id for problem in read.problems] == ["a", "b"]
    assert "1 row with the header again left out (row 2)" in read.summary


# --- Spreadsheets ---


def test_a_header_below_a_title_is_found_in_a_sheet(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="pip install openpyxl")
    book = openpyxl.Workbook()
    for row in (["Exam of 2024"], [], ["id", "problem", "answer"], ["a", "What is it?", 3], ["b", "And 2?", 4]):
        book.active.append(row)
    book.save(tmp_path / "p.xlsx")
    assert answers(tmp_path / "p.xlsx") == [3, 4]
    assert "header in row 3" in read_file(tmp_path / "p.xlsx").summary


def test_formulas_without_a_saved_value_are_named(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="pip install openpyxl")
    book = openpyxl.Workbook()
    for row in (["id", "problem", "answer"], ["a", "What is it?", "=1+2"], ["b", "And 2?", 4]):
        book.active.append(row)
    book.save(tmp_path / "p.xlsx")
    read = read_file(tmp_path / "p.xlsx")
    assert answers(tmp_path / "p.xlsx") == [None, 4]
    assert "formulas without a saved value (C2): open it in a spreadsheet program and save it" in read.summary
    with zipfile.ZipFile(tmp_path / "p.xlsx") as archive:
        assert b"<f>1+2</f>" in archive.read("xl/worksheets/sheet1.xml")


def test_a_sheet_of_formulas_alone_is_refused_by_their_name(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="pip install openpyxl")
    book = openpyxl.Workbook()
    for row in (["id", "problem"], ["a", '="What is "&A2']):
        book.active.append(row)
    book.save(tmp_path / "p.xlsx")
    with pytest.raises(UserError, match=r"formulas without a saved value \(B2\)"):
        read_file(tmp_path / "p.xlsx")
