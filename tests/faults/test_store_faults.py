"""The store and the network misbehave: nothing is lost, nothing stands twice, nothing hangs, and the status says it.

The product waits half a minute and more for a store; these tests let it wait less (`ci.archive_scene.Waits`) and change
nothing else.
"""

from __future__ import annotations

import hashlib

import pytest

from bookstore import shipper
from bookstore.errors import StoreUnreachable
from bookstore.retry import wait_after
from bookstore.storage.s3 import S3Store
from bookstore.versions import Versions
from ci.archive_scene import Scene, until, violations
from ci.bucket import Bucket
from ci.fault_proxy import Answer, FaultProxy, Late, LoseAnswer, Reset, Rule
from ci.store_checks import (
    FAULTS,
    SHOWN_WITHIN,
    WAITS,
    Load,
    check_credentials,
    check_fault,
    check_outage,
    check_suspension,
    check_unusable_bucket,
)

SHORT = Load(saves=16, paths=4, size=200)
LONG = Load(saves=600, paths=12, size=5_000, drain=600.0)

# One path, so that no save waits for another's.
SHORT_OUTAGE = Load(saves=60, paths=1, size=20_000)
LONG_OUTAGE = Load(saves=1_000, paths=1, size=1_000_000, drain=600.0)

#: By how many milliseconds the 99th percentile of a save may be above normal.
SLOWER_MS = 20.0

#: The same of the median, for the short form: of less than a hundred saves the 99th percentile is the slowest one, and
#: on a busy machine that may meet anything.
SHORT_SLOWER_MS = 50.0

ROW_OF_OUTAGES = "store down 30 min, 1,000 saves"
ROW_OF_FAULTS = (
    "50% answers 503 SlowDown; reset; black hole; 1 kB/s; 200 with an error body; answer lost after the PUT; "
    "a PUT that lands late"
)


@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_is_lost_or_double_whatever_the_store_answers(tmp_path, bucket, report, seed, fault):
    wrong, figure = await check_fault(tmp_path, bucket, FAULTS[fault], SHORT, seed=seed)
    report(ROW_OF_FAULTS, fault=fault, **figure)
    assert wrong == []


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_is_lost_or_double_in_many_saves(tmp_path, durable_bucket, report, seed, fault):
    wrong, figure = await check_fault(tmp_path, durable_bucket, FAULTS[fault], LONG, seed=seed)
    report(ROW_OF_FAULTS, fault=fault, **figure)
    assert wrong == []


async def test_saves_do_not_notice_an_outage_and_all_arrive_after_it(tmp_path, bucket, report, seed):
    wrong, figure = await check_outage(tmp_path, bucket, SHORT_OUTAGE, seed=seed, slower_ms=SHORT_SLOWER_MS, share=0.5)
    report(ROW_OF_OUTAGES, **figure)
    assert wrong == []


@pytest.mark.long
async def test_a_thousand_saves_of_a_megabyte_do_not_notice_an_outage(tmp_path, durable_bucket, report, seed):
    wrong, figure = await check_outage(tmp_path, durable_bucket, LONG_OUTAGE, seed=seed, slower_ms=SLOWER_MS)
    report(ROW_OF_OUTAGES, **figure)
    assert wrong == []


# -- credentials -------------------------------------------------------------------------------------------------------


@pytest.fixture
def lend(tmp_path, monkeypatch):
    """Puts credentials into the file from which the SDK takes them."""
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    right = {"aws_access_key_id": "bookstore-test-key", "aws_secret_access_key": "bookstore-test-secret"}
    known = {
        "right": right,
        "wrong secret": {**right, "aws_secret_access_key": "not-the-secret-at-all"},
        "old": {"aws_access_key_id": "OLD-KEY", "aws_secret_access_key": "old-secret", "aws_session_token": "old"},
        "new": {"aws_access_key_id": "NEW-KEY", "aws_secret_access_key": "new-secret"},
    }

    def put(name: str) -> None:
        file.write_text("\n".join(["[default]", *(f"{key} = {value}" for key, value in known[name].items())]) + "\n")

    return put


