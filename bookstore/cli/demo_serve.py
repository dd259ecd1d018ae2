"""The demo for people: both servers run until Ctrl-C, and whatever becomes of them is told."""

from __future__ import annotations

import os
import shlex
import shutil
import time
import webbrowser
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_core.paths import jupyter_runtime_dir

from bookstore.cli.commands import FINE, WRONG
from bookstore.cli.demo_jupyter import DemoJupyter
from bookstore.cli.demo_layout import BUCKET, Layout
from bookstore.cli.demo_welcome import write_welcome
from bookstore.cli.output import count
from bookstore.embedded_s3 import EmbeddedS3, shared_machine_warning
from bookstore.errors import BookstoreError, OutboxError, StorageError
from bookstore.outbox_survey import survey

if TYPE_CHECKING:
    from bookstore.cli.context import Context
    from bookstore.cli.output import Output

#: Seconds between two looks whether the S3 server still runs.
LOOK_INTERVAL = 0.5

#: So many restarts of the S3 server within so many seconds are enough.
RESTARTS = 3
RESTARTS_WITHIN = 60.0


def serve(context: Context, layout: Layout) -> int:
    """Run both servers until Jupyter ends or the user ends the demo; the exit code."""
    output = context.output
    output.note("Starting the S3 server and Jupyter …")
    layout.prepare()
    runtime = Path(jupyter_runtime_dir())
    with layout.usable():
        runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
    waiting = 0
    with EmbeddedS3(layout.s3) as s3:
        s3.ensure_bucket(BUCKET)
        layout.write_files(s3)
        layout.register()
        layout.claim_outbox()
        with layout.usable():
            write_welcome(layout.notebooks)
        try:
            _run(context, layout, s3, runtime)
        finally:
            waiting = _tell_waiting(output, layout)
    return WRONG if waiting else FINE


def _run(context: Context, layout: Layout, s3: EmbeddedS3, runtime: Path) -> None:
    args, output = context.args, context.output
    has_browser = not args.no_browser and _has_browser()
    jupyter = DemoJupyter(layout, s3, app=args.app, open_browser=has_browser, port=args.port, runtime_dir=runtime)
    with jupyter:
        try:
            _show(output, layout, s3, jupyter)
            if not args.no_browser and not has_browser:
                output.note(f"\nNo browser could be opened. Open this address yourself: {jupyter.browser_url}")
            output.line("\nCtrl-C stops both.")
            code = _watch(output, layout, s3, jupyter)
        except KeyboardInterrupt:
            output.note("Stopping Jupyter, then the S3 server …")
            return
        if code:
            raise BookstoreError(
                f"Jupyter ended with {code}. The end of its log:\n{jupyter.end_of_log()}", f"See {layout.log}."
            )
    output.note("Jupyter was shut down.")


def _has_browser() -> bool:
    """Whether Jupyter will find a browser that can show it: one of the terminal cannot."""
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    if type(browser) is webbrowser.GenericBrowser:
        return "BROWSER" in os.environ and shutil.which(browser.name) is not None
    return True


def _show(output: Output, layout: Layout, s3: EmbeddedS3, jupyter: DemoJupyter) -> None:
    listing = (
        f"AWS_SHARED_CREDENTIALS_FILE={shlex.quote(str(layout.credentials))} aws --endpoint-url {s3.endpoint_url} "
        f"--region us-east-1 s3api list-object-versions --bucket {BUCKET} --prefix workspace/welcome.ipynb"
    )
    output.document(
        {
            "ok": True,
            "url": jupyter.browser_url,
            "notebooks": str(layout.notebooks),
            "bucket": BUCKET,
            "prefix": "workspace",
            "endpoint_url": s3.endpoint_url,
            "credentials_file": str(layout.credentials),
            "config_file": str(layout.config_file),
            "keeps_data": s3.keeps_data,
            "log": str(layout.log),
        }
    )
    if warning := _warning(s3):
        output.note(f"{warning}\n")
    output.line("Save a notebook, and each save becomes a version in the bucket.\n", style="bold green")
    output.pairs(
        [
            ("Open", jupyter.browser_url),
            ("Notebooks", str(layout.notebooks)),
            ("Bucket", f"s3://{BUCKET}/workspace at {s3.endpoint_url} ({s3.kind})"),
            ("Log", str(layout.log)),
        ]
    )
    output.line("\nThe versions, in another terminal; the commands find this server by the directory:", style="bold")
    output.line(f"  cd {shlex.quote(str(layout.notebooks))}")
    output.line("  bookstore versions welcome.ipynb")
    output.line("  bookstore restore welcome.ipynb latest~1")
    output.line("The state:", style="bold")
    output.line(f"  bookstore status --root {shlex.quote(str(layout.notebooks))}")
    output.line("The way to the bucket, step by step:", style="bold")
    output.line(f"  bookstore doctor --config {shlex.quote(str(layout.config_file))}")
    output.line("The versions again, with the AWS command line:", style="bold")
    output.line(f"  {listing}")


def _warning(s3: EmbeddedS3) -> str | None:
    if s3.keeps_data:
        return shared_machine_warning()
    return f"{s3.kind} is the S3 server, since SeaweedFS is not installed: the versions are gone once it stops."


def _watch(output: Output, layout: Layout, s3: EmbeddedS3, jupyter: DemoJupyter) -> int:
    """Wait until Jupyter ends, and keep the S3 server running until then; Jupyter's exit code."""
    restarts: deque[float] = deque(maxlen=RESTARTS)
    while (code := jupyter.wait(LOOK_INTERVAL)) is None:
        if not s3.is_running:
            if len(restarts) == RESTARTS and time.monotonic() - restarts[0] < RESTARTS_WITHIN:
                raise BookstoreError(
                    f"The S3 server ended {RESTARTS + 1} times within {RESTARTS_WITHIN:.0f} s.",
                    f"See {s3.log_path}. What waits is shipped by the next: {layout.command}",
                )
            restarts.append(time.monotonic())
            _restart(output, layout, s3)
    return code


def _restart(output: Output, layout: Layout, s3: EmbeddedS3) -> None:
    url, kind = s3.endpoint_url, s3.kind
    output.note(f"The S3 server ({kind}) has ended. Starting it again; saves wait in the outbox meanwhile …")
    again = f"What waits is shipped by the next: {layout.command}"
    try:
        s3.start()
        s3.ensure_bucket(BUCKET)
    except StorageError as e:
        raise BookstoreError(f"The S3 server cannot be started again: {e}", f"{e.hint} {again}") from e
    if s3.endpoint_url != url:
        raise BookstoreError(f"Another program has taken the address of the S3 server, {url}.", again)
    output.note("The S3 server runs again." + ("" if s3.keeps_data else " The versions that it held are gone."))


def _tell_waiting(output: Output, layout: Layout) -> int:
    """Tell what Jupyter, which has ended, could not ship; how many saves that are."""
    try:
        found = survey(layout.outbox)
    except OutboxError as e:
        output.note(f"Whether saves wait cannot be told: {e}. {e.hint}")
        return 0
    if found.entries:
        output.note(
            f"{count(found.entries, 'save')} not yet in the bucket: kept in {found.directory}, and shipped by the "
            f"next: {layout.command}"
        )
    if aside := found.quarantined + found.refused:
        output.note(f"{count(aside, 'save')} set aside in {found.directory}: beside each stands the reason.")
    return found.entries + aside
