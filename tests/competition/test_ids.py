"""Ids go back as they came, value and type, through every gateway, and results are kept under their text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sctir_kaggle import Problem, SolveResult, Vote
from sctir_kaggle.cli import main
from sctir_kaggle.competition.dry_run import score
from sctir_kaggle.competition.fields import id_text, inferred_ids, name_of
from sctir_kaggle.competition.profile import PROFILES
from sctir_kaggle.competition.push_server import predict_of
from sctir_kaggle.engines import vllm_layout
from sctir_kaggle.engines.scripted import Scripted
from sctir_kaggle.journal import read_journal
from tests.support import real_rerun
from tests.support.competitions import rerun, right

pl = pytest.importorskip("polars", reason='needs polars: pip install "sctir-kaggle[competition]"')
pytest.importorskip("grpc", reason='needs gRPC: pip install "sctir-kaggle[competition]"')

PUSH = [name for name, profile in PROFILES.items() if profile.api == "push"]

KINDS: dict[str, tuple[list[str], list[Any]]] = {
    "int": (["1", "2", "3", "4"], [1, 2, 3, 4]),
    "int with zeros": (["001", "002", "010", "100"], [1, 2, 10, 100]),
    "float": (["424e18", "1e3", "2.5", "7"], [424e18, 1e3, 2.5, 7.0]),
    "string": (["0a", "1b", "424e18x", "d"], ["0a", "1b", "424e18x", "d"]),
    "null": (["1", "", "3", "4"], [1, None, 3, 4]),
    "null in text": (["a", "", "c", "d"], ["a", None, "c", "d"]),
    "mixed": (["1", "x", "424e18", "007"], ["1", "x", "424e18", "007"]),
    "one number, written in two ways": (["1", "001", "2", "3"], [1, 1, 2, 3]),
}
"""What stands in the CSV, and what a gateway makes of it."""

WITHOUT_NULL = [kind for kind in KINDS if "null" not in kind]

each_kind = pytest.mark.parametrize("kind", KINDS)


def problems_of(kind: str) -> tuple[list[Problem], list[tuple[Any, int]]]:
    """Four problems, and the rows that the submission is to have, in any order."""
    written, inferred = KINDS[kind]
    problems = [Problem(id_, f"What is {number}?", number) for number, id_ in enumerate(written, 3)]
    return problems, list(zip(inferred, range(3, 7), strict=True))


def rows_in(path: Path) -> list[tuple[Any, int]]:
    rows: list[tuple[Any, int]] = pl.read_parquet(path).rows()
    return rows


def same(rows: list[tuple[Any, int]], expected: list[tuple[Any, int]]) -> bool:
    return sorted(rows, key=lambda row: row[1]) == expected


@pytest.mark.slow
@each_kind
@pytest.mark.parametrize("name", PUSH)
def test_a_rerun_gives_every_id_back_with_its_type_and_the_right_answer(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems, expected = problems_of(kind)
    if kind.startswith("one number"):
        monkeypatch.setattr("tests.support.competitions.answers_in", lambda submission: {})  # it wants ids that differ
    outcome = rerun(PROFILES[name], tmp_path, monkeypatch, asked=problems)
    file = outcome.submission.submission_file
    assert same(rows_in(file), expected)
    assert pl.read_parquet(file).schema["id"] == inferred_ids(KINDS[kind][0]).dtype
    assert outcome.submission.faults == []
    assert [result.problem.text for result in read_journal(outcome.submission.journal)[1]] == [p.text for p in problems]


@each_kind
@pytest.mark.parametrize("name", PUSH)
def test_so_it_does_under_the_competitions_own_gateway(name: str, kind: str, tmp_path: Path) -> None:
    real_rerun.skip_without(name)
    problems, expected = problems_of(kind)
    file = real_rerun.rerun(name, tmp_path, problems)
    assert same(rows_in(file), expected)
    assert pl.read_parquet(file).schema == {"id": inferred_ids(KINDS[kind][0]).dtype, "answer": pl.Int64}


@pytest.mark.slow
@pytest.mark.parametrize("kind", WITHOUT_NULL)
@pytest.mark.parametrize("name", PROFILES)
def test_a_dry_run_ends_with_the_right_answers_and_keeps_the_ids_of_the_csv(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_layout, "load_vllm", lambda model, **_: Scripted(right))
    problems, expected = problems_of(kind)
    csv, run = tmp_path / "asked.csv", tmp_path / "run"
    csv.write_text("id,problem,answer\n" + "".join(f"{p.id},{p.text},{p.answer}\n" for p in problems))
    command = ["dry-run", "--competition", name, "--problems", csv, "--engine", "vllm", "-n", 2, "--output", run]
    assert main([str(part) for part in command]) == 0
    kept = {result.problem.id: (result.answer, result.correct) for result in read_journal(run / "journal.jsonl")[1]}
    assert kept == {problem.id: (problem.answer, True) for problem in problems}
    if name in PUSH:
        assert same(rows_in(run / PROFILES[name].submission_file), expected)


@pytest.mark.slow
def test_in_a_dry_run_a_row_without_an_id_is_asked_by_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_layout, "load_vllm", lambda model, **_: Scripted(right))
    csv, run = tmp_path / "asked.csv", tmp_path / "run"
    csv.write_text("id,problem\n1,What is 3?\n,What is 4?\n")
    command = ["dry-run", "--competition", "aimo2", "--problems", csv, "--engine", "vllm", "-n", 2, "--output", run]
    assert main([str(part) for part in command]) == 0
    kept = {result.problem.id: result.answer for result in read_journal(run / "journal.jsonl")[1]}
    assert kept == {"1": 3, "2": 4}


CAME: dict[str, tuple[Any, Any]] = {
    "a series of integers": (pl.Series("id", [7]), pl.Series("id", [7])),
    "a series of small integers": (pl.Series("id", [7], dtype=pl.Int16), pl.Series("id", [7], dtype=pl.Int16)),
    "a series of floats": (pl.Series("id", [424e18]), pl.Series("id", [424e18])),
    "a series of text": (pl.Series("id", ["007"]), pl.Series("id", ["007"])),
    "a series with another name": (pl.Series("key", [7]), pl.Series("id", [7])),
    "a null among integers": (pl.Series("id", [None], dtype=pl.Int64), pl.Series("id", [None], dtype=pl.Int64)),
    "an empty series": (pl.Series("id", [], dtype=pl.Int64), pl.Series("id", [None], dtype=pl.Int64)),
    "a frame": (pl.DataFrame({"id": [7], "problem": ["P"]}), pl.Series("id", [7])),
    "a series of pandas": (pd.Series([7], name="id"), pl.Series("id", [7])),
    "a frame of pandas": (pd.DataFrame({"id": ["007"]}, index=[9]), pl.Series("id", ["007"])),
    "an int": (7, pl.Series("id", [7])),
    "a text": ("007", pl.Series("id", ["007"])),
    "None": (None, pl.Series("id", [None])),
    "a frame without id": (pl.DataFrame({"key": [7]}), pl.Series("id", ["kept"])),
}


@pytest.mark.parametrize("came", CAME)
def test_predict_returns_the_id_as_it_came(came: str) -> None:
    id_, expected = CAME[came]
    frame = predict_of(lambda *_: SolveResult(Problem("kept", "P"), 5, Vote(((5, 1.0),)), ()))(id_, "P")
    assert frame.schema == {"id": expected.dtype, "answer": pl.Int64}
    assert frame["id"].equals(expected, null_equal=True, check_dtypes=True)
    assert frame["answer"].to_list() == [5]


@pytest.mark.parametrize(
    ("id_", "text"),
    [(pl.Series([7]), "7"), (pl.Series([None], dtype=pl.Int64), None), (float("nan"), None), ("", None)],
)
def test_the_text_of_an_id_or_none(id_: Any, text: str | None) -> None:
    assert id_text(id_) == text


def test_problems_without_an_id_and_with_the_same_one_are_told_apart_by_their_text() -> None:
    first = SolveResult(Problem("1", "P"), 5, Vote(((5, 1.0),)), ())
    names = [name_of("1", "P", {}), name_of("1", "P", {"1": first}), name_of("1", "Q", {"1": first})]
    assert names[:2] == ["1", "1"]
    assert names[2].startswith("1-")
    assert name_of(None, "P", {}) != name_of(None, "Q", {})


def test_references_are_compared_as_the_ids_are_inferred(tmp_path: Path) -> None:
    file = tmp_path / "submission.parquet"
    for written in (["001", "002"], ["424e18", "1e3"], ["a", "2"]):
        pl.DataFrame([inferred_ids(written).alias("id"), pl.Series("answer", [5, 6])]).write_parquet(file)
        assert score([file], dict(zip(written, [5, 7], strict=True))) == 1
