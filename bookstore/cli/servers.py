"""Which running server a command speaks to."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bookstore.cli.arguments import UsageError

if TYPE_CHECKING:
    from bookstore.cli.context import Context
    from bookstore.jupyter_servers import JupyterServer


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a server."""
    parser.add_argument(
        "--root",
        metavar="DIR",
        help="the server whose root directory holds DIR; the current directory by default",
    )
    parser.add_argument("--url", help="the server at this address")
    parser.add_argument(
        "--token",
        help="its token, if it is not a server of your own; better set JUPYTER_TOKEN, which others cannot see",
    )


def chosen_servers(context: Context, near: Path | None = None) -> tuple[list[JupyterServer], list[JupyterServer]]:
    """The servers that the options mean.

    Parameters
    ----------
    context : Context
    near : Path, optional
        The directory meant where ``--root`` names none, which need not exist; the current directory by default.

    Returns
    -------
    list of JupyterServer
        That at ``--url``, or those that hold ``--root`` or ``near``; several where they share a root.
    list of JupyterServer
        The user's other servers on this machine.
    """
    from bookstore.jupyter_servers import JupyterServerError, running_servers, server_at, servers_for

    args = context.args
    if args.token and not args.url:
        raise UsageError("--token belongs to --url.", "Tell which server: --url http://localhost:8888/.")
    if args.url and args.root:
        raise UsageError("--url and --root exclude one another.", "Give one of them.")
    if args.url:
        try:
            return [server_at(args.url, args.token or "")], []
        except JupyterServerError as e:
            raise UsageError(str(e), e.hint) from e
    directory = Path(args.root).expanduser() if args.root else near or Path()
    if args.root and not directory.is_dir():
        raise UsageError(f"--root {directory} is no directory.", "Give a directory below the server's root.")
    servers = running_servers()
    chosen = servers_for(directory, servers)
    if not chosen and args.root is None and len(servers) == 1 and servers[0].root_dir is None:
        chosen = servers  # on JupyterHub, where nothing tells the root
    return chosen, [server for server in servers if server not in chosen]
