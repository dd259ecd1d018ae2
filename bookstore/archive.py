"""Contents managers whose saves become versions: `BookstoreContentsArchiver`, and the same over any other manager.

What a manager writes to a local file in Jupyter's own way is captured where it is written: serialised once, the same
bytes to the file and to the outbox. What it stores in any other way is read back before the save is acknowledged.
Either way the user's manager stays what it is; only methods around it are added.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import os
import time
import warnings
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import nbformat
from jupyter_core.utils import ensure_async
from jupyter_server.services.contents.fileio import AsyncFileManagerMixin
from jupyter_server.services.contents.filemanager import FileContentsManager
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from jupyter_server.services.contents.manager import ContentsManager
from jupyter_server.utils import to_api_path
from tornado.web import HTTPError

from bookstore.bookstore_config import BookstoreSettings
from bookstore.path_locks import PathLocks, ReentrantPathLocks
from bookstore.service import ArchiveService

if TYPE_CHECKING:
    from bookstore.delivery import Parcel
    from bookstore.intake import Draft, Intent


class ArchiveRecord(NamedTuple):
    """A save to archive.

    Attributes
    ----------
    filepath : str
        API path of Jupyter, relative to the server's root.
    content : str
        The file's text.
    queued_time : float
        When it was queued, in seconds since the epoch.
    """

    filepath: str
    content: str
    queued_time: float


@dataclass(eq=False)
class _Call:
    """One call of a manager that may store something, with all that it calls in turn."""

    reason: str
    tickets: dict[str, Draft] = field(default_factory=dict)
    captured: set[str] = field(default_factory=set)
    parcels: list[Parcel | None] = field(default_factory=list)
    pending: list[asyncio.Future[Parcel | None]] = field(default_factory=list)
    active: bool = True


_CALL: ContextVar[_Call | None] = ContextVar("bookstore_call", default=None)

#: The archive of each server, or of each manager that has none. State lives here and not in the manager, since some
#: extensions build the manager twice.
_SERVICES: weakref.WeakKeyDictionary[Any, ArchiveService] = weakref.WeakKeyDictionary()


def service_of(manager: ContentsManager) -> ArchiveService:
    """The archive that a manager's saves go to: one for all managers of a server."""
    owner: Any = manager.parent if manager.parent is not None else manager
    service = _SERVICES.get(owner)
    if service is None:
        service = _SERVICES[owner] = ArchiveService(
            BookstoreSettings.load(parent=owner), root_dir=_root_dir(manager), log=manager.log
        )
    return service


def _weakly(
    reference: weakref.WeakMethod[Callable[[str], Coroutine[Any, Any, bool]]],
) -> Callable[[str], Awaitable[bool]]:
    """Call a method of a manager for as long as there is the manager: the archive must not keep it alive."""

    async def call(path: str) -> bool:
        method = reference()
        if method is None:
            raise LookupError("the contents manager is gone")
        return await method(path)

    return call


