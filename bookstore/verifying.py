"""Reads every version below a prefix again, and checks its bytes against what was saved."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from bookstore.errors import StorageError
from bookstore.provenance import from_metadata
from bookstore.results import Result
from bookstore.retry import backoff
from bookstore.s3_paths import RESERVED
from bookstore.storage.walk import walk_versions

if TYPE_CHECKING:
    from bookstore.storage.base import ObjectStore, ObjectVersion

#: How often a version is read before it counts as unreadable, where the error may pass by itself.
ATTEMPTS = 4

#: How many versions of keys that bookstore never wrote are named; they are all counted.
NAMED = 100

#: The code of a label or of parameters that are no JSON.
NOT_JSON = "NotJSON"

#: Bytes of one of bookstore's own documents that are held to be parsed; all that it writes are smaller.
_LARGEST_DOCUMENT = 64 * 1024 * 1024

#: Keys of bookstore's own objects below any prefix; none of them carries provenance.
_OWN = re.compile(rf"(?:.*/)?{re.escape(RESERVED)}/.+", re.DOTALL)

#: Those of its own objects that are JSON documents; parameters are named by their SHA-256.
_DOCUMENT = re.compile(
    rf"(?:.*/)?{re.escape(RESERVED)}/(?:labels/.+|parameters/(?P<sha256>[0-9a-f]{{64}}))\.json", re.DOTALL
)


@dataclass(frozen=True)
class Altered(Result):
    """A version whose bytes are not those that were saved.

    Attributes
    ----------
    key, version_id : str
    expected, found : str
        SHA-256, lower-case hex: as saved, and of the bytes that the store holds.
    """

    key: str
    version_id: str
    expected: str
    found: str


@dataclass(frozen=True)
class Unreadable(Result):
    """A version that the store lists and does not give back, or a label or parameters that nobody can parse.

    Attributes
    ----------
    key, version_id : str
    code, message : str
        Of the last error; `NOT_JSON` where the bytes could be read and make no sense.
    """

    key: str
    version_id: str
    code: str
    message: str


@dataclass(frozen=True)
class Unproven(Result):
    """A version that says nothing of what its bytes should be: another program wrote it.

    Attributes
    ----------
    key, version_id : str
    """

    key: str
    version_id: str


@dataclass(frozen=True)
class Foreign(Result):
    """A version of a key of bookstore's that bookstore did not write, later than one that it did.

    Attributes
    ----------
    key, version_id : str
    is_newest : bool
        True where it is what everybody reads who asks for no version.
    """

    key: str
    version_id: str
    is_newest: bool


@dataclass(frozen=True)
class Verified(Result):
    """What reading everything again has shown.

    Attributes
    ----------
    checked : int
        Versions whose bytes were compared with what was saved.
    bytes : int
        Of all that was read to the end.
    markers : int
        Delete markers, which have no bytes.
    own : int
        Versions of bookstore's own labels, parameters and probes. They carry no provenance; their JSON could be parsed.
    without_provenance : int
        Versions of other programs that replaced nothing of bookstore's: they could be read and say nothing of what
        they should be. What bookstore 2 wrote is among them.
    altered : tuple of Altered
    unreadable : tuple of Unreadable
    unproven : tuple of Unproven
        The first of those without provenance.
    foreign : tuple of Foreign
        All versions of other programs that lie upon one of bookstore's; first those that are the newest of their key.
    """

    _nested: ClassVar[dict[str, type[Result]]] = {
        "altered": Altered,
        "unreadable": Unreadable,
        "unproven": Unproven,
        "foreign": Foreign,
    }

    checked: int = 0
    bytes: int = 0
    markers: int = 0
    own: int = 0
    without_provenance: int = 0
    altered: tuple[Altered, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    unproven: tuple[Unproven, ...] = ()
    foreign: tuple[Foreign, ...] = ()

    @property
    def is_fine(self) -> bool:
        """Whether every version could be read, and none is altered."""
        return not self.altered and not self.unreadable


async def verify(
    store: ObjectStore,
    *,
    folders: Sequence[str] = (),
    keys: Sequence[str] = (),
    concurrency: int = 8,
    progress: Callable[[int, int], None] | None = None,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Verified:
    """Read every version below folders and of keys, and compare its SHA-256 with that in its provenance.

    A version that is altered or cannot be read is told, and the rest is read all the same. Memory grows with the
    number of such versions only, and with those of other programs of one key: of each version that is being read, one
    piece is held at a time.

    Parameters
    ----------
    store : ObjectStore
    folders : sequence of str
        Prefixes: everything below them, bookstore's own objects too.
    keys : sequence of str
        Keys with all their versions.
    concurrency : int
        Versions that are read at the same time.
    progress : callable, optional
        Gets, after every version, how many were looked at and how many bytes of them were read.
    pause : callable, optional
        Waits before a version is read again.

    Raises
    ------
    StorageError
        The versions cannot be listed.
    """
    verification = _Verification(store, progress, pause)
    rows: asyncio.Queue[_Place | None] = asyncio.Queue(2 * concurrency)
    readers = [asyncio.create_task(verification.read_all(rows)) for _ in range(concurrency)]
    lister = asyncio.create_task(verification.list_into(rows, concurrency, _rows(store, folders, keys)))
    try:
        await asyncio.gather(lister, *readers)
    finally:
        for task in (lister, *readers):
            task.cancel()
        await asyncio.gather(lister, *readers, return_exceptions=True)
    return verification.report()


async def _rows(store: ObjectStore, folders: Sequence[str], keys: Sequence[str]) -> AsyncIterator[ObjectVersion]:
    for key in keys:
        async for row in _rows_of(store, key):
            yield row
    for folder in folders:
        async for row in walk_versions(store, folder if folder.endswith("/") else f"{folder}/"):
            yield row


async def _rows_of(store: ObjectStore, key: str) -> AsyncIterator[ObjectVersion]:
    page = await store.list_versions(key)
    while True:
        for row in page.versions:
            if row.key != key:
                return  # the rows of the key itself come before those of longer keys
            yield row
        if page.next_key_marker is None:
            return
        page = await store.list_versions(
            key, key_marker=page.next_key_marker, version_id_marker=page.next_version_id_marker
        )


@dataclass
class _Key:
    """What is known of a key some of whose versions are still to be read.

    Attributes
    ----------
    listed : int
        Its rows so far, the newest first.
    is_listed : bool
        Whether these are all.
    waiting : int
        Rows that were not read yet.
    oldest_proven : int
        The place of the oldest version that bookstore wrote; -1 for none.
    unproven : list
        The versions that it did not write, each with its place.
    """

    listed: int = 0
    is_listed: bool = False
    waiting: int = 0
    oldest_proven: int = -1
    unproven: list[tuple[int, ObjectVersion]] = field(default_factory=list)

    def next_place(self, row: ObjectVersion) -> _Place:
        place = _Place(row, self, self.listed)
        self.listed += 1
        self.waiting += 1
        return place


@dataclass(frozen=True)
class _Place:
    """A row among those of its key."""

    row: ObjectVersion
    key: _Key
    number: int


@dataclass
class _Verification:
    """What is known so far."""

    store: ObjectStore
    progress: Callable[[int, int], None] | None
    pause: Callable[[float], Awaitable[None]]
    seen: int = 0
    checked: int = 0
    bytes: int = 0
    markers: int = 0
    own: int = 0
    without_provenance: int = 0
    altered: list[Altered] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    unproven: list[Unproven] = field(default_factory=list)
    foreign: list[Foreign] = field(default_factory=list)

    def report(self) -> Verified:
        return Verified(
            self.checked,
            self.bytes,
            self.markers,
            self.own,
            self.without_provenance,
            tuple(sorted(self.altered, key=lambda fault: fault.key)),
            tuple(sorted(self.unreadable, key=lambda fault: fault.key)),
            tuple(self.unproven),
            tuple(sorted(self.foreign, key=lambda version: (not version.is_newest, version.key))),
        )

    async def list_into(
        self, places: asyncio.Queue[_Place | None], readers: int, listing: AsyncIterator[ObjectVersion]
    ) -> None:
        name, key = None, _Key()
        async for row in listing:
            if row.key != name:
                self._all_listed(key)
                name, key = row.key, _Key()
            await places.put(key.next_place(row))
        self._all_listed(key)
        for _ in range(readers):
            await places.put(None)

    async def read_all(self, places: asyncio.Queue[_Place | None]) -> None:
        while (place := await places.get()) is not None:
            if place.row.is_delete_marker:
                self.markers += 1
            else:
                await self._check(place)
            place.key.waiting -= 1
            self._settle(place.key)
            self.seen += 1
            if self.progress is not None:
                self.progress(self.seen, self.bytes)

    def _all_listed(self, key: _Key) -> None:
        key.is_listed = True
        self._settle(key)

    def _settle(self, key: _Key) -> None:
        """Once all of a key was read: what others wrote upon bookstore's versions is another matter than the rest."""
        if not key.is_listed or key.waiting:
            return
        for place, row in sorted(key.unproven, key=lambda found: found[0]):
            if place < key.oldest_proven:
                self.foreign.append(Foreign(row.key, row.version_id, row.is_latest))
                continue
            self.without_provenance += 1
            if len(self.unproven) < NAMED:
                self.unproven.append(Unproven(row.key, row.version_id))

    async def _check(self, place: _Place) -> None:
        row = place.row
        for attempt in range(1, ATTEMPTS + 1):
            try:
                read = await self._read(row)
            except StorageError as e:
                if e.transient and attempt < ATTEMPTS:
                    await self.pause(backoff(attempt, random.random))
                    continue
                self.unreadable.append(Unreadable(row.key, row.version_id, e.code, str(e)))
                return
            break
        self.bytes += read.size
        if read.expected is not None:
            self.checked += 1
            place.key.oldest_proven = max(place.key.oldest_proven, place.number)
            self._compare(row, read.expected, read.found)
        elif _OWN.fullmatch(row.key):
            self.own += 1
            self._check_own(row, read)
        else:
            place.key.unproven.append((place.number, row))

    def _compare(self, row: ObjectVersion, expected: str, found: str) -> None:
        if found != expected:
            self.altered.append(Altered(row.key, row.version_id, expected, found))

    def _check_own(self, row: ObjectVersion, read: _Read) -> None:
        document = _DOCUMENT.fullmatch(row.key)
        if document is None:
            return
        if document["sha256"] and document["sha256"] != read.found:
            self._compare(row, document["sha256"], read.found)
        elif not _is_object(read.document):
            self.unreadable.append(Unreadable(row.key, row.version_id, NOT_JSON, "It is no JSON object."))

    async def _read(self, row: ObjectVersion) -> _Read:
        digest, size, pieces = hashlib.sha256(), 0, []
        async with self.store.get(row.key, row.version_id) as body:
            provenance = from_metadata(body.info.metadata)
            is_parsed = provenance is None and _DOCUMENT.fullmatch(row.key) is not None
            async for chunk in body.chunks:
                digest.update(chunk)
                size += len(chunk)
                if is_parsed and size <= _LARGEST_DOCUMENT:
                    pieces.append(bytes(chunk))
        expected = provenance.sha256 if provenance is not None else None
        return _Read(expected, digest.hexdigest(), size, b"".join(pieces))


@dataclass(frozen=True)
class _Read:
    """What was saved, what the store holds, how much of it; and the bytes of a document that is to be parsed."""

    expected: str | None
    found: str
    size: int
    document: bytes


def _is_object(content: bytes) -> bool:
    try:
        return isinstance(json.loads(content), dict)
    except (ValueError, RecursionError):
        return False
