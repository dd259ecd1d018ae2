"""The checks of `test_store_faults` are worth what they catch: each of these changes to the product must fail one."""

from __future__ import annotations

import hashlib
import itertools
import random

import pytest

from bookstore import retry, shipper
from bookstore.delivery import Courier
from bookstore.errors import CredentialsRejected, StoreFault, StoreThrottled
from bookstore.shipper import Shipper
from bookstore.storage.base import Receipt
from bookstore.storage.s3 import S3Store
from ci import store_checks
from ci.archive_scene import Scene
from ci.fault_proxy import Answer, FaultProxy, Rule
from ci.store_checks import FAULTS, Load, check_credentials, check_fault, check_spread

LOAD = Load(saves=24, paths=3, size=200, drain=10.0)


def an_error_in_a_200_passes_for_success(patch):
    put = Courier._put

    async def mutated(self, parcel, key, content, head):
        try:
            return await put(self, parcel, key, content, head)
        except StoreFault:
            etag = hashlib.md5(content, usedforsecurity=False).hexdigest()
            return Receipt(key, "a-version", etag, len(content), verified=True)

    patch.setattr(Courier, "_put", mutated)


def nobody_looks_for_what_may_be_stored_already(patch):
    async def mutated(self, parcel, key, newest):
        return None

    patch.setattr(Courier, "_find", mutated)


def writes_have_no_condition(patch):
    put = S3Store.put

    async def mutated(self, *args, if_match=None, if_none_match=False, **options):
        return await put(self, *args, **options)

    patch.setattr(S3Store, "put", mutated)


def a_save_is_skipped_while_its_path_is_locked(patch):
    add = Shipper.add

    def mutated(self, parcel):
        if parcel.entry.path not in self.locks:
            add(self, parcel)

    patch.setattr(Shipper, "add", mutated)


def saves_are_shipped_without_their_paths_lock(patch):
    numbers = itertools.count()

    def mutated(self, path):
        # A lane of its own for each save, and under its own name a lock of its own.
        lane = shipper._Lane(f"{path} {next(numbers)}")
        self._lanes[lane.path] = lane
        return lane

    patch.setattr(Shipper, "_lane", mutated)


def an_entry_is_removed_before_it_is_shipped(patch):
    attempt = Shipper._attempt

    async def mutated(self, lane, parcel):
        content = await self._content(parcel)
        if parcel.ref is not None:
            self._outbox.remove(parcel.ref)
            parcel.ref, parcel.content = None, content
        _, wait = await attempt(self, lane, parcel)
        return True, wait  # and forgotten, whatever became of it

    patch.setattr(Shipper, "_attempt", mutated)


@pytest.mark.parametrize(
    ("mutation", "fault", "found"),
    [
        (an_error_in_a_200_passes_for_success, "200 with an error body", "lost"),
        (nobody_looks_for_what_may_be_stored_already, "answer lost after the PUT", "a second time"),
        (writes_have_no_condition, "late after the second PUT", "a second time"),
        (a_save_is_skipped_while_its_path_is_locked, "some answers take long", "lost"),
        (saves_are_shipped_without_their_paths_lock, "some answers take long", "out of order"),
        (an_entry_is_removed_before_it_is_shipped, "503 SlowDown", "lost"),
    ],
)
async def test_the_check_of_faults_catches_it(tmp_path, bucket, monkeypatch, seed, mutation, fault, found):
    mutation(monkeypatch)
    wrong, _ = await check_fault(tmp_path, bucket, FAULTS[fault], LOAD, seed=seed)
    assert any(found in violation for violation in wrong), wrong


def product_waits(failures, chance):
    return retry.wait_after(StoreThrottled(""), failures, chance)


def product_waits_slowly(failures, chance):
    return retry.wait_after(CredentialsRejected(""), failures, chance)


async def test_servers_that_lost_a_store_together_do_not_come_back_together(tmp_path, bucket, seed):
    assert check_spread(product_waits, seed=seed) == []
    assert check_spread(product_waits_slowly, seed=seed) == []
    async with Scene(tmp_path, bucket) as scene:
        assert scene.service.shipper._chance is random.random


@pytest.mark.parametrize(("name", "waits"), [("backoff", product_waits), ("slow_retry", product_waits_slowly)])
def test_the_check_of_waits_catches_that_jitter_is_off(monkeypatch, seed, name, waits):
    with_jitter = getattr(retry, name)
    monkeypatch.setattr(retry, name, lambda failures, chance: with_jitter(failures, lambda: 1.0))
    assert check_spread(waits, seed=seed)


async def test_the_check_of_credentials_catches_that_they_are_never_read_again(tmp_path, bucket, monkeypatch, seed):
    refresh = S3Store.refresh

    async def mutated(self):
        pass

    async def close(self):
        await refresh(self)

    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setattr(store_checks, "TAKEN_UP_WITHIN", 5.0)
    monkeypatch.setattr(S3Store, "refresh", mutated)
    monkeypatch.setattr(S3Store, "aclose", close)

    def lend(name):
        file.write_text(f"[default]\naws_access_key_id = {name}\naws_secret_access_key = secret-of-{name}\n")

    rules = (Rule(Answer(403, "InvalidAccessKeyId"), credential="OLD"),)
    credentials = {"lend": lend, "broken": "OLD", "mended": "NEW", "begins_broken": False}
    with (
        FaultProxy(bucket.server.endpoint_url, seed=seed) as proxy,
        pytest.raises(AssertionError, match="taken up"),
    ):
        await check_credentials(tmp_path, bucket, proxy, saves=2, pace=0.1, rules=rules, **credentials)
