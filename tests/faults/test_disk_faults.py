"""A disk that fails, altered entries, a clock that jumps, a save that nobody takes, a backlog of thousands."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import logging
import os
import random
import statistics
import sys
import threading
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from bookstore import outbox as outbox_module
from bookstore import outbox_entry
from bookstore.bookstore_config import BookstoreSettings
from bookstore.delivery import Courier
from bookstore.disk import Disk
from bookstore.errors import EntryCorrupt, ObjectRefused, StoreUnreachable
from bookstore.intake import Intake
from bookstore.outbox import QUARANTINE, REFUSED, EntryRef, Outbox
from bookstore.outbox_entry import Entry, decode, encode_header
from bookstore.outbox_owner import Owner
from bookstore.provenance import Provenance
from bookstore.service import ArchiveService
from bookstore.shipper import Shipper
from bookstore.storage.base import Receipt
from bookstore.storage.memory import MemoryStore

LOG = logging.getLogger("bookstore.faults")

#: Seconds within which what is wrong with the outbox must show.
VISIBLE_WITHIN = 1.0

#: Every call of the disk fails in turn, with each of these.
ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EROFS": errno.EROFS}

#: Altered entries: the short form and the long one.
FLIPS = 60
LONG_FLIPS = 3_000

#: Entries queued: the short form and the long one, and the bytes of each.
BACKLOG = 500
LONG_BACKLOG = 10_000
BACKLOG_ENTRY = 20_000

#: Where a server ships to whose store is away.
NOWHERE = "http://127.0.0.1:9/bucket"

#: Seconds of processor time that a start over a long backlog may take more than one without, and over a shorter one in
#: proportion, but never less than a moment, which any start may differ by.
BACKLOG_START = 2.0
BACKLOG_START_FLOOR = 0.25

#: The same by the clock, in the short form: other work on the machine counts, so this sees only what is far off.
BACKLOG_CLOCK = 1.0

#: Bytes that it may hold more.
BACKLOG_MEMORY = 40 * 1024 * 1024

#: How often a start over a backlog and one over nothing take turns.
BACKLOG_TURNS = 3


async def wait_until(condition, timeout=20.0):
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < timeout, "the condition did not come true in time"
        await asyncio.sleep(0.005)
    return time.monotonic() - start


@contextlib.asynccontextmanager
async def archive(directory, store, disk=None, *, starts=True, **options):
    """An archive over an outbox, ended as a crash ends it unless it is stopped before.

    One that does not start looks at nothing on its own.
    """
    settings = BookstoreSettings(
        s3_bucket=store.bucket, outbox_dir=str(directory / "outbox"), outbox_reserve=0, drain_timeout=1.0, **options
    )
    service = ArchiveService(settings, root_dir=str(directory), log=LOG, store=store, disk=disk)
    if starts:
        service.ensure_started()
    try:
        yield service
    finally:
        await service.stop()


async def save(service, path, content):
    parcel = await asyncio.to_thread(service.intake.take, service.draft(path), content)
    service.submit([parcel])
    return parcel


def versions(store, path):
    """The contents of a path's versions, the oldest first."""
    return [version.content for version in store._keys[f"workspace/{path}"]]


def dead_owner(instance):
    return Owner(instance, "host", "/root", "aws/bucket", 0.0, boot_id="of another boot")


def leave_behind(directory, saves, *, saved_at=time.time, owner=dead_owner):
    """Entries of a server that is gone, as `Outbox` leaves them; the files in order."""
    outbox = Outbox(directory / "outbox", owner, disk=Unsynced())
    outbox.open()
    refs = [outbox.put(entry_for(outbox, path, content, saved_at()), content) for path, content in saves]
    (refs[0].file.parent / "closed").touch()
    outbox._forget_directory()
    return refs


def entry_for(outbox, path, content, saved_at):
    provenance = Provenance(
        record_id=os.urandom(16).hex(),
        sha256=hashlib.sha256(content).hexdigest(),
        saved_at=saved_at,
        instance=outbox.instance,
        generation=outbox.generation,
        sequence=outbox.next_sequence(),
        host="host",
        root_dir="/root",
    )
    return Entry(path, f"workspace/{path}", len(content), provenance)


def _random(seed):
    return random.Random(seed)  # noqa: S311 - repeatable, not secret


class Unsynced(Disk):
    def sync(self, fd):
        pass


