"""The rows of a path's history, newest first, across the names that it had.

A history is the rows of the path's own key and, where a row is the version that a rename wrote, those rows of the
earlier key that were saved before the rename, back to where the notebook got that name. A name may take part several
times: a notebook that was renamed there and back has several spans of one key. Each key is read as one stream, from its
newest row to its oldest, and shows a row that is in any span; streams are merged by when their rows were saved. Echoes
(`bookstore.echoes`) are left out before anything else is concluded from a row.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bookstore.echoes import REACH, KeyRows
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

#: Names of one notebook that its history follows back, and spans of them under way; a longer chain ends there.
MAX_NAMES: Final = 100

#: Reasons of versions with which a file comes to be under its name.
BEGINNINGS: Final = frozenset(("new", "copy", "clone", "rename"))

#: A version that arrived so many seconds before a rename was saved before it, whatever the clocks say within that.
CLOCK_TOLERANCE: Final = 3600.0

#: Rows above the place where those of the earlier name begin that are looked at one by one: where two servers wrote
#: a key, what one of them saved before the rename may have arrived late.
LATECOMERS: Final = 16

#: Rows of a page that is shown without a HEAD for each, which are looked at because they may be echoes.
MAX_SUSPECTS: Final = 50


@dataclass(frozen=True, slots=True)
class Moment:
    """When and where a version was saved, as far as it is known.

    Attributes
    ----------
    arrived : float
        When the store took it, in seconds since the epoch.
    saved_at : float or None
        By the clock of the server that took the save; None where that is not known.
    origin : str
        Host and root directory of that server.
    instance, generation, sequence : str, int, int
        As in `Provenance`: within one instance the order of saves, whatever its clock did.
    """

    arrived: float
    saved_at: float | None = None
    origin: str = ""
    instance: str = ""
    generation: int = 0
    sequence: int = 0

    @classmethod
    def of(cls, row: ObjectVersion, provenance: Provenance | None) -> Moment:
        """The moment of a row that carries this provenance."""
        arrived = row.last_modified.timestamp()
        if provenance is None:
            return cls(arrived)
        return cls(
            arrived,
            provenance.saved_at,
            provenance.origin,
            provenance.instance,
            provenance.generation,
            provenance.sequence,
        )

    def has_instance_of(self, other: Moment) -> bool:
        """Whether one run of one server saved both."""
        return bool(self.instance) and self.instance == other.instance

    def has_origin_of(self, other: Moment) -> bool:
        """Whether both were saved in the same root directory of the same host, be it in different runs."""
        return self.has_instance_of(other) or (self.origin == other.origin and self.origin.strip(":") != "")

    def is_before(self, other: Moment) -> bool:
        """Whether this was saved earlier than the other.

        Runs of one origin follow each other, and so do their versions in the store, but for what a crashed run left,
        which its successor ships while it works: of that the lower generation tells. A generation alone proves nothing,
        since an outbox that was emptied begins again at 1; nor does a clock, which may have been put right in between.
        """
        if self.saved_at is None or other.saved_at is None:
            return self.arrived < other.arrived
        if self.has_instance_of(other):
            return self.sequence < other.sequence
        by_clock = self.saved_at < other.saved_at
        if not self.has_origin_of(other):
            return by_clock
        by_generation = self.generation < other.generation
        if self.generation != other.generation and by_generation == by_clock:
            return by_generation
        return self.arrived < other.arrived


@dataclass(frozen=True, slots=True)
class Bound:
    """The rename that ended a name's span in the history: what was saved later under that name is another notebook's.

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
        if provenance is not None and self._is_last(provenance):
            return True
        moment = Moment.of(row, provenance)
        is_other_run = moment.has_origin_of(self.moment) and not moment.has_instance_of(self.moment)
        if is_other_run and moment.arrived <= self.moment.arrived:
            return True  # in doubt rather shown: what clock and generation say may be wrong
        return not self.moment.is_before(moment)

    def _is_last(self, provenance: Provenance) -> bool:
        return self.previous_record != "" and provenance.record_id == self.previous_record

    def begins_at(self, row: ObjectVersion, provenance: Provenance) -> bool:
        """Whether a row is where the notebook got the name that the rename took from it.

        Only the server that renamed knows which file it renamed: what another one began under the same key, be it
        newer or older, ends nothing. A file that was saved anew after it had been deleted goes on.
        """
        if provenance.reason not in BEGINNINGS or (provenance.reason == "new" and provenance.previous_record):
            return False
        moment = Moment.of(row, provenance)
        # Not where it is only shown because nothing is certain: what belongs would be hidden below it.
        is_earlier = self._is_last(provenance) or not self.moment.is_before(moment)
        return is_earlier and moment.has_origin_of(self.moment)


