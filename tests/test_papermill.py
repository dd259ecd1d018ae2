"""`bookstore.papermill_io`: papermill reads exactly the version that is named, with its parameters, and writes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from importlib.metadata import EntryPoint
from pathlib import Path

import nbformat
import pytest

from bookstore import papermill_io
from bookstore.bookstore_config import BookstoreSettings
from bookstore.cli.demo_layout import Layout
from bookstore.errors import (
    BucketNotVersioned,
    CredentialsMissing,
    IntegrityError,
    InvalidRequest,
    NotANotebook,
    NotebookInvalid,
    ObjectMissing,
    PathError,
    SettingsError,
    StoreTimeout,
    StoreUnreachable,
)
from bookstore.papermill_io import ATTEMPTS, Address, BookstoreHandler
from bookstore.provenance import from_metadata
from bookstore.results import Version
from bookstore.scheduling import Schedules
from bookstore.storage.base import Versioning
from bookstore.storage.memory import MemoryStore
from bookstore.storage.s3 import S3Options, S3Store

papermill = pytest.importorskip("papermill", reason="papermill is not installed: pip install -r requirements-dev.txt")

PYTHON = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def notebook(*cells, metadata=None) -> bytes:
    """A notebook of code cells; a pair is a source and its tags."""
    made = []
    for number, cell in enumerate(cells):
        source, tags = cell if isinstance(cell, tuple) else (cell, [])
        made.append(nbformat.v4.new_code_cell(source, id=f"c{number}", metadata={"tags": tags}))
    document = nbformat.v4.new_notebook(cells=made, metadata=PYTHON if metadata is None else metadata)
    return nbformat.writes(document).encode()


SUM = notebook(("a = 1\nb = 2", ["parameters"]), "print('old', a + b)")
SUM_CHANGED = notebook(("a = 1\nb = 2", ["parameters"]), "print('new', a + b)")


def sources(text: str) -> list[str]:
    return [cell.source for cell in nbformat.reads(text, as_version=4).cells]


async def schedule(store, content, parameters, path="sum.ipynb"):
    async def may_write() -> None:
        return None

    shelf = Schedules(store, "scheduled", host="h", root_dir="/home/ada", before_write=may_write)
    sha256 = hashlib.sha256(content).hexdigest()
    source = Version(path, f"workspace/{path}", "w7", len(content), "e", "2026-01-01T00:00:00+00:00", sha256=sha256)
    return await shelf.put(path, content, by="ada", reason="schedule", source=source, parameters=parameters)


# -- with papermill, a kernel and an S3 server -----------------------------------------------------------------------


@pytest.fixture
def jupyter_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of the machine's own configuration."""
    for name in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR"):
        monkeypatch.setenv(f"JUPYTER_{name}", str(tmp_path / name.lower()))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path


@pytest.fixture
def registered() -> None:
    """What papermill does for the entry point of an installed bookstore."""
    io = papermill.iorw.papermill_io
    known = list(io._handlers)
    io.register("bookstore://", BookstoreHandler)
    yield
    io._handlers[:] = known


@pytest.fixture
def settings_of(bucket, jupyter_home, monkeypatch):
    """The bucket's server as bookstore's settings name it; the address names the bucket."""
    for name, value in bucket.environment.items():
        if name != "JPYNB_S3_BUCKET":
            monkeypatch.setenv(name, value)
    return bucket


async def on_server(bucket, work):
    store = S3Store(
        S3Options(
            bucket.name,
            endpoint_url=bucket.server.endpoint_url,
            access_key_id=bucket.server.access_key_id,
            secret_access_key=bucket.server.secret_access_key,
        )
    )
    try:
        return await work(store)
    finally:
        await store.aclose()


