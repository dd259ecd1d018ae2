"""Power loss under the outbox: records its system calls, and makes every state that a disk may be found in afterwards.

LazyFS, which drops what was not synced from under a mounted file system, is to be had as source code only; this is a
model instead, and it is meaner. It knows what POSIX promises and no more (Pillai et al., "All File Systems Are Not
Created Equal", OSDI 2014, tells how file systems differ in the rest):

- A file's bytes are there once the file was synced. Before that any beginning of them may be, or zeros in their place.
- A name is there, or gone, once its directory was synced. Before that any choice of the pending changes may have
  reached the disk, in any order.
- A rename never loses both names; it may be found with both.
- What another directory's sync or another file's sync brings to the disk on the way is not counted on.

Run it in a checkout; the same seed makes the same story and the same states::

    python -m ci.power_loss --seed 1

The calls are seen from below, by an audit hook and in place of ``os.write`` and ``os.fsync``, whoever makes them: what
bypasses `bookstore.disk.Disk` is recorded too, and told apart.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import itertools
import os
import random
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

from bookstore import disk as disk_module
from bookstore.delivery import Courier, Delivered, Parcel
from bookstore.disk import Disk
from bookstore.errors import BookstoreError, EntryCorrupt, ObjectRefused
from bookstore.intake import Draft, Intake
from bookstore.outbox import QUARANTINE, REFUSED, Outbox
from bookstore.outbox_entry import decode
from bookstore.outbox_owner import Owner, Watch
from bookstore.provenance import from_metadata
from bookstore.shipper import Report, Shipper
from bookstore.storage.base import Receipt
from bookstore.storage.memory import MemoryStore

# -- recording -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One thing that happened, in the order of all.

    Attributes
    ----------
    kind : str
        ``mkdir``, ``rmdir``, ``create``, ``write``, ``sync``, ``sync_directory``, ``rename`` or ``unlink``; or a mark
        of the run's own: ``acknowledged`` or ``stored``.
    path : str
        Below the recorded directory's parent; for a mark, what it names.
    other : str
        The new name of a rename.
    data : bytes
        What was written.
    offset : int
        Where it was written.
    through_disk : bool
        Whether `Disk` made the call.
    """

    kind: str
    path: str
    other: str = ""
    data: bytes = b""
    offset: int = 0
    through_disk: bool = True


