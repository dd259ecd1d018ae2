"""The history of a path: its versions in pages, one of them to look at or read, and what people say of them."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final

from bookstore import lineage_cursor
from bookstore.errors import ContentTooLarge, InvalidRequest, ObjectMissing
from bookstore.labels import LabelBook, LabelChange
from bookstore.lineage import LARGEST_PAGE, Lineage, LineageRow, Stream, earlier_name, list_key
from bookstore.provenance import altered, from_metadata
from bookstore.results import History, Version
from bookstore.s3_paths import object_key, path_from_key
from bookstore.storage.base import ObjectVersion
from bookstore.version_details import MAX_HEADS, Detail, Details, together

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from bookstore.provenance import Provenance
    from bookstore.results import Label
    from bookstore.storage.base import ObjectBody, ObjectInfo, ObjectStore, Receipt

#: Rows of one page.
MAX_LIMIT: Final = 1000

#: HEADs that reading without details, or a version id that may be nowhere, may cost for the sake of renames.
FEW: Final = 100

#: Earlier names whose labels are looked at for pins.
FEW_NAMES: Final = 10

#: Pinned versions that are told.
MAX_PINNED: Final = 100


class Versions:
    """The versions of the paths below one prefix of a store.

    An instance belongs to one event loop, as its store does. It remembers the details of versions, which never change.

    Parameters
    ----------
    store : ObjectStore
    prefix : str
        With its fields filled in: ``workspace``, ``published`` or ``scheduled``, or what the settings call them.
    before_write, after_write : callable, optional
        For labels, as for `bookstore.publishing.Shelf`.
    """

    def __init__(
        self,
        store: ObjectStore,
        prefix: str,
        *,
        before_write: Callable[[], Awaitable[None]] | None = None,
        after_write: Callable[[Receipt], None] | None = None,
    ) -> None:
        self.store = store
        self.prefix = prefix
        self._details = Details(store)
        self._labels = LabelBook(store, prefix, before_write=before_write, after_write=after_write)

    async def history(self, path: str, *, limit: int = 50, cursor: str | None = None, details: bool = True) -> History:
        """A page of the versions of a path, newest first, those of its earlier names included.

        A save that stands in the store twice (see `bookstore.echoes`) is shown once, where it was stored first.

        One listing and one GET of the labels for each name on the page, and one HEAD for each version that is shown for
        the first time. A name that was given to another notebook after the rename costs a few HEADs more, and a listing
        more for each 1,000 versions of that notebook; one that the notebook got back, a listing for each time.

        Parameters
        ----------
        path : str
            An API path; one that was never archived has an empty history.
        limit : int
            Rows at most, 1 to 1,000.
        cursor : str, optional
            Of the page before.
        details : bool
            Without them the provenance is left out, and the first page, if it has more than 100 rows and the path has
            more than those, needs no HEADs: it has the path's own rows. Renames among them are looked for when the
            page after it is asked for. Of the rows of such a page that have the bytes of an older one the 50 newest
            are looked at: others that are echoes are shown.

        Returns
        -------
        History
            ``is_unchanged`` of the last row of a page of 1,000 may be false although the next page begins with the
            same bytes: the store lists no further row at the same time. An echo may be shown if its first copy is
            further down than the 32 rows after the page.

        Raises
        ------
        PathError
            The path has no key.
        InvalidRequest
            The limit is out of range, or the cursor is none of this history.
        StorageError
        """
        key = object_key(self.prefix, path)
        if not 1 <= limit <= MAX_LIMIT:
            raise InvalidRequest(
                f"the history of {path!r}: a page of {limit} versions was asked for",
                f"Ask for 1 to {MAX_LIMIT}, and follow the cursor for more.",
            )
        streams = [self._own_stream(key)] if cursor is None else lineage_cursor.decode(cursor, self.prefix, key)
        lineage = Lineage(
            self.store,
            self._details,
            self.prefix,
            streams,
            labels=self._labels,
            is_detailed=details,
        )
        may_be_unseen = not details and cursor is None and limit > FEW
        rows = await lineage.take_unseen(limit) if may_be_unseen else None
        if rows is None:
            rows = await lineage.take(limit)
        ahead = await lineage.peek()
        if ahead is not None and rows and details and _may_be_same(rows[-1].row, ahead.row):
            ahead = replace(ahead, detail=await lineage.detail(ahead.row))
        older = [*rows[1:], ahead]
        return History(
            path=path_from_key(self.prefix, key),
            key=key,
            versions=tuple(_shown(row, next_row) for row, next_row in zip(rows, older, strict=False)),
            cursor=None if lineage.is_done else lineage_cursor.encode(key, lineage.streams),
        )

    async def pinned(self, path: str) -> History:
        """The pinned versions of a path, newest first; ``cursor`` is None.

        It costs a listing and a GET of the labels for each of few names, and one HEAD for each pinned version that is
        not known yet, however many versions there are. If an earlier name has pins, the newest 100 rows of the earlier
        names are looked at.

        Parameters
        ----------
        path : str

        Returns
        -------
        History
            `MAX_PINNED` versions at most: of more, those that were pinned last. A version that is gone from the bucket
            is left out; so is one of an earlier name that lies further down, or behind a rename that lies between
            more than 100 versions and was not shown lately.

        Raises
        ------
        PathError, StorageError
        """
        key = object_key(self.prefix, path)
        path = path_from_key(self.prefix, key)
        labels = await self._pins(path)
        rows, is_complete = await list_key(self.store, key, None, LARGEST_PAGE)
        found = await self._pinned_rows(key, path, labels, rows, is_complete=is_complete)
        found += await self._pinned_earlier(key, rows)
        found.sort(key=lambda shown: shown[0].row.last_modified, reverse=True)
        if len(found) > MAX_PINNED:
            last = sorted(found, key=lambda shown: shown[0].label.at if shown[0].label else "", reverse=True)
            kept = {(row.row.key, row.row.version_id) for row, _ in last[:MAX_PINNED]}
            found = [one for one in found if (one[0].row.key, one[0].row.version_id) in kept]
        return History(path, key, tuple(_shown(row, older) for row, older in found))

    async def newest(self, path: str) -> Version | None:
        """The newest version of a path, with details; None where there is none, or a delete marker hides it.

        Raises
        ------
        PathError, StorageError
        """
        page = await self.history(path, limit=1)
        newest = page.versions[0] if page.versions else None
        return None if newest is None or newest.is_delete_marker else newest

    async def locate(self, path: str, version_id: str) -> Version:
        """One version of a path, with details, be it under an earlier name, or an echo that the history leaves out.

        One that is stored under the path itself is found at once; for an earlier name the history is followed back,
        if a version with this id is under any of the names that a few looks tell.

        Raises
        ------
        ObjectMissing
            It is nowhere in the history, or is a delete marker, which has no content. A rename in the middle of more
            than 100 versions is known if the history down to it was shown lately.
        PathError, InvalidRequest, StorageError
        """
        key = object_key(self.prefix, path)
        if not version_id:
            raise InvalidRequest(f"a version of {path!r}: no version id is given", "Give one that the history shows.")
        info = await self._head(key, version_id) or await self._find_earlier(key, version_id)
        if info is None:
            raise ObjectMissing(
                f"the history of {path!r} has no version {version_id!r} with a content",
                "Give the version id of a version that the history shows and that is no delete marker, and the path "
                "that the history shows beside it.",
            )
        return await self._located(info, version_id)

    def open(self, version: Version) -> AbstractAsyncContextManager[ObjectBody]:
        """Open a version for reading as a stream.

        Raises
        ------
        ObjectMissing
            It is a delete marker, or was removed by a lifecycle rule.
        StorageError
        """
        return self.store.get(version.key, version.version_id)

    async def read(self, version: Version, *, limit: int) -> bytes:
        """The bytes of a version.

        Parameters
        ----------
        version : Version
        limit : int
            Bytes at most.

        Raises
        ------
        ContentTooLarge
            It has more; they are not read.
        IntegrityError
            They are not those that were saved, by the SHA-256 of the version's provenance.
        ObjectMissing, StorageError
        """
        name = f"version {version.version_id} of {version.path!r}"
        async with self.open(version) as body:
            if body.info.size > limit:
                raise ContentTooLarge(f"{name} has {body.info.size:,} bytes, and at most {limit:,} are read here")
            content = b"".join([chunk async for chunk in body.chunks])
            provenance = from_metadata(body.info.metadata)
        expected = version.sha256 or (provenance.sha256 if provenance is not None else "")
        if expected and (actual := hashlib.sha256(content).hexdigest()) != expected:
            raise altered(version.version_id, version.path, expected, actual)
        return content

    async def label(
        self,
        path: str,
        version_id: str,
        *,
        name: str | None = None,
        note: str | None = None,
        pinned: bool | None = None,
        by: str = "",
    ) -> Version:
        """Name a version, note something about it, or pin it, which the object's tag tells too.

        Parameters
        ----------
        path : str
        version_id : str
        name : str, optional
            At most 200 characters; empty removes it.
        note : str, optional
            At most 4,000 characters; empty removes it.
        pinned : bool, optional
        by : str
            Who says so.

        Returns
        -------
        Version
            With its label as it is now.

        Raises
        ------
        InvalidRequest
            There is nothing to change, or a text is too long.
        ObjectMissing
            There is no such version.
        BucketNotVersioned
            The bucket keeps no versions, nor what the labels said before.
        PathError, StorageError
        """
        change = LabelChange(name, note, pinned, by)
        version = await self.locate(path, version_id)
        label = await self._labels.change(version.path, version.key, version.version_id, change)
        return replace(version, label=label)

    async def _pins(self, path: str) -> dict[str, Label]:
        """The labels of the versions that are pinned under a name; of too many, those that were pinned last."""
        pins = [(version_id, label) for version_id, label in (await self._labels.read(path)).items() if label.pinned]
        pins.sort(key=lambda pin: pin[1].at, reverse=True)
        return dict(pins[:MAX_PINNED])

    async def _pinned_rows(
        self, key: str, path: str, labels: dict[str, Label], rows: list[ObjectVersion], *, is_complete: bool
    ) -> list[tuple[LineageRow, LineageRow | None]]:
        """The versions of a key that have these labels, in the order of their rows, each with the row before it."""
        listed = {row.version_id for row in rows}
        own = [place for place, row in enumerate(rows) if row.version_id in labels and not row.is_delete_marker]
        details = await self._details.fetch((key, rows[place].version_id) for place in own)
        older = [rows[place + 1] if place + 1 < len(rows) else None for place in own]
        known = self._details.remembered((key, row.version_id) for row in older if row is not None)
        found: list[tuple[LineageRow, LineageRow | None]] = []
        for place, before in zip(own, older, strict=True):
            row = rows[place]
            detail = details[key, row.version_id]
            if detail.arrived is not None:
                below = LineageRow(before, path, known.get((key, before.version_id)), None) if before else None
                found.append((LineageRow(row, path, detail, labels[row.version_id]), below))
        if not is_complete:
            far = [version_id for version_id in labels if version_id not in listed]
            found += await self._pinned_far(key, path, {version_id: labels[version_id] for version_id in far})
        return found

    async def _pinned_far(
        self, key: str, path: str, labels: dict[str, Label]
    ) -> list[tuple[LineageRow, LineageRow | None]]:
        """Those of a key's versions with these labels that are there, asked for one by one."""
        places = asyncio.Semaphore(MAX_HEADS)

        async def look(version_id: str) -> ObjectInfo | None:
            async with places:
                return await self._head(key, version_id)

        infos = await together(look(version_id) for version_id in labels)
        return [
            (
                LineageRow(
                    ObjectVersion(key, version_id, info.size, info.etag, info.last_modified, is_latest=False),
                    path,
                    Detail(info.last_modified.timestamp(), from_metadata(info.metadata)),
                    label,
                ),
                None,
            )
            for (version_id, label), info in zip(labels.items(), infos, strict=True)
            if info is not None
        ]

    async def _pinned_earlier(self, key: str, rows: list[ObjectVersion]) -> list[tuple[LineageRow, LineageRow | None]]:
        """What is pinned among the newest rows of a path's earlier names."""
        renames = await self._renames(rows)
        if not await self._is_any_pinned(key, renames):
            return []
        lineage = self._earlier_names(key, renames, labels=self._labels)
        earlier = [row for row in await lineage.take(FEW) if row.row.key != key]
        following: list[LineageRow | None] = [*earlier[1:], None]
        return [
            (row, older)
            for row, older in zip(earlier, following, strict=True)
            if row.label is not None and row.label.pinned and row.detail is not None and row.detail.arrived is not None
        ]

    async def _is_any_pinned(self, key: str, renames: list[tuple[ObjectVersion, Detail]]) -> bool:
        """Whether an earlier name has a pinned version, be it of another notebook."""
        keys = [key]
        queue = list(renames)
        while queue and len(keys) <= FEW_NAMES:
            earlier = earlier_name(self.prefix, queue.pop(0)[1])
            if earlier is None or earlier[1] in keys:
                continue
            keys.append(earlier[1])
            if await self._pins(earlier[0]):
                return True
            listed, _ = await list_key(self.store, earlier[1], None, LARGEST_PAGE)
            queue += await self._renames(listed)
        return False

    def _earlier_names(
        self, key: str, renames: list[tuple[ObjectVersion, Detail]], *, labels: LabelBook | None = None
    ) -> Lineage:
        """A history without a path's own rows: only those to which these renames lead."""
        own = self._own_stream(key)
        own.is_done = True
        lineage = Lineage(self.store, self._details, self.prefix, [own], labels=labels)
        for row, detail in renames:
            lineage.follow(row, detail)
        return lineage

    def _own_stream(self, key: str) -> Stream:
        return Stream(path_from_key(self.prefix, key), key)

    async def _head(self, key: str, version_id: str | None) -> ObjectInfo | None:
        try:
            return await self.store.head(key, version_id)
        except ObjectMissing:
            return None

    async def _find_earlier(self, key: str, version_id: str) -> ObjectInfo | None:
        """Look for a version under the earlier names of a path."""
        renames = await self._likely_renames(key, version_id)
        if renames is None:
            return None
        # Mostly these renames lead there. If not, the path was renamed there and back, and all its rows are looked at.
        for one in (
            self._earlier_names(key, renames),
            Lineage(self.store, self._details, self.prefix, [self._own_stream(key)]),
        ):
            info = await self._find(one, version_id)
            if info is not None:
                return info
        return None

    async def _find(self, lineage: Lineage, version_id: str) -> ObjectInfo | None:
        while not lineage.is_done:
            for stream in lineage.streams:
                stream.is_listed = False
            rows = [row.row for row in await lineage.take(FEW)]
            for row in (*rows, *lineage.echoes):
                if row.version_id == version_id and not row.is_delete_marker:
                    return await self._head(row.key, version_id)
        return None

    async def _likely_renames(self, own: str, version_id: str) -> list[tuple[ObjectVersion, Detail]] | None:
        """The renames to a path that a few looks tell; None where none of the names behind them has such a version.

        Whether a version belongs is not asked here, only whether it is worth asking.
        """
        renames: list[tuple[ObjectVersion, Detail]] = []
        keys, is_there = [own], False
        for key in keys:
            rows = await self._list_all(key)
            is_there = is_there or any(row.version_id == version_id and not row.is_delete_marker for row in rows)
            found = await self._renames(rows)
            for _, detail in found:
                earlier = earlier_name(self.prefix, detail)
                if earlier is not None and earlier[1] not in keys:
                    keys.append(earlier[1])
            if key == own:
                renames = found
        return renames if is_there else None

    async def _renames(self, rows: list[ObjectVersion]) -> list[tuple[ObjectVersion, Detail]]:
        """The renames among a key's rows: all of few rows, of many the newest, the oldest and those that are known."""
        contents = [row for row in rows if not row.is_delete_marker]
        names = [(row.key, row.version_id) for row in contents]
        looked_at = names if len(names) <= FEW else [names[0], names[-1]]
        details = self._details.remembered(names) | await self._details.fetch(looked_at)
        return [
            (row, detail)
            for row, name in zip(contents, names, strict=True)
            if (detail := details.get(name)) is not None and earlier_name(self.prefix, detail) is not None
        ]

    async def _list_all(self, key: str) -> list[ObjectVersion]:
        found: list[ObjectVersion] = []
        is_complete = False
        while not is_complete:
            rows, is_complete = await list_key(self.store, key, found[-1].version_id if found else None, LARGEST_PAGE)
            found += rows
            is_complete = is_complete or not rows
        return found

    async def _located(self, info: ObjectInfo, version_id: str) -> Version:
        path = path_from_key(self.prefix, info.key)
        detail = Detail(info.last_modified.timestamp(), from_metadata(info.metadata))
        row = ObjectVersion(info.key, version_id, info.size, info.etag, info.last_modified, is_latest=False)
        labels: dict[str, Label] = {}
        older: LineageRow | None = None

        async def look_at_head() -> None:
            nonlocal row
            head = await self._head(info.key, None)
            row = replace(row, is_latest=head is not None and (head.version_id or "null") == version_id)

        async def look_before() -> None:
            nonlocal older
            lineage = Lineage(self.store, self._details, self.prefix, [Stream(path, info.key, after=version_id)])
            older = await lineage.peek()
            if older is not None and _may_be_same(row, older.row):
                older = replace(older, detail=await lineage.detail(older.row))

        async def read_labels() -> None:
            labels.update(await self._labels.read(path))

        await together([look_at_head(), look_before(), read_labels()])
        return _shown(LineageRow(row, path, detail, labels.get(version_id)), older)