@dataclass(slots=True)
class Stream:
    """One key's part in a history, and how far it is read.

    Attributes
    ----------
    path, key : str
    bounds : list of Bound or None
        Of the spans that are under way: a row is shown that one of them holds. None for the path whose history it is,
        of which every row is shown.
    after : str or None
        The version that was handed out last.
    is_done : bool
        True while there is nothing more to hand out; a further span changes that.
    is_placed : bool
        Whether a row of these spans was handed out, so that what follows belongs, too.
    is_unseen : bool
        Whether the rows down to ``after`` were handed out without a look for renames among them.
    rows : deque of ObjectVersion
        Listed and not yet handed out.
    is_listed : bool
        Whether the store was asked for this page.
    is_complete : bool
        Whether ``rows`` reach to the key's oldest version.
    labels : dict or None
        By version id, once they are read.
    listed : KeyRows
        All rows of the key that were listed for this page, be they of a span or not.
    """

    path: str
    key: str
    bounds: list[Bound] | None = None
    after: str | None = None
    is_done: bool = False
    is_placed: bool = False
    is_unseen: bool = False
    rows: deque[ObjectVersion] = field(default_factory=deque)
    is_listed: bool = False
    is_complete: bool = False
    labels: dict[str, Label] | None = None
    listed: KeyRows = field(default_factory=KeyRows, compare=False)

    def change_bounds(self, bounds: list[Bound]) -> None:
        """Go on below the row that was handed out last with these spans; without any, be done."""
        self.bounds = bounds
        self.is_done = not bounds
        self.rows.clear()
        self.is_placed = self.is_listed = self.is_complete = False


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


