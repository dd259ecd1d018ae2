"""Reads our docstrings: numpydoc sections, in which several names may share a line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sphinx.ext.napoleon import Config, NumpyDocstring

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_CONFIG = Config(napoleon_use_ivar=True, napoleon_use_rtype=False)

_SHARED = re.compile(r"(\w+(?:, \w+)+)( : .*)?")
_SECTION = re.compile(r"(Attributes|Parameters)")


def one_name_a_line(lines: list[str]) -> list[str]:
    """The lines with ``a, b : str`` written out, since the field lists of Sphinx know one name at a time."""
    made: list[str] = []
    inside = False
    i = 0
    while i < len(lines):
        if i + 1 < len(lines) and lines[i + 1].startswith("---"):
            inside = _SECTION.fullmatch(lines[i]) is not None
        match = _SHARED.fullmatch(lines[i]) if inside else None
        i += 1
        if match is None:
            made.append(lines[i - 1])
            continue
        start = i
        while i < len(lines) and (lines[i].startswith(" ") or not lines[i]):
            i += 1
        for name in match[1].split(", "):
            made += [name + (match[2] or ""), *lines[start:i]]
    return made


def process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Turn a docstring into reStructuredText, in place."""
    # A property's docstring has no sections, and Napoleon would take a colon in it for the end of a type.
    if what not in ("property", "attribute", "data"):
        docstring = NumpyDocstring(one_name_a_line(lines), _CONFIG, app, what, name, obj, options)
        lines[:] = docstring.lines()


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the reader."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
