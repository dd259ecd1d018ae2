"""The versions of a path: list, read, compare, label, restore, and archive the file as it is now."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from urllib.parse import quote

from jupyter_server.auth.decorator import authorized
from tornado import web
from tornado.iostream import StreamClosedError

from bookstore.errors import ContentTooLarge, InvalidRequest, ObjectMissing, StorageError
from bookstore.library import SHIP_TIMEOUT
from bookstore.media_types import content_type
from bookstore.provenance import altered
from bookstore.rest.base import AUTH_RESOURCE, BookstoreAPIHandler, BringsContent, as_bounded_json, seconds
from bookstore.rest.bodies import Field, checked
from bookstore.rest.places import Places
from bookstore.results import Comparison, Version

#: Bytes per second that the reader of a content has to take in the long run, and seconds that it may fall behind.
SLOWEST = 16 * 1024
GRACE = 60.0

#: Bytes of a content that is read whole before it is sent, so that its reader keeps no connection to the store.
SMALL = 1024 * 1024

#: Seconds to wait until a content can be sent, and how many may wait.
CONTENT_PATIENCE = 15.0
CONTENT_WAITING = 64

#: Comparisons at a time: they keep a processor busy, and saves need it too. How many may wait, and how many seconds.
COMPARISONS = 1
COMPARISON_WAITING = 8
COMPARISON_PATIENCE = 30.0

#: Characters of a comparison, as JSON.
MAX_COMPARISON = 8 * 1024 * 1024

#: What counts beside ``content`` of a body that brings some: fields of a contents model, and what is asked.
_UNSAVED = (
    Field("before", "version"),
    Field("type", required=True),
    Field("format"),
    Field("notebook", "flag"),
)

#: Bytes that are hashed at once: more would be felt by everybody else.
_HASH_INLINE = 64 * 1024


class BookstoreVersionsHandler(BookstoreAPIHandler):
    """The history of a path."""

    @web.authenticated
    @authorized
    async def get(self, path: str) -> None:
        """Answer with a page of it, newest first, or with what is pinned of it."""
        if self.flag("pinned", False):
            self.answer(await self.library.pinned(path, area=self.text("area") or "workspace"))
            return
        self.answer(
            await self.library.history(
                path,
                area=self.text("area") or "workspace",
                limit=self.limit(),
                cursor=self.text("cursor"),
                details=self.flag("details", True),
            )
        )


class BookstoreContentHandler(BookstoreAPIHandler):
    """The bytes of one version."""

    #: Whether bytes were sent, so that no error can be told any more.
    _has_begun = False

    #: Seconds for which the reader may still take nothing.
    _patience: float

    @property
    def content_security_policy(self) -> str:
        """Whatever the bytes are, a browser that shows them runs nothing."""
        return f"{super().content_security_policy}; sandbox"

    @web.authenticated
    @authorized
    async def get(self, path: str) -> None:
        """Answer with the bytes, sent as they come from the store and no faster than they are read."""
        version = await self._version(path)
        if self._is_known(version):
            self._finish_without_body(304, path, version)
            return
        async with AsyncExitStack() as held:
            await held.enter_async_context(self._places(version.size).place(self.who, CONTENT_PATIENCE))
            if self.is_gone:
                return
            body = await held.enter_async_context(self.library.open(version, area=self._area))
            chunks = body.chunks
            if version.size <= SMALL:
                chunks = _each([piece async for piece in chunks])
                await held.aclose()
            self._describe(path, version)
            self.set_header("Content-Length", str(body.info.size))
            try:
                await self._send(path, version, chunks)
            except StreamClosedError:
                self.log.debug("bookstore: who asked for %s went away", path)
            except asyncio.TimeoutError:
                self.log.warning("bookstore: who asked for %s took it at less than %d bytes a second", path, SLOWEST)
                self.detach().close()
            except StorageError as e:
                if not self._has_begun:
                    raise
                self.log.error("bookstore: sending %s broke off: %s", path, e)  # noqa: TRY400 - it says all there is
                self.detach().close()

    async def _send(self, path: str, version: Version, chunks: AsyncIterator[bytes]) -> None:
        """Send bytes as they come; their end is held back until they are known to be those of the version."""
        digest = hashlib.sha256()
        held = b""
        self._patience = GRACE
        async for piece in chunks:
            if len(piece) > _HASH_INLINE:
                await asyncio.to_thread(digest.update, piece)
            else:
                digest.update(piece)
            if held:
                await self._hand_over(held)
            held = piece
        if version.sha256 and digest.hexdigest() != version.sha256:
            raise altered(version.version_id, version.path, version.sha256, digest.hexdigest())
        await self._hand_over(held)
        await self.finish(set_content_type=content_type(path.rstrip("/")))

    async def _hand_over(self, piece: bytes) -> None:
        """Send a piece. Each earns its reader some time, of which no more than ``GRACE`` can be saved.

        Raises
        ------
        asyncio.TimeoutError
            The time is used up.
        """
        self._has_begun = True
        self.write(piece)
        begun = time.monotonic()
        await asyncio.wait_for(self.flush(), self._patience)
        taken = time.monotonic() - begun
        self._patience = min(GRACE, max(0.0, self._patience - taken) + len(piece) / SLOWEST)

    @web.authenticated
    @authorized
    async def head(self, path: str) -> None:
        """Answer with the headers alone."""
        version = await self._version(path)
        if self._is_known(version):
            self._finish_without_body(304, path, version)
            return
        self.set_header("Content-Length", str(version.size))
        self._finish_without_body(200, path, version)

    def _places(self, size: int) -> Places:
        """Who reads slowly keeps a connection to the store; shipping and other readers need some too."""
        kind = "small" if size <= SMALL else "large"
        name = f"bookstore_places_for_{kind}_contents"
        if name not in self.settings:
            count = max(1, self.service.settings.max_threads // 4)
            # However slowly somebody reads large contents, a place is left for others.
            share = max(1, count * 3 // 4) if kind == "large" else count
            self.settings[name] = Places("contents are read", count, share=share, waiting=CONTENT_WAITING)
        places: Places = self.settings[name]
        return places

    @property
    def _area(self) -> str:
        return self.text("area") or "workspace"

    async def _version(self, path: str) -> Version:
        version = await self.library.locate(path, self.version("version_id"), area=self._area)
        if version.is_delete_marker:
            raise ObjectMissing(
                f"version {version.version_id} of {path!r} is a delete marker, which has no content",
                "Choose a version that has a size.",
            )
        return version

    def _is_known(self, version: Version) -> bool:
        """Whether who asks has these bytes already (RFC 9110, 13.1.2)."""
        known = self.request.headers.get("If-None-Match", "")
        tags = {tag.strip().removeprefix("W/") for tag in known.split(",")}
        return known.strip() == "*" or _tag(version) in tags

    def _describe(self, path: str, version: Version) -> None:
        name = path.rstrip("/").rpartition("/")[2]
        self.set_header("Content-Type", content_type(path.rstrip("/")))
        self.set_header("Content-Disposition", f"attachment; filename*=UTF-8''{quote(name, safe='')}")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Accept-Ranges", "none")
        self.set_header("ETag", _tag(version))
        self.set_header("X-Bookstore-Version-Id", version.version_id)
        # It may be kept, and is to be asked for again each time: only who is logged in may have it.
        self.set_header("Cache-Control", "private, no-cache")
        if version.sha256:
            digest = base64.b64encode(bytes.fromhex(version.sha256)).decode()
            self.set_header("Repr-Digest", f"sha-256=:{digest}:")  # RFC 9530

    def _finish_without_body(self, status: int, path: str, version: Version) -> None:
        self.set_status(status)
        self._describe(path, version)
        self.finish(set_content_type=content_type(path.rstrip("/")))


class BookstoreDiffHandler(BringsContent):
    """The difference between two versions, or a version and the file now."""

    @web.authenticated
    @authorized
    async def get(self, path: str) -> None:
        """Answer with the comparison."""
        before, after = self.version("before"), self.version("after")
        notebook = self.flag("notebook", False)
        if after is None:
            await self.require("read", "contents")
        async with self._places.place(self.who, COMPARISON_PATIENCE):
            if self.is_gone:
                return
            comparison = await self.library.compare(
                path,
                before,
                after,
                area=self.text("area") or "workspace",
                notebook=notebook,
            )
            text = await asyncio.to_thread(comparison_json, comparison)
        self.answer_json(text)

    @web.authenticated
    @authorized("read", AUTH_RESOURCE)  # type: ignore[untyped-decorator,unused-ignore]  # its types know no arguments
    async def post(self, path: str) -> None:
        """Answer with the comparison of a version with the content of the body; nothing is written."""
        model = await self.document() or {}
        # A content may be anything that JSON can say: the comparison tells what is none.
        asked = checked({name: value for name, value in model.items() if name != "content"}, _UNSAVED)
        async with self._places.place(self.who, COMPARISON_PATIENCE):
            if self.is_gone:
                return
            comparison = await self.library.compare_model(
                path,
                {"type": asked["type"], "format": asked["format"], "content": model.get("content")},
                asked["before"],
                notebook=bool(asked["notebook"]) or self.flag("notebook", False),
            )
            text = await asyncio.to_thread(comparison_json, comparison)
        self.answer_json(text)

    @property
    def _places(self) -> Places:
        places: Places = self.settings.setdefault(
            "bookstore_places_for_comparisons",
            Places("comparisons are made", COMPARISONS, waiting=COMPARISON_WAITING),
        )
        return places


class BookstoreLabelHandler(BookstoreAPIHandler):
    """What people say about a version."""

    @web.authenticated
    @authorized
    async def patch(self, path: str) -> None:
        """Name, annotate or pin a version, and answer with it."""
        asked = self.fields(
            Field("version_id", "version", required=True), Field("name"), Field("note"), Field("pinned", "flag")
        )
        if asked["name"] is None and asked["note"] is None and asked["pinned"] is None:
            raise InvalidRequest("Nothing is to be changed.", "Send name, note or pinned.")
        self.answer(await self.library.label(path, **asked))


class BookstoreRestoreHandler(BookstoreAPIHandler):
    """Brings a version back."""

    @web.authenticated
    @authorized
    async def post(self, path: str) -> None:
        """Write a version's bytes as a new save, and answer with what became of it."""
        asked = self.fields(
            Field("version_id", "version", required=True),
            Field("target_path"),
            Field("expected_hash"),
            Field("expected_last_modified"),
            Field("force", "flag"),
        )
        asked["force"] = bool(asked["force"])
        await self.require("write", "contents")
        self.answer(await self.library.restore(path, **asked))


