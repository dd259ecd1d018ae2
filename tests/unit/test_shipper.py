"""`bookstore.shipper`: everything that waits is shipped, once, in order, fairly, and patiently."""

# ruff: noqa: S311 - chance that can be repeated is what a test needs

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import random
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bookstore import shipper as shipper_module
from bookstore.delivery import Courier, Parcel
from bookstore.errors import (
    AccessDenied,
    BookstoreError,
    BucketMissing,
    BucketNotVersioned,
    CredentialsMissing,
    CredentialsRejected,
    EntryCorrupt,
    ObjectRefused,
    OutboxUnavailable,
    PathError,
    PreconditionFailed,
    SettingsError,
    StorageError,
    StoreFault,
    StoreThrottled,
    StoreTimeout,
    StoreUnreachable,
)
from bookstore.outbox import EntryRef, Outbox
from bookstore.outbox_entry import Entry
from bookstore.outbox_owner import Watch, this_process
from bookstore.provenance import Provenance
from bookstore.s3_paths import object_key, path_from_key
from bookstore.shipper import Report, Shipper
from bookstore.storage.base import Versioning
from bookstore.storage.memory import MemoryStore

BROKEN = OSError(errno.EIO, os.strerror(errno.EIO))


def count_aside(outbox):
    return {kind: len(names) for kind, names in outbox.names_aside().items()}


class _Store(MemoryStore):
    """Watches what is under way, and holds PUTs back as told."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way: dict[str, int] = {}
        self.most_at_once = 0
        self.most_bytes_at_once = 0
        self.order: list[str] = []
        #: Paths of which two saves were under way at once; told at the end, since the shipper survives any error here.
        self.overlaps: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.delay: Callable[[], float] | None = None
        self.seen: Callable[[str], None] | None = None

    async def put(self, key: str, body: bytes | memoryview, **options: Any):
        if key in self.under_way:
            self.overlaps.append(key)
        self.under_way[key] = len(body)
        self.order.append(key)
        self.most_at_once = max(self.most_at_once, len(self.under_way))
        self.most_bytes_at_once = max(self.most_bytes_at_once, sum(self.under_way.values()))
        try:
            if self.seen is not None:
                self.seen(key)
            await self.gate.wait()
            # Also before what fails: an answer takes its time, a good one and a bad one.
            if self.delay is not None:
                await asyncio.sleep(self.delay())
            return await super().put(key, body, **options)
        finally:
            self.under_way.pop(key, None)

    def contents(self, path: str = "a.ipynb") -> list[bytes]:
        """A path's versions, the oldest first."""
        return [version.content for version in self._keys.get(f"workspace/{path}", []) if version.content is not None]

    def fail_always(self, error: type[StorageError] | None, keys: Callable[[str], bool] = lambda key: True) -> None:
        def fault(operation: str, key: str):
            return error("failed") if error is not None and operation == "PutObject" and keys(key) else None

        self.faults = fault if error is not None else None


class _Scene:
    """A shipper between an outbox and a store, and what it reports."""

    def __init__(self, outbox: Outbox, **options: Any) -> None:
        self.store = _Store()
        self.outbox = outbox
        self.delivered: list[Parcel] = []
        self.aside: list[tuple[str, str]] = []
        self.troubles: list[BookstoreError | None] = []
        self.outbox_failures: list[BookstoreError] = []
        self.shipper = Shipper(
            Courier(self.store, probe_key="workspace/.bookstore/probe", origin="h:/home/u"),
            outbox,
            key_for=options.pop("key_for", lambda entry: object_key("workspace", entry.path)),
            report=Report(
                lambda parcel, delivered: self.delivered.append(parcel),
                lambda parcel, kind, error: self.aside.append((parcel.entry.path, kind)),
                self.troubles.append,
                self.outbox_failures.append,
            ),
            **({"slots": 4} | options),
        )

    def entry(self, content: bytes, path: str = "a.ipynb", **changes: Any) -> Entry:
        self.outbox.open()
        fields: dict[str, Any] = {
            "record_id": os.urandom(16).hex(),
            "sha256": hashlib.sha256(content).hexdigest(),
            "saved_at": time.time(),
            "host": "h",
            "root_dir": "/home/u",
            "instance": self.outbox.instance,
            "generation": self.outbox.generation,
            "sequence": self.outbox.next_sequence(),
        }
        return Entry(path, None, len(content), Provenance(**(fields | changes)))

    def parcel(self, content: bytes, path: str = "a.ipynb", **changes: Any) -> Parcel:
        entry = self.entry(content, path, **changes)
        return Parcel(entry, ref=self.outbox.put(entry, content))

    def unprotected(self, content: bytes, path: str = "a.ipynb", **changes: Any) -> Parcel:
        return Parcel(self.entry(content, path, **changes), content=content)

    def save(self, content: bytes, path: str = "a.ipynb", **changes: Any) -> Parcel:
        parcel = self.parcel(content, path, **changes)
        self.shipper.add(parcel)
        return parcel

    def entries(self) -> int:
        return len(list(self.outbox.directory.glob("*-*/*.entry")))

    def codes(self) -> list[str | None]:
        return [trouble and trouble.code for trouble in self.troubles]

    @property
    def is_idle(self) -> bool:
        removing = self.shipper._remover is not None and not self.shipper._remover.done()
        return not self.shipper.waiting and not self.shipper._tasks and not removing


@pytest.fixture
def waits(monkeypatch) -> list[tuple[str, int]]:
    """No waiting after errors: which error, and after how many failures in a row."""
    asked: list[tuple[str, int]] = []

    def wait_after(error: BookstoreError, failures: int, chance: Callable[[], float]) -> float:
        asked.append((error.code, failures))
        return 0.005

    monkeypatch.setattr(shipper_module, "wait_after", wait_after)
    return asked


@pytest.fixture
def quick(monkeypatch) -> None:
    """No waiting for a quiet moment."""
    monkeypatch.setattr(shipper_module, "QUIET", 0.0)


@pytest.fixture
async def make_scene(make_outbox):
    scenes: list[_Scene] = []

    def make(*, disk=None, **options: Any) -> _Scene:
        scenes.append(_Scene(make_outbox(disk=disk), **options))
        return scenes[-1]

    yield make
    for scene in scenes:
        scene.store.gate.set()
        await scene.shipper.stop()
        assert scene.store.overlaps == []


