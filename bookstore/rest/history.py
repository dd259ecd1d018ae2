"""The versions of a path: list, read, compare, label, restore, and archive the file as it is now."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import mimetypes
from collections.abc import AsyncIterator
from urllib.parse import quote

from jupyter_server.auth.decorator import authorized
from tornado import web
from tornado.iostream import StreamClosedError

from bookstore.errors import InvalidRequest, ObjectMissing, StorageError
from bookstore.library import SHIP_TIMEOUT
from bookstore.provenance import altered
from bookstore.rest.base import BookstoreAPIHandler, seconds
from bookstore.rest.bodies import Field
from bookstore.results import Version

#: Seconds that the reader of a content may take for one piece of it.
SLOWEST = 60.0


class BookstoreVersionsHandler(BookstoreAPIHandler):
    """The history of a path."""

    @web.authenticated
    @authorized
    async def get(self, path: str) -> None:
        """Answer with a page of it, newest first."""
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
        async with self._turn, self.library.open(version, area=self._area) as body:
            self._describe(path, version)
            self.set_header("Content-Length", str(body.info.size))
            try:
                await self._send(path, version, body.chunks)
            except StreamClosedError:
                self.log.debug("bookstore: who asked for %s went away", path)
            except asyncio.TimeoutError:
                self.log.warning("bookstore: who asked for %s took no more of it for %g s", path, SLOWEST)
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
        async for piece in chunks:
            digest.update(piece)
            if held:
                self._has_begun = True
                self.write(held)
                await asyncio.wait_for(self.flush(), SLOWEST)
            held = piece
        if version.sha256 and digest.hexdigest() != version.sha256:
            raise altered(version.version_id, version.path, version.sha256, digest.hexdigest())
        await self.finish(held, set_content_type=_content_type(path))

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

    @property
    def _turn(self) -> asyncio.Semaphore:
        """Who reads slowly keeps a connection to the store; shipping and other readers need some too."""
        places = max(1, self.service.settings.max_threads // 4)
        turn: asyncio.Semaphore = self.settings.setdefault("bookstore_content_turn", asyncio.Semaphore(places))
        return turn

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
        self.set_header("Content-Type", _content_type(path))
        self.set_header("Content-Disposition", f"attachment; filename*=UTF-8''{quote(name, safe='')}")
        self.set_header("X-Content-Type-Options", "nosniff")
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
        self.finish(set_content_type=_content_type(path))


class BookstoreDiffHandler(BookstoreAPIHandler):
    """The difference between two versions, or a version and the file now."""

    @web.authenticated
    @authorized
    async def get(self, path: str) -> None:
        """Answer with the comparison."""
        comparison = await self.library.compare(
            path, self.version("before"), self.version("after"), area=self.text("area") or "workspace"
        )
        self.answer(comparison)


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
        self.answer(await self.library.restore(path, **asked))


class BookstoreArchiveHandler(BookstoreAPIHandler):
    """Archives a file that is there already."""

    @web.authenticated
    @authorized
    async def post(self, path: str) -> None:
        """Archive the file as it is now, and answer with its version."""
        timeout = seconds(self.fields(Field("timeout", "number"))["timeout"], SHIP_TIMEOUT)
        self.answer(await self.library.archive(path, timeout=timeout))


def _tag(version: Version) -> str:
    """A strong validator: equal where the bytes are."""
    return f'"{version.sha256 or version.etag}"'


def _content_type(path: str) -> str:
    if path.rstrip("/").endswith(".ipynb"):
        return "application/x-ipynb+json"
    return mimetypes.guess_type(path)[0] or "application/octet-stream"
