"""`bookstore.cloning`: what may be cloned and what may not, and that the bytes are those that were stored."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import socket
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tornado.web import HTTPError

from bookstore import cloning
from bookstore.bookstore_config import BookstoreSettings
from bookstore.cloning import (
    build_file_model,
    build_notebook_model,
    checked_bucket,
    describe,
    describe_file,
    fetch,
    file_below,
    read_file,
    target_name,
    validate_relpath,
)
from bookstore.errors import (
    BucketMissing,
    CloningForbidden,
    ContentTooLarge,
    FileChanged,
    FileMissing,
    IntegrityError,
    InvalidRequest,
    NotebookInvalid,
    ObjectMissing,
    StoreUnreachable,
)
from bookstore.provenance import Provenance, to_metadata
from bookstore.storage.base import ObjectBody
from bookstore.storage.memory import MemoryStore
from bookstore.storage.s3 import S3Options, S3Store

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
LIMIT = 1_000_000


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def put(store: MemoryStore, key: str, content: bytes, *, user: str = "") -> str:
    """Store as somebody else's program does, or with provenance where there is a user."""
    provenance = Provenance("r1", sha256(content), 1_700_000_000.0, user=user)
    metadata = to_metadata(provenance) if user else {}
    receipt = await store.put(key, content, sha256=sha256(content), metadata=metadata)
    assert receipt.version_id is not None
    return receipt.version_id


# -- buckets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bucket", "globs"),
    [
        ("anything", ["*"]),
        ("team-a", ["team-*"]),
        ("team-a", ["other", "team-a"]),
        ("Old_Bucket.1", ["Old*"]),
    ],
)
def test_a_bucket_that_a_glob_matches_may_be_cloned_from(bucket, globs):
    checked_bucket(bucket, globs)


@pytest.mark.parametrize(
    ("bucket", "globs"),
    [
        ("team-a", []),
        ("team-a", ["team"]),
        ("team-a", ["eam-a", "team-?-b"]),
        ("team-a", ["Team-*"]),
        ("my-team-a", ["team-*"]),
    ],
)
def test_every_other_bucket_is_forbidden(bucket, globs):
    with pytest.raises(CloningForbidden) as caught:
        checked_bucket(bucket, globs)
    assert bucket in str(caught.value)
    assert "s3_cloning_buckets" in caught.value.hint


@pytest.mark.parametrize("bucket", ["", "/", "a/b", "..", "s3://team", "team?versioning", "team\n", "t" * 300])
def test_what_is_no_bucket_is_refused_whatever_the_globs(bucket):
    with pytest.raises(InvalidRequest):
        checked_bucket(bucket, ["*"])


# -- objects -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"text\r\n", "ü".encode(), PNG, os.urandom(300_000)])
async def test_the_bytes_of_an_object_are_fetched_as_they_are(content):
    store = MemoryStore("shared")
    version = await put(store, "team/a.bin", content)
    source, fetched = await fetch(store, "team/a.bin", None, limit=LIMIT)
    assert fetched == content
    assert (source.source, source.name, source.size) == ("s3://shared/team/a.bin", "a.bin", len(content))
    assert (source.version_id, source.sha256) == (version, sha256(content))
    assert source == await describe(store, "team/a.bin", None)


async def test_one_request_tells_and_one_request_fetches():
    store = MemoryStore()
    await put(store, "a.txt", b"a")
    store.requests.clear()
    await describe(store, "a.txt")
    assert store.requests == {"HeadObject": 1}
    await fetch(store, "a.txt", limit=LIMIT)
    assert store.requests == {"HeadObject": 1, "GetObject": 1}


async def test_author_and_time_are_told():
    now = datetime(2025, 11, 20, 10, 36, tzinfo=timezone.utc)
    store = MemoryStore(clock=lambda: now)
    await put(store, "a.ipynb", b"{}", user="änn")
    source = await describe(store, "a.ipynb", None)
    assert source.by == "änn"
    assert source.last_modified == "2025-11-20T10:36:00+00:00"