@pytest.fixture
async def scene(make_scene, quick) -> _Scene:
    return make_scene()


# -- the usual way --------------------------------------------------------------------------------------------------


async def test_a_save_is_shipped_and_leaves_the_outbox(scene, wait_until):
    parcel = scene.save(b"1")
    assert scene.shipper.waiting == 1
    assert list(scene.shipper.parcels()) == [parcel]
    assert scene.shipper.oldest() == parcel.entry.provenance.saved_at
    await wait_until(lambda: scene.is_idle)
    assert scene.store.contents() == [b"1"]
    assert scene.entries() == 0
    assert scene.delivered == [parcel]
    assert parcel.is_done
    assert (scene.shipper.shipped, scene.shipper.skipped, scene.shipper.oldest()) == (1, 0, None)
    assert not scene.shipper._lanes


async def test_the_entry_stays_until_the_store_has_answered(scene, wait_until):
    scene.store.gate.clear()
    parcel = scene.save(b"1")
    await wait_until(lambda: scene.store.under_way)
    assert parcel.ref.file.exists()
    scene.store.lost_answers = lambda operation, key: StoreTimeout("no answer") if operation == "PutObject" else None
    scene.store.gate.set()
    await wait_until(lambda: parcel.failures)
    assert parcel.ref.file.exists()
    assert scene.delivered == []
    scene.store.lost_answers = None
    assert await scene.shipper.flush(5) == 0
    assert scene.store.contents() == [b"1"]


async def test_saves_of_one_path_are_shipped_in_order_and_one_at_a_time(scene, wait_until):
    chance = random.Random(1)
    scene.store.delay = lambda: chance.random() / 500
    for number in range(40):
        scene.save(b"%d" % number)
    await wait_until(lambda: scene.is_idle)
    assert scene.store.contents() == [b"%d" % n for n in range(40)]


async def test_bytes_that_did_not_change_are_counted_apart(scene, wait_until):
    for content in (b"1", b"1", b"2"):
        scene.save(content)
    await wait_until(lambda: scene.is_idle)
    assert (scene.shipper.shipped, scene.shipper.skipped) == (2, 1)
    assert len(scene.delivered) == 3
    assert scene.entries() == 0


async def test_a_save_in_memory_is_shipped_too(scene, wait_until):
    parcel = scene.unprotected(b"1")
    scene.shipper.add(parcel)
    await wait_until(lambda: scene.is_idle)
    assert scene.store.contents() == [b"1"]
    assert scene.delivered == [parcel]


async def test_paths_take_turns(make_scene, quick, wait_until):
    scene = make_scene(slots=1)
    scene.store.gate.clear()
    for number in range(30):
        scene.save(b"%d" % number, "busy.ipynb")
    await wait_until(lambda: scene.store.under_way)
    scene.save(b"1", "rare.ipynb")
    scene.save(b"1", "other.ipynb")
    scene.store.gate.set()
    await wait_until(lambda: scene.is_idle)
    assert scene.store.order.index("workspace/rare.ipynb") <= 2
    assert scene.store.order.index("workspace/other.ipynb") <= 3
    assert len(scene.store.order) == 32


@pytest.mark.parametrize("slots", [1, 3, 7])
async def test_no_more_are_under_way_than_there_are_slots_but_as_many(make_scene, quick, wait_until, slots):
    scene = make_scene(slots=slots)
    scene.store.delay = lambda: 0.002
    for number in range(30):
        scene.save(b"1", f"{number}.ipynb")
    await wait_until(lambda: scene.is_idle)
    assert scene.store.most_at_once == slots


async def test_a_path_takes_one_slot_however_much_of_it_waits(scene, wait_until):
    scene.store.gate.clear()
    for number in range(5):
        scene.save(b"%d" % number)
    await wait_until(lambda: scene.store.under_way)
    scene.save(b"5")
    scene.shipper.hurry()
    assert scene.shipper._running == 1
    assert not scene.shipper._line


async def test_bytes_under_way_are_bounded_and_what_is_larger_goes_alone(scene, wait_until, monkeypatch):
    monkeypatch.setattr(shipper_module, "BYTES_IN_FLIGHT", 1000)
    scene.store.delay = lambda: 0.002
    for number in range(12):
        scene.save(os.urandom(400), f"{number}.ipynb")
    await wait_until(lambda: scene.is_idle)
    assert scene.store.most_bytes_at_once == 800
    scene.save(os.urandom(5000), "large.ipynb")
    for number in range(5):
        scene.save(os.urandom(400), f"{number}.ipynb")
    scene.store.seen = lambda key: None if key != "workspace/large.ipynb" else alone.append(len(scene.store.under_way))
    alone: list[int] = []
    await wait_until(lambda: scene.is_idle)
    assert alone == [1]
    assert scene.store.most_bytes_at_once == 5000


async def test_bytes_are_read_only_when_they_are_sent(make_scene, disk, quick, wait_until):
    scene = make_scene(disk=disk, slots=2)
    scene.store.gate.clear()
    for number in range(20):
        scene.save(b"1", f"{number}.ipynb")
    await wait_until(lambda: len(scene.store.under_way) == 2)
    assert sum(name == "read" for name, _ in disk.calls) == 2


async def test_the_paths_lock_is_held_while_it_is_shipped(scene, wait_until):
    async with scene.shipper.locks.hold("a.ipynb"):
        scene.save(b"1")
        await wait_until(lambda: scene.shipper._running)
        await asyncio.sleep(0.02)
        assert scene.store.order == []
    await wait_until(lambda: scene.is_idle)
    assert not scene.shipper.locks


# -- a quiet moment -------------------------------------------------------------------------------------------------


async def test_shipping_waits_for_a_quiet_moment(make_scene, wait_until, monkeypatch):
    monkeypatch.setattr(shipper_module, "QUIET", 0.2)
    scene = make_scene()
    began = time.monotonic()
    scene.save(b"1")
    await asyncio.sleep(0.05)
    scene.save(b"2")
    assert scene.store.order == []
    await wait_until(lambda: scene.store.order)
    assert 0.24 <= time.monotonic() - began < 2


