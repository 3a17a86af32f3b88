"""The README is one page that works: its commands are the ones that CI runs, its example gives the right answer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.markdown import blocks_of

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"


@pytest.mark.slow
def test_the_example_runs_and_its_answer_is_right(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the example needs the extra `cpu`: pip install 'sctir-kaggle[cpu]'")
    [example] = [block.text for block in blocks_of(README) if block.info == "python"]
    command = [sys.executable, "-c", example]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert shown.split()[0] == str(pow(37, 85, 412))


@pytest.mark.parametrize(("mark", "begins"), [("run", "pip install"), ("test", "python -m pytest")])
def test_ci_finds_the_two_commands_by_their_marks(mark: str, begins: str) -> None:
    [command] = [block.text for block in blocks_of(README) if block.info == f"bash {mark}"]
    assert command.startswith(begins)
    assert f'commands_of_readme {mark})"' in (ROOT / ".ci" / "run").read_text()


def test_it_is_short_and_says_first_what_does_not_work_yet() -> None:
    lines = README.read_text().splitlines()
    headings = [line.removeprefix("## ") for line in lines if line.startswith("## ")]
    assert len(lines) <= 150
    assert headings.index("Limitations") < headings.index("Results")


def test_the_comparison_has_its_place() -> None:
    _, found, after = README.read_text().partition("<!-- benchmarks.comparison -->\n")
    assert found
    assert "python -m benchmarks.comparison" in after.partition("<!-- end -->")[0]