class _Archiving(ContentsManager):
    """What archiving adds to every manager, sync or async."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The manager that was built last is the one that serves.
        service_of(self).archive_now = _weakly(weakref.WeakMethod(self._archive_now))

    @property
    def settings(self) -> BookstoreSettings:
        """The settings in force."""
        return service_of(self).settings

    @property
    def session(self) -> Any:
        """The aiobotocore session; made at first need."""
        return getattr(service_of(self).store, "session", None)

    @property
    def path_locks(self) -> PathLocks:
        """The locks of the paths that are being shipped: path → asyncio.Lock, first in first out."""
        return service_of(self).ship_locks

    # -- bookstore 2's ways in -------------------------------------------------------------------------------------

    async def archive(self, record: ArchiveRecord) -> None:
        """Archive a record: take it into the outbox, wait for the path's turn, write it to the bucket.

        Returns when the bucket holds it, or when it waits in the outbox because the store is in trouble; the status
        tells which.

        Parameters
        ----------
        record : ArchiveRecord
        """
        service = service_of(self)
        if not service.is_configured:
            return
        path, content = self._canonical(record.filepath), record.content.encode("utf-8")
        # In turn: the order of the calls is the order of the versions.
        async with _save_locks(service).hold([path]):
            draft = service.draft(path, queued_time=record.queued_time)
            loop = asyncio.get_running_loop()
            parcel = await loop.run_in_executor(service.pool, service.intake.take, draft, content)
            service.submit([parcel])
        if parcel is not None and not service.blocking_problems:
            await service.shipper.first_outcome(parcel)

    def run_pre_save_hook(self, model: dict[str, Any], path: str, **kwargs: Any) -> None:
        """Run the user's pre-save hook, then queue what is saved.

        Managers that still call this within their ``save`` get a ticket drawn. Called on its own, as users of
        bookstore 2 do, it queues an `ArchiveRecord` of the model on the event loop.
        """
        with warnings.catch_warnings():
            # Whoever calls the old name knows, or cannot help it.
            warnings.simplefilter("ignore", DeprecationWarning)
            super().run_pre_save_hook(model, path, **kwargs)
        if _current_call() is not None:
            self._draw_ticket(path)
        elif model.get("type") == "notebook" and service_of(self).archives(path):
            text = _notebook_bytes(nbformat.from_dict(model["content"])).decode("utf-8")
            record = ArchiveRecord(path.strip("/"), text, time.time())
            task = asyncio.get_running_loop().create_task(self.archive(record))
            _TASKS.add(task)
            task.add_done_callback(_TASKS.discard)

    # -- the hook --------------------------------------------------------------------------------------------------

    def run_pre_save_hooks(self, model: dict[str, Any], path: str, **kwargs: Any) -> None:
        """Run the user's pre-save hooks, then ours: it draws a ticket for the save, and does nothing that takes time.

        A hook of the user's that rejects the save leaves no ticket.
        """
        super().run_pre_save_hooks(model, path, **kwargs)
        self._draw_ticket(path)

    def _draw_ticket(self, path: str) -> None:
        call = _current_call()
        path = self._canonical(path)
        if call is not None and service_of(self).archives(path):
            call.tickets[path] = service_of(self).draft(path, reason=call.reason, source=self._source)

    # -- parts of the way of a save --------------------------------------------------------------------------------

    @property
    def _source(self) -> str:
        return "file" if isinstance(self, FileContentsManager) else "model"

    def _canonical(self, path: str) -> str:
        """The one way to spell a path: ``a/../b.ipynb`` and ``b.ipynb`` are one file, one key and one lock."""
        if isinstance(self, FileContentsManager):
            try:
                return str(to_api_path(os.path.abspath(self._get_os_path(path)), os.path.abspath(self.root_dir)))  # noqa: PTH100
            except HTTPError:  # outside the root: the manager itself refuses it
                pass
        return "/".join(part for part in path.split("/") if part)

    def _take_ticket(self, call: _Call, path: str, previous_path: str = "") -> Draft:
        """The ticket that the hook drew, or one drawn now where the manager runs no hook."""
        call.captured.add(path)
        ticket = call.tickets.pop(path, None)
        if ticket is None:
            ticket = service_of(self).draft(path, reason=call.reason, source=self._source, previous_path=previous_path)
        return ticket

    @contextmanager
    def _call(self, reason: str) -> Iterator[_Call]:
        """One call from its beginning to its end; what it took is queued whatever becomes of the rest of it."""
        outer = _current_call()
        if outer is not None:
            yield outer
            return
        call = _Call(reason)
        token = _CALL.set(call)
        try:
            yield call
        finally:
            call.active = False
            _CALL.reset(token)
            try:
                service_of(self).submit(call.parcels)
            except Exception:
                self.log.exception("bookstore: queueing went wrong; what was saved waits in the outbox")

    def _missed(self, path: str) -> None:
        self.log.exception(
            "bookstore: a save of %s could not be taken; the file is archived when that is possible", path
        )
        service_of(self).intake.miss(path)

    async def _archive_now(self, path: str) -> bool:
        """Archive a path as it is stored now, in turn with its saves; whether it was taken."""
        service = service_of(self)
        async with _save_locks(service).hold([path]):
            content = await self._read_current(path)
            draft = service.draft(path, source=self._source)
            loop = asyncio.get_running_loop()
            parcel = await loop.run_in_executor(service.pool, service.intake.take, draft, content)
            service.submit([parcel])
        return parcel is not None

    async def _read_current(self, path: str) -> bytes:
        """A path's bytes as they are stored now."""
        if isinstance(self, FileContentsManager):
            os_path = Path(self._get_os_path(path))
            if await asyncio.to_thread(os_path.is_file):
                return await asyncio.to_thread(os_path.read_bytes)
        return _bytes_of(await ensure_async(self._get_stored(path)))

    def _get_stored(self, path: str) -> Any:
        """The model from which `_bytes_of` takes the bytes: as a file, which changes nothing, if the manager can."""
        if not inspect.iscoroutinefunction(self.get):
            try:
                model: dict[str, Any] = self.get(path, content=True, type="file")
                if isinstance(model.get("content"), str):
                    return model
            except (HTTPError, UnicodeDecodeError):
                pass
            return self.get(path, content=True)
        return self._get_stored_async(path)

    async def _get_stored_async(self, path: str) -> dict[str, Any]:
        try:
            model: dict[str, Any] = await self.get(path, content=True, type="file")
            if isinstance(model.get("content"), str):
                return model
        except (HTTPError, UnicodeDecodeError):
            pass
        whole: dict[str, Any] = await self.get(path, content=True)
        return whole

    def _files_below(self, directory: str) -> list[str]:
        """The paths of the files of a local directory that are archived."""
        found = []
        top = self._get_os_path(directory)  # type: ignore[attr-defined]
        for folder, folders, files in os.walk(top):
            folders[:] = sorted(f for f in folders if f != ".ipynb_checkpoints")
            below = os.path.relpath(folder, top)
            start = directory if below == os.curdir else f"{directory}/{below.replace(os.sep, '/')}"
            found += [f"{start}/{name}".strip("/") for name in sorted(files)]
        return [path for path in found if service_of(self).archives(path)]


