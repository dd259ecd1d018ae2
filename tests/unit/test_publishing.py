"""`bookstore.publishing`, `bookstore.notebook_rules`: what is put on a shelf is valid, versioned, accounted for."""

from __future__ import annotations

import asyncio
import base64
import copy
import hashlib
import json
from datetime import datetime, timedelta, timezone

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bookstore.errors import (
    AccessDenied,
    BucketNotVersioned,
    IntegrityError,
    InvalidRequest,
    NotANotebook,
    NotebookInvalid,
    ObjectMissing,
    PathError,
    StoreUnreachable,
)
from bookstore.papermill_io import Address
from bookstore.provenance import MAX_METADATA_BYTES, from_metadata
from bookstore.publishing import CONCURRENT_HEADS, Shelf, checked_notebook, metadata_size, version_url
from bookstore.results import Version
from bookstore.scheduling import Schedules
from bookstore.storage.base import Versioning
from bookstore.storage.memory import MemoryStore
from bookstore.storage.s3 import S3Options, S3Store


def code(source="1 + 1", **changes):
    cell = {
        "cell_type": "code",
        "id": "code",
        "metadata": {},
        "source": source,
        "outputs": [],
        "execution_count": None,
    }
    return {**cell, **changes}


def markdown(source="# Title", **changes):
    return {"cell_type": "markdown", "id": "text", "metadata": {}, "source": source, **changes}


def notebook(*cells, **changes):
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells), **changes}


def as_bytes(document) -> bytes:
    return json.dumps(document, indent=1).encode()


def without(document, *names):
    return {name: value for name, value in document.items() if name not in names}


VALID = as_bytes(notebook(code("print('a')"), markdown()))


def what_is_wrong_with(document) -> str:
    content = document if isinstance(document, bytes) else as_bytes(document)
    with pytest.raises(NotebookInvalid) as caught:
        checked_notebook(content)
    return str(caught.value).removeprefix("The notebook is invalid: ")


OLD = {
    "nbformat": 3,
    "nbformat_minor": 0,
    "metadata": {"name": ""},
    "worksheets": [
        {
            "metadata": {},
            "cells": [
                {"cell_type": "heading", "level": 1, "metadata": {}, "source": "Title"},
                {
                    "cell_type": "code",
                    "collapsed": False,
                    "input": "1",
                    "language": "python",
                    "metadata": {},
                    "outputs": [{"output_type": "pyout", "prompt_number": 1, "text": "1", "metadata": {}}],
                },
            ],
        }
    ],
}


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["output_type", "text", "x"]), inner),
    max_leaves=6,
)
_FIELDS = st.sampled_from(["cell_type", "id", "source", "metadata", "outputs", "execution_count", "x"])
_CELLS = _ANYTHING | st.builds(
    lambda changes, gone: without({**code(id="second"), **changes}, *gone),
    st.dictionaries(_FIELDS, _ANYTHING, max_size=2),
    st.sets(_FIELDS, max_size=1),
)


