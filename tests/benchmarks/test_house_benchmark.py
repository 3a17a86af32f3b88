"""The measures of the code, of a package that is small enough to count by hand."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.house import measures, table
from sctir_kaggle.types import UserError

ONE = '''"""What it holds."""

# a comment
LIMIT = 3
"""Seconds."""


def shared(a: int) -> int:
    """Return it.

    >>> shared(1)
    1
    """
    return a  # not a line of its own


def _private() -> None: ...
'''

TWO = """class Shared:
    def undocumented(self) -> None:
        # a comment
        pass


def shared() -> None: ...
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    files = {"sctir_kaggle/one.py": ONE, "sctir_kaggle/more/one.py": TWO, "README.md": "# three words\n"}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    subprocess.run(["git", "-C", str(tmp_path), "add", "."], check=True)
    (tmp_path / "sctir_kaggle" / "untracked.py").write_text("pass\n" * 99)
    return tmp_path


def test_they_are_counted_as_by_hand(checkout: Path) -> None:
    found = measures(checkout)
    assert found["lines of the package"] == str(len(ONE.splitlines()) + len(TWO.splitlines()))
    assert found["files of the package"] == "2"
    assert found["functions and methods"] == "4"
    assert found["lines of a function, median"] == "2"  # of 7, 1, 3, 1
    assert found["file names (stems) used more than once"] == "1 (`one` 2 x)"
    assert found["functions and classes named alike in several files"] == "1 (`shared` 2 x)"
    assert found["public functions, classes and methods"] == "4"
    assert found["of these with a docstring"] == "25 %"
    assert found["docstrings that name a unit or a shape"] == "1 of 3"
    assert found["docstrings that open with 'What'"] == "1"
    assert found["examples in docstrings (`>>>`)"] == "1"
    assert found["whole-line comments"].startswith("2 (")
    assert found["words of the README"] == "3"


def test_two_checkouts_are_before_and_after(checkout: Path) -> None:
    head = table([checkout, checkout]).splitlines()[0]
    assert head.startswith("| | before, ")
    assert "| after, " in head


def test_a_folder_without_the_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no sctir_kaggle"):
        measures(tmp_path)
