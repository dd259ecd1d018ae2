"""A real Jupyter server as a process of its own, talked to over HTTP, with nothing of the machine's configuration."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

#: Modules that start each application.
APPLICATIONS = {"server": "jupyter_server", "lab": "jupyterlab", "notebook": "notebook"}

#: Seconds that a server may take to answer after its start: the machines are shared.
START_LIMIT = 90.0


@dataclass(frozen=True)
class Response:
    """An answer over HTTP.

    Attributes
    ----------
    status : int
    headers : dict
        Names in lower case.
    body : bytes
    cookies : tuple of str
        What the server asks a browser to keep, as the headers ``Set-Cookie`` have it.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    cookies: tuple[str, ...] = ()

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class JupyterProcess:
    """One Jupyter server.

    Parameters
    ----------
    home : Path
        Everything of the server lives below it; a second process over the same home goes on where the first ended.
    application : str
        ``server``, ``lab`` or ``notebook``.
    environment : Mapping, optional
        Beside what keeps the machine's own configuration away.
    config : Mapping of str to str, optional
        Configuration files by name, such as ``jupyter_server_config.py``.
    arguments : sequence of str, optional
    base_url : str
    enabled : bool
        Whether the server extension is enabled by a configuration file in the home.
    is_alone : bool
        Whether a ``server`` has no extension but bookstore's; the others that are installed would make up a third of
        its start.
    python : str
        The interpreter.
    """

    def __init__(
        self,
        home: Path,
        *,
        application: str = "server",
        environment: Mapping[str, str] | None = None,
        config: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        base_url: str = "/",
        enabled: bool = True,
        is_alone: bool = True,
        python: str = sys.executable,
    ) -> None:
        self.home = home
        self.root = home / "root"
        self.data = home / "data"
        self.token = "secret-token-of-the-test"  # noqa: S105 - no secret
        self.base_url = base_url
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._application = application
        self._arguments = list(arguments)
        self._python = python
        self._log: IO[bytes] | None = None
        settings = home / "config"
        for directory in (self.root, self.data, settings / "jupyter_server_config.d", home / "runtime"):
            directory.mkdir(parents=True, exist_ok=True)
        others = self._others() if is_alone and application == "server" else ()
        extensions = {**dict.fromkeys(others, False), "bookstore": enabled}
        told = {"ServerApp": {"jpserver_extensions": extensions}}
        (settings / "jupyter_server_config.d" / "bookstore.json").write_text(json.dumps(told))
        for name, text in (config or {}).items():
            (settings / name).write_text(text)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "JPYNB_", "AWS_", "BOOKSTORE_"))}
        self.environment = {
            **kept,
            "JUPYTER_CONFIG_DIR": str(settings),
            "JUPYTER_DATA_DIR": str(self.data),
            "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
            # Otherwise the environment's own files, which enable installed extensions, outrank those of the home.
            "JUPYTER_PREFER_ENV_PATH": "0",
            "AWS_EC2_METADATA_DISABLED": "true",
            "PYTHONUNBUFFERED": "1",
            **(environment or {}),
        }

    def _others(self) -> list[str]:
        """The extensions that the interpreter's environment enables."""
        folder = Path(self._python).parent.parent / "etc" / "jupyter" / "jupyter_server_config.d"
        told = [json.loads(file.read_bytes()) for file in folder.glob("*.json")]
        return [name for one in told for name in one.get("ServerApp", {}).get("jpserver_extensions", {})]

    # -- life ------------------------------------------------------------------------------------------------------

    @property
    def log(self) -> Path:
        """What the server has written, over all its starts."""
        return self.home / "jupyter.log"

    def start(self) -> JupyterProcess:
        """Start and wait until it answers."""
        for _ in range(5):
            self.port = _free_port()
            self._launch()
            if self._wait_until_it_answers():
                return self
            self.kill()
        raise RuntimeError(f"Jupyter did not start:\n{self.last_words()}")

    def _launch(self) -> None:
        command = [
            self._python,
            "-m",
            APPLICATIONS[self._application],
            "--no-browser",
            "--allow-root",
            f"--ServerApp.port={self.port}",
            "--ServerApp.port_retries=0",
            f"--ServerApp.root_dir={self.root}",
            f"--ServerApp.base_url={self.base_url}",
            f"--IdentityProvider.token={self.token}",
            *self._arguments,
        ]
        self._log = self.log.open("ab")
        self.process = subprocess.Popen(  # noqa: S603 - our own server
            command,
            env=self.environment,
            cwd=self.root,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )

    def _wait_until_it_answers(self) -> bool:
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            assert self.process is not None  # noqa: S101 - launched just before
            if self.process.poll() is not None:
                return False
            try:
                if self.request("GET", "/api/status").status == 200:
                    return True
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.05)
        return False

    def terminate(self, signal_number: int = signal.SIGTERM) -> None:
        """Ask the server to end, without waiting."""
        if self.process is not None:
            self.process.send_signal(signal_number)

    def wait(self, timeout: float = 60.0) -> int:
        """Wait until the server has ended; its exit status."""
        assert self.process is not None  # noqa: S101 - asked for after a start only
        status = self.process.wait(timeout)
        self._close_log()
        return status

    def stop(self) -> int:
        """End the server in good order."""
        if self.process is None or self.process.poll() is not None:
            self._close_log()
            return 0
        self.terminate()
        return self.wait()

    def kill(self) -> None:
        """End the server with SIGKILL."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._close_log()

    def _close_log(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None

    def __enter__(self) -> JupyterProcess:  # noqa: PYI034 - typing.Self is younger than Python 3.10
        return self if self.process is not None else self.start()

    def __exit__(self, *exc: object) -> None:
        try:
            self.stop()
        finally:
            self.kill()

    def last_words(self) -> str:
        """The end of the log."""
        return self.log.read_text(errors="replace")[-6000:] if self.log.exists() else "(no log)"

    # -- talk ------------------------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        data: bytes | None = None,
        headers: Mapping[str, str | None] | None = None,
        timeout: float = 120.0,
    ) -> Response:
        """Make one request below the base URL.

        Parameters
        ----------
        method, path : str
        body : optional
            Goes as JSON.
        data : bytes, optional
            Goes as it is, instead.
        headers : Mapping, optional
            Beside the token and the content's type, or instead of them; None leaves one out.
        timeout : float
            Seconds.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            if body is not None:
                data = json.dumps(body).encode()
            sent = {"Authorization": f"token {self.token}", "Content-Type": "application/json", **(headers or {})}
            given = {name: value for name, value in sent.items() if value is not None}
            connection.request(method, self.base_url.rstrip("/") + path, data, given)
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return Response(answer.status, told, answer.read(), tuple(answer.headers.get_all("Set-Cookie") or ()))
        finally:
            connection.close()

    def browser(self) -> Browser:
        """Somebody who logs in with a browser."""
        return Browser(self)

    def ok(self, method: str, path: str, body: object = None) -> Any:
        """Make one request that must succeed; the answer as JSON."""
        answer = self.request(method, path, body)
        if not 200 <= answer.status < 300:
            raise AssertionError(f"{method} {path}: {answer.status} {answer.body[:2000]!r}\n{self.last_words()}")
        return json.loads(answer.body) if answer.body else None

    def save(self, path: str, content: Mapping[str, Any]) -> Any:
        """Save a notebook as JupyterLab does."""
        return self.ok("PUT", contents_url(path), {"type": "notebook", "format": "json", "content": content})

    def upload(self, path: str, data: bytes) -> Any:
        """Upload a file as JupyterLab does."""
        text = base64.b64encode(data).decode()
        return self.ok("PUT", contents_url(path), {"type": "file", "format": "base64", "content": text})

    def save_all(self, saves: Sequence[tuple[str, Mapping[str, Any]]], workers: int = 20) -> None:
        """Save at the same time."""
        with ThreadPoolExecutor(workers) as pool:
            for future in [pool.submit(self.save, path, content) for path, content in saves]:
                future.result()

    def on_disk(self, path: str) -> bytes:
        """A file's bytes."""
        return (self.root / path).read_bytes()

    def status(self) -> dict[str, Any]:
        """The archive's state."""
        document: dict[str, Any] = self.ok("GET", "/api/bookstore")["archive"]
        return document

    def wait_for_status(self, holds: Callable[[dict[str, Any]], object], timeout: float = 60.0) -> dict[str, Any]:
        """Wait until something holds of the archive's state; that state."""
        deadline = time.monotonic() + timeout
        while True:
            status = self.status()
            if holds(status):
                return status
            if time.monotonic() > deadline:
                raise AssertionError(f"not reached: {json.dumps(status, indent=1)}\n{self.last_words()}")
            time.sleep(0.05)

    def flush(self, timeout: float = 60.0) -> dict[str, Any]:
        """Ship what waits; the archive's state after it."""
        answer: dict[str, Any] = self.ok("POST", "/api/bookstore/flush", {"timeout": timeout})
        if answer["remaining"]:
            raise AssertionError(f"still waiting: {json.dumps(answer, indent=1)}\n{self.last_words()}")
        status: dict[str, Any] = answer["archive"]
        return status


