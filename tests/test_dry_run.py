"""`sctir dry-run --competition`: the path of a submission to each of them, with a scripted model and the real sandbox."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle import Problem
from sctir_kaggle.cli import main
from sctir_kaggle.competition.profile import PROFILES
from sctir_kaggle.engines import vllm_layout
from sctir_kaggle.engines.scripted import Scripted
from sctir_kaggle.journal import read_journal
from sctir_kaggle.session import Session
from tests.competitions import right

PROBLEMS = [Problem("424e18", "What is 3?", 3), Problem("007", "What is 54321?", 54321)]


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "problems.csv"
    lines = [f"{problem.id},{problem.text},{problem.answer}" for problem in PROBLEMS]
    path.write_text("\n".join(["id,problem,answer", *lines]))
    return path


def dry_run(name: str, csv: Path, *options: object) -> int:
    if PROFILES[name].api == "push":
        pytest.importorskip("polars", reason="AIMO-2 and 3 need the extra `competition`")
        pytest.importorskip("grpc", reason="AIMO-2 and 3 need the extra `competition`")
    command = ["dry-run", "--competition", name, "--problems", csv, "--engine", "vllm", "-n", 2, *options]
    return main([str(part) for part in command])


@pytest.mark.parametrize("name", PROFILES)
def test_each_competition_is_served_by_its_own_api_to_its_own_file(
    name: str, csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(vllm_layout, "load_vllm", lambda model, **_: Scripted(right))
    assert dry_run(name, csv, "--output", tmp_path / "run") == 0
    header, results = read_journal(tmp_path / "run" / "journal.jsonl")
    profile = PROFILES[name]
    assert (header["budget"], header["config"]["highest"]) == (profile.hours * 3600, profile.highest)
    votes = {result.problem.id: (result.answer, result.problem.answer) for result in results}
    assert votes == {"424e18": (3, 3), "007": (54321 if name == "aimo3" else 321, 54321)}
    ids = {"424e18": 424e18, "007": 7.0} if profile.api == "push" else {id_: id_ for id_ in votes}
    assert rows(tmp_path / "run" / profile.submission_file) == {ids[id_]: answer for id_, (answer, _) in votes.items()}
    assert str(tmp_path / "run" / profile.submission_file) in capsys.readouterr().out


def rows(path: Path) -> dict[Any, int]:
    """The submission's; a gateway infers the type of ids, and these are numbers."""
    import pandas as pd

    if path.suffix == ".csv":
        frame: Any = pd.read_csv(path, dtype={"id": str}).to_dict("list")
    else:
        frame = pytest.importorskip("polars").read_parquet(path).to_dict(as_series=False)
    return dict(zip(frame["id"], frame["answer"], strict=True))


def test_what_goes_wrong_behind_a_gateway_is_told_as_it_was(
    csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device", "journal.jsonl")

    monkeypatch.setattr(vllm_layout, "load_vllm", lambda model, **_: Scripted(right))
    monkeypatch.setattr(Session, "solve", fail)
    assert dry_run("aimo3", csv, "--output", tmp_path / "run") == 2
    error = capsys.readouterr().err
    assert "journal.jsonl: No space left on device" in error
    assert error.count("\n") == 1


def test_a_limit_reaches_the_gateway(csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_layout, "load_vllm", lambda model, **_: Scripted(right))
    assert dry_run("aimo2", csv, "--limit", 1, "--output", tmp_path / "run") == 0
    assert rows(tmp_path / "run" / "submission.parquet") == {424e18: 3}
