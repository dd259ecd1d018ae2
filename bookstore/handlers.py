"""The REST handlers, and which of them the settings allow."""

from __future__ import annotations

import json
import logging
from functools import cache
from importlib import resources
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web

from bookstore._version import __version__
from bookstore.service import ArchiveService

#: The name under which the server's web application knows the archive.
SERVICE_SETTING = "bookstore_service"

#: What `jupyter_server`'s authorizer is asked about.
AUTH_RESOURCE = "bookstore"

#: Seconds that a flush takes at most, and takes if it is not told otherwise.
MAX_FLUSH_TIMEOUT = 600.0
FLUSH_TIMEOUT = 30.0


class BookstoreAPIHandler(APIHandler):
    """A handler that knows the archive and answers in JSON."""

    auth_resource = AUTH_RESOURCE

    @property
    def service(self) -> ArchiveService:
        """The server's archive."""
        service: ArchiveService = self.settings[SERVICE_SETTING]
        return service

    def answer(self, document: dict[str, Any]) -> None:
        """Finish with a document."""
        self.set_header("Cache-Control", "no-store")
        self.finish(json.dumps(document))


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


class BookstoreFlushHandler(BookstoreAPIHandler):
    """Ships what waits, now."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Ship what waits, for at most ``timeout`` seconds, and tell how many saves still wait."""
        timeout = self._timeout()
        remaining = await self.service.flush(timeout)
        self.answer({"remaining": remaining, "archive": self.service.status().to_dict()})

    def _timeout(self) -> float:
        body = self.get_json_body() or {}
        timeout = body.get("timeout", FLUSH_TIMEOUT) if isinstance(body, dict) else None
        if not isinstance(timeout, (int, float)) or isinstance(timeout, bool) or not 0 <= timeout <= MAX_FLUSH_TIMEOUT:
            raise web.HTTPError(
                400, f"timeout is to be a number of seconds from 0 to {MAX_FLUSH_TIMEOUT:g}, not {timeout!r}"
            )
        return float(timeout)


@cache
def openapi_document() -> dict[str, Any]:
    """The OpenAPI 3.1 document that ships with this package."""
    text = resources.files("bookstore").joinpath("openapi.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


def build_settings_dict(validation: dict[str, bool]) -> dict[str, Any]:
    """The release and the features that the settings allow.

    Parameters
    ----------
    validation : dict of str to bool
        As `bookstore.bookstore_config.validate_bookstore` gives it.
    """
    return {"release": __version__, "features": validation}


def collect_handlers(
    log: logging.Logger | logging.LoggerAdapter[Any], base_url: str, validation: dict[str, bool]
) -> list[tuple[str, type[BookstoreAPIHandler]]]:
    """The routes that the settings allow; each answers with and without a trailing slash.

    Parameters
    ----------
    log : logging.Logger
    base_url : str
        The server's.
    validation : dict of str to bool
        As `bookstore.bookstore_config.validate_bookstore` gives it.
    """
    routes: list[tuple[str, type[BookstoreAPIHandler]]] = [
        ("/api/bookstore", BookstoreVersionHandler),
        ("/api/bookstore/flush", BookstoreFlushHandler),
        ("/api/bookstore/openapi.json", BookstoreOpenAPIHandler),
    ]
    if not validation["bookstore_valid"]:
        log.info("bookstore: no bucket is configured, so saves are not archived.")
    return [(f"{url_path_join(base_url, route)}/?", handler) for route, handler in routes]