class AsyncArchiving(_Archiving):
    """Archiving over a manager whose methods are coroutines."""

    @asynccontextmanager
    async def _ordered_call(self, reason: str, *paths: str) -> AsyncIterator[_Call]:
        """One call that holds its paths' save locks: concurrent writers of one file leave a torn file."""
        async with _save_locks(service_of(self)).hold(map(self._canonical, paths)):
            with self._call(reason) as call:
                try:
                    yield call
                finally:
                    await self._settle(call)

    async def _settle(self, call: _Call) -> None:
        """Wait until what was captured is durable: only then may the save be acknowledged."""
        pending, call.pending = call.pending, []
        if pending:
            await asyncio.wait(pending)
        for future in pending:
            if (error := future.exception()) is None:
                call.parcels.append(future.result())
            else:
                self.log.error("bookstore: an error while a save was taken", exc_info=error)

    async def save(self, model: dict[str, Any], path: str = "") -> Any:
        """Save as the manager does, and archive what it stored before answering."""
        async with self._ordered_call("save", path) as call:
            saved = await super().save(model, path)
            chunk = model.get("chunk")
            if model.get("type") != "directory" and chunk in (None, -1):
                await self._archive_stored(call, self._canonical(path))
        return saved

    async def rename(self, old_path: str, new_path: str) -> None:
        """Rename as the manager does, and archive the files under their new keys."""
        async with self._ordered_call("rename", old_path, new_path) as call:
            await super().rename(old_path, new_path)
            await self._archive_moved(call, self._canonical(new_path), self._canonical(old_path))

    async def copy(self, from_path: str, to_path: str | None = None) -> Any:
        """Copy as the manager does; the files of a copied directory are archived too."""
        async with self._ordered_call("copy") as call:
            model = await super().copy(from_path, to_path)
            if model.get("type") == "directory":
                await self._archive_moved(call, self._canonical(model["path"]))
        return model

    async def restore_checkpoint(self, checkpoint_id: str, path: str) -> None:
        """Restore as the manager does, and archive what the file holds now."""
        async with self._ordered_call("restore", path) as call:
            await super().restore_checkpoint(checkpoint_id, path)
            await self._archive_stored(call, self._canonical(path))

    async def _archive_stored(self, call: _Call, path: str, previous_path: str = "") -> None:
        """Archive what is stored at a path, unless it was captured while it was written."""
        service = service_of(self)
        if path in call.captured or not service.archives(path):
            return
        try:
            draft = self._take_ticket(call, path, previous_path)
            content = await self._read_current(path)
            loop = asyncio.get_running_loop()
            call.parcels.append(await loop.run_in_executor(service.pool, service.intake.take, draft, content))
        except Exception:  # noqa: BLE001 - archiving never fails a save
            self._missed(path)

    async def _archive_moved(self, call: _Call, path: str, previous_path: str = "") -> None:
        try:
            if not await ensure_async(self.dir_exists(path)):
                await self._archive_stored(call, path, previous_path)
                return
            for file in await self._list_files(path):
                before = previous_path + file[len(path) :] if previous_path else ""
                await self._archive_stored(call, file, before)
        except Exception:  # noqa: BLE001 - archiving never fails a rename
            self._missed(path)

    async def _list_files(self, directory: str) -> list[str]:
        if isinstance(self, FileContentsManager):
            return await asyncio.to_thread(self._files_below, directory)
        found: list[str] = []
        listing = await ensure_async(self.get(directory, content=True))
        for item in listing["content"]:
            if item["type"] == "directory":
                found += await self._list_files(item["path"])
            elif service_of(self).archives(item["path"]):
                found.append(item["path"])
        return found


