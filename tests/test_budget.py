"""The wall clock, with a simulated one."""

from __future__ import annotations

import math
import random
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sctir_kaggle import UserError
from sctir_kaggle.budget import Budget, process_started


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_first_problem_gets_an_equal_share() -> None:
    assert Budget(100, 10, clock=Clock()).next_deadline() == pytest.approx(1010)


def test_time_that_a_problem_leaves_goes_to_all_that_follow() -> None:
    clock = Clock()
    budget = Budget(100, 10, clock=clock)
    budget.next_deadline()
    clock.now += 1
    assert budget.next_deadline() == pytest.approx(1001 + 99 / 9)


def test_the_start_up_and_the_reserve_are_paid_from_the_budget() -> None:
    clock = Clock()
    started = clock()
    clock.now += 20
    assert Budget(100, 4, started=started, reserve=40, clock=clock).next_deadline() == pytest.approx(1020 + 40 / 4)


def test_after_the_end_the_deadline_is_now() -> None:
    clock = Clock()
    budget = Budget(10, 2, clock=clock)
    clock.now += 11
    assert budget.next_deadline() == clock.now
    assert budget.left == 0


def test_a_problem_answered_before_gives_its_share_to_the_others() -> None:
    budget = Budget(100, 10, clock=Clock())
    budget.skip()
    assert budget.next_deadline() == pytest.approx(1000 + 100 / 9)


@pytest.mark.parametrize("seed", range(50))
def test_whatever_problems_take_up_to_their_deadline_the_last_ends_in_time(seed: int) -> None:
    rng, clock = random.Random(seed), Clock()
    budget = Budget(3600, 50, reserve=60, clock=clock)
    for _ in range(rng.randint(1, 80)):  # more problems than planned, too
        clock.now = rng.uniform(clock.now, budget.next_deadline())
    assert clock.now <= 1000 + 3600 - 60 + 1e-6


def test_time_that_was_saved_is_the_bank_that_a_contested_problem_may_draw_on() -> None:
    clock = Clock()
    budget = Budget(100, 10, clock=clock)
    first = budget.next_deadlines()
    assert first.hard == first.soft  # nothing is saved yet
    clock.now += 1
    second = budget.next_deadlines()
    assert second.soft == pytest.approx(1001 + 99 / 9)
    assert second.hard == pytest.approx(1001 + 10 + 9 / 2)


def test_the_cap_bounds_what_one_problem_draws() -> None:
    clock = Clock()
    budget = Budget(100, 10, cap=2.5, clock=clock)
    for _ in range(5):
        budget.next_deadlines()
    assert budget.next_deadlines().hard == pytest.approx(1025)


def test_a_cap_below_one_share_and_a_part_beyond_the_whole_are_refused() -> None:
    with pytest.raises(ValueError, match=r"cap is 0\.5"):
        Budget(100, 10, cap=0.5)
    with pytest.raises(ValueError, match=r"draw is 1\.5"):
        Budget(100, 10, draw=1.5)


def test_no_problem_gets_more_than_the_high_clamp() -> None:
    clock = Clock()
    budget = Budget(100, 10, high=12, clock=clock)
    for _ in range(8):
        limits = budget.next_deadlines()
        assert limits.soft <= limits.hard <= clock.now + 12
    assert budget.next_deadlines().soft == pytest.approx(1012)  # of 100 s for two
    budget.next_deadlines()
    assert budget.next_deadlines().soft <= 1012  # beyond the plan


def test_a_floor_is_lent_by_the_problems_at_the_end() -> None:
    clock, given = Clock(), []
    budget = Budget(100, 10, floor=18, clock=clock)
    for _ in range(10):
        given.append(budget.next_deadline() - clock.now)
        clock.now += given[-1]
    assert given == pytest.approx([18] * 5 + [10] + [0] * 4)


def test_a_floor_that_early_ends_pay_for_costs_later_problems_nothing() -> None:
    clock = Clock()
    budget = Budget(100, 10, floor=18, clock=clock)
    for _ in range(10):
        assert budget.next_deadline() - clock.now >= 18
        clock.now += 5


