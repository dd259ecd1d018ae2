"""The first look at a bucket, from a process of its own, against a real server."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bookstore import errors
from bookstore.storage import apart
from bookstore.storage.apart import ApartFailed, probe_apart
from bookstore.storage.base import Versioning
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
    assert "env" not in process.options


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


@pytest.mark.parametrize("program", ["raise SystemExit(3)", "print('nonsense')", "print('[]')", "print('{}')"])
async def test_where_the_process_does_not_answer_this_one_asks(durable_bucket, monkeypatch, program):
    monkeypatch.setattr(apart, "_PROGRAM", program)
    options = options_of(durable_bucket)
    with pytest.raises(ApartFailed):
        await probe_apart(options)
    store = S3Store(options)
    assert (await store.glance()).versioning is Versioning.ENABLED
    await store.aclose()


@pytest.mark.parametrize("executable", ["", "/nowhere/python"])
async def test_where_no_process_can_be_started_this_one_asks(durable_bucket, monkeypatch, executable):
    monkeypatch.setattr(sys, "executable", executable)
    options = options_of(durable_bucket)
    with pytest.raises(ApartFailed):
        await probe_apart(options)
    store = S3Store(options)
    assert (await store.glance()).versioning is Versioning.ENABLED
    await store.aclose()


@pytest.mark.parametrize("told", ["KeyError", "BookstoreError", "os"])
async def test_an_error_that_is_none_of_a_store_is_not_raised(durable_bucket, monkeypatch, told):
    answer = f'{{"error": "{told}", "message": "m", "hint": "h"}}'
    monkeypatch.setattr(apart, "_PROGRAM", f"print({answer!r})")
    with pytest.raises(ApartFailed):
        await probe_apart(options_of(durable_bucket))


async def test_a_store_that_has_its_client_asks_by_itself(durable_bucket, started):
    store = S3Store(options_of(durable_bucket))
    await store.probe()
    await store.glance()
    assert started == []
    await store.aclose()