#: By name: the server, and the arguments of the check. moto takes any secret; the proxy rejects in its stead.
CREDENTIALS = {
    "wrong": ("durable_bucket", {"broken": "wrong secret", "mended": "right", "begins_broken": True}),
    "expired": (
        "bucket",
        {
            "broken": "old",
            "mended": "new",
            "begins_broken": False,
            "rules": (Rule(Answer(400, "ExpiredToken"), credential="OLD*"),),
        },
    ),
    "rotated": (
        "bucket",
        {
            "broken": "old",
            "mended": "new",
            "begins_broken": False,
            "rules": (Rule(Answer(403, "InvalidAccessKeyId"), credential="OLD*"),),
        },
    ),
}
ROW_OF_CREDENTIALS = "wrong, expired, rotated credentials"


async def _try_credentials(request, tmp_path, lend, report, seed, case, saves, pace):
    fixture, arguments = CREDENTIALS[case]
    bucket = request.getfixturevalue(fixture)
    with FaultProxy(bucket.server.endpoint_url, seed=seed) as proxy:
        wrong, figure = await check_credentials(tmp_path, bucket, proxy, lend=lend, saves=saves, pace=pace, **arguments)
    report(ROW_OF_CREDENTIALS, case=case, **figure)
    assert wrong == []


@pytest.mark.parametrize("case", CREDENTIALS)
async def test_rejected_credentials_are_shown_and_new_ones_taken_up(request, tmp_path, lend, report, seed, case):
    await _try_credentials(request, tmp_path, lend, report, seed, case, saves=6, pace=0.1)


@pytest.mark.long
@pytest.mark.parametrize("case", CREDENTIALS)
async def test_rejected_credentials_are_retried_at_the_real_pace(request, tmp_path, lend, report, seed, case):
    await _try_credentials(request, tmp_path, lend, report, seed, case, saves=200, pace=1.0)


async def test_wrong_credentials_are_shown_before_anybody_saves(tmp_path, durable_bucket, lend, report, seed):
    lend("wrong secret")
    none = {"s3_access_key_id": None, "s3_secret_access_key": None}
    async with Scene(tmp_path, durable_bucket, **none) as scene:
        scene.service.ensure_started()
        shown = await until(lambda: scene.service.status().state == "trouble", "the status shows trouble")
        assert scene.service.status().problems[0].code == "CredentialsRejected"
    report(ROW_OF_CREDENTIALS, case="wrong, without a save", shown_after_s=round(shown, 1))
    assert shown <= SHOWN_WITHIN


# -- buckets -----------------------------------------------------------------------------------------------------------

ROW_OF_BUCKETS = "bucket missing, unversioned, versioning suspended while running"
SHORT_SUSPENSION = Load(saves=60, paths=6)
LONG_SUSPENSION = Load(saves=1_000, paths=20, drain=600.0)


@pytest.mark.parametrize("state", ["missing", "unversioned"])
async def test_a_bucket_that_cannot_be_used_is_named_and_left_alone(tmp_path, seaweed, report, seed, state):
    bucket = Bucket(seaweed, f"b-{seed}-{state}")
    wrong, figure = await check_unusable_bucket(tmp_path, bucket, state, seed=seed)
    report(ROW_OF_BUCKETS, case=state, **figure)
    assert wrong == []


async def test_suspended_versioning_overwrites_nothing_but_what_was_in_flight(tmp_path, durable_bucket, report, seed):
    wrong, figure = await check_suspension(tmp_path, durable_bucket, SHORT_SUSPENSION, seed=seed)
    report(ROW_OF_BUCKETS, case="suspended while running", **figure)
    assert wrong == []


@pytest.mark.long
async def test_suspended_versioning_in_many_saves(tmp_path, durable_bucket, report, seed):
    wrong, figure = await check_suspension(tmp_path, durable_bucket, LONG_SUSPENSION, seed=seed)
    report(ROW_OF_BUCKETS, case="suspended while running", **figure)
    assert wrong == []


