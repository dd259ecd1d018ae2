"""`bookstore.events`: what happens in the archive reaches Jupyter's event logger, and never comes back to harm it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import time
from pathlib import Path

import jsonschema
import pytest
from jupyter_events import EventLogger
from jupyter_events import yaml as jupyter_yaml

from bookstore.bookstore_config import BookstoreSettings
from bookstore.errors import BucketMissing, ObjectRefused, OutboxUnavailable, StoreUnreachable
from bookstore.events import EVENTS, emit_events, schema_id, schema_text
from bookstore.service import ArchiveService
from bookstore.storage.memory import MemoryStore

#: Properties that are, or may hold, somebody's name.
PERSONAL = {"user", "key", "s3_path", "source", "from_key", "message"}
MONITORING = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "monitoring.md"


def schema(event):
    return jupyter_yaml.loads(schema_text(event))


class Scene:
    """An archive, and an event logger whose events are kept."""

    def __init__(self, directory) -> None:
        settings = BookstoreSettings(
            s3_bucket="bucket", outbox_dir=str(directory / "outbox"), outbox_reserve=0, drain_timeout=0.0
        )
        self.store = MemoryStore("bucket")
        log = logging.getLogger("test")
        self.service = ArchiveService(settings, root_dir=str(directory), log=log, store=self.store)
        self.written = io.StringIO()
        self.logger = EventLogger()
        self.logger.handlers = []  # as Jupyter's configuration has it by default

    def keep_events(self) -> None:
        self.logger.register_handler(logging.StreamHandler(self.written))

    @property
    def events(self) -> list[dict]:
        return [json.loads(line) for line in self.written.getvalue().splitlines()]

    async def save(self, content: bytes = b"one") -> int:
        self.service.submit([self.service.intake.take(self.service.draft("a.ipynb"), content)])
        return await self.service.flush(5)


@pytest.fixture
async def scene(tmp_path):
    made = Scene(tmp_path)
    yield made
    await made.service.stop()


@pytest.mark.parametrize("event", EVENTS)
def test_a_schema_describes_every_property_and_marks_names_of_persons(event):
    document = schema(event)
    assert document["$id"] == schema_id(event)
    assert document["version"] == "1"
    assert document["personal-data"] is (event != "recovered")
    assert set(document["required"]) == set(document["properties"])
    for name, described in document["properties"].items():
        assert described["title"].strip(), name
        assert described["description"].strip(), name
        assert described.get("personal-data", False) is (name in PERSONAL), name


@pytest.mark.parametrize("event", EVENTS)
def test_jupyter_takes_the_schema_without_a_warning(event):
    EventLogger().register_event_schema(schema_text(event))


async def test_an_archived_save_is_an_event_with_all_that_its_schema_describes(scene):
    scene.keep_events()
    emit_events(scene.service, scene.logger)
    assert await scene.save() == 0
    [event] = scene.events
    assert event["__schema__"] == schema_id("archived")
    told = {name: value for name, value in event.items() if not name.startswith("__")}
    # Python's logging adds the task's name from 3.12 on.
    assert set(told) - {"taskName"} == set(schema("archived")["properties"])
    assert (told["path"], told["key"], told["how"], told["reason"]) == (
        "a.ipynb",
        "workspace/a.ipynb",
        "stored",
        "save",
    )
    assert told["version_id"] == scene.service.status().last_version.version_id


async def test_a_save_that_is_refused_is_an_event_that_says_what_to_do(scene):
    scene.keep_events()
    emit_events(scene.service, scene.logger)
    scene.store.faults = lambda operation, key: ObjectRefused("too odd") if operation == "PutObject" else None
    assert await scene.save() == 0
    [event] = scene.events
    assert event["__schema__"] == schema_id("failed")
    assert (event["code"], event["path"], event["message"]) == ("ObjectRefused", "a.ipynb", "too odd")
    assert event["hint"] == ObjectRefused.default_hint


async def hears(scene, *expected: str) -> list[dict]:
    """The events, once there are these and no others."""
    deadline = time.monotonic() + 15
    while len(scene.events) < len(expected):
        assert time.monotonic() < deadline, scene.events
        await asyncio.sleep(0.02)
    assert [event["__schema__"] for event in scene.events] == [schema_id(name) for name in expected]
    return scene.events


async def test_a_trouble_that_is_over_is_told_once_with_what_waits(scene):
    scene.keep_events()
    emit_events(scene.service, scene.logger)
    scene.store.faults = lambda operation, key: StoreUnreachable("down")
    scene.service.submit([scene.service.intake.take(scene.service.draft("a.ipynb"), b"one")])
    await hears(scene, "failed", "waiting")
    scene.store.faults = None
    assert await scene.service.flush(5) == 0
    failed, waiting, *rest = await hears(scene, "failed", "waiting", "recovered", "archived")
    assert (failed["code"], failed["path"]) == ("StoreUnreachable", "")
    assert (waiting["waiting"], waiting["path"]) == (1, "a.ipynb")
    assert rest[0]["waiting"] in (0, 1)
    assert await scene.save(b"two") == 0
    await hears(scene, "failed", "waiting", "recovered", "archived", "archived")


async def test_a_trouble_that_the_look_at_the_start_finds_is_told_and_so_is_its_end(scene, monkeypatch):
    monkeypatch.setattr("bookstore.service.PROBE_DELAY", 0.0)
    monkeypatch.setattr("bookstore.service.slow_retry", lambda failures, chance: 0.05)
    scene.keep_events()
    emit_events(scene.service, scene.logger)
    scene.store.faults = lambda operation, key: BucketMissing("no bucket")
    scene.service.ensure_started()
    [failed] = await hears(scene, "failed")
    assert (failed["code"], failed["path"]) == ("BucketMissing", "")
    assert scene.service.status().state == "trouble"
    scene.store.faults = None
    assert (await hears(scene, "failed", "recovered"))[1]["waiting"] == 0
    assert scene.service.status().state == "ok"


async def test_the_end_of_the_outboxs_trouble_is_told(scene):
    scene.keep_events()
    emit_events(scene.service, scene.logger)
    scene.service.ensure_started()
    await asyncio.to_thread(scene.service.intake.note, OutboxUnavailable("the disk is full"))
    [failed, recovered] = await hears(scene, "failed", "recovered")
    assert (failed["code"], failed["path"]) == ("OutboxUnavailable", "")
    assert recovered["waiting"] == 0


async def test_the_end_of_trouble_with_what_others_left_is_told(scene, monkeypatch):
    scene.keep_events()
    emit_events(scene.service, scene.logger)
    adopt = scene.service._adopt

    async def fail() -> None:
        raise OutboxUnavailable("no leave to read")

    monkeypatch.setattr(scene.service, "_adopt", fail)
    for _ in range(2):
        await scene.service._look_for_others()
    await hears(scene, "failed")
    monkeypatch.setattr(scene.service, "_adopt", adopt)
    for _ in range(2):
        await scene.service._look_for_others()
    await hears(scene, "failed", "recovered")


async def test_that_what_was_set_aside_has_been_taken_away_is_told(scene):
    scene.keep_events()
    emit_events(scene.service, scene.logger)
    scene.store.faults = lambda operation, key: ObjectRefused("too odd") if operation == "PutObject" else None
    assert await scene.save() == 0
    await scene.service._look_aside()
    assert scene.service.status().state == "trouble"
    for names in (scene.service.outbox.directory / "refused").iterdir():
        names.unlink()
    for _ in range(2):
        await scene.service._look_aside()
    await hears(scene, "failed", "recovered")
    assert scene.service.status().state == "ok"


async def test_saves_that_wait_are_told_once_until_nothing_waits(scene):
    scene.keep_events()
    emit_events(scene.service, scene.logger)
    heard = scene.service
    now = time.time()
    for count in range(2):
        heard.submit([heard.intake.take(heard.draft("a.ipynb", queued_time=now), b"%d" % count)])
    heard._tell_waiting()
    assert scene.events == [], "it is on its way"
    heard.submit([heard.intake.take(heard.draft("b.ipynb", queued_time=now - 5), b"old")])
    for _ in range(3):
        heard._tell_waiting()
    [event] = scene.events
    assert (event["__schema__"], event["waiting"], event["path"]) == (schema_id("waiting"), 3, "b.ipynb")
    assert await heard.flush(5) == 0
    heard._tell_waiting()
    heard.submit([heard.intake.take(heard.draft("b.ipynb", queued_time=now - 5), b"again")])
    heard._tell_waiting()
    assert [event["__schema__"] for event in scene.events].count(schema_id("waiting")) == 2


async def test_the_events_of_an_archive_are_emitted_once_whoever_asks_twice(scene):
    scene.keep_events()
    emit_events(scene.service, scene.logger)
    emit_events(scene.service, scene.logger)
    await scene.save()
    assert len(scene.events) == 1


async def test_a_second_archive_of_the_same_server_is_heard_too(scene, tmp_path):
    scene.keep_events()
    emit_events(scene.service, scene.logger)
    other = Scene(tmp_path / "other")
    emit_events(other.service, scene.logger)
    await other.save()
    await other.service.stop()
    assert len(scene.events) == 1


async def test_where_nobody_listens_nothing_is_even_validated(scene, monkeypatch):
    emit_events(scene.service, scene.logger)
    monkeypatch.setattr(scene.logger.schemas, "validate_event", lambda *args: pytest.fail("it was validated"))
    scene.service.tell("archived", nonsense=True)
    assert await scene.save() == 0


async def test_details_that_do_not_fit_the_schema_are_logged_and_hurt_nobody(scene, caplog):
    scene.keep_events()
    emit_events(scene.service, scene.logger)
    heard = []
    scene.service.listeners.append(lambda event, details: heard.append(event))
    scene.service.tell("restored", path=1)
    assert scene.events == []
    assert heard == ["restored"], "who listens after it hears all the same"
    assert "a listener failed to hear of 'restored'" in caplog.text


async def test_what_has_no_schema_is_no_event(scene, caplog):
    scene.keep_events()
    emit_events(scene.service, scene.logger)
    scene.service.tell("whispered", path="a.ipynb")
    assert scene.events == []
    assert not caplog.records


async def test_a_handler_that_raises_fails_no_save(scene, caplog):
    class Broken(logging.Handler):
        def emit(self, record):
            raise OSError("the log's disk is gone")

    scene.logger.register_handler(Broken())
    emit_events(scene.service, scene.logger)
    assert await scene.save() == 0
    assert scene.service.status().state == "ok"
    assert "the log's disk is gone" in caplog.text


async def test_a_listener_of_jupyters_hears_the_event(scene):
    emit_events(scene.service, scene.logger)
    heard = asyncio.Event()

    async def listen(logger, schema_id, data):
        assert data["path"] == "a.ipynb"
        heard.set()

    scene.logger.add_listener(schema_id=schema_id("archived"), listener=listen)
    await scene.save()
    await asyncio.wait_for(heard.wait(), 5)


async def test_a_schema_that_jupyter_refuses_keeps_no_server_from_archiving(scene, monkeypatch, caplog):
    monkeypatch.setattr("bookstore.events.schema_text", lambda event: "title: no schema")
    emit_events(scene.service, scene.logger)
    assert "no events are emitted" in caplog.text
    assert await scene.save() == 0


@pytest.mark.parametrize("event", EVENTS)
def test_a_schema_refuses_what_is_incomplete(event):
    logger = EventLogger()
    logger.register_event_schema(schema_text(event))
    with pytest.raises(jsonschema.ValidationError, match="required"):
        logger.schemas.validate_event(schema_id(event), {})


def test_the_documentation_names_every_event_and_no_other():
    text = MONITORING.read_text(encoding="utf-8").partition("## Events")[2]
    assert tuple(sorted(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))) == tuple(sorted(EVENTS))
    assert schema_id("archived") in text
