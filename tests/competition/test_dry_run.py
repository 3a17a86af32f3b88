"""`sctir dry-run --competition`: the path of a submission to each of them, with a scripted model and the real sandbox."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle import Completion, EngineError, Problem, Prompt, SamplingParams
from sctir_kaggle.cli import main
from sctir_kaggle.competition.profile import PROFILES
from sctir_kaggle.engines import vllm_layout
from sctir_kaggle.engines.scripted import Scripted
from sctir_kaggle.journal import read_journal
from sctir_kaggle.session import Session
from tests.support.competitions import number_in, right

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


@pytest.mark.slow
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
    assert votes == {"424e18": (3, 3), "007": (54321 if profile.modulus is None else 321, 54321)}
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_limit_reaches_the_gateway(csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_layout, "load_vllm", lambda model, **_: Scripted(right))
    assert dry_run("aimo2", csv, "--limit", 1, "--output", tmp_path / "run") == 0
    assert rows(tmp_path / "run" / "submission.parquet") == {424e18: 3}


MORE = [Problem(f"p{number}", f"What is {number}?", number) for number in range(20)]


def failing_on(numbers: set[int], candidates: range = range(100)) -> type[Scripted]:
    """An engine that is gone for the candidates of some problems."""

    class Failing(Scripted):
        async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
            if number_in("".join(map(str, prompt))) in numbers and int(request_id.split("/")[1]) in candidates:
                raise EngineError("the model is gone")
            return await super().generate(prompt, params, request_id=request_id)

    return Failing


@pytest.mark.slow
@pytest.mark.parametrize("command", [["solve"], ["dry-run", "--problems"]])
@pytest.mark.parametrize(("numbers", "candidates", "code"), [(3, 100, 1), (3, 1, 1), (2, 100, 0)])
def test_faults_on_more_than_a_tenth_of_the_problems_fail_the_run(
    command: list[str],
    numbers: int,
    candidates: int,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    engine = failing_on(
        {7 * number + 3 for number in range(numbers)}, range(candidates)
    )  # never the first two in a row
    monkeypatch.setattr(vllm_layout, "load_vllm", lambda model, **_: engine(right))
    csv = tmp_path / "twenty.csv"
    csv.write_text("\n".join(["id,problem,answer", *(f"{p.id},{p.text},{p.answer}" for p in MORE)]))
    typed = [*command, str(csv), "--engine", "vllm", "-n", "2", "--output", str(tmp_path / "run")]
    assert main(typed) == code
    error = capsys.readouterr().err
    assert error.count("\n") == (code == 1)
    assert ("candidates failed" in error, "EngineError: the model is gone" in error) == (code == 1, code == 1)
    assert (tmp_path / "run" / "submission.csv").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("command", [["solve"], ["dry-run", "--problems"], ["replay"]])
def test_an_engine_that_serves_nothing_ends_the_run_at_once(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = failing_on(set(range(20)))(right)
    asked: list[str] = []
    generate = engine.generate

    async def counted(prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        asked.append(request_id)
        return await generate(prompt, params, request_id=request_id)

    monkeypatch.setattr(engine, "generate", counted)
    monkeypatch.setattr(vllm_layout, "load_vllm", lambda model, **_: engine)
    csv = tmp_path / "twenty.csv"
    csv.write_text("\n".join(["id,problem,answer", *(f"{p.id},{p.text},{p.answer}" for p in MORE)]))
    parallel = ["--parallel", "1"] if command == ["replay"] else []
    typed = [*command, str(csv), *parallel, "--engine", "vllm", "-n", "4", "--output", str(tmp_path / "run")]
    assert main(typed) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("sctir: the run failed: nothing was served, all 8 candidates so far failed, the first: ")
    assert "EngineError: the model is gone; " in error
    assert "to go on: " in error or "again: " in error
    assert len(asked) == 8, "two problems are enough"


def test_a_weak_model_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, csv: Path) -> None:
    weak = Scripted(lambda prompt, candidate, turn: "I do not know.")
    monkeypatch.setattr(vllm_layout, "load_vllm", lambda model, **_: weak)
    assert dry_run("aimo1", csv, "--output", tmp_path / "run") == 0
