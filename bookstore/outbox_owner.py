"""Who owns an outbox directory, and whether that server is still alive.

A wrong "dead" would ship a living server's saves a second time; a wrong "alive" would leave a dead one's behind. So the
answer is taken from the surest sign there is:

0. A server that stopped in good order says so.
1. The same boot of the same kernel and the same process namespace (Linux tells both): the process itself, by its
   number and the time it started.
2. Otherwise the lock on the directory must be free *and* the heartbeat must have stood still for a while, by the
   clock of the one who watches. Locks alone do not do: ``nolock`` mounts make them local to a host, some file systems
   have none, and containers repeat host names and process numbers.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from bookstore.disk import UNFOLLOWED, read_small

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

#: Seconds between two beats.
HEARTBEAT_INTERVAL = 5.0

#: Seconds without a beat after which a server that nothing surer is known of counts as dead.
HEARTBEAT_PATIENCE = 6 * HEARTBEAT_INTERVAL

OWNER_FILE = "owner.json"
LOCK_FILE = "lock"
HEARTBEAT_FILE = "heartbeat"

#: Stands in the directory of a server whose settings have brought a save to the store.
DELIVERED_FILE = "delivered"

#: Stands in the directory of a server that stopped in good order: nobody need wait for a missed beat.
CLOSED_FILE = "closed"


@dataclass(frozen=True, slots=True)
class Owner:
    """The server that an outbox directory belongs to.

    Attributes
    ----------
    instance : str
        The directory's random name.
    host : str
        The machine's name, for reading.
    root_dir : str
        The server's root directory.
    destination : str
        Endpoint and bucket that the server archives to, for comparing.
    started_at : float
        Seconds since the epoch.
    boot_id, pid_namespace : str
        What the kernel tells of itself; empty where it tells nothing.
    pid : int
    pid_started : str
        When the process started, as the kernel counts; empty where it tells nothing.
    has_delivered : bool
        Whether a save of this server reached the store: then its settings were right.
    """

    instance: str
    host: str
    root_dir: str
    destination: str
    started_at: float
    boot_id: str = ""
    pid_namespace: str = ""
    pid: int = 0
    pid_started: str = ""
    has_delivered: bool = False

    def to_json(self) -> bytes:
        """The form in which it is kept in the directory."""
        return json.dumps(asdict(self), indent=1).encode("ascii")

    @classmethod
    def from_json(cls, data: bytes) -> Owner:
        """The way back of `to_json`.

        Raises
        ------
        ValueError
            The data describe no owner.
        """
        values = json.loads(data)
        if not isinstance(values, dict):
            raise TypeError("not an object")
        known = {f.name for f in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})


def this_process(instance: str, root_dir: str, destination: str) -> Owner:
    """The owner that this process is."""
    return Owner(
        instance=instance,
        host=socket.gethostname(),
        root_dir=root_dir,
        destination=destination,
        started_at=time.time(),
        boot_id=_boot_id(),
        pid_namespace=_pid_namespace(),
        pid=os.getpid(),
        pid_started=_pid_started(os.getpid()) or "",
    )


class DirectoryLock:
    """A lock on a directory, held until `release` or the end of the process.

    Attributes
    ----------
    held : bool
        False also where the file system knows no locks: the heartbeat has to do there.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOCK_FILE
        self._fd = -1
        self.held = False

    def acquire(self) -> bool:
        """Try to take the lock, without waiting; True if it is ours now."""
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | UNFOLLOWED, 0o600)
        try:
            if sys.platform == "win32":
                msvcrt.locking(self._fd, msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # held by another, or the file system has no locks
            self.release()
            return False
        self.held = True
        return True

    def release(self) -> None:
        """Give the lock back; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self.held = -1, False


class Watch:
    """Tells living servers from dead ones, for one outbox directory after another.

    Parameters
    ----------
    clock : Callable[[], float], optional
        Monotonic seconds.
    patience : float, optional
        Seconds without a beat after which a server counts as dead.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, patience: float = HEARTBEAT_PATIENCE) -> None:
        self._clock = clock
        self._patience = patience
        self._beats: dict[Path, tuple[bytes, float]] = {}
        self._undecided: set[Path] = set()

    def is_undecided(self, directory: Path) -> bool:
        """Whether an owner was taken for alive only because its heartbeat has not been watched long enough."""
        return directory in self._undecided

    def is_alive(self, directory: Path, owner: Owner | None) -> bool:
        """Whether the owner of a directory still runs.

        The first look at a directory of which only the heartbeat tells answers True: a beat that stands still shows
        only in a second look, after `patience`.

        Parameters
        ----------
        directory : Path
            An outbox directory of some server.
        owner : Owner or None
            What its ``owner.json`` says; None where that is missing or unreadable.
        """
        if (directory / CLOSED_FILE).exists():
            return False
        if owner is not None and _is_same_kernel(owner):
            return _pid_started(owner.pid) == owner.pid_started
        if self._beats_on(directory):
            return True
        self._undecided.discard(directory)
        lock = DirectoryLock(directory)
        try:
            free = lock.acquire()
        except OSError:  # the directory is gone, or not ours to touch
            return True
        lock.release()
        return not free and _has_locks(directory)

    def _beats_on(self, directory: Path) -> bool:
        try:
            beat = read_small(directory / HEARTBEAT_FILE)
        except OSError:
            beat = b""
        now = self._clock()
        last, since = self._beats.get(directory, (None, now))
        if last is None:
            self._undecided.add(directory)
        elif beat != last:
            self._undecided.discard(directory)
            since = now
        self._beats[directory] = (beat, since)
        return now - since < self._patience


def _has_locks(directory: Path) -> bool:
    """Whether the directory's file system knows locks at all: two handles of one file must exclude one another."""
    probe = directory.parent / f".locks-{os.getpid()}"
    fds: list[int] = []
    try:
        for _ in range(2):
            fds.append(os.open(probe, os.O_RDWR | os.O_CREAT | UNFOLLOWED, 0o600))
            if sys.platform == "win32":
                msvcrt.locking(fds[-1], msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(fds[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return len(fds) == 2
    finally:
        for fd in fds:
            os.close(fd)
        probe.unlink(missing_ok=True)
    return False


def _is_same_kernel(owner: Owner) -> bool:
    return bool(
        owner.boot_id
        and owner.boot_id == _boot_id()
        and owner.pid_namespace
        and owner.pid_namespace == _pid_namespace()
        and owner.pid_started
    )


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _pid_started(pid: int) -> str | None:
    """When a process started, in the kernel's ticks since boot; None where there is no such process (proc(5), stat)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The second column is the program's name in parentheses and may itself hold both blanks and parentheses.
    columns = stat[stat.rindex(b")") + 2 :].split()
    return None if columns[0] in (b"Z", b"X") else columns[19].decode("ascii")
