"""Key layout: from a prefix and a path to a key, an address, and back. Pure functions.

A key is the prefix and the path's parts, joined by ``/``. For prefixes and paths without empty parts the mapping is
injective, and `path_from_key` is its inverse.
"""

from __future__ import annotations

from bookstore.errors import PathError

#: S3 User Guide, "Naming Amazon S3 objects": a key is at most 1,024 bytes of UTF-8.
MAX_KEY_BYTES = 1024

#: Below each prefix, the folder for bookstore's own objects; no path maps into it.
RESERVED = ".bookstore"


def _parts(*paths: str) -> list[str]:
    return [part for path in paths for part in path.split("/") if part]


def s3_key(prefix: str, path: str = "") -> str:
    """The key of a path below a prefix.

    Parameters
    ----------
    prefix : str
        Where the path lives, such as ``workspace``.
    path : str
        An API path of Jupyter, ``/``-separated.

    Returns
    -------
    str
        Without leading, trailing or doubled slashes: ``s3_key("/works/", "/a")`` is ``works/a``.
    """
    return "/".join(_parts(prefix, path))


def s3_path(bucket: str, prefix: str, path: str = "") -> str:
    """Bucket and key in one, as command lines of S3 tools take it: ``bucket/prefix/path``."""
    return "/".join(_parts(bucket, prefix, path))


def s3_display_path(bucket: str, prefix: str, path: str = "") -> str:
    """The address that people read: ``s3://bucket/prefix/path``."""
    return f"s3://{s3_path(bucket, prefix, path)}"


def object_key(prefix: str, path: str) -> str:
    """The key under which a path's content is stored, or an error that says why there is none.

    Parameters
    ----------
    prefix : str
        A prefix in which every field is filled in.
    path : str
        An API path of Jupyter.

    Raises
    ------
    PathError
        The path is empty, has a part ``.`` or ``..``, lies in the reserved folder, is not Unicode, or its key is
        longer than 1,024 bytes.
    """
    parts = _parts(path)
    if not parts:
        raise PathError("an empty path has no key")
    for part in parts:
        if part in (".", ".."):
            raise PathError(f"{path!r} has a part {part!r}; keys have no way up")
    if parts[0] == RESERVED:
        raise PathError(f"{path!r} lies in {RESERVED}/, which holds bookstore's own objects")
    key = s3_key(prefix, path)
    try:
        size = len(key.encode("utf-8"))
    except UnicodeEncodeError as e:
        raise PathError(f"{path!r} is not valid Unicode, so it has no key") from e
    if size > MAX_KEY_BYTES:
        raise PathError(f"the key of {path!r} would be {size} bytes long; S3 allows {MAX_KEY_BYTES}")
    return key


def path_from_key(prefix: str, key: str) -> str:
    """The API path of a key below a prefix: the way back of `object_key`.

    Raises
    ------
    PathError
        The key is not below the prefix.
    """
    base = s3_key(prefix)
    start = f"{base}/" if base else ""
    if not key.startswith(start) or len(key) == len(start):
        raise PathError(f"the key {key!r} is not below the prefix {base!r}")
    return key[len(start) :]


def reserved_key(prefix: str, name: str) -> str:
    """The key of one of bookstore's own objects below a prefix."""
    return s3_key(prefix, f"{RESERVED}/{name}")
