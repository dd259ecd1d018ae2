"""Scheduled copies: make one, read it, take it back, and what is scheduled."""

from __future__ import annotations

from jupyter_server.auth.decorator import authorized
from tornado import web

from bookstore.rest.base import BookstoreAPIHandler
from bookstore.rest.bodies import Field


class _Scheduling(BookstoreAPIHandler):
    """What the routes that schedule share."""

    async def schedule(self, path: str) -> None:
        """Make a scheduled copy."""
        asked = self.fields(Field("version_id", "version"), Field("parameters", "object"))
        if asked["version_id"] is None:
            await self.require("read", "contents")
        self.answer(await self.library.schedule(path, **asked))

    async def unschedule(self, path: str) -> None:
        """Hide a scheduled copy."""
        self.answer(await self.library.unschedule(path))

    async def read(self, path: str) -> None:
        """Tell a scheduled copy with its parameters."""
        self.answer(await self.library.scheduled_copy(path, self.version("version_id")))


class BookstoreScheduleHandler(_Scheduling):
    """Makes a scheduled copy of a notebook, and takes it back."""

    @web.authenticated
    @authorized
    async def put(self, path: str) -> None:
        """Make one, and answer where it is."""
        await self.schedule(path)

    @web.authenticated
    @authorized
    async def delete(self, path: str) -> None:
        """Take it back; its versions stay."""
        await self.unschedule(path)


class BookstoreScheduledCopyHandler(_Scheduling):
    """One scheduled copy: the same under another name, and what it is."""

    @web.authenticated
    @authorized
    async def get(self, path: str) -> None:
        """Answer with the copy and its parameters."""
        await self.read(path)

    @web.authenticated
    @authorized
    async def put(self, path: str) -> None:
        """Make one, and answer where it is."""
        await self.schedule(path)

    @web.authenticated
    @authorized
    async def delete(self, path: str) -> None:
        """Take it back; its versions stay."""
        await self.unschedule(path)


class BookstoreScheduledHandler(BookstoreAPIHandler):
    """All that is scheduled."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with a page of it, in the order of the keys."""
        self.answer(await self.library.scheduled(limit=self.limit(), cursor=self.text("cursor")))
