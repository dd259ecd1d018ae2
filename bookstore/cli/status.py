"""``bookstore status``: how many saves wait, and what is wrong."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bookstore.cli.commands import FINE, WRONG
from bookstore.cli.output import count, duration, local_time, size
from bookstore.cli.servers import add_server_arguments, chosen_servers
from bookstore.errors import BookstoreError

if TYPE_CHECKING:
    from bookstore.cli.context import Context
    from bookstore.cli.demo_layout import Layout
    from bookstore.cli.output import Output
    from bookstore.jupyter_servers import JupyterServer
    from bookstore.outbox_survey import Survey

DESCRIPTION = """Tell how many saves wait, how old the oldest is, and what is wrong and what to do.

Asks the running server whose root holds the current directory; with several of them, or none that holds it,
every server of yours is listed. Without a server, tells what waits on disk: in the outbox of the settings in force, and
in that of a demo that does not run. The exit code is 0 where saves are archived and none waits: of the servers that are
told. With --root it is 1 where servers run and none holds DIR."""

EXAMPLES = (
    ("status", "the server of the current directory"),
    ("status --root ~/work", "the server that holds ~/work"),
    ("status --json", "the same for programs"),
)

_STYLES = {"ok": "green", "waiting": "yellow", "off": "yellow", "trouble": "bold red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options."""
    add_server_arguments(parser)


def run(context: Context) -> int:
    """Do the work; the exit code."""
    context.demo = None  # what waits in a demo's outbox is told apart
    chosen, others = chosen_servers(context)
    demos = [] if chosen else _idle_demos(context, others)
    asked = [(server, *_ask(server)) for server in chosen or others]
    if not asked:
        return _tell_disk(context, demos)
    output = context.output
    left = [(layout, found) for layout, found in demos if holds_any(found)]
    # Who names a directory wants to know of that one.
    is_held = bool(chosen) or context.args.root is None
    is_fine = (
        is_held
        and not left
        and all(document is not None and is_all_safe(document["archive"]) for _, document, _ in asked)
    )
    output.document(
        {
            "ok": is_fine,
            "servers": [
                {
                    **describe(server),
                    "holds_directory": server in chosen,
                    "bookstore": document,
                    "error": None if error is None else error_document(error),
                }
                for server, document, error in asked
            ],
            "outbox": None,
            "demos": [survey_document(found) for _, found in demos],
        }
    )
    if not chosen:
        which = context.args.root or "this directory"
        output.line(f"None of your servers holds {which}, so nothing saved there is archived now. Those that run:")
    if len(asked) == 1:
        server, document, error = asked[0]
        if error is not None:
            output.pairs([("Server", server.url), ("Root", str(server.root_dir or "unknown"))])
            output.line(f"\n{error}\n  {error.hint}", style="bold red")
        elif document is not None:
            show_archive(output, server, document["archive"])
    else:
        output.table(
            ("server", "root", "state", "waiting", "oldest", "unprotected", "archived"),
            map(_row, asked),
            whole=("server",),
        )
        # A root that servers share tells none of them apart.
        option = "--root DIR" if len({server.root_dir for server, _, _ in asked}) == len(asked) else "--url ADDRESS"
        output.line(f"More of one: bookstore status {option}")
    for layout, found in left:
        output.line()
        _show_demo(output, layout, found)
    return FINE if is_fine else WRONG


def _ask(server: JupyterServer) -> tuple[dict[str, Any] | None, BookstoreError | None]:
    from bookstore.jupyter_servers import JupyterServerError, ask

    try:
        document = ask(server, "GET", "api/bookstore")
    except JupyterServerError as e:
        return None, e
    if not isinstance(document, dict) or not isinstance(document.get("archive"), dict):
        return None, JupyterServerError(
            f"The bookstore in the server at {server.url} tells no state of its archive.",
            "It is an old release; update it where that server runs.",
        )
    return document, None


def is_all_safe(archive: Mapping[str, Any]) -> bool:
    """Whether saves are archived, and none waits."""
    return archive.get("state") == "ok" and not archive.get("waiting")


def describe(server: JupyterServer) -> dict[str, Any]:
    """A server for the JSON document, without its token."""
    return {"url": server.url, "root_dir": str(server.root_dir) if server.root_dir else None, "pid": server.pid}


def error_document(error: BookstoreError) -> dict[str, str]:
    """An error for the JSON document."""
    return {"code": error.code, "message": str(error), "hint": error.hint}


def _row(asked: tuple[JupyterServer, dict[str, Any] | None, BookstoreError | None]) -> tuple[str, ...]:
    server, document, error = asked
    root = str(server.root_dir or "unknown")
    if document is None:
        return server.url, root, error.code if error else "", "", "", "", ""
    archive = document["archive"]
    age = archive.get("oldest_age")
    return (
        server.url,
        root,
        str(archive.get("state")),
        str(archive.get("waiting", 0)),
        "" if age is None else duration(age),
        str(archive.get("unprotected", 0)),
        str(archive.get("archived", 0)),
    )


