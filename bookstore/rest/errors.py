"""Errors as HTTP tells them: a status, and a document with the reason and the next step."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from http.client import responses

from tornado.web import HTTPError

from bookstore import errors
from bookstore.errors import BookstoreError, InvalidRequest

#: The status of each kind of error; a kind that is not here has that of the nearest above it in the tree.
STATUSES: dict[type[BookstoreError], int] = {
    errors.BookstoreError: 500,
    errors.SettingsError: 503,
    errors.PathError: 400,
    errors.StorageError: 502,
    errors.StoreUnreachable: 503,
    errors.StoreTimeout: 504,
    errors.StoreThrottled: 503,
    errors.StoreFault: 502,
    errors.PreconditionFailed: 409,
    errors.CredentialsMissing: 503,
    errors.CredentialsRejected: 503,
    errors.AccessDenied: 403,
    errors.BucketMissing: 503,
    errors.BucketNotVersioned: 503,
    errors.ObjectMissing: 404,
    errors.ObjectRefused: 400,
    errors.IntegrityError: 502,
    errors.OutboxError: 503,
    errors.RequestError: 400,
    errors.CloningForbidden: 403,
    errors.FileMissing: 404,
    errors.FileChanged: 409,
    errors.ContentTooLarge: 413,
    errors.NotANotebook: 415,
    errors.NotebookInvalid: 422,
    errors.StillWaiting: 503,
    errors.ServerBusy: 503,
}

#: What to say of an error that nobody foresaw, whose own words may tell what is nobody's business.
_UNFORESEEN = "Something went wrong inside the server."
_UNFORESEEN_HINT = "The server's log tells what; please report it."

#: Next steps for what Jupyter Server itself refuses.
_HINTS = {
    403: "Log in, or send a token; with a cookie, repeat the cookie _xsrf in the header X-XSRFToken.",
    405: "The header Allow names the methods of this route.",
}


class HintedHTTPError(HTTPError):
    """An error that HTTP itself knows, with the next step.

    Parameters
    ----------
    status : int
    message, hint : str
    """

    def __init__(self, status: int, message: str, hint: str) -> None:
        super().__init__(status, message)
        self.hint = hint


def status_of(error: BookstoreError) -> int:
    """The HTTP status of an error."""
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def foreseen(error: BaseException | None) -> BaseException | None:
    """The error that another one stands for: the contents API makes of all that the disk refuses a 500."""
    cause = error.__cause__ if isinstance(error, HTTPError) else error
    if isinstance(cause, OSError) and cause.errno == errno.ENAMETOOLONG:
        return InvalidRequest("The file's name is longer than the server's disk allows.", "Choose a shorter name.")
    return error


def document_of(error: BookstoreError) -> dict[str, str]:
    """The JSON document of an error of bookstore's."""
    return {"message": str(error), "reason": _words(error.code), "hint": error.hint, "code": error.code}


def document_of_http(status: int, error: BaseException | None) -> dict[str, str]:
    """The JSON document of an error that is none of bookstore's."""
    phrase = responses.get(status, "Unknown HTTP Error")
    if status >= 500:
        message, hint = _UNFORESEEN, _UNFORESEEN_HINT
    else:
        message = (_message(error) if isinstance(error, HTTPError) else "") or phrase
        hint = error.hint if isinstance(error, HintedHTTPError) else _HINTS.get(status, "")
    return {"message": message, "reason": phrase.lower(), "hint": hint, "code": re.sub(r"[^A-Za-z]", "", phrase)}


def without_directories(document: dict[str, str], directories: Mapping[str, str]) -> dict[str, str]:
    """The document of an error with no absolute path in it.

    Parameters
    ----------
    document : dict
    directories : mapping of str to str
        What each of the server's directories is called instead.
    """
    for directory, name in sorted(directories.items(), reverse=True):  # the inner ones first
        if directory.strip("/"):
            for field in ("message", "hint"):
                document[field] = document[field].replace(f"{directory.rstrip('/')}/", "").replace(directory, name)
    return document


def _message(error: HTTPError) -> str:
    text = str(error.log_message or "")
    try:
        # Without arguments too: Tornado doubles the per cent signs of such a message.
        return text % error.args
    except (TypeError, ValueError):
        return text


def _words(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name).lower()
