"""Publishing a notebook, taking it back, and what is published."""

from __future__ import annotations

from jupyter_server.auth.decorator import authorized
from tornado import web

from bookstore.errors import InvalidRequest
from bookstore.rest.base import BringsContent
from bookstore.rest.bodies import Field, checked

#: What counts of a contents model, beside ``content``. The other fields are passed over: programs send along what they
#: got from the contents API, and managers and frontends add some of their own.
_TYPE = Field("type")


class _Publishing(BringsContent):
    """What the routes that publish share."""

    async def publish(self, path: str) -> None:
        """Publish the model of the body, or the file at the path if the body has no length."""
        model = await self.document()
        if model is None:
            await self.require("read", "contents")
        elif model:
            model = {**checked({"type": model.get("type")}, [_TYPE]), "content": model.get("content")}
        self.answer(await self.library.publish(path, model))

    async def unpublish(self, path: str) -> None:
        """Hide a publication."""
        self.answer(await self.library.unpublish(path))


class BookstorePublishAPIHandler(_Publishing):
    """Publishes a notebook, and takes it back."""

    @web.authenticated
    @authorized
    async def put(self, path: str) -> None:
        """Publish, and answer where it is now."""
        await self.publish(path)

    @web.authenticated
    @authorized
    async def delete(self, path: str) -> None:
        """Take a publication back; its versions stay."""
        await self.unpublish(path)


class BookstorePublicationHandler(_Publishing):
    """One publication: the same under another name, and its history."""

    @web.authenticated
    @authorized
    async def get(self, path: str) -> None:
        """Answer with a page of its history, newest first."""
        self.answer(
            await self.library.history(
                path,
                area="published",
                limit=self.limit(),
                cursor=self.text("cursor"),
                details=self.flag("details", True),
            )
        )

    @web.authenticated
    @authorized
    async def put(self, path: str) -> None:
        """Publish, and answer where it is now."""
        await self.publish(path)

    @web.authenticated
    @authorized
    async def delete(self, path: str) -> None:
        """Take a publication back; its versions stay."""
        await self.unpublish(path)


class BookstorePublishedHandler(_Publishing):
    """All that is published."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with a page of it, in the order of the keys."""
        self.answer(await self.library.published(limit=self.limit(), cursor=self.text("cursor")))

    @web.authenticated
    @authorized
    async def put(self) -> None:
        """Say that a path is missing."""
        raise no_path()


class BookstorePublishWithoutPathHandler(_Publishing):
    """Publishing without a path."""

    @web.authenticated
    @authorized
    async def put(self) -> None:
        """Say that a path is missing."""
        raise no_path()


def no_path() -> InvalidRequest:
    """The error of a route that cannot do without a path."""
    return InvalidRequest("No path was given.", "Add the notebook's path to the address: …/publish/folder/name.ipynb.")
