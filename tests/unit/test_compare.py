"""`bookstore.compare`: what is different is named cell by cell, whatever the notebooks look like."""

from __future__ import annotations

import copy
import difflib
import json
import re
import subprocess
import sys
import time
from typing import Any

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bookstore import compare as module
from bookstore.compare import compare, unified_diff
from bookstore.errors import ContentTooLarge
from bookstore.results import Comparison, Side

OLD = Side("a.ipynb", "v1", 1, "")
NEW = Side("a.ipynb", None, 1, "")


def cell(source: str = "", kind: str = "code", **fields: Any) -> dict[str, Any]:
    extra = {"outputs": [], "execution_count": None} if kind == "code" else {}
    return {"cell_type": kind, "metadata": {}, "source": source, **extra, **fields}


def stream(text: str) -> dict[str, Any]:
    return {"output_type": "stream", "name": "stdout", "text": text}


def shown(data: Any) -> dict[str, Any]:
    return {"output_type": "display_data", "metadata": {}, "data": data}


def notebook(*cells: dict[str, Any], minor: int = 5, **metadata: Any) -> dict[str, Any]:
    return {"nbformat": 4, "nbformat_minor": minor, "metadata": metadata, "cells": list(cells)}


def of(before: Any, after: Any, **options: Any) -> Comparison:
    sides = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in (before, after)]
    return compare(*sides, before_side=OLD, after_side=NEW, **options)


def test_a_changed_source_names_the_cell_and_the_lines():
    before = notebook(cell("import os", id="a"), cell("x = 1\ny = 2", id="b"))
    after = notebook(cell("import os", id="a"), cell("x = 1\ny = 3", id="b"))
    result = of(before, after)
    assert (result.kind, result.identical, result.metadata_changed) == ("notebook", False, False)
    (change,) = result.cells
    assert (change.kind, change.index_before, change.index_after, change.cell_id) == ("changed", 1, 1, "b")
    assert (change.cell_type, change.changed) == ("code", ("source",))
    assert "\n-y = 2\n+y = 3\n" in change.source_diff
    assert result.nbdime[0]["key"] == "cells"


def test_added_and_removed_cells_stand_where_they_are():
    before = notebook(cell("one", id="a"), cell("gone for good", id="b"), cell("three", id="c"))
    after = notebook(cell("one", id="a"), cell("three", id="c"), cell("# four", "markdown", id="d"))
    removed, added = of(before, after).cells
    assert (removed.kind, removed.index_before, removed.index_after, removed.cell_id) == ("removed", 1, None, "b")
    assert "-gone for good" in removed.source_diff
    assert (added.kind, added.index_before, added.index_after) == ("added", None, 2)
    assert (added.cell_id, added.cell_type) == ("d", "markdown")
    assert "+# four" in added.source_diff


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"outputs": [stream("1\n"), stream("2\n")]}, ("outputs",)),
        ({"execution_count": 7}, ("execution_count",)),
        ({"metadata": {"tags": ["x"]}}, ("metadata",)),
        ({"attachments": {"i.png": {"image/png": "AAAA"}}}, ("attachments",)),
        ({"source": "z", "execution_count": 2}, ("source", "execution_count")),
    ],
)
def test_what_changed_of_a_cell_is_named(fields, expected):
    (change,) = of(notebook(cell("x", id="a")), notebook({**cell("x", id="a"), **fields})).cells
    assert change.changed == expected
    assert (change.outputs_before, change.outputs_after) == (0, len(fields.get("outputs", [])))
    assert bool(change.source_diff) == ("source" in expected)


def test_another_id_is_a_change_and_a_first_id_is_none():
    (change,) = of(notebook(cell("x = 1", id="a")), notebook(cell("x = 1", id="b"))).cells
    assert change.changed == ("id",)
    upgraded = of(notebook(cell("x = 1"), minor=4), notebook(cell("x = 1", id="b")))
    assert upgraded.cells == ()
    assert upgraded.metadata_changed, "the format is another"


def test_the_notebooks_own_metadata_count_apart_from_the_cells():
    result = of(notebook(cell("x")), notebook(cell("x"), kernelspec={"name": "r"}))
    assert (result.cells, result.metadata_changed, result.identical) == ((), True, False)


