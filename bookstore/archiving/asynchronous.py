"""Archiving over managers whose methods are coroutines."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from jupyter_core.utils import ensure_async
from jupyter_server.utils import to_api_path
from tornado.web import HTTPError

from bookstore.archiving.base import Archiving, Check, Origin
from bookstore.archiving.call import Call, current_call, last_parcel, save_locks, service_of
from bookstore.archiving.content import file_model, is_complete, notebook_bytes, sha256_of

if TYPE_CHECKING:
    from bookstore.delivery import Parcel
    from bookstore.intake import Draft, Intent

_T = TypeVar("_T")

_TASKS: set[asyncio.Task[Any]] = set()


class AsyncArchiving(Archiving):
    """Archiving over a manager whose methods are coroutines, or may be."""

    async def _bookstore_whole(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Do work that is to come to its end even if whoever asked for it goes away.

        A save that is broken off half-way would leave its file to be written without the path's lock, and its entry
        to nobody.
        """
        if current_call() is not None:
            return await work()
        task = asyncio.get_running_loop().create_task(work())
        _TASKS.add(task)
        task.add_done_callback(_TASKS.discard)
        return await asyncio.shield(task)

    @asynccontextmanager
    async def _bookstore_ordered_call(self, reason: str, *paths: str) -> AsyncIterator[Call]:
        """One call that holds its paths' save locks: concurrent writers of one file leave a torn file."""
        spelled = {path: self._bookstore_canonical(path) for path in paths}
        async with save_locks(service_of(self)).hold(spelled.values()):
            with self._bookstore_call(reason) as call:
                call.spelled.update(spelled)
                try:
                    yield call
                finally:
                    await self._bookstore_settle(call)

    async def _bookstore_settle(self, call: Call) -> None:
        """Wait until what was captured is durable: only then may the save be acknowledged."""
        pending, call.pending = call.pending, []
        for path, future in pending:
            try:
                call.parcels.append(await future)
            except Exception:  # noqa: BLE001 - archiving never fails a save
                self._bookstore_missed(path)

    async def save(self, model: dict[str, Any], path: str = "") -> Any:
        """Save as the manager does, and archive what it stored before answering."""
        return await self._bookstore_whole(lambda: self._bookstore_save(model, path))

    async def _bookstore_save(self, model: dict[str, Any], path: str) -> Any:
        async with self._bookstore_ordered_call("save", path) as call:
            saved = await ensure_async(super().save(model, path))
            if is_complete(model):
                await self._bookstore_archive_stored(call, self._bookstore_canonical(path))
        return saved

    async def new(self, model: dict[str, Any] | None = None, path: str = "") -> Any:
        """Make a new file as the manager does; its first version says that it is new."""
        return await self._bookstore_whole(lambda: self._bookstore_new(model, path))

    async def _bookstore_new(self, model: dict[str, Any] | None, path: str) -> Any:
        async with self._bookstore_ordered_call("new", path) as call:
            call.is_continued = call.reason == "new" and "content" in (model or {})
            return await ensure_async(super().new(model, path))

    async def rename(self, old_path: str, new_path: str) -> None:
        """Rename as the manager does, and archive the files under their new keys."""
        await self._bookstore_whole(lambda: self._bookstore_rename(old_path, new_path))

    async def _bookstore_rename(self, old_path: str, new_path: str) -> None:
        async with self._bookstore_ordered_call("rename", old_path, new_path) as call:
            await ensure_async(super().rename(old_path, new_path))
            await self._bookstore_archive_moved(
                call, self._bookstore_canonical(new_path), self._bookstore_canonical(old_path)
            )

    async def copy(self, from_path: str, to_path: str | None = None) -> Any:
        """Copy as the manager does; the files of a copied directory are archived too."""
        return await self._bookstore_whole(lambda: self._bookstore_copy_whole(from_path, to_path))

    async def _bookstore_copy_whole(self, from_path: str, to_path: str | None) -> Any:
        async with self._bookstore_ordered_call("copy") as call:
            model = await ensure_async(super().copy(from_path, to_path))
            if model.get("type") == "directory":
                await self._bookstore_archive_moved(call, self._bookstore_canonical(model["path"]))
        return model

    async def restore_checkpoint(self, checkpoint_id: str, path: str) -> None:
        """Restore as the manager does, and archive what the file holds now."""
        await self._bookstore_whole(lambda: self._bookstore_restore_checkpoint(checkpoint_id, path))

    async def _bookstore_restore_checkpoint(self, checkpoint_id: str, path: str) -> None:
        async with self._bookstore_ordered_call("restore", path) as call:
            await ensure_async(super().restore_checkpoint(checkpoint_id, path))
            await self._bookstore_archive_stored(call, self._bookstore_canonical(path))

    async def bookstore_store(
        self, path: str, content: bytes, origin: Origin, check: Check
    ) -> tuple[dict[str, Any], Parcel | None]:
        """Write exact bytes as a file, in turn with its saves, and archive them; see `Archiving.bookstore_store`."""
        return await self._bookstore_whole(
            lambda: self._bookstore_store(self._bookstore_canonical(path), content, origin, check)
        )

    async def _bookstore_store(
        self, path: str, content: bytes, origin: Origin, check: Check
    ) -> tuple[dict[str, Any], Parcel | None]:
        service = service_of(self)
        async with self._bookstore_ordered_call(origin.reason, path) as call:
            call.from_key, call.from_version = origin.from_key, origin.from_version
            call.archived_anyway = path if origin.is_archived_anyway else None
            before = None
            loop = asyncio.get_running_loop()
            current = await self.bookstore_read(path)
            digest = None if current is None else await loop.run_in_executor(service.pool, sha256_of, current)
            if await check(digest) and current is not None:
                draft = service.draft(path, source=self._bookstore_source)
                before = await loop.run_in_executor(service.pool, service.intake.take, draft, current)
                call.parcels.append(before)
                self._bookstore_require_safe(path, before)
            written = await loop.run_in_executor(service.pool, file_model, path, content)
            model: dict[str, Any] = await self.save(written, path)
        return model, last_parcel(call, path, before)

    async def _bookstore_archive_stored(self, call: Call, path: str, previous_path: str = "") -> None:
        """Archive what is stored at a path, unless it was captured while it was written."""
        service = service_of(self)
        if path in call.captured or not self._bookstore_archives(call, path):
            return
        try:
            draft = self._bookstore_take_ticket(call, path, previous_path)
            content = await self._bookstore_read_current(path)
            loop = asyncio.get_running_loop()
            call.parcels.append(await loop.run_in_executor(service.pool, service.intake.take, draft, content))
        except Exception:  # noqa: BLE001 - archiving never fails a save
            self._bookstore_missed(path)

    async def _bookstore_archive_moved(self, call: Call, path: str, previous_path: str = "") -> None:
        try:
            if not await ensure_async(self.dir_exists(path)):
                await self._bookstore_archive_stored(call, path, previous_path)
                return
            for file in await self._bookstore_list_files(path):
                before = previous_path + file[len(path) :] if previous_path else ""
                await self._bookstore_archive_stored(call, file, before)
        except Exception:  # noqa: BLE001 - archiving never fails a rename
            self._bookstore_missed(path)