# -- what an answer is worth -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"<html><body>Log in</body></html>", b"<ListVersionsResult/>"], ids=repr)
async def test_what_is_no_listing_does_not_pass_for_an_empty_one(tmp_path, bucket, body, seed):
    with FaultProxy(bucket.server.endpoint_url, seed=seed) as proxy:
        async with Scene(tmp_path, bucket, endpoint_url=proxy.endpoint_url, waits=WAITS) as scene:
            await scene.save("a.ipynb", "1")
            assert await scene.service.flush(10.0) == 0
            # The answer is lost, and somebody else writes on top: only the listing shows where our save is.
            # Until that is so, nobody may look.
            proxy.plan(Rule(LoseAnswer(), methods=("PUT",)), Rule(Reset(), methods=("GET", "HEAD")))
            await scene.save("a.ipynb", "2")
            await until(lambda: proxy.struck(LoseAnswer), "the answer is lost")
            with bucket.server.client() as client:
                client.put_object(Bucket=bucket.name, Key="workspace/a.ipynb", Body=b"foreign")
            proxy.plan(Rule(Answer(200, body=body), query="versions", times=3))
            assert await scene.service.flush(10.0) == 0
            assert proxy.struck(Answer) == 3
    assert violations(bucket, {"a.ipynb": [scene.acknowledged["a.ipynb"], [b"foreign"]]}) == []


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_request_whose_connection_is_reset_is_sent_once(tmp_path, bucket, seed, method):
    with FaultProxy(bucket.server.endpoint_url, seed=seed) as proxy:
        async with Scene(tmp_path, bucket, endpoint_url=proxy.endpoint_url, waits=WAITS) as scene:
            digest = hashlib.sha256(b"x").hexdigest()
            await scene.store.put("k", b"x", sha256=digest)
            proxy.plan(Rule(LoseAnswer(), methods=(method,)))
            work = scene.store.put("k", b"x", sha256=digest) if method == "PUT" else scene.store.hide("k")
            with pytest.raises(StoreUnreachable):
                await work
    assert proxy.struck() == 1
    assert len(bucket.rows("k")) == 2


async def test_a_late_save_that_is_stored_again_after_the_bytes_before_it_came_back_is_shown_once(
    tmp_path, bucket, seed
):
    """S3's conditions compare ETags: where the bytes came back, they cannot tell that the save is there already."""
    with FaultProxy(bucket.server.endpoint_url, seed=seed) as proxy:
        async with Scene(tmp_path, bucket, endpoint_url=proxy.endpoint_url, waits=WAITS) as scene:
            first = await scene.save("a.ipynb", "A")
            await scene.service.flush(10.0)
            proxy.plan(Rule(Late(Answer(503)), methods=("PUT",), times=1))
            second = await scene.save("a.ipynb", "B")
            await scene.service.flush(10.0)
            await scene.save("a.ipynb", "A")
            await scene.service.flush(10.0)
            assert proxy.deliver_late() == 1
            assert bucket.versions("workspace/a.ipynb") == [first, second, first, second]
            stored = await attempts(scene.store, bucket, "workspace/a.ipynb")
            assert stored[::2] == ["", ""]
            assert stored[1] != stored[3] == "", "what arrived late is the first attempt, and the other tells so"
            echo = bucket.rows("workspace/a.ipynb")[-1]["VersionId"]
            versions = Versions(scene.store, "workspace")
            assert await contents(versions, "a.ipynb") == [first, second, first]
            newest = await versions.newest("a.ipynb")
            assert newest is not None
            assert await versions.read(newest, limit=10_000) == first
            assert await versions.read(await versions.locate("a.ipynb", echo), limit=10_000) == second
            # These bytes are not the newest save's, though the newest version in the bucket has them.
            await scene.save("a.ipynb", "B")
            await scene.service.flush(10.0)
            assert not scene.service.shipper.courier.foreign
            assert await contents(versions, "a.ipynb") == [first, second, first, second]
    assert bucket.versions("workspace/a.ipynb") == [first, second, first, second, second]


