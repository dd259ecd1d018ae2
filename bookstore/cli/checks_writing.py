"""The doctor's steps that write: each proves one thing that archiving relies on.

What is written goes to one key, ``<prefix>/.bookstore/doctor``; nothing is deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import shlex
import time
from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING

from bookstore.cli.checks import Finding
from bookstore.errors import (
    BookstoreError,
    IntegrityError,
    ObjectRefused,
    PreconditionFailed,
    StorageError,
)
from bookstore.storage.base import Probe, Receipt, Versioning

if TYPE_CHECKING:
    from bookstore.bookstore_config import BookstoreSettings
    from bookstore.storage.base import ObjectStore

#: The steps, in their order.
WRITING = ("write", "versioned", "read back", "history", "tags", "conditions", "checksums")


class WriteChecks:
    """Writes one object, again and again, and looks at what becomes of it.

    Parameters
    ----------
    settings : BookstoreSettings
    store : ObjectStore
    key : str
        Where to write.
    """

    def __init__(self, settings: BookstoreSettings, store: ObjectStore, key: str) -> None:
        self._settings = settings
        self._store = store
        self.key = key

    async def findings(self, probe: Probe) -> AsyncIterator[Finding]:
        """Every step's finding, as it is made."""
        body = f"bookstore doctor writes this object. {secrets.token_hex(16)}\n".encode("ascii")
        digest = hashlib.sha256(body).hexdigest()
        start = time.perf_counter()
        try:
            receipt = await self._store.put(self.key, body, sha256=digest, content_type="text/plain")
        except BookstoreError as e:
            yield failed("write", e)
            yield self.versioned_by_word(probe)
            for step in WRITING[2:]:
                yield Finding(step, "skipped", "nothing could be written")
            return
        took = (time.perf_counter() - start) * 1000
        yield Finding("write", "ok", f"s3://{self._store.bucket}/{self.key} in {took:.0f} ms")
        versioned = self._versioned(probe, receipt)
        yield versioned
        yield await guarded("read back", self._read_back(receipt, body))
        if versioned.state == "ok":
            yield await guarded("history", self._history(receipt))
        else:
            yield Finding("history", "skipped", "the bucket keeps no versions")
        yield await guarded("tags", self._tags(receipt), severe=False)
        yield await guarded("conditions", self._conditions(body, digest))
        yield await guarded("checksums", self._checksums(receipt, body, digest))

    def versioned_by_word(self, probe: Probe) -> Finding:
        """Whether the bucket keeps versions, as far as the store tells without a write."""
        if probe.versioning is Versioning.UNKNOWN:
            return Finding("versioned", "skipped", "the store does not tell, and without writing nothing else does")
        if probe.versioning is Versioning.ENABLED:
            return Finding("versioned", "ok", "the store says so")
        return self._not_versioned(f"versioning is {probe.versioning.value}")

    def _versioned(self, probe: Probe, receipt: Receipt) -> Finding:
        if receipt.version_id in (None, "null"):
            said = "although it says that it does" if probe.versioning is Versioning.ENABLED else probe.versioning.value
            return self._not_versioned(f"the write got no version id: the bucket keeps no versions ({said})")
        if probe.versioning in (Versioning.OFF, Versioning.SUSPENDED):
            return self._not_versioned(f"versioning is {probe.versioning.value}")
        return Finding("versioned", "ok", f"the write got a version id, {receipt.version_id}")

    def _not_versioned(self, what: str) -> Finding:
        if self._settings.allow_unversioned:
            return Finding(
                "versioned", "warning", f"{what}; allow_unversioned is set.", "Each save replaces the one before."
            )
        where = f" --endpoint-url {shlex.quote(self._settings.endpoint)}" if self._settings.endpoint else ""
        return Finding(
            "versioned",
            "failed",
            f"{what}. Saves wait in the outbox.",
            f"aws{where} s3api put-bucket-versioning --bucket {shlex.quote(self._store.bucket)} "
            "--versioning-configuration Status=Enabled",
        )

    async def _read_back(self, receipt: Receipt, body: bytes) -> Finding:
        async with self._store.get(self.key, _real(receipt)) as found:
            read = b"".join([chunk async for chunk in found.chunks])
        if read != body:
            return Finding(
                "read back",
                "failed",
                f"{len(read)} bytes came back, and they are not the {len(body)} that were written.",
                "Something between this machine and the store changes the bytes: a proxy, or the store itself.",
            )
        return Finding("read back", "ok", f"{len(body)} bytes, byte for byte")

    async def _history(self, receipt: Receipt) -> Finding:
        key_marker, version_id_marker, rows = None, None, 0
        while True:
            page = await self._store.list_versions(
                self.key, key_marker=key_marker, version_id_marker=version_id_marker, limit=1000
            )
            for row in page.versions:
                rows += row.key == self.key
                if row.key == self.key and row.version_id == receipt.version_id:
                    return Finding("history", "ok", "the version is listed")
            if page.next_key_marker is None:
                break
            key_marker, version_id_marker = page.next_key_marker, page.next_version_id_marker
        return Finding(
            "history",
            "failed",
            f"the version that was just written is not among the {rows} that the store lists.",
            "The store lists late or not at all; versions are safe, but their history cannot be shown.",
        )

    async def _tags(self, receipt: Receipt) -> Finding:
        version_id = _real(receipt)
        tags = {"bookstore-doctor": "checked"}
        await self._store.set_tags(self.key, tags, version_id)
        if await self._store.get_tags(self.key, version_id) != tags:
            return Finding(
                "tags",
                "warning",
                "the store does not keep them.",
                "Pins are not mirrored as tags, which lifecycle rules select by.",
            )
        return Finding("tags", "ok", "kept on one version")

    async def _conditions(self, body: bytes, digest: str) -> Finding:
        """Write on conditions that do not hold: each must be refused."""
        ignored = []
        wrong = "0" * 32
        for name, if_match, if_none_match in (("If-None-Match", None, True), ("If-Match", wrong, False)):
            try:
                await self._store.put(
                    self.key,
                    body,
                    sha256=digest,
                    content_type="text/plain",
                    if_match=if_match,
                    if_none_match=if_none_match,
                )
            except PreconditionFailed:
                continue
            ignored.append(name)
        if ignored:
            return Finding(
                "conditions",
                "warning",
                f"the store ignores {' and '.join(ignored)}: of two servers that write one path at the same time, one "
                "may hide the other's version unnoticed. No version is lost.",
                "Give each server a prefix of its own, or use a store with conditional writes.",
            )
        return Finding("conditions", "ok", "If-None-Match and If-Match are honoured")

    async def _checksums(self, receipt: Receipt, body: bytes, digest: str) -> Finding:
        told = (await self._store.head(self.key, _real(receipt))).sha256
        before = await self._store.head(self.key)
        with contextlib.suppress(IntegrityError, ObjectRefused):
            # As if the bytes had been altered on their way.
            await self._store.put(self.key, body + b"altered\n", sha256=digest, content_type="text/plain")
        after = await self._store.head(self.key)
        is_refused = (after.etag, after.version_id) == (before.etag, before.version_id)
        if told == digest and is_refused:
            return Finding("checksums", "ok", "SHA-256 is kept, and a wrong one refused")
        lacks = [] if told == digest else ["does not keep SHA-256"]
        lacks += [] if is_refused else ["takes bytes that do not match their SHA-256"]
        proof = "by what it answers to a save" if receipt.verified else "by reading each save back"
        return Finding(
            "checksums",
            "warning",
            f"the store {' and '.join(lacks)}; bookstore proves what is stored {proof}.",
            "Nothing to do. Over plain HTTP, TLS would protect the bytes on their way.",
        )


def _real(receipt: Receipt) -> str | None:
    """The version's id; None in a bucket without versions, where the newest object is the only one."""
    return None if receipt.version_id in (None, "null") else receipt.version_id


async def guarded(step: str, check: Awaitable[Finding], *, severe: bool = True) -> Finding:
    """What a check finds; an error of the store fails the step, or is a warning where it is not ``severe``."""
    try:
        return await check
    except StorageError as e:
        return Finding(step, "failed" if severe else "warning", text_of(e), e.hint)


def failed(step: str, error: BookstoreError) -> Finding:
    """The finding that an error is."""
    return Finding(step, "failed", text_of(error), error.hint)


def text_of(error: BookstoreError) -> str:
    """An error as a sentence."""
    text = str(error)
    return text if text.endswith(".") else f"{text}."