class CapturingWrites(AsyncArchiving):
    """Archiving over Jupyter's own way to write local files: the bytes are taken where the file is written.

    Only for managers that write with `AsyncFileManagerMixin`'s methods as they are: others have methods of the same
    names that mean something else.
    """

    async def _save_notebook(self, os_path: str, nb: Any, capture_validation_error: Any = None) -> None:
        if (draft := self._bookstore_draft_of_write(os_path)) is None:
            await super()._save_notebook(os_path, nb, capture_validation_error=capture_validation_error)  # type: ignore[misc]
            return

        await self._bookstore_write(os_path, lambda: notebook_bytes(nb, capture_validation_error), draft)

    async def _save_file(self, os_path: str, content: Any, format: str | None) -> None:  # noqa: A002 - Jupyter's name
        if format not in ("text", "base64") or (draft := self._bookstore_draft_of_write(os_path)) is None:
            await super()._save_file(os_path, content, format)  # type: ignore[misc]
            return

        def decode() -> bytes:
            try:
                return content.encode("utf-8") if format == "text" else base64.decodebytes(content.encode("ascii"))
            except Exception as e:
                raise HTTPError(400, f"Encoding error saving {os_path}: {e}") from e

        await self._bookstore_write(os_path, decode, draft)

    def _bookstore_draft_of_write(self, os_path: str) -> Draft | None:
        """A ticket for the file that is being written, if it is to be archived."""
        call = current_call()
        if call is None:
            return None
        path = str(to_api_path(os.path.abspath(os_path), os.path.abspath(self.root_dir)))  # noqa: PTH100
        if not self._bookstore_archives(call, path):
            return None
        try:
            return self._bookstore_take_ticket(call, path)
        except Exception:  # noqa: BLE001 - archiving never fails a save
            self._bookstore_missed(path)
            return None

    async def _bookstore_write(self, os_path: str, serialise: Callable[[], bytes], draft: Draft) -> None:
        def write() -> Intent | None:
            content = serialise()
            # The outbox's disk and the notebook's work at the same time.
            intent = self._bookstore_begin(draft, content)
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
            call.pending.append((draft.path, asyncio.wrap_future(intent.parcel)))

    def _bookstore_begin(self, draft: Draft, content: bytes) -> Intent | None:
        try:
            return service_of(self).intake.begin(draft, content)
        except Exception:  # noqa: BLE001 - archiving never fails a save
            self._bookstore_missed(draft.path)
            return None