def test_identical_bytes_have_no_changes():
    result = of(notebook(cell("x")), notebook(cell("x")))
    assert (result.kind, result.identical, result.cells, result.nbdime) == ("notebook", True, (), ())


def test_a_difference_in_layout_alone_changes_no_cell():
    document = notebook(cell("a\nb", id="a", outputs=[stream("1\n2\n")]))
    split = copy.deepcopy(document)
    split["cells"][0]["source"] = ["a\n", "b"]
    split["cells"][0]["outputs"][0]["text"] = ["1\n", "2\n"]
    result = of(document, json.dumps(split, indent=4).encode())
    assert (result.identical, result.cells, result.metadata_changed) == (False, (), False)


def test_an_old_format_is_compared_after_an_upgrade_in_memory():
    old = {
        "nbformat": 3,
        "nbformat_minor": 0,
        "metadata": {"name": ""},
        "worksheets": [
            {
                "metadata": {},
                "cells": [
                    {"cell_type": "code", "input": "x = 1", "language": "python", "metadata": {}, "outputs": []},
                    {"cell_type": "heading", "level": 2, "metadata": {}, "source": "Title"},
                ],
            }
        ],
    }
    result = of(old, notebook(cell("x = 2", id="a"), cell("## Title", "markdown", id="b")))
    (change,) = result.cells
    assert (result.kind, change.index_before, change.index_after, change.changed) == ("notebook", 0, 0, ("source",))
    assert result.metadata_changed
    changed = copy.deepcopy(old)
    changed["worksheets"][0]["cells"][0]["input"] = "x = 3"
    again = of(old, changed)
    assert [one.changed for one in again.cells] == [("source",)]
    assert not again.metadata_changed


def test_the_oldest_formats_are_compared_too():
    second = {
        "nbformat": 2,
        "metadata": {"name": "n"},
        "worksheets": [{"cells": [{"cell_type": "code", "input": "x = 1", "outputs": [], "language": "python"}]}],
    }
    first = {"nbformat": 1, "cells": [{"cell_type": "code", "code": "x = 1", "prompt_number": 1}]}
    for old in (first, second):
        (change,) = of(old, notebook(cell("x = 2"))).cells
        assert (change.index_before, change.index_after, change.kind) == (0, 0, "changed")


def test_a_moved_cell_is_removed_and_added():
    cells = [cell(f"value_{n} = compute({n})" * 3, id=f"c{n}") for n in range(6)]
    changes = of(notebook(*cells), notebook(*cells[1:], cells[0])).cells
    assert [(one.kind, one.cell_id) for one in changes] == [("removed", "c0"), ("added", "c0")]


@pytest.mark.parametrize("data", [{"application/json": {"a": 1}}, {"text/plain": None}, {"x/y": [1, True]}, {}])
def test_outputs_of_any_data_are_compared(data):
    (change,) = of(notebook(cell("x", outputs=[shown(data)])), notebook(cell("x", outputs=[shown({"a/b": "t"})]))).cells
    assert change.changed == ("outputs",)


@pytest.mark.parametrize(
    "broken",
    [
        {"nbformat": 4},
        {"nbformat": 4, "cells": {}},
        {"nbformat": "4", "cells": []},
        {"nbformat": 3, "worksheets": 5},
        {"nbformat": 2, "nbformat_minor": 0},
        {"nbformat": 4, "cells": [1]},
        {"nbformat": 4, "cells": [{"cell_type": "code", "source": 5}]},
        {"nbformat": 4, "cells": [{"cell_type": "code", "source": "", "outputs": [{"output_type": "?"}]}]},
        [],
        None,
    ],
)
def test_what_is_no_notebook_is_compared_as_text(broken):
    assert of(broken, notebook(cell("x"))).kind == "text"


def test_json_that_is_too_deep_is_compared_as_text():
    assert of(b"[" * 100_000, notebook()).kind == "text"


