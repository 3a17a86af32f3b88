"""Which replica a request goes to, with a clock that the test turns."""

from __future__ import annotations

import random
import threading
from collections import Counter

import pytest

from sctir_kaggle.engines import replicas as balances
from sctir_kaggle.engines.replicas import Balance, candidate_of


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_new_candidates_are_shared_out_evenly() -> None:
    balance = Balance(3)
    taken = [balance.take(f"p/{candidate}/0") for candidate in range(48)]
    assert Counter(taken) == {0: 16, 1: 16, 2: 16}
    assert balance.running == balance.taken == (16, 16, 16)


def test_a_candidate_keeps_its_replica_although_another_has_less_to_do() -> None:
    balance = Balance(2)
    first = balance.take("p/7/0")
    balance.give_back(first)
    others = [balance.take(f"p/{candidate}/0") for candidate in range(8, 20)]
    for _ in range(others.count(1 - first)):
        balance.give_back(1 - first)
    assert balance.running[1 - first] == 0
    assert balance.running[first] == 6
    assert balance.take("p/7/1") == first


def test_a_new_candidate_goes_where_least_runs_now() -> None:
    balance = Balance(3)
    for candidate in range(9):
        balance.take(f"p/{candidate}/0")
    balance.give_back(1)
    assert balance.take("p/9/0") == 1
    balance.give_back(2)
    balance.give_back(2)
    assert [balance.take(f"q/{candidate}/0") for candidate in range(2)] == [2, 2]


def test_where_nothing_runs_the_replicas_take_turns() -> None:
    balance = Balance(2)
    taken = []
    for candidate in range(10):
        taken.append(balance.take(f"p/{candidate}/0"))
        balance.give_back(taken[-1])
    assert Counter(taken) == {0: 5, 1: 5}
    assert (balance.running, balance.taken) == ((0, 0), (5, 5))


def test_one_to_be_avoided_gets_nothing_until_its_time_is_over() -> None:
    clock = Clock()
    balance = Balance(2, clock=clock)
    assert balance.take("p/0/0") == 0
    balance.avoid(0, until=110.0)
    assert {balance.take(f"p/{candidate}/0") for candidate in range(1, 9)} == {1}
    assert balance.take("p/0/1") == 1, "its prefix does not bind it to one that is to be avoided"
    clock.now = 110.0
    assert balance.take("q/0/0") == 0
    assert balance.take("p/0/2") == 1, "its prefix is there now"


def test_where_all_are_to_be_avoided_the_one_whose_time_ends_first_is_taken() -> None:
    balance = Balance(3, clock=Clock())
    for index, until in enumerate((130.0, 120.0, float("inf"))):
        balance.avoid(index, until)
    assert {balance.take(f"p/{candidate}/0") for candidate in range(5)} == {1}


def test_an_avoidance_can_be_lifted() -> None:
    balance = Balance(2)
    balance.avoid(0, until=float("inf"))
    balance.avoid(0, until=float("-inf"))
    assert balance.take("p/0/0") == 0


def test_a_request_is_not_sent_where_it_has_failed() -> None:
    balance = Balance(3)
    assert balance.take("p/0/0") == 0
    assert [balance.take("p/0/0", without={0}), balance.take("p/0/0", without={0, 1})] == [1, 2]
    with pytest.raises(ValueError, match="empty"):
        balance.take("p/0/0", without={0, 1, 2})


def test_a_forgotten_candidate_is_a_new_one() -> None:
    balance = Balance(2)
    assert balance.take("p/0/0") == 0
    balance.forget("p/0")
    balance.forget("never/seen")
    assert balance.take("p/0/1") == 1


def test_the_memory_of_candidates_is_bounded_and_keeps_those_used_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balances, "CANDIDATES_KEPT", 4)
    balance = Balance(2)
    for candidate in range(4):
        balance.give_back(balance.take(f"p/{candidate}/0"))
    balance.give_back(balance.take("p/0/1"))
    balance.give_back(balance.take("p/4/0"))  # now p/1 is the one not used for longest
    assert len(balance._replica_of) == 4
    assert set(balance._replica_of) == {"p/0", "p/2", "p/3", "p/4"}


def test_more_given_back_than_taken_is_a_bug() -> None:
    balance = Balance(2)
    with pytest.raises(ValueError, match="replica 1"):
        balance.give_back(1)
    with pytest.raises(ValueError, match="at least 1"):
        Balance(0)


def test_threads_may_use_it_at_once() -> None:
    balance = Balance(4)

    def work(seed: int) -> None:
        draw = random.Random(seed)
        for turn in range(2000):
            index = balance.take(f"p/{draw.randrange(200)}/{turn}")
            if draw.random() < 0.01:
                balance.avoid(index, float("inf") if draw.random() < 0.5 else 0.0)
            balance.give_back(index)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert balance.running == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("request_id", "candidate"), [("aime/2024/5/17/3", "aime/2024/5/17"), ("p/0/0", "p/0"), ("alone", "alone")]
)
def test_a_request_names_its_candidate(request_id: str, candidate: str) -> None:
    assert candidate_of(request_id) == candidate
