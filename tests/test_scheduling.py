"""A pool of tasks: bounded, lazy, in order; lost tasks are handed on, failures in a row end it."""

from __future__ import annotations

import asyncio
import doctest
from collections.abc import Awaitable, Callable, Iterator

import pytest

from sctir_kaggle import scheduling
from sctir_kaggle.scheduling import MAX_LOSSES, Ended, TaskPool, WorkerLost
from sctir_kaggle.types import EngineError


def run(pool: TaskPool[int], tasks: Iterator[int] | range, *lanes: Callable[[int], Awaitable[Ended[int]]]) -> None:
    asyncio.run(asyncio.wait_for(pool.run(tasks, lanes), 60))


class Recorder:
    """A lane that records its tasks; `failures` maps a task to the reason why it fails."""

    def __init__(self, failures: dict[int, str] | None = None) -> None:
        self.tasks: list[int] = []
        self.most = self._now = 0
        self._failures = failures or {}

    async def __call__(self, task: int) -> Ended[int]:
        self.tasks.append(task)
        self._now += 1
        self.most = max(self.most, self._now)
        await asyncio.sleep(0)
        self._now -= 1
        return Ended(self._failures.get(task))


async def lost(task: int) -> Ended[int]:
    await asyncio.sleep(0)
    raise WorkerLost("the worker is gone")


def test_every_task_is_done_once_in_order_and_no_more_at_a_time_than_there_are_lanes() -> None:
    lane = Recorder()
    run(TaskPool(max_failures=1), range(20), lane, lane, lane)
    assert lane.tasks == list(range(20))
    assert lane.most == 3


def test_tasks_are_taken_only_as_lanes_become_free() -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(10):
            taken.append(number)
            yield number

    async def lane(task: int) -> Ended[int]:
        assert len(taken) <= task + 2
        await asyncio.sleep(0)
        return Ended()

    run(TaskPool(max_failures=1), tasks(), lane, lane)
    assert len(taken) == 10


def test_a_task_that_leads_to_another_keeps_its_lane() -> None:
    seen: list[int] = []

    async def lane(task: int) -> Ended[int]:
        seen.append(task)
        return Ended(then=task + 100 if task < 200 else None)

    run(TaskPool(max_failures=1), range(2), lane)
    assert seen == [0, 100, 200, 1, 101, 201]


def test_failures_in_a_row_end_the_run_and_each_is_reported_before() -> None:
    failed: list[tuple[int, str]] = []
    pool = TaskPool[int](max_failures=3, noun="attempts", advice="try later", on_failed=lambda *it: failed.append(it))
    lane = Recorder({0: "a", 1: "b", 3: "c", 4: "d", 5: "e"})
    with pytest.raises(EngineError, match=r"^3 attempts in a row failed, the last with: e; try later$"):
        run(pool, range(100), lane)
    assert lane.tasks == [0, 1, 2, 3, 4, 5]
    assert failed == [(0, "a"), (1, "b"), (3, "c"), (4, "d"), (5, "e")]


def test_failures_that_successes_part_end_nothing() -> None:
    lane = Recorder(dict.fromkeys(range(1, 20, 2), "odd"))
    run(TaskPool(max_failures=2), range(20), lane)
    assert len(lane.tasks) == 20


def test_a_lost_task_goes_to_another_lane_after_the_others_even_if_that_was_idle() -> None:
    lane, handed_on = Recorder(), list[int]()
    run(TaskPool(max_failures=1, on_lost=handed_on.append), range(2), lost, lane)
    assert lane.tasks == [1, 0]
    assert handed_on == [0]


def test_a_task_lost_with_several_workers_fails() -> None:
    failed: list[str] = []

    async def fragile(task: int) -> Ended[int]:
        return await lost(task) if task == 0 else Ended()

    pool = TaskPool[int](max_failures=2, on_failed=lambda task, why: failed.append(f"{task}: {why}"))
    run(pool, range(4), *[fragile] * (MAX_LOSSES + 1))
    assert failed == [f"0: lost with {MAX_LOSSES} workers: the worker is gone"]


def test_without_a_lane_left_the_run_ends_and_says_how_much_is_undone() -> None:
    served = 0

    async def dies_after_two(task: int) -> Ended[int]:
        nonlocal served
        served += 1
        return Ended() if served < 3 else await lost(task)

    with pytest.raises(EngineError, match=r"^no worker is left for 8 of 10 tasks; start more$"):
        run(TaskPool(max_failures=1, advice="start more"), range(10), dies_after_two)


def test_a_bug_in_one_lane_is_raised_and_the_other_lanes_are_cancelled() -> None:
    cancelled: list[int] = []

    async def slow(task: int) -> Ended[int]:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(task)
            raise
        return Ended()

    async def broken(task: int) -> Ended[int]:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(TaskPool(max_failures=1), range(2), slow, broken)
    assert cancelled == [0]


def test_no_tasks_are_done_at_once() -> None:
    lane = Recorder()
    run(TaskPool(max_failures=1), range(0), lane)
    assert lane.tasks == []


def test_the_example_in_the_docstring_holds() -> None:
    assert doctest.testmod(scheduling, extraglobs={"asyncio": asyncio}).failed == 0
