"""How errors and bodies of the REST interface read, without a server."""

from __future__ import annotations

import json

import pytest
from tornado.web import HTTPError

from bookstore import errors
from bookstore.rest.base import as_json, seconds
from bookstore.rest.bodies import Field, checked, parsed
from bookstore.rest.errors import STATUSES, document_of, document_of_http, status_of, without_directories


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
