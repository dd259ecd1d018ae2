"""`bookstore.versions`: a history shows every version exactly once, newest first, across renames and pages."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import itertools
import json
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bookstore import echoes, labels, lineage, lineage_cursor, version_details
from bookstore.archive import BookstoreContentsArchiver
from bookstore.archiving.call import service_of
from bookstore.errors import (
    AccessDenied,
    ContentTooLarge,
    IntegrityError,
    InvalidRequest,
    ObjectMissing,
    PathError,
    PreconditionFailed,
    StorageError,
    StoreUnreachable,
)
from bookstore.labels import PIN_TAG, LabelBook
from bookstore.provenance import Provenance, to_metadata
from bookstore.results import History, Label, Version
from bookstore.storage.base import ObjectStore, Versioning
from bookstore.storage.memory import MemoryStore
from bookstore.storage.s3 import S3Options, S3Store
from bookstore.versions import Versions

PREFIX = "workspace"
START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def key_of(path: str) -> str:
    return f"{PREFIX}/{path}"


@dataclass
class Save:
    """A save on its way."""

    path: str
    content: bytes
    provenance: Provenance
    number: int = 0
    attempts: Iterator[int] = field(default_factory=itertools.count)

    def attempt(self) -> Provenance:
        """What its next attempt carries: the first no name of its own, any other a new one."""
        number = next(self.attempts)
        return replace(self.provenance, attempt=f"{number:08x}" if number else "")


@dataclass
class Server:
    """One server that saves and renames; what it takes is shipped when the test says so."""

    store: ObjectStore
    instance: str = "0123456789abcdef"
    host: str = "host"
    generation: int = 1
    skew: float = 0.0
    now: float = field(default_factory=lambda: START.timestamp())
    last: dict[str, str] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    #: Counts on over several runs.
    written: Iterator[int] = field(default_factory=itertools.count)

    def take(self, path: str, content: bytes | None = None, **changes: Any) -> Save:
        number = next(self.numbers)
        content = b"%s %d" % (self.instance.encode(), number) if content is None else content
        self.now += 1
        fields: dict[str, Any] = {
            "record_id": f"{self.instance}-{number}",
            "sha256": hashlib.sha256(content).hexdigest(),
            "saved_at": self.now + self.skew,
            "user": "ada",
            "host": self.host,
            "root_dir": "/home/ada",
            "instance": self.instance,
            "generation": self.generation,
            "sequence": number,
        }
        save = Save(path, content, Provenance(**(fields | changes)), next(self.written))
        self.last[path] = save.provenance.record_id
        return save

    def take_rename(self, old: str, new: str, content: bytes | None = None) -> Save:
        previous_record = self.last.pop(old, "")
        return self.take(new, content, reason="rename", previous_key=key_of(old), previous_record=previous_record)

    def take_upload(self, path: str) -> Save:
        """A file that was not there: it goes on where it was deleted, as far as this server knows."""
        return self.take(path, reason="new", previous_record=self.last.get(path, ""))

    async def ship(self, save: Save) -> str:
        receipt = await self.store.put(
            key_of(save.path),
            save.content,
            sha256=hashlib.sha256(save.content).hexdigest(),
            metadata=to_metadata(save.attempt()),
        )
        assert receipt.version_id is not None
        return receipt.version_id

    async def save(self, path: str, content: bytes | None = None, **changes: Any) -> str:
        return await self.ship(self.take(path, content, **changes))

    async def rename(self, old: str, new: str, content: bytes | None = None) -> str:
        return await self.ship(self.take_rename(old, new, content))


async def put_foreign(store: ObjectStore, path: str, content: bytes) -> str:
    """What a program without provenance writes."""
    receipt = await store.put(key_of(path), content, sha256=hashlib.sha256(content).hexdigest())
    assert receipt.version_id is not None
    return receipt.version_id


class Clock:
    """The store's clock, a second further at each look."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(clock=Clock())


@pytest.fixture
def server(store: MemoryStore) -> Server:
    return Server(store)


@pytest.fixture
def versions(store: MemoryStore) -> Versions:
    return Versions(store, PREFIX)


def ids(history: History) -> list[str]:
    return [one.version_id for one in history.versions]


async def pages(versions: Versions, path: str, limit: int, **options: Any) -> list[History]:
    found, cursor = [], None
    while True:
        page = await versions.history(path, limit=limit, cursor=cursor, **options)
        assert len(page.versions) <= limit
        found.append(page)
        cursor = page.cursor
        if cursor is None:
            return found
        assert len(found) < 500, "the pages do not end"


async def whole(versions: Versions, path: str, limit: int = 1000, **options: Any) -> list[Version]:
    return [one for page in await pages(versions, path, limit, **options) for one in page.versions]


# -- a page --------------------------------------------------------------------------------------------------------


async def test_a_history_is_newest_first_and_says_who_and_when(versions, server):
    saved = [await server.save("a.ipynb") for _ in range(3)]
    page = await versions.history("a.ipynb")
    assert ids(page) == saved[::-1]
    assert (page.path, page.key, page.cursor) == ("a.ipynb", "workspace/a.ipynb", None)
    newest = page.versions[0]
    assert (newest.user, newest.host, newest.root_dir, newest.reason) == ("ada", "host", "/home/ada", "save")
    assert newest.saved_at == (START + timedelta(seconds=3)).isoformat()
    assert newest.last_modified == (START + timedelta(seconds=3)).isoformat()
    assert newest.record_id == "0123456789abcdef-3"
    assert newest.is_detailed
    assert [one.is_latest for one in page.versions] == [True, False, False]
    assert {one.path for one in page.versions} == {"a.ipynb"}


async def test_a_path_may_be_written_with_slashes_around(versions, server):
    await server.save("d/a.ipynb")
    page = await versions.history("/d//a.ipynb/")
    assert (page.path, len(page.versions)) == ("d/a.ipynb", 1)


async def test_an_unknown_path_has_an_empty_history(versions):
    assert await versions.history("nothing.ipynb") == History("nothing.ipynb", "workspace/nothing.ipynb")


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_a_limit_out_of_range_is_refused(versions, limit):
    with pytest.raises(InvalidRequest, match=str(limit)):
        await versions.history("a.ipynb", limit=limit)


async def test_a_path_without_a_key_is_refused(versions):
    with pytest.raises(PathError):
        await versions.history("../a.ipynb")


async def test_versions_of_longer_keys_are_no_part_of_it(versions, server):
    mine = [await server.save("a") for _ in range(4)]
    for name in ("a.ipynb", "a/b", "ab"):
        for _ in range(5):
            await server.save(name)
    for limit in (1, 3, 4, 5, 50):
        assert [one.version_id for one in await whole(versions, "a", limit)] == mine[::-1]


async def test_delete_markers_are_shown_as_such(versions, server, store):
    first = await server.save("a.ipynb")
    store.delete("workspace/a.ipynb")
    marker, version = (await versions.history("a.ipynb")).versions
    assert (marker.is_delete_marker, marker.is_latest, marker.size, marker.is_unchanged) == (True, True, 0, False)
    assert (version.version_id, version.is_delete_marker, version.is_latest) == (first, False, False)
    assert await versions.newest("a.ipynb") is None
    await server.save("a.ipynb")
    assert [one.is_delete_marker for one in await whole(versions, "a.ipynb", 1)] == [False, True, False]


async def test_what_another_program_wrote_has_no_provenance(versions, store):
    written = await put_foreign(store, "a.ipynb", b"1")
    (version,) = (await versions.history("a.ipynb")).versions
    assert (version.version_id, version.is_detailed, version.saved_at, version.user) == (written, True, "", "")


async def test_equal_neighbours_are_recognised_whatever_the_page(versions, server, store):
    for content in (b"1", b"1", b"2", b"1", b"1"):
        await server.save("a.ipynb", content)
    store.delete("workspace/a.ipynb")
    await server.save("a.ipynb", b"1")
    expected = [False, False, True, False, False, True, False]
    for limit in (1, 2, 3, 7):
        for details in (True, False):
            found = await whole(versions, "a.ipynb", limit, details=details)
            assert [one.is_unchanged for one in found] == expected


class _EncryptingStore(MemoryStore):
    """Tells ETags that are no hash of the content, as under SSE-KMS."""

    async def list_versions(self, *args: Any, **options: Any) -> Any:
        page = await super().list_versions(*args, **options)
        return replace(page, versions=tuple(replace(row, etag=f"e{row.version_id}") for row in page.versions))


@pytest.mark.parametrize("limit", [1, 2, 50])
async def test_equal_neighbours_are_recognised_by_sha256_where_etags_are_no_hash(limit):
    store = _EncryptingStore()
    server = Server(store)
    for content in (b"1", b"1", b"2"):
        await server.save("a.ipynb", content)
    found = await whole(Versions(store, PREFIX), "a.ipynb", limit)
    assert [one.is_unchanged for one in found] == [False, True, False]


# -- requests ------------------------------------------------------------------------------------------------------


