"""The durable queue on local disk: saves wait here until the store proves that it holds them.

.. code-block:: text

    outbox_dir/
      <generation>-<instance>/        one server: owner.json, lock, heartbeat
        <generation>-<sequence>-<record id>.entry
        claimed-<name>-<random>/        a dead server's directory, whole, until its entries have moved up
      quarantine/                     torn or altered entries
      refused/                        entries that the store will never take

One file per record and no database, since homes are often on NFS. A file gets its name only when its bytes are on the
disk, so an entry is whole or absent. Nothing expires and nothing is evicted. The outbox knows nothing of the store.

Methods block on the disk: call them from worker threads. Several threads may use one outbox.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from bookstore.disk import Disk, read_small
from bookstore.errors import EntryCorrupt, EntryGone, OutboxError, OutboxFull, OutboxUnavailable
from bookstore.outbox_entry import FIRST_LINE_BYTES, Entry, decode, decode_header, encode_header, header_size
from bookstore.outbox_owner import (
    CLOSED_FILE,
    DELIVERED_FILE,
    HEARTBEAT_FILE,
    LOCK_FILE,
    OWNER_FILE,
    DirectoryLock,
    Owner,
    Watch,
)

QUARANTINE = "quarantine"
REFUSED = "refused"

_ENTRY = ".entry"
_PARTIAL = ".partial"
_BESIDE_ENTRIES = {OWNER_FILE, LOCK_FILE, HEARTBEAT_FILE, DELIVERED_FILE, CLOSED_FILE}
_INSTANCE = re.compile(r"[0-9]{8}-[0-9a-f]{16}")
_GENERATION = re.compile(r"([0-9]{8})-")
_CLAIMED = re.compile(r"claimed-[0-9]{8}-[0-9a-f]{16}-[0-9a-f]{8}")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class EntryRef:
    """An entry that waits in the outbox, without its content.

    Attributes
    ----------
    file : Path
        Where it is.
    entry : Entry
        What it is.
    adopted : bool
        True where another server wrote it and may have sent it already.
    """

    file: Path
    entry: Entry
    adopted: bool = False

    @property
    def order(self) -> tuple[int, int]:
        """Sorts entries of one path by the order of the saves."""
        return (self.entry.provenance.generation, self.entry.provenance.sequence)


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """Entries of a dead server that this one may not adopt, since it archives to another place."""

    directory: Path
    owner: Owner | None
    entries: int


@dataclass(frozen=True, slots=True)
class Adoption:
    """What a look at the other directories of the outbox brought.

    Attributes
    ----------
    adopted : tuple of EntryRef
        In the order of the saves; they are this server's now.
    corrupt : tuple of str
        What was set aside in quarantine, and why.
    left : tuple of LeftBehind
    alive : int
        Directories of servers that still run.
    undecided : int
        Those among them that hold entries and of which only a longer look can tell whether they do run.
    failed : tuple of OutboxError
        Why some of what is wanted could not be taken over; the next look tries again.
    """

    adopted: tuple[EntryRef, ...] = ()
    corrupt: tuple[str, ...] = ()
    left: tuple[LeftBehind, ...] = ()
    alive: int = 0
    undecided: int = 0
    failed: tuple[OutboxError, ...] = ()


@dataclass(slots=True)
class _Haul:
    """What one look at the other directories brought so far."""

    adopted: list[EntryRef] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    failed: list[OutboxError] = field(default_factory=list)
    #: Paths of which a save could not be adopted: later ones must not overtake it.
    stuck: set[str] = field(default_factory=set)


class Outbox:
    """The outbox of one server instance.

    Parameters
    ----------
    directory : Path
        ``outbox_dir``; shared with other servers. Made when it is first needed.
    owner : Callable[[str], Owner]
        Tells who this server is, given the instance's name.
    reserve : int
        Bytes of the disk to leave free.
    disk : Disk, optional
        What to write to.
    """

    def __init__(
        self, directory: Path, owner: Callable[[str], Owner], *, reserve: int = 0, disk: Disk | None = None
    ) -> None:
        self.directory = directory
        self.instance = secrets.token_hex(8)
        self.generation = 0
        self._owner = owner
        self._reserve = reserve
        self._disk = disk or Disk()
        self._sequence = itertools.count(1)
        self._opening = threading.Lock()
        #: The records that some thread is putting at this moment.
        self._being_put: set[str] = set()
        self._own: Path | None = None
        #: Directories that were made and may be gone after a loss of power; remembered where syncing them failed.
        self._unsynced: set[Path] = set()
        self._lock: DirectoryLock | None = None
        self._beat = itertools.count(1)

    @property
    def is_open(self) -> bool:
        """Whether this instance has its directory."""
        return self._own is not None

    # -- its own directory -----------------------------------------------------------------------------------------

    def open(self) -> Path:
        """Make this instance's directory and take its lock, if that has not been done.

        Returns
        -------
        Path
            The directory.

        Raises
        ------
        OutboxFull, OutboxUnavailable
            The disk does not take it. A later call tries again.
        """
        with self._opening:
            if self._own is None:
                with _explained("making the outbox", self.directory):
                    self._own = self._make()
            return self._own

    def _make(self) -> Path:
        self._unsynced |= {d for d in (self.directory, *self.directory.parents) if not d.exists()}
        self._disk.make_directory(self.directory)
        for directory in sorted(self._unsynced):
            self._disk.sync_directory(directory.parent)
            self._unsynced.remove(directory)
        self.generation = self.generation or _newest_generation(self.directory) + 1
        own = self.directory / f"{self.generation:08d}-{self.instance}"
        self._disk.make_directory(own)
        # The owner is told before anything can wait here, the lock before anybody can ask for it.
        lock = DirectoryLock(own)
        lock.acquire()
        try:
            (own / OWNER_FILE).unlink(missing_ok=True)
            (own / CLOSED_FILE).unlink(missing_ok=True)
            self._disk.write_new(own / OWNER_FILE, [self._owner(self.instance).to_json()])
            self._disk.sync_directory(own)
            self._disk.sync_directory(self.directory)
        except BaseException:
            lock.release()
            raise
        self._lock = lock
        return own

    def _though_removed(self, work: Callable[[], _T]) -> _T:
        """Do the work, in a new directory if the one that there was has been taken from under us."""
        try:
            return work()
        except OutboxUnavailable as e:
            if not isinstance(e.__cause__, FileNotFoundError):
                raise
        self._forget_directory()
        return work()

    def _forget_directory(self) -> None:
        """After somebody took the directory away (a server on another host may, once heartbeats were missed)."""
        with self._opening:
            if self._lock is not None:
                self._lock.release()
            self._own, self._lock = None, None

    def beat(self) -> None:
        """Show servers on other hosts that this one lives."""
        self._though_removed(self._write_beat)

    def _write_beat(self) -> None:
        own = self.open()
        with _explained("writing the heartbeat", own):
            (own / HEARTBEAT_FILE).touch(0o600)
            (own / HEARTBEAT_FILE).write_bytes(b"%d" % next(self._beat))

    def note_delivery(self) -> None:
        """Remember that this server's settings bring saves to the store."""
        self._though_removed(self._write_note)

    def _write_note(self) -> None:
        own = self.open()
        with _explained("noting a delivery in", own):
            (own / DELIVERED_FILE).touch(0o600)

    def close(self) -> None:
        """Leave the directory to whoever comes next; without entries it is removed. May be called twice.

        An entry put afterwards is as safe as before.
        """
        with self._opening:
            own, self._own = self._own, None
            lock, self._lock = self._lock, None
        if own is None:
            return
        if lock is not None:
            lock.release()  # first: Windows removes no file that is open
        try:
            if any(file.suffix == _PARTIAL for file in own.iterdir()) or entry_files(own):
                # A save that is being taken at this moment still makes its entry here.
                (own / CLOSED_FILE).touch(0o600)
            else:
                self._remove_directory(own)
        except FileNotFoundError:
            pass  # somebody removed it, so there is nothing to leave
        except OSError as e:
            raise OutboxUnavailable(f"closing the outbox {own}: {e.strerror or e}") from e

    # -- entries ---------------------------------------------------------------------------------------------------

    def next_sequence(self) -> int:
        """The next number in this instance's order of saves."""
        return next(self._sequence)

    def put(self, entry: Entry, content: bytes | memoryview) -> EntryRef:
        """Make an entry of a save; once this returns it survives the loss of power.

        Raises
        ------
        OutboxFull
            There is no room beyond the reserve.
        OutboxUnavailable
            The disk or directory fails. Nothing is left behind, as far as the disk lets itself be cleaned;
            ``may_remain`` tells where an entry may be. Where the cause is a `FileNotFoundError`, another server took
            the directory, and perhaps the entry with it.
        """
        with self._alone(entry):
            partial = self._though_removed(lambda: self._write(entry, content))
            try:
                return self._commit(partial, entry)
            except OutboxError as e:
                e.may_remain = True
                raise

    @contextlib.contextmanager
    def _alone(self, entry: Entry) -> Iterator[None]:
        """Let one thread at a time put a save: who fails cleans up, and must not take away what another one keeps."""
        record_id = entry.provenance.record_id
        with self._opening:
            if record_id in self._being_put:
                raise OutboxUnavailable(f"another thread puts this save of {entry.path!r} into the outbox")
            self._being_put.add(record_id)
        try:
            yield
        finally:
            with self._opening:
                self._being_put.discard(record_id)

    def _write(self, entry: Entry, content: bytes | memoryview) -> Path:
        own = self.open()
        provenance = entry.provenance
        partial = own / f"{provenance.generation:08d}-{provenance.sequence:012d}-{provenance.record_id}{_PARTIAL}"
        header = encode_header(entry)
        with _explained("writing an entry to", own):
            self._require_room(own, len(header) + len(content))
            try:
                try:
                    self._disk.write_new(partial, (header, content))
                except FileExistsError:  # an earlier attempt could not clean up
                    self._disk.remove(partial)
                    self._disk.write_new(partial, (header, content))
            except BaseException:
                self._clean(partial)
                raise
        return partial

    def _require_room(self, own: Path, size: int) -> None:
        if self._disk.free_bytes(own) - size < self._reserve:
            raise OutboxFull(
                f"the disk of the outbox {own} has no room for {size} bytes beyond the reserve of {self._reserve} bytes"
            )

    def _commit(self, partial: Path, entry: Entry) -> EntryRef:
        file = partial.with_suffix(_ENTRY)
        with _explained("keeping an entry in", file.parent):
            try:
                self._disk.rename(partial, file)
                self._disk.sync_directory(file.parent)
            except BaseException:
                # Who asked ships it from memory, so it must not wait here as well. Where even the removal fails, the
                # record id keeps the next server from making a second version of it.
                self._clean(partial, file)
                raise
        return EntryRef(file, entry)

    def rehearse(self, size: int) -> None:
        """Find out whether an entry of ``size`` bytes would be taken, by writing something and removing it again.

        Raises
        ------
        OutboxFull, OutboxUnavailable
            It would not be taken.
        """
        self._though_removed(lambda: self._rehearse(size))

    def _rehearse(self, size: int) -> None:
        own = self.open()
        file = own / f"rehearsal{_PARTIAL}"
        with _explained("writing to", own):
            self._require_room(own, size)
            try:
                self._disk.write_new(file, (b"rehearsal",))
            finally:
                self._clean(file)

    def read(self, ref: EntryRef) -> memoryview:
        """An entry's content, checked.

        Raises
        ------
        EntryGone
            Another server claimed it.
        EntryCorrupt
            It is torn or altered.
        OutboxUnavailable
            The disk fails.
        """
        with _explained("reading", ref.file):
            try:
                data = self._disk.read(ref.file)
            except FileNotFoundError as e:
                raise EntryGone(f"the entry {ref.file} was claimed by another server") from e
        entry, content = decode(data)
        if entry != ref.entry:
            raise EntryCorrupt(f"the entry {ref.file} is another one than it was")
        return content

    def remove(self, ref: EntryRef, *, for_good: bool = False) -> None:
        """Remove an entry that is done with.

        Parameters
        ----------
        ref : EntryRef
        for_good : bool
            Whether the entry must not come back after a loss of power. One whose content is in the store may: its
            record id is found there.
        """
        with _explained("removing", ref.file), contextlib.suppress(FileNotFoundError):  # claimed: its owner removes it
            self._disk.remove(ref.file)
            if for_good:
                self._disk.sync_directory(ref.file.parent)

    def set_aside(self, ref: EntryRef, kind: str, why: OutboxError | Exception) -> Path:
        """Move an entry to where nobody ships it, with the reason beside it.

        Parameters
        ----------
        ref : EntryRef
        kind : str
            `QUARANTINE` or `REFUSED`.
        why : Exception
            What the entry was found to be, or what the store said.

        Returns
        -------
        Path
            Where it is now.

        Raises
        ------
        EntryGone
            Another server claimed it.
        OutboxFull, OutboxUnavailable
            It is where it was.
        """
        return self._set_aside(ref.file, kind, str(why), path=ref.entry.path)

    def _set_aside(self, file: Path, kind: str, why: str, path: str | None = None) -> Path:
        aside = self.directory / kind / file.name
        with _explained("setting aside", file):
            self._disk.make_directory(aside.parent)
            with contextlib.suppress(OSError):  # that a loss of power takes the directory with it, only a sync prevents
                self._disk.sync_directory(self.directory)
            try:
                self._disk.rename(file, aside)
            except FileNotFoundError as e:
                raise EntryGone(f"the entry {file} was claimed by another server") from e
        note = {"why": why, "path": path, "set_aside_at": time.time()}
        with contextlib.suppress(OSError):  # it is set aside, although without its note
            self._disk.sync_directory(aside.parent)
            # Should it come back to where it was, the store might take it now, on top of newer saves.
            self._disk.sync_directory(file.parent)
            self._disk.write_new(aside.with_suffix(".json"), [json.dumps(note, indent=1).encode("ascii")])
        return aside

    def names_aside(self) -> dict[str, set[str]]:
        """The names of the entries that are set aside, by kind."""
        return {kind: _names_of(self.directory / kind) for kind in (QUARANTINE, REFUSED)}

    # -- what others left ------------------------------------------------------------------------------------------

    def adopt(self, wants: Callable[[Owner | None], bool], watch: Watch) -> Adoption:
        """Take over what dead servers left, in the order of their saves.

        A server's directory is claimed whole, by a rename into this instance's: of several that try, one gets all of
        it, so that nothing but one server ships the saves of a path. Its entries then move up one by one. Whatever
        interrupts that, they are this instance's: this one goes on at its next look, and who claims its directory
        claims them as well.

        Parameters
        ----------
        wants : Callable[[Owner | None], bool]
            Whether this server archives to the same place as that owner; None stands for an owner that is unknown.
        watch : Watch
            Tells the dead from the living.

        Raises
        ------
        OutboxFull, OutboxUnavailable
            The outbox cannot be looked at, or nothing of what is wanted can be taken over. Where some of it can,
            ``failed`` tells of the rest.
        """
        own = self.open()
        haul = _Haul()
        left: list[LeftBehind] = []
        alive = undecided = 0
        with _explained("looking for what other servers left in", self.directory):
            others = [d for d in instance_directories(self.directory) if d != own]
        for directory in others:
            owner = read_owner(directory)
            try:
                is_alive = watch.is_alive(directory, owner)
            except OSError:  # not ours to look into; the others are
                is_alive = True
            if is_alive:
                alive += 1
                undecided += watch.is_undecided(directory) and bool(_count_entries(directory))
            elif wants(owner):
                try:
                    self._claim(directory, own)
                except OutboxError as e:
                    haul.failed.append(e)
            elif entries := _count_entries(directory):
                left.append(LeftBehind(directory, owner, entries))
        try:
            with _explained("looking for what was claimed in", own), contextlib.suppress(FileNotFoundError):
                for claimed in claimed_directories(own):
                    self._move_up(claimed, own, haul)
        except OutboxError as e:
            haul.failed.append(e)
        if haul.failed and not haul.adopted and not haul.corrupt:
            raise haul.failed[0]
        adopted = sorted(haul.adopted, key=lambda ref: ref.order)
        return Adoption(tuple(adopted), tuple(haul.corrupt), tuple(left), alive, undecided, tuple(haul.failed))

    def _claim(self, directory: Path, own: Path) -> None:
        """Take a server's whole directory, if no other server was faster."""
        # The name is a new one: a server that lives comes back under its own, and may be claimed again.
        claimed = own / f"claimed-{directory.name}-{secrets.token_hex(4)}"
        # What is not found was claimed by another server, or our own directory was, and there is no place to put it.
        with _explained("claiming", directory), contextlib.suppress(FileNotFoundError):
            self._disk.rename(directory, claimed)
            self._disk.sync_directory(own)
            self._disk.sync_directory(self.directory)

    def _move_up(self, claimed: Path, own: Path, haul: _Haul) -> None:
        """Make what was claimed, now or before, entries of this instance."""
        try:
            # What is not found is in a directory of this instance's that was claimed, with all that is in it.
            with _explained("adopting the entries in", claimed), contextlib.suppress(FileNotFoundError):
                # First what a server had claimed that died before it was done.
                for inner in claimed_directories(claimed):
                    self._move_up(inner, own, haul)
                for file in _entries_of(claimed):
                    try:
                        self._adopt_entry(file, own, haul)
                    except OutboxError as e:  # one that cannot be read must not keep the others waiting
                        haul.failed.append(e)
                self._disk.sync_directory(own)
                # What is removed or refused later must not come back under the name that it had here.
                self._disk.sync_directory(claimed)
                self._remove_directory(claimed)
        except OutboxError as e:
            haul.failed.append(e)

    def _adopt_entry(self, file: Path, own: Path, haul: _Haul) -> None:
        moved = own / file.name
        with _explained("adopting", file):
            try:
                entry = self._read_header(file)
                if entry.path in haul.stuck:
                    return
                haul.stuck.add(entry.path)  # until it is done
                self._disk.rename(file, moved)
                haul.stuck.remove(entry.path)
            except FileNotFoundError:  # this instance's directory was claimed
                return
            except EntryCorrupt as e:
                with contextlib.suppress(EntryGone):
                    haul.corrupt.append(f"{self._set_aside(file, QUARANTINE, str(e))}: {e}")
            else:
                haul.adopted.append(EntryRef(moved, entry, adopted=True))

    def _read_header(self, file: Path) -> Entry:
        # Almost every header fits into the first kilobyte.
        start = self._disk.read_start(file, 1024)
        size = header_size(start[:FIRST_LINE_BYTES])
        return decode_header(start[:size] if size <= len(start) else self._disk.read_start(file, size))

    def _remove_directory(self, directory: Path) -> None:
        """Remove an instance's directory unless it holds an entry: the bytes of an unfinished save are none."""
        if entry_files(directory):
            return
        for claimed in claimed_directories(directory):
            self._remove_directory(claimed)
        for file in list(directory.iterdir()):
            if file.suffix == _PARTIAL or file.name in _BESIDE_ENTRIES:
                file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # an entry came in between, or NFS still holds a name
            directory.rmdir()

    def _clean(self, *files: Path) -> None:
        for file in files:
            with contextlib.suppress(OSError):  # the error that led here is the one to tell
                self._disk.remove(file)