# -- every call of the disk fails in turn --------------------------------------------------------------------------


class BrokenDisk(Disk):
    """A disk that fails from one call on, until it is mended; or at that call only.

    Attributes
    ----------
    calls : list of str
        By name, in order.
    failed_at : float or None
        When it failed first, by the monotonic clock.
    """

    CALLS = (
        "make_directory",
        "write",
        "sync",
        "rename",
        "sync_directory",
        "remove",
        "read",
        "read_start",
        "free_bytes",
    )

    def __init__(self, place=0, error=errno.EIO, *, once=False):
        self.calls = []
        self.failed_at = None
        self._place = place
        self._error = error
        self._once = once
        self._lock = threading.Lock()

    def mend(self):
        self._place = 0

    def count(self, name):
        with self._lock:
            self.calls.append(name)
            number = len(self.calls)
            fails = self._place and (number == self._place if self._once else number >= self._place)
            if fails and self.failed_at is None:
                self.failed_at = time.monotonic()
        if fails:
            raise OSError(self._error, os.strerror(self._error))


def _counted(name):
    def method(self, *arguments):
        self.count(name)
        return getattr(Disk, name)(self, *arguments)

    return method


for _name in BrokenDisk.CALLS:
    setattr(BrokenDisk, _name, _counted(_name))


async def check_broken_disk(directory, disk, code=None, *, keeps_order=True, left=(b"0",)):
    """What a dead server left, and six new saves: all must be in the bucket in the end.

    Returns
    -------
    float
        How many seconds it took until the status showed what was wrong; 0 if that is not asked for.
    """
    if left:
        leave_behind(directory, [("a.ipynb", content) for content in left])
    store, shown = MemoryStore("bucket"), 0.0
    async with archive(directory, store, disk) as service:
        watching = asyncio.create_task(_time_until_visible(service, disk, code)) if code else None
        for number in (1, 2, 3):
            for path in ("a.ipynb", "b.ipynb"):
                assert await save(service, path, b"%d" % number) is not None, "a save was not taken at all"
        if watching is not None:
            shown = await watching
            disk.mend()
        await wait_until(lambda: not service.status().waiting and len(versions(store, "a.ipynb")) >= 3 + len(left))
        assert await service.flush(10) == 0
        await wait_until(lambda: not _outbox_codes(service))
        adopted, own = versions(store, "a.ipynb"), versions(store, "b.ipynb")
        assert own == [b"1", b"2", b"3"], f"lost, double or out of order: {own}"
        # Where there is no outbox at all, new saves do not wait in memory until there is one: what was left comes late.
        assert [content for content in adopted if content != b"0"] == own, f"lost, double or out of order: {adopted}"
        assert adopted.count(b"0") == len(left), f"what a dead server left is lost or double: {adopted}"
        assert adopted[: len(left)] == [*left] or not keeps_order, (
            f"new saves overtook what a dead server left: {adopted}"
        )
        assert service.status().unprotected == 0
    return shown


async def _time_until_visible(service, disk, code):
    await wait_until(lambda: disk.failed_at is not None)
    await wait_until(lambda: code in _outbox_codes(service), timeout=VISIBLE_WITHIN * 10)
    return time.monotonic() - disk.failed_at


def _outbox_codes(service):
    status = service.status()
    return {p.code for p in (*status.problems, *status.warnings) if p.code.startswith("Outbox")}


def entries_left(directory):
    return [file for file in (directory / "outbox").rglob("*.entry") if file.parent.name not in (QUARANTINE, REFUSED)]


async def calls_of_a_clean_run(directory):
    disk = BrokenDisk()
    await check_broken_disk(directory, disk)
    assert set(disk.calls) == set(BrokenDisk.CALLS), "a kind of call is not tried"
    return disk.calls


async def check_every_call(directory, errors):
    """Every call fails with every one of the errors, each in a run of its own; the figures."""
    calls = await calls_of_a_clean_run(directory / "clean")
    opened = calls.index("free_bytes") + 1

    async def at(trial):
        place, name = trial
        code = "OutboxFull" if name == "ENOSPC" else "OutboxUnavailable"
        disk = BrokenDisk(place, ERRORS[name])
        return await check_broken_disk(directory / f"{place}-{name}", disk, code, keeps_order=place >= opened)

    trials = [(place, name) for place in range(1, len(calls) + 1) for name in errors(place)]
    shown = await _some_at_a_time(at, trials)
    assert max(shown) <= VISIBLE_WITHIN
    return {"calls": len(calls), "runs": len(trials), "visible_after": round(max(shown), 3), "lost": 0}