def test_texts_are_compared_by_line():
    result = of("# Ä\none\n".encode(), "# Ä\ntwo\n".encode())
    assert (result.kind, result.cells) == ("text", ())
    assert "--- a.ipynb (v1)\n+++ a.ipynb (now)\n" in result.text_diff
    assert "\n-one\n+two\n" in result.text_diff


def test_a_difference_in_line_ends_alone_is_shown():
    assert "-one\\r\\n\n+one\\n\n" in of(b"one\r\n", b"one\n").text_diff


def test_other_bytes_are_compared_as_such():
    assert of(b"\x89PNG\xff", b"\x89PNG\xff") == Comparison(OLD, NEW, kind="binary", identical=True)
    assert of(b"\x89PNG\xff", b"text") == Comparison(OLD, NEW, kind="binary", identical=False)


def test_more_than_is_compared_is_refused(monkeypatch):
    monkeypatch.setattr(module, "MAX_COMPARED", 10)
    assert of(b"x" * 10, b"y").kind == "text"
    with pytest.raises(ContentTooLarge, match=r"a\.ipynb \(now\): 11 bytes") as caught:
        of(b"x", b"y" * 11)
    assert caught.value.hint


def _apply(before: list[str], diff: str) -> list[str]:
    """What the second text was, by a unified diff of the first."""
    result, position = [], 0
    for line in diff.split("\n")[2:-1]:
        if line.startswith("@@"):
            start, _, count = line.split(" ")[1][1:].partition(",")
            first = int(start) - (count != "0")
            result += before[position:first]
            position = first
        elif line.startswith("+"):
            result.append(line[1:])
        else:
            assert before[position] == line[1:]
            position += 1
            result += [line[1:]] if line.startswith(" ") else []
    return result + before[position:]


_LINES = st.lists(st.sampled_from(["a", "b", "c", "dd", "e e", ""]), max_size=14)


@given(_LINES, _LINES, st.booleans())
def test_a_unified_diff_leads_from_one_text_to_the_other(before, after, coarse):
    diff = (
        module._replacement(before, after, "b", "a")
        if coarse and before != after
        else unified_diff("\n".join(before), "\n".join(after))
    )
    if diff and "\n".join(before).splitlines() == before and "\n".join(after).splitlines() == after:
        assert _apply(before, diff) == after


@given(_LINES, _LINES)
def test_a_unified_diff_reads_as_difflib_writes_it(before, after):
    written = list(difflib.unified_diff(before, after, "b", "a", lineterm=""))
    if before != after:
        assert list(module._hunks(before, after, "b", "a")) == written


@pytest.mark.parametrize("count", [50, 40_000])
def test_lines_that_are_changed_and_equal_by_turns_are_compared_in_time(count):
    before = [f"equal {n}" if n % 2 else f"before {n}" for n in range(count)]
    after = [f"equal {n}" if n % 2 else f"after {n}" for n in range(count)]
    start = time.monotonic()
    diff = unified_diff("\n".join(before), "\n".join(after))
    assert time.monotonic() - start < 10
    assert _apply(before, diff) == after
    assert (" equal 25" in diff) == (count == 50)


def test_many_lines_that_repeat_are_compared_in_time():
    before = "\n".join(str(n % 40) for n in range(20_000))
    after = "\n".join(str(n % 41) for n in range(20_000))
    start = time.monotonic()
    diff = unified_diff(before, after)
    assert time.monotonic() - start < 5
    assert _apply(before.split("\n"), diff) == after.split("\n")


