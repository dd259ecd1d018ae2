"""A small world in one thread: time that passes at once, a store with weather, and servers that die at any moment.

The product runs as it is, over a real directory. Only what surrounds it is made: the event loop's clock jumps to the
next moment at which something happens, threads' work is done by that loop, one piece after the other, and the kernel's
word on which process lives is the world's. So a story of hours takes milliseconds, and the same calls always come to
the same end.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import logging
import random
import selectors
import types
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextvars import Context, ContextVar
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from unittest import mock

from jupyter_server.services.contents import filecheckpoints, fileio, filemanager, largefilemanager
from traitlets.config import Config

from bookstore import delivery, disk, intake, outbox, outbox_owner, service, shipper
from bookstore.archive import BookstoreContentsArchiver, service_of
from bookstore.errors import StorageError, StoreFault, StoreThrottled, StoreTimeout, StoreUnreachable
from bookstore.library import Library
from bookstore.outbox_owner import Owner, Watch
from bookstore.provenance import Provenance, from_metadata, to_metadata
from bookstore.storage.base import (
    ObjectBody,
    ObjectInfo,
    ObjectPage,
    ObjectStore,
    Probe,
    Receipt,
    VersionPage,
)
from bookstore.storage.memory import MemoryStore

if TYPE_CHECKING:
    from typing_extensions import TypeVarTuple, Unpack

    _Ts = TypeVarTuple("_Ts")

_T = TypeVar("_T")

#: Seconds that a request is on its way, and that its answer is; that a piece of a thread's work takes.
LATENCY: Final = 0.001
WORK: Final = 0.0005

#: Seconds after which nothing that is waited for is still believed in.
PATIENCE: Final = 600.0

#: When the world begins, in seconds since the epoch.
BEGINNING: Final = 1_750_000_000.0

#: What the product's modules take the time from.
_TIMED: Final = (delivery, intake, outbox, outbox_owner, service, shipper)

#: Jupyter's modules that hand work to threads.
_THREADED: Final = (filecheckpoints, fileio, filemanager, largefilemanager)


class Life:
    """What belongs to one process, so that it can end all at once.

    Attributes
    ----------
    points : int
        Requests sent and answered, and pieces of threads' work done: the moments between which it may die.
    """

    def __init__(self) -> None:
        self.points = 0
        self.is_over = False
        self._awaited: dict[asyncio.Event, int] = {}
        self._tasks: list[asyncio.Task[Any]] = []
        self._timers: list[asyncio.TimerHandle] = []

    def keep(self, timer: asyncio.TimerHandle, now: float) -> None:
        """Remember a timer; after the end, let it never come."""
        if self.is_over:
            timer.cancel()
        self._timers.append(timer)
        if len(self._timers) > 1_000:
            self._timers = [one for one in self._timers if not one.cancelled() and one.when() >= now]

    def join(self, task: asyncio.Task[Any]) -> None:
        """Remember a task; after the end, let it come to nothing."""
        if self.is_over:
            task.cancel()
        self._tasks = [one for one in self._tasks if not one.done()]
        self._tasks.append(task)

    def reach_point(self) -> None:
        """Come one of `points` further."""
        self.points += 1
        for event, points in self._awaited.items():
            if points <= self.points:
                event.set()

    async def come_further(self, points: int) -> None:
        """Wait until it has come so many `points` further."""
        event = asyncio.Event()
        self._awaited[event] = self.points + points
        try:
            await event.wait()
        finally:
            del self._awaited[event]

    def end(self) -> int:
        """Break everything off; how many tasks have still to notice."""
        self.is_over = True
        for timer in self._timers:
            timer.cancel()
        self._tasks = [one for one in self._tasks if not one.done()]
        for task in self._tasks:
            task.cancel()
        return len(self._tasks)


_LIFE: ContextVar[Life | None] = ContextVar("simulated_life", default=None)


class _Selector(selectors.DefaultSelector):
    """Waits for nothing: where nothing is ready, time passes instead."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(0)
        if not events and timeout is None:
            raise RuntimeError("nothing is left that could ever happen")
        if not events and timeout:
            self.loop.now += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in which waiting takes no time, and which knows whose each task and timer is."""

    def __init__(self) -> None:
        selector = _Selector()
        selector.loop = self
        self.now = 0.0
        super().__init__(selector)
        self.worker = Worker(self)
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        """The virtual clock."""
        return self.now

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: Unpack[_Ts],
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As any loop's; the timer belongs to the life that set it."""
        timer = super().call_at(when, callback, *args, context=context)
        life = context.get(_LIFE) if context is not None else _LIFE.get()
        if life is not None:
            life.keep(timer, self.now)
        return timer

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[_Ts]], _T], *args: Unpack[_Ts]
    ) -> asyncio.Future[_T]:
        """As any loop's; threads there are none."""
        return super().run_in_executor(executor or self.worker, func, *args)

    @staticmethod
    def _make_task(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=loop, **options)
        life = _LIFE.get()
        if life is not None:
            life.join(task)
        return task