async def test_shipping_does_not_wait_for_ever_while_saves_keep_coming(make_scene, monkeypatch):
    monkeypatch.setattr(shipper_module, "QUIET", 0.2)
    monkeypatch.setattr(shipper_module, "QUIET_AT_MOST", 0.4)
    scene = make_scene()
    began = time.monotonic()
    while not scene.store.order:
        assert time.monotonic() - began < 3
        scene.save(b"1")
        await asyncio.sleep(0.02)
    assert time.monotonic() - began >= 0.35


async def test_saves_that_keep_coming_do_not_make_the_backlog_grow(make_scene, monkeypatch):
    monkeypatch.setattr(shipper_module, "QUIET_AT_MOST", 0.3)
    scene = make_scene()
    scene.store.delay = lambda: 0.01
    began = time.monotonic()
    count = 0
    while time.monotonic() - began < 1.5:
        scene.shipper.add(scene.unprotected(b"1", f"{count}.ipynb"))
        count += 1
        await asyncio.sleep(0.01)
    # What came in the first 0.3 s waits; after that four slots of 10 ms ship more than comes.
    assert scene.shipper.waiting < count / 3


async def test_while_paused_everything_waits(scene, wait_until):
    scene.shipper.is_paused = True
    scene.save(b"1")
    await asyncio.sleep(0.05)
    assert scene.store.order == []
    scene.shipper.resume()
    await wait_until(lambda: scene.is_idle)


# -- a store in trouble ---------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    saves=st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=25),
    faults=st.lists(
        st.sampled_from(
            [None, None, StoreTimeout, StoreFault, StoreThrottled, StoreUnreachable, CredentialsRejected, AccessDenied]
        ),
        max_size=40,
    ),
    lost=st.lists(st.sampled_from([None, None, None, StoreTimeout, StoreFault]), max_size=40),
    seed=st.integers(0, 1000),
)
def test_whatever_fails_for_a_while_each_save_is_one_version_and_the_order_is_kept(saves, faults, lost, seed):
    async def story(directory: Path) -> None:
        scene = _Scene(Outbox(directory, lambda i: this_process(i, "/home/u", "b")), slots=3)
        chance = random.Random(seed)
        coming, going = deque(faults), deque(lost)

        def before(operation: str, key: str):
            error = coming.popleft() if coming else None
            return error("failed") if error is not None else None

        def after(operation: str, key: str):
            error = going.popleft() if going and operation == "PutObject" else None
            return error("lost") if error is not None else None

        scene.store.faults, scene.store.lost_answers = before, after
        scene.store.delay = lambda: chance.choice([0, 0, 0.001])
        expected: dict[str, list[bytes]] = {}
        for number, (path, in_memory) in enumerate(saves):
            content = b"%d" % number
            name = f"{path}.ipynb"
            expected.setdefault(name, []).append(content)
            scene.shipper.add(scene.unprotected(content, name) if in_memory else scene.parcel(content, name))
            if chance.random() < 0.3:
                await asyncio.sleep(0)
        assert await scene.shipper.flush(20) == 0
        await asyncio.gather(*scene.shipper._tasks)
        for name, contents in expected.items():
            assert scene.store.contents(name) == contents
        assert scene.entries() == 0
        assert scene.shipper.trouble is None
        assert len(scene.delivered) == len(saves)
        assert scene.store.overlaps == []
        await scene.shipper.stop()

    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipper_module, "wait_after", lambda *arguments: 0.001)
        patch.setattr(shipper_module, "QUIET", 0.001)
        asyncio.run(story(Path(directory)))


@pytest.mark.parametrize("error", [StoreTimeout, StoreFault, StoreThrottled, AccessDenied, StoreUnreachable])
async def test_a_save_that_fails_does_not_let_the_next_of_its_path_overtake(scene, waits, wait_until, error):
    scene.store.fail_always(error)
    for number in range(3):
        scene.save(b"%d" % number)
    await wait_until(lambda: len(waits) > 3)
    assert scene.store.contents() == []
    assert scene.entries() == 3
    scene.store.fail_always(None)
    await wait_until(lambda: scene.is_idle)
    assert scene.store.contents() == [b"0", b"1", b"2"]


@pytest.mark.parametrize(
    "error", [BucketMissing, StoreUnreachable, CredentialsRejected, CredentialsMissing, BucketNotVersioned]
)
async def test_what_concerns_every_save_closes_the_gate_and_one_trial_at_a_time_goes_on(
    make_scene, quick, wait_until, monkeypatch, error
):
    monkeypatch.setattr(shipper_module, "wait_after", lambda error, failures, chance: 0.2)
    scene = make_scene(slots=4)
    scene.store.fail_always(error)
    scene.store.delay = lambda: 0.005
    parcels = [scene.save(b"1", f"{n}.ipynb") for n in range(20)]
    await wait_until(lambda: scene.troubles)
    await wait_until(lambda: not scene.store.under_way and not scene.shipper._running)
    first_wave = len(scene.store.order)
    assert first_wave <= 4
    scene.store.most_at_once = 0
    await wait_until(lambda: len(scene.store.order) >= first_wave + 4)
    assert scene.store.most_at_once == 1
    assert scene.entries() == 20
    assert scene.shipper.trouble.code == error.__name__
    scene.store.fail_always(None)
    await wait_until(lambda: scene.is_idle)
    assert all(parcel.is_done for parcel in parcels)
    assert scene.codes() == [error.__name__, None]


async def test_while_the_gate_is_closed_nothing_is_asked(scene, wait_until, monkeypatch):
    monkeypatch.setattr(shipper_module, "wait_after", lambda error, failures, chance: 60)
    scene.store.exists = False
    scene.save(b"1")
    await wait_until(lambda: scene.troubles)
    scene.store.requests.clear()
    for number in range(10):
        scene.save(b"1", f"{number}.ipynb")
    await asyncio.sleep(0.1)
    assert not scene.store.requests
    assert scene.codes() == ["BucketMissing"]


async def test_settings_that_give_no_key_close_the_gate(make_scene, quick, waits, wait_until):
    wrong = True

    def key_for(entry: Entry) -> str:
        if wrong:
            raise SettingsError("workspace_prefix is empty")
        return object_key("workspace", entry.path)

    scene = make_scene(key_for=key_for)
    scene.save(b"1")
    await wait_until(lambda: scene.troubles)
    assert scene.codes() == ["SettingsError"]
    assert not scene.store.requests
    wrong = False
    await wait_until(lambda: scene.is_idle)
    assert scene.store.contents() == [b"1"]