async def list_key(
    store: ObjectStore, key: str, after: str | None, limit: int, *, least: int | None = None
) -> tuple[list[ObjectVersion], bool]:
    """Rows of exactly one key, and whether they reach to its oldest.

    One request, and a further one only where longer keys cut the page short and it has fewer rows than ``least``
    (``limit``, if left out): SeaweedFS 4.48 then leaves out rows of the key itself, so its end is believed only of a
    page that holds nothing but longer keys.
    """
    least = limit if least is None else min(least, limit)
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
        if len(found) >= least:
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
        Whether rows are told with their details.

    Attributes
    ----------
    echoes : list of ObjectVersion
        The rows that were left out so far, because they are echoes.
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
        self.echoes: list[ObjectVersion] = []
        self._store = store
        self._details = details
        self._prefix = prefix
        self._labels = labels
        self._is_detailed = is_detailed
        self._known: dict[VersionName, Detail] = {}

    async def take(self, count: int) -> list[LineageRow]:
        """The next rows, at most ``count`` of them; fewer where the history ends, or the store gave a short page."""
        if self.streams[0].is_unseen:
            await self._catch_up(self.streams[0])
        taken: list[tuple[Stream, ObjectVersion]] = []
        while len(taken) < count:
            stream = await self._newest_stream(count - len(taken))
            if stream is None:
                break
            row = stream.rows.popleft()
            stream.after, stream.is_placed = row.version_id, True
            taken.append((stream, row))
            if not row.is_delete_marker:
                self._end_at_beginning(stream, row)
                self.follow(row, self._known[row.key, row.version_id])
        return [self._told(stream, row) for stream, row in taken]

    async def take_unseen(self, count: int) -> list[LineageRow] | None:
        """The first rows of a path's own key with one listing, and no look for renames until the next are taken.

        None where the key has no more rows than that: then nothing is taken. Echoes are found among the newest of the
        rows that have the bytes of an older one.
        """
        own = self.streams[0]
        await self._list(own, count)
        if own.is_complete and len(own.rows) <= count:
            return None
        rows = [own.rows.popleft() for _ in range(min(count, len(own.rows)))]
        own.after, own.is_placed, own.is_unseen = rows[-1].version_id, True, True
        suspects = [row for row in rows if own.listed.twins(row)][:MAX_SUSPECTS]
        await self._learn(one for row in suspects for one in (row, *itertools.islice(own.listed.older(row), 1)))
        echoes = {row.version_id for row in suspects if await self._is_echo(own.listed, row)}
        self.echoes += [row for row in rows if row.version_id in echoes]
        return [self._told(own, row) for row in rows if row.version_id not in echoes]

    async def peek(self) -> LineageRow | None:
        """The row after those taken, which stays where it is; None at the end, or where it is not at hand.

        Its details are those that are known already. Echoes above it are left out for good.
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
        while True:
            if not await self._list_idle(wanted):
                return None
            ready = [stream for stream in self.streams if stream.rows]
            if not ready:
                return None
            await self._learn(self._planned(ready, wanted) if plan else [])
            if len(ready) > 1:
                await self._learn(stream.rows[0] for stream in ready)
            # An echo says that it was saved long before the rows below it, so it must not be compared with others.
            if not [stream for stream in ready if await self._drop_echoes(stream)]:
                break
        newest = ready[0]
        for stream in ready[1:]:
            if self._moment(newest.rows[0]).is_before(self._moment(stream.rows[0])):
                newest = stream
        return newest

    async def _list_idle(self, wanted: int) -> bool:
        """List the streams that have no rows at hand; False where one of them must be listed again."""
        while any(not stream.rows and not stream.is_done for stream in self.streams):
            idle = [stream for stream in self.streams if not stream.rows and not stream.is_done]
            unlisted = [stream for stream in idle if not stream.is_listed]
            await together(self._list(stream, wanted) for stream in unlisted)
            for stream in idle:
                stream.is_done = not stream.rows and stream.is_complete
            if any(not stream.rows and not stream.is_complete for stream in idle):
                return False
        return True

    async def _drop_echoes(self, stream: Stream) -> bool:
        """Leave out the echoes with which the rows at hand begin; whether there was one."""
        count = len(self.echoes)
        while stream.rows and await self._is_echo(stream.listed, stream.rows[0]):
            echo = stream.rows.popleft()
            stream.after = echo.version_id
            self.echoes.append(echo)
        is_any = len(self.echoes) > count
        if is_any and len(stream.rows) <= 1 and not stream.is_complete:
            # What is below the last row must be known, too; and the page shall not be shorter for what is left out.
            stream.rows.clear()
            stream.is_listed = False
        return is_any

    async def _is_echo(self, listed: KeyRows, row: ObjectVersion) -> bool:
        """Whether an older one of the listed rows is the same save, and was stored by another attempt.

        Asks for nothing where no older row has the same bytes. Where one has the attempt of this row, too, this row is
        a copy that somebody made on purpose, and that is never left out.
        """
        twins = listed.twins(row)
        if not twins:
            return False
        await self._learn([row])
        mine = self._provenance(row)
        if mine is None:
            return False
        if not self._copies(mine, twins):
            await self._learn_copies(listed, row, mine, twins)
        copies = self._copies(mine, twins)
        if not copies or self._has_attempt(mine, copies):
            return False
        # It may be the copy of an echo, or of what has one: then the row with its attempt lies near that one.
        alike = listed.alike(row)
        await self._learn_copies(listed, row, mine, alike)
        await self._learn_copies(listed, copies[-1], mine, alike)
        return not self._has_attempt(mine, self._copies(mine, alike))

    async def _learn_copies(
        self, listed: KeyRows, row: ObjectVersion, mine: Provenance, wanted: list[ObjectVersion]
    ) -> None:
        """Look at those of the wanted rows that lie near below a row and may hold the same save.

        One server's saves of a path are in order, so none of these lies below a save that this server made before it,
        and that is no echo itself; mostly the next row is one.
        """
        if not any(self._is_unknown(one) for one in wanted):
            return
        near = list(itertools.islice(listed.older(row), REACH))
        await self._learn(near[:1])
        possible = itertools.takewhile(lambda one: listed.twins(one) or not self._is_earlier(one, mine), near)
        names = {one.version_id for one in possible}
        await self._learn(one for one in wanted if one.version_id in names)

    def _copies(self, mine: Provenance, rows: Iterable[ObjectVersion]) -> list[ObjectVersion]:
        """Those of the rows that are known to hold the same save."""
        found = ((row, self._provenance(row)) for row in rows)
        return [row for row, theirs in found if theirs is not None and theirs.record_id == mine.record_id]

    def _has_attempt(self, mine: Provenance, copies: Iterable[ObjectVersion]) -> bool:
        found = (self._provenance(row) for row in copies)
        return any(theirs is not None and theirs.attempt == mine.attempt for theirs in found)

    def _is_unknown(self, row: ObjectVersion) -> bool:
        return (row.key, row.version_id) not in self._known

    def _is_earlier(self, row: ObjectVersion, mine: Provenance) -> bool:
        theirs = self._provenance(row)
        return (
            theirs is not None
            and bool(mine.instance)
            and theirs.instance == mine.instance
            and theirs.sequence < mine.sequence
        )

    def _planned(self, ready: Sequence[Stream], wanted: int) -> list[ObjectVersion]:
        """The rows that will probably be taken next, unless the first of them is known: then they were planned."""
        if all((stream.rows[0].key, stream.rows[0].version_id) in self._known for stream in ready):
            return []
        merged = heapq.merge(*(stream.rows for stream in ready), key=lambda row: -row.last_modified.timestamp())
        return list(itertools.islice(merged, wanted))

    async def _list(self, stream: Stream, wanted: int) -> None:
        rows = self._list_rows(stream, wanted)
        if self._labels is None or stream.labels is not None:
            await rows
            return
        path, labels = stream.path, self._labels

        reading = asyncio.ensure_future(labels.read(path))
        try:
            # Where both fail, as by wrong credentials, it is the listing's error that is told.
            await rows
            stream.labels = await reading
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _list_rows(self, stream: Stream, wanted: int) -> None:
        """Ask for a few rows more than are wanted; of an earlier name go on while rows do not belong.

        One is to be looked at ahead, the others tell what is an echo.
        """
        stream.is_listed = True
        if stream.bounds is None:
            rows, stream.is_complete = await list_key(
                self._store, stream.key, stream.after, min(wanted + 1 + 2 * REACH, LARGEST_PAGE), least=wanted + 1
            )
            stream.listed.extend(rows)
            stream.rows.extend(rows)
            return
        after = stream.after
        # Where an earlier name's span begins is looked for on the same pages, however few rows are wanted.
        size = min(wanted + 1 + 2 * REACH, LARGEST_PAGE) if stream.is_placed else LARGEST_PAGE
        while True:
            listed, stream.is_complete = await list_key(self._store, stream.key, after, size, least=wanted + 1)
            stream.listed.extend(listed)
            is_placed = stream.is_placed or bool(stream.rows)
            begin = 0 if is_placed else max(0, await self._begin(listed, stream.bounds) - LATECOMERS)
            near = listed[begin:]
            await self._keep_belonging(stream, stream.bounds, near, wanted)
            all_belong = begin == 0 and len(stream.rows) >= len(near)
            if stream.is_complete or not listed or len(stream.rows) > wanted or all_belong:
                return
            after, size = listed[-1].version_id, LARGEST_PAGE

    async def _keep_belonging(
        self, stream: Stream, bounds: list[Bound], rows: list[ObjectVersion], wanted: int
    ) -> None:
        """Keep those rows that were saved before the rename; when more than ``wanted`` are, forget the rest."""
        for start in range(0, len(rows), wanted + 1):
            if len(stream.rows) > wanted:
                stream.is_complete = False
                return
            some = rows[start : start + wanted + 1]
            await self._learn(row for row in some if not _surely_hold(bounds, row))
            stream.rows.extend(row for row in some if self._hold(bounds, row))

    async def _begin(self, rows: list[ObjectVersion], bounds: list[Bound]) -> int:
        """The first row that was saved before the rename.

        Mostly it is the newest. Otherwise the name was given to another notebook since, perhaps saved a thousand
        times, and halving finds the place with few HEADs: one server's versions of a path arrive in their order.
        """
        low, high = 0, len(rows)
        middle = 0
        while low < high:
            row = rows[middle]
            if not _surely_hold(bounds, row):
                await self._learn([row])
            if self._hold(bounds, row):
                high = middle
            else:
                low = middle + 1
            middle = (low + high) // 2
        return low

    def _hold(self, bounds: list[Bound], row: ObjectVersion) -> bool:
        return _surely_hold(bounds, row) or any(bound.holds(row, self._provenance(row)) for bound in bounds)

    async def _learn(self, rows: Iterable[ObjectVersion]) -> None:
        names = [(row.key, row.version_id) for row in rows if not row.is_delete_marker]
        self._known |= await self._details.fetch(name for name in names if name not in self._known)

    def _provenance(self, row: ObjectVersion) -> Provenance | None:
        detail = self._known.get((row.key, row.version_id))
        return detail.provenance if detail is not None else None

    def _moment(self, row: ObjectVersion) -> Moment:
        return Moment.of(row, self._provenance(row))

    async def _catch_up(self, own: Stream) -> None:
        """Look for renames among the rows that were handed out without that."""
        after: str | None = None
        listed = KeyRows()
        while own.is_unseen:
            rows, is_complete = await list_key(self._store, own.key, after, LARGEST_PAGE)
            listed.extend(rows)
            places = [place for place, row in enumerate(rows) if row.version_id == own.after]
            unseen = rows[: places[0] + 1] if places else rows
            await self._learn(unseen)
            for row in unseen:
                if not row.is_delete_marker and not await self._is_echo(listed, row):
                    self.follow(row, self._known[row.key, row.version_id])
            after = rows[-1].version_id if rows else None
            own.is_unseen = not places and not is_complete

    def _end_at_beginning(self, stream: Stream, row: ObjectVersion) -> None:
        """End the spans that go no further back: what is older there was another notebook's, or is in another span.

        Every notebook is called Untitled once.
        """
        provenance = self._provenance(row)
        if provenance is None or not stream.bounds:
            return
        open_still = [bound for bound in stream.bounds if not bound.begins_at(row, provenance)]
        if len(open_still) < len(stream.bounds):
            stream.change_bounds(open_still)

    def follow(self, row: ObjectVersion, detail: Detail) -> None:
        """Add the span of the earlier name, where a row is what a rename wrote."""
        earlier = earlier_name(self._prefix, detail)
        if earlier is None or detail.provenance is None:
            return
        path, key = earlier
        bound = Bound(Moment.of(row, detail.provenance), detail.provenance.previous_record)
        stream = next((stream for stream in self.streams if stream.key == key), None)
        if stream is None:
            if len(self.streams) < MAX_NAMES and self._open_spans() < MAX_NAMES:
                self.streams.append(Stream(path, key, [bound]))
        elif stream.bounds is not None and self._open_spans() < MAX_NAMES:
            stream.change_bounds([*stream.bounds, bound])

    def _open_spans(self) -> int:
        return sum(len(stream.bounds or ()) for stream in self.streams)


def earlier_name(prefix: str, detail: Detail) -> tuple[str, str] | None:
    """The path and the key that a notebook had before the version with these details; None if that is no rename."""
    provenance = detail.provenance
    if provenance is None or provenance.reason != "rename":
        return None
    key = provenance.previous_key
    try:
        path = path_from_key(prefix, key)
        return (path, key) if object_key(prefix, path) == key else None
    except PathError:  # another prefix, or nothing that bookstore would have written
        return None


def _surely_hold(bounds: list[Bound], row: ObjectVersion) -> bool:
    return any(bound.surely_holds(row) for bound in bounds)