async def test_a_page_is_one_listing_and_a_head_for_each_row_that_is_shown(versions, server, store):
    for number in range(120):
        await server.save("a.ipynb", b"x" * number)
    store.requests.clear()
    page = await versions.history("a.ipynb", limit=50)
    assert store.requests == {"ListObjectVersions": 1, "HeadObject": 50, "GetObject": 1}
    await versions.history("a.ipynb", limit=50)
    assert store.requests == {"ListObjectVersions": 2, "HeadObject": 50, "GetObject": 2}, "details are remembered"
    await versions.history("a.ipynb", limit=50, cursor=page.cursor)
    assert store.requests["ListObjectVersions"] == 3
    assert store.requests["HeadObject"] == 100


async def test_without_details_a_page_is_one_listing_and_the_labels(versions, server, store):
    saved = [await server.save("a.ipynb", b"x" * number) for number in range(1005)]
    await versions.label("a.ipynb", saved[-1], name="newest")
    store.requests.clear()
    page = await versions.history("a.ipynb", limit=1000, details=False)
    assert len(page.versions) == 1000
    assert store.requests == {"ListObjectVersions": 1, "GetObject": 1}
    assert not any(one.is_detailed or one.user for one in page.versions)
    assert [one.label.name for one in page.versions if one.label] == ["newest"]
    page = await versions.history("a.ipynb", limit=1000, cursor=page.cursor, details=False)
    assert (len(page.versions), page.cursor) == (5, None)
    assert store.requests["HeadObject"] == 1005, "the second page looks for the renames of the first, too"
    assert store.requests["ListObjectVersions"] <= 4


async def test_nine_versions_over_a_rename_come_in_one_page_with_one_listing_for_each_name(versions, server, store):
    old = [await server.save("old.ipynb") for _ in range(5)]
    new = [await server.rename("old.ipynb", "new.ipynb"), *[await server.save("new.ipynb") for _ in range(3)]]
    store.requests.clear()
    page = await versions.history("new.ipynb")
    assert ids(page) == [*new[::-1], *old[::-1]]
    assert page.cursor is None
    assert [one.path for one in page.versions] == ["new.ipynb"] * 4 + ["old.ipynb"] * 5
    assert [one.key for one in page.versions][-1] == "workspace/old.ipynb"
    assert store.requests == {"ListObjectVersions": 2, "HeadObject": 9, "GetObject": 2}
    assert ids(await versions.history("new.ipynb", details=False)) == ids(page)
    for limit in range(1, 11):
        assert [one.version_id for one in await whole(versions, "new.ipynb", limit)] == ids(page)


async def test_heads_are_bounded_in_number(versions, server, store):
    for _ in range(40):
        await server.save("a.ipynb")
    running = highest = 0

    class Slow(MemoryStore):
        async def head(self, key: str, version_id: str | None = None) -> Any:
            nonlocal running, highest
            running += 1
            highest = max(highest, running)
            await asyncio.sleep(0)
            running -= 1
            return await store.head(key, version_id)

    slow = Slow()
    slow._keys = store._keys
    both = Versions(slow, PREFIX)
    await asyncio.gather(both.history("a.ipynb", limit=20), both.history("a.ipynb", limit=40))
    assert highest == version_details.MAX_HEADS


async def test_details_are_forgotten_beyond_a_bound(server, store, monkeypatch):
    monkeypatch.setattr(version_details, "REMEMBERED", 5)
    versions = Versions(store, PREFIX)
    for _ in range(12):
        await server.save("a.ipynb")
    assert all(one.user == "ada" for one in (await versions.history("a.ipynb")).versions)
    assert len(versions._details._remembered) == 5


async def test_what_may_be_replaced_is_not_remembered(store):
    store.versioning = Versioning.OFF
    versions = Versions(store, PREFIX)
    for number in range(2):
        save = Server(store, instance=f"i{number}").take("a.ipynb", b"%d" % number)
        await store.put(
            key_of("a.ipynb"), save.content, sha256=save.provenance.sha256, metadata=to_metadata(save.provenance)
        )
        (version,) = (await versions.history("a.ipynb")).versions
        assert (version.version_id, version.record_id) == ("null", f"i{number}-1")
        assert await versions.read(version, limit=10) == b"%d" % number


async def test_a_failing_head_fails_the_page_and_leaves_nothing_behind(versions, server, store):
    for _ in range(20):
        await server.save("a.ipynb")
    store.faults = lambda operation, key: StoreUnreachable("down") if operation == "HeadObject" else None
    before = asyncio.all_tasks()
    with pytest.raises(StoreUnreachable):
        await versions.history("a.ipynb")
    assert asyncio.all_tasks() == before


async def test_a_version_that_goes_while_it_is_looked_at_is_shown_without_details(server, store):
    kept = await server.save("a.ipynb")
    gone = await server.save("a.ipynb")

    def fault(operation: str, key: str) -> StorageError | None:
        return ObjectMissing("gone") if operation == "HeadObject" and next(heads) == 0 else None

    heads = itertools.count()
    store.faults = fault
    page = await Versions(store, PREFIX).history("a.ipynb")
    assert ids(page) == [gone, kept]
    assert [one.is_detailed for one in page.versions] == [False, True]


# -- renames -------------------------------------------------------------------------------------------------------


async def test_a_chain_of_renames_is_followed_to_its_end(versions, server):
    expected = [await server.save("n0")]
    for number in range(6):
        expected.append(await server.rename(f"n{number}", f"n{number + 1}"))
        expected.append(await server.save(f"n{number + 1}"))
    for details in (True, False):
        for limit in (1, 2, 5, 50):
            found = [one.version_id for one in await whole(versions, "n6", limit, details=details)]
            assert found == expected[::-1]


async def test_a_rename_there_and_back_shows_each_version_once(versions, server):
    expected = [await server.save("a") for _ in range(2)]
    expected.append(await server.rename("a", "b"))
    expected.append(await server.save("b"))
    expected.append(await server.rename("b", "a"))
    expected.append(await server.save("a"))
    for limit in range(1, 8):
        assert [one.version_id for one in await whole(versions, "a", limit)] == expected[::-1]
    # What b was until it became a again.
    assert [one.version_id for one in await whole(versions, "b")] == expected[:4][::-1]


async def test_a_new_notebook_under_the_old_name_does_not_belong(versions, server):
    expected = [await server.save("Untitled.ipynb") for _ in range(3)]
    expected.append(await server.rename("Untitled.ipynb", "mine.ipynb"))
    others = [await server.save("Untitled.ipynb") for _ in range(5)]
    expected.append(await server.save("mine.ipynb"))
    for details in (True, False):
        for limit in (1, 2, 3, 4, 50):
            found = await whole(versions, "mine.ipynb", limit, details=details)
            assert [one.version_id for one in found] == expected[::-1]
    with pytest.raises(ObjectMissing):
        await versions.locate("mine.ipynb", others[0])


@pytest.mark.parametrize("reason", ["new", "copy", "clone"])
async def test_what_had_the_earlier_name_before_does_not_belong(versions, server, reason):
    await server.save("Untitled.ipynb", reason=reason)
    await server.save("Untitled.ipynb")
    await server.rename("Untitled.ipynb", "theirs.ipynb")
    expected = [await server.save("Untitled.ipynb", reason=reason), await server.save("Untitled.ipynb")]
    expected.append(await server.rename("Untitled.ipynb", "mine.ipynb"))
    for limit in (1, 2, 3, 50):
        found = [one.version_id for one in await whole(versions, "mine.ipynb", limit)]
        assert found == expected[::-1]


async def test_a_name_that_was_given_to_much_saved_notebooks_since_is_found_with_few_heads(versions, server, store):
    expected = [await server.save("Untitled.ipynb") for _ in range(3)]
    expected.append(await server.rename("Untitled.ipynb", "mine.ipynb"))
    for _ in range(2500):
        await server.save("Untitled.ipynb")
    store.requests.clear()
    page = await versions.history("mine.ipynb")
    assert ids(page) == expected[::-1]
    assert store.requests["ListObjectVersions"] == 4
    assert store.requests["HeadObject"] < 120


async def test_a_rename_onto_a_name_that_had_versions_shows_both(versions, server):
    buried = [await server.save("b") for _ in range(2)]
    mine = [await server.save("a") for _ in range(2)]
    after = [await server.rename("a", "b"), await server.save("b")]
    for limit in range(1, 8):
        found = [one.version_id for one in await whole(versions, "b", limit)]
        assert found == [*after[::-1], *mine[::-1], *buried[::-1]]


async def test_last_saves_that_arrive_after_the_rename_belong(versions, server):
    early, late, rename = server.take("old"), server.take("old"), server.take_rename("old", "new")
    new = server.take("new")
    shipped = {id(one): await server.ship(one) for one in (rename, early, new, late)}
    expected = [shipped[id(one)] for one in (new, rename, late, early)]
    for details in (True, False):
        assert [one.version_id for one in await whole(versions, "new", details=details)] == expected


async def test_the_order_of_one_server_holds_though_its_clock_was_set_back(versions, server):
    expected = [await server.save("old")]
    server.now += 86_400
    expected.append(await server.save("old"))
    server.now -= 2 * 86_400
    expected.append(await server.rename("old", "new"))
    await server.save("old")
    assert [one.version_id for one in await whole(versions, "new")] == expected[::-1]


