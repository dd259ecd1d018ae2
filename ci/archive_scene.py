"""A contents manager and its archive in this process, what it acknowledged, and how that compares with the bucket."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from traitlets.config import Config

from bookstore import delivery, retry, service, shipper
from bookstore.archive import BookstoreContentsArchiver, service_of
from bookstore.storage.base import Receipt
from bookstore.storage.s3 import S3Store
from ci.bucket import Bucket
from ci.jupyter_process import notebook

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

#: Seconds beyond an attempt's limit that a busy machine may need to notice.
SLACK = 2.0


@dataclass(frozen=True)
class Waits:
    """How long the product waits, for tests that have no minutes to spare.

    Attributes
    ----------
    attempt, question : float
        Seconds for an attempt to store something, and for a question that moves no content.
    pace : float
        By how much the waits between two tries are multiplied.
    """

    attempt: float = 1.0
    question: float = 1.0
    pace: float = 0.1

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Let the product wait so within the block, instead of half a minute and more."""
        with (
            mock.patch.object(delivery, "attempt_timeout", return_value=self.attempt),
            mock.patch.object(retry, "BASE", retry.BASE * self.pace),
            mock.patch.object(retry, "CAP", retry.CAP * self.pace),
            mock.patch.object(retry, "SLOW_BASE", retry.SLOW_BASE * self.pace),
            mock.patch.object(service, "PROBE_DELAY", service.PROBE_DELAY * self.pace),
            mock.patch.object(shipper, "QUIET", shipper.QUIET * self.pace),
        ):
            yield


class TimedStore(S3Store):
    """The product's own store, which notes how long each attempt to store took."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.attempts: list[float] = []

    async def put(self, *args: Any, **options: Any) -> Receipt:  # noqa: D102
        before = time.monotonic()
        try:
            return await super().put(*args, **options)
        finally:
            self.attempts.append(time.monotonic() - before)


class Scene:
    """Jupyter's default manager with archiving, over a bucket.

    Parameters
    ----------
    directory : Path
        Root and outbox are made below it.
    bucket : Bucket
    endpoint_url : str, optional
        Where the bucket is reached, instead of at its server: a proxy.
    waits : Waits, optional
        In force while the scene is open; the product's own by default.
    outbox : Path, optional
        Instead of the scene's own.
    **settings
        As for `BookstoreSettings`.
    """

    def __init__(
        self,
        directory: Path,
        bucket: Bucket,
        *,
        endpoint_url: str | None = None,
        waits: Waits | None = None,
        outbox: Path | None = None,
        **settings: Any,
    ) -> None:
        self.root = directory / "root"
        self.root.mkdir(parents=True, exist_ok=True)
        self.bucket = bucket
        self.waits = waits
        #: What was acknowledged, by path, in order.
        self.acknowledged: dict[str, list[bytes]] = {}
        #: Seconds that each save took.
        self.seconds: list[float] = []
        self._settings = {
            "s3_bucket": bucket.name,
            "s3_endpoint_url": endpoint_url or bucket.server.endpoint_url,
            "s3_access_key_id": bucket.server.access_key_id,
            "s3_secret_access_key": bucket.server.secret_access_key,
            "outbox_dir": str(outbox or directory / "outbox"),
            "outbox_reserve": 0,
            "drain_timeout": 0.0,
            **settings,
        }
        self._waiting: Any = None

    async def __aenter__(self) -> Self:
        self._waiting = self.waits.in_force() if self.waits is not None else None
        if self._waiting is not None:
            self._waiting.__enter__()
        config = Config({"BookstoreSettings": {k: v for k, v in self._settings.items() if v is not None}})
        self.manager = BookstoreContentsArchiver(config=config, root_dir=str(self.root))
        self.service = service_of(self.manager)
        options = self.service.store.options  # type: ignore[attr-defined]
        if self.waits is not None:
            limit = self.waits.question
            options = replace(options, connect_timeout=limit / 2, read_timeout=limit / 2)
        self.store = self.service.store = self.service.shipper.courier.store = TimedStore(options)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.service.stop()
        finally:
            if self._waiting is not None:
                self._waiting.__exit__(None, None, None)

    async def save(self, path: str, text: str, **more: Any) -> bytes:
        """Save a notebook as Jupyter's handler does; the bytes that were acknowledged."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        model = {"type": "notebook", "format": "json", "content": notebook(text, **more)}
        before = time.perf_counter()
        await self.manager.save(model, path)
        self.seconds.append(time.perf_counter() - before)
        content = (self.root / path).read_bytes()
        self.acknowledged.setdefault(path, []).append(content)
        return content

    async def save_all(self, paths: Sequence[str], saves: int, *, seed: int, pause: float = 0.0, size: int = 0) -> None:
        """Save each path often, all paths at the same time.

        Parameters
        ----------
        paths : sequence of str
        saves : int
            In all.
        seed : int
            Draws the pauses.
        pause : float
            Seconds at most between two saves of a path.
        size : int
            Characters of a notebook, about.
        """
        chance = random.Random(seed)  # noqa: S311 - chance that can be repeated

        async def save_one(path: str, count: int) -> None:
            for number in range(count):
                await self.save(path, f"{path} {number} {'x' * size}")
                if pause:
                    await asyncio.sleep(pause * chance.random())

        count, more = divmod(saves, len(paths))
        await asyncio.gather(*(save_one(path, count + (n < more)) for n, path in enumerate(paths)))

    def entries(self) -> list[Path]:
        """What lies in the outbox."""
        return sorted(Path(str(self._settings["outbox_dir"])).glob("*/*.entry"))

    def violations(self) -> list[str]:
        """What of the guarantees about the bucket does not hold."""
        return violations(self.bucket, {path: [saves] for path, saves in self.acknowledged.items()})


