"""``bookstore flush``: have a running server ship what waits."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bookstore.cli.arguments import UsageError, seconds
from bookstore.cli.commands import FINE, WRONG
from bookstore.cli.output import count
from bookstore.cli.servers import add_server_arguments, chosen_servers
from bookstore.cli.status import describe, is_all_safe, show_archive

if TYPE_CHECKING:
    from bookstore.cli.context import Context

#: What the server allows, and what it takes if it is not told.
LONGEST = 600.0
USUAL = 30.0

DESCRIPTION = """Have a running server ship what waits, now, and wait until the store has it.

The exit code is 0 where saves are archived and none waits after it."""

EXAMPLES = (
    ("flush", "the server of the current directory"),
    ("flush --root ~/work --timeout 300", "the server that holds ~/work, for five minutes at most"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options."""
    add_server_arguments(parser)
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=USUAL,
        metavar="SECONDS",
        help=f"for how long at most, up to {LONGEST:g}; {USUAL:g} by default",
    )


def run(context: Context) -> int:
    """Do the work; the exit code."""
    from bookstore.jupyter_servers import ANSWER_TIMEOUT, JupyterServerError, ask

    timeout: float = context.args.timeout
    if timeout > LONGEST:
        raise UsageError(f"--timeout is {LONGEST:g} seconds at most.", "Call it again if saves still wait after that.")
    chosen, others = chosen_servers(context)
    if len(chosen) > 1:
        urls = ", ".join(server.url for server in chosen)
        raise JupyterServerError(f"Several servers hold this directory: {urls}.", "Choose one with --url.")
    if not chosen and others:
        roots = ", ".join(str(server.root_dir) for server in others)
        raise JupyterServerError(
            f"None of your servers holds this directory; they hold {roots}.", "Choose one with --root or --url."
        )
    if not chosen:
        raise JupyterServerError(
            "None of your Jupyter servers runs on this machine.",
            "bookstore status tells what waits on disk; bookstore drain ships it without a server.",
        )
    answer = ask(chosen[0], "POST", "api/bookstore/flush", {"timeout": timeout}, timeout + ANSWER_TIMEOUT)
    archive, remaining = answer["archive"], answer["remaining"]
    is_fine = not remaining and is_all_safe(archive)
    context.output.document({"ok": is_fine, "server": describe(chosen[0]), "remaining": remaining, "archive": archive})
    context.output.line(
        f"{count(remaining, 'save')} still wait." if remaining else "Nothing that waited waits any more."
    )
    show_archive(context.output, chosen[0], archive)
    return FINE if is_fine else WRONG