async def test_failures_in_a_row_close_the_gate_although_each_may_pass(scene, waits, wait_until):
    scene.store.fail_always(StoreFault)
    scene.save(b"1")
    await wait_until(lambda: scene.troubles)
    assert waits[:2] == [("StoreFault", 1), ("StoreFault", 2)]
    assert scene.codes() == ["StoreFault"]


async def test_one_failure_that_passes_is_no_trouble(scene, waits, wait_until):
    failures = iter([StoreFault("500"), StoreThrottled("503")])
    scene.store.faults = lambda operation, key: next(failures, None) if operation == "PutObject" else None
    scene.save(b"1")
    await wait_until(lambda: scene.is_idle)
    assert scene.troubles == []
    assert waits == [("StoreFault", 1), ("StoreThrottled", 2)]


async def test_a_store_that_hangs_is_told_after_the_first_attempt(scene, waits, wait_until):
    failures = iter([StoreTimeout("slow")])
    scene.store.faults = lambda operation, key: next(failures, None) if operation == "PutObject" else None
    scene.save(b"1")
    await wait_until(lambda: scene.is_idle)
    assert scene.codes() == ["StoreTimeout", None]


async def test_backoff_begins_anew_after_a_success(scene, waits, wait_until):
    for expected in ("1", "2"):
        waits.clear()
        scene.store.fail_always(StoreUnreachable)
        scene.save(expected.encode())
        await wait_until(lambda: len(waits) >= 6)
        scene.store.fail_always(None)
        await wait_until(lambda: scene.is_idle)
        assert waits[0] == ("StoreUnreachable", 1)
        assert ("StoreUnreachable", 3) in waits


async def test_what_waited_for_the_store_is_shipped_as_soon_as_it_is_back(scene, wait_until, monkeypatch):
    monkeypatch.setattr(shipper_module, "wait_after", lambda error, failures, chance: 60)
    denied = True
    scene.store.faults = lambda operation, key: (
        StoreUnreachable("down") if denied and operation == "PutObject" else None
    )
    for number in range(8):
        scene.save(b"1", f"{number}.ipynb")
    await wait_until(lambda: scene.troubles and not scene.shipper._running)
    denied = False
    scene.shipper._gate_timer.cancel()
    scene.shipper._gate_timer, scene.shipper._gate_closed = None, False
    scene.save(b"1", "new.ipynb")  # the trial that finds the store well
    await wait_until(lambda: scene.is_idle)


async def test_trouble_is_reported_once_per_change(scene, waits, wait_until):
    for error in (StoreUnreachable, BucketMissing):
        seen = len(waits)
        scene.store.fail_always(error)
        scene.save(b"1")
        await wait_until(lambda seen=seen: len(waits) > seen + 8)
    scene.store.fail_always(None)
    await wait_until(lambda: scene.is_idle)
    assert scene.codes() == ["StoreUnreachable", "BucketMissing", None]
    assert scene.shipper.trouble is None


async def test_one_path_that_is_denied_neither_stops_nor_slows_the_others_nor_floods_the_log(
    scene, wait_until, monkeypatch
):
    asked = []

    def wait_after(error, failures, chance):
        asked.append(failures)
        return 60

    monkeypatch.setattr(shipper_module, "wait_after", wait_after)
    scene.store.fail_always(AccessDenied, lambda key: key.endswith("denied.ipynb"))
    scene.store.delay = lambda: 0.002
    scene.save(b"1", "denied.ipynb")
    await wait_until(lambda: scene.troubles)
    for number in range(20):
        scene.save(b"1", f"{number}.ipynb")
    await wait_until(lambda: scene.shipper.waiting == 1)
    assert scene.codes() == ["AccessDenied"]
    assert asked == [1]
    assert scene.store.most_at_once == 4
    scene.store.fail_always(None)
    assert await scene.shipper.flush(5) == 0
    assert scene.codes() == ["AccessDenied", None]


async def test_trouble_of_a_path_ends_with_the_save_that_had_it(scene, waits, wait_until):
    errors = iter([AccessDenied("denied"), ObjectRefused("too large")])
    scene.store.faults = lambda operation, key: next(errors, None) if operation == "PutObject" else None
    scene.save(b"1")
    await wait_until(lambda: scene.is_idle)
    assert scene.codes() == ["AccessDenied", None]


@pytest.mark.parametrize("error", [CredentialsRejected, CredentialsMissing])
async def test_credentials_are_read_anew_after_they_were_refused(scene, waits, wait_until, error):
    scene.store.fail_always(error)

    async def refresh() -> None:
        scene.store.fail_always(None)

    scene.store.refresh = refresh
    scene.save(b"1")
    await wait_until(lambda: scene.is_idle)
    assert scene.store.contents() == [b"1"]


async def test_throttling_lowers_the_rate_and_success_raises_it_again(make_scene, quick, waits, wait_until):
    scene = make_scene(slots=8)
    errors = deque([StoreThrottled("slow down")] * 2)
    scene.store.faults = lambda operation, key: errors.popleft() if errors and operation == "PutObject" else None
    scene.save(b"1")
    await wait_until(lambda: scene.is_idle)
    assert waits == [("StoreThrottled", 1), ("StoreThrottled", 2)]
    scene.store.delay = lambda: 0.002
    scene.store.most_at_once = 0
    for number in range(6):
        scene.save(b"1", f"{number}.ipynb")
    await wait_until(lambda: scene.is_idle)
    assert scene.store.most_at_once == 2
    for number in range(100):
        scene.save(b"2", f"{number}.ipynb")
    await wait_until(lambda: scene.is_idle)
    assert scene.store.most_at_once == 8


async def test_throttling_never_stops_everything(make_scene, quick, waits, wait_until):
    scene = make_scene(slots=2)
    errors = deque([StoreThrottled("slow down")] * 12)
    scene.store.faults = lambda operation, key: errors.popleft() if errors and operation == "PutObject" else None
    scene.save(b"1")
    await wait_until(lambda: scene.is_idle)
    assert scene.store.contents() == [b"1"]


