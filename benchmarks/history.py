"""What a page of a long history costs, against a bare listing of the same server."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from typing import Any

from benchmarks import bare
from benchmarks.figures import Figure, estimated
from benchmarks.samples import ratio
from benchmarks.scene import Scene, in_turns, milliseconds, run
from ci.s3_servers import MotoServer, S3Server

NAME = "history"

PATH = "long.ipynb"
KEY = f"workspace/{PATH}"

#: The first page without details, of as many rows as the bare page, may take so many times its time.
BAR = 1.3
ROUNDS = 15

#: How moto names the record id of a version.
RECORD_ID = "x-amz-meta-bookstore-record"

#: PUTs under way at once.
IN_FLIGHT = 16


async def fill(store: Any, key: str, count: int, in_flight: int = IN_FLIGHT) -> None:
    """Store so many versions of one key, each of other bytes and with the provenance of a save."""
    from bookstore.provenance import Provenance, to_metadata

    todo = iter(range(count))

    async def put() -> None:
        for number in todo:
            content = b"%d" % number
            sha256 = hashlib.sha256(content).hexdigest()
            provenance = Provenance(
                record_id=f"{number:032x}",
                sha256=sha256,
                saved_at=time.time(),
                user="ada",
                host="machine",
                root_dir="/home/ada",
                instance="0123456789abcdef",
                generation=1,
                sequence=number,
            )
            await store.put(key, content, sha256=sha256, metadata=to_metadata(provenance))

    await asyncio.gather(*(put() for _ in range(in_flight)))


def multiply(bucket: str, count: int) -> None:
    """Give moto's only version so many siblings.

    It is a list in this process that moto copies at each PUT, so that filling it over HTTP would take half an hour.
    """
    from moto.core.models import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    keys = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[bucket].keys
    first = keys[KEY]
    assert RECORD_ID in first.metadata, "otherwise the versions are one to bookstore"
    versions = []
    for number in range(1, count):
        version = copy.copy(first)
        # Versions of the same bytes and record would be one save, of which the history shows one.
        version._metadata = copy.deepcopy(first._metadata)  # noqa: SLF001
        version._metadata[RECORD_ID] = f"{number:032x}"  # noqa: SLF001
        version._etag = hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest()  # noqa: SLF001
        version._version_id = str(uuid.uuid4())  # noqa: SLF001  (moto offers no other way)
        versions.append(version)
    keys.setlist(KEY, [*versions, first])


def store_over(server: S3Server, bucket: str) -> Any:
    """Bookstore's own client of a bucket."""
    from bookstore.storage.s3 import S3Options, S3Store

    return S3Store(
        S3Options(
            bucket=bucket,
            endpoint_url=server.endpoint_url,
            access_key_id=server.access_key_id,
            secret_access_key=server.secret_access_key,
        )
    )


async def _measure(server: S3Server, bucket: str, count: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each page, in turns: a bare one, bookstore's without and with details."""
    from bookstore.versions import Versions

    async with AsyncExitStack() as stack:
        store = store_over(server, bucket)
        stack.push_async_callback(store.aclose)
        if isinstance(server, MotoServer):
            await fill(store, KEY, 1)
            multiply(bucket, count)
        else:
            await fill(store, KEY, count)
        client = await stack.enter_async_context(bare.plain_client(server, IN_FLIGHT))
        rows = min(count, 1000)

        async def bare_page() -> None:
            answer = await client.list_object_versions(Bucket=bucket, Prefix=KEY, MaxKeys=1000)
            assert len(answer["Versions"]) == rows, "otherwise the ratio means nothing"

        async def plain() -> None:
            page = await Versions(store, "workspace").history(PATH, limit=1000, details=False)
            assert len(page.versions) == rows, "otherwise the ratio means nothing"

        async def usual() -> None:
            # Anew each time, so that nothing is remembered.
            page = await Versions(store, "workspace").history(PATH)
            assert all(one.user == "ada" for one in page.versions), "otherwise there are no details"

        return await in_turns({"bare": bare_page, "plain": plain, "usual": usual}, rounds)


def measure(scene: Scene) -> Iterator[Figure]:
    """Ask two servers for pages, in turns."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # moto tells each request
    count = 20 if scene.effort.quick else scene.effort.versions
    rounds = scene.effort.count(ROUNDS, 1)
    with ExitStack() as stack:
        servers: list[tuple[str, S3Server, str]] = [("SeaweedFS", scene.store, scene.bucket())]
        if not scene.effort.quick:
            moto = stack.enter_context(MotoServer())
            servers.append(("moto", moto, moto.create_bucket("benchmark")))
        for label, server, bucket in servers:
            seconds = run(_measure(server, bucket, count, rounds))
            for name, bar, what in (
                ("plain", BAR, "first page of 1,000 rows without details"),
                ("usual", None, "usual first page, 50 rows with details"),
            ):
                yield estimated(
                    NAME,
                    f"{what} of {count:,} versions, {label}, against a bare page of 1,000 rows",
                    ratio(seconds[name], seconds["bare"]),
                    bar=bar,
                    n=rounds,
                    beside={"bare ms": milliseconds(seconds["bare"]), "bookstore ms": milliseconds(seconds[name])},
                )
