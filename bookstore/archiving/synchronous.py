"""Archiving over managers whose methods block."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_core.utils import ensure_async
from jupyter_server.services.contents.filemanager import FileContentsManager

from bookstore.archiving.base import Archiving, Check, Origin
from bookstore.archiving.call import Call, last_parcel, save_locks, service_of
from bookstore.archiving.content import bytes_of, file_model, is_complete, sha256_of

if TYPE_CHECKING:
    from bookstore.delivery import Parcel


class SyncArchiving(Archiving):
    """Archiving over a manager whose methods block: they go on blocking, and nothing can come in between."""

    def save(self, model: dict[str, Any], path: str = "") -> Any:
        """Save as the manager does, and archive what it stored before answering."""
        with self._bookstore_call("save") as call:
            saved = super().save(model, path)
            if inspect.isawaitable(saved):
                return self._bookstore_save_awaited(saved, model, path)
            if is_complete(model):
                self._bookstore_archive_stored(call, self._bookstore_canonical(path))
        return saved

    async def _bookstore_save_awaited(self, saving: Awaitable[Any], model: dict[str, Any], path: str) -> Any:
        """Finish a save that is a coroutine although the rest of the manager is not."""
        path = self._bookstore_canonical(path)
        async with save_locks(service_of(self)).hold([path]):
            with self._bookstore_call("save") as call:
                saved = await saving
                if is_complete(model):
                    self._bookstore_archive_stored(call, path)
        return saved

    def new(self, model: dict[str, Any] | None = None, path: str = "") -> Any:
        """Make a new file as the manager does; its first version says that it is new."""
        with self._bookstore_call("new") as call:
            call.is_continued = call.reason == "new" and "content" in (model or {})
            return super().new(model, path)

    def rename(self, old_path: str, new_path: str) -> None:
        """Rename as the manager does, and archive the files under their new keys."""
        with self._bookstore_call("rename") as call:
            super().rename(old_path, new_path)
            self._bookstore_archive_moved(
                call, self._bookstore_canonical(new_path), self._bookstore_canonical(old_path)
            )

    def copy(self, from_path: str, to_path: str | None = None) -> Any:
        """Copy as the manager does; the files of a copied directory are archived too."""
        with self._bookstore_call("copy") as call:
            model = super().copy(from_path, to_path)
            if isinstance(model, dict) and model.get("type") == "directory":
                self._bookstore_archive_moved(call, self._bookstore_canonical(model["path"]))
        return model

    def restore_checkpoint(self, checkpoint_id: str, path: str) -> None:
        """Restore as the manager does, and archive what the file holds now."""
        with self._bookstore_call("restore") as call:
            super().restore_checkpoint(checkpoint_id, path)
            self._bookstore_archive_stored(call, self._bookstore_canonical(path))

    def _bookstore_archive_stored(self, call: Call, path: str, previous_path: str = "") -> None:
        service = service_of(self)
        if path in call.captured or not self._bookstore_archives(call, path):
            return
        try:
            draft = self._bookstore_take_ticket(call, path, previous_path)
            call.parcels.append(service.intake.take(draft, self._bookstore_read_current_now(path)))
        except Exception:  # noqa: BLE001 - archiving never fails a save
            self._bookstore_missed(path)

    async def _bookstore_archive_now(self, path: str) -> bool:
        # Without waiting for anything in between: saves of a sync manager hold no lock.
        if self.dir_exists(path):
            return all([await self._bookstore_archive_now(file) for file in self._bookstore_list_now(path)])
        return (await self.bookstore_archive(path))[0] is not None

    async def bookstore_archive(self, path: str, reason: str = "save") -> tuple[Parcel | None, bytes]:
        """Archive a file as it is stored now; see `Archiving.bookstore_archive`."""
        if not self.file_exists(path):
            raise FileNotFoundError(path)
        service = service_of(self)
        async with save_locks(service).hold([path]):
            content = self._bookstore_read_current_now(path)
            parcel = service.intake.take(service.draft(path, reason=reason, source=self._bookstore_source), content)
            service.submit([parcel])
        return parcel, content

    async def bookstore_store(
        self, path: str, content: bytes, origin: Origin, check: Check
    ) -> tuple[dict[str, Any], Parcel | None]:
        """Write exact bytes as a file, and archive them; see `Archiving.bookstore_store`."""
        service, path = service_of(self), self._bookstore_canonical(path)
        # Most of these managers block, so nothing comes in between; the lock is for those whose save is a coroutine.
        async with save_locks(service).hold([path]):
            with self._bookstore_call(origin.reason) as call:
                call.from_key, call.from_version = origin.from_key, origin.from_version
                call.archived_anyway = path if origin.is_archived_anyway else None
                before = None
                current = self._bookstore_read_current_now(path) if self.file_exists(path) else None
                if await check(None if current is None else sha256_of(current)) and current is not None:
                    before = service.intake.take(service.draft(path, source=self._bookstore_source), current)
                    call.parcels.append(before)
                    self._bookstore_require_safe(path, before)
                model = await ensure_async(self.save(file_model(path, content), path))
            return model, last_parcel(call, path, before)

    def _bookstore_read_current_now(self, path: str) -> bytes:
        if isinstance(self, FileContentsManager):
            os_path = Path(self._get_os_path(path))
            if os_path.is_file():
                return os_path.read_bytes()
        return bytes_of(self._bookstore_get_stored(path))

    def _bookstore_archive_moved(self, call: Call, path: str, previous_path: str = "") -> None:
        try:
            if not self.dir_exists(path):
                self._bookstore_archive_stored(call, path, previous_path)
                return
            for file in self._bookstore_list_now(path):
                before = previous_path + file[len(path) :] if previous_path else ""
                self._bookstore_archive_stored(call, file, before)
        except Exception:  # noqa: BLE001 - archiving never fails a rename
            self._bookstore_missed(path)

    def _bookstore_list_now(self, directory: str) -> Iterable[str]:
        if isinstance(self, FileContentsManager):
            return self._bookstore_files_below(directory)
        found: list[str] = []
        for item in self.get(directory, content=True)["content"]:
            if item["type"] == "directory":
                found += self._bookstore_list_now(item["path"])
            elif service_of(self).archives(item["path"]):
                found.append(item["path"])
        return found
