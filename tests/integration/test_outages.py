"""The store away, the server killed, the disk full, the bucket wrong: what was acknowledged is never lost."""

from __future__ import annotations

import os
import statistics
import subprocess
import time

import pytest

from ci.bucket import Bucket
from ci.jupyter_process import notebook
from ci.s3_servers import SeaweedServer


@pytest.fixture
def own_seaweed(tmp_path):
    """A durable server that a test may stop."""
    with SeaweedServer(tmp_path / "seaweed") as server:
        yield Bucket(server, server.create_bucket("outage"))


def entries(jupyter):
    return sorted((jupyter.data / "bookstore" / "outbox").glob("*/*.entry"))


def test_saves_during_an_outage_survive_a_kill_and_arrive_in_order(start_jupyter, own_seaweed):
    bucket, store = own_seaweed, own_seaweed.server
    jupyter = start_jupyter(bucket)
    for number in range(20):
        jupyter.save("warm.ipynb", notebook(f"warm {number}"))
    jupyter.flush()
    normal = _seconds_of_saves(jupyter, "before.ipynb", 30)
    jupyter.flush()

    store.stop()
    on_disk, during = [], []
    for number in range(100):
        start = time.perf_counter()
        jupyter.save("outage.ipynb", notebook(f"save {number}"))
        during.append(time.perf_counter() - start)
        on_disk.append(jupyter.on_disk("outage.ipynb"))
    status = jupyter.wait_for_status(lambda s: s["state"] == "trouble")
    assert status["waiting"] == 100
    assert status["unprotected"] == 0
    assert status["problems"][0]["code"] == "StoreUnreachable"
    assert status["problems"][0]["hint"]
    # Not a speed test: a save that waited for the store would take seconds.
    assert statistics.median(during) < 10 * max(statistics.median(normal), 0.02)

    jupyter.kill()
    assert len(entries(jupyter)) == 100
    jupyter.start()
    jupyter.save("outage.ipynb", notebook("after the restart"))
    on_disk.append(jupyter.on_disk("outage.ipynb"))
    store.start()
    jupyter.flush(120)
    assert bucket.versions("workspace/outage.ipynb") == on_disk
    jupyter.wait_for_status(lambda s: s["state"] == "ok")
    assert entries(jupyter) == []


def _seconds_of_saves(jupyter, path, count):
    seconds = []
    for number in range(count):
        start = time.perf_counter()
        jupyter.save(path, notebook(f"{number}"))
        seconds.append(time.perf_counter() - start)
    return seconds


def test_the_store_coming_back_is_noticed_without_a_restart(start_jupyter, own_seaweed):
    bucket, store = own_seaweed, own_seaweed.server
    jupyter = start_jupyter(bucket)
    store.stop()
    jupyter.save("back.ipynb", notebook("saved while away"))
    jupyter.wait_for_status(lambda s: s["state"] == "trouble")
    store.start()
    jupyter.wait_for_status(lambda s: s["state"] == "ok" and s["waiting"] == 0, timeout=120)
    assert bucket.versions("workspace/back.ipynb") == [jupyter.on_disk("back.ipynb")]
    log = jupyter.log.read_text()
    assert log.count("saves wait in the outbox") == 1, "one line for each change of state"
    assert log.count("the store takes saves again") == 1


def test_a_bucket_without_versioning_is_not_written_to(start_jupyter, moto):
    bucket = Bucket(moto, moto.create_bucket("unversioned", versioned=False))
    jupyter = start_jupyter(bucket)
    for number in range(3):
        jupyter.save("precious.ipynb", notebook(f"{number}"))
    status = jupyter.wait_for_status(lambda s: s["state"] == "trouble")
    assert status["problems"][0]["code"] == "BucketNotVersioned"
    assert "versioning" in status["problems"][0]["hint"]
    assert status["waiting"] == 3
    assert bucket.keys() == set()
    moto.set_versioning("unversioned", "Enabled")
    jupyter.flush(60)
    assert len(bucket.versions("workspace/precious.ipynb")) == 3


def test_suspended_versioning_stops_the_writing_at_the_first_sign(start_jupyter, durable_bucket):
    jupyter = start_jupyter(durable_bucket)
    jupyter.save("suspended.ipynb", notebook("kept"))
    jupyter.flush()
    kept = durable_bucket.versions("workspace/suspended.ipynb")
    durable_bucket.server.set_versioning(durable_bucket.name, "Suspended")
    for number in range(5):
        jupyter.save("suspended.ipynb", notebook(f"while suspended {number}"))
    status = jupyter.wait_for_status(lambda s: s["state"] == "trouble")
    assert status["problems"][0]["code"] == "BucketNotVersioned"
    assert status["waiting"] == 5
    rows = durable_bucket.rows("workspace/suspended.ipynb")
    assert len([row for row in rows if row["VersionId"] == "null"]) <= 1
    durable_bucket.server.set_versioning(durable_bucket.name, "Enabled")
    jupyter.flush(60)
    versions = durable_bucket.versions("workspace/suspended.ipynb")
    assert versions[0] == kept[0]
    assert versions[-1] == jupyter.on_disk("suspended.ipynb")
    named = [r for r in durable_bucket.rows("workspace/suspended.ipynb") if r["VersionId"] != "null"]
    assert len(named) == 6


