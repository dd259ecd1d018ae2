"""What every handler shares: the archive, what was asked for, and how it is answered."""

from __future__ import annotations

import asyncio
import json
import math
import os
import secrets
from typing import TYPE_CHECKING, Any, ClassVar

from jupyter_core.utils import ensure_async
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from jupyter_server.utils import url_path_join
from tornado import web

from bookstore.errors import AccessDenied, BookstoreError, ContentTooLarge, InvalidRequest, ServerBusy, SettingsError
from bookstore.library import Library
from bookstore.pages import page_template, render_error_page
from bookstore.rest.bodies import Field, checked, checked_version, parsed, shown
from bookstore.rest.errors import (
    HintedHTTPError,
    document_of,
    document_of_http,
    foreseen,
    status_of,
    without_directories,
)
from bookstore.results import Result
from bookstore.service import ArchiveService

if TYPE_CHECKING:
    from jinja2 import Template

#: The names under which the server's web application knows the archive, and the verbs over it.
SERVICE_SETTING = "bookstore_service"
LIBRARY_SETTING = "bookstore_library"

#: What `jupyter_server`'s authorizer is asked about.
AUTH_RESOURCE = "bookstore"

#: Bytes of the largest body that a request may have which brings no content.
MAX_SMALL_BODY = 1024 * 1024

#: Rows on a page if the request does not say, and at most.
PAGE = 50
MAX_PAGE = 1000

#: Seconds that a request may ask to wait for the store.
MAX_TIMEOUT = 600.0

#: Seconds after which who was told that the server is busy may ask again.
RETRY_AFTER = 10

#: The path of a file, in the documentation's way to write a route, and what matches it.
PATH = "{path}"
PATH_PATTERN = "(.+?)"

_METHODS = ("get", "head", "put", "post", "patch", "delete")


