"""Go through every version below a folder, also on servers whose listings leave rows out over several pages.

A listing that fits on one page is whole everywhere. SeaweedFS (4.48) fills a page in the order in which it finds
things, sorts what it has by key, and goes on behind the last key: what it would have found later, but whose key is
smaller, never comes. It finds a folder ``a/`` at the name ``a`` and the versions of a key ``a`` at the name
``a.versions``, so only names disagree of which one begins with the other. Hence, where the pages of a store are not
known to follow one another: folders one by one; and of a page that is not the last, the keys that begin like its last
one are listed apart. What differs from that one before either name ends is in its place in both orders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bookstore.storage.base import ObjectStore, ObjectVersion, VersionPage

#: What parts a key into folders.
_DELIMITER: Final = "/"
_LARGEST_PAGE: Final = 1000
#: A key's longest size in bytes (S3 User Guide, "Creating object key names").
_LONGEST_KEY: Final = 1024
#: The greatest characters that XML allows of 4, 3, 2 and 1 bytes of UTF-8.
_GREATEST: Final = ("\U0010ffff", "\ufffd", "\u07ff", "\x7f")


def walk_versions(store: ObjectStore, prefix: str, *, limit: int = _LARGEST_PAGE) -> AsyncIterator[ObjectVersion]:
    """Tell every version and delete marker of all keys below a folder, each once.

    Parameters
    ----------
    store : ObjectStore
    prefix : str
        The empty string, or a prefix that ends in ``/``.
    limit : int
        Rows of a page.

    Yields
    ------
    ObjectVersion
        The rows of a key follow one another, the newest first; the keys come in no particular order. At most a page
        is held for each level of folders. What is written meanwhile may be missing.

    Raises
    ------
    ValueError
        For a prefix that is no folder.
    StorageError
        Of any kind, by the iteration.
    """
    if prefix and not prefix.endswith(_DELIMITER):
        raise ValueError(f"not a folder: {prefix!r} does not end in {_DELIMITER!r}")
    return _Walk(store, limit).folder(prefix)


class _Walk:
    """One walk: where to, and how many rows at a time."""

    def __init__(self, store: ObjectStore, limit: int) -> None:
        self._store = store
        self._limit = limit

    async def folder(self, prefix: str) -> AsyncIterator[ObjectVersion]:
        """Tell what is below a folder, at any depth."""
        page = await self._store.list_versions(prefix, limit=self._limit)
        if page.next_key_marker is not None and not page.in_key_order:
            rows = self._beginning_with(prefix, None)
        else:
            rows = self._pages(prefix, page)
        async for row in rows:
            yield row

    async def _pages(self, prefix: str, page: VersionPage) -> AsyncIterator[ObjectVersion]:
        """Tell the rows of a page and of those that follow it, of a store that leaves nothing out."""
        while True:
            for row in page.versions:
                yield row
            if page.next_key_marker is None:
                return
            page = await self._store.list_versions(
                prefix,
                key_marker=page.next_key_marker,
                version_id_marker=page.next_version_id_marker,
                limit=self._limit,
            )

    async def _key(self, key: str) -> AsyncIterator[ObjectVersion]:
        """Tell the rows of exactly one key, which lead those of the longer ones."""
        page = await self._store.list_versions(key, limit=self._limit)
        async for row in self._pages(key, page):
            if row.key != key:
                return
            yield row

    async def _stem(self, stem: str) -> AsyncIterator[ObjectVersion]:
        """Tell the key ``stem``, the folder ``stem/``, and all other keys that begin with ``stem``."""
        async for row in self._key(stem):
            yield row
        async for row in self.folder(stem + _DELIMITER):
            yield row
        async for row in self._beginning_with(stem, stem):
            yield row

    async def _beginning_with(self, prefix: str, stem: str | None) -> AsyncIterator[ObjectVersion]:
        """Tell all keys that begin with ``prefix``, but not the key ``stem`` and what is in the folder ``stem/``."""
        key_marker, version_id_marker = stem, None
        apart: str | None = None
        while True:
            page = await self._store.list_versions(
                prefix,
                key_marker=key_marker,
                version_id_marker=version_id_marker,
                delimiter=_DELIMITER,
                limit=self._limit,
            )
            names = _names(page) - {stem, f"{stem}{_DELIMITER}"}
            names -= {name for name in names if apart is not None and name.startswith(apart)}
            key_marker, version_id_marker = page.next_key_marker, page.next_version_id_marker
            apart = None if key_marker is None or not names else _stem_of(max(names, key=str.encode), prefix)
            if apart is not None:
                names -= {name for name in names if name.startswith(apart)}
                key_marker, version_id_marker = _behind(apart), None
            for row in page.versions:
                if row.key in names:
                    yield row
            for folder in page.folders:
                if folder in names:
                    async for row in self.folder(folder):
                        yield row
            if apart is not None:
                async for row in self._stem(apart):
                    yield row
            if key_marker is None:
                return


def _names(page: VersionPage) -> set[str]:
    return {*(row.key for row in page.versions), *page.folders}


def _stem_of(name: str, prefix: str) -> str | None:
    """Choose what the names begin with that a page which ends with ``name`` may have left out; None if nothing.

    It is longer than ``prefix``, and reaches up to where a name that ends there would have its place in doubt: before
    a character that sorts no later than the delimiter, which is later than the dot of ``.versions``.
    """
    rest = name[len(prefix) :]
    if not rest:
        return None
    length = next((place for place, character in enumerate(rest) if character <= _DELIMITER), len(rest))
    return prefix + rest[: max(length, 1)]


def _behind(stem: str) -> str:
    """Name a place behind all keys that begin with ``stem``."""
    room = _LONGEST_KEY - len(stem.encode())
    return stem + next((character for character in _GREATEST if len(character.encode()) <= room), "")
