"""What may be cloned, what it is, and its bytes: objects of a store, and files below one directory."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import fnmatch
import hashlib
import os
import posixpath
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from bookstore.errors import (
    BucketMissing,
    CloningForbidden,
    ContentTooLarge,
    FileChanged,
    FileMissing,
    IntegrityError,
    InvalidRequest,
    NotebookInvalid,
    ObjectMissing,
)
from bookstore.provenance import from_metadata
from bookstore.results import CloneSource
from bookstore.s3_paths import MAX_KEY_BYTES

if TYPE_CHECKING:
    import logging

    from bookstore.bookstore_config import BookstoreSettings
    from bookstore.storage.base import ObjectInfo, ObjectStore

#: S3 User Guide, "Bucket naming rules", with what older buckets may have.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")

#: What no file's name may have: separators, control characters, and halves of characters.
_NOT_IN_NAMES = re.compile(r"[/\\\x00-\x1f\x7f-\x9f\ud800-\udfff]")

#: Leading dots, and blanks that nobody sees.
_HIDES = re.compile(r"^[\s.]+")

#: The longest name that common file systems hold, less room for the number that makes it unique.
_LONGEST_NAME = 255 - 16

#: The name of a clone whose source leaves none.
_NAMELESS = "clone"

_MISSING_HINT = "Check the path; it is relative to the directory that fs_cloning_basedir names."
_NO_BUCKET_HINT = "Check the bucket's name; it is looked for in the store that bookstore is configured for."
_NO_OBJECT_HINT = (
    "Check the key, upper and lower case too. Of what was deleted, an older version can be cloned by its version id."
)
_TOO_LARGE_HINT = "Copy it by other means, or ask the administrator to raise c.BookstoreSettings.max_content_size."

# Windows lacks these flags, and the calls relative to an open directory.
_OPEN = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_FILE = _OPEN | _NO_FOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
#: O_PATH asks only for the right to pass through a directory, as opening by the whole path does.
_DIRECTORY = _OPEN | _NO_FOLLOW | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_PATH", 0)
#: How often what was opened is compared with what lies at its path: who exchanges a link and a directory all the time
#: would have to meet each of these moments.
_LOOKS = 8
_CAN_DESCEND = bool(_NO_FOLLOW) and {os.open, os.stat} <= os.supports_dir_fd


# -- objects of a store ------------------------------------------------------------------------------------------------


def is_cloning_bucket(bucket: str, globs: Iterable[str]) -> bool:
    """Whether a bucket is one of those that may be cloned from; upper and lower case differ."""
    return bool(_BUCKET.fullmatch(bucket)) and any(fnmatch.fnmatchcase(bucket, glob) for glob in globs)


def checked_bucket(bucket: str, globs: Iterable[str]) -> None:
    """Make sure that a bucket may be cloned from.

    Parameters
    ----------
    bucket : str
    globs : iterable of str
        ``s3_cloning_buckets``; upper and lower case differ.

    Raises
    ------
    InvalidRequest
        This is no name of a bucket.
    CloningForbidden
        None of the globs matches.
    """
    if not _BUCKET.fullmatch(bucket):
        raise InvalidRequest(
            f"{bucket!r} is no name of a bucket.", "Give the bare name, without s3:// and without a path."
        )
    if not is_cloning_bucket(bucket, globs):
        raise CloningForbidden(f"The bucket {bucket!r} is none of those that may be cloned from.")


async def describe(store: ObjectStore, key: str, version_id: str | None = None) -> CloneSource:
    """Tell what an object's version is: one HEAD.

    Parameters
    ----------
    store : ObjectStore
    key : str
    version_id : str, optional
        The newest if left out or empty.

    Raises
    ------
    InvalidRequest
        No object can have this key.
    ObjectMissing
        There is no such object or version, or a delete marker hides it.
    BucketMissing
    """
    _check_key(key)
    with _told_as_missing(store, key, version_id):
        return _source(store, await store.head(key, version_id or None))


async def fetch(
    store: ObjectStore, key: str, version_id: str | None = None, *, limit: int
) -> tuple[CloneSource, bytes]:
    """Read an object's version whole: one GET.

    Parameters
    ----------
    store : ObjectStore
    key : str
    version_id : str, optional
        The newest if left out or empty.
    limit : int
        Bytes at most.

    Returns
    -------
    source : CloneSource
    content : bytes
        With the length that the store told and, where they are known, the store's SHA-256 and that of provenance.

    Raises
    ------
    InvalidRequest, ObjectMissing, BucketMissing
        As `describe`.
    ContentTooLarge
        It has more bytes than ``limit``; no more than those are read.
    IntegrityError
        These are not the bytes that were stored.
    """
    _check_key(key)
    pieces = []
    length = 0
    async with AsyncExitStack() as opened:
        with _told_as_missing(store, key, version_id):
            body = await opened.enter_async_context(store.get(key, version_id or None))
        source = _source(store, body.info)
        _check_size(source.source, body.info.size, limit)
        async for piece in body.chunks:
            length += len(piece)
            _check_size(source.source, length, limit)
            pieces.append(piece)
    # Elsewhere: everybody's requests would wait for it here.
    content, digest = await asyncio.to_thread(_joined, pieces)
    _check_content(source.source, body.info, length, digest)
    return source, content


def _joined(pieces: list[bytes]) -> tuple[bytes, str]:
    """A content of pieces, and its SHA-256."""
    content = b"".join(pieces)
    return content, hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def _told_as_missing(store: ObjectStore, key: str, version_id: str | None) -> Iterator[None]:
    """Say of what is not there what it is to who wants to clone it: another's bucket, which is not theirs to create."""
    try:
        yield
    except BucketMissing as e:
        # A bucket of another region has a hint of its own.
        hint = _NO_BUCKET_HINT if e.hint == BucketMissing.default_hint else e.hint
        raise BucketMissing(f"There is no bucket {store.bucket!r} to clone from.", hint) from e
    except ObjectMissing as e:
        address = f"s3://{store.bucket}/{key}"
        if version_id:
            message = f"There is no version {version_id!r} of {address}."
        else:
            message = f"There is no {address}, or it was deleted."
        raise ObjectMissing(message, _NO_OBJECT_HINT) from e


