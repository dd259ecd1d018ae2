"""JSON nested deeper than any notebook is refused or compared as text, and recursion never ends in an error."""

from __future__ import annotations

import hashlib
import json

import pytest

from bookstore import compare as comparing
from bookstore import notebook_rules
from bookstore.compare import compare
from bookstore.errors import InvalidRequest, NotebookInvalid
from bookstore.labels import LabelBook, LabelChange, LabelsUnreadable
from bookstore.nesting import MAX_NESTING, is_too_deep
from bookstore.notebook_rules import checked_notebook
from bookstore.rest.bodies import parsed
from bookstore.results import Side
from bookstore.scheduling import checked_parameters
from bookstore.storage.memory import MemoryStore

#: What the reviewers of JSON parsers try: shallow for the parser, deep for what recurses in Python.
DEPTHS = [MAX_NESTING + 1, 300, 600, 980]


def nested(depth, leaf="x", kind=list):
    for _ in range(depth):
        leaf = [leaf] if kind is list else {"a": leaf}
    return leaf


def notebook(metadata=None, cell_metadata=None, data=None):
    output = {"output_type": "display_data", "metadata": {}, "data": {"application/json": data}}
    cell = {
        "cell_type": "code",
        "id": "a",
        "metadata": {} if cell_metadata is None else {"deep": cell_metadata},
        "source": "1",
        "outputs": [] if data is None else [output],
        "execution_count": None,
    }
    document = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {} if metadata is None else {"deep": metadata},
        "cells": [cell],
    }
    return json.dumps(document).encode()


PLACES = {"metadata": 2, "cell_metadata": 4, "data": 6}  # with the levels around what is there


@pytest.mark.parametrize("kind", [list, dict])
def test_levels_are_counted_exactly(kind):
    assert not is_too_deep(nested(MAX_NESTING, kind=kind))
    assert is_too_deep(nested(MAX_NESTING + 1, kind=kind))
    assert is_too_deep(nested(100_000, kind=kind))
    assert is_too_deep([1, {"a": [2, [3]]}, "x"], 3)
    assert not is_too_deep([1, {"a": [2, [3]]}, "x"], 4)


@pytest.mark.parametrize("value", ["text", 1, None, [], {}, [[]]])
def test_what_is_flat_is_not_deep(value):
    assert not is_too_deep(value, 2)


def test_a_text_has_no_level():
    assert not is_too_deep("text", 0)
    assert is_too_deep([], 0)


@pytest.mark.parametrize("place", PLACES)
def test_a_notebook_may_be_as_deep_as_is_allowed_and_no_deeper(place):
    room = MAX_NESTING - PLACES[place]
    checked_notebook(notebook(**{place: nested(room)}))
    with pytest.raises(NotebookInvalid, match=f"nested too deeply: at most {MAX_NESTING}"):
        checked_notebook(notebook(**{place: nested(room + 1)}))


@pytest.mark.parametrize("depth", [*DEPTHS, 100_000])
def test_a_deep_notebook_is_invalid_and_no_error_of_the_interpreter(depth):
    content = notebook().replace(b'"metadata": {}', b'"metadata": {"deep": %s}' % (b"[" * depth + b"]" * depth))
    with pytest.raises(NotebookInvalid, match="nested too deeply") as caught:
        checked_notebook(content)
    assert "save the notebook" in caught.value.hint


def test_recursion_that_ends_all_the_same_is_told_as_what_it_is(monkeypatch):
    def recurse(document):
        raise RecursionError

    monkeypatch.setattr(notebook_rules, "_faults", recurse)
    with pytest.raises(NotebookInvalid, match="nested too deeply"):
        checked_notebook(notebook())


@pytest.mark.parametrize("depth", DEPTHS)
def test_deep_parameters_are_refused_with_their_name(depth):
    with pytest.raises(InvalidRequest, match="'alpha' is nested too deeply"):
        checked_parameters({"alpha": nested(depth)})


def test_parameters_that_hold_themselves_are_refused():
    round_and_round: list = []
    round_and_round.append(round_and_round)
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        checked_parameters({"alpha": round_and_round})


def test_parameters_may_be_as_deep_as_is_allowed():
    assert checked_parameters({"alpha": nested(MAX_NESTING)}) == {"alpha": nested(MAX_NESTING)}


@pytest.mark.parametrize("depth", [*DEPTHS, 100_000])
def test_a_deep_body_is_refused(depth):
    with pytest.raises(InvalidRequest, match="body is nested too deeply"):
        parsed(b'{"content": {"a": ' + b"[" * depth + b"]" * depth + b"}}")


def test_a_body_has_room_for_a_notebook_as_deep_as_is_allowed():
    assert parsed(json.dumps({"content": nested(MAX_NESTING, kind=dict)}).encode())


@pytest.mark.parametrize("depth", [*DEPTHS, 100_000])
async def test_deep_labels_are_not_understood_and_never_written_over(depth):
    store = MemoryStore()
    book = LabelBook(store, "w")
    body = b'{"format": 1, "path": "a", "labels": {}, "more": ' + b"[" * depth + b"]" * depth + b"}"
    await store.put(book.key("a"), body, sha256=hashlib.sha256(body).hexdigest())
    assert await book.read("a") == {}
    with pytest.raises(LabelsUnreadable):
        await book.change("a", "w/a", "v1", LabelChange(name="x"))
    assert store.requests["PutObject"] == 1


def compared(before, after):
    return compare(before, after, before_side=Side("a.ipynb", "v1", 1, ""), after_side=Side("a.ipynb", None, 1, ""))


@pytest.mark.parametrize("kind", [list, dict])
@pytest.mark.parametrize("place", PLACES)
def test_notebooks_as_deep_as_is_allowed_are_compared_as_notebooks(place, kind):
    depth = MAX_NESTING - PLACES[place]
    before, after = (notebook(**{place: nested(depth, leaf, kind)}) for leaf in "xy")
    result = compared(before, after)
    assert result.kind == "notebook"
    assert result.nbdime
    assert json.dumps(result.to_dict())


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("depth", DEPTHS)
def test_deeper_notebooks_are_compared_as_texts(place, depth):
    before = notebook()
    after = notebook(**{place: "PLACE"}).replace(b'"PLACE"', b"[" * depth + b"]" * depth)
    for one, other in ((before, after), (after, before)):
        result = compared(one, other)
        assert result.kind == "text"
        assert result.text_diff
    assert compared(after, after).identical


def test_where_recursion_ends_all_the_same_the_texts_are_compared(monkeypatch):
    def recurse(old, new):
        raise RecursionError

    monkeypatch.setattr(comparing, "_align", recurse)
    result = compared(notebook(), notebook("x"))
    assert result.kind == "text"
    assert result.text_diff
