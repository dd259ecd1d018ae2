"""The REST routes, and which of them the settings allow."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Any

from jupyter_server.utils import url_path_join

from bookstore._version import __version__
from bookstore.rest.base import LIBRARY_SETTING, PATH, PATH_PATTERN, SERVICE_SETTING, BookstoreAPIHandler
from bookstore.rest.cloning import (
    BookstoreCloneAPIHandler,
    BookstoreClonedHandler,
    BookstoreCloneHandler,
    BookstoreFSCloneAPIHandler,
    BookstoreFSCloneHandler,
)
from bookstore.rest.history import (
    BookstoreArchiveHandler,
    BookstoreContentHandler,
    BookstoreDiffHandler,
    BookstoreLabelHandler,
    BookstoreRestoreHandler,
    BookstoreVersionsHandler,
)
from bookstore.rest.publishing import (
    BookstorePublicationHandler,
    BookstorePublishAPIHandler,
    BookstorePublishedHandler,
    BookstorePublishWithoutPathHandler,
)
from bookstore.rest.scheduling import (
    BookstoreScheduledCopyHandler,
    BookstoreScheduledHandler,
    BookstoreScheduleHandler,
)
from bookstore.rest.status import (
    BookstoreFlushHandler,
    BookstoreNoRouteHandler,
    BookstoreOpenAPIHandler,
    BookstoreStatusHandler,
    BookstoreVersionHandler,
    openapi_document,
)
from bookstore.rest.viewing import BookstoreViewHandler

__all__ = [
    "LIBRARY_SETTING",
    "NO_ROUTE",
    "ROUTES",
    "SERVICE_SETTING",
    "BookstoreVersionHandler",
    "Route",
    "build_settings_dict",
    "collect_handlers",
    "openapi_document",
]


@dataclass(frozen=True, slots=True)
class Route:
    """An address below the server's base URL.

    Attributes
    ----------
    path : str
        As the OpenAPI document writes it: ``{path}`` stands for a file's path, slashes included.
    handler : type
    feature : str
        Of `bookstore.bookstore_config.validate_bookstore`: what the settings have to allow. Empty: it is always there.
    """

    path: str
    handler: type[BookstoreAPIHandler]
    feature: str = ""

    @property
    def pattern(self) -> str:
        """What matches it, with and without a trailing slash."""
        return f"{re.escape(self.path).replace(re.escape(PATH), PATH_PATTERN)}/?"


ROUTES = (
    Route("/api/bookstore", BookstoreVersionHandler),
    Route("/api/bookstore/status", BookstoreStatusHandler),
    Route("/api/bookstore/flush", BookstoreFlushHandler),
    Route("/api/bookstore/openapi.json", BookstoreOpenAPIHandler),
    Route("/api/bookstore/versions/{path}", BookstoreVersionsHandler, "archive_valid"),
    Route("/api/bookstore/content/{path}", BookstoreContentHandler, "archive_valid"),
    Route("/api/bookstore/diff/{path}", BookstoreDiffHandler, "archive_valid"),
    Route("/api/bookstore/label/{path}", BookstoreLabelHandler, "archive_valid"),
    Route("/api/bookstore/restore/{path}", BookstoreRestoreHandler, "archive_valid"),
    Route("/api/bookstore/archive/{path}", BookstoreArchiveHandler, "archive_valid"),
    Route("/api/bookstore/publish", BookstorePublishWithoutPathHandler, "publish_valid"),
    Route("/api/bookstore/publish/{path}", BookstorePublishAPIHandler, "publish_valid"),
    Route("/api/bookstore/published", BookstorePublishedHandler, "publish_valid"),
    Route("/api/bookstore/published/{path}", BookstorePublicationHandler, "publish_valid"),
    Route("/api/bookstore/schedule/{path}", BookstoreScheduleHandler, "archive_valid"),
    Route("/api/bookstore/scheduled", BookstoreScheduledHandler, "archive_valid"),
    Route("/api/bookstore/scheduled/{path}", BookstoreScheduledCopyHandler, "archive_valid"),
    Route("/bookstore/view/{path}", BookstoreViewHandler, "archive_valid"),
    Route("/bookstore/clone", BookstoreCloneHandler, "s3_clone_valid"),
    Route("/api/bookstore/clone", BookstoreCloneAPIHandler, "s3_clone_valid"),
    Route("/api/bookstore/cloned", BookstoreClonedHandler, "s3_clone_valid"),
    Route("/bookstore/fs-clone", BookstoreFSCloneHandler, "fs_clone_valid"),
    Route("/api/bookstore/fs-clone", BookstoreFSCloneAPIHandler, "fs_clone_valid"),
)

#: What answers where no route does; the last one that is asked, and no part of the documented interface.
NO_ROUTE = Route("/api/bookstore/{path}", BookstoreNoRouteHandler)


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
    """The routes that the settings allow, and what answers beside them; each with and without a trailing slash.

    Parameters
    ----------
    log : logging.Logger
    base_url : str
        The server's.
    validation : dict of str to bool
        As `bookstore.bookstore_config.validate_bookstore` gives it.
    """
    if not validation["bookstore_valid"]:
        log.info("bookstore: no bucket is configured, so saves are not archived.")
    return [
        (url_path_join(base_url, route.pattern), route.handler)
        for route in (*ROUTES, NO_ROUTE)
        if not route.feature or validation[route.feature]
    ]