@web.stream_request_body
class BookstoreAPIHandler(APIHandler):
    """A handler that knows the archive, takes JSON of bounded size and answers in JSON.

    Bodies are taken piece by piece, so that who is not known, or sends too much, fills no memory.
    """

    auth_resource = AUTH_RESOURCE

    #: Statuses that differ from those of `bookstore.rest.errors` on this route.
    statuses: ClassVar[dict[type[BookstoreError], int]] = {}

    #: Whether who asked went away.
    is_gone = False

    #: Whether this request is answered with a refusal, once its body has been received.
    _is_refused = False

    def initialize(self) -> None:
        """Begin with an empty body."""
        self._pieces: list[bytes] = []
        self._received = 0

    async def prepare(self) -> None:  # type: ignore[override]
        """Find out who asks; who is to be refused is told so after the body.

        Most clients send before they read, and would be told of a broken connection instead of the reason.
        """
        try:
            await super().prepare()
        except web.HTTPError as e:
            refusal = e

            def refuse(*_: str) -> None:
                raise refusal

            # Instead of the method, so that nothing of it runs.
            setattr(self, (self.request.method or "").lower(), refuse)
            self._is_refused = True

    def on_connection_close(self) -> None:
        """Remember that nobody waits for the answer any more."""
        self.is_gone = True
        super().on_connection_close()

    # -- what there is ---------------------------------------------------------------------------------------------

    @property
    def service(self) -> ArchiveService:
        """The server's archive."""
        service: ArchiveService = self.settings[SERVICE_SETTING]
        return service

    @property
    def library(self) -> Library:
        """The verbs over the archive.

        Raises
        ------
        SettingsError
            The server's contents manager does not archive.
        """
        library: Library | SettingsError = self.settings[LIBRARY_SETTING]
        if isinstance(library, SettingsError):
            raise SettingsError(str(library), library.hint)
        return library

    # -- who asks --------------------------------------------------------------------------------------------------

    async def require(self, action: str, resource: str) -> None:
        """Make sure that who asks may do this too, beside what the route itself asks the authorizer about.

        Parameters
        ----------
        action : str
            ``read`` or ``write``.
        resource : str
            As Jupyter Server's own handlers name theirs: ``contents``.

        Raises
        ------
        tornado.web.HTTPError
            403: the server's authorizer does not allow it.
        """
        if not await ensure_async(self.authorizer.is_authorized(self, self.current_user, action, resource)):
            raise HintedHTTPError(
                403,
                f"User is not authorized to {action} on resource: {resource}.",
                f"Ask the administrator: the server's authorizer has to allow {action} on {resource} for this.",
            )

    @property
    def who(self) -> str:
        """Who is one and the same, as far as can be told, where something is shared out."""
        # Who has the token, and no cookie, is given a new name with each request.
        user = self.current_user
        name = "" if self.token_authenticated or user is None else str(getattr(user, "username", user))
        return f"user {name}" if name else f"address {self.request.remote_ip}"

    # -- what was asked for ----------------------------------------------------------------------------------------

    @property
    def max_body(self) -> int:
        """Bytes of the largest body that this route takes."""
        return MAX_SMALL_BODY

    @property
    def body_hint(self) -> str:
        """What to do about a body that is larger."""
        return f"This route takes bodies of up to {self.max_body} bytes."

    def data_received(self, chunk: bytes) -> None:
        """Keep a piece of the body; of one that will be refused, none.

        It is received to its end all the same: most clients send before they read, and would be told of a broken
        connection instead of the reason.
        """
        self._received += len(chunk)
        if not self._is_refused and self.current_user and self._received <= self.max_body:
            self._pieces.append(chunk)
        else:
            self._pieces.clear()

    @property
    def body(self) -> bytes:
        """The whole body.

        Raises
        ------
        ContentTooLarge
        """
        if self._received > self.max_body:
            raise ContentTooLarge(f"The body has more than {self.max_body} bytes.", self.body_hint)
        return b"".join(self._pieces)

    def fields(self, *fields: Field) -> dict[str, Any]:
        """The fields of the body, None for those left out; a body of zero length has none.

        Raises
        ------
        InvalidRequest
            It is no JSON object, or a field is unknown, missing or of another type.
        """
        body = self.body
        return checked(parsed(body) if body else {}, fields)

    async def document(self) -> dict[str, Any] | None:
        """The body as a JSON object; None for a body of zero length."""
        return await asyncio.to_thread(lambda: parsed(body) if (body := self.body) else None)

    def text(self, name: str) -> str | None:
        """An argument of the address; None if it is left out or empty."""
        return self.get_query_argument(name, None, strip=False) or None

    def version(self, name: str) -> str | None:
        """An argument of the address that is a version id; None if it is left out or empty."""
        text = self.text(name)
        return None if text is None else checked_version(name, text)

    def limit(self) -> int:
        """The argument that says how many rows a page has.

        Raises
        ------
        InvalidRequest
            It is no number, or one of a page that is too small or too large.
        """
        text = self.text("limit")
        if text is None:
            return PAGE
        if not (text.isascii() and text.isdecimal() and len(text) < 9 and 1 <= int(text) <= MAX_PAGE):
            raise InvalidRequest(
                f"limit is to be a whole number from 1 to {MAX_PAGE}, not {shown(text)}.",
                "Follow the cursor for more.",
            )
        return int(text)

    def flag(self, name: str, default: bool) -> bool:
        """An argument of the address that is ``true`` or ``false``."""
        text = self.text(name)
        if text is None:
            return default
        if text not in ("true", "false"):
            raise InvalidRequest(f"{name} is to be true or false, not {shown(text)}.", f"Such as {name}=true.")
        return text == "true"

    # -- how it is answered ----------------------------------------------------------------------------------------

    def answer(self, document: Result | dict[str, Any]) -> None:
        """Finish with a document."""
        self.answer_json(as_json(document.to_dict() if isinstance(document, Result) else document))

    def answer_json(self, text: str) -> None:
        """Finish with a document that is JSON already."""
        self.set_header("Cache-Control", "no-store")
        self.finish(text)

    def compute_etag(self) -> str | None:
        """None: a document is not to be kept, so nobody need ask whether it changed."""
        return None

    def status_for(self, error: BookstoreError) -> int:
        """The HTTP status of an error on this route."""
        if type(error) in self.statuses:
            return self.statuses[type(error)]
        if isinstance(error, AccessDenied) and self.request.method in ("PUT", "PATCH", "DELETE"):
            return 503  # whoever asks may; it is the server that may not write
        return status_of(error)

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """Answer with the status that an error of bookstore's stands for."""
        error = foreseen(kwargs["exc_info"][1]) if "exc_info" in kwargs else None
        if isinstance(error, BookstoreError):
            kwargs["exc_info"] = (type(error), error, error.__traceback__)
            status_code = self.status_for(error)
        super().send_error(status_code, **kwargs)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Finish with the document of an error, which tells the next step and nothing of the server's inside."""
        self._set_error_headers(status_code, kwargs)
        self.finish(json.dumps(self.error_document(status_code, kwargs)))

    def error_document(self, status_code: int, told: dict[str, Any]) -> dict[str, str]:
        """The document of an error, from what `write_error` was told."""
        error: Any = told["exc_info"][1] if "exc_info" in told else None
        known = isinstance(error, BookstoreError)
        document = document_of(error) if known else document_of_http(status_code, error)
        root = self.service.root_dir
        directories = {
            root: "the root directory",
            os.path.realpath(root): "the root directory",
            str(self.service.outbox.directory): "the outbox",
            self.service.settings.fs_cloning_basedir: "fs_cloning_basedir",
        }
        return without_directories(document, directories)

    def _set_error_headers(self, status_code: int, told: dict[str, Any]) -> None:
        self.set_header("Cache-Control", "no-store")
        if "exc_info" in told and isinstance(told["exc_info"][1], ServerBusy):
            self.set_header("Retry-After", str(RETRY_AFTER))
        if status_code == 405:
            # RFC 9110, 15.5.6: the answer has to name the methods that there are.
            there = [name for name in _METHODS if getattr(type(self), name) is not getattr(web.RequestHandler, name)]
            self.set_header("Allow", ", ".join(name.upper() for name in [*there, "options"]))

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        """Log what the answer does not tell with its traceback, and what it does tell in a line, if at all."""
        if isinstance(value, BookstoreError) and type(value) is not BookstoreError:
            if self.status_for(value) >= 500:
                self.log.warning("bookstore: %s %s: %s", self.request.method, self.request.path, value)
        else:
            super().log_exception(typ, value, tb)


