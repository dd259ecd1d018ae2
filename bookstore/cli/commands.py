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
#: Who reads standard output has closed it, as ``head`` does: what a shell tells of a program that SIGPIPE ended.
NOBODY_READS = 141


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
    group : str
        The heading under which the help lists it.
    """

    name: str
    summary: str
    group: str

    def load(self) -> CommandModule:
        """Import the command's module."""
        return cast("CommandModule", importlib.import_module(f"bookstore.cli.{self.name}"))


_SETUP = "set up"
_SAVES = "what is saved"
_HISTORY = "the history of a file"
_SHARING = "share"
_BUCKET = "the whole bucket"

#: In the order in which the help lists them.
COMMANDS = {
    command.name: command
    for command in (
        Command("demo", "Start Jupyter with an S3 server of its own: nothing to configure.", _SETUP),
        Command("doctor", "Check the whole way from here to the bucket, and say what to do.", _SETUP),
        Command("completion", "Print the script that completes commands and options in your shell.", _SETUP),
        Command("status", "Tell how many saves wait, and what is wrong.", _SAVES),
        Command("flush", "Have a running server ship what waits, now.", _SAVES),
        Command("drain", "Ship what servers that will never return have left.", _SAVES),
        Command("versions", "List the versions of a file.", _HISTORY),
        Command("show", "Print a version, or write it to a file.", _HISTORY),
        Command("diff", "Compare two versions, or a version and the file now.", _HISTORY),
        Command("restore", "Make a version's bytes the file's again, as a new version.", _HISTORY),
        Command("label", "Name, annotate or pin a version.", _HISTORY),
        Command("publish", "Publish a notebook, or list what is published.", _SHARING),
        Command("schedule", "Pin a copy of a notebook, with parameters, for a scheduler.", _SHARING),
        Command("clone", "Make a file of an object in S3, or of a shared file.", _SHARING),
        Command("archive", "Archive the files that a directory holds already.", _BUCKET),
        Command("verify", "Read what the bucket holds, and check it against what was saved.", _BUCKET),
    )
}
