"""The archive's state as a document: what waits, what is safe, what is wrong and what to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bookstore.bookstore_config import SettingProblem
    from bookstore.errors import BookstoreError

#: The year 10000, in seconds since the epoch.
_END_OF_TIME = 253_402_300_800

#: How many paths and set-aside saves the document names.
NAMES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong, and the next step.

    Attributes
    ----------
    code : str
        For programs: an error's class name, or what kind of thing it is.
    message, hint : str
        For people: what is wrong, and what to do.
    since : str or None
        ISO 8601.
    setting, value : str or None
        The trait that is wrong and what it was set to; None for other problems.
    """

    code: str
    message: str
    hint: str
    since: str | None = None
    setting: str | None = None
    value: str | None = None

    @classmethod
    def of_error(cls, error: BookstoreError, since: float | None = None) -> Problem:
        """The problem that an error tells of."""
        return cls(error.code, str(error), error.hint, iso(since))

    @classmethod
    def of_setting(cls, problem: SettingProblem) -> Problem:
        """The problem that a wrong setting is."""
        message = f"{problem.trait} = {problem.value}: {problem.message}"
        return cls("Setting", message, problem.hint, setting=problem.trait, value=problem.value)


NO_BUCKET = Problem(
    "NoBucket",
    "No bucket is configured, so saves are not archived.",
    "Set c.BookstoreSettings.s3_bucket or JPYNB_S3_BUCKET to a bucket with versioning.",
)


@dataclass(frozen=True, slots=True)
class LastVersion:
    """The save that reached the store last.

    Attributes
    ----------
    path, key : str
    version_id : str or None
    saved_at, archived_at : str
        ISO 8601.
    how : str
        As in `bookstore.delivery.Delivered`.
    """

    path: str
    key: str
    version_id: str | None
    saved_at: str
    archived_at: str
    how: str


@dataclass(frozen=True, slots=True)
class ArchiveStatus:
    """What ``GET /api/bookstore`` tells of the archive.

    Attributes
    ----------
    state : str
        ``off`` (no bucket), ``ok``, ``waiting`` (saves are on their way) or ``trouble``.
    destination : str
        Where saves go.
    waiting : int
        Saves that the store is not proven to hold, `missed` ones included.
    oldest_saved_at, oldest_age : str, float or None
        When the save that waits longest was made (ISO 8601), and how many seconds ago.
    unprotected : int
        Saves that are neither in the store nor in the outbox; `unprotected_paths` names some.
    missed : int
        Unprotected saves that did not even fit into memory: the file on disk is archived as soon as there is room.
    archived, unchanged, thinned : int
        Since the start: versions stored, saves whose bytes were the newest version's already, saves that
        ``min_interval`` left out.
    last_version : LastVersion or None
    outbox : str
        The directory in which saves wait.
    quarantined, refused : int
        Entries that were set aside; `set_aside` names the latest.
    foreign : list of dict
        Keys whose newest version somebody else wrote.
    problems, warnings : list of Problem
        What keeps saves from the store; what else should be known.
    """

    state: str
    destination: str = ""
    waiting: int = 0
    oldest_saved_at: str | None = None
    oldest_age: float | None = None
    unprotected: int = 0
    unprotected_paths: list[str] = field(default_factory=list)
    missed: int = 0
    archived: int = 0
    unchanged: int = 0
    thinned: int = 0
    last_version: LastVersion | None = None
    outbox: str = ""
    quarantined: int = 0
    refused: int = 0
    set_aside: list[dict[str, str]] = field(default_factory=list)
    foreign: list[dict[str, Any]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The document as JSON takes it."""
        return asdict(self)


def iso(seconds: float | None) -> str | None:
    """Seconds since the epoch as ISO 8601 in UTC; None for none, and for what is no time that a calendar knows."""
    if seconds is None or not 0 <= seconds < _END_OF_TIME:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")