_TEXTS = st.sampled_from(["", "a", "x = 1\ny = 2", "x = 1\ny = 3", "import os\n", "# title"])
_DATA = st.dictionaries(
    st.sampled_from(["text/plain", "image/png", "application/json", "application/x+json", "text/html"]),
    st.sampled_from(["a", "A" * 100, ["x\n", "y"], {"a": 1}, [1], None, 1.5, True]),
    max_size=2,
)
_OUTPUTS = st.lists(
    st.one_of(
        st.builds(stream, _TEXTS),
        st.builds(shown, _DATA),
        st.builds(
            lambda d, n: {**shown(d), "output_type": "execute_result", "execution_count": n}, _DATA, st.integers(0, 3)
        ),
        st.builds(
            lambda t: {"output_type": "error", "ename": "E", "evalue": "v", "traceback": t},
            st.lists(_TEXTS, max_size=2),
        ),
    ),
    max_size=2,
)
_IDS = st.one_of(st.just({}), st.builds(lambda i: {"id": i}, st.sampled_from("abcd")))
_CELLS = st.one_of(
    st.builds(
        lambda s, o, i, m: cell(s, outputs=o, **i, **m),
        _TEXTS,
        _OUTPUTS,
        _IDS,
        st.sampled_from([{}, {"metadata": {"k": [1]}}]),
    ),
    st.builds(lambda s, i: cell(s, "markdown", **i), _TEXTS, _IDS),
    st.builds(lambda s, d: cell(s, "raw", attachments={"i": d}), _TEXTS, _DATA),
)
_NOTEBOOKS = st.builds(
    lambda cells, minor: notebook(*cells, minor=minor), st.lists(_CELLS, max_size=6), st.sampled_from([4, 5])
)


def _check(before: dict[str, Any], after: dict[str, Any], result: Comparison) -> None:
    """The changes account for every cell, and cells that are not named are the same."""
    assert result.kind == "notebook"
    removed = {one.index_before for one in result.cells if one.kind == "removed"}
    added = {one.index_after for one in result.cells if one.kind == "added"}
    old = [n for n in range(len(before["cells"])) if n not in removed]
    new = [n for n in range(len(after["cells"])) if n not in added]
    assert len(old) == len(new)
    changed = {(one.index_before, one.index_after) for one in result.cells if one.kind == "changed"}
    assert changed <= set(zip(old, new, strict=True))
    for one, other in zip(old, new, strict=True):
        same = before["cells"][one]["source"] == after["cells"][other]["source"]
        assert same or (one, other) in changed
    assert Comparison.from_dict(json.loads(json.dumps(result.to_dict()))) == result


@settings(deadline=None, max_examples=150)
@given(_NOTEBOOKS, _NOTEBOOKS, st.booleans())
def test_any_two_notebooks_are_compared_and_every_cell_is_accounted_for(before, after, by_keys):
    with pytest.MonkeyPatch.context() as patch:
        if by_keys:
            patch.setattr(module, "MAX_EFFORT", -1)
        result = of(before, after)
    _check(before, after, result)
    assert not (by_keys and result.nbdime)


@settings(deadline=None, max_examples=60)
@given(_NOTEBOOKS, st.permutations(range(6)), st.booleans())
def test_moved_cells_with_ids_are_accounted_for(document, order, double):
    after = copy.deepcopy(document)
    cells = after["cells"]
    after["cells"] = [cells[n] for n in order if n < len(cells)] + (cells[:1] if double else [])
    _check(document, after, of(document, after))


def test_nbdimes_diff_leads_from_one_notebook_to_the_other():
    from nbdime import patch_notebook
    from nbdime.diff_utils import to_diffentry_dicts

    before = notebook(cell("x = 1", id="a", outputs=[stream("1\n")]), cell("y", id="b"))
    after = notebook(cell("x = 2", id="a"), cell("new", "markdown", id="c"), cell("y", id="b"), k=1)
    diff = to_diffentry_dicts(list(of(before, after).nbdime))
    assert patch_notebook(nbformat.from_dict(before), diff) == nbformat.from_dict(after)


@pytest.mark.parametrize("with_ids", [True, False])
def test_large_notebooks_that_differ_everywhere_are_compared_in_time(with_ids):
    def large(extra: str) -> dict[str, Any]:
        text = "\n".join(f"value_{{0}}_{n} = compute({n})" for n in range(10)) + extra
        return notebook(*(cell(text.format(n), **({"id": f"c{n}"} if with_ids else {})) for n in range(800)))

    start = time.monotonic()
    result = of(large(""), large("\nmore = 1"))
    assert time.monotonic() - start < 10
    assert [(one.kind, one.index_before) for one in result.cells] == [("changed", n) for n in range(800)]
    assert "+more = 1" in result.cells[0].source_diff


