"""The provenance of versions: asked for once, a few at a time, and remembered."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from bookstore.errors import ObjectMissing
from bookstore.provenance import Provenance, from_metadata

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from bookstore.storage.base import ObjectStore

#: HEADs that one `Details` has under way at most: people who read leave room for saves that are shipped.
MAX_HEADS: Final = 8

#: Versions whose details are remembered; a forgotten one costs a HEAD.
REMEMBERED: Final = 10_000

_T = TypeVar("_T")

#: Names a version: its key and version id.
VersionName = tuple[str, str]


async def together(work: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    """Do several things at the same time; where one fails, the others are broken off before its error goes on."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


@dataclass(frozen=True, slots=True)
class Detail:
    """What a HEAD told of a version.

    Attributes
    ----------
    arrived : float or None
        When the store took it, in seconds since the epoch; None where the version is gone since it was listed.
    provenance : Provenance or None
        None where somebody else's program wrote it.
    """

    arrived: float | None
    provenance: Provenance | None


_GONE: Final = Detail(arrived=None, provenance=None)


class Details:
    """The provenance of versions, which never changes.

    Parameters
    ----------
    store : ObjectStore
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._remembered: OrderedDict[VersionName, Detail] = OrderedDict()
        self._places = asyncio.Semaphore(MAX_HEADS)

    def remembered(self, wanted: Iterable[VersionName]) -> dict[VersionName, Detail]:
        """The details of those versions that are known without asking the store."""
        return {name: detail for name in wanted if (detail := self._remembered.get(name)) is not None}

    async def fetch(self, wanted: Iterable[VersionName]) -> dict[VersionName, Detail]:
        """Tell the details of versions, with one HEAD for each that is not remembered.

        Raises
        ------
        StorageError
            One of them could not be asked for. That a version is gone is no error.
        """
        found: dict[VersionName, Detail] = {}
        lacking: list[VersionName] = []
        for name in dict.fromkeys(wanted):
            detail = self._remembered.get(name)
            if detail is None:
                lacking.append(name)
            else:
                self._remembered.move_to_end(name)
                found[name] = detail
        if lacking:
            found |= zip(lacking, await together(self._fetch(*name) for name in lacking), strict=True)
        return found

    async def _fetch(self, key: str, version_id: str) -> Detail:
        async with self._places:
            try:
                info = await self._store.head(key, version_id)
            except ObjectMissing:  # a lifecycle rule removed it since it was listed
                return _GONE
        detail = Detail(info.last_modified.timestamp(), from_metadata(info.metadata))
        # "null" is no name of one version: the next write while versioning is suspended replaces it.
        if version_id != "null":
            self._remembered[key, version_id] = detail
            if len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)
        return detail