def show_archive(output: Output, server: JupyterServer, archive: Mapping[str, Any]) -> None:
    """Print one server's archive for people."""
    if output.is_json:
        return
    from rich.text import Text

    state = str(archive.get("state"))
    pairs: list[tuple[str, str | Text]] = [
        ("Server", server.url),
        ("Root", str(server.root_dir or "unknown")),
        ("State", Text(state, style=_STYLES.get(state, ""))),
    ]
    if state != "off":
        age = archive.get("oldest_age")
        pairs += [
            ("Destination", str(archive.get("destination", ""))),
            ("Waiting", f"{archive['waiting']}" + ("" if age is None else f", the oldest for {duration(age)}")),
            ("Archived", f"{archive.get('archived', 0)} since the server's start"),
            ("Outbox", str(archive.get("outbox", ""))),
        ]
        if archive.get("unprotected"):
            paths = ", ".join(archive.get("unprotected_paths", ()))
            pairs.append(("Unprotected", Text(f"{archive['unprotected']}: {paths}", style="bold red")))
        if last := archive.get("last_version"):
            pairs.append(("Last version", f"{last['path']}, version {last['version_id']}, saved {last['saved_at']}"))
    output.pairs(pairs)
    for kind, style in (("problems", "bold red"), ("warnings", "yellow")):
        for problem in archive.get(kind, ()):
            output.line()
            output.line(str(problem.get("message", "")), style=style)
            output.line(f"  {problem.get('hint', '')}")


# -- without a server --------------------------------------------------------------------------------------------------


def holds_any(found: Survey) -> bool:
    """Whether anything in an outbox still has to reach the store."""
    return bool(found.entries or found.quarantined or found.refused)


def _idle_demos(context: Context, servers: list[JupyterServer]) -> list[tuple[Layout, Survey]]:
    """What lies in the outboxes of demos that do not run: the usual one, and that which holds the directory."""
    from bookstore.cli.demo_layout import Layout
    from bookstore.outbox_survey import survey

    holding = Layout.holding(Path(context.args.root or ".").expanduser())
    layouts = {layout.base.resolve(): layout for layout in (Layout.standard(), holding) if layout is not None}
    running = {server.root_dir.resolve() for server in servers if server.root_dir is not None}
    return [
        (layout, survey(layout.outbox))
        for layout in layouts.values()
        if layout.config_file.is_file() and layout.notebooks.resolve() not in running
    ]


def _show_demo(output: Output, layout: Layout, found: Survey) -> None:
    show_survey(output, found, "the outbox of the demo")
    if found.entries:
        output.line(f"They are shipped by the next: {layout.command}")


def _tell_disk(context: Context, demos: list[tuple[Layout, Survey]]) -> int:
    from bookstore.outbox_survey import survey

    context.tell_broken_files()
    found = survey(context.outbox_dir)
    is_fine = not any(map(holds_any, (found, *(of_demo for _, of_demo in demos))))
    output = context.output
    output.document(
        {
            "ok": is_fine,
            "servers": [],
            "outbox": survey_document(found),
            "demos": [survey_document(of_demo) for _, of_demo in demos],
        }
    )
    output.line("None of your Jupyter servers runs on this machine.")
    show_survey(output, found, "the outbox of the settings in force")
    if found.entries:
        output.line(
            "Each is shipped when a server with the same root or bucket starts. If none will: bookstore drain"
            f" --outbox {found.directory}"
        )
    for layout, of_demo in demos:
        _show_demo(output, layout, of_demo)
    output.line(
        "Only there was looked: a server with another outbox_dir keeps elsewhere what waits"
        " (--BookstoreSettings.outbox_dir=DIR looks into that).",
        style="dim",
    )
    return FINE if is_fine else WRONG


def survey_document(found: Survey) -> dict[str, Any]:
    """What waits on disk, for the JSON document."""
    return {
        "directory": str(found.directory),
        "waiting": found.entries,
        "quarantined": found.quarantined,
        "refused": found.refused,
        "owners": [
            {
                "directory": str(waiting.directory),
                "host": waiting.owner.host if waiting.owner else None,
                "root_dir": waiting.owner.root_dir if waiting.owner else None,
                "destination": waiting.owner.destination if waiting.owner else None,
                "pid": waiting.owner.pid if waiting.owner else None,
                "life": waiting.life,
                "entries": waiting.entries,
                "bytes": waiting.size,
                "oldest_saved_at": waiting.oldest_saved_at,
            }
            for waiting in found.waiting
        ],
    }


def show_survey(output: Output, found: Survey, what: str) -> None:
    """Print what waits on disk for people; ``what`` says which outbox it is."""
    if not found.entries:
        output.line(f"Nothing waits in {what}, {found.directory}.")
    else:
        output.line(f"{count(found.entries, 'save')} in {what}, {found.directory}:")
        output.table(
            ("host", "root", "server", "saves", "size", "oldest", "destination"),
            (
                (
                    waiting.owner.host if waiting.owner else "unknown",
                    waiting.owner.root_dir if waiting.owner else "unknown",
                    waiting.life,
                    str(waiting.entries),
                    size(waiting.size),
                    local_time(waiting.oldest_saved_at) if waiting.oldest_saved_at is not None else "damaged",
                    waiting.owner.destination if waiting.owner else "unknown",
                )
                for waiting in found.waiting
            ),
        )
    for kind, number in (("quarantine", found.quarantined), ("refused", found.refused)):
        if number:
            output.line(
                f"{count(number, 'save')} set aside in {found.directory / kind}: beside each stands the reason.",
                style="bold red",
            )
