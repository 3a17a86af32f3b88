"""The benchmark of RL: its clock, its table, and the whole way in small."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest

from sctir_kaggle.types import UserError

pytest.importorskip("trl", reason="RL needs the training stack: pip install 'sctir-kaggle[recipes]'")

from benchmarks.rl import Benchmark, Clock, Measured, measure, report, training_problems

pytestmark = pytest.mark.recipes


def at(step: int) -> SimpleNamespace:
    return SimpleNamespace(global_step=step, should_save=False, should_training_stop=False)


def test_the_clock_ends_a_training_and_goes_on_where_a_checkpoint_was(tmp_path: Path) -> None:
    now = [1000.0]
    first = Clock(tmp_path / "clock.json", 2, lambda: now[0])
    first.on_train_begin(None, at(0), at(0))
    now[0] += 90
    first.on_save(None, at(7), at(7))
    now[0] += 29  # lost: it is killed here
    again, control = Clock(tmp_path / "clock.json", 2, lambda: now[0]), at(7)
    now[0] += 5000
    again.on_train_begin(None, at(7), control)
    now[0] += 29
    again.on_step_end(None, at(8), control)
    assert not control.should_training_stop
    now[0] += 1
    again.on_step_end(None, at(9), control)
    assert control.should_training_stop
    assert control.should_save
    again.on_save(None, at(9), control)
    assert json.loads((tmp_path / "clock.json").read_text()) == {"7": 90.0, "9": 120.0}


def test_the_table_has_the_gain_of_each_seed() -> None:
    first = Measured({"single-tir": 60.0, "sc-tir": 80.0}, {"single-tir": 70.0, "sc-tir": 81.0}, 100, 30.0)
    second = Measured({"single-tir": 62.0, "sc-tir": 80.0}, {"single-tir": 74.0, "sc-tir": 83.0}, 120, 30.0)
    lines = report({0: first, 1: second}, Benchmark()).splitlines()
    assert lines[0].startswith(
        "| 144 problems x 8 candidates, T = 0.8: right (%) | before | after | gain, mean ± sd of 2"
    )
    assert lines[2] == "| one program | 61.0 ± 1.4 | 72.0 ± 2.8 | 11.0 ± 1.4 |"
    assert lines[3] == "| SC-TIR: 4 turns | 80.0 ± 0.0 | 82.0 ± 1.4 | 2.0 ± 1.4 |"
    assert lines[5] == "Trained for 30.0 ± 0.0 minutes a seed, 110.0 ± 14.1 steps."
    assert lines[6].endswith("`python -m benchmarks.rl --seeds 2 --minutes 30`.")


def test_a_setting_outside_its_limits_is_named() -> None:
    for change in ({"minutes": 0.0}, {"steps": 0}, {"candidates": 0}):
        with pytest.raises(UserError, match=f"{next(iter(change))} is 0"):
            Benchmark(**change)


def test_a_seed_that_is_there_is_not_run_again(tmp_path: Path) -> None:
    there = Measured({"single-tir": 60.0}, {"single-tir": 70.0}, 100, 30.0)
    (tmp_path / "seed-4.json").write_text(json.dumps(asdict(there)))
    assert measure(Benchmark(output=tmp_path), 4) == there


def test_no_validation_problem_is_trained_on() -> None:
    from sctir_kaggle.recipes.tiny.problems import held_out, validation

    closed = {posed.problem.text for posed in (*held_out(0), *validation(0))}
    rows = training_problems()
    assert not closed & {row["problem"] for row in rows}
    assert len({row["id"] for row in rows}) == len(rows) > 2000


@pytest.mark.slow
def test_a_seed_in_small(tmp_path: Path) -> None:
    chosen = Benchmark(
        output=tmp_path, steps=1, candidates=1, each=1, changes=("batch=4", "generations=2", "save_every=1")
    )
    made = measure(chosen, 0)
    assert made.steps == 1
    assert made.minutes > 0
    assert all(0 < percent <= 100 for percent in (*made.before.values(), *made.after.values()))
    assert json.loads((tmp_path / "seed-0.json").read_text()) == asdict(made)
