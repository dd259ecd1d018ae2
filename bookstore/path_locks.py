"""One lock per path, first in first out, kept only while somebody holds or awaits it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass


class PathLocks(dict[str, asyncio.Lock]):
    """The locks in use, by path.

    A lock is made when the first asks for it and forgotten when the last has left, so the mapping is as long as the
    work under way. `asyncio.Lock` wakes those who wait in the order in which they came.
    """

    def __init__(self) -> None:
        super().__init__()
        self._users: dict[str, int] = {}

    @asynccontextmanager
    async def hold(self, path: str) -> AsyncIterator[None]:
        """Hold a path's lock, in turn."""
        lock = self.setdefault(path, asyncio.Lock())
        self._users[path] = self._users.get(path, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._users[path] -= 1
            if not self._users[path]:
                del self._users[path], self[path]


@dataclass(slots=True)
class _Holding:
    """What one call holds; other tasks that inherit the context see when it has ended."""

    paths: frozenset[str]
    outer: _Holding | None = None
    active: bool = True

    def all_paths(self) -> frozenset[str]:
        """What is held now: a task may outlive the call within a call that started it."""
        outer = self.outer.all_paths() if self.outer is not None else frozenset()
        return self.paths | outer if self.active else outer


class ReentrantPathLocks:
    """Path locks that a call may take again further down: a manager's ``copy`` calls its ``save``."""

    def __init__(self) -> None:
        self.locks = PathLocks()
        self._holding: ContextVar[_Holding | None] = ContextVar("bookstore_paths_held", default=None)

    @asynccontextmanager
    async def hold(self, paths: Iterable[str]) -> AsyncIterator[None]:
        """Hold the locks of all the paths but those that this call holds already.

        Several locks are always taken in the same order, so that two renames across each other cannot wait for each
        other.
        """
        outer = self._holding.get()
        held = outer.all_paths() if outer is not None else frozenset()
        wanted = sorted(set(paths) - held)
        if not wanted:
            yield
            return
        async with AsyncExitStack() as stack:
            for path in wanted:
                await stack.enter_async_context(self.locks.hold(path))
            mine = _Holding(frozenset(wanted), outer)
            token = self._holding.set(mine)
            try:
                yield
            finally:
                mine.active = False
                self._holding.reset(token)
