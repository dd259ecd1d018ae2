"""What lies on the disk while it waits: for whom, and what becomes of what somebody else puts there."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import sys
import threading
import time

import pytest

from bookstore.bookstore_config import BookstoreSettings
from bookstore.cli.checks import check_outbox
from bookstore.disk import SMALL, read_small
from bookstore.intake import Draft
from bookstore.outbox import Outbox, read_owner
from bookstore.outbox_entry import Entry, decode, encode_header
from bookstore.outbox_owner import Watch, this_process
from bookstore.outbox_survey import survey
from bookstore.provenance import Provenance
from bookstore.service import ArchiveService
from bookstore.storage.memory import MemoryStore

from .conftest import ACCESS_KEY, SECRET, SECRETS, TOKEN

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes and pipes of POSIX")

CONTENT = b'{"cells": []}'


@pytest.fixture
def directory(tmp_path):
    made = tmp_path / "outbox"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def service(tmp_path, directory):
    settings = BookstoreSettings(
        s3_bucket="mine",
        s3_endpoint_url="https://store.example",
        s3_access_key_id=ACCESS_KEY,
        s3_secret_access_key=SECRET,
        s3_session_token=TOKEN,
        outbox_dir=str(directory),
        outbox_reserve=0,
    )
    log = logging.getLogger("security")
    return ArchiveService(settings, root_dir=str(tmp_path), log=log, store=MemoryStore("mine"))


def plant(directory, *, key="workspace/planted.ipynb", owner=None, name="ab" * 8, **fields):
    """A dead server's directory with one entry, as whoever may write there could make it."""
    where = directory / f"00000001-{name}"
    where.mkdir(parents=True)
    digest = hashlib.sha256(CONTENT).hexdigest()
    provenance = Provenance(name * 2, digest, time.time(), generation=1, sequence=1)
    header = encode_header(Entry("planted.ipynb", key, len(CONTENT), provenance))
    if fields:
        document = {**json.loads(header.partition(b"\n")[2]), **fields}
        text = json.dumps(document).encode()
        header = b"bookstore-entry 1 %d %s\n%s\n" % (len(text), hashlib.sha256(text).hexdigest().encode(), text)
    (where / f"00000001-000000000001-{name * 2}.entry").write_bytes(header + CONTENT)
    (where / "closed").touch()
    if owner is not None:
        (where / "owner.json").write_bytes(owner.to_json())
    return where


def everybody(owner):
    return True


async def adopted_by(service, directory):
    service.ensure_started()
    deadline = time.monotonic() + 20
    while service.shipper.is_paused or service.shipper.waiting:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    left = service.status().warnings
    await service.stop()
    page = await service.store.list_versions("")
    return {row.key for row in page.versions}, left


def test_a_stolen_entry_gives_the_notebook_and_where_it_goes_and_no_credentials(service, directory):
    service.intake.take(Draft("a.ipynb", "workspace/a.ipynb", 1, time.time(), "kyle", "save", "file"), CONTENT)
    service.outbox.beat()
    files = [file for file in directory.rglob("*") if file.is_file()]
    (entry_file,) = [file for file in files if file.suffix == ".entry"]
    entry, content = decode(entry_file.read_bytes())
    assert bytes(content) == CONTENT
    assert set(json.loads(encode_header(entry).partition(b"\n")[2])) == {"path", "key", "size", "provenance"}
    owner = json.loads(next(file for file in files if file.name == "owner.json").read_bytes())
    assert owner["destination"] == "https://store.example/mine"
    for file in files:
        for secret in SECRETS:
            assert secret.encode() not in file.read_bytes()


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_no_umask_opens_the_outbox(tmp_path, umask):
    if umask == 0o777 and os.geteuid() != 0:
        pytest.skip("with this umask nobody but root can work at all")
    before = os.umask(umask)
    try:
        outbox = Outbox(tmp_path / "deep" / "outbox", lambda instance: this_process(instance, "/", "x/y"))
        outbox.beat()
    finally:
        os.umask(before)
    for where in (outbox.directory, outbox.directory.parent, *outbox.directory.rglob("*")):
        assert where.stat().st_mode & 0o077 == 0, where


async def test_what_was_meant_for_another_bucket_stays_where_it_is(service, directory):
    owner = this_process("cd" * 8, "/home/other", "https://store.example/theirs")
    where = plant(directory, owner=owner, name="cd" * 8)
    keys, warnings = await adopted_by(service, directory)
    assert keys == set()
    assert [warning.code for warning in warnings] == ["LeftBehind"]
    assert len(list(where.glob("*.entry"))) == 1


async def test_an_entry_cannot_choose_bucket_endpoint_or_credentials(service, directory, elsewhere):
    chosen = {"bucket": "theirs", "endpoint_url": elsewhere.url, "s3_endpoint_url": elsewhere.url, "tags": {"a": "b"}}
    plant(directory, **chosen)
    keys, _ = await adopted_by(service, directory)
    assert keys == {"workspace/planted.ipynb"}  # in the bucket of the settings
    assert elsewhere.seen == []


async def test_an_altered_entry_is_set_aside_and_never_shipped(service, directory):
    where = plant(directory)
    (file,) = where.glob("*.entry")
    file.write_bytes(file.read_bytes().replace(b"cells", b"CELLS"))
    service.ensure_started()
    deadline = time.monotonic() + 20
    while not list((directory / "quarantine").glob("*.entry")):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    await service.stop()
    assert (await service.store.list_versions("")).versions == ()


