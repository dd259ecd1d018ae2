"""The checks of outages and of buckets are worth what they catch: each of these changes to the product fails one."""

from __future__ import annotations

import pytest
from tornado.web import HTTPError

from bookstore.archiving.asynchronous import AsyncArchiving
from bookstore.archiving.call import service_of
from bookstore.delivery import Courier
from bookstore.errors import OutboxFull, StoreUnreachable
from bookstore.intake import Intake
from bookstore.shipper import Shipper
from ci.bucket import Bucket
from ci.store_checks import Load, check_outage, check_suspension, check_unusable_bucket

OUTAGE = Load(saves=5, paths=1, size=200, drain=5.0)
SUSPENSION = Load(saves=40, paths=4, drain=5.0)


def a_save_waits_for_the_store(patch):
    settle = AsyncArchiving._bookstore_settle

    async def mutated(self, call):
        await settle(self, call)
        service_of(self).submit(call.parcels)
        call.parcels = []
        await service_of(self).flush(0.4)

    patch.setattr(AsyncArchiving, "_bookstore_settle", mutated)


def a_save_fails_while_the_store_is_away(patch):
    settle = AsyncArchiving._bookstore_settle

    async def mutated(self, call):
        await settle(self, call)
        if service_of(self).shipper.trouble is not None:
            raise HTTPError(503, "the store is away")

    patch.setattr(AsyncArchiving, "_bookstore_settle", mutated)


def everything_is_held_in_memory_only(patch):
    def mutated(self, entry, content):
        raise OutboxFull("memory is enough")

    patch.setattr(Intake, "_put", mutated)


def the_shipper_gives_up_when_the_store_is_away(patch):
    attempt = Shipper._attempt

    async def mutated(self, lane, parcel):
        done, wait = await attempt(self, lane, parcel)
        if not done and isinstance(parcel.error, StoreUnreachable):
            self._outbox.remove(parcel.ref)
            return True, 0.0
        return done, wait

    patch.setattr(Shipper, "_attempt", mutated)


@pytest.mark.parametrize(
    ("mutation", "found"),
    [
        (a_save_waits_for_the_store, "slower than"),
        (a_save_fails_while_the_store_is_away, "saves failed"),
        (everything_is_held_in_memory_only, "unprotected"),
        (the_shipper_gives_up_when_the_store_is_away, "lost"),
    ],
)
async def test_the_check_of_outages_catches_it(tmp_path, bucket, monkeypatch, seed, mutation, found):
    mutation(monkeypatch)
    wrong, _ = await check_outage(tmp_path, bucket, OUTAGE, seed=seed, slower_ms=50.0, share=0.5)
    assert any(found in violation for violation in wrong), wrong


# -- buckets -----------------------------------------------------------------------------------------------------------


def nobody_asks_whether_the_bucket_keeps_versions(patch):
    async def mutated(self):
        self.is_versioned = True

    patch.setattr(Courier, "check_bucket", mutated)


def a_version_without_a_name_is_taken_for_one(patch):
    patch.setattr(Courier, "require_version", lambda self, version_id, key: None)


def versions_do_not_matter_at_all(patch):
    nobody_asks_whether_the_bucket_keeps_versions(patch)
    a_version_without_a_name_is_taken_for_one(patch)


@pytest.mark.parametrize(
    ("mutation", "found"),
    [
        (nobody_asks_whether_the_bucket_keeps_versions, "written although"),
        (versions_do_not_matter_at_all, "lost"),
    ],
)
async def test_the_check_of_unversioned_buckets_catches_that(tmp_path, moto, monkeypatch, seed, mutation, found):
    mutation(monkeypatch)
    bucket = Bucket(moto, f"b-{seed}")
    wrong, _ = await check_unusable_bucket(tmp_path, bucket, "unversioned", seed=seed, shown_within=3.0)
    assert any(found in violation for violation in wrong), wrong


async def test_the_check_of_suspension_catches_that_the_first_null_version_is_ignored(
    tmp_path, bucket, monkeypatch, seed
):
    a_version_without_a_name_is_taken_for_one(monkeypatch)
    wrong, _ = await check_suspension(tmp_path, bucket, SUSPENSION, seed=seed, shown_within=2.0)
    assert any("lost" in violation for violation in wrong), wrong