async def test_a_disk_that_fails_at_any_call_is_told_and_recovers(tmp_path, report):
    figure = await check_every_call(tmp_path, lambda place: [list(ERRORS)[place % len(ERRORS)]])
    report("ENOSPC, EIO, read-only at each outbox syscall", **figure)


@pytest.mark.long
async def test_a_disk_that_fails_in_any_way_at_any_call_is_told_and_recovers(tmp_path, report):
    report("ENOSPC, EIO, read-only at each outbox syscall", **await check_every_call(tmp_path, lambda place: ERRORS))


async def test_a_call_that_fails_once_leaves_nothing_behind(tmp_path):
    calls = await calls_of_a_clean_run(tmp_path / "clean")

    async def at(place):
        directory = tmp_path / str(place)
        # While the outbox is not there yet, new saves go first.
        await check_broken_disk(directory, BrokenDisk(place, errno.EIO, once=True), keeps_order=False)
        return entries_left(directory)

    assert [left for left in await _some_at_a_time(at, range(1, len(calls) + 1)) if left] == []


async def _some_at_a_time(work, items, at_once=24):
    gate = asyncio.Semaphore(at_once)

    async def one(item):
        async with gate:
            try:
                return await work(item)
            except AssertionError as e:
                raise AssertionError(f"failing at call {item}: {e}") from e

    return await asyncio.gather(*map(one, items))


def _hides_trouble(monkeypatch):
    monkeypatch.setattr(Intake, "note", lambda self, trouble: None)


def _drops_what_the_disk_refuses(monkeypatch):
    take = Intake._taken

    def dropped(self, draft, content, taken):
        parcel = take(self, draft, content, taken)
        return parcel if parcel is not None and parcel.is_protected else None

    monkeypatch.setattr(Intake, "_taken", dropped)


def _tells_the_system_s_own_errors(monkeypatch):
    monkeypatch.setattr(outbox_module, "_explained", lambda doing, where: contextlib.nullcontext())


@pytest.mark.parametrize(
    ("mutation", "call"),
    [
        (_hides_trouble, "free_bytes"),
        (_drops_what_the_disk_refuses, "rename"),
        (_tells_the_system_s_own_errors, "write"),
    ],
)
async def test_the_check_catches_a_product_that(tmp_path, monkeypatch, mutation, call):
    disk = BrokenDisk()
    await check_broken_disk(tmp_path / "clean", disk, left=())
    # The first save is the first that needs this, after the outbox was made.
    place = disk.calls.index(call, disk.calls.index("free_bytes")) + 1
    mutation(monkeypatch)
    monkeypatch.setattr(f"{__name__}.VISIBLE_WITHIN", 0.1)
    with pytest.raises((AssertionError, OSError)):
        await check_broken_disk(tmp_path, BrokenDisk(place), "OutboxUnavailable", left=())


# -- altered entries -----------------------------------------------------------------------------------------------


def flips(rng, data):
    """Entries that differ from a whole one, one bit in each of its regions, and torn ones."""
    line = data.index(b"\n") + 1
    header = data.index(b"\n", line) + 1
    regions = [(0, 18), (18, line - 65), (line - 65, line - 1), (line - 1, line), (line, header - 1)]
    regions += [(header - 1, header), (header, header + 1), (header + 1, len(data) - 1), (len(data) - 1, len(data))]
    while True:
        for start, end in regions:
            altered = bytearray(data)
            altered[rng.randrange(start, end)] ^= 1 << rng.randrange(8)
            yield bytes(altered)
        yield data[: rng.randrange(len(data))]
        yield data + rng.randbytes(rng.randint(1, 9))
        start = rng.randrange(len(data))
        yield data[:start] + bytes(len(data) - start)


