"""The few things that the outbox asks of a disk, so that a test can hand in one that fails."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

if sys.platform == "darwin":
    import fcntl

    def _full_sync(fd: int) -> None:
        # fsync(2) on macOS leaves the bytes in the drive's cache; F_FULLFSYNC is refused by some network disks.
        try:
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        except OSError:
            os.fsync(fd)

else:
    _full_sync = os.fsync


#: Bytes that are read of a small file at most.
SMALL = 64 * 1024

#: Flags of open(2) that follow no link and wait for nobody; Windows has neither.
UNFOLLOWED = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


def open_file(path: Path) -> io.FileIO:
    """Open a file for reading, if it is one: others may have put a link there, or a pipe that nobody writes to.

    Raises
    ------
    OSError
        It is no regular file, or cannot be opened.
    """
    fd = os.open(path, os.O_RDONLY | UNFOLLOWED | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    # No buffer: a network disk asks for one of a megabyte, where a kilobyte is wanted.
    return os.fdopen(fd, "rb", buffering=0)


def read_small(path: Path, size: int = SMALL) -> bytes:
    """The first bytes of a file that another server wrote, or who knows who; all of them, where it is a small one.

    Raises
    ------
    OSError
        It is no regular file, or cannot be read.
    """
    with open_file(path) as f:
        return f.read(size)


class Disk:
    """A real disk. Every method raises `OSError` as the system does."""

    def make_directory(self, path: Path) -> None:
        """Make a directory that only its owner may enter, and those above it, if they are not there."""
        for directory in (*reversed(path.parents), path):
            if not directory.is_dir():
                directory.mkdir(mode=0o700, exist_ok=True)

    def write_new(self, path: Path, parts: Iterable[bytes | memoryview]) -> None:
        """Write a new file that only its owner may read, and return when the disk holds its bytes."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        fd = os.open(path, flags, 0o600)
        try:
            for part in parts:
                self.write(fd, part)
            self.sync(fd)
        finally:
            os.close(fd)

    def write(self, fd: int, data: bytes | memoryview) -> None:
        """Write all of the data; a disk may take it piece by piece."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]

    def sync(self, fd: int) -> None:
        """Return when the disk holds the file's bytes."""
        _full_sync(fd)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name, at once and wholly."""
        old.replace(new)

    def sync_directory(self, path: Path) -> None:
        """Return when the disk holds the directory's names. Windows cannot promise it."""
        if sys.platform == "win32":
            return
        fd = os.open(path, os.O_RDONLY)
        try:
            self.sync(fd)
        finally:
            os.close(fd)

    def remove(self, path: Path) -> None:
        """Remove a file."""
        path.unlink()

    def read(self, path: Path) -> bytes:
        """A file's bytes."""
        return path.read_bytes()

    def read_start(self, path: Path, size: int) -> bytes:
        """The first bytes of a file."""
        return read_small(path, size)

    def free_bytes(self, path: Path) -> int:
        """How many bytes the user may still write to the disk that holds ``path``."""
        if sys.platform == "win32":
            import shutil

            return shutil.disk_usage(path).free
        status = os.statvfs(path)
        return status.f_bavail * status.f_frsize


def filesystem_type(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """The kind of file system that holds a path, such as ``ext4`` or ``tmpfs``.

    Returns
    -------
    str or None
        None where the system does not tell (proc(5) describes the table that is read).
    """
    try:
        table = mounts.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    whole = path.resolve()
    best: tuple[int, str | None] = (-1, None)
    for line in table.splitlines():
        left, _, right = line.partition(" - ")
        columns = left.split()
        if len(columns) < 5 or not right:
            continue
        mounted = Path(columns[4].encode("latin-1", "backslashreplace").decode("unicode_escape"))
        # Of two mounts on one place the later hides the earlier.
        if whole.is_relative_to(mounted) and len(mounted.parts) >= best[0]:
            best = (len(mounted.parts), right.split()[0])
    return best[1]


#: Kinds of file system whose content is gone with the machine or container, and why.
FLEETING = {
    "tmpfs": "it is in memory and gone when the machine stops",
    "ramfs": "it is in memory and gone when the machine stops",
    "overlay": "it belongs to a container and is gone when the container is removed",
}
