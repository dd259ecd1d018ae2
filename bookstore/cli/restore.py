"""``bookstore restore``: make a version's bytes the file's again."""

from __future__ import annotations

import argparse
import hashlib
import sys
from typing import TYPE_CHECKING

from bookstore.cli.arguments import UsageError
from bookstore.cli.commands import FINE, WRONG
from bookstore.cli.output import size
from bookstore.cli.places import ABOUT_PATHS, Place, add_place_arguments, open_place
from bookstore.cli.version_names import ABOUT_VERSIONS, find_version
from bookstore.cli.versions import label_text, when

if TYPE_CHECKING:
    from bookstore.cli.context import Context
    from bookstore.cli.output import Output
    from bookstore.results import Version

DESCRIPTION = f"""Write a version's bytes into the file again, as a new save: nothing in the history changes.

What the file holds is archived first if no version has it. Asks before it writes; without a terminal it needs --yes.
Where the file changes between the question and the writing, nothing is written, unless forced.

{ABOUT_VERSIONS}

{ABOUT_PATHS}"""

EXAMPLES = (
    ("restore a.ipynb latest~1", "the version before the newest"),
    ("restore a.ipynb before-review --to b.ipynb", "a labelled version, into another file"),
    ("restore a.ipynb 3HL4kqtJ --yes", "without a question"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("path", metavar="PATH", help="the file whose version it is")
    parser.add_argument("version", metavar="VERSION", help="the version")
    parser.add_argument("--to", metavar="PATH", help="write this file, not the one that the version is of")
    parser.add_argument("--force", action="store_true", help="write also if the file changes meanwhile")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    add_place_arguments(parser)


def run(context: Context) -> int:
    """Do the work; the exit code."""
    args, output = context.args, context.output
    if not args.yes and not sys.stdin.isatty():
        raise UsageError("There is nobody to ask whether to write.", "Give --yes to restore without a question.")
    with open_place(context, args.path, use="writing") as place:
        path = place.file_path(args.path)
        target = place.api_path(args.to) if args.to is not None else path
        if not target:
            raise UsageError("--to names a directory.", "Give the file to write.")
        version = find_version(place, path, args.version)
        seen = _hash_on_disk(place, target)
        if target != path and seen is not None:
            output.note(f"{target} is replaced. What it holds is archived first, if no version has it.")
        if not args.yes and not _agrees(output, version, target, is_there=seen is not None):
            output.document({"ok": False, "restored": None})
            output.line("Nothing was written.")
            return WRONG
        restored = place.desk.restore(
            path,
            version.version_id,
            target_path=target if target != path else None,
            expected_hash=seen,
            force=args.force,
        )
    archived = restored.archived
    output.document({"ok": True, "restored": restored.to_dict()})
    output.line(f"{restored.path} holds version {restored.from_version} again.")
    if archived.version_id:
        output.line(f"That is its new version {archived.version_id}.")
    elif archived.how == "waiting":
        output.line("Its new version waits in the outbox; bookstore status tells why.", style="yellow")
    return FINE


def _hash_on_disk(place: Place, path: str) -> str | None:
    """The SHA-256 of what will be written over, where it can be seen from here."""
    file = place.on_disk(path)
    if file is None or not file.is_file():
        return None
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _agrees(output: Output, version: Version, target: str, *, is_there: bool) -> bool:
    label = label_text(version)
    output.note(f"Version {version.version_id}, {when(version)}, {size(version.size)}{f', {label}' if label else ''}")
    what = f"Write it over {target}" if is_there else f"Write it as {target}"
    sys.stderr.write(f"{what}? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