@pytest.mark.parametrize(
    ("clamps", "says"),
    [
        ({"floor": -1}, "floor is -1; it must be 0 seconds"),
        ({"floor": float("inf")}, "floor is inf"),
        ({"high": 0}, "high is 0; it must be more than 0 seconds"),
        ({"floor": 60, "high": 30}, "floor is 60 and high is 30"),
        ({"cap": float("nan")}, "cap is nan"),
        ({"high": float("nan")}, "high is nan"),
    ],
)
def test_clamps_that_cannot_be_are_refused(clamps: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        Budget(100, 10, **clamps)


def test_the_last_problem_may_take_all_that_is_left() -> None:
    clock = Clock()
    budget = Budget(100, 2, clock=clock)
    budget.next_deadlines()
    clock.now += 10
    assert budget.next_deadlines().soft == pytest.approx(1100)


def test_the_grace_is_kept_back_once_for_every_problem_to_come() -> None:
    clock = Clock()
    budget = Budget(100, 4, grace=5, clock=clock)
    assert budget.left == 80
    assert budget.next_deadline() == pytest.approx(1020)
    clock.now += 25
    assert budget.left == 60


PARTS = st.floats(0, 1)

CLAMPS = st.tuples(st.just(0.0) | st.floats(0, 2000), st.none() | st.floats(0.1, 4000)).filter(
    lambda pair: pair[1] is None or pair[0] <= pair[1]
)
"""Floor and high."""


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(
    seconds=st.floats(1, 40_000),
    start_up=PARTS,
    reserve=st.floats(0, 0.5),
    planned=st.integers(1, 60),
    grace=st.floats(0, 10),
    cap=st.floats(1, 10),
    draw=PARTS,
    clamps=CLAMPS,
    durations=st.lists(st.tuples(PARTS, PARTS, st.booleans()) | st.none(), max_size=80),
)
def test_for_any_durations_up_to_the_hard_deadline_and_the_grace_the_last_answer_is_in_time(
    seconds: float,
    start_up: float,
    reserve: float,
    planned: int,
    grace: float,
    cap: float,
    draw: float,
    clamps: tuple[float, float | None],
    durations: list[tuple[float, float, bool] | None],
) -> None:
    """None is a problem answered before; a problem that starts at its deadline is answered at once, as the solver does."""
    clock, (floor, high) = Clock(), clamps
    clock.now += start_up * (1 - reserve) * seconds
    shape: dict[str, Any] = {"cap": cap, "draw": draw, "floor": floor, "high": high}
    budget = Budget(seconds, planned, reserve=reserve * seconds, grace=grace, started=1000.0, clock=clock, **shape)
    for duration in durations:
        if duration is None:
            budget.skip()
            planned -= 1
            continue
        part, part_of_grace, contested = duration
        left, limits = budget.left, budget.next_deadlines()
        assert clock.now <= limits.soft <= limits.hard
        assert limits.hard - clock.now <= (high or math.inf) + 1e-6
        planned -= 1
        if planned >= 0:
            assert limits.soft - clock.now >= min(floor, left) - 1e-6
        limit = limits.hard if contested else limits.soft
        if limit > clock.now:
            clock.now += part * (limit - clock.now) + part_of_grace * grace
        assert clock.now <= 1000 + (1 - reserve) * seconds + 1e-6


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    planned=st.integers(1, 60),
    cap=st.floats(1, 10),
    draw=PARTS,
    grace=st.floats(0, 5),
    floor=PARTS,
    durations=st.lists(st.tuples(PARTS, PARTS), min_size=60, max_size=60),
)
def test_whatever_contested_problems_draw_every_planned_one_gets_at_least_the_base_share(
    planned: int, cap: float, draw: float, grace: float, floor: float, durations: list[tuple[float, float]]
) -> None:
    """With a floor of up to the base share, too; `floor` is a part of it."""
    clock = Clock()
    base = Budget(3600, planned, grace=grace, clock=clock).left / planned
    budget = Budget(3600, planned, grace=grace, cap=cap, draw=draw, floor=floor * base, clock=clock)
    for part, part_of_grace in durations[:planned]:
        limits = budget.next_deadlines()
        assert limits.soft - clock.now >= base - 1e-6
        assert limits.hard - clock.now <= max(limits.soft - clock.now, cap * base) + 1e-6
        clock.now += part * (limits.hard - clock.now) + part_of_grace * grace


def stat_file(folder: Path, ticks: int) -> Path:
    path = folder / "stat"
    path.write_text(f"7 (a name) with (brackets) S {' '.join(map(str, range(4, 22)))} {ticks} 23 24\n")
    return path


def test_the_process_start_is_read_from_the_ticks_since_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_CLK_TCK": 100}[name])
    monkeypatch.setattr(time, "clock_gettime", lambda which: {time.CLOCK_BOOTTIME: 5000.0}[which])
    assert process_started(Clock(), stat=stat_file(tmp_path, 499_000 - 8_000)) == pytest.approx(1000 - 90)


@pytest.mark.parametrize("content", ["", "7 (name) S 1 2", "7 (name) S " + "x " * 40])
def test_without_a_readable_start_the_process_begins_now(tmp_path: Path, content: str) -> None:
    path = tmp_path / "stat"
    assert process_started(Clock(), stat=path) == 1000
    path.write_text(content)
    assert process_started(Clock(), stat=path) == 1000


@pytest.mark.parametrize("ticks", [0, 10**15])
def test_a_start_that_cannot_be_is_not_believed(tmp_path: Path, ticks: int) -> None:
    assert process_started(Clock(), stat=stat_file(tmp_path, ticks)) == 1000


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells when a process began")
def test_this_process_began_before_now_and_after_the_boot() -> None:
    age = time.monotonic() - process_started()
    assert 0 < age < time.clock_gettime(time.CLOCK_BOOTTIME)


def test_a_second_pass_shares_what_is_left_among_the_problems_that_it_has_to_solve() -> None:
    now = [0.0]
    budget = Budget(1000.0, 50, started=0.0, clock=lambda: now[0])
    for _ in range(4):
        budget.next_deadlines()
    now[0] = 400.0
    budget.replan(2)
    assert budget.problems_left == 2
    assert budget.next_deadline() == pytest.approx(400.0 + 300.0)
    now[0] = 600.0
    assert budget.next_deadline() == pytest.approx(1000.0)
    assert budget.problems_left == 0
