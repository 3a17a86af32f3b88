"""How many requests are on their way at once, while servers say that these are too many and after."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from sctir_kaggle.engines.openai_client import RequestLimiter


async def fill(limiter: RequestLimiter, count: int) -> tuple[list[asyncio.Task[None]], asyncio.Event, list[int]]:
    """So many that want in and stay until the event; the list says who got in, in order."""
    leave, inside = asyncio.Event(), list[int]()

    async def visit(number: int) -> None:
        async with limiter:
            inside.append(number)
            await leave.wait()

    tasks = [asyncio.ensure_future(visit(number)) for number in range(count)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks, leave, inside


def test_no_more_than_its_slots_are_let_in_and_in_the_order_in_which_they_came() -> None:
    async def story() -> None:
        tasks, leave, inside = await fill(RequestLimiter(3), 7)
        assert inside == [0, 1, 2]
        leave.set()
        await asyncio.gather(*tasks)
        assert inside == list(range(7))

    asyncio.run(story())


def test_being_told_that_they_are_too_many_lets_fewer_in_once_for_all_that_were_inside() -> None:
    async def story() -> None:
        limiter = RequestLimiter(100)
        tasks, leave, _ = await fill(limiter, 100)
        for _ in range(50):
            limiter.narrow()
        assert limiter.limit == 80
        leave.set()
        await asyncio.gather(*tasks)
        limiter.narrow()
        assert limiter.limit < 80

    asyncio.run(story())


def test_what_is_served_widens_it_again_up_to_its_slots() -> None:
    async def story() -> None:
        limiter = RequestLimiter(10)
        for _ in range(20):
            limiter.narrow()
        assert limiter.limit == 1
        for _ in range(200):
            async with limiter:
                pass
        assert limiter.limit == 10

    asyncio.run(story())


def test_what_fails_inside_does_not_widen_it() -> None:
    async def story() -> None:
        limiter = RequestLimiter(10)
        limiter.narrow()
        for _ in range(200):
            with suppress(ValueError):
                async with limiter:
                    raise ValueError
        assert limiter.limit == 8

    asyncio.run(story())


@pytest.mark.parametrize("let_in_first", [False, True], ids=["while it waits", "in the step in which it is let in"])
def test_one_that_is_cancelled_takes_no_place(let_in_first: bool) -> None:
    async def story() -> None:
        limiter = RequestLimiter(1)
        async with limiter:
            tasks, leave, inside = await fill(limiter, 2)
            if not let_in_first:
                tasks[0].cancel()
                await asyncio.sleep(0)
        tasks[0].cancel()
        leave.set()
        await asyncio.wait_for(tasks[1], 60)
        assert inside == [1]

    asyncio.run(story())
