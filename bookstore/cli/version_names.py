"""Which version a word on the command line means: ``latest``, ``~3``, a label's name, an id or the beginning of one."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING

from bookstore.errors import InvalidRequest, ObjectMissing

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

    from bookstore.cli.desk import Desk
    from bookstore.results import Version

#: A shorter beginning of an id is not taken for one.
SHORTEST = 4

#: How many of several candidates a message names.
NAMED = 5

#: What --help says of VERSION, wherever there is one.
ABOUT_VERSIONS = """VERSION is a version id or its first four characters or more, or else the name of a label; latest,
or ~N for the version N before it (latest~N means the same, and needs no quotes in zsh)."""

_BACK = re.compile(r"(?:latest)?~(\d{1,9})")


def find_version(desk: Desk, path: str, name: str, *, area: str = "workspace") -> Version:
    """The version that a word means.

    Parameters
    ----------
    desk : Desk
    path : str
    name : str
    area : str

    Returns
    -------
    Version
        As a listing without details tells it.

    Raises
    ------
    ObjectMissing
        There is none.
    InvalidRequest
        There is more than one.
    """
    back = _BACK.fullmatch(name)
    if name == "latest" or back:
        return _back(desk, path, int(back[1]) if back else 0, area)
    found: dict[str, Version] = {}
    for version in with_content(desk.versions(path, area=area, details=False, page=1000)):
        if version.version_id == name:
            return version
        if len(name) >= SHORTEST and version.version_id.startswith(name):
            found[version.version_id] = version
    by_label = not found
    if by_label:
        # Only now: the labels come with the details, which cost a request for each version.
        versions = with_content(desk.versions(path, area=area, page=1000))
        found = {v.version_id: v for v in versions if v.label is not None and v.label.name == name}
    if not found:
        short = f" The beginning of an id has {SHORTEST} characters or more." if len(name) < SHORTEST else ""
        raise ObjectMissing(f"{path!r} has no version {name!r}.{short}", _hint(path))
    if len(found) > 1:
        more = "Several versions have this label: give an id." if by_label else "Give more characters of the id."
        raise InvalidRequest(f"{name!r} may mean {len(found)} versions of {path!r}: {_named(found)}.", more)
    return next(iter(found.values()))


def _back(desk: Desk, path: str, number: int, area: str) -> Version:
    page = min(1000, number + 1)
    contents = with_content(desk.versions(path, area=area, details=False, page=page))
    found = list(islice(contents, number, number + 1))
    if found:
        return found[0]
    there = sum(1 for _ in with_content(desk.versions(path, area=area, details=False, page=1000)))
    if not there:
        raise ObjectMissing(f"{path!r} has no versions in {area}.", _hint(path))
    raise ObjectMissing(f"{path!r} has {there} versions, so there is no ~{number}.", f"The oldest is ~{there - 1}.")


def with_content(versions: Iterable[Version]) -> Iterator[Version]:
    """The rows that ~N counts: a delete marker has no content."""
    return (version for version in versions if not version.is_delete_marker)


def _named(found: dict[str, Version]) -> str:
    names = ", ".join(islice(found, NAMED))
    return f"{names} …" if len(found) > NAMED else names


def _hint(path: str) -> str:
    return f"bookstore versions {path} --all lists what there is."


def add_area_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that chooses the prefix."""
    parser.add_argument(
        "--area",
        choices=("workspace", "published", "scheduled"),
        default="workspace",
        help="where to look: at what was saved (the default), published or scheduled",
    )
