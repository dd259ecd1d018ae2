"""The media types under which content is stored and sent. Pure functions."""

from __future__ import annotations

import mimetypes

#: What Jupyter itself registers for notebooks.
NOTEBOOK_TYPE = "application/x-ipynb+json"


def content_type(path: str) -> str:
    """The media type of a path's content."""
    if path.endswith(".ipynb"):
        return NOTEBOOK_TYPE
    return mimetypes.guess_type(path)[0] or "application/octet-stream"
