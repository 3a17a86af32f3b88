"""The benchmark measures the command itself: a run of a size that a test can afford, in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.score import cost
from benchmarks.synthetic import write_run

pytestmark = pytest.mark.slow


def test_a_thousand_problems_take_a_fraction_of_the_journal_in_memory(tmp_path: Path) -> None:
    """A tenth of the 10,000 that may take a gigabyte; how long they take is the benchmark's to say."""
    write_run(tmp_path / "journal.jsonl", problems=1000, candidates=48)
    spent = cost(["score", str(tmp_path)])
    assert spent.processor > 0
    assert 0 < spent.mebibytes < 400


def test_the_memory_is_the_commands_and_not_its_callers(tmp_path: Path) -> None:
    write_run(tmp_path / "journal.jsonl", problems=2, candidates=2)
    before = cost(["score", str(tmp_path)]).mebibytes
    held = b"x" * (300 << 20)
    assert cost(["score", str(tmp_path)]).mebibytes < before + 50
    assert held


def test_a_command_that_fails_has_no_cost(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ended with 2"):
        cost(["score", str(tmp_path / "none")])