async def test_the_record_before_a_rename_belongs_whatever_the_clocks_say(store, versions):
    first, second = Server(store, instance="one"), Server(store, instance="two")
    first.now += 10_000  # its clock is wrong
    saved = await first.save("old")
    second.last["old"] = first.last["old"]
    renamed = await second.rename("old", "new")
    assert [one.version_id for one in await whole(versions, "new")] == [renamed, saved]


async def test_between_servers_the_time_of_the_save_decides(store, versions):
    clock = Clock()
    store._clock = clock
    here, elsewhere = Server(store, instance="here"), Server(store, instance="elsewhere", host="elsewhere")
    before = await elsewhere.save("old")
    here.now += 5
    renamed = await here.rename("old", "new")
    elsewhere.now += 100
    await elsewhere.save("old")
    assert [one.version_id for one in await whole(versions, "new")] == [renamed, before]


async def test_what_a_server_saved_before_the_rename_belongs_though_others_saved_meanwhile(store, versions):
    here, elsewhere = Server(store, instance="here"), Server(store, instance="elsewhere", host="elsewhere")
    expected = [await here.save("old") for _ in range(3)]
    late = [here.take("old") for _ in range(2)]
    renamed = await here.rename("old", "new")
    elsewhere.now += 100
    for _ in range(9):
        await elsewhere.save("old")
    expected += [await here.ship(one) for one in late]
    for _ in range(5):
        await elsewhere.save("old")
    for limit in (1, 3, 50):
        found = await whole(versions, "new", limit)
        assert [one.version_id for one in found] == [renamed, *expected[::-1]]


async def test_a_rename_that_arrives_days_late_takes_nothing_along_that_was_saved_meanwhile(store, versions):
    here, elsewhere = Server(store, instance="here"), Server(store, instance="elsewhere", host="elsewhere")
    saved = await here.save("old")
    rename = here.take_rename("old", "new")
    store._clock.now += timedelta(hours=30)
    elsewhere.now += timedelta(hours=30).total_seconds()
    await elsewhere.save("old")
    store._clock.now += timedelta(hours=30)
    renamed = await here.ship(rename)
    for details in (True, False):
        assert [one.version_id for one in await whole(versions, "new", details=details)] == [renamed, saved]


async def test_what_has_no_provenance_belongs_by_the_time_of_its_arrival(store, versions, server):
    before = await put_foreign(store, "old", b"1")
    store.delete("workspace/old")
    renamed = await server.rename("old", "new")
    await put_foreign(store, "old", b"2")
    store.delete("workspace/old")
    found = await whole(versions, "new")
    assert [one.version_id for one in found if not one.is_delete_marker] == [renamed, before]
    assert [one.is_delete_marker for one in found] == [False, True, False]


@pytest.mark.parametrize("key", ["published/a", "workspace/../a", "workspace/.bookstore/labels/a", "workspace/b", ""])
async def test_an_earlier_key_that_is_no_path_of_this_area_is_not_followed(store, versions, server, key):
    await store.put("published/a", b"1", sha256=hashlib.sha256(b"1").hexdigest())
    await server.save("b", reason="rename", previous_key=key)
    assert len((await versions.history("b")).versions) == 1
    assert len((await versions.history("b", details=False)).versions) == 1


async def test_a_chain_without_end_ends(versions, server, monkeypatch):
    monkeypatch.setattr(lineage, "MAX_NAMES", 5)
    await server.save("n0")
    for number in range(9):
        await server.rename(f"n{number}", f"n{number + 1}")
    assert [one.path for one in await whole(versions, "n9", 2)] == ["n9", "n8", "n7", "n6", "n5"]


async def _assert_whole(versions: Versions, path: str, expected: list[str]) -> None:
    """The history is these versions, oldest first here, whatever the page, and each of them can be located."""
    for details in (True, False):
        for limit in (1, 2, 3, 7, 50):
            found = await whole(Versions(versions.store, PREFIX), path, limit, details=details)
            assert [one.version_id for one in found] == expected[::-1], (details, limit)
    for version_id in expected:
        assert (await Versions(versions.store, PREFIX).locate(path, version_id)).version_id == version_id


async def test_a_notebook_that_was_renamed_back_and_on_keeps_all_of_its_versions(versions, server):
    expected = [await server.save("a") for _ in range(5)]
    expected.append(await server.rename("a", "b"))
    expected += [await server.save("b") for _ in range(3)]
    others = [await server.save("a", reason="new"), await server.save("a")]
    expected.append(await server.rename("b", "c"))
    others += [await server.save("b", reason="new"), await server.save("b")]
    others.append(await server.rename("b", "e"))
    expected.append(await server.rename("c", "b"))
    expected.append(await server.rename("b", "d"))
    expected.append(await server.save("d"))
    await _assert_whole(versions, "d", expected)
    for other in others:
        with pytest.raises(ObjectMissing):
            await versions.locate("d", other)


async def test_a_name_that_was_had_three_times_is_in_the_history_three_times(versions, server):
    expected = [await server.save("x")]
    for _ in range(3):
        expected += [await server.rename("x", "y"), await server.save("y")]
        expected += [await server.rename("y", "x"), await server.save("x")]
    expected.append(await server.rename("x", "z"))
    await _assert_whole(versions, "z", expected)


async def test_what_another_server_began_under_the_same_key_hides_nothing_of_ours(store, versions):
    ours, theirs = Server(store, instance="ours"), Server(store, instance="theirs", host="elsewhere")
    older = [await theirs.save("Untitled.ipynb"), await ours.save("Untitled.ipynb")]
    expected = [await ours.save("Untitled.ipynb", reason="new"), await ours.save("Untitled.ipynb")]
    theirs.now = ours.now
    expected.append(await theirs.save("Untitled.ipynb", reason="new"))
    expected += [await ours.save("Untitled.ipynb"), await ours.rename("Untitled.ipynb", "mine.ipynb")]
    await _assert_whole(versions, "mine.ipynb", expected)
    for one in older:
        with pytest.raises(ObjectMissing):
            await versions.locate("mine.ipynb", one)


async def test_what_was_deleted_and_saved_again_goes_on(store, versions, server):
    expected = [await server.save("w", reason="new"), await server.save("w")]
    expected.append(await server.ship(server.take_upload("w")))
    store.delete(key_of("w"))
    expected.append(await server.save("w"))
    expected.append(await server.rename("w", "w9"))
    found = await whole(versions, "w9")
    assert [one.version_id for one in found if not one.is_delete_marker] == expected[::-1]
    assert [one.is_delete_marker for one in found] == [False, False, True, False, False, False]
    # The name is free now: what comes next is another notebook.
    other = [await server.ship(server.take_upload("w")), await server.rename("w", "v")]
    await _assert_whole(versions, "v", other)


@pytest.mark.parametrize("generation", [1, 2])
async def test_a_clock_that_was_put_right_between_two_runs_cuts_nothing_off(store, versions, generation):
    fast = Server(store, instance="one", skew=600)
    expected = [await fast.save("a", reason="new"), *[await fast.save("a") for _ in range(3)]]
    right = Server(store, instance="two", now=fast.now, generation=generation)
    expected.append(await right.rename("a", "b"))
    await right.save("a", reason="new")
    await Server(store, instance="three", now=right.now, generation=generation).save("a")
    await _assert_whole(versions, "b", expected)


async def test_a_clock_that_was_put_right_hides_no_beginning(store, versions):
    fast = Server(store, instance="one", skew=600)
    await fast.save("a", reason="new")
    await fast.rename("a", "other")
    expected = [await fast.save("a", reason="new"), await fast.save("a")]
    right = Server(store, instance="two", now=fast.now)
    expected.append(await right.rename("a", "b"))
    await _assert_whole(versions, "b", expected)


async def test_a_clock_that_was_set_back_after_a_run_of_a_higher_generation_cuts_nothing_off(store, versions):
    right = Server(store, instance="one", generation=3)
    expected = [await right.save("a", reason="new"), await right.save("a")]
    slow = Server(store, instance="two", now=right.now, generation=1, skew=-600)
    expected.append(await slow.rename("a", "b"))
    await _assert_whole(versions, "b", expected)


async def test_what_a_crashed_run_left_belongs_though_its_successor_ships_it_after_the_rename(store, versions):
    crashed = Server(store, instance="one")
    expected = [await crashed.save("a")]
    left = crashed.take("a")
    successor = Server(store, instance="two", generation=2, now=crashed.now)
    renamed = await successor.rename("a", "b")
    expected += [await successor.ship(left), renamed]
    await successor.save("a")
    await Server(store, instance="three", generation=3, now=successor.now).save("a")
    await _assert_whole(versions, "b", expected)


async def test_a_new_notebook_that_overtakes_a_waiting_rename_hides_nothing(store, versions):
    crashed = Server(store, instance="one")
    mine = [await crashed.save("a", reason="new"), await crashed.save("a")]
    rename = crashed.take_rename("a", "b")
    successor = Server(store, instance="two", generation=2, now=crashed.now)
    await successor.save("a", reason="new")
    mine.append(await successor.ship(rename))
    assert set(mine) <= {one.version_id for one in await whole(versions, "b")}


