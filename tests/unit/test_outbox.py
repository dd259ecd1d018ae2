"""`bookstore.outbox`: what was taken survives, whatever the disk does, and has one owner at a time."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

import bookstore
from bookstore import outbox_owner
from bookstore.disk import Disk
from bookstore.errors import EntryCorrupt, EntryGone, OutboxError, OutboxFull, OutboxUnavailable
from bookstore.outbox import QUARANTINE, REFUSED, Outbox
from bookstore.outbox_owner import DirectoryLock, Watch, this_process
from bookstore.outbox_survey import survey

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="permissions and signals of POSIX")

ERRORS = {
    "ENOSPC": OutboxFull,
    "EDQUOT": OutboxFull,
    "EIO": OutboxUnavailable,
    "EROFS": OutboxUnavailable,
    "EACCES": OutboxUnavailable,
}


def _error(name: str) -> OSError:
    number = getattr(errno, name)
    return OSError(number, os.strerror(number))


def _files(outbox: Outbox, *suffixes: str) -> list[str]:
    found = [file for file in outbox.directory.rglob("*") if file.is_file()]
    return sorted(file.name for file in found if not suffixes or file.suffix in suffixes)


def _everybody(owner: object) -> bool:
    return True


def _nobody(owner: object) -> bool:
    return False


def count_aside(outbox):
    return {kind: len(names) for kind, names in outbox.names_aside().items()}


@pytest.fixture
def put(entry_of):
    """Puts a save into an outbox: the entry's reference."""

    def put_one(outbox: Outbox, content: bytes = b"{}", path: str = "a.ipynb", **changes):
        return outbox.put(entry_of(outbox, content, path, **changes), content)

    put_one.entry_of = entry_of
    return put_one


@pytest.fixture
def full_mode() -> Iterator[None]:
    """No help from the umask."""
    before = os.umask(0)
    yield
    os.umask(before)


# -- one server -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"{}", b"\x00\xff" * 100_000])
def test_what_is_put_is_read(make_outbox, put, content):
    outbox = make_outbox()
    ref = put(outbox, content)
    assert bytes(outbox.read(ref)) == content
    assert ref.file.exists()
    assert not ref.adopted


def test_a_memoryview_is_put_as_it_is(make_outbox, entry_of):
    outbox = make_outbox()
    view = memoryview(b"..content..")[2:-2]
    assert bytes(outbox.read(outbox.put(entry_of(outbox, b"content"), view))) == b"content"


def test_what_is_removed_is_gone_and_may_be_removed_again(make_outbox, put):
    outbox = make_outbox()
    ref, other = put(outbox), put(outbox)
    outbox.remove(ref)
    outbox.remove(ref)
    assert not ref.file.exists()
    assert _files(outbox, ".entry") == [other.file.name]


def test_names_tell_the_order(make_outbox, put):
    outbox = make_outbox()
    refs = [put(outbox) for _ in range(12)]
    assert sorted(refs, key=lambda ref: ref.file.name) == sorted(refs, key=lambda ref: ref.order) == refs


def test_the_layout_is_the_documented_one(make_outbox, put):
    outbox = make_outbox()
    ref = put(outbox)
    outbox.beat()
    own = outbox.open()
    assert own.parent == outbox.directory
    assert re.fullmatch(r"00000001-[0-9a-f]{16}", own.name)
    assert re.fullmatch(r"00000001-000000000001-[0-9a-f]{32}\.entry", ref.file.name)
    assert sorted(file.name for file in own.iterdir()) == sorted([ref.file.name, "heartbeat", "lock", "owner.json"])
    owner = json.loads((own / "owner.json").read_bytes())
    assert (owner["instance"], owner["pid"], owner["root_dir"]) == (outbox.instance, os.getpid(), "/home/u")


@pytest.mark.usefixtures("full_mode")
def test_nobody_else_may_look_into_it(make_outbox, put):
    outbox = make_outbox()
    put(outbox)
    outbox.set_aside(put(outbox), QUARANTINE, EntryCorrupt("torn"))
    outbox.set_aside(put(outbox), REFUSED, EntryCorrupt("too long"))
    outbox.beat()
    outbox.close()
    for where in (outbox.directory, *outbox.directory.rglob("*")):
        assert stat.S_IMODE(where.stat().st_mode) == (0o700 if where.is_dir() else 0o600), where


def test_nothing_is_made_before_it_is_needed(make_outbox):
    outbox = make_outbox()
    outbox.close()
    assert not outbox.directory.exists()


def test_closing_an_empty_outbox_leaves_nothing(make_outbox, put):
    outbox = make_outbox()
    outbox.remove(put(outbox))
    outbox.beat()
    outbox.close()
    outbox.close()
    assert list(outbox.directory.iterdir()) == []


def test_closing_leaves_what_waits_and_says_so(make_outbox, put):
    outbox = make_outbox()
    ref = put(outbox)
    outbox.close()
    outbox.close()
    assert ref.file.exists()
    assert (ref.file.parent / "closed").exists()
    assert DirectoryLock(ref.file.parent).acquire()