class Worker(Executor):
    """Does threads' work on the loop, a moment later, one piece at a time."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have a piece of work done; once submitted it cannot be called back, as in a thread that has begun."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()

        def work() -> None:
            if (life := _LIFE.get()) is not None:
                life.reach_point()
            try:
                result = fn(*args, **kwargs)
            except BaseException as e:  # noqa: BLE001 - the one who asked for it hears it
                future.set_exception(e)
            else:
                future.set_result(result)

        self._loop.call_later(WORK, work)
        return future


# -- the store -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A version, or a delete marker, as the bucket holds it.

    Attributes
    ----------
    key, version_id : str
    content : bytes or None
        None for a delete marker.
    etag : str
    arrived : float
        Seconds since the epoch.
    provenance : Provenance or None
    tags : Mapping of str to str
    """

    key: str
    version_id: str
    content: bytes | None
    etag: str
    arrived: float
    provenance: Provenance | None
    tags: Mapping[str, str]


class Bucket(MemoryStore):
    """The bucket itself, which the world can look into without asking."""

    def all_keys(self) -> list[str]:
        """Every key that has a version or a marker."""
        return sorted(key for key, rows in self._keys.items() if rows)

    def rows(self, key: str) -> list[Row]:
        """All that a key has, the oldest first."""
        return [
            Row(
                key,
                version.version_id,
                version.content,
                version.etag,
                version.last_modified.timestamp(),
                from_metadata(version.metadata),
                version.tags,
            )
            for version in self._keys.get(key, ())
        ]


@dataclass(frozen=True)
class Fault:
    """What befalls a request.

    Attributes
    ----------
    kind : str
        ``throttled`` and ``failed``: refused, by 503 SlowDown and 500. ``lost``: done, and the answer never comes.
        ``late``: given up by the one who asked, and done ``delay`` seconds later all the same.
    delay : float
    """

    kind: str
    delay: float = 0.0


#: How a store may be away: it answers nothing; or it does what it is asked and its answers are lost.
OUTAGES: Final = ("unreachable", "mute")


class Weather:
    """What stands between the servers and the store.

    Attributes
    ----------
    outage : str or None
        One of `OUTAGES`.
    since : float
        When the outage began, by the loop's clock.
    writes, reads : deque of Fault
        What befalls the next requests of that kind.
    struck : int
        Requests that something befell.
    arriving : int
        Writes that were given up and are still on their way.
    doubles : set of str
        Version ids of what was stored a second time, since its condition held although another version was the newest:
        S3 knows conditions on bytes only, and these had come back.
    """

    def __init__(self) -> None:
        self.outage: str | None = None
        self.since = 0.0
        self.writes: deque[Fault] = deque()
        self.reads: deque[Fault] = deque()
        self.struck = 0
        self.arriving = 0
        self.doubles: set[str] = set()

    def clear(self) -> None:
        """Let everything through from now on."""
        self.outage = None
        self.writes.clear()
        self.reads.clear()

    def fault(self, operation: str) -> Fault | None:
        """What befalls a request that is being sent now."""
        found: Fault | None = None
        if self.outage == "unreachable":
            found = Fault("unreachable")
        elif self.outage == "mute":
            found = Fault("lost")
        elif operation == "PutObject":
            found = self.writes.popleft() if self.writes else None
        elif self.reads:
            found = self.reads.popleft()
        self.struck += found is not None
        return found


_REFUSALS: Final[dict[str, type[StorageError]]] = {
    "unreachable": StoreUnreachable,
    "throttled": StoreThrottled,
    "failed": StoreFault,
}


