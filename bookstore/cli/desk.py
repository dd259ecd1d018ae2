"""Where a command does its work: in the running server that holds the file, or with this machine's own settings."""

from __future__ import annotations

import abc
import asyncio
import concurrent.futures
import hashlib
import logging
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bookstore.cli.output import count
from bookstore.errors import ObjectMissing
from bookstore.provenance import altered
from bookstore.results import Archived, Cloned, Comparison, History, Listing, Published, Removed, Restored, Version

if TYPE_CHECKING:
    from bookstore.cli.context import Context
    from bookstore.cli.reading import Reader
    from bookstore.client import BookstoreClient
    from bookstore.library import Library
    from bookstore.publishing import Shelf
    from bookstore.service import ArchiveService

_T = TypeVar("_T")

#: Versions or publications that one request asks for.
PAGE = 100

#: Rows that a request without details may ask for.
LARGEST_PAGE = 1000

#: Bytes that are handed on at a time.
_CHUNK = 1 << 20

#: Seconds that archiving one file may take until it is told to be waiting.
ARCHIVE_TIMEOUT = 60.0


class Desk(abc.ABC):
    """The verbs of the life of a notebook, one call after the other.

    Paths are API paths, relative to the server's root. Every verb raises a `bookstore.errors.BookstoreError` where it
    cannot do what was asked. A desk is closed by the end of its ``with`` block.
    """

    #: Where the work is done, for people.
    where: str

    def __enter__(self) -> Desk:  # noqa: PYI034 - typing.Self is younger than Python 3.10
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        self.close(in_hurry=kind is not None and issubclass(kind, KeyboardInterrupt))

    @abc.abstractmethod
    def close(self, *, in_hurry: bool = False) -> None:
        """End what was begun; may be called twice.

        Parameters
        ----------
        in_hurry : bool
            Somebody does not want to wait for what could still be done.
        """

    @abc.abstractmethod
    def history(
        self, path: str, *, area: str = "workspace", limit: int = 50, cursor: str | None = None, details: bool = True
    ) -> History:
        """A page of the history of a path, newest first."""

    @abc.abstractmethod
    def pinned(self, path: str, *, area: str = "workspace") -> History:
        """The pinned versions of a path, newest first."""

    def versions(
        self, path: str, *, area: str = "workspace", details: bool = True, page: int = PAGE
    ) -> Iterator[Version]:
        """The whole history of a path, newest first; pages are asked for as they are needed."""
        cursor: str | None = None
        while True:
            history = self.history(path, area=area, limit=page, cursor=cursor, details=details)
            yield from history.versions
            cursor = history.cursor
            if cursor is None:
                return

    @abc.abstractmethod
    def locate(self, path: str, version_id: str, *, area: str = "workspace") -> Version:
        """One version with its details."""

    @abc.abstractmethod
    def copy_to(self, path: str, version_id: str, write: Callable[[bytes], object], *, area: str = "workspace") -> None:
        """Hand a version's bytes to ``write``, in order; `IntegrityError` where they are not what was saved."""

    @abc.abstractmethod
    def compare(
        self, path: str, before: str | None = None, after: str | None = None, *, area: str = "workspace"
    ) -> Comparison:
        """Compare two versions, or a version with the file as it is now."""

    @abc.abstractmethod
    def label(
        self,
        path: str,
        version_id: str,
        *,
        name: str | None = None,
        note: str | None = None,
        pinned: bool | None = None,
    ) -> Version:
        """Name, annotate or pin a version; what is left out stays as it is."""

    @abc.abstractmethod
    def restore(
        self,
        path: str,
        version_id: str,
        *,
        target_path: str | None = None,
        expected_hash: str | None = None,
        force: bool = False,
    ) -> Restored:
        """Make a version's bytes the file's again."""

    @abc.abstractmethod
    def archive(self, path: str, *, timeout: float = ARCHIVE_TIMEOUT) -> Archived:
        """Archive a file as it is now. May be called from several threads."""

    @abc.abstractmethod
    def publish(self, path: str) -> Published:
        """Publish the notebook at a path."""

    @abc.abstractmethod
    def unpublish(self, path: str) -> Removed:
        """Hide a publication."""

    @abc.abstractmethod
    def published(self) -> Iterator[Published]:
        """Everything that is published."""

    @abc.abstractmethod
    def schedule(
        self, path: str, *, version_id: str | None = None, parameters: Mapping[str, Any] | None = None
    ) -> Published:
        """Make a scheduled copy of a version, or of the file as it is now."""

    @abc.abstractmethod
    def unschedule(self, path: str) -> Removed:
        """Hide a scheduled copy."""

    @abc.abstractmethod
    def scheduled(self) -> Iterator[Published]:
        """Everything that is scheduled."""

    @abc.abstractmethod
    def scheduled_copy(self, path: str, version_id: str | None = None) -> Published:
        """One scheduled copy with its parameters."""

    @abc.abstractmethod
    def clone(self, bucket: str, key: str, *, version_id: str | None = None, target_path: str = "") -> Cloned:
        """Make a file of an object's version."""

    @abc.abstractmethod
    def clone_file(self, relpath: str, *, target_path: str = "") -> Cloned:
        """Make a file of one below ``fs_cloning_basedir``."""


