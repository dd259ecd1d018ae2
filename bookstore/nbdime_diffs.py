"""nbdime's diffs so that programs in a browser read them alike: they count characters and lines in another way."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What is one character here, and two to JavaScript (ECMA-262, "The String Type": UTF-16 code units).
_TWO_UNITS: Final = re.compile("[\U00010000-\U0010ffff]")

#: What ends a line for `str.splitlines`, and not, or not in the same way, for nbdime in a browser.
_OTHER_LINE_ENDS: Final = re.compile("[\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")


def portable(base: Any, diff: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A diff whose places mean the same in Python and in a browser.

    Lines in which they would not are replaced as a whole.

    Parameters
    ----------
    base : dict, list or str
        What the diff applies to.
    diff : list of dict
        nbdime's (nbdime, "diff format").
    """
    if isinstance(base, str):
        return _of_text(base, diff)
    return [{**one, "diff": portable(base[one["key"]], one["diff"])} if one["op"] == "patch" else one for one in diff]


def leads_to(base: dict[str, Any], diff: list[dict[str, Any]], other: dict[str, Any]) -> bool:
    """Whether a diff makes of one document exactly the other, in Python and in a browser.

    It does not where there is none, since the documents differ too much; and where nbdime sees no difference that JSON
    has, as between ``1`` and ``true``.
    """
    from nbdime.diff_utils import to_diffentry_dicts  # type: ignore[import-untyped,unused-ignore]
    from nbdime.patching import patch  # type: ignore[import-untyped,unused-ignore]

    if any(_OTHER_LINE_ENDS.search(text) for text in _patched_texts(base, diff)):
        return False
    return _as_text(patch(base, to_diffentry_dicts(diff))) == _as_text(other)


def _of_text(base: str, diff: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A diff of lines in which no character is named that has another number in UTF-16."""
    from nbdime.diff_utils import to_diffentry_dicts
    from nbdime.patching import patch_singleline_string

    lines = base.splitlines(keepends=True)
    made: list[dict[str, Any]] = []
    for one in diff:
        key = one["key"]
        if one["op"] != "patch" or not _TWO_UNITS.search(lines[key]):
            made.append(one)
            continue
        new = patch_singleline_string(lines[key], to_diffentry_dicts(one["diff"]))
        if made and made[-1]["op"] == "addrange" and made[-1]["key"] == key:
            made[-1] = {**made[-1], "valuelist": [*made[-1]["valuelist"], new]}
        else:
            made.append({"op": "addrange", "key": key, "valuelist": [new]})
        made.append({"op": "removerange", "key": key, "length": 1})
    return made


def _patched_texts(base: Any, diff: list[dict[str, Any]]) -> Iterator[str]:
    """The texts of which a diff changes a part."""
    if isinstance(base, str):
        yield base
        return
    for one in diff:
        if one["op"] == "patch":
            yield from _patched_texts(base[one["key"]], one["diff"])


def _as_text(document: Any) -> str:
    return json.dumps(document, sort_keys=True)
