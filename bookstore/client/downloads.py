"""Versions on their way to this machine: checked against what was saved, and put where nobody's file is."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from bookstore.errors import IntegrityError, InvalidRequest
from bookstore.jupyter_servers import Answer, JupyterServerError

_DIGEST = re.compile(r"sha-256=:([^:]*):")


def checked(answer: Answer, path: str) -> Iterator[bytes]:
    """A version's content in pieces.

    Raises
    ------
    IntegrityError
        At the end, if the bytes are not those that were saved.
    ServerUnreachable
        They ended early.
    """
    digest = hashlib.sha256()
    for piece in answer.chunks():
        digest.update(piece)
        yield piece
    expected = _digest_of(answer)
    if expected and digest.digest() != expected:
        version_id = unquote(answer.headers.get("X-Bookstore-Version-Id", ""))
        raise IntegrityError(
            f"version {version_id} of {path!r} came with SHA-256 {digest.hexdigest()}, and was saved "
            f"with {expected.hex()}"
        )


def _digest_of(answer: Answer) -> bytes:
    """The SHA-256 that the content is to have (RFC 9530, 3); empty where it is not known."""
    found = _DIGEST.search(answer.headers.get("Repr-Digest", ""))
    if found is None:
        return b""
    try:
        return base64.b64decode(found[1], validate=True)
    except binascii.Error as e:
        raise JupyterServerError(f"{answer.call}: Repr-Digest is no base64.", "Try again.") from e


def place(part: Path, file: Path, overwrite: bool) -> None:
    """Give a file that is complete its name.

    Raises
    ------
    InvalidRequest
        Another file has it, and ``overwrite`` is false.
    """
    if overwrite:
        part.replace(file)
        return
    try:
        os.link(part, file)
    except FileExistsError as e:
        raise taken(file) from e
    except OSError:  # a file system without hard links: take the name first
        try:
            file.open("xb").close()
        except FileExistsError as e:
            raise taken(file) from e
        part.replace(file)


def taken(file: Path) -> InvalidRequest:
    """The error of a target that is there."""
    return InvalidRequest(f"{file} is there already.", "Choose another target, or say overwrite=True.")