class SyncArchiving(_Archiving):
    """Archiving over a manager whose methods block: they go on blocking, and nothing can come in between."""

    def save(self, model: dict[str, Any], path: str = "") -> Any:
        """Save as the manager does, and archive what it stored before answering."""
        with self._call("save") as call:
            saved = super().save(model, path)
            if model.get("type") != "directory" and model.get("chunk") in (None, -1):
                self._archive_stored(call, self._canonical(path))
        return saved

    def rename(self, old_path: str, new_path: str) -> None:
        """Rename as the manager does, and archive the files under their new keys."""
        with self._call("rename") as call:
            super().rename(old_path, new_path)
            self._archive_moved(call, self._canonical(new_path), self._canonical(old_path))

    def copy(self, from_path: str, to_path: str | None = None) -> Any:
        """Copy as the manager does; the files of a copied directory are archived too."""
        with self._call("copy") as call:
            model = super().copy(from_path, to_path)
            if model.get("type") == "directory":
                self._archive_moved(call, self._canonical(model["path"]))
        return model

    def restore_checkpoint(self, checkpoint_id: str, path: str) -> None:
        """Restore as the manager does, and archive what the file holds now."""
        with self._call("restore") as call:
            super().restore_checkpoint(checkpoint_id, path)
            self._archive_stored(call, self._canonical(path))

    def _archive_stored(self, call: _Call, path: str, previous_path: str = "") -> None:
        service = service_of(self)
        if path in call.captured or not service.archives(path):
            return
        try:
            draft = self._take_ticket(call, path, previous_path)
            call.parcels.append(service.intake.take(draft, self._read_current_now(path)))
        except Exception:  # noqa: BLE001 - archiving never fails a save
            self._missed(path)

    async def _archive_now(self, path: str) -> bool:
        # Without waiting for anything in between: saves of a sync manager hold no lock.
        service = service_of(self)
        parcel = service.intake.take(service.draft(path, source=self._source), self._read_current_now(path))
        service.submit([parcel])
        return parcel is not None

    def _read_current_now(self, path: str) -> bytes:
        if isinstance(self, FileContentsManager):
            os_path = Path(self._get_os_path(path))
            if os_path.is_file():
                return os_path.read_bytes()
        return _bytes_of(self._get_stored(path))

    def _archive_moved(self, call: _Call, path: str, previous_path: str = "") -> None:
        try:
            if not self.dir_exists(path):
                self._archive_stored(call, path, previous_path)
                return
            for file in self._list_files(path):
                before = previous_path + file[len(path) :] if previous_path else ""
                self._archive_stored(call, file, before)
        except Exception:  # noqa: BLE001 - archiving never fails a rename
            self._missed(path)

    def _list_files(self, directory: str) -> Iterable[str]:
        if isinstance(self, FileContentsManager):
            return self._files_below(directory)
        found: list[str] = []
        for item in self.get(directory, content=True)["content"]:
            if item["type"] == "directory":
                found += self._list_files(item["path"])
            elif service_of(self).archives(item["path"]):
                found.append(item["path"])
        return found


class CapturingWrites(AsyncArchiving):
    """Archiving over Jupyter's own way to write local files: the bytes are taken where the file is written.

    Only for managers that write with `AsyncFileManagerMixin`'s methods as they are: others have methods of the same
    names that mean something else.
    """

    async def _save_notebook(self, os_path: str, nb: Any, capture_validation_error: Any = None) -> None:
        if (draft := self._draft_of_write(os_path)) is None:
            await super()._save_notebook(os_path, nb, capture_validation_error=capture_validation_error)  # type: ignore[misc]
            return

        await self._write(os_path, lambda: _notebook_bytes(nb, capture_validation_error), draft)

    async def _save_file(self, os_path: str, content: Any, format: str | None) -> None:  # noqa: A002 - Jupyter's name
        if format not in ("text", "base64") or (draft := self._draft_of_write(os_path)) is None:
            await super()._save_file(os_path, content, format)  # type: ignore[misc]
            return

        def decode() -> bytes:
            try:
                return content.encode("utf-8") if format == "text" else base64.decodebytes(content.encode("ascii"))
            except Exception as e:
                raise HTTPError(400, f"Encoding error saving {os_path}: {e}") from e

        await self._write(os_path, decode, draft)

    def _draft_of_write(self, os_path: str) -> Draft | None:
        """A ticket for the file that is being written, if it is to be archived."""
        call = _current_call()
        if call is None:
            return None
        path = str(to_api_path(os.path.abspath(os_path), os.path.abspath(self.root_dir)))  # noqa: PTH100
        return self._take_ticket(call, path) if service_of(self).archives(path) else None

    async def _write(self, os_path: str, serialise: Callable[[], bytes], draft: Draft) -> None:
        def write() -> Intent | None:
            content = serialise()
            # The outbox's disk and the notebook's work at the same time.
            intent = self._begin(draft, content)
            try:
                with self.atomic_writing(os_path, text=False) as f:  # type: ignore[attr-defined]
                    f.write(content)
            except BaseException:
                if intent is not None:
                    intent.abort()
                raise
            if intent is not None:
                intent.commit()
            return intent

        intent = await asyncio.get_running_loop().run_in_executor(service_of(self).pool, write)
        call = _current_call()
        if intent is not None and call is not None:
            # The entry becomes durable while Jupyter goes on; the call waits for it before it answers.
            call.pending.append(asyncio.wrap_future(intent.parcel))

    def _begin(self, draft: Draft, content: bytes) -> Intent | None:
        try:
            return service_of(self).intake.begin(draft, content)
        except Exception:  # noqa: BLE001 - archiving never fails a save
            self._missed(draft.path)
            return None


