"""Runs what is asynchronous, so that Ctrl-C and a request to end leave everything in order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine
from typing import Any

_SIGNALS = [number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]


def run_async(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end, or until a signal asks to end: then the work is cancelled and may finish what it must.

    A signal that raised an exception wherever it comes would hit some task in the middle of a delivery.

    Raises
    ------
    KeyboardInterrupt
        A signal asked to end.
    """
    asked: list[int] = []

    async def until_asked() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)

        def end(number: int) -> None:
            asked.append(number)
            task.cancel()

        for number in _SIGNALS:
            with contextlib.suppress(NotImplementedError):  # Windows, where asyncio itself cancels at Ctrl-C
                loop.add_signal_handler(number, end, number)
        try:
            await task
        except asyncio.CancelledError:
            if not asked:
                raise

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        asyncio.run(until_asked())
    finally:
        # The loop leaves the system's own handlers behind.
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked:
        raise KeyboardInterrupt
