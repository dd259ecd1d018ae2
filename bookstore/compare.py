"""What is different between two contents: cell by cell for notebooks, line by line for other texts.

nbdime aligns the cells of notebooks. What it takes grows with the product of what has no counterpart on the other
side, so beyond a bound cells are aligned by their ids and their sources alone, and nbdime's own diff is left out.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bookstore.errors import ContentTooLarge
from bookstore.nbdime_diffs import leads_to, portable
from bookstore.nesting import is_too_deep
from bookstore.results import CellChange, Comparison

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from difflib import Match

    from bookstore.results import Side

#: Bytes of one side, at most.
MAX_COMPARED: Final = 50 * 1024 * 1024

#: Characters of an older notebook that is told beside the diff: to prove that the diff leads on takes more memory.
MAX_BASE: Final = 16 * 1024 * 1024

#: Pairs of characters that nbdime may have to hold against each other: a few seconds.
MAX_EFFORT: Final = 60_000_000
#: What holding two parts against each other costs beside their characters.
_PART_EFFORT: Final = 50
#: What holding two cells without common ids against each other costs for each of their characters.
_CELL_EFFORT: Final = 25
#: Of an output nbdime looks at no more characters than this when it aligns.
_LOOKED_AT: Final = 1000
#: Pairs of equal lines that a line diff may have to weigh; beyond, it replaces everything between the equal ends.
_MAX_LINE_PAIRS: Final = 1_000_000
#: Lines that a line diff may look at, again and again: so many, and for each line of the texts so many more. What takes
#: more, because changed and equal lines alternate all the way, is replaced in the same way.
_MAX_LOOKS: Final = 4_000_000
_LOOKS_PER_LINE: Final = 16
_CONTEXT: Final = 3

_FIELDS: Final = ("source", "outputs", "metadata", "attachments", "cell_type", "execution_count", "id")
_NUMBERS: Final = ("nbformat", "nbformat_minor")

#: Indices of a cell before and after; None on the side where it is not.
Pair = tuple[int | None, int | None]


@dataclass(frozen=True, slots=True)
class _Notebook:
    """A notebook in the shape of nbformat 4.

    Attributes
    ----------
    cells : list of dict
    rest : dict
        Metadata, the numbers of the format, and whatever else is there.
    """

    cells: list[dict[str, Any]]
    rest: dict[str, Any]

    @property
    def document(self) -> dict[str, Any]:
        """All of it in one."""
        return {**self.rest, "cells": self.cells}


def compare(before: bytes, after: bytes, *, before_side: Side, after_side: Side, notebook: bool = False) -> Comparison:
    """Compare two contents: as notebooks if both are, else as texts if both are UTF-8, else as bytes.

    Notebooks of older formats are brought to nbformat 4 in memory; one that is nested deeper than
    `bookstore.nesting.MAX_NESTING` is compared as a text. In nbdime's diff, MIME data that are no text stand as their
    JSON text. The work may take seconds and is to be done in a worker thread.

    Parameters
    ----------
    before, after : bytes
        At most `MAX_COMPARED` each.
    before_side, after_side : Side
        What they are; handed through.
    notebook : bool
        Whether to tell what nbdime's diff applies to.

    Raises
    ------
    ContentTooLarge
    """
    for content, side in ((before, before_side), (after, after_side)):
        if len(content) > MAX_COMPARED:
            raise ContentTooLarge(
                f"comparing {side.path!r}, {_name(side)}: {len(content):,} bytes, and at most {MAX_COMPARED:,} are "
                "compared"
            )
    identical = before == after
    old_text, new_text = _text(before), _text(after)
    if old_text is None or new_text is None:
        return Comparison(before_side, after_side, kind="binary", identical=identical)
    try:
        found = _of_notebooks(old_text, new_text, before_side, after_side, identical=identical, notebook=notebook)
    except RecursionError:
        # No depth that is allowed leads here, unless the caller's own stack is deep already.
        found = None
    if found is not None:
        return found
    diff = "" if identical else unified_diff(old_text, new_text, _name(before_side), _name(after_side))
    return Comparison(before_side, after_side, kind="text", identical=identical, text_diff=diff)


def _of_notebooks(
    old_text: str, new_text: str, before_side: Side, after_side: Side, *, identical: bool, notebook: bool
) -> Comparison | None:
    """The comparison of two notebooks; None where one of the texts is none."""
    old = _notebook(old_text)
    new = _notebook(new_text) if old is not None else None
    if old is None or new is None:
        return None
    if identical:
        base = old.document if notebook and len(old_text) <= MAX_BASE else None
        return Comparison(before_side, after_side, kind="notebook", identical=True, base=base)
    pairs, nbdime_diff = _align(old, new)
    has_base = notebook and len(old_text) <= MAX_BASE and leads_to(old.document, nbdime_diff, new.document)
    return Comparison(
        before_side,
        after_side,
        kind="notebook",
        identical=False,
        cells=tuple(_changes(old.cells, new.cells, pairs)),
        metadata_changed=old.rest != new.rest,
        nbdime=tuple(nbdime_diff),
        base=old.document if has_base else None,
    )


def unified_diff(before: str, after: str, before_name: str = "before", after_name: str = "after") -> str:
    """The unified diff of two texts; empty where they are equal.

    Where the texts consist of many lines that repeat, or of many changes, everything between their equal ends is one
    replacement.
    """
    old, new = before.splitlines(), after.splitlines()
    if old == new:
        # Only what ends the lines differs, or whether the last one is ended.
        old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
        old, new = [repr(line)[1:-1] for line in old], [repr(line)[1:-1] for line in new]
    if old == new:
        return ""
    in_both = Counter(old)
    pairs = sum(in_both[line] for line in new)
    if pairs <= _MAX_LINE_PAIRS:
        try:
            return "\n".join(_hunks(old, new, before_name, after_name)) + "\n"
        except _TooMuchWork:
            pass  # what follows takes one look at each line
    return _replacement(old, new, before_name, after_name)


class _TooMuchWork(Exception):
    """A line diff would take too long."""


class _BoundedMatcher(difflib.SequenceMatcher[str]):
    """A matcher that gives up: what it does grows with the square of the lines where there are many changes."""

    def __init__(self, old: Sequence[str], new: Sequence[str]) -> None:
        self._lines = len(old)
        self._looks_left = _MAX_LOOKS + _LOOKS_PER_LINE * (len(old) + len(new))
        super().__init__(None, old, new)

    def find_longest_match(self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None) -> Match:
        """As difflib's own, which looks once at each line of the older side for each match.

        Raises
        ------
        _TooMuchWork
        """
        self._looks_left -= (self._lines if ahi is None else ahi) - alo
        if self._looks_left < 0:
            raise _TooMuchWork
        return super().find_longest_match(alo, ahi, blo, bhi)


def _hunks(old: Sequence[str], new: Sequence[str], before_name: str, after_name: str) -> Iterator[str]:
    """The lines of a unified diff, as difflib writes them."""
    yield f"--- {before_name}"
    yield f"+++ {after_name}"
    for group in _BoundedMatcher(old, new).get_grouped_opcodes(_CONTEXT):
        first, last = group[0], group[-1]
        yield f"@@ -{_range(first[1], last[2])} +{_range(first[3], last[4])} @@"
        for tag, old_start, old_end, new_start, new_end in group:
            if tag == "equal":
                yield from (f" {line}" for line in old[old_start:old_end])
                continue
            yield from (f"-{line}" for line in old[old_start:old_end])
            yield from (f"+{line}" for line in new[new_start:new_end])


def _range(start: int, end: int) -> str:
    """Lines as the head of a hunk counts them: from 1, and before an empty range the line that it follows."""
    if end - start == 1:
        return f"{start + 1}"
    return f"{start + (end > start)},{end - start}"


def _replacement(old: Sequence[str], new: Sequence[str], before_name: str, after_name: str) -> str:
    """A unified diff of one hunk."""
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    start = max(0, head - _CONTEXT)
    old_end, new_end = len(old) - tail, len(new) - tail
    following = old[old_end : old_end + _CONTEXT]
    lines = [
        f"--- {before_name}",
        f"+++ {after_name}",
        f"@@ -{start + 1},{old_end + len(following) - start} +{start + 1},{new_end + len(following) - start} @@",
        *(f" {line}" for line in old[start:head]),
        *(f"-{line}" for line in old[head:old_end]),
        *(f"+{line}" for line in new[head:new_end]),
        *(f" {line}" for line in following),
    ]
    return "\n".join(lines) + "\n"


def _name(side: Side) -> str:
    return f"{side.path} (now)" if side.version_id is None else f"{side.path} ({side.version_id})"


def _text(content: bytes) -> str | None:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


# -- notebooks ---------------------------------------------------------------------------------------------------------


def _notebook(text: str) -> _Notebook | None:
    """The notebook that a text is; None where it is none, or lacks what makes cells comparable."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or type(document.get("nbformat")) is not int or is_too_deep(document):
        return None
    numbers = {name: document.get(name) for name in _NUMBERS}
    is_old = document["nbformat"] < 4
    if is_old:
        document = _upgraded(document)
    cells = document.get("cells") if document is not None else None
    if document is None or not isinstance(cells, list):
        return None
    shaped = [_cell(cell, keep_id=not is_old) for cell in cells]
    if any(cell is None for cell in shaped):
        return None
    rest = {name: value for name, value in document.items() if name != "cells"} | numbers
    return _Notebook([cell for cell in shaped if cell is not None], rest)