class Recorder:
    """Records what this process does to the files below a directory, while it is entered.

    Parameters
    ----------
    directory : Path
        Need not be there.

    Attributes
    ----------
    steps : list of Step
    """

    #: An audit hook cannot be taken away again: there is one, for whichever recorder is entered.
    _entered: ClassVar[Recorder | None] = None
    _has_hook: ClassVar[bool] = False

    def __init__(self, directory: Path) -> None:
        self.steps: list[Step] = []
        self._base = str(directory.parent.resolve()) + os.sep
        self._top = str(directory.resolve())
        self._lock = threading.Lock()
        self._patches = contextlib.ExitStack()

    def __enter__(self) -> Recorder:  # noqa: PYI034 - typing.Self is younger than Python 3.10
        if not Recorder._has_hook:
            Recorder._has_hook = True
            sys.addaudithook(Recorder._hear)
        write, sync = os.write, os.fsync

        def recorded_write(fd: int, data: Any) -> int:
            offset = os.lseek(fd, 0, os.SEEK_CUR) if self._name_of(fd) else 0
            count = write(fd, data)
            self._note_fd("write", fd, bytes(data[:count]), offset)
            return count

        def recorded_sync(fd: int) -> None:
            sync(fd)
            self._note_fd("sync", fd)

        self._patches.enter_context(mock.patch.object(os, "write", recorded_write))
        self._patches.enter_context(mock.patch.object(os, "fsync", recorded_sync))
        self._patches.enter_context(mock.patch.object(disk_module, "_full_sync", recorded_sync))
        Recorder._entered = self
        return self

    def __exit__(self, *exc: object) -> None:
        Recorder._entered = None
        self._patches.close()

    def mark(self, kind: str, name: str) -> None:
        """Record something of the run's own."""
        self._note(Step(kind, name))

    def bypasses(self) -> list[Step]:
        """What was done to files and directories, but not by `Disk`."""
        return [step for step in self.steps if not step.through_disk]

    def _note(self, step: Step) -> None:
        with self._lock:
            self.steps.append(step)

    def _note_fd(self, kind: str, fd: int, data: bytes = b"", offset: int = 0) -> None:
        name = self._name_of(fd)
        if name is not None:
            if kind == "sync" and Path(f"/proc/self/fd/{fd}").is_dir():
                kind = "sync_directory"
            self._note(Step(kind, name, data=data, offset=offset, through_disk=_is_through_disk()))

    def _name_of(self, fd: int) -> str | None:
        try:
            return self._named(Path(f"/proc/self/fd/{fd}").readlink())
        except OSError:
            return None

    def _named(self, path: Any) -> str | None:
        """The path below the directory's parent; None for what is elsewhere. The parent itself is ``.``."""
        if not isinstance(path, (str, os.PathLike)):
            return None
        whole = os.path.abspath(os.fspath(path))  # noqa: PTH100 - in an audit hook, nothing that opens or lists
        if whole + os.sep == self._base:
            return "."
        return whole[len(self._base) :] if whole == self._top or whole.startswith(self._top + os.sep) else None

    @staticmethod
    def _hear(event: str, arguments: tuple[Any, ...]) -> None:
        recorder = Recorder._entered
        if recorder is not None and event in ("open", "os.mkdir", "os.rmdir", "os.rename", "os.remove"):
            recorder.hear(event, arguments)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take in what Python is about to ask the system for."""
        name = self._named(arguments[0])
        step = self._step(event, name, arguments) if name != "." else None
        if step is not None:
            self._note(step)

    def _step(self, event: str, name: str | None, arguments: tuple[Any, ...]) -> Step | None:
        """What a call is about to do; None where it will fail or changes nothing."""
        if name is None:
            return None
        path, through = self._base + name, _is_through_disk()
        exists, is_there_above = os.path.lexists(path), os.path.isdir(os.path.dirname(path))  # noqa: PTH112, PTH120
        if event == "os.mkdir":
            return Step("mkdir", name, through_disk=through) if is_there_above and not exists else None
        if event == "os.rmdir":
            is_empty = exists and not _names_in(path)
            return Step("rmdir", name, through_disk=through) if is_empty else None
        if event == "os.remove":
            return Step("unlink", name, through_disk=through) if exists else None
        if event == "os.rename":
            other = self._named(arguments[1])
            if other is None or not exists:
                return None
            return Step("rename", name, other=other, through_disk=through)
        makes = bool(arguments[2] & os.O_CREAT)
        return Step("create", name, through_disk=through) if makes and is_there_above and not exists else None


def _names_in(path: str) -> bool:
    with os.scandir(path) as found:
        return next(found, None) is not None


def _is_through_disk() -> bool:
    frame = sys._getframe()  # noqa: SLF001 - inspect.stack reads source files
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_globals.get("__name__") == disk_module.__name__:
            return True
    return False


# -- what a disk may hold afterwards -------------------------------------------------------------------------------


@dataclass
class _File:
    """A file's bytes as the process sees them, and as far as the disk surely has them."""

    content: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    is_dirty: bool = False


@dataclass
class _Change:
    """A change of one name in a directory; files and directories go by number."""

    directory: int
    name: str
    node: int
    gone: bool
    durable: bool = False
    #: The change without which this one is not found: a rename's new name, for the loss of the old one.
    needs: _Change | None = None