def adopt_within(directory, seconds=10.0):
    """Have an outbox look at what others left; whether it came back in time."""
    outbox = Outbox(directory, lambda instance: this_process(instance, "/", "x/y"))
    thread = threading.Thread(target=lambda: outbox.adopt(everybody, Watch()), daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def test_a_link_to_another_directory_touches_nothing_there(tmp_path, directory):
    victim = tmp_path / "victim"
    victim.mkdir()
    for name in ("lock", "heartbeat", "closed", "owner.json", "delivered", "x.partial", "kept.txt"):
        (victim / name).write_text("theirs")
    (directory / f"00000001-{'ab' * 8}").symlink_to(victim)
    assert adopt_within(directory)
    assert {file.name for file in victim.iterdir()} >= {"lock", "owner.json", "x.partial", "kept.txt"}


def test_a_link_instead_of_an_entry_gives_nothing_away(tmp_path, directory):
    secret = tmp_path / "secret"
    secret.write_text("nobody's business")
    where = plant(directory)
    (where / f"00000001-000000000002-{'ef' * 16}.entry").symlink_to(secret)
    assert adopt_within(directory)
    assert secret.read_text() == "nobody's business"
    told = [file.read_text() for file in directory.rglob("*.json")]
    assert not any("nobody's business" in text for text in told)


def test_a_link_among_what_was_claimed_touches_nothing_there(tmp_path, directory):
    victim = tmp_path / "victim"
    plant(victim)
    (planted,) = victim.iterdir()
    kept = sorted(file.name for file in planted.iterdir())
    where = plant(directory)
    (where / f"claimed-00000001-{'cd' * 8}-{'ef' * 4}").symlink_to(planted)
    assert adopt_within(directory)
    assert sorted(file.name for file in planted.iterdir()) == kept


def test_a_link_instead_of_a_lock_makes_no_file_elsewhere(tmp_path, directory):
    where = directory / f"00000001-{'ab' * 8}"
    where.mkdir()
    (where / "lock").symlink_to(tmp_path / "made")
    watch = Watch(patience=0.0)
    assert watch.is_alive(where, None), "who cannot be told dead is not robbed"
    assert not (tmp_path / "made").exists()


PIPES = [f"00000001-000000000000-{'ef' * 16}.entry", "owner.json", "heartbeat", "lock", "closed", "delivered"]


def let_go(directory, name):
    """Let go of who waits for a pipe."""
    for found in directory.rglob(name):
        if found.is_fifo():
            descriptor = os.open(found, os.O_RDWR | os.O_NONBLOCK)
            os.write(descriptor, b"x")
            os.close(descriptor)


@pytest.mark.parametrize("is_closed", [True, False])
@pytest.mark.parametrize("name", PIPES)
def test_a_pipe_in_a_servers_directory_keeps_nobody_waiting(directory, name, is_closed):
    where = plant(directory)
    if not is_closed:
        (where / "closed").unlink()
    (where / name).unlink(missing_ok=True)
    os.mkfifo(where / name)
    in_time = adopt_within(directory, 3.0)
    let_go(directory, name)
    assert in_time


@pytest.mark.parametrize("name", PIPES)
def test_a_pipe_in_a_servers_directory_keeps_nobody_waiting_who_only_looks(directory, name):
    where = plant(directory)
    (where / "closed").unlink()
    os.mkfifo(where / name)
    thread = threading.Thread(target=survey, args=(directory,), daemon=True)
    thread.start()
    thread.join(3.0)
    in_time = not thread.is_alive()
    let_go(directory, name)
    assert in_time


@pytest.mark.parametrize("name", ["owner.json", "heartbeat"])
def test_only_a_small_start_of_what_others_wrote_is_read(directory, name):
    where = plant(directory)
    with (where / name).open("wb") as f:
        f.truncate(1 << 40)  # holes: more than any memory holds, and nothing on the disk
    assert len(read_small(where / name)) == SMALL
    assert read_owner(where) is None
    assert adopt_within(directory)


@pytest.mark.parametrize("name", ["owner.json", "heartbeat"])
def test_a_link_instead_of_what_tells_of_a_server_is_not_followed(tmp_path, directory, name):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(this_process("cd" * 8, "/", "x/y").to_json())
    where = plant(directory)
    (where / name).symlink_to(elsewhere)
    assert read_owner(where) is None
    with pytest.raises(OSError, match=r"."):
        read_small(where / name)


@pytest.mark.parametrize(("mode", "state"), [(0o777, "failed"), (0o720, "failed"), (0o755, "warning"), (0o700, None)])
def test_the_doctor_tells_who_else_may_enter_the_outbox(directory, mode, state):
    directory.chmod(mode)
    found = {f.step: f for f in check_outbox(BookstoreSettings(outbox_dir=str(directory), outbox_reserve=0))}
    told = found.get("outbox: access")
    assert (told.state if told else None) == state
    if told:
        assert f"chmod 700 {directory}" in told.hint


def test_the_doctor_tells_that_the_outbox_is_somebody_elses(directory, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: directory.stat().st_uid + 1 or 1)
    if directory.stat().st_uid == 0:
        os.chown(directory, 4321, -1)
    found = list(check_outbox(BookstoreSettings(outbox_dir=str(directory), outbox_reserve=0)))
    (told,) = [f for f in found if f.step == "outbox: access"]
    assert told.state == "failed"
    assert "another user" in told.message
