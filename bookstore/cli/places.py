"""Which file of which server a PATH on the command line means."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bookstore.cli.arguments import UsageError
from bookstore.cli.servers import chosen_servers
from bookstore.errors import ObjectMissing, SettingsError

if TYPE_CHECKING:
    import argparse

    from bookstore.cli.context import Context
    from bookstore.cli.desk import Desk
    from bookstore.jupyter_servers import JupyterServer

#: What --help says of PATH, wherever there is one.
ABOUT_PATHS = """PATH is relative to the current directory, or else, where --root or --url is given, to that root. It
must lie below the server's root: that of the running server that holds it, through which the work is done, or otherwise
--root or the configured root, with this machine's settings. Where there is neither, commands that only read take the
current directory for the root, and others refuse. The file need not exist any more."""

#: What a command needs besides the history: nothing, the files as they are now, or to write.
Use = Literal["history", "files", "writing"]


@dataclass(frozen=True)
class Place:
    """Where a command works.

    Attributes
    ----------
    desk : Desk
    root : Path or None
        The directory to which API paths are relative; None where the server's is not known here.
    base : Path or None
        Where a relative PATH is looked for that does not lie below the root as seen from the current directory: what
        ``--root`` names, or the root of the server at ``--url``.
    """

    desk: Desk
    root: Path | None
    base: Path | None = None

    def file_path(self, given: str) -> str:
        """The API path of a PATH that means a file.

        Raises
        ------
        UsageError
            It lies outside the root, or is the root itself.
        """
        if path := self.api_path(given):
            return path
        raise UsageError(f"{given} is the root directory, and no file.", "Give the PATH of a file below it.")

    def api_path(self, given: str) -> str:
        """The API path of a PATH; empty for the root itself.

        Raises
        ------
        UsageError
            It lies outside the root.
        """
        if self.root is not None:
            return api_path(given, self.root, self.base)
        path = os.path.normpath(given).replace(os.sep, "/")
        if path.startswith("/") or path.split("/")[0] == "..":
            raise UsageError(
                f"Nothing tells here where the server's root is, so {given} cannot be found below it.",
                "Give the path relative to the server's root.",
            )
        return "" if path == "." else path

    def on_disk(self, path: str) -> Path | None:
        """The file of an API path; None where it is not known here."""
        return self.root / path if self.root is not None else None

    def no_versions(self, path: str, area: str) -> ObjectMissing:
        """The error that a path has no versions, with what else may be meant."""
        if area != "workspace":
            verb = "publish" if area == "published" else "schedule"
            return ObjectMissing(f"{path!r} was never {area}.", f"bookstore {verb} --list tells what is.")
        file = self.on_disk(path)
        if file is not None and file.is_dir():
            return ObjectMissing(f"{path!r} is a directory, and only files have versions.", "Give a file in it.")
        if file is not None and not file.exists():
            return ObjectMissing(
                f"{path!r} has no versions, and there is no such file in {self.root}.",
                "Check the path, or give another root: --root or --url.",
            )
        return ObjectMissing(
            f"{path!r} has no versions.",
            "Its save may still wait (bookstore status), it may have been made or renamed outside of Jupyter and not "
            "saved since, archive_globs may leave it out, or another root is meant (--root, --url).",
        )


def api_path(given: str, root: Path, base: Path | None = None) -> str:
    """The API path of a path on disk.

    Parameters
    ----------
    given : str
        Relative to the current directory.
    root : Path
        The server's root directory.
    base : Path, optional
        What else a path may be relative to that does not lie below the root otherwise.

    Raises
    ------
    UsageError
        It lies outside the root.
    """
    file = Path(os.path.abspath(given))  # noqa: PTH100 - a link in the path is the server's to follow
    top = Path(os.path.abspath(root))  # noqa: PTH100
    # Either may be told through a link: as both are spelt, then as they are.
    for candidate, top_spelt in ((file, top), (file.parent.resolve() / file.name, top.resolve())):
        if candidate.is_relative_to(top_spelt):
            path = candidate.relative_to(top_spelt).as_posix()
            return "" if path == "." else path
    if base is not None and not Path(given).is_absolute():
        return api_path(str(base / given), root)
    raise UsageError(
        f"{given} lies outside the root directory {root}.",
        "Give a path below it, or choose another root with --root, or another server with --url.",
    )


@contextmanager
def open_place(
    context: Context, given: str | None, *, use: Use = "history", needs_bucket: bool = True
) -> Iterator[Place]:
    """Open the desk that a PATH belongs to.

    Parameters
    ----------
    context : Context
    given : str or None
        The PATH; the current directory where there is none.
    use : str
        ``writing`` needs a root that is not guessed, since a key that is made of a wrong root mixes the histories of
        different files; and the contents manager that the configuration names, which is there only in a server.
    needs_bucket : bool
        Whether there is nothing to do without a bucket.

    Raises
    ------
    UsageError
        The options make no sense, or the root would be guessed.
    SettingsError
        Only a server can do it.
    JupyterServerError
        Several servers hold it, or the one that does cannot be asked.
    """
    from bookstore.cli.desk import LocalDesk, RemoteDesk

    base = Path(context.args.root).expanduser().absolute() if context.args.root else None
    server, passed_over = _server(context, given)
    if server is None:
        _require_own_manager(context, use)
        if not context.settings.is_configured and (needs_bucket or base is None):
            _require_no_server(given, context, passed_over)
        if use == "writing" and context.settings.is_configured:
            _require_root(context)
        with LocalDesk(context, needs_bucket=needs_bucket) as desk:
            yield Place(desk, Path(context.root_dir), base)
        return
    from bookstore.client import BookstoreClient

    if context.args.url:
        base = server.root_dir
    with RemoteDesk(BookstoreClient(server=server)) as desk:
        yield Place(desk, server.root_dir, base)


def _server(context: Context, given: str | None) -> tuple[JupyterServer | None, list[JupyterServer]]:
    """The running server with bookstore that holds a PATH, if there is one; and those that were passed over."""
    from bookstore.jupyter_servers import BookstoreAbsent, JupyterServerError, ServerUnreachable, ask

    file = Path(os.path.abspath(given or "."))  # noqa: PTH100
    chosen, others = chosen_servers(context, file if file.is_dir() else file.parent)
    if len(chosen) > 1:
        urls = ", ".join(server.url for server in chosen)
        raise JupyterServerError(f"Several servers hold {given or 'this directory'}: {urls}.", "Choose one with --url.")
    if not chosen:
        return None, others
    try:
        ask(chosen[0], "GET", "api/bookstore")
    except BookstoreAbsent:
        if context.args.url:
            raise
        _take_root(context, chosen[0])
        return None, chosen
    except ServerUnreachable:
        if context.args.url:
            raise
        context.output.note(f"bookstore: the server at {chosen[0].url} does not answer; going on without it.")
        _take_root(context, chosen[0])
        return None, []
    return chosen[0], []


def _require_no_server(given: str | None, context: Context, passed_over: list[JupyterServer]) -> None:
    """Where nothing but a server could do the work, tell why none of those that run does.

    Raises
    ------
    JupyterServerError
    """
    from bookstore.jupyter_servers import BookstoreAbsent, JupyterServerError, servers_for

    if not passed_over:
        return
    what = context.args.root or given or "this directory"
    directory = Path(os.path.abspath(what)) if context.args.root or given else Path.cwd()  # noqa: PTH100
    if servers_for(directory if directory.is_dir() else directory.parent, passed_over):
        raise BookstoreAbsent(
            f"The server at {passed_over[0].url}, which holds {what}, runs without bookstore, and here no bucket is "
            "configured."
        )
    roots = ", ".join(str(server.root_dir or server.url) for server in passed_over)
    raise JupyterServerError(
        f"None of your servers holds {what}; they hold {roots}. And here no bucket is configured.",
        f"Choose one with --root or --url, or name a bucket.{context.demo_hint()}",
    )


def _take_root(context: Context, server: JupyterServer) -> None:
    """Work with the root of a server that holds the PATH, although the server itself cannot do the work."""
    if context.args.root is None and server.root_dir is not None:
        context.choose_root(server.root_dir)


def _require_root(context: Context) -> None:
    if context.has_root:
        return
    here = shlex.quote(context.root_dir)
    raise UsageError(
        "No running server holds this path and no root is configured, so its key in the bucket would be a guess.",
        "Give --root, the directory in which you usually start Jupyter, or start Jupyter there and try again. "
        f"If that is the current directory: --root {here}",
    )


def _require_own_manager(context: Context, use: Use) -> None:
    """See that what Jupyter's own file manager does is what the configured one would do."""
    manager = context.app.other_manager()
    if manager is None or use == "history":
        return
    if use == "writing":
        raise SettingsError(
            f"The configuration names the contents manager {manager}, and only a server works with that one.",
            "Start the Jupyter server, and run the command again: it finds the server.",
        )
    context.output.note(
        f"bookstore: the file is read from the disk, and not through the configured contents manager {manager}: that "
        "is there only while the server runs."
    )


def root_of(context: Context, given: str) -> Path:
    """The root directory that a PATH lies below: ``--root``, or that of a running server that holds it."""
    from bookstore.jupyter_servers import running_servers, servers_for

    file = Path(os.path.abspath(given))  # noqa: PTH100
    if context.args.root is None:
        for server in servers_for(file if file.is_dir() else file.parent, running_servers()):
            if server.root_dir is not None:
                return server.root_dir
    return Path(context.root_dir)


def add_place_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose root and server."""
    parser.add_argument(
        "--root",
        metavar="DIR",
        help="the server whose root directory holds DIR; if none runs, DIR is the root itself. A relative PATH that "
        "does not lie below the root, as seen from the current directory, is taken relative to DIR",
    )
    parser.add_argument(
        "--url", help="the server at this address; a relative PATH is then relative to its root likewise"
    )
    parser.add_argument(
        "--token",
        help="its token, if it is not a server of your own; better set JUPYTER_TOKEN, which others cannot see",
    )