def _upgraded(document: dict[str, Any]) -> dict[str, Any] | None:
    """A notebook of nbformat 1 to 3 in the shape of nbformat 4, without what the conversion itself adds."""
    import nbformat

    try:
        old = nbformat.reader.reads(json.dumps(document))  # type: ignore[no-untyped-call]
        new = dict(nbformat.convert(old, 4))  # type: ignore[no-untyped-call]
    except (
        nbformat.ValidationError,
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
    ):  # not of the format that it says
        return None
    metadata = {name: value for name, value in new.get("metadata", {}).items() if not name.startswith("orig_nbformat")}
    return {**new, "metadata": metadata}


def _cell(cell: Any, *, keep_id: bool) -> dict[str, Any] | None:
    """A cell as nbdime needs it: texts in one piece, MIME data as text; None where that cannot be."""
    if not isinstance(cell, dict) or not isinstance(cell.get("cell_type"), str):
        return None
    source = _joined(cell.get("source"))
    outputs = cell.get("outputs")
    if not isinstance(source, str) or not isinstance(cell.get("metadata", {}), dict):
        return None
    shaped = {**cell, "source": source, "metadata": cell.get("metadata", {})}
    if not (keep_id and isinstance(cell.get("id"), str)):
        shaped.pop("id", None)
    if cell["cell_type"] == "code" or outputs is not None:
        found = [_output(output) for output in outputs] if isinstance(outputs, list) else [None]
        if any(output is None for output in found):
            return None
        shaped["outputs"] = found
    if cell.get("attachments") is not None:
        if not isinstance(cell["attachments"], dict):
            return None
        bundles = {name: _bundle(bundle) for name, bundle in cell["attachments"].items()}
        if any(bundle is None for bundle in bundles.values()):
            return None
        shaped["attachments"] = bundles
    return shaped


