"""What every store must do: one suite over the store in memory and over S3Store on each real server."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from bookstore.errors import (
    BucketMissing,
    CredentialsRejected,
    IntegrityError,
    ObjectMissing,
    ObjectRefused,
    PreconditionFailed,
)
from bookstore.storage.base import Versioning

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bookstore.storage.base import ObjectPage, ObjectStore, ObjectVersion, VersionPage

ODD_KEYS = [
    "work/plain.ipynb",
    "work/with space.ipynb",
    "work/two  spaces.ipynb",
    "work/plus+plus.ipynb",
    "work/a+b c.ipynb",
    "work/100%.ipynb",
    "work/%20.ipynb",
    "work/50%25.ipynb",
    "work/quote'\"quote.ipynb",
    "work/<tag>&amp;.ipynb",
    "work/question?mark#hash=1&x.ipynb",
    "work/comma,semi;colon:at@dollar$.ipynb",
    "work/[brackets]{braces}(parens)!~*.ipynb",
    "work/日本語 ノート.ipynb",
    "work/ümläut-é.ipynb",
    "work/emoji 🧪.ipynb",
    "work/.hidden",
    "work/trailing.",
]


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def rows(page: VersionPage, key: str) -> list[ObjectVersion]:
    return [row for row in page.versions if row.key == key]


async def pages(bucket: Any, prefix: str, limit: int) -> list[VersionPage]:
    found = [await bucket.store.list_versions(prefix, limit=limit)]
    while found[-1].next_key_marker is not None:
        found.append(
            await bucket.store.list_versions(
                prefix,
                key_marker=found[-1].next_key_marker,
                version_id_marker=found[-1].next_version_id_marker,
                limit=limit,
            )
        )
        assert len(found) < 100, "paging does not end"
    return found


async def object_pages(bucket: Any, prefix: str, limit: int) -> list[ObjectPage]:
    found = [await bucket.store.list_objects(prefix, limit=limit)]
    while found[-1].next_after is not None:
        found.append(await bucket.store.list_objects(prefix, after=found[-1].next_after, limit=limit))
        assert len(found) < 100, "paging does not end"
    return found


def keys(found: list[ObjectPage]) -> list[str]:
    return [row.key for page in found for row in page.objects]


async def call(store: ObjectStore, operation: str, key: str, version_id: str | None = None) -> None:
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "put": lambda: store.put(key, b"x", sha256=sha256(b"x")),
        "get": lambda: store.get(key, version_id).__aenter__(),
        "head": lambda: store.head(key, version_id),
        "list": lambda: store.list_versions(key),
        "list_objects": lambda: store.list_objects(key),
        "hide": lambda: store.hide(key),
        "get_tags": lambda: store.get_tags(key, version_id),
        "set_tags": lambda: store.set_tags(key, {"a": "b"}, version_id),
        "copy": lambda: store.copy(key, "copy", source_version_id=version_id),
        "probe": lambda: store.probe(),
    }
    await calls[operation]()


async def test_gives_back_what_was_put(bucket: Any) -> None:
    receipt = await bucket.put("work/a.ipynb", b"one")
    assert receipt.key == "work/a.ipynb"
    assert receipt.size == 3
    assert receipt.verified
    assert receipt.version_id not in (None, "null", "")
    assert await bucket.read("work/a.ipynb") == b"one"
    assert await bucket.read("work/a.ipynb", receipt.version_id) == b"one"


async def test_every_put_makes_a_version_that_stays_readable(bucket: Any) -> None:
    first = await bucket.put("a", b"one")
    second = await bucket.put("a", b"two")
    assert first.version_id != second.version_id
    assert await bucket.read("a") == b"two"
    assert await bucket.read("a", first.version_id) == b"one"
    assert await bucket.read("a", second.version_id) == b"two"


async def test_equal_bytes_make_two_versions(bucket: Any) -> None:
    first = await bucket.put("a", b"same")
    second = await bucket.put("a", b"same")
    assert first.version_id != second.version_id
    assert first.etag == second.etag


async def test_takes_a_memoryview_and_an_empty_body(bucket: Any) -> None:
    body = memoryview(b"..content..")[2:-2]
    await bucket.store.put("view", body, sha256=sha256(b"content"))
    await bucket.store.put("empty", b"", sha256=sha256(b""))
    assert await bucket.read("view") == b"content"
    assert await bucket.read("empty") == b""
    assert (await bucket.store.head("empty")).size == 0


async def test_streams_megabytes_byte_for_byte(bucket: Any) -> None:
    body = bytes(range(256)) * 20_000 + b"odd end"
    receipt = await bucket.put("large", body)
    assert receipt.size == len(body)
    assert receipt.verified
    async with bucket.store.get("large") as opened:
        assert opened.info.size == len(body)
        chunks = [chunk async for chunk in opened.chunks]
    assert len(chunks) > 1
    assert b"".join(chunks) == body


async def test_a_reader_may_leave_in_the_middle(bucket: Any) -> None:
    await bucket.put("large", bytes(5_000_000))
    for _ in range(40):  # more than the connection pool has places
        async with bucket.store.get("large") as opened:
            async for chunk in opened.chunks:
                assert chunk
                break
    assert len(await bucket.read("large")) == 5_000_000


async def test_many_calls_at_once(bucket: Any) -> None:
    receipts = await asyncio.gather(*(bucket.put(f"many/{number}", b"%d" % number) for number in range(60)))
    assert len({receipt.version_id for receipt in receipts}) == 60
    bodies = await asyncio.gather(*(bucket.read(f"many/{number}") for number in range(60)))
    assert bodies == [b"%d" % number for number in range(60)]


async def test_head_tells_what_was_put(bucket: Any) -> None:
    before = datetime.now(timezone.utc) - timedelta(seconds=5)
    body = b'{"cells": []}'
    receipt = await bucket.store.put(
        "a.ipynb",
        body,
        sha256=sha256(body),
        metadata={"bookstore-user": "ada", "bookstore-sha256": sha256(body), "UPPER": "Value, with = signs"},
        content_type="application/x-ipynb+json",
    )
    info = await bucket.store.head("a.ipynb")
    assert info == await bucket.store.head("a.ipynb", receipt.version_id)
    assert info.key == "a.ipynb"
    assert info.version_id == receipt.version_id
    assert info.etag == receipt.etag
    assert '"' not in info.etag
    assert info.size == len(body)
    assert info.content_type == "application/x-ipynb+json"
    assert info.metadata == {
        "bookstore-user": "ada",
        "bookstore-sha256": sha256(body),
        "upper": "Value, with = signs",
    }
    assert before < info.last_modified < datetime.now(timezone.utc) + timedelta(seconds=5)
    if bucket.backend.keeps_sha256:
        assert info.sha256 == sha256(body)


async def test_head_of_an_older_version(bucket: Any) -> None:
    first = await bucket.put("a", b"one", metadata={"n": "1"})
    await bucket.put("a", b"three", metadata={"n": "2"})
    info = await bucket.store.head("a", first.version_id)
    assert (info.version_id, info.size, info.metadata) == (first.version_id, 3, {"n": "1"})


async def test_a_reader_is_told_what_head_tells(bucket: Any) -> None:
    await bucket.put("a", b"one", metadata={"n": "1"})
    async with bucket.store.get("a") as body:
        assert body.info == await bucket.store.head("a")


@pytest.mark.parametrize("operation", ["head", "get", "get_tags", "set_tags", "copy"])
@pytest.mark.parametrize("what", ["key", "version"])
async def test_a_missing_key_or_version_is_named(bucket: Any, operation: str, what: str) -> None:
    elsewhere = await bucket.put("elsewhere", b"x")
    await bucket.put("there", b"x")
    key, version = ("missing", None) if what == "key" else ("there", elsewhere.version_id)
    with pytest.raises(ObjectMissing, match=key):
        await call(bucket.store, operation, key, version)


async def test_a_delete_marker_hides_the_key_and_keeps_its_versions(bucket: Any) -> None:
    kept = await bucket.put("a", b"one")
    bucket.delete("a")
    with pytest.raises(ObjectMissing):
        await bucket.store.head("a")
    with pytest.raises(ObjectMissing):
        await bucket.read("a")
    assert await bucket.read("a", kept.version_id) == b"one"
    marker, version = (await bucket.store.list_versions("a")).versions
    assert marker.is_delete_marker
    assert marker.is_latest
    assert (marker.size, marker.etag) == (0, "")
    assert not version.is_delete_marker
    assert not version.is_latest
    assert version.version_id == kept.version_id
    with pytest.raises(ObjectMissing):
        await bucket.store.head("a", marker.version_id)
    with pytest.raises(ObjectMissing):
        await bucket.read("a", marker.version_id)


async def test_lists_the_newest_version_first(bucket: Any) -> None:
    receipts = [await bucket.put("a", b"%d" % number) for number in range(5)]
    listed = (await bucket.store.list_versions("a")).versions
    assert [row.version_id for row in listed] == [receipt.version_id for receipt in reversed(receipts)]
    assert [row.is_latest for row in listed] == [True, False, False, False, False]
    assert [row.etag for row in listed] == [receipt.etag for receipt in reversed(receipts)]
    assert all(row.key == "a" and row.size == 1 for row in listed)
    assert all(row.last_modified.tzinfo is not None for row in listed)


async def test_lists_delete_markers_where_they_belong(bucket: Any) -> None:
    expected: list[str | None] = []
    for number in range(3):
        expected.append((await bucket.put("a", b"%d" % number)).version_id)
        await bucket.tick()
        bucket.delete("a")
        expected.append(None)
        await bucket.tick()
    listed = (await bucket.store.list_versions("a")).versions
    assert [None if row.is_delete_marker else row.version_id for row in listed] == expected[::-1]
    assert [row.is_latest for row in listed] == [True, False, False, False, False, False]


async def test_lists_keys_in_order_and_by_prefix(bucket: Any) -> None:
    for key in ("work/b", "work/a", "work/ü", "work/B", "other/a"):
        await bucket.put(key, b"1")
        await bucket.put(key, b"2")
    listed = (await bucket.store.list_versions("work/")).versions
    assert [row.key for row in listed[::2]] == ["work/B", "work/a", "work/b", "work/ü"]
    assert [row.is_latest for row in listed] == [True, False] * 4
    assert (await bucket.store.list_versions("nothing/")).versions == ()


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
async def test_pages_hold_every_row_once_and_in_order(bucket: Any, limit: int) -> None:
    for key in ("d/a", "d/b", "d/c"):
        for number in range(3):
            await bucket.put(key, b"%d" % number)
    bucket.delete("d/b")
    whole = (await bucket.store.list_versions("d/")).versions
    assert len(whole) == 10
    found = await pages(bucket, "d/", limit)
    assert all(len(page.versions) <= limit for page in found)
    in_pages = [(row.key, row.version_id) for page in found for row in page.versions]
    assert sorted(in_pages) == sorted((row.key, row.version_id) for row in whole)
    assert [key for key, _ in in_pages] == [row.key for row in whole]
    for key in ("d/a", "d/c"):
        assert [name for name in in_pages if name[0] == key] == [
            (row.key, row.version_id) for row in whole if row.key == key
        ]


async def test_pages_over_the_history_of_one_key(bucket: Any) -> None:
    receipts = [await bucket.put("one.ipynb", b"%d" % number) for number in range(7)]
    found = await pages(bucket, "one.ipynb", 3)
    listed = [row.version_id for page in found for row in page.versions]
    assert listed == [receipt.version_id for receipt in reversed(receipts)]


@pytest.mark.parametrize("limit", [1, 3, 1000])
async def test_the_history_of_a_key_is_whole_beside_longer_keys(bucket: Any, limit: int) -> None:
    expected: list[str] = []
    for number in range(4):
        for key in ("d/a", "d/a.bak", "d/a-2", "d/a b", "d/a+", "d/ab", "d/a/b", "d/a.zip/c"):
            receipt = await bucket.put(key, b"%d" % number)
            if key == "d/a":
                expected.insert(0, receipt.version_id)
    found = await pages(bucket, "d/a", limit)
    listed = [row for page in found for row in page.versions]
    assert [row.version_id for row in listed[:4]] == expected
    assert [row.is_latest for row in listed[:4]] == [True, False, False, False]
    assert all(row.key != "d/a" for row in listed[4:])
    assert all(len(page.versions) <= limit for page in found)


async def test_a_prefix_finds_no_shorter_key(bucket: Any) -> None:
    for _ in range(3):
        await bucket.put("d/a", b"x")
    kept = await bucket.put("d/a.", b"x")
    assert [row.version_id for row in (await bucket.store.list_versions("d/a.", limit=2)).versions] == [kept.version_id]
    assert (await bucket.store.list_versions("d/a.v", limit=2)).versions == ()


async def test_a_delimiter_folds_folders(bucket: Any) -> None:
    for key in ("w/a", "w/a", "w/sub/x", "w/sub/y/z", "w/sub-1/x", "w/ü +%/x", "other"):
        await bucket.put(key, b"x")
    page = await bucket.store.list_versions("w/", delimiter="/")
    assert [row.key for row in page.versions] == ["w/a", "w/a"]
    assert page.folders == ("w/sub-1/", "w/sub/", "w/ü +%/")
    assert page.next_key_marker is None
    page = await bucket.store.list_versions("w/sub/", delimiter="/")
    assert ([row.key for row in page.versions], page.folders) == (["w/sub/x"], ("w/sub/y/",))


async def test_lists_the_current_objects(bucket: Any) -> None:
    before = datetime.now(timezone.utc) - timedelta(seconds=5)
    await bucket.put("work/a", b"one")
    newest = await bucket.put("work/a", b"second")
    await bucket.put("work/b/c", b"x")
    await bucket.put("other/a", b"x")
    page = await bucket.store.list_objects("work/")
    assert page.next_after is None
    assert [row.key for row in page.objects] == ["work/a", "work/b/c"]
    row = page.objects[0]
    assert (row.size, row.etag) == (6, newest.etag)
    assert before < row.last_modified < datetime.now(timezone.utc) + timedelta(seconds=5)
    assert (await bucket.store.list_objects("nothing/")).objects == ()


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 1000])
async def test_pages_of_objects_hold_every_key_once(bucket: Any, limit: int) -> None:
    expected = [*ODD_KEYS, "work/sub/a", "work/sub-1/a+b", "work/sub.2/a b", "work/a", "work/a-2", "work/a.bak"]
    for key in expected:
        await bucket.put(key, b"1")
        await bucket.put(key, b"2")
    for key in ("work-2/a", "work.old/a", "work 3/a", "work.ipynb"):
        await bucket.put(key, b"x")
    found = await object_pages(bucket, "work/", limit)
    assert sorted(keys(found)) == sorted(expected)
    assert all(len(page.objects) <= limit for page in found)


@pytest.mark.parametrize("key", ODD_KEYS)
async def test_odd_keys_are_listed_alone_and_hidden(bucket: Any, key: str) -> None:
    await bucket.put(key, b"x")
    assert keys(await object_pages(bucket, key, 10)) == [key]
    assert keys(await object_pages(bucket, "work/", 10)) == [key]
    await bucket.store.hide(key)
    assert keys(await object_pages(bucket, "work/", 10)) == []
    assert [row.key for row in (await bucket.store.list_versions(key)).versions] == [key, key]


@pytest.mark.parametrize("folder", ["a b/", "a+b/", "100%/", "%20/", "日本/"])
@pytest.mark.parametrize("name", ["x", "a b", "a+b", "a b+c%"])
async def test_listed_keys_are_right_whatever_else_is_on_the_page(bucket: Any, folder: str, name: str) -> None:
    await bucket.put(folder + name, b"x")
    assert keys(await object_pages(bucket, folder, 10)) == [folder + name]
    assert keys(await object_pages(bucket, "", 10)) == [folder + name]


async def test_a_listing_begins_behind_any_key(bucket: Any) -> None:
    for key in ("w/a", "w/b", "w/c"):
        await bucket.put(key, b"x")
    assert keys([await bucket.store.list_objects("w/", after="w/aa")]) == ["w/b", "w/c"]
    assert keys([await bucket.store.list_objects("w/", after="w/z")]) == []


async def test_hidden_keys_are_not_listed_and_keep_their_versions(bucket: Any) -> None:
    kept = await bucket.put("w/a", b"one")
    await bucket.put("w/b", b"x")
    await bucket.tick()
    marker = await bucket.store.hide("w/a")
    assert marker not in (None, "", "null", kept.version_id)
    assert keys(await object_pages(bucket, "w/", 1)) == ["w/b"]
    with pytest.raises(ObjectMissing):
        await bucket.store.head("w/a")
    assert await bucket.read("w/a", kept.version_id) == b"one"
    listed = rows(await bucket.store.list_versions("w/a"), "w/a")
    assert [(row.version_id, row.is_delete_marker) for row in listed] == [(marker, True), (kept.version_id, False)]


async def test_a_hidden_key_can_be_written_again(bucket: Any) -> None:
    await bucket.put("w/a", b"one", if_none_match=True)
    await bucket.store.hide("w/a")
    again = await bucket.put("w/a", b"two", if_none_match=True)
    (row,) = (await bucket.store.list_objects("w/")).objects
    assert (row.key, row.etag) == ("w/a", again.etag)
    assert await bucket.read("w/a") == b"two"


async def test_hiding_a_missing_key_adds_a_marker_all_the_same(bucket: Any) -> None:
    if not bucket.backend.marks_missing_keys:
        pytest.skip("moto leaves a key alone that never was")
    marker = await bucket.store.hide("w/missing")
    listed = (await bucket.store.list_versions("w/missing")).versions
    assert [(row.version_id, row.is_delete_marker) for row in listed] == [(marker, True)]
    assert (await bucket.store.list_objects("w/")).objects == ()


async def test_hiding_without_versioning_names_no_marker(unversioned: Any) -> None:
    await unversioned.put("a", b"one")
    assert await unversioned.store.hide("a") is None
    assert (await unversioned.store.list_versions("a")).versions == ()


async def test_if_none_match_writes_only_the_first_version(bucket: Any) -> None:
    first = await bucket.put("a", b"one", if_none_match=True)
    with pytest.raises(PreconditionFailed):
        await bucket.put("a", b"two", if_none_match=True)
    assert await bucket.read("a") == b"one"
    assert [row.version_id for row in (await bucket.store.list_versions("a")).versions] == [first.version_id]


async def test_if_match_writes_only_over_that_etag(bucket: Any) -> None:
    first = await bucket.put("a", b"one")
    second = await bucket.put("a", b"two", if_match=first.etag)
    with pytest.raises(PreconditionFailed):
        await bucket.put("a", b"three", if_match=first.etag)
    assert await bucket.read("a") == b"two"
    assert (await bucket.store.head("a")).version_id == second.version_id


async def test_if_match_without_an_object_fails(bucket: Any) -> None:
    with pytest.raises(PreconditionFailed):
        await bucket.put("a", b"one", if_match="0" * 32)


async def test_after_a_delete_marker_only_if_none_match_writes(bucket: Any) -> None:
    first = await bucket.put("a", b"one")
    bucket.delete("a")
    with pytest.raises(PreconditionFailed):
        await bucket.put("a", b"two", if_match=first.etag)
    second = await bucket.put("a", b"two", if_none_match=True)
    assert await bucket.read("a") == b"two"
    assert await bucket.read("a", first.version_id) == b"one"
    assert second.version_id != first.version_id


async def test_refuses_bytes_with_another_checksum(bucket: Any) -> None:
    if not bucket.backend.refuses_wrong_checksum:
        pytest.skip("moto does not look at the checksum")
    for body in (b"sent", b"sent" * 500_000):
        with pytest.raises(IntegrityError):
            await bucket.store.put("a", body, sha256=sha256(b"meant"))
    with pytest.raises(ObjectMissing):
        await bucket.store.head("a")


async def test_refuses_what_can_never_be_stored(bucket: Any) -> None:
    with pytest.raises(ObjectRefused):
        await bucket.put("a", b"x", metadata={"user": "Ångström"})
    if bucket.backend.refuses_long_keys:
        with pytest.raises(ObjectRefused):
            await bucket.put("k" * 1025, b"x")


async def test_takes_a_key_of_the_longest_size(bucket: Any) -> None:
    key = "/".join(["d" * 200] * 5) + "/" + "ü" * 9 + "e"
    assert len(key.encode()) == 1024
    receipt = await bucket.put(key, b"x")
    assert [row.version_id for row in rows(await bucket.store.list_versions(key), key)] == [receipt.version_id]


@pytest.mark.parametrize("key", ODD_KEYS)
async def test_odd_keys_survive_every_operation(bucket: Any, key: str) -> None:
    first = await bucket.put(key, b"one")
    second = await bucket.put(key, b"two")
    assert await bucket.read(key, first.version_id) == b"one"
    assert (await bucket.store.head(key)).version_id == second.version_id
    listed = rows(await bucket.store.list_versions(key), key)
    assert [row.version_id for row in listed] == [second.version_id, first.version_id]
    copied = await bucket.store.copy(key, f"copies/{key}", source_version_id=first.version_id)
    assert await bucket.read(f"copies/{key}", copied.version_id) == b"one"
    await bucket.store.set_tags(key, {"pinned": "true"}, first.version_id)
    assert await bucket.store.get_tags(key, first.version_id) == {"pinned": "true"}


async def test_odd_keys_keep_apart_and_page_apart(bucket: Any) -> None:
    for key in ODD_KEYS:
        await bucket.put(key, key.encode())
    for key in ODD_KEYS:
        assert await bucket.read(key) == key.encode()
    found = await pages(bucket, "work/", 4)
    assert sorted(row.key for page in found for row in page.versions) == sorted(ODD_KEYS)


async def test_copies_a_version_with_its_metadata(bucket: Any) -> None:
    body = b"one" * 1000
    first = await bucket.store.put(
        "a", body, sha256=sha256(body), metadata={"n": "1"}, content_type="application/x-ipynb+json"
    )
    await bucket.put("a", b"two", metadata={"n": "2"})
    await bucket.put("b", b"before")
    receipt = await bucket.store.copy("a", "b", source_version_id=first.version_id)
    assert receipt.key == "b"
    assert receipt.size == len(body)
    assert receipt.verified
    info = await bucket.store.head("b")
    assert info.version_id == receipt.version_id
    assert info.etag == receipt.etag
    assert info.metadata == {"n": "1"}
    assert info.content_type == "application/x-ipynb+json"
    assert await bucket.read("b") == body
    assert len((await bucket.store.list_versions("b")).versions) == 2


async def test_copies_the_newest_version_unless_told_otherwise(bucket: Any) -> None:
    await bucket.put("a", b"one")
    await bucket.put("a", b"two")
    receipt = await bucket.store.copy("a", "b")
    assert await bucket.read("b", receipt.version_id) == b"two"


async def test_tags_belong_to_one_version(bucket: Any) -> None:
    first = await bucket.put("a", b"one")
    second = await bucket.put("a", b"two")
    assert await bucket.store.get_tags("a") == {}
    await bucket.store.set_tags("a", {"pinned": "true", "by": "ada+bob@x.org"}, first.version_id)
    assert await bucket.store.get_tags("a", first.version_id) == {"pinned": "true", "by": "ada+bob@x.org"}
    assert await bucket.store.get_tags("a", second.version_id) == {}
    await bucket.store.set_tags("a", {"newest": "yes"})
    assert await bucket.store.get_tags("a", second.version_id) == {"newest": "yes"}
    if bucket.backend.takes_empty_tags:
        await bucket.store.set_tags("a", {}, first.version_id)
        assert await bucket.store.get_tags("a", first.version_id) == {}


async def test_a_version_is_stored_together_with_its_tags(bucket: Any) -> None:
    body = b"tagged"
    tags = {"bookstore-pinned": "false", "odd one": "a+b=c/d"}
    receipt = await bucket.store.put("tagged", body, sha256=hashlib.sha256(body).hexdigest(), tags=tags)
    assert await bucket.store.get_tags("tagged", receipt.version_id) == tags
    assert await bucket.read("tagged") == body


async def test_tags_make_no_version(bucket: Any) -> None:
    await bucket.put("a", b"one", metadata={"n": "1"})
    before = await bucket.store.list_versions("a")
    await bucket.store.set_tags("a", {"pinned": "true"})
    after = await bucket.store.list_versions("a")
    assert [row.version_id for row in after.versions] == [row.version_id for row in before.versions]
    assert (await bucket.store.head("a")).metadata == {"n": "1"}


async def test_probe_tells_whether_versions_are_kept(bucket: Any, unversioned: Any) -> None:
    assert (await unversioned.store.probe()).versioning is Versioning.OFF
    probe = await bucket.store.probe()
    assert probe.versioning is Versioning.ENABLED
    assert probe.server_time is not None
    assert abs(probe.server_time - datetime.now(timezone.utc)) < timedelta(minutes=1)
    bucket.suspend()
    assert (await bucket.store.probe()).versioning is Versioning.SUSPENDED


async def test_without_versioning_there_is_one_version_and_it_has_no_name(unversioned: Any) -> None:
    first = await unversioned.put("a", b"one")
    second = await unversioned.put("a", b"two")
    assert first.version_id in (None, "null")
    assert second.version_id in (None, "null")
    assert await unversioned.read("a") == b"two"
    (row,) = (await unversioned.store.list_versions("a")).versions
    assert row.version_id == "null"
    assert row.is_latest
    assert (await unversioned.store.head("a")).version_id in (None, "null")
    copied = await unversioned.store.copy("a", "b")
    assert copied.version_id in (None, "null")
    assert await unversioned.read("b") == b"two"


async def test_suspended_versioning_shows_in_the_receipt(bucket: Any) -> None:
    kept = await bucket.put("a", b"one")
    bucket.suspend()
    receipt = await bucket.put("a", b"two")
    assert receipt.version_id in (None, "null")
    assert receipt.version_id != kept.version_id
    assert await bucket.read("a") == b"two"


@pytest.mark.parametrize("operation", ["put", "get", "list", "list_objects", "hide", "probe", "get_tags", "set_tags"])
async def test_a_missing_bucket_is_named(backend: Any, operation: str) -> None:
    store = backend.store("no-such-bucket-anywhere")
    try:
        with pytest.raises(BucketMissing, match="no-such-bucket-anywhere"):
            await call(store, operation, "a")
    finally:
        await store.aclose()


@pytest.mark.parametrize("operation", ["put", "get", "head", "list", "list_objects", "hide", "probe", "copy"])
async def test_a_wrong_secret_is_told_and_not_shown(bucket: Any, operation: str) -> None:
    if not bucket.backend.checks_secrets:
        pytest.skip("this store lets everyone in")
    await bucket.put("a", b"x")
    secret = "a-wrong-secret-that-nobody-must-see"
    store = bucket.backend.store(bucket.name, secret=secret)
    try:
        with pytest.raises(CredentialsRejected) as caught:
            await call(store, operation, "a")
    finally:
        await store.aclose()
    assert secret not in f"{caught.value}{caught.value!r}{caught.value.hint}"


async def test_a_page_of_no_rows_is_refused(bucket: Any) -> None:
    with pytest.raises(ValueError, match="at least one row"):
        await bucket.store.list_versions("a", limit=0)
    with pytest.raises(ValueError, match="at least one row"):
        await bucket.store.list_objects("a", limit=0)


async def test_works_on_after_refresh_and_after_close(bucket: Any) -> None:
    await bucket.put("a", b"one")
    await bucket.store.refresh()
    assert await bucket.read("a") == b"one"
    await bucket.store.aclose()
    await bucket.store.aclose()
    assert await bucket.read("a") == b"one"