@dataclass(frozen=True)
class Image:
    """What a disk holds after the power was lost.

    Attributes
    ----------
    directories : tuple of str
        Those above come first.
    files : Mapping of str to bytes
    """

    directories: tuple[str, ...]
    files: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        """Equal for equal images."""
        digest = hashlib.sha256()
        for name in self.directories:
            digest.update(f"{name}\n".encode())
        for name, content in sorted(self.files.items()):
            digest.update(f"{name} {len(content)}\n".encode() + content)
        return digest.hexdigest()

    def make(self, directory: Path) -> None:
        """Write it below a directory, which must be empty or missing."""
        directory.mkdir(parents=True, exist_ok=True)
        for name in self.directories:
            (directory / name).mkdir()
        for name, content in self.files.items():
            (directory / name).write_bytes(content)


class ModelDisk:
    """The file system under the outbox, step by step."""

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}
        self._numbers = itertools.count()
        self._top = next(self._numbers)
        #: What each directory holds, as the process sees it.
        self._names: dict[int, dict[str, int]] = {self._top: {}}
        self._changes: list[_Change] = []

    def apply(self, step: Step) -> None:
        """Let a step happen."""
        if step.kind == "mkdir":
            number = next(self._numbers)
            self._names[number] = {}
            self._change(step.path, number)
        elif step.kind == "create":
            number = next(self._numbers)
            self._files[number] = _File()
            self._change(step.path, number)
        elif step.kind == "rename":
            node = self._node(step.path)
            assert node is not None  # noqa: S101 - the recorder saw it
            added = self._change(step.other, node)
            self._change(step.path, node, gone=True, needs=added)
        elif step.kind in ("unlink", "rmdir"):
            node = self._node(step.path)
            if node is not None:
                self._change(step.path, node, gone=True)
        elif step.kind == "sync_directory":
            directory = self._node(step.path)
            for change in self._changes:
                change.durable |= change.directory == directory
        elif step.kind in ("write", "sync"):
            self._touch(step)

    def _node(self, path: str) -> int | None:
        """The file or directory that has a name now."""
        node: int | None = self._top
        for part in Path(path).parts:
            node = None if node is None else self._names.get(node, {}).get(part)
        return node

    def _touch(self, step: Step) -> None:
        number = self._node(step.path)
        if number is None:
            return
        file = self._files[number]
        if step.kind == "sync":
            file.durable, file.is_dirty = bytes(file.content), False
        else:
            file.content[step.offset : step.offset + len(step.data)] = step.data
            file.is_dirty = True

    def _change(self, path: str, node: int, *, gone: bool = False, needs: _Change | None = None) -> _Change:
        directory = self._node(str(Path(path).parent))
        assert directory is not None  # noqa: S101 - the recorder saw it
        change = _Change(directory, Path(path).name, node, gone, needs=needs)
        self._changes.append(change)
        if gone:
            self._names[directory].pop(change.name, None)
        else:
            self._names[directory][change.name] = node
        return change

    def images(self, rng: random.Random, count: int) -> Iterator[Image]:
        """States that the disk may be found in: the extremes, then seeded choices, about ``count`` in all."""
        pending = [change for change in self._changes if not change.durable]
        everything, nothing = set(map(id, pending)), set[int]()
        yield self._image(nothing, rng, "durable")
        yield self._image(everything, rng, "all")
        yield self._image(everything, rng, "durable")
        yield self._image(everything, rng, "zeros")
        singles = rng.sample(pending, min(len(pending), max(0, count - 4) // 2))
        for change in singles:
            yield self._image({id(change)}, rng, rng.choice(_CONTENTS))
            yield self._image(everything - {id(change)}, rng, rng.choice(_CONTENTS))
        for _ in range(count - 4 - 2 * len(singles)):
            kept = {id(change) for change in pending if rng.random() < rng.choice((0.2, 0.5, 0.8))}
            yield self._image(kept, rng, "any")

    def _image(self, kept: set[int], rng: random.Random, contents: str) -> Image:
        names: dict[int, dict[str, int]] = {number: {} for number in self._names}
        for change in self._changes:
            if not change.durable and id(change) not in kept:
                continue
            held = names[change.directory]
            may_be_gone = change.needs is None or change.needs.durable or id(change.needs) in kept
            if not change.gone:
                held[change.name] = change.node
            elif may_be_gone and held.get(change.name) == change.node:
                del held[change.name]
        directories: list[str] = []
        files: dict[str, bytes] = {}
        reached = [("", self._top)]
        while reached:
            above, directory = reached.pop(0)
            for name, node in sorted(names[directory].items()):
                path = f"{above}{name}"
                if node in self._names:
                    directories.append(path)
                    reached.append((f"{path}/", node))
                else:
                    files[path] = _found(self._files[node], rng, contents)
        return Image(tuple(directories), files)


_CONTENTS = ("durable", "all", "zeros", "beginning", "hole")


def _found(file: _File, rng: random.Random, contents: str) -> bytes:
    """A file's bytes after the loss."""
    if not file.is_dirty:
        return file.durable
    if contents == "any":
        contents = rng.choice(_CONTENTS)
    whole = bytes(file.content)
    if contents == "all":
        return whole
    if contents == "zeros":
        return file.durable + bytes(len(whole) - len(file.durable))
    if contents == "beginning":
        return whole[: rng.randint(len(file.durable), len(whole))]
    if contents == "hole":
        start, end = sorted(rng.randint(len(file.durable), len(whole)) for _ in range(2))
        return whole[:start] + bytes(end - start) + whole[end:]
    return file.durable


# -- a story of several servers over one outbox --------------------------------------------------------------------

#: Whose saves the story tells. The store refuses the second save of ``refused.ipynb`` for ever; ``same.ipynb`` is
#: saved without changes now and then.
PATHS = ("a.ipynb", "b.ipynb", "same.ipynb", "refused.ipynb")

_REFUSED = b"refused"


@dataclass(frozen=True)
class Saved:
    """One save of the story; equal contents of a path have one number."""

    path: str
    number: int
    content: bytes


@dataclass(frozen=True)
class Put:
    """What the store took."""

    key: str
    content: bytes
    metadata: Mapping[str, str]


@dataclass
class Recording:
    """A story as it went.

    Attributes
    ----------
    steps : list of Step
        ``acknowledged`` marks name an index of ``saves``, ``stored`` ones an index of ``puts``.
    saves : list of Saved
    puts : list of Put
    bypasses : list of Step
        What was changed, but not by `Disk`.
    errors : list of BaseException
        What the story's disk was told to fail with, as the product told it.
    """

    steps: list[Step]
    saves: list[Saved]
    puts: list[Put]
    bypasses: list[Step]
    errors: list[BaseException] = field(default_factory=list)


class FailsOnce(Disk):
    """A disk of which one call fails.

    Parameters
    ----------
    call : int
        Which one, from 1; 0 for none.
    error : int
        An ``errno``.
    """

    def __init__(self, call: int, error: int) -> None:
        self.calls: list[str] = []
        self._call = call
        self._error = error

    def _count(self, name: str) -> None:
        self.calls.append(name)
        if len(self.calls) == self._call:
            raise OSError(self._error, os.strerror(self._error))

    def make_directory(self, path: Path) -> None:  # noqa: D102  (those of the base class)
        self._count("make_directory")
        super().make_directory(path)

    def write(self, fd: int, data: bytes | memoryview) -> None:  # noqa: D102
        self._count("write")
        super().write(fd, data)

    def sync(self, fd: int) -> None:  # noqa: D102
        self._count("sync")
        super().sync(fd)

    def rename(self, old: Path, new: Path) -> None:  # noqa: D102
        self._count("rename")
        super().rename(old, new)

    def remove(self, path: Path) -> None:  # noqa: D102
        self._count("remove")
        super().remove(path)

    def read(self, path: Path) -> bytes:  # noqa: D102
        self._count("read")
        return super().read(path)

    def read_start(self, path: Path, size: int) -> bytes:  # noqa: D102
        self._count("read_start")
        return super().read_start(path, size)


class _Bucket(MemoryStore):
    """A store that tells what it took, and refuses what the story says."""

    def __init__(self, puts: list[Put], recorder: Recorder | None = None) -> None:
        super().__init__()
        self._puts = puts
        self._recorder = recorder

    async def put(self, key: str, body: bytes | memoryview, **options: Any) -> Receipt:
        if self._recorder is not None and bytes(body).startswith(_REFUSED):
            raise ObjectRefused(f"{key!r} is refused")
        receipt = await super().put(key, body, **options)
        self._puts.append(Put(key, bytes(body), dict(options["metadata"])))
        if self._recorder is not None:
            self._recorder.mark("stored", str(len(self._puts) - 1))
        return receipt


class _Server:
    """What of a server stands between a save and the store."""

    def __init__(self, directory: Path, store: MemoryStore, disk: Disk) -> None:
        self.outbox = Outbox(directory, _owner, disk=disk)
        self.intake = Intake(
            self.outbox, host="host", root_dir="/root", memory_limit=2**24, report=lambda trouble: None
        )
        self.parcels: list[Parcel] = []
        self.errors: list[BaseException] = []
        self.shipper = Shipper(
            Courier(store, probe_key="probe", origin="host:/root"),
            self.outbox,
            key_for=lambda entry: entry.key or "",
            report=Report(self._delivered, self._set_aside, lambda error: None, self.errors.append),
            slots=4,
            chance=lambda: 0.0,
        )

    def _delivered(self, parcel: Parcel, delivered: Delivered) -> None:
        self.intake.release(parcel)

    def _set_aside(self, parcel: Parcel, kind: str, error: BookstoreError) -> None:
        self.intake.release(parcel)

    def adopt(self) -> Sequence[str]:
        """Take over what is there; what was found to be torn."""
        adoption = self.outbox.adopt(lambda owner: True, Watch(patience=0.0))
        self.shipper.add_adopted(Parcel(ref.entry, ref=ref, uncertain=True) for ref in adoption.adopted)
        if adoption.failed:
            raise adoption.failed[0]
        return adoption.corrupt

    def take(self, path: str, content: bytes) -> Parcel | None:
        """Take a save."""
        draft = Draft(path, f"workspace/{path}", self.outbox.next_sequence(), user="user")
        parcel = self.intake.take(draft, content)
        if parcel is not None:
            self.parcels.append(parcel)
        return parcel

    def crash(self) -> None:
        """Let go of the directory as the end of a process does, and of nothing else."""
        if self.outbox._lock is not None:  # noqa: SLF001 - the system does it, not the outbox
            self.outbox._lock.release()  # noqa: SLF001


async def _at_once(work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    return work(*arguments, **options)


def _owner(instance: str) -> Owner:
    # Of a boot that is over.
    return Owner(instance, "host", "/root", "destination", 0.0, boot_id="before the power was lost")


class _Story:
    """Three servers over one outbox: the first is killed, the second stops with saves left, the third drains."""

    def __init__(self, directory: Path, seed: int, disk: Disk, paths: Sequence[str]) -> None:
        self._paths = paths
        self.recorder = Recorder(directory)
        self.saves: list[Saved] = []
        self.puts: list[Put] = []
        self.errors: list[BaseException] = []
        self._directory = directory
        self._rng = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._disk = disk
        self._store = _Bucket(self.puts, self.recorder)
        self._waiting: list[tuple[int, Parcel]] = []

    async def tell(self, saves: int) -> None:
        # Without threads the order of the steps is the same in every run.
        with self.recorder, mock.patch.object(asyncio, "to_thread", _at_once):
            for end in ("killed", "stopped", "drained"):
                await self._live(end, saves)

    async def _live(self, end: str, saves: int) -> None:
        server = _Server(self._directory, self._store, self._disk)
        for _ in range(2):  # as often as it takes, as the service does before it ships
            with self._noting():
                server.adopt()
        for _ in range(saves):
            self._save(server)
            if self._rng.random() < 0.4:
                await self._ship(server)
        self._protect(server)
        if end == "drained":
            await self._ship(server)
        await server.shipper.stop()
        self.errors += server.errors
        if end == "killed":
            server.crash()
        else:
            with self._noting():
                server.outbox.close()

    def _save(self, server: _Server) -> None:
        path = self._rng.choice(self._paths)
        earlier = [save for save in self.saves if save.path == path]
        if path == "same.ipynb" and earlier and self._rng.random() < 0.6:
            saved = earlier[-1]
        else:
            number = earlier[-1].number + 1 if earlier else 1
            start = _REFUSED if path == "refused.ipynb" and number == 2 else b"save"
            filler = self._rng.randbytes(self._rng.choice((0, 10, 5_000)))
            saved = Saved(path, number, b"%s %d of %s\n%s" % (start, number, path.encode(), filler))
        self.saves.append(saved)
        parcel = server.take(path, saved.content)
        if parcel is None:
            return
        self._waiting.append((len(self.saves) - 1, parcel))
        self._acknowledge()
        server.shipper.add(parcel)

    def _acknowledge(self) -> None:
        """Mark what is on the disk by now, by the outbox's word."""
        for index, parcel in list(self._waiting):
            if parcel.ref is not None:
                self.recorder.mark("acknowledged", str(index))
                self._waiting.remove((index, parcel))

    def _protect(self, server: _Server) -> None:
        for _, parcel in list(self._waiting):
            if not parcel.is_done and server.intake.protect(parcel):
                server.intake.release(parcel)
        self._acknowledge()
        self._waiting.clear()

    async def _ship(self, server: _Server) -> None:
        self._protect(server)
        await server.shipper.flush(30.0)

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except BookstoreError as e:
            self.errors.append(e)


async def record(
    directory: Path, *, seed: int, saves: int = 8, disk: Disk | None = None, paths: Sequence[str] = PATHS
) -> Recording:
    """Let the story happen below a directory, and record it.

    Parameters
    ----------
    directory : Path
        Where the outbox is to be; must be missing.
    seed : int
    saves : int
        By each of the three servers.
    disk : Disk, optional
        A real one by default.
    paths : sequence of str
        Some of `PATHS`.
    """
    story = _Story(directory, seed, disk or Disk(), paths)
    await story.tell(saves)
    return Recording(story.recorder.steps, story.saves, story.puts, story.recorder.bypasses(), story.errors)


# -- after the power is back ---------------------------------------------------------------------------------------


class _Unsynced(Disk):
    """A disk for what need not last."""

    def sync(self, fd: int) -> None:
        pass


@dataclass
class Replay:
    """What replaying a recording brought.

    Attributes
    ----------
    steps, images : int
        Steps after which the power was lost, and different states of the disk that a server was started over.
    violations : list of str
        Each with the step after which the power was lost.
    """

    steps: int = 0
    images: int = 0
    violations: list[str] = field(default_factory=list)


async def replay(
    recording: Recording,
    directory: Path,
    *,
    seed: int,
    images: int = 8,
    every: int = 1,
    stop_at: int = 20,
) -> Replay:
    """Lose the power after every step of a recording, start a server over what is left, and check what it makes of it.

    Parameters
    ----------
    recording : Recording
    directory : Path
        For the states of the disk, one after the other.
    seed : int
    images : int
        States for each step, about.
    every : int
        Lose the power after every so many steps only.
    stop_at : int
        Violations after which to stop.
    """
    found = Replay()
    disk, seen = ModelDisk(), set[tuple[str, int, int]]()
    acknowledged: list[int] = []
    stored = 0
    for index, step in enumerate(recording.steps):
        disk.apply(step)
        if step.kind == "acknowledged":
            acknowledged.append(int(step.path))
        stored += step.kind == "stored"
        if index % every and index + 1 < len(recording.steps):
            continue
        found.steps += 1
        rng = random.Random(f"{seed}/{index}")  # noqa: S311 - repeatable, not secret
        for image in disk.images(rng, images):
            state = image.digest, len(acknowledged), stored
            if state in seen:
                continue
            seen.add(state)
            found.images += 1
            what = await _recover(image, recording, acknowledged, stored, directory)
            found.violations += [f"power lost after step {index} ({step.kind} {step.path}): {w}" for w in what]
            if len(found.violations) >= stop_at:
                return found
    return found


async def record_and_replay(
    directory: Path,
    *,
    seed: int,
    saves: int = 8,
    images: int = 8,
    disk: Disk | None = None,
    paths: Sequence[str] = PATHS,
    stop_at: int = 20,
) -> Replay:
    """Record a story below an empty directory and replay it; `record` and `replay` in one."""
    recording = await record(directory / "outbox", seed=seed, saves=saves, disk=disk, paths=paths)
    return await replay(recording, directory / "image", seed=seed, images=images, stop_at=stop_at)


async def _recover(
    image: Image, recording: Recording, acknowledged: Sequence[int], stored: int, directory: Path
) -> list[str]:
    """Start a server over an image, let it ship, and compare."""
    shutil.rmtree(directory, ignore_errors=True)
    image.make(directory)
    puts: list[Put] = []
    store = _Bucket(puts)
    for put in recording.puts[:stored]:
        digest = hashlib.sha256(put.content).hexdigest()
        await store.put(put.key, put.content, sha256=digest, metadata=put.metadata)
    outbox = directory / _top(recording)
    server = _Server(outbox, store, _Unsynced())
    violations = [f"a torn entry: {corrupt}" for corrupt in server.adopt()]
    for path in PATHS:
        parcel = server.take(path, b"saved when the power was back")
        if parcel is None or parcel.ref is None:
            violations.append(f"the outbox takes no save of {path}")
        else:
            server.shipper.add(parcel)
    if waiting := await server.shipper.flush(30.0):
        violations.append(f"{waiting} saves are not shipped")
    await server.shipper.stop()
    aside = _contents_of(outbox / REFUSED)
    server.outbox.close()
    violations += _compare(recording, acknowledged, puts, aside)
    if quarantined := _contents_of(outbox / QUARANTINE):
        violations.append(f"{len(quarantined)} entries in quarantine")
    return violations


def _top(recording: Recording) -> str:
    return next((s.path for s in recording.steps if s.kind == "mkdir"), "outbox")


def _contents_of(directory: Path) -> set[bytes]:
    found = set()
    for file in directory.glob("*.entry") if directory.is_dir() else ():
        try:
            found.add(bytes(decode(file.read_bytes())[1]))
        except EntryCorrupt:
            found.add(b"")
    return found


def _compare(recording: Recording, acknowledged: Sequence[int], puts: Sequence[Put], aside: set[bytes]) -> list[str]:
    violations = []
    numbers = {(save.path, save.content): save.number for save in recording.saves}
    for path in PATHS:
        history = [put for put in puts if put.key == f"workspace/{path}"]
        records = [p.record_id for put in history if (p := from_metadata(put.metadata)) is not None]
        if len(set(records)) != len(history):
            violations.append(f"double: a save of {path} has two versions")
        if not history or history[-1].content != b"saved when the power was back":
            violations.append(f"order: the newest version of {path} is not the newest save")
        known = [numbers.get((path, put.content)) for put in history[:-1]]
        if None in known:
            violations.append(f"torn: a version of {path} is no save of it")
        told = [number for number in known if number is not None]
        # Equal bytes may be two versions: they are two saves.
        if told != sorted(told):
            violations.append(f"order: the versions of {path} are the saves {told}")
        missing = {
            save.number
            for save in map(recording.saves.__getitem__, acknowledged)
            if save.path == path and save.number not in told and save.content not in aside
        }
        if missing:
            violations.append(f"lost: acknowledged saves of {path}: {sorted(missing)}")
    return violations


def main() -> int:
    """Run the script; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--saves", type=int, default=8, help="by each of the three servers")
    parser.add_argument("--images", type=int, default=8, help="states of the disk for each step, about")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        found = asyncio.run(record_and_replay(Path(directory), seed=args.seed, saves=args.saves, images=args.images))
    print(f"seed {args.seed}: {found.steps} steps, {found.images} states, {len(found.violations)} violations")
    for violation in found.violations:
        print(violation)
    return 1 if found.violations else 0


if __name__ == "__main__":
    sys.exit(main())
