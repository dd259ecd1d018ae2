"""Real Jupyter servers, a real bucket and a real browser, in which the built interface is."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from jupyter_core.paths import jupyter_path

from ci.browser import is_required
from ci.browser_pages import Desk
from ci.browser_scene import Place
from ci.bucket import Bucket
from ci.jupyter_process import JupyterProcess
from ci.s3_servers import SeaweedServer

NAME = "jupyterlab-bookstore"
CHECKOUT = Path(__file__).resolve().parents[2] / "bookstore" / "labextension"

#: Ann has signed in, archives, publishes and clones; news of the makers of JupyterLab would lie over the page.
CONFIG = """
from jupyter_server.auth.identity import PasswordIdentityProvider, User

class Named(PasswordIdentityProvider):
    def generate_anonymous_user(self, handler):
        return User("ann", "Ann", "Ann", "A")

c.ServerApp.identity_provider_class = Named
c.BookstoreSettings.archive_globs = ["*.ipynb", "*.txt", "*.csv"]
"""
#: Where each application is: JupyterLab where JupyterHub has the servers of its users.
BASE_URLS = {"lab": "/user/ann/", "notebook": "/"}
PAGES = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}

_NUMBERS = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", metavar="FOLDER", help="write the pictures of the documentation there")


def _missing(reason: str) -> None:
    (pytest.fail if is_required() else pytest.skip)(reason)


def _is_built(folder: Path) -> bool:
    package = folder / "package.json"
    if not package.is_file():
        return False
    return (folder / json.loads(package.read_text())["jupyterlab"]["_build"]["load"]).is_file()


@pytest.fixture(scope="session")
def interface(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a server's environment needs to find the interface: nothing where it is installed."""
    if any((Path(folder) / NAME / "package.json").is_file() for folder in jupyter_path("labextensions")):
        return {}
    if not _is_built(CHECKOUT):
        _missing("The interface is not built. Next: cd ui && npm ci && npm run build")
    share = tmp_path_factory.mktemp("share")
    # No link: a build meanwhile would take files away from pages that are open.
    shutil.copytree(CHECKOUT, share / "labextensions" / NAME)
    return {"JUPYTER_PATH": str(share)}


Start = Callable[..., Place]


def _starter(stack: ExitStack, interface: dict[str, str], homes: pytest.TempPathFactory) -> Start:
    def start(application: str, server: SeaweedServer | None) -> Place:
        home = homes.mktemp(application)
        (home / "config" / "labconfig").mkdir(parents=True)
        bucket = Bucket(server, server.create_bucket(f"browser-{next(_NUMBERS)}")) if server is not None else None
        config = CONFIG
        if bucket is not None:
            config += f"c.BookstoreSettings.s3_cloning_buckets = [{bucket.name!r}]\n"
        jupyter = JupyterProcess(
            home,
            application=application,
            base_url=BASE_URLS[application],
            environment={**interface, **(bucket.environment if bucket is not None else {}), "JUPYTERHUB_USER": "ann"},
            config={"jupyter_server_config.py": config, "labconfig/page_config.json": json.dumps(PAGES)},
        )
        return Place(application, stack.enter_context(jupyter), bucket)

    return start


@pytest.fixture(scope="module")
def start(interface: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start a Jupyter server that ends with the module."""
    with ExitStack() as stack:
        yield _starter(stack, interface, tmp_path_factory)


@pytest.fixture(scope="session")
def places(
    interface: dict[str, str], tmp_path_factory: pytest.TempPathFactory, seaweed: SeaweedServer
) -> Iterator[Callable[[str], Place]]:
    """The server of an application, which tests share."""
    with ExitStack() as stack:
        start = _starter(stack, interface, tmp_path_factory)
        started: dict[str, Place] = {}

        def place(application: str) -> Place:
            if application not in started:
                started[application] = start(application, seaweed)
            return started[application]

        yield place


@pytest.fixture(params=["lab", "notebook"])
def place(request: pytest.FixtureRequest, places: Callable[[str], Place]) -> Place:
    """Each of the two applications."""
    return places(request.param)


@dataclass
class Watch:
    """What went wrong in a browser's pages, as far as it is ours."""

    troubles: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def follow(self, page: Any) -> None:
        """Note what a page says."""
        page.on("pageerror", lambda error: self._note(f"{error}\n{error.stack}"))
        page.on("console", self._on_console)

    def _on_console(self, message: Any) -> None:
        if message.type == "error":
            self._note(f"{message.text} ({message.location.get('url', '')})")

    def _note(self, told: str) -> None:
        # Notebook fails in its own files, with and without the interface.
        if "bookstore" in told and not any(part in told for part in self.expected):
            self.troubles.append(told)


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Fails the test if a page told of an error that was not expected."""
    watch = Watch()
    yield watch
    assert not watch.troubles


@pytest.fixture
def sit_down(browser: Any, watch: Watch) -> Iterator[Callable[..., Desk]]:
    """Open a path of a place as somebody who is signed in, in a browser that may be prepared before."""
    contexts: list[Any] = []

    def sit_down(
        place: Place, path: str, *, prepare: Callable[[Any], object] = lambda context: None, **options: Any
    ) -> Desk:
        given = {"viewport": {"width": 1280, "height": 800}, "locale": "en-GB", "timezone_id": "UTC", **options}
        context = browser.new_context(**given)
        contexts.append(context)
        context.set_default_timeout(30_000)
        context.on("page", watch.follow)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        prepare(context)
        return Desk.open(context.new_page(), place.application, place.jupyter, path)

    yield sit_down
    for context in contexts:
        context.close()
