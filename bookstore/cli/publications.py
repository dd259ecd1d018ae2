"""What ``bookstore publish`` and ``bookstore schedule`` have in common: what is asked for, and tables."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from bookstore.cli.arguments import UsageError, positive
from bookstore.cli.output import count
from bookstore.cli.version_names import add_long_argument, shown_ids
from bookstore.cli.versions import show_versions, wall_time

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bookstore.cli.context import Context
    from bookstore.cli.output import Output
    from bookstore.cli.places import Place
    from bookstore.results import Published, Removed

#: Entries that are listed unless more are asked for.
USUAL = 100


def add_listing_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a listing."""
    parser.add_argument(
        "-n", type=positive, default=USUAL, metavar="N", dest="number", help=f"list N at most; {USUAL} by default"
    )
    parser.add_argument("--all", action="store_true", help="list everything")
    add_long_argument(parser)


def require_path(path: str | None, *, is_listing: bool) -> None:
    """See that there is a PATH, or that none is needed.

    Raises
    ------
    UsageError
    """
    if is_listing and path is not None:
        raise UsageError("--list lists everything, and takes no PATH.", "Leave out one of them.")
    if not is_listing and path is None:
        raise UsageError("Which notebook?", "Give its PATH, or --list for what there is.")


def show_listing(
    output: Output, items: Iterable[Published], limit: int | None, *, has_parameters: bool, is_long: bool = False
) -> None:
    """Print what is published or scheduled; with the beginnings of ids at a terminal, unless it is to be long."""
    found = list(islice(items, None if limit is None else limit + 1))
    shown = found[:limit]
    has_more = len(found) > len(shown)
    output.document({"ok": True, "more": has_more, "items": [item.to_dict() for item in shown]})
    if not shown:
        output.line("There is nothing.")
        return
    columns = ["path", "since", "by", *(["parameters"] if has_parameters else []), "version"]
    is_long = is_long or not output.is_terminal
    ids = shown_ids([item.versionID or "" for item in shown])
    rows = (
        _row(item, item.versionID or "" if is_long else ids[item.versionID or ""], has_parameters) for item in shown
    )
    output.table(columns, rows, whole=("since", "version"), is_wide=is_long)
    if has_more:
        output.line("There are more: --all lists them.", style="dim")


def show_history(context: Context, place: Place, path: str, area: str) -> None:
    """Print the versions of a publication or scheduled copy.

    Raises
    ------
    ObjectMissing
        There never was one.
    """
    limit: int | None = None if context.args.all else context.args.number
    found = list(islice(place.desk.versions(path, area=area), None if limit is None else limit + 1))
    if not found:
        raise place.no_versions(path, area)
    show_versions(
        context.output,
        path,
        area,
        found[:limit],
        has_more=len(found) > len(found[:limit]),
        is_long=context.args.long,
    )


def _row(item: Published, version_id: str, has_parameters: bool) -> Sequence[str]:
    parameters = [", ".join(f"{name}={value!r}" for name, value in item.parameters.items())] if has_parameters else []
    return [item.path, wall_time(item.at), item.by, *parameters, version_id]


def show_published(output: Output, item: Published, what: str) -> None:
    """Print one notebook that was published or scheduled."""
    output.document({"ok": True, "item": item.to_dict()})
    output.pairs(
        [
            (what, item.s3_path),
            ("Version", item.versionID or "none: the bucket keeps no versions"),
            *([("From", f"version {item.from_version} in the workspace")] if item.from_version else []),
            ("By", f"{item.by}, {wall_time(item.at)}"),
            *((f"  {name}", repr(value)) for name, value in item.parameters.items()),
        ]
    )


def show_removed(output: Output, removed: Removed, what: str) -> None:
    """Print that something is hidden."""
    output.document({"ok": True, "removed": removed.to_dict()})
    output.line(
        f"{removed.s3_path} is {what} no more. {count(1, 'delete marker')} hides it; its versions are all there."
    )
