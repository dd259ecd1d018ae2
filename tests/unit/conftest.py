"""What the unit tests share: saves to try things with, and a disk that fails where a test says so."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from bookstore.disk import Disk
from bookstore.outbox import Outbox
from bookstore.outbox_entry import Entry
from bookstore.outbox_owner import Owner, this_process
from bookstore.provenance import Provenance

# The same examples in every run: a test that fails here fails again where it is looked into.
settings.register_profile(
    "unit", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.load_profile("unit")


class FaultyDisk(Disk):
    """A disk that keeps a record of what it is asked, and fails as told.

    Attributes
    ----------
    faults : dict of str to OSError or callable
        By the name of the method: what it raises instead of working. A callable gets the method's arguments and
        gives the error, or None.
    after : dict of str to OSError
        The same, raised once the method has done its work.
    calls : list of tuple
        Method and path, in the order of the calls; a descriptor is told by the path that it stands for.
    """

    def __init__(self) -> None:
        self.faults: dict[str, Any] = {}
        self.after: dict[str, OSError] = {}
        self.calls: list[tuple[str, str]] = []

    def _named(self, where: Any) -> str:
        return str(Path(f"/proc/self/fd/{where}").readlink()) if isinstance(where, int) else str(where)

    def _do(self, name: str, where: Any, *rest: Any) -> Any:
        self.calls.append((name, self._named(where)))
        fault = self.faults.get(name)
        error = fault(where, *rest) if callable(fault) else fault
        if error is not None:
            raise error
        result = getattr(Disk, name)(self, where, *rest)
        if name in self.after:
            raise self.after[name]
        return result

    def make_directory(self, path: Path) -> None:
        self._do("make_directory", path)

    def write_new(self, path: Path, parts: Any) -> None:
        self._do("write_new", path, parts)

    def write(self, fd: int, data: bytes | memoryview) -> None:
        self._do("write", fd, data)

    def sync(self, fd: int) -> None:
        self._do("sync", fd)

    def rename(self, old: Path, new: Path) -> None:
        self._do("rename", old, new)

    def sync_directory(self, path: Path) -> None:
        self._do("sync_directory", path)

    def remove(self, path: Path) -> None:
        self._do("remove", path)

    def read(self, path: Path) -> bytes:
        return self._do("read", path)

    def read_start(self, path: Path, size: int) -> bytes:
        return self._do("read_start", path, size)

    def free_bytes(self, path: Path) -> int:
        return self._do("free_bytes", path)


def owner_here(instance: str) -> Owner:
    return this_process(instance, "/home/u", "https://s3.example/bucket")


def entry_of(outbox: Outbox | None, content: bytes, path: str = "a.ipynb", **changes: Any) -> Entry:
    """An entry as the intake would make it, for this outbox."""
    fields: dict[str, Any] = {
        "record_id": os.urandom(16).hex(),
        "sha256": hashlib.sha256(content).hexdigest(),
        "saved_at": time.time(),
        "user": "u",
        "host": "h",
        "root_dir": "/home/u",
    }
    if outbox is not None:
        outbox.open()
        fields |= {
            "instance": outbox.instance,
            "generation": outbox.generation,
            "sequence": outbox.next_sequence(),
        }
    key = changes.pop("key", f"workspace/{path}")
    return Entry(path, key, len(content), Provenance(**(fields | changes)))


async def wait_until(condition: Callable[[], object], timeout: float = 5.0) -> None:
    """Go on once the condition holds; fail if it does not hold in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def at_most(seconds: float) -> AsyncIterator[None]:
    """Fail if the block takes longer (`asyncio.timeout` is younger than the oldest Python that is supported)."""
    task = asyncio.current_task()
    assert task is not None
    timer = asyncio.get_running_loop().call_later(seconds, task.cancel)
    try:
        yield
    except asyncio.CancelledError:
        raise AssertionError(f"it took longer than {seconds} s") from None
    finally:
        timer.cancel()


@pytest.fixture(name="at_most")
def _at_most() -> Any:
    return at_most


@pytest.fixture(name="wait_until")
def _wait_until() -> Any:
    return wait_until


@pytest.fixture(name="entry_of")
def _entry_of() -> Any:
    return entry_of


@pytest.fixture(name="owner_here")
def _owner_here() -> Any:
    return owner_here


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def make_outbox(tmp_path: Path) -> Any:
    """Makes outboxes of servers that share one directory; closes nothing, as a crash does."""

    def make(owner: Callable[[str], Owner] = owner_here, **options: Any) -> Outbox:
        return Outbox(tmp_path / "outbox", owner, **options)

    return make


def _held_by(error: BaseException | None) -> list[Any]:
    """What the frames hold that an error, and those behind it, came through."""
    found: list[Any] = []
    while error is not None:
        frames = error.__traceback__
        while frames is not None:
            found += frames.tb_frame.f_locals.values()
            frames = frames.tb_next
        error = error.__cause__ or error.__context__
    return found


@pytest.fixture
def held_by() -> Callable[[BaseException | None], list[Any]]:
    """Tells what a kept error keeps alive."""
    return _held_by