class BookstoreArchiveHandler(BookstoreAPIHandler):
    """Archives a file that is there already."""

    @web.authenticated
    @authorized
    async def post(self, path: str) -> None:
        """Archive the file as it is now, and answer with its version."""
        timeout = seconds(self.fields(Field("timeout", "number"))["timeout"], SHIP_TIMEOUT)
        await self.require("read", "contents")
        self.answer(await self.library.archive(path, timeout=timeout))


def comparison_json(comparison: Comparison) -> str:
    """A comparison as JSON, without ``base`` where that is too much.

    Raises
    ------
    ContentTooLarge
        There is too much of it; a part would be taken for the whole.
    """
    text = as_bounded_json(comparison.to_dict(), MAX_COMPARISON)
    if text is None and comparison.base is not None:
        text = as_bounded_json(replace(comparison, base=None).to_dict(), MAX_COMPARISON)
    if text is None:
        raise ContentTooLarge(
            f"What is different in {comparison.after.path!r} is more than the {MAX_COMPARISON:,} characters that a "
            "comparison may have.",
            "Download both contents (GET /api/bookstore/content, or bookstore show) and compare them yourself.",
        )
    return text


async def _each(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def _tag(version: Version) -> str:
    """A strong validator: equal where the bytes are."""
    return f'"{version.sha256 or version.etag}"'
