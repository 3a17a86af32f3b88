"""Eleven public sets in their columns and types, with other content, as pandas exports them: each is read in every format."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sctir_kaggle.problems import read_file

Answers = list[Any]

P, Q, R = "Find $x$, if\n$2x = 6$.", 'What is the "sum", 1 + 1?', "Let $a; b$ be 5 and 6. Find $a|b$."

SETS: dict[str, tuple[dict[str, list[Any]], str, list[str], Answers]] = {
    "AIMO": (
        {"id": ["0a1b2c", "00e500", "000777"], "problem": [P, Q, R], "answer": [3, 2, 0]},
        "problem",
        ["0a1b2c", "00e500", "000777"],
        [3, 2, 0],
    ),
    "AIME 1983-2024": (
        {
            "ID": ["1983-1", "1983-2", "2024-I-3"],
            "Year": [1983, 1983, 2024],
            "Problem Number": [1, 2, 3],
            "Question": [P, Q, R],
            "Answer": ["060", "15", "0"],
            "Part": [None, None, "I"],
        },
        "Question",
        ["1983-1", "1983-2", "2024-I-3"],
        [60, 15, 0],
    ),
    "AIME 2024": (
        {"ID": ["2024-II-4", "a", "b"], "Problem": [P, Q, R], "Solution": ["33", "34", "35"], "Answer": [33, 1, 2]},
        "Problem",
        ["2024-II-4", "a", "b"],
        [33, 1, 2],
    ),
    "AIME 2025": ({"question": [P, Q, R], "answer": ["70", "588", "16"]}, "question", ["1", "2", "3"], [70, 588, 16]),
    "AMC": (
        {"id": [0, 1, 2], "problem": [P, Q, R], "answer": [142.0, -1.0, 0.5], "url": ["u", None, "w"]},
        "problem",
        ["0", "1", "2"],
        [142, -1, Fraction(1, 2)],
    ),
    "MATH-500": (
        {
            "problem": [P, Q, R],
            "solution": [r"It is $\boxed{\frac{14}{3}}$.", r"$\boxed{9}$", r"$\boxed{p - q}$"],
            "answer": [r"\frac{14}{3}", "9", "p - q"],
            "subject": ["Algebra", "Prealgebra", "Algebra"],
            "level": [3, 2, 5],
            "unique_id": ["test/algebra/1.json", "test/prealgebra/2.json", "test/algebra/3.json"],
        },
        "problem",
        ["test/algebra/1.json", "test/prealgebra/2.json", "test/algebra/3.json"],
        [Fraction(14, 3), 9, None],
    ),
    "OlympiadBench": (
        {
            "id": [1606, 1610, 1614],
            "question": [P, Q, R],
            "solution": [["one way"], ["one", "another"], ["s"]],
            "final_answer": [["2"], ["1,2", "3"], [r"$\frac{1}{2}$"]],
            "context": [None, None, None],
            "image_1": [None, None, None],
            "is_multiple_answer": [False, True, False],
            "answer_type": ["Numerical", "Tuple", "Expression"],
        },
        "question",
        ["1606", "1610", "1614"],
        [2, None, Fraction(1, 2)],
    ),
    "HMMT": (
        {
            "problem_idx": [1, 2, 3],
            "problem": [P, Q, R],
            "answer": ["103", r"\frac{1}{576}", r"1-\frac{2}{\pi}"],
            "problem_type": [["Number Theory"], ["Algebra", "Geometry"], []],
        },
        "problem",
        ["1", "2", "3"],
        [103, Fraction(1, 576), None],
    ),
    "GSM8K": (
        {"question": [P, Q, R], "answer": ["3 + 3 = <<3+3=6>>6.\n#### 6", "So\n#### 1,200", "#### -4"]},
        "question",
        ["1", "2", "3"],
        [6, 1200, -4],
    ),
    "Omni-MATH": (
        {
            "domain": [["Mathematics -> Algebra"], ["Mathematics"], ["Mathematics"]],
            "difficulty": [8.0, 4.5, 3.0],
            "problem": [P, Q, R],
            "solution": ["s", "t", "u"],
            "answer": ["42", r"\(\frac{3}{2}\)", "Alice"],
            "source": ["a", "b", "c"],
        },
        "problem",
        ["1", "2", "3"],
        [42, Fraction(3, 2), None],
    ),
    "NuminaMath": (
        {
            "problem": [P, Q, R],
            "solution": [r"$\boxed{7}$", "s", "t"],
            "answer": ["7", "B", "proof"],
            "problem_type": ["Algebra", "Geometry", "Algebra"],
            "question_type": ["math-word-problem", "MCQ", "proof"],
            "problem_is_valid": ["Yes", "Yes", "Incomplete"],
        },
        "problem",
        ["1", "2", "3"],
        [7, None, None],
    ),
    "MATH, as first published": (
        {
            "problem": [P, Q, R],
            "level": ["Level 5", "Level 1", "Level ?"],
            "type": ["Algebra", "Geometry", "Algebra"],
            "solution": [r"$\boxed{7}$", r"$\boxed{8}$", r"$\boxed{9}$"],
        },
        "problem",
        ["1", "2", "3"],
        [None, None, None],
    ),
    "DAPO": (
        {
            "data_source": ["math"] * 3,
            "prompt": [[{"content": text, "role": "user"}] for text in (P, Q, R)],
            "ability": ["MATH"] * 3,
            "reward_model": [{"ground_truth": answer, "style": "rule"} for answer in ("34", "113", "-3")],
            "extra_info": [{"index": "9a9b6eb4"}] * 3,
        },
        "prompt",
        ["1", "2", "3"],
        [34, 113, -3],
    ),
}

Export = Callable[[pd.DataFrame, Path], None]


def _excel(frame: pd.DataFrame, path: Path) -> None:
    pytest.importorskip("openpyxl", reason="pip install openpyxl")
    frame.to_excel(path, index=False)


def _parquet(frame: pd.DataFrame, path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pip install pyarrow")
    frame.to_parquet(path)


EXPORTS: dict[str, Export] = {
    "csv": lambda frame, path: frame.to_csv(path, index=False),
    "index.csv": lambda frame, path: frame.to_csv(path),
    "mark.csv": lambda frame, path: frame.to_csv(path, index=False, encoding="utf-8-sig", lineterminator="\r\n"),
    "semicolon.csv": lambda frame, path: frame.to_csv(path, index=False, sep=";"),
    "tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    "csv.gz": lambda frame, path: frame.to_csv(path, index=False),
    "jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True),
    "json": lambda frame, path: frame.to_json(path),
    "records.json": lambda frame, path: frame.to_json(path, orient="records"),
    "split.json": lambda frame, path: frame.to_json(path, orient="split"),
    "table.json": lambda frame, path: frame.to_json(path, orient="table", index=False),
    "xlsx": _excel,
    "parquet": _parquet,
}


@pytest.mark.parametrize("kind", EXPORTS)
@pytest.mark.parametrize("name", SETS)
def test_a_public_set_is_read_from_every_export(name: str, kind: str, tmp_path: Path) -> None:
    columns, problem, ids, answers = SETS[name]
    path = tmp_path / f"set.{kind}"
    EXPORTS[kind](pd.DataFrame(columns), path)
    read = read_file(path)
    assert [(each.id, each.text, each.answer) for each in read.problems] == list(
        zip(ids, (P, Q, R), answers, strict=True)
    )
    assert f"problem = {problem}" in read.summary
    graded = sum(answer is not None for answer in answers)
    assert ("not graded" in read.summary) == (graded in (1, 2))


def test_levels_and_subjects_of_math_are_kept(tmp_path: Path) -> None:
    for name, levels in (
        ("MATH-500", ["3", "2", "5"]),
        ("MATH, as first published", ["Level 5", "Level 1", "Level ?"]),
    ):
        pd.DataFrame(SETS[name][0]).to_csv(tmp_path / "set.csv")
        problems = read_file(tmp_path / "set.csv").problems
        assert [problem.level for problem in problems] == levels
        assert problems[0].subject == "Algebra"
