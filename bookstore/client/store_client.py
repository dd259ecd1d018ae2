"""The client: every verb of a running server as a method, answered with `bookstore.results`."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from bookstore.client.discovery import find_server
from bookstore.client.downloads import checked, place, taken
from bookstore.client.nb_client import CurrentNotebookClient
from bookstore.errors import BookstoreError, InvalidRequest, NotANotebook
from bookstore.jupyter_servers import (
    ANSWER_TIMEOUT,
    BookstoreAbsent,
    FeatureAbsent,
    JupyterServer,
    JupyterServerError,
    ask,
    open_answer,
)
from bookstore.results import (
    Archived,
    Cloned,
    Comparison,
    History,
    Listing,
    Published,
    Removed,
    Restored,
    Result,
    Version,
)

_R = TypeVar("_R", bound=Result)

#: What switches a route on that is off by default, or may be switched off.
_SWITCHES = {
    "fs-clone": "The administrator may set c.BookstoreSettings.fs_cloning_basedir to an absolute directory.",
    "clone": "The administrator may set c.BookstoreSettings.enable_s3_cloning.",
}

#: Seconds without a byte of an answer: a server may wait 30 of them for the store.
TIMEOUT = 60.0

#: Versions and publications that are asked for at a time where all of them are wanted.
PAGE = 200


class BookstoreClient:
    """The verbs of one running server, for notebooks and scripts.

    Paths are relative to the server's root directory. Nothing is asked of a server before the first verb, unless it
    takes that to find out whose kernel this is.

    Parameters
    ----------
    s3_bucket : str, optional
        Where `clone` takes from if it is not told.
    url : str, optional
        The server's address, as copied from a browser. Left out: the server whose kernel this code runs in, else the
        one that holds the current directory, else the only one that runs.
    token : str, optional
        Left out: what is known of a server of one's own, or ``JUPYTER_TOKEN``.
    server : JupyterServer, optional
        Instead of an address.
    timeout : float
        Seconds without a byte of an answer.

    Attributes
    ----------
    server : JupyterServer
    s3_bucket : str
    timeout : float

    Raises
    ------
    JupyterServerError
        No server was found, or several.
    BookstoreError
        By every verb: the error that the server tells, as the class of `bookstore.errors` that it names. Where it does
        not come to that, one of `bookstore.jupyter_servers`: `ServerUnreachable`, `ServerRefused`, `BookstoreAbsent`,
        `FeatureAbsent`.
    """

    def __init__(
        self,
        s3_bucket: str | None = None,
        *,
        url: str | None = None,
        token: str | None = None,
        server: JupyterServer | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self.s3_bucket = s3_bucket or ""
        self.timeout = timeout
        with _explained():
            if server is not None and (url is not None or token is not None):
                raise InvalidRequest("server excludes url and token.", "Give either.")
            self.server = server if server is not None else find_server(url, token)

    def __repr__(self) -> str:
        return f"BookstoreClient({self.server.url!r})"

    # -- the archive -----------------------------------------------------------------------------------------------

    def status(self, path: str | None = None) -> dict[str, Any]:
        """The archive's state: what waits, what is safe, what is wrong and what to do.

        Parameters
        ----------
        path : str, optional
            Adds ``path``: what waits of this file, and its last version.
        """
        document = self._ask("GET", "status", query={"path": path})
        if not isinstance(document, dict):
            raise self._nonsense("status")
        return document

    def flush(self, timeout: float = 30.0) -> int:
        """Have the server ship what waits, now.

        Parameters
        ----------
        timeout : float
            Seconds for which to wait at most.

        Returns
        -------
        int
            How many saves still wait.
        """
        document = self._ask("POST", "flush", body={"timeout": timeout}, timeout=timeout + ANSWER_TIMEOUT)
        try:
            return int(document["remaining"])
        except (KeyError, TypeError, ValueError) as e:
            raise self._nonsense("flush") from e

    def archive(self, path: str, *, timeout: float = 30.0) -> Archived:
        """Archive a file as it is now, if its newest version does not have these bytes already.

        Parameters
        ----------
        path : str
        timeout : float
            Seconds that the server waits for the store.
        """
        document = self._ask("POST", "archive", path, body={"timeout": timeout}, timeout=timeout + ANSWER_TIMEOUT)
        return self._result(Archived, document)

    # -- history ---------------------------------------------------------------------------------------------------

    def history(
        self,
        path: str,
        *,
        area: str = "workspace",
        limit: int = 50,
        cursor: str | None = None,
        details: bool = True,
    ) -> History:
        """A page of the history of a path, newest first; `versions` takes all pages.

        Parameters
        ----------
        path : str
        area : str
            ``workspace``, ``published`` or ``scheduled``.
        limit : int
            Versions at most, 1 to 1,000.
        cursor : str, optional
            Of the page before.
        details : bool
            Whether who, when and why are asked for, which costs the server a request for each version.
        """
        query = {"area": area, "limit": str(limit), "cursor": cursor, "details": "true" if details else "false"}
        return self._result(History, self._ask("GET", "versions", path, query=query))

    def versions(self, path: str, *, area: str = "workspace", details: bool = True) -> Iterator[Version]:
        """Every version in the history of a path, newest first.

        The first page is asked for at once, so that what is wrong is raised here; further ones as they are needed.

        Parameters
        ----------
        path, area, details
            As for `history`.
        """
        return self._further(self.history(path, area=area, limit=PAGE, details=details), area, details)

    def pinned(self, path: str, *, area: str = "workspace") -> History:
        """The pinned versions of a path, newest first: 100 at most, those that were pinned last.

        Parameters
        ----------
        path : str
        area : str
            ``workspace``; nothing is pinned in the others.
        """
        return self._result(History, self._ask("GET", "versions", path, query={"area": area, "pinned": "true"}))

    def _further(self, page: History, area: str, details: bool) -> Iterator[Version]:
        path = page.path
        yield from page.versions
        while page.cursor:
            page = self.history(path, area=area, limit=PAGE, cursor=page.cursor, details=details)
            yield from page.versions

    @contextmanager
    def open(self, path: str, version_id: str | None = None, *, area: str = "workspace") -> Iterator[Iterator[bytes]]:
        """A version's bytes in pieces, for those that are too many for memory; what `read` raises comes at the end.

        Parameters
        ----------
        path : str
        version_id : str, optional
            The newest if left out.
        area : str
            ``workspace``, ``published`` or ``scheduled``.
        """
        with self._told("content"):
            address = _address("content", path, {"version_id": version_id, "area": area})
            with open_answer(self.server, "GET", address, timeout=self.timeout) as answer:
                yield checked(answer, path)

    def read(self, path: str, version_id: str | None = None, *, area: str = "workspace") -> bytes:
        """A version's bytes, checked against the SHA-256 that it was saved with; the newest without ``version_id``.

        Raises
        ------
        ObjectMissing
            There is no such version.
        IntegrityError
            Other bytes came.
        """
        with self.open(path, version_id, area=area) as pieces:
            return b"".join(pieces)

    def download(
        self,
        path: str,
        target: str | os.PathLike[str] = ".",
        version_id: str | None = None,
        *,
        area: str = "workspace",
        overwrite: bool = False,
    ) -> Path:
        """Write a version's bytes into a file on this machine, as `read` gives them but never whole in memory.

        Parameters
        ----------
        path : str
        target : str or path
            A file, or a directory to make it in.
        version_id : str, optional
            The newest if left out.
        area : str
        overwrite : bool
            Whether a file that is there may be replaced; that happens at the end, in one step.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        InvalidRequest
            The target is there already.
        ObjectMissing, IntegrityError
            As for `read`.
        """
        file = Path(target)
        if file.is_dir():
            file /= path.rstrip("/").rpartition("/")[2]
        with _explained():
            if not overwrite and os.path.lexists(file):
                raise taken(file)
            part = file.with_name(f".{file.name[:100]}.{secrets.token_hex(4)}.part")
            try:
                with self.open(path, version_id, area=area) as pieces, part.open("xb") as out:
                    for piece in pieces:
                        out.write(piece)
                place(part, file, overwrite)
            finally:
                part.unlink(missing_ok=True)
        return file

    def compare(
        self,
        path: str,
        before: str | None = None,
        after: str | None = None,
        *,
        area: str = "workspace",
        notebook: bool = False,
    ) -> Comparison:
        """Compare two versions, or a version with the file as it is now.

        Parameters
        ----------
        path : str
        before : str, optional
            Version id; the newest version if left out.
        after : str, optional
            Version id; the file now if left out.
        area : str
        notebook : bool
            Whether to tell the older notebook too, to which nbdime's diff applies.
        """
        query = {"before": before, "after": after, "area": area, "notebook": "true" if notebook else None}
        return self._result(Comparison, self._ask("GET", "diff", path, query=query))

    def compare_content(
        self,
        path: str,
        content: Mapping[str, Any] | str,
        before: str | None = None,
        *,
        notebook: bool = False,
    ) -> Comparison:
        """Compare a version with content that is not saved; nothing is written.

        Parameters
        ----------
        path : str
        content : mapping or str
            A notebook, or a text.
        before : str, optional
            Version id; the newest version if left out.
        notebook : bool
            As for `compare`.
        """
        kind = {"type": "file", "format": "text"} if isinstance(content, str) else {"type": "notebook"}
        body = {"before": before, **kind, "content": content, "notebook": notebook}
        return self._result(Comparison, self._ask("POST", "diff", path, body=_given(body)))

    def label(
        self,
        path: str,
        version_id: str,
        *,
        name: str | None = None,
        note: str | None = None,
        pinned: bool | None = None,
    ) -> Version:
        """Name, annotate or pin a version.

        Parameters
        ----------
        path, version_id : str
        name, note : str, optional
            Left out: as it is; empty: none.
        pinned : bool, optional
            Mirrored as the object's tag ``bookstore-pinned``.
        """
        body = {"version_id": version_id, "name": name, "note": note, "pinned": pinned}
        return self._result(Version, self._ask("PATCH", "label", path, body=_given(body)))

    def restore(
        self,
        path: str,
        version_id: str,
        *,
        target_path: str | None = None,
        expected_hash: str | None = None,
        expected_last_modified: str | None = None,
        force: bool = False,
    ) -> Restored:
        """Make a version's bytes the file's again, as a new save: nothing in the history changes.

        What the file holds is archived first if no version has it.

        Parameters
        ----------
        path, version_id : str
        target_path : str, optional
            Another file to write.
        expected_hash, expected_last_modified : str, optional
            Of the file that the caller looked at: its SHA-256, or its time by the contents API.
        force : bool
            Write although the file changed since.

        Raises
        ------
        FileChanged
            The file is not the one that the caller looked at.
        """
        body = {
            "version_id": version_id,
            "target_path": target_path,
            "expected_hash": expected_hash,
            "expected_last_modified": expected_last_modified,
            "force": force,
        }
        return self._result(Restored, self._ask("POST", "restore", path, body=_given(body)))

    # -- publishing ------------------------------------------------------------------------------------------------

    def publish(self, path: str | None = None, *, content: Mapping[str, Any] | str | bytes | None = None) -> Published:
        """Publish a notebook, as it was saved last.

        Parameters
        ----------
        path : str, optional
            Left out: the notebook that this code runs in. Save it first.
        content : mapping, str or bytes, optional
            The notebook, as JSON or what JSON stands for, instead of the file at the path.

        Raises
        ------
        NotANotebook, NotebookInvalid, FileMissing, StillWaiting
        JupyterServerError
            This code runs in no notebook of the server, and there is no path.
        """
        with _explained():
            body = None if content is None else {"type": "notebook", "content": _notebook(content)}
        return self._result(Published, self._ask("PUT", "publish", self._notebook_path(path), body=body))

    def unpublish(self, path: str) -> Removed:
        """Take a publication back; its versions stay."""
        return self._result(Removed, self._ask("DELETE", "published", path))

    def published(self) -> Iterator[Published]:
        """All that is published, in the order of the keys; pages are asked for as they are needed."""
        return self._listed("published")

    def publication(self, path: str, *, limit: int = 50, cursor: str | None = None, details: bool = True) -> History:
        """A page of the history of a publication, newest first; ``versions(path, area="published")`` takes all.

        Parameters
        ----------
        path, limit, cursor, details
            As for `history`.
        """
        query = {"limit": str(limit), "cursor": cursor, "details": "true" if details else "false"}
        return self._result(History, self._ask("GET", "published", path, query=query))

    # -- scheduling ------------------------------------------------------------------------------------------------

    def schedule(
        self, path: str | None = None, *, version_id: str | None = None, parameters: Mapping[str, Any] | None = None
    ) -> Published:
        """Make a scheduled copy of a notebook, pinned to a version in the workspace.

        Parameters
        ----------
        path : str, optional
            Left out: the notebook that this code runs in. Save it first.
        version_id : str, optional
            Left out: the file as it was saved last.
        parameters : mapping, optional
            By papermill's convention; kept with the copy.
        """
        body = _given({"version_id": version_id, "parameters": dict(parameters) if parameters is not None else None})
        return self._result(Published, self._ask("PUT", "schedule", self._notebook_path(path), body=body))

    def unschedule(self, path: str) -> Removed:
        """Take a scheduled copy back; its versions stay."""
        return self._result(Removed, self._ask("DELETE", "scheduled", path))

    def scheduled(self) -> Iterator[Published]:
        """All that is scheduled, in the order of the keys; pages are asked for as they are needed."""
        return self._listed("scheduled")

    def scheduled_copy(self, path: str, version_id: str | None = None) -> Published:
        """One scheduled copy with its parameters; the newest without ``version_id``."""
        return self._result(Published, self._ask("GET", "scheduled", path, query={"version_id": version_id}))

    # -- cloning ---------------------------------------------------------------------------------------------------

    def clone(
        self, s3_bucket: str = "", s3_key: str = "", target_path: str = "", *, version_id: str | None = None
    ) -> Cloned:
        """Make a file of an object's version on the server; no file that is there is overwritten.

        Parameters
        ----------
        s3_bucket : str
            Empty: the client's own.
        s3_key : str
        target_path : str
            The file to make, or a directory to make it in; empty: the key's last part, in the root directory.
        version_id : str, optional
            The newest if left out.
        """
        body = {
            "s3_bucket": s3_bucket or self.s3_bucket,
            "s3_key": s3_key,
            "target_path": target_path or None,
            "s3_version_id": version_id,
        }
        with _explained():
            for name in ("s3_bucket", "s3_key"):
                if not body[name]:
                    raise InvalidRequest(f"{name} is missing.", "Give the bucket and the key of what is to be cloned.")
        return self._cloned(self._ask("POST", "clone", body=_given(body)))

    def clone_file(self, relpath: str, target_path: str = "") -> Cloned:
        """Make a file of one below the server's ``fs_cloning_basedir``; no file that is there is overwritten.

        Parameters
        ----------
        relpath : str
            Below that directory.
        target_path : str
            As for `clone`.
        """
        body = {"relpath": relpath, "target_path": target_path or None}
        return self._cloned(self._ask("POST", "fs-clone", body=_given(body)))

    # -- parts -----------------------------------------------------------------------------------------------------

    def _ask(
        self,
        method: str,
        route: str,
        path: str | None = None,
        *,
        query: Mapping[str, str | None] | None = None,
        body: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Any:
        with self._told(route):
            return ask(self.server, method, _address(route, path, query), body, timeout or self.timeout)

    @contextmanager
    def _told(self, route: str) -> Iterator[None]:
        """What goes wrong inside is told with the next step."""
        with _explained():
            try:
                yield
            except BookstoreAbsent as e:
                raise self._absent(e, route) from e

    def _absent(self, error: BookstoreAbsent, route: str) -> JupyterServerError:
        """Why there is no such route: no bookstore, or one that does not offer it."""
        try:
            release = ask(self.server, "GET", "api/bookstore", timeout=self.timeout)["release"]
        except (JupyterServerError, KeyError, TypeError):
            return error
        return FeatureAbsent(f"{error}. The server's bookstore {release} does not offer this.", _SWITCHES.get(route))

    def _notebook_path(self, path: str | None) -> str:
        if path is not None:
            return path
        with _explained():
            return CurrentNotebookClient(self.server, timeout=self.timeout).notebook_path

    def _listed(self, route: str) -> Iterator[Published]:
        """All pages of a listing; the first is asked for at once."""

        def ask_for(cursor: str | None) -> Listing:
            return self._result(Listing, self._ask("GET", route, query={"limit": str(PAGE), "cursor": cursor}))

        def items(page: Listing) -> Iterator[Published]:
            yield from page.items
            while page.cursor is not None:
                page = ask_for(page.cursor)
                yield from page.items

        return items(ask_for(None))

    def _cloned(self, document: Any) -> Cloned:
        return self._made(lambda: _cloned_of(dict(document)), "clone")

    def _result(self, kind: type[_R], document: Any) -> _R:
        return self._made(lambda: kind.from_dict(document), kind.__name__)

    def _made(self, make: Callable[[], _R], what: str) -> _R:
        try:
            return make()
        except (AttributeError, KeyError, TypeError, ValueError) as e:
            raise self._nonsense(what) from e

    def _nonsense(self, what: str) -> JupyterServerError:
        return JupyterServerError(
            f"{self.server.url} gave an answer that this client does not understand ({what}).",
            "Compare the releases: client.status() and bookstore.__version__.",
        )


# -- requests ----------------------------------------------------------------------------------------------------------


def _address(route: str, path: str | None, query: Mapping[str, str | None] | None) -> str:
    """What follows the base URL.

    Raises
    ------
    InvalidRequest
        The path is none.
    """
    address = f"api/bookstore/{route}"
    if path is not None:
        parts = [part for part in path.split("/") if part]
        if not parts:
            raise InvalidRequest("No path was given.", "Give the path of a file, relative to the server's root.")
        if {".", ".."} & set(parts):  # what stands between here and the server may walk them
            raise InvalidRequest(f"{path!r} has a part . or ..", "Give a path from the server's root.")
        try:
            address += f"/{quote('/'.join(parts))}"
        except UnicodeEncodeError as e:
            raise InvalidRequest(f"{path!r} is not valid Unicode.", "Rename the file.") from e
    given = _given(query or {})
    return f"{address}?{urlencode(given)}" if given else address


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _notebook(content: Mapping[str, Any] | str | bytes) -> Any:
    if isinstance(content, Mapping):
        return content
    try:
        return json.loads(content)
    except ValueError as e:
        raise NotANotebook(f"The content is no JSON: {e}") from e


def _cloned_of(document: dict[str, Any]) -> Cloned:
    source, s3_path, version_id = (document.pop(name) for name in ("source", "s3_path", "versionID"))
    return Cloned(document["path"], source, s3_path, version_id, document)


# -- errors ------------------------------------------------------------------------------------------------------------


@contextmanager
def _explained() -> Iterator[None]:
    """Errors from inside carry their hint as a note too, which tracebacks show from Python 3.11 on."""
    try:
        yield
    except BookstoreError as e:
        if e.hint and sys.version_info >= (3, 11) and e.hint not in getattr(e, "__notes__", ()):
            e.add_note(e.hint)
        raise
