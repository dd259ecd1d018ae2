"""What waits in an outbox directory, seen from outside: nothing is locked, claimed or changed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bookstore.disk import open_file
from bookstore.errors import EntryCorrupt, OutboxUnavailable
from bookstore.outbox import QUARANTINE, REFUSED, entry_files, instance_directories, read_owner
from bookstore.outbox_entry import FIRST_LINE_BYTES, Entry, decode_header, header_size
from bookstore.outbox_owner import HEARTBEAT_FILE, HEARTBEAT_PATIENCE, Owner, Watch

#: ``ended``: surely; ``running``: it shows signs of life; ``silent``: nothing tells, only its heartbeat, watched for a
#: while, can.
Life = Literal["running", "ended", "silent"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits in one server's directory.

    Attributes
    ----------
    directory : Path
    owner : Owner or None
        None where nothing readable says whose it is.
    life : str
        ``running``, ``ended`` or ``silent``.
    entries : int
    size : int
        Bytes.
    oldest_saved_at : float or None
        Seconds since the epoch; None where nothing waits, or the oldest entry is damaged.
    """

    directory: Path
    owner: Owner | None
    life: Life
    entries: int
    size: int
    oldest_saved_at: float | None


@dataclass(frozen=True, slots=True)
class Survey:
    """What lies in one outbox directory.

    Attributes
    ----------
    directory : Path
    waiting : tuple of Waiting
        Servers' directories with entries, the oldest first.
    quarantined, refused : int
        Saves that were set aside.
    """

    directory: Path
    waiting: tuple[Waiting, ...] = ()
    quarantined: int = 0
    refused: int = 0

    @property
    def entries(self) -> int:
        """How many saves wait."""
        return sum(waiting.entries for waiting in self.waiting)


def survey(directory: Path) -> Survey:
    """Look into an outbox directory; one that is not there holds nothing.

    Raises
    ------
    OutboxUnavailable
        It cannot be read.
    """
    try:
        if not directory.exists():
            return Survey(directory)
        waiting = [found for d in instance_directories(directory) if (found := _look(d)) is not None]
        return Survey(
            directory, tuple(waiting), len(_entries(directory / QUARANTINE)), len(_entries(directory / REFUSED))
        )
    except OSError as e:
        raise OutboxUnavailable(f"looking into the outbox {directory}: {e.strerror or e}") from e


def is_outbox(directory: Path) -> bool:
    """Whether a directory is, or could become, an outbox: it holds what one holds, or nothing at all.

    Raises
    ------
    OutboxUnavailable
        It cannot be read.
    """
    try:
        if instance_directories(directory) or any((directory / kind).is_dir() for kind in (QUARANTINE, REFUSED)):
            return True
        # Hidden files come from anywhere: file managers, NFS, a doctor that was killed.
        return all(path.name.startswith(".") for path in directory.iterdir())
    except OSError as e:
        raise OutboxUnavailable(f"looking into the outbox {directory}: {e.strerror or e}") from e


def _look(directory: Path) -> Waiting | None:
    sizes = {}
    for file in _entries(directory):
        try:
            sizes[file] = file.stat().st_size
        except FileNotFoundError:  # shipped, or claimed, meanwhile
            continue
    if not sizes:
        return None
    owner = read_owner(directory)
    oldest = _read_header(next(iter(sizes)))
    return Waiting(
        directory,
        owner,
        _life(directory, owner),
        len(sizes),
        sum(sizes.values()),
        oldest.provenance.saved_at if oldest else None,
    )


def _life(directory: Path, owner: Owner | None) -> Life:
    # The first look of a watch takes no lock, and says that a server has ended only where that is certain.
    if not Watch().is_alive(directory, owner):
        return "ended"
    try:
        age = time.time() - (directory / HEARTBEAT_FILE).stat().st_mtime
    except OSError:
        return "silent"
    return "running" if age < HEARTBEAT_PATIENCE else "silent"


def _entries(directory: Path) -> list[Path]:
    try:
        return entry_files(directory)
    except FileNotFoundError:
        return []


def _read_header(file: Path) -> Entry | None:
    try:
        with open_file(file) as f:
            size = header_size(f.read(FIRST_LINE_BYTES))
            f.seek(0)
            return decode_header(f.read(size))
    except (OSError, EntryCorrupt):  # gone meanwhile; or damaged, which whoever ships it finds out
        return None
