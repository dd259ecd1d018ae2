"""``bookstore versions``: list the versions of a file."""

from __future__ import annotations

import argparse
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from bookstore.cli.arguments import positive
from bookstore.cli.commands import FINE
from bookstore.cli.output import count, local_time, size
from bookstore.cli.places import ABOUT_PATHS, add_place_arguments, open_place
from bookstore.cli.version_names import add_area_argument, add_long_argument, nth, shown_ids

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.text import Text

    from bookstore.cli.context import Context
    from bookstore.cli.output import Output
    from bookstore.results import Version

#: Versions that are listed unless more are asked for.
USUAL = 20

#: What one request asks for: the details of each version are a request of their own.
_PAGE = 100

#: Columns of a terminal that has room for names and origins too.
_ROOMY = 120

DESCRIPTION = f"""List the versions of a file, newest first: when each was saved, by whom, why, and what it is called.

latest, latest~1, … is what other commands take for the version; a deletion has no such name. At a terminal only the
beginning of an id is shown, which other commands take too. The history goes on under earlier names where the file was
renamed. '=' marks a version with the same bytes as the one before it.

{ABOUT_PATHS}"""

EXAMPLES = (
    ("versions a.ipynb", f"the newest {USUAL}"),
    ("versions a.ipynb --all --json", "all of them, for programs"),
    ("versions a.ipynb --pinned", "those that are pinned"),
    ("versions a.ipynb --long", "with whole version ids"),
    ("versions a.ipynb --area published", "what was published under this name"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("path", metavar="PATH", help="the file")
    many = parser.add_mutually_exclusive_group()
    many.add_argument("-n", type=positive, default=USUAL, metavar="N", dest="number", help="list N of them at most")
    many.add_argument("--all", action="store_true", help="list all of them")
    many.add_argument("--pinned", action="store_true", help="list those that are pinned, 100 at most")
    add_long_argument(parser)
    add_area_argument(parser)
    add_place_arguments(parser)


def run(context: Context) -> int:
    """Do the work; the exit code."""
    args = context.args
    with open_place(context, args.path) as place:
        path = place.file_path(args.path)
        if args.pinned:
            pinned = place.desk.pinned(path, area=args.area).versions
            if not pinned and not place.desk.history(path, area=args.area, limit=1, details=False).versions:
                raise place.no_versions(path, args.area)
            show_pinned(context.output, path, args.area, pinned, is_long=args.long)
            return FINE
        wanted: int | None = None if args.all else args.number
        page = _PAGE if wanted is None else min(_PAGE, wanted + 1)
        rows = place.desk.versions(path, area=args.area, page=page)
        versions = list(islice(rows, None if wanted is None else wanted + 1))
        if not versions:
            raise place.no_versions(path, args.area)
    shown = versions[:wanted]
    show_versions(context.output, path, args.area, shown, has_more=len(versions) > len(shown), is_long=args.long)
    return FINE


def show_versions(
    output: Output, path: str, area: str, versions: Sequence[Version], *, has_more: bool, is_long: bool = False
) -> None:
    """Print a history, newest first; with the beginnings of ids at a terminal, unless it is to be long."""
    numbers = _numbers(versions)
    output.document(_document(path, area, numbers, versions, has_more=has_more))
    if output.is_json:
        return
    number = count(len(versions), "version")
    newest = "the newest version" if len(versions) == 1 else f"the newest {number}"
    output.line(f"{newest} of {path}; --all shows the rest" if has_more else f"{number} of {path}", style="bold")
    _show_table(output, path, numbers, versions, is_long=is_long)


def show_pinned(output: Output, path: str, area: str, versions: Sequence[Version], *, is_long: bool = False) -> None:
    """Print the pinned versions of a path; their places in the history are not known."""
    numbers = [None] * len(versions)
    output.document(_document(path, area, numbers, versions, has_more=False))
    if output.is_json:
        return
    if not versions:
        output.line(f"No version of {path} is pinned.")
        return
    output.line(f"{count(len(versions), 'pinned version')} of {path}", style="bold")
    _show_table(output, path, numbers, versions, is_long=is_long)


def _document(
    path: str, area: str, numbers: Sequence[int | None], versions: Sequence[Version], *, has_more: bool
) -> dict[str, Any]:
    rows = [{"number": number, **version.to_dict()} for number, version in zip(numbers, versions, strict=True)]
    return {"ok": True, "path": path, "area": area, "more": has_more, "versions": rows}


def _show_table(
    output: Output, path: str, numbers: Sequence[int | None], versions: Sequence[Version], *, is_long: bool
) -> None:
    is_long = is_long or not output.is_terminal
    has_room = is_long or output.console.width >= _ROOMY
    has_labels = any(version.label is not None for version in versions)
    has_names = any(version.path != path for version in versions)
    has_origins = len({version.origin for version in versions if version.origin}) > 1
    has_numbers = any(number is not None for number in numbers) or not has_labels
    columns = [*([""] if has_numbers else []), "saved", "by", "size", "why"]
    columns += [*(["label"] if has_labels else []), "version"]
    columns += ["name"] if has_names and has_room else []
    columns += ["from"] if has_origins and has_room else []
    ids = [name for version in versions for name in (version.version_id, version.from_version) if name]
    shown = dict(zip(ids, ids, strict=True)) if is_long else shown_ids(ids)
    rows = (_row(number, version, columns, shown) for number, version in zip(numbers, versions, strict=True))
    output.table(columns, rows, whole=("", "saved", "size", "version"), is_wide=is_long)
    if not has_room and (has_names or has_origins):
        output.line("They come from several names or places: --long tells them.", style="dim")


def _numbers(versions: Sequence[Version]) -> list[int | None]:
    numbers: list[int | None] = []
    contents = 0
    for version in versions:
        numbers.append(None if version.is_delete_marker else contents)
        contents += not version.is_delete_marker
    return numbers


def _row(number: int | None, version: Version, columns: Sequence[str], shown: Mapping[str, str]) -> list[str | Text]:
    from rich.text import Text

    amount = Text(size(version.size))
    if version.is_unchanged:
        amount = Text(f"{size(version.size)} =", style="dim")
    cells: dict[str, str | Text] = {
        "": Text(nth(number), style="bold") if number is not None else "",
        "saved": when(version),
        "by": version.user,
        "size": amount if not version.is_delete_marker else "",
        "why": why(version, shown) if not version.is_delete_marker else Text("deleted", style="red"),
        "label": label_text(version),
        "version": shown.get(version.version_id, ""),
        "name": version.path,
        "from": version.origin,
    }
    return [cells[column] for column in columns]


def when(version: Version) -> str:
    """When a version was saved, by the clock on the wall."""
    return wall_time(version.saved_at or version.last_modified)


def wall_time(instant: str) -> str:
    """An ISO 8601 time, by the clock on the wall; as it is where it is none."""
    try:
        return local_time(datetime.fromisoformat(instant.replace("Z", "+00:00")).timestamp())
    except (ValueError, OverflowError, OSError):
        return instant


def why(version: Version, shown: Mapping[str, str]) -> str:
    """Why there is a version, and what it was made from; ``shown`` tells how version ids are shown."""
    if not version.reason:
        return "" if version.saved_at else "(written by another program)"
    if version.reason == "rename" and version.previous_key:
        return f"rename from {_below(version.previous_key, version)}"
    if version.reason != "save" and version.from_version:
        return f"{version.reason} of {shown[version.from_version]}"
    if version.reason != "save" and version.from_key:
        return f"{version.reason} of {_below(version.from_key, version)}"
    return version.reason


def _below(key: str, version: Version) -> str:
    """A key as a path where it lies under the same prefix as a version."""
    prefix = version.key.removesuffix(version.path)
    return key.removeprefix(prefix) if prefix != version.key else key


def label_text(version: Version) -> str:
    """A version's label in one line."""
    if version.label is None:
        return ""
    parts = [version.label.name, "(pinned)" if version.label.pinned else "", version.label.note.partition("\n")[0]]
    return " ".join(part for part in parts if part)
