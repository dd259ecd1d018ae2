"""Which commands there are. Each lives in a module of its own, imported only when it is asked for.

A command's module has

- ``DESCRIPTION`` and ``EXAMPLES``, texts for ``--help``; examples are pairs of a command line and what it does,
- ``add_arguments(parser)``,
- ``run(context) -> int``, which does the work and returns the exit code. It raises a `bookstore.errors.BookstoreError`
  where it cannot go on, and `bookstore.cli.arguments.UsageError` where the arguments make no sense together.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    import argparse

    from bookstore.cli.context import Context

#: Exit codes; scripts rely on them.
FINE = 0
WRONG = 1
USAGE = 2
INTERRUPTED = 130


class CommandModule(Protocol):
    """What a command's module offers."""

    DESCRIPTION: str
    EXAMPLES: tuple[tuple[str, str], ...]

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's own options."""

    def run(self, context: Context) -> int:
        """Do the work; the exit code."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Attributes
    ----------
    name, summary : str
    """

    name: str
    summary: str

    def load(self) -> CommandModule:
        """Import the command's module."""
        return cast("CommandModule", importlib.import_module(f"bookstore.cli.{self.name}"))


#: In the order in which the help lists them.
COMMANDS = {
    command.name: command
    for command in (
        Command("demo", "Start Jupyter with an S3 server of its own: nothing to configure."),
        Command("doctor", "Check the whole way from here to the bucket, and say what to do."),
        Command("status", "Tell how many saves wait, and what is wrong."),
        Command("flush", "Have a running server ship what waits, now."),
        Command("drain", "Ship what servers that will never return have left."),
    )
}
