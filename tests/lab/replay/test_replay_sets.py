"""The four validation sets by name: whole, with the labels that were meant, from a folder or by the `datasets` library."""

from __future__ import annotations

import csv
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle import Problem, UserError
from sctir_kaggle.lab.replay.sets import BASE_N, SETS, SEVERAL, read_set, repaired
from sctir_kaggle.presets import PRESETS

CLEAN = {"amc": 83, "aime": 90, "math4": 744, "math5": 716}


@pytest.fixture
def validation(shared_data: Path) -> Path:
    return shared_data / "validation"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.shared
@pytest.mark.parametrize("name", CLEAN)
def test_a_set_is_read_by_its_name_without_the_rows_whose_labels_are_wrong(
    validation: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    problems = read_set(name, data=validation)
    assert len(problems) == CLEAN[name]
    assert all(problem.answer is not None for problem in problems)
    rows = SETS[name].rows
    assert rows is not None
    left_out = rows - CLEAN[name]
    assert [record.getMessage().split(":")[1].split()[0] for record in caplog.records] == [str(left_out)] * (
        left_out > 0
    )
    assert {problem.level for problem in problems} == {SETS[name].level}
    assert {problem.subject is None for problem in problems} == {not name.startswith("math")}


@pytest.mark.shared
def test_all_rows_are_kept_where_they_are_asked_for_with_the_digits_that_were_meant(validation: Path) -> None:
    kept = {problem.id: problem.answer for problem in read_set("math4", data=validation, all_rows=True)}
    assert len(kept) == 754
    assert kept["math-test-number_theory-1118"] == 2112


@pytest.mark.shared
def test_the_folder_may_stand_in_the_environment(validation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCTIR_DATA", str(validation))
    assert len(read_set("aime")) == 90
    assert len(read_set("aime", limit=7)) == 7


def as_the_hub_has_it(path: Path) -> list[dict[str, str]]:
    """The labels with the flaw, as Python's `int` reads what was boxed."""
    return [{**row, "answer": str(int(row.get("answer_raw") or row["answer"]))} for row in rows_of(path)]


@pytest.mark.shared
def test_every_flawed_label_is_found_from_text_and_label_alone_and_no_other(validation: Path) -> None:
    flawed: dict[str, tuple[int, str]] = {}
    for set_ in map(SETS.__getitem__, CLEAN):
        for row in as_the_hub_has_it(validation / set_.file):
            answer, flaw = repaired(row["problem"], int(row["answer"]))
            if flaw:
                flawed[row["id"]] = answer, flaw
    expected = {
        row["id"]: (int(row["answer"]), BASE_N if row["note"] == "base-n label" else SEVERAL)
        for name in ("math4", "math5")
        for row in rows_of(validation / SETS[name].file)
        if row["clean"] == "0"
    }
    assert len(expected) == 15
    assert flawed == expected


@pytest.mark.parametrize(
    ("text", "label", "solution", "expected"),
    [
        ("Write 500 in base 6.", 21126, "", (2112, BASE_N)),
        ("What is this in base eight?", 25168, "", (2516, BASE_N)),
        ("Subtract in base 3.", -2213, "", (-221, BASE_N)),
        ("Write 80 in base $9$.", "8_9", "", (8, BASE_N)),
        ("No base is named.", "8_9", "", (8, BASE_N)),
        ("No base is named.", 21126, r"It is $\boxed{2112_6}$.", (2112, BASE_N)),
        ("No base is named.", 21126, r"It is $\boxed{2112_{6}}$.", (2112, BASE_N)),
        ("No base is named.", 21126, r"It is $\boxed{21126}$.", (21126, "")),
        ("The base 5 number ends in 5, in base 10.", 95, "", (95, "")),  # 9 is no digit in base 5
        ("In base 6?", 6, "", (6, "")),
        ("AMC's are floats.", 142.0, "", (142, "")),
        ("AIME's are text.", "033", "", (33, "")),
        ("So may they be.", "142.0", "", (142, "")),
    ],
)
def test_a_label_becomes_the_integer_that_was_meant(
    text: str, label: Any, solution: str, expected: tuple[int, str]
) -> None:
    assert repaired(text, label, solution) == expected


@pytest.mark.parametrize("label", [0.5, float("nan"), "x", ""])
def test_a_label_that_is_no_integer_is_refused(label: Any) -> None:
    with pytest.raises(UserError, match=f"the label {re.escape(repr(label))} is no integer"):
        repaired("What?", label)


@pytest.mark.shared
def test_a_set_that_is_not_whole_is_refused(validation: Path, tmp_path: Path) -> None:
    lines = rows_of(validation / "amc.csv")[:-1]
    with (tmp_path / "amc.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    with pytest.raises(
        UserError, match=r"the set amc has 82 rows, not 83; download it again from AI-MO/aimo-validation-amc"
    ):
        read_set("amc", data=tmp_path)


def test_what_is_no_set_is_a_csv_or_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("id,problem\na,Add.\nb,Add.\n")
    assert read_set(str(tmp_path / "mine.csv"), limit=1) == [Problem("a", "Add.")]
    with pytest.raises(UserError, match="'aim' is neither a file nor a validation set; the sets are amc, aime, math4"):
        read_set("aim")
    with pytest.raises(UserError, match=r"holds neither amc.csv nor a copy of the data set aimo-validation-amc"):
        read_set("amc", data=tmp_path)


def test_without_the_library_the_hub_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.delenv("SCTIR_DATA", raising=False)
    with pytest.raises(UserError, match=r"pip install 'sctir-kaggle\[hub\]'; give a folder"):
        read_set("amc")


def test_every_preset_changes_what_its_name_says() -> None:
    assert {
        name: tuple(PRESETS[name].values.get(key) for key in ("candidates", "temperature", "turns"))
        for name in ("sc-tir", "greedy-tir", "greedy-cot", "cot-majority", "single-tir")
    } == {
        "sc-tir": (None, None, None),
        "greedy-tir": (1, 0.0, None),
        "greedy-cot": (1, 0.0, 0),
        "cot-majority": (32, None, 0),
        "single-tir": (32, None, 1),
    }


Save = Callable[[Any, Path], None]


def _as_parquet(dataset: Any, folder: Path) -> None:
    """As a clone of the Hub's repository has it."""
    (folder / "data").mkdir(parents=True)
    dataset.to_parquet(str(folder / "data" / "train-00000-of-00001.parquet"))


def _saved(dataset: Any, folder: Path) -> None:
    dataset.save_to_disk(str(folder))


def _saved_with_splits(dataset: Any, folder: Path) -> None:
    import datasets  # type: ignore[import-not-found,import-untyped,unused-ignore]

    datasets.DatasetDict({"train": dataset}).save_to_disk(str(folder))


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The `datasets` library, its cache in the test's folder and the Hub out of reach."""
    library = pytest.importorskip("datasets", reason="needs the extra `hub`: pip install 'sctir-kaggle[hub]'")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(library.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("SCTIR_DATA", raising=False)
    return library


@pytest.mark.hub
@pytest.mark.shared
@pytest.mark.parametrize("save", [_as_parquet, _saved, _saved_with_splits])
@pytest.mark.parametrize("name", ["amc", "math5"])
def test_a_copy_of_the_hubs_set_gives_the_same_problems_as_the_csv(
    library: Any, validation: Path, tmp_path: Path, save: Save, name: str
) -> None:
    rows = as_the_hub_has_it(validation / SETS[name].file)
    answers: list[Any] = [float(row["answer"]) if name == "amc" else int(row["answer"]) for row in rows]
    columns = {"id": [n % 43 for n in range(len(rows))], "problem": [row["problem"] for row in rows], "answer": answers}
    save(library.Dataset.from_dict(columns), tmp_path / "sets" / str(SETS[name].hub).rpartition("/")[2])
    found, expected = read_set(name, data=tmp_path / "sets"), read_set(name, data=validation)
    assert [(problem.text, problem.answer, problem.level) for problem in found] == [
        (problem.text, problem.answer, problem.level) for problem in expected
    ]
    assert len({problem.id for problem in found}) == CLEAN[name]
    assert all(problem.id.startswith(f"{name}-") for problem in found)


@pytest.mark.hub
def test_a_copy_without_the_columns_is_refused(library: Any, tmp_path: Path) -> None:
    _saved(library.Dataset.from_dict({"problem": ["Add."]}), tmp_path / "aimo-validation-amc")
    with pytest.raises(UserError, match="has no column answer; it has"):
        read_set("amc", data=tmp_path)
    shutil.rmtree(tmp_path / "aimo-validation-amc")
    (tmp_path / "aimo-validation-amc").mkdir()
    with pytest.raises(UserError, match="cannot load"):
        read_set("amc", data=tmp_path)


@pytest.mark.hub
def test_a_hub_that_cannot_be_reached_is_said_in_one_line(
    library: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^cannot load AI-MO/aimo-validation-amc: .*; give a folder .* --data$"):
        read_set("amc")
