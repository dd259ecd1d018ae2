"""The first look at a bucket, from a process of its own, against a real server."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bookstore import errors, service
from bookstore.bookstore_config import BookstoreSettings
from bookstore.storage import apart
from bookstore.storage.apart import ApartFailed, probe_apart
from bookstore.storage.base import Versioning
from bookstore.storage.memory import MemoryStore
from bookstore.storage.s3 import S3Options, S3Store

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


def options_of(where, **changes):
    server = where.server
    given = {
        "bucket": where.name,
        "endpoint_url": server.endpoint_url,
        "access_key_id": server.access_key_id,
        "secret_access_key": server.secret_access_key,
    }
    return S3Options(**{**given, **changes})


@pytest.fixture
def started(monkeypatch):
    """The processes that a look started."""
    processes = []

    class Noted(subprocess.Popen):
        def __init__(self, command, **options):
            super().__init__(command, **options)
            self.command, self.options = command, options
            processes.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    return processes


async def test_it_tells_what_a_probe_tells(durable_bucket):
    store = S3Store(options_of(durable_bucket))
    found = await store.glance()
    assert found.versioning is Versioning.ENABLED
    assert store._client is None, "the SDK is in this process"
    probed = await store.probe()
    assert abs((probed.server_time - found.server_time).total_seconds()) < 60
    await store.aclose()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"bucket": "there-is-no-such-bucket"}, errors.BucketMissing),
        ({"secret_access_key": SECRET}, errors.CredentialsRejected),
        ({"endpoint_url": "http://127.0.0.1:1"}, errors.StoreUnreachable),
    ],
)
async def test_what_is_wrong_is_the_error_that_a_probe_raises(durable_bucket, changes, error):
    store = S3Store(options_of(durable_bucket, **changes))
    with pytest.raises(error) as apart_error:
        await store.glance()
    with pytest.raises(error) as own_error:
        await store.probe()
    assert str(apart_error.value) == str(own_error.value)
    assert apart_error.value.hint == own_error.value.hint
    assert SECRET not in str(apart_error.value)
    await store.aclose()


def test_the_sdk_stays_out_of_the_process_that_asks(durable_bucket, tmp_path):
    options = options_of(durable_bucket)
    # Modules that lie where the server runs, as notebooks' neighbours do, are none of anybody's business.
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong module')")
    program = f"""