class Wire(ObjectStore):
    """One server's way to the bucket. What was sent arrives, whatever becomes of the sender."""

    def __init__(self, bucket: Bucket, weather: Weather, life: Life) -> None:
        self.bucket = bucket.bucket
        self._bucket = bucket
        self._weather = weather
        self._life = life
        #: What the store has told of the newest version of each key.
        self._newest: dict[str, str | None] = {}

    async def _ask(
        self,
        operation: str,
        key: str,
        work: Callable[[], Awaitable[_T]],
        late: Callable[[], Awaitable[_T]] | None = None,
    ) -> _T:
        """Send a request through the weather; ``late`` is the work of one that arrives late, if it may."""
        fault = self._weather.fault(operation)
        name = f"{operation} {key!r}"
        self._life.reach_point()
        if fault is not None and fault.kind in _REFUSALS:
            await asyncio.sleep(LATENCY)
            raise _REFUSALS[fault.kind](f"{name}: {fault.kind}")
        if fault is not None and fault.kind == "late" and late is not None:
            self._weather.arriving += 1
            _send(fault.delay, late)
            await asyncio.sleep(LATENCY)
            raise StoreTimeout(f"{name}: given up")
        answer = _send(LATENCY, work)
        result = await asyncio.shield(answer)
        self._life.reach_point()
        await asyncio.sleep(LATENCY)
        if fault is not None:
            raise StoreTimeout(f"{name}: no answer")
        return result

    async def put(self, key: str, body: bytes | memoryview, **options: Any) -> Receipt:  # noqa: D102  (those of the base class)
        content, believed = bytes(body), self._newest.get(key)
        sent = from_metadata(options.get("metadata") or {})

        async def store() -> Receipt:
            rows = self._bucket.rows(key)
            receipt = await self._bucket.put(key, content, **options)
            records = [row.provenance.record_id for row in rows if row.provenance is not None]
            is_known = sent is not None and sent.record_id in records
            # The condition was on the bytes of one version, and held since another one has them too.
            if is_known and rows[-1].version_id != believed:
                self._weather.doubles.add(str(receipt.version_id))
            return receipt

        async def store_late() -> Receipt:
            self._weather.arriving -= 1
            return await store()

        # What people say of a version they say again; only saves are proof against what comes late.
        receipt = await self._ask("PutObject", key, store, store_late if sent is not None else None)
        self._newest[key] = receipt.version_id
        return receipt

    @contextlib.asynccontextmanager
    async def get(self, key: str, version_id: str | None = None) -> AsyncIterator[ObjectBody]:  # noqa: D102
        async def read() -> tuple[ObjectInfo, bytes]:
            async with self._bucket.get(key, version_id) as body:
                return body.info, b"".join([chunk async for chunk in body.chunks])

        info, content = await self._ask("GetObject", key, read)
        yield ObjectBody(info, _pieces(content))

    async def head(self, key: str, version_id: str | None = None) -> ObjectInfo:  # noqa: D102
        if version_id is not None:
            return await self._ask("HeadObject", key, lambda: self._bucket.head(key, version_id))
        self._newest[key] = None
        newest = await self._ask("HeadObject", key, lambda: self._bucket.head(key))
        self._newest[key] = newest.version_id
        return newest

    async def list_versions(self, prefix: str, **options: Any) -> VersionPage:  # noqa: D102
        return await self._ask("ListObjectVersions", prefix, lambda: self._bucket.list_versions(prefix, **options))

    async def list_objects(self, prefix: str, **options: Any) -> ObjectPage:  # noqa: D102
        return await self._ask("ListObjectsV2", prefix, lambda: self._bucket.list_objects(prefix, **options))

    async def hide(self, key: str) -> str | None:  # noqa: D102
        return await self._ask("DeleteObject", key, lambda: self._bucket.hide(key))

    async def copy(self, source_key: str, key: str, *, source_version_id: str | None = None) -> Receipt:  # noqa: D102
        work = lambda: self._bucket.copy(source_key, key, source_version_id=source_version_id)  # noqa: E731
        return await self._ask("CopyObject", key, work)

    async def set_tags(self, key: str, tags: Mapping[str, str], version_id: str | None = None) -> None:  # noqa: D102
        await self._ask("PutObjectTagging", key, lambda: self._bucket.set_tags(key, tags, version_id))

    async def get_tags(self, key: str, version_id: str | None = None) -> dict[str, str]:  # noqa: D102
        return await self._ask("GetObjectTagging", key, lambda: self._bucket.get_tags(key, version_id))

    async def probe(self) -> Probe:  # noqa: D102
        return await self._ask("GetBucketVersioning", "", self._bucket.probe)

    async def refresh(self) -> None:
        """Nothing is kept that could be forgotten."""

    async def aclose(self) -> None:
        """Nothing is kept open."""


