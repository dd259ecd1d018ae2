"""``bookstore drain``: ship what servers that will never return have left."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from bookstore.cli.arguments import seconds
from bookstore.cli.commands import FINE, INTERRUPTED, WRONG
from bookstore.cli.output import count
from bookstore.cli.running import run_async

if TYPE_CHECKING:
    from bookstore.cli.context import Context
    from bookstore.cli.drain_result import Drained
    from bookstore.cli.output import Output

DESCRIPTION = """Ship what servers that will never return have left in their outboxes.

Saves of servers that still run are left to them. Of a server on another host only its heartbeat tells whether it runs,
which is watched for half a minute. What cannot be shipped, and what is left after an interruption, stays in the outbox
for the next drain or server. The exit code is 0 where nothing waits any more."""

EXAMPLES = (
    ("drain", "the configured outbox"),
    ("drain --outbox /homes/*/.local/share/jupyter/bookstore/outbox", "those of many users"),
    ("drain --retry-refused", "once more what the store refused"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument(
        "--outbox",
        nargs="+",
        action="extend",
        metavar="DIR",
        help="outbox directories; the configured outbox_dir by default",
    )
    parser.add_argument(
        "--timeout", type=seconds, metavar="SECONDS", help="for how long at most; without end by default"
    )
    parser.add_argument(
        "--no-wait", action="store_true", help="do not watch heartbeats: leave what may belong to a running server"
    )
    parser.add_argument(
        "--any-destination",
        action="store_true",
        help="ship into the configured bucket also what was meant for another endpoint or bucket",
    )
    parser.add_argument(
        "--retry-refused", action="store_true", help="ship once more what the store refused and was set aside"
    )


def run(context: Context) -> int:
    """Do the work; the exit code."""
    from bookstore.cli.drain_result import give_to_owner_of

    context.require_bucket()
    args = context.args
    directories = list(dict.fromkeys(Path(d).expanduser().absolute() for d in args.outbox or [context.outbox_dir]))
    results: list[Drained] = []
    is_interrupted = False
    try:
        run_async(_drain_all(context, directories, results))
    except KeyboardInterrupt:
        is_interrupted = True
    finally:
        # Only now has every thread ended that may have written there.
        for result in results:
            give_to_owner_of(result.directory)
    is_fine = not is_interrupted and len(results) == len(directories) and all(result.is_fine for result in results)
    context.output.document(
        {"ok": is_fine, "interrupted": is_interrupted, "outboxes": [result.to_dict() for result in results]}
    )
    for result in results:
        _show(context.output, result)
    if is_interrupted:
        context.output.note("Interrupted. What was not shipped stays in the outbox, for the next drain or server.")
        return INTERRUPTED
    return FINE if is_fine else WRONG


async def _drain_all(context: Context, directories: list[Path], results: list[Drained]) -> None:
    from bookstore.cli.drain_outbox import Drain
    from bookstore.cli.drain_result import Drained, Place

    args = context.args
    place = Place.of(context.settings, context.root_dir, context.app.log)
    deadline = None if args.timeout is None else asyncio.get_running_loop().time() + args.timeout
    try:
        for directory in directories:
            result = Drained(directory)
            results.append(result)
            drain = Drain(
                place,
                result,
                deadline=deadline,
                may_wait=not args.no_wait,
                any_destination=args.any_destination,
                retry_refused=args.retry_refused,
                must_exist=bool(args.outbox),
                note=context.output.note,
                console=context.output.console_for_notes,
            )
            await drain.run()
    finally:
        await place.store.aclose()


def _show(output: Output, result: Drained) -> None:
    output.line(f"{result.directory}", style="bold")
    output.line(f"  {count(result.shipped, 'save')} shipped" + _also(result.also()))
    for left in result.left:
        output.line(f"  {count(left.entries, 'save')} left in {left.directory}: {left.why}", style="yellow")
        output.line(f"    {left.hint}")
    for problem in result.problems:
        output.line(f"  {problem['message']}", style="bold red")
        if problem["hint"]:
            output.line(f"    {problem['hint']}")


def _also(what: dict[str, int]) -> str:
    return "".join(f", {number} {name}" for name, number in what.items() if number)
