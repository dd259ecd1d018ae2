"""Notebooks on a shelf: valid ones, versioned below a prefix of their own, with who, when and from which version."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
import time
import uuid
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import quote

from bookstore.errors import (
    BucketNotVersioned,
    IntegrityError,
    InvalidRequest,
    NotANotebook,
    ObjectMissing,
    PathError,
)
from bookstore.media_types import NOTEBOOK_TYPE
from bookstore.notebook_rules import checked_notebook
from bookstore.provenance import MAX_METADATA_BYTES, Provenance, from_metadata, to_metadata
from bookstore.results import Listing, Published, Removed
from bookstore.retry import attempt_timeout
from bookstore.s3_paths import RESERVED, object_key, path_from_key, s3_display_path, s3_key
from bookstore.storage.base import Versioning

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from bookstore.results import Version
    from bookstore.storage.base import ObjectInfo, ObjectRow, ObjectStore, Receipt

__all__ = ["Shelf", "checked_notebook", "fitted_metadata", "metadata_size", "version_url"]

#: Most HEADs under way at a time for one page.
CONCURRENT_HEADS: Final = 8

#: Listings asked for at most to fill one page: what is no notebook is passed over.
_LISTINGS: Final = 100

_LARGEST_PAGE: Final = 1000

#: Metadata that stays where others have to make room.
_ESSENTIAL: Final = frozenset({"bookstore-record", "bookstore-sha256", "bookstore-from-key", "bookstore-from-version"})


class Shelf:
    """The notebooks below one prefix.

    Parameters
    ----------
    store : ObjectStore
    prefix : str
        With its fields filled in.
    host, root_dir : str
        The origin of what is put there, as in `Provenance`.
    before_write : callable
        Awaited before anything is written; raises `BucketNotVersioned` where a write would replace what is there.
    after_write : callable, optional
        Gets the receipt of each write; raises `BucketNotVersioned` where it tells that the bucket keeps no versions
        any more, so that nobody takes for kept what the next write replaces.
    """

    #: What a notebook on the shelf is, and the command that lists all of them, for messages.
    state: ClassVar[str] = "published"
    lister: ClassVar[str] = "bookstore publish --list"

    def __init__(
        self,
        store: ObjectStore,
        prefix: str,
        *,
        host: str,
        root_dir: str,
        before_write: Callable[[], Awaitable[None]],
        after_write: Callable[[Receipt], None] | None = None,
    ) -> None:
        self.store = store
        self.prefix = s3_key(prefix)
        self.host = host
        self.root_dir = root_dir
        self._before_write = before_write
        self._after_write = after_write if after_write is not None else _trusted

    async def put(
        self,
        path: str,
        content: bytes,
        *,
        by: str,
        reason: str,
        source: Version | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Published:
        """Store a notebook as a new version, byte for byte.

        Parameters
        ----------
        path : str
            Ends in ``.ipynb``.
        content : bytes
        by : str
            Who does it; may be empty.
        reason : str
            ``publish`` or ``schedule``.
        source : Version, optional
            The version whose bytes these are.
        parameters : mapping, optional
            Of a scheduled copy only.

        Raises
        ------
        NotANotebook, NotebookInvalid, PathError, InvalidRequest
        IntegrityError
            The bytes are not those of ``source``, or the store holds others than were sent.
        BucketNotVersioned
            Nothing was written; or the store gave what was written no version id.
        StorageError
        """
        key = self._key(path)
        chosen = self._chosen(parameters)
        sha256 = await asyncio.to_thread(_examined, content)
        if source is not None and source.sha256 and source.sha256 != sha256:
            raise IntegrityError(
                f"{reason} {path!r}: the bytes are not those of {source.key!r}, version {source.version_id}"
            )
        provenance = Provenance(
            record_id=uuid.uuid4().hex,
            sha256=sha256,
            saved_at=time.time(),
            user=by,
            host=self.host,
            root_dir=self.root_dir,
            source=source.source if source is not None else "model",
            reason=reason,
            from_key=source.key if source is not None else "",
            from_version=source.version_id if source is not None else "",
        )
        await self._before_write()
        metadata = to_metadata(provenance)
        carried = await self._carried(chosen, MAX_METADATA_BYTES - metadata_size(metadata))
        receipt = await self.store.put(
            key,
            content,
            sha256=sha256,
            metadata=fitted_metadata(metadata, carried),
            content_type=NOTEBOOK_TYPE,
            timeout=attempt_timeout(len(content)),
        )
        self._after_write(receipt)
        await self._prove(receipt, sha256)
        return self._published(key, receipt.version_id, provenance, chosen)

    async def get(self, path: str, version_id: str | None = None) -> Published:
        """What is known of a notebook on the shelf, of its newest version without ``version_id``.

        Raises
        ------
        NotANotebook, PathError
        ObjectMissing
            There is none, or it is hidden.
        StorageError
        """
        return await self._described(await self._found(path, version_id), version_id)

    async def hide(self, path: str) -> Removed:
        """Take a notebook off the shelf by a delete marker; its versions stay.

        Raises
        ------
        NotANotebook, PathError
        ObjectMissing
            There is none, or it is hidden already.
        BucketNotVersioned
            The store would delete the content itself.
        StorageError
        """
        key = self._key(path)
        await self._before_write()
        newest = await self._found(path)
        # Asked for even where a setting allows writing to a bucket that keeps no versions: to hide is not to destroy.
        versioning = (await self.store.probe()).versioning
        keeps = versioning is Versioning.ENABLED
        if versioning is Versioning.UNKNOWN:
            keeps = newest.version_id not in (None, "null")
        if not keeps:
            raise BucketNotVersioned(
                f"hiding {key!r}: the bucket {self.store.bucket!r} keeps no versions, so the content would be deleted",
                "Enable versioning on the bucket and try again, or delete the object with the store's own tools.",
            )
        marker = await self.store.hide(key)
        return Removed(path_from_key(self.prefix, key), key, s3_display_path(self.store.bucket, key), marker)

    async def listing(self, *, limit: int = 50, cursor: str | None = None) -> Listing:
        """A page of what is on the shelf, in the order of the keys.

        Parameters
        ----------
        limit : int
            From 1 to 1,000.
        cursor : str, optional
            That of the page before.

        Raises
        ------
        InvalidRequest
            The limit or the cursor makes no sense.
        StorageError
        """
        if not 1 <= limit <= _LARGEST_PAGE:
            raise InvalidRequest(f"limit must be from 1 to {_LARGEST_PAGE}, not {limit}.")
        rows, after = await self._rows(limit, None if cursor is None else self._after(cursor))
        found = await self._all_described(rows)
        return Listing(
            tuple(item for item in found if item is not None), None if after is None else self._cursor(after)
        )

    # -- what a shelf of another kind does otherwise -------------------------------------------------------------------

    def _chosen(self, parameters: Mapping[str, Any] | None) -> dict[str, Any]:
        """The parameters, checked."""
        if parameters:
            raise InvalidRequest("Only a scheduled copy has parameters.", "Schedule the notebook, or leave them out.")
        return {}

    async def _carried(self, parameters: dict[str, Any], room: int) -> dict[str, str]:
        """Further metadata; of ``room`` bytes nothing else has to make room for it."""
        return {}

    async def _parameters(self, info: ObjectInfo) -> dict[str, Any]:
        """The parameters that an object carries."""
        return {}

    # -- the parts -----------------------------------------------------------------------------------------------------

    def _key(self, path: str) -> str:
        if not path.endswith(".ipynb"):
            raise NotANotebook(f"{path!r} does not end in .ipynb")
        return object_key(self.prefix, path)

    async def _found(self, path: str, version_id: str | None = None) -> ObjectInfo:
        key = self._key(path)
        try:
            return await self.store.head(key, version_id)
        except ObjectMissing as e:
            if version_id is not None:
                what = f"{path!r} has no version {version_id!r} that was {self.state}"
            else:
                what = f"{path!r} is not {self.state}, or is no more"
            raise ObjectMissing(
                f"{what}: there is no {s3_display_path(self.store.bucket, key)}", f"{self.lister} tells what is."
            ) from e

    async def _prove(self, receipt: Receipt, sha256: str) -> None:
        """Read back what was stored, where the store's answer does not prove it."""
        if receipt.verified:
            return
        digest = hashlib.sha256()
        async with self.store.get(receipt.key, receipt.version_id) as body:
            async for chunk in body.chunks:
                digest.update(chunk)
        if digest.hexdigest() != sha256:
            raise IntegrityError(
                f"{receipt.key!r}, version {receipt.version_id}, was stored with other bytes than were sent"
            )

    async def _described(self, info: ObjectInfo, version_id: str | None = None) -> Published:
        provenance = from_metadata(info.metadata)
        if provenance is None:  # somebody else's program put it there
            saved_at = info.last_modified.timestamp()
            provenance = Provenance(record_id="", sha256=info.sha256 or "", saved_at=saved_at)
        return self._published(info.key, info.version_id or version_id, provenance, await self._parameters(info))

    def _published(
        self, key: str, version_id: str | None, provenance: Provenance, parameters: dict[str, Any]
    ) -> Published:
        return Published(
            path=path_from_key(self.prefix, key),
            key=key,
            s3_path=s3_display_path(self.store.bucket, key),
            versionID=version_id,
            sha256=provenance.sha256,
            by=provenance.user,
            at=datetime.fromtimestamp(provenance.saved_at, timezone.utc).isoformat(timespec="milliseconds"),
            from_key=provenance.from_key,
            from_version=provenance.from_version,
            parameters=parameters,
            url=version_url(self.store.bucket, key, version_id),
        )

    async def _rows(self, limit: int, after: str | None) -> tuple[list[ObjectRow], str | None]:
        """The next notebooks, and where the page after them begins."""
        folder = f"{self.prefix}/"
        reserved = f"{folder}{RESERVED}/"
        rows: list[ObjectRow] = []
        for _ in range(_LISTINGS):
            page = await self.store.list_objects(folder, after=after, limit=limit - len(rows))
            rows += [row for row in page.objects if row.key.endswith(".ipynb") and not row.key.startswith(reserved)]
            after = page.next_after
            if after is None or len(rows) == limit:
                break
            if after.startswith(reserved):
                # A key, so that the pages follow in their order: behind "/" comes "0", and all of the folder is passed
                # over at once.
                after = f"{folder}{RESERVED}0"
        return rows, after

    async def _all_described(self, rows: Sequence[ObjectRow]) -> list[Published | None]:
        places = asyncio.Semaphore(CONCURRENT_HEADS)

        async def described(row: ObjectRow) -> Published | None:
            async with places:
                try:
                    info = await self.store.head(row.key)
                except ObjectMissing:  # hidden since the listing
                    return None
                return await self._described(info)

        tasks = [asyncio.ensure_future(described(row)) for row in rows]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _cursor(self, after: str) -> str:
        """What a caller hands back for the page behind ``after``, which only the store understands."""
        document = json.dumps({"format": 1, "prefix": self.prefix, "after": after}, separators=(",", ":"))
        return base64.urlsafe_b64encode(document.encode()).decode("ascii")

    def _after(self, cursor: str) -> str:
        """The way back of `_cursor`."""
        try:
            document = json.loads(base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True))
        except (ValueError, binascii.Error, RecursionError):
            document = None
        match document:
            case {"format": 1, "prefix": self.prefix, "after": str(after)}:
                return after
        raise InvalidRequest("The cursor is none of this listing.", "Begin again without a cursor.")


