"""`bookstore.s3_paths`: every path that can be stored has one key of its own, and the key tells the path."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from bookstore.errors import PathError
from bookstore.s3_paths import (
    MAX_KEY_BYTES,
    RESERVED,
    object_key,
    path_from_key,
    reserved_key,
    s3_display_path,
    s3_key,
    s3_path,
)

# Characters that some layer between a browser and a bucket is known to treat as its own, beside all of Unicode.
_CHARACTERS = st.one_of(st.sampled_from("aAbB .%+?#&=\"'\\:*<>|~\t\néÉe\u0301ß😀"), st.characters(codec="utf-8"))
_PARTS = st.text(_CHARACTERS.filter(lambda c: c != "/"), min_size=1, max_size=12).filter(lambda p: p not in (".", ".."))
_PATHS = st.lists(_PARTS, min_size=1, max_size=4).map("/".join).filter(lambda path: path.split("/")[0] != RESERVED)
_PREFIXES = st.sampled_from(["", "workspace", "work space/ü", "w", "workspace/a"])


@pytest.mark.parametrize(
    ("prefix", "path", "key"),
    [
        ("/works/", "/a", "works/a"),
        ("works", "", "works"),
        ("", "a", "a"),
        ("", "", ""),
        ("workspace", "a//b.ipynb", "workspace/a/b.ipynb"),
        ("//x//y//", "//z//", "x/y/z"),
    ],
)
def test_keys_have_no_leading_trailing_or_doubled_slashes(prefix, path, key):
    assert s3_key(prefix, path) == key


def test_addresses_begin_with_the_bucket():
    assert s3_path("bucket", "/works/", "/a") == "bucket/works/a"
    assert s3_path("bucket", "works") == "bucket/works"
    assert s3_path("bucket", "") == "bucket"
    assert s3_display_path("bucket", "works", "a b.ipynb") == "s3://bucket/works/a b.ipynb"
    assert s3_display_path("bucket", "works") == "s3://bucket/works"


@given(prefix=_PREFIXES, path=_PATHS)
@example(prefix="workspace", path="C:\\Users\\a.ipynb")
@example(prefix="workspace", path="100% \"a\" 'b'.ipynb")
@example(prefix="", path="a")
def test_the_key_of_a_path_leads_back_to_the_path(prefix, path):
    assert path_from_key(prefix, object_key(prefix, path)) == path


@given(prefix=_PREFIXES, one=_PATHS, other=_PATHS)
@example(prefix="w", one="A.ipynb", other="a.ipynb")
@example(prefix="w", one="é.ipynb", other="e\u0301.ipynb")
@example(prefix="w", one="a b", other="a%20b")
@example(prefix="w", one="a+b", other="a b")
@example(prefix="w", one="a\\b", other="a/b")
def test_different_paths_have_different_keys(prefix, one, other):
    assume(one != other)
    assert object_key(prefix, one) != object_key(prefix, other)


@given(prefix=_PREFIXES, path=_PATHS)
def test_a_key_lies_below_its_prefix_and_outside_the_reserved_folder(prefix, path):
    key = object_key(prefix, path)
    reserved = reserved_key(prefix, "")
    assert key.startswith(s3_key(prefix) and s3_key(prefix) + "/")
    assert key != reserved
    assert not key.startswith(reserved + "/")


@pytest.mark.parametrize("path", ["", "/", "//"])
def test_an_empty_path_has_no_key(path):
    with pytest.raises(PathError, match="empty"):
        object_key("workspace", path)


@pytest.mark.parametrize("path", [".", "..", "a/..", "../a", "a/../b", "./a", "a/./b", "/../a", "a//..//b"])
def test_there_is_no_way_up_and_no_way_to_stay(path):
    with pytest.raises(PathError, match="no way up"):
        object_key("workspace", path)


@pytest.mark.parametrize("path", ["...", "a/...", "..a", "a..", ".a/b", ". ", ".. /a"])
def test_dots_in_a_name_are_allowed(path):
    assert object_key("workspace", path) == f"workspace/{path}"


@pytest.mark.parametrize("path", [RESERVED, f"{RESERVED}/labels", f"/{RESERVED}/a.ipynb", f"//{RESERVED}"])
def test_the_reserved_folder_is_refused(path):
    with pytest.raises(PathError, match="own objects"):
        object_key("workspace", path)


@pytest.mark.parametrize("path", [f"{RESERVED}x", f"a/{RESERVED}/b", f"x{RESERVED}", RESERVED.upper()])
def test_only_the_folder_right_below_the_prefix_is_reserved(path):
    assert path_from_key("workspace", object_key("workspace", path)) == path


@pytest.mark.parametrize("path", ["\ud800", "a/\udcff.ipynb", "\udfff/a"])
def test_what_is_not_unicode_is_refused_in_words_that_can_be_printed(path):
    with pytest.raises(PathError, match="not valid Unicode") as refusal:
        object_key("workspace", path)
    str(refusal.value).encode("utf-8")


@pytest.mark.parametrize("character", ["a", "é", "字", "😀"])
def test_keys_are_counted_in_bytes(character):
    width = len(character.encode())
    room = MAX_KEY_BYTES - len("w/")
    fits = character * (room // width) + "a" * (room % width)
    assert len(object_key("w", fits).encode()) == MAX_KEY_BYTES
    with pytest.raises(PathError, match=r"1025 bytes long; S3 allows 1024"):
        object_key("w", fits + "a")


@pytest.mark.parametrize("key", ["workspace", "workspace/", "workspaces/a", "other/a", "", "Workspace/a", "a"])
def test_a_key_outside_the_prefix_has_no_path(key):
    with pytest.raises(PathError, match="not below"):
        path_from_key("workspace", key)


def test_without_a_prefix_every_key_is_a_path():
    assert path_from_key("", "a/b") == "a/b"
    with pytest.raises(PathError):
        path_from_key("", "")


def test_reserved_keys_stand_below_their_prefix():
    assert reserved_key("workspace", "probe") == "workspace/.bookstore/probe"
    assert reserved_key("", "probe") == ".bookstore/probe"
