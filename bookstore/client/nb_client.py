"""The notebooks that running Jupyter servers have open, and the one among them that this code runs in."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from bookstore.errors import InvalidRequest
from bookstore.jupyter_servers import (
    JupyterServer,
    JupyterServerError,
    ServerRefused,
    ServerUnreachable,
    ask,
    running_servers,
    server_of,
)

#: Seconds for each server that is asked whether a kernel is its own.
LOOK_TIMEOUT = 5.0

#: The drive under which jupyter-collaboration opens files: it stands before their paths in sessions.
COLLABORATION_DRIVE = "RTC:"

_CONNECTION_FILE = re.compile(r"(?:^|[\\/=])kernel-(?P<id>[^\\/]+)\.json$")

NOT_IN_A_NOTEBOOK = "Give the notebook's path, relative to the server's root directory."


# -- where this code runs ----------------------------------------------------------------------------------------------


def extract_kernel_id(connection_file: str | os.PathLike[str]) -> str:
    """The id of the kernel that a connection file belongs to.

    Parameters
    ----------
    connection_file : str or path
        Such as ``/…/kernel-<id>.json``, with or without directories.

    Raises
    ------
    InvalidRequest
        It is no kernel's.
    """
    found = _CONNECTION_FILE.search(os.fspath(connection_file))
    if found is None:
        raise InvalidRequest(
            f"{str(connection_file)!r} is no connection file of a kernel.", "Its name looks like kernel-<id>.json."
        )
    return found["id"]


def find_connection_file() -> str:
    """The connection file of the kernel that this code runs in.

    Raises
    ------
    JupyterServerError
        This code runs in no kernel.
    """
    # A kernel has ipykernel loaded; it is not imported for this.
    application = getattr(sys.modules.get("ipykernel.kernelapp"), "IPKernelApp", None)
    if application is not None and application.initialized():
        name = str(application.instance().connection_file)
        if _CONNECTION_FILE.search(name):
            return name
    for argument in sys.argv[1:]:  # kernels of other makers: -f FILE, --f=FILE, --connection-file=FILE
        if _CONNECTION_FILE.search(argument):
            return argument.rpartition("=")[2]
    raise JupyterServerError("This code does not run in a notebook's kernel.", NOT_IN_A_NOTEBOOK)


def current_kernel_id() -> str | None:
    """The id of the kernel that this code runs in; None outside of kernels."""
    try:
        return extract_kernel_id(find_connection_file())
    except JupyterServerError:
        return None


# -- what servers tell -------------------------------------------------------------------------------------------------


class _Record:
    """A JSON object of Jupyter's: fields that are known are attributes, and so are the others, kept in ``extra``."""

    def __init__(self, extra: dict[str, Any]) -> None:
        self.extra = extra

    @property
    def model(self) -> dict[str, Any]:
        """The JSON object."""
        known = {name: value for name, value in vars(self).items() if name != "extra"}
        return {**self.extra, **known}

    def __getattr__(self, name: str) -> Any:
        extra = self.__dict__.get("extra", {})
        if name in extra:
            return extra[name]
        raise AttributeError(f"{type(self).__name__} has no field {name!r}.")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Record) and type(self) is type(other) and self.model == other.model

    __hash__ = None  # type: ignore[assignment]  # it holds what changes


class KernelInfo(_Record):
    """A running kernel, as ``/api/kernels`` tells. Fields that are not known are kept, and are attributes too.

    Attributes
    ----------
    id, name : str
    last_activity : str
        ISO 8601.
    execution_state : str
        ``idle``, ``busy``, ``starting``, ….
    connections : int
        Clients that are connected to it.
    model : dict
        The JSON object.
    extra : dict
        The other fields.
    """

    def __init__(
        self,
        id: str,  # noqa: A002 - the name in Jupyter's JSON
        name: str = "",
        last_activity: str = "",
        execution_state: str = "",
        connections: int = 0,
        **extra: Any,
    ) -> None:
        super().__init__(extra)
        self.id = id
        self.name = name
        self.last_activity = last_activity
        self.execution_state = execution_state
        self.connections = connections

    def __repr__(self) -> str:
        return f"KernelInfo(id={self.id!r}, name={self.name!r}, execution_state={self.execution_state!r})"


