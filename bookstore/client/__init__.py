"""The verbs of a running server, for notebooks and scripts: quick to import, without asyncio, results with types."""

from __future__ import annotations

from bookstore.client.nb_client import (
    CurrentNotebookClient,
    KernelInfo,
    LiveNotebookRecord,
    NotebookClient,
    NotebookClientCollection,
    NotebookSession,
    extract_kernel_id,
)
from bookstore.client.store_client import BookstoreClient

__all__ = [
    "BookstoreClient",
    "CurrentNotebookClient",
    "KernelInfo",
    "LiveNotebookRecord",
    "NotebookClient",
    "NotebookClientCollection",
    "NotebookSession",
    "extract_kernel_id",
]