async def test_saves_that_are_sent_at_once_take_turns_with_the_rest_of_the_loop(make_scene, quick, wait_until):
    scene, rounds, begun = make_scene(slots=8), 0, []
    scene.store.seen = lambda key: begun.append(rounds)
    scene.store.gate.clear()

    async def count():
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    for number in range(8):
        scene.save(b"1", f"{number}.ipynb")
    await wait_until(lambda: len(begun) == 8)
    counting.cancel()
    assert len(set(begun)) == 8
    scene.store.gate.set()
    await wait_until(lambda: scene.is_idle)


async def test_what_must_not_be_shipped_is_removed_once_the_disk_lets_it(make_scene, disk):
    scene = make_scene(disk=disk)
    ref = scene.parcel(b"of a save that failed").ref
    scene.shipper.keep_removing(ref, OutboxUnavailable("removing: Input/output error"))
    assert [error.code for error in scene.outbox_failures] == ["OutboxUnavailable"]
    disk.faults["remove"] = BROKEN
    with pytest.raises(OutboxUnavailable):
        await scene.shipper.remove_again()
    disk.faults.clear()
    await scene.shipper.remove_again()
    assert scene.entries() == 0


async def test_an_error_that_nobody_foresaw_is_told_once_for_a_save_with_its_traceback(scene, waits, wait_until):
    told = []
    scene.shipper._report.unexpected = lambda path, error: told.append((path, error, error.__traceback__ is not None))
    scene.store.faults = lambda operation, key: AttributeError("?") if operation == "PutObject" else None
    scene.save(b"1")
    await wait_until(lambda: len(waits) > 3)
    scene.store.faults = None
    await wait_until(lambda: scene.is_idle)
    [(path, error, had_traceback)] = told
    assert (path, type(error), had_traceback) == ("a.ipynb", AttributeError, True)


@pytest.mark.parametrize("error", [StoreThrottled, StoreUnreachable, ObjectRefused, RuntimeError])
async def test_a_save_that_fails_is_not_kept_in_memory_by_its_error(scene, waits, wait_until, error, held_by):
    def fault(operation: str, key: str):
        if operation == "PutObject":
            raise error("failed") from ValueError("below")

    scene.store.faults = fault
    parcel = scene.save(b"1" * 1000)
    await wait_until(lambda: parcel.failures > 2 or parcel.is_done)
    assert parcel.error is not None
    assert parcel.error.__cause__ is not None, "what was behind it is still told"
    for kept in (parcel.error, scene.shipper.trouble):
        assert held_by(kept) == []
    scene.store.faults = None
    await wait_until(lambda: scene.is_idle)


async def test_other_writers_of_a_key_are_no_trouble_of_the_store(scene, waits, wait_until):
    scene.store.fail_always(PreconditionFailed)
    parcel = scene.save(b"1")
    await wait_until(lambda: len(waits) > 3)
    assert scene.troubles == []
    assert not parcel.is_done
    scene.store.fail_always(None)
    await wait_until(lambda: scene.is_idle)


@pytest.mark.parametrize("error", [ValueError("?"), RuntimeError("?"), KeyError("?"), OSError("?")])
async def test_an_error_that_nobody_foresaw_does_not_strand_the_path(scene, waits, wait_until, error):
    broken = True

    def fault(operation: str, key: str):
        if broken and operation == "PutObject":
            raise error

    scene.store.faults = fault
    scene.save(b"1")
    scene.save(b"2")
    await wait_until(lambda: len(waits) > 4)
    assert scene.shipper.trouble is not None
    assert type(error).__name__ in str(scene.shipper.trouble)
    broken = False
    await wait_until(lambda: scene.is_idle)
    assert scene.store.contents() == [b"1", b"2"]


async def test_a_listener_that_fails_strands_nothing_either(scene, waits, wait_until):
    listeners = iter([ValueError("a listener's own error")])

    def delivered(parcel, result):
        for error in listeners:
            raise error
        scene.delivered.append(parcel)

    scene.shipper._report.delivered = delivered
    for content in (b"1", b"2"):
        scene.save(content, reason="rename")  # which no equal bytes at the head excuse from being stored
    await wait_until(lambda: scene.is_idle)
    assert scene.store.contents() == [b"1", b"2"]
    assert scene.entries() == 0


# -- saves that cannot be shipped -----------------------------------------------------------------------------------


async def test_a_save_that_the_store_refuses_is_set_aside_and_its_path_goes_on(scene, waits, wait_until):
    refused = scene.save(b"too large")
    scene.save(b"small")
    scene.store.faults = lambda operation, key: (
        ObjectRefused("413") if operation == "PutObject" and not refused.is_done else None
    )
    await wait_until(lambda: scene.is_idle)
    assert scene.store.contents() == [b"small"]
    assert scene.aside == [("a.ipynb", "refused")]
    assert count_aside(scene.outbox) == {"quarantine": 0, "refused": 1}
    assert scene.entries() == 0
    assert scene.troubles == []


async def test_a_path_without_a_key_is_set_aside(make_scene, quick, waits, wait_until):
    scene = make_scene()
    scene.save(b"1", "x" * 2000)
    scene.save(b"1", "fine.ipynb")
    await wait_until(lambda: scene.is_idle)
    assert scene.aside == [("x" * 2000, "refused")]
    assert scene.store.contents("fine.ipynb") == [b"1"]


async def test_a_save_in_memory_that_is_refused_is_kept_on_disk(scene, waits, wait_until):
    parcel = scene.unprotected(b"1")
    scene.store.fail_always(ObjectRefused)
    scene.shipper.add(parcel)
    await wait_until(lambda: scene.is_idle)
    [kept] = (scene.outbox.directory / "refused").glob("*.entry")
    assert kept.read_bytes().endswith(b"1")


async def test_a_corrupt_entry_is_quarantined_and_its_path_goes_on(scene, waits, wait_until):
    corrupt = scene.parcel(b"corrupt")
    data = bytearray(corrupt.ref.file.read_bytes())
    data[-1] ^= 1
    corrupt.ref.file.write_bytes(bytes(data))
    scene.save(b"1")
    scene.shipper.add(corrupt)
    scene.save(b"2")
    await wait_until(lambda: scene.is_idle)
    assert scene.store.contents() == [b"1", b"2"]
    assert scene.aside == [("a.ipynb", "quarantine")]
    assert count_aside(scene.outbox) == {"quarantine": 1, "refused": 0}
    assert len(scene.delivered) == 2
    assert corrupt not in scene.delivered


