"""Reads what the bucket holds with this machine's settings: no contents manager, no outbox, nothing to wait for."""

from __future__ import annotations

import asyncio
import hashlib
from functools import cached_property
from typing import TYPE_CHECKING

from bookstore.publishing import Shelf
from bookstore.results import Side
from bookstore.scheduling import Schedules
from bookstore.service import store_of
from bookstore.versions import Versions

if TYPE_CHECKING:
    from bookstore.bookstore_config import BookstoreSettings
    from bookstore.results import Comparison, Version


class Reader:
    """What commands that only read need of `bookstore.library.Library`, which takes seconds to import.

    Parameters
    ----------
    settings : BookstoreSettings
    root_dir : str
        As for a server: prefixes may name it.
    """

    def __init__(self, settings: BookstoreSettings, root_dir: str) -> None:
        self._settings = settings
        self._root_dir = root_dir
        self._histories: dict[str, Versions] = {}
        self.store = store_of(settings)

    def versions(self, area: str) -> Versions:
        """The histories below one prefix."""
        if area not in self._histories:
            self._histories[area] = Versions(self.store, self._settings.prefix(area, self._root_dir))
        return self._histories[area]

    @cached_property
    def published(self) -> Shelf:
        """What is published; to be read only."""
        prefix = self._settings.prefix("published", self._root_dir)
        return Shelf(self.store, prefix, host="", root_dir=self._root_dir, before_write=_never)

    @cached_property
    def scheduled(self) -> Schedules:
        """What is scheduled; to be read only."""
        prefix = self._settings.prefix("scheduled", self._root_dir)
        return Schedules(self.store, prefix, host="", root_dir=self._root_dir, before_write=_never)

    async def compare(self, path: str, before: str, after: str, area: str) -> Comparison:
        """Compare two versions."""
        from bookstore.compare import MAX_COMPARED, compare

        versions, sides, contents = self.versions(area), [], []
        for version_id in (before, after):
            version = await versions.locate(path, version_id)
            contents.append(await versions.read(version, limit=MAX_COMPARED))
            sides.append(_side(version, contents[-1]))
        return await asyncio.to_thread(compare, *contents, before_side=sides[0], after_side=sides[1])


def _side(version: Version, content: bytes) -> Side:
    sha256 = version.sha256 or hashlib.sha256(content).hexdigest()
    return Side(version.path, version.version_id, len(content), sha256, version.saved_at or version.last_modified)


async def _never() -> None:
    raise AssertionError("what only reads does not write")
