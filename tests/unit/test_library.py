"""The verbs over a real contents manager and a store in memory."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import timedelta

import nbformat
import pytest
from jupyter_core.utils import ensure_async
from jupyter_server.services.contents.largefilemanager import LargeFileManager
from traitlets.config import Config

from bookstore.archive import BookstoreContentsArchiver, archiving_class, service_of
from bookstore.archiving.content import notebook_bytes
from bookstore.errors import (
    AccessDenied,
    CloningForbidden,
    FileChanged,
    FileMissing,
    InvalidRequest,
    NotANotebook,
    NotebookInvalid,
    ObjectMissing,
    OutboxError,
    StillWaiting,
    StorageError,
    StoreUnreachable,
)
from bookstore.library import Library
from bookstore.service import OTHER_STORES
from bookstore.storage.memory import MemoryStore
from bookstore.versions import Versions

# Of the oldest Jupyter Server, about its own schemas.
pytestmark = pytest.mark.filterwarnings("ignore:The `version` property of an event schema must be a string")


def notebook(text: str, **metadata) -> dict:
    nb = nbformat.v4.new_notebook(metadata=metadata, cells=[nbformat.v4.new_code_cell(text, id="one")])
    return json.loads(nbformat.writes(nb))


class Scene:
    """A manager, its archive over a store in memory, and the library over both."""

    def __init__(self, root, stores) -> None:
        self.root = root
        self.stores = stores
        self.store = stores["own"]
        self.manager = BookstoreContentsArchiver(root_dir=str(root))
        self.service = service_of(self.manager)
        self.library = Library(self.service, self.manager)

    async def save(self, path: str, text: str) -> bytes:
        await self.manager.save({"type": "notebook", "content": notebook(text)}, path)
        assert await self.service.flush(10) == 0
        return (self.root / path).read_bytes()

    async def versions(self, path: str, **options) -> list:
        return list((await self.library.history(path, **options)).versions)


@pytest.fixture
async def scene(tmp_path, monkeypatch):
    monkeypatch.setenv("JPYNB_S3_BUCKET", "own")
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    stores = {name: MemoryStore(name) for name in ("own", "other")}
    monkeypatch.setattr("bookstore.service.store_of", lambda settings, bucket=None: stores[bucket or "own"])
    root = tmp_path / "root"
    for directory in (root, tmp_path / "data"):
        directory.mkdir()
    made = Scene(root, stores)
    yield made
    await made.service.stop()


async def test_a_restored_version_is_on_disk_and_one_more_in_the_history(scene):
    first = await scene.save("a.ipynb", "first")
    await scene.save("a.ipynb", "second")
    oldest = (await scene.versions("a.ipynb"))[-1]
    restored = await scene.library.restore("a.ipynb", oldest.version_id)
    assert (scene.root / "a.ipynb").read_bytes() == first
    newest, *older = await scene.versions("a.ipynb")
    assert len(older) == 2
    assert (newest.reason, newest.from_version, newest.from_key) == ("restore", oldest.version_id, "workspace/a.ipynb")
    assert restored.archived.version_id == newest.version_id
    assert restored.archived.how == "stored"
    assert restored.sha256 == hashlib.sha256(first).hexdigest()
    assert restored.model["path"] == "a.ipynb"


async def test_what_no_version_has_is_archived_before_it_is_restored_over(scene):
    await scene.save("a.ipynb", "first")
    (scene.root / "a.ipynb").write_bytes(b"edited elsewhere")
    (version,) = await scene.versions("a.ipynb")
    await scene.library.restore("a.ipynb", version.version_id)
    reasons = [one.reason for one in await scene.versions("a.ipynb")]
    assert reasons == ["restore", "save", "save"]
    between = (await scene.versions("a.ipynb"))[1]
    async with scene.library.open(between) as body:
        assert b"".join([piece async for piece in body.chunks]) == b"edited elsewhere"


async def test_a_file_that_changed_since_the_caller_looked_is_not_restored_over_unless_forced(scene):
    first = await scene.save("a.ipynb", "first")
    seen = hashlib.sha256(await scene.save("a.ipynb", "second")).hexdigest()
    third = await scene.save("a.ipynb", "third")
    oldest = (await scene.versions("a.ipynb"))[-1].version_id
    with pytest.raises(FileChanged, match="changed since you looked"):
        await scene.library.restore("a.ipynb", oldest, expected_hash=seen)
    assert (scene.root / "a.ipynb").read_bytes() == third
    await scene.library.restore("a.ipynb", oldest, expected_hash=seen, force=True)
    assert (scene.root / "a.ipynb").read_bytes() == first


async def test_a_file_that_changed_by_its_time_is_not_restored_over(scene):
    await scene.save("a.ipynb", "first")
    model = await scene.manager.get("a.ipynb", content=False)
    (version,) = await scene.versions("a.ipynb")
    earlier = (model["last_modified"] - timedelta(seconds=3)).isoformat()
    with pytest.raises(FileChanged, match="last modified at"):
        await scene.library.restore("a.ipynb", version.version_id, expected_last_modified=earlier)
    told = model["last_modified"].isoformat().replace("+00:00", "Z")
    await scene.library.restore("a.ipynb", version.version_id, expected_last_modified=told)
    with pytest.raises(InvalidRequest, match="is no time"):
        await scene.library.restore("a.ipynb", version.version_id, expected_last_modified="yesterday")


async def test_a_version_is_restored_to_another_name_and_a_deleted_file_comes_back(scene):
    first = await scene.save("a.ipynb", "first")
    (scene.root / "a.ipynb").unlink()
    (version,) = await scene.versions("a.ipynb")
    await scene.library.restore("a.ipynb", version.version_id, target_path="b.ipynb")
    await scene.library.restore("a.ipynb", version.version_id)
    assert (scene.root / "a.ipynb").read_bytes() == (scene.root / "b.ipynb").read_bytes() == first
    with pytest.raises(FileMissing, match="no directory 'nowhere'"):
        await scene.library.restore("a.ipynb", version.version_id, target_path="nowhere/b.ipynb")


async def test_restoring_signs_nothing(scene):
    trusting = notebook("attack")
    trusting["cells"][0]["metadata"]["trusted"] = True
    (scene.root / "evil.ipynb").write_bytes(json.dumps(trusting).encode())
    archived = await scene.library.archive("evil.ipynb")
    await scene.library.restore("evil.ipynb", archived.version_id)
    model = await scene.manager.get("evil.ipynb")
    assert model["content"]["cells"][0]["metadata"]["trusted"] is False


async def test_a_file_with_these_bytes_in_the_newest_version_is_not_archived_twice(scene):
    (scene.root / "a.ipynb").write_bytes(notebook_bytes(nbformat.from_dict(notebook("x"))))
    first = await scene.library.archive("a.ipynb")
    again = await scene.library.archive("a.ipynb")
    assert (first.how, again.how) == ("stored", "unchanged")
    assert first.version_id == again.version_id
    assert [one.reason for one in await scene.versions("a.ipynb")] == ["backfill"]


async def test_the_file_at_the_path_is_published_with_the_workspace_version_that_it_is(scene):
    content = await scene.save("a.ipynb", "x")
    published = await scene.library.publish("a.ipynb")
    (version,) = await scene.versions("a.ipynb")
    assert (published.from_key, published.from_version) == (version.key, version.version_id)
    assert published.s3_path == "s3://own/published/a.ipynb"
    assert published.versionID
    (publication,) = await scene.versions("a.ipynb", area="published")
    async with scene.library.open(publication, area="published") as body:
        assert b"".join([piece async for piece in body.chunks]) == content


async def test_a_file_that_was_never_saved_here_is_archived_before_it_is_published(scene):
    (scene.root / "a.ipynb").write_bytes(notebook_bytes(nbformat.from_dict(notebook("x"))))
    published = await scene.library.publish("a.ipynb")
    (version,) = await scene.versions("a.ipynb")
    assert published.from_version == version.version_id


async def test_publishing_waits_for_nothing_where_the_store_is_away(scene):
    await scene.save("a.ipynb", "x")
    (scene.root / "a.ipynb").write_bytes(notebook_bytes(nbformat.from_dict(notebook("y"))))
    scene.store.faults = lambda operation, key: StoreUnreachable("nothing answers") if operation != "none" else None
    with pytest.raises((StillWaiting, StoreUnreachable)):
        await scene.library.publish("a.ipynb")
    scene.store.faults = None


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ({}, InvalidRequest),
        ({"type": "file", "content": "x"}, NotANotebook),
        ({"type": "notebook"}, NotebookInvalid),
        ({"type": "notebook", "content": {}}, NotebookInvalid),
        ({"type": "notebook", "content": {**notebook("x"), "cells": []}}, NotebookInvalid),
        ({"type": "notebook", "content": "text"}, NotebookInvalid),
    ],
)
async def test_what_is_no_valid_notebook_is_not_published(scene, model, error):
    with pytest.raises(error):
        await scene.library.publish("a.ipynb", model)
    assert (await scene.library.published()).items == ()


async def test_an_unpublished_notebook_keeps_its_versions(scene):
    await scene.library.publish("a.ipynb", {"type": "notebook", "content": notebook("x")})
    assert [item.path for item in (await scene.library.published()).items] == ["a.ipynb"]
    removed = await scene.library.unpublish("a.ipynb")
    assert removed.marker
    assert (await scene.library.published()).items == ()
    assert [one.is_delete_marker for one in await scene.versions("a.ipynb", area="published")] == [True, False]


async def test_a_scheduled_copy_is_pinned_to_its_version_and_keeps_its_parameters(scene):
    await scene.save("a.ipynb", "first")
    (version,) = await scene.versions("a.ipynb")
    await scene.save("a.ipynb", "second")
    scheduled = await scene.library.schedule("a.ipynb", version_id=version.version_id, parameters={"alpha": 0.1})
    assert (scheduled.from_version, scheduled.parameters) == (version.version_id, {"alpha": 0.1})
    found = await scene.library.scheduled_copy("a.ipynb")
    assert (found.versionID, found.parameters) == (scheduled.versionID, {"alpha": 0.1})
    await scene.library.unschedule("a.ipynb")
    with pytest.raises(ObjectMissing):
        await scene.library.scheduled_copy("a.ipynb")


async def test_a_clone_never_overwrites_and_is_archived_with_its_source(scene):
    content = json.dumps(notebook("theirs")).encode()
    store = scene.stores["other"]
    await store.put("shared/a.ipynb", content, sha256=hashlib.sha256(content).hexdigest())
    first = await scene.library.clone("other", "shared/a.ipynb")
    second = await scene.library.clone("other", "shared/a.ipynb")
    assert (first.path, second.path) == ("a.ipynb", "a-1.ipynb")
    assert (scene.root / "a-1.ipynb").read_bytes() == content
    assert await scene.service.flush(10) == 0
    (version,) = await scene.versions("a-1.ipynb")
    assert version.reason == "clone"
    assert version.from_key.endswith("other/shared/a.ipynb")


async def test_a_clone_into_a_directory_takes_its_own_name(scene):
    (scene.root / "folder").mkdir()
    store = scene.stores["other"]
    await store.put("x.txt", b"text", sha256=hashlib.sha256(b"text").hexdigest())
    cloned = await scene.library.clone("other", "x.txt", target_path="folder")
    assert cloned.path == "folder/x.txt"
    assert (scene.root / "folder/x.txt").read_bytes() == b"text"


async def test_cloning_from_a_bucket_that_is_not_allowed_is_refused(scene):
    scene.service.settings.s3_cloning_buckets = ["mine-*"]
    with pytest.raises(CloningForbidden):
        await scene.library.clone("other", "x.txt")
    scene.service.settings.enable_s3_cloning = False
    with pytest.raises(CloningForbidden, match="switched off"):
        await scene.library.clone("mine-1", "x.txt")


@pytest.mark.parametrize(
    ("buckets", "is_on", "clonable"),
    [
        (["*"], True, True),
        (["ow?", "mine-*"], True, True),
        (["mine-*", "OWN"], True, False),
        ([], True, False),
        (["*"], False, False),
    ],
)
async def test_whether_versions_can_be_cloned_is_told_as_cloning_answers(
    tmp_path, monkeypatch, buckets, is_on, clonable
):
    monkeypatch.setenv("JPYNB_S3_BUCKET", "own")
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    store = MemoryStore("own")
    monkeypatch.setattr("bookstore.service.store_of", lambda settings, bucket=None: store)
    chosen = {"s3_cloning_buckets": buckets, "enable_s3_cloning": is_on}
    manager = BookstoreContentsArchiver(root_dir=str(tmp_path), config=Config({"BookstoreSettings": chosen}))
    service = service_of(manager)
    assert service.document()["workspace_clonable"] is clonable
    with pytest.raises(ObjectMissing if clonable else CloningForbidden):
        await Library(service, manager).describe_clone("own", "workspace/a.ipynb")
    await service.stop()


@pytest.mark.parametrize("path", ["", "/", "../x.ipynb", "a/../../x.ipynb", "nul\0.ipynb", ".bookstore/x.ipynb"])
async def test_a_path_that_leads_nowhere_is_refused(scene, path):
    with pytest.raises(InvalidRequest):
        await scene.library.history(path)
    with pytest.raises(InvalidRequest):
        await scene.library.publish(path)


async def test_an_area_that_there_is_not_is_refused_by_name(scene):
    with pytest.raises(InvalidRequest, match="'attic'"):
        await scene.library.history("a.ipynb", area="attic")


async def test_the_file_now_is_compared_with_the_newest_version(scene):
    await scene.save("a.ipynb", "first")
    (scene.root / "a.ipynb").write_bytes(notebook_bytes(nbformat.from_dict(notebook("second"))))
    comparison = await scene.library.compare("a.ipynb")
    assert not comparison.identical
    assert [cell.cell_id for cell in comparison.cells] == ["one"]
    assert comparison.after.version_id is None
    (scene.root / "a.ipynb").unlink()
    with pytest.raises(FileMissing):
        await scene.library.compare("a.ipynb")


async def test_what_the_store_refuses_is_told_as_it_is(scene):
    scene.store.faults = lambda operation, key: AccessDenied("no") if operation == "ListObjectVersions" else None
    with pytest.raises(AccessDenied):
        await scene.library.history("a.ipynb")


async def test_what_happens_is_told_to_who_listens(scene):
    heard = []
    scene.service.listeners.append(lambda event, details: heard.append((event, details["path"])))
    await scene.save("a.ipynb", "x")
    await scene.library.publish("a.ipynb")
    (version,) = await scene.versions("a.ipynb")
    await scene.library.restore("a.ipynb", version.version_id)
    events = [event for event, path in heard if path == "a.ipynb"]
    assert events.count("published") == events.count("restored") == 1
    assert "archived" in events


async def test_nothing_is_written_over_that_cannot_be_brought_to_safety_first(scene):
    await scene.save("a.ipynb", "first")
    (version,) = await scene.versions("a.ipynb")
    (scene.root / "a.ipynb").write_bytes(b"edited elsewhere, and in no version")
    scene.service.intake._memory_limit = 10
    scene.service.outbox.reserve = scene.service.outbox._reserve = 10**18
    with pytest.raises(OutboxError, match="not written over"):
        await scene.library.restore("a.ipynb", version.version_id)
    assert (scene.root / "a.ipynb").read_bytes() == b"edited elsewhere, and in no version"
    assert scene.service.status().missed == 0, "the file still holds it"


async def test_what_jupyter_hides_is_neither_written_nor_read(scene):
    (scene.root / ".secret.ipynb").write_bytes(b"password")
    await scene.save("a.ipynb", "x")
    (version,) = await scene.versions("a.ipynb")
    await scene.stores["other"].put("a.txt", b"evil", sha256=hashlib.sha256(b"evil").hexdigest())
    for target in (".bashrc", ".ipython/profile_default/startup/00.py"):
        with pytest.raises(FileMissing):
            await scene.library.clone("other", "a.txt", target_path=target)
    with pytest.raises(FileMissing):
        await scene.library.restore("a.ipynb", version.version_id, target_path=".secret.ipynb", force=True)
    for verb in (scene.library.archive, scene.library.publish, scene.library.compare):
        with pytest.raises((FileMissing, ObjectMissing)):
            await verb(".secret.ipynb")
    assert {path.name for path in scene.root.iterdir()} - {".ipynb_checkpoints"} == {".secret.ipynb", "a.ipynb"}
    assert (scene.root / ".secret.ipynb").read_bytes() == b"password"
    assert await scene.versions(".secret.ipynb") == []


async def test_a_save_while_the_version_is_fetched_is_not_restored_over(scene, monkeypatch):
    await scene.save("a.ipynb", "first")
    model = await scene.manager.get("a.ipynb", content=False)
    (version,) = await scene.versions("a.ipynb")
    newest = Versions.newest
    later = []

    async def newest_and_a_save(self, path):
        found = await newest(self, path)
        later.append(await scene.save("a.ipynb", "second"))
        return found

    monkeypatch.setattr(Versions, "newest", newest_and_a_save)
    told = model["last_modified"].isoformat()
    with pytest.raises(FileChanged):
        await scene.library.restore("a.ipynb", version.version_id, expected_last_modified=told)
    assert (scene.root / "a.ipynb").read_bytes() == later[-1]


async def test_another_file_is_restored_over_only_if_that_is_said(scene):
    first = await scene.save("a.ipynb", "first")
    other = await scene.save("b.ipynb", "other")
    (version,) = await scene.versions("a.ipynb")
    with pytest.raises(FileChanged, match="is there already"):
        await scene.library.restore("a.ipynb", version.version_id, target_path="b.ipynb")
    assert (scene.root / "b.ipynb").read_bytes() == other
    await scene.library.restore("a.ipynb", version.version_id, target_path="b.ipynb", force=True)
    assert (scene.root / "b.ipynb").read_bytes() == first


async def test_clones_that_fail_keep_no_stores_open(scene, monkeypatch):
    made = []

    def store_of(settings, bucket=None):
        made.append(MemoryStore(bucket or "own", exists=False))
        return made[-1]

    monkeypatch.setattr("bookstore.service.store_of", store_of)
    for number in range(12):
        with pytest.raises(StorageError):
            await scene.library.clone(f"bucket-{number}", "a.txt")
    assert len(made) == 12
    assert sum(not store.requests["refresh"] for store in made) == OTHER_STORES


async def test_a_clone_into_a_directory_that_is_not_there_is_refused(scene):
    await scene.stores["other"].put("x.txt", b"text", sha256=hashlib.sha256(b"text").hexdigest())
    with pytest.raises(FileMissing, match="no directory 'nowhere'"):
        await scene.library.clone("other", "x.txt", target_path="nowhere/")


class OddManager(LargeFileManager):
    """One of those whose save is a coroutine although the rest is not."""

    async def save(self, model, path=""):
        await asyncio.sleep(0.01)
        return super().save(model, path)


@pytest.mark.parametrize("kind", [BookstoreContentsArchiver, *map(archiving_class, (LargeFileManager, OddManager))])
@pytest.mark.parametrize("is_changed", [False, True], ids=["as archived", "changed since"])
async def test_a_restore_of_what_archive_globs_leave_out_is_a_version_too(scene, kind, is_changed):
    manager = kind(root_dir=str(scene.root))
    service = service_of(manager)
    library, told = Library(service, manager), []
    service.listeners.append(lambda event, details: told.append((event, details.get("version_id"))))
    assert not service.archives("u.py")
    for content in (b"first", b"second"):
        (scene.root / "u.py").write_bytes(content)
        await library.archive("u.py")
    if is_changed:
        (scene.root / "u.py").write_bytes(b"third")
    before = (await library.history("u.py")).versions
    restored = await library.restore("u.py", before[-1].version_id)
    newest, *older = (await library.history("u.py")).versions
    assert (scene.root / "u.py").read_bytes() == b"first"
    assert len(older) == len(before) + is_changed
    assert (newest.reason, newest.from_version) == ("restore", before[-1].version_id)
    assert await library.read(newest, limit=100) == b"first"
    assert (restored.archived.version_id, restored.archived.how) == (newest.version_id, "stored")
    assert told[-1] == ("restored", newest.version_id)
    # It was asked for this once: the path is still none of those whose saves become versions.
    model = {"type": "file", "format": "text", "content": "saved"}
    await ensure_async(manager.save(model, "u.py"))
    assert await service.flush(10) == 0
    assert len((await library.history("u.py")).versions) == len(older) + 1
    await service.stop()


@pytest.mark.parametrize("kind", [BookstoreContentsArchiver, archiving_class(LargeFileManager)])
async def test_a_restore_that_nothing_takes_does_not_pass_off_what_was_there_before_as_its_version(
    scene, kind, monkeypatch
):
    manager = kind(root_dir=str(scene.root))
    service = service_of(manager)
    library = Library(service, manager)
    (scene.root / "u.py").write_bytes(b"first")
    first = await library.archive("u.py")
    (scene.root / "u.py").write_bytes(b"third")
    service.archive_now = None
    for name in ("take", "begin"):
        whole = getattr(service.intake, name)

        def only_saves(draft, content, *, whole=whole):
            if draft.reason == "restore":
                raise OSError("no room")
            return whole(draft, content)

        monkeypatch.setattr(service.intake, name, only_saves)
    restored = await library.restore("u.py", first.version_id)
    assert (restored.archived.version_id, restored.archived.how) == (None, "missed")
    assert service.status().missed == 1
    await service.stop()


async def test_a_history_tells_whether_saves_of_its_path_become_versions(scene):
    assert (await scene.library.history("a.ipynb")).is_archived
    assert (await scene.library.pinned("a.ipynb")).is_archived
    assert not (await scene.library.history("u.py")).is_archived
    assert not (await scene.library.pinned("u.py")).is_archived
    for area in ("published", "scheduled"):
        assert not (await scene.library.history("a.ipynb", area=area)).is_archived
        assert not (await scene.library.pinned("a.ipynb", area=area)).is_archived
    scene.service.settings.archive_globs = ["*.py"]
    assert not (await scene.library.history("a.ipynb")).is_archived
    assert (await scene.library.history("u.py")).is_archived


async def test_clones_of_one_name_at_once_are_different_files_whatever_the_manager(scene):
    manager = archiving_class(OddManager)(root_dir=str(scene.root))
    library = Library(service_of(manager), manager)
    for number in range(8):
        content = b"%d" % number
        await scene.stores["other"].put(f"{number}/x.txt", content, sha256=hashlib.sha256(content).hexdigest())
    cloned = await asyncio.gather(*(library.clone("other", f"{number}/x.txt") for number in range(8)))
    assert len({one.path for one in cloned}) == 8
    for number, one in enumerate(cloned):
        assert (scene.root / one.path).read_bytes() == b"%d" % number
    await service_of(manager).stop()