async def test_what_cannot_be_set_aside_yet_is_tried_again_and_told(make_scene, disk, quick, waits, wait_until):
    scene = make_scene(disk=disk)
    parcel = scene.parcel(b"1")
    parcel.ref.file.write_bytes(b"garbage")
    disk.faults["rename"] = BROKEN
    scene.shipper.add(parcel)
    await wait_until(lambda: scene.troubles)
    assert scene.codes() == ["OutboxUnavailable"]
    assert not parcel.is_done
    disk.faults.clear()
    await wait_until(lambda: scene.is_idle)
    assert scene.aside == [("a.ipynb", "quarantine")]


async def test_an_entry_that_another_server_claimed_is_dropped_and_not_shipped(scene, make_outbox, waits, wait_until):
    scene.shipper.is_paused = True
    claimed = scene.save(b"1")
    scene.outbox.close()
    other = make_outbox()
    [ref] = other.adopt(lambda owner: True, Watch()).adopted
    scene.save(b"2")
    assert scene.shipper.courier.is_in_order
    scene.shipper.resume()
    await wait_until(lambda: scene.is_idle)
    assert claimed.is_done
    assert not scene.shipper.courier.is_in_order
    assert scene.store.contents() == [b"2"]
    assert scene.troubles == []
    assert scene.aside == []
    assert ref.file.exists()


async def test_an_entry_that_cannot_be_read_now_is_not_given_up(make_scene, disk, quick, waits, wait_until):
    scene = make_scene(disk=disk)
    disk.faults["read"] = BROKEN
    parcel = scene.save(b"1")
    await wait_until(lambda: len(waits) > 2)
    assert not parcel.is_done
    disk.faults.clear()
    await wait_until(lambda: scene.is_idle)
    assert scene.store.contents() == [b"1"]


async def test_an_entry_that_cannot_be_removed_is_told_and_shipped_once(make_scene, disk, quick, wait_until):
    scene = make_scene(disk=disk)
    disk.faults["remove"] = BROKEN
    parcel = scene.save(b"1")
    await wait_until(lambda: scene.is_idle)
    assert parcel.is_done
    assert [type(error) for error in scene.outbox_failures] == [OutboxUnavailable]
    assert scene.store.contents() == [b"1"]
    assert parcel.ref.file.exists()


# -- what others left -----------------------------------------------------------------------------------------------


def _as_adopted(parcel: Parcel) -> Parcel:
    return Parcel(parcel.entry, ref=EntryRef(parcel.ref.file, parcel.entry, adopted=True), uncertain=True)


async def test_what_a_dead_server_left_goes_first(scene, wait_until):
    scene.shipper.is_paused = True
    adopted = [_as_adopted(scene.parcel(b"old %d" % n)) for n in range(3)]
    for number in range(2):
        scene.save(b"new %d" % number)
    scene.shipper.add_adopted(adopted)
    scene.shipper.resume()
    await wait_until(lambda: scene.is_idle)
    assert scene.store.contents() == [b"old 0", b"old 1", b"old 2", b"new 0", b"new 1"]


@pytest.mark.parametrize("fails", [False, True])
async def test_what_is_under_way_already_is_not_overtaken_by_what_was_left(scene, waits, wait_until, fails):
    scene.store.gate.clear()
    scene.save(b"under way")
    scene.save(b"new")
    await wait_until(lambda: scene.store.under_way)
    scene.shipper.add_adopted([_as_adopted(scene.parcel(b"old"))])
    failures = iter([StoreTimeout("slow")] * fails)
    scene.store.faults = lambda operation, key: next(failures, None) if operation == "PutObject" else None
    scene.store.gate.set()
    await wait_until(lambda: scene.is_idle)
    assert scene.store.contents() == [b"under way", b"old", b"new"]


async def test_what_was_left_and_is_stored_already_is_found(scene, wait_until):
    parcel = scene.parcel(b"1")
    await scene.shipper.courier.deliver(Parcel(parcel.entry), "workspace/a.ipynb", b"1")
    scene.shipper.add_adopted([_as_adopted(parcel)])
    await wait_until(lambda: scene.is_idle)
    assert scene.store.contents() == [b"1"]
    assert scene.entries() == 0


# -- flush and stop -------------------------------------------------------------------------------------------------


async def test_flushing_nothing_is_done_at_once(scene):
    assert await scene.shipper.flush(0) == 0


async def test_flush_does_not_wait_for_a_quiet_moment_and_is_prompt(make_scene):
    scene = make_scene()
    for number in range(5):
        scene.save(b"%d" % number)
    began = time.monotonic()
    assert await scene.shipper.flush(10) == 0
    assert time.monotonic() - began < 1
    assert scene.store.contents() == [b"%d" % n for n in range(5)]


async def test_flush_tells_how_many_still_wait(scene, wait_until):
    scene.store.gate.clear()
    for number in range(5):
        scene.save(b"1", f"{number}.ipynb")
    assert await scene.shipper.flush(0.05) == 5
    scene.store.gate.set()
    assert await scene.shipper.flush(5) == 0
    assert not scene.shipper._flushing


async def test_flush_does_not_wait_for_saves_that_come_later(scene, wait_until):
    scene.store.gate.clear()
    scene.save(b"1")
    flushing = asyncio.create_task(scene.shipper.flush(5))
    await wait_until(lambda: scene.store.under_way)
    scene.store.fail_always(StoreFault, lambda key: key.endswith("b.ipynb"))
    later = scene.save(b"2", "b.ipynb")
    scene.store.gate.set()
    assert await flushing == 0
    assert not later.is_done


@pytest.mark.parametrize("error", [StoreFault, BucketMissing, AccessDenied])
async def test_flush_wakes_what_sleeps_after_errors(scene, wait_until, monkeypatch, error):
    monkeypatch.setattr(shipper_module, "wait_after", lambda error, failures, chance: 60)
    scene.store.fail_always(error)
    for number in range(6):
        scene.save(b"1", f"{number}.ipynb")
    await wait_until(lambda: scene.troubles and not scene.shipper._running)
    scene.store.fail_always(None)
    assert await scene.shipper.flush(5) == 0
    assert scene.shipper.trouble is None


