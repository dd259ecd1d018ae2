"""Archiving over managers whose methods are coroutines."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from jupyter_core.utils import ensure_async
from jupyter_server.services.contents.filemanager import FileContentsManager
from jupyter_server.utils import to_api_path
from tornado.web import HTTPError

from bookstore.archiving.base import Archiving
from bookstore.archiving.call import Call, current_call, save_locks, service_of
from bookstore.archiving.content import notebook_bytes

if TYPE_CHECKING:
    from bookstore.delivery import Parcel
    from bookstore.intake import Draft, Intent


class AsyncArchiving(Archiving):
    """Archiving over a manager whose methods are coroutines."""

    @asynccontextmanager
    async def _ordered_call(self, reason: str, *paths: str) -> AsyncIterator[Call]:
        """One call that holds its paths' save locks: concurrent writers of one file leave a torn file."""
        async with save_locks(service_of(self)).hold(map(self._canonical, paths)):
            with self._call(reason) as call:
                try:
                    yield call
                finally:
                    await self._settle(call)

    async def _settle(self, call: Call) -> None:
        """Wait until what was captured is durable: only then may the save be acknowledged."""
        pending, call.pending = call.pending, []
        try:
            if pending:
                await asyncio.wait(pending)
        except asyncio.CancelledError:
            # Nobody waits for the answer any more, but the file is written.
            for future in pending:
                future.add_done_callback(self._submit_late)
            raise
        for future in pending:
            if (error := future.exception()) is None:
                call.parcels.append(future.result())
            else:
                self.log.error("bookstore: an error while a save was taken", exc_info=error)

    def _submit_late(self, future: asyncio.Future[Parcel | None]) -> None:
        if not future.cancelled() and future.exception() is None:
            service_of(self).submit([future.result()])

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

    async def _archive_stored(self, call: Call, path: str, previous_path: str = "") -> None:
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

    async def _archive_moved(self, call: Call, path: str, previous_path: str = "") -> None:
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


class CapturingWrites(AsyncArchiving):
    """Archiving over Jupyter's own way to write local files: the bytes are taken where the file is written.

    Only for managers that write with `AsyncFileManagerMixin`'s methods as they are: others have methods of the same
    names that mean something else.
    """

    async def _save_notebook(self, os_path: str, nb: Any, capture_validation_error: Any = None) -> None:
        if (draft := self._draft_of_write(os_path)) is None:
            await super()._save_notebook(os_path, nb, capture_validation_error=capture_validation_error)  # type: ignore[misc]
            return

        await self._write(os_path, lambda: notebook_bytes(nb, capture_validation_error), draft)

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
        call = current_call()
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
        call = current_call()
        if intent is not None and call is not None:
            # The entry becomes durable while Jupyter goes on; the call waits for it before it answers.
            call.pending.append(asyncio.wrap_future(intent.parcel))

    def _begin(self, draft: Draft, content: bytes) -> Intent | None:
        try:
            return service_of(self).intake.begin(draft, content)
        except Exception:  # noqa: BLE001 - archiving never fails a save
            self._missed(draft.path)
            return None
