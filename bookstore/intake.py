"""Takes the bytes of a save: to the outbox, or in memory within a bound, or remembers what it could not take.

Whatever goes wrong here, the user's save goes on; what is not safe is named.
"""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from bookstore.delivery import Parcel
from bookstore.errors import OutboxError, OutboxUnavailable, forget_frames
from bookstore.outbox import EntryRef, Outbox
from bookstore.outbox_entry import Entry
from bookstore.provenance import Provenance


@dataclass(frozen=True, slots=True)
class Draft:
    """A save of which everything is known but its bytes: the ticket that a pre-save hook draws.

    Attributes
    ----------
    path : str
        API path of Jupyter.
    key : str or None
        Where it goes; None where the settings or the path give no key.
    sequence : int
        Its place in the order of saves.
    queued_time : float
        Seconds since the epoch.
    user, reason, source, previous_key, previous_record, from_key, from_version : str
        As in `Provenance`.
    """

    path: str
    key: str | None
    sequence: int
    queued_time: float = field(default_factory=time.time)
    user: str = ""
    reason: str = "save"
    source: str = "file"
    previous_key: str = ""
    previous_record: str = ""
    from_key: str = ""
    from_version: str = ""


@dataclass(frozen=True, slots=True)
class _Refused:
    """A save that the outbox did not take, and its entry where that may be on the disk all the same."""

    error: OutboxError
    entry: Entry | None