async def test_what_others_stored_has_no_author():
    store = MemoryStore()
    await put(store, "a.ipynb", b"{}")
    assert (await describe(store, "a.ipynb", None)).by == ""


async def test_an_old_version_is_fetched_by_its_id():
    store = MemoryStore()
    old = await put(store, "a.txt", b"old")
    new = await put(store, "a.txt", b"new")
    assert (await fetch(store, "a.txt", old, limit=LIMIT))[1] == b"old"
    assert (await fetch(store, "a.txt", new, limit=LIMIT))[1] == b"new"
    source, content = await fetch(store, "a.txt", "", limit=LIMIT)
    assert (source.version_id, content) == (new, b"new")


async def test_a_missing_key_or_version_or_a_hidden_object_is_missing():
    store = MemoryStore()
    await put(store, "hidden.txt", b"a")
    store.delete("hidden.txt")
    for key, version in [("none.txt", None), ("hidden.txt", None), ("hidden.txt", "v99")]:
        with pytest.raises(ObjectMissing):
            await describe(store, key, version)
        with pytest.raises(ObjectMissing):
            await fetch(store, key, version, limit=LIMIT)


@pytest.mark.parametrize(
    ("told", "hint"), [(None, "Check the bucket's name"), ("It is in eu-west-1.", "It is in eu-west-1.")]
)
async def test_who_clones_from_a_bucket_that_is_missing_is_not_told_to_create_it(told, hint):
    store = MemoryStore("books")
    store.faults = lambda operation, key: BucketMissing("HeadObject: 404", told)
    for use in (describe(store, "a.txt"), fetch(store, "a.txt", limit=LIMIT)):
        with pytest.raises(BucketMissing, match="There is no bucket 'books' to clone from") as caught:
            await use
        assert caught.value.hint.startswith(hint)


async def test_errors_of_the_store_pass():
    store = MemoryStore()
    store.faults = lambda operation, key: StoreUnreachable("nothing answers")
    with pytest.raises(StoreUnreachable):
        await describe(store, "a.txt", None)
    with pytest.raises(StoreUnreachable):
        await fetch(store, "a.txt", None, limit=LIMIT)


@pytest.mark.parametrize("key", ["", "/", "//", "a\0b", "a\ud800", "x" * 1025, "ü" * 513])
async def test_what_is_no_key_never_reaches_the_store(key):
    store = MemoryStore()
    with pytest.raises(InvalidRequest):
        await describe(store, key, None)
    with pytest.raises(InvalidRequest):
        await fetch(store, key, None, limit=LIMIT)
    assert not store.requests


class LyingStore(MemoryStore):
    """A store whose head tells one thing and whose body is another."""

    told: dict[str, Any]
    body: bytes
    handed_out = 0

    @contextlib.asynccontextmanager
    async def _open(self, key: str, version_id: str | None) -> AsyncIterator[ObjectBody]:
        async with super()._open(key, version_id) as body:
            yield ObjectBody(replace(body.info, **self.told), self._pieces())

    async def _pieces(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.body), 10):
            self.handed_out += 10
            yield self.body[start : start + 10]


@pytest.mark.parametrize(
    ("told", "body"),
    [
        ({}, b"0123456789"),
        ({}, b"0123456789abc"),
        ({}, b"0123456789aX"),
        ({"size": 11}, b"0123456789a"),
        ({"sha256": None}, b"0123456789"),
        ({"sha256": None}, b"0123456789abc"),
    ],
)
async def test_other_bytes_than_were_stored_are_never_handed_on(told, body):
    store = LyingStore()
    await put(store, "a.txt", b"0123456789ab")
    store.told, store.body = told, body
    with pytest.raises(IntegrityError) as caught:
        await fetch(store, "a.txt", None, limit=LIMIT)
    assert "s3://memory/a.txt" in str(caught.value)


