"""`bookstore.retry`: how long to wait before another try."""

# ruff: noqa: S311 - chance that can be repeated is what a test needs

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bookstore.errors import AccessDenied, BucketMissing, StoreFault, StoreTimeout
from bookstore.retry import BASE, CAP, SLOW_BASE, attempt_timeout, backoff, slow_retry, wait_after

_FAILURES = st.one_of(st.integers(1, 40), st.integers(1, 10**18))
_CHANCES = st.floats(0, 1, exclude_max=True)


def _most() -> float:
    return 1.0


def _least() -> float:
    return 0.0


@given(_FAILURES, _CHANCES)
def test_no_wait_leaves_its_bounds(failures, chance):
    assert 0 <= backoff(failures, lambda: chance) <= CAP
    assert SLOW_BASE / 2 <= slow_retry(failures, lambda: chance) <= CAP


def test_the_bound_doubles_from_half_a_second_to_a_minute():
    assert [backoff(n, _most) for n in range(1, 10)] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    assert BASE == 0.5
    assert CAP == 60


def test_the_slow_bound_doubles_from_eight_seconds_to_a_minute():
    assert [slow_retry(n, _most) for n in range(1, 6)] == [8, 16, 32, 60, 60]
    assert [slow_retry(n, _least) for n in range(1, 6)] == [4, 8, 16, 30, 30]


def test_a_store_that_is_away_for_weeks_overflows_nothing():
    assert backoff(10**100, _most) == CAP
    assert slow_retry(10**100, _most) == CAP


@pytest.mark.parametrize("failures", [1, 5, 50])
def test_the_whole_of_a_backoff_is_left_to_chance(failures):
    chance = random.Random(7).random
    bound = backoff(failures, _most)
    waits = [backoff(failures, chance) for _ in range(400)]
    assert min(waits) < 0.1 * bound
    assert max(waits) > 0.9 * bound
    assert 0.4 * bound < sum(waits) / len(waits) < 0.6 * bound
    assert len(set(waits)) == len(waits)


def test_half_of_a_slow_wait_is_left_to_chance():
    chance = random.Random(7).random
    waits = [slow_retry(3, chance) for _ in range(400)]
    assert 16 <= min(waits) < 17
    assert 31 < max(waits) <= 32


def test_what_passes_by_itself_is_tried_sooner_than_what_somebody_has_to_mend():
    assert wait_after(StoreTimeout(""), 1, _most) == backoff(1, _most)
    assert wait_after(StoreFault(""), 4, _most) == backoff(4, _most)
    assert wait_after(BucketMissing(""), 1, _most) == slow_retry(1, _most)
    assert wait_after(AccessDenied(""), 2, _most) == slow_retry(2, _most)


def test_an_attempt_may_take_longer_the_more_there_is_to_send():
    assert attempt_timeout(0) == 30
    assert attempt_timeout(100_000) == 31
    assert attempt_timeout(100_000_000) == 1030
