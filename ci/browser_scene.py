"""What the tests of the interface look at: a Jupyter server, its bucket, and the versions in it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bookstore.provenance import Provenance, to_metadata
from ci.bucket import Bucket
from ci.jupyter_process import JupyterProcess


@dataclass(frozen=True)
class Planted:
    """A version as its save has left it in the bucket."""

    content: bytes
    saved_at: float = 0.0
    user: str = "ann"

    def metadata(self, number: int) -> dict[str, str]:
        """What the archive writes beside the bytes."""
        provenance = Provenance(
            record_id=f"{number:032x}",
            sha256=hashlib.sha256(self.content).hexdigest(),
            saved_at=self.saved_at or time.time(),
            user=self.user,
            host="machine",
            root_dir="/home",
            instance="0123456789abcdef",
            generation=1,
            sequence=number + 1,
        )
        return to_metadata(provenance)


@dataclass
class Place:
    """A Jupyter server with a bucket of its own.

    Attributes
    ----------
    application : str
        ``lab`` or ``notebook``.
    jupyter : JupyterProcess
    given : Bucket or None
        None where nothing is configured.
    """

    application: str
    jupyter: JupyterProcess
    given: Bucket | None

    @property
    def bucket(self) -> Bucket:
        """The bucket of a place that has one."""
        if self.given is None:
            raise LookupError("this place has no bucket")
        return self.given

    def make(self, path: str, *contents: dict[str, Any]) -> list[str]:
        """Save a notebook so many times; the ids of its versions, oldest first."""
        for content in contents:
            self.jupyter.save(path, content)
            self.jupyter.flush()
        return [row["VersionId"] for row in self.bucket.rows(f"workspace/{path}")]

    def plant(self, path: str, versions: Sequence[Planted]) -> None:
        """Put versions into the bucket as saves of long ago and of other people have, oldest first; and the file."""
        # One connection for each: the order of the versions is that of their arrival.
        with self.bucket.server.client() as client:
            for number, version in enumerate(versions):
                client.put_object(
                    Bucket=self.bucket.name,
                    Key=f"workspace/{path}",
                    Body=version.content,
                    Metadata=version.metadata(number),
                )
        (self.jupyter.root / path).write_bytes(versions[-1].content)
