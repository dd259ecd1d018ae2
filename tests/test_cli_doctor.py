"""``bookstore doctor`` against real stores: each step that can fail, failing."""

from __future__ import annotations

import http.server
import json
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jupyter_core.paths
import pytest

from bookstore.cli.checks import check_interface
from ci.bucket import Bucket
from ci.command_line import CommandLine, Ran

STORE_STEPS = (
    "credentials",
    "reachable",
    "credentials accepted",
    "bucket",
    "clock",
    "write",
    "versioned",
    "read back",
    "history",
    "tags",
    "conditions",
    "checksums",
    "other writers",
)


@pytest.fixture
def cli(tmp_path) -> CommandLine:
    home = CommandLine(tmp_path)
    enabled = tmp_path / "config" / "jupyter_server_config.d" / "bookstore.json"
    enabled.parent.mkdir(parents=True)
    enabled.write_text('{"ServerApp": {"jpserver_extensions": {"bookstore": true}}}')
    return home


def examine(cli: CommandLine, bucket: Bucket | None, *arguments: str, **environment: str) -> tuple[dict[str, str], Ran]:
    """Run the doctor; the state of each step."""
    ran = cli.run("doctor", "--json", *arguments, **{**(bucket.environment if bucket else {}), **environment})
    assert "Traceback" not in ran.all
    if bucket is not None:
        assert bucket.server.secret_access_key not in ran.all
    document = ran.json()
    states: dict[str, str] = {}
    for finding in document["findings"]:
        assert finding["message"]
        if finding["state"] in ("failed", "warning"):
            assert finding["hint"], finding
        if states.get(finding["step"]) != "failed":
            states[finding["step"]] = finding["state"]
    assert ran.code == ("failed" in states.values())
    assert document["ok"] is (ran.code == 0)
    return states, ran


def test_all_is_well_with_a_good_store(cli, durable_bucket):
    states, ran = examine(cli, durable_bucket)
    disk = states.pop("outbox: disk")
    assert disk in ("ok", "warning")  # the test's own directory may be on an overlay
    assert states.pop("interface") in ("ok", "warning")  # bookstore may not be installed from a wheel
    assert set(states.values()) == {"ok"}, ran.out
    assert tuple(step for step in states if step in STORE_STEPS) == STORE_STEPS
    people = cli.run("doctor", **durable_bucket.environment)
    assert people.code == 0
    assert "workspace/.bookstore/doctor" in people.out
    assert len(durable_bucket.versions("workspace/.bookstore/doctor")) >= 2, "nothing is deleted"


@pytest.mark.parametrize("is_there", [True, False])
def test_tells_whether_the_interface_is_where_jupyter_looks(tmp_path, monkeypatch, is_there):
    monkeypatch.setattr(jupyter_core.paths, "jupyter_path", lambda *inside: [str(tmp_path.joinpath(*inside))])
    folder = tmp_path / "labextensions" / "jupyterlab-bookstore"
    if is_there:
        folder.mkdir(parents=True)
        (folder / "package.json").write_text("{}")
    finding = check_interface()
    assert finding.state == ("ok" if is_there else "warning")
    assert (str(folder) in finding.message) is is_there
    assert bool(finding.hint) is not is_there


def test_writes_nothing_if_told_so(cli, bucket):
    states, _ = examine(cli, bucket, "--no-write")
    assert states["versioned"] == "ok"
    assert {states[step] for step in ("write", "read back", "history", "tags", "conditions", "checksums")} == {
        "skipped"
    }
    assert bucket.versions("workspace/.bookstore/doctor") == []


def test_no_bucket_configured(cli):
    states, ran = examine(cli, None)
    assert states["settings"] == "failed"
    assert {states[step] for step in STORE_STEPS} == {"skipped"}
    assert states["outbox"] == "ok"
    assert "JPYNB_S3_BUCKET" in ran.out


def test_missing_bucket(cli, moto):
    states, ran = examine(cli, Bucket(moto, "not-there"))
    (found,) = [finding for finding in ran.json()["findings"] if finding["step"] == "bucket"]
    assert f"aws --endpoint-url {moto.endpoint_url} s3api create-bucket --bucket not-there && aws" in found["hint"]
    assert states["bucket"] == "failed"
    assert states["credentials accepted"] == "ok"
    assert {states[step] for step in STORE_STEPS[5:]} == {"skipped"}