import asyncio, sys
from bookstore.storage.s3 import S3Options, S3Store
print(asyncio.run(S3Store({options.__class__.__name__}(
    bucket={options.bucket!r}, endpoint_url={options.endpoint_url!r},
    access_key_id={options.access_key_id!r}, secret_access_key={options.secret_access_key!r},
)).glance()).versioning)
print(sorted({{name.split(".")[0] for name in sys.modules}} & {{"aiobotocore", "botocore", "aiohttp"}}))
"""
    # A path that is not the current directory's; only what the other process makes of it is looked at.
    source = str(Path(apart.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[0] = {source!r}\n{program}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines() == ["Versioning.ENABLED", "[]"], done.stderr


async def test_nothing_that_others_can_see_holds_a_secret(durable_bucket, started):
    options = options_of(durable_bucket)
    await probe_apart(options)
    [process] = started
    for secret in (options.secret_access_key, options.access_key_id):
        assert not any(secret in part for part in process.command)
    told = process.options["env"]
    assert told == {**os.environ, apart.GUARD: "1"}
    for secret in (options.secret_access_key, options.access_key_id):
        assert secret not in told.values()


@pytest.fixture
def black_hole():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


async def test_who_waits_no_longer_leaves_no_process(durable_bucket, black_hole, started, wait_until):
    asking = asyncio.create_task(probe_apart(options_of(durable_bucket, endpoint_url=black_hole)))
    await wait_until(lambda: started)
    began = time.monotonic()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await wait_until(lambda: started[0].returncode is not None)
    assert time.monotonic() - began < 5, "its own limit is longer"


async def test_a_process_that_hangs_is_ended(durable_bucket, black_hole, started):
    with pytest.raises(ApartFailed, match="no answer within"):
        await probe_apart(options_of(durable_bucket, endpoint_url=black_hole), limit=0.5)
    assert started[0].returncode is not None


async def check_that_this_process_asks(options):
    with pytest.raises(ApartFailed):
        await probe_apart(options)
    store = S3Store(options)
    assert (await store.glance()).versioning is Versioning.ENABLED
    await store.aclose()


@pytest.mark.parametrize("program", ["raise SystemExit(3)", "print('nonsense')", "print('[]')", "print('{}')"])
async def test_where_the_process_does_not_answer_this_one_asks(durable_bucket, monkeypatch, program):
    monkeypatch.setattr(apart, "_PROGRAM", program)
    await check_that_this_process_asks(options_of(durable_bucket))


@pytest.mark.parametrize("executable", ["", None, "/nowhere/python", "/opt/bin/the-app"])
async def test_where_no_process_can_be_started_this_one_asks(durable_bucket, monkeypatch, executable):
    monkeypatch.setattr(sys, "executable", executable)
    await check_that_this_process_asks(options_of(durable_bucket))


@pytest.fixture
def app(tmp_path):
    """A program that is not Python, and tells that it was started."""
    program = tmp_path / "python-app"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path / 'was-started'}\n")
    program.chmod(0o700)
    return program


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
async def test_a_frozen_app_does_not_start_itself(app, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(app))
    with pytest.raises(ApartFailed, match=r"status|answer"):
        await probe_apart(S3Options("b"))
    assert app.with_name("was-started").exists(), "the app cannot be started at all"
    app.with_name("was-started").unlink()
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(ApartFailed, match="no Python interpreter"):
        await probe_apart(S3Options("b"))
    monkeypatch.delattr(sys, "frozen")
    monkeypatch.setattr(sys, "executable", str(app.rename(app.with_name("app"))))
    with pytest.raises(ApartFailed, match="no Python interpreter"):
        await probe_apart(S3Options("b"))
    assert not app.with_name("was-started").exists()


async def test_a_process_that_looks_starts_no_further_one(monkeypatch, started):
    monkeypatch.setenv(apart.GUARD, "1")
    with pytest.raises(ApartFailed, match="already"):
        await probe_apart(S3Options("b"))
    assert started == []


@pytest.mark.skipif(sys.platform == "win32", reason="process groups of POSIX")
async def test_a_signal_to_the_servers_group_does_not_reach_it(black_hole, started, wait_until):
    options = S3Options("b", endpoint_url=black_hole, access_key_id="key", secret_access_key=SECRET)
    asking = asyncio.create_task(probe_apart(options))
    await wait_until(lambda: started)
    assert os.getpgid(started[0].pid) == started[0].pid != os.getpgid(0)
    assert os.getsid(started[0].pid) != os.getsid(0), "the terminal's signals reach it"
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
async def test_it_ends_by_itself_when_who_asked_was_killed(tmp_path, wait_until):
    asked = tmp_path / "asked"
    program = f"""