async def test_the_hash_of_provenance_is_checked_where_the_store_tells_none():
    store = LyingStore()
    await put(store, "a.txt", b"stored", user="ann")
    store.told, store.body = {"sha256": None}, b"stored"
    assert (await fetch(store, "a.txt", None, limit=LIMIT))[0].sha256 == sha256(b"stored")
    store.body = b"STORED"
    with pytest.raises(IntegrityError, match="provenance"):
        await fetch(store, "a.txt", None, limit=LIMIT)


async def test_a_limit_is_kept_before_reading_and_while_reading():
    store = LyingStore()
    await put(store, "a.txt", b"x" * 100)
    store.told, store.body = {}, b"x" * 100
    assert len((await fetch(store, "a.txt", None, limit=100))[1]) == 100
    store.handed_out = 0
    with pytest.raises(ContentTooLarge) as caught:
        await fetch(store, "a.txt", None, limit=99)
    assert store.handed_out == 0
    assert "max_content_size" in caught.value.hint

    store.told, store.body = {"size": 5}, b"x" * 100_000
    with pytest.raises(ContentTooLarge):
        await fetch(store, "a.txt", None, limit=50)
    assert store.handed_out <= 70


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("a.ipynb", "a.ipynb"),
        ("team/x/a b ü.ipynb", "a b ü.ipynb"),
        ("s3://bucket/team/a.tar.gz", "a.tar.gz"),
        ("team/folder/", "folder"),
        ("team/.bashrc", "bashrc"),
        ("team/..", "clone"),
        ("..hidden.ipynb", "hidden.ipynb"),
        ("C:\\Users\\a.ipynb", "C:_Users_a.ipynb"),
        ("a\nb\x00.txt", "a_b_.txt"),
        ("half\ud800.txt", "half_.txt"),
        ("   ", "clone"),
        ("", "clone"),
    ],
)
def test_a_clone_is_named_after_its_source(source, name):
    assert target_name(source) == name


@given(st.text(max_size=600))
@example("ü" * 200 + ".ipynb")
@example("a." + "b" * 400)
@example(". .a")
@example("\x85.\x85")
@example("\u2003.a")
@example("a" * 230 + " " * 30 + ".b")
def test_every_name_is_a_visible_file_name_that_file_systems_take(source):
    name = target_name(source)
    assert name not in ("", ".", "..")
    assert not name.startswith(".")
    assert name == name.strip()
    assert not set(name) & set("/\\\0\n")
    assert len(name.encode()) <= 255 - 16


