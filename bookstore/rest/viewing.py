"""The page that shows one version of a notebook or file."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
from typing import Any

from jupyter_server.auth.decorator import authorized
from tornado import web

from bookstore._version import __version__
from bookstore.errors import ContentTooLarge, ObjectMissing
from bookstore.pages import clone_page_url, content_url, human_size, render_error_page, render_view_page
from bookstore.rendering import MAX_VIEWED, render
from bookstore.rest.base import BookstorePageHandler
from bookstore.rest.places import Places
from bookstore.results import Version

#: Contents that are made pages at a time: it keeps a processor busy, and saves need it too. How many may wait, and how
#: many seconds.
VIEWS = 1
VIEW_WAITING = 16
VIEW_PATIENCE = 30.0


class BookstoreViewHandler(BookstorePageHandler):
    """Shows a version as people read it; whatever is in it, nothing runs and nothing is loaded."""

    @property
    def content_security_policy(self) -> str:
        """No script of anybody's, in a sandbox without origin.

        What the sandbox allows is what links need. To open in a window of their own: without that, a link in a
        notebook would lead the frame away that somebody put the page into. To leave the sandbox there: other sites,
        which get no hold on this window, would not work in it. To download: the page's own link does. Following a link
        in the same window needs nothing. The form for a frame has no links of ours, and those of a notebook do nothing
        there: it allows nothing.
        """
        links = " allow-downloads allow-popups allow-popups-to-escape-sandbox"
        return "; ".join(
            [
                f"sandbox{'' if self._is_embedded else links}",
                "default-src 'none'",
                f"style-src 'nonce-{self.nonce}'",
                "img-src data:",
                "form-action 'none'",
                "base-uri 'none'",
                "frame-ancestors 'self'",
            ]
        )

    @web.authenticated
    @authorized
    async def get(self, path: str) -> None:
        """Show it."""
        version = await self._version(path)
        if self.check_etag_header():
            self.set_status(304)
            self.finish(set_content_type="text/html; charset=UTF-8")
            return
        async with self._places.place(self.who, VIEW_PATIENCE):
            if self.is_gone:
                return
            content = await self.library.read(version, area=self._area, limit=MAX_VIEWED)
            page = await asyncio.to_thread(self._page, path.rstrip("/"), version, content)
        self.finish(page, set_content_type="text/html; charset=UTF-8")

    @web.authenticated
    @authorized
    async def head(self, path: str) -> None:
        """Answer as to GET, without the page."""
        await self._version(path)
        if self.check_etag_header():
            self.set_status(304)
        self.finish(set_content_type="text/html; charset=UTF-8")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Finish with the page of an error, from which what is there can be downloaded all the same."""
        if not self.is_page:
            super().write_error(status_code, **kwargs)
            return
        for name in ("ETag", "X-Bookstore-Version-Id"):
            self.clear_header(name)
        self._set_error_headers(status_code, kwargs)
        document = self.error_document(status_code, kwargs)
        error = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        page = render_error_page(
            status=status_code,
            message=document["message"],
            hint=document["hint"],
            title="This cannot be shown",
            download_url=self._download_url if isinstance(error, ContentTooLarge) else "",
            base_url=self.base_url,
            nonce=self.nonce,
            is_embedded=self._is_embedded,
        )
        self.show(page)

    @property
    def _area(self) -> str:
        return self.text("area") or "workspace"

    @property
    def _is_embedded(self) -> bool:
        """Whether the page is for a frame of another page's: without our head and links."""
        # Asked for with the first headers, when nothing may be refused yet; `_version` refuses what is no flag.
        return self.request.query_arguments.get("embedded", [])[-1:] == [b"true"]

    @property
    def _download_url(self) -> str:
        path = self.path_args[0].rstrip("/")
        return content_url(self.base_url, path, self.version("version_id") or "", self._area)

    @property
    def _places(self) -> Places:
        places: Places = self.settings.setdefault(
            "bookstore_places_for_views", Places("versions are shown", VIEWS, waiting=VIEW_WAITING)
        )
        return places

    async def _version(self, path: str) -> Version:
        """The version that is to be shown; the headers say which."""
        self.flag("embedded", False)
        version = await self.library.locate(path, self.version("version_id"), area=self._area)
        if version.is_delete_marker:
            raise ObjectMissing(
                f"version {version.version_id} of {path!r} is a delete marker, which has no content",
                "Choose a version that has a size.",
            )
        if version.size > MAX_VIEWED:
            raise ContentTooLarge(
                f"Version {version.version_id} of {path!r} has {human_size(version.size)}, and at most "
                f"{human_size(MAX_VIEWED)} are shown as a page.",
                "Download it, or clone it and open the clone.",
            )
        self._describe(version)
        return version

    def _describe(self, version: Version) -> None:
        secret: bytes = self.settings.setdefault("bookstore_view_secret", secrets.token_bytes(32))
        # All that the page is made of, so that a browser may keep it as long as this is the same.
        place = [self.request.path, self.base_url, self._area, self._clone_url(version), self._is_embedded]
        told = json.dumps([__version__, *place, version.to_dict()], sort_keys=True).encode()
        # A page that a browser kept has the nonce with which it was sent, and the headers of the answer that it has not
        # changed: for the same page the nonce has to be the same. Nobody can guess it who does not know the secret.
        digest = hmac.digest(secret, told, hashlib.sha256)
        self.__dict__["_nonce"] = base64.urlsafe_b64encode(digest[:18]).decode()
        self.set_header("Content-Security-Policy", self.content_security_policy)
        self.set_header("ETag", f'"{digest[18:].hex()}"')
        self.set_header("X-Bookstore-Version-Id", version.version_id)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "same-origin")
        # It may be kept, and is to be asked for again each time: only who is logged in may have it.
        self.set_header("Cache-Control", "private, no-cache")

    def _clone_url(self, version: Version) -> str:
        """Where the version can be cloned; empty if it cannot."""
        if self._is_embedded or not self.service.workspace_clonable:
            return ""
        return clone_page_url(self.base_url, self.service.settings.s3_bucket, version.key, version.version_id)

    def _page(self, path: str, version: Version, content: bytes) -> str:
        name = path.rpartition("/")[2]
        rendered = render(name, content)
        return render_view_page(
            version=version,
            name=name,
            area=self._area,
            kind=rendered.kind,
            content=rendered.html,
            rules=rendered.rules,
            remarks=rendered.remarks,
            download_url=content_url(self.base_url, path, version.version_id, self._area),
            clone_url=self._clone_url(version),
            base_url=self.base_url,
            nonce=self.nonce,
            is_embedded=self._is_embedded,
        )
