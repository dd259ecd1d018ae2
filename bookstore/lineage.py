"""The rows of a path's history, newest first, across the names that it had.

A history is the rows of the path's own key and, where a row is the version that a rename wrote, those rows of the
earlier key that were saved before the rename. Each key is read as one stream; streams are merged by when their rows
were saved, and each takes part once, whatever was renamed back and forth.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bookstore.errors import PathError
from bookstore.s3_paths import object_key, path_from_key
from bookstore.version_details import Detail, Details, VersionName, together

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bookstore.labels import LabelBook
    from bookstore.provenance import Provenance
    from bookstore.results import Label
    from bookstore.storage.base import ObjectStore, ObjectVersion

#: The store answers at most this many rows at once (S3 API reference, ListObjectVersions).
LARGEST_PAGE: Final = 1000

#: Names of one notebook that its history follows back; a longer chain ends there.
MAX_NAMES: Final = 100

#: Reasons of versions with which a file comes to be under its name.
BEGINNINGS: Final = frozenset(("new", "copy", "clone", "rename"))

#: A version that arrived so many seconds before a rename was saved before it, whatever the clocks say within that.
CLOCK_TOLERANCE: Final = 3600.0

#: Rows above the place where those of the earlier name begin that are looked at one by one: where two servers wrote
#: a key, what one of them saved before the rename may have arrived late.
LATECOMERS: Final = 16


@dataclass(frozen=True, slots=True)
class Moment:
    """When a version was saved, as far as it is known.

    Attributes
    ----------
    arrived : float
        When the store took it, in seconds since the epoch.
    saved_at : float or None
        By the clock of the server that took the save; None where that is not known.
    instance, sequence : str, int
        As in `Provenance`: within one instance the order of saves, whatever its clock did.
    """

    arrived: float
    saved_at: float | None = None
    instance: str = ""
    sequence: int = 0

    @classmethod
    def of(cls, arrived: float, provenance: Provenance | None) -> Moment:
        """The moment of a version that the store took then and that carries this provenance."""
        if provenance is None:
            return cls(arrived)
        return cls(arrived, provenance.saved_at, provenance.instance, provenance.sequence)

    def is_before(self, other: Moment) -> bool:
        """Whether this was saved earlier than the other."""
        if self.saved_at is None or other.saved_at is None:
            return self.arrived < other.arrived
        if self.instance and self.instance == other.instance:
            return self.sequence < other.sequence
        return self.saved_at < other.saved_at


@dataclass(frozen=True, slots=True)
class Bound:
    """The rename that ended a name's part in the history: what was saved later under that name is another notebook's.

    Attributes
    ----------
    moment : Moment
        Of the rename.
    previous_record : str
        The last save under the earlier name, where the server knew it.
    """

    moment: Moment
    previous_record: str

    def surely_holds(self, row: ObjectVersion) -> bool:
        """Whether a row arrived so long before the rename that nothing else need be known of it."""
        moment = self.moment
        latest = moment.arrived if moment.saved_at is None else min(moment.arrived, moment.saved_at)
        return row.last_modified.timestamp() < latest - CLOCK_TOLERANCE

    def holds(self, row: ObjectVersion, provenance: Provenance | None) -> bool:
        """Whether a row was saved before the rename."""
        if provenance is not None and self.previous_record and provenance.record_id == self.previous_record:
            return True
        return not self.moment.is_before(Moment.of(row.last_modified.timestamp(), provenance))


@dataclass(slots=True)
class Stream:
    """One key's part in a history, and how far it is read.

    Attributes
    ----------
    path, key : str
    bound : Bound or None
        None for the path whose history it is.
    after : str or None
        The version that was handed out last.
    is_done : bool
        True once there is nothing more to hand out, and the oldest row's earlier name is known.
    rows : deque of ObjectVersion
        Listed and not yet handed out.
    is_listed : bool
        Whether the store was asked for this page.
    is_complete : bool
        Whether ``rows`` reach to the key's oldest version.
    labels : dict or None
        By version id, once they are read.
    """

    path: str
    key: str
    bound: Bound | None = None
    after: str | None = None
    is_done: bool = False
    rows: deque[ObjectVersion] = field(default_factory=deque)
    is_listed: bool = False
    is_complete: bool = False
    labels: dict[str, Label] | None = None


@dataclass(frozen=True, slots=True)
class LineageRow:
    """One row of a history.

    Attributes
    ----------
    row : ObjectVersion
    path : str
        The name under which it was stored.
    detail : Detail or None
        None where it was not asked for, and of delete markers.
    label : Label or None
    """

    row: ObjectVersion
    path: str
    detail: Detail | None
    label: Label | None


async def list_key(store: ObjectStore, key: str, after: str | None, limit: int) -> tuple[list[ObjectVersion], bool]:
    """Rows of exactly one key, and whether they reach to its oldest.

    One request, and a further one only where longer keys cut the page short: SeaweedFS 4.48 then leaves out rows of
    the key itself, so its end is believed only of a page that holds nothing but longer keys.
    """
    found: list[ObjectVersion] = []
    size = limit
    while True:
        marker = found[-1].version_id if found else after
        page = await store.list_versions(
            key, key_marker=None if marker is None else key, version_id_marker=marker, limit=size
        )
        rows = [row for row in page.versions if row.key == key]
        found += rows
        if page.next_key_marker is None:
            return found, True
        if len(rows) == len(page.versions) and page.next_key_marker == key:
            return found, False
        if not rows and size == LARGEST_PAGE:
            return found, True
        if len(found) >= limit:
            return found, False
        size = LARGEST_PAGE


class Lineage:
    """Reads one page of a history.

    Parameters
    ----------
    store : ObjectStore
    details : Details
    prefix : str
    streams : list of Stream
        The path's own, and those of earlier names that former pages found.
    labels : LabelBook or None
        Whose labels are read beside the rows.
    is_detailed : bool
        Ask for the details of each row that is taken. Without, a rename is looked for only at the oldest row of each
        key.
    """

    def __init__(
        self,
        store: ObjectStore,
        details: Details,
        prefix: str,
        streams: list[Stream],
        *,
        labels: LabelBook | None = None,
        is_detailed: bool = True,
    ) -> None:
        self.streams = streams
        self._store = store
        self._details = details
        self._prefix = prefix
        self._labels = labels
        self._is_detailed = is_detailed
        self._known: dict[VersionName, Detail] = {}

    async def take(self, count: int) -> list[LineageRow]:
        """The next rows, at most ``count`` of them; fewer where the history ends, or the store gave a short page."""
        taken: list[tuple[Stream, ObjectVersion]] = []
        while len(taken) < count:
            stream = await self._newest_stream(count - len(taken))
            if stream is None:
                break
            row = stream.rows.popleft()
            stream.after = row.version_id
            taken.append((stream, row))
            if self._is_detailed and not row.is_delete_marker:
                detail = self._known[row.key, row.version_id]
                self._follow(detail)
                self._end_at_beginning(stream, detail)
        return [self._told(stream, row) for stream, row in taken]

    async def peek(self) -> LineageRow | None:
        """The row after those taken, which stays where it is; None at the end, or where it is not at hand.

        Its details are those that are known already.
        """
        stream = await self._newest_stream(1, plan=False)
        return self._told(stream, stream.rows[0]) if stream is not None else None

    async def detail(self, row: ObjectVersion) -> Detail:
        """The details of one row."""
        await self._learn([row])
        return self._known[row.key, row.version_id]

    @property
    def is_done(self) -> bool:
        """Whether the history has no further row."""
        return all(stream.is_done for stream in self.streams)

    def _told(self, stream: Stream, row: ObjectVersion) -> LineageRow:
        detail = self._known.get((row.key, row.version_id)) if self._is_detailed else None
        return LineageRow(row, stream.path, detail, (stream.labels or {}).get(row.version_id))

    async def _newest_stream(self, wanted: int, *, plan: bool = True) -> Stream | None:
        """The stream whose first row is the newest; None at the end, and where a stream must be listed again."""
        while any(not stream.rows and not stream.is_done for stream in self.streams):
            idle = [stream for stream in self.streams if not stream.rows and not stream.is_done]
            unlisted = [stream for stream in idle if not stream.is_listed]
            await together(self._list(stream, wanted) for stream in unlisted)
            for stream in idle:
                if not stream.rows and stream.is_complete:
                    await self._end(stream)
            if any(not stream.rows and not stream.is_complete for stream in idle):
                return None
        ready = [stream for stream in self.streams if stream.rows]
        if not ready:
            return None
        if self._is_detailed:
            await self._learn(self._planned(ready, wanted) if plan else [])
            if len(ready) > 1:
                await self._learn(stream.rows[0] for stream in ready)
        newest = ready[0]
        for stream in ready[1:]:
            if self._moment(newest.rows[0]).is_before(self._moment(stream.rows[0])):
                newest = stream
        return newest

    def _planned(self, ready: Sequence[Stream], wanted: int) -> list[ObjectVersion]:
        """The rows that will probably be taken next, unless the first of them is known: then they were planned."""
        if all((stream.rows[0].key, stream.rows[0].version_id) in self._known for stream in ready):
            return []
        merged = heapq.merge(*(stream.rows for stream in ready), key=lambda row: -row.last_modified.timestamp())
        return list(itertools.islice(merged, wanted))

    async def _list(self, stream: Stream, wanted: int) -> None:
        rows = self._list_rows(stream, wanted)
        if self._labels is None:
            await rows
            return
        path, labels = stream.path, self._labels

        async def read_labels() -> None:
            stream.labels = await labels.read(path)

        await together([rows, read_labels()])

    async def _list_rows(self, stream: Stream, wanted: int) -> None:
        """Ask for one row more than is wanted; of an earlier name go on while rows do not belong."""
        stream.is_listed = True
        if stream.bound is None:
            rows, stream.is_complete = await list_key(
                self._store, stream.key, stream.after, min(wanted + 1, LARGEST_PAGE)
            )
            stream.rows.extend(rows)
            return
        is_begun, after = stream.after is not None, stream.after
        # Where an earlier name begins is looked for on the same pages, however few rows are wanted.
        size = min(wanted + 1, LARGEST_PAGE) if is_begun else LARGEST_PAGE
        while True:
            listed, stream.is_complete = await list_key(self._store, stream.key, after, size)
            begin = 0 if is_begun or stream.rows else max(0, await self._begin(listed, stream.bound) - LATECOMERS)
            near = listed[begin:]
            await self._keep_belonging(stream, stream.bound, near, wanted)
            all_belong = begin == 0 and len(stream.rows) >= len(near)
            if stream.is_complete or not listed or len(stream.rows) > wanted or all_belong:
                return
            after, size = listed[-1].version_id, LARGEST_PAGE

    async def _keep_belonging(self, stream: Stream, bound: Bound, rows: list[ObjectVersion], wanted: int) -> None:
        """Keep those rows that were saved before the rename; when more than ``wanted`` are, forget the rest."""
        for start in range(0, len(rows), wanted + 1):
            if len(stream.rows) > wanted:
                stream.is_complete = False
                return
            some = rows[start : start + wanted + 1]
            await self._learn(row for row in some if not bound.surely_holds(row))
            stream.rows.extend(row for row in some if self._holds(bound, row))

    async def _begin(self, rows: list[ObjectVersion], bound: Bound) -> int:
        """The first row that was saved before the rename.

        Mostly it is the newest. Otherwise the name was given to another notebook since, perhaps saved a thousand
        times, and halving finds the place with few HEADs: one server's versions of a path arrive in their order.
        """
        low, high = 0, len(rows)
        middle = 0
        while low < high:
            row = rows[middle]
            if not bound.surely_holds(row):
                await self._learn([row])
            if self._holds(bound, row):
                high = middle
            else:
                low = middle + 1
            middle = (low + high) // 2
        return low

    def _holds(self, bound: Bound, row: ObjectVersion) -> bool:
        return bound.surely_holds(row) or bound.holds(row, self._provenance(row))

    async def _learn(self, rows: Iterable[ObjectVersion]) -> None:
        names = [(row.key, row.version_id) for row in rows if not row.is_delete_marker]
        self._known |= await self._details.fetch(name for name in names if name not in self._known)

    def _provenance(self, row: ObjectVersion) -> Provenance | None:
        detail = self._known.get((row.key, row.version_id))
        return detail.provenance if detail is not None else None

    def _moment(self, row: ObjectVersion) -> Moment:
        return Moment.of(row.last_modified.timestamp(), self._provenance(row))

    async def _end(self, stream: Stream) -> None:
        """Finish a stream of which every row was handed out."""
        stream.is_done = True
        if not self._is_detailed and stream.after is not None:
            name = (stream.key, stream.after)
            self._follow((await self._details.fetch([name]))[name])

    @staticmethod
    def _end_at_beginning(stream: Stream, detail: Detail) -> None:
        """End an earlier name's part where the notebook got that name: what is older there was another notebook's.

        Every notebook is called Untitled once.
        """
        is_beginning = detail.provenance is not None and detail.provenance.reason in BEGINNINGS
        if is_beginning and stream.bound is not None:
            stream.rows.clear()
            stream.is_done = True

    def _follow(self, detail: Detail) -> None:
        """Add the stream of the earlier name, where a version is what a rename wrote."""
        provenance, arrived = detail.provenance, detail.arrived
        if provenance is None or arrived is None or provenance.reason != "rename" or len(self.streams) >= MAX_NAMES:
            return
        key = provenance.previous_key
        if any(stream.key == key for stream in self.streams):
            return
        try:
            path = path_from_key(self._prefix, key)
            if object_key(self._prefix, path) != key:
                return
        except PathError:  # another prefix, or nothing that bookstore would have written
            return
        self.streams.append(Stream(path, key, Bound(Moment.of(arrived, provenance), provenance.previous_record)))
