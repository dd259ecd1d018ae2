"""The power lost after every system call of the outbox: what was acknowledged is there, whole and in order."""

from __future__ import annotations

import errno
import os
import random
import stat
import sys
from pathlib import Path

import pytest

from bookstore.delivery import Courier
from bookstore.disk import Disk
from bookstore.outbox import EntryRef, Outbox
from bookstore.outbox_owner import CLOSED_FILE, HEARTBEAT_FILE, LOCK_FILE, OWNER_FILE
from ci.power_loss import FailsOnce, ModelDisk, Recorder, Step, record, record_and_replay

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the recorder reads names from /proc")

ROW = "power loss: every syscall boundary of the outbox"

#: The short form.
SAVES = 4
IMAGES = 6

#: The long form.
LONG_SEEDS = 12
LONG_SAVES = 10
LONG_IMAGES = 24


async def check_power_loss(directory, *, seed, saves=SAVES, images=IMAGES, **options):
    found = await record_and_replay(directory, seed=seed, saves=saves, images=images, **options)
    assert found.violations == []
    return found


async def test_power_loss_at_any_call_loses_nothing(tmp_path, seed, report):
    found = await check_power_loss(tmp_path, seed=seed)
    assert found.images > 100
    report(ROW, boundaries=found.steps, states=found.images, lost=0)


@pytest.mark.long
async def test_power_loss_at_any_call_of_many_stories_loses_nothing(tmp_path, seed, report):
    boundaries = states = 0
    for number in range(LONG_SEEDS):
        found = await check_power_loss(tmp_path / str(number), seed=seed + number, saves=LONG_SAVES, images=LONG_IMAGES)
        boundaries += found.steps
        states += found.images
    report(ROW, boundaries=boundaries, states=states, lost=0)


# A save that the store refuses is left out: that it is where it was put, nothing but a sync that works can tell.
UNREFUSED = ("a.ipynb", "b.ipynb", "same.ipynb")


async def calls_of(directory, seed, saves):
    disk = FailsOnce(0, errno.EIO)
    await record(directory / "outbox", seed=seed, saves=saves, disk=disk, paths=UNREFUSED)
    return disk.calls


# Of each kind of call some.
@pytest.mark.parametrize("place", [1, 2, 6, 11, 17, 24])
async def test_power_loss_after_a_call_that_failed_loses_nothing(tmp_path, place):
    disk = FailsOnce(place, errno.EIO)
    await check_power_loss(tmp_path, seed=2, saves=2, images=4, disk=disk, paths=UNREFUSED)
    assert len(disk.calls) > place


@pytest.mark.long
async def test_power_loss_after_any_call_that_failed_loses_nothing(tmp_path, seed, report):
    calls = await calls_of(tmp_path / "clean", seed, 3)
    states = 0
    for place in range(1, len(calls) + 1):
        for error in (errno.EIO, errno.ENOSPC):
            disk = FailsOnce(place, error)
            found = await check_power_loss(
                tmp_path / f"{place}-{error}", seed=seed, saves=3, disk=disk, paths=UNREFUSED
            )
            states += found.images
    report(ROW, case="after one of its calls failed", calls=len(calls), states=states, lost=0)


# -- what the check must catch -------------------------------------------------------------------------------------


class NoSyncOfFiles(Disk):
    def sync(self, fd):
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            super().sync(fd)


class NoSyncOfDirectories(Disk):
    def sync_directory(self, path):
        pass


class RenamesBeforeSync(Disk):
    """Gives a file its name before its bytes are on the disk, and syncs it afterwards."""

    def __init__(self):
        self.is_writing = False

    def write_new(self, path, parts):
        self.is_writing = path.suffix == ".partial"
        super().write_new(path, parts)
        self.is_writing = False

    def sync(self, fd):
        if not self.is_writing:
            super().sync(fd)

    def rename(self, old, new):
        super().rename(old, new)
        fd = os.open(new, os.O_RDONLY)
        super().sync(fd)
        os.close(fd)


class NoSyncOfNewPlaces(Disk):
    """Syncs no directory that holds directories only: where saves are set aside is one of them."""

    def sync_directory(self, path):
        if path.name != "outbox":
            super().sync_directory(path)


@pytest.mark.parametrize("disk", [NoSyncOfFiles, NoSyncOfDirectories, RenamesBeforeSync, NoSyncOfNewPlaces])
async def test_the_check_catches_a_disk_that_is(tmp_path, disk):
    with pytest.raises(AssertionError, match=r"lost|torn"):
        await check_power_loss(tmp_path, seed=1, disk=disk(), stop_at=1)


