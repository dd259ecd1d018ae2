"""What the benchmarks run on: an S3 server, Jupyter with and without archiving, and turns between them."""

from __future__ import annotations

import asyncio
import http.client
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bookstore
from ci.fault_proxy import FaultProxy
from ci.jupyter_process import START_LIMIT, JupyterProcess, notebook
from ci.s3_servers import S3Server, SeaweedServer

#: Seconds that people at least leave between two saves; shipping happens meanwhile.
PAUSE = 0.2

#: What runs inside of the servers that are measured.
_INSIDE = ("__init__.py", "loop_gauge.py", "backlog.py")

#: Rounds before those that count.
WARM_UP = 3


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes
    ----------
    quick : bool
        Only as much as shows that the benchmark runs; such figures mean nothing.
    scale : float
        Shortens or lengthens a run that is not quick.
    entries : int
        Saves of the longest backlog.
    entry_size : int
        Bytes of each of those whose memory is measured.
    versions : int
        Versions of the longest history.
    environments : Path or None
        Where virtual environments are kept from one run to the next; None makes them anew.
    """

    quick: bool = False
    scale: float = 1.0
    entries: int = 10_000
    entry_size: int = 1_000_000
    versions: int = 10_000
    environments: Path | None = None

    def count(self, full: int, quick: int = 2) -> int:
        """How many samples to take."""
        return quick if self.quick else max(min(full, 3), round(full * self.scale))


@dataclass(frozen=True)
class Pair:
    """Jupyter with its default manager beside Jupyter with archiving.

    Attributes
    ----------
    plain, ours : JupyterProcess
    proxy : FaultProxy or None
        Between ours and the store; None where nothing is.
    """

    plain: JupyterProcess
    ours: JupyterProcess
    proxy: FaultProxy | None = None

    @property
    def by_name(self) -> dict[str, JupyterProcess]:
        """Both, to take turns."""
        return {"default": self.plain, "bookstore": self.ours}

    @property
    def link(self) -> FaultProxy:
        """The proxy, where one was asked for."""
        assert self.proxy is not None, "asked for without a proxy"
        return self.proxy


@dataclass
class Scene:
    """A store and a place on the disk, both gone at the end.

    Attributes
    ----------
    directory : Path
    effort : Effort
    """

    directory: Path
    effort: Effort
    _stack: ExitStack = field(default_factory=ExitStack)
    _store: SeaweedServer | None = None
    _shared: Pair | None = None
    _buckets: int = 0

    @property
    def store(self) -> SeaweedServer:
        """SeaweedFS, started when it is first needed."""
        if self._store is None:
            self._store = SeaweedServer(self.directory / "s3")
            # Nobody needs its data afterwards, so it need not end in good order, which takes it seconds.
            self._stack.callback(self._store.kill)
            self._store.start()
        return self._store

    def bucket(self) -> str:
        """Create a bucket."""
        self._buckets += 1
        return self.store.create_bucket(f"benchmark-{self._buckets}")

    @contextmanager
    def place(self, name: str) -> Iterator[Path]:
        """Provide a directory that is removed at the end."""
        place = self.directory / name
        place.mkdir()
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)

    @contextmanager
    def pair(self, name: str, *, bucket: str = "", extra: str = "", with_proxy: bool = False) -> Iterator[Pair]:
        """Run both servers.

        All quick runs share two servers, through a proxy and over one bucket: starting is what takes time.
        """
        if self.effort.quick:
            if self._shared is None:
                place = self._stack.enter_context(self.place("shared"))
                self._shared = self._stack.enter_context(self._started(place, self.bucket(), "", with_proxy=True))
            yield self._shared
            self._shared.link.up()
            self._shared.ours.flush()
        else:
            with (
                self.place(name) as place,
                self._started(place, bucket or self.bucket(), extra, with_proxy=with_proxy) as started,
            ):
                yield started

    @contextmanager
    def _started(self, place: Path, bucket: str, extra: str, *, with_proxy: bool) -> Iterator[Pair]:
        with ExitStack() as stack:
            proxy = stack.enter_context(FaultProxy(self.store.endpoint_url)) if with_proxy else None
            plain = stack.enter_context(jupyter(place, "default", None, extra))
            ours = jupyter(place, "bookstore", archiving(proxy or self.store, bucket), extra)
            # What still waits goes with the bucket, so nothing is gained by draining it first.
            stack.callback(ours.kill)
            ours.start()
            yield Pair(plain, ours, proxy)


@contextmanager
def scene(effort: Effort, directory: Path | None = None) -> Iterator[Scene]:
    """Set the scene, below ``directory`` or the system's directory for what is temporary."""
    with tempfile.TemporaryDirectory(prefix="bookstore-benchmark-", dir=directory) as name, ExitStack() as stack:
        yield Scene(Path(name), effort, stack)


def archiving(server: S3Server | FaultProxy, bucket: str) -> dict[str, str]:
    """Name the bucket to a server, in its environment."""
    return {
        "JPYNB_S3_BUCKET": bucket,
        "JPYNB_S3_ENDPOINT_URL": server.endpoint_url,
        "JPYNB_S3_ACCESS_KEY_ID": SeaweedServer.access_key_id,
        "JPYNB_S3_SECRET_ACCESS_KEY": SeaweedServer.secret_access_key,
    }


