"""Lets papermill read and write versions: ``papermill "bookstore://bucket/key?versionId=…" out.ipynb``.

papermill finds `BookstoreHandler` by the entry point ``bookstore://`` of the group ``papermill.io``; bookstore itself
does not need papermill. The store and its credentials are those of Jupyter's configuration, as for the command line.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import shlex
import socket
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import unquote

from bookstore.bookstore_config import BookstoreSettings
from bookstore.cli.app import BookstoreApp
from bookstore.cli.demo_layout import BUCKET, Layout
from bookstore.delivery import Courier
from bookstore.errors import (
    BookstoreError,
    IntegrityError,
    InvalidRequest,
    NotANotebook,
    NotebookInvalid,
    ObjectMissing,
    PathError,
    SettingsError,
    StorageError,
)
from bookstore.identity import current_user
from bookstore.media_types import content_type
from bookstore.provenance import Provenance, from_metadata, to_metadata
from bookstore.publishing import version_url
from bookstore.retry import attempt_timeout, backoff
from bookstore.s3_paths import MAX_KEY_BYTES, reserved_key
from bookstore.scheduling import parameters_of

if TYPE_CHECKING:
    from bookstore.storage.base import ObjectStore

_T = TypeVar("_T")

SCHEME: Final = "bookstore://"

#: Times that a request is made which fails for a reason that may pass: a run may have taken hours.
ATTEMPTS: Final = 6


@dataclass(frozen=True)
class Address:
    """What a ``bookstore://`` address names.

    Attributes
    ----------
    bucket, key : str
    version_id : str or None
        None for the newest.
    """

    bucket: str
    key: str
    version_id: str | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """The way back of `bookstore.publishing.version_url`.

        Raises
        ------
        InvalidRequest
            It is no such address.
        """
        # Not urlsplit: a key that somebody typed may hold a "#".
        place, _, query = text.removeprefix(SCHEME).partition("?")
        bucket, _, key = place.partition("/")
        if not text.startswith(SCHEME) or not bucket or any(c in bucket for c in "@:%"):
            # Without repeating it: somebody may have put a password before the bucket.
            raise InvalidRequest("This is no address of bookstore's.", f"Write {SCHEME}bucket/key?versionId=….")
        name, _, value = query.partition("=")
        if query and (name != "versionId" or not value or "&" in value):
            raise InvalidRequest(
                f"The address has {query!r} after '?', and only versionId is known.", "Write '%3F' for a '?' in a key."
            )
        try:
            return cls(bucket, unquote(key, errors="strict"), unquote(value, errors="strict") or None)
        except UnicodeDecodeError as e:
            raise InvalidRequest("The address is not UTF-8, percent-encoded.") from e

    def of_object(self) -> Address:
        """The address itself, if it names an object.

        Raises
        ------
        InvalidRequest
            It names a bucket or folder.
        """
        if not self.key or self.key.endswith("/"):
            raise InvalidRequest(f"{version_url(self.bucket, self.key, None)} names no object.", "Give the whole key.")
        return self


class BookstoreHandler:
    """What papermill asks of a kind of address. Papermill calls the class itself, so nothing is kept between calls."""

    @classmethod
    def read(cls, path: str) -> str:
        """The text of a version, the newest without ``versionId``.

        A scheduled copy gets its parameters as papermill sets them: in a cell tagged ``injected-parameters`` after
        the one tagged ``parameters``. As with every notebook that has such a cell, parameters that are given to
        papermill itself replace the cell: then give all of them.

        Parameters
        ----------
        path : str
            ``bookstore://bucket/key?versionId=…``

        Raises
        ------
        InvalidRequest, NotANotebook, NotebookInvalid, SettingsError, StorageError
        """
        address = Address.parse(path).of_object()
        content, parameters = _run(lambda store, _: _read(store, address), address.bucket)
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as e:
            raise NotANotebook(f"{path} is not UTF-8 text: papermill reads nothing else") from e
        return _parameterized(text, parameters) if parameters else text

    @classmethod
    def write(cls, buf: str | bytes, path: str) -> None:
        """Store a notebook as a new version of a key.

        papermill writes after each cell, and each time is a version; ``--no-request-save-on-cell-execute`` leaves
        the last. Bytes that are the newest version already need no other.

        Parameters
        ----------
        buf : str or bytes
        path : str
            ``bookstore://bucket/key``

        Raises
        ------
        InvalidRequest, PathError, SettingsError, StorageError
        """
        address = Address.parse(path).of_object()
        if address.version_id is not None:
            raise InvalidRequest(f"{path} names a version, and versions never change.", "Leave out versionId.")
        if len(address.key.encode()) > MAX_KEY_BYTES:
            raise PathError(f"{path} has a key of more than {MAX_KEY_BYTES} bytes", "Give a shorter key.")
        content = buf.encode("utf-8", "surrogatepass") if isinstance(buf, str) else bytes(buf)
        provenance = Provenance(
            record_id=uuid.uuid4().hex,
            sha256=hashlib.sha256(content).hexdigest(),
            saved_at=time.time(),
            user=current_user(),
            host=socket.gethostname(),
            source="model",
            reason="run",
        )
        _run(lambda store, settings: _write(store, settings, address.key, content, provenance), address.bucket)

    @classmethod
    def listdir(cls, path: str) -> list[str]:
        """The addresses of the objects in a folder, without those of folders in it."""
        address = Address.parse(path)
        folder = f"{address.key.rstrip('/')}/" if address.key else ""
        keys = _run(lambda store, _: _keys_in(store, folder), address.bucket)
        return [version_url(address.bucket, key, None) for key in keys]

    @classmethod
    def pretty_path(cls, path: str) -> str:
        """The address for people, nothing encoded."""
        address = Address.parse(path)
        version = "" if address.version_id is None else f" (version {address.version_id})"
        return f"{SCHEME}{address.bucket}/{address.key}{version}"


def _run(work: Callable[[ObjectStore, BookstoreSettings], Coroutine[Any, Any, _T]], bucket: str) -> _T:
    """Do the work on a store, on a loop of its own: papermill is not asynchronous and may run within a loop."""

    async def on_store() -> _T:
        from bookstore.service import store_of

        settings = _settings()
        store = store_of(settings, bucket)
        try:
            return await work(store, settings)
        finally:
            await store.aclose()

    with _explained(bucket), ThreadPoolExecutor(1, thread_name_prefix="bookstore-papermill") as pool:
        return pool.submit(lambda: asyncio.run(on_store())).result()


@contextmanager
def _explained(bucket: str) -> Iterator[None]:
    """Errors from inside carry the next step in their text: papermill shows nothing else of them."""
    try:
        yield
    except BookstoreError as e:
        hint = e.hint
        demo = Layout.standard()
        if bucket == BUCKET and isinstance(e, StorageError) and demo.config_file.is_file():
            hint += (
                f" The bucket of the demo is found with JUPYTER_CONFIG_PATH={shlex.quote(str(demo.config))} while"
                f" {demo.command} runs."
            )
        if hint:
            e.args = (f"{e}\n{hint.strip()}",)
        raise


def _settings() -> BookstoreSettings:
    app = BookstoreApp.configured(None, {})
    for broken in app.broken_files:
        logging.getLogger(__name__).warning("bookstore: %s", broken)
    settings = BookstoreSettings.load(parent=app)
    for problem in settings.check():
        # The address names the bucket; the rest of the settings is not used here.
        if problem.blocks_archiving and problem.trait.startswith("s3_") and problem.trait != "s3_bucket":
            raise SettingsError(f"{problem.trait}: {problem.message}", problem.hint)
    return settings


async def _patiently(request: Callable[[], Awaitable[_T]]) -> _T:
    """Make a request again while its failure may pass."""
    failures = 0
    while True:
        try:
            return await request()
        except StorageError as e:
            failures += 1
            if not e.transient or failures == ATTEMPTS:
                raise
            await asyncio.sleep(backoff(failures, random.random))


async def _read(store: ObjectStore, address: Address) -> tuple[bytes, dict[str, Any]]:
    async def content_and_info() -> tuple[bytes, Any]:
        async with store.get(address.key, address.version_id) as body:
            content = b"".join([chunk async for chunk in body.chunks])
        provenance = from_metadata(body.info.metadata)
        if provenance is not None and hashlib.sha256(content).hexdigest() != provenance.sha256:
            raise IntegrityError(f"reading {address.key!r}: the store gave other bytes than were stored")
        return content, body.info

    content, info = await _patiently(content_and_info)
    return content, await _patiently(lambda: parameters_of(store, info))


async def _write(
    store: ObjectStore, settings: BookstoreSettings, key: str, content: bytes, provenance: Provenance
) -> None:
    courier = Courier(
        store,
        probe_key=reserved_key(key.partition("/")[0] if "/" in key else "", "probe"),
        origin=provenance.origin,
        allow_unversioned=settings.allow_unversioned,
    )

    async def checked_and_put() -> None:
        if not courier.is_versioned:
            await courier.check_bucket()
        try:
            newest = from_metadata((await store.head(key)).metadata)
        except ObjectMissing:
            newest = None
        # An attempt before this one, whose answer was lost, or papermill's last write, which is done twice.
        if newest is not None and newest.sha256 == provenance.sha256 and newest.reason == provenance.reason:
            return
        receipt = await store.put(
            key,
            content,
            sha256=provenance.sha256,
            metadata=to_metadata(provenance),
            content_type=content_type(key),
            timeout=attempt_timeout(len(content)),
        )
        # Versioning may have been suspended while the notebook ran.
        courier.require_version(receipt.version_id, key)
        if not receipt.verified:
            await _read(store, Address(store.bucket, key, receipt.version_id))

    await _patiently(checked_and_put)


async def _keys_in(store: ObjectStore, folder: str) -> list[str]:
    keys: list[str] = []
    after: str | None = None
    while True:
        page = await _patiently(lambda: store.list_objects(folder, after=after))  # noqa: B023 - called at once
        keys += [row.key for row in page.objects if "/" not in row.key[len(folder) :]]
        after = page.next_after
        if after is None:
            return keys


def _parameterized(text: str, parameters: dict[str, Any]) -> str:
    """The notebook with its parameters, set by papermill itself."""
    import nbformat
    from papermill.iorw import (  # type: ignore[import-untyped,import-not-found,unused-ignore]
        load_notebook_node,
    )
    from papermill.parameterize import (  # type: ignore[import-untyped,import-not-found,unused-ignore]
        parameterize_notebook,
    )

    # An upgraded notebook is a dict of its own format's kind, which papermill takes for a path.
    notebook = load_notebook_node(nbformat.from_dict(nbformat.reads(text, as_version=4)))  # type: ignore[no-untyped-call]
    kernel, language = _kernel_and_language(notebook.metadata)
    notebook = parameterize_notebook(notebook, parameters, kernel_name=kernel, language=language)
    return str(nbformat.writes(notebook))  # type: ignore[no-untyped-call]


def _kernel_and_language(metadata: Mapping[str, Any]) -> tuple[str, str]:
    """What parameters are written for.

    Raises
    ------
    NotebookInvalid
        The metadata do not tell the language of their kernel.
    """
    kernelspec = metadata.get("kernelspec", {})
    language = metadata.get("language_info", {}).get("name") or kernelspec.get("language")
    # What names neither, papermill runs only as its command line says, which is not known here: almost all of those
    # are Python's.
    kernel = kernelspec.get("name") or language or "python"
    if not language and not kernel.startswith("python"):
        raise NotebookInvalid(
            f"The notebook names the kernel {kernel!r} and no language, so its parameters cannot be written",
            "Open it in Jupyter with this kernel, save it, and schedule it again.",
        )
    return kernel, language or "python"