def test_importing_it_loads_neither_nbdime_nor_nbformat():
    code = "import sys, bookstore.compare; assert not {'nbdime', 'nbformat'} & set(sys.modules), 'too early'"
    subprocess.run([sys.executable, "-c", code], check=True)


# -- what nbdime's diff applies to -------------------------------------------------------------------------------------


def patched(result: Comparison) -> Any:
    """What the diff makes of the base, as a program makes it that got both as JSON."""
    from nbdime import patch
    from nbdime.diff_utils import to_diffentry_dicts

    told = json.loads(json.dumps(result.to_dict()))
    return json.loads(json.dumps(patch(told["base"], to_diffentry_dicts(told["nbdime"]))))


def in_one_piece(document: dict[str, Any]) -> dict[str, Any]:
    """A notebook in the form in which it is compared: compared with itself it is its own base."""
    base = of(document, document, notebook=True).base
    assert base is not None
    return json.loads(json.dumps(base))


def places_in_utf16(base: Any, diff: list[dict[str, Any]]) -> Any:
    """What a program makes of it that counts characters as JavaScript does, and splits lines as nbdime does there."""
    if isinstance(base, str):
        lines = [line.encode("utf-16-le", "surrogatepass") for line in re.findall(r"[^\r\n]*(?:\r\n|\r|\n|$)", base)]
        made: list[bytes] = []
        at = 0
        for one in diff:
            made += lines[at : one["key"]]
            at = max(at, one["key"])
            if one["op"] == "addrange":
                made += [line.encode("utf-16-le", "surrogatepass") for line in one["valuelist"]]
            elif one["op"] == "removerange":
                at += one["length"]
            else:
                line, begin = b"", 0
                for inner in one["diff"]:
                    line += lines[at][2 * begin : 2 * inner["key"]]
                    begin = max(begin, inner["key"])
                    if inner["op"] == "addrange":
                        line += "".join(inner["valuelist"]).encode("utf-16-le", "surrogatepass")
                    else:
                        begin += inner["length"]
                made.append(line + lines[at][2 * begin :])
                at += 1
        return b"".join([*made, *lines[at:]]).decode("utf-16-le", "surrogatepass")
    if isinstance(base, dict):
        found = dict(base)
        for one in diff:
            if one["op"] == "patch":
                found[one["key"]] = places_in_utf16(base[one["key"]], one["diff"])
            elif one["op"] == "remove":
                del found[one["key"]]
            else:
                found[one["key"]] = one["value"]
        return found
    rows: list[Any] = []
    at = 0
    for one in diff:
        rows += base[at : one["key"]]
        at = max(at, one["key"])
        if one["op"] == "addrange":
            rows += one["valuelist"]
        elif one["op"] == "removerange":
            at += one["length"]
        else:
            rows.append(places_in_utf16(base[at], one["diff"]))
            at += 1
    return rows + base[at:]


#: Texts that nbdime takes for alike, with what Python and JavaScript count in different ways.
_LIVELY = st.lists(
    st.sampled_from(
        [
            "total = 1 + 1\n",
            "total = 1 + 2\n",
            "\U0001f600 smile = 1\n",
            "\U0001f600 smile = 2\n",
            "a\x0cb\n",
            "100%\r",
            "x",
        ]
    ),
    max_size=4,
).map("".join)
_LIVELY_CELLS = st.one_of(
    st.builds(lambda s, o, i: cell(s, outputs=[stream(o)], **i), _LIVELY, _LIVELY, _IDS),
    st.builds(lambda s, i: cell(s, "markdown", **i), _LIVELY, _IDS),
    _CELLS,
)
_METADATA = st.dictionaries(st.sampled_from(["k", "l"]), st.sampled_from([1, True, 1.0, "one two", "one three"]))
_LIVELY_NOTEBOOKS = st.builds(
    lambda cells, metadata: notebook(*cells, **metadata), st.lists(_LIVELY_CELLS, max_size=4), _METADATA
)


