"""Bookstore 2's names for cloning; `bookstore.cloning` and `bookstore.rest.cloning` have what stands behind them."""

from __future__ import annotations

from bookstore.cloning import build_file_model, build_notebook_model, validate_relpath
from bookstore.rest.cloning import (
    BookstoreCloneAPIHandler,
    BookstoreCloneHandler,
    BookstoreFSCloneAPIHandler,
    BookstoreFSCloneHandler,
)

__all__ = [
    "BookstoreCloneAPIHandler",
    "BookstoreCloneHandler",
    "BookstoreFSCloneAPIHandler",
    "BookstoreFSCloneHandler",
    "build_file_model",
    "build_notebook_model",
    "validate_relpath",
]
