"""Reading everything again: what is altered, unreadable or without provenance is told, and nothing ends it early."""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import asynccontextmanager

import pytest

from bookstore.errors import AccessDenied, ObjectMissing, StoreThrottled, StoreUnreachable
from bookstore.provenance import Provenance, to_metadata
from bookstore.storage.memory import MemoryStore
from bookstore.verifying import ATTEMPTS, NAMED, NOT_JSON, Foreign, Verified, verify


async def put(store, key, content, *, saved=None):
    """A version as a save leaves it; ``saved`` are the bytes that it was saved with, if they were others."""
    digest = hashlib.sha256(content).hexdigest()
    promised = hashlib.sha256(saved if saved is not None else content).hexdigest()
    metadata = to_metadata(Provenance("record", promised, 0.0))
    return (await store.put(key, content, sha256=digest, metadata=metadata)).version_id


async def put_foreign(store, key, content=b"foreign", **options):
    return (await store.put(key, content, sha256=hashlib.sha256(content).hexdigest(), **options)).version_id


async def no_pause(seconds):
    assert 0 <= seconds <= 60


async def test_every_version_below_a_folder_is_read_and_counted():
    store = MemoryStore()
    for text in (b"one", b"three", b"seven"):
        await put(store, "w/a", text)
    await put(store, "w/b/c", b"x")
    store.delete("w/a")
    await put(store, "other/a", b"x", saved=b"y")
    await put(store, "w2/a", b"x", saved=b"y")
    await put_foreign(store, "w/foreign")
    result = await verify(store, folders=["w/"])
    assert (result.checked, result.bytes, result.markers, result.without_provenance) == (4, 21, 1, 1)
    assert [unproven.key for unproven in result.unproven] == ["w/foreign"]
    assert result.is_fine


async def test_a_folder_may_be_named_without_its_slash():
    store = MemoryStore()
    await put(store, "w/a", b"x")
    await put(store, "w2/a", b"x", saved=b"y")
    assert (await verify(store, folders=["w"])).checked == 1


async def test_an_altered_version_is_named_and_the_others_are_read_all_the_same():
    store = MemoryStore()
    await put(store, "w/a", b"good")
    altered = await put(store, "w/a", b"bad", saved=b"good")
    await put(store, "w/a", b"good again")
    await put(store, "w/b", b"good")
    result = await verify(store, folders=["w/"])
    (fault,) = result.altered
    assert (fault.key, fault.version_id) == ("w/a", altered)
    assert fault.expected == hashlib.sha256(b"good").hexdigest()
    assert fault.found == hashlib.sha256(b"bad").hexdigest()
    assert result.checked == 4
    assert not result.is_fine


async def test_what_cannot_be_read_is_named_with_the_reason_and_the_others_are_read():
    store = MemoryStore()
    await put(store, "w/forbidden", b"x")
    await put(store, "w/gone", b"x")
    await put(store, "w/readable", b"x")
    errors = {"w/forbidden": AccessDenied("no"), "w/gone": ObjectMissing("gone")}
    store.faults = lambda operation, key: errors.get(key) if operation == "GetObject" else None
    result = await verify(store, folders=["w/"], pause=no_pause)
    assert [(fault.key, fault.code) for fault in result.unreadable] == [
        ("w/forbidden", "AccessDenied"),
        ("w/gone", "ObjectMissing"),
    ]
    assert result.checked == 1
    assert not result.is_fine


async def test_what_passes_is_tried_again_and_what_lasts_is_told():
    store = MemoryStore()
    await put(store, "w/passes", b"x")
    await put(store, "w/lasts", b"x")
    tries = {"w/passes": 0, "w/lasts": 0}

    def faults(operation, key):
        if operation != "GetObject":
            return None
        tries[key] += 1
        return StoreThrottled("slow down") if key == "w/lasts" or tries[key] < ATTEMPTS else None

    store.faults = faults
    result = await verify(store, folders=["w/"], pause=no_pause)
    assert result.checked == 1
    assert [fault.key for fault in result.unreadable] == ["w/lasts"]
    assert tries == {"w/passes": ATTEMPTS, "w/lasts": ATTEMPTS}


async def test_a_listing_that_fails_is_an_error_and_leaves_nothing_running():
    store = MemoryStore()
    await put(store, "w/a", b"x")
    store.faults = lambda operation, key: StoreUnreachable("down") if operation == "ListObjectVersions" else None
    with pytest.raises(StoreUnreachable):
        await verify(store, folders=["w/"])
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_one_key_is_read_without_those_that_begin_like_it():
    store = MemoryStore()
    for number in range(3):
        await put(store, "w/a", b"x" * number)
    await put(store, "w/a.b", b"x", saved=b"y")
    await put(store, "w/a/b", b"z")
    result = await verify(store, keys=["w/a"])
    assert (result.checked, result.is_fine) == (3, True)
    assert (await verify(store, keys=["w/a"], folders=["w/a/"])).checked == 4


async def test_a_key_with_more_versions_than_a_page_is_read_whole():
    store = MemoryStore()
    for number in range(1005):
        await put(store, "w/a", str(number).encode())
    assert (await verify(store, keys=["w/a"])).checked == 1005


async def test_no_more_is_read_at_a_time_than_was_asked_for():
    class Counting(MemoryStore):
        open_now = most = 0

        def get(self, key, version_id=None):
            return self._counted(super().get(key, version_id))

        @asynccontextmanager
        async def _counted(self, opened):
            self.open_now += 1
            self.most = max(self.most, self.open_now)
            try:
                async with opened as body:
                    await asyncio.sleep(0)
                    yield body
            finally:
                self.open_now -= 1

    store = Counting()
    for number in range(40):
        await put(store, f"w/{number}", b"x")
    told = []
    result = await verify(store, folders=["w/"], concurrency=3, progress=lambda *now: told.append(now))
    assert store.most == 3
    assert result.checked == 40
    assert told[-1] == (40, 40)


