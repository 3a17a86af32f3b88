"""The tables of `sctir what-if`: what fits a terminal, what their columns and notes say, and that their figures agree."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle import SolverConfig, UserError
from sctir_kaggle.cli import main
from sctir_kaggle.journal import Journal
from sctir_kaggle.lab.whatif.orders import shuffle
from sctir_kaggle.lab.whatif.rules import Rules
from sctir_kaggle.lab.whatif.tables import NARROWEST, Column, fitted, wrapped
from tests.support.whatif_support import solved

CANDIDATES = 9


def journal(folder: Path, *, seeds: int = 1, add: int = 0, header: dict[str, Any] | None = None, **fields: Any) -> Path:
    """Six problems that were solved with every seed; `add` makes references that are no answers modulo 1000."""
    config = SolverConfig(candidates=CANDIDATES, stop="none", **fields)
    with Journal.create(folder / "journal.jsonl", {"config": asdict(config), **(header or {})}) as run:
        for number in range(6 * seeds):
            result = solved(number, candidates=CANDIDATES, stop="none", **fields)
            problem = replace(result.problem, id=f"p{number % 6}", answer=(result.problem.answer or 0) + add)
            run.append(replace(result, problem=problem, seed=number // 6))
    return folder


def what_if(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["what-if", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def figures(path: Path, *arguments: object) -> dict[str, Any]:
    assert main(["what-if", *map(str, arguments), "--json", str(path)]) == 0
    return dict(json.loads(path.read_text()))


@pytest.mark.slow
@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_names_of_rules_are_never_narrower_than_tells_rows_apart(
    width: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    options = ["-n", "3", "--vote", "plain,statement=0.25", "--modulus", "7", "--budget", "1h,2h", "--orders", "20"]
    lines = what_if(capsys, journal(tmp_path / "run", seeds=2), *options).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    firsts = [line for line in lines if line.startswith("3 x 4, none, ")]
    assert len(firsts) == 4 + 4 * 3
    assert all(len(line[:NARROWEST].split(",")) >= 3 for line in firsts)


def test_a_name_is_wrapped_between_its_parts() -> None:
    assert wrapped("48 x 4, exact, small, mod 7, in 1m", 21) == "48 x 4, exact, small,\n  mod 7, in 1m"
    assert wrapped("48 x 4, exact", 13) == "48 x 4, exact"


def test_the_least_needed_column_is_left_out_first_and_named() -> None:
    columns = [
        Column("rules", ["a" * 30], words=True),
        Column("much\nneeded", ["1"], spare=2),
        Column("less", ["2"], spare=1),
    ]
    assert fitted(columns, NARROWEST + 14)[1] == []
    assert fitted(columns, NARROWEST + 13)[1] == ["less"]
    assert fitted(columns, NARROWEST)[1] == ["less", "much needed"]


def test_a_narrow_terminal_is_told_what_it_does_not_show(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    run = journal(tmp_path / "run")
    narrow = " ".join(what_if(capsys, run, "-n", "3,5", "--vote", "statement=0.25").split())
    assert "no room in 60 columns for unsure of 6" in narrow
    monkeypatch.setenv("COLUMNS", "120")
    assert "no room" not in what_if(capsys, run, "-n", "3,5", "--vote", "statement=0.25")


def test_columns_say_what_they_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = what_if(capsys, journal(tmp_path / "run", seeds=3), "--stop", "exact")
    assert "of 6" in shown
    assert shown.count("of 18") == 2
    assert "means per seed (± sd of 3 seeds); changed, unsure: sums over all seeds" in shown
    assert "not those of all candidates under the same rules" in " ".join(shown.split())


def test_both_tables_have_the_same_deviation_of_the_same_runs(tmp_path: Path) -> None:
    """Without a limit the order does nothing, so that what is left is between seeds."""
    found = figures(tmp_path / "f.json", journal(tmp_path / "run", seeds=3), "--budget", "9h", "--orders", "30")
    spread = found["rules"][1]["right_sd"]
    assert spread > 0
    assert [row["sd"] for row in found["orders"]] == pytest.approx([spread] * 3)


def test_fewer_orders_than_two_a_seed_are_refused() -> None:
    solved_ = [solved(seed, candidates=CANDIDATES, stop="none") for seed in range(6)]
    records = [(place // 3, replace(result, seed=0)) for place, result in enumerate(solved_)]
    rules = Rules(config=SolverConfig(candidates=CANDIDATES, stop="none"), budget=1000.0)
    with pytest.raises(UserError, match="give 4 or more"):
        shuffle(records, CANDIDATES, [("a", rules)], 3)


def test_references_are_reduced_by_another_modulus_as_answers_are(tmp_path: Path) -> None:
    """The same answers with the references r and r + 7000: by the recorded rules the latter are wrong, modulo 7 the same."""
    rows = [
        figures(tmp_path / "f.json", journal(tmp_path / f"run{add}", add=add), "--modulus", "7", "--budget", "9h,1h")
        for add in (0, 7000)
    ]
    (record, *reduced), (record_of_more, *reduced_of_more) = (found["rules"] for found in rows)
    assert record["right"] > record_of_more["right"] == 0
    assert [row["right"] for row in reduced] == [row["right"] for row in reduced_of_more]
    assert min(row["right"] for row in reduced) >= record["right"] > 0
    assert "references are reduced modulo 7 too where answers are" in rows[0]["notes"]


def test_orders_reduce_references_too(tmp_path: Path) -> None:
    run = journal(tmp_path / "run", add=7000)
    found = figures(tmp_path / "f.json", run, "--modulus", "7", "--budget", "9h", "--orders", "10")
    assert found["orders"][0]["right"] == found["rules"][1]["right"] > 0


def test_a_modulus_that_the_recorded_one_does_not_tell_is_noted(tmp_path: Path) -> None:
    run = journal(tmp_path / "run")
    lost = "references that were reduced modulo 1000 do not tell what they are with modulus"
    assert any(
        f"{lost} 7, None" in note for note in figures(tmp_path / "f.json", run, "--modulus", "7,none,10")["notes"]
    )
    assert not any(lost in note for note in figures(tmp_path / "f.json", run, "--modulus", "10")["notes"])


def test_seconds_of_several_problems_at_once_are_noted(tmp_path: Path) -> None:
    said = "6 at a time"  # eight were allowed, six there were
    shared = journal(tmp_path / "shared", header={"parallel": 8})
    alone = journal(tmp_path / "alone", header={"parallel": 1})
    assert any(said in note for note in figures(tmp_path / "f.json", shared)["notes"])
    assert figures(tmp_path / "f.json", alone)["notes"] == []


def test_a_combination_that_cannot_be_is_left_out_with_the_reason(tmp_path: Path) -> None:
    found = figures(
        tmp_path / "f.json", journal(tmp_path / "run"), "--stop", "none,exact,beta", "--vote", "plain,small"
    )
    assert [row["name"].split("9 x 4, ")[1] for row in found["rules"][1:]] == [
        *("none", "none, small", "exact", "exact, small", "beta 0.05")
    ]
    [note] = found["notes"]
    assert note.startswith("1 row left out: stop is beta; it must be exact, k=K, margin=M or none with vote small")
