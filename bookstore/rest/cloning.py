"""Cloning from S3 and from the file system: the page to confirm it, and the request that does it."""

from __future__ import annotations

from typing import Any, ClassVar

from jupyter_server.auth.decorator import authorized
from jupyter_server.utils import url_path_join
from tornado import web

from bookstore.errors import BookstoreError, BucketMissing, InvalidRequest
from bookstore.pages import render_clone_page
from bookstore.rest.base import BookstoreAPIHandler, BookstorePageHandler
from bookstore.rest.bodies import Field
from bookstore.results import Cloned, CloneSource


def clone_document(cloned: Cloned) -> dict[str, Any]:
    """A clone as the REST interface tells it: the new file's contents model, and where it comes from."""
    return {
        **cloned.model,
        "path": cloned.path,
        "source": cloned.source,
        "s3_path": cloned.s3_path,
        "versionID": cloned.versionID,
    }


class _CloneFromS3(BookstorePageHandler):
    """What the routes that clone from S3 share."""

    #: The bucket is the caller's choice, not the server's setting.
    statuses: ClassVar[dict[type[BookstoreError], int]] = {BucketMissing: 404}

    def construct_template_params(
        self, s3_bucket: str, s3_object_key: str, s3_version_id: str | None = None
    ) -> dict[str, Any]:
        """What the page is filled with, beside what the store tells.

        Parameters
        ----------
        s3_bucket, s3_object_key : str
        s3_version_id : str, optional
            The newest if left out.

        Returns
        -------
        dict
            ``post_model`` (what the page will POST), ``clone_api_url`` (to where), ``redirect_contents_url`` (where the
            browser goes after it; the new file's path is put behind it) and ``source_description``.
        """
        model = {"s3_bucket": s3_bucket, "s3_key": s3_object_key}
        if s3_version_id:
            model["s3_version_id"] = s3_version_id
        return {
            "post_model": model,
            "clone_api_url": url_path_join(self.base_url, "/api/bookstore/clone"),
            "redirect_contents_url": self.open_url_prefix,
            "source_description": f"{s3_object_key!r} from the bucket {s3_bucket!r}",
        }

    async def confirm(self) -> None:
        """Show what would be cloned from where, and a button that does it."""
        bucket, key = self.text("s3_bucket") or "", self.text("s3_key") or ""
        version_id = self.version("s3_version_id")
        source = await self.library.describe_clone(bucket, key, version_id)
        # The version that is shown is the one that is cloned, whatever is saved meanwhile.
        shown = source.version_id if source.version_id and source.version_id != "null" else version_id
        show_clone_page(self, source, self.construct_template_params(bucket, key, shown))

    async def clone(self) -> None:
        """Make the file, and answer with its contents model."""
        asked = self.fields(
            Field("s3_bucket", required=True),
            Field("s3_key", required=True),
            Field("s3_version_id", "version"),
            Field("target_path"),
        )
        await self.require("write", "contents")
        cloned = await self.library.clone(
            asked["s3_bucket"],
            asked["s3_key"],
            version_id=asked["s3_version_id"],
            target_path=asked["target_path"],
        )
        self.answer(clone_document(cloned))


class BookstoreCloneHandler(_CloneFromS3):
    """The page to confirm a clone from S3."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Show what would be cloned from where, and a button that does it."""
        await self.confirm()

    @web.authenticated
    @authorized
    async def head(self) -> None:
        """Answer as to GET, without the page."""
        await self.confirm()


class BookstoreCloneAPIHandler(_CloneFromS3):
    """Clones from S3."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Make the file, and answer with its contents model."""
        await self.clone()


class BookstoreClonedHandler(_CloneFromS3):
    """Both under one name."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Show what would be cloned from where, and a button that does it."""
        await self.confirm()

    @web.authenticated
    @authorized
    async def head(self) -> None:
        """Answer as to GET, without the page."""
        await self.confirm()

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Make the file, and answer with its contents model."""
        await self.clone()


class BookstoreFSCloneHandler(BookstorePageHandler):
    """The page to confirm a clone from below ``fs_cloning_basedir``."""

    def construct_template_params(self, relpath: str) -> dict[str, Any]:
        """What the page is filled with, beside what the disk tells; as for a clone from S3."""
        return {
            "post_model": {"relpath": relpath},
            "clone_api_url": url_path_join(self.base_url, "/api/bookstore/fs-clone"),
            "redirect_contents_url": self.open_url_prefix,
            "source_description": repr(relpath),
        }

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Show what would be cloned from where, and a button that does it."""
        await self.confirm()

    @web.authenticated
    @authorized
    async def head(self) -> None:
        """Answer as to GET, without the page."""
        await self.confirm()

    async def confirm(self) -> None:
        """Show what would be cloned from where, and a button that does it."""
        relpath = required_relpath(self.text("relpath"))
        source = await self.library.describe_file(relpath)
        show_clone_page(self, source, self.construct_template_params(relpath))


class BookstoreFSCloneAPIHandler(BookstoreAPIHandler):
    """Clones from below ``fs_cloning_basedir``."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Make the file, and answer with its contents model."""
        asked = self.fields(Field("relpath"), Field("target_path"))
        asked["relpath"] = required_relpath(asked["relpath"])
        await self.require("write", "contents")
        self.answer(clone_document(await self.library.clone_file(**asked)))


def required_relpath(relpath: str | None) -> str:
    """The path of what is to be cloned from the file system.

    Raises
    ------
    InvalidRequest
        There is none.
    """
    if not relpath:
        raise InvalidRequest("relpath is missing.", "Give the file's path, relative to the directory for cloning.")
    return relpath


def show_clone_page(handler: BookstorePageHandler, source: CloneSource, values: dict[str, Any]) -> None:
    """Finish with the page that asks whether to clone."""
    handler.show(
        render_clone_page(
            source=source,
            api_url=values["clone_api_url"],
            body=values["post_model"],
            base_url=handler.base_url,
            xsrf_token=handler.xsrf_token.decode(),
            open_url_prefix=values["redirect_contents_url"],
            nonce=handler.nonce,
        )
    )
