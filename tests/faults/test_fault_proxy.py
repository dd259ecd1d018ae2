"""`ci.fault_proxy` does what a plan says, and no more: the fault tests are worth what it is."""

from __future__ import annotations

import hashlib
import time

import pytest

from bookstore.errors import StoreFault, StoreThrottled, StoreTimeout, StoreUnreachable
from bookstore.storage.s3 import S3Options, S3Store
from ci.fault_proxy import (
    Answer,
    FaultProxy,
    Hold,
    Late,
    LoseAnswer,
    Pass,
    Reset,
    Rule,
    Trickle,
    any_of,
)

BODY = b"a body"


@pytest.fixture(params=["moto", "seaweed"])
def behind(request):
    """A bucket on each kind of server; SeaweedFS checks signatures."""
    return request.getfixturevalue({"moto": "bucket", "seaweed": "durable_bucket"}[request.param])


@pytest.fixture
def proxy(behind, seed):
    with FaultProxy(behind.server.endpoint_url, seed=seed) as started:
        yield started


@pytest.fixture
async def store(behind, proxy):
    made = S3Store(
        S3Options(
            behind.name,
            endpoint_url=proxy.endpoint_url,
            access_key_id=behind.server.access_key_id,
            secret_access_key=behind.server.secret_access_key,
        )
    )
    yield made
    await made.aclose()


async def put(store, key="k", body=BODY, **options):
    return await store.put(key, body, sha256=hashlib.sha256(body).hexdigest(), **options)


async def test_what_passes_is_what_the_server_does_signatures_and_odd_keys_included(store, behind, proxy):
    key = "a b/ü+%41.ipynb"
    receipt = await put(store, key, metadata={"m": "1"}, if_none_match=True)
    assert receipt.verified
    assert (await store.head(key)).metadata == {"m": "1"}
    async with store.get(key) as body:
        assert b"".join([chunk async for chunk in body.chunks]) == BODY
    assert [row.key for row in (await store.list_versions(key)).versions] == [key]
    large = bytes(range(256)) * 4096 * 3
    await put(store, "large", large)
    assert behind.read("large") == large
    assert [(r.method, r.key, r.status) for r in proxy.records][:2] == [("PUT", key, 200), ("HEAD", key, 200)]
    assert proxy.records[0].version_id == receipt.version_id
    assert proxy.records[0].credential == behind.server.access_key_id
    assert proxy.struck() == 0


@pytest.mark.parametrize(
    ("fault", "error", "is_stored"),
    [
        (Answer(503, "SlowDown"), StoreThrottled, False),
        (Answer(429), StoreThrottled, False),
        (Answer(500, "InternalError"), StoreFault, False),
        (Answer(200, "InternalError"), StoreFault, False),
        (Reset(), StoreUnreachable, False),
        (Reset(sent_on=True), StoreUnreachable, True),
        (LoseAnswer(), StoreUnreachable, True),
        (LoseAnswer(sent=20), StoreUnreachable, True),
        (Hold(), StoreTimeout, False),
        (Trickle(rate=500), StoreTimeout, False),
    ],
    ids=str,
)
async def test_each_fault_is_what_it_is_called(store, behind, proxy, wait_until, fault, error, is_stored):
    await put(store, "first")
    proxy.plan(Rule(fault, methods=("PUT",), key="k"))
    before = time.monotonic()
    with pytest.raises(error):
        await put(store, timeout=1.0 if error is StoreTimeout else 30.0)
    assert time.monotonic() - before < 10.0
    await wait_until(lambda: all(record.ended for record in proxy.requests("PUT", "k")))
    if is_stored:
        await wait_until(lambda: proxy.records[-1].stored_status == 200)
    assert bool(behind.versions("k")) == is_stored
    assert [r.fault for r in proxy.requests("PUT", "k")] == [fault.name]
    proxy.plan()
    await put(store, "k2")


async def test_what_is_late_arrives_when_the_plan_says_so(store, behind, proxy):
    proxy.plan(Rule(Late(Answer(503), after=1, before="PUT"), methods=("PUT",), times=1))
    with pytest.raises(StoreThrottled):
        await put(store, body=b"late")
    assert proxy.late == 1
    assert behind.versions("k") == []
    await put(store, body=b"next")
    assert behind.versions("k") == [b"late", b"next"]
    proxy.plan(Rule(Late(Reset()), methods=("PUT",), times=1))
    with pytest.raises(StoreUnreachable):
        await put(store, body=b"later still")
    assert proxy.deliver_late() == 1
    assert behind.versions("k") == [b"late", b"next", b"later still"]


async def test_a_slow_line_gets_there_in_the_time_that_it_takes(store, proxy):
    proxy.plan(Rule(Trickle(rate=4000), methods=("PUT",)))
    before = time.monotonic()
    await put(store, body=bytes(4000))
    assert 1.0 < time.monotonic() - before < 5.0


async def test_a_store_that_is_down_refuses_and_comes_back_at_the_same_address(store, proxy):
    await put(store)
    proxy.down()
    with pytest.raises(StoreUnreachable):
        await put(store)
    proxy.up()
    await put(store)


def test_chance_is_the_seeds_and_does_not_depend_on_other_keys(seed):
    from ci.fault_proxy import Request

    def drawn(keys, seed=seed):
        proxy = FaultProxy("http://127.0.0.1:1", seed=seed)
        proxy._rules = any_of([Answer(503), Reset()], 0.5)
        told = {}
        for key in keys:
            told.setdefault(key, []).append(proxy._choose(Request("PUT", "b", key, (), "", {}, b"", b"")).name)
        return told

    one_by_one, mixed = drawn(["a"] * 200 + ["b"] * 200), drawn(["b", "a"] * 200)
    assert one_by_one == mixed != drawn(["b", "a"] * 200, seed + 1)
    assert one_by_one["a"] != one_by_one["b"]
    struck = [name for names in mixed.values() for name in names if name != Pass().name]
    assert 150 < len(struck) < 250
    assert 60 < struck.count("Reset") < 140
