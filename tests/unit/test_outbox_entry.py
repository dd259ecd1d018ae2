"""`bookstore.outbox_entry`: what comes back is what was written, or is recognised as altered."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bookstore.errors import EntryCorrupt
from bookstore.outbox_entry import FIRST_LINE_BYTES, Entry, decode, decode_header, encode_header, header_size
from bookstore.provenance import Provenance

_TEXT = st.text(st.characters(exclude_categories=()), max_size=30)


def _entry(content: bytes, path: str = "a.ipynb", key: str | None = "workspace/a.ipynb", **changes) -> Entry:
    fields = {"record_id": "0" * 32, "sha256": hashlib.sha256(content).hexdigest(), "saved_at": 1_700_000_000.5}
    return Entry(path, key, len(content), Provenance(**(fields | changes)))


def _whole(content: bytes, **changes) -> bytes:
    return encode_header(_entry(content, **changes)) + content


def _with_checksum(body: bytes) -> bytes:
    return b"bookstore-entry 1 %d %s\n%s\n" % (len(body), hashlib.sha256(body).hexdigest().encode(), body)


@given(
    content=st.binary(max_size=200),
    path=_TEXT,
    key=st.none() | _TEXT,
    user=_TEXT,
    root=_TEXT,
    saved_at=st.floats(allow_nan=False, allow_infinity=False),
    sequence=st.integers(0, 2**63),
)
@example(b"", "", None, "", "", 0.0, 0)
@example(b"x", "\ud83d\ude00", None, "\ud83d\ude00 😀", "\udcff", 0.0, 0)
@example(b"bookstore-entry 1 5\n", "\n", "\n\n", "}", "\x00", -1.5, 0)
@example(b"x", "p" * 5000, "k" * 1024, "", "", 1e300, 0)
def test_an_entry_comes_back_as_it_was_written(content, path, key, user, root, saved_at, sequence):
    entry = _entry(content, path, key, user=user, root_dir=root, saved_at=saved_at, sequence=sequence)
    header = encode_header(entry)
    assert header_size(header[:FIRST_LINE_BYTES]) == len(header)
    assert decode_header(header) == entry
    back, bytes_back = decode(header + content)
    assert back == entry
    assert bytes_back == content


def test_an_entry_of_a_server_that_knew_no_attempts_is_read():
    entry = _entry(b"x")
    provenance = {name: value for name, value in entry.provenance.to_dict().items() if name != "attempt"}
    fields = {"path": entry.path, "key": entry.key, "size": entry.size, "provenance": provenance}
    header = _with_checksum(json.dumps(fields, sort_keys=True).encode())
    assert decode(header + b"x") == (entry, memoryview(b"x"))
    assert decode_header(header) == entry


def test_the_content_is_not_copied():
    data = _whole(b"x" * 1000)
    _, content = decode(data)
    assert isinstance(content, memoryview)
    assert content.obj is data


def test_every_flipped_bit_is_recognised():
    content = b'{"cells": []}'
    data = _whole(content)
    for position in range(len(data)):
        for bit in range(8):
            altered = bytearray(data)
            altered[position] ^= 1 << bit
            with pytest.raises(EntryCorrupt):
                decode(bytes(altered))


def test_every_flipped_bit_of_a_header_is_recognised_without_the_content():
    header = encode_header(_entry(b"content"))
    for position in range(len(header)):
        for bit in range(8):
            altered = bytearray(header)
            altered[position] ^= 1 << bit
            with pytest.raises(EntryCorrupt):
                decode_header(bytes(altered))


@pytest.mark.parametrize("content", [b"", b"\n", b'{"cells": []}'])
def test_every_truncation_is_recognised(content):
    data = _whole(content)
    for size in range(len(data)):
        with pytest.raises(EntryCorrupt):
            decode(data[:size])


@given(st.binary(min_size=1, max_size=300), st.binary(min_size=1, max_size=50))
def test_bytes_too_many_are_recognised(content, more):
    with pytest.raises(EntryCorrupt):
        decode(_whole(content) + more)


@given(st.binary(min_size=1, max_size=2000), st.data())
def test_a_change_anywhere_is_recognised(content, data):
    whole = _whole(content)
    start = data.draw(st.integers(0, len(whole) - 1))
    end = data.draw(st.integers(start, len(whole)))
    put_in = data.draw(st.binary(max_size=20))
    altered = whole[:start] + put_in + whole[end:]
    if altered != whole:
        with pytest.raises(EntryCorrupt):
            decode(altered)


@given(st.binary(max_size=300))
@example(b"bookstore-entry 1 9999999 " + b"0" * 64 + b"\n")
@example(b"bookstore-entry 1 99999999 " + b"0" * 64 + b"\n{}\n")
@example(b"bookstore-entry 2 2 " + hashlib.sha256(b"{}").hexdigest().encode() + b"\n{}\n")
@example(b"bookstore-entry 1 02 " + hashlib.sha256(b"{}").hexdigest().encode() + b"\n{}\n")
def test_arbitrary_bytes_are_no_entry(data):
    for read in (decode, decode_header, header_size):
        try:
            read(data)
        except EntryCorrupt:
            continue
        assert read is header_size  # which sees only the first line


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_GOOD = {"record_id": "0", "sha256": hashlib.sha256(b"").hexdigest(), "saved_at": 0.0}


@settings(max_examples=300)
@given(
    st.one_of(
        _JSON,
        st.fixed_dictionaries({"path": _JSON, "key": _JSON, "size": _JSON, "provenance": _JSON}),
        st.fixed_dictionaries(
            {
                "path": st.just("a"),
                "key": st.none(),
                "size": st.just(0),
                "provenance": st.fixed_dictionaries(
                    {name: st.just(good) | _JSON for name, good in _GOOD.items()},
                    optional={"sequence": _JSON, "generation": _JSON, "user": _JSON, "later": _JSON},
                ),
            }
        ),
    )
)
@example({"path": "a", "key": None, "size": 0, "provenance": []})
@example({"path": "a", "key": None, "size": True, "provenance": _GOOD})
@example({"path": "a", "key": None, "size": 0, "provenance": {**_GOOD, "sequence": "1"}})
@example({"path": "a", "key": None, "size": 0, "provenance": {**_GOOD, "user": None}})
def test_a_header_that_makes_no_sense_is_corrupt_even_with_the_right_checksum(fields):
    try:
        entry, _ = decode(_with_checksum(json.dumps(fields).encode()))
    except EntryCorrupt:
        return
    # What is let through can be sorted, sent and shown.
    assert isinstance(entry.path, str)
    assert isinstance(entry.provenance.sequence + entry.provenance.generation, int)
    assert isinstance(entry.provenance.saved_at + 0.0, float)
    assert encode_header(entry)
    assert isinstance(entry.provenance.user, str)


@pytest.mark.parametrize("name", ["generation", "sequence"])
@pytest.mark.parametrize("number", [-1, 10**19])
def test_a_number_that_no_version_could_tell_is_corrupt(name, number):
    # Stored with it, the save would not be found again by its record, and would be stored twice.
    with pytest.raises(EntryCorrupt, match=name):
        decode(_whole(b"x", **{name: number}))
    decode(_whole(b"x", **{name: 10**19 - 1}))


def test_json_nested_too_deeply_is_corrupt():
    with pytest.raises(EntryCorrupt):
        decode(_with_checksum(b"[" * 100_000 + b"]" * 100_000))


def test_fields_of_a_later_release_do_no_harm():
    fields = {"path": "a", "key": None, "size": 0, "later": 1, "provenance": {**_GOOD, "later": [1]}}
    entry, content = decode(_with_checksum(json.dumps(fields).encode()))
    assert (entry.path, entry.provenance.record_id, bytes(content)) == ("a", "0", b"")


def test_a_size_that_the_content_does_not_have_is_recognised():
    fields = {"path": "a", "key": None, "size": 5, "provenance": _GOOD}
    with pytest.raises(EntryCorrupt, match="0 bytes of 5"):
        decode(_with_checksum(json.dumps(fields).encode()))


def test_the_error_names_the_path():
    data = bytearray(_whole(b"content"))
    data[-1] ^= 1
    with pytest.raises(EntryCorrupt, match=r"a\.ipynb"):
        decode(bytes(data))
