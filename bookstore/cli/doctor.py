"""``bookstore doctor``: check the whole way from here to the bucket."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bookstore.cli.arguments import UsageError
from bookstore.cli.commands import FINE, WRONG
from bookstore.cli.running import run_async
from bookstore.errors import StoreUnreachable

if TYPE_CHECKING:
    from bookstore.cli.checks import Finding
    from bookstore.cli.checks_store import StoreDoctor
    from bookstore.cli.context import Context
    from bookstore.cli.output import Output

DESCRIPTION = """Check the whole way from here to the bucket, step by step, and say what to do where it fails.

Reads the settings as a Jupyter server here would. What it writes goes to one object, <prefix>/.bookstore/doctor, and
to temporary files in the outbox; it deletes nothing in the bucket. The exit code is 1 if any step failed."""

EXAMPLES = (
    ("doctor", "check everything"),
    ("doctor --no-write", "write nothing into the bucket"),
    ("doctor --BookstoreSettings.s3_bucket=other", "would that bucket do?"),
)

_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("--root", metavar="DIR", help="the server's root directory, where it is not the configured one")
    parser.add_argument("--no-write", action="store_true", help="write nothing into the bucket; some steps are skipped")


def run(context: Context) -> int:
    """Do the work; the exit code."""
    output, root = context.output, context.args.root
    if root is not None and not Path(root).expanduser().is_dir():
        raise UsageError(f"--root {root} is no directory.", "Give the server's root directory.")
    findings: list[Finding] = []
    run_async(_find(context, findings))
    failed = sum(finding.state == "failed" for finding in findings)
    warnings = sum(finding.state == "warning" for finding in findings)
    output.document({"ok": not failed, "findings": [finding.to_dict() for finding in findings]})
    output.line()
    if failed:
        output.line(f"{failed} failed. The first that failed is the one to mend first.", style="bold red")
    else:
        output.line(f"All is well{f', with {warnings} to think about' if warnings else ''}.", style="green")
    return WRONG if failed else FINE


async def _find(context: Context, findings: list[Finding]) -> None:
    from bookstore.cli.checks import Finding, check_extension, check_interface, check_outbox, check_settings
    from bookstore.cli.checks_store import ALL

    def tell(finding: Finding) -> None:
        if finding.step == "reachable" and finding.state == "failed" and context.demo is not None:
            finding = replace(finding, hint=context.hint_for(StoreUnreachable(finding.message, finding.hint)))
        findings.append(finding)
        _show(context.output, finding)

    settings = context.settings
    for finding in check_settings(settings, context.app, context.root_dir):
        tell(finding)
    tell(check_extension(context.app))
    tell(check_interface())
    problems = [problem.trait for problem in settings.check(context.root_dir) if problem.blocks_archiving]
    if "outbox_dir" in problems:
        tell(Finding("outbox", "skipped", "outbox_dir is wrong"))
    else:
        for finding in check_outbox(settings):
            tell(finding)
    if problems or not settings.is_configured:
        why = "settings are wrong" if problems else "no bucket is configured"
        for step in ALL:
            tell(Finding(step, "skipped", why))
        return
    doctor = _store_doctor(context)
    if not context.args.no_write:
        context.output.line(f"What is written goes to s3://{settings.s3_bucket}/{doctor.key}.", style="dim")
    try:
        async for finding in doctor.findings():
            tell(finding)
    finally:
        await doctor.aclose()


def _store_doctor(context: Context) -> StoreDoctor:
    from bookstore.cli.checks_store import StoreDoctor
    from bookstore.service import ArchiveService

    # Built as a server builds it, so that what is checked is what it uses; nothing of it is started.
    service = ArchiveService(context.settings, root_dir=context.root_dir, log=context.app.log)
    return StoreDoctor(
        context.settings,
        service.store,
        prefix=service.prefix or "",
        origin=f"{service.host}:{context.root_dir}",
        may_write=not context.args.no_write,
    )


def _show(output: Output, finding: Finding) -> None:
    if output.is_json:
        return
    from rich.text import Text

    line = Text.assemble(
        (f"{finding.state:<8}", _STYLES[finding.state]), (f"{finding.step:<22}", "bold"), finding.message
    )
    output.text(line)
    if finding.hint:
        output.text(Text(f"{'':<30}{finding.hint}"))