async def check_altered_entries(directory, rng, count, timeout=60.0):
    """As many altered entries as whole ones, of the same paths; the altered go to quarantine, the whole are shipped."""
    contents = [(f"{number % 7}.ipynb", b"save %d " % number * 40) for number in range(2 * count)]
    refs = leave_behind(directory, contents)
    altered = [ref for number, ref in enumerate(refs) if number % 2]
    for ref in altered:
        ref.file.write_bytes(next(flip for flip in _from_anywhere(rng, ref.file.read_bytes())))
    store = MemoryStore("bucket")
    async with archive(directory, store) as service:
        assert await service.flush(timeout) == 0
        status = service.status()
        assert (status.quarantined, status.refused) == (count, 0)
        assert "SetAside" in {problem.code for problem in status.problems}
    kept = {file.name for file in (directory / "outbox" / QUARANTINE).glob("*.entry")}
    assert kept == {ref.file.name for ref in altered}
    for number in range(7):
        path = f"{number}.ipynb"
        assert versions(store, path) == [
            content for place, (p, content) in enumerate(contents) if p == path and not place % 2
        ]


def _from_anywhere(rng, data):
    found = flips(rng, data)
    for _ in range(rng.randrange(12)):
        next(found)
    return found


async def test_altered_entries_are_set_aside_and_never_uploaded(tmp_path, seed, report):
    await check_altered_entries(tmp_path, _random(seed), FLIPS)
    report("flipped bits in entries", altered=FLIPS, quarantined=FLIPS, uploaded=0)


@pytest.mark.long
async def test_many_altered_entries_are_set_aside_and_never_uploaded(tmp_path, seed, report):
    await check_altered_entries(tmp_path, _random(seed), LONG_FLIPS)
    report("flipped bits in entries", altered=LONG_FLIPS, quarantined=LONG_FLIPS, uploaded=0)


@pytest.mark.parametrize("is_listed", [True, False], ids=["listed already", "not listed yet"])
async def test_what_is_set_aside_during_a_look_is_counted_once(tmp_path, is_listed):
    async with archive(tmp_path, MemoryStore("bucket"), starts=False) as service:
        parcel = service.intake.take(service.draft("a.ipynb"), b"x")
        look = service.outbox.names_aside
        error = EntryCorrupt("torn")

        def look_meanwhile():
            before = look()
            service.outbox.set_aside(parcel.ref, QUARANTINE, error)
            found = look() if is_listed else before
            service._set_aside(parcel, QUARANTINE, error)
            return found

        service.outbox.names_aside = look_meanwhile
        await service._look_aside()
        assert service.status().quarantined == 1
        service.outbox.names_aside = look
        await service._look_aside()
        assert service.status().quarantined == 1


async def test_an_entry_that_is_altered_while_it_waits_is_set_aside(tmp_path, seed):
    rng, store = _random(seed), MemoryStore("bucket")
    store.faults = lambda operation, key: StoreUnreachable("away")
    async with archive(tmp_path, store) as service:
        parcels = [await save(service, "a.ipynb", b"save %d " % number * 40) for number in range(24)]
        for parcel in parcels[::2]:
            parcel.ref.file.write_bytes(next(_from_anywhere(rng, parcel.ref.file.read_bytes())))
        store.faults = None
        assert await service.flush(30) == 0
        assert service.status().quarantined == 12
    assert versions(store, "a.ipynb") == [b"save %d " % number * 40 for number in range(1, 24, 2)]


def test_every_bit_of_an_entry_is_checked():
    content = b"content"
    entry = Entry("p", "k", len(content), Provenance("r", hashlib.sha256(content).hexdigest(), 1.5))
    data = encode_header(entry) + content
    assert decode(data)[0] == entry
    for bit in range(8 * len(data)):
        altered = bytearray(data)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(EntryCorrupt):
            decode(bytes(altered))


async def test_the_check_catches_a_decoder_that_does_not_look_at_the_content(tmp_path, monkeypatch):
    def unchecked(data):
        size = outbox_entry.header_size(data[: outbox_entry.FIRST_LINE_BYTES])
        return outbox_entry.decode_header(data[:size]), memoryview(data)[size:]

    monkeypatch.setattr(outbox_module, "decode", unchecked)
    with pytest.raises(AssertionError):
        await check_altered_entries(tmp_path, _random(1), 12, timeout=1.0)


# -- the clock -----------------------------------------------------------------------------------------------------

DAY = 86_400.0