def python_path(place: Path) -> str:
    """Make what runs inside of the servers importable, and the very bookstore that is imported here."""
    own = place / "python" / "benchmarks"
    if not own.exists():
        own.mkdir(parents=True)
        for name in _INSIDE:
            shutil.copy(Path(__file__).with_name(name), own)
    paths = [str(own.parent)]
    beside = Path(bookstore.__file__).resolve().parent.parent
    if beside.name not in ("site-packages", "dist-packages"):
        paths.append(str(beside))
    return os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])


def jupyter(place: Path, name: str, environment: Mapping[str, str] | None, extra: str = "") -> JupyterProcess:
    """Prepare a Jupyter server: with archiving if ``environment`` names a bucket, with the default manager if not."""
    # What makes a backlog imports bookstore, so a server without archiving must not have it.
    has_archiving = environment is not None
    extensions = {"benchmarks.loop_gauge": True, "benchmarks.backlog": has_archiving, "bookstore": has_archiving}
    config = f"""
c.ServerApp.jpserver_extensions = {extensions}
c.FileContentsManager.delete_to_trash = False
{extra}"""
    return JupyterProcess(
        place / name,
        environment={**(environment or {}), "PYTHONPATH": python_path(place)},
        enabled=has_archiving,
        config={"jupyter_server_config.py": config},
    )


def document(size: int, number: int) -> dict[str, Any]:
    """A notebook of about ``size`` bytes, another one for each number, with cells as people have them."""
    cells = max(1, size // 4000)
    text = "\n".join(f"value_{number}_{line} = compute({line})" for line in range(size // cells // 34 or 1))
    content = notebook("", cells=cells)
    for cell in content["cells"]:
        cell["source"] = text
    return content


@dataclass(frozen=True)
class Saves:
    """What was seen of the saves of one server, in seconds, in the order of the rounds.

    Attributes
    ----------
    seconds : list of float
        From the request to the whole answer.
    stalls : list of float
        How long the event loop stood still at the longest.
    """

    seconds: list[float] = field(default_factory=list)
    stalls: list[float] = field(default_factory=list)


def save_in_turns(
    servers: Mapping[str, JupyterProcess],
    path: str,
    size: int,
    count: int,
    effort: Effort,
    *,
    with_stalls: bool = False,
    pause: float = PAUSE,
) -> dict[str, Saves]:
    """Save a notebook ``count`` times through each server; every round begins with another server.

    The machine's speed drifts, so what is compared is measured within a second of each other.
    """
    figures = {name: Saves() for name in servers}
    names = list(servers)
    for number in range(-effort.count(WARM_UP, 1), effort.count(count)):
        content = document(size, number)
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            server = servers[name]
            if with_stalls:
                server.ok("GET", "/benchmark/loop")
            start = time.perf_counter()
            server.save(path, content)
            seconds = time.perf_counter() - start
            if number >= 0:
                figures[name].seconds.append(seconds)
                if with_stalls:
                    figures[name].stalls.append(server.ok("GET", "/benchmark/loop")["longest"])
            time.sleep(0 if effort.quick else pause)
    return figures


async def in_turns(
    works: Mapping[str, Callable[[], Awaitable[None]]],
    rounds: int,
    *,
    warm_up: int = 2,
    before: Callable[[], Awaitable[None]] | None = None,
) -> dict[str, list[float]]:
    """Seconds of each piece of work in each round; every round begins with another one.

    ``before`` prepares a round, and is not measured.
    """
    figures: dict[str, list[float]] = {name: [] for name in works}
    names = list(works)
    for number in range(-warm_up, rounds):
        if before is not None:
            await before()
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            start = time.perf_counter()
            await works[name]()
            if number >= 0:
                figures[name].append(time.perf_counter() - start)
    return figures


class TimedJupyter(JupyterProcess):
    """A Jupyter server that knows how long it took to start, from its launch until it answers ``GET /api``.

    Attributes
    ----------
    seconds : float
    """

    seconds = 0.0

    def _wait_until_it_answers(self) -> bool:
        # Launched a moment ago: the process exists, and has not begun to import anything.
        start = time.perf_counter()
        deadline = start + START_LIMIT
        while time.perf_counter() < deadline:
            assert self.process is not None, "launched just before"
            if self.process.poll() is not None:
                return False
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_LIMIT)
            try:
                connection.request("GET", "/api")
                if connection.getresponse().status == 200:
                    self.seconds = time.perf_counter() - start
                    return True
            except OSError:
                pass  # nobody listens yet
            finally:
                connection.close()
            time.sleep(0.003)
        return False


def run(work: Awaitable[Any]) -> Any:
    """Run asynchronous work to its end."""

    async def whole() -> Any:
        return await work

    return asyncio.run(whole())


def fill_backlog(server: JupyterProcess, count: int, size: int, *, held: bool = False) -> None:
    """Have a server take so many saves of random bytes; those that are held are queued by `queue_held`."""
    wanted = {"count": count, "size": size, "paths": 100, "held": held}
    answer = server.ok("POST", "/benchmark/backlog", wanted)
    assert answer["taken"] == count, "otherwise the backlog is shorter than the figure says"


def queue_held(server: JupyterProcess) -> None:
    """Queue what was held."""
    server.ok("PUT", "/benchmark/backlog", {})


def shipped(server: JupyterProcess) -> int:
    """How many saves a server has shipped."""
    number: int = server.ok("GET", "/benchmark/backlog")["shipped"]
    return number


def milliseconds(samples: Sequence[float]) -> float:
    """The median, in milliseconds."""
    return 1000 * statistics.median(samples)
