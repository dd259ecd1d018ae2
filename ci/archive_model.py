"""What bucket, outboxes and histories must hold, given what was acknowledged: the model of `ci.state_machine`."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from bookstore.labels import PIN_TAG, PINNED
from bookstore.lineage import BEGINNINGS
from bookstore.outbox import QUARANTINE, REFUSED
from bookstore.outbox_entry import decode
from bookstore.provenance import Provenance
from bookstore.results import Version
from ci.simulation import BEGINNING, Row, World

#: Of what reason a version always stands for itself, whatever its bytes.
NEVER_SKIPPED: Final = ("new", "rename", "restore")


@dataclass(frozen=True)
class Form:
    """What servers there are in a story.

    Attributes
    ----------
    name : str
    servers : tuple of str
        All of them serve one root directory, into one bucket.
    has_one_outbox : bool
        Whether they have one outbox directory, so that the living adopt what the dead left.
    skip_unchanged : bool
    kernel : bool
        As for `World`.
    """

    name: str
    servers: tuple[str, ...] = ("A",)
    has_one_outbox: bool = True
    skip_unchanged: bool = True
    kernel: bool = True


@dataclass
class Act:
    """A save that was acknowledged, and must become a version.

    Attributes
    ----------
    index : int
        Its place in the order of all.
    server, path, key, reason, previous_key : str
    content : bytes
    record, instance : str
    sequence : int
        As its provenance tells.
    is_skipped : bool
        Whether it needed no version, since the newest had its bytes.
    """

    index: int
    server: str
    path: str
    key: str
    reason: str
    previous_key: str
    content: bytes
    record: str
    instance: str
    sequence: int
    is_skipped: bool = False


@dataclass(frozen=True)
class Expected:
    """A save that has just been made.

    Attributes
    ----------
    server, path, content, reason, previous_key, from_version
        What its record must say.
    may_lack : bool
        Whether nothing need be known of it: it was never acknowledged.
    """

    server: str
    path: str
    content: bytes
    reason: str = "save"
    previous_key: str = ""
    from_version: str = ""
    may_lack: bool = False

    def fits(self, path: str, content: bytes, told: Provenance) -> bool:
        """Whether a record is this save."""
        mine = (self.path, self.content, self.reason, self.previous_key, self.from_version)
        return mine == (path, content, told.reason, told.previous_key, told.from_version)


@dataclass(frozen=True)
class Waiting:
    """An entry that lies in an outbox."""

    path: str
    content: bytes
    provenance: Provenance
    file: Path

    @property
    def taken(self) -> float:
        """When it was saved, by the loop's clock."""
        return self.provenance.saved_at - BEGINNING


@dataclass(frozen=True)
class Sight:
    """What is there at a moment: each key's versions, the oldest first, and the entries of all outboxes."""

    rows: dict[str, list[Row]]
    entries: list[Waiting]


def key_of(path: str) -> str:
    """Where a path is archived."""
    return f"workspace/{path}"


