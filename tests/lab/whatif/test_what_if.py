"""`sctir what-if` over real runs of the embedded model, and what it says where a record cannot answer."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle import SolverConfig
from sctir_kaggle.cli import main
from sctir_kaggle.journal import Journal, read_journal, result_to_json
from sctir_kaggle.lab.whatif.resimulate import rerun, results_of
from sctir_kaggle.lab.whatif.rules import Rules, config_of
from tests.support.whatif_support import solved

pytestmark = pytest.mark.slow

CANDIDATES, PROBLEMS = 8, 5


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Real runs: two whole ones of different seeds, one that the exact stop cut, one that its deadline cut."""
    pytest.importorskip("torch", reason="recording needs the extra `cpu`: pip install 'sctir-kaggle[cpu]'")
    folder = tmp_path_factory.mktemp("runs")
    common = ["dry-run", "-n", str(CANDIDATES), "--limit", str(PROBLEMS)]
    made = {
        "whole": ["--stop", "none"],
        "other": ["--stop", "none", "--seed", "1"],
        "exact": ["--stop", "exact"],
        "late": ["--stop", "none", "--budget", "12"],
    }
    for name, options in made.items():
        assert main([*common, *options, "--output", str(folder / name)]) == 0
    return {name: folder / name for name in made}


@pytest.fixture
def scripted(tmp_path: Path) -> Path:
    """A run of a model that says anything, cut by the exact stop."""
    return journal(tmp_path / "scripted", stop="exact")


def journal(folder: Path, *, problems: int = 6, **fields: Any) -> Path:
    config = SolverConfig(candidates=9, **fields)
    with Journal.create(folder / "journal.jsonl", {"config": asdict(config)}) as run:
        for number in range(problems):
            result = solved(number, candidates=9, **fields)
            run.append(replace(result, problem=replace(result.problem, id=f"p{number}"), seed=0))
    return folder


def what_if(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["what-if", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["what-if", *map(str, arguments)]) == 2
    return capsys.readouterr().err


def figures(path: Path, *arguments: object) -> list[dict[str, Any]]:
    assert main(["what-if", *map(str, arguments), "--json", str(path)]) == 0
    return list(json.loads(path.read_text())["rules"])


@pytest.mark.parametrize("name", ["whole", "other", "exact", "late"])
def test_with_the_recorded_rules_every_result_of_a_real_run_equals_its_record(runs: dict[str, Path], name: str) -> None:
    header, results = read_journal(runs[name] / "journal.jsonl")
    config = config_of(header)
    again = [rerun(result, Rules(config=config), first=CANDIDATES) for result in results]
    assert [one.result for one in again] == results
    assert len(results) == PROBLEMS
    for one, result in zip(again, results, strict=True):
        assert one.result.seconds == pytest.approx(result.seconds, rel=0.05, abs=0.1)
        assert [t.candidate for t in one.result.traces] == [t.candidate for t in result.traces]


def test_the_exact_stop_changes_no_answer_of_a_real_run_and_saves_what_is_printed(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        runs["whole"],
        runs["other"],
        "--stop",
        "none,exact",
        "--vote",
        "plain,small,statement,confirmed",
        "-n",
        "5,8",
    ]
    rows = figures(tmp_path / "f.json", *arguments)
    exact = [row for row in rows[1:] if ", exact" in row["name"]]
    assert len(exact) == 8
    assert all((row["changed"], row["unsure"], row["unknown_full"]) == (0, 0, 0) for row in exact)
    assert all(0 < row["saved_tokens"] < 1 for row in exact)
    assert all(0 < row["saved_seconds"] < 1 for row in exact)
    share = next(row["saved_tokens"] for row in exact if row["name"] == "8 x 4, exact")
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("8 x 4, exact  ")]
    assert line.split()[-5:] == ["/", str(round(100 * share)), "%", "0", "0"]


