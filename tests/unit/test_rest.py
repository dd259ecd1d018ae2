"""How errors and bodies of the REST interface read, without a server."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack

import pytest
from tornado.web import HTTPError

from bookstore import errors
from bookstore.rest import history
from bookstore.rest.base import as_bounded_json, as_json, seconds
from bookstore.rest.bodies import Field, checked, parsed
from bookstore.rest.errors import (
    STATUSES,
    HintedHTTPError,
    document_of,
    document_of_http,
    status_of,
    without_directories,
)
from bookstore.rest.places import Places
from bookstore.results import Comparison, Side


def all_kinds(kind=errors.BookstoreError):
    yield kind
    for below in kind.__subclasses__():
        yield from all_kinds(below)


@pytest.mark.parametrize("kind", tuple(all_kinds()), ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_and_a_document(kind):
    assert status_of(kind("x")) in STATUSES.values()
    document = document_of(kind("message", "hint"))
    assert (document["message"], document["hint"], document["code"]) == ("message", "hint", kind.__name__)


def test_a_new_kind_of_error_has_the_status_of_the_nearest_above_it():
    kind = type("StoreVeryBusy", (errors.StoreThrottled,), {})
    assert status_of(kind("x")) == 503
    assert document_of(kind("x"))["reason"] == "store very busy"


def test_absolute_paths_are_left_out():
    document = {"message": "/home/kylek/work/a.ipynb and /home/kylek/work", "hint": "see /home/kylek/work/outbox/x"}
    told = without_directories(
        document, {"/home/kylek/work": "the root directory", "/home/kylek/work/outbox": "the outbox", "/": "", "": ""}
    )
    assert told == {"message": "a.ipynb and the root directory", "hint": "see x"}


def test_what_jupyter_refuses_keeps_its_message_and_what_fails_inside_does_not():
    refused = document_of_http(404, HTTPError(404, "No such file: %s", "100%.ipynb"))
    assert refused == {"message": "No such file: 100%.ipynb", "reason": "not found", "hint": "", "code": "NotFound"}
    assert document_of_http(400, HTTPError(400, "100% of %s"))["message"] == "100% of %s"
    for error in (HTTPError(500, "the secret"), ValueError("the secret"), None):
        assert "secret" not in json.dumps(document_of_http(500, error))


def test_a_field_that_may_be_left_out_may_be_null():
    fields = (Field("name"), Field("version_id", "version"))
    assert checked(parsed(b'{"name": null, "version_id": ""}'), fields) == {"name": None, "version_id": None}


@pytest.mark.parametrize("value", [b"true", b'"1"', b"{}", b"[]"])
def test_a_number_is_a_number(value):
    with pytest.raises(errors.InvalidRequest, match="timeout is to be a number"):
        checked(parsed(b'{"timeout": %s}' % value), [Field("timeout", "number")])


@pytest.mark.parametrize("value", [-1.0, 601.0, float("inf")])
def test_nobody_waits_longer_than_a_request_may(value):
    with pytest.raises(errors.InvalidRequest, match="from 0 to 600"):
        seconds(value, 30.0)


def test_whole_characters_outside_the_basic_plane_are_taken():
    assert parsed(rb'{"name": "\ud83d\ude00"}') == {"name": "\U0001f600"}


def test_what_json_has_no_number_for_becomes_null():
    document = {"outputs": [1.5, float("nan"), {"deep": (float("inf"),)}]}
    assert json.loads(as_json(document)) == {"outputs": [1.5, None, {"deep": [None]}]}


def test_a_hint_of_its_own_goes_before_that_of_the_status():
    document = document_of_http(403, HintedHTTPError(403, "Not this 100%.", "Ask somebody."))
    assert document == {
        "message": "Not this 100%.",
        "reason": "forbidden",
        "hint": "Ask somebody.",
        "code": "Forbidden",
    }


# -- how much an answer may be -----------------------------------------------------------------------------------------


def test_json_within_the_limit_is_whole_and_beyond_it_there_is_none():
    document = {"text": "ü" * 10, "numbers": [1, float("nan"), None]}
    whole = as_json(document)
    assert as_bounded_json(document, len(whole)) == whole
    assert as_bounded_json(document, len(whole) - 1) is None


def test_a_comparison_that_is_too_long_is_refused_and_not_cut(monkeypatch):
    side = Side("a.txt", "1", 1, "", "")
    comparison = Comparison(side, side, kind="text", identical=False, text_diff="-x" * 1000)
    assert Comparison.from_dict(json.loads(history.comparison_json(comparison))) == comparison
    monkeypatch.setattr(history, "MAX_COMPARISON", 2000)
    with pytest.raises(errors.ContentTooLarge, match="2,000 characters"):
        history.comparison_json(comparison)


def test_a_comparison_that_is_too_long_with_its_base_is_told_without(monkeypatch):
    side = Side("a.ipynb", "1", 1, "", "")
    base = {"cells": [{"source": "x" * 1000}]}
    comparison = Comparison(side, side, kind="notebook", identical=True, base=base)
    assert json.loads(history.comparison_json(comparison))["base"] == base
    monkeypatch.setattr(history, "MAX_COMPARISON", 1000)
    assert json.loads(history.comparison_json(comparison))["base"] is None


# -- places ------------------------------------------------------------------------------------------------------------


async def settled():
    """Let every task go on until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def hold(places, who, patience, order, until):
    async with places.place(who, patience):
        order.append(who)
        await until.wait()


async def test_who_waits_gets_the_place_that_is_given_back_first_come_first_served():
    places, order = Places("things are done", 1, waiting=9), []
    gates = [asyncio.Event() for _ in range(3)]
    tasks = [asyncio.create_task(hold(places, str(n), 60, order, gate)) for n, gate in enumerate(gates)]
    for number, gate in enumerate(gates):
        await settled()
        assert order == [str(n) for n in range(number + 1)]
        gate.set()
    await asyncio.gather(*tasks)


async def test_who_waits_too_long_or_is_one_too_many_is_told_that_the_server_is_busy():
    places = Places("things are done", 1, waiting=1)
    async with places.place("a", 0):
        with pytest.raises(errors.ServerBusy, match=r"none was done within 0\.01 s"):
            async with places.place("b", 0.01):
                pytest.fail("there was no place")
        waiter = asyncio.create_task(hold(places, "b", 60, [], asyncio.Event()))
        await settled()
        with pytest.raises(errors.ServerBusy, match="1 more wait"):
            async with places.place("c", 60):
                pytest.fail("nobody may wait any more")
        waiter.cancel()
        await asyncio.wait([waiter])
    async with places.place("d", 0):
        pass


async def test_one_s_share_leaves_places_for_others():
    places, order = Places("things are done", 3, share=2, waiting=9), []
    async with AsyncExitStack() as held:
        for _ in range(2):
            await held.enter_async_context(places.place("greedy", 0))
        greedy = asyncio.create_task(hold(places, "greedy", 60, order, asyncio.Event()))
        await settled()
        async with places.place("modest", 0):
            assert not order
        assert not order
    await settled()
    assert order == ["greedy"]
    greedy.cancel()
    await asyncio.wait([greedy])


async def test_a_place_that_was_given_to_who_was_cancelled_meanwhile_is_not_lost():
    places = Places("things are done", 1, waiting=9)
    first = AsyncExitStack()
    await first.enter_async_context(places.place("a", 0))
    waiter = asyncio.create_task(hold(places, "b", 60, [], asyncio.Event()))
    await settled()
    await first.aclose()
    waiter.cancel()
    await asyncio.wait([waiter])
    assert waiter.cancelled()
    async with places.place("c", 0):
        pass