@pytest.mark.usefixtures("registered")
def test_papermill_runs_exactly_the_scheduled_version_with_its_parameters(settings_of):
    bucket = settings_of
    scheduled = asyncio.run(on_server(bucket, lambda store: schedule(store, SUM, {"a": 40, "b": 2})))
    newer = asyncio.run(on_server(bucket, lambda store: schedule(store, SUM_CHANGED, {"a": 0, "b": 0})))
    assert newer.versionID != scheduled.versionID
    output = f"bookstore://{bucket.name}/runs/sum.ipynb"
    papermill.execute_notebook(scheduled.url, output, progress_bar=False)
    ran = nbformat.reads(bucket.read("runs/sum.ipynb").decode(), as_version=4)
    assert [cell.metadata.tags for cell in ran.cells] == [["parameters"], ["injected-parameters"], []]
    assert ran.cells[2].outputs[0].text == "old 42\n"
    assert ran.metadata.papermill.parameters == {"a": 40, "b": 2}
    assert ran.metadata.papermill.input_path == scheduled.url
    provenance = bucket.metadata("runs/sum.ipynb")
    assert provenance["bookstore-reason"] == "run"
    assert provenance["bookstore-sha256"] == hashlib.sha256(bucket.read("runs/sum.ipynb")).hexdigest()
    # What papermill writes after each cell are versions too, each once.
    contents = bucket.versions("runs/sum.ipynb")
    assert len(contents) > 1
    assert len(set(contents)) == len(contents)
    assert bucket.read(scheduled.key, scheduled.versionID) == SUM


@pytest.mark.usefixtures("jupyter_home")
async def test_it_works_within_a_running_loop_and_takes_the_settings_of_jupyters_configuration(bucket, jupyter_home):
    # As within Jupyter, where papermill is called from a cell: this test runs on a loop.
    environment = bucket.environment
    config = {
        "s3_endpoint_url": environment["JPYNB_S3_ENDPOINT_URL"],
        "s3_access_key_id": environment["JPYNB_S3_ACCESS_KEY_ID"],
        "s3_secret_access_key": environment["JPYNB_S3_SECRET_ACCESS_KEY"],
    }
    (jupyter_home / "config_dir").mkdir()
    file = jupyter_home / "config_dir" / "jupyter_server_config.json"
    file.write_text(json.dumps({"BookstoreSettings": config}))
    url = f"bookstore://{bucket.name}/runs/a.ipynb"
    BookstoreHandler.write(SUM.decode(), url)
    assert BookstoreHandler.read(url) == SUM.decode()
    assert bucket.versions("runs/a.ipynb") == [SUM]


def test_papermill_finds_it_by_the_entry_point_of_an_installed_bookstore():
    project = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    name, target = re.findall(r'\[project\.entry-points\."papermill\.io"\]\n"(.+?)" = "(.+?)"', project)[0]
    handler = EntryPoint(name, target, "papermill.io").load()
    assert handler is BookstoreHandler
    registry = papermill.iorw.PapermillIO()
    registry.register(name, handler)
    assert registry.pretty_path("bookstore://lake/a.ipynb?versionId=v1") == "bookstore://lake/a.ipynb (version v1)"


@pytest.mark.usefixtures("jupyter_home")
def test_a_setting_that_cannot_be_used_is_named(monkeypatch):
    monkeypatch.setenv("JPYNB_S3_ENDPOINT_URL", "nowhere")
    with pytest.raises(SettingsError, match="s3_endpoint_url"):
        BookstoreHandler.read("bookstore://lake/a.ipynb")