class NotebookSession(_Record):
    """A document that is open with a kernel, as ``/api/sessions`` tells. Fields that are not known are kept.

    Attributes
    ----------
    path : str
        Of the document, relative to the server's root.
    name : str
        May be empty.
    type : str
        ``notebook``, ``console``, ….
    kernel : KernelInfo
    notebook : dict
        The path and name once more, as older servers tell them.
    model : dict
        The JSON object.
    extra : dict
        The other fields.
    """

    def __init__(
        self,
        path: str,
        name: str = "",
        type: str = "",  # noqa: A002 - the name in Jupyter's JSON
        kernel: KernelInfo | Mapping[str, Any] | None = None,
        notebook: Mapping[str, Any] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(extra)
        self.path = path
        self.name = name
        self.type = type
        self.kernel = kernel if isinstance(kernel, KernelInfo) else KernelInfo(**(kernel or {"id": ""}))
        self.notebook = dict(notebook or {})

    @property
    def model(self) -> dict[str, Any]:
        """The JSON object."""
        return {**super().model, "kernel": self.kernel.model}

    @property
    def local_path(self) -> str:
        """The path that the contents API knows: without the drive of collaboration."""
        return self.path.removeprefix(COLLABORATION_DRIVE)

    def __repr__(self) -> str:
        return f"NotebookSession(path={self.path!r}, type={self.type!r}, kernel={self.kernel!r})"


class LiveNotebookRecord(_Record):
    """What a running server tells of itself in Jupyter's runtime directory.

    Takes the record's fields, in this order or by name. Fields that are not known are kept, and are attributes too.

    Attributes
    ----------
    base_url, hostname : str
    notebook_dir, root_dir : str
        The same directory: older servers call it by the first name.
    password : bool
        Whether one is set.
    pid, port : int
    secure : bool
        Whether it speaks HTTPS.
    token : str
        Not in the repr.
    url : str
    model : dict
        The JSON object, the token included.
    extra : dict
        The other fields.
    """

    def __init__(
        self,
        base_url: str = "/",
        hostname: str = "localhost",
        notebook_dir: str = "",
        password: bool = False,
        pid: int = 0,
        port: int = 0,
        secure: bool = False,
        token: str = "",
        url: str = "",
        **extra: Any,
    ) -> None:
        self.root_dir = str(extra.pop("root_dir", "") or notebook_dir)
        super().__init__(extra)
        self.base_url = base_url
        self.hostname = hostname
        self.notebook_dir = self.root_dir
        self.password = password
        self.pid = pid
        self.port = port
        self.secure = secure
        self.token = token
        self.url = url or f"{'https' if secure else 'http'}://{hostname}:{port}{base_url}"

    @classmethod
    def of(cls, server: JupyterServer) -> LiveNotebookRecord:
        """The record of a server that was found, also of one that wrote none."""
        parts = urlsplit(server.url)
        found = {
            "base_url": parts.path,
            "hostname": parts.hostname or "",
            "root_dir": str(server.root_dir or ""),
            "pid": server.pid or 0,
            "port": parts.port or (443 if parts.scheme == "https" else 80),
            "secure": parts.scheme == "https",
            "url": server.url,
        }
        return cls(**{**found, **server.info, "token": server.token})

    def __repr__(self) -> str:
        return f"LiveNotebookRecord(url={self.url.partition('?')[0]!r}, root_dir={self.root_dir!r}, pid={self.pid})"


# -- asking servers ----------------------------------------------------------------------------------------------------


class NotebookClient:
    """Speaks to one server about its kernels, sessions and files; each property asks anew.

    Parameters
    ----------
    nb_config : JupyterServer, LiveNotebookRecord or mapping
        The server.
    timeout : float
        Seconds without a byte of an answer.

    Attributes
    ----------
    nb_server : LiveNotebookRecord
    server : JupyterServer
    """

    def __init__(
        self, nb_config: JupyterServer | LiveNotebookRecord | Mapping[str, Any], *, timeout: float = 30.0
    ) -> None:
        if isinstance(nb_config, JupyterServer):
            self.server, self.nb_server = nb_config, LiveNotebookRecord.of(nb_config)
        else:
            record = nb_config if isinstance(nb_config, LiveNotebookRecord) else LiveNotebookRecord(**nb_config)
            self.server, self.nb_server = server_of(record.model), record
        self.timeout = timeout

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @property
    def url(self) -> str:
        """The server's address with the base URL, ending in ``/``."""
        return self.server.url

    @property
    def token(self) -> str:
        """The server's token; empty where none is known."""
        return self.server.token

    @property
    def headers(self) -> dict[str, str]:
        """What a request of one's own must carry: the token, or what the server compares against foreign sites."""
        return self.server.headers()

    @property
    def api_url(self) -> str:
        """The address of the server's REST interface."""
        return f"{self.url}api/"

    @property
    def kernels_endpoint(self) -> str:
        """The address of the kernels API."""
        return f"{self.api_url}kernels"

    @property
    def sessions_endpoint(self) -> str:
        """The address of the sessions API."""
        return f"{self.api_url}sessions"

    @property
    def contents_endpoint(self) -> str:
        """The address of the contents API; a path follows, percent-encoded."""
        return f"{self.api_url}contents/"

    def get_kernels(self) -> list[dict[str, Any]]:
        """The running kernels, as the server's JSON."""
        return self._list("api/kernels")

    def get_sessions(self) -> list[dict[str, Any]]:
        """The open sessions, as the server's JSON."""
        return self._list("api/sessions")

    @property
    def kernels(self) -> list[KernelInfo]:
        """The running kernels."""
        return [KernelInfo(**kernel) for kernel in self.get_kernels()]

    @property
    def kernel_ids(self) -> list[str]:
        """The ids of the running kernels."""
        return [kernel.id for kernel in self.kernels]

    @property
    def sessions(self) -> dict[str, NotebookSession]:
        """The open sessions by the ids of their kernels; those without a kernel are left out."""
        found = [NotebookSession(**session) for session in self.get_sessions() if session.get("kernel")]
        return {session.kernel.id: session for session in found}

    def get_contents(self, path: str) -> dict[str, Any]:
        """The contents model of a file.

        Parameters
        ----------
        path : str
            Relative to the server's root.
        """
        answer = ask(self.server, "GET", f"api/contents/{quote(path.strip('/'))}", timeout=self.timeout)
        if not isinstance(answer, dict):
            raise self._nonsense("api/contents")
        return answer

    def _list(self, path: str) -> list[dict[str, Any]]:
        answer = ask(self.server, "GET", path, timeout=self.timeout)
        if not isinstance(answer, list) or not all(isinstance(one, dict) and "id" in one for one in answer):
            raise self._nonsense(path)
        return answer

    def _nonsense(self, path: str) -> JupyterServerError:
        return JupyterServerError(
            f"GET {self.url}{path}: not what Jupyter Server answers.", "Check the address: is it a Jupyter server's?"
        )


class NotebookClientCollection:
    """The user's servers that run on this machine, looked up when it is made.

    Attributes
    ----------
    notebook_clients : dict of str to NotebookClient
        By their addresses.
    """

    def __init__(self) -> None:
        self.notebook_clients = {server.url: NotebookClient(server) for server in running_servers()}

    def __iter__(self) -> Iterator[NotebookClient]:
        return iter(self.notebook_clients.values())

    def __len__(self) -> int:
        return len(self.notebook_clients)

    @classmethod
    def current_server(cls) -> NotebookClient:
        """The server whose kernel this code runs in.

        Raises
        ------
        JupyterServerError
            This code runs in no kernel of theirs.
        """
        server = server_of_this_kernel(running_servers())
        if server is None:
            raise JupyterServerError("This code does not run in a kernel of your Jupyter servers.", NOT_IN_A_NOTEBOOK)
        return NotebookClient(server)


class CurrentNotebookClient(NotebookClient):
    """Speaks to the server whose kernel this code runs in, about the notebook that it runs in.

    Parameters
    ----------
    nb_config : JupyterServer, LiveNotebookRecord or mapping, optional
        The server, if it is known; looked up by the kernel otherwise.
    timeout : float
        Seconds without a byte of an answer.

    Raises
    ------
    JupyterServerError
        This code runs in no kernel of the user's servers.
    """

    def __init__(
        self,
        nb_config: JupyterServer | LiveNotebookRecord | Mapping[str, Any] | None = None,
        *,
        timeout: float = 30.0,
    ) -> None:
        super().__init__(
            NotebookClientCollection.current_server().server if nb_config is None else nb_config, timeout=timeout
        )

    @property
    def connection_file(self) -> str:
        """The file that tells how to reach the kernel that this code runs in."""
        return find_connection_file()

    @property
    def kernel_id(self) -> str | None:
        """The id of the kernel that this code runs in; None in a program that a notebook started."""
        return current_kernel_id()

    @property
    def session(self) -> NotebookSession:
        """The session of the notebook that this code runs in, or that started this program.

        Raises
        ------
        JupyterServerError
            The server has no such session.
        """
        kernel_id, sessions = self.kernel_id, self.sessions
        if kernel_id is not None:
            if kernel_id in sessions:
                return sessions[kernel_id]
            raise JupyterServerError(f"{self.url} has no notebook open with kernel {kernel_id}.", NOT_IN_A_NOTEBOOK)
        name = os.environ.get("JPY_SESSION_NAME", "")
        if is_started_by(self.server):
            for session in sessions.values():
                if name and name == self._full_name(session):
                    return session
        raise JupyterServerError("This code does not run in a notebook.", NOT_IN_A_NOTEBOOK)

    @property
    def notebook_path(self) -> str:
        """The path of the notebook that this code runs in, relative to the server's root; it follows renames.

        Raises
        ------
        JupyterServerError
            It runs in none: a console, for example.
        """
        session = self.session
        if session.type != "notebook" or not session.path:
            raise JupyterServerError(
                f"This code runs in a {session.type or 'session'} and not in a notebook.", NOT_IN_A_NOTEBOOK
            )
        return session.local_path

    def get_notebook_contents(self) -> dict[str, Any]:
        """The contents model of the notebook that this code runs in, as it was saved last."""
        return self.get_contents(self.notebook_path)

    def _full_name(self, session: NotebookSession) -> str:
        """What Jupyter Server calls a session in the environment of its kernel."""
        return str((self.server.root_dir or Path("/")) / session.path)


# -- the server of this kernel -----------------------------------------------------------------------------------------


def is_started_by(server: JupyterServer) -> bool:
    """Whether this process is a kernel of that server, or was started by one."""
    # On Windows the variable holds a handle.
    return sys.platform != "win32" and os.environ.get("JPY_PARENT_PID") == str(server.pid)


def server_of_this_kernel(servers: list[JupyterServer]) -> JupyterServer | None:
    """The one of the servers whose kernel this code runs in, or was started by; None where it is none of them."""
    if "JPY_PARENT_PID" in os.environ and "JPY_SESSION_NAME" in os.environ:
        started = [server for server in servers if is_started_by(server)]
        if len(started) == 1:
            return started[0]
    kernel_id = current_kernel_id()
    if kernel_id is None:
        return None
    return next((server for server in servers if _has_kernel(server, kernel_id)), None)


def _has_kernel(server: JupyterServer, kernel_id: str) -> bool:
    try:
        return kernel_id in NotebookClient(server, timeout=LOOK_TIMEOUT).kernel_ids
    except (ServerUnreachable, ServerRefused):  # somebody else's, or one that is just ending
        return False