class Intake:
    """Takes saves on behalf of one server.

    Parameters
    ----------
    outbox : Outbox
    host, root_dir : str
        The origin that provenance tells.
    memory_limit : int
        Bytes held in memory while the outbox takes none.
    report : Callable[[OutboxError | None], None]
        Hears, in the thread that took the save, what is wrong with the outbox; None when it takes saves again.
    report_missed : Callable[[str], None]
        Hears, once for each path, that not even memory could take a save of it.
    report_left : Callable[[EntryRef, OutboxError], None], optional
        Hears, in a thread of the intake's, of the entry of a save that was not made in the end and that the disk does
        not let be removed: the next server would ship it. `report` hears of it by default.
    """

    def __init__(
        self,
        outbox: Outbox,
        *,
        host: str,
        root_dir: str,
        memory_limit: int,
        report: Callable[[OutboxError | None], None],
        report_missed: Callable[[str], None] = lambda path: None,
        report_left: Callable[[EntryRef, OutboxError], None] | None = None,
    ) -> None:
        self._outbox = outbox
        self._host = host
        self._root_dir = root_dir
        self._memory_limit = memory_limit
        self._report = report
        self._report_missed = report_missed
        self._report_left = report_left or (lambda ref, error: report(error))
        self._lock = threading.Lock()
        self._memory = 0
        self._largest_refused = 0
        self._trouble: OutboxError | None = None
        self._missed: dict[str, int] = {}
        # A save writes its notebook in one thread while the entry is written in another, so these must never wait for
        # those.
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="bookstore-outbox")

    @property
    def trouble(self) -> OutboxError | None:
        """What is wrong with the outbox."""
        return self._trouble

    @property
    def memory(self) -> int:
        """Bytes of unprotected saves."""
        return self._memory

    @property
    def missed(self) -> dict[str, int]:
        """Saves that neither the outbox nor memory could take, counted by path."""
        with self._lock:
            return dict(self._missed)

    def begin(self, draft: Draft, content: bytes | memoryview) -> Intent:
        """Start to make an entry of a save, in another thread; the intent's owner decides whether it stays."""
        intent = Intent()
        intent.parcel = self._pool.submit(self._carry_out, intent, draft, content)
        return intent

    def _carry_out(self, intent: Intent, draft: Draft, content: bytes | memoryview) -> Parcel | None:
        # Nothing of this waits for the decision, which comes last: the two disks' work costs the longer of both.
        taken = self._try(draft, content)
        if intent.is_wanted():
            return self._taken(draft, content, taken)
        if isinstance(taken, Parcel) and taken.ref is not None:
            try:
                self._outbox.remove(taken.ref, for_good=True)
            except OutboxError as e:
                forget_frames(e)
                self._report_left(taken.ref, e)
        return None

    def take(self, draft: Draft, content: bytes | memoryview) -> Parcel | None:
        """Take a save at once, in this thread.

        Returns
        -------
        Parcel or None
            None where neither the outbox nor memory could take it; then it is counted in `missed`.
        """
        return self._taken(draft, content, self._try(draft, content))

    def _taken(self, draft: Draft, content: bytes | memoryview, taken: Parcel | _Refused) -> Parcel | None:
        if isinstance(taken, _Refused):
            return self.in_memory(draft, content, taken.error, taken.entry)
        self.note(None)
        return taken

    def _try(self, draft: Draft, content: bytes | memoryview) -> Parcel | _Refused:
        entry = None
        try:
            self._outbox.open()
            entry = self._entry(draft, content)
            return self._put(entry, content)
        except OutboxError as e:
            # The same entry, with its record id, where it may be on the disk after all. Otherwise a new one: what was
            # written of this one may be in the way of writing it again.
            return _Refused(e, entry if e.may_remain else None)

    def _put(self, entry: Entry, content: bytes | memoryview) -> Parcel:
        try:
            return Parcel(entry, ref=self._outbox.put(entry, content))
        except OutboxUnavailable as e:
            if not isinstance(e.__cause__, FileNotFoundError):
                raise
        # What was written has been taken away, since this server seemed to have ended: write it anew. It may have
        # been an entry by then, which another server ships.
        return Parcel(entry, ref=self._outbox.put(entry, content), uncertain=True)

    def in_memory(
        self, draft: Draft, content: bytes | memoryview, error: OutboxError, entry: Entry | None = None
    ) -> Parcel | None:
        """Hold a save in memory, unprotected, since the outbox does not take it."""
        self.note(error)
        with self._lock:
            self._largest_refused = max(self._largest_refused, len(content))
            fits = self._memory + len(content) <= self._memory_limit
            if fits:
                self._memory += len(content)
        if not fits:
            self.miss(draft.path)
            return None
        return Parcel(entry or self._entry(draft, content), content=content)

    def protect(self, parcel: Parcel) -> bool:
        """Try to bring an unprotected save into the outbox; True once it is there."""
        content = parcel.content  # kept: it may be shipped and released meanwhile
        if content is None:
            return parcel.ref is not None
        try:
            self._outbox.open()
            if not parcel.entry.provenance.generation:  # taken before there was an outbox
                provenance = replace(parcel.entry.provenance, generation=self._outbox.generation)
                parcel.entry = replace(parcel.entry, provenance=provenance)
            parcel.ref = self._outbox.put(parcel.entry, content)
        except OutboxError as e:
            self.note(e)
            return False
        self.note(None)
        return True

    def release(self, parcel: Parcel) -> None:
        """Give back the memory of a save that is safe by now."""
        if parcel.content is not None:
            with self._lock:
                self._memory -= len(parcel.content)
            parcel.content = None

    def forgive(self, path: str, count: int) -> None:
        """Saves of a path that were missed have been made up for."""
        with self._lock:
            rest = self._missed.pop(path, 0) - count
            if rest > 0:
                self._missed[path] = rest

    def rehearse(self) -> None:
        """Find out whether the outbox takes saves again, where none is at hand to try with."""
        try:
            self._outbox.rehearse(self._largest_refused)
        except OutboxError as e:
            self.note(e)
        else:
            self.note(None)

    def miss(self, path: str, count: int = 1) -> None:
        """Count saves of a path that could not be taken."""
        with self._lock:
            is_news = path not in self._missed
            self._missed[path] = self._missed.get(path, 0) + count
        if is_news:
            self._report_missed(path)

    def _entry(self, draft: Draft, content: bytes | memoryview) -> Entry:
        provenance = Provenance(
            record_id=uuid.uuid4().hex,
            sha256=hashlib.sha256(content).hexdigest(),
            saved_at=draft.queued_time,
            user=draft.user,
            host=self._host,
            root_dir=self._root_dir,
            instance=self._outbox.instance,
            generation=self._outbox.generation,
            sequence=draft.sequence,
            source=draft.source,
            reason=draft.reason,
            previous_key=draft.previous_key,
            previous_record=draft.previous_record,
            from_key=draft.from_key,
            from_version=draft.from_version,
        )
        return Entry(draft.path, draft.key, len(content), provenance)

    def note(self, trouble: OutboxError | None) -> None:
        """Remember what is wrong with the outbox, and report it if that is news."""
        forget_frames(trouble)
        with self._lock:
            changed = (trouble and trouble.code) != (self._trouble and self._trouble.code)
            self._trouble = trouble
            if trouble is None:
                self._largest_refused = 0
        if changed:
            self._report(trouble)


class Intent:
    """A save whose bytes are on their way to the disk while the user's file is written.

    Attributes
    ----------
    parcel : Future of Parcel or None
        What became of it, once `commit` or `abort` has been called; as `Intake.take` returns it.
    """

    parcel: Future[Parcel | None]

    def __init__(self) -> None:
        self._decided = threading.Event()
        self._wanted = False

    def commit(self) -> None:
        """The file is written: the entry stays."""
        self._wanted = True
        self._decided.set()

    def abort(self) -> None:
        """The file could not be written: the entry goes."""
        self._decided.set()

    def is_wanted(self) -> bool:
        """Wait for the decision."""
        self._decided.wait()
        return self._wanted