def _output(output: Any) -> dict[str, Any] | None:
    kind = output.get("output_type") if isinstance(output, dict) else None
    if kind == "stream":
        text = _joined(output.get("text"))
        is_right = isinstance(text, str) and isinstance(output.get("name"), str)
        return {**output, "text": text} if is_right else None
    if kind in ("display_data", "execute_result"):
        data = _bundle(output.get("data"))
        is_right = data is not None and isinstance(output.get("metadata", {}), dict)
        return {**output, "data": data, "metadata": output.get("metadata", {})} if is_right else None
    if kind == "error":
        trace = output.get("traceback")
        is_right = isinstance(trace, list) and all(
            isinstance(text, str) for text in (*trace, output.get("ename"), output.get("evalue"))
        )
        return dict(output) if is_right else None
    return None


def _bundle(data: Any) -> dict[str, str] | None:
    if not isinstance(data, dict):
        return None
    joined = {mime: value if mime.endswith("json") else _joined(value) for mime, value in data.items()}
    return {
        mime: value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
        for mime, value in joined.items()
    }


def _joined(value: Any) -> Any:
    """A text that a notebook may also hold as a list of lines."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "".join(value)
    return value


# -- aligning cells ----------------------------------------------------------------------------------------------------


def _align(old: _Notebook, new: _Notebook) -> tuple[list[Pair], list[dict[str, Any]]]:
    if _effort(old.cells, new.cells) > MAX_EFFORT:
        return _aligned_by_keys(old.cells, new.cells), []
    import nbformat
    from nbdime.diffing.notebooks import diff_notebooks  # type: ignore[import-untyped,unused-ignore]

    documents = [nbformat.from_dict(one.document) for one in (old, new)]  # type: ignore[no-untyped-call]
    # nbdime's entries are dictionaries of their own kind.
    diff: list[dict[str, Any]] = json.loads(json.dumps(diff_notebooks(*documents)))
    cells: list[dict[str, Any]] = next((entry["diff"] for entry in diff if entry["key"] == "cells"), [])
    return list(_pairs(cells, len(old.cells))), portable(old.document, diff)


def _pairs(diff: list[dict[str, Any]], count: int) -> Iterator[Pair]:
    """What nbdime's diff of the list of cells aligns (nbdime, "diff format": entries in the order of their keys)."""
    before = after = 0
    for entry in diff:
        while before < entry["key"]:
            yield before, after
            before, after = before + 1, after + 1
        if entry["op"] == "addrange":
            for _ in entry["valuelist"]:
                yield None, after
                after += 1
        elif entry["op"] == "removerange":
            for _ in range(entry["length"]):
                yield before, None
                before += 1
    while before < count:
        yield before, after
        before, after = before + 1, after + 1


