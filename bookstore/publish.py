"""Bookstore 2's name for publishing; `bookstore.publishing` and `bookstore.rest.publishing` have what is behind it."""

from __future__ import annotations

from bookstore.rest.publishing import BookstorePublishAPIHandler

__all__ = ["BookstorePublishAPIHandler"]