class Model:
    """What must hold of the bucket and the outboxes, given what was acknowledged."""

    def __init__(self, world: World, form: Form, outboxes: Sequence[Path]) -> None:
        self.acts: list[Act] = []
        self.by_record: dict[str, Act] = {}
        self.foreign: set[str] = set()
        #: What may be said of a version by now: (name, whether it is pinned).
        self.labels: dict[tuple[str, str], set[tuple[str, bool]]] = {}
        self._world = world
        self._form = form
        self._outboxes = outboxes
        self._seen: dict[str, list[Row]] = {}
        self._decode = cache(decode)

    def look(self) -> Sight:
        """See what is there."""
        keys = [key for key in self._world.bucket.all_keys() if not key.startswith(key_of(".bookstore/"))]
        return Sight({key: self._world.bucket.rows(key) for key in keys}, list(self._entries()))

    def _entries(self) -> Iterator[Waiting]:
        for directory in self._outboxes:
            for file in sorted(directory.rglob("*.entry")):
                require(file.parent.name not in (QUARANTINE, REFUSED), f"{file} was set aside")
                entry, content = self._decode(file.read_bytes())
                require(entry.key == key_of(entry.path), f"{file} goes to {entry.key}")
                yield Waiting(entry.path, bytes(content), entry.provenance, file)

    # -- what was done ---------------------------------------------------------------------------------------------

    def acknowledge(self, expected: Sequence[Expected]) -> None:
        """Take in saves that were acknowledged just now: each must be in an outbox, or in the bucket."""
        sight = self.look()
        news = [(one.path, one.content, one.provenance) for one in sight.entries]
        for key, rows in sight.rows.items():
            news += [
                (key[len(key_of("")) :], row.content or b"", row.provenance)
                for row in rows
                if row.provenance is not None and row.version_id not in self.foreign
            ]
        news = [one for one in news if one[2].record_id not in self.by_record]
        news = list({one[2].record_id: one for one in news}.values())
        news.sort(key=lambda one: (one[2].instance, one[2].sequence))
        for wanted in expected:
            found = next((one for one in news if wanted.fits(*one)), None)
            require(
                found is not None or wanted.may_lack,
                f"lost: {wanted} was acknowledged and is neither in an outbox nor in the bucket",
            )
            if found is not None:
                news.remove(found)
                self._bind(wanted, found[2])
        require(not news, f"strange: these are nobody's saves: {news}")

    def _bind(self, wanted: Expected, told: Provenance) -> None:
        before = [act.sequence for act in self.acts if (act.instance, act.path) == (told.instance, wanted.path)]
        require(
            all(sequence < told.sequence for sequence in before),
            f"out of order: {wanted} has number {told.sequence} after {before}",
        )
        act = Act(
            index=len(self.acts),
            server=wanted.server,
            path=wanted.path,
            key=key_of(wanted.path),
            reason=wanted.reason,
            previous_key=wanted.previous_key,
            content=wanted.content,
            record=told.record_id,
            instance=told.instance,
            sequence=told.sequence,
        )
        self.acts.append(act)
        self.by_record[act.record] = act

    def act_of(self, row: Row) -> Act | None:
        """The save that a version is; None for somebody else's."""
        if row.provenance is None or row.version_id in self.foreign:
            return None
        return self.by_record.get(row.provenance.record_id)

    def is_double(self, row: Row) -> bool:
        """Whether it is a save that was stored a second time, as `Weather.doubles` tells."""
        return row.version_id in self._world.weather.doubles

    # -- what must hold always -------------------------------------------------------------------------------------

    def check(self, sight: Sight) -> None:
        """See that nothing is lost, double, strange, altered, out of order or gone."""
        for key, rows in sight.rows.items():
            self._check_kept(key, rows)
            self._check_rows(key, rows)
            self._check_order(key, rows)
        self._check_entries(sight)
        self._check_lost(sight)
        self._seen = sight.rows

    def _check_kept(self, key: str, rows: list[Row]) -> None:
        before = self._seen.get(key, [])
        kept = [(row.version_id, row.content, row.provenance) for row in rows[: len(before)]]
        require(
            kept == [(row.version_id, row.content, row.provenance) for row in before],
            f"gone: of {names(before)} under {key} there are {names(rows)}",
        )

    def _check_rows(self, key: str, rows: list[Row]) -> None:
        for row in rows:
            if row.version_id in self.foreign:
                continue
            act = self.act_of(row)
            require(act is not None, f"strange: version {row.version_id} of {key} is nobody's save: {row}")
            assert act is not None  # noqa: S101 - for the type checker
            require(act.key == key, f"strange: {act} is under {key}")
            require(act.content == row.content, f"altered: {act} has {row.content!r} in the bucket")
        records = Counter(act.record for row in rows if (act := self.act_of(row)) and not self.is_double(row))
        twice = [self.by_record[record] for record, count in records.items() if count > 1]
        require(not twice, f"double: {twice} stand in {key} more than once")

    def _check_order(self, key: str, rows: list[Row]) -> None:
        chains: dict[str, list[int]] = {}
        for row in rows:
            if (act := self.act_of(row)) is not None and not self.is_double(row):
                chains.setdefault(self._chain(act), []).append(act.index)
        for chain, order in chains.items():
            require(order == sorted(order), f"out of order: what {chain} saved under {key} arrived as {order}")

    def _chain(self, act: Act) -> str:
        # Where others may adopt what a server left, its next life may overtake it.
        is_alone = len(self._form.servers) == 1 or not self._form.has_one_outbox
        return act.server if is_alone else act.instance

    def _check_entries(self, sight: Sight) -> None:
        records = [one.provenance.record_id for one in sight.entries]
        require(len(records) == len(set(records)), f"double: entries are there more than once: {records}")
        for one in sight.entries:
            act = self.by_record.get(one.provenance.record_id)
            require(act is not None, f"strange: {one} is nobody's save")
            require(
                act is not None and (act.path, act.content) == (one.path, one.content), f"altered: {act} waits as {one}"
            )

    def _check_lost(self, sight: Sight) -> None:
        waiting = {one.provenance.record_id for one in sight.entries}
        stored = {row.provenance.record_id for rows in sight.rows.values() for row in rows if row.provenance}
        for act in self.acts:
            is_there = act.record in waiting or act.record in stored
            require(not (act.is_skipped and is_there), f"strange: {act} was done with, and came back")
            if not is_there and not act.is_skipped:
                require(self._may_be_skipped(act, sight), f"lost: {act}")
                act.is_skipped = True

    def _may_be_skipped(self, act: Act, sight: Sight) -> bool:
        """Whether a save that is gone since the last look needed no version.

        Its bytes were those of one of this root directory's versions, which was the newest meanwhile, and its place in
        the order is there.
        """
        if not self._form.skip_unchanged or act.reason in NEVER_SKIPPED:
            return False
        rows = sight.rows.get(act.key, [])
        first, last = max(0, len(self._seen.get(act.key, [])) - 1), len(rows)
        for place, row in enumerate(rows):
            other = self.act_of(row)
            if other is not None and other.instance == act.instance and not self.is_double(row):
                if other.index < act.index:
                    first = max(first, place)
                else:
                    last = min(last, place)
        newest = [row for row in rows[first:last] if self.act_of(row) is not None and not self.is_double(row)]
        return any(row.content == act.content for row in newest)

    # -- what must hold of a history -------------------------------------------------------------------------------

    def history(self, path: str) -> tuple[set[str], set[str]]:
        """What the history of a path must show, and what it may show: version ids.

        No save is shown twice. The history shows what is under the path's key, and, behind a rename, what the notebook
        was under its earlier name: from where it got that name to the last save before the rename. What another run of
        the server saved and what others wrote there may be shown in doubt.
        """
        own = [row for row in self._seen.get(key_of(path), []) if not self.is_double(row)]
        return self._shown(own, self._span), self._shown(own, self._doubted_span)

    def _shown(self, own: list[Row], span: Callable[[list[Row], Act], list[Row]]) -> set[str]:
        """The rows of a path, and those that are behind each rename among what is shown."""
        found, followed = list(own), set()
        for row in found:
            act = self.act_of(row)
            if act is not None and act.reason == "rename" and act.record not in followed:
                followed.add(act.record)
                found += span(self._seen.get(act.previous_key, []), act)
        return {row.version_id for row in found}

    def rows(self, ids: set[str]) -> list[Row]:
        """The versions with some ids, at the last look."""
        return [row for _, rows in sorted(self._seen.items()) for row in rows if row.version_id in ids]

    def _span(self, rows: list[Row], rename: Act) -> list[Row]:
        """What a notebook was under the name that a rename took from it."""
        own = [(act, row) for row in rows if (act := self.act_of(row)) and not self.is_double(row)]
        earlier = [(act, row) for act, row in own if act.index < rename.index]
        if len(self._form.servers) == 1:
            begin = max((act.index for act, _ in earlier if act.reason in BEGINNINGS), default=-1)
            return [row for act, row in earlier if act.index >= begin]
        # Between servers the order is that of arrival: what another one saved before and sent later is not told from
        # what it saved later, nor is what lies behind something that began there.
        arrived = self._arrived(rename)
        begins = [
            rows.index(row)
            for act, row in own
            if act.reason in BEGINNINGS and (act.index < rename.index or row.arrived <= arrived)
        ]
        begin = max(begins, default=0)
        return [
            row
            for act, row in earlier
            if rows.index(row) >= begin and (act.instance == rename.instance or row.arrived < arrived)
        ]

    def _arrived(self, act: Act) -> float:
        return max(row.arrived for row in self._seen[act.key] if self.act_of(row) is act)

    def _doubted_span(self, rows: list[Row], rename: Act) -> list[Row]:
        """The same with what may be shown in doubt."""
        return self._span(rows, rename) + [
            row for row in rows if not self.is_double(row) and self._is_doubted(row, rename)
        ]

    def _is_doubted(self, row: Row, rename: Act) -> bool:
        act = self.act_of(row)
        if act is None or len(self._form.servers) > 1:
            return True
        return act.instance != rename.instance and row.arrived <= self._arrived(rename)

    def check_history(self, path: str, shown: Sequence[Version]) -> None:
        """Compare a path's whole history with what it must be."""
        ids = [version.version_id for version in shown]
        require(len(ids) == len(set(ids)), f"the history of {path} shows a version twice: {ids}")
        must, may = self.history(path)
        lacking, strange = must - set(ids), set(ids) - may
        require(not lacking, f"the history of {path} lacks {sorted(lacking)}: it shows {ids}")
        require(not strange, f"the history of {path} shows {sorted(strange)}, which are another notebook's: {ids}")
        for key in {version.key for version in shown}:
            order = [row.version_id for row in self._seen[key] if row.version_id in ids][::-1]
            told = [version.version_id for version in shown if version.key == key]
            require(told == order, f"the history of {path} shows {told}, and they came as {order}")
        rows = {row.version_id: row for rows in self._seen.values() for row in rows}
        for version in shown:
            self._check_version(version, rows[version.version_id])
        if len(self._form.servers) == 1 and must == set(ids):
            self._check_line(path, [rows[one] for one in ids])

    def _check_version(self, version: Version, row: Row) -> None:
        act = self.act_of(row)
        if act is not None:
            told = (version.path, version.record_id, version.reason, version.previous_key, version.size)
            true = (act.path, act.record, act.reason, act.previous_key, len(act.content))
            require(told == true, f"the history tells {told} of {act}")
        label = version.label
        said = (label.name, label.pinned) if label is not None else ("", False)
        allowed = self.labels.get((version.key, version.version_id), {("", False)})
        require(said in allowed, f"version {version.version_id} of {version.key} is called {said}, not {allowed}")

    def _check_line(self, path: str, rows: Sequence[Row]) -> None:
        order = [act.index for row in rows if (act := self.act_of(row)) and not self.is_double(row)]
        require(order == sorted(order, reverse=True), f"the history of {path} is out of order: {order}")

    def check_pins(self) -> None:
        """See that each version's tag says what its label does."""
        for rows in self._seen.values():
            for row in rows:
                pins = {pinned for _, pinned in self.labels.get((row.key, row.version_id), {("", False)})}
                is_pinned = row.tags.get(PIN_TAG) == PINNED
                require(is_pinned in pins or len(pins) > 1, f"the tags of {row.version_id}: {row.tags}, not {pins}")

    def is_archived(self, path: str, content: bytes, sight: Sight) -> bool:
        """Whether some version or entry of a path has these bytes."""
        waiting = (one.content for one in sight.entries if one.path == path)
        return content in itertools.chain(waiting, (row.content for row in sight.rows.get(key_of(path), [])))


def require(holds: bool, message: str) -> None:
    """Fail where something does not hold.

    Raises
    ------
    AssertionError
    """
    if not holds:
        raise AssertionError(message)


def names(rows: Iterable[Row]) -> list[str]:
    """The version ids of some rows."""
    return [row.version_id for row in rows]
