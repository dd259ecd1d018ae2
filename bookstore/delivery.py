"""How one save gets into the store, exactly once and hiding nobody else's version.

Each write is conditional: on there being no object where the key is new, on the ETag of our last version after that.
While one server writes a path, a save is one request. Whenever it is not certain what the store holds (first contact
with a key, an answer that never came, a condition that failed, an entry that another server may have sent) the key is
looked at first, and our record id is looked for among its versions: if it is there, that is the receipt.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections import OrderedDict
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from bookstore.echoes import REACH, KeyRows
from bookstore.errors import (
    AccessDenied,
    BookstoreError,
    BucketNotVersioned,
    IntegrityError,
    ObjectMissing,
    PreconditionFailed,
    StorageError,
)
from bookstore.media_types import content_type
from bookstore.provenance import Provenance, from_metadata, to_metadata
from bookstore.retry import attempt_timeout
from bookstore.storage.base import ObjectInfo, ObjectStore, ObjectVersion, Receipt, Versioning

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from bookstore.outbox import EntryRef
    from bookstore.outbox_entry import Entry

#: How often one delivery yields to other writers of its key before it waits for a while.
MAX_RACES = 16

#: Keys whose newest version is remembered; a forgotten one costs a HEAD.
MAX_HEADS = 20_000

#: Keys whose versions are remembered while saves that other servers left are looked for among them.
MAX_PASTS = 1_000

#: Two clocks may differ by this much before a search for our record misses it.
CLOCK_TOLERANCE = timedelta(days=2)


@dataclass(eq=False, slots=True)
class Parcel:
    """One save on its way.

    Attributes
    ----------
    entry : Entry
        What it is.
    ref : EntryRef or None
        Where it waits in the outbox.
    content : bytes or memoryview or None
        The bytes, where the outbox took none: the save is unprotected.
    uncertain : bool
        True where the store may hold it already.
    failures : int
        Attempts that failed.
    is_done : bool
        True once it is in the store, set aside, or another server's.
    delivered : Delivered or None
        What became of it, once the store holds it.
    error : BookstoreError or None
        Why the last attempt failed, or why it was set aside.
    """

    entry: Entry
    ref: EntryRef | None = None
    content: bytes | memoryview | None = None
    uncertain: bool = False
    failures: int = 0
    is_done: bool = False
    delivered: Delivered | None = None
    error: BookstoreError | None = None

    @property
    def is_protected(self) -> bool:
        """Whether the save would survive the end of this process."""
        return self.ref is not None


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of a key's newest version.

    Attributes
    ----------
    etag : str
    version_id : str or None
    sha256 : str or None
    is_ours : bool
        Whether this origin saved it.
    is_no_echo : bool
        Whether it is known to be the newest save, too, and not the late copy of an earlier one (`bookstore.echoes`).
    """

    etag: str
    version_id: str | None
    sha256: str | None
    is_ours: bool
    is_no_echo: bool = False


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of a save.

    Attributes
    ----------
    key : str
    version_id : str or None
    how : str
        ``stored``; ``found``, where an earlier attempt had stored it; ``unchanged``, where the newest version has
        these bytes and no second copy was made.
    """

    key: str
    version_id: str | None
    how: str


@dataclass(frozen=True, slots=True)
class ForeignVersion:
    """Somebody else's version at the head of one of our keys: two servers may share it by mistake.

    Attributes
    ----------
    key : str
    version_id : str or None
    origin : str
        Host and root directory; empty where the version carries no provenance of bookstore.
    user : str
    """

    key: str
    version_id: str | None
    origin: str
    user: str


@dataclass(slots=True)
class _Past:
    """What is known of the versions of a key, from one back to those of some time ago.

    Attributes
    ----------
    newest : str or None
        The version from which on back all are known.
    since : datetime
        No older ones are known.
    unread : dict of int to list of str
        Versions that were seen in a listing only, by size; the newest is last.
    records : dict of str to list of str
        The others, by their record ids.
    """

    newest: str | None
    since: datetime
    unread: dict[int, list[str]] = field(default_factory=dict)
    records: dict[str, list[str]] = field(default_factory=dict)


class Courier:
    """Brings saves into one store.

    Parameters
    ----------
    store : ObjectStore
    probe_key : str
        Where a probe is written if the store does not tell whether it keeps versions.
    origin : str
        This server's host and root directory, as in `Provenance.origin`.
    skip_unchanged : bool
    allow_unversioned : bool
    tags : Mapping[str, str], optional
        Tags that each version gets.

    Attributes
    ----------
    is_in_order : bool
        Whether this server's saves of a path are stored in their order: not once another has claimed some.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        probe_key: str,
        origin: str,
        skip_unchanged: bool = True,
        allow_unversioned: bool = False,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self.store = store
        self.is_versioned = allow_unversioned
        self.is_in_order = True
        self.foreign: OrderedDict[str, ForeignVersion] = OrderedDict()
        self._allow_unversioned = allow_unversioned
        self._probe_key = probe_key
        self._origin = origin
        self._skip_unchanged = skip_unchanged
        self._tags = tags
        self._heads: OrderedDict[str, Head] = OrderedDict()
        self._pasts: OrderedDict[str, _Past] = OrderedDict()
        self._checking = asyncio.Lock()
        self._checks = 0

    async def check_bucket(self, *, early: bool = False) -> None:
        """Make sure that a write adds a version and replaces nothing.

        Only reads, unless the store will not tell: then the proof is a version id in the answer to a PUT of a fixed
        key.

        Parameters
        ----------
        early : bool
            Whether nothing is to be written yet, so that it may be long until the store is needed.

        Raises
        ------
        BucketNotVersioned
            It would replace what is there.
        StorageError
            The bucket cannot be looked at.
        """
        if not early:
            self.is_versioned = self._allow_unversioned
        elif await self._check_early():
            return
        # Of several first deliveries at once, one asks.
        async with self._checking:
            if not self.is_versioned or self._allow_unversioned:
                self._checks += 1
                await self._check_bucket()

    async def _check_early(self) -> bool:
        """Look at the bucket without keeping a delivery waiting; False where a proper check is to tell.

        A look may take long, and a check that began after it knows better.
        """
        async with self._checking:
            began = self._checks
        if self.is_versioned and not self._allow_unversioned:
            return True
        try:
            probe = await self.store.glance()
        except StorageError:
            if self._checks == began:
                raise
            return False
        if self._checks != began or (probe.versioning is Versioning.UNKNOWN and not self._allow_unversioned):
            return False
        self._learn_versioning(probe.versioning)
        return True

    async def _check_bucket(self) -> None:
        probe = await self.store.probe()
        if probe.versioning is Versioning.UNKNOWN and not self._allow_unversioned:
            body = b"bookstore writes this object to learn whether the bucket keeps versions.\n"
            receipt = await self.store.put(
                self._probe_key, body, sha256=hashlib.sha256(body).hexdigest(), content_type="text/plain"
            )
            self.require_version(receipt.version_id, self._probe_key)
            self.is_versioned = True
        else:
            self._learn_versioning(probe.versioning)

    def _learn_versioning(self, versioning: Versioning) -> None:
        if versioning is not Versioning.ENABLED and not self._allow_unversioned:
            state = "suspended" if versioning is Versioning.SUSPENDED else "off"
            raise self._not_versioned(f"versioning of the bucket {self.store.bucket!r} is {state}")
        self.is_versioned = True

    def _not_versioned(self, message: str) -> BucketNotVersioned:
        at = f" --endpoint-url {self.store.endpoint_url}" if self.store.endpoint_url else ""
        command = (
            f"aws{at} s3api put-bucket-versioning --bucket {self.store.bucket} "
            "--versioning-configuration Status=Enabled"
        )
        return BucketNotVersioned(
            message, f"Enable versioning on the bucket ({command}); saves wait in the outbox until then."
        )

    async def deliver(self, parcel: Parcel, key: str, content: bytes | memoryview) -> Delivered:
        """Bring one save into the store and prove that it is there.

        Raises
        ------
        StorageError
            It is not proven to be there. ``parcel.uncertain`` tells the next attempt to look first.
        """
        if not self.is_versioned:
            await self.check_bucket()
        head = self._heads.get(key)
        must_look = head is None or parcel.uncertain or self._is_unchanged(parcel, head)
        refused = False
        denied: AccessDenied | None = None
        for _ in range(MAX_RACES):
            if must_look:
                try:
                    newest = await self._look(key)
                except AccessDenied as e:
                    # Without the right to list, S3 answers so for a key that does not exist. If it does exist, the
                    # condition that it does not will fail.
                    newest, denied = None, e
                if parcel.uncertain and (found := await self._find(parcel, key, newest)) is not None:
                    self._heads.pop(key, None)  # found somewhere below the head, perhaps: the next save looks again
                    return Delivered(key, found.version_id, "found")
                expected, head = head, self._learn(key, newest)
                if refused and head is not None and expected is not None and head.version_id == expected.version_id:
                    # The condition holds and was refused all the same, as SeaweedFS does once versioning is suspended.
                    await self.check_bucket()
                if self._is_unchanged(parcel, head) and not await self._may_be_echo(key, newest):
                    return Delivered(key, head.version_id if head else None, "unchanged")
            try:
                receipt = await self._put(parcel, key, content, head)
                await self._prove(key, receipt, parcel.entry.provenance.sha256)
            except PreconditionFailed:
                if denied is not None:
                    raise denied from None
                # Somebody wrote in between, or an attempt of ours arrived late.
                parcel.uncertain = must_look = refused = True
            except BaseException:  # broken off as well: what was sent may arrive
                parcel.uncertain = True
                raise
            else:
                self._remember(parcel, key, receipt, head)
                return Delivered(key, receipt.version_id, "stored")
        raise PreconditionFailed(f"storing {key!r}: {MAX_RACES} times another writer of this key was faster")

    def _is_unchanged(self, parcel: Parcel, head: Head | None) -> bool:
        provenance = parcel.entry.provenance
        return (
            self._skip_unchanged
            and not parcel.uncertain
            and head is not None
            and head.is_ours
            and head.sha256 == provenance.sha256
            and (head.version_id not in (None, "null") or self._allow_unversioned)
            # These stand in the history for what happened, whatever the bytes.
            and provenance.reason not in ("new", "rename", "restore")
        )

    async def _may_be_echo(self, key: str, newest: ObjectInfo | None) -> bool:
        """Whether the newest version may be the late copy of an earlier save, so that its bytes are not the newest.

        One listing, the first time that a version which this courier did not write makes a save needless.
        """
        head = self._heads.get(key)
        if newest is None or head is None or head.is_no_echo or head.version_id in (None, "null"):
            return False
        try:
            listed = await self.store.list_versions(key, limit=REACH)
        except AccessDenied:  # without the right to list nobody can tell: rather a second copy than none
            return True
        rows = KeyRows()
        rows.extend(row for row in listed.versions if row.key == key)
        twins = [rows.twins(row) for row in listed.versions[:1] if row.key == key and row.version_id == head.version_id]
        if not twins or twins[0]:
            return True
        self._keep(key, replace(head, is_no_echo=True))
        return False

    async def _put(self, parcel: Parcel, key: str, content: bytes | memoryview, head: Head | None) -> Receipt:
        provenance = parcel.entry.provenance
        if parcel.uncertain:
            # An attempt before this one may arrive yet; a history tells them apart, and both from copies.
            provenance = replace(provenance, attempt=secrets.token_hex(4))
        return await self.store.put(
            key,
            content,
            sha256=provenance.sha256,
            metadata=to_metadata(provenance),
            content_type=content_type(parcel.entry.path),
            tags=self._tags,
            if_match=head.etag if head is not None else None,
            if_none_match=head is None,
            timeout=attempt_timeout(len(content)),
        )

    async def _prove(self, key: str, receipt: Receipt, sha256: str) -> None:
        self.require_version(receipt.version_id, key)
        if not receipt.verified and await self._digest(key, receipt.version_id) != sha256:
            raise IntegrityError(f"{key!r}, version {receipt.version_id}, was stored with other bytes than were sent")
        self._keep(key, Head(receipt.etag, receipt.version_id, sha256, is_ours=True, is_no_echo=True))

    async def _digest(self, key: str, version_id: str | None) -> str:
        digest = hashlib.sha256()
        async with self.store.get(key, version_id) as body:
            async for chunk in body.chunks:
                digest.update(chunk)
        return digest.hexdigest()

    def require_version(self, version_id: str | None, key: str) -> None:
        """See that what was written got a version id.

        Raises
        ------
        BucketNotVersioned
            It got none, and unversioned buckets are not allowed.
        """
        if version_id in (None, "null") and not self._allow_unversioned:
            self.is_versioned = False
            raise self._not_versioned(
                f"the bucket {self.store.bucket!r} gave {key!r} no version id: it keeps no versions"
            )

    async def _look(self, key: str) -> ObjectInfo | None:
        try:
            return await self.store.head(key)
        except ObjectMissing:
            return None

    async def _find(self, parcel: Parcel, key: str, newest: ObjectInfo | None) -> ObjectInfo | None:
        """Our record among the versions of the key, from the newest back.

        The search ends at a version that our own instance wrote earlier: a path's versions are in order, so ours
        cannot lie behind it. Of what was claimed that does not hold, since its owner may live and store its saves
        before the earlier ones. The search ends too where versions are older than the save by more than clocks differ.
        """
        mine = parcel.entry.provenance
        is_in_order = self.is_in_order and not (parcel.ref is not None and parcel.ref.adopted)
        if newest is not None:
            if await self._is_found(newest, mine):
                return newest
            if is_in_order and _is_earlier(from_metadata(newest.metadata), mine):
                return None
        # A save from the future was made by a clock that has been set back since: it tells no bound.
        saved_at = mine.saved_at if mine.saved_at <= time.time() else 0.0
        oldest = datetime.fromtimestamp(max(saved_at, CLOCK_TOLERANCE.total_seconds()), timezone.utc) - CLOCK_TOLERANCE
        if not is_in_order:
            return await self._find_anywhere(parcel, key, newest, oldest)
        async with aclosing(self._rows(key, oldest)) as rows:
            async for row in rows:
                if row.is_delete_marker or row.size != parcel.entry.size:
                    continue
                found = await self._read_version(key, row.version_id)
                if await self._is_found(found, mine):
                    return found
                if found is not None and _is_earlier(from_metadata(found.metadata), mine):
                    return None
        return None

    async def _find_anywhere(
        self, parcel: Parcel, key: str, newest: ObjectInfo | None, oldest: datetime
    ) -> ObjectInfo | None:
        """Our record among all versions of the key that are not too old.

        Each version is looked at once, however many saves are looked for.
        """
        mine = parcel.entry.provenance
        past = await self._learn_past(key, newest, oldest)
        for version_id in past.records.get(mine.record_id, ()):
            found = await self._read_version(key, version_id)
            if await self._is_found(found, mine):
                return found
        unread = past.unread.get(parcel.entry.size, [])
        while unread:
            found = await self._read_version(key, unread[-1])
            version_id = unread.pop()
            if found is not None and (theirs := from_metadata(found.metadata)) is not None:
                past.records.setdefault(theirs.record_id, []).append(version_id)
                if await self._is_found(found, mine):
                    return found
        return None

    async def _learn_past(self, key: str, newest: ObjectInfo | None, oldest: datetime) -> _Past:
        past = self._pasts.pop(key, None)
        # What has no version of its own may be replaced without notice.
        if past is not None and (past.since > oldest or past.newest == "null"):
            past = None
        if past is None or newest is None or past.newest != newest.version_id:
            rows: list[ObjectVersion] = []
            is_continued = False
            async with aclosing(self._rows(key, oldest)) as found:
                async for row in found:
                    is_continued = past is not None and row.version_id == past.newest
                    if is_continued:
                        break
                    rows.append(row)
            if past is None or not is_continued:
                past = _Past(None, oldest)
            for row in reversed(rows):
                past.newest = row.version_id
                if not row.is_delete_marker:
                    past.unread.setdefault(row.size, []).append(row.version_id)
        self._pasts[key] = past
        while len(self._pasts) > MAX_PASTS:
            self._pasts.popitem(last=False)
        return past

    def _remember(self, parcel: Parcel, key: str, receipt: Receipt, before: Head | None) -> None:
        """Add what was stored to what is known of its key, where it follows on that."""
        past = self._pasts.get(key)
        if past is not None and past.newest == (before.version_id if before is not None else None):
            past.newest = receipt.version_id or "null"
            past.records.setdefault(parcel.entry.provenance.record_id, []).append(receipt.version_id or "null")

    async def _rows(self, key: str, oldest: datetime) -> AsyncGenerator[ObjectVersion, None]:
        """The versions of a key, from the newest back to those of some time ago."""
        key_marker: str | None = None
        version_id_marker: str | None = None
        while True:
            page = await self.store.list_versions(
                key, key_marker=key_marker, version_id_marker=version_id_marker, limit=200
            )
            for row in page.versions:
                if row.key != key or row.last_modified < oldest:
                    return
                yield row
            if page.next_key_marker is None:
                return
            key_marker, version_id_marker = page.next_key_marker, page.next_version_id_marker

    async def _read_version(self, key: str, version_id: str) -> ObjectInfo | None:
        try:
            return replace(await self.store.head(key, version_id), version_id=version_id)
        except ObjectMissing:  # a lifecycle rule removed it meanwhile
            return None

    async def _is_found(self, info: ObjectInfo | None, mine: Provenance) -> bool:
        theirs = from_metadata(info.metadata) if info is not None else None
        return (
            info is not None
            and theirs is not None
            and theirs.record_id == mine.record_id
            and await self._is_receipt(info, mine)
        )

    async def _is_receipt(self, info: ObjectInfo, mine: Provenance) -> bool:
        """Whether what carries our record id proves that the save is stored.

        What was stored while versioning was off is no version yet: the next write would replace it. And an attempt may
        have stored other bytes than it sent.
        """
        if info.version_id in (None, "null") and not self._allow_unversioned:
            return False
        if info.sha256 is not None:
            return info.sha256 == mine.sha256
        try:
            return await self._digest(info.key, info.version_id) == mine.sha256
        except IntegrityError:
            return False

    def _learn(self, key: str, newest: ObjectInfo | None) -> Head | None:
        if newest is None:
            self._heads.pop(key, None)
            return None
        theirs = from_metadata(newest.metadata)
        is_ours = theirs is not None and self._is_our_origin(theirs)
        if not is_ours:
            self._tell_foreign(key, newest, theirs)
        known = self._heads.get(key)
        is_no_echo = known is not None and known.is_no_echo and known.version_id == newest.version_id
        sha256 = theirs.sha256 if theirs else None
        return self._keep(key, Head(newest.etag, newest.version_id, sha256, is_ours, is_no_echo))

    def _is_our_origin(self, theirs: Provenance) -> bool:
        # A root directory too long for metadata was left out.
        left_out = not theirs.root_dir and self._origin.startswith(theirs.origin)
        return left_out or theirs.origin == self._origin

    def _tell_foreign(self, key: str, newest: ObjectInfo, theirs: Provenance | None) -> None:
        origin, user = (theirs.origin, theirs.user) if theirs else ("", "")
        self.foreign[key] = ForeignVersion(key, newest.version_id, origin, user)
        self.foreign.move_to_end(key)
        while len(self.foreign) > 100:
            self.foreign.popitem(last=False)

    def _keep(self, key: str, head: Head) -> Head:
        self._heads[key] = head
        self._heads.move_to_end(key)
        while len(self._heads) > MAX_HEADS:
            self._heads.popitem(last=False)
        return head


def _is_earlier(theirs: Provenance | None, mine: Provenance) -> bool:
    return (
        theirs is not None
        and bool(mine.instance)
        and theirs.instance == mine.instance
        and theirs.sequence < mine.sequence
    )
