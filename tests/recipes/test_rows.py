"""Training rows on disk: what is written comes back, and what is wrong is named with its line."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.recipes.rows import Row, read_rows, write_rows
from sctir_kaggle.types import UserError

ROWS: list[Row] = [
    {"id": "a", "problem": "π\u2028\ud800?", "answer": 3, "messages": [{"role": "user", "content": "x\ny"}]},
    {"id": "b", "problem": "q", "answer": None, "source": ["kept", {"as": "it is"}]},
]


def failure(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        list(read_rows(path))
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(path.parent) + "/", "")


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_rows_come_back_as_they_were_written(tmp_path: Path, name: str) -> None:
    assert write_rows(tmp_path / "new" / name, ROWS) == 2
    assert list(read_rows(tmp_path / "new" / name)) == ROWS


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    def broken() -> Iterator[dict[str, Any]]:
        yield ROWS[0]
        raise RuntimeError

    file = tmp_path / "rows.jsonl"
    write_rows(file, ROWS)
    with pytest.raises(RuntimeError):
        write_rows(file, broken())
    assert list(read_rows(file)) == ROWS
    assert list(tmp_path.iterdir()) == [file]


def test_problems_come_from_a_csv_too(tmp_path: Path) -> None:
    file = tmp_path / "problems.csv"
    file.write_text('id,problem,answer,level\np1,"1,\n1",-07,5\np2,q,x^2,1\np3,r,,2\n')
    rows = list(read_rows(file))
    assert [row["answer"] for row in rows] == [-7, "x^2", None]
    assert rows[0] == {"id": "p1", "problem": "1,\n1", "answer": -7, "level": "5"}


def test_a_row_without_an_id_is_called_by_its_line(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('\n{"problem": "q"}\n')
    assert [row["id"] for row in read_rows(file)] == ["rows.jsonl:2"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"problem": "q"}\n{"problem', "rows.jsonl, line 2: not JSON"),
        ("[1]", "rows.jsonl, line 1: a list; an object with `problem` is needed"),
        ('{"problem": 3}', "rows.jsonl, line 1: `problem` is 3; a text is needed"),
        ('{"problem": " "}', "rows.jsonl, line 1: `problem` is ' '; a text is needed"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(text)
    assert failure(file).startswith(said)


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    assert failure(tmp_path / "rows.parquet").startswith("rows.parquet is no file of rows")
    assert failure(tmp_path / "none.jsonl") == "cannot open none.jsonl: No such file or directory"
    (tmp_path / "latin.jsonl").write_bytes('{"problem": "é"}'.encode("latin-1"))
    assert failure(tmp_path / "latin.jsonl").startswith("latin.jsonl is not UTF-8")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"problem": "q"}\n' * 99)[:-12])
    assert failure(tmp_path / "cut.jsonl.gz").startswith("cut.jsonl.gz is cut off")
    (tmp_path / "short.csv").write_text("id,problem\na\n")
    assert failure(tmp_path / "short.csv") == "short.csv, line 2: not as many fields as the header has columns"


def test_recorded_training_problems_are_rows(shared_data: Path) -> None:
    assert sum(1 for _ in read_rows(shared_data / "train" / "math_train.jsonl.gz")) == 7500
    assert sum(isinstance(row["answer"], int) for row in read_rows(shared_data / "validation" / "amc.csv")) == 83