def test_a_long_name_keeps_its_suffix():
    assert target_name("ü" * 300 + ".ipynb").endswith("ü.ipynb")


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A directory to clone from, beside a file and a directory that are not in it."""
    directory = tmp_path / "base"
    (directory / "sub").mkdir(parents=True)
    (directory / "a.ipynb").write_bytes(b"{}")
    (directory / "sub" / "ü b.txt").write_bytes(b"text\r\n")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    (tmp_path / "base-2").mkdir()
    (tmp_path / "base-2" / "a.ipynb").write_bytes(b"secret")
    return directory


@pytest.mark.parametrize(
    ("relpath", "content"),
    [
        ("a.ipynb", b"{}"),
        ("./a.ipynb", b"{}"),
        ("sub/ü b.txt", b"text\r\n"),
        ("sub//ü b.txt", b"text\r\n"),
    ],
)
def test_a_file_below_the_directory_is_read(base, relpath, content):
    source, read = read_file(base, relpath, limit=LIMIT)
    assert read == content
    assert source.source == os.path.normpath(relpath)
    assert source.name == relpath.rpartition("/")[2]
    assert source.size == len(content)
    assert source.sha256 == sha256(content)
    assert source.version_id is None
    path = file_below(base, relpath)
    assert path == base / relpath
    modified = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
    assert datetime.fromisoformat(source.last_modified) == modified
    described = describe_file(str(base), relpath)
    assert described == replace(source, sha256="")
    assert described.by == path.owner()


def is_refused(base: Path, relpath: str) -> None:
    """Every function refuses a path, and tells nothing of the disk but what was asked for."""
    for call in (
        lambda: file_below(base, relpath),
        lambda: describe_file(base, relpath),
        lambda: read_file(base, relpath, limit=LIMIT),
    ):
        with pytest.raises(FileMissing) as caught:
            call()
        told = f"{caught.value} {caught.value.hint}".replace(repr(relpath), "")
        assert str(base.parent) not in told
        assert "secret" not in told


@pytest.mark.parametrize(
    "relpath",
    [
        "",
        ".",
        "/",
        "sub",
        "sub/",
        "a.ipynb/",
        "a.ipynb/.",
        "none.ipynb",
        "none/a.ipynb",
        "a.ipynb/b",
        "..",
        "../secret.txt",
        "../base/a.ipynb",
        "../base-2/a.ipynb",
        "sub/../../secret.txt",
        "sub/../a.ipynb",
        "../../../../../../../../etc/passwd",
        "/etc/passwd",
        "//etc/passwd",
        "..\\secret.txt",
        "sub\\ü b.txt",
        "C:\\secret.txt",
        "a.ipynb\0",
        "\0",
        "a.ipynb\0/../../secret.txt",
        "%2e%2e/secret.txt",
        "~/secret.txt",
        "half\ud800.txt",
        "x" * 5000,
        "x/" * 3000 + "x",
    ],
)
def test_every_other_path_is_refused(base, relpath):
    is_refused(base, relpath)


def test_an_absolute_path_is_refused_even_below_the_directory(base):
    path = str(base / "a.ipynb")
    with pytest.raises(FileMissing):
        file_below(base, path)


def test_links_lead_out_of_the_directory_for_nobody(base):
    (base / "file").symlink_to(base.parent / "secret.txt")
    (base / "relative").symlink_to("../secret.txt")
    (base / "up").symlink_to("..")
    (base / "sibling").symlink_to(base.parent / "base-2")
    (base / "chain").symlink_to("file")
    (base / "loop").symlink_to("loop")
    (base / "dangling").symlink_to("nowhere")
    (base / "self").symlink_to(base)
    for relpath in ("file", "relative", "up/secret.txt", "sibling/a.ipynb", "chain", "loop", "loop/a", "dangling"):
        is_refused(base, relpath)
    is_refused(base, "self")


def test_links_that_stay_in_the_directory_are_followed(base):
    (base / "here.txt").symlink_to("sub/ü b.txt")
    (base / "dir").symlink_to("sub")
    assert read_file(base, "here.txt", limit=LIMIT)[1] == b"text\r\n"
    assert file_below(base, "dir/ü b.txt") == base / "sub" / "ü b.txt"


def test_the_directory_itself_may_be_a_link(base):
    link = base.parent / "link"
    link.symlink_to(base)
    assert read_file(link, "a.ipynb", limit=LIMIT)[1] == b"{}"
    (base / "out").symlink_to("../secret.txt")
    with pytest.raises(FileMissing):
        file_below(link, "out")


def test_pipes_sockets_devices_and_directories_are_refused_at_once(base):
    os.mkfifo(base / "pipe")
    (base / "null").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(base / "socket"))
        for relpath in ("pipe", "socket", "null", "sub"):
            is_refused(base, relpath)
    with pytest.raises(FileMissing):
        file_below("/dev", "null")


def test_a_device_is_not_even_opened(base, monkeypatch):
    os.mkfifo(base / "pipe")
    opened = []
    system_open = os.open
    monkeypatch.setattr(os, "open", lambda path, *a, **o: (opened.append(path), system_open(path, *a, **o))[1])
    is_refused(base, "pipe")
    assert "pipe" not in opened


def test_a_pipe_put_in_place_after_the_look_does_not_block(base, monkeypatch):
    os.mkfifo(base / "pipe")
    regular = (base / "a.ipynb").stat()
    monkeypatch.setattr(os, "stat", lambda *args, **options: regular)
    refused = threading.Event()

    def descend() -> None:
        with pytest.raises(OSError):  # noqa: PT011
            cloning._descend(base, ("pipe",))
        refused.set()

    threading.Thread(target=descend, daemon=True).start()
    assert refused.wait(5)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_missing(base):
    (base / "a.ipynb").chmod(0)
    is_refused(base, "a.ipynb")


def test_a_file_that_the_system_refuses_to_open_is_missing(base, monkeypatch):
    system_open = os.open

    def refuse(path: Any, *args: Any, **options: Any) -> int:
        if path == "a.ipynb":
            raise PermissionError(13, "Permission denied", str(base / "a.ipynb"))
        return system_open(path, *args, **options)

    monkeypatch.setattr(os, "open", refuse)
    is_refused(base, "a.ipynb")


@pytest.mark.parametrize("basedir", ["", ".", "relative/dir"])
def test_without_an_absolute_directory_nothing_is_cloned(basedir):
    with pytest.raises(CloningForbidden) as caught:
        file_below(basedir, "a.ipynb")
    assert "fs_cloning_basedir" in caught.value.hint


def test_a_directory_that_is_gone_has_no_files(tmp_path):
    with pytest.raises(FileMissing) as caught:
        file_below(tmp_path / "gone", "a.ipynb")
    assert str(tmp_path) not in f"{caught.value}{caught.value.hint}"


def test_a_link_put_in_place_after_the_look_is_not_followed(base):
    (base / "file").symlink_to("../secret.txt")
    (base / "dir").symlink_to("..")
    os.mkfifo(base / "pipe")
    for parts in (("file",), ("dir", "secret.txt"), ("pipe",), ("sub",)):
        with pytest.raises(OSError):  # noqa: PT011 - the kinds differ between systems
            cloning._descend(base, parts)
        with pytest.raises(OSError):  # noqa: PT011
            cloning._open_and_verify(base.joinpath(*parts))
    for opened in (cloning._descend(base, ("sub", "ü b.txt")), cloning._open_and_verify(base / "sub" / "ü b.txt")):
        with os.fdopen(opened, "rb") as file:
            assert file.read() == b"text\r\n"


@pytest.mark.parametrize("can_descend", [True, False])
def test_exchanging_files_and_links_all_the_time_gives_nothing_away(base, monkeypatch, can_descend):
    if can_descend and not cloning._CAN_DESCEND:
        pytest.skip("this system cannot open relative to a directory")
    monkeypatch.setattr(cloning, "_CAN_DESCEND", can_descend)
    (base / "good").mkdir()
    (base / "good" / "secret.txt").write_bytes(b"public")
    (base / "evil").symlink_to("..")
    done = threading.Event()

    def exchange() -> None:
        # Rename alone: the name is there at every moment, now the directory, now the link.
        while not done.is_set():
            (base / "good").rename(base / "d")
            (base / "d").rename(base / "good")
            (base / "evil").rename(base / "d")
            (base / "d").rename(base / "evil")

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        seen = set()
        for _ in range(3000):
            try:
                seen.add(read_file(base, "d/secret.txt", limit=LIMIT)[1])
            except FileMissing:
                seen.add(b"missing")
    finally:
        done.set()
        thread.join()
    assert seen <= {b"public", b"missing"}
    assert b"missing" in seen


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not tell what is open")
def test_no_descriptor_is_left_open(base):
    (base / "file").symlink_to("../secret.txt")
    os.mkfifo(base / "pipe")
    before = open_descriptors()
    for relpath in ("a.ipynb", "sub/ü b.txt", "file", "pipe", "sub", "none", "none/a"):
        for call in (file_below, describe_file):
            with contextlib.suppress(FileMissing):
                call(base, relpath)
        for limit in (0, LIMIT):
            with contextlib.suppress(FileMissing, ContentTooLarge):
                read_file(base, relpath, limit=limit)
    assert open_descriptors() == before


def test_a_file_is_read_up_to_the_limit(base):
    (base / "big.bin").write_bytes(b"x" * 100)
    assert len(read_file(base, "big.bin", limit=100)[1]) == 100
    with pytest.raises(ContentTooLarge) as caught:
        read_file(base, "big.bin", limit=99)
    assert str(base) not in f"{caught.value}{caught.value.hint}"


def test_a_file_that_is_written_to_meanwhile_is_not_handed_on_half(base, monkeypatch):
    path = base / "a.ipynb"
    looks = iter([0, 1])
    system_fdopen = os.fdopen

    def write_first(*args: Any, **options: Any) -> Any:
        if next(looks) == 0:
            path.write_bytes(b"{} and more")
        return system_fdopen(*args, **options)

    monkeypatch.setattr(cloning.os, "fdopen", write_first)
    with pytest.raises(FileChanged):
        read_file(base, "a.ipynb", limit=LIMIT)
    assert read_file(base, "a.ipynb", limit=LIMIT)[1] == b"{} and more"


# -- bookstore 2's functions -------------------------------------------------------------------------------------------

LOG = logging.getLogger("bookstore.test")


def settings_for(basedir: str | Path) -> BookstoreSettings:
    return BookstoreSettings(fs_cloning_basedir=str(basedir))


def test_a_relative_path_is_told_absolutely_whether_or_not_it_is_there(base):
    assert validate_relpath("hi", settings_for("/anything"), LOG) == Path("/anything/hi")
    assert validate_relpath("sub/ü b.txt", settings_for(base), LOG) == base / "sub" / "ü b.txt"


def test_an_empty_relative_path_is_malformed(base, caplog):
    with caplog.at_level(logging.INFO), pytest.raises(HTTPError) as caught:
        validate_relpath("", settings_for(base), LOG)
    assert caught.value.status_code == 400
    assert "Request received with empty relpath." in caplog.text


@pytest.mark.parametrize(
    "relpath", ["../hi", ".", "..", "/etc/passwd", "a\0b", "..\\hi", "out/secret.txt", "100%s/../.."]
)
def test_a_path_outside_of_the_directory_is_not_found_and_its_place_not_told(base, caplog, relpath):
    (base / "out").symlink_to("..")
    with caplog.at_level(logging.INFO), pytest.raises(HTTPError) as caught:
        validate_relpath(relpath, settings_for(base), LOG)
    assert caught.value.status_code == 404
    assert "Request to clone from a path outside of base directory" in caplog.text
    assert repr(relpath) in str(caught.value)
    assert str(base.parent) not in str(caught.value)


def test_without_a_directory_no_relative_path_is_found():
    with pytest.raises(HTTPError) as caught:
        validate_relpath("hi", settings_for(""), LOG)
    assert caught.value.status_code == 404


@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_notebook_model_holds_the_notebook(as_bytes):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    text = nbformat.writes(notebook)
    model = build_notebook_model(text.encode() if as_bytes else text, "./dir/a.ipynb")
    assert model["name"] == "a.ipynb"
    assert model["path"] == "dir/a.ipynb"
    assert (model["type"], model["format"]) == ("notebook", "json")
    assert model["content"] == notebook
    assert set(model) == {"type", "format", "content", "name", "path"}, "as bookstore 2 gave it"


def test_nothing_in_a_notebook_model_is_trusted():
    cell = nbformat.v4.new_code_cell("1", metadata={"trusted": True, "tags": ["kept"]})
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"trusted": True, "signature": "sha256:0", "x": 1})
    content = build_notebook_model(json.dumps(notebook), "a.ipynb")["content"]
    assert content.cells[0].metadata == {"tags": ["kept"]}
    assert content.metadata == {"x": 1}


def test_an_old_notebook_is_brought_to_the_newest_format():
    old = nbformat.v3.new_notebook(
        worksheets=[nbformat.v3.new_worksheet(cells=[nbformat.v3.new_code_cell("1", metadata={"trusted": True})])]
    )
    content = build_notebook_model(json.dumps(old), "a.ipynb")["content"]
    assert content.nbformat == 4
    assert content.cells[0].source == "1"
    assert "trusted" not in content.cells[0].metadata


def test_no_mark_of_trust_is_left_in_a_prototype():
    cell = nbformat.v4.new_code_cell("1", metadata={"__proto__": {"trusted": True}, "tags": ["kept"]})
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"__proto__": {"trusted": True}})
    cell["__proto__"] = {"metadata": {"trusted": True}}
    content = build_notebook_model(json.dumps(notebook), "a.ipynb")["content"]
    assert "__proto__" not in json.dumps(content)
    assert content.cells[0].metadata == {"tags": ["kept"]}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no JSON",
        b"\xff\xfe\x00",
        "[]",
        "1",
        "null",
        '{"nbformat": 99}',
        '{"nbformat": "4"}',
        '{"nbformat": 4, "cells": 5, "metadata": {}}',
        '{"nbformat": 4, "cells": [1], "metadata": {}}',
        '{"nbformat": 4, "cells": [{"metadata": 1}], "metadata": {}}',
        '{"nbformat": 4, "metadata": {}}',
        '{"nbformat": 3, "worksheets": 5, "metadata": {}}',
        '{"nbformat": [], "cells": []}',
        "[" * 100_000,
    ],
)
def test_what_is_no_notebook_has_no_notebook_model(content):
    with pytest.raises(NotebookInvalid) as caught:
        build_notebook_model(content, "dir/a.ipynb")
    assert "dir/a.ipynb" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "path", "format_", "shown"),
    [
        ("my fancy file", "./dir/a.txt", "text", "my fancy file"),
        ("ü\r\n".encode(), "dir/a.unknown-suffix", "text", "ü\r\n"),
        (b"", "dir/a.csv", "text", ""),
        (b"\x89PNG\xff", "dir/a.png", "base64", "iVBORw=="),
        (b"\xff", "dir/a.unknown-suffix", "base64", "/w=="),
    ],
)
def test_a_file_model_holds_text_as_text_and_all_else_as_base64(content, path, format_, shown):
    import base64

    model = build_file_model(content, path)
    assert set(model) == {"type", "format", "content", "name", "path"}, "as bookstore 2 gave it"
    assert model["type"] == "file"
    assert model["path"] == os.path.normpath(path)
    assert model["name"] == Path(path).name
    assert model["format"] == format_
    if format_ == "base64":
        assert base64.b64decode(model["content"]) == content
    else:
        assert model["content"] == shown


# -- a real server -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", ["bucket", "durable_bucket"])
async def test_what_any_program_put_into_a_real_bucket_is_cloned_byte_for_byte(request, server):
    bucket = request.getfixturevalue(server)
    with bucket.server.client() as client:
        for key, content in {"a/ü b.ipynb": b"{}\r\n", "a/b.png": PNG, "a/empty.txt": b""}.items():
            client.put_object(Bucket=bucket.name, Key=key, Body=content)
    store = S3Store(
        S3Options(
            bucket=bucket.name,
            endpoint_url=bucket.server.endpoint_url,
            access_key_id=bucket.server.access_key_id,
            secret_access_key=bucket.server.secret_access_key,
        )
    )
    try:
        for key, expected in {"a/ü b.ipynb": b"{}\r\n", "a/b.png": PNG, "a/empty.txt": b""}.items():
            source, content = await fetch(store, key, None, limit=LIMIT)
            assert content == expected
            assert source.name == key.rpartition("/")[2]
            assert source == replace(await describe(store, key, source.version_id), sha256=source.sha256)
        with pytest.raises(ObjectMissing):
            await fetch(store, "a/none.txt", None, limit=LIMIT)
    finally:
        await store.aclose()
