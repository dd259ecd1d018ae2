"""Archiving over managers whose methods block."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jupyter_server.services.contents.filemanager import FileContentsManager

from bookstore.archiving.base import Archiving
from bookstore.archiving.call import Call, service_of
from bookstore.archiving.content import bytes_of


class SyncArchiving(Archiving):
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

    def _archive_stored(self, call: Call, path: str, previous_path: str = "") -> None:
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
        return bytes_of(self._get_stored(path))

    def _archive_moved(self, call: Call, path: str, previous_path: str = "") -> None:
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