def test_the_first_row_is_the_record_and_the_same_rules_give_the_same_score(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    record, again = figures(tmp_path / "f.json", runs["whole"], "--stop", "none")
    results = [result for _, result in results_of([runs["whole"]])]
    assert record["name"] == "record: 8 x 4, none"
    assert record["right"] == again["right"] == sum(result.correct is True for result in results)
    assert record["seconds"] == pytest.approx(sum(result.seconds for result in results))
    assert record["tokens"] == again["tokens"]
    assert (record["changed"], record["saved_tokens"]) == (0, 0.0)


def test_a_record_that_was_cut_says_what_it_cannot_tell(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = what_if(capsys, runs["exact"], "--stop", "none,exact")
    assert "record with --stop none" in " ".join(shown.split())
    none, exact = (
        next(line for line in shown.splitlines() if f"8 x 4, {stop} " in line[:16]) for stop in ("none", "exact")
    )
    assert none.count("≥") == 2
    assert "≥" not in exact
    assert none.count("?") == exact.count("?") == 2


def test_a_whole_record_that_lacks_forced_answers_is_not_called_cut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = " ".join(what_if(capsys, journal(tmp_path / "run", stop="none"), "-m", "1").split())
    assert "a forced answer after fewer turns" in said
    assert "cut the record" not in said


def test_a_range_stands_where_answers_are_unsure(scripted: Path, tmp_path: Path) -> None:
    [_, small] = figures(tmp_path / "f.json", scripted, "--vote", "small=0", "--stop", "none")
    assert small["unsure"] > 0
    assert small["right"] <= small["right_most"] <= small["right"] + small["unsure"]


def test_every_combination_is_a_row_and_fits_a_hundred_columns(
    scripted: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    whole = scripted.parent / "whole"
    journal(whole, stop="none")
    options = [
        "-n",
        "3,9",
        "-m",
        "2,4",
        "--stop",
        "none,exact",
        "--vote",
        "plain,statement=0.25",
        "--answers",
        "aimo1,any",
    ]
    shown = what_if(capsys, whole, *options, "--budget", "90s,2h", "--orders", "20")
    table, orders = shown.split("sd of")
    rows = [line for line in table.splitlines() if re.search(r" / (\S+ %|\?)", line)]
    assert len(rows) == 1 + 2 * 2 * 2 * 2 * 2 * 2
    assert len(re.findall(r" none  ", orders)) == len(re.findall(" equal ", orders)) == 64
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 100


def test_the_files_hold_every_problem_and_row(scripted: Path, tmp_path: Path) -> None:
    table, figures_ = tmp_path / "t.csv", tmp_path / "f.json"
    main(["what-if", str(scripted), "--stop", "exact,beta", "--csv", str(table), "--json", str(figures_)])
    lines = list(csv.DictReader(table.open()))
    assert len(lines) == 3 * 6
    recorded = [line for line in lines if line["rules"].startswith("record")]
    results = [result for _, result in results_of([scripted])]
    assert [(line["id"], int(line["answer"]), line["stopped"]) for line in recorded] == [
        (result.problem.id, result.answer, result.stopped) for result in results
    ]
    assert len(json.loads(figures_.read_text())["rules"]) == 3


def test_runs_of_several_seeds_are_averaged(runs: dict[str, Path], tmp_path: Path) -> None:
    single = [figures(tmp_path / "f.json", runs[name])[0]["right"] for name in ("whole", "other")]
    [record, _] = figures(tmp_path / "f.json", runs["whole"], runs["other"])
    assert record["right"] == sum(single) / 2
    assert record["right_sd"] is not None


def test_a_problem_that_does_not_come_out_as_recorded_is_told(
    scripted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = scripted / "journal.jsonl"
    header, *lines = path.read_text().splitlines()
    forged = json.loads(lines[2])
    forged["answer"] = 777
    path.write_text("\n".join([header, *lines[:2], json.dumps(forged), *lines[3:]]) + "\n")
    assert "1 of 6 problems do not come out as recorded (the first: p2)" in " ".join(what_if(capsys, scripted).split())


def test_orders_are_shuffled_under_the_clock_of_the_run(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    own = what_if(capsys, runs["whole"], "--stop", "exact", "--orders", "50")
    assert own == what_if(capsys, runs["whole"], "--stop", "exact", "--budget", "9h", "--orders", "50")


REFUSED: Sequence[tuple[list[str], str]] = [
    (["-n", "10"], "the record has 9 candidates"),
    (["-m", "5"], "the record has 4 turns"),
    (["-m", "0"], "not in the record; ask for 1 or more"),
    (["--stop", "beta", "--vote", "small"], "it must be exact, k=K, margin=M or none with vote small"),
    (["--stop", "exact,k=0"], "stop is k=0; it must be exact, beta, k=K, margin=M or none"),
    (["--stop", "beta", "--delta", "0.7"], "stop_delta is 0.7; it must be"),
    (["--delta", "0.1"], "--stop beta; add that"),
    (["--vote", "loud"], "vote is loud; it must be plain, small"),
    (["--orders", "10"], "with --budget 9h"),
    (["--budget", "5s"], "give more than 12"),
    (["--stop", "none", "--budget", "1h", "--orders", "10"], "record with --stop none"),
    (["--budget", "1h", "--orders", "200000000"], "at most 1,000,000"),
    (["--clock", "equal"], "add --orders"),
    (["--orders", "10", "--clock", "sundial"], "choose none, equal, bank, aimo3, nemo"),
    (["--orders", "10", "--clock", "nemo:cap=2"], "or bank with settings"),
    (["--orders", "10", "--clock", "bank:cup=2"], "cup=2 is no setting of bank; choose cap, draw, floor, high"),
    (["--orders", "10", "--clock", "bank:high=soon"], "'soon' is no value of high; write high=60 or high=5m"),
    (["--orders", "10", "--clock", "bank:cap=0.5"], "at least 1 base share"),
    (["--orders", "10", "--clock", "bank:floor=10m:high=5m"], "floor is 600.0 and high is 300.0"),
    (["--csv", "nowhere/f.csv"], "a folder that exists"),
]


@pytest.mark.parametrize(("options", "says"), REFUSED, ids=[" ".join(options) for options, _ in REFUSED])
def test_what_no_record_can_answer_is_refused_in_one_line(
    scripted: Path, options: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, scripted, *options)
    assert says in said
    assert said.count("\n") == 1


def test_runs_of_different_settings_are_not_mixed(scripted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = journal(scripted.parent / "other", stop="none")
    assert "stop none, scripted with exact: give one at a time" in refused(capsys, scripted, other)


def test_a_journal_is_not_written_over(scripted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (scripted / "journal.jsonl").read_bytes()
    assert "choose another file" in refused(capsys, scripted, "--json", scripted / "journal.jsonl")
    assert (scripted / "journal.jsonl").read_bytes() == before


def test_several_seeds_of_one_journal_have_a_clock_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = journal(tmp_path / "run", stop="none")
    header, results = read_journal(folder / "journal.jsonl")
    with (folder / "journal.jsonl").open("a") as file:
        for result in results:
            file.write(json.dumps({**result_to_json(result), "seed": 1}) + "\n")
    single = figures(tmp_path / "f.json", journal(tmp_path / "one", stop="none"), "--budget", "60")[1]
    double = figures(tmp_path / "f.json", folder, "--budget", "60")[1]
    assert (double["right"], double["seconds"]) == (single["right"], pytest.approx(single["seconds"]))
    assert header["config"]["seed"] == 0
