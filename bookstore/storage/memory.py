"""A versioned bucket in memory that behaves like S3: for tests, bookstore's own and those of programs that use it.

It ships beside the real store and passes the same conformance suite.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final

from bookstore.errors import (
    BucketMissing,
    IntegrityError,
    ObjectMissing,
    ObjectRefused,
    PreconditionFailed,
    StorageError,
)
from bookstore.storage.base import (
    ObjectBody,
    ObjectInfo,
    ObjectPage,
    ObjectRow,
    ObjectStore,
    ObjectVersion,
    Probe,
    Receipt,
    Versioning,
    VersionPage,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager

#: Bytes handed out at a time by `MemoryStore.get`.
_PIECE: Final = 64 * 1024
#: S3 User Guide, "Creating object key names" and "Working with object metadata"; API reference, ListObjectVersions.
_LONGEST_KEY: Final = 1024
_LARGEST_METADATA: Final = 2048
_LARGEST_PAGE: Final = 1000

_NULL: Final = "null"


@dataclass(frozen=True, slots=True)
class _Version:
    """A version, or a delete marker if it has no content."""

    version_id: str
    content: bytes | None
    etag: str
    sha256: str | None
    last_modified: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/octet-stream"
    tags: Mapping[str, str] = field(default_factory=dict)


class MemoryStore(ObjectStore):
    """One bucket in memory.

    Parameters
    ----------
    bucket : str
    versioning : Versioning
        ``ENABLED``, ``SUSPENDED`` or ``OFF`` as in S3: without it a write replaces the version ``"null"``.
        ``UNKNOWN`` keeps versions but does not say so, like a bucket whose policy forbids the question.
    exists : bool
        False makes every call fail with `BucketMissing`.
    clock : callable, optional
        Gives the time of a write and of `probe`; the system's clock if left out.

    Attributes
    ----------
    versioning : Versioning
        May be set at any time.
    exists : bool
        May be set at any time.
    requests : Counter of str
        How often each operation was asked for, by its name in the S3 reference (``PutObject``), refused ones included.
    faults : callable or None
        Called with the operation and the key (the bucket's operations: ``""``) before anything happens; the error
        that it returns is raised. For an answer that gets lost after the write see ``lost_answers``.
    lost_answers : callable or None
        Like ``faults``, but called after a write has taken effect.
    """

    def __init__(
        self,
        bucket: str = "memory",
        *,
        versioning: Versioning = Versioning.ENABLED,
        exists: bool = True,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self.bucket = bucket
        self.versioning = versioning
        self.exists = exists
        self.requests: Counter[str] = Counter()
        self.faults: Callable[[str, str], StorageError | None] | None = None
        self.lost_answers: Callable[[str, str], StorageError | None] | None = None
        self._clock = clock or (lambda: datetime.now(timezone.utc))
        self._numbers = itertools.count(1)
        #: Per key, the newest last.
        self._keys: defaultdict[str, list[_Version]] = defaultdict(list)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.bucket!r}, versioning={self.versioning})"

    async def put(  # noqa: D102  (the contract is that of the base class)
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
        content = bytes(body)
        self._begin("PutObject", key)
        self._check_key("PutObject", key)
        self._check_metadata(key, metadata or {})
        actual = hashlib.sha256(content).hexdigest()
        if actual != sha256:
            raise IntegrityError(f"{self._name('PutObject', key)}: the content's SHA-256 is {actual}, not {sha256}")
        self._check_condition(key, if_match, if_none_match)
        version = self._write(key, content, metadata or {}, content_type, tags)
        self._end("PutObject", key)
        return self._receipt(key, version)

    def get(self, key: str, version_id: str | None = None) -> AbstractAsyncContextManager[ObjectBody]:  # noqa: D102
        return self._open(key, version_id)

    @contextlib.asynccontextmanager
    async def _open(self, key: str, version_id: str | None) -> AsyncGenerator[ObjectBody]:
        self._begin("GetObject", key)
        version, content = self._find("GetObject", key, version_id)
        yield ObjectBody(self._info(key, version, content), _pieces(content))

    async def head(self, key: str, version_id: str | None = None) -> ObjectInfo:  # noqa: D102
        self._begin("HeadObject", key)
        return self._info(key, *self._find("HeadObject", key, version_id))

    async def list_versions(  # noqa: D102
        self,
        prefix: str,
        *,
        key_marker: str | None = None,
        version_id_marker: str | None = None,
        delimiter: str | None = None,
        limit: int = _LARGEST_PAGE,
    ) -> VersionPage:
        if limit < 1:
            raise ValueError(f"a page holds at least one row, not {limit}")
        self._begin("ListObjectVersions", prefix)
        rows = self._after(self._rows(prefix), key_marker, version_id_marker)
        entries = _folded(rows, prefix, delimiter, key_marker)
        page = list(itertools.islice(entries, min(limit, _LARGEST_PAGE)))
        versions = tuple(entry for entry in page if isinstance(entry, ObjectVersion))
        folders = tuple(entry for entry in page if isinstance(entry, str))
        if next(entries, None) is None:
            return VersionPage(versions, folders=folders)
        last = page[-1]
        if isinstance(last, str):
            return VersionPage(versions, last, None, folders)
        return VersionPage(versions, last.key, last.version_id, folders)

    async def list_objects(  # noqa: D102
        self, prefix: str, *, after: str | None = None, limit: int = _LARGEST_PAGE
    ) -> ObjectPage:
        if limit < 1:
            raise ValueError(f"a page holds at least one row, not {limit}")
        self._begin("ListObjectsV2", prefix)
        found = (
            ObjectRow(row.key, row.size, row.etag, row.last_modified)
            for row in self._after(self._rows(prefix), after, None)
            if row.is_latest and not row.is_delete_marker
        )
        page = tuple(itertools.islice(found, min(limit, _LARGEST_PAGE)))
        return ObjectPage(page, page[-1].key if next(found, None) is not None else None)

    async def copy(self, source_key: str, key: str, *, source_version_id: str | None = None) -> Receipt:  # noqa: D102
        self._begin("HeadObject", source_key)
        source, content = self._find("HeadObject", source_key, source_version_id)
        self._begin("CopyObject", key)
        self._check_key("CopyObject", key)
        version = self._write(key, content, source.metadata, source.content_type, source.tags)
        self._end("CopyObject", key)
        return self._receipt(key, version)

    async def set_tags(self, key: str, tags: Mapping[str, str], version_id: str | None = None) -> None:  # noqa: D102
        self._begin("PutObjectTagging", key)
        if len(tags) > 10:
            raise ObjectRefused(f"{self._name('PutObjectTagging', key)}: {len(tags)} tags, and 10 are allowed")
        version, _ = self._find("PutObjectTagging", key, version_id)
        history = self._keys[key]
        history[history.index(version)] = replace(version, tags=dict(tags))
        self._end("PutObjectTagging", key)

    async def get_tags(self, key: str, version_id: str | None = None) -> dict[str, str]:  # noqa: D102
        self._begin("GetObjectTagging", key)
        version, _ = self._find("GetObjectTagging", key, version_id)
        return dict(version.tags)

    async def hide(self, key: str) -> str | None:  # noqa: D102
        self._begin("DeleteObject", key)
        self._check_key("DeleteObject", key)
        marker = self.delete(key)
        self._end("DeleteObject", key)
        return marker

    async def probe(self) -> Probe:  # noqa: D102
        self._begin("GetBucketVersioning", "")
        self._begin("HeadBucket", "")
        return Probe(self.versioning, self._clock())

    async def refresh(self) -> None:
        """Count the call; there are no credentials to read anew."""
        self.requests["refresh"] += 1

    async def aclose(self) -> None:
        """Do nothing; the content stays."""

    def delete(self, key: str) -> str | None:
        """Do what `hide` does, as somebody else would: not counted, never failing, and without waiting."""
        if self.versioning is Versioning.OFF:
            self._keys.pop(key, None)
            return None
        return self._append(key, None, {}, "", {}).version_id

    def _begin(self, operation: str, key: str) -> None:
        self.requests[operation] += 1
        self._fail(self.faults, operation, key)
        if not self.exists:
            raise BucketMissing(f"{operation} s3://{self.bucket}: no such bucket")

    def _end(self, operation: str, key: str) -> None:
        self._fail(self.lost_answers, operation, key)

    @staticmethod
    def _fail(hook: Callable[[str, str], StorageError | None] | None, operation: str, key: str) -> None:
        error = hook(operation, key) if hook is not None else None
        if error is not None:
            raise error

    def _check_key(self, operation: str, key: str) -> None:
        size = len(key.encode())
        if not 0 < size <= _LONGEST_KEY:
            raise ObjectRefused(
                f"{self._name(operation, key)}: the key has {size} bytes, and 1 to {_LONGEST_KEY} are allowed"
            )

    def _check_metadata(self, key: str, metadata: Mapping[str, str]) -> None:
        name = self._name("PutObject", key)
        if not all(text.isascii() for pair in metadata.items() for text in pair):
            raise ObjectRefused(f"{name}: metadata must be ASCII")
        size = sum(len(text) for pair in metadata.items() for text in pair)
        if size > _LARGEST_METADATA:
            raise ObjectRefused(f"{name}: {size} bytes of metadata, and {_LARGEST_METADATA} are allowed")

    def _check_condition(self, key: str, if_match: str | None, if_none_match: bool) -> None:
        newest = self._keys[key][-1] if self._keys.get(key) else None
        current = newest if newest is not None and newest.content is not None else None
        name = self._name("PutObject", key)
        if if_none_match and current is not None:
            raise PreconditionFailed(f"{name}: there is a version already, {current.version_id}")
        if if_match is not None and current is None:
            raise PreconditionFailed(f"{name}: no version to match ETag {if_match}")
        if if_match is not None and current is not None and current.etag != if_match:
            raise PreconditionFailed(f"{name}: the newest version's ETag is {current.etag}, not {if_match}")

    def _write(
        self,
        key: str,
        content: bytes,
        metadata: Mapping[str, str],
        content_type: str,
        tags: Mapping[str, str] | None = None,
    ) -> _Version:
        names = {name.lower(): value for name, value in metadata.items()}
        return self._append(key, content, names, content_type, tags or {})

    def _append(
        self, key: str, content: bytes | None, metadata: Mapping[str, str], content_type: str, tags: Mapping[str, str]
    ) -> _Version:
        keeps = self.versioning in (Versioning.ENABLED, Versioning.UNKNOWN)
        version = _Version(
            version_id=f"v{next(self._numbers):08}" if keeps else _NULL,
            content=content,
            etag="" if content is None else hashlib.md5(content, usedforsecurity=False).hexdigest(),
            sha256=None if content is None else hashlib.sha256(content).hexdigest(),
            last_modified=self._clock(),
            metadata=metadata,
            content_type=content_type,
            tags=dict(tags),
        )
        history = [old for old in self._keys[key] if old.version_id != version.version_id]
        self._keys[key] = [*history, version]
        return version

    def _find(self, operation: str, key: str, version_id: str | None) -> tuple[_Version, bytes]:
        name = self._name(operation, key)
        history = self._keys.get(key, [])
        found = [old for old in history if version_id in (None, old.version_id)]
        if not found:
            wanted = "key" if version_id is None else f"version {version_id}"
            raise ObjectMissing(f"{name}: no such {wanted}")
        if found[-1].content is None:
            raise ObjectMissing(f"{name}: a delete marker")
        return found[-1], found[-1].content

    def _rows(self, prefix: str) -> Iterator[ObjectVersion]:
        for key in sorted(self._keys, key=str.encode):
            if key.startswith(prefix):
                yield from self._history(key)

    def _history(self, key: str) -> Iterator[ObjectVersion]:
        newest_first = self._keys[key][::-1]
        for version in newest_first:
            yield ObjectVersion(
                key=key,
                version_id=version.version_id,
                size=len(version.content or b""),
                etag=version.etag,
                last_modified=version.last_modified,
                is_latest=version is newest_first[0],
                is_delete_marker=version.content is None,
            )

    @staticmethod
    def _after(
        rows: Iterator[ObjectVersion], key_marker: str | None, version_id_marker: str | None
    ) -> Iterator[ObjectVersion]:
        if key_marker is None:
            return rows
        if version_id_marker is None:
            return itertools.dropwhile(lambda row: row.key.encode() <= key_marker.encode(), rows)
        before = itertools.dropwhile(lambda row: (row.key, row.version_id) != (key_marker, version_id_marker), rows)
        return itertools.islice(before, 1, None)

    def _info(self, key: str, version: _Version, content: bytes) -> ObjectInfo:
        return ObjectInfo(
            key=key,
            version_id=self._told(version),
            size=len(content),
            etag=version.etag,
            last_modified=version.last_modified,
            metadata=dict(version.metadata),
            content_type=version.content_type,
            sha256=version.sha256,
        )

    def _receipt(self, key: str, version: _Version) -> Receipt:
        size = len(version.content or b"")
        return Receipt(key, self._told(version), version.etag, size, verified=True)

    def _told(self, version: _Version) -> str | None:
        """Name the version as the answer does: S3 names none where versioning was never on."""
        return None if self.versioning is Versioning.OFF else version.version_id

    def _name(self, operation: str, key: str) -> str:
        return f"{operation} s3://{self.bucket}/{key}"


def _folded(
    rows: Iterator[ObjectVersion], prefix: str, delimiter: str | None, marker: str | None
) -> Iterator[ObjectVersion | str]:
    """Let a folder's name stand for the rows below it, once, and not again where the page before ended with it."""
    told = marker
    for row in rows:
        end = -1 if delimiter is None else row.key.find(delimiter, len(prefix))
        if end < 0:
            yield row
            continue
        folder = row.key[: end + len(delimiter or "")]
        if folder != told:
            told = folder
            yield folder


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), _PIECE):
        yield content[start : start + _PIECE]
