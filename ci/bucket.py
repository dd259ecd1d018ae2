"""A bucket of its own for one test, looked at through the plain SDK, and the requests that its server gets."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from ci.s3_servers import S3Server


@dataclass(frozen=True)
class Bucket:
    """A bucket of its own for one test."""

    server: S3Server
    name: str

    @property
    def environment(self) -> dict[str, str]:
        """What bookstore reads to archive to it."""
        return {
            "JPYNB_S3_BUCKET": self.name,
            "JPYNB_S3_ENDPOINT_URL": self.server.endpoint_url,
            "JPYNB_S3_ACCESS_KEY_ID": self.server.access_key_id,
            "JPYNB_S3_SECRET_ACCESS_KEY": self.server.secret_access_key,
        }

    def rows(self, key: str) -> list[dict[str, Any]]:
        """Every version and delete marker of one key, oldest first."""
        with self.server.client() as client:
            rows: list[dict[str, Any]] = []
            for page in client.get_paginator("list_object_versions").paginate(Bucket=self.name, Prefix=key):
                for kind in ("Versions", "DeleteMarkers"):
                    rows += [{**row, "kind": kind} for row in page.get(kind, ()) if row["Key"] == key]
        # Both lists are newest first; within a second that order is all there is.
        return rows[::-1]

    def read(self, key: str, version_id: str | None = None) -> bytes:
        """The bytes of one version."""
        extra = {"VersionId": version_id} if version_id else {}
        with self.server.client() as client:
            return bytes(client.get_object(Bucket=self.name, Key=key, **extra)["Body"].read())

    def versions(self, key: str) -> list[bytes]:
        """The bytes of every version of a key, oldest first."""
        with self.server.client() as client:
            return [
                bytes(client.get_object(Bucket=self.name, Key=key, VersionId=row["VersionId"])["Body"].read())
                for row in self.rows(key)
                if row["kind"] == "Versions"
            ]

    def metadata(self, key: str, version_id: str | None = None) -> dict[str, str]:
        """The user metadata of one version."""
        extra = {"VersionId": version_id} if version_id else {}
        with self.server.client() as client:
            return dict(client.head_object(Bucket=self.name, Key=key, **extra)["Metadata"])

    def keys(self) -> set[str]:
        """All keys that have any version."""
        with self.server.client() as client:
            found: set[str] = set()
            for page in client.get_paginator("list_object_versions").paginate(Bucket=self.name):
                for kind in ("Versions", "DeleteMarkers"):
                    found |= {row["Key"] for row in page.get(kind, ())}
        return found


@contextmanager
def recorded_requests() -> Iterator[Callable[[str], list[str]]]:
    """Record what arrives at a moto server of this process, at the server.

    Yields
    ------
    Callable[[str], list of str]
        The methods of the requests to the keys that end in a name, in the order of arrival.
    """
    lines: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(re.sub("\x1b\\[[0-9;]*m", "", record.getMessage()))

    def methods(name: str) -> list[str]:
        # 127.0.0.1 - - [date] "PUT /bucket/key?x-id=PutObject HTTP/1.1" 200 -
        requests = [line.split('"')[1].split(" ") for line in lines if '"' in line]
        return [method for method, target, _ in requests if unquote(target).split("?")[0].endswith(f"/{name}")]

    logger = logging.getLogger("werkzeug")
    handler, level = Handler(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield methods
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
