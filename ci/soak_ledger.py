"""What a soak has done to each key, as hashes, and how the bucket compares with it."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ci.killer import Findings


@dataclass(eq=False)
class Event:
    """Something that makes a version of a key, as its client saw it.

    Attributes
    ----------
    sha256 : str
        Of the bytes.
    size : int
    what : str
        ``save``, ``rename``, ``copy``, ``restore``, ``publish`` or ``archive``.
    sent, acknowledged : int
        Moments in the order of all; 0 for what was never answered with success: it may be in the bucket, or not.
    """

    sha256: str
    size: int
    what: str
    sent: int
    acknowledged: int = 0

    @property
    def may_be_skipped(self) -> bool:
        """Whether bytes that are the newest version's already need no second copy (guarantee 2)."""
        return self.what not in ("rename", "restore", "new", "publish")


class Stored(NamedTuple):
    """A version as it lies in the bucket.

    Attributes
    ----------
    sha256 : str
        Of the bytes that were read.
    record : str
        The record id that its metadata tell.
    """

    sha256: str
    record: str = ""


@dataclass
class Ledger:
    """Everything that clients did, by key; only hashes are kept, so it may run for hours.

    Attributes
    ----------
    refused : list of str
        What should have been answered with success, and was not.
    counts : Counter of str
        How often each kind of work was done.
    """

    refused: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    _events: dict[str, list[Event]] = field(default_factory=dict)
    _moments: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, key: str, sha256: str, size: int, what: str = "save") -> Event:
        """Note what is about to be sent."""
        with self._lock:
            event = Event(sha256, size, what, next(self._moments))
            self._events.setdefault(key, []).append(event)
            return event

    def answer(self, *events: Event) -> None:
        """Note that these were acknowledged."""
        with self._lock:
            for event in events:
                event.acknowledged = next(self._moments)
                self.counts[event.what] += 1

    def count(self, what: str) -> None:
        """Count work that makes no version."""
        with self._lock:
            self.counts[what] += 1

    def refuse(self, text: str) -> None:
        """Note what went wrong for a client."""
        with self._lock:
            self.refused.append(text)

    def events(self) -> dict[str, list[Event]]:
        """By key, in the order in which they were sent."""
        with self._lock:
            return {key: list(events) for key, events in self._events.items()}

    @property
    def acknowledged(self) -> list[Event]:
        """All that was acknowledged."""
        return [event for events in self.events().values() for event in events if event.acknowledged]


def compare(
    events: Mapping[str, Sequence[Event]], histories: Mapping[str, Sequence[Stored]], refused: Iterable[str] = ()
) -> tuple[Findings, int]:
    """Compare what was done with what the bucket holds: exactly once, the same bytes, in order.

    Parameters
    ----------
    events : Mapping of str to sequence of Event
    histories : Mapping of str to sequence of Stored
        By key: its versions, the oldest first.
    refused : iterable of str

    Returns
    -------
    Findings
    int
        How many versions are echoes; see `echoes`.
    """
    findings = Findings(refused=list(refused))
    count = 0
    for key in dict.fromkeys([*events, *histories]):
        versions = histories.get(key, ())
        heard_before = echoes(versions)
        count += len(heard_before)
        hashes = [stored.sha256 for place, stored in enumerate(versions) if place not in heard_before]
        _compare_key(key, events.get(key, ()), hashes, findings)
    return findings, count


def echoes(versions: Sequence[Stored]) -> set[int]:
    """Places of versions that stand there again because no condition could tell the first attempt from the second.

    A rename there and back, or the restore of the newest version, makes a version with the bytes of the one before it.
    The condition of a PUT names an ETag, hence bytes: where an attempt is given up and its PUT arrives after the second
    attempt's, the ETag that it expects is there still, and S3 stores it once more. So an echo has bytes and record id
    of an earlier version, and from the version before that one on all have these bytes. Nothing else counts as one.
    """
    found = set()
    run = 0  # where the versions with these bytes begin
    for place, stored in enumerate(versions):
        if stored.sha256 != versions[run].sha256:
            run = place
        if stored.record and stored in versions[run + 1 : place]:
            found.add(place)
    return found


def _compare_key(key: str, events: Sequence[Event], versions: Sequence[str], findings: Findings) -> None:
    required = Counter(event.sha256 for event in events if event.acknowledged) - _skippable(events)
    possible = Counter(event.sha256 for event in events)
    there = Counter(versions)
    findings.torn += [f"version {n} of {key} is nobody's save" for n, sha in enumerate(versions) if sha not in possible]
    for sha in possible:
        name = f"{key}, {sha[:12]} ({', '.join(event.what for event in events if event.sha256 == sha)})"
        if there[sha] < required[sha]:
            findings.lost.append(f"{name}: {there[sha]} versions of {required[sha]} acknowledged")
        if there[sha] > possible[sha]:
            findings.double.append(f"{name}: {there[sha]} versions of {possible[sha]} sent")
    findings.disorder += _disorder(key, events, versions)


def _skippable(events: Sequence[Event]) -> Counter[str]:
    """Acknowledged events that needed no version, since the one before had the same bytes."""
    found: Counter[str] = Counter()
    newest: set[str] = set()
    for event in events:
        if event.acknowledged and event.may_be_skipped and event.sha256 in newest:
            found[event.sha256] += 1
        # After one without an answer, either may be the newest.
        newest = {event.sha256} if event.acknowledged else newest | {event.sha256}
    return found


def _disorder(key: str, events: Sequence[Event], versions: Sequence[str]) -> list[str]:
    """Versions that stand behind one that was sent only after they were acknowledged; saves at the same time are free.

    Where several events have the same bytes, a version may be any of them.
    """
    found = []
    newest_sent = 0
    free: dict[str, list[Event]] = {}
    for event in events:
        free.setdefault(event.sha256, []).append(event)
    for place, sha in enumerate(versions):
        candidates = free.get(sha, [])
        fitting = [e for e in candidates if not e.acknowledged or e.acknowledged >= newest_sent]
        if candidates and not fitting:
            found.append(f"{key}: version {place} ({candidates[0].what}, {sha[:12]}) stands behind a later one")
        for event in (fitting or candidates)[:1]:
            candidates.remove(event)
            newest_sent = max(newest_sent, event.sent)
    return found
