"""The rows of the comparison: chain of thought and tools, each greedy and by vote, none left out."""

from __future__ import annotations

import pytest

from benchmarks.comparison import NAMES, STAGE_1, Measured, config_of, model_of, report
from benchmarks.comparison_report import Run
from sctir_kaggle.runtime import EMBEDDED_MODEL


@pytest.mark.parametrize("way", ["greedy-cot", "greedy-tir"])
def test_a_greedy_row_is_one_candidate_of_its_own_stage(way: str) -> None:
    config = config_of(way, seed=3)
    assert (config.candidates, config.temperature, config.turns > 0) == (1, 0.0, way == "greedy-tir")
    assert model_of(way) == (EMBEDDED_MODEL if way == "greedy-tir" else STAGE_1)


def test_the_table_has_greedy_tir_beside_the_votes() -> None:
    measured = {way: Measured([Run(96.0, 96.0, 9.0)], []) for way in NAMES}
    rows = report(measured, 5, "").splitlines()
    assert "| TIR, greedy (one run) | 2 | 96.0 | 96.0 | 9 |" in rows
    assert [row.split("|")[1].strip() for row in rows[2 : 2 + len(NAMES)]] == list(NAMES.values())
