"""`bookstore.path_locks`: one at a time per path, in the order of asking, and nothing kept afterwards."""

# ruff: noqa: S311 - chance that can be repeated is what a test needs

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bookstore.path_locks import PathLocks, ReentrantPathLocks


async def _turns(count: int = 5) -> None:
    """Let everything that can run do so."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_one_path_is_held_by_one_at_a_time_in_the_order_of_asking():
    locks = PathLocks()
    order: list[int] = []
    inside = 0

    async def work(number: int) -> None:
        nonlocal inside
        async with locks.hold("a"):
            inside += 1
            assert inside == 1
            order.append(number)
            await _turns(random.Random(number).randrange(4))
            inside -= 1

    await asyncio.gather(*(work(n) for n in range(50)))
    assert order == list(range(50))


async def test_a_newcomer_does_not_overtake_at_the_moment_of_release():
    locks = PathLocks()
    order: list[str] = []

    async def work(name: str) -> None:
        async with locks.hold("a"):
            order.append(name)

    async with locks.hold("a"):
        waiting = asyncio.create_task(work("waiting"))
        await _turns()
    await work("newcomer")
    await waiting
    assert order == ["waiting", "newcomer"]


async def test_paths_do_not_wait_for_each_other(at_most):
    locks = PathLocks()
    async with locks.hold("a"), at_most(1), locks.hold("b"):
        assert set(locks) == {"a", "b"}


async def test_nothing_is_kept_when_the_work_is_done():
    locks = PathLocks()

    async def work(path: str) -> None:
        async with locks.hold(path):
            assert isinstance(locks[path], asyncio.Lock)
            assert locks[path].locked()
            await _turns(2)

    await asyncio.gather(*(work(str(n % 100)) for n in range(300)))
    assert not locks
    assert not locks._users


async def test_a_waiter_that_gives_up_neither_keeps_nor_breaks_the_line():
    locks = PathLocks()
    order: list[int] = []

    async def work(number: int) -> None:
        async with locks.hold("a"):
            order.append(number)

    async with locks.hold("a"):
        waiters = [asyncio.create_task(work(n)) for n in range(4)]
        await _turns()
        waiters[0].cancel()
        waiters[2].cancel()
        await _turns()
        assert locks["a"].locked()
    await asyncio.gather(*waiters, return_exceptions=True)
    assert order == [1, 3]
    assert not locks
    assert not locks._users


async def test_a_waiter_cancelled_just_as_its_turn_comes_passes_the_turn_on(at_most):
    locks = PathLocks()
    order: list[int] = []

    async def work(number: int) -> None:
        async with locks.hold("a"):
            order.append(number)

    async with locks.hold("a"):
        waiters = [asyncio.create_task(work(n)) for n in range(2)]
        await _turns()
    waiters[0].cancel()
    async with at_most(1):
        await asyncio.gather(*waiters, return_exceptions=True)
    assert order == [1]
    assert not locks


async def test_a_lock_is_given_back_when_the_work_fails(at_most):
    locks = PathLocks()
    with pytest.raises(RuntimeError):
        async with locks.hold("a"):
            raise RuntimeError
    assert not locks
    async with at_most(1), locks.hold("a"):
        pass


async def test_a_call_may_take_its_own_paths_again(at_most):
    locks = ReentrantPathLocks()
    async with at_most(1), locks.hold(["a", "b"]), locks.hold(["b"]), locks.hold(["a", "b"]):
        assert set(locks.locks) == {"a", "b"}
    assert not locks.locks


async def test_leaving_the_inner_hold_gives_nothing_of_the_outer_back():
    locks = ReentrantPathLocks()
    async with locks.hold(["a"]):
        async with locks.hold(["a", "b"]):
            assert set(locks.locks) == {"a", "b"}
        assert set(locks.locks) == {"a"}
        assert locks.locks["a"].locked()
    assert not locks.locks


async def test_another_task_waits_although_the_same_object_is_asked():
    locks = ReentrantPathLocks()
    order: list[str] = []

    async def other() -> None:
        async with locks.hold(["a"]):
            order.append("other")

    task = asyncio.create_task(other())
    async with locks.hold(["a"]):
        await _turns()
        order.append("first")
    await task
    assert order == ["first", "other"]


async def test_a_task_started_inside_counts_as_holder_only_while_the_holder_holds(at_most):
    locks = ReentrantPathLocks()
    order: list[str] = []
    may_go = asyncio.Event()

    async def child() -> None:
        async with at_most(1), locks.hold(["a"]):
            order.append("child, early")
        await may_go.wait()
        async with locks.hold(["a"]):
            order.append("child, late")

    async with locks.hold(["a"]):
        task = asyncio.create_task(child())
        await _turns()
    async with locks.hold(["a"]):
        may_go.set()
        await _turns()
        order.append("a stranger")
    await task
    assert order == ["child, early", "a stranger", "child, late"]


async def test_a_task_that_outlives_an_inner_hold_still_belongs_to_the_outer(at_most):
    locks = ReentrantPathLocks()
    inner_is_over = asyncio.Event()

    async def child() -> None:
        await inner_is_over.wait()
        async with locks.hold(["outer"]):
            pass

    async with at_most(1), locks.hold(["outer"]):
        async with locks.hold(["inner"]):
            task = asyncio.create_task(child())
        inner_is_over.set()
        await task


async def test_two_renames_across_each_other_both_end(at_most):
    locks = ReentrantPathLocks()

    async def rename(old: str, new: str) -> None:
        async with locks.hold([old, new]):
            await _turns(3)

    async with at_most(2):
        await asyncio.gather(*(rename(*pair) for pair in [("a", "b"), ("b", "a")] * 20))
    assert not locks.locks


async def test_a_path_named_twice_is_taken_once(at_most):
    locks = ReentrantPathLocks()
    async with at_most(1), locks.hold(["a", "a"]):
        assert set(locks.locks) == {"a"}


async def test_giving_up_while_waiting_for_the_second_path_frees_the_first():
    locks = ReentrantPathLocks()

    async def both() -> None:
        async with locks.hold(["a", "b"]):
            pass

    async with locks.hold(["b"]):
        # In a context of its own: a task made here would count as the holder.
        task = contextvars.Context().run(asyncio.get_running_loop().create_task, both())
        await _turns()
        assert locks.locks["a"].locked()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert set(locks.locks) == {"b"}
    assert not locks.locks


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.sets(st.sampled_from("abcd"), min_size=1, max_size=3), st.integers(0, 3), st.booleans()),
        min_size=1,
        max_size=25,
    )
)
def test_any_mixture_ends_and_never_shares_a_path(jobs):
    async def scene() -> None:
        locks = ReentrantPathLocks()
        held: set[str] = set()

        async def job(paths: set[str], turns: int) -> None:
            async with locks.hold(paths):
                assert not held & paths
                held.update(paths)
                await _turns(turns)
                held.difference_update(paths)

        tasks = [asyncio.create_task(job(paths, turns)) for paths, turns, _ in jobs]
        await _turns(2)
        for task, (_, _, gives_up) in zip(tasks, jobs, strict=True):
            if gives_up and not held:
                task.cancel()
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results)
        assert not locks.locks

    asyncio.run(scene())
