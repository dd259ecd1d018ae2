"""When to try again: pure functions of the number of failures and a source of chance."""

from __future__ import annotations

from collections.abc import Callable

from bookstore.errors import BookstoreError

#: Seconds; the first wait is at most this long.
BASE = 0.5

#: Seconds; no wait is longer.
CAP = 60.0

#: Seconds; the first wait after an error that will not pass by itself.
SLOW_BASE = 8.0


def backoff(failures: int, chance: Callable[[], float]) -> float:
    """Exponential backoff with full jitter, for what may pass by itself.

    Many servers that lost one store together must not come back together, so the whole wait is left to chance
    (AWS Architecture Blog, "Exponential Backoff And Jitter").

    Parameters
    ----------
    failures : int
        Failures in a row, at least 1.
    chance : Callable[[], float]
        Gives a number from 0 up to 1, as `random.random`.

    Returns
    -------
    float
        Seconds, from 0 up to 60.
    """
    return chance() * _ceiling(BASE, failures)


def slow_retry(failures: int, chance: Callable[[], float]) -> float:
    """The wait after an error that somebody has to mend; short at first, since somebody may be mending it now.

    Returns
    -------
    float
        Seconds: from half of the bound up to the bound, which grows from 8 to 60.
    """
    return (0.5 + chance() / 2) * _ceiling(SLOW_BASE, failures)


def wait_after(error: BookstoreError, failures: int, chance: Callable[[], float]) -> float:
    """The wait that fits the error: `backoff` for what may pass, `slow_retry` for the rest."""
    return (backoff if error.transient else slow_retry)(failures, chance)


def attempt_timeout(size: int) -> float:
    """How long one attempt to store may take: half a minute, and a second for every 100 kB.

    Parameters
    ----------
    size : int
        Bytes to send.

    Returns
    -------
    float
        Seconds.
    """
    return 30.0 + size / 100_000


def _ceiling(base: float, failures: int) -> float:
    # Bounded before the power is taken: a store may be away for weeks.
    return min(CAP, base * 2.0 ** min(failures - 1, 16))