def _may_be_same(row: ObjectVersion, older: ObjectVersion) -> bool:
    """Whether only the SHA-256 tells if two versions are the same: under SSE-KMS an ETag is no content hash."""
    return not row.is_delete_marker and not older.is_delete_marker and row.size == older.size and row.etag != older.etag


def _sha256(row: LineageRow) -> str:
    return row.detail.provenance.sha256 if row.detail is not None and row.detail.provenance is not None else ""


def _is_unchanged(row: LineageRow, older: LineageRow | None) -> bool:
    if older is None or row.row.is_delete_marker or older.row.is_delete_marker or row.row.size != older.row.size:
        return False
    if _sha256(row) and _sha256(older):
        return _sha256(row) == _sha256(older)
    return row.row.etag == older.row.etag


def _shown(row: LineageRow, older: LineageRow | None) -> Version:
    listed, detail = row.row, row.detail
    version = Version(
        path=row.path,
        key=listed.key,
        version_id=listed.version_id,
        size=listed.size,
        etag=listed.etag,
        last_modified=listed.last_modified.isoformat(),
        is_latest=listed.is_latest,
        is_delete_marker=listed.is_delete_marker,
        is_unchanged=_is_unchanged(row, older),
        is_detailed=detail is not None and detail.arrived is not None,
        label=row.label,
    )
    provenance = detail.provenance if detail is not None else None
    return version if provenance is None else _with_provenance(version, provenance)


def _with_provenance(version: Version, provenance: Provenance) -> Version:
    return replace(
        version,
        saved_at=datetime.fromtimestamp(provenance.saved_at, timezone.utc).isoformat(),
        user=provenance.user,
        host=provenance.host,
        root_dir=provenance.root_dir,
        reason=provenance.reason,
        source=provenance.source,
        sha256=provenance.sha256,
        record_id=provenance.record_id,
        from_key=provenance.from_key,
        from_version=provenance.from_version,
        previous_key=provenance.previous_key,
    )