async def test_a_rename_onto_a_name_that_had_versions_is_known_without_details(versions, server):
    expected = [await server.save("b"), await server.save("a"), await server.rename("a", "b"), await server.save("b")]
    await _assert_whole(versions, "b", expected)


async def test_a_large_first_page_without_details_leaves_no_rename_out(versions, server):
    mine = [await server.save("b") for _ in range(150)]
    mine += [await server.save("a") for _ in range(3)]
    mine += [await server.rename("a", "b"), *[await server.save("b") for _ in range(3)]]
    for limit in (120, 140, 200):
        found = [one.version_id for one in await whole(Versions(versions.store, PREFIX), "b", limit, details=False)]
        assert len(found) == len(mine)
        assert set(found) == set(mine)


# -- echoes ------------------------------------------------------------------------------------------------------


async def test_a_save_that_arrived_twice_is_shown_where_it_was_stored_first(versions, server):
    first = await server.save("a", b"A")
    twice = server.take("a", b"B")
    expected = [first, await server.ship(twice), await server.save("a", b"A")]
    echo = await server.ship(twice)
    await _assert_whole(versions, "a", expected)
    newest = await versions.newest("a")
    assert newest is not None
    assert newest.version_id == expected[-1]
    expected += [await server.save("a", b"A"), await server.save("a", b"C")]
    await _assert_whole(versions, "a", expected)
    for limit in (1, 2, 50):
        found = await whole(versions, "a", limit)
        assert [one.is_unchanged for one in found] == [False, True, False, False, False]
    located = await versions.locate("a", echo)
    assert (located.version_id, located.record_id) == (echo, twice.provenance.record_id)
    assert await versions.read(located, limit=1) == b"B"
    labelled = await versions.label("a", echo, name="n")
    assert labelled.label is not None
    shown = (await versions.history("a")).versions
    assert [await versions.locate("a", one.version_id) for one in shown[:-1]] == [
        replace(one, is_latest=one.is_latest) for one in shown[:-1]
    ]


@pytest.mark.parametrize("copies", [1, 3, 20])
@pytest.mark.parametrize("path", ["a", "old"])
async def test_a_rename_back_that_arrived_several_times_is_one_row(versions, server, copies, path):
    expected = [await server.save("old", b"1"), await server.rename("old", "b", b"1")]
    back = server.take_rename("b", "old", b"1")
    expected.append(await server.ship(back))
    for _ in range(copies):
        await server.ship(back)
    newest = await versions.newest("old")
    assert newest is not None
    assert newest.version_id == expected[-1]
    if path != "old":
        expected.append(await server.rename("old", path, b"1"))
    await _assert_whole(versions, path, expected)


async def test_an_echo_amid_what_others_wrote_is_left_out(versions, server, store):
    other = Server(store, instance="two", host="elsewhere")
    twice = server.take("a", b"B")
    expected = [await server.ship(twice), await other.save("a"), await put_foreign(store, "a", b"B")]
    await server.ship(twice)
    expected.append(await other.save("a", b"B"))
    await server.ship(twice)
    await _assert_whole(versions, "a", expected)


async def test_an_echo_of_what_had_the_earlier_name_before_is_left_out(versions, server):
    twice = server.take("a", b"B", reason="new")
    await server.ship(twice)
    await server.rename("a", "theirs", b"B")
    expected = [await server.save("a", b"1", reason="new")]
    echo = await server.ship(twice)
    expected += [await server.save("a", b"2"), await server.rename("a", "mine", b"2")]
    await _assert_whole(versions, "mine", expected)
    assert (await versions.locate("a", echo)).version_id == echo


async def test_an_echo_under_an_earlier_name_is_located(versions, server):
    twice = server.take("old", b"B")
    await server.ship(twice)
    await server.save("old", b"A")
    echo = await server.ship(twice)
    await server.rename("old", "new", b"A")
    located = await versions.locate("new", echo)
    assert (located.path, located.version_id) == ("old", echo)


async def copy_onto_itself(store: MemoryStore, path: str, version_id: str) -> str:
    """Put an old version back as `aws s3api copy-object` does, with its metadata."""
    receipt = await store.copy(key_of(path), key_of(path), source_version_id=version_id)
    assert receipt.version_id is not None
    return receipt.version_id


@pytest.mark.parametrize("minutes", [0, 10, 50, 200])
@pytest.mark.parametrize("attempts", [1, 2])
async def test_an_old_version_that_somebody_put_back_is_shown_and_is_the_newest(
    versions, server, store, minutes, attempts
):
    good = server.take("a", b"good")
    for _ in range(attempts - 1):
        good.attempt()  # did not arrive
    expected = [await server.ship(good), await server.save("a", b"broken")]
    store._clock.now += timedelta(minutes=minutes)
    expected.append(await copy_onto_itself(store, "a", expected[0]))
    await _assert_whole(versions, "a", expected)
    newest = await versions.newest("a")
    assert newest is not None
    assert (newest.version_id, newest.is_latest) == (expected[-1], True)
    assert await versions.read(newest, limit=10) == b"good"
    bare = await versions.history("a", limit=2, details=False)
    assert ids(bare) == expected[:0:-1]
    expected.append(await copy_onto_itself(store, "a", expected[-1]))
    await _assert_whole(Versions(store, PREFIX), "a", expected)


@pytest.mark.parametrize("source", [0, 1], ids=["version", "echo"])
@pytest.mark.parametrize("minutes", [1, 50])
@pytest.mark.parametrize("between", [0, 3, 30, 31, 40])
async def test_a_copy_of_what_arrived_twice_is_shown_and_its_echo_is_not(
    versions, server, store, source, minutes, between
):
    twice = server.take("a", b"B")
    late = twice.attempt()  # this one arrives after the second
    stored = [await server.ship(twice)]
    expected = [stored[0], await server.save("a", b"A")]
    store._clock.now += timedelta(minutes=50)
    receipt = await store.put(key_of("a"), b"B", sha256=late.sha256, metadata=to_metadata(late))
    stored.append(receipt.version_id)
    expected += [await server.save("a") for _ in range(between)]
    store._clock.now += timedelta(minutes=minutes)
    expected.append(await copy_onto_itself(store, "a", stored[source]))
    for limit in (1, 2, 50):
        fresh = Versions(store, PREFIX)
        assert [one.version_id for one in await whole(fresh, "a", limit)] == expected[::-1]
    newest = await Versions(store, PREFIX).newest("a")
    assert newest is not None
    assert newest.version_id == expected[-1]
    await _assert_whole(versions, "a", expected)


async def test_a_large_first_page_without_details_shows_what_somebody_put_back(versions, server, store):
    saved = [await server.save("a", b"x" * number) for number in range(300)]
    copy = await copy_onto_itself(store, "a", saved[-2])
    page = await versions.history("a", limit=200, details=False)
    assert ids(page) == [copy, *saved[:100:-1]]


async def test_a_rename_that_somebody_put_back_is_followed_once(versions, server, store):
    expected = [await server.save("old", b"1"), await server.rename("old", "a", b"2"), await server.save("a", b"3")]
    expected.append(await copy_onto_itself(store, "a", expected[1]))
    assert {one.version_id for one in await whole(versions, "a")} == set(expected)
    assert len(await whole(versions, "a", 1)) == len(expected)


async def test_what_carries_a_record_id_hours_later_is_shown(versions, server, store):
    copied = server.take("a", b"B")
    expected = [await server.ship(copied), await server.save("a", b"A")]
    store._clock.now += timedelta(hours=2)
    expected.append(await server.ship(copied))
    await _assert_whole(versions, "a", expected)


async def test_bytes_that_come_back_cost_two_heads_more(versions, server, store):
    for content in (b"1", b"2", b"1", b"3", b"2", b"4", b"5"):
        await server.save("a", content)
    store.requests.clear()
    assert len((await versions.history("a", limit=2)).versions) == 2
    assert store.requests == {"ListObjectVersions": 1, "HeadObject": 4, "GetObject": 1}


async def test_bytes_that_come_back_all_the_time_cost_a_bounded_number_of_heads(versions, server, store):
    for number in range(200):
        await server.save("a", b"A" if number % 2 else b"B")
    store.requests.clear()
    assert len((await versions.history("a", limit=10)).versions) == 10
    assert store.requests["HeadObject"] <= 10 + 1 + echoes.REACH
    assert store.requests["ListObjectVersions"] == 1


async def test_a_large_first_page_without_details_leaves_echoes_out_with_few_heads(versions, server, store):
    for number in range(1200):
        await server.save("a", b"x" * number)
    back = server.take("a", b"A")
    for save in (back, server.take("a", b"B"), back):
        await server.ship(save)
    echo = (await store.list_versions("workspace/a", limit=1)).versions[0].version_id
    store.requests.clear()
    page = await versions.history("a", limit=500, details=False)
    assert echo not in ids(page)
    assert len(page.versions) == 499
    assert store.requests["HeadObject"] <= 3
    assert store.requests["ListObjectVersions"] == 1
    rest = await versions.history("a", limit=1000, cursor=page.cursor, details=False)
    assert len(ids(page) + ids(rest)) == len(set(ids(page) + ids(rest))) == 1202


