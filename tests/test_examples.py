"""The examples run as they are typed, and print what they promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.written import run
from sctir_kaggle.journal import Journal

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def printed(script: str, *arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


@pytest.mark.slow
def test_one_problem_is_solved_by_the_bundled_model() -> None:
    pytest.importorskip("torch", reason="the bundled model needs the extra `cpu`: pip install 'sctir-kaggle[cpu]'")
    shown = printed("solve_one_problem.py")
    assert f"\nanswer {pow(37, 85, 412)}, stopped by 'exact'" in shown
    assert "```output\n" in shown


def test_a_vote_is_taken_again_from_a_journal(tmp_path: Path) -> None:
    header, results = run(20, 8, 2)
    with Journal.create(tmp_path / "run" / "journal.jsonl", header) as journal:
        for result in results:
            journal.append(result)
    lines = printed("vote_again.py", str(tmp_path / "run")).splitlines()
    right = sum(result.correct is True for result in results)
    early = sum(result.stopped not in ("all", "deadline") for result in results)
    assert lines[0] == f"20 problems, {early} of them stopped early"
    assert lines[1].split() == ["plain", "right", f"{right},", "changed", "0"]
    assert [line.split()[0] for line in lines[2:]] == ["clean", "computed"]


def test_an_engine_of_ones_own_solves_a_problem() -> None:
    assert printed("custom_engine.py").startswith("answer 50, right: True; votes: ((50, ")


def test_every_example_is_listed() -> None:
    listed = (EXAMPLES / "README.md").read_text()
    assert [path.name for path in EXAMPLES.glob("*.py") if f"({path.name})" not in listed] == []