def test_unversioned_bucket(cli, moto):
    bucket = Bucket(moto, moto.create_bucket("doctor-unversioned", versioned=False))
    states, ran = examine(cli, bucket)
    assert (states["write"], states["versioned"], states["history"]) == ("ok", "failed", "skipped")
    (versioned,) = [finding for finding in ran.json()["findings"] if finding["step"] == "versioned"]
    assert versioned["hint"] == (
        f"aws --endpoint-url {moto.endpoint_url} s3api put-bucket-versioning --bucket doctor-unversioned "
        "--versioning-configuration Status=Enabled"
    )
    allowed, _ = examine(cli, bucket, "--BookstoreSettings.allow_unversioned=True")
    assert allowed["versioned"] == "warning"


def test_suspended_versioning(cli, moto):
    bucket = Bucket(moto, moto.create_bucket("doctor-suspended"))
    moto.set_versioning(bucket.name, "Suspended")
    states, _ = examine(cli, bucket)
    assert states["versioned"] == "failed"


def test_wrong_secret(cli, durable_bucket):
    states, ran = examine(cli, durable_bucket, JPYNB_S3_SECRET_ACCESS_KEY="another-secret-than-it-is")
    assert states["credentials accepted"] == "failed"
    assert states["reachable"] == "ok"
    assert states["clock"] == "ok", "the time is told all the same, since a wrong one looks like this"
    assert {states[step] for step in STORE_STEPS[5:]} == {"skipped"}
    assert "another-secret-than-it-is" not in ran.all


def test_nothing_listens(cli, bucket):
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        states, _ = examine(cli, bucket, JPYNB_S3_ENDPOINT_URL=url)
    assert states["reachable"] == "failed"
    assert {states[step] for step in STORE_STEPS[2:]} == {"skipped"}


class _Stranger(http.server.BaseHTTPRequestHandler):
    """Answers as a web page's server does that knows no such page."""

    status = 404

    def _answer(self) -> None:
        page = b"<html><body>There is no such page.</body></html>"
        self.send_response(self.status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page)

    do_GET = do_PUT = do_HEAD = do_POST = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
def test_what_is_no_s3_service_is_told(cli, bucket, status):
    with serving(type("Handler", (_Stranger,), {"status": status})) as url:
        states, ran = examine(cli, bucket, JPYNB_S3_ENDPOINT_URL=url)
    assert f"what answers at {url} is no S3 service: status {status}, text/html" in ran.out
    assert states["reachable"] == "failed"
    assert {states[step] for step in STORE_STEPS[2:]} == {"skipped"}


def test_a_jupyter_server_is_no_s3_service(cli, bucket, start_jupyter):
    jupyter = start_jupyter()
    states, ran = examine(cli, bucket, JPYNB_S3_ENDPOINT_URL=f"http://127.0.0.1:{jupyter.port}")
    assert states["reachable"] == "failed"
    assert "is no S3 service" in ran.out
    assert "TornadoServer" in ran.out


def test_no_credentials(cli, bucket):
    environment = {name: value for name, value in bucket.environment.items() if "KEY" not in name}
    ran = cli.run("doctor", "--json", **environment)
    states = {finding["step"]: finding["state"] for finding in ran.json()["findings"]}
    assert states["credentials"] == "failed"
    assert {states[step] for step in STORE_STEPS[1:]} == {"skipped"}


def test_tells_where_the_sdk_found_credentials_and_not_what(cli, bucket):
    environment = {name: value for name, value in bucket.environment.items() if "KEY" not in name}
    environment |= {"AWS_ACCESS_KEY_ID": "AKIAOFTHETEST", "AWS_SECRET_ACCESS_KEY": "secret-of-the-chain"}
    ran = cli.run("doctor", "--json", **environment)
    (found,) = [f for f in ran.json()["findings"] if f["step"] == "credentials"]
    assert found["state"] == "ok"
    assert "AWS_ACCESS_KEY_ID" in found["message"]
    assert "AKIAOFTHETEST" not in ran.all
    assert "secret-of-the-chain" not in ran.all


def test_names_the_file_in_which_the_sdk_found_credentials_and_not_what_it_holds(cli, bucket):
    environment = {name: value for name, value in bucket.environment.items() if "KEY" not in name}
    file = cli.home / "keys of mine"
    file.write_text("[default]\naws_access_key_id = AKIAOFTHETEST\naws_secret_access_key = secret-of-the-file\n")
    for variable, what in (
        ("AWS_SHARED_CREDENTIALS_FILE", "the shared credentials file"),
        ("AWS_CONFIG_FILE", "the SDK's configuration file"),
    ):
        ran = cli.run("doctor", "--json", **environment, **{variable: str(file)})
        (found,) = [f for f in ran.json()["findings"] if f["step"] == "credentials"]
        assert found["message"] == f"found by the SDK: {what} ({file})"
        assert "AKIAOFTHETEST" not in ran.all
        assert "secret-of-the-file" not in ran.all


