"""A bucket that stops keeping versions while a server runs: nothing that people put there is written over."""

from __future__ import annotations

import logging

import pytest

from bookstore import service as module
from bookstore.bookstore_config import BookstoreSettings
from bookstore.errors import BucketNotVersioned, ObjectMissing
from bookstore.publishing import Shelf
from bookstore.scheduling import Schedules
from bookstore.service import VERSIONING_TRUSTED, ArchiveService
from bookstore.storage.base import Versioning
from bookstore.storage.memory import MemoryStore
from bookstore.versions import Versions
from tests.unit.test_publishing import VALID

SUSPENDED = [Versioning.SUSPENDED, Versioning.OFF]


class Scene:
    """A service over a store in memory, by a clock of its own, and what it is used for."""

    def __init__(self, tmp_path, monkeypatch, **settings):
        self.now = 1000.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)
        self.store = MemoryStore("lake")
        chosen = BookstoreSettings(s3_bucket="lake", outbox_dir=str(tmp_path / "outbox"), **settings)
        self.service = ArchiveService(chosen, root_dir=str(tmp_path), log=logging.getLogger("test"), store=self.store)
        hooks = {"before_write": self.service.require_versioned, "after_write": self.service.require_version}
        self.shelf = Shelf(self.store, "published", host="h", root_dir="/", **hooks)
        self.schedules = Schedules(self.store, "scheduled", host="h", root_dir="/", **hooks)
        self.versions = Versions(self.store, "published", **hooks)

    async def publish(self):
        return await self.shelf.put("a.ipynb", VALID, by="ada", reason="publish")

    async def schedule(self, **parameters):
        return await self.schedules.put("a.ipynb", VALID, by="ada", reason="schedule", parameters=parameters)

    async def label(self, version_id, name="x"):
        return await self.versions.label("a.ipynb", version_id, name=name)

    def asked(self):
        return self.store.requests["GetBucketVersioning"]

    def written(self):
        return self.store.requests["PutObject"]


@pytest.fixture
def make(tmp_path, monkeypatch):
    return lambda **settings: Scene(tmp_path, monkeypatch, **settings)


async def test_the_bucket_is_asked_once_a_minute_at_most(make):
    scene = make()
    for _ in range(3):
        await scene.publish()
        await scene.schedule()
        await scene.label((await scene.publish()).versionID)
    assert scene.asked() == 1
    scene.now += VERSIONING_TRUSTED - 1
    await scene.publish()
    assert scene.asked() == 1
    scene.now += 1
    await scene.publish()
    assert scene.asked() == 2


@pytest.mark.parametrize("state", SUSPENDED)
async def test_an_idle_server_notices_before_anything_is_written(make, state):
    scene = make()
    published = await scene.publish()
    scene.store.versioning = state
    scene.now += VERSIONING_TRUSTED
    written = scene.written()
    for use in (scene.publish(), scene.schedule(), scene.label(published.versionID), scene.shelf.hide("a.ipynb")):
        with pytest.raises(BucketNotVersioned):
            await use
    assert scene.written() == written
    scene.store.versioning = Versioning.ENABLED
    assert (await scene.publish()).versionID not in (None, "null")


@pytest.mark.parametrize("state", SUSPENDED)
@pytest.mark.parametrize("kind", ["publish", "schedule", "label"])
async def test_a_busy_server_notices_at_the_first_write_and_writes_nothing_over(make, kind, state):
    scene = make()
    published = await scene.publish()
    uses = {"publish": scene.publish, "schedule": scene.schedule, "label": lambda: scene.label(published.versionID)}
    scene.store.versioning = state
    with pytest.raises(BucketNotVersioned, match="gave it no version id") as caught:
        await uses[kind]()
    assert "'lake'" in str(caught.value)
    assert "Enable versioning" in caught.value.hint
    assert not scene.service.shipper.courier.is_versioned, "saves are held back too"
    written = scene.written()
    for use in uses.values():
        with pytest.raises(BucketNotVersioned):
            await use()
    assert scene.written() == written
    kept = await scene.store.head("published/a.ipynb", published.versionID)
    assert kept.size == len(VALID)


async def test_long_parameters_are_looked_at_too_and_no_copy_names_them(make):
    scene = make()
    await scene.publish()
    scene.store.versioning = Versioning.SUSPENDED
    with pytest.raises(BucketNotVersioned, match="parameters/"):
        await scene.schedule(text="x" * 3000)
    with pytest.raises(ObjectMissing):
        await scene.store.head("scheduled/a.ipynb")


async def test_where_it_is_allowed_nothing_is_asked_or_refused(make):
    scene = make(allow_unversioned=True)
    scene.store.versioning = Versioning.SUSPENDED
    assert (await scene.publish()).versionID == "null"
    assert (await scene.publish()).versionID == "null"
    assert (await scene.label("null")).label.name == "x"
    assert scene.asked() == 0


async def test_a_store_that_does_not_tell_gets_one_probe_and_is_taken_by_its_version_ids(make):
    scene = make()
    scene.store.versioning = Versioning.UNKNOWN
    for _ in range(3):
        await scene.publish()
        scene.now += VERSIONING_TRUSTED
    probes = (await scene.store.list_versions("workspace/.bookstore/probe")).versions
    assert len(probes) == 1