async def test_flush_goes_on_trying_a_store_that_comes_back(scene, monkeypatch):
    monkeypatch.setattr(shipper_module, "wait_after", lambda error, failures, chance: 60)
    scene.store.fail_always(BucketMissing)
    scene.save(b"1")
    flushing = asyncio.create_task(scene.shipper.flush(10))
    await asyncio.sleep(0.1)
    scene.store.fail_always(None)
    assert await flushing == 0


async def test_flush_does_not_hammer_a_store_that_fails(scene, monkeypatch):
    monkeypatch.setattr(shipper_module, "wait_after", lambda error, failures, chance: 60)
    scene.store.fail_always(StoreFault)
    scene.save(b"1")
    assert await scene.shipper.flush(0.3) == 1
    assert len(scene.store.order) == 1


async def test_two_may_flush_at_once(scene):
    for number in range(3):
        scene.save(b"%d" % number)
    assert await asyncio.gather(scene.shipper.flush(5), scene.shipper.flush(5)) == [0, 0]


async def test_a_flush_that_is_given_up_leaves_no_trace(scene, wait_until):
    scene.store.gate.clear()
    scene.save(b"1")
    task = asyncio.create_task(scene.shipper.flush(60))
    await wait_until(lambda: scene.store.under_way)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not scene.shipper._flushing


async def test_stop_breaks_off_and_leaves_everything_in_the_outbox(scene, wait_until):
    scene.store.gate.clear()
    parcels = [scene.save(b"%d" % n, f"{n % 3}.ipynb") for n in range(9)]
    await wait_until(lambda: len(scene.store.under_way) == 3)
    await asyncio.wait_for(asyncio.gather(scene.shipper.stop(), scene.shipper.stop()), 5)
    await scene.shipper.stop()
    assert scene.store.under_way == {}
    assert scene.entries() == 9
    assert all(parcel.ref.file.exists() for parcel in parcels)
    assert scene.shipper.waiting == 9
    scene.store.gate.set()
    scene.save(b"later")
    await asyncio.sleep(0.05)
    assert scene.store.contents("0.ipynb") == []
    assert scene.entries() == 10


async def test_stop_before_anything_happened(scene):
    await scene.shipper.stop()


async def test_what_was_broken_off_is_shipped_once_by_the_next_server(scene, make_outbox, wait_until):
    answers = asyncio.Event()
    put = MemoryStore.put

    class Held(_Store):
        async def put(self, key, body, **options):
            receipt = await put(self, key, body, **options)
            answers.set()
            await asyncio.sleep(60)
            return receipt

    scene.shipper.courier.store = held = Held()
    scene.save(b"1")
    scene.save(b"2")
    await asyncio.wait_for(answers.wait(), 5)
    await scene.shipper.stop()
    scene.outbox.close()
    after = _Scene(make_outbox())
    held.__class__ = _Store
    after.shipper.courier.store = held
    adoption = after.outbox.adopt(lambda owner: True, Watch())
    after.shipper.add_adopted(Parcel(ref.entry, ref=ref, uncertain=True) for ref in adoption.adopted)
    await wait_until(lambda: after.is_idle)
    assert held.contents() == [b"1", b"2"]
    await after.shipper.stop()


# -- the first outcome ----------------------------------------------------------------------------------------------


async def test_the_first_outcome_of_a_save_that_is_shipped_is_that(scene, at_most):
    parcel = scene.save(b"1")
    async with at_most(5):
        await scene.shipper.first_outcome(parcel)
        assert parcel.is_done
        await scene.shipper.first_outcome(parcel)
    assert not scene.shipper._outcomes


@pytest.mark.parametrize("error", [StoreFault, BucketMissing, AccessDenied, StoreThrottled, CredentialsMissing])
async def test_the_first_outcome_of_a_save_that_has_to_wait_is_that_it_has_to(scene, at_most, monkeypatch, error):
    monkeypatch.setattr(shipper_module, "wait_after", lambda error, failures, chance: 60)
    scene.store.fail_always(error)
    first, second = scene.save(b"1"), scene.save(b"2")
    async with at_most(5):
        await asyncio.gather(scene.shipper.first_outcome(first), scene.shipper.first_outcome(second))
        await scene.shipper.first_outcome(scene.save(b"3"))
        if error is BucketMissing:
            await scene.shipper.first_outcome(scene.save(b"4", "b.ipynb"))
    assert not first.is_done


async def test_the_first_outcome_comes_when_the_shipper_is_paused_or_stopped(scene, at_most, wait_until):
    scene.store.gate.clear()
    parcel = scene.save(b"1")
    waiting = asyncio.create_task(scene.shipper.first_outcome(parcel))
    await wait_until(lambda: scene.store.under_way)
    assert not waiting.done()
    async with at_most(5):
        await scene.shipper.stop()
        await waiting
        await scene.shipper.first_outcome(scene.save(b"2"))


async def test_the_first_outcome_does_not_wait_for_an_interval(make_scene, quick, at_most):
    scene = make_scene(min_interval=60)
    async with at_most(5):
        for content in (b"1", b"2", b"3"):
            await scene.shipper.first_outcome(scene.save(content))
    assert scene.store.contents() == [b"1"]


async def test_the_first_outcome_of_many_paths_comes_for_all(make_scene, quick, waits, at_most):
    scene = make_scene(slots=2)
    scene.store.fail_always(AccessDenied, lambda key: "3" in key)
    async with at_most(5):
        await asyncio.gather(*(scene.shipper.first_outcome(scene.save(b"1", f"{n}.ipynb")) for n in range(20)))


async def test_the_first_outcome_of_a_save_that_is_set_aside_or_claimed_is_that(scene, at_most):
    scene.store.fail_always(ObjectRefused)
    async with at_most(5):
        await scene.shipper.first_outcome(scene.save(b"1"))
        gone = scene.parcel(b"2", "b.ipynb")
        gone.ref.file.unlink()
        scene.shipper.add(gone)
        await scene.shipper.first_outcome(gone)
    assert gone.is_done


# -- thinning -------------------------------------------------------------------------------------------------------


async def test_of_each_interval_the_newest_save_is_kept(make_scene, quick, wait_until):
    scene = make_scene(min_interval=10)
    scene.shipper.is_paused = True
    for second in (0, 1, 2, 11, 12, 30):
        scene.save(b"%d" % second, saved_at=1e9 + second)
    scene.shipper.resume()
    assert await scene.shipper.flush(5) == 0
    await wait_until(lambda: scene.is_idle)
    assert scene.store.contents() == [b"2", b"12", b"30"]
    assert scene.shipper.thinned == 3
    assert scene.entries() == 0