async def test_a_rename_back_that_arrives_twice_is_shown_once(tmp_path, bucket, seed):
    with FaultProxy(bucket.server.endpoint_url, seed=seed) as proxy:
        async with Scene(tmp_path, bucket, endpoint_url=proxy.endpoint_url, waits=WAITS) as scene:
            content = await scene.save("a.ipynb", "x")
            await scene.service.flush(10.0)
            await scene.manager.rename("a.ipynb", "b.ipynb")
            await scene.service.flush(10.0)
            proxy.plan(Rule(Late(Answer(503)), methods=("PUT",), times=1))
            await scene.manager.rename("b.ipynb", "a.ipynb")
            await scene.service.flush(10.0)
            assert proxy.deliver_late() == 1
            assert bucket.versions("workspace/a.ipynb") == [content] * 3
            _, again, late = await attempts(scene.store, bucket, "workspace/a.ipynb")
            assert again != late == ""
            shown = (await Versions(scene.store, "workspace").history("a.ipynb")).versions
    assert [(one.path, one.reason) for one in shown] == [
        ("a.ipynb", "rename"),
        ("b.ipynb", "rename"),
        ("a.ipynb", "save"),
    ]


async def test_a_version_that_somebody_puts_back_is_shown_and_is_the_newest(tmp_path, bucket, seed):
    """A copy onto the same key takes the metadata along, as a late PUT does, and is another writer's version."""
    async with Scene(tmp_path, bucket, waits=WAITS) as scene:
        good = await scene.save("a.ipynb", "good")
        await scene.service.flush(10.0)
        broken = await scene.save("a.ipynb", "broken")
        await scene.service.flush(10.0)
        key = "workspace/a.ipynb"
        source = bucket.rows(key)[0]["VersionId"]
        with bucket.server.client() as client:
            copied = client.copy_object(
                Bucket=bucket.name, Key=key, CopySource={"Bucket": bucket.name, "Key": key, "VersionId": source}
            )
        versions = Versions(scene.store, "workspace")
        assert await contents(versions, "a.ipynb") == [good, broken, good]
        newest = await versions.newest("a.ipynb")
        assert newest is not None
        assert (newest.version_id, newest.is_latest) == (copied["VersionId"], True)


async def attempts(store: S3Store, bucket: Bucket, key: str) -> list[str]:
    """Which attempt stored each version of a key, the oldest first; empty for a first one."""
    heads = [await store.head(key, row["VersionId"]) for row in bucket.rows(key)]
    return [head.metadata.get("bookstore-attempt", "") for head in heads]


async def contents(versions: Versions, path: str) -> list[bytes]:
    """The bytes of the versions that the history of a path shows, the oldest first."""
    shown = (await versions.history(path)).versions
    return [await versions.read(one, limit=10_000) for one in reversed(shown)]


async def test_saves_that_fail_together_do_not_make_the_waits_longer(tmp_path, bucket, seed, monkeypatch):
    """Of many saves on their way at once, each failure doubled the wait: two seconds away cost a minute."""
    waits: list[float] = []

    def longest_wait(error, failures, chance):
        waits.append(wait_after(error, failures, lambda: 1.0))
        return waits[-1]

    monkeypatch.setattr(shipper, "wait_after", longest_wait)
    paths = [f"{number}.ipynb" for number in range(14)]
    with FaultProxy(bucket.server.endpoint_url, seed=seed) as proxy:
        async with Scene(tmp_path, bucket, endpoint_url=proxy.endpoint_url) as scene:
            await scene.save_all(paths, len(paths), seed=seed)
            await scene.service.flush(30.0)
            proxy.down()
            await scene.save_all(paths, len(paths), seed=seed, size=1)
            # All have failed once, and so has the first that tried again: the gate and each save ask how long to wait.
            await until(lambda: len(waits) >= len(paths) + 3, "the gate is closed again")
            proxy.up()
            await until(lambda: not scene.service.shipper.waiting, "all is in the bucket", 30.0)
    assert max(waits) <= 8.0
    assert scene.violations() == []
