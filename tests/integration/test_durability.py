"""What is acknowledged is durable, whatever happens in between."""

from __future__ import annotations

import json
import threading
import time

import pytest

from ci.bucket import Bucket
from ci.jupyter_process import contents_url, notebook

SLOW_FSYNC = """
import os, time
_fsync = os.fsync
def slow(fd):
    time.sleep(0.3)
    _fsync(fd)
os.fsync = slow
"""

#: A write that takes its time, so that two writers of one file would be seen.
SLOW_WRITE = """
import contextlib, time
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

class Slow(AsyncLargeFileManager):
    @contextlib.contextmanager
    def atomic_writing(self, os_path, *args, **kwargs):
        with super().atomic_writing(os_path, *args, **kwargs) as f:
            class Halves:
                def write(self, data):
                    f.write(data[: len(data) // 2])
                    f.flush()
                    time.sleep(0.02)
                    f.write(data[len(data) // 2 :])
            yield Halves()

c.ServerApp.contents_manager_class = Slow
"""

#: A plain def that hands the coroutine on, and an async save over a sync manager: both are found in the wild.
PLAIN_DEF = """
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

class Mine(AsyncLargeFileManager):
    def save(self, model, path=""):
        return super().save(model, path)

c.ServerApp.contents_manager_class = Mine
"""
ASYNC_OVER_SYNC = """
from jupyter_server.services.contents.largefilemanager import LargeFileManager

class Mine(LargeFileManager):
    async def save(self, model, path=""):
        return super().save(model, path)

c.ServerApp.contents_manager_class = Mine
"""


def entries(jupyter):
    return sorted((jupyter.data / "bookstore" / "outbox").glob("*/*.entry"))


def test_a_save_is_on_disk_before_it_is_answered(start_jupyter, moto):
    nowhere = Bucket(moto, "there-is-no-such-bucket")
    jupyter = start_jupyter(nowhere, config={"jupyter_server_config.py": SLOW_FSYNC})
    for number in range(3):
        jupyter.save("durable.ipynb", notebook(f"{number}"))
        assert len(entries(jupyter)) == number + 1, "the answer came before the entry was durable"
    jupyter.kill()
    assert len(entries(jupyter)) == 3


def test_two_writers_of_one_file_never_meet(start_jupyter, bucket):
    jupyter = start_jupyter(bucket, config={"jupyter_server_config.py": SLOW_WRITE})
    for turn in "abc":  # of other bytes each: the first of a turn may be the number that was the last before it
        jupyter.save_all(
            [("one.ipynb", notebook(turn + "z" * 2000 * number, cells=number + 1)) for number in range(10)]
        )
        json.loads(jupyter.on_disk("one.ipynb"))
    jupyter.flush()
    assert len(bucket.versions("workspace/one.ipynb")) == 30
    for version in bucket.versions("workspace/one.ipynb"):
        json.loads(version)


def test_what_is_saved_while_the_server_stops_is_not_lost(start_jupyter, bucket):
    jupyter = start_jupyter(bucket)
    acknowledged: dict[str, int] = {}
    over = threading.Event()

    def save(path):
        number = 0
        while not over.is_set():
            number += 1
            model = {"type": "notebook", "format": "json", "content": notebook(f"{number}")}
            try:
                if jupyter.request("PUT", contents_url(path), model).status not in (200, 201):
                    return
            except OSError:
                return
            acknowledged[path] = number

    threads = [threading.Thread(target=save, args=(f"stopping-{n}.ipynb",)) for n in range(4)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while len(acknowledged) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert jupyter.stop() == 0
    over.set()
    for thread in threads:
        thread.join()
    jupyter.start()
    jupyter.flush()
    for path, count in acknowledged.items():
        sources = ["".join(json.loads(v)["cells"][0]["source"]) for v in bucket.versions(f"workspace/{path}")]
        assert sources[:count] == [f"{number} # 0" for number in range(1, count + 1)]


@pytest.mark.parametrize("config", [PLAIN_DEF, ASYNC_OVER_SYNC], ids=["plain def", "async over sync"])
def test_managers_of_mixed_kind_are_archived_and_work(start_jupyter, bucket, config):
    jupyter = start_jupyter(bucket, config={"jupyter_server_config.py": config})
    on_disk = []
    for number in range(3):
        jupyter.save("mixed.ipynb", notebook(f"{number}"))
        on_disk.append(jupyter.on_disk("mixed.ipynb"))
    checkpoint = jupyter.ok("POST", contents_url("mixed.ipynb") + "/checkpoints")["id"]
    jupyter.save("mixed.ipynb", notebook("later"))
    later = jupyter.on_disk("mixed.ipynb")
    jupyter.ok("POST", contents_url("mixed.ipynb") + f"/checkpoints/{checkpoint}")
    jupyter.ok("PATCH", contents_url("mixed.ipynb"), {"path": "moved.ipynb"})
    copy = jupyter.ok("POST", "/api/contents/", {"copy_from": "moved.ipynb"})["path"]
    jupyter.flush()
    assert bucket.versions("workspace/mixed.ipynb") == [*on_disk, later, on_disk[-1]]
    assert bucket.versions("workspace/moved.ipynb") == on_disk[-1:]
    assert bucket.versions(f"workspace/{copy}") == [jupyter.on_disk(copy)]


def test_a_certificate_in_place_of_a_file_name_does_not_keep_jupyter_from_starting(start_jupyter, bucket):
    pasted = "-----BEGIN CERTIFICATE-----" + "A" * 5000
    config = f"c.BookstoreSettings.s3_ca_bundle = {pasted!r}\n"
    jupyter = start_jupyter(bucket, config={"jupyter_server_config.py": config})
    jupyter.save("waits.ipynb", notebook("x"))
    assert jupyter.status()["problems"][0]["setting"] == "s3_ca_bundle"
