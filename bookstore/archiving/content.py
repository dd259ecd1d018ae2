"""The bytes that a notebook or a model stands for. Pure functions."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import nbformat


def notebook_bytes(nb: Any, capture_validation_error: dict[str, Any] | None = None) -> bytes:
    """What `nbformat.write` would write to a file."""
    text: str = nbformat.writes(nb, version=nbformat.NO_CONVERT, capture_validation_error=capture_validation_error)
    # At the end of the text, where it takes no copy, and not of the bytes: a large notebook is in memory often enough.
    if not text.endswith("\n"):
        text += "\n"
    return text.encode("utf-8")


def is_complete(model: dict[str, Any]) -> bool:
    """Whether saving a model leaves a whole file: it is no directory, and no part of a chunked upload but the last."""
    return model.get("type") != "directory" and model.get("chunk") in (None, -1)


def bytes_of(model: dict[str, Any]) -> bytes:
    """The bytes that a model stands for.

    Raises
    ------
    IsADirectoryError
        It stands for a directory.
    """
    content = model["content"]
    if model["type"] == "directory":
        raise IsADirectoryError(f"{model.get('path')!r} is a directory")
    if model["type"] == "notebook":
        return notebook_bytes(nbformat.from_dict(content))
    if isinstance(content, bytes):
        return content
    if model.get("format") == "base64":
        return base64.b64decode(content)
    return str(content).encode("utf-8")


def file_model(path: str, content: bytes) -> dict[str, Any]:
    """The model that stands for exact bytes: as a file, whatever they are, so that nothing is parsed or signed."""
    return {
        "type": "file",
        "format": "base64",
        "name": path.rpartition("/")[2],
        "path": path,
        "content": base64.b64encode(content).decode("ascii"),
    }


def sha256_of(content: bytes) -> str:
    """The SHA-256 of a content, in lower-case hex."""
    return hashlib.sha256(content).hexdigest()
