"""Tasks go on one by one, one in each round of the event loop."""

from __future__ import annotations

import asyncio
import itertools

from bookstore.turnstile import Turnstile


async def test_one_goes_on_in_each_round_first_in_first_out():
    turnstile, through, rounds = Turnstile(), [], []

    async def go(number):
        await turnstile.through()
        through.append(number)

    tasks = [asyncio.create_task(go(number)) for number in range(10)]
    while not all(task.done() for task in tasks):
        rounds.append(len(through))
        await asyncio.sleep(0)
    assert through == list(range(10))
    assert max(later - earlier for earlier, later in itertools.pairwise(rounds)) == 1


async def test_the_rest_of_the_loop_has_its_turn_in_between():
    turnstile, order = Turnstile(), []

    async def go():
        await turnstile.through()
        order.append("through")

    async def other():
        for _ in range(20):
            order.append("other")
            await asyncio.sleep(0)

    await asyncio.gather(*(go() for _ in range(8)), other())
    assert "through through" not in " ".join(order)


async def test_who_comes_later_waits_for_the_next_round():
    turnstile, rounds = Turnstile(), 0

    async def count():
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await turnstile.through()
    first = rounds
    await turnstile.through()
    assert rounds > first
    counting.cancel()


async def test_who_goes_away_holds_up_nobody():
    turnstile = Turnstile()
    tasks = [asyncio.create_task(turnstile.through()) for _ in range(5)]
    await asyncio.sleep(0)
    for task in tasks[:4]:
        task.cancel()
    await asyncio.wait_for(tasks[4], 5)
    await asyncio.wait_for(turnstile.through(), 5)