def test_what_is_put_after_closing_is_as_safe_as_before(make_outbox, put):
    outbox = make_outbox()
    first = put(outbox)
    outbox.close()
    second = put(outbox)
    assert second.order > first.order
    assert not (second.file.parent / "closed").exists()
    assert not DirectoryLock(second.file.parent).acquire()
    assert bytes(outbox.read(first)) == bytes(outbox.read(second))


def test_threads_may_share_an_outbox(make_outbox, put):
    outbox = make_outbox()
    with ThreadPoolExecutor(8) as pool:
        refs = list(pool.map(lambda n: put(outbox, b"%d" % n), range(100)))
    assert [bytes(outbox.read(ref)) for ref in refs] == [b"%d" % n for n in range(100)]
    assert len({ref.order for ref in refs}) == 100
    assert len(list(outbox.directory.iterdir())) == 1


def test_what_is_written_is_no_entry_before_the_disk_holds_it(make_outbox, put, disk):
    outbox = make_outbox(disk=disk)
    seen = []
    outbox.open()
    disk.faults["rename"] = lambda old, new: seen.append(_files(outbox, ".entry", ".partial"))
    ref = put(outbox)
    assert seen == [[ref.file.with_suffix(".partial").name]]
    assert _files(outbox, ".entry", ".partial") == [ref.file.name]


def test_the_same_save_put_from_two_sides_at_once_is_kept_once(make_outbox, entry_of, disk):
    outbox = make_outbox(disk=disk)
    entry = entry_of(outbox, b"{}")

    def put_again(old, new):
        disk.faults.clear()
        with pytest.raises(OutboxUnavailable):
            outbox.put(entry, b"{}")

    disk.faults["rename"] = put_again
    assert bytes(outbox.read(outbox.put(entry, b"{}"))) == b"{}"


def test_what_an_attempt_could_not_clean_up_is_not_in_the_way_of_the_next(make_outbox, entry_of, disk):
    outbox = make_outbox(disk=disk)
    outbox.open()
    entry = entry_of(outbox, b"content")
    disk.faults |= {"sync": _error("EIO"), "remove": _error("EIO")}
    with pytest.raises(OutboxUnavailable) as failure:
        outbox.put(entry, b"content")
    assert not failure.value.may_remain
    assert _files(outbox, ".partial") != []
    disk.faults.clear()
    ref = outbox.put(entry, b"content")
    assert bytes(outbox.read(ref)) == b"content"
    assert _files(outbox, ".entry", ".partial") == [ref.file.name]


def test_an_entry_that_may_be_there_all_the_same_is_told(make_outbox, put, disk):
    outbox = make_outbox(disk=disk)
    outbox.open()
    disk.faults |= {"sync_directory": _error("EIO"), "remove": _error("EIO")}
    with pytest.raises(OutboxUnavailable) as failure:
        put(outbox)
    assert failure.value.may_remain
    assert _files(outbox, ".entry") != []


def test_a_torn_entry_is_not_read(make_outbox, put):
    outbox = make_outbox()
    ref = put(outbox, b"content")
    os.truncate(ref.file, ref.file.stat().st_size - 1)
    with pytest.raises(EntryCorrupt):
        outbox.read(ref)


def test_an_entry_exchanged_for_another_is_not_read(make_outbox, put):
    outbox = make_outbox()
    ref, other = put(outbox, b"{}"), put(outbox, b"{}")
    ref.file.write_bytes(other.file.read_bytes())
    with pytest.raises(EntryCorrupt, match="another"):
        outbox.read(ref)


def test_what_is_set_aside_stays_with_its_reason(make_outbox, put):
    outbox = make_outbox()
    ref, other = put(outbox, b"content", "b.ipynb"), put(outbox)
    data = ref.file.read_bytes()
    aside = outbox.set_aside(ref, REFUSED, EntryCorrupt("the key is too long, é"))
    assert aside.read_bytes() == data
    assert aside.parent == outbox.directory / "refused"
    note = json.loads(aside.with_suffix(".json").read_bytes())
    assert (note["why"], note["path"]) == ("the key is too long, é", "b.ipynb")
    assert count_aside(outbox) == {"quarantine": 0, "refused": 1}
    assert not ref.file.exists()
    assert other.file.exists()


@pytest.mark.parametrize("step", ["sync_directory", "write_new"])
def test_what_is_set_aside_is_so_although_the_note_cannot_be_written(make_outbox, put, disk, step):
    outbox = make_outbox(disk=disk)
    ref = put(outbox)
    disk.faults[step] = _error("ENOSPC")
    aside = outbox.set_aside(ref, QUARANTINE, EntryCorrupt("torn"))
    assert aside.exists()
    assert count_aside(outbox)["quarantine"] == 1


