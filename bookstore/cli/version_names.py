"""Which version a word on the command line means: ``latest``, ``latest~3``, a label, an id or the beginning of one."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from bookstore.cli.output import count
from bookstore.errors import InvalidRequest, ObjectMissing

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Sequence

    from bookstore.cli.places import Place
    from bookstore.results import Version

#: A shorter beginning of an id is not taken for one.
SHORTEST = 4

#: Characters of an id that a table shows, if they tell it apart.
SHOWN = 8

#: How many of several candidates a message names.
NAMED = 5

#: What --help says of VERSION, wherever there is one.
ABOUT_VERSIONS = """VERSION is latest, or latest~N for the version N before it; a version id, or its first four
characters or more; or else the name of a label."""

# Without "latest" only quoted: to shells a bare ~N is a directory.
_BACK = re.compile(r"(?:latest)?~(\d{1,9})")


def find_version(place: Place, path: str, name: str, *, area: str = "workspace") -> Version:
    """The version that a word means.

    Parameters
    ----------
    place : Place
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
        return _back(place, path, int(back[1]) if back else 0, area)
    is_there = False
    begun: dict[str, Version] = {}
    labelled: dict[str, Version] = {}
    for version in with_content(place.desk.versions(path, area=area, details=False, page=1000)):
        is_there = True
        if version.version_id == name:
            return version
        if len(name) >= SHORTEST and version.version_id.startswith(name):
            begun[version.version_id] = version
        if version.label is not None and version.label.name == name:
            labelled[version.version_id] = version
    found = begun or labelled
    if not is_there:
        raise place.no_versions(path, area)
    if not found:
        short = f" The beginning of an id has {SHORTEST} characters or more." if len(name) < SHORTEST else ""
        raise ObjectMissing(f"{path!r} has no version {name!r}.{short}", _hint_for(name) or _hint(path))
    if len(found) > 1:
        more = "Several versions have this label: give an id." if not begun else "Give more characters of the id."
        raise InvalidRequest(f"{name!r} may mean {len(found)} versions of {path!r}: {_named(found)}.", more)
    return next(iter(found.values()))


def _back(place: Place, path: str, number: int, area: str) -> Version:
    page = min(1000, number + 1)
    contents = with_content(place.desk.versions(path, area=area, details=False, page=page))
    found = list(islice(contents, number, number + 1))
    if found:
        return found[0]
    there = sum(1 for _ in with_content(place.desk.versions(path, area=area, details=False, page=1000)))
    if not there:
        raise place.no_versions(path, area)
    raise ObjectMissing(
        f"{path!r} has {count(there, 'version')}, so there is no {nth(number)}.", f"The oldest is {nth(there - 1)}."
    )


def with_content(versions: Iterable[Version]) -> Iterator[Version]:
    """The rows that latest~N counts: a delete marker has no content."""
    return (version for version in versions if not version.is_delete_marker)


def _named(found: dict[str, Version]) -> str:
    names = ", ".join(islice(found, NAMED))
    return f"{names} …" if len(found) > NAMED else names


def nth(number: int) -> str:
    """The name of a version by its place: what commands take, and no shell changes."""
    return f"latest~{number}" if number else "latest"


def _hint_for(name: str) -> str:
    """What to do about a VERSION that a shell made of ``~0`` or ``~1``; empty where it is none."""
    if not Path(name).is_absolute() or not Path(name).is_dir():
        return ""
    return "Your shell made this directory of ~N: write latest~N, which means the same, and which shells leave alone."


def _hint(path: str) -> str:
    return f"bookstore versions {path} --all lists what there is."


def add_long_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that asks for whole ids at a terminal."""
    parser.add_argument(
        "--long", action="store_true", help="whole version ids, each on one line; always so where output is no terminal"
    )


def shown_ids(version_ids: Sequence[str]) -> dict[str, str]:
    """The beginnings of version ids, all of one length, that tell them apart.

    Parameters
    ----------
    version_ids : sequence of str
        All that are shown together.
    """
    different = set(version_ids)
    length = SHOWN
    while len({version_id[:length] for version_id in different}) < len(different):
        length += 1
    return {version_id: version_id[:length] for version_id in different}


def add_area_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that chooses the prefix."""
    parser.add_argument(
        "--area",
        choices=("workspace", "published", "scheduled"),
        default="workspace",
        help="where to look: at what was saved (the default), published or scheduled",
    )
