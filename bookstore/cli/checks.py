"""What the doctor finds: one finding per step, each with the fix for what fails. And the steps on this machine."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bookstore.cli.output import count, duration, size
from bookstore.disk import FLEETING, Disk, filesystem_type
from bookstore.errors import OutboxError
from bookstore.outbox_survey import survey

if TYPE_CHECKING:
    from bookstore.bookstore_config import BookstoreSettings
    from bookstore.cli.app import BookstoreApp

State = Literal["ok", "warning", "failed", "skipped"]

#: Seconds that an fsync may take before saves are felt to be slow.
SLOW_FSYNC = 0.1

#: Seconds after which what waits in an outbox is worth a warning.
LONG_WAIT = 600.0

#: What JupyterLab calls the interface.
INTERFACE = "jupyterlab-bookstore"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one step found.

    Attributes
    ----------
    step : str
        What was looked at.
    state : str
        ``ok``, ``warning`` (it works, but), ``failed`` or ``skipped``.
    message : str
        What was found.
    hint : str
        What to do; empty where nothing is to be done.
    """

    step: str
    state: State
    message: str
    hint: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For the JSON document."""
        return asdict(self)


def check_settings(settings: BookstoreSettings, app: BookstoreApp, root_dir: str) -> Iterator[Finding]:
    """Look at each setting, and at the files that they come from."""
    step = "settings"
    is_fine = True
    for broken in app.broken_files:
        is_fine = False
        yield Finding(step, "failed", broken, "Correct the file; what stands in it does not count until then.")
    if not settings.is_configured:
        is_fine = False
        yield Finding(
            step,
            "failed",
            "No bucket is configured, so nothing is archived.",
            "Set c.BookstoreSettings.s3_bucket, or JPYNB_S3_BUCKET, to a bucket with versioning. To try without one: "
            "bookstore demo.",
        )
    for problem in settings.check(root_dir):
        is_fine = False
        message = f"c.BookstoreSettings.{problem.trait} = {problem.value}: {problem.message}"
        yield Finding(step, "failed" if problem.blocks_archiving else "warning", message, problem.hint)
    if is_fine:
        where = settings.endpoint or "AWS"
        yield Finding(
            step, "ok", f"bucket {settings.s3_bucket} at {where}, prefix {settings.prefix('workspace', root_dir)}"
        )


def check_extension(app: BookstoreApp) -> Finding:
    """See that a server would load bookstore."""
    step = "server extension"
    if app.is_extension_enabled():
        return Finding(step, "ok", "enabled in Jupyter's configuration")
    if app.names_archiver():
        return Finding(
            step,
            "warning",
            "not enabled, but contents_manager_class archives saves without it.",
            "For status, flush and the other routes: jupyter server extension enable bookstore.",
        )
    return Finding(
        step,
        "failed",
        "not enabled, so servers do not archive.",
        "Install bookstore into the environment that Jupyter runs in (not as editable), or add to "
        'jupyter_server_config.py: c.ServerApp.jpserver_extensions = {"bookstore": True}',
    )


def check_interface() -> Finding:
    """See that JupyterLab and Notebook would find the interface: where they look, not where a wheel puts it."""
    from jupyter_core.paths import jupyter_path

    step = "interface"
    for folder in jupyter_path("labextensions"):
        if (Path(folder) / INTERFACE / "package.json").is_file():
            return Finding(step, "ok", f"for JupyterLab and Notebook, in {Path(folder) / INTERFACE}")
    return Finding(
        step,
        "warning",
        "not part of this installation: JupyterLab and Notebook show no history. Archiving does not need it.",
        "Install bookstore from a wheel, or where Node 20 or newer is (BOOKSTORE_UI=require pip install . tells what "
        "is missing), into the environment that Jupyter runs in.",
    )


def check_outbox(settings: BookstoreSettings) -> Iterator[Finding]:
    """See that saves are safe on the outbox's disk: writable, lasting, fast, with room; and whether any wait there."""
    directory = Path(settings.outbox_dir).expanduser().absolute()
    disk = Disk()
    try:
        disk.make_directory(directory)
        took = _time_of_fsync(disk, directory)
    except OSError as e:
        yield Finding(
            "outbox",
            "failed",
            f"{directory} cannot be written to: {e.strerror or e}.",
            "Make it writable, or set c.BookstoreSettings.outbox_dir to a directory that is.",
        )
        return
    if took > SLOW_FSYNC:
        yield Finding(
            "outbox",
            "warning",
            f"{directory} takes {took * 1000:.0f} ms to bring a small file to the disk, which every save waits for.",
            "Set c.BookstoreSettings.outbox_dir to a directory on a faster disk.",
        )
    else:
        yield Finding("outbox", "ok", f"{directory}, {took * 1000:.1f} ms to bring a small file to the disk")
    yield _check_room(settings, disk, directory)
    yield _check_filesystem(directory)
    yield from _check_access(directory)
    yield from _check_waiting(directory)


