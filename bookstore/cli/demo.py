"""``bookstore demo``: Jupyter with an S3 server of its own."""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bookstore.cli.arguments import UsageError
from bookstore.cli.commands import FINE, WRONG
from bookstore.cli.output import size

if TYPE_CHECKING:
    from bookstore.cli.context import Context
    from bookstore.cli.demo_check import Checked
    from bookstore.cli.demo_jupyter import App
    from bookstore.cli.demo_layout import Layout

DESCRIPTION = """Start Jupyter with an S3 server of its own: nothing to configure, and nothing of yours is changed.

Everything is kept in one directory, and is there again at the next start: notebooks, versions, configuration. Both
servers listen on this machine only. Ctrl-C stops Jupyter, which ships what waits, and then the S3 server. What could
not be shipped waits for the next start; then the exit code is 1."""

#: Hexadecimal digits of a hash that people are shown.
SHOWN_DIGITS = 20

EXAMPLES = (
    ("demo", "JupyterLab in the browser"),
    ("demo --app notebook --no-browser", "Notebook 7; open the address yourself"),
    ("demo --check", "prove the whole way without a browser, and leave nothing behind"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument(
        "--directory", metavar="DIR", help="where everything is kept; in Jupyter's data directory by default"
    )
    parser.add_argument(
        "--app", choices=("lab", "notebook", "server"), default="lab", help="what to start; lab by default"
    )
    parser.add_argument("--port", type=_port, help="Jupyter's port; chosen freely by default")
    parser.add_argument("--no-browser", action="store_true", help="do not open the browser")
    parser.add_argument(
        "--check",
        action="store_true",
        help="start everything in a fresh temporary directory, save a notebook three times, compare what the bucket "
        "holds with what was on disk, and stop",
    )


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError("a number from 1 to 65535 is wanted")
    return int(text)


def run(context: Context) -> int:
    """Do the work; the exit code."""
    from bookstore.cli.demo_layout import Layout
    from bookstore.cli.demo_serve import serve

    args = context.args
    if args.check and args.directory is not None:
        raise UsageError(
            "--check and --directory exclude one another.",
            "--check works in a temporary directory, which is removed at the end.",
        )
    _require_app(args.app)
    _require_port(args.port)
    if args.check:
        with tempfile.TemporaryDirectory(prefix="bookstore-demo-", ignore_cleanup_errors=True) as directory:
            return _check(context, Layout(Path(directory).resolve()))
    if args.directory is None:
        return serve(context, Layout.standard())
    # Without links: what waits in the outbox is the next start's by the path of the notebooks.
    return serve(context, Layout(Path(os.path.realpath(Path(args.directory).expanduser()))))


def _require_app(app: App) -> None:
    from bookstore.cli.demo_jupyter import APPS
    from bookstore.errors import SettingsError

    module = APPS[app][0]
    if importlib.util.find_spec(module) is None:
        raise SettingsError(f"{module} is not installed.", f"python -m pip install {module}, or choose another --app.")


def _require_port(port: int | None) -> None:
    from bookstore.embedded_s3 import is_free
    from bookstore.errors import SettingsError

    if port is not None and not is_free(port):
        raise SettingsError(
            f"Port {port} is taken by another program, or not for this user to listen on.",
            "Choose another --port, or leave it out: then a free one is taken.",
        )


def _check(context: Context, layout: Layout) -> int:
    from bookstore.cli.demo_check import check
    from bookstore.cli.demo_jupyter import DemoJupyter
    from bookstore.cli.demo_layout import BUCKET
    from bookstore.embedded_s3 import EmbeddedS3
    from bookstore.errors import BookstoreError

    start = time.monotonic()
    layout.prepare()
    runtime = layout.base / "jupyter" / "runtime"
    runtime.mkdir(mode=0o700)
    with EmbeddedS3(layout.s3) as s3:
        kind = s3.kind
        s3.ensure_bucket(BUCKET)
        layout.write_files(s3)
        with DemoJupyter(
            layout, s3, app=context.args.app, open_browser=False, port=context.args.port, runtime_dir=runtime
        ) as jupyter:
            try:
                checked = check(layout, s3, jupyter)
            except BookstoreError as e:
                raise BookstoreError(f"{e}\nThe end of Jupyter's log:\n{jupyter.end_of_log()}", e.hint) from e
    return _tell(context, checked, kind, time.monotonic() - start)


def _tell(context: Context, checked: list[Checked], kind: str, took: float) -> int:
    output = context.output
    is_fine = all(row.is_same for row in checked)
    output.document(
        {"ok": is_fine, "server": kind, "seconds": round(took, 3), "saves": [row.to_dict() for row in checked]}
    )
    output.table(
        ("save", "version id", "size", "sha256", "same?"),
        (
            (
                str(row.save),
                row.version_id,
                size(row.size),
                f"{row.sha256[:SHOWN_DIGITS]}…",
                "yes" if row.is_same else "NO",
            )
            for row in checked
        ),
    )
    if is_fine:
        output.line(
            f"{len(checked)} saves, {len(checked)} versions in {kind}, byte for byte. It took {took:.1f} s.",
            style="green",
        )
    else:
        output.line("A version in the bucket has other bytes than the file had.", style="bold red")
    return FINE if is_fine else WRONG
