"""The Jupyter servers that run here: finding them, choosing one, and asking its REST interface."""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import secrets
import socket
import ssl
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from bookstore import errors
from bookstore.errors import BookstoreError

#: Seconds to wait for the first byte of an answer, beyond what the request itself may take.
ANSWER_TIMEOUT = 30.0

#: Bytes of an answer that are in memory at a time where it is read in pieces.
CHUNK = 1 << 20


class JupyterServerError(BookstoreError):
    """A Jupyter server did not do what was asked."""


class ServerUnreachable(JupyterServerError):
    """Nothing answers at the server's address."""

    transient = True
    default_hint = "Check that the server runs and that its address is right."


class ServerRefused(JupyterServerError):
    """The server does not know who asks, or does not allow it (401, 403, or a page to log in)."""

    default_hint = (
        "Give the server's token: set JUPYTER_TOKEN, use --token, or token=… in Python. jupyter server list shows "
        "those of your servers."
    )


class BookstoreAbsent(JupyterServerError):
    """The server runs without bookstore (404)."""

    default_hint = (
        "Install bookstore where that server runs, see jupyter server extension list, and restart the server."
    )


class FeatureAbsent(JupyterServerError):
    """The server's bookstore has no such route (404): its settings switch that off, or its release is another."""

    default_hint = "GET /api/bookstore tells the release and which features the administrator has switched on."


@dataclass(frozen=True, slots=True)
class JupyterServer:
    """A running server, and how to reach it.

    Attributes
    ----------
    url : str
        With the base URL, ending in ``/``; never with a token.
    token : str
        Empty where none is known.
    root_dir : Path or None
        None where it is not known.
    pid : int or None
    sock : str
        Path of the Unix socket that it listens on instead of a port; otherwise empty.
    info : mapping
        What the server itself tells in Jupyter's runtime directory, its token included; empty where it is not from
        there.
    """

    url: str
    token: str = field(default="", repr=False)
    root_dir: Path | None = None
    pid: int | None = None
    sock: str = ""
    info: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def headers(self) -> dict[str, str]:
        """What a request must carry: the token, or what a server without authentication compares."""
        if self.token:
            return {"Authorization": f"token {self.token}"}
        # Cookie and header must be the same, which a request from another site cannot bring about.
        made_up = secrets.token_hex(16)
        return {"Cookie": f"_xsrf={made_up}", "X-XSRFToken": made_up}

    def holds(self, directory: Path) -> bool:
        """Whether a directory lies below the server's root."""
        return self.root_dir is not None and directory.resolve().is_relative_to(self.root_dir.resolve())


def server_at(url: str, token: str, environ: Mapping[str, str] = os.environ) -> JupyterServer:
    """A server at an address that the user gave.

    Parameters
    ----------
    url : str
        As copied from a browser: what follows ``?`` is left out, but a token there is used.
    token : str
        Empty: the token in the address, that of a server of one's own at this address, or ``JUPYTER_TOKEN``.

    Raises
    ------
    JupyterServerError
        It is no address.
    """
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # half an IPv6 address, or a port that is no number
        is_address = False
    if not is_address:
        raise JupyterServerError("The url is no address of a server.", "It looks like http://localhost:8888/.")
    # Whoever copies the address out of the browser copies the page as well.
    path = parts.path
    for page in ("/lab", "/tree", "/notebooks", "/edit"):
        path = path.partition(f"{page}/")[0] if f"{page}/" in path else path.removesuffix(page)
    in_url = next((p.removeprefix("token=") for p in parts.query.split("&") if p.startswith("token=")), "")
    host = parts.netloc.rpartition("@")[2]
    bare = urlunsplit(SplitResult(parts.scheme, host, path.rstrip("/") + "/", "", ""))
    own = next((server for server in running_servers(environ=environ) if _same_address(server.url, bare)), None)
    token = token or in_url or (own.token if own else "") or environ.get("JUPYTER_TOKEN", "")
    return JupyterServer(bare, token, own.root_dir if own else None, own.pid if own else None)


def _same_address(one: str, other: str) -> bool:
    def key(url: str) -> tuple[str, str, int | None, str]:
        parts = urlsplit(url)
        host = "localhost" if _is_loopback(parts.hostname or "") else parts.hostname or ""
        return parts.scheme, host, parts.port, parts.path

    return key(one) == key(other)


