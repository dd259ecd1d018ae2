"""Which of the running servers a client speaks to when it is not told."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from bookstore.client.nb_client import server_of_this_kernel
from bookstore.jupyter_servers import JupyterServer, JupyterServerError, running_servers, server_at, servers_for

TELL_WHICH = "Tell which: BookstoreClient(url=…), with token=… if it is not a server of your own on this machine."


def find_server(url: str | None = None, token: str | None = None) -> JupyterServer:
    """The server at an address; without one that of this kernel, else that of the current directory, else the only one.

    Parameters
    ----------
    url : str, optional
        As copied from a browser.
    token : str, optional
        Left out: what is known of a server of one's own, or ``JUPYTER_TOKEN``.

    Raises
    ------
    JupyterServerError
        There is none, or several would do.
    """
    if url is not None:
        return server_at(url, token or "")
    server = _chosen(running_servers())
    return dataclasses.replace(server, token=token) if token else server


def _chosen(servers: list[JupyterServer]) -> JupyterServer:
    if not servers:
        raise JupyterServerError("None of your Jupyter servers runs on this machine.", f"Start one. {TELL_WHICH}")
    own = server_of_this_kernel(servers)
    if own is not None:
        return own
    holding = servers_for(Path.cwd(), servers)
    if len(holding) == 1:
        return holding[0]
    if holding:
        urls = ", ".join(server.url for server in holding)
        raise JupyterServerError(f"Several servers hold the current directory: {urls}.", TELL_WHICH)
    if len(servers) == 1:
        return servers[0]
    places = ", ".join(f"{server.url} ({server.root_dir or 'root unknown'})" for server in servers)
    raise JupyterServerError(f"None of your servers holds the current directory: {places}.", TELL_WHICH)
