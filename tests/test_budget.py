"""The wall clock, with a simulated one."""

from __future__ import annotations

import random

import pytest

from sctir_kaggle.budget import Budget


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
