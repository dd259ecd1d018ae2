"""``bookstore diff``: compare two versions, or a version and the file now."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bookstore.cli.commands import FINE, USAGE, WRONG
from bookstore.cli.output import count, size
from bookstore.cli.places import ABOUT_PATHS, add_place_arguments, open_place
from bookstore.cli.version_names import ABOUT_VERSIONS, add_area_argument, find_version
from bookstore.cli.versions import wall_time
from bookstore.errors import BookstoreError

if TYPE_CHECKING:
    from bookstore.cli.context import Context
    from bookstore.cli.output import Output
    from bookstore.results import CellChange, Comparison, Side

DESCRIPTION = f"""Compare two versions of a file, or a version and the file as it is now. Of notebooks the cells are
compared, not the JSON.

As with diff, the exit code is 0 where the bytes are the same, 1 where they differ, and 2 where they could not be
compared. Two notebooks may differ in nothing but how their JSON is laid out, which is told.

BEFORE and AFTER: {ABOUT_VERSIONS.removeprefix("VERSION is ")}

{ABOUT_PATHS}"""

EXAMPLES = (
    ("diff a.ipynb", "the newest version and the file now"),
    ("diff a.ipynb latest~1 latest", "what the last save changed"),
    ("diff a.ipynb before-review", "the version with this label and the file now"),
)

_STYLES = {"added": "green", "removed": "red", "changed": "yellow"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("path", metavar="PATH", help="the file")
    parser.add_argument("before", metavar="BEFORE", nargs="?", help="a version; the newest by default")
    parser.add_argument("after", metavar="AFTER", nargs="?", help="a version; the file as it is now by default")
    add_area_argument(parser)
    add_place_arguments(parser)


def run(context: Context) -> int:
    """Do the work; the exit code."""
    args, output = context.args, context.output
    try:
        with open_place(context, args.path, use="files" if args.after is None else "history") as place:
            path = place.file_path(args.path)
            before, after = (
                find_version(place, path, name, area=args.area).version_id if name is not None else None
                for name in (args.before or "latest", args.after)
            )
            comparison = place.desk.compare(path, before, after, area=args.area)
    except BookstoreError as e:
        output.error(e.code, str(e), context.hint_for(e))
        return USAGE
    output.document({"ok": True, **comparison.to_dict()})
    if not comparison.identical:
        show_comparison(output, comparison)
    return FINE if comparison.identical else WRONG


def show_comparison(output: Output, comparison: Comparison) -> None:
    """Print what is different, in colour where the terminal has them."""
    output.line(f"--- {_side(comparison.before)}", style="bold red")
    output.line(f"+++ {_side(comparison.after)}", style="bold green")
    if comparison.kind == "text":
        _show_lines(output, _without_header(comparison.text_diff))
        return
    if comparison.kind == "binary":
        output.line("The bytes differ; they are no text.")
        return
    for change in comparison.cells:
        _show_cell(output, change)
    if comparison.metadata_changed:
        output.line()
        output.line("The notebook's own metadata or format changed.", style="yellow")
    if not comparison.cells and not comparison.metadata_changed:
        output.line("The cells are the same; the JSON around them is laid out in another way.")


def _side(side: Side) -> str:
    if side.version_id is None:
        return f"{side.path}  the file now, {size(side.size)}"
    return f"{side.path}  version {side.version_id}, saved {wall_time(side.saved_at)}, {size(side.size)}"


def _show_cell(output: Output, change: CellChange) -> None:
    index = change.index_after if change.index_after is not None else change.index_before
    number = "" if index is None else f" {index + 1}"
    name = f" (id {change.cell_id})" if change.cell_id else ""
    what = f": {', '.join(change.changed)}" if change.changed else ""
    moved = ""
    if change.kind == "changed" and change.index_before is not None and change.index_before != index:
        moved = f", which was cell {change.index_before + 1}"
    output.line()
    output.line(
        f"{change.cell_type or 'unknown'} cell{number}{name}{moved} {change.kind}{what}",
        style=f"bold {_STYLES.get(change.kind, 'yellow')}",
    )
    _show_lines(output, _without_header(change.source_diff))
    if change.outputs_before != change.outputs_after or "outputs" in change.changed:
        outputs = count(change.outputs_before, "output")
        output.line(f"  {outputs} before, {change.outputs_after} after", style="cyan")


def _without_header(diff: str) -> list[str]:
    """The lines of a unified diff without the names of its sides."""
    lines = diff.splitlines()
    return lines[2:] if len(lines) > 1 and lines[0].startswith("--- ") and lines[1].startswith("+++ ") else lines


def _show_lines(output: Output, lines: list[str]) -> None:
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for line in lines:
        output.line(line, style=styles.get(line[:1]))
