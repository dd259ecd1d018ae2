"""What the tests of the threat model share: a server that refuses on demand, and stores that mean ill."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from ci.bucket import Bucket
from ci.jupyter_process import JupyterProcess, notebook

#: Whatever shows one of these shows a secret.
ACCESS_KEY = "AKIAPLANTEDACCESSKEY"
SECRET = "planted-secret-access-key-0123456789"
TOKEN = "planted-session-token-0123456789"
SECRETS = (ACCESS_KEY, SECRET, TOKEN)

BUCKET = "security"

#: Lets a request say who makes it, and what the authorizer is to refuse it.
CONFIG = """
from urllib.parse import unquote
from jupyter_server.auth import Authorizer, PasswordIdentityProvider, User

class ManyUsers(PasswordIdentityProvider):
    async def _get_user(self, handler):
        user = await super()._get_user(handler)
        name = handler.request.headers.get("X-As")
        return User(username=unquote(name), name="Somebody") if user is not None and name else user

    def get_user(self, handler):
        return self._get_user(handler)

class Refusing(Authorizer):
    async def is_authorized(self, handler, user, action, resource):
        return handler.request.headers.get("X-Refuse") != f"{action} {resource}"

c.ServerApp.identity_provider_class = ManyUsers
c.ServerApp.authorizer_class = Refusing
"""


@dataclass(frozen=True)
class Operation:
    """One method of one route, as the OpenAPI document tells it."""

    method: str
    route: str

    @property
    def changes(self) -> bool:
        """Whether it may change anything."""
        return self.method not in ("GET", "HEAD")

    @property
    def action(self) -> str:
        """What the authorizer is asked about: a comparison with what is in the editor only reads."""
        return "write" if self.changes and not self.route.startswith("/api/bookstore/diff/") else "read"

    def address(self, path: str = "some.ipynb", query: str = "") -> str:
        """Where to send it; ``path`` goes as it is, so that a test decides how it is encoded."""
        wanted = {
            "clone": f"s3_bucket={BUCKET}&s3_key=workspace/{path}",
            "cloned": f"s3_bucket={BUCKET}&s3_key=workspace/{path}",
            "fs-clone": "relpath=notes/shared.txt",
        }.get(self.route.rpartition("/")[2], "")
        arguments = "&".join(part for part in (wanted, query) if part)
        return self.route.replace("{path}", path) + (f"?{arguments}" if arguments else "")

    def body(self, path: str = "some.ipynb", version_id: str = "1") -> dict[str, Any] | None:
        """A body with which it succeeds, if the version is one."""
        if not self.changes:
            return None
        verb = self.route.removeprefix("/api/bookstore/").partition("/")[0]
        return {
            "diff": {"type": "notebook", "content": notebook("in the editor")},
            "flush": {"timeout": 5},
            "label": {"version_id": version_id, "name": "a name"},
            "restore": {"version_id": version_id},
            "archive": {"timeout": 5},
            "publish": {"type": "notebook", "content": notebook("published")},
            "published": {"type": "notebook", "content": notebook("published")},
            "schedule": {"version_id": version_id},
            "scheduled": {"version_id": version_id},
            "clone": {"s3_bucket": BUCKET, "s3_key": f"workspace/{path}"},
            "cloned": {"s3_bucket": BUCKET, "s3_key": f"workspace/{path}"},
            "fs-clone": {"relpath": "notes/shared.txt"},
        }[verb]


@pytest.fixture(scope="session")
def bucket(moto) -> Bucket:
    return Bucket(moto, moto.create_bucket(BUCKET))


@pytest.fixture(scope="session")
def basedir(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("shared")
    (directory / "notes").mkdir()
    (directory / "notes" / "shared.txt").write_text("to clone")
    return directory


@pytest.fixture(scope="session")
def jupyter(bucket, basedir, tmp_path_factory) -> Iterator[JupyterProcess]:
    """The server that most tests attack; one for all of them."""
    settings = f"c.BookstoreSettings.fs_cloning_basedir = {str(basedir)!r}\n"
    settings += f"c.BookstoreSettings.s3_cloning_buckets = [{BUCKET!r}]\n"
    with JupyterProcess(
        tmp_path_factory.mktemp("attacked"),
        environment=bucket.environment,
        config={"jupyter_server_config.py": CONFIG + settings},
    ) as process:
        yield process


@pytest.fixture(scope="session")
def operations(jupyter) -> list[Operation]:
    """Every method of every route that the server documents, so that a new one is attacked as well."""
    paths = jupyter.ok("GET", "/api/bookstore/openapi.json")["paths"]
    found = [Operation(method.upper(), route) for route, methods in paths.items() for method in methods]
    assert len(found) > 30
    assert any(not one.changes for one in found)
    return found


@pytest.fixture(scope="session")
def make_versions(jupyter) -> Callable[..., list[str]]:
    """Saves a notebook with each text; the ids of its versions, oldest first."""

    def make(path: str, *texts: str) -> list[str]:
        for text in texts:
            jupyter.save(path, notebook(text))
        jupyter.flush()
        rows = jupyter.ok("GET", f"/api/bookstore/versions/{quote(path)}")["versions"]
        return [row["version_id"] for row in rows][::-1]

    return make


class HostileStore:
    """An endpoint that answers whatever a test wants, and keeps what it was asked.

    Attributes
    ----------
    seen : list of tuple
        Method, target and headers of each request.
    reply : callable
        Gives status, headers and body, from the request's handler.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.reply: Callable[[BaseHTTPRequestHandler], tuple[int, dict[str, str], bytes]] = lambda _: (500, {}, b"")


@contextmanager
def hostile_store() -> Iterator[HostileStore]:
    """Run one on the loopback interface."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            store.seen.append((self.command, self.path, dict(self.headers)))
            status, headers, body = store.reply(self)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.answer)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    store = HostileStore(server.server_port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(name="hostile")
def _hostile() -> Iterator[HostileStore]:
    with hostile_store() as store:
        yield store


@pytest.fixture
def elsewhere() -> Iterator[HostileStore]:
    """A second one, to which nothing may ever come."""
    with hostile_store() as store:
        yield store


@pytest.fixture
def hostile_stores() -> Callable[[], Any]:
    return hostile_store


_NAMES = count(1)


@pytest.fixture
def name() -> str:
    """A path that no other test uses."""
    return f"attacked-{next(_NAMES)}.ipynb"
