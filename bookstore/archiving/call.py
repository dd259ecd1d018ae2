"""One call of a contents manager that stores something, and the archive that it goes to."""

from __future__ import annotations

import os
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jupyter_server.services.contents.filemanager import FileContentsManager
from traitlets.config import Config

from bookstore.bookstore_config import BookstoreSettings
from bookstore.path_locks import ReentrantPathLocks
from bookstore.service import ArchiveService

if TYPE_CHECKING:
    import asyncio

    from jupyter_server.services.contents.manager import ContentsManager

    from bookstore.delivery import Parcel
    from bookstore.intake import Draft


@dataclass(eq=False)
class Call:
    """One call of a manager that may store something, with all that it calls in turn."""

    reason: str
    from_key: str = ""
    from_version: str = ""
    #: The path whose file becomes a version although ``archive_globs`` leave it out.
    archived_anyway: str | None = None
    #: Whether what is new may be the file of that path that was deleted: one without content is another.
    is_continued: bool = False
    #: The one way to spell each path that the call was given.
    spelled: dict[str, str] = field(default_factory=dict)
    tickets: dict[str, Draft] = field(default_factory=dict)
    captured: set[str] = field(default_factory=set)
    parcels: list[Parcel | None] = field(default_factory=list)
    pending: list[tuple[str, asyncio.Future[Parcel | None]]] = field(default_factory=list)
    active: bool = True


CURRENT_CALL: ContextVar[Call | None] = ContextVar("bookstore_call", default=None)

#: The archive of each server, or of each manager that has none. State lives here and not in the manager, since some
#: extensions build the manager twice.
_SERVICES: weakref.WeakKeyDictionary[Any, ArchiveService] = weakref.WeakKeyDictionary()


def service_of(manager: ContentsManager) -> ArchiveService:
    """The archive that a manager's saves go to: one for all managers of a server."""
    owner: Any = manager.parent if manager.parent is not None else manager
    service = _SERVICES.get(owner)
    if service is None:
        # A manager that belongs to no server is to be forgotten when nobody uses it, so its settings do not hold it.
        source = {"parent": owner} if manager.parent is not None else {"config": manager.config}
        try:
            service = ArchiveService(BookstoreSettings.load(**source), root_dir=_root_dir(manager), log=manager.log)
        except Exception:
            # Whatever it is, it keeps neither Jupyter from starting nor a save from being made.
            manager.log.exception("bookstore: these settings cannot be used at all, so saves are not archived")
            nothing = BookstoreSettings(config=Config(), s3_bucket="")
            service = ArchiveService(nothing, root_dir="", log=manager.log)
        _SERVICES[owner] = service
    return service


def weakly(
    reference: weakref.WeakMethod[Callable[[str], Coroutine[Any, Any, bool]]],
) -> Callable[[str], Awaitable[bool]]:
    """Call a method of a manager for as long as there is the manager: the archive must not keep it alive."""

    async def call(path: str) -> bool:
        method = reference()
        if method is None:
            raise LookupError("the contents manager is gone")
        return await method(path)

    return call


_LOCKS: weakref.WeakKeyDictionary[ArchiveService, ReentrantPathLocks] = weakref.WeakKeyDictionary()


def current_call() -> Call | None:
    """The call that is under way, if any."""
    call = CURRENT_CALL.get()
    return call if call is not None and call.active else None


def last_parcel(call: Call, path: str, before: Parcel | None = None) -> Parcel | None:
    """The last save of a path that a call took, beside what the file held ``before``; None where it took none."""
    parcels = [parcel for parcel in call.parcels if parcel is not None and parcel is not before]
    taken = [parcel for parcel in parcels if parcel.entry.path == path]
    return taken[-1] if taken else None


def save_locks(service: ArchiveService) -> ReentrantPathLocks:
    """The locks of the paths that are being saved."""
    locks = _LOCKS.get(service)
    if locks is None:
        locks = _LOCKS[service] = ReentrantPathLocks()
    return locks


def _root_dir(manager: ContentsManager) -> str:
    root = getattr(manager, "root_dir", "")
    return os.path.abspath(root) if isinstance(manager, FileContentsManager) else str(root)  # noqa: PTH100