class Browser:
    """Somebody who has logged in: sends cookies and, with every request that changes something, the XSRF header.

    Parameters
    ----------
    jupyter : JupyterProcess
    """

    def __init__(self, jupyter: JupyterProcess) -> None:
        self._jupyter = jupyter
        self._cookies: dict[str, str] = {}
        self.request("GET", "/login")  # its form brings the XSRF cookie
        self.request("GET", f"/login?token={jupyter.token}")

    def request(
        self, method: str, path: str, body: object = None, *, data: bytes | None = None, xsrf: bool = True
    ) -> Response:
        """Make one request below the base URL; ``xsrf`` tells whether the header goes with it."""
        headers = {"Authorization": None, "Cookie": "; ".join(f"{n}={v}" for n, v in self._cookies.items()) or None}
        if xsrf and method not in ("GET", "HEAD"):
            headers["X-XSRFToken"] = self._cookies.get("_xsrf")
        answer = self._jupyter.request(method, path, body, data=data, headers=headers)
        for cookie in answer.cookies:
            name, _, value = cookie.partition(";")[0].partition("=")
            self._cookies[name] = value
        return answer


def contents_url(path: str) -> str:
    """The contents API's address of a path."""
    return f"/api/contents/{quote(path)}"


def notebook(text: str = "", *, cells: int = 1, **metadata: Any) -> dict[str, Any]:
    """A valid notebook of format 4.5 that holds a text."""
    return {
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell-{number}",
                "metadata": {},
                "execution_count": None,
                "outputs": [],
                "source": f"{text} # {number}",
            }
            for number in range(cells)
        ],
        "metadata": metadata,
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port
