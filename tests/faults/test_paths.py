"""Strange paths through a real store: each has a key of its own, comes back as it was, and one that cannot is told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import unicodedata
from urllib.parse import unquote_plus

import pytest

from bookstore import s3_paths, service
from bookstore.errors import PathError
from bookstore.library import Library
from bookstore.outbox import REFUSED
from bookstore.s3_paths import MAX_KEY_BYTES, path_from_key
from ci.archive_scene import Scene

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other file systems fold names themselves")

ROW = "paths: unicode, spaces, `..`, 1,024-byte keys, case, Windows separators"
PREFIX = "workspace"

#: Random paths besides: the short form and the long one.
RANDOM = 20
LONG_RANDOM = 1_000


def of_bytes(size):
    """A path whose key is so long; no name in it is longer than a file system takes."""
    left = size - len(f"{PREFIX}/")
    parts = []
    while left > 200:
        parts.append("d" * 149)
        left -= 150
    return "/".join([*parts, "e" * (left - len(".ipynb")) + ".ipynb"])


#: Each pair, or more, differs in what some mapping would fold.
PATHS = [
    # Case.
    *("Case.ipynb", "case.ipynb", "CASE.ipynb", "straße.ipynb", "strasse.ipynb", "İ.ipynb", "i.ipynb"),
    # Unicode: composed and decomposed, other planes, right to left, what is not seen.
    *("\u00fcbung.ipynb", "u\u0308bung.ipynb", "\u212b.ipynb", "\u00c5.ipynb", "\ufb01.ipynb", "fi.ipynb"),
    *("数据.ipynb", "😀/👩‍🔬.ipynb", "\u202eb.ipynb", "a\u200bb.ipynb", "ab.ipynb", "\u2028.ipynb", "\ufeffab.ipynb"),
    # Spaces, and what stands for them in addresses.
    *(
        "a b.ipynb",
        "a+b.ipynb",
        "a%20b.ipynb",
        "a%2520b.ipynb",
        " a b.ipynb",
        "a  b.ipynb",
        "a\u00a0b.ipynb",
        " .ipynb",
    ),
    # Separators of other systems, and of addresses.
    *("a/b.ipynb", "a\\b.ipynb", "a%2Fb.ipynb", "a%2fb.ipynb", "a%5Cb.ipynb", "C:\\b.ipynb", "C:/b.ipynb", "a:b.ipynb"),
    # Dots that lead nowhere.
    *("..ipynb", "...ipynb", "a../b.ipynb", "..a/b.ipynb", ".../b.ipynb", "a..b.ipynb", "b..ipynb", "%2E%2E/b.ipynb"),
    # What addresses, headers, XML and shells have a meaning for.
    *("a?b.ipynb", "a#b.ipynb", "a&b=c.ipynb", "a&amp;b.ipynb", "<a>.ipynb", "'a'.ipynb", '"a".ipynb', "a;b,c.ipynb"),
    *(
        "*.ipynb",
        "[a].ipynb",
        "{a}.ipynb",
        "$a.ipynb",
        "~/b.ipynb",
        "~b.ipynb",
        "a|b.ipynb",
        "a\tb.ipynb",
        "a`b`.ipynb",
    ),
    # The longest key.
    of_bytes(MAX_KEY_BYTES),
]

#: Other ways to say a path that is there already: the same file, so the same key.
OTHER_WAYS = {"a/../case.ipynb": "case.ipynb", "./ab.ipynb": "ab.ipynb", "a//b.ipynb": "a/b.ipynb"}

#: They have no key.
IMPOSSIBLE = [of_bytes(MAX_KEY_BYTES + 1), ".bookstore/a.ipynb"]

ALPHABET = "aAbBäÄa\u0308 .+%25\\:?#&=;,\"'<>|*~$[]{}@!\t\u00a0\u200d\u202e中😀"


def random_paths(seed, count):
    """Paths from a few characters, so that many of them are nearly the same."""
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    found = set()
    while len(found) < count:
        names = ["".join(chance.choices(ALPHABET, k=chance.randint(1, 5))) for _ in range(chance.randint(1, 3))]
        path = "/".join(names)
        # A file cannot be a directory too, and a name is no way up.
        if not {".", ".."} & set(names):
            found.add(f"random/{path}.ipynb")
    return sorted(found)


async def check_paths(directory, bucket, paths, *, other_ways=OTHER_WAYS, impossible=IMPOSSIBLE):
    """Save every path twice, one of them in another way; look at the bucket, and restore what was deleted.

    Returns
    -------
    list of str
        What does not hold.
    dict
        The figure.
    """
    wrong = []
    async with Scene(directory, bucket) as scene:
        scene.manager.log.setLevel("CRITICAL")
        scene.manager.allow_hidden = True
        for number in (1, 2):
            await _many(scene.save(path, f"{path} {number}") for path in [*paths, *(impossible if number == 1 else [])])
        for path, same in [(path, same) for path, same in other_ways.items() if same in paths]:
            content = await scene.save(path, f"in another way {path}")
            scene.acknowledged.pop(path)
            scene.acknowledged[same].append(content)
        if remaining := await scene.service.flush(120.0):
            wrong.append(f"{remaining} saves were not in the bucket")
        wrong += untold(scene, impossible)
        for path in impossible:
            scene.acknowledged.pop(path)
        keys = bucket.keys()
        if len(keys) != len(paths):
            wrong.append(f"{len(paths)} paths have {len(keys)} keys")
        if back := {path_from_key(PREFIX, key) for key in keys} ^ set(paths):
            wrong.append(f"{len(back)} paths or keys do not lead to each other: {sorted(back)[:5]}")
        wrong += scene.violations()
        wrong += await restored(scene, paths)
    figure = {
        "paths": len(paths),
        "keys": len(keys),
        "longest_key": max((len(key.encode()) for key in keys), default=0),
        "set_aside": len(impossible),
        "violations": len(wrong),
    }
    return wrong, figure


def untold(scene, impossible):
    """What is not said of the paths that have no key: that they were set aside."""
    status = scene.service.status()
    aside = {found["path"] for found in status.set_aside if found["kind"] == REFUSED}
    wrong = [f"nobody is told that it has no key: {path}" for path in impossible if path not in aside]
    alarm = "SetAside" in {problem.code for problem in status.problems}
    if alarm != bool(impossible):
        wrong.append(f"an alarm: {alarm}, although {len(impossible)} saves were to be set aside")
    return wrong


async def restored(scene, paths):
    """What does not come back, of files that are deleted and restored from their first version."""
    library = Library(scene.service, scene.manager)

    async def restore(path):
        (scene.root / path).unlink()
        try:
            page = await library.history(path)
            await library.restore(path, page.versions[-1].version_id)
        except Exception as e:  # noqa: BLE001 - whatever it is, it did not come back
            return [f"{path}: {type(e).__name__}: {e}"]
        is_back = (scene.root / path).read_bytes() == scene.acknowledged[path][0]
        return [] if is_back else [f"{path}: other bytes came back"]

    return [violation for found in await _many(map(restore, paths)) for violation in found]


async def _many(work):
    """Do it all, some at a time; the results."""
    gate = asyncio.Semaphore(16)

    async def one(coroutine):
        async with gate:
            return await coroutine

    return await asyncio.gather(*map(one, work))


def _without_backslashes(paths):
    return [path for path in paths if "\\" not in path]


def _with_backslashes(paths):
    """Those that have one, and what they would be with slashes instead."""
    found = {path for path in paths if "\\" in path}
    others = {path.replace("\\", "/") for path in found}
    return sorted(found | {path for path in others if not {"", ".", ".."} & set(path.split("/"))})


#: By name of the server: the fixture of its bucket, and which paths it gets. SeaweedFS takes a backslash in a key for a
#: slash, so these go to the other server.
STORES = {"SeaweedFS": ("durable_bucket", _without_backslashes), "moto": ("bucket", _with_backslashes)}


async def _try_paths(request, tmp_path, seed, report, store, count):
    fixture, choose = STORES[store]
    bucket = request.getfixturevalue(fixture)
    wrong, figure = await check_paths(tmp_path, bucket, choose([*PATHS, *random_paths(seed, count)]))
    report(ROW, case=store, **figure)
    assert wrong == []


@pytest.mark.parametrize("store", STORES)
async def test_every_path_has_a_key_of_its_own_and_comes_back(request, tmp_path, seed, report, store):
    await _try_paths(request, tmp_path, seed, report, store, RANDOM)


@pytest.mark.long
@pytest.mark.parametrize("store", STORES)
async def test_every_one_of_many_paths_has_a_key_of_its_own_and_comes_back(request, tmp_path, seed, report, store):
    await _try_paths(request, tmp_path, seed, report, store, LONG_RANDOM)


async def test_where_the_store_itself_folds_two_keys_into_one_no_save_is_lost(tmp_path, durable_bucket):
    """SeaweedFS takes a backslash in a key for a slash; AWS does not."""
    async with Scene(tmp_path, durable_bucket) as scene:
        saves = [await scene.save(path, path) for path in ("a/b.ipynb", "a\\b.ipynb", "a/b.ipynb")]
        assert await scene.service.flush(30.0) == 0
    assert sorted(durable_bucket.versions("workspace/a/b.ipynb")) == sorted(set(saves))


# -- what the check must catch -----------------------------------------------------------------------------------------


def _maps(fold):
    def mutate(patch):
        object_key = s3_paths.object_key
        patch.setattr(service, "object_key", lambda prefix, path: object_key(prefix, fold(path)))

    return mutate


def _lets_long_keys_pass_for_short(patch):
    object_key = s3_paths.object_key

    def mutated(prefix, path):
        with contextlib.suppress(PathError):
            return object_key(prefix, path)
        return s3_paths.s3_key(prefix, path[-200:])

    patch.setattr(service, "object_key", mutated)


@pytest.mark.parametrize(
    ("mutation", "paths", "impossible", "found"),
    [
        pytest.param(_maps(str.lower), ["Case.ipynb", "case.ipynb"], [], "2 paths have 1 keys", id="folds case"),
        pytest.param(
            _maps(lambda path: unicodedata.normalize("NFC", path)),
            ["\u00fcbung.ipynb", "u\u0308bung.ipynb"],
            [],
            "2 paths have 1 keys",
            id="composes characters",
        ),
        pytest.param(_maps(unquote_plus), ["a b.ipynb", "a%20b.ipynb"], [], "2 paths have 1 keys", id="unquotes twice"),
        pytest.param(
            _maps(lambda path: path.replace("\\", "/")),
            ["a/b.ipynb", "a\\b.ipynb"],
            [],
            "2 paths have 1 keys",
            id="takes backslashes for slashes",
        ),
        pytest.param(
            _lets_long_keys_pass_for_short, ["a.ipynb"], IMPOSSIBLE[:1], "nobody is told", id="cuts long keys off"
        ),
    ],
)
async def test_the_check_of_paths_catches_a_key_that(tmp_path, bucket, monkeypatch, mutation, paths, impossible, found):
    mutation(monkeypatch)
    wrong, _ = await check_paths(tmp_path, bucket, paths, other_ways={}, impossible=impossible)
    assert any(found in violation for violation in wrong), wrong


def test_the_longest_key_is_as_long_as_it_may_be():
    assert len(f"{PREFIX}/{of_bytes(MAX_KEY_BYTES)}".encode()) == MAX_KEY_BYTES
    assert all(len(os.fsencode(name)) < 256 for name in of_bytes(MAX_KEY_BYTES + 1).split("/"))