async def test_the_check_catches_deleting_before_the_acknowledgement(tmp_path, monkeypatch):
    deliver = Courier.deliver

    async def delete_first(self, parcel, key, content):
        parcel.ref.file.unlink()
        return await deliver(self, parcel, key, content)

    monkeypatch.setattr(Courier, "deliver", delete_first)
    with pytest.raises(AssertionError, match="lost"):
        await check_power_loss(tmp_path, seed=1, stop_at=1)


async def test_the_check_catches_acknowledging_before_the_entry_has_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(Outbox, "_commit", lambda self, partial, entry: EntryRef(partial, entry))
    with pytest.raises(AssertionError, match="lost"):
        await check_power_loss(tmp_path, seed=1, stop_at=1)


# -- nothing bypasses the disk -------------------------------------------------------------------------------------

#: What may be anything after a loss of power: signs of life, and the names of what is over.
SIGNS = {OWNER_FILE, LOCK_FILE, HEARTBEAT_FILE, CLOSED_FILE}


async def test_every_change_of_an_entry_goes_through_the_disk(tmp_path):
    recording = await record(tmp_path / "outbox", seed=1, saves=8)
    assert {step.kind for step in recording.steps} >= {"create", "write", "sync", "sync_directory", "rename", "unlink"}
    for step in recording.bypasses:
        is_sign = Path(step.path).name in SIGNS and step.kind in ("create", "unlink")
        assert is_sign or step.kind == "rmdir", step


# -- the model itself ----------------------------------------------------------------------------------------------


def images_after(*steps):
    disk = ModelDisk()
    for step in steps:
        disk.apply(step)
    found = [image for seed in range(20) for image in disk.images(random.Random(seed), 12)]  # noqa: S311
    return {tuple(sorted(image.files.items())) for image in found}


D, A, B = Step("mkdir", "d"), "d/a", "d/b"
TOP = Step("sync_directory", ".")
MADE = (D, TOP, Step("create", A))


def test_what_was_not_synced_may_be_gone_or_torn():
    found = images_after(*MADE, Step("write", A, data=b"xyz"))
    assert {(), ((A, b""),), ((A, b"xyz"),), ((A, b"\0\0\0"),), ((A, b"xy"),)} <= found


def test_a_synced_file_is_whole_but_may_lack_its_name():
    found = images_after(*MADE, Step("write", A, data=b"xyz"), Step("sync", A))
    assert found == {(), ((A, b"xyz"),)}


def test_a_synced_file_of_a_synced_directory_is_there():
    found = images_after(*MADE, Step("write", A, data=b"xyz"), Step("sync", A), Step("sync_directory", "d"))
    assert found == {((A, b"xyz"),)}


def test_a_rename_loses_neither_the_old_name_nor_the_new_one_of_a_file_that_was_there():
    found = images_after(*MADE, Step("sync", A), Step("sync_directory", "d"), Step("rename", A, other=B))
    assert found == {((A, b""),), ((B, b""),), ((A, b""), (B, b""))}


def test_a_renamed_directory_keeps_its_files_under_one_name_at_least():
    made = (*MADE, Step("sync", A), Step("sync_directory", "d"), Step("mkdir", "e"), TOP)
    found = images_after(*made, Step("rename", "d", other="e/d"))
    assert found == {((A, b""),), (("e/d/a", b""),), ((A, b""), ("e/d/a", b""))}


def test_a_file_in_a_directory_that_is_gone_is_gone():
    found = images_after(D, Step("create", A), Step("sync", A), Step("sync_directory", "d"))
    assert found == {(), ((A, b""),)}


def test_a_removed_file_may_come_back():
    found = images_after(*MADE, Step("sync", A), Step("sync_directory", "d"), Step("unlink", A))
    assert found == {(), ((A, b""),)}


def test_the_recorder_sees_what_is_done_in_other_ways(tmp_path):
    top = tmp_path / "outbox"
    with Recorder(top) as recorder:
        top.mkdir()
        (top / "x").write_bytes(b"1")
        (top / "x").rename(top / "y")
        (top / "y").unlink()
        top.rmdir()
        (tmp_path / "elsewhere").write_bytes(b"2")
    told = [(step.kind, step.path, step.through_disk) for step in recorder.steps]
    assert told == [
        ("mkdir", "outbox", False),
        ("create", "outbox/x", False),
        ("rename", "outbox/x", False),
        ("unlink", "outbox/y", False),
        ("rmdir", "outbox", False),
    ]


async def test_one_seed_makes_one_story(tmp_path):
    first, second = [await record(tmp_path / name / "outbox", seed=3, saves=3) for name in ("1", "2")]
    assert [save.content for save in first.saves] == [save.content for save in second.saves]
    assert [step.kind for step in first.steps] == [step.kind for step in second.steps]