class TestTheRules:
    @pytest.mark.parametrize(
        "document",
        [
            notebook(code(), markdown()),
            notebook(code(source=["a\n", "b"], execution_count=3)),
            notebook(without(code(), "id"), nbformat_minor=4),
            notebook(without(code(metadata={"collapsed": True}), "id"), nbformat_minor=0),
            OLD,
            # From a time to come: unknown kinds and fields are nothing that could be judged.
            notebook(code(), {"cell_type": "sketch", "id": "s", "metadata": {}, "strokes": []}, nbformat_minor=9),
        ],
        ids=["4.5", "lines", "4.4", "4.0", "3", "4.9"],
    )
    def test_a_valid_notebook_of_any_format_passes(self, document):
        assert checked_notebook(as_bytes(document)) is None

    @pytest.mark.parametrize("version", [(4, 0), (4, 1), (4, 2), (4, 3), (4, 4), (4, 5)])
    def test_what_nbformat_makes_passes(self, version):
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1"), nbformat.v4.new_raw_cell("x")])
        if version < (4, 5):
            for cell in made.cells:
                del cell["id"]
        made.nbformat_minor = version[1]
        checked_notebook(json.dumps(made).encode())

    @pytest.mark.parametrize("content", [b"", b" \n"])
    def test_no_content_is_said_to_be_empty(self, content):
        with pytest.raises(NotebookInvalid, match="is empty") as caught:
            checked_notebook(content)
        assert caught.value.hint

    @pytest.mark.parametrize("document", [notebook(), {**OLD, "worksheets": []}])
    def test_a_notebook_without_cells_is_refused(self, document):
        assert what_is_wrong_with(document) == "it has no cells"

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"{", "not JSON: Expecting property name"),
            (b"\xff", "not UTF-8: byte 0 is 0xff"),
            (b"\xef\xbb\xbf{}", "not JSON: Unexpected UTF-8 BOM"),
            (b'{"a": NaN}', "NaN is no number of JSON"),
            (b"[" * 100_000, "nested too deeply"),
            (b"null", "it must be an object, not null"),
            (b"[]", "it must be an object, not a list"),
            (b"{}", "'nbformat' is missing; 'nbformat_minor' is missing"),
            (b'{"nbformat": "4", "nbformat_minor": true}', "'nbformat' must be a whole number, not '4'"),
            (b'{"nbformat": 2, "nbformat_minor": 0}', "there are no rules for nbformat 2.0"),
            (b'{"nbformat": 3, "nbformat_minor": 1}', "there are no rules for nbformat 3.1"),
            (b'{"nbformat": 4, "nbformat_minor": -1}', "there are no rules for nbformat 4.-1"),
            (b'{"nbformat": 5, "nbformat_minor": 0}', "there are no rules for nbformat 5.0"),
        ],
    )
    def test_what_is_no_notebook_at_all_is_told(self, content, said):
        with pytest.raises(NotebookInvalid) as caught:
            checked_notebook(content)
        assert said in str(caught.value)

    @pytest.mark.parametrize(
        ("cell", "said"),
        [
            (without(code(), "id"), "'id' is missing"),
            (code(id=3), "'id' must be a string, not 3"),
            (without(code(cell_type=[]), "id"), "'cell_type' must be 'code', 'markdown' or 'raw', not a list"),
            ("text", "it must be an object, not a string"),
        ],
    )
    def test_a_cell_without_id_is_named_by_its_number(self, cell, said):
        assert what_is_wrong_with(notebook(markdown(), cell)) == f"cell 2: {said}"

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"source": None}, "'source' must be a string or a list of strings, not null"),
            ({"source": 3}, "'source' must be a string or a list of strings, not 3"),
            ({"cell_type": "cod"}, "'cell_type' must be 'code', 'markdown' or 'raw', not 'cod'"),
            ({"metadata": []}, "'metadata' must be an object, not a list"),
            ({"metadata": {"tags": ["a", "a"]}}, "'metadata.tags' must not name anything twice"),
            ({"metadata": {"tags": ["a,b"]}}, "'metadata.tags.1' must match ^[^,]+$, not 'a,b'"),
            ({"metadata": {"scrolled": 3}}, "'metadata.scrolled' must be true, false or \"auto\", not 3"),
            ({"execution_count": "1"}, "'execution_count' must be a whole number or null, not '1'"),
            ({"execution_count": -1}, "'execution_count' must be at least 0, not -1"),
            ({"outputs": {}}, "'outputs' must be a list, not an object"),
            ({"attachments": {}}, "'attachments' is not allowed"),
            ({"prompt": 1, "note": 2}, "'prompt', 'note' are not allowed"),
            ({"outputs": [{"output_type": "stream", "name": "stdout"}]}, "output 1: 'text' is missing"),
            ({"outputs": [{}]}, "output 1: 'output_type' is missing"),
            ({"outputs": ["x"]}, "output 1: it must be an object, not a string"),
            (
                {"outputs": [{"output_type": "display_data", "metadata": {}, "data": {"text/plain": 3}}]},
                "output 1: 'data.text/plain' must be a string or a list of strings, not 3",
            ),
            (
                {"outputs": [{"output_type": "pyout"}]},
                "output 1: 'output_type' must be 'execute_result', 'display_data', 'stream' or 'error', not 'pyout'",
            ),
        ],
    )
    def test_the_cell_and_the_rule_are_named(self, changes, said):
        assert what_is_wrong_with(notebook(markdown(), code(id="abc", **changes))) == f"cell 2 (id 'abc'): {said}"

    @pytest.mark.parametrize("name", ["source", "cell_type", "metadata", "outputs", "execution_count"])
    def test_what_is_missing_is_named(self, name):
        said = what_is_wrong_with(notebook(markdown(), markdown(id="b"), without(code(id="abc"), name)))
        assert said == f"cell 3 (id 'abc'): '{name}' is missing"

    @pytest.mark.parametrize("cell_id", ["a b", "", "x" * 65])
    def test_what_an_id_may_be_is_told(self, cell_id):
        said = what_is_wrong_with(notebook(code(id=cell_id)))
        assert "'id' must be 1 to 64 letters, digits, '-' or '_', not" in said

    def test_faults_around_the_cells_are_named(self):
        broken = notebook(code(), metadata=[], extra=1)
        assert what_is_wrong_with(broken) == "'extra' is not allowed; 'metadata' must be an object, not a list"

    def test_cells_that_are_none_are_named(self):
        assert what_is_wrong_with(notebook(cells={})) == "'cells' must be a list, not an object"

    def test_an_old_notebook_is_judged_by_its_own_rules(self):
        old = copy.deepcopy(OLD)
        del old["worksheets"][0]["cells"][1]["input"]
        assert what_is_wrong_with(old) == "cell 2: 'input' is missing"
        # What is right now was wrong then, and the other way round.
        assert "'worksheets' is missing" in what_is_wrong_with({**notebook(code()), "nbformat": 3, "nbformat_minor": 0})
        assert what_is_wrong_with(notebook(code(id="x"), nbformat_minor=4)) == "cell 1 (id 'x'): 'id' is not allowed"

    def test_a_repeated_id_is_a_fault_since_there_are_ids(self):
        twice = notebook(code(id="a"), markdown(id="b"), code(id="a"), code(id="a"))
        said = what_is_wrong_with(twice)
        assert said == "cell 3 (id 'a'): cell 1 has the same 'id'; cell 4 (id 'a'): cell 1 has the same 'id'"

    def test_the_first_five_faults_are_named(self):
        said = what_is_wrong_with(notebook(*(without(code(id=f"c{n}"), "source") for n in range(6))))
        assert said.startswith("cell 1 (id 'c0'): 'source' is missing; cell 2 ")
        assert said.endswith("cell 5 (id 'c4'): 'source' is missing; and more")
        exactly = what_is_wrong_with(notebook(*(without(code(id=f"c{n}"), "source") for n in range(5))))
        assert exactly.count("is missing") == 5
        assert "more" not in exactly

    def test_a_long_value_is_cut(self):
        assert len(what_is_wrong_with(notebook(code(execution_count="x" * 10_000)))) < 200

    @given(_CELLS)
    def test_whatever_a_cell_is_the_verdict_is_that_of_nbformat_and_told_of_that_cell(self, cell):
        document = notebook(code(id="first"), cell)
        if list(nbformat.validator.get_validator(4, 5).iter_errors(document)):
            assert what_is_wrong_with(document).startswith("cell 2")
        else:
            checked_notebook(as_bytes(document))