def violations(
    bucket: Bucket,
    acknowledged: Mapping[str, Iterable[Sequence[bytes]]],
    *,
    named_only: bool = False,
    ordered: bool = True,
) -> list[str]:
    """Compare what was acknowledged with the bucket: nothing lost, nothing twice, nothing strange, and in order.

    Parameters
    ----------
    bucket : Bucket
    acknowledged : Mapping of str to iterable of sequence of bytes
        By path: the saves of each server, in order. No two saves of a path have the same bytes.
    named_only : bool
        Count only versions with a name of their own, not the one ``null`` version that a key may have.
    ordered : bool
        Whether each server's saves are to be in order.

    Returns
    -------
    list of str
        Empty where all holds.
    """
    found = []
    for path, servers in acknowledged.items():
        key = f"workspace/{path}"
        names = [row["VersionId"] for row in bucket.rows(key) if row["kind"] == "Versions"]
        history = [bucket.read(key, name) for name in names if not (named_only and name == "null")]
        counts = Counter(history)
        known: set[bytes] = set()
        for number, saves in enumerate(servers):
            known.update(saves)
            lost = [n for n, content in enumerate(saves) if content not in counts]
            if lost:
                found.append(f"{path}: server {number} lost {len(lost)} of {len(saves)} saves: {lost[:10]}")
            places = {content: n for n, content in enumerate(saves)}
            order = [places[content] for content in history if content in places]
            if ordered and order != sorted(order):
                found.append(f"{path}: the saves of server {number} are out of order: {order[:50]}")
        doubles = [n for n, content in enumerate(history) if content in history[:n]]
        if doubles:
            found.append(f"{path}: {len(doubles)} versions stand there a second time: {doubles[:10]}")
        strange = [n for n, content in enumerate(history) if content not in known]
        if strange:
            found.append(f"{path}: {len(strange)} versions are nobody's saves: {strange[:10]}")
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """The value that a share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def until(condition: Callable[[], object], what: str, timeout: float = 30.0) -> float:
    """Wait until a condition holds; the seconds that took.

    Raises
    ------
    AssertionError
        It does not hold in time.
    """
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > timeout:
            raise AssertionError(f"in {timeout} s it did not come true that {what}")
        await asyncio.sleep(0.01)
    return time.monotonic() - start
