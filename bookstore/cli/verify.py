"""``bookstore verify``: read what the bucket holds, and check it against what was saved."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bookstore.cli.arguments import UsageError, positive
from bookstore.cli.commands import FINE, WRONG
from bookstore.cli.output import count, size
from bookstore.cli.places import api_path, root_of
from bookstore.cli.running import run_async

if TYPE_CHECKING:
    from bookstore.cli.context import Context
    from bookstore.cli.output import Output
    from bookstore.verifying import Verified

AREAS = ("workspace", "published", "scheduled")

DESCRIPTION = """Read every version that the bucket holds, and compare its SHA-256 with that which was saved with it.

Reads all of it over the network, with this machine's settings, and changes nothing. A version that another program
wrote says nothing of what it should be: it is read and counted. Where it lies upon a version that bookstore wrote of
the same file, it is named, since it may stand for something that nobody saved. Bookstore's own labels and parameters
are counted apart: labels must be JSON, and parameters what their name tells. The exit code is 1 if any version is
altered or cannot be read; with --strict also if one is named as not written by bookstore.

PATH is a file or directory below the server's root, which need not exist any more: its versions only. It is relative to
the current directory, or else to --root. Everything by default."""

EXAMPLES = (
    ("verify", "all prefixes"),
    ("verify --prefix published --json", "what is published, for programs"),
    ("verify analysis/", "what was saved below a directory"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("path", metavar="PATH", nargs="?", help="a file or directory")
    parser.add_argument(
        "--prefix", choices=AREAS, help="only there; with PATH, workspace by default, and otherwise all three"
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="exit with 1 also where another program wrote upon a version of bookstore's",
    )
    parser.add_argument("--jobs", type=positive, metavar="N", help="read N versions at a time; max_threads by default")
    parser.add_argument("--root", metavar="DIR", help="the server's root directory, where it is not the configured one")


def run(context: Context) -> int:
    """Do the work; the exit code."""
    args, output = context.args, context.output
    if args.root is not None and not Path(args.root).expanduser().is_dir():
        raise UsageError(f"--root {args.root} is no directory.", "Give the server's root directory.")
    context.require_bucket()
    folders, keys = _what(context)
    results: list[Verified] = []
    try:
        run_async(_verify(context, folders, keys, results))
    except KeyboardInterrupt:
        output.note("bookstore: what was not read yet is not verified.")
        raise
    result = results[0]
    is_fine = result.is_fine and not (args.strict and result.foreign)
    output.document({"ok": is_fine, "folders": folders, "keys": keys, **result.to_dict()})
    _show(output, result, context.settings.s3_bucket)
    return FINE if is_fine else WRONG


def _what(context: Context) -> tuple[list[str], list[str]]:
    """The folders to read, and the keys."""
    args, settings = context.args, context.settings
    if args.path is None:
        areas = [args.prefix] if args.prefix else list(AREAS)
        return [f"{settings.prefix(area, context.root_dir)}/" for area in areas], []
    root = root_of(context, args.path)
    prefix = settings.prefix(args.prefix or "workspace", str(root))
    path = api_path(args.path, root, Path(args.root).expanduser().absolute() if args.root else None)
    if not path:
        return [f"{prefix}/"], []
    return [f"{prefix}/{path}/"], [f"{prefix}/{path}"]


async def _verify(context: Context, folders: list[str], keys: list[str], results: list[Verified]) -> None:
    from bookstore.service import ArchiveService
    from bookstore.verifying import verify

    # Built as a server builds it, so that what is read is what it wrote; nothing of it is started.
    service = ArchiveService(context.settings, root_dir=context.root_dir, log=context.app.log)
    jobs = context.args.jobs or context.settings.max_threads
    try:
        with _progress(context.output) as tell:
            results.append(await verify(service.store, folders=folders, keys=keys, concurrency=jobs, progress=tell))
    finally:
        await service.store.aclose()


@contextmanager
def _progress(output: Output) -> Iterator[Callable[[int, int], None] | None]:
    """Shows how far reading is, on standard error, where that is a terminal."""
    if output.is_json or not output.console_for_notes.is_terminal:
        yield None
        return
    with output.console_for_notes.status("Reading …") as status:
        yield lambda versions, amount: status.update(f"{count(versions, 'version')} read, {size(amount)}")


def _show(output: Output, result: Verified, bucket: str) -> None:
    for altered in result.altered:
        output.line(f"altered: s3://{bucket}/{altered.key}, version {altered.version_id}", style="bold red")
        output.line(f"  saved with SHA-256 {altered.expected}")
        output.line(f"  the bucket holds   {altered.found}")
    for unreadable in result.unreadable:
        output.line(f"unreadable: s3://{bucket}/{unreadable.key}, version {unreadable.version_id}", style="bold red")
        output.line(f"  {unreadable.message}")
    for foreign in result.foreign:
        is_newest = ", and is the newest of its key" if foreign.is_newest else ""
        output.line(
            f"not written by bookstore: s3://{bucket}/{foreign.key}, version {foreign.version_id}{is_newest}",
            style="bold yellow",
        )
    output.line(f"{count(result.checked, 'version')} checked, {size(result.bytes)} read.")
    if result.without_provenance:
        output.line(f"{count(result.without_provenance, 'version')} of other programs could be read.", style="dim")
    if result.own:
        output.line(f"{count(result.own, 'version')} of labels and other objects of bookstore's own.", style="dim")
    if result.markers:
        have = "has" if result.markers == 1 else "have"
        output.line(f"{count(result.markers, 'delete marker')}, which {have} no bytes.", style="dim")
    if result.foreign:
        _warn_of_foreign(output, result)
    if result.is_fine:
        output.line("All that could be checked is as it was saved.", style="green")
    else:
        output.line(f"{len(result.altered)} altered, {len(result.unreadable)} unreadable.", style="bold red")
        output.line("Other versions of the same files are not touched by that: bookstore versions PATH lists them.")


def _warn_of_foreign(output: Output, result: Verified) -> None:
    newest = sum(foreign.is_newest for foreign in result.foreign)
    were = "was" if len(result.foreign) == 1 else "were"
    output.line(
        f"Warning: {count(len(result.foreign), 'version')} {were} not written by bookstore, but upon versions that it "
        f"wrote; {newest or 'none'} of them {'is' if newest <= 1 else 'are'} the newest of a key.",
        style="bold yellow",
    )
    if newest:
        output.line("Who reads such a key gets it: bookstore versions PATH and bookstore restore lead back.")