async def test_of_foreign_versions_only_the_first_are_named():
    store = MemoryStore()
    for number in range(NAMED + 5):
        await put_foreign(store, f"w/{number:03}")
    result = await verify(store, folders=["w/"])
    assert result.without_provenance == NAMED + 5
    assert len(result.unproven) == NAMED
    assert result.is_fine


@pytest.mark.parametrize("concurrency", [1, 8])
async def test_a_foreign_version_upon_one_of_bookstore_s_is_named_and_the_newest_of_a_key_come_first(concurrency):
    store = MemoryStore()
    await put_foreign(store, "w/a", b"of bookstore 2")
    await put(store, "w/a", b"one")
    between = await put_foreign(store, "w/a", b"between")
    await put(store, "w/a", b"two")
    await put(store, "w/b", b"good")
    earlier, newest = [await put_foreign(store, "w/b", content) for content in (b"evil", b"more evil")]
    await put_foreign(store, "w/c", b"of another program alone")
    await put(store, "w/d", b"good")
    result = await verify(store, folders=["w/"], concurrency=concurrency)
    assert result.foreign == (
        Foreign("w/b", newest, is_newest=True),
        Foreign("w/a", between, is_newest=False),
        Foreign("w/b", earlier, is_newest=False),
    )
    assert (result.checked, result.without_provenance) == (4, 2)
    assert {unproven.key for unproven in result.unproven} == {"w/a", "w/c"}
    assert result.is_fine


async def test_a_hidden_foreign_version_is_not_the_newest():
    store = MemoryStore()
    await put(store, "w/a", b"good")
    version_id = await put_foreign(store, "w/a")
    store.delete("w/a")
    assert (await verify(store, keys=["w/a"])).foreign == (Foreign("w/a", version_id, is_newest=False),)


async def test_a_forged_provenance_that_makes_no_sense_is_foreign():
    store = MemoryStore()
    await put(store, "w/a", b"good")
    metadata = {**to_metadata(Provenance("record", "0" * 64, 0.0)), "bookstore-sha256": "zz"}
    version_id = await put_foreign(store, "w/a", metadata=metadata)
    result = await verify(store, folders=["w/"])
    assert result.foreign == (Foreign("w/a", version_id, is_newest=True),)
    assert not result.altered


async def test_what_cannot_be_read_settles_its_key_all_the_same():
    store = MemoryStore()
    await put(store, "w/a", b"good")
    await put_foreign(store, "w/a")
    store.faults = lambda operation, key: AccessDenied("no") if operation == "GetObject" and key == "w/a" else None
    await put_foreign(store, "w/b")
    result = await verify(store, folders=["w/"])
    assert (len(result.unreadable), result.foreign, result.without_provenance) == (2, (), 1)


@pytest.mark.parametrize("folder", ["w/", "w/ada/"])
async def test_bookstore_s_own_objects_are_counted_apart(folder):
    store = MemoryStore()
    await put(store, f"{folder}a", b"x")
    await put_foreign(store, f"{folder}foreign")
    parameters = b'{"a": 1}'
    await put_foreign(store, f"{folder}.bookstore/labels/a.json", b'{"format": 1}')
    await put_foreign(store, f"{folder}.bookstore/doctor", b"no JSON")
    await put_foreign(store, f"{folder}.bookstore/parameters/{hashlib.sha256(parameters).hexdigest()}.json", parameters)
    result = await verify(store, folders=["w/"])
    assert (result.checked, result.own, result.without_provenance) == (1, 3, 1)
    assert result.is_fine


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff", b"[" * 100_000], ids=["torn", "list", "bytes", "deep"])
async def test_labels_that_nobody_can_parse_are_told(content):
    store = MemoryStore()
    await put_foreign(store, "w/.bookstore/labels/deep/a.json", content)
    result = await verify(store, folders=["w/"])
    (fault,) = result.unreadable
    assert (fault.key, fault.code) == ("w/.bookstore/labels/deep/a.json", NOT_JSON)
    assert not result.is_fine


async def test_parameters_that_are_not_what_their_name_tells_are_altered():
    store = MemoryStore()
    name = hashlib.sha256(b'{"a": 1}').hexdigest()
    await put_foreign(store, f"w/.bookstore/parameters/{name}.json", b'{"a": 2}')
    result = await verify(store, folders=["w/"])
    (fault,) = result.altered
    assert (fault.expected, fault.found) == (name, hashlib.sha256(b'{"a": 2}').hexdigest())


async def test_a_save_below_a_folder_of_that_name_is_checked_like_any_other():
    store = MemoryStore()
    await put(store, "w/mine/.bookstore/labels/a.json", b"no JSON")
    await put(store, "w/mine/.bookstore/labels/b.json", b"bad", saved=b"good")
    result = await verify(store, folders=["w/"])
    assert (result.checked, result.own, len(result.altered)) == (2, 0, 1)


async def test_the_report_travels_as_json():
    store = MemoryStore()
    await put(store, "w/a", b"bad", saved=b"good")
    await put(store, "w/b", b"x")
    await put_foreign(store, "w/b")
    store.faults = lambda operation, key: AccessDenied("no") if (operation, key) == ("GetObject", "w/c") else None
    await put(store, "w/c", b"x")
    result = await verify(store, folders=["w/"])
    assert Verified.from_dict(json.loads(json.dumps(result.to_dict()))) == result