# -- the shelf -------------------------------------------------------------------------------------------------------


class Scene:
    def __init__(self, kind=Shelf, prefix="published", **options):
        self.store = MemoryStore("lake", **options)
        self.writes_allowed = True
        self.asked = 0
        self.shelf = kind(self.store, prefix, host="machine", root_dir="/home/ada", before_write=self._before_write)

    async def _before_write(self):
        self.asked += 1
        if not self.writes_allowed:
            raise BucketNotVersioned("it keeps no versions")

    async def put(self, path="a.ipynb", content=VALID, **options):
        return await self.shelf.put(path, content, **{"by": "ada", "reason": "publish", **options})

    async def read(self, key, version_id=None):
        async with self.store.get(key, version_id) as body:
            return b"".join([chunk async for chunk in body.chunks])


@pytest.fixture
def scene() -> Scene:
    return Scene()


def version_of(content: bytes, **changes) -> Version:
    fields = {
        "path": "a.ipynb",
        "key": "workspace/a.ipynb",
        "version_id": "w7",
        "size": len(content),
        "etag": "e",
        "last_modified": "2026-01-01T00:00:00+00:00",
        "source": "file",
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    return Version(**(fields | changes))


async def test_a_publication_is_stored_byte_for_byte_and_says_who_when_and_from_where(scene):
    before = datetime.now(timezone.utc) - timedelta(seconds=1)
    published = await scene.put("deep/größe.ipynb", source=version_of(VALID, key="workspace/größe.ipynb"))
    assert await scene.read("published/deep/größe.ipynb", published.versionID) == VALID
    assert published.path == "deep/größe.ipynb"
    assert published.s3_path == "s3://lake/published/deep/größe.ipynb"
    assert published.url == f"bookstore://lake/published/deep/gr%C3%B6%C3%9Fe.ipynb?versionId={published.versionID}"
    assert (published.by, published.from_key, published.from_version) == ("ada", "workspace/größe.ipynb", "w7")
    assert published.sha256 == hashlib.sha256(VALID).hexdigest()
    assert before < datetime.fromisoformat(published.at) < datetime.now(timezone.utc) + timedelta(seconds=1)
    info = await scene.store.head("published/deep/größe.ipynb")
    assert info.content_type == "application/x-ipynb+json"
    provenance = from_metadata(info.metadata)
    assert provenance is not None
    assert (provenance.reason, provenance.origin, provenance.source) == ("publish", "machine:/home/ada", "file")
    assert await scene.shelf.get("deep/größe.ipynb") == published
    assert await scene.shelf.get("/deep//größe.ipynb", published.versionID) == published


async def test_to_publish_twice_makes_two_versions_both_readable(scene):
    changed = as_bytes(notebook(code("2")))
    first, second = await scene.put(), await scene.put(content=changed)
    assert first.versionID != second.versionID
    assert await scene.read(first.key, first.versionID) == VALID
    assert await scene.read(first.key) == changed
    assert (await scene.shelf.get("a.ipynb", first.versionID)).sha256 == first.sha256


async def test_content_that_came_with_the_request_is_from_no_version(scene):
    published = await scene.put()
    assert (published.from_key, published.from_version) == ("", "")
    assert from_metadata((await scene.store.head(published.key)).metadata).source == "model"


@pytest.mark.parametrize("path", ["a.txt", "a.ipynb/", "notebook", ""])
async def test_only_notebooks_can_be_published(scene, path):
    for use in (scene.put(path), scene.shelf.get(path), scene.shelf.hide(path)):
        with pytest.raises(NotANotebook):
            await use
    assert not scene.store.requests


@pytest.mark.parametrize("path", ["../a.ipynb", ".bookstore/a.ipynb", "x" * 1100 + ".ipynb"])
async def test_a_path_without_key_is_refused(scene, path):
    with pytest.raises(PathError):
        await scene.put(path)


async def test_nothing_is_written_of_an_invalid_notebook(scene):
    with pytest.raises(NotebookInvalid, match="it has no cells"):
        await scene.put(content=as_bytes(notebook()))
    assert not scene.store.requests
    assert not scene.asked


async def test_nothing_is_written_or_hidden_where_that_would_replace_what_is_there(scene):
    await scene.put()
    scene.writes_allowed = False
    for use in (scene.put(), scene.shelf.hide("a.ipynb")):
        with pytest.raises(BucketNotVersioned):
            await use
    assert scene.store.requests["PutObject"] == 1
    assert scene.store.requests["DeleteObject"] == 0


async def test_bytes_that_are_not_those_of_the_version_are_refused(scene):
    with pytest.raises(IntegrityError, match=r"'workspace/a\.ipynb', version w7"):
        await scene.put(source=version_of(b"others"))
    assert not scene.store.requests


async def test_a_version_of_unknown_content_is_taken_at_its_word(scene):
    published = await scene.put(source=version_of(VALID, sha256="", source=""))
    assert published.from_version == "w7"


async def test_parameters_are_for_scheduled_copies(scene):
    with pytest.raises(InvalidRequest, match="Only a scheduled copy"):
        await scene.put(parameters={"alpha": 1})


async def test_what_the_stores_answer_does_not_prove_is_read_back(scene, monkeypatch):
    from dataclasses import replace

    put = scene.store.put

    async def unproven(*args, **options):
        return replace(await put(*args, **options), verified=False)

    monkeypatch.setattr(scene.store, "put", unproven)
    await scene.put()
    assert scene.store.requests["GetObject"] == 1

    async def altered(key, body, *, sha256, **options):
        other = b"other"
        return await unproven(key, other, sha256=hashlib.sha256(other).hexdigest(), **options)

    monkeypatch.setattr(scene.store, "put", altered)
    with pytest.raises(IntegrityError, match="other bytes than were sent"):
        await scene.put()


async def test_fields_that_matter_win_where_metadata_are_full():
    scene = Scene()
    scene.shelf.root_dir = "/" + "ö" * 400
    scene.shelf.host = "h" * 255
    key = "workspace/" + "ü" * 500 + ".ipynb"
    published = await scene.put("a.ipynb", by="u" * 300, source=version_of(VALID, key=key, version_id="v" * 32))
    info = await scene.store.head(published.key)
    assert metadata_size(info.metadata) <= MAX_METADATA_BYTES
    kept = from_metadata(info.metadata)
    assert (kept.from_key, kept.from_version, kept.sha256) == (key, "v" * 32, hashlib.sha256(VALID).hexdigest())


async def test_unpublished_is_hidden_and_its_versions_stay(scene):
    published = await scene.put()
    removed = await scene.shelf.hide("a.ipynb")
    assert (removed.path, removed.key, removed.s3_path) == ("a.ipynb", published.key, published.s3_path)
    rows = (await scene.store.list_versions(published.key)).versions
    assert [row.is_delete_marker for row in rows] == [True, False]
    assert rows[0].version_id == removed.marker
    assert await scene.read(published.key, published.versionID) == VALID
    assert (await scene.shelf.get("a.ipynb", published.versionID)).by == "ada"
    for use in (scene.shelf.get("a.ipynb"), scene.shelf.hide("a.ipynb"), scene.shelf.hide("never.ipynb")):
        with pytest.raises(ObjectMissing):
            await use
    assert (await scene.put()).versionID
    assert (await scene.shelf.get("a.ipynb")).key == published.key


@pytest.mark.parametrize("versioning", [Versioning.OFF, Versioning.SUSPENDED])
async def test_nothing_is_hidden_where_hiding_would_delete_even_if_writing_is_allowed(versioning):
    scene = Scene()
    await scene.put()
    scene.store.versioning = versioning
    with pytest.raises(BucketNotVersioned, match="the content would be deleted"):
        await scene.shelf.hide("a.ipynb")
    assert scene.store.requests["DeleteObject"] == 0


async def test_hiding_works_where_the_store_does_not_tell_whether_it_keeps_versions():
    scene = Scene(versioning=Versioning.UNKNOWN)
    await scene.put()
    assert (await scene.shelf.hide("a.ipynb")).marker


async def pages_of(shelf, limit):
    cursor, pages = None, []
    while True:
        page = await shelf.listing(limit=limit, cursor=cursor)
        pages.append([item.path for item in page.items])
        cursor = page.cursor
        if cursor is None:
            return pages


async def test_the_listing_comes_in_pages_in_the_order_of_the_keys(scene):
    for path in ("b.ipynb", "a.ipynb", "a/z.ipynb", "gone.ipynb", "ü.ipynb", "+x.ipynb"):
        await scene.put(path)
    await scene.shelf.hide("gone.ipynb")
    assert await pages_of(scene.shelf, 50) == [["+x.ipynb", "a.ipynb", "a/z.ipynb", "b.ipynb", "ü.ipynb"]]
    assert await pages_of(scene.shelf, 2) == [["+x.ipynb", "a.ipynb"], ["a/z.ipynb", "b.ipynb"], ["ü.ipynb"]]


async def test_the_listing_tells_of_each_its_newest_version(scene):
    await scene.put(by="old")
    newest = await scene.put(by="new")
    assert (await scene.shelf.listing()).items == (newest,)


async def test_an_empty_shelf_has_an_empty_listing(scene):
    listing = await scene.shelf.listing()
    assert (listing.items, listing.cursor) == ((), None)


async def test_the_listing_passes_over_what_is_no_notebook_and_what_is_bookstores_own(scene):
    async def add(key):
        await scene.store.put(key, b"x", sha256=hashlib.sha256(b"x").hexdigest())

    for number in range(60):
        await add(f"published/.bookstore/parameters/{number:03}.ipynb")
    for key in ("published/a.txt", "published-2/a.ipynb", "published/.bookstore0.ipynb", "published/-.ipynb"):
        await add(key)
    await scene.put("b.ipynb")
    before = scene.store.requests["ListObjectsV2"]
    assert (await pages_of(scene.shelf, 2))[0] == ["-.ipynb", ".bookstore0.ipynb"]
    assert [path for page in await pages_of(scene.shelf, 1) for path in page] == [
        "-.ipynb",
        ".bookstore0.ipynb",
        "b.ipynb",
    ]
    # The folder of bookstore's own is stepped over, not walked through.
    assert scene.store.requests["ListObjectsV2"] - before < 15


async def test_what_somebody_elses_program_put_there_is_listed_too(scene):
    await scene.store.put("published/old.ipynb", VALID, sha256=hashlib.sha256(VALID).hexdigest())
    (item,) = (await scene.shelf.listing()).items
    assert (item.path, item.by, item.sha256) == ("old.ipynb", "", hashlib.sha256(VALID).hexdigest())
    assert item.versionID is not None
    assert datetime.fromisoformat(item.at).tzinfo is not None


async def test_what_is_hidden_while_it_is_listed_is_left_out(scene):
    await scene.put("a.ipynb")
    await scene.put("b.ipynb")

    def hide_at_last_moment(operation, key):
        if operation == "HeadObject" and key.endswith("a.ipynb"):
            scene.store.delete(key)

    scene.store.faults = hide_at_last_moment
    assert [item.path for item in (await scene.shelf.listing()).items] == ["b.ipynb"]


async def test_only_so_many_are_asked_for_at_a_time(scene, monkeypatch):
    for number in range(30):
        await scene.put(f"{number:02}.ipynb")
    head, under_way, most = scene.store.head, 0, 0

    async def counted(*args):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return await head(*args)

    monkeypatch.setattr(scene.store, "head", counted)
    assert len((await scene.shelf.listing()).items) == 30
    assert most == CONCURRENT_HEADS


async def test_an_error_of_the_store_is_passed_on_and_leaves_nothing_running(scene):
    for number in range(20):
        await scene.put(f"{number:02}.ipynb")
    scene.store.faults = lambda operation, key: (
        AccessDenied("no") if operation == "HeadObject" and key.endswith("03.ipynb") else None
    )
    with pytest.raises(AccessDenied):
        await scene.shelf.listing()
    assert len(asyncio.all_tasks()) == 1
    scene.store.faults = lambda *_: StoreUnreachable("away")
    with pytest.raises(StoreUnreachable):
        await scene.shelf.listing()


async def test_all_of_it_works_on_a_server_too(bucket):
    store = S3Store(
        S3Options(
            bucket.name,
            endpoint_url=bucket.server.endpoint_url,
            access_key_id=bucket.server.access_key_id,
            secret_access_key=bucket.server.secret_access_key,
        )
    )

    async def may_write() -> None:
        return None

    shelf = Schedules(store, "scheduled", host="machine", root_dir="/home/ada", before_write=may_write)
    try:
        made = []
        for path, parameters in [("a  b+ü.ipynb", {"n": 1}), ("deep/c.ipynb", {"text": "ö" * 3000}), ("z.ipynb", {})]:
            made.append(await shelf.put(path, VALID, by="Ada  Ö", reason="schedule", parameters=parameters))
        assert await pages_of(shelf, 2) == [["a  b+ü.ipynb", "deep/c.ipynb"], ["z.ipynb"]]
        assert list((await shelf.listing()).items) == made
        assert await shelf.get("deep/c.ipynb", made[1].versionID) == made[1]
        assert (await shelf.hide("deep/c.ipynb")).marker
        assert await pages_of(shelf, 50) == [["a  b+ü.ipynb", "z.ipynb"]]
        assert await shelf.get("deep/c.ipynb", made[1].versionID) == made[1]
    finally:
        await store.aclose()
    assert bucket.read("scheduled/a  b+ü.ipynb") == VALID


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_a_limit_that_makes_no_sense_is_refused(scene, limit):
    with pytest.raises(InvalidRequest, match="limit"):
        await scene.shelf.listing(limit=limit)


def _encoded(document) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "é",
        "%%%%",
        _encoded("published/a.ipynb"),
        _encoded({"format": 2, "prefix": "published", "after": "published/a.ipynb"}),
        _encoded({"format": 1, "prefix": "published", "after": 3}),
        _encoded({"format": 1, "prefix": "scheduled", "after": "scheduled/a.ipynb"}),
        base64.urlsafe_b64encode(b"\xff\xff").decode(),
    ],
)
async def test_a_cursor_of_another_listing_is_refused(scene, cursor):
    with pytest.raises(InvalidRequest, match="cursor"):
        await scene.shelf.listing(cursor=cursor)


# A key is UTF-8, so it holds no lone surrogates, and bookstore's keys have no empty parts.
_KEYS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30).filter(
    lambda key: not key.endswith("/")
)


@given(_KEYS, st.none() | st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40))
def test_an_address_names_what_it_was_made_of(key, version_id):
    url = version_url("lake", key, version_id)
    assert Address.parse(url) == Address("lake", key, version_id)
    # Papermill fills in fields in braces, and looks at the name before a question mark.
    assert url.format() == url
    assert url.isascii()
