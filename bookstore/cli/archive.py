"""``bookstore archive``: archive the files that a directory holds already."""

from __future__ import annotations

import argparse
import hashlib
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bookstore.cli.arguments import UsageError, positive
from bookstore.cli.commands import FINE, INTERRUPTED, WRONG
from bookstore.cli.output import count
from bookstore.cli.places import Place, add_place_arguments, open_place
from bookstore.errors import BookstoreError, FileMissing, PathError

if TYPE_CHECKING:
    from bookstore.cli.context import Context
    from bookstore.cli.output import Output

#: Files that are archived at the same time.
JOBS = 8

#: Seconds between two looks at whether somebody asked to end.
_LOOK = 0.2

#: Files in a row that fail for the same reason until the rest is left for another time.
GIVE_UP = 25

#: Failures that people are shown.
SHOWN = 20

_SIGNALS = [number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]

DESCRIPTION = """Archive the files that a directory holds already: each that archive_globs names becomes a new
version, if its newest version has other bytes.

It may be interrupted at any time and run again: what is in the bucket already is not sent twice. Hidden files and
directories are left out, and links to directories are not followed. A file that fails does not keep the others; at the
end they are told, and the exit code is 1.

DIR is relative to the current directory, or else, where --root or --url is given, to that root. It must be there, not
outside of the server's root: that of the running server that holds it, through which the work is done, or otherwise
--root or the configured root, with this machine's settings."""

