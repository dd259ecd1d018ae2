"""The records of running servers, kernels and sessions, and where this code runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from bookstore.client.nb_client import (
    CurrentNotebookClient,
    KernelInfo,
    LiveNotebookRecord,
    NotebookClient,
    NotebookClientCollection,
    NotebookSession,
    current_kernel_id,
    extract_kernel_id,
    find_connection_file,
    server_of_this_kernel,
)
from bookstore.errors import InvalidRequest
from bookstore.jupyter_servers import JupyterServer, JupyterServerError

KERNEL = "f92b7c8b-0858-4d10-903c-b0631540fb36"
TOKEN = "a-secret-token"

RECORD = {
    "base_url": "/user/ada/",
    "hostname": "localhost",
    "password": False,
    "pid": 4242,
    "port": 8888,
    "root_dir": "/home/ada/work",
    "secure": False,
    "sock": "",
    "token": TOKEN,
    "url": "http://localhost:8888/user/ada/",
    "version": "2.21.0",
    "of_tomorrow": [1],
}

SESSION = {
    "id": "68d9c58f-c57d-4133-8b41-5ec2731b268d",
    "path": "folder/a.ipynb",
    "name": "a.ipynb",
    "type": "notebook",
    "kernel": {
        "id": KERNEL,
        "name": "python3",
        "last_activity": "2026-01-01T00:00:00Z",
        "execution_state": "busy",
        "connections": 2,
        "of_tomorrow": 1,
    },
    "notebook": {"path": "folder/a.ipynb", "name": "a.ipynb"},
}


@pytest.fixture
def no_kernel(monkeypatch):
    """As a plain script is started."""
    for name in ("JPY_PARENT_PID", "JPY_SESSION_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "ipykernel.kernelapp", raising=False)
    monkeypatch.setattr(sys, "argv", ["script.py"])
    return monkeypatch


@pytest.mark.parametrize(
    "file",
    [
        f"/run/jupyter/kernel-{KERNEL}.json",
        f"kernel-{KERNEL}.json",
        f"C:\\Users\\ada\\kernel-{KERNEL}.json",
        f"/a/kernel-x.json/kernel-{KERNEL}.json",
    ],
)
def test_the_kernel_id_is_in_the_name_of_the_connection_file(file):
    assert extract_kernel_id(file) == KERNEL


@pytest.mark.parametrize(
    "file", ["", "/run/jupyter/jpserver-1.json", "kernel-.json", "/kernel-a.json/other", "mykernel-a.json"]
)
def test_other_files_have_no_kernel_id(file):
    with pytest.raises(InvalidRequest, match="no connection file"):
        extract_kernel_id(file)


def test_a_record_keeps_fields_that_are_not_known():
    record = LiveNotebookRecord(**RECORD)
    assert (record.root_dir, record.notebook_dir) == ("/home/ada/work", "/home/ada/work")
    assert (record.pid, record.port, record.secure, record.url) == (4242, 8888, False, RECORD["url"])
    assert (record.version, record.of_tomorrow) == ("2.21.0", [1])
    assert record.extra == {"sock": "", "version": "2.21.0", "of_tomorrow": [1]}
    assert record.model == {**RECORD, "notebook_dir": "/home/ada/work"}
    with pytest.raises(AttributeError, match="no field 'nonsense'"):
        _ = record.nonsense


def test_a_record_of_an_older_server_names_its_directory_otherwise():
    old = {name: value for name, value in RECORD.items() if name != "root_dir"}
    assert LiveNotebookRecord(**old, notebook_dir="/work").root_dir == "/work"


def test_no_token_shows_in_a_repr():
    record = LiveNotebookRecord(**RECORD)
    client = NotebookClient(record)
    for thing in (record, client, client.server, JupyterServer("http://localhost/", TOKEN, info=RECORD)):
        assert TOKEN not in repr(thing)


def test_a_session_holds_its_kernel_and_what_else_the_server_tells():
    session = NotebookSession(**SESSION)
    assert (session.path, session.name, session.type, session.id) == (
        "folder/a.ipynb",
        "a.ipynb",
        "notebook",
        SESSION["id"],
    )
    assert session.kernel == KernelInfo(**SESSION["kernel"])
    assert session.kernel.id == KERNEL
    assert session.kernel.of_tomorrow == 1
    assert session.notebook == SESSION["notebook"]
    assert session.model == SESSION
    assert session.kernel != KernelInfo(**{**SESSION["kernel"], "execution_state": "idle"})


def test_a_session_of_collaboration_has_the_path_of_its_file():
    assert NotebookSession(path="RTC:folder/a.ipynb").local_path == "folder/a.ipynb"
    assert NotebookSession(path="folder/RTC:a.ipynb").local_path == "folder/RTC:a.ipynb"


@pytest.mark.parametrize("config", [RECORD, LiveNotebookRecord(**RECORD)], ids=["mapping", "record"])
def test_a_client_knows_its_servers_endpoints(config):
    client = NotebookClient(config)
    assert client.url == "http://localhost:8888/user/ada/"
    assert client.contents_endpoint == "http://localhost:8888/user/ada/api/contents/"
    assert client.sessions_endpoint == "http://localhost:8888/user/ada/api/sessions"
    assert client.kernels_endpoint == "http://localhost:8888/user/ada/api/kernels"
    assert client.token == TOKEN
    assert client.headers == {"Authorization": f"token {TOKEN}"}


def test_a_client_without_a_token_answers_the_question_after_foreign_sites():
    headers = NotebookClient({**RECORD, "token": ""}).headers
    assert headers["Cookie"] == f"_xsrf={headers['X-XSRFToken']}"
    assert len(headers["X-XSRFToken"]) == 32


def test_what_is_no_servers_record_is_told():
    with pytest.raises(JupyterServerError, match="none of a running Jupyter server"):
        NotebookClient({"url": 5, "pid": "x"})


def test_outside_of_kernels_there_is_no_connection_file(no_kernel):
    assert current_kernel_id() is None
    with pytest.raises(JupyterServerError) as caught:
        find_connection_file()
    assert "path" in caught.value.hint
    assert server_of_this_kernel([JupyterServer("http://localhost/", pid=1)]) is None


@pytest.mark.parametrize(
    "arguments",
    [
        ["-f", f"/run/kernel-{KERNEL}.json"],
        [f"--f=/run/kernel-{KERNEL}.json"],
        ["x", f"--connection-file=/run/kernel-{KERNEL}.json"],
    ],
)
def test_kernels_of_other_makers_are_known_by_their_arguments(no_kernel, arguments):
    no_kernel.setattr(sys, "argv", ["kernel", *arguments])
    assert find_connection_file() == f"/run/kernel-{KERNEL}.json"
    assert current_kernel_id() == KERNEL


@pytest.mark.skipif(sys.platform == "win32", reason="the variable holds a handle there")
def test_the_server_that_started_this_kernel_is_known_without_asking(no_kernel):
    servers = [JupyterServer(f"http://localhost:{pid}/", pid=pid) for pid in (100, 200)]
    no_kernel.setenv("JPY_PARENT_PID", "200")
    assert server_of_this_kernel(servers) is None  # a variable of a terminal's or console's
    no_kernel.setenv("JPY_SESSION_NAME", "/home/ada/a.ipynb")
    assert server_of_this_kernel(servers) is servers[1]


def test_without_servers_nothing_is_the_current_one(no_kernel, tmp_path):
    no_kernel.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    assert list(NotebookClientCollection()) == []
    with pytest.raises(JupyterServerError, match="does not run in a kernel"):
        NotebookClientCollection.current_server()
    with pytest.raises(JupyterServerError, match="does not run in a kernel"):
        CurrentNotebookClient()


def test_the_collection_reads_what_servers_wrote(no_kernel, tmp_path):
    no_kernel.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "jpserver-1.json").write_text(json.dumps({**RECORD, "pid": os.getpid()}))
    (tmp_path / "jpserver-2.json").write_text("{torn")
    collection = NotebookClientCollection()
    (client,) = collection
    assert len(collection) == 1
    assert set(collection.notebook_clients) == {client.url}
    assert client.nb_server.of_tomorrow == [1]
    assert client.nb_server.pid == os.getpid()
    assert client.token == TOKEN


def test_importing_the_client_costs_little():
    heavy = {
        "jupyter_server",
        "aiobotocore",
        "botocore",
        "nbformat",
        "tornado",
        "traitlets",
        "asyncio",
        "ipykernel",
        "rich",
    }
    program = "import json, sys; import bookstore.client; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert heavy & set(json.loads(done.stdout)) == set()