def test_errors_tell_the_next_step_in_their_text(jupyter_home, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "JPYNB_S3_ACCESS_KEY_ID", "JPYNB_S3_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(jupyter_home / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(jupyter_home / "none"))
    with pytest.raises(CredentialsMissing, match="JPYNB_S3_ACCESS_KEY_ID"):
        BookstoreHandler.read("bookstore://lake/a.ipynb")
    demo = Layout.standard()
    demo.prepare()
    demo.config_file.write_text("")
    with pytest.raises(CredentialsMissing, match=f"JUPYTER_CONFIG_PATH={demo.config} while bookstore demo runs"):
        BookstoreHandler.read("bookstore://bookstore-demo/scheduled/a.ipynb")


# -- with a store in memory ------------------------------------------------------------------------------------------


@pytest.fixture
def store(monkeypatch) -> MemoryStore:
    store = MemoryStore("lake")
    monkeypatch.setattr("bookstore.service.store_of", lambda settings, bucket: store)
    monkeypatch.setattr(papermill_io, "_settings", BookstoreSettings)
    monkeypatch.setattr(papermill_io, "backoff", lambda failures, chance: 0.0)
    return store


def put(store, key, content):
    return asyncio.run(store.put(key, content, sha256=hashlib.sha256(content).hexdigest()))


def scheduled_on(store, content, parameters):
    return asyncio.run(schedule(store, content, parameters)).url


class TestReading:
    def test_without_parameters_the_text_is_what_was_stored(self, store):
        first = put(store, "workspace/größe {x}?.ipynb", SUM)
        put(store, "workspace/größe {x}?.ipynb", SUM_CHANGED)
        url = papermill_io.version_url("lake", "workspace/größe {x}?.ipynb", first.version_id)
        assert BookstoreHandler.read(url) == SUM.decode()
        assert BookstoreHandler.read("bookstore://lake/workspace/größe {x}%3F.ipynb") == SUM_CHANGED.decode()

    def test_parameters_come_after_the_cell_that_is_tagged_parameters(self, store):
        text = BookstoreHandler.read(scheduled_on(store, SUM, {"a": "ö\"'\n", "c": [None, {"d": True}]}))
        first, injected, last = sources(text)
        assert (first, last) == ("a = 1\nb = 2", "print('old', a + b)")
        values: dict[str, object] = {}
        exec(injected, values)  # noqa: S102 - what it is for
        assert (values["a"], values["c"]) == ("ö\"'\n", [None, {"d": True}])

    def test_without_such_a_cell_they_come_first(self, store):
        text = BookstoreHandler.read(scheduled_on(store, notebook("print(a)"), {"a": 1}))
        assert [source.split("\n")[-2:] for source in sources(text)] == [["a = 1", ""], ["print(a)"]]

    def test_those_of_an_earlier_run_are_replaced(self, store):
        ran = notebook(("a = 1", ["parameters"]), ("a = 2", ["injected-parameters"]), "a")
        cells = sources(BookstoreHandler.read(scheduled_on(store, ran, {"a": 3})))
        assert len(cells) == 3
        assert "a = 3" in cells[1]

    def test_long_parameters_are_found_too(self, store):
        text = BookstoreHandler.read(scheduled_on(store, SUM, {"a": "x" * 5000}))
        assert "x" * 5000 in sources(text)[1]

    @pytest.mark.parametrize(
        ("metadata", "assignment"),
        [
            ({}, "a = True"),
            ({"language_info": {"name": "python"}}, "a = True"),
            ({"kernelspec": {"name": "python3", "display_name": "3"}}, "a = True"),
            ({"kernelspec": {"name": "ir", "display_name": "R", "language": "R"}}, "a = TRUE"),
            ({"language_info": {"name": "julia"}}, "a = true"),
        ],
    )
    def test_they_are_written_in_the_language_of_the_notebook(self, store, metadata, assignment):
        content = notebook(("", ["parameters"]), metadata=metadata)
        assert assignment in sources(BookstoreHandler.read(scheduled_on(store, content, {"a": True})))[1]

    def test_a_language_is_not_guessed_where_a_kernel_is_named(self, store):
        url = scheduled_on(store, notebook("1", metadata={"kernelspec": {"name": "ir", "display_name": "R"}}), {"a": 1})
        with pytest.raises(NotebookInvalid, match="the kernel 'ir' and no language"):
            BookstoreHandler.read(url)

    def test_an_old_notebook_gets_its_parameters_too(self, store):
        old = {
            "nbformat": 3,
            "nbformat_minor": 0,
            "metadata": {"name": ""},
            "worksheets": [
                {
                    "metadata": {},
                    "cells": [
                        {
                            "cell_type": "code",
                            "collapsed": False,
                            "input": "a = 1",
                            "language": "python",
                            "metadata": {"tags": ["parameters"]},
                            "outputs": [],
                        }
                    ],
                }
            ],
        }
        cells = sources(BookstoreHandler.read(scheduled_on(store, json.dumps(old).encode(), {"a": 2})))
        assert cells[0] == "a = 1"
        assert "a = 2" in cells[1]

    def test_a_file_of_parameters_can_be_read_too(self, store):
        put(store, "params/p.yaml", b"a: 1\n")
        assert BookstoreHandler.read("bookstore://lake/params/p.yaml") == "a: 1\n"

    def test_what_is_no_text_is_refused(self, store):
        put(store, "a.png", b"\x89PNG")
        with pytest.raises(NotANotebook, match="not UTF-8"):
            BookstoreHandler.read("bookstore://lake/a.png")

    def test_what_is_not_there_is_told(self, store):
        put(store, "a.ipynb", SUM)
        for url in ("bookstore://lake/b.ipynb", "bookstore://lake/a.ipynb?versionId=other"):
            with pytest.raises(ObjectMissing):
                BookstoreHandler.read(url)

    def test_a_failure_that_may_pass_is_tried_again(self, store):
        put(store, "a.ipynb", SUM)
        failures = iter([StoreUnreachable("away"), StoreTimeout("slow"), None, None])
        store.faults = lambda *_: next(failures)
        assert BookstoreHandler.read("bookstore://lake/a.ipynb") == SUM.decode()

    def test_it_is_given_up_in_the_end(self, store):
        store.faults = lambda *_: StoreUnreachable("away")
        with pytest.raises(StoreUnreachable):
            BookstoreHandler.read("bookstore://lake/a.ipynb")
        assert store.requests["GetObject"] == ATTEMPTS

    def test_other_bytes_than_were_stored_are_never_run(self, store):
        url = scheduled_on(store, SUM, {})
        (version,) = store._keys["scheduled/sum.ipynb"]
        from dataclasses import replace

        store._keys["scheduled/sum.ipynb"] = [replace(version, content=SUM_CHANGED)]
        with pytest.raises(IntegrityError, match="other bytes than were stored"):
            BookstoreHandler.read(url)


class TestWriting:
    URL = "bookstore://lake/runs/a.ipynb"

    def test_each_write_is_a_version_that_says_what_it_is(self, store):
        BookstoreHandler.write(SUM.decode(), self.URL)
        BookstoreHandler.write(SUM_CHANGED.decode(), self.URL)
        rows = asyncio.run(store.list_versions("runs/a.ipynb")).versions
        assert len(rows) == 2
        info = asyncio.run(store.head("runs/a.ipynb", rows[1].version_id))
        assert info.content_type == "application/x-ipynb+json"
        provenance = from_metadata(info.metadata)
        assert (provenance.reason, provenance.source) == ("run", "model")
        assert provenance.sha256 == hashlib.sha256(SUM).hexdigest()
        assert provenance.user
        assert provenance.host

    def test_the_same_once_more_is_no_version(self, store):
        for _ in range(2):
            BookstoreHandler.write(SUM.decode(), self.URL)
        assert store.requests["PutObject"] == 1

    def test_a_write_whose_answer_got_lost_is_no_second_version(self, store):
        lost = iter([StoreTimeout("no answer")])
        store.lost_answers = lambda operation, key: next(lost, None) if operation == "PutObject" else None
        BookstoreHandler.write(SUM.decode(), self.URL)
        assert store.requests["PutObject"] == 1
        assert len(asyncio.run(store.list_versions("runs/a.ipynb")).versions) == 1

    @pytest.mark.parametrize("versioning", [Versioning.OFF, Versioning.SUSPENDED])
    def test_nothing_is_replaced_in_a_bucket_that_keeps_no_versions(self, store, versioning):
        store.versioning = versioning
        with pytest.raises(BucketNotVersioned):
            BookstoreHandler.write(SUM.decode(), self.URL)
        assert store.requests["PutObject"] == 0

    def test_a_bucket_that_stops_keeping_versions_in_between_is_told(self, store):
        def suspend(operation, key):
            if operation == "HeadObject":  # after the bucket was asked, before the write
                store.versioning = Versioning.SUSPENDED

        store.faults = suspend
        with pytest.raises(BucketNotVersioned, match="no version id"):
            BookstoreHandler.write(SUM.decode(), self.URL)

    def test_an_address_of_a_version_cannot_be_written(self, store):
        with pytest.raises(InvalidRequest, match="versions never change"):
            BookstoreHandler.write("", f"{self.URL}?versionId=v1")

    def test_a_key_that_is_too_long_is_refused(self, store):
        with pytest.raises(PathError):
            BookstoreHandler.write("", f"bookstore://lake/{'x' * 1025}")


class TestAddresses:
    def test_a_folder_is_listed_without_the_folders_in_it(self, store):
        for key in ("runs/b {1}.ipynb", "runs/a.ipynb", "runs/deep/c.ipynb", "runs-2/d.ipynb", "top.ipynb"):
            put(store, key, SUM)
        expected = ["bookstore://lake/runs/a.ipynb", "bookstore://lake/runs/b%20%7B1%7D.ipynb"]
        assert BookstoreHandler.listdir("bookstore://lake/runs") == expected
        assert BookstoreHandler.listdir("bookstore://lake/runs/") == expected
        assert BookstoreHandler.listdir("bookstore://lake") == ["bookstore://lake/top.ipynb"]
        assert BookstoreHandler.read(expected[1]) == SUM.decode()

    def test_a_large_folder_is_listed_whole(self, store, monkeypatch):
        for number in range(7):
            put(store, f"runs/{number}.ipynb", SUM)
        list_objects = store.list_objects
        monkeypatch.setattr(store, "list_objects", lambda prefix, *, after: list_objects(prefix, after=after, limit=3))
        assert len(BookstoreHandler.listdir("bookstore://lake/runs")) == 7

    def test_people_see_it_decoded(self):
        url = "bookstore://lake/gr%C3%B6%C3%9Fe%20x.ipynb?versionId=v%2B1"
        assert BookstoreHandler.pretty_path(url) == "bookstore://lake/größe x.ipynb (version v+1)"
        assert BookstoreHandler.pretty_path("bookstore://lake/a.ipynb") == "bookstore://lake/a.ipynb"

    def test_a_key_may_be_typed_as_it_is(self):
        assert Address.parse("bookstore://lake/a b#1+2.ipynb") == Address("lake", "a b#1+2.ipynb")

    @pytest.mark.parametrize(
        "url",
        [
            "s3://lake/a.ipynb",
            "bookstore://",
            "bookstore:///a.ipynb",
            "bookstore://ada:secret@lake/a.ipynb",
            "bookstore://lake/a.ipynb?version=3",
            "bookstore://lake/a.ipynb?versionId=",
            "bookstore://lake/a.ipynb?versionId=1&x=2",
            "bookstore://lake/a.ipynb?versionId",
            "bookstore://lake/%ff.ipynb",
        ],
    )
    def test_what_is_no_address_is_refused_without_telling_a_secret(self, url):
        with pytest.raises(InvalidRequest) as caught:
            Address.parse(url)
        assert "secret" not in str(caught.value) + caught.value.hint

    @pytest.mark.parametrize("url", ["bookstore://lake", "bookstore://lake/", "bookstore://lake/folder/"])
    def test_a_folder_can_neither_be_read_nor_written(self, store, url):
        with pytest.raises(InvalidRequest, match="names no object"):
            BookstoreHandler.read(url)
        with pytest.raises(InvalidRequest, match="names no object"):
            BookstoreHandler.write("", url)
        assert not store.requests