async def test_a_large_first_page_of_equal_bytes_costs_few_heads(versions, server, store):
    for _ in range(1005):
        await server.save("a", b"1")
    store.requests.clear()
    assert len((await versions.history("a", limit=1000, details=False)).versions) == 1000
    assert store.requests["HeadObject"] <= lineage.MAX_SUSPECTS + echoes.REACH


# -- paging --------------------------------------------------------------------------------------------------------


async def test_versions_that_come_between_two_pages_change_nothing_of_the_next(versions, server):
    saved = [await server.save("a") for _ in range(6)]
    first = await versions.history("a", limit=3)
    await server.save("a")
    second = await versions.history("a", limit=10, cursor=first.cursor)
    assert ids(first) + ids(second) == saved[::-1]


async def test_another_process_reads_on_with_the_cursor(store, versions, server):
    expected = [await server.save("a"), await server.rename("a", "b"), await server.save("b")]
    await server.save("a")
    first = await versions.history("b", limit=1)
    second = await Versions(store, PREFIX).history("b", limit=1, cursor=first.cursor)
    third = await Versions(store, PREFIX).history("b", cursor=second.cursor)
    assert ids(first) + ids(second) + ids(third) == expected[::-1]


async def test_a_cursor_is_safe_in_an_address_and_of_one_history(versions, server):
    for name in ("Ä b.ipynb", "c.ipynb"):
        for _ in range(3):
            await server.save(name)
    cursor = (await versions.history("Ä b.ipynb", limit=1)).cursor
    assert cursor is not None
    assert set(cursor) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
    with pytest.raises(InvalidRequest):
        await versions.history("c.ipynb", cursor=cursor)
    with pytest.raises(InvalidRequest):
        await Versions(versions.store, "published").history("Ä b.ipynb", cursor=cursor)


def _a_cursor() -> str:
    bound = lineage.Bound(lineage.Moment(1.0, 2.0, "host:/root", "i", 4, 3), "r")
    streams = [
        lineage.Stream("a", "workspace/a", None, "v1", is_done=True, is_unseen=True),
        lineage.Stream("b", "workspace/b", [bound, bound], None, is_placed=True),
        lineage.Stream("c", "workspace/c", [], "v2", is_done=True),
    ]
    cursor = lineage_cursor.encode("workspace/a", streams)
    assert lineage_cursor.decode(cursor, PREFIX, "workspace/a") == streams
    return cursor


@given(st.data())
def test_an_altered_cursor_is_refused(data):
    cursor = _a_cursor()
    place = data.draw(st.integers(0, len(cursor) - 1))
    letter = data.draw(st.sampled_from("abcXYZ019-_=+/ é\x00"))
    altered = data.draw(
        st.sampled_from(
            [cursor[:place] + letter + cursor[place + 1 :], cursor[:place], cursor[:place] + letter + cursor[place:]]
        )
    )
    if altered == cursor:
        return
    with pytest.raises(InvalidRequest) as caught:
        lineage_cursor.decode(altered, PREFIX, "workspace/a")
    assert caught.value.hint


@given(st.one_of(st.text(max_size=30), st.just("A" * 300_000)))
def test_any_text_for_a_cursor_is_refused(text):
    with pytest.raises(InvalidRequest):
        lineage_cursor.decode(text, PREFIX, "workspace/a")


_ROW = ["a", "v1", True, True, False, None]
_BOUND = [1.0, 2.0, "host:/root", "i", 4, 3, "r"]


@pytest.mark.parametrize(
    "document",
    [
        [1, [_ROW]],
        [3, [_ROW]],
        [2, []],
        [2, [_ROW, _ROW]],
        [2, [["b", None, False, False, False, None]]],
        [2, [_ROW, ["b", None, False, False, False, None]]],
        [2, [_ROW, ["../etc", None, False, False, False, []]]],
        [2, [_ROW, ["b", 5, False, False, False, []]]],
        [2, [_ROW, ["b", None, 0, False, False, []]]],
        [2, [_ROW, ["b", None, False, 1, False, []]]],
        [2, [_ROW, ["b", None, False, False, None, []]]],
        [2, [_ROW, ["b", None, False, False, False, {}]]],
        [2, [_ROW, ["b", None, False, False, False, [_BOUND[:-1]]]]],
        [2, [_ROW, ["b", None, False, False, False, [[*_BOUND[:5], True, "r"]]]]],
        [2, [_ROW, ["b", None, False, False, False, [[1.0, "2", *_BOUND[2:]]]]]],
        [2, [_ROW, ["b", None, False, False, False, [_BOUND] * 101]]],
        [2, [[*_ROW[:5], [_BOUND]]]],
        [2, [["a"]]],
        [2],
        {},
        5,
    ],
)
def test_a_cursor_that_somebody_made_up_is_refused(document):
    payload = json.dumps(document).encode()
    made = base64.urlsafe_b64encode(lineage_cursor._checksum("workspace/a", payload) + payload).decode().rstrip("=")
    with pytest.raises(InvalidRequest):
        lineage_cursor.decode(made, PREFIX, "workspace/a")


# -- any history ---------------------------------------------------------------------------------------------------

_NAMES = ("a", "b", "c")
_PLACES = st.integers(0, 2)
# A place chooses among the names for which the step makes sense, so that files are renamed there and back often.
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("save"), _PLACES, _PLACES),
        st.tuples(st.just("rename"), _PLACES, _PLACES),
        st.tuples(st.just("rename"), _PLACES, _PLACES),
        st.tuples(
            st.sampled_from(["untitled", "upload", "outside", "delete", "ship", "ship", "echo", "wait", "restart"]),
            _PLACES,
            _PLACES,
        ),
    ),
    min_size=4,
    max_size=40,
)


class _Files:
    """What is true of the files, told by the files and not by what the versions say of each other.

    Each file knows its versions, those under earlier names included. What is saved under a name without having begun
    there goes on with the file that had the name last: nobody could tell that it is another.
    """

    def __init__(self) -> None:
        self.alive: set[str] = set()
        self._files: dict[str, list[Save]] = {name: [] for name in _NAMES}
        self._shown: dict[str, list[Save]] = {name: [] for name in _NAMES}

    def begin(self, path: str, save: Save) -> None:
        self._files[path] = []
        self.go_on(path, save)

    def go_on(self, path: str, save: Save) -> None:
        self.alive.add(path)
        self._files[path].append(save)
        self._shown[path].append(save)

    def move(self, old: str, new: str, save: Save) -> None:
        self.alive.discard(old)
        file = list(self._files[old])
        self._shown[new] += file
        self._files[new] = file
        self.go_on(new, save)

    def history(self, path: str) -> list[str]:
        """The records of everything that was ever saved at the path, and of what those files were before."""
        found = {save.provenance.record_id: save for save in self._shown[path]}
        return sorted(found, key=lambda record: -found[record].number)


class _Life:
    """One origin that works and ships, each path in order but otherwise as the steps say."""

    def __init__(self, store: MemoryStore, clock: Clock, *, crashes: bool) -> None:
        self.store, self.clock, self.crashes = store, clock, crashes
        self.files = _Files()
        self.waiting: dict[str, list[Save]] = {name: [] for name in _NAMES}
        self.shipped: dict[str, list[tuple[Save, datetime]]] = {name: [] for name in _NAMES}
        self.echoes: dict[str, str] = {}
        self.server = Server(store, instance="run1")
        self.runs = 1

    async def play(self, steps: list[tuple[str, int, int]]) -> None:
        self._begin("a")
        for kind, place, other in steps:
            self.clock.now = max(self.clock.now, datetime.fromtimestamp(self.server.now, timezone.utc))
            self.server.now = max(self.server.now, self.clock.now.timestamp())
            used = [name for name in _NAMES if name in self.files.alive]
            free = [name for name in _NAMES if name not in self.files.alive]
            if kind in ("save", "rename", "delete") and used:
                await self._step(kind, used[place % len(used)], free[other % len(free)] if free else "")
            elif kind in ("untitled", "upload", "outside") and free:
                await self._step(kind, free[place % len(free)], "")
            elif kind == "echo":
                await self._echo(_NAMES[place], other)
            elif kind in ("ship", "wait", "restart"):
                await self._step(kind, _NAMES[place], ("fast", "slow", "right")[other])
        await self._ship_all(len(steps))

    async def _step(self, kind: str, name: str, target: str) -> None:
        files, server = self.files, self.server
        if kind in ("save", "outside"):
            # Few different bytes, so that they come back.
            files.go_on(name, self._queue(server.take(name, b"%d" % (server.now % 3))))
        elif kind == "untitled":
            self._begin(name)
        elif kind == "upload":
            save = self._queue(server.take_upload(name))
            (files.go_on if save.provenance.previous_record else files.begin)(name, save)
        elif kind == "rename" and target:
            files.move(name, target, self._queue(server.take_rename(name, target)))
        elif kind == "delete":
            files.alive.discard(name)
        elif kind == "ship":
            await self._ship(name)
        elif kind == "wait":
            server.now += 2400
        elif kind == "restart":
            await self._restart(target)

    def _begin(self, name: str) -> None:
        self.files.begin(name, self._queue(self.server.take(name, reason="new")))

    def _queue(self, save: Save) -> Save:
        self.waiting[save.path].append(save)
        return save

    async def _ship(self, name: str) -> None:
        if self.waiting[name]:
            await self._make_way(self.waiting[name][0])
        if self.waiting[name]:
            save = self.waiting[name].pop(0)
            await self.server.ship(save)
            self.shipped[name].append((save, self.clock.now))

    async def _echo(self, name: str, back: int) -> None:
        """Let an attempt of one of the last saves arrive once more, as long as that can be."""
        for save, first in self.shipped[name][-1 - back :][:1]:
            if self.clock.now + timedelta(seconds=2) < first + timedelta(seconds=echoes.LATEST):
                self.echoes[await self.server.ship(save)] = save.provenance.record_id

    async def _make_way(self, save: Save) -> None:
        """Let the renames that a crashed run left go first: what overtook them could not be told from what was before.

        Its other saves may still be under way.
        """
        for queue in self.waiting.values():
            while any(
                left.provenance.reason == "rename"
                and left.provenance.instance != save.provenance.instance
                and left.number < save.number
                for left in queue
            ):
                left = queue.pop(0)
                await self.server.ship(left)
                self.shipped[left.path].append((left, self.clock.now))

    async def _ship_all(self, number: int) -> None:
        for name in sorted(_NAMES, key=lambda name: number % (ord(name) - 90)):
            while self.waiting[name]:
                await self._ship(name)

    async def _restart(self, clock: str) -> None:
        """Begin another run: after a crash with what is left, and otherwise with an emptied outbox and other clock."""
        self.runs += 1
        now, numbers = self.server.now, self.server.written
        generation, skew = self.server.generation + 1, 0.0
        if not self.crashes:
            await self._ship_all(self.runs)
            now = max(now, self.clock.now.timestamp())
            generation, skew = 1, {"fast": 600.0, "slow": -600.0, "right": 0.0}[clock]
        self.server = Server(
            self.store, instance=f"run{self.runs}", now=now, generation=generation, skew=skew, written=numbers
        )


