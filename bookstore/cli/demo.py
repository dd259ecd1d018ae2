"""``bookstore demo``: Jupyter with an S3 server of its own."""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bookstore.cli.commands import FINE, WRONG
from bookstore.cli.output import size

if TYPE_CHECKING:
    from bookstore.cli.context import Context
    from bookstore.cli.demo_check import Checked
    from bookstore.cli.demo_jupyter import App, DemoJupyter, Layout
    from bookstore.embedded_s3 import EmbeddedS3

DESCRIPTION = """Start Jupyter with an S3 server of its own: nothing to configure, and nothing of yours is changed.

Everything is kept in one directory, and is there again at the next start: notebooks, versions, configuration. Both
servers listen on this machine only. Ctrl-C stops Jupyter, which ships what waits, and then the S3 server."""

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
    from bookstore.cli.demo_jupyter import Layout

    _require_app(context.args.app)
    if context.args.check:
        with tempfile.TemporaryDirectory(prefix="bookstore-demo-", ignore_cleanup_errors=True) as directory:
            return _check(context, Layout(Path(directory).resolve()))
    from jupyter_core.paths import jupyter_data_dir

    chosen = context.args.directory
    base = Path(chosen).expanduser().absolute() if chosen else Path(jupyter_data_dir()) / "bookstore" / "demo"
    return _serve(context, Layout(base))


def _require_app(app: App) -> None:
    from bookstore.cli.demo_jupyter import APPS
    from bookstore.errors import SettingsError

    module = APPS[app][0]
    if importlib.util.find_spec(module) is None:
        raise SettingsError(f"{module} is not installed.", f"python -m pip install {module}, or choose another --app.")


# -- for people --------------------------------------------------------------------------------------------------------


def _serve(context: Context, layout: Layout) -> int:
    from jupyter_core.paths import jupyter_runtime_dir

    from bookstore.cli.demo_jupyter import BUCKET, DemoJupyter
    from bookstore.cli.demo_welcome import write_welcome
    from bookstore.embedded_s3 import EmbeddedS3
    from bookstore.errors import BookstoreError

    args, output = context.args, context.output
    output.note("Starting the S3 server and Jupyter …")
    layout.prepare()
    runtime = Path(jupyter_runtime_dir())
    runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
    with EmbeddedS3(layout.s3) as s3:
        s3.ensure_bucket(BUCKET)
        layout.write_credentials(s3)
        write_welcome(layout.notebooks)
        jupyter = DemoJupyter(
            layout, s3, app=args.app, open_browser=not args.no_browser, port=args.port, runtime_dir=runtime
        )
        with jupyter:
            try:
                _show(context, layout, s3, jupyter)
                code = jupyter.wait()
            except KeyboardInterrupt:
                output.note("Stopping Jupyter, then the S3 server …")
                return FINE
            if code:
                raise BookstoreError(
                    f"Jupyter ended with {code}. The end of its log:\n{jupyter.end_of_log()}", f"See {layout.log}."
                )
    output.note("Jupyter was shut down.")
    return FINE


def _show(context: Context, layout: Layout, s3: EmbeddedS3, jupyter: DemoJupyter) -> None:
    from bookstore.cli.demo_jupyter import BUCKET

    output = context.output
    listing = (
        f"AWS_SHARED_CREDENTIALS_FILE={shlex.quote(str(layout.credentials))} aws --endpoint-url {s3.endpoint_url} "
        f"--region us-east-1 s3api list-object-versions --bucket {BUCKET} --prefix workspace/welcome.ipynb"
    )
    status = f"bookstore status --root {shlex.quote(str(layout.notebooks))}"
    output.document(
        {
            "ok": True,
            "url": jupyter.browser_url,
            "notebooks": str(layout.notebooks),
            "bucket": BUCKET,
            "prefix": "workspace",
            "endpoint_url": s3.endpoint_url,
            "credentials_file": str(layout.credentials),
            "keeps_data": s3.keeps_data,
            "log": str(layout.log),
        }
    )
    output.line("Save a notebook, and each save becomes a version in the bucket.\n", style="bold green")
    output.pairs(
        [
            ("Open", jupyter.browser_url),
            ("Notebooks", str(layout.notebooks)),
            ("Bucket", f"s3://{BUCKET}/workspace at {s3.endpoint_url} ({s3.kind})"),
            ("Log", str(layout.log)),
        ]
    )
    output.line("\nThe state, in another terminal:", style="bold")
    output.line(f"  {status}")
    output.line("The versions, with the AWS command line:", style="bold")
    output.line(f"  {listing}")
    _warn(context, s3)
    output.line("\nCtrl-C stops both.")


def _warn(context: Context, s3: EmbeddedS3) -> None:
    from bookstore.embedded_s3 import shared_machine_warning

    if not s3.keeps_data:
        context.output.note(
            f"\n{s3.kind} is the S3 server, since SeaweedFS is not installed: the versions are gone once it stops."
        )
    elif warning := shared_machine_warning():
        context.output.note(f"\n{warning}")


# -- for proof ---------------------------------------------------------------------------------------------------------


def _check(context: Context, layout: Layout) -> int:
    from bookstore.cli.demo_check import check
    from bookstore.cli.demo_jupyter import BUCKET, DemoJupyter
    from bookstore.embedded_s3 import EmbeddedS3
    from bookstore.errors import BookstoreError

    start = time.monotonic()
    layout.prepare()
    runtime = layout.base / "jupyter" / "runtime"
    runtime.mkdir(mode=0o700)
    with EmbeddedS3(layout.s3) as s3:
        kind = s3.kind
        s3.ensure_bucket(BUCKET)
        layout.write_credentials(s3)
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
            (str(row.save), row.version_id, size(row.size), row.sha256, "yes" if row.is_same else "NO")
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
