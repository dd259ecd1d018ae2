"""`bookstore.intake`: a save is taken, safely or not, and which of the two is told."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from bookstore.delivery import Parcel
from bookstore.errors import OutboxError, OutboxFull, OutboxUnavailable
from bookstore.intake import Draft, Intake
from bookstore.outbox import EntryRef, Outbox
from bookstore.outbox_owner import Watch

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
BROKEN = OSError(errno.EIO, os.strerror(errno.EIO))


class _Scene:
    """An intake over an outbox whose disk fails as told."""

    def __init__(self, outbox: Outbox, memory_limit: int = 1000) -> None:
        self.outbox = outbox
        self.reports: list[OutboxError | None] = []
        #: Entries of saves that failed which could not be removed.
        self.left: list[EntryRef] = []
        self.intake = Intake(
            outbox,
            host="host",
            root_dir="/home/u",
            memory_limit=memory_limit,
            report=self.reports.append,
            report_left=lambda ref, error: self.left.append(ref),
        )

    def draft(self, path: str = "a.ipynb", **changes) -> Draft:
        return Draft(path, f"workspace/{path}", self.outbox.next_sequence(), **changes)

    def take(self, content: bytes = b"{}", path: str = "a.ipynb", **changes) -> Parcel | None:
        return self.intake.take(self.draft(path, **changes), content)

    def entries(self) -> list[str]:
        return sorted(file.name for file in self.outbox.directory.rglob("*.entry"))

    def codes(self) -> list[str | None]:
        return [report and report.code for report in self.reports]


@pytest.fixture
def scene(make_outbox, disk):
    return _Scene(make_outbox(disk=disk))


def test_a_save_that_is_taken_waits_in_the_outbox(scene):
    parcel = scene.take(b"content", user="ada", reason="rename", source="model", previous_key="k", queued_time=5.5)
    assert parcel.is_protected
    assert parcel.content is None
    assert not parcel.uncertain
    assert bytes(scene.outbox.read(parcel.ref)) == b"content"
    entry, provenance = parcel.entry, parcel.entry.provenance
    assert (entry.path, entry.key, entry.size) == ("a.ipynb", "workspace/a.ipynb", 7)
    assert provenance.sha256 == hashlib.sha256(b"content").hexdigest()
    assert (provenance.saved_at, provenance.user, provenance.host, provenance.root_dir) == (
        5.5,
        "ada",
        "host",
        "/home/u",
    )
    assert (provenance.instance, provenance.generation, provenance.sequence) == (scene.outbox.instance, 1, 1)
    assert (provenance.source, provenance.reason, provenance.previous_key) == ("model", "rename", "k")
    assert (scene.intake.memory, scene.intake.missed, scene.intake.trouble, scene.reports) == (0, {}, None, [])


def test_each_save_has_an_id_of_its_own(scene):
    ids = {scene.take(b"same").entry.provenance.record_id for _ in range(20)}
    assert len(ids) == 20


@pytest.mark.parametrize(
    "step", ["make_directory", "free_bytes", "write_new", "write", "sync", "rename", "sync_directory"]
)
def test_what_the_outbox_does_not_take_is_held_in_memory_and_named_unprotected(scene, disk, step):
    disk.faults[step] = FULL
    parcel = scene.take(b"content")
    assert not parcel.is_protected
    assert parcel.content == b"content"
    assert scene.intake.memory == 7
    assert isinstance(scene.intake.trouble, OutboxFull)
    assert scene.entries() == []


def test_memory_is_bounded_and_what_exceeds_it_is_counted_by_path(scene, disk):
    disk.faults["write"] = FULL
    assert scene.take(b"x" * 600) is not None
    assert scene.take(b"x" * 401, "b.ipynb") is None
    assert scene.take(b"x" * 401, "b.ipynb") is None
    assert scene.take(b"x" * 400) is not None
    assert scene.take(b"x", "c.ipynb") is None
    assert scene.intake.memory == 1000
    assert scene.intake.missed == {"b.ipynb": 2, "c.ipynb": 1}


def test_memory_given_back_is_used_again_but_given_back_once(scene, disk):
    disk.faults["write"] = FULL
    parcel = scene.take(b"x" * 1000)
    scene.intake.release(parcel)
    scene.intake.release(parcel)
    assert scene.intake.memory == 0
    assert scene.take(b"x" * 1000) is not None


def test_releasing_a_protected_save_changes_nothing(scene):
    scene.intake.release(scene.take())
    assert scene.intake.memory == 0


def test_memory_is_bounded_whichever_thread_asks(scene, disk):
    disk.faults["write"] = FULL
    with ThreadPoolExecutor(8) as pool:
        parcels = list(pool.map(lambda n: scene.take(b"x" * 100, str(n)), range(40)))
    assert sum(parcel is not None for parcel in parcels) == 10
    assert scene.intake.memory == 1000
    assert sum(scene.intake.missed.values()) == 30


def test_an_unprotected_save_is_protected_once_the_disk_is_well(scene, disk):
    disk.faults["write"] = FULL
    parcel = scene.take(b"content")
    assert not scene.intake.protect(parcel)
    assert not parcel.is_protected
    disk.faults.clear()
    assert scene.intake.protect(parcel)
    assert parcel.is_protected
    assert bytes(scene.outbox.read(parcel.ref)) == b"content"
    scene.intake.release(parcel)
    assert scene.intake.memory == 0
    assert scene.intake.protect(parcel)
    assert len(scene.entries()) == 1


def test_protecting_a_save_that_was_shipped_meanwhile_makes_no_entry(scene, disk):
    disk.faults["write"] = FULL
    parcel = scene.take(b"content")
    disk.faults.clear()
    scene.intake.release(parcel)  # shipped
    assert not scene.intake.protect(parcel)
    assert scene.entries() == []


def test_a_save_shipped_while_it_is_protected_does_no_harm(scene, disk):
    disk.faults["write"] = FULL
    parcel = scene.take(b"content")
    disk.faults.clear()
    disk.faults["free_bytes"] = lambda path: scene.intake.release(parcel)
    assert scene.intake.protect(parcel)
    assert bytes(scene.outbox.read(parcel.ref)) == b"content"


def test_trouble_is_reported_once_per_change(scene, disk):
    scene.take()
    disk.faults["write"] = FULL
    for _ in range(3):
        scene.take(b"x")
    disk.faults["write"] = BROKEN
    parcel = scene.take(b"x")
    scene.intake.protect(parcel)
    disk.faults.clear()
    scene.take()
    scene.take()
    disk.faults["write"] = FULL
    scene.take(b"x")
    disk.faults.clear()
    scene.intake.protect(parcel)
    assert scene.codes() == ["OutboxFull", "OutboxUnavailable", None, "OutboxFull", None]
    assert scene.intake.trouble is None


def test_missed_saves_are_told_until_they_are_made_up_for(scene):
    scene.intake.miss("a.ipynb")
    scene.intake.miss("a.ipynb", 2)
    scene.intake.miss("b.ipynb")
    scene.intake.missed["c.ipynb"] = 1
    assert scene.intake.missed == {"a.ipynb": 3, "b.ipynb": 1}
    scene.intake.forgive("a.ipynb", 2)
    scene.intake.forgive("b.ipynb", 5)
    scene.intake.forgive("c.ipynb", 1)
    assert scene.intake.missed == {"a.ipynb": 1}


def test_a_rehearsal_tells_when_the_outbox_takes_saves_again(scene, disk):
    disk.faults["write"] = FULL
    scene.take(b"x" * 10)
    scene.intake.rehearse()
    disk.faults["write"] = BROKEN
    scene.intake.rehearse()
    disk.faults.clear()
    scene.intake.rehearse()
    assert scene.codes() == ["OutboxFull", "OutboxUnavailable", None]
    assert not list(scene.outbox.directory.rglob("*.partial"))


def test_a_rehearsal_asks_for_the_room_that_the_largest_refused_save_needs(scene, disk):
    free = 1000
    disk.free_bytes = lambda path: free
    scene.outbox._reserve = 900
    for size in (200, 50, 300, 10):
        scene.take(b"x" * size)
    free = 1199
    scene.intake.rehearse()
    assert scene.codes() == ["OutboxFull"]
    free = 1200
    scene.intake.rehearse()
    assert scene.codes() == ["OutboxFull", None]


def test_what_is_on_disk_after_all_has_the_id_of_what_is_held_in_memory(scene, disk):
    scene.outbox.open()
    disk.faults |= {"sync_directory": BROKEN, "remove": BROKEN}
    parcel = scene.take(b"content")
    [name] = scene.entries()
    assert not parcel.is_protected
    assert parcel.entry.provenance.record_id in name, "the next server would make a second version of it"


def test_a_save_whose_directory_is_claimed_while_it_is_committed_is_taken_and_may_be_stored_already(scene, disk):
    parcel = scene.take(b"before")
    own, claimed = scene.outbox.open(), scene.outbox.directory / "claimed"

    def is_claimed(directory):
        disk.faults.clear()
        own.rename(claimed)

    disk.faults["sync_directory"] = is_claimed
    taken = scene.take(b"content")
    assert taken.is_protected
    assert taken.uncertain, "an entry was there already, and who claimed it ships it"
    assert not parcel.uncertain
    assert scene.entries() == sorted([parcel.ref.file.name, *[taken.ref.file.name] * 2])


def test_a_save_taken_before_the_outbox_could_be_made_keeps_its_place(scene, make_outbox, disk):
    disk.faults["make_directory"] = FULL
    first = scene.take(b"0")
    disk.faults.clear()
    older = make_outbox()
    left = _Scene(older)
    left.take(b"older")
    older.close()
    assert scene.intake.protect(first)
    scene.outbox.close()
    ordered = make_outbox().adopt(lambda owner: True, Watch()).adopted
    assert [ref.entry.provenance.instance for ref in ordered] == [older.instance, scene.outbox.instance]
    assert ordered[-1].entry == first.entry


def finish(intent):
    intent.commit()
    return intent.parcel.result(5)


async def test_the_entry_is_made_while_the_file_is_written_and_counts_only_once_that_is_there(scene, wait_until):
    intent = scene.intake.begin(scene.draft(), b"content")
    await wait_until(scene.entries)
    assert not intent.parcel.done()
    intent.commit()
    parcel = intent.parcel.result(5)
    assert [parcel.ref.file.name] == scene.entries()
    assert bytes(scene.outbox.read(parcel.ref)) == b"content"


async def test_a_save_whose_file_could_not_be_written_leaves_nothing(scene, wait_until):
    intent = scene.intake.begin(scene.draft(), b"content")
    await wait_until(scene.entries)
    intent.abort()
    assert intent.parcel.result(5) is None
    assert not list(scene.outbox.directory.rglob("*.partial"))
    assert scene.entries() == []


async def test_an_entry_of_a_failed_save_that_cannot_be_removed_is_told(scene, disk, wait_until):
    intent = scene.intake.begin(scene.draft(), b"content")
    await wait_until(scene.entries)
    disk.faults["remove"] = BROKEN
    intent.abort()
    assert intent.parcel.result(5) is None
    assert [ref.file.name for ref in scene.left] == scene.entries()


def test_an_unprotected_save_is_protected_once_the_disk_is_mended_although_nothing_could_be_cleaned(scene, disk):
    scene.outbox.open()
    disk.faults |= {"sync": BROKEN, "remove": BROKEN}
    parcel = scene.take(b"content")
    assert not scene.intake.protect(parcel)
    disk.faults.clear()
    assert scene.intake.protect(parcel)
    assert parcel.is_protected


@pytest.mark.parametrize("step", ["write", "rename"])
def test_a_save_whose_bytes_could_not_be_written_meanwhile_is_held_in_memory(scene, disk, step):
    disk.faults[step] = FULL
    intent = scene.intake.begin(scene.draft(), b"content")
    intent.commit()
    assert intent.parcel.result(5).content == b"content"
    assert scene.intake.memory == 7
    assert scene.codes() == ["OutboxFull"]


def test_a_save_that_failed_on_both_sides_takes_no_memory(scene, disk):
    disk.faults["write"] = FULL
    intent = scene.intake.begin(scene.draft(), b"content")
    intent.abort()
    assert intent.parcel.result(5) is None
    assert scene.intake.memory == 0
    assert scene.intake.missed == {}


def test_neither_beginning_nor_deciding_waits_for_the_disk(scene, disk):
    go = threading.Event()

    def slow(fd):
        go.wait(5)

    scene.outbox.open()
    disk.faults["sync"] = slow
    began = time.monotonic()
    intents = [scene.intake.begin(scene.draft(), b"x") for _ in range(20)]
    for intent in intents:
        intent.commit()
    assert time.monotonic() - began < 1
    assert not any(intent.parcel.done() for intent in intents)
    go.set()
    assert all(intent.parcel.result(5).is_protected for intent in intents)


def test_more_saves_than_there_are_threads_come_through_in_any_order_of_decisions(scene):
    intents = [scene.intake.begin(scene.draft(), b"%d" % n) for n in range(30)]
    for intent in reversed(intents):
        intent.commit()
    contents = [bytes(scene.outbox.read(intent.parcel.result(5).ref)) for intent in intents]
    assert contents == [b"%d" % n for n in range(30)]


def test_a_disk_without_room_beyond_the_reserve_is_told_as_full(make_outbox):
    scene = _Scene(make_outbox(reserve=1 << 62))
    assert not scene.take(b"x").is_protected
    assert isinstance(scene.reports[0], OutboxFull)
    assert not isinstance(scene.reports[0], OutboxUnavailable)


@pytest.mark.parametrize("way", ["a save", "a later try", "an error by itself"])
def test_what_is_wrong_with_the_outbox_keeps_no_save_in_memory(scene, disk, way, held_by):
    """The trouble is kept until the outbox takes saves again: for as long, it would hold the save that it refused."""
    disk.faults["write"] = FULL
    parcel = scene.take(b"content" * 20)
    if way == "a later try":
        scene.intake.note(None)
        assert not scene.intake.protect(parcel)
    elif way == "an error by itself":
        scene.intake.note(None)
        with pytest.raises(OutboxFull) as raised:
            scene.outbox.put(parcel.entry, parcel.content)
        scene.intake.note(raised.value)
    assert isinstance(scene.intake.trouble, OutboxFull)
    assert scene.intake.trouble.__cause__ is not None, "what was behind it is still told"
    for kept in (scene.intake.trouble, scene.reports[-1]):
        assert held_by(kept) == []