#: Twice the same cells, with other lines.
_EDITED = st.lists(st.tuples(_LIVELY, _LIVELY), min_size=1, max_size=3).map(
    lambda texts: tuple(
        notebook(*(cell(pair[side], id=f"c{n}", outputs=[stream(pair[side])]) for n, pair in enumerate(texts)))
        for side in (0, 1)
    )
)
_ANY = st.one_of(_NOTEBOOKS, _LIVELY_NOTEBOOKS)


@settings(deadline=None, max_examples=200)
@given(st.one_of(_EDITED, st.tuples(_ANY, _ANY)))
def test_the_base_patched_with_the_diff_is_the_newer_notebook_in_python_and_in_a_browser(sides):
    before, after = sides
    result = of(before, after, notebook=True)
    if result.base is None:
        texts = json.dumps([before, after])
        assert "\\f" in texts or any(one in texts for one in ("true", "1.0", ": 1")), "nothing that JSON tells apart"
        return
    assert json.dumps(result.base, sort_keys=True) == json.dumps(in_one_piece(before), sort_keys=True)
    newer = json.dumps(in_one_piece(after), sort_keys=True)
    assert json.dumps(patched(result), sort_keys=True) == newer
    assert json.dumps(places_in_utf16(result.base, list(result.nbdime)), sort_keys=True) == newer


def test_the_base_is_told_only_to_those_who_ask():
    before, after = notebook(cell("x = 1")), notebook(cell("x = 2"))
    assert of(before, after).base is None
    assert of(before, before).base is None
    assert of(before, after, notebook=True).base == before
    assert of(before, before, notebook=True).base == before
    assert of(b"one", b"two", notebook=True).base is None


def test_the_base_has_each_text_in_one_piece_and_the_cells_of_the_current_format():
    split = notebook(cell(["a\n", "b"], outputs=[stream(["1\n", "2"]), shown({"text/html": ["<b>", "</b>"]})]))
    [shaped] = of(split, notebook(), notebook=True).base["cells"]
    assert shaped["source"] == "a\nb"
    assert [shaped["outputs"][0]["text"], shaped["outputs"][1]["data"]] == ["1\n2", {"text/html": "<b></b>"}]
    old = {
        "nbformat": 3,
        "nbformat_minor": 0,
        "metadata": {"name": ""},
        "worksheets": [{"cells": [{"cell_type": "code", "input": "x = 1", "language": "python", "outputs": []}]}],
    }
    result = of(old, notebook(cell("x = 2")), notebook=True)
    assert [one["source"] for one in result.base["cells"]] == ["x = 1"]
    assert patched(result)["cells"][0]["source"] == "x = 2"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (notebook(cell("x", metadata={"k": 1})), notebook(cell("x", metadata={"k": True}))),
        (notebook(cell("one\x0ctwo three four\n")), notebook(cell("one\x0ctwo three five\n"))),
    ],
)
def test_there_is_no_base_where_the_diff_would_not_lead_to_the_newer_notebook(before, after):
    assert of(before, after, notebook=True).base is None


def test_there_is_no_base_without_a_diff(monkeypatch):
    monkeypatch.setattr(module, "MAX_EFFORT", -1)
    result = of(notebook(cell("x = 1")), notebook(cell("x = 2")), notebook=True)
    assert (result.base, result.nbdime, len(result.cells)) == (None, (), 1)


def test_a_base_that_is_too_large_is_not_told(monkeypatch):
    monkeypatch.setattr(module, "MAX_BASE", 100)
    before, after = notebook(cell("x = 1")), notebook(cell("x = 2"))
    assert of(before, after, notebook=True).base is None
    assert of(before, before, notebook=True).base is None


def test_a_changed_line_with_an_astral_character_is_replaced_as_a_whole():
    before = notebook(cell("first\nsmile = '\U0001f600' + 'a long text that stays'\nlast", id="a"))
    after = notebook(cell("first\nsmile = '\U0001f600' + 'a long text that goes'\nlast", id="a"))
    result = of(before, after, notebook=True)
    source = result.nbdime[0]["diff"][0]["diff"][0]
    assert source["key"] == "source"
    assert [(one["op"], one["key"]) for one in source["diff"]] == [("addrange", 1), ("removerange", 1)]
    assert patched(result) == after