class BringsContent(BookstoreAPIHandler):
    """A handler to which people send a content: its size is theirs to set."""

    @property
    def max_body(self) -> int:
        """Bytes of the largest body: it is a content."""
        limit: int = self.service.settings.max_content_size
        return limit

    @property
    def body_hint(self) -> str:
        """Which setting it is."""
        return "The administrator may raise c.BookstoreSettings.max_content_size."


class BookstorePageHandler(BookstoreAPIHandler):
    """A handler whose GET answers with a page for people; nobody who is not logged in gets further than the login."""

    @property
    def is_page(self) -> bool:
        """Whether this request is answered with a page."""
        return self.request.method in ("GET", "HEAD") and type(self).get is not web.RequestHandler.get

    @property
    def nonce(self) -> str:
        """What the scripts and styles of this answer's page carry; nothing else of its kind runs."""
        # Asked for before `initialize`: the headers are set first.
        nonce: str = self.__dict__.setdefault("_nonce", secrets.token_urlsafe(18))
        return nonce

    @property
    def content_security_policy(self) -> str:
        """The strictest policy under which the page works."""
        if not self.is_page:
            return super().content_security_policy
        return "; ".join(
            [
                "default-src 'none'",
                f"script-src 'nonce-{self.nonce}'",
                f"style-src 'nonce-{self.nonce}'",
                "img-src 'self' data:",
                "connect-src 'self'",
                "form-action 'self'",
                "base-uri 'none'",
                "frame-ancestors 'self'",
            ]
        )

    def get_login_url(self) -> str:
        """Where people log in; programs are told 403."""
        if self.is_page:
            url: str = JupyterHandler.get_login_url(self)
            return url
        return super().get_login_url()

    def get_template(self, name: str) -> Template:
        """One of the pages' templates: ``clone.html`` or ``error.html``."""
        return page_template(name)

    def show(self, page: str) -> None:
        """Finish with a page."""
        self.set_header("Cache-Control", "no-store")
        self.set_header("Referrer-Policy", "same-origin")
        self.finish(page, set_content_type="text/html; charset=UTF-8")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Finish with a page, or the document, of an error."""
        if not self.is_page:
            super().write_error(status_code, **kwargs)
            return
        self._set_error_headers(status_code, kwargs)
        document = self.error_document(status_code, kwargs)
        page = render_error_page(
            status=status_code,
            message=document["message"],
            hint=document["hint"],
            base_url=self.base_url,
            nonce=self.nonce,
        )
        self.show(page)

    @property
    def open_url_prefix(self) -> str:
        """Where this server's application opens a file, once its path is put behind it."""
        extensions = self.serverapp.extension_manager.extensions if self.serverapp is not None else {}
        if "jupyterlab" in extensions and not self.default_url.startswith("/tree"):
            place = "lab/tree"
        else:
            place = "tree" if {"notebook", "nbclassic"} & set(extensions) else "files"
        return f"{url_path_join(self.base_url, place)}/"


def as_json(document: dict[str, Any]) -> str:
    """A document as JSON; what JSON has no number for, which notebooks may hold all the same, becomes null."""
    try:
        return json.dumps(document, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(document))


def as_bounded_json(document: dict[str, Any], limit: int) -> str | None:
    """A document as `as_json` writes it; None if that has more than so many characters.

    It is written piece by piece, and no further than that: other threads can run meanwhile.
    """
    pieces = []
    length = 0
    for piece in json.JSONEncoder().iterencode(_finite(document)):
        length += len(piece)
        if length > limit:
            return None
        pieces.append(piece)
    return "".join(pieces)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def seconds(value: float | None, default: float) -> float:
    """A field of a body that is a time to wait.

    Raises
    ------
    InvalidRequest
        It is negative, or longer than a request may take.
    """
    if value is None:
        return default
    if not 0 <= value <= MAX_TIMEOUT:
        raise InvalidRequest(
            f"timeout is to be a number of seconds from 0 to {MAX_TIMEOUT:g}, not {shown(value)}.",
            f'Such as {{"timeout": {default:g}}}.',
        )
    return float(value)
