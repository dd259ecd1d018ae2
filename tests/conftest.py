"""Real servers for the tests: S3 servers that speak versions, and Jupyter servers as processes of their own."""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

# At the end: an installed bookstore comes first, and is what is tested.
sys.path.append(str(Path(__file__).resolve().parent.parent))

from ci.browser import BrowserMissing, chromium, is_required
from ci.bucket import Bucket
from ci.jupyter_process import JupyterProcess
from ci.s3_servers import MotoServer, SeaweedServer

_NUMBERS = itertools.count(1)

# A shell that starts the tests in the background has them ignore Ctrl-C, and with them all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def moto() -> Iterator[MotoServer]:
    """The quick S3 server: in this process, in memory."""
    with MotoServer() as server:
        yield server


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedServer]:
    """The durable S3 server: a process of its own that checks secrets and keeps its data."""
    with SeaweedServer(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture
def bucket(moto: MotoServer) -> Bucket:
    """A versioned bucket on the quick server."""
    return Bucket(moto, moto.create_bucket(f"test-{next(_NUMBERS)}"))


@pytest.fixture
def durable_bucket(seaweed: SeaweedServer) -> Bucket:
    """A versioned bucket on the durable server."""
    return Bucket(seaweed, seaweed.create_bucket(f"test-{next(_NUMBERS)}"))


@pytest.fixture
def start_jupyter(tmp_path: Path) -> Iterator[Callable[..., JupyterProcess]]:
    """Start Jupyter servers that end with the test."""
    started: list[JupyterProcess] = []

    def start(bucket: Bucket | None = None, *, home: Path | None = None, **options: Any) -> JupyterProcess:
        environment = {**(bucket.environment if bucket is not None else {}), **options.pop("environment", {})}
        process = JupyterProcess(home or tmp_path / "jupyter", environment=environment, **options)
        started.append(process)
        return process.start()

    yield start
    for process in started:
        process.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium; for one module, since the loop that drives it is in the way of tests that have their own."""
    with ExitStack() as stack:
        try:
            found = stack.enter_context(chromium())
        except BrowserMissing as error:
            (pytest.fail if is_required() else pytest.skip)(str(error))
        yield found


@pytest.fixture
def wait_until() -> Callable[..., Awaitable[None]]:
    """Goes on once a condition holds, and fails if it does not hold in time."""

    async def wait(condition: Callable[[], object], timeout: float = 10.0) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            await asyncio.sleep(0.005)

    return wait