class BookstoreContentsArchiver(CapturingWrites, AsyncLargeFileManager):  # type: ignore[misc]
    """Jupyter's default contents manager, with every save archived.

    It needs no extension: ``c.ServerApp.contents_manager_class = BookstoreContentsArchiver`` is enough.

    Parameters
    ----------
    **kwargs
        As for any contents manager: ``parent``, ``log``, ``config``, ``root_dir``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if args:
            raise TypeError(f"BookstoreContentsArchiver takes keyword arguments only, not {len(args)} positional ones")
        super().__init__(**kwargs)
        #: Guards nothing any more; kept for subclasses written for bookstore 2.
        self.path_lock_ready = asyncio.Lock()


_TASKS: set[asyncio.Task[None]] = set()
_LOCKS: weakref.WeakKeyDictionary[ArchiveService, ReentrantPathLocks] = weakref.WeakKeyDictionary()


@cache
def archiving_class(manager_class: type[ContentsManager]) -> type[ContentsManager]:
    """A manager's class with archiving added; the class itself if it archives already.

    Parameters
    ----------
    manager_class : type
        Any contents manager.

    Returns
    -------
    type
        A subclass that reads the same configuration.
    """
    if issubclass(manager_class, _Archiving):
        return manager_class
    if manager_class is AsyncLargeFileManager:
        return BookstoreContentsArchiver
    if not inspect.iscoroutinefunction(manager_class.save):
        mixin: type[_Archiving] = SyncArchiving
    elif _writes_as_jupyter_does(manager_class):
        mixin = CapturingWrites
    else:
        mixin = AsyncArchiving
    name = f"Archiving{manager_class.__name__}"
    return type(name, (mixin, manager_class), {"__module__": __name__, "__doc__": manager_class.__doc__})


def _writes_as_jupyter_does(manager_class: type) -> bool:
    return all(
        getattr(manager_class, name, None) is getattr(AsyncFileManagerMixin, name)
        for name in ("_save_notebook", "_save_file")
    )


def _current_call() -> _Call | None:
    call = _CALL.get()
    return call if call is not None and call.active else None


def _save_locks(service: ArchiveService) -> ReentrantPathLocks:
    locks = _LOCKS.get(service)
    if locks is None:
        locks = _LOCKS[service] = ReentrantPathLocks()
    return locks


def _root_dir(manager: ContentsManager) -> str:
    root = getattr(manager, "root_dir", "")
    return os.path.abspath(root) if isinstance(manager, FileContentsManager) else str(root)  # noqa: PTH100


def _notebook_bytes(nb: Any, capture_validation_error: dict[str, Any] | None = None) -> bytes:
    """What `nbformat.write` would write to a file."""
    text: str = nbformat.writes(nb, version=nbformat.NO_CONVERT, capture_validation_error=capture_validation_error)
    content = text.encode("utf-8")
    return content if content.endswith(b"\n") else content + b"\n"


def _bytes_of(model: dict[str, Any]) -> bytes:
    """The bytes that a model stands for."""
    content = model["content"]
    if model["type"] == "notebook":
        return _notebook_bytes(nbformat.from_dict(content))
    if isinstance(content, bytes):
        return content
    if model.get("format") == "base64":
        return base64.b64decode(content)
    return str(content).encode("utf-8")
