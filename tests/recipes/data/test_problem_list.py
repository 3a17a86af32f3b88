"""Training rows become problems that `sctir replay` reads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from sctir_kaggle.problems import read_problems
from sctir_kaggle.recipes.rows import write_rows
from sctir_kaggle.types import Problem

ROWS: list[dict[str, Any]] = [
    {"id": "a", "problem": 'Find "x",\nif $x = 10^{30}$.', "answer": 10**30, "messages": []},
    {"id": "b", "problem": "Find $y$.", "answer": "7/2"},
    {"id": "c", "problem": "Prove it.", "answer": None},
    {"id": "d", "problem": "Find $z$.", "answer": -4},
    {"id": "a", "problem": "Find $x$ again.", "answer": 5},
]


def run(*arguments: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sctir_kaggle.recipes.data.problem_list", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_rows_with_an_integer_answer_become_problems_one_an_id(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl.gz", ROWS)
    said = run(tmp_path / "rows.jsonl.gz", tmp_path / "problems.csv").stdout
    assert "2 problems; 3 rows left out" in said
    wanted = [Problem("a", ROWS[0]["problem"], 10**30), Problem("d", "Find $z$.", -4)]
    assert read_problems(tmp_path / "problems.csv") == wanted


def test_without_a_problem_nothing_is_written_and_one_line_says_why(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS[1:3])
    ended = run(tmp_path / "rows.jsonl", tmp_path / "problems.csv")
    assert ended.returncode == 2
    assert ended.stderr == f"error: {tmp_path / 'rows.jsonl'} has no row with an integer answer; a label needs one\n"
    assert not (tmp_path / "problems.csv").exists()
