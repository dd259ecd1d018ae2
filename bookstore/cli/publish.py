"""``bookstore publish``: publish a notebook, or list what is published."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bookstore.cli.commands import FINE
from bookstore.cli.places import ABOUT_PATHS, add_place_arguments, open_place
from bookstore.cli.publications import (
    add_listing_arguments,
    require_path,
    show_history,
    show_listing,
    show_published,
    show_removed,
)

if TYPE_CHECKING:
    from bookstore.cli.context import Context
    from bookstore.cli.places import Use

DESCRIPTION = f"""Publish a notebook as it is now: checked by the rules of its format, archived first, and versioned.

Publishing again adds a version. Withdrawing hides the publication and keeps its versions.

{ABOUT_PATHS}"""

EXAMPLES = (
    ("publish report.ipynb", "publish the notebook"),
    ("publish --list", "what is published"),
    ("publish report.ipynb --history", "when this one was published, and by whom"),
    ("publish report.ipynb --withdraw", "hide it again"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("path", metavar="PATH", nargs="?", help="the notebook")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="list what is published")
    what.add_argument("--history", action="store_true", help="list the versions of the publication")
    what.add_argument("--withdraw", action="store_true", help="hide the publication")
    add_listing_arguments(parser)
    add_place_arguments(parser)


def run(context: Context) -> int:
    """Do the work; the exit code."""
    args, output = context.args, context.output
    require_path(args.path, is_listing=args.list)
    use: Use = "history" if args.list or args.history else "writing"
    with open_place(context, args.path, use=use) as place:
        if args.list:
            limit = None if args.all else args.number
            show_listing(output, place.desk.published(), limit, has_parameters=False, is_long=args.long)
            return FINE
        path = place.file_path(args.path)
        if args.history:
            show_history(context, place, path, "published")
        elif args.withdraw:
            show_removed(output, place.desk.unpublish(path), "published")
        else:
            show_published(output, place.desk.publish(path), "Published")
    return FINE