@settings(deadline=None, max_examples=200)
@given(_STEPS, st.integers(1, 9), st.booleans())
def test_any_life_of_a_notebook_is_told_whole_and_in_order_whatever_the_page(steps, limit, crashes):
    async def run() -> None:
        clock = Clock()
        store = MemoryStore(clock=clock)
        life = _Life(store, clock, crashes=crashes)
        await life.play(steps)
        versions = Versions(store, PREFIX)
        for path in _NAMES:
            at_once = await whole(versions, path)
            expected = life.files.history(path)
            assert [one.record_id for one in at_once] == expected
            assert await whole(Versions(store, PREFIX), path, limit) == at_once
            bare = await whole(Versions(store, PREFIX), path, limit, details=False)
            assert [one.version_id for one in bare] == [one.version_id for one in at_once]
            shown = {one.version_id: one.record_id for one in at_once}
            fresh = Versions(store, PREFIX)
            for name in _NAMES:
                for row in (await store.list_versions(key_of(name))).versions:
                    if row.version_id in shown:
                        located = await fresh.locate(path, row.version_id)
                        assert located.record_id == shown[row.version_id]
                    elif row.version_id in life.echoes:
                        located = await fresh.locate(name, row.version_id)
                        assert located.record_id == life.echoes[row.version_id]
                    else:
                        with pytest.raises(ObjectMissing):
                            await fresh.locate(path, row.version_id)

    asyncio.run(run())


_WRITES = st.lists(
    st.tuples(
        st.sampled_from(["save", "rename", "foreign", "marker", "late", "echo", "copy"]),
        st.sampled_from(_NAMES),
        st.sampled_from(_NAMES),
        st.integers(0, 1),
        st.sampled_from([0, 1, 3000, 9000]),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=250)
@given(_WRITES, st.integers(1, 9), st.booleans(), st.booleans())
def test_whoever_wrote_what_pages_of_any_size_show_the_same(writes, limit, details, is_far):
    """Two servers, other programs, delete markers, late arrivals, clocks that differ: each version once."""

    async def run() -> None:
        clock = Clock()
        store = MemoryStore(clock=clock)
        servers = [Server(store, instance="one"), Server(store, instance="two", host="elsewhere" if is_far else "host")]
        shipped: list[tuple[Save, datetime]] = []
        copies: set[str] = set()
        for kind, name, other, number, pause in writes:
            server = servers[number]
            clock.now += timedelta(seconds=pause)
            server.now += pause
            if kind == "save":
                save = server.take(name, b"%d" % (pause % 3001))
                await server.ship(save)
                shipped.append((save, clock.now))
            elif kind == "echo":
                for save, first in shipped[-1 - _NAMES.index(other) :][:1]:
                    if clock.now + timedelta(seconds=2) < first + timedelta(seconds=echoes.LATEST):
                        copies.add(await server.ship(save))
            elif kind == "late":
                await server.save(name, saved_at=server.now - 5000)
            elif kind == "rename":
                await server.rename(name, other)
            elif kind == "foreign":
                await put_foreign(store, name, b"%d" % pause)
            elif kind == "copy":
                rows = (await store.list_versions(key_of(name))).versions
                for row in [row for row in rows if not row.is_delete_marker][_NAMES.index(other) :][:1]:
                    await copy_onto_itself(store, name, row.version_id)
            else:
                store.delete(key_of(name))
        for path in _NAMES:
            at_once = await whole(Versions(store, PREFIX), path, details=details)
            bare = await whole(Versions(store, PREFIX), path, limit, details=not details)
            assert [one.version_id for one in bare] == [one.version_id for one in at_once]
            in_pages = await whole(Versions(store, PREFIX), path, limit, details=details)
            assert in_pages == at_once
            names = [(one.key, one.version_id) for one in at_once]
            assert len(set(names)) == len(names)
            for name in _NAMES:
                listed = (await store.list_versions(key_of(name))).versions
                stored = [row.version_id for row in listed if row.version_id not in copies]
                shown = [one.version_id for one in at_once if one.path == name]
                assert shown == [one for one in stored if one in shown], "the store's order of one key holds"
                assert name != path or shown == stored, "a path's own versions are all there, and no echoes"

    asyncio.run(run())


# -- one version ---------------------------------------------------------------------------------------------------


async def test_the_newest_version_has_details(versions, server):
    assert await versions.newest("a") is None
    await server.save("a", b"1")
    newest = await server.save("a", b"1")
    found = await versions.newest("a")
    assert found is not None
    assert (found.version_id, found.is_latest, found.is_unchanged, found.user) == (newest, True, True, "ada")


async def test_locating_shows_what_the_history_shows(versions, server):
    await server.save("old", b"1")
    await server.rename("old", "new", b"1")
    named = await server.save("new", b"2")
    await server.save("new", b"2")
    await versions.label("new", named, name="n")
    shown = (await versions.history("new")).versions
    assert [await versions.locate("new", one.version_id) for one in shown[:2]] == list(shown[:2])
    assert (await versions.locate("new", shown[3].version_id)) == shown[3]
    assert (await versions.locate("new", shown[3].version_id)).path == "old"


async def test_a_version_under_the_paths_own_name_is_located_without_reading_the_history(versions, server, store):
    wanted = await server.save("a")
    for _ in range(50):
        await server.save("a")
    store.requests.clear()
    await versions.locate("a", wanted)
    assert store.requests == {"HeadObject": 2, "ListObjectVersions": 1, "GetObject": 1}


async def test_a_version_under_an_earlier_name_is_located_with_few_heads(versions, server, store):
    wanted = await server.save("old")
    await server.rename("old", "new")
    for _ in range(300):
        await server.save("new")
    store.requests.clear()
    assert (await versions.locate("new", wanted)).path == "old"
    assert store.requests["HeadObject"] < 10


async def test_the_oldest_of_many_versions_under_an_earlier_name_is_located(versions, server, store):
    wanted = await server.save("old")
    for _ in range(1500):
        await server.save("old")
    await server.rename("old", "new")
    assert (await versions.locate("new", wanted)).version_id == wanted


async def test_a_version_before_a_rename_onto_an_old_name_is_located(versions, server):
    await server.save("b")
    wanted = await server.save("a")
    await server.rename("a", "b")
    assert (await versions.locate("b", wanted)).path == "a"


@pytest.mark.parametrize("is_foreign", [True, False])
async def test_a_wrong_version_id_costs_few_requests(versions, server, store, is_foreign):
    for number in range(400):
        await (put_foreign(store, "many", b"%d" % number) if is_foreign else server.save("many"))
    store.requests.clear()
    with pytest.raises(ObjectMissing):
        await versions.locate("many", "nonsense")
    assert sum(store.requests.values()) <= 5


async def test_a_wrong_version_id_costs_few_requests_under_two_names_too(versions, server, store):
    for _ in range(400):
        await server.save("old")
    await server.rename("old", "new")
    for _ in range(400):
        await server.save("new")
    store.requests.clear()
    with pytest.raises(ObjectMissing):
        await versions.locate("new", "nonsense")
    assert sum(store.requests.values()) <= 10


async def test_a_version_behind_a_rename_amid_many_is_located_once_it_was_shown(versions, server):
    for _ in range(150):
        await server.save("b")
    wanted = await server.save("a")
    await server.rename("a", "b")
    for _ in range(10):
        await server.save("b")
    await versions.history("b")
    assert (await versions.locate("b", wanted)).path == "a"


async def test_only_what_the_history_shows_is_located(versions, server):
    others = [await server.save("Untitled.ipynb", reason="new"), await server.save("Untitled.ipynb")]
    await server.save("Untitled.ipynb", reason="new")
    await server.rename("Untitled.ipynb", "two.ipynb")
    others.append(await server.save("Untitled.ipynb"))
    for details in (True, False):
        assert len(await whole(versions, "two.ipynb", details=details)) == 2
    for other in others:
        with pytest.raises(ObjectMissing):
            await versions.locate("two.ipynb", other)


@pytest.mark.parametrize("version_id", ["v99999999", "nonsense"])
async def test_a_version_that_is_nowhere_is_named(versions, server, version_id):
    await server.save("a")
    with pytest.raises(ObjectMissing, match=version_id) as caught:
        await versions.locate("a", version_id)
    assert caught.value.hint


async def test_a_delete_marker_is_no_version_to_locate(versions, server, store):
    await server.save("a")
    store.delete("workspace/a")
    (marker, _) = (await versions.history("a")).versions
    with pytest.raises(ObjectMissing):
        await versions.locate("a", marker.version_id)
    with pytest.raises(ObjectMissing):
        async with versions.open(marker):
            pass


async def test_locating_needs_a_version_id(versions):
    with pytest.raises(InvalidRequest):
        await versions.locate("a", "")


async def test_a_version_is_read_as_it_was_saved(versions, server):
    wanted = await server.save("a", b"x" * 100_000)
    await server.save("a", b"other")
    version = await versions.locate("a", wanted)
    assert await versions.read(version, limit=100_000) == b"x" * 100_000
    async with versions.open(version) as body:
        assert sum([len(chunk) async for chunk in body.chunks]) == 100_000
    with pytest.raises(ContentTooLarge, match="100,000"):
        await versions.read(version, limit=99_999)


async def test_altered_bytes_are_not_handed_out(versions, server, store):
    wanted = await server.save("a", b"right")
    history = store._keys["workspace/a"]
    history[0] = replace(history[0], content=b"wrong")
    (undetailed,) = (await versions.history("a", details=False)).versions
    for version in (await versions.locate("a", wanted), undetailed):
        with pytest.raises(IntegrityError):
            await versions.read(version, limit=100)


# -- labels --------------------------------------------------------------------------------------------------------


async def test_a_label_is_shown_in_the_history_and_stays_with_its_version(versions, server):
    first, second = await server.save("a"), await server.save("a")
    labelled = await versions.label("a", first, name="good", note="before the change", by="bob")
    assert labelled.label is not None
    assert (labelled.label.name, labelled.label.note, labelled.label.pinned) == ("good", "before the change", False)
    assert labelled.label.by == "bob"
    assert datetime.fromisoformat(labelled.label.at).tzinfo is not None
    found = {one.version_id: one.label for one in (await versions.history("a")).versions}
    assert found == {first: labelled.label, second: None}


async def test_none_leaves_and_an_empty_text_removes(versions, server):
    version = await server.save("a")
    await versions.label("a", version, name="n", note="t", pinned=True)
    left = (await versions.label("a", version, name="")).label
    assert left is not None
    assert (left.name, left.note, left.pinned) == ("", "t", True)
    await versions.label("a", version, note="")
    assert (await versions.label("a", version, pinned=False)).label is None
    assert (await versions.history("a")).versions[0].label is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "no change"),
        ({"name": "x" * 201}, "201"),
        ({"note": "x" * 4001}, "4001"),
        ({"name": "latest"}, "always means"),
        ({"name": "~12"}, "always means"),
        ({"name": "Latest~1"}, "always means"),
    ],
)
async def test_a_change_that_makes_no_sense_is_refused(versions, server, change, message):
    version = await server.save("a")
    with pytest.raises(InvalidRequest, match=message):
        await versions.label("a", version, **change)
    await versions.label("a", version, name="x" * 200, note="x" * 4000)