def version_url(bucket: str, key: str, version_id: str | None) -> str:
    """The address of a version that papermill reads: ``bookstore://bucket/key?versionId=…``.

    Everything that could be taken for something else is percent-encoded, braces too, which papermill fills in.
    """
    address = f"bookstore://{bucket}/{quote(key, safe='/')}"
    return address if version_id is None else f"{address}?versionId={quote(version_id, safe='')}"


def metadata_size(metadata: Mapping[str, str]) -> int:
    """Bytes that metadata take on the wire, names and values together."""
    return sum(len(name) + len(value) for name, value in metadata.items())


def fitted_metadata(metadata: dict[str, str], carried: Mapping[str, str]) -> dict[str, str]:
    """Provenance and what is carried beside it, within S3's limit.

    Parameters
    ----------
    metadata : dict
        Of `bookstore.provenance.to_metadata`: the least needed last. Record, SHA-256 and the version that the bytes
        are from stay; the rest makes room from the end.
    carried : mapping
        Stays.

    Raises
    ------
    PathError
        There is no room for what must stay.
    """
    fitted = dict(metadata)
    for name in reversed(metadata):
        if metadata_size(fitted) + metadata_size(carried) <= MAX_METADATA_BYTES:
            break
        if name not in _ESSENTIAL:
            del fitted[name]
    if metadata_size(fitted) + metadata_size(carried) > MAX_METADATA_BYTES:
        raise PathError("the paths are too long to travel together as metadata of one object")
    return {**fitted, **carried}


def _trusted(receipt: Receipt) -> None:
    """Take a write as it is."""


def _examined(content: bytes) -> str:
    """The SHA-256 of a valid notebook."""
    checked_notebook(content)
    return hashlib.sha256(content).hexdigest()
