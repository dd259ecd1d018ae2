"""What draining an outbox directory works with and results in: the place, what was left, the counts."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bookstore.outbox import QUARANTINE, REFUSED, instance_directories
from bookstore.service import ArchiveService

if TYPE_CHECKING:
    from bookstore.bookstore_config import BookstoreSettings
    from bookstore.errors import BookstoreError
    from bookstore.storage.base import ObjectStore


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything is shipped to.

    Attributes
    ----------
    settings : BookstoreSettings
    store : ObjectStore
    destination : str
        As in `Owner.destination`.
    prefix : str
    origin : str
        As in `bookstore.provenance.Provenance.origin`, of a server that would run here.
    """

    settings: BookstoreSettings
    store: ObjectStore
    destination: str
    prefix: str
    origin: str

    @classmethod
    def of(cls, settings: BookstoreSettings, root_dir: str, log: Any) -> Place:
        """The place to which a server with these settings archives."""
        service = ArchiveService(settings, root_dir=root_dir, log=log)
        return cls(settings, service.store, service.destination, service.prefix or "", f"{service.host}:{root_dir}")


@dataclass(frozen=True, slots=True)
class Left:
    """Saves that were left where they are.

    Attributes
    ----------
    directory : str
    entries : int
    why, hint : str
    """

    directory: str
    entries: int
    why: str
    hint: str


@dataclass(slots=True)
class Drained:
    """What became of one outbox directory.

    Attributes
    ----------
    directory : Path
    shipped, found, unchanged : int
        Saves that are in the store now: by a new version, since an earlier attempt had stored them, since the newest
        version has their bytes.
    refused, quarantined : int
        Saves that were set aside.
    left : list of Left
        Saves that wait on.
    problems : list of dict
        What went wrong, as code, message and hint.
    """

    directory: Path
    shipped: int = 0
    found: int = 0
    unchanged: int = 0
    refused: int = 0
    quarantined: int = 0
    left: list[Left] = field(default_factory=list)
    problems: list[dict[str, str]] = field(default_factory=list)

    @property
    def is_fine(self) -> bool:
        """Whether nothing waits, and nothing was set aside."""
        return not (self.left or self.problems or self.refused or self.quarantined)

    def also(self) -> dict[str, int]:
        """The other counts, by what people call them."""
        return {
            "found in the store already": self.found,
            "unchanged": self.unchanged,
            "refused by the store": self.refused,
            "damaged": self.quarantined,
        }

    def to_dict(self) -> dict[str, Any]:
        """For the JSON document."""
        return {
            "directory": str(self.directory),
            "shipped": self.shipped,
            "found": self.found,
            "unchanged": self.unchanged,
            "refused": self.refused,
            "quarantined": self.quarantined,
            "left": [{"directory": x.directory, "entries": x.entries, "why": x.why} for x in self.left],
            "waiting": sum(x.entries for x in self.left),
            "problems": self.problems,
        }

    def add_problem(self, error: BookstoreError) -> None:
        """Note an error, once."""
        problem = {"code": error.code, "message": str(error), "hint": error.hint}
        if problem not in self.problems:
            self.problems.append(problem)


if sys.platform == "win32":

    def give_to_owner_of(outbox: Path, own: Path | None = None) -> None:
        """Nothing to do: Windows knows no root that works in other people's directories."""

else:

    def give_to_owner_of(outbox: Path, own: Path | None = None) -> None:
        """Where root drains a user's outbox, leave everything there the user's, so that their next server adopts it."""
        if os.geteuid() != 0 or not outbox.is_dir():
            return
        user = outbox.stat()
        if user.st_uid == 0:
            return
        made = [own] if own is not None else [*instance_directories(outbox), outbox / REFUSED, outbox / QUARANTINE]
        for directory in made:
            for path in (directory, *(directory.iterdir() if directory.is_dir() else ())):
                with contextlib.suppress(FileNotFoundError):
                    if path.lstat().st_uid == 0:
                        os.chown(path, user.st_uid, user.st_gid, follow_symlinks=False)
