"""What a versioned object store can do, whoever provides it.

The rest of bookstore knows stores only through this module. Values are small frozen dataclasses; errors are those of
`bookstore.errors`; no SDK type crosses this border in either direction.
"""

from __future__ import annotations

import abc
import enum
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime


class Versioning(enum.Enum):
    """Whether a bucket keeps versions, as far as the store tells."""

    ENABLED = "enabled"
    SUSPENDED = "suspended"
    OFF = "off"
    UNKNOWN = "unknown"  #: asking is forbidden or not implemented; a version id in a PUT's answer is the other proof


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One row of a key's history.

    Attributes
    ----------
    key : str
        The object's key.
    version_id : str
        The store's name for the version; ``"null"`` for what was written while versioning was off or suspended.
    size : int
        Bytes; 0 for a delete marker.
    etag : str
        Without quotes; empty for a delete marker. No content hash under SSE-KMS.
    last_modified : datetime
        When the store took it, with time zone.
    is_latest : bool
        True for the version that a GET without version id answers.
    is_delete_marker : bool
        True for the row that hides the key.
    """

    key: str
    version_id: str
    size: int
    etag: str
    last_modified: datetime
    is_latest: bool
    is_delete_marker: bool = False


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a HEAD tells of one version.

    Attributes
    ----------
    key, etag, size, last_modified
        As in `ObjectVersion`.
    version_id : str or None
        None where the store names no version (an unversioned bucket).
    metadata : Mapping[str, str]
        User metadata, names in lower case without ``x-amz-meta-``.
    content_type : str
    sha256 : str or None
        SHA-256 of the content in lower-case hex, where the store kept the checksum and tells it.
    """

    key: str
    version_id: str | None
    size: int
    etag: str
    last_modified: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/octet-stream"
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The store's word that it holds the bytes.

    Attributes
    ----------
    key : str
    version_id : str or None
        None or ``"null"`` where the bucket keeps no versions.
    etag : str
        Without quotes.
    size : int
        Bytes stored.
    verified : bool
        True when the answer itself proves the content: the store returned our SHA-256, or an ETag that is the
        content's MD5. Otherwise only a read-back proves it.
    """

    key: str
    version_id: str | None
    etag: str
    size: int
    verified: bool


@dataclass(frozen=True, slots=True)
class VersionPage:
    """One page of a listing of versions, in the store's order: by key, the newest version of each key first.

    Attributes
    ----------
    versions : tuple of ObjectVersion
        Delete markers included.
    next_key_marker, next_version_id_marker : str or None
        Hand both to the next call; None after the last page.
    folders : tuple of str
        With a delimiter: the prefixes, up to and with the delimiter, that stand for the keys below them.
    in_key_order : bool
        True where the store is known to put all pages together in the order of the keys. False: a listing of one
        page is whole, but over several pages some servers leave rows out.
    """

    versions: tuple[ObjectVersion, ...]
    next_key_marker: str | None = None
    next_version_id_marker: str | None = None
    folders: tuple[str, ...] = ()
    in_key_order: bool = True


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """One object of a listing: the current version of its key.

    Attributes
    ----------
    key, size, etag, last_modified
        As in `ObjectVersion`.
    """

    key: str
    size: int
    etag: str
    last_modified: datetime


@dataclass(frozen=True, slots=True)
class ObjectPage:
    """One page of a listing of current objects, in the order of their keys' bytes.

    Some servers order no further than within a page: SeaweedFS puts ``a/`` before ``a-2/``.

    Attributes
    ----------
    objects : tuple of ObjectRow
        Keys that a delete marker hides are left out.
    next_after : str or None
        Hand it to the next call; None after the last page. What it looks like is the store's own business.
    """

    objects: tuple[ObjectRow, ...]
    next_after: str | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """What reading alone tells of the bucket.

    Attributes
    ----------
    versioning : Versioning
    server_time : datetime or None
        The ``Date`` of the store's answer, to find a wrong clock here.
    """

    versioning: Versioning
    server_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class ObjectBody:
    """An open object: what a HEAD tells, and the bytes as they arrive.

    Attributes
    ----------
    info : ObjectInfo
    chunks : AsyncIterator[bytes]
        The content in order. A content shorter than ``info.size`` raises `IntegrityError` at its end.
    """

    info: ObjectInfo
    chunks: AsyncIterator[bytes]


class ObjectStore(abc.ABC):
    """One bucket of a versioned object store.

    Every method raises a `bookstore.errors.StorageError` of the kind that fits, and nothing else; cancellation passes
    through. A method makes one request to the store unless it says otherwise, and never repeats one by itself: the
    caller retries, and counts. An instance belongs to one event loop.
    """

    bucket: str
    #: Where the store answers; None for AWS.
    endpoint_url: str | None = None

    @abc.abstractmethod
    async def put(
        self,
        key: str,
        body: bytes | memoryview,
        *,
        sha256: str,
        metadata: Mapping[str, str] | None = None,
        content_type: str = "application/octet-stream",
        tags: Mapping[str, str] | None = None,
        if_match: str | None = None,
        if_none_match: bool = False,
        timeout: float | None = None,
    ) -> Receipt:
        """Store a new version.

        Parameters
        ----------
        key : str
            At most 1,024 bytes of UTF-8.
        body : bytes or memoryview
            The content.
        sha256 : str
            SHA-256 of the content, lower-case hex; sent along, so that the store can refuse other bytes.
        metadata : Mapping[str, str], optional
            ASCII; at most 2 KB in all (S3 User Guide, "Working with object metadata").
        content_type : str
        tags : Mapping[str, str], optional
            Tags of the new version.
        if_match : str, optional
            Write only if the newest version has this ETag (without quotes).
        if_none_match : bool
            Write only if there is no current version.
        timeout : float, optional
            Seconds for the whole attempt.

        Raises
        ------
        PreconditionFailed
            The condition did not hold (409, 412), or ``if_match`` met no object (404).
        ObjectRefused
            The store will never take this object.
        StorageError
            Anything else, by kind. After `StoreTimeout`, `StoreFault` and `StoreUnreachable` the object may be
            stored all the same, or be stored later.
        """

    @abc.abstractmethod
    def get(self, key: str, version_id: str | None = None) -> AbstractAsyncContextManager[ObjectBody]:
        """Open a version for reading, the newest without ``version_id``.

        Raises
        ------
        ObjectMissing
            No such key or version, or a delete marker.
        """

    @abc.abstractmethod
    async def head(self, key: str, version_id: str | None = None) -> ObjectInfo:
        """Tell what is known of a version, the newest without ``version_id``.

        Raises
        ------
        ObjectMissing
            No such key or version, or a delete marker.
        """

    @abc.abstractmethod
    async def list_versions(
        self,
        prefix: str,
        *,
        key_marker: str | None = None,
        version_id_marker: str | None = None,
        delimiter: str | None = None,
        limit: int = 1000,
    ) -> VersionPage:
        """List versions and delete markers of all keys that begin with ``prefix``, one page.

        Give an exact key: its rows are complete and come first, and the caller drops those of longer keys. Some
        servers leave out rows of other keys over several pages: for all that is below a folder see
        `bookstore.storage.walk.walk_versions`. May take a second request for an exact key.

        Parameters
        ----------
        prefix : str
        key_marker, version_id_marker : str, optional
            Where the page before ended.
        delimiter : str, optional
            Stands, in ``folders``, for all keys that have it after the prefix.
        limit : int
            Rows and folders on the page, at least 1; a store gives at most 1,000.

        Raises
        ------
        ValueError
            For a ``limit`` below 1.
        """

    @abc.abstractmethod
    async def list_objects(self, prefix: str, *, after: str | None = None, limit: int = 1000) -> ObjectPage:
        """List the current objects of all keys that begin with ``prefix``, one page.

        Parameters
        ----------
        prefix : str
        after : str, optional
            ``next_after`` of the page before, or any key: the page begins behind it.
        limit : int
            Rows on the page, at least 1; a store gives at most 1,000. A page may have fewer, or none, and not be
            the last.

        Raises
        ------
        ValueError
            For a ``limit`` below 1.
        """

    @abc.abstractmethod
    async def hide(self, key: str) -> str | None:
        """Add a delete marker: the key has no current version any more, and keeps those that it had.

        A key that never was gets a marker all the same. Where the bucket keeps no versions, the object itself would
        be deleted: make sure of its versioning first.

        Returns
        -------
        str or None
            The marker's version id; None where the store named none, so that nothing says that the content is kept.
        """

    @abc.abstractmethod
    async def copy(self, source_key: str, key: str, *, source_version_id: str | None = None) -> Receipt:
        """Store a version's bytes and metadata as a new version of another key, inside the store.

        Two requests: a HEAD of the source, whose size the receipt tells, and the copy.
        """

    @abc.abstractmethod
    async def set_tags(self, key: str, tags: Mapping[str, str], version_id: str | None = None) -> None:
        """Replace the tags of one version."""

    @abc.abstractmethod
    async def get_tags(self, key: str, version_id: str | None = None) -> dict[str, str]:
        """Tell the tags of one version."""

    @abc.abstractmethod
    async def probe(self) -> Probe:
        """Look at the bucket by reading only: does it answer, does it exist, does it keep versions.

        Two requests at most. `BucketMissing`, `AccessDenied`, `CredentialsRejected` and the rest tell what does not
        hold; a forbidden question about versioning is no error but `Versioning.UNKNOWN`.
        """

    async def glance(self) -> Probe:
        """Probe on behalf of somebody who may not need the store for a while: what that costs is given back."""
        return await self.probe()

    @abc.abstractmethod
    async def refresh(self) -> None:
        """Forget the client, so that the next call reads credentials anew. Calls under way end undisturbed."""

    @abc.abstractmethod
    async def aclose(self) -> None:
        """Close the connections. May be called twice; a later call of another method connects anew."""