def _check_key(key: str) -> None:
    """Refuse what would be no key in any store, so that none has to make sense of it."""
    if not key.strip("/"):
        raise InvalidRequest("No key was given.", "Give the key of the object that is to be cloned.")
    try:
        size = len(key.encode("utf-8"))
    except UnicodeEncodeError as e:
        raise InvalidRequest(f"The key {key!r} is not valid Unicode.") from e
    if size > MAX_KEY_BYTES:
        raise InvalidRequest(f"The key has {size} bytes; S3 allows {MAX_KEY_BYTES}.")
    if "\0" in key:
        raise InvalidRequest(f"The key {key!r} holds a null character.")


def _source(store: ObjectStore, info: ObjectInfo) -> CloneSource:
    provenance = from_metadata(info.metadata)
    address = f"s3://{store.bucket}/{info.key}"
    return CloneSource(
        source=address,
        name=target_name(info.key),
        size=info.size,
        last_modified=info.last_modified.isoformat(),
        version_id=info.version_id,
        by=provenance.user if provenance is not None else "",
        sha256=info.sha256 or (provenance.sha256 if provenance is not None else ""),
    )


def _check_size(name: str, size: int, limit: int) -> None:
    if size > limit:
        raise ContentTooLarge(f"{name} has more than the {limit:,} bytes that are cloned at most", _TOO_LARGE_HINT)


def _check_content(name: str, info: ObjectInfo, length: int, digest: str) -> None:
    if length != info.size:
        raise IntegrityError(f"Cloning {name}: the store told {info.size:,} bytes and gave {length:,}")
    provenance = from_metadata(info.metadata)
    for who, known in (
        ("the store", info.sha256),
        ("the version's provenance", provenance.sha256 if provenance is not None else None),
    ):
        if known and known.lower() != digest:
            raise IntegrityError(f"Cloning {name}: the content's SHA-256 is {digest}, and {who} tells {known}")


def target_name(source: str) -> str:
    """The name under which a source is cloned where nobody chooses another: its base name, made safe.

    Leading dots go: a link to a clone shall not make a file that a shell or a program reads by itself. Separators
    and control characters become ``_``, and what is longer than a file's name may be is cut before its suffix.

    Parameters
    ----------
    source : str
        A key, an address ``s3://…``, or a path.
    """
    base = source.rstrip("/").rpartition("/")[2]
    name = _HIDES.sub("", _NOT_IN_NAMES.sub("_", base)).rstrip()
    stem, dot, suffix = name.rpartition(".")
    if not dot or len(suffix) > 16:
        stem, dot, suffix = name, "", ""
    ending = f"{dot}{suffix}".encode()
    if len(stem.encode()) + len(ending) > _LONGEST_NAME:
        stem = stem.encode()[: _LONGEST_NAME - len(ending)].decode("utf-8", "ignore").rstrip()
    return f"{stem}{dot}{suffix}" or _NAMELESS


# -- files below a directory -------------------------------------------------------------------------------------------