def running_servers(runtime_dir: Path | None = None, environ: Mapping[str, str] = os.environ) -> list[JupyterServer]:
    """The user's servers that run on this machine, as they tell in Jupyter's runtime directory.

    As `jupyter_server.serverapp.list_running_servers`, which takes two seconds to import and removes what it finds
    to be stale. On JupyterHub the own single-user server is among them, with the token that the hub gave it.

    Parameters
    ----------
    runtime_dir : Path, optional
        Jupyter's own by default.
    environ : mapping, optional
        The environment, for what JupyterHub tells there.
    """
    from jupyter_core.paths import jupyter_runtime_dir

    servers = list(_read_infos(Path(runtime_dir or jupyter_runtime_dir()), environ))
    hub_url = environ.get("JUPYTERHUB_SERVICE_URL", "")
    if hub_url and environ.get("JUPYTERHUB_API_TOKEN"):
        parts = urlsplit(hub_url)
        base = environ.get("JUPYTERHUB_SERVICE_PREFIX") or parts.path or "/"
        if not any(urlsplit(server.url).path == base for server in servers):
            url = urlunsplit(SplitResult(parts.scheme, _reachable(parts), base.rstrip("/") + "/", "", ""))
            servers.append(JupyterServer(url, environ["JUPYTERHUB_API_TOKEN"], _hub_root(environ)))
    return servers


def _hub_root(environ: Mapping[str, str]) -> Path | None:
    root = environ.get("JUPYTERHUB_ROOT_DIR")
    return Path(root) if root else None


def _read_infos(directory: Path, environ: Mapping[str, str]) -> Iterator[JupyterServer]:
    for file in sorted(directory.glob("jpserver-*.json")):
        try:
            server = server_of(json.loads(file.read_text(encoding="utf-8")), environ)
        except (OSError, ValueError, JupyterServerError):  # being written, or gone, or no server's
            continue
        if server.pid is not None and _may_run(server.pid):
            yield server


