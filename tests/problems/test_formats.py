"""Small files in the shapes that spreadsheets, pandas, harnesses and people write: each is read, with the right values."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import sys
import zipfile
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from sctir_kaggle import UserError
from sctir_kaggle.problems import read_file

TWO = [("a", "What, is it?", 3), ("b", "Add; $x|y$.", 4)]
"""What most of the files below hold, one way or another."""

PLAIN = 'id,problem,answer\na,"What, is it?",3\nb,Add; $x|y$.,4\n'

Expected = list[tuple[str, str, Any]]


def found_in(path: Path | str) -> Expected:
    return [(problem.id, problem.text, problem.answer) for problem in read_file(path).problems]


CSV: dict[str, tuple[str, Expected]] = {
    "plain": (PLAIN, TWO),
    "no end of line": (PLAIN.rstrip("\n"), TWO),
    "lines of Windows": (PLAIN.replace("\n", "\r\n"), TWO),
    "lines of an old Mac": (PLAIN.replace("\n", "\r"), TWO),
    "byte order mark": ("\ufeff" + PLAIN, TWO),
    "all quoted": ('"id","problem","answer"\n"a","What, is it?","3"\n"b","Add; $x|y$.","4"\n', TWO),
    "semicolons": ('id;problem;answer\na;What, is it?;3\nb;"Add; $x|y$.";4\n', TWO),
    "tabs": ("id\tproblem\tanswer\na\tWhat, is it?\t3\nb\tAdd; $x|y$.\t4\n", TWO),
    "bars": ('id|problem|answer\na|What, is it?|3\nb|"Add; $x|y$."|4\n', TWO),
    "Excel's directive": ('sep=;\r\nid;problem;answer\r\na;What, is it?;3\r\nb;"Add; $x|y$.";4\r\n', TWO),
    "blanks after commas": ('id, problem, answer\na, "What, is it?", 3\nb, Add; $x|y$., 4\n', TWO),
    "blanks before quotes only": ('id,problem,answer\na, "What, is it?", 3\nb,Add; $x|y$.,4\n', TWO),
    "blanks around bars": ('id | problem | answer\na | What, is it? | 3\nb | "Add; $x|y$." | 4\n', TWO),
    "upper case": (PLAIN.replace("id,problem,answer", "ID,PROBLEM,ANSWER"), TWO),
    "other words": (PLAIN.replace("id,problem,answer", "problem_idx,Question,Final Answer"), TWO),
    "camel case": (PLAIN.replace("id,problem,answer", "uniqueId,problemText,groundTruth"), TWO),
    "index of pandas": (',id,problem,answer\n0,a,"What, is it?",3\n1,b,Add; $x|y$.,4\n', TWO),
    "named index of pandas": ('Unnamed: 0,id,problem,answer\n0,a,"What, is it?",3\n1,b,Add; $x|y$.,4\n', TWO),
    "blank rows": ('\n\nid,problem,answer\n\na,"What, is it?",3\n,,\nb,Add; $x|y$.,4\n,,\n\n', TWO),
    "empty columns": ('id,problem,answer,,\na,"What, is it?",3,,\nb,Add; $x|y$.,4,,\n,,,,\n', TWO),
    "too many empty cells": ('id,problem,answer\na,"What, is it?",3,,,\nb,Add; $x|y$.,4\n', TWO),
    "an optional cell left out": ('id,problem,answer,url\na,"What, is it?",3\nb,Add; $x|y$.,4,u\n', TWO),
    "other columns and order": ('url,answer,problem,id\nu,3,"What, is it?",a\n,4,Add; $x|y$.,b\n', TWO),
    "floats": (PLAIN.replace(",3", ",3.0").replace(",4\n", ",4.0\n"), TWO),
    "an unnamed id": ("problem,answer\nP,3\nQ,4\n", [("1", "P", 3), ("2", "Q", 4)]),
    "problems alone": ("problem\nWhat is 1,000 + 1; or 2|3?\n", [("1", "What is 1,000 + 1; or 2|3?", None)]),
    "an answer with a decimal comma": (
        "id;problem;answer\na;P;52,0\nb;Q;3,5\nc;R;1,234\n",
        [("a", "P", 52), ("b", "Q", Fraction(7, 2)), ("c", "R", Fraction(617, 500))],
    ),
    "repeated ids": ("id,problem\n1,P\n1,Q\n1#2,R\n", [("1", "P", None), ("1#2", "Q", None), ("1#2#2", "R", None)]),
    "a list in a cell": ("question,final_answer\nP,['2']\nQ,\"['1', '2']\"\n", [("1", "P", 2), ("2", "Q", None)]),
    "messages in a cell": (
        "prompt,answer\n\"[{'role': 'system', 'content': 'S'}, {'role': 'user', 'content': 'P?'}]\",3\n",
        [("1", "P?", 3)],
    ),
    "a question behind its story": (
        'ID,Body,Question,Answer\nc-1,Tom has 3.,"How many, then?",3.0\n',
        [("c-1", "Tom has 3.\nHow many, then?", 3)],
    ),
    "a table of Markdown": ("| id | problem | answer |\n|----|:---:|---|\n| a | P | 3 |\n", [("a", "P", 3)]),
    "the end of a file of DOS": (PLAIN + "\x1a", TWO),
    "invisible characters in the header": (PLAIN.replace("id,", "\u200bid,\xa0", 1), TWO),
    "names with remarks": ("Problem (LaTeX),Answer (an integer)\nP,3\n", [("1", "P", 3)]),
    "an instruction and its input": (
        "instruction,input,output\nAdd.,1 + 1,2\nCount.,,3\n",
        [("1", "Add.\n1 + 1", None), ("2", "Count.", None)],
    ),
    "a question without its context": ("question,context,answer\nP,,3\n", [("1", "P", 3)]),
    "numbers of problems that are no ids": ("Problem Number,Question,Answer\n7,P,3\n", [("1", "P", 3)]),
}


@pytest.mark.parametrize(("text", "expected"), CSV.values(), ids=CSV)
def test_a_csv_is_read(text: str, expected: Expected, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(text.encode("utf-8"))
    assert found_in(tmp_path / "p.csv") == expected


ROWS = [{"id": name, "problem": problem, "answer": answer} for name, problem, answer in TWO]

JSON: dict[str, tuple[Any, Expected]] = {
    "list": (ROWS, TWO),
    "columns": ({name: [row[name] for row in ROWS] for name in ROWS[0]}, TWO),
    "data": ({"version": 1, "data": ROWS}, TWO),
    "problems": ({"problems": ROWS}, TWO),
    "nested data": ({"dataset": {"name": "x", "rows": ROWS}}, TWO),
    "the Hub's viewer": ({"features": [], "rows": [{"row_idx": n, "row": row} for n, row in enumerate(ROWS)]}, TWO),
    "pandas, columns": ({name: {str(n): row[name] for n, row in enumerate(ROWS)} for name in ROWS[0]}, TWO),
    "pandas, columns with an index": ({"problem": {"a": "P", "b": "Q"}}, [("a", "P", None), ("b", "Q", None)]),
    "pandas, index": ({row["id"]: {"problem": row["problem"], "answer": row["answer"]} for row in ROWS}, TWO),
    "pandas, split": ({"columns": list(ROWS[0]), "index": [0, 1], "data": [list(row.values()) for row in ROWS]}, TWO),
    "splits": ({"train": [{"problem": "no"}], "test": ROWS}, TWO),
    "columns below a key": ({"data": {name: [row[name] for row in ROWS] for name in ROWS[0]}}, TWO),
    "lists below a header": ([list(ROWS[0]), *(list(row.values()) for row in ROWS)], TWO),
    "half a character": ([{"problem": "P\ud800"}], [("1", "P?", None)]),
    "columns in the plural": ({"problems": ["P", "Q"], "answers": [3, 4]}, [("1", "P", 3), ("2", "Q", 4)]),
    "one object": (ROWS[0], TWO[:1]),
    "one object with a list": ({**ROWS[0], "answer": [3]}, TWO[:1]),
    "texts": (["P", "Q"], [("1", "P", None), ("2", "Q", None)]),
    "numbers as ids": ([{"id": 7, "problem": "P"}, {"id": 8.0, "problem": "Q"}], [("7", "P", None), ("8", "Q", None)]),
}


@pytest.mark.parametrize(("value", "expected"), JSON.values(), ids=JSON)
@pytest.mark.parametrize("indent", [None, 2])
def test_json_is_read(value: Any, expected: Expected, indent: int | None, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps(value, indent=indent))
    assert found_in(tmp_path / "p.json") == expected


LINES: dict[str, tuple[list[dict[str, Any]], Expected]] = {
    "plain": (ROWS, TWO),
    "answers of all types": (
        [
            {"problem": "P", "answer": answer}
            for answer in (3, "3", 3.0, "3.0", [3], ["$3$"], None, float("nan"), True, "", 0.5)
        ],
        [
            (str(number), "P", answer)
            for number, answer in enumerate([*[3] * 6, None, None, None, None, Fraction(1, 2)], 1)
        ],
    ),
    "GSM8K": ([{"question": "P", "answer": "2 + 2 = 4.\n#### 1,004"}], [("1", "P", 1004)]),
    "OpenAI's evals": (
        [
            {"input": [{"role": "system", "content": "S"}, {"role": "user", "content": "P"}], "ideal": "4"},
            {"input": [{"role": "user", "content": "Q"}], "ideal": ["5", "5.0"]},
        ],
        [("1", "P", 4), ("2", "Q", 5)],
    ),
    "lm-evaluation-harness": (
        [{"doc_id": 3, "doc": {"problem": "P", "answer": "7", "solution": "s"}, "target": "s", "resps": [["x"]]}] * 2,
        [("3", "P", 7), ("3#2", "P", 7)],
    ),
    "Inspect": (
        [{"id": 1, "input": "P", "target": "7", "metadata": {"level": 3}}, {"id": 2, "input": "Q", "target": ["8"]}],
        [("1", "P", 7), ("2", "Q", 8)],
    ),
    "verl": (
        [
            {
                "prompt": [{"role": "user", "content": "P"}],
                "reward_model": {"ground_truth": "7", "style": "rule"},
                "extra_info": {"index": 5},
            }
        ]
        * 2,
        [("1", "P", 7), ("2", "P", 7)],
    ),
    "a chat with parts": (
        [{"messages": [{"role": "user", "content": [{"type": "text", "text": "P"}]}], "answer": 1}] * 2,
        [("1", "P", 1), ("2", "P", 1)],
    ),
    "NeMo's skills": ([{"problem": "P", "expected_answer": "7", "answer": "8"}] * 2, [("1", "P", 7), ("2", "P", 7)]),
    "keys that come later": ([{"problem": "P"}, {"problem": "Q", "answer": 2}], [("1", "P", None), ("2", "Q", 2)]),
}


@pytest.mark.parametrize(("rows", "expected"), LINES.values(), ids=LINES)
@pytest.mark.parametrize("name", ["p.jsonl", "p.json", "p.txt"])
def test_json_lines_are_read(rows: list[dict[str, Any]], expected: Expected, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("\n\n".join(map(json.dumps, rows)) + "\n")
    assert found_in(tmp_path / name) == expected


def test_lines_that_end_in_commas_are_read(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(",\n".join(map(json.dumps, ROWS)) + ",\n")
    assert found_in(tmp_path / "p.jsonl") == TWO


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"problem": "P"}\n{"problem": \n', "line 2, is not JSON"),
        ('[\n {"problem": "P"},\n oops]', "line 3, is not JSON"),
        ('{"problem": "P"}\n[1]\n', "line 2, is no object"),
        ("{'problem': 'P'}\n", "line 1, is not JSON"),
        ('{"x": 1}', "holds no rows: it must be a list of objects"),
        ('{"x": 1}\n{"x": 2}\n', "no column with the problems' texts; it has: x"),
        ("[1, 2]", "holds no rows"),
        ("[]", "is empty"),
        (f'[{{"problem": "P", "answer": {"9" * 5000}}}]', "a number or a nesting that is too large"),
        ("[" * 100_000, "a number or a nesting that is too large"),
    ],
)
def test_json_that_holds_no_problems_is_refused_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        read_file(tmp_path / "p.jsonl")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("utf-16", "in UTF-16-LE"),
        ("utf-16-le", "in UTF-16-LE"),
        ("utf-16-be", "in UTF-16-BE"),
        ("utf-32", "in UTF-32-LE"),
        ("cp1252", "in Windows-1252"),
    ],
)
@pytest.mark.parametrize(
    "text", ["id,problem\na,How “big” is Ärger’s –1?\n", '[{"id": "a", "problem": "How “big” is Ärger’s –1?"}]']
)
def test_encodings_are_recognised_and_said(encoding: str, said: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(text.encode(encoding))
    read = read_file(tmp_path / "p.csv")
    assert read.problems[0].text == "How “big” is Ärger’s –1?"
    assert said in read.summary
    assert (" in " in read.summary) == bool(said)


def test_bytes_that_windows_does_not_know_are_latin_1(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(b"id,problem\na,\xc4 \x81\n")
    assert "in Latin-1" in read_file(tmp_path / "p.csv").summary


def zipped(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("test.csv", data)
        archive.writestr("__MACOSX/test.csv", b"")
    return file.getvalue()


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zipped])
def test_compressed_files_are_read(pack: Any, tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(pack(PLAIN.encode()))
    assert found_in(tmp_path / "p") == TWO


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(PLAIN.encode())[:-9], "cannot unpack"),
        (lzma.compress(PLAIN.encode())[:-9], "cannot unpack"),
        (zipped(PLAIN.encode())[:-9], "damaged or empty"),
        (b"\x28\xb5\x2f\xfd...", "zstd"),
        (b"PAR1...", "not a readable Parquet file|needs pyarrow"),
        (b"\xd0\xcf\x11\xe0...", r"not a readable XLS file|pip install xlrd"),
    ],
    ids=["gzip", "xz", "zip", "zstd", "Parquet", "XLS"],  # not the bytes: gzip writes the time into them
)
def test_damaged_files_are_refused(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(data)
    with pytest.raises(UserError, match=message) as error:
        read_file(tmp_path / "p")
    assert "\n" not in str(error.value)


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(PLAIN.encode("utf-16"))))
    assert found_in("-") == TWO
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"")))
    with pytest.raises(UserError, match="standard input is empty"):
        read_file("-")


def test_parquet_is_read_by_polars_too_and_without_both_the_command_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    polars = pytest.importorskip("polars", reason="needs the extra `competition`")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    rows = [*ROWS, {"id": "c", "problem": "R", "answer": None}]
    polars.DataFrame(rows).write_parquet(tmp_path / "p.parquet")
    assert found_in(tmp_path / "p.parquet") == [*TWO, ("c", "R", None)]
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(UserError, match=r"pip install pyarrow"):
        read_file(tmp_path / "p.parquet")


def test_integers_of_a_parquet_file_are_exact_beside_a_missing_one(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pip install pyarrow")
    frame = pd.DataFrame({"problem": ["P", "Q"], "answer": pd.array([2**60 + 1, None], dtype="Int64")})
    frame.to_parquet(tmp_path / "p.parquet")
    assert found_in(tmp_path / "p.parquet") == [("1", "P", 2**60 + 1), ("2", "Q", None)]


def test_the_first_sheet_that_holds_rows_is_read(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl", reason="pip install openpyxl")
    with pd.ExcelWriter(tmp_path / "p.xlsx") as book:
        pd.DataFrame().to_excel(book, sheet_name="notes")
        pd.DataFrame(ROWS).to_excel(book, sheet_name="set", index=False)
    assert found_in(tmp_path / "p.xlsx") == TWO
    assert "sheet set of 2" in read_file(tmp_path / "p.xlsx").summary


def test_without_the_library_for_spreadsheets_the_command_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "p.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(UserError, match=r"pip install openpyxl|not a readable XLSX file"):
        read_file(tmp_path / "p.xlsx")
