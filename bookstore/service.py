"""The archive of one server: settings, outbox, shipper and store wired together, their state, and their life."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_core.paths import jupyter_data_dir

from bookstore._version import __version__
from bookstore.bookstore_config import BookstoreSettings, SettingProblem, validate_bookstore
from bookstore.cloning import is_cloning_bucket
from bookstore.delivery import Courier, Delivered, Parcel
from bookstore.disk import FLEETING, Disk, filesystem_type
from bookstore.errors import (
    BookstoreError,
    BucketNotVersioned,
    EntryCorrupt,
    OutboxError,
    PathError,
    SettingsError,
    StorageError,
)
from bookstore.identity import current_user
from bookstore.intake import Draft, Intake
from bookstore.labels import PIN_TAG, UNPINNED
from bookstore.outbox import QUARANTINE, REFUSED, EntryRef, LeftBehind, Outbox
from bookstore.outbox_entry import Entry
from bookstore.outbox_owner import HEARTBEAT_INTERVAL, HEARTBEAT_PATIENCE, Owner, Watch, this_process
from bookstore.path_locks import PathLocks
from bookstore.retry import slow_retry
from bookstore.s3_paths import object_key, reserved_key, s3_display_path
from bookstore.shipper import Report, Shipper
from bookstore.status import NAMES_SHOWN, NO_BUCKET, ArchiveStatus, LastVersion, Problem, iso
from bookstore.storage.base import Versioning

if TYPE_CHECKING:
    from bookstore.storage.base import ObjectStore, Receipt

#: Seconds that a save waits until that is told: mostly it is in the store by then.
WAITING_TOLD = 1.0

#: Seconds after the start until the store is looked at: starting up comes first.
PROBE_DELAY = 2.0

#: Of how many paths the record of the last save is remembered.
RECORDS_REMEMBERED = 10_000

#: Stores over other buckets that are kept open for cloning.
OTHER_STORES = 4

#: Seconds after which reading a file again is tried later: a save of it may hang.
ARCHIVE_NOW_TIMEOUT = 60.0

#: Looks, a second apart, for what dead servers left, before shipping begins although some of it cannot be taken over.
LOOKS_IN_DOUBT = 10

#: Seconds between two attempts to bring unprotected saves to safety.
PROTECT_INTERVAL = 0.5

#: Seconds for which the bucket's word that it keeps versions holds, before people's own writes ask again.
VERSIONING_TRUSTED = 60.0

#: Places of the connection pool that shipping leaves to people who read.
READERS = 2


class ArchiveService:
    """Everything between a save and the bucket, for one server.

    Parameters
    ----------
    settings : BookstoreSettings
    root_dir : str
        The server's root directory.
    log : logging.Logger
    store : ObjectStore, optional
        Instead of the bucket that the settings name.
    disk : Disk, optional
        Instead of the real one, for the outbox.
    """

    def __init__(
        self,
        settings: BookstoreSettings,
        *,
        root_dir: str,
        log: logging.Logger | logging.LoggerAdapter[Any],
        store: ObjectStore | None = None,
        disk: Disk | None = None,
    ) -> None:
        self.settings = settings
        self.root_dir = root_dir
        self.log = log
        self.host = socket.gethostname()
        self.problems: tuple[SettingProblem, ...] = settings.check(root_dir)
        #: Which features the settings allow; they do not change while the server runs.
        self.features = validate_bookstore(settings)
        self.prefix = self._prefix()
        self.store = store if store is not None else store_of(settings)
        self.outbox = Outbox(self._outbox_path(), self._owner, reserve=settings.outbox_reserve, disk=disk)
        self.intake = Intake(
            self.outbox,
            host=self.host,
            root_dir=root_dir,
            memory_limit=settings.memory_limit,
            report=self._outbox_changed,
            report_missed=self._missed,
            report_left=self._entry_left,
        )
        self.ship_locks = PathLocks()
        self.shipper = Shipper(
            Courier(
                self.store,
                probe_key=reserved_key(self.prefix or "", "probe"),
                origin=f"{self.host}:{root_dir}",
                skip_unchanged=settings.skip_unchanged,
                allow_unversioned=settings.allow_unversioned,
                tags={PIN_TAG: UNPINNED} if settings.tag_versions else None,
            ),
            self.outbox,
            key_for=self.key_for,
            report=Report(
                self._delivered, self._set_aside, self._trouble_changed, self._removal_failed, self._met_unexpected
            ),
            slots=max(1, settings.max_threads - READERS),
            min_interval=settings.min_interval,
            locks=self.ship_locks,
        )
        # Until what dead servers left is queued, nothing of this one may overtake it.
        self.shipper.is_paused = True
        #: Runs the saves' blocking work: serialising, writing, syncing.
        self.pool = ThreadPoolExecutor(max_workers=settings.max_threads, thread_name_prefix="bookstore-save")
        #: Hear what happens, by name, with details that JSON takes.
        self.listeners: list[Callable[[str, dict[str, Any]], None]] = []
        #: Archives a path as it is now, and tells whether it was taken; set by the contents manager.
        self.archive_now: Callable[[str], Awaitable[bool]] | None = None
        self.last_version: LastVersion | None = None
        self._set_aside_recently: deque[dict[str, str]] = deque(maxlen=NAMES_SHOWN)
        #: The names of what is set aside, by kind.
        self._aside: dict[str, set[str]] = {QUARANTINE: set(), REFUSED: set()}
        self._left: tuple[LeftBehind, ...] = ()
        self._last_records: OrderedDict[str, str] = OrderedDict()
        self._other_stores: OrderedDict[str, ObjectStore] = OrderedDict()
        self._versioning_known_until = -math.inf
        self._undecided = 0
        self._told_problems = False
        self._told_waiting = False
        self._shipping = asyncio.Event()
        self._watch = Watch()
        self._early: list[Parcel] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._background: list[asyncio.Task[None]] = []
        self._looking: asyncio.Task[None] | None = None
        self._adoption_trouble: OutboxError | None = None
        self._removal_trouble: OutboxError | None = None
        self._store_trouble: BookstoreError | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._trouble_since: float | None = None
        self._filesystem: str | None = None

    # -- what it is ------------------------------------------------------------------------------------------------

    @property
    def is_configured(self) -> bool:
        """Whether there is a bucket to archive to; without one nothing is queued."""
        return self.settings.is_configured

    @property
    def blocking_problems(self) -> tuple[SettingProblem, ...]:
        """The settings that keep saves in the outbox."""
        return tuple(problem for problem in self.problems if problem.blocks_archiving)

    @property
    def destination(self) -> str:
        """Endpoint and bucket, for telling servers apart that archive to different places."""
        # Without what may stand before the host's name: the owner's file is no place for a password.
        endpoint = (self.settings.endpoint or "aws").rpartition("@")[2]
        return f"{endpoint}/{self.settings.s3_bucket}"

    def archives(self, path: str) -> bool:
        """Whether saves of a path are archived."""
        return self.is_configured and self.settings.archives(path)

    @property
    def workspace_clonable(self) -> bool:
        """Whether versions of the workspace can be cloned: cloning from S3 is on, and allowed from its bucket."""
        settings = self.settings
        may_clone = self.is_configured and self.features["s3_clone_valid"]
        return may_clone and is_cloning_bucket(settings.s3_bucket, settings.s3_cloning_buckets)

    def key_for(self, entry: Entry) -> str:
        """The key of a queued save.

        Raises
        ------
        PathError
            The path has none.
        SettingsError
            The settings give no prefix.
        """
        if entry.key is not None:
            return entry.key
        if self.prefix is None:
            self.settings.prefix("workspace", self.root_dir)
            raise SettingsError("workspace_prefix cannot be used.")
        return object_key(self.prefix, entry.path)

    def _key(self, path: str) -> str | None:
        if self.prefix is None:
            return None
        try:
            return object_key(self.prefix, path)
        except PathError:
            return None  # told when it is shipped, and set aside with the reason

    def _prefix(self) -> str | None:
        try:
            return self.settings.prefix("workspace", self.root_dir)
        except SettingsError:
            return None  # told in `problems`

    def _outbox_path(self) -> Path:
        try:
            return self.settings.outbox_path()
        except SettingsError:  # told in `problems`; saves wait where they would by default
            return Path(jupyter_data_dir()).absolute() / "bookstore" / "outbox"

    def _owner(self, instance: str) -> Owner:
        return this_process(instance, self.root_dir, self.destination)

    # -- taking saves ----------------------------------------------------------------------------------------------

    def draft(
        self,
        path: str,
        *,
        reason: str = "save",
        source: str = "file",
        previous_path: str = "",
        is_continued: bool = False,
        queued_time: float | None = None,
        from_key: str = "",
        from_version: str = "",
    ) -> Draft:
        """Draw a ticket for a save: its place in the order, and everything else but its bytes.

        ``is_continued`` says that a file of that path, if it was deleted, goes on: a tab was left open and saved.
        """
        if previous_path:
            # What is saved there from now on is another file.
            previous_record = self._last_records.pop(previous_path, "")
        else:
            previous_record = self._last_records.get(path, "") if is_continued else ""
        return Draft(
            path=path,
            key=self._key(path),
            sequence=self.outbox.next_sequence(),
            queued_time=queued_time if queued_time is not None and 0 <= queued_time < 2**33 else time.time(),
            user=current_user(),
            reason=reason,
            source=source,
            previous_key=(self._key(previous_path) or "") if previous_path else "",
            previous_record=previous_record,
            from_key=from_key,
            from_version=from_version,
        )

    def submit(self, parcels: Iterable[Parcel | None]) -> None:
        """Queue what was taken for shipping.

        Without a running event loop, as in a script, it waits until there is one; in the outbox it is safe.
        """
        taken = [parcel for parcel in parcels if parcel is not None]
        try:
            self.ensure_started()
        except RuntimeError:  # no running event loop in this thread
            self._early += taken
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self.ensure_started)
            return
        for parcel in taken:
            self.shipper.add(parcel)
            self._remember(parcel)

    def _remember(self, parcel: Parcel) -> None:
        """Keep the record of a path's last save, for the rename that may follow."""
        self._last_records[parcel.entry.path] = parcel.entry.provenance.record_id
        self._last_records.move_to_end(parcel.entry.path)
        while len(self._last_records) > RECORDS_REMEMBERED:
            self._last_records.popitem(last=False)

    async def ship_now(self, parcel: Parcel, timeout: float) -> None:
        """Ship one save that was submitted, ahead of any pause; ``parcel.delivered`` and ``parcel.error`` tell."""
        self.ensure_started()
        if self.blocking_problems:
            return
        deadline = time.monotonic() + timeout
        # What dead servers left may still be being looked for.
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._shipping.wait(), timeout)
        await self.shipper.ship_now(parcel, max(0.0, deadline - time.monotonic()))

    async def require_versioned(self) -> None:
        """See that what is written directly to the bucket hides nothing for good.

        Raises
        ------
        SettingsError
            A setting keeps everything from the bucket.
        BucketNotVersioned
            The bucket keeps no versions, and ``allow_unversioned`` is off.
        StorageError
            The bucket cannot be asked.
        """
        for problem in self.blocking_problems:
            raise SettingsError(f"{problem.trait}: {problem.message}", problem.hint)
        courier = self.shipper.courier
        asked_at = time.monotonic()
        if self.settings.allow_unversioned or (courier.is_versioned and asked_at < self._versioning_known_until):
            return
        # Somebody may have suspended versioning since. Where the store does not tell, the version id that each write
        # gets must do, which `require_version` looks at: to write a probe every minute would be too much.
        if courier.is_versioned and (await self.store.probe()).versioning in (Versioning.SUSPENDED, Versioning.OFF):
            self.forget_versioning()
        if not courier.is_versioned:
            await courier.check_bucket()
        self._versioning_known_until = asked_at + VERSIONING_TRUSTED

    def require_version(self, receipt: Receipt) -> None:
        """See, after a write past the shipper, that the bucket still keeps versions; if not, all ask it again.

        Raises
        ------
        BucketNotVersioned
            What was written got no version id, and ``allow_unversioned`` is off.
        """
        if receipt.version_id not in (None, "null") or self.settings.allow_unversioned:
            return
        self.forget_versioning()
        raise BucketNotVersioned(
            f"storing {receipt.key!r}: the bucket {self.store.bucket!r} gave it no version id, since it keeps no "
            "versions any more; the object is there, and the next one of this key would replace it",
            "Enable versioning on the bucket and do it again; bookstore doctor tells the command.",
        )

    def forget_versioning(self) -> None:
        """Have the bucket asked again whether it keeps versions, before anything more is written."""
        self.shipper.courier.is_versioned = self.settings.allow_unversioned
        self._versioning_known_until = -math.inf

    def store_for(self, bucket: str) -> ObjectStore:
        """The store over another bucket of the same endpoint and credentials; it lives as long as the archive."""
        if bucket == self.store.bucket:
            return self.store
        if bucket not in self._other_stores:
            self._other_stores[bucket] = store_of(self.settings, bucket)
        self._other_stores.move_to_end(bucket)
        return self._other_stores[bucket]

    async def trim_stores(self) -> None:
        """Close the stores over other buckets that were not used lately."""
        while len(self._other_stores) > OTHER_STORES:
            _, store = self._other_stores.popitem(last=False)
            await store.refresh()

    def tell(self, event: str, **details: Any) -> None:
        """Tell all who listen what has happened; what goes wrong there stays there."""
        for listener in self.listeners:
            try:
                listener(event, details)
            except Exception:
                self.log.exception("bookstore: a listener failed to hear of %r", event)

    # -- life ------------------------------------------------------------------------------------------------------

    def ensure_started(self) -> None:
        """Begin the work in the background, on the running loop, if it has not begun."""
        self._loop = loop = asyncio.get_running_loop()
        if not self._told_problems:
            self._told_problems = True
            for problem in self.problems:
                self.log.warning("bookstore: %s", problem)
            for problem in self.blocking_problems:
                self.tell(
                    "failed", code="Setting", message=f"{problem.trait}: {problem.message}", hint=problem.hint, path=""
                )
        if not self._background and self._stopping is None and self.is_configured:
            self._looking = loop.create_task(self._probe())
            self._background = [
                *(loop.create_task(work()) for work in (self._keep_house, self._beat)),
                self._looking,
            ]
        early, self._early = self._early, []
        for parcel in early:
            self.shipper.add(parcel)

    async def stop(self) -> None:
        """Ship what waits for at most ``drain_timeout`` seconds and leave the rest in the outbox.

        Never raises; a second call waits for the first. A save that comes later still goes to the outbox.
        """
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._stop())
        await asyncio.shield(self._stopping)

    async def flush(self, timeout: float) -> int:
        """Ship what waits, for at most ``timeout`` seconds; how many saves still wait after it."""
        if not self.is_configured:
            return 0
        self.ensure_started()
        deadline = time.monotonic() + timeout
        if self.blocking_problems:
            return self.shipper.waiting
        # What dead servers left may still be being looked for.
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._shipping.wait(), timeout)
        return await self.shipper.flush(max(0.0, deadline - time.monotonic()))

    async def _stop(self) -> None:
        steps: list[Callable[[], Awaitable[object]]] = [
            self._end_look,
            self._protect_all,
            self._drain,
            self._end_background,
            self.shipper.stop,
            self._protect_all,
            self._remove_again,
            self._tell_end,
            lambda: asyncio.to_thread(self.outbox.close),
            self.store.aclose,
            self._close_other_stores,
        ]
        for step in steps:
            try:
                await step()
            except Exception:
                self.log.exception("bookstore: stopping went wrong; what waits is in the outbox")

    async def _close_other_stores(self) -> None:
        while self._other_stores:
            await self._other_stores.popitem()[1].aclose()

    async def _drain(self) -> None:
        if self._background and not self.shipper.is_paused:
            await self.shipper.flush(self.settings.drain_timeout)

    async def _end_look(self) -> None:
        """End the look at the bucket: what it would tell helps nobody any more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _end_background(self) -> None:
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    async def _tell_end(self) -> None:
        unprotected = [parcel.entry.path for parcel in self.shipper.parcels() if not parcel.is_protected]
        lost = {*unprotected, *self.intake.missed}
        if lost:
            self.log.error(
                "bookstore: saves end with this server, since neither the store nor the outbox took them; "
                "the files themselves are on disk: %s",
                ", ".join(sorted(lost)[:NAMES_SHOWN]),
            )
        if waiting := self.shipper.waiting - len(unprotected):
            self.log.info("bookstore: %d saves wait in %s for the next start", waiting, self.outbox.directory)

    async def _beat(self) -> None:
        """Show servers on other hosts that this one lives, whatever else it is waiting for."""
        while True:
            await self._guarded(lambda: asyncio.to_thread(self.outbox.beat))
            await asyncio.sleep(HEARTBEAT_INTERVAL)

    async def _keep_house(self) -> None:
        """Adopt what dead servers left, and bring unprotected saves to safety."""
        next_look, looks = 0.0, 0
        while True:
            now = time.monotonic()
            if now >= next_look:
                next_look = now + HEARTBEAT_PATIENCE / 2
                await self._look_for_others()
                looks += 1
                is_in_doubt = self._adoption_trouble is not None and self.outbox.is_open and looks < LOOKS_IN_DOUBT
                if self._undecided or is_in_doubt:
                    # A server elsewhere may have crashed; what it left of a path goes before what is saved here.
                    next_look = now + 1.0
                elif self.shipper.is_paused and not self.blocking_problems:
                    self.shipper.resume()
                    self._shipping.set()
            if self.intake.memory or self.intake.missed:
                await self._guarded(self._protect_all)
                await self._guarded(self._make_up_for_missed)
            elif self.intake.trouble is not None:
                await self._guarded(lambda: asyncio.to_thread(self.intake.rehearse))
            if self._removal_trouble is not None:
                await self._remove_again()
            self._tell_waiting()
            await asyncio.sleep(PROTECT_INTERVAL if self.intake.trouble else 1.0)

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except OutboxError as e:
            self.intake.note(e)
        except Exception:
            self.log.exception("bookstore: an error in the background")

    async def _look_for_others(self) -> None:
        try:
            await self._adopt()
        except OutboxError as e:
            if self._adoption_trouble is None or self._adoption_trouble.code != e.code:
                self.log.error("bookstore: what other servers left cannot be adopted: %s. %s", e, e.hint)  # noqa: TRY400
                self.tell("failed", code=e.code, message=str(e), hint=e.hint, path="")
            self._adoption_trouble = e
        except Exception:
            self.log.exception("bookstore: an error while looking for what other servers left")
        else:
            known, self._adoption_trouble = self._adoption_trouble, None
            if known is not None:
                self._tell_recovered()

    async def _adopt(self) -> None:
        if self.blocking_problems:
            return
        adoption = await asyncio.to_thread(self.outbox.adopt, self._wants, self._watch)
        self._left, self._undecided = adoption.left, adoption.undecided
        await self._look_aside()
        for corrupt in adoption.corrupt:
            self.log.error("bookstore: an outbox entry was set aside: %s", corrupt)
            self.tell("failed", code="EntryCorrupt", message=corrupt, hint=EntryCorrupt.default_hint, path="")
        if adoption.adopted:
            self.log.info("bookstore: %d saves that another server left are shipped now", len(adoption.adopted))
            self.shipper.add_adopted(Parcel(ref.entry, ref=ref, uncertain=True) for ref in adoption.adopted)
        if adoption.failed:
            raise adoption.failed[0]

    async def _look_aside(self) -> None:
        """Look anew at what is set aside: people take things away, and other servers add some."""
        before = {kind: set(names) for kind, names in self._aside.items()}
        found = await asyncio.to_thread(self.outbox.names_aside)
        # What was set aside meanwhile may be among what was found, or not.
        was_any = any(self._aside.values())
        self._aside = {kind: names | (self._aside[kind] - before[kind]) for kind, names in found.items()}
        if was_any and not any(self._aside.values()):
            self._tell_recovered()

    def _wants(self, owner: Owner | None) -> bool:
        """Entries for the same place; or of the same root directory, if its settings never worked and have been mended.

        Without the second, what a misspelt bucket kept waiting would wait for ever.
        """
        if owner is None or owner.destination == self.destination:
            return True
        return owner.root_dir == self.root_dir and not owner.has_delivered

    async def _remove_again(self) -> None:
        try:
            await self.shipper.remove_again()
        except OutboxError as e:
            self._removal_trouble = e
        else:
            self._removal_trouble = None

    async def _protect_all(self) -> None:
        for parcel in list(self.shipper.parcels()):
            if parcel.is_protected:
                continue
            if not await asyncio.to_thread(self.intake.protect, parcel):
                return
            if parcel.is_done and parcel.ref is not None:
                await asyncio.to_thread(self.outbox.remove, parcel.ref)
            self.intake.release(parcel)

    async def _make_up_for_missed(self) -> None:
        """Archive the current file of each path of which a save could not be taken."""
        if self.archive_now is None:
            return
        for path, count in self.intake.missed.items():
            try:
                taken = await asyncio.wait_for(self.archive_now(path), ARCHIVE_NOW_TIMEOUT)
            except FileNotFoundError:
                self.log.error("bookstore: %s is not there any more: %d saves of it are lost", path, count)  # noqa: TRY400
                self.intake.forgive(path, count)
            except Exception as e:  # noqa: BLE001 - any manager may raise anything; it is tried again
                self.log.debug("bookstore: %s cannot be read again yet: %r", path, e)
            else:
                # What could not be taken now either has been counted once more.
                self.intake.forgive(path, count if taken else 1)

    async def _probe(self) -> None:
        """Look at the bucket before anybody saves, so that what is wrong is known early."""
        await asyncio.sleep(PROBE_DELAY)
        if self.blocking_problems:
            return
        failures = 0
        while not self.shipper.shipped:
            try:
                await self.shipper.courier.check_bucket(early=True)
            except StorageError as e:
                failures += 1
                self._trouble_changed(e)
                await asyncio.sleep(slow_retry(failures, lambda: 0.5))
            else:
                break
        if self.shipper.trouble is None:
            self._trouble_changed(None)

    # -- what is heard ---------------------------------------------------------------------------------------------

    def _delivered(self, parcel: Parcel, delivered: Delivered) -> None:
        self.intake.release(parcel)
        if self.shipper.trouble is None and self._store_trouble is not None:
            self._trouble_changed(None)  # the probe's, which may look again only in a while
        if self.last_version is None:
            self.pool.submit(self._note_delivery)
            destination = s3_display_path(self.settings.s3_bucket, self.prefix or "")
            self.log.info("bookstore: saves are archived to %s", destination)
        self.last_version = LastVersion(
            path=parcel.entry.path,
            key=delivered.key,
            version_id=delivered.version_id,
            saved_at=str(iso(parcel.entry.provenance.saved_at)),
            archived_at=str(iso(time.time())),
            how=delivered.how,
        )
        provenance = parcel.entry.provenance
        self.tell(
            "archived",
            path=parcel.entry.path,
            key=delivered.key,
            version_id=delivered.version_id,
            how=delivered.how,
            reason=provenance.reason,
            user=provenance.user,
            size=parcel.entry.size,
            sha256=provenance.sha256,
            saved_at=iso(provenance.saved_at),
            latency=max(0.0, time.time() - provenance.saved_at),
        )

    def _note_delivery(self) -> None:
        try:
            self.outbox.note_delivery()
        except OutboxError as e:
            self.intake.note(e)

    def _set_aside(self, parcel: Parcel, kind: str, error: BookstoreError) -> None:
        self.intake.release(parcel)
        if parcel.ref is not None:
            self._aside[kind].add(parcel.ref.file.name)
        self._set_aside_recently.append({"path": parcel.entry.path, "kind": kind, "message": str(error)})
        self.log.error("bookstore: a save of %s was set aside in %s/: %s", parcel.entry.path, kind, error)
        self.tell("failed", code=error.code, message=str(error), hint=error.hint, path=parcel.entry.path)

    def _trouble_changed(self, error: BookstoreError | None) -> None:
        """Remember and log a change; the probe and the shipper may both tell of one trouble."""
        known, self._store_trouble = self._store_trouble, error
        if (error and error.code) == (known and known.code):
            return
        if error is None:
            self._trouble_since = None
            self.log.info("bookstore: the store takes saves again")
            self._tell_recovered()
        else:
            self._trouble_since = self._trouble_since or time.time()
            self.log.warning("bookstore: saves wait in the outbox: %s. %s", str(error).rstrip("."), error.hint)
            self.tell("failed", code=error.code, message=str(error), hint=error.hint, path="")

    def _tell_recovered(self) -> None:
        """Tell that a trouble of which `failed` told is over; others may go on."""
        self.tell("recovered", waiting=self._waiting())

    def _tell_waiting(self) -> None:
        """Tell, once until nothing waits any more, that saves do not reach the store at once."""
        waiting = self._waiting()
        if waiting and not self._told_waiting:
            longest = min(self._parcels(), key=lambda parcel: parcel.entry.provenance.saved_at, default=None)
            saved_at = longest.entry.provenance.saved_at if longest is not None else -math.inf
            if time.time() - saved_at > WAITING_TOLD:
                self._told_waiting = True
                path = longest.entry.path if longest is not None else next(iter(self.intake.missed), "")
                self.tell("waiting", waiting=waiting, path=path)
        elif not waiting:
            self._told_waiting = False

    def _parcels(self) -> list[Parcel]:
        """Every save that waits and is not missed."""
        return [*self.shipper.parcels(), *self._early]

    def _waiting(self) -> int:
        """How many saves the store is not proven to hold."""
        return self.shipper.waiting + len(self._early) + sum(self.intake.missed.values())

    def _removal_failed(self, error: OutboxError) -> None:
        if self._removal_trouble is None:
            self.log.error("bookstore: entries that are done with cannot be removed from the outbox: %s", error)
        self._removal_trouble = error

    def _entry_left(self, ref: EntryRef, error: OutboxError) -> None:
        self.log.error("bookstore: a save of %s that failed is still in the outbox: %s", ref.entry.path, error)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.shipper.keep_removing, ref, error)

    def _met_unexpected(self, path: str, error: Exception) -> None:
        self.log.error("bookstore: shipping %s met an error that nobody foresaw", path, exc_info=error)

    def _missed(self, path: str) -> None:
        self.log.error("bookstore: neither the outbox nor memory takes a save of %s; its file is archived later", path)

    def _outbox_changed(self, error: OutboxError | None) -> None:
        if error is None:
            self.log.info("bookstore: the outbox takes saves again")
            if self._loop is not None and not self._loop.is_closed():  # as below
                self._loop.call_soon_threadsafe(self._tell_recovered)
        else:
            self.log.error("bookstore: the outbox takes no saves: %s. %s", str(error).rstrip("."), error.hint)
            if self._loop is not None and not self._loop.is_closed():  # heard in the thread of a save
                told = {"code": error.code, "message": str(error), "hint": error.hint, "path": ""}
                self._loop.call_soon_threadsafe(lambda: self.tell("failed", **told))

    # -- status ----------------------------------------------------------------------------------------------------

    def status(self) -> ArchiveStatus:
        """The archive's state."""
        if not self.is_configured:
            return ArchiveStatus("off", problems=[NO_BUCKET, *map(Problem.of_setting, self.problems)])
        parcels = self._parcels()
        missed = self.intake.missed
        unprotected = [parcel.entry.path for parcel in parcels if not parcel.is_protected]
        problems = list(self._problems())
        oldest = self.shipper.oldest()
        return ArchiveStatus(
            state="trouble" if problems else "waiting" if parcels or missed else "ok",
            destination=s3_display_path(self.settings.s3_bucket, self.prefix or ""),
            waiting=len(parcels) + sum(missed.values()),
            oldest_saved_at=iso(oldest),
            oldest_age=max(0.0, time.time() - oldest) if oldest is not None else None,
            unprotected=len(unprotected) + sum(missed.values()),
            unprotected_paths=sorted({*unprotected, *missed})[:NAMES_SHOWN],
            missed=sum(missed.values()),
            archived=self.shipper.shipped,
            unchanged=self.shipper.skipped,
            thinned=self.shipper.thinned,
            last_version=self.last_version,
            outbox=str(self.outbox.directory),
            quarantined=len(self._aside[QUARANTINE]),
            refused=len(self._aside[REFUSED]),
            set_aside=list(self._set_aside_recently),
            foreign=[asdict(foreign) for foreign in self.shipper.courier.foreign.values()],
            problems=problems,
            warnings=list(self._warnings()),
        )

    def document(self) -> dict[str, Any]:
        """What ``GET /api/bookstore`` answers."""
        return {
            "release": __version__,
            "features": self.features,
            "s3_bucket": self.settings.s3_bucket if self.is_configured else "",
            "workspace_clonable": self.workspace_clonable,
            "archive": self.status().to_dict(),
        }

    def _problems(self) -> Iterator[Problem]:
        yield from map(Problem.of_setting, self.blocking_problems)
        if self._store_trouble is not None:
            yield Problem.of_error(self._store_trouble, self._trouble_since)
        for trouble in (self.intake.trouble, self._adoption_trouble):
            if trouble is not None:
                yield Problem.of_error(trouble)
        for kind, names in self._aside.items():
            if count := len(names):
                yield Problem(
                    "SetAside",
                    f"{count} saves lie in {kind}/ of the outbox and are not in the bucket.",
                    f"Look at {self.outbox.directory / kind}: beside each save stands the reason.",
                )

    def _warnings(self) -> Iterator[Problem]:
        yield from (Problem.of_setting(p) for p in self.problems if not p.blocks_archiving)
        if self._filesystem is None:
            self._filesystem = filesystem_type(self.outbox.directory) or ""
        if why := FLEETING.get(self._filesystem):
            yield Problem(
                "FleetingOutbox",
                f"The outbox {self.outbox.directory} is on {self._filesystem}: {why}.",
                "Set c.BookstoreSettings.outbox_dir to a directory on a lasting disk.",
            )
        if self._removal_trouble is not None:
            yield Problem.of_error(self._removal_trouble)
        for left in self._left:
            root = left.owner.root_dir if left.owner else "unknown"
            yield Problem(
                "LeftBehind",
                f"{left.entries} saves of another server (root {root}) wait in {left.directory}.",
                f"Start that server again, or run: bookstore drain --outbox {self.outbox.directory}",
            )
        if self.shipper.courier.foreign:
            yield Problem(
                "ForeignOrigin",
                f"{len(self.shipper.courier.foreign)} keys were also written from elsewhere.",
                "Give each server a prefix of its own, such as workspace/{username}/{root}.",
            )


def store_of(settings: BookstoreSettings, bucket: str | None = None) -> ObjectStore:
    """The store over the bucket that the settings name, or over another one with the same endpoint and credentials."""
    from bookstore.storage.s3 import S3Options, S3Store

    return S3Store(
        S3Options(
            bucket=bucket if bucket is not None else settings.s3_bucket,
            endpoint_url=settings.endpoint,
            region_name=settings.region,
            access_key_id=settings.s3_access_key_id,
            secret_access_key=settings.s3_secret_access_key,
            session_token=settings.s3_session_token,
            addressing_style=settings.s3_addressing_style,
            ca_bundle=settings.s3_ca_bundle,
            server_side_encryption=settings.s3_server_side_encryption,
            kms_key_id=settings.s3_kms_key_id,
            max_connections=settings.max_threads,
        )
    )