async def test_between_two_versions_the_interval_passes(make_scene, quick, wait_until):
    scene = make_scene(min_interval=0.3)
    shipped = []
    scene.store.seen = lambda key: shipped.append(time.monotonic())
    scene.save(b"0")
    await wait_until(lambda: scene.delivered)
    for number in range(1, 6):
        scene.save(b"%d" % number)
        await asyncio.sleep(0.01)
    await wait_until(lambda: scene.is_idle)
    assert scene.store.contents() == [b"0", b"5"]
    assert shipped[1] - shipped[0] >= 0.28
    await wait_until(lambda: not scene.shipper._lanes)


async def test_a_single_save_does_not_wait_for_an_interval(make_scene, quick, wait_until):
    scene = make_scene(min_interval=60)
    scene.save(b"1")
    await wait_until(lambda: scene.is_idle)
    assert scene.store.contents() == [b"1"]


@pytest.mark.parametrize("reason", ["rename", "restore", "copy", "upload"])
async def test_what_happened_is_never_thinned(make_scene, quick, reason):
    scene = make_scene(min_interval=10)
    scene.shipper.is_paused = True
    for number, why in enumerate(["save", reason, "save", "save"]):
        scene.save(b"%d" % number, saved_at=1e9 + number, reason=why)
    scene.shipper.resume()
    assert await scene.shipper.flush(5) == 0
    assert b"1" in scene.store.contents()
    assert scene.store.contents()[-1] == b"3"


async def test_what_the_store_may_hold_already_is_not_thinned(make_scene, quick):
    scene = make_scene(min_interval=10)
    scene.shipper.is_paused = True
    scene.shipper.add_adopted([_as_adopted(scene.parcel(b"old", saved_at=1e9))])
    scene.save(b"new", saved_at=1e9 + 1)
    scene.shipper.resume()
    assert await scene.shipper.flush(5) == 0
    assert scene.store.contents() == [b"old", b"new"]


async def test_every_save_in_memory_is_told_of_so_that_its_memory_is_given_back(make_scene, quick):
    scene = make_scene(min_interval=10)
    scene.shipper.is_paused = True
    parcels = [scene.unprotected(b"%d" % n, saved_at=1e9 + n) for n in range(3)]
    for parcel in parcels:
        scene.shipper.add(parcel)
    scene.shipper.resume()
    assert await scene.shipper.flush(5) == 0
    assert scene.delivered == parcels


async def test_a_clock_set_back_thins_nothing_away(make_scene, quick):
    scene = make_scene(min_interval=10)
    scene.shipper.is_paused = True
    for content, second in ((b"0", 100), (b"1", 50), (b"2", 200)):
        scene.save(content, saved_at=1e9 + second)
    scene.shipper.resume()
    assert await scene.shipper.flush(5) == 0
    assert scene.store.contents() == [b"0", b"1", b"2"]


async def test_bytes_under_way_are_bounded_after_thinning_too(make_scene, quick, monkeypatch):
    monkeypatch.setattr(shipper_module, "BYTES_IN_FLIGHT", 1000)
    scene = make_scene(min_interval=10)
    scene.shipper.is_paused = True
    scene.store.delay = lambda: 0.005
    for number in range(4):
        scene.save(b"small", f"{number}.ipynb", saved_at=1e9)
        scene.save(os.urandom(900), f"{number}.ipynb", saved_at=1e9 + 1)
    scene.shipper.resume()
    assert await scene.shipper.flush(5) == 0
    assert scene.store.most_bytes_at_once <= 1000
    assert scene.shipper.thinned == 4


# -- the sum --------------------------------------------------------------------------------------------------------


async def test_a_thousand_saves_leave_nothing_behind(make_scene, quick, wait_until):
    scene = make_scene(slots=14)
    for number in range(1000):
        scene.save(b"%d" % number, f"{number % 50}.ipynb")
    assert await scene.shipper.flush(30) == 0
    await wait_until(lambda: scene.is_idle)
    for path in range(50):
        assert scene.store.contents(f"{path}.ipynb") == [b"%d" % n for n in range(path, 1000, 50)]
    assert scene.store.requests["PutObject"] == 1000
    assert scene.entries() == 0
    shipper = scene.shipper
    assert not any([shipper._lanes, shipper._line, shipper._tasks, shipper._outcomes, shipper.locks])
    assert (shipper._running, shipper._bytes) == (0, 0)
    assert {path_from_key("workspace", key) for key in scene.store.order} == {f"{n}.ipynb" for n in range(50)}


async def test_versioning_switched_off_stops_everything_and_says_so(scene, waits, wait_until):
    scene.save(b"1")
    await wait_until(lambda: scene.is_idle)
    scene.store.versioning = Versioning.SUSPENDED
    scene.save(b"2")
    await wait_until(lambda: scene.troubles)
    written = scene.store.requests["PutObject"]
    scene.save(b"1", "b.ipynb")
    await wait_until(lambda: len(waits) > 5)
    assert scene.store.requests["PutObject"] == written
    assert scene.codes() == ["BucketNotVersioned"]
    assert scene.entries() == 2
    scene.store.versioning = Versioning.ENABLED
    await wait_until(lambda: scene.is_idle)
    assert scene.store.contents("b.ipynb") == [b"1"]


def test_corruption_and_paths_without_keys_are_what_is_set_aside():
    assert not EntryCorrupt.transient
    assert not PathError.transient


async def test_answers_that_arrive_together_are_dealt_with_in_a_round_each(make_scene, quick, wait_until):
    """A dozen that were dealt with in one round would hold up the request that somebody waits for."""
    scene = make_scene(slots=10)
    scene.store.gate.clear()
    for number in range(10):
        scene.shipper.add(scene.unprotected(b"%d" % number, f"{number}.ipynb"))
    scene.shipper.hurry()
    await wait_until(lambda: len(scene.store.under_way) == 10)
    scene.store.gate.set()
    in_each_round, before = [], 0
    while len(scene.delivered) < 10:
        await asyncio.sleep(0)
        in_each_round.append(len(scene.delivered) - before)
        before = len(scene.delivered)
        assert len(in_each_round) < 10_000, "not all were delivered"
    assert max(in_each_round) == 1
