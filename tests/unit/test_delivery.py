"""`bookstore.delivery`: each save is in the store exactly once, proven, and nobody's version is hidden."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from bookstore import delivery
from bookstore.delivery import Courier, Parcel
from bookstore.errors import (
    AccessDenied,
    BucketMissing,
    BucketNotVersioned,
    IntegrityError,
    ObjectMissing,
    PreconditionFailed,
    StoreFault,
    StoreThrottled,
    StoreTimeout,
    StoreUnreachable,
)
from bookstore.media_types import content_type
from bookstore.outbox import EntryRef
from bookstore.outbox_entry import Entry
from bookstore.provenance import Provenance, from_metadata, to_metadata
from bookstore.storage.base import ObjectInfo, Receipt, Versioning
from bookstore.storage.memory import MemoryStore

KEY = "workspace/a.ipynb"
PROBE = "workspace/.bookstore/probe"


class _Saves:
    """Saves of one server, in order."""

    def __init__(self, root_dir: str = "/home/u", instance: str = "0123456789abcdef") -> None:
        self.root_dir = root_dir
        self.instance = instance
        self.count = 0

    def make(self, content: bytes, **changes) -> Parcel:
        self.count += 1
        fields = {
            "record_id": f"{self.instance}-{self.count}",
            "sha256": hashlib.sha256(content).hexdigest(),
            "saved_at": float(int(time.time())),
            "host": "host",
            "root_dir": self.root_dir,
            "instance": self.instance,
            "generation": 1,
            "sequence": self.count,
        }
        provenance = Provenance(**(fields | changes))
        return Parcel(Entry("a.ipynb", KEY, len(content), provenance), content=content)


class _Scene:
    def __init__(self, store: MemoryStore | None = None, **options) -> None:
        self.store = store if store is not None else MemoryStore()
        self.saves = _Saves()
        self.courier = self.another_courier(**options)

    def another_courier(self, root_dir: str = "/home/u", **options) -> Courier:
        return Courier(self.store, probe_key=PROBE, origin=f"host:{root_dir}", **options)

    async def save(self, content: bytes, courier: Courier | None = None, **changes) -> str:
        return await self.send(self.saves.make(content, **changes), courier)

    async def send(self, parcel: Parcel, courier: Courier | None = None) -> str:
        return (await (courier or self.courier).deliver(parcel, KEY, parcel.content)).how

    async def history(self, key: str = KEY) -> list[bytes]:
        """The contents of the key's versions, the oldest first."""
        rows = (await self.store.list_versions(key)).versions
        contents = []
        for row in rows[::-1]:
            if not row.is_delete_marker:
                async with self.store.get(key, row.version_id) as body:
                    contents.append(b"".join([chunk async for chunk in body.chunks]))
        return contents

    def requests(self) -> Counter[str]:
        """What was asked of the store since the last look."""
        asked, self.store.requests = self.store.requests, Counter()
        return asked

    def lose_answer(self, error=StoreTimeout, times: int = 1) -> None:
        """The store does as told, and its answer does not arrive."""

        def lost(operation: str, key: str):
            nonlocal times
            if operation == "PutObject" and times:
                times -= 1
                return error("no answer")
            return None

        self.store.lost_answers = lost

    def fail(self, error, operation: str = "PutObject", times: int = 1) -> None:
        def fault(asked: str, key: str):
            nonlocal times
            if asked == operation and times:
                times -= 1
                return error("failed")
            return None

        self.store.faults = fault


@pytest.fixture
def scene() -> _Scene:
    return _Scene()


# -- the usual way --------------------------------------------------------------------------------------------------


async def test_the_first_contact_with_a_key_looks_and_then_a_save_is_one_request(scene):
    assert await scene.save(b"1") == "stored"
    first = scene.requests()
    assert (first["HeadObject"], first["PutObject"], first["ListObjectVersions"]) == (1, 1, 0)
    for number in range(2, 12):
        assert await scene.save(b"%d" % number) == "stored"
    assert scene.requests() == {"PutObject": 10}
    assert await scene.history() == [b"%d" % n for n in range(1, 12)]


async def test_a_delivery_tells_key_and_version(scene):
    parcel = scene.saves.make(b"1")
    delivered = await scene.courier.deliver(parcel, KEY, b"1")
    info = await scene.store.head(KEY)
    assert (delivered.key, delivered.version_id, delivered.how) == (KEY, info.version_id, "stored")


async def test_a_version_carries_its_provenance(scene):
    parcel = scene.saves.make(b"1", user="ada")
    await scene.send(parcel)
    info = await scene.store.head(KEY)
    assert from_metadata(info.metadata) == parcel.entry.provenance
    assert info.content_type == "application/x-ipynb+json"


async def test_a_memoryview_is_stored_as_it_is(scene):
    parcel = scene.saves.make(b"content")
    await scene.courier.deliver(parcel, KEY, memoryview(b"..content..")[2:-2])
    assert await scene.history() == [b"content"]