class RemoteDesk(Desk):
    """The verbs in a running server, over its REST interface.

    Parameters
    ----------
    client : BookstoreClient
    """

    def __init__(self, client: BookstoreClient) -> None:
        self.client = client
        self.where = f"the server at {client.server.url}"

    def close(self, *, in_hurry: bool = False) -> None:
        """Nothing is open between two requests."""

    def history(  # noqa: D102  (as `Desk` says, and so for all that follow)
        self, path: str, *, area: str = "workspace", limit: int = 50, cursor: str | None = None, details: bool = True
    ) -> History:
        return self.client.history(path, area=area, limit=limit, cursor=cursor, details=details)

    def pinned(self, path: str, *, area: str = "workspace") -> History:  # noqa: D102
        return self.client.pinned(path, area=area)

    def locate(self, path: str, version_id: str, *, area: str = "workspace") -> Version:  # noqa: D102
        cursor: str | None = None
        while True:
            page = self.history(path, area=area, limit=LARGEST_PAGE, cursor=cursor, details=False)
            ids = [version.version_id for version in page.versions]
            if version_id in ids:
                break
            if page.cursor is None:
                raise ObjectMissing(f"the history of {path!r} has no version {version_id!r}")
            cursor = page.cursor
        # The details of one row, and not of all before it.
        if before := ids.index(version_id):
            cursor = self.history(path, area=area, limit=before, cursor=cursor, details=False).cursor
        found = self.history(path, area=area, limit=1, cursor=cursor).versions
        if found and found[0].version_id == version_id:
            return found[0]
        # With details an earlier name may come in between.
        return next(row for row in self.versions(path, area=area) if row.version_id == version_id)

    def copy_to(  # noqa: D102
        self, path: str, version_id: str, write: Callable[[bytes], object], *, area: str = "workspace"
    ) -> None:
        # By way of a file: a version may be larger than what memory should hold.
        with tempfile.TemporaryDirectory(prefix="bookstore-") as directory:
            part = self.client.download(path, Path(directory, "version"), version_id, area=area)
            with part.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    write(chunk)

    def compare(  # noqa: D102
        self, path: str, before: str | None = None, after: str | None = None, *, area: str = "workspace"
    ) -> Comparison:
        return self.client.compare(path, before, after, area=area)

    def label(  # noqa: D102
        self,
        path: str,
        version_id: str,
        *,
        name: str | None = None,
        note: str | None = None,
        pinned: bool | None = None,
    ) -> Version:
        return self.client.label(path, version_id, name=name, note=note, pinned=pinned)

    def restore(  # noqa: D102
        self,
        path: str,
        version_id: str,
        *,
        target_path: str | None = None,
        expected_hash: str | None = None,
        force: bool = False,
    ) -> Restored:
        return self.client.restore(path, version_id, target_path=target_path, expected_hash=expected_hash, force=force)

    def archive(self, path: str, *, timeout: float = ARCHIVE_TIMEOUT) -> Archived:  # noqa: D102
        return self.client.archive(path, timeout=timeout)

    def publish(self, path: str) -> Published:  # noqa: D102
        return self.client.publish(path)

    def unpublish(self, path: str) -> Removed:  # noqa: D102
        return self.client.unpublish(path)

    def published(self) -> Iterator[Published]:  # noqa: D102
        return self.client.published()

    def schedule(  # noqa: D102
        self, path: str, *, version_id: str | None = None, parameters: Mapping[str, Any] | None = None
    ) -> Published:
        return self.client.schedule(path, version_id=version_id, parameters=parameters)

    def unschedule(self, path: str) -> Removed:  # noqa: D102
        return self.client.unschedule(path)

    def scheduled(self) -> Iterator[Published]:  # noqa: D102
        return self.client.scheduled()

    def scheduled_copy(self, path: str, version_id: str | None = None) -> Published:  # noqa: D102
        return self.client.scheduled_copy(path, version_id)

    def clone(  # noqa: D102
        self, bucket: str, key: str, *, version_id: str | None = None, target_path: str = ""
    ) -> Cloned:
        return self.client.clone(bucket, key, target_path, version_id=version_id)

    def clone_file(self, relpath: str, *, target_path: str = "") -> Cloned:  # noqa: D102
        return self.client.clone_file(relpath, target_path)


