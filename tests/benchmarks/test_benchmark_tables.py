"""Each benchmark writes its own table into the README, and no other's."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.tables import publish
from sctir_kaggle.types import UserError

TWO = "a\n<!-- benchmarks.one -->\nold\n<!-- end -->\nb\n<!-- benchmarks.two -->\nkept\n<!-- end -->\nc\n"


@pytest.mark.parametrize(("name", "other"), [("one", "kept"), ("two", "old")])
def test_a_table_replaces_the_one_of_its_name_and_no_other(tmp_path: Path, name: str, other: str) -> None:
    file = tmp_path / "README.md"
    file.write_text(TWO)
    publish(file, name, "| new |")
    replaced = {"one": "old", "two": "kept"}[name]
    assert file.read_text() == TWO.replace(replaced, "| new |")
    assert other in file.read_text()


def test_a_table_written_twice_is_there_once(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text(TWO)
    publish(file, "one", "| new |")
    once = file.read_text()
    publish(file, "one", "| new |")
    assert file.read_text() == once


def test_a_file_without_the_markers_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text(TWO)
    with pytest.raises(UserError, match=r"benchmarks\.three"):
        publish(file, "three", "| new |")
    assert file.read_text() == TWO


def test_a_start_marker_without_an_end_is_no_place(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text("<!-- benchmarks.one -->\n")
    with pytest.raises(UserError):
        publish(file, "one", "| new |")