async def test_a_new_server_continues_a_history(scene):
    await scene.save(b"1")
    restarted = scene.another_courier()
    assert await scene.save(b"2", restarted) == "stored"
    assert await scene.history() == [b"1", b"2"]
    assert not restarted.foreign


async def test_heads_are_forgotten_beyond_a_bound_at_the_price_of_a_look(scene, monkeypatch):
    monkeypatch.setattr(delivery, "MAX_HEADS", 3)
    for number in range(5):
        parcel = scene.saves.make(b"x")
        await scene.courier.deliver(parcel, f"workspace/{number}", b"x")
    assert len(scene.courier._heads) == 3
    scene.requests()
    for number, looks in ((4, 0), (0, 1)):
        parcel = scene.saves.make(b"y")
        await scene.courier.deliver(parcel, f"workspace/{number}", b"y")
        assert scene.requests()["HeadObject"] == looks


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a.ipynb", "application/x-ipynb+json"),
        ("a.py", "text/x-python"),
        ("a.md", "text/markdown"),
        ("a", "application/octet-stream"),
    ],
)
def test_content_types(path, kind):
    assert content_type(path) == kind


# -- an answer that does not come -----------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [StoreTimeout, StoreFault, StoreUnreachable, StoreThrottled])
@pytest.mark.parametrize("earlier", [0, 2])
async def test_a_save_whose_answer_was_lost_is_found_and_not_stored_twice(scene, error, earlier):
    for number in range(earlier):
        await scene.save(b"%d" % number)
    parcel = scene.saves.make(b"new")
    scene.lose_answer(error)
    with pytest.raises(error):
        await scene.send(parcel)
    assert parcel.uncertain
    assert await scene.send(parcel) == "found"
    assert await scene.history() == [b"%d" % n for n in range(earlier)] + [b"new"]
    assert await scene.save(b"next") == "stored"


async def test_the_found_version_is_the_one_that_is_told(scene):
    parcel = scene.saves.make(b"new")
    scene.lose_answer()
    with pytest.raises(StoreTimeout):
        await scene.send(parcel)
    version = (await scene.store.head(KEY)).version_id
    delivered = await scene.courier.deliver(parcel, KEY, b"new")
    assert (delivered.how, delivered.version_id) == ("found", version)


async def test_a_save_that_did_not_arrive_is_stored_by_the_next_attempt(scene):
    await scene.save(b"1")
    parcel = scene.saves.make(b"2")
    scene.fail(StoreTimeout)
    with pytest.raises(StoreTimeout):
        await scene.send(parcel)
    assert await scene.send(parcel) == "stored"
    assert await scene.history() == [b"1", b"2"]


async def _carried(scene: _Scene) -> Provenance:
    carried = from_metadata((await scene.store.head(KEY)).metadata)
    assert carried is not None
    return carried


async def test_a_first_attempt_carries_no_name_of_its_own(scene):
    for content in (b"1", b"2"):
        parcel = scene.saves.make(content)
        assert await scene.send(parcel) == "stored"
        assert "bookstore-attempt" not in (await scene.store.head(KEY)).metadata
        assert await _carried(scene) == parcel.entry.provenance


@pytest.mark.parametrize("earlier", [0, 1])
async def test_each_further_attempt_carries_a_new_name_and_leaves_the_entry_as_it_is(earlier):
    scene = _Scene(_Late())
    for number in range(earlier):
        await scene.save(b"%d" % number)
    parcel = scene.saves.make(b"new")
    entry = parcel.entry
    for _ in range(3):
        scene.store.hold_next = True
        with pytest.raises(StoreTimeout):
            await scene.send(parcel)
    assert await scene.send(parcel) == "stored"
    sent = [options["metadata"].get("bookstore-attempt", "") for _, _, options in scene.store.held]
    carried = await _carried(scene)
    attempts = [*sent, carried.attempt]
    assert attempts[0] == ""
    assert all(re.fullmatch("[0-9a-f]{8}", attempt) for attempt in attempts[1:])
    assert len(set(attempts)) == 4
    assert replace(carried, attempt="") == parcel.entry.provenance
    assert parcel.entry == entry
    assert entry.provenance.attempt == ""


async def test_what_is_sent_again_after_a_lost_race_carries_an_attempt(scene):
    await scene.save(b"1")
    other = _Saves("/home/other", "other")
    await scene.send(other.make(b"theirs"), scene.another_courier("/home/other"))
    assert await scene.save(b"2") == "stored"
    assert (await _carried(scene)).attempt != ""


async def test_a_lost_answer_is_found_below_what_another_writer_put_on_top(scene):
    parcel = scene.saves.make(b"new")
    scene.lose_answer()
    with pytest.raises(StoreTimeout):
        await scene.send(parcel)
    other = _Saves("/home/other", "other")
    for number in range(5):
        await scene.send(other.make(b"by%d" % number), scene.another_courier("/home/other"))
    assert await scene.send(parcel) == "found"
    assert len(await scene.history()) == 6