def server_of(info: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> JupyterServer:
    """The server that a record tells of.

    Parameters
    ----------
    info : mapping
        As a server writes it into Jupyter's runtime directory; ``url``, ``pid`` and ``root_dir`` must be there.
    environ : mapping, optional
        The environment, for what JupyterHub tells there.

    Raises
    ------
    JupyterServerError
        It is no server's.
    """
    try:
        parts = urlsplit(info["url"])
        pid = int(info["pid"])
        base = str(info.get("base_url") or "/")
        token = str(info.get("token") or "")
        root = Path(info["root_dir"])
        sock = str(info.get("sock") or "")
        scheme, host = ("http", "localhost") if sock else (parts.scheme, _reachable(parts))
    except (AttributeError, ValueError, KeyError, TypeError) as e:
        raise JupyterServerError("The record is none of a running Jupyter server.") from e
    if not token and base == environ.get("JUPYTERHUB_SERVICE_PREFIX"):
        token = environ.get("JUPYTERHUB_API_TOKEN", "")
    url = urlunsplit(SplitResult(scheme, host, base.rstrip("/") + "/", "", ""))
    return JupyterServer(url, token, root, pid, sock, info)


def _reachable(parts: SplitResult) -> str:
    """Host and port to connect to: a server that listens everywhere names the machine, or nothing that one can dial."""
    host = parts.hostname or ""
    if host in ("", "0.0.0.0", "::") or host == socket.gethostname().lower():  # noqa: S104 - nobody listens here
        host = "127.0.0.1"
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{parts.port}" if parts.port else host


def _may_run(pid: int) -> bool:
    if sys.platform == "win32":  # os.kill ends a process there; whether the server answers has to do
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def servers_for(directory: Path, servers: Iterable[JupyterServer]) -> list[JupyterServer]:
    """Those of the servers that hold a directory, with the deepest root: more than one where they share it."""
    holding = [server for server in servers if server.holds(directory)]
    depth = max((len(_root(server).parts) for server in holding), default=0)
    return [server for server in holding if len(_root(server).parts) == depth]


def _root(server: JupyterServer) -> Path:
    return (server.root_dir or Path("/")).resolve()


# -- asking ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered, its content still to be read.

    Attributes
    ----------
    call : str
        What was asked: method and address.
    path : str
        What was asked for, below the server's base URL.
    status : int
    headers : Message
        Names in any case.
    """

    call: str
    path: str
    status: int
    headers: Message
    _response: http.client.HTTPResponse = field(repr=False)

    @property
    def is_success(self) -> bool:
        """Whether it is the answer to what was asked, and no error."""
        return 200 <= self.status < 300

    def chunks(self) -> Iterator[bytes]:
        """The content in pieces.

        Raises
        ------
        ServerUnreachable
            The connection broke before its end.
        """
        while chunk := self._piece():
            yield chunk
        if self._response.length:
            raise ServerUnreachable(f"{self.call}: the answer ended {self._response.length} bytes early", "Try again.")

    def read(self) -> bytes:
        """The whole content, errors as for `chunks`."""
        return b"".join(self.chunks())

    def json(self) -> Any:
        """The content as JSON; None where there is none.

        Raises
        ------
        JupyterServerError
            It is no JSON.
        """
        data = self.read()
        try:
            return json.loads(data) if data else None
        except ValueError as e:
            raise JupyterServerError(
                f"{self.call}: the answer is no JSON.", "Check the address: is it a Jupyter server's?"
            ) from e

    def error(self) -> BookstoreError:
        """The error that the answer tells: the server's own, where it names one of `bookstore.errors`."""
        document = _document(self.read())
        message = str(document.get("message") or document.get("reason") or "")
        known = getattr(errors, str(document.get("code")), None)
        if isinstance(known, type) and issubclass(known, BookstoreError):
            hint = document.get("hint")
            return known(message or f"{self.call}: {self.status}", None if hint is None else str(hint))
        told = f"{self.call}: {self.status} {message}".rstrip()
        if self.status in (401, 403) or 300 <= self.status < 400:
            return ServerRefused(told)
        if self.status == 404 and self.path.startswith(("api/bookstore", "bookstore/")):
            return BookstoreAbsent(told)
        return JupyterServerError(told, str(document.get("hint") or "The server's log tells more."))

    def _piece(self) -> bytes:
        try:
            return self._response.read(CHUNK)
        except (OSError, http.client.HTTPException) as e:
            raise ServerUnreachable(f"{self.call}: {type(e).__name__}: {e}") from e


def _document(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


@contextmanager
def send(
    server: JupyterServer,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    timeout: float = ANSWER_TIMEOUT,
    *,
    accept: str = "application/json",
) -> Iterator[Answer]:
    """Send one request to a server and look at the answer, whatever its status.

    Parameters
    ----------
    server : JupyterServer
    method : str
    path : str
        Below the server's base URL, percent-encoded, without a leading slash.
    body : mapping, optional
        Sent as JSON.
    timeout : float
        Seconds without a byte of the answer.
    accept : str
        Which kind of content is wanted.

    Raises
    ------
    ServerUnreachable
        Nothing answers, or not in time.
    """
    parts = urlsplit(server.url)
    call = f"{method} {server.url}{path}"
    payload = None if body is None else json.dumps(body).encode("utf-8")
    headers = {**server.headers(), "Accept": accept}
    if payload is not None:
        headers["Content-Type"] = "application/json"
    connection = _connection(server, parts, timeout)
    try:
        try:
            connection.request(method, parts.path + path, payload, headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as e:
            raise ServerUnreachable(f"{call}: {type(e).__name__}: {e}") from e
        with response:
            yield Answer(call, path, response.status, response.headers, response)
    finally:
        connection.close()


@contextmanager
def open_answer(
    server: JupyterServer,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    timeout: float = ANSWER_TIMEOUT,
    *,
    accept: str = "*/*",
) -> Iterator[Answer]:
    """Send one request to a server, and read the answer's content in pieces.

    Parameters
    ----------
    server, method, path, body, timeout, accept
        As for `send`.

    Raises
    ------
    ServerUnreachable
        Nothing answers, or not in time.
    ServerRefused
        Not allowed.
    BookstoreAbsent
        No such route.
    BookstoreError
        The server's own error, where its answer names one of `bookstore.errors`.
    JupyterServerError
        Any other answer than a success, with the message that the server gave.
    """
    with send(server, method, path, body, timeout, accept=accept) as answer:
        if not answer.is_success:
            raise answer.error()
        yield answer


def ask(
    server: JupyterServer,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    timeout: float = ANSWER_TIMEOUT,
) -> Any:
    """Send one request to a server whose answer is JSON.

    Parameters
    ----------
    server, method, path, body, timeout
        As for `send`.

    Returns
    -------
    Any
        The answer's JSON; None where it has no body.

    Raises
    ------
    BookstoreError
        As for `open_answer`; and a `JupyterServerError` where the answer is no JSON.
    """
    with open_answer(server, method, path, body, timeout, accept="application/json") as answer:
        return answer.json()


def _connection(server: JupyterServer, parts: SplitResult, timeout: float) -> http.client.HTTPConnection:
    # Not through urllib: it would send what is meant for this machine to the proxy of the environment.
    host, port = parts.hostname or "localhost", parts.port
    if server.sock:
        return _UnixConnection(server.sock, timeout)
    if parts.scheme == "https":
        context = ssl.create_default_context()
        if _is_loopback(host):
            # A certificate for the machine's public name says nothing about 127.0.0.1, and plain HTTP is as safe here.
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
    return http.client.HTTPConnection(host, port, timeout=timeout)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        if sys.platform == "win32":
            raise OSError("Windows has no Unix sockets here")
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