class LocalDesk(Desk):
    """The verbs with this machine's settings, as a server with them would do them; in a thread of their own.

    What only reads opens nothing but the store. The first verb that writes, or reads a file, opens the rest.

    Parameters
    ----------
    context : Context
        Whose settings and root directory count.
    needs_bucket : bool
        Whether there is nothing to do without a bucket.
    """

    def __init__(self, context: Context, *, needs_bucket: bool = True) -> None:
        if needs_bucket:
            context.require_bucket()
        else:
            context.tell_broken_files()
        self._context = context
        self._output = context.output
        self.where = f"this machine's settings, root {context.root_dir}"
        self._under_way: set[concurrent.futures.Future[Any]] = set()
        self._lock = threading.Lock()
        self._is_closed = False
        self._opened_reader: Reader | None = None
        self._opened_library: Library | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="bookstore-desk", daemon=True)
        self._thread.start()

    def close(self, *, in_hurry: bool = False) -> None:
        """Ship what waits for as long as ``drain_timeout`` says, and leave the rest in the outbox."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            left = list(self._under_way)
        for call in left:
            call.cancel()
        try:
            if self._opened_library is not None:
                self._end_service(self._opened_library.service, in_hurry=in_hurry)
            if self._opened_reader is not None:
                self._finish(self._opened_reader.store.aclose())
        finally:
            self._end_loop()

    def _end_service(self, service: ArchiveService, *, in_hurry: bool) -> None:
        try:
            if (
                service.shipper.waiting
                and not in_hurry
                and (waiting := self._finish(service.flush(service.settings.drain_timeout)))
            ):
                saves = count(waiting, "save waits", "saves wait")
                self._output.note(f"bookstore: {saves} in the outbox for the next server, or for bookstore drain.")
        finally:
            self._finish(service.stop())

    async def _reader(self) -> Reader:
        if self._opened_reader is None:
            from bookstore.cli.reading import Reader

            self._opened_reader = Reader(self._context.settings, self._context.root_dir)
        return self._opened_reader

    async def _library(self) -> Library:
        # Nothing is awaited in between, so that there is one for all threads.
        if self._opened_library is None:
            from bookstore.archive import BookstoreContentsArchiver, service_of
            from bookstore.library import Library

            context = self._context
            # What goes well is told by the commands themselves; without a handler, only warnings are written.
            log = logging.getLogger("bookstore.desk")
            manager = BookstoreContentsArchiver(root_dir=context.root_dir, config=context.app.config, log=log)
            if getattr(context.args, "hidden", False):  # asked for, on one's own disk
                manager.allow_hidden = True
            self._opened_library = Library(service_of(manager), manager)
        return self._opened_library

    def _finish(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run to the end in the loop's thread; cancelled where this thread is interrupted or the desk is closed."""
        with self._lock:
            if self._is_closed:
                work.close()
                raise concurrent.futures.CancelledError
            call = asyncio.run_coroutine_threadsafe(work, self._loop)
            self._under_way.add(call)
        try:
            return call.result()
        finally:
            call.cancel()
            with self._lock:
                self._under_way.discard(call)

    def _read(self, read: Callable[[Reader], Coroutine[Any, Any, _T]]) -> _T:
        async def work() -> _T:
            return await read(await self._reader())

        return self._call(work())

    def _do(self, do: Callable[[Library], Coroutine[Any, Any, _T]]) -> _T:
        async def work() -> _T:
            return await do(await self._library())

        return self._call(work())

    def history(  # noqa: D102
        self, path: str, *, area: str = "workspace", limit: int = 50, cursor: str | None = None, details: bool = True
    ) -> History:
        return self._read(
            lambda reader: reader.versions(area).history(path, limit=limit, cursor=cursor, details=details)
        )

    def pinned(self, path: str, *, area: str = "workspace") -> History:  # noqa: D102
        return self._read(lambda reader: reader.versions(area).pinned(path))

    def locate(self, path: str, version_id: str, *, area: str = "workspace") -> Version:  # noqa: D102
        return self._read(lambda reader: reader.versions(area).locate(path, version_id))

    def copy_to(  # noqa: D102
        self, path: str, version_id: str, write: Callable[[bytes], object], *, area: str = "workspace"
    ) -> None:
        async def copy(reader: Reader) -> None:
            versions = reader.versions(area)
            version = await versions.locate(path, version_id)
            digest = hashlib.sha256()
            async with versions.open(version) as body:
                async for chunk in body.chunks:
                    digest.update(chunk)
                    await asyncio.to_thread(write, chunk)
            if version.sha256 and digest.hexdigest() != version.sha256:
                raise altered(version_id, path, version.sha256, digest.hexdigest())

        self._read(copy)

    def compare(  # noqa: D102
        self, path: str, before: str | None = None, after: str | None = None, *, area: str = "workspace"
    ) -> Comparison:
        if before is not None and after is not None:
            return self._read(lambda reader: reader.compare(path, before, after, area))
        return self._do(lambda library: library.compare(path, before, after, area=area))

    def label(  # noqa: D102
        self,
        path: str,
        version_id: str,
        *,
        name: str | None = None,
        note: str | None = None,
        pinned: bool | None = None,
    ) -> Version:
        return self._do(lambda library: library.label(path, version_id, name=name, note=note, pinned=pinned))

    def restore(  # noqa: D102
        self,
        path: str,
        version_id: str,
        *,
        target_path: str | None = None,
        expected_hash: str | None = None,
        force: bool = False,
    ) -> Restored:
        return self._do(
            lambda library: library.restore(
                path, version_id, target_path=target_path, expected_hash=expected_hash, force=force
            )
        )

    def archive(self, path: str, *, timeout: float = ARCHIVE_TIMEOUT) -> Archived:  # noqa: D102
        return self._do(lambda library: library.archive(path, timeout=timeout))

    def publish(self, path: str) -> Published:  # noqa: D102
        return self._do(lambda library: library.publish(path))

    def unpublish(self, path: str) -> Removed:  # noqa: D102
        return self._do(lambda library: library.unpublish(path))

    def published(self) -> Iterator[Published]:  # noqa: D102
        return self._pages(lambda reader: reader.published)

    def schedule(  # noqa: D102
        self, path: str, *, version_id: str | None = None, parameters: Mapping[str, Any] | None = None
    ) -> Published:
        return self._do(lambda library: library.schedule(path, version_id=version_id, parameters=parameters))

    def unschedule(self, path: str) -> Removed:  # noqa: D102
        return self._do(lambda library: library.unschedule(path))

    def scheduled(self) -> Iterator[Published]:  # noqa: D102
        return self._pages(lambda reader: reader.scheduled)

    def scheduled_copy(self, path: str, version_id: str | None = None) -> Published:  # noqa: D102
        return self._read(lambda reader: reader.scheduled.get(path, version_id))

    def clone(  # noqa: D102
        self, bucket: str, key: str, *, version_id: str | None = None, target_path: str = ""
    ) -> Cloned:
        return self._do(lambda library: library.clone(bucket, key, version_id=version_id, target_path=target_path))

    def clone_file(self, relpath: str, *, target_path: str = "") -> Cloned:  # noqa: D102
        return self._do(lambda library: library.clone_file(relpath, target_path=target_path))

    def _pages(self, shelf_of: Callable[[Reader], Shelf]) -> Iterator[Published]:
        cursor: str | None = None
        while True:
            listing = self._page(shelf_of, cursor)
            yield from listing.items
            cursor = listing.cursor
            if cursor is None:
                return

    def _page(self, shelf_of: Callable[[Reader], Shelf], cursor: str | None) -> Listing:
        return self._read(lambda reader: shelf_of(reader).listing(limit=PAGE, cursor=cursor))