async def test_a_label_needs_its_version(versions, server):
    await server.save("a")
    with pytest.raises(ObjectMissing):
        await versions.label("a", "nonsense", name="n")


async def test_labels_of_earlier_names_are_kept_under_them(versions, server, store):
    old = await server.save("old")
    await versions.label("old", old, name="before")
    await server.rename("old", "new")
    assert [one.label and one.label.name for one in (await versions.history("new")).versions] == [None, "before"]
    await versions.label("new", old, name="after")
    assert [one.label and one.label.name for one in (await versions.history("old")).versions] == ["after"]
    assert await LabelBook(store, PREFIX).read("new") == {}


async def test_a_pin_is_a_tag_beside_the_others(versions, server, store):
    version = await server.save("a")
    await store.set_tags("workspace/a", {"team": "x"}, version)
    await versions.label("a", version, pinned=True)
    assert await store.get_tags("workspace/a", version) == {"team": "x", PIN_TAG: "true"}
    await versions.label("a", version, name="n")
    assert await store.get_tags("workspace/a", version) == {"team": "x", PIN_TAG: "true"}
    await versions.label("a", version, pinned=False)
    assert await store.get_tags("workspace/a", version) == {"team": "x", PIN_TAG: "false"}


async def test_the_pinned_versions_are_told_newest_first_with_details_and_labels(versions, server):
    saved = [await server.save("a") for _ in range(5)]
    for number in (3, 0, 4):
        await versions.label("a", saved[number], name=f"n{number}", pinned=True)
    await versions.label("a", saved[1], name="not pinned")
    await versions.label("a", saved[4], pinned=False)
    page = await versions.pinned("/a/")
    assert (page.path, page.key, page.cursor, ids(page)) == ("a", "workspace/a", None, [saved[3], saved[0]])
    shown = {one.version_id: one for one in (await versions.history("a")).versions}
    assert list(page.versions) == [shown[saved[3]], shown[saved[0]]]
    assert await versions.pinned("never") == History("never", "workspace/never")


async def test_pins_among_thousands_of_versions_cost_a_listing_and_a_head_for_each(server, store):
    saved = [await server.save("a") for _ in range(2100)]
    pinned = [saved[0], saved[5], saved[-1], saved[-7]]
    for version in pinned:
        await Versions(store, PREFIX).label("a", version, pinned=True)
    store.requests.clear()
    page = await Versions(store, PREFIX).pinned("a")
    assert ids(page) == [saved[-1], saved[-7], saved[5], saved[0]]
    assert all(one.is_detailed and one.user == "ada" for one in page.versions)
    assert page.versions[0].is_latest
    # Beside the four, the last row of the page is looked at: it may be a rename.
    assert store.requests == {"GetObject": 1, "ListObjectVersions": 1, "HeadObject": 5}


async def test_pinned_versions_that_are_gone_are_left_out(versions, server, store):
    saved = [await server.save("a") for _ in range(1005)]
    for version in (saved[0], saved[1], saved[-1], saved[-2]):
        await versions.label("a", version, pinned=True)
    # As a lifecycle rule removes them.
    store._keys["workspace/a"] = [
        one for one in store._keys["workspace/a"] if one.version_id not in (saved[0], saved[-1])
    ]
    assert ids(await Versions(store, PREFIX).pinned("a")) == [saved[-2], saved[1]]


async def test_pins_of_earlier_names_are_told_where_the_history_shows_them(versions, server):
    others = await server.save("old", reason="new")
    await server.rename("old", "elsewhere")
    mine = await server.save("old", reason="new")
    renamed = await server.rename("old", "middle")
    await server.rename("middle", "new")
    newest = await server.save("new")
    later = await server.save("old", reason="new")
    for path, version in (("old", others), ("old", mine), ("middle", renamed), ("new", newest), ("old", later)):
        await versions.label(path, version, pinned=True)
    page = await versions.pinned("new")
    assert [(one.path, one.version_id) for one in page.versions] == [
        ("new", newest),
        ("middle", renamed),
        ("old", mine),
    ]
    assert all(one.is_detailed and one.label is not None and one.label.pinned for one in page.versions)


async def test_earlier_names_without_pins_are_not_read(versions, server, store):
    for _ in range(30):
        await server.save("old")
    await server.rename("old", "new")
    store.requests.clear()
    assert ids(await versions.pinned("new")) == []
    assert store.requests == {"GetObject": 2, "ListObjectVersions": 2, "HeadObject": 31}
    await versions.pinned("new")
    assert store.requests["HeadObject"] == 31, "details are remembered"


async def test_of_many_pins_those_that_were_set_last_are_told(versions, server, store, monkeypatch):
    monkeypatch.setattr("bookstore.versions.MAX_PINNED", 2)
    saved = [await server.save("a") for _ in range(4)]
    seconds = itertools.count()
    book = LabelBook(store, PREFIX, now=lambda: START + timedelta(seconds=next(seconds)))
    for number in (3, 0, 2):
        await book.change("a", "workspace/a", saved[number], labels.LabelChange(pinned=True))
    assert ids(await versions.pinned("a")) == [saved[2], saved[0]]


