"""`bookstore.provenance`: where a version comes from survives the way through an object's metadata."""

from __future__ import annotations

import base64
from dataclasses import fields, replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bookstore.provenance import MAX_METADATA_BYTES, Provenance, from_metadata, to_metadata

_ID = "0123456789abcdef0123456789abcdef"
_SHA = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_WHOLE = Provenance(
    record_id=_ID,
    sha256=_SHA,
    saved_at=1_700_000_000.123456,
    user="ada",
    host="machine",
    root_dir="/home/ada",
    instance="0123456789abcdef",
    generation=3,
    sequence=17,
    source="file",
    reason="rename",
    previous_key="workspace/old.ipynb",
)

# Everything that a Python string can hold, lone surrogates too, beside what looks like our own encoding.
_ANY_TEXT = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=40),
    st.text(st.sampled_from(" \t\r\n\x00a~é\ud800\udfff"), max_size=20),
    st.sampled_from(["", " ", "b64.", "b64.YQ==", " a", "a ", "a  b", "\x7f", "\n", "é" * 30]),
)
_SIZED_TEXT = st.one_of(_ANY_TEXT, st.integers(0, 5000).map("x".__mul__), st.integers(0, 3000).map("字".__mul__))
_TIMES = st.integers(-(10**9), 4 * 10**9).map(lambda n: n + 0.25)
_NUMBERS = st.integers(0, 10**12)


def _provenances(texts):
    return st.builds(
        Provenance,
        record_id=st.just(_ID),
        sha256=st.just(_SHA),
        saved_at=_TIMES,
        user=texts,
        host=texts,
        root_dir=texts,
        instance=st.sampled_from(["", "0123456789abcdef"]),
        generation=_NUMBERS,
        sequence=_NUMBERS,
        source=st.sampled_from(["file", "model"]),
        reason=st.sampled_from(["save", "rename", "copy", "restore", "upload"]),
        previous_key=texts,
        attempt=st.sampled_from(["", "00c0ffee"]),
    )


def _size(metadata):
    return sum(len(name.encode()) + len(value.encode()) for name, value in metadata.items())


@given(_provenances(_ANY_TEXT.filter(lambda text: len(text) < 60)))
@example(replace(_WHOLE, user="b64.YQ=="))
@example(replace(_WHOLE, user="\ud83d\ude00"))
@example(replace(_WHOLE, user="", host="", root_dir="", previous_key=""))
def test_what_fits_comes_back_as_it_was(provenance):
    metadata = to_metadata(provenance)
    dropped = (
        {f.name for f in fields(Provenance) if isinstance(getattr(provenance, f.name), str)}
        if _size(metadata) > MAX_METADATA_BYTES - 400
        else set()
    )
    back = from_metadata(metadata)
    assert back is not None
    for field in fields(Provenance):
        value = getattr(back, field.name)
        assert value == getattr(provenance, field.name) or (field.name in dropped and not value)


@given(_provenances(_SIZED_TEXT))
@example(replace(_WHOLE, user="two  blanks", host=" ", root_dir="a\tb", previous_key="a\n"))
def test_metadata_is_what_a_header_can_carry(provenance):
    metadata = to_metadata(provenance)
    assert _size(metadata) <= MAX_METADATA_BYTES
    for name, value in metadata.items():
        assert name == name.lower()
        assert value.isascii()
        assert value.isprintable()
        assert value
        # Signing trims a header's value and joins runs of blanks; not every server does the same.
        assert value == " ".join(value.split())


@given(_provenances(_SIZED_TEXT))
def test_the_essential_always_survives(provenance):
    back = from_metadata(to_metadata(provenance))
    assert back is not None
    for name in (
        "record_id",
        "sha256",
        "instance",
        "generation",
        "sequence",
        "saved_at",
        "reason",
        "source",
        "attempt",
    ):
        assert getattr(back, name) == getattr(provenance, name)


@given(_provenances(_SIZED_TEXT))
def test_a_field_comes_back_whole_or_not_at_all(provenance):
    back = from_metadata(to_metadata(provenance))
    assert back is not None
    for name in ("user", "host", "root_dir", "previous_key"):
        assert getattr(back, name) in ("", getattr(provenance, name))


def test_a_long_field_does_not_push_out_a_short_one():
    back = from_metadata(to_metadata(replace(_WHOLE, user="x" * 5000)))
    assert back == replace(_WHOLE, user="")


