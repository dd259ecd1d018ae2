"""``bookstore completion``: print the script that completes commands and options in a shell."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from bookstore.cli.arguments import SETTING, command_parser, overview
from bookstore.cli.commands import COMMANDS, FINE

if TYPE_CHECKING:
    from bookstore.cli.context import Context

SHELLS = ("bash", "zsh", "fish")

#: The names under which the program is installed.
PROGRAM = "bookstore"

DESCRIPTION = """Print the script that completes commands, options and file names in your shell.

bash: put it into ~/.local/share/bash-completion/completions/bookstore
zsh: put it into a file _bookstore in a directory of $fpath, before compinit
fish: put it into ~/.config/fish/completions/bookstore.fish"""

EXAMPLES = (
    ("completion bash > ~/.local/share/bash-completion/completions/bookstore", "for bash, from the next shell on"),
    ('completion zsh > "${fpath[1]}/_bookstore"', "for zsh"),
    ("completion fish > ~/.config/fish/completions/bookstore.fish", "for fish"),
)

#: What the values of options and arguments are, by the names that help gives them.
_FILES = ("FILE", "PATH", "TARGET")
_DIRECTORIES = ("DIR",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("shell", choices=SHELLS, help="the shell")


def run(context: Context) -> int:
    """Do the work; the exit code."""
    shell = context.args.shell
    text = script(shell)
    context.output.document({"ok": True, "shell": shell, "script": text})
    if not context.output.is_json:
        sys.stdout.write(text)
    return FINE


def script(shell: str) -> str:
    """The script for a shell."""
    import shtab

    return str(shtab.complete(_whole_parser(), shell)).rstrip() + "\n"


def _whole_parser() -> argparse.ArgumentParser:
    """One parser with all commands, which the program itself never builds: it imports only what is asked for."""
    whole = argparse.ArgumentParser(prog=PROGRAM, parents=[_bare(overview(PROGRAM))], add_help=True)
    commands = whole.add_subparsers(metavar="COMMAND")
    for command in COMMANDS.values():
        parser = _bare(command_parser(command, PROGRAM))
        commands.add_parser(command.name, help=command.summary, parents=[parser], add_help=True)
    return whole


def _bare(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """A parser without its own --help and the placeholder for settings, and with what its values are."""
    import shtab

    bare = argparse.ArgumentParser(add_help=False, parents=[])
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to what was added
        if isinstance(action, argparse._HelpAction) or f"{SETTING}NAME" in action.option_strings:  # noqa: SLF001
            continue
        metavars = action.metavar if isinstance(action.metavar, tuple) else (action.metavar,)
        kind: Any = None
        if any(metavar in _FILES for metavar in metavars):
            kind = shtab.FILE
        elif any(metavar in _DIRECTORIES for metavar in metavars):
            kind = shtab.DIRECTORY
        if kind is not None:
            action.complete = kind  # type: ignore[attr-defined]
        bare._add_action(action)  # noqa: SLF001
    return bare
