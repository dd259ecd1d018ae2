"""Every version below a folder is found, whatever lies beside it and however small the pages are."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bookstore.errors import StoreThrottled
from bookstore.storage.base import ObjectVersion, VersionPage
from bookstore.storage.memory import MemoryStore
from bookstore.storage.walk import walk_versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bookstore.storage.base import ObjectStore

SIBLINGS = ("work/", "work-2/", "work.old/", "work 3/")
NAMES = (
    "a.ipynb",
    "a.ipynb.bak",
    "a-2.ipynb",
    "a",
    "sub/x.ipynb",
    "sub-1/x.ipynb",
    "sub.2/ü.ipynb",
    "sub",
    "deep/er/b+c.ipynb",
)

History = dict[str, list[tuple[str, bool]]]


async def grow(bucket: Any, keys: Iterable[str], versions: int) -> History:
    """Give each key versions, and every other one a delete marker on top; tell them, the newest first."""
    found: History = {key: [] for key in keys}
    for number in range(versions):
        receipts = await asyncio.gather(*(bucket.put(key, b"%d" % number) for key in found))
        for receipt in receipts:
            found[receipt.key].insert(0, (receipt.version_id, False))
    await bucket.tick()
    for key in list(found)[::2]:
        found[key].insert(0, (await bucket.store.hide(key), True))
    return found


async def walked(store: ObjectStore, prefix: str, limit: int = 1000) -> History:
    found: History = {}
    last = None
    async for row in walk_versions(store, prefix, limit=limit):
        assert row.key == last or row.key not in found, "the rows of a key follow one another"
        last = row.key
        found.setdefault(row.key, []).append((row.version_id, row.is_delete_marker))
    return found


def below(history: History, prefix: str) -> History:
    return {key: rows for key, rows in history.items() if key.startswith(prefix)}


@pytest.mark.parametrize("limit", [5, 20, 1000])
async def test_finds_every_version_of_sibling_folders(bucket: Any, limit: int) -> None:
    keys = [folder + name for folder in SIBLINGS for name in NAMES] + ["work", "work.ipynb", "top"]
    history = await grow(bucket, keys, 3)
    for prefix in (*SIBLINGS, ""):
        found = await walked(bucket.store, prefix, limit)
        expected = below(history, prefix)
        assert set(found) == set(expected)
        if bucket.backend.lists_markers_apart:
            assert {key: sorted(rows) for key, rows in found.items()} == {
                key: sorted(rows) for key, rows in expected.items()
            }
        else:
            assert found == expected


async def test_finds_more_versions_than_a_page_of_the_store_holds(bucket: Any) -> None:
    history: dict[str, set[str]] = defaultdict(set)
    keys = ["w/a.ipynb", "w/a.ipynb.bak", "w/sub/a.ipynb", "w/sub-1/a.ipynb", "w/sub.2/a.ipynb"]
    # One at a time of a key: of several at once moto may forget one that it has acknowledged.
    for _ in range(220):
        receipts = await asyncio.gather(*(bucket.put(key, b"x") for key in keys))
        for receipt in receipts:
            history[receipt.key].add(receipt.version_id)
    found = await walked(bucket.store, "w/")
    assert {key: {version_id for version_id, _ in rows} for key, rows in found.items()} == history
    assert sum(map(len, found.values())) == 1100


async def test_an_empty_folder_has_no_versions(bucket: Any) -> None:
    await bucket.put("work-2/a", b"x")
    assert await walked(bucket.store, "work/") == {}


def test_only_a_folder_can_be_walked() -> None:
    with pytest.raises(ValueError, match="not a folder"):
        walk_versions(MemoryStore(), "work")


class Disorderly(MemoryStore):
    """Fills a page as SeaweedFS does: with what comes first by the names of its files, and sorts only that by key."""

    async def list_versions(
        self,
        prefix: str,
        *,
        key_marker: str | None = None,
        version_id_marker: str | None = None,
        delimiter: str | None = None,
        limit: int = 1000,
    ) -> VersionPage:
        if delimiter is None and not prefix.endswith("/"):  # an exact key, which `S3Store` gets right
            page = await super().list_versions(
                prefix, key_marker=key_marker, version_id_marker=version_id_marker, limit=limit
            )
            return replace(page, in_key_order=False)
        found: dict[tuple[str, str], ObjectVersion | str] = {}
        rows = sorted((await super().list_versions(prefix)).versions, key=lambda row: file_of(row.key))
        for row in rows_behind(rows, key_marker, version_id_marker):
            end = row.key.find(delimiter, len(prefix)) if delimiter is not None else -1
            if end < 0:
                found[row.key, row.version_id] = row
            elif key_marker is None or row.key[: end + 1] > key_marker:
                found[row.key[: end + 1], ""] = row.key[: end + 1]
            if len(found) > limit:
                break
        told = sorted(found, key=lambda name: name[0])
        shown = [found[name] for name in told[:limit]]
        marker = told[limit - 1] if len(told) > limit else (None, None)
        return VersionPage(
            tuple(entry for entry in shown if isinstance(entry, ObjectVersion)),
            marker[0],
            marker[1] or None,
            tuple(entry for entry in shown if isinstance(entry, str)),
            in_key_order=False,
        )


def file_of(key: str) -> list[str]:
    *folders, name = key.split("/")
    return [*folders, f"{name}.versions"]


def rows_behind(rows: list[ObjectVersion], key: str | None, version_id: str | None) -> Iterator[ObjectVersion]:
    seen = False
    for row in rows:
        if key is None or (row.key > key and file_of(row.key) >= key.split("/")) or (row.key == key and seen):
            yield row
        elif row.key == key:
            seen = row.version_id == version_id


def odd_keys(chance: random.Random) -> list[str]:
    names = ("".join(chance.choices("aab.-+ !0vé", k=chance.randint(1, 4))) for _ in range(60))
    good = [name for name in names if name.strip(". ") and name == name.strip()]
    return sorted({f"f/{'/'.join(chance.sample(good, chance.choice((1, 1, 1, 2, 3))))}" for _ in range(30)})


@pytest.mark.parametrize("seed", range(20))
async def test_a_disorderly_server_hides_nothing(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  (no secret)
    store = Disorderly()
    keys = odd_keys(chance)
    history: History = defaultdict(list)
    for _ in range(80):
        key = chance.choice(keys)
        if history[key] and chance.random() < 0.2:
            history[key].insert(0, (await store.hide(key) or "", True))
        else:
            receipt = await store.put(key, b"x", sha256=hashlib.sha256(b"x").hexdigest())
            history[key].insert(0, (receipt.version_id or "", False))
    for limit in (1, 2, 3, 5, 9, 20, 1000):
        assert await walked(store, "f/", limit) == {key: rows for key, rows in history.items() if rows}


async def test_plain_pages_of_a_disorderly_server_do_hide_something() -> None:
    store = Disorderly()
    for key in ("f/work/a", "f/work/b", "f/work-2/a", "f/work.old/a"):
        await store.put(key, b"x", sha256=hashlib.sha256(b"x").hexdigest())
    page = await store.list_versions("f/", limit=2)
    found = [row.key for row in page.versions]
    while page.next_key_marker is not None:
        page = await store.list_versions(
            "f/", key_marker=page.next_key_marker, version_id_marker=page.next_version_id_marker, limit=2
        )
        found += [row.key for row in page.versions]
    assert len(found) < 4
    assert len(await walked(store, "f/", 2)) == 4


async def test_an_orderly_store_is_read_page_by_page() -> None:
    store = MemoryStore()
    for number in range(10):
        await store.put(f"f/{number % 3}/{number}", b"x", sha256=hashlib.sha256(b"x").hexdigest())
    assert len(await walked(store, "f/", 4)) == 10
    assert store.requests["ListObjectVersions"] == 3


async def test_pages_with_folders_follow_one_another_in_memory() -> None:
    store = MemoryStore()
    for key in ("f/a", "f/b/1", "f/b/2", "f/b-1", "f/c/1", "f/d", "f/d"):
        await store.put(key, b"x", sha256=hashlib.sha256(b"x").hexdigest())
    for limit in (1, 2, 3):
        page = await store.list_versions("f/", delimiter="/", limit=limit)
        found = [(page.versions, page.folders)]
        while page.next_key_marker is not None:
            page = await store.list_versions(
                "f/",
                delimiter="/",
                key_marker=page.next_key_marker,
                version_id_marker=page.next_version_id_marker,
                limit=limit,
            )
            found.append((page.versions, page.folders))
        assert [row.key for versions, _ in found for row in versions] == ["f/a", "f/b-1", "f/d", "f/d"]
        assert [folder for _, folders in found for folder in folders] == ["f/b/", "f/c/"]
        assert all(len(versions) + len(folders) <= limit for versions, folders in found)


async def test_an_error_of_the_store_ends_the_walk() -> None:
    store = MemoryStore()
    for number in range(3):
        await store.put(f"f/{number}", b"x", sha256=hashlib.sha256(b"x").hexdigest())
    store.faults = lambda operation, _: StoreThrottled(operation) if store.requests[operation] == 2 else None
    with pytest.raises(StoreThrottled):
        await walked(store, "f/", 2)
