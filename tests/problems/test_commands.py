"""`sctir solve`, `replay` and what reads their journals, on files like AIME's, AMC's, MATH's and OlympiadBench's."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from sctir_kaggle.cli import main
from sctir_kaggle.engines import vllm_layout
from sctir_kaggle.engines.scripted import Scripted
from sctir_kaggle.journal import read_journal
from sctir_kaggle.lab.view.problems import problems
from sctir_kaggle.problems import ASSETS
from sctir_kaggle.types import SolveResult

Line = Callable[[], str]


def sctir(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def again(prompt: str, candidate: int, turn: int) -> str:
    """Prints what the problem wants to have written again, then boxes it; the first candidate is wrong."""
    wanted = prompt.rsplit("Write ", 1)[1].split(" again.")[0]
    boxed = "1" if candidate == 0 else wanted
    return f"```python\nprint(r'''{boxed}''')\n```output\n" if turn == 0 else f"It is $\\boxed{{{boxed}}}$."


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_layout, "load_vllm", lambda *_, **__: Scripted(again))


@pytest.fixture
def line(caplog: pytest.LogCaptureFixture) -> Line:
    """The one line that says what was read."""
    caplog.set_level("INFO", logger="sctir_kaggle.start")

    def read() -> str:
        [found] = [record.getMessage() for record in caplog.records if "columns id" in record.getMessage()]
        assert "\n" not in found
        return found

    return read


ENGINE = ("--engine", "vllm", "--model", ASSETS / "model", "--dialect", "numina", "-n", 3)


def text(answer: str) -> str:
    return f"Write {answer} again."


def aime(folder: Path) -> Path:
    rows = {"ID": ["2024-I-1", "2024-I-2"], "Problem": [text("204"), text("025")], "Solution": ["204", "25"]}
    pd.DataFrame({**rows, "Answer": [204, 25]}).to_csv(folder / "aime.csv", index=False)
    return folder / "aime.csv"


def amc(folder: Path) -> Path:
    rows = [
        {"id": n, "problem": text(answer), "answer": float(answer)} for n, answer in enumerate(["142", "-1", "3159"])
    ]
    (folder / "amc.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "amc.jsonl"


def math(folder: Path) -> Path:
    answers = [r"\frac{14}{3}", "9", "p - q", "-0.5"]
    rows = {"problem": map(text, answers), "answer": answers, "level": [5, 4, 5, 4], "unique_id": list("abcd")}
    pd.DataFrame(rows).to_csv(folder / "math.csv", sep="\t")
    return folder / "math.csv"


def olympiad(folder: Path) -> Path:
    answers = [r"\frac{1}{2}", "1,2", "7"]
    columns = {
        "id": [1606, 1610, 1614],
        "question": list(map(text, answers)),
        "final_answer": [[one] for one in answers],
    }
    (folder / "olympiad.json").write_text(json.dumps({**columns, "context": [None] * 3}))
    return folder / "olympiad.json"


SETS: dict[str, tuple[Callable[[Path], Path], list[tuple[str, Any, bool | None]]]] = {
    "AIME": (aime, [("2024-I-1", 204, True), ("2024-I-2", 25, True)]),
    "AMC": (amc, [("0", 142, True), ("1", -1, True), ("2", 3159, True)]),
    "MATH": (math, [("a", Fraction(14, 3), True), ("b", 9, True), ("c", 1, None), ("d", Fraction(-1, 2), True)]),
    "OlympiadBench": (olympiad, [("1606", Fraction(1, 2), True), ("1610", 1, None), ("1614", 7, True)]),
}


def seen(results: list[SolveResult]) -> list[tuple[str, Any, bool | None]]:
    return sorted((result.problem.id, result.answer, result.correct) for result in results)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["solve", "replay"])
@pytest.mark.parametrize("name", SETS)
def test_a_set_is_solved_and_graded_by_exact_value(
    name: str, command: str, tmp_path: Path, line: Line, capsys: pytest.CaptureFixture[str]
) -> None:
    write, expected = SETS[name]
    file, run = write(tmp_path), tmp_path / "run"
    assert sctir(command, file, *ENGINE, "--answers", "rational", "--stop", "none", "--output", run) == 0
    _, results = read_journal(run / "journal.jsonl")
    assert seen(results) == expected
    assert f"{len(expected)} rows, {len(expected)} problems" in line()
    assert "can get no vote" not in line()
    capsys.readouterr()
    graded = [right for _, _, right in expected if right is not None]
    assert sctir("score", run, "--csv", tmp_path / "score.csv") == 0
    with (tmp_path / "score.csv").open() as scores:
        rows = list(csv.DictReader(scores))
    assert [(row["id"], row["answer"]) for row in sorted(rows, key=lambda row: row["id"])] == [
        (id_, str(answer)) for id_, answer, _ in expected
    ]
    assert sum(int(row["right"] or 0) for row in rows) == len(graded)
    if command == "solve":
        submission = pd.read_csv(run / "submission.csv", dtype=str)
        assert sorted(submission["answer"]) == sorted(str(answer) for _, answer, _ in expected)


@pytest.mark.slow
def test_fractions_are_voted_for_read_back_resumed_replayed_and_resimulated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, run = math(tmp_path), tmp_path / "run"
    options = (*ENGINE, "--answers", "rational", "--stop", "none", "--tie-break", "smallest", "--output")
    assert sctir("solve", file, *options, run) == 0
    line = next(line for line in (run / "journal.jsonl").read_text().splitlines() if '"14/3"' in line)
    assert json.loads(line)["vote"]["ranking"] == [["14/3", 2.0], [1, 1.0]]
    _, results = read_journal(run / "journal.jsonl")
    assert results[0].vote.ranking == ((Fraction(14, 3), 2.0), (1, 1.0))
    assert results[0].problem.answer == Fraction(14, 3)
    assert sctir("solve", file, *options, run, "--resume") == 0
    recorded = ("--engine", "recorded", "--model", run / "journal.jsonl", "-n", 3, "--answers", "rational")
    choices = ("--stop", "none", "--tie-break", "smallest")
    assert sctir("solve", file, *recorded, *choices, "--output", tmp_path / "again") == 0
    assert seen(read_journal(tmp_path / "again" / "journal.jsonl")[1]) == SETS["MATH"][1]
    assert sctir("view", run, "--output", tmp_path / "view.html") == 0
    [shown, *_] = problems(results, None)
    assert (shown["reference"], shown["attempts"][0]["answer"]) == ("14/3", "14/3")
    capsys.readouterr()
    table = tmp_path / "what-if.csv"
    assert sctir("what-if", run, "--answers", "rational,any", "--stop", "exact,none", "--csv", table) == 0
    frame = pd.read_csv(table, dtype=str)
    assert set(frame["answer"]) == {"14/3", "9", "1", "-1/2"}
    assert "do not come out as recorded" not in capsys.readouterr().out


@pytest.mark.slow
def test_answers_that_cannot_be_elected_are_said_with_the_range_that_elects_them(
    tmp_path: Path, line: Line, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sctir("replay", math(tmp_path), *ENGINE, "--output", tmp_path / "run") == 0
    assert (
        "2 answers (14/3, ...) can get no vote in the range of this run and count as wrong: --answers rational"
        in line()
    )
    assert "33.3" in capsys.readouterr().out  # of three graded problems one is right


@pytest.mark.slow
def test_integers_outside_the_range_are_said_too(tmp_path: Path, line: Line) -> None:
    assert sctir("solve", amc(tmp_path), *ENGINE, "--output", tmp_path / "run") == 0
    assert line().endswith(
        "2 answers (-1, ...) can get no vote in the range of this run and count as wrong: --answers any"
    )


@pytest.mark.slow
@pytest.mark.parametrize("command", ["solve", "replay"])
def test_columns_are_named_and_rows_left_out_on_the_command_line(command: str, tmp_path: Path, line: Line) -> None:
    rows = [("x", text("3"), "so $\\boxed{3}$"), ("y", text("1/2"), "so $\\boxed{\\frac12}$"), ("z", text("4"), "4")]
    with (tmp_path / "set.csv").open("w") as file:
        csv.writer(file).writerows([("nr", "Aufgabe", "solution"), *rows])
    named = ("--id-column", "nr", "--problem-column", "Aufgabe", "--answer-column", "solution", "--integers-only")
    assert sctir(command, tmp_path / "set.csv", *named, *ENGINE, "--output", tmp_path / "run") == 0
    header, results = read_journal(tmp_path / "run" / "journal.jsonl")
    assert seen(results) == [("x", 3, True), ("z", 4, True)]
    assert header["settings"]["answer_column"] == "solution"
    assert (
        "columns id = nr, problem = Aufgabe, answer = solution; 1 row without an integer answer left out (row 2)"
        in line()
    )


@pytest.mark.slow
@pytest.mark.parametrize("command", [("solve", "-"), ("replay", "-"), ("dry-run", "--problems", "-")])
def test_standard_input_is_solved(command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(aime(tmp_path).read_bytes())))
    assert sctir(*command, *ENGINE, "--output", tmp_path / "run") == 0
    assert seen(read_journal(tmp_path / "run" / "journal.jsonl")[1]) == SETS["AIME"][1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("solve", "missing.csv"), "cannot read missing.csv: No such file or directory"),
        (("replay", "missing.csv"), "'missing.csv' is neither a file nor a validation set"),
        (("dry-run", "--problems", "missing.csv"), "cannot read missing.csv"),
        (("solve", "set.csv", "--answer-column", "answr"), "no column 'answr' (--answer-column); it has: id, problem"),
        (
            ("replay", "set.csv", "--integers-only"),
            "leaves no problem to solve: 1 row without an answer left out (row 1)",
        ),
        (("dry-run", "--id-column", "id"), "are for a file of problems: add --problems FILE"),
        (("dry-run", "--answers", "rational"), "fractions votes for answers that no competition takes"),
        (("solve", "set.csv", "--fractions"), "modulus is 1000; it must be None with fractions"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("set.csv").write_text("id,problem\na,P\n")
    assert sctir(*arguments, *ENGINE) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
