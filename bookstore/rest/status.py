"""The release, the archive's state, shipping what waits, and the description of the interface."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from functools import cache
from importlib import resources
from typing import Any

from jupyter_server.auth.decorator import authorized
from tornado import web

from bookstore.errors import ObjectMissing, SettingsError, StorageError, StoreTimeout
from bookstore.rest.base import BookstoreAPIHandler, seconds
from bookstore.rest.bodies import Field, shown
from bookstore.rest.errors import HintedHTTPError
from bookstore.status import Problem

#: Seconds that a flush takes if it is not told otherwise.
FLUSH_TIMEOUT = 30.0

#: Seconds that the store has to tell a path's last version; the rest of the status needs no store.
LOOK_TIMEOUT = 10.0


class BookstoreVersionHandler(BookstoreAPIHandler):
    """The release, what the settings allow, and the archive's state."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with the whole document."""
        self.answer(self.service.document())


class BookstoreOpenAPIHandler(BookstoreAPIHandler):
    """The description of the REST interface, for programs."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with the OpenAPI document."""
        self.answer(openapi_document())


class BookstoreNoRouteHandler(BookstoreAPIHandler):
    """Whatever lies below ``/api/bookstore/`` and is no route, or none that the settings allow."""

    @web.authenticated
    @authorized
    async def get(self, path: str) -> None:
        """Say so."""
        raise self._no_route(path)

    @web.authenticated
    @authorized
    async def head(self, path: str) -> None:
        """Say so."""
        raise self._no_route(path)

    @web.authenticated
    @authorized
    async def put(self, path: str) -> None:
        """Say so."""
        raise self._no_route(path)

    @web.authenticated
    @authorized
    async def post(self, path: str) -> None:
        """Say so."""
        raise self._no_route(path)

    @web.authenticated
    @authorized
    async def patch(self, path: str) -> None:
        """Say so."""
        raise self._no_route(path)

    @web.authenticated
    @authorized
    async def delete(self, path: str) -> None:
        """Say so."""
        raise self._no_route(path)

    def _no_route(self, path: str) -> HintedHTTPError:
        return HintedHTTPError(
            404,
            f"There is no route {shown(f'/api/bookstore/{path}')} here.",
            "GET /api/bookstore/openapi.json describes the routes, and the features in GET /api/bookstore tell which "
            "ones the settings allow.",
        )


class BookstoreFlushHandler(BookstoreAPIHandler):
    """Ships what waits, now."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Ship what waits, for at most ``timeout`` seconds, and tell how many saves still wait."""
        timeout = seconds(self.fields(Field("timeout", "number"))["timeout"], FLUSH_TIMEOUT)
        remaining = await self.service.flush(timeout)
        self.answer({"remaining": remaining, "archive": self.service.status().to_dict()})


class BookstoreStatusHandler(BookstoreAPIHandler):
    """The archive's state, and what is known of one path."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with the archive's state; with ``path``, with that path's too."""
        path = self.text("path")
        document = self.service.status().to_dict()
        if path is not None:
            document["path"] = await self._of_path(path)
        self.answer(document)

    async def _of_path(self, path: str) -> dict[str, Any]:
        last_version, problem = None, None
        try:
            path = self.library.manager.bookstore_path(path)
            last_version = (await asyncio.wait_for(self.library.locate(path), LOOK_TIMEOUT)).to_dict()
        except ObjectMissing:
            pass  # it was never archived
        except asyncio.TimeoutError:
            error = StoreTimeout(f"The store did not tell the last version of {path!r} in {LOOK_TIMEOUT:g} s")
            problem = asdict(Problem.of_error(error))
        except (StorageError, SettingsError) as e:
            problem = asdict(Problem.of_error(e))
        parcels = self.service.shipper.parcels()
        waiting = sum(parcel.entry.path == path for parcel in parcels) + self.service.intake.missed.get(path, 0)
        return {"path": path, "waiting": waiting, "last_version": last_version, "problem": problem}


@cache
def openapi_document() -> dict[str, Any]:
    """The OpenAPI 3.1 document that ships with this package."""
    text = resources.files("bookstore").joinpath("openapi.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document