# -- a disk that fails ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("step", ["make_directory", "write_new", "write", "sync", "sync_directory"])
def test_an_outbox_that_cannot_be_made_is_made_later(make_outbox, put, disk, step, error):
    outbox = make_outbox(disk=disk)
    disk.faults[step] = _error(error)
    for _ in range(2):
        with pytest.raises(ERRORS[error]) as failure:
            outbox.open()
        assert type(failure.value) is ERRORS[error]
        assert str(outbox.directory) in str(failure.value)
        assert failure.value.hint
        assert failure.value.transient
    disk.faults.clear()
    ref = put(outbox)
    assert bytes(outbox.read(ref)) == b"{}"
    outbox.close()
    assert DirectoryLock(ref.file.parent).acquire(), "a failed attempt still holds the lock"


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("step", ["free_bytes", "write_new", "write", "sync", "rename", "sync_directory"])
def test_a_failing_disk_leaves_no_half_of_an_entry_and_recovers(make_outbox, entry_of, put, disk, step, error):
    outbox = make_outbox(disk=disk)
    before = put(outbox)
    entry = entry_of(outbox, b"content")
    disk.faults[step] = _error(error)
    for _ in range(2):
        with pytest.raises(OutboxError) as failure:
            outbox.put(entry, b"content")
        assert type(failure.value) is ERRORS[error]
        assert str(outbox.directory) in str(failure.value)
        assert _files(outbox, ".entry", ".partial") == [before.file.name]
    disk.faults.clear()
    ref = outbox.put(entry, b"content")
    assert bytes(outbox.read(ref)) == b"content"
    assert _files(outbox, ".entry", ".partial") == sorted([before.file.name, ref.file.name])