def test_a_missing_bucket_is_named_and_saves_wait(start_jupyter, moto):
    jupyter = start_jupyter(Bucket(moto, "not-made-yet"))
    jupyter.save("waits.ipynb", notebook("x"))
    status = jupyter.wait_for_status(lambda s: s["state"] == "trouble")
    assert status["problems"][0]["code"] == "BucketMissing"
    assert "not-made-yet" in status["problems"][0]["message"]
    moto.create_bucket("not-made-yet")
    jupyter.flush(60)


def test_wrong_credentials_are_shown_without_telling_them(start_jupyter, durable_bucket):
    secret = "a-wrong-secret-that-must-not-show"
    jupyter = start_jupyter(durable_bucket, environment={"JPYNB_S3_SECRET_ACCESS_KEY": secret})
    jupyter.save("denied.ipynb", notebook("x"))
    status = jupyter.wait_for_status(lambda s: s["state"] == "trouble")
    assert status["problems"][0]["code"] in ("CredentialsRejected", "AccessDenied")
    assert secret not in str(status)
    jupyter.stop()
    assert secret not in jupyter.log.read_text()
    assert len(entries(jupyter)) == 1


def test_what_waits_at_the_end_is_drained_if_that_is_possible(start_jupyter, bucket):
    jupyter = start_jupyter(bucket)
    for number in range(10):
        jupyter.save("drained.ipynb", notebook(f"{number}"))
    assert jupyter.stop() == 0
    assert len(bucket.versions("workspace/drained.ipynb")) == 10
    assert list((jupyter.data / "bookstore" / "outbox").glob("0*")) == [], "an empty outbox leaves no directory"


def test_the_end_does_not_wait_for_a_store_that_is_away(start_jupyter, own_seaweed):
    own_seaweed.server.stop()
    jupyter = start_jupyter(own_seaweed, arguments=["--BookstoreSettings.drain_timeout=1"])
    jupyter.save("kept.ipynb", notebook("x"))
    jupyter.terminate()
    jupyter.terminate()
    assert jupyter.wait(60) == 0
    assert len(entries(jupyter)) == 1
    assert "Traceback" not in jupyter.log.read_text()


def test_an_outbox_without_room_leaves_saves_alone_and_names_them_unprotected(start_jupyter, own_seaweed):
    store = own_seaweed.server
    jupyter = start_jupyter(own_seaweed, arguments=[f"--BookstoreSettings.outbox_reserve={2**60}"])
    jupyter.save("first.ipynb", notebook("x"))
    jupyter.flush()
    store.stop()
    for number in range(3):
        jupyter.save("full.ipynb", notebook(f"{number}"))
    status = jupyter.wait_for_status(lambda s: any(p["code"] == "StoreUnreachable" for p in s["problems"]))
    assert status["unprotected"] == 3
    assert status["unprotected_paths"] == ["full.ipynb"]
    assert any(problem["code"] == "OutboxFull" for problem in status["problems"])
    store.start()
    jupyter.wait_for_status(lambda s: s["waiting"] == 0, timeout=120)
    assert len(own_seaweed.versions("workspace/full.ipynb")) == 3


def test_what_not_even_memory_takes_is_archived_from_the_file(start_jupyter, own_seaweed):
    store = own_seaweed.server
    jupyter = start_jupyter(
        own_seaweed,
        arguments=[f"--BookstoreSettings.outbox_reserve={2**60}", "--BookstoreSettings.memory_limit=3000"],
    )
    store.stop()
    jupyter.save("small.ipynb", notebook("x"))
    for number in range(3):
        jupyter.save("large.ipynb", notebook(f"{number} {'y' * 1000}"))
    status = jupyter.wait_for_status(lambda s: s["missed"])
    assert "large.ipynb" in status["unprotected_paths"]
    store.start()
    jupyter.wait_for_status(lambda s: s["waiting"] == 0, timeout=120)
    assert own_seaweed.versions("workspace/small.ipynb") == [jupyter.on_disk("small.ipynb")]
    assert own_seaweed.versions("workspace/large.ipynb")[-1] == jupyter.on_disk("large.ipynb")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 2 MiB; it takes the right to mount one."""
    disk = tmp_path / "small-disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no right to mount a small disk: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_leaves_no_torn_entry_and_loses_nothing(start_jupyter, own_seaweed, small_disk):
    store = own_seaweed.server
    jupyter = start_jupyter(
        own_seaweed,
        arguments=[f"--BookstoreSettings.outbox_dir={small_disk}", "--BookstoreSettings.outbox_reserve=0"],
    )
    store.stop()
    on_disk = []
    for number in range(30):
        jupyter.save("disk.ipynb", notebook(f"{number} {'z' * 200_000}"))
        on_disk.append(jupyter.on_disk("disk.ipynb"))
    status = jupyter.wait_for_status(lambda s: s["unprotected"] > 0)
    assert status["waiting"] == 30
    assert status["unprotected_paths"] == ["disk.ipynb"]
    assert any(problem["code"] == "OutboxFull" for problem in status["problems"])
    assert any(warning["code"] == "FleetingOutbox" for warning in status["warnings"])
    store.start()
    jupyter.wait_for_status(lambda s: s["waiting"] == 0, timeout=180)
    assert own_seaweed.versions("workspace/disk.ipynb") == on_disk
    left = [file for file in small_disk.rglob("*") if file.suffix in (".entry", ".partial")]
    assert left == []
    jupyter.wait_for_status(lambda s: s["state"] == "ok")
    assert os.statvfs(small_disk).f_bfree > 0
