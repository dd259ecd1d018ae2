"""The program: arguments in, exit code out, and never a traceback."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bookstore.cli.arguments import UsageError, parse
from bookstore.cli.commands import INTERRUPTED, NOBODY_READS, USAGE, WRONG
from bookstore.cli.context import Context
from bookstore.cli.output import Output, OutputError, printing
from bookstore.errors import BookstoreError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Without the program's name; the process's own by default.

    Returns
    -------
    int
        0 fine, 1 something is wrong, 2 wrong usage, 130 interrupted, 141 nobody reads the rest of what is printed.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    prog = "jupyter bookstore" if Path(sys.argv[0]).stem == "jupyter-bookstore" else "bookstore"
    output = Output(is_json="--json" in args)
    try:
        code = _run(args, prog, output)
        with printing():
            sys.stdout.flush()
    except BrokenPipeError:
        _leave_standard_output()
        return NOBODY_READS
    except OutputError as e:
        _leave_standard_output()
        sys.stderr.write(f"bookstore: {e}\n  {e.hint}\n")
        return WRONG
    return code


def _leave_standard_output() -> None:
    """See that the interpreter's own flush at its end does not complain once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(args: list[str], prog: str, output: Output) -> int:
    try:
        command, namespace, settings = parse(args, prog)
    except UsageError as e:
        output.error("UsageError", str(e), e.hint)
        return USAGE
    context = Context(namespace, settings, output)
    try:
        with _ended_by_signals():
            return command.load().run(context)
    except UsageError as e:
        output.error("UsageError", str(e), e.hint)
        return USAGE
    except (BrokenPipeError, OutputError):
        raise
    except BookstoreError as e:
        output.error(e.code, str(e), context.hint_for(e))
        return WRONG
    except KeyboardInterrupt:
        output.error("Interrupted", "Interrupted.", "")
        return INTERRUPTED
    except Exception as e:
        if namespace.debug:
            raise
        output.error(
            type(e).__name__,
            f"An error that nobody foresaw: {type(e).__name__}: {' '.join(str(e).split())}",
            "Run it again with --debug, and report what it prints.",
        )
        return WRONG


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """End as after Ctrl-C when the process is asked to, so that what was begun is left in order."""
    asked = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]
    before = {number: signal.signal(number, signal.default_int_handler) for number in asked}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