async def check_clock(directory, monkeypatch, offsets):
    """Saves with the clock set anew before each, by two servers of which the first is killed after its last PUT.

    Of the first server's saves half are in the bucket already when the second finds their entries.
    """
    now, real = [0.0], time.time
    monkeypatch.setattr(time, "time", lambda: real() + now[0])
    store, saves = MemoryStore("bucket"), []
    # As S3 does: RequestTimeTooSkewed. So nothing is shipped until the clock is right again.
    store.faults = lambda operation, key: StoreUnreachable("skewed") if abs(now[0]) > 900 else None

    def contents():
        for number, offset in enumerate(offsets):
            now[0] = offset
            saves.append(b"save %d" % number)
            yield "a.ipynb", saves[-1]

    refs = leave_behind(directory, contents(), saved_at=time.time)
    # What the killed server had stored, once its clock was right, and not yet removed.
    now[0] = 0.0
    courier = Courier(store, probe_key="probe", origin="host:/root")
    for ref in refs[: len(refs) // 2]:
        await courier.deliver(_parcel(ref), ref.entry.key, bytes(decode(ref.file.read_bytes())[1]))
    async with archive(directory, store) as service:
        for path, content in contents():
            await save(service, path, content)
        now[0] = 0.0
        assert await service.flush(30) == 0
    assert versions(store, "a.ipynb") == saves


def _parcel(ref):
    from bookstore.delivery import Parcel

    return Parcel(ref.entry, ref=ref)


@pytest.mark.parametrize(
    "offsets",
    [
        pytest.param([0, -3600, -7200, 3600, 0, -60], id="back by hours"),
        pytest.param([0, 30 * DAY, 31 * DAY, 0, DAY, 0], id="forward by weeks and back"),
        pytest.param([30 * DAY] * 6, id="ahead by a month"),
        pytest.param([-400 * DAY] * 6, id="behind by more than a year"),
        pytest.param([0, -20_000 * DAY, 0, -20_000 * DAY], id="in 1971"),
    ],
)
async def test_a_clock_that_jumps_does_not_change_the_order(tmp_path, monkeypatch, offsets, report):
    await check_clock(tmp_path, monkeypatch, offsets)
    report("clock set back or forward", offsets_in_hours=[round(o / 3600) for o in offsets], order="kept", double=0)


async def test_the_check_catches_an_order_by_the_clock(tmp_path, monkeypatch):
    monkeypatch.setattr(EntryRef, "order", property(lambda ref: (ref.entry.provenance.saved_at, 0)))
    with pytest.raises(AssertionError):
        await check_clock(tmp_path, monkeypatch, [0, 0, 3600, -3600])


# -- a save that can never be stored -------------------------------------------------------------------------------


async def check_refused_save(directory, timeout=5.0):
    """One save among others that the store refuses for ever."""
    store = MemoryStore("bucket")
    put = store.put

    async def picky(key, body, **options):
        if b"odd" in bytes(body):
            raise ObjectRefused(f"storing {key!r}: too odd")
        return await put(key, body, **options)

    store.put = picky
    async with archive(directory, store) as service:
        heard = []
        service.listeners.append(lambda event, details: heard.append((event, details.get("code"))))
        for content in (b"1", b"odd", b"2"):
            await save(service, "a.ipynb", content)
        await save(service, "b.ipynb", b"3")
        assert await service.flush(timeout) == 0, "the path stands still"
        status = service.status()
        assert (status.refused, status.waiting) == (1, 0)
        [aside] = status.set_aside
        assert (aside["path"], aside["kind"]) == ("a.ipynb", REFUSED)
        assert ("failed", "ObjectRefused") in heard
        [file] = (directory / "outbox" / REFUSED).glob("*.entry")
        assert decode(file.read_bytes())[1] == b"odd"
        assert "too odd" in file.with_suffix(".json").read_text()
    assert versions(store, "a.ipynb") == [b"1", b"2"]
    assert versions(store, "b.ipynb") == [b"3"]


async def test_a_save_that_nobody_takes_is_set_aside_and_its_path_goes_on(tmp_path, report):
    await check_refused_save(tmp_path)
    report("a record that can never be stored", set_aside=1, alarm=True, others_stored=3)


async def test_the_check_catches_a_path_that_stands_still(tmp_path, monkeypatch):
    async def try_again(self, parcel, kind, error):
        return False, 60.0

    monkeypatch.setattr(Shipper, "_set_aside", try_again)
    with pytest.raises(AssertionError, match="stands still"):
        await check_refused_save(tmp_path, timeout=1.0)


# -- thousands of entries ------------------------------------------------------------------------------------------


class Forgetful(MemoryStore):
    """A store that remembers who came when, but not what they brought."""

    def __init__(self):
        super().__init__("bucket")
        self.arrived = []

    async def put(self, key, body, *, sha256, **options):
        self.arrived.append((key, hashlib.sha256(body).hexdigest() == sha256))
        await asyncio.sleep(0)
        number = len(self.arrived)
        return Receipt(key, f"v{number}", f"e{number}", len(body), verified=True)


async def start_time(directory, entries):
    """How long a server over an outbox needs to take over all that was left there, with a store that is away.

    Returns
    -------
    tuple of float
        Seconds, and seconds of processor time of this process.
    """
    store = MemoryStore("bucket")
    store.faults = lambda operation, key: StoreUnreachable("away")
    start, processor = time.monotonic(), time.process_time()
    async with archive(directory, store) as service:
        await service._shipping.wait()
        took = time.monotonic() - start, time.process_time() - processor
        assert service.status().waiting == entries
    return took


def start_allowed(count):
    """Seconds of processor time that a start over as many entries may take more."""
    return max(BACKLOG_START_FLOOR, BACKLOG_START * count / LONG_BACKLOG)


async def check_start(directory, count, *, turns, by_the_clock):
    """Starts over a backlog and over nothing take turns, so that both meet the same machine.

    Parameters
    ----------
    directory, count
    turns : int
    by_the_clock : bool
        Judge the time that passed too, which depends on what else the machine does.

    Returns
    -------
    dict
        The figures.
    """
    full, empty = [], []
    for _ in range(turns):
        empty.append(await start_time(directory / "empty", 0))
        full.append(await start_time(directory, count))
    started, worked = (statistics.median(column) for column in zip(*full, strict=True))
    started_empty, worked_empty = (statistics.median(column) for column in zip(*empty, strict=True))
    allowed = start_allowed(count)
    assert worked - worked_empty <= allowed, (
        f"the start computed for {worked:.2f} s over a backlog, {worked_empty:.2f} s without"
    )
    assert not by_the_clock or started - started_empty <= BACKLOG_CLOCK, (
        f"the start took {started:.2f} s over a backlog, {started_empty:.2f} s without"
    )
    return {
        "start_seconds": round(started, 2),
        "start_without_seconds": round(started_empty, 2),
        "start_more_processor_s": round(worked - worked_empty, 2),
        "start_allowed_s": allowed,
        "start_floor_s": BACKLOG_START_FLOOR,
        "start_by_the_clock": f"{BACKLOG_CLOCK} s more are allowed" if by_the_clock else "nothing is judged",
    }


async def check_backlog(directory, count, *, turns=1, by_the_clock=True, **options):
    """One path with nine tenths of a backlog, and many with the rest.

    Parameters
    ----------
    directory, count
    turns, by_the_clock
        As `check_start` has them.
    **options
        For the archive that ships it.

    Returns
    -------
    dict
        The figures.
    """
    others = count // 10
    contents = ((_backlog_path(number, count, others), os.urandom(BACKLOG_ENTRY)) for number in range(count))
    leave_behind(directory, contents)
    # Before memory is traced, which takes its time.
    start = await check_start(directory, count, turns=turns, by_the_clock=by_the_clock)
    store = Forgetful()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        async with archive(directory, store, **options) as service:
            assert await service.flush(600) == 0
            assert service.status().state == "ok"
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert len(store.arrived) == count
    assert all(is_whole for _, is_whole in store.arrived)
    last = max(place for place, (key, _) in enumerate(store.arrived) if "other" in key)
    # Each turn of the one with much to do lets one of each other path through.
    assert last <= 2 * others + 100, f"a path with one save waited for {last} others"
    assert peak <= BACKLOG_MEMORY
    return {
        "entries": count,
        **start,
        "peak_mib": round(peak / 2**20, 1),
        "last_of_the_others_at": last,
    }


def _backlog_path(number, count, others):
    return "busy.ipynb" if number < count - others else f"other-{number}.ipynb"


async def test_a_backlog_is_adopted_and_drained_fairly_in_little_memory(tmp_path, report):
    report("10,000 entries queued", **await check_backlog(tmp_path, BACKLOG, turns=BACKLOG_TURNS))


@pytest.mark.long
async def test_a_long_backlog_is_adopted_and_drained_fairly_in_little_memory(tmp_path, report):
    figure = await check_backlog(tmp_path, LONG_BACKLOG, turns=BACKLOG_TURNS, by_the_clock=False)
    report("10,000 entries queued", **figure)


def processor_seconds(pid):
    """Processor time that a process has used, in its own code and in the system's, as proc(5) has it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.long
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a process's time is read from /proc")
def test_jupyter_itself_starts_over_a_long_backlog(tmp_path, start_jupyter, report):
    """The whole server: how soon it answers, and what it has computed when all is taken over; the store is away."""
    names = {"entries": LONG_BACKLOG, "none": 0}
    contents = ((f"{number % 100}.ipynb", os.urandom(BACKLOG_ENTRY)) for number in range(LONG_BACKLOG))
    leave_behind(tmp_path / "entries", contents, owner=lambda name: replace(dead_owner(name), destination=NOWHERE))
    seconds, worked = {name: [] for name in names}, {name: [] for name in names}
    for _ in range(5):
        for name, entries in names.items():
            start = time.monotonic()
            server = start_jupyter(
                home=tmp_path / name / "home",
                environment={"JPYNB_S3_BUCKET": "bucket", "JPYNB_S3_ENDPOINT_URL": NOWHERE.rpartition("/")[0]},
                arguments=[f"--BookstoreSettings.outbox_dir={tmp_path / name / 'outbox'}"],
            )
            seconds[name].append(time.monotonic() - start)
            deadline = time.monotonic() + 60
            while server.status()["waiting"] != entries:
                assert time.monotonic() < deadline, server.status()
                # To ask takes it some time as well.
                time.sleep(0.2)
            worked[name].append(processor_seconds(server.process.pid))
            server.kill()
    more = statistics.median(worked["entries"]) - statistics.median(worked["none"])
    figure = {name: round(statistics.median(found), 2) for name, found in seconds.items()}
    report(
        "10,000 entries queued",
        case="Jupyter itself",
        entries=LONG_BACKLOG,
        start_seconds=figure["entries"],
        start_without_seconds=figure["none"],
        start_more_processor_s=round(more, 2),
        start_allowed_s=BACKLOG_START,
    )
    assert more <= BACKLOG_START


async def test_the_check_catches_a_start_that_takes_its_time_over_each_entry(tmp_path, monkeypatch):
    read_start = Disk.read_start

    def slow(self, path, size):
        time.sleep(0.003)
        return read_start(self, path, size)

    monkeypatch.setattr(Disk, "read_start", slow)
    with pytest.raises(AssertionError, match=r"the start (took|computed for) .* over a backlog"):
        await check_backlog(tmp_path, BACKLOG)


async def test_the_check_catches_a_start_that_computes_over_each_entry(tmp_path, monkeypatch):
    read_start = Disk.read_start

    def thorough(self, path, size):
        end = time.thread_time() + 0.001
        while time.thread_time() < end:
            pass
        return read_start(self, path, size)

    monkeypatch.setattr(Disk, "read_start", thorough)
    with pytest.raises(AssertionError, match=r"the start computed for .* over a backlog"):
        await check_backlog(tmp_path, BACKLOG, by_the_clock=False)


async def test_the_check_catches_an_unfair_line(tmp_path, monkeypatch):
    stand_in_line = Shipper._stand_in_line

    def at_the_front(self, lane):
        before = len(self._line)
        stand_in_line(self, lane)
        if len(self._line) > before and lane.path == "busy.ipynb":
            self._line.rotate(1)

    monkeypatch.setattr(Shipper, "_stand_in_line", at_the_front)
    with pytest.raises(AssertionError, match="waited for"):
        # One at a time goes on its way.
        await check_backlog(tmp_path, BACKLOG, max_threads=3)


async def test_the_check_catches_reading_everything_at_once(tmp_path, monkeypatch):
    read, kept = Outbox.read, []

    def hoard(self, ref):
        content = read(self, ref)
        kept.append(content)
        return content

    monkeypatch.setattr(Outbox, "read", hoard)
    monkeypatch.setattr(f"{__name__}.BACKLOG_MEMORY", 5 * 1024 * 1024)
    with pytest.raises(AssertionError):
        await check_backlog(tmp_path, BACKLOG)