async def test_a_lost_answer_is_found_below_a_delete_marker(scene):
    parcel = scene.saves.make(b"new")
    scene.lose_answer()
    with pytest.raises(StoreTimeout):
        await scene.send(parcel)
    scene.store.delete(KEY)
    assert await scene.send(parcel) == "found"
    assert await scene.history() == [b"new"]


async def test_a_lost_answer_is_found_on_a_later_page(scene, monkeypatch):
    parcel = scene.saves.make(b"new")
    scene.lose_answer()
    with pytest.raises(StoreTimeout):
        await scene.send(parcel)
    for number in range(7):
        await scene.store.put(KEY, b"%03d" % number, sha256=hashlib.sha256(b"%03d" % number).hexdigest())
    pages = scene.store.list_versions
    monkeypatch.setattr(scene.store, "list_versions", lambda *args, **options: pages(*args, **(options | {"limit": 2})))
    assert await scene.send(parcel) == "found"


class _Late(MemoryStore):
    """A store that a PUT may reach long after its sender gave up."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list = []
        self.hold_next = False

    async def put(self, key, body, **options) -> Receipt:
        if self.hold_next:
            self.hold_next = False
            self.held.append((key, bytes(body), options))
            raise StoreTimeout("no answer")
        return await super().put(key, body, **options)

    async def arrive(self) -> None:
        key, body, options = self.held.pop()
        await super().put(key, body, **options)


@pytest.mark.parametrize("earlier", [0, 1])
async def test_a_put_that_arrives_after_the_next_attempt_changes_nothing(earlier):
    scene = _Scene(_Late())
    for number in range(earlier):
        await scene.save(b"%d" % number)
    parcel = scene.saves.make(b"new")
    scene.store.hold_next = True
    with pytest.raises(StoreTimeout):
        await scene.send(parcel)
    assert await scene.send(parcel) == "stored"
    with pytest.raises(PreconditionFailed):
        await scene.store.arrive()
    assert await scene.save(b"next") == "stored"
    assert await scene.history() == [b"%d" % n for n in range(earlier)] + [b"new", b"next"]


@pytest.mark.parametrize("earlier", [0, 1])
async def test_a_put_that_arrives_between_look_and_next_attempt_is_found(earlier):
    scene = _Scene(_Late())
    for number in range(earlier):
        await scene.save(b"%d" % number)
    parcel = scene.saves.make(b"new")
    scene.store.hold_next = True
    with pytest.raises(StoreTimeout):
        await scene.send(parcel)
    look = scene.store.list_versions

    async def look_and_then(*args, **options):
        page = await look(*args, **options)
        if scene.store.held:
            await scene.store.arrive()
        return page

    head = scene.store.head

    async def head_and_then(key, version_id=None):
        try:
            return await head(key, version_id)
        finally:
            if earlier and scene.store.held:
                await scene.store.arrive()

    scene.store.list_versions = look_and_then
    scene.store.head = head_and_then
    assert await scene.send(parcel) == "found"
    scene.store.list_versions, scene.store.head = look, head
    assert await scene.history() == [b"%d" % n for n in range(earlier)] + [b"new"]


async def test_a_delivery_broken_off_is_uncertain(wait_until):
    class Slow(MemoryStore):
        async def put(self, key, body, **options):
            await super().put(key, body, **options)
            await asyncio.sleep(60)

    slow = _Scene(Slow())
    parcel = slow.saves.make(b"new")
    task = asyncio.create_task(slow.send(parcel))
    await wait_until(lambda: slow.store.requests["PutObject"])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert parcel.uncertain
    assert await slow.send(parcel) == "found"


async def test_an_adopted_save_that_was_stored_already_is_found(scene):
    parcel = scene.saves.make(b"1")
    await scene.send(parcel)
    adopted = Parcel(parcel.entry, content=b"1", uncertain=True)
    assert await scene.send(adopted, scene.another_courier()) == "found"
    assert await scene.history() == [b"1"]


async def test_an_adopted_save_that_was_not_stored_is_stored(scene):
    adopted = scene.saves.make(b"1")
    adopted.uncertain = True
    assert await scene.send(adopted) == "stored"
    assert (await _carried(scene)).attempt != "", "its owner may have sent it"


async def test_the_search_ends_at_an_earlier_save_of_the_same_server(scene):
    for number in range(20):
        await scene.save(b"%02d" % number)
    parcel = scene.saves.make(b"20")
    for number in range(3):
        await scene.store.put(KEY, b"f%d" % number, sha256=hashlib.sha256(b"f%d" % number).hexdigest())
    parcel.uncertain = True
    scene.requests()
    assert await scene.send(parcel) == "stored"
    # The head, the three of somebody else, and the newest of ours.
    assert scene.requests()["HeadObject"] == 5


async def test_where_our_own_earlier_save_is_the_head_nothing_is_listed(scene):
    await scene.save(b"1")
    parcel = scene.saves.make(b"2")
    parcel.uncertain = True
    scene.requests()
    await scene.send(parcel)
    assert scene.requests() == {"HeadObject": 1, "PutObject": 1}


def _adopted(parcel: Parcel) -> Parcel:
    ref = EntryRef(Path(f"{parcel.entry.provenance.sequence}.entry"), parcel.entry, adopted=True)
    return Parcel(parcel.entry, ref=ref, content=parcel.content, uncertain=True)


async def test_a_claimed_save_that_its_living_owner_stored_before_earlier_ones_is_found(scene):
    first, second, third = (scene.saves.make(b"%d" % n) for n in range(3))
    await scene.send(third, scene.another_courier())
    how = [await scene.send(_adopted(parcel)) for parcel in (first, second, third)]
    assert how == ["stored", "stored", "found"]
    assert await scene.history() == [b"2", b"0", b"1"]


async def test_a_save_of_ones_own_is_found_below_those_that_another_server_claimed(scene):
    first, second = scene.saves.make(b"1"), scene.saves.make(b"2")
    scene.lose_answer()
    with pytest.raises(StoreTimeout):
        await scene.send(second)
    await scene.send(_adopted(first), scene.another_courier())
    scene.courier.is_in_order = False
    assert await scene.send(second) == "found"
    assert await scene.history() == [b"2", b"1"]


@pytest.mark.parametrize("stored_before", [0, 30])
async def test_a_claimed_backlog_costs_one_look_at_each_version_and_no_more(scene, stored_before):
    for number in range(stored_before):
        await scene.save(b"%02d" % number, scene.another_courier())
    backlog = [_adopted(scene.saves.make(b"%02d" % number)) for number in range(30, 60)]
    await scene.courier.check_bucket()
    scene.requests()
    assert {await scene.send(parcel) for parcel in backlog} == {"stored"}
    assert scene.requests() == {"ListObjectVersions": 1, "HeadObject": stored_before + 30, "PutObject": 30}


async def test_what_others_store_during_a_search_of_a_backlog_is_looked_at_too(scene):
    claimant, owner = scene.courier, scene.another_courier()
    parcels = [scene.saves.make(b"%d" % number) for number in range(6)]
    how = []
    for parcel, stored_meanwhile in zip(parcels, [5, None, 3, None, 4, None], strict=True):
        if stored_meanwhile is not None:
            await scene.send(parcels[stored_meanwhile], owner)
        how.append(await scene.send(_adopted(parcel), claimant))
    assert how == ["stored"] * 3 + ["found"] * 3
    assert sorted(await scene.history()) == [b"%d" % number for number in range(6)]


async def test_a_claimed_save_whose_record_was_stored_with_other_bytes_is_stored(scene):
    parcel, later = scene.saves.make(b"1"), scene.saves.make(b"2")
    digest = hashlib.sha256(b"x").hexdigest()
    await scene.store.put(KEY, b"x", sha256=digest, metadata=to_metadata(parcel.entry.provenance))
    await scene.send(later, scene.another_courier())
    assert [await scene.send(_adopted(parcel)) for _ in range(2)] == ["stored", "found"]


async def test_the_pasts_that_are_remembered_are_bounded(scene, monkeypatch):
    monkeypatch.setattr(delivery, "MAX_PASTS", 2)
    for number in range(4):
        parcel = _adopted(scene.saves.make(b"1"))
        await scene.courier.deliver(parcel, f"k{number}", b"1")
    assert list(scene.courier._pasts) == ["k2", "k3"]


async def test_another_servers_earlier_number_does_not_end_the_search(scene):
    mine = _Saves(instance="mine")
    mine.count = 100
    parcel = mine.make(b"mine")
    scene.lose_answer()
    with pytest.raises(StoreTimeout):
        await scene.send(parcel)
    await scene.send(_Saves(instance="other").make(b"hers"), scene.another_courier())
    assert await scene.send(parcel) == "found"


async def test_versions_older_than_the_save_are_not_searched():
    now = datetime.now(timezone.utc) - timedelta(days=10)
    scene = _Scene(MemoryStore(clock=lambda: now))
    for number in range(30):
        await scene.store.put(KEY, b"%02d" % number, sha256=hashlib.sha256(b"%02d" % number).hexdigest())
    now = datetime.now(timezone.utc)
    parcel = scene.saves.make(b"xx")
    parcel.uncertain = True
    scene.requests()
    await scene.send(parcel)
    assert scene.requests()["HeadObject"] == 1


async def test_a_version_that_vanishes_during_the_search_is_passed_over(scene, monkeypatch):
    parcel = scene.saves.make(b"new")
    scene.lose_answer()
    with pytest.raises(StoreTimeout):
        await scene.send(parcel)
    await scene.store.put(KEY, b"123", sha256=hashlib.sha256(b"123").hexdigest())
    gone = (await scene.store.head(KEY)).version_id
    head = scene.store.head

    async def expired(key, version_id=None) -> ObjectInfo:
        if version_id == gone:
            raise ObjectMissing("expired")
        return await head(key, version_id)

    monkeypatch.setattr(scene.store, "head", expired)
    assert await scene.send(parcel) == "found"


async def test_longer_keys_are_not_searched(scene):
    for number in range(5):
        await scene.courier.deliver(scene.saves.make(b"new"), f"{KEY}.{number}", b"new")
    parcel = _Saves(instance="other").make(b"new")
    parcel.uncertain = True
    scene.requests()
    assert await scene.send(parcel) == "stored"
    assert scene.requests()["HeadObject"] == 1


# -- other writers --------------------------------------------------------------------------------------------------


async def test_somebody_elses_version_in_between_stays_and_is_told(scene):
    await scene.save(b"mine 1")
    theirs = _Saves("/home/other", "other").make(b"theirs", user="grace")
    await scene.send(theirs, scene.another_courier("/home/other"))
    assert scene.courier.foreign == {}
    assert await scene.save(b"mine 2") == "stored"
    assert await scene.history() == [b"mine 1", b"theirs", b"mine 2"]
    [foreign] = scene.courier.foreign.values()
    assert (foreign.key, foreign.origin, foreign.user) == (KEY, "host:/home/other", "grace")
    assert foreign.version_id == (await scene.store.list_versions(KEY)).versions[1].version_id


async def test_what_another_program_wrote_is_told_without_an_origin(scene):
    await scene.store.put(KEY, b"by hand", sha256=hashlib.sha256(b"by hand").hexdigest())
    assert await scene.save(b"mine") == "stored"
    assert scene.courier.foreign[KEY].origin == ""
    assert await scene.history() == [b"by hand", b"mine"]


async def test_foreign_keys_are_remembered_within_a_bound(scene):
    for number in range(103):
        key = f"workspace/{number}"
        await scene.store.put(key, b"by hand", sha256=hashlib.sha256(b"by hand").hexdigest())
        await scene.courier.deliver(scene.saves.make(b"x"), key, b"x")
    assert list(scene.courier.foreign) == [f"workspace/{n}" for n in range(3, 103)]


async def test_the_same_root_on_the_same_host_is_not_foreign(scene):
    await scene.save(b"1")
    await scene.send(_Saves(instance="second").make(b"2"), scene.another_courier())
    await scene.save(b"3")
    assert await scene.history() == [b"1", b"2", b"3"]
    assert scene.courier.foreign == {}


async def test_a_root_too_long_for_metadata_is_not_foreign_to_itself():
    root = "/home/" + "字" * 600
    scene = _Scene()
    scene.saves.root_dir = root
    courier = scene.another_courier(root)
    await scene.save(b"1", courier)
    assert from_metadata((await scene.store.head(KEY)).metadata).root_dir == ""
    restarted = scene.another_courier(root)
    assert await scene.save(b"2", restarted) == "stored"
    assert restarted.foreign == {}
    assert await scene.save(b"2", scene.another_courier(root)) == "unchanged"


async def test_two_servers_of_one_path_keep_all_versions(scene):
    async def server(name: str) -> None:
        saves, courier = _Saves(f"/home/{name}", name), scene.another_courier(f"/home/{name}")
        for number in range(50):
            await scene.send(saves.make(f"{name}{number}".encode()), courier)

    await asyncio.gather(server("a"), server("b"))
    history = await scene.history()
    assert len(history) == 100
    for name in ("a", "b"):
        assert [c.decode() for c in history if c.startswith(name.encode())] == [f"{name}{n}" for n in range(50)]


async def test_a_delete_marker_at_the_head_is_no_obstacle(scene):
    await scene.save(b"1")
    scene.store.delete(KEY)
    assert await scene.save(b"2") == "stored"
    scene.store.delete(KEY)
    assert await scene.save(b"2", scene.another_courier()) == "stored"
    assert await scene.history() == [b"1", b"2", b"2"]


async def test_a_race_lost_again_and_again_is_given_up_for_a_while(scene):
    await scene.save(b"1")
    scene.fail(PreconditionFailed, times=1000)
    parcel = scene.saves.make(b"2")
    scene.requests()
    with pytest.raises(PreconditionFailed, match="another writer"):
        await scene.send(parcel)
    assert scene.requests()["PutObject"] <= delivery.MAX_RACES
    scene.store.faults = None
    assert await scene.send(parcel) == "stored"


# -- unchanged ------------------------------------------------------------------------------------------------------


async def test_bytes_that_are_still_the_newest_need_no_second_copy(scene):
    await scene.save(b"same")
    scene.requests()
    parcel = scene.saves.make(b"same")
    delivered = await scene.courier.deliver(parcel, KEY, b"same")
    assert (delivered.how, delivered.version_id) == ("unchanged", (await scene.store.head(KEY)).version_id)
    assert scene.requests()["PutObject"] == 0
    assert await scene.save(b"other") == "stored"
    assert await scene.save(b"same") == "stored"
    assert await scene.history() == [b"same", b"other", b"same"]


async def test_unchanged_bytes_are_looked_for_and_not_believed(scene):
    await scene.save(b"same")
    scene.store.delete(KEY)
    assert await scene.save(b"same") == "stored"


async def test_a_restarted_server_knows_unchanged_bytes(scene):
    await scene.save(b"same")
    assert await scene.save(b"same", scene.another_courier()) == "unchanged"


@pytest.mark.parametrize("reason", ["rename", "restore"])
async def test_what_happened_stands_in_the_history_whatever_the_bytes(scene, reason):
    await scene.save(b"same")
    assert await scene.save(b"same", reason=reason) == "stored"
    assert await scene.save(b"same") == "unchanged"
    assert await scene.history() == [b"same", b"same"]


async def test_unchanged_bytes_after_somebody_elses_version_are_a_version(scene):
    await scene.save(b"same")
    await scene.send(_Saves("/home/other", "other").make(b"theirs"), scene.another_courier("/home/other"))
    assert await scene.save(b"same") == "stored"
    assert await scene.history() == [b"same", b"theirs", b"same"]


async def test_somebody_elses_equal_bytes_are_not_ours(scene):
    await scene.send(_Saves("/home/other", "other").make(b"same"), scene.another_courier("/home/other"))
    assert await scene.save(b"same") == "stored"
    assert await scene.history() == [b"same", b"same"]


async def test_where_listing_is_forbidden_bytes_that_may_be_an_old_saves_are_stored_again(scene):
    await scene.save(b"same")
    scene.fail(AccessDenied, "ListObjectVersions")
    courier = scene.another_courier()
    assert await scene.save(b"same", courier) == "stored"
    assert await scene.save(b"same", courier) == "unchanged"


async def _land_late(scene: _Scene, parcel: Parcel) -> None:
    """Let an attempt that was given up arrive, on top of newer saves."""
    provenance = replace(parcel.entry.provenance, attempt="00c0ffee")
    await scene.store.put(KEY, parcel.content, sha256=provenance.sha256, metadata=to_metadata(provenance))


@pytest.mark.parametrize("content", [b"A", b"B", b"C"])
@pytest.mark.parametrize("is_restarted", [True, False])
async def test_a_late_copy_of_an_own_save_is_nobody_elses_and_makes_no_save_needless(scene, content, is_restarted):
    await scene.save(b"A")
    twice = scene.saves.make(b"B")
    await scene.send(twice)
    await scene.save(b"A")
    await _land_late(scene, twice)
    courier = scene.another_courier() if is_restarted else scene.courier
    assert await scene.save(content, courier) == "stored"
    assert await scene.history() == [b"A", b"B", b"A", b"B", content]
    assert courier.foreign == {}
    assert await scene.save(content, courier) == "unchanged"


async def test_unchanged_bytes_that_another_run_stored_cost_one_listing_once(scene):
    await scene.save(b"other")
    await scene.save(b"same")
    courier = scene.another_courier()
    scene.requests()
    for _ in range(3):
        assert await scene.save(b"same", courier) == "unchanged"
    asked = scene.requests()
    assert (asked["ListObjectVersions"], asked["HeadObject"], asked["PutObject"]) == (1, 3, 0)


async def test_without_skip_unchanged_every_save_is_a_version():
    scene = _Scene(skip_unchanged=False)
    for _ in range(3):
        assert await scene.save(b"same") == "stored"
    assert await scene.history() == [b"same"] * 3


# -- versions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [Versioning.OFF, Versioning.SUSPENDED])
async def test_a_bucket_without_versions_is_not_written_to(state):
    scene = _Scene(MemoryStore(versioning=state))
    for _ in range(3):
        with pytest.raises(BucketNotVersioned):
            await scene.save(b"1")
    assert scene.requests()["PutObject"] == 0
    scene.store.versioning = Versioning.ENABLED
    assert await scene.save(b"2") == "stored"


@pytest.mark.parametrize("state", [Versioning.OFF, Versioning.SUSPENDED])
async def test_versioning_switched_off_while_running_stops_all_further_writes(scene, state):
    await scene.save(b"1")
    scene.store.versioning = state
    in_flight = scene.saves.make(b"2")
    with pytest.raises(BucketNotVersioned):
        await scene.send(in_flight)
    scene.requests()
    for _ in range(3):
        with pytest.raises(BucketNotVersioned):
            await scene.send(in_flight)
        with pytest.raises(BucketNotVersioned):
            await scene.courier.deliver(scene.saves.make(b"3"), "workspace/b.ipynb", b"3")
    assert scene.requests()["PutObject"] == 0
    scene.store.versioning = Versioning.ENABLED
    assert await scene.send(in_flight) == "stored", "a null version is none: the next write may replace it"
    history = await scene.history()
    assert history[0] == b"1"
    assert history[-1] == b"2"


async def test_allowed_to_the_bucket_may_keep_no_versions():
    scene = _Scene(MemoryStore(versioning=Versioning.OFF), allow_unversioned=True)
    assert await scene.save(b"1") == "stored"
    assert await scene.save(b"1") == "unchanged"
    assert await scene.save(b"2") == "stored"
    parcel = scene.saves.make(b"3")
    scene.lose_answer()
    with pytest.raises(StoreTimeout):
        await scene.send(parcel)
    assert await scene.send(parcel) == "found"
    assert await scene.history() == [b"3"]


async def test_allowed_to_a_suspended_bucket_is_checked_without_complaint():
    scene = _Scene(MemoryStore(versioning=Versioning.SUSPENDED), allow_unversioned=True)
    await scene.courier.check_bucket()
    assert scene.courier.is_versioned
    assert await scene.save(b"1") == "stored"


async def test_a_store_that_does_not_tell_is_asked_by_a_probe_once():
    scene = _Scene(MemoryStore(versioning=Versioning.UNKNOWN))
    await scene.save(b"1")
    await scene.save(b"2")
    assert len(await scene.history(PROBE)) == 1
    assert await scene.history() == [b"1", b"2"]


class _Unversioned(MemoryStore):
    """Does not say that it keeps no versions."""

    async def probe(self):
        return replace(await super().probe(), versioning=Versioning.UNKNOWN)


@pytest.mark.parametrize("state", [Versioning.OFF, Versioning.SUSPENDED])
async def test_a_probe_that_gets_no_version_is_the_only_thing_written(state):
    scene = _Scene(_Unversioned(versioning=state))
    for _ in range(2):
        with pytest.raises(BucketNotVersioned):
            await scene.save(b"1")
    assert await scene.history() == []
    assert len(await scene.history(PROBE)) == 1


async def test_a_store_that_tells_is_only_read():
    scene = _Scene()
    await scene.courier.check_bucket()
    assert scene.requests()["PutObject"] == 0
    assert scene.courier.is_versioned


class _SlowGlance(MemoryStore):
    """An early look ends when it is let go, and may fail or tell something else than a probe."""

    def __init__(self, **options):
        super().__init__(**options)
        self.let_go, self.began = asyncio.Event(), asyncio.Event()
        self.tells: object = Versioning.ENABLED

    async def glance(self):
        self.began.set()
        await self.let_go.wait()
        if isinstance(self.tells, Exception):
            raise self.tells
        return replace(await super().probe(), versioning=self.tells)


@pytest.mark.parametrize("tells", [Versioning.ENABLED, Versioning.OFF, Versioning.UNKNOWN, StoreUnreachable("away")])
async def test_a_delivery_goes_on_while_an_early_look_hangs_and_knows_better(tells):
    scene = _Scene(_SlowGlance())
    scene.store.tells = tells
    look = asyncio.create_task(scene.courier.check_bucket(early=True))
    await scene.store.began.wait()
    assert await asyncio.wait_for(scene.save(b"1"), 5) == "stored"
    assert not look.done()
    scene.requests()
    scene.store.let_go.set()
    await look
    assert scene.courier.is_versioned
    assert scene.requests()["PutObject"] == 0


async def test_an_early_look_does_not_unsay_that_the_bucket_keeps_no_versions():
    scene = _Scene(_SlowGlance(versioning=Versioning.OFF))
    look = asyncio.create_task(scene.courier.check_bucket(early=True))
    await scene.store.began.wait()
    with pytest.raises(BucketNotVersioned):
        await asyncio.wait_for(scene.save(b"1"), 5)
    scene.store.let_go.set()
    with pytest.raises(BucketNotVersioned):
        await look
    assert not scene.courier.is_versioned


async def test_an_early_look_alone_tells_what_it_sees():
    scene = _Scene(_SlowGlance())
    scene.store.let_go.set()
    scene.store.tells = StoreUnreachable("away")
    with pytest.raises(StoreUnreachable):
        await scene.courier.check_bucket(early=True)
    scene.store.tells = Versioning.SUSPENDED
    with pytest.raises(BucketNotVersioned):
        await scene.courier.check_bucket(early=True)
    assert not scene.courier.is_versioned
    scene.store.tells = Versioning.ENABLED
    await scene.courier.check_bucket(early=True)
    assert scene.courier.is_versioned
    scene.requests()
    await scene.save(b"1")
    assert "GetBucketVersioning" not in scene.requests()


@pytest.mark.parametrize("error", [BucketMissing, AccessDenied, StoreUnreachable])
async def test_what_the_check_meets_is_told_as_it_is(scene, error):
    scene.fail(error, "GetBucketVersioning")
    with pytest.raises(error):
        await scene.save(b"1")
    assert not scene.courier.is_versioned
    assert await scene.save(b"1") == "stored"


# -- proof ----------------------------------------------------------------------------------------------------------


class _Unproven(MemoryStore):
    """Tells no checksums, and loses or changes bytes as told."""

    corrupts = 0
    reads = 0

    async def put(self, key, body, *, sha256, **options) -> Receipt:
        if self.corrupts and not key.endswith("probe"):
            self.corrupts -= 1
            body = b"X" * len(body)
            sha256 = hashlib.sha256(body).hexdigest()
        return replace(await super().put(key, body, sha256=sha256, **options), verified=False)

    async def head(self, key, version_id=None) -> ObjectInfo:
        return replace(await super().head(key, version_id), sha256=None)

    def get(self, key, version_id=None):
        self.reads += 1
        assert version_id, "what is read back is the very version"
        return super().get(key, version_id)


async def test_a_receipt_that_proves_nothing_is_proven_by_reading_back():
    scene = _Scene(_Unproven())
    assert await scene.save(b"1" * 200_000) == "stored"
    assert scene.store.reads == 1


async def test_a_receipt_that_proves_the_bytes_needs_no_reading_back(scene):
    await scene.save(b"1")
    assert scene.requests()["GetObject"] == 0


async def test_other_bytes_than_were_sent_are_an_error():
    scene = _Scene(_Unproven())
    scene.store.corrupts = 1
    with pytest.raises(IntegrityError, match="other bytes"):
        await scene.save(b"1")


async def test_other_bytes_than_were_sent_are_never_found_to_be_the_save():
    scene = _Scene(_Unproven())
    scene.store.corrupts = 2
    parcel = scene.saves.make(b"precious")
    for _ in range(2):
        with pytest.raises(IntegrityError):
            await scene.send(parcel)
    assert await scene.send(parcel) == "stored"
    assert (await scene.history())[-1] == b"precious"


async def test_a_checksum_that_the_store_tells_is_believed_rather_than_the_record_id(scene):
    parcel = scene.saves.make(b"precious")
    await scene.store.put(
        KEY, b"XXXXXXXX", sha256=hashlib.sha256(b"X" * 8).hexdigest(), metadata=to_metadata(parcel.entry.provenance)
    )
    parcel.uncertain = True
    assert await scene.send(parcel) == "stored"
    assert await scene.history() == [b"XXXXXXXX", b"precious"]


async def test_a_right_version_below_a_wrong_one_is_found():
    scene = _Scene(_Unproven())
    parcel = scene.saves.make(b"precious")
    scene.lose_answer()
    with pytest.raises(StoreTimeout):
        await scene.send(parcel)
    scene.lose_answer(times=0)
    metadata = to_metadata(parcel.entry.provenance)
    await MemoryStore.put(
        scene.store, KEY, b"XXXXXXXX", sha256=hashlib.sha256(b"XXXXXXXX").hexdigest(), metadata=metadata
    )
    assert await scene.send(parcel) == "found"


async def test_a_save_that_could_not_be_read_back_is_read_before_it_counts():
    scene = _Scene(_Unproven())
    scene.fail(StoreTimeout, "GetObject")
    parcel = scene.saves.make(b"1")
    with pytest.raises(StoreTimeout):
        await scene.send(parcel)
    assert await scene.send(parcel) == "found"
    assert scene.store.reads == 2


async def test_a_found_version_whose_checksum_the_store_tells_is_not_read(scene):
    parcel = scene.saves.make(b"1")
    scene.lose_answer()
    with pytest.raises(StoreTimeout):
        await scene.send(parcel)
    scene.requests()
    assert await scene.send(parcel) == "found"
    assert scene.requests()["GetObject"] == 0


async def test_an_attempt_is_given_the_time_that_its_size_needs(scene, monkeypatch):
    given = []
    put = scene.store.put

    async def watched(key, body, **options):
        given.append(options["timeout"])
        return await put(key, body, **options)

    monkeypatch.setattr(scene.store, "put", watched)
    await scene.save(b"x" * 1_000_000)
    assert given == [40.0]


async def test_a_new_key_is_written_where_looking_is_forbidden(scene):
    scene.fail(AccessDenied, "HeadObject")
    assert await scene.save(b"first") == "stored"


async def test_a_key_that_exists_and_may_not_be_looked_at_is_left_alone(scene):
    other = _Scene(scene.store)
    await other.save(b"there already")
    scene.fail(AccessDenied, "HeadObject", times=2)
    with pytest.raises(AccessDenied):
        await scene.save(b"on top")


async def test_each_version_gets_the_tags_that_were_asked_for():
    scene = _Scene(tags={"bookstore-pinned": "false"})
    await scene.save(b"one")
    info = await scene.store.head(KEY)
    assert await scene.store.get_tags(KEY, info.version_id) == {"bookstore-pinned": "false"}
