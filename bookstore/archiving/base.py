"""What archiving adds to every contents manager, sync or async."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
import warnings
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import nbformat
from jupyter_core.utils import ensure_async
from jupyter_server.services.contents.filemanager import FileContentsManager
from jupyter_server.services.contents.manager import ContentsManager
from jupyter_server.utils import to_api_path
from tornado.web import HTTPError

from bookstore.archiving.call import CURRENT_CALL, Call, current_call, save_locks, service_of, weakly
from bookstore.archiving.content import bytes_of, notebook_bytes
from bookstore.errors import OutboxUnavailable

if TYPE_CHECKING:
    from bookstore.bookstore_config import BookstoreSettings
    from bookstore.delivery import Parcel
    from bookstore.intake import Draft
    from bookstore.path_locks import PathLocks


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


#: Gets the SHA-256 of a file, or None where there is none, and tells whether what it holds is to be archived.
Check: TypeAlias = "Callable[[str | None], Awaitable[bool]]"


class Origin(NamedTuple):
    """Where bytes come from that are written for somebody.

    Attributes
    ----------
    reason : str
        ``restore`` or ``clone``.
    from_key, from_version : str
        As in `bookstore.provenance.Provenance`.
    is_archived_anyway : bool
        Whether the bytes become a version although ``archive_globs`` leave the path out.
    """

    reason: str
    from_key: str = ""
    from_version: str = ""
    is_archived_anyway: bool = False


_TASKS: set[asyncio.Task[None]] = set()


class Archiving(ContentsManager):
    """What archiving adds to every manager, sync or async.

    Its private methods carry the project's name: managers have private methods of their own.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The manager that was built last is the one that serves.
        service_of(self).archive_now = weakly(weakref.WeakMethod(self._bookstore_archive_now))

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
        path, content = self._bookstore_canonical(record.filepath), record.content.encode("utf-8")
        # In turn: the order of the calls is the order of the versions.
        async with save_locks(service).hold([path]):
            parcel = await self._bookstore_queue(service.draft(path, queued_time=record.queued_time), content)
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
        if current_call() is not None:
            self._bookstore_draw_ticket(path)
        elif model.get("type") == "notebook" and service_of(self).archives(path):
            text = notebook_bytes(nbformat.from_dict(model["content"])).decode("utf-8")
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
        self._bookstore_draw_ticket(path)

    def _bookstore_draw_ticket(self, path: str) -> None:
        call = current_call()
        if call is None:
            return
        try:
            path = self._bookstore_canonical(path)
            if self._bookstore_archives(call, path):
                call.tickets[path] = self._bookstore_draft(call, path)
        except Exception:  # archiving never fails a save; the ticket is drawn when the file is written
            self.log.exception("bookstore: no ticket could be drawn for %s", path)

    # -- parts of the way of a save --------------------------------------------------------------------------------

    @property
    def _bookstore_source(self) -> str:
        return "file" if isinstance(self, FileContentsManager) else "model"

    def _bookstore_canonical(self, path: str) -> str:
        """The one way to spell a path: ``a/../b.ipynb`` and ``b.ipynb`` are one file, one key and one lock."""
        call = current_call()
        if call is not None and (spelled := call.spelled.get(path)) is not None:
            return spelled
        if isinstance(self, FileContentsManager):
            try:
                return str(to_api_path(os.path.abspath(self._get_os_path(path)), os.path.abspath(self.root_dir)))  # noqa: PTH100
            except HTTPError:  # outside the root: the manager itself refuses it
                pass
        return "/".join(part for part in path.split("/") if part)

    def _bookstore_archives(self, call: Call, path: str) -> bool:
        """Whether what a call stores at a path becomes a version."""
        return path == call.archived_anyway or service_of(self).archives(path)

    def _bookstore_take_ticket(self, call: Call, path: str, previous_path: str = "") -> Draft:
        """The ticket that the hook drew, or one drawn now where the manager runs no hook."""
        call.captured.add(path)
        ticket = call.tickets.pop(path, None)
        if ticket is None:
            ticket = self._bookstore_draft(call, path, previous_path)
        return ticket

    def _bookstore_draft(self, call: Call, path: str, previous_path: str = "") -> Draft:
        return service_of(self).draft(
            path,
            reason=call.reason,
            source=self._bookstore_source,
            previous_path=previous_path,
            is_continued=call.is_continued,
            from_key=call.from_key,
            from_version=call.from_version,
        )

    @contextmanager
    def _bookstore_call(self, reason: str) -> Iterator[Call]:
        """One call from its beginning to its end; what it took is queued whatever becomes of the rest of it."""
        outer = current_call()
        if outer is not None:
            yield outer
            return
        call = Call(reason)
        token = CURRENT_CALL.set(call)
        try:
            yield call
        finally:
            call.active = False
            CURRENT_CALL.reset(token)
            try:
                service_of(self).submit(call.parcels)
            except Exception:
                self.log.exception("bookstore: queueing went wrong; what was saved waits in the outbox")

    def _bookstore_missed(self, path: str) -> None:
        self.log.exception(
            "bookstore: a save of %s could not be taken; the file is archived when that is possible", path
        )
        service_of(self).intake.miss(path)

    async def _bookstore_archive_now(self, path: str) -> bool:
        """Archive a path as it is stored now, or the files of a directory, in turn with their saves.

        Returns
        -------
        bool
            Whether all of it was taken.

        Raises
        ------
        FileNotFoundError
            It is not there any more.
        """
        if await ensure_async(self.dir_exists(path)):
            return all([await self._bookstore_archive_now(file) for file in await self._bookstore_list_files(path)])
        return (await self.bookstore_archive(path))[0] is not None

    # -- what the library asks for -----------------------------------------------------------------------------------

    def bookstore_path(self, path: str) -> str:
        """The one way to spell a path, as its key has it."""
        return self._bookstore_canonical(path)

    async def bookstore_read(self, path: str) -> bytes | None:
        """A file's bytes as they are stored now; None where there is no file."""
        if not await ensure_async(self.file_exists(path)):
            return None
        return await self._bookstore_read_current(path)

    async def bookstore_archive(self, path: str, reason: str = "save") -> tuple[Parcel | None, bytes]:
        """Archive a file as it is stored now, in turn with its saves.

        Returns
        -------
        Parcel or None
            None where neither the outbox nor memory took it.
        bytes
            What it holds.

        Raises
        ------
        FileNotFoundError
            It is not there.
        """
        if not await ensure_async(self.file_exists(path)):
            raise FileNotFoundError(path)
        service = service_of(self)
        async with save_locks(service).hold([path]):
            content = await self._bookstore_read_current(path)
            draft = service.draft(path, reason=reason, source=self._bookstore_source)
            return await self._bookstore_queue(draft, content), content

    async def bookstore_store(
        self, path: str, content: bytes, origin: Origin, check: Check
    ) -> tuple[dict[str, Any], Parcel | None]:
        """Write exact bytes as a file, in turn with its saves, and archive them; nothing is signed.

        Parameters
        ----------
        path : str
        content : bytes
        origin : Origin
            What the version says of where the bytes come from.
        check : Check
            Gets the SHA-256 of the file, or None where there is none, while nobody else can write it. Raises to refuse;
            True asks that what the file holds be archived first.

        Returns
        -------
        dict
            The file's model, without content.
        Parcel or None
            The new version on its way; None where such paths are not archived, or nothing took it.

        Raises
        ------
        OutboxError
            What the file holds could not be brought to safety first, so nothing was written.
        """
        raise NotImplementedError

    def _bookstore_require_safe(self, path: str, parcel: Parcel | None) -> None:
        """See that what is about to be written over is on the disk, or refuse."""
        if parcel is not None and parcel.is_protected:
            return
        intake = service_of(self).intake
        if parcel is None:
            intake.forgive(path, 1)  # the file still holds it
        trouble = intake.trouble
        raise OutboxUnavailable(
            f"What {path!r} holds now is in no version and cannot be brought into the outbox, so it is not written over"
            + (f": {trouble}" if trouble is not None else ""),
            trouble.hint if trouble is not None else None,
        )

    async def _bookstore_queue(self, draft: Draft, content: bytes) -> Parcel | None:
        """Take a save and queue it; to the end, although whoever asked for it goes away.

        An entry that was taken and not queued would be shipped after the next start only, on top of newer ones.
        """
        service = service_of(self)
        loop = asyncio.get_running_loop()
        taking = loop.run_in_executor(service.pool, service.intake.take, draft, content)
        try:
            await asyncio.shield(taking)
        finally:
            # After a cancellation too, and before the path's lock is given back.
            await asyncio.wait([taking])
            if taking.exception() is None:
                service.submit([taking.result()])
        return taking.result()

    async def _bookstore_list_files(self, directory: str) -> list[str]:
        """The paths of the files below a directory that are archived."""
        if isinstance(self, FileContentsManager):
            return await asyncio.to_thread(self._bookstore_files_below, directory)
        found: list[str] = []
        listing = await ensure_async(self.get(directory, content=True))
        for item in listing["content"]:
            if item["type"] == "directory":
                found += await self._bookstore_list_files(item["path"])
            elif service_of(self).archives(item["path"]):
                found.append(item["path"])
        return found

    async def _bookstore_read_current(self, path: str) -> bytes:
        """A path's bytes as they are stored now."""
        if isinstance(self, FileContentsManager):
            os_path = Path(self._get_os_path(path))
            if await asyncio.to_thread(os_path.is_file):
                return await asyncio.to_thread(os_path.read_bytes)
        return bytes_of(await ensure_async(self._bookstore_get_stored(path)))

    def _bookstore_get_stored(self, path: str) -> Any:
        """The model from which `bytes_of` takes the bytes: as a file, which changes nothing, if the manager can."""
        if not inspect.iscoroutinefunction(self.get):
            try:
                model: dict[str, Any] = self.get(path, content=True, type="file")
                if isinstance(model.get("content"), str):
                    return model
            except (HTTPError, UnicodeDecodeError):
                pass
            return self.get(path, content=True)
        return self._bookstore_get_stored_async(path)

    async def _bookstore_get_stored_async(self, path: str) -> dict[str, Any]:
        try:
            model: dict[str, Any] = await self.get(path, content=True, type="file")
            if isinstance(model.get("content"), str):
                return model
        except (HTTPError, UnicodeDecodeError):
            pass
        whole: dict[str, Any] = await self.get(path, content=True)
        return whole

    def _bookstore_files_below(self, directory: str) -> list[str]:
        """The paths of the files of a local directory that are archived."""
        found = []
        top = self._get_os_path(directory)  # type: ignore[attr-defined]
        for folder, folders, files in os.walk(top):
            folders[:] = sorted(f for f in folders if f != ".ipynb_checkpoints")
            below = os.path.relpath(folder, top)
            start = directory if below == os.curdir else f"{directory}/{below.replace(os.sep, '/')}"
            found += [f"{start}/{name}".strip("/") for name in sorted(files)]
        return [path for path in found if service_of(self).archives(path)]