@pytest.mark.parametrize("pinned", [True, False])
async def test_whatever_fails_while_pinning_the_tag_spares_rather_too_much(versions, server, store, pinned):
    version = await server.save("a")
    await versions.label("a", version, pinned=not pinned)
    for operation in ("PutObjectTagging", "PutObject"):
        store.faults = lambda asked, key, operation=operation: StoreUnreachable("down") if asked == operation else None
        with pytest.raises(StoreUnreachable):
            await versions.label("a", version, pinned=pinned)
        store.faults = None
        (shown,) = (await versions.history("a")).versions
        is_noted = shown.label is not None and shown.label.pinned
        assert not is_noted or (await store.get_tags("workspace/a", version))[PIN_TAG] == "true"


async def test_two_writers_at_the_same_time_both_survive(store, server, monkeypatch):
    monkeypatch.setattr(labels, "_PAUSE", 0)
    saved = [await server.save("a") for _ in range(8)]

    class Waiting(MemoryStore):
        """Lets others in between the reading and the writing of labels."""

        async def put(self, *args: Any, **options: Any) -> Any:
            await asyncio.sleep(0)
            return await store.put(*args, **options)

    waiting = Waiting()
    waiting._keys = store._keys
    writers = [Versions(waiting, PREFIX) for _ in saved]
    await asyncio.gather(
        *(one.label("a", version, name=version) for one, version in zip(writers, saved, strict=True)),
        *(one.label("a", saved[0], note="n") for one in writers[:1]),
    )
    shown = (await Versions(store, PREFIX).history("a")).versions
    assert {one.version_id: one.label.name for one in shown if one.label} == {one: one for one in saved}
    first = shown[-1].label
    assert first is not None
    assert (first.name, first.note) == (saved[0], "n")
    assert store.requests["PutObject"] > 8 + 9, "otherwise nobody met"


async def test_a_race_without_end_ends(versions, server, store, monkeypatch):
    monkeypatch.setattr(labels, "_PAUSE", 0)
    version = await server.save("a")
    store.faults = lambda asked, key: PreconditionFailed("first") if asked == "PutObject" else None
    with pytest.raises(PreconditionFailed, match="faster"):
        await versions.label("a", version, name="n")


async def _put_labels(store: MemoryStore, document: Any, path: str = "a") -> None:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    await store.put(LabelBook(store, PREFIX).key(path), body, sha256=hashlib.sha256(body).hexdigest())


async def _labels_document(store: MemoryStore, path: str = "a") -> Any:
    async with store.get(LabelBook(store, PREFIX).key(path)) as body:
        return json.loads(b"".join([chunk async for chunk in body.chunks]))


async def test_fields_that_are_not_known_are_kept(versions, server, store):
    version = await server.save("a")
    entry = {"name": "n", "colour": "red"}
    await _put_labels(store, {"format": 1, "path": "a", "more": [1], "labels": {version: entry, "v0": {"note": "x"}}})
    await versions.label("a", version, name="")
    document = await _labels_document(store)
    assert document["more"] == [1]
    assert document["labels"]["v0"] == {"note": "x"}
    assert document["labels"][version]["colour"] == "red"


@pytest.mark.parametrize(
    "document",
    [
        {"format": 2, "path": "a", "labels": {}},
        {"format": 1, "path": "b", "labels": {}},
        {"format": 1, "path": "a", "labels": []},
        {"format": 1, "path": "a", "labels": {"v": 1}},
        {"path": "a", "labels": {}},
        [],
        b"{",
        b"\xff",
    ],
)
async def test_labels_that_are_not_understood_are_never_written_over(versions, server, store, document, caplog):
    version = await server.save("a")
    await _put_labels(store, document)
    with pytest.raises(StorageError, match="reading the labels of 'a'") as caught:
        await versions.label("a", version, name="n")
    assert caught.value.hint
    with caplog.at_level(logging.WARNING):
        assert len((await versions.history("a")).versions) == 1
    assert "reading the labels of 'a'" in caplog.text
    assert len((await store.list_versions(LabelBook(store, PREFIX).key("a"))).versions) == 1


async def test_a_store_that_hides_whether_labels_exist_shows_the_history_all_the_same(versions, server, store):
    await server.save("a")
    store.faults = lambda asked, key: AccessDenied("403") if asked == "GetObject" else None
    assert len((await versions.history("a")).versions) == 1


async def test_labels_of_a_path_with_a_long_key_have_a_shorter_one(versions, server, store):
    path = "d/" + "x" * 1010
    version = await server.save(path)
    assert len(LabelBook(store, PREFIX).key(path)) < 120
    assert (await versions.label(path, version, name="n")).label is not None
    (shown,) = (await versions.history(path)).versions
    assert shown.label is not None
    assert shown.label.name == "n"


# -- real servers --------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _real_store(bucket: Any) -> AsyncIterator[S3Store]:
    store = S3Store(
        S3Options(
            bucket=bucket.name,
            endpoint_url=bucket.server.endpoint_url,
            access_key_id=bucket.server.access_key_id,
            secret_access_key=bucket.server.secret_access_key,
        )
    )
    try:
        yield store
    finally:
        await store.aclose()


@pytest.mark.parametrize("fixture", ["bucket", "durable_bucket"])
async def test_a_real_server_tells_the_same(request, fixture):
    bucket = request.getfixturevalue(fixture)
    async with _real_store(bucket) as store:
        server, versions = Server(store), Versions(store, PREFIX)
        server.now = datetime.now(timezone.utc).timestamp()
        expected = [await server.save("old.ipynb") for _ in range(5)]
        expected.append(await server.rename("old.ipynb", "Ä new+1.ipynb"))
        await server.save("old.ipynb")
        expected += [await server.save("Ä new+1.ipynb") for _ in range(3)]
        for limit in (1, 2, 4, 50):
            for details in (True, False):
                found = await whole(versions, "Ä new+1.ipynb", limit, details=details)
                assert [one.version_id for one in found] == expected[::-1]
        first = await versions.label("Ä new+1.ipynb", expected[0], name="ß", pinned=True, by="ada")
        assert (first.path, first.label and first.label.name) == ("old.ipynb", "ß")
        assert await store.get_tags("workspace/old.ipynb", expected[0]) == {PIN_TAG: "true"}
        assert (await versions.history("Ä new+1.ipynb")).versions[-1] == first
        await versions.label("Ä new+1.ipynb", expected[0], name="again")
        with pytest.raises(ObjectMissing):
            await versions.locate("Ä new+1.ipynb", "nonsense")


@pytest.mark.parametrize("fixture", ["bucket", "durable_bucket"])
async def test_a_real_server_with_longer_keys_beside_drops_no_version(request, fixture):
    bucket = request.getfixturevalue(fixture)
    async with _real_store(bucket) as store:
        server = Server(store)
        expected = [await server.save("a") for _ in range(7)]
        for _ in range(6):
            await server.save("a.ipynb")
        for limit in (1, 2, 3, 6, 7, 50):
            found = await whole(Versions(store, PREFIX), "a", limit, details=False)
            assert [one.version_id for one in found] == expected[::-1]


@pytest.fixture
def archiver(tmp_path, monkeypatch):
    # Nothing listens there: what is taken waits.
    monkeypatch.setenv("JPYNB_S3_BUCKET", "nowhere")
    monkeypatch.setenv("JPYNB_S3_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    return BookstoreContentsArchiver(root_dir=str(tmp_path))


# Of the oldest Jupyter Server, about its own schemas.
@pytest.mark.filterwarnings("ignore:The `version` property of an event schema must be a string")
async def test_a_file_that_is_saved_again_after_it_was_deleted_says_what_it_goes_on_from(archiver):
    service, text = service_of(archiver), {"type": "file", "format": "text", "content": "{}"}
    service.settings.drain_timeout = 0.0

    def taken() -> Provenance:
        provenances = [parcel.entry.provenance for parcel in service.shipper.parcels()]
        return max(provenances, key=lambda one: one.sequence)

    try:
        await archiver.new(dict(text), "w.ipynb")
        first = taken()
        assert (first.reason, first.previous_record) == ("new", "")
        await archiver.delete("w.ipynb")
        await archiver.new(dict(text), "w.ipynb")
        again = taken()
        assert (again.reason, again.previous_record) == ("new", first.record_id)
        await archiver.delete("w.ipynb")
        await archiver.new({"type": "notebook"}, "w.ipynb")
        empty = taken()
        assert (empty.reason, empty.previous_record) == ("new", ""), "without a content it is another notebook"
        await archiver.rename("w.ipynb", "v.ipynb")
        renamed = taken()
        assert (renamed.reason, renamed.previous_record) == ("rename", empty.record_id)
        await archiver.new(dict(text), "w.ipynb")
        other = taken()
        assert (other.reason, other.previous_record) == ("new", ""), "the one before was renamed away"
    finally:
        await service.stop()


def test_a_label_travels_as_json():
    label = Label("n", "t", True, "b", "2026-01-01T00:00:00+00:00")
    version = Version("a", "workspace/a", "v", 1, "e", "2026-01-01T00:00:00+00:00", label=label)
    assert Version.from_dict(json.loads(json.dumps(version.to_dict()))) == version