def _send(delay: float, work: Callable[[], Awaitable[_T]]) -> asyncio.Task[_T]:
    """Have something arrive at the store after some seconds, whatever becomes of the life that sends it."""
    task: asyncio.Task[_T] = Context().run(asyncio.get_running_loop().create_task, _arrive(delay, work))
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


async def _arrive(delay: float, work: Callable[[], Awaitable[_T]]) -> _T:
    await asyncio.sleep(delay)
    return await work()


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content


# -- the servers ---------------------------------------------------------------------------------------------------


class _Errors(logging.Handler):
    """Keeps what the product says of errors that it did not expect."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.unexpected: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.unexpected.append(logging.Formatter().format(record))


class Server:
    """A server from its start to its end: a contents manager with its archive, and the verbs over it.

    Attributes
    ----------
    name : str
    started : float
        By the loop's clock.
    """

    def __init__(self, world: World, name: str, outbox_dir: Path, settings: Mapping[str, Any]) -> None:
        self.name = name
        self.life = Life()
        self.started = world.loop.time()
        self._world = world
        self._pid = world.begin_process()
        self._errors = _Errors()
        log = logging.Logger(f"simulated.{name}", logging.ERROR)
        log.addHandler(self._errors)
        archive = {
            "s3_bucket": world.bucket.bucket,
            "s3_endpoint_url": "http://store.invalid",
            "outbox_dir": str(outbox_dir),
            "outbox_reserve": 0,
            **settings,
        }
        config = Config({"BookstoreSettings": archive, "FileContentsManager": {"delete_to_trash": False}})
        self.manager = BookstoreContentsArchiver(config=config, root_dir=str(world.root), log=log)
        self.service = service_of(self.manager)
        self.service.store = self.service.shipper.courier.store = Wire(world.bucket, world.weather, self.life)
        self.service.pool = world.loop.worker  # type: ignore[assignment]
        self.service.intake._pool = world.loop.worker  # type: ignore[assignment]  # noqa: SLF001 - threads there are none
        self.service.outbox._owner = self._owner  # noqa: SLF001 - the process is a made one
        self.library = Library(self.service, self.manager)
        self.run(self._begin())

    async def _begin(self) -> None:
        self.service.ensure_started()

    def _owner(self, instance: str) -> Owner:
        owner = outbox_owner.this_process(instance, self.service.root_dir, self.service.destination)
        return replace(owner, pid=self._pid, pid_started="a moment")

    @property
    def directory(self) -> Path | None:
        """Its own directory in the outbox, once it has one."""
        return self.service.outbox._own  # noqa: SLF001 - the world sees what is on the disk

    @property
    def unexpected(self) -> list[str]:
        """What its log says of errors that nobody expected."""
        return self._errors.unexpected

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Do something as this server."""
        return self._world.run(work, self.life)

    def begin(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Begin something as this server, and do not wait for it."""
        return self._world.begin(work, self.life)

    def stop(self) -> None:
        """End in good order."""
        self.run(self.service.stop())
        self._end()

    def crash(self) -> None:
        """End as ``kill -9`` does: nothing more is done, and the kernel gives back the locks."""
        lock = self.service.outbox._lock  # noqa: SLF001 - the kernel does it
        self._end()
        if lock is not None:
            lock.release()

    def _end(self) -> None:
        for _ in range(10):  # what shields itself notices the second time
            if not self.life.end():
                break
            self._world.run(_breathe())
        self._world.end_process(self._pid)


class World:
    """Everything there is; enter it before anything happens.

    Parameters
    ----------
    directory : Path
        The root directory and the outboxes are made below it.
    kernel : bool
        Whether the kernel tells which process lives, as on one host; otherwise heartbeats must do, as between hosts.
    """

    def __init__(self, directory: Path, *, kernel: bool) -> None:
        self.directory = directory
        self.root = directory / "root"
        self.root.mkdir(parents=True)
        self.loop = VirtualLoop()
        self.bucket = Bucket(clock=lambda: datetime.fromtimestamp(self.now(), timezone.utc))
        self.weather = Weather()
        self._kernel = kernel
        self._processes: dict[int, str] = {}
        self._pids = itertools.count(1)
        self._patches = contextlib.ExitStack()

    def now(self) -> float:
        """Seconds since the epoch, in this world."""
        return BEGINNING + self.loop.time()

    def __enter__(self) -> World:  # noqa: PYI034 - typing.Self is younger than Python 3.10
        for patch in self._changes():
            self._patches.enter_context(patch)
        return self

    def __exit__(self, *exc: object) -> None:
        for _ in range(10):
            tasks = [task for task in asyncio.all_tasks(self.loop) if not task.done()]
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(_breathe())
        self.loop.close()
        self._patches.close()

    def _changes(self) -> Iterator[contextlib.AbstractContextManager[Any]]:
        clock = types.SimpleNamespace(time=self.now, monotonic=self.loop.time)
        for module in _TIMED:
            yield mock.patch.object(module, "time", clock)
        yield mock.patch.object(service, "Watch", partial(Watch, self.loop.time))
        for jupyter in _THREADED:
            yield mock.patch.object(jupyter, "run_sync", self._run_sync)
        told = "this one" if self._kernel else ""
        yield mock.patch.object(outbox_owner, "_boot_id", return_value=told)
        yield mock.patch.object(outbox_owner, "_pid_namespace", return_value=told)
        yield mock.patch.object(outbox_owner, "_pid_started", self._processes.get)
        # The end of a process takes nothing from what the system has been given; the end of power is another test's.
        yield mock.patch.object(disk, "_full_sync")
        chance = random.Random(0)  # noqa: S311 - names that are the same in every run
        names = types.SimpleNamespace(token_hex=lambda size: chance.randbytes(size).hex())
        yield mock.patch.object(outbox, "secrets", names)
        uuids = types.SimpleNamespace(uuid4=lambda: types.SimpleNamespace(hex=chance.randbytes(16).hex()))
        yield mock.patch.object(intake, "uuid", uuids)

    async def _run_sync(self, func: Callable[..., Any], *args: Any, **options: Any) -> Any:
        return await self.loop.run_in_executor(None, func, *args)

    def begin_process(self) -> int:
        """The number of a new process."""
        pid = next(self._pids)
        self._processes[pid] = "a moment"
        return pid

    def end_process(self, pid: int) -> None:
        """Let a process be over."""
        self._processes.pop(pid, None)

    def run(self, work: Coroutine[Any, Any, _T], life: Life | None = None) -> _T:
        """Do something to its end.

        Raises
        ------
        AssertionError
            It does not end in `PATIENCE` seconds.
        """
        task = self.begin(work, life)
        end = self.loop.time() + PATIENCE
        self.loop.run_until_complete(asyncio.wait([task], timeout=PATIENCE))
        if not task.done():
            task.cancel()
            raise AssertionError(f"{work!r} has not ended after {self.loop.time() - end + PATIENCE:.0f} s")
        return task.result()

    def begin(self, work: Coroutine[Any, Any, _T], life: Life | None = None) -> asyncio.Task[_T]:
        """Begin something, and do not wait for it."""
        context = Context()
        context.run(_LIFE.set, life)
        task: asyncio.Task[_T] = context.run(self.loop.create_task, work)
        return task

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.run(asyncio.sleep(seconds))

    def breathe(self) -> None:
        """Let what is ready be done, while no time passes."""
        self.run(_breathe())

    def wait_for_points(self, server: Server, points: int, within: float) -> None:
        """Let time pass until a server has come so many `Life.points` further, or for some seconds."""
        if points and within:
            self.run(asyncio.wait([self.begin(server.life.come_further(points))], timeout=within))

    def write(self, key: str, content: bytes, provenance: Provenance | None) -> str:
        """Put a version as somebody else does; its version id."""
        metadata = {} if provenance is None else to_metadata(provenance)
        digest = hashlib.sha256(content).hexdigest()
        receipt = self.run(self.bucket.put(key, content, sha256=digest, metadata=metadata))
        return str(receipt.version_id)


async def _breathe() -> None:
    for _ in range(5):
        await asyncio.sleep(0)