def test_the_least_needed_field_goes_first():
    back = from_metadata(to_metadata(replace(_WHOLE, root_dir="r" * 700, previous_key="k" * 1000)))
    assert back is not None
    assert back.previous_key == "k" * 1000, "without it the history could not be followed back"
    assert back.root_dir == ""


def test_plain_text_is_readable_in_a_console_of_the_store():
    metadata = to_metadata(_WHOLE)
    assert metadata["bookstore-record"] == _ID
    assert metadata["bookstore-user"] == "ada"
    assert metadata["bookstore-saved"] == "2023-11-14T22:13:20.123456+00:00"
    assert metadata["bookstore-previous-key"] == "workspace/old.ipynb"


def test_only_an_attempt_that_has_a_name_costs_a_header():
    first, again = to_metadata(_WHOLE), to_metadata(replace(_WHOLE, attempt="00c0ffee"))
    assert again == {**first, "bookstore-attempt": "00c0ffee"}
    assert "bookstore-attempt" not in first
    assert from_metadata(again) == replace(_WHOLE, attempt="00c0ffee")


def test_other_metadata_beside_ours_does_no_harm():
    assert from_metadata({"mtime": "5", **to_metadata(_WHOLE), "s3cmd-attrs": "é"}) == _WHOLE


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"mtime": "5"},
        {"bookstore-record": _ID},
        {"bookstore-sha256": _SHA, "bookstore-saved": "2023-11-14T22:13:20+00:00"},
        {**to_metadata(_WHOLE), "bookstore-sequence": "many"},
        {**to_metadata(_WHOLE), "bookstore-sequence": "9" * 5000},
        {**to_metadata(_WHOLE), "bookstore-sequence": "-1"},
        {**to_metadata(_WHOLE), "bookstore-generation": "-3"},
        {**to_metadata(_WHOLE), "bookstore-generation": "1_000"},
        {**to_metadata(_WHOLE), "bookstore-sequence": "9" * 400},
        {**to_metadata(_WHOLE), "bookstore-sha256": "zz"},
        {**to_metadata(_WHOLE), "bookstore-sha256": _SHA[:-1]},
        {**to_metadata(_WHOLE), "bookstore-sha256": _SHA.upper()},
        {**to_metadata(_WHOLE), "bookstore-sha256": f"{_SHA}\n"},
        {**to_metadata(_WHOLE), "bookstore-record": ""},
        {**to_metadata(_WHOLE), "bookstore-user": "u" * MAX_METADATA_BYTES},
        {**to_metadata(_WHOLE), "bookstore-saved": "0001-01-01T00:00:00+14:00"},
        {**to_metadata(_WHOLE), "bookstore-saved": "yesterday"},
        {**to_metadata(_WHOLE), "bookstore-saved": ""},
        {**to_metadata(_WHOLE), "bookstore-user": "b64.a"},
        {**to_metadata(_WHOLE), "bookstore-user": "b64.é"},
        {**to_metadata(_WHOLE), "bookstore-user": "b64." + base64.urlsafe_b64encode(b"\xff").decode()},
    ],
)
def test_foreign_or_broken_metadata_is_nobodys(metadata):
    assert from_metadata(metadata) is None


@given(
    st.dictionaries(
        st.sampled_from([*to_metadata(_WHOLE), "x"]),
        st.one_of(
            st.text(max_size=30),
            st.sampled_from(["0001-01-01", "9999-12-31T23:59:59", "nan", "1e999", "-1", "b64.", "٣"]),
            st.binary(max_size=12).map(lambda raw: "b64." + base64.urlsafe_b64encode(raw).decode()),
        ),
    )
)
@example({**to_metadata(_WHOLE), "bookstore-saved": "0001-01-01"})
@example({**to_metadata(_WHOLE), "bookstore-saved": "9999-12-31T23:59:59.999999-23:59"})
def test_garbage_never_raises(metadata):
    found = from_metadata(metadata)
    assert found is None or isinstance(found, Provenance)
    whole = from_metadata({**to_metadata(_WHOLE), **metadata})
    assert whole is None or isinstance(whole.sequence, int)


@given(_provenances(_ANY_TEXT))
def test_the_form_for_json_leads_back(provenance):
    assert Provenance.from_dict({**provenance.to_dict(), "of_a_later_release": 1}) == provenance


def test_what_was_queued_before_there_were_attempts_has_none():
    earlier = {name: value for name, value in _WHOLE.to_dict().items() if name != "attempt"}
    assert Provenance.from_dict(earlier) == _WHOLE


def test_the_origin_is_host_and_root():
    assert _WHOLE.origin == "machine:/home/ada"