def _effort(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> int:
    """How many pairs of characters nbdime may have to hold against each other, roughly."""
    old_keys, new_keys = _keys(old, new), _keys(new, old)
    old_sizes, new_sizes = [_size(cell) for cell in old], [_size(cell) for cell in new]
    effort = _weigh(list(zip(old_keys, old_sizes, strict=True)), list(zip(new_keys, new_sizes, strict=True)))
    if {cell.get("id") for cell in old if "id" in cell}.isdisjoint(cell.get("id") for cell in new):
        effort += _CELL_EFFORT * (len(old) * sum(new_sizes) + len(new) * sum(old_sizes))
    old_by_key, new_by_key = dict(zip(old_keys, old, strict=True)), dict(zip(new_keys, new, strict=True))
    for key in old_by_key.keys() & new_by_key.keys():
        ours, theirs = old_by_key[key], new_by_key[key]
        if ours["source"] != theirs["source"]:
            effort += _weigh(_lines(ours["source"]), _lines(theirs["source"]))
        if _outputs(ours) != _outputs(theirs):
            effort += _weigh(*([(_keyed(one), _output_size(one)) for one in _outputs(cell)] for cell in (ours, theirs)))
    return effort


def _weigh(old: list[tuple[str, int]], new: list[tuple[str, int]]) -> int:
    """The effort to align two lists of parts, each with its key and its size.

    Every part is held against every other; those without a counterpart of the same key character by character.
    """
    old_keys, new_keys = {key for key, _ in old}, {key for key, _ in new}
    rest = sum(size for key, size in old if key not in new_keys) * sum(size for key, size in new if key not in old_keys)
    return rest + _PART_EFFORT * len(old) * len(new)


def _lines(text: str) -> list[tuple[str, int]]:
    return [(line, len(line)) for line in text.splitlines()]


def _outputs(cell: dict[str, Any]) -> list[dict[str, Any]]:
    return cell.get("outputs") or []


def _size(cell: dict[str, Any]) -> int:
    return len(cell["source"]) + sum(_output_size(output) for output in _outputs(cell))


def _output_size(output: dict[str, Any]) -> int:
    texts = [output.get("text", ""), *output.get("data", {}).values()]
    return sum(min(len(text), _LOOKED_AT) for text in texts)


def _keys(cells: list[dict[str, Any]], others: list[dict[str, Any]]) -> list[str]:
    """What tells cells apart: the id where both sides have it, else type and source."""
    ids = {cell["id"] for cell in others if "id" in cell}
    return [f"id {cell['id']}" if cell.get("id") in ids else f"{cell['cell_type']} {cell['source']}" for cell in cells]


def _keyed(output: dict[str, Any]) -> str:
    return json.dumps(output, sort_keys=True, default=str)


def _aligned_by_keys(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[Pair]:
    """Pairs of cells that have the same id, or the same source; between them, pairs in the order of both sides."""
    pairs: list[Pair] = []
    matcher = difflib.SequenceMatcher(None, _keys(old, new), _keys(new, old))
    for _, old_start, old_end, new_start, new_end in matcher.get_opcodes():
        common = min(old_end - old_start, new_end - new_start)
        pairs += [(old_start + n, new_start + n) for n in range(common)]
        pairs += [(n, None) for n in range(old_start + common, old_end)]
        pairs += [(None, n) for n in range(new_start + common, new_end)]
    return pairs


# -- changes of cells --------------------------------------------------------------------------------------------------


def _changes(old: list[dict[str, Any]], new: list[dict[str, Any]], pairs: list[Pair]) -> Iterator[CellChange]:
    """What became of each cell that is not the same, in the order of the newer side."""
    for before, after in pairs:
        one = old[before] if before is not None else None
        other = new[after] if after is not None else None
        changed = _changed_fields(one, other) if one is not None and other is not None else ()
        if one is not None and other is not None and not changed:
            continue
        shown = other if other is not None else one or {}
        yield CellChange(
            kind="changed" if changed else "removed" if other is None else "added",
            index_before=before,
            index_after=after,
            cell_id=shown.get("id", ""),
            cell_type=shown.get("cell_type", ""),
            changed=changed,
            source_diff=unified_diff(*((cell or {}).get("source", "") for cell in (one, other))),
            outputs_before=len(_outputs(one or {})),
            outputs_after=len(_outputs(other or {})),
        )


def _changed_fields(one: dict[str, Any], other: dict[str, Any]) -> tuple[str, ...]:
    # Cells have ids since nbformat 4.5; that a newer program gave them some is no change of the cell.
    skipped = () if "id" in one and "id" in other else ("id",)
    return tuple(
        name for name in _FIELDS if name not in skipped and (one.get(name) or None) != (other.get(name) or None)
    )