import asyncio, subprocess
from bookstore.storage import apart
from bookstore.storage.s3 import S3Options
class Noted(subprocess.Popen):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        print(self.pid, flush=True)
subprocess.Popen = Noted
hangs = '''
import pathlib, time
from bookstore.storage import s3
def warm_up(session):  # as from a disk that hangs
    pathlib.Path({str(asked)!r}).touch()
    time.sleep(60)
s3.warm_up = warm_up
main('''
apart._PROGRAM = apart._PROGRAM.replace("main(", hangs)
asyncio.run(apart.probe_apart(S3Options("b"), limit=3))
"""
    asker = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(apart.__file__).parents[2])},
        cwd=tmp_path,
    )
    child = int(await asker.stdout.readline())
    await wait_until(asked.exists)
    asker.send_signal(signal.SIGKILL)
    await asker.wait()
    assert is_running(child), "nothing is left to end by itself"
    await wait_until(lambda: not is_running(child))


def flags_of(*flags):
    program = "import sys; sys.path[:0] = [sys.argv[1]]; from bookstore.storage import apart; "
    done = subprocess.run(
        [sys.executable, *flags, "-c", program + "print(apart._interpreter_flags())", Path(apart.__file__).parents[2]],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("flags", [["-I"], ["-E", "-s"], ["-X", "utf8"], ["-Wignore::ImportWarning"], ["-B"], ["-P"]])
def test_the_process_is_told_what_this_interpreter_was_told(flags):
    if "-P" in flags and sys.version_info < (3, 11):
        pytest.skip("Python 3.11 brought it")
    missing = [flag for flag in flags if repr(flag) not in flags_of(*flags)]
    assert not missing
    assert flags_of("-I", *flags).count("-W") == len([flag for flag in flags if flag.startswith("-W")])


@pytest.mark.parametrize("ends", [True, False])
async def test_why_the_process_failed_is_told_without_secrets(monkeypatch, ends):
    last = "raise SystemExit(3)" if ends else "import time; time.sleep(60)"
    words = f"first\\nwhy \\x1b[31m {SECRET} {'x' * 400}\\n"
    monkeypatch.setattr(apart, "_PROGRAM", f"import sys; print('{words}', file=sys.stderr, flush=True)\n{last}")
    with pytest.raises(ApartFailed) as failed:
        await probe_apart(S3Options("b", access_key_id="key", secret_access_key=SECRET), limit=20 if ends else 1)
    told = str(failed.value)
    assert ": why  [31m *** xxx" in told
    assert "first" not in told
    assert SECRET not in told
    assert len(told) < 400


@pytest.mark.parametrize("told", ["KeyError", "BookstoreError", "os"])
async def test_an_error_that_is_none_of_a_store_is_not_raised(durable_bucket, monkeypatch, told):
    answer = f'{{"error": "{told}", "message": "m", "hint": "h"}}'
    monkeypatch.setattr(apart, "_PROGRAM", f"print({answer!r})")
    with pytest.raises(ApartFailed):
        await probe_apart(options_of(durable_bucket))


class _Hanging(MemoryStore):
    """An early look at it never ends."""

    looks = 0

    async def glance(self):
        self.looks += 1
        await asyncio.Event().wait()


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(service, "PROBE_DELAY", 0.0)

    def make(store):
        settings = BookstoreSettings(s3_bucket="mine", outbox_dir=str(tmp_path / "outbox"), outbox_reserve=0)
        return service.ArchiveService(settings, root_dir=str(tmp_path), log=logging.getLogger("apart"), store=store)

    return make


async def test_a_look_that_hangs_keeps_neither_a_save_nor_the_end_of_the_server_waiting(server, wait_until):
    store = _Hanging("mine")
    archive = server(store)
    archive.ensure_started()
    await wait_until(lambda: store.looks)
    began = time.monotonic()
    archive.submit([archive.intake.take(archive.draft("a.ipynb"), b"{}")])
    await archive.flush(10)
    assert archive.shipper.shipped == 1
    await archive.stop()
    assert time.monotonic() - began < 5
    assert all(task.done() for task in archive._background)


async def test_the_look_has_ended_before_what_waits_is_shipped_at_the_end(server, wait_until, monkeypatch):
    store = _Hanging("mine")
    archive = server(store)
    archive.ensure_started()
    await wait_until(lambda: store.looks)
    seen = []

    async def drain():
        seen.append(archive._looking.done())

    monkeypatch.setattr(archive, "_drain", drain)
    await archive.stop()
    assert seen == [True]


class _Away(MemoryStore):
    """Cannot be reached, and notes how it was looked at."""

    def __init__(self):
        super().__init__("mine")
        self.looks = []

    async def glance(self):
        self.looks.append("apart")
        raise errors.StoreUnreachable("away")

    async def probe(self):
        self.looks.append("here")
        raise errors.StoreUnreachable("away")


async def test_every_look_before_the_first_save_is_made_apart(server, wait_until, monkeypatch):
    monkeypatch.setattr(service, "slow_retry", lambda failures, chance: 0.0)
    store = _Away()
    archive = server(store)
    archive.ensure_started()
    await wait_until(lambda: len(store.looks) > 3)
    await archive.stop()
    assert set(store.looks) == {"apart"}


async def test_a_store_that_has_its_client_asks_by_itself(durable_bucket, started):
    store = S3Store(options_of(durable_bucket))
    await store.probe()
    await store.glance()
    assert started == []
    await store.aclose()
