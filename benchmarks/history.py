"""What a page of a long history costs: ratios against a bare listing of the same server, in one run.

``python benchmarks/history.py`` prints a table and then all figures as JSON; ``--json FILE`` keeps those. The pages
take turns round by round, since the machine's speed drifts, and only ratios are worth quoting.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import hashlib
import json
import logging
import os
import platform
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

from ci.s3_servers import MotoServer, S3Server, SeaweedServer

PATH = "long.ipynb"
KEY = f"workspace/{PATH}"

#: The first page without details, of as many rows as the bare page, may take so many times its time.
BAR = 1.3

#: PUTs under way at once.
IN_FLIGHT = 16

SERVERS = ["moto", "SeaweedFS"]


async def fill(store: Any, count: int, in_flight: int = IN_FLIGHT) -> None:
    """Store so many versions of one path, each of other bytes and with the provenance of a save."""
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
            await store.put(KEY, content, sha256=sha256, metadata=to_metadata(provenance))

    await asyncio.gather(*(put() for _ in range(in_flight)))


def multiply(bucket: str, count: int) -> None:
    """Give moto's only version so many siblings.

    It is a list in this process that moto copies at each PUT, so that filling it over HTTP would take half an hour.
    """
    from moto.core.models import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    keys = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[bucket].keys
    first = keys[KEY]
    versions = []
    for _ in range(count - 1):
        version = copy.copy(first)
        version._version_id = str(uuid.uuid4())  # noqa: SLF001  (moto offers no other way)
        versions.append(version)
    keys.setlist(KEY, [*versions, first])


async def measure(server: S3Server, count: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each page, in turns: a bare one, bookstore's without and with details."""
    import aiobotocore.config
    import aiobotocore.session

    from bookstore.storage.s3 import S3Options, S3Store
    from bookstore.versions import Versions

    bucket = server.create_bucket("benchmark")
    options = S3Options(
        bucket=bucket,
        endpoint_url=server.endpoint_url,
        access_key_id=server.access_key_id,
        secret_access_key=server.secret_access_key,
    )
    async with AsyncExitStack() as stack:
        store = S3Store(options)
        stack.push_async_callback(store.aclose)
        if isinstance(server, MotoServer):
            await fill(store, 1)
            multiply(bucket, count)
        else:
            await fill(store, count)
        client = await stack.enter_async_context(
            aiobotocore.session.get_session().create_client(
                "s3",
                region_name="us-east-1",
                endpoint_url=server.endpoint_url,
                aws_access_key_id=server.access_key_id,
                aws_secret_access_key=server.secret_access_key,
                config=aiobotocore.config.AioConfig(retries={"total_max_attempts": 1}),
            )
        )

        async def bare() -> None:
            answer = await client.list_object_versions(Bucket=bucket, Prefix=KEY, MaxKeys=1000)
            assert len(answer["Versions"]) == min(count, 1000), "otherwise the ratio means nothing"

        async def plain() -> None:
            page = await Versions(store, "workspace").history(PATH, limit=1000, details=False)
            assert len(page.versions) == min(count, 1000), "otherwise the ratio means nothing"

        async def usual() -> None:
            # Anew each time, so that nothing is remembered.
            page = await Versions(store, "workspace").history(PATH)
            assert all(one.user == "ada" for one in page.versions), "otherwise there are no details"

        return await in_turns({"bare": bare, "plain": plain, "usual": usual}, rounds)


async def in_turns(pages: dict[str, Callable[[], Awaitable[None]]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each page in each round; every round begins with another one."""
    figures: dict[str, list[float]] = {name: [] for name in pages}
    names = list(pages)
    for number in range(-2, rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            start = time.perf_counter()
            await pages[name]()
            if number >= 0:
                figures[name].append(time.perf_counter() - start)
    return figures


def run(count: int, rounds: int) -> dict[str, Any]:
    """Measure everything."""
    result: dict[str, Any] = {
        "machine": f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}",
        "versions": count,
        "servers": [],
    }
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        for label in SERVERS:
            server: S3Server = MotoServer() if label == "moto" else SeaweedServer(Path(name))
            stack.enter_context(server)
            figures = asyncio.run(measure(server, count, rounds))
            bare = statistics.median(figures["bare"])
            row = {
                "server": label,
                "bare_ms": 1000 * bare,
                "plain_ratio": statistics.median(figures["plain"]) / bare,
                "usual_ratio": statistics.median(figures["usual"]) / bare,
                "bar": BAR,
                "seconds": figures,
            }
            result["servers"].append(row)
    return result


HEAD = """\
Measured on {machine}; a path with {versions:,} versions, the servers on the same machine. Absolute times say little;
the ratios are those of medians, taken in turns in one run.

| server | bare page of 1,000 rows, median | first page of 1,000 rows without details, ratio | bar | \
usual first page: 50 rows with details, ratio |
|-|-|-|-|-|
"""


def report(result: dict[str, Any]) -> str:
    """The table, as Markdown."""
    lines = [
        f"| {row['server']} | {row['bare_ms']:.1f} ms | {row['plain_ratio']:.2f} | ≤ {row['bar']:.2f} | "
        f"{row['usual_ratio']:.2f} |\n"
        for row in result["servers"]
    ]
    return HEAD.format(**result) + "".join(lines)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--versions", type=int, default=10_000, help="how long the history is")
    parser.add_argument("--rounds", type=int, default=15, help="how often each page is asked for")
    parser.add_argument("--json", type=Path, help="keep all figures in this file")
    parser.add_argument("--write", action="store_true", help="put the table into the documentation")
    arguments = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # moto tells each request
    result = run(arguments.versions, arguments.rounds)
    text = report(result)
    print(text)
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1))
    if arguments.write:
        (ROOT / "docs" / "explanation" / "_history-benchmark.md").write_text(text)


if __name__ == "__main__":
    main()