def test_an_entry_torn_while_it_is_written_leaves_nothing(make_outbox, put, disk):
    outbox = make_outbox(disk=disk)
    outbox.open()

    def half(fd, data):
        Disk.write(disk, fd, memoryview(data)[: len(data) // 2])
        return _error("ENOSPC")

    disk.faults["write"] = half
    with pytest.raises(OutboxFull):
        put(outbox, b"content" * 1000)
    assert _files(outbox, ".entry", ".partial") == []


@pytest.mark.parametrize("step", ["rename", "sync_directory"])
def test_a_step_that_fails_after_its_work_is_undone(make_outbox, put, disk, step):
    outbox = make_outbox(disk=disk)
    outbox.open()
    disk.after[step] = _error("EIO")
    with pytest.raises(OutboxUnavailable):
        put(outbox)
    assert _files(outbox, ".entry", ".partial") == []


def test_an_interruption_leaves_nothing(make_outbox, put, disk):
    outbox = make_outbox(disk=disk)
    outbox.open()
    disk.faults["sync"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        put(outbox)
    assert _files(outbox, ".entry", ".partial") == []


@pytest.mark.parametrize("error", ERRORS)
def test_a_disk_that_lets_nothing_be_removed_says_so(make_outbox, put, disk, error):
    outbox = make_outbox(disk=disk)
    ref = put(outbox)
    disk.faults["remove"] = _error(error)
    with pytest.raises(ERRORS[error]):
        outbox.remove(ref)
    assert ref.file.exists()


def test_the_first_error_is_told_when_cleaning_up_fails_too(make_outbox, put, disk):
    outbox = make_outbox(disk=disk)
    outbox.open()
    disk.faults |= {"sync": _error("ENOSPC"), "remove": _error("EIO")}
    with pytest.raises(OutboxFull):
        put(outbox)
    assert _files(outbox, ".entry") == []


@pytest.mark.parametrize("error", ERRORS)
def test_a_disk_that_does_not_read_is_not_taken_for_a_claim(make_outbox, put, disk, error):
    outbox = make_outbox(disk=disk)
    ref = put(outbox)
    disk.faults["read"] = _error(error)
    with pytest.raises(ERRORS[error]) as failure:
        outbox.read(ref)
    assert not isinstance(failure.value, EntryGone)
    disk.faults.clear()
    assert bytes(outbox.read(ref)) == b"{}"


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("step", ["make_directory", "rename"])
def test_what_cannot_be_set_aside_stays_where_it_is(make_outbox, put, disk, step, error):
    outbox = make_outbox(disk=disk)
    ref = put(outbox)
    disk.faults[step] = _error(error)
    with pytest.raises(ERRORS[error]):
        outbox.set_aside(ref, QUARANTINE, EntryCorrupt("torn"))
    assert ref.file.exists()


class _SmallDisk(Disk):
    free = 0

    def free_bytes(self, path: Path) -> int:
        return self.free


def test_the_reserve_is_left_free_to_the_byte(make_outbox, entry_of):
    small = _SmallDisk()
    outbox = make_outbox(reserve=1000, disk=small)
    entry = entry_of(outbox, b"x" * 500)
    small.free = 10**9
    size = outbox.put(entry, b"x" * 500).file.stat().st_size
    small.free = 1000 + size - 1
    with pytest.raises(OutboxFull, match="reserve of 1000 bytes"):
        outbox.put(entry, b"x" * 500)
    small.free += 1
    outbox.put(entry, b"x" * 500)


def test_bytes_reach_the_disk_before_their_name_and_the_name_before_put_returns(make_outbox, put, disk):
    outbox = make_outbox(disk=disk)
    own = str(outbox.open())
    disk.calls.clear()
    ref = put(outbox, b"content")
    partial = str(ref.file.with_suffix(".partial"))
    assert disk.calls == [
        ("free_bytes", own),
        ("write_new", partial),
        ("write", partial),
        ("write", partial),
        ("sync", partial),
        ("rename", partial),
        ("sync_directory", own),
        ("sync", own),
    ]


def test_a_real_disk_syncs_file_and_directory(make_outbox, put, monkeypatch):
    outbox = make_outbox()
    own = outbox.open()
    synced = []

    def sync(fd):
        where = Path(f"/proc/self/fd/{fd}").readlink()
        synced.append((where, where.stat().st_size if where.is_file() else None))

    monkeypatch.setattr("bookstore.disk._full_sync", sync)
    ref = put(outbox, b"content")
    assert synced == [(ref.file.with_suffix(".partial"), ref.file.stat().st_size), (own, None)]


def test_the_directory_itself_is_synced_before_an_entry_can_be_in_it(make_outbox, disk):
    outbox = make_outbox(disk=disk)
    own = outbox.open()
    steps = [call for call in disk.calls if call[0] in ("write_new", "sync_directory")]
    assert steps == [
        ("sync_directory", str(outbox.directory.parent)),
        ("write_new", str(own / "owner.json")),
        ("sync_directory", str(own)),
        ("sync_directory", str(outbox.directory)),
    ]


def test_a_directory_removed_under_us_is_made_again(make_outbox, put):
    outbox = make_outbox()
    put(outbox)
    shutil.rmtree(outbox.directory)
    ref = put(outbox)
    assert bytes(outbox.read(ref)) == b"{}"
    assert (ref.file.parent / "owner.json").exists()
    assert not DirectoryLock(ref.file.parent).acquire()


def test_the_heartbeat_brings_a_removed_directory_back(make_outbox):
    outbox = make_outbox()
    shutil.rmtree(outbox.open())
    outbox.beat()
    assert (outbox.open() / "heartbeat").exists()
    assert (outbox.open() / "owner.json").exists()


def test_a_directory_removed_while_an_entry_gets_its_name_is_an_error_and_then_none(make_outbox, put, disk):
    outbox = make_outbox(disk=disk)

    def vanish(old, new):
        disk.faults.clear()
        shutil.rmtree(outbox.directory)

    disk.faults["rename"] = vanish
    with pytest.raises(OutboxUnavailable):
        put(outbox)
    assert bytes(outbox.read(put(outbox))) == b"{}"


def test_closing_a_directory_that_is_gone_is_no_error(make_outbox, put):
    outbox = make_outbox()
    put(outbox)
    shutil.rmtree(outbox.directory)
    outbox.close()


def test_a_file_where_the_directory_should_be_is_told(make_outbox, put):
    outbox = make_outbox()
    outbox.directory.write_text("in the way")
    with pytest.raises(OutboxUnavailable):
        put(outbox)
    outbox.directory.unlink()
    put(outbox)


# -- what others left -----------------------------------------------------------------------------------------------

_SERVER = """
import hashlib, sys, time
from pathlib import Path
from bookstore.outbox import Outbox
from bookstore.outbox_entry import Entry
from bookstore.outbox_owner import this_process
from bookstore.provenance import Provenance

outbox = Outbox(Path(sys.argv[1]), lambda instance: this_process(instance, "/home/other", "elsewhere"))
outbox.open()
for number in range(int(sys.argv[2])):
    content = b"%d" % number
    provenance = Provenance(
        f"{number:032x}", hashlib.sha256(content).hexdigest(), 0.0,
        instance=outbox.instance, generation=outbox.generation, sequence=outbox.next_sequence(),
    )
    outbox.put(Entry("a.ipynb", "workspace/a.ipynb", len(content), provenance), content)
(outbox.open() / "torn.partial").write_bytes(b"half")
print("ready", flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def _server(directory: Path, entries: int) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": str(Path(bookstore.PACKAGE_DIR).parent)}
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(directory), str(entries)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_what_a_killed_server_left_is_adopted_and_what_a_living_one_has_is_not(make_outbox):
    outbox = make_outbox()
    with _server(outbox.directory, 5) as living, _server(outbox.directory, 7) as killed:
        look = outbox.adopt(_everybody, Watch())
        assert (look.adopted, look.alive) == ((), 2)
        killed.send_signal(signal.SIGKILL)
        # Waited for, but not yet taken leave of: a zombie is dead too.
        os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)
        look = outbox.adopt(_everybody, Watch())
        assert (len(look.adopted), look.alive, look.corrupt, look.left) == (7, 1, (), ())
        assert [bytes(outbox.read(ref)) for ref in look.adopted] == [b"%d" % n for n in range(7)]
        assert all(ref.adopted and ref.file.parent == outbox.open() for ref in look.adopted)
        assert _files(outbox, ".partial") == ["torn.partial"], "the living server's"
        living.kill()
        living.wait()
        assert len(outbox.adopt(_everybody, Watch()).adopted) == 5
    assert list(outbox.directory.iterdir()) == [outbox.open()]
    assert outbox.adopt(_everybody, Watch()).adopted == ()


def test_a_process_number_used_again_does_not_bring_a_server_to_life(make_outbox, put):
    left = make_outbox(lambda instance: replace(this_process(instance, "/", "b"), pid_started="1"))
    put(left)
    look = make_outbox().adopt(_everybody, Watch())
    assert len(look.adopted) == 1


def test_a_server_in_this_very_process_is_alive(make_outbox, put):
    put(make_outbox())
    look = make_outbox().adopt(_everybody, Watch())
    assert (look.adopted, look.alive) == ((), 1)


def test_a_closed_directory_is_adopted_at_once(make_outbox, put):
    for _ in range(2):
        left = make_outbox()
        put(left)
        left.close()
    outbox = make_outbox()
    assert len(outbox.adopt(_everybody, Watch()).adopted) == 2
    assert list(outbox.directory.iterdir()) == [outbox.open()]


def test_of_many_adopters_each_entry_goes_to_exactly_one(make_outbox, put):
    names = set()
    for _ in range(4):
        left = make_outbox()
        names |= {put(left).file.name for _ in range(40)}
        left.close()
    adopters = [make_outbox() for _ in range(4)]
    for adopter in adopters:
        adopter.open()
    start = threading.Barrier(len(adopters))

    def adopt(adopter):
        start.wait()
        return adopter.adopt(_everybody, Watch())

    with ThreadPoolExecutor(len(adopters)) as pool:
        looks = list(pool.map(adopt, adopters))
    adopted = [ref.file.name for look in looks for ref in look.adopted]
    assert sorted(adopted) == sorted(names)
    shares = [{ref.entry.provenance.instance for ref in look.adopted} for look in looks]
    assert sum(map(len, shares)) == 4, "what one server left was shared out"
    assert not any(look.corrupt for look in looks)
    for adopter, look in zip(adopters, looks, strict=True):
        assert all(bytes(adopter.read(ref)) == b"{}" for ref in look.adopted)


def test_a_claimed_entry_is_gone_for_who_had_it(make_outbox, put):
    old = make_outbox()
    ref = put(old)
    old.close()
    make_outbox().adopt(_everybody, Watch())
    assert not ref.file.exists()
    with pytest.raises(EntryGone):
        old.read(ref)
    old.remove(ref)


def _claimed_and_not_moved_up(make_outbox, put, disk):
    """A server that claimed what another left, and could not read it: the server, and the names."""
    left = make_outbox()
    names = [put(left).file.name for _ in range(3)]
    left.close()
    claimant = make_outbox(disk=disk)
    disk.faults["read_start"] = _error("EIO")
    with pytest.raises(OutboxUnavailable):
        claimant.adopt(_everybody, Watch())
    assert list(claimant.directory.iterdir()) == [claimant.open()]
    assert not list(claimant.open().glob("*.entry"))
    return claimant, names


@pytest.mark.parametrize("claimants", [1, 3])
def test_what_a_claimant_left_undone_goes_with_its_directory(make_outbox, put, disk, claimants):
    for number in range(claimants):
        if number == 0:
            claimant, names = _claimed_and_not_moved_up(make_outbox, put, disk)
        else:
            claimant = make_outbox(disk=disk)
            with pytest.raises(OutboxUnavailable):
                claimant.adopt(_everybody, Watch())
        claimant.close()
    outbox = make_outbox()
    (waiting,) = survey(outbox.directory).waiting
    assert (waiting.entries, waiting.life) == (3, "ended")
    look = outbox.adopt(_everybody, Watch())
    assert [ref.file.name for ref in look.adopted] == names
    assert [bytes(outbox.read(ref)) for ref in look.adopted] == [b"{}"] * 3
    assert list(outbox.directory.iterdir()) == [outbox.open()]
    assert sorted(file.name for file in outbox.open().iterdir()) == sorted([*names, "lock", "owner.json"])


def test_a_claimant_goes_on_at_its_next_look_with_what_it_left_undone(make_outbox, put, disk):
    claimant, names = _claimed_and_not_moved_up(make_outbox, put, disk)
    assert make_outbox().adopt(_everybody, Watch()).adopted == (), "the claimant lives"
    disk.faults.clear()
    assert [ref.file.name for ref in claimant.adopt(_everybody, Watch()).adopted] == names
    assert claimant.adopt(_everybody, Watch()).adopted == ()


def test_closing_does_not_take_what_was_claimed_for_nothing(make_outbox, put, disk):
    claimant, names = _claimed_and_not_moved_up(make_outbox, put, disk)
    own = claimant.open()
    claimant.close()
    assert (own / "closed").exists()
    assert _files(claimant, ".entry") == names


def test_a_claim_is_on_the_disk_before_anything_moves_up(make_outbox, put, disk):
    left = make_outbox()
    ref = put(left)
    left.close()
    outbox = make_outbox(disk=disk)
    own = outbox.open()
    disk.calls.clear()
    outbox.adopt(_everybody, Watch())
    steps = [call for call in disk.calls if call[0] in ("rename", "sync_directory")]
    moved = steps[3][1]
    assert Path(moved).name == ref.file.name
    assert Path(moved).parent.parent == own
    assert steps == [
        ("rename", str(ref.file.parent)),
        ("sync_directory", str(own)),
        ("sync_directory", str(outbox.directory)),
        ("rename", moved),
        ("sync_directory", str(own)),
        ("sync_directory", str(Path(moved).parent)),
    ]


def test_a_server_taken_for_dead_finds_its_entries_gone_and_goes_on_elsewhere(make_outbox, put):
    other = _Elsewhere(make_outbox, put)
    other.die()
    assert not other.is_adopted_at(0.0)
    assert other.is_adopted_at(30.0)
    for work in (other.outbox.read, lambda ref: other.outbox.set_aside(ref, REFUSED, EntryCorrupt("?"))):
        with pytest.raises(EntryGone):
            work(other.ref)
    other.outbox.remove(other.ref, for_good=True)
    assert _files(other.outbox, ".entry") == [other.ref.file.name]
    other.outbox.note_delivery()
    ref = put(other.outbox)
    assert bytes(other.outbox.read(ref)) == b"{}"
    assert (ref.file.parent / "owner.json").exists()
    assert not DirectoryLock(ref.file.parent).acquire()


def test_a_claimant_that_is_claimed_itself_takes_nothing_more(make_outbox, put, disk):
    left = make_outbox()
    names = [put(left).file.name for _ in range(3)]
    left.close()
    claimant, outbox = make_outbox(disk=disk), make_outbox()
    taken = []

    def is_taken_for_dead(*arguments):
        if len([call for call in disk.calls if call[0] == "read_start"]) == 2:
            watch = Watch()
            watch.is_alive = lambda directory, owner: False
            taken.extend(outbox.adopt(_everybody, watch).adopted)

    disk.faults["read_start"] = is_taken_for_dead
    kept = claimant.adopt(_everybody, Watch()).adopted
    assert [ref.file.name for ref in taken] == names
    for ref in kept:
        with pytest.raises(EntryGone):
            claimant.read(ref)
    assert all(bytes(outbox.read(ref)) == b"{}" for ref in taken)


def test_order_is_kept_across_generations(make_outbox, put):
    expected = []
    for generation in range(1, 4):
        server = make_outbox()
        server.adopt(_everybody, Watch())
        assert server.generation == generation
        expected += [put(server).file.name for _ in range(3)]
        server.close()
    look = make_outbox().adopt(_everybody, Watch())
    assert [ref.file.name for ref in look.adopted] == expected


def test_a_new_server_comes_after_everything_that_waits(make_outbox, put):
    first, second = make_outbox(), make_outbox()
    first.open()
    early = [put(second).file.name for _ in range(3)]
    second.close()
    first.adopt(_everybody, Watch())  # the first, of generation 1, now holds entries of generation 2
    first.close()
    third = make_outbox()
    third.adopt(_everybody, Watch())
    late = [put(third).file.name for _ in range(3)]
    third.close()
    look = make_outbox().adopt(_everybody, Watch())
    assert [ref.file.name for ref in look.adopted] == early + late


class _Elsewhere:
    """A server on another host, as far as its directory tells, and the clock of the one who watches."""

    def __init__(self, make_outbox, put) -> None:
        self.entry_of = put.entry_of
        self.outbox = make_outbox(lambda instance: replace(this_process(instance, "/", "b"), boot_id="another"))
        self.ref = put(self.outbox)
        self.now = 1000.0
        self.watch = Watch(clock=lambda: self.now, patience=30.0)
        self.adopter = make_outbox()

    def die(self) -> None:
        self.outbox._lock.release()

    def is_adopted_at(self, now: float) -> bool:
        self.now = now
        look = self.adopter.adopt(_everybody, self.watch)
        assert len(look.adopted) + look.alive == 1
        return bool(look.adopted)


def test_a_server_on_another_host_is_dead_only_when_its_heart_stood_still_for_long(make_outbox, put):
    other = _Elsewhere(make_outbox, put)
    other.outbox.beat()
    other.die()
    assert not other.is_adopted_at(1000.0)
    assert not other.is_adopted_at(1029.9)
    other.outbox.beat()
    assert not other.is_adopted_at(1030.0)
    assert not other.is_adopted_at(1059.9)
    assert other.is_adopted_at(1060.0)


def test_a_heart_that_never_beat_is_watched_as_long(make_outbox, put):
    other = _Elsewhere(make_outbox, put)
    other.die()
    assert not other.is_adopted_at(0.0)
    assert not other.is_adopted_at(29.9)
    assert other.is_adopted_at(30.0)


def test_a_lock_that_is_held_means_life_although_the_heart_stands_still(make_outbox, put):
    other = _Elsewhere(make_outbox, put)
    assert not other.is_adopted_at(0.0)
    assert not other.is_adopted_at(1e6)
    other.die()
    assert other.is_adopted_at(1e6 + 1)
    assert not list(other.outbox.directory.glob(".locks-*"))


def test_without_locks_the_heart_decides(make_outbox, put, monkeypatch):
    def no_locks(fd, how):
        raise _error("ENOLCK")

    monkeypatch.setattr(outbox_owner.fcntl, "flock", no_locks)
    other = _Elsewhere(make_outbox, put)
    assert not other.is_adopted_at(0.0)
    other.outbox.beat()
    assert not other.is_adopted_at(29.0)
    assert not other.is_adopted_at(58.0)
    assert other.is_adopted_at(59.0)


@pytest.mark.parametrize("owner", [None, b"", b"{", b"[]", b"5", b"{}", b'{"instance": 1}', b"\xff"])
def test_an_owner_who_cannot_be_read_is_unknown_and_watched(make_outbox, put, owner):
    left = make_outbox()
    ref = put(left)
    (ref.file.parent / "owner.json").unlink()
    if owner is not None:
        (ref.file.parent / "owner.json").write_bytes(owner)
    left._lock.release()
    now = 0.0
    asked = []
    watch = Watch(clock=lambda: now, patience=30.0)
    outbox = make_outbox()

    def wants(owner):
        asked.append(owner)
        return True

    assert outbox.adopt(wants, watch).alive == 1
    now = 31.0
    assert len(outbox.adopt(wants, watch).adopted) == 1
    assert asked == [None]


def test_an_unwanted_owner_is_left_alone_and_counted(make_outbox, put):
    left, empty = make_outbox(), make_outbox()
    refs = [put(left) for _ in range(3)]
    ref = put(empty)
    left.close()
    empty.close()
    empty.remove(ref)
    outbox = make_outbox()
    look = outbox.adopt(_nobody, Watch())
    assert look.adopted == ()
    assert [(found.directory, found.owner.instance, found.entries) for found in look.left] == [
        (refs[0].file.parent, left.instance, 3)
    ]
    assert all(ref.file.exists() for ref in refs)
    assert outbox.adopt(lambda owner: owner.root_dir == "/home/u", Watch()).left == ()


def test_corrupt_entries_are_set_aside_and_the_others_adopted(make_outbox, put):
    left = make_outbox()
    refs = [put(left, path=f"{n}.ipynb") for n in range(4)]
    left.close()
    for ref, position in ((refs[0], 5), (refs[2], 150)):
        data = bytearray(ref.file.read_bytes())
        data[position] ^= 1
        ref.file.write_bytes(bytes(data))
    refs[3].file.write_bytes(b"")
    outbox = make_outbox()
    look = outbox.adopt(_everybody, Watch())
    assert [ref.file.name for ref in look.adopted] == [refs[1].file.name]
    assert len(look.corrupt) == 3
    assert count_aside(outbox) == {"quarantine": 3, "refused": 0}
    for name, why in zip((refs[0], refs[2], refs[3]), look.corrupt, strict=True):
        aside = outbox.directory / "quarantine" / name.file.name
        assert str(aside) in why
        assert json.loads(aside.with_suffix(".json").read_bytes())["why"] in why
    assert not refs[0].file.parent.exists()


def test_a_header_longer_than_the_first_look_is_read_whole(make_outbox, put):
    left = make_outbox()
    entry = put(left, path="long/" + "x" * 5000, key=None).entry
    left.close()
    assert [ref.entry for ref in make_outbox().adopt(_everybody, Watch()).adopted] == [entry]


def _left_by_three(make_outbox, put) -> list[str]:
    names = []
    for _ in range(3):
        left = make_outbox()
        names += [put(left).file.name for _ in range(2)]
        left.close()
    return names


@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EROFS"])
@pytest.mark.parametrize("step", ["read_start", "rename", "sync_directory"])
@pytest.mark.parametrize("good", range(4))
def test_a_disk_that_fails_while_adopting_loses_sight_of_nothing(make_outbox, put, disk, step, error, good):
    names = _left_by_three(make_outbox, put)
    outbox = make_outbox(disk=disk)
    outbox.open()
    count = 0

    def fails_after_some(*arguments):
        nonlocal count
        count += 1
        return _error(error) if count > good else None

    disk.faults[step] = fails_after_some
    adopted = []
    for _ in range(3):
        with contextlib.suppress(OutboxError):
            adopted += outbox.adopt(_everybody, Watch()).adopted
    if step != "sync_directory":
        with pytest.raises(ERRORS[error]):  # the trouble is told, in the end
            outbox.adopt(_everybody, Watch())
    disk.faults.clear()
    adopted += outbox.adopt(_everybody, Watch()).adopted
    assert [ref.file.name for ref in adopted] == names
    assert all(bytes(outbox.read(ref)) == b"{}" for ref in adopted)


def test_a_save_that_cannot_be_moved_up_is_not_overtaken_by_later_ones_of_its_path(make_outbox, put, disk):
    left = make_outbox()
    names = {path: [put(left, path=path).file.name for _ in range(3)] for path in ("a.ipynb", "b.ipynb")}
    left.close()
    outbox = make_outbox(disk=disk)
    stuck = names["a.ipynb"][1]
    disk.faults["rename"] = lambda old, new: _error("EIO") if old.name == stuck else None
    look = outbox.adopt(_everybody, Watch())
    assert [ref.file.name for ref in look.adopted] == [names["a.ipynb"][0], *names["b.ipynb"]]
    assert len(look.failed) == 1
    disk.faults.clear()
    look = outbox.adopt(_everybody, Watch())
    assert [ref.file.name for ref in look.adopted] == names["a.ipynb"][1:]


def test_a_corrupt_entry_that_cannot_be_set_aside_does_not_hide_the_others(make_outbox, put, disk):
    left = make_outbox()
    refs = [put(left) for _ in range(3)]
    left.close()
    refs[0].file.write_bytes(b"garbage")
    outbox = make_outbox(disk=disk)
    outbox.open()
    disk.faults["make_directory"] = _error("ENOSPC")
    adopted = []
    with contextlib.suppress(OutboxError):
        adopted += outbox.adopt(_everybody, Watch()).adopted
    disk.faults.clear()
    look = outbox.adopt(_everybody, Watch())
    adopted += look.adopted
    assert [ref.file.name for ref in adopted] == [ref.file.name for ref in refs[1:]]
    assert len(look.corrupt) == 1
    assert count_aside(outbox)["quarantine"] == 1


def test_one_whose_own_directory_was_removed_takes_nothing_from_the_others(make_outbox, put):
    left = make_outbox()
    ref = put(left)
    left.close()
    outbox = make_outbox()
    shutil.rmtree(outbox.open())
    with contextlib.suppress(OutboxError):
        assert outbox.adopt(_everybody, Watch()).adopted == ()
    assert ref.file.exists()
    assert (ref.file.parent / "owner.json").exists()
    put(outbox)
    assert len(outbox.adopt(_everybody, Watch()).adopted) == 1


def test_whether_its_settings_ever_brought_a_save_to_the_store_is_told_of_a_dead_server(make_outbox, put):
    for has_delivered in (False, True):
        left = make_outbox()
        if has_delivered:
            left.note_delivery()
        put(left)
        left.close()
    asked = []
    outbox = make_outbox()
    outbox.adopt(lambda owner: asked.append(owner.has_delivered) or True, Watch())
    assert asked == [False, True]
    assert list(outbox.directory.iterdir()) == [outbox.open()]


def test_what_only_a_longer_look_can_tell_is_told(make_outbox, put):
    other = _Elsewhere(make_outbox, put)
    empty = make_outbox(lambda instance: replace(this_process(instance, "/", "b"), boot_id="another"))
    empty.open()

    def look(now: float) -> tuple[int, int]:
        other.now = now
        adoption = other.adopter.adopt(_everybody, other.watch)
        return adoption.alive, adoption.undecided

    assert look(0.0) == (2, 1)
    assert look(5.0) == (2, 1)
    other.outbox.beat()
    assert look(6.0) == (2, 0), "it beats"
    other.die()
    empty._lock.release()
    assert look(36.0) == (0, 0)


def test_strange_names_in_the_directory_are_passed_over(make_outbox, put):
    outbox = make_outbox()
    outbox.open()
    for name in ("lost+found", "00000009-xyz", "123-0123456789abcdef", "quarantine"):
        (outbox.directory / name).mkdir()
    (outbox.directory / "a file").write_text("")
    look = outbox.adopt(_everybody, Watch())
    assert (look.adopted, look.alive, look.left) == ((), 0, ())
    assert make_outbox().open().name.startswith("00000002-")


def test_a_save_that_is_being_taken_while_the_server_stops_is_kept(make_outbox, put, disk):
    outbox = make_outbox(disk=disk)
    disk.faults["rename"] = lambda old, new: outbox.close()
    ref = put(outbox)
    assert ref.file.exists()
    assert len(make_outbox().adopt(lambda owner: True, Watch()).adopted) == 1


def test_a_directory_that_may_not_be_looked_into_does_not_keep_others_from_being_adopted(make_outbox, put, monkeypatch):
    left = make_outbox()
    put(left)
    left.close()
    other = make_outbox()
    put(other)
    other.close()
    closed, forbidden = Watch(), next(left.directory.glob(f"*-{left.instance}"))
    is_alive = closed.is_alive

    def guarded(directory, owner):
        if directory == forbidden:
            raise PermissionError(13, "not yours")
        return is_alive(directory, owner)

    monkeypatch.setattr(closed, "is_alive", guarded)
    adoption = make_outbox().adopt(lambda owner: True, closed)
    assert len(adoption.adopted) == 1
    assert adoption.alive == 1
