"""``bookstore status`` and ``bookstore flush`` with servers that live, servers that do not, and none."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bookstore.cli.demo_layout import Layout
from bookstore.jupyter_servers import JupyterServer, running_servers, server_at, servers_for
from ci.bucket import Bucket
from ci.command_line import CommandLine, Ran
from ci.jupyter_process import JupyterProcess, notebook

#: A server that waits must be told to wait for a bucket that is not there.
MISSING = "not-yet-there"


@pytest.fixture
def cli(tmp_path) -> CommandLine:
    return CommandLine(tmp_path / "jupyter")


def test_tells_the_state_of_the_server_that_holds_the_current_directory(start_jupyter, bucket, cli):
    jupyter = start_jupyter(bucket, base_url="/user/ada/")
    jupyter.save("a.ipynb", notebook("x"))
    below = jupyter.root / "below"
    below.mkdir()
    assert cli.run("flush", cwd=below).code == 0
    ran = cli.run("status", "--json", cwd=below)
    assert ran.code == 0
    document = ran.json()
    (server,) = document["servers"]
    assert server["url"].endswith(f":{jupyter.port}/user/ada/")
    assert server["holds_directory"] is True
    assert server["bookstore"]["archive"]["archived"] == 1
    assert document["ok"] is True
    people = cli.run("status", "--root", str(jupyter.root), cwd=cli.home)
    assert people.code == 0
    assert f"s3://{bucket.name}/workspace" in people.out
    assert "a.ipynb" in people.out
    for text in (ran.all, people.all):
        assert jupyter.token not in text
        assert bucket.server.secret_access_key not in text


def test_saves_that_wait_are_told_and_flushed_once_the_bucket_is_there(start_jupyter, moto, cli):
    late = Bucket(moto, "late-bucket")
    jupyter = start_jupyter(late)
    jupyter.save("a.ipynb", notebook("x"))
    jupyter.wait_for_status(lambda status: status["problems"])
    ran = cli.run("status")
    assert ran.code == 1
    assert "trouble" in ran.out
    assert "Create the bucket" in ran.out
    ran = cli.run("flush", "--timeout", "1", "--json")
    assert ran.code == 1
    assert ran.json()["remaining"] == 1
    moto.create_bucket(late.name)
    ran = cli.run("flush")
    assert ran.code == 0
    assert late.versions("workspace/a.ipynb") == [jupyter.on_disk("a.ipynb")]


def test_several_servers_are_listed_and_a_flush_wants_one(start_jupyter, bucket, cli, tmp_path):
    first = start_jupyter(bucket)
    runtime = str(cli.home / "runtime")
    second = JupyterProcess(tmp_path / "second", environment={**bucket.environment, "JUPYTER_RUNTIME_DIR": runtime})
    other_root = second.root
    with second.start():
        ran = cli.run("status", "--json", cwd=tmp_path)
        assert [server["holds_directory"] for server in ran.json()["servers"]] == [False, False]
        people = cli.run("status", cwd=tmp_path).out
        assert str(other_root) in people
        assert "More of one: bookstore status --root" in people
        ran = cli.run("flush", cwd=tmp_path)
        assert ran.code == 1
        assert str(first.root) in ran.err
        assert "--root" in ran.err
        assert cli.run("flush", "--root", str(other_root), cwd=tmp_path).code == 0
        assert cli.run("flush", "--url", f"http://localhost:{second.port}/lab?x=1", cwd=tmp_path).code == 0


def test_two_servers_of_one_root_are_told_apart_by_their_address(start_jupyter, bucket, cli):
    start_jupyter(bucket)
    with JupyterProcess(cli.home, environment=bucket.environment).start() as second:
        ran = cli.run("flush")
        assert ran.code == 1
        assert "--url" in ran.err
        assert f":{second.port}/" in ran.err
        assert len(cli.run("status", "--json").json()["servers"]) == 2
        assert "More of one: bookstore status --url" in cli.run("status").out


def test_a_server_at_an_address_with_a_token(start_jupyter, bucket, cli, tmp_path):
    jupyter = start_jupyter(bucket)
    stranger = CommandLine(tmp_path / "stranger")
    url = f"http://127.0.0.1:{jupyter.port}"
    ran = stranger.run("status", "--url", url)
    assert ran.code == 1
    assert "JUPYTER_TOKEN" in ran.out
    assert stranger.run("status", "--url", url, "--token", jupyter.token).code == 0
    assert stranger.run("status", "--url", f"{url}/lab/tree/a.ipynb?token={jupyter.token}").code == 0
    assert stranger.run("flush", "--url", url, JUPYTER_TOKEN=jupyter.token).code == 0
    ran = stranger.run("flush", "--url", url, "--token", "a-wrong-token", "--json")
    assert ran.code == 1
    assert ran.json()["error"]["code"] == "ServerRefused"
    assert "a-wrong-token" not in ran.all


@contextmanager
def raw_server(cli: CommandLine, bucket: Bucket, *arguments: str) -> Iterator[None]:
    """A server that is reached in another way than JupyterProcess does."""
    process = subprocess.Popen(
        [
            sys.executable,
            *("-m", "jupyter_server", "--no-browser", "--allow-root", f"--ServerApp.root_dir={cli.root}", *arguments),
        ],
        env=JupyterProcess(cli.home, environment=bucket.environment).environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def flush_in_time(cli: CommandLine) -> Ran:
    deadline = time.monotonic() + 60
    while (ran := cli.run("flush")).code and time.monotonic() < deadline:
        time.sleep(0.2)
    return ran


def test_a_server_without_authentication_is_flushed(bucket, cli):
    with raw_server(cli, bucket, "--IdentityProvider.token=", "--ServerApp.port=0"):
        ran = flush_in_time(cli)
        assert ran.code == 0, ran.all


@pytest.mark.skipif(sys.platform == "win32", reason="no Unix sockets")
def test_a_server_on_a_unix_socket(bucket, cli):
    # A socket's path is at most 100 characters long.
    with tempfile.TemporaryDirectory() as short, raw_server(cli, bucket, f"--ServerApp.sock={short}/s"):
        ran = flush_in_time(cli)
        assert ran.code == 0, ran.all


def test_a_server_without_bookstore_is_told(start_jupyter, cli):
    start_jupyter(None, enabled=False)
    ran = cli.run("status")
    assert ran.code == 1
    assert "Install bookstore" in ran.out
    ran = cli.run("flush", "--json")
    assert ran.code == 1
    assert ran.json()["error"]["code"] == "BookstoreAbsent"


def test_a_server_without_a_bucket_is_not_fine(start_jupyter, cli):
    start_jupyter(None)
    ran = cli.run("status")
    assert ran.code == 1
    assert "JPYNB_S3_BUCKET" in ran.out


def test_without_a_server_what_waits_on_disk_is_told(start_jupyter, moto, cli):
    ran = cli.run("status")
    assert ran.code == 0
    assert f"Nothing waits in the outbox of the settings in force, {cli.home / 'data'}" in ran.out
    assert "Only there was looked" in ran.out
    jupyter = start_jupyter(Bucket(moto, MISSING))
    jupyter.save("a.ipynb", notebook("x"))
    jupyter.save("a.ipynb", notebook("y"))
    jupyter.kill()
    ran = cli.run("status", "--json")
    assert ran.code == 1
    document = ran.json()
    assert document["servers"] == []
    (owner,) = document["outbox"]["owners"]
    assert (owner["entries"], owner["life"], owner["root_dir"]) == (2, "ended", str(jupyter.root))
    people = cli.run("status")
    assert "2 saves in the outbox of the settings in force" in people.out
    assert "bookstore drain" in people.out
    ran = cli.run("flush")
    assert ran.code == 1
    assert "drain" in ran.err


def test_what_a_stopped_demo_left_is_told_beside_servers_that_hold_another_root(start_jupyter, bucket, cli, tmp_path):
    jupyter = start_jupyter(bucket)
    demo = Layout(cli.home / "data" / "bookstore" / "demo")
    demo.prepare()
    demo.config_file.write_text("")
    refused = demo.outbox / "refused"
    refused.mkdir(parents=True)
    ran = cli.run("status", cwd=tmp_path)
    assert ran.code == 0, "it is about the server that it names"
    assert "None of your servers holds this directory, so nothing saved there is archived now" in ran.out
    ran = cli.run("status", "--root", str(tmp_path), "--json")
    assert (ran.code, ran.json()["ok"]) == (1, False)
    (refused / "00000001-00000001-0.entry").write_bytes(b"")
    ran = cli.run("status", "--root", str(demo.notebooks))
    assert ran.code == 1
    assert str(jupyter.root) in ran.out
    assert f"1 save set aside in {refused}" in ran.out
    assert cli.run("status").code == 0, "the server that holds the directory was asked, and all is well there"


def test_looking_changes_nothing(start_jupyter, moto, cli):
    jupyter = start_jupyter(Bucket(moto, MISSING))
    jupyter.save("a.ipynb", notebook("x"))
    jupyter.kill()

    def everything() -> dict[str, tuple[int, bytes]]:
        files = [p for p in (cli.home / "data").rglob("*") if p.is_file()]
        return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in files}

    before = everything()
    cli.run("status")
    assert everything() == before


def test_finds_the_server_of_jupyterhub_by_what_the_hub_tells(tmp_path):
    environ = {
        "JUPYTERHUB_SERVICE_URL": "http://0.0.0.0:8888/user/ada/",
        "JUPYTERHUB_SERVICE_PREFIX": "/user/ada/",
        "JUPYTERHUB_API_TOKEN": "hub-token",
    }
    (server,) = running_servers(tmp_path, environ)
    assert (server.url, server.token) == ("http://127.0.0.1:8888/user/ada/", "hub-token")
    assert "hub-token" not in repr(server)
    # Somebody else's server must not get the hub's token.
    assert server_at("https://elsewhere.example.org/", "", environ).token == ""


def test_the_deepest_root_holds_a_directory(tmp_path):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    outer_server = JupyterServer("http://localhost:1/", root_dir=tmp_path)
    inner_server = JupyterServer("http://localhost:2/", root_dir=tmp_path / "a")
    elsewhere = JupyterServer("http://localhost:3/", root_dir=tmp_path / "c")
    assert servers_for(inner, [outer_server, inner_server, elsewhere]) == [inner_server]
    assert servers_for(tmp_path, [outer_server, inner_server, elsewhere]) == [outer_server]