class _Altering(http.server.BaseHTTPRequestHandler):
    """Passes requests on to a store, and does one thing wrong."""

    protocol_version = "HTTP/1.1"
    upstream = ""
    fault = ""

    def _pass_on(self) -> None:
        import http.client

        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        if self.fault == "conditions":
            headers = {name: value for name, value in headers.items() if not name.lower().startswith("if-")}
        if self.fault == "tags" and "tagging" in self.path:
            self.send_response(501)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        connection = http.client.HTTPConnection(self.upstream)
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        if self.fault == "bytes" and self.command == "GET" and "/doctor?versionId" in self.path:
            data = data.replace(b"doctor", b"DOCTOR")
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() == "date" and self.fault == "clock":
                value = "Wed, 01 Jan 2020 00:00:00 GMT"
            if name.lower() not in ("transfer-encoding", "connection"):
                self.send_header(name, value)
        if answer.getheader("Content-Length") is None:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_PUT = do_HEAD = do_POST = _pass_on  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def faulty(url: str, fault: str) -> Iterator[str]:
    handler = type("Handler", (_Altering,), {"upstream": url.removeprefix("http://"), "fault": fault})
    with serving(handler) as own:
        yield own


@contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("fault", "step", "state"),
    [
        ("bytes", "read back", "failed"),
        ("conditions", "conditions", "warning"),
        ("tags", "tags", "warning"),
        ("clock", "clock", "warning"),
    ],
)
def test_a_store_that_does_one_thing_wrong(cli, bucket, fault, step, state):
    with faulty(bucket.server.endpoint_url, fault) as url:
        states, ran = examine(cli, bucket, JPYNB_S3_ENDPOINT_URL=url)
    assert states[step] == state, ran.out
    assert [s for s in states if states[s] == "failed"] == ([step] if state == "failed" else [])


def test_a_store_that_does_not_check_sha256_is_told(cli, bucket):
    states, _ = examine(cli, bucket)
    assert states["checksums"] == "warning", "moto takes bytes that do not match their SHA-256"


def test_other_writers_of_the_prefix_are_told(cli, bucket):
    with bucket.server.client() as client:
        client.put_object(Bucket=bucket.name, Key="workspace/theirs.ipynb", Body=b"{}")
    states, ran = examine(cli, bucket)
    assert states["other writers"] == "warning"
    assert "a program other than bookstore (1)" in ran.out


def test_extension_that_is_not_enabled(cli, bucket):
    # Where bookstore is installed, its own data file enables it; a user's file may still say no.
    disabled = {"ServerApp": {"jpserver_extensions": {"bookstore": False}}}
    (cli.home / "config" / "jupyter_server_config.d" / "bookstore.json").write_text(json.dumps(disabled))
    states, _ = examine(cli, bucket)
    assert states["server extension"] == "failed"
    (cli.home / "config" / "jupyter_server_config.py").write_text(
        "c.ServerApp.contents_manager_class = 'bookstore.BookstoreContentsArchiver'\n"
    )
    states, _ = examine(cli, bucket)
    assert states["server extension"] == "warning"


def test_outbox_that_cannot_be_made(cli, bucket):
    (cli.home / "file").write_text("")
    states, _ = examine(cli, bucket, f"--BookstoreSettings.outbox_dir={cli.home / 'file' / 'outbox'}")
    assert states["outbox"] == "failed"
    assert states["write"] == "ok", "the store is looked at all the same"


def test_outbox_without_room(cli, bucket):
    states, _ = examine(cli, bucket, f"--BookstoreSettings.outbox_reserve={10**18}")
    assert states["outbox: room"] == "failed"


MEMORY = Path("/dev/shm")  # noqa: S108


@pytest.mark.skipif(not MEMORY.is_dir(), reason="needs a tmpfs")
def test_outbox_in_memory(cli, bucket):
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        states, _ = examine(cli, bucket, f"--BookstoreSettings.outbox_dir={directory}/outbox")
    assert states["outbox: disk"] == "warning"