def file_below(basedir: str | Path, relpath: str) -> Path:
    """Where a file below a directory is, symbolic links followed.

    Blocks on the disk. What is there may be another thing by the time that the path is used; to read, call
    `read_file`, which holds on to what it has looked at.

    Parameters
    ----------
    basedir : str or Path
        Absolute.
    relpath : str
        Relative to it, ``/``-separated.

    Returns
    -------
    Path
        Absolute, without symbolic links, and below ``basedir``: a regular file that can be read.

    Raises
    ------
    FileMissing
        There is no such file below the directory; also for what is no regular file or may not be read, and for
        every way out of the directory. The message tells ``relpath`` and nothing else of the disk.
    CloningForbidden
        ``basedir`` is not absolute.
    """
    with _opened(basedir, relpath) as (path, _):
        return path


def describe_file(basedir: str | Path, relpath: str) -> CloneSource:
    """Tell what a file below a directory is. Blocks on the disk; errors as `file_below`."""
    with _opened(basedir, relpath) as (_, descriptor):
        return _file_source(relpath, os.fstat(descriptor))


def read_file(basedir: str | Path, relpath: str, *, limit: int) -> tuple[CloneSource, bytes]:
    """Read a file below a directory whole. Blocks on the disk; errors as `file_below`, and those below.

    Parameters
    ----------
    basedir : str or Path
    relpath : str
    limit : int
        Bytes at most.

    Raises
    ------
    ContentTooLarge
        It has more bytes than ``limit``; no more than those are read.
    FileChanged
        Somebody wrote to it meanwhile, so that what was read may be half old and half new.
    """
    with _opened(basedir, relpath) as (_, descriptor):
        before = os.fstat(descriptor)
        _check_size(repr(relpath), before.st_size, limit)
        try:
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(limit + 1)
        except OSError as e:
            _missing(relpath, e)
        _check_size(repr(relpath), len(content), limit)
        after = os.fstat(descriptor)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or len(content) != after.st_size:
            raise FileChanged(f"{relpath!r} was written to while it was read", "Try again.")
    return _file_source(relpath, after, hashlib.sha256(content).hexdigest()), content


def validate_relpath(
    relpath: str, settings: BookstoreSettings, log: logging.Logger | logging.LoggerAdapter[Any]
) -> Path:
    """Where a relative path leads below ``fs_cloning_basedir``, as in bookstore 2. Nothing needs to be there.

    Parameters
    ----------
    relpath : str
    settings : BookstoreSettings
    log : logging.Logger

    Returns
    -------
    Path
        Absolute, symbolic links followed. Use `read_file` to read it.

    Raises
    ------
    tornado.web.HTTPError
        400 where the path is empty, 404 where it leads outside.
    """
    from tornado.web import HTTPError

    if not relpath:
        log.info("Request received with empty relpath.")
        raise HTTPError(400, "Request malformed, must provide a non-empty relative path.")
    try:
        _, target = _resolved(settings.fs_cloning_basedir, relpath, strict=False)
    except (FileMissing, CloningForbidden) as e:
        log.info("Request to clone from a path outside of base directory: %r.", relpath)
        raise HTTPError(404, f"{relpath!r} is outside root cloning directory.") from e
    return target


def _resolved(basedir: str | Path, relpath: str, *, strict: bool) -> tuple[Path, Path]:
    """The directory and what the path leads to in it, without symbolic links."""
    base = Path(basedir)
    if not base.is_absolute():
        raise CloningForbidden(
            "Cloning from the file system is switched off.",
            "The administrator may set c.BookstoreSettings.fs_cloning_basedir to an absolute directory.",
        )
    parts = relpath.split("/")
    # A backslash separates on Windows; a file has no part "." or "" behind it.
    if relpath.startswith("/") or parts[-1] in ("", ".") or ".." in parts or any(c in relpath for c in "\\\0"):
        _missing(relpath)
    try:
        base = base.resolve(strict=strict)
        target = base.joinpath(*parts).resolve(strict=strict)
    except (OSError, ValueError, RuntimeError) as e:  # a loop of links is a RuntimeError up to Python 3.12
        _missing(relpath, e)
    if target == base or not target.is_relative_to(base):
        _missing(relpath)
    return base, target


@contextlib.contextmanager
def _opened(basedir: str | Path, relpath: str) -> Iterator[tuple[Path, int]]:
    """Open a regular file below a directory, and nothing else, whatever is exchanged meanwhile."""
    base, target = _resolved(basedir, relpath, strict=True)
    try:
        parts = target.relative_to(base).parts
        descriptor = _descend(base, parts) if _CAN_DESCEND else _open_and_verify(target)
    except (OSError, ValueError, RuntimeError) as e:
        _missing(relpath, e)
    try:
        yield target, descriptor
    finally:
        os.close(descriptor)


