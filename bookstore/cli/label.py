"""``bookstore label``: name, annotate or pin a version."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bookstore.cli.arguments import UsageError
from bookstore.cli.commands import FINE
from bookstore.cli.places import ABOUT_PATHS, add_place_arguments, open_place
from bookstore.cli.version_names import ABOUT_VERSIONS, find_version
from bookstore.cli.versions import when

if TYPE_CHECKING:
    from bookstore.cli.context import Context

DESCRIPTION = f"""Name, annotate or pin a version. What is not given stays as it is; an empty text removes it.

Other commands take a label's name for the version. A pinned version carries the object
tag bookstore-pinned=true; the setting tag_versions lets lifecycle rules of the bucket spare it.

{ABOUT_VERSIONS}

{ABOUT_PATHS}"""

EXAMPLES = (
    ("label a.ipynb latest --name before-review", "name the newest version"),
    ("label a.ipynb latest~3 --note 'the figures of the paper' --pin", "annotate and pin an older one"),
    ("label a.ipynb before-review --remove", "take everything off it again"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("path", metavar="PATH", help="the file")
    parser.add_argument("version", metavar="VERSION", help="the version")
    parser.add_argument("--name", metavar="TEXT", help="what to call it")
    parser.add_argument("--note", metavar="TEXT", help="what to say of it")
    pin = parser.add_mutually_exclusive_group()
    pin.add_argument("--pin", action="store_true", dest="pinned", default=None, help="pin it")
    pin.add_argument("--unpin", action="store_false", dest="pinned", default=None, help="let go of it")
    parser.add_argument("--remove", action="store_true", help="remove name and note, and unpin it")
    add_place_arguments(parser)


def run(context: Context) -> int:
    """Do the work; the exit code."""
    args, output = context.args, context.output
    name, note, pinned = args.name, args.note, args.pinned
    is_asked = name is not None or note is not None or pinned is not None
    if args.remove and is_asked:
        raise UsageError("--remove takes everything off, so nothing can be put on.", "Give one or the other.")
    if args.remove:
        name, note, pinned = "", "", False
    elif not is_asked:
        raise UsageError("Nothing to say of the version.", "Give --name, --note, --pin, --unpin or --remove.")
    with open_place(context, args.path, use="writing") as place:
        path = place.file_path(args.path)
        version_id = find_version(place, path, args.version).version_id
        version = place.desk.label(path, version_id, name=name, note=note, pinned=pinned)
    output.document({"ok": True, "version": version.to_dict()})
    label = version.label
    output.pairs(
        [
            ("Version", f"{version.version_id} of {version.path}, saved {when(version)}"),
            ("Name", label.name if label is not None and label.name else "none"),
            ("Note", label.note if label is not None and label.note else "none"),
            ("Pinned", "yes" if label is not None and label.pinned else "no"),
        ]
    )
    return FINE
