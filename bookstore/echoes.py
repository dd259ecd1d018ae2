"""Which rows of a key may be echoes: copies of a save that stand in the store once more, because it arrived twice.

The condition of a write names the newest version's ETag, hence its bytes. Where an attempt is given up, its repetition
is stored, and the same bytes as before it are the newest again (a rename there and back, a restore, bytes that are
saved again), the first attempt is still taken when it arrives: S3 has no condition that could tell. The copy that was
stored first is the version; a later one with its record id is its echo if another attempt stored it. An attempt is
stored once at most, so one that carries the attempt of an older row as well was copied by somebody on purpose, and is
none. A listing tells which rows can be echoes, and then their metadata are asked for; an ordinary history has none.
Where ETags are no hash of the content they never come back, so no late attempt is taken.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bookstore.storage.base import ObjectVersion

#: How far below what may be an echo its first copy is looked for among rows that are not known otherwise, and as far
#: below that what tells a copy made on purpose. A listing reaches twice as far beyond the rows that are wanted.
REACH: Final = 32

#: Seconds after its first copy within which an echo arrives: S3 refuses a signature after 15 minutes, by clocks that
#: may differ by as much, and a large body takes its time. What carries a record id later is no echo.
LATEST: Final = 3600.0


class KeyRows:
    """Consecutive rows of one key, newest first, and which of them are alike."""

    def __init__(self) -> None:
        self._rows: list[ObjectVersion] = []
        self._places: dict[str, int] = {}
        self._alike: dict[tuple[int, str], list[int]] = {}

    def extend(self, rows: Iterable[ObjectVersion]) -> None:
        """Add the rows that follow; those that are there already are passed over."""
        for row in rows:
            if row.version_id in self._places:
                continue
            place = self._places[row.version_id] = len(self._rows)
            self._rows.append(row)
            if not row.is_delete_marker:
                self._alike.setdefault((row.size, row.etag), []).append(place)

    def older(self, row: ObjectVersion) -> Iterator[ObjectVersion]:
        """The rows below one of them, the nearest first."""
        return islice(self._rows, self._places[row.version_id] + 1, None)

    def alike(self, row: ObjectVersion) -> list[ObjectVersion]:
        """The older rows with the same bytes, the nearest first."""
        if row.is_delete_marker:
            return []
        place = self._places[row.version_id]
        return [self._rows[other] for other in self._alike[row.size, row.etag] if other > place]

    def twins(self, row: ObjectVersion) -> list[ObjectVersion]:
        """The older rows of which one of them may be an echo: the same bytes, and stored not long before."""
        since = row.last_modified.timestamp() - LATEST
        return [one for one in self.alike(row) if one.last_modified.timestamp() >= since]
