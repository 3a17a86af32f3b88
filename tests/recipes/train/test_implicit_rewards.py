"""KTO's implicit rewards: from a trainer's log to a table and a picture."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.recipes.train.rewards import CURVES, drawn, points, write_csv, write_png

LOG: list[dict[str, float]] = [
    {"step": step, "loss": 0.5, "kl": 0.1, "rewards/chosen": step / 100, "rewards/rejected": -step / 50, "epoch": 1}
    for step in (10, 20, 30)
]


def test_a_point_is_a_line_of_the_log_with_both_kinds() -> None:
    evaluation = {"step": 20, "eval_rewards/chosen": 1.0}
    one_kind = {"step": 40, "loss": 0.5, "kl": 0.1, "rewards/chosen": 1.0}
    end = {"step": 40, "train_loss": 0.4}
    found = points([*LOG, evaluation, one_kind, end])
    assert [point.step for point in found] == [10, 20, 30]
    assert found[2].margin == pytest.approx(0.9)


def test_the_table_has_a_row_a_point(tmp_path: Path) -> None:
    write_csv(tmp_path / "rewards.csv", points(LOG))
    with (tmp_path / "rewards.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], float(row["chosen"]), float(row["rejected"])) for row in rows] == [
        ("10", 0.1, -0.2),
        ("20", 0.2, -0.4),
        ("30", 0.3, -0.6),
    ]


def test_the_picture_draws_every_curve_over_the_steps(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need the extra `plots`: pip install 'sctir-kaggle[plots]'")
    [axes] = drawn(points(LOG)).axes
    lines: list[Any] = list(axes.lines)
    curves = {line.get_label(): list(line.get_ydata()) for line in lines}
    assert {"chosen", "rejected"} < CURVES.keys() <= curves.keys()
    assert curves["rejected"] == [-0.2, -0.4, -0.6]
    write_png(tmp_path / "rewards.png", points(LOG))
    assert (tmp_path / "rewards.png").read_bytes().startswith(b"\x89PNG")