def _time_of_fsync(disk: Disk, directory: Path) -> float:
    """Seconds that a small file takes, as an entry does: the median of five."""
    times = []
    for _ in range(5):
        file = directory / f".doctor-{secrets.token_hex(8)}"
        start = time.perf_counter()
        try:
            disk.write_new(file, [b"bookstore doctor\n" * 1000])
            disk.sync_directory(directory)
            times.append(time.perf_counter() - start)
        finally:
            with contextlib.suppress(FileNotFoundError):
                disk.remove(file)
    return sorted(times)[len(times) // 2]


def _check_room(settings: BookstoreSettings, disk: Disk, directory: Path) -> Finding:
    free = disk.free_bytes(directory)
    beyond = free - settings.outbox_reserve
    if beyond <= 0:
        return Finding(
            "outbox: room",
            "failed",
            f"{size(free)} are free, and outbox_reserve leaves {size(settings.outbox_reserve)} to other files: "
            "saves cannot be kept there.",
            "Free disk space, lower c.BookstoreSettings.outbox_reserve, or move outbox_dir to a larger disk.",
        )
    if beyond < settings.memory_limit:
        return Finding(
            "outbox: room",
            "warning",
            f"only {size(beyond)} are free beyond outbox_reserve.",
            "Free disk space, or move c.BookstoreSettings.outbox_dir to a larger disk.",
        )
    return Finding("outbox: room", "ok", f"{size(beyond)} beyond the reserve of {size(settings.outbox_reserve)}")


def _check_filesystem(directory: Path) -> Finding:
    kind = filesystem_type(directory)
    if kind is None:
        return Finding("outbox: disk", "skipped", "this system does not tell what kind of file system it is")
    if why := FLEETING.get(kind):
        return Finding(
            "outbox: disk",
            "warning",
            f"{directory} is on {kind}: {why}.",
            "Set c.BookstoreSettings.outbox_dir to a directory on a lasting disk.",
        )
    return Finding("outbox: disk", "ok", f"{kind}")


def _check_access(directory: Path) -> Iterator[Finding]:
    """Tell of others who may look into the outbox, or put something there; nothing where there are none."""
    if sys.platform == "win32":
        return
    step, status = "outbox: access", directory.stat()
    if status.st_uid not in (os.geteuid(), 0) and os.geteuid() != 0:
        yield Finding(
            step,
            "failed",
            f"{directory} belongs to another user, who can read and replace what waits there.",
            "Set c.BookstoreSettings.outbox_dir to a directory of your own.",
        )
    elif status.st_mode & 0o022:
        yield Finding(
            step,
            "failed",
            f"{directory} can be written to by others: what they put there may be shipped as yours.",
            f"Look whether all in it is yours, then close it to others: chmod 700 {directory}",
        )
    elif status.st_mode & 0o077:
        yield Finding(
            step, "warning", f"{directory} can be entered by others.", f"Close it to others: chmod 700 {directory}"
        )


def _check_waiting(directory: Path) -> Iterator[Finding]:
    step = "outbox: waiting"
    try:
        found = survey(directory)
    except OutboxError as e:
        yield Finding(step, "failed", str(e), e.hint)
        return
    if aside := found.quarantined + found.refused:
        yield Finding(
            step,
            "warning",
            f"{count(aside, 'save')} set aside in quarantine/ and refused/.",
            "Beside each stands the reason; once that is mended: bookstore drain --retry-refused.",
        )
    now = time.time()
    oldest = min((w.oldest_saved_at for w in found.waiting if w.oldest_saved_at is not None), default=now)
    if now - oldest > LONG_WAIT or any(waiting.life != "running" for waiting in found.waiting):
        yield Finding(
            step,
            "warning",
            f"{count(found.entries, 'save')} wait, the oldest for {duration(now - oldest)}.",
            "bookstore status tells of which servers; bookstore drain ships what dead ones left.",
        )
    elif not aside:
        yield Finding(step, "ok", count(found.entries, "save") if found.entries else "nothing waits")
