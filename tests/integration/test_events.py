"""What happens in a real server is told to Jupyter's event log, to the browser, and to Prometheus."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from bookstore.events import schema_id
from ci.bucket import Bucket
from ci.jupyter_process import JupyterProcess, notebook

EVENTS_TO_A_FILE = """
import logging
from pathlib import Path

c.EventLogger.handlers = [logging.FileHandler(Path.cwd().parent / "events.jsonl")]
"""

A_HANDLER_THAT_RAISES = """
import logging

class Broken(logging.Handler):
    def emit(self, record):
        # What Jupyter itself emits fails the request, which is not ours to mend.
        if "/bookstore/" in record.msg["__schema__"]:
            raise OSError("the disk of the event log is gone")

c.EventLogger.handlers = [Broken()]
"""


def events(jupyter, name):
    """The events of one kind that the handler wrote, the oldest first."""
    log = jupyter.home / "events.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return [event for event in lines if event["__schema__"] == schema_id(name)]


def wait_for_event(jupyter, name, timeout=30.0, **expected):
    """The newest event of a kind with these details, once it is written."""
    deadline = time.monotonic() + timeout
    while True:
        fitting = [event for event in events(jupyter, name) if expected.items() <= event.items()]
        if fitting:
            return fitting[-1]
        assert time.monotonic() < deadline, f"no such event\n{events(jupyter, name)}\n{jupyter.last_words()}"
        time.sleep(0.05)


def scrape(jupyter):
    """Everything that Prometheus sees, by name and labels."""
    answer = jupyter.request("GET", "/metrics")
    assert answer.status == 200
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def shared_bucket(moto):
    return Bucket(moto, moto.create_bucket("events"))


@pytest.fixture(scope="module")
def jupyter(shared_bucket, tmp_path_factory) -> Iterator[JupyterProcess]:
    with JupyterProcess(
        tmp_path_factory.mktemp("events"),
        environment=shared_bucket.environment,
        config={"jupyter_server_config.py": EVENTS_TO_A_FILE},
    ) as process:
        yield process


def test_a_save_is_told_when_the_bucket_holds_it(jupyter, shared_bucket):
    jupyter.save("told.ipynb", notebook("x"))
    status = jupyter.flush()
    event = wait_for_event(jupyter, "archived", path="told.ipynb")
    [row] = shared_bucket.rows("workspace/told.ipynb")
    metadata = shared_bucket.metadata("workspace/told.ipynb")
    assert event["version_id"] == row["VersionId"]
    assert event["key"] == "workspace/told.ipynb"
    assert event["size"] == len(jupyter.on_disk("told.ipynb"))
    assert (event["sha256"], event["user"]) == (metadata["bookstore-sha256"], metadata["bookstore-user"])
    assert (event["how"], event["reason"]) == ("stored", "new")
    assert event["saved_at"] == status["last_version"]["saved_at"]
    assert 0 < event["latency"] < 60


async def test_the_browser_hears_of_an_archived_save(jupyter):
    url = f"ws://127.0.0.1:{jupyter.port}/api/events/subscribe"
    request = HTTPRequest(url, headers={"Authorization": f"token {jupyter.token}"})
    socket = await asyncio.wait_for(websocket_connect(request), 30)
    try:
        await asyncio.to_thread(jupyter.save, "heard.ipynb", notebook("x"))
        while True:
            message = await asyncio.wait_for(socket.read_message(), 30)
            assert message is not None, "the server closed the socket"
            event = json.loads(message)
            if event["schema_id"] == schema_id("archived"):
                break
    finally:
        socket.close()
    assert event["path"] == "heard.ipynb"
    assert event["version_id"]


def test_prometheus_sees_what_arrived_beside_jupyters_own_metrics(jupyter):
    before = scrape(jupyter)
    for number in range(3):
        jupyter.save("measured.ipynb", notebook(f"save {number}"))
    jupyter.flush()
    after = scrape(jupyter)
    assert after[("bookstore_versions_total",)] - before[("bookstore_versions_total",)] == 3
    count = ("bookstore_archive_latency_seconds_count",)
    assert after[count] - before[count] == 3
    assert after[("bookstore_saves_waiting",)] == 0
    assert after[("bookstore_unprotected_saves",)] == 0
    assert after[("bookstore_oldest_save_age_seconds",)] == 0
    assert any(name.startswith("http_request_duration_seconds") for name, *_ in after)


@pytest.mark.parametrize(("authorization", "status"), [(None, 403), ("Bearer {token}", 200), ("token {token}", 200)])
def test_the_metrics_are_for_those_who_have_the_token(jupyter, authorization, status):
    connection = http.client.HTTPConnection("127.0.0.1", jupyter.port, timeout=30)
    headers = {"Authorization": authorization.format(token=jupyter.token)} if authorization else {}
    connection.request("GET", "/metrics", headers=headers)
    answer = connection.getresponse()
    assert (answer.status, b"bookstore_saves_waiting" in answer.read()) == (status, status == 200)
    connection.close()


def test_trouble_with_the_bucket_is_told_once_and_measured_until_it_is_over(moto, start_jupyter):
    missing = Bucket(moto, "not-there-yet")
    jupyter = start_jupyter(missing, config={"jupyter_server_config.py": EVENTS_TO_A_FILE})
    for number in range(3):
        jupyter.save(f"{number}.ipynb", notebook("x"))
    event = wait_for_event(jupyter, "failed", code="BucketMissing")
    assert event["message"]
    assert event["hint"]
    jupyter.wait_for_status(lambda status: status["state"] == "trouble")
    figures = scrape(jupyter)
    assert figures[("bookstore_saves_waiting",)] == 3
    assert figures[("bookstore_unprotected_saves",)] == 0
    assert figures[("bookstore_oldest_save_age_seconds",)] > 0
    assert figures[("bookstore_failures_total", ("code", "BucketMissing"))] == 1
    assert figures[("bookstore_versions_total",)] == 0
    assert events(jupyter, "archived") == []
    assert len(events(jupyter, "failed")) == 1, "a trouble is told when it begins, not at each attempt"

    event = wait_for_event(jupyter, "waiting")
    assert 1 <= event["waiting"] <= 3
    assert event["path"] in {"0.ipynb", "1.ipynb", "2.ipynb"}
    assert events(jupyter, "recovered") == []

    moto.create_bucket("not-there-yet")
    jupyter.flush()
    assert 0 <= wait_for_event(jupyter, "recovered")["waiting"] <= 3
    assert len(events(jupyter, "recovered")) == len(events(jupyter, "waiting")) == 1
    figures = scrape(jupyter)
    assert figures[("bookstore_saves_waiting",)] == 0
    assert figures[("bookstore_oldest_save_age_seconds",)] == 0
    assert figures[("bookstore_versions_total",)] == 3
    assert {event["path"] for event in events(jupyter, "archived")} == {"0.ipynb", "1.ipynb", "2.ipynb"}


def test_a_trouble_that_is_found_before_anybody_saves_is_told_and_so_is_its_end(moto, start_jupyter):
    missing = Bucket(moto, "not-there-either")
    jupyter = start_jupyter(missing, config={"jupyter_server_config.py": EVENTS_TO_A_FILE})
    assert wait_for_event(jupyter, "failed", code="BucketMissing")["path"] == ""
    moto.create_bucket("not-there-either")
    jupyter.save("first.ipynb", notebook("x"))
    assert jupyter.flush()["state"] == "ok"
    wait_for_event(jupyter, "recovered")
    assert len(events(jupyter, "recovered")) == len(events(jupyter, "failed")) == 1


def test_a_broken_handler_of_events_keeps_no_save_from_the_bucket(bucket, start_jupyter):
    jupyter = start_jupyter(bucket, config={"jupyter_server_config.py": A_HANDLER_THAT_RAISES})
    jupyter.save("kept.ipynb", notebook("x"))
    assert jupyter.flush()["state"] == "ok"
    assert bucket.versions("workspace/kept.ipynb") == [jupyter.on_disk("kept.ipynb")]
    assert "a listener failed to hear of 'archived'" in jupyter.log.read_text()


def test_publishing_cloning_and_restoring_are_told_with_who_and_which_version(jupyter, shared_bucket):
    for text in ("first", "second"):
        jupyter.save("life.ipynb", notebook(text))
        jupyter.flush()
    first, second = shared_bucket.rows("workspace/life.ipynb")
    user = shared_bucket.metadata("workspace/life.ipynb")["bookstore-user"]

    jupyter.ok("PUT", "/api/bookstore/publish/life.ipynb")
    event = wait_for_event(jupyter, "published", path="life.ipynb")
    [row] = shared_bucket.rows("published/life.ipynb")
    assert event["s3_path"] == f"s3://{shared_bucket.name}/published/life.ipynb"
    assert (event["version_id"], event["user"]) == (row["VersionId"], user)

    jupyter.ok("POST", "/api/bookstore/restore/life.ipynb", {"version_id": first["VersionId"]})
    event = wait_for_event(jupyter, "restored", path="life.ipynb")
    restored = shared_bucket.rows("workspace/life.ipynb")[-1]
    assert (event["from_key"], event["from_version"]) == ("workspace/life.ipynb", first["VersionId"])
    assert (event["version_id"], event["user"]) == (restored["VersionId"], user)
    wait_for_event(jupyter, "archived", path="life.ipynb", version_id=restored["VersionId"], reason="restore")

    asked = {"s3_bucket": shared_bucket.name, "s3_key": "workspace/life.ipynb", "s3_version_id": second["VersionId"]}
    cloned = jupyter.ok("POST", "/api/bookstore/clone", asked)
    event = wait_for_event(jupyter, "cloned", path=cloned["path"])
    assert event["source"] == f"s3://{shared_bucket.name}/workspace/life.ipynb"
    assert (event["version_id"], event["user"]) == (second["VersionId"], user)
    jupyter.flush()
    wait_for_event(jupyter, "archived", path=cloned["path"], reason="clone")
    assert "a listener failed" not in jupyter.log.read_text(), "every detail fits its schema"


def test_a_file_that_is_cloned_is_told_without_a_version(bucket, start_jupyter, tmp_path):
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / "shared.ipynb").write_text(json.dumps(notebook("x")))
    config = f"{EVENTS_TO_A_FILE}\nc.BookstoreSettings.fs_cloning_basedir = {str(shelf)!r}\n"
    jupyter = start_jupyter(bucket, config={"jupyter_server_config.py": config})
    cloned = jupyter.ok("POST", "/api/bookstore/fs-clone", {"relpath": "shared.ipynb"})
    event = wait_for_event(jupyter, "cloned", path=cloned["path"])
    assert (event["source"], event["version_id"]) == ("shared.ipynb", None)
