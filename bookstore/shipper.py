"""Drains what waits into the store: in order within a path, fair across paths, patient with a store in trouble.

Each path has a lane. A lane with work stands in line; its turn ships the oldest save, and the lane goes to the end of
the line. Errors that concern one save set that one aside; errors that concern the store close the gate for all, and one
trial at a time finds out when it may open again. Everything here runs on one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bookstore.delivery import Courier, Delivered, Parcel
from bookstore.errors import (
    BookstoreError,
    BucketMissing,
    BucketNotVersioned,
    CredentialsMissing,
    CredentialsRejected,
    EntryCorrupt,
    EntryGone,
    ObjectRefused,
    OutboxError,
    PathError,
    PreconditionFailed,
    SettingsError,
    StorageError,
    StoreFault,
    StoreThrottled,
    StoreTimeout,
    StoreUnreachable,
    forget_frames,
)
from bookstore.outbox import QUARANTINE, REFUSED, EntryRef, Outbox
from bookstore.outbox_entry import Entry
from bookstore.path_locks import PathLocks
from bookstore.retry import wait_after
from bookstore.turnstile import Turnstile

#: Seconds without a new save after which shipping begins: the answer has left by then, and no burst is disturbed.
QUIET = 0.1

#: Seconds after which shipping begins although saves keep coming.
QUIET_AT_MOST = 1.0

#: Bytes read from the outbox at one time, so that memory does not grow with the backlog. One larger save goes alone.
BYTES_IN_FLIGHT = 64 * 1024 * 1024

#: Failures in a row, over all lanes, after which the gate closes although each might be of its own.
FAILURES_TO_CLOSE = 3

#: These concern every save at once.
_CLOSING = (
    StoreUnreachable,
    StoreTimeout,
    BucketMissing,
    BucketNotVersioned,
    CredentialsMissing,
    CredentialsRejected,
    SettingsError,
)


@dataclass(slots=True)
class Report:
    """Who hears what of the shipping; each is called on the event loop.

    Attributes
    ----------
    delivered : Callable[[Parcel, Delivered], None]
        A save is proven to be in the store.
    set_aside : Callable[[Parcel, str, BookstoreError], None]
        A save can never be stored and lies in ``quarantine`` or ``refused``.
    trouble : Callable[[BookstoreError | None], None]
        The store is in trouble; None when it is not any more.
    outbox_failed : Callable[[OutboxError], None]
        The outbox did not let an entry be removed that is done with.
    unexpected : Callable[[str, Exception], None]
        Shipping a save of a path met an error that nobody foresaw; told at the save's first failure, while the error
        still has its traceback.
    """

    delivered: Callable[[Parcel, Delivered], None]
    set_aside: Callable[[Parcel, str, BookstoreError], None]
    trouble: Callable[[BookstoreError | None], None]
    outbox_failed: Callable[[OutboxError], None]
    unexpected: Callable[[str, Exception], None] = lambda path, error: None


@dataclass(slots=True)
class _Lane:
    path: str
    parcels: deque[Parcel] = field(default_factory=deque)
    is_running: bool = False
    is_ready: bool = False
    timer: asyncio.TimerHandle | None = None
    last_shipped: float = float("-inf")
    thinned: list[EntryRef] = field(default_factory=list)


class Shipper:
    """Ships parcels through a courier.

    Parameters
    ----------
    courier : Courier
    outbox : Outbox
        Where parcels wait.
    key_for : Callable[[Entry], str]
        The key of an entry; raises `PathError` if it has none, `SettingsError` if the settings give none.
    report : Report
    slots : int
        Bound on parcels on their way at one time.
    min_interval : float
        Seconds between versions of one path.
    locks : PathLocks, optional
        Taken, in turn, while a path's save is shipped.
    chance : Callable[[], float], optional
        The source of jitter.
    """

    def __init__(
        self,
        courier: Courier,
        outbox: Outbox,
        *,
        key_for: Callable[[Entry], str],
        report: Report,
        slots: int,
        min_interval: float = 0.0,
        locks: PathLocks | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.courier = courier
        self.locks = locks if locks is not None else PathLocks()
        self.skipped = 0
        self.thinned = 0
        self.shipped = 0
        self.is_paused = False
        self._outbox = outbox
        self._key_for = key_for
        self._report = report
        self._slots = slots
        self._limit = slots
        self._min_interval = min_interval
        self._chance = chance
        self._lanes: dict[str, _Lane] = {}
        self._line: deque[_Lane] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._turnstile = Turnstile()
        self._running = 0
        self._bytes = 0
        self._successes = 0
        self._failures = 0
        #: How often the gate was closed since the last success: what failed together counts once.
        self._closings = 0
        self._trouble: BookstoreError | None = None
        self._is_stopped = False
        #: The path that alone is in trouble; None where it is the store.
        self._troubled_path: str | None = None
        self._gate_timer: asyncio.TimerHandle | None = None
        self._gate_closed = False
        self._quiet_timer: asyncio.TimerHandle | None = None
        self._quiet_since: float | None = None
        #: True while saves come so fast that no moment is quiet: what has begun goes on.
        self._is_busy = False
        self._to_remove: list[EntryRef] = []
        #: What the outbox did not let be removed; tried again by `remove_again`.
        self._unremoved: list[EntryRef] = []
        self._remover: asyncio.Task[None] | None = None
        self._outcomes: dict[Parcel, asyncio.Event] = {}
        self._flushing: list[tuple[set[Parcel], asyncio.Event]] = []

    # -- what comes in ---------------------------------------------------------------------------------------------

    def add(self, parcel: Parcel) -> None:
        """Queue a save that was just made; it is shipped once the server is quiet for a moment."""
        self._enqueue(parcel)
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._quiet_since is None:
            self._quiet_since = now
        if self._quiet_timer is not None:
            self._quiet_timer.cancel()
        wait = min(QUIET, max(0.0, self._quiet_since + QUIET_AT_MOST - now))
        self._quiet_timer = loop.call_later(0.0 if self._flushing else wait, self._quiet_is_over)

    def add_adopted(self, parcels: Iterable[Parcel]) -> None:
        """Queue what other servers left, before everything of this one, in the order given."""
        by_lane: dict[str, list[Parcel]] = {}
        for parcel in parcels:
            by_lane.setdefault(parcel.entry.path, []).append(parcel)
        for path, earlier in by_lane.items():
            lane = self._lane(path)
            # The one under way stays first: it is being shipped already.
            first = [lane.parcels.popleft()] if lane.is_running else []
            lane.parcels.extendleft(reversed(first + earlier))
            self._stand_in_line(lane)
        self._pump()

    def _enqueue(self, parcel: Parcel) -> None:
        lane = self._lane(parcel.entry.path)
        lane.parcels.append(parcel)
        self._stand_in_line(lane)

    def _lane(self, path: str) -> _Lane:
        lane = self._lanes.get(path)
        if lane is None:
            lane = self._lanes[path] = _Lane(path)
        return lane

    def _quiet_is_over(self) -> None:
        now = asyncio.get_running_loop().time()
        self._is_busy = self._quiet_since is not None and now >= self._quiet_since + QUIET_AT_MOST
        self._quiet_timer = self._quiet_since = None
        self._pump()

    # -- what is known ---------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many saves the store is not proven to hold."""
        return sum(len(lane.parcels) for lane in self._lanes.values())

    @property
    def trouble(self) -> BookstoreError | None:
        """What keeps saves from being shipped."""
        return self._trouble

    def parcels(self) -> Iterable[Parcel]:
        """Every save that waits; those of one path in order."""
        for lane in self._lanes.values():
            yield from lane.parcels

    def oldest(self) -> float | None:
        """When the save that waits longest was made, in seconds since the epoch."""
        heads = (lane.parcels[0].entry.provenance.saved_at for lane in self._lanes.values() if lane.parcels)
        return min(heads, default=None)

    # -- flush and stop --------------------------------------------------------------------------------------------

    def hurry(self) -> None:
        """Try everything that waits now, whatever the backoff says."""
        for timer in (self._gate_timer, self._quiet_timer):
            if timer is not None:
                timer.cancel()
        self._gate_timer = self._quiet_timer = self._quiet_since = None
        self._gate_closed = False
        for lane in list(self._lanes.values()):
            if lane.timer is not None:
                lane.timer.cancel()
                lane.timer = None
            if lane.parcels or lane.is_running:
                self._stand_in_line(lane)
            else:
                del self._lanes[lane.path]
        self._pump()

    async def flush(self, timeout: float, parcels: Iterable[Parcel] | None = None) -> int:
        """Ship what waits, for a bounded time.

        Parameters
        ----------
        timeout : float
            Seconds.
        parcels : iterable of Parcel, optional
            Wait for these only; for all by default.

        Returns
        -------
        int
            How many saves still wait, of those that were waited for.
        """
        wanted = self.parcels() if parcels is None else parcels
        pending, done = {parcel for parcel in wanted if not parcel.is_done}, asyncio.Event()
        if not pending:
            await self._removed()
            return 0
        waiter = (pending, done)
        self._flushing.append(waiter)
        try:
            self.hurry()
            await asyncio.wait_for(done.wait(), timeout)
        except asyncio.TimeoutError:
            return len(pending)
        finally:
            self._flushing.remove(waiter)
        await self._removed()
        return 0

    def _leaves(self, lane: _Lane, parcel: Parcel) -> None:
        lane.parcels.remove(parcel)
        parcel.is_done = True
        self._tell_outcome(parcel)
        for pending, done in self._flushing:
            pending.discard(parcel)
            if not pending:
                done.set()

    async def first_outcome(self, parcel: Parcel) -> None:
        """Wait until a save is done with, or it is known that it has to wait for a store in trouble."""
        path = parcel.entry.path
        lane = self._lanes.get(path)
        is_asleep = lane is not None and lane.timer is not None
        if parcel.is_done or self._is_stopped or is_asleep or self._is_in_trouble(path):
            return
        outcome = self._outcomes.setdefault(parcel, asyncio.Event())
        await outcome.wait()

    async def ship_now(self, parcel: Parcel, timeout: float) -> None:
        """Ship one save ahead of any pause, and wait until it is done with, an attempt failed, or the time is over."""
        if parcel.is_done or self._is_stopped:
            return
        outcome = self._outcomes.setdefault(parcel, asyncio.Event())
        self.hurry()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(outcome.wait(), timeout)

    def _is_in_trouble(self, path: str) -> bool:
        return self._trouble is not None and self._troubled_path in (None, path)

    def _tell_outcome(self, *parcels: Parcel) -> None:
        for parcel in parcels:
            if (outcome := self._outcomes.pop(parcel, None)) is not None:
                outcome.set()

    async def stop(self) -> None:
        """Break off what is under way; it stays in the outbox. May be called twice."""
        self.is_paused = self._is_stopped = True
        self._tell_outcome(*self._outcomes)
        for timer in (self._gate_timer, self._quiet_timer, *(lane.timer for lane in self._lanes.values())):
            if timer is not None:
                timer.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._removed()

    # -- the line --------------------------------------------------------------------------------------------------

    def _stand_in_line(self, lane: _Lane) -> None:
        if lane.parcels and not lane.is_running and not lane.is_ready and lane.timer is None:
            lane.is_ready = True
            self._line.append(lane)

    def resume(self) -> None:
        """Ship from now on; before this, what comes in only waits."""
        self.is_paused = False
        self._pump()

    def _pump(self) -> None:
        """Start as many deliveries as there is room for."""
        if self.is_paused or (self._quiet_timer is not None and not self._flushing and not self._is_busy):
            return
        limit = 1 if self._trouble is not None and self._troubled_path is None else self._limit
        while self._line and self._running < limit and not self._gate_closed:
            lane = self._line[0]
            if (wait := self._thinning(lane)) > 0:
                self._line.popleft()
                lane.is_ready = False
                self._tell_outcome(*lane.parcels)
                self._wake_later(lane, wait)
                continue
            size = lane.parcels[0].entry.size
            if self._bytes and self._bytes + size > BYTES_IN_FLIGHT:
                return
            self._line.popleft()
            lane.is_ready = False
            lane.is_running = True
            self._running += 1
            self._bytes += size
            task = asyncio.get_running_loop().create_task(self._ship_first(lane, size))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _thinning(self, lane: _Lane) -> float:
        """Seconds until this lane may ship again; of what waited in between, only the newest save is kept."""
        if not self._min_interval:
            return 0.0
        if not self._flushing:
            wait = lane.last_shipped + self._min_interval - time.monotonic()
            if wait > 0:
                return wait
        start = lane.parcels[0].entry.provenance.saved_at
        while len(lane.parcels) > 1 and all(self._may_be_thinned(parcel) for parcel in list(lane.parcels)[:2]):
            if not 0 <= lane.parcels[1].entry.provenance.saved_at - start < self._min_interval:
                break
            thinned = lane.parcels[0]
            self._leaves(lane, thinned)
            self.thinned += 1
            if thinned.ref is not None:
                lane.thinned.append(thinned.ref)
        return 0.0

    @staticmethod
    def _may_be_thinned(parcel: Parcel) -> bool:
        # One in memory is not: its memory is given back to whoever hears that it was delivered.
        return parcel.entry.provenance.reason == "save" and not parcel.uncertain and parcel.content is None

    def _retire(self, lane: _Lane) -> None:
        """Forget an empty lane, once it need not be remembered when it last shipped."""
        if self._min_interval:
            self._wake_later(lane, self._min_interval)
        else:
            del self._lanes[lane.path]

    def _wake_later(self, lane: _Lane, wait: float) -> None:
        def wake() -> None:
            lane.timer = None
            if not lane.parcels:
                del self._lanes[lane.path]
            self._stand_in_line(lane)
            self._pump()

        lane.timer = asyncio.get_running_loop().call_later(wait, wake)

    # -- one delivery ----------------------------------------------------------------------------------------------

    async def _ship_first(self, lane: _Lane, size: int) -> None:
        parcel = lane.parcels[0]
        wait = 0.0
        try:
            async with self.locks.hold(lane.path):
                thinned, lane.thinned = lane.thinned, []
                await self._remove_for_good(*thinned)
                done, wait = await self._attempt(lane, parcel)
            if done:
                self._leaves(lane, parcel)
                if self._troubled_path == lane.path:
                    self._tell(None)
        except Exception as e:  # noqa: BLE001 - whatever it is, a lane that stood still would be told by nobody
            parcel.uncertain = True
            if not parcel.failures:
                self._report.unexpected(lane.path, e)
            fault = StoreFault(f"shipping {lane.path!r} met an unexpected {type(e).__name__}")
            fault.__cause__ = e
            wait = await self._failed(parcel, fault)
        finally:
            lane.is_running = False
            self._running -= 1
            self._bytes -= size
        if not lane.parcels:
            self._retire(lane)
        elif wait:
            self._tell_outcome(*lane.parcels)
            # In a hurry too a failing store is not asked without a pause.
            self._wake_later(lane, min(wait, 1.0) if self._flushing else wait)
        else:
            self._stand_in_line(lane)
        self._pump()

    async def _attempt(self, lane: _Lane, parcel: Parcel) -> tuple[bool, float]:
        """Try once; whether the parcel is done with, and otherwise how many seconds to wait."""
        try:
            key = self._key_for(parcel.entry)
            content = await self._content(parcel)
            await self._turnstile.through()
            delivered = await self.courier.deliver(parcel, key, content)
            await self._turnstile.through()
        except EntryGone:
            # Another server claimed it, and ships it, perhaps after saves that are made here later.
            self.courier.is_in_order = False
            return True, 0.0
        except EntryCorrupt as e:
            return await self._set_aside(parcel, QUARANTINE, e)
        except (ObjectRefused, PathError) as e:
            return await self._set_aside(parcel, REFUSED, e)
        except BookstoreError as e:
            return False, await self._failed(parcel, e)
        parcel.delivered = delivered
        self._succeeded(lane, delivered)
        self._report.delivered(parcel, delivered)
        if parcel.ref is not None and delivered.how == "unchanged":
            # The store does not hold this record: should its entry come back, it would be stored on top of newer ones.
            await self._remove_for_good(parcel.ref)
        elif parcel.ref is not None:
            self._remove_soon(parcel.ref)
        return True, 0.0

    async def _content(self, parcel: Parcel) -> bytes | memoryview:
        if parcel.content is not None:
            return parcel.content
        assert parcel.ref is not None  # noqa: S101 - a parcel has its bytes in one place or the other
        return await asyncio.to_thread(self._outbox.read, parcel.ref)

    async def _set_aside(self, parcel: Parcel, kind: str, error: BookstoreError) -> tuple[bool, float]:
        if parcel.ref is None:
            try:
                parcel.ref = await asyncio.to_thread(self._outbox.put, parcel.entry, parcel.content or b"")
            except OutboxError:
                return False, await self._failed(parcel, error)
        try:
            await asyncio.to_thread(self._outbox.set_aside, parcel.ref, kind, error)
        except EntryGone:
            return True, 0.0
        except OutboxError as e:
            return False, await self._failed(parcel, e)
        forget_frames(error)
        parcel.error = error
        self._report.set_aside(parcel, kind, error)
        return True, 0.0

    def _succeeded(self, lane: _Lane, delivered: Delivered) -> None:
        lane.last_shipped = time.monotonic()
        self.shipped += delivered.how != "unchanged"
        self.skipped += delivered.how == "unchanged"
        self._failures = self._closings = 0
        if self._is_in_trouble(lane.path):
            self._tell(None)
            # What waited for this store need not wait out its backoff.
            for other in self._lanes.values():
                if other.timer is not None and not self._min_interval:
                    other.timer.cancel()
                    other.timer = None
                    self._stand_in_line(other)
        self._successes += 1
        if self._limit < self._slots and self._successes % 8 == 0:
            self._limit += 1

    async def _failed(self, parcel: Parcel, error: BookstoreError) -> float:
        parcel.failures += 1
        forget_frames(error)
        parcel.error = error
        if isinstance(error, PreconditionFailed):
            # Other writers of one key are no trouble of the store.
            return wait_after(StoreThrottled(""), parcel.failures, self._chance)
        self._failures += 1
        if isinstance(error, StoreThrottled):
            self._limit = max(1, self._limit // 2)
        if isinstance(error, (CredentialsMissing, CredentialsRejected)):
            # Read them anew: somebody may have renewed the file or the role.
            try:
                await self.courier.store.refresh()
            except StorageError as e:
                error = e
        if isinstance(error, _CLOSING) or self._failures >= FAILURES_TO_CLOSE:
            self._close_gate(error)
        elif self._is_told_at_once(error) and (self._trouble is None or self._troubled_path is not None):
            self._tell(error, parcel.entry.path)
        return wait_after(error, parcel.failures, self._chance)

    @staticmethod
    def _is_told_at_once(error: BookstoreError) -> bool:
        # A disk that does not give back what it holds seldom does so for a moment only.
        return not error.transient or isinstance(error, OutboxError)

    def _close_gate(self, error: BookstoreError) -> None:
        self._tell(error)
        self._tell_outcome(*self._outcomes)
        if self._gate_timer is not None:
            return
        self._gate_closed = True
        self._closings += 1
        wait = min(wait_after(error, self._closings, self._chance), 1.0 if self._flushing else float("inf"))

        def open_gate() -> None:
            self._gate_timer, self._gate_closed = None, False
            self._pump()

        self._gate_timer = asyncio.get_running_loop().call_later(wait, open_gate)

    def _tell(self, error: BookstoreError | None, path: str | None = None) -> None:
        changed = (error and error.code) != (self._trouble and self._trouble.code)
        forget_frames(error)
        self._trouble, self._troubled_path = error, path
        if changed:
            self._report.trouble(error)

    def _remove_soon(self, ref: EntryRef) -> None:
        """Have an entry removed whose content is in the store; many are removed in one go."""
        self._to_remove.append(ref)
        if self._remover is None or self._remover.done():
            self._remover = asyncio.get_running_loop().create_task(self._remove())

    def keep_removing(self, ref: EntryRef, error: OutboxError) -> None:
        """Take on an entry that is to be shipped by nobody and that the outbox did not let be removed."""
        self._unremoved.append(ref)
        self._report.outbox_failed(error)

    async def remove_again(self) -> None:
        """Try to remove what the outbox did not let be removed.

        Raises
        ------
        OutboxFull, OutboxUnavailable
            Some of it is still there.
        """
        refs, self._unremoved = self._unremoved, []
        for number, ref in enumerate(refs):
            try:
                await asyncio.to_thread(self._outbox.remove, ref, for_good=True)
            except BaseException:
                self._unremoved += refs[number:]
                raise

    async def _remove_for_good(self, *refs: EntryRef) -> None:
        for ref in refs:
            try:
                await asyncio.to_thread(self._outbox.remove, ref, for_good=True)
            except OutboxError as e:
                self.keep_removing(ref, e)

    async def _remove(self) -> None:
        while self._to_remove:
            refs, self._to_remove = self._to_remove, []
            error = await asyncio.to_thread(self._remove_now, refs)
            if error is not None:
                # They are in the store; should this server end, the next one finds them there by their record ids.
                self._report.outbox_failed(error)

    def _remove_now(self, refs: list[EntryRef]) -> OutboxError | None:
        error = None
        for ref in refs:
            try:
                self._outbox.remove(ref)
            except OutboxError as e:
                self._unremoved.append(ref)
                error = e
        return error

    async def _removed(self) -> None:
        """Wait until the outbox holds nothing that is known to be in the store."""
        if self._remover is not None:
            await asyncio.shield(self._remover)
