"""The Python client against running servers: in scripts, by address, and inside of notebooks."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import websocket

from bookstore.client import BookstoreClient, CurrentNotebookClient, NotebookClient
from bookstore.errors import (
    CloningForbidden,
    FileChanged,
    FileMissing,
    IntegrityError,
    InvalidRequest,
    NotANotebook,
    NotebookInvalid,
    ObjectMissing,
)
from bookstore.jupyter_servers import (
    BookstoreAbsent,
    FeatureAbsent,
    JupyterServer,
    JupyterServerError,
    ServerRefused,
    ServerUnreachable,
)
from bookstore.results import Cloned, Comparison, History, Published, Version
from ci.bucket import Bucket
from ci.command_line import CommandLine
from ci.jupyter_process import JupyterProcess, notebook

#: A path that has to be encoded for an address.
PATH = "a folder/größer & 100%? #1.ipynb"


def client_of(jupyter: JupyterProcess, **options: Any) -> BookstoreClient:
    url = f"http://127.0.0.1:{jupyter.port}{jupyter.base_url}"
    return BookstoreClient(server=JupyterServer(url, jupyter.token), **options)


@pytest.fixture(scope="module")
def shared_bucket(moto) -> Bucket:
    """One for all tests here: each has paths of its own."""
    return Bucket(moto, moto.create_bucket("test-client"))


@pytest.fixture(scope="module")
def jupyter(shared_bucket, tmp_path_factory) -> Iterator[JupyterProcess]:
    """One server for all tests here but those that configure theirs."""
    home = tmp_path_factory.mktemp("jupyter")
    with JupyterProcess(home, environment=shared_bucket.environment, base_url="/user/kylek/").start() as server:
        (server.root / "a folder").mkdir()
        yield server


@pytest.fixture
def jupyter_alone(start_jupyter, bucket) -> JupyterProcess:
    """A server with a bucket of its own."""
    server = start_jupyter(bucket)
    (server.root / "a folder").mkdir()
    return server


def run_script(
    home: Path, program: str, *, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    line = CommandLine(home)
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=cwd or line.root,
        env={**line.environment, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# -- the verbs ---------------------------------------------------------------------------------------------------------


def test_the_history_of_a_notebook_is_read_compared_labelled_and_restored(jupyter, tmp_path):
    client = client_of(jupyter)
    contents = []
    for text in ("one", "two"):
        jupyter.save(PATH, notebook(text))
        contents.append(jupyter.on_disk(PATH))
    assert client.flush() == 0
    assert client.status()["state"] == "ok"
    assert client.status(PATH)["path"]["path"] == PATH

    page = client.history(PATH, limit=1)
    assert isinstance(page, History)
    assert page.is_archived
    assert not client.history("a text.txt").is_archived
    assert len(page.versions) == 1
    assert page.cursor
    older = client.history(PATH, limit=1, cursor=page.cursor).versions[0]
    newest, oldest = client.versions(PATH)
    assert isinstance(newest, Version)
    assert (page.versions[0], older.version_id) == (newest, oldest.version_id)
    assert newest.sha256 == hashlib.sha256(contents[1]).hexdigest()
    quick = [version.version_id for version in client.versions(PATH, details=False)]
    assert quick == [newest.version_id, oldest.version_id]

    assert client.read(PATH) == contents[1]
    assert client.read(PATH, oldest.version_id) == contents[0]
    assert client.download(PATH, tmp_path, oldest.version_id) == tmp_path / PATH.rpartition("/")[2]
    assert (tmp_path / PATH.rpartition("/")[2]).read_bytes() == contents[0]

    comparison = client.compare(PATH, oldest.version_id)
    assert isinstance(comparison, Comparison)
    assert [change.kind for change in comparison.cells] == ["changed"]
    assert comparison.after.version_id is None
    assert comparison.base is None
    assert client.compare(PATH, oldest.version_id, notebook=True).base["cells"][0]["source"] == "one # 0"
    edited = client.compare_content(PATH, notebook("three"), oldest.version_id, notebook=True)
    assert (edited.kind, edited.after.version_id, edited.base is None) == ("notebook", None, False)
    assert "+three # 0" in edited.cells[0].source_diff
    assert client.compare_content(PATH, "a text").kind == "text"

    labelled = client.label(PATH, oldest.version_id, name="first", pinned=True)
    assert (labelled.label.name, labelled.label.pinned) == ("first", True)
    pinned = client.pinned(PATH)
    assert (pinned.cursor, [version.version_id for version in pinned.versions]) == (None, [oldest.version_id])
    assert pinned.versions[0].label == labelled.label
    assert pinned.is_archived
    assert client.label(PATH, oldest.version_id, name="").label.name == ""

    restored = client.restore(PATH, oldest.version_id)
    assert restored.from_version == oldest.version_id
    assert jupyter.on_disk(PATH) == contents[0]
    with pytest.raises(FileChanged, match="changed since you looked"):
        client.restore(PATH, newest.version_id, expected_hash=newest.sha256)
    client.restore(PATH, newest.version_id, target_path="a folder/other.ipynb")
    assert jupyter.on_disk("a folder/other.ipynb") == contents[1]
    assert len(list(client.versions(PATH))) == 3

    (jupyter.root / "beside.ipynb").write_bytes(contents[0])
    archived = client.archive("beside.ipynb")
    assert archived.version_id
    assert client.archive("beside.ipynb").how == "unchanged"


def test_notebooks_are_published_and_scheduled(jupyter_alone, bucket):
    client = client_of(jupyter_alone)
    jupyter_alone.save(PATH, notebook("x"))
    published = client.publish(PATH)
    assert isinstance(published, Published)
    assert published.s3_path == f"s3://{bucket.name}/published/{PATH}"
    assert bucket.read(f"published/{PATH}", published.versionID) == jupyter_alone.on_disk(PATH)
    assert published.from_version

    for content in (notebook("y"), json.dumps(notebook("z")), json.dumps(notebook("z")).encode()):
        client.publish("never saved.ipynb", content=content)
    assert len(client.publication("never saved.ipynb").versions) == 3
    assert [one.path for one in client.published()] == [PATH, "never saved.ipynb"]
    assert client.read(PATH, published.versionID, area="published") == jupyter_alone.on_disk(PATH)
    assert client.unpublish(PATH).marker
    assert [one.path for one in client.published()] == ["never saved.ipynb"]

    scheduled = client.schedule(PATH, parameters={"year": 2026})
    assert scheduled.parameters == {"year": 2026}
    assert scheduled.from_version
    assert client.scheduled_copy(PATH).parameters == {"year": 2026}
    assert client.scheduled_copy(PATH, scheduled.versionID).versionID == scheduled.versionID
    assert [one.path for one in client.scheduled()] == [PATH]
    client.unschedule(PATH)
    assert list(client.scheduled()) == []


def test_what_is_published_is_listed_over_all_pages(jupyter_alone, bucket, monkeypatch):
    monkeypatch.setattr("bookstore.client.store_client.PAGE", 2)
    client = client_of(jupyter_alone)
    names = [f"{number}.ipynb" for number in range(5)]
    for name in names:
        client.publish(name, content=notebook(name))
    assert [one.path for one in client.published()] == names
    for number in range(3):
        client.publish("0.ipynb", content=notebook(f"more {number}"))
    assert len(list(client.versions("0.ipynb", area="published"))) == 4


def test_objects_and_files_are_cloned(start_jupyter, bucket, tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    (base / "notes.txt").write_text("shared")
    config = {"jupyter_server_config.py": f"c.BookstoreSettings.fs_cloning_basedir = {str(base)!r}\n"}
    jupyter = start_jupyter(bucket, config=config)
    client = client_of(jupyter, s3_bucket=bucket.name)
    published = client.publish("a.ipynb", content=notebook("x"))
    cloned = client.clone(s3_key="published/a.ipynb", target_path="mine.ipynb")
    assert isinstance(cloned, Cloned)
    assert (cloned.path, cloned.s3_path) == ("mine.ipynb", f"s3://{bucket.name}/published/a.ipynb")
    assert cloned.model["type"] in ("notebook", "file")
    assert jupyter.on_disk("mine.ipynb") == bucket.read("published/a.ipynb")
    again = client.clone(bucket.name, "published/a.ipynb", "mine.ipynb", version_id=published.versionID)
    assert (again.path, again.versionID) == ("mine-1.ipynb", published.versionID)
    assert client.clone_file("notes.txt").path == "notes.txt"
    assert client.clone_file("notes.txt", "other.txt").source == "notes.txt"
    assert jupyter.on_disk("other.txt") == b"shared"
    with pytest.raises(FileMissing) as caught:
        client.clone_file("../../etc/passwd")
    assert str(tmp_path) not in str(caught.value)


# -- errors ------------------------------------------------------------------------------------------------------------


def test_errors_are_those_that_the_server_names(jupyter):
    client = client_of(jupyter)
    with pytest.raises(ObjectMissing):
        client.read("nowhere.ipynb")
    with pytest.raises(FileMissing) as caught:
        client.publish("nowhere.ipynb")
    assert "nowhere.ipynb" in str(caught.value)
    assert "root directory" in caught.value.hint
    if sys.version_info >= (3, 11):
        assert caught.value.__notes__ == [caught.value.hint]
    with pytest.raises(NotANotebook):
        client.publish("a.txt")
    with pytest.raises(NotANotebook):
        client.publish("a.ipynb", content="{torn")
    with pytest.raises(NotebookInvalid, match="cell"):
        client.publish("a.ipynb", content={**notebook("x"), "cells": [{"cell_type": "nonsense"}]})
    with pytest.raises(InvalidRequest, match="area"):
        client.history("a.ipynb", area="nonsense")
    with pytest.raises(InvalidRequest):
        client.history("a.ipynb", cursor="nonsense")
    assert list(client.versions("nowhere.ipynb")) == []


@pytest.mark.parametrize("path", ["", "/", "../a.ipynb", "a/../../contents/a.ipynb", "./a.ipynb", "\ud800.ipynb"])
def test_a_path_that_is_none_is_not_sent(path):
    client = BookstoreClient(server=JupyterServer("http://127.0.0.1:1/"))
    with pytest.raises(InvalidRequest):
        client.publish(path)


def test_a_clone_without_bucket_or_key_is_not_sent():
    client = BookstoreClient(server=JupyterServer("http://127.0.0.1:1/"))
    with pytest.raises(InvalidRequest, match="s3_bucket"):
        client.clone(s3_key="a")
    with pytest.raises(InvalidRequest, match="s3_key"):
        client.clone("bucket")


def test_a_bucket_that_may_not_be_cloned_from(start_jupyter, bucket):
    config = {"jupyter_server_config.py": "c.BookstoreSettings.s3_cloning_buckets = ['public-*']\n"}
    client = client_of(start_jupyter(bucket, config=config))
    with pytest.raises(CloningForbidden) as caught:
        client.clone(bucket.name, "published/a.ipynb")
    assert "s3_cloning_buckets" in caught.value.hint
    # No base directory, so no such route.
    with pytest.raises(FeatureAbsent) as absent:
        client.clone_file("a.txt")
    assert "fs_cloning_basedir" in absent.value.hint


def test_a_server_without_bookstore_is_told(start_jupyter):
    with pytest.raises(BookstoreAbsent) as caught:
        client_of(start_jupyter(None, enabled=False)).status()
    assert "Install bookstore" in caught.value.hint


def test_a_server_that_is_not_there_is_told():
    client = BookstoreClient(server=JupyterServer("http://127.0.0.1:1/", "a-secret-token"))
    with pytest.raises(ServerUnreachable) as caught:
        client.status()
    assert "http://127.0.0.1:1/" in str(caught.value)
    assert caught.value.transient
    # At the call, and not at the first step of the loop over what it gives.
    for ask in (lambda: client.versions("a.ipynb"), client.published, client.scheduled):
        with pytest.raises(ServerUnreachable):
            ask()


def test_no_token_is_shown(jupyter):
    url = f"http://127.0.0.1:{jupyter.port}{jupyter.base_url}"
    client = BookstoreClient(url=f"{url}?token={jupyter.token}")
    assert client.status()
    refused = BookstoreClient(url=url, token="a-wrong-token")
    with pytest.raises(ServerRefused) as caught:
        refused.status()
    told = f"{client!r} {client.server!r} {refused!r} {caught.value} {caught.value.hint}"
    assert jupyter.token not in told
    assert "a-wrong-token" not in told
    for nonsense in ("nonsense", f"ftp://x/?token={jupyter.token}"):
        with pytest.raises(JupyterServerError) as told_of:
            BookstoreClient(url=nonsense)
        assert jupyter.token not in str(told_of.value)


# -- downloads ---------------------------------------------------------------------------------------------------------


@contextmanager
def answering(content: bytes, *, digest: bytes, size: int | None = None) -> Iterator[BookstoreClient]:
    """A server that sends these bytes, and says of them what it likes."""
    import base64

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content) if size is None else size))
            self.send_header("Repr-Digest", f"sha-256=:{base64.b64encode(digest).decode()}:")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield BookstoreClient(server=JupyterServer(f"http://127.0.0.1:{server.server_port}/"))
        finally:
            server.shutdown()
            thread.join()


def test_other_bytes_than_were_saved_are_no_version(tmp_path):
    with answering(b"altered", digest=hashlib.sha256(b"content").digest()) as client:
        with pytest.raises(IntegrityError, match="SHA-256"):
            client.read("a.ipynb")
        with pytest.raises(IntegrityError):
            client.download("a.ipynb", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_answer_that_breaks_off_is_no_version(tmp_path):
    with answering(b"cont", size=7, digest=hashlib.sha256(b"cont").digest()) as client:
        with pytest.raises(ServerUnreachable, match="3 bytes early"):
            client.read("a.ipynb")
        with pytest.raises(ServerUnreachable):
            client.download("a.ipynb", tmp_path / "b.ipynb")
    assert list(tmp_path.iterdir()) == []


def test_a_download_replaces_a_file_only_if_told(tmp_path):
    with answering(b"new", digest=hashlib.sha256(b"new").digest()) as client:
        file = tmp_path / "a.ipynb"
        file.write_bytes(b"mine")
        with pytest.raises(InvalidRequest, match="there already") as caught:
            client.download("folder/a.ipynb", tmp_path)
        assert "overwrite" in caught.value.hint
        assert file.read_bytes() == b"mine"
        assert client.download("folder/a.ipynb", file, overwrite=True) == file
        assert file.read_bytes() == b"new"
        assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_that_is_made_during_a_download_stays(tmp_path, monkeypatch, has_links):
    file = tmp_path / "a.ipynb"
    link = os.link

    def late(source: Path, target: Path) -> None:
        file.write_bytes(b"somebody's")
        if not has_links:
            raise PermissionError("no links here")
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    with answering(b"new", digest=hashlib.sha256(b"new").digest()) as client:
        with pytest.raises(InvalidRequest, match="there already"):
            client.download("a.ipynb", file)
        assert file.read_bytes() == b"somebody's"
        monkeypatch.setattr(os, "link", link)
        assert client.download("a.ipynb", tmp_path / "b.ipynb").read_bytes() == b"new"
    assert {one.name for one in tmp_path.iterdir()} == {"a.ipynb", "b.ipynb"}


# -- finding the server ------------------------------------------------------------------------------------------------

TELL = "from bookstore.client import BookstoreClient; print(BookstoreClient().server.url)"


def test_a_script_finds_the_server_that_holds_its_directory(start_jupyter, bucket, tmp_path):
    first = start_jupyter(bucket, home=tmp_path / "first")
    shared = {**bucket.environment, "JUPYTER_RUNTIME_DIR": str(first.home / "runtime")}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    ran = run_script(first.home, TELL, cwd=elsewhere)
    assert f":{first.port}/" in ran.stdout, ran.stderr  # it is the only one
    with JupyterProcess(tmp_path / "second", environment=shared).start() as second:
        below = second.root / "below"
        below.mkdir()
        for process, place in ((first, first.root), (second, below)):
            ran = run_script(first.home, f"{TELL}; assert BookstoreClient().status()['state'] == 'ok'", cwd=place)
            assert ran.returncode == 0, ran.stderr
            assert f":{process.port}/" in ran.stdout
        ran = run_script(first.home, TELL, cwd=elsewhere)
        assert ran.returncode == 1
        assert "None of your servers holds the current directory" in ran.stderr
        assert str(second.root) in ran.stderr
        if sys.version_info >= (3, 11):
            assert "BookstoreClient(url=" in ran.stderr
        assert first.token not in ran.stderr


def test_without_a_server_a_script_is_told(tmp_path):
    ran = run_script(tmp_path / "home", TELL)
    assert ran.returncode == 1
    assert "None of your Jupyter servers runs on this machine." in ran.stderr


def test_a_stranger_gives_address_and_token(jupyter, tmp_path):
    program = (
        "import sys; from bookstore.client import BookstoreClient;"
        "print(BookstoreClient(url=sys.argv[1] if sys.argv[1:] else '{}', token={!r}).status()['state'])"
    )
    url = f"http://127.0.0.1:{jupyter.port}{jupyter.base_url}lab/tree/a.ipynb"
    ran = run_script(tmp_path / "stranger", program.format(url, jupyter.token))
    assert ran.stdout.strip() == "ok", ran.stderr
    ran = run_script(tmp_path / "stranger", program.format(url, None), JUPYTER_TOKEN=jupyter.token)
    assert ran.stdout.strip() == "ok", ran.stderr
    ran = run_script(tmp_path / "stranger", program.format(url, None))
    assert "ServerRefused" in ran.stderr


# -- inside of a notebook ----------------------------------------------------------------------------------------------


class Kernel:
    """The kernel of a document that is open in a server."""

    def __init__(self, jupyter: JupyterProcess, path: str, *, kind: str = "notebook") -> None:
        self.jupyter = jupyter
        session = jupyter.ok(
            "POST",
            "/api/sessions",
            {"path": path, "name": path.rpartition("/")[2], "type": kind, "kernel": {"name": "python3"}},
        )
        self.session_id = session["id"]
        self.id = session["kernel"]["id"]

    def run(self, code: str) -> str:
        """Execute a cell; what it prints, or its traceback."""
        asked = uuid.uuid4().hex
        header = {"msg_id": asked, "msg_type": "execute_request", "session": asked, "username": "", "version": "5.3"}
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
        request = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        place = f"127.0.0.1:{self.jupyter.port}{self.jupyter.base_url}api/kernels/{self.id}/channels"
        token = [f"Authorization: token {self.jupyter.token}"]
        with closing(websocket.create_connection(f"ws://{place}", timeout=120, header=token)) as connection:
            connection.send(json.dumps(request))
            output: list[str] = []
            while True:
                message = json.loads(connection.recv())
                if message["parent_header"].get("msg_id") != asked:
                    continue
                answer = message["content"]
                output.append(answer.get("text", "") + "\n".join(answer.get("traceback", ())))
                if message["channel"] == "iopub" and answer.get("execution_state") == "idle":
                    return "".join(output).strip()

    def rename(self, path: str) -> None:
        """As JupyterLab does when its file is renamed."""
        self.jupyter.ok("PATCH", f"/api/sessions/{self.session_id}", {"path": path, "name": path})

    def end(self) -> None:
        self.jupyter.ok("DELETE", f"/api/sessions/{self.session_id}")


@pytest.fixture
def open_kernel(jupyter) -> Iterator[Callable[..., Kernel]]:
    opened: list[Kernel] = []

    def start(path: str, **options: Any) -> Kernel:
        opened.append(Kernel(jupyter, path, **options))
        return opened[-1]

    yield start
    for kernel in opened:
        kernel.end()


PUBLISH = "from bookstore.client import BookstoreClient; print(BookstoreClient().publish().s3_path)"


def test_a_notebook_publishes_itself(jupyter, shared_bucket, open_kernel):
    path = "a folder/ü & itself.ipynb"
    jupyter.save(path, notebook(PUBLISH))
    jupyter.save("other.ipynb", notebook("x"))
    kernel = open_kernel(path)
    open_kernel("other.ipynb")
    assert kernel.run(PUBLISH) == f"s3://{shared_bucket.name}/published/{path}"
    assert shared_bucket.read(f"published/{path}") == jupyter.on_disk(path)
    # What the notebook's own code starts is the notebook's too.
    script = f"import subprocess, sys; print(subprocess.check_output([sys.executable, '-c', {PUBLISH!r}], text=True))"
    assert kernel.run(script) == f"s3://{shared_bucket.name}/published/{path}"
    assert len(shared_bucket.versions(f"published/{path}")) == 2


def test_a_notebook_that_was_renamed_publishes_itself_under_its_new_name(jupyter, shared_bucket, open_kernel):
    jupyter.save("before.ipynb", notebook("x"))
    kernel = open_kernel("before.ipynb")
    jupyter.ok("PATCH", "/api/contents/before.ipynb", {"path": "after.ipynb"})
    kernel.rename("after.ipynb")
    assert kernel.run(PUBLISH) == f"s3://{shared_bucket.name}/published/after.ipynb"


def test_a_notebook_schedules_itself(jupyter, shared_bucket, open_kernel):
    jupyter.save("a.ipynb", notebook("x"))
    code = (
        "from bookstore.client import BookstoreClient; print(BookstoreClient().schedule(parameters={'n': 1}).s3_path)"
    )
    assert open_kernel("a.ipynb").run(code) == f"s3://{shared_bucket.name}/scheduled/a.ipynb"


def test_a_notebook_knows_its_session_and_contents(jupyter, open_kernel):
    jupyter.save("a.ipynb", notebook("find me"))
    kernel = open_kernel("a.ipynb")
    code = (
        "from bookstore.client import CurrentNotebookClient, extract_kernel_id\n"
        "client = CurrentNotebookClient()\n"
        "assert extract_kernel_id(client.connection_file) == client.kernel_id == client.session.kernel.id\n"
        "print(client.session.path, client.get_notebook_contents()['content']['cells'][0]['source'])"
    )
    assert kernel.run(code) == "a.ipynb find me # 0"


def test_a_kernel_finds_its_server_without_the_variables(jupyter, shared_bucket, open_kernel):
    # As on Windows, and with kernels that are started on other ways.
    jupyter.save("a.ipynb", notebook("x"))
    code = f"import os; del os.environ['JPY_PARENT_PID'], os.environ['JPY_SESSION_NAME']; os.chdir('/')\n{PUBLISH}"
    assert open_kernel("a.ipynb").run(code) == f"s3://{shared_bucket.name}/published/a.ipynb"


def test_a_console_publishes_only_what_it_names(jupyter, shared_bucket, open_kernel):
    jupyter.save("a.ipynb", notebook("x"))
    kernel = open_kernel("console-1", kind="console")
    told = kernel.run(PUBLISH)
    assert "runs in a console" in told
    assert jupyter.token not in told
    assert (
        kernel.run(PUBLISH.replace("publish()", "publish('a.ipynb')")) == f"s3://{shared_bucket.name}/published/a.ipynb"
    )


def test_a_script_has_no_notebook_of_its_own(jupyter):
    with pytest.raises(JupyterServerError, match="does not run in a notebook") as caught:
        client_of(jupyter).publish()
    assert "path" in caught.value.hint


def test_a_notebook_client_tells_what_a_server_has_open(jupyter, open_kernel):
    jupyter.save("a.ipynb", notebook("x"))
    kernel = open_kernel("a.ipynb")
    client = NotebookClient(client_of(jupyter).server)
    assert client.kernel_ids == [kernel.id]
    assert client.sessions[kernel.id].path == "a.ipynb"
    assert client.kernels[0].name == "python3"
    assert client.get_contents("a.ipynb")["content"]["nbformat"] == 4
    with pytest.raises(JupyterServerError, match="404"):
        client.get_contents("nowhere.ipynb")
    with pytest.raises(JupyterServerError):
        _ = CurrentNotebookClient(client.server).session


# -- exploring ---------------------------------------------------------------------------------------------------------


def explore(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ci.explore", *arguments],
        cwd=Path(__file__).parent.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_endpoints_are_explored_and_nothing_is_left_behind(jupyter_alone, bucket, tmp_path):
    url = f"http://127.0.0.1:{jupyter_alone.port}{jupyter_alone.base_url}"
    stranger = CommandLine(tmp_path / "stranger").environment
    ran = explore("--url", url, "--token", jupyter_alone.token, environment=stranger)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for told in ("PUT", "api/bookstore/publish", "bookstore/clone", "<- 200", "<- 400", "<- 422", "Authorization: ***"):
        assert told in ran.stdout
    assert jupyter_alone.token not in ran.stdout + ran.stderr
    assert list(jupyter_alone.root.glob("*.ipynb")) == []
    assert list(client_of(jupyter_alone).published()) == []
    assert any(key.startswith("published/") for key in bucket.keys())  # noqa: SIM118 - no mapping


def test_exploring_a_server_that_refuses_tells_so(jupyter, tmp_path):
    url = f"http://127.0.0.1:{jupyter.port}{jupyter.base_url}"
    ran = explore("--url", url, "--token", "a-wrong-token", environment=CommandLine(tmp_path / "stranger").environment)
    assert ran.returncode == 1
    assert "<- 403" in ran.stdout
    assert "a-wrong-token" not in ran.stdout + ran.stderr
