"""Clocks by name: each is what its source says, problem after problem, and `what-if --orders` has a row for each."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sctir_kaggle import UserError
from sctir_kaggle.cli import main
from sctir_kaggle.lab.whatif.clocks import NAMES, ClockRule, Shares
from tests.lab.whatif.test_what_if import journal

HOURS = 5 * 3600.0


def given(rule: str, spent: list[float], budget: float = HOURS) -> list[float]:
    """Seconds for each of 50 problems, of which they take these parts."""
    clock, now, found = ClockRule.parse(rule).clock(budget, 50, grace=2.0), 0.0, []
    for part in spent:
        [hard] = clock.next_deadlines(np.array([now])).hard - now
        found.append(float(hard))
        now += part * hard
    return found


def parts(seed: int) -> list[float]:
    rng = random.Random(seed)
    return [rng.choice([0.05, 0.3, 1.0, rng.random()]) for _ in range(50)]


@pytest.mark.parametrize("seed", range(20))
def test_with_5_hours_for_50_problems_aimo3_is_the_published_clamp(seed: int) -> None:
    spent, elapsed = parts(seed), 0.0
    for others, (found, part) in zip(range(49, -1, -1), zip(given("aimo3", spent), spent, strict=True), strict=True):
        assert found == pytest.approx(max(min(17_400 - elapsed - others * 240, 960), 240))
        elapsed += part * found


@pytest.mark.parametrize("seed", range(20))
def test_with_5_hours_for_50_problems_nemo_is_the_published_buffer(seed: int) -> None:
    spent, buffer = parts(seed), 0.0
    for found, part in zip(given("nemo", spent), spent, strict=True):
        assert found == pytest.approx(350 + min(210, buffer))
        buffer += 350 - part * found


@pytest.mark.parametrize("rule", ["aimo3", "nemo"])
def test_another_budget_scales_a_published_clock(rule: str) -> None:
    assert given(rule, parts(0), budget=2 * HOURS) == pytest.approx([2 * found for found in given(rule, parts(0))])


def test_bank_takes_the_settings_of_the_budget() -> None:
    ours = Shares(HOURS, 50, reserve=0.02 * HOURS, grace=2.0, cap=2.0, draw=1.0, floor=400.0, high=900.0)
    rule, now = ClockRule.parse("bank:cap=2:draw=1:floor=400s:high=15m").clock(HOURS, 50, 2.0), np.array([0.0])
    for part in parts(1):
        mine, its = ours.next_deadlines(now), rule.next_deadlines(now)
        assert (mine.soft, mine.hard) == (its.soft, its.hard)
        now = now + part * (mine.hard - now)


@pytest.mark.parametrize("text", [*NAMES, "bank:cap=2", "bank:floor=60:high=900", "bank:draw=0", "bank:floor=0"])
def test_a_clock_is_named_as_it_is_typed(text: str) -> None:
    assert ClockRule.parse(text).label == text


@pytest.mark.parametrize("text", ["", "Bank", "bank:", "bank:high=0", "bank:draw=2", "equal:cap=2", "bank:floor=x"])
def test_a_clock_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        ClockRule.parse(text)


def orders(tmp_path: Path, *options: str) -> list[dict[str, Any]]:
    run, file = journal(tmp_path / "run", stop="none"), tmp_path / "f.json"
    assert main(["what-if", str(run), "--budget", "60", "--orders", "30", *options, "--json", str(file)]) == 0
    return list(json.loads(file.read_text())["orders"])


def test_what_if_has_a_row_for_each_clock_in_their_order(tmp_path: Path) -> None:
    clocks = ["nemo", "bank:cap=2:floor=5:high=20", "aimo3", "none", "bank", "equal"]
    rows = orders(tmp_path, "--stop", "exact,k=2", "--clock", ",".join(clocks))
    assert [row["clock"] for row in rows] == 2 * clocks
    assert not any(row["overruns"] for row in rows if row["clock"].startswith(("bank", "equal")))
    assert rows[3]["overruns"] == 30  # all of them, with the exact stop and without a clock


def test_without_a_choice_none_and_equal_shares_are_compared_with_our_bank(tmp_path: Path) -> None:
    assert [row["clock"] for row in orders(tmp_path)] == ["none", "equal", "bank"]
