"""Which replica a request goes to, with a clock that the test turns."""

from __future__ import annotations

import random
import threading
from collections import Counter

import pytest

from sctir_kaggle.engines import replicas as module
from sctir_kaggle.engines.replicas import LoadBalancer, candidate_of


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_new_candidates_are_shared_out_evenly() -> None:
    balancer = LoadBalancer(3)
    taken = [balancer.acquire(f"p/{candidate}/0") for candidate in range(48)]
    assert Counter(taken) == {0: 16, 1: 16, 2: 16}
    assert balancer.running == balancer.taken == (16, 16, 16)


def test_a_candidate_keeps_its_replica_although_another_has_less_to_do() -> None:
    balancer = LoadBalancer(2)
    first = balancer.acquire("p/7/0")
    balancer.release(first)
    others = [balancer.acquire(f"p/{candidate}/0") for candidate in range(8, 20)]
    for _ in range(others.count(1 - first)):
        balancer.release(1 - first)
    assert balancer.running[1 - first] == 0
    assert balancer.running[first] == 6
    assert balancer.acquire("p/7/1") == first


def test_a_new_candidate_goes_where_least_runs_now() -> None:
    balancer = LoadBalancer(3)
    for candidate in range(9):
        balancer.acquire(f"p/{candidate}/0")
    balancer.release(1)
    assert balancer.acquire("p/9/0") == 1
    balancer.release(2)
    balancer.release(2)
    assert [balancer.acquire(f"q/{candidate}/0") for candidate in range(2)] == [2, 2]


def test_where_nothing_runs_the_replicas_take_turns() -> None:
    balancer = LoadBalancer(2)
    taken = []
    for candidate in range(10):
        taken.append(balancer.acquire(f"p/{candidate}/0"))
        balancer.release(taken[-1])
    assert Counter(taken) == {0: 5, 1: 5}
    assert (balancer.running, balancer.taken) == ((0, 0), (5, 5))


def test_one_to_be_avoided_gets_nothing_until_its_time_is_over() -> None:
    clock = Clock()
    balancer = LoadBalancer(2, clock=clock)
    assert balancer.acquire("p/0/0") == 0
    balancer.avoid(0, until=110.0)
    assert {balancer.acquire(f"p/{candidate}/0") for candidate in range(1, 9)} == {1}
    assert balancer.acquire("p/0/1") == 1, "its prefix does not bind it to one that is to be avoided"
    clock.now = 110.0
    assert balancer.acquire("q/0/0") == 0
    assert balancer.acquire("p/0/2") == 1, "its prefix is there now"


def test_where_all_are_to_be_avoided_the_one_whose_time_ends_first_is_taken() -> None:
    balancer = LoadBalancer(3, clock=Clock())
    for index, until in enumerate((130.0, 120.0, float("inf"))):
        balancer.avoid(index, until)
    assert {balancer.acquire(f"p/{candidate}/0") for candidate in range(5)} == {1}


def test_an_avoidance_can_be_lifted() -> None:
    balancer = LoadBalancer(2)
    balancer.avoid(0, until=float("inf"))
    balancer.avoid(0, until=float("-inf"))
    assert balancer.acquire("p/0/0") == 0


def test_a_request_is_not_sent_where_it_has_failed() -> None:
    balancer = LoadBalancer(3)
    assert balancer.acquire("p/0/0") == 0
    assert [balancer.acquire("p/0/0", without={0}), balancer.acquire("p/0/0", without={0, 1})] == [1, 2]
    with pytest.raises(ValueError, match="empty"):
        balancer.acquire("p/0/0", without={0, 1, 2})


def test_the_memory_of_candidates_is_bounded_and_keeps_those_used_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CANDIDATES_KEPT", 4)
    balancer = LoadBalancer(2)
    for candidate in range(4):
        balancer.release(balancer.acquire(f"p/{candidate}/0"))
    balancer.release(balancer.acquire("p/0/1"))
    balancer.release(balancer.acquire("p/4/0"))  # now p/1 is the one not used for longest
    assert len(balancer._replica_of) == 4
    assert set(balancer._replica_of) == {"p/0", "p/2", "p/3", "p/4"}


def test_more_released_than_acquired_is_a_bug() -> None:
    balancer = LoadBalancer(2)
    with pytest.raises(ValueError, match="replica 1"):
        balancer.release(1)
    with pytest.raises(ValueError, match="at least 1"):
        LoadBalancer(0)


def test_threads_may_use_it_at_once() -> None:
    balancer = LoadBalancer(4)

    def work(seed: int) -> None:
        draw = random.Random(seed)
        for turn in range(2000):
            index = balancer.acquire(f"p/{draw.randrange(200)}/{turn}")
            if draw.random() < 0.01:
                balancer.avoid(index, float("inf") if draw.random() < 0.5 else 0.0)
            balancer.release(index)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert balancer.running == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("request_id", "candidate"), [("aime/2024/5/17/3", "aime/2024/5/17"), ("p/0/0", "p/0"), ("alone", "alone")]
)
def test_a_request_names_its_candidate(request_id: str, candidate: str) -> None:
    assert candidate_of(request_id) == candidate
