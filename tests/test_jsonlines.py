"""A file of JSON lines survives kills, refuses a second writer, and can change its first line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sctir_kaggle.jsonlines import LineWriter
from sctir_kaggle.types import UserError


def lines_of(path: Path) -> list[object]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_written_line_is_in_the_file_at_once(tmp_path: Path) -> None:
    writer = LineWriter.create(tmp_path / "new" / "a.jsonl")
    writer.write({"a": 1}, {"b": "é"})
    assert lines_of(writer.path) == [{"a": 1}, {"b": "é"}]


def test_an_existing_file_is_not_begun_again(tmp_path: Path) -> None:
    LineWriter.create(tmp_path / "a.jsonl").close()
    with pytest.raises(UserError, match="exists"):
        LineWriter.create(tmp_path / "a.jsonl")


def test_a_second_writer_is_refused_until_the_first_has_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    first = LineWriter.create(path)
    with pytest.raises(UserError, match="another run is writing"):
        LineWriter.resume(path)
    first.close()
    LineWriter.resume(path).close()


@pytest.mark.parametrize("torn", ['{"b":', "x" * 200_000])
def test_a_torn_line_is_cut_off_and_the_next_one_follows_the_whole_ones(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a":1}\n' + torn)
    writer = LineWriter.resume(path)
    writer.repair_end()
    writer.write({"c": 2})
    assert lines_of(path) == [{"a": 1}, {"c": 2}]


def test_a_changed_first_line_keeps_the_others_and_the_lock(tmp_path: Path) -> None:
    writer = LineWriter.create(tmp_path / "a.jsonl")
    writer.write({"old": 1}, {"a": 1})
    writer.replace_first({"new": "longer than before"})
    writer.write({"b": 2})
    assert lines_of(writer.path) == [{"new": "longer than before"}, {"a": 1}, {"b": 2}]
    with pytest.raises(UserError, match="another run is writing"):
        LineWriter.resume(writer.path)


def test_how_a_line_is_encoded_is_the_owners_choice(tmp_path: Path) -> None:
    writer = LineWriter.create(tmp_path / "a.jsonl", encode=lambda line: json.dumps(line) + "\n", sync=False)
    writer.write({"a": "é"})
    assert writer.path.read_bytes() == b'{"a": "\\u00e9"}\n'