EXAMPLES = (
    ("archive .", "everything below the current directory"),
    ("archive ~/work --jobs 16", "sixteen files at a time"),
    ("archive ~/work --dry-run", "tell what would be archived"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("directory", metavar="DIR", help="the directory, or a single file")
    parser.add_argument(
        "--jobs", type=positive, default=JOBS, metavar="N", help=f"archive N files at a time; {JOBS} by default"
    )
    parser.add_argument("--dry-run", action="store_true", help="tell what would be archived, and archive nothing")
    parser.add_argument(
        "--hidden", action="store_true", help="hidden files and directories too; a server takes them if it shows them"
    )
    add_place_arguments(parser)


@dataclass
class Tally:
    """What became of the files.

    Attributes
    ----------
    found : int
        Files to archive.
    archived, there, waiting : list of str
        Paths that became a version; that were there already; that are safe in the outbox and not in the bucket yet.
    failed : list of (str, BookstoreError)
    gave_up : bool
        Whether the rest was left since everything failed.
    """

    found: int
    archived: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    failed: list[tuple[str, BookstoreError]] = field(default_factory=list)
    gave_up: bool = False

    @property
    def done(self) -> int:
        """Files that were looked at."""
        return len(self.archived) + len(self.there) + len(self.waiting) + len(self.failed)

    @property
    def left(self) -> int:
        """Files that were not."""
        return self.found - self.done

    def to_dict(self) -> dict[str, Any]:
        """For the JSON document."""
        return {
            "found": self.found,
            "archived": len(self.archived),
            "already_there": len(self.there),
            "waiting": sorted(self.waiting),
            "failed": [
                {"path": path, "code": error.code, "message": str(error), "hint": error.hint}
                for path, error in sorted(self.failed, key=lambda failure: failure[0])
            ],
            "left": self.left,
        }


def run(context: Context) -> int:
    """Do the work; the exit code."""
    args = context.args
    with _signals() as asked, open_place(context, args.directory, use="writing") as place:
        if place.root is None:
            raise UsageError(
                "Nothing tells here where the server's root is, so no files can be found below it.",
                "Run it where the files are, without --url.",
            )
        paths = _paths(context, place)
        if args.dry_run:
            return _dry_run(context, place, paths, asked)
        tally = Tally(len(paths))
        _archive_all(context, place, paths, tally, asked)
        where = place.desk.where
    is_fine = not asked and not tally.failed and not tally.waiting and not tally.left
    context.output.document({"ok": is_fine, "interrupted": bool(asked), **tally.to_dict()})
    _show(context.output, tally, where)
    if asked:
        context.output.note(
            f"Interrupted: {tally.done} of {tally.found} files are done. Run it again, and it goes on from there."
        )
        return INTERRUPTED
    return FINE if is_fine else WRONG


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Remember that somebody asked to end, so that what is under way can be finished; the second time ends at once."""
    asked: list[int] = []

    def remember(number: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, remember) for number in _SIGNALS}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _paths(context: Context, place: Place) -> list[str]:
    """API paths of the files to archive, in order.

    Raises
    ------
    UsageError
        There is no such file or directory.
    """
    start = place.api_path(context.args.directory)
    directory = place.on_disk(start)
    if directory is None or not directory.exists():
        raise UsageError(f"{context.args.directory} is not there.", "Give a directory, or a file.")
    if directory.is_file():
        return [start]
    return [
        path
        for below in files_below(directory, hidden=context.args.hidden)
        if context.settings.archives(path := f"{start}/{below}".strip("/"))
    ]


def files_below(directory: Path, *, hidden: bool) -> Iterator[str]:
    """The files below a directory, relative to it, ``/``-separated and in order."""
    for folder, folders, files in os.walk(directory):
        folders[:] = sorted(
            name for name in folders if name != ".ipynb_checkpoints" and (hidden or not name.startswith("."))
        )
        below = os.path.relpath(folder, directory)
        start = "" if below == os.curdir else f"{below.replace(os.sep, '/')}/"
        yield from (f"{start}{name}" for name in sorted(files) if hidden or not name.startswith("."))


def _archive_all(context: Context, place: Place, paths: Sequence[str], tally: Tally, asked: Sequence[int]) -> None:
    sort = {"unchanged": tally.there, "waiting": tally.waiting}
    for path, outcome in _each(context, paths, lambda path: place.desk.archive(path).how, asked, tally):
        if isinstance(outcome, BookstoreError):
            tally.failed.append((path, outcome))
        else:
            sort.get(outcome, tally.archived).append(path)


def _each(
    context: Context, paths: Sequence[str], work: Callable[[str], str], asked: Sequence[int], tally: Tally
) -> Iterator[tuple[str, str | BookstoreError]]:
    """Do something to each path, several at a time, until somebody asks to end; what is under way is finished."""
    jobs: int = context.args.jobs
    failures, is_told, under_way, following = _InARow(), False, 0, iter(paths)
    todo: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[str, str | BaseException]] = queue.SimpleQueue()
    for _ in range(min(jobs, len(paths))):
        # Not a pool, whose threads the interpreter waits for at its end, whatever they wait for.
        threading.Thread(target=_work_off, args=(todo, done, work), name="bookstore-archive", daemon=True).start()
    try:
        with _progress(context.output, len(paths)) as advance:
            while True:
                if asked and not is_told:
                    is_told = True
                    context.output.note("bookstore: finishing what is under way; once more ends it at once.")
                while under_way < jobs and not asked and not tally.gave_up:
                    path = next(following, None)
                    if path is None:
                        break
                    todo.put(path)
                    under_way += 1
                if not under_way:
                    return
                try:
                    path, result = done.get(timeout=_LOOK)
                except queue.Empty:
                    continue
                under_way -= 1
                outcome = _outcome(result)
                advance()
                yield path, outcome
                tally.gave_up = tally.gave_up or failures.count(outcome) >= GIVE_UP
    finally:
        for _ in range(jobs):
            todo.put(None)


def _work_off(
    todo: queue.SimpleQueue[str | None],
    done: queue.SimpleQueue[tuple[str, str | BaseException]],
    work: Callable[[str], str],
) -> None:
    while (path := todo.get()) is not None:
        try:
            result: str | BaseException = _checked(work, path)
        except BaseException as e:  # noqa: BLE001 - told where the results are taken
            result = e
        done.put((path, result))


def _checked(work: Callable[[str], str], path: str) -> str:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError as e:
        raise PathError(f"{os.fsencode(path)!r} is not valid Unicode, so it has no key") from e
    return work(path)


def _outcome(result: str | BaseException) -> str | BookstoreError:
    if isinstance(result, (str, BookstoreError)):
        return result
    if isinstance(result, OSError):
        return FileMissing(f"The file cannot be read: {result.strerror or type(result).__name__}.", "Look at the file.")
    raise result


class _InARow:
    """Counts failures in a row that have one reason."""

    def __init__(self) -> None:
        self._code = ""
        self._number = 0

    def count(self, outcome: str | BookstoreError) -> int:
        """How many there are now; an error of the file itself says nothing about the others."""
        if isinstance(outcome, (FileMissing, PathError)):
            return self._number
        code = outcome.code if isinstance(outcome, BookstoreError) else ""
        self._number = 0 if not code else self._number + 1 if code == self._code else 1
        self._code = code
        return self._number


@contextmanager
def _progress(output: Output, total: int) -> Iterator[Callable[[], None]]:
    """A bar on standard error, where that is a terminal."""
    if output.is_json or not output.console_for_notes.is_terminal or not total:
        yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("archiving"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=output.console_for_notes, transient=True) as progress:
        task = progress.add_task("archiving", total=total)
        yield lambda: progress.advance(task)


def _show(output: Output, tally: Tally, where: str) -> None:
    output.line(f"{count(tally.found, 'file')} found, through {where}:")
    output.line(f"  {len(tally.archived)} archived, {len(tally.there)} already there")
    if tally.waiting:
        output.line(
            f"  {len(tally.waiting)} wait in the outbox for the store; bookstore status tells why", style="yellow"
        )
    if tally.gave_up:
        output.line(f"  {tally.left} left: {GIVE_UP} in a row failed for one reason", style="bold red")
    if not tally.failed:
        return
    output.line(f"  {len(tally.failed)} failed:", style="bold red")
    for path, error in sorted(tally.failed, key=lambda failure: failure[0])[:SHOWN]:
        output.line(f"    {path}: {error}")
        if error.hint:
            output.line(f"      {error.hint}")
    if len(tally.failed) > SHOWN:
        output.line(f"    … and {len(tally.failed) - SHOWN} more; --json names them all")


# -- only looking ------------------------------------------------------------------------------------------------------


def _dry_run(context: Context, place: Place, paths: Sequence[str], asked: Sequence[int]) -> int:
    """Tell what would be archived."""
    output, tally = context.output, Tally(len(paths))
    sort: dict[str, list[str]] = {"archive": tally.archived, "there": tally.there}
    for path, outcome in _each(context, paths, lambda path: _would(place, path), asked, tally):
        if isinstance(outcome, BookstoreError):
            tally.failed.append((path, outcome))
        else:
            sort[outcome].append(path)
    is_fine = not tally.failed and not asked and not tally.left
    output.document({"ok": is_fine, "dry_run": True, "would_archive": sorted(tally.archived), **tally.to_dict()})
    for path in sorted(tally.archived):
        output.line(path)
    output.note(f"{count(len(tally.archived), 'file')} would be archived, {len(tally.there)} are there already.")
    for path, error in sorted(tally.failed, key=lambda failure: failure[0])[:SHOWN]:
        output.note(f"{path}: {error}")
    if asked:
        return INTERRUPTED
    return FINE if is_fine else WRONG


def _would(place: Place, path: str) -> str:
    newest = place.desk.history(path, limit=1).versions
    file = place.on_disk(path)
    if file is None or not newest or newest[0].is_delete_marker:
        return "archive"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return "there" if digest == newest[0].sha256 else "archive"