def _newest_generation(directory: Path) -> int:
    """The newest generation of which anything waits; a server may hold entries of a newer one that it adopted."""
    newest = 0
    for instance in instance_directories(directory):
        names = [instance.name]
        with contextlib.suppress(OSError):  # removed meanwhile, or not ours to look into
            names += [file.name for file in entry_files(instance)]
        newest = max(newest, *(int(m[1]) for name in names if (m := _GENERATION.match(name))))
    return newest


def instance_directories(directory: Path) -> list[Path]:
    """The directories of every server in an outbox, the oldest first."""
    # A link may lead to a directory whose files are not this outbox's to remove.
    return sorted(d for d in directory.iterdir() if _INSTANCE.fullmatch(d.name) and not d.is_symlink())


def claimed_directories(directory: Path) -> list[Path]:
    """What a server has claimed of others and not yet made its own."""
    return sorted(d for d in directory.iterdir() if _CLAIMED.fullmatch(d.name) and not d.is_symlink())


def entry_files(directory: Path) -> list[Path]:
    """The entries in a server's directory, or among those set aside, in the order of the saves."""
    files = _entries_of(directory)
    for claimed in claimed_directories(directory):
        with contextlib.suppress(FileNotFoundError):  # done with meanwhile
            files += entry_files(claimed)
    return sorted(files, key=lambda file: file.name)


def _entries_of(directory: Path) -> list[Path]:
    # Only files: to open a pipe would wait for ever, and all saves with it.
    with os.scandir(directory) as found:
        return sorted(Path(one) for one in found if one.name.endswith(_ENTRY) and one.is_file(follow_symlinks=False))


def read_owner(directory: Path) -> Owner | None:
    """Whose directory it is; None where nothing readable says so."""
    try:
        owner = Owner.from_json(read_small(directory / OWNER_FILE))
        return replace(owner, has_delivered=(directory / DELIVERED_FILE).exists())
    except (OSError, ValueError, TypeError):
        return None


def _count_entries(directory: Path) -> int:
    return len(_names_of(directory))


def _names_of(directory: Path) -> set[str]:
    try:
        return {file.name for file in entry_files(directory)}
    except OSError:  # it is not there, or was removed meanwhile
        return set()


@contextlib.contextmanager
def _explained(doing: str, where: Path) -> Iterator[None]:
    """Turn what the system says into an error of the outbox."""
    try:
        yield
    except OSError as e:
        kind = OutboxFull if e.errno in (errno.ENOSPC, errno.EDQUOT) else OutboxUnavailable
        raise kind(f"{doing} {where}: {e.strerror or e}") from e
