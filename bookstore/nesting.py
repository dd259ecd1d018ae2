"""How deeply JSON is nested: what goes further than any notebook does is refused before anything recursive meets it."""

from __future__ import annotations

from typing import Any, Final

#: Levels of lists and objects within one another. Programs that read notebooks recurse, and Python allows 1,000 calls.
MAX_NESTING: Final = 100

_CONTAINERS: Final = (dict, list, tuple)


def is_too_deep(document: Any, limit: int = MAX_NESTING) -> bool:
    """Whether lists and objects are nested more than ``limit`` levels deep, found without recursion.

    Parameters
    ----------
    document : JSON value
    limit : int
        A document of one list or object has one level; a text or a number has none.
    """
    level = [one for one in (document,) if isinstance(one, _CONTAINERS)]
    for _ in range(limit):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, _CONTAINERS)
        ]
    return bool(level)
