"""The ladder of a real model: its data, its settings, and the whole way in small with the embedded model."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from benchmarks.ladder import QUICK, Ladder, make, settings_of
from benchmarks.ladder_data import gsm8k_test, make_data, programs, solutions
from sctir_kaggle.recipes.rendering import segments_of
from sctir_kaggle.recipes.rows import read_rows
from sctir_kaggle.runtime import EMBEDDED_MODEL
from sctir_kaggle.types import UserError


def write(file: Path, rows: Iterable[Mapping[str, object]]) -> None:
    file.parent.mkdir(exist_ok=True)
    with gzip.open(file, "wt") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)


def recorded(number: int, *, output: str | None = None, boxed: int | None = None) -> dict[str, object]:
    """A line as the record has it; by default its program and its answer are right."""
    answer = number + 2
    shown, box = output or f"{answer}.0", answer if boxed is None else boxed
    code = f"print({number} + 2.0)\n"
    text = f"```python\n{code}```\n```output\n{shown}\n```\nThe answer is $\\boxed{{{box}}}$."
    completion = {"text": text, "code_blocks": [{"code": code, "output": shown}]}
    problem = f"Ann has {number} apples and gets 2 more. How many?"
    return {
        "id": f"t{number}",
        "dataset": "gsm8k-test",
        "problem": problem,
        "gt": f"{answer:,}",
        "completions": [completion],
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder like that of the recorded data, with twelve problems."""
    folder = tmp_path / "data"
    folder.mkdir()
    write(folder / "traces/tora_gsm8k.jsonl.gz", map(recorded, range(12)))
    others = [{**recorded(99), "dataset": "MATH-500"}, recorded(3, output="7"), recorded(4, boxed=7)]
    write(folder / "traces/rho_tir_math_gsm8k.jsonl.gz", others)
    solved = "Bo has 4/2 = <<4/2=2>>2 boxes of 8.\nThat is 2*8 = <<2*8=16>>16.\n#### 16"
    row = {"problem": "Bo halves 4 boxes of 8 and counts what is in them?", "answer": "16", "solution": solved}
    write(folder / "train/gsm8k_train.jsonl.gz", [{**row, "id": f"g{number}"} for number in range(8)])
    return folder


def test_no_held_out_problem_is_learned(data: Path, tmp_path: Path) -> None:
    said = make_data(data, tmp_path, problems=5, families=0, seed=0)
    assert said == "5 of 12 problems held out; 8 solutions, 7 traces with programs"
    held = {row["problem"]: row["answer"] for row in read_rows(tmp_path / "problems.csv")}
    learned = {row["problem"] for row in read_rows(tmp_path / "all-tir.jsonl.gz")}
    assert not held.keys() & learned
    assert held.items() <= gsm8k_test(data).items()


def test_a_trace_whose_output_or_answer_is_wrong_is_not_learned(data: Path) -> None:
    rows = list(programs(data, frozenset()))
    assert [row["id"] for row in rows] == [f"t{number}-0" for number in range(12)]
    assert [segment.learned for segment in segments_of(rows[0])] == [False, True, False, True]


def test_a_solution_ends_in_a_box_and_has_no_calculator_notes(data: Path) -> None:
    text = next(solutions(data))["messages"][1]["content"]
    assert text == "Bo has 4/2 = 2 boxes of 8.\nThat is 2*8 = 16.\nThe answer is $\\boxed{16}$."


def test_too_few_problems_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has 12 problems of gsm8k-test; problems is 12"):
        make_data(data, tmp_path, problems=12, families=0, seed=0)


@pytest.mark.parametrize("wrong", ["absent", "cut off"])
def test_data_that_cannot_be_read_is_one_line(wrong: str, data: Path, tmp_path: Path) -> None:
    file = data / "traces/rho_tir_math_gsm8k.jsonl.gz"
    content = file.read_bytes()
    file.unlink() if wrong == "absent" else file.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"cannot read .*rho_tir_math_gsm8k.jsonl.gz: .*; --data is the folder"):
        make_data(data, tmp_path, problems=5, families=0, seed=0)


@pytest.mark.parametrize("change", [{"minutes": 121}, {"minutes": 0}, {"problems": 0}, {"candidates": 0}, {"seeds": 0}])
def test_a_setting_outside_its_limits_is_named(change: dict[str, int]) -> None:
    (name,) = change
    with pytest.raises(UserError, match=f"{name} is"):
        Ladder(**change)  # type: ignore[arg-type]


def test_quick_is_changed_by_other_options() -> None:
    ladder = settings_of(["--quick", "--problems", "3", "--output", "x"])
    assert (ladder.steps, ladder.problems, ladder.output) == (QUICK["steps"], 3, Path("x"))
    assert (settings_of([]).problems, settings_of([]).seeds) == (200, 3)


@pytest.mark.shared
def test_the_recorded_data_has_enough_to_hold_out_and_to_learn(shared_data: Path) -> None:
    problems = list(gsm8k_test(shared_data))
    assert len(problems) >= 1300
    held = frozenset(problems[:200])
    learned = list(programs(shared_data, held))
    assert len(learned) > 3000
    assert not held & {row["problem"] for row in learned}
    assert len(list(solutions(shared_data))) > 7400


@pytest.mark.recipes
def test_the_whole_way_in_small(data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("trl", reason="training needs the extra `recipes`: pip install 'sctir-kaggle[recipes]'")
    few = {**QUICK, "steps": 2, "problems": 3}
    ladder = Ladder(output=tmp_path / "made", data=data, model=EMBEDDED_MODEL, **few)  # type: ignore[arg-type]
    table = make(ladder)
    said = capfd.readouterr().out
    assert said.index("tokens are sampled a second: training 2 + 2 steps") < said.index("== stage 1")
    rows = table.splitlines()
    assert rows[0].startswith(
        "| 3 problems of GSM8K's test set, N = 2, T = 0.8, 4 turns | right (%), mean ± sd of 2 seeds |"
    )
    names = [row.split("|")[1].strip() for row in rows[2:6]]
    assert names == [
        "stage 1: CoT, greedy (one run)",
        "stage 1: CoT, majority",
        "stage 2: TIR, greedy (one run)",
        "stage 2: SC-TIR",
    ]
    assert not ladder.at("probe").exists()
    before = ladder.at("steps.json").stat().st_mtime_ns
    assert make(ladder) == table
    assert ladder.at("steps.json").stat().st_mtime_ns == before, "nothing is run a second time"
    with pytest.raises(UserError, match="of a run with seeds=2: give it the same settings, or another output"):
        make(Ladder(output=ladder.output, data=data, model=EMBEDDED_MODEL, **{**few, "seeds": 3}))  # type: ignore[arg-type]
