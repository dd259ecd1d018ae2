"""The demo's Jupyter: a server with a configuration of its own, so that nothing of the user's is changed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bookstore.errors import BookstoreError
from bookstore.jupyter_servers import JupyterServer, JupyterServerError, ServerUnreachable, ask, running_servers

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11

    from bookstore.cli.demo_layout import Layout
    from bookstore.embedded_s3 import EmbeddedS3

App = Literal["lab", "notebook", "server"]

#: The module that starts each application, and the page that it shows.
APPS: Mapping[App, tuple[str, str]] = {
    "lab": ("jupyterlab", "lab"),
    "notebook": ("notebook", "tree"),
    "server": ("jupyter_server", ""),
}

#: Seconds that Jupyter may take until it answers, and until it has stopped.
START_TIMEOUT = 60.0
STOP_TIMEOUT = 30.0

#: Lines of its log that are shown when it fails.
LOG_LINES = 20

#: What the user or the machine may have set, and the demo must not take over.
_FOREIGN = ("JPYNB_", "AWS_", "JUPYTERHUB_", "JUPYTER_CONFIG", "JUPYTER_TOKEN", "JUPYTER_NO_CONFIG")


class DemoJupyter:
    """Jupyter in a process of its own, archiving to the demo's bucket.

    Parameters
    ----------
    layout : Layout
    s3 : EmbeddedS3
        Running.
    app : str
        ``lab``, ``notebook`` or ``server``.
    open_browser : bool
    port : int or None
        None lets Jupyter choose.
    runtime_dir : Path
        Where servers are announced; in the user's own, ``bookstore status`` finds this one.
    """

    def __init__(
        self, layout: Layout, s3: EmbeddedS3, *, app: App, open_browser: bool, port: int | None, runtime_dir: Path
    ) -> None:
        self._layout = layout
        self._s3 = s3
        self._app = app
        self._open_browser = open_browser
        self._port = port
        self._runtime_dir = runtime_dir
        self._token = secrets.token_hex(24)
        self._process: subprocess.Popen[bytes] | None = None
        self._server: JupyterServer | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def server(self) -> JupyterServer:
        """The server, once it is started."""
        assert self._server is not None  # noqa: S101 - callers have started it
        return self._server

    @property
    def browser_url(self) -> str:
        """The address for the browser, with the token."""
        return f"{self.server.url}{APPS[self._app][1]}?token={self._token}"

    def start(self) -> None:
        """Start Jupyter and return when it answers.

        Raises
        ------
        BookstoreError
            It ended, or gave no answer in time; the message ends with its log's.
        """
        with self._layout.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, with arguments of ours
                self._command(),
                cwd=self._layout.notebooks,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the demo, which stops Jupyter first and the S3 server after it.
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )
        try:
            self._server = self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise

    def wait(self, seconds: float) -> int | None:
        """Wait until Jupyter ends by itself; its exit code, or None where it still runs after that time."""
        assert self._process is not None  # noqa: S101 - callers have started it
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> None:
        """Ask Jupyter to stop, which ships what waits, and wait for it; may be called twice."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            if sys.platform == "win32" and self._server is not None:
                # A signal would end it at once there.
                with contextlib.suppress(JupyterServerError):
                    ask(self._server, "POST", "api/shutdown", timeout=STOP_TIMEOUT)
            else:
                process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def end_of_log(self) -> str:
        """The last lines that Jupyter wrote, without secrets."""
        try:
            text = self._layout.log.read_text(encoding="utf-8", errors="replace")
        except OSError as e:
            return f"({self._layout.log} cannot be read: {e.strerror or e})"
        for secret in (self._token, self._s3.secret_access_key):
            text = text.replace(secret, "***")
        return "\n".join(text.splitlines()[-LOG_LINES:]) or "(nothing)"

    def _command(self) -> list[str]:
        command = [
            sys.executable,
            "-m",
            APPS[self._app][0],
            "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.root_dir={self._layout.notebooks}",
            f"--ServerApp.open_browser={self._open_browser}",
        ]
        if self._port is not None:
            command += [f"--ServerApp.port={self._port}", "--ServerApp.port_retries=0"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--allow-root")
        return command

    def environment(self) -> dict[str, str]:
        """The demo's environment: that of the user without what concerns Jupyter and S3, and with its own."""
        inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith(_FOREIGN)}
        # A proxy for the world outside must not be asked for this machine.
        no_proxy = ",".join(
            filter(None, (inherited.get("NO_PROXY") or inherited.get("no_proxy"), "127.0.0.1,localhost"))
        )
        return {
            **inherited,
            "NO_PROXY": no_proxy,
            "no_proxy": no_proxy,
            "JUPYTER_CONFIG_PATH": str(self._layout.config),
            "JUPYTER_CONFIG_DIR": str(self._layout.config),
            "JUPYTER_DATA_DIR": str(self._layout.data),
            "JUPYTER_RUNTIME_DIR": str(self._runtime_dir),
            "JUPYTER_TOKEN": self._token,
            # The user's own files for the SDK may name what is not there.
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": str(self._layout.credentials),
            "AWS_EC2_METADATA_DISABLED": "true",
            # JupyterLab's language servers ask npm where it keeps its modules; npm would log that in the user's home.
            "npm_config_logs_max": "0",
        }

    def _wait_until_it_answers(self) -> JupyterServer:
        process = self._process
        assert process is not None  # noqa: S101 - called by start
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise self._failed(f"Jupyter ended with {process.returncode} before it answered")
            for server in running_servers(self._runtime_dir, {}):
                # On Windows a virtual environment's interpreter is the parent of the one that runs.
                if server.pid == process.pid or (server.token == self._token and self._token):
                    found = JupyterServer(server.url, self._token, self._layout.notebooks, server.pid, server.sock)
                    with contextlib.suppress(ServerUnreachable):
                        ask(found, "GET", "api/bookstore", timeout=5)
                        return found
            time.sleep(0.05)
        raise self._failed(f"Jupyter gave no answer within {START_TIMEOUT:.0f} s")

    def _failed(self, what: str) -> BookstoreError:
        return BookstoreError(f"{what}. The end of its log:\n{self.end_of_log()}", f"The whole log: {self._layout.log}")


def _end_with_parent() -> None:
    """Have Linux ask this process to end when the demo is killed, so that no server without a bucket is left."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
