"""``bookstore demo --check``: the whole way without a browser, in a fresh directory, and proof that it works."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bookstore.cli.demo_jupyter import DemoJupyter
from bookstore.cli.demo_layout import BUCKET, Layout
from bookstore.cli.demo_welcome import welcome_notebook
from bookstore.errors import BookstoreError
from bookstore.jupyter_servers import ask
from bookstore.s3_paths import object_key

if TYPE_CHECKING:
    from bookstore.embedded_s3 import EmbeddedS3

#: How often the notebook is saved.
SAVES = 3

#: Seconds that a save may take to reach the bucket: the first PUT of a fresh server takes some.
ARCHIVE_TIMEOUT = 30.0

_PATH = "check.ipynb"


@dataclass(frozen=True, slots=True)
class Checked:
    """One save and what the bucket holds of it.

    Attributes
    ----------
    save : int
        From 1 on.
    version_id : str
    size : int
        Bytes on disk after the save.
    sha256 : str
        Of those.
    is_same : bool
        Whether the version read back from the bucket has the same bytes.
    """

    save: int
    version_id: str
    size: int
    sha256: str
    is_same: bool

    def to_dict(self) -> dict[str, Any]:
        """For the JSON document."""
        return asdict(self)


def check(layout: Layout, s3: EmbeddedS3, jupyter: DemoJupyter) -> list[Checked]:
    """Save a notebook several times and compare each version in the bucket with what was on disk.

    Raises
    ------
    BookstoreError
        A save did not arrive, or the bucket lists other versions than were saved.
    """
    saved: list[tuple[str, bytes]] = []
    for number in range(1, SAVES + 1):
        model = welcome_notebook()
        model["cells"][1]["source"] = f"print('save {number}')"
        ask(jupyter.server, "PUT", f"api/contents/{_PATH}", {"type": "notebook", "format": "json", "content": model})
        on_disk = (layout.notebooks / _PATH).read_bytes()
        saved.append((_wait_until_archived(jupyter, number), on_disk))
    with _environment_of(jupyter):
        stored = asyncio.run(_read_versions(s3, object_key("workspace", _PATH)))
    if list(stored) != [version_id for version_id, _ in reversed(saved)]:
        raise BookstoreError(
            f"The bucket lists the versions {', '.join(stored) or '(none)'}, newest first; saved were, oldest first, "
            f"{', '.join(version_id for version_id, _ in saved)}."
        )
    return [
        Checked(
            number,
            version_id,
            len(on_disk),
            hashlib.sha256(on_disk).hexdigest(),
            is_same=hashlib.sha256(stored[version_id]).digest() == hashlib.sha256(on_disk).digest(),
        )
        for number, (version_id, on_disk) in enumerate(saved, 1)
    ]


def _wait_until_archived(jupyter: DemoJupyter, number: int) -> str:
    """Wait until the server says that this save is in the bucket; its version id."""
    deadline = time.monotonic() + ARCHIVE_TIMEOUT
    while True:
        archive = ask(jupyter.server, "GET", "api/bookstore")["archive"]
        if archive["archived"] >= number and not archive["waiting"]:
            return str(archive["last_version"]["version_id"])
        if time.monotonic() > deadline:
            problems = "; ".join(problem["message"] for problem in archive["problems"]) or "no reason is told"
            raise BookstoreError(
                f"Save {number} was not archived within {ARCHIVE_TIMEOUT:.0f} s (state {archive['state']}): {problems}"
            )
        time.sleep(0.05)


@contextlib.contextmanager
def _environment_of(jupyter: DemoJupyter) -> Iterator[None]:
    """Keep the user's own settings for the SDK and proxies out of this process as well."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(jupyter.environment())
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


async def _read_versions(s3: EmbeddedS3, key: str) -> dict[str, bytes]:
    """Every version of a key that the bucket lists, newest first, read through a client of its own."""
    from bookstore.storage.s3 import S3Options, S3Store

    store = S3Store(
        S3Options(
            BUCKET,
            endpoint_url=s3.endpoint_url,
            region_name="us-east-1",
            access_key_id=s3.access_key_id,
            secret_access_key=s3.secret_access_key,
        )
    )
    versions = {}
    try:
        page = await store.list_versions(key)
        for row in page.versions:
            async with store.get(key, row.version_id) as body:
                versions[row.version_id] = b"".join([chunk async for chunk in body.chunks])
    finally:
        await store.aclose()
    return versions
