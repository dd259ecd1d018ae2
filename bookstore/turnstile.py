"""Lets tasks go on one by one, one in each round of the event loop, so that many at once do not hold up the rest."""

from __future__ import annotations

import asyncio
from collections import deque


class Turnstile:
    """Makes tasks that all have something to compute take turns with everything else that the loop has to do.

    Without it what becomes ready in one round is computed in one round: a dozen requests to build and to sign take as
    long as a person's request then has to wait.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_turning = False

    async def through(self) -> None:
        """Wait for a turn, first in first out."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append(turn)
        if not self._is_turning:
            self._is_turning = True
            loop.call_soon(self._let_one_through, loop)
        await turn

    def _let_one_through(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # not cancelled
                turn.set_result(None)
                # Who comes next, in this round or later, waits for the next round.
                loop.call_soon(self._let_one_through, loop)
                return
        self._is_turning = False
