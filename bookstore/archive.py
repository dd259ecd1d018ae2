"""Contents managers whose saves become versions: `BookstoreContentsArchiver`, and the same over any other manager.

What a manager writes to a local file in Jupyter's own way is captured where it is written: serialised once, the same
bytes to the file and to the outbox. What it stores in any other way is read back before the save is acknowledged.
Either way the user's manager stays what it is; only methods around it are added.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any

from jupyter_server.services.contents.fileio import AsyncFileManagerMixin
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from jupyter_server.services.contents.manager import AsyncContentsManager

from bookstore.archiving.asynchronous import AsyncArchiving, CapturingWrites
from bookstore.archiving.base import ArchiveRecord, Archiving
from bookstore.archiving.call import service_of
from bookstore.archiving.synchronous import SyncArchiving

if TYPE_CHECKING:
    from jupyter_server.services.contents.manager import ContentsManager

__all__ = [
    "ArchiveRecord",
    "AsyncArchiving",
    "BookstoreContentsArchiver",
    "CapturingWrites",
    "SyncArchiving",
    "archiving_class",
    "service_of",
]


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
    if issubclass(manager_class, Archiving):
        return manager_class
    if manager_class is AsyncLargeFileManager:
        return BookstoreContentsArchiver
    if not issubclass(manager_class, AsyncContentsManager):
        mixin: type[Archiving] = SyncArchiving
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
