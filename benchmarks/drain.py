"""How fast a backlog drains, against bare loops of PUTs with as many under way at once.

Three bare loops, from the barest to one that sends what bookstore sends:

- ``plain``: the SDK with its own settings, bodies in memory;
- ``checksum``: bookstore's client settings, and a SHA-256 that the loop computes and the store checks;
- ``request``: the same, with the headers of provenance, the content's type and the condition of each of our PUTs.

bookstore besides reads each entry from the disk, checks it and removes it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import bare
from benchmarks.figures import Figure, estimated
from benchmarks.samples import ratio
from benchmarks.scene import Scene, in_turns, run

if TYPE_CHECKING:
    from bookstore.delivery import Parcel

NAME = "drain"

#: The rate against that of the plain loop.
BAR = 0.85

#: How many notebooks a backlog is spread over, how many saves it holds, of how many bytes, and how often it is drained.
PATHS = 100
ENTRIES = 1000
SIZE = 20_000
ROUNDS = 7

_WHAT = {
    "plain": "draining, against a bare loop with the SDK's own settings",
    "checksum": "draining, against a bare loop with our client's settings that computes the SHA-256 itself",
    "request": "draining, against a bare loop that sends the same headers and conditions",
}


class Drain:
    """A service with a backlog, and the loops that it is compared with.

    Parameters
    ----------
    scene : Scene
    place : Path
        Where the outbox is.
    entries : int
    """

    def __init__(self, scene: Scene, place: Path, entries: int) -> None:
        from bookstore.bookstore_config import BookstoreSettings
        from bookstore.service import READERS, ArchiveService

        self._bucket = scene.bucket()
        self._server = scene.store
        self._entries = entries
        settings = BookstoreSettings(
            s3_bucket=self._bucket,
            s3_endpoint_url=scene.store.endpoint_url,
            s3_access_key_id=scene.store.access_key_id,
            s3_secret_access_key=scene.store.secret_access_key,
            outbox_dir=str(place / "outbox"),
            outbox_reserve=0,
        )
        self.slots = settings.max_threads - READERS
        self._connections = settings.max_threads
        self._service = ArchiveService(settings, root_dir=str(place), log=logging.getLogger("benchmark"))
        self._bodies = [os.urandom(SIZE) for _ in range(entries)]
        self._parcels: list[Parcel] = []
        self._etags: dict[str, str] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Drain:  # noqa: PYI034 - typing.Self is younger than Python 3.10
        self._service.ensure_started()
        self._stack.push_async_callback(self._service.stop)
        enter = self._stack.enter_async_context
        self._plain = await enter(bare.plain_client(self._server, self._connections))
        self._tuned = await enter(bare.tuned_client(self._server, self._connections))
        for client in (self._plain, self._tuned):
            await client.list_buckets()
        # The first contact with a key costs a look at it; a backlog grows on keys that are known.
        await self.fill(min(PATHS, self._entries))
        await self.ours()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def fill(self, entries: int | None = None) -> None:
        """Take the saves of a backlog, each of other bytes; nothing is shipped yet."""
        for number in range(self._entries if entries is None else entries):
            draft = self._service.draft(f"drain/{number % PATHS}.ipynb")
            parcel = await asyncio.to_thread(self._service.intake.take, draft, os.urandom(SIZE))
            assert parcel is not None, "otherwise the backlog is shorter than the figure says"
            self._parcels.append(parcel)

    async def ours(self) -> None:
        """Drain the backlog."""
        parcels, self._parcels = self._parcels, []
        self._service.submit(parcels)
        left = await self._service.flush(600)
        assert left == 0, "otherwise the rate means nothing"
        assert all(parcel.delivered is not None for parcel in parcels), "otherwise the rate means nothing"

    async def plain(self) -> None:
        """PUT as the SDK does by itself."""

        async def put(number: int, body: bytes) -> None:
            await self._plain.put_object(Bucket=self._bucket, Key=f"plain/{number % PATHS}", Body=body)

        await self._loop(put)

    async def checksum(self) -> None:
        """PUT with a SHA-256."""

        async def put(number: int, body: bytes) -> None:
            checksum = base64.b64encode(hashlib.sha256(body).digest()).decode()
            key = f"checksum/{number % PATHS}"
            await self._tuned.put_object(Bucket=self._bucket, Key=key, Body=body, ChecksumSHA256=checksum)

        await self._loop(put)

    async def request(self) -> None:
        """PUT what bookstore PUTs."""
        from bookstore.provenance import Provenance, to_metadata

        locks = [asyncio.Lock() for _ in range(PATHS)]

        async def put(number: int, body: bytes) -> None:
            digest = hashlib.sha256(body)
            provenance = Provenance(
                record_id=f"{number:032x}",
                sha256=digest.hexdigest(),
                saved_at=time.time(),
                user="ada",
                host="machine",
                root_dir="/home/ada",
                instance="0123456789abcdef",
                generation=1,
                sequence=number,
            )
            key = f"request/{number % PATHS}"
            # One at a time of a key: the next one's condition is the ETag of this one.
            async with locks[number % PATHS]:
                condition = {"IfMatch": self._etags[key]} if key in self._etags else {"IfNoneMatch": "*"}
                answer = await self._tuned.put_object(
                    Bucket=self._bucket,
                    Key=key,
                    Body=body,
                    ChecksumSHA256=base64.b64encode(digest.digest()).decode(),
                    Metadata=to_metadata(provenance),
                    ContentType="application/x-ipynb+json",
                    **condition,
                )
                self._etags[key] = answer["ETag"]

        await self._loop(put)

    async def _loop(self, put: Callable[[int, bytes], Awaitable[None]]) -> None:
        todo = iter(enumerate(self._bodies))

        async def slot() -> None:
            for number, body in todo:
                await put(number, body)

        await asyncio.gather(*(slot() for _ in range(self.slots)))


async def _measure(scene: Scene, place: Path) -> tuple[dict[str, list[float]], int]:
    entries = scene.effort.count(ENTRIES, 30)
    async with Drain(scene, place, entries) as drain:
        loops = {"ours": drain.ours, "plain": drain.plain, "checksum": drain.checksum, "request": drain.request}
        seconds = await in_turns(
            loops, scene.effort.count(ROUNDS, 1), warm_up=scene.effort.count(1, 0), before=drain.fill
        )
    return {name: [entries / one for one in samples] for name, samples in seconds.items()}, drain.slots


def measure(scene: Scene) -> Iterator[Figure]:
    """Drain, and PUT as much, in turns."""
    with scene.place("drain") as place:
        rates, slots = run(_measure(scene, place))
    for name, what in _WHAT.items():
        yield estimated(
            NAME,
            f"{what}, {slots} PUTs of {SIZE // 1000} kB under way",
            ratio(rates["ours"], rates[name]),
            bar=BAR if name == "plain" else None,
            is_floor=name == "plain",
            n=len(rates["ours"]),
            beside={"bare per s": statistics.median(rates[name]), "bookstore per s": statistics.median(rates["ours"])},
        )
