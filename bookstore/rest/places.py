"""Places that few may hold at a time and not too many may wait for: what one does must not keep others from working."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bookstore.errors import ServerBusy


class Places:
    """A number of places, first come, first served.

    Parameters
    ----------
    what : str
        What is done in them, for errors: ``contents are sent``.
    count : int
        How many there are.
    share : int, optional
        How many of them one may hold; all if left out.
    waiting : int
        How many may wait at a time.
    """

    def __init__(self, what: str, count: int, *, share: int | None = None, waiting: int) -> None:
        self._what = what
        self._count = count
        self._share = count if share is None else share
        self._most_waiting = waiting
        self._held: Counter[str] = Counter()
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def place(self, who: str, patience: float) -> AsyncIterator[None]:
        """Hold a place.

        Parameters
        ----------
        who : str
            Whose share it is part of.
        patience : float
            Seconds to wait for it at most.

        Raises
        ------
        ServerBusy
            None became free in time, or too many wait already.
        """
        await self._take(who, patience)
        try:
            yield
        finally:
            self._give_back(who)

    async def _take(self, who: str, patience: float) -> None:
        # Whoever waits could take none of those that are free: they are handed on as soon as they are given back.
        if self._is_free_for(who):
            self._held[who] += 1
            return
        if len(self._waiting) >= self._most_waiting:
            raise ServerBusy(f"Too many {self._what}, and {len(self._waiting)} more wait already.")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((who, turn))
        try:
            await asyncio.wait([turn], timeout=patience)
        except asyncio.CancelledError:
            if turn.done():
                self._give_back(who)
            raise
        finally:
            if not turn.done():
                self._waiting.remove((who, turn))
        if not turn.done():
            raise ServerBusy(f"As many {self._what} as may be at a time; none was done within {patience:g} s.")

    def _give_back(self, who: str) -> None:
        self._held[who] -= 1
        if not self._held[who]:
            del self._held[who]
        for waiter in list(self._waiting):
            who_waits, turn = waiter
            if self._is_free_for(who_waits):
                self._waiting.remove(waiter)
                self._held[who_waits] += 1
                turn.set_result(None)

    def _is_free_for(self, who: str) -> bool:
        return sum(self._held.values()) < self._count and self._held[who] < self._share