def _descend(base: Path, parts: tuple[str, ...]) -> int:
    """Open a file step by step from its directory, so that no step follows a link that was not there before.

    Raises
    ------
    OSError
        A step is not what it was, or the last one is no regular file.
    """
    where = os.open(base, _DIRECTORY)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _DIRECTORY, dir_fd=where)
            os.close(where)
            where = inner
        # Looked at first: opening a device may do something by itself.
        _require_regular(os.stat(parts[-1], dir_fd=where, follow_symlinks=False))
        descriptor = os.open(parts[-1], _FILE, dir_fd=where)
    finally:
        os.close(where)
    return _verified(descriptor)


def _open_and_verify(target: Path) -> int:
    """Open a file where no call works relative to a directory, and make sure that it is the one meant."""
    _require_regular(target.stat(follow_symlinks=False))
    descriptor = _verified(os.open(target, _FILE))
    for _ in range(_LOOKS):
        if target.resolve(strict=True) != target or not os.path.samestat(target.stat(), os.fstat(descriptor)):
            os.close(descriptor)
            raise FileNotFoundError("the file was exchanged")
    return descriptor


def _verified(descriptor: int) -> int:
    try:
        _require_regular(os.fstat(descriptor))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _require_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise FileNotFoundError("no regular file")


def _missing(relpath: str, cause: BaseException | None = None) -> NoReturn:
    """Say that there is no such file, and not why: that would tell of what lies outside of the directory."""
    raise FileMissing(f"There is no file {relpath!r} to clone", _MISSING_HINT) from cause


def _file_source(relpath: str, status: os.stat_result, sha256: str = "") -> CloneSource:
    return CloneSource(
        source=posixpath.normpath(relpath),
        name=target_name(relpath),
        size=status.st_size,
        last_modified=_time(status.st_mtime),
        by=_owner(status.st_uid),
        sha256=sha256,
    )


def _time(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).isoformat()
    except (OverflowError, ValueError, OSError):  # no calendar knows it
        return ""


def _owner(uid: int) -> str:
    """The name of a file's owner, where the system knows names."""
    try:
        import pwd
    except ImportError:  # Windows
        return ""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):  # no name for this uid
        return ""


# -- models, as in bookstore 2 -----------------------------------------------------------------------------------------


def build_notebook_model(content: str | bytes, path: str) -> dict[str, Any]:
    """A contents model of a notebook.

    Nothing is signed, and what would make its cells trusted is taken out.

    Parameters
    ----------
    content : str or bytes
        The notebook as JSON, of any nbformat; the model has it in the newest.
    path : str
        The API path that the model is for.

    Returns
    -------
    dict
        See the Contents API of Jupyter Server, "Data model".

    Raises
    ------
    NotebookInvalid
        The content is no notebook.
    """
    import nbformat
    from nbformat import reader

    read: Any = reader.reads
    convert: Any = nbformat.convert
    try:
        notebook = convert(read(content), nbformat.current_nbformat)
        for holder in (notebook, *notebook.cells):
            holder.metadata.pop("trusted", None)
            for part in (holder, holder.metadata):
                # What JavaScript that copies a dict by its names takes for its prototype, and finds marks of trust in.
                part.pop("__proto__", None)
        notebook.metadata.pop("signature", None)
    # Its readers take a notebook's shape for granted.
    except (nbformat.ValidationError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as e:
        raise NotebookInvalid(f"{path!r}: the content is no notebook") from e
    return _model(path, "notebook", "json", notebook)


def build_file_model(content: str | bytes, path: str) -> dict[str, Any]:
    """A contents model of a file.

    Parameters
    ----------
    content : str or bytes
    path : str
        The API path that the model is for.

    Returns
    -------
    dict
        Of format ``text`` where the content is text or UTF-8, else of format ``base64``. See the Contents API of
        Jupyter Server, "Data model".
    """
    kind, shown = "text", content
    if isinstance(content, bytes):
        try:
            shown = content.decode("utf-8")
        except UnicodeDecodeError:
            kind, shown = "base64", base64.b64encode(content).decode("ascii")
    return _model(path, "file", kind, shown)


def _model(path: str, type_: str, format_: str, content: Any) -> dict[str, Any]:
    """Exactly the fields that bookstore 2 gave: what the contents API takes to save a file."""
    path = posixpath.normpath(path).strip("/")
    return {"type": type_, "format": format_, "content": content, "name": posixpath.basename(path), "path": path}
